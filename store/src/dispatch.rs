//! The follower: reads the CommitLog and builds everything derived from it.
//!
//! ```text
//!   CommitLog ──> dispatch ──> ConsumeQueue      an entry in the message's queue
//!                         ├──> IndexFile         its keys
//!                         └──> ArrivalListener   it can be read now
//! ```
//!
//! One thread follows the log up to its end; with synchronous flush up to what is flushed, so that nobody sees a message
//! that a crash could take back. While somebody waits for messages every append wakes it; else it naps between them. Recovery uses the same path. A record that cannot be
//! dispatched, for want of disk space say, is tried again: the follower never skips one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use common::clock::Clock;
use common::message::delay_level::DelayLevels;
use common::message::properties::{self, name};
use common::message::{sys_flag, tags_code};
use common::names::{LMQ_PREFIX, RETRY_TOPIC_PREFIX, SCHEDULE_TOPIC, SYSTEM_TOPIC_PREFIX};
use common::planted_bug::{PlantedBug, is_planted};
use common::service::Next;

use crate::config::MessageStoreConfig;
use crate::consume_queue::{ConsumeQueue, NewEntry, Stopped};
use crate::consume_queues::{ConsumeQueues, NotedRecord};
use crate::deleted_topics::DeletedTopics;
use crate::disk::Disk;
use crate::get::QueueEntry;
use crate::index_file::{IndexFiles, IndexOnDisk, Keys};
use crate::mapped_file_queue::Files;
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::record::decode::{Record, decode};
use crate::record::format::{MAGIC_AT, MAGIC_BLANK, u32_at};
use crate::store::{OpenError, Store};

pub use crate::consume_queue::QueueKind;

/// How long the follower sleeps between messages that nobody waits for. The reference's looks for some every millisecond.
const NAP: Duration = Duration::from_micros(250);

/// Records dispatched in one tick, so that a stop need not wait for all of a long log.
const RECORDS_PER_TICK: usize = 1024;

/// Most missing messages that fillers are written for. A larger gap is a broken record, not lost ones.
pub(crate) const MAX_GAP: u64 = 1 << 20;

/// Queue offsets beyond this are nonsense: no queue lives long enough.
const MAX_QUEUE_OFFSET: u64 = 1 << 48;

/// A message became visible in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The message's number in its queue; of an inner batch, that of its last message.
    pub queue_offset: QueueOffset,
    /// What stands in its ConsumeQueue entry.
    pub tags_code: i64,
    /// The time it was stored.
    pub store_timestamp_ms: i64,
    /// Its encoded properties.
    pub properties: &'a str,
}

