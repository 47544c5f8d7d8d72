//! What the program can be asked to do.

mod admin;
mod bench;
mod check_config;
mod diff;
mod job;
mod peers;
mod secret;
mod serve;
mod topics;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::build_info::BUILD;

/// Where Kask looks for its configuration, and so does this program under the name `kask`.
const KASK_CONFIG: &str = "/etc/kask/config.yaml";

/// An event-sourced session store over a log. Answers Kask's HTTP calls.
#[derive(Debug, Parser)]
#[command(name = "solera", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves sessions by a configuration file, which may be one of Kask's. `solera --config FILE` is the same.
    #[command(after_help = "Example: solera serve --config /etc/solera/config.yaml")]
    Serve(ServeArgs),
    /// Serves sessions on this machine, for development: no configuration, an embedded log, secrets of its own.
    #[command(after_help = "Example: solera dev --data-dir ./data --port-base 8081")]
    Dev(DevArgs),
    /// Says what is wrong with a configuration file, and what to do about it.
    CheckConfig {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Makes the view of a running node anew from its log. Reads and writes go on meanwhile.
    #[command(after_help = "Example: solera rebuild --store sessions")]
    Rebuild(JobArgs),
    /// Folds the log of a running node again and compares with the view. Exit code 5: they differ.
    #[command(after_help = "Example: solera verify --admin 127.0.0.1:9081")]
    Verify(JobArgs),
    /// The other data centres as a running node sees them.
    #[command(after_help = "Example: solera peers --admin 127.0.0.1:9081")]
    Peers(peers::PeersArgs),
    /// Compares what two data centres hold, and names the keys of which they do not hold the same. Exit code 5: they differ.
    ///
    /// Asks a node of one of the two, which asks the other. A write that is on its way is no difference: a key counts when one
    /// of them still lacks what the other had, once both have applied all that was written until then. If one of them does
    /// not get there in half a minute, nobody knows: exit code 4, as when it cannot be reached. To bring back what was lost:
    /// `solera repair --from`.
    #[command(after_help = "Example: solera diff eqiad codfw --admin 127.0.0.1:9081\n\n\
              sessions: eqiad has 2 cells and codfw 1, and they differ in 1 key\n  \
              ~h4pXq3dUV0mJ2mXoUAb8Yg  eqiad: set 01937c5f2a300000-5b0c7e7f2c1d9a44  codfw: nothing")]
    Diff(diff::DiffArgs),
    /// Brings here what the logs of another data centre hold and this data centre lacks: records that its copies have
    /// lost, and, after the loss of a disk, what this one wrote itself. What is brought is appended to this data
    /// centre's own log, as it was, so that every node of it has it, and every view that is made anew. Reads and writes
    /// go on meanwhile; to run it again is harmless, and goes on where it was stopped.
    #[command(
        after_help = "Examples:\n  solera repair --from codfw\n  solera repair --from codfw --store sessions --admin \
                            127.0.0.1:9081"
    )]
    Repair(RepairArgs),
    /// The topics that a configuration with Kafka needs.
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// The secrets that sessions are sealed with.
    Secret(secret::SecretArgs),
    /// Loads a server that answers as Kask does, checks every answer, and says how fast it was.
    #[command(after_help = "Example: solera bench http://127.0.0.1:8081/sessions/v1/ --preload --rate 5000")]
    Bench(Box<::bench::Arguments>),
    /// Says what this program is.
    Version,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration, in YAML.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Where the log, the view and made secrets lie, in place of the configuration's `data_dir`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DevArgs {
    /// Where the log, the view and the secrets lie. A second start goes on with them.
    #[arg(long, value_name = "DIR", default_value = "solera-data")]
    data_dir: PathBuf,
    /// The data listener's port; the admin listener's is 1000 above.
    #[arg(long, value_name = "PORT", default_value_t = 8081, value_parser = clap::value_parser!(u16).range(1..=64535))]
    port_base: u16,
    /// How many data centres to run, each with a node of its own on the next port; they listen for each other 1000 below.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    dcs: u16,
}

#[derive(Debug, Args)]
struct JobArgs {
    #[command(flatten)]
    admin: admin::AdminArgs,
    /// Only this store; all of them otherwise.
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
}

#[derive(Debug, Args)]
struct RepairArgs {
    /// The data centre whose logs are read: its own, and its copies of the others'.
    #[arg(long, value_name = "DC")]
    from: String,
    #[command(flatten)]
    job: JobArgs,
}

/// A failure that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// The node does not answer, or not now.
    #[error("{0}")]
    Unavailable(String),
    /// Two things that should be equal are not.
    #[error("{0}")]
    Mismatch(String),
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 3,
            Self::Unavailable(_) => 4,
            Self::Mismatch(_) => 5,
        }
    }
}

/// Runs the program. Says on standard error why it failed.
pub fn run(mut args: Vec<OsString>) -> ExitCode {
    if called_kask(&args) && names_no_file(&args) {
        args.extend(["--config".into(), KASK_CONFIG.into()]);
    }
    let cli = Cli::parse_from(args);
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    let outcome = match command {
        Command::Serve(ServeArgs { config, data_dir }) => {
            serve::from_file(&config.unwrap_or_else(|| KASK_CONFIG.into()), data_dir)
        }
        Command::Dev(DevArgs { data_dir, port_base, dcs: 1 }) => serve::dev(port_base, data_dir),
        Command::Dev(DevArgs { data_dir, port_base, dcs }) => serve::dev_dcs(port_base, data_dir, dcs),
        Command::CheckConfig { file } => check_config::check(&file),
        Command::Peers(args) => peers::run(&args),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Rebuild(JobArgs { admin, store }) => job::order(&admin, "rebuild", None, store.as_deref()),
        Command::Verify(JobArgs { admin, store }) => job::order(&admin, "verify", None, store.as_deref()),
        Command::Repair(RepairArgs { from, job: JobArgs { admin, store } }) => {
            job::order(&admin, "repair", Some(json!({ "from": from })), store.as_deref())
        }
        Command::Secret(args) => secret::run(&args),
        Command::Topics(command) => topics::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Version => say(&format!("solera {} ({})", BUILD.version, BUILD.go_version)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a program that failed")]
            {
                eprintln!("solera: {error:#}");
            }
            error.downcast_ref::<Failure>().map_or(ExitCode::FAILURE, |failure| failure.exit_code().into())
        }
    }
}

/// Nothing but, perhaps, where the data lie.
fn names_no_file(args: &[OsString]) -> bool {
    args.len() == 1 || (args.len() == 3 && args[1] == "--data-dir")
}

fn called_kask(args: &[OsString]) -> bool {
    let name = args.first().and_then(|path| Path::new(path).file_name());
    name.is_some_and(|name| name == "kask")
}

/// What a person asked for goes to standard output.
///
/// # Errors
/// When nobody takes it.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("write to standard output")
}
