//! Two data centres as a site runs them, on this machine: in each a broker, two nodes, and a MirrorMaker that brings what
//! the other one wrote; between them a cable to each node's peer listener.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    history::{Asked, At, Dc, Key, Told},
    load::Clients,
};
use crate::{
    harness::{Broker, Kafka, Mirror, Node, Proxy, eventually, free},
    kafka::nodes,
};

/// From the start of MirrorMaker to its first copies, on a machine that does much else: 15 s where it does not.
const COPIES_WITHIN: Duration = Duration::from_secs(120);

/// From the end of a fault to the last node that is ready and confirms deletes.
const WELL_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at a node.
const ASKS_EVERY: Duration = Duration::from_millis(20);

/// Without the one exception that the promises have: while a broker does not answer, a node serves nothing that may be
/// behind what another has acknowledged.
const STRICT: &str = "on_log_outage: { serve_for_s: 0 }";

/// Both data centres.
#[derive(Debug)]
pub(super) struct Sites {
    /// In the order of [`At::ALL`].
    nodes: [Node; 4],
    /// From the other data centre to each of them.
    cables: [Proxy; 4],
    brokers: [Kafka; 2],
    /// What they bring into each data centre.
    mirrors: [Mirror; 2],
}

impl Sites {
    /// Both, ready, and records of each arrive in the other.
    pub(super) fn start() -> Self {
        let [eqiad, codfw] = [(); 2].map(|()| thread::spawn(|| Kafka::start(&[])));
        let brokers = [eqiad, codfw].map(|starts| starts.join().expect("a broker starts"));
        let listens = At::ALL.map(|_| free());
        let cables = listens.map(Proxy::to);
        let config = |At(dc, node): At| config(dc, node, &brokers[dc as usize], &listens, &cables);
        // Before a mirror runs, which would make the topics otherwise.
        Dc::BOTH.into_iter().for_each(|dc| nodes::apply_topics(&config(At(dc, 0))));
        let mirrors = Dc::BOTH.map(|dc| Mirror::start(dc.name(), &brokers[0], &brokers[1]));
        // Neither data centre comes up before it has seen the other once.
        let nodes = At::ALL.map(|at| nodes::launch(&config(at)).start_without_waiting());
        nodes.iter().for_each(Node::wait_until_ready);
        Self { nodes, cables, brokers, mirrors }
    }

    /// Waits until what is written in each data centre arrives in the other.
    pub(super) fn wait_for_copies(&self, clients: &Arc<Clients>) {
        for dc in Dc::BOTH {
            let canary = self.send_canary(clients, dc);
            eventually("MirrorMaker copies", COPIES_WITHIN, || {
                self.mirror(dc.other()).check();
                self.has_arrived(clients, dc, canary).then_some(())
            });
        }
    }

    /// Writes a session in `dc` that tells by its arrival in the other that mirrors copy.
    pub(super) fn send_canary(&self, clients: &Arc<Clients>, dc: Dc) -> Key {
        let key = clients.own_key();
        let written = clients.ask(key, At(dc, 0), Asked::Set(clients.next_value()));
        assert_eq!(written.told, Told::Done, "{written}");
        key
    }

    /// Whether that is in the data centre which is not `dc`.
    pub(super) fn has_arrived(&self, clients: &Arc<Clients>, dc: Dc, canary: Key) -> bool {
        matches!(clients.ask(canary, At(dc.other(), 0), Asked::Get).told, Told::Found(Some(_)))
    }

    /// Waits until every node is ready, and every delete is confirmed.
    ///
    /// # Panics
    ///
    /// When one is not in time, with what it said last.
    pub(super) fn wait_until_well(&self, clients: &Arc<Clients>) {
        let deadline = Instant::now() + WELL_WITHIN;
        for at in At::ALL {
            loop {
                let deleted = clients.ask(clients.own_key(), at, Asked::Delete);
                if deleted.told == Told::Done && self.node(at).is_ready() {
                    break;
                }
                assert!(Instant::now() < deadline, "not well within {WELL_WITHIN:?}: {deleted}");
                thread::park_timeout(ASKS_EVERY);
            }
        }
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 4] {
        self.nodes.each_ref().map(|node| node.address)
    }

    pub(super) fn node(&self, at: At) -> &Node {
        &self.nodes[at.number()]
    }

    pub(super) fn node_mut(&mut self, at: At) -> &mut Node {
        &mut self.nodes[at.number()]
    }

    /// The cables over which nodes of the other data centre ask those of `dc`.
    pub(super) fn cables_to(&self, dc: Dc) -> [&Proxy; 2] {
        dc.nodes().map(|at| &self.cables[at.number()])
    }

    /// All of them, in the order of [`At::ALL`].
    pub(super) fn cables(&self) -> &[Proxy; 4] {
        &self.cables
    }

    pub(super) fn broker(&mut self, dc: Dc) -> &mut Broker {
        self.brokers[dc as usize].broker(0)
    }

    /// The MirrorMaker in `dc`, which brings what the other one wrote.
    pub(super) fn mirror(&self, dc: Dc) -> &Mirror {
        &self.mirrors[dc as usize]
    }

    pub(super) fn mirror_mut(&mut self, dc: Dc) -> &mut Mirror {
        &mut self.mirrors[dc as usize]
    }

    /// What nodes and mirrors said, each into a file of this directory.
    pub(super) fn keep_logs(&self, dir: &Path) {
        for (at, node) in At::ALL.iter().zip(&self.nodes) {
            fs::write(dir.join(format!("{}-{}.log", at.0.name(), at.1)), node.output()).expect("keep a log");
        }
        for dc in Dc::BOTH {
            fs::write(dir.join(format!("mirror-{}.log", dc.name())), self.mirror(dc).tail())
                .expect("keep a log");
        }
    }
}

fn config(dc: Dc, node: usize, broker: &Kafka, listens: &[SocketAddr; 4], cables: &[Proxy; 4]) -> String {
    let others = dc.other().nodes().map(|at| format!("'http://{}'", cables[at.number()].address));
    let line = format!(
        "service_name: {dc}-{node}\nmemory_mb: 128\n{STRICT}\n\
         peers: {{ listen: '{}', dcs: {{ {}: {{ urls: [ {} ] }} }} }}",
        listens[At(dc, node).number()],
        dc.other().name(),
        others.join(", "),
        dc = dc.name(),
    );
    nodes::config(broker, dc.name(), &line)
}
