//! Who may pop what: the checks that POP, PEEK, NOTIFICATION and POLLING_INFO share, and those of acks and changed invisible
//! times, in the reference's order; and the offsets from which pops read.
//!
//! Reference: the beginning of `processRequest` in each of their processors; `PopMessageProcessor.getPopOffset`.

use std::sync::Arc;

use common::names;
use remoting::body::topic::TopicConfig;
use remoting::codes::response_code;
use remoting::connection::Connection;
use remoting::request::Refusal;
use store::QueueOffset;

use crate::broker::Broker;
use crate::filter::expression::ExpressionFilter;
use crate::filter::tags;
use crate::pop::handle::{HandleError, PopHandle};
use crate::processor::pop_order::keep_batch;
use crate::processor::pull_checks::{compile, filter_of_tags, not_parsed};
use crate::processor::refusals::FAQ;
use crate::registry::ConsumerOrderInfo;
use crate::registry::order_info::GroupQueue;
use crate::registry::topics::perm;

/// Where a group starts that never consumed a queue, in POP_MESSAGE. Reference: `ConsumeInitMode`.
pub(crate) const INIT_MODE_MIN: i32 = 0;
/// The newest message, or all as long as they are in memory.
pub(crate) const INIT_MODE_MAX: i32 = 1;

/// What a request wants to read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    /// Negative: any.
    pub(crate) queue_id: i32,
    pub(crate) connection: &'a Connection,
}

/// Taken off the waiting time, so that the answer is there before the client gives up. Reference: `PopRequest.isTimeout`.
const ANSWER_EARLY_MS: i64 = 50;

/// When the client asked. A clock ahead of ours must not make it wait longer than it wants.
pub(crate) fn born_ms(born_time_ms: i64, now_ms: i64) -> i64 {
    match born_time_ms {
        0 => now_ms,
        born_ms => born_ms.min(now_ms),
    }
}

/// Until when a request that finds nothing waits; `None` when it does not, or not any longer. Resumed ones wait on until the
/// time that was fixed when the client asked; of one that did not say when that was, this is not known any more.
pub(crate) fn waits_until_ms(
    born_time_ms: i64,
    poll_time_ms: i64,
    now_ms: i64,
    is_resumed: bool,
) -> Option<i64> {
    if poll_time_ms <= 0 || (is_resumed && born_time_ms == 0) {
        return None;
    }
    let deadline_ms = born_ms(born_time_ms, now_ms)
        .saturating_add(poll_time_ms)
        .saturating_sub(ANSWER_EARLY_MS);
    (deadline_ms > now_ms).then_some(deadline_ms)
}

/// Which messages of its topic a request wants: those of the expression it brings. Pops may filter by properties whatever
/// `enablePropertyFilter` says, as in the reference.
pub(crate) fn filter_of(
    broker: &Broker,
    wanted: Wanted<'_>,
    expression_type: Option<&str>,
    expression: Option<&str>,
) -> Result<ExpressionFilter, Refusal> {
    let (expression_type, expression) = (
        expression_type.unwrap_or_default(),
        expression.unwrap_or_default(),
    );
    if expression.is_empty() || tags::is_tag_type(expression_type) {
        return filter_of_tags(wanted.topic, expression);
    }
    let compiled = compile(broker, wanted.group, wanted.topic, expression_type, expression);
    Ok(ExpressionFilter::Sql92(compiled.map_err(|_| not_parsed())?))
}

/// The broker may be read; `what` is what is forbidden otherwise, in the reference's words.
pub(crate) fn require_readable_broker(broker: &Broker, what: &str) -> Result<(), Refusal> {
    let config = broker.config.get();
    if config.broker_permission & perm::READ != 0 {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::NO_PERMISSION,
        format!("the broker[{}] {what} message is forbidden", config.broker_ip1),
    ))
}

/// The topic exists and is readable, has the queue, and the group exists and may consume. Gives the topic.
pub(crate) fn require_readable(broker: &Broker, wanted: Wanted<'_>) -> Result<Arc<TopicConfig>, Refusal> {
    let Wanted { topic, group, .. } = wanted;
    let config = require_topic(broker, topic)?;
    if config.perm & perm::READ == 0 {
        return Err(Refusal::new(
            response_code::NO_PERMISSION,
            format!("the topic[{topic}] peeking message is forbidden"),
        ));
    }
    if wanted.queue_id >= config.read_queue_nums {
        return Err(illegal_queue(response_code::INVALID_PARAMETER, wanted, &config));
    }
    let group_config = broker.groups.find(group).ok_or_else(|| {
        Refusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group [{group}] does not exist, {FAQ}"),
        )
    })?;
    if !group_config.consume_enable {
        return Err(Refusal::new(
            response_code::NO_PERMISSION,
            format!("subscription group no permission, {group}"),
        ));
    }
    Ok(config)
}

/// A popped message, as an ack or a change of its invisible time names it.
pub(crate) struct Named<'a> {
    pub(crate) wanted: Wanted<'a>,
    pub(crate) lite_topic: Option<&'a str>,
    pub(crate) offset: i64,
    /// Its handle.
    pub(crate) extra_info: &'a str,
}

/// How a message was popped, and so what its consumption is noted in.
pub(crate) enum Popped<'a> {
    /// Out of order: the revive log.
    OutOfOrder(PopHandle<'a>),
    /// In order: the batches of its queue.
    InOrder(GroupQueue<'a>, PopHandle<'a>),
    /// From this light message queue, in order: the batches of light topics.
    Lite(String),
}

