//! POP_LITE_MESSAGE: messages of all light topics a client has subscribed to, in order within each.
//!
//! ```text
//!   check ─> the client's events, one light message queue each:  lock ─> blocked? ─> read ─> remember the batch
//!         ─> answer, or hold/lite.rs when there is nothing
//! ```
//!
//! A queue whose last batch is neither acknowledged nor visible again is passed by; the client has an event of it when it is.
//! Reference: `PopLiteMessageProcessor`.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use common::message::properties::name;
use common::names::LMQ_QUEUE_ID;
use remoting::codes::response_code;
use remoting::header::{PopLiteMessageRequestHeader, PopLiteMessageResponseHeader};
use remoting::request::{Handled, Outcome, Refusal, Request, Response};
use store::record::Record;
use store::{AllMessages, GetOutcome, GetStatus};

use crate::broker::Broker;
use crate::lite::settings;
use crate::pop::handle::ORDER_REVIVE_QUEUE;
use crate::processor::pop_checks;
use crate::processor::pop_message::{self, LOOK_AGAIN_MS, records_of};
use crate::processor::pop_order;
use crate::processor::pop_read::PopRead;
use crate::processor::refusals::FAQ;
use crate::registry::order_info::{GroupQueue, NewBatch, OrderCounts};
use crate::registry::topics::perm;

pub(crate) type PopLiteRequest<'a> = Request<'a, PopLiteMessageRequestHeader<'a>>;

/// Answers a lite pop, or holds it.
pub(crate) fn pop_lite_message(broker: &Broker, request: PopLiteRequest<'_>) -> Handled {
    let handled = pop_or_wait(broker, &request);
    if !matches!(handled, Ok(Outcome::Parked)) {
        // Refused, or full: of what is left, another pop of the client may have waited longer.
        broker.lite.wake_if_event(&request.header.client_id);
    }
    handled
}

fn pop_or_wait(broker: &Broker, request: &PopLiteRequest<'_>) -> Handled {
    let header = &request.header;
    if let Some(answer) = pop_message::too_late(broker, header.born_time, header.poll_time) {
        return Ok(answer.header(&PopLiteMessageResponseHeader::default()).into());
    }
    check(broker, header)?;
    let mut popping = Popping::new(broker, &request.header);
    popping.pop();
    if popping.message_count == 0 {
        return Ok(wait(broker, request, popping));
    }
    Ok(popping.answer(response_code::SUCCESS, GetStatus::Found).into())
}

fn check(broker: &Broker, header: &PopLiteMessageRequestHeader<'_>) -> Result<(), Refusal> {
    pop_checks::require_readable_broker(broker, "pop")?;
    pop_message::require_message_count(broker, header.max_msg_num)?;
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    let refuse = |code, remark: String| Err(Refusal::new(code, remark));
    let Some(topic_config) = broker.topics.get(topic) else {
        let remark = format!("topic [{topic}] not exist, apply first please! {FAQ}");
        return refuse(response_code::TOPIC_NOT_EXIST, remark);
    };
    if topic_config.perm & perm::READ == 0 {
        let remark = format!("the topic [{topic}] peeking message is forbidden");
        return refuse(response_code::NO_PERMISSION, remark);
    }
    if !settings::is_lite(&topic_config) {
        let remark = format!("the topic [{topic}] message type not match");
        return refuse(response_code::INVALID_PARAMETER, remark);
    }
    let Some(group_config) = broker.groups.find(group) else {
        let remark = format!("subscription group [{group}] not exist, {FAQ}");
        return refuse(response_code::SUBSCRIPTION_GROUP_NOT_EXIST, remark);
    };
    if !group_config.consume_enable {
        let remark = format!("subscription group no permission, {group}");
        return refuse(response_code::NO_PERMISSION, remark);
    }
    if settings::bind_topic(&group_config) != Some(topic) {
        let remark = format!("subscription bind topic not match, {group}");
        return refuse(response_code::INVALID_PARAMETER, remark);
    }
    Ok(())
}

/// One lite pop on its way through the client's queues.
struct Popping<'a> {
    broker: &'a Broker,
    header: &'a PopLiteMessageRequestHeader<'a>,
    pop_time_ms: i64,
    /// Without events: the queues of the client that are to be looked at.
    queues: Option<VecDeque<Arc<str>>>,
    /// The messages, as the client gets them.
    body: Vec<u8>,
    message_count: i32,
    order_counts: Vec<String>,
}

