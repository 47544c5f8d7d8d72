//! What no history may show, whatever clocks and crashes did. Rests on what clients saw alone, not on versions.

use std::time::Duration;

use schemas::caps::CLOCK_DRIFT_MAX;

use super::workload::{Answer, Asked, Operation, ttl};

/// How much longer or shorter than it should a session may live: a writer's clock and a reader's are off by the clamp
/// each, and the log's time that they are clamped to by what an answer takes.
const UNSURE: Duration = CLOCK_DRIFT_MAX.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// Everything that is wrong with a history.
pub(crate) fn violations(history: &[Operation]) -> Vec<String> {
    history.iter().flat_map(|read| violations_of(read, history)).collect()
}

fn violations_of(read: &Operation, history: &[Operation]) -> Vec<String> {
    let same_key: Vec<_> = history.iter().filter(|op| op.key == read.key).collect();
    match read.answer {
        Some(Answer::Found { value, expires_at, told_at }) => {
            let mut found = wrong_value(read, value, &same_key);
            found.extend(came_back(read, value, &same_key));
            found.extend(outlived(read, value, &same_key));
            if !expires_at.is_after(told_at) {
                found.push(format!("expired: {read} was answered at {told_at}"));
            }
            found
        }
        Some(Answer::NotFound { .. }) => lost(read, &same_key),
        Some(Answer::Done) | None => Vec::new(),
    }
}

fn wrong_value(read: &Operation, value: u64, same_key: &[&Operation]) -> Vec<String> {
    let written_by =
        |op: &&&Operation| matches!(op.asked, Asked::Put { value: written, .. } if written == value);
    let Some(writer) = same_key.iter().find(written_by) else {
        return vec![format!("nobody wrote what was read: {read}")];
    };
    let mut found = Vec::new();
    // Only what was acknowledged before something else began has an order that clients can know.
    for later in same_key.iter().filter(|op| acknowledged(writer) && writer.ended < op.began) {
        if acknowledged(later) && later.ended < read.began {
            match later.asked {
                Asked::Delete => {
                    found.push(format!("resurrected: {read}\n  written {writer}\n  deleted {later}"))
                }
                Asked::Put { .. } => {
                    found.push(format!("stale: {read}\n  written {writer}\n  overwritten {later}"))
                }
                Asked::Get => {}
            }
        }
    }
    found
}

/// A machine has said that a session is not there, and says later that it is: expiry went back. Between machines whose
/// clocks differ, that is no contradiction.
fn came_back(read: &Operation, value: u64, same_key: &[&Operation]) -> Option<String> {
    let written_by =
        |op: &&&Operation| matches!(op.asked, Asked::Put { value: written, .. } if written == value);
    let writer = same_key.iter().find(written_by).filter(|writer| acknowledged(writer))?;
    let gone_before = |op: &&&Operation| {
        op.memory == read.memory
            && matches!(op.answer, Some(Answer::NotFound { .. }))
            && writer.ended < op.began
            && op.ended < read.began
    };
    let gone = same_key.iter().find(gone_before)?;
    Some(format!("came back: {read}\n  written {writer}\n  gone {gone}"))
}

/// A session is read when nobody's clock can say that it still lives.
fn outlived(read: &Operation, value: u64, same_key: &[&Operation]) -> Option<String> {
    let overdue = |op: &&&Operation| match op.asked {
        Asked::Put { value: written, is_short } => {
            written == value && op.ended_at + ttl(is_short) + UNSURE < read.began_at
        }
        Asked::Delete | Asked::Get => false,
    };
    let writer = same_key.iter().find(overdue)?;
    Some(format!("outlived: {read}\n  written {writer}"))
}

/// A session that was acknowledged is gone, and nobody can have deleted or outlived it.
fn lost(read: &Operation, same_key: &[&Operation]) -> Vec<String> {
    let lasting_put = |op: &&&Operation| {
        matches!(op.asked, Asked::Put { is_short: false, .. })
            && acknowledged(op)
            && op.ended < read.began
            && read.ended_at + UNSURE < op.began_at + ttl(false)
    };
    let excuses = |put: &Operation, op: &Operation| {
        let may_follow = !acknowledged(op) || put.began < op.ended;
        let may_hide = matches!(op.asked, Asked::Delete | Asked::Put { is_short: true, .. });
        may_hide && may_follow && op.began < read.ended
    };
    let lost = same_key.iter().filter(lasting_put);
    let unexcused = lost.filter(|put| !same_key.iter().any(|op| excuses(put, op)));
    unexcused.map(|put| format!("lost: {read}\n  written {put}")).collect()
}

