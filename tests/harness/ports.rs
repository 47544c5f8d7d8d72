//! Free ports of 127.0.0.1.
//!
//! `solera dev --port-base P` takes P, P + 1000 (admin) and P - 1000 (peers). All bases that one test process hands
//! out lie in one window of 1,000 ports, so that they never meet each other's neighbours:
//!
//! ```text
//!   window - 1000        window          window + 1000
//!   [    peers     ]  [    data     ]  [    admin     ]
//! ```
//!
//! All windows are below 32768, where the kernel takes the ports of outgoing connections from.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the windows begin; a test process picks one by its id, so that two of them rarely meet.
const WINDOWS: [u16; 4] = [20_000, 23_000, 26_000, 29_000];
/// Data ports in a window.
const WINDOW_PORTS: u16 = 1000;
/// From one base to the next: room for `dev --dcs 8`.
const STEP: u16 = 8;
/// From the data port to the admin port, and down to the peer port.
const NEIGHBOUR: u16 = 1000;

/// The three ports of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) data: u16,
    pub(super) admin: u16,
    pub(super) peers: u16,
}

/// Takes the next base whose ports nobody listens on right now.
pub(super) fn take() -> Ports {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let places = WINDOW_PORTS / STEP;
    let process = process::id();
    let window = WINDOWS[process as usize % WINDOWS.len()];
    let offset = u16::try_from(process / 4 % u32::from(places)).expect("less than the places of a window");
    for _ in 0..places {
        let place = (offset + TAKEN.fetch_add(1, Ordering::Relaxed) % places) % places;
        let ports = around(window + place * STEP);
        if [ports.data, ports.admin, ports.peers].into_iter().all(is_free) {
            return ports;
        }
    }
    panic!("every port from {window} to {} is in use", window + WINDOW_PORTS);
}

fn around(data: u16) -> Ports {
    Ports { data, admin: data + NEIGHBOUR, peers: data - NEIGHBOUR }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}
