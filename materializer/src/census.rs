//! How many sessions live and how many tombstones are kept, without looking at them: counted as they come and go, by the
//! minute in which they end.
//!
//! What ends by itself needs no event then: a minute that has passed is not counted any more. Kept in the view, in the
//! same write as the cells.

use std::collections::BTreeMap;

use schemas::{Timestamp, Until, Version};

use crate::{Cell, State};

const MINUTE_MS: u64 = 60_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Sessions with their contents, by when they expire.
    Live,
    /// Tombstones, by when they need not be kept any more.
    Tombstone,
}

/// Those of a class that end in one minute since the epoch; in the last minute of all, those that never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// What is counted.
    pub class: Class,
    /// In which minute it ends.
    pub minute: u64,
}

/// How many there are in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Cells.
    pub cells: u64,
    /// Of their keys and sealed contents together.
    pub bytes: u64,
}

/// What of a cell is needed to tell whether it wins, and how it is counted and summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which of two events is later.
    pub version: Version,
    /// Until when the cell must be kept.
    pub retain_until: Until,
    /// Until when a set may be read; `None` for a delete.
    pub expires_at: Option<Until>,
    /// How it is counted, if it is.
    pub counted: Option<(Slot, Count)>,
}

impl Head {
    /// Of a cell that has the contents in `sealed_bytes`; see [`Census`] for what counts.
    pub fn of_live(version: Version, retain_until: Until, expires_at: Until, sealed_bytes: usize) -> Self {
        let bytes = (KEY_BYTES + sealed_bytes) as u64;
        let counted = Some((Slot::of(Class::Live, expires_at), Count { cells: 1, bytes }));
        Self { version, retain_until, expires_at: Some(expires_at), counted }
    }

    /// Of a cell whose contents were stripped.
    pub const fn of_stripped(version: Version, retain_until: Until, expires_at: Until) -> Self {
        Self { version, retain_until, expires_at: Some(expires_at), counted: None }
    }

    /// Of a tombstone.
    pub fn of_tombstone(version: Version, retain_until: Until) -> Self {
        let slot = Slot::of(Class::Tombstone, retain_until);
        let counted = Some((slot, Count { cells: 1, bytes: KEY_BYTES as u64 }));
        Self { version, retain_until, expires_at: None, counted }
    }

    /// Of `cell`.
    pub fn of(cell: &Cell) -> Self {
        let Cell { version, retain_until, headers: _, state } = cell;
        match state {
            State::Live { expires_at, sealed } => {
                Self::of_live(*version, *retain_until, *expires_at, sealed.0.len())
            }
            State::Stripped { expires_at } => Self::of_stripped(*version, *retain_until, *expires_at),
            State::Tombstone => Self::of_tombstone(*version, *retain_until),
        }
    }
}

/// Bytes of a key id.
const KEY_BYTES: usize = 16;

impl Slot {
    fn of(class: Class, end: Until) -> Self {
        let minute = match end {
            Until::At(end) => end.as_millis() / MINUTE_MS,
            Until::Never => u64::MAX,
        };
        Self { class, minute }
    }
}

/// The counts of a view, and which of them are to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    slots: BTreeMap<Slot, Count>,
}

/// Slots as they are now; zero cells: the slot is gone.
pub type Recount = BTreeMap<Slot, Count>;

impl Census {
    /// What a view had saved.
    pub fn of(slots: impl IntoIterator<Item = (Slot, Count)>) -> Self {
        Self { slots: slots.into_iter().collect() }
    }

    /// A cell takes the place of another. Notes in `recount` what changed.
    pub(crate) fn replace(&mut self, before: Option<Head>, after: Head, recount: &mut Recount) {
        if let Some((slot, gone)) = before.and_then(|head| head.counted) {
            // A slot that is not there any more has passed.
            if let Some(count) = self.slots.get_mut(&slot) {
                count.cells = count.cells.saturating_sub(gone.cells);
                count.bytes = count.bytes.saturating_sub(gone.bytes);
                recount.insert(slot, *count);
                if count.cells == 0 {
                    self.slots.remove(&slot);
                }
            }
        }
        if let Some((slot, come)) = after.counted {
            let count = self.slots.entry(slot).or_default();
            count.cells += come.cells;
            count.bytes += come.bytes;
            recount.insert(slot, *count);
        }
    }

