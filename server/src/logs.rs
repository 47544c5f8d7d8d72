//! The log of a store: one on this machine's disk, or a topic of Kafka.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use eventlog::{
    Clock, EventLog, Incarnation, ReadError,
    embedded::{EmbeddedLog, EmbeddedOptions, KeepAll},
    kafka::{
        Cluster, KafkaLog, KafkaOptions, OpenError,
        topics::{Difference, TopicPlan},
    },
};
use futures::future::BoxFuture;
use materializer::GapRules;
use rand::Rng;
use schemas::{StoreName, Topic, caps::RETENTION_SLACK};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use writer::{Retention, Rhythm};

use crate::{
    clock_watch::StampedBy,
    config::{Config, KafkaConfig, LogConfig, StoreConfig},
    data_dir,
    disk::DiskWatch,
};

/// How long a broker may take to answer while a store is opened.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How often a topic that is not there, or a cluster that does not answer, is looked for again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How soon a log that does not answer is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Room between a session's contents and the record that carries it: the seal, headers, Kafka's own framing.
const RECORD_OVERHEAD_BYTES: usize = 256 * 1024;

/// What a topic takes at least: the stores of a node share a producer, whose batches are up to a million bytes.
const BATCH_BYTES_MAX: usize = 1_200_000;

/// The part of `memory_mb` for records on their way to Kafka, and the same for those that come from it, of each log: one
/// in this many.
const BUFFER_PART: usize = 16;

/// How long a heartbeat may take from its writer to a copy.
const HEARTBEAT_ON_ITS_WAY: Duration = Duration::from_secs(60);

/// Where the logs of this node are.
#[derive(Clone, Debug)]
pub(crate) enum Logs {
    /// On this machine's disk.
    Embedded,
    /// In a cluster.
    Kafka(Arc<Cluster>, KafkaConfig),
}

/// A log of a store: the one that this data centre writes, or the copy of one that another writes.
#[derive(Clone, Debug)]
pub(crate) enum StoreLog {
    /// On this machine's disk.
    Embedded(Arc<EmbeddedLog>),
    /// A topic, and what it is to be like.
    Kafka(Arc<KafkaLog>, TopicPlan),
}

impl Logs {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// When the options of Kafka are not options.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let LogConfig::Kafka(kafka) = &config.log else { return Ok(Self::Embedded) };
        Ok(Self::Kafka(connect(config, kafka)?, kafka.clone()))
    }

    /// What can be said of the log before it is used, once.
    pub(crate) fn warn(&self) {
        if let Self::Kafka(_, KafkaConfig { replication: 1, .. }) = self {
            tracing::warn!(
                "log.kafka.replication is 1: an acknowledged write is on the disk of one broker (durability: single)"
            );
        }
    }

    /// Says which topics a mirror has renamed, where there are other data centres. A cluster that does not answer is waited for
    /// elsewhere.
    pub(crate) async fn warn_of_renamed(&self, config: &Config) {
        let Self::Kafka(cluster, _) = self else { return };
        if config.peers.is_none() {
            return;
        }
        let all: Vec<_> = config.stores.iter().flat_map(|(name, _)| topics(config, name)).collect();
        for name in cluster.renamed(&all).await.unwrap_or_default() {
            tracing::error!("{}", is_renamed(&name));
        }
    }

    /// Opens the log of a store. Waits for a topic that is not there, and for a cluster that does not answer, and tells
    /// `waiting` what for.
    ///
    /// # Errors
    /// When the log cannot be used: a disk that fails, a topic that breaks a promise.
    pub(crate) async fn open(
        &self,
        config: &Config,
        (name, store): (&StoreName, &StoreConfig),
        clock: &Arc<dyn Clock>,
        disk: DiskWatch,
        waiting: impl Fn(&str),
    ) -> anyhow::Result<(StoreLog, Retention)> {
        match self {
            Self::Embedded => {
                let log = open_embedded(config, topic(config, name), clock, disk)?;
                let ttl_max = log.longest_ttl(store.max_ttl.duration()).context("read the log")?;
                Ok((StoreLog::Embedded(log), retention(ttl_max, store)))
            }
            Self::Kafka(cluster, kafka) => {
                let plan = plan(kafka, topic(config, name), store);
                let (log, ttl_max) = wait_for_topic(cluster, &plan, waiting).await?;
                Ok((StoreLog::Kafka(log, plan), retention(ttl_max, store)))
            }
        }
    }

    /// Opens the copies of what the other data centres write for a store, as [`open`](Self::open) does its own.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) async fn open_copies(
        &self,
        config: &Config,
        (name, store): (&StoreName, &StoreConfig),
        clock: &Arc<dyn Clock>,
        disk: &DiskWatch,
        waiting: impl Fn(&str),
    ) -> anyhow::Result<Vec<StoreLog>> {
        let mut copies = Vec::new();
        for topic in copied(config, name) {
            copies.push(match self {
                Self::Embedded => StoreLog::Embedded(open_embedded(config, topic, clock, disk.clone())?),
                Self::Kafka(cluster, kafka) => {
                    let plan = plan(kafka, topic, store);
                    let (log, _) = wait_for_topic(cluster, &plan, &waiting).await?;
                    StoreLog::Kafka(log, plan)
                }
            });
        }
        Ok(copies)
    }
}

