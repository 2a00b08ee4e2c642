//! Reviver: the service that reads the revive topic and puts what was not acknowledged into the pop retry topics.
//!
//! One thread for all revive queues. A queue's progress is the offset of the last decided checkpoint, committed as that of
//! the group `CID_RMQ_SYS_REVIVE_GROUP`, and it passes a checkpoint only when its copies are in the log: a crash decides
//! twice rather than never. What was decided just before a crash is known from the log, so that it is not put twice:
//! [`BeforeCrash`].
//!
//! A copy that cannot be put holds its queue back until it can; nothing is skipped but what is not readable, or was popped
//! from a topic or by a group that has been deleted since the start. Reference: `PopReviveService`, which has a thread a queue and writes such checkpoints again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::message::properties::{MessageProperties, name};
use common::names::{self, PopRetryNaming, REVIVE_GROUP};
use common::service::{Next, Service};
use remoting::body::pop::PopCheckPoint;
use store::record::{self, Record};
use store::{Boundary, Message, PhysicalOffset, PutError, QueueEntry, QueueOffset};

use super::horizon::Horizon;
use super::revive::{Due, LATE_ACK_GRACE_MS, ReviveQueue};
use super::revive_log::ReviveRecord;
use crate::broker::Broker;
use crate::delay::copy::without_crc;
use crate::processor::refusals::put_status;
use crate::registry::order_info::GroupQueue;
use crate::registry::persist::{PersistError, Table as _};
use crate::registry::topics::perm;

/// Records of one queue read at a time.
const BATCH: usize = 128;
/// Batches of one queue in one tick, so that no queue starves another.
const MAX_BATCHES: usize = 64;
/// When to look again while something is due that is not certain yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Queues of a pop retry topic without `useSeparateRetryQueue`. Reference: `PopAckConstants.retryQueueNum`.
const RETRY_QUEUES: i32 = 1;
/// How far back before a crash records are looked at: longer than any file of progress may be old.
const LOOK_BACK_MS: i64 = 60_000;
/// Records looked at there, at most.
const LOOK_BACK_RECORDS: usize = 50_000;

/// The service.
pub struct Reviver {
    broker: Arc<Broker>,
    horizon: Horizon,
    queues: Vec<Reading>,
    before_crash: BeforeCrash,
}

/// One revive queue and how far it is read.
struct Reading {
    queue_id: i32,
    state: ReviveQueue,
    /// The offset to read next.
    next: i64,
    /// Copies of the next checkpoint's messages that are in the log already, by the offsets of the messages: the last
    /// attempt ended behind them.
    put_back: HashSet<i64>,
    /// A failed put was logged; the next success is too.
    held_back: bool,
}

/// Why a message is not put back now.
#[derive(Debug, thiserror::Error)]
enum HeldBack {
    #[error(transparent)]
    Put(#[from] PutError),
    /// After a crash nobody would find its messages.
    #[error("its retry topic is not on disk: {0}")]
    Topic(#[from] PersistError),
}

impl Reviver {
    /// Goes on where the committed offsets say.
    pub fn new(broker: Arc<Broker>) -> Self {
        let queues = (0..broker.revive_log.queues())
            .map(|queue_id| Reading::start(&broker, queue_id))
            .collect();
        Reviver {
            before_crash: BeforeCrash::new(broker.clock.wall_ms()),
            horizon: Horizon::new(),
            broker,
            queues,
        }
    }
}

impl Service for Reviver {
    const NAME: &'static str = "pop-revive";

    fn interval(&self) -> Duration {
        let ms = self.broker.config.get().revive_interval;
        let interval = Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1));
        let overdue_ms = self.broker.clock.wall_ms() - LATE_ACK_GRACE_MS;
        let waits = |queue: &Reading| {
            queue
                .state
                .first_revive_time_ms()
                .is_some_and(|ms| ms < overdue_ms)
        };
        if self.queues.iter().any(waits) {
            return interval.min(LOOK_AGAIN);
        }
        interval
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        let Some(timers) = self.broker.timers.as_deref().filter(|_| !stopping) else {
            return Ok(Next::Idle);
        };
        // First the horizon, then the records: what is certain now is read now.
        let horizon_ms = self.horizon.advance(&self.broker.store, timers, now.wall_ms);
        for queue in &mut self.queues {
            queue.read(&self.broker);
            queue.decide(&self.broker, &mut self.before_crash, horizon_ms);
            let undecided = queue.state.first_revive_offset().unwrap_or(queue.next);
            self.broker.revive_log.decided_before(queue.queue_id, undecided);
        }
        Ok(Next::Idle)
    }
}