fn acknowledged(op: &Operation) -> bool {
    op.answer == Some(Answer::Done)
}

#[cfg(test)]
mod tests {
    use super::{super::runs::says, *};

    fn op(asked: Asked, answer: Option<Answer>, began: u64, ended: u64) -> Operation {
        let at = Duration::from_millis;
        let (began_at, ended_at) = (at(began), at(ended));
        Operation {
            key: 1,
            dc: 0,
            memory: 0,
            asked,
            expires_at: None,
            answer,
            began,
            ended,
            began_at,
            ended_at,
        }
    }

    fn short(value: u64, began: u64, ended: u64) -> Operation {
        op(Asked::Put { value, is_short: true }, Some(Answer::Done), began, ended)
    }

    fn elsewhere(read: Operation) -> Operation {
        Operation { memory: 1, ..read }
    }

    fn put(value: u64, began: u64, ended: u64) -> Operation {
        op(Asked::Put { value, is_short: false }, Some(Answer::Done), began, ended)
    }

    fn delete(began: u64, ended: u64) -> Operation {
        op(Asked::Delete, Some(Answer::Done), began, ended)
    }

    fn found(value: u64, began: u64) -> Operation {
        let told_at = schemas::Timestamp::EPOCH;
        op(
            Asked::Get,
            Some(Answer::Found { value, expires_at: schemas::Until::Never, told_at }),
            began,
            began + 1,
        )
    }

    fn not_found(began: u64) -> Operation {
        let told_at = schemas::Timestamp::EPOCH;
        op(Asked::Get, Some(Answer::NotFound { told_at }), began, began + 1)
    }

    fn an_hour_later(read: Operation) -> Operation {
        let later = |at: Duration| at + ttl(false) + 2 * UNSURE;
        Operation { began_at: later(read.began_at), ended_at: later(read.ended_at), ..read }
    }

    #[test]
    fn the_checkers_see_what_is_wrong_and_only_that() {
        let cases: [(&str, &[Operation], Option<&str>); 14] = [
            ("own write", &[put(1, 0, 1), found(1, 2)], None),
            ("stale", &[put(1, 0, 1), put(2, 2, 3), found(1, 4)], Some("stale")),
            ("concurrent writes", &[put(1, 0, 3), put(2, 1, 2), found(1, 4)], None),
            ("resurrected", &[put(1, 0, 1), delete(2, 3), found(1, 4)], Some("resurrected")),
            ("written during the delete", &[put(1, 0, 3), delete(2, 4), found(1, 5)], None),
            ("lost", &[put(1, 0, 1), not_found(2)], Some("lost")),
            ("deleted", &[put(1, 0, 1), delete(2, 3), not_found(4)], None),
            ("deleted before it was written", &[delete(0, 1), put(1, 2, 3), not_found(4)], Some("lost")),
            ("expired", &[short(1, 0, 1), found(1, 2), not_found(4)], None),
            ("expired and back", &[short(1, 0, 1), not_found(2), found(1, 4)], Some("came back")),
            ("expired here first", &[short(1, 0, 1), not_found(2), elsewhere(found(1, 4))], None),
            ("over", &[put(1, 0, 1), an_hour_later(not_found(2))], None),
            ("over, and read", &[put(1, 0, 1), an_hour_later(found(1, 2))], Some("outlived")),
            ("invented", &[found(9, 0)], Some("nobody wrote")),
        ];
        for (name, history, expected) in cases {
            says(name, &violations(history), expected);
        }
    }

    #[test]
    fn an_unknown_delete_excuses_a_missing_session_for_ever() {
        let unknown = op(Asked::Delete, None, 0, 1);
        assert!(violations(&[unknown, put(1, 2, 3), not_found(4)]).is_empty());
    }
}
