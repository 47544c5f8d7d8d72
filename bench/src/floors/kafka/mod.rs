//! Floors of a Kafka cluster: librdkafka with as little around it as one can have. They know a topic and nothing of
//! Solera. Their clients have the settings of Solera's, as `eventlog` explains them, or the two would be measured on
//! different wires.

pub(super) mod ends;
pub(super) mod read;
pub(super) mod seen;

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde::Serialize;

use crate::{
    arguments::{Load, Place},
    report::Latency,
    tally::Times,
};

/// How long the brokers may take for anything before it counts as a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// A topic that there is.
pub(super) struct Topic {
    bootstrap_servers: String,
    name: String,
    partitions: i32,
}

/// The time in which what begins is measured.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

impl Topic {
    /// Asks how many partitions it has.
    ///
    /// # Errors
    /// When the brokers do not answer, or do not have it.
    pub(super) fn of(place: &Place) -> anyhow::Result<Self> {
        let (servers, name) = place.topic()?;
        let mut topic = Self { bootstrap_servers: servers.to_owned(), name: name.to_owned(), partitions: 0 };
        let asker = topic.asker()?;
        let metadata = asker.fetch_metadata(Some(name), PATIENCE).context("ask for the topic")?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        ensure!(0 < partitions, "there is no topic {name}");
        topic.partitions = i32::try_from(partitions).context("count the partitions")?;
        Ok(topic)
    }

    /// The topic of the same name in another cluster, if it is another.
    pub(super) fn at(&self, bootstrap_servers: Option<&str>) -> Self {
        let bootstrap_servers = bootstrap_servers.unwrap_or(&self.bootstrap_servers).to_owned();
        Self { bootstrap_servers, name: self.name.clone(), partitions: self.partitions }
    }

    /// What every client is told.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("allow.auto.create.topics", "false")
            .set("socket.nagle.disable", "true");
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("queue.buffering.backpressure.threshold", "1")
            .set("max.in.flight.requests.per.connection", "2");
        config
    }

    fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // It takes no assignment without a name; nobody joins such a group.
            .set("group.id", "solera-bench")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_uncommitted")
            .set("check.crcs", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "250")
            .set("fetch.queue.backoff.ms", "1");
        config
    }

    fn asker(&self) -> anyhow::Result<BaseConsumer> {
        let mut config = self.client();
        config.set("isolation.level", "read_uncommitted").set("enable.auto.commit", "false");
        config.create().context("make a client of Kafka")
    }

    /// All partitions, each at `offset`.
    fn all_at(&self, offset: Offset) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.name, partition, offset)?;
        }
        Ok(list)
    }

    /// Where all partitions end: one question to the brokers.
    fn ends(&self, asker: &BaseConsumer) -> anyhow::Result<TopicPartitionList> {
        let ends = asker.offsets_for_times(self.all_at(Offset::End)?, PATIENCE).context("ask for ends")?;
        for of in ends.elements() {
            of.error().with_context(|| format!("ask for the end of partition {}", of.partition()))?;
        }
        Ok(ends)
    }
}

impl Window {
    /// From now on: first the warm-up.
    fn of(load: &Load) -> Self {
        let from = Instant::now() + load.warmup;
        Self { from, to: from + load.duration }
    }

    fn contains(self, moment: Instant) -> bool {
        self.from <= moment && moment < self.to
    }

    /// What began then ends now.
    fn record(self, times: &mut Times, began: Instant) {
        let nanos = u64::try_from(began.elapsed().as_nanos()).expect("less than 500 years");
        if self.contains(began) {
            times.record(nanos);
        }
    }

    fn is_over(self) -> bool {
        self.to <= Instant::now()
    }

    fn per_second(self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let count = count as f64;
        count / (self.to - self.from).as_secs_f64()
    }
}

/// What came out of a floor that is measured in times.
#[derive(Serialize)]
struct Figures<'a> {
    floor: &'a str,
    topic: &'a str,
    partitions: i32,
    /// How many waited at the same time.
    connections: u32,
    /// Per second.
    rate: f64,
    /// By what was waited for.
    #[serde(flatten)]
    times: BTreeMap<&'a str, Latency>,
}

impl Figures<'_> {
    fn write(&self, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
        let mut text = if load.json { serde_json::to_string(self)? } else { self.text()? };
        text.push('\n');
        out.write_all(text.as_bytes()).context("write to standard output")
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let Self { floor, topic, partitions, connections, rate, times } = self;
        let mut text =
            format!("{floor}: {topic}, {partitions} partitions; {connections} wait, {rate:.0}/s\n");
        Latency::write_head(&mut text)?;
        times.iter().try_for_each(|(name, latency)| latency.write(name, &mut text))?;
        Ok(text.trim_end().to_owned())
    }
}
