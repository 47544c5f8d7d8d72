//! Nodes and their broker are killed and frozen under load: nothing that was acknowledged is lost, nothing that was deleted
//! comes back, whichever node answers. What a session may hold is `crate::chaos::Writer`'s to know.

use std::{thread, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{load::Load, nodes};
use crate::harness::{Kafka, Node, eventually, session};

/// From the end of a fault to the next write that is taken.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// What is done to them, once each and in an order of chance, twice.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillNode(usize),
    FreezeNode(usize),
    KillBothNodes,
    KillBroker,
    FreezeBroker,
}

const FAULTS: [Fault; 7] = [
    Fault::KillNode(0),
    Fault::KillNode(1),
    Fault::FreezeNode(0),
    Fault::FreezeNode(1),
    Fault::KillBothNodes,
    Fault::KillBroker,
    Fault::FreezeBroker,
];

#[test]
fn kills_and_freezes_lose_nothing_and_bring_nothing_back() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start(&[]);
    // Without the one exception that the promises have: while an outage ends at one node after the other, one that still
    // serves what it applied last may be behind.
    let config = nodes::config(&kafka, "eqiad", "read_patience_ms: 500\non_log_outage: { serve_for_s: 0 }");
    nodes::apply_topics(&config);
    let mut nodes = [nodes::launch(&config).start(), nodes::launch(&config).start()];
    let load = Load::start(&nodes);
    let mut chance = StdRng::seed_from_u64(7);
    for round in 0..2 {
        let mut faults = FAULTS.to_vec();
        while !faults.is_empty() {
            let fault = faults.swap_remove(chance.random_range(0..faults.len()));
            // Not a wait for anything: the moment of the fault, and how long it lasts, are what is drawn.
            let mut pause = || thread::sleep(Duration::from_millis(chance.random_range(200..1500)));
            pause();
            happen(fault, &mut kafka, &mut nodes, &mut pause);
            for (n, node) in nodes.iter().enumerate() {
                eventually(&format!("round {round}, {fault:?}: node {n} writes"), BACK_WITHIN, || {
                    let written = node.try_request(crate::harness::message("POST", &session(n), &[], b"x"));
                    written.is_ok_and(|written| written.status == 201).then_some(())
                });
            }
            load.check(&format!("{fault:?}"));
        }
    }
    let done = load.stop();
    assert!(1_000 < done.acknowledged, "a load that says something: {}", done.acknowledged);
    let stored = done.find_all_in(&kafka, "eqiad.sessions");
    println!(
        "{} faults, {} acknowledged writes, {stored} versions in the log",
        2 * FAULTS.len(),
        done.acknowledged
    );
}

fn happen(fault: Fault, kafka: &mut Kafka, nodes: &mut [Node; 2], pause: &mut impl FnMut()) {
    match fault {
        Fault::KillNode(n) => {
            nodes[n].kill9();
            pause();
            nodes[n].restart();
        }
        Fault::KillBothNodes => {
            nodes.iter_mut().for_each(Node::kill9);
            nodes.iter_mut().for_each(Node::restart);
        }
        Fault::FreezeNode(n) => {
            nodes[n].signal("STOP");
            pause();
            nodes[n].signal("CONT");
        }
        Fault::KillBroker => {
            kafka.broker(0).kill9();
            pause();
            kafka.broker(0).restart();
        }
        Fault::FreezeBroker => {
            kafka.broker(0).freeze();
            pause();
            kafka.broker(0).thaw();
        }
    }
}
