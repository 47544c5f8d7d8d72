//! Bodies and connections: chunks, `Expect`, keep-alive, pipelines, and clients that stop in the middle.

use std::time::{Duration, Instant};

use super::table::{
    Expect, Instance, Is, Kind, Then, bad_request, check, compare, created, deleted, get, get_with,
    not_found, ok, post, problem, row, with_method,
};
use super::{BASE, kask};
use crate::harness::{eventually, message};

const KEY: Instance = Instance::Key(BASE);

fn chunked(headers: &str, chunks: &str) -> String {
    format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\n{headers}Transfer-Encoding: chunked\r\n\r\n{chunks}")
}

#[test]
fn a_body_may_come_in_chunks() {
    let refused = || bad_request(&[], KEY).and_close();
    let rows = [
        row("one chunk", chunked("", "5\r\nhello\r\n0\r\n\r\n"), created().and_close()),
        row("is stored", get("k"), ok("hello")),
        row(
            "several",
            chunked("", "2\r\nab\r\n1\r\nc\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            created().and_close(),
        ),
        row("are joined", get("k"), ok("abc0123456789")),
        row(
            "with extensions and trailers",
            chunked("", "3;a=b\r\nxyz\r\n0\r\nTrailer: t\r\n\r\n"),
            created().and_close(),
        ),
        row("which are not stored", get("k"), ok("xyz")),
        row("a malformed size", chunked("", "zz\r\nlost\r\n0\r\n\r\n"), refused()),
        row("stores nothing", get("k"), ok("xyz")),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_body_with_two_lengths_is_refused_whichever_comes_first() {
    let refused =
        || bad_request(&["Content-Length beside Transfer-Encoding"], Instance::Base("/")).and_close();
    let with =
        |headers: &str| format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\n{headers}\r\n3\r\nabc\r\n0\r\n\r\n");
    let rows = [
        row("length first", with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), refused()),
        row("chunks first", with("transfer-encoding: chunked\r\ncontent-length: 13\r\n"), refused()),
        row("nothing is stored", get("k"), not_found()),
    ];
    check(&kask(), &rows);
}

/// What hyper makes of requests that no working client sends: see docs/differences-from-kask.md.
#[test]
fn odd_requests_are_answered_as_the_list_of_differences_says() {
    let node = kask();
    node.post(&format!("{BASE}k"), "v");
    let long = format!("GET {BASE}{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET {BASE}k HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    let large = format!("GET {BASE}k HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(200_000));
    for (name, request, status) in [
        ("no Host", format!("GET {BASE}k HTTP/1.1\r\n\r\n"), 200),
        ("two Hosts", format!("GET {BASE}k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 200),
        ("another Expect", format!("GET {BASE}k HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n"), 200),
        ("a folded header", format!("GET {BASE}k HTTP/1.1\r\nHost: x\r\na: b\r\n c\r\n\r\n"), 400),
        ("an empty line first", format!("\r\nGET {BASE}k HTTP/1.1\r\nHost: x\r\n\r\n"), 200),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("an unknown version", format!("GET {BASE}k HTTP/3.0\r\nHost: x\r\n\r\n"), 400),
        ("raw <", format!("GET {BASE}k<x HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
        ("a long target", long, 414),
        ("many headers", many, 431),
        ("a large head", large, 431),
        (
            "gzip without chunks",
            format!("POST {BASE}j HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
            400,
        ),
        (
            "chunks with HTTP/1.0",
            format!("POST {BASE}j HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            400,
        ),
        (
            "two lengths that differ",
            format!("POST {BASE}j HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            400,
        ),
    ] {
        let response = node.request(request);
        assert_eq!(response.status, status, "{name}: {}", response.everything());
    }
    assert_eq!(node.get(&format!("{BASE}j")).status, 404, "nothing was stored");
}

#[test]
fn a_client_that_hangs_up_is_counted_as_one() {
    let node = kask();
    // The body is announced and never comes: the handler waits for it when the client goes.
    let mut connection = node.connect();
    connection
        .send(format!(
            "POST {BASE}k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        ))
        .expect("send a head");
    assert_eq!(connection.receive_interim().expect("the handler reads"), 100);
    drop(connection);
    eventually("the request is counted", Duration::from_secs(10), || {
        let metrics = node.get("/metrics");
        let counted = metrics.text().lines().any(|line| {
            line == "http_requests_total{code=\"499\",method=\"POST\"} 1"
                || line == "http_requests_total{code=\"400\",method=\"POST\"} 1"
        });
        counted.then_some(())
    });
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let node = kask();
    let mut connection = node.connect();
    connection
        .send(format!(
            "POST {BASE}k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        ))
        .expect("send the head");
    assert_eq!(connection.receive_interim().expect("an interim answer"), 100);
    connection.send("hello").expect("send the body");
    let written = connection.receive().expect("the answer");
    assert_eq!(compare(&created(), &written), Ok(()));
    assert_eq!(connection.exchange(get("k")).expect("the next answer").text(), "hello");

    let rows = [
        row("or not wait", post("k", &[("Expect", "100-continue")], b"again"), created()),
        row("as well", get("k"), ok("again")),
        row("in chunks", chunked("Expect: 100-continue\r\n", "3\r\nabc\r\n0\r\n\r\n"), created().and_close()),
        row("as well", get("k"), ok("abc")),
    ];
    check(&node, &rows);
}

#[test]
fn a_connection_serves_many_requests_whatever_the_answers() {
    let node = kask();
    let mut connection = node.connect();
    let exchanges = [
        (get("k"), not_found()),
        (post("k", &[], b"v"), created()),
        (get("k"), ok("v")),
        (with_method("HEAD", "k", &[]), ok("v").without_body()),
        (get("k?x"), bad_request(&[], KEY)),
        (with_method("PUT", "k", &[]), bad_request(&[], KEY)),
        (post("k", &[], b""), bad_request(&[], KEY)),
        (with_method("DELETE", "k", &[]), deleted()),
        (get("k"), not_found()),
    ];
    for (request, expect) in exchanges {
        let response = connection.exchange(&request).expect("an answer on the same connection");
        assert_eq!(compare(&expect, &response), Ok(()), "{}", String::from_utf8_lossy(&request));
    }
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let node = kask();
    let mut connection = node.connect();
    connection
        .send([post("k", &[], b"piped"), get("k"), with_method("HEAD", "k", &[])].concat())
        .expect("send three requests at once");
    let answers = [
        connection.receive().expect("the first answer"),
        connection.receive().expect("the second answer"),
        connection.receive_head().expect("the third answer"),
    ];
    for (expect, answer) in [created(), ok("piped"), ok("piped").without_body()].iter().zip(&answers) {
        assert_eq!(compare(expect, answer), Ok(()), "{}", answer.everything());
    }
    connection.send([with_method("DELETE", "k", &[]), get("k")].concat()).expect("send two requests at once");
    assert_eq!(connection.receive().expect("the fourth answer").status, 204);
    assert_eq!(connection.receive().expect("the fifth answer").status, 404);
}

#[test]
fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let node = kask();
    node.post(&format!("{BASE}victim"), "still here");
    let hidden = with_method("DELETE", "victim", &[]);
    let target = |rest: &str| format!("{BASE}{rest}");
    let carriers = [
        ("PUT", message("PUT", &target("k"), &[], &hidden)),
        ("PATCH", message("PATCH", &target("k"), &[], &hidden)),
        ("GET", message("GET", &target("k"), &[], &hidden)),
        ("HEAD", message("HEAD", &target("k"), &[], &hidden)),
        ("DELETE", message("DELETE", &target("k"), &[], &hidden)),
        ("POST with a query", message("POST", &target("k?x"), &[], &hidden)),
        ("POST with a wrong header", post("k", &[("Session-Bogus", "1")], &hidden)),
        ("POST to no store", message("POST", "/nope", &[], &hidden)),
        ("POST to a reserved path", message("POST", "/healthz", &[], &hidden)),
        ("POST of a value", post("k", &[], &hidden)),
    ];
    for (name, request) in carriers {
        let mut connection = node.connect();
        connection.exchange(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Whether the connection goes on is the server's choice; what it took the body for is not.
        let next = connection.exchange(get("victim"));
        assert!(next.as_ref().map_or(true, |response| response.status == 200), "{name}: {next:?}");
        assert_eq!(node.get(&target("victim")).text(), "still here", "{name}");
    }
}

#[test]
fn a_get_with_a_body_is_a_get() {
    let node = kask();
    node.post(&format!("{BASE}k"), "v");
    let rows = [
        row("GET", message("GET", &format!("{BASE}k"), &[], b"ignored"), ok("v").unread_body()),
        row("DELETE", message("DELETE", &format!("{BASE}k"), &[], b"ignored"), deleted().unread_body()),
    ];
    check(&node, &rows);
}

#[test]
fn a_client_that_asks_for_the_end_gets_it() {
    let node = kask();
    let old = format!("GET {BASE}k HTTP/1.0\r\n\r\n");
    let closing = |expect: Expect| Expect { then: Then::Closed, ..expect.with(("Connection", Is::Maybe)) };
    let rows = [
        row("Connection: close", get_with("k", &[("Connection", "close")]), closing(not_found())),
        row("HTTP/1.0", old, closing(not_found())),
    ];
    check(&node, &rows);
    let absolute = message("GET", &format!("http://solera.test{BASE}k"), &[], b"");
    check(&node, &[row("an absolute target", absolute, not_found())]);
}

#[test]
fn half_a_body_is_never_stored() {
    let node = kask();
    for (name, request) in [
        ("of a length", format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")),
        ("in chunks", chunked("", "3\r\nabc\r\n")),
        ("within a chunk", chunked("", "a\r\nabc")),
    ] {
        let mut connection = node.connect();
        connection.send(&request).expect("send half a request");
        connection.finish_sending().expect("stop sending");
        let rest = connection.receive_end().expect("the server closes");
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{name}: {text}");
        assert_eq!(node.get(&format!("{BASE}k")).status, 404, "{name}");
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let node = kask();
    let mut connection = node.connect();
    let begun = Instant::now();
    let request = format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    let response = connection.exchange(request).expect("an answer without the whole body");
    let late = problem(408, Kind::RequestTimeout, &[], KEY).and_close();
    assert_eq!(compare(&late, &response), Ok(()), "{}", response.everything());
    assert!(Duration::from_secs(1) <= begun.elapsed(), "a slow client has some time: {:?}", begun.elapsed());
    assert_eq!(connection.receive_end().expect("the server closes"), b"");
    assert_eq!(node.get(&format!("{BASE}k")).status, 404);
}

#[test]
fn a_client_that_hangs_up_does_not_undo_its_request() {
    let node = kask();
    for n in 0..50 {
        // The end of what is sent arrives with the request, or before it was looked at.
        let key = format!("k{n}");
        node.connect().send(post(&key, &[], b"v")).expect("send a request and hang up");
        eventually("the value is stored", Duration::from_secs(10), || {
            (node.get(&format!("{BASE}{key}")).status == 200).then_some(())
        });
    }
}

#[test]
fn a_client_that_has_nothing_more_to_send_gets_its_answer() {
    let node = kask();
    for n in 0..50 {
        let mut connection = node.connect();
        connection.send(post(&format!("k{n}"), &[], b"v")).expect("send a request");
        connection.finish_sending().expect("say that it was the last");
        assert_eq!(compare(&created(), &connection.receive().expect("the answer")), Ok(()));
    }
}
