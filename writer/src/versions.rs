//! Chooses versions: a hybrid logical clock that never goes back within a process.
//!
//! A delete that goes on without some data centre is stamped [`SKIP_MARGIN`] ahead, and later writes of its key go above
//! that. Such versions come from a clock of their own, and nobody's clock learns them (`materializer::fold`): otherwise one
//! delete would drag every clock along, the next would be stamped ahead of those, and so on.

use std::sync::{Mutex, MutexGuard};

use schemas::{
    Hlc, Timestamp, Version, WriterId,
    caps::{SKIP_MARGIN, SKIP_STEP, VERSION_AHEAD_MAX},
};

/// The versions of one writer.
#[derive(Debug)]
pub struct Versions {
    writer: WriterId,
    last: Mutex<Last>,
}

/// What was chosen last.
#[derive(Debug, Default)]
struct Last {
    /// Near the clock.
    near: Hlc,
    /// Far ahead of it: never twice the same, either.
    ahead: Hlc,
}

impl Versions {
    /// A writer that has not written yet. Versions begin above everything that was [observed](Self::observe).
    pub const fn of(writer: WriterId) -> Self {
        let zero = Hlc::from_bits(0);
        Self { writer, last: Mutex::new(Last { near: zero, ahead: zero }) }
    }

    /// Whose versions these are.
    pub const fn writer(&self) -> WriterId {
        self.writer
    }

    /// A version above every earlier one, above every observed one, above `seen`, and not before `now`. Where `seen` lies more
    /// than [`VERSION_AHEAD_MAX`] ahead of all that, the new version does too, and is none of the earlier ones for the next.
    pub fn next(&self, now: Timestamp, seen: Option<Version>) -> Version {
        let above_seen = seen.map_or(Hlc::from_bits(0), |seen| seen.hlc.tick());
        let mut last = self.lock();
        let near = Hlc::at(now).max(last.near.tick());
        let hlc = if near.time().saturating_add(VERSION_AHEAD_MAX) < above_seen.time() {
            last.ahead = last.ahead.tick().max(above_seen);
            last.ahead
        } else {
            last.near = near.max(above_seen);
            last.near
        };
        Version { hlc, writer: self.writer }
    }

    /// A version [`SKIP_STEP`] above `seen` or more, and [`SKIP_MARGIN`] or more ahead of all that [`next`](Self::next) goes
    /// above.
    pub fn next_ahead(&self, now: Timestamp, seen: Option<Version>) -> Version {
        let above_seen = seen.map_or(Hlc::from_bits(0), |seen| seen.later(SKIP_STEP).hlc.tick());
        let mut last = self.lock();
        let near = Hlc::at(now).max(last.near.tick());
        let ahead = Hlc::at(near.time().saturating_add(SKIP_MARGIN));
        last.ahead = ahead.max(last.ahead.tick()).max(above_seen);
        Version { hlc: last.ahead, writer: self.writer }
    }

    /// The latest time that a version carries which [`next`](Self::next) chooses now, near the clock.
    pub fn reach(&self, now: Timestamp) -> Timestamp {
        now.max(self.lock().near.time())
    }

    /// Makes every later version newer than `seen`, whatever the clock says.
    pub fn observe(&self, seen: Version) {
        let mut last = self.lock();
        last.near = last.near.max(seen.hlc);
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn time_comes_from_the_clock_when_nothing_is_ahead_of_it() {
        let versions = Versions::of(WriterId(9));
        assert_eq!(versions.next(at(5), None), Version { hlc: Hlc::at(at(5)), writer: WriterId(9) });
    }

    #[test]
    fn what_lies_far_ahead_concerns_its_own_key_alone() {
        let versions = Versions::of(WriterId(9));
        let deleted = versions.next_ahead(at(1_000), None);
        assert_eq!(deleted.hlc, Hlc::at(at(61_000)));
        let written_again = versions.next(at(1_001), Some(deleted));
        assert!(deleted < written_again);
        assert_eq!(versions.next(at(1_002), None).hlc, Hlc::at(at(1_002)));
        let at_once = versions.next(at(1_002), Some(deleted));
        assert!(written_again < at_once, "no version is chosen twice");
        let skips_again = versions.next_ahead(at(1_003), Some(at_once));
        assert!(at_once.later(SKIP_STEP) < skips_again, "above what may have followed elsewhere");
        let another = versions.next_ahead(at(9_000), None);
        assert_eq!(another.hlc, Hlc::at(at(69_000)), "a margin is not put on top of a margin");
    }

    proptest! {
        #[test]
        fn a_version_is_above_all_that_were_chosen_observed_or_seen(
            steps in prop::collection::vec((0..50_u64, prop::option::of(0..50_u64), prop::option::of(0..50_u64)), 1..50)
        ) {
            let versions = Versions::of(WriterId(1));
            let other = |millis: u64| Version { hlc: Hlc::at(at(millis)).tick(), writer: WriterId(u64::MAX) };
            let mut highest = None;
            for (now, observed, seen) in steps {
                observed.map(other).into_iter().for_each(|version| versions.observe(version));
                let seen = seen.map(other);
                let chosen = versions.next(at(now), seen);
                prop_assert!(Hlc::at(at(now)) <= chosen.hlc);
                for lower in [highest, observed.map(other), seen] {
                    prop_assert!(lower < Some(chosen), "{lower:?} {chosen:?}");
                }
                highest = Some(chosen);
            }
        }
    }
}
