//! Who answers: the checks of a request, in their order, and each pair of them.
//!
//! ```text
//! reserved path → no store → base without "/" → query → no key → long key → method → ready → header → body
//! ```
//!
//! A row that breaks two checks is answered by the earlier. Two 400s are told apart by what their detail says.

use std::time::Duration;

use super::table::{
    Body, Expect, Headers, Instance, Is, Kind, Then, bad_request, check, compare, created, deleted, get,
    get_with, no_key, no_store, not_found, ok, post, problem, row, with_method,
};
use super::{BASE, SECRET, kask};
use crate::harness::{Launch, eventually, message};

const KEY: Instance = Instance::Key(BASE);
const NO_KEY: Instance = Instance::Base(BASE);
/// A key over the limit is a key, but none that is used.
const LONG_KEY: Instance = Instance::KeyOrBase(BASE);

const QUERY: &[&str] = &["query"];
const PERCENT: &[&str] = &["percent", "%"];
const LONG: &[&str] = &["bytes"];
const METHOD: &[&str] = &["method"];
const EMPTY: &[&str] = &["empty"];

/// `max_key_bytes`, unless configured.
const MAX_KEY_BYTES: usize = 1024;

fn a_long_key() -> String {
    "k".repeat(MAX_KEY_BYTES + 1)
}

fn at(method: &str, target: &str) -> Vec<u8> {
    message(method, target, &[], b"")
}

#[test]
fn a_path_outside_every_store_is_gos_404() {
    let rows = [
        row("the root", at("GET", "/"), no_store()),
        row("another path", at("GET", "/nope"), no_store()),
        row("a part of the base", at("GET", "/sessions"), no_store()),
        row("a part of the base, with slash", at("GET", "/sessions/"), no_store()),
        row("another version", at("GET", "/sessions/v2/k"), no_store()),
        row("the base as a prefix of a segment", at("GET", "/sessions/v1x/k"), no_store()),
        row("two slashes before the base", at("GET", "//sessions/v1/k"), no_store()),
        row("two slashes in the base", at("GET", "/sessions//v1/k"), no_store()),
        row("dots before the base are not folded", at("GET", "/x/../sessions/v1/k"), no_store()),
        row("another case", at("GET", "/Sessions/v1/k"), no_store()),
        row("an escaped letter in the base", at("GET", "/%73essions/v1/k"), no_store()),
        row("an escaped slash in the base", at("GET", "/sessions%2Fv1%2Fk"), no_store()),
        row("a reserved path with a slash", at("GET", "/healthz/"), no_store()),
        row("a POST", message("POST", "/nope", &[], b"x"), no_store().unread_body()),
        row("a PUT", at("PUT", "/nope"), no_store()),
        row("an unknown method", at("BREW", "/nope"), no_store()),
        row("a HEAD", at("HEAD", "/nope"), no_store().without_body()),
        row("the whole server", at("OPTIONS", "*"), no_store()),
        row("before a query", at("GET", "/nope?x=1"), no_store()),
        row("before a malformed escape", at("GET", "/nope/%zz"), no_store()),
        row("before a header", message("GET", "/nope", &[("Session-Bogus", "1")], b""), no_store()),
    ];
    check(&kask(), &rows);
}

#[test]
fn the_base_without_its_slash_moves_to_the_one_with_it() {
    let moved = |body: Body, location: &'static str| {
        let headers = vec![
            ("Location", Is::Text(location)),
            ("Content-Type", Is::Text("text/html; charset=utf-8")),
            ("Content-Length", Is::Number),
            ("Date", Is::Present),
        ];
        Expect { status: 301, headers: Headers::Exactly(headers), body, then: Then::Open }
    };
    let html = Body::Exactly(b"<a href=\"/sessions/v1/\">Moved Permanently</a>.\n\n".to_vec());
    let html_with_query = Body::Exactly(b"<a href=\"/sessions/v1/?a=b\">Moved Permanently</a>.\n\n".to_vec());
    let rows = [
        row("GET", at("GET", "/sessions/v1"), moved(html, BASE)),
        row("a query goes along", at("GET", "/sessions/v1?a=b"), moved(html_with_query, "/sessions/v1/?a=b")),
    ];
    let node = kask();
    check(&node, &rows);
    for method in ["HEAD", "POST", "PUT", "DELETE", "BREW"] {
        let response = node.request(at(method, "/sessions/v1"));
        let seen = (response.status, response.header("Location"));
        assert_eq!(seen, (301, Some(BASE)), "{method}: {}", response.everything());
    }
}

