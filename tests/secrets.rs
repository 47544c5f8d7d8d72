//! Secrets of the ring: rotated while sessions are read and written, retired when nobody needs them.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Connection, Launch, Node, Response, TwoDcs, eventually, message, program};

/// From an order to read files again to the line that tells of it. Of one kind the log has some lines within ten seconds; what is beyond
/// it tells of when those have passed.
const SOON: Duration = Duration::from_secs(30);

const CONFIG: &str = "\
    dc: eqiad\n\
    secrets: { index: { file: '${DIR}/index' }, ring: [ { id: 1, file: '${DIR}/ring' } ] }\n\
    stores: { sessions: { base_uri: /sessions/v1, default_ttl: 86400 } }\n";

fn start() -> Node {
    Launch::serve(CONFIG).file("index", [b'i'; 32]).file("ring", [b'r'; 32]).start()
}

fn dir(node: &Node) -> PathBuf {
    node.data_dir().parent().unwrap().to_owned()
}

/// The file of a secret: the first has another name.
fn file(node: &Node, id: u32) -> PathBuf {
    dir(node).join(if id == 1 { "ring".to_owned() } else { format!("ring-{id}") })
}

/// Has the node read a configuration with this ring.
fn ask_for(node: &Node, ids: &[u32]) {
    let entry = |id: &u32| format!("{{ id: {id}, file: '{}' }}", file(node, *id).display());
    let ring = ids.iter().map(entry).collect::<Vec<_>>().join(", ");
    let config = dir(node).join("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let (before, rest) = text.split_once("ring: [").unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    fs::write(&config, format!("{before}ring: [ {ring} ]{after}")).unwrap();
    node.signal("HUP");
}

/// The same, and waits until the ring is that one.
pub(crate) fn rotate(node: &Node, ids: &[u32]) {
    let said = |id: &u32| id.to_string();
    let words = format!("The ring of secrets is {}:", ids.iter().map(said).collect::<Vec<_>>().join(", "));
    let before = node.logged(&words);
    ask_for(node, ids);
    eventually(&words, SOON, || (before < node.logged(&words)).then_some(()));
}

pub(crate) fn make(node: &Node, id: u32) {
    let (code, said) = program(&["secret", "new", file(node, id).to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
}

fn admin(node: &Node, method: &str, target: &str) -> Response {
    let mut connection = Connection::open(node.admin_address).unwrap();
    connection.exchange(message(method, target, &[], b"")).unwrap()
}

pub(crate) fn retire(node: &Node, id: u32) -> Response {
    admin(node, "POST", &format!("/v1/secrets/{id}/retire"))
}

#[test]
fn a_secret_is_retired_when_no_live_session_needs_it_and_not_before() {
    let node = start();
    let written = node.post("/sessions/v1/old", "v");
    assert_eq!(written.status, 201);
    let ends = node.get("/sessions/v1/old").header("session-expires").unwrap().parse::<u64>().unwrap();
    assert_eq!(node.post("/sessions/v1/deleted", "v").status, 201);
    assert_eq!(node.delete("/sessions/v1/deleted").status, 204);
    assert_eq!(retire(&node, 1).status, 409, "it seals");
    make(&node, 2);
    rotate(&node, &[2, 1]);
    assert_eq!(node.post("/sessions/v1/new", "v").status, 201);

    let shown = admin(&node, "GET", "/v1/secrets").json();
    let expected = serde_json::json!([
        { "id": 2, "state": "seals", "live": 1, "last_expires": shown["secrets"][0]["last_expires"] },
        { "id": 1, "state": "opens", "live": 1, "last_expires": ends },
    ]);
    assert_eq!(shown["secrets"], expected);
    let refused = retire(&node, 1);
    assert_eq!(refused.status, 409);
    assert_eq!((&refused.json()["live"], &refused.json()["last_expires"]), (&1.into(), &ends.into()));
    assert_eq!(retire(&node, 2).status, 409);
    assert_eq!(retire(&node, 3).status, 404);

    // Left out and not retired: nobody is logged out for that.
    ask_for(&node, &[2]);
    let said = "The secret 1 was left out and not retired";
    eventually(said, SOON, || (0 < node.logged(said)).then_some(()));
    assert_eq!(node.get("/sessions/v1/old").status, 200);
    assert_eq!(node.post("/sessions/v1/old", "w").status, 201);
    assert_eq!(retire(&node, 1).status, 204, "it was sealed anew");
    assert_eq!(retire(&node, 1).status, 404, "it is gone");
    assert_eq!((node.get("/sessions/v1/old").text(), node.get("/sessions/v1/new").text()), ("w", "v"));
    let (code, said) = program(&["secret", "status", "--admin", &node.admin_address.to_string()]);
    assert!(code == Some(0) && said.contains("seals") && !said.contains("opens"), "{said}");
}

#[test]
fn a_ring_that_would_lose_sessions_is_not_taken_over() {
    let node = start();
    assert_eq!(node.post("/sessions/v1/k", "v").status, 201);
    let stays = |errors: usize| {
        eventually("it is told of", SOON, || {
            (node.logged("The ring of secrets in use stays") == errors).then_some(())
        });
        assert_eq!(node.get("/sessions/v1/k").status, 200);
    };
    let ring = file(&node, 1);
    fs::write(&ring, [b'x'; 32]).unwrap();
    node.signal("HUP");
    stays(1);
    fs::write(&ring, [b'r'; 32]).unwrap();
    fs::write(dir(&node).join("index"), [b'x'; 32]).unwrap();
    node.signal("HUP");
    stays(2);
    fs::write(dir(&node).join("index"), [b'i'; 32]).unwrap();
    ask_for(&node, &[2, 1]);
    stays(3);
    make(&node, 2);
    rotate(&node, &[2, 1]);
    let (code, said) = program(&["secret", "new", ring.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("ring"), "a secret that is there is not overwritten: {said}");
    assert_eq!(fs::read(&ring).unwrap(), [b'r'; 32]);
}

const ROTATIONS: u32 = 50;

#[test]
fn fifty_rotations_under_load_fail_no_read() {
    let node = start();
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let retired = thread::scope(|scope| {
        for client in 0..3 {
            let (node, done, asked) = (&node, &done, &asked);
            scope.spawn(move || load(node, client, done, asked));
        }
        // The clients end whatever happens here.
        let rotated = thread::scope(|inner| inner.spawn(|| rotate_often(&node, &asked)).join());
        done.store(true, Ordering::Relaxed);
        rotated.unwrap()
    });
    println!("{ROTATIONS} rotations, {retired} secrets retired, {} requests", asked.into_inner());
    assert!(20 <= retired, "{retired}");
    assert_eq!(node.metric::<u64>("solera_seal_failures_total"), 0);
}

/// Writes and reads sessions of its own, each a few times before it is written again.
fn load(node: &Node, client: usize, done: &AtomicBool, asked: &AtomicU64) {
    const SESSIONS: usize = 20;
    let mut connection = node.connect();
    let mut n = 0;
    while !done.load(Ordering::Relaxed) {
        let (target, body) = (format!("/sessions/v1/{client}-{}", n % SESSIONS), format!("contents {n}"));
        let written = connection.exchange(message("POST", &target, &[], body.as_bytes())).unwrap();
        assert_eq!(written.status, 201, "{}", written.everything());
        for back in 0..SESSIONS.min(n + 1) {
            let m = n - back;
            let target = format!("/sessions/v1/{client}-{}", m % SESSIONS);
            let read = connection.exchange(message("GET", &target, &[], b"")).unwrap();
            assert_eq!((read.status, read.text()), (200, format!("contents {m}").as_str()), "{target}");
        }
        asked.fetch_add(1 + SESSIONS as u64, Ordering::Relaxed);
        n += 1;
    }
}

/// How many secrets were retired: those that are asked for, are refused, or go.
fn rotate_often(node: &Node, asked: &AtomicU64) -> u32 {
    let (mut ring, mut retired) = (vec![1], 0);
    for id in 2..=ROTATIONS + 1 {
        make(node, id);
        ring.insert(0, id);
        rotate(node, &ring);
        let before = asked.load(Ordering::Relaxed);
        eventually("there is load", SOON, || (before + 400 < asked.load(Ordering::Relaxed)).then_some(()));
        let oldest = *ring.last().unwrap();
        match retire(node, oldest).status {
            204 => {
                ring.pop();
                retired += 1;
            }
            status => assert_eq!(status, 409),
        }
    }
    retired
}

#[test]
fn data_centres_rotate_one_after_the_other_and_confirm_deletes_all_the_while() {
    let dcs = TwoDcs::start();
    let nodes = [&dcs.eqiad, &dcs.codfw];
    let secret = [b's'; 32];
    nodes.iter().for_each(|node| fs::write(file(node, 2), secret).unwrap());
    let mut n = 0;
    let mut check = |step: &str| {
        for (here, there) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
            n += 1;
            let target = format!("/sessions/v1/k{n}");
            assert_eq!(here.post(&target, "v").status, 201, "{step}");
            eventually("the other one reads it", SOON, || match there.get(&target).status {
                200 => Some(()),
                status => {
                    assert_eq!(status, 404, "{step}");
                    None
                }
            });
            let deleted = there.delete(&target);
            assert_eq!(deleted.status, 204, "{step}: {}", deleted.everything());
            assert_eq!(here.get(&target).status, 404, "{step}");
        }
    };
    check("before");
    // Whoever opens with it first can read what the other one seals with it.
    for ring in [[1, 2], [2, 1]] {
        for node in nodes {
            rotate(node, &ring);
            check(&format!("{ring:?}"));
            // Each is asked what it is once a second.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1500) {
                check(&format!("{ring:?}, while they meet"));
            }
        }
    }
    for node in nodes {
        eventually("nobody needs it", SOON, || (retire(node, 1).status == 204).then_some(()));
        check("retired");
    }
    assert!(nodes.iter().all(|node| node.logged("config_mismatch") == 0));
}
