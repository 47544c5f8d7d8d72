//! Versions in two bytes: a few seconds, a few ticks, a few writers. Chosen and compared by the product's own rules.

use std::{fmt, time::Duration};

use schemas::{Hlc, Timestamp, Version, WriterId};
use writer::Versions;

/// A version, or none: seconds in the upper byte, then four bits of ticks, then four of who wrote it. Sorts as versions do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Stamp(u16);

/// What a machine's clock shows, in seconds.
pub(super) type Clock = u16;

const TICKS_MAX: u64 = 15;

/// The lower bits of a clock's word: ticks within a millisecond.
const COUNTER: u64 = 0xffff;

impl Stamp {
    /// The version that it stands for.
    pub(super) fn version(self) -> Option<Version> {
        let Self(bits) = self;
        (bits != 0).then(|| {
            let (seconds, ticks, writer) = (bits >> 8, (bits >> 4) & 0xf, bits & 0xf);
            let hlc = Hlc::from_bits(Hlc::at(time(seconds)).bits() + u64::from(ticks));
            Version { hlc, writer: WriterId(u64::from(writer)) }
        })
    }

    /// # Panics
    /// When the version does not fit: a world is too large for this.
    fn of(version: Version) -> Self {
        let (ticks, millis) = (version.hlc.bits() & COUNTER, version.hlc.time().as_millis());
        assert!(millis % 1_000 == 0 && ticks <= TICKS_MAX && version.writer.0 <= 0xf, "{version}");
        let seconds = u8::try_from(millis / 1_000).expect("a history takes minutes");
        let lower = u8::try_from(ticks << 4 | version.writer.0).expect("four bits each");
        Self(u16::from_be_bytes([seconds, lower]))
    }
}

/// The version that a process chooses which has chosen none before, and has seen no other key: those that have, choose higher
/// ones, and nothing may rest on that.
pub(super) fn next(writer: u8, clock: Clock, seen: Option<Version>) -> Stamp {
    Stamp::of(process(writer).next(time(clock), seen))
}

/// The same for a delete that goes on without a data centre.
pub(super) fn next_ahead(writer: u8, clock: Clock, seen: Option<Version>) -> Stamp {
    Stamp::of(process(writer).next_ahead(time(clock), seen))
}

/// That with the margin of time, and no more than a tick above what was seen.
pub(super) fn next_ahead_without_a_step(writer: u8, clock: Clock, seen: Option<Version>) -> Stamp {
    let margin = u16::try_from(schemas::caps::SKIP_MARGIN.as_secs()).expect("a minute");
    next(writer, clock + margin, seen)
}

fn process(writer: u8) -> Versions {
    Versions::of(WriterId(u64::from(writer)))
}

fn time(seconds: Clock) -> Timestamp {
    Timestamp::from_millis(0).saturating_add(Duration::from_secs(u64::from(seconds)))
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bits) = self;
        write!(f, "{}s+{} by {}", bits >> 8, (bits >> 4) & 0xf, bits & 0xf)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[test]
fn stamps_are_versions_and_sort_as_they_do() {
    let seen = next(1, 10, None);
    let above = next(2, 0, seen.version());
    let ahead = next_ahead(2, 0, above.version());
    assert_eq!(
        [seen, above, ahead].map(|stamp| stamp.to_string()),
        ["10s+0 by 1", "10s+1 by 2", "60s+0 by 2"]
    );
    assert_eq!(next_ahead(2, 0, next(1, 70, None).version()).to_string(), "71s+1 by 2");
    assert_eq!(next_ahead_without_a_step(2, 0, next(1, 70, None).version()).to_string(), "70s+1 by 2");
    assert!(seen.version() < above.version() && above.version() < ahead.version());
    assert!(seen.0 < above.0 && above.0 < ahead.0);
    assert_eq!(Stamp::default().version(), None);
}
