//! Progress: how far groups have consumed, in messages and in time, and who consumes what.

use std::collections::{BTreeMap, BTreeSet};

use remoting::body::{
    ConsumeStats, ConsumeStatsList, GroupList, MessageQueue, OffsetWrapper, QueryConsumeTimeSpanBody,
    QueueTimeSpan, TopicList,
};
use remoting::header::{
    GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader, QueryConsumeTimeSpanRequestHeader,
    QueryTopicConsumeByWhoRequestHeader, QueryTopicsByConsumerRequestHeader,
};
use remoting::request::{Handled, Request, Response};
use store::QueueOffset;

use super::topic::require_topic;
use crate::broker::Broker;
use crate::processor::json::to_body;

/// GET_CONSUME_STATS: the progress of a group in one topic, some, or all it has offsets in.
pub(crate) fn of_group(broker: &Broker, request: Request<'_, GetConsumeStatsRequestHeader>) -> Handled {
    let header = &request.header;
    let group = &header.consumer_group;
    let mut all = ConsumeStats::default();
    for topic in wanted_topics(broker, header) {
        if let Some(config) = broker.topics.get(&topic) {
            let stats = in_topic(broker, group, &topic, config.read_queue_nums);
            all.consume_tps += stats.consume_tps;
            all.offset_table.extend(stats.offset_table);
        }
    }
    Ok(Response::success().body(to_body(&all)?).into())
}

/// A list is taken as it is; a topic, or without one all topics, only as far as the group subscribes to them now.
fn wanted_topics(broker: &Broker, header: &GetConsumeStatsRequestHeader) -> BTreeSet<String> {
    let listed: BTreeSet<String> = header
        .topic_list
        .iter()
        .flat_map(|list| list.split(';'))
        .filter(|topic| !topic.is_empty())
        .map(str::to_owned)
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    let mut topics = match header.topic.as_deref().filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => BTreeSet::from([topic.to_owned()]),
        None => broker.consumer_offsets.topics_of(&header.consumer_group),
    };
    topics.retain(|topic| may_consume(broker, &header.consumer_group, topic));
    topics
}

/// False when the group is online and subscribes to other topics: its offsets here are of the past.
pub(super) fn may_consume(broker: &Broker, group: &str, topic: &str) -> bool {
    broker
        .consumers
        .info(group)
        .is_none_or(|info| info.subscriptions.is_empty() || info.subscriptions.contains_key(topic))
}

fn in_topic(broker: &Broker, group: &str, topic: &str, queues: i32) -> ConsumeStats {
    let offset_table = (0..queues)
        .map(|queue_id| {
            let queue = MessageQueue::new(topic, &broker.identity.broker_name, queue_id);
            (queue, in_queue(broker, group, topic, queue_id))
        })
        .collect();
    ConsumeStats {
        consume_tps: broker.stats.group_get_tps(group, topic),
        offset_table,
    }
}

