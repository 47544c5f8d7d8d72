//! What a broker does to a topic by itself, as Kafka does with `cleanup.policy=compact,delete`; and records that arrive
//! when nobody waits for them any more. A data centre has one for each topic, its own and the copies.
//!
//! ```text
//!   head                     what may be compacted                     young                  tail
//!    │ of each key the last record stays; a tombstone   │ younger than the compaction lag:      │
//!    │ goes when `tombstones` has passed since it was   │ nothing is dropped                    │
//!    │ the last for the first time                      │                                       │
//!    └── moves up over what is older than `retention`
//! ```
//! It is as lazy as chance wants: a promise may not rest on when it runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use eventlog::{Appended, Clock, EventLog, Incarnation, memory::MemoryLog};
use rand::Rng;
use schemas::{
    Offset, Partition, PartitionCount, Record, Timestamp, Topic,
    caps::{CLOCK_DRIFT_MAX, RETENTION_SLACK},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    chance::{Chance, one_in, some_ms},
    clock::SimClock,
    defect::Defect,
    node::TTL_MAX,
    seen::Seen,
};

/// What a topic keeps, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Nothing younger is compacted: longer than nobody repairs in any world. `None`: nothing is compacted.
    compaction_lag: Option<Duration>,
    /// How long a tombstone stays once a cleaning has seen it.
    tombstones: Duration,
    /// How long anything stays at least; `None`: longer than a run, since segments that compaction has joined with younger
    /// ones stay for those.
    retention: Option<Duration>,
}

impl Rules {
    /// Those of a topic of Kafka.
    pub(crate) fn of_kafka(chance: &Chance, defect: Option<Defect>) -> Self {
        let tombstones = match defect {
            Some(Defect::TombstonesLeaveTheLogEarly) => Duration::from_secs(60),
            _ => RETENTION,
        };
        let retention = one_in(chance, 2).then_some(RETENTION);
        Self { compaction_lag: Some(COMPACTION_LAG), tombstones, retention }
    }

    /// Those of a log that drops nothing by itself: the embedded one asks its node what it may drop.
    pub(crate) const fn of_embedded() -> Self {
        Self { compaction_lag: None, tombstones: RETENTION, retention: None }
    }
}

/// The longest time in which the nodes of a world may leave debts unpaid.
pub(crate) const COMPACTION_LAG: Duration = Duration::from_secs(600);

/// How long a topic keeps what it holds, and a tombstone that a cleaning has seen.
pub(crate) const RETENTION: Duration = TTL_MAX.saturating_add(RETENTION_SLACK);

/// How long the broker waits between two cleanings, at most.
pub(crate) const CLEANED_WITHIN: Duration = Duration::from_secs(4);

/// A topic of the broker that all machines of a data centre share.
#[derive(Debug)]
pub(crate) struct Broker {
    /// What it keeps.
    pub(crate) log: Arc<MemoryLog>,
    clock: SimClock,
    chance: Chance,
    rules: Rules,
    /// `message.timestamp.type=CreateTime`.
    by_writers_clock: bool,
    /// When tombstones that a cleaning has seen may go.
    tombstones: Mutex<BTreeMap<(Partition, Offset), Timestamp>>,
    late: UnboundedSender<Late>,
    late_records: AtomicUsize,
    seen: Arc<Seen>,
}

/// A record that is stored when nobody waits for it any more.
#[derive(Debug)]
struct Late {
    after: Duration,
    partition: Partition,
    record: Record,
    sent: Timestamp,
}

impl Broker {
    /// A broker of a data centre alone, whose clock is right, with an empty topic; and what runs beside it.
    pub(crate) fn new(
        began: Instant,
        chance: &Chance,
        seen: &Arc<Seen>,
        defect: Option<Defect>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let rules = Rules::of_kafka(chance, defect);
        let by_writers_clock = defect == Some(Defect::WritersClock);
        Self::keeping(topic_of("eqiad"), SimClock::right(began), rules, by_writers_clock, chance, seen)
    }

    /// An empty topic of a broker with this clock, and what runs beside it.
    pub(crate) fn keeping(
        topic: Topic,
        clock: SimClock,
        rules: Rules,
        by_writers_clock: bool,
        chance: &Chance,
        seen: &Arc<Seen>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let partitions = PartitionCount::new(2).unwrap();
        let log = MemoryLog::new(topic, partitions, Incarnation("simulated".into()), Arc::new(clock.clone()));
        let (late, arriving) = mpsc::unbounded_channel();
        let broker = Arc::new(Self {
            log,
            clock,
            chance: Arc::clone(chance),
            rules,
            by_writers_clock,
            tombstones: Mutex::default(),
            late,
            late_records: AtomicUsize::new(0),
            seen: Arc::clone(seen),
        });
        let work = work(Arc::clone(&broker), arriving);
        (broker, work)
    }

    /// Takes a record that was sent when the sender's clock showed `sent`.
    pub(crate) fn append(&self, partition: Partition, record: Record, sent: Timestamp) -> Appended {
        let append_time = if self.by_writers_clock { sent } else { self.clock.wall() };
        self.log.append_at(partition, record, append_time)
    }

