//! `solera serve` and `solera dev`.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use futures::future::join_all;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::say;
use crate::{
    access::Guards,
    config::{self, Config, Problem, SecretsConfig},
    node, secrets,
    telemetry::{self, Log},
    tls::{Certificates, FileTls},
};

/// How long threads that block on the disk may go on once all is closed. What was acknowledged is in the log.
const LEFT_BEHIND_PATIENCE: Duration = Duration::from_secs(5);

/// Serves by a configuration file.
pub(super) fn from_file(file: &Path, data_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = config::parse(&text);
    let mut config = usable(file, parsed.config)?;
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir;
    }
    let log = telemetry::start(&config.telemetry)?;
    for warning in &parsed.warnings {
        tracing::warn!("{warning}");
    }
    let at_hang_up = AtHangUp::Reload(file.to_owned(), log.clone());
    run(vec![config], &log, at_hang_up, || {})
}

/// Serves on this machine, and says how to try it.
pub(super) fn dev(port: u16, data_dir: PathBuf) -> anyhow::Result<()> {
    // Whoever reads it in a terminal may be elsewhere when it is needed.
    let data_dir = std::path::absolute(data_dir).context("find the data directory")?;
    let config = config::dev(port, data_dir);
    let data_dir = config.data_dir.display();
    let hints = format!(
        "Sessions  http://127.0.0.1:{port}/sessions/v1/\n\
         Admin     http://{admin}/v1/status\n\
         Data      {data_dir}\n\
         Try it    curl -i -X POST -d hello http://127.0.0.1:{port}/sessions/v1/greeting && curl -i http://127.0.0.1:{port}/sessions/v1/greeting\n\
         More      solera dev --dcs 2 runs two data centres: what one writes the other reads, what one deletes is gone in both\n\
         Stop it   Ctrl-C; a second start goes on with the same data",
        admin = config.admin.listen,
    );
    let log = telemetry::start(&config.telemetry)?;
    run(vec![config], &log, AtHangUp::Stop, move || {
        // Nobody reads standard output: that is no reason to stop.
        let _gone = say(&hints);
    })
}

/// Serves several data centres on this machine, and says how to try them.
pub(super) fn dev_dcs(port: u16, data_dir: PathBuf, count: u16) -> anyhow::Result<()> {
    let data_dir = std::path::absolute(data_dir).context("find the data directory")?;
    let configs = config::dev_dcs(port, &data_dir, count)
        .with_context(|| format!("{count} data centres need ports below and above --port-base {port}"))?;
    let hints = hints_of_several(&configs, &data_dir);
    let log = telemetry::start(&configs.first().context("a data centre at least")?.telemetry)?;
    fs::create_dir_all(&data_dir).with_context(|| format!("create {}", data_dir.display()))?;
    secrets::load(&SecretsConfig::MadeInDataDir, &data_dir)?;
    run(configs, &log, AtHangUp::Stop, move || {
        let _gone = say(&hints);
    })
}

fn hints_of_several(configs: &[Config], data_dir: &Path) -> String {
    let of_each = configs.iter().map(|config| {
        let (dc, port) = (&config.dc, config.listener.port);
        format!(
            "{dc}       http://127.0.0.1:{port}/sessions/v1/   admin http://{}/v1/status\n",
            config.admin.listen
        )
    });
    let of_each: String = of_each.collect();
    let greeting = |n: usize| format!("http://127.0.0.1:{}/sessions/v1/greeting", configs[n].listener.port);
    let last = configs.len() - 1;
    format!(
        "{of_each}\
         Data      {}\n\
         Try it    curl -i -X POST -d hello {first}; sleep 1; curl -i {last}\n\
         \u{20}         curl -i -X DELETE {last}; curl -i {first}\n\
         Stop it   Ctrl-C; a second start goes on with the same data",
        data_dir.display(),
        first = greeting(0),
        last = greeting(last),
    )
}

/// What SIGHUP means: to a service "read your file again", to a program in a terminal that the terminal is gone.
enum AtHangUp {
    Reload(PathBuf, Log),
    Stop,
}

