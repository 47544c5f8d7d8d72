//! Makes a read as fresh as the log.

use std::{fmt, sync::Arc, time::Duration};

use eventlog::{EventLog, Frontier, ReadError};
use futures::future::try_join_all;
use schemas::{Offset, Partition};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{Fence, FenceError};

/// Waits until the view has applied everything that was durable when it was asked, in the logs of all data centres.
///
/// Asks each log where it ends, for every caller anew: an answer from before is no answer. That many callers share one
/// question to a broker is the log's doing.
pub struct Barrier {
    logs: Arc<[Arc<dyn EventLog>]>,
    fence: Arc<Fence>,
}

/// How soon a log that could not say where it ends is asked again: a leader may just be moving.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

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
        Self { logs: logs.into(), fence }
    }

    /// Resolves once the view holds everything of `partition` that was durable when this was called.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or the logs do not answer.
    pub async fn pass(&self, partition: Partition, patience: Duration) -> Result<(), BarrierError> {
        let deadline = Instant::now() + patience;
        let tails = self.tails(partition, deadline).await?;
        for (log, tail) in self.logs.iter().zip(tails) {
            if Offset::ZERO < tail {
                let left = deadline.saturating_duration_since(Instant::now());
                let up_to = Frontier::from_iter([(partition, tail)]);
                self.fence.wait_for_all(log.topic(), &up_to, left).await?;
            }
        }
        Ok(())
    }

    /// Where the partition ends in each log. All are asked at once: logs of one cluster share a question.
    async fn tails(&self, partition: Partition, deadline: Instant) -> Result<Vec<Offset>, BarrierError> {
        loop {
            let asked = try_join_all(self.logs.iter().map(|log| log.tail_of(partition)));
            let error = match timeout_at(deadline, asked).await.map_err(|_| BarrierError::Late)? {
                Ok(tails) => return Ok(tails),
                Err(error) => error,
            };
            if deadline <= Instant::now() + ASK_AGAIN_AFTER {
                return Err(error.into());
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("logs", &self.logs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
