//! What a data centre finds when it looks, and what it may know of orders.

use materializer::{Verdict, judge};
use schemas::DcState;

use super::{
    defect::Defect,
    log::Record,
    state::{Dc, Dcs, State},
    world::{Model, Reads},
};

impl Model {
    /// How many records of a log are behind every read in `dc`, at least.
    pub(super) fn applied(&self, state: &State, dc: Dc, log: Dc) -> u8 {
        if dc == log && self.world.reads == Reads::Dc {
            return state.log(dc).len();
        }
        state.applied[usize::from(dc)][usize::from(log)]
    }

    /// The state in which so many records of a log are behind every read in `dc`.
    pub(super) fn having_applied(&self, state: &State, dc: Dc, log: Dc, up_to: u8) -> State {
        let mut state = *state;
        if dc != log || self.world.reads == Reads::Node {
            let applied = &mut state.applied[usize::from(dc)][usize::from(log)];
            *applied = up_to.max(*applied);
        }
        state
    }

    /// The newest record of the session that is behind every read in `dc`.
    pub(super) fn newest(&self, state: &State, dc: Dc) -> Option<Record> {
        let applied = self.dcs().flat_map(|log| state.log(log).records(0, self.applied(state, dc, log)));
        applied.fold(None, |cell, (_, record)| fold(state, cell, record))
    }

    /// Calls `found` with every record that a read in `dc` may find newest, the log and the place of which one has to be sure that it has
    /// come. What came with it does not matter: whatever could happen then can happen without.
    pub(super) fn may_find(&self, state: &State, dc: Dc, found: &mut dyn FnMut(Record, Dc, u8)) {
        let surely = self.newest(state, dc);
        for log in self.dcs() {
            let mut newest = surely;
            for (place, record) in state.log(log).records(self.applied(state, dc, log), state.log(log).len())
            {
                let with = fold(state, newest, record);
                if with != newest {
                    found(record, log, place);
                }
                newest = with;
            }
        }
    }

    /// What a look in `dc` may see, and the state after it.
    pub(super) fn looks(&self, state: &State, dc: Dc) -> Vec<(Option<Record>, State)> {
        let mut looks = vec![(self.newest(state, dc), *state)];
        self.may_find(state, dc, &mut |record, log, place| {
            looks.push((Some(record), self.having_applied(state, dc, log, place + 1)));
        });
        looks
    }

    /// The order about `dc` that holds after so many records of a log, by its place among the orders.
    pub(super) fn order_in(&self, state: &State, log: Dc, up_to: u8, dc: Dc) -> Option<u8> {
        let mut orders = state.log(log).records(0, up_to).filter_map(|(_, record)| match record {
            Record::Order(n) => (self.world.orders[usize::from(n)].0 == dc).then_some(n),
            Record::Write(_) | Record::Tombstone { .. } => None,
        });
        if self.has(Defect::HoldsByPlace) { orders.next_back() } else { orders.max() }
    }

    /// Who a log holds for down after so many records.
    pub(super) fn down_in(&self, state: &State, log: Dc, up_to: u8) -> Dcs {
        let is_down = |dc: &Dc| {
            let order = self.order_in(state, log, up_to, *dc);
            order.is_some_and(|n| self.world.orders[usize::from(n)].1 == DcState::Down)
        };
        self.dcs().filter(is_down).fold(0, |down, dc| down | 1 << dc)
    }

    /// Who a node of `dc` may hold for down, and the state after it was asked, when `from` records of the own log were applied
    /// there. One of several nodes may be behind the others for as long as nobody asks the log where it ends.
    pub(super) fn may_hold_for_down(&self, state: &State, dc: Dc, node: u8, from: u8) -> Vec<(Dcs, State)> {
        if self.has(Defect::KnownToOneNode) && dc == 0 {
            let remembers = state.orders.in_memory[usize::from(node)];
            return vec![(u8::from(remembers) << (self.world.dcs - 1), *state)];
        }
        let from = if self.world.reads == Reads::Node { from.max(self.applied(state, dc, dc)) } else { from };
        let mut found: Vec<(Dcs, State)> = Vec::new();
        for up_to in from..=state.log(dc).len() {
            let down = self.down_in(state, dc, up_to);
            if found.iter().all(|(other, _)| *other != down) {
                let state = match self.world.reads {
                    Reads::Dc => *state,
                    Reads::Node => self.having_applied(state, dc, dc, up_to),
                };
                found.push((down, state));
            }
        }
        found
    }
}

/// The cell after one more record: the fold's own rule.
pub(super) fn fold(state: &State, cell: Option<Record>, record: Record) -> Option<Record> {
    let version = |record| state.stamp(record)?.version();
    let Some(event) = version(record) else { return cell };
    match judge(cell.and_then(version), event) {
        Verdict::Won => Some(record),
        Verdict::Repeat | Verdict::Lost => cell,
    }
}
