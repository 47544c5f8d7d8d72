//! A log in a word, and what stands in it.

use std::fmt;

/// A record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The session, as this write stored it.
    Write(u8),
    /// A tombstone of this delete, of its first round or its second.
    Tombstone { delete: u8, round: Round },
    /// An operator's word, by its place among his orders: the later one holds.
    Order(u8),
}

/// Which of the two rounds of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    First,
    Second,
}

/// Records in order, four bits each, the first lowest; no record is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Log(u64);

/// Writes, deletes and orders that fit.
pub(super) const WRITES: usize = 2;
pub(super) const DELETES: usize = 2;
pub(super) const ORDERS: usize = 4;

impl Round {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl Record {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Write(n) => 1 + n,
            Self::Tombstone { delete, round } => 3 + 2 * delete + round as u8,
            Self::Order(n) => 7 + n,
        }
    }

    fn of(code: u64) -> Self {
        let code = u8::try_from(code).expect("four bits");
        match code {
            1..3 => Self::Write(code - 1),
            3..7 => {
                let round = if code % 2 == 1 { Round::First } else { Round::Second };
                Self::Tombstone { delete: (code - 3) / 2, round }
            }
            _ => Self::Order(code - 7),
        }
    }
}

impl Log {
    /// How many records it has, which is where the next one will stand.
    pub(super) const fn len(self) -> u8 {
        (64 - self.0.leading_zeros()).div_ceil(4) as u8
    }

    /// # Panics
    /// When it is full: a world is too large for this.
    pub(super) fn push(&mut self, record: Record) {
        assert!(self.len() < 16, "a log holds sixteen records");
        self.0 |= u64::from(record.code()) << (4 * self.len());
    }

    /// The records from place `from` up to, and without, place `to`, each with its place.
    pub(super) fn records(self, from: u8, to: u8) -> impl DoubleEndedIterator<Item = (u8, Record)> {
        (from..to).map(move |place| (place, Record::of(self.0 >> (4 * place) & 0xf)))
    }

    /// All of them.
    pub(super) fn all(self) -> impl DoubleEndedIterator<Item = (u8, Record)> {
        self.records(0, self.len())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(n) => write!(f, "write {}", n + 1),
            Self::Tombstone { delete, round } => write!(f, "tombstone {}.{}", delete + 1, *round as u8 + 1),
            Self::Order(n) => write!(f, "order {}", n + 1),
        }
    }
}

#[test]
fn a_log_gives_back_its_records_in_order() {
    let rounds = [Round::First, Round::Second];
    let tombstones = (0..2).flat_map(|delete| rounds.map(|round| Record::Tombstone { delete, round }));
    let all: Vec<_> = (0..2).map(Record::Write).chain(tombstones).chain((0..4).map(Record::Order)).collect();
    assert_eq!(all.len(), WRITES + 2 * DELETES + ORDERS);
    let mut log = Log::default();
    for (n, record) in (0..).zip(&all) {
        assert_eq!(log.len(), n);
        log.push(*record);
    }
    assert_eq!(log.all().map(|(_, record)| record).collect::<Vec<_>>(), all);
    assert_eq!(log.records(7, 9).collect::<Vec<_>>(), [(7, Record::Order(1)), (8, Record::Order(2))]);
}
