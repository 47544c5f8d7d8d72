//! Which records of other data centres' logs are missing in their copies here, and which came twice.
//!
//! Whoever copies a log may lose some of it, and nobody else would notice: every record carries a number of its appender,
//! and [`Gaps`] watches them go by. It knows what a view has seen, since it is written with the view's positions. Beside that it
//! knows how long nothing has come, and whether the own log gets its own records again: what a mirror does whose filter is
//! wrong.

mod numbers;
mod returned;
mod silence;
mod track;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard},
};

use eventlog::Frontier;
use schemas::{Message, Offset, Partition, PartitionCount, Sequence, Timestamp, Topic, WriterId};
use tokio::time::Instant;

pub use self::{
    numbers::{GapRules, Numbers},
    track::{Gap, GapState, Track},
};
use self::{
    returned::Returned,
    silence::{News, Silence},
};
use crate::{
    CheckedBatch, GapMetrics,
    gap_metrics::{LogMetrics, OwnMetrics},
};

/// The numbers in all partitions that change with a write of the view.
pub type NumbersWrite = Vec<(Topic, Partition, Numbers)>;

/// What is missing in the copies of a store.
#[derive(Debug)]
pub struct Gaps {
    logs: BTreeMap<Topic, Log>,
    own: Option<Own>,
}

/// One copied log.
#[derive(Debug)]
struct Log {
    rules: GapRules,
    metrics: LogMetrics,
    partitions: Mutex<BTreeMap<Partition, Watched>>,
    silence: Mutex<Silence>,
}

/// The own log, where others copy it.
#[derive(Debug)]
struct Own {
    topic: Topic,
    metrics: OwnMetrics,
    returned: Mutex<Returned>,
    /// When something of it was looked at last. This node itself writes into it all the time.
    heard: Mutex<Option<Instant>>,
}

/// One partition of it.
#[derive(Debug)]
struct Watched {
    numbers: Numbers,
    /// It is being copied from its beginning: what comes has come before, or is as the original has it.
    is_paused: bool,
    /// Has changed beside what a batch brought.
    is_news: bool,
}

/// Numbers that are missing in the copy of a log, by partition and appender: each range with its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing(BTreeMap<(Partition, WriterId), Vec<(u64, u64)>>);

impl Missing {
    /// How many.
    pub fn count(&self) -> u64 {
        self.0.values().flatten().map(|(from, to)| to - from + 1).sum()
    }

    /// Whether this is one of them.
    pub fn holds(&self, partition: Partition, sequence: Sequence) -> bool {
        let Sequence { appender, number } = sequence;
        let ranges = self.0.get(&(partition, appender)).map(Vec::as_slice).unwrap_or_default();
        ranges.iter().any(|&(from, to)| from <= number && number <= to)
    }
}

impl Gaps {
    /// Watches the copies of these logs, once each has been [resumed](Self::resume).
    pub fn of(logs: impl IntoIterator<Item = (Topic, GapRules)>, metrics: &GapMetrics) -> Self {
        let log = |(topic, rules): (Topic, GapRules)| {
            let metrics = metrics.of_log(&topic);
            let log = Log { rules, metrics, partitions: Mutex::default(), silence: Mutex::default() };
            (topic, log)
        };
        Self { logs: logs.into_iter().map(log).collect(), own: None }
    }

    /// Looks, too, whether records of `own` come back into it.
    #[must_use]
    pub fn and_own(mut self, own: Topic, metrics: &GapMetrics) -> Self {
        let metrics = metrics.of_own(&own);
        self.own = Some(Own { topic: own, metrics, returned: Mutex::default(), heard: Mutex::default() });
        self
    }

    /// Whatever the own log holds before `tail` was there at the start, and is not looked at.
    pub fn begin_own(&self, tail: &Frontier) {
        if let Some(own) = &self.own {
            own.returned.lock().expect("no holder panics").begin(tail);
        }
    }

    /// Where no log is copied.
    pub const fn none() -> Self {
        Self { logs: BTreeMap::new(), own: None }
    }

    /// Goes on where the view was, or begins at `tail`: what a view is made from again was seen before.
    pub fn resume(
        &self,
        topic: &Topic,
        partitions: PartitionCount,
        saved: &crate::Saved,
        tail: &Frontier,
        now: Timestamp,
    ) {
        let Some(log) = self.logs.get(topic) else { return };
        let applied = saved.logs.get(topic).map(|log| log.frontier.clone()).unwrap_or_default();
        let mut watched = log.lock();
        for partition in partitions.all() {
            let known = saved.numbers.get(&(topic.clone(), partition)).cloned();
            // One that has not looked at all that the view has applied was left by a release that did not look.
            let known = known.filter(|numbers| applied.get(partition) <= numbers.up_to);
            let numbers = known.unwrap_or_else(|| Numbers::begin(tail.get(partition), now));
            watched.insert(partition, Watched { numbers, is_paused: false, is_news: true });
            log.silence().hear(partition, Instant::now());
        }
        log.show(&watched);
    }

