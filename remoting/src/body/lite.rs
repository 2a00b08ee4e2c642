//! Lite topics: subscribing to them, and what mqadmin asks about them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::offset::OffsetWrapper;
use super::topic::TopicOffset;

/// Body of LITE_SUBSCRIPTION_CTL.
///
/// Reference: LiteSubscriptionCtlRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscriptionCtlRequestBody {
    /// What is said about clients, in turn
    pub subscription_set: Vec<LiteSubscriptionDto>,
}

/// What a client subscribes to, or no longer.
///
/// Reference: LiteSubscriptionDTO
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteSubscriptionDto {
    /// What is to be done
    pub action: LiteSubscriptionAction,
    /// Id of the client
    pub client_id: String,
    /// Its group
    pub group: String,
    /// Lite topics of the parent topic
    pub lite_topic_set: BTreeSet<String>,
    /// Where the group is to go on, of what is added
    pub offset_option: Option<OffsetOption>,
    /// The parent topic
    pub topic: String,
    /// Version of the whole set
    pub version: i64,
}

/// What is to be done with a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LiteSubscriptionAction {
    /// These too
    #[default]
    PartialAdd,
    /// These no longer
    PartialRemove,
    /// These and no others
    CompleteAdd,
    /// None: the client leaves
    CompleteRemove,
}

/// Where a group is to go on in a lite topic.
///
/// Reference: OffsetOption
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OffsetOption {
    /// What the value means
    #[serde(rename = "type")]
    pub kind: OffsetOptionType,
    /// The value
    pub value: i64,
}

/// What the value of an [`OffsetOption`] means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OffsetOptionType {
    /// 0 where it is, 1 the beginning, 2 the end
    #[default]
    Policy,
    /// An offset
    Offset,
    /// So many before where it is
    TailN,
    /// A time: has no effect
    Timestamp,
}

/// Answer to GET_BROKER_LITE_INFO.
///
/// Reference: GetBrokerLiteInfoResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetBrokerLiteInfoResponseBody {
    /// Consume queues
    pub cq_table_size: i32,
    /// Lite queues in use
    pub current_lmq_num: i32,
    /// Clients with undelivered events
    pub event_map_size: i32,
    /// Parent topic to its lite groups
    pub group_meta: BTreeMap<String, BTreeSet<String>>,
    /// Subscriptions
    pub lite_subscription_count: i32,
    /// Lite queues allowed
    pub max_lmq_num: i32,
    /// Entries of the lite offset table
    pub offset_table_size: i32,
    /// Entries of the order table
    pub order_info_count: i32,
    /// `default` or `defaultRocksDB`
    pub store_type: Option<String>,
    /// Parent topic to its expiration, minutes
    pub topic_meta: BTreeMap<String, i32>,
}

/// Answer to GET_PARENT_TOPIC_INFO.
///
/// Reference: GetParentTopicInfoResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetParentTopicInfoResponseBody {
    /// Groups bound to the topic
    pub groups: Option<BTreeSet<String>>,
    /// Its lite topics
    pub lite_topic_count: i32,
    /// Its lite queues
    pub lmq_num: i32,
    /// The parent topic
    pub topic: String,
    /// Expiration of its lite topics, minutes
    pub ttl: i32,
}

/// Answer to GET_LITE_TOPIC_INFO.
///
/// Reference: GetLiteTopicInfoResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteTopicInfoResponseBody {
    /// The lite topic
    pub lite_topic: String,
    /// Its parent topic
    pub parent_topic: String,
    /// Whether this broker is the one that holds it
    pub sharding_to_broker: bool,
    /// Who subscribed
    pub subscriber: Vec<ClientGroup>,
    /// Its offsets
    pub topic_offset: Option<TopicOffset>,
}

/// A client and the group it belongs to.
///
/// Reference: ClientGroup
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientGroup {
    /// Id of the client
    pub client_id: String,
    /// Its group
    pub group: String,
}

/// Answer to GET_LITE_CLIENT_INFO.
///
/// Reference: GetLiteClientInfoResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteClientInfoResponseBody {
    /// Id of the client
    pub client_id: String,
    /// Its group
    pub group: String,
    /// Last request, ms; -1 unknown
    pub last_access_time: i64,
    /// Last message, ms; -1 unknown
    pub last_consume_time: i64,
    /// Lite topics it subscribed to
    pub lite_topic_count: i32,
    /// Some of them; absent when the client has not subscribed
    pub lite_topic_set: Option<BTreeSet<String>>,
    /// Their parent topic
    pub parent_topic: String,
}

/// Answer to GET_LITE_GROUP_INFO.
///
/// Reference: GetLiteGroupInfoResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetLiteGroupInfoResponseBody {
    /// Store time of the oldest message not consumed, ms; -1 none
    pub earliest_unconsumed_timestamp: i64,
    /// The group
    pub group: String,
    /// Lite topics with most messages waiting
    pub lag_count_top_k: Vec<LiteLagInfo>,
    /// Lite topics waiting longest
    pub lag_timestamp_top_k: Vec<LiteLagInfo>,
    /// The lite topic asked about, if one
    pub lite_topic: Option<String>,
    /// Its offsets
    pub lite_topic_offset_wrapper: Option<OffsetWrapper>,
    /// Its parent topic
    pub parent_topic: String,
    /// Messages waiting; -1 unknown
    pub total_lag_count: i64,
}

/// How far a lite topic lags.
///
/// Reference: LiteLagInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LiteLagInfo {
    /// Store time of the oldest message not consumed, ms
    pub earliest_unconsumed_timestamp: i64,
    /// Messages waiting
    pub lag_count: i64,
    /// The lite topic
    pub lite_topic: String,
}
