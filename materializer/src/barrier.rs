//! Makes a read as fresh as the log.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use eventlog::{EventLog, Frontier, ReadError};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, try_join_all},
};
use schemas::{Offset, Partition, Topic};

use crate::{Fence, FenceError};

/// Waits until the view has applied everything that was durable when it was asked, in the logs of all data centres.
///
/// Callers that wait together share one query for the tails, and a query serves only those who came before it was sent:
///
/// ```text
///   caller 1 ─▶ query A sent ........ answered ─▶ waits for the view
///   caller 2 ──────▶ joins B, not A            ─▶ B is sent when A has been answered
///   caller 3 ─────────▶ joins B
/// ```
pub struct Barrier {
    logs: Arc<[Arc<dyn EventLog>]>,
    fence: Arc<Fence>,
    latest: Mutex<Option<Query>>,
}

/// How soon a log that could not say where it ends is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The tails of all logs, asked for once on behalf of many.
#[derive(Clone)]
struct Query {
    was_sent: Arc<AtomicBool>,
    answer: Shared<BoxFuture<'static, Answer>>,
}

type Answer = Result<Arc<[(Topic, Frontier)]>, ReadError>;

/// Nobody knows whether the view is as fresh as the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BarrierError {
    /// The logs did not say where they end.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The view did not get there.
    #[error(transparent)]
    View(#[from] FenceError),
    /// The logs did not answer in time.
    #[error("the log did not answer in time")]
    Late,
}

impl Barrier {
    /// A barrier over the logs that `fence` is published for.
    pub fn new(logs: impl Into<Arc<[Arc<dyn EventLog>]>>, fence: Arc<Fence>) -> Self {
        Self { logs: logs.into(), fence, latest: Mutex::new(None) }
    }

    /// Resolves once the view holds everything of `partition` that was durable when this was called.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or the logs do not answer.
    pub async fn pass(&self, partition: Partition, patience: Duration) -> Result<(), BarrierError> {
        let deadline = tokio::time::Instant::now() + patience;
        let tails = self.tails(deadline).await?;
        for (topic, tail) in &*tails {
            let up_to = tail.get(partition);
            if Offset::ZERO < up_to {
                let left = deadline.saturating_duration_since(tokio::time::Instant::now());
                self.fence.wait_for_all(topic, &Frontier::from_iter([(partition, up_to)]), left).await?;
            }
        }
        Ok(())
    }

    /// The same for all partitions.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub async fn pass_all(&self, patience: Duration) -> Result<(), BarrierError> {
        let deadline = tokio::time::Instant::now() + patience;
        let tails = self.tails(deadline).await?;
        for (topic, tail) in &*tails {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            self.fence.wait_for_all(topic, tail, left).await?;
        }
        Ok(())
    }

    /// Where the logs end. A log that cannot say is asked again until the deadline: a leader may just be moving.
    async fn tails(&self, deadline: tokio::time::Instant) -> Result<Arc<[(Topic, Frontier)]>, BarrierError> {
        loop {
            let answer = tokio::time::timeout_at(deadline, self.join()).await;
            let error = match answer.map_err(|_| BarrierError::Late)? {
                Ok(tails) => return Ok(tails),
                Err(error) => error,
            };
            if deadline <= tokio::time::Instant::now() + ASK_AGAIN_AFTER {
                return Err(error.into());
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// The query that will be sent next.
    fn join(&self) -> Shared<BoxFuture<'static, Answer>> {
        let mut latest = self.latest.lock().expect("no holder panics");
        if let Some(query) = latest.as_ref().filter(|query| !query.was_sent.load(Ordering::Acquire)) {
            return query.answer.clone();
        }
        let query = Query::after(latest.take(), Arc::clone(&self.logs));
        latest.insert(query).answer.clone()
    }
}

impl Query {
    /// A query that is sent when `previous` has been answered. Whoever waits for it drives both.
    fn after(previous: Option<Self>, logs: Arc<[Arc<dyn EventLog>]>) -> Self {
        let was_sent = Arc::new(AtomicBool::new(false));
        let sent = Arc::clone(&was_sent);
        let answer = async move {
            if let Some(previous) = previous {
                let _its_own_callers_see = previous.answer.await;
            }
            sent.store(true, Ordering::Release);
            // All at once: logs of one cluster share a question.
            let tails = logs.iter().map(|log| async { Ok((log.topic().clone(), log.tail().await?)) });
            Ok(try_join_all(tails).await?.into())
        };
        Self { was_sent, answer: answer.boxed().shared() }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("logs", &self.logs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
