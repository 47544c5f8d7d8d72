//! What librdkafka can do and its safe binding does not offer: the status of a message that failed, the offset at which a
//! partition ended, many records with one call (and its log lines, which would be printed by that call), and the id of a
//! topic.
//!
//! The only module of the project with `unsafe` in it. Each block says why it is sound; the contracts are those of
//! `rdkafka.h` (librdkafka 2.12).
#![allow(unsafe_code, reason = "see the head of this module")]

use std::{
    ffi::{CStr, CString, c_void},
    ptr, slice,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    bindings::{
        self as librdkafka, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, rd_kafka_message_t,
        rd_kafka_msg_status_t, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_timestamp_type_t,
    },
    client::{Client, ClientContext},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    message::BorrowedMessage,
    types::RDKafkaErrorCode,
};
use schemas::{Headers, Offset, Partition, Record, Timestamp};

use crate::Entry;

/// What librdkafka knows of a message that it gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It never left, or every broker that had it said that it did not take it.
    NotStored,
    /// It was sent, and nobody said what became of it.
    PossiblyStored,
    /// A broker said that it has it.
    Stored,
}

/// What `message` has come to. It is never less than what was known before: a message that was sent once without an
/// answer stays "possibly stored", whatever a later try was told.
pub(super) fn status(message: &BorrowedMessage<'_>) -> Status {
    // SAFETY: the pointer is that of a message which is borrowed, so it lives.
    match unsafe { librdkafka::rd_kafka_message_status(message.ptr()) } {
        rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Status::NotStored,
        rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Status::PossiblyStored,
        rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Status::Stored,
    }
}

/// The queue of everything that a consumer fetched.
pub(super) struct Fetched<C: ConsumerContext> {
    queue: *mut rd_kafka_queue_t,
    /// Its log lines. In the queue of what was fetched, taking that would print them to the standard error.
    lines: *mut rd_kafka_queue_t,
    /// Dropped after the queues, which are a part of it.
    consumer: Arc<BaseConsumer<C>>,
    messages: Vec<*mut rd_kafka_message_t>,
    is_drained: bool,
}

/// What a consumer says.
#[derive(Debug)]
pub(super) enum Taken {
    /// A record.
    Record(Partition, Entry),
    /// There was nothing more in a partition; the next record will have this offset or a later one.
    End(Partition, Offset),
    /// Something is wrong with a partition, or with all of them.
    Failed {
        /// Which, if one.
        partition: Option<Partition>,
        /// Where in it, if anywhere.
        offset: Option<Offset>,
        /// What.
        code: RDKafkaErrorCode,
        /// The same in words.
        reason: String,
    },
}

impl<C: ConsumerContext> Fetched<C> {
    pub(super) fn of(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the consumer lives; what is returned is a reference of our own, given back in `drop`. It is not null for
        // a consumer.
        let queue = unsafe { librdkafka::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        // SAFETY: the consumer lives; a queue that is made is never null, and ours. It takes log lines from here on: the binding
        // makes every client with the setting that this call asks for.
        let lines = unsafe {
            let client = consumer.client().native_ptr();
            let lines = librdkafka::rd_kafka_queue_new(client);
            librdkafka::rd_kafka_set_log_queue(client, lines);
            lines
        };
        Self { queue, lines, consumer, messages: Vec::new(), is_drained: false }
    }

    /// Passes on the log lines that have gathered.
    pub(super) fn say_lines(&self) {
        loop {
            // SAFETY: the queue lives as long as `self`. An event is ours until it is destroyed; its texts live as long, end with
            // a zero byte, and are looked at only where the call says that it is a log line.
            unsafe {
                let event = librdkafka::rd_kafka_queue_poll(self.lines, 0);
                if event.is_null() {
                    return;
                }
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                let found =
                    librdkafka::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level);
                if found == 0 {
                    let context = self.consumer.client().context();
                    context.log(severity(level), text(facility).trim(), text(line).trim());
                }
                librdkafka::rd_kafka_event_destroy(event);
            }
        }
    }

    /// Whether the last [`take`](Self::take) left nothing behind.
    pub(super) const fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Waits up to `patience` for something, then takes what else is there, `count_max` in all and not much more than
    /// `bytes_max`.
    pub(super) fn take(&mut self, patience: Duration, count_max: usize, bytes_max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        // A call waits until it has as many as it was asked for, so the first one asks for one.
        let mut bytes = self.take_up_to(1, patience, &mut taken);
        while !taken.is_empty() && taken.len() < count_max && bytes < bytes_max {
            let before = taken.len();
            let piece = (count_max - taken.len()).min(PIECE);
            bytes += self.take_up_to(piece, Duration::ZERO, &mut taken);
            self.is_drained = taken.len() < before + piece;
            if self.is_drained {
                return taken;
            }
        }
        self.is_drained = taken.is_empty();
        taken
    }

