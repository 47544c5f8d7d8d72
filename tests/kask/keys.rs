//! Which spellings of a path name the same session, and which name another.

use super::table::{check, created, get, no_key, not_found, ok, post, row, with_method};
use super::{BASE, SECRET, kask};
use crate::harness::{Node, message};

/// A key as one client writes it and as another reads it.
struct Spelling {
    name: &'static str,
    written: &'static [u8],
    read: &'static [u8],
    same: bool,
}

const SPELLINGS: &[Spelling] = &[
    same("a colon", b"wiki%3AMWSession%3Aab", b"wiki:MWSession:ab"),
    same("hex digits in any case", b"a%3ab", b"a%3Ab"),
    same("an escaped letter", b"%6Bey", b"key"),
    same("an escaped hyphen", b"a%2Db", b"a-b"),
    same("a plus is a plus", b"a+b", b"a%2Bb"),
    other("a plus is no space", b"plus+space", b"plus%20space"),
    same("a space", b"a%20b", b"a%20b"),
    same("an escaped question mark", b"foo%3Fbar", b"foo%3fbar"),
    other("no key ends at an escaped question mark", b"fo%3Fbar", b"fo"),
    same("an escaped number sign", b"a%23b", b"a%23b"),
    other("no key ends at an escaped number sign", b"ab%23c", b"ab"),
    same("a NUL", b"a%00b", b"a%00b"),
    other("no key ends at a NUL", b"abc%00d", b"abc"),
    same("a line end", b"a%0D%0Ab", b"a%0d%0ab"),
    same("UTF-8, escaped", b"caf%C3%A9", b"caf%c3%a9"),
    same("UTF-8, raw", "café".as_bytes(), b"caf%C3%A9"),
    other("UTF-8 is not normalised", b"na%C3%AFve", b"nai%CC%88ve"),
    same("invalid UTF-8", b"x%FFy", b"x%ffy"),
    other("invalid UTF-8 is not replaced", b"z%FF", b"z%EF%BF%BD"),
    other("one invalid byte is not another", b"w%FF", b"w%FE"),
    other("case counts", b"Case", b"case"),
    same("a percent sign", b"100%25", b"100%25"),
    other("decoded once, not twice", b"a%252Fb", b"a%25252Fb"),
    other("what is escaped twice stays escaped", b"%2541", b"A"),
    same("one dot", b".", b"%2e"),
    same("two dots", b"..", b"%2E%2e"),
    same("dots, half escaped", b".%2e", b"%2e."),
    same("three dots", b"...", b"%2e.."),
    other("one dot is not two", b".", b"..%2e%2e"),
    same("semicolon, comma, equals", b"a;b,c=d", b"a%3Bb%2Cc%3Dd"),
    same("an at sign and a tilde", b"~a@b", b"%7Ea%40b"),
    same("raw marks that other servers refuse", b"a|b{c}d^e\"f\\g[h]", b"a%7Cb%7Bc%7Dd%5Ee%22f%5Cg%5Bh%5D"),
    same("an escaped less-than sign", b"a%3Cb%3E", b"a%3cb%3e"),
    same("a key that looks like a key id", b"~AAAAAAAAAAAAAAAAAAAAAA", b"~AAAAAAAAAAAAAAAAAAAAAA"),
    same("a key that looks like a reserved path", b"healthz", b"health%7A"),
];

const fn same(name: &'static str, written: &'static [u8], read: &'static [u8]) -> Spelling {
    Spelling { name, written, read, same: true }
}

const fn other(name: &'static str, written: &'static [u8], read: &'static [u8]) -> Spelling {
    Spelling { name, written, read, same: false }
}

fn raw(method: &str, key: &[u8], body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = [method.as_bytes(), b" ", BASE.as_bytes(), key, b" HTTP/1.1\r\nHost: x\r\n"].concat();
    [head, format!("Content-Length: {length}\r\n\r\n").into_bytes(), body.to_vec()].concat()
}

