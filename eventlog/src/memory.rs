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
use tokio::sync::Notify;

use crate::{
    Appended, Batch, Clock, Commit, EnqueueError, Entry, EventLog, Frontier, Incarnation, ReadError,
};

/// A log that keeps everything, at once, in memory.
pub struct MemoryLog {
    topic: Topic,
    partitions: PartitionCount,
    incarnation: Incarnation,
    clock: Arc<dyn Clock>,
    stored: Mutex<Stored>,
    // Not a `watch`, which wakes those who wait in an order of its own chance: a simulation must not depend on that.
    appended: Notify,
}

#[derive(Default)]
struct Stored {
    entries: BTreeMap<(Partition, Offset), Entry>,
    tail: Frontier,
}

impl MemoryLog {
    /// An empty log.
    pub fn new(
        topic: Topic,
        partitions: PartitionCount,
        incarnation: Incarnation,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            topic,
            partitions,
            incarnation,
            clock,
            stored: Mutex::default(),
            appended: Notify::new(),
        })
    }

    /// Appends at once, and says where.
    pub fn append(&self, partition: Partition, record: Record) -> Appended {
        let append_time = self.clock.wall();
        let mut stored = self.lock();
        let offset = stored.tail.get(partition);
        stored.entries.insert((partition, offset), Entry { offset, append_time, record });
        stored.tail.advance(partition, offset.next());
        drop(stored);
        self.appended.notify_waiters();
        Appended { position: Position { partition, offset }, append_time }
    }

    /// Drops the records of which `keep` says false, which leaves holes, as compaction and retention do.
    pub fn retain(&self, mut keep: impl FnMut(Partition, &Entry) -> bool) {
        self.lock().entries.retain(|&(partition, _), entry| keep(partition, entry));
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("no holder panics")
    }

    /// What comes next after `next`, if anything does.
    fn batch(&self, next: &Frontier) -> Option<Batch> {
        let stored = self.lock();
        let partition = self.partitions.all().find(|&of| next.get(of) < stored.tail.get(of))?;
        let (from, tail) = (next.get(partition), stored.tail.get(partition));
        let range = stored.entries.range((partition, from)..(partition, tail));
        let entries: Vec<_> = range.map(|(_, entry)| entry.clone()).take(BATCH_RECORDS_MAX).collect();
        let full = entries.len() == BATCH_RECORDS_MAX;
        let up_to = entries.last().filter(|_| full).map_or(tail, |last| last.offset.next());
        Some(Batch { partition, entries, up_to })
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
        let tail = self.lock().tail.clone();
        if let Some(partition) = self.partitions.all().find(|&of| tail.get(of) < from.get(of)) {
            let (asked, tail) = (from.get(partition), tail.get(partition));
            return stream::iter([Err(ReadError::OutOfRange { partition, asked, tail })]).boxed();
        }
        stream::unfold((self, from), |(log, mut next)| async move {
            loop {
                let appended = log.appended.notified();
                tokio::pin!(appended);
                // IMPORTANT: before the look, or an append in between would be missed.
                appended.as_mut().enable();
                if let Some(batch) = log.batch(&next) {
                    next.advance(batch.partition, batch.up_to);
                    break Some((Ok(batch), (Arc::clone(&log), next)));
                }
                appended.await;
            }
        })
        .boxed()
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        let tail = self.lock().tail.clone();
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
