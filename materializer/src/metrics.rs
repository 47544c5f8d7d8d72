//! What a follower counts.

use eventlog::LogClock;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use schemas::Timestamp;

use crate::apply::Tally;

/// Counters of one process; the label says which store.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Records that were set aside because their MAC does not fit or they cannot be read. Above zero somebody must look:
    /// someone else wrote to the log, or another index secret did, or a later release. Counts what this process has
    /// read: records that a view had applied before are not read again.
    pub records_refused: IntCounterVec,
    /// Records that this process has gone through: applied, passed over or set aside. Rises while a view is made again.
    pub records_applied: IntCounterVec,
    /// Keys whose winning event the own log owes, because a loser stands last. Paid within seconds; a number that stays
    /// while there are writes means that repairs fail.
    pub debts: IntGaugeVec,
    /// Sessions that can be read, to the minute in which they expire.
    pub live_sessions: IntGaugeVec,
    /// Bytes of their key ids and sealed contents: what the sizes of log and view are to be compared with.
    pub live_bytes: IntGaugeVec,
    /// Deleted keys that are kept so that nothing older comes back.
    pub tombstones: IntGaugeVec,
    /// Reads that were answered from what was applied last, since the log did not answer.
    pub reads_without_log: IntCounterVec,
    /// How long after its append the newest record was applied, by the store's clock. Grows while the view is made again.
    pub apply_lag_seconds: GaugeVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &["store"]);
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["store"]);
        let metrics = Self {
            live_sessions: gauge("solera_live_sessions", "Sessions of a store that can be read.")?,
            live_bytes: gauge(
                "solera_live_bytes",
                "Bytes of the key ids and sealed contents of the sessions that can be read.",
            )?,
            tombstones: gauge("solera_tombstones", "Deleted keys that are still kept.")?,
            records_refused: counter(
                "solera_records_refused_total",
                "Records of a log that were set aside: their MAC does not fit, or they cannot be read.",
            )?,
            records_applied: counter(
                "solera_records_applied_total",
                "Records of a log that the view has gone through.",
            )?,
            debts: IntGaugeVec::new(
                Opts::new("solera_debts", "Keys whose winning event is to be appended to the own log again."),
                &["store"],
            )?,
            reads_without_log: counter(
                "solera_reads_without_log_total",
                "Reads that were answered although the log did not say where it ends.",
            )?,
            apply_lag_seconds: GaugeVec::new(
                Opts::new("solera_apply_lag_seconds", "Age of the newest record when the view applied it."),
                &["store"],
            )?,
        };
        registry.register(Box::new(metrics.live_sessions.clone()))?;
        registry.register(Box::new(metrics.live_bytes.clone()))?;
        registry.register(Box::new(metrics.tombstones.clone()))?;
        registry.register(Box::new(metrics.debts.clone()))?;
        registry.register(Box::new(metrics.reads_without_log.clone()))?;
        registry.register(Box::new(metrics.apply_lag_seconds.clone()))?;
        registry.register(Box::new(metrics.records_refused.clone()))?;
        registry.register(Box::new(metrics.records_applied.clone()))?;
        Ok(metrics)
    }

    /// Reads of a store that were answered without asking the log. A series that stays at zero says that there were none.
    pub fn reads_without_log_of(&self, store: &str) -> IntCounter {
        self.reads_without_log.with_label_values(&[store])
    }

    pub(crate) fn of_store(&self, store: &str) -> StoreMetrics {
        StoreMetrics {
            refused: self.records_refused.with_label_values(&[store]),
            applied: self.records_applied.with_label_values(&[store]),
            live_sessions: self.live_sessions.with_label_values(&[store]),
            live_bytes: self.live_bytes.with_label_values(&[store]),
            tombstones: self.tombstones.with_label_values(&[store]),
            debts: self.debts.with_label_values(&[store]),
            apply_lag_seconds: self.apply_lag_seconds.with_label_values(&[store]),
        }
    }
}

/// The counters of one store.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    pub(crate) refused: IntCounter,
    pub(crate) applied: IntCounter,
    pub(crate) live_sessions: IntGauge,
    pub(crate) live_bytes: IntGauge,
    pub(crate) tombstones: IntGauge,
    pub(crate) debts: IntGauge,
    pub(crate) apply_lag_seconds: Gauge,
}

impl StoreMetrics {
    /// Counts a batch that was applied.
    pub(crate) fn count(&self, tally: &Tally, clock: &LogClock) {
        if Timestamp::EPOCH < tally.newest_append {
            self.apply_lag_seconds.set(clock.now().since(tally.newest_append).as_secs_f64());
        }
        self.applied.inc_by(tally.records);
        self.refused.inc_by(tally.refused);
    }
}
