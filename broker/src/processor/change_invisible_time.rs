//! CHANGE_MESSAGE_INVISIBLETIME: a popped message stays invisible for longer, or comes back sooner.
//!
//! A new checkpoint of this one message takes over, then the old one is told that the message is done: in this order, so
//! that a crash in between makes it come back twice rather than never. A power failure may leave the second record without the
//! first: it names that, and counts only with it. Reference: `ChangeInvisibleTimeProcessor`.

use remoting::body::pop::PopCheckPoint;
use remoting::header::{ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader};
use remoting::request::{Handled, Request, Response};

use crate::broker::Broker;
use crate::pop::handle::PopHandle;
use crate::pop::revive_log::ReviveRecord;
use crate::processor::ack_message::{ack_of, append, append_ack};
use crate::processor::lite_ack;
use crate::processor::pop_checks::{self, Named, Popped, Wanted};
use crate::processor::pop_order::{self, InOrder};
use crate::processor::when_flushed::answer_when_flushed;
use crate::registry::order_info::GroupQueue;

type ChangeRequest<'a> = Request<'a, ChangeInvisibleTimeRequestHeader<'a>>;

/// Changes the time, and answers what the client makes its new handle from.
pub(crate) fn change_invisible_time(broker: &Broker, request: ChangeRequest<'_>) -> Handled {
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
    let handle = match pop_checks::popped(broker, &named, false)? {
        Popped::OutOfOrder(handle) => handle,
        Popped::InOrder(queue, handle) => return change_in_order(broker, header, queue, &handle),
        Popped::Lite(lmq) => return lite_ack::change_invisible_time(broker, header, &lmq),
    };
    // The time is part of what tells checkpoints apart: never that of the one it takes over from, whose ack would be its own.
    let pop_time_ms = broker.clock.wall_ms().max(handle.pop_time_ms.saturating_add(1));
    let checkpoint = PopCheckPoint {
        broker_name: Some(handle.broker_name.to_owned()),
        cid: header.consumer_group.clone().into_owned(),
        queue_offset_diff: Some(vec![0]),
        invisible_time_ms: header.invisible_time,
        num: 1,
        pop_time_ms,
        queue_id: header.queue_id,
        start_offset: header.offset,
        suspend: header.suspend,
        topic: header.topic.clone().into_owned(),
        ..PopCheckPoint::default()
    };
    let due_ms = checkpoint.revive_time_ms();
    let taken_over = append(
        broker,
        &ReviveRecord::TakeOver(checkpoint),
        handle.revive_queue_id,
        due_ms,
    )?;
    broker.stats.record_checkpoint(wanted.group, wanted.topic);
    let ack = ack_of(&handle, wanted, header.offset);
    let ack = ReviveRecord::TakenOver(ack, taken_over.physical_offset);
    let appended = append_ack(broker, &ack, &handle, wanted)?;
    let answer = ChangeInvisibleTimeResponseHeader {
        pop_time: pop_time_ms,
        invisible_time: header.invisible_time,
        revive_qid: handle.revive_queue_id,
    };
    let answer = Response::success().header(&answer);
    Ok(answer_when_flushed(broker, appended.end, answer, || {
        request.responder()
    }))
}

/// In order: the message's place in the batch is visible again at another time.
fn change_in_order(
    broker: &Broker,
    header: &ChangeInvisibleTimeRequestHeader<'_>,
    queue: GroupQueue<'_>,
    handle: &PopHandle<'_>,
) -> Handled {
    let message = InOrder {
        queue,
        offset: header.offset,
        pop_time_ms: handle.pop_time_ms,
    };
    let visible_ms =
        pop_order::change_visible(broker, &broker.order_info, &message, header.invisible_time, false)?;
    if visible_ms.is_some() {
        // Who waits for this queue sleeps until the old time.
        broker
            .pop_hold
            .wake_for_queue(queue.topic, queue.group, queue.queue_id);
    }
    Ok(answer_in_order(handle, visible_ms).into())
}

/// The answer about a message that is visible again then. Of one that is done already it is empty, as in the reference.
pub(crate) fn answer_in_order(handle: &PopHandle<'_>, visible_ms: Option<i64>) -> Response {
    let header = match visible_ms {
        None => ChangeInvisibleTimeResponseHeader {
            pop_time: 0,
            invisible_time: 0,
            revive_qid: 0,
        },
        Some(visible_ms) => ChangeInvisibleTimeResponseHeader {
            pop_time: handle.pop_time_ms,
            invisible_time: visible_ms.saturating_sub(handle.pop_time_ms),
            revive_qid: handle.revive_queue_id,
        },
    };
    Response::success().header(&header)
}