    /// Returns the bytes of what it took.
    fn take_up_to(&mut self, count: usize, patience: Duration, taken: &mut Vec<Taken>) -> usize {
        self.messages.resize(count, ptr::null_mut());
        let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives as long as `self`; the array has room for `count` pointers.
        let got = unsafe {
            librdkafka::rd_kafka_consume_batch_queue(self.queue, millis, self.messages.as_mut_ptr(), count)
        };
        let got = usize::try_from(got).unwrap_or(0);
        let mut bytes = 0;
        for &message in &self.messages[..got] {
            // SAFETY: the call above has written `got` pointers to messages that are ours until they are destroyed, and
            // nothing that was copied out of one borrows from it.
            unsafe {
                bytes += (*message).len;
                taken.push(read(message));
                librdkafka::rd_kafka_message_destroy(message);
            }
        }
        bytes
    }
}

/// A level of syslog's, as librdkafka counts them: 0 is the worst.
const fn severity(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 | 6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}

/// Messages are copied out of librdkafka in pieces of so many, to look at their bytes in between.
const PIECE: usize = 256;

impl<C: ConsumerContext> Drop for Fetched<C> {
    fn drop(&mut self) {
        // SAFETY: they are ours, and not used after this; librdkafka holds on to the one for its lines by itself.
        unsafe {
            librdkafka::rd_kafka_queue_destroy(self.queue);
            librdkafka::rd_kafka_queue_destroy(self.lines);
        }
    }
}

/// # Safety
/// `message` must be one that a consumer returned and that was not destroyed.
unsafe fn read(message: *const rd_kafka_message_t) -> Taken {
    // SAFETY: the message lives. Its error is read as the number that it is: librdkafka passes on what a broker says, and
    // the enum does not have every number.
    let (partition, offset, error) = unsafe {
        let error = (&raw const (*message).err).cast::<i32>().read();
        ((*message).partition, (*message).offset, rd_kafka_resp_err_t::try_from(error))
    };
    let partition = u32::try_from(partition).ok().map(Partition);
    let offset = u64::try_from(offset).ok().map(Offset);
    let error = error.unwrap_or(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN);
    match (error, partition, offset) {
        (rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, Some(partition), Some(offset)) => {
            // SAFETY: passed on from the caller.
            Taken::Record(partition, unsafe { entry(message, offset) })
        }
        (rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(partition), Some(offset)) => {
            Taken::End(partition, offset)
        }
        (error, ..) => {
            // SAFETY: the message lives, and so does its text; it is null where there is none.
            let reason = unsafe { text(librdkafka::rd_kafka_message_errstr(message)) };
            Taken::Failed { partition, offset, code: error.into(), reason }
        }
    }
}

/// # Safety
/// As for [`read`].
unsafe fn entry(message: *const rd_kafka_message_t, offset: Offset) -> Entry {
    let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message lives, and `kind` can be written to.
    let millis = unsafe { librdkafka::rd_kafka_message_timestamp(message, &raw mut kind) };
    // Any other time is some writer's: it says nothing of when the log took the record.
    let is_the_logs = kind == rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    let millis = u64::try_from(millis).ok().filter(|_| is_the_logs);
    let append_time = millis.map_or(Timestamp::EPOCH, Timestamp::from_millis);
    // SAFETY: librdkafka gives pointer and length of what the message holds while it lives; null is "none".
    let (key, value) =
        unsafe { (bytes((*message).key, (*message).key_len), bytes((*message).payload, (*message).len)) };
    let key = key.map_or_else(Bytes::new, Bytes::copy_from_slice);
    let value = value.map(Bytes::copy_from_slice);
    // SAFETY: passed on from the caller.
    let headers = unsafe { headers(message) };
    Entry { offset, append_time, record: Record { key, headers, value } }
}

