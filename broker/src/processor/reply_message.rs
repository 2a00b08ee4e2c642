//! SEND_REPLY_MESSAGE, SEND_REPLY_MESSAGE_V2: the answer of a consumer to a request message, pushed to the producer that
//! waits for it.
//!
//! ```text
//!   consumer ──325──> broker ──326 over the producer's own connection──> producer
//!                       └──> <cluster>_REPLY_TOPIC, as a record of it (storeReplyMessageEnable)
//! ```
//!
//! The producer is found by the client id in REPLY_TO_CLIENT. Reference: `ReplyMessageProcessor`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use common::message::id::offset_msg_id;
use common::message::properties::{self, name};
use common::message::sys_flag;
use remoting::codes::{request_code, response_code};
use remoting::header;
use remoting::header::{ReplyMessageRequestHeader, SendMessageResponseHeader};
use remoting::request::{Handled, OutgoingRequest, OwnedRequest, Refusal, Response};
use store::{Appended, Message};

use crate::broker::Broker;
use crate::metrics::traffic::MessageType;
use crate::processor::send_message::send_answer;
use crate::processor::send_properties::{Changes, SendProperties};
use crate::processor::send_target::SendTarget;

/// How long a producer may take to accept a reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

header! {
    /// The header of a send, with text of its own: it is kept while the producer is asked.
    pub(crate) struct SendReplyMessageRequestHeader {
        producer_group: String = "producerGroup" | "a";
        topic: String = "topic" | "b";
        default_topic: String = "defaultTopic" | "c", default String::new();
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" | "d", default 0;
        queue_id: i32 = "queueId" | "e";
        sys_flag: i32 = "sysFlag" | "f", default 0;
        born_timestamp: i64 = "bornTimestamp" | "g", default 0;
        flag: i32 = "flag" | "h", default 0;
        properties: String = "properties" | "i", default String::new();
        reconsume_times: i32 = "reconsumeTimes" | "j", default 0;
        unit_mode: bool = "unitMode" | "k", default false;
    }
}

type ReplyRequest = OwnedRequest<SendReplyMessageRequestHeader>;

/// Pushes a reply to the producer that asked for it, and keeps a record.
pub(crate) async fn send_reply_message(broker: Arc<Broker>, request: ReplyRequest) -> Handled {
    let queue_id = check(&broker, &request)?;
    let properties = stored_properties(&broker, &request.header)?;
    let pushed = push(&broker, &request, &properties).await;
    let stored = store(&broker, &request, &properties, queue_id);
    let answer = send_answer(&broker, &answer_header(&broker, queue_id, stored));
    Ok(match pushed {
        Ok(()) => answer,
        Err(remark) => Response {
            code: response_code::SYSTEM_ERROR,
            ..answer
        }
        .remark(remark),
    }
    .into())
}

/// The queue of the record; refuses what could not be sent as an ordinary message either.
fn check(broker: &Broker, request: &ReplyRequest) -> Result<i32, Refusal> {
    let header = &request.header;
    let target = SendTarget {
        topic: &header.topic,
        default_topic: &header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        unit_mode: header.unit_mode,
        producer: request.connection().peer_addr(),
    };
    let topic_config = target.check(broker)?;
    Ok(target.queue_id(broker, &topic_config))
}

fn stored_properties(broker: &Broker, header: &SendReplyMessageRequestHeader) -> Result<String, Refusal> {
    let config = broker.config.get();
    let sent = SendProperties::scan(&header.properties)?;
    Ok(sent.encode(&Changes {
        region_id: &config.region_id,
        trace_on: config.trace_on,
        ..Changes::default()
    }))
}

/// Hands the reply to the producer; the error is a remark.
async fn push(broker: &Broker, request: &ReplyRequest, properties: &str) -> Result<(), String> {
    let Some(client_id) = properties::get(properties, name::REPLY_TO_CLIENT) else {
        return Err(format!(
            "reply message properties[{}] is null",
            name::REPLY_TO_CLIENT
        ));
    };
    let Some(producer) = broker.producers.by_client_id(client_id) else {
        return Err(format!(
            "push reply message fail, channel of <{client_id}> not found."
        ));
    };
    let failed = format!("push reply message to {client_id}fail.");
    match producer
        .invoke(push_request(broker, request, properties), PUSH_TIMEOUT)
        .await
    {
        Ok(answer) if answer.code == response_code::SUCCESS => Ok(()),
        Ok(answer) => {
            tracing::warn!(client_id, code = answer.code, remark = ?answer.remark(), "producer refused a reply");
            Err(failed)
        }
        Err(error) => {
            tracing::warn!(client_id, %error, "producer did not take a reply");
            Err(failed)
        }
    }
}

fn push_request(broker: &Broker, request: &ReplyRequest, stored_properties: &str) -> OutgoingRequest {
    let header = &request.header;
    let now_ms = broker.clock.wall_ms();
    let mut properties = stored_properties.to_owned();
    properties::push(&mut properties, name::PUSH_REPLY_TIME, &now_ms.to_string());
    OutgoingRequest::new(request_code::PUSH_REPLY_MESSAGE_TO_CLIENT)
        .header(&ReplyMessageRequestHeader {
            producer_group: Cow::Borrowed(&header.producer_group),
            topic: Cow::Borrowed(&header.topic),
            default_topic: Cow::Borrowed(&header.default_topic),
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: Some(Cow::Owned(properties)),
            reconsume_times: Some(header.reconsume_times),
            unit_mode: header.unit_mode,
            born_host: request.connection().peer_addr().to_string().into(),
            store_host: broker.identity.store_host.to_string().into(),
            store_timestamp: now_ms,
        })
        .body(request.body().clone())
}

/// Keeps a record of the reply. That it fails is logged: the producer may have its reply all the same.
fn store(broker: &Broker, request: &ReplyRequest, properties: &str, queue_id: i32) -> Option<Appended> {
    if !broker.config.get().store_reply_message_enable {
        return None;
    }
    let header = &request.header;
    let message = Message {
        topic: &header.topic,
        queue_id,
        flag: header.flag,
        // A reply is delivered as it is; only half messages are hidden, and a reply is none.
        sys_flag: sys_flag::with_transaction_type(header.sys_flag, sys_flag::TRANSACTION_NONE),
        born_timestamp_ms: header.born_timestamp,
        born_host: request.connection().peer_addr(),
        store_host: broker.identity.store_host,
        reconsume_times: header.reconsume_times,
        prepared_transaction_offset: 0,
        properties,
        body: request.body(),
    };
    match broker.store.put(&message) {
        Ok(appended) => {
            broker.stats.record_incoming(
                &header.topic,
                MessageType::Normal,
                1,
                u64::from(appended.size_bytes),
            );
            Some(appended)
        }
        Err(error) => {
            tracing::warn!(topic = header.topic, %error, "reply was not stored");
            None
        }
    }
}

/// Without a record the ids are zeros: clients decode them.
fn answer_header(
    broker: &Broker,
    queue_id: i32,
    stored: Option<Appended>,
) -> SendMessageResponseHeader<'static> {
    let (msg_id, queue_offset) = match stored {
        Some(appended) => (
            offset_msg_id(broker.identity.store_host, appended.physical_offset.0),
            appended.queue_offset.to_wire(),
        ),
        None => ("0".to_owned(), 0),
    };
    SendMessageResponseHeader {
        msg_id: msg_id.into(),
        queue_id,
        queue_offset,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    }
}
