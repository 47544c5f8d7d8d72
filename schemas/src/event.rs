//! What happened to a session.

use std::fmt;

use bytes::Bytes;

use crate::{Headers, KeyId, Until, Version};

/// A compressed, then encrypted session, its salt first. Nobody below `api` can open it, and it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Bytes);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// One `set` or `delete` of one key: immutable, and ordered among the events of its key by its version alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose session.
    pub key: KeyId,
    /// When, among the events of this key.
    pub version: Version,
    /// Until when this event may still matter to another one. A cell made of it is kept at least that long.
    pub retain_until: Until,
    /// Every header of the record that is not a field of this type, byte for byte: seal id, request id, and whatever a
    /// later release adds.
    pub headers: Headers,
    /// What happened.
    pub change: Change,
}

/// What an event does to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session now has these contents.
    Set {
        /// From this moment on nobody reads them.
        expires_at: Until,
        /// The contents.
        sealed: Sealed,
    },
    /// The session is gone.
    Delete,
}
