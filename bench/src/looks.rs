//! When to look for something that takes a while to appear, so that few looks tell when it did.
//!
//! ```text
//!   first look           found by one in three, and later looks by the rest
//!   │    ┌── a fifth more time, again and again
//!   ▼    ▼     ▼
//!   ✗────✗─────✓         it appeared between the last two
//! ```

use std::time::Duration;

/// The share of first looks that find it: below a half, so that quantiles from the half on are seen from both sides.
const FOUND_AT_ONCE: f64 = 1.0 / 3.0;
/// How much more time passes before the next look, as a share of what has passed.
const MORE: f64 = 0.2;
/// How far the outcome of a first look moves the next one, as a power of e. At first it is far: the search has to get there.
const STEPS: (f64, f64) = (1.0, 0.1);
/// How each step shortens the next.
const SHORTER: f64 = 0.95;
/// Where the first look begins to be searched for.
const START: Duration = Duration::from_millis(1);
/// The bounds of that search: what is sooner nobody can send, what is later is broken rather than slow.
const BOUNDS: (Duration, Duration) = (Duration::from_micros(1), Duration::from_secs(1));

/// Chooses when to look.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    /// Natural logarithm of the time to the first look in seconds: steps are ratios.
    log: f64,
    step: f64,
}

impl Looks {
    pub(crate) fn new() -> Self {
        Self { log: log(START), step: STEPS.0 }
    }

    /// After what time to look first.
    pub(crate) fn first(&self) -> Duration {
        Duration::from_secs_f64(self.log.exp())
    }

    /// After what time to look again, when a look after `elapsed` has found nothing.
    pub(crate) fn again(elapsed: Duration) -> Duration {
        elapsed.mul_f64(1.0 + MORE)
    }

    /// Learns whether a first look has found it. The steps cancel out where the share is found that is wanted.
    pub(crate) fn learn(&mut self, found: bool) {
        self.log += self.step * if found { FOUND_AT_ONCE - 1.0 } else { FOUND_AT_ONCE };
        self.step = (self.step * SHORTER).max(STEPS.1);
        self.log = self.log.clamp(log(BOUNDS.0), log(BOUNDS.1));
    }
}

/// When it appeared: in the middle between the last look that did not find it, if any, and the one that did.
pub(crate) fn appeared(missed: Option<Duration>, found: Duration) -> Duration {
    missed.map_or(found, |missed| (missed + found) / 2)
}

fn log(time: Duration) -> f64 {
    time.as_secs_f64().ln()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    use rand_distr::{Distribution, LogNormal};

    use super::*;

    /// Mostly around 600 us, and every twentieth up to some milliseconds later, as things are that wait for a disk.
    fn takes(rng: &mut SmallRng) -> Duration {
        let usual = LogNormal::new((600e-6_f64).ln(), 0.3).unwrap().sample(rng);
        let late = if rng.random_bool(0.05) { rng.random_range(0.0..6e-3) } else { 0.0 };
        Duration::from_secs_f64(usual + late)
    }

    /// What looks say of something that takes so long, and how many it took.
    fn look_for(takes: Duration, looks: &mut Looks) -> (Duration, u32) {
        let (mut missed, mut at, mut count) = (None, looks.first(), 1);
        looks.learn(takes <= at);
        while at < takes {
            (missed, at, count) = (Some(at), Looks::again(at), count + 1);
        }
        (appeared(missed, at), count)
    }

    #[test]
    fn few_looks_tell_the_half_and_the_slowest_as_they_are() {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut looks = Looks::new();
        let (mut truth, mut seen, mut count) = (Vec::new(), Vec::new(), 0);
        for _ in 0..20_000 {
            let takes = takes(&mut rng);
            let (appeared, looked) = look_for(takes, &mut looks);
            truth.push(takes);
            seen.push(appeared);
            count += looked;
        }
        truth.sort_unstable();
        seen.sort_unstable();
        for share in [0.5, 0.9, 0.99] {
            let at = (share * 20_000.0) as usize;
            let ratio = seen[at].as_secs_f64() / truth[at].as_secs_f64();
            assert!((0.95..1.05).contains(&ratio), "{share}: {:?}, and it is {:?}", seen[at], truth[at]);
        }
        assert!(count < 20_000 * 4, "{count} looks");
    }

    #[test]
    fn one_first_look_in_three_finds_it_wherever_the_search_begins() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut looks = Looks { log: log(Duration::from_millis(100)), ..Looks::new() };
        let mut at_once = 0;
        for number in 0..10_500 {
            let (_, count) = look_for(takes(&mut rng), &mut looks);
            at_once += u32::from(500 <= number && count == 1);
        }
        assert!((3_200..3_470).contains(&at_once), "{at_once}");
    }

    #[test]
    fn what_is_never_there_is_looked_for_after_a_second_at_most() {
        let mut looks = Looks::new();
        (0..1000).for_each(|_| looks.learn(false));
        assert_eq!(looks.first().as_millis(), 1000);
        (0..1000).for_each(|_| looks.learn(true));
        assert!(looks.first() <= 2 * BOUNDS.0);
    }
}
