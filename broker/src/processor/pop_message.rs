//! POP_MESSAGE: messages of any queue to any consumer of a group; the broker keeps track of them.
//!
//! ```text
//!   check ─> retry topic, one time in five ─> the queues, from a random one on ─> retry topic, the other times
//!                     each queue:  lock ─> read ─> checkpoint into the log ─> commit the group's offset
//!         ─> answer, or when there is nothing:  a queue cannot be read: refused, as a pull is
//!                                               else:                   hold/pop.rs
//! ```
//!
//! What is handed out has its checkpoint in the log, so it comes back if nobody acknowledges it. In order, the last batch of
//! a queue is remembered instead, and blocks it (registry/order_info.rs). Reference: `PopMessageProcessor`.

use std::sync::Arc;

use common::message::properties::{MessageProperties, name};
use common::names::PopRetryNaming;
use remoting::body::pop::PopCheckPoint;
use remoting::body::topic::TopicConfig;
use remoting::codes::response_code;
use remoting::header::{PopMessageRequestHeader, PopMessageResponseHeader};
use remoting::request::{Handled, Outcome, Refusal, Request, Response};
use store::record;
use store::record::encode::{self, RecordStyle};
use store::{GetOutcome, GetStatus, Message, QueueOffset};

use crate::broker::Broker;
use crate::filter::expression::ExpressionFilter;
use crate::hold::pop::{Poll, PollKind, PollLimits};
use crate::pop::handle::{AnswerLists, ORDER_REVIVE_QUEUE, PopHandle, retry_digit};
use crate::pop::revive_log::ReviveRecord;
use crate::processor::pop_checks::{self, Wanted};
use crate::processor::pop_order;
use crate::processor::pop_read::PopRead;
use crate::processor::refusals::{put_refused, queue_unreadable};
use crate::registry::order_info::{GroupQueue, NewBatch};

/// Messages of one pop, at most: as many as the acks of a checkpoint can name.
const MAX_POP_MESSAGES: i32 = 32;
/// A request later than its own waiting time by more is answered at once. Reference: `isTimeoutTooMuch`.
const TOO_LATE_MS: i64 = 500;
/// When to look again at a queue that another pop had locked, or of which messages are lost.
pub(crate) const LOOK_AGAIN_MS: i64 = 20;
/// How many of a hundred pops go by priority unless the group says otherwise. Reference: `PRIORITY_FACTOR_ATTRIBUTE`.
const DEFAULT_PRIORITY_FACTOR: i64 = 100;
/// A group so few messages behind reads from memory; only for others that is looked up.
const NEAR_END_MESSAGES: i64 = 1_000;

pub(crate) type PopRequest<'a> = Request<'a, PopMessageRequestHeader<'a>>;

/// Answers a pop, or holds it.
pub(crate) fn pop_message(broker: &Broker, request: PopRequest<'_>) -> Handled {
    let header = &request.header;
    if let Some(answer) = too_late(broker, header.born_time, header.poll_time) {
        wake_others(broker, &request);
        return Ok(answer.header(&PopMessageResponseHeader::default()).into());
    }
    let topic_config = check(broker, &request).inspect_err(|_| wake_others(broker, &request))?;
    let filter = pop_checks::filter_of(
        broker,
        wanted(&request),
        header.exp_type.as_deref(),
        header.exp.as_deref(),
    )?;
    if let Some(events) = broker.stats.events() {
        let (group, topic) = (&header.consumer_group, &header.topic);
        events
            .silent
            .note(group, topic, true, &filter, broker.clock.wall_ms());
    }
    if !request.may_block() && reads_old_messages(broker, &request.header, &topic_config) {
        return Ok(Outcome::MoveToBlocking);
    }
    let mut popping = Popping::new(broker, &request.header, filter);
    popping.pop(&topic_config)?;
    if popping.message_count == 0 && popping.met_unreadable {
        wake_others(broker, &request);
        return Err(queue_unreadable());
    }
    let Popping { rest, .. } = popping;
    let outcome = match popping.message_count {
        0 => wait(broker, &request, popping),
        _ => popping.answer(response_code::SUCCESS, GetStatus::Found).into(),
    };
    if rest > 0 && !matches!(outcome, Outcome::Parked) {
        let header = &request.header;
        let (hold, topic, group) = (&broker.pop_hold, &*header.topic, &*header.consumer_group);
        match header.queue_id {
            ..0 => hold.wake_for_rest(topic, group),
            queue_id => hold.wake_one(topic, group, queue_id),
        }
    }
    Ok(outcome)
}

