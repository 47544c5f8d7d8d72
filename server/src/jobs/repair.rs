//! Brings here what the logs of another data centre hold and this one lacks.
//!
//! What is brought is appended to this data centre's *own* log, version and all: every node of it gets it from there, and
//! so does every view that is made anew. A view does not notice that it came another way.
//!
//! ```text
//!   the peer's own log      all of it was to be copied here: what is missing is accounted for when it has been read
//!   its copy of our log     what we wrote before our disk was lost
//!   its copies of others    what it has of them may be lacking here
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use api::Job;
use eventlog::Batch;
use futures::{StreamExt, TryStreamExt, stream};
use materializer::{CheckedBatch, Missing};
use schemas::{Change, Dc, Event, KeyId, Message, Offset, Partition, PartitionCount, Topic, Until};
use tokio::time::{sleep, sleep_until};
use writer::{
    Deadline, WriteError,
    peer::{HttpPeer, LogPiece, Peer, Silence},
};

use super::{Outcome, Workplace};

/// Events brought in a second, at most: behind requests. An operator waits for it, so it is faster than what a node does by
/// itself.
const BROUGHT_PER_SECOND_MAX: u32 = 1000;

/// Appends that wait for the log together: they share a sync.
const TOGETHER: usize = 32;

/// How long the peer may be silent, or bring nothing of what it has.
const PEER_PATIENCE: Duration = Duration::from_secs(30);

/// How long the own log may take to take an event.
const LOG_PATIENCE: Duration = Duration::from_secs(30);

/// How soon either is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What stands at the end of a log may be on its way here: it is given so long before it is brought.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug, Default)]
struct Brought {
    sets: u64,
    deletes: u64,
    /// Records of the peer that were read.
    read: u64,
    /// Of these, such as nobody with our secret wrote.
    refused: u64,
    /// Numbers that were missing, and are accounted for now.
    closed: u64,
    /// Of these, those that a record was found for.
    found: u64,
}

/// Of the peer's logs one, and what this node lacks of it.
struct Reading<'a> {
    store: &'a Workplace,
    peer: &'a HttpPeer,
    topic: &'a Topic,
    missing: Missing,
    job: &'a Job,
}

pub(super) async fn repair(store: &Workplace, from: &Dc, job: &Job) -> anyhow::Result<Outcome> {
    // Nobody else is taken in an order.
    let peer = store.peers.iter().find(|peer| peer.dc() == from).with_context(|| format!("find {from}"))?;
    let mut brought = Brought::default();
    let logs: Vec<_> = store.logs().map(|log| log.log()).collect();
    // Its own first: that is complete.
    let (own, others): (Vec<_>, Vec<_>) = logs.iter().partition(|log| log.topic().origin == *from);
    for log in own.into_iter().chain(others) {
        let topic = log.topic();
        let missing = store.gaps.missing(topic);
        let reading = Reading { store, peer, topic, missing, job };
        reading.all(log.partitions(), &mut brought).await.with_context(|| {
            format!("{topic} from {from}; {brought} until then, and the next run goes on from there")
        })?;
    }
    ensure!(
        brought.read == 0 || brought.refused < brought.read,
        "none of the {} records of {from} was written with our index secret",
        brought.read
    );
    Ok(Outcome::Done(format!("from {from}: {brought}")))
}

