//! Topics as an operator sees them: create, change, delete, look at, clean up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::names::{self, PopRetryNaming};
use remoting::body::static_topic::TopicQueueMappingDetail;
use remoting::body::{
    CreateTopicListRequestBody, MessageQueue, TopicConfig, TopicConfigAndMappingSerializeWrapper,
    TopicConfigAndQueueMapping, TopicFilterType, TopicList, TopicOffset, TopicStatsTable,
};
use remoting::codes::response_code;
use remoting::fields::NoHeader;
use remoting::header::{
    CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader, GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader,
};
use remoting::request::{Handled, Refusal, Request, Response};
use store::QueueOffset;

use super::attributes::{self, Edits};
use super::page::Page;
use super::{invalid_parameter, wait_registered, write_now};
use crate::broker::Broker;
use crate::lite::{settings, topics};
use crate::processor::json::{parse_body, to_body};
use crate::registry::topics::perm;

/// Most queues of a topic; each is a directory of the store, and consumers share them.
const QUEUE_LIMIT: i32 = 65_536;

/// UPDATE_AND_CREATE_TOPIC.
pub(crate) fn update_and_create(broker: &Broker, request: Request<'_, CreateTopicRequestHeader>) -> Handled {
    let is_system = names::is_system_topic(&request.header.topic);
    timed(broker, is_system, || create_one(broker, request))
}

/// Measures a creation for the metrics. Reference: `AdminBrokerProcessor`, `topicCreateExecuteTime`.
fn timed(broker: &Broker, is_system: bool, create: impl FnOnce() -> Handled) -> Handled {
    let Some(events) = broker.stats.events() else {
        return create();
    };
    let begun = events.begin();
    let handled = create();
    let key = (handled.is_ok(), is_system);
    events.topic_creations.record(&key, events.elapsed_ms(begun));
    handled
}

fn create_one(broker: &Broker, request: Request<'_, CreateTopicRequestHeader>) -> Handled {
    let (wanted, edits) = wanted_topic(request.header)?;
    tracing::info!(topic = wanted.topic_name, peer = %request.call.connection.peer_addr(), "update topic");
    require_acceptable(broker, &wanted, &edits)?;
    put(broker, wanted, &edits)?;
    settle(broker)
}

/// The topic that the header describes, without attributes, and the edits of its attributes.
fn wanted_topic(header: CreateTopicRequestHeader) -> Result<(TopicConfig, Edits), Refusal> {
    let edits = attributes::parse_edits(header.attributes.as_deref().unwrap_or_default())
        .map_err(Refusal::system_error)?;
    let topic_filter_type = TopicFilterType::from_name(&header.topic_filter_type).ok_or_else(|| {
        invalid_parameter(format!(
            "topicFilterType = [{}] value invalid",
            header.topic_filter_type
        ))
    })?;
    let wanted = TopicConfig {
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        write_queue_nums: header.write_queue_nums,
        topic_filter_type,
        topic_sys_flag: header.topic_sys_flag,
        ..TopicConfig::new(header.topic, 0)
    };
    Ok((wanted, edits))
}

/// UPDATE_AND_CREATE_STATIC_TOPIC: a topic, and which of its logical queues live where. The mapping comes first, since it may
/// be refused; the topic's version then makes the name servers look at both.
pub(crate) fn update_and_create_static(
    broker: &Broker,
    request: Request<'_, CreateTopicRequestHeader>,
) -> Handled {
    let mut mapping: TopicQueueMappingDetail = parse_body(request.body())?;
    let force = request.header.force;
    let (wanted, edits) = wanted_topic(request.header)?;
    tracing::info!(topic = wanted.topic_name, peer = %request.call.connection.peer_addr(), "update static topic");
    require_acceptable(broker, &wanted, &edits)?;
    mapping.topic = wanted.topic_name.clone();
    broker
        .static_topics
        .mappings
        .put(mapping, force)
        .map_err(|error| Refusal::system_error(error.to_string()))?;
    write_now(broker.static_topics.mappings.as_ref())?;
    broker
        .topics
        .put_with(&wanted.topic_name, |current| altered(&wanted, current, &edits))?;
    settle(broker)
}

