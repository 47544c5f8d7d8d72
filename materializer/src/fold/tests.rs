use bytes::Bytes;
use eventlog::{Batch, Entry};
use schemas::{
    Change, DcState, Declaration, DecodeError, Event, Headers, Heartbeat, Hlc, MacError, MacKey, Partition,
    Record, Sealed, Sequence, Topic, Until, WriterId,
};

use super::*;
use crate::{CheckedBatch, Noted};

fn topic() -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn mac() -> MacKey {
    MacKey::derive(b"an index secret")
}

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn version(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
}

fn event(of: u8, at: u64) -> Event {
    Event {
        key: key(of),
        version: version(at),
        retain_until: Until::Never,
        headers: Headers::default(),
        change: Change::Set { expires_at: Until::Never, sealed: Sealed(Bytes::from(at.to_string())) },
    }
}

fn record(event: &Event) -> Record {
    let sequence = Sequence { appender: WriterId(1), number: 1 };
    mac().sign(&topic(), Partition(0), Record::of_event(event.clone(), sequence).unwrap())
}

fn checked(records: impl IntoIterator<Item = Record>) -> Vec<Checked> {
    let at = |(n, record)| Entry { offset: Offset(n), append_time: Timestamp::from_millis(10 + n), record };
    let entries: Vec<_> = (0..).zip(records).map(at).collect();
    let up_to = Offset(entries.len() as u64);
    CheckedBatch::of(&topic(), &mac(), Batch { partition: Partition(0), entries, up_to }).entries
}

fn fold_on(in_view: Option<Version>, is_own: bool, records: impl IntoIterator<Item = Record>) -> Changes {
    let us = "codfw".parse().unwrap();
    let whose = if is_own { Whose::Own } else { Whose::Mirrored { us: &us } };
    fold(whose, checked(records), |_| Ok(in_view)).unwrap()
}

#[test]
fn the_newest_of_a_batch_wins_whatever_its_place() {
    let changes =
        fold_on(None, true, [event(1, 2), event(1, 3), event(1, 1), event(2, 1)].iter().map(record));
    let versions: Vec<_> = changes.cells.values().map(|cell| cell.version).collect();
    assert_eq!(versions, [version(3), version(1)]);
    assert_eq!(changes.newest_version, Some(version(3)));
    assert_eq!(changes.newest_append, Timestamp::from_millis(13));
}

#[test]
fn what_the_view_has_already_is_not_written_again() {
    for (in_view, written) in [(Some(version(1)), 1), (Some(version(2)), 0), (Some(version(3)), 0)] {
        assert_eq!(fold_on(in_view, true, [record(&event(1, 2))]).cells.len(), written);
    }
}

#[test]
fn an_own_record_that_loses_is_a_debt_and_one_that_does_not_pays_it() {
    let debts = |in_view, is_own, events: &[Event]| fold_on(in_view, is_own, events.iter().map(record)).debts;
    assert_eq!(debts(Some(version(9)), true, &[event(1, 2)]), BTreeMap::from([(key(1), DebtChange::Began)]));
    assert_eq!(debts(Some(version(2)), true, &[event(1, 2)]), BTreeMap::from([(key(1), DebtChange::Paid)]));
    assert_eq!(debts(None, true, &[event(1, 3), event(1, 2)]), BTreeMap::from([(key(1), DebtChange::Began)]));
    assert_eq!(
        debts(None, true, &[event(1, 3), event(1, 2), event(1, 3)]),
        BTreeMap::from([(key(1), DebtChange::Paid)])
    );
    assert_eq!(
        debts(Some(version(9)), false, &[event(1, 2)]),
        BTreeMap::new(),
        "another log owes nothing here"
    );
}

#[test]
fn what_is_not_ours_is_set_aside_and_changes_nothing() {
    let good = record(&event(1, 2));
    let forged = Record { value: Some(Bytes::from_static(b"forged")), ..good.clone() };
    let unsigned = Record::of_event(event(1, 9), Sequence { appender: WriterId(1), number: 1 }).unwrap();
    let unreadable =
        mac().sign(&topic(), Partition(0), Record { key: Bytes::from_static(b"x"), ..unsigned.clone() });
    let changes = fold_on(None, true, [forged, unsigned, unreadable, good]);
    let refused: Vec<_> =
        changes.refused.iter().map(|(offset, refusal)| (offset.0, refusal.clone())).collect();
    let expected = [
        (0, Refusal::Mac(MacError::Mismatch)),
        (1, Refusal::Mac(MacError::Missing)),
        (2, Refusal::Format(DecodeError::Key)),
    ];
    assert_eq!(refused, expected);
    assert_eq!(changes.cells.len(), 1);
    assert_eq!(changes.newest_version, Some(version(2)));
}

#[test]
fn a_heartbeat_moves_nothing_but_time() {
    let heartbeat =
        mac().sign(&topic(), Partition(0), Record::of_heartbeat(WriterId(7), &Heartbeat::default()));
    let changes = fold_on(None, true, [heartbeat]);
    assert!(changes.cells.is_empty() && changes.debts.is_empty() && changes.refused.is_empty());
    assert_eq!(changes.newest_append, Timestamp::from_millis(10));
}

#[test]
fn a_tombstone_that_went_on_without_us_is_owed_by_our_log_and_does_not_move_our_clock() {
    let deleted = |without: &str, at| Event {
        headers: Headers::from_pairs([("d", without.as_bytes())]).unwrap(),
        change: Change::Delete,
        version: Version { hlc: Hlc::at(Timestamp::from_millis(at)), writer: WriterId(1) },
        ..event(1, 0)
    };
    let began = BTreeMap::from([(key(1), DebtChange::Began)]);
    let folded = |in_view, is_own, event: &Event| fold_on(in_view, is_own, [record(event)]);
    // `codfw` is who folds.
    let changes = folded(None, false, &deleted("codfw,esams", 100_000));
    assert_eq!((changes.debts, changes.newest_version), (began, None));
    let near = folded(None, true, &deleted("codfw", 20_000));
    assert_eq!(near.newest_version, Some(deleted("codfw", 20_000).version));
    assert_eq!(folded(None, false, &deleted("esams", 100_000)).debts, BTreeMap::new());
    let newer = Some(Version { hlc: Hlc::at(Timestamp::from_millis(200_000)), writer: WriterId(1) });
    assert_eq!(folded(newer, false, &deleted("codfw", 100_000)).debts, BTreeMap::new(), "it covers nothing");
    let paid = folded(Some(deleted("codfw", 100_000).version), true, &deleted("codfw", 100_000));
    assert_eq!(paid.debts, BTreeMap::from([(key(1), DebtChange::Paid)]), "in our own log");
}

#[test]
fn a_declaration_is_noted_with_its_time() {
    let declaration = Declaration { dc: "codfw".parse().unwrap(), state: DcState::Down, id: version(7) };
    let record = Record::of_declaration(&declaration, None).unwrap();
    let changes = fold_on(None, true, [mac().sign(&topic(), Partition(0), record)]);
    assert_eq!(changes.declared, [Noted { declaration, appended: Timestamp::from_millis(10) }]);
    assert_eq!((changes.cells.len(), changes.newest_version), (0, None));
}
