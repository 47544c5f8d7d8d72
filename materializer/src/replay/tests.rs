use eventlog::{Clock, Incarnation, ManualClock, memory::MemoryLog};
use futures::FutureExt;
use schemas::{
    Change, Event, Headers, Hlc, KeyId, Partition, PartitionCount, Record, Sealed, Sequence, Timestamp,
    Until, WriterId,
};

use super::*;
use crate::memory::MemoryView;

fn topic() -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn mac() -> MacKey {
    MacKey::derive(b"an index secret")
}

fn log_of(partitions: u32) -> (Arc<MemoryLog>, Arc<dyn Clock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000))) as Arc<dyn Clock>;
    let partitions = PartitionCount::new(partitions).unwrap();
    (MemoryLog::new(topic(), partitions, Incarnation("one".into()), Arc::clone(&clock)), clock)
}

fn append(log: &MemoryLog, partition: u32, key: u8, n: u64) {
    let sealed = Sealed("contents".into());
    let event = Event {
        key: KeyId::from_bytes([key; 16]),
        version: Version { hlc: Hlc::from_bits(n), writer: WriterId(1) },
        retain_until: Until::Never,
        headers: Headers::default(),
        change: Change::Set { expires_at: Until::Never, sealed },
    };
    let record = Record::of_event(event, Sequence { appender: WriterId(1), number: 1 }).unwrap();
    log.append(Partition(partition), mac().sign(&topic(), Partition(partition), record));
}

fn replay(log: &Arc<MemoryLog>, clock: &Arc<dyn Clock>) -> (Arc<MemoryView>, Replay) {
    let view = Arc::new(MemoryView::new([(topic(), Incarnation("one".into()))]));
    let own = Arc::clone(log) as Arc<dyn EventLog>;
    let log_clock = Arc::new(LogClock::new(Arc::clone(clock)));
    let into = Arc::clone(&view) as Arc<dyn View>;
    (view, Replay::new(&own, &[], into, mac(), log_clock).unwrap())
}

fn bounds<const N: usize>(ends: [u64; N]) -> Frontiers {
    let ends = (0..).zip(ends).map(|(partition, end)| (Partition(partition), Offset(end)));
    Frontiers::from([(topic(), ends.collect())])
}

fn as_it_is(replay: Replay) -> Replay {
    replay
}

#[tokio::test]
async fn it_stops_exactly_at_its_bounds_and_goes_on_from_there() {
    for how in [as_it_is, Replay::reading_ahead] {
        stops_at_its_bounds(how).await;
    }
}

async fn stops_at_its_bounds(how: fn(Replay) -> Replay) {
    let (log, clock) = log_of(2);
    for n in 0..10 {
        append(&log, 0, u8::try_from(n).unwrap(), 1 + n);
        append(&log, 1, 100 + u8::try_from(n).unwrap(), 1 + n);
    }
    let (view, replay) = replay(&log, &clock);
    let mut replay = how(replay);
    let mut told = Vec::new();
    replay.up_to(&bounds([3, 7]), |done, total| told.push((done, total))).await.unwrap();
    assert_eq!(view.saved().unwrap().logs[&topic()].frontier, bounds([3, 7])[&topic()]);
    assert_eq!(view.contents().cells.len(), 10);
    assert_eq!(told.first(), Some(&(0, 10)));
    assert_eq!(told.iter().map(|(done, _)| done).sum::<u64>(), 10);

    let tails = replay.tails().await.unwrap();
    assert_eq!(tails, bounds([10, 10]));
    assert_eq!(replay.distance_to(&tails).unwrap(), 10);
    replay.up_to(&tails, |_, _| {}).await.unwrap();
    assert_eq!(view.contents().cells.len(), 20);
    // What lies behind asks nothing of the log.
    replay.up_to(&bounds([3, 7]), |_, _| {}).now_or_never().unwrap().unwrap();
}

#[tokio::test]
async fn what_is_read_ahead_is_checked_and_counted() {
    let (log, clock) = log_of(1);
    append(&log, 0, 1, 5);
    let unsigned = Record::of_heartbeat(WriterId(1), &schemas::Heartbeat::default());
    log.append(Partition(0), unsigned);
    append(&log, 0, 2, 5);
    let (view, replay) = replay(&log, &clock);
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let mut replay = replay.reading_ahead().counted(&metrics);
    replay.up_to(&bounds([3]), |_, _| {}).await.unwrap();
    assert_eq!(view.contents().cells.len(), 2);
    assert_eq!(metrics.records_applied.with_label_values(&["sessions"]).get(), 3);
    assert_eq!(metrics.records_refused.with_label_values(&["sessions"]).get(), 1);
}

#[tokio::test]
async fn nobody_reads_on_once_the_fold_has_ended() {
    let (log, clock) = log_of(1);
    append(&log, 0, 1, 5);
    let (_view, replay) = replay(&log, &clock);
    let mut replay = replay.reading_ahead();
    replay.up_to(&bounds([1]), |_, _| {}).await.unwrap();
    drop(replay);
    // The thread waits for the second record, and holds the log while it does.
    let gone = async {
        while 1 < Arc::strong_count(&log) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("the thread ends");
}

#[tokio::test]
async fn the_debts_of_a_log_are_found_again() {
    let (log, clock) = log_of(1);
    append(&log, 0, 1, 5);
    append(&log, 0, 1, 4);
    append(&log, 0, 2, 4);
    append(&log, 0, 2, 5);
    let (view, mut replay) = replay(&log, &clock);
    let tails = replay.tails().await.unwrap();
    replay.up_to(&tails, |_, _| {}).await.unwrap();
    let owed: Vec<_> = view.saved().unwrap().debts.into_keys().collect();
    assert_eq!(owed, [KeyId::from_bytes([1; 16])]);
}

#[tokio::test]
async fn it_can_be_stopped_between_two_batches() {
    let (log, clock) = log_of(3);
    for partition in 0..3 {
        append(&log, partition, u8::try_from(partition).unwrap(), 1);
    }
    let (view, mut replay) = replay(&log, &clock);
    let tails = replay.tails().await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.run_until_cancelled(replay.up_to(&tails, |done, _| {
        if 0 < done {
            stop.cancel();
        }
    }));
    assert!(stopped.await.is_none());
    assert_eq!(view.contents().cells.len(), 1);
}
