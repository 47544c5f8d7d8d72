//! Views that are made again: beside the one that is served, from a checkpoint, and to compare.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use eventlog::{Incarnation, LogClock, SystemClock};
use materializer::{
    State, View, ViewWrite,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use schemas::Topic;

use crate::harness::{
    Connection, Launch, Node, check_sessions, eventually, message, session, write_sessions,
};

const CONFIG: &str = "base_uri: /sessions/v1\n";

/// `solera <arguments> --admin <the node's>`: exit code and output.
fn solera(node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    let done = command.args(arguments).args(["--admin", &node.admin_address.to_string()]).output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

fn generations(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.data_dir().join("view/sessions")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_view_is_made_anew_while_it_is_read_and_written() {
    let node = Node::serve(CONFIG);
    let expected = write_sessions(&node, 300);
    let (stop, writes, reads) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            // Read what was just acknowledged: neither the old view nor the new one may be behind it.
            while !stop.load(Ordering::Relaxed) {
                let n = writes.fetch_add(1, Ordering::Relaxed);
                let body = format!("write {n}");
                assert_eq!(node.post("/sessions/v1/moving", &body).status, 201);
                assert_eq!(node.get("/sessions/v1/moving").text(), body);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let answer = node.get(&session(1));
                assert_eq!((answer.status, answer.text()), (200, "contents of 1"));
                assert_eq!(node.get(&session(0)).status, 404);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..3 {
            let (code, said) = solera(&node, &["rebuild"]);
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("sessions: made anew in"), "{said}");
            let generation = (2 + round).to_string();
            eventually("the one before is gone", Duration::from_secs(10), || {
                (generations(&node) == [generation.clone()]).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(10 < writes.into_inner() && 10 < reads.into_inner());
    check_sessions(&node, &expected);
}

/// What `/metrics` says of the one store.
fn gauge(node: &Node, name: &str) -> Option<u64> {
    let metrics = node.get("/metrics");
    let line = format!("{name}{{store=\"sessions\"}} ");
    metrics.text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
}

#[test]
fn what_lives_is_counted_through_crashes_and_rebuilds() {
    let mut node = Node::serve(CONFIG);
    let expected = write_sessions(&node, 100);
    // Written twice, and deleted twice: counted once.
    assert_eq!(node.post(&session(1), "other contents").status, 201);
    assert_eq!(node.delete(&session(0)).status, 204);
    gauge_becomes(&node, "solera_tombstones", |count| count == 34);
    let bytes = gauge_becomes(&node, "solera_live_bytes", |bytes| 0 < bytes);
    let check = |node: &Node| {
        gauge_becomes(node, "solera_live_sessions", |count| count == 66);
        gauge_becomes(node, "solera_tombstones", |count| count == 34);
        assert_eq!(gauge(node, "solera_live_bytes"), Some(bytes));
    };
    check(&node);
    node.kill9();
    node.restart();
    check(&node);
    assert_eq!(solera(&node, &["rebuild"]).0, Some(0));
    check(&node);
    assert!(node.terminate().success());
    node.restart();
    check(&node);
    assert_eq!(expected.len(), 100);
    // 16 bytes of key id, and salt, tag and form of the seal beside the contents.
    assert!((66 * (16 + 16 + 16 + 1)..66 * 100).contains(&bytes), "{bytes}");
}

fn gauge_becomes(node: &Node, name: &str, is_it: impl Fn(u64) -> bool) -> u64 {
    eventually(name, Duration::from_secs(10), || gauge(node, name).filter(|&count| is_it(count)))
}

#[test]
fn a_kill_in_the_middle_of_a_rebuild_leaves_the_view_that_was_served() {
    let mut node = Node::serve(CONFIG);
    let expected = write_sessions(&node, 200);
    for _ in 0..3 {
        let ordered = admin(&node, "POST", "/v1/rebuild");
        assert_eq!(ordered.0, 202, "{}", ordered.1);
        node.kill9();
        node.restart();
        check_sessions(&node, &expected);
        assert_eq!(generations(&node).len(), 1, "{:?}", generations(&node));
    }
}

#[test]
fn jobs_can_be_watched_and_one_runs_at_a_time() {
    let node = Node::serve(CONFIG);
    write_sessions(&node, 50);
    let (status, said) = admin(&node, "POST", "/v1/verify");
    assert_eq!(status, 202, "{said}");
    assert_eq!((said["job"].as_u64(), said["task"].as_str()), (Some(1), Some("verify")));
    let ended = eventually("it ends", Duration::from_secs(30), || {
        let (status, job) = admin(&node, "GET", "/v1/jobs/1");
        assert_eq!(status, 200);
        (job["state"] != "running").then_some(job)
    });
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(ended["done"], ended["total"], "{ended}");
    assert_eq!(admin(&node, "DELETE", "/v1/jobs/1").0, 204);
    assert_eq!(admin(&node, "GET", "/v1/jobs/1").1["state"], "done", "it stays as it ended");
    assert_eq!(admin(&node, "GET", "/v1/jobs/7").0, 404);
    assert_eq!(admin(&node, "POST", "/v1/rebuild?store=nobody").0, 404);
    assert_eq!(admin(&node, "POST", "/v1/rebuild?what=ever").0, 400);
    assert_eq!(admin(&node, "GET", "/v1/rebuild").0, 405);
    let (code, said) = solera(&node, &["rebuild", "--store", "nobody"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("The stores are: sessions"), "{said}");
}

#[test]
fn a_node_that_does_not_run_is_unavailable() {
    let mut node = Node::serve(CONFIG);
    node.kill9();
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("no node answers at"), "{said}");
}

fn admin(node: &Node, method: &str, path: &str) -> (u16, serde_json::Value) {
    let answer =
        Connection::open(node.admin_address).unwrap().exchange(message(method, path, &[], b"")).unwrap();
    let body = serde_json::from_str(answer.text()).unwrap_or(serde_json::Value::Null);
    (answer.status, body)
}

/// The view of a node that does not run.
fn open_view(node: &Node) -> SessionView {
    let generation = generations(node).pop().unwrap();
    let dir = node.data_dir().join("view/sessions").join(generation);
    let memory = ViewMemory::of(64 << 20);
    let clock = std::sync::Arc::new(LogClock::new(std::sync::Arc::new(SystemClock::start())));
    SessionView::open(&dir, ViewOptions { memory: &memory, clock, logs: Vec::<(Topic, Incarnation)>::new() })
        .unwrap()
}

#[test]
fn a_view_that_does_not_hold_what_the_log_says_is_found() {
    let mut node = Node::serve(CONFIG);
    let expected = write_sessions(&node, 100);
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cells in 4096 buckets are what the log says"), "{said}");

    assert!(node.terminate().success());
    let view = open_view(&node);
    let marks = view.saved().unwrap().marks;
    let (key, mut cell) =
        view.scan(None, 1_000).unwrap().into_iter().find(|(_, cell)| cell.state != State::Tombstone).unwrap();
    cell.state = State::Tombstone;
    view.write(&ViewWrite { cells: [(key, cell)].into(), marks, ..ViewWrite::default() }).unwrap();
    view.flush().unwrap();
    drop(view);
    node.restart();
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(5), "{said}");
    // Whoever may look at jobs is not told which session that is.
    assert!(said.contains("1 of 4096 buckets") && !said.contains(&format!("~{key}")), "{said}");
    assert_eq!(node.logged(&format!("does not hold what the log says of ~{key}")), 1, "{}", node.tail());

    let (code, said) = solera(&node, &["rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(0), "{said}");
    check_sessions(&node, &expected);
}

fn checkpoints(node: &Node) -> Vec<PathBuf> {
    let found = fs::read_dir(node.data_dir().join("checkpoints/sessions"));
    let mut found: Vec<_> = found.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_view_that_is_gone_starts_from_the_newest_checkpoint_that_is_of_use() {
    let config = "dc: eqiad\ncheckpoints: { every_s: 1, keep: 2 }\nbase_uri: /sessions/v1\n\
                  secrets: { index: { file: '${DIR}/index' }, ring: [ { id: 1, file: '${DIR}/ring' } ] }\n";
    let node = Launch::serve(config).file("index", [1; 32]).file("ring", [2; 32]);
    let mut node = node.start();
    let mut expected = write_sessions(&node, 100);
    let first = eventually("a checkpoint is made", Duration::from_secs(30), || checkpoints(&node).pop());
    eventually("old ones go", Duration::from_secs(30), || {
        (!first.exists() && 2 <= checkpoints(&node).len()).then_some(())
    });
    // After the last checkpoint, so that the log has something to add.
    expected.extend(write_sessions(&node, 120));
    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    check_sessions(&node, &expected);
    let started_from = |line: &serde_json::Value| {
        line["msg"].as_str().is_some_and(|said| said.contains("starts from the checkpoint"))
    };
    node.wait_for_log("which checkpoint it starts from", started_from);
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(0), "{said}");

    // The newest is damaged, the one before is used; with all of them damaged, the log gives back everything.
    node.kill9();
    let all = checkpoints(&node);
    for (damaged, expected_line) in [(1, "is of no use"), (all.len(), "is of no use")] {
        // Checkpoints share files with the view: once that is known to be damaged, they are looked at from end to end.
        let generation = generations(&node).into_iter().find(|name| name.parse::<u64>().is_ok()).unwrap();
        fs::write(node.data_dir().join("view/sessions").join(generation).join("DAMAGED"), "a test").unwrap();
        for checkpoint in all.iter().rev().take(damaged).filter(|checkpoint| checkpoint.exists()) {
            let tables = fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap().path());
            for table in tables.filter(|path| path.extension().is_some_and(|it| it == "sst")) {
                let mut bytes = fs::read(&table).unwrap();
                bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 0xff);
                fs::remove_file(&table).unwrap();
                fs::write(&table, bytes).unwrap();
            }
        }
        node.restart();
        check_sessions(&node, &expected);
        node.wait_for_log("that a checkpoint is of no use", |line| {
            line["msg"].as_str().is_some_and(|said| said.contains(expected_line))
        });
        node.kill9();
    }
}

/// So many that they are read on one thread and folded on another before there is a follower.
#[test]
fn a_view_that_is_far_behind_its_log_is_made_before_anybody_is_let_in() {
    let mut node = Node::serve(CONFIG);
    let load = |node: &Node, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
        command.args(["bench", &format!("{}/sessions/v1", node.url), "--keys", "12000", "--size", "600"]);
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&[done.stdout, done.stderr].concat()));
    };
    load(&node, &["--preload", "--duration", "0s"]);
    let expected = write_sessions(&node, 20);
    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    node.wait_for_log("it folds them first", |line| {
        line["msg"].as_str().is_some_and(|said| said.contains("records behind its log: folding them first"))
    });
    check_sessions(&node, &expected);
    // Checks every body, and holds a 404 against the node.
    load(&node, &["--mix", "get=1", "--rate", "max", "--duration", "1s", "--warmup", "0"]);
    let applied = gauge(&node, "solera_records_applied_total").unwrap();
    assert!(12_000 <= applied, "{applied}");
    let (code, said) = solera(&node, &["verify"]);
    assert_eq!(code, Some(0), "{said}");
}
