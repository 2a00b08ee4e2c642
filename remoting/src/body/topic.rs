//! Topics: their configuration, alone and in tables, and their offsets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::fastjson;
use super::message_queue::MessageQueue;
use super::static_topic::{TopicQueueMappingDetail, TopicQueueMappingInfo};

/// Configuration of one topic on a broker. Also the value type of `topics.json`.
///
/// Reference: TopicConfig
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes by name, without the `+` of the admin request
    pub attributes: BTreeMap<String, String>,
    /// Whether producers must keep the order
    pub order: bool,
    /// Permission bits: 4 read, 2 write, 1 inherit
    pub perm: i32,
    /// Queues that can be read
    pub read_queue_nums: i32,
    /// Whether messages carry one tag or several
    #[serde(deserialize_with = "fastjson::or_default")]
    pub topic_filter_type: TopicFilterType,
    /// Name of the topic
    pub topic_name: String,
    /// Topic flags: 1 unit, 2 unit subscription
    pub topic_sys_flag: i32,
    /// Queues that can be written
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// A readable and writable topic with as many read as write queues.
    pub fn new(topic_name: impl Into<String>, queue_nums: i32) -> Self {
        TopicConfig {
            topic_name: topic_name.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            ..TopicConfig::default()
        }
    }
}

/// How many tags a message of the topic carries.
///
/// Reference: TopicFilterType
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    /// One tag
    #[default]
    SingleTag,
    /// Several tags; sets the multi-tags bit of messages
    MultiTag,
}

impl TopicFilterType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            TopicFilterType::SingleTag => "SINGLE_TAG",
            TopicFilterType::MultiTag => "MULTI_TAG",
        }
    }

    /// Reads the name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        [TopicFilterType::SingleTag, TopicFilterType::MultiTag]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// All topics of a broker: REGISTER_BROKER of versions before 3.0.11.
///
/// Reference: TopicConfigSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigSerializeWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// By topic
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// All topics of a broker with static-topic mappings: GET_ALL_TOPIC_CONFIG and part of REGISTER_BROKER.
///
/// Reference: TopicConfigAndMappingSerializeWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndMappingSerializeWrapper {
    /// Version of the topic table
    pub data_version: DataVersion,
    /// Version of the mappings
    pub mapping_data_version: DataVersion,
    /// By topic
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics, whole mapping, by topic
    pub topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
    /// Static topics, what the route needs of the mapping, by topic
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

/// One topic and its static mapping: answer to GET_TOPIC_CONFIG.
///
/// Reference: TopicConfigAndQueueMapping, a TopicConfig with one field more
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfigAndQueueMapping {
    /// See [`TopicConfig::attributes`]
    pub attributes: BTreeMap<String, String>,
    /// Mapping of a static topic
    pub mapping_detail: Option<TopicQueueMappingDetail>,
    /// See [`TopicConfig::order`]
    pub order: bool,
    /// See [`TopicConfig::perm`]
    pub perm: i32,
    /// See [`TopicConfig::read_queue_nums`]
    pub read_queue_nums: i32,
    /// See [`TopicConfig::topic_filter_type`]
    #[serde(deserialize_with = "fastjson::or_default")]
    pub topic_filter_type: TopicFilterType,
    /// See [`TopicConfig::topic_name`]
    pub topic_name: String,
    /// See [`TopicConfig::topic_sys_flag`]
    pub topic_sys_flag: i32,
    /// See [`TopicConfig::write_queue_nums`]
    pub write_queue_nums: i32,
}

impl TopicConfigAndQueueMapping {
    /// Joins the two.
    pub fn new(config: TopicConfig, mapping_detail: Option<TopicQueueMappingDetail>) -> Self {
        TopicConfigAndQueueMapping {
            attributes: config.attributes,
            mapping_detail,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

/// Many topics to create: UPDATE_AND_CREATE_TOPIC_LIST.
///
/// Reference: CreateTopicListRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateTopicListRequestBody {
    /// The topics
    pub topic_config_list: Vec<TopicConfig>,
}

/// Offsets of each queue of a topic: answer to GET_TOPIC_STATS_INFO.
///
/// Reference: TopicStatsTable
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStatsTable {
    /// By queue
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages put per second
    pub topic_put_tps: f64,
}

/// Offsets of one queue.
///
/// Reference: TopicOffset
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// Store time of the last message, ms; 0 when empty
    pub last_update_timestamp: i64,
    /// Offset the next message will get
    pub max_offset: i64,
    /// Offset of the oldest message
    pub min_offset: i64,
}
