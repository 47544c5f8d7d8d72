//! Heartbeats with a name that the view has come to: how another data centre finds out that this one has applied all that it
//! wrote before.
//!
//! Offsets cannot say that. A copy of a log has offsets of its own wherever a mirror fills it, and a mirror may repeat. But
//! it keeps the order of a partition: once a beacon has been applied, everything that stands before it in the original has
//! been, or was lost.

use std::collections::{BTreeMap, VecDeque};

use schemas::{Beacon, Control, Message, Partition, PartitionCount, Topic};
use tokio::sync::watch;

use crate::CheckedBatch;

/// How many of a partition are remembered. Whoever asks for one asks within seconds.
const KEPT: usize = 64;

/// A partition of one log.
type Lane = (Topic, Partition);

/// The newest beacons that a view has applied.
#[derive(Debug)]
pub struct Beacons {
    topics: Vec<Topic>,
    partitions: PartitionCount,
    applied: watch::Sender<BTreeMap<Lane, VecDeque<Beacon>>>,
}

impl Beacons {
    /// Of a view that is made from these logs, none of which is known to have shown one.
    pub fn of(topics: Vec<Topic>, partitions: PartitionCount) -> Self {
        Self { topics, partitions, applied: watch::Sender::default() }
    }

    /// Those of a batch: none, nearly always.
    pub(crate) fn in_batch(batch: &CheckedBatch) -> Vec<Beacon> {
        let beacon = |message: &Message| match message {
            Message::Control(Control::Heartbeat { beacon, .. }) => *beacon,
            Message::Control(Control::Declared(_) | Control::Other) | Message::Event { .. } => None,
        };
        batch.entries.iter().filter_map(|entry| beacon(entry.message.as_ref().ok()?)).collect()
    }

    /// The view has applied these.
    pub(crate) fn applied(&self, topic: &Topic, partition: Partition, beacons: Vec<Beacon>) {
        if beacons.is_empty() {
            return;
        }
        self.applied.send_modify(|lanes| {
            let lane = lanes.entry((topic.clone(), partition)).or_default();
            lane.extend(beacons);
            lane.drain(..lane.len().saturating_sub(KEPT));
        });
    }

    /// The logs in which the view has not come to `beacon` in every partition.
    pub fn missing(&self, beacon: Beacon) -> Vec<Topic> {
        let lanes = self.applied.borrow();
        let has = |topic: &Topic, partition| {
            lanes.get(&(topic.clone(), partition)).is_some_and(|beacons| beacons.contains(&beacon))
        };
        let lacks = |topic: &&Topic| !self.partitions.all().all(|partition| has(topic, partition));
        self.topics.iter().filter(lacks).cloned().collect()
    }

    /// Waits until nothing is [missing](Self::missing). To be given up by whoever has no patience left.
    pub async fn wait_for(&self, beacon: Beacon) {
        let mut changes = self.applied.subscribe();
        while !self.missing(beacon).is_empty() {
            // The sender is part of `self`.
            let _a_change = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn topic(origin: &str) -> Topic {
        Topic { origin: origin.parse().unwrap(), store: "sessions".parse().unwrap() }
    }

    fn beacons(topics: &[Topic]) -> Beacons {
        Beacons::of(topics.to_vec(), PartitionCount::new(2).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_beacon_is_reached_when_every_partition_of_every_log_has_shown_it() {
        let topics = [topic("eqiad"), topic("codfw")];
        let beacons = beacons(&topics);
        let reached = || timeout(Duration::from_millis(1), beacons.wait_for(Beacon(1)));
        let lanes = [(0, 0), (0, 1), (1, 0), (1, 1)];
        for (log, partition) in lanes {
            assert!(reached().await.is_err());
            beacons.applied(&topics[log], Partition(partition), vec![Beacon(2)]);
            assert!(reached().await.is_err(), "another one");
            beacons.applied(&topics[log], Partition(partition), vec![Beacon(1)]);
        }
        assert!(reached().await.is_ok());
        assert_eq!(beacons.missing(Beacon(2)), []);
        assert_eq!(beacons.missing(Beacon(3)), topics);
    }

    #[test]
    fn old_ones_are_forgotten() {
        let topics = [topic("eqiad")];
        let beacons = beacons(&topics);
        for n in 0..=KEPT as u64 {
            [0, 1].iter().for_each(|&n_th| beacons.applied(&topics[0], Partition(n_th), vec![Beacon(n)]));
        }
        assert_eq!(beacons.missing(Beacon(0)), topics);
        assert_eq!(beacons.missing(Beacon(1)), []);
    }
}