impl Reading {
    fn start(broker: &Broker, queue_id: i32) -> Self {
        let topic = broker.revive_log.topic();
        let committed = broker.consumer_offsets.query(REVIVE_GROUP, topic, queue_id);
        let mut state = ReviveQueue::new();
        let next = committed.map_or(0, |decided| decided.saturating_add(1)).max(0);
        // An ack of a checkpoint that the timer delivers again may stand before the progress.
        for entry in recent_entries(broker, topic, queue_id, Some(next)) {
            let record = read_record(broker, &entry).as_deref().and_then(parse);
            if let Some(record) = record.filter(|record| broker.revive_log.counts(record)) {
                state.accept_ack(&record);
            }
        }
        Reading {
            queue_id,
            state,
            next,
            put_back: HashSet::new(),
            held_back: false,
        }
    }

    /// Takes in what is new.
    fn read(&mut self, broker: &Broker) {
        let topic = broker.revive_log.topic();
        for _ in 0..MAX_BATCHES {
            if self.state.is_full() {
                return;
            }
            let from = QueueOffset(u64::try_from(self.next).unwrap_or(0));
            let entries = broker.store.queue_entries(topic, self.queue_id, from, BATCH);
            if entries.is_empty() {
                return self.correct_offset(broker);
            }
            for entry in &entries {
                self.accept(broker, entry);
            }
        }
    }

    fn accept(&mut self, broker: &Broker, entry: &QueueEntry) {
        self.next = entry.queue_offset.to_wire() + 1;
        let Some(bytes) = read_record(broker, entry) else {
            return;
        };
        let Ok(record) = record::decode(&bytes) else {
            return;
        };
        if let Some(parsed) = ReviveRecord::parse(&record) {
            if let Some(events) = broker.stats.events() {
                events.revive_out.add(&(parsed.for_metrics(), self.queue_id), 1);
            }
            if broker.revive_log.counts(&parsed) {
                self.state.accept(parsed, entry.queue_offset.to_wire());
            }
        }
    }

    /// Brings the offset back into the queue: records were deleted below it, or the queue's end was lost in a crash.
    fn correct_offset(&mut self, broker: &Broker) {
        let Some(bounds) = broker
            .store
            .queue_bounds(broker.revive_log.topic(), self.queue_id)
        else {
            return;
        };
        let (min, max) = (bounds.min.to_wire(), bounds.max.to_wire());
        if self.next > max || self.next < min {
            let corrected = self.next.clamp(min, max.max(min));
            tracing::error!(
                queue_id = self.queue_id,
                offset = self.next,
                corrected,
                "progress of the pop revive is outside its queue: going on at the nearest record"
            );
            self.next = corrected;
        }
    }

    /// Decides every checkpoint whose time is up.
    fn decide(&mut self, broker: &Broker, before_crash: &mut BeforeCrash, horizon_ms: i64) {
        while let Some(due) = self.state.next_due(horizon_ms) {
            if let Err(error) = bring_back(broker, before_crash, &due, &mut self.put_back) {
                if !std::mem::replace(&mut self.held_back, true) {
                    tracing::error!(
                        queue_id = self.queue_id,
                        revive_offset = due.revive_offset,
                        "popped message not put back, its revive queue waits until it can be: {error}"
                    );
                }
                return;
            }
            self.held_back = false;
            self.put_back.clear();
            self.state.decided(due.revive_offset);
            count_over(broker, &due);
            broker.consumer_offsets.commit(
                "pop-revive",
                REVIVE_GROUP,
                broker.revive_log.topic(),
                self.queue_id,
                due.revive_offset,
            );
        }
    }
}

