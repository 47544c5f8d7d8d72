//! What should not have been, with the requests that show it.

use std::fmt;

use crate::two_dcs::history::{Key, Op};

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::two_dcs) enum Kind {
    /// A read that began after a 204 found what the delete should have removed.
    False204,
    /// What was there and then was not is there again.
    Resurrection,
    /// All should have been copied by now, and an acknowledged write is not there, nor anything later.
    LostOrNotCopied,
    /// A read found something older than what it must.
    StaleRead,
    /// "Not found", though the session lives and nobody deleted it.
    MissingSession,
    /// A read found what nobody wrote, or what was refused.
    Invented,
    /// A request failed where nothing was wrong.
    Error,
    /// A delete waited in vain for who was not hit. It fails closed, and so it must; but somebody took his time.
    Late,
    /// A delete says at once that a data centre did not confirm it, and nothing was wrong on the way there.
    Unconfirmed,
}

/// A promise that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::two_dcs) struct Breach {
    pub(in crate::two_dcs) kind: Kind,
    pub(in crate::two_dcs) key: Key,
    /// The request that shows it, and what it contradicts.
    requests: Vec<String>,
}

impl Breach {
    pub(super) fn of<'a>(kind: Kind, shown_by: &'a Op, against: impl IntoIterator<Item = &'a Op>) -> Self {
        let requests = [shown_by].into_iter().chain(against).map(ToString::to_string).collect();
        Self { kind, key: shown_by.key, requests }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:\n      {}", self.kind, self.requests.join("\n      "))
    }
}
