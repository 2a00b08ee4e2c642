//! ACK_MESSAGE and CHANGE_MESSAGE_INVISIBLETIME of a message of a light topic: they name it by the topic, the light topic and
//! the offset in its light message queue.
//!
//! Reference: `AckMessageProcessor.ackLite`, `ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForLite`.

use common::names::LMQ_QUEUE_ID;
use remoting::codes::response_code;
use remoting::header::{AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader};
use remoting::request::{Handled, Refusal, Response};
use store::QueueOffset;

use crate::broker::Broker;
use crate::lite::settings;
use crate::pop::handle::PopHandle;
use crate::processor::change_invisible_time::answer_in_order;
use crate::processor::pop_order::{self, Acked, InOrder};
use crate::registry::order_info::GroupQueue;

fn refuse(code: i32, remark: &'static str) -> Refusal {
    Refusal::new(code, remark)
}

/// The message is consumed. When nothing of the batch is left, the group's clients hear that there may be more.
pub(crate) fn ack(broker: &Broker, header: &AckMessageRequestHeader<'_>, lmq: &str) -> Handled {
    let group = &*header.consumer_group;
    let config = broker.groups.find(group);
    if config.as_deref().and_then(settings::bind_topic) != Some(&*header.topic) {
        let remark = "group type or bind topic not match.";
        return Err(refuse(response_code::INVALID_PARAMETER, remark));
    }
    if header.offset > broker.store.max_offset(lmq, LMQ_QUEUE_ID) {
        return Err(refuse(response_code::NO_MESSAGE, "ack offset illegal."));
    }
    let handle = PopHandle::parse(&header.extra_info)?;
    if header.queue_id != LMQ_QUEUE_ID || !handle.is_order() {
        return Err(refuse(response_code::INVALID_PARAMETER, "ack queue illegal."));
    }
    let message = in_order(group, lmq, header.offset, &handle);
    let acked = pop_order::acknowledge(
        broker,
        &broker.lite_order_info,
        &message,
        handle.invisible_time_ms,
        "AckLiteHost",
        || is_of_another(broker, &message),
    )?;
    match acked {
        Acked::NoChange => {}
        // Perhaps sooner than before: this one may have been the last to be visible again.
        Acked::Blocked { until_ms } => broker.lite.look_again_at(group, lmq, until_ms),
        Acked::Free => broker.lite.dispatch(lmq, Some(group), None),
        Acked::Illegal { .. } => {
            return Err(refuse(response_code::MESSAGE_ILLEGAL, "ack offset illegal."));
        }
    }
    broker.stats.record_acks(group, &header.topic, 1);
    Ok(Response::success().into())
}

/// Whether the light topic has expired since the message was popped: what is there now, or will be, was stored after the pop.
fn is_of_another(broker: &Broker, message: &InOrder<'_>) -> bool {
    let (lmq, offset) = (message.queue.topic, message.offset);
    let stored_ms = u64::try_from(offset)
        .ok()
        .and_then(|offset| broker.store.store_time(lmq, LMQ_QUEUE_ID, QueueOffset(offset)));
    let is_behind_end = offset >= broker.store.max_offset(lmq, LMQ_QUEUE_ID);
    is_behind_end || stored_ms.is_some_and(|stored_ms| stored_ms > message.pop_time_ms)
}

/// The message, or its whole batch, is visible again at another time.
pub(crate) fn change_invisible_time(
    broker: &Broker,
    header: &ChangeInvisibleTimeRequestHeader<'_>,
    lmq: &str,
) -> Handled {
    if header.offset > broker.store.max_offset(lmq, LMQ_QUEUE_ID) {
        return Err(refuse(response_code::NO_MESSAGE, ""));
    }
    let group = &*header.consumer_group;
    let handle = PopHandle::parse(&header.extra_info)?;
    let message = in_order(group, lmq, header.offset, &handle);
    let visible_ms = pop_order::change_visible(
        broker,
        &broker.lite_order_info,
        &message,
        header.invisible_time,
        header.suspend,
    )?;
    if visible_ms.is_some() {
        let now_ms = broker.clock.wall_ms();
        let order_info = &broker.lite_order_info;
        let free_ms = order_info.blocked_until_ms(message.queue, None, header.invisible_time, now_ms);
        broker.lite.look_again_at(group, lmq, free_ms.unwrap_or(now_ms));
    }
    Ok(answer_in_order(&handle, visible_ms).into())
}

fn in_order<'a>(group: &'a str, lmq: &'a str, offset: i64, handle: &PopHandle<'_>) -> InOrder<'a> {
    InOrder {
        queue: GroupQueue {
            topic: lmq,
            group,
            queue_id: LMQ_QUEUE_ID,
        },
        offset,
        pop_time_ms: handle.pop_time_ms,
    }
}
