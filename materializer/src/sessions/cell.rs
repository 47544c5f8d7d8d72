//! A cell as the view stores it, format 1. What the compaction filter needs comes first, at a fixed place.
//!
//! ```text
//!   1 live  2 stripped  3 tombstone │ retain until u64 │ version 16 │ expires u64 (1 and 2) │ headers len u16 │ headers │ sealed (1)
//! ```
//! Numbers are big-endian; times are [`Until::bits`].

use bytes::{BufMut, Bytes, BytesMut};
use schemas::{Headers, KeyId, Sealed, Timestamp, Until, Version};

use crate::{Cell, Essence, Head, State};

const LIVE: u8 = 1;
const STRIPPED: u8 = 2;
const TOMBSTONE: u8 = 3;

const VERSION_AT: usize = 9;
const FIXED_BYTES: usize = VERSION_AT + Version::BYTES;

pub(super) fn encode(cell: &Cell) -> Bytes {
    let Cell { version, retain_until, headers, state } = cell;
    let (tag, expires_at, sealed) = match state {
        State::Live { expires_at, sealed } => (LIVE, Some(*expires_at), &sealed.0[..]),
        State::Stripped { expires_at } => (STRIPPED, Some(*expires_at), &[][..]),
        State::Tombstone => (TOMBSTONE, None, &[][..]),
    };
    let headers = headers.as_bytes();
    let mut bytes = BytesMut::with_capacity(FIXED_BYTES + 10 + headers.len() + sealed.len());
    bytes.put_u8(tag);
    bytes.put_u64(retain_until.bits());
    bytes.put_slice(&version.to_bytes());
    if let Some(expires_at) = expires_at {
        bytes.put_u64(expires_at.bits());
    }
    bytes.put_u16(u16::try_from(headers.len()).expect("headers of a record are short"));
    bytes.put_slice(headers);
    bytes.put_slice(sealed);
    bytes.freeze()
}

/// Reads without copying. `None` when the bytes are not a cell.
pub(super) fn decode(mut bytes: Bytes) -> Option<Cell> {
    let tag = *bytes.first()?;
    let retain_until = decode_retain_until(&bytes)?;
    let version = decode_version(&bytes)?;
    let _fixed = bytes.split_to(FIXED_BYTES);
    let expires_at = if tag == TOMBSTONE { None } else { Some(decode_until(&take(&mut bytes, 8)?)?) };
    let headers_len = u16::from_be_bytes(take(&mut bytes, 2)?.as_ref().try_into().ok()?);
    let headers = Headers::from_bytes(take(&mut bytes, usize::from(headers_len))?).ok()?;
    let state = match (tag, expires_at) {
        (LIVE, Some(expires_at)) => State::Live { expires_at, sealed: Sealed(bytes) },
        (STRIPPED, Some(expires_at)) if bytes.is_empty() => State::Stripped { expires_at },
        (TOMBSTONE, None) if bytes.is_empty() => State::Tombstone,
        _ => return None,
    };
    Some(Cell { version, retain_until, headers, state })
}

/// The cell without its contents, if they ended before `gc_now`; the contents are not copied. The outer `None` when the
/// bytes are not a cell.
pub(super) fn decode_stripped(bytes: &[u8], gc_now: Timestamp) -> Option<Option<Cell>> {
    if *bytes.first()? != LIVE {
        return Some(None);
    }
    let (expires_at, rest) = bytes.get(FIXED_BYTES..)?.split_first_chunk::<8>()?;
    let Until::At(end) = decode_until(expires_at)? else { return Some(None) };
    if gc_now <= end {
        return Some(None);
    }
    let (headers_len, rest) = rest.split_first_chunk::<2>()?;
    let headers = rest.get(..usize::from(u16::from_be_bytes(*headers_len)))?;
    Some(Some(Cell {
        version: decode_version(bytes)?,
        retain_until: decode_retain_until(bytes)?,
        headers: Headers::from_bytes(Bytes::copy_from_slice(headers)).ok()?,
        state: State::Stripped { expires_at: Until::At(end) },
    }))
}

/// What counts of a cell when views are compared. `None` when the bytes are not a cell.
pub(super) fn decode_essence(key: KeyId, bytes: &[u8]) -> Option<Essence> {
    let expires_at = match *bytes.first()? {
        LIVE | STRIPPED => Some(decode_until(bytes.get(FIXED_BYTES..FIXED_BYTES + 8)?)?),
        TOMBSTONE => None,
        _ => return None,
    };
    let (version, retain_until) = (decode_version(bytes)?, decode_retain_until(bytes)?);
    Some(Essence { key, version, retain_until, expires_at })
}