    /// The copy of a partition begins anew: nothing is looked at until it has been [begun](Self::begin) again.
    pub fn pause(&self, topic: &Topic, partition: Partition) {
        self.change(topic, partition, |watched| watched.is_paused = true);
    }

    /// The copy of a partition is as the original up to `from`. What was missing before has been copied again with all
    /// the rest.
    pub fn begin(&self, topic: &Topic, partition: Partition, from: Offset, now: Timestamp) {
        let numbers = Numbers::begin(from, now);
        self.change(topic, partition, |watched| {
            *watched = Watched { numbers, is_paused: false, is_news: true };
        });
    }

    /// What is missing now.
    pub fn missing(&self, topic: &Topic) -> Missing {
        let mut missing = Missing::default();
        let Some(log) = self.logs.get(topic) else { return missing };
        for (&partition, Watched { numbers, .. }) in &*log.lock() {
            for (&appender, track) in &numbers.appenders {
                let ranges: Vec<_> = track.open().map(|gap| (gap.from, gap.to)).collect();
                if !ranges.is_empty() {
                    missing.0.insert((partition, appender), ranges);
                }
            }
        }
        missing
    }

    /// What was missing is accounted for: whatever the original has of it is in this data centre's own log.
    pub fn close(&self, topic: &Topic, accounted_for: &Missing) {
        for (&(partition, appender), ranges) in &accounted_for.0 {
            self.change(topic, partition, |watched| {
                let Some(track) = watched.numbers.appenders.get_mut(&appender) else { return };
                track.close(ranges);
                watched.is_news = true;
            });
        }
    }

    /// The same of one record, which was found elsewhere.
    pub fn close_one(&self, topic: &Topic, partition: Partition, sequence: Sequence) {
        let Sequence { appender, number } = sequence;
        self.close(topic, &Missing([((partition, appender), vec![(number, number)])].into()));
    }

    /// Looks at a batch, which is to be written to the view with what this returns.
    pub(crate) fn look(&self, topic: &Topic, batch: &CheckedBatch, now: Timestamp) -> NumbersWrite {
        if let Some(own) = self.own.as_ref().filter(|own| own.topic == *topic) {
            own.look(batch);
        }
        let Some(log) = self.logs.get(topic) else { return Vec::new() };
        log.silence().hear(batch.partition, Instant::now());
        let mut partitions = log.lock();
        let Some(watched) = partitions.get_mut(&batch.partition).filter(|watched| !watched.is_paused) else {
            return Vec::new();
        };
        let counts = watched.numbers.look(batch, log.rules, now);
        watched.is_news = false;
        let write = vec![(topic.clone(), batch.partition, watched.numbers.clone())];
        log.metrics.repeated.inc_by(counts.repeated);
        if 0 < counts.closed {
            log.show(&partitions);
            drop(partitions);
            let (count, partition) = (counts.closed, batch.partition);
            tracing::info!("{count} records of {topic} {partition} that were lost are not missing any more");
        }
        write
    }

    /// Judges what has been missing for long enough. Returns what is to be written to the view.
    pub(crate) fn lapse(&self, now: Timestamp) -> NumbersWrite {
        let mut news = Vec::new();
        for (topic, log) in &self.logs {
            let mut judged = Vec::new();
            let mut partitions = log.lock();
            for (&partition, watched) in partitions.iter_mut().filter(|(_, watched)| !watched.is_paused) {
                let of_partition = watched.numbers.lapse(now);
                watched.is_news |= !of_partition.is_empty();
                judged.extend(of_partition.into_iter().map(|(appender, gap)| (partition, appender, gap)));
                if std::mem::take(&mut watched.is_news) {
                    news.push((topic.clone(), partition, watched.numbers.clone()));
                }
            }
            if !judged.is_empty() {
                log.show(&partitions);
            }
            drop(partitions);
            if let Some(own) = &self.own {
                log.judge_silence(topic, own.heard(), Instant::now());
            }
            for (partition, appender, gap) in judged {
                log.judge(&Found { topic, partition, appender, gap });
            }
        }
        news
    }

