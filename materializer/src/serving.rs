//! The view that requests read, with its hottest cells in memory. A rebuild replaces it while they do.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use schemas::{KeyId, Version};

use crate::{Cell, CellCache, HotCells, View, ViewError};

/// A view and the cells of it that are in memory.
#[derive(Debug)]
pub struct Served {
    view: Arc<dyn View>,
    hot: HotCells,
}

impl Served {
    pub(crate) fn new(view: Arc<dyn View>, cells: &CellCache) -> Self {
        Self { view, hot: cells.of_view() }
    }

    /// The cell of a key.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn get(&self, key: &KeyId) -> Result<Option<Arc<Cell>>, ViewError> {
        self.hot.get(key, || self.view.get(key))
    }

    /// The version of a key's cell.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn version(&self, key: &KeyId) -> Result<Option<Version>, ViewError> {
        match self.hot.peek(key) {
            Some(cell) => Ok(Some(cell.version)),
            None => self.view.version(key),
        }
    }

    /// All of it, on disk.
    pub fn view(&self) -> &dyn View {
        &*self.view
    }

    /// What of it is in memory.
    pub(crate) const fn hot(&self) -> &HotCells {
        &self.hot
    }
}

/// One view at a time. Whoever took it before a change reads the one before to the end of that one read.
pub struct Serving {
    served: RwLock<Arc<Served>>,
    cells: CellCache,
}

impl Serving {
    /// Serves `view`, with room for its hottest cells in `cells`.
    pub fn new(view: Arc<dyn View>, cells: CellCache) -> Self {
        Self { served: RwLock::new(Arc::new(Served::new(view, &cells))), cells }
    }

    /// The view to read now. Not to be kept: the next read may find another.
    pub fn view(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another view, to take the place of the one that is served.
    pub(crate) fn prepare(&self, view: Arc<dyn View>) -> Arc<Served> {
        Arc::new(Served::new(view, &self.cells))
    }

    /// Only the apply thread replaces it, and only by a view that holds all that the one before held.
    pub(crate) fn replace(&self, next: Arc<Served>) {
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serving").field(&self.view()).finish()
    }
}
