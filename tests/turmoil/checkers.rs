//! What must hold of everything that was heard. Pure: the plan, what was heard and what the logs hold in the end.

use std::{collections::BTreeMap, time::Duration};

use schemas::Version;
use writer::{Answer, NoAnswer, peer::Round};

use super::{
    asking::{Asked, Word},
    plan::{Call, NodePlan, Plan, SETTLED},
    site::{StoredEvent, key_of, version_of},
    world::TICK,
};

/// Timers go by milliseconds; no more than that is added to a deadline.
const SLACK: Duration = Duration::from_millis(2);

/// Whoever is not to be asked is answered for within so long.
const SUSPECT_ANSWERED_WITHIN: Duration = Duration::from_millis(50);

/// So many calls in a row without an answer make a peer suspect, or one and this time.
const SILENT_CALLS_MAX: usize = 5;
const SILENT_FOR_MAX: Duration = Duration::from_secs(3);

/// One that only confirms nothing is tried so often.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The longest that a second node waits for its turn, when the first does not answer.
const HEDGE_AFTER_MAX: Duration = Duration::from_millis(500);

/// What a world saw, with what is in the logs of its data centres.
struct Judge<'a> {
    plan: &'a Plan,
    heard: &'a [Word],
    stored: &'a [Vec<StoredEvent>],
}

/// Every promise that was broken.
pub(crate) fn violations(plan: &Plan, heard: &[Word], stored: &[Vec<StoredEvent>]) -> Vec<String> {
    let judge = Judge { plan, heard, stored };
    let asked = heard.iter().enumerate().filter_map(|(n, word)| match word {
        Word::Asked(asked) => Some((n, asked)),
        Word::Greeted { .. } => None,
    });
    let broken = asked.flat_map(|(n, asked)| {
        let broken = [
            judge.a_claim_without_what_it_claims(asked),
            judge.late(asked),
            judge.a_suspect_that_holds_up(asked),
            judge.a_silent_one_that_is_no_suspect(n, asked),
            judge.one_well_node_that_was_not_enough(asked),
            judge.not_recovered(asked),
        ];
        broken.into_iter().flatten().map(move |what| format!("{what}: {asked:?}"))
    });
    broken.collect()
}

