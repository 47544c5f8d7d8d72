//! What a fold reads and writes. Two real implementations: RocksDB, and a `BTreeMap` for simulation and as oracle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use eventlog::{Frontier, Incarnation};
use schemas::{KeyId, Offset, Partition, Timestamp, Topic, Version};

use crate::{Cell, Census, Declarations, Essence, Head, Numbers, NumbersWrite, Recount};

/// Cells by key id, and how much of which logs they are made of.
///
/// Disposable: whatever is lost, the logs give back. An implementation promises that what it holds after a crash is a
/// prefix of what was written to it, cells and positions together.
pub trait View: fmt::Debug + Send + Sync + 'static {
    /// The cell of a key.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError>;

    /// What of a key's cell says whether it wins, and how it is counted.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn head(&self, key: &KeyId) -> Result<Option<Head>, ViewError> {
        Ok(self.get(key)?.as_ref().map(Head::of))
    }

    /// The version of a key's cell.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn version(&self, key: &KeyId) -> Result<Option<Version>, ViewError> {
        Ok(self.head(key)?.map(|head| head.version))
    }

    /// Takes all of `write`, or nothing.
    ///
    /// # Errors
    /// When the disk cannot be written. For want of space, it may be tried again and the view be read; after any other
    /// error the view must not be used any more.
    fn write(&self, write: &ViewWrite) -> Result<(), ViewError>;

    /// What was written besides cells.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn saved(&self) -> Result<Saved, ViewError>;

    /// Looks through some cells after `after` for contents that ended before `gc_now`. Reads a bounded part.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError>;

    /// What counts of the cells after `after`, in the order of keys, when views are compared. Reads `bytes` of the view, and
    /// one cell more.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn essences(&self, after: Option<KeyId>, bytes: usize) -> Result<Essences, ViewError>;

    /// Up to `limit` cells after `after`, in the order of keys: to compare views.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError>;
}

/// What a look for expired contents found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The cells without their contents.
    pub stripped: BTreeMap<KeyId, Cell>,
    /// Where to go on; `None` when the last cell was looked at.
    pub next: Option<KeyId>,
}

/// What a look at some cells found, to compare views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Essences {
    /// What counts of each.
    pub cells: Vec<Essence>,
    /// The key of the last, after which there may be more; `None` when there are none.
    pub last: Option<KeyId>,
}

/// One atomic change of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewWrite {
    /// New cells.
    pub cells: BTreeMap<KeyId, Cell>,
    /// Debts that began (since when) or were paid (`None`).
    pub debts: BTreeMap<KeyId, Option<Timestamp>>,
    /// What was declared with these cells.
    pub declared: Declarations,
    /// How far a partition has been applied with these cells.
    pub positions: Vec<(Topic, Partition, Offset)>,
    /// The numbers that have been seen in copied logs with these cells.
    pub numbers: NumbersWrite,
    /// How many there are with these cells.
    pub census: Recount,
    /// The clock's marks with these cells.
    pub marks: Marks,
}

/// What clocks must never go below, kept beside the positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The newest version applied.
    pub newest_version: Option<Version>,
    /// The newest append time seen in a log.
    pub newest_append: Timestamp,
    /// The latest moment at which a reader was answered.
    pub read_now: Timestamp,
}

/// What a view was written besides cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// How far each log has been applied.
    pub logs: BTreeMap<Topic, SavedLog>,
    /// The numbers that have been seen in copied logs.
    pub numbers: BTreeMap<(Topic, Partition), Numbers>,
    /// Keys in debt, and since when.
    pub debts: BTreeMap<KeyId, Timestamp>,
    /// What the logs say of data centres.
    pub declared: Declarations,
    /// How many cells live.
    pub census: Census,
    /// The clock's marks.
    pub marks: Marks,
}

/// How far one log has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedLog {
    /// Which life of the log the positions are of.
    pub incarnation: Incarnation,
    /// What has been applied of it.
    pub frontier: Frontier,
}

impl ViewError {
    /// Whether it says nothing of the view itself, which may be in order.
    pub const fn is_of_the_storage(&self) -> bool {
        match self {
            Self::Storage(_) | Self::NoSpace(_) => true,
            Self::Damaged(_) | Self::Foreign(_) => false,
        }
    }
}

/// A view failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ViewError {
    /// The disk is full. What the view holds can be read, and it takes writes again once there is space.
    #[error("the view has no space on its disk: {0}")]
    NoSpace(Arc<str>),
    /// The storage's word: no rights, no file descriptors. The view itself may be in order.
    #[error("the view cannot be read or written: {0}")]
    Storage(Arc<str>),
    /// What is stored is not what was written. A new view can be made from the logs.
    #[error("the view is damaged: {0}")]
    Damaged(Arc<str>),
    /// It was made from other logs than these. A new view can be made from the logs.
    #[error("the view is not of this log: {0}")]
    Foreign(Arc<str>),
}
