//! The promises of [`EventLog`] over librdkafka's mock cluster, as far as it goes: it drops nothing and knows no transactions. On
//! a real broker the program's own tests go through all of them.

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::*;
use crate::conformance::{self, Subject};

const PATIENCE: Duration = Duration::from_secs(10);

struct OnMock {
    brokers: MockCluster<'static, DefaultProducerContext>,
    log: Arc<KafkaLog>,
}

impl OnMock {
    fn new() -> Self {
        let brokers = MockCluster::new(1).expect("a cluster");
        let partitions = i32::try_from(conformance::PARTITIONS).expect("a few");
        brokers.create_topic(&conformance::topic().to_string(), partitions, 1).expect("a topic");
        let log = open(&brokers);
        Self { brokers, log }
    }
}

/// With clients of its own, as another process would.
fn open(brokers: &MockCluster<'_, DefaultProducerContext>) -> Arc<KafkaLog> {
    let cluster = Cluster::connect(KafkaOptions {
        bootstrap_servers: brokers.bootstrap_servers(),
        options: [].into(),
        send_buffer_bytes: 32 * 1024 * 1024,
        fetch_buffer_bytes: 16 * 1024 * 1024,
        record_bytes_max: 4 * 1024 * 1024,
    });
    let cluster = cluster.expect("the options are good");
    let open = || cluster.open(conformance::topic(), conformance::partitions(), PATIENCE);
    // It blocks, which no thread of a runtime may.
    std::thread::scope(|scope| scope.spawn(open).join()).expect("no panic").expect("the topic is there")
}

impl Subject for OnMock {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn restart(&mut self) {
        self.log = open(&self.brokers);
    }

    fn drop_records(&self, _: Partition, _: &[u64]) {
        unreachable!("the promises below drop nothing")
    }
}

crate::conformance_tests!(@without_drops OnMock::new());
