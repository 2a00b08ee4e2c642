//! Timers: what handlers and services of the timer share.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use common::clock::Clock;
use common::names::TIMER_TOPIC;
use common::properties::Live;
use common::service::Waker;
use store::record;
use store::timer::{Recovered, TimerFiles, TimerOptions, TimerProgress, TimerUnit, topic_hash};
use store::{Arrival, ArrivalListener, Disk, MessageStoreConfig, PhysicalOffset, Store};

use super::message::TimerMessage;
use super::metrics::TimerMetrics;
use super::recall::Recalls;
use crate::registry::ConfigDirectory;

/// The widths that a slot can have, in ms. Reference: `MessageStoreConfig.setTimerPrecisionMs`.
const PRECISIONS_MS: [i64; 4] = [1_000, 500, 200, 100];

/// Reference: `TimerMetrics.timerDist`.
const SNAPSHOT_BOUNDS_S: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];

/// The timer of one broker.
pub struct Timers {
    pub(crate) files: TimerFiles,
    pub(crate) metrics: Arc<TimerMetrics>,
    pub(crate) recalls: Recalls,
    /// What the service has done, for the next checkpoint.
    reached: Mutex<TimerProgress>,
    /// Where the service starts.
    start: Start,
    pub(crate) enqueued: Meter,
    pub(crate) dequeued: Meter,
}

/// Where the service starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// What the checkpoint said.
    pub(crate) progress: TimerProgress,
    /// The next message to file.
    pub(crate) queue_offset: u64,
    /// Messages behind it may be filed already.
    pub(crate) follows_checkpoint: bool,
    /// The first slot that holds anything.
    pub(crate) first_slot_ms: Option<i64>,
}

impl Timers {
    /// Opens the files and the table of counts; the store is open.
    pub(crate) fn open(
        store: &Store,
        disk: &Arc<dyn Disk>,
        directory: &ConfigDirectory,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let config = store.config().get();
        let options = TimerOptions {
            disk: Arc::clone(disk),
            root: Path::new(&config.store_path_root_dir).to_owned(),
            log_file_size: config.mapped_file_size_timer_log,
            precision_ms: precision_ms(config.timer_precision_ms),
            commit_log_end: store.log_range().end,
        };
        let (files, recovered) = TimerFiles::open(&options, &|unit| {
            agrees_with_message(store, unit, options.precision_ms)
        })
        .context("open the timer's files")?;
        let metrics = TimerMetrics::open(directory, Arc::clone(clock))?;
        let slots = files.waiting_slots().context("read the timer wheel")?;
        let start = Start {
            progress: recovered.progress,
            queue_offset: next_to_file(store, &recovered),
            follows_checkpoint: follows_checkpoint(&recovered),
            first_slot_ms: slots.first().copied(),
        };
        if metrics.total() != files.pending() {
            // Written at other times than the files: after a crash they differ.
            metrics.revise(&count_by_topic(store, &files, &slots, &metrics));
        }
        Ok(Self {
            files,
            metrics: Arc::new(metrics),
            recalls: Recalls::default(),
            reached: Mutex::new(recovered.progress),
            start,
            enqueued: Meter::default(),
            dequeued: Meter::default(),
        })
    }

    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// How far the service is: every slot before the time is delivered, every message before the offset filed.
    pub(crate) fn reached(&self) -> TimerProgress {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages are due within each of [`SNAPSHOT_BOUNDS_S`] and not within the one before; later ones do not
    /// count. Reference: `DefaultStoreMetricsManager`, `timerMessageSnapshot`.
    pub(crate) fn snapshot(&self, now_ms: i64) -> [(i64, i64); SNAPSHOT_BOUNDS_S.len()] {
        let mut counts = SNAPSHOT_BOUNDS_S.map(|bound_s| (bound_s, 0));
        let from_ms = self.files.slot_of(now_ms);
        for slot_ms in self.files.waiting_slots().unwrap_or_default() {
            let ahead_ms = slot_ms - from_ms;
            let mut bounds = counts.iter_mut();
            if ahead_ms >= 0
                && let Some((_, count)) = bounds.find(|(bound_s, _)| ahead_ms < bound_s * 1_000)
            {
                *count += i64::from(self.files.count_at(slot_ms));
            }
        }
        counts
    }

    /// Writes what the service had reached, whose copies are on the disk, into the files.
    ///
    /// Copies still to come are said to begin where the log is on the disk, not where it ends: a power failure may take its
    /// end, and then they stand before that.
    pub(crate) fn write_progress(&self, store: &Store, reached: TimerProgress) -> std::io::Result<()> {
        let flushed = store.flushed().0;
        self.files.flush(TimerProgress {
            delivered_from: reached.delivered_from.map(|from| from.min(flushed)),
            ..reached
        })
    }

    /// Tells how far the service is; the version is ours to count.
    pub(crate) fn reach(&self, now_reached: TimerProgress, now_ms: i64) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |progress: &TimerProgress| (progress.read_time_ms, progress.queue_offset);
        if place(&reached) != place(&now_reached) {
            let [state, _, counter] = reached.version;
            reached.version = [state, now_ms, counter.wrapping_add(1)];
        }
        *reached = TimerProgress {
            version: reached.version,
            ..now_reached
        };
    }
}

/// Whether a unit says what its message says; one whose message is past its time in the CommitLog is taken at its word.
fn agrees_with_message(store: &Store, unit: &TimerUnit, precision_ms: i64) -> bool {
    if unit.physical_offset < store.log_range().start {
        return true;
    }
    let bytes = store.read_at(unit.physical_offset);
    let record = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok());
    let record = record.filter(|record| record.topic == TIMER_TOPIC && record.size_bytes == unit.size_bytes);
    let Some(record) = record else { return false };
    if unit.is_marker() {
        return true;
    }
    TimerMessage::of(&record).is_some_and(|message| {
        let is_due = |due_ms| unit.kind.rolls || due_ms == message.due_ms(precision_ms);
        unit.topic_hash == topic_hash(message.real_topic) && unit.due_ms.is_none_or(is_due)
    })
}

