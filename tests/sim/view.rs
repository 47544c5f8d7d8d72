//! A view on a disk that keeps, after a crash, a prefix of what was written to it, and that drops what it may.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use eventlog::LogClock;
use materializer::{
    Cell, Essences, Expired, Saved, State, View, ViewError, ViewWrite,
    memory::{Contents, MemoryView},
};
use schemas::{KeyId, Timestamp, Until, Version};

use super::{
    chance::{Chance, one_in},
    defect::Defect,
    node::Site,
    seen::Seen,
};

/// What a node's disk holds; outlives the node.
pub(crate) type Disk = Arc<Mutex<Contents>>;

/// A view of which some is only in memory.
#[derive(Debug)]
pub(crate) struct CrashingView {
    current: MemoryView,
    disk: Disk,
    chance: Chance,
    clock: Arc<LogClock>,
    defect: Option<Defect>,
    seen: Arc<Seen>,
    /// When what a tombstone replaced would have ended: what a view is not to go by.
    replaced: Mutex<BTreeMap<Version, Until>>,
}

impl CrashingView {
    /// Comes back with what the disk holds.
    pub(crate) fn recover(site: &Site, disk: &Disk, clock: &Arc<LogClock>) -> Self {
        Self {
            current: MemoryView::from_contents(disk.lock().unwrap().clone()),
            disk: Arc::clone(disk),
            chance: Arc::clone(&site.chance),
            clock: Arc::clone(clock),
            defect: site.defect,
            seen: Arc::clone(&site.seen),
            replaced: Mutex::default(),
        }
    }

    /// What goes to the disk, and what should not with the defects.
    fn flush(&self, before: Contents) {
        let mut flushed = self.current.contents();
        match self.defect {
            Some(Defect::PositionBeforeData) => flushed.cells = before.cells,
            Some(Defect::DebtsInMemory) => flushed.saved.debts.clear(),
            _ => {}
        }
        *self.disk() = flushed;
    }

    /// What a compaction does: drops cells that may vanish, from what is on the disk too.
    fn compact(&self) {
        let gc_now = self.clock.gc_now();
        let replaced = self.replaced.lock().unwrap();
        let is_early = |cell: &Cell| {
            self.defect == Some(Defect::TombstonesLeaveTheViewEarly)
                && cell.state == State::Tombstone
                && replaced.get(&cell.version).is_some_and(|end| !end.is_after(gc_now))
        };
        let is_kept = |cell: &Cell| {
            let is_kept = !cell.is_droppable(gc_now) && !is_early(cell);
            if !is_kept {
                self.seen.note("a cell that was dropped");
            }
            is_kept
        };
        self.current.retain(|_, cell| is_kept(cell));
        self.disk().cells.retain(|_, cell| is_kept(cell));
    }

    fn remember_replaced(&self, before: &Contents, write: &ViewWrite) {
        let mut replaced = self.replaced.lock().unwrap();
        for (key, cell) in &write.cells {
            if let (State::Tombstone, Some(old)) = (&cell.state, before.cells.get(key))
                && let State::Live { expires_at, .. } | State::Stripped { expires_at } = old.state
            {
                replaced.insert(cell.version, expires_at);
            }
        }
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
        self.remember_replaced(&before, write);
        self.current.write(write)?;
        if one_in(&self.chance, 4) {
            self.flush(before);
        }
        Ok(())
    }

    fn saved(&self) -> Result<Saved, ViewError> {
        self.current.saved()
    }

    /// Asked for once a second: now and then a compaction runs.
    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError> {
        if one_in(&self.chance, 4) {
            self.compact();
        }
        self.current.expired(after, gc_now)
    }

    fn essences(&self, after: Option<KeyId>, bytes: usize) -> Result<Essences, ViewError> {
        self.current.essences(after, bytes)
    }

    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        self.current.scan(after, limit)
    }
}
