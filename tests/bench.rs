//! `solera bench` against a node, its floors, and servers that do not keep what they promise.

mod servers;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Launch, Node};
use servers::{LATE, Manner, Server};

const SOLERA: &str = env!("CARGO_BIN_EXE_solera");

/// Exit code and report. The arguments stand as on a command line.
fn bench(url: &str, arguments: &str) -> (Option<i32>, Value) {
    let arguments = arguments.split_whitespace();
    let output = Command::new(SOLERA).args(["bench", url, "--json"]).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complaint}"));
    (output.status.code(), report)
}

fn count(report: &Value, path: &str) -> u64 {
    report.pointer(path).map_or(0, |count| count.as_u64().unwrap_or_else(|| panic!("{path}: {count}")))
}

/// How often the node answered a method with a status, as it counts itself.
fn counted(node: &Node, method: &str, status: u16) -> u64 {
    let text = node.get("/metrics").text().to_owned();
    let name = format!("http_requests_total{{code=\"{status}\",method=\"{method}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn it_counts_what_the_node_counts() {
    // A disk that others use may take long for a sync, and a test of the generator must not depend on it.
    let config = "dc: eqiad\n\
         secrets: { index: { file: ${DIR}/index }, ring: [ { id: 1, file: ${DIR}/ring } ] }\n\
         limits: { request_timeout_ms: 20000 }\n\
         stores: { sessions: { base_uri: /sessions/v1 } }\n";
    let node = Launch::serve(config).file("index", [7; 32]).file("ring", [8; 32]).start();
    let url = format!("{}/sessions/v1", node.url);
    let pid = node.pid().to_string();
    let (code, report) = bench(
        &url,
        &format!(
            "--preload --keys 300 --size 100-3000 --mix get=60,post=30,delete=10 --miss 0.1 \
             --rate 400 --connections 16 --duration 2s --warmup 0 --timeout 30s --server-pid {pid}"
        ),
    );
    assert_eq!((code, count(&report, "/errors_sum")), (Some(0), 0), "{report}");
    for (method, status) in [("GET", 200), ("GET", 404), ("POST", 201), ("DELETE", 204)] {
        let preloaded = if method == "POST" { 300 } else { 0 };
        let sent = count(&report, &format!("/status/{status}"));
        assert!(0 < sent, "{method} {status}: {report}");
        assert_eq!(counted(&node, method, status), sent + preloaded, "{method} {status}: {report}");
    }
    let requests = count(&report, "/requests");
    assert!((700..900).contains(&requests), "400/s for 2 s, and chance: {report}");
    assert_eq!(count(&report, "/latency/count"), requests);
    let quantiles = ["p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us"];
    let times = quantiles.map(|name| report["latency"][name].as_f64().unwrap());
    assert!(0.0 < times[0] && times.is_sorted(), "{times:?}");
    assert!(0.0 < report["server"]["cpu_us_per_request"].as_f64().unwrap(), "{report}");
    assert!(1_000_000 < count(&report, "/server/rss_bytes"), "{report}");
}

#[test]
fn any_server_that_answers_as_kask_does_can_be_loaded() {
    for manner in [Manner::Faithful, Manner::InChunks, Manner::ClosesOften] {
        let server = Server::start(manner);
        let (code, report) = bench(
            &server.url(),
            "--preload --keys 50 --rate max --connections 4 --duration 500ms --warmup 0 \
             --mix get=70,post=20,delete=5,new=5 --miss 0.1",
        );
        assert_eq!((code, count(&report, "/errors_sum")), (Some(0), 0), "{manner:?}: {report}");
        assert_eq!(report["loop"], "closed");
        assert!(50 < count(&report, "/status/200"), "{manner:?}: {report}");
        assert_eq!(0 < count(&report, "/reconnects"), manner == Manner::ClosesOften, "{manner:?}: {report}");
    }
}

#[test]
fn a_server_that_does_not_keep_what_it_promised_is_caught() {
    for (manner, error) in [
        (Manner::FlipsABit, "corrupt"),
        (Manner::ReturnsAnother, "corrupt"),
        (Manner::CutsShort, "corrupt"),
        (Manner::Forgets, "lost"),
        (Manner::KeepsTheFirst, "stale"),
        (Manner::Invents, "phantom"),
        (Manner::Fails, "status"),
        (Manner::HangsUp, "closed"),
        (Manner::Babbles, "malformed"),
        (Manner::SaysNothing, "timeout"),
    ] {
        let server = Server::start(manner);
        let (code, report) = bench(
            &server.url(),
            "--preload --keys 20 --rate 200 --connections 4 --duration 1s --warmup 0 \
             --mix get=70,post=30 --miss 0.1 --timeout 1s",
        );
        assert_eq!(code, Some(1), "{manner:?}: {report}");
        assert!(0 < count(&report, &format!("/errors/{error}")), "{manner:?} is {error}: {report}");
        let fails = manner == Manner::Fails;
        assert_eq!(
            0 < count(&report, "/error_status/500") + count(&report, "/preload/error_status/500"),
            fails
        );
    }
}

#[test]
fn a_stall_is_charged_to_everybody_who_would_have_come_meanwhile() {
    let server = Server::start(Manner::StallsOnce);
    let (code, report) = bench(
        &server.url(),
        "--sparse --mix get=1 --miss 1 --keys 10 --rate 100 --arrivals constant --connections 1 \
         --duration 2s --warmup 0",
    );
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(count(&report, "/requests"), 200, "{report}");
    // Who waits for answers would have seen one slow request in more than a hundred.
    let p90 = report["latency"]["p90_us"].as_f64().unwrap();
    assert!(500_000.0 < p90, "a second's stall in the middle of two seconds: {report}");
}

#[test]
fn a_rate_that_is_not_reached_is_an_error() {
    let server = Server::start(Manner::Slow);
    let (code, report) = bench(
        &server.url(),
        "--sparse --mix get=1 --miss 1 --keys 10 --rate 1000 --connections 1 --duration 500ms \
         --warmup 0 --timeout 200ms",
    );
    assert_eq!(code, Some(1), "{report}");
    assert!(200 < count(&report, "/errors/unsent"), "{report}");
}

#[test]
fn how_late_another_node_shows_a_session_is_found_out_with_few_looks() {
    let server = Server::start(Manner::ShowsLate);
    let other = server.url();
    let (code, report) =
        bench(&server.url(), &format!("--visible-at {other} --duration 2s --warmup 1500ms --size 100"));
    assert_eq!(code, Some(0), "{report}");
    let p50 = Duration::from_secs_f64(report["visible"]["p50_us"].as_f64().unwrap() / 1e6);
    // The middle between two looks, a fifth apart, may be a tenth before it; a busy machine looks late.
    assert!(LATE.mul_f64(0.9) <= p50 && p50 < LATE * 3, "{LATE:?} after it was written: {report}");
    let looks = report["looks"].as_f64().unwrap();
    assert!((1.0..5.0).contains(&looks), "{report}");
}

#[test]
fn a_session_that_another_node_never_shows_or_shows_otherwise_is_a_failure() {
    let written = Server::start(Manner::Faithful);
    for (manner, complaint) in
        [(Manner::Faithful, "was not to be seen"), (Manner::Fails, "answered with 500")]
    {
        let other = Server::start(manner);
        let arguments = ["bench", &written.url(), "--visible-at", &other.url(), "--timeout", "300ms"];
        let output = Command::new(SOLERA).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{manner:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(complaint), "{manner:?}: {said}");
    }
    let flips = Server::start(Manner::FlipsABit);
    let output =
        Command::new(SOLERA).args(["bench", &flips.url(), "--visible-at", &flips.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_floor_without_its_place_is_a_wrong_command() {
    for floor in ["fdatasync", "appends", "replay", "kafka-ends", "kafka-seen", "kafka-read"] {
        let output = Command::new(SOLERA).args(["bench", "--floor", floor]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{floor}: {output:?}");
    }
}

/// A floor that serves, ended when dropped.
struct FloorServer(Child);

impl Drop for FloorServer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_floors_answer_whatever_is_asked() {
    for kind in ["axum", "hyper"] {
        let arguments = ["bench", "--serve", kind, "--listen", "127.0.0.1:0", "--size", "2048"];
        let mut floor =
            FloorServer(Command::new(SOLERA).args(arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut url = String::new();
        BufReader::new(floor.0.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let load = "--rate 500 --duration 500ms --warmup 0 --mix get=8,post=1,delete=1";
        let (code, report) = bench(url.trim(), load);
        assert_eq!(code, Some(0), "{kind}: {report}");
        for status in [200, 201, 204] {
            assert!(0 < count(&report, &format!("/status/{status}")), "{kind}: {report}");
        }
        assert!(400_000.0 < report["body_bytes_per_s"].as_f64().unwrap(), "{kind} sends 2 KB: {report}");
    }
}

#[test]
fn the_floor_of_a_disk_is_a_loop_of_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let arguments = ["bench", "--floor", "fdatasync", "--dir", path, "--duration", "200ms", "--json"];
    let output = Command::new(SOLERA).args(arguments).output().unwrap();
    assert!(output.status.success());
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(0 < count(&figures, "/count") && 0.0 < figures["p50_us"].as_f64().unwrap(), "{figures}");
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    // Nobody has listened on port 1 in living memory.
    for url in ["http://127.0.0.1:1/", "http://no-such-host.invalid/"] {
        let output = Command::new(SOLERA).args(["bench", url]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{url}");
        assert!(!output.stderr.is_empty(), "{url}");
    }
}
