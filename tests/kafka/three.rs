//! Three brokers, three copies of everything: one is lost, and the service goes on.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{load::Load, nodes};
use crate::harness::{Kafka, Node, eventually, session};

/// From the loss of a broker until every session can be written again without it: the cluster notices after 5 s, and a
/// frozen one holds up what is replicated and what is read from it for some seconds more.
const ON_WITHIN: Duration = Duration::from_secs(30);

/// The same from the moment when the lost broker serves again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How many sessions to write to meet every partition.
const SESSIONS: usize = 24;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Freeze,
    Terminate,
}

fn config(kafka: &Kafka, replication: u16, line: &str) -> String {
    nodes::config(kafka, "eqiad", line).replace("replication: 1", &format!("replication: {replication}"))
}

/// Waits until a session of every partition can be written.
fn writes_everywhere(what: &str, node: &Node, within: Duration) {
    let mut n = 0;
    eventually(what, within, || {
        while n < SESSIONS {
            let written = node.try_request(crate::harness::message("POST", &session(n), &[], b"x"));
            if !written.is_ok_and(|written| written.status == 201) {
                return None;
            }
            n += 1;
        }
        Some(())
    });
}

#[test]
fn a_broker_of_three_is_lost_and_nothing_that_was_acknowledged() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start_three();
    let config = config(&kafka, 3, "read_patience_ms: 500\non_log_outage: { serve_for_s: 0 }");
    nodes::apply_topics(&config);
    let nodes = [nodes::launch(&config).start(), nodes::launch(&config).start()];
    let load = Load::start(&nodes);
    let mut chance = StdRng::seed_from_u64(11);
    let mut slowest = Duration::ZERO;
    for (n, fault) in [(0, Fault::Kill), (1, Fault::Freeze), (2, Fault::Kill), (0, Fault::Terminate)] {
        kafka.wait_until_in_sync("eqiad.sessions");
        // Not a wait for anything: the moment of the fault is what is drawn.
        thread::sleep(Duration::from_millis(chance.random_range(200..1000)));
        let began = Instant::now();
        match fault {
            Fault::Kill => kafka.broker(n).kill9(),
            Fault::Freeze => kafka.broker(n).freeze(),
            Fault::Terminate => kafka.broker(n).terminate(),
        }
        for node in &nodes {
            writes_everywhere(&format!("without broker {n}: {fault:?}"), node, ON_WITHIN);
        }
        println!("{fault:?} of broker {n}: every partition is written again after {:?}", began.elapsed());
        slowest = slowest.max(began.elapsed());
        match fault {
            Fault::Freeze => kafka.broker(n).thaw(),
            Fault::Kill | Fault::Terminate => kafka.broker(n).restart(),
        }
        load.check(&format!("{fault:?} of broker {n}"));
    }
    for node in &nodes {
        writes_everywhere("all three are back", node, BACK_WITHIN);
    }
    let done = load.stop();
    assert!(1_000 < done.acknowledged, "a load that says something: {}", done.acknowledged);
    let stored = done.find_all_in(&kafka, "eqiad.sessions");
    println!(
        "{} acknowledged writes, {stored} versions in the log; every partition written again within {slowest:?}",
        done.acknowledged
    );
}

#[test]
fn a_partition_without_a_leader_leaves_the_others_alone() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start_three();
    let config = config(&kafka, 1, "read_patience_ms: 500");
    nodes::apply_topics(&config);
    let node = nodes::launch(&config).start();
    for n in 0..SESSIONS {
        assert_eq!(node.post(&session(n), n.to_string()).status, 201);
    }
    let lost = (0..3).find(|&n| !kafka.led_by(n, "eqiad.sessions").is_empty()).expect("somebody leads");
    kafka.broker(lost).kill9();
    let mut cut_off = Vec::new();
    eventually("the other partitions are written", Duration::from_secs(20), || {
        let statuses: Vec<_> = (0..SESSIONS).map(|n| node.post(&session(n), n.to_string()).status).collect();
        cut_off = (0..SESSIONS).filter(|&n| statuses[n] != 201).collect();
        // Those of the lost broker are refused, all others are taken, and nobody waits any more.
        let is_settled = statuses.iter().all(|status| [201, 503].contains(status));
        (is_settled && !cut_off.is_empty() && cut_off.len() < SESSIONS).then_some(())
    });
    assert!(node.is_ready(), "every node lacks that partition: none could take its place\n{}", node.tail());
    let began = Instant::now();
    for n in 0..SESSIONS {
        let read = node.get(&session(n));
        assert_eq!((read.status, read.text()), (200, n.to_string().as_str()), "session {n}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits: {:?}", began.elapsed());
    kafka.broker(lost).restart();
    writes_everywhere("the partition is back", &node, BACK_WITHIN);
}