/// A refused pop may have been woken for messages that others wait for, too.
fn wake_others(broker: &Broker, request: &PopRequest<'_>) {
    if request.is_resumed() {
        let header = &request.header;
        broker.pop_hold.wake_others(&header.topic, &header.consumer_group);
    }
}

fn check(broker: &Broker, request: &PopRequest<'_>) -> Result<Arc<TopicConfig>, Refusal> {
    let header = &request.header;
    pop_checks::require_readable_broker(broker, "pop")?;
    require_message_count(broker, header.max_msg_nums)?;
    if !broker.store_config.get().timer_wheel_enable {
        return Err(Refusal::system_error(format!(
            "the broker[{}] pop message is forbidden because timerWheelEnable is false",
            broker.config.get().broker_ip1
        )));
    }
    let longest_ms = broker
        .store_config
        .get()
        .timer_max_delay_sec
        .saturating_mul(1_000);
    if header.invisible_time > longest_ms {
        return Err(Refusal::new(
            response_code::INVALID_PARAMETER,
            format!(
                "invisibleTime is {} ms, the limit is {longest_ms} ms",
                header.invisible_time
            ),
        ));
    }
    pop_checks::require_readable(broker, wanted(request))
}

/// A pop that was to wait, but comes too late for that, is not served. To the client that is no failure: it reads a header, which
/// the caller adds.
pub(crate) fn too_late(broker: &Broker, born_time_ms: i64, poll_time_ms: i64) -> Option<Response> {
    let now_ms = broker.clock.wall_ms();
    let late_ms = now_ms
        .saturating_sub(pop_checks::born_ms(born_time_ms, now_ms))
        .saturating_sub(poll_time_ms.max(0));
    if late_ms <= TOO_LATE_MS {
        return None;
    }
    let ip = &broker.config.get().broker_ip1;
    let remark = format!("the broker[{ip}] pop message is timeout too much");
    Some(Response::new(response_code::POLLING_TIMEOUT).remark(remark))
}

/// A pop takes one to 32 messages.
pub(crate) fn require_message_count(broker: &Broker, count: i32) -> Result<(), Refusal> {
    let remark = match count {
        1..=MAX_POP_MESSAGES => return Ok(()),
        ..=0 => format!("maxMsgNums is {count}: a pop takes at least one message"),
        _ => {
            let ip = &broker.config.get().broker_ip1;
            format!("the broker[{ip}] pop message's num is greater than 32")
        }
    };
    Err(Refusal::new(response_code::INVALID_PARAMETER, remark))
}

fn wanted<'a>(request: &'a PopRequest<'_>) -> Wanted<'a> {
    Wanted {
        topic: &request.header.topic,
        group: &request.header.consumer_group,
        queue_id: request.header.queue_id,
        connection: request.connection(),
    }
}

/// Whether a queue's next messages were written too long ago to be in memory: reading them would keep a connection's task
/// waiting.
fn reads_old_messages(
    broker: &Broker,
    header: &PopMessageRequestHeader<'_>,
    topic_config: &TopicConfig,
) -> bool {
    let (topic, group) = (&*header.topic, &*header.consumer_group);
    let queues = match header.queue_id {
        any if any < 0 => 0..topic_config.read_queue_nums,
        queue_id => queue_id..queue_id.saturating_add(1),
    };
    queues.into_iter().any(|queue_id| {
        let offset = broker.consumer_offsets.query(group, topic, queue_id).unwrap_or(0);
        let Ok(at) = u64::try_from(offset) else {
            return false;
        };
        offset < broker.store.max_offset(topic, queue_id) - NEAR_END_MESSAGES
            && !broker.store.is_in_memory(topic, queue_id, QueueOffset(at))
    })
}

/// One pop on its way through the queues.
struct Popping<'a> {
    broker: &'a Broker,
    header: &'a PopMessageRequestHeader<'a>,
    filter: ExpressionFilter,
    pop_time_ms: i64,
    revive_queue_id: i32,
    lists: AnswerLists,
    /// The messages, as the client gets them.
    body: Vec<u8>,
    message_count: i32,
    /// Messages left in the queues, as far as they were looked at.
    rest: i64,
    /// A queue has messages, and the disk failed to tell which.
    met_unreadable: bool,
    /// When a queue that could not be looked at may be, ms.
    look_again_ms: Option<i64>,
}

