//! What became of the numbers that this process gave to its records in one partition. A reader that misses one must know
//! whether a record was lost or never was: the process says so in its heartbeats.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use schemas::Heartbeat;
use tokio::time::Instant;

/// A number whose append nobody has heard of for so long is unsure: a log gives up before.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// Numbers that a heartbeat lists of each kind: the newest. Older ones are older than any gap that is looked for.
const LISTED_MAX: usize = 500;

/// How an append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A record has the number.
    Stored,
    /// No record has it, nor ever will.
    Skipped,
    /// A record may have it.
    Unsure,
}

/// The numbers of one partition.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: u64,
    /// Taken, in order; some may have been settled since.
    open: VecDeque<Open>,
    skipped: BTreeSet<u64>,
    unsure: BTreeSet<u64>,
    /// Something was appended, or settled, since the last heartbeat.
    is_news: bool,
    said_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    since: Instant,
    is_settled: bool,
}

impl Numbers {
    /// From 1 up.
    pub(crate) const fn new() -> Self {
        Self {
            next: 1,
            open: VecDeque::new(),
            skipped: BTreeSet::new(),
            unsure: BTreeSet::new(),
            is_news: false,
            said_at: None,
        }
    }

    /// The number that the next record gets, unless the log does not take it.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The log has taken the record of [`next`](Self::next).
    pub(crate) fn taken(&mut self, now: Instant) {
        // Where nobody asks for heartbeats, too: what a client gave up waiting for is never settled.
        self.give_up(now);
        self.open.push_back(Open { number: self.next, since: now, is_settled: false });
        self.next += 1;
        self.is_news = true;
    }

    /// An append has ended.
    pub(crate) fn settle(&mut self, number: u64, fate: Fate) {
        if let Ok(at) = self.open.binary_search_by_key(&number, |open| open.number) {
            self.open[at].is_settled = true;
        }
        while self.open.front().is_some_and(|open| open.is_settled) {
            self.open.pop_front();
        }
        self.note(number, fate);
    }

    /// What there is to say, if it is time: at once what nobody knows yet of numbers, and "alive" after `quiet_for`
    /// without a word.
    pub(crate) fn heartbeat(&mut self, now: Instant, quiet_for: Duration) -> Option<Heartbeat> {
        self.give_up(now);
        let is_quiet = self.said_at.is_none_or(|said_at| quiet_for <= now - said_at);
        if !self.is_news && !is_quiet {
            return None;
        }
        self.is_news = false;
        self.said_at = Some(now);
        let list = |numbers: &BTreeSet<u64>| numbers.iter().copied().collect();
        Some(Heartbeat { skipped: list(&self.skipped), unsure: list(&self.unsure) })
    }

    /// What has been open for too long is unsure.
    fn give_up(&mut self, now: Instant) {
        while let Some(&Open { number, since, is_settled }) = self.open.front()
            && OPEN_FOR <= now - since
        {
            self.open.pop_front();
            if !is_settled {
                self.note(number, Fate::Unsure);
            }
        }
    }

    fn note(&mut self, number: u64, fate: Fate) {
        let list = match fate {
            Fate::Stored => return,
            Fate::Skipped => &mut self.skipped,
            Fate::Unsure => &mut self.unsure,
        };
        list.insert(number);
        while LISTED_MAX < list.len() {
            list.pop_first();
        }
        self.is_news = true;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn taken(count: u64) -> Numbers {
        let mut numbers = Numbers::new();
        for number in 1..=count {
            assert_eq!(numbers.next(), number);
            numbers.taken(Instant::now());
        }
        numbers
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_says_what_became_of_every_number_that_no_record_has() {
        let mut numbers = taken(4);
        numbers.settle(3, Fate::Unsure);
        numbers.settle(2, Fate::Skipped);
        numbers.settle(1, Fate::Stored);
        let heartbeat = numbers.heartbeat(Instant::now(), MINUTE).unwrap();
        assert_eq!(heartbeat, Heartbeat { skipped: vec![2], unsure: vec![3] });
        // Nobody has heard of 4: its client hung up.
        advance(OPEN_FOR).await;
        let heartbeat = numbers.heartbeat(Instant::now(), MINUTE).unwrap();
        assert_eq!(heartbeat, Heartbeat { skipped: vec![2], unsure: vec![3, 4] });
        assert!(numbers.open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_news_it_is_silent_until_it_has_been_quiet_for_long() {
        let mut numbers = taken(1);
        numbers.settle(1, Fate::Stored);
        assert!(numbers.heartbeat(Instant::now(), MINUTE).is_some());
        assert_eq!(numbers.heartbeat(Instant::now(), MINUTE), None);
        advance(MINUTE).await;
        assert!(numbers.heartbeat(Instant::now(), MINUTE).is_some());
        numbers.taken(Instant::now());
        assert!(numbers.heartbeat(Instant::now(), MINUTE).is_some(), "an append is news");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waited_for_is_not_kept_for_ever_where_there_are_no_heartbeats() {
        let mut numbers = taken(1);
        for number in 2..1_000 {
            advance(Duration::from_secs(1)).await;
            numbers.taken(Instant::now());
            numbers.settle(number, Fate::Stored);
        }
        assert!(numbers.open.len() <= 60, "{}", numbers.open.len());
        assert_eq!(numbers.heartbeat(Instant::now(), MINUTE).unwrap().unsure, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_refuses_everything_makes_no_endless_list() {
        let mut numbers = taken(2 * LISTED_MAX as u64);
        for number in 1..=2 * LISTED_MAX as u64 {
            numbers.settle(number, Fate::Skipped);
        }
        let heartbeat = numbers.heartbeat(Instant::now(), MINUTE).unwrap();
        assert_eq!(heartbeat.skipped.len(), LISTED_MAX);
        assert_eq!(heartbeat.skipped.last(), Some(&(2 * LISTED_MAX as u64)));
    }
}
