//! The cells of one bucket, for whoever found that its sums differ. A bucket is a range of keys.

use schemas::KeyId;

use crate::{BUCKETS, Essences, Hour, View, ViewError, hashes};

/// Bytes of the view that one look reads at a time.
const READ_BYTES: usize = 256 * 1024;

/// Bits of a key id behind those that say its bucket.
const BITS_BEHIND: u32 = u128::BITS - BUCKETS.ilog2();

/// What counts of the cells of `bucket` after `after` that must be kept until `cut` or longer, in the order of keys: as many
/// as were found once there are `limit`. Blocks on the disk.
///
/// # Errors
/// When the disk cannot be read.
pub fn cells_of(
    view: &dyn View,
    bucket: usize,
    cut: Hour,
    after: Option<KeyId>,
    limit: usize,
) -> Result<Essences, ViewError> {
    let (mut found, mut after) = (Essences::default(), after.or_else(|| last_before(bucket)));
    loop {
        let Essences { cells, last } = view.essences(after, READ_BYTES)?;
        let are_all = last.is_none_or(|last| bucket < hashes::bucket(&last));
        let of_bucket = cells.into_iter().take_while(|cell| hashes::bucket(&cell.key) == bucket);
        found.cells.extend(of_bucket.filter(|cell| cut <= Hour::of(cell.retain_until)));
        if are_all || limit <= found.cells.len() {
            found.last = last.filter(|_| !are_all);
            return Ok(found);
        }
        after = last;
    }
}

/// The last of all keys before those of `bucket`.
fn last_before(bucket: usize) -> Option<KeyId> {
    let first = (bucket as u128) << BITS_BEHIND;
    Some(KeyId::from_bytes(first.checked_sub(1)?.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use schemas::{Headers, Hlc, Timestamp, Until, Version, WriterId};

    use super::*;
    use crate::{Cell, Essence, State, ViewWrite, memory::MemoryView};

    fn cell(retain_hours: u64) -> Cell {
        let version = Version { hlc: Hlc::from_bits(1), writer: WriterId(1) };
        let retain_until = Until::At(Timestamp::from_millis(retain_hours * 3_600_000));
        Cell { version, retain_until, headers: Headers::default(), state: State::Tombstone }
    }

    proptest! {
        #[test]
        fn the_cells_of_all_buckets_are_all_cells_and_each_is_in_its_own(
            keys in prop::collection::btree_map(
                (prop::sample::select(vec![0_u16, 1, 0x0fff]), 0..400_u16), 0..4_u64, 0..1500), cut in 0..4_u64,
        ) {
            let key = |(bucket, n): (u16, u16)| {
                let mut bytes = [0xff; 16];
                bytes[..2].copy_from_slice(&((bucket << 4) | (n % 16)).to_be_bytes());
                bytes[14..].copy_from_slice(&n.to_be_bytes());
                KeyId::from_bytes(bytes)
            };
            let cells: BTreeMap<_, _> = keys.into_iter().map(|(of, hours)| (key(of), cell(hours))).collect();
            let view = MemoryView::default();
            view.write(&ViewWrite { cells: cells.clone(), ..ViewWrite::default() }).unwrap();
            let cut = Hour(cut);
            for bucket in [0, 1, 2, BUCKETS - 1] {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let Essences { cells, last } = cells_of(&view, bucket, cut, after, 10).unwrap();
                    found.extend(cells);
                    after = last;
                    if last.is_none() {
                        break;
                    }
                }
                let expected = cells.iter().map(|(key, cell)| Essence::of(*key, cell));
                let expected = expected.filter(|cell| cell.bucket() == bucket && cut <= Hour::of(cell.retain_until));
                prop_assert_eq!(found, expected.collect::<Vec<_>>());
            }
        }
    }
}
