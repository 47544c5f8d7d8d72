//! Real Kafka: brokers from the jars that `scripts/kafka-fetch.sh` brings, to be used, killed, frozen and restarted.
//!
//! ```text
//! let kafka = Kafka::shared();                  // one for all tests of a run that do it no harm
//! let mut own = Kafka::start(&[]);              // one for a test that kills it
//! let mut three = Kafka::start_three();         // a cluster of three brokers, which are its controllers, too
//! let dc = own.dc();                            // a data centre's name of this test's own, and so topics of its own
//! own.broker(0).kill9();
//! ```

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use eventlog::kafka::{Cluster, KafkaOptions};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
    metadata::MetadataPartition,
};

use super::{
    ports::{self, Ports},
    wait::eventually,
};

pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// From the start of a broker to its first answer; a broker that was killed is refused until its old session has ended.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// From the order to stop to the end of a broker that hands over what it leads.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A cluster. Dropping it kills its brokers and removes their data; so does the end of the tests, however they end.
#[derive(Debug)]
pub(crate) struct Kafka {
    brokers: Vec<Broker>,
}

/// A broker of a cluster.
#[derive(Debug)]
pub(crate) struct Broker {
    ports: Ports,
    dir: PathBuf,
    cluster_id: String,
    settings: Vec<String>,
    process: Process,
}

/// A program of Kafka's.
#[derive(Debug)]
pub(super) struct Process {
    /// A shell that kills the program when its standard input is closed, and so when this process ends.
    shell: Child,
    program: u32,
}

impl Kafka {
    /// The broker that all tests of this run share.
    ///
    /// # Panics
    ///
    /// When there are no jars, no Java, or it does not start.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A broker of a test's own, with `NAME=VALUE` settings.
    ///
    /// # Panics
    ///
    /// As [`Kafka::shared`].
    pub(crate) fn start(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let kafka = Self { brokers: vec![Broker::spawn(ports::take(), "", settings)] };
        kafka.brokers[0].wait_until_it_answers();
        kafka
    }

