//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// How long a poll pauses between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `attempt` until it gives a value.
///
/// # Panics
///
/// When `within` has passed without one; the message says that `what` did not happen.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        thread::park_timeout(PAUSE);
    }
}
