//! ACK_MESSAGE, BATCH_ACK_MESSAGE: popped messages are consumed and do not come back.
//!
//! An ack is a record of the revive log before it is answered, so no crash forgets it. In order, it moves the group's
//! offset instead, and may let the next pop in. Reference: `AckMessageProcessor`; with `enablePopBufferMerge` that one keeps
//! acks in memory for some seconds, this one never.

use common::planted_bug::{PlantedBug, is_planted};
use remoting::body::pop::{AckMsg, BatchAckMsg};
use remoting::body::{BatchAck, BatchAckMessageRequestBody};
use remoting::codes::response_code;
use remoting::connection::Connection;
use remoting::fields::NoHeader;
use remoting::header::AckMessageRequestHeader;
use remoting::request::{Handled, Refusal, Request, Response};
use store::{Appended, PhysicalOffset};

use crate::broker::Broker;
use crate::pop::handle::{ORDER_REVIVE_QUEUE, PopHandle, topic_of_digit};
use crate::pop::revive_log::ReviveRecord;
use crate::processor::json::parse_body;
use crate::processor::lite_ack;
use crate::processor::pop_checks::{self, Named, Popped, Wanted};
use crate::processor::pop_order::{self, Acked, InOrder};
use crate::processor::refusals::put_refused;
use crate::processor::when_flushed::answer_when_flushed;
use crate::registry::order_info::GroupQueue;

/// Messages that one element of a batch may acknowledge: a pop hands out 32.
const MAX_ACKS_PER_ELEMENT: usize = 4_096;

/// One message is consumed.
pub(crate) fn ack_message(broker: &Broker, request: Request<'_, AckMessageRequestHeader<'_>>) -> Handled {
    let header = &request.header;
    let wanted = Wanted {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        connection: request.connection(),
    };
    let named = Named {
        wanted,
        lite_topic: header.lite_topic.as_deref(),
        offset: header.offset,
        extra_info: &header.extra_info,
    };
    let handle = match pop_checks::popped(broker, &named, true)? {
        Popped::OutOfOrder(handle) => handle,
        Popped::InOrder(queue, handle) => {
            let message = InOrder {
                queue,
                offset: header.offset,
                pop_time_ms: handle.pop_time_ms,
            };
            ack_in_order(broker, request.connection(), &message, handle.invisible_time_ms)?;
            return Ok(Response::success().into());
        }
        Popped::Lite(lmq) => return lite_ack::ack(broker, header, &lmq),
    };
    let ack = ReviveRecord::Ack(ack_of(&handle, wanted, header.offset));
    let appended = append_ack(broker, &ack, &handle, wanted)?;
    let queue = GroupQueue {
        topic: wanted.topic,
        group: wanted.group,
        queue_id: wanted.queue_id,
    };
    pop_checks::acknowledged(broker, queue, handle.pop_time_ms, 1);
    if is_planted(PlantedBug::AcknowledgePopEarly) {
        return Ok(Response::success().into());
    }
    Ok(answer_when_flushed(
        broker,
        appended.end,
        Response::success(),
        || request.responder(),
    ))
}

/// The ack of one message, named by the handle it was popped with.
pub(crate) fn ack_of(handle: &PopHandle<'_>, wanted: Wanted<'_>, offset: i64) -> AckMsg {
    AckMsg {
        ack_offset: offset,
        broker_name: Some(handle.broker_name.to_owned()),
        consumer_group: wanted.group.to_owned(),
        pop_time_ms: handle.pop_time_ms,
        queue_id: wanted.queue_id,
        start_offset: handle.start_offset,
        topic: wanted.topic.to_owned(),
    }
}

/// Puts such an ack.
pub(crate) fn append_ack(
    broker: &Broker,
    ack: &ReviveRecord,
    handle: &PopHandle<'_>,
    wanted: Wanted<'_>,
) -> Result<Appended, Refusal> {
    let due_ms = handle.pop_time_ms.saturating_add(handle.invisible_time_ms);
    let appended = append(broker, ack, handle.revive_queue_id, due_ms)?;
    broker.stats.record_acks(wanted.group, wanted.topic, 1);
    Ok(appended)
}

/// Puts a record that a client's handle leads to: neither its queue nor its time is taken on trust.
pub(crate) fn append(
    broker: &Broker,
    record: &ReviveRecord,
    revive_queue_id: i32,
    due_ms: i64,
) -> Result<Appended, Refusal> {
    let illegal = |what: String| Err(Refusal::new(response_code::MESSAGE_ILLEGAL, what));
    if !broker.revive_log.has_queue(revive_queue_id) {
        return illegal(format!("there is no revive queue {revive_queue_id}"));
    }
    let store_config = broker.store_config.get();
    let longest_ms = store_config.timer_max_delay_sec.saturating_mul(1_000);
    if due_ms.saturating_sub(broker.clock.wall_ms()) > longest_ms {
        return illegal(format!("due at {due_ms}: more than {longest_ms} ms from now"));
    }
    broker
        .revive_log
        .append(record, revive_queue_id, due_ms)
        .map_err(|error| put_refused(&error, store_config.max_message_size))
}

