//! MessageQueue: the name of one queue, used as map key in bodies.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One queue of a topic on a broker. Ordered by topic, broker name, queue id.
///
/// Reference: MessageQueue
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    /// Broker group that holds the queue
    pub broker_name: String,
    /// Number of the queue within topic and broker
    pub queue_id: i32,
    /// Topic of the queue
    pub topic: String,
}

impl MessageQueue {
    /// Names a queue.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        MessageQueue {
            broker_name: broker_name.into(),
            queue_id,
            topic: topic.into(),
        }
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.topic, &self.broker_name, self.queue_id).cmp(&(
            &other.topic,
            &other.broker_name,
            other.queue_id,
        ))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