/// Whoever waits for messages. Called by the dispatch thread after the entry is visible: must be quick.
pub trait ArrivalListener: Send + Sync {
    /// A message can be read now.
    fn arrived(&self, arrival: &Arrival<'_>);

    /// Whether anybody waits for the next message. If not, it may be dispatched a fraction of a millisecond later.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// The listener that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoArrivals;

impl ArrivalListener for NoArrivals {
    fn arrived(&self, _arrival: &Arrival<'_>) {}
}

/// Says what kind of queue a topic has that has none yet: the topic attribute `queue.type`.
pub type QueueKindOf = Box<dyn Fn(&str) -> QueueKind + Send + Sync>;

/// Everything that is derived from the log, and the rules by which it is.
pub(crate) struct Derived {
    pub(crate) queues: ConsumeQueues,
    pub(crate) index: IndexFiles,
    pub(crate) deleted: DeletedTopics,
    /// The note that the queues were taken from, none of their files looked into.
    pub(crate) noted: Option<NotedRecord>,
    rules: Rules,
}

struct Rules {
    indexes_keys: bool,
    fans_out: bool,
    delay_levels: DelayLevels,
    kind_of_new: OnceLock<QueueKindOf>,
}

/// Which of the derived things a record is wanted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    pub(crate) queues: bool,
    pub(crate) index: bool,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dispatched {
    /// An index file became full and was flushed; its end time.
    pub(crate) full_index_ms: Option<i64>,
}

/// The properties that dispatch looks at, found in one pass.
#[derive(Default)]
struct Looked<'a> {
    keys: Keys<'a>,
    delay_level: Option<&'a str>,
    inner_count: Option<&'a str>,
    inner_base: Option<&'a str>,
    further_queues: Option<&'a str>,
    further_offsets: Option<&'a str>,
}

impl Derived {
    pub(crate) fn load(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        stopped: Stopped,
        crashed: Option<IndexOnDisk>,
        log_file: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let delay_levels =
            DelayLevels::parse(&config.message_delay_level).map_err(|_| OpenError::Unsupported {
                key: "messageDelayLevel",
                value: config.message_delay_level.clone(),
                remedy: "write levels such as `1s 5m 2h`",
            })?;
        let is_clean = stopped == Stopped::Cleanly;
        let (queues, noted) = match ConsumeQueues::load_noted(config, disk, is_clean, log_file)? {
            Some((queues, noted)) => (queues, Some(noted)),
            None => (ConsumeQueues::load(config, disk, stopped)?, None),
        };
        let deleted_path: PathBuf = config.root().join("deletedTopics");
        Ok(Self {
            queues,
            noted,
            index: IndexFiles::load(config, disk, clock, crashed)?,
            deleted: DeletedTopics::load(disk, deleted_path.clone())
                .map_err(OpenError::io("read", &deleted_path))?,
            rules: Rules {
                indexes_keys: config.message_index_enable && config.index_file_write_enable,
                fans_out: config.enable_lmq && config.enable_multi_dispatch,
                delay_levels,
                kind_of_new: OnceLock::new(),
            },
        })
    }

    /// Looks into all queues' files after all, instead of believing a note.
    pub(crate) fn look_into_queues(
        &mut self,
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        stopped: Stopped,
    ) -> Result<(), OpenError> {
        self.queues
            .context()
            .forget_note()
            .map_err(OpenError::io("remove the note of the queues in", &config.root()))?;
        self.queues = ConsumeQueues::load(config, disk, stopped)?;
        self.noted = None;
        Ok(())
    }

    pub(crate) fn indexes_keys(&self) -> bool {
        self.rules.indexes_keys
    }

    pub(crate) fn fans_out(&self) -> bool {
        self.rules.fans_out
    }

    /// The kind of a topic's queues: that of those it has, else what the broker says.
    pub(crate) fn kind_of(&self, topic: &str) -> QueueKind {
        let existing = self.queues.kind_of(topic);
        existing.unwrap_or_else(|| {
            self.rules
                .kind_of_new
                .get()
                .map_or(QueueKind::Simple, |kind_of| kind_of(topic))
        })
    }

    /// Builds what follows from one record. Does nothing a second time.
    pub(crate) fn dispatch(
        &self,
        record: &Record<'_>,
        targets: Targets,
        arrivals: &dyn ArrivalListener,
    ) -> io::Result<Dispatched> {
        let physical_offset = record.physical_offset;
        if self.deleted.covers(record.topic, physical_offset.0) {
            return Ok(Dispatched::default());
        }
        let looked = look(record.properties);
        if targets.queues && record.is_queued() {
            self.queue(record, &looked, arrivals)?;
        }
        let mut dispatched = Dispatched::default();
        if targets.index
            && self.rules.indexes_keys
            && record.transaction_type() != sys_flag::TRANSACTION_ROLLBACK
        {
            let time_ms = record.store_timestamp_ms;
            dispatched.full_index_ms =
                self.index
                    .add(record.topic, &looked.keys, physical_offset.0, time_ms)?;
        }
        Ok(dispatched)
    }

    fn queue(
        &self,
        record: &Record<'_>,
        looked: &Looked<'_>,
        arrivals: &dyn ArrivalListener,
    ) -> io::Result<()> {
        let queue = self.queues.find(record.topic, record.queue_id);
        let kind = queue
            .as_ref()
            .map_or_else(|| self.kind_for(record), |queue| queue.kind());
        let entry = self.entry_of(record, looked, kind);
        let queue = match queue {
            Some(queue) => queue,
            None if is_possible(record.topic, &entry) => {
                self.queues.find_or_create(record.topic, record.queue_id, kind)?
            }
            None => return Ok(()),
        };
        // Told at once and once: what follows may fail, and the record is then dispatched again.
        if self.append(&queue, record, entry)? {
            arrivals.arrived(&arrival(record, record.topic, record.queue_id, &entry));
        }
        if self.rules.fans_out {
            self.fan_out(record, looked, entry, arrivals)?;
        }
        Ok(())
    }

    fn entry_of(&self, record: &Record<'_>, looked: &Looked<'_>, kind: QueueKind) -> QueueEntry {
        let mut entry = QueueEntry {
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            size_bytes: record.size_bytes,
            tags_code: self.tags_code(record, looked),
            message_count: 1,
        };
        if kind == QueueKind::Batch {
            let base = looked.inner_base.and_then(|base| base.parse().ok());
            let count = looked.inner_count.and_then(|count| count.parse().ok());
            if let (Some(base), Some(count)) = (base, count.filter(|count: &u16| *count > 0)) {
                entry.queue_offset = QueueOffset(base);
                entry.message_count = count;
            }
        }
        entry
    }

    /// The kind of a queue that a record is the first of. An inner batch can be in a batch queue only.
    fn kind_for(&self, record: &Record<'_>) -> QueueKind {
        if record.is_inner_batch() && self.queues.kind_of(record.topic).is_none() {
            QueueKind::Batch
        } else {
            self.kind_of(record.topic)
        }
    }

    fn tags_code(&self, record: &Record<'_>, looked: &Looked<'_>) -> i64 {
        if record.topic == SCHEDULE_TOPIC
            && let Some(level) = looked.delay_level.and_then(|level| level.parse::<i32>().ok())
            && level > 0
        {
            return self
                .rules
                .delay_levels
                .deliver_at_ms(level, record.store_timestamp_ms);
        }
        tags_code::tags_code(looked.keys.tags)
    }

    /// Whether the queue lacked the entry, and has it now.
    fn append(&self, queue: &Arc<ConsumeQueue>, record: &Record<'_>, entry: QueueEntry) -> io::Result<bool> {
        if !is_possible(queue.topic(), &entry) || !is_new(queue, &entry) {
            return Ok(false);
        }
        let new = NewEntry {
            entry,
            store_timestamp_ms: record.store_timestamp_ms,
        };
        self.queues.append(queue, &new)?;
        Ok(true)
    }

    /// Light message queues: the same entry in further queues. Reference: `MultiDispatch`.
    fn fan_out(
        &self,
        record: &Record<'_>,
        looked: &Looked<'_>,
        entry: QueueEntry,
        arrivals: &dyn ArrivalListener,
    ) -> io::Result<()> {
        if !may_fan_out(record.topic) {
            return Ok(());
        }
        for (topic, offset) in further_queues(looked.further_queues, looked.further_offsets) {
            if is_planted(PlantedBug::DropLightEntry)
                && looked.further_queues.is_some_and(|all| all.ends_with(topic))
            {
                continue;
            }
            if self.deleted.covers(topic, record.physical_offset.0) {
                continue;
            }
            let queue_id = if topic.starts_with(LMQ_PREFIX) {
                0
            } else {
                record.queue_id
            };
            let entry = QueueEntry {
                queue_offset: QueueOffset(offset),
                ..entry
            };
            let queue = self.queues.find_or_create(topic, queue_id, QueueKind::Simple)?;
            if self.append(&queue, record, entry)? {
                arrivals.arrived(&arrival(record, topic, queue_id, &entry));
            }
        }
        Ok(())
    }
}

/// Whether a topic's messages may be in further queues: those that wait for their time, or for one group to try again, are
/// not. Reference: `MultiDispatchUtils.isNeedHandleMultiDispatch`.
pub(crate) fn may_fan_out(topic: &str) -> bool {
    let waits = topic == SCHEDULE_TOPIC || topic.starts_with(SYSTEM_TOPIC_PREFIX);
    !waits && !topic.starts_with(RETRY_TOPIC_PREFIX)
}

/// The names of INNER_MULTI_DISPATCH with the offsets of INNER_MULTI_QUEUE_OFFSET.
pub fn further_queues<'a>(
    names: Option<&'a str>,
    offsets: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, u64)> {
    let names = names.unwrap_or("").split(',');
    let offsets = offsets.unwrap_or("").split(',');
    names
        .zip(offsets)
        .filter_map(|(name, offset)| Some((name, offset.parse().ok()?)))
        .filter(|(name, _)| is_file_name(name) && name.len() <= MAX_FILE_NAME_BYTES)
}

/// Longest name of a directory, in bytes.
const MAX_FILE_NAME_BYTES: usize = 255;

/// Whether a topic can be the name of its directory.
pub(crate) fn is_file_name(topic: &str) -> bool {
    !topic.is_empty() && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}

/// Whether a record can have a queue at all: broken ones are reported.
fn is_possible(topic: &str, entry: &QueueEntry) -> bool {
    let is_possible = is_file_name(topic) && entry.queue_offset.0 <= MAX_QUEUE_OFFSET;
    if !is_possible {
        let (queue_offset, physical_offset) = (entry.queue_offset.0, entry.physical_offset.0);
        tracing::error!(
            topic,
            queue_offset,
            physical_offset,
            "impossible topic or queue offset: left out of its queue"
        );
    }
    is_possible
}

/// Whether a queue lacks the entry. One that comes too late, or after too large a gap, is reported and dropped.
fn is_new(queue: &ConsumeQueue, entry: &QueueEntry) -> bool {
    if queue.is_empty() {
        return true;
    }
    let (offset, end) = (entry.queue_offset.0, queue.max_offset());
    match queue.kind() {
        QueueKind::Batch => entry.physical_offset.0 >= queue.max_physical(),
        QueueKind::Simple if offset < end => false,
        QueueKind::Simple => {
            if offset - end > MAX_GAP {
                tracing::error!(
                    topic = &**queue.topic(),
                    queue_id = queue.queue_id(),
                    offset,
                    end,
                    "message is too far beyond the end of its queue: left out"
                );
            }
            offset - end <= MAX_GAP
        }
    }
}

fn arrival<'a>(record: &Record<'a>, topic: &'a str, queue_id: i32, entry: &QueueEntry) -> Arrival<'a> {
    Arrival {
        topic,
        queue_id,
        queue_offset: QueueOffset(entry.queue_offset.0 + u64::from(entry.message_count) - 1),
        tags_code: entry.tags_code,
        store_timestamp_ms: record.store_timestamp_ms,
        properties: record.properties,
    }
}

fn look(text: &str) -> Looked<'_> {
    let mut looked = Looked::default();
    for (property, value) in properties::iter(text) {
        let place = match property {
            name::TAGS => &mut looked.keys.tags,
            name::KEYS => &mut looked.keys.keys,
            name::UNIQ_KEY => &mut looked.keys.unique_key,
            name::DELAY => &mut looked.delay_level,
            name::INNER_NUM => &mut looked.inner_count,
            name::INNER_BASE => &mut looked.inner_base,
            name::INNER_MULTI_DISPATCH => &mut looked.further_queues,
            name::INNER_MULTI_QUEUE_OFFSET => &mut looked.further_offsets,
            _ => continue,
        };
        *place = Some(value);
    }
    looked
}