/// An ack in order: lets the next pop in when nothing of the batch is left.
fn ack_in_order(
    broker: &Broker,
    connection: &Connection,
    message: &InOrder<'_>,
    invisible_time_ms: i64,
) -> Result<(), Refusal> {
    let GroupQueue {
        topic,
        group,
        queue_id,
    } = message.queue;
    let client = connection.peer_addr();
    let order_info = &broker.order_info;
    // Unlike light topics, these do not expire.
    let acked = pop_order::acknowledge(broker, order_info, message, invisible_time_ms, client, || false)?;
    if matches!(acked, Acked::Free | Acked::Blocked { .. }) {
        pop_checks::acknowledged(broker, message.queue, message.pop_time_ms, 1);
    }
    match acked {
        Acked::NoChange | Acked::Blocked { .. } => Ok(()),
        Acked::Free => {
            broker.pop_hold.wake_for_queue(topic, group, queue_id);
            Ok(())
        }
        Acked::Illegal { committed } => Err(Refusal::new(
            response_code::MESSAGE_ILLEGAL,
            format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{committed}, commit:{}, next:-1, {client}",
                message.offset
            ),
        )),
    }
}

/// Many messages, of several pops, are consumed. Offsets outside their queue are passed over.
pub(crate) fn batch_ack_message(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let body: BatchAckMessageRequestBody = match request.body() {
        empty if empty.is_empty() => BatchAckMessageRequestBody::default(),
        body => parse_body(body)?,
    };
    if body.acks.is_empty() {
        return Ok(Response::new(response_code::NO_MESSAGE).into());
    }
    let mut end = PhysicalOffset(0);
    for element in &body.acks {
        if let Some(appended) = ack_element(broker, request.connection(), element, &body.broker_name)? {
            end = end.max(appended.end);
        }
    }
    Ok(answer_when_flushed(broker, end, Response::success(), || {
        request.responder()
    }))
}

fn ack_element(
    broker: &Broker,
    connection: &Connection,
    element: &BatchAck,
    broker_name: &str,
) -> Result<Option<Appended>, Refusal> {
    let topic = topic_of_digit(&element.retry, &element.topic, &element.consumer_group)
        .ok_or_else(|| Refusal::system_error("getRetry fail, format is wrong"))?;
    let Some(bounds) = broker.store.queue_bounds(&topic, element.queue_id) else {
        return Ok(None);
    };
    let in_queue = bounds.min.to_wire()..=bounds.max.to_wire();
    let offsets: Vec<i64> = element
        .bit_set
        .iter()
        .filter_map(|bit| element.start_offset.checked_add(i64::try_from(bit).ok()?))
        .filter(|offset| in_queue.contains(offset))
        .take(MAX_ACKS_PER_ELEMENT + 1)
        .collect();
    if offsets.len() > MAX_ACKS_PER_ELEMENT {
        return Err(Refusal::new(
            response_code::MESSAGE_ILLEGAL,
            format!("more than {MAX_ACKS_PER_ELEMENT} messages of one pop are acknowledged"),
        ));
    }
    let queue = GroupQueue {
        topic: &topic,
        group: &element.consumer_group,
        queue_id: element.queue_id,
    };
    if element.revive_queue_id == ORDER_REVIVE_QUEUE {
        for offset in offsets {
            let message = InOrder {
                queue,
                offset,
                pop_time_ms: element.pop_time_ms,
            };
            ack_in_order(broker, connection, &message, element.invisible_time_ms)?;
        }
        return Ok(None);
    }
    if offsets.is_empty() {
        return Ok(None);
    }
    let messages = offsets.len();
    let ack = BatchAckMsg {
        ack_offset: -1,
        ack_offset_list: offsets,
        broker_name: Some(broker_name.to_owned()),
        consumer_group: element.consumer_group.clone(),
        pop_time_ms: element.pop_time_ms,
        queue_id: element.queue_id,
        start_offset: element.start_offset,
        topic: topic.clone(),
    };
    let due_ms = element.pop_time_ms.saturating_add(element.invisible_time_ms);
    let appended = append(
        broker,
        &ReviveRecord::BatchAck(ack),
        element.revive_queue_id,
        due_ms,
    )?;
    broker
        .stats
        .record_acks(&element.consumer_group, &topic, messages);
    pop_checks::acknowledged(broker, queue, element.pop_time_ms, messages);
    Ok(Some(appended))
}
