//! Follows a topic on a thread of its own, from positions that it is given. Never skips: a position that the topic does
//! not have, or bytes that are not what was stored, end the reading with an error.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::stream::{self, BoxStream, StreamExt};
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use schemas::{
    Offset, Partition,
    caps::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX},
};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use super::{
    Asker, KafkaLog,
    ends::{Answer, End as Side},
    ffi::{Fetched, Taken},
    number,
};
use crate::{Batch, Frontier, ReadError};

/// How often a reader that gets nothing looks whether anybody still wants it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a reader may stand still behind the end of its topic before its client is made anew: librdkafka has been seen
/// to stop fetching.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How long the brokers may take to say where a partition begins and ends.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Batches between the two threads: one is folded while the next is made.
const BATCHES_AHEAD: usize = 2;

pub(super) fn stream(log: Arc<KafkaLog>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let name = format!("read {}", log.name);
    let reader = Reader { log, next: from, sender };
    if let Err(error) = thread::Builder::new().name(name).spawn(move || reader.run()) {
        let error = ReadError::Unavailable(format!("cannot start a thread: {error}").into());
        return stream::iter([Err(error)]).boxed();
    }
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed()
}

struct Reader {
    log: Arc<KafkaLog>,
    /// What has been passed on.
    next: Frontier,
    sender: mpsc::Sender<Result<Batch, ReadError>>,
}

/// Why a client is not read from any more.
enum End {
    /// Nobody wants to read any more.
    Unwanted,
    /// Another client may do better.
    Broken(String),
    /// Nor would another one.
    Failed(ReadError),
}

