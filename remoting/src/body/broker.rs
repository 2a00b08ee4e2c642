//! Broker administration: statistics, HA state, epochs, users and ACLs.

use serde::{Deserialize, Serialize};

/// Throughput of one statistics item: answer to VIEW_BROKER_STATS_DATA.
///
/// Reference: BrokerStatsData
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsData {
    /// Over the last day
    pub stats_day: BrokerStatsItem,
    /// Over the last hour
    pub stats_hour: BrokerStatsItem,
    /// Over the last minute
    pub stats_minute: BrokerStatsItem,
}

/// Throughput over one period.
///
/// Reference: BrokerStatsItem
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStatsItem {
    /// Average per call
    pub avgpt: f64,
    /// Total
    pub sum: i64,
    /// Per second
    pub tps: f64,
}

/// Replication state: answer to GET_BROKER_HA_STATUS.
///
/// Reference: HARuntimeInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaRuntimeInfo {
    /// State of the connection to the master; on a slave
    pub ha_client_runtime_info: HaClientRuntimeInfo,
    /// One per connected slave; on a master
    pub ha_connection_info: Vec<HaConnectionRuntimeInfo>,
    /// Slaves close enough to count
    pub in_sync_slave_nums: i32,
    /// Whether this broker is the master
    pub master: bool,
    /// End of the master's CommitLog
    pub master_commit_log_max_offset: i64,
}

/// A slave's connection to its master.
///
/// Reference: HARuntimeInfo.HAClientRuntimeInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaClientRuntimeInfo {
    /// Last read, ms
    pub last_read_timestamp: i64,
    /// Last write, ms
    pub last_write_timestamp: i64,
    /// HA address of the master
    pub master_addr: Option<String>,
    /// Offset up to which the master flushed
    pub master_flush_offset: i64,
    /// End of this slave's CommitLog
    pub max_offset: i64,
    /// Bytes per second
    pub transferred_byte_in_second: i64,
}

/// A master's connection to one slave.
///
/// Reference: HARuntimeInfo.HAConnectionRuntimeInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HaConnectionRuntimeInfo {
    /// Address of the slave
    pub addr: Option<String>,
    /// Bytes it lags behind
    pub diff: i64,
    /// Whether it counts as in sync
    pub in_sync: bool,
    /// Offset it acknowledged
    pub slave_ack_offset: i64,
    /// Offset the connection started from
    pub transfer_from_where: i64,
    /// Bytes per second
    pub transferred_byte_in_second: i64,
}

/// Epochs of a broker's CommitLog: answer to GET_BROKER_EPOCH_CACHE.
///
/// Reference: EpochEntryCache
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EpochEntryCache {
    /// Broker id
    pub broker_id: i64,
    /// Broker name
    pub broker_name: String,
    /// Cluster
    pub cluster_name: String,
    /// The epochs, oldest first
    pub epoch_list: Vec<EpochEntry>,
    /// End of the CommitLog
    pub max_offset: i64,
}

/// One epoch.
///
/// Reference: EpochEntry
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EpochEntry {
    /// Where it ends; `i64::MAX` while it lasts
    pub end_offset: i64,
    /// Its number
    pub epoch: i32,
    /// Where it starts
    pub start_offset: i64,
}

impl Default for EpochEntry {
    fn default() -> Self {
        EpochEntry {
            end_offset: i64::MAX,
            epoch: 0,
            start_offset: 0,
        }
    }
}

/// Answer to CHECK_ROCKSDB_CQ_WRITE_PROGRESS.
///
/// Reference: CheckRocksdbCqWriteResult
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckRocksdbCqWriteResult {
    /// What was found, as text
    pub check_result: Option<String>,
    /// 0 equal, 1 different, 2 still checking, 3 failed
    pub check_status: i32,
}

/// A user: AUTH_CREATE_USER and its siblings.
///
/// Reference: UserInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UserInfo {
    /// Password; never logged
    pub password: Option<String>,
    /// `enable` or `disable`
    pub user_status: Option<String>,
    /// `Super` or `Normal`
    pub user_type: Option<String>,
    /// Name
    pub username: Option<String>,
}

/// What a subject may do: AUTH_CREATE_ACL and its siblings.
///
/// Reference: AclInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AclInfo {
    /// The policies
    pub policies: Option<Vec<PolicyInfo>>,
    /// `User:name`
    pub subject: Option<String>,
}

/// One policy of an ACL.
///
/// Reference: AclInfo.PolicyInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyInfo {
    /// The rules
    pub entries: Option<Vec<PolicyEntryInfo>>,
    /// `Custom` or `Default`
    pub policy_type: Option<String>,
}

/// One rule of a policy.
///
/// Reference: AclInfo.PolicyEntryInfo
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyEntryInfo {
    /// `Pub`, `Sub`, ...
    pub actions: Option<Vec<String>>,
    /// `Allow` or `Deny`
    pub decision: Option<String>,
    /// `Topic:name`, `Group:name`, ...
    pub resource: Option<String>,
    /// Addresses and ranges it holds for
    pub source_ips: Option<Vec<String>>,
}
