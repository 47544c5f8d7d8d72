//! Brings a view up to its log before anybody follows it: a long log is read and checked on one thread and folded on
//! another. What copies lack is looked for from here on, too. A follower does both on one, since there every hop between threads is a writer's wait.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use materializer::{FollowError, Replay, ViewError};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{logs::patiently, store::Parts};

/// From so many records on it is worth a second thread. Fewer take a moment, and the follower keeps their cells in memory.
const FAR: u64 = 10_000;

/// How often the log says how far it has come.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Folds what the logs hold now, if that is much. Ends early at `stop`, and when the disk is full: the follower goes on
/// from there, and waits for space.
///
/// # Errors
/// When a log or the view cannot be read, or the view not be written.
pub(crate) async fn catch_up(parts: &Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let Parts { own, mirrored, view, clock, mac, gaps, counted, .. } = parts;
    let replay = Replay::new(own, mirrored, Arc::clone(view), mac.clone(), Arc::clone(clock))?;
    let mut tails = BTreeMap::new();
    for log in [own].into_iter().chain(mirrored) {
        tails.insert(log.topic().clone(), patiently(log, || log.tail()).await?);
    }
    let saved = view.saved()?;
    for log in mirrored {
        let tail = &tails[log.topic()];
        gaps.resume(log.topic(), log.partitions(), &saved, tail, clock.now());
    }
    gaps.begin_own(&tails[own.topic()]);
    let records = replay.distance_to(&tails)?;
    if records < FAR {
        return Ok(());
    }
    let store = own.topic().store.clone();
    tracing::info!("The view of {store} is {records} records behind its log: folding them first");
    let mut replay = replay.reading_ahead().counted(counted).looking_for_gaps(Arc::clone(gaps));
    let runtime = Handle::current();
    let fold = move || {
        let (mut folded, mut said) = (0, Instant::now());
        let report = |done, _| {
            folded += done;
            if SAY_EVERY <= said.elapsed() {
                said = Instant::now();
                tracing::info!("The view of {store} has folded {folded} of {records} records");
            }
        };
        runtime.block_on(stop.run_until_cancelled(replay.up_to(&tails, report)))
    };
    match spawn_blocking(fold).await.context("the fold panicked")? {
        None | Some(Ok(()) | Err(FollowError::View(ViewError::NoSpace(_)))) => Ok(()),
        Some(Err(error)) => Err(error.into()),
    }
}
