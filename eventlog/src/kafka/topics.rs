//! What a topic must be like for Solera's promises to hold in it, and how one is made.
//!
//! | setting | why |
//! |---|---|
//! | `cleanup.policy=compact,delete` | the log gives back the newest event of each session, and forgets what ended |
//! | `retention.ms`, `delete.retention.ms` | a tombstone outlives, in the log as in the view, everything that it covers |
//! | `message.timestamp.type=LogAppendTime` | what is destroyed goes by the broker's clock, not by a writer's |
//! | `min.compaction.lag.ms` | while nobody repairs, the last record of a session need not be the newest |
//! | `min.insync.replicas`, `unclean.leader.election.enable` | what was acknowledged survives the loss of a broker |
//! | `max.message.bytes` | a session of the largest size that a store allows is taken |

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use schemas::{PartitionCount, Topic, caps::RETENTION_SLACK};
use tokio::task::spawn_blocking;

use super::Cluster;

/// How long the cluster may take to answer, or to do what it was asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a topic is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Which topic.
    pub topic: Topic,
    /// How many partitions. Fixed for the topic's life.
    pub partitions: PartitionCount,
    /// Copies of each partition. With one, an acknowledged write is as durable as one disk.
    pub replication: u16,
    /// The longest life of a session; `None` is for ever.
    pub ttl_max: Option<Duration>,
    /// How long tombstones are kept where sessions live for ever.
    pub tombstones: Duration,
    /// The longest outage of all writers, or of a mirror, that is to be survived.
    pub compaction_lag: Duration,
    /// The largest record, in bytes.
    pub record_bytes_max: usize,
}

/// One setting of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As Kafka calls it.
    pub name: &'static str,
    /// What a new topic gets.
    pub value: String,
    need: Need,
}

/// What is needed of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Exactly the value, or a promise is broken.
    Equal,
    /// At least the value, or a promise is broken; -1 is without end.
    AtLeast,
    /// The value is better, and nothing rests on it.
    Advised,
}

/// A topic, as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Partitions.
    pub partitions: usize,
    /// Copies of the partition that has the fewest.
    pub replication: usize,
    /// Settings in force.
    pub settings: BTreeMap<String, String>,
    /// Names of the settings that were made for this topic.
    own: Vec<String>,
}

impl Found {
    /// How long the topic keeps what it holds; `None` is for ever.
    pub fn retention(&self) -> Option<Duration> {
        let millis = self.settings.get("retention.ms")?.parse().ok()?;
        Some(Duration::from_millis(millis))
    }
}

/// Where a topic is not like its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which topic.
    pub topic: String,
    /// Which setting, or `partitions`, or `replication`.
    pub setting: &'static str,
    /// What it has.
    pub found: String,
    /// What it needs.
    pub needed: String,
    /// Whether a promise is broken by it.
    pub breaks: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, found, needed, breaks } = self;
        let verb = if *breaks { "needs" } else { "would better have" };
        write!(f, "the topic {topic} has {setting}={found} and {verb} {needed}")
    }
}

impl TopicPlan {
    /// How long the topic keeps what it holds; `None` is for ever.
    pub fn retention(&self) -> Option<Duration> {
        self.ttl_max.map(|ttl| ttl + RETENTION_SLACK)
    }

    /// The settings that a topic made by this plan has.
    pub fn settings(&self) -> Vec<Setting> {
        let set = |name, value: String, need| Setting { name, value, need };
        let millis = |duration: Duration| duration.as_millis().to_string();
        let retention = self.retention().map_or_else(|| "-1".to_owned(), millis);
        let tombstones = self.retention().unwrap_or(self.tombstones);
        let policy = if self.ttl_max.is_some() { "compact,delete" } else { "compact" };
        vec![
            set("cleanup.policy", policy.to_owned(), Need::Equal),
            set("retention.ms", retention, Need::AtLeast),
            set("retention.bytes", "-1".to_owned(), Need::AtLeast),
            set("delete.retention.ms", millis(tombstones), Need::AtLeast),
            set("message.timestamp.type", "LogAppendTime".to_owned(), Need::Equal),
            set(MIN_LAG, millis(self.compaction_lag), Need::AtLeast),
            set("min.insync.replicas", (self.replication / 2 + 1).to_string(), Need::AtLeast),
            set("unclean.leader.election.enable", "false".to_owned(), Need::Equal),
            set("max.message.bytes", self.record_bytes_max.to_string(), Need::AtLeast),
            set(MAX_LAG, millis(self.compaction_lag + HOUR), Need::Advised),
            set("min.cleanable.dirty.ratio", "0.2".to_owned(), Need::Advised),
            set("segment.ms", millis(SEGMENT), Need::Advised),
            set("segment.bytes", (128 * 1024 * 1024).to_string(), Need::Advised),
        ]
    }