/// What was not acknowledged is under way no more: it comes back, or is gone.
fn count_over(broker: &Broker, due: &Due) {
    let Some(events) = broker.stats.events() else {
        return;
    };
    let checkpoint = &due.checkpoint;
    let queue = GroupQueue {
        topic: &checkpoint.topic,
        group: &checkpoint.cid,
        queue_id: checkpoint.queue_id,
    };
    events
        .in_flight
        .end(queue, checkpoint.pop_time_ms, due.unacked.len() as u64);
}

/// Puts a copy of each message that was not acknowledged into the retry topic, and notes in `put_back` which have one.
fn bring_back(
    broker: &Broker,
    before_crash: &mut BeforeCrash,
    due: &Due,
    put_back: &mut HashSet<i64>,
) -> Result<(), HeldBack> {
    let checkpoint = &due.checkpoint;
    if due.unacked.is_empty() || is_unwanted(broker, before_crash, checkpoint) {
        return Ok(());
    }
    for &offset in &due.unacked {
        if put_back.contains(&offset) {
            continue;
        }
        let Some(bytes) = message_at(broker, checkpoint, offset) else {
            tracing::warn!(
                topic = checkpoint.topic,
                queue_id = checkpoint.queue_id,
                offset,
                "popped message is gone from the log and does not come back"
            );
            continue;
        };
        match record::decode(&bytes) {
            Ok(record) => put_copy(broker, before_crash, checkpoint, &record)?,
            Err(error) => tracing::error!(
                topic = checkpoint.topic,
                queue_id = checkpoint.queue_id,
                offset,
                "popped message does not come back: {error}"
            ),
        }
        put_back.insert(offset);
    }
    Ok(())
}

/// Whether the topic or the group has been deleted. Of a pop before the start, one that is missing may have been made on
/// first use and forgotten in a crash: its messages come back, at worst into a topic that nobody reads.
fn is_unwanted(broker: &Broker, before_crash: &BeforeCrash, checkpoint: &PopCheckPoint) -> bool {
    let topic = names::popped_topic(&checkpoint.topic, &checkpoint.cid);
    let skips_group = broker.config.get().pop_revive_skip_if_group_absent;
    let is_missing =
        !broker.topics.contains(topic) || skips_group && broker.groups.get(&checkpoint.cid).is_none();
    is_missing && checkpoint.pop_time_ms >= before_crash.started_ms
}

fn put_copy(
    broker: &Broker,
    before_crash: &mut BeforeCrash,
    checkpoint: &PopCheckPoint,
    record: &Record<'_>,
) -> Result<(), HeldBack> {
    let is_retry = PopRetryNaming::of(&checkpoint.topic).is_some();
    let retry_topic = if is_retry {
        checkpoint.topic.clone()
    } else {
        let naming = PopRetryNaming::configured(broker.config.get().enable_retry_topic_v2);
        naming.topic(&checkpoint.topic, &checkpoint.cid)
    };
    let reconsume_times = record
        .reconsume_times
        .saturating_add(i32::from(!checkpoint.suspend));
    let mut properties = MessageProperties::parse(without_crc(record.properties));
    if record.reconsume_times == 0 || properties.get(name::FIRST_POP_TIME).is_none() {
        properties.set(name::FIRST_POP_TIME, checkpoint.pop_time_ms.to_string());
    }
    properties.set(name::ORIGIN_GROUP, checkpoint.cid.as_str());
    let copy = CopyOf {
        original_end: PhysicalOffset(record.physical_offset.0 + u64::from(record.size_bytes)),
        looks: Looks::of(&properties, reconsume_times),
        // A suspended message of the retry topic looks like its copy.
        looks_like_original: checkpoint.suspend && is_retry,
    };
    if before_crash.has(broker, checkpoint, &retry_topic, &copy) {
        return Ok(());
    }
    let queue_id = prepare_retry_topic(broker, &retry_topic, checkpoint, record.queue_id)?;
    broker.pop_progress.mark_unflushed();
    let put = broker.store.put(&Message {
        topic: &retry_topic,
        queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: broker.identity.store_host,
        store_host: broker.identity.store_host,
        reconsume_times,
        prepared_transaction_offset: copy.original_end.0,
        properties: &properties.encode(),
        body: record.body,
    });
    if let Some(events) = broker.stats.events() {
        let of = (checkpoint.cid.clone(), checkpoint.topic.clone());
        let status = put.as_ref().map_or_else(put_status, |_| "PUT_OK");
        events.revive_retries.add(&(of, status), 1);
    }
    broker
        .stats
        .record_put(&retry_topic, 1, u64::from(put?.size_bytes));
    Ok(())
}

