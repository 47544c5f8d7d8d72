use schemas::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{AppendError, ManualClock, conformance};

struct Embedded {
    dir: TempDir,
    log: Option<Arc<EmbeddedLog>>,
}

fn options(incarnation: &str, partitions: u32) -> EmbeddedOptions {
    EmbeddedOptions {
        topic: conformance::topic(),
        partitions: PartitionCount::new(partitions).unwrap(),
        incarnation_if_new: Incarnation(incarnation.into()),
        clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_000))),
    }
}

impl Embedded {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let log = EmbeddedLog::open(dir.path(), options("first", conformance::PARTITIONS)).unwrap();
        Self { dir, log: Some(log) }
    }

    fn embedded(&self) -> Arc<EmbeddedLog> {
        Arc::clone(self.log.as_ref().unwrap())
    }
}

impl conformance::Subject for Embedded {
    fn log(&self) -> Arc<dyn EventLog> {
        self.embedded()
    }

    fn restart(&mut self) {
        self.log = None;
        self.log =
            Some(EmbeddedLog::open(self.dir.path(), options("second", conformance::PARTITIONS)).unwrap());
    }

    fn drop_records(&self, partition: Partition, offsets: &[u64]) {
        self.embedded().drop_records(partition, offsets.iter().copied().map(Offset));
    }
}

crate::conformance_tests!(Embedded::new());

fn record() -> Record {
    Record { key: "k".into(), headers: schemas::Headers::default(), value: None }
}

#[test]
fn another_number_of_partitions_is_refused() {
    let mut subject = Embedded::new();
    subject.log = None;
    let reopened = EmbeddedLog::open(subject.dir.path(), options("x", conformance::PARTITIONS + 1));
    assert!(matches!(reopened, Err(OpenError::Partitions { found: 3, asked: 4 })), "{reopened:?}");
}

#[test]
fn another_format_is_refused() {
    let subject = Embedded::new();
    subject.embedded().db.put(keys::FORMAT, b"solera embedded log 2").unwrap();
    let dir = subject.dir;
    drop(subject.log);
    let reopened = EmbeddedLog::open(dir.path(), options("x", conformance::PARTITIONS));
    assert!(matches!(reopened, Err(OpenError::Format { .. })), "{reopened:?}");
}

#[tokio::test]
async fn a_closed_log_takes_nothing_and_has_written_what_it_took() {
    let subject = Embedded::new();
    let log = subject.embedded();
    let taken: Vec<_> = (0..100).map(|_| log.enqueue(Partition(0), record()).unwrap()).collect();
    log.close();
    for commit in taken {
        assert!(commit.await.is_ok());
    }
    assert!(matches!(log.enqueue(Partition(0), record()), Err(EnqueueError::Closed(_))));
}

/// kill -9 keeps what the kernel has: only the counter of RocksDB tells that a sync was asked for.
#[test]
fn a_batch_is_synced_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = db_options();
    options.enable_statistics();
    let db = DB::open(&options, dir.path()).unwrap();
    let syncs = || options.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced);
    let before = syncs();
    db.put_opt(b"k", b"v", &synced()).unwrap();
    assert_eq!(syncs(), before + 1);
}

#[tokio::test]
async fn a_failed_write_poisons_the_log() {
    let subject = Embedded::new();
    let log = subject.embedded();
    log.enqueue(Partition(0), record()).unwrap().await.unwrap();
    log.db.cancel_all_background_work(true);
    // RocksDB cannot make a new write-ahead log in a directory that is gone, and says so on the next memtable switch.
    std::fs::remove_dir_all(subject.dir.path()).unwrap();
    let mut outcome = Ok(());
    for _ in 0..64 {
        let large = Record { value: Some(vec![0; 1024 * 1024].into()), ..record() };
        match log.enqueue(Partition(0), large) {
            Ok(commit) => outcome = commit.await.map(drop),
            Err(_) => break,
        }
    }
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    let mut failure = log.failure();
    failure.wait_for(Option::is_some).await.unwrap();
    assert!(matches!(log.enqueue(Partition(0), record()), Err(EnqueueError::Closed(_))));
}