    /// The same plan for a topic whose compaction is held: while a mirror is down, nothing may be compacted that it has not
    /// copied. What is older than the retention concerns nobody.
    #[must_use]
    pub fn held(&self) -> Self {
        let lag = self.retention().unwrap_or(self.tombstones);
        Self { compaction_lag: self.compaction_lag.max(lag), ..self.clone() }
    }

    /// How long `found` holds back its compaction, if that is longer than planned.
    pub fn holds_back(&self, found: &Found) -> Option<Duration> {
        let lag = Duration::from_millis(found.settings.get(MIN_LAG)?.parse().ok()?);
        (self.compaction_lag < lag).then_some(lag)
    }

    /// Where `found` is not like this. One whose compaction is held back longer than planned is as it was wanted.
    pub fn compare(&self, found: &Found) -> Vec<Difference> {
        match self.holds_back(found) {
            Some(compaction_lag) => Self { compaction_lag, ..self.clone() }.compare_exactly(found),
            None => self.compare_exactly(found),
        }
    }

    fn compare_exactly(&self, found: &Found) -> Vec<Difference> {
        let topic = self.topic.to_string();
        let difference = |setting, found, needed, breaks| Difference {
            topic: topic.clone(),
            setting,
            found,
            needed,
            breaks,
        };
        let mut differences = Vec::new();
        let partitions = self.partitions.get() as usize;
        if found.partitions != partitions {
            differences.push(difference(
                "partitions",
                found.partitions.to_string(),
                partitions.to_string(),
                true,
            ));
        }
        if found.replication < usize::from(self.replication) {
            differences.push(difference(
                "replication",
                found.replication.to_string(),
                self.replication.to_string(),
                true,
            ));
        }
        for Setting { name, value, need } in self.settings() {
            let has = found.settings.get(name).map_or("nothing", String::as_str);
            if !need.is_met(&value, has) {
                let needed = if need == Need::AtLeast { format!("{value} or more") } else { value };
                differences.push(difference(name, has.to_owned(), needed, need != Need::Advised));
            }
        }
        differences
    }
}

const HOUR: Duration = Duration::from_secs(3600);

const MIN_LAG: &str = "min.compaction.lag.ms";

const MAX_LAG: &str = "max.compaction.lag.ms";

/// Compaction and retention look at whole segments, but for the one that is written.
const SEGMENT: Duration = Duration::from_secs(600);

impl Need {
    fn is_met(self, needed: &str, found: &str) -> bool {
        match self {
            Self::Equal => {
                let parts = |text: &str| {
                    let mut parts: Vec<_> = text.split(',').map(|part| part.trim().to_owned()).collect();
                    parts.sort_unstable();
                    parts
                };
                parts(found) == parts(needed)
            }
            Self::AtLeast => {
                let number = |text: &str| match text.parse::<i64>() {
                    Ok(-1) => Some(i64::MAX),
                    Ok(number) => Some(number),
                    Err(_) => None,
                };
                number(found).is_some_and(|found| number(needed).is_some_and(|needed| needed <= found))
            }
            Self::Advised => found == needed,
        }
    }
}

/// The cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// It did not answer, or did not understand.
    #[error("the cluster did not answer: {0}")]
    Cluster(#[from] KafkaError),
    /// It said no.
    #[error("the cluster did not {what} the topic {topic}: {reason}")]
    Refused {
        /// What it was asked to do.
        what: &'static str,
        /// With which topic.
        topic: String,
        /// Why it did not.
        reason: String,
    },
}

