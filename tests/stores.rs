//! Several stores with rules of their own: how much each takes in a second, what writes, and how long sessions live.

use std::time::{Duration, Instant};

use crate::harness::{Launch, Node, Response, eventually, message, program};

fn launch(stores: &str) -> Launch {
    let config = format!(
        "dc: eqiad\nsecrets: {{ index: {{ file: '${{DIR}}/index' }}, ring: [ {{ id: 1, file: '${{DIR}}/ring' }} ] }}\nstores:\n{stores}"
    );
    Launch::serve(&config).file("index", [b'i'; 32]).file("ring", [b'r'; 32])
}

/// Asks as fast as can be, and says how many were taken. All others were refused, in one way.
fn taken(node: &Node, ask: impl Fn(usize) -> Vec<u8>, done: u16) -> (usize, usize, Duration) {
    let begun = Instant::now();
    let (mut taken, mut refused) = (0, 0);
    for n in 0..400 {
        let answer = node.request(ask(n));
        if answer.status == done {
            taken += 1;
        } else {
            refused += 1;
            assert_refused(&answer);
        }
    }
    (taken, refused, begun.elapsed())
}

fn assert_refused(answer: &Response) {
    assert_eq!(answer.status, 503, "{}", answer.everything());
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:solera:problem:overloaded");
    assert_eq!(problem["outcome"], "refused");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// No more than a second's worth at once, and then so many a second.
fn assert_rate(per_s: f64, taken: usize, elapsed: Duration) {
    let most = per_s * (1.0 + elapsed.as_secs_f64()) + 1.0;
    #[expect(clippy::cast_precision_loss, reason = "some hundred")]
    let taken = taken as f64;
    assert!(per_s <= taken && taken <= most, "{taken} of at most {most} in {elapsed:?}");
}

#[test]
fn a_store_takes_as_much_in_a_second_as_it_may_and_leaves_the_others_alone() {
    let node = launch(
        "  anon: { base_uri: /anon/v1, rate: { writes_per_s: 50, deletes_per_s: 20 } }\n  \
           sessions: { base_uri: /sessions/v1 }\n",
    )
    .start();
    let post = |n| message("POST", &format!("/anon/v1/k{n}"), &[], b"contents");
    let (written, refused, elapsed) = taken(&node, post, 201);
    assert_rate(50.0, written, elapsed);
    let there = (0..400).filter(|n| node.get(&format!("/anon/v1/k{n}")).status == 200).count();
    assert_eq!(there, written, "what was refused is not there, and reads have no rate");

    let delete = |n| message("DELETE", &format!("/anon/v1/k{n}"), &[], b"");
    let (deleted, undeleted, elapsed) = taken(&node, delete, 204);
    assert_rate(20.0, deleted, elapsed);
    let counted = |op: &str| -> usize {
        node.metric(&format!("solera_rate_limited_total{{op=\"{op}\",store=\"anon\"}}"))
    };
    assert_eq!((counted("write"), counted("delete")), (refused, undeleted));

    assert!((0..10_000).any(|n| node.request(post(n)).status == 503), "the rate is used up");
    for n in 0..200 {
        let target = format!("/sessions/v1/k{n}");
        assert_eq!(node.post(&target, "contents").status, 201);
        assert_eq!(node.delete(&target).status, 204);
    }
    eventually("a second later there is room again", Duration::from_secs(10), || {
        (node.request(post(1)).status == 201).then_some(())
    });
}

#[test]
fn a_body_that_is_refused_by_a_rate_is_not_read() {
    let node = launch("  anon: { base_uri: /anon/v1, rate: { writes_per_s: 1 } }\n").start();
    let refused = eventually("the rate is used up", Duration::from_secs(10), || {
        let mut connection = node.connect();
        // A megabyte is announced, and nothing of it comes.
        let _taken = node.post("/anon/v1/first", "v");
        connection.send("POST /anon/v1/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").unwrap();
        let answer = connection.receive().unwrap();
        (answer.status == 503).then_some(answer)
    });
    assert_refused(&refused);
    assert_eq!(refused.header("connection"), Some("close"));
}

#[test]
fn put_writes_where_the_store_accepts_it() {
    let node =
        launch("  echo: { base_uri: /echo/v1, accept_put: true }\n  sessions: { base_uri: /sessions/v1 }\n")
            .start();
    let put = |target: &str| node.request(message("PUT", target, &[("Session-Ttl", "60")], b"by PUT"));
    assert_eq!(put("/sessions/v1/k").status, 400);
    assert_eq!(put("/echo/v1/k").status, 201);
    assert_eq!(node.get("/echo/v1/k").text(), "by PUT");
    assert_eq!(node.post("/echo/v1/k", "by POST").status, 201);
    assert_eq!(node.get("/echo/v1/k").text(), "by POST");
}

#[test]
fn a_session_that_is_there_ends_when_the_longest_life_is_made_shorter() {
    let store = |seconds: u32| format!("  sessions: {{ base_uri: /sessions/v1, default_ttl: {seconds} }}\n");
    let mut node = launch(&store(86_400)).start();
    let restart = |node: &mut Node, from: u32, to: u32| {
        assert!(node.terminate().success());
        node.configure(|config| {
            assert!(config.contains(&store(from)), "{config}");
            config.replace(&store(from), &store(to))
        });
        node.restart();
    };
    let ends = |node: &Node| -> u64 {
        let answer = node.get("/sessions/v1/k");
        assert_eq!(answer.status, 200, "{}", answer.everything());
        answer.header("session-expires").unwrap().parse().unwrap()
    };
    assert_eq!(node.post("/sessions/v1/k", "contents").status, 201);
    let day = ends(&node);
    restart(&mut node, 86_400, 3_600);
    assert_eq!(ends(&node), day - 86_400 + 3_600);
    restart(&mut node, 3_600, 1);
    eventually("it has ended", Duration::from_secs(10), || {
        (node.get("/sessions/v1/k").status == 404).then_some(())
    });
    // Hidden, not gone: an operator who slipped has logged nobody out for good.
    restart(&mut node, 1, 86_400);
    assert_eq!(ends(&node), day);
}

#[test]
fn what_never_expires_keeps_the_traces_of_deletes_for_as_long_as_is_asked() {
    let kafka = "log: { kafka: { bootstrap_servers: '127.0.0.1:1', replication: 1, partitions: 1 } }\n";
    let echo = "  echo: { base_uri: /echo/v1, default_ttl: 0, tombstone_retention: 172800 }\n";
    let launch = launch(&format!("{echo}{kafka}"));
    let file = launch.written_config();
    let (code, said) = program(&["topics", "plan", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    for line in ["  cleanup.policy=compact\n", "  retention.ms=-1\n", "  delete.retention.ms=172800000\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
