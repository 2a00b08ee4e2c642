//! TimerService: follows the timer topic and delivers what is due.
//!
//! ```text
//!   tick ─> follow    messages of the queue into wheel and log, a batch at a time
//!        └> deliver   slot of now: begin it ─> each message when it is due ─> pass it, when it is over
//! ```
//!
//! One thread does both, so that nobody else touches wheel and log. It sleeps until the next message of the slot is due, or
//! the next slot begins; an arrival in the timer topic wakes it.
//!
//! A message that comes into a slot already begun is filed like any other and delivered with it; one whose slot is passed is
//! due and goes to its topic at once. A slot is passed only when all of it is in the log: what cannot be put holds it
//! back. At a stop, the slot is left holding only what was not delivered, and the log ends with a unit that names the last
//! message filed: both brokers go on from there.

use std::sync::Arc;
use std::time::Duration;

use common::clock::{Clock, Now};
use common::names::TIMER_TOPIC;
use common::service::{Next, Service};
use store::record::{self, Record};
use store::timer::{TimerProgress, TimerUnit, UnitKind, topic_hash};
use store::{Appended, PhysicalOffset, PutError, QueueEntry, QueueOffset, Store};

use super::copies::DeliveredCopies;
use super::filed::AlreadyFiled;
use super::message::{Leaving, TimerMessage};
use super::schedule;
use super::slot::{Left, OpenSlot};
use super::timers::{Timers, is_master};
use crate::delay::copy::{copy, without_crc};
use crate::stats::BrokerStats;

/// Messages filed, or delivered, in one tick at most, so that neither starves the other.
const BATCH: usize = 256;
/// Empty slots passed in one tick at most.
const EMPTY_SLOTS: usize = 100_000;
/// When what failed is tried again.
const RETRY_AFTER_MS: i64 = 500;
/// The longest sleep: slots begin by wall time, which may be set forward.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The service.
pub struct TimerService {
    store: Arc<Store>,
    timers: Arc<Timers>,
    stats: Arc<BrokerStats>,
    clock: Arc<dyn Clock>,
    /// The next message to file.
    queue_offset: u64,
    /// Those from there on that were filed before the start.
    filed: AlreadyFiled,
    /// No slot begins before the messages below this queue offset are filed: those stored before the start, and those that
    /// roll. A message may roll into the next slot, and a recall of it may wait there.
    file_first: u64,
    /// The slot being delivered, or the next one.
    slot_ms: i64,
    open: Option<OpenSlot>,
    /// What was delivered of it and later ones before the start.
    copies: DeliveredCopies,
    /// Where those copies begin, until their slots are passed.
    copies_from: Option<PhysicalOffset>,
    started_ms: i64,
    retry_at_ms: Option<i64>,
    wait: Duration,
}

/// What there is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// There may be more to do now.
    More,
    /// Nothing before this wall time.
    At(i64),
    /// Nothing but what may come.
    Nothing,
}

