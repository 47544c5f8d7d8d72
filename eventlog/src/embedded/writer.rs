//! The one thread that appends: takes what waits, writes it with one sync, answers.
//!
//! ```text
//!                  no room on the disk: refused, nothing was written
//!                 ╱
//!   what waits ──┼── written and synced: stored
//!                 ╲
//!                  failed ── for want of space ──▶ what was in the batch waits, what comes meanwhile is refused
//!                    │                                │                     │
//!                    │                       RocksDB has recovered     it has not, or we stop
//!                    ▼                                ▼                     ▼
//!                  poison: unknown             refused, for certain       unknown
//! ```

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rocksdb::{DB, ErrorKind, WriteBatch};
use schemas::{Offset, Partition, Position, Timestamp, Topic};
use tokio::sync::watch;

use super::{
    HasRoom, keys,
    queue::{Pending, Queue},
    recent::Recent,
    record,
    stamps::Stamps,
    synced,
};
use crate::{AppendError, Appended, CommitResolver, Entry, Frontier};

/// How often a log that has met the end of the disk is tried again, while there is room.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// How long RocksDB may take to recover once there is room: it looks every 5 s, and then writes out its memory. What it
/// has not recovered from by then it holds to be fatal.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    pub(super) topic: Topic,
    pub(super) db: Arc<DB>,
    pub(super) queue: Arc<Queue>,
    pub(super) stamps: Stamps,
    pub(super) has_room: Box<HasRoom>,
    pub(super) recent: Arc<Recent>,
    pub(super) tail: watch::Sender<Frontier>,
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
}

/// What a batch needs to be answered.
type Answers = Vec<(Position, CommitResolver)>;

/// What a batch puts where.
type Placed = Vec<(Partition, Entry)>;

/// How the wait for space ended.
enum Recovery {
    /// The log takes records again.
    Done,
    /// It never will; or nobody waits for it any more, since the log is closed.
    Failed(rocksdb::Error),
}

impl Writer {
    pub(super) fn run(self) {
        let options = synced();
        loop {
            let waiting = self.queue.take_batch();
            if waiting.is_empty() {
                return;
            }
            if !(self.has_room)() {
                self.refuse(waiting);
                continue;
            }
            let append_time = self.stamps.now();
            let (batch, placed, answers) = self.place(waiting, append_time);
            // IMPORTANT: tail and answers follow the sync. Before it, nothing in this batch is durable.
            match self.db.write_opt(batch, &options) {
                Ok(()) => self.publish(placed, answers, append_time),
                Err(error) if is_for_want_of_space(&error) => match self.wait_for_space(error) {
                    // IMPORTANT: not before. Until RocksDB has left its write-ahead log behind, a crash could bring the
                    // batch back from it.
                    Recovery::Done => {
                        refuse(answers.into_iter().map(|(_, resolver)| resolver), &self.no_space())
                    }
                    Recovery::Failed(error) => return self.poison(answers, &error),
                },
                Err(error) => return self.poison(answers, &error),
            }
        }
    }

    /// Gives every record the next offset of its partition.
    fn place(&self, waiting: Vec<Pending>, append_time: Timestamp) -> (WriteBatch, Placed, Answers) {
        let mut batch = WriteBatch::default();
        let mut next: BTreeMap<Partition, Offset> = BTreeMap::new();
        let mut placed = Vec::with_capacity(waiting.len());
        let mut answers = Vec::with_capacity(waiting.len());
        for Pending { partition, record, resolver } in waiting {
            let offset = next.entry(partition).or_insert_with(|| self.tail.borrow().get(partition));
            batch.put(keys::record(partition, *offset), record::encode(append_time, &record));
            placed.push((partition, Entry { offset: *offset, append_time, record }));
            answers.push((Position { partition, offset: *offset }, resolver));
            *offset = offset.next();
        }
        for (partition, offset) in next {
            batch.put(keys::tail(partition), offset.0.to_be_bytes());
        }
        (batch, placed, answers)
    }

    fn publish(&self, placed: Placed, answers: Answers, append_time: Timestamp) {
        // Whoever the tail wakes looks there.
        self.recent.push(placed);
        self.tail.send_modify(|tail| {
            for (position, _) in &answers {
                tail.advance(position.partition, position.offset.next());
            }
        });
        for (position, resolver) in answers {
            resolver.resolve(Ok(Appended { position, append_time }));
        }
    }

    /// Refuses what comes until RocksDB takes writes again.
    ///
    /// RocksDB stops at an error for want of space, and recovers by itself: it looks for space every 5 s, writes what it
    /// has in memory into sorted files, and begins a new write-ahead log. The batch that failed is in none of them. Its
    /// `error_handler.cc` and `sst_file_manager_impl.cc` say so; a write that succeeds tells us that it has.
    fn wait_for_space(&self, error: rocksdb::Error) -> Recovery {
        tracing::error!("{} takes nothing until there is space on its disk: {error}", self.topic);
        let mut room_since = None;
        loop {
            let Some(waiting) = self.queue.take_batch_within(TRY_EVERY) else {
                return Recovery::Failed(error);
            };
            self.refuse(waiting);
            if !(self.has_room)() {
                room_since = None;
                continue;
            }
            let mut trial = WriteBatch::default();
            trial.put(keys::RECOVERED, self.stamps.now().as_millis().to_be_bytes());
            match self.db.write_opt(trial, &synced()) {
                Ok(()) => {
                    tracing::info!("{} takes records again", self.topic);
                    return Recovery::Done;
                }
                Err(error) if !is_for_want_of_space(&error) => return Recovery::Failed(error),
                Err(error) if RECOVERY_PATIENCE < room_since.get_or_insert_with(Instant::now).elapsed() => {
                    return Recovery::Failed(error);
                }
                Err(_) => {}
            }
        }
    }

    fn refuse(&self, waiting: Vec<Pending>) {
        refuse(waiting.into_iter().map(|pending| pending.resolver), &self.no_space());
    }

    fn no_space(&self) -> Arc<str> {
        format!("there is no space on the disk of the log {}", self.topic).into()
    }

    /// A failed write or sync ends this log: nobody knows what the disk holds, and a second try could lie.
    fn poison(self, answers: Answers, error: &rocksdb::Error) {
        let reason: Arc<str> = format!(
            "a write to the log {} failed: {error}. Nobody knows what the disk holds now: check it, and start again. \
             The start reads what is there, and everything that was acknowledged is",
            self.topic
        )
        .into();
        self.queue.close(Arc::clone(&reason));
        let unknown = || Err(AppendError::Unknown(Arc::clone(&reason)));
        answers.into_iter().for_each(|(_, resolver)| resolver.resolve(unknown()));
        loop {
            let never_written = self.queue.take_batch();
            if never_written.is_empty() {
                break;
            }
            refuse(never_written.into_iter().map(|pending| pending.resolver), &reason);
        }
        self.failure.send_replace(Some(reason));
    }
}

/// Answers that nothing is stored, and never will be.
fn refuse(resolvers: impl Iterator<Item = CommitResolver>, why: &Arc<str>) {
    resolvers.for_each(|resolver| resolver.resolve(Err(AppendError::Refused(Arc::clone(why)))));
}

/// RocksDB's binding hands out errors as text: the code comes first, and the system's own words for `ENOSPC`.
fn is_for_want_of_space(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && error.as_ref().contains("No space left on device")
}
