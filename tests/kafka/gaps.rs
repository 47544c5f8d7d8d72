//! A MirrorMaker that loses records, and one that copies some again.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use serde_json::{Value, json};

use super::nodes::{Dc, two_dcs};
use crate::{
    gaps::{counted, has, repair, write},
    harness::{Kafka, Mirror, Node, eventually},
};

/// From the start of MirrorMaker to its first copies.
const COPIES_WITHIN: Duration = Duration::from_secs(120);

/// From the record after a loss to the count of it.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

/// What MirrorMaker notes in the data centre that receives: how far it is with each partition of eqiad's.
const NOTES: &str = "mm2-offsets.eqiad.internal";

const TOPIC: &str = "eqiad.sessions";

fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_servers());
    config
}

/// Has MirrorMaker go on somewhere else: `where_to` is told where a partition ends and what was copied of it last. It must
/// be stopped.
fn go_on(eqiad: &Kafka, codfw: &Kafka, where_to: impl Fn(i64, i64) -> i64) {
    let mut notes = BTreeMap::new();
    codfw.read_all(NOTES, |note| {
        let (Some(key), Some(value)) = (note.key(), note.payload()) else { return };
        let said: Value = serde_json::from_slice(key).unwrap();
        if said[1]["topic"] == TOPIC {
            let last = serde_json::from_slice::<Value>(value).unwrap()["offset"].as_i64().unwrap();
            notes.insert(key.to_vec(), (note.partition(), said[1]["partition"].as_i64().unwrap(), last));
        }
    });
    assert_eq!(notes.len(), 4, "of all partitions");
    let reader: BaseConsumer = client(eqiad).create().unwrap();
    let writer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = client(codfw).create().unwrap();
    for (key, (of_notes, partition, last)) in notes {
        let partition = i32::try_from(partition).unwrap();
        let (_, end) = reader.fetch_watermarks(TOPIC, partition, super::PATIENCE).unwrap();
        let value = json!({ "offset": where_to(end, last) }).to_string();
        let note = BaseRecord::<[u8], str>::to(NOTES).partition(of_notes).key(&key).payload(&value);
        writer.send(note).map_err(|(error, _)| error).unwrap();
    }
    writer.flush(super::PATIENCE).unwrap();
}

/// Waits until the sessions are in codfw.
fn arrive(mirror: &Mirror, codfw: &Node, sessions: std::ops::Range<usize>) {
    for n in sessions {
        eventually("MirrorMaker copies", COPIES_WITHIN, || {
            mirror.check();
            has(codfw, n).then_some(())
        });
    }
}

#[test]
fn what_mirrormaker_loses_is_counted_and_repaired_and_what_it_copies_again_is_counted_too() {
    if super::left_out() {
        return;
    }
    let [eqiad, codfw] = two_dcs();
    let (Dc { kafka: in_eqiad, node: eqiad, .. }, Dc { kafka: in_codfw, node: codfw, .. }) = (eqiad, codfw);
    let mut mirror = Mirror::start("codfw", &in_eqiad, &in_codfw);
    write(&eqiad, 0..100);
    arrive(&mirror, &codfw, 0..100);
    mirror.stop();

    write(&eqiad, 100..140);
    // It goes on behind them.
    go_on(&in_eqiad, &in_codfw, |end, _| end - 1);
    mirror.restart();
    write(&eqiad, 140..200);
    arrive(&mirror, &codfw, 140..200);
    let arrived = std::time::Instant::now();
    eventually("the loss is counted", COPIES_WITHIN, || {
        (counted(&codfw, "eqiad") == (40, 0, 40)).then_some(())
    });
    assert!(arrived.elapsed() < FOUND_WITHIN, "{:?}", arrived.elapsed());
    assert!(0 < codfw.logged("`solera repair --from eqiad`"));
    assert!((100..140).all(|n| !has(&codfw, n)));
    assert_eq!(counted(&eqiad, "codfw"), (0, 0, 0), "nothing was ever copied to eqiad");

    let (code, said) = repair(&codfw, "eqiad");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("brought 40 writes and 0 deletes"), "{said}");
    assert!(said.contains("of 40 numbers that were missing 40 are there"), "{said}");
    assert_eq!(counted(&codfw, "eqiad"), (40, 0, 0));
    assert!((0..200).all(|n| has(&codfw, n)));

    mirror.stop();
    go_on(&in_eqiad, &in_codfw, |_, last| last - 20);
    mirror.restart();
    eventually("repeats are counted", COPIES_WITHIN, || {
        mirror.check();
        (0 < counted(&codfw, "eqiad").1).then_some(())
    });
    write(&eqiad, 200..220);
    arrive(&mirror, &codfw, 200..220);
    let (lost, repeated, missing) = counted(&codfw, "eqiad");
    println!("{repeated} records were copied again");
    assert_eq!((lost, missing), (40, 0));
    assert!(repeated <= 80, "heartbeats have no numbers");
}
