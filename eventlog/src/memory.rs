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
use schemas::{
    Offset, Partition, PartitionCount, Position, Record, Timestamp, Topic, caps::BATCH_RECORDS_MAX,
};
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
    head: Frontier,
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
        self.append_at(partition, record, self.clock.wall())
    }

    /// The same, stamped with a time of the caller's choice.
    pub fn append_at(&self, partition: Partition, record: Record, append_time: Timestamp) -> Appended {
        let mut stored = self.lock();
        let offset = stored.tail.get(partition);
        stored.entries.insert((partition, offset), Entry { offset, append_time, record });
        stored.tail.advance(partition, offset.next());
        drop(stored);
        self.appended.notify_waiters();
        Appended { position: Position { partition, offset }, append_time }
    }

    /// Drops the records of which `keep` says false, which leaves holes, as compaction does.
    pub fn retain(&self, mut keep: impl FnMut(Partition, &Entry) -> bool) {
        self.lock().entries.retain(|&(partition, _), entry| keep(partition, entry));
    }

    /// Drops everything of `partition` before `head`, as retention does: whoever has seen something, and less than that,
    /// cannot go on.
    pub fn trim(&self, partition: Partition, head: Offset) {
        let mut stored = self.lock();
        stored.head.advance(partition, head);
        stored.entries.retain(|&(of, offset), _| of != partition || head <= offset);
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("no holder panics")
    }

    /// What comes next after `next`, if anything does.
    fn batch(&self, next: &Frontier) -> Option<Result<Batch, ReadError>> {
        let stored = self.lock();
        // Who has seen nothing begins wherever the log does.
        let is_trimmed =
            |of: &Partition| Offset::ZERO < next.get(*of) && next.get(*of) < stored.head.get(*of);
        if let Some(partition) = self.partitions.all().find(is_trimmed) {
            let (asked, earliest) = (next.get(partition), stored.head.get(partition));
            return Some(Err(ReadError::Trimmed { partition, asked, earliest }));
        }
        let partition = self.partitions.all().find(|&of| next.get(of) < stored.tail.get(of))?;
        let (from, tail) = (next.get(partition), stored.tail.get(partition));
        let range = stored.entries.range((partition, from)..(partition, tail));
        let entries: Vec<_> = range.map(|(_, entry)| entry.clone()).take(BATCH_RECORDS_MAX).collect();
        let full = entries.len() == BATCH_RECORDS_MAX;
        let up_to = entries.last().filter(|_| full).map_or(tail, |last| last.offset.next());
        Some(Ok(Batch { partition, entries, up_to }))
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
                    if let Ok(Batch { partition, up_to, .. }) = &batch {
                        next.advance(*partition, *up_to);
                    }
                    break Some((batch, (Arc::clone(&log), next)));
                }
                appended.await;
            }
        })
        .boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        let head = self.lock().head.clone();
        Box::pin(async { Ok(head) })
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

    fn frontier(offset: u64) -> Frontier {
        [(Partition(0), Offset(offset))].into_iter().collect()
    }

    #[tokio::test]
    async fn who_has_seen_less_than_was_trimmed_cannot_go_on_and_who_has_seen_nothing_begins_at_the_head() {
        let Memory(log) = Memory::new();
        let record =
            |n: u8| Record { key: vec![n].into(), headers: schemas::Headers::default(), value: None };
        for n in 0..5 {
            log.append(Partition(0), record(n));
        }
        log.trim(Partition(0), Offset(3));
        assert_eq!(log.head().await.unwrap().get(Partition(0)), Offset(3));
        let first = |from| {
            let mut batches = Arc::clone(&log).read(frontier(from));
            async move { batches.next().await.unwrap() }
        };
        for from in [1, 2] {
            let trimmed = first(from).await.unwrap_err();
            assert!(matches!(trimmed, ReadError::Trimmed { earliest: Offset(3), .. }), "{trimmed}");
        }
        for from in [0, 3] {
            let offsets: Vec<_> =
                first(from).await.unwrap().entries.iter().map(|entry| entry.offset.0).collect();
            assert_eq!(offsets, [3, 4], "from {from}");
        }
        // Trimmed under a reader that stands still meanwhile.
        let mut reader = Arc::clone(&log).read(frontier(3));
        assert!(reader.next().await.unwrap().is_ok());
        log.append(Partition(0), record(9));
        log.append(Partition(0), record(9));
        log.trim(Partition(0), Offset(6));
        assert!(reader.next().await.unwrap().unwrap_err().is_out_of_range());
    }
}
