//! Records of the own log that come back into it: a mirror that takes what it should not goes round in a circle.

use std::{collections::BTreeMap, time::Duration};

use eventlog::Frontier;
use schemas::{Offset, Partition, Sequence, WriterId};
use tokio::time::Instant;

/// Appenders of a partition that are kept in mind. Beyond, all are forgotten: what comes back goes on coming back.
const APPENDERS_MAX: usize = 64;

/// So many within a minute, and within the next one as well: those of a producer that was replaced may be late once.
const MANY: u64 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// While it goes on it is said this often.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// The highest number of each appender in each partition of the own log, and how many came that are not above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    /// The first offset that is looked at, or was not yet.
    up_to: Frontier,
    highest: BTreeMap<Partition, BTreeMap<WriterId, u64>>,
    /// The minute that is counted, how many came in it, and whether there were many in the one before.
    minute: Option<(Instant, u64, bool)>,
    said: Option<Instant>,
}

impl Returned {
    /// Looks at what comes from here on: what is there already is over, perhaps.
    pub(super) fn begin(&mut self, tail: &Frontier) {
        self.up_to = tail.clone();
    }

    /// Whether a record was seen before at another offset. What is read again, for a view that takes the place of another, was
    /// not.
    pub(super) fn see(&mut self, partition: Partition, offset: Offset, sequence: Sequence) -> bool {
        let Sequence { appender, number } = sequence;
        if offset < self.up_to.get(partition) {
            return false;
        }
        self.up_to.advance(partition, offset.next());
        let of_partition = self.highest.entry(partition).or_default();
        if APPENDERS_MAX < of_partition.len() {
            of_partition.clear();
        }
        let highest = of_partition.entry(appender).or_insert(0);
        let is_back = number <= *highest;
        *highest = number.max(*highest);
        is_back
    }

    /// How many came back in this minute, if that has to be said: after another minute of many, and not for a while.
    pub(super) fn count(&mut self, came_back: u64, now: Instant) -> Option<u64> {
        let minute = match self.minute.take() {
            Some((began, before, was_many)) if now < began + MINUTE => (began, before + came_back, was_many),
            Some((began, before, _)) => (now, came_back, MANY <= before && now < began + 2 * MINUTE),
            None => (now, came_back, false),
        };
        self.minute = Some(minute);
        let (_, count, was_many) = minute;
        let was_said = self.said.is_some_and(|said| now < said + SAY_EVERY);
        if count < MANY || !was_many || was_said {
            return None;
        }
        self.said = Some(now);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_before_has_come_back() {
        let mut returned = Returned::default();
        let mut tail = Frontier::empty();
        tail.advance(Partition(0), Offset(1));
        returned.begin(&tail);
        let mut see = |partition, offset, appender, number| {
            returned.see(
                Partition(partition),
                Offset(offset),
                Sequence { appender: WriterId(appender), number },
            )
        };
        assert!(!see(0, 0, 1, 9), "it was there before");
        assert!(!see(0, 1, 1, 5) && !see(0, 2, 1, 7) && !see(0, 3, 2, 6) && !see(1, 1, 1, 6), "all are new");
        assert!(!see(0, 2, 1, 7), "read again");
        assert!(see(0, 4, 1, 5) && see(0, 5, 1, 7));
        assert!(!see(0, 6, 1, 8));
    }

    #[test]
    fn many_in_two_minutes_on_end_are_said_and_not_again_for_a_while() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut returned = Returned::default();
        assert_eq!(returned.count(900, at(0)), None, "once");
        assert_eq!(returned.count(9, at(200)), None, "another minute, much later");
        assert_eq!(returned.count(9, at(201)), None, "many, for the first time");
        assert_eq!(returned.count(9, at(261)), None);
        assert_eq!(returned.count(1, at(262)), Some(10));
        assert_eq!(returned.count(50, at(263)), None);
        assert_eq!(returned.count(50, at(330)), None);
        assert_eq!(returned.count(50, at(865)), None, "a new minute, after a quiet one");
        assert_eq!(returned.count(50, at(930)), Some(50));
    }
}
