//! Traffic: messages in by type and their sizes, messages out by who got them and how, dead letters.
//!
//! Other than the broker's statistics it leaves out what the broker puts by itself, and tells pops from pulls.
//!
//! A broker that nobody scrapes has no `Traffic`. Bounded: beyond [`TOPIC_LIMIT`] topics and as many pairs of group and
//! topic, new ones are not counted. Reference: `BrokerMetricsManager`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;

use super::tally::{KEY_LIMIT as TOPIC_LIMIT, Tally};

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
    Transaction,
}

impl MessageType {
    pub(crate) const ALL: [MessageType; 4] = [
        MessageType::Normal,
        MessageType::Fifo,
        MessageType::Delay,
        MessageType::Transaction,
    ];

    /// The value of the label `message_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageType::Normal => "normal",
            MessageType::Fifo => "fifo",
            MessageType::Delay => "delay",
            MessageType::Transaction => "transaction",
        }
    }
}

/// How a group got messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Pulled,
    Popped,
    /// From a retry topic.
    PoppedAgain,
}

impl Way {
    const ALL: [Way; 3] = [Way::Pulled, Way::Popped, Way::PoppedAgain];

    /// The label `is_retry`, which pulls do not have.
    pub(crate) fn is_retry(self) -> Option<bool> {
        match self {
            Way::Pulled => None,
            Way::Popped => Some(false),
            Way::PoppedAgain => Some(true),
        }
    }
}

/// What a group got of a topic in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) way: Way,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Messages and bytes by [`Way`].
type ByWay = [[AtomicU64; 2]; Way::ALL.len()];

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
    /// By `topic@group`.
    outgoing: DashMap<String, Arc<ByWay>, foldhash::fast::RandomState>,
    /// By group and topic.
    dead_letters: Tally<(String, String)>,
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

    /// Messages went out, `key` being `topic@group`.
    pub(crate) fn record_get(&self, key: &str, way: Way, messages: u32, bytes: u64) {
        let add = |counts: &ByWay| {
            counts[way as usize][0].fetch_add(u64::from(messages), Ordering::Relaxed);
            counts[way as usize][1].fetch_add(bytes, Ordering::Relaxed);
        };
        if let Some(counts) = self.outgoing.get(key) {
            add(&counts);
        } else if self.outgoing.len() < TOPIC_LIMIT {
            add(&self.outgoing.entry(key.to_owned()).or_default());
        }
    }

    /// A group gave a message of a topic up.
    pub(crate) fn record_dead_letter(&self, group: &str, topic: &str) {
        self.dead_letters.add(&(group.to_owned(), topic.to_owned()), 1);
    }

    /// Forgets a deleted topic.
    pub(crate) fn remove_topic(&self, topic: &str) {
        self.topics.remove(topic);
        self.outgoing
            .retain(|key, _| key.rsplit_once('@').is_none_or(|(of_topic, _)| of_topic != topic));
        self.dead_letters.retain(|(_, of_topic)| of_topic != topic);
    }

    /// Forgets a deleted group.
    pub(crate) fn remove_group(&self, group: &str) {
        self.outgoing
            .retain(|key, _| key.rsplit_once('@').is_none_or(|(_, of_group)| of_group != group));
        self.dead_letters.retain(|(of_group, _)| of_group != group);
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

    /// What groups got, by topic and way. No lock is held when this returns.
    pub(crate) fn outgoing(&self) -> Vec<Outgoing> {
        let pairs: Vec<(String, Arc<ByWay>)> = self
            .outgoing
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect();
        let outgoing = pairs.iter().flat_map(|(key, by_way)| {
            let (topic, group) = key.rsplit_once('@').unwrap_or((key, ""));
            Way::ALL
                .into_iter()
                .zip(by_way.iter())
                .map(move |(way, counts)| Outgoing {
                    topic: topic.to_owned(),
                    group: group.to_owned(),
                    way,
                    messages: counts[0].load(Ordering::Relaxed),
                    bytes: counts[1].load(Ordering::Relaxed),
                })
        });
        outgoing.filter(|outgoing| outgoing.messages > 0).collect()
    }

    /// Dead letters by group and topic.
    pub(crate) fn dead_letters(&self) -> BTreeMap<(String, String), u64> {
        self.dead_letters.read()
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
    fn what_a_group_gets_is_told_apart_by_the_way_it_gets_it() {
        let traffic = Traffic::default();
        traffic.record_get("T@G", Way::Popped, 2, 20);
        traffic.record_get("T@G", Way::PoppedAgain, 1, 10);
        traffic.record_get("T@G", Way::Popped, 1, 10);
        let popped = |way, messages, bytes| Outgoing {
            topic: "T".to_owned(),
            group: "G".to_owned(),
            way,
            messages,
            bytes,
        };
        assert_eq!(
            traffic.outgoing(),
            [popped(Way::Popped, 3, 30), popped(Way::PoppedAgain, 1, 10)]
        );
        traffic.remove_group("G");
        assert!(traffic.outgoing().is_empty());
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
        assert_eq!(
            traffic.dead_letters(),
            BTreeMap::from([(("G".to_owned(), "T".to_owned()), 2)])
        );
        traffic.remove_topic("T");
        assert!(traffic.dead_letters().is_empty());
    }
}
