//! The number of a record among all that one process appended to one partition.

use std::{fmt, str::FromStr};

use crate::{WriterId, version::parse_decimal};

/// `<appender: 16 hex>-<number>`. Numbers start at 1 per appender and partition; a hole is a lost record, unless the
/// origin's own log has the same hole.
///
/// The appender is the process that appended *this* record, which for a repair is not the writer in its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// Who appended the record.
    pub appender: WriterId,
    /// From 1 up.
    pub number: u64,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.appender, self.number)
    }
}

/// The text is not `<16 lower-case hex>-<number from 1>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sequence number is 16 hex digits, a dash, and a number from 1")]
pub struct ParseSequenceError;

impl FromStr for Sequence {
    type Err = ParseSequenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (appender, number) = text.split_once('-').ok_or(ParseSequenceError)?;
        let appender = appender.parse().map_err(|_| ParseSequenceError)?;
        match parse_decimal(number) {
            Ok(number) if 1 <= number => Ok(Self { appender, number }),
            _ => Err(ParseSequenceError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_reads_back_and_nothing_else_is_read() {
        let sequence = Sequence { appender: WriterId(0xabc), number: 7 };
        assert_eq!(sequence.to_string(), "0000000000000abc-7");
        assert_eq!("0000000000000abc-7".parse(), Ok(sequence));
        for wrong in ["", "abc-7", "0000000000000abc-0", "0000000000000abc-07", "0000000000000abc--7"] {
            assert_eq!(wrong.parse::<Sequence>(), Err(ParseSequenceError), "{wrong:?}");
        }
    }
}