/// Makes the retry topic, which is on the disk before anything is in it; returns which of its queues a message of
/// `queue_id` comes back through: with `useSeparateRetryQueue` that of the same number, else the only one.
///
/// Reference: `addRetryTopicIfNotExist`, `getRetryQueueId`.
fn prepare_retry_topic(
    broker: &Broker,
    retry_topic: &str,
    checkpoint: &PopCheckPoint,
    queue_id: i32,
) -> Result<i32, PersistError> {
    let group = &checkpoint.cid;
    let is_separate = broker.config.get().use_separate_retry_queue;
    let of_topic = || {
        let topic = broker.topics.get(names::popped_topic(&checkpoint.topic, group))?;
        Some(topic.write_queue_nums.max(RETRY_QUEUES))
    };
    let queues = is_separate.then(of_topic).flatten();
    let mut config = broker.topics.create_on_send_back(
        retry_topic,
        queues.unwrap_or(RETRY_QUEUES),
        perm::READ | perm::WRITE,
        false,
        0,
    );
    if let Some(queues) = queues.filter(|queues| *queues != config.write_queue_nums) {
        let changed = broker.topics.update(retry_topic, |config| {
            config.read_queue_nums = config.read_queue_nums.max(queues);
            config.write_queue_nums = queues;
        });
        config = changed.unwrap_or(config);
    }
    let queue_id = match is_separate {
        true if (0..config.write_queue_nums).contains(&queue_id) => queue_id,
        _ => 0,
    };
    if broker
        .consumer_offsets
        .query(group, retry_topic, queue_id)
        .is_none()
    {
        broker
            .consumer_offsets
            .commit("pop-revive", group, retry_topic, queue_id, 0);
    }
    broker.topics.secure()?;
    Ok(queue_id)
}

fn message_at(broker: &Broker, checkpoint: &PopCheckPoint, offset: i64) -> Option<Vec<u8>> {
    let offset = QueueOffset(u64::try_from(offset).ok()?);
    let entries = broker
        .store
        .queue_entries(&checkpoint.topic, checkpoint.queue_id, offset, 1);
    let entry = entries.first().filter(|entry| entry.queue_offset <= offset)?;
    broker.store.read_at(entry.physical_offset)
}

/// Copies that the last run put shortly before it ended, perhaps without writing down that it had.
struct BeforeCrash {
    started_ms: i64,
    by_retry_topic: HashMap<String, Copies>,
}

/// The copies in one retry topic.
///
/// Ours say where in the log their original ends, in a field that nobody reads of messages outside of transactions and that is 0
/// in the reference's copies: `prepared_transaction_offset`. Those are told by their looks.
#[derive(Default)]
struct Copies {
    original_ends: HashSet<PhysicalOffset>,
    of_others: HashSet<Looks>,
}

