//! How long nearly all answers of a peer take: one that takes longer is not waited for alone.

use std::time::Duration;

/// Before anything is known, and never longer: a call to a second node must be of use to whoever waits.
const LONGEST: Duration = Duration::from_millis(500);

/// Never sooner: the second call is work for the peer too.
const SHORTEST: Duration = Duration::from_millis(20);

/// Follows the 99th percentile: rises with each answer that takes longer, falls 99 times more slowly with each that does not, so
/// that it rests where one in a hundred takes longer (a stochastic approximation: Robbins and Monro 1951).
#[derive(Debug)]
pub(super) struct Pace(Duration);

const RISE: f64 = 0.1;

const FALL: f64 = RISE / 99.0;

impl Default for Pace {
    fn default() -> Self {
        Self(LONGEST)
    }
}

impl Pace {
    /// An answer took so long.
    pub(super) fn took(&mut self, time: Duration) {
        let factor = if self.0 < time { 1.0 + RISE } else { 1.0 - FALL };
        self.0 = self.0.mul_f64(factor).clamp(SHORTEST, LONGEST);
    }

    /// How long an answer is waited for before somebody else is asked as well.
    pub(super) const fn patience(&self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_to_rest_near_the_99th_percentile_and_stays_within_its_bounds() {
        let mut pace = Pace::default();
        // 0 to 199.8 ms, evenly and out of order.
        let times = |n: u64| Duration::from_micros((n * 611 % 1000) * 200);
        (0..20_000).for_each(|n| pace.took(times(n)));
        let near = Duration::from_millis(180)..Duration::from_millis(225);
        assert!(near.contains(&pace.patience()), "{:?}", pace.patience());
        (0..10_000).for_each(|_| pace.took(Duration::ZERO));
        assert_eq!(pace.patience(), SHORTEST);
        (0..100).for_each(|_| pace.took(Duration::from_secs(2)));
        assert_eq!(pace.patience(), LONGEST);
    }
}
