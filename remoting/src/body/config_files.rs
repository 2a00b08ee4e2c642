//! JSON config files of a broker that are not also a body.
//!
//! | file | type |
//! | --- | --- |
//! | `topics.json` | [`TopicConfigSerializeWrapper`](super::TopicConfigSerializeWrapper) |
//! | `subscriptionGroup.json` | [`SubscriptionGroupWrapper`](super::SubscriptionGroupWrapper) |
//! | `topicQueueMapping.json` | [`TopicQueueMappingSerializeWrapper`](super::TopicQueueMappingSerializeWrapper) |
//! | `messageRequestMode.json` | [`MessageRequestModeSerializeWrapper`](super::MessageRequestModeSerializeWrapper) |
//! | `consumerOffset.json`, `lmqConsumerOffset.json` | [`ConsumerOffsetFile`] |
//! | `delayOffset.json` | [`DelayOffsetSerializeWrapper`] |
//! | `consumerFilter.json` | [`ConsumerFilterFile`] |
//! | `consumerOrderInfo.json` | [`ConsumerOrderInfoFile`] |
//! | `timermetrics` | [`TimerMetricsSerializeWrapper`] |
//! | `transactionMetrics` | [`TransactionMetricsSerializeWrapper`] |
//!
//! They are written with [`fastjson::to_pretty`](super::fastjson::to_pretty), the two metrics files compact.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;

/// Consumer offsets: file `consumerOffset.json`, or `lmqConsumerOffset.json`; also the answer to GET_ALL_CONSUMER_OFFSET.
///
/// Reference: ConsumerOffsetManager, LmqConsumerOffsetManager
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOffsetFile {
    /// Version of the table
    pub data_version: DataVersion,
    /// Group to its topics; derived from the offsets, ignored when read
    pub group_topic_map: BTreeMap<String, BTreeSet<String>>,
    /// Lite queues: `topic@group` to offset; only in the file of a broker that has them
    pub lmq_offset_table: Option<BTreeMap<String, i64>>,
    /// Committed: `topic@group` to queue id to offset
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Pulled: `topic@group` to queue id to offset
    pub pull_offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Resets not yet seen by the consumer: `topic@group` to queue id to offset
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reset_offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// When this file was written, ms; ours alone, not in the answer
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_time: Option<i64>,
    /// Which write of the file this is; ours alone, not in the answer
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_number: Option<u64>,
}

/// Progress of each delay level: file `delayOffset.json` and answer to GET_ALL_DELAY_OFFSET.
///
/// Reference: DelayOffsetSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// Delay level to queue offset in the schedule topic
    pub offset_table: BTreeMap<i32, i64>,
    /// Where in the log copies lie that the offsets do not count, from there on; ours alone, not in the answer
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies_from: Option<u64>,
}

/// SQL filters of consumer groups: file `consumerFilter.json`.
///
/// Reference: ConsumerFilterManager
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilterFile {
    /// By topic
    pub filter_data_by_topic: BTreeMap<String, FilterDataMapByTopic>,
}

/// SQL filters on one topic.
///
/// Reference: ConsumerFilterManager.FilterDataMapByTopic
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterDataMapByTopic {
    /// By group
    pub group_filter_data: BTreeMap<String, ConsumerFilterData>,
    /// The topic
    pub topic: String,
}

/// SQL filter of one group on one topic.
///
/// Reference: ConsumerFilterData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerFilterData {
    /// Bits of the group in the bloom filters of messages
    pub bloom_filter_data: Option<BloomFilterData>,
    /// When it was first seen, ms
    pub born_time: i64,
    /// Version the client gave it, ms
    pub client_version: i64,
    /// The group
    pub consumer_group: String,
    /// When the last consumer with it left, ms; 0 while one is there
    pub dead_time: i64,
    /// The expression
    pub expression: String,
    /// `SQL92`
    pub expression_type: String,
    /// The topic
    pub topic: String,
}

/// Bits of one group in the bloom filters of messages.
///
/// Reference: BloomFilterData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BloomFilterData {
    /// Size of the filter, bits
    pub bit_num: i32,
    /// The bits of the group
    pub bit_pos: Vec<i32>,
}

/// State of orderly POP consumption: file `consumerOrderInfo.json`.
///
/// Reference: ConsumerOrderInfoManager
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOrderInfoFile {
    /// `topic@group` to queue id to state
    pub table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
}

/// The last batch handed out of one queue in order.
///
/// Reference: ConsumerOrderInfoManager.OrderInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderInfo {
    /// Id of the attempt; a consumer that repeats it gets the batch again
    #[serde(rename = "a")]
    pub attempt_id: Option<String>,
    /// Bit n: the n-th message is acknowledged
    #[serde(rename = "cm")]
    pub commit_offset_bit: i64,
    /// Invisible time, ms; None uses the group's
    #[serde(rename = "i")]
    pub invisible_time_ms: Option<i64>,
    /// Last time one was consumed, ms
    #[serde(rename = "l")]
    pub last_consume_timestamp_ms: i64,
    /// Queue offsets of the batch: the first as it is, the others relative to the first
    #[serde(rename = "o")]
    pub offset_list: Vec<i64>,
    /// Queue offset to the times it was consumed
    #[serde(rename = "oc")]
    pub offset_consumed_count: Option<BTreeMap<i64, i32>>,
    /// Queue offset to the time it becomes visible again, ms
    #[serde(rename = "ot")]
    pub offset_next_visible_time: Option<BTreeMap<i64, i64>>,
    /// When the batch was popped, ms
    #[serde(rename = "popTime")]
    pub pop_time_ms: i64,
}

/// Messages waiting in the timer, by topic: file `timermetrics` and answer to GET_TIMER_METRICS.
///
/// Reference: TimerMetrics.TimerMetricsSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TimerMetricsSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// By topic
    pub timing_count: BTreeMap<String, Metric>,
}

/// Half messages waiting, by topic: file `transactionMetrics`.
///
/// Reference: TransactionMetrics.TransactionMetricsSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TransactionMetricsSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// By topic
    pub transaction_count: BTreeMap<String, Metric>,
}

/// A counter and when it last changed.
///
/// Reference: TimerMetrics.Metric, TransactionMetrics.Metric
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metric {
    /// Messages
    pub count: i64,
    /// Last change, ms
    pub time_stamp: i64,
}
