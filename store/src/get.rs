//! Reading messages of a queue, by queue offset or by time.

use std::io;
use std::sync::Arc;

use common::planted_bug::{PlantedBug, is_planted};

use crate::config::{BrokerRole, MessageStoreConfig};
use crate::consume_queue::{ConsumeQueue, QueueKind, is_filler};
use crate::mapped_file_queue::Files;
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::record::decode::{decode, store_timestamp};
use crate::record::format::{MAGIC_AT, MAGIC_V1, MAGIC_V2, PHYSICAL_OFFSET_AT, u32_at, u64_at};
use crate::store::Store;

/// What a consumer asks for.
#[derive(Clone, Copy)]
pub struct GetRequest<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The first queue offset wanted.
    pub offset: i64,
    /// Most messages.
    pub max_messages: usize,
    /// Most bytes; at least 100 are allowed whatever is asked.
    pub max_bytes: Option<usize>,
    /// Which messages.
    pub filter: &'a dyn MessageFilter,
}

/// Which messages of a queue a consumer wants.
pub trait MessageFilter {
    /// Looks at the ConsumeQueue entry alone: may say yes too often, never no too often.
    fn by_tags_code(&self, tags_code: i64) -> bool;

    /// Looks at the record.
    fn by_record(&self, record: &[u8]) -> bool {
        let _ = record;
        true
    }
}

/// The filter that wants everything.
#[derive(Clone, Copy, Debug)]
pub struct AllMessages;

impl MessageFilter for AllMessages {
    fn by_tags_code(&self, _tags_code: i64) -> bool {
        true
    }
}

/// How a get ended. Reference: `GetMessageStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetStatus {
    /// There are messages.
    Found,
    /// Entries were looked at, none passed the filter.
    NoMatchedMessage,
    /// Entries were looked at, their records are gone.
    MessageWasRemoving,
    /// There is no ConsumeQueue file at that offset.
    OffsetFoundNull,
    /// The offset is beyond the queue's end.
    OffsetOverflowBadly,
    /// The offset is the queue's end.
    OffsetOverflowOne,
    /// The offset is below the queue's minimum.
    OffsetTooSmall,
    /// The store has no such queue.
    NoMatchedLogicQueue,
    /// The queue never had a message.
    NoMessageInQueue,
    /// The disk failed before anything was looked at. Ours alone.
    ReadFailed,
}

impl GetStatus {
    /// The name the reference gives in remarks.
    pub fn name(self) -> &'static str {
        match self {
            GetStatus::Found => "FOUND",
            GetStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            GetStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            GetStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            GetStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            GetStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            GetStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            GetStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            GetStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            GetStatus::ReadFailed => "READ_FAILED",
        }
    }
}

/// What a get found. The records themselves are in the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetOutcome {
    /// How it ended.
    pub status: GetStatus,
    /// Where the consumer should ask next.
    pub next_begin_offset: i64,
    /// The queue's first offset; -1 without the queue.
    pub min_offset: i64,
    /// The queue's end.
    pub max_offset: i64,
    /// Messages found; an inner batch counts as many as it holds.
    pub message_count: u32,
    /// Bytes appended to the caller's buffer.
    pub size_bytes: usize,
    /// The consumer is so far behind that a slave should serve it.
    pub suggest_slave: bool,
    /// The last record looked at.
    pub last_physical_offset: Option<PhysicalOffset>,
}

/// The visible range of a queue: offsets in `min..max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// The first message still there.
    pub min: QueueOffset,
    /// One past the last dispatched message.
    pub max: QueueOffset,
}

/// Which of several messages with the wanted time is meant, and which neighbour without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first at or after the time.
    Lower,
    /// The last at or before the time.
    Upper,
}

/// One entry of a ConsumeQueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// The message's number in the queue.
    pub queue_offset: QueueOffset,
    /// Where its record begins.
    pub physical_offset: PhysicalOffset,
    /// Length of its record.
    pub size_bytes: u32,
    /// Hash of its tag, or its delivery time in the schedule topic.
    pub tags_code: i64,
    /// Messages in the record: 1, or more for an inner batch.
    pub message_count: u16,
}

/// Bytes of one get, whatever is asked.
const MAX_GET_BYTES: usize = 128 * 1024 * 1024;
/// Bytes that every get may have.
const MIN_GET_BYTES: usize = 100;

