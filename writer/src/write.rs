//! Look, append, fence.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use eventlog::{AppendError, Appended, Commit, EnqueueError, EventLog, LogClock};
use futures::future::{join_all, try_join_all};
use schemas::{
    Beacon, Change, Dc, Declaration, Event, Headers, Heartbeat, KeyId, MacKey, Partition, Record, Sealed,
    Sequence, StoreName, Timestamp, Until, Version, WriterId, caps::RETENTION_SLACK,
};
use tokio::time::Instant;

use crate::{
    LocalView, Metrics, Retention, Versions,
    in_flight::InFlight,
    metrics::StoreMetrics,
    numbers::{Fate, Numbers, Rhythm},
    peer::{Peer, Tombstone},
};

/// Appends to one log. The only thing in a process that does.
#[derive(Debug)]
pub struct Writer {
    log: Arc<dyn EventLog>,
    view: Arc<dyn LocalView>,
    clock: Arc<LogClock>,
    mac: MacKey,
    retention: Retention,
    versions: Versions,
    /// The other data centres of the store.
    peers: Vec<Arc<dyn Peer>>,
    /// What is ordered within a partition: versions, numbers and places in the queue, in one critical section.
    lanes: Vec<Mutex<Numbers>>,
    measured: StoreMetrics,
}

/// A record that the log has taken.
struct Taken {
    version: Version,
    partition: Partition,
    number: u64,
    commit: Commit,
}

/// A session to be stored.
#[derive(Clone, Debug)]
pub struct Set {
    /// Whose session.
    pub key: KeyId,
    /// Its contents.
    pub sealed: Sealed,
    /// When they expire; the seal is bound to it.
    pub expires_at: Until,
    /// Headers to carry: seal id, request id.
    pub headers: Headers,
}

/// When the client stops waiting. What has not happened by then is answered as such.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

/// Proof that a write is durable in this data centre's log and applied to this node's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    version: Version,
}

/// A write that cannot be answered with success. The variants are different answers: see `outcome` in problems.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing is stored: this node cannot see what is newest.
    #[error("nothing was stored: {0}")]
    CannotLook(Arc<str>),
    /// Nothing is stored: too much is waiting.
    #[error("nothing was stored: the queue of the log is full")]
    Overloaded,
    /// Nothing is stored: the log did not take it.
    #[error("nothing was stored: {0}")]
    Refused(Arc<str>),
    /// Nobody knows whether it is stored.
    #[error("it may be stored, now or later: {0}")]
    Unknown(Arc<str>),
    /// It is durable, but this node has not applied it yet.
    #[error("it is stored, but cannot be read here yet: {0}")]
    NotVisible(Arc<str>),
}

/// How the version of an event is settled.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// Above what was seen.
    Above(Option<Version>),
    /// Already settled: by a coordinator, or by the event that is appended again.
    Settled(Version),
}

impl Stored {
    /// The version of the stored event.
    pub const fn version(self) -> Version {
        self.version
    }
}

