use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};
use schemas::{Change, Event, Headers, Heartbeat, Hlc, KeyId, Partition, Reach, Sequence, Until, Version};

use super::*;

const BEGAN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const SECOND: u64 = 1000;

/// What a log of these tests keeps for sure.
const KEPT_MS: u64 = 100 * SECOND;

const RULES: GapRules = GapRules {
    kept_for: Some(Duration::from_millis(KEPT_MS)),
    heard_every: Duration::from_millis(20 * SECOND),
    silent_after: Duration::from_millis(80 * SECOND),
};

fn moment(ms: u64) -> Timestamp {
    BEGAN.saturating_add(Duration::from_millis(ms))
}

/// Of a version that was chosen at `ms`.
fn record(appender: u64, number: u64, ms: u64) -> Message {
    let event = Event {
        key: KeyId::from_bytes([1; 16]),
        version: Version { hlc: Hlc::at(moment(ms)), writer: WriterId(appender) },
        retain_until: Until::Never,
        headers: Headers::default(),
        change: Change::Delete,
    };
    Message::Event { event, sequence: Sequence { appender: WriterId(appender), number } }
}

/// Said at `ms`, with what was skipped until then.
fn heartbeat(appender: u64, skipped: &[u64], number: u64, ms: u64) -> Message {
    let reach = Some(Reach { number, at: moment(ms) });
    let heartbeat = Heartbeat { skipped: skipped.into(), unsure: Vec::new(), reach };
    Message::Control(Control::Heartbeat { appender: WriterId(appender), heartbeat, beacon: None })
}

/// A copy of a log, and what was seen of it.
struct Copy {
    numbers: Numbers,
    next: u64,
    counts: Counts,
    lost: BTreeSet<(u64, u64)>,
    excused: BTreeSet<(u64, u64)>,
}

impl Copy {
    fn new() -> Self {
        let numbers = Numbers::begin(Offset::ZERO, BEGAN);
        Self { numbers, next: 0, counts: Counts::default(), lost: BTreeSet::new(), excused: BTreeSet::new() }
    }

    fn takes(&mut self, message: Message, ms: u64) {
        let offset = Offset(self.next);
        self.next += 1;
        let entry = Checked { offset, append_time: moment(ms), message: Ok(message) };
        let batch = CheckedBatch { partition: Partition(0), entries: vec![entry], up_to: offset.next() };
        let Counts { repeated, closed } = self.numbers.look(&batch, RULES, moment(ms));
        self.counts.repeated += repeated;
        self.counts.closed += closed;
    }

    fn lapses(&mut self, ms: u64) {
        for (appender, gap) in self.numbers.lapse(moment(ms)) {
            let judged = (gap.from..=gap.to).map(|number| (appender.0, number));
            match gap.state {
                GapState::Lost => self.lost.extend(judged),
                _ => self.excused.extend(judged),
            }
        }
    }
}

/// What becomes of a record on its way.
#[derive(Clone, Debug)]
enum Fate {
    /// It comes so many milliseconds after it was sent, and again.
    Comes(u64, Vec<u64>),
    Lost,
    /// Never stored, and its writer says so.
    Skipped,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0..2500_u64, vec(0..60 * SECOND, 0..2)).prop_map(|(after, again)| Fate::Comes(after, again)),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Skipped),
    ]
}

