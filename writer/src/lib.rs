//! Requests become events: chooses the version, appends, and waits until what it appended can be read.
//!
//! Knows the log, through [`LocalView`] how far the view is, and through [`Peer`](peer::Peer) the other data centres. Does not
//! know how the view is made, or what a session contains. Only a [`Writer`] appends.
//!
//! ```text
//!   look     this node has applied everything that was durable when the request came
//!   append   a version above what was seen, a MAC, the log
//!   fence    this node has applied what was appended
//! ```

mod declare;
mod delete;
mod in_flight;
mod local_view;
mod metrics;
mod numbers;
pub mod peer;
mod retention;
mod versions;
mod write;

pub use declare::{DeclareError, Everybody, Order, declare_here};
#[cfg(feature = "test-util")]
pub use delete::decisions;
pub use delete::{Acknowledged, Answer, DeleteError, DeletedEverywhere, NoAnswer, Unconfirmed};
pub use local_view::{FenceFailed, LocalView, LookFailed};
pub use metrics::Metrics;
pub use numbers::Rhythm;
pub use retention::Retention;
pub use versions::Versions;
pub use write::{Deadline, Set, Stored, WriteError, Writer};
