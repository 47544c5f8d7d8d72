//! Kask's log lines, and which request they tell of.

use serde_json::Value;

use super::table::{post, with_method};
use super::{BASE, SECRET, kask};
use crate::harness::{Node, message};

const ZERO_ID: &str = "00000000-0000-0000-0000-000000000000";
const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "FATAL"];

/// A request that fails by the client's fault, which a log at level debug tells of.
fn faulty(request_id: &str) -> Vec<u8> {
    with_method("BREW", SECRET, &[("X-Request-ID", request_id)])
}

#[test]
fn a_line_has_kasks_keys_in_kasks_order() {
    let node = kask();
    node.request(faulty("order-of-keys"));
    node.wait_for_log("the faulty request", |line| line["request_id"] == "order-of-keys");
    for (text, line) in node.log_lines().iter().zip(node.logs()) {
        let order: Vec<usize> = ["msg", "appname", "time", "level"]
            .iter()
            .map(|key| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} in {text}")))
            .collect();
        assert_eq!(order[0], 1, "msg comes first in {text}");
        assert!(order.is_sorted(), "order of keys in {text}");
        assert_eq!(line["appname"], "sessions", "{text}");
        let level = line["level"].as_str().expect("a level");
        assert!(LEVELS.contains(&level), "{text}");
        let time = line["time"].as_str().expect("a time");
        assert!(is_rfc3339_in_seconds(time), "{text}");
    }
}

/// `2026-01-02T03:04:05Z`, or with an offset in place of `Z`.
fn is_rfc3339_in_seconds(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ["0000-00-00T00:00:00Z", "0000-00-00T00:00:00+00:00", "0000-00-00T00:00:00-00:00"]
        .contains(&shape.as_str())
}

#[test]
fn a_request_id_reaches_the_log_and_is_not_echoed() {
    let node = kask();
    for id in ["a", "Azaz09._-", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"] {
        let response = node.request(faulty(id));
        assert_eq!(response.header("X-Request-ID"), None);
        node.wait_for_log(id, |line| line["request_id"] == id);
    }
    let empty = node.request(post("k", &[("X-Request-ID", "empty-body")], b""));
    assert_eq!(empty.status, 400);
    node.wait_for_log("an empty body", |line| line["request_id"] == "empty-body");
}

#[test]
fn a_request_id_that_is_none_is_replaced_by_zeros() {
    let long = "x".repeat(37);
    for (name, headers) in [
        ("none", vec![]),
        ("empty", vec![("X-Request-ID", "")]),
        ("too long", vec![("X-Request-ID", long.as_str())]),
        ("with a space", vec![("X-Request-ID", "forged words")]),
        ("with quotes", vec![("X-Request-ID", "forged\"quotes")]),
    ] {
        let node = kask();
        node.request(message("BREW", &format!("{BASE}k"), &headers, b""));
        node.wait_for_log(name, |line| line["request_id"] == ZERO_ID);
        let lines = node.log_lines().join("\n");
        assert!(!lines.contains("forged") && !lines.contains(&long), "{name}: {lines}");
    }
}

#[test]
fn no_line_tells_a_session_key_or_a_value() {
    let node = kask();
    let target = format!("{BASE}{SECRET}");
    let value = "a value that nobody may see";
    node.post(&target, value);
    node.get(&target);
    node.get(&format!("{target}?x"));
    node.get(&format!("{BASE}a/{SECRET}"));
    node.get(&format!("/nope/{SECRET}"));
    node.get(&format!("{target}#{SECRET}"));
    node.request(post(SECRET, &[("Session-Bogus", SECRET)], value.as_bytes()));
    node.request(post(SECRET, &[("Session-Ttl", SECRET)], value.as_bytes()));
    node.delete(&target);
    node.request(faulty("the-last-one"));
    node.wait_for_log("the last request", |line| line["request_id"] == "the-last-one");
    for secret in [SECRET, value, "cassandra-password"] {
        assert!(!node.output().contains(secret), "{secret}");
    }
}

#[test]
fn log_level_keeps_lesser_lines_out() {
    let node = Node::serve("base_uri: /sessions/v1\nlog_level: Error\n");
    node.request(faulty("not-logged"));
    let levels: Vec<Value> = node.logs().into_iter().map(|line| line["level"].clone()).collect();
    assert!(levels.iter().all(|level| level == "ERROR" || level == "FATAL"), "{levels:?}");
}
