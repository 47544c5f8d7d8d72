//! Folds logs into a view that nobody reads yet: to replace the one that is served, or to compare with it.

use std::{collections::BTreeMap, sync::Arc};

use eventlog::{Batch, EventLog, Frontier, LogClock, ReadError};
use futures::StreamExt;
use schemas::{MacKey, Offset, Topic, Version};

use crate::{
    Census, Debts, FollowError, View, ViewError,
    apply::{Target, written},
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
    census: Census,
    newest_seen: Option<Version>,
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
            census: saved.census,
            newest_seen: saved.marks.newest_version,
        })
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
            let saved = self.view.saved()?;
            let mut reached = saved.logs.get(log.topic()).map(|log| log.frontier.clone()).unwrap_or_default();
            let total = bound.iter().map(|(p, end)| end.0.saturating_sub(reached.get(p).0)).sum();
            report(0, total);
            let mut batches = Arc::clone(&log).read(reached.clone());
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
                    census: &mut self.census,
                    mac: &self.mac,
                    clock: &self.clock,
                };
                let from_log = (log.topic(), *log.topic() == self.own);
                let folded = target.fold(from_log, batch, self.newest_seen)?;
                self.view.write(&folded.write)?;
                written(folded.write, &self.debts, None);
                self.newest_seen = folded.newest_seen;
                reached.advance(partition, folded.up_to);
                report(folded.up_to.0 - from.0, total);
                // A log that is read from a disk never makes anybody wait: without this, nobody could stop us.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// The part of a batch that lies before `bound`, if there is any.
fn before(mut batch: Batch, reached: &Frontier, bound: &Frontier) -> Option<Batch> {
    let end: Offset = bound.get(batch.partition);
    batch.entries.retain(|entry| entry.offset < end);
    batch.up_to = batch.up_to.min(end);
    (reached.get(batch.partition) < batch.up_to).then_some(batch)
}

#[cfg(test)]
mod tests;
