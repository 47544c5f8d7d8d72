//! A view in memory: the simulation's, and the oracle of every test that has a view.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard},
};

use eventlog::Incarnation;
use schemas::{KeyId, Timestamp, Topic};

use crate::{Cell, Essence, Essences, Expired, Saved, SavedLog, View, ViewError, ViewWrite};

/// Cells that one look for expired contents sees.
const EXPIRED_CELLS: usize = 512;

/// What a cell is taken to take, where bytes are asked for.
const CELL_BYTES: usize = 256;

/// Cells in a `BTreeMap`.
#[derive(Debug, Default)]
pub struct MemoryView(Mutex<Contents>);

/// Everything that a view holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The cells.
    pub cells: BTreeMap<KeyId, Cell>,
    /// The rest.
    pub saved: Saved,
}

impl MemoryView {
    /// An empty view of these logs.
    pub fn new(logs: impl IntoIterator<Item = (Topic, Incarnation)>) -> Self {
        let unread = |incarnation| SavedLog { incarnation, frontier: eventlog::Frontier::empty() };
        let logs = logs.into_iter().map(|(topic, incarnation)| (topic, unread(incarnation))).collect();
        Self::from_contents(Contents { cells: BTreeMap::new(), saved: Saved { logs, ..Saved::default() } })
    }

    /// A view that holds what another one held, as after a restart.
    pub const fn from_contents(contents: Contents) -> Self {
        Self(Mutex::new(contents))
    }

    /// Everything it holds now.
    pub fn contents(&self) -> Contents {
        self.lock().clone()
    }

    /// Drops the cells of which `keep` says false, as a compaction does.
    pub fn retain(&self, mut keep: impl FnMut(&KeyId, &Cell) -> bool) {
        self.lock().cells.retain(|key, cell| keep(key, cell));
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no holder panics")
    }
}

impl View for MemoryView {
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError> {
        Ok(self.lock().cells.get(key).cloned())
    }

    fn write(&self, write: &ViewWrite) -> Result<(), ViewError> {
        self.lock().take(write);
        Ok(())
    }

    fn saved(&self) -> Result<Saved, ViewError> {
        Ok(self.lock().saved.clone())
    }

    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError> {
        let seen = self.scan(after, EXPIRED_CELLS)?;
        let next = if seen.len() < EXPIRED_CELLS { None } else { seen.last().map(|(key, _)| *key) };
        let stripped = seen.into_iter().filter_map(|(key, cell)| Some((key, cell.stripped(gc_now)?)));
        Ok(Expired { stripped: stripped.collect(), next })
    }

    fn essences(&self, after: Option<KeyId>, bytes: usize) -> Result<Essences, ViewError> {
        let limit = 1 + bytes / CELL_BYTES;
        let seen = self.scan(after, limit)?;
        let last = if seen.len() < limit { None } else { seen.last().map(|(key, _)| *key) };
        Ok(Essences { cells: seen.iter().map(|(key, cell)| Essence::of(*key, cell)).collect(), last })
    }

    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let contents = self.lock();
        let cells = contents.cells.range((from, Bound::Unbounded));
        Ok(cells.take(limit).map(|(&key, cell)| (key, cell.clone())).collect())
    }
}

impl Contents {
    /// Takes all of `write`.
    pub fn take(&mut self, write: &ViewWrite) {
        let ViewWrite { cells, debts, declared, positions, numbers, census, marks } = write.clone();
        self.cells.extend(cells);
        for (key, since) in debts {
            match since {
                Some(since) => self.saved.debts.insert(key, since),
                None => self.saved.debts.remove(&key),
            };
        }
        for (partition, news) in declared {
            self.saved.declared.entry(partition).or_default().extend(news);
        }
        for (topic, partition, offset) in positions {
            let log =
                self.saved.logs.get_mut(&topic).expect("a view is written from the logs it was made for");
            log.frontier.advance(partition, offset);
        }
        let numbers = numbers.into_iter().map(|(topic, partition, numbers)| ((topic, partition), numbers));
        self.saved.numbers.extend(numbers);
        self.saved.census.take(&census);
        self.saved.marks = marks;
    }
}
