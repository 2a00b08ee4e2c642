//! POP: consuming while the broker keeps track of each message.

use std::borrow::Cow;

use crate::header;

header! {
    /// POP_MESSAGE: takes messages and hides them for a while.
    ///
    /// Reference: PopMessageRequestHeader
    pub struct PopMessageRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        /// -1: any queue.
        queue_id: i32 = "queueId";
        max_msg_nums: i32 = "maxMsgNums";
        invisible_time: i64 = "invisibleTime", default 0;
        /// How long to wait for messages.
        poll_time: i64 = "pollTime", default 0;
        /// When the client asked; waiting counts from here. 0: when the request arrived.
        born_time: i64 = "bornTime", default 0;
        /// Where a new group starts: 0 oldest, 1 newest.
        init_mode: i32 = "initMode", default 0;
        exp_type: Option<Cow<'a, str>> = "expType";
        exp: Option<Cow<'a, str>> = "exp";
        order: bool = "order", default false;
        attempt_id: Option<Cow<'a, str>> = "attemptId";
    }
}

header! {
    /// Answer to POP_MESSAGE and PEEK_MESSAGE.
    ///
    /// Reference: PopMessageResponseHeader
    pub struct PopMessageResponseHeader {
        pop_time: i64 = "popTime";
        invisible_time: i64 = "invisibleTime";
        /// 999 in orderly consumption.
        revive_qid: i32 = "reviveQid";
        /// Messages left behind.
        rest_num: i64 = "restNum";
        /// `retry queueId startOffset`, joined with semicolons.
        start_offset_info: Option<String> = "startOffsetInfo";
        /// `retry queueId offset,offset,...`, joined with semicolons.
        msg_offset_info: Option<String> = "msgOffsetInfo";
        /// `retry queueId count`, joined with semicolons.
        order_count_info: Option<String> = "orderCountInfo";
    }
}

header! {
    /// ACK_MESSAGE: a message is consumed.
    ///
    /// Reference: AckMessageRequestHeader
    pub struct AckMessageRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        /// The message's POP_CK property.
        extra_info: Cow<'a, str> = "extraInfo";
        offset: i64 = "offset";
        lite_topic: Option<Cow<'a, str>> = "liteTopic";
    }
}

header! {
    /// CHANGE_MESSAGE_INVISIBLETIME: hides a message for longer, or gives it back.
    ///
    /// Reference: ChangeInvisibleTimeRequestHeader
    pub struct ChangeInvisibleTimeRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        /// The message's POP_CK property.
        extra_info: Cow<'a, str> = "extraInfo";
        offset: i64 = "offset";
        invisible_time: i64 = "invisibleTime";
        lite_topic: Option<Cow<'a, str>> = "liteTopic";
        suspend: bool = "suspend", default false;
    }
}

header! {
    /// Answer to CHANGE_MESSAGE_INVISIBLETIME: what the client builds the new handle from.
    ///
    /// Reference: ChangeInvisibleTimeResponseHeader
    pub struct ChangeInvisibleTimeResponseHeader {
        pop_time: i64 = "popTime";
        invisible_time: i64 = "invisibleTime";
        revive_qid: i32 = "reviveQid";
    }
}

header! {
    /// PEEK_MESSAGE: reads without hiding.
    ///
    /// Reference: PeekMessageRequestHeader
    pub struct PeekMessageRequestHeader<'a> {
        topic: Cow<'a, str> = "topic";
        queue_id: i32 = "queueId";
        max_msg_nums: i32 = "maxMsgNums";
        consumer_group: Cow<'a, str> = "consumerGroup";
    }
}

header! {
    /// NOTIFICATION: waits until there is a message.
    ///
    /// Reference: NotificationRequestHeader
    pub struct NotificationRequestHeader<'a> {
        consumer_group: Cow<'a, str> = "consumerGroup";
        topic: Cow<'a, str> = "topic";
        /// -1: any queue.
        queue_id: i32 = "queueId";
        poll_time: i64 = "pollTime";
        /// As in POP_MESSAGE.
        born_time: i64 = "bornTime", default 0;
        order: bool = "order", default false;
        attempt_id: Option<Cow<'a, str>> = "attemptId";
        exp_type: Option<Cow<'a, str>> = "expType";
        exp: Option<Cow<'a, str>> = "exp";
    }
}

header! {
    /// Answer to NOTIFICATION.
    ///
    /// Reference: NotificationResponseHeader
    pub struct NotificationResponseHeader {
        has_msg: bool = "hasMsg";
        polling_full: bool = "pollingFull", default false;
    }
}

header! {
    /// POLLING_INFO: how many wait.
    ///
    /// Reference: PollingInfoRequestHeader
    pub struct PollingInfoRequestHeader {
        consumer_group: String = "consumerGroup";
        topic: String = "topic";
        queue_id: i32 = "queueId";
    }
}

header! {
    /// Answer to POLLING_INFO.
    ///
    /// Reference: PollingInfoResponseHeader
    pub struct PollingInfoResponseHeader {
        polling_num: i32 = "pollingNum";
    }
}
