//! What a view says, in 4096 sums that are kept current as events are applied: what data centres compare all the time,
//! without looking at a cell.
//!
//! ```text
//!            bucket 0   1   2  …  4095         a cell counts in the bucket of its key id
//!   hour h      Σ       Σ   Σ       Σ          and in the hour of its `retain_until`; `never` is an hour of its own
//!   hour h+1    Σ       Σ   Σ       Σ
//!     ⋮
//! ```
//! Views drop cells whose `retain_until` has passed, each in its own time, and say nothing of it. So an hour that `gc_now`
//! has come to is forgotten, with all that is in it, and two views are compared from an hour on that neither has come to.
//!
//! Nothing of this is stored. After a start, and for a view that takes the place of another, the cells are counted once
//! more, piece by piece, between the batches that are applied ([`Sums::to_count_from`]): up to some key all are in the
//! sums, and what is applied beyond it is not, for it is still to be counted.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard},
};

use schemas::{KeyId, Timestamp, Until};

use crate::{BUCKETS, Cell, Essence, Head};

const HOUR_MS: u64 = 3_600_000;

/// An hour since 1970-01-01 UTC; the last of all is that of `never`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(pub u64);

impl Hour {
    /// The hour in which `end` lies.
    pub const fn of(end: Until) -> Self {
        match end {
            Until::At(end) => Self(end.as_millis() / HOUR_MS),
            Until::Never => Self(u64::MAX),
        }
    }

    /// The first hour of which a view drops nothing at `gc_now`. Where destruction waits, that is the very first.
    pub const fn first_kept_at(gc_now: Timestamp) -> Self {
        match gc_now.as_millis() {
            0 => Self(0),
            millis => Self(millis / HOUR_MS + 1),
        }
    }
}

/// The sums of a view. Written by whoever applies events to it; may be read at any time.
#[derive(Default)]
pub struct Sums(Mutex<State>);

/// What a view says of the cells that must be kept until `cut` or longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summed {
    /// From which hour on cells count.
    pub cut: Hour,
    /// How many there are.
    pub cells: u64,
    /// [`BUCKETS`] sums of the hashes of cells, modulo 2^64: equal cells give equal sums, whatever order they came in. Two
    /// that differ give equal ones once in 2^64 times.
    pub buckets: Box<[u64]>,
}

#[derive(Clone, Default)]
struct State {
    counted: Counted,
    /// Whatever lies before it is forgotten.
    first_hour: Hour,
    /// All hours together.
    all: OfHour,
    hours: BTreeMap<Hour, OfHour>,
}

/// How far the cells that were there before have been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Counted {
    #[default]
    Nothing,
    UpTo(KeyId),
    All,
}

/// Buckets that stand together: an hour in which little ends takes little room.
const PAGE: usize = 64;

/// What ends in one hour.
#[derive(Clone)]
struct OfHour {
    cells: u64,
    pages: [Option<Box<[u64; PAGE]>>; BUCKETS / PAGE],
}

impl Default for OfHour {
    fn default() -> Self {
        Self { cells: 0, pages: [const { None }; BUCKETS / PAGE] }
    }
}

impl OfHour {
    fn add(&mut self, cells: u64, bucket: usize, hash: u64) {
        self.cells = self.cells.wrapping_add(cells);
        let page = self.pages[bucket / PAGE].get_or_insert_with(|| Box::new([0; PAGE]));
        page[bucket % PAGE] = page[bucket % PAGE].wrapping_add(hash);
    }

    fn subtract(&mut self, other: &Self) {
        self.cells = self.cells.wrapping_sub(other.cells);
        for (page, other) in self.pages.iter_mut().zip(&other.pages) {
            let Some(other) = other else { continue };
            let page = page.get_or_insert_with(|| Box::new([0; PAGE]));
            page.iter_mut().zip(&**other).for_each(|(sum, other)| *sum = sum.wrapping_sub(*other));
        }
    }

