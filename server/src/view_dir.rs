//! Where the view of a store lies: `view/<store>/<generation>/`. The highest generation is the one in use.
//!
//! What is made beside a generation that is served gets its number when it is complete, and has another name before.

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
use schemas::StoreName;

use crate::{
    checkpoints::{self, Checkpoints},
    config::Config,
};

/// Where a damaged generation goes.
const ASIDE: &str = "damaged";

/// Where a generation is being made while another is served.
pub(crate) const REBUILDING: &str = "rebuilding";

/// Where the log is folded again to compare.
pub(crate) const VERIFYING: &str = "verifying";

/// Where a checkpoint is copied to.
const RESTORING: &str = "restoring";

/// Where the view of a store lies.
pub(crate) fn of_store(config: &Config, store: &StoreName) -> PathBuf {
    config.data_dir.join("view").join(store.as_str())
}

/// Opens the view of a store. One that is damaged is moved aside, for whoever wants to know why; one that was made from
/// other logs is removed. The newest of `checkpoints` that is of use takes its place, or an empty one: the logs give back
/// everything that is missing.
///
/// # Errors
/// When the log or the disk does not answer: then a view that may be in order is left alone.
pub(crate) async fn open(
    dir: &Path,
    memory: &ViewMemory,
    clock: &Arc<LogClock>,
    logs: &[Arc<dyn EventLog>],
    checkpoints: &Checkpoints,
) -> anyhow::Result<SessionView> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for left in [REBUILDING, VERIFYING, RESTORING] {
        remove(&dir.join(left))?;
    }
    let generations = numbered(dir).with_context(|| format!("list {}", dir.display()))?;
    let newest = generations.last().copied();
    let mut was_damaged = false;
    if let Some(newest) = newest {
        match open_generation(dir, newest, memory, clock, logs).await? {
            Ok(view) => {
                // A crash between making this one and removing the one before has left that behind.
                return generations[..generations.len() - 1]
                    .iter()
                    .try_for_each(|&old| remove(&generation_dir(dir, old)))
                    .map(|()| view);
            }
            Err(error) if error.is_of_the_storage() => return Err(error.into()),
            Err(error) => {
                let place = generation_dir(dir, newest);
                let place = place.display();
                tracing::warn!("The view in {place} is of no use and is made again from the log: {error}");
                if matches!(error, ViewError::Damaged(_)) {
                    was_damaged = true;
                    move_aside(dir, newest)?;
                }
            }
        }
    }
    let next = newest.map_or(1, |newest| newest + 1);
    let view = match from_checkpoint(dir, next, memory, clock, logs, (checkpoints, was_damaged)).await? {
        Some(view) => view,
        None => open_generation(dir, next, memory, clock, logs).await??,
    };
    for old in generations {
        remove(&generation_dir(dir, old))?;
    }
    Ok(view)
}

/// The generation `next`, from the newest checkpoint that is of use. After damage they are read from end to end before
/// they are believed.
async fn from_checkpoint(
    dir: &Path,
    next: u64,
    memory: &ViewMemory,
    clock: &Arc<LogClock>,
    logs: &[Arc<dyn EventLog>],
    (checkpoints, was_damaged): (&Checkpoints, bool),
) -> anyhow::Result<Option<SessionView>> {
    for checkpoint in checkpoints.newest_first()? {
        let (restoring, place) = (dir.join(RESTORING), generation_dir(dir, next));
        checkpoints::restore(&checkpoint, &restoring)
            .with_context(|| format!("copy {} to {}", checkpoint.display(), restoring.display()))?;
        fs::rename(&restoring, &place).with_context(|| format!("name the view {}", place.display()))?;
        let opened = open_generation(dir, next, memory, clock, logs).await?;
        // It shares files with the view that was damaged, and a block is checked when it is read.
        let checked =
            opened.and_then(|view| if was_damaged { view.check().map(|()| view) } else { Ok(view) });
        match checked {
            Ok(view) => {
                tracing::info!("The view starts from the checkpoint {}", checkpoint.display());
                return Ok(Some(view));
            }
            Err(error) if error.is_of_the_storage() => return Err(error.into()),
            Err(error) => {
                tracing::warn!("The checkpoint {} is of no use: {error}", checkpoint.display());
                remove(&place)?;
            }
        }
    }
    Ok(None)
}

/// Keeps one damaged generation, the last: it takes as much room as the view itself.
fn move_aside(dir: &Path, generation: u64) -> anyhow::Result<()> {
    let aside = dir.join(ASIDE);
    remove(&aside)?;
    let from = generation_dir(dir, generation);
    fs::rename(&from, &aside).with_context(|| format!("move {} to {}", from.display(), aside.display()))?;
    tracing::warn!("What was in {} is now in {}; it may be removed", from.display(), aside.display());
    Ok(())
}

/// Removes `dir` and what is in it, if it is there.
pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
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
            return Ok(Err(ViewError::Foreign(reason.into())));
        }
    }
    Ok(Ok(view))
}

fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(generation.to_string())
}

/// Where the next generation of the view in `dir` goes.
pub(crate) fn next_generation(dir: &Path) -> anyhow::Result<PathBuf> {
    let found = numbered(dir).with_context(|| format!("list {}", dir.display()))?;
    Ok(generation_dir(dir, found.last().map_or(1, |newest| newest + 1)))
}

/// The numbers among the names in `dir`, lowest first.
pub(crate) fn numbered(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
