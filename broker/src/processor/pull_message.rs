//! PULL_MESSAGE, LITE_PULL_MESSAGE: messages of one queue to a consumer, waiting for them if there are none.
//!
//! ```text
//!   check (pull_checks.rs) ─> offset reset by an operator,      ─> get ─┬─ found: records as they are stored
//!                             or moved as a broadcasting member         ├─ nothing yet: hold/pull.rs, then once more
//!                             (pull_broadcast.rs)? 21                   ├─ not to be read: refused, the client waits a little
//!                                                                       └─ else: where to go on
//! ```
//!
//! A held pull is handled again, from the top, when a message arrives or its time is up; the second time it is answered
//! whatever there is. Reference: `PullMessageProcessor`, `DefaultPullMessageResultHandler`.

use std::borrow::Cow;

use common::message::sys_flag;
use common::names;
use remoting::body::group::SubscriptionGroupConfig;
use remoting::codes::response_code;
use remoting::header::{PullMessageRequestHeader, PullMessageResponseHeader};
use remoting::request::{Handled, Outcome, Response};
use store::{GetOutcome, GetRequest, GetStatus, QueueOffset};

use crate::broker::Broker;
use crate::processor::pull_broadcast::BroadcastPuller;
use crate::processor::pull_checks::{self, CheckedPull, PullRequest};
use crate::processor::pull_cold::{self, Slowdown};
use crate::processor::refusals::queue_unreadable;
use crate::static_topic::pull::{PlacedPull, Pulled};

/// A consumer so few messages behind reads from memory; only for others that is looked up.
const NEAR_END_MESSAGES: i64 = 1_000;

/// Answers a pull, or holds it.
pub(crate) fn pull_message(broker: &Broker, mut request: PullRequest<'_>) -> Handled {
    let header = &request.header;
    let queue = broker
        .static_topics
        .find(&header.topic, header.queue_id, header.logical)?;
    let placed = queue.map(|queue| PlacedPull::rewrite(queue, &mut request.header));
    if let Some(placed) = placed.as_ref().filter(|placed| !placed.is_here()) {
        return if request.may_block() {
            Ok(placed.ask_there(&broker.static_topics, &request.header)?.into())
        } else {
            Ok(Outcome::MoveToBlocking)
        };
    }
    let checked = match pull_checks::check(broker, &request) {
        Ok(checked) => checked,
        Err(refused) => return Ok(Response::from(refused).into()),
    };
    let broadcast = BroadcastPuller::of(broker, &request);
    let moved_to = reset_by_operator(broker, &request).or_else(|| {
        let broadcast = broadcast.as_ref()?;
        broadcast.initial_offset(broker, &request)
    });
    if let Some(offset) = moved_to {
        if let Some(broadcast) = &broadcast {
            broadcast.pulled(broker, &request, response_code::PULL_OFFSET_MOVED, offset);
        }
        return Ok(moved(broker, &request, &checked, offset).into());
    }
    let slowdown = pull_cold::slowdown(broker, &request, &stored_topic(&request.header))?;
    if slowdown == Slowdown::Wait {
        return Ok(hold_back(broker, &request, &checked));
    }
    if !request.may_block() && reads_old_messages(broker, &request.header) {
        return Ok(Outcome::MoveToBlocking);
    }
    let mut records = Vec::new();
    let mut found = get(broker, &request.header, &checked, slowdown, &mut records);
    pull_cold::record(broker, &request, &stored_topic(&request.header), found.size_bytes);
    commit(broker, &request, found.next_begin_offset);
    if found.status == GetStatus::ReadFailed {
        return Err(queue_unreadable());
    }

    let mut code = code_of(found.status, request.header.queue_offset);
    if let Some(placed) = &placed {
        code = reword(placed, code, &mut found);
    }
    if let Some(broadcast) = &broadcast {
        broadcast.pulled(broker, &request, code, found.next_begin_offset);
    }
    if code == response_code::PULL_NOT_FOUND && may_wait(&request) {
        return Ok(hold(broker, &request, &checked));
    }
    if code == response_code::SUCCESS {
        let group = &request.header.consumer_group;
        broker.stats.record_get(
            group,
            &request.header.topic,
            found.message_count,
            records.len() as u64,
        );
    }
    let response = Response::new(code)
        .remark(found.status.name())
        .header(&PullMessageResponseHeader {
            offset_delta: placed.as_ref().map(PlacedPull::offset_delta),
            ..answer_header(broker, &checked, &found)
        })
        .body(records);
    Ok(response.into())
}

