//! The promises of [`EventLog`] as tests, run by every backend.
//!
//! A backend's tests say how to open, restart and thin out a log ([`Subject`]), and [`conformance_tests!`] makes one
//! test of each promise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream::BoxStream};
use schemas::{Headers, Offset, Partition, PartitionCount, Position, Record, Topic};

use crate::{Appended, Batch, Entry, EventLog, Frontier, ReadError};

/// How many partitions the suite wants.
pub const PARTITIONS: u32 = 3;

/// Far above what any step takes; a promise of progress that is broken ends here instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A backend under test.
pub trait Subject {
    /// The log, empty at first, with [`PARTITIONS`] partitions.
    fn log(&self) -> Arc<dyn EventLog>;
    /// Ends the log's process, as a clean stop does, and starts another on the same storage.
    fn restart(&mut self);
    /// Makes the records at these offsets vanish, as compaction and retention do.
    fn drop_records(&self, partition: Partition, offsets: &[u64]);
}

/// The topic that the suite uses.
pub fn topic() -> Topic {
    Topic { origin: "eqiad".parse().expect("a name"), store: "sessions".parse().expect("a name") }
}

/// [`PARTITIONS`] as a count.
pub fn partitions() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("within the limits")
}

/// One `#[tokio::test]` for each promise, on what the expression makes. `@without_drops` leaves out those for which records
/// have to vanish.
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_tests!(@without_drops $subject);
        $crate::conformance_tests!(@each $subject;
            a_partition_with_holes_has_a_reachable_tail
            a_partition_whose_end_was_dropped_has_a_reachable_tail
            a_partition_emptied_by_retention_has_a_reachable_tail
            a_tail_does_not_go_back_when_the_end_is_dropped_and_the_log_restarts
        );
    };
    (@without_drops $subject:expr) => {
        $crate::conformance_tests!(@each $subject;
            a_resolved_commit_can_be_read_back
            order_within_a_partition_is_the_order_of_calls
            concurrent_appends_each_get_a_place_of_their_own
            a_reader_goes_on_from_its_frontier
            a_reader_that_waits_is_woken
            tail_covers_every_resolved_commit
            what_was_acknowledged_survives_a_restart
            the_incarnation_survives_a_restart
            an_empty_partition_has_a_reachable_tail
            a_position_beyond_the_end_is_out_of_range
            null_empty_and_large_values_are_kept
            more_than_one_batch_is_read_in_pieces
        );
    };
    (@each $subject:expr; $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            $crate::conformance::$name(&mut $subject).await;
        }
    )*};
}

fn record(name: &str) -> Record {
    let headers = Headers::from_pairs([("op", &b"set"[..]), ("op", b"\xff\x00")]).expect("short headers fit");
    Record {
        key: Bytes::copy_from_slice(name.as_bytes()),
        headers,
        value: Some(Bytes::from_static(b"value")),
    }
}

async fn append(log: &Arc<dyn EventLog>, partition: u32, record: Record) -> Appended {
    let commit = log.enqueue(Partition(partition), record).expect("the queue has room");
    tokio::time::timeout(PATIENCE, commit).await.expect("an append ends").expect("an append succeeds")
}

async fn append_all(log: &Arc<dyn EventLog>, partition: u32, count: usize) -> Vec<Record> {
    let records: Vec<_> = (0..count).map(|n| record(&format!("{partition}/{n}"))).collect();
    for record in &records {
        append(log, partition, record.clone()).await;
    }
    records
}

/// What a reader brings from `from` until it has covered the tail of now.
///
/// # Panics
/// When it does not get there.
pub async fn read_to_tail(log: &Arc<dyn EventLog>, from: Frontier) -> BTreeMap<Partition, Vec<Entry>> {
    let tail = log.tail().await.expect("the log answers");
    let mut reader = Arc::clone(log).read(from.clone());
    let (mut reached, mut found) = (from, BTreeMap::<_, Vec<Entry>>::new());
    while !reached.is_at_least(&tail) {
        let Batch { partition, entries, up_to } = next(&mut reader).await;
        assert!(entries.iter().all(|entry| reached.get(partition) <= entry.offset && entry.offset < up_to));
        assert!(entries.is_sorted_by_key(|entry| entry.offset));
        reached.advance(partition, up_to);
        found.entry(partition).or_default().extend(entries);
    }
    found
}

