//! The coordinator of a delete: versions, rounds and conclusions. What it concludes is the product's own (`writer::decisions`).

use schemas::Version;
use writer::{
    Acknowledged, Answer, NoAnswer,
    decisions::{self, after_the_first, after_the_second},
    peer,
};

use super::{
    defect::Defect,
    log::Round,
    stamp::{self, Clock, Stamp},
    state::{Call, Dc, Dcs, Delete, DeletePhase, Stage, State, WritePhase, has},
    step::Step,
    world::{Model, Next},
};

const FIRST_WRITER: u8 = 1;

impl Model {
    pub(super) fn deletes(&self, state: &State, next: Next<'_>) {
        let Some((delete, round)) = state.running() else { return self.delete_begins(state, next) };
        // One whose steps do not come has died, too; but only when it is known to be dead does another delete begin.
        if delete + 1 < self.world.deletes {
            let mut state = *state;
            finish(&mut state, delete, DeletePhase::Died);
            next(Step::CoordinatorDies, state);
        }

        let calls = &state.calls[round.index()];
        let skips = state.deletes[usize::from(delete)].skips[round.index()];
        if self.dcs().any(|dc| calls[usize::from(dc)].is_made() && !calls[usize::from(dc)].is_over()) {
            return;
        }
        let not_down = calls.iter().fold(0, |all, call| all | call.not_down());
        let after_all = |dc: &Dc| has(skips & not_down, *dc) && !calls[usize::from(*dc)].is_made();
        if self.dcs().any(|dc| after_all(&dc)) {
            let mut state = *state;
            self.send(&mut state, delete, round, after_all);
            return next(Step::TheSkippedAreAsked, state);
        }
        match round {
            Round::First => self.first_round_ends(state, delete, next),
            Round::Second => {
                let first = self.answers(state, delete, Round::First);
                let second = self.answers(state, delete, Round::Second);
                self.ends(state, delete, after_the_second(&first, second), next);
            }
        }
    }

    fn delete_begins(&self, state: &State, next: Next<'_>) {
        let phases = (0..self.world.deletes).zip(state.deletes);
        let mut not_begun = phases.filter(|(_, it)| it.phase == DeletePhase::NotBegun);
        let Some((delete, _)) = not_begun.next() else { return };
        let covers = State::bits(&state.writes, |write| write.phase == WritePhase::Acknowledged);
        for (dc, node) in self.may_be_asked(state) {
            for (skips, state) in self.may_skip(state, dc, node) {
                for clock in self.world.clocks {
                    let stamp = self.stamp(delete, *clock, None, skips);
                    let (phase, stamps) = (DeletePhase::InRound(Round::First), [stamp, Stamp::default()]);
                    let it = Delete { phase, dc, node, covers, stamps, skips: [skips, 0] };
                    let mut state = state;
                    state.deletes[usize::from(delete)] = it;
                    // What an earlier one left on its way is lost for good.
                    state.calls = Default::default();
                    self.send(&mut state, delete, Round::First, |dc| !has(skips, *dc));
                    next(Step::DeleteBegins { delete, dc, stamp, skips }, state);
                }
            }
        }
    }

    /// Where a client may ask for a delete: data centres that no order is about differ by nothing but their names, and nodes by
    /// nothing that they know for sure.
    fn may_be_asked(&self, state: &State) -> Vec<(Dc, u8)> {
        let nodes = if self.has(Defect::KnownToOneNode) { 2 } else { 1 };
        let dcs = if self.world.orders.is_empty() { 0..1 } else { self.dcs() };
        let serving = dcs.filter(|dc| state.serves(*dc));
        serving.flat_map(|dc| (0..nodes).map(move |node| (dc, node))).collect()
    }

    fn first_round_ends(&self, state: &State, delete: u8, next: Next<'_>) {
        let Delete { dc, node, stamps: [asked, _], .. } = state.deletes[usize::from(delete)];
        let asked = asked.version().expect("it has begun");
        let answers = self.answers(state, delete, Round::First);
        for (skips, state) in self.may_skip(state, dc, node) {
            match after_the_first(&answers, asked, &self.named(skips)) {
                decisions::Next::AskAgain { .. } if self.has(Defect::NoSecondRound) => {
                    self.ends(&state, delete, decisions::Next::Deleted, next);
                }
                decisions::Next::AskAgain { above } => {
                    let above = if self.has(Defect::SecondVersionTooLow) { asked } else { above };
                    self.second_round_begins(&state, delete, (above, skips), next);
                }
                end => self.ends(&state, delete, end, next),
            }
        }
    }

