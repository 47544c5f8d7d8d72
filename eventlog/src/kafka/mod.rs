//! A log that is a topic of Kafka.
//!
//! ```text
//!   enqueue ─▶ producer (librdkafka) ─▶ broker ─▶ delivery report: the commit resolves
//!   read    ◀─ reader, a thread for each ◀─────── broker
//!   tail    ◀─ ends, one question to a broker for all who wait
//! ```
//! A position is an offset of Kafka's. Offsets have holes (compaction, markers of transactions), so how far a reader got is
//! what the consumer says, not the last record.
//!
//! Whether a topic keeps what Solera promises is looked at in [`topics`], not here.

mod ends;
mod ffi;
mod options;
mod producer;
mod reader;
mod renamed;
pub mod topics;

use std::{fmt, io, sync::Arc, time::Duration};

use futures::{
    future::{BoxFuture, try_join_all},
    stream::BoxStream,
};
use rdkafka::{
    ClientContext,
    admin::AdminClient,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use schemas::{Offset, Partition, PartitionCount, Record, Topic};
use tokio::sync::oneshot;

pub use self::options::{KafkaOptions, RESERVED};
use self::{
    ends::{Answer, End, Ends, Leaders},
    producer::Producer,
};
use crate::{Batch, Commit, EnqueueError, EventLog, Frontier, Incarnation, ReadError};

/// A cluster of brokers, with the clients that all its logs share.
pub struct Cluster {
    options: KafkaOptions,
    asker: Arc<BaseConsumer<Asker>>,
    admin: AdminClient<Asker>,
    ends: Ends,
    producer: Producer,
}

/// A topic of a cluster.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    topic: Topic,
    /// The topic's name, as Kafka knows it.
    name: String,
    partitions: PartitionCount,
    leaders: Arc<Leaders>,
    incarnation: Incarnation,
}

/// The clients of a cluster cannot be made: nothing was asked of a broker yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An option that a promise rests on.
    #[error("the option {0} is Solera's own to set: leave it out")]
    Reserved(String),
    /// librdkafka does not take the options.
    #[error("{0}")]
    Options(KafkaError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cluster does not have it.
    #[error("the topic {0} does not exist")]
    Missing(String),
    /// No broker answers, or not with what was asked for.
    #[error("the cluster did not say what the topic {topic} is like: {reason}")]
    Unavailable {
        /// Which topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// The number of partitions of a topic never changes.
    #[error(
        "the topic {topic} has {found} partitions and the configuration says {asked}: a topic keeps the number that it was \
         made with"
    )]
    Partitions {
        /// Which topic.
        topic: String,
        /// As it is.
        found: usize,
        /// As configured.
        asked: u32,
    },
}

impl Cluster {
    /// Makes the clients. Connects to nobody yet.
    ///
    /// # Errors
    /// When an option is not one, or is Solera's own.
    pub fn connect(options: KafkaOptions) -> Result<Arc<Self>, ConnectError> {
        if let Some(name) = options.reserved() {
            return Err(ConnectError::Reserved(name.to_owned()));
        }
        let asker = options.asker().create_with_context(Asker).map_err(ConnectError::Options)?;
        let asker = Arc::new(asker);
        let admin =
            AdminClient::from_config_and_context(&options.asker(), Asker).map_err(ConnectError::Options)?;
        let ends = Ends::start(Arc::clone(&asker)).map_err(ConnectError::Thread)?;
        let producer = Producer::start(options.producer()).map_err(ConnectError::Options)?;
        Ok(Arc::new(Self { options, asker, admin, ends, producer }))
    }

