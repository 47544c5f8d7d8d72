//! Every limit of the project: its unit, its reason, and the relations between limits.

use std::time::Duration;

/// Length of a key id as text: 16 bytes in base64url without padding.
pub const KEY_ID_TEXT_BYTES: usize = 22;

/// Bytes that the headers of one record may take, names and values together. Headers are kept with the cell in
/// every view, so they count against the memory and disk of each session.
pub const HEADER_BYTES_MAX: usize = 256;

/// Length of the longest request id that is carried through (a UUID).
pub const REQUEST_ID_BYTES_MAX: usize = 36;

/// How far the clock of a node may run from the log's time before it is clamped (design: clocks).
pub const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(5);

/// How far ahead of the clock a delete is stamped that goes on without a data centre: above anything that one can have
/// acknowledged, whose log's clock is less than this, without twice [`CLOCK_DRIFT_MAX`], ahead of ours. A clock that is further ahead
/// has to be set right before its data centre is declared down.
pub const SKIP_MARGIN: Duration = Duration::from_secs(60);

/// How far the versions of a data centre may be ahead of ours for it to be declared down. Well within [`SKIP_MARGIN`]: they
/// were compared a moment ago, over a network.
pub const DOWN_AHEAD_MAX: Duration = Duration::from_secs(30);

/// How far above what it has seen of a session such a delete is stamped at least: above what a data centre may have written over
/// that and nobody has heard of, a few ticks more.
pub const SKIP_STEP: Duration = Duration::from_secs(1);

/// How far ahead of the clock a version may be for clocks to follow it. One beyond comes of a delete that was stamped
/// [`SKIP_MARGIN`] ahead, and concerns its own key alone.
pub const VERSION_AHEAD_MAX: Duration = Duration::from_secs(30);

/// How old a declaration in force may become before it is appended again: long before a topic's retention, which is
/// [`RETENTION_SLACK`] at least, drops it.
pub const DECLARATION_AGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// What a topic keeps beyond the longest life of a session, so that a tombstone outlives, in the log as in the view,
/// everything that it covers.
pub const RETENTION_SLACK: Duration = Duration::from_secs(24 * 3600);

/// How long an embedded log keeps a heartbeat: it says "alive up to here", which the next one says better.
pub const HEARTBEAT_RETENTION: Duration = Duration::from_secs(2 * 24 * 3600);

/// How long the tombstones of a store whose sessions never expire are kept.
pub const UNLIMITED_TOMBSTONE_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest TTL that a configuration may name: 100 years, so that sums of times cannot overflow 48 bits of
/// milliseconds.
pub const TTL_SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

/// How long a key may stay in debt before its winning event is appended again.
pub const DEBT_AGE: Duration = Duration::from_secs(5);

/// The longest random delay added to [`DEBT_AGE`], so that the nodes of a data centre do not all repair at once.
pub const DEBT_JITTER_MAX: Duration = Duration::from_secs(5);

/// Repairs per second and node: behind requests, never beside them.
pub const REPAIRS_PER_SECOND_MAX: u32 = 200;

/// Partitions of a topic, at most. A frontier holds one offset for each.
pub const PARTITIONS_MAX: u32 = 1024;

/// Largest sealed value that a record may carry, whatever a store allows: 16 MiB. It keeps one batch of the log within
/// the memory that a small node has.
pub const SEALED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one batch between log and view: large enough to amortise a write, small enough to bound memory and the
/// wait of a fence behind it.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Records of one batch between log and view.
pub const BATCH_RECORDS_MAX: usize = 4096;

const _: () = assert!(REQUEST_ID_BYTES_MAX < HEADER_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= SEALED_BYTES_MAX);
const _: () = assert!(2 * CLOCK_DRIFT_MAX.as_secs() < VERSION_AHEAD_MAX.as_secs());
const _: () = assert!(VERSION_AHEAD_MAX.as_secs() < SKIP_MARGIN.as_secs());
const _: () = assert!((DOWN_AHEAD_MAX.as_secs() + 2 * CLOCK_DRIFT_MAX.as_secs()) < SKIP_MARGIN.as_secs());
const _: () = assert!(2 * DECLARATION_AGE_MAX.as_secs() < RETENTION_SLACK.as_secs());
const _: () = assert!(CLOCK_DRIFT_MAX.as_secs() * 1000 < RETENTION_SLACK.as_secs());