impl Reader {
    fn run(mut self) {
        loop {
            match self.run_client() {
                End::Unwanted => return,
                End::Broken(reason) => {
                    tracing::warn!("Reading {} again from {:?}: {reason}", self.log.name, self.next);
                }
                End::Failed(error) => {
                    let _unwanted = self.sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    /// Reads with one client, for as long as that goes well.
    fn run_client(&mut self) -> End {
        let mut fetched = match self.assign() {
            Ok(consumer) => Fetched::of(Arc::new(consumer)),
            Err(error) => return End::Failed(ReadError::Unavailable(error.to_string().into())),
        };
        let mut watch = Watch::new();
        while !self.sender.is_closed() {
            let taken = fetched.take(LOOK_EVERY, BATCH_RECORDS_MAX, BATCH_BYTES_MAX);
            fetched.say_lines();
            if let Err(end) = self.pass_on(taken) {
                return end;
            }
            watch.listen();
            // What librdkafka has fetched already is not what it does not fetch.
            if fetched.is_drained() && watch.is_due() {
                if let Some(partition) = watch.stuck(&self.next) {
                    return End::Broken(format!(
                        "nothing came from partition {partition}, and there is more"
                    ));
                }
                watch.begin(self.next.clone(), self.log.ask_all(Side::Tail));
            }
        }
        End::Unwanted
    }

    fn assign(&self) -> Result<BaseConsumer<Asker>, KafkaError> {
        let consumer: BaseConsumer<Asker> = self.log.cluster.options.consumer().create_with_context(Asker)?;
        // Its first log lines are in the queue of what it fetches, and taking from that would print them.
        while consumer.poll(Duration::ZERO).is_some() {}
        let mut list = TopicPartitionList::new();
        for partition in self.log.partitions.all() {
            // Who has read nothing begins wherever the log does; who has read something goes on there and nowhere else.
            let from = match self.next.get(partition) {
                Offset::ZERO => KafkaOffset::Beginning,
                Offset(offset) => KafkaOffset::Offset(i64::try_from(offset).unwrap_or(i64::MAX)),
            };
            list.add_partition_offset(&self.log.name, number(partition), from)?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }

    /// Passes on what was taken, a batch for each partition.
    fn pass_on(&mut self, taken: Vec<Taken>) -> Result<(), End> {
        let mut batches = BTreeMap::<Partition, Batch>::new();
        let mut end = None;
        for of in taken {
            let (partition, up_to, entry) = match of {
                Taken::Record(partition, entry) => (partition, entry.offset.next(), Some(entry)),
                Taken::End(partition, offset) => (partition, offset, None),
                Taken::Failed { partition, offset, code, reason } => {
                    end = self.judge(partition, offset, code, &reason);
                    if end.is_some() {
                        break;
                    }
                    continue;
                }
            };
            // A client that was made anew may bring again what was passed on.
            if self.next.get(partition) < up_to {
                self.next.advance(partition, up_to);
                let new = || Batch { partition, entries: Vec::new(), up_to };
                let batch = batches.entry(partition).or_insert_with(new);
                batch.entries.extend(entry);
                batch.up_to = up_to;
            }
        }
        for batch in batches.into_values() {
            self.sender.blocking_send(Ok(batch)).map_err(|_| End::Unwanted)?;
        }
        end.map_or(Ok(()), Err)
    }

    /// What an error means: `None` when librdkafka goes on by itself.
    fn judge(
        &self,
        partition: Option<Partition>,
        offset: Option<Offset>,
        code: RDKafkaErrorCode,
        reason: &str,
    ) -> Option<End> {
        match (code, partition) {
            (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange, Some(partition)) => {
                Some(self.out_of_range(partition))
            }
            (RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::InvalidMessage, Some(partition)) => {
                let offset = offset.unwrap_or_else(|| self.next.get(partition));
                Some(End::Failed(ReadError::Corrupt { partition, offset, reason: reason.into() }))
            }
            (RDKafkaErrorCode::Fatal, _) => Some(End::Broken(reason.to_owned())),
            _ => {
                tracing::warn!("{}: {reason}", self.log.name);
                None
            }
        }
    }

    /// Which of the two ends of the partition was passed.
    fn out_of_range(&self, partition: Partition) -> End {
        let asked = self.next.get(partition);
        let client = &self.log.cluster.asker;
        match client.fetch_watermarks(&self.log.name, number(partition), ANSWERED_WITHIN) {
            Ok((low, high)) => {
                let offset = |number: i64| Offset(u64::try_from(number).unwrap_or_default());
                let (earliest, tail) = (offset(low), offset(high));
                if tail < asked {
                    End::Failed(ReadError::OutOfRange { partition, asked, tail })
                } else if asked == Offset::ZERO {
                    // The log was trimmed while its beginning was looked up.
                    End::Broken(format!("partition {partition} begins at {earliest}"))
                } else if asked < earliest {
                    End::Failed(ReadError::Trimmed { partition, asked, earliest })
                } else {
                    // The broker said no, and has it now: what it has there is not what was there.
                    End::Failed(ReadError::Truncated { partition, asked })
                }
            }
            Err(error) => End::Broken(format!("partition {partition} does not have {asked}: {error}")),
        }
    }
}

/// Looks whether every partition moves that has something to move for. Waits for nobody: a broker that hangs would hold up what
/// others bring.
struct Watch {
    began: Instant,
    /// Where the reader was then.
    before: Frontier,
    /// What was asked then and has not been answered.
    asked: Vec<(Partition, oneshot::Receiver<Answer>)>,
    /// Where partitions ended then, as far as that was answered.
    tail: Frontier,
}

impl Watch {
    fn new() -> Self {
        Self { began: Instant::now(), before: Frontier::empty(), asked: Vec::new(), tail: Frontier::empty() }
    }

    /// Whether it is time for another look.
    fn is_due(&self) -> bool {
        STUCK_AFTER <= self.began.elapsed()
    }

    fn begin(&mut self, next: Frontier, asked: Vec<(Partition, oneshot::Receiver<Answer>)>) {
        *self = Self { began: Instant::now(), before: next, asked, tail: Frontier::empty() };
    }

    /// Takes the answers that have come.
    fn listen(&mut self) {
        let tail = &mut self.tail;
        self.asked.retain_mut(|(partition, answer)| match answer.try_recv() {
            Ok(Ok(end)) => {
                tail.advance(*partition, end);
                false
            }
            Err(TryRecvError::Empty) => true,
            Ok(Err(_)) | Err(TryRecvError::Closed) => false,
        });
    }

    /// A partition that had more when the look began and has not moved since.
    fn stuck(&self, next: &Frontier) -> Option<Partition> {
        let stuck = |&(partition, end): &(Partition, Offset)| {
            let then = self.before.get(partition);
            then < end && next.get(partition) == then
        };
        self.tail.iter().find(stuck).map(|(partition, _)| partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offsets: [u64; 2]) -> Frontier {
        (0..).map(Partition).zip(offsets.map(Offset)).collect()
    }

    /// A look that began there, with the ends that were answered.
    fn look(before: [u64; 2], tail: [Option<u64>; 2]) -> Watch {
        let mut watch = Watch::new();
        let (senders, asked): (Vec<_>, Vec<_>) = (0..2)
            .map(|partition| {
                let (sender, receiver) = oneshot::channel();
                (sender, (Partition(partition), receiver))
            })
            .unzip();
        watch.begin(at(before), asked);
        for (sender, tail) in senders.into_iter().zip(tail) {
            if let Some(tail) = tail {
                sender.send(Ok(Offset(tail))).unwrap();
            }
        }
        watch.listen();
        watch
    }

    #[test]
    fn a_partition_that_does_not_move_is_seen_however_much_the_others_do() {
        assert_eq!(Watch::new().stuck(&at([5, 5])), None, "nothing was asked");
        let watch = look([5, 5], [Some(9), Some(9)]);
        assert_eq!(watch.stuck(&at([9, 5])), Some(Partition(1)));
        assert_eq!(watch.stuck(&at([9, 6])), None, "both move");
        assert_eq!(look([9, 9], [Some(9), Some(9)]).stuck(&at([9, 9])), None, "at its end it need not move");
        let watch = look([5, 5], [None, Some(9)]);
        assert_eq!(watch.stuck(&at([5, 5])), Some(Partition(1)), "though nobody knows where the other ends");
    }
}
