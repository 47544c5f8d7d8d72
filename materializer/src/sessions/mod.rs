//! The view in RocksDB: one database per store and generation, one column family, no write-ahead log.
//!
//! The log is the write-ahead log. All cells of a batch and the positions they reflect go into one `WriteBatch` of one
//! column family, so that after a crash RocksDB comes back to a prefix of the batches whose positions match
//! (performance: "no hole" holds for a single column family with the WAL off; it must never be mixed with WAL writes).

mod cell;
mod compactor;
mod filter;
mod frozen;
mod keys;
mod memory;
mod numbers;
mod options;

use std::{
    fmt, fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use eventlog::{Incarnation, LogClock};
use rocksdb::{
    DB, Direction, ErrorKind, IteratorMode, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
    properties::LIVE_SST_FILES_SIZE,
};
use schemas::{Dc, Declaration, KeyId, Offset, Timestamp, Topic, Version};
use tokio::sync::watch;

use self::compactor::Compactor;
pub use self::{frozen::Frozen, memory::ViewMemory};
use crate::{
    Cell, Census, Count, Essences, Expired, Head, Marks, Noted, Saved, SavedLog, View, ViewError, ViewWrite,
};

/// The on-disk format of a view's directory.
const FORMAT: &[u8] = b"solera view 3";

/// How much of the view one look for expired contents reads: a megabyte a second is what nobody notices.
const EXPIRED_BYTES: usize = 1024 * 1024;

/// A file beside a view's own: the view is known to be damaged, and says in what.
const DAMAGE: &str = "DAMAGED";

/// Cells of one store, in RocksDB.
pub struct SessionView {
    db: DB,
    // After the database, so that it goes when the files are closed.
    dir: Dir,
    unlogged: WriteOptions,
    damage: watch::Sender<Option<Arc<str>>>,
    compactor: Compactor,
}

/// Where a view lies.
#[derive(Debug)]
struct Dir {
    path: PathBuf,
    is_temporary: AtomicBool,
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.is_temporary.load(Ordering::Relaxed) {
            // The next start removes what is left.
            let _left = fs::remove_dir_all(&self.path);
        }
    }
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
    /// When it is damaged, of another format, or made from other logs: then a new one must be made from the logs. And
    /// when the storage does not let us: then it may be in order.
    pub fn open(dir: &Path, options: ViewOptions<'_>) -> Result<Self, ViewError> {
        let ViewOptions { memory, clock, logs } = options;
        if let Ok(why) = fs::read_to_string(dir.join(DAMAGE)) {
            return Err(ViewError::Damaged(why.into()));
        }
        let db = DB::open(&options::db_options(memory, clock), dir).map_err(|error| failure(&error))?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let view = Self {
            dir: Dir { path: dir.to_owned(), is_temporary: AtomicBool::new(false) },
            db,
            unlogged,
            damage: watch::Sender::new(None),
            compactor: Compactor::default(),
        };
        match view.get_raw(keys::FORMAT)? {
            Some(format) if format == FORMAT => view.check_logs(&logs)?,
            Some(other) => {
                let found = other.escape_ascii().to_string();
                return Err(ViewError::Damaged(format!("its format is {found:?}").into()));
            }
            None => view.make(&logs)?,
        }
        Ok(view)
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Whether its directory goes with it, once nobody holds it any more.
    pub fn set_temporary(&self, is_temporary: bool) {
        self.dir.is_temporary.store(is_temporary, Ordering::Relaxed);
    }

    /// Reads everything once, and with it every block of cells.
    ///
    /// # Errors
    /// When some of it is damaged, or the disk fails.
    pub fn check(&self) -> Result<(), ViewError> {
        self.saved()?;
        self.frozen().cells(|_| ControlFlow::Continue(()))
    }

    /// Makes a copy in `dir`, which must not exist: the same files under second names, as far as they do not change.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), ViewError> {
        let made = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(dir));
        made.map_err(|error| self.failed(&error))
    }

    /// Holds what is damaged, once a read or a write has met it. The view must be made anew: the next start does.
    pub fn damage(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.damage.subscribe()
    }

    /// Bytes of the view's files.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn bytes(&self) -> Result<u64, ViewError> {
        let bytes = self.db.property_int_value(LIVE_SST_FILES_SIZE);
        Ok(bytes.map_err(|error| self.failed(&error))?.unwrap_or(0))
    }

    /// Writes what is in memory to disk, so that a start goes on from here instead of from the last flush.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn flush(&self) -> Result<(), ViewError> {
        self.db.flush().map_err(|error| self.failed(&error))
    }

    /// Flushes, and ends a compaction that runs. The view can only be read from then on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); what runs is ended all the same.
    pub fn close(&self) -> Result<(), ViewError> {
        let flushed = self.flush();
        self.db.cancel_all_background_work(false);
        flushed
    }

    fn make(&self, logs: &[(Topic, Incarnation)]) -> Result<(), ViewError> {
        let mut batch = WriteBatch::default();
        batch.put(keys::FORMAT, FORMAT);
        for (topic, incarnation) in logs {
            batch.put(keys::log(topic), incarnation.0.as_bytes());
        }
        self.db.write_opt(batch, &self.unlogged).map_err(|error| self.failed(&error))
    }

    /// A position means nothing in another life of a log, nor in a log that the view does not know.
    fn check_logs(&self, logs: &[(Topic, Incarnation)]) -> Result<(), ViewError> {
        let saved = self.saved()?;
        for (topic, incarnation) in logs {
            match saved.logs.get(topic) {
                Some(saved) if saved.incarnation == *incarnation => {}
                Some(saved) => {
                    let of = &saved.incarnation;
                    let why = format!("it was made from {topic} {of}, and the log is {incarnation}");
                    return Err(ViewError::Foreign(why.into()));
                }
                None => return Err(ViewError::Foreign(format!("it was not made from {topic}").into())),
            }
        }
        Ok(())
    }

    /// What to answer when RocksDB fails.
    fn failed(&self, error: &rocksdb::Error) -> ViewError {
        match failure(error) {
            ViewError::Damaged(what) => self.damaged(what),
            other => other,
        }
    }

    /// Notes the damage for the next start, which has nothing else to know it by: a block is checked when it is read.
    fn damaged(&self, what: impl Into<Arc<str>>) -> ViewError {
        let what = what.into();
        // A disk that cannot take this line is found wanting by the next start itself.
        let _not_noted = fs::write(self.dir.path.join(DAMAGE), &*what);
        self.damage.send_if_modified(|known| known.is_none() && known.replace(Arc::clone(&what)).is_none());
        ViewError::Damaged(what)
    }

    fn get_raw(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ViewError> {
        self.db.get(key).map_err(|error| self.failed(&error))
    }

    /// Everything under a tag, in order.
    fn scan_tag(&self, tag: u8) -> impl Iterator<Item = Result<Stored, ViewError>> + '_ {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([tag + 1]);
        let found = self.db.iterator_opt(IteratorMode::From(&[tag], Direction::Forward), options);
        found.map(|found| found.map_err(|error| self.failed(&error)))
    }
}

