//! What may be told of secrets: other data centres compare it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Of each secret, by name: equal if they are. The same for all who have it, and replaced when the ring is.
#[derive(Clone, Debug)]
pub struct Fingerprints(Arc<RwLock<BTreeMap<String, String>>>);

impl Fingerprints {
    /// Of these.
    pub fn of(all: BTreeMap<String, String>) -> Self {
        Self(Arc::new(RwLock::new(all)))
    }

    /// Of these instead.
    pub fn replace(&self, all: BTreeMap<String, String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the secret of this name is that one.
    pub(crate) fn is(&self, name: &str, fingerprint: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).is_some_and(|ours| ours == fingerprint)
    }
}