impl Cluster {
    /// What a topic is like, if it exists.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not let us look.
    pub async fn describe(self: &Arc<Self>, topic: &Topic) -> Result<Option<Found>, TopicsError> {
        let name = topic.to_string();
        let refused = |reason: RDKafkaErrorCode| TopicsError::Refused {
            what: "describe",
            topic: name.clone(),
            reason: reason.to_string(),
        };
        let (cluster, of) = (Arc::clone(self), name.clone());
        // It blocks, which no thread of a runtime may.
        let shape = spawn_blocking(move || cluster.shape(&of, PATIENCE)).await;
        let Some((partitions, replication)) = shape.map_err(|_| KafkaError::Canceled)?? else {
            return Ok(None);
        };
        let resource = ResourceSpecifier::Topic(&name);
        let described = self.admin.describe_configs([&resource], &options()).await?;
        let mut found = Found { partitions, replication, ..Found::default() };
        for of in described {
            for entry in of.map_err(refused)?.entries {
                if entry.source == ConfigSource::DynamicTopic {
                    found.own.push(entry.name.clone());
                }
                found.settings.insert(entry.name, entry.value.unwrap_or_default());
            }
        }
        if found.settings.is_empty() {
            // A broker that has not heard of the topic yet says so like this.
            let (topic, reason) =
                (name, "the broker that was asked does not know its settings yet".to_owned());
            return Err(TopicsError::Refused { what: "describe", topic, reason });
        }
        Ok(Some(found))
    }