/// An operator has reset the group's offset: the consumer is sent there once, whatever it asked for.
fn reset_by_operator(broker: &Broker, request: &PullRequest<'_>) -> Option<i64> {
    let header = &request.header;
    broker
        .consumer_offsets
        .take_reset(&header.consumer_group, &header.topic, header.queue_id)
}

/// The consumer must go on at another offset. What it wants committed is older, so it is not.
fn moved(broker: &Broker, request: &PullRequest<'_>, checked: &CheckedPull, offset: i64) -> Response {
    let header = &request.header;
    let answer = PullMessageResponseHeader {
        suggest_which_broker_id: checked.group.broker_id,
        next_begin_offset: offset,
        min_offset: broker.store.min_offset(&header.topic, header.queue_id),
        max_offset: broker.store.max_offset(&header.topic, header.queue_id),
        offset_delta: None,
        topic_sys_flag: checked.topic.topic_sys_flag,
        group_sys_flag: checked.group.group_sys_flag,
        forbidden_type: None,
    };
    Response::new(response_code::PULL_OFFSET_MOVED)
        .remark("OFFSET_RESET")
        .header(&answer)
}

fn get(
    broker: &Broker,
    header: &PullMessageRequestHeader<'_>,
    checked: &CheckedPull,
    slowdown: Slowdown,
    records: &mut Vec<u8>,
) -> GetOutcome {
    let topic = stored_topic(header);
    let request = GetRequest {
        topic: &topic,
        queue_id: header.queue_id,
        offset: header.queue_offset,
        max_messages: match slowdown {
            Slowdown::OneMessage => 1,
            _ => usize::try_from(header.max_msg_nums).unwrap_or(0),
        },
        max_bytes: header.max_msg_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        filter: &checked.filter,
    };
    broker.store.get(&request, records)
}

/// Whether the messages were written too long ago to be in memory: reading them would keep a connection's task waiting.
fn reads_old_messages(broker: &Broker, header: &PullMessageRequestHeader<'_>) -> bool {
    let (topic, queue_id) = (stored_topic(header), header.queue_id);
    let Ok(offset) = u64::try_from(header.queue_offset) else {
        return false;
    };
    let end = broker.store.max_offset(&topic, queue_id);
    header.queue_offset < end - NEAR_END_MESSAGES
        && !broker.store.is_in_memory(&topic, queue_id, QueueOffset(offset))
}

/// The topic in the store: a light topic has a queue of its own.
fn stored_topic<'a>(header: &'a PullMessageRequestHeader<'_>) -> Cow<'a, str> {
    match header.lite_topic.as_deref() {
        Some(lite_topic) if !lite_topic.trim().is_empty() => {
            Cow::Owned(names::lmq_of_lite_topic(&header.topic, lite_topic))
        }
        _ => Cow::Borrowed(&*header.topic),
    }
}

/// A held pull commits when it comes, not again when it is resumed.
fn commit(broker: &Broker, request: &PullRequest<'_>, next_begin_offset: i64) {
    let header = &request.header;
    broker.consumer_offsets.commit_pull(
        &header.consumer_group,
        &header.topic,
        header.queue_id,
        next_begin_offset,
    );
    if !request.is_resumed() && header.sys_flag & sys_flag::pull::COMMIT_OFFSET != 0 {
        broker.consumer_offsets.commit(
            request.connection().peer_addr(),
            &header.consumer_group,
            &header.topic,
            header.queue_id,
            header.commit_offset,
        );
    }
}