impl StoreLog {
    /// The log, whichever it is.
    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        match self {
            Self::Embedded(log) => Arc::clone(log) as Arc<dyn EventLog>,
            Self::Kafka(log, _) => Arc::clone(log) as Arc<dyn EventLog>,
        }
    }

    /// Holds the reason once the log has failed for good. A cluster may always come back.
    pub(crate) fn failure(&self) -> Option<watch::Receiver<Option<Arc<str>>>> {
        match self {
            Self::Embedded(log) => Some(log.failure()),
            Self::Kafka(..) => None,
        }
    }

    /// Drops nothing until what this returns is dropped. What a cluster drops is what no view needs.
    pub(crate) fn keep_all(&self) -> Option<KeepAll> {
        match self {
            Self::Embedded(log) => Some(log.keep_all()),
            Self::Kafka(..) => None,
        }
    }

    /// Whose clock says when the log took a record.
    pub(crate) const fn stamped_by(&self) -> StampedBy {
        match self {
            Self::Embedded(_) => StampedBy::ThisMachine,
            Self::Kafka(..) => StampedBy::Broker,
        }
    }

    /// How old a view may be that is gone on with: `None` is any age. The embedded log drops a tombstone only when no
    /// view needs it, and where sessions expire, what an old view holds has expired when its tombstone goes.
    pub(crate) fn view_age_max(&self, retention: Retention) -> Option<Duration> {
        match (self, retention) {
            (Self::Kafka(..), Retention::Unlimited { tombstones }) => {
                Some(tombstones.saturating_sub(RETENTION_SLACK))
            }
            _ => None,
        }
    }

    /// How often those who write it say that they are alive, if others read it. Where every record costs a sync of one
    /// disk, and heartbeats are kept for days, less often: nobody but a copy learns from them.
    pub(crate) const fn rhythm(&self) -> Rhythm {
        match self {
            Self::Embedded(_) => Rhythm { busy: Duration::from_secs(10), quiet: Duration::from_secs(3600) },
            Self::Kafka(..) => Rhythm { busy: Duration::ZERO, quiet: Duration::from_secs(10) },
        }
    }

    /// By what rules a copy of it is judged to lack something. A cluster may drop what is superseded once it is older than
    /// the compaction lag. An embedded log beside others drops nothing before its retention has passed, of which a
    /// tombstone of another data centre may have up to half a day less.
    pub(crate) fn gap_rules(&self, retention: Retention) -> GapRules {
        let kept_for = match (self, retention) {
            (Self::Kafka(_, plan), _) => Some(plan.compaction_lag),
            (Self::Embedded(_), Retention::Expiring { ttl_max }) => Some(ttl_max + RETENTION_SLACK / 2),
            (Self::Embedded(_), Retention::Unlimited { .. }) => None,
        };
        let quiet = self.rhythm().quiet;
        GapRules { kept_for, heard_every: quiet + HEARTBEAT_ON_ITS_WAY, silent_after: quiet * 4 }
    }

    /// Takes nothing more, and waits for what it has taken, up to `patience`. Blocks.
    pub(crate) fn close(&self, patience: Duration) {
        match self {
            Self::Embedded(log) => log.close(),
            Self::Kafka(log, _) => {
                if !log.drain(patience) {
                    tracing::error!("{}: nobody knows what became of the last records", log.topic());
                }
            }
        }
    }
}

/// A topic of a store, and what it is to be like.
pub(crate) fn plan(kafka: &KafkaConfig, topic: Topic, store: &StoreConfig) -> TopicPlan {
    TopicPlan {
        topic,
        partitions: kafka.partitions,
        replication: kafka.replication,
        ttl_max: store.max_ttl.duration(),
        tombstones: store.tombstone_retention,
        compaction_lag: kafka.compaction_lag,
        record_bytes_max: (store.max_value_bytes + RECORD_OVERHEAD_BYTES).max(BATCH_BYTES_MAX),
    }
}

/// The topic that this data centre writes for a store.
pub(crate) fn topic(config: &Config, store: &StoreName) -> Topic {
    Topic { origin: config.dc.clone(), store: store.clone() }
}

/// All topics of a store: its own, and those that are copied here.
pub(crate) fn topics(config: &Config, store: &StoreName) -> impl Iterator<Item = Topic> {
    std::iter::once(topic(config, store)).chain(copied(config, store))
}

/// The topics that other data centres write for a store, which are copied here under the same names.
fn copied(config: &Config, store: &StoreName) -> Vec<Topic> {
    let origins = config.peers.iter().flat_map(|peers| &peers.dcs).map(|(dc, _)| dc.clone());
    origins.map(|origin| Topic { origin, store: store.clone() }).collect()
}

/// What is to be said of a topic that a mirror has renamed.
pub(crate) fn is_renamed(name: &str) -> String {
    format!(
        "the topic {name} looks like one of ours that a mirror has renamed, and nobody reads it: its \
         replication.policy.class must be org.apache.kafka.connect.mirror.IdentityReplicationPolicy; then remove the topic"
    )
}

