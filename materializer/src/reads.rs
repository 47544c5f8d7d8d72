//! Reads the view as fresh as its store promises.

use std::{fmt, sync::Arc, time::Duration};

use eventlog::LogClock;
use schemas::{KeyId, PartitionCount, Position, Topic, Version};

use crate::{Barrier, BarrierError, Cell, Fence, FenceError, Serving, ViewError};

/// How fresh a read is.
#[derive(Debug)]
pub enum Freshness {
    /// Everything that was durable in this data centre when the read began: right over any number of nodes.
    Dc(Barrier),
    /// Everything that this node has acknowledged: right where one node serves the data centre.
    Node,
}

/// The view of one store, and how it is read.
pub struct Reads {
    /// The cells.
    pub serving: Arc<Serving>,
    /// How fresh they have to be.
    pub freshness: Freshness,
    /// How far the view has come.
    pub fence: Arc<Fence>,
    /// The log that this data centre writes.
    pub own: Topic,
    /// Where a key's events stand.
    pub partitions: PartitionCount,
    /// Says what has expired.
    pub clock: Arc<LogClock>,
}

/// This node does not know. Never to be answered as "not there".
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotKnown {
    /// The view may be behind its log.
    #[error(transparent)]
    Stale(#[from] BarrierError),
    /// The view cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Reads {
    /// The cell of a session that a reader may see now.
    ///
    /// # Errors
    /// When this node cannot know within `patience`.
    pub async fn visible(&self, key: KeyId, patience: Duration) -> Result<Option<Arc<Cell>>, NotKnown> {
        self.freshen(key, patience).await?;
        let now = self.clock.read_now();
        Ok(self.serving.view().get(&key)?.filter(|cell| cell.visible(now).is_some()))
    }

    /// The version of the newest event of a key, whatever became of it.
    ///
    /// # Errors
    /// When this node cannot know within `patience`.
    pub async fn newest(&self, key: KeyId, patience: Duration) -> Result<Option<Version>, NotKnown> {
        self.freshen(key, patience).await?;
        Ok(self.serving.view().version(&key)?)
    }

    /// Waits until this node has applied a record of its own data centre.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or can never happen.
    pub async fn applied(&self, position: Position, patience: Duration) -> Result<(), FenceError> {
        self.fence.wait_for(&self.own, position, patience).await
    }

    async fn freshen(&self, key: KeyId, patience: Duration) -> Result<(), NotKnown> {
        match &self.freshness {
            Freshness::Dc(barrier) => Ok(barrier.pass(key.partition(self.partitions), patience).await?),
            Freshness::Node => Ok(()),
        }
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads")
            .field("own", &self.own)
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}