/// UPDATE_AND_CREATE_TOPIC_LIST: all of them, or none when one cannot be accepted.
pub(crate) fn update_and_create_list(broker: &Broker, request: Request<'_, NoHeader>) -> Handled {
    timed(broker, false, || create_all(broker, &request))
}

fn create_all(broker: &Broker, request: &Request<'_, NoHeader>) -> Handled {
    let body: CreateTopicListRequestBody = parse_body(request.body())?;
    tracing::info!(topics = body.topic_config_list.len(), peer = %request.call.connection.peer_addr(), "update topics");
    for wanted in &body.topic_config_list {
        require_acceptable(broker, wanted, &wanted.attributes)?;
        let current = broker.topics.get(&wanted.topic_name);
        attributes::alter(
            attributes::OF_TOPICS,
            current.as_ref().map(|current| &current.attributes),
            &wanted.attributes,
        )
        .map_err(Refusal::system_error)?;
    }
    for mut wanted in body.topic_config_list {
        let edits = std::mem::take(&mut wanted.attributes);
        put(broker, wanted, &edits)?;
    }
    settle(broker)
}

fn require_acceptable(broker: &Broker, wanted: &TopicConfig, edits: &Edits) -> Result<(), Refusal> {
    let topic = &wanted.topic_name;
    names::validate_topic(topic).map_err(invalid_parameter)?;
    require_users_own(broker, topic)?;
    if !broker.config.get().enable_mixed_message_type && attributes::asks_for_mixed(edits) {
        return Err(invalid_parameter("MIXED message type is not supported."));
    }
    for (what, count) in [
        ("readQueueNums", wanted.read_queue_nums),
        ("writeQueueNums", wanted.write_queue_nums),
    ] {
        if !(0..=QUEUE_LIMIT).contains(&count) {
            return Err(invalid_parameter(format!(
                "{what} of topic {topic} is {count}, it must be from 0 to {QUEUE_LIMIT}"
            )));
        }
    }
    if !(0..=perm::READ | perm::WRITE | perm::INHERIT).contains(&wanted.perm) {
        return Err(invalid_parameter(format!(
            "perm of topic {topic} is {}, it must be from 0 to 7",
            wanted.perm
        )));
    }
    Ok(())
}

fn require_users_own(broker: &Broker, topic: &str) -> Result<(), Refusal> {
    if broker.config.get().validate_system_topic_when_update_topic && broker.topics.is_system(topic) {
        return Err(invalid_parameter(format!(
            "The topic[{topic}] is conflict with system topic."
        )));
    }
    Ok(())
}

fn put(broker: &Broker, wanted: TopicConfig, edits: &Edits) -> Result<(), Refusal> {
    // The same again is no change: a new version would undo permissions wiped at the name servers.
    let current = broker.topics.get(&wanted.topic_name);
    if current.is_some() && altered(&wanted, current.as_deref(), edits).ok().as_ref() == current.as_deref() {
        return Ok(());
    }
    broker
        .topics
        .put_with(&wanted.topic_name, |current| altered(&wanted, current, edits))
        .map(drop)
}

/// `wanted` with the attributes that the edits make of the current ones.
fn altered(
    wanted: &TopicConfig,
    current: Option<&TopicConfig>,
    edits: &Edits,
) -> Result<TopicConfig, Refusal> {
    let attributes = attributes::alter(
        attributes::OF_TOPICS,
        current.map(|current| &current.attributes),
        edits,
    )
    .map_err(Refusal::system_error)?;
    Ok(TopicConfig {
        attributes,
        ..wanted.clone()
    })
}

/// Writes the table and lets the name servers know, then answers.
fn settle(broker: &Broker) -> Handled {
    write_now(broker.topics.as_ref())?;
    wait_registered(broker);
    Ok(Response::success().into())
}