impl<'a> Popping<'a> {
    fn new(broker: &'a Broker, header: &'a PopMessageRequestHeader<'a>, filter: ExpressionFilter) -> Self {
        Popping {
            broker,
            header,
            filter,
            pop_time_ms: broker.clock.wall_ms(),
            revive_queue_id: if header.order {
                ORDER_REVIVE_QUEUE
            } else {
                broker.revive_log.next_queue()
            },
            lists: AnswerLists::default(),
            body: Vec::new(),
            message_count: 0,
            rest: 0,
            met_unreadable: false,
            look_again_ms: None,
        }
    }

    fn pop(&mut self, topic_config: &TopicConfig) -> Result<(), Refusal> {
        let chance = self.broker.random.below(100);
        let config = self.broker.config.get();
        let by_priority = self.goes_by_priority(topic_config, chance);
        let retry_probability = if by_priority {
            config.pop_from_retry_probability_for_priority
        } else {
            config.pop_from_retry_probability
        };
        let retry_first = chance < retry_probability;
        let start = if by_priority { 0 } else { chance };
        if retry_first {
            self.pop_retry_topic(start)?;
        }
        if self.header.queue_id < 0 {
            self.pop_topic(topic_config, false, start)?;
        } else {
            self.pop_queue(&topic_config.topic_name, false, self.header.queue_id)?;
        }
        if !retry_first && self.room() > 0 {
            self.pop_retry_topic(start)?;
        }
        Ok(())
    }

    /// Whether the queues are looked at in the order of their priority: in a topic of priority messages, as often as the
    /// group wants.
    fn goes_by_priority(&self, topic_config: &TopicConfig, chance: i32) -> bool {
        let has_priorities = topic_config
            .attributes
            .get("message.type")
            .is_some_and(|message_type| message_type == "PRIORITY");
        if !has_priorities || self.header.order {
            return false;
        }
        let group = self.broker.groups.get(&self.header.consumer_group);
        let factor = group
            .as_ref()
            .and_then(|group| group.attributes.get("priority.factor"))
            .and_then(|factor| factor.parse().ok());
        i64::from(chance) < factor.unwrap_or(DEFAULT_PRIORITY_FACTOR)
    }

    /// Of the two retry topics a pop reads one only: their queues are called alike in the lists of the answer.
    fn pop_retry_topic(&mut self, start: i32) -> Result<(), Refusal> {
        if self.header.order {
            return Ok(());
        }
        let config = self.broker.config.get();
        let naming = PopRetryNaming::configured(config.enable_retry_topic_v2);
        let reads_v1 = naming == PopRetryNaming::V2 && config.retrieve_message_from_pop_retry_topic_v1;
        let namings = match (reads_v1, self.broker.random.below(2)) {
            (true, 0) => [Some(PopRetryNaming::V1), Some(naming)],
            (true, _) => [Some(naming), Some(PopRetryNaming::V1)],
            (false, _) => [Some(naming), None],
        };
        for naming in namings.into_iter().flatten() {
            let before = self.message_count;
            let topic = naming.topic(&self.header.topic, &self.header.consumer_group);
            if let Some(topic_config) = self.broker.topics.get(&topic) {
                self.pop_topic(&topic_config, true, start)?;
            }
            if self.message_count > before {
                break;
            }
        }
        Ok(())
    }

    /// With `priorityOrderAsc` the queue with the greatest number comes first.
    fn pop_topic(&mut self, topic_config: &TopicConfig, is_retry: bool, start: i32) -> Result<(), Refusal> {
        let queues = topic_config.read_queue_nums;
        let greatest_first = self.broker.config.get().priority_order_asc;
        for i in 0..queues {
            let place = if greatest_first { queues - 1 - i } else { i };
            let queue_id = (start + place) % queues;
            self.pop_queue(&topic_config.topic_name, is_retry, queue_id)?;
        }
        Ok(())
    }

