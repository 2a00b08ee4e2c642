//! Getting bytes to the disk, and telling those who wait for it.
//!
//! Waiters are parked by the offset they wait for; one sync of the log answers all below its end (group commit).
//! A waiter is called once: by the thread that flushed, by the deadline's thread, or at once by its own.
//! Those whom one flush answers soon wait again. Where they were many, the next flush rests a little while more and more of them do:
//! a flush costs as much as answering ten.
//!
//! Queues and index are flushed at leisure, as recovery rebuilds them. Once a minute everything is, and then the
//! checkpoint says from which record on recovery must look, and the queues are noted for it. It is done sooner when a start would take
//! long: without a note, which there is not after damage or when queues were deleted, it looks into all of them, and with one it reads
//! the log from there on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::Now;
use common::planted_bug::{PlantedBug, is_planted};
use common::service::Next;
use thiserror::Error;

use crate::checkpoint::CheckpointField;
use crate::offset::PhysicalOffset;
use crate::store::Store;

/// Why a message may not be on disk.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlushError {
    /// The flush took longer than the sender waits; it may yet succeed.
    #[error("the flush did not finish in time")]
    Timeout,
    /// Syncing failed: the message must not be taken for stored.
    #[error("the flush failed: {0}")]
    Failed(String),
    /// The store closed before the flush.
    #[error("the store is closed")]
    Closed,
}

/// Called once, by the flush thread or at once by the caller's.
pub type FlushWaiter = Box<dyn FnOnce(Result<(), FlushError>) + Send>;

/// Who waits for which offset, and when what was flushed last.
#[derive(Default)]
pub(crate) struct Flushing {
    waiters: Mutex<Waiters>,
    /// Monotonic time of the last flush of everything, in ms.
    log_thorough_at_ms: AtomicI64,
    queues_thorough_at_ms: AtomicI64,
    /// How long that took.
    queues_thorough_took_ms: AtomicI64,
}

/// The least time from one flush of everything to the next that is made for the sake of the next start.
const START_REST_MS: i64 = 10_000;
/// With very many queues, what this flush takes of the time is at most one part of so many.
const START_REST_PARTS: i64 = 10;
/// How much of the log a start may have to read again before that.
const READ_BY_A_START_BYTES: u64 = 1 << 30;

/// A flush that answered fewer is not waited for again: they have little to do but to wait for the disk.
const WORTH_A_REST: usize = 12;
/// How long a flush rests before it looks again who is there. The kernel makes it twice as long.
const REST: Duration = Duration::from_micros(50);
/// Most rests before a flush.
const MOST_RESTS: u32 = 4;

#[derive(Default)]
struct Waiters {
    /// By end offset; the number keeps those with the same end apart.
    parked: BTreeMap<(u64, u64), Parked>,
    next_number: u64,
    is_closed: bool,
    group: Group,
}

/// Those who will be answered together.
#[derive(Default)]
struct Group {
    /// How many the flush before answered.
    before: usize,
    /// How many there were when the flush looked last.
    seen: usize,
    rests: u32,
}

impl Group {
    /// Whether the flush should rest, as more than the `count` who are there will soon be.
    fn is_growing(&mut self, count: usize) -> bool {
        let is_growing = self.before >= WORTH_A_REST && (self.seen + 1..self.before).contains(&count);
        self.seen = count;
        self.rests += 1;
        is_growing && self.rests <= MOST_RESTS
    }
}

struct Parked {
    deadline_ms: i64,
    waiter: FlushWaiter,
}

impl Store {
    /// Calls `waiter` when everything below `end` is on disk, or with an error at `deadline_ms` (wall time).
    ///
    /// Wakes the flush: one sync answers all that wait.
    pub fn on_flushed(&self, end: PhysicalOffset, deadline_ms: i64, waiter: FlushWaiter) {
        let outcome = {
            let mut waiters = self.flushing.lock();
            // Under the lock: a flush that ends later looks at the parked ones after it.
            if self.log.flushed() >= end.0 || is_planted(PlantedBug::AcknowledgeEarly) {
                Ok(())
            } else if let Some(failure) = self.log.failure() {
                Err(FlushError::Failed(failure.to_owned()))
            } else if waiters.is_closed {
                Err(FlushError::Closed)
            } else {
                let number = waiters.next_number;
                waiters.next_number += 1;
                let is_first = waiters.parked.is_empty();
                waiters
                    .parked
                    .insert((end.0, number), Parked { deadline_ms, waiter });
                drop(waiters);
                self.wakers.flush.wake();
                if is_first {
                    self.wakers.flush_deadline.wake();
                }
                return;
            }
        };
        waiter(outcome);
    }

