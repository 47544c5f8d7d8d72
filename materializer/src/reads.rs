//! Reads the view as fresh as its store promises.

use std::{fmt, sync::Arc, time::Duration};

use eventlog::LogClock;
use futures::future::join_all;
use prometheus::IntCounter;
use schemas::{KeyId, Partition, PartitionCount, Position, SessionTtl, Topic, Until, Version};
use tokio::time::Instant;

use crate::{
    Barrier, BarrierError, Beacons, Cell, Fence, FenceError, Outage, PROBE_EVERY, Serving, State, Sums,
    ViewError, outage::Way,
};

/// How fresh a read is.
#[derive(Debug)]
pub enum Freshness {
    /// Everything that was durable in this data centre when the read began: right over any number of nodes.
    Dc {
        /// Asks the logs where they end.
        barrier: Barrier,
        /// What to do while they do not say.
        outage: Outage,
        /// Counts reads that were answered without asking.
        served_without: IntCounter,
    },
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
    /// What it says, in sums.
    pub sums: Arc<Sums>,
    /// How far it has come, as other data centres can tell.
    pub beacons: Arc<Beacons>,
    /// The log that this data centre writes.
    pub own: Topic,
    /// Where a key's events stand.
    pub partitions: PartitionCount,
    /// Says what has expired.
    pub clock: Arc<LogClock>,
    /// The longest life of a session, also of one that was written when it might be longer.
    pub max_ttl: SessionTtl,
}

/// A session that a reader may see.
#[derive(Clone, Debug)]
pub struct Visible {
    /// Its cell.
    pub cell: Arc<Cell>,
    /// When readers stop seeing it: when it expires, or before, if sessions may not live as long any more as they might when it was
    /// written.
    pub ends: Until,
}

/// This node does not know. Never to be answered as "not there".
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotKnown {
    /// The view may be behind its log.
    #[error(transparent)]
    Stale(#[from] BarrierError),
    /// The log has not answered for a while, and is not asked for every request.
    #[error("the log has not answered for a while")]
    Outage,
    /// The view cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Reads {
    /// A session that a reader may see now.
    ///
    /// # Errors
    /// When this node cannot know within `patience`.
    pub async fn visible(&self, key: KeyId, patience: Duration) -> Result<Option<Visible>, NotKnown> {
        self.freshen(key, patience).await?;
        let now = self.clock.read_now();
        let Some(cell) = self.serving.view().get(&key)? else { return Ok(None) };
        let ends = self.end_of(&cell).filter(|ends| ends.is_after(now));
        Ok(ends.map(|ends| Visible { cell, ends }))
    }

    /// When readers stop seeing a session. `None` where there is nothing to see.
    fn end_of(&self, cell: &Cell) -> Option<Until> {
        match cell.state {
            State::Live { expires_at, .. } => {
                Some(expires_at.min(self.max_ttl.from(cell.version.hlc.time())))
            }
            State::Stripped { .. } | State::Tombstone => None,
        }
    }

    /// The version of the newest event of a key, whatever became of it. Never what was applied last in an outage: a write
    /// above that might be below one that was acknowledged elsewhere.
    ///
    /// # Errors
    /// When this node cannot know within `patience`.
    pub async fn newest(&self, key: KeyId, patience: Duration) -> Result<Option<Version>, NotKnown> {
        match self.ask(key, patience).await? {
            Asked::Fresh => {}
            Asked::InVain(_, error) => return Err(error),
        }
        Ok(self.serving.view().version(&key)?)
    }

    /// Waits until this node has applied a record of its own data centre.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or can never happen.
    pub async fn applied(&self, position: Position, patience: Duration) -> Result<(), FenceError> {
        self.fence.wait_for(&self.own, position, patience).await
    }

    /// Looks for a log that does not answer, for as long as it does not. Never ends: to be run beside the node.
    pub async fn look_for_the_log(&self) {
        let Freshness::Dc { barrier, outage, .. } = &self.freshness else {
            return std::future::pending().await;
        };
        let mut outages = outage.subscribe();
        // The sender is part of `self`.
        while outages.wait_for(|silent| !silent.is_empty()).await.is_ok() {
            // All of them: where one does not answer, others may not, and nobody has asked for them yet.
            join_all(self.partitions.all().map(|partition| self.probe(partition, barrier, outage))).await;
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    async fn probe(&self, partition: Partition, barrier: &Barrier, outage: &Outage) {
        let began = Instant::now();
        match barrier.pass(partition, PROBE_PATIENCE).await {
            Ok(()) => outage.end(partition, began),
            // The log answers, and the view is not there yet: what began ends when it is.
            Err(BarrierError::View(_)) => {}
            Err(BarrierError::Log(_) | BarrierError::Late) => drop(outage.begin(partition)),
        }
    }

    async fn freshen(&self, key: KeyId, patience: Duration) -> Result<(), NotKnown> {
        match self.ask(key, patience).await? {
            Asked::Fresh => Ok(()),
            Asked::InVain(Way::Serve, _) => {
                if let Freshness::Dc { served_without, .. } = &self.freshness {
                    served_without.inc();
                }
                Ok(())
            }
            Asked::InVain(_, error) => Err(error),
        }
    }

    /// Waits until the view is as fresh as the store promises, unless the log does not answer.
    async fn ask(&self, key: KeyId, patience: Duration) -> Result<Asked, NotKnown> {
        let Freshness::Dc { barrier, outage, .. } = &self.freshness else { return Ok(Asked::Fresh) };
        let partition = key.partition(self.partitions);
        match outage.way(partition) {
            Way::Ask => match barrier.pass(partition, patience).await {
                Ok(()) => Ok(Asked::Fresh),
                // The log says where it ends, and the view is known to be behind.
                Err(error @ BarrierError::View(_)) => Err(error.into()),
                Err(error @ (BarrierError::Log(_) | BarrierError::Late)) => {
                    Ok(Asked::InVain(outage.begin(partition), error.into()))
                }
            },
            way => Ok(Asked::InVain(way, NotKnown::Outage)),
        }
    }
}

/// What came of asking the log.
enum Asked {
    Fresh,
    /// It does not answer: what a read may do all the same, and why nothing else can be done.
    InVain(Way, NotKnown),
}

/// How long a probe may wait for the log and the view.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads")
            .field("own", &self.own)
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}