/// The clients of the cluster. Connects to nobody yet.
///
/// # Errors
/// When the options of Kafka are not options.
pub(crate) fn connect(config: &Config, kafka: &KafkaConfig) -> anyhow::Result<Arc<Cluster>> {
    Cluster::connect(options(config, kafka)).context("log.kafka")
}

fn options(config: &Config, kafka: &KafkaConfig) -> KafkaOptions {
    let buffer = config.memory_mb as usize * 1024 * 1024 / BUFFER_PART;
    let largest = config.stores.iter().map(|(_, store)| store.max_value_bytes).max().unwrap_or_default();
    KafkaOptions {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        options: kafka.options.clone(),
        send_buffer_bytes: buffer,
        fetch_buffer_bytes: buffer,
        record_bytes_max: largest + RECORD_OVERHEAD_BYTES,
    }
}

/// The topic once it is there and keeps what Solera promises, and the longest life of a session in it.
async fn wait_for_topic(
    cluster: &Arc<Cluster>,
    plan: &TopicPlan,
    waiting: impl Fn(&str),
) -> anyhow::Result<(Arc<KafkaLog>, Option<Duration>)> {
    let mut said = String::new();
    loop {
        let why = match look_for_topic(cluster, plan).await? {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        if said != why {
            waiting(&why);
            tracing::warn!("{why}");
            said = why;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The inner error is one that may pass.
async fn look_for_topic(
    cluster: &Arc<Cluster>,
    plan: &TopicPlan,
) -> anyhow::Result<Result<(Arc<KafkaLog>, Option<Duration>), String>> {
    let missing = || format!("the topic {} does not exist: run `solera topics apply`", plan.topic);
    let found = match cluster.describe(&plan.topic).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Err(missing())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (broken, advised): (Vec<_>, Vec<_>) =
        plan.compare(&found).into_iter().partition(|difference| difference.breaks);
    if !broken.is_empty() {
        let broken: Vec<_> = broken.iter().map(Difference::to_string).collect();
        bail!("{}. `solera topics apply` mends settings", broken.join("; "));
    }
    let (cluster, topic, partitions) = (Arc::clone(cluster), plan.topic.clone(), plan.partitions);
    let open = move || cluster.open(topic, partitions, ANSWERED_WITHIN);
    match spawn_blocking(open).await.context("open the topic")? {
        Ok(log) => {
            for difference in advised {
                tracing::warn!("{difference}");
            }
            Ok(Ok((log, longest_ttl(plan, found.retention()))))
        }
        Err(OpenError::Missing(_)) => Ok(Err(missing())),
        Err(error @ OpenError::Unavailable { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// What the topic keeps decides how long an event is to be kept: it may keep more than the configuration asks for.
fn longest_ttl(plan: &TopicPlan, kept: Option<Duration>) -> Option<Duration> {
    let kept = kept.map(|kept| kept.saturating_sub(RETENTION_SLACK));
    plan.ttl_max.map(|ttl_max| kept.unwrap_or(ttl_max).max(ttl_max))
}

/// Asks a log until it answers: a broker may be away for a while.
pub(crate) async fn patiently<'a, T>(
    log: &Arc<dyn EventLog>,
    mut ask: impl FnMut() -> BoxFuture<'a, Result<T, ReadError>>,
) -> anyhow::Result<T> {
    let mut was_said = false;
    loop {
        match ask().await {
            Err(ReadError::Unavailable(why)) => {
                if !was_said {
                    tracing::warn!(
                        "{} does not say where it begins and ends, and is asked again: {why}",
                        log.topic()
                    );
                    was_said = true;
                }
                sleep(ASK_AGAIN_AFTER).await;
            }
            answer => return answer.with_context(|| format!("ask {} for its ends", log.topic())),
        }
    }
}

fn open_embedded(
    config: &Config,
    topic: Topic,
    clock: &Arc<dyn Clock>,
    disk: DiskWatch,
) -> anyhow::Result<Arc<EmbeddedLog>> {
    let LogConfig::Embedded { partitions } = config.log else { bail!("the log is not embedded") };
    let dir = config.data_dir.join("log").join(topic.to_string());
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let parent = config.data_dir.join("log");
    data_dir::sync(&parent).with_context(|| format!("sync {}", parent.display()))?;
    let incarnation = Incarnation(format!("{:032x}", rand::rng().random::<u128>()).into());
    let options = EmbeddedOptions {
        topic,
        partitions,
        incarnation_if_new: incarnation,
        clock: Arc::clone(clock),
        has_room: Box::new(move || disk.has_room()),
    };
    Ok(EmbeddedLog::open(&dir, options)?)
}

fn retention(longest_ttl: Option<Duration>, store: &StoreConfig) -> Retention {
    let unlimited = Retention::Unlimited { tombstones: store.tombstone_retention };
    longest_ttl.map_or(unlimited, |ttl_max| Retention::Expiring { ttl_max })
}
