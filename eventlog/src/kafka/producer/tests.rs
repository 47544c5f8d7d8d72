use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr, RDKafkaRespErr::*},
};
use schemas::Headers;

use super::*;
use crate::{Commit, kafka::KafkaOptions};

const TOPIC: &str = "eqiad.sessions";

/// Far above what any recovery takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_three_answers_to_a_failed_append_are_told_apart() {
    let failed = |code, status| {
        let error = KafkaError::MessageProduction(code);
        outcome(Partition(1), -1, None, Some((status, &error)))
    };
    let (no, perhaps) = (RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::NotLeaderForPartition);
    assert!(matches!(failed(no, Status::NotStored), Err(AppendError::Refused(_))));
    assert!(matches!(failed(no, Status::PossiblyStored), Err(AppendError::Unknown(_))));
    assert!(matches!(failed(perhaps, Status::NotStored), Err(AppendError::Unknown(_))));
    assert!(matches!(failed(no, Status::Stored), Err(AppendError::Unknown(_))));
}

#[test]
fn a_place_is_believed_only_where_there_is_one() {
    let taken_at = Timestamp::from_millis(1_000);
    let stored = outcome(Partition(1), 7, Some(taken_at), None).unwrap();
    assert_eq!(stored.position, Position { partition: Partition(1), offset: Offset(7) });
    assert_eq!(stored.append_time, taken_at);
    assert!(matches!(outcome(Partition(1), -1001, None, None), Err(AppendError::Unknown(_))));
    // The second record of a batch that a broker has already: librdkafka counts on from -1.
    assert!(matches!(outcome(Partition(1), 0, None, None), Err(AppendError::Unknown(_))));
}

/// A broker in this process that fails as it is told. It keeps nothing on a disk.
struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: Producer,
    sent: u64,
}

type Answers = Vec<(Bytes, Result<Appended, AppendError>)>;

