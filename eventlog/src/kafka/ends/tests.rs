use std::time::Instant;

use futures::future::join_all;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::*;
use crate::kafka::KafkaOptions;

const TOPIC: &str = "eqiad.sessions";
const PATIENCE: Duration = Duration::from_secs(20);

/// Three brokers in this process, each of which leads one partition.
struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    client: Arc<BaseConsumer<Asker>>,
    ends: Ends,
    topic: Arc<Leaders>,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        for partition in 0..3 {
            cluster.partition_leader(TOPIC, partition, Some(partition + 1)).unwrap();
        }
        let options = KafkaOptions {
            bootstrap_servers: cluster.bootstrap_servers(),
            options: BTreeMap::new(),
            send_buffer_bytes: 1024 * 1024,
            fetch_buffer_bytes: 1024 * 1024,
            record_bytes_max: 1024 * 1024,
        };
        let client = Arc::new(options.asker().create_with_context(Asker).unwrap());
        let topic = Leaders::of(TOPIC, PartitionCount::new(3).unwrap());
        topic.look_up(&client).unwrap();
        Self { cluster, ends: Ends::start(Arc::clone(&client)).unwrap(), client, topic }
    }

    async fn tail_of(&self, partition: u32) -> Answer {
        let answer = self.ends.ask(End::Tail, &self.topic, Partition(partition));
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer").expect("a lane")
    }

    /// Until a broker is connected, its first answer takes longer.
    async fn warm_up(&self) {
        for partition in 0..3 {
            while self.tail_of(partition).await.is_err() {}
        }
    }
}

#[tokio::test]
async fn those_who_wait_share_a_question() {
    let mock = Mock::new();
    mock.warm_up().await;
    let round_trip = Duration::from_millis(200);
    mock.cluster.broker_round_trip_time(1, round_trip).unwrap();
    let began = Instant::now();
    let answers = join_all((0..100).map(|_| mock.tail_of(0))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Offset(0)))), "{answers:?}");
    // One question for the first, one for all others.
    assert!(began.elapsed() < 5 * round_trip, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_broker_that_hangs_holds_up_only_what_it_leads() {
    let mock = Mock::new();
    mock.warm_up().await;
    mock.cluster.broker_round_trip_time(2, 2 * ANSWERED_WITHIN).unwrap();
    let began = Instant::now();
    let hung = mock.ends.ask(End::Tail, &mock.topic, Partition(1));
    for _ in 0..10 {
        assert!(mock.tail_of(0).await.is_ok() && mock.tail_of(2).await.is_ok());
    }
    assert!(began.elapsed() < ANSWERED_WITHIN / 2, "{:?}", began.elapsed());
    assert!(hung.await.unwrap().is_err());
}

#[tokio::test]
async fn a_partition_that_gets_another_leader_is_found_again() {
    let mock = Mock::new();
    mock.warm_up().await;
    mock.cluster.broker_down(2).unwrap();
    assert!(mock.tail_of(1).await.is_err());
    mock.cluster.partition_leader(TOPIC, 1, Some(3)).unwrap();
    // librdkafka may hear of it first, and answer well in the wrong lane until the next look.
    let deadline = Instant::now() + LOOK_UP_EVERY + PATIENCE;
    while mock.tail_of(1).await.is_err() || mock.topic.get(Partition(1)) != 3 {
        assert!(Instant::now() < deadline, "nobody looked who leads it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(mock.client);
}
