//! Records that are about the log itself. Their keys begin with `~`, which no key id does.

use std::{fmt, num::ParseIntError, str::FromStr};

use crate::{
    Declaration, Timestamp, WriterId,
    version::{parse_decimal, parse_hex16},
};

/// Record keys of heartbeats: `~heartbeat/<appender>`.
pub const HEARTBEAT_PREFIX: &str = "~heartbeat/";

/// Record keys of declared data centres: `~declared/<dc>`.
pub const DECLARED_PREFIX: &str = "~declared/";

/// What a control record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A process that writes is alive up to here.
    Heartbeat {
        /// Which process.
        appender: WriterId,
        /// What became of numbers that no record carries.
        heartbeat: Heartbeat,
        /// Its name, if it was appended for somebody who waits until others have come to it.
        beacon: Option<Beacon>,
    },
    /// An operator's word on a data centre.
    Declared(Declaration),
    /// A control record that this release does not act on. It is verified, passed over and counted.
    Other,
}

/// The name of a heartbeat that is a beacon: somebody waits until another data centre has come to it, and so has applied
/// all that stands before it. As text 16 hex digits, in the header `r`, as the request that an event was appended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon(pub u64);

impl fmt::Display for Beacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Beacon {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex16(text).map(Self)
    }
}

/// What a process says about its sequence numbers in one partition: `skipped 3 4\nunsure 9\nreach 12 1700000000000\n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Numbers known never to have been stored.
    pub skipped: Vec<u64>,
    /// Numbers of appends whose outcome nobody knows.
    pub unsure: Vec<u64>,
    /// How far it had come; the first heartbeats did not say.
    pub reach: Option<Reach>,
}

/// How far a process had come with its numbers in one partition, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The newest number that it had given to a record; 0 before the first. Every record up to here that was stored
    /// stands before the heartbeat.
    pub number: u64,
    /// By its own clamped clock: the time at which a log takes a copy says nothing of the original.
    pub at: Timestamp,
}

impl Heartbeat {
    pub(crate) fn encode(&self) -> String {
        let list = |numbers: &[u64]| numbers.iter().map(|number| format!(" {number}")).collect::<String>();
        let reach = |Reach { number, at }| format!("reach {number} {}\n", at.as_millis());
        let reach = self.reach.map(reach).unwrap_or_default();
        format!("skipped{}\nunsure{}\n{reach}", list(&self.skipped), list(&self.unsure))
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (skipped, rest) = text.strip_prefix("skipped")?.split_once('\n')?;
        let (unsure, rest) = rest.strip_prefix("unsure")?.split_once('\n')?;
        let reach = if rest.is_empty() { None } else { Some(Reach::decode(rest)?) };
        Some(Self { skipped: numbers(skipped)?, unsure: numbers(unsure)?, reach })
    }
}

impl Reach {
    fn decode(line: &str) -> Option<Self> {
        let (number, at) = line.strip_prefix("reach ")?.strip_suffix('\n')?.split_once(' ')?;
        let at = Timestamp::from_millis(parse_decimal(at).ok()?);
        Some(Self { number: parse_decimal(number).ok()?, at })
    }
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    let Some(text) = text.strip_prefix(' ') else { return text.is_empty().then(Vec::new) };
    text.split(' ').map(|number| parse_decimal(number).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_a_heartbeat_is_refused() {
        for text in [
            "",
            "skipped\n",
            "skipped\nunsure",
            "skipped\nunsure\n ",
            "skipped 01\nunsure\n",
            "skipped  1\nunsure\n",
            "skipped\nunsure\nreach 1 2",
            "skipped\nunsure\nreach 1\n",
            "skipped\nunsure\nreach 01 2\n",
            "skipped\nunsure\nreach 1 2\n\n",
        ] {
            assert_eq!(Heartbeat::decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_heartbeat_reads_back(skipped: Vec<u64>, unsure: Vec<u64>, reach: Option<(u64, u32)>) {
            let reach = reach.map(|(number, at)| Reach { number, at: Timestamp::from_millis(at.into()) });
            let heartbeat = Heartbeat { skipped, unsure, reach };
            prop_assert_eq!(Heartbeat::decode(&heartbeat.encode()), Some(heartbeat));
        }
    }
}
