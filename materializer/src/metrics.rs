//! What a follower counts.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

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
        let metrics = Self {
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
            apply_lag_seconds: GaugeVec::new(
                Opts::new("solera_apply_lag_seconds", "Age of the newest record when the view applied it."),
                &["store"],
            )?,
        };
        registry.register(Box::new(metrics.debts.clone()))?;
        registry.register(Box::new(metrics.apply_lag_seconds.clone()))?;
        registry.register(Box::new(metrics.records_refused.clone()))?;
        registry.register(Box::new(metrics.records_applied.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn of_store(&self, store: &str) -> StoreMetrics {
        StoreMetrics {
            refused: self.records_refused.with_label_values(&[store]),
            applied: self.records_applied.with_label_values(&[store]),
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
    pub(crate) debts: IntGauge,
    pub(crate) apply_lag_seconds: Gauge,
}
