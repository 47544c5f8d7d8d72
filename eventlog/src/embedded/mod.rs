//! A log on this machine's disk, for one process: synced group commit over RocksDB.
//!
//! ```text
//!   enqueue ──▶ queue ──▶ writer thread: one batch, one fdatasync ──▶ commits resolve, tail moves ──▶ readers
//! ```
//!
//! While one sync runs, the next batch gathers: nobody waits to make a batch larger. A failed sync poisons the log for
//! good, since the kernel may have dropped the pages ("fsyncgate"): what was in the batch is of unknown outcome, what
//! waited behind it is refused, nothing is taken any more, and the node has to stop and read the log again.
//!
//! A full disk is no such failure. Before every batch the log asks whether there is room, and refuses the batch if not.
//! Should RocksDB meet the end of the disk all the same, because somebody else was quicker, what was in the batch waits
//! until RocksDB has recovered: then it is known that it was not stored.

mod cleaner;
mod keys;
mod queue;
mod reader;
mod recent;
pub(crate) mod record;
mod stamps;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use futures::{future::BoxFuture, stream::BoxStream};
use rocksdb::{BlockBasedOptions, Cache, DB, DBRecoveryMode, Options, WriteOptions};
use schemas::{Offset, Partition, PartitionCount, Record, Topic};
use tokio::sync::watch;

pub use self::cleaner::{Droppable, KeepAll};
use self::{
    cleaner::Rule,
    queue::{Pending, Queue},
    recent::Recent,
    stamps::Stamps,
};
use crate::{Batch, Clock, Commit, EnqueueError, EventLog, Frontier, Incarnation, ReadError};

/// The on-disk format of the log's directory.
const FORMAT: &[u8] = b"solera embedded log 1";

/// Memory for records that are in RocksDB's own write-ahead log but not yet in its sorted files.
const WRITE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// For the reads of a start or a rebuild; what was just appended is read from the write buffer.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Records are read in order, many at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Per log, of the process's file descriptors.
const OPEN_FILES_MAX: i32 = 128;

/// A log in a directory of its own. One process may have it open.
pub struct EmbeddedLog {
    topic: Topic,
    partitions: PartitionCount,
    incarnation: Incarnation,
    db: Arc<DB>,
    queue: Arc<Queue>,
    tail: watch::Receiver<Frontier>,
    failure: watch::Receiver<Option<Arc<str>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    rule: Rule,
    /// The end at the last look whether the log has to be cleaned.
    last_look: Mutex<Frontier>,
    recent: Arc<Recent>,
}

/// Says whether the disk has room for another batch. Asked by the log's own thread before every batch: it may block for
/// microseconds, beside a sync that takes milliseconds.
pub type HasRoom = dyn Fn() -> bool + Send;

