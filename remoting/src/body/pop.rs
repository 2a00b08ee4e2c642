//! POP records: bodies of the messages in the revive topic, in the one-letter names of the reference's store.

use serde::{Deserialize, Serialize};

/// Messages one pop handed out of one queue, until they are acknowledged or revived.
///
/// Reference: PopCheckPoint
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PopCheckPoint {
    /// Bit n: the n-th message is acknowledged
    #[serde(rename = "bm")]
    pub bit_map: i32,
    /// Broker name
    #[serde(rename = "bn")]
    pub broker_name: Option<String>,
    /// Consumer group
    #[serde(rename = "c")]
    pub cid: String,
    /// Offset of each message relative to `start_offset`; None when they are dense
    #[serde(rename = "d")]
    pub queue_offset_diff: Option<Vec<i32>>,
    /// Invisible time, ms
    #[serde(rename = "it")]
    pub invisible_time_ms: i64,
    /// Messages handed out
    #[serde(rename = "n")]
    pub num: i8,
    /// When they were popped, ms
    #[serde(rename = "pt")]
    pub pop_time_ms: i64,
    /// Queue id
    #[serde(rename = "q")]
    pub queue_id: i32,
    /// Offset of this record in the revive queue
    #[serde(rename = "ro")]
    pub revive_offset: i64,
    /// Set when the record was written again because putting it back failed
    #[serde(rename = "rp")]
    pub re_put_times: Option<String>,
    /// Queue offset of the first message
    #[serde(rename = "so")]
    pub start_offset: i64,
    /// Whether the consumer asked to suspend instead of retrying
    #[serde(rename = "sp")]
    pub suspend: bool,
    /// Topic
    #[serde(rename = "t")]
    pub topic: String,
}

impl PopCheckPoint {
    /// When the messages become visible again, ms.
    pub fn revive_time_ms(&self) -> i64 {
        self.pop_time_ms.saturating_add(self.invisible_time_ms)
    }
}

/// Acknowledgement of one message.
///
/// Reference: AckMsg
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AckMsg {
    /// Queue offset of the message
    #[serde(rename = "ao")]
    pub ack_offset: i64,
    /// Broker name
    #[serde(rename = "bn")]
    pub broker_name: Option<String>,
    /// Consumer group
    #[serde(rename = "c")]
    pub consumer_group: String,
    /// When it was popped, ms
    #[serde(rename = "pt")]
    pub pop_time_ms: i64,
    /// Queue id
    #[serde(rename = "q")]
    pub queue_id: i32,
    /// Start offset of its check point
    #[serde(rename = "so")]
    pub start_offset: i64,
    /// Topic
    #[serde(rename = "t")]
    pub topic: String,
}

/// Acknowledgement of several messages of one check point.
///
/// Reference: BatchAckMsg
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAckMsg {
    /// Unused here
    #[serde(rename = "ao")]
    pub ack_offset: i64,
    /// Queue offsets of the messages
    #[serde(rename = "aol")]
    pub ack_offset_list: Vec<i64>,
    /// Broker name
    #[serde(rename = "bn")]
    pub broker_name: Option<String>,
    /// Consumer group
    #[serde(rename = "c")]
    pub consumer_group: String,
    /// When they were popped, ms
    #[serde(rename = "pt")]
    pub pop_time_ms: i64,
    /// Queue id
    #[serde(rename = "q")]
    pub queue_id: i32,
    /// Start offset of their check point
    #[serde(rename = "so")]
    pub start_offset: i64,
    /// Topic
    #[serde(rename = "t")]
    pub topic: String,
}
