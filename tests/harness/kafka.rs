//! Real Kafka: one broker from the jars that `scripts/kafka-fetch.sh` brings, to be used, killed, frozen and restarted.
//!
//! ```text
//! let kafka = Kafka::shared();                  // one for all tests of a run that do it no harm
//! let mut own = Kafka::start(&[]);              // one for a test that kills it
//! let dc = own.dc();                            // a data centre's name of this test's own, and so topics of its own
//! ```

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
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
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use schemas::Topic;

use super::{
    ports::{self, Ports},
    wait::eventually,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// From the start of a broker to its first answer; a broker that was killed is refused until its old session has ended.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A broker. Dropping it kills the process and removes its data; so does the end of the tests, however they end.
#[derive(Debug)]
pub(crate) struct Kafka {
    ports: Ports,
    dir: PathBuf,
    settings: Vec<String>,
    process: Process,
}

#[derive(Debug)]
struct Process {
    /// A shell that kills the broker when its standard input is closed, and so when this process ends.
    shell: Child,
    broker: u32,
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
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let ports = ports::take();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("solera-kafka-{}-{number}", std::process::id()));
        let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let process = Process::spawn(&dir, ports, &settings);
        let kafka = Self { ports, dir, settings, process };
        kafka.wait_until_it_answers();
        kafka
    }

    /// `host:port`.
    pub(crate) fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.data)
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

    /// Ends the broker at once, as a power cut would, but for what the system has in its page cache.
    pub(crate) fn kill9(&mut self) {
        self.process.end();
    }

    /// Starts the broker again on its data, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.process.end();
        self.process = Process::spawn(&self.dir, self.ports, &self.settings);
        self.wait_until_it_answers();
    }

    /// The broker does nothing until [`Kafka::thaw`], and its connections stay.
    pub(crate) fn freeze(&self) {
        signal("STOP", self.process.broker);
    }

    /// The broker goes on.
    pub(crate) fn thaw(&self) {
        signal("CONT", self.process.broker);
    }

    fn wait_until_it_answers(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nothing = Topic { origin: "nowhere".parse().unwrap(), store: "nothing".parse().unwrap() };
        let cluster = self.cluster();
        eventually("Kafka answers", ANSWERS_WITHIN, || {
            assert!(self.process.is_alive(), "Kafka ended: see {}", self.dir.display());
            runtime.block_on(cluster.describe(&nothing)).ok()
        });
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.process.end();
        if !std::thread::panicking() {
            // What is left behind in the system's directory for temporary files harms nobody.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Process {
    fn spawn(dir: &PathBuf, ports: Ports, settings: &[String]) -> Self {
        assert!(
            jars().join("complete").exists(),
            "no Kafka in {}: run scripts/kafka-fetch.sh, or leave these tests out with SOLERA_KAFKA=none",
            jars().display()
        );
        fs::create_dir_all(dir).expect("create a directory for Kafka");
        let output = fs::File::options().create(true).append(true).open(dir.join("output")).unwrap();
        // The script becomes the broker, so its process id is the broker's.
        let watch = "log=$1; shift; \"$@\" </dev/null >>\"$log\" 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null";
        let mut shell = Command::new("sh");
        shell.args(["-c", watch, "sh"]).arg(dir.join("output"));
        shell
            .arg(format!("{ROOT}/scripts/kafka-broker.sh"))
            .arg(dir)
            .arg(ports.data.to_string())
            .args(settings);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(output);
        let mut shell = shell.spawn().expect("start a shell");
        let mut line = String::new();
        let said = shell.stdout.take().expect("its output is piped");
        BufReader::new(said).read_line(&mut line).expect("the shell says which process");
        let broker = line.trim().parse().expect("a process id");
        Self { shell, broker }
    }

    fn is_alive(&self) -> bool {
        fs::exists(format!("/proc/{}/exe", self.broker)).unwrap_or(false)
    }

    fn end(&mut self) {
        // A frozen process dies of this, too.
        let _ = Command::new("kill").args(["-9", &self.broker.to_string()]).stderr(Stdio::null()).status();
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().expect("run kill");
    assert!(status.success(), "kill -s {name} {process}: {status}");
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
