//! ConsumerOrderInfo: the last batch each group popped in order of each queue, and the file `consumerOrderInfo.json`.
//!
//! A queue gives its next messages only when every message of the last batch is acknowledged or visible again, so it is
//! blocked in between. An acknowledged prefix moves the group's offset; the rest is handed out again, and counted.
//!
//! ```text
//!   pop ─> update ── acknowledge ─> offset of the first message not acknowledged, or behind the last
//!            └────── change_next_visible        is_blocked until then
//! ```
//!
//! Written every `flushConsumerOffsetInterval` like the offsets and at the end; what happened since is in the lines beside the
//! file (`order_log.rs`), so a kill forgets nothing that was answered. Reference: `ConsumerOrderInfoManager`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context as _;
use common::clock::Clock;
use common::planted_bug::{PlantedBug, is_planted};
use remoting::body::{ConsumerOrderInfoFile, OrderInfo};

use super::consumer_offsets::ConsumerOffsets;
use super::order_log::{BatchChange, OrderLog};
use super::persist::{ConfigDirectory, PersistError, Table, TableFile};

const FILE_NAME: &str = "consumerOrderInfo.json";
const LITE_FILE_NAME: &str = "liteOrderInfo.json";
const SEPARATOR: char = '@';
/// A batch nobody asked about for so long is forgotten.
const IDLE_LIMIT_MS: i64 = 24 * 3600 * 1000;
/// Messages of a batch that an ack can name: the bits of the file.
const MAX_BATCH: usize = 64;

/// The batches of all groups.
#[derive(Debug)]
pub struct ConsumerOrderInfo {
    table: Mutex<Batches>,
    file: TableFile,
    log: OrderLog,
    offsets: Arc<ConsumerOffsets>,
    /// Whether the file holds batches of which nothing is left.
    keeps_done: bool,
}

/// (topic, group) to queue to batch.
type Batches = HashMap<(String, String), BTreeMap<i32, OrderInfo>>;

/// What was said about a batch when it was handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// Messages handed out before: queue offset, and how often.
    pub counts: Vec<(i64, i32)>,
    /// The least of the whole batch.
    pub least: i32,
}

/// What an ack in order means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderAck {
    /// The group goes on here.
    Next(i64),
    /// The batch was handed out again since: nothing changes.
    Stale,
    /// The message is not in the batch.
    Illegal,
    /// No batch is known.
    NoBatch,
}

/// One queue of a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupQueue<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// The queue.
    pub queue_id: i32,
}

/// A batch that is handed out.
#[derive(Clone, Copy, Debug)]
pub struct NewBatch<'a> {
    /// Which attempt of the consumer: the same one may ask again.
    pub attempt_id: Option<&'a str>,
    /// When it is popped, ms.
    pub pop_time_ms: i64,
    /// How long it is invisible, ms.
    pub invisible_time_ms: i64,
    /// Queue offsets of its messages, rising; not empty.
    pub offsets: &'a [i64],
}

