//! What is counted of the records that copies of logs lack, or have twice.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
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
    /// For how many seconds nothing has come of the partition that has been silent for longest.
    pub silence_seconds: GaugeVec,
    /// Records of the own log that came back into it: something copies in a circle.
    pub returned: IntCounterVec,
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
            silence_seconds: GaugeVec::new(
                Opts::new(
                    "solera_mirror_silence_seconds",
                    "For how long nothing has come of another data centre's log.",
                ),
                &labels,
            )?,
            returned: IntCounterVec::new(
                Opts::new(
                    "solera_log_returned_records_total",
                    "Records of the own log that came back into it.",
                ),
                &["store"],
            )?,
        };
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.repeated.clone()))?;
        registry.register(Box::new(metrics.missing.clone()))?;
        registry.register(Box::new(metrics.silence_seconds.clone()))?;
        registry.register(Box::new(metrics.returned.clone()))?;
        Ok(metrics)
    }

    /// Those of one copied log. A series that stays at zero says that nothing is lost.
    pub(crate) fn of_log(&self, topic: &Topic) -> LogMetrics {
        let labels = [topic.store.as_str(), topic.origin.as_str()];
        LogMetrics {
            lost: self.lost.with_label_values(&labels),
            repeated: self.repeated.with_label_values(&labels),
            missing: self.missing.with_label_values(&labels),
            silence_seconds: self.silence_seconds.with_label_values(&labels),
        }
    }

    /// Those of a log that this data centre writes, and others copy.
    pub(crate) fn of_own(&self, topic: &Topic) -> OwnMetrics {
        OwnMetrics { returned: self.returned.with_label_values(&[topic.store.as_str()]) }
    }
}

/// The counters of one copied log.
#[derive(Debug)]
pub(crate) struct LogMetrics {
    pub(crate) lost: IntCounter,
    pub(crate) repeated: IntCounter,
    pub(crate) missing: IntGauge,
    pub(crate) silence_seconds: Gauge,
}

/// The counters of the own log.
#[derive(Debug)]
pub(crate) struct OwnMetrics {
    pub(crate) returned: IntCounter,
}
