//! One node over a data directory, `solera dev` or one on Kafka: start, kill, start again; and what its store says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::free_port;
use crate::http::{self, Request, Response};
use crate::process::Process;
use crate::session::SessionKey;
use crate::wait;

/// The base URI of the store.
pub(crate) const BASE_URI: &str = "/sessions/v1/";
/// How long the store of `solera dev` keeps a session after each write.
pub(crate) const DEFAULT_TTL_S: u64 = 86_400;

/// From start to ready, a rebuild of the view included.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where a node keeps its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// On this machine's disk.
    Embedded,
    /// In a broker of its own.
    Kafka,
}

#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    broker: Option<Broker>,
    address: SocketAddr,
    data_dir: PathBuf,
    log: PathBuf,
}

/// What the store has under a key.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Vec<u8>,
    /// Unix time.
    pub(crate) expires_s: u64,
}

impl Node {
    pub(crate) fn start(folder: &Path, kept: Log) -> Self {
        let address = free_port::for_node();
        let data_dir = folder.join("solera");
        let log = folder.join("solera.log");
        let broker = (kept == Log::Kafka).then(|| Broker::start(folder, address, &data_dir));
        let process = launch(address, broker.as_ref(), &data_dir, &log);
        Self { process, broker, address, data_dir, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kill9(&mut self) {
        self.process.kill9();
    }

    /// On the same data directory and the same ports.
    pub(crate) fn start_again(&mut self) {
        self.process = launch(self.address, self.broker.as_ref(), &self.data_dir, &self.log);
    }

    /// Takes away everything that the log can give back. The node must not be running.
    pub(crate) fn remove_view(&self) {
        let view = self.data_dir.join("view");
        let entries = fs::read_dir(&view).unwrap_or_else(|error| panic!("read {}: {error}", view.display()));
        assert_ne!(entries.count(), 0, "there is a view to lose");
        fs::remove_dir_all(&view).expect("remove the view");
    }

    /// `None` when the store does not know the key.
    pub(crate) fn get(&self, key: &SessionKey) -> Option<Stored> {
        get(self.address, key)
    }

    pub(crate) fn has(&self, key: &SessionKey) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn delete(&self, key: &SessionKey) {
        let answer = request(self.address, "DELETE", key);
        assert_eq!(answer.status, 204, "DELETE: {}", answer.text());
    }
}

/// What the store at this address has; `None` when it does not know the key.
pub(crate) fn get(store: SocketAddr, key: &SessionKey) -> Option<Stored> {
    let answer = request(store, "GET", key);
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 200, "GET: {}", answer.text());
    let expires = answer.header("Session-Expires").expect("a session that expires says so");
    let expires_s = expires.parse().unwrap_or_else(|_| panic!("Session-Expires: {expires} is no unix time"));
    Some(Stored { value: answer.body, expires_s })
}

fn request(store: SocketAddr, method: &str, key: &SessionKey) -> Response {
    let target = format!("{BASE_URI}{}", key.encoded());
    http::exchange(store, &Request::new(method, &target)).expect("the node answers")
}

fn launch(address: SocketAddr, broker: Option<&Broker>, data_dir: &Path, log: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    match broker {
        None => {
            command.arg("dev").arg("--data-dir").arg(data_dir);
            command.arg("--port-base").arg(address.port().to_string())
        }
        Some(broker) => command.arg("serve").arg("--config").arg(broker.config_of_its_node()),
    };
    let mut process = Process::spawn("solera", &mut command, log);
    wait_until_ready(&mut process, address);
    process
}

/// Waits until the store at this address serves sessions.
pub(crate) fn wait_until_ready(process: &mut Process, address: SocketAddr) {
    wait::until("solera is ready", READY_WITHIN, || {
        process.assert_running();
        let answer = http::exchange(address, &Request::new("GET", "/readyz")).ok()?;
        (answer.status == 200).then_some(())
    });
}
