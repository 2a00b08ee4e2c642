//! RecentSends: what was stored a short while ago, so that a send that is repeated is answered and not stored again.
//!
//! A stock producer that gets no answer in time sends the same message again, with the same unique key. With
//! `duplicateSendWindowMs`, or the topic's attribute of its own, the broker finds the first one here by topic and key, looks
//! whether the record in the log is really that message, and answers what it answered, or would have, the first time.
//!
//! ```text
//!   send ──> turn(topic, key) ── earlier? ──> the first answer, made of its record
//!              │ one at a time     └──> put ──> note its offset
//! ```
//!
//! Off by default; ours alone. Every send pays for it, so it is one look into each of two tables of eight bytes a send: a piece of
//! the key's hash and where the record begins. What else the answer needs stands in the record. Nothing is taken out: when the
//! table that is written is half full, the other is emptied and takes its place. A stock producer's keys end in a counter in
//! hexadecimal: those that differ in the last digit alone lie beside each other, so that most looks find their cache line warm.
//!
//! At the start the tables are made anew from the end of the log. They cannot see sends to another broker; batches, sends to
//! static topics, and retry topics are left out: a consumer that sends a message back uses the same key each time and means it.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use common::message::{properties::name, sys_flag};
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use foldhash::fast::FixedState;
use remoting::body::TopicConfig;
use store::record::Record;
use store::{PhysicalOffset, Store};

use crate::registry::Topics;

/// The topic attribute that takes the place of `duplicateSendWindowMs`.
pub(crate) const WINDOW_ATTRIBUTE: &str = "duplicate.send.window.ms";
/// So many sends are remembered at least, and twice as many at most. They take 32 bytes each.
pub(crate) const LIMIT: usize = 1024 * 1024;
/// Sends whose keys lie in different shards do not wait for each other.
const SHARDS: usize = 256;
/// Keys that differ in their last digit alone.
const GROUP: usize = 16;

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
}

/// See the module.
pub(crate) struct RecentSends {
    shards: Vec<CacheLine>,
    /// Sends in one table of one shard.
    limit: usize,
}

/// A shard that two senders to different shards do not take from each other's caches.
#[derive(Default)]
#[repr(align(64))]
struct CacheLine(Mutex<Shard>);

const _: () = assert!(size_of::<CacheLine>() == 64);

#[derive(Default)]
struct Shard {
    newer: Table,
    older: Table,
}

/// Offsets by hash: open addressing, without removal.
#[derive(Default)]
struct Table {
    /// A power of two, half of them used at most; empty until the first send.
    slots: Box<[Slot]>,
    used: usize,
}

/// The place's tag above, the offset plus one below; zero where nothing is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Slot(u64);

/// The right to store a message with this key: a second one with the same key waits until the first is noted.
pub(crate) struct Turn<'a> {
    // Held while the message is put: the retry may arrive before the put is over. Taken before the store's locks.
    shard: MutexGuard<'a, Shard>,
    place: Place,
    limit: usize,
}

/// Where a key belongs.
#[derive(Clone, Copy)]
struct Place {
    /// Hash of the topic and of the key without its last digit.
    group: u64,
    /// That digit, below [`GROUP`].
    member: u8,
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
            shards: (0..SHARDS).map(|_| CacheLine::default()).collect(),
            limit: limit / SHARDS,
        }
    }

    /// Remembers what was stored since `now_ms - window_ms`.
    ///
    /// # Errors
    /// When the log cannot be followed.
    pub(crate) fn recover(&self, store: &Store, now_ms: i64, window_ms: i64) -> anyhow::Result<()> {
        if is_planted(PlantedBug::ForgetSends) {
            return Ok(());
        }
        let since_ms = now_ms.saturating_sub(window_ms);
        let Some(from) = store.file_written_at(since_ms) else {
            return Ok(());
        };
        store
            .scan(from, |record| {
                if record.store_timestamp_ms < since_ms || store.is_deleted(record) {
                    return;
                }
                if let Some((topic, uniq_key, sent)) = first_send(record) {
                    self.turn(topic, uniq_key).note(sent.physical_offset);
                }
            })
            .context("look for recent sends in the log")
    }

    /// Waits until nobody else stores a message with this key.
    pub(crate) fn turn(&self, topic: &str, uniq_key: &str) -> Turn<'_> {
        let place = Place::of(topic, uniq_key);
        Turn {
            shard: self.shards[place.shard()]
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            place,
            limit: self.limit,
        }
    }
}

