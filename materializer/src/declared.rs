//! Which data centres are declared down, by each partition of each log: an operator's word, as far as it has been applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use schemas::{Dc, DcState, Declaration, Partition, PartitionCount, Timestamp, Topic, Version};
use tokio::sync::watch;

/// A declaration, and when the log took it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What was declared.
    pub declaration: Declaration,
    /// By the log's clock. One that is in force is appended again before the log would drop it.
    pub appended: Timestamp,
}

impl Noted {
    /// `appended` of a declaration behind which an older one stands in the log: it has to be appended again, or compaction would
    /// leave that one.
    pub const NOT_LAST: Timestamp = Timestamp::EPOCH;
}

/// What one partition of one log says, by data centre.
pub type OfPartition = BTreeMap<Dc, Noted>;

/// What all partitions of a log say of a data centre together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Whether any partition holds it for down.
    pub down_in_some: bool,
    /// Whether all do.
    pub down_in_all: bool,
    /// The oldest id, if every partition has one.
    pub oldest_id: Option<Version>,
}

/// All of them.
pub type Declarations = BTreeMap<(Topic, Partition), OfPartition>;

/// What the logs say of data centres, kept in memory beside the view that keeps it across restarts.
///
/// Within a partition ids only rise: what is read here after a fence was in force at the fenced record, or came after it.
#[derive(Debug)]
pub struct Declared {
    noted: Mutex<Declarations>,
    changed: watch::Sender<()>,
}

impl Word {
    /// Nothing was said.
    const SILENCE: Self = Self { down_in_some: false, down_in_all: false, oldest_id: None };

    fn of(declaration: &Declaration) -> Self {
        let is_down = declaration.state == DcState::Down;
        Self { down_in_some: is_down, down_in_all: is_down, oldest_id: Some(declaration.id) }
    }

    /// What all of these say, some of which may say nothing; `None` when all do.
    pub fn together(words: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let words: Vec<_> = words.into_iter().collect();
        let is_said = words.iter().any(Option::is_some);
        let all = words.into_iter().map(|word| word.unwrap_or(Self::SILENCE)).reduce(|one, other| Self {
            down_in_some: one.down_in_some || other.down_in_some,
            down_in_all: one.down_in_all && other.down_in_all,
            // No id sorts before every id.
            oldest_id: one.oldest_id.min(other.oldest_id),
        });
        all.filter(|_| is_said)
    }
}

impl Declared {
    /// Those that a view had saved.
    pub fn new(saved: Declarations) -> Self {
        Self { noted: Mutex::new(saved), changed: watch::Sender::new(()) }
    }

    /// Wakes whoever looks, when there is something new.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The data centres that a partition of a log holds for down.
    pub fn down_in(&self, topic: &Topic, partition: Partition) -> BTreeSet<Dc> {
        let noted = self.lock();
        let of_partition = noted.get(&(topic.clone(), partition)).into_iter().flatten();
        let down = of_partition.filter(|(_, noted)| noted.declaration.state == DcState::Down);
        down.map(|(dc, _)| dc.clone()).collect()
    }

    /// What a partition of a log says of `dc`, if anything.
    pub fn get(&self, topic: &Topic, partition: Partition, dc: &Dc) -> Option<Noted> {
        self.lock().get(&(topic.clone(), partition))?.get(dc).cloned()
    }

    /// What the `partitions` of a log say of `dc`; `None` when none says anything.
    pub fn word(&self, topic: &Topic, partitions: PartitionCount, dc: &Dc) -> Option<Word> {
        let noted = self.lock();
        let said = partitions.all().map(|partition| noted.get(&(topic.clone(), partition))?.get(dc));
        Word::together(said.map(|said| said.map(|said| Word::of(&said.declaration))))
    }

    /// The newest declaration about `dc` in any log.
    pub fn newest(&self, dc: &Dc) -> Option<Declaration> {
        let noted = self.lock();
        let said = noted.values().filter_map(|partition| Some(&partition.get(dc)?.declaration));
        said.max_by_key(|declaration| declaration.id).cloned()
    }

    /// Everything.
    pub fn all(&self) -> Declarations {
        self.lock().clone()
    }

    /// What `other` holds now, and nothing else.
    pub(crate) fn replace_with(&self, other: &Self) {
        let all = other.all();
        *self.lock() = all;
        self.changed.send_replace(());
    }

