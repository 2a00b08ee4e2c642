//! HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG: who is there and what it wants.
//!
//! A heartbeat registers the producer and consumer groups of one client, creates the consumer groups and their retry
//! topics, and brings the subscriptions that pulls are filtered by. With version 2 a client sends a fingerprint of its
//! subscriptions, and leaves them out while the broker knows that fingerprint. Reference: `ClientManageProcessor`.

use common::message::sys_flag;
use common::names;
use remoting::body::client::{CheckClientRequestBody, ConsumeType, ConsumerData, HeartbeatData};
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{HeartbeatResponseHeader, UnregisterClientRequestHeader};
use remoting::request::{Handled, Refusal, Request, Response};

use crate::broker::Broker;
use crate::clients::ClientChannel;
use crate::filter::expression;
use crate::filter::tags::is_tag_type;
use crate::processor::json::parse_body;
use crate::processor::pull_checks::require_property_filter;
use crate::registry::topics::perm;

/// Registers a client's groups.
pub(crate) fn heartbeat(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let heartbeat: HeartbeatData = parse_body(request.body())?;
    let channel = channel_of(broker, &request, &heartbeat.client_id);
    let mut subscriptions_changed = false;
    for consumer in accepted_consumers(broker, &heartbeat) {
        subscriptions_changed |= register_consumer(broker, consumer, &channel, &heartbeat);
    }
    for producer in &heartbeat.producer_data_set {
        broker.producers.register(&producer.group_name, channel.clone());
    }
    let is_version_1 = heartbeat.heartbeat_fingerprint == 0;
    let answer = HeartbeatResponseHeader {
        is_support_heart_beat_v2: true,
        is_sub_change: is_version_1 || subscriptions_changed,
    };
    Ok(Response::success().header(&answer).into())
}

/// Takes a client out of its groups.
pub(crate) fn unregister_client(
    broker: &Broker,
    request: Request<'_, UnregisterClientRequestHeader>,
) -> Handled {
    let header = &request.header;
    let connection = request.connection();
    if let Some(group) = &header.producer_group {
        broker.producers.unregister(group, connection);
    }
    if let Some(group) = &header.consumer_group {
        let notify = broker
            .groups
            .find(group)
            .is_none_or(|group_config| group_config.notify_consumer_ids_changed_enable);
        broker.consumers.unregister(group, connection, notify);
    }
    Ok(Response::success().into())
}

/// Says whether a subscription can be served.
pub(crate) fn check_client_config(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    let asked: CheckClientRequestBody = match request.body() {
        empty if empty.is_empty() => CheckClientRequestBody::default(),
        body => parse_body(body)?,
    };
    if let Some(subscription) = asked.subscription_data
        && !is_tag_type(&subscription.expression_type)
    {
        require_property_filter(broker, &subscription.expression_type)?;
        expression::compile(&subscription.expression_type, &subscription.sub_string)
            .map_err(|error| Refusal::new(response_code::SUBSCRIPTION_PARSE_FAILED, error.to_string()))?;
    }
    Ok(Response::success().into())
}

fn channel_of<H>(broker: &Broker, request: &Request<'_, H>, client_id: &str) -> ClientChannel {
    ClientChannel::new(
        request.connection().clone(),
        client_id,
        request.call.frame.language,
        request.version(),
        broker.clock.wall_ms(),
    )
}

fn accepted_consumers<'a>(
    broker: &Broker,
    heartbeat: &'a HeartbeatData,
) -> impl Iterator<Item = &'a ConsumerData> {
    let reject_pull_consumers = broker.config.get().reject_pull_consumer_enable;
    heartbeat
        .consumer_data_set
        .iter()
        .filter(move |consumer| !reject_pull_consumers || consumer.consume_type != ConsumeType::Actively)
}

/// Registers one consumer group of a client; a group that does not exist and may not be created is passed over.
///
/// Says whether the client must send its subscriptions, or send them once more.
fn register_consumer(
    broker: &Broker,
    consumer: &ConsumerData,
    channel: &ClientChannel,
    heartbeat: &HeartbeatData,
) -> bool {
    let group = &consumer.group_name;
    let Some(group_config) = broker.groups.find(group) else {
        return false;
    };
    let subscribes_to_order_topic = consumer
        .subscription_data_set
        .iter()
        .any(|subscription| broker.topics.is_order(&subscription.topic));
    let topic_sys_flag = if consumer.unit_mode {
        sys_flag::topic::UNIT_SUB
    } else {
        0
    };
    broker.topics.create_on_send_back(
        &names::retry_topic(group),
        group_config.retry_queue_nums,
        perm::READ | perm::WRITE,
        subscribes_to_order_topic,
        topic_sys_flag,
    );
    let notify = group_config.notify_consumer_ids_changed_enable;
    let fingerprint_changed = || {
        broker
            .consumers
            .fingerprint_changed(group, &channel.connection, heartbeat.heartbeat_fingerprint)
    };
    if heartbeat.without_sub {
        // Asked before registering: what is not known yet cannot be left out.
        let subscriptions_wanted = fingerprint_changed();
        broker
            .consumers
            .register_without_subscriptions(consumer, channel.clone(), notify);
        subscriptions_wanted
    } else {
        broker.consumers.register(consumer, channel.clone(), notify);
        broker
            .consumer_filters
            .register(group, &consumer.subscription_data_set);
        heartbeat.heartbeat_fingerprint != 0 && fingerprint_changed()
    }
}
