//! An append, and what must be kept until it is known what became of it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use eventlog::{AppendError, Appended, Commit};
use tokio::runtime::Handle;

/// Resolves as the commit does, and lets go of what it holds then. When it is dropped before, that is kept for as long as the
/// append goes on.
pub(crate) struct InFlight<H: Send + 'static>(Option<(Commit, H)>);

impl<H: Send + 'static> InFlight<H> {
    pub(crate) const fn of(commit: Commit, holding: H) -> Self {
        Self(Some((commit, holding)))
    }
}

// Nothing in it is pinned: the commit is polled where it is free to move.
impl<H: Send + 'static> Unpin for InFlight<H> {}

impl<H: Send + 'static> Future for InFlight<H> {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (commit, _) = self.0.as_mut().expect("it is not polled after it has resolved");
        let polled = Pin::new(commit).poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<H: Send + 'static> Drop for InFlight<H> {
    fn drop(&mut self) {
        let Some((commit, holding)) = self.0.take().filter(|_| size_of::<H>() != 0) else { return };
        // Without a runtime the process is about to end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _nobody_waits = commit.await;
                drop(holding);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use schemas::{Offset, Partition, Position, Timestamp};

    use super::*;

    fn appended() -> Appended {
        let position = Position { partition: Partition(0), offset: Offset(7) };
        Appended { position, append_time: Timestamp::from_millis(1) }
    }

    #[tokio::test]
    async fn what_is_held_is_let_go_with_the_answer() {
        let (commit, resolver) = Commit::deferred();
        let held = Arc::new(1);
        let in_flight = InFlight::of(commit, Arc::clone(&held));
        resolver.resolve(Ok(appended()));
        assert_eq!(in_flight.await.unwrap(), appended());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn what_is_held_outlasts_whoever_gave_up_until_the_append_has_ended() {
        let (commit, resolver) = Commit::deferred();
        let held = Arc::new(1);
        let in_flight = InFlight::of(commit, Arc::clone(&held));
        assert!(tokio::time::timeout(Duration::from_millis(1), in_flight).await.is_err());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&held), 2);
        drop(resolver);
        while Arc::strong_count(&held) == 2 {
            tokio::task::yield_now().await;
        }
    }
}
