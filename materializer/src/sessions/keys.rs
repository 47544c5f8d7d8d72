//! Keys in a view's RocksDB. Tags never change meaning, and share one column family with what they describe.
//!
//! ```text
//!   'c' key id:16                      a cell
//!   'd' key id:16                      a debt, since: u64
//!   'e' topic 0 partition:u32 dc       a declaration: see the record's
//!   'f' …                              what the directory is; the clock's marks
//!   'l' topic                          a log that the view is made from, its incarnation
//!   'n' class:1 minute:u64             how many cells end then: cells u64, bytes u64
//!   'p' topic 0 partition:u32          how far a partition has been applied: u64
//!   's' topic 0 partition:u32          which numbers have been seen in a copied log: see `numbers`
//! ```

use schemas::{Dc, KeyId, Partition, Topic};

use crate::{Class, Slot};

pub(super) const CELL_TAG: u8 = b'c';
pub(super) const DEBT_TAG: u8 = b'd';
pub(super) const DECLARED_TAG: u8 = b'e';
pub(super) const LOG_TAG: u8 = b'l';
pub(super) const POSITION_TAG: u8 = b'p';
pub(super) const NUMBERS_TAG: u8 = b's';

pub(super) const FORMAT: &[u8] = b"fformat";
pub(super) const MARKS: &[u8] = b"fmarks";

pub(super) const CENSUS_TAG: u8 = b'n';

const LIVE: u8 = 1;
const TOMBSTONE: u8 = 2;

const KEY_BYTES: usize = 17;

pub(super) fn cell(key: &KeyId) -> [u8; KEY_BYTES] {
    tagged(CELL_TAG, key)
}

pub(super) fn decode_cell(key: &[u8]) -> Option<KeyId> {
    untagged(CELL_TAG, key)
}

/// The smallest key above a cell's.
pub(super) fn after_cell(key: &KeyId) -> Vec<u8> {
    [&cell(key)[..], &[0]].concat()
}

pub(super) fn debt(key: &KeyId) -> [u8; KEY_BYTES] {
    tagged(DEBT_TAG, key)
}

pub(super) fn decode_debt(key: &[u8]) -> Option<KeyId> {
    untagged(DEBT_TAG, key)
}

pub(super) fn log(topic: &Topic) -> Vec<u8> {
    [&[LOG_TAG], topic.to_string().as_bytes()].concat()
}

pub(super) fn decode_log(key: &[u8]) -> Option<Topic> {
    decode_topic(key.strip_prefix(&[LOG_TAG])?)
}

pub(super) fn position(topic: &Topic, partition: Partition) -> Vec<u8> {
    of_partition(POSITION_TAG, topic, partition)
}

pub(super) fn decode_position(key: &[u8]) -> Option<(Topic, Partition)> {
    decode_of_partition(POSITION_TAG, key)
}

pub(super) fn numbers(topic: &Topic, partition: Partition) -> Vec<u8> {
    of_partition(NUMBERS_TAG, topic, partition)
}

pub(super) fn decode_numbers(key: &[u8]) -> Option<(Topic, Partition)> {
    decode_of_partition(NUMBERS_TAG, key)
}

pub(super) fn declared(topic: &Topic, partition: Partition, dc: &Dc) -> Vec<u8> {
    let (topic, dc) = (topic.to_string(), dc.as_str());
    [&[DECLARED_TAG], topic.as_bytes(), &[0], &partition.0.to_be_bytes(), dc.as_bytes()].concat()
}

pub(super) fn decode_declared(key: &[u8]) -> Option<(Topic, Partition, Dc)> {
    let key = key.strip_prefix(&[DECLARED_TAG])?;
    // No name holds a zero byte, so that the first one ends the topic.
    let (topic, rest) = key.split_at_checked(key.iter().position(|&byte| byte == 0)?)?;
    let (partition, dc) = rest.strip_prefix(&[0])?.split_first_chunk()?;
    let dc = str::from_utf8(dc).ok()?.parse().ok()?;
    Some((decode_topic(topic)?, Partition(u32::from_be_bytes(*partition)), dc))
}

