//! PopProgress: how far each group has popped, safe across crashes.
//!
//! A pop commits the group's offset when its checkpoint is in the log; the offsets are written to their file every few
//! seconds. Two crashes would hurt:
//!
//! - The file is ahead of the log (a power loss): a popped message would have no checkpoint and never come back. So the log
//!   is flushed before the file is written, if something was popped since.
//! - The file is behind the log (a kill): popped messages would be popped again, acknowledged ones too. So at the start
//!   the checkpoints since the file's last writing are read from the log, and offsets go on behind them. A power failure
//!   may have taken a checkpoint and left later ones; then the offset stops where one is missing.
//!
//! The reference does neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::message::properties::name;
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use store::record::{self, Record};
use store::{Boundary, PhysicalOffset, QueueOffset, Store};

use super::revive_log::{ReviveLog, ReviveRecord};
use crate::registry::ConsumerOffsets;
use crate::registry::persist::PersistError;

/// A pop commits at most so long after it read the clock.
const MARGIN_MS: i64 = 2_000;
/// An offset that changed is written within so long.
const LOOK_BACK_MS: i64 = 60_000;
/// Records read in one go.
const BATCH: usize = 256;

/// What pops and revive must know of each other's safety.
#[derive(Debug, Default)]
pub struct PopProgress {
    /// The log holds records that the next writing of the offsets relies on.
    unflushed: AtomicBool,
}

/// Queue of a group: group, topic, queue id.
type GroupQueue = (String, String, i32);

impl PopProgress {
    /// Nothing popped yet. From now on the offsets' file waits for the log.
    pub fn new(store: &Arc<Store>, offsets: &ConsumerOffsets) -> Arc<Self> {
        let progress = Arc::new(Self::default());
        let (log, own) = (Arc::clone(store), Arc::clone(&progress));
        offsets.flush_log_first(move || {
            if own.unflushed.swap(false, Ordering::AcqRel) && !is_planted(PlantedBug::PopProgressAhead) {
                log.flush().inspect_err(|_| own.mark_unflushed())?;
            }
            Ok(())
        });
        progress
    }

    /// A checkpoint or a copy is about to be put, or messages are passed over, and an offset is committed that relies on it.
    pub fn mark_unflushed(&self) {
        self.unflushed.store(true, Ordering::Release);
    }
}

/// What one checkpoint says was popped.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    end: i64,
    /// Where the record is.
    at: PhysicalOffset,
}

/// Moves the offsets of groups behind what the checkpoints since the last writing say was popped, since ever if a crash came
/// before the first. What the Java broker wrote is taken as it is.
///
/// # Errors
/// When the offsets cannot be written after the log was found damaged.
pub fn recover(
    store: &Store,
    log: &ReviveLog,
    offsets: &ConsumerOffsets,
    now_ms: i64,
) -> Result<(), PersistError> {
    let Some(written_ms) = offsets.written_ms() else {
        return Ok(());
    };
    let damaged_from = store.damage().first().map(|damage| damage.begin);
    let since_ms = written_ms.saturating_sub(MARGIN_MS);
    let mut popped = BTreeMap::new();
    let timer = (names::TIMER_TOPIC, 0);
    let revive = (0..log.queues()).map(|queue_id| (log.topic(), queue_id));
    for (topic, queue_id) in std::iter::once(timer).chain(revive) {
        read_checkpoints(store, log, topic, queue_id, since_ms, &mut popped);
    }
    for ((group, topic, queue_id), spans) in popped {
        // A reset by an operator that no pop has taken yet is to be obeyed.
        let is_reset = offsets.has_reset(&group, &topic, queue_id);
        let committed = offsets.query(&group, &topic, queue_id);
        let next = popped_up_to(committed.unwrap_or(0), spans, damaged_from);
        if !is_reset && committed.is_none_or(|committed| committed < next) {
            tracing::info!(
                group,
                topic,
                queue_id,
                ?committed,
                next,
                "popped before the crash"
            );
            offsets.commit("recovery", &group, &topic, queue_id, next);
        }
    }
    if damaged_from.is_some() {
        // The next start finds no damage, and must not look at these checkpoints again.
        offsets.rewrite_as_of(now_ms + MARGIN_MS)?;
    }
    Ok(())
}

/// How far a group has popped. Checkpoints that the disk had for certain speak for everything before them, also for what
/// was passed over. Behind damage one may be missing: its messages are nobody's, and handed out again with all that follows,
/// of which no ack was promised yet.
fn popped_up_to(committed: i64, mut spans: Vec<Span>, damaged_from: Option<PhysicalOffset>) -> i64 {
    let is_certain = |span: &Span| damaged_from.is_none_or(|damaged_from| span.at < damaged_from);
    let certain = spans.iter().filter(|span| is_certain(span)).map(|span| span.end);
    let certain = certain.max().unwrap_or(committed).max(committed);
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    spans.iter().fold(certain, |next, span| match span.start <= next {
        true => next.max(span.end),
        false => next,
    })
}

fn read_checkpoints(
    store: &Store,
    log: &ReviveLog,
    topic: &str,
    queue_id: i32,
    since_ms: i64,
    popped: &mut BTreeMap<GroupQueue, Vec<Span>>,
) {
    let last = u64::try_from(store.max_offset(topic, queue_id) - 1).ok();
    let Some(last_ms) = last.and_then(|last| store.store_time(topic, queue_id, QueueOffset(last))) else {
        return;
    };
    // The file may not have been written for long because no offset had changed.
    let since_ms = since_ms.max(last_ms.saturating_sub(LOOK_BACK_MS));
    let mut next = store.offset_by_time(topic, queue_id, since_ms, Boundary::Lower);
    loop {
        let from = QueueOffset(u64::try_from(next).unwrap_or(0));
        let entries = store.queue_entries(topic, queue_id, from, BATCH);
        let Some(last) = entries.last() else {
            return;
        };
        next = last.queue_offset.to_wire() + 1;
        for entry in &entries {
            let bytes = store.read_at(entry.physical_offset);
            let Some(record) = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok()) else {
                continue;
            };
            if let Some((queue, span)) =
                popped_by(store, log, topic, &record).filter(|_| record.born_timestamp_ms >= since_ms)
            {
                popped.entry(queue).or_default().push(span);
            }
        }
    }
}

/// What a checkpoint says was popped. Nothing of a queue that has other messages at these offsets now: its topic was deleted
/// and made anew.
fn popped_by(store: &Store, log: &ReviveLog, topic: &str, record: &Record<'_>) -> Option<(GroupQueue, Span)> {
    let is_of_pops = topic == log.topic() || record.property(name::REAL_TOPIC) == Some(log.topic());
    if !is_of_pops || record.property(name::TAGS) != Some("ck") {
        return None;
    }
    let ReviveRecord::CheckPoint(checkpoint) = ReviveRecord::parse(record)? else {
        return None;
    };
    let last = match checkpoint.queue_offset_diff.as_deref() {
        Some([.., last]) => i64::from(*last),
        _ => i64::from(checkpoint.num) - 1,
    };
    let last = checkpoint.start_offset.checked_add(last)?;
    let place = QueueOffset(u64::try_from(last).ok()?);
    let stored_ms = store.store_time(&checkpoint.topic, checkpoint.queue_id, place)?;
    let span = Span {
        start: checkpoint.start_offset,
        end: last.checked_add(1)?,
        at: record.physical_offset,
    };
    let queue = (checkpoint.cid, checkpoint.topic, checkpoint.queue_id);
    (stored_ms <= checkpoint.pop_time_ms).then_some((queue, span))
}