impl Deadline {
    /// From now on.
    pub fn within(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// When this part of what is left has passed.
    #[must_use]
    pub fn sooner(self, part: f64) -> Self {
        Self::within(self.left().mul_f64(part))
    }

    /// What is left of it; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

impl Writer {
    /// A writer to `log`. It may write once it has been [announced](Self::announce).
    pub fn new(
        log: Arc<dyn EventLog>,
        view: Arc<dyn LocalView>,
        clock: Arc<LogClock>,
        mac: MacKey,
        retention: Retention,
        versions: Versions,
        metrics: &Metrics,
    ) -> Self {
        let lanes = log.partitions().all().map(|_| Mutex::new(Numbers::new())).collect();
        let measured = metrics.of_store(log.topic().store.as_str());
        Self { log, view, clock, mac, retention, versions, peers: Vec::new(), lanes, measured }
    }

    /// Deletes in these data centres too.
    #[must_use]
    pub fn with_peers(mut self, peers: Vec<Arc<dyn Peer>>) -> Self {
        self.peers = peers;
        self
    }

    /// Which process this is, to the log.
    pub const fn id(&self) -> WriterId {
        self.versions.writer()
    }

    /// Makes every later version newer than `seen`.
    pub fn observe(&self, seen: Version) {
        self.versions.observe(seen);
    }

    /// Says "alive" in every partition, and learns the log's time from the answers. Comes before the first write.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn announce(&self) -> Result<(), WriteError> {
        let known = self.clock.newest_append();
        let (now, at) = (Instant::now(), self.clock.now());
        let appends = self.log.partitions().all().map(|partition| async move {
            let heartbeat = self.lane(partition).say(now, at);
            self.append_heartbeat(partition, &heartbeat).await
        });
        for Appended { append_time, .. } in try_join_all(appends).await? {
            self.clock.anchor(append_time, known);
        }
        Ok(())
    }

    /// Says "alive up to here" in every partition where `rhythm` asks for it, and what became of numbers that no record
    /// has. To be called once a second at most.
    ///
    /// # Errors
    /// When the log does not take it; another one will say the same.
    pub async fn beat(&self, rhythm: Rhythm) -> Result<(), WriteError> {
        let (now, at) = (Instant::now(), self.clock.now());
        let due = self.log.partitions().all().filter_map(|partition| {
            let heartbeat = self.lane(partition).heartbeat(now, at, rhythm)?;
            Some((partition, heartbeat))
        });
        let appends = due.map(|(partition, heartbeat)| async move {
            let Appended { append_time, .. } = self.append_heartbeat(partition, &heartbeat).await?;
            self.clock.heard(append_time);
            Ok::<_, WriteError>(())
        });
        // All of them are tried: one that is refused leaves the others alone.
        join_all(appends).await.into_iter().collect()
    }

    /// Stores a session. Lets go of what it is `holding` when nothing can come of it any more that is not in the log: later than
    /// the answer, if nobody knew then.
    ///
    /// # Errors
    /// Each kind says whether something is stored.
    pub async fn put(
        &self,
        set: Set,
        deadline: Deadline,
        holding: impl Send + 'static,
    ) -> Result<Stored, WriteError> {
        let Set { key, sealed, expires_at, headers } = set;
        let seen = self.look(key, deadline).await?;
        let event = |version| Event {
            key,
            version,
            retain_until: self.retention.of_set(version, expires_at),
            headers,
            change: Change::Set { expires_at, sealed },
        };
        self.append_and_wait(key, Choice::Above(seen), event, deadline, holding).await
    }

    /// Appends the event of a cell again, version and all: the own log lacks it, or holds a loser after it.
    ///
    /// # Errors
    /// Each kind says whether something is stored.
    pub async fn repair(&self, event: Event, deadline: Deadline) -> Result<Stored, WriteError> {
        let (key, version) = (event.key, event.version);
        self.append_and_wait(key, Choice::Settled(version), |_| event, deadline, ()).await
    }

    /// Appends a tombstone as the data centre settled it that was asked to delete.
    pub(crate) async fn append_tombstone(
        &self,
        tombstone: Tombstone,
        deadline: Deadline,
    ) -> Result<Stored, WriteError> {
        let Tombstone { key, version, retain_until, headers, skipped } = tombstone;
        let headers = headers.and_skipped(&skipped);
        let headers = headers.map_err(|error| WriteError::Refused(error.to_string().into()))?;
        let event = |version| Event { key, version, retain_until, headers, change: Change::Delete };
        self.append_and_wait(key, Choice::Settled(version), event, deadline, ()).await
    }

    /// Why a tombstone would go before what this data centre may hold of its session, if so. Clocks may differ by less than the
    /// slack that retention has.
    pub(crate) fn is_kept_too_briefly(&self, tombstone: &Tombstone) -> Option<Arc<str>> {
        let needed = self.retention.of_delete(tombstone.version, self.clock.last_read_now());
        let enough = match (tombstone.retain_until, needed) {
            (Until::At(kept), Until::At(needed)) => needed <= kept.saturating_add(RETENTION_SLACK / 2),
            (Until::Never, _) => true,
            (Until::At(_), Until::Never) => false,
        };
        let why = || {
            format!("the tombstone ends at {}, and sessions here may until {needed}", tombstone.retain_until)
        };
        (!enough).then(|| why().into())
    }

    /// A new tombstone, above `seen`, which goes on without `skipped`.
    pub(crate) fn tombstone(
        &self,
        key: KeyId,
        seen: Option<Version>,
        headers: Headers,
        skipped: BTreeSet<Dc>,
    ) -> Tombstone {
        let version = if skipped.is_empty() {
            self.next_version(seen)
        } else {
            self.versions.next_ahead(self.clock.now(), seen)
        };
        let retain_until = self.retention.of_delete(version, self.clock.last_read_now());
        Tombstone { key, version, retain_until, headers, skipped }
    }

    /// Appends a declaration to one partition of the own log, and waits until it is applied here.
    ///
    /// # Errors
    /// Each kind says whether it is stored.
    pub async fn declare_in(
        &self,
        partition: Partition,
        declaration: &Declaration,
        request_id: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), WriteError> {
        if let Some(why) = self.view.stands_still() {
            return Err(WriteError::Refused(why));
        }
        let record = Record::of_declaration(declaration, request_id.map(str::as_bytes));
        let record = record.map_err(|error| WriteError::Refused(error.to_string().into()))?;
        let commit = self.log.enqueue(partition, self.mac.sign(self.log.topic(), partition, record))?;
        let appended = tokio::time::timeout(deadline.left(), commit).await;
        let appended = appended.map_err(|_| WriteError::Unknown("the log did not answer in time".into()))?;
        let applied = self.view.applied(appended?.position, deadline.left()).await;
        applied.map_err(|failed| WriteError::NotVisible(failed.to_string().into()))
    }

    /// Appends a declaration to every partition of the own log, and waits until it is applied here.
    ///
    /// # Errors
    /// That of a partition; others may have it.
    pub async fn declare(
        &self,
        declaration: &Declaration,
        request_id: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), WriteError> {
        let partitions = self.log.partitions().all();
        let appends =
            partitions.map(|partition| self.declare_in(partition, declaration, request_id, deadline));
        try_join_all(appends).await.map(drop)
    }

    /// The data centres that the own log holds for down where the events of `key` stand, as far as this node has applied it.
    pub(crate) fn down_for(&self, key: KeyId) -> BTreeSet<Dc> {
        self.view.down_in(key.partition(self.log.partitions()))
    }

    /// The data centres that the own log holds for down in all partitions.
    pub(crate) fn down_everywhere(&self) -> BTreeSet<Dc> {
        let partitions = self.log.partitions().all().map(|partition| self.view.down_in(partition));
        partitions.reduce(|all, also| &all & &also).unwrap_or_default()
    }

    /// The newest declaration about `dc` that this node has applied, whoever's log it stands in.
    pub fn newest_declaration(&self, dc: &Dc) -> Option<Declaration> {
        self.view.newest_declaration(dc)
    }

    /// The latest time that a version of this writer carries, if it chose one now: all earlier ones are behind it, but for those of
    /// deletes that go on without a data centre.
    pub fn versions_reach(&self) -> Timestamp {
        self.versions.reach(self.clock.now())
    }

    /// The id of a new declaration, above `seen`.
    pub(crate) fn declaration_id(&self, seen: Option<Version>) -> Version {
        self.next_version(seen)
    }

    /// The version of the newest event of `key` in this data centre.
    pub(crate) async fn look(&self, key: KeyId, deadline: Deadline) -> Result<Option<Version>, WriteError> {
        let looked = self.view.look(key, deadline.left()).await;
        looked.map_err(|failed| WriteError::CannotLook(failed.to_string().into()))
    }

    /// The next version of this writer above `seen`.
    fn next_version(&self, seen: Option<Version>) -> Version {
        self.versions.next(self.clock.now(), seen)
    }

    pub(crate) fn origin(&self) -> &Dc {
        &self.log.topic().origin
    }

    pub(crate) fn store(&self) -> &StoreName {
        &self.log.topic().store
    }

    pub(crate) fn peers(&self) -> &[Arc<dyn Peer>] {
        &self.peers
    }

    async fn append_and_wait(
        &self,
        key: KeyId,
        choice: Choice,
        event: impl FnOnce(Version) -> Event,
        deadline: Deadline,
        holding: impl Send + 'static,
    ) -> Result<Stored, WriteError> {
        if let Some(why) = self.view.stands_still() {
            return Err(WriteError::Refused(why));
        }
        let enqueued = Instant::now();
        let partition = key.partition(self.log.partitions());
        let Taken { version, partition, number, commit } =
            self.enqueue(partition, enqueued, choice, event)?;
        // The append runs to its end whether or not somebody still waits for it.
        let appended = tokio::time::timeout(deadline.left(), InFlight::of(commit, holding)).await;
        let appended = appended.map_err(|_| WriteError::Unknown("the log did not answer in time".into()))?;
        self.lane(partition).settle(number, fate(&appended));
        let Appended { position, append_time } = appended?;
        self.clock.heard(append_time);
        let durable = Instant::now();
        self.measured.appended(durable - enqueued);
        let applied = self.view.applied(position, deadline.left()).await;
        applied.map_err(|failed| WriteError::NotVisible(failed.to_string().into()))?;
        self.measured.passed_the_fence(durable.elapsed());
        Ok(Stored { version })
    }

    fn enqueue(
        &self,
        partition: Partition,
        now: Instant,
        choice: Choice,
        event: impl FnOnce(Version) -> Event,
    ) -> Result<Taken, WriteError> {
        // IMPORTANT: one critical section. Versions, numbers and places in the log rise together.
        let mut lane = self.lane(partition);
        let version = match choice {
            Choice::Above(seen) => self.next_version(seen),
            Choice::Settled(version) => version,
        };
        let number = lane.next();
        let sequence = Sequence { appender: self.versions.writer(), number };
        let record = Record::of_event(event(version), sequence);
        let record = record.map_err(|error| WriteError::Refused(error.to_string().into()))?;
        let commit = self.log.enqueue(partition, self.mac.sign(self.log.topic(), partition, record))?;
        // A refused enqueue leaves its number to the next.
        lane.taken(now);
        Ok(Taken { version, partition, number, commit })
    }

    /// Appends a heartbeat with a name to every partition: whoever applies one has come to where all of them ended when this
    /// was called.
    ///
    /// # Errors
    /// When the log does not take them.
    pub async fn append_beacon(&self, beacon: Beacon) -> Result<(), WriteError> {
        let now = Instant::now();
        let append = |partition| async move {
            let heartbeat = self.lane(partition).say(now, self.clock.now());
            let record = Record::of_beacon(self.versions.writer(), &heartbeat, beacon);
            self.append_control(partition, record).await
        };
        try_join_all(self.log.partitions().all().map(append)).await?;
        Ok(())
    }

    async fn append_heartbeat(
        &self,
        partition: Partition,
        heartbeat: &Heartbeat,
    ) -> Result<Appended, WriteError> {
        self.append_control(partition, Record::of_heartbeat(self.versions.writer(), heartbeat)).await
    }

    async fn append_control(&self, partition: Partition, record: Record) -> Result<Appended, WriteError> {
        let record = self.mac.sign(self.log.topic(), partition, record);
        Ok(self.log.enqueue(partition, record)?.await?)
    }

    fn lane(&self, partition: Partition) -> MutexGuard<'_, Numbers> {
        let lane = &self.lanes[usize::try_from(partition.0).expect("a u32 fits into an index")];
        lane.lock().expect("no holder panics")
    }
}

fn fate(appended: &Result<Appended, AppendError>) -> Fate {
    match appended {
        Ok(_) => Fate::Stored,
        Err(AppendError::Refused(_)) => Fate::Skipped,
        Err(AppendError::Unknown(_)) => Fate::Unsure,
    }
}

impl From<EnqueueError> for WriteError {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Full => Self::Overloaded,
            EnqueueError::Closed(reason) | EnqueueError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl From<AppendError> for WriteError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(reason) => Self::Refused(reason),
            AppendError::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

#[cfg(test)]
mod tests;
