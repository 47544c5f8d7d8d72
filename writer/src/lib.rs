//! Requests become events: chooses the version, appends, and waits until what it appended can be read.
//!
//! Knows the log and, through [`LocalView`], how far the view is. Does not know how the view is made, what a session
//! contains, or HTTP. Only a [`Writer`] appends.
//!
//! ```text
//!   look     this node has applied everything that was durable when the request came
//!   append   a version above what was seen, a MAC, the log
//!   fence    this node has applied what was appended
//! ```

mod delete;
mod local_view;
mod metrics;
mod numbers;
mod retention;
mod versions;
mod write;

pub use delete::{DeleteError, DeletedEverywhere, Unconfirmed};
pub use local_view::{FenceFailed, LocalView, LookFailed};
pub use metrics::Metrics;
pub use retention::Retention;
pub use versions::Versions;
pub use write::{Deadline, Set, Stored, WriteError, Writer};
