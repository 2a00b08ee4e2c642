//! RecentSends: what was stored a short while ago, so that a send that is repeated is answered and not stored again.
//!
//! A stock producer that gets no answer in time sends the same message again, with the same unique key. With
//! `duplicateSendWindowMs`, or the topic's attribute of its own, the broker finds the first one here by topic and key, looks
//! whether the record in the log is really that message, and answers what it answered, or would have, the first time.
//!
//! ```text
//!   send ──> turn(topic, key) ── earlier? ──> the first answer
//!              │ one at a time     └──> put ──> note
//! ```
//!
//! Off by default; ours alone. In memory, at most [`LIMIT`] sends, the oldest forgotten first; at the start made anew from
//! the end of the log. It cannot see sends to another broker, batches, sends to static topics, and retry topics are left
//! out: a consumer that sends a message back uses the same key each time and means it.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use common::message::{properties::name, sys_flag};
use common::names;
use foldhash::fast::FixedState;
use remoting::body::TopicConfig;
use store::record::Record;
use store::{PhysicalOffset, Store};

use crate::registry::Topics;

/// The topic attribute that takes the place of `duplicateSendWindowMs`.
pub(crate) const WINDOW_ATTRIBUTE: &str = "duplicate.send.window.ms";
/// The most sends that are remembered, about 100 bytes each.
pub(crate) const LIMIT: usize = 1024 * 1024;
/// Sends whose keys lie in different shards do not wait for each other.
const SHARDS: usize = 64;

/// What the answer to a send is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) physical_offset: PhysicalOffset,
    /// Where the record ends: what a flush must reach.
    pub(crate) end: PhysicalOffset,
    /// As answered.
    pub(crate) queue_id: i32,
    /// As answered.
    pub(crate) queue_offset: i64,
    pub(crate) store_timestamp_ms: i64,
}

/// See the module.
pub(crate) struct RecentSends {
    shards: Vec<Mutex<Shard>>,
    limit: usize,
}

#[derive(Default)]
struct Shard {
    by_key: HashMap<u64, Sent>,
    /// The keys in the order of their sends; a key that was noted again stands here twice.
    order: VecDeque<(i64, u64)>,
}

/// The right to store a message with this key: a second one with the same key waits until the first is noted.
pub(crate) struct Turn<'a> {
    // Held while the message is put: the retry may arrive before the put is over. Taken before the store's locks.
    shard: MutexGuard<'a, Shard>,
    key: u64,
    limit: usize,
    window_ms: i64,
}

/// How long sends to a topic are remembered, in ms; 0 for not at all.
pub(crate) fn window_ms(topic: &TopicConfig, broker_window_ms: i64) -> i64 {
    topic
        .attributes
        .get(WINDOW_ATTRIBUTE)
        .and_then(|window_ms| window_ms.parse().ok())
        .unwrap_or(broker_window_ms)
}

/// The longest window of any topic.
pub(crate) fn longest_window_ms(topics: &Topics, broker_window_ms: i64) -> i64 {
    let of_topics = topics.snapshot();
    let windows = of_topics.values().map(|topic| window_ms(topic, broker_window_ms));
    windows.fold(broker_window_ms, i64::max)
}

impl RecentSends {
    /// Nothing is remembered.
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        RecentSends {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            limit: limit / SHARDS,
        }
    }

    /// Remembers what was stored since `now_ms - window_ms`.
    ///
    /// # Errors
    /// When the log cannot be followed.
    pub(crate) fn recover(&self, store: &Store, now_ms: i64, window_ms: i64) -> anyhow::Result<()> {
        let since_ms = now_ms.saturating_sub(window_ms);
        let Some(from) = store.file_written_at(since_ms) else {
            return Ok(());
        };
        store
            .scan(from, |record| {
                if record.store_timestamp_ms < since_ms {
                    return;
                }
                if let Some((topic, uniq_key, sent)) = first_send(record) {
                    let mut turn = self.turn(topic, uniq_key, window_ms);
                    if !turn.shard.by_key.contains_key(&turn.key) {
                        turn.note(sent);
                    }
                }
            })
            .context("look for recent sends in the log")
    }

    /// Waits until nobody else stores a message with this key.
    pub(crate) fn turn(&self, topic: &str, uniq_key: &str, window_ms: i64) -> Turn<'_> {
        let key = FixedState::default().hash_one((topic, uniq_key));
        let shard = &self.shards[(key % SHARDS as u64) as usize];
        Turn {
            shard: shard.lock().unwrap_or_else(PoisonError::into_inner),
            key,
            limit: self.limit,
            window_ms,
        }
    }
}

