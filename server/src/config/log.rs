//! The log that is the node's source of truth.

use std::{collections::BTreeMap, fmt, time::Duration};

use eventlog::kafka::RESERVED;
use schemas::{PartitionCount, caps};
use yaml_serde::Value;

use super::{
    ReadConsistency,
    section::{Item, Read, Section, section},
    value::{Refusal, number, show_kind, text_as},
};

/// Which log the node writes and follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogConfig {
    /// One on this machine's disk, below the data folder: one process, no broker.
    Embedded {
        /// Partitions of each topic, 1 to 1024. Default 4. Fixed for a topic's life: under another number the node does
        /// not start. Too low makes writes wait for each other while their records are signed; too high makes small
        /// batches, and each start appends a heartbeat to every partition.
        partitions: PartitionCount,
    },
    /// Topics of a Kafka cluster that the nodes of a data centre share.
    Kafka(KafkaConfig),
}

/// A Kafka cluster, and what the topics in it are to be like.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, or several with commas between. No default.
    pub bootstrap_servers: String,
    /// Copies of each partition, 1 to 32,767. Default 3. With 1 an acknowledged write is as durable as one disk, and the
    /// node says so; with 2 the loss of one broker stops writes.
    pub replication: u16,
    /// Partitions of each topic, 1 to 1024. Default 12. Fixed for a topic's life and the same in every data centre. Too
    /// low bounds how far writes can be spread; too high makes small batches.
    pub partitions: PartitionCount,
    /// The longest outage of all nodes of this data centre, or of a mirror, that is to be survived: compaction leaves
    /// alone what is younger. In seconds, 1 to 2,592,000; default 21,600. Too low loses writes that nobody repaired in
    /// time; too high keeps more superseded records.
    pub compaction_lag: Duration,
    /// Passed on to librdkafka: encryption, login, sizes, timeouts. None that Solera's promises rest on.
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bootstrap_servers, replication, partitions, compaction_lag, options } = self;
        f.debug_struct("KafkaConfig")
            .field("bootstrap_servers", bootstrap_servers)
            .field("replication", replication)
            .field("partitions", partitions)
            .field("compaction_lag", compaction_lag)
            // One of them may be a password.
            .field("options", &options.keys())
            .finish()
    }
}

impl LogConfig {
    /// The log of a file that does not speak of logs.
    pub const DEFAULT: Self = Self::Embedded { partitions: EMBEDDED_PARTITIONS };

    /// How fresh the reads of a store are that does not say: a log that other nodes write is asked where it ends.
    pub(super) const fn read_consistency(&self) -> ReadConsistency {
        match self {
            Self::Embedded { .. } => ReadConsistency::Node,
            Self::Kafka(_) => ReadConsistency::Dc,
        }
    }
}

const EMBEDDED_PARTITIONS: PartitionCount = PartitionCount::new(4).expect("4 is a partition count");

const KAFKA_PARTITIONS: PartitionCount = PartitionCount::new(12).expect("12 is a partition count");

/// Default of `replication`.
const REPLICATION: u16 = 3;

/// Default of `compaction_lag_s`: six hours.
const COMPACTION_LAG_S: u64 = 6 * 3600;

/// Reads `log`: one of `embedded` and `kafka`.
pub(super) fn read(log: &mut Section<'_>) -> Read<LogConfig> {
    let embedded = log.optional("embedded", section(embedded));
    let kafka = log.optional("kafka", section(kafka));
    if log.has("embedded") && log.has("kafka") {
        let refusal = Refusal::new("both `embedded` and `kafka`", "one of them", "leave one out");
        return Err(log.refuse_all(refusal));
    }
    Ok(kafka?.or(embedded?).unwrap_or(LogConfig::DEFAULT))
}

fn embedded(embedded: &mut Section<'_>) -> Read<LogConfig> {
    let partitions = embedded.or("partitions", EMBEDDED_PARTITIONS, partitions(EMBEDDED_PARTITIONS))?;
    Ok(LogConfig::Embedded { partitions })
}

fn kafka(kafka: &mut Section<'_>) -> Read<LogConfig> {
    let servers = text_as("host:port, or several with commas between", "127.0.0.1:19092", are_servers);
    let bootstrap_servers = kafka.required("bootstrap_servers", servers);
    let copies = number("a whole number", 1..=i16::MAX.unsigned_abs(), REPLICATION);
    let replication = kafka.or("replication", REPLICATION, copies);
    let partitions = kafka.or("partitions", KAFKA_PARTITIONS, partitions(KAFKA_PARTITIONS));
    let lag = number("a whole number of seconds", 1..=30 * 24 * 3600, COMPACTION_LAG_S);
    let compaction_lag = kafka.or("compaction_lag_s", COMPACTION_LAG_S, lag);
    let options = kafka.or("options", BTreeMap::new(), options);
    Ok(LogConfig::Kafka(KafkaConfig {
        bootstrap_servers: bootstrap_servers?,
        replication: replication?,
        partitions: partitions?,
        compaction_lag: Duration::from_secs(compaction_lag?),
        options: options?,
    }))
}

/// A reader of a number of partitions.
fn partitions(default: PartitionCount) -> impl FnOnce(&mut Item<'_>) -> Read<PartitionCount> {
    move |item| {
        let count = number("a whole number", 1..=caps::PARTITIONS_MAX, default.get())(item)?;
        Ok(PartitionCount::new(count).expect("the range of a partition count was checked"))
    }
}

/// As they were written, with no space around the commas.
fn are_servers(text: &str) -> Option<String> {
    let servers: Vec<_> = text.split(',').map(str::trim).collect();
    servers.iter().all(|server| is_server(server)).then(|| servers.join(","))
}

fn is_server(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    !host.is_empty() && !host.contains(char::is_whitespace) && port_fits
}

/// A reader of options that are passed on: any names, simple values. They are not repeated: one may be a password.
fn options(item: &mut Item<'_>) -> Read<BTreeMap<String, String>> {
    let need = "names with a text, a number or true or false each";
    let Some(options) = simple(item.value) else {
        return Err(item.refuse(Refusal::new(
            show_kind(item.value),
            need,
            "for example { security.protocol: plaintext }",
        )));
    };
    match options.keys().find(|name| RESERVED.contains(&name.as_str())) {
        None => Ok(options),
        Some(name) => Err(item.refuse(Refusal::new(
            format!("`{name}`"),
            "options that no promise rests on",
            "leave it out: Solera sets it itself",
        ))),
    }
}

fn simple(options: &Value) -> Option<BTreeMap<String, String>> {
    let Value::Mapping(options) = options else { return None };
    let entry = |(name, value): (&Value, &Value)| {
        let value = match value {
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            _ => return None,
        };
        Some((name.as_str()?.to_owned(), value))
    };
    options.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_host_and_a_port_each() {
        for text in ["127.0.0.1:19092", "a:1,b:2", "a:1, b:2", "[::1]:9092"] {
            assert!(are_servers(text).is_some(), "{text:?}");
        }
        for text in ["", "a", "a:", ":1", "a:0", "a:65536", "a:1,", "a:1,b", "a b:1"] {
            assert!(are_servers(text).is_none(), "{text:?}");
        }
    }
}
