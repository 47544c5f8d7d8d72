//! Two data centres in one process, `solera dev --dcs 2`: each has a store of its own, and a copy of the other's log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::free_port;
use crate::node;
use crate::process::Process;
use crate::session::SessionKey;
use crate::wait;

/// From a write in one data centre to its copy in the other.
const COPIED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct TwoDcs {
    _process: Process,
    /// Where the store of each is.
    pub(crate) stores: [SocketAddr; 2],
}

impl TwoDcs {
    pub(crate) fn start(folder: &Path) -> Self {
        let first = free_port::for_two_dcs();
        let stores = [first, SocketAddr::new(first.ip(), first.port() + 1)];
        let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
        command.args(["dev", "--dcs", "2", "--data-dir"]).arg(folder.join("solera"));
        command.arg("--port-base").arg(first.port().to_string());
        let mut process = Process::spawn("solera", &mut command, &folder.join("solera.log"));
        stores.into_iter().for_each(|store| node::wait_until_ready(&mut process, store));
        Self { _process: process, stores }
    }

    pub(crate) fn has(&self, dc: usize, key: &SessionKey) -> bool {
        node::get(self.stores[dc], key).is_some()
    }

    /// Waits until a session that was written in the other data centre is in this one. Returns how long that took.
    pub(crate) fn wait_for_copy(&self, dc: usize, key: &SessionKey) -> Duration {
        let began = Instant::now();
        wait::until("the session is copied", COPIED_WITHIN, || self.has(dc, key).then_some(()));
        began.elapsed()
    }
}
