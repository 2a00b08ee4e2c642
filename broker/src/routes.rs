//! THE table: every request the broker serves, with its header, its handler and where the handler may run.
//!
//! Lanes: `inline` on the task of the connection (memory and hot pages only), `blocking` on a bounded pool (scans, deletions,
//! files), `task` for handlers that ask another process. Codes under `unsupported` get REQUEST_CODE_NOT_SUPPORTED; the test
//! below sees to it that no code of the protocol stands in neither list.

use remoting::fields::NoHeader;
use remoting::header::*;
use remoting::routes;

use crate::broker::Broker;
use crate::processor::reply_message::SendReplyMessageRequestHeader;
use crate::processor::*;

routes! { Broker;
    SEND_MESSAGE                => SendMessageRequestHeader,             send_message::send_message,                inline;
    SEND_MESSAGE_V2             => SendMessageRequestHeader,             send_message::send_message,                inline;
    SEND_BATCH_MESSAGE          => SendMessageRequestHeader,             send_message::send_message,                inline;
    CONSUMER_SEND_MSG_BACK      => ConsumerSendMsgBackRequestHeader,     send_back::send_back,                      inline;
    RECALL_MESSAGE              => RecallMessageRequestHeader,           recall_message::recall_message,            inline;
    SEND_REPLY_MESSAGE          => SendReplyMessageRequestHeader,        reply_message::send_reply_message,         task;
    SEND_REPLY_MESSAGE_V2       => SendReplyMessageRequestHeader,        reply_message::send_reply_message,         task;
    END_TRANSACTION             => EndTransactionRequestHeader,          end_transaction::end_transaction,          inline;
    PULL_MESSAGE                => PullMessageRequestHeader,             pull_message::pull_message,                inline;
    LITE_PULL_MESSAGE           => PullMessageRequestHeader,             pull_message::pull_message,                inline;
    POP_MESSAGE                 => PopMessageRequestHeader,              pop_message::pop_message,                  inline;
    ACK_MESSAGE                 => AckMessageRequestHeader,              ack_message::ack_message,                  inline;
    BATCH_ACK_MESSAGE           => NoHeader,                             ack_message::batch_ack_message,            inline;
    CHANGE_MESSAGE_INVISIBLETIME => ChangeInvisibleTimeRequestHeader,    change_invisible_time::change_invisible_time, inline;
    PEEK_MESSAGE                => PeekMessageRequestHeader,             peek_message::peek_message,                blocking;
    NOTIFICATION                => NotificationRequestHeader,            notification::notification,                inline;
    POLLING_INFO                => PollingInfoRequestHeader,             notification::polling_info,                inline;
    POP_LITE_MESSAGE            => PopLiteMessageRequestHeader,          pop_lite_message::pop_lite_message,        blocking;
    LITE_SUBSCRIPTION_CTL       => NoHeader,                             lite_subscription::control,                task;
    QUERY_ASSIGNMENT            => NoHeader,                             query_assignment::query_assignment,        task;
    SET_MESSAGE_REQUEST_MODE    => NoHeader,                             query_assignment::set_mode,                blocking;
    GET_ALL_MESSAGE_REQUEST_MODE => NoHeader,                            query_assignment::all_modes,               inline;
    HEART_BEAT                  => NoHeader,                             client_manage::heartbeat,                  inline;
    UNREGISTER_CLIENT           => UnregisterClientRequestHeader,        client_manage::unregister_client,          inline;
    CHECK_CLIENT_CONFIG         => NoHeader,                             client_manage::check_client_config,        inline;
    GET_CONSUMER_LIST_BY_GROUP  => GetConsumerListByGroupRequestHeader,  consumer_manage::consumer_list,            inline;
    LOCK_BATCH_MQ               => NoHeader,                             queue_lock::lock_batch,                    inline;
    UNLOCK_BATCH_MQ             => NoHeader,                             queue_lock::unlock_batch,                  inline;
    QUERY_CONSUMER_OFFSET       => QueryConsumerOffsetRequestHeader,     consumer_manage::query_offset,             inline;
    UPDATE_CONSUMER_OFFSET      => UpdateConsumerOffsetRequestHeader,    consumer_manage::update_offset,            inline;
    GET_MAX_OFFSET              => GetMaxOffsetRequestHeader,            queue_offset::max_offset,                  inline;
    GET_MIN_OFFSET              => GetMinOffsetRequestHeader,            queue_offset::min_offset,                  inline;
    SEARCH_OFFSET_BY_TIMESTAMP  => SearchOffsetRequestHeader,            queue_offset::search_offset,               blocking;
    GET_EARLIEST_MSG_STORETIME  => GetEarliestMsgStoretimeRequestHeader, queue_offset::earliest_store_time,         blocking;
    QUERY_MESSAGE               => QueryMessageRequestHeader,            query_message::query_message,              blocking;
    VIEW_MESSAGE_BY_ID          => ViewMessageRequestHeader,             query_message::view_message_by_id,         blocking;

    UPDATE_AND_CREATE_TOPIC                  => CreateTopicRequestHeader,                  admin::topic::update_and_create,       blocking;
    UPDATE_AND_CREATE_TOPIC_LIST             => NoHeader,                                  admin::topic::update_and_create_list,  blocking;
    UPDATE_AND_CREATE_STATIC_TOPIC           => CreateTopicRequestHeader,                  admin::topic::update_and_create_static, blocking;
    DELETE_TOPIC_IN_BROKER                   => DeleteTopicRequestHeader,                  admin::topic::delete,                  blocking;
    GET_TOPIC_CONFIG                         => GetTopicConfigRequestHeader,               admin::topic::config,                  inline;
    GET_ALL_TOPIC_CONFIG                     => GetAllTopicConfigRequestHeader,            admin::topic::all_configs,             blocking;
    GET_TOPIC_STATS_INFO                     => GetTopicStatsInfoRequestHeader,            admin::topic::stats,                   blocking;
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER        => NoHeader,                                  admin::topic::system_topics,           inline;
    CLEAN_UNUSED_TOPIC                       => NoHeader,                                  admin::topic::clean_unused,            blocking;
    CLEAN_EXPIRED_CONSUMEQUEUE               => NoHeader,                                  admin::topic::clean_expired_queues,    blocking;
    DELETE_EXPIRED_COMMITLOG                 => NoHeader,                                  admin::topic::delete_expired_files,    blocking;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP      => NoHeader,                                  admin::group::update_and_create,       blocking;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => NoHeader,                                  admin::group::update_and_create_list,  blocking;
    DELETE_SUBSCRIPTIONGROUP                 => DeleteSubscriptionGroupRequestHeader,      admin::group::delete,                  blocking;
    GET_SUBSCRIPTIONGROUP_CONFIG             => GetSubscriptionGroupConfigRequestHeader,   admin::group::config,                  inline;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG         => GetAllSubscriptionGroupRequestHeader,      admin::group::all_configs,             blocking;
    UPDATE_AND_GET_GROUP_FORBIDDEN           => UpdateGroupForbiddenRequestHeader,         admin::group::forbidden,               blocking;
    GET_CONSUME_STATS                        => GetConsumeStatsRequestHeader,              admin::progress::of_group,             blocking;
    GET_BROKER_CONSUME_STATS                 => GetConsumeStatsInBrokerHeader,             admin::progress::of_all_groups,        blocking;
    QUERY_TOPIC_CONSUME_BY_WHO               => QueryTopicConsumeByWhoRequestHeader,       admin::progress::groups_of_topic,      blocking;
    QUERY_TOPICS_BY_CONSUMER                 => QueryTopicsByConsumerRequestHeader,        admin::progress::topics_of_group,      blocking;
    QUERY_CONSUME_TIME_SPAN                  => QueryConsumeTimeSpanRequestHeader,         admin::progress::time_span,            blocking;
    INVOKE_BROKER_TO_RESET_OFFSET            => ResetOffsetRequestHeader,                  admin::offset::reset,                  blocking;
    QUERY_CORRECTION_OFFSET                  => QueryCorrectionOffsetHeader,               admin::offset::correction,             blocking;
    CLONE_GROUP_OFFSET                       => CloneGroupOffsetRequestHeader,             admin::offset::clone_group,            blocking;
    GET_ALL_CONSUMER_OFFSET                  => NoHeader,                                  admin::offset::all_consumer_offsets,   blocking;
    GET_ALL_DELAY_OFFSET                     => NoHeader,                                  admin::offset::all_delay_offsets,      blocking;
    GET_TIMER_CHECK_POINT                    => NoHeader,                                  admin::timer::check_point,             inline;
    GET_TIMER_METRICS                        => NoHeader,                                  admin::timer::metrics,                 blocking;
    GET_CONSUMER_CONNECTION_LIST             => GetConsumerConnectionListRequestHeader,    admin::client::consumer_connections,   inline;
    GET_PRODUCER_CONNECTION_LIST             => GetProducerConnectionListRequestHeader,    admin::client::producer_connections,   inline;
    GET_ALL_PRODUCER_INFO                    => NoHeader,                                  admin::client::all_producers,          blocking;
    QUERY_SUBSCRIPTION_BY_CONSUMER           => QuerySubscriptionByConsumerRequestHeader,  admin::client::subscription,           inline;
    GET_CONSUMER_RUNNING_INFO                => GetConsumerRunningInfoRequestHeader,       admin::client::running_info,           task;
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS     => GetConsumerStatusRequestHeader,            admin::client::status,                 task;
    CONSUME_MESSAGE_DIRECTLY                 => ConsumeMessageDirectlyResultRequestHeader, admin::message::consume_directly,      task;
    RESUME_CHECK_HALF_MESSAGE                => ResumeCheckHalfMessageRequestHeader,       admin::message::resume_half_message,   blocking;
    QUERY_CONSUME_QUEUE                      => QueryConsumeQueueRequestHeader,            admin::message::query_consume_queue,   blocking;
    UPDATE_BROKER_CONFIG                     => NoHeader,                                  admin::config::update,                 blocking;
    GET_BROKER_CONFIG                        => NoHeader,                                  admin::config::get,                    blocking;
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS          => CheckRocksdbCqWriteProgressRequestHeader,  admin::config::check_rocksdb_queues,   inline;
    SWITCH_TIMER_ENGINE                      => NoHeader,                                  admin::config::switch_timer_engine,    inline;
    EXPORT_ROCKSDB_CONFIG_TO_JSON            => ExportRocksDbConfigToJsonRequestHeader,    admin::config::export_to_json,         blocking;
    POP_ROLLBACK                             => NoHeader,                                  admin::config::export_pop_records,     inline;
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG         => NoHeader,                                  admin::cold_data::set_thresholds,      inline;
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG         => NoHeader,                                  admin::cold_data::remove_threshold,    inline;
    GET_COLD_DATA_FLOW_CTR_INFO              => NoHeader,                                  admin::cold_data::info,                inline;
    SET_COMMITLOG_READ_MODE                  => SetCommitLogReadModeRequestHeader,         admin::cold_data::set_read_mode,       blocking;
    GET_BROKER_RUNTIME_INFO                  => NoHeader,                                  admin::stats::runtime_info,            blocking;
    VIEW_BROKER_STATS_DATA                   => ViewBrokerStatsDataRequestHeader,          admin::stats::view,                    inline;
    GET_BROKER_HA_STATUS                     => NoHeader,                                  admin::stats::ha_status,               blocking;
    RESET_MASTER_FLUSH_OFFSET                => ResetMasterFlushOffsetHeader,              admin::stats::reset_master_flush_offset, inline;
    GET_BROKER_EPOCH_CACHE                   => NoHeader,                                  admin::stats::epoch_cache,             inline;
    GET_BROKER_LITE_INFO                     => NoHeader,                                  admin::lite::broker_info,              blocking;
    GET_PARENT_TOPIC_INFO                    => GetParentTopicInfoRequestHeader,           admin::lite::parent_topic_info,        blocking;
    GET_LITE_TOPIC_INFO                      => GetLiteTopicInfoRequestHeader,             admin::lite::topic_info,               task;
    GET_LITE_CLIENT_INFO                     => GetLiteClientInfoRequestHeader,            admin::lite::client_info,              inline;
    GET_LITE_GROUP_INFO                      => GetLiteGroupInfoRequestHeader,             admin::lite::group_info,               blocking;
    TRIGGER_LITE_DISPATCH                    => TriggerLiteDispatchRequestHeader,          admin::lite::trigger_dispatch,         blocking;

    unsupported:
        QUERY_BROKER_OFFSET, GET_TOPIC_CONFIG_LIST, GET_TOPIC_NAME_LIST, TRIGGER_DELETE_FILES,
        CHECK_TRANSACTION_STATE, NOTIFY_CONSUMER_IDS_CHANGED, GET_CLIENT_CONFIG,
        PUT_KV_CONFIG, GET_KV_CONFIG, DELETE_KV_CONFIG,
        REGISTER_BROKER, UNREGISTER_BROKER, GET_ROUTEINFO_BY_TOPIC, GET_BROKER_CLUSTER_INFO,
        WIPE_WRITE_PERM_OF_BROKER, GET_ALL_TOPIC_LIST_FROM_NAMESERVER, SUSPEND_CONSUMER, RESUME_CONSUMER,
        RESET_CONSUMER_OFFSET_IN_CONSUMER, RESET_CONSUMER_OFFSET_IN_BROKER, ADJUST_CONSUMER_THREAD_POOL,
        WHO_CONSUME_THE_MESSAGE, DELETE_TOPIC_IN_NAMESRV, REGISTER_TOPIC_IN_NAMESRV,
        GET_KVLIST_BY_NAMESPACE, RESET_CONSUMER_CLIENT_OFFSET, GET_CONSUMER_STATUS_FROM_CLIENT,
        GET_TOPICS_BY_CLUSTER, REGISTER_FILTER_SERVER, REGISTER_MESSAGE_FILTER_CLASS,
        GET_SYSTEM_TOPIC_LIST_FROM_NS, GET_UNIT_TOPIC_LIST, GET_HAS_UNIT_SUB_TOPIC_LIST,
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, UPDATE_NAMESRV_CONFIG, GET_NAMESRV_CONFIG, QUERY_DATA_VERSION,
        PUSH_REPLY_MESSAGE_TO_CLIENT, ADD_WRITE_PERM_OF_BROKER,
        GET_BROKER_MEMBER_GROUP, ADD_BROKER,
        REMOVE_BROKER, BROKER_HEARTBEAT, NOTIFY_MIN_BROKER_ID_CHANGE, EXCHANGE_BROKER_HA_INFO,
        CONTROLLER_ALTER_SYNC_STATE_SET, CONTROLLER_ELECT_MASTER, CONTROLLER_REGISTER_BROKER,
        CONTROLLER_GET_REPLICA_INFO, CONTROLLER_GET_METADATA_INFO, CONTROLLER_GET_SYNC_STATE_DATA,
        NOTIFY_BROKER_ROLE_CHANGED, UPDATE_CONTROLLER_CONFIG, GET_CONTROLLER_CONFIG, CLEAN_BROKER_DATA,
        CONTROLLER_GET_NEXT_BROKER_ID, CONTROLLER_APPLY_BROKER_ID, BROKER_CLOSE_CHANNEL_REQUEST,
        CHECK_NOT_ACTIVE_BROKER_REQUEST, GET_BROKER_LIVE_INFO_REQUEST, GET_SYNC_STATE_DATA_REQUEST,
        RAFT_BROKER_HEART_BEAT_EVENT_REQUEST,
        AUTH_CREATE_USER, AUTH_UPDATE_USER, AUTH_DELETE_USER, AUTH_GET_USER, AUTH_LIST_USER,
        AUTH_CREATE_ACL, AUTH_UPDATE_ACL, AUTH_DELETE_ACL, AUTH_GET_ACL, AUTH_LIST_ACL,
        ACK_LITE_MESSAGE, NOTIFY_UNSUBSCRIBE_LITE;
    fast_port_refuses:
        PULL_MESSAGE, LITE_PULL_MESSAGE, PEEK_MESSAGE, POP_MESSAGE, NOTIFICATION, POLLING_INFO, POP_LITE_MESSAGE;
}

#[cfg(test)]
mod tests {
    use remoting::routes::{Routes as _, assert_every_code_listed};

    use super::*;

    #[test]
    fn every_request_code_is_served_or_named_as_unsupported() {
        assert_every_code_listed(Broker::ROUTED, Broker::UNSUPPORTED);
    }
}
