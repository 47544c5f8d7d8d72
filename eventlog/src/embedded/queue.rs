//! What waits for the writer thread: bounded in records and in bytes, and a full queue is an answer, not a wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use schemas::{
    Partition, Record,
    caps::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, SEALED_BYTES_MAX},
};

use crate::{CommitResolver, EnqueueError};

/// Bytes that may wait. Above the largest single record, so that every record can be taken by an empty queue.
const WAITING_BYTES_MAX: usize = 2 * SEALED_BYTES_MAX;

/// Records that may wait.
const WAITING_RECORDS_MAX: usize = 4 * BATCH_RECORDS_MAX;

/// A record and who waits for it.
pub(super) struct Pending {
    pub(super) partition: Partition,
    pub(super) record: Record,
    pub(super) resolver: CommitResolver,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    bytes: usize,
    closed: Option<Arc<str>>,
}

impl Queue {
    pub(super) fn push(&self, pending: Pending) -> Result<(), EnqueueError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(EnqueueError::Closed(Arc::clone(reason)));
        }
        let bytes = weight(&pending.record);
        if WAITING_RECORDS_MAX <= state.waiting.len() || WAITING_BYTES_MAX < state.bytes + bytes {
            return Err(EnqueueError::Full);
        }
        state.bytes += bytes;
        state.waiting.push_back(pending);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes nothing more; what waits is still handed out.
    pub(super) fn close(&self, reason: Arc<str>) {
        self.lock().closed.get_or_insert(reason);
        self.changed.notify_one();
    }

    /// Everything that waits, up to one batch. Blocks until something does; empty only when the queue is closed and
    /// has been handed out.
    pub(super) fn take_batch(&self) -> Vec<Pending> {
        let mut state =
            self.changed.wait_while(self.lock(), |state| state.is_idle()).expect("no holder panics");
        state.next_batch()
    }

    /// The same, but waits for `at_most` that long, and then has nothing; `None` when the queue is closed, whatever
    /// waits in it.
    pub(super) fn take_batch_within(&self, at_most: Duration) -> Option<Vec<Pending>> {
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, |state| state.is_idle());
        let (mut state, _) = waited.expect("no holder panics");
        state.closed.is_none().then(|| state.next_batch())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.closed.is_none()
    }

    fn next_batch(&mut self) -> Vec<Pending> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(pending) = self.waiting.pop_front() else { break };
            bytes += weight(&pending.record);
            batch.push(pending);
        }
        self.bytes -= bytes;
        batch
    }
}

/// What a record takes in memory, in bytes.
pub(super) fn weight(record: &Record) -> usize {
    record.key.len() + record.headers.as_bytes().len() + record.value.as_ref().map_or(0, Bytes::len)
}
