//! Several data centres: what one writes the others read, what one deletes is gone in all, and what cannot be confirmed is
//! not said to be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Authority, Connection, Launch, Node, Response, SECRET, TlsClient, TwoDcs, eventually, launch, message,
};
use rustls::version::TLS13;

/// From a write in one data centre to the other, or from a mended cable to the first confirmed delete.
const WITHIN: Duration = Duration::from_secs(10);

fn arrives(at: &Node, key: &str, contents: &str) {
    eventually("the session arrives", WITHIN, || {
        let answer = at.get(key);
        (answer.status == 200 && answer.text() == contents).then_some(())
    });
}

fn write(at: &Node, key: &str, contents: &str) {
    assert_eq!(at.post(key, contents).status, 201);
}

/// Who acknowledged a delete and who did not.
fn unconfirmed(answer: &Response) -> (Value, Vec<Value>) {
    assert_eq!(answer.status, 503, "{}", answer.everything());
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:solera:problem:delete_unconfirmed");
    assert_eq!(problem["outcome"], "partial");
    let names = problem["unconfirmed"].as_array().unwrap().iter().map(|dc| dc["dc"].clone());
    (problem["acknowledged"].clone(), names.collect())
}

#[test]
fn what_one_writes_the_other_reads_and_a_delete_is_gone_in_both_at_once() {
    let dcs = TwoDcs::start();
    for n in 0..20 {
        let key = format!("/sessions/v1/k{n}");
        let (here, there) = if n % 2 == 0 { (&dcs.eqiad, &dcs.codfw) } else { (&dcs.codfw, &dcs.eqiad) };
        write(here, &key, "contents");
        arrives(there, &key, "contents");
        assert_eq!(there.delete(&key).status, 204);
        assert_eq!((here.get(&key).status, there.get(&key).status), (404, 404), "{key}");
    }
    // One that the other data centre has not heard of yet, and one that nobody has.
    for n in 0..50 {
        let key = format!("/sessions/v1/at-once{n}");
        write(&dcs.eqiad, &key, "contents");
        assert_eq!(dcs.codfw.delete(&key).status, 204);
        assert_eq!((dcs.eqiad.get(&key).status, dcs.codfw.get(&key).status), (404, 404), "{key}");
    }
    assert_eq!(dcs.eqiad.delete("/sessions/v1/never").status, 204);
}

#[test]
fn one_process_runs_several_data_centres_to_try() {
    let first = Launch::dev().argument("--dcs").argument("3").start();
    let at = |n: u16| SocketAddr::from((first.address.ip(), first.address.port() + n));
    let ask = |n: u16, method: &str, body: &str| {
        let request = message(method, "/sessions/v1/k", &[], body.as_bytes());
        Connection::open(at(n)).and_then(|mut connection| connection.exchange(request)).unwrap()
    };
    assert_eq!(ask(0, "POST", "contents").status, 201);
    for n in [1, 2] {
        eventually("the session arrives", WITHIN, || (ask(n, "GET", "").status == 200).then_some(()));
    }
    assert_eq!(ask(2, "DELETE", "").status, 204);
    assert_eq!([0, 1, 2].map(|n| ask(n, "GET", "").status), [404; 3]);
}

