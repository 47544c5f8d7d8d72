//! A load whose writers know what they may see, and what it came to: in the log, by a reader who knows nothing of Solera.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{Message, message::Headers};

use crate::{
    chaos::{KEYS, Writer},
    harness::{Kafka, Node, eventually},
};

const WRITERS: u64 = 4;

/// Writers at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Writer>>,
}

/// What they did.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Writes and deletes that were answered with success.
    pub(super) acknowledged: usize,
    /// Requests that were sent and got no answer.
    pub(super) unanswered: usize,
    /// The statuses of answers that said "not now".
    pub(super) failures: Vec<u16>,
    versions: BTreeSet<String>,
}

impl Load {
    /// Writers that ask any of these nodes, ready or not.
    pub(super) fn start(nodes: &[Node]) -> Self {
        Self::of(nodes, |writer| writer)
    }

    /// Writers that a load balancer keeps away from nodes that are not ready.
    pub(super) fn start_balanced(nodes: &[Node]) -> Self {
        Self::of(nodes, Writer::balanced)
    }

    fn of(nodes: &[Node], kind: impl Fn(Writer) -> Writer) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let writer = |n| {
            let writer = Writer::of_several(n, addresses.clone()).counted_by(Arc::clone(&acknowledged));
            let writer = kind(writer);
            let stop = Arc::clone(&stop);
            thread::spawn(move || writer.run(&stop))
        };
        let writers = (0..WRITERS).map(writer).collect();
        Self { stop, acknowledged, writers }
    }

    /// Waits until so many more writes have been acknowledged.
    pub(super) fn goes_on_by(&self, count: usize, within: Duration) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("the load goes on", within, || {
            self.check("meanwhile");
            (before + count <= self.acknowledged.load(Ordering::Relaxed)).then_some(())
        });
    }

    /// How many connections it has at most.
    pub(super) fn connections(&self) -> usize {
        self.writers.len()
    }

    /// # Panics
    /// When a writer has seen what must not be.
    pub(super) fn check(&self, when: &str) {
        assert!(!self.writers.iter().any(JoinHandle::is_finished), "{when}: somebody saw what must not be");
    }

    /// Ends it. Every session is read once more.
    ///
    /// # Panics
    /// When a writer has seen what must not be.
    pub(super) fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = Done::default();
        for writer in self.writers {
            let mut writer = writer.join().expect("a writer saw what must not be");
            (0..KEYS).for_each(|key| writer.read(key));
            done.acknowledged += writer.acknowledged;
            done.unanswered += writer.unanswered;
            done.failures.append(&mut writer.failures);
            done.versions.append(&mut writer.versions);
        }
        done
    }
}

impl Done {
    /// Looks for every acknowledged version in the topic, and returns how many versions that holds.
    ///
    /// # Panics
    /// When one is missing.
    pub(super) fn find_all_in(&self, kafka: &Kafka, topic: &str) -> usize {
        let stored = versions_in(kafka, topic);
        let lost: Vec<_> = self.versions.difference(&stored).collect();
        let all = self.versions.len();
        assert!(
            lost.is_empty(),
            "{} of {all} acknowledged versions are not in the log: {lost:?}",
            lost.len()
        );
        stored.len()
    }
}

/// Every version that a topic holds.
fn versions_in(kafka: &Kafka, topic: &str) -> BTreeSet<String> {
    let mut versions = BTreeSet::new();
    kafka.read_all(topic, |message| {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let version = headers.filter(|header| header.key == "v").find_map(|header| header.value);
        versions.extend(version.map(|version| String::from_utf8_lossy(version).into_owned()));
    });
    versions
}
