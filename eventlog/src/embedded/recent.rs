//! The newest records, in memory. Whoever follows the log at its end, and a writer waits for nobody else, need not look
//! for them on the disk: that takes longer than all the rest of a fold.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use schemas::{
    Offset, Partition,
    caps::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX},
};

use super::queue::weight;
use crate::{Batch, Entry};

/// What is kept, in bytes of records: two batches of the largest kind.
const BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// The newest records of a log.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Of each partition the last ones, without holes: an append gives consecutive offsets.
    entries: BTreeMap<Partition, VecDeque<Entry>>,
    /// The partitions of all entries, the oldest entry first.
    order: VecDeque<Partition>,
    bytes: usize,
}

impl Recent {
    /// Keeps what was appended, in the order of its offsets.
    pub(super) fn push(&self, appended: impl IntoIterator<Item = (Partition, Entry)>) {
        let mut kept = self.lock();
        for (partition, entry) in appended {
            kept.bytes += weight(&entry.record);
            kept.order.push_back(partition);
            kept.entries.entry(partition).or_default().push_back(entry);
        }
        while BYTES_MAX < kept.bytes {
            let Some(partition) = kept.order.pop_front() else { break };
            let oldest = kept.entries.get_mut(&partition).and_then(VecDeque::pop_front);
            kept.bytes -= oldest.map_or(0, |entry| weight(&entry.record));
        }
    }

    /// What stands from `from` up to `tail`, at most one batch; `None` when it has to be read from the disk.
    pub(super) fn read(&self, partition: Partition, from: Offset, tail: Offset) -> Option<Batch> {
        let kept = self.lock();
        let entries = kept.entries.get(&partition)?;
        let first = entries.front()?.offset;
        let skipped = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let (mut batch, mut bytes) = (Batch { partition, entries: Vec::new(), up_to: from }, 0);
        for entry in entries.iter().skip(skipped).take_while(|entry| entry.offset < tail) {
            bytes += weight(&entry.record);
            batch.up_to = entry.offset.next();
            batch.entries.push(entry.clone());
            if BATCH_RECORDS_MAX <= batch.entries.len() || BATCH_BYTES_MAX <= bytes {
                break;
            }
        }
        (from < batch.up_to).then_some(batch)
    }

    /// Forgets everything, as a start does.
    #[cfg(all(test, feature = "test-util"))]
    pub(super) fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use schemas::{Headers, Record, Timestamp};

    use super::*;

    fn entry(offset: u64, bytes: usize) -> Entry {
        let value = Some(Bytes::from(vec![7; bytes]));
        let record = Record { key: Bytes::new(), headers: Headers::default(), value };
        Entry { offset: Offset(offset), append_time: Timestamp::from_millis(offset), record }
    }

    fn offsets(batch: Option<Batch>) -> Option<(Vec<u64>, u64)> {
        batch.map(|batch| (batch.entries.iter().map(|entry| entry.offset.0).collect(), batch.up_to.0))
    }

    #[test]
    fn it_holds_what_was_appended_up_to_the_tail_and_nothing_older() {
        let recent = Recent::default();
        recent.push([5, 6, 7].map(|offset| (Partition(1), entry(offset, 1))));
        let read =
            |partition, from, tail| offsets(recent.read(Partition(partition), Offset(from), Offset(tail)));
        assert_eq!(read(1, 5, 8), Some((vec![5, 6, 7], 8)));
        assert_eq!(read(1, 6, 7), Some((vec![6], 7)));
        assert_eq!(read(1, 4, 8), None, "it may hold a part only");
        assert_eq!(read(1, 8, 8), None);
        assert_eq!(read(2, 0, 8), None, "of another partition it holds nothing");
    }

    #[test]
    fn what_came_first_goes_first_whatever_its_partition() {
        let recent = Recent::default();
        let quarter = BYTES_MAX / 4;
        let partitions = [1, 2, 2, 1, 1, 2];
        let mut next = [0; 3];
        for partition in partitions {
            recent.push([(Partition(partition), entry(next[partition as usize], quarter))]);
            next[partition as usize] += 1;
        }
        let read = |partition, from| offsets(recent.read(Partition(partition), Offset(from), Offset(9)));
        assert_eq!((read(1, 0), read(2, 0)), (None, None));
        assert_eq!(read(1, 1), Some((vec![1, 2], 3)));
        assert_eq!(read(2, 1), Some((vec![1, 2], 3)));
        recent.push([(Partition(3), entry(0, 2 * BYTES_MAX))]);
        assert_eq!(
            (read(1, 2), read(2, 2), read(3, 0)),
            (None, None, None),
            "it is larger than all that is kept"
        );
    }

    #[test]
    fn a_batch_is_no_larger_than_one_from_the_disk() {
        let recent = Recent::default();
        recent.push((0..10).map(|offset| (Partition(0), entry(offset, BATCH_BYTES_MAX / 4))));
        let read = |from| offsets(recent.read(Partition(0), Offset(from), Offset(10)));
        assert_eq!(read(2), Some((vec![2, 3, 4, 5], 6)));
        assert_eq!(read(9), Some((vec![9], 10)));
        let recent = Recent::default();
        recent.push((0..2 * BATCH_RECORDS_MAX as u64).map(|offset| (Partition(0), entry(offset, 1))));
        let batch = recent.read(Partition(0), Offset(0), Offset(u64::MAX)).unwrap();
        assert_eq!((batch.entries.len(), batch.up_to), (BATCH_RECORDS_MAX, Offset(BATCH_RECORDS_MAX as u64)));
    }
}
