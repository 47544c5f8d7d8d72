//! The configuration file: text to [`Config`], or everything that is wrong with it.
//!
//! Knows no file system and no environment: text in, values out.
//!
//! ```text
//!   reading   yaml  section  value  nearest  problem     any file: keys read once, problems collected
//!   meaning   telemetry  listener  tls  admin  limits    this file, one concern each
//!             log  secrets  peers  checkpoints  later
//!             base_uri  ttl  store  stores  kask  dev
//!             clients                                    another file: who may do what
//! ```
//!
//! Three things can be wrong with a key: it is malformed, unknown, or known and not built yet. The last is for keys of
//! the full surface whose features come later: they are checked all the same.

mod nearest;
mod problem;
mod section;
mod value;
mod yaml;

mod admin;
mod checkpoints;
mod clients;
mod later;
mod limits;
mod listener;
mod log;
mod peers;
mod secrets;
mod telemetry;
mod tls;

mod base_uri;
mod store;
mod stores;
mod ttl;

mod dev;
mod kask;

use std::{path::PathBuf, time::Duration};

use schemas::{Dc, StoreName};

pub use admin::AdminConfig;
pub use base_uri::{BaseUri, BaseUriError};
pub use checkpoints::CheckpointsConfig;
pub use clients::clients;
pub use dev::{dev, dev_dcs};
pub use limits::Limits;
pub use listener::Listener;
pub use log::{KafkaConfig, LogConfig};
pub use peers::{PeerConfig, PeersConfig};
pub use problem::{Problem, Warning, report};
pub use secrets::{RingFile, SecretsConfig};
pub use store::{ReadConsistency, StoreConfig};
pub use telemetry::{LogFormat, LogLevel, Telemetry};
pub use tls::TlsFiles;

use kask::Kind;
use section::{Problems, Read, Section, section};
use value::{number, path, text_as};

/// Everything that a node is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the node says about itself in its logs.
    pub telemetry: Telemetry,
    /// Where clients ask for sessions.
    pub listener: Listener,
    /// Where operators look and act.
    pub admin: AdminConfig,
    /// The data centre that this node serves. No default; `default` for a Kask file. Another name later is another
    /// data centre, with empty logs of its own.
    pub dc: Dc,
    /// The folder of logs, views and secrets. Default `/var/lib/solera`.
    pub data_dir: PathBuf,
    /// Memory for the caches (half) and memtables (a quarter) of all views and for the bodies of writes (a quarter), in
    /// MiB; 64 to 1,048,576. Default 320. The queues and buffers of the logs come on top. Too low reads from disk what
    /// could come from memory, and refuses writes that come together; too high lets the system end the process.
    pub memory_mb: u32,
    /// The log that is the source of truth.
    pub log: LogConfig,
    /// Where the secrets are. No default; made in the data folder for a Kask file.
    pub secrets: SecretsConfig,
    /// What requests may take.
    pub limits: Limits,
    /// How long a read of `read_consistency: dc` waits for the view to catch up with the log before it is answered 503;
    /// 0 to 600,000 ms. Default 2000, or four fifths of the request timeout if that is less. Always below the request
    /// timeout. Too low fails reads after a hiccup; too high keeps clients waiting during an outage.
    pub read_patience: Duration,
    /// How long reads of `read_consistency: dc` are served from what was applied last while the log does not answer, in
    /// seconds, 0 to 86,400 (`on_log_outage: { serve_for_s }`). Default 60. In that time this node may serve what others
    /// have overwritten or deleted, if only this node is cut off; after it, or with 0 at once, reads are answered 503.
    pub serve_in_outage_for: Duration,
    /// When copies of views are made to start from. None are, unless this is there.
    pub checkpoints: Option<CheckpointsConfig>,
    /// The other data centres. Default: there are none.
    pub peers: Option<PeersConfig>,
    /// The stores by name: at least one. First the one that the top-level `base_uri` names, then in file order.
    pub stores: Vec<(StoreName, StoreConfig)>,
}

