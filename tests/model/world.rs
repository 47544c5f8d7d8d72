//! How much may happen in a world, and by which rules.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use schemas::DcState;

use super::{
    defect::Defect,
    stamp::Clock,
    state::{Dc, Dcs, State, has},
    step::Step,
};

/// What a search goes through.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) name: &'static str,
    pub(super) dcs: Dc,
    pub(super) reads: Reads,
    /// Clients that store the session, each once.
    pub(super) writes: u8,
    /// Clients that delete it, one after the other.
    pub(super) deletes: u8,
    /// What an operator says of data centres, one order after the other.
    pub(super) orders: &'static [(Dc, DcState)],
    /// Calls that nobody waits for.
    pub(super) lost: u8,
    /// Declarations that a node appends again.
    pub(super) renewed: u8,
    /// What the clock of whoever chooses a version may show.
    pub(super) clocks: &'static [Clock],
    /// Nothing is left out that cannot matter: every delivery is a step, and histories go on that can break nothing more.
    pub(super) in_full: bool,
}

/// How fresh reads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// All that is durable in the data centre when they begin: several nodes.
    Dc,
    /// All that the one node has applied.
    Node,
}

/// A world with its rules, or with one mistake in them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) world: World,
    defect: Option<Defect>,
    names: Vec<schemas::Dc>,
    nobody_waits: Arc<str>,
}

/// What may come next, and how.
pub(super) type Next<'a> = &'a mut dyn FnMut(Step, State);

impl Model {
    pub(super) fn of(world: World, defect: Option<Defect>) -> Self {
        let names = ["eqiad", "codfw", "esams"].map(|name| name.parse().expect("a name"));
        let names = names.into_iter().take(world.dcs.into()).collect();
        Self { world, defect, names, nobody_waits: "nobody waits for it".into() }
    }

    /// Whether it has this mistake.
    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    pub(super) fn dcs(&self) -> Range<Dc> {
        0..self.world.dcs
    }

    pub(super) fn name(&self, dc: Dc) -> &schemas::Dc {
        &self.names[usize::from(dc)]
    }

    pub(super) fn nobody_waits(&self) -> Arc<str> {
        Arc::clone(&self.nobody_waits)
    }

    /// The names of some of them.
    pub(super) fn named(&self, dcs: Dcs) -> BTreeSet<schemas::Dc> {
        self.dcs().filter(|dc| has(dcs, *dc)).map(|dc| self.name(dc).clone()).collect()
    }

    /// Calls `next` for all that may happen now. Whatever may happen may also never happen: a node that dies is one whose steps
    /// do not come.
    pub(super) fn steps(&self, state: &State, next: Next<'_>) {
        self.writes(state, next);
        self.deletes(state, next);
        self.calls(state, next);
        self.orders(state, next);
        if self.world.in_full {
            self.deliveries(state, next);
        }
    }

    fn deliveries(&self, state: &State, next: Next<'_>) {
        for dc in self.dcs() {
            for log in self.dcs().filter(|log| self.applied(state, dc, *log) < state.log(*log).len()) {
                let applied = self.applied(state, dc, log);
                next(Step::Arrives { dc, log }, self.having_applied(state, dc, log, applied + 1));
            }
        }
    }
}
