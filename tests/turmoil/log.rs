//! A node's way to the log of its data centre, which outlives all nodes: it may get stuck, or take nothing.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use eventlog::{
    Batch, Commit, CommitResolver, EnqueueError, EventLog, Frontier, Incarnation, ReadError,
    memory::MemoryLog,
};
use futures::{future::BoxFuture, stream::BoxStream};
use schemas::{Partition, PartitionCount, Record, Topic};

/// What becomes of records on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They are stored at once.
    #[default]
    Flows,
    /// They are taken, and wait.
    Stuck,
    /// They are not taken.
    Full,
}

/// The way of one node.
pub(crate) struct NodeLog {
    log: Arc<MemoryLog>,
    way: Mutex<Way>,
}

#[derive(Default)]
struct Way {
    flow: Flow,
    waiting: Vec<(Partition, Record, CommitResolver)>,
}

impl NodeLog {
    /// A way to `log` on which everything flows.
    pub(crate) fn to(log: &Arc<MemoryLog>) -> Arc<Self> {
        Arc::new(Self { log: Arc::clone(log), way: Mutex::default() })
    }

    /// From now on. What waits is stored as soon as anything flows.
    pub(crate) fn set(&self, flow: Flow) {
        let mut way = self.way.lock().unwrap();
        way.flow = flow;
        if flow == Flow::Flows {
            for (partition, record, resolver) in way.waiting.drain(..) {
                resolver.resolve(Ok(self.log.append(partition, record)));
            }
        }
    }

    /// The node is gone, and what waits with it.
    pub(crate) fn forget(&self) {
        self.way.lock().unwrap().waiting.clear();
    }
}

impl EventLog for NodeLog {
    fn topic(&self) -> &Topic {
        self.log.topic()
    }

    fn partitions(&self) -> PartitionCount {
        self.log.partitions()
    }

    fn incarnation(&self) -> Incarnation {
        self.log.incarnation()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        let mut way = self.way.lock().unwrap();
        match way.flow {
            Flow::Flows => self.log.enqueue(partition, record),
            Flow::Stuck => {
                let (commit, resolver) = Commit::deferred();
                way.waiting.push((partition, record, resolver));
                Ok(commit)
            }
            Flow::Full => Err(EnqueueError::Full),
        }
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        Arc::clone(&self.log).read(from)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        self.log.tail()
    }
}

impl fmt::Debug for NodeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeLog({})", self.log.topic())
    }
}
