//! Putting messages: what is given, what comes back, and why not.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::message::properties::{self, MessageProperties, name};
use common::message::sys_flag;
use common::names::{LMQ_PREFIX, RETRY_TOPIC_PREFIX};
use smallvec::SmallVec;
use thiserror::Error;

use crate::commit_log::{Blocked, EncodedRecords, Numbering, Placed};
use crate::config::{BrokerRole, MessageStoreConfig};
use crate::consume_queue::QueueKind;
use crate::dispatch::{is_file_name, may_fan_out};
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::queue_offsets::QueueCounter;
use crate::record::encode::{batch_message, encode};
use crate::record::format::{BLANK_BYTES, MAX_PROPERTIES_BYTES};
use crate::store::Store;

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The topic; up to 127 bytes, or 255 when it is a retry topic.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The producer's flag; the store keeps it and gives it back.
    pub flag: i32,
    /// Bits of `common::message::sys_flag`; those of the hosts' address families are set by the store.
    pub sys_flag: i32,
    /// When the producer made the message, in ms.
    pub born_timestamp_ms: i64,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// The broker's address: part of the message's offset id.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Of a committed message, where its half message lies; else 0.
    pub prepared_transaction_offset: u64,
    /// The encoded properties. Dispatch takes tags and keys from them.
    pub properties: &'a str,
    /// The body as sent, possibly compressed.
    pub body: &'a [u8],
}

/// What differs between the messages of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    /// The producer's flag.
    pub flag: i32,
    /// The encoded properties.
    pub properties: &'a str,
    /// The body as sent.
    pub body: &'a [u8],
}

/// A message is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where its record begins.
    pub physical_offset: PhysicalOffset,
    /// Length of its record.
    pub size_bytes: u32,
    /// Its number in its queue; 0 for prepared and rollback messages, which have none.
    pub queue_offset: QueueOffset,
    /// The time it was stored.
    pub store_timestamp_ms: i64,
    /// Where its record ends: what a flush must reach.
    pub end: PhysicalOffset,
}

/// The messages of a batch are in the log, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    /// Where each record begins, in the order given.
    pub physical_offsets: SmallVec<[PhysicalOffset; 8]>,
    /// Length of all records together.
    pub size_bytes: u32,
    /// The queue offset of the first; the others follow one by one.
    pub queue_offset: QueueOffset,
    /// The time they were stored.
    pub store_timestamp_ms: i64,
    /// Where the last record ends.
    pub end: PhysicalOffset,
}

/// Why the store takes no messages at all.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WriteRefusal {
    /// Closed, or never opened for writing.
    #[error("the store is closed")]
    Closed,
    /// Slaves take messages from their master only.
    #[error("the broker is a slave")]
    Slave,
    /// Switched off by an operator or the broker.
    #[error("writes are switched off")]
    SwitchedOff,
    /// Too little room left on the disk.
    #[error("disk use of {path} is {percent} %, over the limit of {limit_percent} %")]
    DiskFull {
        /// The directory looked at.
        path: PathBuf,
        /// Use of its disk, in percent.
        percent: u32,
        /// `diskSpaceWarningLevelRatio`.
        limit_percent: u32,
    },
    /// Writing or syncing failed, so nobody knows what the disk holds. Lasts until the restart.
    #[error("the log failed: {0}")]
    LogFailed(String),
    /// No room for the next file. Ends when there is room again.
    #[error("no room for the log to grow: {0}")]
    NoSpace(String),
}

