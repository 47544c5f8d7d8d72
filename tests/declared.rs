//! Data centres that an operator declares down: deletes go on without them, and they serve nobody again before they hold what
//! was deleted meanwhile.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;

use crate::{
    faults::clocks::library,
    harness::{Connection, Launch, Node, TwoDcs, eventually, message, program},
};

/// From an order to what it changes, or from a mended cable to the first answer.
const WITHIN: Duration = Duration::from_secs(15);

fn arrives(at: &Node, key: &str) {
    eventually("the session arrives", WITHIN, || (at.get(key).status == 200).then_some(()));
}

/// Gives an order as an operator does: exit code and what is said.
fn peers(at: &Node, words: &[&str]) -> (Option<i32>, String) {
    let admin = at.admin_address.to_string();
    program(&[&["peers"], words, &["--admin", &admin]].concat())
}

fn order(at: &Node, dc: &str, body: &str) -> (u16, String) {
    let request = message("PUT", &format!("/v1/peers/{dc}"), &[], body.as_bytes());
    let answer = Connection::open(at.admin_address).and_then(|mut to| to.exchange(request)).unwrap();
    (answer.status, answer.text().to_owned())
}

fn metric(at: &Node, line: &str) -> bool {
    at.get("/metrics").text().lines().any(|found| found == line)
}

fn readyz(at: &Node) -> String {
    at.get("/readyz?verbose").text().to_owned()
}

