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
//! Off by default; ours alone. Every send pays for it, so it is one look into each of two tables that stay in the processor's caches: sixteen
//! bits of the key's hash for each send. Where the record begins lies beside them, and is read only when those bits are the key's; what
//! else the answer needs stands in the record. Nothing is taken out: when the table that is written is half full, the other is emptied and
//! takes its place.
//!
//! A stock producer's keys end in a counter in hexadecimal: those that differ in the last digit alone lie beside each other, so that most
//! looks find their cache line warm. A key whose slot is taken goes on to the same slot of the next such group, not to its neighbour's:
//!
//! ```text
//!   tags      | 16 of one group | 16 of the next | ..      2 bytes each, 0 for none
//!                ^ the key's     ^ else here      ^ else here
//!   offsets   | ..                                         6 bytes each
//! ```
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
    shards: Vec<Apart>,
    /// Sends in one table of one shard.
    limit: usize,
}

/// A shard in cache lines of its own: two senders to different shards do not take them from each other.
#[derive(Default)]
#[repr(align(128))]
struct Apart(Mutex<Shard>);

#[derive(Default)]
struct Shard {
    newer: Table,
    older: Table,
}

/// Offsets by hash: open addressing, without removal. A slot is a tag and the offset in the same place.
#[derive(Default)]
struct Table {
    /// A power of two of them, half of them used at most; empty until the first send.
    tags: Box<[Tag]>,
    offsets: Box<[Offset]>,
    used: usize,
}

/// Bits of a key's hash; zero where nothing is.
type Tag = u16;

/// 48 bits of a physical offset.
#[derive(Clone, Copy, Default)]
struct Offset([u8; 6]);

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
            shards: (0..SHARDS).map(|_| Apart::default()).collect(),
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

    /// The slot in a table without end. The lowest bits chose the shard. Which of a group's slots a digit has differs from group to
    /// group: some producers' counters are always even.
    fn home(self) -> usize {
        let group = self.group as usize / SHARDS;
        let turned = (self.group >> 32) as usize % GROUP;
        group.wrapping_mul(GROUP) | (usize::from(self.member) ^ turned)
    }

    /// Bits in which keys of one group differ.
    fn tag(self) -> Tag {
        match (self.group >> (u64::BITS - Tag::BITS)) as Tag ^ Tag::from(self.member) {
            0 => Tag::MAX,
            tag => tag,
        }
    }
}

impl Table {
    fn get(&self, place: Place) -> impl Iterator<Item = PhysicalOffset> {
        self.probe(place)
            .take_while(|at| self.tags[*at] != 0)
            .filter(move |at| self.tags[*at] == place.tag())
            .map(|at| self.offsets[at].get())
    }

    /// There is room: the caller empties the table when `limit` are in it.
    fn insert(&mut self, place: Place, physical_offset: PhysicalOffset, limit: usize) {
        let Some(offset) = Offset::new(physical_offset) else {
            return;
        };
        if self.tags.is_empty() {
            let slots = (2 * limit.max(1)).next_power_of_two();
            self.tags = vec![0; slots].into();
            self.offsets = vec![Offset::default(); slots].into();
        }
        if let Some(at) = self.probe(place).find(|at| self.tags[*at] == 0) {
            self.tags[at] = place.tag();
            self.offsets[at] = offset;
            self.used += 1;
        }
    }

    fn clear(&mut self) {
        self.tags.fill(0);
        self.used = 0;
    }

    /// All slots, from the one where the key belongs on: group by group, and when none is left, from the neighbour on.
    fn probe(&self, place: Place) -> impl Iterator<Item = usize> + use<> {
        let (home, slots) = (place.home(), self.tags.len());
        let groups_bits = (slots / GROUP).max(1).trailing_zeros();
        (0..slots).map(move |step| {
            let at = home.wrapping_add(step * GROUP).wrapping_add(step >> groups_bits);
            at & (slots - 1)
        })
    }
}

impl Offset {
    /// None for an offset that finds no room, beyond 256 TiB of log.
    fn new(physical_offset: PhysicalOffset) -> Option<Self> {
        match physical_offset.0.to_be_bytes() {
            [0, 0, offset @ ..] => Some(Offset(offset)),
            _ => None,
        }
    }

    fn get(self) -> PhysicalOffset {
        let [a, b, c, d, e, f] = self.0;
        PhysicalOffset(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
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
            assert_eq!(shard.newer.tags.len() + shard.older.tags.len(), 4 * KEPT as usize);
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
            assert_eq!(place(counter).home() / GROUP, place(0).home() / GROUP);
            assert_eq!(place(counter).shard(), place(0).shard());
            assert!((0..counter).all(|other| place(other).home() != place(counter).home()));
            assert!((0..counter).all(|other| place(other).tag() != place(counter).tag()));
        }
        assert_ne!(place(16).home() / GROUP, place(0).home() / GROUP + 1);

        let sends = RecentSends::with_limit(SHARDS * 4 * GROUP);
        for key in ["", "7", "é", "zz", "aa", "AA"] {
            assert!(earlier(&sends, "T", key).is_empty(), "{key}");
            sends.turn("T", key).note(PhysicalOffset(1));
            assert_eq!(earlier(&sends, "T", key), [1], "{key}");
        }
    }

    #[test]
    fn a_key_looks_at_every_slot_once_and_not_first_at_its_neighbours() {
        for slots in [2, 16, 32, 1024] {
            let table = Table {
                tags: vec![0; slots].into(),
                ..Table::default()
            };
            let place = Place::of("T", "7F00000100010007");
            let mut probed: Vec<usize> = table.probe(place).collect();
            assert_eq!(probed[0], place.home() % slots);
            if slots > GROUP {
                assert_eq!(probed[1], (place.home() + GROUP) % slots);
            }
            probed.sort_unstable();
            assert!(probed.into_iter().eq(0..slots), "{slots}");
        }
    }

    #[test]
    fn keys_are_spread_whatever_their_last_digits_are() {
        const LIMIT: usize = 256;
        for step in [1, 2, 16] {
            let sends = RecentSends::with_limit(SHARDS * LIMIT);
            let key = |number: usize| format!("7F000001000118B4AAC2{:012X}", number * step);
            (0..SHARDS * LIMIT).for_each(|number| {
                let mut turn = sends.turn("T", &key(number));
                turn.note(PhysicalOffset(number as u64));
            });
            let looked_at = |number: usize| {
                let place = Place::of("T", &key(number));
                let table = &sends.shards[place.shard()].0.lock().unwrap().newer;
                let is_taken = |at: &usize| table.tags[*at] != 0;
                table.probe(place).take_while(is_taken).count() + 1
            };
            let unknown = SHARDS * LIMIT..SHARDS * LIMIT + 10_000;
            let mean = unknown.clone().map(looked_at).sum::<usize>() as f64 / unknown.len() as f64;
            assert!(
                mean < 4.0,
                "{mean} slots for a key that is not there, step {step}"
            );
        }
    }

    #[test]
    fn an_offset_beyond_what_a_slot_holds_is_not_remembered() {
        let sends = RecentSends::new();
        let largest = (1 << 48) - 1;
        for offset in [largest, largest + 1] {
            sends.turn("T", "k").note(PhysicalOffset(offset));
        }
        assert_eq!(earlier(&sends, "T", "k"), [largest]);
    }
}
