//! What `solera bench` can be asked.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{ArgGroup, Args, ValueEnum};

use crate::{
    distribution::Distribution,
    mix::Mix,
    schedule::{self, Arrivals, Rate},
    sizes::Sizes,
    target::Target,
};

/// The arguments of `solera bench`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["url", "serve", "floor"]))]
pub struct Arguments {
    /// The server to load: the base URL of any store that answers as Kask does. `http` only.
    #[arg(value_name = "URL")]
    pub(crate) url: Option<Target>,
    /// Serves a floor instead of loading one: a handler that knows one body and no sessions.
    #[arg(long, value_name = "KIND", requires = "listen", help_heading = "Floors")]
    pub(crate) serve: Option<Serve>,
    /// Where the floor listens; port 0 is any.
    #[arg(long, value_name = "ADDRESS", requires = "serve", help_heading = "Floors")]
    pub(crate) listen: Option<SocketAddr>,
    /// Measures what no store on this disk, or on this cluster, can beat, without a server.
    #[arg(long, value_name = "KIND", help_heading = "Floors")]
    #[arg(requires_ifs = [("fdatasync", "dir"), ("appends", "dir"), ("replay", "dir")])]
    #[arg(requires_ifs = [("kafka-ends", "topic"), ("kafka-seen", "topic"), ("kafka-read", "topic")])]
    pub(crate) floor: Option<Floor>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Another node of the same data centre: how long after a POST was sent to URL can it be read there? One client that
    /// writes a new session and reads it once; no other load, and no `--rate` or `--mix`.
    #[arg(long, value_name = "URL", requires = "url", conflicts_with = "preload")]
    pub(crate) visible_at: Option<Target>,
    #[command(flatten)]
    pub(crate) load: Load,
}

impl Arguments {
    /// How many connections there will be at most.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.load.connections
    }
}

/// Floors that answer requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Serve {
    /// axum's own server, with one route.
    Axum,
    /// hyper's HTTP/1 server with one function.
    Hyper,
}

/// Floors of a disk, and of a Kafka cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Floor {
    /// A loop that appends to a growing file and calls `fdatasync`, for as long as `--duration` says.
    Fdatasync,
    /// The embedded log in five interleaved rounds with that loop: one append at a time, and 64.
    Appends,
    /// Reads the log in `--dir`, the data directory of a node that does not run, and puts what it says into an empty view.
    Replay,
    /// Asks where the partitions of `--topic` end. With `--connections` above 1 so many wait, and share questions.
    KafkaEnds,
    /// Appends to `--topic`, `--connections` records of `--size` bytes at a time, until a consumer has seen them.
    KafkaSeen,
    /// Reads all of `--topic` and discards it.
    KafkaRead,
}

/// Where a floor is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// A folder on the disk that is measured; what is written there is removed again.
    #[arg(long, value_name = "DIR", requires = "floor", help_heading = "Floors")]
    dir: Option<PathBuf>,
    /// Kafka's brokers: `host:port`, or several with commas between.
    #[arg(long, value_name = "SERVERS", requires = "topic", help_heading = "Floors")]
    bootstrap_servers: Option<String>,
    /// A topic that there is. `kafka-seen` writes to it, so take one that no store uses.
    #[arg(long, value_name = "NAME", requires_all = ["floor", "bootstrap_servers"], help_heading = "Floors")]
    topic: Option<String>,
    /// `kafka-seen`: the brokers of another cluster, into which a mirror copies the topic: it is consumed there.
    #[arg(long, value_name = "SERVERS", requires = "topic", help_heading = "Floors")]
    seen_at: Option<String>,
}

impl Place {
    /// The folder.
    ///
    /// # Errors
    /// Without one.
    pub(crate) fn dir(&self) -> anyhow::Result<&Path> {
        self.dir.as_deref().context("this floor needs --dir")
    }

    /// Brokers and topic.
    ///
    /// # Errors
    /// Without them.
    pub(crate) fn topic(&self) -> anyhow::Result<(&str, &str)> {
        let both = self.bootstrap_servers.as_deref().zip(self.topic.as_deref());
        both.context("this floor needs --bootstrap-servers and --topic")
    }

    /// The brokers of the cluster where what is appended is consumed, if that is another one.
    pub(crate) fn seen_at(&self) -> Option<&str> {
        self.seen_at.as_deref()
    }
}

/// How a server is loaded.
#[derive(Debug, Clone, Args)]
pub(crate) struct Load {
    /// Requests per second, sent on time whatever comes back (open loop); `max`: each connection asks again as soon as
    /// it has its answer (closed loop), which finds the saturation and says little about latency.
    #[arg(long, value_name = "RATE", default_value = "1000")]
    pub(crate) rate: Rate,
    /// How the requests of an open loop lie in time.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// Connections, all kept open.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Threads of the generator, which share the connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// How long to measure: `30s`, `2m`, `500ms`. With 0 nothing but the preloading is done.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = schedule::duration)]
    pub(crate) duration: Duration,
    /// How long to load before measuring.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = schedule::duration)]
    pub(crate) warmup: Duration,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = schedule::duration)]
    pub(crate) timeout: Duration,
    /// Weights of reads, overwrites, writes of new sessions, and deletes.
    #[arg(long, value_name = "KIND=WEIGHT,…", default_value = "get=74,post=25,delete=1")]
    pub(crate) mix: Mix,
    /// Bytes of a session, or `min-max`.
    #[arg(long, value_name = "BYTES", default_value = "2048")]
    pub(crate) size: Sizes,
    /// Sessions that there are.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) keys: u64,
    /// Writes all sessions first, as fast as the connections can. Without it an earlier run has written them.
    #[arg(long)]
    pub(crate) preload: bool,
    /// Sessions that this run has not written may be missing.
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Which sessions are asked for: `uniform`, or `zipf:` and an exponent.
    #[arg(long, value_name = "WHICH", default_value = "zipf:0.99")]
    pub(crate) distribution: Distribution,
    /// The share of reads that ask for sessions which never were, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) miss: f64,
    /// Seconds for the `Session-Ttl` of every write; 0 is never. Without it, the store's default.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ttl: Option<u64>,
    /// What chance is drawn from: the same number asks the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// A process of the server, to count its CPU time and memory; may be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
    /// Writes one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("a number from 0 to 1".to_owned())
}