impl Turn<'_> {
    /// Where the same message may have been stored: what lies there tells whether it is, as two keys may have one hash.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = PhysicalOffset> {
        let Shard { newer, older } = &*self.shard;
        newer.get(self.place).chain(older.get(self.place))
    }

    /// Remembers where the message was stored.
    pub(crate) fn note(&mut self, physical_offset: PhysicalOffset) {
        let Shard { newer, older } = &mut *self.shard;
        if newer.used >= self.limit {
            std::mem::swap(newer, older);
            newer.clear();
        }
        newer.insert(self.place, physical_offset, self.limit);
    }
}

impl Place {
    fn of(topic: &str, uniq_key: &str) -> Self {
        let (digit, rest) = uniq_key.as_bytes().split_last().unwrap_or((&0, &[]));
        Place {
            group: FixedState::default().hash_one((topic, rest)),
            // The value of a hexadecimal digit in either case, and something of any other byte.
            member: ((digit & 0xf) + 9 * (digit >> 6)) % GROUP as u8,
        }
    }

    fn shard(self) -> usize {
        (self.group % SHARDS as u64) as usize
    }

    /// The slot in a table without end. The lowest bits chose the shard.
    fn home(self) -> usize {
        (self.group as usize / SHARDS)
            .wrapping_mul(GROUP)
            .wrapping_add(self.member.into())
    }

    /// Sixteen bits in which keys of one group differ, in the place of a slot's highest.
    fn tag(self) -> u64 {
        let bits = self.group ^ u64::from(self.member) << Slot::OFFSET_BITS;
        bits >> Slot::OFFSET_BITS << Slot::OFFSET_BITS
    }
}

impl Table {
    fn get(&self, place: Place) -> impl Iterator<Item = PhysicalOffset> {
        self.probe(place)
            .map(|at| self.slots[at])
            .take_while(|slot| *slot != Slot::default())
            .filter_map(move |slot| slot.offset_if(place.tag()))
    }

    /// There is room: the caller empties the table when `limit` are in it.
    fn insert(&mut self, place: Place, physical_offset: PhysicalOffset, limit: usize) {
        let Some(slot) = Slot::new(place.tag(), physical_offset) else {
            return;
        };
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); (2 * limit.max(1)).next_power_of_two()].into();
        }
        let free = self.probe(place).find(|at| self.slots[*at] == Slot::default());
        if let Some(at) = free {
            self.slots[at] = slot;
            self.used += 1;
        }
    }

    fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.used = 0;
    }

    /// All slots, from the one where the key belongs on.
    fn probe(&self, place: Place) -> impl Iterator<Item = usize> + use<> {
        let (home, slots) = (place.home(), self.slots.len());
        (0..slots).map(move |step| home.wrapping_add(step) & (slots - 1))
    }
}

impl Slot {
    const OFFSET_BITS: u32 = 48;

    /// None for an offset that finds no room, beyond 256 TiB of log.
    fn new(tag: u64, physical_offset: PhysicalOffset) -> Option<Self> {
        let offset = physical_offset.0 + 1;
        (offset >> Self::OFFSET_BITS == 0).then_some(Slot(tag | offset))
    }

    fn offset_if(self, tag: u64) -> Option<PhysicalOffset> {
        let offset = (self.0 ^ tag).checked_sub(1)?;
        (offset >> Self::OFFSET_BITS == 0).then_some(PhysicalOffset(offset))
    }
}