/// Why a step must be tried again.
#[derive(Debug, thiserror::Error)]
enum Blocked {
    #[error("a unit cannot be written: {0}")]
    File(#[from] std::io::Error),
    #[error("a message cannot be put into its topic: {0}")]
    Put(#[from] PutError),
}

impl TimerService {
    /// Goes on where the files say.
    pub(crate) fn new(
        store: Arc<Store>,
        timers: Arc<Timers>,
        stats: Arc<BrokerStats>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let start = timers.start();
        let now_ms = clock.wall_ms();
        let copies = DeliveredCopies::find(&store, &start.progress);
        let copies_from = start.progress.delivered_from.map(PhysicalOffset);
        let file_first = store
            .queue_bounds(TIMER_TOPIC, 0)
            .map_or(0, |bounds| bounds.max.0);
        // Also when it is long ago: what is still to be filed belongs there, and recalls of it too.
        let slot_ms = match start.progress.read_time_ms {
            0 => start.first_slot_ms.unwrap_or(now_ms).min(now_ms),
            read_time_ms => read_time_ms,
        };
        let service = Self {
            queue_offset: start.queue_offset,
            filed: AlreadyFiled::find(&store, &timers.files, &start),
            file_first,
            slot_ms: timers.files.slot_of(slot_ms),
            open: None,
            copies_from: copies_from.filter(|_| !copies.is_empty()),
            copies,
            started_ms: now_ms,
            retry_at_ms: None,
            wait: Duration::ZERO,
            store,
            timers,
            stats,
            clock,
        };
        service.tell_progress(now_ms);
        if start.progress.read_time_ms == 0 {
            service.write_first_progress();
        }
        service
    }

    /// Until a checkpoint says where to look, a crash could not tell what was delivered.
    fn write_first_progress(&self) {
        if let Err(error) = self.timers.write_progress(&self.store, self.timers.reached()) {
            tracing::error!("the timer's first checkpoint is not written: {error}");
        }
    }

    fn run(&mut self, now_ms: i64) -> Then {
        if let Some(retry_at_ms) = self.retry_at_ms.filter(|retry_at_ms| now_ms < *retry_at_ms) {
            // A clock set back must not make the retry wait for hours.
            return Then::At(retry_at_ms.min(now_ms + RETRY_AFTER_MS));
        }
        match self.follow_and_deliver() {
            Ok(then) => {
                if self.retry_at_ms.take().is_some() {
                    tracing::info!("the timer goes on");
                }
                then
            }
            Err(blocked) => {
                if self.retry_at_ms.is_none() {
                    tracing::error!(
                        queue_offset = self.queue_offset,
                        slot_ms = self.slot_ms,
                        "the timer waits: {blocked}"
                    );
                }
                let retry_at_ms = now_ms + RETRY_AFTER_MS;
                self.retry_at_ms = Some(retry_at_ms);
                Then::At(retry_at_ms)
            }
        }
    }

    fn follow_and_deliver(&mut self) -> Result<Then, Blocked> {
        let config = self.store.config().get();
        let (follows, delivers) = (!config.timer_stop_enqueue, !config.timer_stop_dequeue);
        drop(config);
        let followed = if follows { self.follow()? } else { Then::Nothing };
        if !delivers {
            return Ok(followed);
        }
        let delivered = self.deliver()?;
        Ok(if followed == Then::More {
            Then::More
        } else {
            delivered
        })
    }
}

/// From the queue into the wheel.
impl TimerService {
    fn follow(&mut self) -> Result<Then, Blocked> {
        self.pass_over_expired();
        let entries = self
            .store
            .queue_entries(TIMER_TOPIC, 0, QueueOffset(self.queue_offset), BATCH);
        for entry in &entries {
            if !self.filed.contains(entry) {
                self.follow_entry(entry)?;
            }
            self.queue_offset = entry.queue_offset.0 + u64::from(entry.message_count.max(1));
        }
        self.filed.forget_before(self.queue_offset);
        let is_dispatched = || self.store.max_offset(TIMER_TOPIC, 0).cast_unsigned() >= self.file_first;
        if entries.is_empty() && is_dispatched() {
            // What was to be filed first is lost.
            self.file_first = self.file_first.min(self.queue_offset);
        }
        Ok(if entries.len() == BATCH {
            Then::More
        } else {
            Then::Nothing
        })
    }

    /// Retention may take messages before they are filed. Who waits until everything is filed must not wait for them.
    fn pass_over_expired(&mut self) {
        let begin = self
            .store
            .queue_bounds(TIMER_TOPIC, 0)
            .map_or(0, |bounds| bounds.min.0);
        if self.queue_offset < begin {
            tracing::error!(
                from = self.queue_offset,
                to = begin,
                "timer messages were deleted from the log before they were filed"
            );
            self.queue_offset = begin;
        }
    }

    fn follow_entry(&mut self, entry: &QueueEntry) -> Result<(), Blocked> {
        let bytes = self.store.read_at(entry.physical_offset);
        let record = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok());
        let message = record
            .as_ref()
            .and_then(|record| Some((record, TimerMessage::of(record)?)));
        let Some((record, message)) = message else {
            tracing::error!(
                queue_offset = entry.queue_offset.0,
                physical_offset = entry.physical_offset.0,
                "timer message skipped: it cannot be read, or says not when and where it is to be delivered"
            );
            return Ok(());
        };
        let followed = self.follow_message(record, &message);
        if followed.is_ok() {
            self.timers.enqueued.add();
            if let Some(events) = self.stats.events() {
                let ahead_ms = message.out_ms.saturating_sub(record.born_timestamp_ms);
                events.record_timer_enqueued(message.real_topic, ahead_ms);
            }
            if let Some(key) = message.deletes {
                self.timers.recalls.forget(key);
            }
        }
        followed
    }

    fn follow_message(&mut self, record: &Record<'_>, message: &TimerMessage<'_>) -> Result<(), Blocked> {
        if self.copies.take_of(message) {
            // The log kept its copy through a crash, and the timer's files lost that it was filed.
            return Ok(());
        }
        let now_ms = self.clock.wall_ms();
        let files = &self.timers.files;
        let due_ms = message.due_ms(files.precision_ms());
        let mut slot_ms = files.slot_of(message.out_ms);
        if slot_ms < self.slot_ms {
            if due_ms <= now_ms {
                return self.deliver_unfiled(record, message);
            }
            // The clock was set back behind slots that are passed: it waits in the next one.
            slot_ms = self.slot_ms;
        }
        let write_time_ms = files.slot_of(now_ms).min(slot_ms);
        let (slot_ms, rolls) = roll(slot_ms, write_time_ms, self.roll_window_ms());
        let unit = TimerUnit {
            previous: None,
            kind: UnitKind {
                rolls,
                deletes: message.deletes.is_some(),
            },
            write_time_ms,
            delay_ms: delay_ms(slot_ms, write_time_ms),
            physical_offset: record.physical_offset,
            size_bytes: record.size_bytes,
            topic_hash: topic_hash(message.real_topic),
            due_ms: (!rolls).then_some(due_ms),
        };
        let position = files.file(unit)?;
        let change = if unit.kind.deletes { -1 } else { 1 };
        self.timers.metrics.add(message.real_topic, change);
        let end_ms = slot_ms.saturating_add(files.precision_ms());
        if slot_ms == self.slot_ms
            && let Some(open) = &mut self.open
        {
            match message.deletes.filter(|_| !rolls) {
                Some(key) => open.delete(key, message.real_topic, position, false),
                None => open.add(&unit, position, end_ms),
            }
        }
        Ok(())
    }

    /// A message that was due before it could be filed. Reference: requests behind `currWriteTimeMs`.
    fn deliver_unfiled(&mut self, record: &Record<'_>, message: &TimerMessage<'_>) -> Result<(), Blocked> {
        if message.deletes.is_some() || self.is_recalled(message) {
            return Ok(());
        }
        self.put_copy(record, message, i64::MAX, false)
    }

    fn roll_window_ms(&self) -> i64 {
        schedule::roll_window_ms(&self.store.config().get(), self.timers.files.precision_ms())
    }
}

/// From the wheel into the topics.
impl TimerService {
    fn deliver(&mut self) -> Result<Then, Blocked> {
        let precision_ms = self.timers.files.precision_ms();
        let (mut left, mut empty_left) = (BATCH, EMPTY_SLOTS);
        while left > 0 && empty_left > 0 {
            let now_ms = self.clock.wall_ms();
            let end_ms = self.slot_ms.saturating_add(precision_ms);
            if now_ms < self.slot_ms {
                return Ok(Then::At(self.slot_ms));
            }
            let Some(open) = &self.open else {
                if self.queue_offset < self.file_first && !self.store.config().get().timer_stop_enqueue {
                    return Ok(Then::Nothing);
                }
                if now_ms >= end_ms && !self.timers.files.has_slot(self.slot_ms) {
                    self.slot_ms = end_ms;
                    empty_left -= 1;
                } else {
                    self.begin_slot();
                }
                continue;
            };
            match open.next() {
                Some((due_ms, _)) if due_ms > now_ms => return Ok(Then::At(due_ms)),
                Some((_, position)) => {
                    self.deliver_unit(position)?;
                    left -= 1;
                }
                None if now_ms < end_ms => return Ok(Then::At(end_ms)),
                None => self.pass_slot(),
            }
        }
        Ok(Then::More)
    }

