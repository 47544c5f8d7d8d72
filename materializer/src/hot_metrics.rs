//! What is counted of the cells in memory, for all views of a process.

use prometheus::{
    IntCounter, IntGauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Counters of a [`CellCache`](crate::CellCache).
#[derive(Clone, Debug)]
pub struct CellCacheMetrics {
    /// Reads that found their cell.
    pub hits: IntCounter,
    /// Reads that had to ask the view, those of keys that are not there included.
    pub misses: IntCounter,
    /// Cells that made room for others. Many of them beside many misses: `memory_mb` is small for what is read.
    pub evictions: IntCounter,
}

impl Default for CellCacheMetrics {
    fn default() -> Self {
        let counter =
            |name, help| IntCounter::new(name, help).expect("a name and a help text that are right");
        Self {
            hits: counter("solera_cell_cache_hits_total", "Reads that found their cell in memory."),
            misses: counter("solera_cell_cache_misses_total", "Reads that had to ask the view."),
            evictions: counter("solera_cell_cache_evictions_total", "Cells that made room for others."),
        }
    }
}

impl CellCacheMetrics {
    pub(crate) fn register(
        &self,
        registry: &Registry,
        bytes: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::new("solera_cell_cache_bytes", "Bytes that the cells in memory take.")?;
        registry.register(Box::new(Bytes { gauge, now: Box::new(bytes) }))?;
        let Self { hits, misses, evictions } = self;
        for counter in [hits, misses, evictions] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(())
    }
}

/// Looked at when somebody asks, and never otherwise.
struct Bytes {
    gauge: IntGauge,
    now: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Collector for Bytes {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from((self.now)()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}
