//! Every body struct by the name of its Java class, for the tests that go through all of them.

use remoting::body::*;

/// Reads a body and writes it again.
pub type Rewrite = fn(&[u8]) -> Result<Vec<u8>, fastjson::Error>;

macro_rules! classes {
    ($($name:literal $class:ty;)*) => {
        &[$(($name, |text| fastjson::to_vec(&fastjson::from_slice::<$class>(text)?))),*]
    };
}

/// Java's name of a class, and how to read and write its JSON.
pub const CLASSES: &[(&str, Rewrite)] = classes! {
    "TopicRouteData" TopicRouteData;
    "QueueData" QueueData;
    "BrokerData" BrokerData;
    "ClusterInfo" ClusterInfo;
    "RegisterBrokerBody" RegisterBrokerBody;
    "TopicConfigSerializeWrapper" TopicConfigSerializeWrapper;
    "DataVersion" DataVersion;
    "GetBrokerMemberGroupResponseBody" GetBrokerMemberGroupResponseBody;
    "BrokerMemberGroup" BrokerMemberGroup;
    "KVTable" KvTable;
    "TopicList" TopicList;
    "TopicConfig" TopicConfig;
    "TopicConfigAndMappingSerializeWrapper" TopicConfigAndMappingSerializeWrapper;
    "TopicConfigAndQueueMapping" TopicConfigAndQueueMapping;
    "CreateTopicListRequestBody" CreateTopicListRequestBody;
    "TopicStatsTable" TopicStatsTable;
    "TopicQueueMappingInfo" TopicQueueMappingInfo;
    "TopicQueueMappingDetail" TopicQueueMappingDetail;
    "LogicQueueMappingItem" LogicQueueMappingItem;
    "TopicQueueMappingSerializeWrapper" TopicQueueMappingSerializeWrapper;
    "HeartbeatData" HeartbeatData;
    "ConsumerData" ConsumerData;
    "ProducerData" ProducerData;
    "SubscriptionData" SubscriptionData;
    "CheckClientRequestBody" CheckClientRequestBody;
    "GetConsumerListByGroupResponseBody" GetConsumerListByGroupResponseBody;
    "ConsumerConnection" ConsumerConnection;
    "ProducerConnection" ProducerConnection;
    "Connection" Connection;
    "ProducerTableInfo" ProducerTableInfo;
    "ProducerInfo" ProducerInfo;
    "SubscriptionGroupConfig" SubscriptionGroupConfig;
    "SubscriptionGroupList" SubscriptionGroupList;
    "SubscriptionGroupWrapper" SubscriptionGroupWrapper;
    "GroupForbidden" GroupForbidden;
    "GroupList" GroupList;
    "QuerySubscriptionResponseBody" QuerySubscriptionResponseBody;
    "ConsumeStats" ConsumeStats;
    "OffsetWrapper" OffsetWrapper;
    "ConsumeStatsList" ConsumeStatsList;
    "ResetOffsetBody" ResetOffsetBody;
    "ResetOffsetBodyForC" ResetOffsetBodyForC;
    "GetConsumerStatusBody" GetConsumerStatusBody;
    "QueryCorrectionOffsetBody" QueryCorrectionOffsetBody;
    "QueryConsumeTimeSpanBody" QueryConsumeTimeSpanBody;
    "ConsumerOffsetSerializeWrapper" ConsumerOffsetSerializeWrapper;
    "ConsumeMessageDirectlyResult" ConsumeMessageDirectlyResult;
    "QueryConsumeQueueResponseBody" QueryConsumeQueueResponseBody;
    "LockBatchRequestBody" LockBatchRequestBody;
    "LockBatchResponseBody" LockBatchResponseBody;
    "UnlockBatchRequestBody" UnlockBatchRequestBody;
    "QueryAssignmentRequestBody" QueryAssignmentRequestBody;
    "QueryAssignmentResponseBody" QueryAssignmentResponseBody;
    "SetMessageRequestModeRequestBody" SetMessageRequestModeRequestBody;
    "MessageRequestModeSerializeWrapper" MessageRequestModeSerializeWrapper;
    "BatchAckMessageRequestBody" BatchAckMessageRequestBody;
    "OffsetMovedEvent" OffsetMovedEvent;
    "BrokerStatsData" BrokerStatsData;
    "HARuntimeInfo" HaRuntimeInfo;
    "EpochEntryCache" EpochEntryCache;
    "CheckRocksdbCqWriteResult" CheckRocksdbCqWriteResult;
    "UserInfo" UserInfo;
    "AclInfo" AclInfo;
    "LiteSubscriptionCtlRequestBody" LiteSubscriptionCtlRequestBody;
    "GetBrokerLiteInfoResponseBody" GetBrokerLiteInfoResponseBody;
    "GetParentTopicInfoResponseBody" GetParentTopicInfoResponseBody;
    "GetLiteTopicInfoResponseBody" GetLiteTopicInfoResponseBody;
    "GetLiteClientInfoResponseBody" GetLiteClientInfoResponseBody;
    "GetLiteGroupInfoResponseBody" GetLiteGroupInfoResponseBody;
    "PopCheckPoint" PopCheckPoint;
    "AckMsg" AckMsg;
    "BatchAckMsg" BatchAckMsg;
};