    /// What of a batch is news: a declaration of a later id, one that was appended again, or that an older one came after one.
    pub(crate) fn news(&self, topic: &Topic, partition: Partition, said: Vec<Noted>) -> OfPartition {
        if said.is_empty() {
            return OfPartition::new();
        }
        let noted = self.lock();
        let known = noted.get(&(topic.clone(), partition));
        let mut news = OfPartition::new();
        for said in said {
            let dc = &said.declaration.dc;
            let before = news.get(dc).or_else(|| known?.get(dc));
            let newer = before.filter(|before| said.declaration.id < before.declaration.id).cloned();
            let noted = newer.map_or(said.clone(), |newer| Noted { appended: Noted::NOT_LAST, ..newer });
            news.insert(dc.clone(), noted);
        }
        news
    }

    /// Follows what was written to the view.
    pub(crate) fn take(&self, news: &Declarations) {
        if news.is_empty() {
            return;
        }
        let mut noted = self.lock();
        for (partition, news) in news {
            noted.entry(partition.clone()).or_default().extend(news.clone());
        }
        drop(noted);
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Declarations> {
        self.noted.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, WriterId};

    use super::*;

    fn topic() -> Topic {
        Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
    }

    fn codfw() -> Dc {
        "codfw".parse().unwrap()
    }

    fn said(state: DcState, id: u64, appended: u64) -> Noted {
        let id = Version { hlc: Hlc::from_bits(id), writer: WriterId(1) };
        let appended = Timestamp::from_millis(appended);
        Noted { declaration: Declaration { dc: codfw(), state, id }, appended }
    }

    fn tell(declared: &Declared, said: Vec<Noted>) {
        let news = declared.news(&topic(), Partition(0), said);
        if !news.is_empty() {
            declared.take(&[((topic(), Partition(0)), news)].into());
        }
    }

    #[test]
    fn of_two_declarations_the_later_id_holds_whatever_their_order() {
        use DcState::{Down, Up};
        for order in [[(Down, 1), (Up, 2), (Down, 1)], [(Up, 2), (Down, 1), (Down, 1)]] {
            let one_by_one = Declared::new(Declarations::new());
            for (state, id) in order {
                tell(&one_by_one, vec![said(state, id, 7)]);
            }
            let at_once = Declared::new(Declarations::new());
            tell(&at_once, order.into_iter().map(|(state, id)| said(state, id, 7)).collect());
            assert_eq!(one_by_one.all(), at_once.all(), "{order:?}");
            assert_eq!(at_once.down_in(&topic(), Partition(0)), BTreeSet::new());
            assert_eq!(at_once.newest(&codfw()), Some(said(Up, 2, 7).declaration));
        }
    }

    #[test]
    fn one_behind_which_an_older_one_stands_is_known_not_to_be_the_last_until_it_is_again() {
        let declared = Declared::new(Declarations::new());
        tell(&declared, vec![said(DcState::Up, 2, 7)]);
        tell(&declared, vec![said(DcState::Down, 1, 8)]);
        let noted = |appended| Noted { appended, ..said(DcState::Up, 2, 7) };
        assert_eq!(declared.get(&topic(), Partition(0), &codfw()), Some(noted(Noted::NOT_LAST)));
        tell(&declared, vec![said(DcState::Up, 2, 9)]);
        assert_eq!(declared.get(&topic(), Partition(0), &codfw()), Some(said(DcState::Up, 2, 9)));
        let at_once = Declared::new(Declarations::new());
        tell(&at_once, vec![said(DcState::Up, 2, 7), said(DcState::Down, 1, 8)]);
        assert_eq!(at_once.get(&topic(), Partition(0), &codfw()), Some(noted(Noted::NOT_LAST)));
    }

    #[test]
    fn one_that_was_appended_again_is_as_young_as_its_newest_record() {
        let declared = Declared::new(Declarations::new());
        tell(&declared, vec![said(DcState::Down, 1, 7)]);
        let changed = declared.subscribe();
        tell(&declared, vec![said(DcState::Down, 1, 9)]);
        assert_eq!(declared.get(&topic(), Partition(0), &codfw()), Some(said(DcState::Down, 1, 9)));
        assert!(changed.has_changed().unwrap());
        assert_eq!(declared.down_in(&topic(), Partition(0)), [codfw()].into());
        assert_eq!(declared.down_in(&topic(), Partition(1)), BTreeSet::new(), "another partition");
        let word = |partitions| declared.word(&topic(), PartitionCount::new(partitions).unwrap(), &codfw());
        let id = said(DcState::Down, 1, 9).declaration.id;
        assert_eq!(word(1), Some(Word { down_in_some: true, down_in_all: true, oldest_id: Some(id) }));
        assert_eq!(word(2), Some(Word { down_in_some: true, down_in_all: false, oldest_id: None }));
    }
}
