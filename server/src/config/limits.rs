//! What one request, and all of them together, may take.

use std::time::Duration;

use super::{
    section::{Read, Section},
    value::{Refusal, number},
};

/// What requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of each listener at a time, 1 to 1,000,000. Default 10000. More wait in the listener's backlog. Too
    /// low keeps clients waiting there; too high runs out of file descriptors or memory.
    pub max_connections: u32,
    /// How long a write or a delete may take once its body is there, which has 5 s of its own; 10 to 600,000 ms.
    /// Default 2500. Must stay below the clients' own timeout (MediaWiki: 3000), or they give up before they read the
    /// answer; too low fails requests that a slow disk or a far data centre would have answered.
    pub request_timeout: Duration,
    /// The longest session key, in bytes after percent decoding, 16 to 16,384. Default 1024. Too low refuses clients
    /// with long keys; too high lets strangers fill memory with paths.
    pub max_key_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 10_000, request_timeout: Duration::from_millis(2500), max_key_bytes: 1024 }
    }
}

/// Reads `limits`.
pub(super) fn read(limits: &mut Section<'_>) -> Read<Limits> {
    let default = Limits::default();
    let connections = number("a whole number", 1..=1_000_000, default.max_connections);
    let timeout_ms = number("a whole number of milliseconds", 10..=600_000, 2500);
    let key_bytes = number("a whole number of bytes", 16..=16_384, default.max_key_bytes);

    let max_connections = limits.or("max_connections", default.max_connections, connections);
    let request_timeout = limits.optional("request_timeout_ms", timeout_ms);
    let max_key_bytes = limits.or("max_key_bytes", default.max_key_bytes, key_bytes);
    Ok(Limits {
        max_connections: max_connections?,
        request_timeout: request_timeout?.map_or(default.request_timeout, Duration::from_millis),
        max_key_bytes: max_key_bytes?,
    })
}

/// Default of `on_log_outage.serve_for_s`.
pub(super) const SERVE_IN_OUTAGE_FOR: Duration = Duration::from_secs(60);

/// Reads `on_log_outage`.
pub(super) fn on_log_outage(outage: &mut Section<'_>) -> Read<Duration> {
    let default = SERVE_IN_OUTAGE_FOR.as_secs();
    let seconds = number("a whole number of seconds (0 = refuse at once)", 0..=86_400, default);
    outage.or("serve_for_s", default, seconds).map(Duration::from_secs)
}

/// Reads `read_patience_ms`, which must leave time to answer.
pub(super) fn read_patience(top: &mut Section<'_>, limits: Read<Limits>) -> Read<Duration> {
    let patience =
        top.optional("read_patience_ms", number("a whole number of milliseconds", 0..=600_000, 2000))?;
    let timeout = limits?.request_timeout;
    match patience.map(Duration::from_millis) {
        None => Ok(default_patience(timeout)),
        Some(patience) if patience < timeout => Ok(patience),
        Some(patience) => {
            let need = format!("less than `limits.request_timeout_ms` ({})", timeout.as_millis());
            let refusal = Refusal::new(patience.as_millis().to_string(), need, "lower it, or leave it out");
            Err(top.refuse("read_patience_ms", refusal))
        }
    }
}

/// Four fifths of the request timeout, so that a fifth is left to answer; at most 2 s.
pub(super) fn default_patience(request_timeout: Duration) -> Duration {
    (request_timeout * 4 / 5).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_before_the_request_does() {
        for (timeout_ms, patience_ms) in [(2500, 2000), (600_000, 2000), (1000, 800), (10, 8)] {
            let patience = default_patience(Duration::from_millis(timeout_ms));
            assert_eq!(patience, Duration::from_millis(patience_ms));
        }
    }
}
