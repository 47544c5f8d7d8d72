//! Says how far this machine's wall clock is from the time that its logs go by.

use std::{sync::Arc, time::Duration};

use eventlog::LogClock;
use prometheus::{GaugeVec, Opts, Registry};
use schemas::{Topic, caps::CLOCK_DRIFT_MAX};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the clocks are compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An answer of the log that took its time makes the clock look ahead for a moment: what is said has been seen so often.
const LOOKS: u32 = 3;

/// What is shown of the clocks.
#[derive(Clone, Debug)]
pub(crate) struct ClockMetrics {
    /// Seconds; negative when the wall clock is behind.
    wall_ahead: GaugeVec,
}

impl ClockMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "How far the wall clock is ahead of the time of the log, in seconds.";
        let wall_ahead = GaugeVec::new(Opts::new("solera_clock_ahead_seconds", help), &["store"])?;
        registry.register(Box::new(wall_ahead.clone()))?;
        Ok(Self { wall_ahead })
    }
}

/// From so far off on, a person should look at a clock that is not the log's own.
const WORTH_A_WARNING: Duration = Duration::from_millis(500);

/// Whose clock the time of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StampedBy {
    /// This machine's, as it was when the process started.
    ThisMachine,
    /// A broker's, which other nodes go by too.
    Broker,
}

/// How far off a clock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Off {
    Hardly,
    /// Sessions still go by it.
    Within,
    /// Sessions go by the time of the log.
    Beyond,
}

impl Off {
    fn of(ahead_ms: i64, stamped_by: StampedBy) -> Self {
        let by = Duration::from_millis(ahead_ms.unsigned_abs());
        match stamped_by {
            _ if CLOCK_DRIFT_MAX < by => Self::Beyond,
            StampedBy::Broker if WORTH_A_WARNING < by => Self::Within,
            _ => Self::Hardly,
        }
    }
}

/// Compares the clocks of a store until `stop`.
pub(crate) async fn watch(
    log: Topic,
    (clock, stamped_by): (Arc<LogClock>, StampedBy),
    metrics: ClockMetrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let gauge = metrics.wall_ahead.with_label_values(&[log.store.as_str()]);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut was, mut looks) = (Off::Hardly, 0);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let ahead_ms = clock.wall_ahead_ms();
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses milliseconds has none to lose")]
        gauge.set(ahead_ms as f64 / 1000.0);
        let is = Off::of(ahead_ms, stamped_by);
        looks = if is == was { 0 } else { looks + 1 };
        if looks == LOOKS {
            say(&log, ahead_ms, stamped_by, is);
            (was, looks) = (is, 0);
        }
    }
    Ok(())
}

fn say(log: &Topic, ahead_ms: i64, stamped_by: StampedBy, off: Off) {
    let (by, side) = (ahead_ms.unsigned_abs(), if ahead_ms < 0 { "behind" } else { "ahead of" });
    match (off, stamped_by) {
        (Off::Hardly, _) => tracing::info!("The clock of this machine agrees with the time of {log} again"),
        (_, StampedBy::ThisMachine) => tracing::warn!(
            "The clock of this machine is {} s {side} the time of {log}, which was set by it at the start: it was stepped. \
             Sessions go on by the time of the log; the next start takes over the clock as it is then",
            by / 1000
        ),
        (Off::Within, StampedBy::Broker) => tracing::warn!(
            "The clock of this machine is {by} ms {side} the time of {log}, which is the brokers': sessions expire early or \
             late by that much"
        ),
        (Off::Beyond, StampedBy::Broker) => tracing::error!(
            "The clock of this machine is {} s {side} the time of {log}, which is the brokers': one of them is wrong. \
             Sessions go by the time of the log, give or take {} s",
            by / 1000,
            CLOCK_DRIFT_MAX.as_secs()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_clock_is_compared_more_closely_than_ones_own() {
        for (ahead_ms, by_broker, by_itself) in [
            (0, Off::Hardly, Off::Hardly),
            (-500, Off::Hardly, Off::Hardly),
            (-501, Off::Within, Off::Hardly),
            (5_000, Off::Within, Off::Hardly),
            (5_001, Off::Beyond, Off::Beyond),
        ] {
            assert_eq!(Off::of(ahead_ms, StampedBy::Broker), by_broker, "{ahead_ms}");
            assert_eq!(Off::of(ahead_ms, StampedBy::ThisMachine), by_itself, "{ahead_ms}");
        }
    }
}
