//! One queue for the records of all assigned partitions, apart from the consumer's queue of events.
//!
//! While nothing may be read, records stay in this queue, librdkafka stops fetching once it is full, and the events (above
//! all rebalances) are served as usual. Nothing is paused, so reading continues at full speed at once. The client library's
//! own `split_partition_queue` gives every partition a queue, and the limit of prefetched bytes then counts for each of
//! them; here it counts for all together.
#![allow(unsafe_code, reason = "the client library does not offer a queue for several partitions")]

use std::any::Any;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rowmill_rows::TopicPartition;

use super::group::Group;

/// The most records that are taken at a time.
const MAX_RECORDS: usize = 256;

/// What the queue contains.
pub(super) enum Item<'a> {
    Record(Record<'a>),
    /// Something failed in a partition at this offset.
    Error {
        topic: &'a str,
        partition: i32,
        offset: i64,
        code: RDKafkaErrorCode,
        reason: String,
    },
}

/// A record, borrowed from librdkafka.
pub(super) struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970; -1 if the record has no timestamp.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record.
#[derive(Clone)]
pub(super) struct Headers<'a> {
    /// Null if the record has none.
    headers: *mut sys::rd_kafka_headers_t,
    next: usize,
    message: std::marker::PhantomData<&'a sys::rd_kafka_message_t>,
}

/// The queue. It keeps the consumer alive: librdkafka requires that its queues are destroyed first.
pub(super) struct RecordQueue {
    queue: Handle,
    /// The consumer's queue of events.
    events: Handle,
    partitions: HashMap<TopicPartition, Handle>,
    consumer: Arc<BaseConsumer<Group>>,
}

/// A reference to a queue of librdkafka.
struct Handle(NonNull<sys::rd_kafka_queue_t>);

impl RecordQueue {
    /// An empty queue without partitions.
    pub fn new(consumer: &Arc<BaseConsumer<Group>>) -> anyhow::Result<Self> {
        // SAFETY: the client is valid as long as the consumer, which outlives the queue.
        let (queue, events) = unsafe {
            let client = consumer.client().native_ptr();
            (sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_get_consumer(client))
        };
        Ok(Self {
            queue: Handle::new(queue)?,
            events: Handle::new(events)?,
            partitions: HashMap::new(),
            consumer: consumer.clone(),
        })
    }

    /// Collects the records of a partition. To be called before the partition is assigned.
    pub fn add(&mut self, partition: &TopicPartition) -> anyhow::Result<()> {
        let topic = CString::new(&*partition.topic)?;
        // SAFETY: the client is valid, and the topic is a C string.
        let queue = unsafe {
            sys::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), topic.as_ptr(), partition.partition)
        };
        let queue = Handle::new(queue)?;
        self.forward(&queue);
        self.partitions.insert(partition.clone(), queue);
        Ok(())
    }

    /// Collects the records of a partition no longer.
    pub fn remove(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    /// Repeats [`RecordQueue::add`] for all partitions: when a partition is stopped and started again, librdkafka forgets it,
    /// at a moment that is not known.
    pub fn refresh(&self) {
        self.partitions.values().for_each(|queue| self.forward(queue));
    }

    /// Commits offsets without waiting. The answer arrives in the consumer's context while the consumer is polled; the client
    /// library's own asynchronous commits are never answered.
    pub fn commit(&self, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
        // SAFETY: client, list and queue are valid; librdkafka copies the list.
        let result = unsafe {
            let (client, events) = (self.consumer.client().native_ptr(), self.events.0.as_ptr());
            sys::rd_kafka_commit_queue(client, offsets.ptr(), events, None, ptr::null_mut())
        };
        match RDKafkaErrorCode::from(result) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(KafkaError::ConsumerCommit(code)),
        }
    }

    fn forward(&self, partition: &Handle) {
        // SAFETY: both queues are valid.
        unsafe { sys::rd_kafka_queue_forward(partition.0.as_ptr(), self.queue.0.as_ptr()) }
    }

    /// Takes items, at most [`MAX_RECORDS`]; waits up to `timeout` for the first. Returns their number.
    ///
    /// `rd_kafka_consume_batch_queue` would be as fast, but it counts an error at an offset as a record that was consumed.
    /// When librdkafka next resumes the partition, as it does after every rebalance, it continues after that offset, and the
    /// record that was written there in the meantime is lost.
    pub fn read<F: FnMut(Item<'_>)>(&mut self, timeout: Duration, take: F) -> usize {
        let milliseconds = timeout.as_micros().div_ceil(1000) as i32;
        let mut reading = Reading { take, count: 0, panic: None, client: self.consumer.client().native_ptr() };
        // SAFETY: the queue is valid, and `reading` outlives the call, which ends before `take_message` is called again.
        unsafe {
            sys::rd_kafka_consume_callback_queue(
                self.queue.0.as_ptr(),
                milliseconds,
                Some(take_message::<F>),
                ptr::from_mut(&mut reading).cast(),
            );
        }
        if let Some(panic) = reading.panic {
            std::panic::resume_unwind(panic);
        }
        reading.count
    }
}