impl Reading<'_> {
    async fn all(&self, partitions: PartitionCount, brought: &mut Brought) -> anyhow::Result<()> {
        let Self { store, peer, topic, missing, .. } = self;
        for partition in partitions.all() {
            match self.partition(partition, brought).await {
                Ok(()) => {}
                // Not all data centres may know each other.
                Err(error) if topic.origin != *peer.dc() && is_absent(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Only the origin's own log says what there is to be had.
        if topic.origin == *peer.dc() {
            store.gaps.close(topic, missing);
            brought.closed += missing.count();
        }
        Ok(())
    }

    async fn partition(&self, partition: Partition, brought: &mut Brought) -> anyhow::Result<()> {
        let (mut next, mut bound, mut life) = (Offset::ZERO, None, None);
        loop {
            let LogPiece { incarnation, entries, next: after, end } = self.ask(partition, next).await?;
            ensure!(
                *life.get_or_insert_with(|| incarnation.clone()) == incarnation,
                "it began another life while it was read"
            );
            let bound = *bound.get_or_insert_with(|| {
                self.job.expect(end.0);
                end
            });
            let batch = Batch { partition, entries, up_to: after };
            self.bring(batch, bound <= after, brought).await?;
            self.job.advance(after.min(bound).0 - next.min(bound).0);
            next = after;
            if bound <= next {
                return Ok(());
            }
        }
    }

    /// A piece that goes on from `from`, or says that there is nothing more.
    async fn ask(&self, partition: Partition, from: Offset) -> anyhow::Result<LogPiece> {
        let began = Instant::now();
        loop {
            let why = match self.peer.read_log(self.topic, partition, from, Duration::ZERO).await {
                Ok(piece) if from < piece.next || piece.end <= from => return Ok(piece),
                Ok(_) => anyhow::anyhow!("nothing comes of partition {partition} from {from} on"),
                Err(silence @ (Silence::Gone | Silence::Absent)) => return Err(silence.into()),
                Err(silence) => silence.into(),
            };
            if PEER_PATIENCE <= began.elapsed() {
                return Err(why);
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    /// Appends what of a batch is newer than what the view holds. `is_last`: it may be on its way.
    async fn bring(&self, batch: Batch, is_last: bool, brought: &mut Brought) -> anyhow::Result<()> {
        let Self { store, topic, .. } = self;
        let partition = batch.partition;
        let mut events = BTreeMap::new();
        for checked in CheckedBatch::of(topic, &store.mac, batch).entries {
            brought.read += 1;
            match checked.message {
                Ok(Message::Event { event, sequence }) => {
                    if self.missing.holds(partition, sequence) {
                        brought.found += 1;
                        if topic.origin != *self.peer.dc() {
                            store.gaps.close_one(topic, partition, sequence);
                            brought.closed += 1;
                        }
                    }
                    newest(&mut events, event);
                }
                // What it says of its own log is nothing to ours.
                Ok(Message::Control(_)) => {}
                Err(_) => brought.refused += 1,
            }
        }
        self.leave_out_what_is_here(&mut events)?;
        if is_last && !events.is_empty() {
            sleep(ON_ITS_WAY).await;
            self.leave_out_what_is_here(&mut events)?;
        }
        self.append(events.into_values(), brought).await
    }

    fn leave_out_what_is_here(&self, events: &mut BTreeMap<KeyId, Event>) -> anyhow::Result<()> {
        let (view, gc_now) = (self.store.reads.serving.view(), self.store.clock.gc_now());
        let mut here = Vec::new();
        for (key, event) in &*events {
            let is_over = matches!(event.retain_until, Until::At(end) if end < gc_now);
            if is_over || Some(event.version) <= view.version(key)? {
                here.push(*key);
            }
        }
        here.iter().for_each(|key| drop(events.remove(key)));
        Ok(())
    }

    async fn append(&self, events: impl Iterator<Item = Event>, brought: &mut Brought) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        let appends = events.zip(0_u32..).map(|(event, n)| async move {
            sleep_until(began + n * (Duration::from_secs(1) / BROUGHT_PER_SECOND_MAX)).await;
            let is_set = matches!(event.change, Change::Set { .. });
            self.append_one(event).await.map(|()| is_set)
        });
        let mut appended = stream::iter(appends).buffer_unordered(TOGETHER);
        while let Some(is_set) = appended.try_next().await? {
            if is_set { brought.sets += 1 } else { brought.deletes += 1 }
        }
        Ok(())
    }

    async fn append_one(&self, event: Event) -> anyhow::Result<()> {
        let deadline = Deadline::within(LOG_PATIENCE);
        loop {
            match self.store.writer.repair(event.clone(), deadline).await {
                Ok(_) | Err(WriteError::NotVisible(_)) => return Ok(()),
                Err(error) if deadline.left() < ASK_AGAIN_AFTER => {
                    return Err(error).with_context(|| format!("append what was brought of ~{}", event.key));
                }
                // It is harmless to say twice what may have been taken.
                Err(_) => sleep(ASK_AGAIN_AFTER).await,
            }
        }
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Silence>() == Some(&Silence::Absent)
}

/// Of several events of a key only the newest says anything.
fn newest(events: &mut BTreeMap<KeyId, Event>, event: Event) {
    let known = events.get(&event.key).map(|known| known.version);
    if known < Some(event.version) {
        events.insert(event.key, event);
    }
}

impl fmt::Display for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sets, deletes, read, refused, closed, found } = self;
        write!(f, "brought {sets} writes and {deletes} deletes that were missing here, of {read} records")?;
        if 0 < *refused {
            write!(f, ", {refused} of which nobody vouches for")?;
        }
        if 0 < *closed {
            write!(f, "; of {closed} numbers that were missing {found} are there")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Headers, Hlc, Sealed, Version, WriterId};

    use super::*;

    fn event(key: u8, n: u64) -> Event {
        let sealed = Sealed("contents".into());
        Event {
            key: KeyId::from_bytes([key; 16]),
            version: Version { hlc: Hlc::from_bits(n), writer: WriterId(1) },
            retain_until: Until::Never,
            headers: Headers::default(),
            change: Change::Set { expires_at: Until::Never, sealed },
        }
    }

    #[test]
    fn only_the_newest_event_of_a_key_is_brought_whatever_the_order() {
        let mut events = BTreeMap::new();
        for (key, n) in [(1, 3), (1, 5), (1, 4), (2, 1)] {
            newest(&mut events, event(key, n));
        }
        let versions: Vec<_> = events.values().map(|event| event.version.hlc).collect();
        assert_eq!(versions, [Hlc::from_bits(5), Hlc::from_bits(1)]);
    }

    #[test]
    fn what_was_brought_is_said_with_what_was_missing_and_is_not_there() {
        let mut brought = Brought { sets: 2, deletes: 1, read: 9, ..Brought::default() };
        let said = "brought 2 writes and 1 deletes that were missing here, of 9 records";
        assert_eq!(brought.to_string(), said);
        (brought.refused, brought.closed, brought.found) = (3, 4, 2);
        let said =
            format!("{said}, 3 of which nobody vouches for; of 4 numbers that were missing 2 are there");
        assert_eq!(brought.to_string(), said);
    }
}
