//! The only loop that moves events into the view that is served.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use eventlog::{Batch, EventLog, LogClock, ReadError};
use futures::{StreamExt, stream};
use schemas::{KeyId, MacKey, Timestamp, Topic, Version};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Beacons, Census, CheckedBatch, Class, Debts, Declared, Essences, Expired, Fence, Gaps, Metrics, Recount,
    Served, Serving, Sums, View, ViewError, ViewWrite,
    apply::{Target, marks, written},
    metrics::StoreMetrics,
    view::SavedLog,
};

/// How often the follower looks for contents that expired, and for numbers that have been missing for long.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the follower counts cells of a view that it has not counted yet, when no batch is waiting.
const COUNT_EVERY: Duration = Duration::from_millis(1);

/// How much of the view it reads for that at a time: a batch that comes meanwhile waits for it. Some 64 MB a second.
const COUNTED_BYTES: usize = 64 * 1024;

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
    /// What is folded into and read.
    pub serving: Arc<Serving>,
    /// Views that are to take the place of the one that is served.
    pub successors: mpsc::Receiver<Successor>,
    /// What proves that a record is ours.
    pub mac: MacKey,
    /// Learns the log's time.
    pub clock: Arc<LogClock>,
    /// Learns how far the view has come.
    pub fence: Arc<Fence>,
    /// Learns what the own log owes.
    pub debts: Arc<Debts>,
    /// Learns what the logs say of data centres.
    pub declared: Arc<Declared>,
    /// Learns what the view says, in sums.
    pub sums: Arc<Sums>,
    /// Learns which beacons were applied.
    pub beacons: Arc<Beacons>,
    /// Learns what the copies of other logs lack.
    pub gaps: Arc<Gaps>,
    /// Learns why, when a log does not have any more what the view would go on with: it stands still until another view
    /// takes its place.
    pub lost: watch::Sender<Option<Arc<str>>>,
    /// Learns every version that is applied, so that later ones are above it.
    pub observe: Box<dyn Fn(Version) + Send + Sync>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A view that was made from the same logs, to take the place of the one that is served.
#[derive(Debug)]
pub struct Successor {
    /// Has applied nearly all that the one before has.
    pub view: Arc<dyn View>,
    /// Resolves once it is served.
    pub served: oneshot::Sender<()>,
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
    /// What is folded into: the view that is served, or the one that is taking its place.
    into: Arc<Served>,
    /// Those of `into`.
    debts: Arc<Debts>,
    /// What it says of data centres.
    declared: Arc<Declared>,
    /// Those of `into`.
    sums: Arc<Sums>,
    /// That of `into`.
    census: Census,
    handover: Option<Handover>,
    newest_version: Option<Version>,
    sweep_after: Option<KeyId>,
}

/// What the logs bring.
type Batches = stream::SelectAll<stream::BoxStream<'static, FromLog>>;

/// What a log brought.
type FromLog = (Arc<dyn EventLog>, Result<Batch, ReadError>);

/// From the last write to the view that is served until its successor holds all that readers may have seen.
struct Handover {
    seen: BTreeMap<Topic, SavedLog>,
    served: oneshot::Sender<()>,
}

