//! What a view holds for one key, and the rule by which an event changes it.

use schemas::{Change, Event, Headers, KeyId, Sealed, Timestamp, Until, Version};

/// The newest event of a key, as far as this view has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Whose word this is.
    pub version: Version,
    /// Until when this cell may still shadow an older event. It may be dropped after that, never before.
    pub retain_until: Until,
    /// The event's headers, byte for byte: reading needs the seal id, repair needs them all.
    pub headers: Headers,
    /// What the event said.
    pub state: State,
}

/// What the newest event of a key said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The session has contents.
    Live {
        /// From this moment on nobody reads them.
        expires_at: Until,
        /// The contents.
        sealed: Sealed,
    },
    /// The session had contents, which expired and were dropped to return their space. The version still shadows.
    Stripped {
        /// When it expired.
        expires_at: Until,
    },
    /// The session was deleted.
    Tombstone,
}

/// What a cell makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event is newer: the cell becomes the event's.
    Won,
    /// The cell is this event's already.
    Repeat,
    /// The cell is newer: nothing changes.
    Lost,
}

/// The rule of the fold. Commutative, associative and idempotent, because it only compares versions: mirrors may repeat
/// and reorder, replays may start anywhere. It never looks at a clock, or two data centres would decide differently.
pub fn judge(cell: Option<Version>, event: Version) -> Verdict {
    match cell {
        Some(cell) if event < cell => Verdict::Lost,
        Some(cell) if event == cell => Verdict::Repeat,
        _ => Verdict::Won,
    }
}

impl Cell {
    /// The cell that an event becomes when it wins.
    pub fn of(event: Event) -> Self {
        let Event { key: _, version, retain_until, headers, change } = event;
        let state = match change {
            Change::Set { expires_at, sealed } => State::Live { expires_at, sealed },
            Change::Delete => State::Tombstone,
        };
        Self { version, retain_until, headers, state }
    }

    /// The contents that a reader may see at `now`. An expired cell still shadows everything older.
    pub fn visible(&self, now: Timestamp) -> Option<&Sealed> {
        match &self.state {
            State::Live { expires_at, sealed } if expires_at.is_after(now) => Some(sealed),
            State::Live { .. } | State::Stripped { .. } | State::Tombstone => None,
        }
    }

    /// The same cell without its contents, if they expired before `gc_now`.
    pub fn stripped(&self, gc_now: Timestamp) -> Option<Self> {
        match self.state {
            State::Live { expires_at: Until::At(end), .. } if end < gc_now => {
                let state = State::Stripped { expires_at: Until::At(end) };
                Some(Self { state, headers: self.headers.clone(), ..*self })
            }
            _ => None,
        }
    }

    /// Whether this cell may vanish at `gc_now`: nothing that it could shadow can arrive any more.
    pub fn is_droppable(&self, gc_now: Timestamp) -> bool {
        droppable(self.retain_until, gc_now)
    }

    /// The event that makes this cell again, for a log that lacks it.
    ///
    /// A stripped cell has no contents to append: it becomes the tombstone that is next above it, the same from every
    /// node and below any later write.
    pub fn to_event(&self, key: KeyId) -> Event {
        let Self { version, retain_until, headers, state } = self.clone();
        let (version, change) = match state {
            State::Live { expires_at, sealed } => (version, Change::Set { expires_at, sealed }),
            State::Tombstone => (version, Change::Delete),
            State::Stripped { .. } => (version.successor(), Change::Delete),
        };
        Event { key, version, retain_until, headers, change }
    }
}

