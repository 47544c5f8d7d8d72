//! What happened in a run, for a test that what runs are made for does happen.

use std::{collections::BTreeMap, sync::Mutex};

/// Events by name, and how often each.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<&'static str, usize>>);

impl Seen {
    /// It happened.
    pub(crate) fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    /// All that happened.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, usize> {
        self.0.lock().unwrap().clone()
    }
}
