//! QueueOffsets: the offset that the next message of each (topic, queue) gets.
//!
//! Known in memory only, and only for queues that were written to since the start: the queue's end is where a
//! counter begins. Counters move under the writer lock; finding one does not need it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use smallvec::SmallVec;

/// The counters of all queues.
#[derive(Debug, Default)]
pub struct QueueOffsets {
    topics: DashMap<Box<str>, TopicCounters, foldhash::fast::RandomState>,
}

/// The counters of a topic, with their queue ids.
type TopicCounters = SmallVec<[(i32, Arc<QueueCounter>); 1]>;

/// The counter of one queue. Written under the writer lock only.
#[derive(Debug)]
pub struct QueueCounter {
    next: AtomicU64,
    /// The topic was deleted: whoever still holds this counter must look for the new one.
    is_retired: AtomicBool,
}

impl QueueOffsets {
    /// The counter of a queue; made with what `end` gives when there is none.
    pub fn counter(&self, topic: &str, queue_id: i32, end: impl FnOnce() -> u64) -> Arc<QueueCounter> {
        if let Some(counter) = self.find(topic, queue_id) {
            return counter;
        }
        let mut counters = self.topics.entry(topic.into()).or_default();
        if let Some((_, counter)) = counters.iter().find(|(id, _)| *id == queue_id) {
            return Arc::clone(counter);
        }
        let counter = Arc::new(QueueCounter {
            next: AtomicU64::new(end()),
            is_retired: AtomicBool::new(false),
        });
        counters.push((queue_id, Arc::clone(&counter)));
        counter
    }

    fn find(&self, topic: &str, queue_id: i32) -> Option<Arc<QueueCounter>> {
        let counters = self.topics.get(topic)?;
        let (_, counter) = counters.iter().find(|(id, _)| *id == queue_id)?;
        Some(Arc::clone(counter))
    }

    /// Forgets the counters of a topic. To be called under the writer lock.
    pub fn retire_topic(&self, topic: &str) {
        if let Some((_, counters)) = self.topics.remove(topic) {
            for (_, counter) in counters {
                counter.is_retired.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Forgets the counter of one queue. To be called under the writer lock.
    pub fn retire_queue(&self, topic: &str, queue_id: i32) {
        if let Some(mut counters) = self.topics.get_mut(topic) {
            counters.retain(|(id, counter)| {
                if *id == queue_id {
                    counter.is_retired.store(true, Ordering::Relaxed);
                }
                *id != queue_id
            });
        }
    }
}

impl QueueCounter {
    /// The offset of the next message.
    pub fn next(&self) -> u64 {
        // Relaxed: the writer lock orders those for whom it matters.
        self.next.load(Ordering::Relaxed)
    }

    /// Takes `count` offsets. Only under the writer lock.
    pub fn take(&self, count: u64) -> u64 {
        let first = self.next();
        self.next.store(first + count, Ordering::Relaxed);
        first
    }

    /// Whether the topic was deleted since this counter was found. Certain under the writer lock only.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_begins_at_the_end_of_its_queue() {
        let offsets = QueueOffsets::default();
        let counter = offsets.counter("T", 1, || 7);
        assert_eq!((counter.take(1), counter.take(3), counter.next()), (7, 8, 11));
        assert_eq!(
            offsets.counter("T", 1, || 0).next(),
            11,
            "the same counter is found again"
        );
        assert_eq!(offsets.counter("T", 0, || 0).next(), 0);
    }

    #[test]
    fn a_deleted_topic_starts_again_and_old_holders_notice() {
        let offsets = QueueOffsets::default();
        let old = offsets.counter("T", 0, || 7);
        offsets.retire_topic("T");
        assert!(old.is_retired());
        assert_eq!(offsets.counter("T", 0, || 0).next(), 0);
    }
}
