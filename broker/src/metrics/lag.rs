//! Lag: how far each group is behind in each topic it subscribes to.
//!
//! ```text
//!   consumed ──────> pulled ─────────> end of the queue
//!      └─ in flight ───┘└──── ready ─────┘
//!      └────────────── lag ──────────────┘
//! ```
//!
//! Summed over the queues of the topic; the ages are those of the oldest message not yet consumed, or pulled, of any
//! queue. With `estimateAccumulation` only what the group's tags want counts, guessed from a part of the queue. Groups
//! that pop have an offset behind what they popped and a count of what they have not acknowledged, and two figures: of the
//! topic and of its retry topic. Light topics count together, under their parent topic. Reference: `ConsumerLagCalculator`, `LiteConsumerLagCalculator`.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::names::{self, PopRetryNaming};
use remoting::body::{ConsumeType, SubscriptionData};
use store::QueueOffset;

use crate::broker::Broker;
use crate::clients::consumers::ConsumerGroupInfo;
use crate::filter::tags::{self, SUBSCRIBE_ALL, TagsFilter};
use crate::lite;
use crate::registry::order_info::GroupQueue;
use crate::registry::topics::perm;

/// One group in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Of the topic in which popped messages come back.
    pub(crate) is_retry: bool,
    /// Messages stored and not consumed.
    pub(crate) messages: i64,
    /// Age of the oldest of them, ms.
    pub(crate) latency_ms: i64,
    /// Messages pulled and not consumed.
    pub(crate) inflight: i64,
    /// Age of the oldest message not pulled, ms.
    pub(crate) queueing_latency_ms: i64,
    /// Messages stored and not pulled.
    pub(crate) ready: i64,
}

/// What a group wants of a topic.
struct Wanted {
    group: String,
    topic: String,
    pops: bool,
    /// Which of the messages; `None` for all.
    tags: Option<TagsFilter>,
}

/// The lag of every group that subscribes to something, at most `limit` pairs of group and topic.
pub(crate) fn of_groups(broker: &Broker, limit: usize) -> Vec<Lag> {
    let now_ms = broker.clock.wall_ms();
    let wanted = if broker.config.get().use_static_subscription {
        static_subscriptions(broker)
    } else {
        let mut wanted = live_subscriptions(broker);
        wanted.extend(silent_subscriptions(broker, now_ms));
        wanted
    };
    wanted
        .into_iter()
        .filter(|wanted| is_open(broker, &wanted.topic))
        .flat_map(|wanted| in_topics(broker, &wanted, now_ms))
        .take(limit)
        .collect()
}

/// How far groups are behind in the light topics of each parent topic, by group and parent.
pub(crate) fn in_light_topics(
    broker: &Broker,
    with_age: bool,
    limit: usize,
) -> BTreeMap<(String, String), Lag> {
    let now_ms = broker.clock.wall_ms();
    let mut lags: BTreeMap<(String, String), Lag> = BTreeMap::new();
    for group in broker.consumer_offsets.groups() {
        for light in lite::lag::of_group(broker, &group) {
            if lags.len() >= limit {
                return lags;
            }
            let age_ms = with_age.then(|| light.waits_since_ms(broker)).flatten();
            let age_ms = age_ms.map_or(0, |since_ms| (now_ms - since_ms).max(0));
            let lag = lags
                .entry((group.clone(), light.parent_topic.clone()))
                .or_insert_with(|| Lag {
                    group: group.clone(),
                    topic: light.parent_topic,
                    ..Lag::default()
                });
            lag.messages += light.messages;
            lag.ready += light.messages;
            lag.latency_ms = lag.latency_ms.max(age_ms);
        }
    }
    lags
}