/// How far the follower is.
#[derive(Debug, Default)]
pub(crate) struct Dispatching {
    position: AtomicU64,
    /// The last record dispatched: physical offset and store time. Also keeps two threads from dispatching at once.
    last: Mutex<Option<(u64, i64)>>,
}

impl Dispatching {
    /// Begins where recovery ended; `last` is the last record it saw.
    pub(crate) fn new(position: u64, last: Option<(u64, i64)>) -> Self {
        Self {
            position: AtomicU64::new(position),
            last: Mutex::new(last),
        }
    }

    /// Everything below is dispatched.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Keeps the follower from dispatching while the guard lives.
    pub(crate) fn pause(&self) -> impl Drop {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn last(&self) -> Option<(u64, i64)> {
        self.so_far().0
    }

    /// The last record dispatched, and the position below which everything is.
    pub(crate) fn so_far(&self) -> (Option<(u64, i64)>, u64) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (*last, self.position())
    }
}

/// What stands at a place in the log.
pub(crate) enum Step<'a> {
    Record(Record<'a>),
    EndOfFile,
}

impl Store {
    /// One round of the follower.
    pub(crate) fn dispatch_tick(&self) -> anyhow::Result<Next> {
        // Asked before and after: whoever is answered by this tick will soon wait again.
        let is_awaited = self.options.arrivals.is_awaited();
        let mut last = self
            .dispatching
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.derived.queues.wait_for_log() {
            // A log that has failed says so elsewhere, and takes nothing more.
            let _ = self.flush();
            self.extend_queues_reach()?;
        }
        let mut position = self.dispatching.position();
        let before = position;
        // Before the files are taken: they reach at least as far.
        let limit = self.dispatch_limit();
        let files = self.log.files();
        let mut left = RECORDS_PER_TICK;
        while position < limit && left > 0 {
            left -= 1;
            position = match step(&files, position)? {
                Step::EndOfFile => self.log.next_file_start(position),
                Step::Record(record) => {
                    self.dispatch_record(&record)?;
                    *last = Some((position, record.store_timestamp_ms));
                    position + u64::from(record.size_bytes)
                }
            };
            self.dispatching.position.store(position, Ordering::Release);
        }
        Ok(if position < limit {
            Next::Again
        } else if position == before || is_awaited || self.options.arrivals.is_awaited() {
            Next::Idle
        } else {
            Next::Nap(NAP)
        })
    }

