//! Invisible: how many messages of a queue are invisible to a group, where that is limited.
//!
//! Kept only while `enablePopMessageThreshold` is on, in memory: a queue with more than `popInflightMessageThreshold` of them is
//! passed by. A batch counts until its messages are acknowledged or their time is up. Reference: `PopInflightMessageCounter`,
//! which counts down when the copy of a message is put, and forgets to after a crash.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use crate::registry::order_info::GroupQueue;

/// Queues that are counted; one more counts as empty.
pub const MAX_QUEUES: usize = 100_000;

/// The counts of all groups and queues.
#[derive(Debug, Default)]
pub struct Invisible {
    queues: Mutex<HashMap<Key, Batches>>,
}

/// Topic, group, queue.
type Key = (String, String, i32);
/// By the time of the pop.
type Batches = BTreeMap<i64, Batch>;

#[derive(Debug)]
struct Batch {
    messages: u64,
    until_ms: i64,
}

fn key(queue: GroupQueue<'_>) -> Key {
    (queue.topic.to_owned(), queue.group.to_owned(), queue.queue_id)
}

impl Invisible {
    /// Messages were popped, and are invisible until then.
    pub fn popped(&self, queue: GroupQueue<'_>, pop_time_ms: i64, messages: usize, until_ms: i64) {
        let key = key(queue);
        let mut queues = self.queues();
        if queues.len() >= MAX_QUEUES && !queues.contains_key(&key) {
            return;
        }
        let batch = queues
            .entry(key)
            .or_default()
            .entry(pop_time_ms)
            .or_insert(Batch {
                messages: 0,
                until_ms,
            });
        batch.messages += messages as u64;
        batch.until_ms = batch.until_ms.max(until_ms);
    }

    /// Messages of a pop were acknowledged.
    pub fn acknowledged(&self, queue: GroupQueue<'_>, pop_time_ms: i64, messages: usize) {
        let key = key(queue);
        let mut queues = self.queues();
        let Some(batches) = queues.get_mut(&key) else {
            return;
        };
        if let Some(batch) = batches.get_mut(&pop_time_ms) {
            batch.messages = batch.messages.saturating_sub(messages as u64);
            if batch.messages == 0 {
                batches.remove(&pop_time_ms);
            }
        }
        if batches.is_empty() {
            queues.remove(&key);
        }
    }

    /// Where more than `limit` messages of the queue are invisible: when the first of them are visible again, ms.
    pub fn is_full_until_ms(&self, queue: GroupQueue<'_>, limit: i64, now_ms: i64) -> Option<i64> {
        let key = key(queue);
        let mut queues = self.queues();
        let batches = queues.get_mut(&key)?;
        batches.retain(|_, batch| now_ms < batch.until_ms);
        if batches.is_empty() {
            queues.remove(&key);
            return None;
        }
        let messages: u64 = batches.values().map(|batch| batch.messages).sum();
        let is_full = i64::try_from(messages).is_ok_and(|messages| messages > limit);
        let first = batches.values().map(|batch| batch.until_ms).min();
        first.filter(|_| is_full)
    }

    /// Forgets what the predicate names: topics and groups that were deleted, queues that were reset.
    pub fn forget(&self, is_gone: impl Fn(GroupQueue<'_>) -> bool) {
        self.queues().retain(|(topic, group, queue_id), _| {
            !is_gone(GroupQueue {
                topic,
                group,
                queue_id: *queue_id,
            })
        });
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Key, Batches>> {
        self.queues
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: GroupQueue<'static> = GroupQueue {
        topic: "t",
        group: "g",
        queue_id: 1,
    };

    #[test]
    fn messages_count_until_they_are_acknowledged_or_their_time_is_up() {
        let invisible = Invisible::default();
        invisible.popped(QUEUE, 10, 2, 100);
        invisible.popped(QUEUE, 20, 2, 200);
        assert_eq!(
            invisible.is_full_until_ms(QUEUE, 4, 50),
            None,
            "as many as allowed"
        );
        assert_eq!(invisible.is_full_until_ms(QUEUE, 3, 50), Some(100));
        invisible.acknowledged(QUEUE, 20, 1);
        assert_eq!(invisible.is_full_until_ms(QUEUE, 3, 50), None);
        assert_eq!(invisible.is_full_until_ms(QUEUE, 0, 100), Some(200));
        invisible.acknowledged(QUEUE, 20, 5);
        assert_eq!(invisible.is_full_until_ms(QUEUE, 0, 100), None);
        assert!(invisible.queues().is_empty());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let invisible = Invisible::default();
        invisible.popped(QUEUE, 10, 2, 100);
        invisible.forget(|queue| queue.group == "h");
        assert_eq!(invisible.is_full_until_ms(QUEUE, 1, 50), Some(100));
        invisible.forget(|queue| queue.topic == "t");
        assert_eq!(invisible.is_full_until_ms(QUEUE, 1, 50), None);
    }
}
