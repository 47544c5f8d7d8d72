//! Appends: a record goes out, and what became of it comes back with its delivery report.
//!
//! A failed append is *not stored*, *stored*, or *nobody knows*, and librdkafka says which. After a fatal error a producer
//! never works again: the next append makes another one, and the old one says what became of what it had.

use std::{
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders, Timestamp as KafkaTimestamp},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use schemas::{Offset, Partition, Position, Record, Timestamp};

use super::{
    ffi::{self, Status},
    number,
};
use crate::{AppendError, Appended, CommitResolver, EnqueueError};

/// How long what a broken producer still has on its way may take. Longer than it tries by itself.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// A producer that breaks sooner than this is not replaced yet: whatever broke it would break the next one.
const REPLACED_EVERY: Duration = Duration::from_secs(1);

/// Sends records to a cluster.
pub(super) struct Producer {
    config: ClientConfig,
    live: RwLock<(Instant, Arc<Live>)>,
}

type Live = ThreadedProducer<Reports>;

/// Takes the delivery reports of one producer.
pub(super) struct Reports;

/// The append that a delivery report answers.
type Waiting = Box<CommitResolver>;

impl Producer {
    pub(super) fn start(config: ClientConfig) -> Result<Self, KafkaError> {
        let live = config.create_with_context(Reports)?;
        Ok(Self { config, live: RwLock::new((Instant::now(), Arc::new(live))) })
    }

    /// Takes a record without waiting. Records of one partition go out in the order of calls.
    pub(super) fn send(
        &self,
        topic: &str,
        partition: Partition,
        record: &Record,
        resolver: CommitResolver,
    ) -> Result<(), EnqueueError> {
        let live = self.live();
        match send(&live, topic, partition, record, Box::new(resolver)) {
            Err((error, resolver)) if is_fatal(&error) => {
                let Some(fresh) = self.replace(&live).map_err(|error| refused(&error))? else {
                    return Err(refused(&error));
                };
                send(&fresh, topic, partition, record, resolver).map_err(|(error, _)| refused(&error))
            }
            sent => sent.map_err(|(error, _)| refused(&error)),
        }
    }

    /// Waits until what was taken has been answered, or for so long. Returns whether all of it was.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        self.live().flush(patience).is_ok()
    }

    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Another producer in place of `broken`, unless somebody else was quicker, or it is too soon.
    fn replace(&self, broken: &Arc<Live>) -> Result<Option<Arc<Live>>, KafkaError> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let (since, current) = &*live;
        if !Arc::ptr_eq(current, broken) {
            return Ok(Some(Arc::clone(current)));
        }
        if since.elapsed() < REPLACED_EVERY {
            return Ok(None);
        }
        let fresh = Arc::new(self.config.create_with_context(Reports)?);
        tracing::error!("The producer of Kafka is broken, another one takes its place");
        let (_, broken) = std::mem::replace(&mut *live, (Instant::now(), Arc::clone(&fresh)));
        // What it had queued it gives up, what is on its way it waits for: its thread goes on until all has been answered.
        let drain = move || {
            if let Err(error) = broken.flush(DRAIN_PATIENCE) {
                tracing::error!("Nobody knows what became of the last records of a broken producer: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("drain producer".to_owned()).spawn(drain) {
            tracing::error!("A broken producer cannot be drained: {error}");
        }
        Ok(Some(fresh))
    }
}

fn send(
    live: &Live,
    topic: &str,
    partition: Partition,
    record: &Record,
    waiting: Waiting,
) -> Result<(), (KafkaError, Box<CommitResolver>)> {
    let Record { key, headers, value } = record;
    let mut list = OwnedHeaders::new_with_capacity(16);
    for (name, value) in headers.iter() {
        list = list.insert(Header { key: name, value: Some(value) });
    }
    let mut message = BaseRecord::<[u8], [u8], Waiting>::with_opaque_to(topic, waiting)
        .partition(number(partition))
        .key(&key[..])
        .headers(list);
    if let Some(value) = value {
        message = message.payload(&value[..]);
    }
    live.send(message).map_err(|(error, message)| (error, message.delivery_opaque))
}

fn is_fatal(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
}

fn refused(error: &KafkaError) -> EnqueueError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => EnqueueError::Full,
        _ => EnqueueError::Refused(error.to_string().into()),
    }
}

/// What a delivery report says. Where it names no append time, the broker knew the record already and did not say where it
/// stands: the offset is then counted from nothing.
fn outcome(
    partition: Partition,
    offset: i64,
    append_time: Option<Timestamp>,
    failure: Option<(Status, &KafkaError)>,
) -> Result<Appended, AppendError> {
    let place = u64::try_from(offset).ok().zip(append_time);
    match (failure, place) {
        (None, Some((offset, append_time))) => {
            Ok(Appended { position: Position { partition, offset: Offset(offset) }, append_time })
        }
        (None, None) | (Some((Status::Stored, _)), _) => Err(AppendError::Unknown(
            "the log has taken the record and does not say where and when (it does where message.timestamp.type is \
             LogAppendTime)"
                .into(),
        )),
        (Some((Status::NotStored, error)), _) if says_no(error) => {
            Err(AppendError::Refused(error.to_string().into()))
        }
        (Some((_, error)), _) => Err(AppendError::Unknown(error.to_string().into())),
    }
}

/// Whether an error leaves no doubt that nothing was stored. librdkafka believes it of more: a leader that was deposed while
/// it waited for its followers says that it is no leader, and may have stored the record all the same.
fn says_no(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::InvalidRecord
                | Code::PolicyViolation
        )
    )
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Waiting;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Waiting) {
        let (message, failure) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some((ffi::status(message), error))),
        };
        let partition = Partition(u32::try_from(message.partition()).unwrap_or_default());
        let append_time = match message.timestamp() {
            KafkaTimestamp::LogAppendTime(millis) => u64::try_from(millis).ok().map(Timestamp::from_millis),
            KafkaTimestamp::CreateTime(_) | KafkaTimestamp::NotAvailable => None,
        };
        waiting.resolve(outcome(partition, message.offset(), append_time, failure));
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!("Kafka: {error}: {reason}");
    }
}

#[cfg(test)]
mod tests;
