//! Clients: membership, and what a broker asks of a client over the client's own connection.

use std::borrow::Cow;

use crate::header;

header! {
    /// Fields of the answer to HEART_BEAT. The request has an empty header.
    ///
    /// Reference: ClientManageProcessor.heartBeat
    pub struct HeartbeatResponseHeader {
        /// Whether heartbeats may leave their subscriptions out.
        is_support_heart_beat_v2: bool = "IS_SUPPORT_HEART_BEAT_V2", default true;
        /// Whether the client must send its subscriptions in full.
        is_sub_change: bool = "IS_SUB_CHANGE", default true;
    }
}

header! {
    /// UNREGISTER_CLIENT: a client leaves its groups.
    ///
    /// Reference: UnregisterClientRequestHeader
    pub struct UnregisterClientRequestHeader {
        client_id: String = "clientID";
        producer_group: Option<String> = "producerGroup";
        consumer_group: Option<String> = "consumerGroup";
    }
}

header! {
    /// GET_CONSUMER_LIST_BY_GROUP: client ids of a group.
    ///
    /// Reference: GetConsumerListByGroupRequestHeader
    pub struct GetConsumerListByGroupRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
    }
}

header! {
    /// NOTIFY_CONSUMER_IDS_CHANGED, broker to client: rebalance now.
    ///
    /// Reference: NotifyConsumerIdsChangedRequestHeader
    pub struct NotifyConsumerIdsChangedRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
    }
}

header! {
    /// GET_CONSUMER_RUNNING_INFO, from an administrator and on to the client.
    ///
    /// Reference: GetConsumerRunningInfoRequestHeader
    pub struct GetConsumerRunningInfoRequestHeader {
        consumer_group: String = "consumerGroup";
        client_id: String = "clientId";
        jstack_enable: bool = "jstackEnable", default false;
    }
}

header! {
    /// CONSUME_MESSAGE_DIRECTLY, from an administrator and on to the client.
    ///
    /// Reference: ConsumeMessageDirectlyResultRequestHeader
    pub struct ConsumeMessageDirectlyResultRequestHeader {
        consumer_group: String = "consumerGroup";
        client_id: Option<String> = "clientId";
        /// Offset message id.
        msg_id: Option<String> = "msgId";
        /// Set by the broker on the way to the client, like the flags.
        broker_name: Option<String> = "brokerName";
        topic: Option<String> = "topic";
        topic_sys_flag: Option<i32> = "topicSysFlag";
        group_sys_flag: Option<i32> = "groupSysFlag";
    }
}

header! {
    /// INVOKE_BROKER_TO_RESET_OFFSET from an administrator, RESET_CONSUMER_CLIENT_OFFSET on to clients.
    ///
    /// Reference: ResetOffsetRequestHeader
    pub struct ResetOffsetRequestHeader {
        group: String = "group";
        topic: String = "topic";
        /// -1 or absent: all queues.
        queue_id: i32 = "queueId", default -1;
        /// For one queue: the new offset. -1 or absent: look it up by the timestamp.
        offset: Option<i64> = "offset";
        /// -1 is now.
        timestamp: i64 = "timestamp";
        /// Whether an offset may also move forward.
        is_force: bool = "isForce", default false;
    }
}

header! {
    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS from an administrator, GET_CONSUMER_STATUS_FROM_CLIENT on to clients.
    ///
    /// Reference: GetConsumerStatusRequestHeader
    pub struct GetConsumerStatusRequestHeader {
        topic: String = "topic";
        group: String = "group";
        client_addr: Option<String> = "clientAddr";
    }
}
