//! What a writer measures.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};

/// Histograms of one process; the label says which store.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// From the place in the log's queue to the answer that the record is durable. On an embedded log this is the wait for
    /// the sync that runs, and for the next.
    append_seconds: HistogramVec,
    /// From there until this node's view holds the record.
    fence_seconds: HistogramVec,
}

/// From a sync of fast flash to the deadline of a request.
const BUCKETS_S: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5];

impl Metrics {
    /// Registers the histograms.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name, help| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS_S.to_vec()), &["store"])
        };
        let metrics = Self {
            append_seconds: histogram(
                "solera_append_seconds",
                "Time from the place in the log's queue until the record is durable.",
            )?,
            fence_seconds: histogram(
                "solera_fence_seconds",
                "Time from when a record is durable until this node's view holds it.",
            )?,
        };
        registry.register(Box::new(metrics.append_seconds.clone()))?;
        registry.register(Box::new(metrics.fence_seconds.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn of_store(&self, store: &str) -> StoreMetrics {
        StoreMetrics {
            append: self.append_seconds.with_label_values(&[store]),
            fence: self.fence_seconds.with_label_values(&[store]),
        }
    }
}

/// The histograms of one store.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    append: Histogram,
    fence: Histogram,
}

impl StoreMetrics {
    pub(crate) fn appended(&self, took: Duration) {
        self.append.observe(took.as_secs_f64());
    }

    pub(crate) fn passed_the_fence(&self, took: Duration) {
        self.fence.observe(took.as_secs_f64());
    }
}
