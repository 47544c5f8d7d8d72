//! What an operator can have done while the node serves: rebuild, verify, checkpoint, repair. One at a time.

mod checkpoint;
mod rebuild;
mod repair;
mod verify;

use std::{path::Path, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use api::{Ended, Job, JobState, Task};
use eventlog::LogClock;
use materializer::{Fence, Gaps, Reads, Replay, Successor, View, sessions::SessionView};
use schemas::{MacKey, StoreName};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use writer::{Writer, peer::HttpPeer};

use crate::{checkpoints::Checkpoints, config::CheckpointsConfig, logs::StoreLog, view_dir::ViewDir};

/// An open store: as jobs work on it, and as it is closed at the end.
#[derive(Clone, Debug)]
pub(crate) struct Workplace {
    pub(crate) name: StoreName,
    pub(crate) view_dir: ViewDir,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) log: StoreLog,
    /// Copies of what other data centres write.
    pub(crate) copies: Vec<StoreLog>,
    /// The generation that is served.
    pub(crate) generation: watch::Sender<Arc<SessionView>>,
    pub(crate) fence: Arc<Fence>,
    pub(crate) successor: mpsc::Sender<Successor>,
    pub(crate) mac: MacKey,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) reads: Arc<Reads>,
    /// What the copies lack.
    pub(crate) gaps: Arc<Gaps>,
    /// The other data centres.
    pub(crate) peers: Vec<Arc<HttpPeer>>,
}

/// What a job came to, for one store.
enum Outcome {
    Done(String),
    Different(String),
}

/// Does what is ordered, until `stop`.
pub(crate) async fn run(
    mut orders: mpsc::UnboundedReceiver<Arc<Job>>,
    stores: Vec<Workplace>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(Some(job)) = stop.run_until_cancelled(orders.recv()).await {
        tracing::info!("Job {} begins: {:?}", job.id, job.task);
        let stopped = stop.child_token();
        let mut performing = pin!(perform(&job, &stores, stopped.clone()));
        let ended = tokio::select! {
            ended = &mut performing => ended,
            () = job.stop.cancelled() => {
                stopped.cancel();
                match performing.await {
                    Ended { state: JobState::Failed, detail } => Ended { state: JobState::Cancelled, detail },
                    ended => ended,
                }
            }
        };
        match ended.state {
            JobState::Failed | JobState::Different => {
                tracing::error!("Job {}, {:?}: {}", job.id, job.task, ended.detail);
            }
            _ => tracing::info!("Job {}, {:?}: {}", job.id, job.task, ended.detail),
        }
        job.end(ended);
    }
    Ok(())
}

/// Makes checkpoints by the clock, until `stop`. One that fails is not the node's end: the log has everything.
pub(crate) async fn keep_checkpoints(
    store: Workplace,
    config: CheckpointsConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut due = interval(config.every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once, and the view has just been opened.
    due.tick().await;
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        let store = store.clone();
        let name = store.name.clone();
        let made = spawn_blocking(move || checkpoint::make(&store)).await.context("make a checkpoint")?;
        if let Err(error) = made {
            tracing::error!("Cannot make a checkpoint of {name}: {error:#}");
        }
    }
    Ok(())
}

async fn perform(job: &Arc<Job>, stores: &[Workplace], stop: CancellationToken) -> Ended {
    let mut details = Vec::new();
    let mut state = JobState::Done;
    for store in stores.iter().filter(|store| job.store.as_ref().is_none_or(|name| *name == store.name)) {
        let (store, name) = (store.clone(), &store.name);
        let outcome = on_a_thread(Arc::clone(job), store, stop.clone()).await;
        match outcome {
            Ok(Outcome::Done(detail)) => details.push(format!("{name}: {detail}")),
            Ok(Outcome::Different(detail)) => {
                state = JobState::Different;
                details.push(format!("{name}: {detail}"));
            }
            Err(error) => {
                details.push(format!("{name}: {error:#}"));
                return Ended { state: JobState::Failed, detail: details.join("; ") };
            }
        }
    }
    Ended { state, detail: details.join("; ") }
}

/// All of them block on the disk.
async fn on_a_thread(job: Arc<Job>, store: Workplace, stop: CancellationToken) -> anyhow::Result<Outcome> {
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(async {
            let work = async {
                match &job.task {
                    Task::Rebuild => rebuild::rebuild(&store, &job).await,
                    Task::Verify => verify::verify(&store, &job).await,
                    Task::Checkpoint => checkpoint::make(&store).map(Outcome::Done),
                    Task::Repair { from } => repair::repair(&store, from, &job).await,
                }
            };
            stop.run_until_cancelled(work).await.context("it was stopped")?
        })
    };
    spawn_blocking(work).await.context("it panicked")?
}

impl Workplace {
    /// All that the view is made from.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &StoreLog> {
        std::iter::once(&self.log).chain(&self.copies)
    }

    /// An empty view in `dir`, and the fold into it.
    fn replay_into(&self, dir: &Path) -> anyhow::Result<(Arc<SessionView>, Replay)> {
        let view = Arc::new(SessionView::open(dir, self.view_dir.options())?);
        let own = self.log.log();
        let into = Arc::clone(&view) as Arc<dyn View>;
        let copies: Vec<_> = self.copies.iter().map(StoreLog::log).collect();
        let replay = Replay::new(&own, &copies, into, self.mac.clone(), Arc::clone(&self.clock))?;
        Ok((view, replay.reading_ahead()))
    }

    /// A second view takes as much room as the first, at most.
    fn check_room(&self) -> anyhow::Result<()> {
        let needed = self.generation.borrow().bytes()?;
        crate::disk::check_room(&self.view_dir.path, needed)
    }
}

/// How long a read that has begun may still be using a view that was replaced. Only says on which thread its files are
/// closed: whoever holds it last closes it.
const READ_ENDS_WITHIN: Duration = Duration::from_secs(1);