    /// All of them, for a view that takes the place of another, and has applied a part of what that one has.
    pub(crate) fn all(&self) -> NumbersWrite {
        let mut all = Vec::new();
        for (topic, log) in &self.logs {
            let partitions = log.lock();
            let known = partitions.iter().filter(|(_, watched)| !watched.is_paused);
            all.extend(
                known.map(|(&partition, watched)| (topic.clone(), partition, watched.numbers.clone())),
            );
        }
        all
    }

    /// Begins anew at these places: what was seen of logs that do not go on from there says nothing of them.
    pub(crate) fn begin_all(&self, places: &BTreeMap<Topic, crate::SavedLog>, now: Timestamp) {
        for (topic, log) in &self.logs {
            let Some(place) = places.get(topic) else { continue };
            let mut partitions = log.lock();
            for (&partition, watched) in &mut *partitions {
                watched.numbers = Numbers::begin(place.frontier.get(partition), now);
            }
            log.show(&partitions);
        }
    }

    fn change(&self, topic: &Topic, partition: Partition, change: impl FnOnce(&mut Watched)) {
        let Some(log) = self.logs.get(topic) else { return };
        let mut partitions = log.lock();
        if let Some(watched) = partitions.get_mut(&partition) {
            change(watched);
            log.show(&partitions);
        }
    }
}

impl Log {
    /// Counts a gap that was judged, and says so.
    fn judge(&self, found: &Found<'_>) {
        match found.gap.state {
            GapState::Suspected { .. } => {}
            GapState::Lost => {
                self.metrics.lost.inc_by(found.gap.count());
                tracing::error!("Lost {found}: `solera repair --from {}` brings them", found.topic.origin);
            }
            GapState::Excused => tracing::warn!(
                "Missing are {found}: they were lost, or were no longer kept when they were to be copied. \
                 `solera repair --from {}` brings what is there",
                found.topic.origin
            ),
        }
    }

    /// Shows for how long nothing has come, and says so when that is too long. Who has not even heard of the own log, in which it
    /// writes itself, cannot tell: the cluster does not answer, or the follower stood still.
    fn judge_silence(&self, topic: &Topic, own_heard: Option<Instant>, now: Instant) {
        let silent_after = self.rules.silent_after;
        let mut silence = self.silence();
        if own_heard.is_none_or(|heard| silent_after / 2 < now.duration_since(heard)) {
            silence.excuse(now);
        }
        let silent_for = silence.longest(now).map(|(_, silent_for)| silent_for).unwrap_or_default();
        self.metrics.silence_seconds.set(silent_for.as_secs_f64());
        match silence.judge(now, silent_after) {
            Some(News::Silent(count, partition, silent_for)) => tracing::error!(
                "Nothing of {topic} has come for {} s, in {count} partitions, {partition} among them: nobody writes it any more, \
                 or what copies it here stands still, or leaves this topic out",
                silent_for.as_secs(),
            ),
            Some(News::Heard) => tracing::warn!("{topic} is copied here again"),
            None => {}
        }
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().expect("no holder panics")
    }

    fn show(&self, partitions: &BTreeMap<Partition, Watched>) {
        let lost: u64 = partitions.values().map(|watched| watched.numbers.lost()).sum();
        self.metrics.missing.set(i64::try_from(lost).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Partition, Watched>> {
        self.partitions.lock().expect("no holder panics")
    }
}

impl Own {
    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().expect("no holder panics")
    }

    /// Looks at a batch that the follower has not had before.
    fn look(&self, batch: &CheckedBatch) {
        let now = Instant::now();
        *self.heard.lock().expect("no holder panics") = Some(now);
        let mut returned = self.returned.lock().expect("no holder panics");
        let came_back = batch.entries.iter().filter(|entry| match &entry.message {
            Ok(Message::Event { sequence, .. }) => returned.see(batch.partition, entry.offset, *sequence),
            Ok(Message::Control(_)) | Err(_) => false,
        });
        let came_back = came_back.count() as u64;
        if came_back == 0 {
            return;
        }
        self.metrics.returned.inc_by(came_back);
        if let Some(count) = returned.count(came_back, now) {
            let topic = &self.topic;
            tracing::error!(
                "{topic} got {count} of its own records again within a minute: something copies it in a circle. What copies \
                 topics into this data centre must leave out those of {}",
                topic.origin
            );
        }
    }
}

/// A gap and where it is.
struct Found<'a> {
    topic: &'a Topic,
    partition: Partition,
    appender: WriterId,
    gap: Gap,
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, appender, gap } = self;
        let Gap { from, to, after, before, .. } = gap;
        let count = gap.count();
        write!(
            f,
            "{count} records of {topic} {partition}, numbers {from} to {to} of {appender}, between {after} and {before} \
             of the copy here"
        )
    }
}

#[cfg(test)]
mod tests;
