//! A view as it was at one moment, cells and positions together, while the one it is of goes on.

use std::ops::ControlFlow;

use rocksdb::{DB, Direction, IteratorMode, ReadOptions, SnapshotWithThreadMode};

use super::{SessionView, cell, decode_u64, keys};
use crate::{Essence, Frontiers, ViewError};

/// A moment of a view. Holds back the space of what is overwritten meanwhile.
pub struct Frozen<'a> {
    view: &'a SessionView,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl SessionView {
    /// The view as it is now.
    pub fn frozen(&self) -> Frozen<'_> {
        Frozen { view: self, snapshot: self.db.snapshot() }
    }
}

impl Frozen<'_> {
    /// How far each log had been applied.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn frontiers(&self) -> Result<Frontiers, ViewError> {
        let mut found = Frontiers::new();
        self.each(keys::POSITION_TAG, |key, offset| {
            let position = keys::decode_position(key).zip(decode_u64(offset));
            let Some(((topic, partition), offset)) = position else { return Err("a position") };
            found.entry(topic).or_default().advance(partition, schemas::Offset(offset));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Gives what counts of each cell to `take`, in the order of keys, until that breaks off.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn cells(&self, mut take: impl FnMut(Essence) -> ControlFlow<()>) -> Result<(), ViewError> {
        self.each(keys::CELL_TAG, |key, stored| {
            let essence = keys::decode_cell(key).and_then(|key| cell::decode_essence(key, stored));
            essence.map(&mut take).ok_or("a cell")
        })
    }

    fn each(
        &self,
        tag: u8,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, &'static str>,
    ) -> Result<(), ViewError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([tag + 1]);
        options.fill_cache(false);
        for found in self.snapshot.iterator_opt(IteratorMode::From(&[tag], Direction::Forward), options) {
            let (key, value) = found.map_err(|error| self.view.failed(&error))?;
            if take(&key, &value).map_err(|what| self.view.damaged(what))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Frozen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("view", self.view).finish_non_exhaustive()
    }
}
