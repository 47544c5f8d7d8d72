//! Weighs a history against what is promised. Pure: values in, breaches out.
//!
//! A write or delete is **known** in a data centre from when it was acknowledged there or a read there returned it; a
//! delete that was acknowledged is known in both. Once all has been copied, all that was acknowledged is known in both.
//! What is known may be read until something later is known, and nothing earlier may be.
//!
//! Y is **surely later** than X when X was known where Y looked before it took its version: for a delete anywhere, for a
//! write in its own data centre. Or when X had ended before Y began, by more than the clocks may be apart. Of two that ran
//! side by side neither is.

mod breach;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use super::history::{Asked, At, Dc, Key, Moment, Op, Told, Value};

pub(super) use self::breach::{Breach, Kind};

/// How long a delete waits for the data centres that it asks, less what clocks and schedulers are good for: 1.5 s of 2.5.
const FIRST_ROUND: Duration = Duration::from_millis(1400);

/// What must hold of these requests, and what is forgiven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) history: &'a [Op],
    pub(super) excuses: &'a [Excuse],
    /// From then on whatever was acknowledged before must be known in both data centres.
    pub(super) copied: Option<Moment>,
    /// How far the versions that nodes choose at one moment may be apart.
    pub(super) clocks_apart: Duration,
}

/// What a fault may do to requests that run while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excuse {
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) harm: Harm,
}

/// Who is hit by a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Harm {
    /// Nodes whose clients may meet errors.
    pub(super) sick: Vec<At>,
    /// Which data centre's deletes may go unconfirmed by which.
    pub(super) unconfirmed: Vec<(Dc, Dc)>,
}

/// Everything that should not have been.
pub(super) fn judge(case: Case<'_>) -> Vec<Breach> {
    let mut sessions: BTreeMap<Key, Vec<&Op>> = BTreeMap::new();
    for op in case.history {
        sessions.entry(op.key).or_default().push(op);
    }
    let of_sessions = sessions.values().flat_map(|ops| Session::of(ops, case).breaches());
    case.history.iter().filter_map(|op| unexcused(op, case.excuses)).chain(of_sessions).collect()
}

/// A request that failed where nothing excuses it.
fn unexcused(op: &Op, excuses: &[Excuse]) -> Option<Breach> {
    let hit_by: Vec<_> = excuses
        .iter()
        .filter(|excuse| op.ran_within(excuse.from, excuse.until))
        .map(|excuse| &excuse.harm)
        .collect();
    let is_sick = hit_by.iter().any(|harm| harm.sick.contains(&op.at));
    let may_lack = |by: &Dc| hit_by.iter().any(|harm| harm.unconfirmed.contains(&(op.at.0, *by)));
    let kind = match &op.told {
        Told::Done | Told::Found(_) => return None,
        Told::Strange(_) => Kind::Error,
        Told::Refused(_) | Told::Unknown(_) | Told::Unconfirmed(_) if is_sick => return None,
        Told::Unconfirmed(by) if !by.is_empty() && by.iter().all(may_lack) => return None,
        Told::Refused(_) | Told::Unknown(_) | Told::Unconfirmed(_) if is_late(op) => Kind::Late,
        Told::Refused(_) | Told::Unknown(_) => Kind::Error,
        Told::Unconfirmed(_) => Kind::Unconfirmed,
    };
    Some(Breach::of(kind, op, []))
}

/// A delete that waited for as long as it waits for anybody.
fn is_late(op: &Op) -> bool {
    let took = op.ended.saturating_sub(op.invoked);
    op.asked == Asked::Delete && op.ended != Moment::MAX && FIRST_ROUND <= took
}

/// What happened to one session.
struct Session<'a> {
    ops: &'a [&'a Op],
    /// Writes and deletes that happened or may have.
    changes: Vec<Change<'a>>,
    clocks_apart: Duration,
}

/// A write or a delete, and since when it is known where.
struct Change<'a> {
    op: &'a Op,
    known: [Option<Known>; 2],
}

/// Since when something is known in a data centre, and by what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    since: Moment,
    by_copy: bool,
}

