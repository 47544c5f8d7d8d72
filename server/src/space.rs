//! How much room logs and views take, and giving back what nobody needs.
//!
//! A log may drop a record when the view holds something newer of its key, or when its retention has passed by the log's
//! own time. Never because the session merely expired: an expired event still shadows older ones.

use std::{sync::Arc, time::Duration};

use eventlog::{EventLog, LogClock, embedded::EmbeddedLog};
use materializer::{Serving, sessions::SessionView};
use prometheus::{IntGaugeVec, Opts, Registry};
use schemas::{
    Control, Message, Record, Timestamp, Until,
    caps::{HEARTBEAT_RETENTION, RETENTION_SLACK},
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use writer::Retention;

use crate::{disk, logs::StoreLog};

/// How often the space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is shown of space.
#[derive(Clone, Debug)]
pub(crate) struct SpaceMetrics {
    /// Bytes of the files of a store's log and its copies of others. Rises to half more than what is needed, and 64 MiB, before it falls.
    log_bytes: IntGaugeVec,
    /// Bytes of a view's files.
    view_bytes: IntGaugeVec,
}

impl SpaceMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["store"]);
        let metrics = Self {
            log_bytes: gauge("solera_log_bytes", "Size of the files of a log, in bytes.")?,
            view_bytes: gauge("solera_view_bytes", "Size of the files of a view, in bytes.")?,
        };
        registry.register(Box::new(metrics.log_bytes.clone()))?;
        registry.register(Box::new(metrics.view_bytes.clone()))?;
        Ok(metrics)
    }
}

/// What a log may drop where the view is made from this log alone. A peer's event may supersede ours in the view and still be
/// lost with the peer's log: see [`droppable_beside_others`].
///
/// The newest event of a key stays until its retention has passed, so a rebuild finds what it shadows shadowed. A
/// tombstone's retention covers the end of everything that it shadows (`writer::Retention`, over the longest TTL that
/// any start allowed), so it can go without them; not so where sessions live for ever.
pub fn droppable(
    serving: Arc<Serving>,
    clock: Arc<LogClock>,
    retention: Retention,
) -> impl Fn(Timestamp, &Record) -> bool + Send + Sync {
    move |append_time, record| match record.decode() {
        Ok(Message::Event { event, sequence: _ }) => {
            let newest = serving.view().version(&event.key);
            let is_superseded =
                newest.is_ok_and(|newest| newest.is_some_and(|newest| event.version < newest));
            is_superseded || has_passed(event.retain_until, clock.gc_now(), retention)
        }
        Ok(Message::Control(Control::Heartbeat { .. })) => is_old_heartbeat(append_time, &clock),
        Ok(Message::Control(Control::Declared(_))) => is_old_word(append_time, &clock, retention),
        // Another release may know what it is.
        Ok(Message::Control(Control::Other)) | Err(_) => false,
    }
}

/// What a log may drop beside the logs of other data centres: what nobody needs any more.
pub fn droppable_beside_others(
    clock: Arc<LogClock>,
    retention: Retention,
) -> impl Fn(Timestamp, &Record) -> bool + Send + Sync {
    move |append_time, record| match record.decode() {
        Ok(Message::Event { event, sequence: _ }) => {
            has_passed(event.retain_until, clock.gc_now(), retention)
        }
        Ok(Message::Control(Control::Heartbeat { .. })) => is_old_heartbeat(append_time, &clock),
        Ok(Message::Control(Control::Declared(_))) => is_old_word(append_time, &clock, retention),
        Ok(Message::Control(Control::Other)) | Err(_) => false,
    }
}

fn is_old_heartbeat(append_time: Timestamp, clock: &LogClock) -> bool {
    append_time.saturating_add(HEARTBEAT_RETENTION) < clock.gc_now()
}

/// A declaration goes when Kafka would drop it; one that is in force is appended again long before.
fn is_old_word(append_time: Timestamp, clock: &LogClock, retention: Retention) -> bool {
    match retention {
        Retention::Expiring { ttl_max } => {
            append_time.saturating_add(ttl_max).saturating_add(RETENTION_SLACK) < clock.gc_now()
        }
        Retention::Unlimited { .. } => false,
    }
}

fn has_passed(retain_until: Until, gc_now: Timestamp, retention: Retention) -> bool {
    match (retain_until, retention) {
        (Until::At(end), Retention::Expiring { .. }) => end < gc_now,
        (Until::Never, _) | (_, Retention::Unlimited { .. }) => false,
    }
}

/// Looks at the space of a store until `stop`, cleans its log, and compacts its view when that rests.
pub(crate) async fn keep(
    logs: Vec<StoreLog>,
    view: watch::Receiver<Arc<SessionView>>,
    clock: Arc<LogClock>,
    metrics: SpaceMetrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let (logs, view, metrics) = (logs.clone(), view.borrow().clone(), metrics.clone());
        let now = clock.gc_now();
        let looked = spawn_blocking(move || look_once(&logs, &view, now, &metrics));
        match stop.run_until_cancelled(looked).await {
            Some(looked) => looked?,
            None => break,
        }
    }
    Ok(())
}