    /// One round of the CommitLog's flush. Reference: `FlushRealTimeService`, `GroupCommitService`.
    pub(crate) fn flush_tick(&self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if !stopping && self.is_group_growing() {
            return Ok(Next::Nap(REST));
        }
        if stopping || self.is_flush_due(now) {
            self.flush_log(now)?;
        }
        Ok(Next::Idle)
    }

    fn is_group_growing(&self) -> bool {
        let mut waiters = self.flushing.lock();
        let count = waiters.parked.len();
        count > 0 && waiters.group.is_growing(count)
    }

    pub(crate) fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.options.config.get().flush_interval_commit_log.max(1))
    }

    fn is_flush_due(&self, now: Now) -> bool {
        let config = self.options.config.get();
        let dirty_bytes = self.log.end().saturating_sub(self.log.flushed());
        let thorough_at_ms = self.flushing.log_thorough_at_ms.load(Ordering::Relaxed);
        dirty_bytes > 0
            && (config.is_sync_flush()
                || !self.flushing.lock().parked.is_empty()
                || dirty_bytes >= config.flush_commit_log_least_pages.saturating_mul(4096)
                || is_over(now, thorough_at_ms, config.flush_commit_log_thorough_interval))
    }

    /// Flushes the whole log and answers those who wait for it.
    pub(crate) fn flush_log(&self, now: Now) -> anyhow::Result<()> {
        let result = self.log.flush();
        self.flushing
            .log_thorough_at_ms
            .store(millis(now), Ordering::Relaxed);
        match result {
            Ok(store_timestamp_ms) => {
                self.checkpoint.set(
                    CheckpointField::PhysicMsgTimestamp,
                    store_timestamp_ms.cast_unsigned(),
                );
                let before = self.answer(|(end, _), _| *end <= self.log.flushed(), || Ok(()));
                self.flushing.lock().group = Group {
                    before,
                    ..Group::default()
                };
                if self.dispatches_flushed_only() {
                    self.wakers.dispatch.wake();
                }
                Ok(())
            }
            Err(failure) => {
                self.answer(|_, _| true, || Err(FlushError::Failed(failure.clone())));
                Err(anyhow::anyhow!("flush of the commit log: {failure}"))
            }
        }
    }

    /// Gets everything appended so far to the disk, on this thread.
    ///
    /// # Errors
    /// When syncing fails; then the log takes nothing more.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.flush_log(self.options.clock.now())
    }

    /// One round of looking for waiters whose time is over. On a thread of its own: the flush may be the one that hangs.
    pub(crate) fn flush_deadline_tick(&self, now: Now) -> Next {
        self.answer(
            |_, parked| parked.deadline_ms <= now.wall_ms,
            || Err(FlushError::Timeout),
        );
        Next::Idle
    }

    pub(crate) fn flush_deadline_interval(&self) -> Duration {
        if self.flushing.lock().parked.is_empty() {
            Duration::from_secs(3600)
        } else {
            Duration::from_millis(100)
        }
    }

    /// One round of the flush of queues, index and checkpoint. Reference: `FlushConsumeQueueService`.
    pub(crate) fn flush_queues_tick(&self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        let config = self.options.config.get();
        let thorough = stopping || self.is_thorough_due(now);
        if thorough {
            self.flushing
                .queues_thorough_at_ms
                .store(millis(now), Ordering::Relaxed);
            self.flush_derived()?;
        } else {
            self.extend_queues_reach()?;
            self.derived
                .queues
                .flush_pages(config.flush_consume_queue_least_pages)?;
        }
        self.checkpoint.persist()?;
        if thorough {
            self.note_queues()?;
            let took_ms = millis(self.options.clock.now()) - millis(now);
            self.flushing
                .queues_thorough_took_ms
                .store(took_ms, Ordering::Relaxed);
        }
        Ok(Next::Idle)
    }

    fn is_thorough_due(&self, now: Now) -> bool {
        let interval_ms = self.options.config.get().flush_consume_queue_thorough_interval;
        let at_ms = self.flushing.queues_thorough_at_ms.load(Ordering::Relaxed);
        let took_ms = self.flushing.queues_thorough_took_ms.load(Ordering::Relaxed);
        let rest_ms = match at_ms {
            // Nothing was flushed since the start.
            0 => 0,
            _ => START_REST_MS.max(took_ms.saturating_mul(START_REST_PARTS)),
        };
        is_over(now, at_ms, interval_ms) || (millis(now) - at_ms >= rest_ms && self.would_start_slowly())
    }

    fn would_start_slowly(&self) -> bool {
        let noted_from = self.derived.queues.noted_from();
        let built_from = noted_from.filter(|from| *from >= self.log.min_offset());
        built_from.is_none_or(|from| self.log.end().saturating_sub(from) > READ_BY_A_START_BYTES)
    }

    pub(crate) fn flush_queues_interval(&self) -> Duration {
        Duration::from_millis(self.options.config.get().flush_interval_consume_queue.max(1))
    }

    /// Flushes everything that dispatch has built, and says so in the checkpoint. Of a log that has failed the queues' files get
    /// no more entries: the checkpoint says what it said before.
    pub(crate) fn flush_derived(&self) -> std::io::Result<()> {
        // Taken before the flush: what is dispatched meanwhile may not be covered by it.
        let (last, dispatched) = self.dispatching.so_far();
        // A log that has failed says so elsewhere.
        let is_log_on_disk = |(at, _): &(u64, i64)| self.log.flushed() > *at || self.flush().is_ok();
        let last = last.filter(is_log_on_disk);
        self.extend_queues_reach()?;
        if !is_planted(PlantedBug::SkipQueueFlush) {
            self.derived.queues.flush(dispatched)?;
        }
        let indexed = self.derived.index.mark();
        self.derived.index.flush()?;
        if let Some((physical_offset, store_timestamp_ms)) = last {
            self.checkpoint
                .set(CheckpointField::LogicsPhysicalOffset, physical_offset);
            self.checkpoint.set(
                CheckpointField::LogicsMsgTimestamp,
                store_timestamp_ms.cast_unsigned(),
            );
            self.checkpoint.set(CheckpointField::IndexEnd, indexed.end);
            self.checkpoint.set(CheckpointField::IndexFile, indexed.file);
            self.checkpoint
                .set(CheckpointField::IndexEntries, indexed.entries.into());
            self.checkpoint
                .set(CheckpointField::EverythingOnDisk, physical_offset);
        }
        Ok(())
    }

    /// Lets entries be written of all records that are on disk: the checkpoint says first that it is so.
    pub(crate) fn extend_queues_reach(&self) -> std::io::Result<()> {
        let flushed = self.log.flushed();
        if self.checkpoint.get(CheckpointField::QueuesReach) != flushed {
            self.checkpoint.set(CheckpointField::QueuesReach, flushed);
            self.checkpoint.persist()?;
        }
        self.derived.queues.context().let_write_below(flushed);
        Ok(())
    }

    /// Notes the queues as the checkpoint on disk says that they are, after [`Store::flush_derived`].
    pub(crate) fn note_queues(&self) -> std::io::Result<()> {
        let record = self.checkpoint.get(CheckpointField::EverythingOnDisk);
        if record == 0 {
            return Ok(());
        }
        let reach = self.checkpoint.get(CheckpointField::QueuesReach);
        self.derived.queues.write_note(Some(record), reach)
    }

    /// A full index file is on disk: recovery may believe it.
    pub(crate) fn note_full_index(&self, end_time_ms: i64) {
        self.checkpoint
            .raise(CheckpointField::IndexMsgTimestamp, end_time_ms.cast_unsigned());
    }

    /// Answers everybody who still waits, and everybody who will.
    pub(crate) fn close_waiters(&self) {
        self.flushing.lock().is_closed = true;
        self.answer(|_, _| true, || Err(FlushError::Closed));
    }

    /// Says how many were answered.
    fn answer(
        &self,
        is_due: impl Fn(&(u64, u64), &Parked) -> bool,
        outcome: impl Fn() -> Result<(), FlushError>,
    ) -> usize {
        let due: Vec<Parked> = {
            let mut waiters = self.flushing.lock();
            let keys: Vec<_> = waiters
                .parked
                .iter()
                .filter(|(key, parked)| is_due(key, parked))
                .map(|(key, _)| *key)
                .collect();
            keys.iter().filter_map(|key| waiters.parked.remove(key)).collect()
        };
        let count = due.len();
        // Without the lock: a waiter may do anything, also wait again.
        for parked in due {
            (parked.waiter)(outcome());
        }
        count
    }
}

impl Flushing {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(now: Now) -> i64 {
    i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX)
}

fn is_over(now: Now, since_ms: i64, interval_ms: u64) -> bool {
    u64::try_from(millis(now) - since_ms).unwrap_or(0) >= interval_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the flush rests at each look.
    fn looks(before: usize, counts: &[usize]) -> Vec<bool> {
        let mut group = Group {
            before,
            ..Group::default()
        };
        counts.iter().map(|count| group.is_growing(*count)).collect()
    }

    #[test]
    fn a_flush_rests_only_while_a_group_grows_that_was_large_before() {
        assert_eq!(looks(WORTH_A_REST - 1, &[1]), [false]);
        assert_eq!(looks(30, &[1, 9, 9]), [true, true, false], "nobody came any more");
        assert_eq!(looks(30, &[9, 30]), [true, false], "all are there");
        assert_eq!(
            looks(30, &[1, 2, 3, 4, 5]),
            [true, true, true, true, false],
            "long enough"
        );
    }
}
