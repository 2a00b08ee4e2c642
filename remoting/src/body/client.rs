//! Clients: heartbeats, subscriptions, and the lists of who is connected.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fastjson;

/// Everything one client produces and consumes: HEART_BEAT.
///
/// Reference: HeartbeatData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatData {
    /// Id of the client, unique in the cluster
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Consumer groups of the client
    pub consumer_data_set: Vec<ConsumerData>,
    /// Heartbeat V2: hash of the subscriptions, 0 in V1
    pub heartbeat_fingerprint: i32,
    /// Producer groups of the client
    pub producer_data_set: Vec<ProducerData>,
    /// Heartbeat V2: subscriptions are left out because the broker has seen this fingerprint
    pub without_sub: bool,
}

/// One consumer group within a client.
///
/// Reference: ConsumerData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    /// Where a new group starts
    #[serde(deserialize_with = "fastjson::or_default")]
    pub consume_from_where: ConsumeFromWhere,
    /// Whether it pulls or is pushed to
    #[serde(deserialize_with = "fastjson::or_default")]
    pub consume_type: ConsumeType,
    /// Name of the group
    pub group_name: String,
    /// Whether each member gets all messages
    #[serde(deserialize_with = "fastjson::or_default")]
    pub message_model: MessageModel,
    /// What it reads, the retry topic included
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Whether it runs in unit mode
    pub unit_mode: bool,
}

/// One producer group within a client.
///
/// Reference: ProducerData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerData {
    /// Name of the group
    pub group_name: String,
}

/// What a consumer wants of one topic.
///
/// Reference: SubscriptionData
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionData {
    /// Filter servers; gone
    pub class_filter_mode: bool,
    /// Java hash codes of the tags
    pub code_set: BTreeSet<i32>,
    /// `TAG` or `SQL92`
    pub expression_type: String,
    /// The expression as the user gave it
    pub sub_string: String,
    /// When it was made, ms; a larger one replaces a smaller one
    pub sub_version: i64,
    /// The tags of a tag expression
    pub tags_set: BTreeSet<String>,
    /// Topic
    pub topic: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        SubscriptionData {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: "TAG".to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// How a consumer gets its messages.
///
/// Reference: ConsumeType
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConsumeType {
    /// It pulls when it likes
    #[serde(rename = "CONSUME_ACTIVELY")]
    Actively,
    /// The client library pulls for it; POP consumers too
    #[default]
    #[serde(rename = "CONSUME_PASSIVELY")]
    Passively,
    /// Named by the protocol, sent by no 5.5.0 client
    #[serde(rename = "CONSUME_POP")]
    Pop,
}

/// Whether members of a group share the messages.
///
/// Reference: MessageModel
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    /// Each gets all
    Broadcasting,
    /// They share
    #[default]
    Clustering,
    /// Lite consumers behind a proxy
    LiteSelective,
}

/// Where a group without offsets starts.
///
/// Reference: ConsumeFromWhere
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    /// At the end
    #[default]
    ConsumeFromLastOffset,
    /// Deprecated spelling of the first
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    /// Deprecated spelling of the first
    ConsumeFromMinOffset,
    /// Deprecated spelling of the first
    ConsumeFromMaxOffset,
    /// At the begin
    ConsumeFromFirstOffset,
    /// At a time
    ConsumeFromTimestamp,
}

/// A subscription to compile: CHECK_CLIENT_CONFIG.
///
/// Reference: CheckClientRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClientRequestBody {
    /// Id of the client
    pub client_id: String,
    /// Consumer group
    pub group: String,
    /// Namespace of the client, if any
    pub namespace: Option<String>,
    /// The subscription
    pub subscription_data: Option<SubscriptionData>,
}

/// Client ids of a group: answer to GET_CONSUMER_LIST_BY_GROUP.
///
/// Reference: GetConsumerListByGroupResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetConsumerListByGroupResponseBody {
    /// The ids
    pub consumer_id_list: Vec<String>,
}

/// Members and subscriptions of a consumer group: answer to GET_CONSUMER_CONNECTION_LIST.
///
/// Reference: ConsumerConnection
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerConnection {
    /// The members
    pub connection_set: Vec<Connection>,
    /// Where the group starts
    #[serde(deserialize_with = "fastjson::or_default")]
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets messages
    #[serde(deserialize_with = "fastjson::or_default")]
    pub consume_type: ConsumeType,
    /// Whether members share
    #[serde(deserialize_with = "fastjson::or_default")]
    pub message_model: MessageModel,
    /// By topic
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Members of a producer group: answer to GET_PRODUCER_CONNECTION_LIST.
///
/// Reference: ProducerConnection
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerConnection {
    /// The members
    pub connection_set: Vec<Connection>,
}

/// One connected client.
///
/// Reference: Connection
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// `ip:port` the client is seen at
    pub client_addr: String,
    /// Id of the client
    pub client_id: String,
    /// Name of its language code
    pub language: String,
    /// Its protocol version
    pub version: i32,
}

/// All producers of a broker: answer to GET_ALL_PRODUCER_INFO.
///
/// Reference: ProducerTableInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerTableInfo {
    /// By producer group
    pub data: BTreeMap<String, Vec<ProducerInfo>>,
}

/// One producer client.
///
/// Reference: ProducerInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProducerInfo {
    /// Id of the client
    pub client_id: String,
    /// Name of its language code
    pub language: String,
    /// Last heartbeat, ms
    pub last_update_timestamp: i64,
    /// Address it is seen at
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Its protocol version
    pub version: i32,
}

/// What a group wants of a topic: answer to QUERY_SUBSCRIPTION_BY_CONSUMER.
///
/// Reference: QuerySubscriptionResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuerySubscriptionResponseBody {
    /// Consumer group
    pub group: String,
    /// The subscription, if it has one
    pub subscription_data: Option<SubscriptionData>,
    /// Topic
    pub topic: String,
}
