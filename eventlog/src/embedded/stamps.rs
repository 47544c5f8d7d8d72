//! When the log took a record: the wall clock of the log's opening, and the time that has passed since.
//!
//! A broker's clock is steady, and what is built on logs relies on it: the newest append time says what time it is, and
//! with that what has expired. So a log that stamps its own records must not follow a wall clock that jumps, or one step
//! of it would end every session at once. The next opening takes over what the wall clock shows then.

use std::{sync::Arc, time::Duration};

use schemas::Timestamp;

use crate::Clock;

/// Stamps of one opened log. They never go back, and never jump.
#[derive(Debug)]
pub(super) struct Stamps {
    clock: Arc<dyn Clock>,
    opened: Timestamp,
    monotonic_then: Duration,
}

impl Stamps {
    pub(super) fn begin(clock: Arc<dyn Clock>) -> Self {
        let (opened, monotonic_then) = (clock.wall(), clock.monotonic());
        Self { clock, opened, monotonic_then }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.opened.saturating_add(self.clock.monotonic().saturating_sub(self.monotonic_then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn a_step_of_the_wall_clock_is_not_followed_and_time_that_passes_is() {
        let began = Timestamp::from_millis(1_700_000_000_000);
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
        for stepped in
            [began.saturating_add(6 * hour), began.saturating_sub(6 * hour), began.saturating_add(day)]
        {
            let clock = Arc::new(ManualClock::at(began));
            let stamps = Stamps::begin(Arc::clone(&clock) as Arc<dyn Clock>);
            clock.step_to(stepped);
            assert_eq!(stamps.now(), began);
            clock.advance(hour);
            assert_eq!(stamps.now(), began.saturating_add(hour));
        }
    }
}
