//! Offsets of queues and of consumers.

use std::borrow::Cow;

use crate::fields::{FieldBuffer, FieldValue};
use crate::header;

header! {
    /// QUERY_CONSUMER_OFFSET: the committed offset.
    ///
    /// Reference: QueryConsumerOffsetRequestHeader
    pub struct QueryConsumerOffsetRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound";
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to QUERY_CONSUMER_OFFSET.
    ///
    /// Reference: QueryConsumerOffsetResponseHeader
    pub struct QueryConsumerOffsetResponseHeader {
        offset: i64 = "offset";
    }
}

header! {
    /// UPDATE_CONSUMER_OFFSET: commits an offset.
    ///
    /// Reference: UpdateConsumerOffsetRequestHeader
    pub struct UpdateConsumerOffsetRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        commit_offset: i64 = "commitOffset";
        logical: Option<bool> = "lo";
    }
}

header! {
    /// GET_MAX_OFFSET: the offset the next message will get.
    ///
    /// Reference: GetMaxOffsetRequestHeader
    pub struct GetMaxOffsetRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        /// Whether only replicated messages count.
        committed: bool = "committed", default true;
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to GET_MAX_OFFSET.
    ///
    /// Reference: GetMaxOffsetResponseHeader
    pub struct GetMaxOffsetResponseHeader {
        offset: i64 = "offset";
    }
}

header! {
    /// GET_MIN_OFFSET: the offset of the oldest message.
    ///
    /// Reference: GetMinOffsetRequestHeader
    pub struct GetMinOffsetRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to GET_MIN_OFFSET.
    ///
    /// Reference: GetMinOffsetResponseHeader
    pub struct GetMinOffsetResponseHeader {
        offset: i64 = "offset";
    }
}

header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP: the offset by store time.
    ///
    /// Reference: SearchOffsetRequestHeader
    pub struct SearchOffsetRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        lite_topic: Option<Cow<'a, str>> = "liteTopic";
        queue_id: i32 = "queueId";
        timestamp: i64 = "timestamp";
        boundary_type: BoundaryType = "boundaryType", default BoundaryType::Lower;
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to SEARCH_OFFSET_BY_TIMESTAMP.
    ///
    /// Reference: SearchOffsetResponseHeader
    pub struct SearchOffsetResponseHeader {
        offset: i64 = "offset";
    }
}

header! {
    /// GET_EARLIEST_MSG_STORETIME: the store time of the oldest message.
    ///
    /// Reference: GetEarliestMsgStoretimeRequestHeader
    pub struct GetEarliestMsgStoretimeRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to GET_EARLIEST_MSG_STORETIME.
    ///
    /// Reference: GetEarliestMsgStoretimeResponseHeader
    pub struct GetEarliestMsgStoretimeResponseHeader {
        /// -1 when the queue is empty.
        timestamp: i64 = "timestamp";
    }
}

/// Which of several messages stored in the searched millisecond is meant.
///
/// Reference: BoundaryType
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BoundaryType {
    /// The first
    #[default]
    Lower,
    /// The last
    Upper,
}

impl BoundaryType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            BoundaryType::Lower => "LOWER",
            BoundaryType::Upper => "UPPER",
        }
    }
}

impl<'a> FieldValue<'a> for BoundaryType {
    const EXPECTED: &'static str = "a boundary type";

    /// Reference: BoundaryType.getType, where everything but "upper" is LOWER.
    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        let is_upper = text.eq_ignore_ascii_case(BoundaryType::Upper.name());
        Ok(if is_upper {
            BoundaryType::Upper
        } else {
            BoundaryType::Lower
        })
    }

    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        out.push_str(name, self.name());
    }
}
