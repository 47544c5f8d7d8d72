//! Records of the own log that come back into it: a mirror that takes what it should not goes round in a circle. Pure.

use std::{collections::BTreeMap, time::Duration};

use schemas::{Offset, Partition, Sequence, Timestamp, WriterId};

/// Appenders that are kept in mind. Beyond, all are forgotten: what comes back goes on coming back.
const APPENDERS_MAX: usize = 1_024;

/// One or two may be late records of a producer that was replaced.
const MANY: u64 = 10;

const WITHIN: Duration = Duration::from_secs(60);

/// While it goes on it is said this often.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// The highest number of each appender in each partition of the own log, and how many came that are not above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    /// The first offset that was not looked at.
    up_to: BTreeMap<Partition, Offset>,
    highest: BTreeMap<(Partition, WriterId), u64>,
    /// When the counting began, and how many there were since.
    counted: Option<(Timestamp, u64)>,
    said: Option<Timestamp>,
}

impl Returned {
    /// Whether a record was seen before at another offset. A view that takes the place of another may have what is before
    /// the first offset that was not looked at read again.
    pub(super) fn see(&mut self, partition: Partition, offset: Offset, sequence: Sequence) -> bool {
        let Sequence { appender, number } = sequence;
        let up_to = self.up_to.entry(partition).or_insert(Offset(0));
        if offset < *up_to {
            return false;
        }
        *up_to = offset.next();
        if APPENDERS_MAX < self.highest.len() {
            self.highest.clear();
        }
        let highest = self.highest.entry((partition, appender)).or_insert(0);
        let is_back = number <= *highest;
        *highest = number.max(*highest);
        is_back
    }

    /// How many came back within a minute, if they are so many that it has to be said, and has not been for a while.
    pub(super) fn count(&mut self, came_back: u64, now: Timestamp) -> Option<u64> {
        let current = self.counted.filter(|(began, _)| now.since(*began) <= WITHIN);
        let (began, before) = current.unwrap_or((now, 0));
        let count = before + came_back;
        self.counted = Some((began, count));
        let was_said = self.said.is_some_and(|said| now.since(said) < SAY_EVERY);
        if count < MANY || was_said {
            return None;
        }
        self.said = Some(now);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    #[test]
    fn what_was_seen_before_has_come_back() {
        let mut returned = Returned::default();
        let mut see = |partition, offset, appender, number| {
            returned.see(
                Partition(partition),
                Offset(offset),
                Sequence { appender: WriterId(appender), number },
            )
        };
        assert!(!see(0, 1, 1, 5) && !see(0, 2, 1, 7) && !see(0, 3, 2, 6) && !see(1, 1, 1, 6), "all are new");
        assert!(!see(0, 2, 1, 7), "read again");
        assert!(see(0, 4, 1, 5) && see(0, 5, 1, 7));
        assert!(!see(0, 6, 1, 8));
    }

    #[test]
    fn many_within_a_minute_are_said_and_not_again_for_a_while() {
        let mut returned = Returned::default();
        assert_eq!(returned.count(9, at(0)), None);
        assert_eq!(returned.count(9, at(61)), None, "another minute");
        assert_eq!(returned.count(1, at(62)), Some(10));
        assert_eq!(returned.count(50, at(63)), None);
        assert_eq!(returned.count(50, at(663)), Some(50));
    }
}
