//! Whether a peer is asked at all: one that does not answer must not hold up those who delete.

use std::time::Duration;

use tokio::time::Instant;

/// So many calls in a row without an answer make a peer suspect.
const CALLS_MAX: u32 = 5;

/// So long without an answer, with one call at least that got none, makes it suspect.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often a suspect is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What a peer's answers say of it.
#[derive(Debug, Default)]
pub(super) struct Health {
    unanswered: u32,
    /// When the first of these calls was made.
    silent_since: Option<Instant>,
    /// When one was last asked though it is suspect.
    tried: Option<Instant>,
}

impl Health {
    /// It has answered, whatever it said.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// It has not, to a call that was made then.
    pub(super) fn was_silent(&mut self, asked: Instant) {
        self.unanswered = self.unanswered.saturating_add(1);
        self.silent_since = Some(self.silent_since.map_or(asked, |since| since.min(asked)));
    }

    /// Whether it may be asked: while it is suspect, once a second.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        if !self.is_suspect(now) {
            return true;
        }
        let is_due = self.tried.is_none_or(|tried| TRY_EVERY <= now.saturating_duration_since(tried));
        if is_due {
            self.tried = Some(now);
        }
        is_due
    }

    /// Whether it is likely not to answer the next call either.
    pub(super) fn is_suspect(&self, now: Instant) -> bool {
        let silent_for =
            self.silent_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
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
        assert!(health.may_ask(start) && !health.may_ask(start), "one of those who would ask");
        assert!(health.may_ask(start + TRY_EVERY) && !health.may_ask(start + TRY_EVERY));
        health.answered();
        assert!(health.may_ask(start) && health.may_ask(start));
        assert!(!health.is_suspect(start + 10 * SILENCE_MAX));
        health.was_silent(start);
        assert!(!health.is_suspect(start + SILENCE_MAX - Duration::from_millis(1)));
        assert!(health.is_suspect(start + SILENCE_MAX));
    }
}