#[test]
fn a_delete_names_who_is_cut_off_at_once_when_that_is_known_and_all_else_goes_on() {
    let dcs = TwoDcs::start();
    let key = "/sessions/v1/k";
    write(&dcs.eqiad, key, "contents");
    arrives(&dcs.codfw, key, "contents");
    dcs.to_codfw.cut();
    let began = Instant::now();
    let answer = dcs.eqiad.delete(key);
    assert_eq!(unconfirmed(&answer), (json!(["eqiad"]), vec![json!("codfw")]));
    assert!(began.elapsed() < Duration::from_secs(3), "MediaWiki would have given up");
    assert_eq!(dcs.eqiad.get(key).status, 404, "what can be reached is deleted");

    eventually("codfw is suspect", WITHIN, || {
        let began = Instant::now();
        let answer = dcs.eqiad.delete(key);
        assert_eq!(unconfirmed(&answer), (json!(["eqiad"]), vec![json!("codfw")]));
        (began.elapsed() < Duration::from_millis(50)).then_some(())
    });
    for n in 0..100 {
        let key = format!("/sessions/v1/meanwhile{n}");
        write(&dcs.eqiad, &key, "contents");
        assert_eq!(dcs.eqiad.get(&key).status, 200);
        write(&dcs.codfw, &format!("/sessions/v1/other{n}"), "contents");
    }
    assert!(0 < dcs.to_codfw.faults());

    dcs.to_codfw.mend();
    eventually("deletes are confirmed again", WITHIN, || (dcs.eqiad.delete(key).status == 204).then_some(()));
    assert_eq!(dcs.codfw.get(key).status, 404);
    arrives(&dcs.codfw, "/sessions/v1/meanwhile99", "contents");
    arrives(&dcs.eqiad, "/sessions/v1/other99", "contents");
}

#[test]
fn an_answer_that_is_lost_confirms_nothing_though_the_delete_took_effect() {
    let dcs = TwoDcs::start();
    let key = "/sessions/v1/k";
    write(&dcs.eqiad, key, "contents");
    arrives(&dcs.codfw, key, "contents");
    dcs.to_codfw.lose_answers();
    assert_eq!(unconfirmed(&dcs.eqiad.delete(key)), (json!(["eqiad"]), vec![json!("codfw")]));
    assert_eq!(dcs.codfw.get(key).status, 404);
    assert!(0 < dcs.to_codfw.faults());
}

#[test]
fn a_data_centre_that_died_or_lost_its_view_catches_up_with_what_it_missed() {
    let mut dcs = TwoDcs::start();
    for n in 0..100 {
        write(&dcs.eqiad, &format!("/sessions/v1/before{n}"), "contents");
    }
    arrives(&dcs.codfw, "/sessions/v1/before99", "contents");
    dcs.codfw.kill9();
    for n in 0..100 {
        write(&dcs.eqiad, &format!("/sessions/v1/after{n}"), "contents");
    }
    std::fs::remove_dir_all(dcs.codfw.data_dir().join("view")).unwrap();
    dcs.codfw.restart();
    for n in 0..100 {
        // Of what it had copied before, nobody is told that it is not there.
        assert_eq!(dcs.codfw.get(&format!("/sessions/v1/before{n}")).status, 200, "{n}");
        // Nor of what came meanwhile: it is copied before the node is ready.
        assert_eq!(dcs.codfw.get(&format!("/sessions/v1/after{n}")).status, 200, "{n}");
    }
    eventually("eqiad finds codfw again", WITHIN, || {
        (dcs.eqiad.delete("/sessions/v1/before0").status == 204).then_some(())
    });
    assert_eq!(dcs.codfw.get("/sessions/v1/before0").status, 404);
}

#[test]
fn a_data_centre_that_lost_its_disk_says_nothing_before_it_has_copied_what_the_other_holds() {
    let mut dcs = TwoDcs::start();
    for n in 0..50 {
        write(&dcs.eqiad, &format!("/sessions/v1/k{n}"), "contents");
    }
    arrives(&dcs.codfw, "/sessions/v1/k49", "contents");
    assert_eq!(dcs.codfw.delete("/sessions/v1/k0").status, 204);
    dcs.codfw.kill9();
    std::fs::remove_dir_all(dcs.codfw.data_dir()).unwrap();
    dcs.to_eqiad.cut();
    dcs.codfw.start_again();
    eventually("the reason is told", WITHIN, || {
        let readyz = Connection::open(dcs.codfw.address)
            .and_then(|mut to| to.exchange(message("GET", "/readyz?verbose", &[], b"")));
        readyz.is_ok_and(|answer| answer.text().contains("nothing of eqiad.sessions")).then_some(())
    });
    assert_eq!(dcs.codfw.get("/sessions/v1/k1").status, 503);
    dcs.to_eqiad.mend();
    dcs.codfw.wait_until_ready();
    assert_eq!(dcs.codfw.get("/sessions/v1/k0").status, 404, "codfw deleted it, and eqiad knows");
    for n in 1..50 {
        assert_eq!(dcs.codfw.get(&format!("/sessions/v1/k{n}")).status, 200, "{n}");
    }
}

