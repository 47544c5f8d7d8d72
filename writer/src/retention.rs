//! How long an event may matter to others.

use std::time::Duration;

use schemas::{Timestamp, Until, Version, caps::RETENTION_SLACK};

/// How long the log of a store keeps what it holds. Fixed into every event when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Sessions live at most this long; the log keeps everything a day longer.
    Expiring {
        /// `max_ttl` of the store.
        ttl_max: Duration,
    },
    /// Sessions may live for ever.
    Unlimited {
        /// How long a tombstone is kept.
        tombstones: Duration,
    },
}

impl Retention {
    /// Until when a `set` of this version that expires at `expires_at` has to be kept.
    pub fn of_set(self, version: Version, expires_at: Until) -> Until {
        match expires_at {
            Until::Never => Until::Never,
            // The end is counted from a reader's clock, which may be ahead of the version's after a step back.
            Until::At(end) => {
                Until::At(self.end(version.hlc.time()).max(end.saturating_add(RETENTION_SLACK)))
            }
        }
    }

    /// Until when a `delete` of this version has to be kept, when readers are told that it is `read_now`: what it covers
    /// may have been given its end by that clock.
    pub fn of_delete(self, version: Version, read_now: Timestamp) -> Until {
        Until::At(self.end(version.hlc.time().max(read_now)))
    }

    fn end(self, from: Timestamp) -> Timestamp {
        match self {
            Self::Expiring { ttl_max } => from.saturating_add(ttl_max).saturating_add(RETENTION_SLACK),
            Self::Unlimited { tombstones } => from.saturating_add(tombstones),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, WriterId};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn version(at: Timestamp) -> Version {
        Version { hlc: Hlc::at(at), writer: WriterId(1) }
    }

    #[test]
    fn everything_outlives_what_it_may_cover() {
        let now = Timestamp::from_millis(1_000_000);
        let retention = Retention::Expiring { ttl_max: HOUR };
        let end = now.saturating_add(HOUR).saturating_add(RETENTION_SLACK);
        assert_eq!(retention.of_delete(version(now), now), Until::At(end));
        let ahead = now.saturating_add(48 * HOUR);
        assert_eq!(
            retention.of_delete(version(now), ahead),
            Until::At(ahead.saturating_add(HOUR).saturating_add(RETENTION_SLACK))
        );
        // A set of one second covers sets of an hour as well.
        let soon = Until::At(now.saturating_add(Duration::from_secs(1)));
        assert_eq!(retention.of_set(version(now), soon), Until::At(end));
        // A session counted from a reader's clock that is two days ahead is kept until it has expired there.
        let far = now.saturating_add(48 * HOUR);
        assert_eq!(
            retention.of_set(version(now), Until::At(far)),
            Until::At(far.saturating_add(RETENTION_SLACK))
        );
        let unlimited = Retention::Unlimited { tombstones: 72 * HOUR };
        assert_eq!(unlimited.of_set(version(now), Until::Never), Until::Never);
        assert_eq!(unlimited.of_delete(version(now), now), Until::At(now.saturating_add(72 * HOUR)));
    }
}