async fn next(reader: &mut BoxStream<'static, Result<Batch, ReadError>>) -> Batch {
    let batch = tokio::time::timeout(PATIENCE, reader.next()).await.expect("a reader gets to the tail");
    batch.expect("a reader does not end").expect("the log can be read")
}

fn records_of(found: &BTreeMap<Partition, Vec<Entry>>, partition: u32) -> Vec<Record> {
    let entries = found.get(&Partition(partition)).map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry.record.clone()).collect()
}

/// Key, headers and value come back as they were given, at the place and time that the commit named.
pub async fn a_resolved_commit_can_be_read_back(subject: &mut impl Subject) {
    let log = subject.log();
    let appended = append(&log, 1, record("a")).await;
    assert_eq!(appended.position, Position { partition: Partition(1), offset: Offset(0) });
    let found = read_to_tail(&log, Frontier::empty()).await;
    let Appended { position, append_time } = appended;
    let expected = Entry { offset: position.offset, append_time, record: record("a") };
    assert_eq!(found[&Partition(1)], [expected]);
}

/// Also when nobody waits for the one before.
pub async fn order_within_a_partition_is_the_order_of_calls(subject: &mut impl Subject) {
    let log = subject.log();
    let records: Vec<_> = (0..200).map(|n| record(&n.to_string())).collect();
    let commits: Vec<_> =
        records.iter().map(|record| log.enqueue(Partition(0), record.clone()).expect("room")).collect();
    for commit in commits {
        commit.await.expect("an append succeeds");
    }
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 0), records);
}

/// No offset twice, none lost.
pub async fn concurrent_appends_each_get_a_place_of_their_own(subject: &mut impl Subject) {
    let log = subject.log();
    let appends = (0..100).map(|n| append(&log, n % PARTITIONS, record(&n.to_string())));
    let mut places: Vec<_> = join_all(appends).await.into_iter().map(|appended| appended.position).collect();
    places.sort_by_key(|position| (position.partition, position.offset));
    places.dedup();
    assert_eq!(places.len(), 100);
    let found = read_to_tail(&log, Frontier::empty()).await;
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 100);
}

/// What the frontier covers is not read again, what it does not cover is.
pub async fn a_reader_goes_on_from_its_frontier(subject: &mut impl Subject) {
    let log = subject.log();
    let (zero, one) = (append_all(&log, 0, 5).await, append_all(&log, 1, 2).await);
    let found = read_to_tail(&log, Frontier::from_iter([(Partition(0), Offset(3))])).await;
    assert_eq!(records_of(&found, 0), zero[3..]);
    assert_eq!(records_of(&found, 1), one);
}

/// A reader at the tail gets what is appended later.
pub async fn a_reader_that_waits_is_woken(subject: &mut impl Subject) {
    let log = subject.log();
    append_all(&log, 0, 1).await;
    let tail = log.tail().await.expect("the log answers");
    let mut reader = Arc::clone(&log).read(tail);
    let waiting = tokio::spawn(async move { next(&mut reader).await });
    tokio::task::yield_now().await;
    append(&log, 2, record("late")).await;
    let batch = waiting.await.expect("the reader does not panic");
    assert_eq!(batch.entries.iter().map(|entry| &entry.record).collect::<Vec<_>>(), [&record("late")]);
}

/// The barrier rests on this.
pub async fn tail_covers_every_resolved_commit(subject: &mut impl Subject) {
    let log = subject.log();
    for n in 0..50 {
        let appended = append(&log, n % PARTITIONS, record("x")).await;
        assert!(log.tail().await.expect("the log answers").covers(appended.position));
    }
}

/// A clean stop; crashes of the real process are tested where there is one.
pub async fn what_was_acknowledged_survives_a_restart(subject: &mut impl Subject) {
    let records = append_all(&subject.log(), 0, 20).await;
    subject.restart();
    let log = subject.log();
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 0), records);
    let appended = append(&log, 0, record("after")).await;
    assert_eq!(appended.position.offset, Offset(20));
}

/// Positions of the same log stay good.
pub async fn the_incarnation_survives_a_restart(subject: &mut impl Subject) {
    let before = subject.log().incarnation();
    subject.restart();
    assert_eq!(subject.log().incarnation(), before);
}

