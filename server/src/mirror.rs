//! Copies the embedded log of another data centre, over the peer API. Between clusters MirrorMaker does that.
//!
//! What was copied stands in the copy; how far that is, in a file beside it, which is written after. So a crash repeats
//! records and never leaves one out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::Latch;
use eventlog::{EnqueueError, Entry, EventLog, Incarnation, LogClock};
use futures::future::{join_all, try_join_all};
use materializer::{Fence, Gaps};
use schemas::{Offset, Partition};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use writer::peer::{HttpPeer, LogPiece, Peer, Silence};

use crate::store::HOWEVER_LONG;

/// How long a peer may wait for something to come before it says that there is nothing.
const WAIT: Duration = Duration::from_secs(1);

/// How soon a peer is asked again that did not answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A peer that does not say what its log holds is not spoken of before this: it may be starting. Nor does a node come up
/// without it sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a copy is written to again that did not take a record.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A log of another data centre, and its copy here.
#[derive(Debug)]
pub(crate) struct Mirror {
    peer: Arc<HttpPeer>,
    copy: Arc<dyn EventLog>,
    file: PathBuf,
    fence: Arc<Fence>,
    /// Looks for what the copy lacks, but not while it is made from the beginning.
    gaps: Arc<Gaps>,
    clock: Arc<LogClock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reached: Reached,
    /// Held until the copy is as long as the original was when it was first asked.
    latch: Option<Latch>,
    /// Where partitions ended then; those that are there are gone from here.
    behind: BTreeMap<Partition, Option<Offset>>,
    trouble: BTreeMap<Partition, Trouble>,
}

/// Since when a partition is not copied.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    was_told: bool,
}

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Reached {
    /// Of which life of the log.
    incarnation: String,
    /// Which life of the copy.
    copy: String,
    /// The next offset to copy, by partition.
    next: BTreeMap<u32, u64>,
    /// The partitions that have been copied from their beginning to where they ended then.
    whole: BTreeSet<u32>,
}

/// What was asked for: an offset means nothing in another life of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    incarnation: String,
    from: Offset,
}

impl Reached {
    /// What a file says of a copy. Of another copy, or if it cannot be read, it says nothing.
    fn read(text: Option<Vec<u8>>, copy: &Incarnation) -> Self {
        let read = text.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        read.filter(|reached| reached.copy == *copy.0)
            .unwrap_or_else(|| Self { copy: copy.0.to_string(), ..Self::default() })
    }

    fn ask(&self, partition: Partition) -> Asked {
        let from = Offset(self.next.get(&partition.0).copied().unwrap_or_default());
        Asked { incarnation: self.incarnation.clone(), from }
    }

    /// Whether nothing was ever copied.
    fn is_new(&self) -> bool {
        self.incarnation.is_empty()
    }

    /// Whether a piece of the log's life `of` continues the copy, if it was asked for so. Another life is copied from its
    /// beginning.
    fn is_continued_by(&mut self, asked: &Asked, of: &Incarnation) -> bool {
        if self.incarnation != *of.0 {
            self.incarnation = of.0.to_string();
            self.next.clear();
            self.whole.clear();
        }
        asked.incarnation == self.incarnation || asked.from == Offset::ZERO
    }

    /// The log has not got what was to be copied next.
    fn begin_anew(&mut self, partition: Partition) {
        self.next.remove(&partition.0);
        self.whole.remove(&partition.0);
    }

    /// A piece is in the copy. Says false if the log has begun another life meanwhile.
    fn advance(&mut self, partition: Partition, of: &Incarnation, next: Offset) -> bool {
        let is_same = self.incarnation == *of.0;
        if is_same {
            self.next.insert(partition.0, next.0);
        }
        is_same
    }
}

