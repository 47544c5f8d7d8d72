//! What to ask next.

use std::fmt::Write;

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    distribution::{Distribution, Sampler},
    mix::{Kind, Mix},
    sizes::Sizes,
};

/// Which session a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// One of those that were written beforehand.
    Known(u64),
    /// One that nobody ever wrote.
    Missing(u64),
    /// One that this run alone writes, and once.
    New(u64),
}

impl Key {
    /// Appends the key as it stands in the path.
    pub(crate) fn append(self, to: &mut String, run: u32) {
        let written = match self {
            Self::Known(number) => write!(to, "bench-{number:012}"),
            Self::Missing(number) => write!(to, "bench-missing-{number:012}"),
            Self::New(number) => write!(to, "bench-new-{run:08x}-{number:012}"),
        };
        written.expect("a String takes everything");
    }

    /// What the body says that its session is.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Known(number) | Self::Missing(number) | Self::New(number) => number,
        }
    }
}

/// A request that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    /// Bytes of the body; 0 if the kind has none.
    pub(crate) bytes: usize,
}

/// Where requests come from.
#[derive(Debug)]
pub(crate) enum Workload {
    /// Writes every `step`-th session from `next` to `end`, once.
    Fill { next: u64, end: u64, step: u64, sizes: Sizes, rng: SmallRng },
    /// Draws for ever.
    Draw(Box<Draw>),
}

/// The proportions of drawn requests.
#[derive(Debug)]
pub(crate) struct Draw {
    pub(crate) mix: Mix,
    pub(crate) sampler: Sampler,
    pub(crate) sizes: Sizes,
    /// The share of reads that are for sessions that nobody wrote, 0 to 1.
    pub(crate) miss: f64,
    /// The number of the next new session, and how far it is to the one after that.
    pub(crate) new: (u64, u64),
    pub(crate) rng: SmallRng,
}

impl Workload {
    /// The part of thread `thread` of `threads` in writing all of `keys` sessions.
    pub(crate) fn fill(keys: u64, sizes: Sizes, seed: u64, thread: u64, threads: u64) -> Self {
        Self::Fill { next: thread, end: keys, step: threads, sizes, rng: rng(seed, thread) }
    }

    /// The part of thread `thread` of `threads` in a mix of requests.
    pub(crate) fn draw(
        (mix, distribution): (Mix, Distribution),
        (keys, miss, sizes): (u64, f64, Sizes),
        seed: u64,
        (thread, threads): (u64, u64),
    ) -> Self {
        Self::Draw(Box::new(Draw {
            mix,
            sampler: Sampler::new(keys, distribution),
            sizes,
            miss,
            new: (thread, threads),
            rng: rng(seed, thread + threads),
        }))
    }

    /// `None` when there is nothing more to do.
    pub(crate) fn next(&mut self) -> Option<Request> {
        match self {
            Self::Fill { next, end, step, sizes, rng } => (*next < *end).then(|| {
                let key = Key::Known(*next);
                *next += *step;
                Request { kind: Kind::Post, key, bytes: sizes.draw(rng) }
            }),
            Self::Draw(draw) => Some(draw.next()),
        }
    }

    /// Chance, for whatever else wants it.
    pub(crate) fn rng(&mut self) -> &mut SmallRng {
        match self {
            Self::Fill { rng, .. } => rng,
            Self::Draw(draw) => &mut draw.rng,
        }
    }
}

impl Draw {
    fn next(&mut self) -> Request {
        let kind = self.mix.pick(self.rng.random_range(0..self.mix.total()));
        let number = self.sampler.draw(&mut self.rng);
        let key = match kind {
            Kind::Get if self.rng.random_bool(self.miss) => Key::Missing(number),
            Kind::Get | Kind::Post | Kind::Delete => Key::Known(number),
            Kind::New => {
                let (number, step) = self.new;
                self.new.0 += step;
                Key::New(number)
            }
        };
        let bytes = match kind {
            Kind::Post | Kind::New => self.sizes.draw(&mut self.rng),
            Kind::Get | Kind::Delete => 0,
        };
        Request { kind, key, bytes }
    }
}

fn rng(seed: u64, thread: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(mix: &str, miss: f64, seed: u64) -> Vec<Request> {
        let what = (mix.parse().unwrap(), Distribution::Uniform);
        let mut workload = Workload::draw(what, (100, miss, "30".parse().unwrap()), seed, (0, 1));
        (0..10_000).map_while(|_| workload.next()).collect()
    }

    #[test]
    fn threads_together_fill_every_session_once() {
        let mut filled = Vec::new();
        for thread in 0..3 {
            let mut part = Workload::fill(100, "30".parse().unwrap(), 1, thread, 3);
            filled.extend(std::iter::from_fn(|| part.next()).map(|request| request.key.number()));
        }
        filled.sort_unstable();
        assert!(filled.into_iter().eq(0..100));
    }

    #[test]
    fn only_reads_miss_and_in_the_share_that_was_asked_for() {
        let requests = draw("get=50,post=49,delete=1", 0.1, 1);
        let reads = requests.iter().filter(|request| request.kind == Kind::Get).count();
        let missing: Vec<_> =
            requests.iter().filter(|request| matches!(request.key, Key::Missing(_))).collect();
        assert!(missing.iter().all(|request| request.kind == Kind::Get));
        assert!((reads / 10).abs_diff(missing.len()) < 80, "{} of {reads}", missing.len());
        assert!(requests.iter().all(|request| (request.kind == Kind::Post) == (request.bytes == 30)));
    }

    #[test]
    fn new_sessions_are_new_each_time() {
        let requests = draw("new=1", 0.0, 1);
        assert!(requests.iter().map(|request| request.key).eq((0..10_000).map(Key::New)));
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let mix = "get=1,post=1";
        assert_eq!(draw(mix, 0.5, 4), draw(mix, 0.5, 4));
        assert_ne!(draw(mix, 0.5, 4), draw(mix, 0.5, 5));
    }
}
