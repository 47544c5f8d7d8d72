//! What this run was promised about each session, and what an answer may therefore say.
//!
//! Only what is sure is held against the server. Two requests that change one session at the same time may take effect
//! in either order, and a change that was not acknowledged may take effect later: of such a session less is expected,
//! never something that might be right called wrong.

use std::collections::HashSet;

use crate::{
    body::Stamp,
    mix::Kind,
    workload::{Key, Request},
};

/// What is known of one session that was written beforehand.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Writes of this run that were begun.
    begun: u32,
    /// The number of the oldest write that a read may return: one that was acknowledged, or the first after an
    /// acknowledged delete. 0 is any, also one of an earlier run.
    floor: u32,
    /// Deletes of this run that were begun.
    deletes: u32,
    /// Changes that have no answer yet.
    under_way: u16,
    /// Since `under_way` was last 0, more than one change has been under way.
    overlapped: bool,
    /// It may be gone.
    maybe_absent: bool,
}

/// What a request may be answered, as it was known when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// A write's own number.
    pub(crate) sequence: u32,
    floor: u32,
    deletes: u32,
    maybe_absent: bool,
}

/// How a read contradicts what was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// 404 for a session that must be there.
    Lost,
    /// Older than what was acknowledged, or deleted, before the read began.
    Stale,
    /// There is a session that nobody wrote.
    Phantom,
}

/// Of all sessions.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: u32,
    entries: Vec<Entry>,
    /// Sessions with a change that was never acknowledged: it may take effect at any time.
    uncertain: HashSet<u64>,
}

impl Ledger {
    /// For sessions `0..keys`. With `sparse`, those that this run has not written may be missing.
    pub(crate) fn new(keys: u64, run: u32, sparse: bool) -> Self {
        let entry = Entry { maybe_absent: sparse, ..Entry::default() };
        let count = usize::try_from(keys).expect("a machine of 64 bits");
        Self { run, entries: vec![entry; count], uncertain: HashSet::new() }
    }

    fn entry(&mut self, number: u64) -> &mut Entry {
        &mut self.entries[usize::try_from(number).expect("a machine of 64 bits")]
    }

    /// A request is about to be sent.
    pub(crate) fn begin(&mut self, request: Request) -> Expected {
        let Key::Known(number) = request.key else {
            let maybe_absent = matches!(request.key, Key::Missing(_));
            return Expected { sequence: 1, floor: 0, deletes: 0, maybe_absent };
        };
        let entry = self.entry(number);
        if request.kind != Kind::Get {
            entry.overlapped = 0 < entry.under_way;
            entry.under_way += 1;
        }
        match request.kind {
            Kind::Get => {}
            Kind::Post | Kind::New => entry.begun += 1,
            Kind::Delete => {
                entry.deletes += 1;
                entry.maybe_absent = true;
            }
        }
        let Entry { begun, floor, deletes, maybe_absent, .. } = *entry;
        Expected { sequence: begun, floor, deletes, maybe_absent }
    }

    /// A change was answered, or will never be.
    pub(crate) fn changed(&mut self, request: Request, expected: Expected, acknowledged: bool) {
        let Key::Known(number) = request.key else { return };
        if !acknowledged {
            self.uncertain.insert(number);
        }
        let uncertain = self.uncertain.contains(&number);
        let entry = self.entry(number);
        entry.under_way -= 1;
        if uncertain {
            entry.floor = 0;
            entry.maybe_absent |= 0 < entry.deletes;
        } else if entry.overlapped {
            // The floor that was there stays: whichever of them came last, it is newer.
        } else if request.kind == Kind::Delete {
            entry.floor = entry.begun + 1;
        } else {
            entry.floor = expected.sequence;
            entry.maybe_absent = false;
        }
    }

    /// A read found a session that is whole.
    pub(crate) fn found(&self, request: Request, expected: Expected, stamp: Stamp) -> Option<Broken> {
        match request.key {
            Key::Missing(_) => Some(Broken::Phantom),
            Key::New(_) => None,
            Key::Known(number) => {
                let old = stamp.run != self.run || stamp.sequence < expected.floor;
                (0 < expected.floor && old && !self.uncertain.contains(&number)).then_some(Broken::Stale)
            }
        }
    }