/// A copy that is to be put.
struct CopyOf {
    original_end: PhysicalOffset,
    looks: Option<Looks>,
    /// Its original is in the retry topic and would be taken for it.
    looks_like_original: bool,
}

/// What copies are told apart by that do not say whose they are: two sends of one unique key look alike when they are
/// popped in the same millisecond.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Looks {
    unique_key: String,
    reconsume_times: i32,
    first_popped: String,
}

impl Looks {
    fn of(properties: &MessageProperties, reconsume_times: i32) -> Option<Self> {
        Some(Looks {
            unique_key: properties.get(name::UNIQ_KEY)?.to_owned(),
            reconsume_times,
            first_popped: properties.get(name::FIRST_POP_TIME)?.to_owned(),
        })
    }
}

impl BeforeCrash {
    fn new(started_ms: i64) -> Self {
        BeforeCrash {
            started_ms,
            by_retry_topic: HashMap::new(),
        }
    }

    /// Whether there was such a copy. Only asked for messages that were due before the start: only those can be.
    fn has(&mut self, broker: &Broker, checkpoint: &PopCheckPoint, retry_topic: &str, copy: &CopyOf) -> bool {
        if checkpoint.revive_time_ms() > self.started_ms {
            return false;
        }
        let copies = self
            .by_retry_topic
            .entry(retry_topic.to_owned())
            .or_insert_with(|| Copies::in_topic(broker, retry_topic));
        let is_of_others = |looks: &Looks| !copy.looks_like_original && copies.of_others.contains(looks);
        copies.original_ends.contains(&copy.original_end) || copy.looks.as_ref().is_some_and(is_of_others)
    }
}

impl Copies {
    fn in_topic(broker: &Broker, retry_topic: &str) -> Self {
        let mut copies = Copies::default();
        let queues = broker
            .topics
            .get(retry_topic)
            .map_or(RETRY_QUEUES, |config| config.read_queue_nums.max(RETRY_QUEUES));
        for queue_id in 0..queues {
            for entry in recent_entries(broker, retry_topic, queue_id, None) {
                if let Some(bytes) = read_record(broker, &entry)
                    && let Ok(record) = record::decode(&bytes)
                {
                    copies.add(&record);
                }
            }
        }
        copies
    }

    fn add(&mut self, record: &Record<'_>) {
        if record.prepared_transaction_offset > 0 {
            self.original_ends
                .insert(PhysicalOffset(record.prepared_transaction_offset));
        } else {
            let properties = MessageProperties::parse(record.properties);
            self.of_others
                .extend(Looks::of(&properties, record.reconsume_times));
        }
    }
}

/// The entries of a queue stored in the last minute of its life, below `end` if given.
pub(super) fn recent_entries(
    broker: &Broker,
    topic: &str,
    queue_id: i32,
    end: Option<i64>,
) -> Vec<QueueEntry> {
    let end = end.unwrap_or_else(|| broker.store.max_offset(topic, queue_id));
    let Ok(last) = u64::try_from(end - 1) else {
        return Vec::new();
    };
    let Some(last_ms) = broker.store.store_time(topic, queue_id, QueueOffset(last)) else {
        return Vec::new();
    };
    let first = broker
        .store
        .offset_by_time(topic, queue_id, last_ms - LOOK_BACK_MS, Boundary::Lower);
    let first = u64::try_from(first).unwrap_or(0);
    let count = usize::try_from((last + 1).saturating_sub(first)).unwrap_or(0);
    let skipped = count.saturating_sub(LOOK_BACK_RECORDS);
    broker.store.queue_entries(
        topic,
        queue_id,
        QueueOffset(first + skipped as u64),
        count - skipped,
    )
}

fn read_record(broker: &Broker, entry: &QueueEntry) -> Option<Vec<u8>> {
    broker.store.read_at(entry.physical_offset)
}

fn parse(bytes: &[u8]) -> Option<ReviveRecord> {
    ReviveRecord::parse(&record::decode(bytes).ok()?)
}
