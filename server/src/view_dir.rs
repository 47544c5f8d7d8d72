//! Where the view of a store lies: `view/<store>/<generation>/`. The highest generation is the one in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use eventlog::{EventLog, LogClock};
use materializer::{
    View, ViewError,
    sessions::{SessionView, ViewMemory, ViewOptions},
};

/// Opens the view of a store. One that is damaged, or was made from other logs, gives way to an empty one: the logs
/// give back everything that was in it.
pub(crate) async fn open(
    dir: &Path,
    memory: &ViewMemory,
    clock: &Arc<LogClock>,
    logs: &[Arc<dyn EventLog>],
) -> anyhow::Result<SessionView> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let generations = generations(dir).with_context(|| format!("list {}", dir.display()))?;
    let newest = generations.last().copied();
    if let Some(newest) = newest {
        match open_generation(dir, newest, memory, clock, logs).await? {
            Ok(view) => return Ok(view),
            Err(error) => tracing::warn!(
                "The view in {} is of no use and is made again from the log: {error}",
                generation_dir(dir, newest).display()
            ),
        }
    }
    let next = newest.map_or(1, |newest| newest + 1);
    let view = open_generation(dir, next, memory, clock, logs).await??;
    for old in generations {
        let old = generation_dir(dir, old);
        fs::remove_dir_all(&old).with_context(|| format!("remove {}", old.display()))?;
    }
    Ok(view)
}

/// The outer error is the log's, which a new view would meet too; the inner one is the view's own.
async fn open_generation(
    dir: &Path,
    generation: u64,
    memory: &ViewMemory,
    clock: &Arc<LogClock>,
    logs: &[Arc<dyn EventLog>],
) -> anyhow::Result<Result<SessionView, ViewError>> {
    let of = logs.iter().map(|log| (log.topic().clone(), log.incarnation())).collect();
    let options = ViewOptions { memory, clock: Arc::clone(clock), logs: of };
    let opened = SessionView::open(&generation_dir(dir, generation), options);
    let (view, saved) = match opened.and_then(|view| view.saved().map(|saved| (view, saved))) {
        Ok(both) => both,
        Err(error) => return Ok(Err(error)),
    };
    for log in logs {
        let tail = log.tail().await.with_context(|| format!("ask {} for its end", log.topic()))?;
        // A log that ends before the view's position lost records that the view has seen, or is another log.
        if saved.logs.get(log.topic()).is_some_and(|saved| !tail.is_at_least(&saved.frontier)) {
            let reason = format!("it has applied more of {} than the log holds", log.topic());
            return Ok(Err(ViewError::Corrupt(reason.into())));
        }
    }
    Ok(Ok(view))
}

fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(generation.to_string())
}

/// The generations in `dir`, lowest first.
fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
