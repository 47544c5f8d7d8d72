//! Where logs end, and where they begin: one question to the brokers for all who wait.
//!
//! ```text
//!   ask ─▶ ┐
//!   ask ─▶ ├─ waiting ─▶ thread: one ListOffsets for all topics ─▶ answers
//!   ask ─▶ ┘             meanwhile the next ones gather
//! ```
//! A question is sent after it was asked, never before: so its answer covers everything that was durable then.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::{Offset, Partition, PartitionCount};
use tokio::sync::oneshot;

use super::{Asker, number};
use crate::{Frontier, ReadError};

/// How long one question may take. Those who asked give up by their own clocks; this is how soon the next one is tried.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How often a client that nobody asks looks for what librdkafka has to say.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks for the ends of topics.
pub(super) struct Ends(mpsc::Sender<Question>);

/// Which end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The first offset that is still there.
    Head,
    /// The first offset after everything that is durable.
    Tail,
}

struct Question {
    of: End,
    topic: Box<str>,
    partitions: PartitionCount,
    answer: oneshot::Sender<Result<Frontier, ReadError>>,
}

impl Ends {
    pub(super) fn start(client: Arc<BaseConsumer<Asker>>) -> io::Result<Self> {
        let (sender, questions) = mpsc::channel();
        thread::Builder::new().name("log ends".to_owned()).spawn(move || run(&client, &questions))?;
        Ok(Self(sender))
    }

    /// One end of each partition of `topic`.
    pub(super) fn ask(
        &self,
        of: End,
        topic: &str,
        partitions: PartitionCount,
    ) -> oneshot::Receiver<Result<Frontier, ReadError>> {
        let (answer, receiver) = oneshot::channel();
        // When the thread is gone, so is the other end of the answer: whoever waits learns it there.
        let _gone = self.0.send(Question { of, topic: topic.into(), partitions, answer });
        receiver
    }
}

/// Until nobody can ask any more.
fn run(client: &BaseConsumer<Asker>, questions: &mpsc::Receiver<Question>) {
    loop {
        // What librdkafka has to say gathers in memory until it is taken.
        while client.poll(Duration::ZERO).is_some() {}
        let first = match questions.recv_timeout(LOOK_EVERY) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let together: Vec<_> = std::iter::once(first).chain(questions.try_iter()).collect();
        let (heads, tails): (Vec<_>, Vec<_>) =
            together.into_iter().partition(|question| question.of == End::Head);
        answer(client, KafkaOffset::Beginning, heads);
        // The protocol's word for the offset after the last record that is durable.
        answer(client, KafkaOffset::End, tails);
    }
}

/// Answers all of them with one question to the brokers.
fn answer(client: &BaseConsumer<Asker>, of: KafkaOffset, questions: Vec<Question>) {
    if questions.is_empty() {
        return;
    }
    let wanted: BTreeMap<_, _> =
        questions.iter().map(|question| (&*question.topic, question.partitions)).collect();
    let ends = ask(client, of, &wanted);
    let answer = |question: &Question| {
        let ends = ends.as_ref().map_err(unavailable)?;
        frontier(ends, &question.topic, question.partitions)
    };
    let answers: Vec<_> = questions.iter().map(answer).collect();
    for (question, answer) in questions.into_iter().zip(answers) {
        let _gave_up = question.answer.send(answer);
    }
}

fn ask(
    client: &BaseConsumer<Asker>,
    of: KafkaOffset,
    wanted: &BTreeMap<&str, PartitionCount>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partitions) in wanted {
        for partition in partitions.all() {
            list.add_partition_offset(topic, number(partition), of)?;
        }
    }
    client.offsets_for_times(list, ANSWERED_WITHIN)
}

fn unavailable(error: &KafkaError) -> ReadError {
    ReadError::Unavailable(error.to_string().into())
}

/// All partitions of a topic, or why not.
fn frontier(
    ends: &TopicPartitionList,
    topic: &str,
    partitions: PartitionCount,
) -> Result<Frontier, ReadError> {
    let mut found = Frontier::empty();
    for of in ends.elements_for_topic(topic) {
        of.error().map_err(|error| unavailable(&error))?;
        if let (KafkaOffset::Offset(offset), Ok(partition)) = (of.offset(), u32::try_from(of.partition()))
            && let Ok(offset) = u64::try_from(offset)
        {
            found.advance(Partition(partition), Offset(offset));
        }
    }
    let missing = partitions.all().find(|&partition| !found.names(partition));
    missing.map_or(Ok(found), |partition| {
        Err(ReadError::Unavailable(
            format!("the brokers did not say where partition {partition} ends").into(),
        ))
    })
}