    fn begin_slot(&mut self) {
        let delivered_from = self.copies_from.unwrap_or(self.store.log_range().end);
        let mut open = OpenSlot::new(delivered_from);
        let end_ms = self.slot_ms.saturating_add(self.timers.files.precision_ms());
        self.timers.files.visit_slot(self.slot_ms, |position, unit| {
            // What only names the last message followed before a stop names a recall of another slot, maybe.
            if unit.names_last_message() {
                return;
            }
            if unit.kind.deletes && !unit.kind.rolls {
                let bytes = self.store.read_at(unit.physical_offset);
                let record = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok());
                let message = record.as_ref().and_then(TimerMessage::of);
                if let Some((key, message)) = message.and_then(|message| Some((message.deletes?, message))) {
                    open.delete(key, message.real_topic, position, unit.has_met());
                }
            } else {
                open.add(unit, position, end_ms);
            }
        });
        self.open = Some(open);
    }

    fn pass_slot(&mut self) {
        let Some(open) = self.open.take() else { return };
        for topic in open.unmet_recalls() {
            self.timers.metrics.add(topic, 1);
        }
        self.timers.files.pass(self.slot_ms);
        self.slot_ms = self.slot_ms.saturating_add(self.timers.files.precision_ms());
        if self.slot_ms > self.started_ms && self.queue_offset >= self.file_first {
            // Everything that was delivered before the start has come up again.
            self.copies.clear();
            self.copies_from = None;
        }
    }

