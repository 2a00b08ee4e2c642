//! Bodies of the name server: routes, clusters, broker groups, key-value tables, topic lists.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::static_topic::TopicQueueMappingInfo;

/// Where a topic's queues are: answer to GET_ROUTEINFO_BY_TOPIC.
///
/// Reference: TopicRouteData
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRouteData {
    /// The broker groups that hold queues of the topic
    pub broker_datas: Vec<BrokerData>,
    /// Broker address to filter servers; always empty since filter servers are gone
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Ordered topics only: `broker:queues` list from the ORDER_TOPIC_CONFIG namespace
    pub order_topic_conf: Option<String>,
    /// Queue counts, one per broker name
    pub queue_datas: Vec<QueueData>,
    /// Static topics only: mapping per broker name
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
}

/// Queues of a topic on one broker group.
///
/// Reference: QueueData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    /// Broker group
    pub broker_name: String,
    /// Permission bits: 4 read, 2 write, 1 inherit
    pub perm: i32,
    /// Queues that can be read
    pub read_queue_nums: i32,
    /// Topic flags: 1 unit, 2 unit subscription
    pub topic_sys_flag: i32,
    /// Queues that can be written
    pub write_queue_nums: i32,
}

/// One broker group and the addresses of its members.
///
/// Reference: BrokerData
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    /// Broker id to address; id 0 is the master
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker group
    pub broker_name: String,
    /// Cluster the group belongs to
    pub cluster: String,
    /// Whether the slave with the smallest id may act as master
    pub enable_acting_master: bool,
    /// Zone of the group, if any
    pub zone_name: Option<String>,
}

/// All clusters and brokers: answer to GET_BROKER_CLUSTER_INFO.
///
/// Reference: ClusterInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterInfo {
    /// By broker name
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to its broker names
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// Members of one broker group.
///
/// Reference: BrokerMemberGroup
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerMemberGroup {
    /// Broker id to address
    pub broker_addrs: BTreeMap<i64, String>,
    /// Broker group
    pub broker_name: String,
    /// Cluster the group belongs to
    pub cluster: String,
}

/// Answer to GET_BROKER_MEMBER_GROUP.
///
/// Reference: GetBrokerMemberGroupResponseBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GetBrokerMemberGroupResponseBody {
    /// The group; without addresses when unknown
    pub broker_member_group: Option<BrokerMemberGroup>,
}

/// Text by key: runtime info of a broker, or one namespace of the name server's key-value store.
///
/// Reference: KVTable
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KvTable {
    /// The entries
    pub table: BTreeMap<String, String>,
}

/// Topic names, and sometimes other names: answer to the topic list requests.
///
/// Reference: TopicList
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    /// Address of one broker; only in the answer to GET_SYSTEM_TOPIC_LIST_FROM_NS
    pub broker_addr: Option<String>,
    /// The names
    pub topic_list: BTreeSet<String>,
}
