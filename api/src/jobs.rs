//! Work that an operator orders and watches: one job at a time, each with its progress.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use schemas::{Dc, StoreName};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many jobs are remembered.
const KEPT: usize = 100;

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make the view anew, beside the one that is served, and put it in its place.
    Rebuild,
    /// Fold the log again and compare with the view that is served.
    Verify,
    /// Make a copy of the view to start from.
    Checkpoint,
    /// Bring here what the logs of another data centre hold and this one lacks.
    Repair {
        /// Which data centre.
        from: Dc,
    },
}

impl Task {
    /// As it is ordered.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Verify => "verify",
            Self::Checkpoint => "checkpoint",
            Self::Repair { .. } => "repair",
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It goes on.
    Running,
    /// It did what was asked.
    Done,
    /// The view does not hold what the log says. Only of [`Task::Verify`].
    Different,
    /// It could not be done.
    Failed,
    /// It was asked to stop, and did.
    Cancelled,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Anything but [`JobState::Running`].
    pub state: JobState,
    /// What a person should know of it.
    pub detail: String,
}

/// One order, and how it goes.
#[derive(Debug)]
pub struct Job {
    /// Counts from 1 in each process.
    pub id: u64,
    /// What is to be done.
    pub task: Task,
    /// For which store; for all, one after the other, when `None`.
    pub store: Option<StoreName>,
    /// Somebody wants it to stop.
    pub stop: CancellationToken,
    began: Instant,
    done: AtomicU64,
    total: AtomicU64,
    ended: Mutex<Option<Ended>>,
}

/// A job as the admin listener shows it.
#[derive(Debug, Serialize)]
pub struct JobStatus {
    /// Its number.
    pub job: u64,
    /// What is to be done.
    pub task: &'static str,
    /// From which data centre, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For which store, or for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How it stands.
    pub state: JobState,
    /// Offsets of logs that were gone through.
    pub done: u64,
    /// Of how many. Grows while the logs do.
    pub total: u64,
    /// Seconds to go, at the pace so far. Absent when nobody can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// What a person should know, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Job {
    fn new(id: u64, task: Task, store: Option<StoreName>) -> Self {
        Self {
            id,
            task,
            store,
            stop: CancellationToken::new(),
            began: Instant::now(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            ended: Mutex::new(None),
        }
    }

    /// There is this much more to do.
    pub fn expect(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
    }

    /// This much more is done.
    pub fn advance(&self, more: u64) {
        self.done.fetch_add(more, Ordering::Relaxed);
    }

    /// It is over.
    pub fn end(&self, ended: Ended) {
        *self.ended() = Some(ended);
    }

    /// How it stands.
    pub fn status(&self) -> JobStatus {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let ended = self.ended().clone();
        let eta_s = ended.is_none().then(|| eta(self.began.elapsed(), done, total)).flatten();
        let (state, detail) =
            ended.map_or((JobState::Running, None), |ended| (ended.state, Some(ended.detail)));
        let store = self.store.as_ref().map(ToString::to_string);
        let from = match &self.task {
            Task::Repair { from } => Some(from.to_string()),
            Task::Rebuild | Task::Verify | Task::Checkpoint => None,
        };
        JobStatus { job: self.id, task: self.task.name(), from, store, state, done, total, eta_s, detail }
    }

    fn ended(&self) -> MutexGuard<'_, Option<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds until `total`, at the pace of `done` in `elapsed`.
fn eta(elapsed: Duration, done: u64, total: u64) -> Option<u64> {
    let left = u128::from(total.saturating_sub(done));
    let seconds = (elapsed.as_millis() * left).checked_div(u128::from(done) * 1000)?;
    u64::try_from(seconds).ok()
}

/// The jobs of a process.
#[derive(Clone, Debug)]
pub struct Jobs {
    orders: mpsc::UnboundedSender<Arc<Job>>,
    known: Arc<Mutex<BTreeMap<u64, Arc<Job>>>>,
}

/// Another job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Which.
    pub job: u64,
}

impl Jobs {
    /// No jobs yet; and where orders arrive.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Arc<Job>>) {
        let (orders, arriving) = mpsc::unbounded_channel();
        (Self { orders, known: Arc::default() }, arriving)
    }

    /// Orders a job.
    ///
    /// # Errors
    /// When another one runs.
    pub fn order(&self, task: Task, store: Option<StoreName>) -> Result<Arc<Job>, Busy> {
        let mut known = self.known();
        if let Some(running) = known.values().find(|job| job.ended().is_none()) {
            return Err(Busy { job: running.id });
        }
        let id = known.last_key_value().map_or(1, |(last, _)| last + 1);
        let job = Arc::new(Job::new(id, task, store));
        known.insert(id, Arc::clone(&job));
        while KEPT < known.len() {
            known.pop_first();
        }
        let _node_is_gone = self.orders.send(Arc::clone(&job));
        Ok(job)
    }

    /// The job of this number.
    pub fn get(&self, id: u64) -> Option<Arc<Job>> {
        self.known().get(&id).cloned()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Job>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(job: &Job) {
        job.end(Ended { state: JobState::Done, detail: String::new() });
    }

    #[test]
    fn one_job_runs_at_a_time() {
        let (jobs, mut arriving) = Jobs::new();
        let first = jobs.order(Task::Rebuild, None).unwrap();
        assert_eq!(jobs.order(Task::Verify, None).err(), Some(Busy { job: first.id }));
        assert_eq!(arriving.try_recv().unwrap().id, first.id);
        assert!(arriving.try_recv().is_err(), "what was refused does not arrive");
        end(&first);
        let second = jobs.order(Task::Verify, None).unwrap();
        assert_ne!(second.id, first.id);
        assert_eq!(jobs.get(first.id).unwrap().status().state, JobState::Done);
    }

    #[test]
    fn old_jobs_are_forgotten() {
        let (jobs, _arriving) = Jobs::new();
        for _ in 0..=KEPT {
            end(&jobs.order(Task::Verify, None).unwrap());
        }
        assert!(jobs.get(1).is_none() && jobs.get(2).is_some());
    }

    #[test]
    fn what_is_left_is_counted_at_the_pace_so_far() {
        let second = Duration::from_secs(1);
        assert_eq!(eta(10 * second, 100, 400), Some(30));
        assert_eq!(eta(10 * second, 400, 400), Some(0));
        assert_eq!(eta(10 * second, 500, 400), Some(0));
        assert_eq!(eta(10 * second, 0, 400), None);
    }
}
