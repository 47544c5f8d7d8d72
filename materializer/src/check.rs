//! Records of a log before they are believed: whether they are ours, and what they say. Needs no view, so it can run ahead
//! of the fold.

use eventlog::{Batch, Entry};
use schemas::{DecodeError, MacError, MacKey, Message, Offset, Partition, Timestamp, Topic};

/// A batch of a log, checked.
#[derive(Debug)]
pub struct CheckedBatch {
    /// Which partition.
    pub partition: Partition,
    /// Its records.
    pub entries: Vec<Checked>,
    /// The offset after the batch.
    pub up_to: Offset,
}

/// A record, and what it says if it is ours.
#[derive(Debug)]
pub struct Checked {
    /// Where it stands.
    pub offset: Offset,
    /// When the log took it.
    pub append_time: Timestamp,
    /// What it says, or why it is set aside.
    pub message: Result<Message, Refusal>,
}

/// Why a record was set aside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody with the index secret wrote it, or not here, or not so.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// It is one of ours, but not of a format that this release reads.
    #[error(transparent)]
    Format(#[from] DecodeError),
}

impl CheckedBatch {
    /// Checks `batch`, which stands in `topic`.
    pub fn of(topic: &Topic, mac: &MacKey, batch: Batch) -> Self {
        let Batch { partition, entries, up_to } = batch;
        let entries = entries.into_iter().map(|entry| Checked::of(topic, partition, mac, &entry)).collect();
        Self { partition, entries, up_to }
    }
}

impl Checked {
    fn of(topic: &Topic, partition: Partition, mac: &MacKey, entry: &Entry) -> Self {
        let Entry { offset, append_time, record } = entry;
        // IMPORTANT: the MAC comes before anything else is believed.
        let verified = mac.verify(topic, partition, record).map_err(Refusal::Mac);
        let message = verified.and_then(|()| record.decode().map_err(Refusal::Format));
        Self { offset: *offset, append_time: *append_time, message }
    }
}
