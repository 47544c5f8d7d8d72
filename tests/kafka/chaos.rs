//! Nodes and their broker are killed and frozen under load: nothing that was acknowledged is lost, nothing that was deleted
//! comes back, whichever node answers. What a session may hold is `crate::chaos::Writer`'s to know.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};

use super::nodes;
use crate::{
    chaos::{KEYS, Writer},
    harness::{Kafka, Node, eventually, session},
};

const WRITERS: u64 = 4;
const PARTITIONS: i32 = 4;

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
    let (code, said) = nodes::topics("apply", &config);
    assert_eq!(code, Some(0), "{said}");
    let mut nodes = [nodes::launch(&config).start(), nodes::launch(&config).start()];
    let stop = Arc::new(AtomicBool::new(false));
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (addresses, stop) = (addresses.clone(), Arc::clone(&stop));
            thread::spawn(move || Writer::of_several(n, addresses).run(&stop))
        })
        .collect();

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
            assert!(
                !writers.iter().any(thread::JoinHandle::is_finished),
                "{fault:?}: somebody saw what must not be"
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut versions) = (0, BTreeSet::new());
    for writer in writers {
        let mut writer = writer.join().expect("a writer saw what must not be");
        (0..KEYS).for_each(|key| writer.read(key));
        acknowledged += writer.acknowledged;
        versions.append(&mut writer.versions);
    }
    assert!(1_000 < acknowledged, "a load that says something: {acknowledged}");
    let stored = versions_in(&kafka, "eqiad.sessions");
    let lost: Vec<_> = versions.difference(&stored).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged versions are not in the log", lost.len(), versions.len());
    println!(
        "{} faults, {acknowledged} acknowledged writes, {} versions in the log",
        2 * FAULTS.len(),
        stored.len()
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
            kafka.kill9();
            pause();
            kafka.restart();
        }
        Fault::FreezeBroker => {
            kafka.freeze();
            pause();
            kafka.thaw();
        }
    }
}

/// Every version that a topic holds, read by somebody who knows nothing of Solera.
fn versions_in(kafka: &Kafka, topic: &str) -> BTreeSet<String> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("group.id", "somebody-else")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    reader.assign(&all).unwrap();
    let (mut versions, mut ended) = (BTreeSet::new(), 0);
    while ended < PARTITIONS {
        match reader.poll(super::PATIENCE).expect("the broker answers") {
            Ok(message) => {
                let version = message.headers().and_then(|headers| {
                    headers.iter().find(|header| header.key == "v").and_then(|header| header.value)
                });
                versions.extend(version.map(|version| String::from_utf8_lossy(version).into_owned()));
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    versions
}