    fn dispatch_record(&self, record: &Record<'_>) -> io::Result<()> {
        let everywhere = Targets {
            queues: true,
            index: true,
        };
        let dispatched = self
            .derived
            .dispatch(record, everywhere, &*self.options.arrivals)?;
        if let Some(end_ms) = dispatched.full_index_ms {
            self.note_full_index(end_ms);
        }
        Ok(())
    }

    pub(crate) fn dispatch_interval(&self) -> Duration {
        // Behind without being woken: the last tick failed.
        let is_behind = self.dispatching.position() < self.dispatch_limit();
        Duration::from_secs(if is_behind { 1 } else { 60 })
    }

    /// How far the follower may go.
    fn dispatch_limit(&self) -> u64 {
        if self.dispatches_flushed_only() {
            self.log.flushed()
        } else {
            self.log.end()
        }
    }

    /// Whether messages become visible only after their flush.
    pub(crate) fn dispatches_flushed_only(&self) -> bool {
        let config = self.options.config.get();
        config.is_sync_flush() && !config.read_uncommitted
    }

    /// Lets the broker say what kind of queue a new topic gets. To be called once, before messages come; without it
    /// new topics get simple queues, unless their first record is an inner batch.
    pub fn use_queue_kinds(&self, kind_of: QueueKindOf) {
        if self.derived.rules.kind_of_new.set(kind_of).is_err() {
            tracing::warn!("the kinds of new queues are set already");
        }
    }
}

/// The record at a place in the log; an error if there is neither one nor the end of a file.
pub(crate) fn step(files: &Files, position: u64) -> io::Result<Step<'_>> {
    let bytes = files
        .bytes_from(position)
        .ok_or_else(|| io::Error::other(format!("the log has no byte at {position}")))?;
    if u32_at(bytes, MAGIC_AT) == Some(MAGIC_BLANK) {
        return Ok(Step::EndOfFile);
    }
    let record = decode(bytes).map_err(|error| io::Error::other(format!("record at {position}: {error}")))?;
    if record.physical_offset != PhysicalOffset(position) {
        let error = format!("record at {position} says it lies at {}", record.physical_offset);
        return Err(io::Error::other(error));
    }
    Ok(Step::Record(record))
}
