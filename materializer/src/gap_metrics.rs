//! What is counted of the records that copies of logs lack, or have twice.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use schemas::Topic;

/// Counters of one process; the labels say which store, and which data centre's log.
#[derive(Clone, Debug)]
pub struct GapMetrics {
    /// Records that their copy here should have and lacks, as they are found to be missing. Above zero somebody must
    /// look: `solera repair` brings them.
    pub lost: IntCounterVec,
    /// Records that were copied more than once: harmless, and what a mirror does after a crash.
    pub repeated: IntCounterVec,
    /// Records that are lost and have not been found since, by whatever way they came.
    pub missing: IntGaugeVec,
}

impl GapMetrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ["store", "origin"];
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &labels);
        let metrics = Self {
            lost: counter(
                "solera_mirror_lost_records_total",
                "Records that the copy of another data centre's log should have and lacks.",
            )?,
            repeated: counter(
                "solera_mirror_repeated_records_total",
                "Records that were copied more than once.",
            )?,
            missing: IntGaugeVec::new(
                Opts::new("solera_mirror_missing_records", "Records that were lost and not found since."),
                &labels,
            )?,
        };
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.repeated.clone()))?;
        registry.register(Box::new(metrics.missing.clone()))?;
        Ok(metrics)
    }

    /// Those of one copied log. A series that stays at zero says that nothing is lost.
    pub(crate) fn of_log(&self, topic: &Topic) -> LogMetrics {
        let labels = [topic.store.as_str(), topic.origin.as_str()];
        LogMetrics {
            lost: self.lost.with_label_values(&labels),
            repeated: self.repeated.with_label_values(&labels),
            missing: self.missing.with_label_values(&labels),
        }
    }
}

/// The counters of one copied log.
#[derive(Debug)]
pub(crate) struct LogMetrics {
    pub(crate) lost: IntCounter,
    pub(crate) repeated: IntCounter,
    pub(crate) missing: IntGauge,
}
