//! What was delivered after the file of progress was last written.
//!
//! ```text
//!   schedule queue of a level   ... | offset of the file | e1 | e2 | e3 | ...
//!   log from `copiesFrom` on              ... copy of e1 ... copy of e2 ...        ->  going on at e3
//! ```
//!
//! A level is delivered in the order of its queue, so the copies of its messages follow each other in the log: they are looked
//! through side by side, up to the first message without a copy. Of two messages that are alike in everything, each needs
//! a copy of its own. The reference delivers them all again.

use std::collections::BTreeMap;

use common::message::properties::name;
use common::names;
use store::record::Record;
use store::{PhysicalOffset, QueueEntry, QueueOffset, Store};

use crate::delay::copy::without_crc;
use crate::delay::levels::restore;

/// The part of the log that is looked through, at most: what is older was counted before the last write in any ordinary case.
const MAX_WALK_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Queue entries read at once.
const ENTRIES_AT_ONCE: usize = 1_024;

/// The copies in a part of the log, by level and in its order.
#[derive(Debug, Default)]
pub(super) struct Copies {
    by_level: BTreeMap<i32, Vec<PhysicalOffset>>,
}

impl Copies {
    /// Looks through the log from there on.
    pub(super) fn find(store: &Store, from: PhysicalOffset) -> Self {
        let range = store.log_range();
        let earliest = PhysicalOffset(range.end.0.saturating_sub(MAX_WALK_BYTES));
        let mut copies = Self::default();
        if from < earliest {
            tracing::warn!(
                from = from.0,
                "delayed messages are delivered again: too much of the log was written since their progress"
            );
            return copies;
        }
        if let Err(error) = store.scan(from.max(range.start), |record| copies.note(record)) {
            tracing::error!(
                from = from.0,
                "delayed messages delivered before the stop are not all known: {error}"
            );
        }
        copies
    }

    fn note(&mut self, record: &Record<'_>) {
        if record.topic == names::SCHEDULE_TOPIC || record.property(name::REAL_TOPIC) != Some(record.topic) {
            return;
        }
        let level = record.property(name::DELAY).and_then(|level| level.parse().ok());
        if let Some(level) = level {
            self.by_level
                .entry(level)
                .or_default()
                .push(record.physical_offset);
        }
    }

    /// Where a level goes on that was at `offset` when its progress was written.
    pub(super) fn next_of(&self, store: &Store, level: i32, offset: u64) -> u64 {
        let mut copies = self.by_level.get(&level).map_or(&[][..], Vec::as_slice);
        let (mut next, mut read) = (offset, offset);
        while !copies.is_empty() {
            let entries = store.queue_entries(
                names::SCHEDULE_TOPIC,
                level - 1,
                QueueOffset(read),
                ENTRIES_AT_ONCE,
            );
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                read = entry.queue_offset.0 + u64::from(entry.message_count.max(1));
                match find_copy(store, &entry, copies) {
                    Found::At(place) => {
                        copies = &copies[place + 1..];
                        next = read;
                    }
                    Found::Undeliverable => {}
                    Found::Nowhere => return next,
                }
            }
        }
        next
    }
}

/// What is known of a message's copy.
enum Found {
    At(usize),
    /// There is none, and never will be.
    Undeliverable,
    Nowhere,
}

fn find_copy(store: &Store, entry: &QueueEntry, copies: &[PhysicalOffset]) -> Found {
    let found = store.with_record(entry.physical_offset, |waiting| {
        let message = restore(waiting)?;
        let is_copy = |record: &Record<'_>| {
            (record.topic, record.queue_id) == (message.topic, message.queue_id)
                && record.born_timestamp_ms == message.born_timestamp_ms
                && record.born_host == message.born_host
                && record.reconsume_times == message.reconsume_times
                && record.body == message.body
                // The store may have added where the message stands in further queues.
                && without_crc(record.properties).starts_with(message.properties)
        };
        let place = copies.iter().position(|offset| {
            *offset > entry.physical_offset && store.with_record(*offset, is_copy) == Some(true)
        });
        Some(place)
    });
    match found.flatten() {
        Some(Some(place)) => Found::At(place),
        Some(None) => Found::Nowhere,
        None => Found::Undeliverable,
    }
}
