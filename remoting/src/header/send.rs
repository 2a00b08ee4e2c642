//! Sending: messages, batches, replies, messages sent back, and recalls.

use std::borrow::Cow;

use crate::fields::{DecodeHeader, EncodeHeader, FieldBuffer, FieldError, FieldValue, Fields};
use crate::header;

header! {
    /// SEND_MESSAGE and SEND_REPLY_MESSAGE with long names, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE and SEND_REPLY_MESSAGE_V2
    /// with one-letter names. Written with long names; [`SendMessageRequestHeaderV2`] writes the others.
    ///
    /// Reference: SendMessageRequestHeader, SendMessageRequestHeaderV2
    pub struct SendMessageRequestHeader<'a> {
        producer_group: Cow<'a, str> = "producerGroup" | "a";
        topic: Cow<'a, str> = "topic" | "b";
        /// Topic whose settings a new topic takes over.
        default_topic: Cow<'a, str> = "defaultTopic" | "c", default Cow::Borrowed("");
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" | "d", default 0;
        /// Negative: the broker chooses one.
        queue_id: i32 = "queueId" | "e";
        sys_flag: i32 = "sysFlag" | "f", default 0;
        born_timestamp: i64 = "bornTimestamp" | "g", default 0;
        flag: i32 = "flag" | "h", default 0;
        /// Encoded: name, 0x01, value, 0x02, ...
        properties: Option<Cow<'a, str>> = "properties" | "i";
        reconsume_times: i32 = "reconsumeTimes" | "j", default 0;
        unit_mode: bool = "unitMode" | "k", default false;
        max_reconsume_times: Option<i32> = "maxReconsumeTimes" | "l";
        /// Whether the body is a batch; this decides, not the request code.
        batch: bool = "batch" | "m", default false;
        /// Logical name, which a static topic may have moved elsewhere.
        broker_name: Option<Cow<'a, str>> = "bname" | "n";
        logical: Option<bool> = "lo";
    }
}

/// The same header written with one-letter names, as 5.x clients send it.
///
/// Reference: SendMessageRequestHeaderV2
#[derive(Clone, Debug, PartialEq)]
pub struct SendMessageRequestHeaderV2<'a>(pub SendMessageRequestHeader<'a>);

impl<'a> DecodeHeader<'a> for SendMessageRequestHeaderV2<'a> {
    fn decode(fields: Fields<'a>) -> Result<Self, FieldError> {
        SendMessageRequestHeader::decode(fields).map(SendMessageRequestHeaderV2)
    }
}

impl EncodeHeader for SendMessageRequestHeaderV2<'_> {
    fn encode(&self, out: &mut FieldBuffer) {
        let SendMessageRequestHeaderV2(header) = self;
        header.producer_group.push_to("a", out);
        header.topic.push_to("b", out);
        header.default_topic.push_to("c", out);
        header.default_topic_queue_nums.push_to("d", out);
        header.queue_id.push_to("e", out);
        header.sys_flag.push_to("f", out);
        header.born_timestamp.push_to("g", out);
        header.flag.push_to("h", out);
        header.properties.push_to("i", out);
        header.reconsume_times.push_to("j", out);
        header.unit_mode.push_to("k", out);
        header.max_reconsume_times.push_to("l", out);
        header.batch.push_to("m", out);
        header.broker_name.push_to("n", out);
        header.logical.push_to("lo", out);
    }
}

header! {
    /// Answer to every send that stored something. The broker adds the fields `MSG_REGION` and `TRACE_ON`, without which the
    /// Java client fails.
    ///
    /// Reference: SendMessageResponseHeader
    pub struct SendMessageResponseHeader<'a> {
        /// Offset message id; a batch has one per message, joined with commas.
        msg_id: Cow<'a, str> = "msgId";
        queue_id: i32 = "queueId";
        queue_offset: i64 = "queueOffset";
        /// The unique key of the message.
        transaction_id: Option<Cow<'a, str>> = "transactionId";
        batch_uniq_id: Option<Cow<'a, str>> = "batchUniqId";
        /// Only for timer messages: what RECALL_MESSAGE takes.
        recall_handle: Option<Cow<'a, str>> = "recallHandle";
    }
}

header! {
    /// CONSUMER_SEND_MSG_BACK: a message the consumer failed on, to be delivered again later.
    ///
    /// Reference: ConsumerSendMsgBackRequestHeader
    pub struct ConsumerSendMsgBackRequestHeader<'a> {
        /// Where the message is in the CommitLog.
        offset: i64 = "offset";
        group: Cow<'a, str> = "group";
        /// 0 lets the broker choose, negative sends it to the dead-letter queue.
        delay_level: i32 = "delayLevel";
        origin_msg_id: Option<Cow<'a, str>> = "originMsgId";
        origin_topic: Option<Cow<'a, str>> = "originTopic";
        unit_mode: bool = "unitMode", default false;
        max_reconsume_times: Option<i32> = "maxReconsumeTimes";
    }
}

header! {
    /// RECALL_MESSAGE: takes back a timer message not yet delivered.
    ///
    /// Reference: RecallMessageRequestHeader
    pub struct RecallMessageRequestHeader {
        producer_group: Option<String> = "producerGroup";
        topic: String = "topic";
        recall_handle: Option<String> = "recallHandle";
    }
}

header! {
    /// Answer to RECALL_MESSAGE.
    ///
    /// Reference: RecallMessageResponseHeader
    pub struct RecallMessageResponseHeader {
        msg_id: String = "msgId";
    }
}

header! {
    /// PUSH_REPLY_MESSAGE_TO_CLIENT: a reply on its way to the client that asked.
    ///
    /// Reference: ReplyMessageRequestHeader
    pub struct ReplyMessageRequestHeader<'a> {
        producer_group: Cow<'a, str> = "producerGroup";
        topic: Cow<'a, str> = "topic";
        default_topic: Cow<'a, str> = "defaultTopic";
        default_topic_queue_nums: i32 = "defaultTopicQueueNums";
        queue_id: i32 = "queueId";
        sys_flag: i32 = "sysFlag";
        born_timestamp: i64 = "bornTimestamp";
        flag: i32 = "flag";
        properties: Option<Cow<'a, str>> = "properties";
        reconsume_times: Option<i32> = "reconsumeTimes";
        unit_mode: bool = "unitMode", default false;
        /// `ip:port`
        born_host: Cow<'a, str> = "bornHost";
        /// `ip:port`
        store_host: Cow<'a, str> = "storeHost";
        store_timestamp: i64 = "storeTimestamp";
    }
}
