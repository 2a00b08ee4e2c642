//! Every request the NameServer knows.
//!
//! What only looks something up is answered where it is read; what walks a table, decodes a long body or
//! writes a file runs in the lane `blocking`.

use remoting::fields::NoHeader;
use remoting::header::{
    AddWritePermOfBrokerRequestHeader, BrokerHeartbeatRequestHeader, DeleteKvConfigRequestHeader,
    DeleteTopicFromNamesrvRequestHeader, GetBrokerMemberGroupRequestHeader, GetKvConfigRequestHeader,
    GetKvListByNamespaceRequestHeader, GetRouteInfoRequestHeader, GetTopicsByClusterRequestHeader,
    PutKvConfigRequestHeader, QueryDataVersionRequestHeader, RegisterBrokerRequestHeader,
    RegisterTopicRequestHeader, UnRegisterBrokerRequestHeader, WipeWritePermOfBrokerRequestHeader,
};
use remoting::routes;

use crate::Namesrv;
use crate::processor::{admin, broker, kv, route, topic};

routes! { Namesrv;
    // code                             header                               handler                              lane
    GET_ROUTEINFO_BY_TOPIC              => GetRouteInfoRequestHeader<'_>,       route::get_route_info_by_topic,      inline;

    REGISTER_BROKER                     => RegisterBrokerRequestHeader,         broker::register_broker,             blocking;
    UNREGISTER_BROKER                   => UnRegisterBrokerRequestHeader,       broker::unregister_broker,           blocking;
    QUERY_DATA_VERSION                  => QueryDataVersionRequestHeader,       broker::query_data_version,          inline;
    BROKER_HEARTBEAT                    => BrokerHeartbeatRequestHeader,        broker::broker_heartbeat,            inline;
    GET_BROKER_CLUSTER_INFO             => NoHeader,                            broker::get_broker_cluster_info,     blocking;
    GET_BROKER_MEMBER_GROUP             => GetBrokerMemberGroupRequestHeader,   broker::get_broker_member_group,     inline;
    WIPE_WRITE_PERM_OF_BROKER           => WipeWritePermOfBrokerRequestHeader,  broker::wipe_write_perm_of_broker,   blocking;
    ADD_WRITE_PERM_OF_BROKER            => AddWritePermOfBrokerRequestHeader,   broker::add_write_perm_of_broker,    blocking;

    GET_ALL_TOPIC_LIST_FROM_NAMESERVER  => NoHeader,                            topic::get_all_topic_list,           blocking;
    GET_TOPICS_BY_CLUSTER               => GetTopicsByClusterRequestHeader,     topic::get_topics_by_cluster,        blocking;
    GET_SYSTEM_TOPIC_LIST_FROM_NS       => NoHeader,                            topic::get_system_topic_list,        blocking;
    GET_UNIT_TOPIC_LIST                 => NoHeader,                            topic::get_unit_topic_list,          blocking;
    GET_HAS_UNIT_SUB_TOPIC_LIST         => NoHeader,                            topic::get_has_unit_sub_topic_list,  blocking;
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST  => NoHeader,                            topic::get_has_unit_sub_ununit_topic_list, blocking;
    DELETE_TOPIC_IN_NAMESRV             => DeleteTopicFromNamesrvRequestHeader, topic::delete_topic_in_namesrv,      inline;
    REGISTER_TOPIC_IN_NAMESRV           => RegisterTopicRequestHeader,          topic::register_topic_in_namesrv,    inline;

    PUT_KV_CONFIG                       => PutKvConfigRequestHeader,            kv::put_kv_config,                   blocking;
    GET_KV_CONFIG                       => GetKvConfigRequestHeader,            kv::get_kv_config,                   inline;
    DELETE_KV_CONFIG                    => DeleteKvConfigRequestHeader,         kv::delete_kv_config,                blocking;
    GET_KVLIST_BY_NAMESPACE             => GetKvListByNamespaceRequestHeader,   kv::get_kv_list_by_namespace,        inline;

    UPDATE_NAMESRV_CONFIG               => NoHeader,                            admin::update_namesrv_config,        blocking;
    GET_NAMESRV_CONFIG                  => NoHeader,                            admin::get_namesrv_config,           inline;

    // Of brokers, controllers, containers and clients.
    unsupported:
        SEND_MESSAGE_V2, SEND_BATCH_MESSAGE, SEND_REPLY_MESSAGE_V2, RECALL_MESSAGE, END_TRANSACTION, SEND_MESSAGE,
        SEND_REPLY_MESSAGE, HEART_BEAT, UNREGISTER_CLIENT, PULL_MESSAGE, LITE_PULL_MESSAGE, QUERY_CONSUMER_OFFSET,
        UPDATE_CONSUMER_OFFSET, GET_MAX_OFFSET, GET_MIN_OFFSET, SEARCH_OFFSET_BY_TIMESTAMP,
        GET_EARLIEST_MSG_STORETIME, GET_CONSUMER_LIST_BY_GROUP, LOCK_BATCH_MQ, UNLOCK_BATCH_MQ,
        CONSUMER_SEND_MSG_BACK, CHECK_CLIENT_CONFIG, QUERY_ASSIGNMENT, POP_MESSAGE, ACK_MESSAGE,
        CHANGE_MESSAGE_INVISIBLETIME, BATCH_ACK_MESSAGE, PEEK_MESSAGE, NOTIFICATION, POLLING_INFO,
        CHECK_TRANSACTION_STATE, NOTIFY_CONSUMER_IDS_CHANGED, PUSH_REPLY_MESSAGE_TO_CLIENT,
        RESET_CONSUMER_CLIENT_OFFSET, GET_CONSUMER_STATUS_FROM_CLIENT, GET_CONSUMER_RUNNING_INFO,
        CONSUME_MESSAGE_DIRECTLY, NOTIFY_UNSUBSCRIBE_LITE, QUERY_MESSAGE, VIEW_MESSAGE_BY_ID,
        UPDATE_AND_CREATE_TOPIC, UPDATE_AND_CREATE_TOPIC_LIST, DELETE_TOPIC_IN_BROKER, GET_TOPIC_CONFIG,
        GET_ALL_TOPIC_CONFIG, GET_TOPIC_STATS_INFO, GET_SYSTEM_TOPIC_LIST_FROM_BROKER, CLEAN_UNUSED_TOPIC,
        CLEAN_EXPIRED_CONSUMEQUEUE, DELETE_EXPIRED_COMMITLOG, UPDATE_AND_CREATE_STATIC_TOPIC,
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG, DELETE_SUBSCRIPTIONGROUP, GET_SUBSCRIPTIONGROUP_CONFIG,
        UPDATE_AND_GET_GROUP_FORBIDDEN, GET_CONSUMER_CONNECTION_LIST, GET_PRODUCER_CONNECTION_LIST,
        GET_ALL_PRODUCER_INFO, GET_CONSUME_STATS, GET_BROKER_CONSUME_STATS, QUERY_TOPIC_CONSUME_BY_WHO,
        QUERY_TOPICS_BY_CONSUMER, QUERY_SUBSCRIPTION_BY_CONSUMER, QUERY_CONSUME_TIME_SPAN, QUERY_CORRECTION_OFFSET,
        CLONE_GROUP_OFFSET, INVOKE_BROKER_TO_RESET_OFFSET, INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
        SET_MESSAGE_REQUEST_MODE, UPDATE_BROKER_CONFIG, GET_BROKER_CONFIG, GET_BROKER_RUNTIME_INFO,
        VIEW_BROKER_STATS_DATA, QUERY_CONSUME_QUEUE, RESUME_CHECK_HALF_MESSAGE, CHECK_ROCKSDB_CQ_WRITE_PROGRESS,
        EXPORT_ROCKSDB_CONFIG_TO_JSON, UPDATE_COLD_DATA_FLOW_CTR_CONFIG, REMOVE_COLD_DATA_FLOW_CTR_CONFIG,
        GET_COLD_DATA_FLOW_CTR_INFO, SET_COMMITLOG_READ_MODE, SWITCH_TIMER_ENGINE, POP_ROLLBACK, AUTH_CREATE_USER,
        AUTH_UPDATE_USER, AUTH_DELETE_USER, AUTH_GET_USER, AUTH_LIST_USER, AUTH_CREATE_ACL, AUTH_UPDATE_ACL,
        AUTH_DELETE_ACL, AUTH_GET_ACL, AUTH_LIST_ACL, POP_LITE_MESSAGE, LITE_SUBSCRIPTION_CTL, GET_BROKER_LITE_INFO,
        GET_PARENT_TOPIC_INFO, GET_LITE_TOPIC_INFO, GET_LITE_CLIENT_INFO, GET_LITE_GROUP_INFO, TRIGGER_LITE_DISPATCH,
        ACK_LITE_MESSAGE, GET_ALL_CONSUMER_OFFSET, GET_ALL_DELAY_OFFSET, GET_TIMER_CHECK_POINT, GET_TIMER_METRICS,
        GET_ALL_MESSAGE_REQUEST_MODE, EXCHANGE_BROKER_HA_INFO, GET_BROKER_HA_STATUS, RESET_MASTER_FLUSH_OFFSET,
        NOTIFY_MIN_BROKER_ID_CHANGE, ADD_BROKER, REMOVE_BROKER, GET_BROKER_EPOCH_CACHE, NOTIFY_BROKER_ROLE_CHANGED,
        CONTROLLER_ALTER_SYNC_STATE_SET, CONTROLLER_ELECT_MASTER, CONTROLLER_REGISTER_BROKER,
        CONTROLLER_GET_REPLICA_INFO, CONTROLLER_GET_METADATA_INFO, CONTROLLER_GET_SYNC_STATE_DATA,
        UPDATE_CONTROLLER_CONFIG, GET_CONTROLLER_CONFIG, CLEAN_BROKER_DATA, CONTROLLER_GET_NEXT_BROKER_ID,
        CONTROLLER_APPLY_BROKER_ID, BROKER_CLOSE_CHANNEL_REQUEST, CHECK_NOT_ACTIVE_BROKER_REQUEST,
        GET_BROKER_LIVE_INFO_REQUEST, GET_SYNC_STATE_DATA_REQUEST, RAFT_BROKER_HEART_BEAT_EVENT_REQUEST,
        QUERY_BROKER_OFFSET, GET_TOPIC_CONFIG_LIST, GET_TOPIC_NAME_LIST, TRIGGER_DELETE_FILES, GET_CLIENT_CONFIG,
        SUSPEND_CONSUMER, RESUME_CONSUMER, RESET_CONSUMER_OFFSET_IN_CONSUMER, RESET_CONSUMER_OFFSET_IN_BROKER,
        ADJUST_CONSUMER_THREAD_POOL, WHO_CONSUME_THE_MESSAGE, REGISTER_FILTER_SERVER, REGISTER_MESSAGE_FILTER_CLASS;
}

#[cfg(test)]
mod tests {
    use remoting::routes::{Routes, assert_every_code_listed};

    use super::*;

    #[test]
    fn every_request_code_is_either_answered_or_named_as_unsupported() {
        assert_every_code_listed(Namesrv::ROUTED, Namesrv::UNSUPPORTED);
    }
}
