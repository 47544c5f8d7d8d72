//! The numbers of one appender in one partition of a copied log, as they came. Pure.
//!
//! ```text
//!   1 2 3 · · 6 7 · 9          last = 9
//!         4─5     8            gaps: from the moment when something above them came
//!
//!   suspected ──3 s──▶ lost        the log was to have kept them: told, counted, and open until they are found
//!             ──3 s──▶ excused     the log may have dropped them before they were copied: told
//!   a number that comes late, or that the appender says it never stored, closes its gap
//! ```

use std::time::Duration;

use schemas::{Heartbeat, Offset, Timestamp, Version};

/// How long a number may be late: whoever copies a log may write what it tries again behind what came after it, and a
/// number that was never stored is told of within a second or two.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Gaps of one appender that are remembered. One that is forgotten has been counted and told.
const GAPS_MAX: usize = 256;

/// How far a version may be ahead of the moment at which it was chosen: that of a delete which leaves out a data centre is
/// a minute, beside what clocks may differ.
const VERSION_AHEAD_MAX: Duration = Duration::from_secs(65);

/// One appender's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The newest number that was heard of, 0 before the first.
    pub(crate) last: u64,
    /// Whatever is above `last` was given after this moment, by the appender's clock.
    pub(crate) since: Timestamp,
    /// Where in the copy it was heard of last.
    pub(crate) heard: Offset,
    /// What is missing at or below `last`, in order, without overlap.
    pub(crate) gaps: Vec<Gap>,
}

/// Numbers that no record has come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub(crate) from: u64,
    /// The last.
    pub(crate) to: u64,
    /// Where in the copy the appender was heard of before them.
    pub(crate) after: Offset,
    /// Where something above them came.
    pub(crate) before: Offset,
    /// What is known of them.
    pub(crate) state: GapState,
}

/// What is known of numbers that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapState {
    /// They may come yet.
    Suspected {
        /// When something above them came.
        noticed: Timestamp,
        /// No log was to have dropped them by then.
        is_kept: bool,
    },
    /// They should be here.
    Lost,
    /// Nobody is to blame: they may never have been stored, or been dropped before they were copied.
    Excused,
}

/// What became of a number that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is above all that came before.
    New,
    /// It was missing.
    Late(GapState),
    /// It has come before.
    Repeated,
}

/// When something of an appender came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Where in the copy it stands.
    pub(crate) offset: Offset,
    /// When the copy took it.
    pub(crate) appended: Timestamp,
    /// When it is looked at.
    pub(crate) now: Timestamp,
    /// How long logs keep every record.
    pub(crate) kept_for: Option<Duration>,
}

impl Gap {
    /// How many numbers.
    pub(crate) const fn count(&self) -> u64 {
        self.to - self.from + 1
    }

    const fn holds(&self, number: u64) -> bool {
        self.from <= number && number <= self.to
    }

    /// What is left of it without `from` to `to`.
    fn without(self, from: u64, to: u64) -> impl Iterator<Item = Self> {
        let below = Self { to: self.to.min(from.saturating_sub(1)), ..self };
        let above = Self { from: self.from.max(to.saturating_add(1)), ..self };
        let is_apart = to < self.from || self.to < from;
        let parts = if is_apart { [Some(self), None] } else { [Some(below), Some(above)] };
        parts.into_iter().flatten().filter(|part| part.from <= part.to)
    }
}

impl Track {
    /// Begins after `last`.
    pub(crate) const fn after(last: u64, since: Timestamp, heard: Offset) -> Self {
        Self { last, since, heard, gaps: Vec::new() }
    }

    /// A record with this number has come, and an event of this version in it.
    pub(crate) fn see(&mut self, number: u64, version: Version, at: Moment) -> Sight {
        if number <= self.last {
            return self.take(number).map_or(Sight::Repeated, Sight::Late);
        }
        self.miss(number - 1, at);
        (self.last, self.heard) = (number, at.offset);
        // It was chosen before the record was appended, but for a version that somebody else chose, which is older.
        self.has_lived_at(version.hlc.time().saturating_sub(VERSION_AHEAD_MAX), at);
        Sight::New
    }

    /// The appender has said how far it had come, and what it never stored. Returns how many numbers that were counted as
    /// lost it has taken back.
    pub(crate) fn hear(&mut self, heartbeat: &Heartbeat, at: Moment) -> u64 {
        let Heartbeat { skipped, unsure, reach } = heartbeat;
        // Whatever it lists it had given before.
        let listed = skipped.iter().chain(unsure).copied().max().unwrap_or_default();
        let up_to = reach.map_or(0, |reach| reach.number).max(listed);
        self.miss(up_to, at);
        (self.last, self.heard) = (self.last.max(up_to), at.offset);
        if let Some(reach) = reach {
            self.has_lived_at(reach.at, at);
        }
        let taken_back = skipped.iter().filter(|&&number| self.take(number) == Some(GapState::Lost)).count();
        for &number in unsure {
            // One that is known to be lost stays so: the appender merely does not know that it was stored.
            if let Some(gap) = self.gap_of(number)
                && matches!(gap.state, GapState::Suspected { .. })
            {
                self.take(number);
                self.insert(Gap { from: number, to: number, state: GapState::Excused, ..gap });
            }
        }
        taken_back as u64
    }