impl<'a> Popping<'a> {
    fn new(broker: &'a Broker, header: &'a PopLiteMessageRequestHeader<'a>) -> Self {
        let has_events = broker.config.get().enable_lite_event_mode;
        let all_queues = || {
            broker.lite.look(|subscriptions| {
                let client = subscriptions.of_client(&header.client_id)?;
                Some(client.lmqs.iter().cloned().collect())
            })
        };
        Popping {
            broker,
            header,
            pop_time_ms: broker.clock.wall_ms(),
            queues: (!has_events).then(|| all_queues().unwrap_or_default()),
            body: Vec::new(),
            message_count: 0,
            order_counts: Vec::new(),
        }
    }

    fn pop(&mut self) {
        // Once more would give the same batch again to the same attempt; its ack will make a new event.
        let mut given = HashSet::new();
        while self.room() > 0
            && let Some(lmq) = self.next_queue()
        {
            if !given.contains(&lmq) && self.pop_queue(&lmq) {
                given.insert(lmq);
            }
        }
    }

    fn next_queue(&mut self) -> Option<Arc<str>> {
        match &mut self.queues {
            Some(queues) => queues.pop_front(),
            None => self.broker.lite.take_event(&self.header.client_id),
        }
    }

    /// Takes messages of a queue; false when there are none to be taken.
    fn pop_queue(&mut self, lmq: &str) -> bool {
        let broker = self.broker;
        let group = &*self.header.consumer_group;
        if broker.store.max_offset(lmq, LMQ_QUEUE_ID) == 0 {
            return false;
        }
        let queue = GroupQueue {
            topic: lmq,
            group,
            queue_id: LMQ_QUEUE_ID,
        };
        let Some(_lock) = broker.pop_locks.try_lock(lmq, group, LMQ_QUEUE_ID) else {
            let look_again_ms = self.pop_time_ms + LOOK_AGAIN_MS;
            broker.lite.look_again_at(group, lmq, look_again_ms);
            return false;
        };
        let attempt_id = self.header.attempt_id.as_deref();
        let order_info = &broker.lite_order_info;
        let free_ms =
            order_info.blocked_until_ms(queue, attempt_id, self.header.invisible_time, self.pop_time_ms);
        if let Some(free_ms) = free_ms {
            broker.lite.look_again_at(group, lmq, free_ms);
            return false;
        }
        let offset = pop_checks::pop_offset(broker, order_info, queue, pop_checks::INIT_MODE_MAX);
        let mut records = Vec::new();
        let (read_at, found) = self.read(queue, offset, &mut records);
        if found.status != GetStatus::Found {
            if read_at != offset {
                pop_order::keep_batch(order_info, queue, read_at);
            }
            if read_at < broker.store.max_offset(lmq, LMQ_QUEUE_ID) {
                // Messages are lost there; this event is used up, and there are others behind them.
                let look_again_ms = self.pop_time_ms + LOOK_AGAIN_MS;
                broker.lite.look_again_at(group, lmq, look_again_ms);
            }
            return false;
        }
        let offset = read_at;
        let offsets: Vec<i64> = records_of(&records)
            .filter_map(|record| offset_in(&record, lmq))
            .collect();
        if offsets.is_empty() {
            tracing::error!(lmq, offset, "records cannot be read: popped over");
            let next = found.next_begin_offset;
            broker
                .consumer_offsets
                .commit("popLite", group, lmq, LMQ_QUEUE_ID, next);
            return false;
        }
        self.hand_out(queue, offset, &offsets, &records);
        true
    }

    fn read(&self, queue: GroupQueue<'_>, offset: i64, records: &mut Vec<u8>) -> (i64, GetOutcome) {
        let read = PopRead {
            queue,
            offset,
            room: self.room(),
            filter: &AllMessages,
            client: "CorrectOffset",
            is_outside: |status| {
                matches!(
                    status,
                    GetStatus::OffsetTooSmall
                        | GetStatus::OffsetOverflowBadly
                        | GetStatus::OffsetFoundNull
                        | GetStatus::NoMatchedMessage
                        | GetStatus::MessageWasRemoving
                        | GetStatus::NoMatchedLogicQueue
                )
            },
        };
        read.read(self.broker, records)
    }