    /// Delivers the message of a unit of the open slot. What nobody can deliver is left out, with its place in the log.
    fn deliver_unit(&mut self, position: u64) -> Result<(), Blocked> {
        let unit = self.timers.files.unit(position);
        let bytes = unit.and_then(|unit| Some((unit, self.store.read_at(unit.physical_offset)?)));
        let read = bytes.as_ref().and_then(|(unit, bytes)| {
            let record = record::decode(bytes).ok()?;
            // A unit may have survived a message that did not: another one lies there now.
            let is_it = record.topic == TIMER_TOPIC && record.size_bytes == unit.size_bytes;
            let message = TimerMessage::of(&record).filter(|_| is_it)?;
            Some((unit, record, message))
        });
        match read {
            Some((unit, record, message)) if self.is_recalled(&message) => {
                tracing::debug!(
                    physical_offset = unit.physical_offset.0,
                    topic = record.topic,
                    "timer message recalled"
                );
            }
            Some((unit, record, message)) => {
                self.put_copy(&record, &message, unit.write_time_ms, unit.kind.rolls)?;
                if message.deletes.is_none() {
                    self.timers.metrics.add(message.real_topic, -1);
                } else {
                    self.timers.metrics.add(message.real_topic, 1);
                }
            }
            None => tracing::error!(
                position,
                slot_ms = self.slot_ms,
                "timer message skipped: its record is gone from the log"
            ),
        }
        if let Some(open) = &mut self.open {
            open.pop();
            open.has_delivered = true;
        }
        Ok(())
    }

    fn is_recalled(&mut self, message: &TimerMessage<'_>) -> bool {
        let with_topic = self.store.config().get().append_topic_for_timer_delete_key;
        let Some(key) = message
            .delete_key(with_topic)
            .filter(|_| message.deletes.is_none())
        else {
            return false;
        };
        let in_slot = self.open.as_mut().is_some_and(|open| open.is_deleted(&key));
        in_slot || self.timers.recalls.contains(&key)
    }