impl Store {
    /// Reads messages of one queue; their records are appended to `out`, back to back.
    ///
    /// Reference: `DefaultMessageStore.getMessage`.
    pub fn get(&self, request: &GetRequest<'_>, out: &mut Vec<u8>) -> GetOutcome {
        let begin_ms = self.options.clock.wall_ms();
        let outcome = self.find_queue_and_get(request, out);
        let latency_ms = self.options.clock.wall_ms() - begin_ms;
        self.stats.count_get(outcome.message_count, latency_ms);
        outcome
    }

    fn find_queue_and_get(&self, request: &GetRequest<'_>, out: &mut Vec<u8>) -> GetOutcome {
        let config = self.options.config.get();
        let Some(queue) = self.visible_queue(request.topic, request.queue_id) else {
            // The reference makes the queue when it is asked for.
            return self.outside(&config, request, GetStatus::NoMessageInQueue, 0, (0, 0));
        };
        let (min, max) = (to_wire(queue.min_offset()), to_wire(queue.max_offset()));
        let outside = |status, next| self.outside(&config, request, status, next, (min, max));
        match request.offset {
            _ if max == 0 => outside(GetStatus::NoMessageInQueue, 0),
            offset if offset < min => outside(GetStatus::OffsetTooSmall, min),
            offset if offset == max => outside(GetStatus::OffsetOverflowOne, offset),
            offset if offset > max => outside(GetStatus::OffsetOverflowBadly, max),
            _ => Reading::new(self, &config, request, queue, out).run(min, max),
        }
    }

    /// The answer to an offset that is not in the queue. A slave does not correct its master's offsets.
    fn outside(
        &self,
        config: &MessageStoreConfig,
        request: &GetRequest<'_>,
        status: GetStatus,
        next: i64,
        (min_offset, max_offset): (i64, i64),
    ) -> GetOutcome {
        GetOutcome {
            status,
            next_begin_offset: corrected(config, request.offset, next),
            min_offset,
            max_offset,
            message_count: 0,
            size_bytes: 0,
            suggest_slave: false,
            last_physical_offset: None,
        }
    }

