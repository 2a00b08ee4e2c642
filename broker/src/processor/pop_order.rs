//! Pops in order: what an ack and a changed invisible time do to the last batch of a queue, and to the group's offset.
//!
//! The same for queues of topics and for light message queues, whose batches are in another table.
//! Reference: `AckMessageProcessor.ackOrderly`, `ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForOrder`.

use std::fmt::Display;
use std::io;

use remoting::request::Refusal;

use crate::broker::Broker;
use crate::registry::ConsumerOrderInfo;
use crate::registry::order_info::{GroupQueue, OrderAck};

/// A message that was popped in order.
pub(crate) struct InOrder<'a> {
    pub(crate) queue: GroupQueue<'a>,
    pub(crate) offset: i64,
    /// When its batch was popped, ms.
    pub(crate) pop_time_ms: i64,
}

/// What an ack came to.
pub(crate) enum Acked {
    /// Nothing new: it was acknowledged before, its batch was handed out again, or its queue is gone.
    NoChange,
    /// The queue gives its next messages.
    Free,
    /// Other messages of the batch are still invisible, for so long if none is acknowledged, ms.
    Blocked { until_ms: i64 },
    /// It is not in the batch. The group's offset is this, -1 without one.
    Illegal { committed: i64 },
}

/// A message is consumed: moves the group's offset behind what is acknowledged without a gap.
///
/// Without a batch the ack is taken at its word, unless `is_of_another` says that the queue is another one by now. That is asked
/// under the queue's lock, so that it stays as true as it was.
pub(crate) fn acknowledge(
    broker: &Broker,
    order_info: &ConsumerOrderInfo,
    message: &InOrder<'_>,
    invisible_time_ms: i64,
    client: impl Display,
    is_of_another: impl FnOnce() -> bool,
) -> Result<Acked, Refusal> {
    let GroupQueue {
        topic,
        group,
        queue_id,
    } = message.queue;
    let _lock = broker.pop_locks.lock(topic, group, queue_id);
    let committed = broker.consumer_offsets.query(group, topic, queue_id);
    if committed.is_some_and(|committed| message.offset < committed) {
        return Ok(Acked::NoChange);
    }
    let next = match order_info.acknowledge(message.queue, message.offset, message.pop_time_ms) {
        OrderAck::Stale => return Ok(Acked::NoChange),
        OrderAck::Illegal => {
            return Ok(Acked::Illegal {
                committed: committed.unwrap_or(-1),
            });
        }
        OrderAck::NoBatch if is_of_another() => return Ok(Acked::NoChange),
        OrderAck::NoBatch => message.offset.saturating_add(1),
        OrderAck::Next(next) => next,
    };
    if let Some(events) = broker.stats.events() {
        events.in_flight.end(message.queue, message.pop_time_ms, 1);
    }
    let commits = !broker.consumer_offsets.has_reset(group, topic, queue_id);
    if commits {
        broker
            .consumer_offsets
            .commit(client, group, topic, queue_id, next);
    }
    order_info
        .keep(message.queue, commits.then_some(next))
        .map_err(|error| not_kept(&error))?;
    let now_ms = broker.clock.wall_ms();
    let blocked = order_info.blocked_until_ms(message.queue, None, invisible_time_ms, now_ms);
    Ok(match blocked {
        None => Acked::Free,
        Some(until_ms) => Acked::Blocked { until_ms },
    })
}

/// What is answered must survive a crash.
fn not_kept(error: &io::Error) -> Refusal {
    Refusal::system_error(format!("what became of a batch cannot be written down: {error}"))
}

/// The same of a batch that is handed out. If it fails, a crash makes its messages visible before their time.
pub(crate) fn keep_batch(order_info: &ConsumerOrderInfo, queue: GroupQueue<'_>, offset: i64) {
    if let Err(error) = order_info.keep(queue, Some(offset)) {
        let GroupQueue { topic, group, .. } = queue;
        tracing::warn!(topic, group, "{}", not_kept(&error).remark);
    }
}

/// A message, or with `suspend` its whole batch, is visible again in so long. Returns when, ms; `None` when the message is
/// behind the group's offset, and so done already.
pub(crate) fn change_visible(
    broker: &Broker,
    order_info: &ConsumerOrderInfo,
    message: &InOrder<'_>,
    invisible_time_ms: i64,
    suspend: bool,
) -> Result<Option<i64>, Refusal> {
    let GroupQueue {
        topic,
        group,
        queue_id,
    } = message.queue;
    let _lock = broker.pop_locks.lock(topic, group, queue_id);
    let committed = broker.consumer_offsets.query(group, topic, queue_id);
    if committed.is_some_and(|committed| message.offset < committed) {
        return Ok(None);
    }
    let visible_ms = broker.clock.wall_ms().saturating_add(invisible_time_ms);
    if suspend {
        order_info.suspend(message.queue, message.pop_time_ms, visible_ms);
    } else {
        order_info.change_next_visible(message.queue, message.offset, message.pop_time_ms, visible_ms);
    }
    order_info
        .keep(message.queue, None)
        .map_err(|error| not_kept(&error))?;
    Ok(Some(visible_ms))
}
