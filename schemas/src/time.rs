//! Moments, as everybody in the log agrees on them: Unix milliseconds.

use std::{fmt, time::Duration};

/// A moment: milliseconds since 1970-01-01 UTC. Values from the log may be any `u64`; sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01.
    pub const EPOCH: Self = Self(0);

    /// From Unix milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Unix milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Unix seconds, rounded down.
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This moment and `duration` more; saturates at the far end of time.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_millis(duration)))
    }

    /// This moment less `duration`; saturates at 1970.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration_millis(duration)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn duration_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An end that may never come. Ordered by time; `Never` is the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// Ends at this moment: it is over when the clock shows it.
    At(Timestamp),
    /// Has no end.
    Never,
}

impl Until {
    /// From the word that [`bits`](Self::bits) gives.
    pub const fn from_bits(bits: u64) -> Self {
        match bits {
            u64::MAX => Self::Never,
            millis => Self::At(Timestamp(millis)),
        }
    }

    /// In one word: Unix milliseconds, or all ones for never. A moment that has all ones becomes the one before it.
    pub fn bits(self) -> u64 {
        match self {
            Self::At(end) => end.0.min(u64::MAX - 1),
            Self::Never => u64::MAX,
        }
    }

    /// Whether the end lies after `now`.
    pub fn is_after(self, now: Timestamp) -> bool {
        match self {
            Self::At(end) => now < end,
            Self::Never => true,
        }
    }

    /// As a header says it: Unix milliseconds in decimal, or `never`.
    ///
    /// # Errors
    /// When `text` is neither.
    pub fn parse(text: &str) -> Result<Self, std::num::ParseIntError> {
        match text {
            "never" => Ok(Self::Never),
            _ => Ok(Self::At(Timestamp(crate::version::parse_decimal(text)?))),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(end) => end.fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_over_at_the_moment_it_names() {
        let end = Until::At(Timestamp(10));
        assert!(end.is_after(Timestamp(9)));
        assert!(!end.is_after(Timestamp(10)));
        assert!(Until::Never.is_after(Timestamp(u64::MAX)));
    }

    #[test]
    fn never_is_later_than_every_moment() {
        assert!(Until::At(Timestamp(u64::MAX)) < Until::Never);
    }

    #[test]
    fn an_end_reads_back_as_it_is_written_and_nothing_else_does() {
        for end in [Until::Never, Until::At(Timestamp(0)), Until::At(Timestamp(u64::MAX))] {
            assert_eq!(Until::parse(&end.to_string()), Ok(end));
        }
        for text in ["", "+1", "-1", " 1", "01", "1.5", "Never", "18446744073709551616"] {
            assert!(Until::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_word_reads_back_and_no_moment_becomes_never() {
        for end in [Until::Never, Until::At(Timestamp(0)), Until::At(Timestamp(u64::MAX - 1))] {
            assert_eq!(Until::from_bits(end.bits()), end);
        }
        assert_eq!(Until::Never.bits(), u64::MAX);
        assert_eq!(Until::At(Timestamp(u64::MAX)).bits(), u64::MAX - 1);
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(Timestamp(u64::MAX).saturating_add(Duration::MAX), Timestamp(u64::MAX));
        assert_eq!(Timestamp(5).saturating_sub(Duration::from_secs(1)), Timestamp::EPOCH);
    }
}