    /// The queue for those who read it: it begins where the log does. Retention sees to that for all queues, later, and so is done with
    /// it before anybody asks; after a start, which opens no queue, the first who asks may come earlier.
    pub(crate) fn visible_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let queue = self.derived.queues.find(topic, queue_id)?;
        let log_min = self.log.min_offset();
        if let Err(error) = queue.correct_min(self.derived.queues.context(), log_min) {
            tracing::error!(
                topic,
                queue_id,
                "looking for the queue's first message failed: {error}"
            );
        }
        Some(queue)
    }

    /// The visible bounds of a queue; `None` when the store has no such queue.
    pub fn queue_bounds(&self, topic: &str, queue_id: i32) -> Option<QueueBounds> {
        let queue = self.visible_queue(topic, queue_id)?;
        Some(QueueBounds {
            min: QueueOffset(queue.min_offset()),
            max: QueueOffset(queue.max_offset()),
        })
    }

    /// The queue's end; 0 without the queue.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        let queue = self.derived.queues.find(topic, queue_id);
        queue.map_or(0, |queue| to_wire(queue.max_offset()))
    }

    /// The queue's first offset; -1 without the queue.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.queue_bounds(topic, queue_id)
            .map_or(-1, |bounds| bounds.min.to_wire())
    }

    /// The offset of the message stored at that time, or of a neighbour: for [`Boundary::Lower`] the first stored then or
    /// later (the queue's end without one), for [`Boundary::Upper`] the last stored then or earlier (0 without one).
    /// Always inside the queue's bounds. Reference: `ConsumeQueue.binarySearchInQueueByTime`.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp_ms: i64, boundary: Boundary) -> i64 {
        let Some(queue) = self.visible_queue(topic, queue_id) else {
            return 0;
        };
        let found = self.search_by_time(&queue, timestamp_ms, boundary);
        let offset = found.unwrap_or_else(|error| {
            tracing::error!(topic, queue_id, "search by time failed: {error}");
            0
        });
        to_wire(offset.clamp(queue.min_offset(), queue.max_offset().max(queue.min_offset())))
    }

    fn search_by_time(
        &self,
        queue: &Arc<ConsumeQueue>,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> io::Result<u64> {
        let context = self.derived.queues.context();
        let files = self.log.files();
        let time_of = |entry: &QueueEntry| record_time(&files, entry.physical_offset.0).unwrap_or(i64::MIN);
        let before = queue.partition_point(context, |entry| match boundary {
            Boundary::Lower => time_of(entry) < timestamp_ms,
            Boundary::Upper => time_of(entry) <= timestamp_ms,
        })?;
        let unit = queue.kind().entry_bytes() as u64;
        let position = match boundary {
            // Of a batch queue, the reference gives the last entry when all are earlier.
            Boundary::Lower if before == queue.end() && queue.kind() == QueueKind::Simple => {
                return Ok(queue.max_offset());
            }
            Boundary::Lower => before.min(queue.end().saturating_sub(unit)),
            Boundary::Upper if before <= queue.begin() => return Ok(0),
            Boundary::Upper => before - unit,
        };
        Ok(queue
            .entry_at(context, position)?
            .map_or(0, |entry| entry.queue_offset.0))
    }

    /// When a message was stored, in ms.
    pub fn store_time(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<i64> {
        let entry = *self.queue_entries(topic, queue_id, offset, 1).first()?;
        record_time(&self.log.files(), entry.physical_offset.0)
    }

    /// When the oldest message of a queue was stored.
    pub fn earliest_store_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let bounds = self.queue_bounds(topic, queue_id)?;
        self.store_time(topic, queue_id, bounds.min)
    }

    /// When the oldest message of the log was stored.
    pub fn earliest_time(&self) -> Option<i64> {
        record_time(&self.log.files(), self.log.min_offset())
    }

    /// The whole record at a physical offset, if one begins there.
    pub fn read_at(&self, offset: PhysicalOffset) -> Option<Vec<u8>> {
        let files = self.log.files();
        record_bytes(&files, offset.0).map(<[u8]>::to_vec)
    }

    /// Entries of a queue from an offset on, at most `max`. Messages that were lost to damage are left out.
    pub fn queue_entries(
        &self,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        max: usize,
    ) -> Vec<QueueEntry> {
        let mut entries = Vec::new();
        if let Some(queue) = self.visible_queue(topic, queue_id)
            && let Err(error) = self.collect_entries(&queue, from.0, max, &mut entries)
        {
            tracing::error!(topic, queue_id, "reading queue entries failed: {error}");
        }
        entries
    }

    fn collect_entries(
        &self,
        queue: &Arc<ConsumeQueue>,
        from: u64,
        max: usize,
        entries: &mut Vec<QueueEntry>,
    ) -> io::Result<()> {
        let context = self.derived.queues.context();
        let (end, max_offset) = (queue.end(), queue.max_offset());
        let mut position = queue.position_of(context, from)?.max(queue.begin());
        while entries.len() < max
            && let Some((at, entry)) = queue.next_real_entry(context, position, end)?
            && entry.queue_offset.0 < max_offset
        {
            if entry.queue_offset.0 + u64::from(entry.message_count) > from {
                entries.push(entry);
            }
            position = at + queue.kind().entry_bytes() as u64;
        }
        Ok(())
    }

    /// Whether there is a message at this offset, near enough to the log's end to be in memory still.
    ///
    /// Reference: `DefaultMessageStore.checkInMemByConsumeOffset`.
    pub fn is_in_memory(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> bool {
        let entries = self.queue_entries(topic, queue_id, offset, 1);
        let behind_bytes = |entry: &QueueEntry| self.log.end().saturating_sub(entry.physical_offset.0);
        entries.first().is_some_and(|entry| {
            entry.queue_offset <= offset
                && behind_bytes(entry) <= self.in_memory_bytes(&self.options.config.get())
        })
    }

    /// How far behind the log's end messages count as in memory.
    pub(crate) fn in_memory_bytes(&self, config: &MessageStoreConfig) -> u64 {
        self.memory_bytes() / 100 * config.access_message_in_memory_max_ratio
    }

    /// The queue ids of a topic that hold messages, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        self.derived.queues.queues_of(topic)
    }

    /// The topics that have a queue and are called so, unsorted.
    pub fn topics_where(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.derived.queues.topics_where(is_wanted)
    }

    /// How many light message queues there are.
    pub fn light_queue_count(&self) -> usize {
        self.derived
            .queues
            .count_topics_where(|topic| topic.starts_with(common::names::LMQ_PREFIX))
    }

    /// The topics that have a queue, sorted.
    pub fn topics(&self) -> Vec<String> {
        let mut topics = self.derived.queues.topics();
        topics.sort_unstable();
        topics
    }
}

