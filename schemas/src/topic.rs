//! Where a record stands: topic, partition, offset.

use std::fmt;

use crate::{Dc, StoreName};

/// The log of one store that one data centre writes. Shown as `eqiad.sessions`, and mirrored under that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The data centre whose log this is.
    pub origin: Dc,
    /// The store whose events it holds.
    pub store: StoreName,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.origin, self.store)
    }
}

/// A slice of a topic with an order of its own; 0-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions a topic has: 1 to [`PARTITIONS_MAX`](crate::caps::PARTITIONS_MAX). It never changes, and is the
/// same for all origins' topics of a store, because it decides where a key's events stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCount(u32);

impl PartitionCount {
    /// `None` when `count` is outside 1 to [`PARTITIONS_MAX`](crate::caps::PARTITIONS_MAX).
    pub const fn new(count: u32) -> Option<Self> {
        if 1 <= count && count <= crate::caps::PARTITIONS_MAX { Some(Self(count)) } else { None }
    }

    /// The number of partitions.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// All partitions, in order.
    pub fn all(self) -> impl ExactSizeIterator<Item = Partition> + Clone {
        (0..self.0).map(Partition)
    }
}

/// The place of a record in its partition. The first is 0; holes are normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// Where a partition begins.
    pub const ZERO: Self = Self(0);

    /// The offset after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where one record stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition that the record's key belongs to.
    pub partition: Partition,
    /// The record's own offset.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}
