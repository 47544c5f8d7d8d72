//! Nodes whose clocks are skewed write the same sessions at the same moments and die before anything is repaired, over a
//! topic that is compacted within seconds: a view that is made anew from what is left is the view of a node that never
//! stopped.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::Message;

use super::nodes;
use crate::harness::{Connection, Kafka, Launch, Node, Response, eventually, message, session};

const ROUNDS: u64 = 4;
const SESSIONS: usize = 40;

/// Longer than a debt waits to be paid, with its jitter, and than all nodes that write are down.
const COMPACTION_LAG_S: u64 = 15;

/// From the last write to the last compaction: the lag, and heartbeats that let segments end.
const COMPACTED_WITHIN: Duration = Duration::from_secs(120);

/// A node whose wall clock is so far ahead of the broker's: within what the clamp lets through.
fn skewed(config: &str, by_ms: i32) -> Launch {
    let launch = nodes::launch(config);
    let library = launch.dir().join("skew.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/kafka/skew.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .unwrap();
    assert!(compiled.success(), "{source}: {compiled}");
    launch
        .environment("LD_PRELOAD", &library.display().to_string())
        .environment("SKEW_MS", &by_ms.to_string())
        .through("exec \"$@\"")
}

#[test]
fn a_compacted_log_gives_back_the_view_of_a_node_that_never_stopped() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let config = nodes::config(kafka, &dc, "")
        .replace("partitions: 4", &format!("partitions: 4, compaction_lag_s: {COMPACTION_LAG_S}"));
    nodes::apply_topics(&config);
    let topic = format!("{dc}.sessions");
    quicken(kafka, &topic);

    let mut writers = [skewed(&config, 4_000).start(), skewed(&config, -4_000).start()];
    for (node, apart) in writers.iter().zip([4.0, -4.0]) {
        let is_apart = || ((ahead(node) - apart).abs() < 1.0).then_some(());
        eventually(&format!("a clock is {apart} s ahead"), Duration::from_secs(10), is_apart);
    }
    let witness = nodes::launch(&config).start();
    let mut most_owed = 0;
    for round in 0..ROUNDS {
        write_at_once(&writers, round);
        writers.iter_mut().for_each(Node::kill9);
        most_owed = most_owed.max(owed(&witness));
        writers.iter_mut().for_each(Node::restart);
    }
    assert!(0 < most_owed, "writes met, and some lost: or this proves nothing");
    for node in writers.iter().chain([&witness]) {
        eventually("every debt is paid", Duration::from_secs(60), || (owed(node) == 0).then_some(()));
    }
    let written = records(kafka, &topic);
    eventually("one record is left of each session", COMPACTED_WITHIN, || {
        let left = records(kafka, &topic);
        left.values().all(|&count| count == 1).then_some(())
    });
    let before: usize = written.values().sum();
    println!("{before} records of {SESSIONS} sessions were compacted; {most_owed} debts at once");

    let anew = nodes::launch(&config).start();
    let (mut live, mut gone) = (0, 0);
    for n in 0..SESSIONS {
        let (kept, made) = (witness.get(&session(n)), anew.get(&session(n)));
        let said = |answer: &Response| {
            (
                answer.status,
                answer.header("etag").map(str::to_owned),
                answer.header("session-expires").map(str::to_owned),
            )
        };
        assert_eq!(said(&kept), said(&made), "session {n}");
        if kept.status == 200 {
            assert_eq!(kept.text(), made.text(), "session {n}");
            live += 1;
        } else {
            gone += 1;
        }
    }
    assert!(0 < live && 0 < gone, "{live} sessions live, {gone} are gone");
}

/// Segments of a second, and a cleaner that does not wait for dirt. Everything else stays as planned.
fn quicken(kafka: &Kafka, topic: &str) {
    let lag = (COMPACTION_LAG_S * 1000).to_string();
    let retention = (3_600_000 + 86_400_000).to_string();
    kafka.alter_topic(
        topic,
        &[
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", &retention),
            ("delete.retention.ms", &retention),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.compaction.lag.ms", &lag),
            ("max.compaction.lag.ms", &lag),
            ("max.message.bytes", "2000000"),
            ("segment.ms", "1000"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
    );
}

/// Both nodes are asked for the same session at the same moment, one after the other session.
fn write_at_once(writers: &[Node; 2], round: u64) {
    let together = Arc::new(Barrier::new(2));
    let ask = |n: usize| {
        let (address, together) = (writers[n].address, Arc::clone(&together));
        thread::spawn(move || {
            let mut connection = Connection::open(address).unwrap();
            let mut chance = StdRng::seed_from_u64(10 * round + n as u64);
            for of in 0..SESSIONS {
                let (method, success) =
                    if chance.random_ratio(1, 3) { ("DELETE", 204) } else { ("POST", 201) };
                let body = if method == "POST" { format!("{round} of {n}") } else { String::new() };
                together.wait();
                let answer =
                    connection.exchange(message(method, &session(of), &[], body.as_bytes())).unwrap();
                assert_eq!(answer.status, success, "{}", answer.everything());
            }
        })
    };
    let both = [ask(0), ask(1)];
    both.into_iter().for_each(|writer| writer.join().expect("every write is taken"));
}

/// What a node's own log owes, as it sees it.
fn owed(node: &Node) -> u64 {
    node.metric("solera_debts{")
}

/// How far a node's clock is ahead of the broker's, in seconds.
fn ahead(node: &Node) -> f64 {
    node.metric("solera_clock_ahead_seconds{")
}

/// How many records of each session the topic holds, for a reader who knows nothing of Solera. Reserved keys begin with ~.
fn records(kafka: &Kafka, topic: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    kafka.read_all(topic, |message| {
        let key = message.key().expect("every record has a key").to_vec();
        if !key.starts_with(b"~") {
            *counts.entry(key).or_default() += 1;
        }
    });
    counts
}
