//! A node's connection to the broker: what is sent takes time, is refused, arrives and is not answered, arrives late or
//! never, and is lost with the node.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use eventlog::{
    AppendError, Batch, Clock, Commit, CommitResolver, EnqueueError, EventLog, Frontier, Incarnation,
    ReadError,
};
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use rand::Rng;
use schemas::{Message, Partition, PartitionCount, Record, Topic, Version};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    time::sleep,
};

use super::{
    broker::Broker,
    chance::{Chance, some_ms},
    clock::SimClock,
};

/// What lies between a machine and the broker; outlives the machine's processes.
#[derive(Debug)]
pub(crate) struct Line {
    is_cut: AtomicBool,
    healed: Notify,
    /// Of the process that runs.
    traffic: Mutex<Arc<Traffic>>,
    repair_began: Arc<Notify>,
    /// Versions that other data centres asked for: what goes out with them is no repair.
    asked_for: Mutex<BTreeSet<Version>>,
}

/// What one process has sent that was not answered.
#[derive(Debug, Default)]
struct Traffic {
    records: AtomicUsize,
    /// How many of them are repairs.
    repairs: AtomicUsize,
}

impl Line {
    /// A whole line that tells `repair_began` of repairs.
    pub(crate) fn new(repair_began: &Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            is_cut: AtomicBool::new(false),
            healed: Notify::new(),
            traffic: Mutex::default(),
            repair_began: Arc::clone(repair_began),
            asked_for: Mutex::default(),
        })
    }

    /// Nothing passes from now on.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// What has been waiting passes.
    pub(crate) fn heal(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
        self.healed.notify_waiters();
    }

    /// Whether nothing passes.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Records that were sent and not answered.
    pub(crate) fn on_their_way(&self) -> usize {
        self.traffic.lock().unwrap().records.load(Ordering::Relaxed)
    }

    /// How many of them are repairs.
    pub(crate) fn repairs(&self) -> usize {
        self.traffic.lock().unwrap().repairs.load(Ordering::Relaxed)
    }

    /// Another data centre asks the machine to append something of this version.
    pub(crate) fn asks_for(&self, version: Version) {
        self.asked_for.lock().unwrap().insert(version);
    }

    /// Whoever sent something is gone.
    pub(crate) fn forget(&self) {
        *self.traffic.lock().unwrap() = Arc::default();
    }

    /// Waits until something passes.
    pub(crate) async fn whole(&self) {
        loop {
            let healed = self.healed.notified();
            tokio::pin!(healed);
            // IMPORTANT: before the look, or a healing in between would be missed.
            healed.as_mut().enable();
            if !self.is_cut() {
                return;
            }
            healed.await;
        }
    }
}

impl Traffic {
    fn sent(&self, is_repair: bool) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.repairs.fetch_add(usize::from(is_repair), Ordering::Relaxed);
    }

    fn answered(&self, is_repair: bool) {
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.repairs.fetch_sub(usize::from(is_repair), Ordering::Relaxed);
    }
}

/// One process's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    broker: Arc<Broker>,
    line: Arc<Line>,
    traffic: Arc<Traffic>,
    chance: Chance,
    outgoing: UnboundedSender<Sent>,
    /// Versions that went out: what goes out again is a repair.
    versions: Mutex<BTreeSet<Version>>,
}

#[derive(Debug)]
struct Sent {
    partition: Partition,
    record: Record,
    is_repair: bool,
    resolver: CommitResolver,
}

/// What becomes of a record on its way.
enum Fate {
    /// Stored, and so answered.
    Stored,
    /// The same, but it and all that is behind it take so long that some give up.
    Stalled,
    /// Not stored, and so answered.
    Refused,
    /// The answer is that nobody knows. It is stored.
    Silent,
    /// The same. It is stored after the answer.
    Late,
    /// The same. It is never stored.
    Gone,
}

impl Fate {
    fn choose(chance: &Chance, record: &Record) -> Self {
        // A start whose first word is not taken ends the process, which is a crash like any other.
        if matches!(record.decode(), Ok(Message::Control(_))) {
            return Self::Stored;
        }
        match chance.lock().unwrap().random_range(0..60) {
            0 => Self::Stalled,
            1 => Self::Refused,
            2 => Self::Silent,
            3 => Self::Late,
            4 => Self::Gone,
            _ => Self::Stored,
        }
    }
}

