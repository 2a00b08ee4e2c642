//! CONSUMER_SEND_MSG_BACK: a message a consumer failed on, to be delivered to its group again later.
//!
//! ```text
//!   record at offset ─> %RETRY%group, delayed by its level      (level 0: 3 + times consumed)
//!                   └─> %DLQ%group, at once                     (asked for, or consumed too often)
//! ```
//!
//! Reference: `AbstractSendMessageProcessor.consumerSendMsgBack`.

use common::message::id::offset_msg_id;
use common::message::properties::{MessageProperties, name};
use common::message::sys_flag;
use common::{names, version};
use remoting::body::group::SubscriptionGroupConfig;
use remoting::codes::response_code;
use remoting::header::ConsumerSendMsgBackRequestHeader;
use remoting::request::{Handled, Refusal, Request, Response};
use store::record::{self, Record};
use store::{Message, PhysicalOffset};

use crate::broker::Broker;
use crate::processor::refusals::{FAQ, put_status};
use crate::processor::send_message::DLQ_QUEUE_NUMS;
use crate::registry::topics::perm;

type SendBackRequest<'a> = Request<'a, ConsumerSendMsgBackRequestHeader<'a>>;

/// Stores the message again, for its group only.
pub(crate) fn send_back(broker: &Broker, request: SendBackRequest<'_>) -> Handled {
    let header = &request.header;
    let group_config = broker.groups.find(&header.group).ok_or_else(|| {
        Refusal::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("subscription group not exist, {} {FAQ}", header.group),
        )
    })?;
    require_writable_broker(broker)?;
    if group_config.retry_queue_nums <= 0 {
        return Ok(Response::success().into());
    }
    let retry_topic = create_retry_topic(broker, header, &group_config)?;
    let bytes = read_origin(broker, header)?;
    let origin = record::decode(&bytes).map_err(|_| origin_missing(header))?;

    let is_exhausted = is_exhausted(&request, &group_config, &origin);
    let destination = if is_exhausted {
        Destination::dead_letters(broker, header)
    } else {
        Destination::retry(broker, header, &group_config, &origin, retry_topic)
    };
    let origin_topic = origin.property(name::RETRY_TOPIC).unwrap_or(origin.topic);
    store_again(broker, &origin, origin_topic, destination)?;
    broker.stats.record_send_back(&header.group, origin_topic);
    if is_exhausted {
        broker.stats.record_dead_letter(&header.group, origin_topic);
    }
    Ok(Response::success().into())
}

/// Where a message that came back goes, before its delay.
struct Destination {
    topic: String,
    queue_id: i32,
    delay_level: i32,
}

impl Destination {
    fn retry(
        broker: &Broker,
        header: &ConsumerSendMsgBackRequestHeader<'_>,
        group_config: &SubscriptionGroupConfig,
        origin: &Record<'_>,
        topic: String,
    ) -> Self {
        let delay_level = match header.delay_level {
            0 => origin.reconsume_times.saturating_add(3),
            asked => asked,
        };
        Destination {
            topic,
            queue_id: broker.random.below(group_config.retry_queue_nums),
            delay_level,
        }
    }

    fn dead_letters(broker: &Broker, header: &ConsumerSendMsgBackRequestHeader<'_>) -> Self {
        let topic = names::dlq_topic(&header.group);
        broker
            .topics
            .create_on_send_back(&topic, DLQ_QUEUE_NUMS, perm::READ | perm::WRITE, false, 0);
        Destination {
            topic,
            queue_id: 0,
            delay_level: 0,
        }
    }
}

fn require_writable_broker(broker: &Broker) -> Result<(), Refusal> {
    let config = broker.config.get();
    if config.broker_permission & perm::WRITE != 0 {
        return Ok(());
    }
    Err(Refusal::new(
        response_code::NO_PERMISSION,
        format!("the broker[{}] sending message is forbidden", config.broker_ip1),
    ))
}