    fn pop_queue(&mut self, topic: &str, is_retry: bool, queue_id: i32) -> Result<(), Refusal> {
        let broker = self.broker;
        let group = &*self.header.consumer_group;
        let queue = GroupQueue {
            topic,
            group,
            queue_id,
        };
        let Some(_lock) = broker.pop_locks.try_lock(topic, group, queue_id) else {
            if broker.store.max_offset(topic, queue_id) > pop_checks::peek_offset(broker, queue) {
                self.look_again_at(self.pop_time_ms + LOOK_AGAIN_MS);
            }
            return Ok(());
        };
        let offset = pop_checks::pop_offset(broker, &broker.order_info, queue, self.header.init_mode);
        if self.header.order
            && let Some(free_ms) = broker.order_info.blocked_until_ms(
                queue,
                self.header.attempt_id.as_deref(),
                self.header.invisible_time,
                self.pop_time_ms,
            )
        {
            if broker.config.get().enable_notify_after_pop_order_lock_release {
                self.look_again_at(free_ms);
            }
            return Ok(());
        }
        if let Some(until_ms) = pop_checks::is_full_until_ms(broker, queue) {
            self.look_again_at(until_ms);
            return Ok(());
        }
        if self.room() <= 0 {
            self.rest += (broker.store.max_offset(topic, queue_id) - offset).max(0);
            return Ok(());
        }
        let mut records = Vec::new();
        let (offset, found) = self.read(queue, offset, &mut records);
        if found.status == GetStatus::Found {
            self.hand_out(queue, is_retry, offset, &found, &records)?;
        } else if is_passed_over(found.status) && found.next_begin_offset >= 0 {
            // A power failure that took what was passed over would have others at these offsets passed over, too.
            broker.pop_progress.mark_unflushed();
            broker
                .consumer_offsets
                .commit("pop", group, topic, queue_id, found.next_begin_offset);
        } else if found.status == GetStatus::ReadFailed {
            self.met_unreadable = true;
        }
        self.rest += (found.max_offset - found.next_begin_offset).max(0);
        Ok(())
    }

    fn read(&self, queue: GroupQueue<'_>, offset: i64, records: &mut Vec<u8>) -> (i64, GetOutcome) {
        let read = PopRead {
            queue,
            offset,
            room: self.room(),
            filter: &self.filter,
            client: "pop",
            is_outside: |status| {
                matches!(
                    status,
                    GetStatus::OffsetTooSmall | GetStatus::OffsetOverflowBadly | GetStatus::OffsetFoundNull
                )
            },
        };
        read.read(self.broker, records)
    }

    /// Makes the messages invisible and adds them to the answer.
    fn hand_out(
        &mut self,
        queue: GroupQueue<'_>,
        is_retry: bool,
        start_offset: i64,
        found: &GetOutcome,
        records: &[u8],
    ) -> Result<(), Refusal> {
        let GroupQueue {
            topic,
            group,
            queue_id,
        } = queue;
        let broker = self.broker;
        let offsets = offsets_of(records);
        if offsets.is_empty() {
            tracing::error!(
                topic,
                queue_id,
                start_offset,
                "records cannot be read: popped over"
            );
            broker
                .consumer_offsets
                .commit("pop", group, topic, queue_id, found.next_begin_offset);
            return Ok(());
        }
        if self.header.order {
            self.remember_batch(queue, &offsets);
            broker
                .consumer_offsets
                .commit("pop", group, topic, queue_id, start_offset);
            pop_order::keep_batch(&broker.order_info, queue, start_offset);
        } else {
            self.append_checkpoint(queue, start_offset, &offsets)?;
            broker
                .consumer_offsets
                .commit("pop", group, topic, queue_id, found.next_begin_offset);
        }
        if broker.config.get().enable_pop_message_threshold {
            let until_ms = self.pop_time_ms.saturating_add(self.header.invisible_time);
            broker
                .invisible
                .popped(queue, self.pop_time_ms, offsets.len(), until_ms);
        }
        self.lists.add_messages(topic, queue_id, start_offset, &offsets);
        self.message_count += i32::try_from(offsets.len()).unwrap_or(i32::MAX);
        broker.stats.record_pop(
            group,
            &self.header.topic,
            topic,
            is_retry,
            found.message_count,
            records.len() as u64,
        );
        if is_retry && !broker.config.get().pop_response_return_actual_retry_topic {
            self.add_under_own_topic(start_offset, records);
        } else {
            self.body.extend_from_slice(records);
        }
        Ok(())
    }

