//! What was acknowledged survives: kill -9, a view that is gone, a start that takes its time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::harness::{Launch, Node, Sessions, check_sessions, eventually, message, session, write_sessions};

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let mut node = Node::dev();
    let mut expected = Sessions::new();
    for round in 0..5 {
        for n in 0..40 {
            let body = format!("round {round} of {n}");
            assert_eq!(node.post(&session(n), &body).status, 201);
            expected.insert(n, Some(body));
        }
        for n in (round..40).step_by(7) {
            assert_eq!(node.delete(&session(n)).status, 204);
            expected.insert(n, None);
        }
        node.kill9();
        node.restart();
        check_sessions(&node, &expected);
        // Every second time from a view that was flushed: a crash then comes back to a prefix of what is in files.
        if round % 2 == 1 {
            assert!(node.terminate().success());
            node.restart();
        }
    }
}

#[test]
fn the_log_gives_back_a_view_that_is_gone_or_damaged() {
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    let expected = write_sessions(&node, 20);
    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    check_sessions(&node, &expected);

    // A clean stop flushes the view: there are files to damage.
    assert!(node.terminate().success());
    let generation = only_folder(&node.data_dir().join("view/sessions"));
    let manifest = fs::read_dir(&generation).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|path| path.to_string_lossy().contains("MANIFEST")).unwrap();
    fs::write(&manifest, b"this is not a manifest").unwrap();
    node.restart();
    check_sessions(&node, &expected);
    node.wait_for_log("that the view is made again", |line| {
        line["msg"].as_str().is_some_and(|message| message.contains("is made again from the log"))
    });
    let view = node.data_dir().join("view/sessions");
    assert!(view.join("damaged").join(manifest.file_name().unwrap()).exists(), "it was moved aside");
    assert!(!generation.exists());
}

/// A block is checked when it is read: the node finds out while it serves, ends, and is sound after the next start.
#[test]
fn a_view_with_flipped_bits_is_found_out_and_made_again() {
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    let (body, sessions) = (incompressible(), 40);
    (0..sessions).for_each(|n| assert_eq!(node.post(&session(n), &body).status, 201));
    assert!(node.terminate().success());
    let generation = only_folder(&node.data_dir().join("view/sessions"));
    let table = a_table(&generation);
    let mut bytes = fs::read(&table).unwrap();
    // Among the cells, which come first in the file: what a start reads stands after them.
    bytes[200_000..200_100].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&table, bytes).unwrap();

    let exit = node.starts_and_ends_while(|node| {
        for n in 0..sessions {
            if let Ok(read) = node.try_request(message("GET", &session(n), &[], b"")) {
                assert_ne!(read.status, 404, "{}", read.everything());
            }
        }
    });
    assert_eq!(exit, Some(1));
    node.restart();
    (0..sessions).for_each(|n| assert_eq!(node.get(&session(n)).body, body));
    assert!(node.data_dir().join("view/sessions/damaged").exists());
}

