//! What time it is, as this machine sees it.
//!
//! The seam stands here, in the lowest crate that needs it: the embedded and the memory log stamp their records, as a
//! broker would. Everybody else uses clocks made from this one (see `writer`).

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use schemas::Timestamp;

/// A wall clock, which may jump, and a monotonic clock, which means nothing in another process.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Time since some moment in this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.saturating_add(since_epoch)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Clocks that stand still until they are moved, each by itself: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    reading: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// The wall clock shows `wall`, the monotonic one zero.
    pub const fn at(wall: Timestamp) -> Self {
        Self { reading: Mutex::new((wall, Duration::ZERO)) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.reading.lock().expect("no holder panics");
        *reading = (reading.0.saturating_add(by), reading.1 + by);
    }

    /// Steps the wall clock, as an operator or NTP would.
    pub fn step_to(&self, wall: Timestamp) {
        self.reading.lock().expect("no holder panics").0 = wall;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.reading.lock().expect("no holder panics").0
    }

    fn monotonic(&self) -> Duration {
        self.reading.lock().expect("no holder panics").1
    }
}