impl Judge<'_> {
    fn held<'a>(&'a self, call: &'a Call, version: Version) -> impl Iterator<Item = &'a StoredEvent> {
        let is = move |event: &&StoredEvent| event.key == key_of(call.key) && event.version == version;
        self.stored[call.dc].iter().filter(is)
    }

    /// Each answer says what is stored there; silence says nothing.
    fn a_claim_without_what_it_claims(&self, asked: &Asked) -> Option<&'static str> {
        let (call, by_then) = (&asked.call, asked.ended());
        let asked_for = version_of(call.tombstone);
        match &asked.answer {
            Answer::Done(done) => {
                let applied = |event: &StoredEvent| event.applied.is_some_and(|at| at <= by_then);
                let is_held = done.version() == asked_for && self.held(call, asked_for).any(applied);
                (!is_held).then_some("done, and neither stored nor applied")
            }
            Answer::Newer(newer) => {
                let is_held = self.held(call, *newer).any(|event| event.stored <= by_then);
                let is_newer = call.round == Round::First && asked_for < *newer;
                (!is_held || !is_newer).then_some("newer than what is held")
            }
            Answer::None(NoAnswer::Stored(_)) => {
                let is_held = self.held(call, asked_for).any(|event| event.stored <= by_then);
                (!is_held).then_some("stored, and it is not")
            }
            Answer::None(NoAnswer::Refused(_) | NoAnswer::Overloaded(_)) => {
                let is_held = !self.is_asked_for_again(call) && self.held(call, asked_for).next().is_some();
                is_held.then_some("refused, and it was stored")
            }
            Answer::None(NoAnswer::Unknown(_)) => None,
        }
    }

    fn is_asked_for_again(&self, call: &Call) -> bool {
        let same = |other: &&Call| other.dc == call.dc && other.tombstone == call.tombstone;
        1 < self.plan.calls.iter().filter(same).count()
    }

    fn late(&self, asked: &Asked) -> Option<&'static str> {
        (asked.call.patience + SLACK < asked.took).then_some("late")
    }

    /// Who is known not to answer takes nobody's time; who only confirms nothing takes that of one call a second, counted anew when
    /// something was confirmed.
    fn a_suspect_that_holds_up(&self, asked: &Asked) -> Option<&'static str> {
        let why = asked.not_asked.as_deref()?;
        let holds_up = |asked: &Asked| SUSPECT_ANSWERED_WITHIN < asked.took;
        let (dc, at) = (asked.call.dc, asked.call.at);
        let confirmed_since = |from| {
            let confirms = |other: &Asked| from <= other.ended() && other.ended() <= at && other.confirms();
            self.of(dc).any(confirms)
        };
        let tried_before = |other: &Asked| {
            let is_before = other.call.at < at && at < other.call.at + TRY_EVERY;
            is_before && other.not_asked.is_some() && holds_up(other) && !confirmed_since(other.call.at)
        };
        let is_the_try = why == "confirms nothing" && !self.of(dc).any(tried_before);
        (holds_up(asked) && !is_the_try).then_some("a suspect holds up")
    }

    /// From what was heard before the call alone.
    fn a_silent_one_that_is_no_suspect(&self, n: usize, asked: &Asked) -> Option<&'static str> {
        let (dc, at) = (asked.call.dc, asked.call.at);
        let before = self.heard[..n].iter().rev().filter_map(|word| match word {
            Word::Asked(other) if other.call.dc == dc && other.ended() < at => {
                Some((other.call.at, other.was_answered()?))
            }
            Word::Greeted { dc: of, began, ended, answered } if *of == dc && *ended < at => {
                Some((*began, *answered))
            }
            _ => None,
        });
        let silent: Vec<_> = before.take_while(|(_, answered)| !answered).map(|(began, _)| began).collect();
        let first = silent.iter().min()?;
        let is_suspect = SILENT_CALLS_MAX <= silent.len() || *first + SILENT_FOR_MAX + SLACK <= at;
        (is_suspect && asked.not_asked.is_none()).then_some("asked all the same")
    }

    /// A node that is well does what it is asked, whatever the other one does, as soon as it is its turn.
    fn one_well_node_that_was_not_enough(&self, asked: &Asked) -> Option<&'static str> {
        let nodes = &self.plan.dcs[asked.call.dc].1;
        let by = HEDGE_AFTER_MAX + way(&nodes[0]);
        let was_well = |node: &NodePlan| {
            let from = asked.call.at.saturating_sub(TICK);
            !node.faults.iter().any(|fault| fault.touches(from, asked.call.at + by))
        };
        let can_be_done =
            asked.not_asked.is_none() && by <= asked.call.patience && nodes.iter().any(was_well);
        let is_done = asked.confirms() && asked.took <= by;
        (can_be_done && !is_done).then_some("one well node was not enough")
    }

    fn not_recovered(&self, asked: &Asked) -> Option<&'static str> {
        let must = SETTLED <= asked.call.at && way(&self.plan.dcs[asked.call.dc].1[0]) <= asked.call.patience;
        (must && !asked.confirms()).then_some("not recovered")
    }

    fn of(&self, dc: usize) -> impl Iterator<Item = &Asked> {
        self.heard.iter().filter_map(move |word| match word {
            Word::Asked(asked) if asked.call.dc == dc => Some(asked),
            _ => None,
        })
    }
}

/// What a new connection, a call and its answer take, when each waits for a tick as well.
fn way(node: &NodePlan) -> Duration {
    3 * (node.latency + 2 * TICK) + 2 * TICK
}

/// What happened that runs are made for.
pub(crate) fn seen(
    plan: &Plan,
    heard: &[Word],
    stored: &[Vec<StoredEvent>],
) -> BTreeMap<&'static str, usize> {
    let judge = Judge { plan, heard, stored };
    let mut seen = BTreeMap::new();
    let mut note = |what, happened: bool| *seen.entry(what).or_default() += usize::from(happened);
    for word in heard {
        let Word::Asked(asked) = word else {
            note("a greeting that nobody returned", matches!(word, Word::Greeted { answered: false, .. }));
            continue;
        };
        let held = judge.held(&asked.call, version_of(asked.call.tombstone)).count();
        let unknown = matches!(asked.answer, Answer::None(NoAnswer::Unknown(_)));
        let refused = matches!(asked.answer, Answer::None(NoAnswer::Refused(_)));
        note("done", matches!(asked.answer, Answer::Done(_)));
        note("newer", matches!(asked.answer, Answer::Newer(_)));
        note("refused", refused);
        note("unknown, and stored", unknown && 0 < held);
        note("unknown, and not stored", unknown && held == 0);
        note("stored twice", 1 < held);
        let after = |event: &StoredEvent| asked.ended() < event.stored;
        let asked_for = version_of(asked.call.tombstone);
        note("stored after nobody waited any more", unknown && judge.held(&asked.call, asked_for).any(after));
        let not_asked = |why| asked.not_asked.as_deref() == Some(why);
        note("a suspect that does not answer", not_asked("does not answer"));
        note("a suspect that confirms nothing", not_asked("confirms nothing"));
        note("a second node that was asked", HEDGE_AFTER_MAX < asked.took && !unknown && !refused);
    }
    seen
}
