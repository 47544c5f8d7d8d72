//! Keys whose winner the own log owes, kept in memory beside the view that keeps them across restarts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use schemas::{KeyId, Timestamp};

use crate::DebtChange;

/// The keys in debt, and since when.
#[derive(Debug)]
pub struct Debts(Mutex<BTreeMap<KeyId, Timestamp>>);

impl Debts {
    /// Those that a view had saved.
    pub const fn new(saved: BTreeMap<KeyId, Timestamp>) -> Self {
        Self(Mutex::new(saved))
    }

    /// The keys in debt, and since when.
    pub fn all(&self) -> Vec<(KeyId, Timestamp)> {
        self.lock().iter().map(|(&key, &since)| (key, since)).collect()
    }

    /// How many keys are in debt.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// What `other` owes now, and nothing else.
    pub(crate) fn replace_with(&self, other: &Self) {
        let owed = other.lock().clone();
        *self.lock() = owed;
    }

    /// What of `changes` is news: a debt that is owed already keeps its date, and one that never was is not paid.
    pub(crate) fn news(
        &self,
        changes: &BTreeMap<KeyId, DebtChange>,
        now: Timestamp,
    ) -> BTreeMap<KeyId, Option<Timestamp>> {
        let owed = self.lock();
        let news = changes.iter().filter_map(|(key, change)| match change {
            DebtChange::Began => (!owed.contains_key(key)).then_some((*key, Some(now))),
            DebtChange::Paid => owed.contains_key(key).then_some((*key, None)),
        });
        news.collect()
    }

    /// Follows what was written to the view.
    pub(crate) fn take(&self, news: &BTreeMap<KeyId, Option<Timestamp>>) {
        let mut owed = self.lock();
        for (key, since) in news {
            match since {
                Some(since) => owed.insert(*key, *since),
                None => owed.remove(key),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KeyId, Timestamp>> {
        self.0.lock().expect("no holder panics")
    }
}
