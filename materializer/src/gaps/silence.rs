//! How long nothing has come of a log that is copied here.
//!
//! By a clock that only goes on, not by that of the store: that one jumps when the log says what time it is.

use std::{collections::BTreeMap, time::Duration};

use schemas::Partition;
use tokio::time::Instant;

/// When each partition of a copied log was heard of last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Silence {
    heard: BTreeMap<Partition, Instant>,
    /// So many silent partitions have been told of.
    told: usize,
}

/// What is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing has come of so many partitions for too long, of this one for longest.
    Silent(usize, Partition, Duration),
    /// Something has come of all partitions again.
    Heard,
}

impl Silence {
    /// Something has come, or the looking begins.
    pub(super) fn hear(&mut self, partition: Partition, now: Instant) {
        self.heard.insert(partition, now);
    }

    /// Nobody can tell whether something would have come until now.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.heard.values_mut().for_each(|heard| *heard = now);
    }

    /// The partition that has been silent for longest, and for how long.
    pub(super) fn longest(&self, now: Instant) -> Option<(Partition, Duration)> {
        let (partition, heard) = self.heard.iter().min_by_key(|(_, heard)| **heard)?;
        Some((*partition, now.duration_since(*heard)))
    }

    /// What is news, of a log that stands still where a partition is silent for longer than `silent_after`.
    pub(super) fn judge(&mut self, now: Instant, silent_after: Duration) -> Option<News> {
        let (partition, silent_for) = self.longest(now)?;
        let silent = self.heard.values().filter(|heard| silent_after < now.duration_since(**heard)).count();
        let told = std::mem::replace(&mut self.told, silent);
        match silent {
            0 => (0 < told).then_some(News::Heard),
            more if told < more => Some(News::Silent(more, partition, silent_for)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_are_silent_for_too_long_are_told_of_once_and_so_is_their_end() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let after = Duration::from_secs(30);
        let mut silence = Silence::default();
        assert_eq!((silence.longest(at(5)), silence.judge(at(500), after)), (None, None), "nobody looks yet");
        (0..2).for_each(|partition| silence.hear(Partition(partition), at(100)));
        silence.hear(Partition(1), at(125));
        assert_eq!(silence.longest(at(130)), Some((Partition(0), Duration::from_secs(30))));
        assert_eq!(silence.judge(at(130), after), None);
        let silent = News::Silent(1, Partition(0), Duration::from_secs(31));
        assert_eq!([131, 132].map(|now| silence.judge(at(now), after)), [Some(silent), None]);
        let both = News::Silent(2, Partition(0), Duration::from_secs(56));
        assert_eq!([156, 157].map(|now| silence.judge(at(now), after)), [Some(both), None]);
        silence.hear(Partition(0), at(158));
        assert_eq!(silence.judge(at(158), after), None, "the other one is silent still");
        silence.hear(Partition(1), at(159));
        assert_eq!([160, 161].map(|now| silence.judge(at(now), after)), [Some(News::Heard), None]);
        silence.excuse(at(189));
        assert_eq!(silence.judge(at(219), after), None);
        assert!(matches!(silence.judge(at(220), after), Some(News::Silent(2, _, _))));
    }
}