    fn put_copy(
        &mut self,
        record: &Record<'_>,
        message: &TimerMessage<'_>,
        enqueue_ms: i64,
        rolls: bool,
    ) -> Result<(), Blocked> {
        if self.copies.take_of(message) {
            return Ok(());
        }
        let leaving = Leaving {
            enqueue_ms,
            now_ms: self.clock.wall_ms(),
            rolls_until_ms: rolls.then(|| message.due_ms(self.timers.files.precision_ms())),
        };
        let destination = leaving.destination(message);
        let put = |properties: &str| self.store.put(&copy(record, destination, properties));
        let appended = match put(&leaving.properties(record, message)) {
            // Its own properties fitted: better without our remarks than not at all.
            Err(PutError::PropertiesTooLarge { .. } | PutError::RecordTooLarge { .. }) if !rolls => {
                put(without_crc(record.properties))
            }
            other => other,
        };
        match appended {
            Ok(appended) => {
                if rolls {
                    self.file_first = self.file_first.max(appended.queue_offset.0 + 1);
                }
                self.note_delivered(message.real_topic, destination.0, &appended);
            }
            Err(error) if may_pass(&error) => return Err(error.into()),
            Err(error) => tracing::error!(
                physical_offset = record.physical_offset.0,
                topic = message.real_topic,
                "timer message skipped: {error}"
            ),
        }
        Ok(())
    }

    fn note_delivered(&self, real_topic: &str, topic: &str, appended: &Appended) {
        self.timers.dequeued.add();
        if let Some(events) = self.stats.events() {
            events.timer_dequeued.add(real_topic, 1);
        }
        self.stats.record_put(topic, 1, u64::from(appended.size_bytes));
    }
}

/// At the stop, and in between.
impl TimerService {
    /// Leaves slot and log so that whoever goes on, also the reference, delivers nothing twice.
    ///
    /// What was delivered is taken out of the slot only once its copies are on the disk: a power failure may keep the new
    /// slot and take the copies, and then nothing would be left of those messages.
    fn leave(&mut self) -> anyhow::Result<()> {
        let files = &self.timers.files;
        let marker = self.marker();
        match &self.open {
            Some(open) if open.has_delivered => {
                let units: Vec<TimerUnit> = open
                    .left()
                    .into_iter()
                    .filter_map(|left| self.unit_left(left))
                    .collect();
                self.store.flush()?;
                files.refile(self.slot_ms, &units, marker)?;
            }
            _ => {
                if let Some(marker) = marker.filter(|marker| !is_of_same_message(files.last_unit(), marker)) {
                    files.file(marker)?;
                }
            }
        }
        // Not when that failed: the next start then looks for the copies of the slot.
        self.open = None;
        Ok(())
    }

    /// What is left of a unit. A recall that met its message takes out others like it, and counts no more.
    fn unit_left(&self, left: Left) -> Option<TimerUnit> {
        match left {
            Left::Waits(position) => self.timers.files.unit(position),
            Left::HasMet(position) => self.timers.files.unit(position).map(TimerUnit::met),
        }
    }

    /// A unit of the current slot that names the last message followed, and takes nothing back.
    fn marker(&self) -> Option<TimerUnit> {
        let last = self.queue_offset.checked_sub(1)?;
        let entries = self.store.queue_entries(TIMER_TOPIC, 0, QueueOffset(last), 1);
        let entry = entries.first().filter(|entry| entry.queue_offset.0 == last)?;
        let write_time_ms = self.timers.files.slot_of(self.clock.wall_ms()).min(self.slot_ms);
        Some(TimerUnit {
            previous: None,
            kind: UnitKind {
                rolls: false,
                deletes: true,
            },
            write_time_ms,
            delay_ms: delay_ms(self.slot_ms, write_time_ms),
            physical_offset: entry.physical_offset,
            size_bytes: entry.size_bytes,
            topic_hash: 0,
            due_ms: None,
        })
    }

