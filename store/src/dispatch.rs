//! The follower: reads the CommitLog and builds everything derived from it.

use crate::offset::QueueOffset;

/// A message became visible in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The message's number in its queue; of an inner batch, that of its last message.
    pub queue_offset: QueueOffset,
    /// What stands in its ConsumeQueue entry.
    pub tags_code: i64,
    /// The time it was stored.
    pub store_timestamp_ms: i64,
    /// Its encoded properties.
    pub properties: &'a str,
}

/// Whoever waits for messages. Called by the dispatch thread after the entry is visible: must be quick.
pub trait ArrivalListener: Send + Sync {
    /// A message can be read now.
    fn arrived(&self, arrival: &Arrival<'_>);
}

/// The listener that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoArrivals;

impl ArrivalListener for NoArrivals {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}