impl Turn<'_> {
    /// The send with the same key within the window, if `is_same` finds it to be one: two keys may have one hash.
    pub(crate) fn earlier(&mut self, now_ms: i64, is_same: impl FnOnce(&Sent) -> bool) -> Option<Sent> {
        self.forget_before(now_ms.saturating_sub(self.window_ms));
        let sent = self.shard.by_key.get(&self.key)?;
        let age_ms = now_ms.saturating_sub(sent.store_timestamp_ms);
        (age_ms <= self.window_ms && is_same(sent)).then_some(*sent)
    }

    /// Remembers that the message was stored.
    pub(crate) fn note(&mut self, sent: Sent) {
        while self.shard.order.len() >= self.limit.max(1) {
            self.forget_oldest();
        }
        self.shard.by_key.insert(self.key, sent);
        self.shard.order.push_back((sent.store_timestamp_ms, self.key));
    }

    fn forget_before(&mut self, since_ms: i64) {
        while self
            .shard
            .order
            .front()
            .is_some_and(|(at_ms, _)| *at_ms < since_ms)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at_ms, key)) = self.shard.order.pop_front()
            && self
                .shard
                .by_key
                .get(&key)
                .is_some_and(|sent| sent.store_timestamp_ms <= at_ms)
        {
            self.shard.by_key.remove(&key);
        }
    }
}

/// Whether the record is a message that was sent to this topic with this key, wherever it waits now.
pub(crate) fn is_send_to(record: &Record<'_>, topic: &str, uniq_key: &str) -> bool {
    record.property(name::UNIQ_KEY) == Some(uniq_key) && sent_to(record) == Some(topic)
}

fn sent_to<'a>(record: &Record<'a>) -> Option<&'a str> {
    match record.topic {
        names::SCHEDULE_TOPIC | names::TRANS_HALF_TOPIC => record.property(name::REAL_TOPIC),
        topic => Some(topic),
    }
}

/// Topic, unique key and answer of a record that a producer sent.
fn first_send<'a>(record: &Record<'a>) -> Option<(&'a str, &'a str, Sent)> {
    let topic = sent_to(record).filter(|topic| names::group_of_retry_topic(topic).is_none())?;
    let uniq_key = record.property(name::UNIQ_KEY)?;
    if record.transaction_type() == sys_flag::TRANSACTION_COMMIT {
        return None;
    }
    let waits = topic != record.topic;
    let real_queue_id = || record.property(name::REAL_QUEUE_ID)?.parse().ok();
    let sent = Sent {
        physical_offset: record.physical_offset,
        end: PhysicalOffset(record.physical_offset.0 + u64::from(record.size_bytes)),
        queue_id: if waits { real_queue_id()? } else { record.queue_id },
        queue_offset: record.queue_offset.to_wire(),
        store_timestamp_ms: record.store_timestamp_ms,
    };
    Some((topic, uniq_key, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(store_timestamp_ms: i64) -> Sent {
        Sent {
            physical_offset: PhysicalOffset(store_timestamp_ms.unsigned_abs()),
            end: PhysicalOffset(0),
            queue_id: 0,
            queue_offset: 0,
            store_timestamp_ms,
        }
    }

    #[test]
    fn a_send_is_found_by_topic_and_key_within_the_window() {
        let sends = RecentSends::new();
        sends.turn("T", "k", 10).note(sent(100));
        let earlier = |topic, key, now_ms| sends.turn(topic, key, 10).earlier(now_ms, |_| true);
        assert_eq!(earlier("T", "k", 110), Some(sent(100)));
        assert_eq!(earlier("T", "other", 110), None);
        assert_eq!(earlier("Other", "k", 110), None);
        assert_eq!(sends.turn("T", "k", 10).earlier(110, |_| false), None);
        assert_eq!(earlier("T", "k", 111), None);
        let shard = sends.turn("T", "k", 10);
        assert!(shard.shard.by_key.is_empty() && shard.shard.order.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let sends = RecentSends::with_limit(SHARDS * 3);
        for number in 0..10_000 {
            sends.turn("T", &number.to_string(), i64::MAX).note(sent(number));
        }
        let kept: usize = sends
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                assert_eq!(shard.by_key.len(), shard.order.len());
                shard.order.len()
            })
            .sum();
        assert_eq!(kept, SHARDS * 3);
        let mut newest = sends.turn("T", "9999", i64::MAX);
        assert_eq!(newest.earlier(20_000, |_| true), Some(sent(9_999)));
    }

    #[test]
    fn a_key_noted_again_is_kept_by_its_newest_send() {
        let sends = RecentSends::with_limit(SHARDS * 2);
        for at_ms in [1, 2, 3] {
            sends.turn("T", "k", 100).note(sent(at_ms));
        }
        assert_eq!(sends.turn("T", "k", 100).earlier(4, |_| true), Some(sent(3)));
    }
}