impl<'a> Session<'a> {
    fn of(ops: &'a [&'a Op], case: Case<'_>) -> Self {
        let changes = ops.iter().filter(|op| op.asked != Asked::Get && op.may_have_happened());
        let change = |op: &&'a Op| Change { op, known: Dc::BOTH.map(|dc| known(op, dc, ops, case.copied)) };
        Self { ops, changes: changes.map(change).collect(), clocks_apart: case.clocks_apart }
    }

    fn breaches(&self) -> Vec<Breach> {
        let reads = self.ops.iter().filter_map(|op| match op.told {
            Told::Found(found) => Some((*op, found)),
            _ => None,
        });
        reads.filter_map(|(read, found)| self.breach(read, found)).collect()
    }

    fn breach(&self, read: &Op, found: Option<Value>) -> Option<Breach> {
        let Some(value) = found else { return self.missing(read) };
        let written = self.changes.iter().find(|change| change.op.asked == Asked::Set(value));
        let Some(written) = written.filter(|written| written.op.invoked < read.ended) else {
            return Some(Breach::of(Kind::Invented, read, self.refused(value)));
        };
        if let Some(gone) = self.gone_before(written, read) {
            return Some(Breach::of(Kind::Resurrection, read, [written.op, gone]));
        }
        let (later, known) = self.known_and_later(read, |later| self.is_surely_later(later, written))?;
        let kind = match later.op.asked {
            Asked::Delete => Kind::False204,
            _ if known.by_copy => Kind::LostOrNotCopied,
            _ => Kind::StaleRead,
        };
        Some(Breach::of(kind, read, [written.op, later.op]))
    }

    /// A session that is not there should be, unless it was never written or some delete may be the newest.
    fn missing(&self, read: &Op) -> Option<Breach> {
        let deletes = self.changes.iter().filter(|change| change.op.asked == Asked::Delete);
        let mut deletes = deletes.filter(|delete| delete.op.invoked < read.ended);
        let (newest, known) = self.known_and_later(read, |later| later.op.asked != Asked::Delete)?;
        let may_be_newest = |delete: &Change<'_>| {
            let is_later =
                |later: &Change<'_>| later.op.asked != Asked::Delete && self.is_surely_later(later, delete);
            self.known_and_later(read, is_later).is_none()
        };
        if deletes.any(may_be_newest) {
            return None;
        }
        let kind = if known.by_copy { Kind::LostOrNotCopied } else { Kind::MissingSession };
        Some(Breach::of(kind, read, [newest.op]))
    }

    /// Something that was known where `read` looked before it began, and `is_later`.
    fn known_and_later(
        &self,
        read: &Op,
        is_later: impl Fn(&Change<'a>) -> bool,
    ) -> Option<(&Change<'a>, Known)> {
        let known = |change: &Change<'a>| change.known(read.at.0).filter(|known| known.since < read.invoked);
        self.changes
            .iter()
            .filter_map(|change| Some((change, known(change)?)))
            .find(|(later, _)| is_later(later))
    }

    fn is_surely_later(&self, later: &Change<'_>, than: &Change<'_>) -> bool {
        let began = later.op.invoked;
        let looked_in = |dc: Dc| later.op.asked == Asked::Delete || dc == later.op.at.0;
        let was_seen = Dc::BOTH
            .into_iter()
            .filter(|dc| looked_in(*dc))
            .any(|dc| than.known(dc).is_some_and(|known| known.since < began));
        was_seen || than.op.ended.checked_add(self.clocks_apart).is_some_and(|sure| sure < began)
    }

    /// A read in the same data centre, before this one, that found nothing though the write was known there.
    fn gone_before(&self, written: &Change<'_>, read: &Op) -> Option<&'a Op> {
        let known = written.known(read.at.0)?;
        let is_gone = |op: &&Op| {
            op.told == Told::Found(None)
                && op.at.0 == read.at.0
                && known.since < op.invoked
                && op.ended < read.invoked
        };
        self.ops.iter().copied().find(is_gone)
    }

    fn refused(&self, value: Value) -> Option<&'a Op> {
        self.ops.iter().copied().find(|op| op.asked == Asked::Set(value))
    }
}

impl Change<'_> {
    fn known(&self, dc: Dc) -> Option<Known> {
        self.known[dc as usize]
    }
}

fn known(op: &Op, dc: Dc, ops: &[&Op], copied: Option<Moment>) -> Option<Known> {
    let is_acknowledged = op.told == Told::Done;
    let at_once = is_acknowledged && (op.asked == Asked::Delete || op.at.0 == dc);
    let acknowledged = at_once.then_some(op.ended);
    let returned_it = |read: &&Op| match (op.asked, &read.told) {
        (Asked::Set(value), Told::Found(Some(found))) => value == *found && read.at.0 == dc,
        _ => false,
    };
    let read = ops.iter().copied().filter(|read| returned_it(read)).map(|read| read.ended).min();
    let was_copied = copied.filter(|copied| is_acknowledged && op.ended < *copied);
    let seen = acknowledged.into_iter().chain(read).min().map(|since| Known { since, by_copy: false });
    let copied = was_copied.map(|since| Known { since, by_copy: true });
    seen.into_iter().chain(copied).min()
}
