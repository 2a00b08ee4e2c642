//! Pulling messages.

use std::borrow::Cow;

use crate::header;

header! {
    /// PULL_MESSAGE and LITE_PULL_MESSAGE.
    ///
    /// Reference: PullMessageRequestHeader
    pub struct PullMessageRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        lite_topic: Option<Cow<'a, str>> = "liteTopic";
        queue_id: i32 = "queueId";
        queue_offset: i64 = "queueOffset";
        max_msg_nums: i32 = "maxMsgNums";
        /// Bits: 1 commit, 2 suspend, 4 subscription given, 8 class filter, 16 lite pull.
        sys_flag: i32 = "sysFlag", default 0;
        commit_offset: i64 = "commitOffset", default 0;
        suspend_timeout_millis: i64 = "suspendTimeoutMillis", default 0;
        subscription: Option<Cow<'a, str>> = "subscription";
        sub_version: i64 = "subVersion", default 0;
        expression_type: Option<Cow<'a, str>> = "expressionType";
        max_msg_bytes: Option<i32> = "maxMsgBytes";
        /// -1 SDK, 0 proxy in order, 1 proxy broadcast, 2 proxy stream.
        request_source: Option<i32> = "requestSource";
        /// Spelt so on the wire.
        proxy_froward_client_id: Option<Cow<'a, str>> = "proxyFrowardClientId";
        logical: Option<bool> = "lo";
    }
}

header! {
    /// Answer to a pull, also when it brings no message.
    ///
    /// Reference: PullMessageResponseHeader
    pub struct PullMessageResponseHeader {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId";
        next_begin_offset: i64 = "nextBeginOffset";
        min_offset: i64 = "minOffset";
        max_offset: i64 = "maxOffset";
        /// Static topics only.
        offset_delta: Option<i64> = "offsetDelta";
        topic_sys_flag: i32 = "topicSysFlag", default 0;
        group_sys_flag: i32 = "groupSysFlag", default 0;
        /// With NO_PERMISSION: 1 broker, 2 group, 3 topic, 4 broadcast, 5 subscription.
        forbidden_type: Option<i32> = "forbiddenType";
    }
}
