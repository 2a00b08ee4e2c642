//! The name server: routes, broker registration, key-value configuration.

use std::borrow::Cow;

use crate::header;

header! {
    /// GET_ROUTEINFO_BY_TOPIC.
    ///
    /// Reference: GetRouteInfoRequestHeader
    pub struct GetRouteInfoRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        accept_standard_json_only: bool = "acceptStandardJsonOnly", default false;
    }
}

header! {
    /// REGISTER_BROKER.
    ///
    /// Reference: RegisterBrokerRequestHeader
    pub struct RegisterBrokerRequestHeader {
        broker_name: String = "brokerName";
        broker_addr: String = "brokerAddr";
        cluster_name: String = "clusterName";
        ha_server_addr: Option<String> = "haServerAddr";
        broker_id: i64 = "brokerId";
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis";
        enable_acting_master: Option<bool> = "enableActingMaster";
        compressed: bool = "compressed", default false;
        /// Over the body as sent, top bit cleared; 0 is not checked.
        body_crc32: i32 = "bodyCrc32", default 0;
    }
}

header! {
    /// Answer to REGISTER_BROKER; a slave learns its master here.
    ///
    /// Reference: RegisterBrokerResponseHeader
    pub struct RegisterBrokerResponseHeader {
        ha_server_addr: Option<String> = "haServerAddr";
        master_addr: Option<String> = "masterAddr";
    }
}

header! {
    /// UNREGISTER_BROKER.
    ///
    /// Reference: UnRegisterBrokerRequestHeader
    pub struct UnRegisterBrokerRequestHeader {
        broker_name: String = "brokerName";
        broker_addr: String = "brokerAddr";
        cluster_name: String = "clusterName";
        broker_id: i64 = "brokerId";
    }
}

header! {
    /// QUERY_DATA_VERSION: did my topics change since I registered?
    ///
    /// Reference: QueryDataVersionRequestHeader
    pub struct QueryDataVersionRequestHeader {
        broker_name: String = "brokerName";
        broker_addr: String = "brokerAddr";
        cluster_name: String = "clusterName";
        broker_id: i64 = "brokerId";
    }
}

header! {
    /// Answer to QUERY_DATA_VERSION.
    ///
    /// Reference: QueryDataVersionResponseHeader
    pub struct QueryDataVersionResponseHeader {
        changed: bool = "changed";
    }
}

header! {
    /// BROKER_HEARTBEAT: I am alive, nothing changed.
    ///
    /// Reference: BrokerHeartbeatRequestHeader
    pub struct BrokerHeartbeatRequestHeader {
        cluster_name: String = "clusterName";
        broker_addr: String = "brokerAddr";
        broker_name: String = "brokerName";
        broker_id: Option<i64> = "brokerId";
        epoch: Option<i32> = "epoch";
        max_offset: Option<i64> = "maxOffset";
        confirm_offset: Option<i64> = "confirmOffset";
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills";
        election_priority: Option<i32> = "electionPriority";
    }
}

header! {
    /// GET_BROKER_MEMBER_GROUP.
    ///
    /// Reference: GetBrokerMemberGroupRequestHeader
    pub struct GetBrokerMemberGroupRequestHeader {
        cluster_name: String = "clusterName";
        broker_name: String = "brokerName";
    }
}

header! {
    /// NOTIFY_MIN_BROKER_ID_CHANGE, name server to brokers of a group.
    ///
    /// Reference: NotifyMinBrokerIdChangeRequestHeader
    pub struct NotifyMinBrokerIdChangeRequestHeader {
        min_broker_id: Option<i64> = "minBrokerId";
        broker_name: Option<String> = "brokerName";
        min_broker_addr: Option<String> = "minBrokerAddr";
        offline_broker_addr: Option<String> = "offlineBrokerAddr";
        ha_broker_addr: Option<String> = "haBrokerAddr";
    }
}

header! {
    /// GET_TOPICS_BY_CLUSTER.
    ///
    /// Reference: GetTopicsByClusterRequestHeader
    pub struct GetTopicsByClusterRequestHeader {
        cluster: String = "cluster";
    }
}

header! {
    /// DELETE_TOPIC_IN_NAMESRV.
    ///
    /// Reference: DeleteTopicFromNamesrvRequestHeader
    pub struct DeleteTopicFromNamesrvRequestHeader {
        topic: String = "topic";
        /// Absent: in every cluster.
        cluster_name: Option<String> = "clusterName";
    }
}

header! {
    /// REGISTER_TOPIC_IN_NAMESRV.
    ///
    /// Reference: RegisterTopicRequestHeader
    pub struct RegisterTopicRequestHeader {
        topic: String = "topic";
    }
}

header! {
    /// WIPE_WRITE_PERM_OF_BROKER.
    ///
    /// Reference: WipeWritePermOfBrokerRequestHeader
    pub struct WipeWritePermOfBrokerRequestHeader {
        broker_name: String = "brokerName";
    }
}

header! {
    /// Answer to WIPE_WRITE_PERM_OF_BROKER.
    ///
    /// Reference: WipeWritePermOfBrokerResponseHeader
    pub struct WipeWritePermOfBrokerResponseHeader {
        wipe_topic_count: i32 = "wipeTopicCount";
    }
}

header! {
    /// ADD_WRITE_PERM_OF_BROKER.
    ///
    /// Reference: AddWritePermOfBrokerRequestHeader
    pub struct AddWritePermOfBrokerRequestHeader {
        broker_name: String = "brokerName";
    }
}

header! {
    /// Answer to ADD_WRITE_PERM_OF_BROKER.
    ///
    /// Reference: AddWritePermOfBrokerResponseHeader
    pub struct AddWritePermOfBrokerResponseHeader {
        add_topic_count: i32 = "addTopicCount";
    }
}

header! {
    /// PUT_KV_CONFIG.
    ///
    /// Reference: PutKVConfigRequestHeader
    pub struct PutKvConfigRequestHeader {
        namespace: String = "namespace";
        key: String = "key";
        value: String = "value";
    }
}

header! {
    /// GET_KV_CONFIG.
    ///
    /// Reference: GetKVConfigRequestHeader
    pub struct GetKvConfigRequestHeader {
        namespace: String = "namespace";
        key: String = "key";
    }
}

header! {
    /// Answer to GET_KV_CONFIG.
    ///
    /// Reference: GetKVConfigResponseHeader
    pub struct GetKvConfigResponseHeader {
        value: Option<String> = "value";
    }
}

header! {
    /// DELETE_KV_CONFIG.
    ///
    /// Reference: DeleteKVConfigRequestHeader
    pub struct DeleteKvConfigRequestHeader {
        namespace: String = "namespace";
        key: String = "key";
    }
}

header! {
    /// GET_KVLIST_BY_NAMESPACE.
    ///
    /// Reference: GetKVListByNamespaceRequestHeader
    pub struct GetKvListByNamespaceRequestHeader {
        namespace: String = "namespace";
    }
}
