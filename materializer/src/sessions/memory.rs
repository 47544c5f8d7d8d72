//! The memory that all views of a process share.

use std::fmt;

use rocksdb::{Cache, WriteBufferManager};

use crate::CellCache;

/// One cache of cells, one of blocks and one budget for memtables, however many stores there are.
#[derive(Clone)]
pub struct ViewMemory {
    /// For the hottest cells.
    pub cells: CellCache,
    pub(super) blocks: Cache,
    pub(super) memtables: WriteBufferManager,
    memtable_bytes: usize,
}

impl ViewMemory {
    /// Divides `total_bytes` (`memory_mb`): three eighths for [cells](CellCache), an eighth for blocks, a quarter for
    /// memtables. The rest is for queues and bodies.
    ///
    /// A cell costs a lookup in memory; a block of cells costs RocksDB's way through its levels as well. What is left for
    /// blocks holds the filters and indexes of a view of some 20 times the size.
    pub fn of(total_bytes: usize) -> Self {
        let memtable_bytes = total_bytes / 4;
        Self {
            cells: CellCache::of(total_bytes / 8 * 3),
            // An entry charge of 0 lets the cache find out by itself how large blocks are.
            blocks: Cache::new_hyper_clock_cache(total_bytes / 8, 0),
            memtables: WriteBufferManager::new_write_buffer_manager(memtable_bytes, false),
            memtable_bytes,
        }
    }

    /// The size at which one memtable is flushed: large, because overwrites of a session that meet in memory never
    /// reach the disk, and small enough that two fit.
    pub(super) const fn memtable_bytes(&self) -> usize {
        self.memtable_bytes / 2
    }
}

impl fmt::Debug for ViewMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewMemory").field("memtable_bytes", &self.memtable_bytes).finish_non_exhaustive()
    }
}