impl ConsumerOrderInfo {
    /// Reads `consumerOrderInfo.json` in `config_dir`, and the lines beside it; what they say of offsets becomes part of
    /// `offsets`.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        offsets: Arc<ConsumerOffsets>,
    ) -> anyhow::Result<Self> {
        Self::open_file(config_dir, FILE_NAME, clock, offsets)
    }

    /// The batches of light topics, in a file of ours alone: the reference keeps them in memory. It holds only those of which
    /// something is left, for there may be very many.
    pub fn open_lite(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        offsets: Arc<ConsumerOffsets>,
    ) -> anyhow::Result<Self> {
        let opened = Self::open_file(config_dir, LITE_FILE_NAME, clock, offsets)?;
        Ok(ConsumerOrderInfo {
            keeps_done: false,
            ..opened
        })
    }

    fn open_file(
        config_dir: &ConfigDirectory,
        name: &str,
        clock: Arc<dyn Clock>,
        offsets: Arc<ConsumerOffsets>,
    ) -> anyhow::Result<Self> {
        let file = config_dir.file(name);
        let saved: ConsumerOrderInfoFile = file.load(clock.wall_ms())?.unwrap_or_default();
        let table = saved
            .table
            .into_iter()
            .filter_map(|(key, queues)| {
                let (topic, group) = key.split_once(SEPARATOR)?;
                Some(((topic.to_owned(), group.to_owned()), queues))
            })
            .collect();
        let log = config_dir.order_log(name);
        let changes = log
            .load()
            .with_context(|| format!("read the changes beside {}", file.path().display()))?;
        let opened = ConsumerOrderInfo {
            table: Mutex::new(table),
            file,
            log,
            offsets,
            keeps_done: true,
        };
        opened.catch_up(changes);
        Ok(opened)
    }

    /// Takes over what the last process did after it wrote its files.
    fn catch_up(&self, changes: Vec<BatchChange>) {
        if changes.is_empty() {
            return;
        }
        self.file.mark_changed();
        let newest = changes.iter().map(|change| change.after_write).max();
        self.offsets.note_write(newest.unwrap_or(0));
        if self.offsets.written_ms().is_none() {
            // A Java broker has gone on since.
            return;
        }
        let loaded_number = self.offsets.loaded_number();
        for change in changes {
            // An offset is in the offsets' file if that is newer. A batch is in the file of batches, which may be older: what
            // the last line says of a queue is right in any case.
            if change.after_write >= loaded_number {
                self.catch_up_offset(&change);
            }
            let mut table = self.lock();
            let queues = table.entry((change.topic, change.group)).or_default();
            match change.batch {
                Some(batch) => queues.insert(change.queue_id, batch),
                None => queues.remove(&change.queue_id),
            };
        }
    }

    fn catch_up_offset(&self, change: &BatchChange) {
        let (group, topic, queue_id) = (&change.group, &change.topic, change.queue_id);
        let _ = match change.reset {
            Some(offset) => self.offsets.assign_reset(group, topic, queue_id, offset),
            None if is_planted(PlantedBug::ForgetTakenReset) => false,
            // Taken since the file was written: it must not undo the acks that followed.
            None => self.offsets.take_reset(group, topic, queue_id).is_some(),
        };
        if let Some(offset) = change.offset {
            self.offsets
                .commit("the last process", group, topic, queue_id, offset);
        }
    }

    /// Makes what has become of the queue's batch survive the end of the process, and `offset`, if the group's was changed and
    /// committed. To be called before the answer; the queue must be locked.
    ///
    /// # Errors
    /// When the line cannot be written: a crash in the next seconds would forget it.
    pub fn keep(&self, queue: GroupQueue<'_>, offset: Option<i64>) -> io::Result<()> {
        let change = BatchChange {
            after_write: self.offsets.write_number(),
            topic: queue.topic.to_owned(),
            group: queue.group.to_owned(),
            queue_id: queue.queue_id,
            batch: self.change(queue, |batch| batch.clone()),
            offset,
            reset: self
                .offsets
                .pending_reset(queue.group, queue.topic, queue.queue_id),
        };
        if is_planted(PlantedBug::ForgetOrder) {
            return Ok(());
        }
        self.log.append(&change)
    }

    /// When the queue gives its next messages, if that is later than `now_ms`. The attempt that has the batch may always ask
    /// again. A batch without an invisible time gets this one.
    pub fn blocked_until_ms(
        &self,
        queue: GroupQueue<'_>,
        attempt_id: Option<&str>,
        invisible_time_ms: i64,
        now_ms: i64,
    ) -> Option<i64> {
        self.change(queue, |batch| {
            let same_attempt = batch.attempt_id.is_some() && batch.attempt_id.as_deref() == attempt_id;
            if same_attempt {
                return None;
            }
            if is_planted(PlantedBug::OneAckUnblocks) && batch.commit_offset_bit != 0 {
                return None;
            }
            if batch.invisible_time_ms.is_none_or(|time_ms| time_ms <= 0) {
                batch.invisible_time_ms = Some(invisible_time_ms);
            }
            unacked(batch)
                .map(|offset| next_visible_ms(batch, offset))
                .filter(|visible_ms| now_ms < *visible_ms)
                .max()
        })
        .flatten()
    }

    /// A batch is handed out in place of the last one.
    pub fn update(&self, queue: GroupQueue<'_>, new: NewBatch<'_>, now_ms: i64) -> OrderCounts {
        let Some((first, rest)) = new.offsets.split_first() else {
            return OrderCounts::default();
        };
        let mut table = self.lock();
        let queues = table
            .entry((queue.topic.to_owned(), queue.group.to_owned()))
            .or_default();
        let consumed = queues
            .get(&queue.queue_id)
            .map(|last| times_consumed(last, &new))
            .unwrap_or_default();
        let least = if consumed.len() == new.offsets.len() {
            consumed.values().copied().min().unwrap_or(0)
        } else {
            0
        };
        let counts = consumed.iter().map(|(offset, count)| (*offset, *count)).collect();
        let batch = OrderInfo {
            attempt_id: new.attempt_id.map(str::to_owned),
            commit_offset_bit: 0,
            invisible_time_ms: Some(new.invisible_time_ms),
            last_consume_timestamp_ms: now_ms,
            offset_list: std::iter::once(*first)
                .chain(rest.iter().map(|offset| offset - first))
                .collect(),
            offset_consumed_count: Some(consumed),
            offset_next_visible_time: None,
            pop_time_ms: new.pop_time_ms,
        };
        queues.insert(queue.queue_id, batch);
        drop(table);
        self.file.mark_changed();
        OrderCounts { counts, least }
    }

    /// A message of the batch popped at `pop_time_ms` is consumed.
    pub fn acknowledge(&self, queue: GroupQueue<'_>, offset: i64, pop_time_ms: i64) -> OrderAck {
        let acked = self.change(queue, |batch| {
            if batch.offset_list.is_empty() {
                return OrderAck::Illegal;
            }
            if batch.pop_time_ms != pop_time_ms {
                return OrderAck::Stale;
            }
            let index = offsets(batch).position(|at| at == offset);
            match index {
                Some(index) if index < MAX_BATCH => batch.commit_offset_bit |= 1 << index,
                _ => return OrderAck::Illegal,
            }
            let next = unacked(batch)
                .next()
                .or_else(|| offsets(batch).last().map(|last| last.saturating_add(1)));
            OrderAck::Next(next.unwrap_or(offset.saturating_add(1)))
        });
        self.file.mark_changed();
        acked.unwrap_or(OrderAck::NoBatch)
    }

    /// A message of the batch popped at `pop_time_ms` is visible again at `next_visible_ms`.
    pub fn change_next_visible(
        &self,
        queue: GroupQueue<'_>,
        offset: i64,
        pop_time_ms: i64,
        next_visible_ms: i64,
    ) {
        self.change(queue, |batch| {
            if batch.pop_time_ms == pop_time_ms && offsets(batch).any(|at| at == offset) {
                batch
                    .offset_next_visible_time
                    .get_or_insert_default()
                    .insert(offset, next_visible_ms);
            }
        });
        self.file.mark_changed();
    }

    /// The batch popped at `pop_time_ms` is visible again at `next_visible_ms`, and does not count as handed out then.
    /// Reference: `MemoryConsumerOrderInfoManager.suspendQueue`.
    pub fn suspend(&self, queue: GroupQueue<'_>, pop_time_ms: i64, next_visible_ms: i64) {
        self.change(queue, |batch| {
            if batch.pop_time_ms == pop_time_ms {
                let counts = batch.offset_consumed_count.iter_mut().flatten();
                counts.for_each(|(_, count)| *count = count.saturating_sub(1).max(0));
                batch.offset_next_visible_time = None;
                batch.invisible_time_ms = Some(next_visible_ms.saturating_sub(pop_time_ms));
            }
        });
        self.file.mark_changed();
    }

    /// How many groups have batches, each once a topic.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the batch: the group's offset was reset.
    pub fn clear(&self, queue: GroupQueue<'_>) {
        let key = (queue.topic.to_owned(), queue.group.to_owned());
        if let Some(queues) = self.lock().get_mut(&key) {
            queues.remove(&queue.queue_id);
        }
        self.file.mark_changed();
    }

    /// Forgets the batches of a topic that is deleted. Once this is written ([`Table::flush`]), no line speaks of them either.
    pub fn forget_topic(&self, topic: &str) {
        self.lock().retain(|(of, _), _| of != topic);
        self.file.mark_changed();
    }

    /// Forgets batches that nobody asked about for a day, and those whose queue or group is gone.
    ///
    /// `read_queues` gives a topic's queues, `None` when it does not exist.
    pub fn clean(
        &self,
        now_ms: i64,
        read_queues: impl Fn(&str) -> Option<i32>,
        has_group: impl Fn(&str) -> bool,
    ) {
        let keys: Vec<(String, String)> = self.lock().keys().cloned().collect();
        let limits: HashMap<(String, String), i32> = keys
            .into_iter()
            .map(|key| {
                let limit = read_queues(&key.0).filter(|_| has_group(&key.1)).unwrap_or(0);
                (key, limit)
            })
            .collect();
        let mut cleaned = false;
        self.lock().retain(|key, queues| {
            // A batch that came meanwhile is of a topic that exists.
            let limit = limits.get(key).copied().unwrap_or(i32::MAX);
            let before = queues.len();
            queues.retain(|queue_id, batch| {
                *queue_id < limit && now_ms.saturating_sub(batch.last_consume_timestamp_ms) <= IDLE_LIMIT_MS
            });
            cleaned |= queues.len() != before;
            !queues.is_empty()
        });
        if cleaned {
            self.file.mark_changed();
        }
    }

    fn change<R>(&self, queue: GroupQueue<'_>, change: impl FnOnce(&mut OrderInfo) -> R) -> Option<R> {
        let key = (queue.topic.to_owned(), queue.group.to_owned());
        self.lock().get_mut(&key)?.get_mut(&queue.queue_id).map(change)
    }

    fn snapshot(&self) -> ConsumerOrderInfoFile {
        let table = self.lock();
        ConsumerOrderInfoFile {
            table: table
                .iter()
                .map(|((topic, group), queues)| {
                    let queues = queues.iter().filter(|(_, batch)| self.is_kept(batch));
                    let queues: BTreeMap<i32, OrderInfo> =
                        queues.map(|(id, batch)| (*id, batch.clone())).collect();
                    (format!("{topic}{SEPARATOR}{group}"), queues)
                })
                .filter(|(_, queues)| self.keeps_done || !queues.is_empty())
                .collect(),
        }
    }

    fn is_kept(&self, batch: &OrderInfo) -> bool {
        self.keeps_done || unacked(batch).next().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The queue offsets of a batch.
fn offsets(batch: &OrderInfo) -> impl Iterator<Item = i64> + '_ {
    let first = batch.offset_list.first().copied().unwrap_or(0);
    let rest = batch.offset_list.iter().skip(1);
    let rest = rest.map(move |diff| first.saturating_add(*diff));
    batch.offset_list.first().copied().into_iter().chain(rest)
}

