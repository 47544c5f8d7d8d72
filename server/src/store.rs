//! One store: its log, view, writer and readers, and who is connected to whom.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use api::Backend;
use eventlog::{EventLog, LogClock};
use futures::future::BoxFuture;
use materializer::{
    Barrier, Beacons, CellCache, Debts, Declared, Fence, FenceError, Follower, Freshness, Gaps, Outage,
    Reads, Serving, Successor, View, ViewError,
};
use schemas::{Dc, Declaration, KeyId, MacKey, Partition, Position, SessionTtl, Version, WriterId};
use tokio::sync::{mpsc, watch};
use writer::{FenceFailed, LocalView, LookFailed, Retention, Versions, WriteError, Writer, peer::Peer};

use crate::config::ReadConsistency;

/// A long log takes its time. What ends the wait for it is the end of the follower, not a clock.
pub(crate) const HOWEVER_LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a store is made of.
#[derive(Debug)]
pub struct Parts {
    /// The log that this data centre writes.
    pub own: Arc<dyn EventLog>,
    /// The logs that are mirrored here.
    pub mirrored: Vec<Arc<dyn EventLog>>,
    /// The view, at whatever positions it was left.
    pub view: Arc<dyn View>,
    /// Memory for the view's hottest cells.
    pub cells: CellCache,
    /// The store's clock.
    pub clock: Arc<LogClock>,
    /// Proves that a record is ours.
    pub mac: MacKey,
    /// How long the log keeps what it holds.
    pub retention: Retention,
    /// This process: 64 random bits.
    pub writer_id: WriterId,
    /// The other data centres of the store.
    pub peers: Vec<Arc<dyn Peer>>,
    /// How fresh reads are.
    pub read_consistency: ReadConsistency,
    /// The longest life of a session.
    pub max_ttl: SessionTtl,
    /// How long reads are served from what was applied last while the log does not answer.
    pub serve_in_outage_for: Duration,
    /// What the copies of other logs lack.
    pub gaps: Arc<Gaps>,
    /// What the follower counts.
    pub counted: materializer::Metrics,
    /// What the writer measures.
    pub measured: writer::Metrics,
}

/// A store that works as soon as its follower runs.
#[derive(Debug)]
pub struct StoreNode {
    /// Where sessions are written.
    pub writer: Arc<Writer>,
    /// Where they are read.
    pub reads: Arc<Reads>,
    /// What the own log owes.
    pub debts: Arc<Debts>,
    /// What the logs say of data centres.
    pub declared: Arc<Declared>,
    /// Takes a view that is to be served in place of the one that is.
    pub successor: mpsc::Sender<Successor>,
    /// Holds why, while the view cannot go on.
    pub lost: watch::Sender<Option<Arc<str>>>,
    /// The log that this data centre writes.
    pub own: Arc<dyn EventLog>,
    /// Those that are mirrored here.
    pub mirrored: Vec<Arc<dyn EventLog>>,
}

