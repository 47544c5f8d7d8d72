//! Two data centres on this machine, a node with an embedded log in each, and the cables between them.

use std::net::{Ipv4Addr, SocketAddr};

use super::node::{Launch, Node};
use super::ports;
use super::proxy::Proxy;
use super::tls::Authority;

/// Two data centres that are each other's peers.
#[derive(Debug)]
pub(crate) struct TwoDcs {
    pub(crate) eqiad: Node,
    pub(crate) codfw: Node,
    /// From eqiad to codfw's peer listener.
    pub(crate) to_codfw: Proxy,
    /// From codfw to eqiad's.
    pub(crate) to_eqiad: Proxy,
    /// Eqiad's peer listener itself.
    pub(crate) peers_of_eqiad: SocketAddr,
    /// Codfw's.
    pub(crate) peers_of_codfw: SocketAddr,
}

impl TwoDcs {
    /// Both, ready, over plain HTTP.
    pub(crate) fn start() -> Self {
        let (of_eqiad, of_codfw) = (free(), free());
        let (to_eqiad, to_codfw) = (Proxy::to(of_eqiad), Proxy::to(of_codfw));
        // Neither comes up before it has seen the other once.
        let eqiad = launch("eqiad", of_eqiad, "codfw", to_codfw.address, SECRET).start_without_waiting();
        let codfw = launch("codfw", of_codfw, "eqiad", to_eqiad.address, SECRET).start_without_waiting();
        [&eqiad, &codfw].into_iter().for_each(Node::wait_until_ready);
        Self { eqiad, codfw, to_codfw, to_eqiad, peers_of_eqiad: of_eqiad, peers_of_codfw: of_codfw }
    }

    /// Both, over TLS: each shows a certificate for its own name.
    pub(crate) fn start_with_tls(authority: &Authority) -> Self {
        let (of_eqiad, of_codfw) = (free(), free());
        let (to_eqiad, to_codfw) = (Proxy::to(of_eqiad), Proxy::to(of_codfw));
        let start = |dc, listen, other, others| {
            let config = config(dc, listen, &tls_of(other, others));
            launch_with_tls(authority, dc, &config).start_without_waiting()
        };
        let eqiad = start("eqiad", of_eqiad, "codfw", to_codfw.address);
        let codfw = start("codfw", of_codfw, "eqiad", to_eqiad.address);
        [&eqiad, &codfw].into_iter().for_each(Node::wait_until_ready);
        Self { eqiad, codfw, to_codfw, to_eqiad, peers_of_eqiad: of_eqiad, peers_of_codfw: of_codfw }
    }
}

/// The index secret of both.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

const RING: &str = "fedcba9876543210fedcba9876543210";

/// A node of `dc` that listens for peers there, and finds those of `other` here.
pub(crate) fn launch(
    dc: &str,
    peers_listen: SocketAddr,
    other: &str,
    others: SocketAddr,
    index: &str,
) -> Launch {
    let peers = format!("dcs: {{ {other}: {{ urls: [ 'http://{others}' ] }} }}");
    Launch::serve(&config(dc, peers_listen, &peers)).file("index", index).file("ring", RING)
}

/// A node of `dc` with this configuration, and with the files that [`tls_of`] names.
pub(crate) fn launch_with_tls(authority: &Authority, dc: &str, config: &str) -> Launch {
    let shown = authority.issue_for(&format!("{dc}.solera.test"));
    Launch::serve(config)
        .file("index", SECRET)
        .file("ring", RING)
        .file("peer.pem", shown.cert)
        .file("peer.key", shown.key)
        .file("ca.pem", authority.pem())
}

/// What belongs under `peers` of a node that finds those of `other` here.
pub(crate) fn tls_of(other: &str, others: SocketAddr) -> String {
    format!(
        "tls: {{ cert: '${{DIR}}/peer.pem', key: '${{DIR}}/peer.key', ca: '${{DIR}}/ca.pem' }}, \
         dcs: {{ {other}: {{ urls: [ 'https://{others}' ], tls_name: {other}.solera.test }} }}"
    )
}

pub(crate) fn config(dc: &str, peers_listen: SocketAddr, peers: &str) -> String {
    format!(
        "dc: {dc}\n\
         secrets: {{ index: {{ file: '${{DIR}}/index' }}, ring: [ {{ id: 1, file: '${{DIR}}/ring' }} ] }}\n\
         peers: {{ listen: '{peers_listen}', {peers} }}\n\
         stores: {{ sessions: {{ base_uri: /sessions/v1, default_ttl: 86400 }} }}\n"
    )
}

/// Where nobody listens.
pub(crate) fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports::take().peers))
}
