//! Lite topics: popping them, and what mqadmin asks about them.

use std::borrow::Cow;

use crate::header;

header! {
    /// POP_LITE_MESSAGE: takes messages of all lite topics that a client has subscribed to.
    ///
    /// Reference: PopLiteMessageRequestHeader
    pub struct PopLiteMessageRequestHeader<'a> {
        client_id: Cow<'a, str> = "clientId";
        consumer_group: Cow<'a, str> = "consumerGroup";
        /// The parent topic.
        topic: Cow<'a, str> = "topic";
        max_msg_num: i32 = "maxMsgNum";
        invisible_time: i64 = "invisibleTime";
        /// How long to wait for messages.
        poll_time: i64 = "pollTime";
        /// When the client asked; waiting counts from here. 0: when the request arrived.
        born_time: i64 = "bornTime", default 0;
        attempt_id: Option<Cow<'a, str>> = "attemptId";
    }
}

header! {
    /// Answer to POP_LITE_MESSAGE. Messages carry their offsets themselves: INNER_MULTI_QUEUE_OFFSET.
    ///
    /// Reference: PopLiteMessageResponseHeader
    pub struct PopLiteMessageResponseHeader {
        pop_time: i64 = "popTime";
        invisible_time: i64 = "invisibleTime";
        /// 999: lite topics are consumed in order.
        revive_qid: i32 = "reviveQid";
        /// Not used: the messages are of several queues.
        start_offset_info: Option<String> = "startOffsetInfo";
        /// Not used either.
        msg_offset_info: Option<String> = "msgOffsetInfo";
        /// How often each message was handed out before, joined with semicolons.
        order_count_info: Option<String> = "orderCountInfo";
    }
}

header! {
    /// NOTIFY_UNSUBSCRIBE_LITE, broker to client: another client has taken the lite topic over.
    ///
    /// Reference: NotifyUnsubscribeLiteRequestHeader
    pub struct NotifyUnsubscribeLiteRequestHeader<'a> {
        lite_topic: Cow<'a, str> = "liteTopic";
        consumer_group: Cow<'a, str> = "consumerGroup";
        client_id: Cow<'a, str> = "clientId";
    }
}

header! {
    /// GET_PARENT_TOPIC_INFO.
    ///
    /// Reference: GetParentTopicInfoRequestHeader
    pub struct GetParentTopicInfoRequestHeader {
        topic: String = "topic";
    }
}

header! {
    /// GET_LITE_TOPIC_INFO.
    ///
    /// Reference: GetLiteTopicInfoRequestHeader
    pub struct GetLiteTopicInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic";
        lite_topic: Option<String> = "liteTopic";
    }
}

header! {
    /// GET_LITE_CLIENT_INFO.
    ///
    /// Reference: GetLiteClientInfoRequestHeader
    pub struct GetLiteClientInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic";
        group: Option<String> = "group";
        client_id: Option<String> = "clientId";
        max_count: Option<i32> = "maxCount";
    }
}

header! {
    /// GET_LITE_GROUP_INFO.
    ///
    /// Reference: GetLiteGroupInfoRequestHeader
    pub struct GetLiteGroupInfoRequestHeader {
        group: String = "group";
        lite_topic: Option<String> = "liteTopic";
        top_k: Option<i32> = "topK";
    }
}

header! {
    /// TRIGGER_LITE_DISPATCH.
    ///
    /// Reference: TriggerLiteDispatchRequestHeader
    pub struct TriggerLiteDispatchRequestHeader {
        group: String = "group";
        client_id: Option<String> = "clientId";
    }
}