#[test]
fn a_key_is_the_decoded_bytes_of_one_segment() {
    let node = kask();
    for Spelling { name, written, read, same } in SPELLINGS {
        let posted = node.request(raw("POST", written, name.as_bytes()));
        assert_eq!(posted.status, 201, "{name}: {}", posted.everything());
        let found = node.request(raw("GET", read, b""));
        let is_same = found.status == 200 && found.body == name.as_bytes();
        assert!(is_same || found.status == 404, "{name}: {}", found.everything());
        assert_eq!(is_same, *same, "{name}: {}", found.everything());
        if *same {
            assert_eq!(node.request(raw("DELETE", read, b"")).status, 204, "{name}");
            assert_eq!(
                node.request(raw("GET", written, b"")).status,
                404,
                "{name}, deleted by its other spelling"
            );
        }
    }
}

#[test]
fn an_instance_names_the_key_id_and_the_same_key_has_the_same() {
    let node = kask();
    let instance = |rest: &str| {
        let response = node.request(get(rest));
        assert_eq!(response.status, 404, "{}", response.everything());
        assert!(!response.everything().contains(SECRET), "{}", response.everything());
        response.json()["instance"].as_str().expect("an instance").to_owned()
    };
    let plain = instance(&format!("{SECRET}:1"));
    assert_eq!(instance(&format!("{SECRET}%3A1")), plain, "another spelling, the same key");
    assert_ne!(instance(&format!("{SECRET}:2")), plain, "another key");
    let refused = node.request(with_method("PUT", &format!("{SECRET}:1"), &[]));
    assert_eq!(refused.json()["instance"], plain.as_str(), "another problem, the same key");
}

#[test]
fn a_key_is_never_cut_at_another_base_uri() {
    let other = "k%2Fsessions%2Fv1%2Fother";
    let rows = [
        row("k is written", post("k", &[], b"the value of k"), created()),
        row("an escaped base in the key, POST", post(other, &[], b"x"), no_key().unread_body()),
        row("an escaped base in the key, GET", get(other), no_key()),
        row("an escaped base in the key, DELETE", with_method("DELETE", other, &[]), no_key()),
        row("a raw base in the key", post("k/sessions/v1/other", &[], b"x"), no_key().unread_body()),
        row("the base itself as a key", post("sessions%2Fv1%2F", &[], b"x"), no_key().unread_body()),
        row("k is untouched", get("k"), ok("the value of k")),
        row("the other was not written", get("other"), not_found()),
    ];
    check(&kask(), &rows);
}

#[test]
fn under_the_root_a_key_is_not_cut_either_and_reserved_paths_win() {
    let node = Node::serve("base_uri: /\n");
    assert_eq!(node.post("/a", "the value of a").status, 201);
    for target in ["/a%2Fb", "/a/b", "//a", "/"] {
        let refused = node.post(target, "x");
        assert_eq!(refused.status, 404, "{target}: {}", refused.everything());
        assert_eq!(refused.json()["instance"], "/", "{target}");
    }
    assert_eq!(node.get("/a").text(), "the value of a");
    let absent = node.get("/absent");
    assert_eq!(absent.status, 404);
    let instance = absent.json()["instance"].as_str().expect("an instance").to_owned();
    assert!(instance.starts_with("/~"), "{instance}");

    for reserved in ["/healthz", "/livez", "/readyz", "/startupz", "/metrics", "/openapi"] {
        let response = node.request(message("GET", reserved, &[], b""));
        assert_eq!(response.status, 200, "{reserved}: {}", response.everything());
        assert_eq!(response.header("ETag"), None, "{reserved} is no session");
    }
    assert_eq!(
        node.post("/health%7A", "an ordinary key").status,
        201,
        "reserved paths are compared as they are sent"
    );
    assert_eq!(node.get("/health%7A").text(), "an ordinary key");
}
