//! Whether two data centres hold the same: what `solera diff` and the metric say, and that lag is no difference.

use std::{fs, net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Connection, Node, Response, TwoDcs, eventually, message, program};

/// From a write in one data centre to the other.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// From a difference to the metric that tells it, or back: data centres are compared every 30 s, with a few looks a second apart.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

fn diff(node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let admin = node.admin_address.to_string();
    program(&[&["diff"], arguments, &["--admin", &admin]].concat())
}

fn ask(address: SocketAddr, method: &str, target: &str, dc: Option<&str>, body: &str) -> Response {
    let headers: Vec<_> = dc.map(|dc| ("Session-Dc", dc)).into_iter().collect();
    let headers = [&headers[..], &[("Content-Type", "application/json")]].concat();
    let request = message(method, target, &headers, body.as_bytes());
    Connection::open(address).and_then(|mut connection| connection.exchange(request)).unwrap()
}

fn hashes(node: &Node) -> Value {
    let answer = ask(node.admin_address, "GET", "/v1/stores/sessions/hashes", None, "");
    assert_eq!(answer.status, 200, "{}", answer.everything());
    answer.json()
}

/// Once the cells that a start finds have been counted.
fn hashes_in_time(node: &Node) -> Value {
    eventually("the cells are counted", ARRIVES_WITHIN, || {
        let answer = ask(node.admin_address, "GET", "/v1/stores/sessions/hashes", None, "");
        (answer.status == 200).then(|| answer.json())
    })
}

/// `None` while they have not been compared.
fn agree(node: &Node, peer: &str) -> Option<u64> {
    let metrics = node.get("/metrics");
    let line = format!("solera_dcs_agree{{peer=\"{peer}\",store=\"sessions\"}} ");
    metrics.text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
}

fn agrees(node: &Node, peer: &str, expected: u64) {
    eventually(&format!("it says {expected} of {peer}"), TOLD_WITHIN, || {
        (agree(node, peer) == Some(expected)).then_some(())
    });
}

fn arrives(at: &Node, key: &str) {
    eventually("the session arrives", ARRIVES_WITHIN, || (at.get(key).status == 200).then_some(()));
}

fn key_id(node: &Node, key: &str) -> String {
    let problem = node.get(key).json();
    problem["instance"].as_str().unwrap().rsplit_once('~').unwrap().1.to_owned()
}

/// Says that of eqiad's log all that is there now was copied to codfw, which does not run.
fn skip_what_eqiad_wrote(dcs: &TwoDcs) {
    let written = hashes(&dcs.eqiad)["positions"]["eqiad.sessions"].clone();
    let file = dcs.codfw.data_dir().join("log/eqiad.sessions.copied");
    let mut copied: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_ne!(copied["next"], written);
    copied["next"] = written;
    fs::write(&file, copied.to_string()).unwrap();
}

#[test]
fn what_was_lost_on_its_way_is_named_and_the_metric_tells_until_it_is_mended() {
    let mut dcs = TwoDcs::start();
    for n in 0..200 {
        let key = format!("/sessions/v1/k{n}");
        let (here, there) = if n % 2 == 0 { (&dcs.eqiad, &dcs.codfw) } else { (&dcs.codfw, &dcs.eqiad) };
        assert_eq!(here.post(&key, "contents").status, 201);
        if n % 10 == 0 {
            arrives(there, &key);
            assert_eq!(there.delete(&key).status, 204);
        }
    }
    let (code, said) = diff(&dcs.eqiad, &["eqiad", "codfw"]);
    assert_eq!(
        (code, &*said),
        (Some(0), "sessions: eqiad has 200 cells and codfw 200, and they are equal\n")
    );
    let (code, said) = diff(&dcs.codfw, &["eqiad", "codfw", "-o", "json", "--store", "sessions"]);
    assert_eq!(code, Some(0), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said[0]["equal"], &said[0]["keys"]), (&json!(true), &json!([])));
    agrees(&dcs.eqiad, "codfw", 1);
    agrees(&dcs.codfw, "eqiad", 1);

    // An overwritten session, one that is new, and one that was deleted: codfw never hears of the first two.
    let (overwritten, new) = ("/sessions/v1/k2", "/sessions/v1/new");
    let ids = [key_id(&dcs.eqiad, new), {
        assert_eq!(dcs.eqiad.delete(overwritten).status, 204);
        key_id(&dcs.eqiad, overwritten)
    }];
    dcs.codfw.kill9();
    assert_eq!(dcs.eqiad.post(new, "contents").status, 201);
    assert_eq!(dcs.eqiad.post(overwritten, "more contents").status, 201);
    skip_what_eqiad_wrote(&dcs);
    dcs.codfw.restart();
    assert_eq!(dcs.codfw.get(new).status, 404);

    for node in [&dcs.eqiad, &dcs.codfw] {
        let (code, said) = diff(node, &["eqiad", "codfw"]);
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("eqiad has 201 cells and codfw 200, and they differ in 2 keys\n"), "{said}");
        let of =
            |id: &str| said.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("{id}: {said}"));
        assert!(of(&ids[0]).contains("eqiad: set ") && of(&ids[0]).ends_with("codfw: nothing"), "{said}");
        assert!(of(&ids[1]).contains("eqiad: set ") && of(&ids[1]).contains("codfw: delete "), "{said}");
        assert!(said.contains("solera: eqiad and codfw differ in 2 keys"), "{said}");
    }
    agrees(&dcs.codfw, "eqiad", 0);
    agrees(&dcs.eqiad, "codfw", 0);
    let line = dcs.codfw.wait_for_log("the difference", |line| {
        line["msg"].as_str().is_some_and(|said| said.contains("do not hold the same of 2 keys of sessions"))
    });
    assert!(ids.iter().all(|id| line["msg"].as_str().unwrap().contains(id)), "{line}");

    // Written again, and deleted everywhere: both are newer than what was lost.
    assert_eq!(dcs.eqiad.post(new, "contents").status, 201);
    assert_eq!(dcs.codfw.delete(overwritten).status, 204);
    arrives(&dcs.codfw, new);
    let (code, said) = diff(&dcs.codfw, &["codfw", "eqiad"]);
    assert_eq!(
        (code, &*said),
        (Some(0), "sessions: codfw has 201 cells and eqiad 201, and they are equal\n")
    );
    agrees(&dcs.codfw, "eqiad", 1);
    agrees(&dcs.eqiad, "codfw", 1);
}

