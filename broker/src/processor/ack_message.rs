//! ACK_MESSAGE, BATCH_ACK_MESSAGE: popped messages are consumed and do not come back.
//!
//! An ack is a record of the revive log before it is answered, so no crash forgets it. In order, it moves the group's
//! offset instead, and may let the next pop in. Reference: `AckMessageProcessor`; with `enablePopBufferMerge` that one keeps
//! acks in memory for some seconds, this one never.

use remoting::body::pop::{AckMsg, BatchAckMsg};
use remoting::body::{BatchAck, BatchAckMessageRequestBody};
use remoting::codes::response_code;
use remoting::connection::Connection;
use remoting::fields::NoHeader;
use remoting::header::AckMessageRequestHeader;
use remoting::request::{Handled, Refusal, Request, Response};
use store::{Appended, PhysicalOffset};

use crate::broker::Broker;
use crate::pop::handle::{HandleError, ORDER_REVIVE_QUEUE, PopHandle, topic_of_digit};
use crate::pop::revive_log::ReviveRecord;
use crate::processor::json::parse_body;
use crate::processor::pop_checks::{self, Wanted};
use crate::processor::refusals::put_refused;
use crate::processor::when_flushed::answer_when_flushed;
use crate::registry::order_info::{GroupQueue, OrderAck};

/// Messages that one element of a batch may acknowledge: a pop hands out 32.
const MAX_ACKS_PER_ELEMENT: usize = 4_096;

impl From<HandleError> for Refusal {
    fn from(error: HandleError) -> Self {
        Refusal::system_error(error.to_string())
    }
}

/// One message is consumed.
pub(crate) fn ack_message(broker: &Broker, request: Request<'_, AckMessageRequestHeader<'_>>) -> Handled {
    let header = &request.header;
    refuse_lite(header.lite_topic.as_deref())?;
    let wanted = Wanted {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        connection: request.connection(),
    };
    pop_checks::require_queue(broker, wanted)?;
    require_offset(broker, header)?;
    let handle = PopHandle::parse(&header.extra_info)?;
    if handle.is_order() {
        let queue = GroupQueue {
            topic: &header.topic,
            group: &header.consumer_group,
            queue_id: header.queue_id,
        };
        let of_pop = OfPop {
            pop_time_ms: handle.pop_time_ms,
            invisible_time_ms: handle.invisible_time_ms,
        };
        ack_in_order(broker, request.connection(), queue, header.offset, of_pop)?;
        return Ok(Response::success().into());
    }
    let appended = append_ack(broker, &handle, wanted, header.offset)?;
    Ok(answer_when_flushed(
        broker,
        appended.end,
        Response::success(),
        || request.responder(),
    ))
}

/// Acks of light topics need what this broker does not have.
pub(crate) fn refuse_lite(lite_topic: Option<&str>) -> Result<(), Refusal> {
    match lite_topic.filter(|lite_topic| !lite_topic.trim().is_empty()) {
        None => Ok(()),
        Some(lite_topic) => Err(Refusal::new(
            response_code::INVALID_PARAMETER,
            format!("lite topics are not built yet: {lite_topic}"),
        )),
    }
}

fn require_offset(broker: &Broker, header: &AckMessageRequestHeader<'_>) -> Result<(), Refusal> {
    let (topic, queue_id, offset) = (&*header.topic, header.queue_id, header.offset);
    let min = broker.store.min_offset(topic, queue_id);
    let max = broker.store.max_offset(topic, queue_id);
    if (min..=max).contains(&offset) {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::NO_MESSAGE,
        format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}"),
    ))
}

/// Writes the ack of one message, named by the handle it was popped with.
pub(crate) fn append_ack(
    broker: &Broker,
    handle: &PopHandle<'_>,
    wanted: Wanted<'_>,
    offset: i64,
) -> Result<Appended, Refusal> {
    let ack = AckMsg {
        ack_offset: offset,
        broker_name: Some(handle.broker_name.to_owned()),
        consumer_group: wanted.group.to_owned(),
        pop_time_ms: handle.pop_time_ms,
        queue_id: wanted.queue_id,
        start_offset: handle.start_offset,
        topic: wanted.topic.to_owned(),
    };
    let due_ms = handle.pop_time_ms.saturating_add(handle.invisible_time_ms);
    append(broker, &ReviveRecord::Ack(ack), handle.revive_queue_id, due_ms)
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

/// When a message was popped, and for how long.
#[derive(Clone, Copy)]
struct OfPop {
    pop_time_ms: i64,
    invisible_time_ms: i64,
}

/// An ack in order: moves the group's offset, and lets the next pop in when nothing of the batch is left.
fn ack_in_order(
    broker: &Broker,
    connection: &Connection,
    queue: GroupQueue<'_>,
    offset: i64,
    of_pop: OfPop,
) -> Result<(), Refusal> {
    let GroupQueue {
        topic,
        group,
        queue_id,
    } = queue;
    let _lock = broker.pop_locks.lock(topic, group, queue_id);
    let committed = broker.consumer_offsets.query(group, topic, queue_id);
    if committed.is_some_and(|committed| offset < committed) {
        return Ok(());
    }
    match broker.order_info.acknowledge(queue, offset, of_pop.pop_time_ms) {
        OrderAck::Stale => Ok(()),
        OrderAck::Illegal => Err(Refusal::new(
            response_code::MESSAGE_ILLEGAL,
            format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{}, commit:{offset}, next:-1, {}",
                committed.unwrap_or(-1),
                connection.peer_addr()
            ),
        )),
        OrderAck::Next(next) => {
            if !broker.consumer_offsets.has_reset(group, topic, queue_id) {
                broker
                    .consumer_offsets
                    .commit(connection.peer_addr(), group, topic, queue_id, next);
            }
            let now_ms = broker.clock.wall_ms();
            let blocked = broker
                .order_info
                .blocked_until_ms(queue, None, of_pop.invisible_time_ms, now_ms);
            if blocked.is_none() {
                broker.pop_hold.wake_for_queue(topic, group, queue_id);
            }
            Ok(())
        }
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
    if element.revive_queue_id == ORDER_REVIVE_QUEUE {
        let queue = GroupQueue {
            topic: &topic,
            group: &element.consumer_group,
            queue_id: element.queue_id,
        };
        let of_pop = OfPop {
            pop_time_ms: element.pop_time_ms,
            invisible_time_ms: element.invisible_time_ms,
        };
        for offset in offsets {
            ack_in_order(broker, connection, queue, offset, of_pop)?;
        }
        return Ok(None);
    }
    if offsets.is_empty() {
        return Ok(None);
    }
    let ack = BatchAckMsg {
        ack_offset: -1,
        ack_offset_list: offsets,
        broker_name: Some(broker_name.to_owned()),
        consumer_group: element.consumer_group.clone(),
        pop_time_ms: element.pop_time_ms,
        queue_id: element.queue_id,
        start_offset: element.start_offset,
        topic,
    };
    let due_ms = element.pop_time_ms.saturating_add(element.invisible_time_ms);
    append(
        broker,
        &ReviveRecord::BatchAck(ack),
        element.revive_queue_id,
        due_ms,
    )
    .map(Some)
}