/// A call of [`RecordQueue::read`].
struct Reading<F> {
    take: F,
    count: usize,
    /// A panic of `take`, which must not unwind through librdkafka.
    panic: Option<Box<dyn Any + Send>>,
    client: *mut sys::rd_kafka_t,
}

/// Called by librdkafka with each message.
///
/// # Safety
/// The message is valid, and `reading` is the [`Reading`] of the running call.
unsafe extern "C" fn take_message<F: FnMut(Item<'_>)>(message: *mut sys::rd_kafka_message_t, reading: *mut c_void) {
    // SAFETY: by this function's contract; nothing else uses the reading during the call.
    let (message, reading) = unsafe { (&*message, &mut *reading.cast::<Reading<F>>()) };
    if reading.panic.is_some() {
        return;
    }
    reading.count += 1;
    // SAFETY: librdkafka destroys the message after this function, and the item is gone by then.
    if let Some(item) = unsafe { item(message) } {
        reading.panic = catch_unwind(AssertUnwindSafe(|| (reading.take)(item))).err();
    }
    if reading.count >= MAX_RECORDS || reading.panic.is_some() {
        // SAFETY: the client is valid. What is left of the queue is put back.
        unsafe { sys::rd_kafka_yield(reading.client) }
    }
}

impl Handle {
    fn new(queue: *mut sys::rd_kafka_queue_t) -> anyhow::Result<Self> {
        NonNull::new(queue).map(Self).ok_or_else(|| anyhow::anyhow!("librdkafka has no such queue"))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle owns its reference, and the client still exists.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// Reads a message.
///
/// # Safety
/// The message is valid while the item is used.
unsafe fn item(message: &sys::rd_kafka_message_t) -> Option<Item<'_>> {
    // SAFETY: the topic of a message is valid as long as the message, and its name is a C string.
    let topic = unsafe {
        if message.rkt.is_null() {
            return None;
        }
        text(sys::rd_kafka_topic_name(message.rkt))
    };
    let (partition, offset) = (message.partition, message.offset);
    let code = RDKafkaErrorCode::from(message.err);
    Some(match code {
        // SAFETY: key and value are valid for their lengths as long as the message; timestamp and headers are read of it.
        RDKafkaErrorCode::NoError => unsafe {
            Item::Record(Record {
                topic,
                partition,
                offset,
                timestamp: sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
                key: bytes(message.key, message.key_len),
                value: bytes(message.payload, message.len),
                headers: Headers::of(message),
            })
        },
        _ => {
            // SAFETY: the text belongs to the message.
            let reason = unsafe { text(sys::rd_kafka_message_errstr(message)) }.to_string();
            Item::Error { topic, partition, offset, code, reason }
        }
    })
}

/// # Safety
/// The pointer is null, or points to a C string that is valid while the text is used.
unsafe fn text<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "";
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

/// # Safety
/// The pointer is null, or points to `len` bytes that are valid while the slice is used.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by this function's contract.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

impl<'a> Headers<'a> {
    fn of(message: &'a sys::rd_kafka_message_t) -> Self {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid, and `headers` is only read if the call has set it.
        let result = unsafe { sys::rd_kafka_message_headers(message, &mut headers) };
        if RDKafkaErrorCode::from(result) != RDKafkaErrorCode::NoError {
            headers = ptr::null_mut();
        }
        Self { headers, next: 0, message: std::marker::PhantomData }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.headers.is_null() {
            return None;
        }
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers belong to the message, and librdkafka checks the number.
        unsafe {
            let result = sys::rd_kafka_header_get_all(self.headers, self.next, &mut name, &mut value, &mut len);
            if RDKafkaErrorCode::from(result) != RDKafkaErrorCode::NoError {
                return None;
            }
            self.next += 1;
            Some((text(name), bytes(value, len)))
        }
    }
}