    fn tell_progress(&self, now_ms: i64) {
        let delivered_from = match (&self.open, self.copies_from) {
            (Some(open), _) => open.delivered_from,
            (None, Some(copies_from)) => copies_from,
            (None, None) => self.store.log_range().end,
        };
        let log_end = self.timers.files.log_end();
        let reached = TimerProgress {
            read_time_ms: self.slot_ms,
            log_flushed: self.filed.log_from().unwrap_or(log_end),
            queue_offset: self.queue_offset,
            delivered_from: Some(delivered_from.0),
            ..TimerProgress::default()
        };
        self.timers.reach(reached, now_ms);
    }
}

impl Service for TimerService {
    const NAME: &'static str = "timer";

    fn interval(&self) -> Duration {
        self.wait
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if !is_master(self.store.config()) {
            self.wait = MAX_WAIT;
            return Ok(Next::Idle);
        }
        if stopping {
            let left = self.leave();
            self.tell_progress(now.wall_ms);
            left?;
            return Ok(Next::Idle);
        }
        let then = self.run(now.wall_ms);
        self.tell_progress(now.wall_ms);
        self.wait = match then {
            Then::More => return Ok(Next::Again),
            Then::At(at_ms) => {
                let left_ms = u64::try_from(at_ms - self.clock.wall_ms()).unwrap_or(0);
                Duration::from_millis(left_ms).min(MAX_WAIT)
            }
            Then::Nothing => MAX_WAIT,
        };
        Ok(Next::Idle)
    }
}

/// Where a message is filed: in its slot, or in an earlier one from which it goes back into the timer topic.
///
/// Reference: `TimerMessageStore.doEnqueue`.
fn roll(slot_ms: i64, write_time_ms: i64, window_ms: i64) -> (i64, bool) {
    let ahead_ms = slot_ms.saturating_sub(write_time_ms);
    if ahead_ms < window_ms {
        return (slot_ms, false);
    }
    // Enough must be left for the next round.
    let is_nearly_there = ahead_ms - window_ms < window_ms / 3;
    let part_ms = if is_nearly_there { window_ms / 2 } else { window_ms };
    (write_time_ms + part_ms, true)
}

fn delay_ms(slot_ms: i64, write_time_ms: i64) -> i32 {
    let delay_ms = slot_ms.saturating_sub(write_time_ms);
    i32::try_from(delay_ms).unwrap_or(if delay_ms < 0 { i32::MIN } else { i32::MAX })
}

/// Whether a put may succeed later.
fn may_pass(error: &PutError) -> bool {
    matches!(
        error,
        PutError::PageCacheBusy { .. } | PutError::Contended | PutError::NotWritable(_)
    )
}

fn is_of_same_message(last: Option<TimerUnit>, marker: &TimerUnit) -> bool {
    last.is_some_and(|last| last.physical_offset == marker.physical_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_beyond_the_window_are_filed_a_window_ahead_or_half_of_it() {
        const DAY: i64 = 86_400_000;
        assert_eq!(roll(2 * DAY - 1_000, 0, 2 * DAY), (2 * DAY - 1_000, false));
        assert_eq!(roll(2 * DAY, 0, 2 * DAY), (DAY, true));
        // 60 hours: 12 are left after two days, under a third of the window.
        assert_eq!(roll(60 * 3_600_000, 0, 2 * DAY), (DAY, true));
        assert_eq!(roll(2 * DAY + 2 * DAY / 3, 7, 2 * DAY), (DAY + 7, true));
        assert_eq!(roll(3 * DAY, 0, 2 * DAY), (2 * DAY, true));
    }

    #[test]
    fn a_put_is_tried_again_only_when_that_may_help() {
        assert!(may_pass(&PutError::Contended));
        assert!(!may_pass(&PutError::IllegalTopic));
    }
}