fn unacked(batch: &OrderInfo) -> impl Iterator<Item = i64> + '_ {
    let acked = batch.commit_offset_bit;
    offsets(batch)
        .enumerate()
        .filter(move |(index, _)| *index >= MAX_BATCH || acked & (1 << index) == 0)
        .map(|(_, offset)| offset)
}

fn next_visible_ms(batch: &OrderInfo, offset: i64) -> i64 {
    let changed = batch.offset_next_visible_time.as_ref();
    changed.and_then(|times| times.get(&offset).copied()).unwrap_or(
        batch
            .pop_time_ms
            .saturating_add(batch.invisible_time_ms.unwrap_or(0)),
    )
}

/// How often the messages of the new batch were handed out before. The same attempt asking again does not count.
fn times_consumed(last: &OrderInfo, new: &NewBatch<'_>) -> BTreeMap<i64, i32> {
    let before = last.offset_consumed_count.as_ref();
    if last.attempt_id.is_some() && last.attempt_id.as_deref() == new.attempt_id {
        return before.cloned().unwrap_or_default();
    }
    let count = |offset: &i64| before.and_then(|counts| counts.get(offset).copied()).unwrap_or(0);
    offsets(last)
        .filter(|offset| new.offsets.contains(offset))
        .map(|offset| (offset, count(&offset).saturating_add(1)))
        .collect()
}

