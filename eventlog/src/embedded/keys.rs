//! Keys in the log's RocksDB. Tags never change meaning.
//!
//! ```text
//!   'm' name                          what the directory is
//!   'r' partition:u32 offset:u64      a record, so that a partition is one range in order
//!   't' partition:u32                 the partition's tail:u64, written in the batch of its records
//! ```
//! Numbers are big-endian.

use schemas::{Offset, Partition};

pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const PARTITIONS: &[u8] = b"mpartitions";
pub(super) const INCARNATION: &[u8] = b"mincarnation";
/// How large the files were after the last cleaning: u64.
pub(super) const CLEANED: &[u8] = b"mcleaned";
/// When the log last took records again after its disk was full, by its own stamps: u64, unix ms.
pub(super) const RECOVERED: &[u8] = b"mrecovered";
/// The longest life, in ms, that any start allowed its sessions: u64, its maximum for "for ever".
pub(super) const LONGEST_TTL: &[u8] = b"mlongest_ttl";

const RECORD_BYTES: usize = 13;

pub(super) fn record(partition: Partition, offset: Offset) -> [u8; RECORD_BYTES] {
    let mut key = [b'r'; RECORD_BYTES];
    key[1..5].copy_from_slice(&partition.0.to_be_bytes());
    key[5..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// Whether [`record`] made this key.
pub(super) fn is_record(key: &[u8]) -> bool {
    key.len() == RECORD_BYTES && key[0] == b'r'
}

/// The offset in a key that [`record`] made.
pub(super) fn record_offset(key: &[u8]) -> Offset {
    Offset(decode_u64(key.get(5..).unwrap_or_default()))
}

pub(super) fn tail(partition: Partition) -> [u8; 5] {
    let mut key = [b't'; 5];
    key[1..].copy_from_slice(&partition.0.to_be_bytes());
    key
}

pub(super) fn decode_u64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(
        bytes.try_into().expect("only this module writes these eight bytes, under RocksDB's checksum"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_partition_and_offset() {
        let key = |partition, offset| record(Partition(partition), Offset(offset));
        assert!(key(0, u64::MAX) < key(1, 0));
        assert!(key(1, 255) < key(1, 256));
        assert_eq!(record_offset(&key(7, 300)), Offset(300));
        assert!(key(u32::MAX, u64::MAX)[..] < tail(Partition(0))[..]);
    }
}
