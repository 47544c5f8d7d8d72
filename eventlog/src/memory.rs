//! A log in memory, for tests and simulation: a broker that several nodes share and that outlives them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{
    future::BoxFuture,
    stream::{self, BoxStream, StreamExt},
};
use schemas::{Offset, Partition, PartitionCount, Position, Record, Topic, caps::BATCH_RECORDS_MAX};
use tokio::sync::watch;

use crate::{
    Appended, Batch, Clock, Commit, EnqueueError, Entry, EventLog, Frontier, Incarnation, ReadError,
};

/// A log that keeps everything, at once, in memory.
pub struct MemoryLog {
    topic: Topic,
    partitions: PartitionCount,
    incarnation: Incarnation,
    clock: Arc<dyn Clock>,
    stored: Mutex<BTreeMap<(Partition, Offset), Entry>>,
    tail: watch::Sender<Frontier>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(
        topic: Topic,
        partitions: PartitionCount,
        incarnation: Incarnation,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let tail = watch::Sender::new(Frontier::empty());
        Arc::new(Self { topic, partitions, incarnation, clock, stored: Mutex::default(), tail })
    }

    /// Appends at once, and says where.
    pub fn append(&self, partition: Partition, record: Record) -> Appended {
        let append_time = self.clock.wall();
        let offset = self.tail.borrow().get(partition);
        let entry = Entry { offset, append_time, record };
        self.lock().insert((partition, offset), entry);
        self.tail.send_modify(|tail| tail.advance(partition, offset.next()));
        Appended { position: Position { partition, offset }, append_time }
    }

    /// Drops the records of which `keep` says false, which leaves holes, as compaction and retention do.
    pub fn retain(&self, mut keep: impl FnMut(Partition, &Entry) -> bool) {
        self.lock().retain(|&(partition, _), entry| keep(partition, entry));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Partition, Offset), Entry>> {
        self.stored.lock().expect("no holder panics")
    }

    fn batch(&self, partition: Partition, from: Offset, tail: Offset) -> Batch {
        let stored = self.lock();
        let range = stored.range((partition, from)..(partition, tail));
        let entries: Vec<_> = range.map(|(_, entry)| entry.clone()).take(BATCH_RECORDS_MAX).collect();
        let full = entries.len() == BATCH_RECORDS_MAX;
        let up_to = entries.last().filter(|_| full).map_or(tail, |last| last.offset.next());
        Batch { partition, entries, up_to }
    }
}

impl EventLog for MemoryLog {
    fn topic(&self) -> &Topic {
        &self.topic
    }

    fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation.clone()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        assert!(
            partition.0 < self.partitions.get(),
            "partition {partition} of {} does not exist",
            self.topic
        );
        let (commit, resolver) = Commit::deferred();
        resolver.resolve(Ok(self.append(partition, record)));
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        let mut tail = self.tail.subscribe();
        let beyond =
            self.partitions.all().find(|&partition| tail.borrow().get(partition) < from.get(partition));
        if let Some(partition) = beyond {
            let (asked, tail) = (from.get(partition), tail.borrow().get(partition));
            return stream::iter([Err(ReadError::OutOfRange { partition, asked, tail })]).boxed();
        }
        tail.mark_changed();
        stream::unfold((self, tail, from), |(log, mut tail, mut next)| async {
            loop {
                let now = tail.borrow_and_update().clone();
                let behind = log.partitions.all().find(|&partition| next.get(partition) < now.get(partition));
                if let Some(partition) = behind {
                    let batch = log.batch(partition, next.get(partition), now.get(partition));
                    next.advance(partition, batch.up_to);
                    return Some((Ok(batch), (log, tail, next)));
                }
                tail.changed().await.ok()?;
            }
        })
        .boxed()
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        let tail = self.tail.borrow().clone();
        Box::pin(async { Ok(tail) })
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLog({})", self.topic)
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use schemas::Timestamp;

    use super::*;
    use crate::{ManualClock, conformance};

    struct Memory(Arc<MemoryLog>);

    impl Memory {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
            let incarnation = Incarnation("memory".into());
            Self(MemoryLog::new(conformance::topic(), conformance::partitions(), incarnation, clock))
        }
    }

    impl conformance::Subject for Memory {
        fn log(&self) -> Arc<dyn EventLog> {
            Arc::clone(&self.0) as Arc<dyn EventLog>
        }

        fn restart(&mut self) {
            // A broker outlives its clients: there is nothing to restart.
        }

        fn drop_records(&self, partition: Partition, offsets: &[u64]) {
            self.0.retain(|of, entry| of != partition || !offsets.contains(&entry.offset.0));
        }
    }

    crate::conformance_tests!(Memory::new());
}
