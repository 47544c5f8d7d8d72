//! What the nodes of a data centre share, and what came to be there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use eventlog::{Clock, EventLog, Frontier, Incarnation, memory::MemoryLog};
use futures::{FutureExt, StreamExt};
use schemas::{
    Change, Dc, Event, Headers, Hlc, KeyId, MacKey, Message, Offset, Partition, PartitionCount, Position,
    Record, Sequence, Topic, Until, Version, WriterId,
};

use super::{
    clock::{BEGINNING, NetworkClock},
    plan::NEWER_KEYS,
};

/// A data centre that is asked.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its name.
    pub(crate) dc: Dc,
    /// Its log.
    pub(crate) log: Arc<MemoryLog>,
    /// The time.
    pub(crate) clock: Arc<NetworkClock>,
    /// Proves that a record is ours.
    pub(crate) mac: MacKey,
    /// When a node that took a record had first applied it.
    applied: Mutex<BTreeMap<(Partition, Offset), Duration>>,
}

/// An event in a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredEvent {
    /// Whose.
    pub(crate) key: KeyId,
    /// Which.
    pub(crate) version: Version,
    /// Since when.
    pub(crate) stored: Duration,
    /// Since when a node that took it had applied it, if one did.
    pub(crate) applied: Option<Duration>,
}

impl Site {
    /// A data centre that holds nothing but what is newer than all that will be asked for.
    pub(crate) fn new(dc: &str, clock: &Arc<NetworkClock>) -> Arc<Self> {
        let dc: Dc = dc.parse().unwrap();
        let topic = Topic { origin: dc.clone(), store: "sessions".parse().unwrap() };
        let partitions = PartitionCount::new(2).unwrap();
        let log = MemoryLog::new(topic, partitions, Incarnation("one".into()), Arc::clone(clock) as _);
        let mac = MacKey::derive(b"the simulation's index secret");
        let site = Self { dc, log, clock: Arc::clone(clock), mac, applied: Mutex::default() };
        (0..NEWER_KEYS).for_each(|key| site.append_newer(key));
        Arc::new(site)
    }

    /// The record at `position` has been applied by who took it.
    pub(crate) fn applied(&self, Position { partition, offset }: Position) {
        let mut applied = self.applied.lock().unwrap();
        applied.entry((partition, offset)).or_insert_with(|| self.clock.monotonic());
    }

    /// All that its log holds.
    pub(crate) fn events(&self) -> Vec<StoredEvent> {
        let applied = self.applied.lock().unwrap();
        let mut batches = Arc::clone(&self.log).read(Frontier::empty());
        let mut events = Vec::new();
        while let Some(Some(Ok(batch))) = batches.next().now_or_never() {
            for entry in batch.entries {
                let Ok(Message::Event { event: Event { key, version, .. }, .. }) = entry.record.decode()
                else {
                    continue;
                };
                let stored = entry.append_time.since(BEGINNING);
                let applied = applied.get(&(batch.partition, entry.offset)).copied();
                events.push(StoredEvent { key, version, stored, applied });
            }
        }
        events
    }

    fn append_newer(&self, key: u8) {
        let key = key_of(key);
        let headers = Headers::default();
        let event =
            Event { key, version: newer(), retain_until: Until::Never, headers, change: Change::Delete };
        let record = Record::of_event(event, Sequence { appender: WriterId(0), number: 1 }).unwrap();
        let partition = key.partition(self.log.partitions());
        self.log.append(partition, self.mac.sign(self.log.topic(), partition, record));
    }
}

/// A session's key.
pub(crate) fn key_of(key: u8) -> KeyId {
    KeyId::from_bytes([key; 16])
}

/// The version of the tombstone of this number.
pub(crate) fn version_of(tombstone: u64) -> Version {
    Version { hlc: Hlc::at(BEGINNING.saturating_add(Duration::from_millis(tombstone))), writer: WriterId(1) }
}

/// Newer than all that is asked for.
fn newer() -> Version {
    version_of(24 * 3_600 * 1_000)
}