    fn buckets(&self) -> Box<[u64]> {
        self.pages.iter().flat_map(|page| page.as_deref().copied().unwrap_or([0; PAGE])).collect()
    }
}

impl Sums {
    /// Cells have taken the place of what the view held of their keys.
    pub(crate) fn replace<'a>(
        &self,
        gc_now: Timestamp,
        changes: impl IntoIterator<Item = (&'a KeyId, Option<Head>, &'a Cell)>,
    ) {
        let mut state = self.lock();
        // IMPORTANT: first. Compaction may have dropped what is replaced, or what was to be counted, as late as now.
        state.forget_before(gc_now);
        for (key, before, after) in changes {
            if !state.counts(key) {
                continue;
            }
            if let Some(Head { version, retain_until, expires_at, counted: _ }) = before {
                state.take_out(&Essence { key: *key, version, retain_until, expires_at });
            }
            state.put_in(&Essence::of(*key, after));
        }
    }

    /// After which key counting goes on, and `None` inside for the first of all. `None` when all cells have been counted.
    pub(crate) fn to_count_from(&self) -> Option<Option<KeyId>> {
        match self.lock().counted {
            Counted::Nothing => Some(None),
            Counted::UpTo(key) => Some(Some(key)),
            Counted::All => None,
        }
    }

    /// These are the next cells of the view, up to and with the key `last`; `None` if there are no more.
    pub(crate) fn count(&self, gc_now: Timestamp, cells: &[Essence], last: Option<KeyId>) {
        let mut state = self.lock();
        state.forget_before(gc_now);
        cells.iter().for_each(|cell| state.put_in(cell));
        state.counted = last.map_or(Counted::All, Counted::UpTo);
    }

    /// What the view says of the cells that must be kept until `cut` or longer; from a later hour on, if `gc_now` has come
    /// to `cut` already. `None` while cells are still to be counted.
    pub fn at(&self, cut: Hour, gc_now: Timestamp) -> Option<Summed> {
        let mut state = self.lock();
        state.forget_before(gc_now);
        if state.counted != Counted::All {
            return None;
        }
        let cut = cut.max(state.first_hour);
        let mut kept = state.all.clone();
        state.hours.range(..cut).for_each(|(_, left_out)| kept.subtract(left_out));
        Some(Summed { cut, cells: kept.cells, buckets: kept.buckets() })
    }

    /// The first hour of which nothing has been forgotten.
    pub fn first_hour(&self, gc_now: Timestamp) -> Hour {
        let mut state = self.lock();
        state.forget_before(gc_now);
        state.first_hour
    }

    /// What `other` says now, and nothing else.
    pub(crate) fn replace_with(&self, other: &Self) {
        let state = other.lock().clone();
        *self.lock() = state;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }
}

impl State {
    fn counts(&self, key: &KeyId) -> bool {
        match self.counted {
            Counted::Nothing => false,
            Counted::UpTo(last) => *key <= last,
            Counted::All => true,
        }
    }

    fn put_in(&mut self, cell: &Essence) {
        self.add(cell, 1, cell.short_hash());
    }

    fn take_out(&mut self, cell: &Essence) {
        self.add(cell, u64::MAX, cell.short_hash().wrapping_neg());
    }

    fn add(&mut self, cell: &Essence, cells: u64, hash: u64) {
        let hour = Hour::of(cell.retain_until);
        if hour < self.first_hour {
            return;
        }
        self.all.add(cells, cell.bucket(), hash);
        self.hours.entry(hour).or_default().add(cells, cell.bucket(), hash);
    }

    fn forget_before(&mut self, gc_now: Timestamp) {
        let first_hour = Hour::first_kept_at(gc_now);
        if first_hour <= self.first_hour {
            return;
        }
        self.first_hour = first_hour;
        let kept = self.hours.split_off(&first_hour);
        for forgotten in std::mem::replace(&mut self.hours, kept).into_values() {
            self.all.subtract(&forgotten);
        }
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let (counted, first_hour, hours) = (&state.counted, &state.first_hour, state.hours.len());
        f.debug_struct("Sums")
            .field("counted", counted)
            .field("first_hour", first_hour)
            .field("hours", &hours)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Headers, Hlc, Sealed, Version, WriterId};