impl View for SessionView {
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError> {
        let Some(stored) = self.get_raw(keys::cell(key))? else { return Ok(None) };
        cell::decode(Bytes::from(stored)).map(Some).ok_or_else(|| self.damaged(format!("the cell of {key}")))
    }

    fn head(&self, key: &KeyId) -> Result<Option<Head>, ViewError> {
        let Some(stored) = self.db.get_pinned(keys::cell(key)).map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        cell::decode_head(&stored).map(Some).ok_or_else(|| self.damaged(format!("the cell of {key}")))
    }

    fn version(&self, key: &KeyId) -> Result<Option<Version>, ViewError> {
        let Some(stored) = self.db.get_pinned(keys::cell(key)).map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        cell::decode_version(&stored).map(Some).ok_or_else(|| self.damaged(format!("the cell of {key}")))
    }

    fn write(&self, write: &ViewWrite) -> Result<(), ViewError> {
        let ViewWrite { cells, debts, declared, positions, numbers: seen, census, marks } = write;
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
        for ((topic, partition), news) in declared {
            for (dc, noted) in news {
                batch.put(keys::declared(topic, *partition, dc), encode_declared(noted));
            }
        }
        for (topic, partition, offset) in positions {
            batch.put(keys::position(topic, *partition), offset.0.to_be_bytes());
        }
        for (topic, partition, seen) in seen {
            batch.put(keys::numbers(topic, *partition), numbers::encode(seen));
        }
        for (slot, count) in census {
            match count.cells {
                0 => batch.delete(keys::slot(*slot)),
                _ => batch.put(keys::slot(*slot), encode_count(*count)),
            }
        }
        batch.put(keys::MARKS, encode_marks(marks));
        self.db.write_opt(batch, &self.unlogged).map_err(|error| self.failed(&error))
    }

