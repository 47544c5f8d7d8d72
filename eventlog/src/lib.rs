//! Where events are kept: an append-only log per (store, data centre), the only source of truth.
//!
//! Knows bytes, order and durability. Does not know what a record says, who may read it, or whether its MAC fits.
//!
//! - [`EventLog`]: the seam, with its promises; [`Commit`]: an append that is not durable yet;
//! - [`embedded`]: on this machine's disk; [`kafka`]: a topic of a cluster; [`memory`]: for tests and simulation;
//! - `conformance` (feature `test-util`): the promises as tests, run by every backend;
//! - [`frames`]: entries as bytes, for another data centre;
//! - [`Clock`]: where the log's times come from, when no broker gives them.

mod clock;
mod commit;
pub mod frames;
mod frontier;
mod log;
mod log_clock;

pub mod embedded;
pub mod kafka;
pub mod memory;

#[cfg(feature = "test-util")]
pub mod conformance;

pub use clock::{Clock, ManualClock, SystemClock};
pub use commit::{Appended, Commit, CommitResolver};
pub use frontier::Frontier;
pub use log::{AppendError, Batch, EnqueueError, Entry, EventLog, Incarnation, ReadError};
pub use log_clock::LogClock;
