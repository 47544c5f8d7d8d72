//! All orders of a few events, for rules whose mistakes need a coincidence that random worlds seldom have.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use eventlog::{EventLog, Frontier};
use futures::{FutureExt, StreamExt};
use materializer::{Cell, State, Verdict, judge};
use rand::{SeedableRng, rngs::StdRng};
use schemas::{
    Change, Event, Headers, Hlc, KeyId, Message, Partition, Record, Sealed, Sequence, Timestamp, Until,
    Version, WriterId,
};
use tokio::time::{Instant, advance};
use writer::Retention;

use super::{broker::Broker, defect::Defect, node::TTL_MAX, seen::Seen, workload::ttl};

const RULE: Retention = Retention::Expiring { ttl_max: TTL_MAX };

pub(super) fn key() -> KeyId {
    KeyId::from_bytes([0; 16])
}

pub(super) fn version(n: u16, now: Timestamp) -> Version {
    Version { hlc: (0..n).fold(Hlc::at(now), |hlc, _| hlc.tick()), writer: WriterId(1) }
}

pub(super) fn set(version: Version, lives_for: Duration) -> Event {
    let expires_at = Until::At(version.hlc.time().saturating_add(lives_for));
    let change = Change::Set { expires_at, sealed: Sealed(Bytes::from_static(b"contents")) };
    let retain_until = RULE.of_set(version, expires_at);
    Event { key: key(), version, retain_until, headers: Headers::default(), change }
}

pub(super) fn delete(version: Version) -> Event {
    let retain_until = RULE.of_delete(version, version.hlc.time());
    Event { key: key(), version, retain_until, headers: Headers::default(), change: Change::Delete }
}

pub(super) fn fold(cell: &mut Option<Cell>, event: Event) {
    if judge(cell.as_ref().map(|cell| cell.version), event.version) == Verdict::Won {
        *cell = Some(Cell::of(event));
    }
}

fn shows(cell: Option<&Cell>, now: Timestamp) -> bool {
    cell.is_some_and(|cell| cell.visible(now).is_some())
}

/// Every sequence of `length` of `steps`.
pub(super) fn sequences<T: Copy>(steps: &[T], length: u32) -> impl Iterator<Item = Vec<T>> + '_ {
    let count = steps.len().pow(length);
    (0..count).map(move |n| {
        let digit = |place| steps[n / steps.len().pow(place) % steps.len()];
        (0..length).map(digit).collect()
    })
}

/// What happens to a log, and to a view that is away most of the time.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Delete,
    Clean,
    Minutes,
    /// The view that was away catches up, and is read.
    Return,
}

/// Whether a view that was away ever shows a session that was deleted.
async fn resurrects(steps: &[Step], defect: Option<Defect>) -> bool {
    let chance = Arc::new(std::sync::Mutex::new(StdRng::seed_from_u64(0)));
    let (broker, _work) = Broker::new(Instant::now(), &chance, &Arc::new(Seen::default()), defect);
    let partition = key().partition(broker.log.partitions());
    let (mut away, mut applied, mut is_deleted, mut is_resurrected) = (None, Frontier::empty(), true, false);
    for (n, step) in (1..).zip(steps) {
        let version = version(n, broker.now());
        match step {
            Step::Put => append(&broker, partition, set(version, TTL_MAX)),
            Step::Delete => append(&broker, partition, delete(version)),
            Step::Clean => broker.clean_all(),
            Step::Minutes => advance(Duration::from_secs(12 * 60)).await,
            Step::Return => {
                catch_up(&broker, partition, &mut away, &mut applied);
                is_resurrected |= is_deleted && shows(away.as_ref(), broker.now());
            }
        }
        is_deleted = match step {
            Step::Put => false,
            Step::Delete => true,
            Step::Clean | Step::Minutes | Step::Return => is_deleted,
        };
    }
    is_resurrected
}

fn append(broker: &Broker, partition: Partition, event: Event) {
    let record = Record::of_event(event, Sequence { appender: WriterId(1), number: 1 }).unwrap();
    broker.append(partition, record, broker.now());
}

