//! What is counted of requests: Kask's two metrics, under Kask's names, labels and buckets.

use std::{sync::Arc, time::Instant};

use http::{Method, StatusCode};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use schemas::StoreName;

use crate::BuildInfo;

/// The data listener's requests to stores. Probes, metrics, redirects and unknown paths are not counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `http_requests_total{code, method}`.
    requests: IntCounterVec,
    /// `http_request_duration_seconds{code, method}`.
    durations: HistogramVec,
    /// The series that there are from the start: most requests are among them, and need no lookup by text.
    known: Arc<[Series]>,
    /// `solera_seal_failures_total{store}`: sealed sessions that did not open. Each is a 500 to somebody: the ring lacks
    /// a secret, or something was changed that the record MAC does not cover.
    pub(crate) seal_failures: IntCounterVec,
    /// `solera_rate_limited_total{store, op}`: writes and deletes that were refused because there were too many in a second.
    pub(crate) limited: IntCounterVec,
}

/// What is limited, as its metric calls it.
pub(crate) const WRITE: &str = "write";

/// The other.
pub(crate) const DELETE: &str = "delete";

/// One status of one method.
#[derive(Debug)]
struct Series {
    code: &'static str,
    method: &'static str,
    count: IntCounter,
    duration: Histogram,
}

impl Series {
    fn is(&self, code: &str, method: &str) -> bool {
        self.code == code && self.method == method
    }
}

const BUCKETS_S: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

const LABELS: [&str; 2] = ["code", "method"];

/// Answers that alerts rest on: their series exist from the start, so that a rate never begins at nothing.
const FROM_THE_START: [(&str, &[&str]); 4] = [
    ("GET", &["200", "404", "500", "503"]),
    ("HEAD", &["200", "404", "500", "503"]),
    ("POST", &["201", "400", "413", "500", "503", "504"]),
    ("DELETE", &["204", "500", "503", "504"]),
];

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of them is registered already.
    pub fn register(registry: &Registry, build: &BuildInfo) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "http_requests_total",
                "Count of HTTP requests processed, partitioned by status code and HTTP method.",
            ),
            &LABELS,
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "http_request_duration_seconds",
                "A histogram of latencies for requests, partitioned by status code and HTTP method.",
            )
            .buckets(BUCKETS_S.to_vec()),
            &LABELS,
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        register_build(registry, build)?;
        let series = |code: &'static str, method| {
            let labels = [code, method];
            let (count, duration) =
                (requests.with_label_values(&labels), durations.with_label_values(&labels));
            Series { code, method, count, duration }
        };
        let known = FROM_THE_START
            .iter()
            .flat_map(|(method, codes)| codes.iter().map(|code| series(code, *method)))
            .collect();
        let seal_failures = IntCounterVec::new(
            Opts::new("solera_seal_failures_total", "Sealed sessions that could not be opened."),
            &["store"],
        )?;
        registry.register(Box::new(seal_failures.clone()))?;
        let limited = IntCounterVec::new(
            Opts::new("solera_rate_limited_total", "Requests that were refused by the rate of their store."),
            &["store", "op"],
        )?;
        registry.register(Box::new(limited.clone()))?;
        Ok(Self { requests, durations, known, seal_failures, limited })
    }

    /// Series of a store that alerts rest on are there from the start, so that a rate never begins at nothing.
    pub fn expect(&self, store: &StoreName) {
        self.seal_failures.with_label_values(&[store.as_str()]);
        for op in [WRITE, DELETE] {
            self.limited.with_label_values(&[store.as_str(), op]);
        }
    }

    /// A request has begun.
    pub(crate) fn request(&self, method: &Method) -> Counted<'_> {
        Counted { metrics: self, method: method_label(method), began: Instant::now(), answered: None }
    }

    fn observe(&self, counted: &Counted<'_>) {
        let unanswered = if std::thread::panicking() { PANICKED } else { HUNG_UP };
        let code = counted.answered.as_ref().map_or(unanswered, StatusCode::as_str);
        let took = counted.began.elapsed().as_secs_f64();
        if let Some(series) = self.known.iter().find(|series| series.is(code, counted.method)) {
            series.count.inc();
            series.duration.observe(took);
        } else {
            let labels = [code, counted.method];
            self.requests.with_label_values(&labels).inc();
            self.durations.with_label_values(&labels).observe(took);
        }
    }
}

/// nginx's number for a client whose connection broke before its answer. What it asked for may have been done.
const HUNG_UP: &str = "499";

/// What the connection answers after a panic of the handler.
const PANICKED: &str = "500";

/// A request that is counted when this is dropped: with the status that was answered, or as one that hung up.
#[must_use = "dropped at once, it counts a client that hung up"]
pub(crate) struct Counted<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    began: Instant,
    answered: Option<StatusCode>,
}

impl Counted<'_> {
    /// The request was answered.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.answered = Some(status);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.observe(self);
    }
}

fn register_build(registry: &Registry, build: &BuildInfo) -> Result<(), prometheus::Error> {
    let BuildInfo { version, build_date, build_host, go_version } = *build;
    let labels = ["version", "build_date", "build_host", "go_version"];
    let info = GaugeVec::new(Opts::new("kask_build_info", "Build information"), &labels)?;
    info.with_label_values(&[version, build_date, build_host, go_version]).set(1.0);
    registry.register(Box::new(info))?;

    let info = GaugeVec::new(
        Opts::new("solera_build_info", "What this program is: its version and the compiler that made it."),
        &["version", "rustc_version"],
    )?;
    info.with_label_values(&[version, go_version]).set(1.0);
    registry.register(Box::new(info))
}

/// A client may send any token as a method; metrics have room for a few.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
