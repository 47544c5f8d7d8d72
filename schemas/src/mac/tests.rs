use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::Headers;

fn topic(store: &str) -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: store.parse().unwrap() }
}

fn key() -> MacKey {
    MacKey::derive(b"an index secret")
}

fn signed(record: Record) -> Record {
    key().sign(&topic("sessions"), Partition(1), record)
}

fn record() -> Record {
    let headers = Headers::from_pairs([("op", &b"set"[..]), ("q", b"1")]).unwrap();
    Record { key: Bytes::from_static(b"key"), headers, value: Some(Bytes::from_static(b"value")) }
}

#[test]
fn a_record_verifies_only_where_and_as_it_was_signed() {
    let good = signed(record());
    let verify =
        |key: MacKey, topic: Topic, partition, record: &Record| key.verify(&topic, partition, record);
    assert_eq!(verify(key(), topic("sessions"), Partition(1), &good), Ok(()));
    assert_eq!(verify(key(), topic("central"), Partition(1), &good), Err(MacError::Mismatch));
    assert_eq!(verify(key(), topic("sessions"), Partition(2), &good), Err(MacError::Mismatch));
    assert_eq!(
        verify(MacKey::derive(b"other"), topic("sessions"), Partition(1), &good),
        Err(MacError::Mismatch)
    );
    assert_eq!(verify(key(), topic("sessions"), Partition(1), &record()), Err(MacError::Missing));
}

#[test]
fn null_and_empty_are_different_values() {
    let empty = signed(Record { value: Some(Bytes::new()), ..record() });
    let null = Record { value: None, ..empty };
    assert_eq!(key().verify(&topic("sessions"), Partition(1), &null), Err(MacError::Mismatch));
}

#[test]
fn a_header_cannot_lend_bytes_to_its_neighbour() {
    let pairs = |a: &'static str, b: &'static str| [("h", a.as_bytes()), ("h", b.as_bytes())];
    let one = signed(Record { headers: Headers::from_pairs(pairs("ab", "c")).unwrap(), ..record() });
    let mac = one.headers.get(HEADER).unwrap();
    let moved = Headers::from_pairs(pairs("a", "bc").into_iter().chain([(HEADER, mac)])).unwrap();
    let two = Record { headers: moved, ..one.clone() };
    assert_eq!(key().verify(&topic("sessions"), Partition(1), &two), Err(MacError::Mismatch));
}

proptest! {
    /// T2: whoever can write to the log cannot change one bit of a record.
    #[test]
    fn a_flipped_bit_anywhere_is_noticed(value: Vec<u8>, at: prop::sample::Index, bit in 0..8u32) {
        let good = signed(Record { value: Some(value.into()), ..record() });
        let (key_len, headers_len) = (good.key.len(), good.headers.as_bytes().len());
        let mut bytes = [&good.key[..], good.headers.as_bytes(), good.value.as_deref().unwrap()].concat();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let bytes = Bytes::from(bytes);
        let Ok(headers) = Headers::from_bytes(bytes.slice(key_len..key_len + headers_len)) else { return Ok(()) };
        let flipped = Record { key: bytes.slice(..key_len), headers, value: Some(bytes.slice(key_len + headers_len..)) };
        prop_assert!(key().verify(&topic("sessions"), Partition(1), &flipped).is_err());
    }
}
