//! Lag: how far each connected group is behind in each topic it subscribes to.
//!
//! ```text
//!   consumed ──────> pulled ─────────> end of the queue
//!      └─ in flight ───┘└──── ready ─────┘
//!      └────────────── lag ──────────────┘
//! ```
//!
//! Summed over the queues of the topic; the ages are those of the oldest message not yet consumed, or pulled, of any
//! queue. All messages count, whatever the group's filter. Reference: `ConsumerLagCalculator`.

use common::names;
use store::QueueOffset;

use crate::broker::Broker;
use crate::registry::topics::perm;

/// One group in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) group: String,
    pub(crate) topic: String,
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

/// The lag of every connected group, at most `limit` pairs of group and topic.
pub(crate) fn of_connected_groups(broker: &Broker, limit: usize) -> Vec<Lag> {
    let now_ms = broker.clock.wall_ms();
    let consumers = broker.consumers.snapshot();
    let pairs = consumers.iter().flat_map(|(group, info)| {
        info.subscriptions
            .keys()
            .filter(|topic| names::group_of_retry_topic(topic).is_none())
            .map(move |topic| (group, topic))
    });
    pairs
        .filter(|(group, _)| broker.groups.contains(group))
        .filter_map(|(group, topic)| in_topic(broker, group, topic, now_ms))
        .take(limit)
        .collect()
}

fn in_topic(broker: &Broker, group: &str, topic: &str, now_ms: i64) -> Option<Lag> {
    let config = broker.topics.get(topic)?;
    let allowed = config.perm as i64 & i64::from(broker.config.get().broker_permission);
    if allowed & (perm::READ | perm::WRITE) as i64 == 0 {
        return None;
    }
    let mut lag = Lag {
        group: group.to_owned(),
        topic: topic.to_owned(),
        messages: 0,
        latency_ms: 0,
        inflight: 0,
        queueing_latency_ms: 0,
        ready: 0,
    };
    for queue_id in 0..config.write_queue_nums {
        add_queue(&mut lag, broker, queue_id, now_ms);
    }
    Some(lag)
}

fn add_queue(lag: &mut Lag, broker: &Broker, queue_id: i32, now_ms: i64) {
    let Lag { group, topic, .. } = &*lag;
    let end = broker.store.max_offset(topic, queue_id).max(0);
    let consumed = broker.consumer_offsets.query(group, topic, queue_id);
    let pulled = broker.consumer_offsets.query_pull(group, topic, queue_id);
    let age_ms = |offset: i64| {
        let offset = QueueOffset(u64::try_from(offset).ok()?);
        let stored_ms = broker.store.store_time(topic, queue_id, offset)?;
        (stored_ms > 0).then(|| (now_ms - stored_ms).max(0))
    };
    let consumed_age_ms = age_ms(consumed.unwrap_or(end)).unwrap_or(0);
    let pulled_age_ms = age_ms(pulled.unwrap_or(0)).unwrap_or(0);

    lag.messages += (end - consumed.unwrap_or(end)).max(0);
    lag.inflight += (pulled.unwrap_or(0) - consumed.or(pulled).unwrap_or(0)).max(0);
    lag.ready += (end - pulled.unwrap_or(end)).max(0);
    lag.latency_ms = lag.latency_ms.max(consumed_age_ms);
    lag.queueing_latency_ms = lag.queueing_latency_ms.max(pulled_age_ms);
}