#[test]
fn a_delete_costs_one_way_there_and_back() {
    let dcs = TwoDcs::start();
    write(&dcs.eqiad, "/sessions/v1/k", "contents");
    dcs.to_codfw.slow_down(Duration::from_millis(100));
    let began = Instant::now();
    assert_eq!(dcs.eqiad.delete("/sessions/v1/k").status, 204);
    let took = began.elapsed();
    assert!(Duration::from_millis(200) <= took && took < Duration::from_millis(390), "{took:?}");
}

#[test]
fn a_data_centre_of_other_secrets_does_not_come_up_and_is_not_asked_by_one_that_is_up() {
    let mut dcs = TwoDcs::start();
    dcs.codfw.kill9();
    let other = "another secret, and long enough, too";
    let node = launch("codfw", dcs.peers_of_codfw, "eqiad", dcs.peers_of_eqiad, other);
    let node = node.start_without_waiting();
    eventually("the reason is told", WITHIN, || {
        let readyz = node.get("/readyz?verbose");
        let told = readyz.text().contains("eqiad does not fit: the secret `index`");
        (readyz.status == 503 && told).then_some(())
    });
    assert_eq!(node.get("/sessions/v1/k").status, 503);
    eventually("eqiad does not ask it", WITHIN, || {
        let answer = dcs.eqiad.delete("/sessions/v1/k");
        assert_eq!(unconfirmed(&answer), (json!(["eqiad"]), vec![json!("codfw")]));
        let reason = answer.json()["unconfirmed"][0]["reason"].as_str().unwrap().to_owned();
        reason.starts_with("config_mismatch: the secret `index`").then_some(())
    });
    write(&dcs.eqiad, "/sessions/v1/k", "contents");
    assert_eq!(dcs.eqiad.get("/readyz").status, 200);
    drop(node);
    dcs.codfw.restart();
    eventually("codfw fits again", WITHIN, || {
        (dcs.eqiad.delete("/sessions/v1/k").status == 204).then_some(())
    });
}

#[test]
fn data_centres_meet_over_tls_and_each_believes_only_the_certificate_of_the_other() {
    let authority = Authority::new();
    let dcs = TwoDcs::start_with_tls(&authority);
    let key = "/sessions/v1/k";
    write(&dcs.eqiad, key, "contents");
    arrives(&dcs.codfw, key, "contents");
    assert_eq!(dcs.codfw.delete(key).status, 204);
    assert_eq!((dcs.eqiad.get(key).status, dcs.codfw.get(key).status), (404, 404));

    let hello = |client: &TlsClient, claims: &str| {
        let mut connection = client.open_as(dcs.peers_of_eqiad, "eqiad.solera.test")?;
        connection.exchange(message("GET", "/v1/hello", &[("Session-Dc", claims)], b""))
    };
    let shows = |name: &str| {
        TlsClient::of(&[&TLS13], &authority, Some(&authority.issue_for(&format!("{name}.solera.test"))))
    };
    assert_eq!(hello(&shows("codfw"), "codfw").unwrap().status, 200);
    assert_eq!(hello(&shows("codfw"), "esams").unwrap().status, 403);
    assert_eq!(hello(&shows("esams"), "codfw").unwrap().status, 403, "of the same authority, but another's");
    let none = TlsClient::of(&[&TLS13], &authority, None);
    assert!(hello(&none, "codfw").is_err(), "without a certificate");
    let stranger = Authority::new();
    let forged = TlsClient::of(&[&TLS13], &authority, Some(&stranger.issue_for("codfw.solera.test")));
    assert!(hello(&forged, "codfw").is_err(), "of an authority that nobody trusts");
    let plain = Connection::open(dcs.peers_of_eqiad).and_then(|mut connection| {
        connection.exchange(message("GET", "/v1/hello", &[("Session-Dc", "codfw")], b""))
    });
    assert_eq!(plain.unwrap().status, 400, "plain HTTP");
}

