//! Records that get lost on their way to another data centre, or come twice: counted, told of, and brought back.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Connection, Node, TwoDcs, eventually, message, session};

/// From a write in one data centre to the other.
const WITHIN: Duration = Duration::from_secs(10);

/// From the record after a loss to the count of it.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

const PARTITIONS: u32 = 4;

/// `solera repair --from DC`, on a node: exit code, and what it said.
pub(crate) fn repair(node: &Node, from: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    let admin = node.admin_address.to_string();
    let done = command.args(["repair", "--from", from, "--admin", &admin]).output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// What a node counts of the copy of a data centre's log: lost, repeated, missing still.
pub(crate) fn counted(node: &Node, origin: &str) -> (u64, u64, u64) {
    let metrics = node.get("/metrics");
    let figure = |name: &str| {
        let line = format!("solera_mirror_{name}{{origin=\"{origin}\",store=\"sessions\"}} ");
        let found = metrics.text().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in {}", metrics.text()))
    };
    (figure("lost_records_total"), figure("repeated_records_total"), figure("missing_records"))
}

pub(crate) fn write(at: &Node, sessions: std::ops::Range<usize>) {
    for n in sessions {
        assert_eq!(at.post(&session(n), format!("contents of {n}")).status, 201, "session {n}");
    }
}

pub(crate) fn has(at: &Node, n: usize) -> bool {
    let read = at.get(&session(n));
    assert!(read.status == 404 || read.text() == format!("contents of {n}"), "{}", read.everything());
    read.status == 200
}

fn arrive(at: &Node, sessions: std::ops::Range<usize>) {
    for n in sessions {
        eventually("the session arrives", WITHIN, || has(at, n).then_some(()));
    }
}

/// Where each partition of a log ends, as its data centre says.
fn ends(peers: SocketAddr, topic: &str, asked_by: &str) -> Vec<u64> {
    let end = |partition| {
        let target = format!("/v1/log/{topic}/{partition}");
        let request = message("GET", &target, &[("Session-Dc", asked_by)], b"");
        let answer = Connection::open(peers).and_then(|mut to| to.exchange(request)).unwrap();
        answer.header("log-end").unwrap().parse().unwrap()
    };
    (0..PARTITIONS).map(end).collect()
}

/// The copy goes on at these offsets of the original, whatever it holds.
fn go_on_at(node: &Node, topic: &str, offsets: &[u64]) {
    let file = node.data_dir().join(format!("log/{topic}.copied"));
    let mut reached: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(reached["whole"], json!([0, 1, 2, 3]), "all of it was copied before");
    for (partition, offset) in offsets.iter().enumerate() {
        reached["next"][partition.to_string()] = (*offset).into();
    }
    fs::write(file, reached.to_string()).unwrap();
}

#[test]
fn what_a_copy_lost_is_counted_within_five_seconds_and_brought_back_by_a_repair() {
    let mut dcs = TwoDcs::start();
    write(&dcs.eqiad, 0..20);
    arrive(&dcs.codfw, 0..20);
    assert!(dcs.codfw.terminate().success());
    write(&dcs.eqiad, 20..60);
    go_on_at(&dcs.codfw, "eqiad.sessions", &ends(dcs.peers_of_eqiad, "eqiad.sessions", "codfw"));
    dcs.codfw.restart();
    write(&dcs.eqiad, 60..100);
    let last = Instant::now();
    arrive(&dcs.codfw, 60..100);
    eventually("the loss is counted", WITHIN, || (counted(&dcs.codfw, "eqiad") == (40, 0, 40)).then_some(()));
    assert!(last.elapsed() < FOUND_WITHIN, "{:?}", last.elapsed());
    let told = dcs.codfw.wait_for_log("what is lost", |line| {
        line["level"] == "ERROR" && line["msg"].as_str().is_some_and(|msg| msg.starts_with("Lost "))
    });
    let told = told["msg"].as_str().unwrap();
    for words in [" records of eqiad.sessions ", "numbers ", " to ", "`solera repair --from eqiad`"] {
        assert!(told.contains(words), "{told}");
    }
    assert!((20..60).all(|n| !has(&dcs.codfw, n)));
    assert_eq!(counted(&dcs.eqiad, "codfw"), (0, 0, 0));

    let (code, said) = repair(&dcs.codfw, "eqiad");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("sessions: from eqiad: brought 40 writes and 0 deletes"), "{said}");
    assert!(said.contains("of 40 numbers that were missing 40 are there"), "{said}");
    assert_eq!(counted(&dcs.codfw, "eqiad"), (40, 0, 0));
    assert!((0..100).all(|n| has(&dcs.codfw, n)));
    let (code, said) = repair(&dcs.codfw, "eqiad");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("brought 0 writes and 0 deletes"), "{said}");

    // A view that is made anew has it, too, and counts nothing: what it is made from lacks the same numbers.
    dcs.codfw.kill9();
    fs::remove_dir_all(dcs.codfw.data_dir().join("view")).unwrap();
    dcs.codfw.restart();
    assert!((0..100).all(|n| has(&dcs.codfw, n)));
    write(&dcs.eqiad, 100..120);
    arrive(&dcs.codfw, 100..120);
    // What would be counted would be by now.
    std::thread::sleep(FOUND_WITHIN);
    assert_eq!(counted(&dcs.codfw, "eqiad"), (0, 0, 0));
    assert_eq!(counted(&dcs.eqiad, "codfw"), (0, 0, 0), "what was brought has numbers of its own");
    // A delete finds what came by the other way.
    for n in 0..120 {
        assert_eq!(dcs.eqiad.delete(&session(n)).status, 204);
        assert!(!has(&dcs.codfw, n));
    }
}

