//! What must hold in every state.

use std::fmt;

use schemas::DcState;

use super::{
    log::Record,
    reading::fold,
    state::{Dc, DeletePhase, Orders, State, Write, WritePhase},
    step::{Step, name},
    world::Model,
};

/// A promise that a history breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A data centre to which clients are sent may return what was acknowledged before a delete began that was answered with success.
    Returned { write: u8, delete: u8, dc: Dc },
    /// A write is acknowledged, and hidden by a delete that was over before it began.
    Hidden { write: u8, delete: u8 },
    /// With everything delivered, data centres hold different things.
    Different,
}

impl Model {
    /// Looks at a state that `step` has led to.
    pub(super) fn broken(&self, step: Step, state: &State) -> Option<Broken> {
        let hidden = match step {
            Step::WriteIsAcknowledged { write, .. } => self.hidden(state, write),
            _ => None,
        };
        hidden.or_else(|| self.returned(state))
    }

    /// Whether no promise can be broken any more, whatever comes.
    ///
    /// What a read may return of old becomes less with every record, unless the data centre serves again that was down: so a
    /// delete that was answered with success, and all it ended, has to be looked at when it is answered and when that comes back.
    pub(super) fn is_settled(&self, state: &State) -> bool {
        let deletes = &state.deletes[..usize::from(self.world.deletes)];
        let writes = &state.writes[..usize::from(self.world.writes)];
        let may_begin = || writes.iter().any(|write| write.phase == WritePhase::NotBegun);
        let may_hide = |n: u8| {
            let is_after = |write: &Write| write.phase == WritePhase::HasLooked && write.after & 1 << n != 0;
            may_begin() || writes.iter().any(is_after)
        };
        (0..).zip(deletes).all(|(n, delete)| match delete.phase {
            DeletePhase::NotBegun => false,
            DeletePhase::InRound(_) => delete.covers == 0 && !may_begin(),
            DeletePhase::Failed | DeletePhase::Died => true,
            DeletePhase::Deleted => (delete.covers == 0 || !self.may_come_back(state)) && !may_hide(n),
        })
    }

    /// Whether a data centre may serve again that does not now.
    fn may_come_back(&self, state: &State) -> bool {
        let Orders { given, is_told, depooled, returning, .. } = state.orders;
        let mut to_come = self.world.orders[usize::from(given)..].iter();
        depooled != 0 && (is_told || returning != 0 || to_come.any(|(_, word)| *word == DcState::Up))
    }

    /// Looks at a state in which nothing more can happen but deliveries: whatever the order in which a data centre folds
    /// all logs, its own first and twice, as after a mirror that repeats, it comes to the same.
    pub(super) fn broken_at_the_end(&self, state: &State) -> Option<Broken> {
        let mut ends = self.dcs().map(|dc| {
            let logs = self.dcs().chain(self.dcs()).map(|n| (dc + n) % self.world.dcs);
            let records = logs.flat_map(|log| state.log(log).all());
            records.fold(None, |cell, (_, record)| fold(state, cell, record))
        });
        let first = ends.next().expect("a data centre");
        if ends.any(|end| end != first) {
            return Some(Broken::Different);
        }
        // What is acknowledged and ended by no delete is there.
        match first {
            Some(Record::Tombstone { delete, .. }) => {
                let has_begun_after = |n: &u8| {
                    let write = state.writes[usize::from(*n)];
                    write.phase == WritePhase::Acknowledged && write.after & 1 << delete != 0
                };
                let write = (0..self.world.writes).find(has_begun_after);
                write.map(|write| Broken::Hidden { write, delete })
            }
            _ => None,
        }
    }

    fn hidden(&self, state: &State, write: u8) -> Option<Broken> {
        let it = state.writes[usize::from(write)];
        let ended = (0..).zip(&state.deletes).filter(|(n, _)| it.after & 1 << n != 0);
        let mut newer = ended.filter(|(_, delete)| it.stamp.version() < delete.stamp().version());
        newer.next().map(|(delete, _)| Broken::Hidden { write, delete })
    }

    fn returned(&self, state: &State) -> Option<Broken> {
        for (delete, it) in (0..).zip(&state.deletes) {
            if it.phase != DeletePhase::Deleted || it.covers == 0 {
                continue;
            }
            for dc in self.dcs().filter(|dc| state.serves(*dc)) {
                let mut broken = None;
                let mut returns = |record| match record {
                    Record::Write(write) if it.covers & 1 << write != 0 => {
                        broken = Some(Broken::Returned { write, delete, dc });
                    }
                    _ => {}
                };
                self.newest(state, dc).into_iter().for_each(&mut returns);
                self.may_find(state, dc, &mut |record, _, _| returns(record));
                if broken.is_some() {
                    return broken;
                }
            }
        }
        None
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Returned { write, delete, dc } => {
                write!(f, "{} may return write {} after delete {}", name(dc), write + 1, delete + 1)
            }
            Self::Hidden { write, delete } => {
                write!(f, "write {} is hidden by delete {}, which was over before", write + 1, delete + 1)
            }
            Self::Different => write!(f, "data centres hold different things"),
        }
    }
}