impl Apply {
    fn new(follower: Follower) -> Self {
        let counted = follower.metrics.of_store(follower.own.topic().store.as_str());
        let (into, debts) = (follower.serving.view(), Arc::clone(&follower.debts));
        let declared = Arc::clone(&follower.declared);
        let sums = Arc::clone(&follower.sums);
        Self {
            follower,
            counted,
            into,
            debts,
            declared,
            sums,
            census: Census::default(),
            handover: None,
            newest_version: None,
            sweep_after: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), FollowError> {
        let saved = self.into.view().saved()?;
        self.newest_version = saved.marks.newest_version;
        self.census = saved.census;
        self.show_debts();
        let mut batches = self.read_all(&saved.logs);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut count = tokio::time::interval(COUNT_EVERY);
        count.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Every branch is cancel-safe: a stream keeps a batch until it is taken.
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.remember_clock(),
                _ = sweep.tick() => self.sweep()?,
                Some(successor) = self.follower.successors.recv() => {
                    batches = self.hand_over_to(successor)?;
                }
                next = batches.next() => match next {
                    Some((log, Ok(batch))) => self.apply(&*log, batch, &stop).await?,
                    Some((log, Err(source))) if source.is_out_of_range() => {
                        batches = self.lose(&*log, &source);
                    }
                    Some((log, Err(source))) => {
                        return Err(FollowError::Log { topic: log.topic().clone(), source });
                    }
                    None => return self.remember_clock(),
                },
                // After the batches: who writes waits for those.
                _ = count.tick(), if self.sums.to_count_from().is_some() => self.count()?,
            }
        }
    }

    /// The view cannot go on, and never skips: nothing is applied until a successor takes its place.
    fn lose(&mut self, log: &dyn EventLog, why: &ReadError) -> Batches {
        // A successor that waits for what this view has seen may never get there: whoever made it has to begin again.
        self.handover = None;
        let Follower { fence, lost, .. } = &self.follower;
        // The successor may begin below what was applied of any of them.
        fence.forget_all();
        let why = format!("{}: {why}", log.topic());
        tracing::error!("The view has to be made anew: {why}");
        lost.send_replace(Some(why.into()));
        stream::select_all([stream::pending().boxed()])
    }

    /// All logs as one stream, from where the view is.
    fn read_all(&self, saved: &BTreeMap<Topic, SavedLog>) -> Batches {
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
        let (topic, partition) = (log.topic(), batch.partition);
        let Follower { own, mac, clock, gaps, .. } = &self.follower;
        let (debts, declared, census) = (&self.debts, &self.declared, &mut self.census);
        let (view, hot) = (self.into.view(), Some(self.into.hot()));
        let mut target = Target { view, hot, debts, declared, census, gaps: Some(gaps), clock };
        let batch = CheckedBatch::of(topic, mac, batch);
        let beacons = Beacons::in_batch(&batch);
        let folded = target.fold((topic, own.topic()), batch, self.newest_version)?;
        self.newest_version = folded.newest_seen;
        if !self.write(&folded.write, stop).await? {
            return Ok(());
        }
        self.sums.replace(self.follower.clock.gc_now(), folded.replacements());
        written(folded.write, &self.debts, &self.declared, Some(self.into.hot()));

        let Follower { clock, fence, observe, .. } = &self.follower;
        folded.newest_version.into_iter().for_each(observe);
        self.counted.count(&folded.tally, clock);
        if self.handover.is_some() {
            self.serve_when_it_holds_what_was_seen()?;
        } else {
            // IMPORTANT: whoever waits at the fence reads the view next, so the write came first.
            fence.publish(topic, partition, folded.up_to);
            self.follower.beacons.applied(topic, partition, beacons);
        }
        self.show_debts();
        Ok(())
    }

    /// From here on the successor is folded into. What was served goes on being read, and stands still, until the
    /// successor has caught up with it: a moment.
    fn hand_over_to(&mut self, successor: Successor) -> Result<Batches, FollowError> {
        let Successor { view, served } = successor;
        // A handover that has not ended is given up: what is served is still the one before it.
        let is_lost = self.follower.lost.borrow().is_some();
        // What a lost view has seen is no measure: the log may never get there again. Nobody reads it, either.
        let seen = if is_lost { BTreeMap::new() } else { self.follower.serving.view().view().saved()?.logs };
        let saved = view.saved()?;
        self.into = self.follower.serving.prepare(view);
        (self.debts, self.census) = (Arc::new(Debts::new(saved.debts)), saved.census);
        self.declared = Arc::new(Declared::new(saved.declared));
        self.sums = Arc::default();
        self.newest_version = self.newest_version.max(saved.marks.newest_version);
        self.sweep_after = None;
        self.take_gaps_along(is_lost, &saved.logs)?;
        self.handover = Some(Handover { seen, served });
        self.serve_when_it_holds_what_was_seen()?;
        Ok(self.read_all(&saved.logs))
    }

    /// What copies lack is known of the logs, not of a view: another one goes on with it. Not of logs that have lost what
    /// was seen of them.
    fn take_gaps_along(&self, is_lost: bool, places: &BTreeMap<Topic, SavedLog>) -> Result<(), FollowError> {
        let Follower { gaps, clock, .. } = &self.follower;
        if is_lost {
            gaps.begin_all(places, clock.now());
        }
        let (numbers, marks) = (gaps.all(), marks(clock, self.newest_version));
        if numbers.is_empty() {
            return Ok(());
        }
        match self.into.view().write(&ViewWrite { numbers, marks, ..ViewWrite::default() }) {
            // They come with the next batch of each partition, too.
            Err(ViewError::NoSpace(_)) => Ok(()),
            other => Ok(other?),
        }
    }

    fn serve_when_it_holds_what_was_seen(&mut self) -> Result<(), FollowError> {
        let logs = self.into.view().saved()?.logs;
        let holds = |(topic, seen): (&Topic, &SavedLog)| {
            logs.get(topic).is_some_and(|log| log.frontier.is_at_least(&seen.frontier))
        };
        let Some(handover) = self.handover.take_if(|handover| handover.seen.iter().all(holds)) else {
            return Ok(());
        };
        let Follower { serving, debts, declared, sums, fence, .. } = &self.follower;
        debts.replace_with(&self.debts);
        self.debts = Arc::clone(debts);
        declared.replace_with(&self.declared);
        self.declared = Arc::clone(declared);
        sums.replace_with(&self.sums);
        self.sums = Arc::clone(sums);
        // IMPORTANT: before the fence says that it holds more than the one before.
        serving.replace(Arc::clone(&self.into));
        for (topic, log) in &logs {
            log.frontier.iter().for_each(|(partition, up_to)| fence.publish(topic, partition, up_to));
        }
        self.follower.lost.send_if_modified(|lost| lost.take().is_some());
        let _nobody_waits = handover.served.send(());
        Ok(())
    }

    /// Writes to the view, when there is space on its disk. Says false if it was told to stop before.
    ///
    /// What could not be written is applied already as far as the log's time goes, and nowhere else: to wait here, with
    /// the batch in hand, leaves nothing out.
    async fn write(&self, write: &ViewWrite, stop: &CancellationToken) -> Result<bool, FollowError> {
        let Follower { fence, own, .. } = &self.follower;
        let mut stands_still = false;
        loop {
            match self.into.view().write(write) {
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

    /// Counts some of the cells that were there before, or that a successor came with.
    fn count(&self) -> Result<(), ViewError> {
        let Some(after) = self.sums.to_count_from() else { return Ok(()) };
        let Essences { cells, last } = self.into.view().essences(after, COUNTED_BYTES)?;
        self.sums.count(self.follower.clock.gc_now(), &cells, last);
        Ok(())
    }

    /// Drops the contents of some cells that expired, which only returns space: nothing is correct because of it. And
    /// judges what copies of logs lack.
    fn sweep(&mut self) -> Result<(), FollowError> {
        match self.sweep_once() {
            // There will be space another time.
            Err(FollowError::View(ViewError::NoSpace(_))) => Ok(()),
            other => other,
        }
    }

    fn sweep_once(&mut self) -> Result<(), FollowError> {
        let (view, debts, clock) = (self.into.view(), &self.debts, &self.follower.clock);
        // Not before this node's own readers have been told that it expired, either.
        let gc_now = clock.gc_now().min(clock.last_read_now());
        let (mut cells, mut census) = (BTreeMap::new(), Recount::new());
        // Nothing to look for before the log's time is known, or while destruction is held.
        if Timestamp::EPOCH < gc_now {
            let Expired { stripped, next } = view.expired(self.sweep_after, gc_now)?;
            (cells, self.sweep_after) = (stripped, next);
            // What is stripped has expired: it is not counted any more once its minute has passed.
            census = self.census.forget_before(gc_now);
        }
        let mut forgiven = BTreeMap::new();
        for (key, _) in debts.all() {
            // A cell that was dropped can matter to nobody: nothing is owed for it.
            if view.version(&key)?.is_none() {
                forgiven.insert(key, None);
            }
        }
        let numbers = self.follower.gaps.lapse(clock.now());
        if !cells.is_empty() || !forgiven.is_empty() || !census.is_empty() || !numbers.is_empty() {
            let marks = marks(clock, self.newest_version);
            let write = ViewWrite { cells, debts: forgiven, numbers, census, marks, ..ViewWrite::default() };
            view.write(&write)?;
            written(write, debts, &self.declared, Some(self.into.hot()));
            self.show_debts();
        }
        self.show_census();
        Ok(())
    }

    fn show_census(&self) {
        let clock = &self.follower.clock;
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let live = self.census.count(Class::Live, clock.last_read_now().max(clock.gc_now()));
        self.counted.live_sessions.set(gauge(live.cells));
        self.counted.live_bytes.set(gauge(live.bytes));
        self.counted.tombstones.set(gauge(self.census.count(Class::Tombstone, clock.gc_now()).cells));
    }

    fn show_debts(&self) {
        self.counted.debts.set(i64::try_from(self.follower.debts.count()).unwrap_or(i64::MAX));
    }

    /// What readers were told since the last batch, for the next start.
    fn remember_clock(&self) -> Result<(), FollowError> {
        let marks = marks(&self.follower.clock, self.newest_version);
        match self.into.view().write(&ViewWrite { marks, ..ViewWrite::default() }) {
            // The view cannot be flushed either, then: the next start goes on from its last flush, as after a crash.
            Err(ViewError::NoSpace(_)) => Ok(()),
            other => Ok(other?),
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
