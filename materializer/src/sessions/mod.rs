//! The view in RocksDB: one database per store and generation, one column family, no write-ahead log.
//!
//! The log is the write-ahead log. All cells of a batch and the positions they reflect go into one `WriteBatch` of one
//! column family, so that after a crash RocksDB comes back to a prefix of the batches whose positions match
//! (performance: "no hole" holds for a single column family with the WAL off; it must never be mixed with WAL writes).

mod cell;
mod filter;
mod keys;
mod memory;
mod options;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use eventlog::{Incarnation, LogClock};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use schemas::{KeyId, Offset, Timestamp, Topic, Version};

pub use self::memory::ViewMemory;
use crate::{Cell, Marks, Saved, SavedLog, View, ViewError, ViewWrite};

/// The on-disk format of a view's directory.
const FORMAT: &[u8] = b"solera view 1";

/// Cells of one store, in RocksDB.
pub struct SessionView {
    dir: PathBuf,
    db: DB,
    unlogged: WriteOptions,
}

/// A key of the database and its value.
type Stored = (Box<[u8]>, Box<[u8]>);

/// What a view is opened with.
#[derive(Debug)]
pub struct ViewOptions<'a> {
    /// Memory that all views of the process share.
    pub memory: &'a ViewMemory,
    /// Says what compaction may drop.
    pub clock: Arc<LogClock>,
    /// The logs that the view is made from.
    pub logs: Vec<(Topic, Incarnation)>,
}

impl SessionView {
    /// Opens the view in `dir`, or makes an empty one.
    ///
    /// # Errors
    /// When it is damaged, of another format, or made from other logs: then a new one must be made from the logs.
    pub fn open(dir: &Path, options: ViewOptions<'_>) -> Result<Self, ViewError> {
        let ViewOptions { memory, clock, logs } = options;
        let db = DB::open(&options::db_options(memory, clock), dir).map_err(storage)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let view = Self { dir: dir.to_owned(), db, unlogged };
        match view.get_raw(keys::FORMAT)? {
            Some(format) if format == FORMAT => view.check_logs(&logs)?,
            Some(other) => {
                return Err(corrupt(format!("its format is {:?}", other.escape_ascii().to_string())));
            }
            None => view.make(&logs)?,
        }
        Ok(view)
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes what is in memory to disk, so that a start goes on from here instead of from the last flush.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn flush(&self) -> Result<(), ViewError> {
        self.db.flush().map_err(storage)
    }

    fn make(&self, logs: &[(Topic, Incarnation)]) -> Result<(), ViewError> {
        let mut batch = WriteBatch::default();
        batch.put(keys::FORMAT, FORMAT);
        for (topic, incarnation) in logs {
            batch.put(keys::log(topic), incarnation.0.as_bytes());
        }
        self.db.write_opt(batch, &self.unlogged).map_err(storage)
    }

    /// A position means nothing in another life of a log, nor in a log that the view does not know.
    fn check_logs(&self, logs: &[(Topic, Incarnation)]) -> Result<(), ViewError> {
        let saved = self.saved()?;
        for (topic, incarnation) in logs {
            match saved.logs.get(topic) {
                Some(saved) if saved.incarnation == *incarnation => {}
                Some(saved) => {
                    let of = &saved.incarnation;
                    return Err(corrupt(format!(
                        "it was made from {topic} {of}, and the log is {incarnation}"
                    )));
                }
                None => return Err(corrupt(format!("it was not made from {topic}"))),
            }
        }
        Ok(())
    }

    fn get_raw(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ViewError> {
        self.db.get(key).map_err(storage)
    }

    /// Everything under a tag, in order.
    fn scan_tag(&self, tag: u8) -> impl Iterator<Item = Result<Stored, ViewError>> + '_ {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([tag + 1]);
        let found = self.db.iterator_opt(IteratorMode::From(&[tag], Direction::Forward), options);
        found.map(|found| found.map_err(storage))
    }
}

impl View for SessionView {
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError> {
        let Some(stored) = self.get_raw(keys::cell(key))? else { return Ok(None) };
        cell::decode(Bytes::from(stored)).map(Some).ok_or_else(|| corrupt(format!("the cell of {key}")))
    }