proptest! {
    /// However records are mixed, delayed within the patience, repeated and lost.
    #[test]
    fn exactly_what_never_came_is_lost_and_exactly_what_came_again_is_repeated(
        fates in vec(vec((any_fate(), 0..400_u64), 0..30), 1..4),
        beats_take in 0..1500_u64,
    ) {
        let (mut announced, mut arrivals) = (Vec::new(), Vec::new());
        let (mut expected, mut repeats) = (BTreeSet::new(), 0);
        let end = 120 * SECOND;
        for (appender, fates) in (1..).zip(&fates) {
            let (mut sent, mut skipped, mut said) = (0, Vec::new(), 0);
            let mut beat = |ms: u64, skipped: &[u64], number: u64| {
                arrivals.push((ms + beats_take, heartbeat(appender, skipped, number, ms)));
            };
            // It is durable before anything else is written.
            announced.push((0, heartbeat(appender, &[], 0, 0)));
            let mut records = Vec::new();
            for (number, (fate, pause)) in (1..).zip(fates) {
                sent += pause;
                while said + SECOND <= sent {
                    said += SECOND;
                    beat(said, &skipped, number - 1);
                }
                match fate {
                    Fate::Comes(after, again) => {
                        records.push((sent + after, record(appender, number, sent)));
                        for more in again {
                            records.push((sent + after + more, record(appender, number, sent)));
                            repeats += 1;
                        }
                    }
                    Fate::Lost => drop(expected.insert((appender, number))),
                    Fate::Skipped => skipped.push(number),
                }
            }
            beat(said + SECOND, &skipped, fates.len() as u64);
            arrivals.extend(records);
        }
        arrivals.sort_by_key(|(ms, _)| *ms);
        let mut copy = Copy::new();
        let mut arrivals = announced.into_iter().chain(arrivals).peekable();
        for tick in (0..end).step_by(250) {
            while let Some((ms, message)) = arrivals.next_if(|(ms, _)| *ms <= tick) {
                copy.takes(message, ms);
            }
            copy.lapses(tick);
            prop_assert!(copy.lost.is_subset(&expected), "{:?} of {expected:?} at {tick}", copy.lost);
        }
        prop_assert_eq!(arrivals.next(), None);
        prop_assert_eq!(&copy.lost, &expected);
        prop_assert_eq!(copy.numbers.lost(), expected.len() as u64);
        prop_assert_eq!(copy.counts.repeated, repeats);
        prop_assert_eq!(&copy.excused, &BTreeSet::new());
        // Copied again, in whatever order: nothing is missing any more.
        for &(appender, number) in expected.iter().rev() {
            copy.takes(record(appender, number, 0), end);
        }
        prop_assert_eq!((copy.numbers.lost(), copy.counts.closed), (0, expected.len() as u64));
    }

    /// The copy is cut off, and the original drops what is superseded and old meanwhile; of heartbeats only the last of each
    /// appender is left there.
    #[test]
    fn what_compaction_drops_is_never_called_lost(
        before in 0..40_u64,
        records in vec((1..4_u64, 0..20 * SECOND, any::<bool>()), 1..120),
    ) {
        let mut copy = Copy::new();
        copy.takes(heartbeat(1, &[], 0, 0), 0);
        for number in 1..=before {
            copy.takes(record(1, number, 0), 0);
        }
        copy.takes(heartbeat(1, &[], before, 1), 1);
        // Written while it is cut off: by the one that was there, and by two that begin.
        let mut written = Vec::new();
        let (mut ms, mut numbers) = (2, BTreeMap::from([(1, before)]));
        let mut said = BTreeMap::new();
        for (appender, pause, is_superseded) in records {
            for _ in 0..pause / SECOND {
                ms += SECOND;
                for (&appender, &number) in &numbers {
                    if said.get(&appender).is_none_or(|said| said + 10 * SECOND <= ms) {
                        said.insert(appender, ms);
                        written.push((ms, Some(appender), true, heartbeat(appender, &[], number, ms)));
                    }
                }
            }
            let number = numbers.entry(appender).or_insert_with(|| {
                said.insert(appender, ms);
                written.push((ms, Some(appender), true, heartbeat(appender, &[], 0, ms)));
                0
            });
            *number += 1;
            written.push((ms, None, is_superseded, record(appender, *number, ms)));
        }
        let now = ms + 10 * SECOND;
        let last_of = |of: u64| written.iter().rposition(|(_, appender, ..)| *appender == Some(of));
        let kept = |(at, (ms, appender, is_superseded, _)): &(usize, &(u64, Option<u64>, bool, Message))| {
            let is_last = appender.is_some_and(|appender| last_of(appender) == Some(*at));
            now < ms + KEPT_MS || is_last || !is_superseded
        };
        let left: Vec<_> = written.iter().enumerate().filter(kept).map(|(_, of)| of.3.clone()).collect();
        for message in left {
            copy.takes(message, now);
        }
        copy.lapses(now + 60 * SECOND);
        prop_assert_eq!(&copy.lost, &BTreeSet::new());
    }
}

