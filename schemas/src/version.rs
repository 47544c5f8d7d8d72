//! Which of two events is later: hybrid logical clocks with a writer as tie-break.
//!
//! Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots" (2014), in one 64-bit word: 48 bits of
//! milliseconds, 16 bits of counter. The counter's overflow carries into the time, which is what `+ 1` does.

use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

use crate::Timestamp;

const COUNTER_BITS: u32 = 16;
const MILLIS_MAX: u64 = (1 << 48) - 1;

/// A reading of a hybrid logical clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(u64);

impl Hlc {
    /// The first reading at `time`; saturates at the year 10889.
    pub const fn at(time: Timestamp) -> Self {
        let millis = time.as_millis();
        Self((if MILLIS_MAX < millis { MILLIS_MAX } else { millis }) << COUNTER_BITS)
    }

    /// From the word that [`bits`](Self::bits) gives.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Time and counter in one word, most significant first.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The time part.
    pub const fn time(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> COUNTER_BITS)
    }

    /// The smallest reading above this one.
    #[must_use]
    pub const fn tick(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One process that writes: 64 random bits per process start, so that a restarted or cloned node is somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub u64);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for WriterId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex16(text).map(Self)
    }
}

/// Unique and totally ordered: says which of two events of a key is later. Shown as `<16 hex>-<16 hex>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// When, by the hybrid logical clock of the writer.
    pub hlc: Hlc,
    /// Who, which settles a tie.
    pub writer: WriterId,
}

impl Version {
    /// Bytes of a version as [`to_bytes`](Self::to_bytes) gives it.
    pub const BYTES: usize = 16;

    /// Characters of a version as text.
    pub const TEXT_BYTES: usize = 33;

    /// The smallest version above this one, whoever writes it. The same from every node, and below any later write.
    #[must_use]
    pub const fn successor(self) -> Self {
        match self.writer.0.checked_add(1) {
            Some(writer) => Self { hlc: self.hlc, writer: WriterId(writer) },
            None => Self { hlc: self.hlc.tick(), writer: WriterId(0) },
        }
    }

    /// So much later, by the same writer.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self { hlc: Hlc::at(self.hlc.time().saturating_add(by)), ..self }
    }

    /// Big-endian, so that bytes sort as versions do.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.hlc.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.writer.0.to_be_bytes());
        bytes
    }

    /// As it is shown, in ASCII.
    pub fn to_text(self) -> [u8; Self::TEXT_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; Self::TEXT_BYTES];
        for (number, at) in [(self.hlc.0, 0), (self.writer.0, 17)] {
            for (digit, place) in text[at..at + 16].iter_mut().enumerate() {
                *place = DIGITS[(number >> (60 - 4 * digit)) as usize & 0xf];
            }
        }
        text
    }

    /// The reverse of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { hlc: Hlc((both >> 64) as u64), writer: WriterId(both as u64) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.to_text()).expect("hex digits and a dash are ASCII"))
    }
}

/// The text is not `<16 lower-case hex>-<16 lower-case hex>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 16 hex digits, a dash, and 16 hex digits")]
pub struct ParseVersionError;

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (hlc, writer) = text.split_once('-').ok_or(ParseVersionError)?;
        let hlc = Hlc(parse_hex16(hlc).map_err(|_| ParseVersionError)?);
        let writer = writer.parse().map_err(|_| ParseVersionError)?;
        Ok(Self { hlc, writer })
    }
}

/// Exactly 16 lower-case hex digits: one spelling per number, since spellings are covered by a MAC.
pub(crate) fn parse_hex16(text: &str) -> Result<u64, ParseIntError> {
    let canonical = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(text, 16) } else { "".parse() }
}

/// Decimal without sign or leading zeros: one spelling per number.
pub(crate) fn parse_decimal(text: &str) -> Result<u64, ParseIntError> {
    let canonical = text == "0" || text.bytes().next().is_some_and(|b| matches!(b, b'1'..=b'9'));
    if canonical { text.parse() } else { "".parse() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(hlc: u64, writer: u64) -> Version {
        Version { hlc: Hlc(hlc), writer: WriterId(writer) }
    }

    #[test]
    fn a_full_counter_carries_into_the_time() {
        let full = Hlc((7 << 16) | 0xffff);
        assert_eq!(full.tick(), Hlc::at(Timestamp::from_millis(8)));
    }

    #[test]
    fn the_successor_carries_from_writer_to_clock() {
        assert_eq!(version(5, u64::MAX).successor(), version(6, 0));
        assert_eq!(version(5, 9).successor(), version(5, 10));
    }

    #[test]
    fn only_one_spelling_is_read() {
        for text in [
            "",
            "-",
            "0000000000000001",
            "0000000000000001-000000000000000G",
            "0000000000000001-000000000000000A",
            "1-2",
            "0000000000000001-0000000000000002-",
            "+000000000000001-0000000000000002",
        ] {
            assert_eq!(text.parse::<Version>(), Err(ParseVersionError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_read_back_and_sort_as_versions_do(a: (u64, u64), b: (u64, u64)) {
            let (a, b) = (version(a.0, a.1), version(b.0, b.1));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(Version::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn the_successor_is_the_very_next(a: (u64, u64), b: (u64, u64)) {
            let (a, b) = (version(a.0 >> 1, a.1), version(b.0, b.1));
            prop_assert!(a < a.successor());
            prop_assert!(!(a < b && b < a.successor()));
        }
    }
}
