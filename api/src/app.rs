//! What handlers share.

use std::{sync::Arc, time::Duration};

use crate::{
    Access, AnswerRoom, BodyRoom, Comparisons, Dcs, DiskRoom, Jobs, Metrics, Readiness, Ring, Stores,
    admin::Counting,
};

/// Everything that a handler may use. Cheap to clone; no globals.
#[derive(Clone, Debug)]
pub struct App {
    /// The stores, by base URI.
    pub stores: Arc<Stores>,
    /// Who may ask for their sessions. Whoever does, when nobody is named.
    pub access: Option<Arc<Access>>,
    /// What sessions are sealed with.
    pub ring: Arc<Ring>,
    /// The last count of what secrets are needed for.
    pub counting: Counting,
    /// Whether this node may answer.
    pub readiness: Arc<Readiness>,
    /// What is counted of requests.
    pub metrics: Metrics,
    /// Everything that is counted in the process.
    pub registry: prometheus::Registry,
    /// What this program is.
    pub build: BuildInfo,
    /// Bounds of a request.
    pub limits: Limits,
    /// Memory for the bodies of writes.
    pub body_room: BodyRoom,
    /// Memory for large answers.
    pub answer_room: AnswerRoom,
    /// Whether the disk has room for writes.
    pub disk_room: DiskRoom,
    /// This data centre and the others.
    pub dcs: Dcs,
    /// Work that operators order.
    pub jobs: Jobs,
    /// Comparisons with other data centres that they ask for.
    pub comparisons: Comparisons,
    /// Gives random bytes that a value is sealed under. Never the same twice.
    pub salt: fn() -> [u8; 16],
    /// The OpenAPI template; its base URI is filled in at each request.
    pub openapi: Arc<str>,
}

/// What this program is.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Of the package.
    pub version: &'static str,
    /// When it was built.
    pub build_date: &'static str,
    /// Where it was built.
    pub build_host: &'static str,
    /// The compiler, under the name that Kask's consumers know: `go_version`.
    pub go_version: &'static str,
}

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a decoded key.
    pub key_bytes_max: usize,
    /// How long an answer may take. Below the 3 s after which MediaWiki gives up.
    pub request_timeout: Duration,
    /// How long a read may wait for its barrier.
    pub read_patience: Duration,
}
