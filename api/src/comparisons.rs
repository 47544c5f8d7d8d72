//! Comparisons with another data centre that an operator asks for, and waits for.

use std::{collections::BTreeMap, sync::Arc};

use schemas::{Dc, StoreName};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use writer::peer::comparing::CellSaid;

/// How many may wait: one is made at a time.
const WAITING_MAX: usize = 8;

/// Where comparisons are asked for.
#[derive(Clone, Debug)]
pub struct Comparisons {
    orders: mpsc::Sender<CompareOrder>,
}

/// One that is to be made.
#[derive(Debug)]
pub struct CompareOrder {
    /// Of which store.
    pub store: StoreName,
    /// With which other data centre.
    pub with: Dc,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Result<Compared, NotCompared>>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Of which store.
    pub store: String,
    /// Whether no key differs.
    pub equal: bool,
    /// How many do.
    pub differing: usize,
    /// The hour since 1970 until which a cell must be kept at least for it to count.
    pub cut: u64,
    /// How many cells each has.
    pub cells: BTreeMap<String, u64>,
    /// Of the 4096 buckets, those that were looked at cell by cell, since their sums differed for a while.
    pub buckets_looked_at: usize,
    /// Keys that differ: the first thousand.
    pub keys: Vec<DifferingKey>,
}

/// A key of which two data centres do not hold the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DifferingKey {
    /// Which.
    pub key_id: String,
    /// What each holds, if anything.
    pub holds: BTreeMap<String, Option<CellSaid>>,
}

/// Nobody can say whether they agree.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotCompared {
    /// There is no such data centre.
    #[error("{0}")]
    NoSuchDc(Arc<str>),
    /// One of them does not say, or has not applied what the other wrote.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

impl Comparisons {
    /// And where orders arrive.
    pub fn new() -> (Self, mpsc::Receiver<CompareOrder>) {
        let (orders, arriving) = mpsc::channel(WAITING_MAX);
        (Self { orders }, arriving)
    }

    /// Has `store` compared with what `with` holds of it.
    ///
    /// # Errors
    /// When it cannot be.
    pub(crate) async fn compare(&self, store: StoreName, with: Dc) -> Result<Compared, NotCompared> {
        let (answer, answered) = oneshot::channel();
        let too_many = || NotCompared::Unavailable("other comparisons are waiting".into());
        let stopping = || NotCompared::Unavailable("the node is starting or stopping".into());
        let order = CompareOrder { store, with, answer };
        match self.orders.try_send(order) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(stopping())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(too_many()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopping()),
        }
    }
}
