//! Clients that store the session: look, then append, as `writer/src/write.rs` does.

use super::{
    log::Record,
    stamp,
    state::{Dc, DeletePhase, State, Write, WritePhase},
    step::Step,
    world::{Model, Next},
};

/// Who writes, in versions: above the deletes, so that of two at the same tick the write is the newer.
const FIRST_WRITER: u8 = 8;

impl Model {
    pub(super) fn writes(&self, state: &State, next: Next<'_>) {
        for write in 0..self.world.writes {
            match state.writes[usize::from(write)].phase {
                WritePhase::NotBegun => {
                    self.write_begins(state, write, next);
                    // The second is a first that comes later.
                    break;
                }
                WritePhase::HasLooked => self.write_is_stored(state, write, next),
                WritePhase::Acknowledged => {}
            }
        }
    }

    fn write_begins(&self, state: &State, write: u8, next: Next<'_>) {
        let after = State::bits(&state.deletes, |delete| delete.phase == DeletePhase::Deleted);
        // Without orders, all data centres but the one that is asked to delete are alike.
        let is_like_another = |dc: &Dc| self.world.orders.is_empty() && write == 0 && 1 < *dc;
        for dc in self.dcs().filter(|dc| state.serves(*dc) && !is_like_another(dc)) {
            for (sees, mut state) in self.looks(state, dc) {
                let stamp = sees.and_then(|record| state.stamp(record)).unwrap_or_default();
                let phase = WritePhase::HasLooked;
                state.writes[usize::from(write)] = Write { phase, dc, stamp, after };
                next(Step::WriteLooks { write, dc, sees }, state);
            }
        }
    }

    /// Durable, applied and acknowledged at once: a write that is less than that is promised less.
    fn write_is_stored(&self, state: &State, write: u8, next: Next<'_>) {
        let Write { dc, stamp: seen, .. } = state.writes[usize::from(write)];
        for clock in self.world.clocks {
            let mut state = *state;
            let it = &mut state.writes[usize::from(write)];
            it.stamp = stamp::next(FIRST_WRITER + write, *clock, seen.version());
            it.phase = WritePhase::Acknowledged;
            let stamp = it.stamp;
            state.push(dc, Record::Write(write));
            let state = self.having_applied(&state, dc, dc, state.log(dc).len());
            next(Step::WriteIsAcknowledged { write, dc, stamp }, state);
        }
    }
}
