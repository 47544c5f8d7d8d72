use std::time::Duration;

use prometheus::Registry;
use schemas::{Control, Heartbeat, Message, Reach};

use super::*;
use crate::{Checked, Saved, SavedLog};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

const LATER: Timestamp = Timestamp::from_millis(1_700_000_010_000);

const ZERO: Partition = Partition(0);

fn topic() -> Topic {
    Topic { origin: "codfw".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn one() -> PartitionCount {
    PartitionCount::new(1).unwrap()
}

fn rules() -> GapRules {
    GapRules {
        kept_for: Some(Duration::from_secs(3600)),
        heard_every: Duration::from_secs(60),
        silent_after: Duration::from_secs(40),
    }
}

/// A heartbeat of one appender after so many numbers, at an offset.
fn batch(offset: u64, number: u64) -> CheckedBatch {
    let reach = Some(Reach { number, at: NOW });
    let heartbeat = Heartbeat { reach, ..Heartbeat::default() };
    let message = Ok(Message::Control(Control::Heartbeat { appender: WriterId(7), heartbeat, beacon: None }));
    let entry = Checked { offset: Offset(offset), append_time: NOW, message };
    CheckedBatch { partition: ZERO, entries: vec![entry], up_to: Offset(offset + 1) }
}

/// A view that has applied so much, and has seen these numbers.
fn saved(applied: u64, numbers: NumbersWrite) -> Saved {
    let frontier = Frontier::from_iter([(ZERO, Offset(applied))]);
    let log = SavedLog { incarnation: eventlog::Incarnation("one".into()), frontier };
    let numbers = numbers.into_iter().map(|(topic, partition, numbers)| ((topic, partition), numbers));
    Saved { logs: [(topic(), log)].into(), numbers: numbers.collect(), ..Saved::default() }
}

fn gaps() -> (Gaps, GapMetrics) {
    let metrics = GapMetrics::register(&Registry::new()).unwrap();
    (Gaps::of([(topic(), rules())], &metrics), metrics)
}

fn tail(offset: u64) -> Frontier {
    Frontier::from_iter([(ZERO, Offset(offset))])
}

fn figures(metrics: &GapMetrics) -> (u64, i64) {
    let labels = ["sessions", "codfw"];
    (metrics.lost.with_label_values(&labels).get(), metrics.missing.with_label_values(&labels).get())
}

/// Three numbers are lost of a log of which all was looked at.
fn with_a_loss() -> (Gaps, GapMetrics, NumbersWrite) {
    let (gaps, metrics) = gaps();
    gaps.resume(&topic(), one(), &Saved::default(), &tail(0), NOW);
    gaps.look(&topic(), &batch(0, 0), NOW);
    gaps.look(&topic(), &batch(1, 3), NOW);
    assert_eq!(figures(&metrics), (0, 0), "they may come yet");
    let written = gaps.lapse(LATER);
    assert_eq!(figures(&metrics), (3, 3));
    assert_eq!(gaps.lapse(LATER), [], "once");
    (gaps, metrics, written)
}

#[test]
fn what_is_lost_is_counted_once_and_open_until_it_is_accounted_for() {
    let (gaps, metrics, _) = with_a_loss();
    let missing = gaps.missing(&topic());
    assert_eq!(missing.count(), 3);
    let sequence = |number| Sequence { appender: WriterId(7), number };
    assert!(missing.holds(ZERO, sequence(3)) && !missing.holds(ZERO, sequence(4)));
    gaps.close_one(&topic(), ZERO, sequence(2));
    assert_eq!(figures(&metrics), (3, 2));
    gaps.close(&topic(), &missing);
    assert_eq!(figures(&metrics), (3, 0));
    let [(_, _, numbers)] = &gaps.lapse(LATER)[..] else { panic!("it is to be written") };
    assert_eq!(numbers.lost(), 0);
}

#[test]
fn a_start_goes_on_with_what_its_view_has_seen() {
    let (_, _, written) = with_a_loss();
    let (gaps, metrics) = gaps();
    gaps.resume(&topic(), one(), &saved(2, written), &tail(9), LATER);
    assert_eq!(figures(&metrics), (0, 3), "counted by the process that found them, and still missing");
    // Lost while nobody looked.
    gaps.look(&topic(), &batch(2, 5), LATER);
    gaps.lapse(LATER.saturating_add(Duration::from_secs(10)));
    assert_eq!(figures(&metrics), (2, 5));
}

#[test]
fn a_view_that_has_seen_nothing_or_has_gone_on_without_looking_begins_at_the_end() {
    let (_, _, written) = with_a_loss();
    for saved in [saved(0, Vec::new()), saved(7, written)] {
        let (gaps, metrics) = gaps();
        gaps.resume(&topic(), one(), &saved, &tail(9), LATER);
        assert_eq!(figures(&metrics), (0, 0));
        gaps.look(&topic(), &batch(7, 100), LATER);
        gaps.look(&topic(), &batch(9, 200), LATER);
        gaps.lapse(LATER.saturating_add(Duration::from_secs(10)));
        assert_eq!(figures(&metrics), (0, 0), "a rebuild, or an appender that was there before");
        gaps.look(&topic(), &batch(10, 202), LATER);
        gaps.lapse(LATER.saturating_add(Duration::from_secs(20)));
        assert_eq!(figures(&metrics), (2, 2));
    }
}

#[test]
fn nothing_is_missed_while_a_copy_is_made_from_its_beginning() {
    let (gaps, metrics, _) = with_a_loss();
    gaps.pause(&topic(), ZERO);
    assert_eq!(gaps.look(&topic(), &batch(2, 50), LATER), [], "nothing to write");
    gaps.begin(&topic(), ZERO, Offset(4), LATER);
    assert_eq!(figures(&metrics), (3, 0), "it has been copied with all the rest");
    gaps.look(&topic(), &batch(3, 60), LATER);
    gaps.look(&topic(), &batch(4, 60), LATER);
    gaps.look(&topic(), &batch(5, 61), LATER);
    gaps.lapse(LATER.saturating_add(Duration::from_secs(10)));
    assert_eq!(figures(&metrics), (4, 1));
}