    /// Makes the messages invisible and adds them to the answer.
    fn hand_out(&mut self, queue: GroupQueue<'_>, start_offset: i64, offsets: &[i64], records: &[u8]) {
        let (broker, header) = (self.broker, self.header);
        let batch = NewBatch {
            attempt_id: header.attempt_id.as_deref(),
            pop_time_ms: self.pop_time_ms,
            invisible_time_ms: header.invisible_time,
            offsets,
        };
        let counts = broker.lite_order_info.update(queue, batch, self.pop_time_ms);
        pop_order::keep_batch(&broker.lite_order_info, queue, start_offset);
        self.order_counts.push(order_counts(&counts, offsets.len()));
        let visible_ms = self.pop_time_ms.saturating_add(header.invisible_time);
        broker.lite.look_again_at(queue.group, queue.topic, visible_ms);
        if broker.config.get().enable_lite_pop_log {
            let (client_id, lmq, count) = (&*header.client_id, queue.topic, offsets.len());
            tracing::info!(
                client_id,
                lmq,
                start_offset,
                count,
                "messages of a light topic are handed out"
            );
        }
        self.message_count += i32::try_from(offsets.len()).unwrap_or(i32::MAX);
        broker.stats.record_get(
            queue.group,
            &header.topic,
            u32::try_from(offsets.len()).unwrap_or(u32::MAX),
            records.len() as u64,
        );
        self.body.extend_from_slice(records);
    }

    /// How many more messages the client takes.
    fn room(&self) -> i32 {
        self.header.max_msg_num - self.message_count
    }

    fn answer(self, code: i32, status: GetStatus) -> Response {
        let header = PopLiteMessageResponseHeader {
            pop_time: self.pop_time_ms,
            invisible_time: self.header.invisible_time,
            revive_qid: ORDER_REVIVE_QUEUE,
            start_offset_info: None,
            msg_offset_info: None,
            order_count_info: Some(self.order_counts.join(";")),
        };
        Response::new(code)
            .remark(status.name())
            .header(&header)
            .body(self.body)
    }
}

/// The number of a message in one of the light message queues it is in.
fn offset_in(record: &Record<'_>, lmq: &str) -> Option<i64> {
    let names = record.property(name::INNER_MULTI_DISPATCH)?.split(',');
    let offsets = record.property(name::INNER_MULTI_QUEUE_OFFSET)?.split(',');
    let (_, offset) = names.zip(offsets).find(|(name, _)| *name == lmq)?;
    offset.parse().ok()
}

/// How often the messages of a batch were handed out before, as the answer says it: those that were, or else a zero for each.
/// Reference: `transformOrderCountInfo`.
fn order_counts(counts: &OrderCounts, messages: usize) -> String {
    if counts.counts.is_empty() {
        return vec!["0"; messages].join(";");
    }
    let counts = counts.counts.iter();
    let counts: Vec<String> = counts
        .map(|(offset, count)| format!("0 qo{LMQ_QUEUE_ID}%{offset} {count}"))
        .collect();
    counts.join(";")
}

/// There is nothing: holds the pop until there is, or its time is up.
fn wait(broker: &Broker, request: &PopLiteRequest<'_>, popping: Popping<'_>) -> Outcome {
    let header = &request.header;
    let now_ms = broker.clock.wall_ms();
    let nothing = |popping: Popping<'_>, code| popping.answer(code, GetStatus::NoMessageInQueue).into();
    let deadline_ms =
        pop_checks::waits_until_ms(header.born_time, header.poll_time, now_ms, request.is_resumed());
    let Some(deadline_ms) = deadline_ms else {
        return nothing(popping, response_code::POLLING_TIMEOUT);
    };
    let client_id = &*header.client_id;
    let parked = broker.lite.hold.park(
        client_id,
        deadline_ms,
        pop_message::limits(broker),
        || request.park(),
        request.connection(),
    );
    if parked.is_err() {
        return nothing(popping, response_code::POLLING_FULL);
    }
    // An event may have come since.
    broker.lite.wake_if_event(client_id);
    Outcome::Parked
}
