//! What came out, for people and for programs.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde::Serialize;

use crate::{
    arguments::Load,
    process::Cost,
    schedule::Rate,
    tally::{Errors, Tally, Times},
    target::Target,
};

/// One run, as `--json` writes it. Times are microseconds, memory is bytes, rates are per second.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The base URL.
    url: String,
    /// `open` (requests are sent on time) or `closed` (each connection waits for its answer).
    r#loop: &'static str,
    /// Requests per second that were asked for; absent in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_asked: Option<f64>,
    /// `poisson` or `constant`; absent in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrivals: Option<String>,
    connections: u32,
    threads: u32,
    duration_s: f64,
    warmup_s: f64,
    keys: u64,
    size: String,
    mix: String,
    distribution: String,
    miss: f64,
    /// The preloading, if it was asked for.
    preload: Option<Preload>,
    /// Requests that were meant to be sent in the measured time and were answered, or failed after they were sent.
    requests: u64,
    /// Answers per second of the measured time.
    rate: f64,
    /// From the moment when a request was meant to be sent to the last byte of its answer.
    latency: Latency,
    /// The same for `get`, `post` (new sessions included) and `delete`; only those that there were.
    by_method: BTreeMap<&'static str, Latency>,
    /// From the moment when a request was meant to be sent to that when it was: the wait for a free connection, and
    /// how late the generator woke.
    lag: Latency,
    /// Answers by status.
    status: BTreeMap<u16, u64>,
    /// Failures by kind, warm-up included.
    errors: Errors,
    /// The statuses that `errors.status` counts, warm-up included.
    error_status: BTreeMap<u16, u64>,
    /// The sum of them, those of the preloading included.
    errors_sum: u64,
    /// Connections that had to be made again.
    reconnects: u64,
    /// Bytes of bodies per second, both ways.
    body_bytes_per_s: f64,
    /// With `--server-pid`.
    server: Option<Server>,
    /// CPU time that this program took, in cores. Near the number of threads, it was the limit, not the server.
    generator_cores: f64,
}

/// Quantiles of times, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    count: u64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p95_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Preload {
    keys: u64,
    seconds: f64,
    /// Sessions written per second.
    rate: f64,
    latency: Latency,
    errors: Errors,
    /// The statuses that `errors.status` counts.
    error_status: BTreeMap<u16, u64>,
}

#[derive(Debug, Serialize)]
struct Server {
    /// User and kernel time of all its threads, divided by the answers of the measured time.
    cpu_us_per_request: f64,
    /// The same time divided by the measured time.
    cores: f64,
    /// Resident memory at the end.
    rss_bytes: u64,
    /// Resident memory at most, since the process began.
    rss_peak_bytes: u64,
}

/// What was looked at when the measured time began and ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    pub(crate) server: Option<(Cost, Cost)>,
    pub(crate) generator: (Cost, Cost),
}

impl Report {
    pub(crate) fn new(
        target: &Target,
        load: &Load,
        preload: Option<Preload>,
        tally: &Tally,
        costs: &Costs,
    ) -> Self {
        let seconds = load.duration.as_secs_f64();
        let per_second = |count: u64| as_float(count) / seconds;
        let cores = |(before, after): (Cost, Cost)| (after.cpu - before.cpu).as_secs_f64() / seconds;
        let (rate_asked, arrivals) = match load.rate {
            Rate::Max => (None, None),
            Rate::PerSecond(rate) => (Some(rate), Some(load.arrivals.to_string())),
        };
        let all = tally.all();
        let server = costs.server.map(|(before, after)| Server {
            cpu_us_per_request: (after.cpu - before.cpu).as_secs_f64() * 1e6
                / as_float(tally.answered.max(1)),
            cores: cores((before, after)),
            rss_bytes: after.rss,
            rss_peak_bytes: after.rss_peak,
        });
        let by_method = ["get", "post", "delete"].into_iter().zip(&tally.latency);
        Self {
            url: target.to_string(),
            r#loop: if rate_asked.is_some() { "open" } else { "closed" },
            rate_asked,
            arrivals,
            connections: load.connections,
            threads: load.threads,
            duration_s: seconds,
            warmup_s: load.warmup.as_secs_f64(),
            keys: load.keys,
            size: load.size.to_string(),
            mix: load.mix.to_string(),
            distribution: load.distribution.to_string(),
            miss: load.miss,
            requests: all.count(),
            rate: per_second(tally.answered),
            latency: Latency::of(&all),
            by_method: by_method
                .filter(|(_, times)| 0 < times.count())
                .map(|(name, times)| (name, Latency::of(times)))
                .collect(),
            lag: Latency::of(&tally.lag),
            status: tally.statuses.clone(),
            errors: tally.errors,
            error_status: tally.strange.clone(),
            errors_sum: tally.errors.sum() + preload.as_ref().map_or(0, Preload::errors),
            reconnects: tally.reconnects,
            body_bytes_per_s: per_second(tally.body_bytes),
            server,
            generator_cores: cores(costs.generator),
            preload,
        }
    }

