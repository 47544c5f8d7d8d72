use std::sync::atomic::{AtomicUsize, Ordering};

use eventlog::{Batch, Clock, Frontier, Incarnation, ManualClock, ReadError, memory::MemoryLog};
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use schemas::{Control, Dc, Hlc, Message, PartitionCount, Position, Reach, Timestamp, Topic, WriterId};

use super::*;
use crate::{DeleteError, FenceFailed, LookFailed};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A log whose queue is full, or whose answers are lost, for as many appends as it is told.
#[derive(Debug)]
struct Flaky {
    inner: Arc<MemoryLog>,
    full: AtomicUsize,
    silent: AtomicUsize,
    /// Commits that nobody resolves, as those of a log that hangs.
    hanging: Mutex<Vec<eventlog::CommitResolver>>,
}

/// One fewer; says whether there was one.
fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl EventLog for Flaky {
    fn topic(&self) -> &Topic {
        self.inner.topic()
    }

    fn partitions(&self) -> PartitionCount {
        self.inner.partitions()
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    fn enqueue(&self, partition: Partition, record: Record) -> Result<Commit, EnqueueError> {
        if take_one(&self.full) {
            return Err(EnqueueError::Full);
        }
        let commit = self.inner.enqueue(partition, record)?;
        if take_one(&self.silent) {
            let (commit, resolver) = Commit::deferred();
            self.hanging.lock().unwrap().push(resolver);
            return Ok(commit);
        }
        Ok(commit)
    }

    fn read(self: Arc<Self>, from: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        Arc::clone(&self.inner).read(from)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        self.inner.tail()
    }
}

/// A view that says what it is told to say.
#[derive(Debug)]
struct Scripted {
    newest: Result<Option<Version>, LookFailed>,
    applies: bool,
    stands_still: bool,
}

impl LocalView for Scripted {
    fn look(&self, _: KeyId, _: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        Box::pin(async { self.newest.clone() })
    }

    fn applied(&self, _: Position, _: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        Box::pin(async { if self.applies { Ok(()) } else { Err(FenceFailed("behind".into())) } })
    }

    fn down_in(&self, _: Partition) -> BTreeSet<Dc> {
        BTreeSet::new()
    }

    fn newest_declaration(&self, _: &Dc) -> Option<Declaration> {
        None
    }

    fn stands_still(&self) -> Option<Arc<str>> {
        self.stands_still.then(|| "its disk is full".into())
    }
}

struct Bench {
    log: Arc<Flaky>,
    writer: Writer,
}

fn mac() -> MacKey {
    MacKey::derive(b"an index secret")
}

fn seen(newest: Option<Version>) -> Scripted {
    Scripted { newest: Ok(newest), applies: true, stands_still: false }
}

fn key() -> KeyId {
    KeyId::from_bytes([1; 16])
}

fn later(millis: u64) -> Version {
    Version { hlc: Hlc::at(NOW.saturating_add(Duration::from_millis(millis))), writer: WriterId(u64::MAX) }
}

fn set() -> Set {
    let expires_at = Until::At(NOW.saturating_add(Duration::from_secs(60)));
    Set { key: key(), sealed: Sealed("sealed".into()), expires_at, headers: Headers::default() }
}

impl Bench {
    fn new(view: Scripted) -> Self {
        let machine = Arc::new(ManualClock::at(NOW)) as Arc<dyn Clock>;
        let topic = Topic { origin: "eqiad".parse::<Dc>().unwrap(), store: "sessions".parse().unwrap() };
        let partitions = PartitionCount::new(1).unwrap();
        let inner = MemoryLog::new(topic, partitions, Incarnation("one".into()), Arc::clone(&machine));
        let log = Arc::new(Flaky {
            inner,
            full: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            hanging: Mutex::default(),
        });
        let retention = Retention::Expiring { ttl_max: Duration::from_secs(3600) };
        let writer = Writer::new(
            Arc::clone(&log) as Arc<dyn EventLog>,
            Arc::new(view),
            Arc::new(LogClock::new(machine)),
            mac(),
            retention,
            Versions::of(WriterId(7)),
            &Metrics::register(&prometheus::Registry::new()).unwrap(),
        );
        Self { log, writer }
    }

    async fn put(&self) -> Result<Stored, WriteError> {
        self.writer.put(set(), Deadline::within(Duration::from_secs(1)), ()).await
    }

    async fn delete(&self) -> Result<crate::DeletedEverywhere, DeleteError> {
        self.writer.delete(key(), Headers::default(), Deadline::within(Duration::from_secs(1))).await
    }

    /// What the log holds, each record verified.
    async fn messages(&self) -> Vec<Message> {
        let tail = self.log.tail().await.unwrap();
        if tail == Frontier::empty() {
            return Vec::new();
        }
        let batch = Arc::clone(&self.log).read(Frontier::empty()).next().await.unwrap().unwrap();
        let read = |record: &Record| {
            mac().verify(self.log.topic(), Partition(0), record).unwrap();
            record.decode().unwrap()
        };
        batch.entries.iter().map(|entry| read(&entry.record)).collect()
    }

    async fn events(&self) -> Vec<(Event, u64)> {
        let event = |message| match message {
            Message::Event { event, sequence } => (event, sequence.number),
            Message::Control(control) => panic!("{control:?}"),
        };
        self.messages().await.into_iter().map(event).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_above_what_was_seen_whatever_the_clock_says() {
    let newest = later(3_600_000);
    let bench = Bench::new(seen(Some(newest)));
    let stored = bench.put().await.unwrap();
    assert!(newest < stored.version());
    let [(event, number)] = &bench.events().await[..] else { panic!("one record") };
    assert_eq!((event.version, *number), (stored.version(), 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_look_nothing_is_stored() {
    let bench = Bench::new(Scripted { newest: Err(LookFailed("behind".into())), ..seen(None) });
    assert!(matches!(bench.put().await, Err(WriteError::CannotLook(_))));
    assert!(matches!(bench.delete().await, Err(DeleteError::Refused(_))));
    assert_eq!(bench.messages().await, []);
}

#[tokio::test(start_paused = true)]
async fn while_the_view_stands_still_nothing_is_stored() {
    let bench = Bench::new(Scripted { stands_still: true, ..seen(None) });
    assert!(matches!(bench.put().await, Err(WriteError::Refused(_))));
    assert!(matches!(bench.delete().await, Err(DeleteError::Refused(_))));
    assert_eq!(bench.messages().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_leaves_its_number_to_the_next() {
    let bench = Bench::new(seen(None));
    bench.log.full.store(2, Ordering::SeqCst);
    assert!(matches!(bench.put().await, Err(WriteError::Overloaded)));
    assert!(matches!(bench.delete().await, Err(DeleteError::Overloaded(_))));
    bench.put().await.unwrap();
    bench.put().await.unwrap();
    let numbers: Vec<_> = bench.events().await.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_leaves_the_outcome_unknown() {
    let bench = Bench::new(seen(None));
    bench.log.silent.store(2, Ordering::SeqCst);
    assert!(matches!(bench.put().await, Err(WriteError::Unknown(_))));
    assert!(matches!(bench.delete().await, Err(DeleteError::Unknown(_))));
    assert_eq!(bench.events().await.len(), 2, "they were stored all the same");
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_but_not_applied_is_said_to_be_stored() {
    let bench = Bench::new(Scripted { applies: false, ..seen(None) });
    assert!(matches!(bench.put().await, Err(WriteError::NotVisible(_))));
    assert!(matches!(bench.delete().await, Err(DeleteError::NotVisible(_))));
}

#[tokio::test(start_paused = true)]
async fn a_delete_goes_above_something_newer_in_its_second_round() {
    let newest = later(5_000);
    let bench = Bench::new(seen(Some(newest)));
    bench.delete().await.unwrap();
    let [(event, _)] = &bench.events().await[..] else { panic!("one tombstone, of the second round") };
    assert!(newest < event.version);
    assert_eq!(event.change, Change::Delete);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_sees_nothing_newer_needs_one_round() {
    let older = Version { hlc: Hlc::at(NOW.saturating_sub(Duration::from_secs(1))), writer: WriterId(1) };
    for newest in [None, Some(older)] {
        let bench = Bench::new(seen(newest));
        bench.delete().await.unwrap();
        assert_eq!(bench.events().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_keeps_the_version_and_takes_a_number_of_its_own() {
    let bench = Bench::new(seen(None));
    bench.put().await.unwrap();
    let [(event, 1)] = &bench.events().await[..] else { panic!("one record") };
    let event = event.clone();
    bench.writer.repair(event.clone(), Deadline::within(Duration::from_secs(1))).await.unwrap();
    assert_eq!(bench.events().await, [(event.clone(), 1), (event, 2)]);
}

#[tokio::test(start_paused = true)]
async fn announcing_says_alive_and_learns_the_logs_time() {
    let bench = Bench::new(seen(None));
    assert_eq!(bench.writer.clock.gc_now(), Timestamp::EPOCH);
    bench.writer.announce().await.unwrap();
    let heartbeat = Heartbeat { reach: Some(Reach { number: 0, at: NOW }), ..Heartbeat::default() };
    let heartbeat = Message::Control(Control::Heartbeat { appender: WriterId(7), heartbeat, beacon: None });
    assert_eq!(bench.messages().await, [heartbeat]);
    assert_eq!(bench.writer.clock.gc_now(), NOW);
}