/// What connected groups subscribe to.
fn live_subscriptions(broker: &Broker) -> Vec<Wanted> {
    let consumers = broker.consumers.snapshot();
    let known = consumers
        .iter()
        .filter(|(group, _)| broker.groups.contains(group));
    let each = known.flat_map(|(group, info)| info.subscriptions.values().map(move |of| (group, info, of)));
    each.filter(|(_, _, subscription)| names::group_of_retry_topic(&subscription.topic).is_none())
        .map(|(group, info, subscription)| Wanted {
            group: group.clone(),
            topic: subscription.topic.clone(),
            pops: pops(info),
            tags: wanted_tags(broker, subscription),
        })
        .collect()
}

/// What groups want that are not connected as consumers, but ask.
fn silent_subscriptions(broker: &Broker, now_ms: i64) -> Vec<Wanted> {
    let config = broker.config.get();
    let since_ms = now_ms.saturating_sub(config.subscription_expired_timeout);
    let events = broker.stats.events();
    let silent = events
        .map(|events| events.silent.seen_since(since_ms))
        .unwrap_or_default();
    silent
        .into_iter()
        .filter(|((group, topic), _)| {
            let is_retry = names::group_of_retry_topic(topic).is_some();
            !is_retry && broker.groups.contains(group) && broker.consumers.info(group).is_none()
        })
        .map(|((group, topic), silent)| Wanted {
            group,
            topic,
            pops: silent.pops,
            tags: silent.tags.filter(|_| config.estimate_accumulation),
        })
        .collect()
}

/// What operators say that groups subscribe to, connected or not.
fn static_subscriptions(broker: &Broker) -> Vec<Wanted> {
    let mut all = Vec::new();
    for (group, config) in broker.groups.snapshot() {
        let pops = broker.consumers.info(&group).is_some_and(|info| pops(&info));
        for subscription in config.subscription_data_set.iter().flatten() {
            let is_of_tags = tags::is_tag_type(&subscription.expression_type);
            let expression = is_of_tags.then_some(&*subscription.expression);
            // One that cannot be read chooses nothing.
            let wanted = tags::build(&subscription.topic, expression.unwrap_or(SUBSCRIBE_ALL))
                .unwrap_or_else(|_| tags::all(&subscription.topic));
            all.push(Wanted {
                group: group.clone(),
                topic: subscription.topic.clone(),
                pops,
                tags: wanted_tags(broker, &wanted),
            });
        }
    }
    all
}

fn pops(info: &Arc<ConsumerGroupInfo>) -> bool {
    info.consume_type == ConsumeType::Pop
}

/// An SQL expression needs the records themselves, which a scrape does not read: to it, all messages count.
fn wanted_tags(broker: &Broker, subscription: &SubscriptionData) -> Option<TagsFilter> {
    let chooses =
        tags::is_tag_type(&subscription.expression_type) && subscription.sub_string != SUBSCRIBE_ALL;
    (chooses && broker.config.get().estimate_accumulation).then(|| TagsFilter::new(subscription))
}

/// Whether anybody may use the topic.
fn is_open(broker: &Broker, topic: &str) -> bool {
    let Some(config) = broker.topics.get(topic) else {
        return false;
    };
    let allowed = config.perm as i64 & i64::from(broker.config.get().broker_permission);
    allowed & (perm::READ | perm::WRITE) as i64 != 0
}

fn in_topics(broker: &Broker, wanted: &Wanted, now_ms: i64) -> Vec<Lag> {
    let mut lags = vec![in_topic(broker, wanted, Some(&wanted.topic), now_ms)];
    if wanted.pops {
        let retry_topic = retry_topic(broker, &wanted.topic, &wanted.group);
        lags.push(Lag {
            is_retry: true,
            ..in_topic(broker, wanted, retry_topic.as_deref(), now_ms)
        });
    }
    lags
}

