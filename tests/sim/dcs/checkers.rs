//! The promises, literally, over what clients saw of several data centres: not over versions.
//!
//! ```text
//!   known in a data centre     a value, once a write of it was acknowledged there, or a read there has returned it
//!   1  what is known in a data centre stays, until something later is known there
//!   2  after a delete was answered with success, no read anywhere returns what was known anywhere before it began
//!   4  what was known in a data centre, and read as gone there, never comes back there; and nobody reads what has expired
//! ```
//! What has expired by the clock of any data centre may be gone in all of them. Across data centres the newest version of a set wins, and which that is no client can know: a write that was acknowledged
//! elsewhere may hide one that was acknowledged here, once it has come here.

use schemas::{Timestamp, Until};

use super::super::workload::{Answer, Asked, Operation};

/// Everything that is wrong with a history.
pub(super) fn violations(history: &[Operation]) -> Vec<String> {
    history.iter().flat_map(|read| violations_of(read, history)).collect()
}

fn violations_of(read: &Operation, history: &[Operation]) -> Vec<String> {
    let same_key: Vec<_> = history.iter().filter(|op| op.key == read.key).collect();
    let story = Story(&same_key);
    match read.answer {
        Some(Answer::Found { value, expires_at, told_at }) => {
            let Some(writer) = story.writer(value) else {
                return vec![format!("nobody wrote what was read: {read}")];
            };
            let mut found = Vec::new();
            if !expires_at.is_after(told_at) {
                found.push(format!("expired: {read}"));
            }
            found.extend(story.stale(read, value));
            found.extend(story.resurrected(read, value));
            found.extend(story.came_back(read, value, expires_at));
            found.iter().map(|what| format!("{what}\n  written {writer}")).collect()
        }
        Some(Answer::NotFound { told_at }) => {
            // Where clocks are apart by more than a session has left, a repair at the fastest one ends it everywhere.
            let told = history.iter().filter(|op| op.ended < read.ended).filter_map(told_when);
            story.lost(read, told.fold(told_at, Timestamp::max)).into_iter().collect()
        }
        Some(Answer::Done) | None => Vec::new(),
    }
}

/// The time that a reader was told.
fn told_when(op: &Operation) -> Option<Timestamp> {
    match op.answer {
        Some(Answer::Found { told_at, .. } | Answer::NotFound { told_at }) => Some(told_at),
        Some(Answer::Done) | None => None,
    }
}

/// All that was done to one key.
struct Story<'a>(&'a [&'a Operation]);

impl<'a> Story<'a> {
    fn writer(&self, value: u64) -> Option<&'a Operation> {
        self.0.iter().copied().find(|op| wrote(op) == Some(value))
    }

    /// Operations by which a value is known in their data centre.
    fn tells(&self, value: u64) -> impl Iterator<Item = &'a Operation> {
        self.0.iter().copied().filter(move |op| told(op) == Some(value))
    }

    /// Something that told `value` in the data centre `dc`, before `step`.
    fn told_in(&self, dc: usize, value: u64, step: u64) -> Option<&'a Operation> {
        self.tells(value).find(|op| op.dc == dc && op.ended < step)
    }

    /// Promise 1: what is read was known before something else, and that was known before it was read.
    fn stale(&self, read: &Operation, value: u64) -> Option<String> {
        let mut later = self.0.iter().filter(|op| op.dc == read.dc && op.ended < read.began);
        let later = later.find(|op| {
            told(op).is_some_and(|other| other != value) && self.told_in(read.dc, value, op.began).is_some()
        })?;
        Some(format!("stale: {read}\n  later {later}"))
    }

    /// Promise 2.
    fn resurrected(&self, read: &Operation, value: u64) -> Option<String> {
        let is_delete = |op: &&&Operation| op.asked == Asked::Delete && is_done(op) && op.ended < read.began;
        let deletes = self.0.iter().filter(is_delete);
        let mut found = deletes
            .filter_map(|delete| Some((delete, self.tells(value).find(|op| op.ended < delete.began)?)));
        let (delete, known) = found.next()?;
        Some(format!("resurrected: {read}\n  known {known}\n  deleted {delete}"))
    }

    /// Promise 4: it was gone here, because it had expired as far as this node told, or because of something newer.
    fn came_back(&self, read: &Operation, value: u64, expires_at: Until) -> Option<String> {
        let gone_before = |op: &&&Operation| {
            let Some(Answer::NotFound { told_at }) = op.answer else { return false };
            op.dc == read.dc
                && op.ended < read.began
                && (op.memory == read.memory || expires_at.is_after(told_at))
                && self.told_in(read.dc, value, op.began).is_some()
        };
        let gone = self.0.iter().find(gone_before)?;
        Some(format!("came back: {read}\n  gone {gone}"))
    }

    /// Promise 1: something that is known here and lives by every clock is not there, and nothing can have hidden it.
    fn lost(&self, read: &Operation, now: Timestamp) -> Option<String> {
        let lives = |op: &&&Operation| {
            let value = told(op).filter(|_| op.dc == read.dc && op.ended < read.began);
            let writer = value.and_then(|value| self.writer(value));
            writer.and_then(|writer| writer.expires_at).is_some_and(|end| end.is_after(now))
        };
        let mut known = self.0.iter().filter(lives);
        let known = known.find(|known| !self.0.iter().any(|other| self.hides(other, known, read, now)))?;
        Some(format!("lost: {read}\n  known {known}"))
    }

    /// Whether `other` may be above what `known` told, and is nothing that `read` could show.
    fn hides(&self, other: &Operation, known: &Operation, read: &Operation, now: Timestamp) -> bool {
        let shows_nothing = match other.asked {
            Asked::Delete => true,
            Asked::Put { .. } => other.expires_at.is_some_and(|end| !end.is_after(now)),
            Asked::Get => false,
        };
        // What was known here before `known` began is below what that told.
        let is_below = match wrote(other) {
            Some(value) => self.told_in(read.dc, value, known.began).is_some(),
            None => is_done(other) && other.ended < known.began,
        };
        shows_nothing && !is_below && other.began < read.ended
    }
}

