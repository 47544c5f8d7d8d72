//! Opens a store: its logs, its view, and what works on them.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use api::Latch;
use eventlog::{Clock, LogClock, SystemClock};
use materializer::{Follower, GapMetrics, Gaps, Reads, View, sessions::ViewMemory};
use rand::Rng;
use schemas::{MacKey, StoreName, WriterId, caps::CLOCK_DRIFT_MAX};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    catch_up::catch_up,
    checkpoints::Checkpoints,
    config::{Config, StoreConfig},
    disk::DiskWatch,
    jobs::Workplace,
    logs::{Logs, StoreLog},
    peers::Peers,
    secrets::Secrets,
    store::{Parts, StoreNode},
    view_dir::ViewDir,
};

/// What all stores count and measure with.
pub(crate) struct Metrics {
    pub(crate) counted: materializer::Metrics,
    pub(crate) measured: writer::Metrics,
    pub(crate) missed: GapMetrics,
}

/// What every store is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) config: &'a Config,
    pub(crate) secrets: &'a Secrets,
    pub(crate) peers: Option<&'a Peers>,
    pub(crate) logs: &'a Logs,
    pub(crate) memory: &'a ViewMemory,
    pub(crate) metrics: &'a Metrics,
}

impl Opening<'_> {
    /// Opens log and view of a store, brings the view near the end of the log, and puts the store together: nothing works
    /// before its follower runs.
    pub(crate) async fn store(
        &self,
        (name, of_store): (&StoreName, &StoreConfig),
        disk: DiskWatch,
        latch: &Latch,
        stop: &CancellationToken,
    ) -> anyhow::Result<(StoreNode, Follower, Workplace)> {
        let &Self { config, secrets, peers, logs, memory, metrics } = self;
        let machine: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let waiting = |why: &str| latch.waits_for(why);
        let copies = logs.open_copies(config, (name, of_store), &machine, &disk, waiting).await?;
        let (log, retention) = logs.open(config, (name, of_store), &machine, disk, waiting).await?;
        let copied: Vec<_> = copies.iter().map(StoreLog::log).collect();
        latch.waits_for("bringing its view up to its log");
        let clock = Arc::new(LogClock::new(Arc::clone(&machine)));
        let view_dir = ViewDir {
            path: config.data_dir.join("view").join(name.as_str()),
            memory: memory.clone(),
            clock: Arc::clone(&clock),
            wall: Arc::clone(&machine),
            logs: std::iter::once(log.log()).chain(copied.iter().cloned()).collect(),
            age_max: log.view_age_max(retention),
        };
        let checkpoints = checkpoints(config, name);
        let view = Arc::new(view_dir.open(&checkpoints).await?);
        let marks = view.saved()?.marks;
        clock.remember(marks.newest_append, marks.read_now);
        warn_of_a_clock_that_was_ahead(name, marks.read_now.since(machine.wall()));

        let mac = MacKey::derive(secrets.index.expose());
        let rules = copies.iter().map(|copy| (copy.log().topic().clone(), copy.gap_rules(retention)));
        let mut gaps = Gaps::of(rules, &metrics.missed);
        if !copies.is_empty() {
            gaps = gaps.and_own(log.log().topic().clone(), &metrics.missed);
        }
        let gaps = Arc::new(gaps);
        let parts = Parts {
            own: log.log(),
            mirrored: copied,
            view: Arc::clone(&view) as Arc<dyn View>,
            cells: memory.cells.clone(),
            clock: Arc::clone(&clock),
            mac: mac.clone(),
            retention,
            writer_id: WriterId(rand::rng().random()),
            peers: peers.map(Peers::for_deletes).unwrap_or_default(),
            read_consistency: of_store.read_consistency,
            max_ttl: of_store.max_ttl,
            serve_in_outage_for: config.serve_in_outage_for,
            gaps: Arc::clone(&gaps),
            counted: metrics.counted.clone(),
            measured: metrics.measured.clone(),
        };
        catch_up(&parts, stop.clone()).await.context("bring the view up to its log")?;
        let (store, follower) = StoreNode::assemble(parts).context("read the view")?;
        let Reads { serving, fence, .. } = &*store.reads;
        for embedded in [&log].into_iter().chain(&copies) {
            let StoreLog::Embedded(embedded) = embedded else { continue };
            embedded.drop_what(if copies.is_empty() {
                Box::new(crate::droppable(Arc::clone(serving), Arc::clone(&clock), retention))
            } else {
                Box::new(crate::droppable_beside_others(Arc::clone(&clock), retention))
            });
        }
        let place = Workplace {
            name: name.clone(),
            view_dir,
            checkpoints,
            log,
            copies,
            generation: watch::Sender::new(view),
            fence: Arc::clone(fence),
            successor: store.successor.clone(),
            mac,
            clock,
            writer: Arc::clone(&store.writer),
            reads: Arc::clone(&store.reads),
            gaps,
            peers: peers.map(Peers::all).unwrap_or_default().to_vec(),
        };
        Ok((store, follower, place))
    }
}

/// Also where there are none, or none any more: those that are left can be started from.
fn checkpoints(config: &Config, store: &StoreName) -> Checkpoints {
    let keep = config.checkpoints.unwrap_or_default().keep;
    Checkpoints::new(config.data_dir.join("checkpoints").join(store.as_str()), keep)
}

/// What readers were told never goes back, so this lasts until true time has caught up.
fn warn_of_a_clock_that_was_ahead(store: &StoreName, by: Duration) {
    if CLOCK_DRIFT_MAX < by {
        tracing::warn!(
            "Readers were told a time that is {} s ahead of this machine's clock, which ran ahead or was set back. \
             Until it has caught up, sessions that are written to {store} live longer by that much",
            by.as_secs()
        );
    }
}
