//! How far into a log.

use std::collections::BTreeMap;

use schemas::{Offset, Partition, Position};

/// For each partition, the first offset *not* covered: a half-open prefix of a log. A partition that is not named is
/// not covered at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier(BTreeMap<Partition, Offset>);

impl Frontier {
    /// Covers nothing.
    pub const fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// The first offset of `partition` that is not covered.
    pub fn get(&self, partition: Partition) -> Offset {
        self.0.get(&partition).copied().unwrap_or(Offset::ZERO)
    }

    /// Whether `partition` is named, if only to say that nothing of it is covered.
    pub fn names(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    /// Covers `partition` up to, not including, `offset`. Never goes back.
    pub fn advance(&mut self, partition: Partition, offset: Offset) {
        let covered = self.0.entry(partition).or_insert(Offset::ZERO);
        *covered = (*covered).max(offset);
    }

    /// Whether the record at `position` is covered.
    pub fn covers(&self, position: Position) -> bool {
        position.offset < self.get(position.partition)
    }

    /// Whether this covers all that `other` covers.
    pub fn is_at_least(&self, other: &Self) -> bool {
        other.iter().all(|(partition, offset)| offset <= self.get(partition))
    }

    /// How many offsets `other` covers beyond this.
    pub fn distance_to(&self, other: &Self) -> u64 {
        other.iter().map(|(partition, offset)| offset.0.saturating_sub(self.get(partition).0)).sum()
    }

    /// The named partitions, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        self.0.iter().map(|(&partition, &offset)| (partition, offset))
    }
}

impl FromIterator<(Partition, Offset)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (Partition, Offset)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontier<const N: usize>(pairs: [(u32, u64); N]) -> Frontier {
        pairs.into_iter().map(|(partition, offset)| (Partition(partition), Offset(offset))).collect()
    }

    #[test]
    fn an_offset_that_is_named_is_the_first_not_covered() {
        let covered = frontier([(0, 3)]);
        assert!(covered.covers(Position { partition: Partition(0), offset: Offset(2) }));
        assert!(!covered.covers(Position { partition: Partition(0), offset: Offset(3) }));
        assert!(!covered.covers(Position { partition: Partition(1), offset: Offset(0) }));
    }

    #[test]
    fn a_partition_that_begins_covers_as_much_as_one_that_is_not_named() {
        assert!(frontier([]).is_at_least(&frontier([(0, 0)])));
        assert!(!frontier([]).is_at_least(&frontier([(0, 1)])));
        assert!(frontier([(0, 2), (1, 5)]).is_at_least(&frontier([(1, 5)])));
    }

    #[test]
    fn the_distance_counts_what_the_other_covers_beyond_it() {
        assert_eq!(frontier([(0, 3), (1, 9)]).distance_to(&frontier([(0, 5), (1, 4), (2, 7)])), 9);
        assert_eq!(frontier([(0, 3)]).distance_to(&frontier([])), 0);
    }

    #[test]
    fn it_never_goes_back() {
        let mut covered = frontier([(0, 3)]);
        covered.advance(Partition(0), Offset(1));
        assert_eq!(covered, frontier([(0, 3)]));
    }
}