pub(super) fn slot(slot: Slot) -> [u8; 10] {
    let class = match slot.class {
        Class::Live => LIVE,
        Class::Tombstone => TOMBSTONE,
    };
    let mut key = [CENSUS_TAG, class, 0, 0, 0, 0, 0, 0, 0, 0];
    key[2..].copy_from_slice(&slot.minute.to_be_bytes());
    key
}

pub(super) fn decode_slot(key: &[u8]) -> Option<Slot> {
    let (class, minute) = key.strip_prefix(&[CENSUS_TAG])?.split_first()?;
    let class = match *class {
        LIVE => Class::Live,
        TOMBSTONE => Class::Tombstone,
        _ => return None,
    };
    Some(Slot { class, minute: u64::from_be_bytes(minute.try_into().ok()?) })
}

fn of_partition(tag: u8, topic: &Topic, partition: Partition) -> Vec<u8> {
    [&[tag], topic.to_string().as_bytes(), &[0], &partition.0.to_be_bytes()].concat()
}

fn decode_of_partition(tag: u8, key: &[u8]) -> Option<(Topic, Partition)> {
    let (topic, partition) = key.strip_prefix(&[tag])?.split_last_chunk()?;
    let topic = decode_topic(topic.strip_suffix(&[0])?)?;
    Some((topic, Partition(u32::from_be_bytes(*partition))))
}

fn tagged(tag: u8, key: &KeyId) -> [u8; KEY_BYTES] {
    let mut bytes = [tag; KEY_BYTES];
    bytes[1..].copy_from_slice(key.as_bytes());
    bytes
}

fn untagged(tag: u8, bytes: &[u8]) -> Option<KeyId> {
    Some(KeyId::from_bytes(bytes.strip_prefix(&[tag])?.try_into().ok()?))
}

fn decode_topic(bytes: &[u8]) -> Option<Topic> {
    let (origin, store) = std::str::from_utf8(bytes).ok()?.split_once('.')?;
    Some(Topic { origin: origin.parse().ok()?, store: store.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic() -> Topic {
        Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
    }

    #[test]
    fn the_keys_of_format_1_do_not_change() {
        let key = KeyId::from_bytes(*b"0123456789abcdef");
        assert_eq!(&cell(&key), b"c0123456789abcdef");
        assert_eq!(&debt(&key), b"d0123456789abcdef");
        assert_eq!(log(&topic()), b"leqiad.sessions");
        assert_eq!(position(&topic(), Partition(258)), b"peqiad.sessions\0\0\0\x01\x02");
        assert_eq!(numbers(&topic(), Partition(258)), b"seqiad.sessions\0\0\0\x01\x02");
        assert_eq!(&slot(Slot { class: Class::Tombstone, minute: 258 }), b"n\x02\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn a_key_of_another_length_or_tag_is_refused() {
        assert_eq!(decode_cell(b"c0123456789abcde"), None);
        assert_eq!(decode_cell(b"d0123456789abcdef"), None);
        assert_eq!(decode_position(b"peqiad.sessions\0\0\0\x01"), None);
        assert_eq!(decode_position(b"peqiad.sessionsx\0\0\0\x01"), None);
    }

    proptest! {
        #[test]
        fn keys_read_back(id: [u8; 16], partition: u32, minute: u64) {
            for class in [Class::Live, Class::Tombstone] {
                prop_assert_eq!(decode_slot(&slot(Slot { class, minute })), Some(Slot { class, minute }));
            }
            let key = KeyId::from_bytes(id);
            prop_assert_eq!(decode_cell(&cell(&key)), Some(key));
            prop_assert_eq!(decode_debt(&debt(&key)), Some(key));
            prop_assert_eq!(decode_log(&log(&topic())), Some(topic()));
            prop_assert_eq!(decode_position(&position(&topic(), Partition(partition))), Some((topic(), Partition(partition))));
            prop_assert_eq!(decode_numbers(&numbers(&topic(), Partition(partition))), Some((topic(), Partition(partition))));
        }
    }
}
