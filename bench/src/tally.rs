//! What was counted and timed. Threads count for themselves and add up at the end.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::mix::Kind;

/// The longest time that is told apart, in nanoseconds: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;
/// Three digits: 0.1 %.
const DIGITS: u8 = 3;

/// Whatever must not happen, by kind. Counted from the first request of a phase to the last, warm-up included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Errors {
    /// No connection could be made.
    pub(crate) connect: u64,
    /// The connection ended between a request and the end of its answer.
    pub(crate) closed: u64,
    /// No whole answer came in time.
    pub(crate) timeout: u64,
    /// What came was no answer.
    pub(crate) malformed: u64,
    /// Another status than a sound server has for this request.
    pub(crate) status: u64,
    /// The rate was not reached: requests of an open loop that no connection was free for, up to the end and the
    /// patience after it.
    pub(crate) unsent: u64,
    /// A body that is not what was written: of another session, cut, mixed or strange.
    pub(crate) corrupt: u64,
    /// 404 for a session that must be there.
    pub(crate) lost: u64,
    /// A body older than what was acknowledged, or deleted, before the read began.
    pub(crate) stale: u64,
    /// 200 for a session that nobody ever wrote.
    pub(crate) phantom: u64,
}

impl Errors {
    /// Each with its name, in the order of a report.
    pub(crate) fn named(&self) -> [(&'static str, u64); 10] {
        let Self { connect, closed, timeout, malformed, status, unsent, corrupt, lost, stale, phantom } =
            *self;
        [
            ("connect", connect),
            ("closed", closed),
            ("timeout", timeout),
            ("malformed", malformed),
            ("status", status),
            ("unsent", unsent),
            ("corrupt", corrupt),
            ("lost", lost),
            ("stale", stale),
            ("phantom", phantom),
        ]
    }

    /// All of them.
    pub(crate) fn sum(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        let Self { connect, closed, timeout, malformed, status, unsent, corrupt, lost, stale, phantom } =
            other;
        self.connect += connect;
        self.closed += closed;
        self.timeout += timeout;
        self.malformed += malformed;
        self.status += status;
        self.unsent += unsent;
        self.corrupt += corrupt;
        self.lost += lost;
        self.stale += stale;
        self.phantom += phantom;
    }
}

/// Times, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, NANOS_MAX, DIGITS).expect("bounds and digits are in range"))
    }

    /// What lies above an hour counts as an hour.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that this share of the times does not exceed. `share` is 0 to 1; 1 is the longest time.
    pub(crate) fn micros_at(&self, share: f64) -> f64 {
        micros(self.0.value_at_quantile(share))
    }

    pub(crate) fn micros_mean(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }
}

fn micros(nanos: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most an hour")]
    let nanos = nanos as f64;
    nanos / 1000.0
}

/// Everything about one phase.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// From the intended moment to the last byte of the answer, by kind: get, post and new, delete.
    pub(crate) latency: [Times; 3],
    /// From the intended moment to the first byte that was sent.
    pub(crate) lag: Times,
    /// Answers by status, of requests that were meant to be sent in the window.
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: Errors,
    /// The statuses that `errors.status` counts.
    pub(crate) strange: BTreeMap<u16, u64>,
    /// Connections that had to be made again.
    pub(crate) reconnects: u64,
    /// Answers that came while the window was open.
    pub(crate) answered: u64,
    /// Bytes of bodies that were read and written.
    pub(crate) body_bytes: u64,
    /// Until the last answer.
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            latency: [Times::new(), Times::new(), Times::new()],
            lag: Times::new(),
            statuses: BTreeMap::new(),
            errors: Errors::default(),
            strange: BTreeMap::new(),
            reconnects: 0,
            answered: 0,
            body_bytes: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// The times of this kind of request.
    pub(crate) fn latency_of(&mut self, kind: Kind) -> &mut Times {
        match kind {
            Kind::Get => &mut self.latency[0],
            Kind::Post | Kind::New => &mut self.latency[1],
            Kind::Delete => &mut self.latency[2],
        }
    }

    /// Of all kinds together.
    pub(crate) fn all(&self) -> Times {
        let mut all = Times::new();
        for times in &self.latency {
            all.add(times);
        }
        all
    }

    /// Adds what another thread counted in the same phase.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { latency, lag, statuses, errors, strange, reconnects, answered, body_bytes, elapsed } =
            other;
        for (mine, theirs) in self.latency.iter_mut().zip(latency) {
            mine.add(theirs);
        }
        self.lag.add(lag);
        for (status, count) in statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.errors.add(*errors);
        for (status, count) in strange {
            *self.strange.entry(*status).or_default() += count;
        }
        self.reconnects += reconnects;
        self.answered += answered;
        self.body_bytes += body_bytes;
        self.elapsed = self.elapsed.max(*elapsed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_counted_adds_up() {
        let mut one = Tally::new();
        let mut two = Tally::new();
        one.latency_of(Kind::Get).record(1000);
        two.latency_of(Kind::New).record(3_000_000);
        two.statuses.insert(200, 4);
        one.statuses.insert(200, 3);
        one.errors.lost = 1;
        two.errors.lost = 2;
        two.errors.stale = 1;
        one.add(&two);
        assert_eq!((one.all().count(), one.statuses[&200]), (2, 7));
        assert_eq!((one.errors.lost, one.errors.sum()), (3, 4));
        assert!((one.all().micros_at(1.0) / 3000.0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn quantiles_are_microseconds_to_three_digits() {
        let mut times = Times::new();
        (1..=1000).for_each(|micros| times.record(micros * 1000));
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            assert!((times.micros_at(share) / expected - 1.0).abs() < 0.002, "{share}");
        }
    }
}
