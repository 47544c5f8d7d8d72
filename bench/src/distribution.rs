//! Which of the sessions a request is about.

use std::{fmt, str::FromStr};

use rand::{Rng, rngs::SmallRng};
use rand_distr::{Distribution as _, Zipf};

/// A prime above every sensible number of sessions: multiplying by it scatters neighbours and loses none.
const SCATTER: u64 = 2_654_435_761;

/// How often which session is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Distribution {
    /// All equally often.
    Uniform,
    /// The n-th most wanted as often as 1 / n to the power of this exponent; YCSB's is 0.99.
    Zipf(f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        text.strip_prefix("zipf:")
            .and_then(|exponent| exponent.parse().ok())
            .filter(|exponent| (0.0..=10.0).contains(exponent))
            .map(Self::Zipf)
            .ok_or("`uniform`, or `zipf:` and an exponent from 0 to 10, such as zipf:0.99".to_owned())
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => write!(f, "uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// Draws numbers of sessions, `0..count`.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    count: u64,
    zipf: Option<Zipf<f64>>,
}

impl Sampler {
    /// For `count` sessions, at least one.
    pub(crate) fn new(count: u64, distribution: Distribution) -> Self {
        assert!(0 < count && count < SCATTER, "a number of sessions from 1 to {SCATTER}");
        let zipf = match distribution {
            Distribution::Uniform => None,
            #[expect(clippy::cast_precision_loss, reason = "below 2^32")]
            Distribution::Zipf(exponent) => {
                Some(Zipf::new(count as f64, exponent).expect("count and exponent are in range"))
            }
        };
        Self { count, zipf }
    }

    /// The number of a session. Those that are wanted most lie anywhere, not side by side.
    pub(crate) fn draw(&self, rng: &mut SmallRng) -> u64 {
        let Some(zipf) = &self.zipf else { return rng.random_range(0..self.count) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to count, whole")]
        let rank = zipf.sample(rng) as u64 - 1;
        rank * SCATTER % self.count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;

    const DRAWS: u32 = 200_000;

    /// How often each session was drawn, the most wanted first.
    fn popularity(count: u64, distribution: &str) -> Vec<u32> {
        let sampler = Sampler::new(count, distribution.parse().unwrap());
        let mut rng = SmallRng::seed_from_u64(7);
        let mut drawn: BTreeMap<u64, u32> = (0..count).map(|number| (number, 0)).collect();
        for _ in 0..DRAWS {
            *drawn.get_mut(&sampler.draw(&mut rng)).expect("a number below the count") += 1;
        }
        let mut counts: Vec<_> = drawn.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn zipf_has_the_shape_of_its_exponent() {
        let counts = popularity(1000, "zipf:0.99");
        let harmonic: f64 = (1..=1000).map(|n| f64::from(n).powf(-0.99)).sum();
        for rank in [1, 2, 10, 50] {
            let expected = f64::from(DRAWS) * f64::from(rank).powf(-0.99) / harmonic;
            let found = f64::from(counts[rank as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.1, "rank {rank}: {found}, expected {expected}");
        }
    }

    #[test]
    fn uniform_prefers_none() {
        let counts = popularity(100, "uniform");
        assert!(counts[0] < 2300 && 1700 < counts[99], "{} to {}", counts[99], counts[0]);
    }

    #[test]
    fn scattering_loses_no_session() {
        for count in [1, 2, 999, 1000, 65_536] {
            let mut numbers: Vec<_> = (0..count).map(|rank| rank * SCATTER % count).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "zipf", "zipf:", "zipf:x", "zipf:-1", "zipf:NaN", "normal"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