/// DELETE_TOPIC_IN_BROKER: the topic, its messages, its offsets, and the pop retry topics of its groups. A topic that
/// does not exist is deleted too: tools delete retry topics that may never have been made.
pub(crate) fn delete(broker: &Broker, request: Request<'_, DeleteTopicRequestHeader>) -> Handled {
    let topic = request.header.topic;
    tracing::info!(topic, peer = %request.call.connection.peer_addr(), "delete topic");
    if topic.trim().is_empty() {
        return Err(invalid_parameter("The specified topic is blank."));
    }
    require_users_own(broker, &topic)?;
    let mut doomed = Vec::new();
    if broker.config.get().clear_retry_topic_when_delete_topic {
        doomed.extend(pop_retry_topics(broker, &topic));
    }
    if broker
        .topics
        .get(&topic)
        .is_some_and(|config| settings::is_lite(&config))
    {
        let lmqs = topics::of_parent(broker, &topic);
        topics::delete(broker, &lmqs);
    }
    doomed.push(topic);
    for topic in doomed {
        delete_one(broker, &topic);
    }
    write_now(broker.consumer_offsets.as_ref())?;
    write_now(broker.order_info.as_ref())?;
    write_now(broker.static_topics.mappings.as_ref())?;
    settle(broker)
}

fn pop_retry_topics(broker: &Broker, topic: &str) -> Vec<String> {
    let groups = broker.consumer_offsets.groups_of(topic);
    let candidates = groups
        .iter()
        .flat_map(|group| [PopRetryNaming::V1, PopRetryNaming::V2].map(|naming| naming.topic(topic, group)));
    candidates
        .filter(|candidate| broker.topics.contains(candidate))
        .collect()
}

fn delete_one(broker: &Broker, topic: &str) {
    broker.static_topics.mappings.remove(topic);
    broker.topics.remove(topic);
    broker.consumer_offsets.remove_topic(topic);
    broker.order_info.forget_topic(topic);
    broker.invisible.forget(|queue| queue.topic == topic);
    let queues = broker.store.delete_topic(topic);
    if let Some(timers) = &broker.timers {
        timers.metrics.forget(topic);
    }
    if broker.config.get().auto_delete_unused_stats {
        broker.stats.remove_topic(topic);
    }
    tracing::info!(topic, queues, "topic deleted");
}

/// GET_TOPIC_CONFIG.
pub(crate) fn config(broker: &Broker, request: Request<'_, GetTopicConfigRequestHeader>) -> Handled {
    let topic = &request.header.topic;
    let config = broker.topics.get(topic).ok_or_else(|| {
        Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("No topic in this broker. topic: {topic}"),
        )
    })?;
    let asks_for_mapping = request.header.logical == Some(true);
    let mapping = broker
        .static_topics
        .mappings
        .get(topic)
        .filter(|_| asks_for_mapping);
    let mapping = mapping.map(|mapping| TopicQueueMappingDetail::clone(&mapping));
    let body = TopicConfigAndQueueMapping::new(TopicConfig::clone(&config), mapping);
    Ok(Response::success().body(to_body(&body)?).into())
}

/// GET_ALL_TOPIC_CONFIG, whole or in pages.
pub(crate) fn all_configs(broker: &Broker, request: Request<'_, GetAllTopicConfigRequestHeader>) -> Handled {
    let header = &request.header;
    let (data_version, topics) = broker.topics.snapshot_with_version();
    let total_topic_num = i32::try_from(topics.len()).ok();
    let page = Page {
        first: header.topic_seq,
        data_version: header.data_version.as_deref(),
        most: header.max_topic_num,
    };
    let page: BTreeMap<String, Arc<TopicConfig>> = page.of(topics, data_version, &broker.config.get());
    let (mapping_data_version, mut mappings) = broker.static_topics.mappings.snapshot_with_version();
    mappings.retain(|topic, _| page.contains_key(topic));
    let body = TopicConfigAndMappingSerializeWrapper {
        data_version,
        mapping_data_version,
        topic_queue_mapping_detail_map: mappings
            .into_iter()
            .map(|(topic, mapping)| (topic, TopicQueueMappingDetail::clone(&mapping)))
            .collect(),
        topic_config_table: page
            .into_iter()
            .map(|(name, config)| (name, TopicConfig::clone(&config)))
            .collect(),
        ..TopicConfigAndMappingSerializeWrapper::default()
    };
    let header = GetAllTopicConfigResponseHeader { total_topic_num };
    Ok(Response::success().header(&header).body(to_body(&body)?).into())
}

