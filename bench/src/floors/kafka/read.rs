//! A bare consumer that reads a topic from its start to its end and discards it: what nothing can beat that is made from
//! the topic.

use std::{io::Write, time::Instant};

use anyhow::{Context, bail};
use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use serde_json::json;

use super::{PATIENCE, Topic};
use crate::arguments::Load;

/// Reads up to the end of every partition. Nobody should write to the topic meanwhile.
pub(in crate::floors) fn run(topic: &Topic, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    let mut config = topic.consumer();
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().context("make a consumer")?;
    // So that the connection is there: what is measured is reading.
    consumer.fetch_metadata(Some(&topic.name), PATIENCE).context("ask for the topic")?;

    let began = Instant::now();
    consumer.assign(&topic.all_at(Offset::Beginning)?).context("read from the start of the topic")?;
    let (mut records, mut bytes, mut ended) = (0_u64, 0, 0);
    while ended < topic.partitions {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => {
                records += 1;
                bytes += message.payload_len();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error).context("read a record"),
            None => bail!("nothing came for {PATIENCE:?}, and there is more"),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let rate = records as f64 / seconds;
    let said = if load.json {
        let figures = json!({
            "floor": "kafka-read", "topic": topic.name, "partitions": topic.partitions,
            "records": records, "value_bytes": bytes, "seconds": seconds, "rate": rate,
        });
        writeln!(out, "{figures}")
    } else {
        writeln!(
            out,
            "{records} records of {}, {bytes} bytes of values, in {seconds:.2} s: {rate:.0}/s",
            topic.name
        )
    };
    said.context("write to standard output")
}
