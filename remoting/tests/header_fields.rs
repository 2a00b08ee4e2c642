//! Every header struct against its Java class: the same field names, and none required that is optional there.

use std::collections::BTreeMap;

use remoting::codes;
use remoting::fields::{DecodeHeader, EncodeHeader, FieldBuffer, FieldError, Fields};
use remoting::header::*;

const CLASSES: &str = include_str!("data/header-fields.txt");

type Rewrite = fn(Fields<'_>) -> Result<FieldBuffer, FieldError>;

/// Request code, direction, and how to read and write the header.
macro_rules! headers {
    ($($code:ident $direction:ident $header:ident;)*) => {
        &[$((stringify!($code), stringify!($direction), |fields| {
            let mut out = FieldBuffer::new();
            $header::decode(fields)?.encode(&mut out);
            Ok(out)
        })),*]
    };
}

const HEADERS: &[(&str, &str, Rewrite)] = headers! {
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
    GET_PARENT_TOPIC_INFO request GetParentTopicInfoRequestHeader;
    GET_LITE_TOPIC_INFO request GetLiteTopicInfoRequestHeader;
    GET_LITE_CLIENT_INFO request GetLiteClientInfoRequestHeader;
    GET_LITE_GROUP_INFO request GetLiteGroupInfoRequestHeader;
    TRIGGER_LITE_DISPATCH request TriggerLiteDispatchRequestHeader;
};

/// One line of the data: a header class of the reference.
struct Class {
    code: &'static str,
    direction: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    kind: &'static str,
    is_required: bool,
}

impl Class {
    fn parse(line: &'static str) -> Class {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("code, direction, fields");
        let (code, direction) = (word(), word());
        Class {
            code,
            direction,
            fields: words.map(Field::parse).collect(),
        }
    }

    fn rewrite(&self) -> Rewrite {
        let row = HEADERS
            .iter()
            .find(|(code, direction, _)| (*code, *direction) == (self.code, self.direction));
        row.unwrap_or_else(|| panic!("no row for {} {}", self.code, self.direction))
            .2
    }
}

impl Field {
    fn parse(word: &'static str) -> Field {
        let (name, kind) = word.split_once(':').expect("name:type");
        Field {
            name,
            kind: kind.trim_end_matches('!'),
            is_required: kind.ends_with('!'),
        }
    }

    /// A value no other field has, and no default.
    fn value(&self, index: usize) -> String {
        match self.kind {
            "s" => format!("text of {}", self.name),
            "i" => format!("-{}", 1000 + index),
            "l" => format!("{}", 1_700_000_000_000 + index),
            "b" => "true".to_owned(),
            "enum" => "UPPER".to_owned(),
            other => panic!("field {} has type {other}", self.name),
        }
    }
}

fn classes() -> impl Iterator<Item = Class> {
    CLASSES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(Class::parse)
}

fn buffer<'a>(fields: impl Iterator<Item = (usize, &'a Field)>) -> FieldBuffer {
    let mut buffer = FieldBuffer::new();
    fields.for_each(|(index, field)| buffer.push_str(field.name, &field.value(index)));
    buffer
}

fn as_map(buffer: &FieldBuffer) -> BTreeMap<String, Option<String>> {
    buffer
        .fields()
        .map(|(name, value)| (name.into_owned(), value.map(|value| value.into_owned())))
        .collect()
}

#[test]
fn every_field_of_every_header_is_read_and_written_back() {
    for class in classes() {
        let sent = buffer(class.fields.iter().enumerate());
        let written =
            class.rewrite()(sent.fields()).unwrap_or_else(|error| panic!("{}: {error}", class.code));
        assert_eq!(
            as_map(&written),
            as_map(&sent),
            "{} {}",
            class.code,
            class.direction
        );
    }
}

#[test]
fn what_is_optional_for_java_may_be_absent() {
    for class in classes() {
        let sent = buffer(
            class
                .fields
                .iter()
                .enumerate()
                .filter(|(_, field)| field.is_required),
        );
        if let Err(error) = class.rewrite()(sent.fields()) {
            panic!("{} {}: {error}", class.code, class.direction);
        }
    }
}

#[test]
fn every_row_has_a_class_and_a_code() {
    let listed: Vec<_> = classes().map(|class| (class.code, class.direction)).collect();
    for (code, direction, _) in HEADERS {
        assert!(
            listed.contains(&(code, direction)),
            "no fields listed for {code} {direction}"
        );
        assert!(
            codes::ALL_REQUESTS.iter().any(|(name, _)| name == code),
            "{code} is no request code"
        );
    }
    assert_eq!(listed.len(), HEADERS.len());
}

#[test]
fn boundary_types_are_upper_only_when_they_say_so() {
    for (text, expected) in [
        (Some("UPPER"), BoundaryType::Upper),
        (Some("upper"), BoundaryType::Upper),
        (Some("LOWER"), BoundaryType::Lower),
        (Some("sideways"), BoundaryType::Lower),
        (None, BoundaryType::Lower),
    ] {
        let mut fields = FieldBuffer::new();
        for (name, value) in [("topic", "T"), ("queueId", "0"), ("timestamp", "1")] {
            fields.push_str(name, value);
        }
        if let Some(text) = text {
            fields.push_str("boundaryType", text);
        }
        let header = SearchOffsetRequestHeader::decode(fields.fields()).unwrap();
        assert_eq!(header.boundary_type, expected, "{text:?}");
    }
}

#[test]
fn a_pull_without_its_queue_is_refused_with_the_field_named() {
    let mut fields = FieldBuffer::new();
    for (name, value) in [
        ("consumerGroup", "G"),
        ("topic", "T"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
    ] {
        fields.push_str(name, value);
    }
    let error = PullMessageRequestHeader::decode(fields.fields()).unwrap_err();
    assert_eq!(error.to_string(), "field queueId is missing");
}
