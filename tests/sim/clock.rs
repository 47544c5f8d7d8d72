//! Clocks of machines that disagree, over one paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use eventlog::Clock;
use schemas::Timestamp;
use tokio::time::Instant;

/// When every simulation begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// One machine's clocks.
#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    began: Instant,
    ahead_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A machine whose wall clock is `ahead_ms` ahead of true time, which began at `began`. Who changes `ahead_ms` steps
    /// the clock.
    pub(crate) const fn new(began: Instant, ahead_ms: Arc<AtomicI64>) -> Self {
        Self { began, ahead_ms }
    }

    /// A clock that is right.
    pub(crate) fn right(began: Instant) -> Self {
        Self::new(began, Arc::default())
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        let off = Duration::from_millis(ahead_ms.unsigned_abs());
        let now = BEGINNING.saturating_add(self.monotonic());
        if ahead_ms < 0 { now.saturating_sub(off) } else { now.saturating_add(off) }
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}