impl Mirror {
    /// Goes on where the file says. `latch` is released when the copy is as long as the original was when it was first asked, and
    /// applied; or when that does not answer, unless nothing was ever copied: then nobody here knows what is in it.
    pub(crate) fn open(
        peer: Arc<HttpPeer>,
        copy: Arc<dyn EventLog>,
        file: PathBuf,
        fence: Arc<Fence>,
        (gaps, clock): (Arc<Gaps>, Arc<LogClock>),
        latch: Latch,
    ) -> Self {
        let reached = Reached::read(fs::read(&file).ok(), &copy.incarnation());
        for partition in copy.partitions().all().filter(|partition| !reached.whole.contains(&partition.0)) {
            gaps.pause(copy.topic(), partition);
        }
        let behind = copy.partitions().all().map(|partition| (partition, None)).collect();
        let state = State { reached, latch: Some(latch), behind, trouble: BTreeMap::new() };
        Self { peer, copy, file, fence, gaps, clock, state: Mutex::new(state) }
    }

    /// Copies until `stop`, or until the copy takes nothing any more: then its log has failed or is closed, and says so.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let partitions = join_all(self.copy.partitions().all().map(|partition| self.follow(partition)));
        stop.run_until_cancelled(partitions).await;
        stop.cancelled().await;
        Ok(())
    }

    async fn follow(&self, partition: Partition) {
        let topic = self.copy.topic();
        loop {
            let (asked, began) = (self.state().reached.ask(partition), Instant::now());
            match self.peer.read_log(topic, partition, asked.from, WAIT).await {
                Ok(piece) => {
                    self.is_well(partition);
                    if !self.take(partition, &asked, piece).await {
                        return;
                    }
                }
                // The peer has lost its log, or what comes next of it: all that it has is copied again.
                Err(Silence::Gone) => {
                    let dc = self.peer.dc();
                    tracing::warn!(
                        "{dc} has no {topic} {partition} from {} on: it is copied again",
                        asked.from
                    );
                    self.gaps.pause(topic, partition);
                    self.state().reached.begin_anew(partition);
                    sleep(ASK_AGAIN_AFTER).await;
                }
                Err(silence) => {
                    self.is_troubled(partition, began, &silence);
                    sleep(ASK_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn is_troubled(&self, partition: Partition, began: Instant, silence: &Silence) {
        let (topic, dc) = (self.copy.topic(), self.peer.dc());
        let state = &mut *self.state();
        let new = || Trouble { since: began, was_told: false };
        let trouble = state.trouble.entry(partition).or_insert_with(new);
        if trouble.since.elapsed() < PATIENCE {
            return;
        }
        if !trouble.was_told {
            trouble.was_told = true;
            tracing::warn!("{topic} {partition} is not copied: {dc} {silence}");
        }
        if state.reached.is_new() {
            if let Some(latch) = &state.latch {
                latch.waits_for(&format!("nothing of {topic} was ever copied: {dc} {silence}"));
            }
        } else if let Some(latch) = state.latch.take() {
            latch.release();
        }
    }

    fn is_well(&self, partition: Partition) {
        let trouble = self.state().trouble.remove(&partition);
        if trouble.is_some_and(|trouble| trouble.was_told) {
            tracing::info!("{} {partition} is copied again", self.copy.topic());
        }
    }

    /// Says false when the copy takes nothing any more.
    async fn take(&self, partition: Partition, asked: &Asked, piece: LogPiece) -> bool {
        let LogPiece { incarnation, entries, next, end } = piece;
        if *self.state().reached.incarnation != *incarnation.0 {
            self.copy.partitions().all().for_each(|partition| self.gaps.pause(self.copy.topic(), partition));
        }
        if !self.state().reached.is_continued_by(asked, &incarnation) {
            return true;
        }
        let is_empty = entries.is_empty();
        let mut commits = Vec::with_capacity(entries.len());
        for Entry { record, .. } in entries {
            commits.push(loop {
                match self.copy.enqueue(partition, record.clone()) {
                    Ok(commit) => break commit,
                    Err(EnqueueError::Full | EnqueueError::Refused(_)) => sleep(WRITE_AGAIN_AFTER).await,
                    Err(EnqueueError::Closed(_)) => return false,
                }
            });
        }
        // A record that was refused is asked for again, with those after it.
        if let Err(error) = try_join_all(commits).await {
            tracing::warn!("{} {partition} is copied again from the last piece: {error}", self.copy.topic());
            sleep(ASK_AGAIN_AFTER).await;
            return true;
        }
        let (came_up, reached) = {
            let mut state = self.state();
            if !state.reached.advance(partition, &incarnation, next) {
                return true;
            }
            let came_up = state.comes_up(partition, next, end);
            (came_up, state.reached.clone())
        };
        if let Some(latch) = came_up {
            self.applied(latch).await;
        }
        let is_whole = end <= next && !reached.whole.contains(&partition.0);
        let reached = if is_whole { self.is_whole(partition, &incarnation).await } else { reached };
        // What cannot be noted is copied again after a restart.
        if (!is_empty || is_whole)
            && let Err(error) = self.save(&reached)
        {
            tracing::warn!("Cannot note in {} how far the copy is: {error}", self.file.display());
        }
        true
    }

    /// All of the original is here: from now on what is missing is lost.
    async fn is_whole(&self, partition: Partition, of: &Incarnation) -> Reached {
        // Nobody else writes to the copy.
        let tail = self.copy.tail_of(partition).await;
        let reached = &mut self.state().reached;
        // If the original has begun another life meanwhile, all of it is copied again.
        if let Ok(tail) = tail
            && *reached.incarnation == *of.0
        {
            self.gaps.begin(self.copy.topic(), partition, tail, self.clock.now());
            reached.whole.insert(partition.0);
        }
        reached.clone()
    }

    /// Whoever is ready has applied what was copied.
    async fn applied(&self, latch: Latch) {
        let Ok(tail) = self.copy.tail().await else { return };
        // What ends the wait early ends the node.
        if self.fence.wait_for_all(self.copy.topic(), &tail, HOWEVER_LONG).await.is_ok() {
            latch.release();
        }
    }

    fn save(&self, reached: &Reached) -> anyhow::Result<()> {
        let new = self.file.with_extension("new");
        // Not synced: what a power cut takes away is copied again.
        fs::write(&new, serde_json::to_vec(reached)?)?;
        Ok(fs::rename(&new, &self.file)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// The copy of a partition has come to `next`, and the original ends at `end`. Gives the latch back once all have come as far
    /// as the original was when it was first asked.
    fn comes_up(&mut self, partition: Partition, next: Offset, end: Offset) -> Option<Latch> {
        if let Some(first_end) = self.behind.get_mut(&partition)
            && *first_end.get_or_insert(end) <= next
        {
            self.behind.remove(&partition);
        }
        if self.behind.is_empty() { self.latch.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(name: &str) -> Incarnation {
        Incarnation(name.into())
    }

    #[test]
    fn a_piece_of_another_life_of_the_log_continues_nothing_whoever_noticed_it_first() {
        let (zero, one) = (Partition(0), Partition(1));
        let mut reached = Reached::read(None, &life("copy"));
        assert!(reached.is_new());
        let (ask_zero, ask_one) = (reached.ask(zero), reached.ask(one));
        assert!(
            reached.is_continued_by(&ask_zero, &life("a")) && reached.is_continued_by(&ask_one, &life("a"))
        );
        assert!(reached.advance(zero, &life("a"), Offset(7)) && reached.advance(one, &life("a"), Offset(9)));
        let (ask_zero, ask_one) = (reached.ask(zero), reached.ask(one));
        assert_eq!((ask_zero.from, ask_one.from), (Offset(7), Offset(9)));
        assert!(!reached.is_continued_by(&ask_zero, &life("b")));
        assert!(!reached.is_continued_by(&ask_one, &life("b")), "asked for at an offset of the life before");
        assert!(!reached.advance(one, &life("a"), Offset(11)), "on its way when the other life was noticed");
        let from = reached.ask(one);
        assert_eq!(from.from, Offset::ZERO);
        assert!(reached.is_continued_by(&from, &life("b")));
    }

    #[test]
    fn how_far_a_copy_is_reads_back_and_says_nothing_of_another_copy() {
        let reached = Reached {
            incarnation: "a".to_owned(),
            copy: "c".to_owned(),
            next: [(0, 5), (11, u64::MAX)].into(),
            whole: [11].into(),
        };
        let text = serde_json::to_vec(&reached).unwrap();
        assert_eq!(Reached::read(Some(text.clone()), &life("c")), reached);
        assert!(Reached::read(Some(text), &life("made anew")).is_new());
        assert!(Reached::read(Some(b"{".to_vec()), &life("c")).is_new());
    }
}
