//! Events become state: follows every log and folds it into a view.
//!
//! Knows the log and the rule of the fold. Does not know who writes, what a session contains, or HTTP.
//!
//! - [`Cell`] and [`judge`]: the whole semantics, pure;
//! - [`CheckedBatch`]: a batch of a log, of which what is not ours is set aside, pure;
//! - [`fold`]: a batch of a log as the changes it makes to a view, pure;
//! - [`Follower`]: the only loop that moves events into the view that is served;
//! - [`CellCache`]: cells that were read or written lately, in memory;
//! - [`Serving`] and [`Replay`]: the view that is read, and the fold that makes another to take its place;
//! - [`Fence`] and [`Barrier`]: wait until the view holds a position, or everything that is durable;
//! - [`Gaps`]: what copies of other logs lack, and have twice;
//! - [`Outage`]: what is answered while a log does not;
//! - [`Reads`]: the view, as fresh as its store promises;
//! - [`Hashes`]: what a view says, in 4096 numbers;
//! - [`Declared`]: which data centres an operator has declared down;
//! - [`Sums`]: the same, kept current as events are applied; [`Beacons`]: what was applied of the logs, as other data
//!   centres can tell;
//! - [`Census`]: how many sessions live, counted as they come and go;
//! - [`View`]: what the fold reads and writes, in RocksDB ([`sessions`]) or in memory ([`memory`]).

mod ahead;
mod apply;
mod barrier;
mod beacons;
mod buckets;
mod cell;
mod census;
mod check;
mod debts;
mod declared;
mod fence;
mod fold;
mod follower;
mod gap_metrics;
mod gaps;
mod hashes;
mod hot;
mod hot_metrics;
mod metrics;
mod outage;
mod reads;
mod replay;
mod serving;
mod sums;
mod view;

pub mod memory;
pub mod sessions;

pub use barrier::{Barrier, BarrierError};
pub use beacons::Beacons;
pub use buckets::cells_of;
pub use cell::{Cell, State, Verdict, judge};
pub use census::{Census, Class, Count, Head, Recount, Slot};
pub use check::{Checked, CheckedBatch, Refusal};
pub use debts::Debts;
pub use declared::{Declarations, Declared, Noted, OfPartition, Word};
pub use fence::{Fence, FenceError};
pub use fold::{Changes, DebtChange, Whose, fold};
pub use follower::{FollowError, Follower, Successor};
pub use gap_metrics::GapMetrics;
pub use gaps::{Gap, GapRules, GapState, Gaps, Missing, Numbers, NumbersWrite, Track};
pub use hashes::{BUCKETS, Essence, Hashes};
pub use hot::{CellCache, HotCells};
pub use hot_metrics::CellCacheMetrics;
pub use metrics::Metrics;
pub use outage::{Outage, PROBE_EVERY, Silent};
pub use reads::{Freshness, NotKnown, Reads, Visible};
pub use replay::{Frontiers, Replay};
pub use serving::{Served, Serving};
pub use sums::{Hour, Summed, Sums};
pub use view::{Essences, Expired, Marks, Saved, SavedLog, View, ViewError, ViewWrite};
