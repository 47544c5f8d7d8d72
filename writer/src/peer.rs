//! Other data centres, as deletes see them.
//!
//! ```text
//!   messages   what data centres say to each other, as JSON; comparing: the same, to compare their views
//!   http       asks a peer over HTTP           health   whether to ask it at all
//!   address    where it is                     pace     when to ask another of its nodes as well
//!   metrics    what it answered
//! ```

mod address;
pub mod comparing;
mod health;
mod http;
pub mod messages;
mod metrics;
mod pace;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use futures::future::BoxFuture;
use schemas::{Dc, DcState, Declaration, Headers, KeyId, StoreName, Timestamp, Until, Version};
use tokio::time::Instant;

pub use self::{
    address::{ParsePeerUrlError, PeerTls, PeerUrl, TlsName},
    http::{BucketAsked, CONNECT_PATIENCE, HttpPeer, LogPiece, Silence, Us},
    metrics::PeerMetrics,
};
use crate::{Answer, Deadline, NoAnswer};

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
    /// The data centres that it goes on without, since they are declared down.
    pub skipped: BTreeSet<Dc>,
}

/// Which round of a delete a data centre is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// A newer cell is reported, not overwritten.
    First,
    /// The tombstone is above everything that was reported: it is appended without a look.
    Second,
}

/// What a data centre is told to hold.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// The declaration.
    pub declaration: &'a Declaration,
    /// The operator's word that it is behind all clocks by now what a data centre acknowledged whose versions were far ahead.
    pub waited: bool,
    /// The order's request, if it has a name.
    pub request_id: Option<&'a str>,
}

/// What came of telling a data centre a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is durable in every partition of that data centre's own logs, and applied there.
    Done,
    /// A later one about the same data centre is there already.
    Newer(Version),
    /// Not confirmed.
    None(NoAnswer),
}

/// What a node says of its own data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it answers requests.
    pub ready: bool,
    /// What each other data centre's logs say of it, as far as the node has applied them in every partition: whether it is
    /// down in any, and the oldest id among them, if all have one.
    pub declared_by: BTreeMap<Dc, (DcState, Option<Version>)>,
}

/// How far the versions of a node had come, and when it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The latest time that its versions carried.
    pub versions_reach: Timestamp,
    /// By the clock of this process.
    pub at: Instant,
}

impl Heard {
    /// How far they have come by `now`, if the node has gone on since.
    pub fn reach_by(&self, now: Instant) -> Timestamp {
        self.versions_reach.saturating_add(now.saturating_duration_since(self.at))
    }
}

/// The address of a node, and what it says of its own data centre, or why it says nothing.
pub type NodeStanding = (String, Result<Standing, Arc<str>>);

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

    /// Has it hold a declaration in every partition of its own logs. Resolves soon after `deadline` at the latest.
    fn declare<'a>(&'a self, telling: Telling<'a>, deadline: Deadline) -> BoxFuture<'a, Told>;

    /// Asks every node of it how it sees its own data centre: the node's address, and what it says or why it says nothing.
    fn standing(&self) -> BoxFuture<'_, Vec<NodeStanding>>;

    /// Of its nodes the one whose versions are furthest by now, if any was heard.
    fn heard(&self) -> Option<Heard> {
        None
    }
}
