//! HTTP in, HTTP out. The only crate that sees a session key or the contents of a session.
//!
//! Does not know where records are kept or how a view is made: it hands a key id and a sealed value to `writer`, and
//! gets a cell from `materializer`.
//!
//! - [`App`]: what handlers share; [`routes`]: the table of contents of the service;
//! - [`peer_routes`]: what other data centres ask; [`serve`]: its connections; [`Lanes`]: their threads;
//! - [`Dcs`]: who is declared down, by whose logs;
//! - [`Access`]: who may do what;
//! - [`Sealer`]: (session key, plaintext) to (key id, sealed value) and back;
//! - `target`, `conditions`, `session_headers`: parse or reject, once, in pure functions;
//! - [`Problem`]: the one map from errors to answers.

mod access;
mod answer_room;
mod app;
mod body;
mod brief_problem;
mod comparisons;
mod conditions;
mod dcs;
mod fingerprints;
mod head;
mod jobs;
mod lanes;
mod metrics;
mod patience;
mod problem;
mod rates;
mod readiness;
mod request_id;
mod room;
mod routes;
mod seal;
mod sender;
mod serve;
mod session_headers;
mod store;
mod target;
mod tls;

pub mod admin;

pub use access::{Access, Client, ClientName, ParseError, Role, Scope, TokenHash};
pub use answer_room::AnswerRoom;
pub use app::{App, BuildInfo, Limits};
pub use body::BodyRoom;
pub use comparisons::{CompareOrder, Compared, Comparisons, DifferingKey, NotCompared};
pub use dcs::{DECLARED_DOWN, Dcs};
pub use fingerprints::{Fingerprints, index_fingerprint};
pub use jobs::{Busy, Ended, Job, JobState, JobStatus, Jobs, Task};
pub use lanes::Lanes;
pub use metrics::Metrics;
pub use problem::{Kind, Outcome, Problem};
pub use rates::Rates;
pub use readiness::{Latch, Readiness};
pub use room::{DiskRoom, Room};
pub use routes::{
    RESERVED, Routes,
    hashes::{has_not_applied, said},
    peer::{PeerApp, peer_routes},
    routes,
};
pub use seal::{
    BodyBytes, OpenError, Ring, RingNow, RingSecret, SealedBy, Sealer, SealerError, Secret, SessionKey,
    sealed_with,
};
pub use serve::{serve, serve_connection};
pub use store::{Backend, Rules, Store, Stores};
pub use tls::Tls;
