//! Nodes are restarted one after the other under load, as an operator does for every release: what was asked is answered, and a
//! balancer that is refused a connection goes to the other node.

use std::time::Duration;

use super::{load::Load, nodes};
use crate::harness::{Kafka, Node};

const ROUNDS: usize = 3;

/// What is written between two restarts: altogether enough to say something.
const WRITES: usize = 200;

#[test]
fn a_rolling_restart_fails_no_request_but_those_on_their_way_to_the_node_that_stops() {
    if super::left_out() {
        return;
    }
    let kafka = Kafka::shared();
    let dc = kafka.dc();
    let config = nodes::config(kafka, &dc, "");
    nodes::apply_topics(&config);
    let mut nodes: [Node; 2] = [nodes::launch(&config).start(), nodes::launch(&config).start()];
    let load = Load::start_balanced(&nodes);
    for _ in 0..ROUNDS {
        for node in &mut nodes {
            assert_eq!(node.terminate().code(), Some(0), "{}", node.tail());
            node.restart();
            load.goes_on_by(WRITES, Duration::from_secs(60));
        }
    }
    let on_their_way = load.connections() * nodes.len() * ROUNDS;
    let done = load.stop();
    assert!(1_000 < done.acknowledged, "a load that says something: {}", done.acknowledged);
    println!("{} acknowledged, {} without an answer", done.acknowledged, done.unanswered);
    assert_eq!(done.failures, [0_u16; 0], "nobody is told to come back later");
    assert!(done.unanswered <= on_their_way, "{} requests got no answer", done.unanswered);
    done.find_all_in(kafka, &format!("{dc}.sessions"));
}
