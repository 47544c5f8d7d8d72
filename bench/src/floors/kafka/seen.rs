//! From the call that appends a record until a consumer has seen it: what a write waits for that is to be read at once.
//!
//! ```text
//!   this thread ── send ──▶ librdkafka ──▶ broker ──▶ librdkafka ──▶ consumer's thread: seen
//!        ▲                      └─ its polling thread: acknowledged         │
//!        └────────────────── the next record ◀──────────────────────────────┘
//! ```
//! A record carries the moment at which it was sent, and who sees it or hears of it looks at the clock first. So what the
//! threads say to each other afterwards is not in the times.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use rand::Rng;
use rdkafka::{
    ClientContext, Message,
    consumer::{BaseConsumer, Consumer},
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};

use super::{Figures, PATIENCE, Topic, Window};
use crate::{arguments::Load, report::Latency, tally::Times};

/// How often a consumer to which nothing comes looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// As long as the key of a session.
const KEY: &[u8; 22] = b"MDEyMzQ1Njc4OWFiY2RlZg";

/// What leads the value of a record.
struct Sent {
    /// Tells this run's records from others'.
    run: u64,
    /// Nanoseconds since the origin; 0 if it is not measured.
    at: u64,
}

/// The moments of a run are counted from here.
#[derive(Clone, Copy)]
struct Origin(Instant);

/// Takes the delivery reports.
struct Acks {
    origin: Origin,
    times: Mutex<Times>,
    failed: Mutex<Option<String>>,
}

/// Sends for as long as the load would have been measured, with values of its largest size. They are consumed from
/// `seen_at`: the same topic, or its copy in another cluster.
pub(in crate::floors) fn run(
    topic: &Topic,
    seen_at: &Topic,
    load: &Load,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // IMPORTANT: it reads from an offset that was asked for before the first record is sent. "The end" would be looked up
    // later, and might be behind it.
    let consumer: BaseConsumer = seen_at.consumer().create().context("make a consumer")?;
    consumer.assign(&seen_at.ends(&seen_at.asker()?)?).context("read from the end of the topic")?;
    let origin = Origin(Instant::now());
    let acks = Acks { origin, times: Mutex::new(Times::new()), failed: Mutex::new(None) };
    let producer = topic.producer().create_with_context(acks).context("make a producer")?;
    // The first record takes up to a second: a producer asks for leaders, and for an id of its own.
    send(topic, &producer, 0, &Sent { run: 0, at: 0 }, &mut vec![7; load.size.max()])?;
    producer.flush(PATIENCE).context("append the first record")?;

    let run = rand::rng().random_range(1..=u64::MAX);
    let window = Window::of(load);
    let stop = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let (sender, seen) = mpsc::channel();
        let (consumer, stop) = (&consumer, &stop);
        let seeing = scope.spawn(move || see_all(consumer, run, origin, &sender, stop));
        let sent = send_all(topic, &producer, (run, load), (origin, window), &seen);
        stop.store(true, Ordering::Relaxed);
        // What went wrong there is why nothing was seen here.
        let times = seeing.join().map_err(|_| anyhow!("the thread of the consumer panicked"))??;
        sent.map(|()| times)
    })?;
    producer.flush(PATIENCE).context("wait for the last acknowledgements")?;
    let acks = producer.context();
    if let Some(reason) = lock(&acks.failed).take() {
        bail!("a record was not stored: {reason}");
    }
    let figures = Figures {
        floor: "kafka-seen",
        topic: &topic.name,
        partitions: topic.partitions,
        connections: load.connections,
        rate: window.per_second(seen.count()),
        times: BTreeMap::from([("seen", Latency::of(&seen)), ("ack", Latency::of(&lock(&acks.times)))]),
    };
    figures.write(load, out)
}

/// Keeps so many records on their way until the time is over, then waits for the last.
fn send_all(
    topic: &Topic,
    producer: &ThreadedProducer<Acks>,
    (run, load): (u64, &Load),
    (origin, window): (Origin, Window),
    seen: &mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let mut value = vec![7; load.size.max()];
    let mut partitions = (0..topic.partitions).cycle();
    let mut on_their_way = 0;
    loop {
        while on_their_way < load.connections && !window.is_over() {
            let partition = partitions.next().context("a topic without partitions")?;
            let now = Instant::now();
            let at = if window.contains(now) { origin.nanos_at(now) } else { 0 };
            send(topic, producer, partition, &Sent { run, at }, &mut value)?;
            on_their_way += 1;
        }
        if on_their_way == 0 {
            return Ok(());
        }
        seen.recv_timeout(PATIENCE).context("a record was not seen")?;
        on_their_way -= 1;
    }
}

fn send(
    topic: &Topic,
    producer: &ThreadedProducer<Acks>,
    partition: i32,
    sent: &Sent,
    value: &mut [u8],
) -> anyhow::Result<()> {
    sent.write(value);
    let at = usize::try_from(sent.at).expect("a machine of 64 bits");
    let record = BaseRecord::with_opaque_to(&topic.name, at).partition(partition).key(KEY).payload(&*value);
    producer.send(record).map_err(|(error, _)| error).context("append a record")
}

fn see_all(
    consumer: &BaseConsumer,
    run: u64,
    origin: Origin,
    seen: &mpsc::Sender<()>,
    stop: &AtomicBool,
) -> anyhow::Result<Times> {
    let mut times = Times::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(LOOK_EVERY) else { continue };
        let now = Instant::now();
        let message = message.context("read a record")?;
        let Some(sent) = message.payload().and_then(Sent::read).filter(|sent| sent.run == run) else {
            continue;
        };
        origin.record(&mut times, sent.at, now);
        if seen.send(()).is_err() {
            break;
        }
    }
    Ok(times)
}

impl Sent {
    /// Values are at least as long: `--size` begins at 24.
    fn write(&self, value: &mut [u8]) {
        value[..8].copy_from_slice(&self.run.to_le_bytes());
        value[8..16].copy_from_slice(&self.at.to_le_bytes());
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (run, rest) = value.split_first_chunk()?;
        let (at, _) = rest.split_first_chunk()?;
        Some(Self { run: u64::from_le_bytes(*run), at: u64::from_le_bytes(*at) })
    }
}

impl Origin {
    /// Never 0, which is what is not measured.
    fn nanos_at(self, moment: Instant) -> u64 {
        u64::try_from((moment - self.0).as_nanos()).expect("less than 500 years").max(1)
    }

    fn record(self, times: &mut Times, sent: u64, now: Instant) {
        if 0 < sent {
            times.record(self.nanos_at(now).saturating_sub(sent));
        }
    }
}

impl ProducerContext for Acks {
    /// When the record was sent, as it says itself.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        let now = Instant::now();
        match result {
            Ok(_) => self.origin.record(&mut lock(&self.times), sent as u64, now),
            Err((error, _)) => *lock(&self.failed) = Some(error.to_string()),
        }
    }
}

impl ClientContext for Acks {}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked ends the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
