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
        for dc in self.dcs().filter(|dc| has(state.orders.returning, *dc)) {
            self.is_told_of_others(state, dc, next);
            self.comes_back(state, dc, next);
        }
        self.declares_again(state, next);
    }

    /// No client is sent to the data centre from before `down` is said until it is back.
    fn order_is_given(&self, state: &State, next: Next<'_>) {
        let order = state.orders.given;
        let (about, _) = self.world.orders[usize::from(order)];
        for dc in self.dcs().filter(|dc| *dc != about && state.serves(*dc)) {
            let mut state = *state;
            let Orders { given, depooled, returning, given_at, .. } = &mut state.orders;
            *given = order + 1;
            if self.returns_by(order) != 0 {
                given_at[usize::from(order)] = dc;
            }
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
                // Who is down may hear of an `up`, and nobody waits for it.
                if self.world.dcs == 3 && self.returns_by(order) != 0 {
                    state.orders.told[usize::from(order)] = Told::Lost;
                }
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
        let told = self.dcs().find(|dc| *dc != about && !self.holds(state, *dc, order));
        // It may have heard of it when it came back.
        let mut state = told.map_or(*state, |dc| self.appends_order(state, dc, order));
        if std::mem::take(&mut state.orders.told[usize::from(order)]) == Told::Sent {
            state.orders.is_told = false;
            state.orders.returning |= self.returns_by(order);
        }
        next(Step::OrderIsTold { order }, state);
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

    /// The order that a data centre is to come back by.
    fn last_order(&self, state: &State, dc: Dc) -> u8 {
        let about_it =
            (0..).zip(self.world.orders).filter(|(n, (of, _))| *of == dc && *n < state.orders.given);
        about_it.last().expect("it was declared up").0
    }

    /// What was declared of a third data centre where one was declared up, from that on, at any time: what is told may come late. The
    /// first of these is what it must have been told before it is back.
    fn words_of_others(&self, state: &State, dc: Dc) -> Vec<(Dc, Vec<Option<u8>>)> {
        let order = self.last_order(state, dc);
        let by = state.orders.given_at[usize::from(order)];
        let mut records = state.log(by).all();
        let (place, _) =
            records.find(|(_, record)| *record == Record::Order(order)).expect("who took it has it");
        let words = |about| {
            let words = (place..state.log(by).len()).map(|place| self.order_in(state, by, place + 1, about));
            (about, words.collect())
        };
        self.dcs().filter(|about| *about != dc && *about != by).map(words).collect()
    }

    fn is_told_of_others(&self, state: &State, dc: Dc, next: Next<'_>) {
        for (about, mut words) in self.words_of_others(state, dc) {
            words.dedup();
            let known = self.order_in(state, dc, state.log(dc).len(), about);
            for order in words.into_iter().filter(|order| known < *order).flatten() {
                next(Step::IsToldOfOthers { dc, order }, self.appends_order(state, dc, order));
            }
        }
    }

    /// Every node of it has applied what each of those declared that hold the order, sees itself declared down by none, has
    /// written down what went on without it, and was told of others.
    fn comes_back(&self, state: &State, dc: Dc, next: Next<'_>) {
        let order = self.last_order(state, dc);
        let is_told = |(about, words): (Dc, Vec<Option<u8>>)| {
            words[0] <= self.order_in(state, dc, state.log(dc).len(), about)
        };
        if !self.words_of_others(state, dc).into_iter().all(is_told) {
            return;
        }
        // By whoever was not down himself when it was given.
        let by = state.orders.given_at[usize::from(order)];
        let mut given = state.log(by).all();
        let (place, _) =
            given.find(|(_, record)| *record == Record::Order(order)).expect("who took it has it");
        let down = self.down_in(state, by, place);
        let held = self.dcs().filter(|of| *of != dc && !has(down, *of) && self.holds(state, *of, order));
        let held: Vec<Dc> = held.collect();
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
            back.orders.given_at[usize::from(order)] = 0;
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
