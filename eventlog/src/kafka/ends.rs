//! Where partitions end, and where they begin: one question to a broker for all who wait.
//!
//! ```text
//!   ask ─▶ ┐            ┌▶ lane of broker 1: what waits, as one ListOffsets ─▶ answers
//!   ask ─▶ ├─ by leader ┤                    meanwhile the next ones gather
//!   ask ─▶ ┘            └▶ lane of broker 2: ...
//!                             │ no answer
//!                             └▶ leaders: who leads what now?
//! ```
//! A question is sent after it was asked, never before: so its answer covers everything that was durable then.
//!
//! Each broker has a thread of its own, since a call of librdkafka's waits for the slowest of those that it asks: a broker
//! that is gone or hangs holds up the partitions that it leads, and no others. Who leads what is only a hint here, learnt every
//! half minute and whenever something fails. Where it is wrong librdkafka asks the right one all the same; should that one hang,
//! it holds up the lane that it was asked in, too, until the hint is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI32, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionListElem,
};
use schemas::{Offset, Partition, PartitionCount};
use tokio::sync::oneshot;

use super::{Asker, number};
use crate::ReadError;

/// How long one question may take. Those who asked give up by their own clocks; this is how soon the next one is tried.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How often a client that nobody asks looks for what librdkafka has to say.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Topics whose leaders are to be looked up; those beyond are looked up when they fail again.
const TOPICS_TO_LOOK_UP: usize = 16;

/// How often leaders are looked up that nobody has lost.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// The lane of partitions whose leader nobody knows.
const NOBODY: i32 = -1;

/// Asks for the ends of partitions.
pub(super) struct Ends {
    client: Arc<BaseConsumer<Asker>>,
    lanes: Mutex<BTreeMap<i32, mpsc::Sender<Question>>>,
    lost: SyncSender<Arc<Leaders>>,
}

/// A topic, and which broker leads each of its partitions, as far as that is known.
pub(super) struct Leaders {
    topic: Box<str>,
    of: Box<[AtomicI32]>,
}

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// The first offset that is still there.
    Head,
    /// The first offset after everything that is durable.
    Tail,
}

struct Question {
    of: End,
    topic: Arc<Leaders>,
    partition: Partition,
    answer: oneshot::Sender<Answer>,
}

pub(super) type Answer = Result<Offset, ReadError>;

impl Leaders {
    /// Of a topic that nothing is known of yet.
    pub(super) fn of(topic: &str, partitions: PartitionCount) -> Arc<Self> {
        let of = partitions.all().map(|_| AtomicI32::new(NOBODY)).collect();
        Arc::new(Self { topic: topic.into(), of })
    }

    fn get(&self, partition: Partition) -> i32 {
        let leader = self.of.get(usize::try_from(partition.0).unwrap_or(usize::MAX));
        leader.map_or(NOBODY, |leader| leader.load(Ordering::Relaxed))
    }

