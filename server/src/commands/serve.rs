//! `solera serve` and `solera dev`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::say;
use crate::{
    config::{self, Config},
    node, telemetry,
};

/// Serves by a configuration file.
pub(super) fn from_file(file: &Path, data_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = config::parse(&text);
    let mut config = match parsed.config {
        Ok(config) => config,
        Err(problems) => {
            bail!("{} cannot be used:\n{}", file.display(), config::report(&problems).trim_end())
        }
    };
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir;
    }
    telemetry::start(&config.telemetry)?;
    for warning in &parsed.warnings {
        tracing::warn!("{warning}");
    }
    run(config)
}

/// Serves on this machine, and says how to try it.
pub(super) fn dev(port: u16, data_dir: PathBuf) -> anyhow::Result<()> {
    let config = config::dev(port, data_dir);
    let data_dir = config.data_dir.display();
    say(&format!(
        "Sessions  http://127.0.0.1:{port}/sessions/v1/\n\
         Admin     http://{admin}/v1/status\n\
         Data      {data_dir}\n\
         Try it    curl -i -X POST -d hello http://127.0.0.1:{port}/sessions/v1/greeting && curl -i http://127.0.0.1:{port}/sessions/v1/greeting\n\
         Stop it   Ctrl-C; a second start goes on with the same data",
        admin = config.admin_listen,
    ));
    telemetry::start(&config.telemetry)?;
    run(config)
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let stop = CancellationToken::new();
    runtime.block_on(async {
        stop_on_signal(stop.clone())?;
        node::run(config, stop).await
    })
}

/// The first SIGTERM or SIGINT stops in order, the second at once.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn(async move {
        let mut asked = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            asked += 1;
            if asked == 2 {
                tracing::warn!("Stopping at once, as asked a second time");
                std::process::exit(130);
            }
            tracing::info!("Stopping: finishing what runs");
            stop.cancel();
        }
    });
    Ok(())
}
