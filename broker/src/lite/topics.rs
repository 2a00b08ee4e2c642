//! The light topics of a parent: whether they exist, have more for a group, and when they go.
//!
//! A light topic is its light message queue: it begins with its first message. Reference: `AbstractLiteLifecycleManager`,
//! `LiteEventDispatcher.doFullDispatch…`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::names::{self, LMQ_QUEUE_ID};
use store::QueueOffset;

use super::events::FullDispatch;
use super::settings;
use crate::broker::Broker;
use crate::registry::order_info::GroupQueue;

const MINUTE_MS: i64 = 60_000;

/// Where the light topic ends; 0 when it does not exist.
pub fn end_of(broker: &Broker, lmq: &str) -> i64 {
    broker.store.max_offset(lmq, LMQ_QUEUE_ID)
}

/// Whether there are messages that the group has not consumed.
pub fn has_more(broker: &Broker, group: &str, lmq: &str) -> bool {
    let end = end_of(broker, lmq);
    let committed = broker.consumer_offsets.query(group, lmq, LMQ_QUEUE_ID);
    end > 0 && committed.is_none_or(|committed| committed < end)
}

/// The light message queues of a topic, sorted.
pub fn of_parent(broker: &Broker, topic: &str) -> Vec<String> {
    let prefix = [names::LMQ_PREFIX, "$", topic, "$"].concat();
    let mut lmqs = broker.store.topics_where(|lmq| lmq.starts_with(&prefix));
    lmqs.sort_unstable();
    lmqs
}

/// Gives events of all queues that have more to those who wait for a full dispatch.
pub fn dispatch_all(broker: &Broker, whose: &FullDispatch) {
    match whose {
        FullDispatch::Client { group, client_id } => {
            let has_more = |lmq: &str| has_more(broker, group, lmq);
            broker.lite.full_dispatch_to_client(client_id, group, has_more);
        }
        FullDispatch::Wildcard(group) => dispatch_to_wildcard(broker, group),
    }
}

fn dispatch_to_wildcard(broker: &Broker, group: &Arc<str>) {
    let Some(config) = broker.groups.get(group) else {
        return;
    };
    let Some(topic) = settings::bind_topic(&config).filter(|_| settings::is_wildcard(&config)) else {
        return;
    };
    let members = broker
        .lite
        .look(|subscriptions| subscriptions.wildcard_members(topic, group));
    if members.client_ids.is_empty() {
        return;
    }
    let lmqs = of_parent(broker, topic);
    let with_more = lmqs.iter().filter(|lmq| has_more(broker, group, lmq));
    for lmq in with_more {
        if !broker.lite.offer_of_full_dispatch(&members, lmq) {
            break;
        }
    }
}

/// The same for every client of a group: an operator asks for it.
pub fn dispatch_all_of_group(broker: &Broker, group: &str) {
    let config = broker.groups.get(group);
    if config.is_some_and(|config| settings::is_wildcard(&config)) {
        dispatch_to_wildcard(broker, &Arc::from(group));
        return;
    }
    let clients = broker.lite.look(|subscriptions| subscriptions.clients_of(group));
    for client_id in clients {
        dispatch_all(
            broker,
            &FullDispatch::Client {
                group: Arc::from(group),
                client_id,
            },
        );
    }
}

/// Deletes the light topics that nobody has sent to for as long as their parent says. Returns how many.
pub fn delete_expired(broker: &Broker, now_ms: i64) -> usize {
    let parents = settings::parent_topics(broker);
    let expiring: BTreeMap<&str, i64> = parents
        .iter()
        .filter(|(_, minutes)| **minutes > 0)
        .map(|(topic, minutes)| (topic.as_str(), i64::from(*minutes).saturating_mul(MINUTE_MS)))
        .collect();
    if expiring.is_empty() {
        return 0;
    }
    let least_ms = broker.config.get().min_lite_ttl;
    let lifetime_ms = |lmq: &str| {
        let (topic, _) = names::lite_topic_of_lmq(lmq)?;
        Some((*expiring.get(topic)?).max(least_ms))
    };
    let candidates = broker.store.topics_where(|lmq| lifetime_ms(lmq).is_some());
    let expired: Vec<String> = candidates
        .into_iter()
        .filter(|lmq| {
            let idle_ms = last_message_ms(broker, lmq).map(|last_ms| now_ms - last_ms);
            idle_ms
                .zip(lifetime_ms(lmq))
                .is_some_and(|(idle_ms, limit_ms)| idle_ms > limit_ms)
        })
        .collect();
    delete(broker, &expired);
    expired.len()
}

/// When the last message of a light topic was stored, ms; `None` when that is not known.
pub fn last_message_ms(broker: &Broker, lmq: &str) -> Option<i64> {
    let last = u64::try_from(end_of(broker, lmq) - 1).ok()?;
    broker.store.store_time(lmq, LMQ_QUEUE_ID, QueueOffset(last))
}

/// Deletes light topics, with what groups of their parents know of them, and ends the subscriptions.
pub fn delete(broker: &Broker, lmqs: &[String]) {
    if lmqs.is_empty() {
        return;
    }
    let groups = settings::groups_by_topic(broker);
    let none = BTreeSet::new();
    for lmq in lmqs {
        let parent = names::lite_topic_of_lmq(lmq).map(|(topic, _)| topic);
        let groups = parent.and_then(|topic| groups.get(topic)).unwrap_or(&none);
        for group in groups {
            broker.consumer_offsets.remove(group, lmq);
            broker.lite_order_info.clear(GroupQueue {
                topic: lmq,
                group,
                queue_id: LMQ_QUEUE_ID,
            });
        }
        broker.consumer_offsets.remove(names::TOOLS_CONSUMER_GROUP, lmq);
        broker.lite.change(|subscriptions| subscriptions.remove_lmq(lmq));
    }
    let names: Vec<&str> = lmqs.iter().map(String::as_str).collect();
    broker.store.delete_topics(&names);
    tracing::info!(count = lmqs.len(), "light topics deleted");
}
