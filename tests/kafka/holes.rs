//! Logs with holes: compaction, retention, markers of transactions. A reader gets to the tail all the same.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use eventlog::{EventLog, Frontier, conformance::read_to_tail, kafka::KafkaLog};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use schemas::{Headers, Offset, Partition, Record};

use crate::harness::Kafka;

/// From the last record of a segment to its compaction: the cleaner looks every second.
const COMPACTED_WITHIN: Duration = Duration::from_secs(60);

/// A new topic with one partition and these settings, made by somebody else.
async fn topic_with(settings: &[(&str, &str)]) -> Arc<KafkaLog> {
    let kafka = tokio::task::spawn_blocking(Kafka::shared).await.unwrap();
    let (cluster, plan) = (kafka.cluster(), super::plan(kafka, 1));
    kafka.make_topic(&plan.topic.to_string(), 1, settings).await;
    super::make(&cluster, &plan).await
}

async fn append(log: &KafkaLog, key: &str, value: Option<&str>) -> Offset {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    let record = Record { key: Bytes::copy_from_slice(key.as_bytes()), headers: Headers::default(), value };
    log.enqueue(Partition(0), record).unwrap().await.unwrap().position.offset
}

async fn offsets(log: &Arc<KafkaLog>, from: u64) -> Vec<u64> {
    let log = Arc::clone(log) as Arc<dyn EventLog>;
    let from = Frontier::from_iter([(Partition(0), Offset(from))]);
    let found = read_to_tail(&log, from).await;
    found.values().flatten().map(|entry| entry.offset.0).collect()
}

#[tokio::test]
async fn a_compacted_log_is_read_to_its_tail_from_the_start_and_from_within_a_hole() {
    if super::left_out() {
        return;
    }
    let log = topic_with(&[
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "LogAppendTime"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
        ("delete.retention.ms", "0"),
    ])
    .await;
    for n in 0..20 {
        append(&log, "overwritten", Some(&n.to_string())).await;
    }
    append(&log, "deleted", Some("once")).await;
    append(&log, "deleted", None).await;
    let deadline = tokio::time::Instant::now() + COMPACTED_WITHIN;
    // Only closed segments are compacted, and one is closed when a record comes after its time.
    loop {
        append(&log, "pulse", Some("x")).await;
        let left: BTreeSet<_> = offsets(&log, 0).await.into_iter().collect();
        if (0..19).all(|superseded| !left.contains(&superseded)) {
            assert!(left.contains(&19), "the newest of a key stays: {left:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no compaction: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(offsets(&log, 7).await.first(), Some(&19), "from within a hole");
}

fn transactional(kafka: &Kafka, id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("transactional.id", id)
        .create()
        .unwrap();
    producer.init_transactions(super::PATIENCE).unwrap();
    producer
}

fn send_one(producer: &BaseProducer, topic: &str) {
    let record = BaseRecord::to(topic).partition(0).key("k").payload("v");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(super::PATIENCE).unwrap();
}

/// MirrorMaker with exactly-once semantics leaves such markers, and a barrier must not wait for a record in their place.
#[tokio::test]
async fn the_marker_of_a_transaction_at_the_end_of_a_log_is_passed() {
    if super::left_out() {
        return;
    }
    let log = topic_with(&[("message.timestamp.type", "LogAppendTime")]).await;
    let (kafka, name) = (Kafka::shared(), log.topic().to_string());
    let foreign = move || {
        let producer = transactional(kafka, &name);
        for commit in [true, false] {
            producer.begin_transaction().unwrap();
            send_one(&producer, &name);
            if commit {
                producer.commit_transaction(super::PATIENCE).unwrap();
            } else {
                producer.abort_transaction(super::PATIENCE).unwrap();
            }
        }
    };
    tokio::task::spawn_blocking(foreign).await.unwrap();
    // Two records, and a marker after each, which a broker writes after its answer.
    let deadline = tokio::time::Instant::now() + super::PATIENCE;
    while log.tail().await.unwrap().get(Partition(0)) != Offset(4) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", log.tail().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was aborted is an event all the same: reads are not isolated.
    assert_eq!(offsets(&log, 0).await, [0, 2]);
    assert!(offsets(&log, 3).await.is_empty(), "from a marker on");
}

#[tokio::test]
async fn a_position_that_retention_has_passed_is_out_of_range() {
    if super::left_out() {
        return;
    }
    let log = topic_with(&[("message.timestamp.type", "LogAppendTime")]).await;
    for n in 0..4 {
        append(&log, &n.to_string(), Some("v")).await;
    }
    let topic = log.topic().to_string();
    tokio::task::spawn_blocking(move || Kafka::shared().trim(&topic, 0, rdkafka::Offset::Offset(3)))
        .await
        .unwrap();
    assert_eq!(log.head().await.unwrap().get(Partition(0)), Offset(3));
    assert_eq!(offsets(&log, 0).await, [3], "who has read nothing begins where the log does");
    let from = Frontier::from_iter([(Partition(0), Offset(2))]);
    let mut reader = Arc::clone(&log).read(from);
    let first = futures::StreamExt::next(&mut reader).await.unwrap();
    let error = first.unwrap_err();
    assert!(error.is_out_of_range(), "{error}");
    assert_eq!(error.to_string(), "partition 0 begins at 3, after the position 2");
}

/// Or a barrier would be content with less than what was acknowledged.
#[tokio::test]
async fn a_foreign_transaction_that_stays_open_does_not_hide_the_end() {
    if super::left_out() {
        return;
    }
    let log = topic_with(&[("message.timestamp.type", "LogAppendTime")]).await;
    let (kafka, name) = (Kafka::shared(), log.topic().to_string());
    let foreign = move || {
        let producer = transactional(kafka, &name);
        producer.begin_transaction().unwrap();
        send_one(&producer, &name);
        producer
    };
    let open = tokio::task::spawn_blocking(foreign).await.unwrap();
    let acknowledged = append(&log, "acknowledged", Some("v")).await;
    assert!(acknowledged < log.tail().await.unwrap().get(Partition(0)));
    assert_eq!(offsets(&log, 0).await, [0, acknowledged.0]);
    tokio::task::spawn_blocking(move || open.abort_transaction(super::PATIENCE)).await.unwrap().unwrap();
}
