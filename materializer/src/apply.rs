//! One batch of a log into one view: fold, then one atomic write of cells, debts, position and marks.

use std::collections::BTreeMap;

use eventlog::LogClock;
use schemas::{KeyId, Offset, Partition, Timestamp, Topic, Version};

use crate::{
    Cell, Census, CheckedBatch, Debts, Declarations, Declared, Gaps, Head, HotCells, Marks, Noted, Recount,
    View, ViewError, ViewWrite, Whose, fold,
};

/// Where a batch is folded into, and by what rules.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) view: &'a dyn View,
    /// Cells of `view` that are in memory, if anybody reads it.
    pub(crate) hot: Option<&'a HotCells>,
    /// Those of `view`, which may not be the one that is served.
    pub(crate) debts: &'a Debts,
    pub(crate) declared: &'a Declared,
    pub(crate) census: &'a mut Census,
    /// Those of the view that is served, or is about to be.
    pub(crate) gaps: Option<&'a Gaps>,
    pub(crate) clock: &'a LogClock,
}

/// What a batch comes to, ready to be written.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) write: ViewWrite,
    /// The newest version in the batch, and the newest that the view has seen at all.
    pub(crate) newest_version: Option<Version>,
    pub(crate) newest_seen: Option<Version>,
    pub(crate) tally: Tally,
    pub(crate) up_to: Offset,
    /// What the view held of each key that was looked at.
    pub(crate) before: BTreeMap<KeyId, Option<Head>>,
}

/// What of a batch is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) refused: u64,
    pub(crate) newest_append: Timestamp,
}

impl Target<'_> {
    /// Folds `batch` of `topic`, where this data centre writes `own`. `newest_seen` is the newest version that the view has seen before.
    pub(crate) fn fold(
        &mut self,
        (topic, own): (&Topic, &Topic),
        batch: CheckedBatch,
        newest_seen: Option<Version>,
    ) -> Result<Folded, ViewError> {
        let numbers = self.gaps.map(|gaps| gaps.look(topic, &batch, self.clock.now())).unwrap_or_default();
        let CheckedBatch { partition, entries, up_to } = batch;
        let (mut before, records) = (BTreeMap::new(), entries.len() as u64);
        let whose = if topic == own { Whose::Own } else { Whose::Mirrored { us: &own.origin } };
        let changes = fold(whose, entries, |key| {
            let head = self.head(key)?;
            before.insert(*key, head);
            Ok(head.map(|head| head.version))
        })?;
        self.clock.observe_append(changes.newest_append);
        if let Some((offset, refusal)) = changes.refused.first() {
            let count = changes.refused.len();
            tracing::error!(
                "Set aside {count} records of {topic} {partition}, the first at {offset}: {refusal}"
            );
        }
        let mut recount = Recount::new();
        for (key, cell) in &changes.cells {
            self.census.replace(before.get(key).copied().flatten(), Head::of(cell), &mut recount);
        }
        let newest_seen = newest_seen.max(changes.newest_version);
        let write = ViewWrite {
            cells: changes.cells,
            debts: self.debts.news(&changes.debts, self.clock.now()),
            declared: self.declarations(topic, partition, changes.declared),
            positions: vec![(topic.clone(), partition, up_to)],
            numbers,
            census: recount,
            marks: marks(self.clock, newest_seen),
        };
        Ok(Folded {
            write,
            newest_version: changes.newest_version,
            newest_seen,
            tally: Tally {
                records,
                refused: changes.refused.len() as u64,
                newest_append: changes.newest_append,
            },
            up_to,
            before,
        })
    }

    fn declarations(&self, topic: &Topic, partition: Partition, said: Vec<Noted>) -> Declarations {
        let news = self.declared.news(topic, partition, said);
        if news.is_empty() { Declarations::new() } else { [((topic.clone(), partition), news)].into() }
    }

    fn head(&self, key: &KeyId) -> Result<Option<Head>, ViewError> {
        match self.hot.and_then(|hot| hot.peek(key)) {
            Some(cell) => Ok(Some(Head::of(&cell))),
            None => self.view.head(key),
        }
    }
}

impl Folded {
    /// Its cells, each with what it takes the place of.
    pub(crate) fn replacements(&self) -> impl Iterator<Item = (&KeyId, Option<Head>, &Cell)> {
        self.write.cells.iter().map(|(key, cell)| (key, self.before.get(key).copied().flatten(), cell))
    }
}

/// The view holds `write` from now on.
pub(crate) fn written(write: ViewWrite, debts: &Debts, declared: &Declared, hot: Option<&HotCells>) {
    debts.take(&write.debts);
    declared.take(&write.declared);
    if let Some(hot) = hot {
        write.cells.into_iter().for_each(|(key, cell)| hot.put(key, cell));
    }
}

/// What clocks must never go below, as of now.
pub(crate) fn marks(clock: &LogClock, newest_version: Option<Version>) -> Marks {
    Marks { newest_version, newest_append: clock.newest_append(), read_now: clock.last_read_now() }
}
