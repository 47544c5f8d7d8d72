//! Cells that were read or written lately, in memory: a read of one of them asks no disk and no block.
//!
//! Kept current by the apply thread, which puts every cell here right after it wrote it to the view. A reader that does
//! not find a cell here fetches it from the view and leaves it here, unless the apply thread has put a newer one
//! meanwhile: the cache hands out one place per key, and a put takes that place from whoever was about to fill it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus::Registry;
use quick_cache::{
    DefaultHashBuilder, Lifecycle, Weighter,
    sync::{Cache, DefaultLifecycle, GuardResult},
};
use schemas::KeyId;

use crate::{Cell, CellCacheMetrics, State, ViewError};

/// What a cell takes beside its contents: the entry, the cell, its headers.
const CELL_BYTES: usize = 384;

/// A guess, for the first size of the tables: what a session of MediaWiki takes.
const TYPICAL_BYTES: usize = 2048 + CELL_BYTES;

/// Memory for cells that all views of a process share.
#[derive(Clone)]
pub struct CellCache {
    cells: Arc<Cache<Place, Arc<Cell>, Weight, DefaultHashBuilder, Evicting>>,
    views: Arc<AtomicU64>,
    counted: CellCacheMetrics,
}

/// The cells of one view in it.
pub struct HotCells {
    cache: CellCache,
    view: u64,
}

/// A key of a view. Two views of one store may be a moment apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    view: u64,
    key: KeyId,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Place, Arc<Cell>> for Weight {
    fn weight(&self, _: &Place, cell: &Arc<Cell>) -> u64 {
        let contents = match &cell.state {
            State::Live { sealed, .. } => sealed.0.len(),
            State::Stripped { .. } | State::Tombstone => 0,
        };
        (CELL_BYTES + contents) as u64
    }
}

/// Counts what has to make room, and drops it once no lock is held.
#[derive(Clone)]
struct Evicting {
    counted: CellCacheMetrics,
    dropping: DefaultLifecycle<Place, Arc<Cell>>,
}

impl Lifecycle<Place, Arc<Cell>> for Evicting {
    type RequestState = <DefaultLifecycle<Place, Arc<Cell>> as Lifecycle<Place, Arc<Cell>>>::RequestState;

    // Not at `on_evict`, which is told of what was replaced too.
    fn before_evict(&self, _: &mut Self::RequestState, _: &Place, _: &mut Arc<Cell>) {
        self.counted.evictions.inc();
    }

    fn on_evict(&self, state: &mut Self::RequestState, place: Place, cell: Arc<Cell>) {
        self.dropping.on_evict(state, place, cell);
    }
}

impl CellCache {
    /// Room for this many bytes.
    pub fn of(bytes: usize) -> Self {
        let counted = CellCacheMetrics::default();
        let evicting = Evicting { counted: counted.clone(), dropping: DefaultLifecycle::default() };
        let cells_guess = (bytes / TYPICAL_BYTES).max(16);
        let cells = Cache::with(cells_guess, bytes as u64, Weight, DefaultHashBuilder::default(), evicting);
        Self { cells: Arc::new(cells), views: Arc::default(), counted }
    }

    /// Registers what is counted of it.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let cells = Arc::clone(&self.cells);
        self.counted.register(registry, move || cells.weight())
    }

    /// For a view that has none yet.
    pub fn of_view(&self) -> HotCells {
        HotCells { cache: self.clone(), view: self.views.fetch_add(1, Ordering::Relaxed) }
    }
}

impl HotCells {
    /// The cell of `key`: from here, or by `read` from the view, which then stays here.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn get(
        &self,
        key: &KeyId,
        read: impl FnOnce() -> Result<Option<Cell>, ViewError>,
    ) -> Result<Option<Arc<Cell>>, ViewError> {
        let vacant = match self.cache.cells.get_value_or_guard(&self.place(key), None) {
            GuardResult::Value(cell) => {
                self.cache.counted.hits.inc();
                return Ok(Some(cell));
            }
            GuardResult::Guard(vacant) => vacant,
            GuardResult::Timeout => unreachable!("it waits for as long as it takes"),
        };
        self.cache.counted.misses.inc();
        // IMPORTANT: after the place was taken. A put that comes between the two takes it away, and what was read here
        // may be older than that.
        let cell = read()?.map(Arc::new);
        if let Some(cell) = &cell {
            let _newer_was_put = vacant.insert(Arc::clone(cell));
        }
        Ok(cell)
    }

    /// The cell of `key`, if it is here.
    pub(crate) fn peek(&self, key: &KeyId) -> Option<Arc<Cell>> {
        self.cache.cells.peek(&self.place(key))
    }

    /// `cell` is what the view holds of `key` from now on.
    pub(crate) fn put(&self, key: KeyId, cell: Cell) {
        self.cache.cells.insert(self.place(&key), Arc::new(cell));
    }

    const fn place(&self, key: &KeyId) -> Place {
        Place { view: self.view, key: *key }
    }
}

