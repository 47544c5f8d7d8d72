use eventlog::{Clock, Incarnation, ManualClock, memory::MemoryLog};
use materializer::{
    Gaps, Metrics, ViewWrite,
    memory::{Contents, MemoryView},
};
use prometheus::Registry;
use schemas::{Headers, Offset, Partition, PartitionCount, Record, Timestamp, Topic};
use tokio_util::sync::CancellationToken;

use super::*;

fn topic() -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn log_of(machine: &Arc<ManualClock>, records: u8) -> Arc<MemoryLog> {
    let one = PartitionCount::new(1).unwrap();
    let log = MemoryLog::new(topic(), one, Incarnation("one".into()), Arc::clone(machine) as Arc<dyn Clock>);
    for n in 0..records {
        let record = Record { key: vec![n].into(), headers: Headers::default(), value: None };
        log.append(Partition(0), record);
    }
    log
}

fn view_at(offset: u64) -> Contents {
    let view = MemoryView::new([(topic(), Incarnation("one".into()))]);
    let positions = vec![(topic(), Partition(0), Offset(offset))];
    view.write(&ViewWrite { positions, ..ViewWrite::default() }).unwrap();
    view.contents()
}

fn store(log: &Arc<MemoryLog>, view: Contents, machine: &Arc<ManualClock>) -> (StoreNode, Follower) {
    let parts = Parts {
        own: Arc::clone(log) as Arc<dyn EventLog>,
        mirrored: Vec::new(),
        view: Arc::new(MemoryView::from_contents(view)),
        cells: CellCache::of(1 << 20),
        clock: Arc::new(LogClock::new(Arc::clone(machine) as Arc<dyn Clock>)),
        mac: MacKey::derive(b"an index secret"),
        retention: Retention::Expiring { ttl_max: Duration::from_secs(3600) },
        writer_id: WriterId(1),
        peers: Vec::new(),
        read_consistency: ReadConsistency::Dc,
        max_ttl: SessionTtl::Never,
        serve_in_outage_for: Duration::ZERO,
        gaps: Arc::new(Gaps::none()),
        counted: Metrics::register(&Registry::new()).unwrap(),
        measured: writer::Metrics::register(&Registry::new()).unwrap(),
    };
    StoreNode::assemble(parts).unwrap()
}

/// Between the look at the log's ends and the first record that is read of it.
#[tokio::test(start_paused = true)]
async fn a_start_ends_when_the_log_drops_what_the_view_would_go_on_with() {
    let machine = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let log = log_of(&machine, 4);
    log.trim(Partition(0), Offset(3));
    let (store, follower) = store(&log, view_at(2), &machine);
    let following = tokio::spawn(follower.run(CancellationToken::new()));
    let up = tokio::time::timeout(Duration::from_secs(60), store.come_up()).await;
    let error = up.expect("it does not wait for ever").unwrap_err();
    assert!(matches!(error, StartError::Lost(_)), "{error}");
    following.abort();

    let (store, follower) = self::store(&log, view_at(3), &machine);
    let following = tokio::spawn(follower.run(CancellationToken::new()));
    store.come_up().await.unwrap();
    following.abort();
}
