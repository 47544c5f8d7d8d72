//! How long sessions live.

use std::{fmt, num::NonZeroU64, time::Duration};

use crate::{Timestamp, Until, caps::TTL_SECONDS_MAX};

/// The life of a session. Ordered by length; `Never` is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionTtl {
    /// It ends after this many seconds, at most [`TTL_SECONDS_MAX`].
    Seconds(NonZeroU64),
    /// It has no end. A file says this with 0.
    Never,
}

impl SessionTtl {
    /// One day, as in Kask.
    pub const KASK: Self = Self::from_seconds(86_400);

    /// From a number of seconds as a file has it: 0 is never.
    pub const fn from_seconds(seconds: u64) -> Self {
        match NonZeroU64::new(seconds) {
            Some(seconds) => Self::Seconds(seconds),
            None => Self::Never,
        }
    }

    /// When a session that is written at `now` expires.
    pub fn from(self, now: Timestamp) -> Until {
        match self.duration() {
            Some(life) => Until::At(now.saturating_add(life)),
            None => Until::Never,
        }
    }

    /// The most seconds that a client may ask for where this is the longest life.
    pub const fn seconds_max(self) -> u64 {
        match self {
            Self::Seconds(seconds) => seconds.get(),
            Self::Never => TTL_SECONDS_MAX,
        }
    }

    /// The life as a duration; `None` when it has no end.
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Some(Duration::from_secs(seconds.get())),
            Self::Never => None,
        }
    }
}

/// As a file says it.
impl fmt::Display for SessionTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => seconds.fmt(f),
            Self::Never => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_longer_than_every_end() {
        assert!(SessionTtl::from_seconds(u64::MAX) < SessionTtl::Never);
        assert_eq!(SessionTtl::Never.duration(), None);
        assert_eq!(SessionTtl::KASK.duration(), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn a_life_begins_when_the_session_is_written() {
        let now = Timestamp::from_millis(5_000);
        assert_eq!(SessionTtl::from_seconds(2).from(now), Until::At(Timestamp::from_millis(7_000)));
        assert_eq!(SessionTtl::Never.from(now), Until::Never);
    }
}
