//! Entries of a log as bytes, for somebody elsewhere who reads it.
//!
//! ```text
//!   ┌────────────┬────────────┬─────────────────────────────────────────────┐
//!   │ length     │ offset     │ append time, record: as the embedded log     │ ...
//!   │ u32        │ u64        │ stores them                                  │
//!   └────────────┴────────────┴─────────────────────────────────────────────┘
//! ```
//! Numbers are big-endian; a length counts what follows it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use schemas::Offset;

use crate::{Entry, embedded::record};

/// The bytes are not a run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entries of the log are malformed")]
pub struct MalformedFrames;

const OFFSET_BYTES: usize = 8;

/// As bytes. An entry whose key or headers are longer than any of ours is somebody else's, and left out.
pub fn encode(entries: &[Entry]) -> Bytes {
    let mut bytes = BytesMut::new();
    let is_short = |bytes: &Bytes| bytes.len() <= usize::from(u16::MAX);
    let may_be_ours =
        |entry: &&Entry| is_short(&entry.record.key) && is_short(entry.record.headers.as_bytes());
    for Entry { offset, append_time, record } in entries.iter().filter(may_be_ours) {
        let stored = record::encode(*append_time, record);
        bytes.put_u32(u32::try_from(OFFSET_BYTES + stored.len()).expect("a record is far below 4 GB"));
        bytes.put_u64(offset.0);
        bytes.put_slice(&stored);
    }
    bytes.freeze()
}

/// The reverse of [`encode`], without copying what the records hold.
///
/// # Errors
/// When they are not what it makes.
pub fn decode(mut bytes: Bytes) -> Result<Vec<Entry>, MalformedFrames> {
    let mut entries = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.try_get_u32().map_err(|_| MalformedFrames)?;
        let length = usize::try_from(length).map_err(|_| MalformedFrames)?;
        if bytes.remaining() < length {
            return Err(MalformedFrames);
        }
        let mut frame = bytes.split_to(length);
        let offset = Offset(frame.try_get_u64().map_err(|_| MalformedFrames)?);
        let (append_time, record) = record::decode(frame).ok_or(MalformedFrames)?;
        entries.push(Entry { offset, append_time, record });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Headers, Record, Timestamp};

    use super::*;

    fn entry(offset: u64, value: Option<Vec<u8>>) -> Entry {
        let headers = Headers::from_pairs([("op", &b"set"[..])]).unwrap();
        let record = Record { key: Bytes::from_static(b"key"), headers, value: value.map(Bytes::from) };
        Entry { offset: Offset(offset), append_time: Timestamp::from_millis(offset), record }
    }

    #[test]
    fn a_run_that_ends_early_is_refused_wherever_it_ends() {
        let whole = encode(&[entry(1, Some(vec![7; 9])), entry(2, None)]);
        let first = encode(&[entry(1, Some(vec![7; 9]))]).len();
        for end in (1..whole.len()).filter(|&end| end != first) {
            assert_eq!(decode(whole.slice(..end)), Err(MalformedFrames), "{end}");
        }
    }

    proptest! {
        #[test]
        fn entries_read_back(of: Vec<(u64, Option<Vec<u8>>)>) {
            let entries: Vec<_> = of.into_iter().map(|(offset, value)| entry(offset, value)).collect();
            prop_assert_eq!(decode(encode(&entries)), Ok(entries));
        }

        #[test]
        fn whatever_comes_nothing_panics(bytes: Vec<u8>) {
            let _refused = decode(bytes.into());
        }
    }
}