/// What a text said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration, or all problems of the text in file order.
    pub config: Result<Config, Vec<Problem>>,
    /// What was passed over.
    pub warnings: Vec<Warning>,
}

/// Default of `service_name`.
const SERVICE_NAME: &str = "solera";

/// Default of `service_name` in a Kask file.
const KASK_SERVICE_NAME: &str = "kask";

/// Name of the data centre of a Kask file.
const KASK_DC: &str = "default";

/// Default of `data_dir`.
const DATA_DIR: &str = "/var/lib/solera";

/// Default of `memory_mb`.
const MEMORY_MB: u32 = 320;

const LEAVE_OUT: &str = "leave it out";

/// Reads a configuration file: ours, or one written for Kask.
pub fn parse(text: &str) -> Parsed {
    let mut file = match yaml::mapping(text) {
        Ok(file) => file,
        Err(problem) => return Parsed { config: Err(vec![problem]), warnings: Vec::new() },
    };
    kask::drop_absent(&mut file);
    let kind = kask::kind(&file);
    let mut problems = Problems::default();
    let (config, warning) =
        Section::top(&file, &mut problems, |top| (read(top, kind), kask::ignore_cassandra(top)));

    let problems = problems.in_file_order();
    let config = config.ok().filter(|_| problems.is_empty()).ok_or(problems);
    Parsed { config, warnings: warning.ok().flatten().into_iter().collect() }
}

/// Reads every key, and only then looks at which of them were well formed.
fn read(top: &mut Section<'_>, kind: Kind) -> Read<Config> {
    let telemetry = telemetry::read(
        top,
        match kind {
            Kind::Kask => KASK_SERVICE_NAME,
            Kind::Own => SERVICE_NAME,
        },
    );
    let port = listener::port(top);
    let listener = listener::read(top, port);
    let admin = top.defaulted("admin", |admin| admin::read(admin, port));
    let dc = dc(top, kind);
    let data_dir = top.or("data_dir", PathBuf::from(DATA_DIR), path(DATA_DIR));
    let memory_mb =
        top.or("memory_mb", MEMORY_MB, number("a whole number of MiB", 64..=1_048_576, MEMORY_MB));
    let log = top.defaulted("log", log::read);
    let secrets = secrets(top, kind);
    let limits = top.defaulted("limits", limits::read);
    let read_patience = limits::read_patience(top, limits);
    let serve_in_outage_for = top.defaulted("on_log_outage", limits::on_log_outage);
    let checkpoints = top.optional("checkpoints", section(checkpoints::read));
    let freshness = log.as_ref().map_or(ReadConsistency::Node, LogConfig::read_consistency);
    let stores = stores::read(top, freshness);

    let peers =
        top.optional("peers", section(|peers| peers::read(peers, dc.as_ref().map_err(|&reported| reported))));
    top.later("audit", LEAVE_OUT, section(later::audit));

    Ok(Config {
        telemetry: telemetry?,
        listener: listener?,
        admin: admin?,
        dc: dc?,
        data_dir: data_dir?,
        memory_mb: memory_mb?,
        log: log?,
        secrets: secrets?,
        limits: limits?,
        read_patience: read_patience?,
        serve_in_outage_for: serve_in_outage_for?,
        checkpoints: checkpoints?,
        peers: peers?,
        stores: stores?,
    })
}

fn dc(top: &mut Section<'_>, kind: Kind) -> Read<Dc> {
    let need = "the name of this data centre: 1 to 32 characters of a-z, 0-9 and -, beginning with a letter, and \
                neither `local` nor `changes`";
    let name = text_as(need, "eqiad", |text| text.parse().ok());
    match kind {
        Kind::Kask => top.or("dc", KASK_DC.parse().expect("a data centre may have this name"), name),
        Kind::Own => top.required("dc", name),
    }
}

fn secrets(top: &mut Section<'_>, kind: Kind) -> Read<SecretsConfig> {
    match kind {
        Kind::Kask => top.or("secrets", SecretsConfig::MadeInDataDir, section(secrets::read)),
        Kind::Own => top.required("secrets", section(secrets::read)),
    }
}

#[cfg(test)]
mod tests;