/// Nothing to read, nothing to wait for.
pub async fn an_empty_partition_has_a_reachable_tail(subject: &mut impl Subject) {
    let log = subject.log();
    append_all(&log, 1, 3).await;
    let found = read_to_tail(&log, Frontier::empty()).await;
    assert_eq!(records_of(&found, 0), []);
}

/// Compaction takes records from the middle.
pub async fn a_partition_with_holes_has_a_reachable_tail(subject: &mut impl Subject) {
    let log = subject.log();
    let records = append_all(&log, 0, 6).await;
    subject.drop_records(Partition(0), &[0, 2, 3]);
    let found = read_to_tail(&log, Frontier::empty()).await;
    assert_eq!(records_of(&found, 0), [records[1].clone(), records[4].clone(), records[5].clone()]);
    let from_a_hole = read_to_tail(&log, Frontier::from_iter([(Partition(0), Offset(2))])).await;
    assert_eq!(records_of(&from_a_hole, 0), records[4..]);
}

/// A transaction marker, or a tombstone that retention took, may be the last of its partition.
pub async fn a_partition_whose_end_was_dropped_has_a_reachable_tail(subject: &mut impl Subject) {
    let log = subject.log();
    let records = append_all(&log, 0, 4).await;
    subject.drop_records(Partition(0), &[2, 3]);
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 0), records[..2]);
}

/// Everything has gone, and the tail is where it was.
pub async fn a_partition_emptied_by_retention_has_a_reachable_tail(subject: &mut impl Subject) {
    let log = subject.log();
    append_all(&log, 0, 4).await;
    subject.drop_records(Partition(0), &[0, 1, 2, 3]);
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 0), []);
    assert_eq!(log.tail().await.expect("the log answers").get(Partition(0)), Offset(4));
}

/// Or an offset would be given twice.
pub async fn a_tail_does_not_go_back_when_the_end_is_dropped_and_the_log_restarts(
    subject: &mut impl Subject,
) {
    append_all(&subject.log(), 0, 4).await;
    subject.drop_records(Partition(0), &[2, 3]);
    subject.restart();
    let appended = append(&subject.log(), 0, record("after")).await;
    assert_eq!(appended.position.offset, Offset(4));
}

/// A reader from another log, or from a newer state of this one, is told so and never skips.
pub async fn a_position_beyond_the_end_is_out_of_range(subject: &mut impl Subject) {
    let log = subject.log();
    append_all(&log, 0, 2).await;
    let mut reader = Arc::clone(&log).read(Frontier::from_iter([(Partition(0), Offset(3))]));
    let first = tokio::time::timeout(PATIENCE, reader.next()).await.expect("the reader answers");
    let expected = (Partition(0), Offset(3), Offset(2));
    assert!(
        matches!(first, Some(Err(ReadError::OutOfRange { partition, asked, tail })) if (partition, asked, tail) == expected)
    );
}

/// Null is a delete; empty is not.
pub async fn null_empty_and_large_values_are_kept(subject: &mut impl Subject) {
    let log = subject.log();
    let values = [None, Some(Bytes::new()), Some(Bytes::from(vec![7; 2 * 1024 * 1024]))];
    let records = values.map(|value| Record { value, ..record("k") });
    for record in &records {
        append(&log, 0, record.clone()).await;
    }
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 0), records);
}

/// Batches are bounded, and nothing is lost between two of them.
pub async fn more_than_one_batch_is_read_in_pieces(subject: &mut impl Subject) {
    let log = subject.log();
    let count = schemas::caps::BATCH_RECORDS_MAX + 10;
    let records: Vec<_> = (0..count).map(|n| record(&n.to_string())).collect();
    let commits = records.iter().map(|record| log.enqueue(Partition(2), record.clone()).expect("room"));
    for commit in commits.collect::<Vec<_>>() {
        commit.await.expect("an append succeeds");
    }
    let mut reader = Arc::clone(&log).read(Frontier::empty());
    let first = next(&mut reader).await;
    assert!((1..=schemas::caps::BATCH_RECORDS_MAX).contains(&first.entries.len()), "{}", first.entries.len());
    assert_eq!(records_of(&read_to_tail(&log, Frontier::empty()).await, 2), records);
}
