//! A record as the embedded log stores it, format 1.
//!
//! ```text
//!   append time u64 │ key len u16 │ key │ headers len u16 │ headers │ 0: null  1: a value follows │ value
//! ```
//! Numbers are big-endian. RocksDB checks the bytes; the record MAC says who wrote them.

use bytes::{BufMut, Bytes, BytesMut};
use schemas::{Headers, Record, Timestamp};

pub(crate) fn encode(append_time: Timestamp, record: &Record) -> Bytes {
    let Record { key, headers, value } = record;
    let headers = headers.as_bytes();
    let len = |bytes: &Bytes| u16::try_from(bytes.len()).expect("keys and headers of a record are short");

    let mut bytes =
        BytesMut::with_capacity(13 + key.len() + headers.len() + value.as_ref().map_or(0, Bytes::len));
    bytes.put_u64(append_time.as_millis());
    bytes.put_u16(len(key));
    bytes.put_slice(key);
    bytes.put_u16(len(headers));
    bytes.put_slice(headers);
    bytes.put_u8(u8::from(value.is_some()));
    bytes.put_slice(value.as_deref().unwrap_or_default());
    bytes.freeze()
}

/// Reads without copying. `None` when the bytes are not a record.
pub(crate) fn decode(mut bytes: Bytes) -> Option<(Timestamp, Record)> {
    let append_time =
        Timestamp::from_millis(u64::from_be_bytes(take(&mut bytes, 8)?.as_ref().try_into().ok()?));
    let key = take_prefixed(&mut bytes)?;
    let headers = Headers::from_bytes(take_prefixed(&mut bytes)?).ok()?;
    let value = match take(&mut bytes, 1)?.first()? {
        0 if bytes.is_empty() => None,
        1 => Some(bytes),
        _ => return None,
    };
    Some((append_time, Record { key, headers, value }))
}

fn take_prefixed(bytes: &mut Bytes) -> Option<Bytes> {
    let len = take(bytes, 2)?;
    take(bytes, usize::from(u16::from_be_bytes(len.as_ref().try_into().ok()?)))
}

fn take(bytes: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of format 1 as it was released.
    #[test]
    fn the_bytes_of_format_1_do_not_change() {
        let headers = Headers::from_pairs([("op", &b"set"[..])]).unwrap();
        let record =
            Record { key: Bytes::from_static(b"key"), headers, value: Some(Bytes::from_static(b"v")) };
        let golden = b"\x00\x00\x00\x00\x00\x00\x01\x02\x00\x03key\x00\x08\x02op\x00\x03set\x01v";
        assert_eq!(&encode(Timestamp::from_millis(0x102), &record)[..], golden);
        assert_eq!(decode(Bytes::from_static(golden)), Some((Timestamp::from_millis(0x102), record)));
    }

    proptest! {
        #[test]
        fn a_record_reads_back(time: u64, key in prop::collection::vec(any::<u8>(), 0..50), value: Option<Vec<u8>>) {
            let headers = Headers::from_pairs([("a", &key[..]), ("", b"")]).unwrap();
            let record = Record { key: key.into(), headers, value: value.map(Bytes::from) };
            let time = Timestamp::from_millis(time);
            prop_assert_eq!(decode(encode(time, &record)), Some((time, record)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some((time, record)) = decode(Bytes::from(bytes.clone())) {
                prop_assert_eq!(&encode(time, &record)[..], &bytes[..]);
            }
        }
    }
}