    /// The log in a topic that exists. Blocks for as long as the brokers take to answer, a few times `patience` at most. Must
    /// not be called on a thread of a runtime.
    ///
    /// # Errors
    /// When the topic does not exist, has another number of partitions, or no broker answers.
    pub fn open(
        self: &Arc<Self>,
        topic: Topic,
        partitions: PartitionCount,
        patience: Duration,
    ) -> Result<Arc<KafkaLog>, OpenError> {
        let name = topic.to_string();
        let unavailable = |reason: String| OpenError::Unavailable { topic: name.clone(), reason };
        let shape = self.shape(&name, patience).map_err(|error| unavailable(error.to_string()))?;
        let Some((count, _)) = shape else { return Err(OpenError::Missing(name)) };
        if u32::try_from(count) != Ok(partitions.get()) {
            return Err(OpenError::Partitions { topic: name, found: count, asked: partitions.get() });
        }
        let incarnation = self.incarnation(&name, patience).map_err(unavailable)?;
        let leaders = Leaders::of(&name, partitions);
        leaders.look_up(&self.asker).map_err(|error| unavailable(error.to_string()))?;
        let log = KafkaLog {
            cluster: Arc::clone(self),
            topic,
            name: name.clone(),
            partitions,
            leaders,
            incarnation,
        };
        // The first question takes longer: nobody is connected yet to those who lead.
        for (_, answer) in log.ask_all(End::Tail) {
            let answer = answer.blocking_recv().unwrap_or_else(|_| Err(stopped()));
            answer.map_err(|error| unavailable(error.to_string()))?;
        }
        self.ends.watch(&log.leaders);
        Ok(Arc::new(log))
    }

    /// Which life of a topic this is: another one after it was deleted and made again, or in another cluster.
    fn incarnation(&self, name: &str, patience: Duration) -> Result<Incarnation, String> {
        let client = self.asker.client();
        let cluster = client.fetch_cluster_id(patience).ok_or("the cluster did not say its id")?;
        Ok(Incarnation(format!("{cluster}/{}", ffi::topic_id(client, name, patience)?).into()))
    }
}

impl KafkaLog {
    /// Waits until every record that was taken, by any log of the cluster, has been answered for, or for so long. Returns
    /// whether all were. Blocks.
    pub fn drain(&self, patience: Duration) -> bool {
        self.cluster.producer.drain(patience)
    }

    /// The cluster that it is in.
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Whether the topic is still the one that was opened; `None` when the cluster does not say. Blocks for as long as
    /// it takes to answer, at most twice `patience`.
    pub fn is_still_itself(&self, patience: Duration) -> Option<bool> {
        let now = self.cluster.incarnation(&self.name, patience).ok()?;
        Some(now == self.incarnation)
    }

    /// Asks for one end of each partition.
    fn ask_all(&self, of: End) -> Vec<(Partition, oneshot::Receiver<Answer>)> {
        let ask = |partition| (partition, self.cluster.ends.ask(of, &self.leaders, partition));
        self.partitions.all().map(ask).collect()
    }

    async fn end_of(&self, of: End, partition: Partition) -> Result<Offset, ReadError> {
        let answer = self.cluster.ends.ask(of, &self.leaders, partition);
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn ends(&self, of: End) -> Result<Frontier, ReadError> {
        let end_of = |partition| async move { Ok((partition, self.end_of(of, partition).await?)) };
        Ok(try_join_all(self.partitions.all().map(end_of)).await?.into_iter().collect())
    }
}

impl EventLog for KafkaLog {
    fn topic(&self) -> &Topic {
        &self.topic
    }

    fn partitions(&self) -> PartitionCount {
        self.partitions
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation.clone()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        assert!(
            partition.0 < self.partitions.get(),
            "partition {partition} of {} does not exist",
            self.topic
        );
        let (commit, resolver) = Commit::deferred();
        self.cluster.producer.send(&self.name, partition, &record, resolver)?;
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        reader::stream(self, from)
    }

    fn head(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        Box::pin(self.ends(End::Head))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        Box::pin(self.ends(End::Tail))
    }

    fn tail_of(&self, partition: Partition) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(self.end_of(End::Tail, partition))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options may hold a password.
        f.debug_struct("Cluster")
            .field("bootstrap_servers", &self.options.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaLog({})", self.topic)
    }
}

/// A partition, as librdkafka numbers it. There are never as many as would not fit.
fn number(Partition(partition): Partition) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn stopped() -> ReadError {
    ReadError::Unavailable("the client of Kafka has stopped".into())
}

/// What clients that do not write say to our log.
struct Asker;

impl ClientContext for Asker {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("Kafka: {error}: {reason}");
    }
}

impl ConsumerContext for Asker {}

/// A line of librdkafka's, in ours. What it calls an error is often one that it gets over by itself.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!("Kafka: {facility}: {message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!("Kafka: {facility}: {message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!("Kafka: {facility}: {message}"),
        RDKafkaLogLevel::Debug => tracing::debug!("Kafka: {facility}: {message}"),
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests;
