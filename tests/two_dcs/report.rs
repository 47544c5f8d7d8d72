//! What is said of a scenario: that its fault happened, what ran under it, and how soon all was well.

use std::{fmt, time::Duration};

use super::{
    faults::Fault,
    history::{Asked, Moment, Op, Told},
    scenarios::Scenario,
};

/// A fault that happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fired {
    /// What of it the test saw; see `Begun::fired`.
    pub(super) seen: u64,
    pub(super) from: Moment,
    pub(super) until: Moment,
}

/// What ran while a fault lasted.
#[derive(Clone, Debug)]
pub(super) struct Report {
    name: &'static str,
    /// What shows that the fault happened: what the test saw of it, failures of brokers' clients, deletes cut short.
    fired: u64,
    lasted: Duration,
    requests: usize,
    sets: usize,
    reads: usize,
    pub(super) confirmed: usize,
    pub(super) unconfirmed: usize,
    /// Requests to nodes that were hit that failed.
    failed: usize,
    converged_after: Duration,
}

impl Report {
    pub(super) fn of(scenario: &Scenario, fired: Fired, converged_after: Duration, history: &[Op]) -> Self {
        let Fired { seen, from, until } = fired;
        let under: Vec<_> = history.iter().filter(|op| op.ran_within(from, until)).collect();
        let count = |is: &dyn Fn(&Op) -> bool| under.iter().filter(|op| is(op)).count();
        let failed = count(&|op| op.failure().is_some());
        // Of deletes that were on their way nobody knows what came.
        let cut_short = count(&|op| op.asked == Asked::Delete && matches!(op.told, Told::Unknown(_)));
        let fired = match scenario.fault {
            Fault::KillBroker(_) | Fault::FreezeBroker(_) => failed as u64,
            Fault::KillNodeAmidDeletes => cut_short as u64,
            _ => seen,
        };
        Self {
            name: scenario.name,
            fired,
            lasted: until - from,
            requests: under.len(),
            sets: count(&|op| matches!(op.asked, Asked::Set(_))),
            reads: count(&|op| op.asked == Asked::Get),
            confirmed: count(&|op| op.asked == Asked::Delete && op.told == Told::Done),
            unconfirmed: count(&|op| matches!(op.told, Told::Unconfirmed(_))),
            failed,
            converged_after,
        }
    }

    /// # Panics
    ///
    /// When the fault did not happen, or too little ran under it to say anything.
    pub(super) fn check(&self, requests: u64) {
        assert!(0 < self.fired, "{}: it did not happen: {self:?}", self.name);
        assert!(requests <= self.requests as u64, "{}: too few requests: {self:?}", self.name);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<32} {:>5.1} s, fired {:>5}, {:>6} requests ({} sets, {} reads, {} deletes confirmed, {} not), \
             {} failed at nodes that were hit, the same everywhere {:.1} s after its end",
            self.name,
            self.lasted.as_secs_f64(),
            self.fired,
            self.requests,
            self.sets,
            self.reads,
            self.confirmed,
            self.unconfirmed,
            self.failed,
            self.converged_after.as_secs_f64(),
        )
    }
}
