//! What is said: the words that every other crate uses, and the bytes they travel as.
//!
//! Knows no runtime, no disk, no network and no clock. Everything here is a value or a pure function.
//!
//! ```text
//!   names   dc  store  topic        safe in a topic name, a path and a URL
//!   time    time  ttl  version         when, and which of two events is later
//!   events  key  event  sequence    what happened to which session
//!   bytes   headers  record  mac    an event as a log record, and the proof that we wrote it
//! ```

pub mod caps;
mod name;

mod dc;
mod store;
mod topic;

mod time;
mod ttl;
mod version;

mod event;
mod key;
mod sequence;

mod control;
mod declaration;
mod headers;
mod mac;
mod record;
mod skipped;

pub use control::{Beacon, Control, DECLARED_PREFIX, HEARTBEAT_PREFIX, Heartbeat, Reach};
pub use dc::Dc;
pub use declaration::{DcState, Declaration, ParseDcStateError};
pub use event::{Change, Event, Sealed};
pub use headers::{Headers, HeadersError};
pub use key::{KeyId, ParseKeyIdError};
pub use mac::{MacError, MacKey};
pub use name::NameError;
pub use record::{DecodeError, EncodeError, Message, Record};
pub use sequence::{ParseSequenceError, Sequence};
pub use store::StoreName;
pub use time::{Timestamp, Until};
pub use topic::{Offset, Partition, PartitionCount, Position, Topic};
pub use ttl::SessionTtl;
pub use version::{Hlc, ParseVersionError, Version, WriterId};
