//! What became of the numbers that this process gave to its records in one partition. A reader that misses one must know
//! whether a record was lost or never was: the process says so in its heartbeats.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use schemas::{Heartbeat, Reach, Timestamp};
use tokio::time::Instant;

/// A number whose append nobody has heard of for so long is unsure: a log gives up before.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// Numbers that a heartbeat lists of each kind: the newest. Older ones are older than any gap that is looked for.
const LISTED_MAX: usize = 500;

/// How often a process says that it is alive. What became of a number that no record carries is said at once.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// While it appends.
    pub busy: Duration,
    /// While it does not. Readers know from it how old a gap can be at most.
    pub quiet: Duration,
}

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
    /// Something was appended since the last heartbeat.
    has_appended: bool,
    /// A number that no record carries was settled since the last heartbeat.
    is_owed: bool,
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
            has_appended: false,
            is_owed: false,
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
        self.has_appended = true;
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

    /// What there is to say, if it is time: at once what nobody knows yet of numbers, and "alive" in this rhythm.
    /// `at` is the moment by the writer's clock.
    pub(crate) fn heartbeat(&mut self, now: Instant, at: Timestamp, rhythm: Rhythm) -> Option<Heartbeat> {
        self.give_up(now);
        let silent_for = |period: Duration| self.said_at.is_none_or(|said_at| period <= now - said_at);
        let is_due = (self.has_appended && silent_for(rhythm.busy)) || silent_for(rhythm.quiet);
        (self.is_owed || is_due).then(|| self.say(now, at))
    }

    /// What there is to say, whether or not it is time.
    pub(crate) fn say(&mut self, now: Instant, at: Timestamp) -> Heartbeat {
        (self.has_appended, self.is_owed, self.said_at) = (false, false, Some(now));
        let list = |numbers: &BTreeSet<u64>| numbers.iter().copied().collect();
        let reach = Some(Reach { number: self.next - 1, at });
        Heartbeat { skipped: list(&self.skipped), unsure: list(&self.unsure), reach }
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
        self.is_owed = true;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    const RHYTHM: Rhythm = Rhythm { busy: Duration::ZERO, quiet: MINUTE };

    fn reach(number: u64) -> Option<Reach> {
        Some(Reach { number, at: AT })
    }

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
        let heartbeat = numbers.heartbeat(Instant::now(), AT, RHYTHM).unwrap();
        assert_eq!(heartbeat, Heartbeat { skipped: vec![2], unsure: vec![3], reach: reach(4) });
        // Nobody has heard of 4: its client hung up.
        advance(OPEN_FOR).await;
        let heartbeat = numbers.heartbeat(Instant::now(), AT, RHYTHM).unwrap();
        assert_eq!(heartbeat, Heartbeat { skipped: vec![2], unsure: vec![3, 4], reach: reach(4) });
        assert!(numbers.open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_news_it_is_silent_until_it_has_been_quiet_for_long() {
        let mut numbers = taken(1);
        numbers.settle(1, Fate::Stored);
        assert!(numbers.heartbeat(Instant::now(), AT, RHYTHM).is_some());
        assert_eq!(numbers.heartbeat(Instant::now(), AT, RHYTHM), None);
        advance(MINUTE).await;
        assert!(numbers.heartbeat(Instant::now(), AT, RHYTHM).is_some());
        numbers.taken(Instant::now());
        assert!(numbers.heartbeat(Instant::now(), AT, RHYTHM).is_some(), "an append is news");
    }

    #[tokio::test(start_paused = true)]
    async fn appends_are_told_in_their_rhythm_and_a_number_without_a_record_at_once() {
        let rhythm = Rhythm { busy: MINUTE, quiet: 60 * MINUTE };
        let mut numbers = taken(1);
        numbers.settle(1, Fate::Stored);
        assert_eq!(numbers.heartbeat(Instant::now(), AT, rhythm).unwrap().reach, reach(1));
        numbers.taken(Instant::now());
        assert_eq!(numbers.heartbeat(Instant::now(), AT, rhythm), None);
        numbers.settle(2, Fate::Skipped);
        let heartbeat = numbers.heartbeat(Instant::now(), AT, rhythm).unwrap();
        assert_eq!((heartbeat.skipped, heartbeat.reach), (vec![2], reach(2)));
        numbers.taken(Instant::now());
        advance(MINUTE).await;
        assert_eq!(numbers.heartbeat(Instant::now(), AT, rhythm).unwrap().reach, reach(3));
        advance(59 * MINUTE).await;
        numbers.settle(3, Fate::Stored);
        assert_eq!(numbers.heartbeat(Instant::now(), AT, rhythm), None);
        advance(MINUTE).await;
        assert!(numbers.heartbeat(Instant::now(), AT, rhythm).is_some());
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
        assert_eq!(numbers.heartbeat(Instant::now(), AT, RHYTHM).unwrap().unsure, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_refuses_everything_makes_no_endless_list() {
        let mut numbers = taken(2 * LISTED_MAX as u64);
        for number in 1..=2 * LISTED_MAX as u64 {
            numbers.settle(number, Fate::Skipped);
        }
        let heartbeat = numbers.heartbeat(Instant::now(), AT, RHYTHM).unwrap();
        assert_eq!(heartbeat.skipped.len(), LISTED_MAX);
        assert_eq!(heartbeat.skipped.last(), Some(&(2 * LISTED_MAX as u64)));
    }
}
