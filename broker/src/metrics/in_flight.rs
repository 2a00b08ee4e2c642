//! InFlight: how many messages each group has popped of a queue and not acknowledged.
//!
//! Counted since the start; what was popped before does not count when it ends. A count that ends more than it began is
//! zero: acks may come twice. Reference: `PopInflightMessageCounter`.

use dashmap::DashMap;

use super::tally::KEY_LIMIT;
use crate::registry::order_info::GroupQueue;

/// Group, topic, queue.
type Key = (String, String, i32);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct InFlight {
    counts: DashMap<Key, u64, foldhash::fast::RandomState>,
    started_ms: i64,
}

impl InFlight {
    pub(crate) fn new(started_ms: i64) -> Self {
        InFlight {
            counts: DashMap::default(),
            started_ms,
        }
    }

    /// Messages were popped.
    pub(crate) fn begin(&self, queue: GroupQueue<'_>, messages: u64) {
        let key = key(queue);
        if self.counts.len() < KEY_LIMIT || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += messages;
        }
    }

    /// Messages of a pop were acknowledged, or come back.
    pub(crate) fn end(&self, queue: GroupQueue<'_>, pop_time_ms: i64, messages: u64) {
        if pop_time_ms < self.started_ms {
            return;
        }
        self.counts.remove_if_mut(&key(queue), |_, count| {
            *count = count.saturating_sub(messages);
            *count == 0
        });
    }

    /// A queue is popped anew: nothing of it is under way.
    pub(crate) fn clear(&self, queue: GroupQueue<'_>) {
        self.counts.remove(&key(queue));
    }

    pub(crate) fn of(&self, queue: GroupQueue<'_>) -> i64 {
        let count = self.counts.get(&key(queue)).map_or(0, |count| *count);
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Keeps what belongs to these groups and topics.
    pub(crate) fn retain(&self, keep: impl Fn(&str, &str) -> bool) {
        self.counts.retain(|(group, topic, _), _| keep(group, topic));
    }
}

fn key(queue: GroupQueue<'_>) -> Key {
    (queue.group.to_owned(), queue.topic.to_owned(), queue.queue_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: GroupQueue<'static> = GroupQueue {
        topic: "T",
        group: "G",
        queue_id: 0,
    };

    #[test]
    fn what_was_popped_is_in_flight_until_it_is_acknowledged() {
        let in_flight = InFlight::new(1_000);
        in_flight.begin(QUEUE, 3);
        in_flight.end(QUEUE, 1_000, 1);
        in_flight.end(QUEUE, 999, 1);
        assert_eq!(
            in_flight.of(QUEUE),
            2,
            "what was popped before the start does not count"
        );
        in_flight.end(QUEUE, 1_001, 5);
        assert_eq!(in_flight.of(QUEUE), 0);
        in_flight.begin(QUEUE, 1);
        in_flight.clear(QUEUE);
        assert_eq!(in_flight.of(QUEUE), 0);
        in_flight.begin(QUEUE, 1);
        in_flight.retain(|group, _| group != "G");
        assert_eq!(in_flight.of(QUEUE), 0);
    }
}
