//! What a node does while its log does not answer: an error to every reader would log everybody out.
//!
//! ```text
//!                 a read waited in vain                        `serve_for` has passed
//!   log answers ─────────────────────────▶ reads are served ─────────────────────────▶ reads are refused
//!        ▲                                  as applied last                                   │
//!        └───────────────────────── a probe got through, and the view is there ◀──────────────┘
//! ```
//! While it lasts nobody waits: reads are served or refused at once, and a probe every [`PROBE_EVERY`] looks for the log.
//! Each partition has its own outage: one without a leader leaves the sessions of the others alone.
//!
//! Where the whole log is down nothing is acknowledged, so nothing that is served is stale. Where only this node is cut
//! off, others acknowledge: what it serves may be behind by as long as `serve_for`, and by no more.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use schemas::Partition;
use tokio::{sync::watch, time::Instant};

/// How often the log is looked for.
pub const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Which partitions do not answer, and since when.
#[derive(Debug)]
pub struct Outage {
    serve_for: Duration,
    /// So that a read looks at one word while all is well.
    is_open: AtomicBool,
    since: watch::Sender<Silent>,
}

/// Partitions that do not answer, with the moment when the first read had waited in vain.
pub type Silent = BTreeMap<Partition, Instant>;

/// What a read is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Ask the log.
    Ask,
    /// Say what was applied last.
    Serve,
    /// Say that nobody knows.
    Refuse,
}

impl Outage {
    /// The log answers. In an outage reads are served for so long; zero is not at all.
    pub fn new(serve_for: Duration) -> Self {
        Self { serve_for, is_open: AtomicBool::new(false), since: watch::Sender::default() }
    }

    /// What does not answer, and since when.
    pub fn subscribe(&self) -> watch::Receiver<Silent> {
        self.since.subscribe()
    }

    /// How long an outage may last before nobody is served any more.
    pub const fn serve_for(&self) -> Duration {
        self.serve_for
    }

    /// What a read of this partition that comes now is to do.
    pub(crate) fn way(&self, partition: Partition) -> Way {
        if !self.is_open.load(Ordering::Acquire) {
            return Way::Ask;
        }
        way(self.since.borrow().get(&partition), self.serve_for, Instant::now())
    }

    /// Somebody waited for this partition in vain. What a read is to do now.
    pub(crate) fn begin(&self, partition: Partition) -> Way {
        let (now, mut judged) = (Instant::now(), Way::Refuse);
        self.since.send_if_modified(|since| {
            let begins = !since.contains_key(&partition);
            let began = *since.entry(partition).or_insert(now);
            self.is_open.store(true, Ordering::Release);
            judged = way(Some(&began), self.serve_for, now);
            begins
        });
        judged
    }

    /// The partition answered somebody who asked at `asked`, and the view was where it ended then. What began since goes on.
    pub(crate) fn end(&self, partition: Partition, asked: Instant) {
        self.since.send_if_modified(|since| {
            let ends = since.get(&partition).is_some_and(|began| *began <= asked);
            if ends {
                since.remove(&partition);
            }
            self.is_open.store(!since.is_empty(), Ordering::Release);
            ends
        });
    }
}

fn way(since: Option<&Instant>, serve_for: Duration, now: Instant) -> Way {
    match since {
        None => Way::Ask,
        Some(since) if now.saturating_duration_since(*since) < serve_for => Way::Serve,
        Some(_) => Way::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const HERE: Partition = Partition(0);
    const THERE: Partition = Partition(1);

    #[tokio::test(start_paused = true)]
    async fn reads_are_served_for_so_long_and_no_longer() {
        let outage = Outage::new(MINUTE);
        assert_eq!(outage.way(HERE), Way::Ask);
        assert_eq!(outage.begin(HERE), Way::Serve);
        advance(MINUTE - Duration::from_millis(1)).await;
        assert_eq!(outage.way(HERE), Way::Serve);
        advance(Duration::from_millis(1)).await;
        assert_eq!(outage.way(HERE), Way::Refuse);
        assert_eq!(outage.begin(HERE), Way::Refuse, "another read in vain does not begin it anew");
        outage.end(HERE, Instant::now());
        assert_eq!(outage.way(HERE), Way::Ask);
        assert_eq!(outage.begin(HERE), Way::Serve, "the next outage has its own time");
    }

    #[tokio::test(start_paused = true)]
    async fn each_partition_has_its_own() {
        let outage = Outage::new(MINUTE);
        outage.begin(HERE);
        assert_eq!((outage.way(HERE), outage.way(THERE)), (Way::Serve, Way::Ask));
        advance(MINUTE / 2).await;
        outage.begin(THERE);
        advance(MINUTE / 2).await;
        assert_eq!((outage.way(HERE), outage.way(THERE)), (Way::Refuse, Way::Serve));
        outage.end(HERE, Instant::now());
        assert_eq!((outage.way(HERE), outage.way(THERE)), (Way::Ask, Way::Serve));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_it_began_does_not_end_it() {
        let outage = Outage::new(MINUTE);
        let asked = Instant::now();
        advance(Duration::from_millis(1)).await;
        outage.begin(HERE);
        outage.end(HERE, asked);
        assert_eq!(outage.way(HERE), Way::Serve);
        outage.end(HERE, Instant::now());
        assert_eq!(outage.way(HERE), Way::Ask);
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_may_refuse_at_once() {
        assert_eq!(Outage::new(Duration::ZERO).begin(HERE), Way::Refuse);
    }
}