    use super::*;
    use crate::State as CellState;

    fn at(millis: u64) -> Until {
        Until::At(Timestamp::from_millis(millis))
    }

    fn key(n: u8) -> KeyId {
        // A few buckets, some of them with several keys.
        let mut bytes = [n % 3; 16];
        bytes[15] = n;
        KeyId::from_bytes(bytes)
    }

    fn cell(n: u64, kind: u8, retain_until: Until) -> Cell {
        let expires_at = at(n);
        let state = match kind {
            0 => CellState::Live { expires_at, sealed: Sealed(vec![1].into()) },
            1 => CellState::Stripped { expires_at },
            _ => CellState::Tombstone,
        };
        let version = Version { hlc: Hlc::from_bits(n), writer: WriterId(1) };
        Cell { version, retain_until, headers: Headers::default(), state }
    }

    /// The same, by looking at every cell.
    fn summed(cells: &BTreeMap<KeyId, Cell>, cut: Hour) -> Summed {
        let mut summed = Summed { cut, cells: 0, buckets: vec![0; BUCKETS].into() };
        for (key, cell) in cells.iter().filter(|(_, cell)| cut <= Hour::of(cell.retain_until)) {
            let essence = Essence::of(*key, cell);
            summed.cells += 1;
            let sum = &mut summed.buckets[essence.bucket()];
            *sum = sum.wrapping_add(essence.short_hash());
        }
        summed
    }

    fn millis(half_hours: u64) -> u64 {
        half_hours * HOUR_MS / 2
    }

    #[test]
    fn an_hour_is_kept_until_gc_now_has_come_to_it() {
        assert_eq!(Hour::first_kept_at(Timestamp::EPOCH), Hour(0));
        for (gc_now, first) in [(1, 1), (HOUR_MS - 1, 1), (HOUR_MS, 2)] {
            assert_eq!(Hour::first_kept_at(Timestamp::from_millis(gc_now)), Hour(first));
        }
        assert_eq!(Hour::of(at(HOUR_MS - 1)), Hour(0));
        assert_eq!(Hour::of(at(HOUR_MS)), Hour(1));
        assert!(Hour::of(at(u64::MAX)) < Hour::of(Until::Never));
    }

    #[test]
    fn nothing_is_said_before_all_is_counted() {
        let sums = Sums::default();
        assert_eq!(sums.at(Hour(0), Timestamp::EPOCH), None);
        sums.count(Timestamp::EPOCH, &[], Some(key(1)));
        assert_eq!(sums.at(Hour(0), Timestamp::EPOCH), None);
        sums.count(Timestamp::EPOCH, &[], None);
        assert_eq!(sums.at(Hour(0), Timestamp::EPOCH), Some(summed(&BTreeMap::new(), Hour(0))));
    }

    #[test]
    fn what_one_view_has_dropped_and_the_other_not_yet_does_not_count() {
        let kept = cell(1, 2, at(millis(20)));
        let dropped = cell(2, 0, at(millis(7)));
        let (one, other) = (Sums::default(), Sums::default());
        let all = [Essence::of(key(1), &kept), Essence::of(key(2), &dropped)];
        let (behind, ahead) = (Timestamp::from_millis(millis(5)), Timestamp::from_millis(millis(8)));
        // One is made anew from a log that does not have it any more.
        one.count(ahead, &all[..1], None);
        other.count(behind, &all, None);
        assert_eq!(other.at(Hour(0), behind).map(|summed| (summed.cut, summed.cells)), Some((Hour(3), 2)));
        assert_eq!(one.at(Hour(0), ahead).map(|summed| (summed.cut, summed.cells)), Some((Hour(5), 1)));
        let cut = one.first_hour(ahead).max(other.first_hour(behind));
        assert_eq!(one.at(cut, ahead), other.at(cut, behind));
        // An event that takes its place later changes neither in what has passed.
        let newer = cell(3, 0, at(millis(30)));
        one.replace(ahead, [(&key(2), None, &newer)]);
        other.replace(behind, [(&key(2), Some(Head::of(&dropped)), &newer)]);
        assert_eq!(one.at(cut, ahead), other.at(cut, behind));
        assert_eq!(one.at(cut, ahead).unwrap().cells, 2);
    }

