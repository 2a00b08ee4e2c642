//! DelayDelivery: puts messages of the delay levels back into their topics when they are due.
//!
//! ```text
//!   send (DELAY=n) ─> SCHEDULE_TOPIC_XXXX, queue n-1, entry's tags code = delivery time
//!                          │ read from the level's offset while the time is due
//!                          └─> copy in REAL_TOPIC, queue REAL_QID ─> offset + 1
//! ```
//!
//! All messages of a level wait equally long, so the first of a queue is due first and only it is watched. The thread
//! sleeps until the next one is due; an arrival that is due earlier wakes it through [`DelayArrivals`].
//!
//! Invariants
//! - A level's offset passes a message only when its copy is in the log: a crash delivers twice rather than never. A start looks
//!   for copies that the written offsets do not count, so that it is twice only where the log lost some, or is a Java broker's.
//! - A copy that cannot be put holds its level back until it can; nothing is skipped but what is not readable.
//! - The copy keeps its property string, DELAY included, and is not delayed again: that is decided by the send handler
//!   and not by the store.
//!
//! Reference: `ScheduleMessageService`, which looks at every level ten times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::clock::Now;
use common::message::delay_level::{DelayLevelError, DelayLevels};
use common::message::properties::name;
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use common::service::{Next, Service, Waker};
use store::record::{self, Record};
use store::{Arrival, ArrivalListener, Message, PutError, QueueEntry, QueueOffset, Store};

use crate::delay::copy::{copy, without_crc};
use crate::delay::recovery::Copies;
use crate::registry::DelayOffsets;
use crate::stats::BrokerStats;

/// Messages of one level that a tick delivers at most, so that no level starves another.
const BATCH: usize = 64;
/// When a copy that could not be put is tried again.
const RETRY_AFTER_MS: i64 = 1_000;
/// The longest sleep while messages wait: they are due by wall time, which may be set forward.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The longest sleep while nothing waits.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Wakes the delivery when a message arrives that is due before anything it knows of.
///
/// Made before the store, whose arrivals it is told.
#[derive(Debug)]
pub struct DelayArrivals {
    waker: Waker,
    /// The time the delivery sleeps to; arrivals due later need not wake it.
    next_due_ms: AtomicI64,
}

impl DelayArrivals {
    /// `waker` is the one [`DelayDelivery`] is started with.
    pub fn new(waker: &Waker) -> Arc<Self> {
        Arc::new(DelayArrivals {
            waker: waker.clone(),
            next_due_ms: AtomicI64::new(i64::MAX),
        })
    }
}

impl ArrivalListener for DelayArrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if arrival.topic == names::SCHEDULE_TOPIC
            && arrival.tags_code < self.next_due_ms.load(Ordering::SeqCst)
        {
            self.waker.wake();
        }
    }
}

/// The service that delivers the messages of all delay levels.
pub struct DelayDelivery {
    store: Arc<Store>,
    stats: Arc<BrokerStats>,
    offsets: Arc<DelayOffsets>,
    arrivals: Arc<DelayArrivals>,
    levels: Vec<Level>,
    wait: Duration,
}

/// One delay level: a queue of the schedule topic.
#[derive(Debug)]
struct Level {
    level: i32,
    delay_ms: i64,
    /// The next message to deliver.
    offset: u64,
    /// Set after a failed put: not before this time.
    retry_at_ms: Option<i64>,
}

/// What a level waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// An arrival.
    ForArrival,
    /// This wall time.
    Until(i64),
    /// Nothing: there may be more that is due.
    Not,
}

