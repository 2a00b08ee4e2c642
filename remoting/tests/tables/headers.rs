//! Every header struct by request code and direction, for the tests that go through all of them.

use remoting::fields::{DecodeHeader, EncodeHeader, FieldBuffer, FieldError, Fields};
use remoting::header::*;

/// Reads a header and writes it again.
pub type Rewrite = fn(Fields<'_>) -> Result<FieldBuffer, FieldError>;

macro_rules! headers {
    ($($code:ident $direction:ident $header:ident;)*) => {
        &[$((stringify!($code), stringify!($direction), |fields| {
            let mut out = FieldBuffer::new();
            $header::decode(fields)?.encode(&mut out);
            Ok(out)
        })),*]
    };
}

/// Request code, direction, and how to read and write the header.
pub const HEADERS: &[(&str, &str, Rewrite)] = headers! {
    SEND_MESSAGE_V2 request SendMessageRequestHeaderV2;
    SEND_MESSAGE_V2 response SendMessageResponseHeader;
    SEND_BATCH_MESSAGE request SendMessageRequestHeaderV2;
    SEND_BATCH_MESSAGE response SendMessageResponseHeader;
    SEND_REPLY_MESSAGE_V2 request SendMessageRequestHeaderV2;
    SEND_REPLY_MESSAGE_V2 response SendMessageResponseHeader;
    SEND_MESSAGE request SendMessageRequestHeader;
    SEND_MESSAGE response SendMessageResponseHeader;
    SEND_REPLY_MESSAGE request SendMessageRequestHeader;
    SEND_REPLY_MESSAGE response SendMessageResponseHeader;
    RECALL_MESSAGE request RecallMessageRequestHeader;
    RECALL_MESSAGE response RecallMessageResponseHeader;
    CONSUMER_SEND_MSG_BACK request ConsumerSendMsgBackRequestHeader;
    PUSH_REPLY_MESSAGE_TO_CLIENT request ReplyMessageRequestHeader;
    END_TRANSACTION request EndTransactionRequestHeader;
    CHECK_TRANSACTION_STATE request CheckTransactionStateRequestHeader;
    RESUME_CHECK_HALF_MESSAGE request ResumeCheckHalfMessageRequestHeader;
    PULL_MESSAGE request PullMessageRequestHeader;
    PULL_MESSAGE response PullMessageResponseHeader;
    LITE_PULL_MESSAGE request PullMessageRequestHeader;
    LITE_PULL_MESSAGE response PullMessageResponseHeader;
    QUERY_CONSUMER_OFFSET request QueryConsumerOffsetRequestHeader;
    QUERY_CONSUMER_OFFSET response QueryConsumerOffsetResponseHeader;
    UPDATE_CONSUMER_OFFSET request UpdateConsumerOffsetRequestHeader;
    GET_MAX_OFFSET request GetMaxOffsetRequestHeader;
    GET_MAX_OFFSET response GetMaxOffsetResponseHeader;
    GET_MIN_OFFSET request GetMinOffsetRequestHeader;
    GET_MIN_OFFSET response GetMinOffsetResponseHeader;
    SEARCH_OFFSET_BY_TIMESTAMP request SearchOffsetRequestHeader;
    SEARCH_OFFSET_BY_TIMESTAMP response SearchOffsetResponseHeader;
    GET_EARLIEST_MSG_STORETIME request GetEarliestMsgStoretimeRequestHeader;
    GET_EARLIEST_MSG_STORETIME response GetEarliestMsgStoretimeResponseHeader;
    UNREGISTER_CLIENT request UnregisterClientRequestHeader;
    GET_CONSUMER_LIST_BY_GROUP request GetConsumerListByGroupRequestHeader;
    NOTIFY_CONSUMER_IDS_CHANGED request NotifyConsumerIdsChangedRequestHeader;
    GET_CONSUMER_RUNNING_INFO request GetConsumerRunningInfoRequestHeader;
    CONSUME_MESSAGE_DIRECTLY request ConsumeMessageDirectlyResultRequestHeader;
    RESET_CONSUMER_CLIENT_OFFSET request ResetOffsetRequestHeader;
    INVOKE_BROKER_TO_RESET_OFFSET request ResetOffsetRequestHeader;
    GET_CONSUMER_STATUS_FROM_CLIENT request GetConsumerStatusRequestHeader;
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS request GetConsumerStatusRequestHeader;
    POP_MESSAGE request PopMessageRequestHeader;
    POP_MESSAGE response PopMessageResponseHeader;
    PEEK_MESSAGE request PeekMessageRequestHeader;
    PEEK_MESSAGE response PopMessageResponseHeader;
    ACK_MESSAGE request AckMessageRequestHeader;
    CHANGE_MESSAGE_INVISIBLETIME request ChangeInvisibleTimeRequestHeader;
    CHANGE_MESSAGE_INVISIBLETIME response ChangeInvisibleTimeResponseHeader;
    NOTIFICATION request NotificationRequestHeader;
    NOTIFICATION response NotificationResponseHeader;
    POLLING_INFO request PollingInfoRequestHeader;
    POLLING_INFO response PollingInfoResponseHeader;
    GET_ROUTEINFO_BY_TOPIC request GetRouteInfoRequestHeader;
    REGISTER_BROKER request RegisterBrokerRequestHeader;
    REGISTER_BROKER response RegisterBrokerResponseHeader;
    UNREGISTER_BROKER request UnRegisterBrokerRequestHeader;
    QUERY_DATA_VERSION request QueryDataVersionRequestHeader;
    QUERY_DATA_VERSION response QueryDataVersionResponseHeader;
    BROKER_HEARTBEAT request BrokerHeartbeatRequestHeader;
    GET_BROKER_MEMBER_GROUP request GetBrokerMemberGroupRequestHeader;
    NOTIFY_MIN_BROKER_ID_CHANGE request NotifyMinBrokerIdChangeRequestHeader;
    GET_TOPICS_BY_CLUSTER request GetTopicsByClusterRequestHeader;
    DELETE_TOPIC_IN_NAMESRV request DeleteTopicFromNamesrvRequestHeader;
    REGISTER_TOPIC_IN_NAMESRV request RegisterTopicRequestHeader;
    WIPE_WRITE_PERM_OF_BROKER request WipeWritePermOfBrokerRequestHeader;
    WIPE_WRITE_PERM_OF_BROKER response WipeWritePermOfBrokerResponseHeader;
    ADD_WRITE_PERM_OF_BROKER request AddWritePermOfBrokerRequestHeader;
    ADD_WRITE_PERM_OF_BROKER response AddWritePermOfBrokerResponseHeader;
    PUT_KV_CONFIG request PutKvConfigRequestHeader;
    GET_KV_CONFIG request GetKvConfigRequestHeader;
    GET_KV_CONFIG response GetKvConfigResponseHeader;
    DELETE_KV_CONFIG request DeleteKvConfigRequestHeader;
    GET_KVLIST_BY_NAMESPACE request GetKvListByNamespaceRequestHeader;
    QUERY_MESSAGE request QueryMessageRequestHeader;
    QUERY_MESSAGE response QueryMessageResponseHeader;
    VIEW_MESSAGE_BY_ID request ViewMessageRequestHeader;
    UPDATE_AND_CREATE_TOPIC request CreateTopicRequestHeader;
    UPDATE_AND_CREATE_STATIC_TOPIC request CreateTopicRequestHeader;
    DELETE_TOPIC_IN_BROKER request DeleteTopicRequestHeader;
    GET_TOPIC_CONFIG request GetTopicConfigRequestHeader;
    GET_ALL_TOPIC_CONFIG request GetAllTopicConfigRequestHeader;
    GET_ALL_TOPIC_CONFIG response GetAllTopicConfigResponseHeader;
    GET_TOPIC_STATS_INFO request GetTopicStatsInfoRequestHeader;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG request GetAllSubscriptionGroupRequestHeader;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG response GetAllSubscriptionGroupResponseHeader;
    DELETE_SUBSCRIPTIONGROUP request DeleteSubscriptionGroupRequestHeader;
    GET_SUBSCRIPTIONGROUP_CONFIG request GetSubscriptionGroupConfigRequestHeader;
    UPDATE_AND_GET_GROUP_FORBIDDEN request UpdateGroupForbiddenRequestHeader;
    GET_CONSUMER_CONNECTION_LIST request GetConsumerConnectionListRequestHeader;
    GET_PRODUCER_CONNECTION_LIST request GetProducerConnectionListRequestHeader;
    GET_CONSUME_STATS request GetConsumeStatsRequestHeader;
    GET_BROKER_CONSUME_STATS request GetConsumeStatsInBrokerHeader;
    QUERY_TOPIC_CONSUME_BY_WHO request QueryTopicConsumeByWhoRequestHeader;
    QUERY_TOPICS_BY_CONSUMER request QueryTopicsByConsumerRequestHeader;
    QUERY_SUBSCRIPTION_BY_CONSUMER request QuerySubscriptionByConsumerRequestHeader;
    QUERY_CONSUME_TIME_SPAN request QueryConsumeTimeSpanRequestHeader;
    QUERY_CORRECTION_OFFSET request QueryCorrectionOffsetHeader;
    CLONE_GROUP_OFFSET request CloneGroupOffsetRequestHeader;
    GET_BROKER_CONFIG response GetBrokerConfigResponseHeader;
    VIEW_BROKER_STATS_DATA request ViewBrokerStatsDataRequestHeader;
    QUERY_CONSUME_QUEUE request QueryConsumeQueueRequestHeader;
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS request CheckRocksdbCqWriteProgressRequestHeader;
    EXPORT_ROCKSDB_CONFIG_TO_JSON request ExportRocksDbConfigToJsonRequestHeader;
    EXCHANGE_BROKER_HA_INFO request ExchangeHaInfoRequestHeader;
    EXCHANGE_BROKER_HA_INFO response ExchangeHaInfoResponseHeader;
    RESET_MASTER_FLUSH_OFFSET request ResetMasterFlushOffsetHeader;
    AUTH_CREATE_USER request CreateUserRequestHeader;
    AUTH_UPDATE_USER request UpdateUserRequestHeader;
    AUTH_DELETE_USER request DeleteUserRequestHeader;
    AUTH_GET_USER request GetUserRequestHeader;
    AUTH_LIST_USER request ListUsersRequestHeader;
    AUTH_CREATE_ACL request CreateAclRequestHeader;
    AUTH_UPDATE_ACL request UpdateAclRequestHeader;
    AUTH_DELETE_ACL request DeleteAclRequestHeader;
    AUTH_GET_ACL request GetAclRequestHeader;
    AUTH_LIST_ACL request ListAclsRequestHeader;
    POP_LITE_MESSAGE request PopLiteMessageRequestHeader;
    POP_LITE_MESSAGE response PopLiteMessageResponseHeader;
    NOTIFY_UNSUBSCRIBE_LITE request NotifyUnsubscribeLiteRequestHeader;
    GET_PARENT_TOPIC_INFO request GetParentTopicInfoRequestHeader;
    GET_LITE_TOPIC_INFO request GetLiteTopicInfoRequestHeader;
    GET_LITE_CLIENT_INFO request GetLiteClientInfoRequestHeader;
    GET_LITE_GROUP_INFO request GetLiteGroupInfoRequestHeader;
    TRIGGER_LITE_DISPATCH request TriggerLiteDispatchRequestHeader;
};