    fn saved(&self) -> Result<Saved, ViewError> {
        let mut saved = Saved::default();
        for found in self.scan_tag(keys::LOG_TAG) {
            let (key, incarnation) = found?;
            let topic = keys::decode_log(&key).ok_or_else(|| self.damaged("the name of a log"))?;
            let incarnation = String::from_utf8_lossy(&incarnation).as_ref().into();
            let log =
                SavedLog { incarnation: Incarnation(incarnation), frontier: eventlog::Frontier::empty() };
            saved.logs.insert(topic, log);
        }
        for found in self.scan_tag(keys::POSITION_TAG) {
            let (key, offset) = found?;
            let position = keys::decode_position(&key).zip(decode_u64(&offset));
            let ((topic, partition), offset) = position.ok_or_else(|| self.damaged("a position"))?;
            let log = saved.logs.get_mut(&topic).ok_or_else(|| self.damaged("a position in no log"))?;
            log.frontier.advance(partition, Offset(offset));
        }
        for found in self.scan_tag(keys::NUMBERS_TAG) {
            let (key, stored) = found?;
            let seen = keys::decode_numbers(&key).zip(numbers::decode(&stored));
            let (key, seen) = seen.ok_or_else(|| self.damaged("the numbers that were seen"))?;
            saved.numbers.insert(key, seen);
        }
        for found in self.scan_tag(keys::DEBT_TAG) {
            let (key, since) = found?;
            let debt = keys::decode_debt(&key).zip(decode_u64(&since));
            let (key, since) = debt.ok_or_else(|| self.damaged("a debt"))?;
            saved.debts.insert(key, Timestamp::from_millis(since));
        }
        for found in self.scan_tag(keys::DECLARED_TAG) {
            let (key, stored) = found?;
            let decoded = keys::decode_declared(&key)
                .and_then(|(topic, partition, dc)| Some(((topic, partition), decode_declared(dc, &stored)?)));
            let (of, noted) = decoded.ok_or_else(|| self.damaged("a declaration"))?;
            saved.declared.entry(of).or_default().insert(noted.declaration.dc.clone(), noted);
        }
        let mut slots = Vec::new();
        for found in self.scan_tag(keys::CENSUS_TAG) {
            let (key, count) = found?;
            let slot = keys::decode_slot(&key).zip(decode_count(&count));
            slots.push(slot.ok_or_else(|| self.damaged("a count"))?);
        }
        saved.census = Census::of(slots);
        if let Some(marks) = self.get_raw(keys::MARKS)? {
            saved.marks = decode_marks(&marks).ok_or_else(|| self.damaged("the clock's marks"))?;
        }
        Ok(saved)
    }

    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([keys::CELL_TAG + 1]);
        options.fill_cache(false);
        let mut found = self.db.raw_iterator_opt(options);
        found.seek(after.map_or_else(|| vec![keys::CELL_TAG], |key| keys::after_cell(&key)));
        let (mut expired, mut bytes) = (Expired::default(), 0);
        while let Some((key, stored)) = found.item() {
            bytes += stored.len();
            let decoded = keys::decode_cell(key).zip(cell::decode_stripped(stored, gc_now));
            let (key, stripped) = decoded.ok_or_else(|| self.damaged("a cell"))?;
            expired.stripped.extend(stripped.map(|cell| (key, cell)));
            if EXPIRED_BYTES <= bytes {
                expired.next = Some(key);
                break;
            }
            found.next();
        }
        found.status().map_err(|error| self.failed(&error))?;
        Ok(expired)
    }

    fn essences(&self, after: Option<KeyId>, bytes: usize) -> Result<Essences, ViewError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([keys::CELL_TAG + 1]);
        options.fill_cache(false);
        let mut found = self.db.raw_iterator_opt(options);
        found.seek(after.map_or_else(|| vec![keys::CELL_TAG], |key| keys::after_cell(&key)));
        let (mut essences, mut read) = (Essences::default(), 0);
        while let Some((key, stored)) = found.item() {
            read += key.len() + stored.len();
            let essence = keys::decode_cell(key).and_then(|key| cell::decode_essence(key, stored));
            let essence = essence.ok_or_else(|| self.damaged("a cell"))?;
            essences.cells.push(essence);
            if bytes <= read {
                essences.last = Some(essence.key);
                break;
            }
            found.next();
        }
        found.status().map_err(|error| self.failed(&error))?;
        Ok(essences)
    }

    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([keys::CELL_TAG + 1]);
        options.fill_cache(false);
        let first = after.map_or_else(|| vec![keys::CELL_TAG], |key| keys::after_cell(&key));
        let found = self.db.iterator_opt(IteratorMode::From(&first, Direction::Forward), options);
        let cells = found.take(limit).map(|found| {
            let (key, stored) = found.map_err(|error| self.failed(&error))?;
            let cell = keys::decode_cell(&key).zip(cell::decode(Bytes::from(stored)));
            cell.ok_or_else(|| self.damaged("a cell"))
        });
        cells.collect()
    }
}

