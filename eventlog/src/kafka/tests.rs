//! The promises of [`EventLog`] over librdkafka's mock cluster, as far as it goes: it drops nothing, knows no transactions, and
//! has one time for all records, which it does not store. On a real broker the program's own tests go through all promises.

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::*;
use crate::conformance::{self, Subject};

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

/// With clients of its own, as another process would. Not by [`Cluster::open`]: this cluster does not say which id a topic has.
fn open(brokers: &MockCluster<'_, DefaultProducerContext>) -> Arc<KafkaLog> {
    let cluster = Cluster::connect(KafkaOptions {
        bootstrap_servers: brokers.bootstrap_servers(),
        options: [].into(),
        send_buffer_bytes: 32 * 1024 * 1024,
        fetch_buffer_bytes: 16 * 1024 * 1024,
        record_bytes_max: 4 * 1024 * 1024,
    });
    let cluster = cluster.expect("the options are good");
    let (topic, partitions) = (conformance::topic(), conformance::partitions());
    let name = topic.to_string();
    let leaders = Leaders::of(&name, partitions);
    leaders.look_up(&cluster.asker).expect("the cluster answers");
    let incarnation = Incarnation("mocked".into());
    Arc::new(KafkaLog { cluster, topic, name, partitions, leaders, incarnation })
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

crate::conformance_tests!(@each OnMock::new();
    order_within_a_partition_is_the_order_of_calls
    concurrent_appends_each_get_a_place_of_their_own
    a_reader_goes_on_from_its_frontier
    a_reader_that_waits_is_woken
    tail_covers_every_resolved_commit
    what_was_acknowledged_survives_a_restart
    an_empty_partition_has_a_reachable_tail
    a_position_beyond_the_end_is_out_of_range
    null_empty_and_large_values_are_kept
    more_than_one_batch_is_read_in_pieces
);
