//! Folds logs into a view that nobody reads yet: before it is served, to replace the one that is, or to compare with it.

use std::{collections::BTreeMap, sync::Arc};

use eventlog::{EventLog, Frontier, LogClock, ReadError};
use futures::{StreamExt, stream::BoxStream};
use schemas::{MacKey, Offset, Topic, Version};

use crate::{
    Census, CheckedBatch, Debts, Declared, FollowError, Gaps, Metrics, View, ViewError,
    ahead::read_ahead,
    apply::{Target, written},
    metrics::StoreMetrics,
};

/// How far into each log.
pub type Frontiers = BTreeMap<Topic, Frontier>;

/// A fold beside the one that is served. Publishes nothing.
#[derive(Debug)]
pub struct Replay {
    logs: Vec<Arc<dyn EventLog>>,
    own: Topic,
    view: Arc<dyn View>,
    mac: MacKey,
    clock: Arc<LogClock>,
    debts: Debts,
    declared: Declared,
    census: Census,
    newest_seen: Option<Version>,
    reads_ahead: bool,
    counted: Option<StoreMetrics>,
    gaps: Option<Arc<Gaps>>,
}

impl Replay {
    /// Folds `own` and the mirrored logs into `view`, from wherever that is.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn new(
        own: &Arc<dyn EventLog>,
        mirrored: &[Arc<dyn EventLog>],
        view: Arc<dyn View>,
        mac: MacKey,
        clock: Arc<LogClock>,
    ) -> Result<Self, ViewError> {
        let saved = view.saved()?;
        Ok(Self {
            logs: [own].into_iter().chain(mirrored).cloned().collect(),
            own: own.topic().clone(),
            view,
            mac,
            clock,
            debts: Debts::new(saved.debts),
            declared: Declared::new(saved.declared),
            census: saved.census,
            newest_seen: saved.marks.newest_version,
            reads_ahead: false,
            counted: None,
            gaps: None,
        })
    }

    /// Reads and checks each log on a thread of its own, while this one folds what was read before.
    #[must_use]
    pub const fn reading_ahead(mut self) -> Self {
        self.reads_ahead = true;
        self
    }

    /// Counts what it folds as a follower does.
    #[must_use]
    pub fn counted(mut self, metrics: &Metrics) -> Self {
        self.counted = Some(metrics.of_store(self.own.store.as_str()));
        self
    }

    /// Looks for what copies lack as a follower does: for a view that one is about to go on with. What is made from the
    /// beginning of a log tells nothing of that.
    #[must_use]
    pub fn looking_for_gaps(mut self, gaps: Arc<Gaps>) -> Self {
        self.gaps = Some(gaps);
        self
    }

    /// Where the logs end now.
    ///
    /// # Errors
    /// When a log does not answer.
    pub async fn tails(&self) -> Result<Frontiers, FollowError> {
        let mut tails = Frontiers::new();
        for log in &self.logs {
            let failed = |source| FollowError::Log { topic: log.topic().clone(), source };
            tails.insert(log.topic().clone(), log.tail().await.map_err(failed)?);
        }
        Ok(tails)
    }

    /// How many offsets there are from where the view is up to `bounds`.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn distance_to(&self, bounds: &Frontiers) -> Result<u64, ViewError> {
        let logs = self.view.saved()?.logs;
        let of = |(topic, bound)| match logs.get(topic) {
            Some(saved) => saved.frontier.distance_to(bound),
            None => Frontier::empty().distance_to(bound),
        };
        Ok(bounds.iter().map(of).sum())
    }

    /// Folds everything before `bounds`, and nothing from there on. Tells `report` how many offsets it has gone through
    /// since the last time, and of how many. Blocks on the disk: give it a thread of its own.
    ///
    /// # Errors
    /// When a log or the view fails, or a log is closed before.
    pub async fn up_to(
        &mut self,
        bounds: &Frontiers,
        mut report: impl FnMut(u64, u64),
    ) -> Result<(), FollowError> {
        for log in self.logs.clone() {
            let Some(bound) = bounds.get(log.topic()) else { continue };
            let mut saved = self.view.saved()?;
            let mut reached = saved.logs.remove(log.topic()).map(|log| log.frontier).unwrap_or_default();
            let total = reached.distance_to(bound);
            report(0, total);
            let mut batches = self.read(&log, reached.clone())?;
            while !reached.is_at_least(bound) {
                let failed = |source| FollowError::Log { topic: log.topic().clone(), source };
                let closed = || ReadError::Unavailable("it was closed".into());
                let batch = batches.next().await.unwrap_or_else(|| Err(closed())).map_err(failed)?;
                let Some(batch) = before(batch, &reached, bound) else { continue };
                let (partition, from) = (batch.partition, reached.get(batch.partition));
                let mut target = Target {
                    view: &*self.view,
                    hot: None,
                    debts: &self.debts,
                    declared: &self.declared,
                    census: &mut self.census,
                    gaps: self.gaps.as_deref(),
                    clock: &self.clock,
                };
                let folded = target.fold((log.topic(), &self.own), batch, self.newest_seen)?;
                self.view.write(&folded.write)?;
                written(folded.write, &self.debts, &self.declared, None);
                self.newest_seen = folded.newest_seen;
                self.counted.iter().for_each(|counted| counted.count(&folded.tally, &self.clock));
                reached.advance(partition, folded.up_to);
                report(folded.up_to.0 - from.0, total);
                // A log that is read from a disk never makes anybody wait: without this, nobody could stop us.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn read(
        &self,
        log: &Arc<dyn EventLog>,
        from: Frontier,
    ) -> Result<BoxStream<'static, Result<CheckedBatch, ReadError>>, FollowError> {
        let (log, mac) = (Arc::clone(log), self.mac.clone());
        let topic = log.topic().clone();
        if self.reads_ahead {
            return read_ahead(log, from, mac).map_err(|error| {
                let reason = format!("there is no thread to read it: {error}");
                FollowError::Log { topic, source: ReadError::Unavailable(reason.into()) }
            });
        }
        let check = move |batch| CheckedBatch::of(&topic, &mac, batch);
        Ok(log.read(from).map(move |batch| batch.map(&check)).boxed())
    }
}

/// The part of a batch that lies before `bound`, if there is any.
fn before(mut batch: CheckedBatch, reached: &Frontier, bound: &Frontier) -> Option<CheckedBatch> {
    let end: Offset = bound.get(batch.partition);
    batch.entries.retain(|entry| entry.offset < end);
    batch.up_to = batch.up_to.min(end);
    (reached.get(batch.partition) < batch.up_to).then_some(batch)
}

#[cfg(test)]
mod tests;