impl fmt::Debug for CellCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellCache").field("cells", &self.cells.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HotCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotCells").field("view", &self.view).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use schemas::{Headers, Hlc, Until, Version, WriterId};

    use super::*;

    const KEY: KeyId = KeyId::from_bytes([1; 16]);

    fn cell(n: u64) -> Cell {
        let version = Version { hlc: Hlc::from_bits(n), writer: WriterId(1) };
        let (retain_until, headers) = (Until::Never, Headers::default());
        Cell { version, retain_until, headers, state: State::Tombstone }
    }

    fn never() -> Result<Option<Cell>, ViewError> {
        panic!("the view was read")
    }

    fn version(cell: Option<Arc<Cell>>) -> Option<u64> {
        cell.map(|cell| cell.version.hlc.bits())
    }

    #[test]
    fn a_cell_is_read_once_and_a_key_without_one_every_time() {
        let hot = CellCache::of(1 << 20).of_view();
        assert_eq!(version(hot.get(&KEY, || Ok(None)).unwrap()), None);
        assert_eq!(version(hot.get(&KEY, || Ok(Some(cell(1)))).unwrap()), Some(1));
        assert_eq!(version(hot.get(&KEY, never).unwrap()), Some(1));
    }

    #[test]
    fn what_is_put_is_what_is_read() {
        let hot = CellCache::of(1 << 20).of_view();
        hot.put(KEY, cell(1));
        hot.put(KEY, cell(2));
        assert_eq!(version(hot.get(&KEY, never).unwrap()), Some(2));
        assert_eq!(version(hot.peek(&KEY)), Some(2));
    }

    #[test]
    fn a_slow_reader_does_not_bring_back_what_was_replaced_while_it_read() {
        let hot = CellCache::of(1 << 20).of_view();
        let read = hot.get(&KEY, || {
            hot.put(KEY, cell(2));
            Ok(Some(cell(1)))
        });
        assert_eq!(version(read.unwrap()), Some(1), "what it read was right when it began");
        assert_eq!(version(hot.get(&KEY, never).unwrap()), Some(2));
    }

    #[test]
    fn a_read_that_fails_leaves_nothing_behind() {
        let hot = CellCache::of(1 << 20).of_view();
        let failed = || Err(ViewError::Storage("no disk".into()));
        assert!(hot.get(&KEY, failed).is_err());
        assert_eq!(version(hot.get(&KEY, || Ok(Some(cell(1)))).unwrap()), Some(1));
    }

    #[test]
    fn views_share_room_and_nothing_else() {
        let cache = CellCache::of(64 * CELL_BYTES);
        let (one, other) = (cache.of_view(), cache.of_view());
        one.put(KEY, cell(1));
        assert_eq!(version(other.peek(&KEY)), None);
        for n in 0..=255 {
            other.put(KeyId::from_bytes([n; 16]), cell(2));
        }
        assert!(cache.cells.weight() <= 64 * CELL_BYTES as u64);
    }

    #[test]
    fn hits_misses_bytes_and_what_made_room_are_counted() {
        let (cache, registry) = (CellCache::of(64 * CELL_BYTES), Registry::new());
        cache.register(&registry).unwrap();
        let hot = cache.of_view();
        let all = || {
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            ["bytes", "hits_total", "misses_total", "evictions_total"].map(|name| {
                let name = format!("solera_cell_cache_{name} ");
                let value = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
                value.parse::<usize>().unwrap()
            })
        };
        assert_eq!(all(), [0, 0, 0, 0]);
        hot.get(&KEY, || Ok(None)).unwrap();
        hot.get(&KEY, || Ok(Some(cell(1)))).unwrap();
        hot.get(&KEY, never).unwrap();
        hot.put(KEY, cell(2));
        assert_eq!(all(), [CELL_BYTES, 1, 2, 0], "what is replaced makes no room");
        for n in 0..=255 {
            hot.put(KeyId::from_bytes([n; 16]), cell(3));
        }
        let [bytes, hits, misses, evictions] = all();
        assert_eq!((hits, misses), (1, 2));
        assert_eq!(bytes / CELL_BYTES + evictions, 256, "what is not here any more was counted");
        assert!(0 < evictions && bytes <= 64 * CELL_BYTES);
    }
}
