//! What must be there: everything the world asked for and was told, in the simplest form.

pub mod broadcast;
pub mod filters;
pub mod light;
pub mod lite;
pub mod orders;
pub mod pops;
pub mod repeats;
pub mod timers;

use std::collections::{BTreeMap, BTreeSet};

use common::message::properties::{self, name};
use common::message::tags_code;
use common::names::{RETRY_TOPIC_PREFIX, SCHEDULE_TOPIC, TRANS_HALF_TOPIC, is_system_topic};
use store::DAMAGED_TOPIC;
use store::record::decode;

use crate::{Violation, ensure};

/// A topic and a queue in it.
pub type Queue = (String, i32);

/// The queue of the half topic.
pub const HALF_QUEUE: i32 = 0;

/// Milliseconds of the delay levels 1, 2, ...: those of the reference.
pub const DELAYS_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
    540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// A record of the CommitLog.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Where it begins.
    pub at: u64,
    /// All of it.
    pub bytes: Vec<u8>,
    pub queue: Queue,
    pub queue_offset: u64,
    /// The light queues it is in as well, and its offset in each.
    pub light: Vec<(Queue, u64)>,
    pub store_ms: i64,
    pub body: Vec<u8>,
    pub properties: BTreeMap<String, String>,
    pub is_queued: bool,
    /// How often it came back to a consumer.
    pub reconsume_times: i32,
}

impl Logged {
    pub fn decode(at: u64, bytes: &[u8]) -> Result<Self, Violation> {
        let record = decode(bytes).map_err(|error| format!("no record at {at}: {error}"))?;
        ensure!(
            record.physical_offset.0 == at,
            "the record at {at} says it is elsewhere"
        );
        ensure!(
            record.body_matches_crc(),
            "the record at {at} has another body than was stored"
        );
        let mut properties: BTreeMap<String, String> = properties::iter(record.properties)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // A copy has numbers of its own.
        let offsets = properties.remove(name::INNER_MULTI_QUEUE_OFFSET);
        Ok(Self {
            light: light::places(record.topic, &properties, offsets.as_deref())?,
            at,
            bytes: bytes[..record.size_bytes as usize].to_vec(),
            queue: (record.topic.to_owned(), record.queue_id),
            queue_offset: record.queue_offset.0,
            store_ms: record.store_timestamp_ms,
            body: record.body.to_vec(),
            properties,
            is_queued: record.is_queued(),
            reconsume_times: record.reconsume_times,
        })
    }

    pub fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// Its offset in a queue, if it is in it.
    pub fn offset_in(&self, queue: &Queue) -> Option<u64> {
        if self.queue == *queue {
            return self.is_queued.then_some(self.queue_offset);
        }
        let mut light = self.light.iter();
        light.find(|(of, _)| of == queue).map(|(_, offset)| *offset)
    }

    /// All queues it is in, and its offset in each.
    pub fn places(&self) -> impl Iterator<Item = (&Queue, u64)> {
        let own = self.is_queued.then_some((&self.queue, self.queue_offset));
        own.into_iter()
            .chain(self.light.iter().map(|(queue, offset)| (queue, *offset)))
    }

    pub fn property(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    /// Whether recovery put it over lost messages.
    pub fn is_repair(&self) -> bool {
        self.queue.0 == DAMAGED_TOPIC && !self.is_queued
    }

    /// What the ConsumeQueue entry must say about its tag.
    pub fn tags_code(&self) -> i64 {
        let level = self.property(name::DELAY).parse::<usize>().unwrap_or(0);
        if self.queue.0 == SCHEDULE_TOPIC && level > 0 {
            self.store_ms + DELAYS_MS[level - 1]
        } else {
            tags_code::tags_code(self.properties.get(name::TAGS).map(String::as_str))
        }
    }

    /// The 20 bytes of its ConsumeQueue entry.
    pub fn queue_entry(&self) -> [u8; 20] {
        let mut entry = [0; 20];
        entry[..8].copy_from_slice(&self.at.to_be_bytes());
        entry[8..12].copy_from_slice(&u32::try_from(self.bytes.len()).unwrap().to_be_bytes());
        entry[12..].copy_from_slice(&self.tags_code().to_be_bytes());
        entry
    }

    /// The keys it can be found by.
    pub fn keys(&self) -> BTreeSet<String> {
        let words = self.property(name::KEYS).split(' ');
        let keys = words.chain([self.property(name::UNIQ_KEY)]);
        keys.filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }

    /// What a delayed message and its copy have in common, and nothing else has.
    pub fn identity(&self) -> (&[u8], &BTreeMap<String, String>) {
        (&self.body, &self.properties)
    }
}

/// A record that the last step must have appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub queue: Queue,
    pub body: Vec<u8>,
    /// Properties it must have, among others.
    pub properties: Vec<(&'static str, String)>,
}

/// The progress of a group in a queue.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Everything that was committed and that a restart may show, oldest first. The last is the present one.
    pub values: Vec<i64>,
    /// Whether an older restart may also show none.
    pub may_be_missing: bool,
}