/// Runs a node of each configuration until all have stopped: one that fails takes the others with it. Only one alone may speak
/// TLS, and only one alone may know its clients.
fn run(
    configs: Vec<Config>,
    log: &Log,
    at_hang_up: AtHangUp,
    listening: impl FnOnce(),
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let stop = CancellationToken::new();
    let outcome: anyhow::Result<()> = runtime.block_on(async {
        let tls = configs.first().and_then(|config| config.listener.tls.as_ref());
        let admin = configs.first().and_then(|config| config.admin.tls.as_ref());
        let peers = configs.first().and_then(|config| config.peers.as_ref()?.tls.as_ref());
        let guards = configs.first().map_or(Ok(Guards::OPEN), Guards::of)?;
        let tls = Certificates {
            data: tls.map(FileTls::of_data).transpose()?.map(Arc::new),
            admin: admin.map(FileTls::of_admin).transpose()?.map(Arc::new),
            peers: peers.map(FileTls::of_peers).transpose()?.map(Arc::new),
        };
        let (rotations, asked) = watch::channel(None);
        let taken_over = (tls.clone(), guards.clone(), rotations);
        obey_signals(at_hang_up, log.clone(), taken_over, stop.clone())?;
        let (silent, listening) = (Cell::new(configs.len()), Cell::new(Some(listening)));
        let nodes = configs.into_iter().map(async |config| {
            let is_listening = || {
                silent.set(silent.get() - 1);
                if silent.get() == 0 {
                    listening.take().into_iter().for_each(|say| say());
                }
            };
            let ended = node::run(
                config,
                log,
                (tls.clone(), guards.clone(), asked.clone()),
                is_listening,
                stop.clone(),
            )
            .await;
            stop.cancel();
            ended
        });
        tokio::select! {
            ended = join_all(nodes) => ended.into_iter().collect(),
            never = log.count_repeats() => match never {},
        }
    });
    // A thread that a disk does not answer must not keep a process that has said that it ends.
    runtime.shutdown_timeout(LEFT_BEHIND_PATIENCE);
    outcome.inspect(|()| log.finish()).inspect_err(|error| log.fatal(&format!("{error:#}")))
}

/// Where that goes which SIGHUP takes over.
type TakenOver = (Certificates, Guards, watch::Sender<Option<SecretsConfig>>);

/// The first SIGTERM or SIGINT stops in order, the second at once.
fn obey_signals(
    at_hang_up: AtHangUp,
    log: Log,
    taken_over: TakenOver,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::spawn(async move {
        let mut asked = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => if let AtHangUp::Reload(file, log) = &at_hang_up {
                    reload(file, log, &taken_over);
                    continue;
                },
            }
            asked += 1;
            if asked == 2 {
                tracing::warn!("Stopping at once, as asked a second time");
                log.finish();
                std::process::exit(130);
            }
            tracing::info!("Stopping: finishing what runs");
            stop.cancel();
        }
    });
    Ok(())
}

/// Reads the file again and takes over what can change while the program runs: the level of the log, and the
/// certificates, who may do what, and the ring of secrets.
fn reload(file: &Path, log: &Log, (tls, guards, rotations): &TakenOver) {
    let config = read(file).and_then(|config| {
        log.set_level(config.telemetry.log_level)?;
        Ok(config)
    });
    let config = match config {
        Ok(config) => config,
        Err(error) => return tracing::error!("Nothing was changed: {error:#}"),
    };
    tracing::info!("Read {} again: the log level is {:?}", file.display(), config.telemetry.log_level);
    guards.reload(&config);
    rotations.send_replace(Some(config.secrets.clone()));
    let of_peers = config.peers.and_then(|peers| peers.tls);
    for (name, tls, files) in [
        ("tls", &tls.data, config.listener.tls),
        ("admin.tls", &tls.admin, config.admin.tls),
        ("peers.tls", &tls.peers, of_peers),
    ] {
        match (tls, files) {
            (Some(tls), Some(files)) => {
                if let Err(error) = tls.reload(&files) {
                    tracing::error!("The certificate in use stays: {error}, then send SIGHUP again");
                }
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                tracing::warn!("{name} was added or left out: that takes a restart");
            }
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Config> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    usable(file, config::parse(&text).config)
}

pub(super) fn usable(file: &Path, config: Result<Config, Vec<Problem>>) -> anyhow::Result<Config> {
    config.map_err(|problems| {
        anyhow!("{} cannot be used:\n{}", file.display(), config::report(&problems).trim_end())
    })
}