/// What says whether the cell wins, and how it is counted; the contents are not looked at. `None` when the bytes are not
/// a cell.
pub(super) fn decode_head(bytes: &[u8]) -> Option<Head> {
    let (version, retain_until) = (decode_version(bytes)?, decode_retain_until(bytes)?);
    let tag = *bytes.first()?;
    match tag {
        LIVE | STRIPPED => {
            let (expires_at, rest) = bytes.get(FIXED_BYTES..)?.split_first_chunk::<8>()?;
            let expires_at = decode_until(expires_at)?;
            if tag == STRIPPED {
                return Some(Head::of_stripped(version, retain_until, expires_at));
            }
            let (headers_len, rest) = rest.split_first_chunk::<2>()?;
            let sealed_bytes = rest.len().checked_sub(usize::from(u16::from_be_bytes(*headers_len)))?;
            Some(Head::of_live(version, retain_until, expires_at, sealed_bytes))
        }
        TOMBSTONE => Some(Head::of_tombstone(version, retain_until)),
        _ => None,
    }
}

/// The version alone, without looking at the rest.
pub(super) fn decode_version(bytes: &[u8]) -> Option<Version> {
    let version = bytes.get(VERSION_AT..FIXED_BYTES)?;
    Some(Version::from_bytes(version.try_into().ok()?))
}

/// Until when the cell must be kept, without looking at the rest.
pub(super) fn decode_retain_until(bytes: &[u8]) -> Option<Until> {
    decode_until(bytes.get(1..VERSION_AT)?)
}

fn decode_until(bytes: &[u8]) -> Option<Until> {
    Some(Until::from_bits(u64::from_be_bytes(bytes.try_into().ok()?)))
}

fn take(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Hlc, WriterId};

    use super::*;

    fn cell(state: State) -> Cell {
        Cell {
            version: Version { hlc: Hlc::from_bits(0x0102), writer: WriterId(3) },
            retain_until: Until::At(Timestamp::from_millis(9)),
            headers: Headers::from_pairs([("q", &b"1"[..])]).unwrap(),
            state,
        }
    }

    /// The bytes of format 1 as it was released.
    #[test]
    fn the_bytes_of_format_1_do_not_change() {
        let fixed = b"\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03";
        let headers = b"\0\x05\x01q\0\x011";
        let sealed = Sealed(Bytes::from_static(b"sealed"));
        let expires_at = Until::At(Timestamp::from_millis(5));
        let golden = [
            (
                State::Live { expires_at, sealed: sealed.clone() },
                [&b"\x01"[..], fixed, b"\0\0\0\0\0\0\0\x05", headers, b"sealed"].concat(),
            ),
            (
                State::Live { expires_at: Until::Never, sealed },
                [&b"\x01"[..], fixed, &[0xff; 8], headers, b"sealed"].concat(),
            ),
            (State::Stripped { expires_at }, [&b"\x02"[..], fixed, b"\0\0\0\0\0\0\0\x05", headers].concat()),
            (State::Tombstone, [&b"\x03"[..], fixed, headers].concat()),
        ];
        for (state, bytes) in golden {
            assert_eq!(encode(&cell(state.clone())), bytes);
            assert_eq!(decode(bytes.into()), Some(cell(state)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(cell) = decode(Bytes::from(bytes.clone())) {
                prop_assert_eq!(&encode(&cell)[..], &bytes[..]);
                prop_assert_eq!(decode_version(&bytes), Some(cell.version));
                prop_assert_eq!(decode_retain_until(&bytes), Some(cell.retain_until));
                let key = KeyId::from_bytes([1; 16]);
                prop_assert_eq!(decode_head(&bytes), Some(Head::of(&cell)));
                prop_assert_eq!(decode_essence(key, &bytes), Some(Essence::of(key, &cell)));
            }
        }

        #[test]
        fn a_live_cell_reads_back(version: [u8; 16], expires in 0..u64::MAX, retain in 0..u64::MAX, sealed: Vec<u8>) {
            let at = |millis| Until::At(Timestamp::from_millis(millis));
            let state = State::Live { expires_at: at(expires), sealed: Sealed(sealed.into()) };
            let cell = Cell { version: Version::from_bytes(version), retain_until: at(retain), ..cell(state) };
            prop_assert_eq!(decode(encode(&cell)), Some(cell));
        }
    }
}
