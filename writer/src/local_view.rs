//! What a writer has to know of the view. Implemented where both are known, so that writer and materializer meet only
//! in the log.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use schemas::{Dc, Declaration, KeyId, Partition, Position, Version};

/// The view of this node, as its writer sees it.
pub trait LocalView: fmt::Debug + Send + Sync + 'static {
    /// The version of the newest event of `key`, once this node has applied everything that was durable in this data
    /// centre when this was called.
    fn look(&self, key: KeyId, patience: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>>;

    /// Resolves once this node has applied the record at `position` of its own data centre's log.
    fn applied(&self, position: Position, patience: Duration) -> BoxFuture<'_, Result<(), FenceFailed>>;

    /// The data centres that this data centre's own log has declared down in `partition`, as far as this node has applied it.
    fn down_in(&self, partition: Partition) -> BTreeSet<Dc>;

    /// The newest declaration about `dc` that this node has applied, whoever's log it stands in.
    fn newest_declaration(&self, dc: &Dc) -> Option<Declaration>;

    /// Why this node applies nothing at the moment, if it does not: what is appended now could not be read here soon.
    fn stands_still(&self) -> Option<Arc<str>> {
        None
    }
}

/// Nobody knows what is newest. Nothing has been stored.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot see what is newest: {0}")]
pub struct LookFailed(pub Arc<str>);

/// The record is durable, but this node has not applied it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("stored, but not applied here: {0}")]
pub struct FenceFailed(pub Arc<str>);