/// The log gives back the space of what was overwritten, and still gives back the view.
#[test]
fn a_log_is_cleaned_and_loses_nothing_that_is_needed() {
    const SESSIONS: usize = 100;
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    let address = node.address;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            thread::spawn(move || {
                let mut connection = crate::harness::Connection::open(address).unwrap();
                let mut body = incompressible();
                for round in 0..30_u8 {
                    body[0] = round;
                    for n in (writer..SESSIONS).step_by(4) {
                        let answer = connection.exchange(message("POST", &session(n), &[], &body)).unwrap();
                        assert_eq!(answer.status, 201);
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    for n in (0..SESSIONS).step_by(10) {
        assert_eq!(node.delete(&session(n)).status, 204);
    }
    // 48 MB were written, of which 1.6 MB live.
    eventually("the log is cleaned", Duration::from_secs(60), || {
        let cleaned = node.logs().iter().any(|line| says(line, "Cleaned"));
        (cleaned && size_of(&node.data_dir().join("log")) < 24_000_000).then_some(())
    });
    assert_eq!(node.get("/metrics").text().matches("solera_log_bytes{store=\"sessions\"}").count(), 1);

    node.kill9();
    fs::remove_dir_all(node.data_dir().join("view")).unwrap();
    node.restart();
    for n in 0..SESSIONS {
        let read = node.get(&session(n));
        assert_eq!(read.status, if n % 10 == 0 { 404 } else { 200 }, "session {n}");
        assert!(read.status == 404 || read.body[0] == 29, "session {n} is the newest");
    }
}

fn says(line: &serde_json::Value, words: &str) -> bool {
    line["msg"].as_str().is_some_and(|message| message.contains(words))
}

/// Bytes of all files below a folder. A file may go while it is looked at.
fn size_of(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn a_table(generation: &std::path::Path) -> std::path::PathBuf {
    let files = fs::read_dir(generation).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "sst")).expect("a table")
}

/// A file that is gone, a format that is unknown.
#[test]
fn a_view_that_lacks_a_file_is_made_again() {
    let mut node = Node::serve("base_uri: /sessions/v1\n");
    let expected = write_sessions(&node, 20);
    assert!(node.terminate().success());
    let generation = only_folder(&node.data_dir().join("view/sessions"));
    fs::remove_file(a_table(&generation)).unwrap();
    node.restart();
    check_sessions(&node, &expected);
    assert!(node.data_dir().join("view/sessions/damaged").exists());
}

#[test]
fn a_view_of_another_log_is_not_believed() {
    let mut node = Node::dev();
    write_sessions(&node, 20);
    assert!(node.terminate().success());
    // The same secrets, a new log: what the view knows is of another life.
    fs::remove_dir_all(node.data_dir().join("log")).unwrap();
    node.restart();
    for n in 0..20 {
        assert_eq!(node.get(&session(n)).status, 404);
    }
    assert_eq!(node.post(&session(1), "new").status, 201);
    assert_eq!(node.get(&session(1)).text(), "new");
}

/// Promise 7: on a 404 MediaWiki deletes the session id, everywhere.
#[test]
fn a_node_that_starts_never_says_that_a_live_session_is_not_there() {
    let mut node = Node::dev();
    let expected = write_sessions(&node, 20);
    let live = expected.iter().find_map(|(n, body)| body.as_ref().map(|_| session(*n))).unwrap();
    let mut refused = 0;
    for _ in 0..5 {
        node.kill9();
        fs::remove_dir_all(node.data_dir().join("view")).unwrap();
        node.start_again();
        eventually("the session is served", Duration::from_secs(30), || {
            let read = node.try_request(format!("GET {live} HTTP/1.1\r\nHost: x\r\n\r\n")).ok()?;
            assert!(read.status == 200 || read.status == 503, "{}", read.everything());
            refused += usize::from(read.status == 503);
            (read.status == 200).then_some(())
        });
    }
    assert!(0 < refused, "the starts were seen");
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
                let request = message("POST", &target, &[], b"x");
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

/// Promise 7 again: under another secret or name the node would find nothing, and say so.
#[test]
fn a_node_that_would_come_up_empty_by_mistake_does_not_start() {
    let config = "dc: eqiad\n\
         secrets: { index: { file: ${DIR}/index }, ring: [ { id: 1, file: ${DIR}/ring } ] }\n\
         stores: { sessions: { base_uri: /sessions/v1 } }\n";
    let mut node = Launch::serve(config).file("index", [7; 32]).file("ring", [8; 32]).start();
    assert_eq!(node.post("/sessions/v1/k", "v").status, 201);
    assert!(node.terminate().success());
    let files = node.data_dir().parent().unwrap().to_owned();
    fs::write(files.join("index"), [6; 32]).unwrap();
    assert_eq!(node.fails_to_start(), Some(1));
    let fatal = node.wait_for_log("why", |line| line["level"] == "FATAL");
    assert!(fatal["msg"].as_str().unwrap().contains("another index secret"), "{fatal}");
    fs::write(files.join("index"), [7; 32]).unwrap();
    node.restart();
    assert_eq!(node.get("/sessions/v1/k").text(), "v");
}

/// The session is there, and cannot be read: to say "not found" would make the client forget it.
#[test]
fn a_session_whose_secret_is_gone_is_an_error_and_counted() {
    let config = "dc: eqiad\n\
         secrets: { index: { file: ${DIR}/index }, ring: [ { id: 1, file: ${DIR}/ring } ] }\n\
         stores: { sessions: { base_uri: /sessions/v1 } }\n";
    let mut node = Launch::serve(config).file("index", [7; 32]).file("ring", [8; 32]).start();
    assert_eq!(node.post("/sessions/v1/k", "v").status, 201);
    let ring = node.data_dir().parent().unwrap().join("ring");
    fs::write(&ring, [5; 32]).unwrap();
    node.restart();
    let read = node.get("/sessions/v1/k");
    assert_eq!(read.status, 500, "{}", read.everything());
    let failures = "solera_seal_failures_total{store=\"sessions\"} 1";
    assert!(node.get("/metrics").text().lines().any(|line| line == failures));
    fs::write(&ring, [8; 32]).unwrap();
    node.restart();
    assert_eq!(node.get("/sessions/v1/k").text(), "v");
}

/// A log that cannot be written: what was acknowledged stays, what was not is said to be unknown or refused.
#[test]
fn a_log_that_fails_ends_the_node_and_loses_nothing_that_was_acknowledged() {
    // No file may grow over 6,000 blocks of 1,024 bytes: the log's write-ahead log fails soon after.
    let limited = "trap '' XFSZ; ulimit -f 6000; exec \"$@\"";
    let mut node = Launch::serve("base_uri: /sessions/v1\n").through(limited).start();
    let body = incompressible();
    let mut acknowledged = Vec::new();
    let refusal = (0..20_000).find_map(|n| {
        let answer = node.try_request(message("POST", &session(n), &[], &body)).ok()?;
        if answer.status == 201 {
            acknowledged.push(n);
            return None;
        }
        Some(answer)
    });
    let refusal = refusal.expect("the log fails in the end");
    assert!(10 < acknowledged.len());
    let problem = refusal.json();
    assert!(
        ["unknown", "refused"].contains(&problem["outcome"].as_str().unwrap()),
        "{}",
        refusal.everything()
    );
    assert!(!refusal.text().contains("/log/"), "no client is told of our files: {}", refusal.text());
    assert_eq!(node.ends().code(), Some(1));
    node.wait_for_log("why", |line| line["level"] == "FATAL");

    let mut node = node.without_wrapper();
    node.restart();
    for n in acknowledged {
        assert_eq!(node.get(&session(n)).status, 200, "session {n}");
    }
}

/// What no compression makes smaller.
fn incompressible() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..16_384).map(|_| next()).collect()
}

#[test]
fn clients_that_stall_do_not_hold_up_a_stop() {
    let mut node = Node::dev();
    node.post("/sessions/v1/k", vec![b'x'; 1 << 20]);
    let mut half = node.connect();
    half.send("GET /sess").unwrap();
    let silent = node.connect();
    let mut deaf = node.connect();
    for _ in 0..8 {
        deaf.send("GET /sessions/v1/k HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let begun = Instant::now();
    assert!(node.terminate().success(), "{}", node.tail());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    node.restart();
    assert_eq!(node.get("/sessions/v1/k").status, 200);
    drop((half, silent, deaf));
}

fn only_folder(folder: &std::path::Path) -> std::path::PathBuf {
    let found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 1, "one generation: {found:?}");
    found.into_iter().next().unwrap()
}