fn create_retry_topic(
    broker: &Broker,
    header: &ConsumerSendMsgBackRequestHeader<'_>,
    group_config: &SubscriptionGroupConfig,
) -> Result<String, Refusal> {
    let retry_topic = names::retry_topic(&header.group);
    let topic_sys_flag = if header.unit_mode {
        sys_flag::topic::UNIT_SUB
    } else {
        0
    };
    let topic_config = broker.topics.create_on_send_back(
        &retry_topic,
        group_config.retry_queue_nums,
        perm::READ | perm::WRITE,
        false,
        topic_sys_flag,
    );
    if topic_config.perm & perm::WRITE != 0 {
        return Ok(retry_topic);
    }
    Err(Refusal::new(
        response_code::NO_PERMISSION,
        format!("the topic[{retry_topic}] sending message is forbidden"),
    ))
}

fn read_origin(broker: &Broker, header: &ConsumerSendMsgBackRequestHeader<'_>) -> Result<Vec<u8>, Refusal> {
    u64::try_from(header.offset)
        .ok()
        .and_then(|offset| broker.store.read_at(PhysicalOffset(offset)))
        .ok_or_else(|| origin_missing(header))
}

fn origin_missing(header: &ConsumerSendMsgBackRequestHeader<'_>) -> Refusal {
    Refusal::system_error(format!("look message by offset failed, {}", header.offset))
}

/// Whether the message goes to the dead letters: the consumer says so, or it was consumed as often as is allowed.
fn is_exhausted(
    request: &SendBackRequest<'_>,
    group_config: &SubscriptionGroupConfig,
    origin: &Record<'_>,
) -> bool {
    let max_reconsume_times = request
        .header
        .max_reconsume_times
        .filter(|_| request.version() >= version::V3_4_9)
        .unwrap_or(group_config.retry_max_times);
    request.header.delay_level < 0 || origin.reconsume_times >= max_reconsume_times
}

/// Puts a copy of the message. What it was at its first delivery stays known: its topic and its offset id.
fn store_again(
    broker: &Broker,
    origin: &Record<'_>,
    origin_topic: &str,
    destination: Destination,
) -> Result<(), Refusal> {
    let Destination {
        mut topic,
        mut queue_id,
        delay_level,
    } = destination;
    let mut properties = MessageProperties::parse(origin.properties);
    properties.set(name::RETRY_TOPIC, origin_topic);
    if properties
        .get(name::ORIGIN_MESSAGE_ID)
        .is_none_or(|id| id.trim().is_empty())
    {
        properties.set(
            name::ORIGIN_MESSAGE_ID,
            offset_msg_id(origin.store_host, origin.physical_offset.0),
        );
    }
    properties.set(name::WAIT, "false");
    let delay_level = delay_level.min(broker.delay_levels.max_level());
    properties.set(name::DELAY, delay_level.to_string());
    if delay_level > 0 {
        for timer in [
            name::TIMER_DELAY_SEC,
            name::TIMER_DELAY_MS,
            name::TIMER_DELIVER_MS,
        ] {
            properties.remove(timer);
        }
        properties.set(name::REAL_TOPIC, topic);
        properties.set(name::REAL_QUEUE_ID, queue_id.to_string());
        topic = names::SCHEDULE_TOPIC.to_owned();
        queue_id = delay_level - 1;
    }
    let message = Message {
        topic: &topic,
        queue_id,
        flag: origin.flag,
        sys_flag: origin.sys_flag,
        born_timestamp_ms: origin.born_timestamp_ms,
        born_host: origin.born_host,
        store_host: broker.identity.store_host,
        reconsume_times: origin.reconsume_times.saturating_add(1),
        prepared_transaction_offset: 0,
        properties: &properties.encode(),
        body: origin.body,
    };
    let appended = broker
        .store
        .put(&message)
        .map_err(|error| Refusal::system_error(format!("{}: {error}", put_status(&error))))?;
    if topic == names::SCHEDULE_TOPIC {
        broker.stats.record_put(&topic, 1, u64::from(appended.size_bytes));
    }
    Ok(())
}
