//! An operator who declares data centres down and up, as `writer/src/declare.rs` has it, and nodes that append again what is in
//! force.

use schemas::DcState;

use super::{
    defect::Defect,
    log::Record,
    state::{Dc, Dcs, Orders, State, Told, has},
    step::Step,
    world::{Model, Next, Reads},
};

impl Model {
    pub(super) fn orders(&self, state: &State, next: Next<'_>) {
        if state.orders.is_told {
            self.order_is_lost(state, next);
        } else if usize::from(state.orders.given) < self.world.orders.len() {
            self.order_is_given(state, next);
        }
        for order in 0..state.orders.given {
            if matches!(state.orders.told[usize::from(order)], Told::Sent | Told::Lost) {
                self.third_is_told(state, order, next);
            }
        }
        self.dcs()
            .filter(|dc| has(state.orders.returning, *dc))
            .for_each(|dc| self.comes_back(state, dc, next));
        self.declares_again(state, next);
    }

    /// No client is sent to the data centre from before `down` is said until it is back.
    fn order_is_given(&self, state: &State, next: Next<'_>) {
        let order = state.orders.given;
        let (about, _) = self.world.orders[usize::from(order)];
        for dc in self.dcs().filter(|dc| *dc != about && state.serves(*dc)) {
            let mut state = *state;
            let Orders { given, depooled, returning, .. } = &mut state.orders;
            *given = order + 1;
            *depooled |= 1 << about;
            *returning &= !(1 << about);
            if self.has(Defect::KnownToOneNode) {
                self.is_said_to_one_node(&state, order, dc, next);
                continue;
            }
            let mut state = self.appends_order(&state, dc, order);
            let down = self.down_in(&state, dc, state.log(dc).len());
            // Who serves nobody need not hear of another one.
            if self.dcs().any(|other| other != dc && other != about && !has(down, other)) {
                state.orders.told[usize::from(order)] = Told::Sent;
                state.orders.is_told = true;
            } else {
                state.orders.returning |= self.returns_by(order);
            }
            next(Step::OrderIsGiven { order, dc, node: 0 }, state);
        }
    }

    /// The first node of the first data centre takes `down` and remembers it; either may take `up`, which stands in its log.
    fn is_said_to_one_node(&self, state: &State, order: u8, dc: Dc, next: Next<'_>) {
        let mut state = *state;
        state.orders.returning |= self.returns_by(order);
        if self.returns_by(order) == 0 {
            state.orders.in_memory[0] = true;
            return next(Step::OrderIsGiven { order, dc, node: 0 }, state);
        }
        for node in 0..2 {
            let mut state = state;
            state.orders.in_memory[usize::from(node)] = false;
            next(Step::OrderIsGiven { order, dc, node }, self.appends_order(&state, dc, order));
        }
    }

    fn appends_order(&self, state: &State, dc: Dc, order: u8) -> State {
        let mut state = *state;
        state.push(dc, Record::Order(order));
        self.having_applied(&state, dc, dc, state.log(dc).len())
    }

    /// Who is to come back when everybody holds an order.
    fn returns_by(&self, order: u8) -> Dcs {
        let (about, state) = self.world.orders[usize::from(order)];
        if state == DcState::Up { 1 << about } else { 0 }
    }

    /// Of three data centres one is the order's subject and one took it.
    fn third_is_told(&self, state: &State, order: u8, next: Next<'_>) {
        let (about, _) = self.world.orders[usize::from(order)];
        let dc =
            self.dcs().find(|dc| *dc != about && !self.holds(state, *dc, order)).expect("somebody is told");
        let mut state = self.appends_order(state, dc, order);
        if std::mem::take(&mut state.orders.told[usize::from(order)]) == Told::Sent {
            state.orders.is_told = false;
            state.orders.returning |= self.returns_by(order);
        }
        next(Step::OrderIsTold { order, dc }, state);
    }

    fn holds(&self, state: &State, dc: Dc, order: u8) -> bool {
        state.log(dc).all().any(|(_, record)| record == Record::Order(order))
    }

    fn order_is_lost(&self, state: &State, next: Next<'_>) {
        if state.lost < self.world.lost {
            let mut state = *state;
            state.lost += 1;
            state.orders.told[usize::from(state.orders.given - 1)] = Told::Lost;
            state.orders.is_told = false;
            next(Step::OrderIsLost, state);
        }
    }

    /// Every node of it has applied what each of those declared that hold the order, sees itself declared down by none, and has
    /// written down what went on without it.
    fn comes_back(&self, state: &State, dc: Dc, next: Next<'_>) {
        let about_it =
            (0..).zip(self.world.orders).filter(|(n, (of, _))| *of == dc && *n < state.orders.given);
        let (order, _) = about_it.last().expect("it was declared up");
        let held: Vec<Dc> = self.dcs().filter(|of| *of != dc && self.holds(state, *of, order)).collect();
        let awaited: Vec<&[Dc]> = if self.has(Defect::BackAtOneMark) {
            held.chunks(1).collect()
        } else if self.has(Defect::BackAtNoMark) {
            vec![&[]]
        } else {
            vec![&held]
        };
        for marks in awaited {
            let mut back = *state;
            for log in marks {
                let mark = back.log(*log).all().find(|(_, record)| *record == Record::Order(order));
                let (place, _) = mark.expect("it holds it");
                back = self.having_applied(&back, dc, *log, place + 1);
            }
            let mut logs = self.dcs().filter(|log| *log != dc);
            if logs.any(|log| has(self.down_in(&back, log, self.applied(&back, dc, log)), dc)) {
                continue;
            }
            let mut back = self.having_written_down(&back, dc);
            back.orders.depooled &= !(1 << dc);
            back.orders.returning &= !(1 << dc);
            next(Step::IsBack { dc }, back);
        }
    }

    fn having_written_down(&self, state: &State, dc: Dc) -> State {
        let owed = self.newest(state, dc).filter(|newest| match newest {
            Record::Tombstone { delete, round } => {
                has(state.deletes[usize::from(*delete)].skips[round.index()], dc)
            }
            Record::Write(_) | Record::Order(_) => false,
        });
        let owed = owed.filter(|owed| state.log(dc).all().all(|(_, record)| record != *owed));
        let Some(owed) = owed else { return *state };
        let mut state = *state;
        state.push(dc, owed);
        self.having_applied(&state, dc, dc, state.log(dc).len())
    }

    /// As far as the node knows, which may be behind.
    fn declares_again(&self, state: &State, next: Next<'_>) {
        if self.world.renewed <= state.renewed {
            return;
        }
        for dc in self.dcs() {
            let from = if self.world.reads == Reads::Node { self.applied(state, dc, dc) } else { 0 };
            let mut said = Vec::new();
            for up_to in from..=state.log(dc).len() {
                let down = self.down_in(state, dc, up_to);
                for about in self.dcs().filter(|about| has(down, *about)) {
                    let order = self.order_in(state, dc, up_to, about);
                    let Some(order) = order.filter(|order| !said.contains(order)) else { continue };
                    said.push(order);
                    let mut state = self.appends_order(state, dc, order);
                    state.renewed += 1;
                    next(Step::DeclaredAgain { dc }, state);
                }
            }
        }
    }
}