fn in_queue(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> OffsetWrapper {
    // A static queue may have its progress at another place, which 0 here would hide.
    let nothing_committed = if broker.static_topics.mappings.get(topic).is_some() {
        -1
    } else {
        0
    };
    let consumer_offset = broker
        .consumer_offsets
        .query(group, topic, queue_id)
        .unwrap_or(nothing_committed)
        .max(nothing_committed);
    let pull_offset = broker
        .consumer_offsets
        .query_pull(group, topic, queue_id)
        .unwrap_or(0);
    OffsetWrapper {
        broker_offset: broker.store.max_offset(topic, queue_id).max(0),
        consumer_offset,
        pull_offset: pull_offset.max(consumer_offset),
        // Of the message consumed last: the one before the offset.
        last_timestamp: time_at(broker, topic, queue_id, consumer_offset - 1).unwrap_or(0),
    }
}

/// When the message at an offset was stored, if there is one.
fn time_at(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> Option<i64> {
    let offset = QueueOffset(u64::try_from(offset).ok()?);
    broker
        .store
        .store_time(topic, queue_id, offset)
        .filter(|time| *time > 0)
}

/// GET_BROKER_CONSUME_STATS: the progress of all groups, or of those in ordered topics.
pub(crate) fn of_all_groups(broker: &Broker, request: Request<'_, GetConsumeStatsInBrokerHeader>) -> Handled {
    let mut body = ConsumeStatsList {
        broker_addr: Some(broker.identity.broker_addr.clone()),
        ..ConsumeStatsList::default()
    };
    for group in broker.groups.snapshot().into_keys() {
        let mut of_group = Vec::new();
        for topic in broker.consumer_offsets.topics_of(&group) {
            let Some(config) = broker.topics.get(&topic) else {
                continue;
            };
            if (request.header.is_order && !config.order) || !may_consume(broker, &group, &topic) {
                continue;
            }
            let stats = in_topic(broker, &group, &topic, config.write_queue_nums);
            for offsets in stats.offset_table.values() {
                body.total_diff += offsets.broker_offset - offsets.consumer_offset;
                body.total_inflight_diff += offsets.pull_offset - offsets.consumer_offset;
            }
            of_group.push(stats);
        }
        body.consume_stats_list.push(BTreeMap::from([(group, of_group)]));
    }
    Ok(Response::success().body(to_body(&body)?).into())
}

/// QUERY_TOPIC_CONSUME_BY_WHO: the groups that subscribe to a topic or have offsets in it.
pub(crate) fn groups_of_topic(
    broker: &Broker,
    request: Request<'_, QueryTopicConsumeByWhoRequestHeader>,
) -> Handled {
    let topic = &request.header.topic;
    let mut group_list = broker.consumer_offsets.groups_of(topic);
    group_list.extend(broker.consumers.groups_subscribing(topic));
    Ok(Response::success()
        .body(to_body(&GroupList { group_list })?)
        .into())
}

/// QUERY_TOPICS_BY_CONSUMER: the topics a group has offsets in.
pub(crate) fn topics_of_group(
    broker: &Broker,
    request: Request<'_, QueryTopicsByConsumerRequestHeader>,
) -> Handled {
    let body = TopicList {
        broker_addr: Some(broker.identity.broker_addr.clone()),
        topic_list: broker.consumer_offsets.topics_of(&request.header.group),
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// QUERY_CONSUME_TIME_SPAN: the progress of a group as times.
pub(crate) fn time_span(broker: &Broker, request: Request<'_, QueryConsumeTimeSpanRequestHeader>) -> Handled {
    let QueryConsumeTimeSpanRequestHeader { topic, group } = &request.header;
    let config = require_topic(broker, topic)?;
    let consume_time_span_set = (0..config.write_queue_nums)
        .map(|queue_id| time_span_of(broker, group, topic, queue_id))
        .collect();
    Ok(Response::success()
        .body(to_body(&QueryConsumeTimeSpanBody {
            consume_time_span_set,
        })?)
        .into())
}

fn time_span_of(broker: &Broker, group: &str, topic: &str, queue_id: i32) -> QueueTimeSpan {
    let earliest = broker.store.earliest_store_time(topic, queue_id).unwrap_or(-1);
    let end = broker.store.max_offset(topic, queue_id);
    let consumed = broker
        .consumer_offsets
        .query(group, topic, queue_id)
        .unwrap_or(-1);
    let consumed_time = if consumed > 0 {
        time_at(broker, topic, queue_id, consumed - 1).unwrap_or(-1)
    } else {
        earliest
    };
    // Since when the next message has been waiting.
    let waiting_since = if consumed < end {
        time_at(broker, topic, queue_id, consumed.max(0))
    } else {
        None
    };
    QueueTimeSpan {
        message_queue: MessageQueue::new(topic, &broker.identity.broker_name, queue_id),
        min_time_stamp: earliest,
        max_time_stamp: time_at(broker, topic, queue_id, end - 1).unwrap_or(-1),
        consume_time_stamp: consumed_time,
        delay_time: waiting_since.map_or(0, |since| broker.clock.wall_ms() - since),
    }
}
