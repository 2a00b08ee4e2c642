//! Traffic: what the broker's statistics do not tell apart: messages in by type, their sizes, dead letters.
//!
//! A broker that nobody scrapes has no `Traffic`. Bounded: beyond [`TOPIC_LIMIT`] topics and as many pairs of group and
//! topic, new ones are not counted. Reference: `BrokerMetricsManager`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;

/// Most topics, and most pairs of group and topic, that are counted.
pub(crate) const TOPIC_LIMIT: usize = 50_000;

/// Upper limits of the classes of message sizes, bytes. Reference: `BrokerMetricsManager.registerMetricsView`.
pub(crate) const SIZE_LIMITS: [u64; 6] = [
    1024,
    4 * 1024,
    512 * 1024,
    1024 * 1024,
    2 * 1024 * 1024,
    4 * 1024 * 1024,
];

/// What a message is for. Reference: `TopicMessageType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageType {
    Normal,
    Fifo,
    Delay,
}

impl MessageType {
    pub(crate) const ALL: [MessageType; 3] = [MessageType::Normal, MessageType::Fifo, MessageType::Delay];

    /// The value of the label `message_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageType::Normal => "normal",
            MessageType::Fifo => "fifo",
            MessageType::Delay => "delay",
        }
    }
}

/// Messages of one type in one topic.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    bytes: AtomicU64,
    sizes: [AtomicU64; SIZE_LIMITS.len() + 1],
    sizes_sum: AtomicU64,
}

/// The same as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) sizes: [u64; SIZE_LIMITS.len() + 1],
    pub(crate) sizes_sum: u64,
}

impl Counts {
    fn add(&self, messages: u32, bytes: u64) {
        let size = bytes / u64::from(messages.max(1));
        let class = SIZE_LIMITS.partition_point(|limit| *limit < size);
        self.messages.fetch_add(u64::from(messages), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sizes[class].fetch_add(1, Ordering::Relaxed);
        self.sizes_sum.fetch_add(size, Ordering::Relaxed);
    }

    fn read(&self) -> Incoming {
        Incoming {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            sizes: std::array::from_fn(|class| self.sizes[class].load(Ordering::Relaxed)),
            sizes_sum: self.sizes_sum.load(Ordering::Relaxed),
        }
    }
}

/// Most topics have messages of one type only.
type ByType = [OnceLock<Box<Counts>>; MessageType::ALL.len()];

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    topics: DashMap<String, Arc<ByType>, foldhash::fast::RandomState>,
    /// By group and topic.
    dead_letters: DashMap<(String, String), u64, foldhash::fast::RandomState>,
}

impl Traffic {
    /// Messages were stored.
    pub(crate) fn record_put(&self, topic: &str, message_type: MessageType, messages: u32, bytes: u64) {
        if let Some(counts) = self.topics.get(topic) {
            add(&counts, message_type, messages, bytes);
        } else if self.topics.len() < TOPIC_LIMIT {
            let counts = Arc::clone(&self.topics.entry(topic.to_owned()).or_default());
            add(&counts, message_type, messages, bytes);
        }
    }

    /// A group gave a message of a topic up.
    pub(crate) fn record_dead_letter(&self, group: &str, topic: &str) {
        let key = (group.to_owned(), topic.to_owned());
        if let Some(mut count) = self.dead_letters.get_mut(&key) {
            *count += 1;
        } else if self.dead_letters.len() < TOPIC_LIMIT {
            *self.dead_letters.entry(key).or_default() += 1;
        }
    }

    /// Forgets a deleted topic.
    pub(crate) fn remove_topic(&self, topic: &str) {
        self.topics.remove(topic);
        self.dead_letters.retain(|(_, of_topic), _| of_topic != topic);
    }

    /// Forgets a deleted group.
    pub(crate) fn remove_group(&self, group: &str) {
        self.dead_letters.retain(|(of_group, _), _| of_group != group);
    }

    /// Everything that came in, by topic and type. No lock is held when this returns.
    pub(crate) fn incoming(&self) -> Vec<(String, MessageType, Incoming)> {
        let topics: Vec<(String, Arc<ByType>)> = self
            .topics
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect();
        let by_type = topics.iter().flat_map(|(topic, by_type)| {
            MessageType::ALL
                .into_iter()
                .zip(by_type.iter())
                .filter_map(move |(message_type, counts)| {
                    Some((topic.clone(), message_type, counts.get()?.read()))
                })
        });
        by_type.collect()
    }

    /// Dead letters by group and topic.
    pub(crate) fn dead_letters(&self) -> Vec<((String, String), u64)> {
        self.dead_letters
            .iter()
            .map(|entry| (entry.key().clone(), *entry.value()))
            .collect()
    }
}

fn add(by_type: &ByType, message_type: MessageType, messages: u32, bytes: u64) {
    by_type[message_type as usize]
        .get_or_init(Box::default)
        .add(messages, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_topic_and_type_and_a_batch_is_one_size() {
        let traffic = Traffic::default();
        traffic.record_put("T", MessageType::Normal, 1, 1024);
        traffic.record_put("T", MessageType::Normal, 4, 8192);
        traffic.record_put("T", MessageType::Delay, 1, 5_000_000);
        let incoming = traffic.incoming();
        assert_eq!(incoming.len(), 2);
        let normal = incoming[0].2;
        assert_eq!((normal.messages, normal.bytes, normal.sizes_sum), (5, 9216, 3072));
        assert_eq!(normal.sizes, [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!((incoming[1].1, incoming[1].2.sizes[6]), (MessageType::Delay, 1));
    }

    #[test]
    fn what_is_deleted_is_forgotten_and_what_is_too_much_is_not_counted() {
        let traffic = Traffic::default();
        for topic in 0..TOPIC_LIMIT + 5 {
            traffic.record_put(&topic.to_string(), MessageType::Normal, 1, 1);
        }
        assert_eq!(traffic.incoming().len(), TOPIC_LIMIT);
        traffic.remove_topic("0");
        traffic.record_put("new", MessageType::Fifo, 1, 1);
        assert!(traffic.incoming().iter().any(|(topic, _, _)| topic == "new"));

        traffic.record_dead_letter("G", "T");
        traffic.record_dead_letter("G", "T");
        traffic.record_dead_letter("H", "T");
        traffic.remove_group("H");
        assert_eq!(traffic.dead_letters(), [(("G".to_owned(), "T".to_owned()), 2)]);
        traffic.remove_topic("T");
        assert!(traffic.dead_letters().is_empty());
    }
}