    fn version(&self, key: &KeyId) -> Result<Option<Version>, ViewError> {
        let Some(stored) = self.db.get_pinned(keys::cell(key)).map_err(storage)? else { return Ok(None) };
        cell::decode_version(&stored).map(Some).ok_or_else(|| corrupt(format!("the cell of {key}")))
    }

    fn write(&self, write: &ViewWrite) -> Result<(), ViewError> {
        let ViewWrite { cells, debts, positions, marks } = write;
        let mut batch = WriteBatch::default();
        for (key, cell) in cells {
            batch.put(keys::cell(key), cell::encode(cell));
        }
        for (key, since) in debts {
            match since {
                Some(since) => batch.put(keys::debt(key), since.as_millis().to_be_bytes()),
                None => batch.delete(keys::debt(key)),
            }
        }
        for (topic, partition, offset) in positions {
            batch.put(keys::position(topic, *partition), offset.0.to_be_bytes());
        }
        batch.put(keys::MARKS, encode_marks(marks));
        self.db.write_opt(batch, &self.unlogged).map_err(storage)
    }

    fn saved(&self) -> Result<Saved, ViewError> {
        let mut saved = Saved::default();
        for found in self.scan_tag(keys::LOG_TAG) {
            let (key, incarnation) = found?;
            let topic = keys::decode_log(&key).ok_or_else(|| corrupt("the name of a log".into()))?;
            let incarnation = String::from_utf8_lossy(&incarnation).as_ref().into();
            let log =
                SavedLog { incarnation: Incarnation(incarnation), frontier: eventlog::Frontier::empty() };
            saved.logs.insert(topic, log);
        }
        for found in self.scan_tag(keys::POSITION_TAG) {
            let (key, offset) = found?;
            let position = keys::decode_position(&key).zip(decode_u64(&offset));
            let ((topic, partition), offset) = position.ok_or_else(|| corrupt("a position".into()))?;
            let log = saved.logs.get_mut(&topic).ok_or_else(|| corrupt("a position in no log".into()))?;
            log.frontier.advance(partition, Offset(offset));
        }
        for found in self.scan_tag(keys::DEBT_TAG) {
            let (key, since) = found?;
            let debt = keys::decode_debt(&key).zip(decode_u64(&since));
            let (key, since) = debt.ok_or_else(|| corrupt("a debt".into()))?;
            saved.debts.insert(key, Timestamp::from_millis(since));
        }
        if let Some(marks) = self.get_raw(keys::MARKS)? {
            saved.marks = decode_marks(&marks).ok_or_else(|| corrupt("the clock's marks".into()))?;
        }
        Ok(saved)
    }

    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([keys::CELL_TAG + 1]);
        options.fill_cache(false);
        let first = after.map_or_else(|| vec![keys::CELL_TAG], |key| keys::after_cell(&key));
        let found = self.db.iterator_opt(IteratorMode::From(&first, Direction::Forward), options);
        let cells = found.take(limit).map(|found| {
            let (key, stored) = found.map_err(storage)?;
            let cell = keys::decode_cell(&key).zip(cell::decode(Bytes::from(stored)));
            cell.ok_or_else(|| corrupt("a cell".into()))
        });
        cells.collect()
    }
}

impl fmt::Debug for SessionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionView").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// `newest version: 16 bytes, zero for none │ newest append: u64 │ read now: u64`
fn encode_marks(marks: &Marks) -> Vec<u8> {
    let Marks { newest_version, newest_append, read_now } = marks;
    let version = newest_version.map_or([0; Version::BYTES], Version::to_bytes);
    let times = [newest_append, read_now].map(|time| time.as_millis().to_be_bytes());
    [&version[..], times.as_flattened()].concat()
}

fn decode_marks(bytes: &[u8]) -> Option<Marks> {
    let (version, times) = bytes.split_first_chunk()?;
    let (newest_append, read_now) = times.split_at_checked(8)?;
    let newest_version = (*version != [0; Version::BYTES]).then(|| Version::from_bytes(*version));
    let time = |bytes| decode_u64(bytes).map(Timestamp::from_millis);
    Some(Marks { newest_version, newest_append: time(newest_append)?, read_now: time(read_now)? })
}

fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn storage(error: rocksdb::Error) -> ViewError {
    ViewError::Storage(error.to_string().into())
}

fn corrupt(what: String) -> ViewError {
    ViewError::Corrupt(what.into())
}

#[cfg(test)]
mod tests;