    /// Failures of all kinds, those of the preloading included.
    pub(crate) fn errors(&self) -> u64 {
        self.errors_sum
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names have a form in JSON")
    }

    /// A table.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.url);
        self.write(&mut text).expect("a String takes everything");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { connections, threads, duration_s, warmup_s, .. } = self;
        match (&self.rate_asked, &self.arrivals) {
            (Some(rate), Some(arrivals)) => write!(text, "open loop, {rate} requests/s, {arrivals}")?,
            _ => write!(
                text,
                "closed loop: the saturation; latencies are those of clients that wait for answers"
            )?,
        }
        writeln!(text, "\n{connections} connections, {threads} threads, {duration_s} s after {warmup_s} s")?;
        let Self { keys, size, mix, distribution, miss, .. } = self;
        writeln!(text, "{keys} sessions of {size} bytes, {distribution}, {mix}, misses {miss}\n")?;
        if let Some(preload) = &self.preload {
            preload.write(text)?;
        }
        writeln!(text, "rate       {:.0}/s, {} requests", self.rate, self.requests)?;
        writeln!(text)?;
        Latency::write_head(text)?;
        self.latency.write("all", text)?;
        for (name, latency) in &self.by_method {
            latency.write(name, text)?;
        }
        self.lag.write("sent late", text)?;
        writeln!(text, "\nanswers    {}, {} reconnects", statuses(&self.status), self.reconnects)?;
        writeln!(text, "errors     {}", said(&self.errors, &self.error_status))?;
        if let Some(server) = &self.server {
            let Server { cpu_us_per_request, cores, .. } = server;
            writeln!(
                text,
                "server     {cpu_us_per_request:.2} us of CPU a request, {cores:.2} cores, {} MiB, at most {} MiB",
                server.rss_bytes >> 20,
                server.rss_peak_bytes >> 20,
            )?;
        }
        writeln!(text, "generator  {:.2} of {threads} cores", self.generator_cores)
    }
}

impl Latency {
    pub(crate) fn of(times: &Times) -> Self {
        Self {
            count: times.count(),
            mean_us: times.micros_mean(),
            p50_us: times.micros_at(0.5),
            p90_us: times.micros_at(0.9),
            p95_us: times.micros_at(0.95),
            p99_us: times.micros_at(0.99),
            p999_us: times.micros_at(0.999),
            max_us: times.micros_at(1.0),
        }
    }

    /// The first line of a table.
    pub(crate) fn write_head(text: &mut String) -> std::fmt::Result {
        write!(text, "{:<10}", "")?;
        for name in ["p50", "p90", "p95", "p99", "p99.9", "max"] {
            write!(text, " {name:>10}")?;
        }
        writeln!(text, "   us")
    }

    /// A line of it.
    pub(crate) fn write(&self, name: &str, text: &mut String) -> std::fmt::Result {
        let Self { count, mean_us: _, p50_us, p90_us, p95_us, p99_us, p999_us, max_us } = self;
        let all = [p50_us, p90_us, p95_us, p99_us, p999_us, max_us];
        write!(text, "{name:<10}")?;
        for value in all {
            write!(text, " {value:>10.1}")?;
        }
        writeln!(text, "   of {count}")
    }
}

impl Preload {
    pub(crate) fn new(keys: u64, tally: &Tally) -> Self {
        Self {
            keys,
            seconds: tally.elapsed.as_secs_f64(),
            rate: as_float(keys) / tally.elapsed.max(Duration::from_nanos(1)).as_secs_f64(),
            latency: Latency::of(&tally.all()),
            errors: tally.errors,
            error_status: tally.strange.clone(),
        }
    }

    fn errors(&self) -> u64 {
        self.errors.sum()
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { keys, seconds, rate, latency, errors, error_status } = self;
        writeln!(
            text,
            "preload    {keys} sessions in {seconds:.1} s, {rate:.0}/s, p50 {:.0} us",
            latency.p50_us
        )?;
        writeln!(text, "           errors: {}", said(errors, error_status))
    }
}

/// The kinds of which there were some.
fn said(errors: &Errors, error_status: &BTreeMap<u16, u64>) -> String {
    let some = errors.named().into_iter().filter(|(_, count)| 0 < *count);
    let mut some: Vec<_> = some.map(|(name, count)| format!("{name} {count}")).collect();
    if !error_status.is_empty() {
        some.push(format!("statuses {}", statuses(error_status)));
    }
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

fn statuses(of: &BTreeMap<u16, u64>) -> String {
    of.iter().map(|(status, count)| format!("{count} x {status}")).collect::<Vec<_>>().join(", ")
}

fn as_float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let count = count as f64;
    count
}
