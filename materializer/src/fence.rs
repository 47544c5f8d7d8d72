//! How far the view has come, and who waits for it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use eventlog::Frontier;
use schemas::{Offset, Partition, Position, Topic};
use tokio::sync::oneshot;

use crate::Frontiers;

/// Waits until the view has applied a position.
///
/// ```text
///   follower ── publish(topic, partition, up_to) ──▶ Fence ◀── wait_for(topic, position) ── writers and readers
/// ```
/// A waiter is woken once, when what it waits for has been applied, not at every step.
#[derive(Debug, Default)]
pub struct Fence(Mutex<Progress>);

/// A partition of one log.
type Lane = (Topic, Partition);

#[derive(Debug, Default)]
struct Progress {
    applied: BTreeMap<Lane, Offset>,
    waiting: BTreeMap<Lane, BTreeMap<Offset, Vec<oneshot::Sender<()>>>>,
    /// How many began to wait since those who gave up were last swept out.
    since_swept: usize,
    /// Why nothing is applied at the moment.
    stands_still: Option<Arc<str>>,
    ended: bool,
}

/// How many may begin to wait before those who gave up are swept out: a view that stands still costs bounded memory.
const SWEEP_AFTER: usize = 1024;

/// The view did not come that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// Not within the time that was given.
    #[error("the view did not apply the position in time")]
    Late,
    /// The follower has stopped.
    #[error("the view is not followed any more")]
    Ended,
}

impl Fence {
    /// The view has applied everything of `partition` before `up_to`.
    pub fn publish(&self, topic: &Topic, partition: Partition, up_to: Offset) {
        let mut progress = self.lock();
        let lane = (topic.clone(), partition);
        if let Some(waiting) = progress.waiting.get_mut(&lane) {
            let still_waiting = waiting.split_off(&up_to.next());
            let released = std::mem::replace(waiting, still_waiting);
            released.into_values().flatten().for_each(|waiter| {
                let _gave_up = waiter.send(());
            });
        }
        let applied = progress.applied.entry(lane).or_insert(Offset::ZERO);
        *applied = (*applied).max(up_to);
    }

    /// How far each log has been applied.
    pub fn applied(&self) -> Frontiers {
        let mut frontiers = Frontiers::new();
        for ((topic, partition), up_to) in &self.lock().applied {
            frontiers.entry(topic.clone()).or_default().advance(*partition, *up_to);
        }
        frontiers
    }

    /// What was applied counts no more: a log is another one, or has lost its end, and the view is made anew.
    pub fn forget_all(&self) {
        self.lock().applied.clear();
    }

    /// Nothing is applied until [`goes_on`](Self::goes_on), and this is why. Whoever waits goes on waiting.
    pub fn stands_still(&self, why: Arc<str>) {
        self.lock().stands_still = Some(why);
    }

    /// The view is written again.
    pub fn goes_on(&self) {
        self.lock().stands_still = None;
    }

    /// Why nothing is applied at the moment, if so.
    pub fn stands_still_because(&self) -> Option<Arc<str>> {
        self.lock().stands_still.clone()
    }

    /// Nothing will be applied any more: whoever waits learns so.
    pub fn end(&self) {
        let mut progress = self.lock();
        progress.ended = true;
        progress.waiting.clear();
    }

    /// Waits until the record at `position` has been applied.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or can never happen.
    pub async fn wait_for(
        &self,
        topic: &Topic,
        position: Position,
        patience: Duration,
    ) -> Result<(), FenceError> {
        self.wait_up_to(topic, position.partition, position.offset.next(), patience).await
    }

    /// Waits until everything that `tail` covers has been applied.
    ///
    /// # Errors
    /// When that takes longer than `patience`, or can never happen.
    pub async fn wait_for_all(
        &self,
        topic: &Topic,
        tail: &Frontier,
        patience: Duration,
    ) -> Result<(), FenceError> {
        let deadline = tokio::time::Instant::now() + patience;
        for (partition, up_to) in tail.iter() {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            self.wait_up_to(topic, partition, up_to, left).await?;
        }
        Ok(())
    }