#[test]
fn certificates_and_their_authority_are_replaced_while_every_delete_is_confirmed() {
    let (old, new) = (Authority::new(), Authority::new());
    let dcs = TwoDcs::start_with_tls(&old);
    let both = format!("{}{}", old.pem(), new.pem());
    let mut replaced = 0;
    let mut replace = |node: &Node, ca: &str, of: Option<(&Authority, &str)>| {
        let dir = node.data_dir().parent().unwrap().to_owned();
        std::fs::write(dir.join("ca.pem"), ca).unwrap();
        if let Some((authority, dc)) = of {
            let issued = authority.issue_for(&format!("{dc}.solera.test"));
            std::fs::write(dir.join("peer.pem"), issued.cert).unwrap();
            std::fs::write(dir.join("peer.key"), issued.key).unwrap();
        }
        let words = "New calls to other data centres show the new certificate";
        let before = node.logged(words);
        node.signal("HUP");
        eventually("it calls as somebody new", WITHIN, || (before < node.logged(words)).then_some(()));
        replaced += 1;
    };
    let confirmed = || {
        for (at, key) in [(&dcs.eqiad, "/sessions/v1/a"), (&dcs.codfw, "/sessions/v1/b")] {
            let answer = at.delete(key);
            assert_eq!(answer.status, 204, "{}", answer.everything());
        }
    };
    confirmed();
    for node in [&dcs.eqiad, &dcs.codfw] {
        replace(node, &both, None);
        confirmed();
    }
    replace(&dcs.eqiad, &both, Some((&new, "eqiad")));
    confirmed();
    replace(&dcs.codfw, &both, Some((&new, "codfw")));
    confirmed();
    for node in [&dcs.eqiad, &dcs.codfw] {
        replace(node, &new.pem(), None);
        confirmed();
    }
    // And one that goes back is not believed any more.
    replace(&dcs.eqiad, &new.pem(), Some((&old, "eqiad")));
    eventually("codfw does not believe eqiad any more", WITHIN, || {
        (dcs.codfw.delete("/sessions/v1/b").status == 503).then_some(())
    });
    assert_eq!(replaced, 7);
}

fn ask(address: SocketAddr, method: &str, target: &str, dc: Option<&str>, body: &str) -> Response {
    let headers: Vec<_> = dc.map(|dc| ("Session-Dc", dc)).into_iter().collect();
    let request = message(method, target, &headers, body.as_bytes());
    Connection::open(address).and_then(|mut connection| connection.exchange(request)).unwrap()
}