#[test]
fn deletes_go_on_without_one_that_is_declared_down_and_it_serves_nobody_before_it_holds_them() {
    let dcs = TwoDcs::start();
    let (eqiad, codfw) = (&dcs.eqiad, &dcs.codfw);
    let keys: Vec<_> = (0..300).map(|n| format!("/sessions/v1/k{n}")).collect();
    for key in &keys {
        assert_eq!(codfw.post(key, "contents").status, 201);
    }
    arrives(eqiad, keys.last().unwrap());
    dcs.to_codfw.cut();
    dcs.to_eqiad.cut();
    eventually("codfw does not acknowledge", WITHIN, || {
        (eqiad.delete("/sessions/v1/other").status == 503).then_some(())
    });
    // Written there while nobody hears of it, and deleted here without asking: the delete is to win.
    for key in &keys[..100] {
        assert_eq!(codfw.post(key, "unheard").status, 201);
    }

    let (code, said) = peers(eqiad, &["set", "codfw", "down", "--i-have-depooled"]);
    assert_eq!((code, said.as_str()), (Some(0), "codfw is declared down: deletes go on without it\n"));
    assert!(metric(eqiad, "solera_dc_declared_down{dc=\"codfw\"} 1"));
    assert!(peers(eqiad, &[]).1.contains("codfw                down      up"), "{}", peers(eqiad, &[]).1);
    for key in &keys {
        assert_eq!(eqiad.delete(key).status, 204);
        assert_eq!(eqiad.get(key).status, 404);
    }
    // Written again after that, within the margin that the deletes are ahead.
    let again = &keys[299];
    assert_eq!(eqiad.post(again, "again").status, 201);
    assert_eq!(eqiad.get(again).text(), "again");
    assert_eq!(codfw.get(&keys[0]).status, 200, "nobody has told it");

    dcs.to_eqiad.mend();
    eventually("codfw learns that it is down", WITHIN, || {
        (codfw.get(&keys[0]).status == 503 && readyz(codfw).contains("codfw is declared down by eqiad"))
            .then_some(())
    });
    assert_eq!(codfw.post("/sessions/v1/new", "contents").status, 503);
    dcs.to_codfw.mend();
    let (code, said) = peers(codfw, &["set", "eqiad", "down", "--i-have-depooled"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("codfw is declared down itself")
            && !metric(codfw, "solera_dc_declared_down{dc=\"eqiad\"} 1"),
        "{said}"
    );

    let (code, said) = peers(eqiad, &["set", "codfw", "up"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "codfw is declared up, and each of its nodes is back: you may pool codfw\n")
    );
    // From here on, at once: no waiting.
    for key in &keys[..299] {
        assert_eq!((codfw.get(key).status, eqiad.get(key).status), (404, 404), "{key}");
    }
    assert_eq!(codfw.get(again).text(), "again");
    assert!(metric(eqiad, "solera_dc_declared_down{dc=\"codfw\"} 0"));
    let own = skipping_tombstones(&dcs);
    assert!(299 <= own, "the tombstones stand in its own log: {own}");
    eventually("deletes ask it again", WITHIN, || (eqiad.delete(again).status == 204).then_some(()));
    assert_eq!(codfw.get(again).status, 404);
    assert_eq!(codfw.delete("/sessions/v1/new").status, 204, "and it asks eqiad");
}

/// How many deletes codfw's own log holds that went on without codfw.
fn skipping_tombstones(dcs: &TwoDcs) -> usize {
    let mut found = 0;
    for partition in 0..4 {
        let mut from = 0;
        loop {
            let target = format!("/v1/log/codfw.sessions/{partition}?from={from}");
            let request = message("GET", &target, &[("Session-Dc", "eqiad")], b"");
            let piece = Connection::open(dcs.peers_of_codfw).and_then(|mut to| to.exchange(request)).unwrap();
            let next: u64 = piece.header("log-next").unwrap().parse().unwrap();
            if next == from {
                break;
            }
            from = next;
            let records = eventlog::frames::decode(piece.body.into()).unwrap();
            found += records.iter().filter(|entry| entry.record.headers.get("d") == Some(b"codfw")).count();
        }
    }
    found
}

#[test]
fn a_data_centre_that_is_down_stays_so_over_restarts_and_without_its_view() {
    let mut dcs = TwoDcs::start();
    assert_eq!(dcs.codfw.post("/sessions/v1/k", "contents").status, 201);
    arrives(&dcs.eqiad, "/sessions/v1/k");
    dcs.codfw.kill9();
    assert_eq!(peers(&dcs.eqiad, &["set", "codfw", "down", "--i-have-depooled"]).0, Some(0));
    dcs.eqiad.kill9();
    std::fs::remove_dir_all(dcs.eqiad.data_dir().join("view")).unwrap();
    // Codfw does not answer, and what eqiad had copied of it before is there.
    dcs.eqiad.restart();
    assert_eq!(dcs.eqiad.delete("/sessions/v1/k").status, 204, "the log remembers what was declared");

    std::fs::remove_dir_all(dcs.codfw.data_dir().join("view")).unwrap();
    dcs.codfw.start_again();
    eventually("codfw reads that it is down", WITHIN, || {
        let readyz = dcs.codfw.try_request(message("GET", "/readyz?verbose", &[], b""));
        readyz.is_ok_and(|answer| answer.text().contains("codfw is declared down by eqiad")).then_some(())
    });
    assert_eq!(dcs.codfw.get("/sessions/v1/k").status, 503);
    assert_eq!(peers(&dcs.eqiad, &["set", "codfw", "up"]).0, Some(0));
    assert_eq!(dcs.codfw.get("/sessions/v1/k").status, 404);
    dcs.codfw.kill9();
    std::fs::remove_dir_all(dcs.codfw.data_dir().join("view")).unwrap();
    dcs.codfw.restart();
    assert_eq!(dcs.codfw.get("/sessions/v1/k").status, 404);
}

#[test]
fn one_that_comes_back_while_another_is_down_is_told_of_it() {
    let first = Launch::dev().argument("--dcs").argument("3").start();
    let at = |address: SocketAddr, n: u16| SocketAddr::from((address.ip(), address.port() + n));
    let (dc1, dc2) = (0, 1);
    let ask = |n, method: &str, target: &str| {
        let request = message(method, target, &[], b"");
        Connection::open(at(first.address, n)).and_then(|mut to| to.exchange(request)).unwrap().status
    };
    for n in 0..3 {
        eventually("it is ready", WITHIN, || (ask(n, "GET", "/readyz") == 200).then_some(()));
    }
    let peers = |n: u16, words: &[&str]| {
        let admin = at(first.admin_address, n).to_string();
        program(&[&["peers"], words, &["--admin", &admin]].concat())
    };
    let ordered = |n, dc, words: &[&str]| {
        let (code, said) = peers(n, &[&["set", dc], words].concat());
        assert_eq!(code, Some(0), "{dc} {words:?}: {said}");
    };
    let at_dc2 = |declared: &str| {
        let (_, said) = peers(dc2, &[]);
        let line = said.lines().find(|line| line.starts_with("dc3")).unwrap_or_default().to_owned();
        assert_eq!(line.split_whitespace().nth(1), Some(declared), "{said}");
    };
    let down = ["down", "--i-have-depooled"];
    ordered(dc1, "dc2", &down);
    ordered(dc1, "dc3", &down);
    at_dc2("up");
    ordered(dc1, "dc2", &["up"]);
    at_dc2("down");
    let key = "/sessions/v1/k";
    assert_eq!(ask(dc2, "DELETE", key), 204);
    // Both that are up are told, one of which takes the order.
    ordered(dc2, "dc3", &["up"]);
    at_dc2("up");
    assert_eq!([0, 1, 2].map(|n| ask(n, "DELETE", key)), [204; 3]);
}

#[test]
fn one_whose_clock_was_far_ahead_is_declared_down_only_when_the_operator_has_waited() {
    let mut dcs = TwoDcs::start();
    let clock = format!("FAKETIME=+120 DONT_FAKE_MONOTONIC=1 LD_PRELOAD='{}'", library().display());
    dcs.codfw.through(Some(&format!("{clock} exec \"$@\"")));
    dcs.codfw.restart();
    dcs.eqiad.wait_for_log("codfw's clock", |line| line.to_string().contains("What codfw acknowledges is 1"));
    let down = ["set", "codfw", "down", "--i-have-depooled"];
    let (code, said) = peers(&dcs.eqiad, &down);
    assert!(code == Some(4) && said.contains("what codfw acknowledges is 1"), "{code:?} {said}");
    assert!(metric(&dcs.eqiad, "solera_dc_declared_down{dc=\"codfw\"} 0"));
    let (code, said) = peers(&dcs.eqiad, &[&down[..], &["--i-have-waited"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(metric(&dcs.eqiad, "solera_dc_declared_down{dc=\"codfw\"} 1"));
}

#[test]
fn an_order_that_cannot_be_meant_is_refused() {
    let dcs = TwoDcs::start();
    let eqiad = &dcs.eqiad;
    let (code, said) = peers(eqiad, &["set", "codfw", "down"]);
    assert!(code == Some(1) && said.contains("--i-have-depooled"), "{said}");
    assert_eq!(peers(eqiad, &["set", "esams", "down", "--i-have-depooled"]).0, Some(3));
    assert_eq!(peers(eqiad, &["set", "codfw", "sideways"]).0, Some(2));
    for (dc, body, status) in [
        ("codfw", "{\"state\":\"down\"}", 400),
        ("codfw", "{\"state\":\"sideways\",\"depooled\":true}", 400),
        ("codfw", "{\"state\":\"down\",\"depooled\":true,\"now\":true}", 400),
        ("codfw", "", 400),
        ("eqiad", "{\"state\":\"down\",\"depooled\":true}", 400),
        ("esams", "{\"state\":\"down\",\"depooled\":true}", 404),
        ("Codfw", "{\"state\":\"up\"}", 404),
    ] {
        let (found, said) = order(eqiad, dc, body);
        assert_eq!(found, status, "{dc} {body}: {said}");
    }
    let listed = Connection::open(eqiad.admin_address)
        .and_then(|mut to| to.exchange(message("GET", "/v1/peers", &[], b"")))
        .unwrap();
    assert_eq!(listed.json(), json!({ "codfw": { "declared": "up", "declares_us": "up" } }));
    assert_eq!(eqiad.delete("/sessions/v1/k").status, 204);
}
