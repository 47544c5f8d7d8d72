//! Whether a peer is asked at all: one that does not answer must not hold up those who delete.

use std::time::Duration;

use tokio::time::Instant;

/// So many calls in a row without an answer make a peer suspect.
const CALLS_MAX: u32 = 5;

/// So long without an answer, with one call at least that got none, makes it suspect.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// What a peer's answers say of it.
#[derive(Debug, Default)]
pub(super) struct Health {
    unanswered: u32,
    /// When the first of these calls failed.
    silent_since: Option<Instant>,
}

impl Health {
    /// It has answered, whatever it said.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has not.
    pub(super) fn was_silent(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        self.silent_since.get_or_insert(now);
    }

    /// Whether it is likely not to answer the next call either.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        let silent_for = self.silent_since.map_or(Duration::ZERO, |since| now - since);
        CALLS_MAX <= self.unanswered || SILENCE_MAX <= silent_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_suspect_after_five_calls_or_three_seconds_without_an_answer() {
        let start = Instant::now();
        let mut health = Health::default();
        assert!(!health.is_suspect(start + 10 * SILENCE_MAX), "nobody has asked it");
        for _ in 1..CALLS_MAX {
            health.was_silent(start);
            assert!(!health.is_suspect(start));
        }
        health.was_silent(start);
        assert!(health.is_suspect(start));
        health.answered();
        assert!(!health.is_suspect(start + 10 * SILENCE_MAX));
        health.was_silent(start);
        assert!(!health.is_suspect(start + SILENCE_MAX - Duration::from_millis(1)));
        assert!(health.is_suspect(start + SILENCE_MAX));
    }
}