impl From<HandleError> for Refusal {
    fn from(error: HandleError) -> Self {
        Refusal::system_error(error.to_string())
    }
}

/// The topic exists and has the queue, and unless it is a light topic's, the message is in it or, where `may_be_end`, would be
/// the next.
pub(crate) fn popped<'a>(
    broker: &Broker,
    named: &Named<'a>,
    may_be_end: bool,
) -> Result<Popped<'a>, Refusal> {
    let Wanted {
        topic,
        group,
        queue_id,
        ..
    } = named.wanted;
    let config = require_topic(broker, topic)?;
    if !(0..config.read_queue_nums).contains(&queue_id) {
        return Err(illegal_queue(
            response_code::MESSAGE_ILLEGAL,
            named.wanted,
            &config,
        ));
    }
    if let Some(lite_topic) = named
        .lite_topic
        .filter(|lite_topic| !lite_topic.trim().is_empty())
    {
        return Ok(Popped::Lite(names::lmq_of_lite_topic(topic, lite_topic)));
    }
    let min = broker.store.min_offset(topic, queue_id);
    let max = broker.store.max_offset(topic, queue_id);
    let offset = named.offset;
    if offset < min || offset > max || (offset == max && !may_be_end) {
        return Err(Refusal::new(
            response_code::NO_MESSAGE,
            format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}"),
        ));
    }
    let handle = PopHandle::parse(named.extra_info)?;
    if !handle.is_order() {
        return Ok(Popped::OutOfOrder(handle));
    }
    let queue = GroupQueue {
        topic,
        group,
        queue_id,
    };
    Ok(Popped::InOrder(queue, handle))
}

fn require_topic(broker: &Broker, topic: &str) -> Result<Arc<TopicConfig>, Refusal> {
    broker.topics.get(topic).ok_or_else(|| {
        Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{topic}] not exist, apply first please! {FAQ}"),
        )
    })
}

fn illegal_queue(code: i32, wanted: Wanted<'_>, config: &TopicConfig) -> Refusal {
    Refusal::new(
        code,
        format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            wanted.queue_id,
            wanted.topic,
            config.read_queue_nums,
            wanted.connection.peer_addr()
        ),
    )
}

/// From where a pop of this queue reads. A group without an offset gets one; a reset by an operator is taken, and the batch
/// in `order_info` is forgotten.
///
/// The queue must be locked.
pub(crate) fn pop_offset(
    broker: &Broker,
    order_info: &ConsumerOrderInfo,
    queue: GroupQueue<'_>,
    init_mode: i32,
) -> i64 {
    let GroupQueue {
        topic,
        group,
        queue_id,
    } = queue;
    if let Some(reset_offset) = broker.consumer_offsets.take_reset(group, topic, queue_id) {
        order_info.clear(queue);
        broker
            .consumer_offsets
            .commit("ResetPopOffset", group, topic, queue_id, reset_offset);
        keep_batch(order_info, queue, reset_offset);
        return reset_offset;
    }
    if let Some(committed) = broker
        .consumer_offsets
        .query(group, topic, queue_id)
        .filter(|committed| *committed >= 0)
    {
        return committed;
    }
    let offset = initial_offset(broker, topic, queue_id, init_mode);
    broker
        .consumer_offsets
        .commit("getPopOffset", group, topic, queue_id, offset);
    offset
}

/// Whether so many messages of the queue are invisible to the group that it gets no more now; until when, if no more are
/// acknowledged, ms. Reference: `isPopShouldStop`.
pub(crate) fn is_full_until_ms(broker: &Broker, queue: GroupQueue<'_>) -> Option<i64> {
    let config = broker.config.get();
    if !config.enable_pop_message_threshold {
        return None;
    }
    let limit = config.pop_inflight_message_threshold;
    broker
        .invisible
        .is_full_until_ms(queue, limit, broker.clock.wall_ms())
}

/// Messages of a pop were acknowledged: the queue may give more.
pub(crate) fn acknowledged(broker: &Broker, queue: GroupQueue<'_>, pop_time_ms: i64, messages: usize) {
    if !broker.config.get().enable_pop_message_threshold {
        return;
    }
    let was_full = is_full_until_ms(broker, queue).is_some();
    broker.invisible.acknowledged(queue, pop_time_ms, messages);
    if was_full && is_full_until_ms(broker, queue).is_none() {
        let GroupQueue { topic, group, .. } = queue;
        broker.pop_hold.wake_for_queue(topic, group, queue.queue_id);
    }
}

/// From where a look at this queue reads, changing nothing.
pub(crate) fn peek_offset(broker: &Broker, queue: GroupQueue<'_>) -> i64 {
    broker
        .consumer_offsets
        .query(queue.group, queue.topic, queue.queue_id)
        .filter(|committed| *committed >= 0)
        .unwrap_or_else(|| broker.store.min_offset(queue.topic, queue.queue_id).max(0))
}

/// Where a group starts that never consumed this queue. Reference: `getInitOffset`.
fn initial_offset(broker: &Broker, topic: &str, queue_id: i32, init_mode: i32) -> i64 {
    let min = broker.store.min_offset(topic, queue_id);
    if init_mode == INIT_MODE_MIN || topic.starts_with(names::RETRY_TOPIC_PREFIX) {
        return min.max(0);
    }
    let all_in_memory = broker.config.get().init_pop_offset_by_check_msg_in_mem
        && min <= 0
        && broker.store.is_in_memory(topic, queue_id, QueueOffset(0));
    if all_in_memory {
        return 0;
    }
    // The last message is given and then goes on from there.
    (broker.store.max_offset(topic, queue_id) - 1).max(0)
}