    /// Makes a topic by its plan.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not make it.
    pub async fn create(&self, plan: &TopicPlan) -> Result<(), TopicsError> {
        let (name, settings) = (plan.topic.to_string(), plan.settings());
        let partitions = i32::try_from(plan.partitions.get()).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(i32::from(plan.replication));
        let new = settings.iter().fold(NewTopic::new(&name, partitions, replication), |new, setting| {
            new.set(setting.name, &setting.value)
        });
        for made in self.admin.create_topics([&new], &options()).await? {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, error)) => {
                    return Err(TopicsError::Refused { what: "make", topic, reason: error.to_string() });
                }
            }
        }
        Ok(())
    }

    /// Gives a topic the settings of its plan where it has others. Its number of partitions and copies stay.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not do it.
    pub async fn adjust(&self, plan: &TopicPlan, found: &Found) -> Result<(), TopicsError> {
        let compaction_lag = plan.holds_back(found).unwrap_or(plan.compaction_lag);
        let settings = TopicPlan { compaction_lag, ..plan.clone() }.settings().into_iter();
        let unmet = settings.filter(|Setting { name, value, need }| {
            !need.is_met(value, found.settings.get(*name).map_or("", String::as_str))
        });
        self.alter(plan, found, unmet.collect()).await
    }

    /// Gives a topic the compaction lag of its plan, and leaves all else.
    ///
    /// # Errors
    /// When the cluster does not answer, or does not do it.
    pub async fn set_compaction_lag(&self, plan: &TopicPlan, found: &Found) -> Result<(), TopicsError> {
        let lags = plan.settings().into_iter().filter(|setting| [MIN_LAG, MAX_LAG].contains(&setting.name));
        self.alter(plan, found, lags.collect()).await
    }

    async fn alter(
        &self,
        plan: &TopicPlan,
        found: &Found,
        settings: Vec<Setting>,
    ) -> Result<(), TopicsError> {
        let name = plan.topic.to_string();
        // What is altered replaces what the topic had of its own, so that is said again.
        let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
        for own in &found.own {
            wanted.insert(own, &found.settings[own]);
        }
        wanted.extend(settings.iter().map(|setting| (setting.name, setting.value.as_str())));
        let altered = wanted
            .into_iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |alter, (name, value)| {
                alter.set(name, value)
            });
        for done in self.admin.alter_configs([&altered], &options()).await? {
            done.map_err(|(_, error)| TopicsError::Refused {
                what: "alter",
                topic: name.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Partitions, and copies of the one that has the fewest; `None` when there is no such topic. Blocks up to `patience`.
    pub(super) fn shape(&self, name: &str, patience: Duration) -> Result<Option<(usize, usize)>, KafkaError> {
        let found = self.asker.fetch_metadata(Some(name), patience)?;
        let Some(topic) = found.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
            Some(error) => Err(KafkaError::MetadataFetch(error)),
            None => {
                let partitions = topic.partitions();
                let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
                Ok(Some((partitions.len(), copies.unwrap_or(0))))
            }
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TopicPlan {
        TopicPlan {
            topic: Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() },
            partitions: PartitionCount::new(12).unwrap(),
            replication: 3,
            ttl_max: Some(Duration::from_secs(86_400)),
            tombstones: 48 * HOUR,
            compaction_lag: 6 * HOUR,
            record_bytes_max: 1_100_000,
        }
    }

    fn as_planned(plan: &TopicPlan) -> Found {
        let settings = plan.settings().into_iter().map(|setting| (setting.name.to_owned(), setting.value));
        Found {
            partitions: plan.partitions.get() as usize,
            replication: plan.replication.into(),
            settings: settings.collect(),
            own: Vec::new(),
        }
    }

    #[test]
    fn a_topic_that_is_as_planned_has_no_difference() {
        assert_eq!(plan().compare(&as_planned(&plan())), []);
        let forever = TopicPlan { ttl_max: None, ..plan() };
        assert_eq!(forever.compare(&as_planned(&forever)), []);
    }

    #[test]
    fn what_breaks_a_promise_is_told_from_what_is_only_advised() {
        for (setting, found, breaks) in [
            ("cleanup.policy", "delete", true),
            ("cleanup.policy", "compact", true),
            ("retention.ms", "86400000", true),
            ("retention.bytes", "1000000", true),
            ("delete.retention.ms", "86400000", true),
            ("message.timestamp.type", "CreateTime", true),
            ("min.compaction.lag.ms", "0", true),
            ("min.insync.replicas", "1", true),
            ("unclean.leader.election.enable", "true", true),
            ("max.message.bytes", "1048588", true),
            ("segment.ms", "604800000", false),
            ("min.cleanable.dirty.ratio", "0.5", false),
        ] {
            let mut topic = as_planned(&plan());
            topic.settings.insert(setting.to_owned(), found.to_owned());
            let differences = plan().compare(&topic);
            assert_eq!(differences.len(), 1, "{setting}={found}");
            let Difference { setting: named, found: has, breaks: broken, .. } = &differences[0];
            assert_eq!((*named, has.as_str(), *broken), (setting, found, breaks));
        }
    }

    #[test]
    fn more_than_needed_is_no_difference() {
        for (setting, found) in [
            ("cleanup.policy", "delete, compact"),
            ("retention.ms", "-1"),
            ("retention.ms", "172800001"),
            ("min.insync.replicas", "3"),
            ("max.message.bytes", "2000000"),
        ] {
            let mut topic = as_planned(&plan());
            topic.settings.insert(setting.to_owned(), found.to_owned());
            assert_eq!(plan().compare(&topic), [], "{setting}={found}");
        }
    }

    #[test]
    fn a_topic_whose_compaction_is_held_is_as_planned() {
        let held = plan().held();
        assert_eq!(held.compaction_lag, plan().retention().unwrap());
        assert_eq!(plan().compare(&as_planned(&held)), []);
        assert_eq!(plan().holds_back(&as_planned(&held)), plan().retention());
        assert_eq!(plan().holds_back(&as_planned(&plan())), None);
        let mut other = as_planned(&held);
        other.settings.insert("segment.ms".to_owned(), "1".to_owned());
        assert_eq!(plan().compare(&other).len(), 1);
        assert_eq!(held.held(), held);
    }

    #[test]
    fn partitions_and_copies_count() {
        let found = Found { partitions: 11, replication: 2, ..as_planned(&plan()) };
        let differences = plan().compare(&found);
        assert_eq!(
            differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "the topic eqiad.sessions has partitions=11 and needs 12",
                "the topic eqiad.sessions has replication=2 and needs 3",
            ]
        );
    }

    #[test]
    fn a_tombstone_outlives_what_it_covers() {
        let retention = plan().retention().unwrap();
        assert_eq!(retention, Duration::from_secs(2 * 86_400));
        let settings = plan().settings();
        for name in ["retention.ms", "delete.retention.ms"] {
            let setting = settings.iter().find(|setting| setting.name == name).unwrap();
            assert_eq!(setting.value, retention.as_millis().to_string());
        }
    }
}