fn look_once(logs: &[StoreLog], view: &SessionView, now: Timestamp, metrics: &SpaceMetrics) {
    let Some(store) = logs.first().map(|log| log.log().topic().store.clone()) else { return };
    let show = |gauge: &IntGaugeVec, bytes: u64| {
        gauge.with_label_values(&[store.as_str()]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    };
    // A cluster sees to its topics itself.
    let embedded = logs.iter().filter_map(|log| match log {
        StoreLog::Embedded(log) => Some(log),
        StoreLog::Kafka(..) => None,
    });
    let bytes = embedded.map(|log| {
        clean(log);
        log.bytes()
    });
    if let Ok(bytes) = bytes.collect::<Result<Vec<_>, _>>()
        && !bytes.is_empty()
    {
        show(&metrics.log_bytes, bytes.iter().sum());
    }
    match view.compact_if_due(now, |bytes| disk::check_room(view.dir(), bytes).is_ok()) {
        Ok(None) => {}
        Ok(Some((before, after))) => {
            tracing::info!("Compacted the view of {store}: {before} bytes before, {after} after");
        }
        Err(error) => tracing::error!("Cannot compact the view of {store}: {error}"),
    }
    if let Ok(bytes) = view.bytes() {
        show(&metrics.view_bytes, bytes);
    }
}

fn clean(log: &EmbeddedLog) {
    let topic = log.topic();
    match log.clean_if_due() {
        Ok(None) => {}
        Ok(Some((before, after))) => tracing::info!("Cleaned {topic}: {before} bytes before, {after} after"),
        // Whoever writes to it finds out what that means.
        Err(error) => tracing::error!("Cannot clean {topic}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use eventlog::{Incarnation, ManualClock};
    use materializer::{Cell, CellCache, View, ViewWrite, memory::MemoryView};
    use schemas::{
        Change, Event, Headers, Heartbeat, Hlc, KeyId, Sealed, Sequence, Topic, Version, WriterId,
    };

    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;
    const NOW: Timestamp = Timestamp::from_millis(1_000 * DAY_MS);

    fn version(n: u64) -> Version {
        Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
    }

    fn event(key: u8, n: u64, retain_until: Until, is_set: bool) -> Event {
        let change = if is_set {
            Change::Set { expires_at: Until::At(Timestamp::from_millis(1)), sealed: Sealed("s".into()) }
        } else {
            Change::Delete
        };
        let key = KeyId::from_bytes([key; 16]);
        Event { key, version: version(n), retain_until, headers: Headers::default(), change }
    }

    fn record(event: &Event) -> Record {
        Record::of_event(event.clone(), Sequence { appender: WriterId(1), number: 1 }).unwrap()
    }

    #[test]
    fn a_record_goes_when_it_is_superseded_or_its_retention_has_passed_and_never_before() {
        let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
        let view = MemoryView::new([(topic, Incarnation("one".into()))]);
        let (later, past) =
            (Until::At(NOW.saturating_add(Duration::from_secs(1))), Timestamp::from_millis(1));
        let tombstone = event(1, 5, later, false);
        let cells = [(tombstone.key, Cell::of(tombstone.clone()))].into();
        view.write(&ViewWrite { cells, ..ViewWrite::default() }).unwrap();
        let view = Arc::new(Serving::new(Arc::new(view), CellCache::of(1 << 20)));

        let clock = Arc::new(LogClock::new(Arc::new(ManualClock::at(NOW))));
        clock.anchor(NOW, Timestamp::EPOCH);
        let expiring = Retention::Expiring { ttl_max: Duration::from_secs(3600) };
        let rule = droppable(Arc::clone(&view), Arc::clone(&clock), expiring);
        let drops = |event: &Event| rule(NOW, &record(event));
        assert!(drops(&event(1, 4, later, true)), "superseded");
        assert!(!drops(&tombstone), "the newest");
        assert!(!drops(&event(1, 6, later, true)), "not applied yet");
        assert!(!drops(&event(2, 1, later, true)), "expired, but it shadows what is older");
        assert!(!drops(&event(2, 1, Until::Never, true)));
        assert!(drops(&event(2, 1, Until::At(past), false)), "its time is over");

        let rule = droppable(view, clock, Retention::Unlimited { tombstones: 2 * RETENTION_SLACK });
        assert!(!rule(NOW, &record(&event(2, 1, Until::At(past), false))), "it may shadow what never ends");
        assert!(rule(NOW, &record(&event(1, 4, later, true))));

        let heartbeat = Record::of_heartbeat(WriterId(1), &Heartbeat::default());
        assert!(!rule(NOW, &heartbeat));
        assert!(rule(Timestamp::from_millis(997 * DAY_MS), &heartbeat));
        let strange = Record { key: "~something/else".into(), ..heartbeat };
        assert!(!rule(past, &strange));
    }
}
