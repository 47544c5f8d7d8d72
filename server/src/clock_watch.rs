//! Says how far this machine's wall clock is from the time that its logs go by.

use std::{sync::Arc, time::Duration};

use eventlog::LogClock;
use prometheus::{GaugeVec, Opts, Registry};
use schemas::{Topic, caps::CLOCK_DRIFT_MAX};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the clocks are compared.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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

/// Compares the clocks of a store until `stop`.
pub(crate) async fn watch(
    log: Topic,
    clock: Arc<LogClock>,
    metrics: ClockMetrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let gauge = metrics.wall_ahead.with_label_values(&[log.store.as_str()]);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut was_off = false;
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let ahead_ms = clock.wall_ahead_ms();
        #[expect(clippy::cast_precision_loss, reason = "an offset that loses milliseconds has none to lose")]
        gauge.set(ahead_ms as f64 / 1000.0);
        let is_off = CLOCK_DRIFT_MAX < Duration::from_millis(ahead_ms.unsigned_abs());
        match (was_off, is_off) {
            (false, true) => tracing::warn!(
                "The clock of this machine is {} s {} the time of {log}, which was set by it at the start: it was \
                 stepped. Sessions go on by the time of the log; the next start takes over the clock as it is then",
                ahead_ms.unsigned_abs() / 1000,
                if ahead_ms < 0 { "behind" } else { "ahead of" }
            ),
            (true, false) => tracing::info!("The clock of this machine agrees with the time of {log} again"),
            _ => {}
        }
        was_off = is_off;
    }
    Ok(())
}