impl DelayDelivery {
    /// Goes on where `offsets` say, with the levels of the store's `messageDelayLevel`.
    pub fn new(
        store: Arc<Store>,
        stats: Arc<BrokerStats>,
        offsets: Arc<DelayOffsets>,
        arrivals: Arc<DelayArrivals>,
    ) -> Result<Self, DelayLevelError> {
        let levels = DelayLevels::parse(&store.config().get().message_delay_level)?;
        let copies = copies_not_counted(&store, &offsets, levels.max_level());
        let log_end = store.log_range().end;
        let levels = (1..=levels.max_level())
            .filter_map(|level| {
                let written = offset_from_wire(offsets.get(level).unwrap_or(0));
                let offset = copies.next_of(&store, level, written);
                if offset != written {
                    tracing::info!(
                        level,
                        written,
                        offset,
                        "delayed messages were delivered after their progress was written"
                    );
                    offsets.set(level, offset_to_wire(offset), log_end);
                }
                Some(Level {
                    level,
                    delay_ms: levels.delay_ms(level)?,
                    offset,
                    retry_at_ms: None,
                })
            })
            .collect();
        offsets.settle(log_end);
        let log = Arc::clone(&store);
        // All delivered copies are in the log by now.
        offsets.flush_log_first(move || log.flush());
        Ok(DelayDelivery {
            store,
            stats,
            offsets,
            arrivals,
            levels,
            wait: Duration::ZERO,
        })
    }
}

/// The copies of delayed messages that are in the log and not in the written offsets. Where no level has messages behind its
/// offset there are none, and the log is not looked through.
fn copies_not_counted(store: &Store, offsets: &DelayOffsets, max_level: i32) -> Copies {
    if is_planted(PlantedBug::DeliverDelayedAgain) {
        return Copies::default();
    }
    let has_more =
        |level: i32| store.max_offset(names::SCHEDULE_TOPIC, level - 1) > offsets.get(level).unwrap_or(0);
    offsets
        .copies_from()
        .filter(|_| (1..=max_level).any(has_more))
        .map_or_else(Copies::default, |from| Copies::find(store, from))
}

impl Service for DelayDelivery {
    const NAME: &'static str = "DelayDelivery";

    fn interval(&self) -> Duration {
        self.wait
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if stopping {
            return Ok(Next::Idle);
        }
        // Until the queues are read again, any arrival must wake us: it could be one they did not show.
        self.arrivals.next_due_ms.store(i64::MAX, Ordering::SeqCst);
        let mut next_due_ms = None;
        let mut more = false;
        for level in &mut self.levels {
            match level.deliver(&self.store, &self.stats, &self.offsets, now.wall_ms) {
                Waits::ForArrival => {}
                Waits::Until(due_ms) => {
                    next_due_ms = Some(next_due_ms.map_or(due_ms, |next: i64| next.min(due_ms)));
                }
                Waits::Not => more = true,
            }
        }
        if more {
            return Ok(Next::Again);
        }
        self.offsets.settle(self.store.log_range().end);
        self.arrivals
            .next_due_ms
            .store(next_due_ms.unwrap_or(i64::MAX), Ordering::SeqCst);
        self.wait = next_due_ms.map_or(IDLE_WAIT, |due_ms| {
            let left_ms = u64::try_from(due_ms - now.wall_ms).unwrap_or(0);
            Duration::from_millis(left_ms).min(MAX_WAIT)
        });
        Ok(Next::Idle)
    }
}

impl Level {
    /// Delivers what is due, at most a batch.
    fn deliver(&mut self, store: &Store, stats: &BrokerStats, offsets: &DelayOffsets, now_ms: i64) -> Waits {
        if let Some(retry_at_ms) = self.retry_at_ms.filter(|retry_at_ms| now_ms < *retry_at_ms) {
            // A clock set back must not make the retry wait for hours.
            return Waits::Until(retry_at_ms.min(now_ms + RETRY_AFTER_MS));
        }
        // Asked before: what comes meanwhile is no entry that cannot be read.
        let bounds = store.queue_bounds(names::SCHEDULE_TOPIC, self.level - 1);
        let entries = store.queue_entries(
            names::SCHEDULE_TOPIC,
            self.level - 1,
            QueueOffset(self.offset),
            BATCH,
        );
        if entries.is_empty() {
            let is_inside = bounds.is_some_and(|bounds| (bounds.min.0..bounds.max.0).contains(&self.offset));
            if is_inside {
                // It cannot be read now: no file can be opened, for one.
                return Waits::Until(now_ms + RETRY_AFTER_MS);
            }
            return self.correct_offset(store, offsets);
        }
        let start = self.offset;
        let waits = self.deliver_entries(store, stats, &entries, now_ms);
        if self.offset != start || offsets.get(self.level).is_none() {
            offsets.set(self.level, offset_to_wire(self.offset), store.log_range().end);
        }
        waits
    }

