//! How Solera talks to Kafka: the settings that its promises rest on, the ones that only make it quick, and those that a
//! site may pass on.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

/// Where the brokers are, and what a site wants to say to librdkafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `host:port`, or several with commas between.
    pub bootstrap_servers: String,
    /// Passed on: how to encrypt and to log in, sizes, timeouts. None that [`RESERVED`] names.
    pub options: BTreeMap<String, String>,
    /// Memory for records that wait to be sent, in bytes.
    pub send_buffer_bytes: usize,
    /// Memory for records that were fetched and not yet read, in bytes, for each log that is read.
    pub fetch_buffer_bytes: usize,
    /// The largest record, in bytes.
    pub record_bytes_max: usize,
}

/// What a site may not set, since promises rest on it or Solera works it out.
pub const RESERVED: [&str; 30] = [
    "acks",
    "allow.auto.create.topics",
    "api.version.request",
    "auto.offset.reset",
    "bootstrap.servers",
    "broker.version.fallback",
    "check.crcs",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "queue.buffering.max.kbytes",
    "request.required.acks",
    "retries",
    "statistics.interval.ms",
    "test.mock.num.brokers",
    "transactional.id",
];

/// How long librdkafka tries to send a record before it gives up. Far beyond what a client waits for: what gives up early
/// loses count of what was stored.
const SEND_TRIED_FOR_MS: &str = "30000";

/// How long a broker that says nothing may hold an empty fetch. It also bounds how long the end of a partition whose last
/// records are no events (the markers of transactions) stays unknown.
const FETCH_WAIT_MS: &str = "250";

impl KafkaOptions {
    /// The first of the passed-on options that may not be.
    pub fn reserved(&self) -> Option<&str> {
        self.options.keys().map(String::as_str).find(|name| RESERVED.contains(name))
    }

    /// Sets what is only a default: a site that has another wish gets it.
    fn or(&self, config: &mut ClientConfig, name: &str, value: impl Into<String>) {
        if !self.options.contains_key(name) {
            config.set(name, value);
        }
    }

    /// What every client is told.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.options {
            config.set(name, value);
        }
        let mut or = |name, value: &str| self.or(&mut config, name, value);
        or("client.id", "solera");
        or("socket.keepalive.enable", "true");
        // A broker whose machine is gone says nothing: not for a minute.
        or("socket.timeout.ms", "6000");
        or("socket.nagle.disable", "true");
        or("topic.metadata.refresh.interval.ms", "30000");
        // Sooner than the defaults: whoever waits is a visitor's request.
        or("reconnect.backoff.ms", "20");
        or("reconnect.backoff.max.ms", "1000");
        or("retry.backoff.ms", "20");
        config.set("bootstrap.servers", &self.bootstrap_servers);
        // What is not wanted of it our own log leaves out.
        let level =
            if self.options.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info };
        config.set_log_level(level);
        // Or a topic that was deleted comes back with settings that break every promise.
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// The one that appends.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let mut or = |name, value: &str| self.or(&mut config, name, value);
        // A batch is what gathers while the one before is on its way.
        or("linger.ms", "0");
        or("queue.buffering.backpressure.threshold", "1");
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("max.in.flight.requests.per.connection", "2")
            .set("message.timeout.ms", SEND_TRIED_FOR_MS)
            .set("message.max.bytes", self.record_bytes_max.to_string())
            .set("queue.buffering.max.kbytes", (self.send_buffer_bytes / 1024).max(1).to_string());
        config
    }

    /// One that reads from positions that it is given, and never skips.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        let mut or = |name, value: String| self.or(&mut config, name, value);
        // A fetch is answered within FETCH_WAIT_MS, or its broker hangs: sooner than another client would notice, since a write
        // is not answered before it is read.
        or("socket.timeout.ms", "3000".to_owned());
        or("fetch.min.bytes", "1".to_owned());
        or("fetch.wait.max.ms", FETCH_WAIT_MS.to_owned());
        or("fetch.queue.backoff.ms", "1".to_owned());
        or("fetch.error.backoff.ms", "20".to_owned());
        or("queued.max.messages.kbytes", (self.fetch_buffer_bytes / 1024).max(1).to_string());
        or("queued.min.messages", "10000".to_owned());
        or("fetch.max.bytes", self.fetch_buffer_bytes.max(self.record_bytes_max).to_string());
        or("message.max.bytes", self.record_bytes_max.to_string());
        config
            // librdkafka wants a name before it takes an assignment; nobody joins or commits to such a group.
            .set("group.id", "solera")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_uncommitted")
            .set("check.crcs", "true");
        config
    }

    /// One that asks, and neither reads nor writes.
    pub(super) fn asker(&self) -> ClientConfig {
        let mut config = self.client();
        // IMPORTANT: or the end of a log is where a foreign transaction began that is still open, below what was acknowledged.
        config.set("isolation.level", "read_uncommitted").set("enable.auto.commit", "false");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(passed_on: &[(&str, &str)]) -> KafkaOptions {
        let options = passed_on.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        KafkaOptions {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            options: options.collect(),
            send_buffer_bytes: 1024 * 1024,
            fetch_buffer_bytes: 1024 * 1024,
            record_bytes_max: 1024 * 1024,
        }
    }

    #[test]
    fn the_settings_that_promises_rest_on_are_known_to_librdkafka_and_kept_whatever_is_passed_on() {
        let options = options(&[("linger.ms", "5"), ("fetch.wait.max.ms", "100")]);
        for (config, name, value) in [
            (options.producer(), "acks", "all"),
            (options.producer(), "linger.ms", "5"),
            (options.consumer(), "auto.offset.reset", "error"),
            (options.consumer(), "fetch.wait.max.ms", "100"),
        ] {
            assert_eq!(config.get(name), Some(value));
            config.create_native_config().expect("librdkafka knows them all");
        }
    }

    #[test]
    fn what_is_reserved_is_found() {
        assert_eq!(options(&[("security.protocol", "ssl"), ("acks", "1")]).reserved(), Some("acks"));
        assert_eq!(options(&[("security.protocol", "ssl")]).reserved(), None);
        assert!(RESERVED.is_sorted());
    }
}