/// Why a message was not stored.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PutError {
    /// The topic is longer than a record can hold.
    #[error("topic has {size_bytes} bytes, the limit is {limit_bytes}")]
    TopicTooLong {
        /// Length of the topic.
        size_bytes: usize,
        /// Limit for this kind of topic.
        limit_bytes: usize,
    },
    /// The body is longer than `maxMessageSize`.
    #[error("body has {size_bytes} bytes, the limit is {limit_bytes}")]
    BodyTooLarge {
        /// Length of the body, of a batch the sum.
        size_bytes: usize,
        /// `maxMessageSize`.
        limit_bytes: usize,
    },
    /// The property string is longer than a record can hold.
    #[error("properties have {size_bytes} bytes, the limit is {limit_bytes}")]
    PropertiesTooLarge {
        /// Length of the property string.
        size_bytes: usize,
        /// 32767.
        limit_bytes: usize,
    },
    /// The record would not fit into a CommitLog file, or is longer than `maxMessageSize` + 64 KiB.
    #[error("record has {size_bytes} bytes, the limit is {limit_bytes}")]
    RecordTooLarge {
        /// Length of the record, of a batch of all records.
        size_bytes: usize,
        /// The smaller of the two limits.
        limit_bytes: usize,
    },
    /// The topic cannot be the name of a directory.
    #[error("the topic is empty or has a slash")]
    IllegalTopic,
    /// A batch without messages.
    #[error("the batch is empty")]
    EmptyBatch,
    /// An inner batch for an ordinary queue, or its count is missing.
    #[error("{0}")]
    IllegalBatch(&'static str),
    /// One more light message queue than `maxLmqConsumeQueueNum`, where `enableLmqQuota` is set.
    #[error("there are {count} light message queues, the limit is {limit}")]
    TooManyLightQueues {
        /// How many there are.
        count: usize,
        /// `maxLmqConsumeQueueNum`.
        limit: usize,
    },
    /// Somebody holds the writer lock for longer than `osPageCacheBusyTimeOutMills`.
    #[error("the page cache is busy: the writer lock is held for {held_ms} ms")]
    PageCacheBusy {
        /// How long it is held.
        held_ms: i64,
    },
    /// Others took the room, or the numbers, again and again.
    #[error("too many others write at the same time")]
    Contended,
    /// The store takes no messages.
    #[error(transparent)]
    NotWritable(#[from] WriteRefusal),
}

impl Store {
    /// Appends a message: in the log and visible to dispatch, not yet flushed.
    pub fn put(&self, message: &Message<'_>) -> Result<Appended, PutError> {
        self.counted(1, |begin_ms| {
            let config = self.options.config.get();
            self.require_writable(&config, begin_ms)?;
            self.require_fits(&config, message)?;
            let (placed, size_bytes) = if message.sys_flag & sys_flag::INNER_BATCH != 0 {
                self.put_inner_batch(message)?
            } else if message.properties.contains(name::INNER_NUM) && has(message, name::INNER_NUM) {
                return Err(PutError::IllegalBatch(
                    "INNER_NUM without the flag of an inner batch",
                ));
            } else if self.derived.fans_out()
                && may_fan_out(message.topic)
                && has(message, name::INNER_MULTI_DISPATCH)
            {
                self.require_light_queues_within_quota(&config, message)?;
                self.put_to_many_queues(message)?
            } else {
                self.put_simple(message)?
            };
            self.wake_followers(&config, &placed);
            let appended = Appended {
                physical_offset: placed.physical_offset,
                size_bytes,
                queue_offset: placed.queue_offset,
                store_timestamp_ms: placed.store_timestamp_ms,
                end: placed.end,
            };
            Ok((appended, u64::from(size_bytes)))
        })
    }

    /// Appends many messages of one queue, one after another in one file.
    ///
    /// `shared` gives everything but flag, properties and body.
    pub fn put_batch(
        &self,
        shared: &Message<'_>,
        inner: &[BatchItem<'_>],
    ) -> Result<AppendedBatch, PutError> {
        self.counted(inner.len() as u64, |begin_ms| {
            let config = self.options.config.get();
            self.require_writable(&config, begin_ms)?;
            self.require_batch_fits(&config, shared, inner)?;
            with_scratch(|records| {
                for item in inner {
                    encode(&batch_message(shared, item), self.style, &mut records.bytes);
                    records.ends.push(records.bytes.len());
                }
                let counter = self.counter(shared.topic, shared.queue_id);
                let placed = self.append_numbered(records, shared, counter)?;
                self.wake_followers(&config, &placed);
                let first = placed.physical_offset.0;
                let starts = std::iter::once(0).chain(records.ends.iter().copied());
                let size_bytes = size_u32(&records.bytes);
                let appended = AppendedBatch {
                    physical_offsets: starts
                        .take(inner.len())
                        .map(|start| PhysicalOffset(first + start as u64))
                        .collect(),
                    size_bytes,
                    queue_offset: placed.queue_offset,
                    store_timestamp_ms: placed.store_timestamp_ms,
                    end: placed.end,
                };
                Ok((appended, u64::from(size_bytes)))
            })
        })
    }

    fn put_simple(&self, message: &Message<'_>) -> Result<(Placed, u32), PutError> {
        with_scratch(|records| {
            encode(message, self.style, &mut records.bytes);
            records.ends.push(records.bytes.len());
            let placed = if is_queued(message.sys_flag) {
                let counter = self.counter(message.topic, message.queue_id);
                self.append_numbered(records, message, counter)?
            } else {
                self.append(records, Numbering::default())?
                    .ok_or(PutError::Contended)?
            };
            Ok((placed, size_u32(&records.bytes)))
        })
    }

    fn append_numbered(
        &self,
        records: &mut EncodedRecords,
        message: &Message<'_>,
        mut counter: Arc<QueueCounter>,
    ) -> Result<Placed, PutError> {
        for _ in 0..MOST_TRIES {
            let numbering = Numbering {
                counter: Some(&counter),
                messages_per_record: 1,
                ..Numbering::default()
            };
            if let Some(placed) = self.append(records, numbering)? {
                return Ok(placed);
            }
            // The topic was deleted meanwhile.
            counter = self.counter(message.topic, message.queue_id);
        }
        Err(PutError::Contended)
    }

    /// One record that takes as many queue offsets as it holds messages; the first of them stands in its properties.
    fn put_inner_batch(&self, message: &Message<'_>) -> Result<(Placed, u32), PutError> {
        if self.derived.kind_of(message.topic) != QueueKind::Batch
            && self.derived.queues.kind_of(message.topic).is_some()
        {
            return Err(PutError::IllegalBatch(
                "an inner batch needs a topic whose queue.type is BatchCQ",
            ));
        }
        let mut properties = MessageProperties::parse(message.properties);
        let count = properties
            .number::<u16>(name::INNER_NUM)
            .filter(|count| (1..=i16::MAX.unsigned_abs()).contains(count))
            .ok_or(PutError::IllegalBatch(
                "an inner batch needs INNER_NUM from 1 to 32767",
            ))?;
        for _ in 0..MOST_TRIES {
            let counter = self.counter(message.topic, message.queue_id);
            // Taken before the lock, checked under it: encoding is too long for the lock.
            let expected = counter.next();
            properties.set(name::INNER_BASE, expected.to_string());
            let numbering = Numbering {
                counter: Some(&counter),
                messages_per_record: u64::from(count),
                expected: Some(expected),
                further: &[],
            };
            if let Some(done) = self.put_encoded(message, &properties, numbering)? {
                return Ok(done);
            }
        }
        Err(PutError::Contended)
    }

    /// Reference: `HookUtils.handleLmqQuota`.
    fn require_light_queues_within_quota(
        &self,
        config: &MessageStoreConfig,
        message: &Message<'_>,
    ) -> Result<(), PutError> {
        if !config.enable_lmq_quota {
            return Ok(());
        }
        let names = properties::get(message.properties, name::INNER_MULTI_DISPATCH).unwrap_or("");
        let is_new =
            |topic: &str| topic.starts_with(LMQ_PREFIX) && self.derived.queues.find(topic, 0).is_none();
        if !names.split(',').any(is_new) {
            return Ok(());
        }
        let count = self.light_queue_count();
        let limit = usize::try_from(config.max_lmq_consume_queue_num).unwrap_or(0);
        if count < limit {
            return Ok(());
        }
        Err(PutError::TooManyLightQueues { count, limit })
    }

    /// Light message queues: the record also takes an offset in each queue that INNER_MULTI_DISPATCH names.
    fn put_to_many_queues(&self, message: &Message<'_>) -> Result<(Placed, u32), PutError> {
        let mut properties = MessageProperties::parse(message.properties);
        let names = properties
            .get(name::INNER_MULTI_DISPATCH)
            .unwrap_or("")
            .to_owned();
        for _ in 0..MOST_TRIES {
            let counter = self.counter(message.topic, message.queue_id);
            let further: Vec<_> = names
                .split(',')
                .map(|topic| {
                    let queue_id = if topic.starts_with(LMQ_PREFIX) {
                        0
                    } else {
                        message.queue_id
                    };
                    let counter = self.counter(topic, queue_id);
                    let expected = counter.next();
                    (counter, expected)
                })
                .collect();
            let offsets: Vec<String> = further.iter().map(|(_, offset)| offset.to_string()).collect();
            properties.set(name::INNER_MULTI_QUEUE_OFFSET, offsets.join(","));
            let numbering = Numbering {
                counter: is_queued(message.sys_flag).then_some(&*counter),
                messages_per_record: 1,
                expected: None,
                further: &further,
            };
            if let Some(done) = self.put_encoded(message, &properties, numbering)? {
                return Ok(done);
            }
        }
        Err(PutError::Contended)
    }

    fn put_encoded(
        &self,
        message: &Message<'_>,
        properties: &MessageProperties,
        numbering: Numbering<'_>,
    ) -> Result<Option<(Placed, u32)>, PutError> {
        let properties = properties.encode();
        let message = Message {
            properties: &properties,
            ..*message
        };
        self.require_fits(&self.options.config.get(), &message)?;
        with_scratch(|records| {
            encode(&message, self.style, &mut records.bytes);
            records.ends.push(records.bytes.len());
            let placed = self.append(records, numbering)?;
            Ok(placed.map(|placed| (placed, size_u32(&records.bytes))))
        })
    }

    /// Appends, making room as often as it takes; `None` when the numbering does not hold any more.
    fn append(
        &self,
        records: &mut EncodedRecords,
        numbering: Numbering<'_>,
    ) -> Result<Option<Placed>, PutError> {
        for _ in 0..MOST_TRIES {
            match self
                .log
                .append(&*self.options.clock, records, numbering, self.style)
            {
                Ok(placed) => return Ok(Some(placed)),
                Err(Blocked::Renumber) => return Ok(None),
                Err(Blocked::Failed) => {
                    let failure = self.log.failure().unwrap_or("").to_owned();
                    return Err(WriteRefusal::LogFailed(failure).into());
                }
                // Others may take the room that was made.
                Err(Blocked::NoRoom) => {
                    self.allocator
                        .make_room(&self.log, records.bytes.len())
                        .map_err(|error| {
                            let paths = self.options.config.get().commit_log_paths();
                            let path = paths
                                .first()
                                .map_or_else(String::new, |path| path.display().to_string());
                            WriteRefusal::NoSpace(format!("{path}: {error}"))
                        })?
                }
            }
        }
        Err(PutError::Contended)
    }

    /// The counter of a queue; of one that has none yet, it begins at the queue's end.
    pub(crate) fn counter(&self, topic: &str, queue_id: i32) -> Arc<QueueCounter> {
        self.offsets.counter(topic, queue_id, || {
            let queue = self.derived.queues.find(topic, queue_id);
            queue.map_or(0, |queue| {
                // The topic was deleted, its queue is still about to go.
                let is_deleted = self
                    .derived
                    .deleted
                    .covers(topic, queue.max_physical().saturating_sub(1));
                if is_deleted { 0 } else { queue.max_offset() }
            })
        })
    }

    fn wake_followers(&self, config: &MessageStoreConfig, placed: &Placed) {
        if config.is_sync_flush() || config.wake_flush_when_put_message {
            self.wakers.flush.wake();
        }
        if !config.is_sync_flush() || config.read_uncommitted {
            self.wakers.dispatch.wake();
        }
        if placed.is_low_on_room {
            self.wakers.allocate.wake();
        }
    }

    fn require_writable(&self, config: &MessageStoreConfig, now_ms: i64) -> Result<(), PutError> {
        if self.refuses() {
            self.writable()?;
        }
        if config.broker_role == BrokerRole::Slave {
            return Err(WriteRefusal::Slave.into());
        }
        let held_ms = self.log.locked_for_ms(now_ms);
        // A clock that was set makes nonsense of the time: ten million ms are no wait.
        if held_ms > config.os_page_cache_busy_time_out_mills && held_ms < 10_000_000 {
            return Err(PutError::PageCacheBusy { held_ms });
        }
        Ok(())
    }

    fn require_fits(&self, config: &MessageStoreConfig, message: &Message<'_>) -> Result<(), PutError> {
        self.require_topic(message.topic)?;
        at_most(
            message.body.len(),
            config.max_message_size,
            |size_bytes, limit_bytes| PutError::BodyTooLarge {
                size_bytes,
                limit_bytes,
            },
        )?;
        let properties_bytes = self.style.properties_bytes(message.properties);
        at_most(
            properties_bytes,
            MAX_PROPERTIES_BYTES,
            |size_bytes, limit_bytes| PutError::PropertiesTooLarge {
                size_bytes,
                limit_bytes,
            },
        )?;
        self.require_records_fit(config, self.style.record_bytes(message))
    }

    fn require_batch_fits(
        &self,
        config: &MessageStoreConfig,
        shared: &Message<'_>,
        inner: &[BatchItem<'_>],
    ) -> Result<(), PutError> {
        if inner.is_empty() {
            return Err(PutError::EmptyBatch);
        }
        if !is_queued(shared.sys_flag) {
            return Err(PutError::IllegalBatch("a batch takes no part in transactions"));
        }
        let mut record_bytes = 0;
        let mut body_bytes = 0;
        for item in inner {
            let message = batch_message(shared, item);
            self.require_fits(config, &message)?;
            record_bytes += self.style.record_bytes(&message);
            body_bytes += item.body.len();
        }
        at_most(body_bytes, config.max_message_size, |size_bytes, limit_bytes| {
            PutError::BodyTooLarge {
                size_bytes,
                limit_bytes,
            }
        })?;
        // Many small messages have more header than body: a batch is bounded by its file alone.
        let limit_bytes = self.log.file_queue().file_size() - BLANK_BYTES;
        at_most(record_bytes, limit_bytes, |size_bytes, limit_bytes| {
            PutError::RecordTooLarge {
                size_bytes,
                limit_bytes,
            }
        })
    }

    fn require_topic(&self, topic: &str) -> Result<(), PutError> {
        if !is_file_name(topic) {
            return Err(PutError::IllegalTopic);
        }
        let is_long_allowed = topic.starts_with(RETRY_TOPIC_PREFIX) && self.style.version_by_topic_length;
        let limit_bytes = if is_long_allowed { 255 } else { 127 };
        at_most(topic.len(), limit_bytes, |size_bytes, limit_bytes| {
            PutError::TopicTooLong {
                size_bytes,
                limit_bytes,
            }
        })
    }

    fn require_records_fit(&self, config: &MessageStoreConfig, record_bytes: usize) -> Result<(), PutError> {
        let by_file = self.log.file_queue().file_size() - BLANK_BYTES;
        let by_config = config.max_message_size.saturating_add(64 * 1024);
        at_most(record_bytes, by_file.min(by_config), |size_bytes, limit_bytes| {
            PutError::RecordTooLarge {
                size_bytes,
                limit_bytes,
            }
        })
    }

    /// Runs a put and counts how it went. The put gives its result and the bytes it stored.
    fn counted<T>(
        &self,
        messages: u64,
        put: impl FnOnce(i64) -> Result<(T, u64), PutError>,
    ) -> Result<T, PutError> {
        let begin_ms = self.options.clock.wall_ms();
        match put(begin_ms) {
            Ok((appended, bytes)) => {
                let latency_ms = self.options.clock.wall_ms() - begin_ms;
                self.stats.count_put(messages, bytes, latency_ms);
                Ok(appended)
            }
            Err(error) => {
                self.stats.put_failed_count.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// Most times that an append makes room, or is numbered again, before it gives up.
const MOST_TRIES: usize = 1000;

/// Scratch buffers larger than this are not kept.
const KEPT_SCRATCH_BYTES: usize = 1024 * 1024;

thread_local! {
    static SCRATCH: RefCell<EncodedRecords> = RefCell::default();
}

/// Lends the thread's scratch buffer, empty.
fn with_scratch<T>(use_it: impl FnOnce(&mut EncodedRecords) -> T) -> T {
    SCRATCH.with_borrow_mut(|records| {
        records.bytes.clear();
        records.ends.clear();
        let result = use_it(records);
        if records.bytes.capacity() > KEPT_SCRATCH_BYTES {
            *records = EncodedRecords::default();
        }
        result
    })
}

fn is_queued(sys_flag: i32) -> bool {
    let transaction_type = sys_flag::transaction_type(sys_flag);
    matches!(
        transaction_type,
        sys_flag::TRANSACTION_NONE | sys_flag::TRANSACTION_COMMIT
    )
}

fn has(message: &Message<'_>, property: &str) -> bool {
    properties::get(message.properties, property).is_some()
}

fn at_most(
    size_bytes: usize,
    limit_bytes: usize,
    error: impl FnOnce(usize, usize) -> PutError,
) -> Result<(), PutError> {
    if size_bytes > limit_bytes {
        Err(error(size_bytes, limit_bytes))
    } else {
        Ok(())
    }
}

fn size_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("records fit a file, files are below 2 GiB")
}
