//! Reading messages of a queue, by queue offset or by time.

use crate::offset::{PhysicalOffset, QueueOffset};
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

impl Store {
    /// Reads messages of one queue; their records are appended to `out`, back to back.
    pub fn get(&self, request: &GetRequest<'_>, out: &mut Vec<u8>) -> GetOutcome {
        let _ = out;
        GetOutcome {
            status: GetStatus::NoMatchedLogicQueue,
            next_begin_offset: request.offset.min(0),
            min_offset: -1,
            max_offset: 0,
            message_count: 0,
            size_bytes: 0,
            suggest_slave: false,
            last_physical_offset: None,
        }
    }

    /// The visible bounds of a queue; `None` when the store has no such queue.
    pub fn queue_bounds(&self, topic: &str, queue_id: i32) -> Option<QueueBounds> {
        let _ = (topic, queue_id);
        None
    }

    /// The queue's end; 0 without the queue.
    pub fn max_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.queue_bounds(topic, queue_id)
            .map_or(0, |bounds| bounds.max.to_wire())
    }

    /// The queue's first offset; -1 without the queue.
    pub fn min_offset(&self, topic: &str, queue_id: i32) -> i64 {
        self.queue_bounds(topic, queue_id)
            .map_or(-1, |bounds| bounds.min.to_wire())
    }

    /// The offset of the message stored at that time, or of a neighbour.
    pub fn offset_by_time(&self, topic: &str, queue_id: i32, timestamp_ms: i64, boundary: Boundary) -> i64 {
        let _ = (topic, queue_id, timestamp_ms, boundary);
        0
    }

    /// When a message was stored, in ms.
    pub fn store_time(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<i64> {
        let _ = (topic, queue_id, offset);
        None
    }

    /// When the oldest message of a queue was stored.
    pub fn earliest_store_time(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let bounds = self.queue_bounds(topic, queue_id)?;
        self.store_time(topic, queue_id, bounds.min)
    }

    /// When the oldest message of the log was stored.
    pub fn earliest_time(&self) -> Option<i64> {
        None
    }

    /// The whole record at a physical offset, if one begins there.
    pub fn read_at(&self, offset: PhysicalOffset) -> Option<Vec<u8>> {
        let _ = offset;
        None
    }

    /// Entries of a queue from an offset on, at most `max`.
    pub fn queue_entries(
        &self,
        topic: &str,
        queue_id: i32,
        from: QueueOffset,
        max: usize,
    ) -> Vec<QueueEntry> {
        let _ = (topic, queue_id, from, max);
        Vec::new()
    }

    /// The queue ids of a topic that hold messages, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        let _ = topic;
        Vec::new()
    }

    /// The topics that have a queue, sorted.
    pub fn topics(&self) -> Vec<String> {
        Vec::new()
    }
}
