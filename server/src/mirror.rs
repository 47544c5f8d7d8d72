//! Copies the embedded log of another data centre, over the peer API. Between clusters MirrorMaker does that.
//!
//! What was copied stands in the copy; how far that is, in a file beside it, which is written after. So a crash repeats
//! records and never leaves one out, and repeats are harmless.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use eventlog::{EnqueueError, Entry, EventLog, Incarnation};
use futures::future::{join_all, try_join_all};
use schemas::{Offset, Partition};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use writer::peer::{HttpPeer, LogPiece, Peer, Silence};

/// How long a peer may wait for something to come before it says that there is nothing.
const WAIT: Duration = Duration::from_secs(1);

/// How soon a peer is asked again that did not answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A peer that does not say what its log holds is not spoken of before this: it may be starting.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a copy is written to again that did not take a record.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A log of another data centre, and its copy here.
#[derive(Debug)]
pub(crate) struct Mirror {
    peer: Arc<HttpPeer>,
    copy: Arc<dyn EventLog>,
    file: PathBuf,
    reached: Mutex<Reached>,
    trouble: Mutex<Option<Trouble>>,
}

/// Since when the peer does not say what its log holds.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    was_told: bool,
}

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    /// Of which life of the log.
    incarnation: String,
    /// The next offset to copy, by partition.
    next: BTreeMap<u32, u64>,
}

impl Reached {
    fn next(&self, partition: Partition) -> Offset {
        Offset(self.next.get(&partition.0).copied().unwrap_or_default())
    }

    /// Another life of the log has other records at the same offsets: it is copied from its beginning.
    fn is_of(&mut self, incarnation: &Incarnation) -> bool {
        let is_same = self.incarnation == *incarnation.0;
        if !is_same {
            *self = Self { incarnation: incarnation.0.to_string(), next: BTreeMap::new() };
        }
        is_same
    }
}

impl Mirror {
    /// Goes on where the file says. A file that cannot be read makes it begin anew, which is harmless.
    pub(crate) fn open(peer: Arc<HttpPeer>, copy: Arc<dyn EventLog>, file: PathBuf) -> Self {
        let reached = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let reached = Mutex::new(reached.unwrap_or_default());
        Self { peer, copy, file, reached, trouble: Mutex::default() }
    }

    /// Copies until `stop`.
    ///
    /// # Errors
    /// When the copy takes nothing any more.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let partitions = join_all(self.copy.partitions().all().map(|partition| self.follow(partition)));
        match stop.run_until_cancelled(partitions).await {
            None => Ok(()),
            Some(ended) => ended.into_iter().collect(),
        }
    }

    async fn follow(&self, partition: Partition) -> anyhow::Result<()> {
        let topic = self.copy.topic();
        loop {
            let from = self.reached().next(partition);
            match self.peer.read_log(topic, partition, from, WAIT).await {
                Ok(piece) => {
                    self.is_well();
                    self.take(partition, piece).await?;
                }
                // The peer has lost its log, or what comes next of it: all that it has is copied again.
                Err(Silence::Gone) => {
                    tracing::warn!(
                        "{} has no {topic} {partition} from {from} on, and is copied again",
                        self.peer.dc()
                    );
                    self.reached().next.remove(&partition.0);
                    sleep(ASK_AGAIN_AFTER).await;
                }
                Err(silence) => {
                    self.is_troubled(&silence);
                    sleep(ASK_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn is_troubled(&self, silence: &Silence) {
        let mut trouble = self.trouble.lock().expect("no holder panics");
        let trouble = trouble.get_or_insert(Trouble { since: Instant::now(), was_told: false });
        if !trouble.was_told && PATIENCE <= trouble.since.elapsed() {
            trouble.was_told = true;
            tracing::warn!("{} is not copied: {} {silence}", self.copy.topic(), self.peer.dc());
        }
    }

    fn is_well(&self) {
        let trouble = self.trouble.lock().expect("no holder panics").take();
        if trouble.is_some_and(|trouble| trouble.was_told) {
            tracing::info!("{} is copied again", self.copy.topic());
        }
    }

    async fn take(&self, partition: Partition, piece: LogPiece) -> anyhow::Result<()> {
        let LogPiece { incarnation, entries, next } = piece;
        if !self.reached().is_of(&incarnation) && Offset::ZERO < next {
            // What came was asked for at an offset of another life.
            return Ok(());
        }
        let mut commits = Vec::with_capacity(entries.len());
        for Entry { record, .. } in entries {
            commits.push(loop {
                match self.copy.enqueue(partition, record.clone()) {
                    Ok(commit) => break commit,
                    Err(EnqueueError::Full | EnqueueError::Refused(_)) => sleep(WRITE_AGAIN_AFTER).await,
                    Err(error @ EnqueueError::Closed(_)) => return Err(error.into()),
                }
            });
        }
        // A record that was refused is asked for again, with those after it.
        if let Err(error) = try_join_all(commits).await {
            tracing::warn!("{} {partition} is copied again from the last piece: {error}", self.copy.topic());
            sleep(ASK_AGAIN_AFTER).await;
            return Ok(());
        }
        let reached = {
            let mut reached = self.reached();
            reached.next.insert(partition.0, next.0);
            reached.clone()
        };
        self.save(&reached).with_context(|| format!("write {}", self.file.display()))
    }

    /// Not synced: what a power cut takes away is copied again.
    fn save(&self, reached: &Reached) -> anyhow::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec(reached)?)?;
        Ok(fs::rename(&new, &self.file)?)
    }

    fn reached(&self) -> std::sync::MutexGuard<'_, Reached> {
        self.reached.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_life_of_a_log_is_copied_from_its_beginning() {
        let mut reached = Reached::default();
        assert!(!reached.is_of(&Incarnation("a".into())));
        reached.next.insert(3, 7);
        assert!(reached.is_of(&Incarnation("a".into())));
        assert_eq!(reached.next(Partition(3)), Offset(7));
        assert!(!reached.is_of(&Incarnation("b".into())));
        assert_eq!(reached.next(Partition(3)), Offset::ZERO);
    }

    #[test]
    fn how_far_a_copy_is_reads_back() {
        let reached = Reached { incarnation: "a".to_owned(), next: [(0, 5), (11, u64::MAX)].into() };
        let text = serde_json::to_vec(&reached).unwrap();
        assert_eq!(serde_json::from_slice::<Reached>(&text).unwrap(), reached);
    }
}