    /// Three brokers of a test's own.
    ///
    /// # Panics
    ///
    /// As [`Kafka::shared`].
    pub(crate) fn start_three() -> Self {
        let ports: Vec<_> = (0..3).map(|_| ports::take()).collect();
        let voters: Vec<_> =
            (1..).zip(&ports).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.admin)).collect();
        let cluster_id = format!("three-brokers-{:07}A", ports[0].data);
        let broker = |(id, ports): (usize, &Ports)| {
            let settings = vec![
                format!("node.id={id}"),
                format!("controller.quorum.voters={}", voters.join(",")),
                // One that was lost is known to be lost, and one that is back gets its partitions back, in a test's time.
                "leader.imbalance.check.interval.seconds=5".to_owned(),
                "replica.lag.time.max.ms=5000".to_owned(),
                "controlled.shutdown.enable=true".to_owned(),
            ];
            Broker::spawn(*ports, &cluster_id, settings)
        };
        let kafka = Self { brokers: (1..).zip(&ports).map(broker).collect() };
        kafka.brokers.iter().for_each(Broker::wait_until_it_answers);
        kafka
    }

    /// One of its brokers.
    pub(crate) fn broker(&mut self, n: usize) -> &mut Broker {
        &mut self.brokers[n]
    }

    /// How many brokers it has.
    pub(crate) fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// The names of its topics, Kafka's own among them.
    pub(crate) fn topics(&self) -> BTreeSet<String> {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create().unwrap();
        let found = client.fetch_metadata(None, ANSWERS_WITHIN).unwrap();
        found.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }

    /// `host:port` of each broker.
    pub(crate) fn bootstrap_servers(&self) -> String {
        let all: Vec<_> = self.brokers.iter().map(Broker::address).collect();
        all.join(",")
    }

    /// Waits until every broker has what the topic holds.
    pub(crate) fn wait_until_in_sync(&self, topic: &str) {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create().unwrap();
        eventually("every copy is in sync", ANSWERS_WITHIN, || {
            let found = client.fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
            let partitions = found.topics()[0].partitions();
            let in_sync = |of: &MetadataPartition| of.isr().len() == of.replicas().len() && 0 <= of.leader();
            (!partitions.is_empty() && partitions.iter().all(in_sync)).then_some(())
        });
    }

    /// Which partitions of a topic a broker leads.
    pub(crate) fn led_by(&self, n: usize, topic: &str) -> Vec<i32> {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create().unwrap();
        let found = client.fetch_metadata(Some(topic), Duration::from_secs(5)).unwrap();
        let id = i32::try_from(n + 1).unwrap();
        let led = found.topics()[0].partitions().iter().filter(|of| of.leader() == id);
        led.map(MetadataPartition::id).collect()
    }

    /// Reads a topic from its start to its end, as somebody who knows nothing of Solera.
    pub(crate) fn read_all(&self, topic: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("group.id", "somebody-else")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let found = reader.fetch_metadata(Some(topic), ANSWERS_WITHIN).unwrap();
        let mut left = found.topics()[0].partitions().len();
        let mut all = TopicPartitionList::new();
        for partition in found.topics()[0].partitions() {
            all.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        reader.assign(&all).unwrap();
        while 0 < left {
            match reader.poll(ANSWERS_WITHIN).expect("the broker answers") {
                Ok(message) => each(&message),
                Err(KafkaError::PartitionEOF(_)) => left -= 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Changes settings of a topic, as an operator would with Kafka's tools. Blocks: not on a thread of a runtime.
    pub(crate) fn alter_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let altered = settings
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |alter, (name, value)| {
                alter.set(name, value)
            });
        let done = runtime.block_on(self.admin().alter_configs([&altered], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|done| drop(done.unwrap()));
    }

    /// A name that no other test uses.
    pub(crate) fn dc(&self) -> String {
        static NAMED: AtomicU32 = AtomicU32::new(0);
        format!("dc{}", NAMED.fetch_add(1, Ordering::Relaxed))
    }

    /// A client of its own.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.cluster_with(&[])
    }

    /// A client of its own with options for librdkafka.
    pub(crate) fn cluster_with(&self, options: &[(&str, &str)]) -> Arc<Cluster> {
        let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Cluster::connect(KafkaOptions {
            bootstrap_servers: self.bootstrap_servers(),
            options: options.collect(),
            send_buffer_bytes: 32 * 1024 * 1024,
            fetch_buffer_bytes: 16 * 1024 * 1024,
            record_bytes_max: 4 * 1024 * 1024,
        })
        .expect("the options are good")
    }

    /// Makes a topic that is no plan's.
    pub(crate) async fn make_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        for made in self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
    }

    /// Drops everything that a partition holds, as retention does.
    pub(crate) fn trim_to_end(&self, topic: &str, partition: i32) {
        self.trim(topic, partition, Offset::End);
    }

    /// Drops what stands before `offset`, as retention does. Blocks: not on a thread of a runtime.
    pub(crate) fn trim(&self, topic: &str, partition: i32, offset: Offset) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut up_to = TopicPartitionList::new();
        up_to.add_partition_offset(topic, partition, offset).unwrap();
        let dropped = runtime.block_on(self.admin().delete_records(&up_to, &AdminOptions::new())).unwrap();
        dropped.elements()[0].error().unwrap();
    }

    /// Removes a topic. Blocks: not on a thread of a runtime.
    pub(crate) fn remove_topic(&self, name: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let removed = runtime.block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
        removed.into_iter().for_each(|removed| drop(removed.unwrap()));
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.bootstrap_servers()).create().unwrap()
    }
}

