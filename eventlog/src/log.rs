//! The seam: what every log promises.

use std::{fmt, sync::Arc};

use futures::{future::BoxFuture, stream::BoxStream};
use schemas::{Offset, Partition, PartitionCount, Record, Timestamp, Topic};

use crate::{Commit, Frontier};

/// An append-only log of records, and the only source of truth.
///
/// Implementations keep these promises, checked by `conformance`:
///
/// - a resolved [`Commit`] is durable: no crash of this process or of one broker undoes it;
/// - records of one partition are read in the order in which they were enqueued, at rising offsets, with holes;
/// - [`tail`](Self::tail) and [`tail_of`](Self::tail_of) cover every commit that had resolved when they were called;
/// - a reader gets to every tail, however the offsets before it were lost.
pub trait EventLog: fmt::Debug + Send + Sync + 'static {
    /// Which log this is.
    fn topic(&self) -> &Topic;

    /// How many partitions it has.
    fn partitions(&self) -> PartitionCount;

    /// Which life of the log this is. An offset means nothing in another one.
    fn incarnation(&self) -> Incarnation;

    /// Takes `record` without waiting. The order of calls for a partition is the order in the log.
    ///
    /// # Errors
    /// When the log did not take it; nothing is stored then.
    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError>;

    /// Everything from `from` on, in order within a partition; never ends by itself.
    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>>;

    /// For each partition, the first offset that a reader may still go on from. What stood before it is gone, and a view
    /// that has not seen it has to be made anew.
    fn head(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        // A log that drops only what no view needs can be gone on with from anywhere.
        Box::pin(async { Ok(Frontier::empty()) })
    }

    /// For each partition, the first offset after everything that is durable.
    ///
    /// # Errors
    /// When it is not known of each.
    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>>;

    /// The same for one partition, which a log may know when it does not know it of all: one without a leader does not hold
    /// up the others. Many may ask at once; it is the log's to share an answer, and never one to a question that was sent
    /// before this was called.
    fn tail_of(&self, partition: Partition) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move { Ok(self.tail().await?.get(partition)) })
    }
}

impl ReadError {
    /// Whether the log does not have what the reader wants to go on from, now or ever.
    pub const fn is_out_of_range(&self) -> bool {
        matches!(self, Self::OutOfRange { .. } | Self::Truncated { .. } | Self::Trimmed { .. })
    }
}

/// Names one life of a log: Kafka's cluster id and topic id, or a random id in the log's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation(pub Arc<str>);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one look at a partition brought: perhaps no entry, but always how far it got.
///
/// `up_to` moves without entries when a log starts late (retention) or skips offsets (compaction, control records); a
/// reader that only counted entries would wait for those offsets for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose records these are.
    pub partition: Partition,
    /// The records, at rising offsets.
    pub entries: Vec<Entry>,
    /// The first offset that this look did not cover.
    pub up_to: Offset,
}

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// When the log took it, by the log's clock; [`Timestamp::EPOCH`] where the log does not say.
    pub append_time: Timestamp,
    /// What was stored.
    pub record: Record,
}

/// The log did not take a record. Nothing happened.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// More is waiting to be written than memory allows. Try again soon.
    #[error("the queue of the log is full")]
    Full,
    /// The log has stopped: the node is going down, or a sync has failed.
    #[error("the log is closed: {0}")]
    Closed(Arc<str>),
    /// The log does not take this record, or none at the moment.
    #[error("the log did not take the record: {0}")]
    Refused(Arc<str>),
}

/// A record that was taken is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It is not stored, and never will be.
    #[error("the log did not store the record: {0}")]
    Refused(Arc<str>),
    /// It may be stored, now or later.
    #[error("nobody knows whether the log stored the record: {0}")]
    Unknown(Arc<str>),
}

impl AppendError {
    pub(crate) fn abandoned() -> Self {
        Self::Unknown("the log stopped before it answered".into())
    }
}

/// The log cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The log ends before the position that the reader asked for, so it is not the log that the reader knew.
    #[error("partition {partition} ends at {tail}, before the position {asked}")]
    OutOfRange {
        /// Which partition.
        partition: Partition,
        /// Where the reader wanted to go on.
        asked: Offset,
        /// Where the partition ends.
        tail: Offset,
    },
    /// The log has lost its end since the reader was there, and has grown again: other records stand before the position.
    #[error("partition {partition} has lost records before the position {asked}")]
    Truncated {
        /// Which partition.
        partition: Partition,
        /// Where the reader wanted to go on.
        asked: Offset,
    },
    /// The log begins after the position that the reader asked for: what was between them it never saw.
    #[error("partition {partition} begins at {earliest}, after the position {asked}")]
    Trimmed {
        /// Which partition.
        partition: Partition,
        /// Where the reader wanted to go on.
        asked: Offset,
        /// Where the partition begins.
        earliest: Offset,
    },
    /// What is stored cannot be read back.
    #[error("partition {partition} cannot be read at {offset}: {reason}")]
    Corrupt {
        /// Which partition.
        partition: Partition,
        /// Where.
        offset: Offset,
        /// What is wrong there.
        reason: Arc<str>,
    },
    /// The log does not answer.
    #[error("the log cannot be read: {0}")]
    Unavailable(Arc<str>),
}
