//! Kask's metrics: names, labels, help, buckets, and what counts.

use std::collections::BTreeMap;

use super::table::{get, get_with, post, with_method};
use super::{BASE, kask};
use crate::harness::{Node, message};

const REQUESTS: &str = "http_requests_total";
const DURATIONS: &str = "http_request_duration_seconds";
const BUILD: &str = "kask_build_info";
/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, f64::INFINITY];

/// One line of the exposition: `name{labels} value`.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn scrape(node: &Node) -> (String, Vec<Sample>) {
    let text = node.get("/metrics").text().to_owned();
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(parse).collect();
    (text, samples)
}

fn parse(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample, not {line:?}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end in a brace")),
        None => (series, ""),
    };
    Sample {
        name: name.to_owned(),
        labels: parse_labels(labels),
        value: value.parse().unwrap_or_else(|error| panic!("{line:?}: {error}")),
    }
}

/// `a="b",c="d"`, whose values may hold commas but no escaped quotes.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.trim_end_matches(',').split("\",").filter(|pair| !pair.is_empty());
    let parse = |pair: &str| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("a label, not {pair:?}"));
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    };
    pairs.map(parse).collect()
}

/// `code method` to value, for all samples of that name.
fn by_code_and_method(samples: &[Sample], name: &str) -> BTreeMap<String, f64> {
    let of_name = samples.iter().filter(|sample| sample.name == name);
    of_name
        .map(|sample| (format!("{} {}", sample.labels["code"], sample.labels["method"]), sample.value))
        .collect()
}

fn label_names(sample: &Sample) -> Vec<&str> {
    sample.labels.keys().map(String::as_str).collect()
}

#[test]
fn requests_for_sessions_are_counted_by_code_and_method() {
    let node = kask();
    let requests: Vec<Vec<u8>> = vec![
        get("absent"),
        get("absent"),
        post("k", &[], b"v"),
        get("k"),
        with_method("HEAD", "k", &[]),
        with_method("HEAD", "absent", &[]),
        get_with("k", &[("If-None-Match", "*")]),
        with_method("DELETE", "k", &[]),
        with_method("DELETE", "absent", &[]),
        with_method("PUT", "k", &[]),
        with_method("PATCH", "k", &[]),
        with_method("OPTIONS", "k", &[]),
        with_method("get", "k", &[]),
        with_method("BREW", "k", &[]),
        with_method("TRACE", "k", &[]),
        get("k?x"),
        get("a/b"),
        get(""),
        get("%zz"),
        post("k", &[], b""),
        post("k", &[("Session-Bogus", "1")], b"v"),
        with_method("BREW", "a/b", &[]),
    ];
    for request in &requests {
        node.request(request);
    }
    for (method, target) in [
        ("GET", "/healthz"),
        ("BREW", "/healthz"),
        ("GET", "/livez"),
        ("GET", "/readyz?verbose"),
        ("GET", "/startupz"),
        ("GET", "/metrics"),
        ("GET", "/openapi"),
        ("GET", "/nope"),
        ("POST", "/nope"),
        ("GET", "/sessions/v1"),
        ("GET", "/sessions/v1?x"),
    ] {
        node.request(message(method, target, &[], b""));
    }
    let counted: BTreeMap<String, f64> = [
        ("200 GET", 1.0),
        ("200 HEAD", 1.0),
        ("201 POST", 1.0),
        ("204 DELETE", 2.0),
        ("304 GET", 1.0),
        ("400 GET", 2.0),
        ("400 OPTIONS", 1.0),
        ("400 PATCH", 1.0),
        ("400 POST", 2.0),
        ("400 PUT", 1.0),
        ("400 other", 3.0),
        ("404 GET", 4.0),
        ("404 HEAD", 1.0),
        ("404 other", 1.0),
    ]
    .map(|(labels, count)| (labels.to_owned(), count))
    .into();
    let (_, samples) = scrape(&node);
    for name in [REQUESTS, &format!("{DURATIONS}_count")] {
        // Series of answers that alerts rest on are there from the start, at 0.
        let mut found = by_code_and_method(&samples, name);
        found.retain(|_, count| 0.0 < *count);
        assert_eq!(found, counted, "{name}");
    }
}

