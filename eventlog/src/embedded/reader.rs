//! Follows the log: partition by partition, up to the tail, then waits for it to move.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions};
use schemas::{
    Offset, Partition, PartitionCount,
    caps::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX},
};
use tokio::sync::watch;

use super::{keys, recent::Recent, record};
use crate::{Batch, Entry, Frontier, ReadError};

/// Where records are.
pub(super) struct Source {
    pub(super) db: Arc<DB>,
    pub(super) recent: Arc<Recent>,
}

/// Where a reader is. The partition at the front has waited longest for its turn.
struct Cursor {
    log: Source,
    tail: watch::Receiver<Frontier>,
    next: VecDeque<(Partition, Offset)>,
}

pub(super) fn stream(
    log: Source,
    tail: watch::Receiver<Frontier>,
    partitions: PartitionCount,
    from: &Frontier,
) -> BoxStream<'static, Result<Batch, ReadError>> {
    let next = partitions.all().map(|partition| (partition, from.get(partition))).collect();
    if let Some(error) = out_of_range(&next, &tail.borrow()) {
        return stream::iter([Err(error)]).boxed();
    }
    stream::unfold(Cursor { log, tail, next }, |mut cursor| async {
        let batch = cursor.next_batch().await?;
        Some((batch, cursor))
    })
    .boxed()
}

fn out_of_range(next: &VecDeque<(Partition, Offset)>, tail: &Frontier) -> Option<ReadError> {
    let beyond = next.iter().find(|&&(partition, asked)| tail.get(partition) < asked);
    beyond.map(|&(partition, asked)| ReadError::OutOfRange { partition, asked, tail: tail.get(partition) })
}

impl Cursor {
    /// Waits for records. `None` when the log is closed and all of it has been read.
    async fn next_batch(&mut self) -> Option<Result<Batch, ReadError>> {
        loop {
            let tail = self.tail.borrow_and_update().clone();
            let behind = self.next.iter().position(|&(partition, offset)| offset < tail.get(partition));
            if let Some(index) = behind {
                let (partition, from) = self.next.remove(index).expect("the index was just found");
                let (end, Source { db, recent }) = (tail.get(partition), &self.log);
                let batch = recent.read(partition, from, end);
                let batch = batch.map_or_else(|| read_range(db, partition, from, end), Ok);
                let reached = batch.as_ref().map_or(from, |batch| batch.up_to);
                self.next.push_back((partition, reached));
                return Some(batch);
            }
            self.tail.changed().await.ok()?;
        }
    }
}

/// Everything of a partition.
#[cfg(all(test, feature = "test-util"))]
pub(super) fn read_all(log: &super::EmbeddedLog, partition: Partition) -> Vec<Entry> {
    let (mut entries, mut next, tail) = (Vec::new(), Offset::ZERO, log.tail.borrow().get(partition));
    while next < tail {
        let batch = read_range(&log.db, partition, next, tail).expect("a test's disk works");
        entries.extend(batch.entries);
        next = batch.up_to;
    }
    entries
}

/// What the log holds from `from` up to `tail`, at most one batch.
fn read_range(db: &DB, partition: Partition, from: Offset, tail: Offset) -> Result<Batch, ReadError> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(keys::record(partition, tail));
    options.fill_cache(false);

    let first = keys::record(partition, from);
    let (mut entries, mut bytes, mut up_to) = (Vec::new(), 0, tail);
    for stored in db.iterator_opt(IteratorMode::From(&first, Direction::Forward), options) {
        let (key, value) = stored.map_err(|error| ReadError::Unavailable(error.to_string().into()))?;
        let offset = keys::record_offset(&key);
        bytes += value.len();
        let (append_time, record) = record::decode(Bytes::from(value)).ok_or_else(|| ReadError::Corrupt {
            partition,
            offset,
            reason: "the bytes are not a record of format 1".into(),
        })?;
        entries.push(Entry { offset, append_time, record });
        if BATCH_RECORDS_MAX <= entries.len() || BATCH_BYTES_MAX <= bytes {
            up_to = offset.next();
            break;
        }
    }
    Ok(Batch { partition, entries, up_to })
}
