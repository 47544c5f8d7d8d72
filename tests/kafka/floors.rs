//! The floors of `solera bench` that know a topic and nothing else.

use std::process::Command;

use serde_json::Value;

use super::left_out;
use crate::harness::Kafka;

/// Exit code, what it said, and its complaint.
fn floor(kafka: &Kafka, kind: &str, topic: &str, arguments: &str) -> (Option<i32>, Value, String) {
    let servers = kafka.bootstrap_servers();
    let place = ["bench", "--floor", kind, "--json", "--bootstrap-servers", &servers, "--topic", topic];
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    let output = command.args(place).args(arguments.split_whitespace()).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), said, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn count(figures: &Value, path: &str) -> u64 {
    figures.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {figures}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_seen_acknowledged_and_read() {
    if left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let topic = format!("{}.floors", kafka.dc());
    kafka.make_topic(&topic, 3, &[]).await;
    let mut appended = 0..=0;
    for connections in [1, 16] {
        let load = format!("--connections {connections} --size 1000 --duration 500ms --warmup 0");
        let (code, seen, complaint) = floor(kafka, "kafka-seen", &topic, &load);
        assert_eq!(code, Some(0), "{complaint}");
        let counted = count(&seen, "/seen/count");
        assert!(connections < counted && 0.0 < seen["seen"]["p50_us"].as_f64().unwrap(), "{seen}");
        assert_eq!(count(&seen, "/ack/count"), counted, "{seen}");
        // Not counted: the first one, and what is sent just when the time is over.
        appended = appended.start() + counted + 1..=appended.end() + counted + 1 + connections;

        let (code, ends, complaint) = floor(kafka, "kafka-ends", &topic, &load);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(connections < count(&ends, "/ends/count"), "{ends}");
    }
    let (code, read, complaint) = floor(kafka, "kafka-read", &topic, "");
    assert_eq!(code, Some(0), "{complaint}");
    let records = count(&read, "/records");
    assert!(appended.contains(&records), "{appended:?}: {read}");
    assert_eq!(count(&read, "/value_bytes"), records * 1000);
}

#[test]
fn a_topic_that_is_not_there_is_a_failure() {
    if left_out() {
        return;
    }
    for kind in ["kafka-ends", "kafka-seen", "kafka-read"] {
        let (code, _, complaint) = floor(Kafka::shared(), kind, "nobody.made-it", "");
        assert_eq!(code, Some(1), "{kind}");
        assert!(complaint.contains("there is no topic nobody.made-it"), "{kind}: {complaint}");
    }
}