#[test]
fn names_help_types_labels_and_buckets_are_kasks() {
    let node = kask();
    node.get(&format!("{BASE}absent"));
    let exposition = node.get("/metrics");
    let content_type = exposition.header("Content-Type").expect("a content type");
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    let (text, samples) = scrape(&node);
    for line in [
        "# HELP http_requests_total Count of HTTP requests processed, partitioned by status code and HTTP method.",
        "# TYPE http_requests_total counter",
        "# HELP http_request_duration_seconds A histogram of latencies for requests, partitioned by status code and \
         HTTP method.",
        "# TYPE http_request_duration_seconds histogram",
        "# HELP kask_build_info Build information",
        "# TYPE kask_build_info gauge",
    ] {
        assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line}");
    }
    let of = |name: &str| samples.iter().filter(|sample| sample.name == name).collect::<Vec<_>>();
    for name in [REQUESTS, &format!("{DURATIONS}_sum"), &format!("{DURATIONS}_count")] {
        let series = of(name);
        assert!(!series.is_empty(), "{name}");
        assert!(series.iter().all(|sample| label_names(sample) == ["code", "method"]), "{name}: {series:?}");
    }
    let mut buckets = of(&format!("{DURATIONS}_bucket"));
    assert!(buckets.iter().all(|bucket| label_names(bucket) == ["code", "le", "method"]), "{buckets:?}");
    buckets.retain(|bucket| bucket.labels["code"] == "404" && bucket.labels["method"] == "GET");
    let bound = |bucket: &&Sample| bucket.labels["le"].parse::<f64>().expect("a bound");
    assert_eq!(buckets.iter().map(bound).collect::<Vec<_>>(), BUCKETS);
    let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.value).collect();
    assert!(counts.is_sorted(), "buckets are cumulative: {counts:?}");
    assert_eq!(counts.last(), Some(&1.0), "one request was counted");
}

#[test]
fn the_build_is_the_one_that_healthz_names() {
    let node = kask();
    let (_, samples) = scrape(&node);
    let builds: Vec<&Sample> = samples.iter().filter(|sample| sample.name == BUILD).collect();
    let [build] = builds.as_slice() else { panic!("one {BUILD}, not {builds:?}") };
    assert!((build.value - 1.0).abs() < f64::EPSILON, "{build:?}");
    assert_eq!(label_names(build), ["build_date", "build_host", "go_version", "version"]);
    let health = node.get("/healthz").json();
    for (name, value) in &build.labels {
        assert_eq!(health[name], value.as_str(), "{name}");
    }
}

#[test]
fn a_write_is_measured_on_its_way() {
    let node = kask();
    let value = |name: &str| {
        let (_, samples) = scrape(&node);
        let found = samples.iter().find(|sample| sample.name == name && sample.labels["store"] == "sessions");
        found.unwrap_or_else(|| panic!("no {name}")).value
    };
    node.post(&format!("{BASE}k"), "v");
    node.post(&format!("{BASE}k"), "w");
    for name in ["solera_append_seconds_count", "solera_fence_seconds_count"] {
        assert!((value(name) - 2.0).abs() < f64::EPSILON, "{name}: {}", value(name));
    }
    let lag = value("solera_apply_lag_seconds");
    assert!((0.0..5.0).contains(&lag), "{lag}");
    assert!(2.0 <= value("solera_records_applied_total"));
}

#[test]
fn every_other_name_is_ours_or_the_processs() {
    let node = kask();
    node.post(&format!("{BASE}k"), "v");
    let (_, samples) = scrape(&node);
    let is_known = |name: &str| {
        [REQUESTS, BUILD].contains(&name)
            || [DURATIONS, "solera_", "process_"].iter().any(|prefix| name.starts_with(prefix))
    };
    let strange: Vec<&str> =
        samples.iter().map(|sample| sample.name.as_str()).filter(|name| !is_known(name)).collect();
    assert_eq!(strange, [""; 0]);
}
