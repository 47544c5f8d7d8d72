//! A fault that hits every request writes a few lines, and one that says how many more there were.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::harness::{Launch, Node, eventually, message};

const CONFIG: &str = "\
dc: here
secrets: { index: { file: '${DIR}/index' }, ring: [ { id: 1, file: '${DIR}/ring' } ] }
base_uri: /sessions/v1
default_ttl: 3600
";

const TARGET: &str = "/sessions/v1/k";

/// Requests of one storm; there are two.
const STORM: usize = 1_000;

/// A window of the log, and what a busy machine needs to notice its end.
const WINDOW: Duration = Duration::from_secs(25);

/// Every read is a 500: the secret that sealed the session is gone.
fn node_without_its_secret() -> Node {
    let mut node = Launch::serve(CONFIG).file("index", [1; 32]).file("ring", [2; 32]).start();
    assert_eq!(node.post(TARGET, "v").status, 201);
    fs::write(node.data_dir().parent().unwrap().join("ring"), [3; 32]).unwrap();
    node.restart();
    node
}

fn storm(node: &Node) {
    let mut connection = node.connect();
    for _ in 0..STORM {
        let answer = connection.exchange(message("GET", TARGET, &[("X-Request-ID", "storm")], b""));
        assert_eq!(answer.unwrap().status, 500);
    }
}

/// What a line says of lines like it that were left out.
fn left_out(line: &Value) -> Option<usize> {
    let rest = line["msg"].as_str()?.strip_prefix("… and ")?;
    let (lines, rest) = rest.split_once(" more like this within 10 s, the last: ")?;
    assert!(rest.starts_with("Failed a request: "), "{line}");
    assert_eq!((&line["level"], &line["request_id"]), (&"ERROR".into(), &"storm".into()));
    Some(lines.parse().unwrap())
}

fn suppressed(node: &Node) -> usize {
    let text = node.get("/metrics").text().to_owned();
    let name = "solera_log_lines_suppressed_total{level=\"ERROR\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[test]
fn a_storm_writes_few_lines_and_every_other_one_is_counted() {
    let mut node = node_without_its_secret();
    assert_eq!(suppressed(&node), 0);
    storm(&node);
    // Nothing more comes, and the count is said all the same.
    eventually("the count at the end of the window", WINDOW, || node.logs().iter().find_map(left_out));
    storm(&node);
    let suppressed = suppressed(&node);
    assert!(node.terminate().success());

    let lines = node.logs();
    let written = lines.iter().filter(|line| {
        line["level"] == "ERROR"
            && line["msg"].as_str().is_some_and(|msg| msg.starts_with("Failed a request"))
    });
    let written = written.count();
    let counts: Vec<usize> = lines.iter().filter_map(left_out).collect();
    assert_eq!(written + counts.iter().sum::<usize>(), 2 * STORM, "none is lost, not at a stop either");
    assert_eq!(written + suppressed, 2 * STORM);
    // Two windows, or a few more if the machine is slow.
    assert!((2..8).contains(&counts.len()), "{counts:?}");
    assert!(written <= 20 * counts.len(), "{written} lines in {} windows", counts.len());
    let first = lines.iter().position(|line| left_out(line).is_some()).unwrap();
    let before = &lines[..first];
    assert_eq!(before.iter().filter(|line| line["request_id"] == "storm").count(), 20, "in order");
}

#[test]
fn whoever_asks_for_debug_lines_gets_all_of_them() {
    let node = Node::serve("base_uri: /sessions/v1\nlog_level: debug\n");
    let mut connection = node.connect();
    for number in 0..200 {
        let id = format!("debug-{number}");
        connection.exchange(message("BREW", TARGET, &[("X-Request-ID", &id)], b"")).unwrap();
    }
    node.wait_for_log("the last one", |line| line["request_id"] == "debug-199");
    let of_them = |line: &Value| line["request_id"].as_str().is_some_and(|id| id.starts_with("debug-"));
    assert_eq!(node.logs().into_iter().filter(of_them).count(), 200);
}
