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
        has_room: Box::new(|| true),
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
    let mut options = db_options(&Rule::default());
    options.enable_statistics();
    let db = DB::open(&options, dir.path()).unwrap();
    let syncs = || options.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced);
    let before = syncs();
    db.put_opt(b"k", b"v", &synced()).unwrap();
    assert_eq!(syncs(), before + 1);
}

#[tokio::test]
async fn what_is_read_from_memory_is_what_the_disk_holds() {
    let subject = Embedded::new();
    let log = subject.embedded();
    for n in 0..30 {
        log.enqueue(Partition(n % 3), record()).unwrap().await.unwrap();
    }
    let tail = log.tail.borrow().clone();
    for partition in [0, 1, 2].map(Partition) {
        let recent =
            log.recent.read(partition, Offset(4), tail.get(partition)).expect("it was just appended");
        let on_disk: Vec<_> =
            reader::read_all(&log, partition).into_iter().filter(|entry| Offset(4) <= entry.offset).collect();
        assert_eq!((recent.entries.len(), recent.up_to), (6, Offset(10)));
        assert_eq!(recent.entries, on_disk);
    }
}

/// RocksDB compacts by itself too, and asks the same rule.
#[tokio::test]
async fn while_somebody_needs_everything_no_compaction_drops_anything() {
    let subject = Embedded::new();
    let log = subject.embedded();
    for n in 0..30 {
        log.enqueue(Partition(n % 3), record()).unwrap().await.unwrap();
    }
    log.drop_what(Box::new(|_, _| true));
    let compacted = || {
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        log.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        (0..3).map(|n| reader::read_all(&log, Partition(n)).len()).sum::<usize>()
    };
    let (one, other) = (log.keep_all(), log.keep_all());
    assert_eq!(compacted(), 30);
    drop(one);
    assert_eq!(compacted(), 30, "the other needs it still");
    drop(other);
    assert_eq!(compacted(), 0);
}

/// A log of 16 MiB of which one record in a hundred is needed.
#[tokio::test]
async fn a_cleaning_drops_what_the_rule_says_and_nothing_else() {
    let mut subject = Embedded::new();
    let log = subject.embedded();
    let value =
        |n: u32| Record { value: Some(vec![u8::try_from(n % 100).unwrap(); 16 * 1024].into()), ..record() };
    for n in 0..1_000 {
        log.enqueue(Partition(n % 3), value(n)).unwrap().await.unwrap();
    }
    assert_eq!(log.clean_if_due().unwrap(), None, "there is no rule yet");
    log.drop_what(Box::new(|_, record| record.value.as_ref().is_some_and(|value| value[0] != 7)));
    for n in 0..1_000 {
        log.enqueue(Partition(n % 3), value(n)).unwrap().await.unwrap();
    }
    log.clean_if_due().unwrap();
    let (before, after) = log.clean_if_due().unwrap().expect("it is quiet, and there is enough to drop");
    assert!(after < before / 20, "{before} {after}");
    assert_eq!(log.clean_if_due().unwrap(), None, "there is nothing left to drop");
    assert_eq!(log.bytes().unwrap(), after);

    let kept = |log: &Arc<EmbeddedLog>| {
        let all = (0..3).map(|n| reader::read_all(log, Partition(n)));
        all.flatten().map(|entry| entry.record.value.unwrap()[0]).collect::<Vec<_>>()
    };
    assert_eq!(kept(&log), [7; 20]);
    let tail = log.tail().await.unwrap();
    drop(log);
    conformance::Subject::restart(&mut subject);
    assert_eq!(kept(&subject.embedded()), [7; 20]);
    assert_eq!(subject.embedded().tail().await.unwrap(), tail);
}

#[test]
fn the_longest_life_of_all_starts_is_remembered() {
    let mut subject = Embedded::new();
    let hour = Duration::from_secs(3600);
    assert_eq!(subject.embedded().longest_ttl(Some(hour)).unwrap(), Some(hour));
    assert_eq!(subject.embedded().longest_ttl(Some(hour / 2)).unwrap(), Some(hour));
    conformance::Subject::restart(&mut subject);
    assert_eq!(subject.embedded().longest_ttl(Some(hour / 2)).unwrap(), Some(hour));
    assert_eq!(subject.embedded().longest_ttl(None).unwrap(), None);
    conformance::Subject::restart(&mut subject);
    assert_eq!(subject.embedded().longest_ttl(Some(hour)).unwrap(), None);
}

#[tokio::test]
async fn a_log_without_room_refuses_and_goes_on_when_there_is_some() {
    let dir = TempDir::new().unwrap();
    let room = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let has_room = {
        let room = Arc::clone(&room);
        Box::new(move || room.load(std::sync::atomic::Ordering::SeqCst))
    };
    let log = EmbeddedLog::open(dir.path(), EmbeddedOptions { has_room, ..options("one", 3) }).unwrap();
    for _ in 0..3 {
        let refused = log.enqueue(Partition(0), record()).unwrap().await;
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    }
    room.store(true, std::sync::atomic::Ordering::SeqCst);
    let appended = log.enqueue(Partition(0), record()).unwrap().await.unwrap();
    assert_eq!(appended.position.offset, Offset(0), "what was refused has no place");
    assert!(log.failure().borrow().is_none());
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