    fn deliver_entries(
        &mut self,
        store: &Store,
        stats: &BrokerStats,
        entries: &[QueueEntry],
        now_ms: i64,
    ) -> Waits {
        for entry in entries {
            let due_ms = self.due_ms(entry.tags_code, now_ms);
            if due_ms > now_ms {
                return Waits::Until(due_ms);
            }
            if let Err(error) = deliver(store, stats, entry) {
                return self.hold_back(entry, &error, now_ms);
            }
            if self.retry_at_ms.take().is_some() {
                tracing::info!(level = self.level, "delayed messages are delivered again");
            }
            self.offset = entry.queue_offset.0 + u64::from(entry.message_count.max(1));
        }
        Waits::Not
    }

    /// A time further away than the level's delay means that the clock was set back since: the message waits no more.
    fn due_ms(&self, deliver_at_ms: i64, now_ms: i64) -> i64 {
        if deliver_at_ms > now_ms.saturating_add(self.delay_ms) {
            now_ms
        } else {
            deliver_at_ms
        }
    }

    fn hold_back(&mut self, entry: &QueueEntry, error: &PutError, now_ms: i64) -> Waits {
        if self.retry_at_ms.is_none() {
            tracing::error!(
                level = self.level,
                queue_offset = entry.queue_offset.0,
                physical_offset = entry.physical_offset.0,
                "delayed message not delivered, its level waits until it can be: {error}"
            );
        }
        let retry_at_ms = now_ms + RETRY_AFTER_MS;
        self.retry_at_ms = Some(retry_at_ms);
        Waits::Until(retry_at_ms)
    }

    /// Brings the offset back into the queue: messages were deleted below it, or the queue's end was lost in a crash.
    fn correct_offset(&mut self, store: &Store, offsets: &DelayOffsets) -> Waits {
        let Some(bounds) = store.queue_bounds(names::SCHEDULE_TOPIC, self.level - 1) else {
            return Waits::ForArrival;
        };
        let corrected = self.offset.clamp(bounds.min.0, bounds.max.0.max(bounds.min.0));
        if corrected != self.offset {
            tracing::error!(
                level = self.level,
                offset = self.offset,
                corrected,
                "delay offset is outside its queue: going on at the nearest message"
            );
            self.offset = corrected;
            offsets.set(self.level, offset_to_wire(corrected), store.log_range().end);
            return Waits::Not;
        }
        // Visible since the entries were read.
        if self.offset < bounds.max.0 {
            return Waits::Not;
        }
        Waits::ForArrival
    }
}

/// Puts the copy of a due message. One that nobody can deliver any more is left out, with its place in the log.
fn deliver(store: &Store, stats: &BrokerStats, entry: &QueueEntry) -> Result<(), PutError> {
    let skip = |why: &str| {
        tracing::error!(
            queue_offset = entry.queue_offset.0,
            physical_offset = entry.physical_offset.0,
            "delayed message skipped: {why}"
        );
        Ok(())
    };
    let Some(bytes) = store.read_at(entry.physical_offset) else {
        return skip("its record is gone from the log");
    };
    let record = match record::decode(&bytes) {
        Ok(record) => record,
        Err(error) => return skip(&error.to_string()),
    };
    match restore(&record) {
        Some(message) => store
            .put(&message)
            .map(|appended| stats.record_delivery(message.topic, u64::from(appended.size_bytes))),
        None => skip("REAL_TOPIC and REAL_QID do not name a queue for it"),
    }
}

/// The message as it is to be put into its own topic; `None` when its properties do not say where that is.
///
/// A half message here would be one that was never committed. Reference: `messageTimeUp`.
pub fn restore<'a>(record: &Record<'a>) -> Option<Message<'a>> {
    let topic = record
        .property(name::REAL_TOPIC)
        .filter(|topic| *topic != names::TRANS_HALF_TOPIC)?;
    let queue_id = record.property(name::REAL_QUEUE_ID)?.parse().ok()?;
    Some(copy(record, (topic, queue_id), without_crc(record.properties)))
}

