//! What was acknowledged survives: kill -9, a view that is gone, a start that takes its time.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use crate::harness::{Node, eventually};

fn target(n: usize) -> String {
    format!("/sessions/v1/session-{n}")
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut node = Node::dev();
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        for n in 0..40 {
            let body = format!("round {round} of {n}");
            assert_eq!(node.post(&target(n), &body).status, 201);
            expected.insert(n, Some(body));
        }
        for n in (round..40).step_by(7) {
            assert_eq!(node.delete(&target(n)).status, 204);
            expected.insert(n, None);
        }
        node.kill9();
        node.restart();
        check(&node, &expected);
    }
}

#[test]
fn the_log_gives_back_a_view_that_is_gone_or_damaged() {
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    let expected = write_some(&node);
    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    check(&node, &expected);

    // A clean stop flushes the view: there are files to damage.
    assert!(node.terminate().success());
    let generation = only_folder(&node.data_dir().join("view/sessions"));
    let manifest = fs::read_dir(&generation).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|path| path.to_string_lossy().contains("MANIFEST")).unwrap();
    fs::write(&manifest, b"this is not a manifest").unwrap();
    node.restart();
    check(&node, &expected);
    node.wait_for_log("that the view is made again", |line| {
        line["msg"].as_str().is_some_and(|message| message.contains("is made again from the log"))
    });
    assert_ne!(only_folder(&node.data_dir().join("view/sessions")), generation);
}

#[test]
fn a_view_of_another_log_is_not_believed() {
    let mut node = Node::dev();
    write_some(&node);
    assert!(node.terminate().success());
    // The same secrets, a new log: what the view knows is of another life.
    fs::remove_dir_all(node.data_dir().join("log")).unwrap();
    node.restart();
    for n in 0..20 {
        assert_eq!(node.get(&target(n)).status, 404);
    }
    assert_eq!(node.post(&target(1), "new").status, 201);
    assert_eq!(node.get(&target(1)).text(), "new");
}

/// Promise 7: on a 404 MediaWiki deletes the session id, everywhere.
#[test]
fn a_node_that_starts_never_says_that_a_live_session_is_not_there() {
    let mut node = Node::dev();
    let expected = write_some(&node);
    let live = expected.iter().find_map(|(n, body)| body.as_ref().map(|_| target(*n))).unwrap();
    for _ in 0..5 {
        node.kill9();
        fs::remove_dir_all(node.data_dir().join("view")).unwrap();
        node.start_again();
        let mut refused = 0;
        eventually("the session is served", Duration::from_secs(30), || {
            let read = node.try_request(format!("GET {live} HTTP/1.1\r\nHost: x\r\n\r\n")).ok()?;
            assert!(read.status == 200 || read.status == 503, "{}", read.everything());
            refused += usize::from(read.status == 503);
            (read.status == 200).then_some(())
        });
        println!("{refused} answers were 503 before the first 200");
    }
}

#[test]
fn a_stop_lets_running_requests_end_and_exits_with_success() {
    let mut node = Node::dev();
    let (address, mut writers) = (node.address, Vec::new());
    for writer in 0..4 {
        writers.push(thread::spawn(move || {
            let mut acknowledged = Vec::new();
            let Ok(mut connection) = crate::harness::Connection::open(address) else { return acknowledged };
            for n in 0.. {
                let target = format!("/sessions/v1/writer-{writer}-{n}");
                let request = crate::harness::message("POST", &target, &[], b"x");
                match connection.exchange(request) {
                    Ok(answer) if answer.status == 201 => acknowledged.push(target),
                    _ => break,
                }
            }
            acknowledged
        }));
    }
    eventually("some writes", Duration::from_secs(10), || {
        (node.get("/metrics").text().lines().any(|line| {
            let count = line.strip_prefix("http_requests_total{code=\"201\",method=\"POST\"} ");
            count.and_then(|count| count.parse::<f64>().ok()).is_some_and(|count| 50.0 < count)
        }))
        .then_some(())
    });
    assert!(node.terminate().success());
    let acknowledged: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(50 <= acknowledged.len());
    node.restart();
    for target in acknowledged {
        assert_eq!(node.get(&target).status, 200, "{target}");
    }
}

fn write_some(node: &Node) -> BTreeMap<usize, Option<String>> {
    let mut expected = BTreeMap::new();
    for n in 0..20 {
        assert_eq!(node.post(&target(n), format!("body of {n}")).status, 201);
        expected.insert(n, Some(format!("body of {n}")));
    }
    for n in (0..20).step_by(3) {
        assert_eq!(node.delete(&target(n)).status, 204);
        expected.insert(n, None);
    }
    expected
}

fn check(node: &Node, expected: &BTreeMap<usize, Option<String>>) {
    for (n, body) in expected {
        let read = node.get(&target(*n));
        match body {
            Some(body) => assert_eq!((read.status, read.text()), (200, body.as_str()), "session {n}"),
            None => assert_eq!(read.status, 404, "session {n} was deleted"),
        }
    }
}

fn only_folder(folder: &std::path::Path) -> std::path::PathBuf {
    let found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "one generation: {found:?}");
    found.into_iter().next().unwrap()
}
