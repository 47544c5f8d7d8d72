//! A data centre that is asked to delete: look, append, answer, as `Writer::accept` does.

use schemas::{Headers, KeyId, Until, Version};
use writer::{decisions::held_reaches, peer::Tombstone};

use super::{
    defect::Defect,
    log::{Record, Round},
    state::{Call, Dc, Dcs, Delete, Stage, State},
    step::Step,
    world::{Model, Next},
};

impl Model {
    pub(super) fn calls(&self, state: &State, next: Next<'_>) {
        // Of several deletes the last that began has the calls.
        let begun = state.deletes.iter().rposition(|delete| delete != &Delete::default());
        let Some(delete) = begun.and_then(|delete| u8::try_from(delete).ok()) else { return };
        for round in [Round::First, Round::Second] {
            for dc in self.dcs() {
                let call = state.calls[round.index()][usize::from(dc)];
                match call.stage {
                    Stage::ToLook => self.looks_for(state, delete, round, dc, next),
                    Stage::ToAppend => self.appends(state, delete, round, dc, next),
                    Stage::Appended(place) => self.answers_for(state, delete, round, (dc, place), next),
                    Stage::NotMade | Stage::Done { .. } | Stage::Newer(_) => continue,
                }
                if !call.is_lost && state.lost < self.world.lost {
                    let mut state = *state;
                    state.lost += 1;
                    state.calls[round.index()][usize::from(dc)].is_lost = true;
                    next(Step::IsLost { round, dc }, state);
                }
            }
        }
    }

    fn looks_for(&self, state: &State, delete: u8, round: Round, dc: Dc, next: Next<'_>) {
        for (sees, mut state) in self.looks(state, dc) {
            let asked = state.deletes[usize::from(delete)].stamps[round.index()].version();
            let newer = sees.filter(|record| asked < Some(self.reaches(&state, delete, round, *record)));
            let call = &mut state.calls[round.index()][usize::from(dc)];
            *call = match newer {
                Some(record) => call.answered(Stage::Newer(record)),
                None => Call { stage: Stage::ToAppend, ..*call },
            };
            next(Step::Looks { round, dc, sees, is_newer: newer.is_some() }, state);
        }
    }

    fn appends(&self, state: &State, delete: u8, round: Round, dc: Dc, next: Next<'_>) {
        let mut state = *state;
        let place = state.log(dc).len();
        state.push(dc, Record::Tombstone { delete, round });
        let call = &mut state.calls[round.index()][usize::from(dc)];
        *call = if state.deletes[usize::from(delete)].skips[round.index()] == 0 {
            call.answered(Stage::Done { not_down: 0 })
        } else {
            Call { stage: Stage::Appended(place), ..*call }
        };
        if !self.has(Defect::AnswersBeforeItApplied) {
            state = self.having_applied(&state, dc, dc, place + 1);
        }
        next(Step::Appends { round, dc }, state);
    }

    /// Only where something is skipped is there more to say than that it is done.
    fn answers_for(&self, state: &State, delete: u8, round: Round, (dc, place): (Dc, u8), next: Next<'_>) {
        let Delete { node, skips, .. } = state.deletes[usize::from(delete)];
        for (down, mut state) in self.may_hold_for_down(state, dc, node, place + 1) {
            let was_down = if self.has(Defect::SkipDecidedBefore) { Dcs::MAX } else { down };
            let not_down = skips[round.index()] & !was_down;
            let call = &mut state.calls[round.index()][usize::from(dc)];
            *call = call.answered(Stage::Done { not_down });
            next(Step::Answers { round, dc, not_down }, state);
        }
    }

    /// How far a record that is held reaches, for a delete.
    pub(super) fn reaches(&self, state: &State, delete: u8, round: Round, record: Record) -> Version {
        let version = |record| state.stamp(record).and_then(super::stamp::Stamp::version);
        let held = version(record).expect("only records of the session are newest");
        if self.has(Defect::NoStep) {
            return held;
        }
        let skips = state.deletes[usize::from(delete)].skips[round.index()];
        let tombstone = Tombstone {
            key: KeyId::from_bytes([0; 16]),
            version: version(Record::Tombstone { delete, round }).expect("it is asked"),
            retain_until: Until::Never,
            headers: Headers::default(),
            skipped: self.named(skips),
        };
        held_reaches(held, &tombstone)
    }
}