fn retry_topic(broker: &Broker, topic: &str, group: &str) -> Option<String> {
    let config = broker.config.get();
    let naming = PopRetryNaming::configured(config.enable_retry_topic_v2);
    let reads_v1 = naming == PopRetryNaming::V2 && config.retrieve_message_from_pop_retry_topic_v1;
    let names = [Some(naming), reads_v1.then_some(PopRetryNaming::V1)];
    let mut names = names
        .into_iter()
        .flatten()
        .map(|naming| naming.topic(topic, group));
    names.find(|name| is_open(broker, name))
}

/// The figures of one topic; zeros without it.
fn in_topic(broker: &Broker, wanted: &Wanted, topic: Option<&str>, now_ms: i64) -> Lag {
    let mut lag = Lag {
        group: wanted.group.clone(),
        topic: wanted.topic.clone(),
        ..Lag::default()
    };
    if let Some(config) = topic.and_then(|topic| broker.topics.get(topic)) {
        for queue_id in 0..config.write_queue_nums {
            let queue = GroupQueue {
                topic: &config.topic_name,
                group: &wanted.group,
                queue_id,
            };
            QueueLag::of(broker, queue, wanted).add_to(&mut lag, broker, queue, now_ms);
        }
    }
    lag
}

/// One group in one queue.
struct QueueLag {
    messages: i64,
    inflight: i64,
    ready: i64,
    /// The oldest message not consumed, and not pulled.
    first_unconsumed: i64,
    first_unpulled: i64,
}

impl QueueLag {
    fn of(broker: &Broker, queue: GroupQueue<'_>, wanted: &Wanted) -> Self {
        let GroupQueue {
            topic,
            group,
            queue_id,
        } = queue;
        let end = broker.store.max_offset(topic, queue_id).max(0);
        let count = |from: i64, to: i64| count_wanted(broker, queue, wanted, from, to);
        let consumed = broker.consumer_offsets.query(group, topic, queue_id);
        if wanted.pops {
            let popped = consumed.unwrap_or(end);
            let ready = count(popped, end);
            let inflight = broker
                .stats
                .events()
                .map_or(0, |events| events.in_flight.of(queue));
            return QueueLag {
                messages: ready + inflight,
                inflight,
                ready,
                first_unconsumed: popped - inflight,
                first_unpulled: popped,
            };
        }
        let pulled = broker.consumer_offsets.query_pull(group, topic, queue_id);
        QueueLag {
            messages: count(consumed.unwrap_or(end), end),
            inflight: count(consumed.or(pulled).unwrap_or(0), pulled.unwrap_or(0)),
            ready: count(pulled.unwrap_or(end), end),
            first_unconsumed: consumed.unwrap_or(end),
            first_unpulled: pulled.unwrap_or(0),
        }
    }

    fn add_to(&self, lag: &mut Lag, broker: &Broker, queue: GroupQueue<'_>, now_ms: i64) {
        let age_ms = |offset: i64| {
            let offset = QueueOffset(u64::try_from(offset).ok()?);
            let stored_ms = broker.store.store_time(queue.topic, queue.queue_id, offset)?;
            (stored_ms > 0).then(|| (now_ms - stored_ms).max(0))
        };
        lag.messages += self.messages;
        lag.inflight += self.inflight;
        lag.ready += self.ready;
        lag.latency_ms = lag.latency_ms.max(age_ms(self.first_unconsumed).unwrap_or(0));
        lag.queueing_latency_ms = lag
            .queueing_latency_ms
            .max(age_ms(self.first_unpulled).unwrap_or(0));
    }
}

fn count_wanted(broker: &Broker, queue: GroupQueue<'_>, wanted: &Wanted, from: i64, to: i64) -> i64 {
    let (Ok(start), Ok(end)) = (u64::try_from(from), u64::try_from(to)) else {
        return (to - from).max(0);
    };
    match &wanted.tags {
        Some(tags) if end > start => {
            let count = broker
                .store
                .estimate_count(queue.topic, queue.queue_id, start, end, tags);
            i64::try_from(count).unwrap_or(i64::MAX)
        }
        _ => (to - from).max(0),
    }
}