/// A pull that waits.
#[derive(Clone, Debug)]
pub struct ParkedPull {
    pub connection: usize,
    pub opaque: i32,
    pub queue: Queue,
    pub offset: i64,
    pub filter: filters::Filter,
    pub deadline_ms: i64,
}

/// A request that stored something and waits for its answer.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// The records.
    pub places: Vec<u64>,
    /// Whether the answer says where they are.
    pub names_records: bool,
}

/// Everything that must hold of the broker.
#[derive(Debug, Default)]
pub struct Model {
    /// Every record since the start of time, expired ones too, less those a crash took.
    pub log: Vec<Logged>,
    pub log_min: u64,
    pub log_end: u64,
    /// Below this, the broker said, everything is on disk.
    pub flushed: u64,
    pub dispatched: u64,
    /// A dispatch may have failed in the middle of a record, and was not tried again since.
    pub may_be_half_dispatched: bool,
    /// Whether files cannot be opened now, perhaps those of queues.
    pub opens_fail: bool,
    /// Records whose sender was told that they are on disk.
    pub promised: BTreeSet<u64>,
    /// Requests that wait for the disk, by connection and opaque.
    pub unanswered: BTreeMap<(usize, i32), Unanswered>,
    /// Offsets of the next messages.
    pub next_offsets: BTreeMap<Queue, u64>,
    /// Where messages were lost to crashes.
    pub lost: BTreeSet<u64>,
    /// Topics that operators made, with their queues.
    pub topics: BTreeMap<String, i32>,
    /// Ends of the log when a topic was deleted.
    pub deleted: BTreeMap<String, u64>,
    pub offsets: BTreeMap<(String, Queue), Progress>,
    /// Groups that will be told of a reset when they pull.
    pub resets: BTreeSet<(String, Queue)>,
    /// Those told since the offsets were last durable: after a crash they are told again.
    pub told_resets: BTreeSet<(String, Queue)>,
    pub parked: Vec<ParkedPull>,
    /// Per delay level, queue offset of the next message to deliver.
    pub delivered: BTreeMap<i32, u64>,
    /// Where else it may be, before that: of two messages alike, one sent back twice, nobody can say which was delivered.
    pub may_be_at: BTreeMap<i32, BTreeSet<u64>>,
    /// The same, as far as it must have reached the disk.
    pub delivered_durable: BTreeMap<i32, u64>,
    /// Levels that may deliver some again after a crash that cost some of the log.
    pub may_repeat: BTreeSet<i32>,
    pub timers: timers::Timers,
    pub pops: pops::Pops,
    pub orders: orders::Orders,
    pub lites: lite::Lites,
    pub broadcasts: broadcast::Broadcasts,
    /// Messages that their producers may send again.
    pub repeatable: Vec<repeats::Repeatable>,
}

impl Model {
    /// Every pull that waits.
    pub fn waiting_pulls(&self) -> impl Iterator<Item = &ParkedPull> {
        let of_members = self.broadcasts.parked.iter().map(|pull| &pull.pull);
        self.parked.iter().chain(of_members)
    }

    /// Whether the record belongs to a topic that was deleted after it.
    pub fn is_deleted(&self, record: &Logged) -> bool {
        self.deleted
            .get(&record.queue.0)
            .is_some_and(|end| record.at < *end)
    }

