//! A node's connection to the shared log: what is sent takes time, and is lost with the node or answered late.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use eventlog::{
    Batch, Commit, CommitResolver, EnqueueError, EventLog, Frontier, Incarnation, ReadError,
    memory::MemoryLog,
};
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use rand::{Rng, rngs::StdRng};
use schemas::{Partition, PartitionCount, Record, Topic};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::sleep,
};

/// Chance, shared by everything in a world.
pub(crate) type Chance = Arc<Mutex<StdRng>>;

/// Some milliseconds below `below`.
pub(crate) fn some_ms(chance: &Chance, below: u64) -> Duration {
    Duration::from_millis(chance.lock().unwrap().random_range(0..below))
}

/// One node's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    broker: Arc<MemoryLog>,
    chance: Chance,
    outgoing: UnboundedSender<Sent>,
}

#[derive(Debug)]
struct Sent {
    partition: Partition,
    record: Record,
    resolver: CommitResolver,
}

impl Connection {
    /// A connection and the wire that carries it, which has to run.
    pub(crate) fn open(
        broker: &Arc<MemoryLog>,
        chance: &Chance,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let (outgoing, incoming) = mpsc::unbounded_channel();
        let wire = carry(incoming, Arc::clone(broker), Arc::clone(chance));
        (Arc::new(Self { broker: Arc::clone(broker), chance: Arc::clone(chance), outgoing }), wire)
    }
}

/// Keeps the order of what was sent. Aborted, it loses what has not arrived, and the answer to what has.
async fn carry(mut incoming: UnboundedReceiver<Sent>, broker: Arc<MemoryLog>, chance: Chance) {
    while let Some(Sent { partition, record, resolver }) = incoming.recv().await {
        sleep(some_ms(&chance, 4)).await;
        let appended = broker.append(partition, record);
        sleep(some_ms(&chance, 4)).await;
        resolver.resolve(Ok(appended));
    }
}

impl EventLog for Connection {
    fn topic(&self) -> &Topic {
        self.broker.topic()
    }

    fn partitions(&self) -> PartitionCount {
        self.broker.partitions()
    }

    fn incarnation(&self) -> Incarnation {
        self.broker.incarnation()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        let (commit, resolver) = Commit::deferred();
        let sent = self.outgoing.send(Sent { partition, record, resolver });
        sent.map_err(|_| EnqueueError::Closed("the wire is cut".into()))?;
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        let chance = Arc::clone(&self.chance);
        let late = move |batch| {
            let delay = some_ms(&chance, 30);
            async move {
                sleep(delay).await;
                batch
            }
        };
        Arc::clone(&self.broker).read(from).then(late).boxed()
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        Box::pin(async {
            sleep(some_ms(&self.chance, 3)).await;
            let tail = self.broker.tail().await;
            sleep(some_ms(&self.chance, 3)).await;
            tail
        })
    }
}
