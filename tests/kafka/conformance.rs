//! The promises of `EventLog` over a real broker. What the suite wants dropped from the middle of a log is in `holes`.

use std::sync::Arc;

use eventlog::{
    EventLog,
    conformance::{PARTITIONS, Subject},
    kafka::{Cluster, KafkaLog, topics::TopicPlan},
};
use rdkafka::Offset;
use schemas::Partition;

use crate::harness::Kafka;

struct OnKafka {
    plan: TopicPlan,
    cluster: Arc<Cluster>,
    log: Arc<KafkaLog>,
}

impl OnKafka {
    async fn new() -> Self {
        let kafka = tokio::task::spawn_blocking(Kafka::shared).await.unwrap();
        let (cluster, plan) = (kafka.cluster(), super::plan(kafka, PARTITIONS));
        let log = super::make(&cluster, &plan).await;
        Self { plan, cluster, log }
    }
}

impl Subject for OnKafka {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn restart(&mut self) {
        // The broker outlives its clients.
        self.cluster = Kafka::shared().cluster();
        let open =
            || self.cluster.open(self.plan.topic.clone(), self.plan.partitions, super::PATIENCE).unwrap();
        // It blocks, which no thread of a runtime may.
        self.log = std::thread::scope(|scope| scope.spawn(open).join().unwrap());
    }

    fn drop_records(&self, partition: Partition, offsets: &[u64]) {
        // Retention takes a beginning.
        assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "{offsets:?}");
        let (count, partition) = (i64::try_from(offsets.len()).unwrap(), i32::try_from(partition.0).unwrap());
        let trim = || Kafka::shared().trim(&self.plan.topic.to_string(), partition, Offset::Offset(count));
        std::thread::scope(|scope| scope.spawn(trim).join().unwrap());
    }
}

/// A log, or the end of the test.
macro_rules! on_kafka {
    () => {{
        if super::left_out() {
            return;
        }
        OnKafka::new().await
    }};
}

eventlog::conformance_tests!(@without_drops on_kafka!());
eventlog::conformance_tests!(@each on_kafka!(); a_partition_emptied_by_retention_has_a_reachable_tail);
