//! Makes the view anew beside the one that is served, and puts it in its place. Reads and writes go on.

use std::{fs, sync::Arc};

use anyhow::Context;
use api::Job;
use materializer::{Successor, View, sessions::SessionView};
use tokio::sync::oneshot;

use super::{Outcome, READ_ENDS_WITHIN, Workplace};
use crate::view_dir;

/// The new view may be this many records behind when it takes over: applied in a moment, in which writes wait.
const NEAR: u64 = 10_000;

/// A log that is written faster than it is folded is never near. Then writes wait for longer, once.
const ROUNDS_MAX: usize = 10;

pub(super) async fn rebuild(store: &Workplace, job: &Job) -> anyhow::Result<Outcome> {
    store.check_room()?;
    let scratch = store.view_dir.path.join(view_dir::REBUILDING);
    view_dir::remove(&scratch)?;
    let (view, mut replay) = store.replay_into(&scratch)?;
    view.set_temporary(true);
    for _ in 0..ROUNDS_MAX {
        let tails = replay.tails().await?;
        replay.up_to(&tails, |done, total| report(job, done, total)).await?;
        if replay.distance_to(&replay.tails().await?)? <= NEAR {
            break;
        }
    }
    drop(replay);

    // IMPORTANT: complete on disk before it has a generation's name: the highest is what a start opens.
    view.flush()?;
    view.set_temporary(false);
    let view = Arc::into_inner(view).context("somebody else holds the new view")?;
    drop(view);
    let next = store.view_dir.next_generation()?;
    fs::rename(&scratch, &next).with_context(|| format!("name the new view {}", next.display()))?;
    let dir = &store.view_dir.path;
    crate::data_dir::sync(dir).with_context(|| format!("sync {}", dir.display()))?;

    let view = Arc::new(SessionView::open(&next, store.view_dir.options())?);
    let (served, is_served) = oneshot::channel();
    let successor = Successor { view: Arc::clone(&view) as Arc<dyn View>, served };
    store.successor.send(successor).await.ok().context("the view is not followed any more")?;
    is_served.await.context("the view is not followed any more")?;
    let before = store.generation.send_replace(view);
    before.set_temporary(true);
    tokio::time::sleep(READ_ENDS_WITHIN).await;
    drop(before);
    Ok(Outcome::Done(format!("made anew in {}", next.display())))
}

/// The first call of a round says how much there is.
pub(super) fn report(job: &Job, done: u64, total: u64) {
    if done == 0 {
        job.expect(total);
    }
    job.advance(done);
}
