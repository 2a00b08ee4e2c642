//! Static topics: the mapping from logical queues to queues of brokers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;

/// Scope of a mapping that names none.
pub const SCOPE_GLOBAL: &str = "__global__";

/// Which logical queues a broker currently serves.
///
/// Reference: TopicQueueMappingInfo
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingInfo {
    /// Broker name
    pub bname: String,
    /// Logical queue id to queue id on this broker
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping must be registered again
    pub dirty: bool,
    /// Version of the mapping, ms
    pub epoch: i64,
    /// Scope of the mapping
    pub scope: String,
    /// Topic
    pub topic: String,
    /// Logical queues of the topic
    pub total_queues: i32,
}

impl Default for TopicQueueMappingInfo {
    fn default() -> Self {
        TopicQueueMappingInfo {
            bname: String::new(),
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            scope: SCOPE_GLOBAL.to_owned(),
            topic: String::new(),
            total_queues: 0,
        }
    }
}

/// The whole mapping of a topic on one broker, with the history of each logical queue.
///
/// Reference: TopicQueueMappingDetail
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingDetail {
    /// Broker name
    pub bname: String,
    /// Derived from the hosted queues when sent as an info; empty here
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Whether the mapping must be registered again
    pub dirty: bool,
    /// Version of the mapping, ms
    pub epoch: i64,
    /// Logical queue id to the places it lived at, oldest first
    pub hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
    /// Scope of the mapping
    pub scope: String,
    /// Topic
    pub topic: String,
    /// Logical queues of the topic
    pub total_queues: i32,
}

impl Default for TopicQueueMappingDetail {
    fn default() -> Self {
        TopicQueueMappingDetail {
            bname: String::new(),
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: SCOPE_GLOBAL.to_owned(),
            topic: String::new(),
            total_queues: 0,
        }
    }
}

/// One place a logical queue lived at, and the range of logical offsets stored there.
///
/// Reference: LogicQueueMappingItem
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LogicQueueMappingItem {
    /// Broker name
    pub bname: String,
    /// End of the queue offsets in use, exclusive; -1 while open
    pub end_offset: i64,
    /// Generation, rising along the history
    pub r#gen: i32,
    /// Logical offset of `start_offset`; negative until decided
    pub logic_offset: i64,
    /// Queue id on the broker
    pub queue_id: i32,
    /// First queue offset in use
    pub start_offset: i64,
    /// When the last message was stored, ms; -1 unknown
    pub time_of_end: i64,
    /// When the first message was stored, ms; -1 unknown
    pub time_of_start: i64,
}

impl Default for LogicQueueMappingItem {
    fn default() -> Self {
        LogicQueueMappingItem {
            bname: String::new(),
            end_offset: -1,
            r#gen: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}

/// All mappings of a broker: file `topicQueueMapping.json`.
///
/// Reference: TopicQueueMappingSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// By topic
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingDetail>,
}
