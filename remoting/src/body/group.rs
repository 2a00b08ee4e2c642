//! Consumer groups: their configuration, alone and in tables, and what they may read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::fastjson;

/// Configuration of one consumer group on a broker. Also the value type of `subscriptionGroup.json`.
///
/// Reference: SubscriptionGroupConfig
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupConfig {
    /// Attributes by name, without the `+` of the admin request
    pub attributes: BTreeMap<String, String>,
    /// Broker to read from
    pub broker_id: i64,
    /// Whether broadcast consumers may read
    pub consume_broadcast_enable: bool,
    /// Whether the group may read at all
    pub consume_enable: bool,
    /// Whether a new group starts at the queue's begin
    pub consume_from_min_enable: bool,
    /// Whether POP hands out messages in order
    pub consume_message_orderly: bool,
    /// Minutes a message may take to consume
    pub consume_timeout_minute: i32,
    /// Name of the group
    pub group_name: String,
    /// How long to wait before each retry
    pub group_retry_policy: GroupRetryPolicy,
    /// Group flags, passed to consumers in pull answers
    pub group_sys_flag: i32,
    /// Whether members are told when the membership changes
    pub notify_consumer_ids_changed_enable: bool,
    /// Deliveries before a message goes to the dead-letter queue
    pub retry_max_times: i32,
    /// Queues of the retry topic; 0 or less: failed messages are dropped
    pub retry_queue_nums: i32,
    /// Subscriptions fixed by an operator
    pub subscription_data_set: Option<BTreeSet<SimpleSubscriptionData>>,
    /// Broker to suggest when the group reads cold data
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with the defaults.
    pub fn new(group_name: impl Into<String>) -> Self {
        SubscriptionGroupConfig {
            group_name: group_name.into(),
            ..SubscriptionGroupConfig::default()
        }
    }
}

/// Waiting times between deliveries of one message.
///
/// Reference: GroupRetryPolicy
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupRetryPolicy {
    /// Used when `type` is CUSTOMIZED; None means the default list
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Used when `type` is EXPONENTIAL; None means the default curve
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which of the two holds
    #[serde(rename = "type", deserialize_with = "fastjson::or_default")]
    pub kind: GroupRetryPolicyType,
}

/// Kind of a [`GroupRetryPolicy`].
///
/// Reference: GroupRetryPolicyType
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupRetryPolicyType {
    /// The wait grows by a factor
    Exponential,
    /// The waits are listed
    #[default]
    Customized,
}

/// Waits that grow by a factor.
///
/// Reference: ExponentialRetryPolicy
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExponentialRetryPolicy {
    /// First wait, ms
    pub initial: i64,
    /// Longest wait, ms
    pub max: i64,
    /// Factor from one wait to the next
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        ExponentialRetryPolicy {
            initial: 5_000,
            max: 7_200_000,
            multiplier: 2,
        }
    }
}

/// Waits listed one by one; the last holds for all further retries.
///
/// Reference: CustomizedRetryPolicy
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CustomizedRetryPolicy {
    /// Waits, ms
    pub next: Vec<i64>,
}

impl Default for CustomizedRetryPolicy {
    fn default() -> Self {
        let seconds = [
            1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
        ];
        CustomizedRetryPolicy {
            next: seconds.map(|wait| wait * 1000).to_vec(),
        }
    }
}

/// A subscription fixed in the group's configuration.
///
/// Reference: SimpleSubscriptionData
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscriptionData {
    /// Filter expression
    pub expression: String,
    /// `TAG` or `SQL92`
    pub expression_type: String,
    /// Topic
    pub topic: String,
    /// Version, ms
    pub version: i64,
}

/// Many groups to create: UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST.
///
/// Reference: SubscriptionGroupList
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupList {
    /// The groups
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// All groups of a broker: answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG and file `subscriptionGroup.json`.
///
/// Reference: SubscriptionGroupWrapper
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SubscriptionGroupWrapper {
    /// Version of the table
    pub data_version: DataVersion,
    /// Group to topic to bits; bit 2 set: reading is forbidden
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// By group
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Whether a group may read a topic: answer to UPDATE_AND_GET_GROUP_FORBIDDEN.
///
/// Reference: GroupForbidden
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupForbidden {
    /// Group
    pub group: String,
    /// Whether it may read
    pub readable: Option<bool>,
    /// Topic
    pub topic: String,
}

/// Names of groups: answer to QUERY_TOPIC_CONSUME_BY_WHO.
///
/// Reference: GroupList
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupList {
    /// The names
    pub group_list: BTreeSet<String>,
}
