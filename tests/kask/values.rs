//! What a session is given when it is written, read and deleted: values, versions, lifetimes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::table::{
    Body, Expect, Headers, Instance, Is, Kind, Row, Then, bad_request, check, compare, created, deleted, get,
    get_with, not_found, not_modified, ok, post, problem, row, with_method,
};
use super::{BASE, SECRET, kask};
use crate::harness::{Node, Response, eventually, message};

const KEY: Instance = Instance::Key(BASE);
/// `default_ttl` and `max_ttl` of the store.
const TTL_S: u64 = 86_400;
/// `max_value_bytes`, unless configured.
const MAX_VALUE_BYTES: usize = 1_048_576;
/// A client's clock and the server's are the same here; whole seconds are what differs.
const ROUNDING_S: u64 = 2;

fn path(key: &str) -> String {
    format!("{BASE}{key}")
}

fn etag(response: &Response) -> String {
    response.header("ETag").unwrap_or_else(|| panic!("an ETag in {}", response.everything())).to_owned()
}

fn expires(response: &Response) -> u64 {
    response
        .header("Session-Expires")
        .expect("a Session-Expires")
        .parse()
        .expect("Session-Expires in seconds")
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

#[test]
fn a_session_is_written_read_and_deleted() {
    let rows = [
        row("absent", get(SECRET), not_found()),
        row("absent, HEAD", with_method("HEAD", SECRET, &[]), not_found().without_body()),
        row("absent, DELETE", with_method("DELETE", SECRET, &[]), deleted()),
        row("written", post(SECRET, &[], b"one"), created()),
        row("read", get(SECRET), ok("one")),
        row("read again", get(SECRET), ok("one")),
        row("HEAD", with_method("HEAD", SECRET, &[]), ok("one").without_body()),
        row("overwritten", post(SECRET, &[], b"two"), created()),
        row("the later value", get(SECRET), ok("two")),
        row("deleted", with_method("DELETE", SECRET, &[]), deleted()),
        row("gone", get(SECRET), not_found()),
        row("gone, HEAD", with_method("HEAD", SECRET, &[]), not_found().without_body()),
        row("deleted again", with_method("DELETE", SECRET, &[]), deleted()),
        row("written again", post(SECRET, &[], b"three"), created()),
        row("read again after all", get(SECRET), ok("three")),
        row("as MediaWiki reads", get_with(SECRET, &[("content-length", "0")]), ok("three")),
        row("as MediaWiki deletes", with_method("DELETE", SECRET, &[("content-length", "0")]), deleted()),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_value_is_any_bytes_up_to_the_largest() {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let largest: Vec<u8> = (0..MAX_VALUE_BYTES).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
    let json = br#"JSON..{"data":{"wsUserID":1},"metadata":{"expires":1}}"#;
    let rows = [
        row("every byte is written", post("every", &[], &every_byte), created()),
        row("every byte is read", get("every"), ok(every_byte)),
        row("one byte is written", post("one", &[], b"\0"), created()),
        row("one byte is read", get("one"), ok(b"\0")),
        row("a request in a body is no request", post("nested", &[], b"GET / HTTP/1.1\r\n\r\n"), created()),
        row("and comes back", get("nested"), ok(b"GET / HTTP/1.1\r\n\r\n")),
        row("MediaWiki's is written", post("json", &[("Content-Type", "application/json")], json), created()),
        row("MediaWiki's is read, as octets", get("json"), ok(json)),
        row("the largest is written", post("largest", &[], &largest), created()),
        row("the largest is read", get("largest"), ok(largest.as_slice())),
        row("the largest, HEAD", with_method("HEAD", "largest", &[]), ok(largest.as_slice()).without_body()),
    ];
    check(&kask(), &rows);
    let node = kask();
    node.post(&path("largest"), &largest);
    let length = node.request(with_method("HEAD", "largest", &[]));
    assert_eq!(length.header("Content-Length"), Some("1048576"), "HEAD tells the length that GET has");
}

#[test]
fn an_empty_body_is_refused_and_changes_nothing() {
    let refused = || bad_request(&["empty"], KEY);
    let chunked =
        |body: &str| format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let rows = [
        row("without a length", post("k", &[], b""), refused()),
        row("of length 0", post("k", &[("Content-Length", "0")], b""), refused()),
        row("without chunks", chunked("0\r\n\r\n"), refused().and_close()),
        row("nothing is stored", get("k"), not_found()),
        row("a value", post("k", &[], b"v"), created()),
        row("over a value", post("k", &[], b""), refused()),
        row("the value stays", get("k"), ok("v")),
    ];
    check(&kask(), &rows);
}

#[test]
fn a_value_over_the_limit_is_refused_and_the_connection_closed() {
    let too_large = || problem(413, Kind::PayloadTooLarge, &[], KEY).and_close();
    let announced = |headers: &str| {
        format!(
            "POST {BASE}k HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
            MAX_VALUE_BYTES + 1
        )
    };
    let sent = [announced("").into_bytes(), vec![b'v'; MAX_VALUE_BYTES + 1]].concat();
    let mut chunks =
        format!("POST {BASE}k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..17 {
        chunks.extend_from_slice(b"10000\r\n");
        chunks.extend_from_slice(&[b'v'; 0x10000]);
        chunks.extend_from_slice(b"\r\n");
    }
    let rows = [
        row("announced, none of it sent", announced(""), too_large()),
        row("announced by a client that waits", announced("Expect: 100-continue\r\n"), too_large()),
        row("nothing is stored", get("k"), not_found()),
    ];
    let node = kask();
    check(&node, &rows);
    // The server closes while bytes are under way, so the answer itself may be lost: not so the refusal.
    for (name, request) in [("announced and sent", sent), ("in chunks", chunks)] {
        if let Ok(response) = node.try_request(request) {
            assert_eq!(compare(&too_large(), &response), Ok(()), "{name}");
        }
        assert_eq!(node.get(&path("k")).status, 404, "{name}");
    }
    let waits = node.request(announced("Expect: 100-continue\r\n"));
    assert_eq!(waits.interim, [0_u16; 0], "no 100 Continue for a body that nobody wants");
}

#[test]
fn request_headers_that_kask_ignores_are_ignored() {
    let read: &[(&str, &[(&str, &str)])] = &[
        ("Accept", &[("Accept", "text/html")]),
        ("Accept-Encoding", &[("Accept-Encoding", "gzip, br, zstd")]),
        ("Range", &[("Range", "bytes=0-1")]),
        ("If-Match", &[("If-Match", "\"0000000000000000-0000000000000000\"")]),
        ("If-Modified-Since", &[("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")]),
        ("If-Unmodified-Since", &[("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")]),
        ("Authorization", &[("Authorization", "Basic eDp5")]),
        ("Cookie", &[("Cookie", "a=b")]),
    ];
    let node = kask();
    node.post(&path("k"), "value");
    let rows: Vec<Row> =
        read.iter().map(|(name, headers)| row(name, get_with("k", headers), ok("value"))).collect();
    check(&node, &rows);

    let absent = "\"0000000000000000-0000000000000000\"";
    let rows = [
        row("If-Match on POST", post("k", &[("If-Match", absent)], b"a"), created()),
        row("If-None-Match: * on POST", post("k", &[("If-None-Match", "*")], b"b"), created()),
        row(
            "If-Unmodified-Since",
            post("k", &[("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")], b"c"),
            created(),
        ),
        row("Content-Type", post("k", &[("Content-Type", "no type at all")], b"d"), created()),
        row("Content-Encoding", post("k", &[("Content-Encoding", "gzip")], b"e"), created()),
        row("the last one is stored as it came", get("k"), ok("e")),
        row("If-Match on DELETE", with_method("DELETE", "k", &[("If-Match", absent)]), deleted()),
        row("it is deleted", get("k"), not_found()),
    ];
    check(&node, &rows);
}

#[test]
fn a_version_is_new_with_each_write_and_grows() {
    let node = kask();
    let first = node.post(&path("k"), "same");
    let read = node.get(&path("k"));
    assert_eq!(etag(&read), etag(&first), "GET has the version that POST made");
    let head = node.request(with_method("HEAD", "k", &[]));
    assert_eq!(etag(&head), etag(&first), "and HEAD");
    assert_eq!(expires(&head), expires(&read));
    let second = node.post(&path("k"), "same");
    let clock = |response: &Response| etag(response)[1..17].to_owned();
    assert!(clock(&first) < clock(&second), "{} then {}", etag(&first), etag(&second));
    node.delete(&path("k"));
    let third = node.post(&path("k"), "same");
    assert!(clock(&second) < clock(&third), "{} then {}, over a delete", etag(&second), etag(&third));
}

#[test]
fn a_client_that_has_the_version_is_not_sent_the_value() {
    let node = kask();
    let old = etag(&node.post(&path("k"), "old"));
    let current = etag(&node.post(&path("k"), "value"));
    let weak = format!("W/{current}");
    let list = format!("{old}, {current}");
    let none = "\"0000000000000000-0000000000000000\"";
    let asks = |tag: &str| get_with("k", &[("If-None-Match", tag)]);
    let rows = [
        row("this version", asks(&current), not_modified()),
        row("this version, HEAD", with_method("HEAD", "k", &[("If-None-Match", &current)]), not_modified()),
        row("a weak tag", asks(&weak), not_modified()),
        row("one of a list", asks(&list), not_modified()),
        row("any version", asks("*"), not_modified()),
        row(
            "two lines",
            get_with("k", &[("If-None-Match", &old), ("If-None-Match", &current)]),
            not_modified(),
        ),
        row("an older version", asks(&old), ok("value")),
        row("another version", asks(none), ok("value")),
        row(
            "another version, HEAD",
            with_method("HEAD", "k", &[("If-None-Match", none)]),
            ok("value").without_body(),
        ),
        row("no tag at all", asks("rubbish"), ok("value")),
        row("of an absent session", get_with("absent", &[("If-None-Match", "*")]), not_found()),
    ];
    check(&node, &rows);
    let not_sent = node.request(asks(&current));
    assert_eq!(etag(&not_sent), current);
}

#[test]
fn a_session_lives_for_the_stores_ttl_and_each_write_begins_it_anew() {
    let node = kask();
    let before = unix_seconds();
    node.post(&path("k"), "v");
    let first = expires(&node.get(&path("k")));
    assert!(
        (before + TTL_S..=unix_seconds() + TTL_S + ROUNDING_S).contains(&(first + 1)),
        "{first} from {before}"
    );
    eventually("a new second", Duration::from_secs(5), || (before + 1 < unix_seconds()).then_some(()));
    node.post(&path("k"), "v");
    let second = expires(&node.get(&path("k")));
    assert!(first < second, "{first} then {second}");
}

#[test]
fn a_write_may_bring_its_own_ttl_within_the_stores() {
    let with = |ttl: &str| post("k", &[("Session-Ttl", ttl)], b"v");
    let refused = || bad_request(&["Session-Ttl"], KEY);
    let twice = post("k", &[("Session-Ttl", "5"), ("Session-Ttl", "6")], b"v");
    let malformed = [
        row("nothing", with(""), refused()),
        row("0", with("0"), refused()),
        row("negative", with("-1"), refused()),
        row("one over max_ttl", with("86401"), refused()),
        row("over 64 bits", with("18446744073709551616"), refused()),
        row("a fraction", with("1.5"), refused()),
        row("an exponent", with("1e3"), refused()),
        row("a word", with("forever"), refused()),
        row("a unit", with("60s"), refused()),
        row("hexadecimal", with("0x10"), refused()),
        row("two in one line", with("5, 6"), refused()),
        row("two lines", twice, refused()),
        row("nothing was stored", get("k"), not_found()),
    ];
    let node = kask();
    let malformed: Vec<Row> = malformed
        .into_iter()
        .map(
            |row| {
                if row.expect.status == 400 { Row { expect: row.expect.unread_body(), ..row } } else { row }
            },
        )
        .collect();
    check(&node, &malformed);

    for (ttl, seconds) in [("1000", 1000), ("86400", TTL_S), ("  60  ", 60)] {
        let before = unix_seconds();
        let written = node.request(with(ttl));
        assert_eq!(compare(&created(), &written), Ok(()), "{ttl}");
        let expires = expires(&node.get(&path("k")));
        let latest = unix_seconds() + seconds + ROUNDING_S;
        assert!((before + seconds..=latest).contains(&(expires + 1)), "{ttl}: {expires} from {before}");
    }
    node.post(&path("k"), "v");
    assert!(
        unix_seconds() + 1000 < expires(&node.get(&path("k"))),
        "a write without it has the store's again"
    );
    let in_lower_case = node.request(post("lower", &[("session-ttl", "30")], b"v"));
    assert_eq!(in_lower_case.status, 201, "{}", in_lower_case.everything());
    let end = expires(&node.get(&path("lower")));
    assert!(end <= unix_seconds() + 30, "a header's name has no case: {end}");
    for method in ["GET", "HEAD", "DELETE"] {
        let asked = node.request(with_method(method, "k", &[("Session-Ttl", "60")]));
        assert_eq!(asked.status, 400, "{method} obeys no TTL: {}", asked.everything());
    }
    assert_eq!(node.get(&path("k")).status, 200);
}

#[test]
fn an_expired_session_is_gone_by_itself() {
    let node = kask();
    node.post(&path("long"), "stays");
    let begun = Instant::now();
    assert_eq!(node.request(post("k", &[("Session-Ttl", "1")], b"v")).status, 201);
    let at_once = node.get(&path("k"));
    assert!(at_once.status == 200 || Duration::from_secs(1) <= begun.elapsed(), "{}", at_once.everything());
    let gone = eventually("the session expires", Duration::from_secs(10), || {
        Some(node.get(&path("k"))).filter(|response| response.status != 200)
    });
    assert!(Duration::from_millis(990) <= begun.elapsed(), "gone after {:?}", begun.elapsed());
    assert_eq!(compare(&not_found(), &gone), Ok(()));
    let rows = [
        row("HEAD agrees", with_method("HEAD", "k", &[]), not_found().without_body()),
        row("If-None-Match does not bring it back", get_with("k", &[("If-None-Match", "*")]), not_found()),
        row("DELETE", with_method("DELETE", "k", &[]), deleted()),
        row("a new session under its key", post("k", &[], b"new"), created()),
        row("is read", get("k"), ok("new")),
        row("others stay", get("long"), ok("stays")),
    ];
    check(&node, &rows);
}

#[test]
fn a_ttl_of_zero_in_the_configuration_never_expires() {
    let node = Node::serve("base_uri: /sessions/v1/\ndefault_ttl: 0\n");
    assert_eq!(node.post(&path("k"), "v").status, 201);
    let headers = vec![
        ("Content-Type", Is::Text("application/octet-stream")),
        ("Content-Length", Is::Text("1")),
        ("ETag", Is::Etag),
        ("Cache-Control", Is::Text("no-store")),
        ("Date", Is::Present),
    ];
    let endless = Expect {
        status: 200,
        headers: Headers::Exactly(headers),
        body: Body::Exactly(b"v".to_vec()),
        then: Then::Open,
    };
    check(&node, &[row("no Session-Expires", get("k"), endless)]);
    assert_eq!(node.delete(&path("k")).status, 204);
    assert_eq!(node.get(&path("k")).status, 404);
}

#[test]
fn a_session_header_that_is_not_understood_is_refused_by_name() {
    let names = |name: &'static [&'static str]| bad_request(name, KEY);
    let one = |name: &str, value: &str| post("k", &[(name, value)], b"v");
    let rows = [
        row("unknown on POST", one("Session-Bogus", "1"), names(&["Session-Bogus"]).unread_body()),
        row("a slip of Session-Ttl", one("Session-TTLs", "1"), names(&["Session-Ttls"]).unread_body()),
        row("a bare prefix", one("Session-", "1"), names(&["Session-"]).unread_body()),
        row("of the answer", one("Session-Expires", "1"), names(&["Session-Expires"]).unread_body()),
        row("unknown on GET", get_with("k", &[("Session-Bogus", "1")]), names(&["Session-Bogus"])),
        row(
            "unknown on DELETE",
            with_method("DELETE", "k", &[("Session-Bogus", "1")]),
            names(&["Session-Bogus"]),
        ),
        row(
            "unknown on HEAD",
            with_method("HEAD", "k", &[("Session-Bogus", "1")]),
            names(&["Session-Bogus"]).without_body(),
        ),
        row("Session-Principal", one("Session-Principal", "42"), names(&["Session-Principal"]).unread_body()),
        row("Session-Reason", one("Session-Reason", "logout"), names(&["Session-Reason"]).unread_body()),
        row("Session-From", one("Session-From", "anon/old"), names(&["Session-From"]).unread_body()),
        row(
            "Session-From without a body",
            post("k", &[("Session-From", "anon/old")], b""),
            names(&["Session-From"]),
        ),
        row("nothing was stored", get("k"), not_found()),
        row("no prefix of ours", one("Sessions", "1"), created()),
        row("nor Kask's clients'", one("X-Session-Ttl", "1"), created()),
    ];
    check(&kask(), &rows);
}

#[test]
fn patch_is_refused_with_a_reason() {
    let says: &[&str] = &["patch", "method"];
    let rows = [
        row("without a body", with_method("PATCH", SECRET, &[("Session-Ttl", "60")]), bad_request(says, KEY)),
        row("without anything", with_method("PATCH", SECRET, &[]), bad_request(says, KEY)),
        row("with a body", message("PATCH", &path(SECRET), &[], b"v"), bad_request(says, KEY).unread_body()),
        row("nothing was stored", get(SECRET), not_found()),
    ];
    check(&kask(), &rows);
}

#[test]
fn what_was_acknowledged_is_there_after_the_process_ended() {
    let mut node = kask();
    node.post(&path("kept"), "one");
    node.post(&path("deleted"), "two");
    node.delete(&path("deleted"));
    let version = etag(&node.get(&path("kept")));
    let exit = node.terminate();
    assert!(exit.success(), "{exit} after SIGTERM\n{}", node.tail());
    node.restart();
    assert_eq!(etag(&node.get(&path("kept"))), version);
    node.post(&path("late"), "three");
    node.kill9();
    assert!(node.try_request(get("kept")).is_err(), "a killed node answers nothing");
    node.restart();
    assert_eq!(node.get(&path("kept")).text(), "one");
    assert_eq!(node.get(&path("late")).text(), "three");
    assert_eq!(node.get(&path("deleted")).status, 404);
}

#[test]
fn a_development_node_speaks_the_same_contract() {
    let node = Node::dev();
    let rows = [
        row("absent", get(SECRET), not_found()),
        row("written", post(SECRET, &[], b"v"), created()),
        row("read", get(SECRET), ok("v")),
        row("deleted", with_method("DELETE", SECRET, &[]), deleted()),
    ];
    check(&node, &rows);
}