/// Topic, unique key and answer of a record that a producer sent, wherever the message waits now.
pub(crate) fn first_send<'a>(record: &Record<'a>) -> Option<(&'a str, &'a str, Sent)> {
    let waits = matches!(
        record.topic,
        names::SCHEDULE_TOPIC | names::TIMER_TOPIC | names::TRANS_HALF_TOPIC
    );
    let topic = if waits {
        record.property(name::REAL_TOPIC)?
    } else {
        record.topic
    };
    let is_commit = record.transaction_type() == sys_flag::TRANSACTION_COMMIT;
    if is_commit || names::group_of_retry_topic(topic).is_some() {
        return None;
    }
    let real_queue_id = || record.property(name::REAL_QUEUE_ID)?.parse().ok();
    let sent = Sent {
        physical_offset: record.physical_offset,
        end: PhysicalOffset(record.physical_offset.0 + u64::from(record.size_bytes)),
        queue_id: if waits { real_queue_id()? } else { record.queue_id },
        queue_offset: record.queue_offset.to_wire(),
    };
    Some((topic, record.property(name::UNIQ_KEY)?, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(sends: &RecentSends, topic: &str, key: &str) -> Vec<u64> {
        let turn = sends.turn(topic, key);
        turn.earlier().map(|offset| offset.0).collect()
    }

    #[test]
    fn a_send_is_found_by_topic_and_key() {
        let sends = RecentSends::new();
        assert!(earlier(&sends, "T", "k").is_empty());
        sends.turn("T", "k").note(PhysicalOffset(0));
        sends.turn("T", "k").note(PhysicalOffset(500));
        assert_eq!(earlier(&sends, "T", "k"), [0, 500]);
        assert!(earlier(&sends, "T", "other").is_empty());
        assert!(earlier(&sends, "Other", "k").is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        const KEPT: u64 = 16;
        const SENT: u64 = 40_000;
        let sends = RecentSends::with_limit(SHARDS * KEPT as usize);
        for number in 0..SENT {
            sends.turn("T", &number.to_string()).note(PhysicalOffset(number));
        }
        for shard in &sends.shards {
            let shard = shard.0.lock().unwrap();
            assert!(shard.newer.used <= KEPT as usize && shard.older.used == KEPT as usize);
            assert_eq!(
                shard.newer.slots.len() + shard.older.slots.len(),
                4 * KEPT as usize
            );
        }
        let is_kept = |number: &u64| earlier(&sends, "T", &number.to_string()).contains(number);
        // A shard keeps its own newest: these are in each of them, however the keys are spread.
        assert!((SENT - KEPT..SENT).all(|number| is_kept(&number)));
        let kept = (0..SENT).filter(is_kept).count();
        assert!(
            (SHARDS * KEPT as usize..=2 * SHARDS * KEPT as usize).contains(&kept),
            "{kept}"
        );
    }

    #[test]
    fn keys_that_count_lie_beside_each_other_and_are_told_apart() {
        let place = |counter: u32| Place::of("T", &format!("7F0000010001{counter:04X}"));
        for counter in 0..GROUP as u32 {
            assert_eq!(place(counter).home(), place(0).home() + counter as usize);
            assert_eq!(place(counter).shard(), place(0).shard());
            assert!((0..counter).all(|other| place(other).tag() != place(counter).tag()));
        }
        assert_ne!(place(16).home(), place(0).home() + GROUP);

        let sends = RecentSends::with_limit(SHARDS * 4 * GROUP);
        for key in ["", "7", "é", "zz", "aa", "AA"] {
            assert!(earlier(&sends, "T", key).is_empty(), "{key}");
            sends.turn("T", key).note(PhysicalOffset(1));
            assert_eq!(earlier(&sends, "T", key), [1], "{key}");
        }
    }

    #[test]
    fn an_offset_beyond_what_a_slot_holds_is_not_remembered() {
        let sends = RecentSends::new();
        let largest = (1 << Slot::OFFSET_BITS) - 2;
        for offset in [largest, largest + 1] {
            sends.turn("T", "k").note(PhysicalOffset(offset));
        }
        assert_eq!(earlier(&sends, "T", "k"), [largest]);
    }
}
