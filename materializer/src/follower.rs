//! The only loop that moves events into state.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use eventlog::{Batch, EventLog, LogClock, ReadError};
use futures::{StreamExt, stream};
use schemas::{KeyId, MacKey, Timestamp, Topic, Version};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    Debts, Expired, Fence, Marks, Metrics, Source, View, ViewError, ViewWrite, fold, metrics::StoreMetrics,
    view::SavedLog,
};

/// How often the follower looks for contents that expired.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often a view whose disk is full is tried again. It recovers by itself, and finds out every 5 s whether it can.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// Follows the logs of one store and folds them into its view.
///
/// One follower per (store, set of partitions) folds its partitions of *all* origins' logs: two followers on one key
/// would race between reading the cell and writing it.
pub struct Follower {
    /// The log that this data centre writes.
    pub own: Arc<dyn EventLog>,
    /// The logs that are mirrored here.
    pub mirrored: Vec<Arc<dyn EventLog>>,
    /// What is folded into.
    pub view: Arc<dyn View>,
    /// What proves that a record is ours.
    pub mac: MacKey,
    /// Learns the log's time.
    pub clock: Arc<LogClock>,
    /// Learns how far the view has come.
    pub fence: Arc<Fence>,
    /// Learns what the own log owes.
    pub debts: Arc<Debts>,
    /// Learns every version that is applied, so that later ones are above it.
    pub observe: Box<dyn Fn(Version) + Send + Sync>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The view does not move any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FollowError {
    /// A log cannot be read, or is not the one that the view was made from.
    #[error("{topic}: {source}")]
    Log {
        /// Which log.
        topic: Topic,
        /// Why.
        source: ReadError,
    },
    /// The view cannot be read or written.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl Follower {
    /// Runs until `stop`, until the own log is closed and read to its end, or until a log or the disk fails.
    ///
    /// Blocks on the disk: give it a thread of its own.
    ///
    /// # Errors
    /// When the view cannot be kept up to date any more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), FollowError> {
        let fence = Arc::clone(&self.fence);
        let outcome = Apply::new(self).run(stop).await;
        fence.end();
        outcome
    }
}

/// The follower at work.
struct Apply {
    follower: Follower,
    counted: StoreMetrics,
    newest_version: Option<Version>,
    sweep_after: Option<KeyId>,
}