/// The value that a put asks to store.
fn wrote(op: &Operation) -> Option<u64> {
    match op.asked {
        Asked::Put { value, .. } => Some(value),
        Asked::Delete | Asked::Get => None,
    }
}

/// The value that is known by this answer.
fn told(op: &Operation) -> Option<u64> {
    match op.answer {
        Some(Answer::Done) => wrote(op),
        Some(Answer::Found { value, .. }) => Some(value),
        Some(Answer::NotFound { .. }) | None => None,
    }
}

fn is_done(op: &Operation) -> bool {
    op.answer == Some(Answer::Done)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::super::runs::says, *};

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn op(dc: usize, asked: Asked, answer: Option<Answer>, began: u64) -> Operation {
        let expires_at = match asked {
            Asked::Put { is_short: true, .. } => Some(Until::At(at(50))),
            Asked::Put { is_short: false, .. } => Some(Until::At(at(1_000))),
            Asked::Delete | Asked::Get => None,
        };
        let (began_at, ended_at) = (Duration::from_millis(began), Duration::from_millis(began + 1));
        let ended = began + 1;
        Operation { key: 1, dc, memory: dc, asked, expires_at, answer, began, ended, began_at, ended_at }
    }

    fn put(dc: usize, value: u64, began: u64) -> Operation {
        op(dc, Asked::Put { value, is_short: false }, Some(Answer::Done), began)
    }

    fn short(dc: usize, value: u64, began: u64) -> Operation {
        op(dc, Asked::Put { value, is_short: true }, Some(Answer::Done), began)
    }

    fn delete(dc: usize, began: u64) -> Operation {
        op(dc, Asked::Delete, Some(Answer::Done), began)
    }

    fn unanswered(operation: Operation) -> Operation {
        Operation { answer: None, ..operation }
    }

    fn until(operation: Operation, ended: u64) -> Operation {
        Operation { ended, ..operation }
    }

    fn found(dc: usize, value: u64, began: u64) -> Operation {
        let (expires_at, told_at) = (Until::At(at(1_000)), at(began));
        op(dc, Asked::Get, Some(Answer::Found { value, expires_at, told_at }), began)
    }

    fn gone(dc: usize, began: u64) -> Operation {
        op(dc, Asked::Get, Some(Answer::NotFound { told_at: at(began) }), began)
    }

    #[test]
    fn the_checkers_see_what_is_wrong_among_data_centres_and_only_that() {
        let cases: [(&str, &[Operation], Option<&str>); 27] = [
            ("own write", &[put(0, 1, 0), found(0, 1, 2)], None),
            ("not copied yet", &[put(0, 1, 0), gone(1, 2), found(1, 1, 4)], None),
            ("stale", &[put(0, 1, 0), put(0, 2, 2), found(0, 1, 4)], Some("stale")),
            ("stale elsewhere: not copied yet", &[put(0, 1, 0), put(0, 2, 2), found(1, 1, 4)], None),
            (
                "back after a read",
                &[put(0, 1, 0), found(0, 2, 2), put(1, 2, 0), found(0, 1, 4)],
                Some("stale"),
            ),
            ("a later one elsewhere loses", &[put(0, 1, 0), put(1, 2, 2), found(1, 1, 4)], None),
            (
                "though it was known there",
                &[put(0, 1, 0), found(1, 1, 2), put(1, 2, 4), found(1, 1, 6)],
                Some("stale"),
            ),
            ("writes at once", &[until(put(0, 1, 0), 9), put(0, 2, 2), found(0, 1, 10)], None),
            ("resurrected", &[put(0, 1, 0), delete(0, 2), found(0, 1, 4)], Some("resurrected")),
            ("resurrected elsewhere", &[put(0, 1, 0), delete(1, 2), found(1, 1, 4)], Some("resurrected")),
            ("resurrected in a third", &[put(0, 1, 0), delete(1, 2), found(2, 1, 4)], Some("resurrected")),
            ("the delete had not answered", &[put(0, 1, 0), until(delete(1, 2), 9), found(1, 1, 4)], None),
            ("the delete did not succeed", &[put(0, 1, 0), unanswered(delete(1, 2)), found(0, 1, 4)], None),
            ("written during the delete", &[until(put(0, 1, 0), 3), delete(1, 2), found(0, 1, 4)], None),
            (
                "read before the delete, never acknowledged",
                &[unanswered(put(0, 1, 0)), found(1, 1, 2), delete(2, 4), found(0, 1, 6)],
                Some("resurrected"),
            ),
            ("lost", &[put(0, 1, 0), gone(0, 2)], Some("lost")),
            ("lost though it was read", &[put(0, 1, 0), found(1, 1, 2), gone(1, 4)], Some("lost")),
            ("deleted", &[put(0, 1, 0), delete(1, 2), gone(0, 4)], None),
            ("deleted before", &[delete(1, 0), put(0, 1, 2), gone(0, 4)], Some("lost")),
            ("perhaps deleted before", &[unanswered(delete(1, 0)), put(0, 1, 2), gone(0, 4)], None),
            ("expired", &[short(0, 1, 0), gone(0, 60)], None),
            ("hidden by what has expired elsewhere", &[short(1, 2, 0), put(0, 1, 2), gone(0, 60)], None),
            ("hidden by what lives elsewhere", &[put(1, 2, 0), put(0, 1, 2), gone(0, 60)], Some("lost")),
            (
                "hidden by what was known before",
                &[short(1, 2, 0), found(0, 2, 2), put(0, 1, 4), gone(0, 60)],
                Some("lost"),
            ),
            ("came back", &[put(0, 1, 0), delete(1, 2), gone(0, 4), found(0, 1, 6)], Some("came back")),
            (
                "came back though nobody confirmed",
                &[put(0, 1, 0), unanswered(delete(1, 2)), gone(0, 4), found(0, 1, 6)],
                Some("came back"),
            ),
            ("invented", &[found(0, 9, 0)], Some("nobody wrote")),
        ];
        for (name, history, expected) in cases {
            says(name, &violations(history), expected);
        }
    }

    #[test]
    fn nobody_reads_what_has_expired_and_it_does_not_come_back_at_the_same_node() {
        let late = Operation { began: 2_000, ended: 2_001, ..found(0, 1, 2_000) };
        assert!(violations(&[put(0, 1, 0), late])[0].contains("expired"));
        let early = |memory| {
            let answer = Some(Answer::Found { value: 1, expires_at: Until::At(at(50)), told_at: at(49) });
            Operation { answer, memory, ..found(0, 1, 62) }
        };
        let history = |memory| [short(0, 1, 0), gone(0, 60), early(memory)];
        assert!(violations(&history(0))[0].contains("came back"));
        assert!(violations(&history(7)).is_empty(), "its clock may be behind");
    }
}