#[test]
fn whoever_was_there_before_the_looking_began_is_known_from_its_first_word_on() {
    let mut copy = Copy::new();
    copy.takes(record(1, 70, 0), 200 * SECOND);
    copy.takes(heartbeat(2, &[], 30, 201 * SECOND), 201 * SECOND);
    copy.takes(record(1, 72, 0), 202 * SECOND);
    copy.lapses(210 * SECOND);
    assert_eq!(copy.lost, [].into(), "nothing says how old 71 is");
    assert_eq!(copy.excused, [(1, 71)].into());
    copy.takes(record(2, 32, 0), 211 * SECOND);
    copy.lapses(220 * SECOND);
    assert_eq!(copy.lost, [(2, 31)].into());
}

#[test]
fn an_appender_whose_beginning_is_lost_is_told_from_one_that_was_not_heard_of_yet() {
    let mut copy = Copy::new();
    copy.takes(heartbeat(1, &[], 0, 0), 0);
    for ms in (0..60 * SECOND).step_by(10_000) {
        copy.takes(heartbeat(1, &[], 0, ms), ms);
    }
    // All who live have been heard of by now.
    copy.takes(record(2, 3, 60 * SECOND), 60 * SECOND);
    copy.takes(heartbeat(3, &[], 2, 61 * SECOND), 61 * SECOND);
    copy.lapses(70 * SECOND);
    assert_eq!(copy.lost, [(2, 1), (2, 2), (3, 1), (3, 2)].into());
    // After an hour of silence nothing says how old that is.
    copy.takes(record(4, 2, 3600 * SECOND), 3600 * SECOND);
    copy.lapses(3700 * SECOND);
    assert_eq!(copy.excused, [(4, 1)].into());
}

#[test]
fn what_was_looked_at_is_not_looked_at_again_and_what_cannot_be_believed_not_at_all() {
    let mut copy = Copy::new();
    copy.takes(record(1, 1, 0), 0);
    copy.next = 0;
    copy.takes(record(1, 1, 0), 0);
    assert_eq!(copy.counts.repeated, 0, "the same place in the copy");
    copy.takes(record(1, 1, 0), 0);
    assert_eq!(copy.counts.repeated, 1);
    let refused = Err(crate::Refusal::Format(schemas::DecodeError::Key));
    let entry = Checked { offset: Offset(2), append_time: BEGAN, message: refused };
    let batch = CheckedBatch { partition: Partition(0), entries: vec![entry], up_to: Offset(9) };
    assert_eq!(copy.numbers.look(&batch, RULES, BEGAN), Counts::default());
    assert_eq!(copy.numbers.up_to, Offset(9));
}

#[test]
fn those_that_ended_long_ago_are_forgotten_unless_something_of_them_is_missing() {
    let mut copy = Copy::new();
    copy.takes(heartbeat(1, &[], 0, 0), 0);
    copy.takes(record(1, 2, 0), 0);
    copy.lapses(10 * SECOND);
    for appender in 2..200 {
        copy.takes(heartbeat(appender, &[], 0, 10 * SECOND), 10 * SECOND);
    }
    assert_eq!(copy.numbers.appenders.len(), APPENDERS_MAX);
    assert_eq!(copy.numbers.lost(), 1);
    let known: Vec<_> = copy.numbers.appenders.keys().map(|id| id.0).collect();
    assert_eq!((known[0], known[1]), (1, 200 - APPENDERS_MAX as u64 + 1));
}
