//! An append that is not durable yet.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use schemas::{Position, Timestamp};
use tokio::sync::oneshot;

use crate::AppendError;

/// A record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where.
    pub position: Position,
    /// When, by the log's clock: a broker's, or the machine's for a log without one.
    pub append_time: Timestamp,
}

/// Resolves once the record is durable, or known not to be, or given up on. Dropping it does not cancel the append.
#[derive(Debug)]
#[must_use = "an append is not durable before its commit resolves"]
pub struct Commit(oneshot::Receiver<Result<Appended, AppendError>>);

impl Commit {
    /// A commit and the handle that resolves it.
    pub fn deferred() -> (Self, CommitResolver) {
        let (sender, receiver) = oneshot::channel();
        (Self(receiver), CommitResolver(sender))
    }
}

impl Future for Commit {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A resolver that was dropped says nothing about the record: it may have been stored.
        Pin::new(&mut self.0)
            .poll(context)
            .map(|resolved| resolved.unwrap_or_else(|_| Err(AppendError::abandoned())))
    }
}

/// Resolves one [`Commit`]. Dropped without a word, it leaves the outcome unknown.
#[derive(Debug)]
pub struct CommitResolver(oneshot::Sender<Result<Appended, AppendError>>);

impl CommitResolver {
    /// Answers. Nobody need be waiting any more.
    pub fn resolve(self, outcome: Result<Appended, AppendError>) {
        let _nobody_waits = self.0.send(outcome);
    }
}