    fn second_round_begins(&self, state: &State, delete: u8, (above, skips): (Version, Dcs), next: Next<'_>) {
        for clock in self.world.clocks {
            let stamp = self.stamp(delete, *clock, Some(above), skips);
            let mut state = *state;
            let it = &mut state.deletes[usize::from(delete)];
            it.phase = DeletePhase::InRound(Round::Second);
            (it.stamps[1], it.skips[1]) = (stamp, skips);
            self.send(&mut state, delete, Round::Second, |dc| !has(skips, *dc));
            // From now on it only matters who has answered, not what.
            for call in &mut state.calls[0] {
                if matches!(call.stage, Stage::Newer(_) | Stage::Done { .. }) {
                    call.stage = Stage::Done { not_down: 0 };
                }
            }
            next(Step::SecondRound { stamp, skips }, state);
        }
    }

    fn ends(&self, state: &State, delete: u8, how: decisions::Next, next: Next<'_>) {
        let mut state = *state;
        let (step, phase) = match how {
            decisions::Next::Deleted => {
                let skipped = self.has_skipped(&state, delete);
                (Step::Deleted { skipped }, DeletePhase::Deleted)
            }
            decisions::Next::Failed => (Step::Failed, DeletePhase::Failed),
            decisions::Next::AskAgain { .. } => unreachable!("the second round reports nothing newer"),
        };
        finish(&mut state, delete, phase);
        next(step, state);
    }

    fn has_skipped(&self, state: &State, delete: u8) -> bool {
        let [first, second] = &state.calls;
        let calls =
            if state.deletes[usize::from(delete)].stamps[1] == Stamp::default() { first } else { second };
        self.dcs().any(|dc| !calls[usize::from(dc)].is_made())
    }

    /// Who the node may go on without, and the state after it was asked.
    fn may_skip(&self, state: &State, dc: Dc, node: u8) -> Vec<(Dcs, State)> {
        self.may_hold_for_down(state, dc, node, 0)
    }

    fn stamp(&self, delete: u8, clock: Clock, seen: Option<Version>, skips: Dcs) -> Stamp {
        let writer = FIRST_WRITER + delete;
        if skips == 0 || self.has(Defect::NoMargin) {
            stamp::next(writer, clock, seen)
        } else if self.has(Defect::NoStep) {
            stamp::next_ahead_without_a_step(writer, clock, seen)
        } else {
            stamp::next_ahead(writer, clock, seen)
        }
    }

    fn send(&self, state: &mut State, delete: u8, round: Round, is_asked: impl Fn(&Dc) -> bool) {
        for dc in self.dcs().filter(is_asked) {
            let stage = self.first_stage(state, delete, round, dc);
            state.calls[round.index()][usize::from(dc)] = Call { stage, is_lost: false };
        }
    }

    /// Whether a data centre is asked to look before it appends.
    fn first_stage(&self, state: &State, delete: u8, round: Round, dc: Dc) -> Stage {
        let is_peer = dc != state.deletes[usize::from(delete)].dc;
        let looks = match round {
            Round::First => !(is_peer && self.has(Defect::PeerDoesNotLook)),
            Round::Second if self.has(Defect::SilentDoesNotLook) => false,
            Round::Second => {
                let before = self.answers(state, delete, Round::First);
                decisions::is_asked_in(self.name(dc), &before) == peer::Round::First
            }
        };
        if looks { Stage::ToLook } else { Stage::ToAppend }
    }

    /// What the coordinator was answered, as the product has it.
    pub(super) fn answers(&self, state: &State, delete: u8, round: Round) -> Vec<(schemas::Dc, Answer)> {
        let version =
            state.deletes[usize::from(delete)].stamps[round.index()].version().expect("it is asked");
        let answer = |call: Call| match call.stage {
            _ if call.is_lost => Answer::None(NoAnswer::Unknown(self.nobody_waits())),
            Stage::Done { not_down } => Answer::Done(Acknowledged::by(version, self.named(not_down))),
            Stage::Newer(record) => Answer::Newer(self.reaches(state, delete, round, record)),
            Stage::NotMade | Stage::ToLook | Stage::ToAppend | Stage::Appended(_) => {
                unreachable!("it waits for every call")
            }
        };
        let calls = self.dcs().map(|dc| (dc, state.calls[round.index()][usize::from(dc)]));
        let made = calls.filter(|(_, call)| call.is_made());
        made.map(|(dc, call)| (self.name(dc).clone(), answer(call))).collect()
    }
}

/// What is still on its way goes on, and nobody waits for it.
fn finish(state: &mut State, delete: u8, phase: DeletePhase) {
    state.deletes[usize::from(delete)].phase = phase;
    for call in state.calls.iter_mut().flatten() {
        *call = match call.stage {
            Stage::ToLook | Stage::ToAppend | Stage::Appended(_) => Call { is_lost: true, ..*call },
            Stage::NotMade | Stage::Done { .. } | Stage::Newer(_) => Call::default(),
        };
    }
}