    /// What may happen to a view.
    #[derive(Clone, Debug)]
    enum Step {
        Apply {
            key: u8,
            kind: u8,
            retain_half_hours: Option<u64>,
        },
        Strip {
            key: u8,
        },
        /// Half an hour passes.
        Pass,
        /// Compaction drops one cell whose time has passed.
        Drop {
            key: u8,
        },
        /// So many cells are counted.
        Count {
            cells: usize,
        },
        /// Another view takes its place, which holds the same and was not counted.
        Succeed,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..12_u8, 0..3_u8, prop::option::weighted(0.9, 0..20_u64))
                .prop_map(|(key, kind, retain_half_hours)| Step::Apply { key, kind, retain_half_hours }),
            1 => (0..12_u8).prop_map(|key| Step::Strip { key }),
            1 => Just(Step::Pass),
            2 => (0..12_u8).prop_map(|key| Step::Drop { key }),
            2 => (0..4_usize).prop_map(|cells| Step::Count { cells }),
            1 => Just(Step::Succeed),
        ]
    }

    proptest! {
        #[test]
        fn they_say_what_a_look_at_all_cells_would_say(
            steps in prop::collection::vec(step(), 0..80), cuts in prop::collection::vec(0..12_u64, 3),
        ) {
            let (sums, mut cells, mut gc_now) = (Sums::default(), BTreeMap::new(), Timestamp::EPOCH);
            for (n, step) in (1..).zip(steps) {
                match step {
                    Step::Apply { key: k, kind, retain_half_hours } => {
                        let retain_until = retain_half_hours.map_or(Until::Never, |end| at(millis(end)));
                        let (key, after) = (key(k), cell(n, kind, retain_until));
                        let before = cells.get(&key).map(Head::of);
                        sums.replace(gc_now, [(&key, before, &after)]);
                        cells.insert(key, after);
                    }
                    Step::Strip { key: k } => {
                        if let Some(cell) = cells.get_mut(&key(k)).filter(|cell| cell.state != CellState::Tombstone) {
                            let Some(expires_at) = Head::of(cell).expires_at else { continue };
                            cell.state = CellState::Stripped { expires_at };
                        }
                    }
                    Step::Pass => gc_now = Timestamp::from_millis(gc_now.as_millis() + millis(1)),
                    Step::Drop { key: k } => cells.retain(|id, cell| *id != key(k) || !cell.is_droppable(gc_now)),
                    Step::Count { cells: count } => {
                        let Some(after) = sums.to_count_from() else { continue };
                        let rest = cells.iter().filter(|(key, _)| after.is_none_or(|after| after < **key));
                        let all: Vec<_> = rest.map(|(key, cell)| Essence::of(*key, cell)).collect();
                        let now = &all[..count.min(all.len())];
                        let last = if now.len() == all.len() { None } else { now.last().map(|cell| cell.key).or(after) };
                        if now.is_empty() && last.is_none() && !all.is_empty() {
                            continue;
                        }
                        sums.count(gc_now, now, last);
                    }
                    Step::Succeed => sums.replace_with(&Sums::default()),
                }
                for cut in cuts.iter().copied().map(Hour).chain([Hour(u64::MAX)]) {
                    let Some(said) = sums.at(cut, gc_now) else { continue };
                    prop_assert_eq!(said.cut, cut.max(Hour::first_kept_at(gc_now)));
                    prop_assert_eq!(&said, &summed(&cells, said.cut));
                }
            }
        }
    }
}
