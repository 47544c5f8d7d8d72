//! What a view says, in 4096 numbers: to compare two views without moving either.

use schemas::{KeyId, Timestamp, Until, Version};

use crate::{Cell, State, cell::droppable};

/// How many numbers. The first twelve bits of a key id say which.
pub const BUCKETS: usize = 4096;

/// Sums of the hashes of cells, by bucket: whatever order the cells came in, equal cells give equal sums.
///
/// A cell counts by its key id, op, version, `expires_at` and `retain_until`. Whether its contents were stripped does
/// not count, since every view does that in its own time.
#[derive(Clone, PartialEq, Eq)]
pub struct Hashes(Box<[u128]>);

/// What of a cell counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Essence {
    /// Which key.
    pub key: KeyId,
    /// Which of two events won.
    pub version: Version,
    /// Until when the event must be kept.
    pub retain_until: Until,
    /// Until when a set may be read; `None` for a delete.
    pub expires_at: Option<Until>,
}

impl Essence {
    /// What of `cell` counts.
    pub const fn of(key: KeyId, cell: &Cell) -> Self {
        let expires_at = match cell.state {
            State::Live { expires_at, .. } | State::Stripped { expires_at } => Some(expires_at),
            State::Tombstone => None,
        };
        Self { key, version: cell.version, retain_until: cell.retain_until, expires_at }
    }

    /// Whether the cell may matter to anybody at `gc_now`: otherwise views drop it, each in its own time.
    pub fn matters(&self, gc_now: Timestamp) -> bool {
        !droppable(self.retain_until, gc_now)
    }

    /// In which bucket it is counted.
    pub(crate) fn bucket(&self) -> usize {
        bucket(&self.key)
    }

    /// BLAKE3 of key id, version and `retain_until`, then of `set` and `expires_at`, or of `delete`: what data centres
    /// compare, so it does not change.
    fn digest(&self) -> blake3::Hash {
        let mut bytes = [0; 51];
        bytes[..16].copy_from_slice(self.key.as_bytes());
        bytes[16..32].copy_from_slice(&self.version.to_bytes());
        bytes[32..40].copy_from_slice(&self.retain_until.bits().to_be_bytes());
        let len = match self.expires_at {
            Some(expires_at) => {
                bytes[40..43].copy_from_slice(b"set");
                bytes[43..].copy_from_slice(&expires_at.bits().to_be_bytes());
                bytes.len()
            }
            None => {
                bytes[40..46].copy_from_slice(b"delete");
                46
            }
        };
        // In one call: a hasher that takes pieces is ten times as long as what it takes.
        blake3::hash(&bytes[..len])
    }

    fn hash(&self) -> u128 {
        u128::from_be_bytes(first(&self.digest()))
    }

    /// The first eight bytes of its hash: what [`Sums`](crate::Sums) add up.
    pub(crate) fn short_hash(&self) -> u64 {
        u64::from_be_bytes(first(&self.digest()))
    }
}

fn first<const N: usize>(digest: &blake3::Hash) -> [u8; N] {
    *digest.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl Hashes {
    /// Of no cells.
    pub fn new() -> Self {
        Self(vec![0; BUCKETS].into())
    }

    /// Takes in a cell.
    pub fn add(&mut self, cell: &Essence) {
        let sum = &mut self.0[bucket(&cell.key)];
        *sum = sum.wrapping_add(cell.hash());
    }

    /// Whether the bucket of `key` says the same in both.
    pub fn agree_on(&self, other: &Self, key: &KeyId) -> bool {
        self.0[bucket(key)] == other.0[bucket(key)]
    }

    /// How many buckets do not say the same.
    pub fn differing(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).filter(|(one, other)| one != other).count()
    }
}

impl Default for Hashes {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashes").finish_non_exhaustive()
    }
}

/// The bucket of a key.
pub(crate) fn bucket(key: &KeyId) -> usize {
    let [first, second, ..] = *key.as_bytes();
    usize::from(u16::from_be_bytes([first, second]) >> 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{Hlc, WriterId};

    use super::*;

    fn at(millis: u64) -> Until {
        Until::At(Timestamp::from_millis(millis))
    }

    fn cell(key: [u8; 16], n: u64) -> Essence {
        let version = Version { hlc: Hlc::from_bits(n), writer: WriterId(1) };
        Essence { key: KeyId::from_bytes(key), version, retain_until: at(9), expires_at: Some(at(5)) }
    }

    fn of(cells: &[Essence]) -> Hashes {
        let mut hashes = Hashes::new();
        cells.iter().for_each(|cell| hashes.add(cell));
        hashes
    }

    #[test]
    fn whatever_of_a_cell_counts_changes_its_bucket_and_no_other() {
        let one = cell([1; 16], 1);
        let others = [
            cell([1; 16], 2),
            Essence { retain_until: at(10), ..one },
            Essence { retain_until: Until::Never, ..one },
            Essence { expires_at: Some(at(6)), ..one },
            Essence { expires_at: Some(Until::Never), ..one },
            Essence { expires_at: None, ..one },
        ];
        for other in others {
            let (a, b) = (of(&[one]), of(&[other]));
            assert_eq!(a.differing(&b), 1, "{other:?}");
            assert!(!a.agree_on(&b, &one.key));
            assert!(a.agree_on(&b, &KeyId::from_bytes([2; 16])));
        }
    }

    #[test]
    fn the_hash_is_that_of_every_release() {
        let bytes = |of: &Essence| {
            let fixed =
                [&of.key.as_bytes()[..], &of.version.to_bytes(), &of.retain_until.bits().to_be_bytes()];
            let end = match of.expires_at {
                Some(expires_at) => [&b"set"[..], &expires_at.bits().to_be_bytes()].concat(),
                None => b"delete".to_vec(),
            };
            [fixed.concat(), end].concat()
        };
        let set = cell([1; 16], 2);
        for essence in
            [set, Essence { expires_at: Some(Until::Never), ..set }, Essence { expires_at: None, ..set }]
        {
            assert_eq!(essence.digest(), blake3::hash(&bytes(&essence)), "{essence:?}");
        }
        assert_eq!(format!("{:016x}", set.short_hash()), "172f7687b8808d71");
    }

    #[test]
    fn a_cell_matters_to_the_last_moment_of_its_retention() {
        let cell = cell([1; 16], 1);
        assert!(cell.matters(Timestamp::from_millis(9)));
        assert!(!cell.matters(Timestamp::from_millis(10)));
    }

    proptest! {
        #[test]
        fn the_order_of_cells_does_not_count(keys in prop::collection::vec(any::<[u8; 16]>(), 0..20)) {
            let cells: Vec<_> = (1..).zip(&keys).map(|(n, key)| cell(*key, n)).collect();
            let reversed: Vec<_> = cells.iter().rev().copied().collect();
            prop_assert_eq!(of(&cells), of(&reversed));
        }
    }
}