/// Whether the queue is followed again from our checkpoint on. The reference's does not say so exactly which units it knows.
fn follows_checkpoint(recovered: &Recovered) -> bool {
    recovered.progress.delivered_from.is_some() && !recovered.is_log_damaged
}

/// The first message that may have to be filed.
///
/// The log is newer than the checkpoint after a crash, but its last unit does not speak for late messages before it, which
/// have none: ours goes on at the checkpoint (see [`super::filed`]). A checkpoint of the reference may be behind what it filed;
/// it knows of messages that were never filed, because they were due at once. A log that lost what was on the disk is believed
/// alone: what it lost is filed again.
fn next_to_file(store: &Store, recovered: &Recovered) -> u64 {
    let by_checkpoint = recovered.progress.queue_offset;
    let last_filed = recovered
        .last_unit
        .and_then(|unit| store.read_at(unit.physical_offset));
    let by_log = last_filed
        .as_deref()
        .and_then(|bytes| record::decode(bytes).ok())
        .filter(|record| record.topic == TIMER_TOPIC)
        .map(|record| record.queue_offset.0 + 1);
    let next = match by_log {
        _ if follows_checkpoint(recovered) => by_checkpoint,
        Some(by_log) if recovered.is_log_damaged => by_log,
        Some(by_log) => by_log.max(by_checkpoint),
        // Nothing was ever filed, or all of it is lost.
        None if recovered.is_log_damaged => 0,
        None => by_checkpoint,
    };
    store.queue_bounds(TIMER_TOPIC, 0).map_or(0, |bounds| {
        next.clamp(bounds.min.0, bounds.max.0.max(bounds.min.0))
    })
}

/// How many messages wait for each topic. Units know the hash of their topic; a topic that has no count yet is read from
/// the message.
fn count_by_topic(
    store: &Store,
    files: &TimerFiles,
    slots: &[i64],
    metrics: &TimerMetrics,
) -> BTreeMap<String, i64> {
    let mut by_hash: HashMap<i32, (i64, PhysicalOffset)> = HashMap::new();
    for slot_ms in slots {
        files.visit_slot(*slot_ms, |_, unit| {
            let (count, _) = by_hash
                .entry(unit.topic_hash)
                .or_insert((0, unit.physical_offset));
            *count += if unit.kind.deletes { -1 } else { 1 };
        });
    }
    // Units that only mark the queue stand for no topic.
    by_hash.remove(&0);
    let known = metrics.snapshot().timing_count.into_keys();
    let mut counts: BTreeMap<String, i64> = known
        .filter_map(|topic| Some((by_hash.remove(&topic_hash(&topic))?.0, topic)))
        .map(|(count, topic)| (topic, count))
        .collect();
    for (count, physical_offset) in by_hash.into_values() {
        let bytes = store.read_at(physical_offset);
        let record = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok());
        if let Some(message) = record.as_ref().and_then(TimerMessage::of) {
            counts.insert(message.real_topic.to_owned(), count);
        }
    }
    counts
}

/// The nearest width that a slot can have.
pub(crate) fn precision_ms(configured_ms: i64) -> i64 {
    let fitting = PRECISIONS_MS
        .into_iter()
        .find(|precision_ms| *precision_ms <= configured_ms);
    fitting.unwrap_or(PRECISIONS_MS[PRECISIONS_MS.len() - 1])
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers")
            .field("reached", &self.reached())
            .finish_non_exhaustive()
    }
}

/// Wakes the service when a message comes into the timer topic. Made before the store, whose arrivals it is told.
#[derive(Debug)]
pub(crate) struct TimerArrivals(pub(crate) Waker);

impl ArrivalListener for TimerArrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if arrival.topic == TIMER_TOPIC {
            self.0.wake();
        }
    }
}

/// Counts events, and how many there are a second.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    count: AtomicU64,
    sampled: Mutex<(u64, i64)>,
    /// A `f64`.
    rate: AtomicU64,
}

impl Meter {
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Events since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Takes a sample: the rate is that between the last two.
    pub(crate) fn sample(&self, now_ms: i64) {
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let (last_count, last_ms) = *sampled;
        let count = self.count();
        let elapsed_ms = now_ms.saturating_sub(last_ms);
        if elapsed_ms <= 0 {
            *sampled = (count, now_ms);
            return;
        }
        let rate = if last_ms == 0 {
            0.0
        } else {
            (count - last_count) as f64 * 1_000.0 / elapsed_ms as f64
        };
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
        *sampled = (count, now_ms);
    }

    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }
}

/// Whether the timer works on this broker now.
pub(crate) fn is_master(config: &Live<MessageStoreConfig>) -> bool {
    config.get().broker_role != store::BrokerRole::Slave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precision_is_one_of_the_references() {
        for (configured, used) in [
            (1_000, 1_000),
            (5_000, 1_000),
            (999, 500),
            (200, 200),
            (199, 100),
            (-1, 100),
        ] {
            assert_eq!(precision_ms(configured), used, "{configured}");
        }
    }

    #[test]
    fn a_rate_is_that_between_two_samples() {
        let meter = Meter::default();
        meter.sample(1_000);
        for _ in 0..50 {
            meter.add();
        }
        assert_eq!(meter.rate(), 0.0);
        meter.sample(3_000);
        assert_eq!(meter.rate(), 25.0);
        meter.sample(3_000);
        assert_eq!(meter.rate(), 25.0);
    }
}
