//! The one thread that appends: takes what waits, writes it with one sync, answers.

use std::{collections::BTreeMap, sync::Arc};

use rocksdb::{DB, WriteBatch};
use schemas::{Offset, Partition, Position, Timestamp};
use tokio::sync::watch;

use super::{
    keys,
    queue::{Pending, Queue},
    record, synced,
};
use crate::{AppendError, Appended, Clock, CommitResolver, Frontier};

pub(super) struct Writer {
    pub(super) db: Arc<DB>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tail: watch::Sender<Frontier>,
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
}

impl Writer {
    pub(super) fn run(self) {
        let options = synced();
        loop {
            let waiting = self.queue.take_batch();
            if waiting.is_empty() {
                return;
            }
            let append_time = self.clock.wall();
            let (batch, answers) = self.place(waiting, append_time);
            // IMPORTANT: tail and answers follow the sync. Before it, nothing in this batch is durable.
            match self.db.write_opt(batch, &options) {
                Ok(()) => self.publish(answers, append_time),
                Err(error) => return self.poison(answers, &error),
            }
        }
    }

    /// Gives every record the next offset of its partition.
    fn place(
        &self,
        waiting: Vec<Pending>,
        append_time: Timestamp,
    ) -> (WriteBatch, Vec<(Position, CommitResolver)>) {
        let mut batch = WriteBatch::default();
        let mut next: BTreeMap<Partition, Offset> = BTreeMap::new();
        let mut answers = Vec::with_capacity(waiting.len());
        for Pending { partition, record, resolver } in waiting {
            let offset = next.entry(partition).or_insert_with(|| self.tail.borrow().get(partition));
            batch.put(keys::record(partition, *offset), record::encode(append_time, &record));
            answers.push((Position { partition, offset: *offset }, resolver));
            *offset = offset.next();
        }
        for (partition, offset) in next {
            batch.put(keys::tail(partition), offset.0.to_be_bytes());
        }
        (batch, answers)
    }

    fn publish(&self, answers: Vec<(Position, CommitResolver)>, append_time: Timestamp) {
        self.tail.send_modify(|tail| {
            for (position, _) in &answers {
                tail.advance(position.partition, position.offset.next());
            }
        });
        for (position, resolver) in answers {
            resolver.resolve(Ok(Appended { position, append_time }));
        }
    }

    /// A failed write or sync ends this log: nobody knows what the disk holds, and a second try could lie.
    fn poison(self, answers: Vec<(Position, CommitResolver)>, error: &rocksdb::Error) {
        let reason: Arc<str> = format!("a write to the log failed: {error}").into();
        self.queue.close(Arc::clone(&reason));
        let unknown = || Err(AppendError::Unknown(Arc::clone(&reason)));
        answers.into_iter().for_each(|(_, resolver)| resolver.resolve(unknown()));
        loop {
            let never_written = self.queue.take_batch();
            if never_written.is_empty() {
                break;
            }
            for pending in never_written {
                pending.resolver.resolve(Err(AppendError::Refused(Arc::clone(&reason))));
            }
        }
        self.failure.send_replace(Some(reason));
    }
}