/// Whether the bytes are a whole record, written for this place.
fn is_record_at(bytes: &[u8], physical_offset: u64) -> bool {
    u32_at(bytes, 0).map(|size| size as usize) == Some(bytes.len())
        && matches!(u32_at(bytes, MAGIC_AT), Some(MAGIC_V1 | MAGIC_V2))
        && u64_at(bytes, PHYSICAL_OFFSET_AT) == Some(physical_offset)
}

/// One get in progress.
struct Reading<'a> {
    store: &'a Store,
    config: &'a MessageStoreConfig,
    request: &'a GetRequest<'a>,
    queue: Arc<ConsumeQueue>,
    out: &'a mut Vec<u8>,
    max_bytes: usize,
    log_end: u64,
    /// What is nearer to the log's end counts as in memory.
    memory_bytes: u64,
    status: GetStatus,
    next: u64,
    message_count: u32,
    size_bytes: usize,
    last_physical: u64,
    /// A record was gone: so are those before the next file of the log.
    removed_below: u64,
}

/// Whether to look at the next entry.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

impl<'a> Reading<'a> {
    fn new(
        store: &'a Store,
        config: &'a MessageStoreConfig,
        request: &'a GetRequest<'a>,
        queue: Arc<ConsumeQueue>,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let max_bytes = request.max_bytes.unwrap_or(MAX_GET_BYTES);
        Self {
            store,
            config,
            request,
            queue,
            out,
            max_bytes: max_bytes.clamp(MIN_GET_BYTES, MAX_GET_BYTES),
            log_end: store.log.end(),
            memory_bytes: store.in_memory_bytes(config),
            status: GetStatus::NoMatchedMessage,
            next: request.offset.unsigned_abs(),
            message_count: 0,
            size_bytes: 0,
            last_physical: 0,
            removed_below: 0,
        }
    }

    fn run(mut self, min_offset: i64, max_offset: i64) -> GetOutcome {
        let max = max_offset.unsigned_abs();
        let mut files_left = self.config.travel_cq_file_num_when_get_message;
        while self.size_bytes == 0 && self.next < max && files_left > 0 {
            files_left -= 1;
            match self.read_one_file(max) {
                Ok(true) => {}
                Ok(false) => {
                    self.status = GetStatus::OffsetFoundNull;
                    self.next =
                        corrected(self.config, to_wire(self.next), to_wire(self.next_file())).unsigned_abs();
                    break;
                }
                Err(error) => {
                    let (topic, queue_id) = (self.request.topic, self.request.queue_id);
                    tracing::error!(
                        topic,
                        queue_id,
                        offset = self.next,
                        "reading a queue failed: {error}"
                    );
                    if to_wire(self.next) == self.request.offset {
                        self.settle_for(GetStatus::ReadFailed);
                    }
                    break;
                }
            }
        }
        GetOutcome {
            status: self.status,
            next_begin_offset: to_wire(self.next),
            min_offset,
            max_offset,
            message_count: self.message_count,
            size_bytes: self.size_bytes,
            suggest_slave: self.log_end - self.last_physical.min(self.log_end) > self.memory_bytes,
            last_physical_offset: (self.last_physical > 0 || self.message_count > 0)
                .then_some(PhysicalOffset(self.last_physical)),
        }
    }

    /// `Ok(false)` when the queue has no file there.
    fn read_one_file(&mut self, max: u64) -> io::Result<bool> {
        let context = self.store.derived.queues.context();
        let position = self.queue.position_of(context, self.next)?;
        let Some(run) = self.queue.run_from(context, position)? else {
            return Ok(false);
        };
        let files = self.store.log.files();
        let (before, mut go) = (self.next, Go::On);
        for entry in run {
            if self.next >= max || go == Go::Stop {
                break;
            }
            go = self.look_at(&files, &entry);
        }
        if self.next == before && go == Go::On {
            // The place holds no entry though others follow: damage, to be passed like a filler.
            self.settle_for(GetStatus::MessageWasRemoving);
            self.next = before + 1;
        }
        Ok(true)
    }

