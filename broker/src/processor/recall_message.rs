//! RECALL_MESSAGE: takes back a message that waits for its delivery time.
//!
//! ```text
//!   allowed? ─> handle of this topic and broker? ─> still to come? ─> promised ─> the recall stored for the same slot
//!      16                604                            604              └─ not stored: taken back
//! ```
//!
//! Success says that the message will not be delivered, if it waits at all. Reference: `RecallMessageProcessor`.

use std::borrow::Cow;

use common::message::properties::{self, name};
use common::names::{RECALL_MESSAGE_TAG, TIMER_TOPIC};
use remoting::codes::response_code;
use remoting::header::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use remoting::request::{Handled, Refusal, Request, Response};
use store::{Appended, BrokerRole, Message};

use crate::broker::Broker;
use crate::processor::send_message::answer_when_safe;
use crate::registry::topics::perm;
use crate::timer::message::delete_key;
use crate::timer::recall::{RecallHandle, TooLate};
use crate::timer::schedule::{max_delay_ms, schedule};

type RecallRequest<'a> = Request<'a, RecallMessageRequestHeader>;

/// Stores a message that takes another one back.
pub(crate) fn recall_message(broker: &Broker, request: RecallRequest<'_>) -> Handled {
    require_allowed(broker)?;
    let topic = &request.header.topic;
    if broker.topics.get(topic).is_none() {
        return Err(Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("recall failed, the topic[{topic}] not exist"),
        ));
    }
    let handle = request
        .header
        .recall_handle
        .as_deref()
        .and_then(RecallHandle::decode)
        .ok_or_else(|| illegal("recall handle is invalid"))?;
    if handle.topic != *topic {
        return Err(illegal("recall failed, topic not match"));
    }
    if handle.broker_name != broker.identity.broker_name {
        return Err(illegal("recall failed, broker service not available"));
    }
    let deliver_at_ms = deliver_at_ms(broker, &handle)?;
    let appended = promise_and_store(broker, &request, &handle, deliver_at_ms)?;
    broker
        .stats
        .record_put(TIMER_TOPIC, 1, u64::from(appended.size_bytes));
    let answer = Response::success()
        .header(&RecallMessageResponseHeader {
            msg_id: handle.uniq_key,
        })
        .field(name::MSG_REGION, &broker.config.get().region_id);
    Ok(answer_when_safe(broker, &request, appended.end, false, answer))
}

fn require_allowed(broker: &Broker) -> Result<(), Refusal> {
    let config = broker.config.get();
    let not_available = |code| Err(Refusal::new(code, "recall failed, broker service not available"));
    if !config.recall_message_enable {
        return Err(Refusal::new(
            response_code::NO_PERMISSION,
            "recall failed, operation is forbidden",
        ));
    }
    if broker.store_config.get().broker_role == BrokerRole::Slave {
        return not_available(response_code::SLAVE_NOT_AVAILABLE);
    }
    let is_writable = config.broker_permission & perm::WRITE != 0;
    if broker.clock.wall_ms() < config.start_accept_send_request_time_stamp
        || !is_writable && !config.allow_recall_when_broker_not_writeable
    {
        return not_available(response_code::SERVICE_NOT_AVAILABLE);
    }
    Ok(())
}

/// The time in the handle: to come, and not beyond the longest delay.
fn deliver_at_ms(broker: &Broker, handle: &RecallHandle) -> Result<i64, Refusal> {
    let deliver_at_ms: i64 = handle.timestamp.parse().unwrap_or(-1);
    let left_ms = deliver_at_ms.saturating_sub(broker.clock.wall_ms());
    if left_ms <= 0 || left_ms >= max_delay_ms(&broker.store_config.get()) {
        return Err(illegal("recall failed, timestamp invalid"));
    }
    Ok(deliver_at_ms)
}

fn promise_and_store(
    broker: &Broker,
    request: &RecallRequest<'_>,
    handle: &RecallHandle,
    deliver_at_ms: i64,
) -> Result<Appended, Refusal> {
    let with_topic = broker.store_config.get().append_topic_for_timer_delete_key;
    let key = delete_key(&handle.topic, &handle.uniq_key, with_topic);
    let (Some(timers), Ok(Some(out_ms))) = (&broker.timers, schedule(broker, deliver_at_ms, true)) else {
        return Err(failed());
    };
    match timers.recalls.promise(&key, out_ms, || broker.clock.wall_ms()) {
        Ok(()) => {}
        Err(TooLate::Due) => return Err(illegal("recall failed, timestamp invalid")),
        Err(TooLate::TooMany) => return Err(failed()),
    }
    let stored = broker.store.put(&Message {
        topic: TIMER_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: broker.clock.wall_ms(),
        born_host: request.connection().peer_addr(),
        store_host: broker.identity.store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: &recall_properties(broker, request, handle, &key, out_ms),
        body: b"0",
    });
    stored.map_err(|error| {
        timers.recalls.forget(&key);
        tracing::warn!(topic = handle.topic, "recall not stored: {error}");
        failed()
    })
}

fn recall_properties(
    broker: &Broker,
    request: &RecallRequest<'_>,
    handle: &RecallHandle,
    key: &str,
    out_ms: i64,
) -> String {
    let now = broker.clock.wall_ms().to_string();
    let out = out_ms.to_string();
    let producer_group = request.header.producer_group.as_deref().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in [
        (name::TIMER_DEL_UNIQKEY, key),
        (name::UNIQ_KEY, &handle.uniq_key),
        (name::TIMER_DELIVER_MS, &handle.timestamp),
        (name::BORN_TIMESTAMP, &now),
        (name::PRODUCER_GROUP, producer_group),
        (name::TAGS, RECALL_MESSAGE_TAG),
        (name::TIMER_OUT_MS, &out),
        (name::REAL_TOPIC, &handle.topic),
        (name::REAL_QUEUE_ID, "0"),
    ] {
        properties::push(&mut text, name, value);
    }
    text
}

fn illegal(remark: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(response_code::ILLEGAL_OPERATION, remark)
}

fn failed() -> Refusal {
    Refusal::system_error("recall failed, execute error")
}
