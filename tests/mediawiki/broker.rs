//! One Kafka broker, and the configuration of a node on it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::free_port;
use crate::node::{BASE_URI, DEFAULT_TTL_S};
use crate::process::Process;
use crate::wait;

/// From start to the first topic.
const TOPICS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Broker {
    _process: Process,
    config: PathBuf,
}

impl Broker {
    /// Starts it, and makes the topics of a node that listens on `node`.
    pub(crate) fn start(folder: &Path, node: SocketAddr, data_dir: &Path) -> Self {
        let address = free_port::for_broker();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka-broker.sh");
        let mut command = Command::new(script);
        command.arg(folder.join("kafka")).arg(address.port().to_string());
        let mut process = Process::spawn("kafka", &mut command, &folder.join("kafka.log"));
        let config = folder.join("node.yaml");
        let secret = |name: &str, byte: &str| {
            let file = folder.join(name);
            fs::write(&file, byte.repeat(32)).expect("write a secret");
            file.display().to_string()
        };
        let text = format!(
            "listen_address: 127.0.0.1\nlisten_port: {}\ndc: eqiad\ndata_dir: {}\nlog_level: info\n\
             log: {{ kafka: {{ bootstrap_servers: '{address}', replication: 1, partitions: 4 }} }}\n\
             secrets: {{ index: {{ file: {} }}, ring: [ {{ id: 1, file: {} }} ] }}\n\
             stores: {{ sessions: {{ base_uri: {BASE_URI}, default_ttl: {DEFAULT_TTL_S} }} }}\n",
            node.port(),
            data_dir.display(),
            secret("index", "1a"),
            secret("ring", "2b"),
        );
        fs::write(&config, text).expect("write a configuration");
        wait::until("the topics are made", TOPICS_WITHIN, || {
            process.assert_running();
            let mut apply = Command::new(env!("CARGO_BIN_EXE_solera"));
            let applied =
                apply.args(["topics", "apply", "--config"]).arg(&config).output().expect("run solera");
            applied.status.success().then_some(())
        });
        Self { _process: process, config }
    }

    pub(crate) fn config_of_its_node(&self) -> &Path {
        &self.config
    }
}
