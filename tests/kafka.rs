//! The log is Kafka: real brokers, from jars.
//!
//! `SOLERA_KAFKA=none` leaves these tests out. Without Java and the jars they fail otherwise.

mod chaos;
mod compaction;
mod conformance;
mod floors;
mod gaps;
mod holes;
mod load;
mod mirror;
mod misled_mirrors;
pub(crate) mod nodes;
mod rolling;
mod three;

use std::{sync::Arc, time::Duration};

use eventlog::kafka::{Cluster, KafkaLog, topics::TopicPlan};
use schemas::{PartitionCount, Topic};

use crate::harness::Kafka;

/// How long a broker may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether these tests were asked to be left out. Says so if they were.
pub(crate) fn left_out() -> bool {
    let left_out = std::env::var_os("SOLERA_KAFKA").is_some_and(|value| value == "none");
    if left_out {
        println!("LEFT OUT: a test with real Kafka, as SOLERA_KAFKA=none asks");
    }
    left_out
}

/// A plan for a topic that no other test uses.
pub(crate) fn plan(kafka: &Kafka, partitions: u32) -> TopicPlan {
    TopicPlan {
        topic: Topic { origin: kafka.dc().parse().unwrap(), store: "sessions".parse().unwrap() },
        partitions: PartitionCount::new(partitions).unwrap(),
        replication: 1,
        ttl_max: Some(Duration::from_secs(86_400)),
        tombstones: Duration::from_secs(30 * 86_400),
        compaction_lag: Duration::from_secs(6 * 3600),
        record_bytes_max: 4 * 1024 * 1024,
    }
}

/// A new topic by this plan, as a log.
pub(crate) async fn make(cluster: &Arc<Cluster>, plan: &TopicPlan) -> Arc<KafkaLog> {
    cluster.create(plan).await.unwrap();
    // Another broker, or another client, may learn of it a moment later.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match open(cluster, plan).await {
            Ok(log) => return log,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn open(
    cluster: &Arc<Cluster>,
    plan: &TopicPlan,
) -> Result<Arc<KafkaLog>, eventlog::kafka::OpenError> {
    let (cluster, topic, partitions) = (Arc::clone(cluster), plan.topic.clone(), plan.partitions);
    tokio::task::spawn_blocking(move || cluster.open(topic, partitions, PATIENCE)).await.unwrap()
}
