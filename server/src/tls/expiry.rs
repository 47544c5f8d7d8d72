//! When a certificate ends, and from when on that is a reason to worry.
//!
//! The library that checks certificates has no word for this; a parser of all of X.509 would be a dozen crates for one
//! field. So this walks to it, past everything else:
//!
//! ```text
//!   Certificate  SEQUENCE { TBSCertificate  SEQUENCE {
//!       [0] version?   INTEGER serialNumber   SEQUENCE signature   SEQUENCE issuer
//!       SEQUENCE validity { notBefore, notAfter: UTCTime "YYMMDDHHMMSSZ" or GeneralizedTime "YYYYMMDDHHMMSSZ" }
//! ```

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// From here on every start and every day says so: time enough to find out why nobody has renewed it.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// How near its end a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worry {
    /// It ends in so many whole days, fewer than 14.
    Days(u64),
    /// It has ended: clients that check it do not connect.
    Expired,
}

/// Whether there is something to say about a certificate that ends at `expires`.
pub(super) fn worry(expires: Timestamp, now: Timestamp) -> Option<Worry> {
    let Ok(left) = Duration::try_from(expires.duration_since(now)) else { return Some(Worry::Expired) };
    (left < SOON).then_some(Worry::Days(left.as_secs() / 86_400))
}

/// When a certificate ends. `None` when it is not one that we understand.
pub(super) fn of(certificate: &[u8]) -> Option<Timestamp> {
    let mut field = Element::first(certificate)?.with(SEQUENCE)?.inside()?.with(SEQUENCE)?.inside()?;
    if field.tag == VERSION {
        field = field.next()?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        field = field.with(tag)?.next()?;
    }
    let not_before = field.with(SEQUENCE)?.inside()?;
    let not_after = not_before.next()?;
    time(not_after.tag, not_after.contents)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// One element of DER, and what follows it.
struct Element<'a> {
    tag: u8,
    contents: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(der: &'a [u8]) -> Option<Self> {
        let (&[tag, length], rest) = der.split_first_chunk()?;
        // From 0x80 on, the length is in as many of the next bytes.
        let (length, rest) = match length.checked_sub(0x80) {
            None => (usize::from(length), rest),
            Some(bytes @ 1..=4) => {
                let (bytes, rest) = rest.split_at_checked(usize::from(bytes))?;
                (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
            }
            Some(_) => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        Some(Self { tag, contents, rest })
    }

    fn with(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }

    fn inside(&self) -> Option<Self> {
        Self::first(self.contents)
    }

    fn next(&self) -> Option<Self> {
        Self::first(self.rest)
    }
}

fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of a year are from 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let is_whole = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = DateTime::strptime("%Y%m%d%H%M%S", is_whole.then_some(text)?).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// An element with a short length.
    fn short(tag: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag, u8::try_from(contents.len()).unwrap()];
        bytes.extend_from_slice(contents);
        bytes
    }

    /// A certificate as far as the field, and a bit of what follows.
    fn certificate(version: &[u8], tag: u8, not_after: &[u8]) -> Vec<u8> {
        let validity = [short(UTC_TIME, b"200101000000Z"), short(tag, not_after)].concat();
        let fields = [
            version,
            &short(INTEGER, &[7]),
            &short(SEQUENCE, b"\x06\x01*"),
            &short(SEQUENCE, b""),
            &short(SEQUENCE, &validity),
            &short(SEQUENCE, b"subject"),
        ];
        short(SEQUENCE, &short(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn the_end_is_found_behind_either_kind_of_time_with_and_without_a_version() {
        let v3 = short(VERSION, &short(INTEGER, &[2]));
        for (version, tag, text, expected) in [
            (&v3[..], UTC_TIME, "301231235959Z", Some("2030-12-31T23:59:59Z")),
            (&[], UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (&v3, UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (&v3, GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            // "No end" is written so, and is more than this type of time can say.
            (&v3, GENERALIZED_TIME, "99991231235959Z", None),
            (&v3, GENERALIZED_TIME, "20501301000000Z", None),
            (&v3, GENERALIZED_TIME, "2050010100000Z", None),
            (&v3, UTC_TIME, "301231235959", None),
            (&v3, INTEGER, "301231235959Z", None),
        ] {
            let found = of(&certificate(version, tag, text.as_bytes()));
            assert_eq!(found, expected.map(at), "{text}");
        }
    }

    #[test]
    fn a_worry_begins_fourteen_days_before_the_end() {
        let end = at("2030-01-15T00:00:00Z");
        for (now, expected) in [
            ("2029-12-31T23:59:59Z", None),
            ("2030-01-01T00:00:00Z", None),
            ("2030-01-01T00:00:01Z", Some(Worry::Days(13))),
            ("2030-01-14T12:00:00Z", Some(Worry::Days(0))),
            ("2030-01-15T00:00:00Z", Some(Worry::Days(0))),
            ("2030-01-15T00:00:01Z", Some(Worry::Expired)),
        ] {
            assert_eq!(worry(end, at(now)), expected, "{now}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_a_panic(bytes: Vec<u8>, at in 0..80_usize, byte: u8) {
            let _whatever = of(&bytes);
            let mut bent = certificate(&[], UTC_TIME, b"301231235959Z");
            let at = at % bent.len();
            bent[at] = byte;
            let _whatever = of(&bent);
        }
    }
}
