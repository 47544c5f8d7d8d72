use proptest::prelude::*;

use super::*;
use crate::{Dc, DcState, Hlc, MacKey, Partition, Reach, StoreName, Timestamp, Topic};

fn event(change: Change) -> Event {
    Event {
        key: KeyId::from_bytes(*b"0123456789abcdef"),
        version: Version {
            hlc: Hlc::at(Timestamp::from_millis(1_700_000_000_000)),
            writer: WriterId(0xfeed),
        },
        retain_until: Until::At(Timestamp::from_millis(1_700_172_800_000)),
        headers: Headers::from_pairs([
            ("q", &b"1"[..]),
            ("r", b"00000000-0000-0000-0000-000000000000"),
            ("future", b"\xff\x00kept"),
        ])
        .unwrap(),
        change,
    }
}

fn set() -> Change {
    let expires_at = Until::At(Timestamp::from_millis(1_700_086_400_000));
    Change::Set { expires_at, sealed: Sealed(Bytes::from_static(b"salt salt salt !sealed")) }
}

fn declaration() -> Declaration {
    let id = event(Change::Delete).version;
    Declaration { dc: "codfw".parse().unwrap(), state: DcState::Down, id }
}

const SEQUENCE: Sequence = Sequence { appender: WriterId(0xbeef), number: 42 };

/// One line per field, as golden files hold a record.
fn describe(record: &Record) -> String {
    let mut text = format!("key {}\n", record.key.escape_ascii());
    for (name, value) in record.headers.iter() {
        text += &format!("header {name} {}\n", value.escape_ascii());
    }
    match &record.value {
        Some(value) => text + &format!("value {}\n", value.escape_ascii()),
        None => text + "null\n",
    }
}

/// The bytes of format v1 as it was released, MAC included: what stands in a log stays readable for ever.
#[test]
fn the_bytes_of_format_v1_do_not_change() {
    let topic =
        Topic { origin: "eqiad".parse::<Dc>().unwrap(), store: "sessions".parse::<StoreName>().unwrap() };
    let key = MacKey::derive(b"the golden index secret, 32 bytes");
    let never = Change::Set { expires_at: Until::Never, sealed: Sealed(Bytes::from_static(b"x")) };
    let heartbeat = Heartbeat { skipped: vec![3, 4], unsure: vec![9], reach: None };
    let reach = Some(Reach { number: 12, at: Timestamp::from_millis(1_700_000_000_000) });
    let reaching = Heartbeat { reach, ..heartbeat.clone() };
    let golden = [
        (include_str!("../../golden/record.v1.set.txt"), Record::of_event(event(set()), SEQUENCE).unwrap()),
        (
            include_str!("../../golden/record.v1.set-never.txt"),
            Record::of_event(event(never), SEQUENCE).unwrap(),
        ),
        (
            include_str!("../../golden/record.v1.delete.txt"),
            Record::of_event(event(Change::Delete), SEQUENCE).unwrap(),
        ),
        (include_str!("../../golden/record.v1.heartbeat.txt"), Record::of_heartbeat(WriterId(7), &heartbeat)),
        (
            include_str!("../../golden/record.v1.declare.txt"),
            Record::of_declaration(&declaration(), Some(b"a-request")).unwrap(),
        ),
        (
            include_str!("../../golden/record.v1.heartbeat-reach.txt"),
            Record::of_heartbeat(WriterId(7), &reaching),
        ),
    ];
    for (expected, record) in golden {
        assert_eq!(describe(&key.sign(&topic, Partition(3), record)), expected);
    }
}

