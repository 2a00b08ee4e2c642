//! Consumer offsets: progress, resets, and what slaves copy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::message_queue::MessageQueue;

/// Progress of a group: answer to GET_CONSUME_STATS.
///
/// Reference: ConsumeStats
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages consumed per second
    pub consume_tps: f64,
    /// By queue
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

/// Progress of a group in one queue.
///
/// Reference: OffsetWrapper
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetWrapper {
    /// Offset the next message will get
    pub broker_offset: i64,
    /// Committed offset
    pub consumer_offset: i64,
    /// Store time of the last consumed message, ms
    pub last_timestamp: i64,
    /// Offset up to which messages were pulled
    pub pull_offset: i64,
}

/// Progress of all groups: answer to GET_BROKER_CONSUME_STATS.
///
/// Reference: ConsumeStatsList
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStatsList {
    /// Address of the broker
    pub broker_addr: Option<String>,
    /// Maps with one entry each: group to its stats, one per topic
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Sum of messages not yet consumed
    pub total_diff: i64,
    /// Sum of messages pulled and not yet committed
    pub total_inflight_diff: i64,
}

/// New offsets of a group: RESET_CONSUMER_CLIENT_OFFSET, answer to INVOKE_BROKER_TO_RESET_OFFSET.
///
/// Reference: ResetOffsetBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBody {
    /// By queue
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// The same for C++ clients, whose JSON knows no objects as keys.
///
/// Reference: ResetOffsetBodyForC
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResetOffsetBodyForC {
    /// One per queue
    pub offset_table: Vec<MessageQueueForC>,
}

/// A queue and its new offset.
///
/// Reference: MessageQueueForC
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueForC {
    /// Broker group
    pub broker_name: String,
    /// The new offset
    pub offset: i64,
    /// Queue id
    pub queue_id: i32,
    /// Topic
    pub topic: String,
}

impl From<&ResetOffsetBody> for ResetOffsetBodyForC {
    fn from(body: &ResetOffsetBody) -> Self {
        let for_c = |(queue, offset): (&MessageQueue, &i64)| MessageQueueForC {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        };
        ResetOffsetBodyForC {
            offset_table: body.offset_table.iter().map(for_c).collect(),
        }
    }
}

/// Offsets as clients see them: answers to GET_CONSUMER_STATUS_FROM_CLIENT and INVOKE_BROKER_TO_GET_CONSUMER_STATUS.
///
/// Reference: GetConsumerStatusBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerStatusBody {
    /// From the broker: client id to offset by queue
    pub consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
    /// From a client: offset by queue
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// Smallest offset over groups, by queue id: answer to QUERY_CORRECTION_OFFSET.
///
/// Reference: QueryCorrectionOffsetBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryCorrectionOffsetBody {
    /// By queue id
    pub correction_offsets: BTreeMap<i32, i64>,
}

/// Times of the messages in each queue: answer to QUERY_CONSUME_TIME_SPAN.
///
/// Reference: QueryConsumeTimeSpanBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeTimeSpanBody {
    /// One per queue
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// Times of the messages in one queue, ms. The Java class adds texts of the times, which it never reads back.
///
/// Reference: QueueTimeSpan
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// Store time of the message at the committed offset
    pub consume_time_stamp: i64,
    /// How far the group lags behind now
    pub delay_time: i64,
    /// Store time of the newest message
    pub max_time_stamp: i64,
    /// The queue
    pub message_queue: MessageQueue,
    /// Store time of the oldest message
    pub min_time_stamp: i64,
}

/// Consumer offsets of a broker as a slave reads them: answer to GET_ALL_CONSUMER_OFFSET.
///
/// Reference: ConsumerOffsetSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// `topic@group` to queue id to offset
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}