    /// A read found none.
    pub(crate) fn not_found(&mut self, request: Request, expected: Expected) -> Option<Broken> {
        let Key::Known(number) = request.key else { return None };
        let deletes_since = self.entry(number).deletes - expected.deletes;
        (!expected.maybe_absent && deletes_since == 0).then_some(Broken::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 7;

    fn request(kind: Kind) -> Request {
        Request { kind, key: Key::Known(3), bytes: 0 }
    }

    fn ledger() -> Ledger {
        Ledger::new(10, RUN, false)
    }

    fn stamp(run: u32, sequence: u32) -> Stamp {
        Stamp { key: 3, run, sequence }
    }

    impl Ledger {
        fn change(&mut self, kind: Kind, acknowledged: bool) {
            let expected = self.begin(request(kind));
            self.changed(request(kind), expected, acknowledged);
        }

        fn read(&mut self) -> Expected {
            self.begin(request(Kind::Get))
        }
    }

    #[test]
    fn a_session_that_was_written_beforehand_must_be_there() {
        let mut ledger = ledger();
        let read = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), read), Some(Broken::Lost));
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(1, 99)), None, "an earlier run wrote it");
        let mut sparse = Ledger::new(10, RUN, true);
        let read = sparse.read();
        assert_eq!(sparse.not_found(request(Kind::Get), read), None);
        sparse.change(Kind::Post, true);
        let read = sparse.read();
        assert_eq!(sparse.not_found(request(Kind::Get), read), Some(Broken::Lost));
    }

    #[test]
    fn a_read_that_begins_after_an_acknowledged_write_returns_it_or_something_newer() {
        let mut ledger = ledger();
        let early = ledger.read();
        ledger.change(Kind::Post, true);
        ledger.change(Kind::Post, true);
        let late = ledger.read();
        assert_eq!(ledger.found(request(Kind::Get), early, stamp(1, 99)), None);
        assert_eq!(ledger.found(request(Kind::Get), late, stamp(RUN, 2)), None);
        assert_eq!(ledger.found(request(Kind::Get), late, stamp(RUN, 3)), None);
        assert_eq!(ledger.found(request(Kind::Get), late, stamp(RUN, 1)), Some(Broken::Stale));
        assert_eq!(ledger.found(request(Kind::Get), late, stamp(1, 99)), Some(Broken::Stale));
    }

    #[test]
    fn a_deleted_session_may_be_gone_until_it_is_written_again() {
        let mut ledger = ledger();
        let before = ledger.read();
        ledger.change(Kind::Delete, true);
        assert_eq!(ledger.not_found(request(Kind::Get), before), None, "deleted while it was read");
        let after = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), after), None);
        ledger.change(Kind::Post, true);
        let again = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), again), Some(Broken::Lost));
    }

    #[test]
    fn what_was_deleted_does_not_come_back() {
        let mut ledger = ledger();
        ledger.change(Kind::Post, true);
        ledger.change(Kind::Delete, true);
        let read = ledger.read();
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(RUN, 1)), Some(Broken::Stale));
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(RUN, 2)), None, "a write that is under way");
    }

    #[test]
    fn changes_that_meet_may_take_effect_in_either_order() {
        let mut ledger = ledger();
        let write = ledger.begin(request(Kind::Post));
        let delete = ledger.begin(request(Kind::Delete));
        ledger.changed(request(Kind::Delete), delete, true);
        ledger.changed(request(Kind::Post), write, true);
        let read = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), read), None);
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(RUN, 1)), None);
        ledger.change(Kind::Post, true);
        let read = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), read), Some(Broken::Lost), "this one met nobody");
    }

    #[test]
    fn a_chain_of_changes_that_meet_is_not_over_before_the_last() {
        let mut ledger = ledger();
        let first = ledger.begin(request(Kind::Post));
        let second = ledger.begin(request(Kind::Post));
        ledger.changed(request(Kind::Post), first, true);
        let third = ledger.begin(request(Kind::Post));
        ledger.changed(request(Kind::Post), second, true);
        ledger.changed(request(Kind::Post), third, true);
        let read = ledger.read();
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(RUN, 2)), None);
    }

    #[test]
    fn nothing_is_held_against_a_session_whose_fate_is_unknown() {
        let mut ledger = ledger();
        ledger.change(Kind::Post, false);
        ledger.change(Kind::Post, true);
        let read = ledger.read();
        assert_eq!(ledger.found(request(Kind::Get), read, stamp(RUN, 1)), None);
        ledger.change(Kind::Delete, false);
        ledger.change(Kind::Post, true);
        let read = ledger.read();
        assert_eq!(ledger.not_found(request(Kind::Get), read), None);
    }

    #[test]
    fn a_session_that_nobody_wrote_is_not_there() {
        let mut ledger = ledger();
        let missing = Request { key: Key::Missing(3), ..request(Kind::Get) };
        let expected = ledger.begin(missing);
        assert_eq!(ledger.not_found(missing, expected), None);
        assert_eq!(ledger.found(missing, expected, stamp(RUN, 1)), Some(Broken::Phantom));
    }
}