impl Table for ConsumerOrderInfo {
    fn file(&self) -> &TableFile {
        &self.file
    }

    /// Writes the offsets too: then both files hold what the lines said.
    fn flush(&self) -> Result<(), PersistError> {
        if !self.file.is_behind() {
            return Ok(());
        }
        self.log.begin_write()?;
        self.offsets.flush()?;
        self.file.flush_with(|| Ok(self.snapshot()))?;
        Ok(self.log.end_write()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::testing::Home;

    const QUEUE: GroupQueue<'static> = GroupQueue {
        topic: "FxNormal",
        group: "g",
        queue_id: 2,
    };

    fn empty() -> (Home, ConsumerOrderInfo) {
        let home = Home::empty();
        let info = home.order_info();
        (home, info)
    }

    fn batch(offsets: &[i64]) -> NewBatch<'_> {
        NewBatch {
            attempt_id: None,
            pop_time_ms: 1_000,
            invisible_time_ms: 500,
            offsets,
        }
    }

    fn blocked(info: &ConsumerOrderInfo, now_ms: i64) -> bool {
        info.blocked_until_ms(QUEUE, None, 500, now_ms).is_some()
    }

    #[test]
    fn a_queue_is_blocked_until_its_batch_is_acknowledged() {
        let (_home, info) = empty();
        assert!(!blocked(&info, 1_000));
        info.update(QUEUE, batch(&[5, 6, 9]), 1_000);
        assert!(blocked(&info, 1_000));
        assert_eq!(info.acknowledge(QUEUE, 6, 1_000), OrderAck::Next(5));
        assert_eq!(info.acknowledge(QUEUE, 5, 1_000), OrderAck::Next(9));
        assert!(blocked(&info, 1_000));
        assert_eq!(info.acknowledge(QUEUE, 9, 1_000), OrderAck::Next(10));
        assert!(!blocked(&info, 1_000));
    }

