//! A disk that takes its time: what waits shares a sync, and what waits too long is told so.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    Extent, launch,
    load::PINNED,
    strace::{self, Fault},
};
use crate::{
    harness::{Connection, eventually, message},
    secrets::{make, retire, rotate},
};

const CLIENTS: usize = 64;

/// Successful writes per second of so many clients, each waiting for its answer before it asks again.
fn rate(address: SocketAddr, clients: usize, for_how_long: Duration) -> f64 {
    let begun = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            thread::spawn(move || {
                let mut connection = Connection::open(address).expect("connect");
                let request =
                    message("POST", &format!("/sessions/v1/client-{client}"), &[], b"some contents");
                let mut done = 0_u32;
                while begun.elapsed() < for_how_long {
                    let answer = connection.exchange(&request).expect("an answer");
                    assert_eq!(answer.status, 201, "{}", answer.everything());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u32 = clients.into_iter().map(|client| client.join().expect("all succeed")).sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

#[test]
fn writers_that_wait_for_a_slow_sync_share_it() {
    // Bounded by the processors, which the clients share with the node; in CI also with other tests.
    // docs/benchmarks.md has figures.
    let (for_how_long, at_least) = match Extent::asked_for() {
        Extent::None => return,
        Extent::Ci => (Duration::from_secs(2), 4.0),
        Extent::All => (Duration::from_secs(10), 10.0),
    };
    let node = launch("").through(&strace::starting_with("fdatasync:delay_exit=2000")).start();
    let serial = rate(node.address, 1, for_how_long);
    let together = rate(node.address, CLIENTS, for_how_long);
    let times = together / serial;
    println!(
        "a sync of 2 ms: {serial:.0}/s one at a time, {together:.0}/s by {CLIENTS} clients, {times:.1} times"
    );
    assert!(serial < 500.0, "every write waits for a sync: {serial}");
    assert!(at_least <= times, "{times} times");
}

#[test]
fn a_sync_of_200_ms_is_only_slow() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = launch("").through(&strace::starting_with("fdatasync:delay_exit=200000")).start();
    let rate = rate(node.address, CLIENTS, Duration::from_secs(3));
    println!("a sync of 200 ms: {rate:.0}/s by {CLIENTS} clients");
    assert!(100.0 < rate, "five syncs a second carry all who wait, not one each: {rate}");
}

#[test]
fn a_sync_that_hangs_is_an_unknown_outcome_and_reads_go_on() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = launch("limits: { request_timeout_ms: 300 }\n").start();
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    let fault = Fault::begin(node.pid(), "fdatasync:delay_enter=3000000:when=1", &[]);
    let begun = Instant::now();
    let address = node.address;
    let waiting: Vec<_> = ["POST", "DELETE", "POST"]
        .into_iter()
        .map(|method| {
            let body: &[u8] = if method == "POST" { b"late" } else { b"" };
            let request = message(method, "/sessions/v1/late", &[], body);
            thread::spawn(move || Connection::open(address).unwrap().exchange(request).unwrap())
        })
        .collect();
    let mut reads = 0;
    while !waiting.iter().all(thread::JoinHandle::is_finished) {
        assert_eq!(node.get(PINNED).text(), "pinned");
        reads += 1;
    }
    for answer in waiting {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 504, "{}", answer.everything());
        assert_eq!(answer.json()["outcome"], "unknown");
    }
    assert!(begun.elapsed() < Duration::from_secs(2) && 10 < reads, "{:?} {reads}", begun.elapsed());
    // It was slow, not broken: the same process goes on.
    eventually("the disk answers", Duration::from_secs(20), || {
        (node.post("/sessions/v1/after", "x").status == 201).then_some(())
    });
    drop(fault);
    assert!(matches!(node.get("/sessions/v1/late").status, 200 | 404), "whichever came last");
}

#[test]
fn a_secret_is_not_retired_before_a_write_under_it_has_ended_whoever_still_waits() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = launch("limits: { request_timeout_ms: 300 }\n").start();
    make(&node, 2);
    let fault = Fault::begin(node.pid(), "fdatasync:delay_enter=3000000:when=1", &[]);
    let answer = node.post("/sessions/v1/late", "v");
    assert_eq!((answer.status, &answer.json()["outcome"]), (504, &"unknown".into()));
    rotate(&node, &[2, 1]);
    let (mut seen, mut needed) = (0, 0);
    eventually("the disk answers, and there is the session", Duration::from_secs(20), || {
        let refused = retire(&node, 1);
        assert_eq!(refused.status, 409, "{}", refused.everything());
        match refused.json()["live"].as_u64() {
            Some(0) => seen += 1,
            _ => needed += 1,
        }
        (needed == 1).then_some(())
    });
    assert!(0 < seen, "it was asked for while the write was on its way");
    drop(fault);
    assert_eq!(node.get("/sessions/v1/late").text(), "v");
}