    /// Judges what has been missing for so long that it will not come by itself. Returns what it judged, as it is now.
    pub(crate) fn lapse(&mut self, now: Timestamp) -> Vec<Gap> {
        let mut judged = Vec::new();
        for gap in &mut self.gaps {
            if let GapState::Suspected { noticed, is_kept } = gap.state
                && noticed.saturating_add(PATIENCE) <= now
            {
                gap.state = if is_kept { GapState::Lost } else { GapState::Excused };
                judged.push(*gap);
            }
        }
        judged
    }

    /// Closes the gap at this number. Says what it was, if there was one.
    pub(crate) fn take(&mut self, number: u64) -> Option<GapState> {
        let at = self.gaps.iter().position(|gap| gap.holds(number))?;
        let gap = self.gaps.remove(at);
        self.gaps.splice(at..at, gap.without(number, number));
        self.forget_some();
        Some(gap.state)
    }

    /// What is lost, and what may be.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.state != GapState::Excused)
    }

    /// How many numbers are lost.
    pub(crate) fn lost(&self) -> u64 {
        self.gaps.iter().filter(|gap| gap.state == GapState::Lost).map(Gap::count).sum()
    }

    /// Closes what lies in these ranges, each with its ends.
    pub(crate) fn close(&mut self, ranges: &[(u64, u64)]) {
        let gaps = std::mem::take(&mut self.gaps);
        for gap in gaps {
            let mut left = vec![gap];
            for &(from, to) in ranges {
                left = left.into_iter().flat_map(|gap| gap.without(from, to)).collect();
            }
            self.gaps.extend(left);
        }
        self.forget_some();
    }

    fn gap_of(&self, number: u64) -> Option<Gap> {
        self.gaps.iter().find(|gap| gap.holds(number)).copied()
    }

    /// Whatever is above `last` is younger than this. A clock that is ahead would make old gaps young: the copy took it
    /// later.
    fn has_lived_at(&mut self, moment: Timestamp, at: Moment) {
        self.since = self.since.max(moment.min(at.appended));
    }

    /// Whatever is above what was heard of, up to `number`, is missing.
    fn miss(&mut self, number: u64, at: Moment) {
        if number <= self.last {
            return;
        }
        let is_kept = at.kept_for.is_none_or(|kept| at.now < self.since.saturating_add(kept));
        let state = GapState::Suspected { noticed: at.now, is_kept };
        self.insert(Gap { from: self.last + 1, to: number, after: self.heard, before: at.offset, state });
    }

    fn insert(&mut self, gap: Gap) {
        let at = self.gaps.partition_point(|other| other.from < gap.from);
        self.gaps.insert(at, gap);
        self.forget_some();
    }

    fn forget_some(&mut self) {
        while GAPS_MAX < self.gaps.len() {
            let excused = self.gaps.iter().position(|gap| gap.state == GapState::Excused);
            self.gaps.remove(excused.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, Reach, WriterId};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    /// Somebody else's, long ago.
    const OLD: Version = Version { hlc: Hlc::from_bits(1), writer: WriterId(1) };

    const BEGAN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(offset: u64, after: Duration) -> Moment {
        let now = BEGAN.saturating_add(after);
        Moment { offset: Offset(offset), appended: now, now, kept_for: Some(6 * HOUR) }
    }

    fn track() -> Track {
        Track::after(0, BEGAN, Offset::ZERO)
    }

    fn numbers(gaps: &[Gap]) -> Vec<(u64, u64)> {
        gaps.iter().map(|gap| (gap.from, gap.to)).collect()
    }

    fn heartbeat(skipped: &[u64], unsure: &[u64], number: u64, at: Timestamp) -> Heartbeat {
        Heartbeat { skipped: skipped.into(), unsure: unsure.into(), reach: Some(Reach { number, at }) }
    }

    #[test]
    fn what_does_not_come_within_its_time_is_lost_and_what_comes_late_is_not() {
        let mut track = track();
        for number in [1, 2, 5, 9] {
            assert_eq!(track.see(number, OLD, at(number, Duration::ZERO)), Sight::New);
        }
        assert_eq!(numbers(&track.gaps), [(3, 4), (6, 8)]);
        assert!(matches!(track.see(7, OLD, at(10, Duration::ZERO)), Sight::Late(GapState::Suspected { .. })));
        assert!(track.lapse(BEGAN.saturating_add(PATIENCE / 2)).is_empty());
        let judged = track.lapse(BEGAN.saturating_add(PATIENCE));
        assert_eq!(numbers(&judged), [(3, 4), (6, 6), (8, 8)]);
        assert!(judged.iter().all(|gap| gap.state == GapState::Lost));
        assert_eq!((judged[0].after, judged[0].before), (Offset(2), Offset(5)));
        assert_eq!(track.lost(), 4);
        assert!(track.lapse(BEGAN.saturating_add(HOUR)).is_empty(), "once");
        assert_eq!(track.see(3, OLD, at(11, HOUR)), Sight::Late(GapState::Lost));
        assert_eq!(track.see(3, OLD, at(12, HOUR)), Sight::Repeated);
        assert_eq!(track.see(9, OLD, at(13, HOUR)), Sight::Repeated);
        assert_eq!(track.lost(), 3);
    }

    #[test]
    fn a_heartbeat_tells_of_the_last_record_and_of_numbers_that_no_record_has() {
        let mut track = track();
        track.see(1, OLD, at(1, Duration::ZERO));
        track.hear(&heartbeat(&[2], &[4], 5, BEGAN), at(2, Duration::ZERO));
        assert_eq!(numbers(&track.lapse(BEGAN.saturating_add(PATIENCE))), [(3, 3), (5, 5)]);
        assert!(matches!(track.see(4, OLD, at(3, HOUR)), Sight::Late(GapState::Excused)), "stored after all");
        // Counted, and then it is said that it never was stored; another was given up by its client.
        assert_eq!(track.hear(&heartbeat(&[2, 3], &[5], 5, BEGAN), at(4, HOUR)), 1);
        assert_eq!(numbers(&track.gaps), [(5, 5)]);
        assert_eq!(track.lost(), 1);
        let old = Heartbeat { skipped: vec![7], ..Heartbeat::default() };
        track.hear(&old, at(5, HOUR));
        assert_eq!((track.last, numbers(&track.gaps)), (7, vec![(5, 5), (6, 6)]));
    }

    #[test]
    fn what_the_original_may_have_dropped_before_it_was_copied_is_not_called_lost() {
        let mut track = track();
        track.see(1, OLD, at(1, Duration::ZERO));
        track.see(3, OLD, at(2, 6 * HOUR));
        assert_eq!(track.lapse(BEGAN.saturating_add(7 * HOUR))[0].state, GapState::Excused);
        // It says that it was there an hour ago: what it gave since is younger.
        track.hear(&heartbeat(&[], &[], 3, BEGAN.saturating_add(6 * HOUR)), at(3, 7 * HOUR));
        track.see(5, OLD, at(4, 11 * HOUR));
        assert_eq!(track.lapse(BEGAN.saturating_add(12 * HOUR))[0].state, GapState::Lost);
        // Its clock is a day ahead, and the copy's is not.
        track.hear(&heartbeat(&[], &[], 5, BEGAN.saturating_add(36 * HOUR)), at(5, 12 * HOUR));
        track.see(7, OLD, at(6, 20 * HOUR));
        assert_eq!(track.lapse(BEGAN.saturating_add(21 * HOUR))[0].state, GapState::Excused);
        let for_ever = Moment { kept_for: None, ..at(7, 1000 * HOUR) };
        track.see(9, OLD, for_ever);
        assert_eq!(track.lapse(BEGAN.saturating_add(1001 * HOUR))[0].state, GapState::Lost);
    }

    #[test]
    fn a_version_says_when_its_record_was_not_there_yet() {
        let mut track = Track::after(0, Timestamp::EPOCH, Offset::ZERO);
        let version = |moment| Version { hlc: Hlc::at(moment), writer: WriterId(1) };
        track.see(1, version(BEGAN), at(1, Duration::ZERO));
        track.see(3, OLD, at(2, HOUR));
        assert_eq!(track.lapse(BEGAN.saturating_add(2 * HOUR))[0].state, GapState::Lost);
        // From a clock that is a day ahead.
        track.see(4, version(BEGAN.saturating_add(24 * HOUR)), at(3, HOUR));
        track.see(6, OLD, at(4, 8 * HOUR));
        assert_eq!(track.lapse(BEGAN.saturating_add(9 * HOUR))[0].state, GapState::Excused);
    }

    #[test]
    fn however_much_is_missing_the_memory_of_it_is_bounded() {
        let mut track = track();
        for number in 1..10 * GAPS_MAX as u64 {
            track.see(2 * number, OLD, at(number, Duration::ZERO));
        }
        assert_eq!(track.gaps.len(), GAPS_MAX);
        let mut whole = self::track();
        whole.see(1_000_000, OLD, at(1, Duration::ZERO));
        for number in 1..10 * GAPS_MAX as u64 {
            whole.see(2 * number, OLD, at(number, Duration::ZERO));
        }
        assert_eq!(whole.gaps.len(), GAPS_MAX);
    }
}
