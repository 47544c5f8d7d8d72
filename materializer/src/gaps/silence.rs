//! How long nothing has come of a log that is copied here. Pure.

use std::{collections::BTreeMap, time::Duration};

use schemas::{Partition, Timestamp};

/// When each partition of a copied log was heard of last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Silence {
    heard: BTreeMap<Partition, Timestamp>,
    is_told: bool,
}

/// What is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing has come of this partition for so long.
    Silent(Partition, Duration),
    /// Something has come of all partitions again.
    Heard,
}

impl Silence {
    /// Something has come, or the looking begins.
    pub(super) fn hear(&mut self, partition: Partition, now: Timestamp) {
        self.heard.insert(partition, now);
    }

    /// The partition that has been silent for longest, and for how long.
    pub(super) fn longest(&self, now: Timestamp) -> Option<(Partition, Duration)> {
        let (partition, heard) = self.heard.iter().min_by_key(|(_, heard)| **heard)?;
        Some((*partition, now.since(*heard)))
    }

    /// What has changed, of a log that stands still when a partition is silent for longer than `silent_after`.
    pub(super) fn judge(&mut self, now: Timestamp, silent_after: Duration) -> Option<News> {
        let (partition, silent_for) = self.longest(now)?;
        let is_silent = silent_after < silent_for;
        let was_told = std::mem::replace(&mut self.is_told, is_silent);
        match (was_told, is_silent) {
            (false, true) => Some(News::Silent(partition, silent_for)),
            (true, false) => Some(News::Heard),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_silent_for_too_long_is_told_of_once_and_so_is_its_end() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        let after = Duration::from_secs(30);
        let mut silence = Silence::default();
        assert_eq!((silence.longest(at(5)), silence.judge(at(500), after)), (None, None), "nobody looks yet");
        (0..2).for_each(|partition| silence.hear(Partition(partition), at(100)));
        silence.hear(Partition(1), at(125));
        assert_eq!(silence.longest(at(130)), Some((Partition(0), Duration::from_secs(30))));
        assert_eq!(silence.judge(at(130), after), None);
        let silent = News::Silent(Partition(0), Duration::from_secs(31));
        assert_eq!([131, 132].map(|now| silence.judge(at(now), after)), [Some(silent), None]);
        silence.hear(Partition(0), at(133));
        assert_eq!([134, 135].map(|now| silence.judge(at(now), after)), [Some(News::Heard), None]);
    }
}