/// What a log is opened with.
pub struct EmbeddedOptions {
    /// Which log.
    pub topic: Topic,
    /// How many partitions. Fixed when the directory is made.
    pub partitions: PartitionCount,
    /// The id of this log's life, when the directory is new.
    pub incarnation_if_new: Incarnation,
    /// What stamps the records: its wall clock at the opening, and the monotonic time since.
    pub clock: Arc<dyn Clock>,
    /// Below which free space the log takes nothing. RocksDB needs some for what it has in memory: 64 MiB are plenty.
    pub has_room: Box<HasRoom>,
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partitions, incarnation_if_new, clock, has_room: _ } = self;
        f.debug_struct("EmbeddedOptions")
            .field("topic", topic)
            .field("partitions", partitions)
            .field("incarnation_if_new", incarnation_if_new)
            .field("clock", clock)
            .finish_non_exhaustive()
    }
}

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory holds something else.
    #[error("{path} holds {found}, not a log of format \"{}\"", FORMAT.escape_ascii())]
    Format {
        /// The directory.
        path: Box<Path>,
        /// What it says of itself.
        found: String,
    },
    /// The number of partitions of a log never changes.
    #[error(
        "the log has {found} partitions and the configuration says {asked}; a log keeps the number it was made with"
    )]
    Partitions {
        /// As the log was made.
        found: u32,
        /// As configured.
        asked: u32,
    },
    /// RocksDB's word.
    #[error("cannot open the log in {path}: {source}")]
    Storage {
        /// The directory.
        path: Box<Path>,
        /// Why.
        source: rocksdb::Error,
    },
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or makes it, and starts its writer thread.
    ///
    /// # Errors
    /// When the directory holds something else, or the disk fails.
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Arc<Self>, OpenError> {
        let storage = |source| OpenError::Storage { path: dir.into(), source };
        let rule = Rule::default();
        let db = Arc::new(DB::open(&db_options(&rule), dir).map_err(storage)?);
        let EmbeddedOptions { topic, partitions, incarnation_if_new, clock, has_room } = options;

        let incarnation = identify(&db, dir, partitions, incarnation_if_new)?;
        let stored = partitions.all().map(|partition| Ok((partition, stored_tail(&db, partition)?)));
        let stored: Frontier = stored.collect::<Result<_, rocksdb::Error>>().map_err(storage)?;

        let (queue, recent) = (Arc::new(Queue::default()), Arc::new(Recent::default()));
        let (tail_sender, tail) = watch::channel(stored);
        let (failure_sender, failure) = watch::channel(None);
        let writer = writer::Writer {
            topic: topic.clone(),
            db: Arc::clone(&db),
            queue: Arc::clone(&queue),
            stamps: Stamps::begin(clock),
            has_room,
            recent: Arc::clone(&recent),
            tail: tail_sender,
            failure: failure_sender,
        };
        let name = format!("log {topic}");
        let writer =
            std::thread::Builder::new().name(name).spawn(|| writer.run()).expect("a thread can be started");
        Ok(Arc::new(Self {
            topic,
            partitions,
            incarnation,
            db,
            queue,
            tail,
            failure,
            writer: Mutex::new(Some(writer)),
            rule,
            last_look: Mutex::default(),
            recent,
        }))
    }

    /// From now on the log may drop what this says; before, it keeps everything. To be called once.
    pub fn drop_what(&self, rule: Box<Droppable>) {
        self.rule.set(rule);
    }

    /// Drops nothing from now on, until what this returns is dropped.
    pub fn keep_all(&self) -> KeepAll {
        self.rule.keep_all()
    }

    /// Returns the space of what may be dropped, if there is enough of it to be worth the work. Blocks for as long as
    /// that takes. Returns the bytes of the log's files before and after, if it did.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clean_if_due(&self) -> Result<Option<(u64, u64)>, ReadError> {
        let tail = self.tail.borrow().clone();
        let before = std::mem::replace(&mut *self.last_look.lock().expect("no holder panics"), tail.clone());
        let cleaned = cleaner::clean_if_due(&self.db, &self.rule, before == tail);
        cleaned.map_err(|error| unavailable(&error))
    }

    /// Bytes of the log's sorted files. On top come its write buffers, and a write-ahead log of about their size.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn bytes(&self) -> Result<u64, ReadError> {
        cleaner::bytes(&self.db).map_err(|error| unavailable(&error))
    }

    /// The longest life of a session, of `now` and of all earlier starts; `None` is for ever. A tombstone has to outlive
    /// what was written under an earlier configuration, too.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn longest_ttl(&self, now: Option<Duration>) -> Result<Option<Duration>, ReadError> {
        let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let now = now.map_or(u64::MAX, millis);
        let remember = || {
            let before = self.db.get(keys::LONGEST_TTL)?.map_or(0, |stored| keys::decode_u64(&stored));
            if before < now {
                self.db.put_opt(keys::LONGEST_TTL, now.to_be_bytes(), &synced())?;
            }
            Ok(before.max(now))
        };
        let longest = remember().map_err(|error| unavailable(&error))?;
        Ok((longest != u64::MAX).then(|| Duration::from_millis(longest)))
    }

    /// Holds the reason once a write or a sync has failed. The log is dead from then on.
    pub fn failure(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.failure.clone()
    }

    /// Takes nothing more, writes what is waiting, and stops the writer thread.
    pub fn close(&self) {
        self.queue.close("the node is stopping".into());
        if let Some(writer) = self.writer.lock().expect("no holder panics").take() {
            let _reported_by_its_panic = writer.join();
            // A cleaning is left where it is; it goes on from there another time.
            self.db.cancel_all_background_work(false);
        }
    }

    /// Drops records, which leaves holes, as compaction and retention do.
    #[cfg(all(test, feature = "test-util"))]
    fn drop_records(&self, partition: Partition, offsets: impl IntoIterator<Item = Offset>) {
        self.recent.clear();
        for offset in offsets {
            self.db.delete(keys::record(partition, offset)).expect("a test's disk works");
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl EventLog for EmbeddedLog {
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
        self.queue.push(Pending { partition, record, resolver })?;
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        let log = reader::Source { db: Arc::clone(&self.db), recent: Arc::clone(&self.recent) };
        reader::stream(log, self.tail.clone(), self.partitions, &from)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        let tail = self.tail.borrow().clone();
        Box::pin(async { Ok(tail) })
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedLog({})", self.topic)
    }
}

fn unavailable(error: &rocksdb::Error) -> ReadError {
    ReadError::Unavailable(error.to_string().into())
}

fn db_options(rule: &Rule) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compaction_filter_factory(rule.clone());
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    // A torn last batch was never answered and may go; a hole in the middle would be lost sessions, and must not pass.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    // The log grows, its memory must not: indexes of files live in a small cache, and few files are open.
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_block_size(BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(true);
    options.set_block_based_table_factory(&table);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(4);
    options.set_stats_dump_period_sec(0);
    options
}

/// The log's id, kept from when it was made.
fn identify(
    db: &DB,
    dir: &Path,
    partitions: PartitionCount,
    if_new: Incarnation,
) -> Result<Incarnation, OpenError> {
    let storage = |source| OpenError::Storage { path: dir.into(), source };
    let get = |key| db.get(key).map_err(storage);
    let Some(format) = get(keys::FORMAT)? else {
        make(db, partitions, &if_new).map_err(storage)?;
        return Ok(if_new);
    };
    let text = |bytes: Option<Vec<u8>>| bytes.unwrap_or_default().escape_ascii().to_string();
    if format != FORMAT {
        return Err(OpenError::Format { path: dir.into(), found: text(Some(format)) });
    }
    let found = get(keys::PARTITIONS)?.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    match found {
        Some(found) if found == partitions.get() => Ok(Incarnation(text(get(keys::INCARNATION)?).into())),
        found => Err(OpenError::Partitions { found: found.unwrap_or(0), asked: partitions.get() }),
    }
}

fn make(db: &DB, partitions: PartitionCount, incarnation: &Incarnation) -> Result<(), rocksdb::Error> {
    let mut batch = rocksdb::WriteBatch::default();
    batch.put(keys::FORMAT, FORMAT);
    batch.put(keys::PARTITIONS, partitions.get().to_be_bytes());
    batch.put(keys::INCARNATION, incarnation.0.as_bytes());
    db.write_opt(batch, &synced())
}

fn stored_tail(db: &DB, partition: Partition) -> Result<Offset, rocksdb::Error> {
    let stored = db.get(keys::tail(partition))?;
    Ok(stored.map_or(Offset::ZERO, |bytes| Offset(keys::decode_u64(&bytes))))
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

#[cfg(all(test, feature = "test-util"))]
#[expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]
mod tests;