impl Apply {
    fn new(follower: Follower) -> Self {
        let counted = follower.metrics.of_store(follower.own.topic().store.as_str());
        Self { follower, counted, newest_version: None, sweep_after: None }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), FollowError> {
        let saved = self.follower.view.saved()?;
        self.newest_version = saved.marks.newest_version;
        self.show_debts();
        let mut batches = self.read_all(&saved.logs);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Every branch is cancel-safe: a stream keeps a batch until it is taken.
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.remember_clock(),
                _ = sweep.tick() => self.sweep()?,
                next = batches.next() => match next {
                    Some((log, Ok(batch))) => self.apply(&*log, batch, &stop).await?,
                    Some((log, Err(source))) => {
                        return Err(FollowError::Log { topic: log.topic().clone(), source });
                    }
                    None => return self.remember_clock(),
                },
            }
        }
    }

    /// All logs as one stream, from where the view is.
    fn read_all(
        &self,
        saved: &BTreeMap<Topic, SavedLog>,
    ) -> impl stream::Stream<Item = (Arc<dyn EventLog>, Result<Batch, ReadError>)> + Unpin + use<> {
        let logs = [&self.follower.own].into_iter().chain(&self.follower.mirrored);
        stream::select_all(logs.map(|log| {
            let from = saved.get(log.topic()).map(|saved| saved.frontier.clone()).unwrap_or_default();
            let of = Arc::clone(log);
            Arc::clone(log).read(from).map(move |batch| (Arc::clone(&of), batch)).boxed()
        }))
    }

    async fn apply(
        &mut self,
        log: &dyn EventLog,
        batch: Batch,
        stop: &CancellationToken,
    ) -> Result<(), FollowError> {
        let Batch { partition, entries, up_to } = batch;
        let Follower { own, mirrored: _, view, mac, clock, fence, debts, observe, metrics: _ } =
            &self.follower;
        let (topic, count) = (log.topic(), entries.len() as u64);
        let source = Source { topic, partition, is_own: topic == own.topic() };

        let changes = fold(&source, mac, entries, |key| view.version(key))?;
        let newest_append = changes.newest_append;
        clock.observe_append(newest_append);
        self.newest_version = self.newest_version.max(changes.newest_version);
        if let Some((offset, refusal)) = changes.refused.first() {
            let count = changes.refused.len();
            tracing::error!(
                "Set aside {count} records of {topic} {partition}, the first at {offset}: {refusal}"
            );
        }

        let news = debts.news(&changes.debts, clock.now());
        let write = ViewWrite {
            cells: changes.cells,
            debts: news,
            positions: vec![(topic.clone(), partition, up_to)],
            marks: self.marks(),
        };
        if !self.write(&write, stop).await? {
            return Ok(());
        }

        // IMPORTANT: whoever waits at the fence reads the view next, so the write comes first.
        debts.take(&write.debts);
        changes.newest_version.into_iter().for_each(observe);
        fence.publish(topic, partition, up_to);
        self.show_debts();
        if Timestamp::EPOCH < newest_append {
            self.counted.apply_lag_seconds.set(clock.now().since(newest_append).as_secs_f64());
        }
        self.counted.applied.inc_by(count);
        self.counted.refused.inc_by(changes.refused.len() as u64);
        Ok(())
    }

    /// Writes to the view, when there is space on its disk. Says false if it was told to stop before.
    ///
    /// What could not be written is applied already as far as the log's time goes, and nowhere else: to wait here, with
    /// the batch in hand, leaves nothing out.
    async fn write(&self, write: &ViewWrite, stop: &CancellationToken) -> Result<bool, FollowError> {
        let Follower { view, fence, own, .. } = &self.follower;
        let mut stands_still = false;
        loop {
            match view.write(write) {
                Ok(()) => break,
                Err(error @ ViewError::NoSpace(_)) => {
                    if !stands_still {
                        tracing::error!(
                            "{} is not applied until there is space on the disk: {error}",
                            own.topic()
                        );
                        fence.stands_still(error.to_string().into());
                        stands_still = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if stop.run_until_cancelled(tokio::time::sleep(TRY_EVERY)).await.is_none() {
                return Ok(false);
            }
        }
        if stands_still {
            tracing::info!("{} is applied again", own.topic());
            fence.goes_on();
        }
        Ok(true)
    }

    /// Drops the contents of some cells that expired. Only returns space: nothing is correct because of it.
    fn sweep(&mut self) -> Result<(), FollowError> {
        match self.sweep_once() {
            // There will be space another time.
            Err(FollowError::View(ViewError::NoSpace(_))) => Ok(()),
            other => other,
        }
    }

    fn sweep_once(&mut self) -> Result<(), FollowError> {
        let Follower { view, clock, debts, .. } = &self.follower;
        // Not before this node's own readers have been told that it expired, either.
        let gc_now = clock.gc_now().min(clock.last_read_now());
        let mut cells = BTreeMap::new();
        // Nothing to look for before the log's time is known, or while destruction is held.
        if Timestamp::EPOCH < gc_now {
            let Expired { stripped, next } = view.expired(self.sweep_after, gc_now)?;
            (cells, self.sweep_after) = (stripped, next);
        }
        let mut forgiven = BTreeMap::new();
        for (key, _) in debts.all() {
            // A cell that was dropped can matter to nobody: nothing is owed for it.
            if view.version(&key)?.is_none() {
                forgiven.insert(key, None);
            }
        }
        if !cells.is_empty() || !forgiven.is_empty() {
            view.write(&ViewWrite {
                cells,
                debts: forgiven.clone(),
                marks: self.marks(),
                ..ViewWrite::default()
            })?;
            debts.take(&forgiven);
            self.show_debts();
        }
        Ok(())
    }

    fn show_debts(&self) {
        self.counted.debts.set(i64::try_from(self.follower.debts.count()).unwrap_or(i64::MAX));
    }

    /// What readers were told since the last batch, for the next start.
    fn remember_clock(&self) -> Result<(), FollowError> {
        match self.follower.view.write(&ViewWrite { marks: self.marks(), ..ViewWrite::default() }) {
            // The view cannot be flushed either, then: the next start goes on from its last flush, as after a crash.
            Err(ViewError::NoSpace(_)) => Ok(()),
            other => Ok(other?),
        }
    }

    fn marks(&self) -> Marks {
        let clock = &self.follower.clock;
        Marks {
            newest_version: self.newest_version,
            newest_append: clock.newest_append(),
            read_now: clock.last_read_now(),
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("own", &self.own)
            .field("mirrored", &self.mirrored)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