/// GET_TOPIC_STATS_INFO: the bounds of each queue, when it got its last message, and how many come in.
pub(crate) fn stats(broker: &Broker, request: Request<'_, GetTopicStatsInfoRequestHeader>) -> Handled {
    let topic = &request.header.topic;
    let config = require_topic(broker, topic)?;
    if broker.static_topics.mappings.get(topic).is_some() {
        await_dispatch(broker);
    }
    let queues = config.write_queue_nums.max(config.read_queue_nums);
    let offset_table = (0..queues)
        .map(|queue_id| {
            let queue = MessageQueue::new(topic, &broker.identity.broker_name, queue_id);
            (queue, topic_offset(broker, topic, queue_id))
        })
        .collect();
    let body = TopicStatsTable {
        offset_table,
        topic_put_tps: broker.stats.topic_put_tps(topic),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// Waits until the queues show what the log holds now. The tool that moves a queue decides by them where the old place ends: a
/// message that is not yet in its queue would be lost to consumers.
fn await_dispatch(broker: &Broker) {
    const LIMIT: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(5);
    let state = broker.store.state();
    let mut waited = Duration::ZERO;
    while broker.store.state().dispatched < state.commit_log_max && waited < LIMIT {
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

fn topic_offset(broker: &Broker, topic: &str, queue_id: i32) -> TopicOffset {
    let Some(bounds) = broker.store.queue_bounds(topic, queue_id) else {
        return TopicOffset::default();
    };
    let last = bounds.max.0.checked_sub(1).map(QueueOffset);
    TopicOffset {
        min_offset: bounds.min.to_wire(),
        max_offset: bounds.max.to_wire(),
        last_update_timestamp: last
            .and_then(|last| broker.store.store_time(topic, queue_id, last))
            .unwrap_or(0),
    }
}

/// The topic, or the refusal of requests about one that does not exist.
pub(super) fn require_topic(broker: &Broker, topic: &str) -> Result<Arc<TopicConfig>, Refusal> {
    broker.topics.get(topic).ok_or_else(|| {
        Refusal::new(
            response_code::TOPIC_NOT_EXIST,
            format!("topic[{topic}] not exist"),
        )
    })
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER.
pub(crate) fn system_topics(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let body = TopicList {
        topic_list: broker.topics.system_topics().clone(),
        ..TopicList::default()
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// CLEAN_UNUSED_TOPIC: queues of topics that no longer exist.
pub(crate) fn clean_unused(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let queues = broker
        .store
        .clean_unused_topics(&|topic| broker.topics.contains(topic) || broker.topics.is_system(topic));
    tracing::info!(queues, "queues of topics that do not exist removed");
    Ok(Response::success().into())
}

/// CLEAN_EXPIRED_CONSUMEQUEUE: queues all of whose messages are gone from the log.
pub(crate) fn clean_expired_queues(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let queues = broker.store.clean_expired_queues();
    tracing::info!(queues, "expired queues removed");
    Ok(Response::success().into())
}

/// DELETE_EXPIRED_COMMITLOG: expired files of the log, now and not at the hour of `deleteWhen`.
pub(crate) fn delete_expired_files(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let files = broker.store.delete_expired_files(false);
    tracing::info!(files, "expired files of the log deleted");
    Ok(Response::success().into())
}