/// A store cannot come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A log does not say where it ends.
    #[error("the log cannot be read: {0}")]
    Log(#[from] eventlog::ReadError),
    /// The view stopped before it had caught up.
    #[error("the view did not catch up: {0}")]
    View(#[from] FenceError),
    /// A log does not have any more what the view would go on with. Another start makes the view anew.
    #[error("the view has to be made anew: {0}")]
    Lost(Arc<str>),
    /// The log does not take this node's first records.
    #[error("the log cannot be written: {0}")]
    Write(#[from] WriteError),
}

impl StoreNode {
    /// Connects the parts. The follower must run for anything to work.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn assemble(parts: Parts) -> Result<(Self, Follower), ViewError> {
        Self::assemble_with(parts, |local_view| local_view)
    }

    /// The same, with another idea of what the writer sees of the view: how the simulation breaks the look.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn assemble_with(
        parts: Parts,
        seen_by_writer: impl FnOnce(Arc<dyn LocalView>) -> Arc<dyn LocalView>,
    ) -> Result<(Self, Follower), ViewError> {
        let Parts {
            own,
            mirrored,
            view,
            cells,
            clock,
            mac,
            retention,
            writer_id,
            peers,
            read_consistency,
            max_ttl,
            serve_in_outage_for,
            gaps,
            counted,
            measured,
        } = parts;
        let logs: Vec<_> = [&own].into_iter().chain(&mirrored).cloned().collect();
        let saved = view.saved()?;

        let serving = Arc::new(Serving::new(view, cells));
        let (successor, successors) = mpsc::channel(1);
        let fence = Arc::new(Fence::default());
        for (topic, log) in &saved.logs {
            log.frontier.iter().for_each(|(partition, up_to)| fence.publish(topic, partition, up_to));
        }
        let debts = Arc::new(Debts::new(saved.debts));
        let declared = Arc::new(Declared::new(saved.declared));
        let served_without = counted.reads_without_log_of(own.topic().store.as_str());
        let freshness = match read_consistency {
            ReadConsistency::Dc => Freshness::Dc {
                barrier: Barrier::new(logs.clone(), Arc::clone(&fence)),
                outage: Outage::new(serve_in_outage_for),
                served_without,
            },
            ReadConsistency::Node => Freshness::Node,
        };
        let topics = logs.iter().map(|log| log.topic().clone()).collect();
        let reads = Arc::new(Reads {
            serving: Arc::clone(&serving),
            freshness,
            fence: Arc::clone(&fence),
            sums: Arc::default(),
            beacons: Arc::new(Beacons::of(topics, own.partitions())),
            own: own.topic().clone(),
            partitions: own.partitions(),
            clock: Arc::clone(&clock),
            max_ttl,
        });

        let versions = Versions::of(writer_id);
        saved.marks.newest_version.into_iter().for_each(|newest| versions.observe(newest));
        let local_view = seen_by_writer(Arc::new(SeenByWriter {
            reads: Arc::clone(&reads),
            declared: Arc::clone(&declared),
        }));
        let writer = Writer::new(
            Arc::clone(&own),
            local_view,
            Arc::clone(&clock),
            mac.clone(),
            retention,
            versions,
            &measured,
        );
        let writer = Arc::new(writer.with_peers(peers));
        let lost = watch::Sender::new(None);
        let observe = {
            let writer = Arc::clone(&writer);
            Box::new(move |version| writer.observe(version))
        };
        let follower = Follower {
            own,
            mirrored,
            serving,
            successors,
            mac,
            clock,
            fence,
            debts: Arc::clone(&debts),
            declared: Arc::clone(&declared),
            sums: Arc::clone(&reads.sums),
            beacons: Arc::clone(&reads.beacons),
            gaps,
            lost: lost.clone(),
            observe,
            metrics: counted,
        };
        let (own, mirrored) = (Arc::clone(&follower.own), follower.mirrored.clone());
        Ok((Self { writer, reads, debts, declared, successor, lost, own, mirrored }, follower))
    }

    /// Waits until the view has applied what the logs held when this was called, then says "alive" to the own log.
    /// Requests may come after that, not before.
    ///
    /// # Errors
    /// When the follower stops before, the log does not answer, or it drops what the view would go on with: nobody makes
    /// a view anew for a node that has not come up.
    pub async fn come_up(&self) -> Result<(), StartError> {
        let mut lost = self.lost.subscribe();
        tokio::select! {
            biased;
            caught_up = self.catch_up() => caught_up?,
            Ok(why) = lost.wait_for(Option::is_some) => {
                return Err(StartError::Lost(why.clone().unwrap_or_default()));
            }
        }
        Ok(self.writer.announce().await?)
    }

    /// What of it answers requests.
    pub fn backend(&self) -> Backend {
        Backend {
            writer: Arc::clone(&self.writer),
            reads: Arc::clone(&self.reads),
            declared: Arc::clone(&self.declared),
            log: Arc::clone(&self.own),
            copies: self.mirrored.clone(),
        }
    }

    /// Waits until the view has applied what the logs held when this was called.
    ///
    /// # Errors
    /// When the follower stops before, or the log does not answer.
    pub async fn catch_up(&self) -> Result<(), StartError> {
        for log in [&self.own].into_iter().chain(&self.mirrored) {
            let tail = log.tail().await?;
            self.reads.fence.wait_for_all(log.topic(), &tail, HOWEVER_LONG).await?;
        }
        Ok(())
    }
}

/// The view, as the writer sees it.
#[derive(Debug)]
struct SeenByWriter {
    reads: Arc<Reads>,
    declared: Arc<Declared>,
}

impl LocalView for SeenByWriter {
    fn look(&self, key: KeyId, patience: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        Box::pin(async move {
            let newest = self.reads.newest(key, patience).await;
            newest.map_err(|error| LookFailed(error.to_string().into()))
        })
    }

    fn applied(&self, position: Position, patience: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        Box::pin(async move {
            let applied = self.reads.applied(position, patience).await;
            applied.map_err(|error| FenceFailed(error.to_string().into()))
        })
    }

    fn down_in(&self, partition: Partition) -> BTreeSet<Dc> {
        self.declared.down_in(&self.reads.own, partition)
    }

    fn newest_declaration(&self, dc: &Dc) -> Option<Declaration> {
        self.declared.newest(dc)
    }

    fn stands_still(&self) -> Option<Arc<str>> {
        self.reads.fence.stands_still_because()
    }
}

#[cfg(test)]
mod tests;