/// Numbers an answer as the logical queue does.
fn reword(placed: &PlacedPull, code: i32, found: &mut GetOutcome) -> i32 {
    let reworded = placed.reword(Pulled {
        code,
        next_begin_offset: found.next_begin_offset,
        min_offset: found.min_offset,
        max_offset: found.max_offset,
    });
    found.next_begin_offset = reworded.next_begin_offset;
    found.min_offset = reworded.min_offset;
    found.max_offset = reworded.max_offset;
    reworded.code
}

/// What a status means to the client. An empty queue is only waited for from its beginning.
fn code_of(status: GetStatus, asked_offset: i64) -> i32 {
    match status {
        GetStatus::Found => response_code::SUCCESS,
        GetStatus::MessageWasRemoving | GetStatus::NoMatchedMessage => response_code::PULL_RETRY_IMMEDIATELY,
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if asked_offset == 0 => {
            response_code::PULL_NOT_FOUND
        }
        GetStatus::OffsetFoundNull | GetStatus::OffsetOverflowOne => response_code::PULL_NOT_FOUND,
        GetStatus::ReadFailed => response_code::SYSTEM_ERROR,
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetOverflowBadly
        | GetStatus::OffsetTooSmall => response_code::PULL_OFFSET_MOVED,
    }
}

fn may_wait(request: &PullRequest<'_>) -> bool {
    !request.is_resumed() && request.header.sys_flag & sys_flag::pull::SUSPEND != 0
}

/// Leaves the pull with the hold for a while, whatever arrives.
fn hold_back(broker: &Broker, request: &PullRequest<'_>, checked: &CheckedPull) -> Outcome {
    let header = &request.header;
    broker.pull_hold.park(
        &stored_topic(header),
        header.queue_id,
        i64::MAX,
        checked.filter.clone(),
        broker.clock.wall_ms().saturating_add(pull_cold::WAIT_MS),
        request.park(),
    );
    Outcome::Parked
}

/// Leaves the pull with the hold. A message that arrived since the get would have woken nobody, so the queue's end is
/// looked at once more.
fn hold(broker: &Broker, request: &PullRequest<'_>, checked: &CheckedPull) -> Outcome {
    let header = &request.header;
    let config = broker.config.get();
    let wait_ms = if config.long_polling_enable {
        header.suspend_timeout_millis
    } else {
        config.short_polling_time_mills
    };
    let topic = stored_topic(header);
    broker.pull_hold.park(
        &topic,
        header.queue_id,
        header.queue_offset,
        checked.filter.clone(),
        broker.clock.wall_ms().saturating_add(wait_ms),
        request.park(),
    );
    broker.pull_hold.recheck(
        &topic,
        header.queue_id,
        broker.store.max_offset(&topic, header.queue_id),
    );
    Outcome::Parked
}

fn answer_header(broker: &Broker, checked: &CheckedPull, found: &GetOutcome) -> PullMessageResponseHeader {
    PullMessageResponseHeader {
        suggest_which_broker_id: suggested_broker(broker, &checked.group, found.suggest_slave),
        next_begin_offset: found.next_begin_offset,
        min_offset: found.min_offset,
        max_offset: found.max_offset,
        offset_delta: None,
        topic_sys_flag: checked.topic.topic_sys_flag,
        group_sys_flag: checked.group.group_sys_flag,
        forbidden_type: None,
    }
}

/// Readers of old messages are sent to a slave, if slaves may be read.
fn suggested_broker(broker: &Broker, group: &SubscriptionGroupConfig, reads_old_messages: bool) -> i64 {
    const MASTER_ID: i64 = 0;
    match (broker.config.get().slave_read_enable, reads_old_messages) {
        (false, _) => MASTER_ID,
        (true, true) => group.which_broker_when_consume_slowly,
        (true, false) => group.broker_id,
    }
}
