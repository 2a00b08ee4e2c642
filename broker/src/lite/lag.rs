//! Lag: how far a group is behind in light topics.
//!
//! Worked out when somebody asks, from the group's offsets; a light topic that the group has not popped yet has none and does not
//! count. Reference: `LiteConsumerLagCalculator`, which remembers how long light topics wait when a pop leaves some behind.

use common::names::{self, LMQ_QUEUE_ID};
use store::QueueOffset;

use super::topics;
use crate::broker::Broker;

/// A light topic that holds messages which the group has not consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiteLag {
    /// The topic it is in.
    pub parent_topic: String,
    /// Its name there.
    pub lite_topic: String,
    /// Messages not consumed, at least one.
    pub messages: i64,
    lmq: String,
    committed: QueueOffset,
}

impl LiteLag {
    /// When the oldest of them was stored, ms; `None` when it is gone.
    pub fn waits_since_ms(&self, broker: &Broker) -> Option<i64> {
        broker.store.store_time(&self.lmq, LMQ_QUEUE_ID, self.committed)
    }
}

/// The light topics in which a group is behind, of all parents.
pub fn of_group(broker: &Broker, group: &str) -> Vec<LiteLag> {
    let lmqs = broker.consumer_offsets.topics_of(group);
    lmqs.into_iter()
        .filter_map(|lmq| {
            let (parent_topic, lite_topic) = names::lite_topic_of_lmq(&lmq)?;
            let committed = broker.consumer_offsets.query(group, &lmq, LMQ_QUEUE_ID)?;
            let messages = topics::end_of(broker, &lmq) - committed;
            let committed = QueueOffset(u64::try_from(committed).ok()?);
            (messages > 0).then(|| LiteLag {
                parent_topic: parent_topic.to_owned(),
                lite_topic: lite_topic.to_owned(),
                messages,
                lmq: lmq.clone(),
                committed,
            })
        })
        .collect()
}
