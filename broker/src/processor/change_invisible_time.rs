//! CHANGE_MESSAGE_INVISIBLETIME: a popped message stays invisible for longer, or comes back sooner.
//!
//! A new checkpoint of this one message takes over, then the old one is told that the message is done: in this order, so
//! that a crash in between makes it come back twice rather than never. Reference: `ChangeInvisibleTimeProcessor`.

use remoting::body::pop::PopCheckPoint;
use remoting::codes::response_code;
use remoting::header::{ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader};
use remoting::request::{Handled, Refusal, Request, Response};

use crate::broker::Broker;
use crate::pop::handle::PopHandle;
use crate::pop::revive_log::ReviveRecord;
use crate::processor::ack_message::{append, append_ack, refuse_lite};
use crate::processor::pop_checks::{self, Wanted};
use crate::processor::when_flushed::answer_when_flushed;
use crate::registry::order_info::GroupQueue;

type ChangeRequest<'a> = Request<'a, ChangeInvisibleTimeRequestHeader<'a>>;

/// Changes the time, and answers what the client makes its new handle from.
pub(crate) fn change_invisible_time(broker: &Broker, request: ChangeRequest<'_>) -> Handled {
    let header = &request.header;
    refuse_lite(header.lite_topic.as_deref())?;
    let wanted = Wanted {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        connection: request.connection(),
    };
    pop_checks::require_queue(broker, wanted)?;
    let min = broker.store.min_offset(&header.topic, header.queue_id);
    let max = broker.store.max_offset(&header.topic, header.queue_id);
    if !(min..max).contains(&header.offset) {
        return Err(Refusal::new(response_code::NO_MESSAGE, ""));
    }
    let handle = PopHandle::parse(&header.extra_info)?;
    if handle.is_order() {
        return Ok(change_in_order(broker, header, &handle).into());
    }
    let now_ms = broker.clock.wall_ms();
    let checkpoint = PopCheckPoint {
        broker_name: Some(handle.broker_name.to_owned()),
        cid: header.consumer_group.clone().into_owned(),
        queue_offset_diff: Some(vec![0]),
        invisible_time_ms: header.invisible_time,
        num: 1,
        pop_time_ms: now_ms,
        queue_id: header.queue_id,
        start_offset: header.offset,
        suspend: header.suspend,
        topic: header.topic.clone().into_owned(),
        ..PopCheckPoint::default()
    };
    let due_ms = checkpoint.revive_time_ms();
    append(
        broker,
        &ReviveRecord::CheckPoint(checkpoint),
        handle.revive_queue_id,
        due_ms,
    )?;
    let appended = append_ack(broker, &handle, wanted, header.offset)?;
    let answer = ChangeInvisibleTimeResponseHeader {
        pop_time: now_ms,
        invisible_time: header.invisible_time,
        revive_qid: handle.revive_queue_id,
    };
    let answer = Response::success().header(&answer);
    Ok(answer_when_flushed(broker, appended.end, answer, || {
        request.responder()
    }))
}

/// In order: the message's place in the batch is visible again at another time. One that is behind the group's offset is
/// done already, and the answer is empty, as in the reference.
fn change_in_order(
    broker: &Broker,
    header: &ChangeInvisibleTimeRequestHeader<'_>,
    handle: &PopHandle<'_>,
) -> Response {
    let queue = GroupQueue {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    let _lock = broker.pop_locks.lock(queue.topic, queue.group, queue.queue_id);
    let committed = broker
        .consumer_offsets
        .query(queue.group, queue.topic, queue.queue_id);
    if committed.is_some_and(|committed| header.offset < committed) {
        return Response::success().header(&ChangeInvisibleTimeResponseHeader {
            pop_time: 0,
            invisible_time: 0,
            revive_qid: 0,
        });
    }
    let next_visible_ms = broker.clock.wall_ms().saturating_add(header.invisible_time);
    broker
        .order_info
        .change_next_visible(queue, header.offset, handle.pop_time_ms, next_visible_ms);
    // Who waits for this queue sleeps until the old time.
    broker
        .pop_hold
        .wake_for_queue(queue.topic, queue.group, queue.queue_id);
    Response::success().header(&ChangeInvisibleTimeResponseHeader {
        pop_time: handle.pop_time_ms,
        invisible_time: next_visible_ms.saturating_sub(handle.pop_time_ms),
        revive_qid: handle.revive_queue_id,
    })
}