#[test]
fn what_has_not_arrived_yet_is_lag_and_no_difference() {
    let dcs = TwoDcs::start();
    assert_eq!(dcs.eqiad.post("/sessions/v1/before", "contents").status, 201);
    arrives(&dcs.codfw, "/sessions/v1/before");
    // Codfw cannot copy what eqiad writes, and answers what eqiad asks.
    dcs.to_eqiad.cut();
    assert_eq!(dcs.eqiad.post("/sessions/v1/late", "contents").status, 201);
    let (code, said) = diff(&dcs.eqiad, &["eqiad", "codfw"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("codfw has not applied all of eqiad.sessions"), "{said}");
    assert_ne!(agree(&dcs.eqiad, "codfw"), Some(0));
    let (code, said) = diff(&dcs.codfw, &["eqiad", "codfw"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("eqiad did not answer in time"), "{said}");
    dcs.to_eqiad.mend();
    arrives(&dcs.codfw, "/sessions/v1/late");
    let (code, said) = diff(&dcs.codfw, &["eqiad", "codfw"]);
    assert_eq!(code, Some(0), "{said}");
    agrees(&dcs.eqiad, "codfw", 1);
}

#[test]
fn who_is_asked_for_what_there_is_not_says_so() {
    let dcs = TwoDcs::start();
    for (arguments, expected, why) in [
        (&["eqiad", "esams"][..], 3, "knows no data centre esams"),
        (&["esams", "codfw"], 3, "a node of eqiad"),
        (&["eqiad", "eqiad"], 3, "a node of eqiad"),
        (&["eqiad", "codfw", "--store", "others"], 3, "no store"),
        (&["eqiad"], 2, "Usage"),
    ] {
        let (code, said) = diff(&dcs.eqiad, arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert!(said.contains(why), "{said}");
    }
    let (code, said) = program(&["diff", "eqiad", "codfw", "--admin", "127.0.0.1:1"]);
    assert_eq!(code, Some(4), "{said}");

    let beacon = r#"{"beacon":"000000000000000a"}"#;
    for (method, target, dc, body, status) in [
        ("GET", "/v1/hashes/sessions?cut=1", Some("codfw"), "", 200),
        ("GET", "/v1/hashes/sessions?cut=1&bucket=4095", Some("codfw"), "", 200),
        ("GET", "/v1/hashes/sessions?bucket=4096", Some("codfw"), "", 400),
        ("GET", "/v1/hashes/sessions?bucket=1&beacon=0000000000000bad", Some("codfw"), "", 503),
        ("GET", "/v1/hashes/others", Some("codfw"), "", 404),
        ("GET", "/v1/hashes/sessions", None, "", 403),
        ("POST", "/v1/beacons/sessions", Some("codfw"), beacon, 200),
        ("POST", "/v1/beacons/sessions", Some("codfw"), "{}", 400),
        ("POST", "/v1/beacons/others", Some("codfw"), beacon, 404),
        ("POST", "/v1/beacons/sessions", None, beacon, 403),
    ] {
        let answer = ask(dcs.peers_of_eqiad, method, target, dc, body);
        assert_eq!(answer.status, status, "{method} {target} {dc:?}: {}", answer.everything());
    }
    for (target, status) in [
        ("/v1/stores/sessions/hashes?cut=1", 200),
        ("/v1/stores/others/hashes", 404),
        ("/v1/stores/sessions/hashes?cut=soon", 400),
        ("/v1/stores/sessions/hashes?cut=1&bucket=1", 400),
        ("/v1/stores/sessions/diff", 400),
    ] {
        let answer = ask(dcs.eqiad.admin_address, "GET", target, None, "");
        assert_eq!(answer.status, status, "{target}: {}", answer.everything());
    }
}

#[test]
fn the_sums_are_the_same_after_a_crash_and_a_rebuild_and_under_a_cut_that_leaves_all_out() {
    let mut node = Node::serve("base_uri: /sessions/v1\ndefault_ttl: 3600\n");
    for n in 0..300 {
        assert_eq!(node.post(&format!("/sessions/v1/k{}", n % 200), "contents").status, 201);
    }
    assert_eq!(node.delete("/sessions/v1/k0").status, 204);
    let said = |node: &Node| {
        let hashes = hashes_in_time(node);
        (hashes["cells"].clone(), hashes["sums"].clone())
    };
    let before = said(&node);
    assert_eq!(before.0, 200);
    assert_eq!(before.1.as_str().unwrap().len(), 4096 * 16);
    node.kill9();
    node.restart();
    assert_eq!(said(&node), before);
    let (code, told) = program(&["rebuild", "--admin", &node.admin_address.to_string()]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(said(&node), before);
    let late = ask(node.admin_address, "GET", "/v1/stores/sessions/hashes?cut=99999999", None, "").json();
    assert_eq!((&late["cells"], &late["cut"]), (&json!(0), &json!(99_999_999)));
    assert!(late["sums"].as_str().unwrap().bytes().all(|digit| digit == b'0'));
}
