//! Where the view of a store lies: `view/<store>/<generation>/`. The highest generation is the one in use.
//!
//! What is made beside a generation that is served gets its number when it is complete, and has another name before.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use eventlog::{Clock, EventLog, Frontier, LogClock};
use materializer::{
    View, ViewError,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use schemas::{Offset, Timestamp, Topic};

use crate::{
    checkpoints::{self, Checkpoints},
    logs::patiently,
};

/// Where a damaged generation goes.
const ASIDE: &str = "damaged";

/// Where a generation is being made while another is served.
pub(crate) const REBUILDING: &str = "rebuilding";

/// Where the log is folded again to compare.
pub(crate) const VERIFYING: &str = "verifying";

/// Where a checkpoint is copied to.
const RESTORING: &str = "restoring";

/// Where the view of a store lies, and what each generation of it is opened with.
#[derive(Clone, Debug)]
pub(crate) struct ViewDir {
    /// `view/<store>`.
    pub(crate) path: PathBuf,
    pub(crate) memory: ViewMemory,
    pub(crate) clock: Arc<LogClock>,
    /// The machine's own clock: how old a view is that was left.
    pub(crate) wall: Arc<dyn Clock>,
    /// The logs that the view is made from.
    pub(crate) logs: Vec<Arc<dyn EventLog>>,
    /// How old a view may be that is gone on with. Where sessions never expire, an older one may hold some whose tombstones
    /// the log has dropped since.
    pub(crate) age_max: Option<Duration>,
}

impl ViewDir {
    /// Opens the view of a store. One that is damaged is moved aside, for whoever wants to know why; one that was made
    /// from other logs is removed. The newest of `checkpoints` that is of use takes its place, or an empty one: the logs
    /// give back everything that is missing.
    ///
    /// # Errors
    /// When the log or the disk does not answer: then a view that may be in order is left alone.
    pub(crate) async fn open(&self, checkpoints: &Checkpoints) -> anyhow::Result<SessionView> {
        fs::create_dir_all(&self.path).with_context(|| format!("create {}", self.path.display()))?;
        for left in [REBUILDING, VERIFYING, RESTORING] {
            remove(&self.path.join(left))?;
        }
        let generations = self.generations()?;
        let newest = generations.last().copied();
        let mut was_damaged = false;
        if let Some(newest) = newest {
            match self.open_generation(newest).await? {
                Ok(view) => {
                    // A crash between making this one and removing the one before has left that behind.
                    return generations[..generations.len() - 1]
                        .iter()
                        .try_for_each(|&old| remove(&self.generation(old)))
                        .map(|()| view);
                }
                Err(error) if error.is_of_the_storage() => return Err(error.into()),
                Err(error) => {
                    let place = self.generation(newest);
                    let place = place.display();
                    tracing::warn!(
                        "The view in {place} is of no use and is made again from the log: {error}"
                    );
                    if matches!(error, ViewError::Damaged(_)) {
                        was_damaged = true;
                        self.move_aside(newest)?;
                    }
                }
            }
        }
        let next = newest.map_or(1, |newest| newest + 1);
        let view = match self.restore_checkpoint(next, checkpoints, was_damaged).await? {
            Some(view) => view,
            None => self.open_generation(next).await??,
        };
        for old in generations {
            remove(&self.generation(old))?;
        }
        Ok(view)
    }

    /// What a view in this directory is opened with.
    pub(crate) fn options(&self) -> ViewOptions<'_> {
        let logs = self.logs.iter().map(|log| (log.topic().clone(), log.incarnation())).collect();
        ViewOptions { memory: &self.memory, clock: Arc::clone(&self.clock), logs }
    }

    /// Where the next generation goes.
    pub(crate) fn next_generation(&self) -> anyhow::Result<PathBuf> {
        Ok(self.generation(self.generations()?.last().map_or(1, |newest| newest + 1)))
    }

    /// The generation `next`, from the newest checkpoint that is of use. After damage they are read from end to end
    /// before they are believed.
    async fn restore_checkpoint(
        &self,
        next: u64,
        checkpoints: &Checkpoints,
        was_damaged: bool,
    ) -> anyhow::Result<Option<SessionView>> {
        for checkpoint in checkpoints.newest_first()? {
            let (restoring, place) = (self.path.join(RESTORING), self.generation(next));
            checkpoints::restore(&checkpoint, &restoring)
                .with_context(|| format!("copy {} to {}", checkpoint.display(), restoring.display()))?;
            fs::rename(&restoring, &place).with_context(|| format!("name the view {}", place.display()))?;
            let opened = self.open_generation(next).await?;
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
    fn move_aside(&self, generation: u64) -> anyhow::Result<()> {
        let aside = self.path.join(ASIDE);
        remove(&aside)?;
        let from = self.generation(generation);
        fs::rename(&from, &aside)
            .with_context(|| format!("move {} to {}", from.display(), aside.display()))?;
        tracing::warn!("What was in {} is now in {}; it may be removed", from.display(), aside.display());
        Ok(())
    }

    /// The outer error is the log's, which a new view would meet too; the inner one is the view's own.
    async fn open_generation(&self, generation: u64) -> anyhow::Result<Result<SessionView, ViewError>> {
        let opened = SessionView::open(&self.generation(generation), self.options());
        let (view, saved) = match opened.and_then(|view| view.saved().map(|saved| (view, saved))) {
            Ok(both) => both,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(days) = days_beyond(self.age_max, saved.marks.newest_append, self.wall.wall()) {
            let reason =
                format!("its newest record is {days} days old: the log may have dropped tombstones since");
            return Ok(Err(ViewError::Foreign(reason.into())));
        }
        for log in &self.logs {
            let (head, tail) = (patiently(log, || log.head()).await?, patiently(log, || log.tail()).await?);
            if let Some(saved) = saved.logs.get(log.topic())
                && let Err(error) = goes_on(log.topic(), &saved.frontier, &head, &tail)
            {
                return Ok(Err(error));
            }
        }
        Ok(Ok(view))
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.path.join(number.to_string())
    }

    fn generations(&self) -> anyhow::Result<Vec<u64>> {
        numbered(&self.path).with_context(|| format!("list {}", self.path.display()))
    }
}

/// How many days old a view is, if it is older than it may be. One that has seen nothing has no age.
fn days_beyond(age_max: Option<Duration>, newest: Timestamp, now: Timestamp) -> Option<u64> {
    let age = now.since(newest);
    (newest != Timestamp::EPOCH && age_max? < age).then_some(age.as_secs() / 86_400)
}

/// Whether a view that has applied `applied` of a log may go on with it, as it is now from `head` to `tail`.
///
/// # Errors
/// When it may not: it has to be made anew.
pub fn goes_on(topic: &Topic, applied: &Frontier, head: &Frontier, tail: &Frontier) -> Result<(), ViewError> {
    // A log that ends before the view's position lost records that the view has seen, or is another log.
    if !tail.is_at_least(applied) {
        return Err(ViewError::Foreign(format!("it has applied more of {topic} than the log holds").into()));
    }
    // Who has seen nothing begins wherever the log does.
    let is_there = |(partition, up_to): (_, _)| Offset::ZERO == up_to || head.get(partition) <= up_to;
    if !applied.iter().all(is_there) {
        return Err(ViewError::Foreign(format!("{topic} has dropped records that it has not seen").into()));
    }
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

/// The numbers among the names in `dir`, lowest first.
pub(crate) fn numbered(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use schemas::Partition;

    use super::*;

    #[test]
    fn a_view_is_too_old_only_where_age_matters_and_it_has_seen_something() {
        let day = Duration::from_secs(86_400);
        let left = Timestamp::from_millis(1_700_000_000_000);
        let after = |days| left.saturating_add(day * days);
        assert_eq!(days_beyond(Some(29 * day), left, after(29)), None);
        assert_eq!(days_beyond(Some(29 * day), left, after(30)), Some(30));
        assert_eq!(days_beyond(None, left, after(3000)), None);
        assert_eq!(days_beyond(Some(29 * day), Timestamp::EPOCH, after(30)), None);
        assert_eq!(days_beyond(Some(29 * day), after(60), after(1)), None, "a clock that was set back");
    }

    #[test]
    fn a_view_goes_on_where_the_log_still_has_all_that_comes_next_and_nowhere_else() {
        let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
        let frontier = |zero, one| -> Frontier {
            [(Partition(0), Offset(zero)), (Partition(1), Offset(one))].into_iter().collect()
        };
        let (head, tail) = (frontier(3, 0), frontier(9, 2));
        let rows = [(0, 0, true), (2, 0, false), (3, 0, true), (9, 2, true), (9, 3, false), (10, 2, false)];
        for (zero, one, expected) in rows {
            let found = goes_on(&topic, &frontier(zero, one), &head, &tail);
            assert_eq!(found.is_ok(), expected, "{zero} {one}: {found:?}");
        }
        assert!(goes_on(&topic, &Frontier::empty(), &head, &tail).is_ok());
    }
}