fn catch_up(broker: &Broker, partition: Partition, away: &mut Option<Cell>, applied: &mut Frontier) {
    let at_once = "a log in memory answers at once";
    let (head, tail) = (broker.log.head(), broker.log.tail());
    let (head, tail) = (head.now_or_never().expect(at_once), tail.now_or_never().expect(at_once));
    if server::goes_on(broker.log.topic(), applied, &head.unwrap(), &tail.unwrap()).is_err() {
        (*away, *applied) = (None, Frontier::empty());
    }
    let mut batches = Arc::clone(&broker.log).read(applied.clone());
    while let Some(Some(batch)) = batches.next().now_or_never() {
        let batch = batch.unwrap();
        for entry in batch.entries {
            let Ok(Message::Event { event, .. }) = entry.record.decode() else { panic!("only events") };
            fold(away, event);
        }
        applied.advance(partition, batch.up_to);
    }
}

/// A tombstone stays in the log until a view that has not seen it shows nothing that it covers.
#[tokio::test(start_paused = true)]
async fn no_order_of_cleanings_and_absences_brings_a_session_back() {
    const STEPS: [Step; 5] = [Step::Put, Step::Delete, Step::Clean, Step::Minutes, Step::Return];
    let mut caught = 0;
    for steps in sequences(&STEPS, 6) {
        // To miss a tombstone, the view must have seen what it covers.
        let steps = [&[Step::Put, Step::Return], &steps[..]].concat();
        assert!(!resurrects(&steps, None).await, "{steps:?}");
        caught += usize::from(resurrects(&steps, Some(Defect::TombstonesLeaveTheLogEarly)).await);
    }
    println!("{caught} orders catch a log that drops tombstones early");
    assert!(0 < caught);
}

/// What happens to one cell of a view.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A long session, the oldest of all, arrives: a repair of another node that was long on its way.
    Oldest,
    /// A short session replaces it.
    Short,
    /// It is deleted.
    Delete,
    Compaction,
    Seconds,
    Day,
}

/// A cell that was dropped, where it must shadow what may still arrive.
#[test]
fn no_order_of_arrivals_and_compactions_brings_back_what_a_tombstone_covers() {
    const STEPS: [Happening; 6] = [
        Happening::Oldest,
        Happening::Short,
        Happening::Delete,
        Happening::Compaction,
        Happening::Seconds,
        Happening::Day,
    ];
    let begin = Timestamp::from_millis(1_700_000_000_000);
    let mut caught = 0;
    for steps in sequences(&STEPS, 6) {
        let shows_what_is_covered = |is_dropped_early: bool| {
            let (mut now, mut dropped, mut kept, mut replaced_end) = (begin, None, None, None);
            for step in &steps {
                let event = match step {
                    Happening::Oldest => set(version(1, begin), TTL_MAX),
                    Happening::Short => set(version(2, begin), ttl(true)),
                    Happening::Delete => delete(version(3, begin)),
                    Happening::Compaction => {
                        let is_over = |cell: &Cell| {
                            let is_early = is_dropped_early
                                && cell.state == State::Tombstone
                                && replaced_end.is_some_and(|end: Until| !end.is_after(now));
                            cell.is_droppable(now) || is_early
                        };
                        dropped = dropped.filter(|cell| !is_over(cell));
                        continue;
                    }
                    Happening::Seconds => {
                        now = now.saturating_add(Duration::from_secs(2));
                        continue;
                    }
                    Happening::Day => {
                        now = now.saturating_add(Duration::from_secs(26 * 3600));
                        continue;
                    }
                };
                if let (Happening::Delete, Some(State::Live { expires_at, .. })) =
                    (step, dropped.as_ref().map(|cell: &Cell| &cell.state))
                {
                    replaced_end = Some(*expires_at);
                }
                fold(&mut dropped, event.clone());
                fold(&mut kept, event);
                if shows(dropped.as_ref(), now) != shows(kept.as_ref(), now) {
                    return true;
                }
            }
            false
        };
        assert!(!shows_what_is_covered(false), "{steps:?}");
        caught += usize::from(shows_what_is_covered(true));
    }
    println!("{caught} orders catch a view that drops tombstones early");
    assert!(0 < caught);
}