    #[test]
    fn a_batch_not_acknowledged_is_visible_again_at_its_time_or_when_the_consumer_says() {
        let (_home, info) = empty();
        info.update(QUEUE, batch(&[5]), 1_000);
        assert!(blocked(&info, 1_499) && !blocked(&info, 1_500));
        info.change_next_visible(QUEUE, 5, 1_000, 3_000);
        assert_eq!(info.blocked_until_ms(QUEUE, None, 500, 2_999), Some(3_000));
        assert!(!blocked(&info, 3_000));
        info.change_next_visible(QUEUE, 5, 999, 9_000);
        assert!(!blocked(&info, 3_000), "of an earlier pop");
    }

    #[test]
    fn the_same_attempt_gets_its_batch_again_and_it_is_not_counted() {
        let (_home, info) = empty();
        let attempt = |offsets| NewBatch {
            attempt_id: Some("a1"),
            ..batch(offsets)
        };
        info.update(QUEUE, attempt(&[5]), 1_000);
        assert_eq!(info.blocked_until_ms(QUEUE, Some("a1"), 500, 1_000), None);
        assert!(info.blocked_until_ms(QUEUE, Some("a2"), 500, 1_000).is_some());
        assert_eq!(info.update(QUEUE, attempt(&[5]), 1_001), OrderCounts::default());
    }

