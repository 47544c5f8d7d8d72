//! Folds the log again, into a scratch view, and compares what comes of it with the view that is served.
//!
//! ```text
//!   scratch ── fold to the tails ──▶ wait until the served view is there ──▶ freeze that
//!           ── fold to exactly where the frozen one is ──▶ hash both, compare
//! ```
//! An embedded log drops nothing meanwhile: a record that only the frozen moment needs must still be there. A cluster
//! leaves alone what is younger than its compaction lag, which is longer than this takes.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use anyhow::ensure;
use api::Job;
use materializer::{BUCKETS, Essence, Hashes, sessions::Frozen};
use schemas::{KeyId, Timestamp};

use super::{Outcome, Workplace, rebuild::report};
use crate::{logs::StoreLog, view_dir};

/// How long the served view may take to get to where the logs ended.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Cells whose retention ends within this time are left out: one of the views may drop them while they are compared.
const MARGIN: Duration = Duration::from_secs(3600);

/// Of how many keys the difference is told.
const TOLD: usize = 10;

pub(super) async fn verify(store: &Workplace, job: &Job) -> anyhow::Result<Outcome> {
    store.check_room()?;
    let _nothing_is_dropped: Vec<_> = store.logs().map(StoreLog::keep_all).collect();
    let scratch_dir = store.view_dir.path.join(view_dir::VERIFYING);
    view_dir::remove(&scratch_dir)?;
    let (scratch, mut replay) = store.replay_into(&scratch_dir)?;
    scratch.set_temporary(true);
    let tails = replay.tails().await?;
    replay.up_to(&tails, |done, total| report(job, done, total)).await?;
    for (topic, tail) in &tails {
        store.fence.wait_for_all(topic, tail, CATCH_UP).await?;
    }

    let generation = store.generation.borrow().clone();
    let served = generation.frozen();
    replay.up_to(&served.frontiers()?, |done, total| report(job, done, total)).await?;
    let scratch = scratch.frozen();
    // As late as can be: whatever compaction has dropped by now is left out.
    let leave_out_before = store.clock.gc_now().saturating_add(MARGIN);
    let outcome = compare(&scratch, &served, leave_out_before)?;
    ensure!(
        store.clock.gc_now() <= leave_out_before,
        "comparing took longer than {} s, in which views may have dropped cells that were compared",
        MARGIN.as_secs()
    );
    Ok(outcome)
}

fn compare(
    scratch: &Frozen<'_>,
    served: &Frozen<'_>,
    leave_out_before: Timestamp,
) -> anyhow::Result<Outcome> {
    let ((of_log, cells), (of_view, _)) =
        (hashes(scratch, leave_out_before)?, hashes(served, leave_out_before)?);
    let differing = of_log.differing(&of_view);
    if differing == 0 {
        return Ok(Outcome::Done(format!("{cells} cells in {BUCKETS} buckets are what the log says")));
    }
    let strange = |key: &KeyId| !of_log.agree_on(&of_view, key);
    let mut by_log = some(scratch, leave_out_before, strange)?;
    let by_view = some(served, leave_out_before, strange)?;
    let mut keys: Vec<_> =
        by_view.iter().filter(|(key, cell)| by_log.get(key) != Some(*cell)).map(|(key, _)| *key).collect();
    by_log.retain(|key, _| !by_view.contains_key(key));
    keys.extend(by_log.into_keys());
    ensure!(!keys.is_empty(), "{differing} buckets differ, and no key in them does");
    // In the log alone: whoever may look at jobs need not know of sessions.
    let told: Vec<_> = keys.iter().take(TOLD).map(|key| format!("~{key}")).collect();
    tracing::error!("The view does not hold what the log says of {}", told.join(" "));
    Ok(Outcome::Different(format!(
        "{differing} of {BUCKETS} buckets are not what the log says, {} keys among those that were looked at; the log of this \
         process names some. Rebuild the view, and keep a copy of the one before for whoever wants to know why",
        keys.len()
    )))
}

fn hashes(view: &Frozen<'_>, leave_out_before: Timestamp) -> anyhow::Result<(Hashes, u64)> {
    let (mut hashes, mut cells) = (Hashes::new(), 0);
    view.cells(|cell| {
        if cell.matters(leave_out_before) {
            hashes.add(&cell);
            cells += 1;
        }
        ControlFlow::Continue(())
    })?;
    Ok((hashes, cells))
}

/// A bounded number of cells that `is_strange`.
fn some(
    view: &Frozen<'_>,
    leave_out_before: Timestamp,
    is_strange: impl Fn(&KeyId) -> bool,
) -> anyhow::Result<BTreeMap<KeyId, Essence>> {
    const LOOKED_AT: usize = 100_000;
    let mut found = BTreeMap::new();
    view.cells(|cell| {
        if cell.matters(leave_out_before) && is_strange(&cell.key) {
            found.insert(cell.key, cell);
        }
        if found.len() < LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}