    fn append_checkpoint(
        &self,
        queue: GroupQueue<'_>,
        start_offset: i64,
        offsets: &[i64],
    ) -> Result<(), Refusal> {
        let broker = self.broker;
        let diffs = offsets.iter().map(|offset| i32::try_from(offset - start_offset));
        let checkpoint = PopCheckPoint {
            broker_name: Some(broker.identity.broker_name.clone()),
            cid: queue.group.to_owned(),
            queue_offset_diff: Some(diffs.collect::<Result<_, _>>().unwrap_or_default()),
            invisible_time_ms: self.header.invisible_time,
            num: i8::try_from(offsets.len()).unwrap_or(i8::MAX),
            pop_time_ms: self.pop_time_ms,
            queue_id: queue.queue_id,
            start_offset,
            topic: queue.topic.to_owned(),
            ..PopCheckPoint::default()
        };
        let due_ms = checkpoint.revive_time_ms();
        broker.pop_progress.mark_unflushed();
        broker
            .revive_log
            .append(
                &ReviveRecord::CheckPoint(checkpoint),
                self.revive_queue_id,
                due_ms,
            )
            .map_err(|error| put_refused(&error, broker.store_config.get().max_message_size))?;
        broker.stats.record_checkpoint(queue.group, queue.topic);
        Ok(())
    }

    fn remember_batch(&mut self, queue: GroupQueue<'_>, offsets: &[i64]) {
        let batch = NewBatch {
            attempt_id: self.header.attempt_id.as_deref(),
            pop_time_ms: self.pop_time_ms,
            invisible_time_ms: self.header.invisible_time,
            offsets,
        };
        let counts = self.broker.order_info.update(queue, batch, self.pop_time_ms);
        if let Some(events) = self.broker.stats.events() {
            // One batch of a queue at a time: whatever came of the last one, it is over.
            events.in_flight.clear(queue);
            events.in_flight.begin(queue, offsets.len() as u64);
        }
        self.lists
            .add_order_counts(queue.topic, queue.queue_id, &counts.counts, counts.least);
    }

    /// Messages of a retry topic go out under the topic that was asked for, with their handle: the client would make it from
    /// the wrong queue.
    fn add_under_own_topic(&mut self, start_offset: i64, records: &[u8]) {
        let style = RecordStyle {
            version_by_topic_length: self.broker.store_config.get().auto_message_version_on_topic_len,
            append_property_crc: false,
        };
        for record in records_of(records) {
            let mut properties = MessageProperties::parse(record.properties);
            if properties.get(name::POP_CK).is_none() {
                let handle = PopHandle {
                    start_offset,
                    pop_time_ms: self.pop_time_ms,
                    invisible_time_ms: self.header.invisible_time,
                    revive_queue_id: self.revive_queue_id,
                    retry: retry_digit(record.topic),
                    broker_name: &self.broker.identity.broker_name,
                    queue_id: record.queue_id,
                    queue_offset: record.queue_offset.to_wire(),
                };
                properties.set(name::POP_CK, handle.to_string());
            }
            let message = Message {
                topic: &self.header.topic,
                queue_id: record.queue_id,
                flag: record.flag,
                sys_flag: record.sys_flag,
                born_timestamp_ms: record.born_timestamp_ms,
                born_host: record.born_host,
                store_host: record.store_host,
                reconsume_times: record.reconsume_times,
                prepared_transaction_offset: record.prepared_transaction_offset,
                properties: &properties.encode(),
                body: record.body,
            };
            let at = self.body.len();
            encode::encode(&message, style, &mut self.body);
            encode::patch(
                &mut self.body[at..],
                record.queue_offset,
                record.physical_offset,
                record.store_timestamp_ms,
                style,
            );
        }
    }

    /// How many more messages the client takes.
    fn room(&self) -> i32 {
        self.header.max_msg_nums - self.message_count
    }

    fn look_again_at(&mut self, time_ms: i64) {
        self.look_again_ms = Some(self.look_again_ms.map_or(time_ms, |known| known.min(time_ms)));
    }

    fn answer(self, code: i32, status: GetStatus) -> Response {
        let header = PopMessageResponseHeader {
            pop_time: self.pop_time_ms,
            invisible_time: self.header.invisible_time,
            revive_qid: self.revive_queue_id,
            rest_num: self.rest,
            start_offset_info: Some(self.lists.start_offsets),
            msg_offset_info: Some(self.lists.message_offsets),
            order_count_info: self.header.order.then_some(self.lists.order_counts),
        };
        Response::new(code)
            .remark(status.name())
            .header(&header)
            .body(self.body)
    }
}

