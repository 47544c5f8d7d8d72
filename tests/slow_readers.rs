//! Clients that ask for large sessions and do not take them: memory stays bounded, and small sessions are served.

use std::time::Duration;

use crate::harness::{Connection, Launch, eventually, message};

/// A quarter of `memory_mb` is 16 MiB: room for two of the large sessions.
const CONFIG: &str = "\
dc: here
memory_mb: 64
secrets: { index: { file: '${DIR}/index' }, ring: [ { id: 1, file: '${DIR}/ring' } ] }
stores: { sessions: { base_uri: /sessions/v1, default_ttl: 3600, max_value_bytes: 7340032 } }
";

const LARGE: &str = "/sessions/v1/large";
const SMALL: &str = "/sessions/v1/small";
/// More than the system's own buffers take of an answer: 4 MiB, as a rule.
const LARGE_BYTES: usize = 7 * 1024 * 1024;
/// Large sessions that fit.
const ROOM: usize = 2;
/// Clients that take nothing.
const READERS: usize = 40;

fn get(target: &str) -> Vec<u8> {
    message("GET", target, &[], b"")
}

#[test]
fn answers_that_nobody_takes_are_bounded_and_small_ones_go_on() {
    let node = Launch::serve(CONFIG).file("index", [1; 32]).file("ring", [2; 32]).start();
    // Random, as what does not compress: what is held is what is stored.
    let large: Vec<u8> = (0..LARGE_BYTES).map(|_| rand::random()).collect();
    assert_eq!(node.post(LARGE, &large).status, 201);
    assert_eq!(node.post(SMALL, "small").status, 201);
    assert_eq!(node.get(LARGE).body, large);
    let memory = || node.metric::<usize>("process_resident_memory_bytes");
    let memory_before = memory();

    let mut readers: Vec<Connection> = (0..READERS).map(|_| node.connect()).collect();
    for reader in &mut readers {
        reader.send(get(LARGE)).unwrap();
    }
    let refused = || node.metric::<usize>("http_requests_total{code=\"503\",method=\"GET\"}");
    let served = || node.metric::<usize>("http_requests_total{code=\"200\",method=\"GET\"}");
    let answered_before = 1;
    eventually("every reader is answered", Duration::from_secs(20), || {
        (answered_before + READERS <= refused() + served()).then_some(())
    });

    let grown = memory().saturating_sub(memory_before);
    assert!(grown < READERS * LARGE_BYTES / 2, "memory grew by {} MiB", grown >> 20);
    let answer = node.get(LARGE);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")), "{}", answer.everything());
    assert_eq!(answer.json()["type"], "urn:solera:problem:overloaded");
    assert_eq!(answer.json()["outcome"], "refused");
    for _ in 0..50 {
        assert_eq!(node.get(SMALL).text(), "small");
    }
    let known = node.request(message("HEAD", SMALL, &[], b""));
    assert_eq!(known.status, 200);

    // Slow is not refused: who was answered gets all of it.
    let answers: Vec<_> = readers.iter_mut().map(|reader| reader.receive().unwrap()).collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    let whole: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(whole.len(), ROOM);
    assert!(whole.iter().all(|answer| answer.body == large));
    drop(readers);
    eventually("there is room again", Duration::from_secs(10), || {
        (node.get(LARGE).body == large).then_some(())
    });
}
