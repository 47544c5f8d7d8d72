//! Free ports of 127.0.0.1.
//!
//! All of them lie below 32768, where the kernel takes the ports of outgoing connections from: a node that is started
//! again finds its port free. They also lie below those of `tests/harness`, so that both can run at once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;

/// `solera dev` listens on its base and on base + 1000 and base - 1000.
const NEIGHBOUR: u16 = 1000;
/// Bases are from here, a thousand of them.
const NODES_FROM: u16 = 12_000;
/// Beyond the neighbours of every base.
const SERVERS_FROM: u16 = 14_000;
const BROKERS_FROM: u16 = 15_000;
const CHOICE: u16 = 1000;

/// A base for `solera dev`.
pub(crate) fn for_node() -> SocketAddr {
    find(NODES_FROM, is_base)
}

/// A base for `solera dev --dcs 2`, which takes the next one, too.
pub(crate) fn for_two_dcs() -> SocketAddr {
    find(NODES_FROM, |port| is_base(port) && is_base(port + 1))
}

/// A port for a broker, whose controller listens a thousand above it: beyond those of nodes and servers.
pub(crate) fn for_broker() -> SocketAddr {
    find(BROKERS_FROM, |port| is_free(port) && is_free(port + NEIGHBOUR))
}

/// A port for a server that needs one.
pub(crate) fn for_server() -> SocketAddr {
    find(SERVERS_FROM, is_free)
}

/// Starts at a place that depends on the process, so that two runs rarely meet.
fn find(from: u16, is_fit: impl Fn(u16) -> bool) -> SocketAddr {
    let start = u16::try_from(process::id() % u32::from(CHOICE)).expect("less than CHOICE");
    let mut ports = (0..CHOICE).map(|step| from + (start + step) % CHOICE);
    let port = ports.find(|&port| is_fit(port)).expect("a thousand ports cannot all be in use");
    on_loopback(port)
}

fn is_base(port: u16) -> bool {
    is_free(port) && is_free(port + NEIGHBOUR) && is_free(port - NEIGHBOUR)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(on_loopback(port)).is_ok()
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