    /// The same, after a while, whatever becomes of the sender.
    pub(crate) fn append_later(
        &self,
        after: Duration,
        partition: Partition,
        record: Record,
        sent: Timestamp,
    ) {
        self.late_records.fetch_add(1, Ordering::Relaxed);
        self.late.send(Late { after, partition, record, sent }).expect("a broker outlives its clients");
    }

    /// How many records are to be stored later.
    pub(crate) fn late_records(&self) -> usize {
        self.late_records.load(Ordering::Relaxed)
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// One run of the cleaner and of retention, as far as chance wants.
    fn clean(&self) {
        for partition in self.log.partitions().all() {
            let end = self.lazily(self.compactable(partition));
            self.compact(partition, end);
            let end = self.lazily(self.old(partition));
            self.trim(partition, end);
        }
    }

    /// One run of the cleaner and of retention that drops all that it may.
    pub(crate) fn clean_all(&self) {
        for partition in self.log.partitions().all() {
            self.compact(partition, self.compactable(partition));
            self.trim(partition, self.old(partition));
        }
    }

    /// Of every key the last record stays, whatever its age. What is left after the last debt is paid must do.
    pub(crate) fn compact_all(&self) {
        for partition in self.log.partitions().all() {
            self.keep_last(partition, Offset(u64::MAX), |_| false);
        }
    }

    /// Where what is too young to be compacted begins.
    fn compactable(&self, partition: Partition) -> Offset {
        let Some(lag) = self.rules.compaction_lag else { return Offset::ZERO };
        let now = self.clock.wall();
        self.first(partition, |time| now < time.saturating_add(lag))
    }

    /// Where what is too young to go begins.
    fn old(&self, partition: Partition) -> Offset {
        let (now, retention) = (self.clock.wall(), self.rules.retention);
        self.first(partition, |time| retention.is_none_or(|kept| now <= time.saturating_add(kept)))
    }

    fn compact(&self, partition: Partition, end: Offset) {
        let now = self.clock.wall();
        let mut seen = self.tombstones.lock().unwrap();
        let may_go_from = now.saturating_add(self.rules.tombstones);
        self.keep_last(partition, end, |offset| {
            *seen.entry((partition, offset)).or_insert(may_go_from) < now
        });
    }

    /// Before `end`, of every key the last record stays, unless it is a tombstone that may go.
    fn keep_last(&self, partition: Partition, end: Offset, mut may_go: impl FnMut(Offset) -> bool) {
        let mut last: BTreeMap<Bytes, Offset> = BTreeMap::new();
        self.log.retain(|of, entry| {
            if of == partition && entry.offset < end {
                last.insert(entry.record.key.clone(), entry.offset);
            }
            true
        });
        self.log.retain(|of, entry| {
            if of != partition || end <= entry.offset {
                return true;
            }
            let is_superseded = last[&entry.record.key] != entry.offset;
            let is_over = !is_superseded && entry.record.value.is_none() && may_go(entry.offset);
            if is_superseded {
                self.seen.note("a record that was compacted away");
            }
            if is_over {
                self.seen.note("a tombstone that has left the log");
            }
            !is_superseded && !is_over
        });
    }

    fn trim(&self, partition: Partition, end: Offset) {
        let mut old = Vec::new();
        self.log.retain(|of, entry| {
            if of == partition && entry.offset < end {
                old.push(entry.offset);
            }
            true
        });
        if let Some(last) = old.last() {
            self.seen.note("a record that was too old");
            self.log.trim(partition, last.next());
        }
    }

    /// The first offset of `partition` whose append time is `such`; beyond them all if there is none.
    fn first(&self, partition: Partition, such: impl Fn(Timestamp) -> bool) -> Offset {
        let mut first = None;
        let mut end = Offset::ZERO;
        self.log.retain(|of, entry| {
            if of == partition {
                end = entry.offset.next();
                if first.is_none() && such(entry.append_time) {
                    first = Some(entry.offset);
                }
            }
            true
        });
        first.unwrap_or(end)
    }

    /// `end`, or something before it: whole segments go, and not at once.
    fn lazily(&self, end: Offset) -> Offset {
        let mut chance = self.chance.lock().unwrap();
        if chance.random_ratio(3, 4) { end } else { Offset(chance.random_range(0..=end.0)) }
    }
}

/// The topic of a data centre.
pub(crate) fn topic_of(dc: &str) -> Topic {
    Topic { origin: dc.parse().unwrap(), store: "sessions".parse().unwrap() }
}

/// Cleans at moments of chance, and stores what is late. Never ends.
async fn work(broker: Arc<Broker>, mut arriving: UnboundedReceiver<Late>) {
    let mut late = JoinSet::new();
    let cleaning = async {
        loop {
            sleep(some_ms(&broker.chance, u64::try_from(CLEANED_WITHIN.as_millis()).unwrap())).await;
            broker.clean();
        }
    };
    tokio::pin!(cleaning);
    loop {
        tokio::select! {
            biased;
            () = &mut cleaning => unreachable!("it never ends"),
            Some(Late { after, partition, record, sent }) = arriving.recv() => {
                let broker = Arc::clone(&broker);
                late.spawn_local(async move {
                    sleep(after).await;
                    broker.append(partition, record, sent);
                    broker.late_records.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Some(stored) = late.join_next() => stored.unwrap(),
        }
    }
}

const _: () = assert!(CLOCK_DRIFT_MAX.as_secs() < COMPACTION_LAG.as_secs());
