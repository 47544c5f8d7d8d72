//! Three brokers, three copies of everything: one is lost, and the service goes on.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{Message, message::Headers};

use super::{load::Load, nodes};
use crate::harness::{Kafka, Node, eventually, session};

/// From the loss of a broker until every session can be written again without it: the cluster notices after 5 s, and a
/// frozen one holds up what is replicated and what is read from it for some seconds more.
const ON_WITHIN: Duration = Duration::from_secs(30);

/// The same from the moment when the lost broker serves again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// How long one broker stays away from partitions that nobody else has: longer than a node waits to look at its readers.
const HELD_FOR: Duration = Duration::from_secs(13);

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
            let written =
                node.try_request(crate::harness::message("POST", &session(n), &[], n.to_string().as_bytes()));
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
fn a_partition_without_a_leader_or_whose_leader_hangs_leaves_the_others_alone() {
    if super::left_out() {
        return;
    }
    let mut kafka = Kafka::start_three();
    let config = config(&kafka, 1, "read_patience_ms: 500");
    nodes::apply_topics(&config);
    let node = nodes::launch(&config).start();
    let partitions = partitions_of_sessions(&kafka, &node);
    let lost = (0..3).find(|&n| !kafka.led_by(n, "eqiad.sessions").is_empty()).expect("somebody leads");
    let led = kafka.led_by(lost, "eqiad.sessions");
    let expected: Vec<_> = (0..SESSIONS).filter(|&n| led.contains(&partitions[n])).collect();
    assert!(!expected.is_empty() && expected.len() < SESSIONS, "{partitions:?}, of which {led:?} are lost");

    kafka.broker(lost).kill9();
    only_these_are_refused(&node, &expected);
    kafka.broker(lost).restart();
    writes_everywhere("the partition is back", &node, BACK_WITHIN);

    // Its leader again: nobody else has a copy.
    kafka.broker(lost).freeze();
    only_these_are_refused(&node, &expected);
    kafka.broker(lost).thaw();
    writes_everywhere("the partition goes on", &node, BACK_WITHIN);
}

/// In which partition each session is: where the version stands that its write was acknowledged with.
fn partitions_of_sessions(kafka: &Kafka, node: &Node) -> Vec<i32> {
    let versions: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let written = node.post(&session(n), n.to_string());
            assert_eq!(written.status, 201);
            written.header("etag").expect("a version").trim_matches('"').to_owned()
        })
        .collect();
    let mut places = BTreeMap::new();
    kafka.read_all("eqiad.sessions", |message| {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let version = headers.filter(|header| header.key == "v").find_map(|header| header.value);
        places.extend(version.map(|version| (version.to_vec(), message.partition())));
    });
    versions.iter().map(|version| places[version.as_bytes()]).collect()
}

/// Writes of these sessions are refused and their reads served, and of all others both are taken, again and again for longer
/// than the node looks at its readers.
fn only_these_are_refused(node: &Node, expected: &[usize]) {
    let refused = || {
        let statuses: Vec<_> = (0..SESSIONS).map(|n| node.post(&session(n), n.to_string()).status).collect();
        assert!(statuses.iter().all(|status| [201, 503, 504].contains(status)), "{statuses:?}");
        let is_settled = statuses.iter().all(|status| *status != 504);
        is_settled.then(|| (0..SESSIONS).filter(|&n| statuses[n] != 201).collect::<Vec<_>>())
    };
    eventually("exactly those are refused", Duration::from_secs(20), || {
        (refused()? == expected).then_some(())
    });
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < HELD_FOR {
        assert_eq!(refused().as_deref(), Some(expected), "after {:?}", began.elapsed());
        for n in 0..SESSIONS {
            let read = node.get(&session(n));
            assert_eq!((read.status, read.text()), (200, n.to_string().as_str()), "session {n}");
        }
        rounds += 1;
    }
    assert!(node.is_ready(), "every node lacks that partition: none could take its place\n{}", node.tail());
    // Each would take a minute if it waited for what does not answer.
    assert!(5 < rounds, "nobody waits: {rounds} rounds in {HELD_FOR:?}");
}