#[test]
fn a_query_is_refused_unless_it_is_empty() {
    let refused = || bad_request(QUERY, KEY);
    let rows = [
        row("a pair", get("k?x=1"), refused()),
        row("a word", get("k?x"), refused()),
        row("an equals sign", get("k?="), refused()),
        row("a question mark", get("k??"), refused()),
        row("an escape that is malformed", get("k?%zz"), refused()),
        row("a POST", post("k?x", &[], b"v"), refused().unread_body()),
        row("a DELETE", with_method("DELETE", "k?x", &[]), refused()),
        row("a HEAD", with_method("HEAD", "k?x", &[]), refused().without_body()),
        row("nothing after the question mark", get("k?"), not_found()),
        row("before an empty key", get("?x"), bad_request(QUERY, NO_KEY)),
        row("before two segments", get("a/b?x"), bad_request(QUERY, NO_KEY)),
        row("before an escaped slash", get("a%2Fb?x"), bad_request(QUERY, NO_KEY)),
        row("before a malformed escape", get("%zz?x"), bad_request(QUERY, NO_KEY)),
        row("before a long key", get(&format!("{}?x", a_long_key())), bad_request(QUERY, LONG_KEY)),
        row("before the method", with_method("PUT", "k?x", &[]), refused()),
        row("before a header", get_with("k?x", &[("Session-Bogus", "1")]), refused()),
        row("before an empty body", post("k?x", &[], b""), refused()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_path_that_is_not_one_segment_holds_no_key() {
    let long = a_long_key();
    let rows = [
        row("nothing", get(""), no_key()),
        row("nothing, and an empty query", get("?"), no_key()),
        row("two segments", get("a/b"), no_key()),
        row("three segments", get("a/b/c"), no_key()),
        row("a slash at the end", get("a/"), no_key()),
        row("a slash at the beginning", get("/a"), no_key()),
        row("two slashes", get("a//b"), no_key()),
        row("an escaped slash", get("a%2Fb"), no_key()),
        row("an escaped slash in lower case", get("a%2fb"), no_key()),
        row("only an escaped slash", get("%2F"), no_key()),
        row("dots and another segment", get("../healthz"), no_key()),
        row("escaped dots and another segment", get("%2e%2e%2Fhealthz"), no_key()),
        row("a HEAD", with_method("HEAD", "a/b", &[]), no_key().without_body()),
        row("a DELETE", with_method("DELETE", "a/b", &[]), no_key()),
        row("before a long key", get(&format!("{long}/{long}")), no_key()),
        row("before the method, no key", with_method("PUT", "", &[]), no_key()),
        row("before the method, two segments", with_method("BREW", "a/b", &[]), no_key()),
        row("before a header", get_with("a/b", &[("Session-Bogus", "1")]), no_key()),
        row("before an empty body", post("a/b", &[], b""), no_key()),
        row("a POST to no key", post("", &[], b"v"), no_key().unread_body()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_malformed_escape_is_refused() {
    let refused = || bad_request(PERCENT, NO_KEY);
    let rows = [
        row("a percent sign alone", get("%"), refused()),
        row("at the end", get("key%"), refused()),
        row("one digit", get("key%4"), refused()),
        row("no digits", get("%zz"), refused()),
        row("one digit and a letter", get("%4g"), refused()),
        row("two percent signs", get("%%20"), refused()),
        row("JavaScript's", get("%u0041"), refused()),
        row("before the method", with_method("PUT", "%zz", &[]), refused()),
        row("before an empty body", post("%zz", &[], b""), refused()),
        row("a HEAD", with_method("HEAD", "%zz", &[]), refused().without_body()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_key_has_a_longest_length_in_decoded_bytes() {
    let long = a_long_key();
    let longest = "k".repeat(MAX_KEY_BYTES);
    let refused = || bad_request(LONG, LONG_KEY);
    let rows = [
        row("one byte over", get(&long), refused()),
        row("one byte over, all escaped", get(&"%6B".repeat(MAX_KEY_BYTES + 1)), refused()),
        row("the longest", get(&longest), not_found()),
        row("the longest, all escaped", get(&"%6B".repeat(MAX_KEY_BYTES)), not_found()),
        row("the longest can be written", post(&longest, &[], b"v"), created()),
        row("the longest can be read", get(&longest), ok("v")),
        row("a POST", post(&long, &[], b"v"), refused().unread_body()),
        row("a DELETE", with_method("DELETE", &long, &[]), refused()),
        row("far over", get(&"k".repeat(60_000)), refused()),
        row("before the method", with_method("PUT", &long, &[]), refused()),
        row("before a header", get_with(&long, &[("Session-Bogus", "1")]), refused()),
        row("before an empty body", post(&long, &[], b""), refused()),
    ];
    check(&kask(), &rows);
}

#[test]
fn other_methods_are_refused_with_400_and_no_allow() {
    let refused = || bad_request(METHOD, KEY);
    let rows = [
        row("PUT", with_method("PUT", SECRET, &[]), refused()),
        row(
            "PUT with a value",
            message("PUT", &format!("{BASE}{SECRET}"), &[], b"v"),
            refused().unread_body(),
        ),
        row("OPTIONS", with_method("OPTIONS", SECRET, &[]), refused()),
        row("TRACE", with_method("TRACE", SECRET, &[]), refused()),
        row("an unknown one", with_method("BREW", SECRET, &[]), refused()),
        row("one with a hyphen", with_method("M-SEARCH", SECRET, &[]), refused()),
        row("lower-case get", with_method("get", SECRET, &[]), refused()),
        row(
            "lower-case post",
            message("post", &format!("{BASE}{SECRET}"), &[], b"v"),
            refused().unread_body(),
        ),
        row("lower-case delete", with_method("delete", SECRET, &[]), refused()),
        row("before a header", with_method("PUT", SECRET, &[("Session-Bogus", "1")]), refused()),
        row("before an empty body", with_method("PUT", SECRET, &[("Content-Length", "0")]), refused()),
        row("what they were sent for is not stored", get(SECRET), not_found()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_header_is_checked_before_the_body() {
    let too_large = "Content-Length: 99999999\r\n";
    let unknown = format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nSession-Bogus: 1\r\n{too_large}\r\n");
    let wrong_ttl = format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nSession-Ttl: 0\r\n{too_large}\r\n");
    let rows = [
        row("an empty body", post("k", &[], b""), bad_request(EMPTY, KEY)),
        row(
            "an unknown header",
            post("k", &[("Session-Bogus", "1")], b""),
            bad_request(&["Session-Bogus"], KEY),
        ),
        row("a wrong TTL", post("k", &[("Session-Ttl", "0")], b""), bad_request(&["Session-Ttl"], KEY)),
        row("a large body, unknown", unknown, bad_request(&["Session-Bogus"], KEY).unread_body()),
        row("a large body, wrong TTL", wrong_ttl, bad_request(&["Session-Ttl"], KEY).unread_body()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_node_that_starts_says_so_and_never_that_a_session_is_absent() {
    let mut node = kask();
    node.post("/sessions/v1/k", "v");
    node.kill9();
    node.start_again();
    let not_ready = problem(503, Kind::NotReady, &[], KEY);
    let mut refused = 0;
    eventually("the node is ready", Duration::from_secs(30), || {
        // Nobody listens at first. From the first answer on, each is the truth.
        if let Ok(read) = node.try_request(get("k")) {
            let is_true = read.status == 200 || compare(&not_ready, &read) == Ok(());
            assert!(is_true, "{}", read.everything());
            refused += usize::from(read.status == 503);
        }
        if let Ok(method) = node.try_request(with_method("PUT", "k", &[])) {
            assert_eq!(method.status, 400, "method before readiness: {}", method.everything());
        }
        if let Ok(header) = node.try_request(get_with("k", &[("Session-Bogus", "1")])) {
            let is_right =
                compare(&not_ready, &header) == Ok(()) || (header.status == 400 && node.is_ready());
            assert!(is_right, "readiness before header: {}", header.everything());
        }
        node.is_ready().then_some(())
    });
    assert!(0 < refused, "the start was seen");
    check(&node, &[row("the session is there", get("k"), ok("v"))]);
}

#[test]
fn a_number_sign_after_chunks_never_answers_for_another_key_either() {
    let node = kask();
    node.post("/sessions/v1/k", "the value of k");
    // What follows a chunked body is not looked at: so nothing that follows may be served.
    for target in ["/sessions/v1/k", "/sessions/v1/k#z", "/healthz", "/nope"] {
        let chunked = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        );
        let mut connection = node.connect();
        connection.send([chunked.as_bytes(), &at("DELETE", "/sessions/v1/k#other")].concat()).unwrap();
        connection.receive().expect("an answer to the first");
        assert_eq!(
            connection.receive_end().map_or(0, |rest| rest.len()),
            0,
            "{target}: nothing more is served"
        );
    }
    assert_eq!(node.get("/sessions/v1/k").status, 200);
}

#[test]
fn a_raw_number_sign_never_answers_for_another_key() {
    let node = kask();
    node.post("/sessions/v1/k", "the value of k");
    for (method, target) in [
        ("GET", "/sessions/v1/k#fragment"),
        ("GET", "/sessions/v1/k#"),
        ("GET", "/sessions/v1/#k"),
        ("GET", "/sessions/v1/k?#"),
        ("HEAD", "/sessions/v1/k#fragment"),
        ("DELETE", "/sessions/v1/k#fragment"),
        ("GET", "/nope#fragment"),
    ] {
        let response = node.request(at(method, target));
        assert_eq!(response.status, 400, "{method} {target}: {}", response.everything());
        assert!(!response.everything().contains("the value of k"), "{method} {target}");
    }
    let posted = node.request(message("POST", "/sessions/v1/k#fragment", &[], b"another value"));
    assert_eq!(posted.status, 400, "{}", posted.everything());
    assert_eq!(node.get("/sessions/v1/k").text(), "the value of k");
}

#[test]
fn what_the_http_library_refuses_never_reaches_a_store() {
    let refused = |status| Expect { status, headers: Headers::Any, body: Body::Any, then: Then::Closed };
    let raw = |target: &[u8]| [b"GET ".as_slice(), target, b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat();
    let long = [BASE.as_bytes(), &b"k".repeat(65_535)].concat();
    let many: Vec<(String, &str)> = (0..101).map(|n| (format!("A{n}"), "b")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let rows = [
        row("raw bytes that are no UTF-8", raw(b"/sessions/v1/\xff"), refused(400)),
        row("a raw less-than sign", raw(b"/sessions/v1/a<b"), refused(400)),
        row("a raw greater-than sign", raw(b"/sessions/v1/a>b"), refused(400)),
        row("a raw grave accent", raw(b"/sessions/v1/a`b"), refused(400)),
        row("a raw space", raw(b"/sessions/v1/a b"), refused(400)),
        row("a raw NUL", raw(b"/sessions/v1/a\0b"), refused(400)),
        row("no slash", raw(b"sessions/v1/k"), refused(400)),
        row("a method that is no token", b"G@T /sessions/v1/k HTTP/1.1\r\nHost: x\r\n\r\n", refused(400)),
        row("a folded header", get_with("k", &[("A", "b\r\n c")]), refused(400)),
        row("two lengths", get_with("k", &[("Content-Length", "1"), ("Content-Length", "2")]), refused(400)),
        row("a target over 65,534 bytes", raw(&long), refused(414)),
        row("over 100 headers", get_with("k", &many), refused(431)),
    ];
    check(&kask(), &rows);
}

#[test]
fn each_store_answers_for_its_own_sessions() {
    let config = "dc: eqiad\n\
         secrets: { index: { file: ${DIR}/index }, ring: [ { id: 1, file: ${DIR}/ring } ] }\n\
         stores:\n  \
           sessions: { base_uri: /sessions/v1, default_ttl: 86400 }\n  \
           central: { base_uri: /central/v1, default_ttl: 3600 }\n";
    let node = Launch::serve(config).file("index", [7; 32]).file("ring", [8; 32]).start();
    let path = |store: &str| format!("/{store}/v1/{SECRET}");
    assert_eq!(node.post(&path("sessions"), "one").status, 201);
    let absent = node.get(&path("central"));
    let expected = problem(404, Kind::NotFound, &[], Instance::Key("/central/v1/"));
    assert_eq!(compare(&expected, &absent), Ok(()), "{}", absent.everything());
    assert_eq!(node.post(&path("central"), "two").status, 201);
    assert_eq!(node.get(&path("sessions")).text(), "one");
    assert_eq!(node.get(&path("central")).text(), "two");
    assert_eq!(compare(&deleted(), &node.delete(&path("central"))), Ok(()));
    assert_eq!(node.get(&path("sessions")).text(), "one");
    assert_eq!(node.get("/anon/v1/k").status, 404);
}