impl Connection {
    /// A connection over `line`, of a machine with this clock, and the wire that carries it, which has to run.
    pub(crate) fn open(
        broker: &Arc<Broker>,
        line: &Arc<Line>,
        chance: &Chance,
        clock: SimClock,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let (outgoing, incoming) = mpsc::unbounded_channel();
        line.forget();
        let traffic = Arc::clone(&line.traffic.lock().unwrap());
        let connection = Arc::new(Self {
            broker: Arc::clone(broker),
            line: Arc::clone(line),
            traffic: Arc::clone(&traffic),
            chance: Arc::clone(chance),
            outgoing,
            versions: Mutex::default(),
        });
        let wire = Wire {
            broker: Arc::clone(broker),
            line: Arc::clone(line),
            traffic,
            chance: Arc::clone(chance),
            clock,
        };
        (connection, wire.carry(incoming))
    }

    /// Reads a copy over `line`, which another connection writes the own topic over. Nothing can be appended.
    pub(crate) fn to_copy(copy: &Arc<Broker>, line: &Arc<Line>, chance: &Chance) -> Arc<Self> {
        let (outgoing, _nobody) = mpsc::unbounded_channel();
        Arc::new(Self {
            broker: Arc::clone(copy),
            line: Arc::clone(line),
            traffic: Arc::default(),
            chance: Arc::clone(chance),
            outgoing,
            versions: Mutex::default(),
        })
    }

    /// Whether this is no new event, but one that is appended again.
    fn is_repair(&self, record: &Record) -> bool {
        let Ok(Message::Event { event, sequence }) = record.decode() else { return false };
        let is_new = self.versions.lock().unwrap().insert(event.version);
        let is_asked_for = self.line.asked_for.lock().unwrap().contains(&event.version);
        !is_asked_for && (event.version.writer != sequence.appender || !is_new)
    }

    /// There and back, with whatever is asked.
    async fn there(&self) {
        self.line.whole().await;
        sleep(some_ms(&self.chance, 3)).await;
    }
}

struct Wire {
    broker: Arc<Broker>,
    line: Arc<Line>,
    traffic: Arc<Traffic>,
    chance: Chance,
    clock: SimClock,
}

impl Wire {
    /// Keeps the order of what was sent. Aborted, it loses what has not arrived, and the answer to what has.
    async fn carry(self, mut incoming: UnboundedReceiver<Sent>) {
        let Self { broker, line, traffic, chance, clock } = self;
        while let Some(Sent { partition, record, is_repair, resolver }) = incoming.recv().await {
            let sent = clock.wall();
            let fate = Fate::choose(&chance, &record);
            if matches!(fate, Fate::Stalled) {
                sleep(some_ms(&chance, 1_500)).await;
            }
            line.whole().await;
            sleep(some_ms(&chance, 4)).await;
            let unknown = || Err(AppendError::Unknown("the broker did not say".into()));
            let answer = match fate {
                Fate::Stored | Fate::Stalled => Ok(broker.append(partition, record, sent)),
                Fate::Refused => Err(AppendError::Refused("the broker does not take it".into())),
                Fate::Silent => {
                    broker.append(partition, record, sent);
                    unknown()
                }
                Fate::Late => {
                    let after = Duration::from_millis(5) + some_ms(&chance, 20_000);
                    broker.append_later(after, partition, record, sent);
                    unknown()
                }
                Fate::Gone => unknown(),
            };
            line.whole().await;
            sleep(some_ms(&chance, 4)).await;
            resolver.resolve(answer);
            traffic.answered(is_repair);
        }
    }
}

impl EventLog for Connection {
    fn topic(&self) -> &Topic {
        self.broker.log.topic()
    }

    fn partitions(&self) -> PartitionCount {
        self.broker.log.partitions()
    }

    fn incarnation(&self) -> Incarnation {
        self.broker.log.incarnation()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        let (commit, resolver) = Commit::deferred();
        let is_repair = self.is_repair(&record);
        let sent = self.outgoing.send(Sent { partition, record, is_repair, resolver });
        sent.map_err(|_| EnqueueError::Closed("the wire is cut".into()))?;
        self.traffic.sent(is_repair);
        if is_repair {
            self.line.repair_began.notify_one();
        }
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        let batches = Arc::clone(&self.broker.log).read(from);
        stream::unfold((self, batches), |(connection, mut batches)| async move {
            connection.line.whole().await;
            let batch = batches.next().await?;
            sleep(some_ms(&connection.chance, 30)).await;
            connection.line.whole().await;
            Some((batch, (connection, batches)))
        })
        .boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        Box::pin(async {
            self.there().await;
            let head = self.broker.log.head().await;
            self.there().await;
            head
        })
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        Box::pin(async {
            self.there().await;
            let tail = self.broker.log.tail().await;
            self.there().await;
            tail
        })
    }
}
