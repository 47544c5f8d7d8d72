//! Gives back the space of records that nobody needs any more. Nothing is correct because it runs.
//!
//! ```text
//!   live records ≤ the log's files ≤ what they were after the last cleaning + half of that + 64 MiB
//! ```
//! What may go is not this crate's business: whoever folds the log says so, record by record. A cleaning is a RocksDB
//! compaction of the whole log with that rule as its filter; a compaction that RocksDB runs by itself asks it too.

use std::{
    ffi::CStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rocksdb::{
    BottommostLevelCompaction, CompactOptions, CompactionDecision, DB,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
    properties::LIVE_SST_FILES_SIZE,
};
use schemas::{Record, Timestamp};

use super::{keys, record};

/// Says of a record, with its append time, that the log may drop it. Asked on RocksDB's own threads.
pub type Droppable = dyn Fn(Timestamp, &Record) -> bool + Send + Sync;

const NAME: &CStr = c"solera records that nobody needs";

/// While the log is written to: how much it may grow, beside a half of what the last cleaning left.
const GROWTH_BYTES: u64 = 64 * 1024 * 1024;

/// While it is quiet: how much it may have grown, beside a tenth of what the last cleaning left.
const QUIET_GROWTH_BYTES: u64 = 8 * 1024 * 1024;

/// The rule, once there is one. Until then everything is kept, and for as long as somebody needs everything.
#[derive(Clone, Default)]
pub(super) struct Rule {
    droppable: Arc<OnceLock<Box<Droppable>>>,
    keepers: Arc<AtomicUsize>,
}

/// Somebody needs every record that the log holds. Until this is dropped, nothing is, whoever compacts.
#[derive(Debug)]
#[must_use = "dropped at once, it keeps nothing"]
pub struct KeepAll(Arc<AtomicUsize>);

impl Drop for KeepAll {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Rule {
    pub(super) fn set(&self, rule: Box<Droppable>) {
        let is_first = self.droppable.set(rule).is_ok();
        debug_assert!(is_first, "a log has one rule");
    }

    pub(super) fn keep_all(&self) -> KeepAll {
        self.keepers.fetch_add(1, Ordering::AcqRel);
        KeepAll(Arc::clone(&self.keepers))
    }

    /// What may be dropped now, if anything.
    fn in_force(&self) -> Option<&Droppable> {
        self.droppable.get().filter(|_| self.keepers.load(Ordering::Acquire) == 0).map(|rule| &**rule)
    }
}

impl CompactionFilterFactory for Rule {
    type Filter = Self;

    fn create(&mut self, _: CompactionFilterContext) -> Self {
        self.clone()
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

impl CompactionFilter for Rule {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        let Some(droppable) = self.in_force().filter(|_| keys::is_record(key)) else {
            return CompactionDecision::Keep;
        };
        match record::decode(Bytes::copy_from_slice(value)) {
            Some((append_time, record)) if droppable(append_time, &record) => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// Cleans if the log has grown enough since it was last cleaned. Returns the bytes before and after, if it did.
pub(super) fn clean_if_due(
    db: &DB,
    rule: &Rule,
    is_quiet: bool,
) -> Result<Option<(u64, u64)>, rocksdb::Error> {
    let before = bytes(db)?;
    let left_by_last = db.get(keys::CLEANED)?.map_or(0, |stored| keys::decode_u64(&stored));
    if rule.in_force().is_none() || !is_due(before, left_by_last, is_quiet) {
        return Ok(None);
    }
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    // Files of the bottommost level would be left alone otherwise, and that is where nearly everything is.
    options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
    db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
    let after = bytes(db)?;
    db.put(keys::CLEANED, after.to_be_bytes())?;
    Ok(Some((before, after)))
}

/// What the log's sorted files take on disk.
pub(super) fn bytes(db: &DB) -> Result<u64, rocksdb::Error> {
    Ok(db.property_int_value(LIVE_SST_FILES_SIZE)?.unwrap_or(0))
}

const fn is_due(bytes: u64, left_by_last: u64, is_quiet: bool) -> bool {
    let allowed = if is_quiet {
        left_by_last + left_by_last / 10 + QUIET_GROWTH_BYTES
    } else {
        left_by_last + left_by_last / 2 + GROWTH_BYTES
    };
    allowed < bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_log_is_cleaned_when_it_has_grown_by_half_or_earlier_when_it_is_quiet() {
        assert!(!is_due(64 * MIB, 0, false));
        assert!(is_due(65 * MIB, 0, false));
        assert!(is_due(9 * MIB, 0, true));
        assert!(!is_due(1_500 * MIB, 1_000 * MIB, false));
        assert!(is_due(1_600 * MIB, 1_000 * MIB, false));
        assert!(!is_due(1_100 * MIB, 1_000 * MIB, true));
        assert!(is_due(1_200 * MIB, 1_000 * MIB, true));
    }
}