/// Whether a read found nothing to hand out but goes on elsewhere: the group does too.
fn is_passed_over(status: GetStatus) -> bool {
    matches!(
        status,
        GetStatus::NoMatchedMessage
            | GetStatus::OffsetFoundNull
            | GetStatus::MessageWasRemoving
            | GetStatus::NoMatchedLogicQueue
    )
}

/// The whole records in the bytes of a get.
pub(crate) fn records_of(bytes: &[u8]) -> impl Iterator<Item = record::Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let record = record::decode(rest).ok()?;
        rest = rest.get(record.size_bytes as usize..)?;
        Some(record)
    })
}

fn offsets_of(bytes: &[u8]) -> Vec<i64> {
    records_of(bytes)
        .map(|record| record.queue_offset.to_wire())
        .collect()
}

/// There is nothing: holds the pop until there is, or its time is up.
fn wait(broker: &Broker, request: &PopRequest<'_>, popping: Popping<'_>) -> Outcome {
    let header = &request.header;
    let now_ms = broker.clock.wall_ms();
    let deadline_ms =
        pop_checks::waits_until_ms(header.born_time, header.poll_time, now_ms, request.is_resumed());
    let Some(deadline_ms) = deadline_ms else {
        return popping
            .answer(response_code::POLLING_TIMEOUT, GetStatus::NoMessageInQueue)
            .into();
    };
    let poll = Poll {
        kind: PollKind::Pop,
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
        filter: popping.filter.clone(),
        look_again_ms: popping.look_again_ms.map_or(deadline_ms, |look_again_ms| {
            look_again_ms.max(now_ms + 1).min(deadline_ms)
        }),
    };
    let parked = broker
        .pop_hold
        .park(poll, limits(broker), || request.park(), request.connection());
    if parked.is_err() {
        return popping
            .answer(response_code::POLLING_FULL, GetStatus::NoMessageInQueue)
            .into();
    }
    // Messages may have arrived since the queues were read, and the filter may have stopped short of one it wants.
    if popping.rest > 0 || has_more(broker, header) {
        broker
            .pop_hold
            .wake_one(&header.topic, &header.consumer_group, header.queue_id);
    }
    Outcome::Parked
}

/// Whether a queue that nobody pops right now, and that is not blocked, holds messages the group has not popped.
fn has_more(broker: &Broker, header: &PopMessageRequestHeader<'_>) -> bool {
    let group = &*header.consumer_group;
    let in_queue = |topic: &str, queue_id: i32| {
        let queue = GroupQueue {
            topic,
            group,
            queue_id,
        };
        let is_blocked = || {
            let attempt_id = header.attempt_id.as_deref();
            let now_ms = broker.clock.wall_ms();
            let until_ms =
                broker
                    .order_info
                    .blocked_until_ms(queue, attempt_id, header.invisible_time, now_ms);
            header.order && until_ms.is_some()
        };
        broker.store.max_offset(topic, queue_id) > pop_checks::peek_offset(broker, queue)
            && !broker.pop_locks.is_locked(topic, group, queue_id)
            && pop_checks::is_full_until_ms(broker, queue).is_none()
            && !is_blocked()
    };
    let in_topic = |topic: &str| {
        let queues = broker
            .topics
            .get(topic)
            .map_or(0, |config| config.read_queue_nums);
        (0..queues).any(|queue_id| in_queue(topic, queue_id))
    };
    let in_retry_topics = || {
        [PopRetryNaming::V1, PopRetryNaming::V2]
            .iter()
            .any(|naming| !header.order && in_topic(&naming.topic(&header.topic, group)))
    };
    let in_own_topic = match header.queue_id {
        any if any < 0 => in_topic(&header.topic),
        queue_id => in_queue(&header.topic, queue_id),
    };
    in_own_topic || in_retry_topics()
}

/// The limits of everything that waits in [`PopHold`](crate::hold::pop::PopHold).
pub(crate) fn limits(broker: &Broker) -> PollLimits {
    let config = broker.config.get();
    PollLimits {
        each: usize::try_from(config.pop_polling_size).unwrap_or(0),
        all: usize::try_from(config.max_pop_polling_size).unwrap_or(0),
    }
}