#[test]
fn what_is_missing_repeated_or_unfit_is_named() {
    let good = Record::of_event(event(set()), SEQUENCE).unwrap();
    let without = |name: &str| {
        let headers = Headers::from_pairs(good.headers.iter().filter(|&(n, _)| n != name)).unwrap();
        Record { headers, ..good.clone() }
    };
    let with = |name: &str, value: &str| {
        let headers = without(name).headers;
        let headers = Headers::from_pairs(headers.iter().chain([(name, value.as_bytes())])).unwrap();
        Record { headers, ..good.clone() }
    };
    for name in ["op", "v", "x", "k", "s"] {
        let name: &'static str = name;
        assert_eq!(without(name).decode(), Err(DecodeError::Header(name)));
        let twice =
            Headers::from_pairs(good.headers.iter().chain(good.headers.iter().filter(|&(n, _)| n == name)));
        assert_eq!(
            Record { headers: twice.unwrap(), ..good.clone() }.decode(),
            Err(DecodeError::Header(name))
        );
    }
    for (name, value) in [("v", "1-2"), ("x", "soon"), ("k", "-1"), ("s", "1")] {
        let name: &'static str = name;
        assert_eq!(with(name, value).decode(), Err(DecodeError::Header(name)));
    }
    assert_eq!(with("op", "merge").decode(), Err(DecodeError::Operation));
    assert_eq!(with("op", "delete").decode(), Err(DecodeError::Value));
    assert_eq!(Record { value: None, ..good.clone() }.decode(), Err(DecodeError::Value));
    assert_eq!(Record { key: Bytes::from_static(b"short"), ..good.clone() }.decode(), Err(DecodeError::Key));
    assert_eq!(
        Record { key: Bytes::from_static(b"~declared/codfw"), ..good.clone() }.decode(),
        Ok(Message::Control(Control::Other))
    );
    assert_eq!(
        Record { key: Bytes::from_static(b"~new"), value: None, ..good }.decode(),
        Err(DecodeError::Value)
    );
}

#[test]
fn a_declaration_reads_back_and_one_that_cannot_be_read_is_named() {
    let record = Record::of_declaration(&declaration(), None).unwrap();
    assert_eq!(record.decode(), Ok(Message::Control(Control::Declared(declaration()))));
    let value = |value: &'static str| Record { value: Some(value.into()), ..record.clone() }.decode();
    assert_eq!(value("sideways"), Err(DecodeError::Value));
    let key = Record { key: Bytes::from_static(b"~declared/Codfw"), ..record.clone() };
    assert_eq!(key.decode(), Err(DecodeError::Key));
    let headers = Headers::from_pairs([("op", &b"declare"[..])]).unwrap();
    assert_eq!(Record { headers, ..record }.decode(), Err(DecodeError::Header("v")));
}

#[test]
fn headers_over_the_limit_are_refused_when_written() {
    let mut event = event(Change::Delete);
    event.headers = Headers::from_pairs([("p", &[b'a'; 200][..])]).unwrap();
    assert!(
        matches!(Record::of_event(event, SEQUENCE), Err(EncodeError::HeaderBytes(total)) if HEADER_BYTES_MAX < total)
    );
}

prop_compose! {
    fn any_event()(
        key: [u8; 16], version: [u8; 16], retain in prop::option::of(any::<u64>()), expires in prop::option::of(any::<u64>()),
        body in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)), q in any::<u32>(), r in "[A-Za-z0-9._-]{1,36}",
    ) -> Event {
        let until = |millis: Option<u64>| millis.map_or(Until::Never, |millis| Until::At(Timestamp::from_millis(millis)));
        Event {
            key: KeyId::from_bytes(key),
            version: Version::from_bytes(version),
            retain_until: until(retain),
            headers: Headers::from_pairs([("q", q.to_string().as_bytes()), ("r", r.as_bytes())]).unwrap(),
            change: match body {
                Some(body) => Change::Set { expires_at: until(expires), sealed: Sealed(body.into()) },
                None => Change::Delete,
            },
        }
    }
}

proptest! {
    #[test]
    fn an_event_reads_back_from_its_record(event in any_event(), appender: u64, number in 1u64..) {
        let sequence = Sequence { appender: WriterId(appender), number };
        let record = Record::of_event(event.clone(), sequence).unwrap();
        prop_assert_eq!(record.decode(), Ok(Message::Event { event, sequence }));
    }

    #[test]
    fn a_heartbeat_reads_back_from_its_record(
        appender: u64,
        skipped: Vec<u64>,
        unsure: Vec<u64>,
        reach: Option<(u64, u64)>,
        name: u64,
    ) {
        let reach = reach.map(|(number, at)| Reach { number, at: Timestamp::from_millis(at) });
        let (appender, heartbeat) = (WriterId(appender), Heartbeat { skipped, unsure, reach });
        let record = Record::of_heartbeat(appender, &heartbeat);
        let control = Control::Heartbeat { appender, heartbeat: heartbeat.clone(), beacon: None };
        prop_assert_eq!(record.decode(), Ok(Message::Control(control)));
        let beacon = Beacon(name);
        let record = Record::of_beacon(appender, &heartbeat, beacon);
        let control = Control::Heartbeat { appender, heartbeat, beacon: Some(beacon) };
        prop_assert_eq!(record.decode(), Ok(Message::Control(control)));
    }
}
