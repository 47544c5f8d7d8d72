//! What time it is for sessions: the machine's clock, kept near the log's.
//!
//! ```text
//!   log time  = newest append time + monotonic time since      (a broker's clock, read through this process)
//!   now       = the wall clock, within 5 s of the log time      versions, expiry
//!   read_now  = the latest `now` that anybody was told          reads: it never goes back
//!   gc_now    = min(wall clock, newest append time)             what may be destroyed
//! ```
//! So a node whose clock is a day ahead writes at most 5 s ahead, and destroys nothing early.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use schemas::{Timestamp, caps::CLOCK_DRIFT_MAX};

use crate::Clock;

/// A jump of the log's time that no silence explains for sure: destruction then waits, see [`LogClock::gc_now`].
const SUSPICIOUS_JUMP: Duration = Duration::from_secs(24 * 3600);

/// One clamped clock for versions, expiry and reads of one store.
#[derive(Debug)]
pub struct LogClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Newest append time, and the monotonic time when it was learned. `None` until this process has appended.
    anchor: Option<(Timestamp, Duration)>,
    newest_append: Timestamp,
    read_now: Timestamp,
    destruction_held_until: Option<Duration>,
}

impl LogClock {
    /// A clock that has not heard from its log yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (newest_append, read_now) = (Timestamp::EPOCH, Timestamp::EPOCH);
        let state = State { anchor: None, newest_append, read_now, destruction_held_until: None };
        Self { clock, state: Mutex::new(state) }
    }

    /// What a view has saved of an earlier process: the log's newest append time, and what readers were last told.
    pub fn remember(&self, newest_append: Timestamp, read_now: Timestamp) {
        let mut state = self.lock();
        state.newest_append = state.newest_append.max(newest_append);
        state.read_now = state.read_now.max(read_now);
    }

    /// The wall clock, kept within [`CLOCK_DRIFT_MAX`] of the log's time.
    pub fn now(&self) -> Timestamp {
        self.lock().now(&*self.clock)
    }

    /// The moment that a reader is told. Never goes back, whatever the clocks do.
    pub fn read_now(&self) -> Timestamp {
        let mut state = self.lock();
        state.read_now = state.read_now.max(state.now(&*self.clock));
        state.read_now
    }

    /// The latest moment that a reader was told.
    pub fn last_read_now(&self) -> Timestamp {
        self.lock().read_now
    }

    /// The newest append time seen in the log.
    pub fn newest_append(&self) -> Timestamp {
        self.lock().newest_append
    }

    /// What ended before this moment may be destroyed.
    ///
    /// Rests on append times, never on this node's clock alone. Where the log is stamped by this very node, a clock
    /// that jumps by more than a day cannot be told from a day of silence: destruction waits for a day of running.
    pub fn gc_now(&self) -> Timestamp {
        let state = self.lock();
        let held = state.destruction_held_until.is_some_and(|until| self.clock.monotonic() < until);
        if held || state.anchor.is_none() {
            return Timestamp::EPOCH;
        }
        state.newest_append.min(self.clock.wall())
    }

    /// A record of the log that was applied. Before [`anchor`](Self::anchor) it is history: it says nothing about now.
    pub fn observe_append(&self, append_time: Timestamp) {
        let mut state = self.lock();
        let monotonic = self.clock.monotonic();
        if let Some(expected) = state.log_time(monotonic) {
            state.hold_after_jump(expected, append_time, monotonic);
            // It may have taken its time to come here: it moves the log's time on, never back.
            if expected < append_time {
                state.anchor = Some((append_time, monotonic));
            }
        }
        state.newest_append = state.newest_append.max(append_time);
    }

    /// How far the wall clock is ahead of the log's time, in milliseconds; negative when it is behind. Zero before the
    /// log's time is known.
    pub fn wall_ahead_ms(&self) -> i64 {
        let (wall, log) = (self.clock.wall(), self.lock().log_time(self.clock.monotonic()));
        let log = log.unwrap_or(wall);
        let millis = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        if log <= wall { millis(wall.since(log)) } else { -millis(log.since(wall)) }
    }

    /// A record that this process appended first: the log's time is known from here on. `known` is the newest append
    /// time from before it was sent; what a follower has learned since may be of this very record.
    ///
    /// No reader was told a time earlier than `known` by more than the clamp since that record was appended: what a
    /// crash has taken from the view's memory of that, the log gives back. Unless the log is a day ahead of itself:
    /// that clock was wrong, and a view that is made anew must not inherit it.
    pub fn anchor(&self, append_time: Timestamp, known: Timestamp) {
        let mut state = self.lock();
        if known <= append_time.saturating_add(SUSPICIOUS_JUMP) {
            state.read_now = state.read_now.max(known.saturating_sub(CLOCK_DRIFT_MAX));
        }
        if state.anchor.is_none() {
            state.hold_after_jump(known, append_time, self.clock.monotonic());
        }
        state.heard(append_time, self.clock.monotonic());
    }

    /// A record that this process appended just now.
    pub fn heard(&self, append_time: Timestamp) {
        let mut state = self.lock();
        let monotonic = self.clock.monotonic();
        if let Some(expected) = state.log_time(monotonic) {
            state.hold_after_jump(expected, append_time, monotonic);
        }
        state.heard(append_time, monotonic);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    fn log_time(&self, monotonic: Duration) -> Option<Timestamp> {
        self.anchor.map(|(time, since)| time.saturating_add(monotonic.saturating_sub(since)))
    }

    fn now(&self, clock: &dyn Clock) -> Timestamp {
        let wall = clock.wall();
        match self.log_time(clock.monotonic()) {
            Some(log) => wall.clamp(log.saturating_sub(CLOCK_DRIFT_MAX), log.saturating_add(CLOCK_DRIFT_MAX)),
            None => wall,
        }
    }

    fn hold_after_jump(&mut self, expected: Timestamp, append_time: Timestamp, monotonic: Duration) {
        // A log that was never written to has no past to be ahead of.
        if expected != Timestamp::EPOCH && expected.saturating_add(SUSPICIOUS_JUMP) < append_time {
            self.destruction_held_until = Some(monotonic + SUSPICIOUS_JUMP);
        }
    }

    fn heard(&mut self, append_time: Timestamp, monotonic: Duration) {
        if self.anchor.is_none_or(|(newest, _)| newest <= append_time) {
            self.anchor = Some((append_time, monotonic));
        }
        self.newest_append = self.newest_append.max(append_time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn start() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn clocks(newest_append: Timestamp) -> (Arc<ManualClock>, LogClock) {
        let manual = Arc::new(ManualClock::at(start()));
        let clock = LogClock::new(Arc::clone(&manual) as Arc<dyn Clock>);
        clock.remember(newest_append, Timestamp::EPOCH);
        (manual, clock)
    }

    #[test]
    fn a_wall_clock_far_from_the_logs_is_clamped() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        clock.anchor(start(), clock.newest_append());
        for (wall, expected) in [
            (start().saturating_add(DAY), start().saturating_add(CLOCK_DRIFT_MAX)),
            (start().saturating_sub(DAY), start().saturating_sub(CLOCK_DRIFT_MAX)),
            (start().saturating_add(Duration::from_secs(2)), start().saturating_add(Duration::from_secs(2))),
        ] {
            manual.step_to(wall);
            assert_eq!(clock.now(), expected);
        }
    }

    #[test]
    fn the_log_time_goes_on_with_the_monotonic_clock() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        clock.anchor(start(), clock.newest_append());
        manual.advance(HOUR);
        manual.step_to(start());
        assert_eq!(clock.now(), start().saturating_add(HOUR).saturating_sub(CLOCK_DRIFT_MAX));
    }

    #[test]
    fn a_record_that_comes_late_does_not_set_the_logs_time_back() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        clock.anchor(start(), Timestamp::EPOCH);
        manual.advance(HOUR);
        clock.observe_append(start().saturating_add(HOUR / 2));
        manual.step_to(start());
        assert_eq!(clock.now(), start().saturating_add(HOUR).saturating_sub(CLOCK_DRIFT_MAX));
    }

    #[test]
    fn a_jump_is_seen_though_the_follower_was_quicker_than_the_answer() {
        let (manual, clock) = clocks(start().saturating_sub(30 * DAY));
        let known = clock.newest_append();
        // The first record's own stamp, seen by the follower before its commit was answered.
        clock.observe_append(start());
        clock.anchor(start(), known);
        assert_eq!(clock.gc_now(), Timestamp::EPOCH, "destruction is held");
        manual.advance(DAY);
        assert_ne!(clock.gc_now(), Timestamp::EPOCH);
    }

    #[test]
    fn what_a_reader_is_told_never_goes_back() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        let told = clock.read_now();
        manual.step_to(start().saturating_sub(DAY));
        assert_eq!(clock.read_now(), told);
        assert!(clock.now() < told);
    }

    /// A crash, with the view's memory of what readers were told, and a clock that is set back.
    #[test]
    fn a_start_does_not_tell_readers_an_earlier_time_than_the_log_shows() {
        let (_, clock) = clocks(start().saturating_add(6 * HOUR));
        clock.anchor(start(), clock.newest_append());
        assert_eq!(clock.read_now(), start().saturating_add(6 * HOUR).saturating_sub(CLOCK_DRIFT_MAX));
        let (_, clock) = clocks(start().saturating_add(26 * HOUR));
        clock.anchor(start(), clock.newest_append());
        assert_eq!(clock.read_now(), start(), "that clock was wrong");
    }

    #[test]
    fn the_wall_clock_is_compared_with_the_logs() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        assert_eq!(clock.wall_ahead_ms(), 0, "nothing is known yet");
        clock.anchor(start(), clock.newest_append());
        manual.advance(HOUR);
        assert_eq!(clock.wall_ahead_ms(), 0);
        manual.step_to(start());
        assert_eq!(clock.wall_ahead_ms(), -3_600_000);
        manual.step_to(start().saturating_add(3 * HOUR));
        assert_eq!(clock.wall_ahead_ms(), 2 * 3_600_000);
    }

    #[test]
    fn history_does_not_say_what_time_it_is() {
        let (_, clock) = clocks(Timestamp::EPOCH);
        clock.observe_append(start().saturating_sub(DAY));
        assert_eq!(clock.now(), start());
        assert_eq!(clock.gc_now(), Timestamp::EPOCH);
    }

    #[test]
    fn a_fast_clock_destroys_nothing_early() {
        let (manual, clock) = clocks(Timestamp::EPOCH);
        clock.anchor(start(), clock.newest_append());
        manual.step_to(start().saturating_add(10 * DAY));
        assert_eq!(clock.gc_now(), start());
        manual.step_to(start().saturating_sub(DAY));
        assert_eq!(clock.gc_now(), start().saturating_sub(DAY));
    }

    #[test]
    fn after_a_jump_of_the_logs_own_time_destruction_waits_for_a_day_of_running() {
        let ahead = start().saturating_add(2 * DAY);
        // At a start, and while running.
        for newest_append in [start().saturating_sub(2 * DAY), Timestamp::EPOCH] {
            let (manual, clock) = clocks(newest_append);
            clock.anchor(start(), clock.newest_append());
            if newest_append == Timestamp::EPOCH {
                assert_eq!(clock.gc_now(), start());
                manual.step_to(ahead);
                clock.observe_append(ahead);
            }
            assert_eq!(clock.gc_now(), Timestamp::EPOCH);
            manual.advance(DAY);
            assert_ne!(clock.gc_now(), Timestamp::EPOCH);
        }
    }
}