/// The only rule by which a cell may vanish.
pub(crate) fn droppable(retain_until: Until, gc_now: Timestamp) -> bool {
    matches!(retain_until, Until::At(end) if end < gc_now)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use schemas::{Hlc, WriterId};

    use super::*;

    fn key() -> KeyId {
        KeyId::from_bytes([7; 16])
    }

    fn at(millis: u64) -> Until {
        Until::At(Timestamp::from_millis(millis))
    }

    /// Equal versions are equal events: a version is used once.
    fn event(version: u64, set: bool) -> Event {
        let sealed = Sealed(Bytes::from(version.to_string()));
        let change = if set { Change::Set { expires_at: at(version), sealed } } else { Change::Delete };
        let version = Version { hlc: Hlc::from_bits(version), writer: WriterId(1) };
        Event { key: key(), version, retain_until: at(1_000), headers: Headers::default(), change }
    }

    fn fold_all<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Cell> {
        events.into_iter().fold(None, |cell: Option<Cell>, event| {
            match judge(cell.as_ref().map(|cell| cell.version), event.version) {
                Verdict::Won => Some(Cell::of(event.clone())),
                Verdict::Repeat | Verdict::Lost => cell,
            }
        })
    }

    /// Calls `check` with every order of `items`.
    fn permutations(items: &mut [Event], from: usize, check: &mut impl FnMut(&[Event])) {
        if from == items.len() {
            return check(items);
        }
        for chosen in from..items.len() {
            items.swap(from, chosen);
            permutations(items, from + 1, check);
            items.swap(from, chosen);
        }
    }

    #[test]
    fn every_order_of_up_to_six_events_folds_to_the_newest() {
        for count in 1..=6 {
            // Every mixture of sets and deletes, with the second event repeated where there is one.
            for kinds in 0..(1_u32 << count) {
                let mut events: Vec<_> = (0..count).map(|n| event(n + 1, kinds & (1 << n) != 0)).collect();
                let newest = Cell::of(events.last().unwrap().clone());
                permutations(&mut events, 0, &mut |order| {
                    assert_eq!(fold_all(order), Some(newest.clone()));
                    assert_eq!(fold_all(order.iter().chain(order)), Some(newest.clone()), "repeated");
                });
            }
        }
    }

    #[test]
    fn an_expired_newer_event_still_shadows_an_older_one() {
        let older = Event {
            change: Change::Set { expires_at: Until::Never, sealed: Sealed(Bytes::from_static(b"old")) },
            ..event(5, true)
        };
        let cell = fold_all(&[event(6, true), older]).unwrap();
        assert_eq!(cell.visible(Timestamp::from_millis(5)), Some(&Sealed(Bytes::from_static(b"6"))));
        assert_eq!(cell.visible(Timestamp::from_millis(6)), None);
    }

    #[test]
    fn a_cell_is_kept_up_to_and_at_the_moment_it_is_retained_until() {
        let cell = Cell::of(event(6, false));
        assert!(!droppable(cell.retain_until, Timestamp::from_millis(1_000)));
        assert!(droppable(cell.retain_until, Timestamp::from_millis(1_001)));
        let forever = Cell { retain_until: Until::Never, ..cell };
        assert!(!droppable(forever.retain_until, Timestamp::from_millis(u64::MAX)));
    }

    #[test]
    fn only_what_expired_loses_its_contents_and_nothing_else() {
        let live = Cell::of(event(6, true));
        assert_eq!(live.stripped(Timestamp::from_millis(6)), None);
        let stripped = live.stripped(Timestamp::from_millis(7)).unwrap();
        assert_eq!(stripped.state, State::Stripped { expires_at: at(6) });
        assert_eq!((stripped.version, stripped.retain_until), (live.version, live.retain_until));
        assert_eq!(stripped.stripped(Timestamp::from_millis(7)), None);
        assert_eq!(Cell::of(event(6, false)).stripped(Timestamp::from_millis(7)), None);
    }

    #[test]
    fn a_cell_gives_back_its_event_and_a_stripped_one_the_next_tombstone() {
        for original in [event(6, true), event(6, false)] {
            assert_eq!(Cell::of(original.clone()).to_event(key()), original);
        }
        let stripped = Cell::of(event(6, true)).stripped(Timestamp::from_millis(7)).unwrap();
        let repair = stripped.to_event(key());
        assert_eq!((repair.version, repair.change), (stripped.version.successor(), Change::Delete));
        assert_eq!(repair.retain_until, stripped.retain_until);
    }

    proptest! {
        #[test]
        fn any_order_with_repeats_folds_to_the_newest(
            picks in prop::collection::vec((1..20_u64, any::<bool>()), 1..60), seed: u64,
        ) {
            let kinds: std::collections::BTreeMap<_, _> = picks.iter().copied().collect();
            let mut events: Vec<_> = picks.iter().map(|(version, _)| event(*version, kinds[version])).collect();
            let newest = events.iter().max_by_key(|event| event.version).unwrap().clone();
            let len = events.len();
            for n in 0..len {
                events.swap(n, (seed.wrapping_mul(2 * n as u64 + 1) % len as u64) as usize);
            }
            prop_assert_eq!(fold_all(&events), Some(Cell::of(newest)));
        }
    }
}
