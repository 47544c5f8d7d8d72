//! Chooses versions: a hybrid logical clock that never goes back within a process.

use std::sync::{Mutex, MutexGuard};

use schemas::{Hlc, Timestamp, Version, WriterId};

/// The versions of one writer.
#[derive(Debug)]
pub struct Versions {
    writer: WriterId,
    last: Mutex<Hlc>,
}

impl Versions {
    /// A writer that has not written yet. Versions begin above everything that was [observed](Self::observe).
    pub const fn of(writer: WriterId) -> Self {
        Self { writer, last: Mutex::new(Hlc::from_bits(0)) }
    }

    /// Whose versions these are.
    pub const fn writer(&self) -> WriterId {
        self.writer
    }

    /// A version above every earlier one, above every observed one, above `seen`, and not before `now`.
    pub fn next(&self, now: Timestamp, seen: Option<Version>) -> Version {
        let mut last = self.lock();
        let above_seen = seen.map_or(Hlc::from_bits(0), |seen| seen.hlc.tick());
        *last = Hlc::at(now).max(last.tick()).max(above_seen);
        Version { hlc: *last, writer: self.writer }
    }

    /// Makes every later version newer than `seen`, whatever the clock says.
    pub fn observe(&self, seen: Version) {
        let mut last = self.lock();
        *last = (*last).max(seen.hlc);
    }

    fn lock(&self) -> MutexGuard<'_, Hlc> {
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