    async fn wait_up_to(
        &self,
        topic: &Topic,
        partition: Partition,
        up_to: Offset,
        patience: Duration,
    ) -> Result<(), FenceError> {
        let Some(applied) = self.register(topic, partition, up_to)? else { return Ok(()) };
        match tokio::time::timeout(patience, applied).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(FenceError::Ended),
            Err(_) => Err(FenceError::Late),
        }
    }

    /// `None` when it has been applied already.
    fn register(
        &self,
        topic: &Topic,
        partition: Partition,
        up_to: Offset,
    ) -> Result<Option<oneshot::Receiver<()>>, FenceError> {
        let mut progress = self.lock();
        let lane = (topic.clone(), partition);
        if up_to <= progress.applied.get(&lane).copied().unwrap_or(Offset::ZERO) {
            return Ok(None);
        }
        if progress.ended {
            return Err(FenceError::Ended);
        }
        let (sender, receiver) = oneshot::channel();
        progress.since_swept += 1;
        if SWEEP_AFTER <= progress.since_swept {
            progress.since_swept = 0;
            for waiting in progress.waiting.values_mut() {
                waiting.retain(|_, waiters| {
                    waiters.retain(|waiter| !waiter.is_closed());
                    !waiters.is_empty()
                });
            }
        }
        progress.waiting.entry(lane).or_default().entry(up_to).or_default().push(sender);
        Ok(Some(receiver))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    fn topic() -> Topic {
        Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
    }

    fn position(partition: u32, offset: u64) -> Position {
        Position { partition: Partition(partition), offset: Offset(offset) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_released_when_its_position_is_applied_and_not_before() {
        let fence = Arc::new(Fence::default());
        let waiting = {
            let fence = Arc::clone(&fence);
            tokio::spawn(async move { fence.wait_for(&topic(), position(0, 5), SOON).await })
        };
        tokio::task::yield_now().await;
        fence.publish(&topic(), Partition(0), Offset(5));
        fence.publish(&topic(), Partition(1), Offset(9));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        fence.publish(&topic(), Partition(0), Offset(6));
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_been_applied_is_not_waited_for() {
        let fence = Fence::default();
        fence.publish(&topic(), Partition(0), Offset(3));
        assert_eq!(fence.wait_for(&topic(), position(0, 2), Duration::ZERO).await, Ok(()));
        assert_eq!(fence.wait_for(&topic(), position(0, 3), Duration::ZERO).await, Err(FenceError::Late));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_of_another_origin_has_a_fence_of_its_own() {
        let fence = Fence::default();
        fence.publish(&topic(), Partition(0), Offset(9));
        let other = Topic { origin: "codfw".parse().unwrap(), ..topic() };
        assert_eq!(fence.wait_for(&other, position(0, 0), Duration::ZERO).await, Err(FenceError::Late));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_releases_everybody_with_an_error() {
        let fence = Arc::new(Fence::default());
        let waiting = {
            let fence = Arc::clone(&fence);
            tokio::spawn(async move { fence.wait_for(&topic(), position(0, 5), SOON).await })
        };
        tokio::task::yield_now().await;
        fence.end();
        assert_eq!(waiting.await.unwrap(), Err(FenceError::Ended));
        assert_eq!(fence.wait_for(&topic(), position(0, 5), SOON).await, Err(FenceError::Ended));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_give_up_leave_little_behind() {
        let fence = Fence::default();
        for n in 0..10 * SWEEP_AFTER as u64 {
            assert_eq!(fence.wait_for(&topic(), position(0, n), Duration::ZERO).await, Err(FenceError::Late));
        }
        let waiting: usize = fence.lock().waiting.values().map(BTreeMap::len).sum();
        assert!(waiting <= SWEEP_AFTER, "{waiting}");
    }
}
