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
use crate::pop::locks::PopLock;
use crate::registry::order_info::GroupQueue;
use crate::registry::persist::Table as _;

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

/// Light topics that are deleted together: the log's writer is held up for so many.
const MOST_AT_ONCE: usize = 10_000;

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
    let mut expired: Vec<(&str, u64)> = candidates
        .iter()
        .filter_map(|lmq| {
            let end = u64::try_from(end_of(broker, lmq)).ok()?;
            let limit_ms = lifetime_ms(lmq)?;
            is_idle(broker, lmq, end, now_ms - limit_ms).then_some((lmq.as_str(), end))
        })
        .collect();
    expired.sort_unstable();
    expired
        .chunks(MOST_AT_ONCE)
        .map(|expired| delete_idle(broker, expired))
        .sum()
}

/// Whether the last message of a light topic that ends there was stored before `since_ms`, or is gone from the log already.
/// Reference: `isLiteTopicExpired`.
fn is_idle(broker: &Broker, lmq: &str, end: u64, since_ms: i64) -> bool {
    let Some(last) = end.checked_sub(1) else {
        return false;
    };
    match broker.store.store_time(lmq, LMQ_QUEUE_ID, QueueOffset(last)) {
        Some(last_ms) => last_ms < since_ms,
        None => {
            let bounds = broker.store.queue_bounds(lmq, LMQ_QUEUE_ID);
            bounds.is_some_and(|bounds| bounds.min == bounds.max)
        }
    }
}

/// Deletes those that have got no message since. Returns how many.
fn delete_idle(broker: &Broker, lmqs: &[(&str, u64)]) -> usize {
    let bound = settings::groups_by_topic(broker);
    let _locks = lock_all(broker, &bound, lmqs.iter().map(|(lmq, _)| *lmq));
    match broker.store.delete_idle_light_queues(lmqs) {
        Ok(gone) => {
            forget(broker, &bound, &gone);
            gone.len()
        }
        Err(error) => {
            tracing::warn!("light topics that have expired stay for now: {error}");
            0
        }
    }
}

/// When the last message of a light topic was stored, ms; `None` when that is not known.
pub fn last_message_ms(broker: &Broker, lmq: &str) -> Option<i64> {
    let last = u64::try_from(end_of(broker, lmq) - 1).ok()?;
    broker.store.store_time(lmq, LMQ_QUEUE_ID, QueueOffset(last))
}

/// Deletes light topics, sorted by name, with what groups of their parents know of them, and ends the subscriptions.
pub fn delete(broker: &Broker, lmqs: &[String]) {
    let names: Vec<&str> = lmqs.iter().map(String::as_str).collect();
    let bound = settings::groups_by_topic(broker);
    let _locks = lock_all(broker, &bound, names.iter().copied());
    broker.store.delete_topics(&names);
    forget(broker, &bound, &names);
}

/// At a start: a crash may have come between the end of a light topic and that of the offsets in it.
pub fn forget_gone(broker: &Broker) {
    let deleted = broker.store.deleted_topics();
    let is_gone = |lmq: &&str| names::is_lite_lmq(lmq) && end_of(broker, lmq) == 0;
    let gone: Vec<&str> = deleted.iter().map(String::as_str).filter(is_gone).collect();
    forget(broker, &settings::groups_by_topic(broker), &gone);
}

/// Topic to the groups bound to it.
type Bound = BTreeMap<String, BTreeSet<String>>;

fn groups_of<'a>(bound: &'a Bound, lmq: &str) -> impl Iterator<Item = &'a String> + use<'a> {
    let parent = names::lite_topic_of_lmq(lmq).map(|(topic, _)| topic);
    parent.and_then(|topic| bound.get(topic)).into_iter().flatten()
}

/// Nobody pops or acknowledges in these light topics as long as this is held: what a group knows of one that is gone must not mix with
/// what it does in the next of the same name. They are sorted, so that no two wait for each other.
fn lock_all<'a>(broker: &'a Broker, bound: &Bound, lmqs: impl Iterator<Item = &'a str>) -> Vec<PopLock<'a>> {
    let queues = lmqs.flat_map(|lmq| groups_of(bound, lmq).map(move |group| (lmq, group)));
    queues
        .map(|(lmq, group)| broker.pop_locks.lock(lmq, group, LMQ_QUEUE_ID))
        .collect()
}

/// Forgets what groups know of light topics whose queues are gone, on the disk too: the next of the same name begins at 0. That comes last,
/// for without the offsets, what was acknowledged would come again if a crash kept the queues.
fn forget(broker: &Broker, bound: &Bound, lmqs: &[&str]) {
    if lmqs.is_empty() {
        return;
    }
    for lmq in lmqs {
        for group in groups_of(bound, lmq) {
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
    let written = broker.lite_order_info.flush();
    if let Err(error) = written.and_then(|()| broker.consumer_offsets.flush()) {
        // They count as changed, and are written with their period.
        tracing::warn!("what groups knew of light topics that are gone is not written: {error}");
    }
    tracing::info!(count = lmqs.len(), "light topics deleted");
}