impl Broker {
    fn spawn(ports: Ports, cluster_id: &str, settings: Vec<String>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("solera-kafka-{}-{number}", std::process::id()));
        let process = broker(&dir, ports, cluster_id, &settings);
        Self { ports, dir, cluster_id: cluster_id.to_owned(), settings, process }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.data)
    }

    /// Ends the broker at once, as a power cut would, but for what the system has in its page cache.
    pub(crate) fn kill9(&mut self) {
        self.process.end("KILL");
    }

    /// Ends the broker as an operator does: it hands over what it leads first.
    pub(crate) fn terminate(&mut self) {
        self.process.end("TERM");
    }

    /// Starts the broker again on its data, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.process.end("KILL");
        self.process = broker(&self.dir, self.ports, &self.cluster_id, &self.settings);
        self.wait_until_it_answers();
    }

    /// The broker does nothing until [`Broker::thaw`], and its connections stay.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// The broker goes on.
    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    fn wait_until_it_answers(&self) {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address()).create().unwrap();
        eventually("Kafka answers", ANSWERS_WITHIN, || {
            assert!(self.process.is_alive(), "Kafka ended: see {}", self.dir.display());
            client
                .fetch_metadata(None, Duration::from_secs(1))
                .ok()
                .filter(|found| !found.brokers().is_empty())
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.end("KILL");
        if !std::thread::panicking() {
            // What is left behind in the system's directory for temporary files harms nobody.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Starts a broker on what `dir` holds, if anything.
fn broker(dir: &Path, ports: Ports, cluster_id: &str, settings: &[String]) -> Process {
    fs::create_dir_all(dir).expect("create a directory for Kafka");
    let mut script = vec![
        format!("{ROOT}/scripts/kafka-broker.sh"),
        dir.to_str().expect("a path of ours").to_owned(),
        ports.data.to_string(),
    ];
    script.extend_from_slice(settings);
    let environment =
        if cluster_id.is_empty() { vec![] } else { vec![("CLUSTER_ID", cluster_id.to_owned())] };
    Process::spawn(&dir.join("output"), &script, &environment)
}

impl Process {
    /// Runs a script that becomes the program, so that its process id is the program's.
    pub(super) fn spawn(output: &Path, script: &[String], environment: &[(&str, String)]) -> Self {
        assert!(
            jars().join("complete").exists(),
            "no Kafka in {}: run scripts/kafka-fetch.sh, or leave these tests out with SOLERA_KAFKA=none",
            jars().display()
        );
        let errors = fs::File::options().create(true).append(true).open(output).unwrap();
        let watch = "log=$1; shift; \"$@\" </dev/null >>\"$log\" 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null";
        let mut shell = Command::new("sh");
        shell.args(["-c", watch, "sh"]).arg(output).args(script);
        shell.envs(environment.iter().map(|(name, value)| (name, value)));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut shell = shell.spawn().expect("start a shell");
        let mut line = String::new();
        let said = shell.stdout.take().expect("its output is piped");
        BufReader::new(said).read_line(&mut line).expect("the shell says which process");
        let program = line.trim().parse().expect("a process id");
        Self { shell, program }
    }

    pub(super) fn is_alive(&self) -> bool {
        fs::exists(format!("/proc/{}/exe", self.program)).unwrap_or(false)
    }

    /// A frozen process dies of `KILL`, too.
    pub(super) fn end(&mut self, signal: &str) {
        let _ = Command::new("kill")
            .args(["-s", signal, &self.program.to_string()])
            .stderr(Stdio::null())
            .status();
        if signal != "KILL" {
            eventually("Kafka ends", ENDS_WITHIN, || (!self.is_alive()).then_some(()));
        }
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }

    pub(super) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.program.to_string()]).status().expect("run kill");
        assert!(status.success(), "kill -s {name} {}: {status}", self.program);
    }
}

fn jars() -> PathBuf {
    if let Some(dir) = std::env::var_os("SOLERA_KAFKA_JARS") {
        return dir.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let version = fs::read_to_string(format!("{ROOT}/tests/kafka/pom.xml")).unwrap();
    let version = version.split("<kafka.version>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    cache.join(format!("solera/kafka-{version}"))
}
