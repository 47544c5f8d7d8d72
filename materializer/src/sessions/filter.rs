//! What compaction may drop: cells that shadow nothing any more. Everything else it keeps, by tag.
//!
//! Only returns space. Contents of expired cells are not its business either: the apply thread strips those, so that
//! there is one writer.

use std::{ffi::CStr, sync::Arc};

use eventlog::LogClock;
use rocksdb::{
    CompactionDecision,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};
use schemas::Timestamp;

use super::{cell, keys};
use crate::cell::droppable;

const NAME: &CStr = c"solera dead cells";

/// Makes a filter per compaction, since several compactions may run at once.
pub(super) struct DeadCells {
    pub(super) clock: Arc<LogClock>,
}

/// One compaction's filter. The moment is fixed at its start.
pub(super) struct DeadBefore {
    gc_now: Timestamp,
}

impl CompactionFilterFactory for DeadCells {
    type Filter = DeadBefore;

    fn create(&mut self, _: CompactionFilterContext) -> DeadBefore {
        DeadBefore { gc_now: self.clock.gc_now() }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

impl CompactionFilter for DeadBefore {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        if is_dead(key, value, self.gc_now) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

fn is_dead(key: &[u8], value: &[u8], gc_now: Timestamp) -> bool {
    let is_cell = key.first() == Some(&keys::CELL_TAG);
    is_cell && cell::decode_retain_until(value).is_some_and(|retain_until| droppable(retain_until, gc_now))
}

#[cfg(test)]
mod tests {
    use schemas::{Headers, Hlc, KeyId, Until, Version, WriterId};

    use super::*;
    use crate::{Cell, State};

    fn tombstone(retain_until: Until) -> bytes::Bytes {
        let version = Version { hlc: Hlc::from_bits(1), writer: WriterId(1) };
        cell::encode(&Cell { version, retain_until, headers: Headers::default(), state: State::Tombstone })
    }

    #[test]
    fn only_cells_whose_time_is_over_are_dropped() {
        let key = keys::cell(&KeyId::from_bytes([1; 16]));
        let at = |millis| Until::At(Timestamp::from_millis(millis));
        let now = Timestamp::from_millis(100);
        assert!(is_dead(&key, &tombstone(at(99)), now));
        assert!(!is_dead(&key, &tombstone(at(100)), now));
        assert!(!is_dead(&key, &tombstone(Until::Never), now));
        assert!(!is_dead(&key, b"not a cell", now));
        assert!(!is_dead(&key, b"", now));
        // The same bytes under any other tag are none of its business.
        for tag in (0..=u8::MAX).filter(|&tag| tag != keys::CELL_TAG) {
            let mut other = key;
            other[0] = tag;
            assert!(!is_dead(&other, &tombstone(at(99)), now), "{tag}");
        }
    }
}
