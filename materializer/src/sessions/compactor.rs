//! Gives back the space of what was overwritten, while nobody writes.
//!
//! RocksDB compacts by levels, and merges one when it has grown enough. What was overwritten last therefore stays until
//! something else is written, half as much again as what lives in a small view. A view at rest need not wait for that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rocksdb::CompactOptions;
use schemas::Timestamp;

use super::SessionView;
use crate::{Class, View, ViewError};

/// Not worth the work.
const SLACK_BYTES: u64 = 8 * 1024 * 1024;

/// Remembers what the view took when it was looked at and compacted last.
#[derive(Debug, Default)]
pub(super) struct Compactor(Mutex<Sizes>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sizes {
    at_last_look: Option<u64>,
    left_by_last: u64,
}

impl Sizes {
    /// Whether a view of `bytes` is at rest, and larger than what the last compaction left.
    ///
    /// It is at rest when its files are what they were at the last look: whoever writes much moves them. Tombstones and
    /// what else must be kept is in `left_by_last`: where a compaction found nothing, the next waits for more.
    fn may_be_due(self, bytes: u64) -> bool {
        self.at_last_look == Some(bytes) && is_worth_it(self.left_by_last, bytes)
    }
}

const fn is_worth_it(kept: u64, bytes: u64) -> bool {
    kept + kept / 10 + SLACK_BYTES < bytes
}

impl SessionView {
    /// Returns the space of what was overwritten, if the view is at rest and there is enough of it to be worth the work.
    /// To be asked every now and then: at rest is a view whose files are the same at two looks. While it works, it takes
    /// as much room again as the view on the disk: `has_room` says whether that is there. Blocks for as long as that
    /// takes, or until [`close`](Self::close). Returns the bytes of the view's files before and after, if it did.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn compact_if_due(
        &self,
        now: Timestamp,
        has_room: impl FnOnce(u64) -> bool,
    ) -> Result<Option<(u64, u64)>, ViewError> {
        let before = self.bytes()?;
        let seen = *self.sizes();
        self.sizes().at_last_look = Some(before);
        if !seen.may_be_due(before) {
            return Ok(None);
        }
        let live = self.saved()?.census.count(Class::Live, now).bytes;
        if !is_worth_it(live, before) || !has_room(before) {
            return Ok(None);
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        let after = self.bytes()?;
        self.sizes().left_by_last = after;
        Ok(Some((before, after)))
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.compactor.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_view_is_compacted_when_it_rests_and_holds_more_than_what_lives() {
        let is_due = |at_last_look, left_by_last, bytes, live| {
            Sizes { at_last_look, left_by_last }.may_be_due(bytes) && is_worth_it(live, bytes)
        };
        assert!(is_due(Some(200 * MIB), 0, 200 * MIB, 100 * MIB));
        assert!(!is_due(None, 0, 200 * MIB, 100 * MIB), "nobody looked before");
        assert!(!is_due(Some(199 * MIB), 0, 200 * MIB, 100 * MIB), "it is being written");
        assert!(!is_due(Some(118 * MIB), 0, 118 * MIB, 100 * MIB), "not worth it");
        assert!(
            !is_due(Some(200 * MIB), 190 * MIB, 200 * MIB, 0),
            "what must be kept was found to be so much"
        );
        assert!(is_due(Some(240 * MIB), 190 * MIB, 240 * MIB, 0));
    }
}