    /// A light queue is deleted, and begins anew with its next message.
    pub fn delete_light_queue(&mut self, queue: &Queue) {
        self.deleted.insert(queue.0.clone(), self.log_end);
        self.next_offsets.remove(queue);
        self.drop_deleted_places();
    }

    /// What is in the log of light queues that were deleted after it is in them no longer.
    pub fn drop_deleted_places(&mut self) {
        let deleted = &self.deleted;
        for record in &mut self.log {
            let at = record.at;
            let is_there = |(queue, _): &(Queue, u64)| deleted.get(&queue.0).is_none_or(|end| at >= *end);
            record.light.retain(is_there);
        }
    }

    /// The process was killed and nothing else: all that it wrote is there.
    pub fn keep_what_is_written(&mut self) {
        self.flushed = self.log_end;
        self.orders.keep_what_is_written();
        self.lites.keep_what_is_written();
    }

    /// The record at a place.
    pub fn at(&self, at: u64) -> Option<&Logged> {
        let index = self.log.binary_search_by_key(&at, |record| record.at).ok()?;
        Some(&self.log[index])
    }

    /// Whether the record at a place is there, or was until it expired.
    pub fn is_there(&self, at: u64) -> bool {
        self.at(at).is_some_and(|record| !record.is_repair())
    }

    /// Takes in a record that was just appended.
    pub fn append(&mut self, record: Logged) -> Result<(), Violation> {
        for (queue, offset) in record.places() {
            let next = self.next_offsets.entry(queue.clone()).or_default();
            ensure!(
                offset == *next,
                "the record at {} has offset {offset} in {queue:?}, the next is {next}",
                record.at
            );
            *next += 1;
        }
        let last_ms = self.log.last().map_or(i64::MIN, |last| last.store_ms);
        ensure!(record.store_ms >= last_ms, "store times fall at {}", record.at);
        self.log_end = record.end();
        self.log.push(record);
        Ok(())
    }

    /// The records of a queue that are in the log and dispatched.
    pub fn visible<'a>(&'a self, queue: &'a Queue) -> impl Iterator<Item = &'a Logged> + 'a {
        self.indexed()
            .filter(move |record| record.offset_in(queue).is_some())
    }

    /// All records that are in the log, dispatched and not of a deleted topic.
    pub fn indexed(&self) -> impl Iterator<Item = &Logged> {
        let (log_min, dispatched) = (self.log_min, self.dispatched);
        self.log
            .iter()
            .filter(move |record| record.at >= log_min && record.at < dispatched && !self.is_deleted(record))
    }

    /// The record in whose dispatch the disk may have failed: it may be in its queues, and not in the index yet. Who reads a queue
    /// may see it.
    pub fn half_dispatched(&self) -> Option<&Logged> {
        let next = self.log.partition_point(|record| record.at < self.dispatched);
        let record = self.log.get(next).filter(|_| self.may_be_half_dispatched)?;
        (!self.is_deleted(record)).then_some(record)
    }

    /// The half messages that are in the log, copies too.
    pub fn halves(&self) -> impl Iterator<Item = &Logged> {
        let log_min = self.log_min;
        self.log
            .iter()
            .filter(move |record| record.at >= log_min && record.queue.0 == TRANS_HALF_TOPIC)
    }

    /// The messages that consumers see, or saw, of the transaction with this key.
    pub fn visible_copies<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Logged> + 'a {
        self.log.iter().filter(move |record| {
            let topic = &record.queue.0;
            record.property(name::UNIQ_KEY) == key
                && !is_system_topic(topic)
                && !topic.starts_with(RETRY_TOPIC_PREFIX)
                && !record.is_repair()
        })
    }

    /// The end of a queue as consumers see it.
    pub fn visible_end(&self, queue: &Queue) -> u64 {
        let hidden = self.log.iter().filter(|record| {
            record.at >= self.dispatched && record.offset_in(queue).is_some() && !self.is_deleted(record)
        });
        self.next_offsets.get(queue).copied().unwrap_or(0) - hidden.count() as u64
    }
}
