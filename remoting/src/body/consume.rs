//! Consuming: queue locks, assignment, request modes, direct consumption, consume-queue dumps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::client::{MessageModel, SubscriptionData};
use super::fastjson;
use super::message_queue::MessageQueue;

/// Queues an orderly consumer wants for itself: LOCK_BATCH_MQ.
///
/// Reference: LockBatchRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchRequestBody {
    /// Id of the client that asks
    pub client_id: String,
    /// Its group
    pub consumer_group: String,
    /// The queues
    pub mq_set: BTreeSet<MessageQueue>,
    /// Whether the broker must not ask the other members of its group
    pub only_this_broker: bool,
}

/// Queues it got: answer to LOCK_BATCH_MQ.
///
/// Reference: LockBatchResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockBatchResponseBody {
    /// The queues now locked for the client
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: BTreeSet<MessageQueue>,
}

/// Queues it gives back: UNLOCK_BATCH_MQ.
///
/// Reference: UnlockBatchRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UnlockBatchRequestBody {
    /// Id of the client
    pub client_id: String,
    /// Its group
    pub consumer_group: String,
    /// The queues
    pub mq_set: BTreeSet<MessageQueue>,
    /// Whether the broker must not ask the other members of its group
    pub only_this_broker: bool,
}

/// Who asks for its share of a topic: QUERY_ASSIGNMENT.
///
/// Reference: QueryAssignmentRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentRequestBody {
    /// Id of the client
    pub client_id: String,
    /// Its group
    pub consumer_group: String,
    /// Whether members share
    #[serde(deserialize_with = "fastjson::or_default")]
    pub message_model: MessageModel,
    /// `AVG`, `AVG_BY_CIRCLE`, ...
    pub strategy_name: String,
    /// Topic
    pub topic: String,
}

/// A client's share: answer to QUERY_ASSIGNMENT.
///
/// Reference: QueryAssignmentResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryAssignmentResponseBody {
    /// None keeps what the client has, an empty list takes all away
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// One queue to consume, and how.
///
/// Reference: MessageQueueAssignment
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueueAssignment {
    /// Unused
    pub attachments: BTreeMap<String, String>,
    /// The queue; queue id -1 in POP mode means any
    pub message_queue: MessageQueue,
    /// Pull or POP
    #[serde(deserialize_with = "fastjson::or_default")]
    pub mode: MessageRequestMode,
}

/// How a group asks for messages.
///
/// Reference: MessageRequestMode
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageRequestMode {
    /// PULL_MESSAGE, the consumer keeps offsets
    #[default]
    Pull,
    /// POP_MESSAGE, the broker keeps track of each message
    Pop,
}

/// Request mode of a group on a topic: SET_MESSAGE_REQUEST_MODE.
///
/// Reference: SetMessageRequestModeRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetMessageRequestModeRequestBody {
    /// Consumer group
    pub consumer_group: String,
    /// Pull or POP
    #[serde(deserialize_with = "fastjson::or_default")]
    pub mode: MessageRequestMode,
    /// How many members share a queue in POP mode; 0 or less: all
    pub pop_share_queue_num: i32,
    /// Topic
    pub topic: String,
}

/// All request modes: answer to GET_ALL_MESSAGE_REQUEST_MODE and file `messageRequestMode.json`.
///
/// Reference: MessageRequestModeSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageRequestModeSerializeWrapper {
    /// Topic to group to mode
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
}

/// What became of a message a client consumed on demand: answer to CONSUME_MESSAGE_DIRECTLY.
///
/// Reference: ConsumeMessageDirectlyResult
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeMessageDirectlyResult {
    /// Whether the client commits by itself
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, ...
    pub consume_result: Option<String>,
    /// Whether the listener is orderly
    pub order: bool,
    /// Error text
    pub remark: Option<String>,
    /// Time taken, ms
    pub spent_time_mills: i64,
}

impl Default for ConsumeMessageDirectlyResult {
    fn default() -> Self {
        ConsumeMessageDirectlyResult {
            auto_commit: true,
            consume_result: None,
            order: false,
            remark: None,
            spent_time_mills: 0,
        }
    }
}

/// Entries of a consume queue: answer to QUERY_CONSUME_QUEUE.
///
/// Reference: QueryConsumeQueueResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueryConsumeQueueResponseBody {
    /// SQL filter of the group, as text
    pub filter_data: Option<String>,
    /// Queue offset after the last entry
    pub max_queue_index: i64,
    /// Queue offset of the first entry
    pub min_queue_index: i64,
    /// The entries
    pub queue_data: Option<Vec<ConsumeQueueData>>,
    /// Subscription of the group
    pub subscription_data: Option<SubscriptionData>,
}

/// One entry of a consume queue.
///
/// Reference: ConsumeQueueData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeQueueData {
    /// Bloom filter bits, as text
    pub bit_map: Option<String>,
    /// Whether the group's filter takes it
    pub eval: bool,
    /// Extension record, JSON as text
    pub extend_data_json: Option<String>,
    /// The message, or why there is none
    pub msg: Option<String>,
    /// Where the message is in the CommitLog
    pub physic_offset: i64,
    /// Its record size, bytes
    pub physic_size: i32,
    /// Its tags code
    pub tags_code: i64,
}

/// Body of a message to OFFSET_MOVED_EVENT: a consumer asked for an offset that is gone.
///
/// Reference: OffsetMovedEvent
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetMovedEvent {
    /// Consumer group
    pub consumer_group: String,
    /// The queue
    pub message_queue: MessageQueue,
    /// Offset it was sent to
    pub offset_new: i64,
    /// Offset it asked for
    pub offset_request: i64,
}