/// What headers cannot be are no record's of ours: without them its MAC does not fit, and it is set aside.
///
/// # Safety
/// As for [`read`].
unsafe fn headers(message: *const rd_kafka_message_t) -> Headers {
    let mut list = ptr::null_mut();
    // SAFETY: the message lives and keeps its headers; `list` can be written to.
    let found = unsafe { librdkafka::rd_kafka_message_headers(message, &raw mut list) };
    if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Headers::default();
    }
    let mut pairs = Vec::with_capacity(16);
    loop {
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the message, which lives; the three can be written to. Past the last header it says
        // so and writes nothing.
        let found = unsafe {
            librdkafka::rd_kafka_header_get_all(
                list,
                pairs.len(),
                &raw mut name,
                &raw mut value,
                &raw mut len,
            )
        };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Headers::from_pairs(pairs).unwrap_or_default();
        }
        // SAFETY: names end with a zero byte; both live as long as the message, and the pairs are gone before it.
        let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, len)) };
        let Ok(name) = name.to_str() else { return Headers::default() };
        pairs.push((name, value.unwrap_or_default()));
    }
}

/// # Safety
/// `start` must be null, or point to `len` bytes that live and do not change as long as what is returned is used.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: passed on from the caller.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), len) })
}

/// # Safety
/// `start` must be null, or point to a text that ends with a zero byte.
unsafe fn text(start: *const std::ffi::c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: passed on from the caller.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

/// The id that the cluster gave a topic when it was made: another one after it was deleted and made again. Blocks up to
/// `patience`.
///
/// # Errors
/// What the cluster said, or that it said nothing.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    patience: Duration,
) -> Result<String, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let handle = client.native_ptr();
    // SAFETY: the client lives. Queue, options, names and event are made here, used here and given back here, and what is
    // read from the event is copied before that. A queue may be given back while the request is under way: librdkafka
    // counts references.
    unsafe {
        let queue = librdkafka::rd_kafka_queue_new(handle);
        let options = librdkafka::rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut said = [0; 256];
        librdkafka::rd_kafka_AdminOptions_set_request_timeout(options, millis, said.as_mut_ptr(), said.len());
        let mut names = [name.as_ptr()];
        let topics = librdkafka::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        librdkafka::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = librdkafka::rd_kafka_queue_poll(queue, millis);
        let answer = if event.is_null() {
            Err(format!("no answer within {patience:?}"))
        } else {
            let answer = read_topic_id(event);
            librdkafka::rd_kafka_event_destroy(event);
            answer
        };
        librdkafka::rd_kafka_TopicCollection_destroy(topics);
        librdkafka::rd_kafka_AdminOptions_destroy(options);
        librdkafka::rd_kafka_queue_destroy(queue);
        answer
    }
}

/// Makes a producer give up for good, as a broker does that has lost count of its records.
#[cfg(test)]
pub(super) fn break_producer<C: ClientContext>(client: &Client<C>) {
    let error = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client lives; the text ends with a zero byte and is copied.
    unsafe { librdkafka::rd_kafka_test_fatal_error(client.native_ptr(), error, c"a test".as_ptr()) };
}

/// # Safety
/// `id` must point to an id that lives.
unsafe fn is_zero(id: *const librdkafka::rd_kafka_Uuid_t) -> bool {
    // SAFETY: passed on from the caller.
    unsafe {
        librdkafka::rd_kafka_Uuid_most_significant_bits(id) == 0
            && librdkafka::rd_kafka_Uuid_least_significant_bits(id) == 0
    }
}

/// # Safety
/// `event` must be the answer to a request to describe topics.
unsafe fn read_topic_id(event: *mut librdkafka::rd_kafka_event_t) -> Result<String, String> {
    // SAFETY: the event lives, and with it everything that is read from it; pointers that may be null are looked at first.
    unsafe {
        if librdkafka::rd_kafka_event_error(event) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(librdkafka::rd_kafka_event_error_string(event)));
        }
        let result = librdkafka::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("the answer is to another question".to_owned());
        }
        let mut count = 0;
        let descriptions = librdkafka::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if descriptions.is_null() || count == 0 {
            return Err("the answer names no topic".to_owned());
        }
        let description = *descriptions;
        let error = librdkafka::rd_kafka_TopicDescription_error(description);
        if librdkafka::rd_kafka_error_code(error) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(librdkafka::rd_kafka_error_string(error)));
        }
        let id = librdkafka::rd_kafka_TopicDescription_topic_id(description);
        if id.is_null() || is_zero(id) {
            return Err("it has no id: Kafka gives topics ids since 2.8".to_owned());
        }
        Ok(text(librdkafka::rd_kafka_Uuid_base64str(id)))
    }
}
