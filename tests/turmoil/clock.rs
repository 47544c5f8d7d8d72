//! One time for all: that of the simulated network, as far as it has been stepped.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use eventlog::Clock;
use schemas::Timestamp;

/// When every simulation begins.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Whoever steps the network moves it. Not the clock of a host: each has its own runtime, which began at another moment of real
/// time.
#[derive(Debug, Default)]
pub(crate) struct NetworkClock(AtomicU64);

impl NetworkClock {
    /// So much has passed since the beginning.
    pub(crate) fn set(&self, passed: Duration) {
        self.0.store(u64::try_from(passed.as_millis()).expect("some seconds"), Ordering::Relaxed);
    }
}

impl Clock for NetworkClock {
    fn wall(&self) -> Timestamp {
        BEGINNING.saturating_add(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}