impl fmt::Debug for SessionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionView").field("dir", &self.dir.path).finish_non_exhaustive()
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

/// `id: 16 bytes │ appended: u64 │ state: its name`
fn encode_declared(noted: &Noted) -> Vec<u8> {
    let Noted { declaration: Declaration { id, state, .. }, appended } = noted;
    let state = state.to_string();
    [&id.to_bytes()[..], &appended.as_millis().to_be_bytes(), state.as_bytes()].concat()
}

fn decode_declared(dc: Dc, stored: &[u8]) -> Option<Noted> {
    let (id, rest) = stored.split_first_chunk()?;
    let (appended, state) = rest.split_at_checked(8)?;
    let state = str::from_utf8(state).ok()?.parse().ok()?;
    let appended = Timestamp::from_millis(decode_u64(appended)?);
    Some(Noted { declaration: Declaration { dc, state, id: Version::from_bytes(*id) }, appended })
}

/// `cells: u64 │ bytes: u64`
fn encode_count(count: Count) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&count.cells.to_be_bytes());
    bytes[8..].copy_from_slice(&count.bytes.to_be_bytes());
    bytes
}

fn decode_count(stored: &[u8]) -> Option<Count> {
    let (cells, bytes) = stored.split_at_checked(8)?;
    Some(Count { cells: decode_u64(cells)?, bytes: decode_u64(bytes)? })
}

fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Damage is what the files themselves say; a file that is gone is damage too. For want of space RocksDB stops writing,
/// keeps what it has in memory, goes on answering reads, and recovers by itself within seconds of there being space.
fn failure(error: &rocksdb::Error) -> ViewError {
    let says: Arc<str> = error.to_string().into();
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::NotSupported => ViewError::Damaged(says),
        ErrorKind::IOError if says.contains("No such file or directory") => ViewError::Damaged(says),
        ErrorKind::IOError if says.contains("No space left on device") => ViewError::NoSpace(says),
        _ => ViewError::Storage(says),
    }
}

#[cfg(test)]
mod tests;
