//! Numbered sessions, and what is to be read of each.

use std::collections::BTreeMap;

use super::node::Node;

/// What was acknowledged of each session: its contents, or that it was deleted.
pub(crate) type Sessions = BTreeMap<usize, Option<String>>;

/// The path of a session.
pub(crate) fn session(n: usize) -> String {
    format!("/sessions/v1/session-{n}")
}

/// Writes so many sessions, and deletes every third, the first among them.
///
/// # Panics
///
/// When something of it is not acknowledged.
pub(crate) fn write_sessions(node: &Node, of: usize) -> Sessions {
    let mut expected = Sessions::new();
    for n in 0..of {
        let body = format!("contents of {n}");
        assert_eq!(node.post(&session(n), &body).status, 201, "session {n}");
        expected.insert(n, Some(body));
    }
    for n in (0..of).step_by(3) {
        assert_eq!(node.delete(&session(n)).status, 204, "session {n}");
        expected.insert(n, None);
    }
    expected
}

/// Reads every session.
///
/// # Panics
///
/// When one is not what was acknowledged.
pub(crate) fn check_sessions(node: &Node, expected: &Sessions) {
    for (n, body) in expected {
        let read = node.get(&session(*n));
        match body {
            Some(body) => assert_eq!((read.status, read.text()), (200, body.as_str()), "session {n}"),
            None => assert_eq!(read.status, 404, "session {n} was deleted"),
        }
    }
}
