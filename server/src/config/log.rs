//! The log that is the node's source of truth.

use schemas::{PartitionCount, caps};
use yaml_serde::Value;

use super::{
    section::{Item, Read, Section, section},
    value::{Refusal, number, show_kind, text_as},
};

/// Which log the node writes and follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogConfig {
    /// One on this machine's disk, below the data folder: one process, no broker.
    Embedded {
        /// Partitions of each topic, 1 to 1024. Default 4. Fixed for a topic's life: under another number the node does
        /// not start. Too low makes writes wait for each other while their records are signed; too high makes small
        /// batches, and each start appends a heartbeat to every partition.
        partitions: PartitionCount,
    },
}

impl LogConfig {
    /// The log of a file that does not speak of logs.
    pub const DEFAULT: Self = Self::Embedded { partitions: EMBEDDED_PARTITIONS };
}

const EMBEDDED_PARTITIONS: PartitionCount = PartitionCount::new(4).expect("4 is a partition count");

/// Reads `log`: one of `embedded` and `kafka`, of which only the first is built.
pub(super) fn read(log: &mut Section<'_>) -> Read<LogConfig> {
    let embedded = log.optional("embedded", section(embedded));
    log.later("kafka", "use `embedded`", section(kafka));
    if log.has("embedded") && log.has("kafka") {
        let refusal = Refusal::new("both `embedded` and `kafka`", "one of them", "leave one out");
        return Err(log.refuse_all(refusal));
    }
    Ok(embedded?.unwrap_or(LogConfig::DEFAULT))
}

fn embedded(embedded: &mut Section<'_>) -> Read<LogConfig> {
    let partitions = embedded.or("partitions", EMBEDDED_PARTITIONS, partitions)?;
    Ok(LogConfig::Embedded { partitions })
}

fn kafka(kafka: &mut Section<'_>) -> Read<()> {
    let servers = text_as("host:port, or several with commas between", "127.0.0.1:19092", are_servers);
    kafka.check_required("bootstrap_servers", servers);
    kafka.check("replication", number("a whole number", 1..=i16::MAX.unsigned_abs(), 3));
    kafka.check("partitions", partitions);
    kafka.check("options", options);
    Ok(())
}

/// A reader of a number of partitions.
fn partitions(item: &mut Item<'_>) -> Read<PartitionCount> {
    let count = number("a whole number", 1..=caps::PARTITIONS_MAX, EMBEDDED_PARTITIONS.get())(item)?;
    Ok(PartitionCount::new(count).expect("the range of a partition count was checked"))
}

fn are_servers(text: &str) -> Option<()> {
    text.split(',').all(|server| is_server(server.trim())).then_some(())
}

fn is_server(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    !host.is_empty() && !host.contains(char::is_whitespace) && port_fits
}

/// A reader of options that are passed on: any names, simple values. They are not repeated: one may be a password.
fn options(item: &mut Item<'_>) -> Read<()> {
    let is_simple = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
    match item.value {
        Value::Mapping(options)
            if options.iter().all(|(name, value)| name.is_string() && is_simple(value)) =>
        {
            Ok(())
        }
        value => {
            let need = "names with a text, a number or true or false each";
            Err(item.refuse(Refusal::new(
                show_kind(value),
                need,
                "for example { security.protocol: plaintext }",
            )))
        }
    }
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
