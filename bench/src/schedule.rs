//! When requests are meant to be sent, whatever the server does.

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Exp1};

const NANOS_PER_SECOND: f64 = 1e9;
/// Requests a second at most: far above what one machine can send.
const RATE_MAX: f64 = 1e7;

/// How many requests a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// As many as come back: a closed loop, in which each connection waits for its answer before it asks again.
    Max,
    /// So many, whatever comes back: an open loop.
    PerSecond(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text.parse().ok().filter(|rate| (0.001..=RATE_MAX).contains(rate));
        rate.map(Self::PerSecond).ok_or(format!("`max`, or requests per second up to {RATE_MAX}"))
    }
}

/// How the requests of an open loop lie in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// As those of many people who know nothing of each other: gaps of chance.
    Poisson,
    /// At equal distances.
    Constant,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
        })
    }
}

/// The times of one thread's requests.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    gap_ns: f64,
    /// Fractions of nanoseconds are kept, or high rates would drift.
    next_ns: f64,
}

impl Schedule {
    /// `rate` requests per second. `phase`, from 0 to 1, is the share of a gap that passes before the first one.
    pub(crate) fn new(rate: f64, arrivals: Arrivals, phase: f64) -> Self {
        let gap_ns = NANOS_PER_SECOND / rate;
        Self { arrivals, gap_ns, next_ns: gap_ns * phase }
    }

    /// When the next request is to be sent, in nanoseconds since the beginning. Never goes back.
    pub(crate) fn next(&mut self, rng: &mut SmallRng) -> u64 {
        let at = self.next_ns;
        let gaps: f64 = match self.arrivals {
            Arrivals::Poisson => Exp1.sample(rng),
            Arrivals::Constant => 1.0,
        };
        self.next_ns += gaps * self.gap_ns;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, below 2^53"
        )]
        let at = at as u64;
        at
    }
}

/// A length of time: `30s`, `2m`, `500ms`; a bare number is seconds.
///
/// # Errors
/// When it is none of these, or more than a week.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is none of ms, s, m, h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no length of time, such as 30s"))?;
    let seconds = number * seconds_each;
    if 604_800.0 < seconds {
        return Err("at most a week".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn times(rate: f64, arrivals: Arrivals, count: usize) -> Vec<u64> {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut schedule = Schedule::new(rate, arrivals, 0.0);
        (0..count).map(|_| schedule.next(&mut rng)).collect()
    }

    #[test]
    fn constant_is_evenly_spaced_and_does_not_drift() {
        let times = times(30_000.0, Arrivals::Constant, 30_001);
        assert_eq!((times[0], times[1], times[2]), (0, 33_333, 66_666));
        assert!(times[30_000].abs_diff(1_000_000_000) < 10, "{}", times[30_000]);
    }

    #[test]
    fn poisson_keeps_the_rate_and_has_the_gaps_of_chance() {
        let times = times(10_000.0, Arrivals::Poisson, 100_001);
        let seconds = times[100_000] as f64 / NANOS_PER_SECOND;
        assert!((seconds - 10.0).abs() < 0.15, "{seconds} s for 10 s");
        let gaps: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
        // Of exponential gaps, 1 - 1/e are below the mean.
        let below = gaps.iter().filter(|gap| **gap < 100_000).count() as f64 / gaps.len() as f64;
        assert!((below - 0.632).abs() < 0.01, "{below}");
    }

    #[test]
    fn threads_share_a_constant_schedule_without_meeting() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut second = Schedule::new(500.0, Arrivals::Constant, 0.5);
        assert_eq!((second.next(&mut rng), second.next(&mut rng)), (1_000_000, 3_000_000));
    }

    #[test]
    fn rates_and_lengths_of_time_are_read() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2500".parse(), Ok(Rate::PerSecond(2500.0)));
        for text in ["", "0", "-1", "fast", "NaN", "1e9"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for text in ["", "s", "3x", "-1s", "1.2.3", "9000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
