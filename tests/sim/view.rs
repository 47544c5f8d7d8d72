//! A view on a disk that keeps, after a crash, a prefix of what was written to it.

use std::sync::{Arc, Mutex, MutexGuard};

use materializer::{
    Cell, Expired, Saved, View, ViewError, ViewWrite,
    memory::{Contents, MemoryView},
};
use rand::Rng;
use schemas::{KeyId, Timestamp};

use super::log::Chance;

/// What a node's disk holds; outlives the node.
pub(crate) type Disk = Arc<Mutex<Contents>>;

/// A view of which some is only in memory.
#[derive(Debug)]
pub(crate) struct CrashingView {
    current: MemoryView,
    disk: Disk,
    chance: Chance,
    position_before_data: bool,
}

impl CrashingView {
    /// Comes back with what the disk holds. With the defect, a flush takes the positions of the last write without
    /// its cells.
    pub(crate) fn recover(disk: &Disk, chance: &Chance, position_before_data: bool) -> Self {
        let current = MemoryView::from_contents(disk.lock().unwrap().clone());
        Self { current, disk: Arc::clone(disk), chance: Arc::clone(chance), position_before_data }
    }

    /// Everything that it holds now.
    pub(crate) fn contents(&self) -> Contents {
        self.current.contents()
    }

    fn disk(&self) -> MutexGuard<'_, Contents> {
        self.disk.lock().unwrap()
    }
}

impl View for CrashingView {
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError> {
        self.current.get(key)
    }

    fn write(&self, write: &ViewWrite) -> Result<(), ViewError> {
        let before = self.current.contents();
        self.current.write(write)?;
        let flushes = self.chance.lock().unwrap().random_ratio(1, 4);
        if flushes {
            let mut flushed = self.current.contents();
            if self.position_before_data {
                flushed.cells = before.cells;
            }
            *self.disk() = flushed;
        }
        Ok(())
    }

    fn saved(&self) -> Result<Saved, ViewError> {
        self.current.saved()
    }

    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError> {
        self.current.expired(after, gc_now)
    }

    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        self.current.scan(after, limit)
    }
}