#[test]
fn the_peer_listener_answers_peers_and_nobody_else_and_looks_before_it_appends() {
    let dcs = TwoDcs::start();
    let peers = dcs.peers_of_eqiad;
    let key_id = {
        let problem = dcs.eqiad.get("/sessions/v1/k").json();
        problem["instance"].as_str().unwrap().rsplit_once('~').unwrap().1.to_owned()
    };
    write(&dcs.eqiad, "/sessions/v1/k", "contents");
    let hello = ask(peers, "GET", "/v1/hello", Some("codfw"), "").json();
    let fingerprint = hello["secret_fingerprints"]["index"].as_str().unwrap().to_owned();
    let call = |change: (&str, &str)| {
        let call = format!(
            "{{\"store\":\"sessions\",\"key_id\":\"{key_id}\",\"version\":\"0000000000000001-0000000000000001\",\
             \"retain_until\":\"4102444800000\",\"index_fingerprint\":\"{fingerprint}\",\"round\":1,\"deadline_ms\":2000}}"
        );
        call.replacen(change.0, change.1, 1)
    };
    let old = call(("", ""));
    let newer = ask(peers, "POST", "/v1/tombstones", Some("codfw"), &old);
    assert_eq!(newer.status, 200, "{}", newer.everything());
    assert_eq!((&newer.json()["dc"], &newer.json()["result"]), (&json!("eqiad"), &json!("newer")));
    let version = newer.json()["version"].as_str().unwrap().to_owned();
    assert_eq!(dcs.eqiad.get("/sessions/v1/k").header("etag"), Some(&*format!("\"{version}\"")));

    // Above what is there, and gone before it.
    let brief = call(("4102444800000", "1")).replacen("0000000000000001-", "7000000000000000-", 1);
    for (method, target, dc, body, status) in [
        ("GET", "/v1/hello", Some("codfw"), "", 200),
        ("GET", "/v1/hello", None, "", 403),
        ("GET", "/v1/hello", Some("esams"), "", 403),
        ("GET", "/v1/hello", Some("eqiad"), "", 403),
        ("POST", "/v1/tombstones", None, &*old, 403),
        ("POST", "/v1/tombstones", Some("codfw"), "{}", 400),
        ("POST", "/v1/tombstones", Some("codfw"), &call(("\"round\":1", "\"round\":3")), 400),
        ("POST", "/v1/tombstones", Some("codfw"), &call(("sessions", "others")), 404),
        ("POST", "/v1/tombstones", Some("codfw"), &call((&fingerprint, "another")), 409),
        ("POST", "/v1/tombstones", Some("codfw"), &brief, 503),
        ("GET", "/v1/tombstones", Some("codfw"), "", 405),
        ("GET", "/v1/log/eqiad.sessions/0?from=0", Some("codfw"), "", 200),
        ("GET", "/v1/log/eqiad.sessions/0?from=99999", Some("codfw"), "", 410),
        ("GET", "/v1/log/eqiad.sessions/0?from=x", Some("codfw"), "", 400),
        ("GET", "/v1/log/eqiad.sessions/4", Some("codfw"), "", 404),
        ("GET", "/v1/log/codfw.sessions/0", Some("codfw"), "", 200),
        ("GET", "/v1/log/esams.sessions/0", Some("codfw"), "", 404),
        ("GET", "/v1/log/eqiad.others/0", Some("codfw"), "", 404),
        ("GET", "/v1/log/eqiad/0", Some("codfw"), "", 404),
        ("GET", "/v1/log/eqiad.sessions/0", None, "", 403),
        ("GET", "/sessions/v1/k", Some("codfw"), "", 404),
    ] {
        let answer = ask(peers, method, target, dc, body);
        assert_eq!(answer.status, status, "{method} {target} {dc:?}: {}", answer.everything());
    }
    assert_eq!(hello["dc"], "eqiad");
    assert_eq!((&hello["dcs"], &hello["log"]), (&json!(["codfw", "eqiad"]), &json!("embedded")));
    assert_eq!(hello["stores"], json!({ "sessions": { "max_ttl": 86400, "partitions": 4 } }));
    let told = hello.to_string();
    assert!(!told.contains(SECRET), "{told}");
    // Above everything: appended without a look, and applied.
    let second = call(("\"round\":1", "\"round\":2")).replacen("0000000000000001-", "7fffffffffffffff-", 1);
    let second = second.replacen("4102444800000", "never", 1);
    let done = ask(peers, "POST", "/v1/tombstones", Some("codfw"), &second);
    assert_eq!((done.status, &done.json()["result"]), (200, &json!("done")), "{}", done.everything());
    assert_eq!(dcs.eqiad.get("/sessions/v1/k").status, 404);
}
