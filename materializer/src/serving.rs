//! The view that requests read. A rebuild replaces it while they do.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::View;

/// One view at a time. Whoever took it before a change reads the one before to the end of that one read.
pub struct Serving(RwLock<Arc<dyn View>>);

impl Serving {
    /// Serves `view`.
    pub const fn new(view: Arc<dyn View>) -> Self {
        Self(RwLock::new(view))
    }

    /// The view to read now. Not to be kept: the next read may find another.
    pub fn view(&self) -> Arc<dyn View> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Only the apply thread replaces it, and only by a view that holds all that the one before held.
    pub(crate) fn replace(&self, view: Arc<dyn View>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serving").field(&self.view()).finish()
    }
}