    /// Drops what has passed at `now`, and says what that was.
    pub(crate) fn forget_before(&mut self, now: Timestamp) -> Recount {
        let minute = now.as_millis() / MINUTE_MS;
        let passed: Vec<_> = self.slots.keys().copied().filter(|slot| slot.minute < minute).collect();
        passed
            .into_iter()
            .map(|slot| {
                self.slots.remove(&slot);
                (slot, Count::default())
            })
            .collect()
    }

    /// What of a class has not ended at `now`, to the minute.
    pub fn count(&self, class: Class, now: Timestamp) -> Count {
        let from = Slot { class, minute: now.as_millis() / MINUTE_MS };
        let to = Slot { class, minute: u64::MAX };
        let sum = |sum: Count, count: &Count| Count {
            cells: sum.cells + count.cells,
            bytes: sum.bytes + count.bytes,
        };
        self.slots.range(from..=to).map(|(_, count)| count).fold(Count::default(), sum)
    }

    /// Takes over what was written.
    pub(crate) fn take(&mut self, recount: &Recount) {
        for (slot, count) in recount {
            if count.cells == 0 {
                self.slots.remove(slot);
            } else {
                self.slots.insert(*slot, *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Headers, Hlc, Sealed, WriterId};

    use super::*;

    fn cell(n: u64, kind: u8, end_minute: u64, bytes: usize) -> Cell {
        let end = Until::At(Timestamp::from_millis(end_minute * MINUTE_MS + 1));
        let sealed = Sealed(vec![0; bytes].into());
        let state = match kind {
            0 => State::Live { expires_at: end, sealed },
            1 => State::Stripped { expires_at: end },
            2 => State::Live { expires_at: Until::Never, sealed },
            _ => State::Tombstone,
        };
        let version = Version { hlc: Hlc::from_bits(n), writer: WriterId(1) };
        Cell { version, retain_until: end, headers: Headers::default(), state }
    }

    /// The same, by looking at every cell.
    fn counted(cells: &BTreeMap<u8, Cell>, class: Class, now_minute: u64) -> Count {
        let heads = cells.values().filter_map(|cell| Head::of(cell).counted);
        let counted = heads.filter(|(slot, _)| slot.class == class && now_minute <= slot.minute);
        counted.fold(Count::default(), |sum, (_, count)| Count {
            cells: sum.cells + count.cells,
            bytes: sum.bytes + count.bytes,
        })
    }

    proptest! {
        #[test]
        fn it_says_what_a_count_of_all_cells_would_say(
            steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..20_u64, 0..50_usize, any::<bool>()), 0..60),
        ) {
            let (mut census, mut cells, mut written) = (Census::default(), BTreeMap::new(), Census::default());
            let mut now_minute = 0;
            for (n, (key, kind, end, bytes, passes)) in (1..).zip(steps) {
                let after = cell(n, kind, end, bytes);
                let before = cells.get(&key).map(Head::of);
                let mut recount = Recount::new();
                census.replace(before, Head::of(&after), &mut recount);
                written.take(&recount);
                cells.insert(key, after);
                if passes {
                    now_minute += 1;
                    let now = Timestamp::from_millis(now_minute * MINUTE_MS);
                    written.take(&census.forget_before(now));
                }
                for class in [Class::Live, Class::Tombstone] {
                    let now = Timestamp::from_millis(now_minute * MINUTE_MS + 59_999);
                    prop_assert_eq!(census.count(class, now), counted(&cells, class, now_minute));
                }
                prop_assert_eq!(&census, &written, "what is written is what is known");
            }
        }
    }
}