#[test]
fn what_is_missing_is_remembered_over_crashes_and_rebuilds() {
    let mut dcs = TwoDcs::start();
    write(&dcs.eqiad, 0..20);
    arrive(&dcs.codfw, 0..20);
    assert!(dcs.codfw.terminate().success());
    write(&dcs.eqiad, 20..30);
    go_on_at(&dcs.codfw, "eqiad.sessions", &ends(dcs.peers_of_eqiad, "eqiad.sessions", "codfw"));
    dcs.codfw.restart();
    write(&dcs.eqiad, 30..60);
    arrive(&dcs.codfw, 30..60);
    eventually("the loss is counted", WITHIN, || (counted(&dcs.codfw, "eqiad") == (10, 0, 10)).then_some(()));
    let mut rebuild = Command::new(env!("CARGO_BIN_EXE_solera"));
    let admin = dcs.codfw.admin_address.to_string();
    assert!(rebuild.args(["rebuild", "--admin", &admin]).status().unwrap().success());
    assert_eq!(counted(&dcs.codfw, "eqiad"), (10, 0, 10));
    assert!(dcs.codfw.terminate().success());
    dcs.codfw.restart();
    assert_eq!(counted(&dcs.codfw, "eqiad"), (0, 0, 10), "counted by the process that found it");
    assert_eq!(repair(&dcs.codfw, "eqiad").0, Some(0));
    assert_eq!(counted(&dcs.codfw, "eqiad"), (0, 0, 0));
    assert!((0..60).all(|n| has(&dcs.codfw, n)));
}

#[test]
fn what_is_copied_again_is_counted_as_repeated_and_nothing_is_lost() {
    let mut dcs = TwoDcs::start();
    write(&dcs.eqiad, 0..50);
    arrive(&dcs.codfw, 0..50);
    assert!(dcs.codfw.terminate().success());
    go_on_at(&dcs.codfw, "eqiad.sessions", &[0; PARTITIONS as usize]);
    dcs.codfw.restart();
    write(&dcs.eqiad, 50..70);
    arrive(&dcs.codfw, 50..70);
    eventually("the repeats are counted", WITHIN, || {
        (counted(&dcs.codfw, "eqiad") == (0, 50, 0)).then_some(())
    });
    assert!((0..70).all(|n| has(&dcs.codfw, n)));
}

#[test]
fn a_data_centre_that_lost_its_disk_gets_back_what_only_another_holds_of_its_own_log() {
    let mut dcs = TwoDcs::start();
    write(&dcs.eqiad, 0..60);
    write(&dcs.codfw, 60..80);
    arrive(&dcs.codfw, 0..60);
    for n in 0..10 {
        assert_eq!(dcs.eqiad.delete(&session(n)).status, 204);
    }
    dcs.eqiad.kill9();
    fs::remove_dir_all(dcs.eqiad.data_dir()).unwrap();
    dcs.eqiad.restart();
    let kept = |node: &Node| (0..80).filter(|&n| has(node, n)).count();
    assert_eq!(kept(&dcs.eqiad), 20, "what codfw wrote has been copied");
    let (code, said) = repair(&dcs.eqiad, "codfw");
    assert_eq!(code, Some(0), "{said}");
    // The ten deletes stand in codfw's own log: they have been copied.
    assert!(said.contains("brought 50 writes and 0 deletes"), "{said}");
    assert_eq!(kept(&dcs.eqiad), 70);
    assert!((0..10).all(|n| !has(&dcs.eqiad, n)));
    // Its own log holds it: so does a view that is made anew.
    dcs.eqiad.kill9();
    fs::remove_dir_all(dcs.eqiad.data_dir().join("view")).unwrap();
    dcs.eqiad.restart();
    assert_eq!((kept(&dcs.eqiad), kept(&dcs.codfw)), (70, 70));
    write(&dcs.eqiad, 80..100);
    arrive(&dcs.codfw, 80..100);
    std::thread::sleep(FOUND_WITHIN);
    let lost = |node: &Node, origin| counted(node, origin).0;
    assert_eq!((lost(&dcs.codfw, "eqiad"), lost(&dcs.eqiad, "codfw")), (0, 0));
}

#[test]
fn a_repair_says_whom_it_cannot_ask_and_what_it_needs() {
    let dcs = TwoDcs::start();
    let (code, said) = repair(&dcs.codfw, "esams");
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("esams is no other data centre of this one: those that it knows are eqiad"),
        "{said}"
    );
    for body in ["", "{}", "{\"from\":\"No name\"}", "{\"from\":\"eqiad\",\"more\":1}"] {
        let request = message("POST", "/v1/repair", &[], body.as_bytes());
        let answer = Connection::open(dcs.codfw.admin_address).and_then(|mut to| to.exchange(request));
        assert_eq!(answer.unwrap().status, 400, "{body}");
    }
    let request = message("POST", "/v1/repair?store=others", &[], b"{\"from\":\"eqiad\"}");
    let answer = Connection::open(dcs.codfw.admin_address).and_then(|mut to| to.exchange(request));
    assert_eq!(answer.unwrap().status, 404);
}