    /// Learns who leads what, which librdkafka learns with it: of a topic that it neither reads nor writes it does not ask by
    /// itself, and believes a partition to be without a leader until it hears otherwise.
    pub(super) fn look_up(&self, client: &BaseConsumer<Asker>) -> Result<(), KafkaError> {
        let found = client.fetch_metadata(Some(&self.topic), ANSWERED_WITHIN)?;
        let topic = found.topics().iter().find(|topic| topic.name() == &*self.topic);
        for partition in topic.map_or(&[][..], |topic| topic.partitions()) {
            let place = usize::try_from(partition.id()).ok().and_then(|id| self.of.get(id));
            if let Some(leader) = place {
                leader.store(partition.leader(), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Ends {
    pub(super) fn start(client: Arc<BaseConsumer<Asker>>) -> io::Result<Self> {
        let (lost, leaders) = mpsc::sync_channel(TOPICS_TO_LOOK_UP);
        let looks = Arc::clone(&client);
        thread::Builder::new().name("log leaders".to_owned()).spawn(move || look_up(&looks, &leaders))?;
        Ok(Self { client, lanes: Mutex::default(), lost })
    }

    /// Has the leaders of a topic looked up from time to time, for as long as somebody holds them.
    pub(super) fn watch(&self, topic: &Arc<Leaders>) {
        let _many_wait = self.lost.try_send(Arc::clone(topic));
    }

    /// One end of a partition.
    pub(super) fn ask(
        &self,
        of: End,
        topic: &Arc<Leaders>,
        partition: Partition,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let question = Question { of, topic: Arc::clone(topic), partition, answer };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = topic.get(partition);
        let lane = match lanes.get(&leader) {
            Some(lane) => Some(lane.clone()),
            None => self.open_lane(leader).inspect(|lane| drop(lanes.insert(leader, lane.clone()))),
        };
        drop(lanes);
        // Without a lane, or when its thread is gone, so is the other end of the answer: whoever waits learns it there.
        let _gone = lane.map(|lane| lane.send(question));
        receiver
    }

    fn open_lane(&self, leader: i32) -> Option<mpsc::Sender<Question>> {
        let (sender, questions) = mpsc::channel();
        let (client, lost) = (Arc::clone(&self.client), self.lost.clone());
        let lane = move || run(&client, &questions, &lost);
        match thread::Builder::new().name(format!("log ends {leader}")).spawn(lane) {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::error!("Cannot start a thread to ask broker {leader} for the ends of logs: {error}");
                None
            }
        }
    }
}

/// A lane, until nobody can ask any more.
fn run(client: &BaseConsumer<Asker>, questions: &mpsc::Receiver<Question>, lost: &SyncSender<Arc<Leaders>>) {
    while let Ok(first) = questions.recv() {
        let together = std::iter::once(first).chain(questions.try_iter());
        // Some gave up while an earlier question took its time.
        let together = together.filter(|question| !question.answer.is_closed());
        let (heads, tails): (Vec<_>, Vec<_>) = together.partition(|question| question.of == End::Head);
        answer(client, lost, KafkaOffset::Beginning, heads);
        // The protocol's word for the offset after the last record that is durable.
        answer(client, lost, KafkaOffset::End, tails);
    }
}

/// Answers all of them with one question to the brokers. Tells `lost` of topics that it says nothing of.
fn answer(
    client: &BaseConsumer<Asker>,
    lost: &SyncSender<Arc<Leaders>>,
    of: KafkaOffset,
    questions: Vec<Question>,
) {
    if questions.is_empty() {
        return;
    }
    let wanted: BTreeSet<_> = questions.iter().map(|asked| (&*asked.topic.topic, asked.partition)).collect();
    let ends = ask(client, of, &wanted);
    let end_of = |asked: &Question| match &ends {
        // What one partition's leader says is all that librdkafka tells then, of all of them.
        Err(error) if is_of_one(error) && 1 < wanted.len() => {
            let alone = ask(client, of, &BTreeSet::from([(&*asked.topic.topic, asked.partition)]));
            end_of(&alone, &asked.topic.topic, asked.partition)
        }
        ends => end_of(ends, &asked.topic.topic, asked.partition),
    };
    let answers: Vec<_> = questions.iter().map(end_of).collect();
    for (question, answer) in questions.into_iter().zip(answers) {
        if answer.is_err() {
            let _many_wait = lost.try_send(question.topic);
        }
        let _gave_up = question.answer.send(answer);
    }
}

fn ask(
    client: &BaseConsumer<Asker>,
    of: KafkaOffset,
    wanted: &BTreeSet<(&str, Partition)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(wanted.len());
    for &(topic, partition) in wanted {
        list.add_partition_offset(topic, number(partition), of)?;
    }
    client.offsets_for_times(list, ANSWERED_WITHIN)
}

/// Whether an answer was given, which says no: not a broker that cannot be reached, or did not answer in time.
fn is_of_one(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    !matches!(
        error.rdkafka_error_code(),
        None | Some(
            Code::OperationTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::RequestTimedOut
                | Code::Resolve
        )
    )
}

fn end_of(ends: &Result<TopicPartitionList, KafkaError>, topic: &str, partition: Partition) -> Answer {
    let unavailable = |error: &KafkaError| ReadError::Unavailable(error.to_string().into());
    let found = ends.as_ref().map_err(unavailable)?.find_partition(topic, number(partition));
    found.as_ref().map_or(Ok(()), TopicPartitionListElem::error).map_err(|error| unavailable(&error))?;
    match found.map(|found| found.offset()) {
        Some(KafkaOffset::Offset(offset)) if 0 <= offset => Ok(Offset(offset.unsigned_abs())),
        _ => {
            let silent = format!("the brokers did not say where partition {partition} begins or ends");
            Err(ReadError::Unavailable(silent.into()))
        }
    }
}

/// Looks up the leaders of topics that are lost, and of all others from time to time, until nobody can lose one any more.
fn look_up(client: &BaseConsumer<Asker>, lost: &mpsc::Receiver<Arc<Leaders>>) {
    let (mut known, mut looked_up) = (BTreeMap::<Box<str>, Weak<Leaders>>::new(), Instant::now());
    loop {
        // What librdkafka has to say gathers in memory until it is taken.
        while client.poll(Duration::ZERO).is_some() {}
        let first = match lost.recv_timeout(LOOK_EVERY) {
            Ok(topic) => Some(topic),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Many may have lost the same.
        let mut now: BTreeMap<_, _> =
            first.into_iter().chain(lost.try_iter()).map(|topic| (topic.topic.clone(), topic)).collect();
        known.extend(now.iter().map(|(name, topic)| (name.clone(), Arc::downgrade(topic))));
        if LOOK_UP_EVERY <= looked_up.elapsed() {
            looked_up = Instant::now();
            known.retain(|_, topic| 0 < topic.strong_count());
            now.extend(known.iter().filter_map(|(name, topic)| Some((name.clone(), topic.upgrade()?))));
        }
        for (name, topic) in now {
            if let Err(error) = topic.look_up(client) {
                tracing::debug!("Nobody says who leads the partitions of {name}: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