    #[test]
    fn messages_handed_out_again_are_counted() {
        let (_home, info) = empty();
        assert_eq!(info.update(QUEUE, batch(&[5, 6]), 1_000), OrderCounts::default());
        let again = info.update(QUEUE, batch(&[6, 7]), 2_000);
        assert_eq!((again.counts, again.least), (vec![(6, 1)], 0));
        let again = info.update(QUEUE, batch(&[6, 7]), 3_000);
        assert_eq!((again.counts, again.least), (vec![(6, 2), (7, 1)], 1));
    }

    #[test]
    fn acks_of_another_pop_and_of_unknown_messages_change_nothing() {
        let (_home, info) = empty();
        info.update(QUEUE, batch(&[5]), 1_000);
        assert_eq!(info.acknowledge(QUEUE, 5, 999), OrderAck::Stale);
        assert_eq!(info.acknowledge(QUEUE, 6, 1_000), OrderAck::Illegal);
        assert!(blocked(&info, 1_000));
        info.clear(QUEUE);
        assert_eq!(info.acknowledge(QUEUE, 5, 1_000), OrderAck::NoBatch);
    }

    #[test]
    fn batches_survive_a_restart_in_the_references_form() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6, 9]), 1_000);
        info.acknowledge(QUEUE, 6, 1_000);
        info.flush().unwrap();
        let text: String = home.text(FILE_NAME).split_whitespace().collect();
        assert!(
            text.contains("\"FxNormal@g\":{2:{") || text.contains("\"FxNormal@g\":{\"2\":{"),
            "{text}"
        );
        assert!(
            text.contains("\"o\":[5,1,4]") && text.contains("\"cm\":2"),
            "{text}"
        );
        let again = home.order_info();
        assert_eq!(again.acknowledge(QUEUE, 5, 1_000), OrderAck::Next(9));
    }

    /// What a pop and an ack do, as the processors do it.
    fn ack(info: &ConsumerOrderInfo, offset: i64) {
        let OrderAck::Next(next) = info.acknowledge(QUEUE, offset, 1_000) else {
            panic!("the message is in the batch");
        };
        info.offsets
            .commit("test", QUEUE.group, QUEUE.topic, QUEUE.queue_id, next);
        info.keep(QUEUE, Some(next)).unwrap();
    }

    fn committed(info: &ConsumerOrderInfo) -> Option<i64> {
        info.offsets.query(QUEUE.group, QUEUE.topic, QUEUE.queue_id)
    }

    #[test]
    fn what_was_answered_after_the_last_write_survives_a_kill() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6, 9]), 1_000);
        info.keep(QUEUE, Some(5)).unwrap();
        ack(&info, 5);
        info.flush().unwrap();
        ack(&info, 9);
        let info = home.order_info();
        assert_eq!(committed(&info), Some(6));
        assert!(blocked(&info, 1_000));
        ack(&info, 6);
        let info = home.order_info();
        assert_eq!(committed(&info), Some(10));
        assert!(!blocked(&info, 1_000));

        info.clear(QUEUE);
        info.keep(QUEUE, Some(2)).unwrap();
        assert_eq!(committed(&home.order_info()), Some(2), "reset by an operator");
    }

    #[test]
    fn the_offsets_file_alone_says_nothing_of_batches_nor_of_what_comes_after_it() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        // After damage it is written as of a later time.
        home.clock.advance(Duration::from_millis(1));
        let later_ms = home.clock.wall_ms() + 2_000;
        info.offsets.rewrite_as_of(later_ms).unwrap();
        let info = home.order_info();
        assert_eq!((committed(&info), blocked(&info, 1_000)), (Some(6), true));
        ack(&info, 6);
        let info = home.order_info();
        assert_eq!((committed(&info), blocked(&info, 1_000)), (Some(7), false));
    }

    #[test]
    fn a_reset_that_was_taken_does_not_undo_the_acks_that_followed() {
        let (home, info) = empty();
        info.offsets
            .assign_reset(QUEUE.group, QUEUE.topic, QUEUE.queue_id, 5);
        info.keep(QUEUE, Some(5)).unwrap();
        info.offsets.flush().unwrap();
        let info = home.order_info();
        assert_eq!(
            info.offsets
                .pending_reset(QUEUE.group, QUEUE.topic, QUEUE.queue_id),
            Some(5)
        );

        info.offsets.take_reset(QUEUE.group, QUEUE.topic, QUEUE.queue_id);
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        assert_eq!(committed(&home.order_info()), Some(6));
    }

    #[test]
    fn a_reset_in_the_millisecond_of_an_ack_stands_once_it_is_written() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        info.offsets
            .assign_reset(QUEUE.group, QUEUE.topic, QUEUE.queue_id, 2);
        info.offsets.flush().unwrap();
        assert_eq!(committed(&home.order_info()), Some(2));
    }

    #[test]
    fn a_flush_that_has_nothing_to_write_leaves_the_files_time_alone() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        info.offsets.rewrite_as_of(home.clock.wall_ms() + 2_000).unwrap();
        info.offsets.flush().unwrap();
        ack(&info, 5);
        assert_eq!(committed(&home.order_info()), Some(6));
    }

    #[test]
    fn lines_go_when_the_files_are_written_and_torn_ones_are_passed_over() {
        let (home, info) = empty();
        let lines = home.path().join("consumerOrderInfo.json.changes");
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        assert!(lines.exists());
        info.flush().unwrap();
        assert!(!lines.exists() && !home.path().join("consumerOrderInfo.json.changes.old").exists());

        std::fs::write(&lines, "{\"timeMs\":9,\"top").unwrap();
        ack(&info, 6);
        assert_eq!(committed(&home.order_info()), Some(7));
    }

    #[test]
    fn lines_from_before_a_java_broker_count_no_more() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        let java = r#"{"offsetTable":{"FxNormal@g":{2:9}}}"#;
        std::fs::write(home.path().join("consumerOffset.json"), java).unwrap();
        assert_eq!(committed(&home.order_info()), Some(9));
    }

    #[test]
    fn lines_from_before_the_offsets_were_written_count_no_more() {
        let (home, info) = empty();
        info.update(QUEUE, batch(&[5, 6]), 1_000);
        ack(&info, 5);
        home.clock.advance(Duration::from_millis(1));
        info.offsets
            .commit("test", QUEUE.group, QUEUE.topic, QUEUE.queue_id, 3);
        info.offsets.flush().unwrap();
        assert_eq!(committed(&home.order_info()), Some(3));
    }

    #[test]
    fn what_nobody_can_ask_about_any_more_is_forgotten() {
        let (_home, info) = empty();
        info.update(QUEUE, batch(&[5]), 1_000);
        info.clean(1_000, |_| Some(4), |_| true);
        assert!(blocked(&info, 1_000));
        info.clean(1_000 + IDLE_LIMIT_MS + 1, |_| Some(4), |_| true);
        assert!(!blocked(&info, 1_000));
        for (queues, has_group) in [(None, true), (Some(2), true), (Some(4), false)] {
            info.update(QUEUE, batch(&[5]), 1_000);
            info.clean(1_000, |_| queues, |_| has_group);
            assert!(!blocked(&info, 1_000));
        }
    }

    #[test]
    fn a_java_file_is_read() {
        let home = Home::of_java();
        let info = home.order_info();
        assert!(!info.lock().is_empty());
    }
}