impl Mock {
    fn new(passed_on: &[(&str, &str)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let options = KafkaOptions {
            bootstrap_servers: cluster.bootstrap_servers(),
            options: passed_on.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            send_buffer_bytes: 1024 * 1024,
            fetch_buffer_bytes: 1024 * 1024,
            record_bytes_max: 1024 * 1024,
        };
        Self { cluster, producer: Producer::start(options.producer()).unwrap(), sent: 0 }
    }

    fn send(&mut self) -> (Bytes, Result<Commit, EnqueueError>) {
        self.sent += 1;
        let key = Bytes::from(self.sent.to_string());
        let value = Some(Bytes::from_static(b"value"));
        let record = Record { key: key.clone(), headers: Headers::default(), value };
        let (commit, resolver) = Commit::deferred();
        (key, self.producer.send(TOPIC, Partition(0), &record, resolver).map(|()| commit))
    }

    /// Sends so many at once, and waits for all answers.
    async fn send_all(&mut self, count: usize) -> Answers {
        let sent: Vec<_> = (0..count).map(|_| self.send()).collect();
        let answers = sent.into_iter().map(|(key, commit)| async {
            let answer = match commit {
                Ok(commit) => tokio::time::timeout(PATIENCE, commit).await.expect("every append is answered"),
                Err(error) => Err(AppendError::Refused(error.to_string().into())),
            };
            (key, answer)
        });
        join_all(answers).await
    }

    /// Sends one after the other until one is stored.
    async fn recovers(&mut self) -> Answers {
        let began = Instant::now();
        let mut answers = Answers::new();
        loop {
            let mut answer = self.send_all(1).await;
            let is_stored = answer[0].1.is_ok();
            answers.append(&mut answer);
            if is_stored {
                return answers;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "no recovery: {answers:?}");
        }
    }

    /// What the broker has, by a client that had no part in it: offset of each key.
    fn stored(&self) -> BTreeMap<Bytes, Vec<i64>> {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "reader")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(TOPIC, 0, KafkaOffset::Beginning).unwrap();
        reader.assign(&all).unwrap();
        let mut stored = BTreeMap::<_, Vec<_>>::new();
        loop {
            match reader.poll(PATIENCE).expect("the broker answers") {
                Ok(message) => {
                    let key = Bytes::copy_from_slice(message.key().unwrap());
                    stored.entry(key).or_default().push(message.offset());
                }
                Err(KafkaError::PartitionEOF(_)) => return stored,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// No answer says what is not so.
    fn check(&self, answers: &Answers, case: &str) {
        let stored = self.stored();
        for (key, answer) in answers {
            let offsets = stored.get(key).map(Vec::as_slice).unwrap_or_default();
            match answer {
                Ok(Appended { position, .. }) => {
                    let offset = i64::try_from(position.offset.0).unwrap();
                    assert!(offsets.contains(&offset), "{case}: {key:?} is not at {offset}");
                }
                Err(AppendError::Refused(_)) => assert!(offsets.is_empty(), "{case}: {key:?} is stored"),
                Err(AppendError::Unknown(_)) => {}
            }
        }
    }
}

/// Of leaders, replicas, disks, rights, sequence numbers and epochs. Not the one that says "I have that record already":
/// this broker would say so of records that it does not have.
const ERRORS: [RDKafkaRespErr; 20] = [
    RD_KAFKA_RESP_ERR__TRANSPORT,
    RD_KAFKA_RESP_ERR_UNKNOWN,
    RD_KAFKA_RESP_ERR_INVALID_MSG,
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    RD_KAFKA_RESP_ERR_INVALID_RECORD,
];

#[test]
fn forty_scripted_errors_end_in_recovery_and_none_in_a_false_answer() {
    let case = |error: RDKafkaRespErr, times: usize| async move {
        let mut mock = Mock::new(&[]);
        let mut answers = mock.recovers().await;
        mock.cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
        answers.append(&mut mock.send_all(10).await);
        answers.append(&mut mock.recovers().await);
        mock.check(&answers, &format!("{times} x {error:?}"));
    };
    // Most of the time they wait.
    for times in [1, 3] {
        thread::scope(|scope| {
            for error in ERRORS {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                scope.spawn(move || runtime.block_on(case(error, times)));
            }
        });
    }
}

#[tokio::test]
async fn a_fatal_error_costs_a_producer_and_not_the_log() {
    let mut mock = Mock::new(&[]);
    let mut answers = mock.recovers().await;
    let before = mock.producer.live();
    // Some are on their way when it happens.
    mock.cluster.broker_round_trip_time(1, Duration::from_millis(200)).unwrap();
    let on_the_way: Vec<_> = (0..10).map(|_| mock.send()).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    ffi::break_producer(before.client());
    // Until it is old enough to be replaced, appends are refused.
    answers.append(&mut mock.send_all(10).await);
    answers.append(&mut mock.recovers().await);
    answers.append(&mut mock.send_all(10).await);
    for (key, commit) in on_the_way {
        let answer = tokio::time::timeout(PATIENCE, commit.unwrap()).await.expect("it is answered");
        answers.push((key, answer));
    }
    assert!(!Arc::ptr_eq(&before, &mock.producer.live()), "another one has taken its place");
    answers.append(&mut mock.recovers().await);
    mock.check(&answers, "fatal");
    let stored = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    assert!(11 <= stored, "what came after it was stored: {answers:?}");
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let mut mock = Mock::new(&[("queue.buffering.max.messages", "5")]);
    let mut answers = mock.recovers().await;
    mock.cluster.broker_down(1).unwrap();
    let began = Instant::now();
    let sent: Vec<_> = (0..20).map(|_| mock.send()).collect();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let full = sent.iter().filter(|(_, commit)| matches!(commit, Err(EnqueueError::Full))).count();
    assert!((10..=15).contains(&full), "{full} of 20 were refused");
    mock.cluster.broker_up(1).unwrap();
    for (key, commit) in sent {
        if let Ok(commit) = commit {
            answers.push((key, tokio::time::timeout(PATIENCE, commit).await.expect("it is answered")));
        }
    }
    mock.check(&answers, "full");
}
