//! DeliveredCopies: what the timer had delivered from slots that the checkpoint does not know to be passed.
//!
//! A crash forgets how far into a slot the timer was, but the copies are in the CommitLog. They are counted at the start, and
//! each time the same message comes up again, one is taken away instead of delivering it twice. Messages that cannot be told
//! apart (same key, topic, slot, birth and rolls: a send that was repeated) are as good as each other.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use common::message::properties::name;
use store::record::Record;
use store::timer::TimerProgress;
use store::{PhysicalOffset, Store};

use super::message::TimerMessage;

/// The part of the CommitLog that is looked at, at most: what is older was passed before the last checkpoint in any
/// ordinary case.
const MAX_WALK_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// What tells copies apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CopyKey {
    /// Of topic, unique key and whether it takes another message back.
    hash: u64,
    out_ms: i64,
    born_ms: i64,
    roll_times: u32,
}

impl CopyKey {
    /// The key of the copy that a waiting message will have.
    fn of_copy(message: &TimerMessage<'_>, rolls: bool) -> Self {
        let (topic, roll_times) = if rolls {
            (common::names::TIMER_TOPIC, message.roll_times + 1)
        } else {
            (message.real_topic, message.roll_times)
        };
        Self::new(topic, message, roll_times)
    }

    fn new(topic: &str, message: &TimerMessage<'_>, roll_times: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        (topic, message.uniq_key, message.deletes.is_some()).hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            out_ms: message.out_ms,
            born_ms: message.born_ms,
            roll_times,
        }
    }
}

/// Copies found in the log, each with how often.
#[derive(Debug, Default)]
pub(crate) struct DeliveredCopies {
    counts: HashMap<CopyKey, u32>,
}

impl DeliveredCopies {
    /// Looks through the log from where copies of unpassed slots may lie.
    pub(crate) fn find(store: &Store, progress: &TimerProgress) -> Self {
        if progress.read_time_ms == 0 {
            return Self::default();
        }
        // The reference does not say where: then by the time they were stored.
        let range = store.log_range();
        let of_time = || store.file_written_at(progress.read_time_ms).unwrap_or(range.end);
        let from = match progress.delivered_from {
            Some(offset) => PhysicalOffset(offset),
            None => of_time(),
        };
        let from = if range.end.0.saturating_sub(from.0) > MAX_WALK_BYTES {
            of_time()
        } else {
            from
        };
        let mut copies = Self::default();
        if let Err(error) = store.scan(from.max(range.start), |record| copies.count(record)) {
            tracing::error!(
                from = from.0,
                "timer messages delivered before the stop are not all known: {error}"
            );
        }
        if !copies.counts.is_empty() {
            tracing::info!(
                copies = copies.counts.len(),
                from = from.0,
                "timer messages delivered before the stop"
            );
        }
        copies
    }

    fn count(&mut self, record: &Record<'_>) {
        if !record.properties.contains(name::TIMER_DEQUEUE_MS) {
            return;
        }
        if let Some(message) = TimerMessage::of(record) {
            let key = CopyKey::new(record.topic, &message, message.roll_times);
            *self.counts.entry(key).or_default() += 1;
        }
    }

    /// Whether a copy of this message is in the log already; the next message like it is another.
    ///
    /// One that rolled before the stop may be due by now: then the copy went back into the timer topic.
    pub(crate) fn take_of(&mut self, message: &TimerMessage<'_>) -> bool {
        let keys = [true, false].map(|rolls| CopyKey::of_copy(message, rolls));
        keys.iter().any(|key| self.take(key))
    }

    fn take(&mut self, key: &CopyKey) -> bool {
        match self.counts.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.counts.remove(key);
            }
            None => return false,
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.counts = HashMap::new();
    }
}
