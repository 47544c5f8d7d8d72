use bytes::Bytes;
use eventlog::{Batch, Entry};
use schemas::{
    Change, DecodeError, Event, Headers, Heartbeat, Hlc, MacError, MacKey, Partition, Record, Sealed,
    Sequence, Topic, Until, WriterId,
};

use super::*;
use crate::CheckedBatch;

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
    fold(is_own, checked(records), |_| Ok(in_view)).unwrap()
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