fn offset_from_wire(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn offset_to_wire(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use store::PhysicalOffset;
    use store::record::encode::{RecordStyle, encode, patch};

    use super::*;

    const PROPERTIES: &str = "KEYS\u{1}k\u{2}DELAY\u{1}3\u{2}REAL_TOPIC\u{1}Orders\u{2}REAL_QID\u{1}5\u{2}";

    fn level(delay_ms: i64) -> Level {
        Level {
            level: 1,
            delay_ms,
            offset: 0,
            retry_at_ms: None,
        }
    }

    fn message(properties: &str) -> Message<'_> {
        Message {
            topic: names::SCHEDULE_TOPIC,
            queue_id: 2,
            flag: 7,
            sys_flag: 1,
            born_timestamp_ms: 11,
            born_host: "10.0.0.1:1000".parse().unwrap(),
            store_host: "10.0.0.2:2000".parse().unwrap(),
            reconsume_times: 4,
            prepared_transaction_offset: 9,
            properties,
            body: b"body",
        }
    }

    fn record(properties: &str, append_property_crc: bool) -> Vec<u8> {
        let style = RecordStyle {
            version_by_topic_length: false,
            append_property_crc,
        };
        let mut bytes = Vec::new();
        encode(&message(properties), style, &mut bytes);
        patch(&mut bytes, QueueOffset(0), PhysicalOffset(0), 12, style);
        bytes
    }

    #[test]
    fn a_copy_goes_to_its_own_topic_and_keeps_everything_else() {
        for append_property_crc in [false, true] {
            let bytes = record(PROPERTIES, append_property_crc);
            let record = record::decode(&bytes).unwrap();
            let copy = restore(&record).unwrap();
            assert_eq!((copy.topic, copy.queue_id), ("Orders", 5));
            assert_eq!(copy.properties, PROPERTIES, "DELAY stays, the old checksum goes");
            assert_eq!((copy.flag, copy.sys_flag, copy.reconsume_times), (7, 1, 4));
            assert_eq!((copy.born_timestamp_ms, copy.born_host), (11, record.born_host));
            assert_eq!((copy.store_host, copy.body), (record.store_host, record.body));
            assert_eq!(copy.prepared_transaction_offset, 0);
        }
    }

    #[test]
    fn a_message_that_names_no_queue_or_was_never_committed_has_no_copy() {
        let cases = [
            "",
            "REAL_TOPIC\u{1}Orders\u{2}",
            "REAL_QID\u{1}5\u{2}",
            "REAL_TOPIC\u{1}Orders\u{2}REAL_QID\u{1}five\u{2}",
            "REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}REAL_QID\u{1}0\u{2}",
        ];
        for properties in cases {
            let bytes = record(properties, false);
            assert!(
                restore(&record::decode(&bytes).unwrap()).is_none(),
                "{properties:?}"
            );
        }
    }

    #[test]
    fn a_clock_set_back_does_not_make_messages_wait_longer_than_their_delay() {
        let level = level(5_000);
        assert_eq!(level.due_ms(104_000, 100_000), 104_000);
        assert_eq!(level.due_ms(105_000, 100_000), 105_000);
        assert_eq!(level.due_ms(105_001, 100_000), 100_000);
        assert_eq!(level.due_ms(1, 100_000), 1);
    }

    #[test]
    fn only_an_earlier_message_of_the_schedule_topic_wakes_the_delivery() {
        let waker = Waker::new();
        let arrivals = DelayArrivals::new(&waker);
        let arrive = |topic, deliver_at_ms| {
            arrivals.arrived(&Arrival {
                topic,
                queue_id: 0,
                queue_offset: QueueOffset(0),
                tags_code: deliver_at_ms,
                store_timestamp_ms: 0,
                properties: "",
            });
            waker.take()
        };
        assert!(arrive(names::SCHEDULE_TOPIC, 500), "nothing was waiting");
        arrivals.next_due_ms.store(500, Ordering::SeqCst);
        assert!(!arrive(names::SCHEDULE_TOPIC, 500));
        assert!(arrive(names::SCHEDULE_TOPIC, 499));
        assert!(!arrive("Orders", 1));
    }
}
