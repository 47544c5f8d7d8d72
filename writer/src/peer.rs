//! Other data centres, as deletes see them.
//!
//! ```text
//!   messages   what data centres say to each other, as JSON
//!   http       asks a peer over HTTP           health   whether to ask it at all
//!   address    where it is                     pace     when to ask another of its nodes as well
//!   metrics    what it answered
//! ```

mod address;
mod health;
mod http;
pub mod messages;
mod metrics;
mod pace;

use std::fmt;

use futures::future::BoxFuture;
use schemas::{Dc, Headers, KeyId, StoreName, Until, Version};

pub use self::{
    address::{ParsePeerUrlError, PeerTls, PeerUrl, TlsName},
    http::{HttpPeer, LogPiece, Silence, Us},
    metrics::PeerMetrics,
};
use crate::{Answer, Deadline};

/// A delete whose version is settled: the same in every data centre that takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Whose session.
    pub key: KeyId,
    /// When, as the data centre says that was asked to delete.
    pub version: Version,
    /// Until when it may matter. Settled with the version: views of all data centres are to be equal.
    pub retain_until: Until,
    /// Headers to carry: the request id.
    pub headers: Headers,
}

/// Which round of a delete a data centre is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// A newer cell is reported, not overwritten.
    First,
    /// The tombstone is above everything that was reported: it is appended without a look.
    Second,
}

/// Another data centre.
pub trait Peer: fmt::Debug + Send + Sync + 'static {
    /// Which one.
    fn dc(&self) -> &Dc;

    /// Asks it to hold `tombstone`. Resolves soon after `deadline` at the latest, and says [`Answer::Done`] only when that
    /// data centre has said that the tombstone is durable in its own log and that no read there misses it. Never
    /// [`Answer::Newer`] in the second round.
    fn delete<'a>(
        &'a self,
        store: &'a StoreName,
        tombstone: &'a Tombstone,
        round: Round,
        deadline: Deadline,
    ) -> BoxFuture<'a, Answer>;
}