    fn look_at(&mut self, files: &Files, entry: &QueueEntry) -> Go {
        if self.is_scan_over(entry) {
            self.next += u64::from(is_planted(PlantedBug::SkipAtFilterStop));
            return Go::Stop;
        }
        if self.is_full(entry) {
            return Go::Stop;
        }
        let physical = entry.physical_offset.0;
        self.next = entry.queue_offset.0 + u64::from(entry.message_count);
        if is_filler(entry) {
            self.settle_for(GetStatus::MessageWasRemoving);
            return Go::On;
        }
        self.last_physical = physical;
        if physical < self.removed_below {
            return Go::On;
        }
        if !self.request.filter.by_tags_code(entry.tags_code) {
            self.settle_for(GetStatus::NoMatchedMessage);
            return Go::On;
        }
        let Some(record) = files.bytes(physical, entry.size_bytes as usize) else {
            self.settle_for(GetStatus::MessageWasRemoving);
            self.removed_below = self.store.log.next_file_start(physical);
            return Go::On;
        };
        if !is_record_at(record, physical) {
            // A damaged entry must not turn other bytes into a message.
            self.settle_for(GetStatus::MessageWasRemoving);
            return Go::On;
        }
        if !self.request.filter.by_record(record) {
            self.settle_for(GetStatus::NoMatchedMessage);
            return Go::On;
        }
        self.out.extend_from_slice(record);
        self.size_bytes += record.len();
        self.message_count += u32::from(entry.message_count);
        self.status = GetStatus::Found;
        self.removed_below = 0;
        Go::On
    }

    /// What is said if nothing is found.
    fn settle_for(&mut self, status: GetStatus) {
        if self.size_bytes == 0 {
            self.status = status;
        }
    }

    /// A filter that lets nothing pass must not read the whole queue.
    fn is_scan_over(&self, entry: &QueueEntry) -> bool {
        let unit = self.queue.kind().entry_bytes();
        let limit = self
            .config
            .max_filter_message_size
            .max(self.request.max_messages.saturating_mul(unit));
        let scanned = entry
            .queue_offset
            .0
            .saturating_sub(self.request.offset.unsigned_abs());
        scanned.saturating_mul(unit as u64) >= limit as u64
    }

    /// Reference: `DefaultMessageStore.isTheBatchFull`. The first message is taken whatever its size.
    fn is_full(&self, entry: &QueueEntry) -> bool {
        if self.size_bytes == 0 {
            return false;
        }
        let count = self.message_count as usize;
        let size_bytes = self.size_bytes + entry.size_bytes as usize;
        let is_in_memory = self.log_end.saturating_sub(entry.physical_offset.0) <= self.memory_bytes;
        let (limit_bytes, limit_count) = if is_in_memory {
            (
                self.config.max_transfer_bytes_on_message_in_memory,
                self.config.max_transfer_count_on_message_in_memory,
            )
        } else {
            (
                self.config.max_transfer_bytes_on_message_in_disk,
                self.config.max_transfer_count_on_message_in_disk,
            )
        };
        count + usize::from(entry.message_count) > self.request.max_messages
            || size_bytes > self.max_bytes
            || size_bytes > limit_bytes
            || count >= limit_count
    }

    /// Where the queue's next file begins. Reference: `rollNextFile`.
    fn next_file(&self) -> u64 {
        let kind = self.queue.kind();
        let entries = self.store.derived.queues.context().file_size(kind) / kind.entry_bytes() as u64;
        match kind {
            QueueKind::Simple => self.next - self.next % entries + entries,
            QueueKind::Batch => 0,
        }
    }
}

/// The record at a physical offset, if a whole one begins there: its bytes might be those of a message's body.
pub(crate) fn record_bytes(files: &Files, offset: u64) -> Option<&[u8]> {
    let bytes = files.bytes_from(offset)?;
    let record = decode(bytes).ok()?;
    (record.physical_offset.0 == offset).then(|| &bytes[..record.size_bytes as usize])
}

/// The store time of the record at a physical offset.
pub(crate) fn record_time(files: &Files, offset: u64) -> Option<i64> {
    let bytes = files.bytes_from(offset)?;
    store_timestamp(bytes)
}

fn corrected(config: &MessageStoreConfig, requested: i64, next: i64) -> i64 {
    let is_corrected = config.broker_role != BrokerRole::Slave || config.offset_check_in_slave;
    if is_corrected { next } else { requested }
}

fn to_wire(offset: u64) -> i64 {
    QueueOffset(offset).to_wire()
}
