//! TimerFiles: wheel, log and checkpoint as one thing that survives a crash.
//!
//! ```text
//!   open   checkpoint ─> log: find its end ─> units since the last flush into their slots ─> slots that point beyond the
//!          end: filed again from their first unit, or emptied
//!   file   unit into the log ─> slot
//!   flush  log ─> wheel ─> checkpoint, which names only what is on disk
//! ```
//!
//! What the log lost is still in the queue of the timer topic: [`Recovered`] says from which message on it is to be filed
//! again. Reference: `TimerMessageStore.recover`.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::checkpoint::{TimerCheckpoint, TimerProgress};
use super::log::{TimerLog, TimerUnit};
use super::wheel::{Slot, TimerWheel};
use crate::disk::Disk;
use crate::offset::PhysicalOffset;
use crate::store::OpenError;

/// The smallest file that holds a page of units.
const MIN_LOG_FILE_BYTES: usize = 4096;

/// Where the files are, and what they must agree with.
#[derive(Clone, Debug)]
pub struct TimerOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `mappedFileSizeTimerLog`.
    pub log_file_size: usize,
    /// `timerPrecisionMs`: the width of a slot.
    pub precision_ms: i64,
    /// Where the CommitLog ends: no unit may point beyond.
    pub commit_log_end: PhysicalOffset,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// How far the timer had come when it last said so.
    pub progress: TimerProgress,
    /// The last message that was filed.
    pub last_unit: Option<TimerUnit>,
    /// The log lost units that were on disk before.
    pub is_log_damaged: bool,
}

/// The timer's files.
#[derive(Debug)]
pub struct TimerFiles {
    wheel: TimerWheel,
    log: TimerLog,
    checkpoint: TimerCheckpoint,
    precision_ms: i64,
    /// Messages in slots not yet passed.
    pending: AtomicI64,
    /// What the checkpoint says.
    progress: Mutex<TimerProgress>,
}

impl TimerFiles {
    /// Opens the files, making what is missing, and brings wheel and log into agreement.
    ///
    /// `is_whole` says whether a unit agrees with its message: the last ones of the log may be torn.
    pub fn open(
        options: &TimerOptions,
        is_whole: &dyn Fn(&TimerUnit) -> bool,
    ) -> Result<(Self, Recovered), OpenError> {
        if !(MIN_LOG_FILE_BYTES..=i32::MAX.unsigned_abs() as usize).contains(&options.log_file_size) {
            return Err(OpenError::Unsupported {
                key: "mappedFileSizeTimerLog",
                value: options.log_file_size.to_string(),
                remedy: "set it between 4096 and 2147483647",
            });
        }
        let disk = &*options.disk;
        let checkpoint_path = options.root.join("config/timercheck");
        let checkpoint = TimerCheckpoint::open(disk, &checkpoint_path)
            .map_err(OpenError::io("open the timer checkpoint", &checkpoint_path))?;
        let progress = checkpoint.read();
        let wheel_path = options.root.join("timerwheel");
        let (wheel, is_new_wheel) = TimerWheel::open(disk, &wheel_path, options.precision_ms)
            .map_err(OpenError::io("open the timer wheel", &wheel_path))?;
        // The units after the last flush are in the file before the one it ended in, or later.
        let mut revise_from = 0;
        let log = TimerLog::open(
            &options.disk,
            options.root.join("timerlog"),
            options.log_file_size,
            |last| {
                let last_file_bytes = last.map_or(0, |last| last.size() as u64);
                revise_from = progress.log_flushed.saturating_sub(last_file_bytes);
                revise_from
            },
            options.commit_log_end.0,
            is_whole,
        )?;
        let files = Self {
            wheel,
            log,
            checkpoint,
            precision_ms: options.precision_ms,
            pending: AtomicI64::new(0),
            progress: Mutex::new(progress),
        };
        files
            .bring_into_agreement(if is_new_wheel { 0 } else { revise_from })
            .map_err(OpenError::io("recover the timer wheel", &wheel_path))?;
        let recovered = Recovered {
            progress,
            last_unit: files.log.last_unit(),
            is_log_damaged: files.log.end() < progress.log_flushed,
        };
        Ok((files, recovered))
    }

    fn bring_into_agreement(&self, revise_from: u64) -> io::Result<()> {
        let end = self.log.end();
        let dangling: Vec<_> = self.waiting()?.filter(|(_, slot)| slot.last >= end).collect();
        if !dangling.is_empty() {
            tracing::warn!(
                slots = dangling.len(),
                "timer slots pointed beyond the end of the timer log"
            );
        }
        for (time_ms, _) in &dangling {
            self.wheel.clear(*time_ms)?;
        }
        let first = dangling.iter().map(|(_, slot)| slot.first).min();
        self.revise(first.unwrap_or(end).min(revise_from))?;
        // A second crash must not bring back a slot that pointed beyond the end: by then, another slot's unit may lie there.
        self.wheel.flush()?;
        let pending = self.waiting()?.map(|(_, slot)| i64::from(slot.count)).sum();
        self.pending.store(pending, Ordering::Relaxed);
        Ok(())
    }

    /// Slots not yet passed.
    fn waiting(&self) -> io::Result<impl Iterator<Item = (i64, Slot)>> {
        let read_time_ms = self.progress().read_time_ms;
        let filled = self.wheel.filled()?.into_iter();
        Ok(filled.filter(move |(time_ms, _)| *time_ms >= read_time_ms))
    }

    /// Puts units that their slots do not know into them.
    fn revise(&self, from: u64) -> io::Result<()> {
        let read_time_ms = self.progress().read_time_ms;
        let mut result = Ok(());
        self.log.for_each_from(from, |position, unit| {
            let slot_ms = self.slot_of(unit.slot_time_ms());
            if slot_ms < read_time_ms || result.is_err() {
                return;
            }
            let revised = match self.wheel.slot(slot_ms) {
                Some(slot) if position <= slot.last => return,
                Some(slot) if unit.previous.is_some() => Slot {
                    last: position,
                    count: slot.count.saturating_add(weight(unit)),
                    ..slot
                },
                // The first of the slot, or of a slot filed anew.
                _ => Slot {
                    first: position,
                    last: position,
                    count: weight(unit),
                },
            };
            result = self.wheel.set(slot_ms, revised);
        });
        result
    }

    /// Width of a slot, in ms.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// The slot that a time lies in.
    pub fn slot_of(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms) * self.precision_ms
    }

    /// Files a message; gives the position of its unit. `previous` of the unit is set here.
    ///
    /// # Errors
    /// When there is no room; then nothing is filed.
    pub fn file(&self, mut unit: TimerUnit) -> io::Result<u64> {
        let slot_ms = self.slot_of(unit.slot_time_ms());
        let slot = self.wheel.slot(slot_ms);
        unit.previous = slot.map(|slot| slot.last);
        let position = self.log.append(&unit)?;
        let count = slot.map_or(0, |slot| slot.count).saturating_add(weight(&unit));
        self.wheel.set(
            slot_ms,
            Slot {
                first: slot.map_or(position, |slot| slot.first),
                last: position,
                count,
            },
        )?;
        self.pending
            .fetch_add(i64::from(weight(&unit)), Ordering::Relaxed);
        Ok(position)
    }

    /// Replaces what a slot holds by these units and one last unit that stands for no waiting message: whoever reads the
    /// slot next finds them alone. They are filed in the order given.
    pub fn refile(&self, slot_ms: i64, units: &[TimerUnit], last: Option<TimerUnit>) -> io::Result<()> {
        let mut chain: Option<(u64, u64)> = None;
        for unit in units.iter().chain(&last) {
            let previous = chain.map(|(_, last)| last);
            let position = self.log.append(&TimerUnit { previous, ..*unit })?;
            chain = Some((chain.map_or(position, |(first, _)| first), position));
        }
        match chain {
            Some((first, last)) => {
                let count = units.iter().map(weight).sum();
                self.wheel.set(slot_ms, Slot { first, last, count })
            }
            None => self.wheel.clear(slot_ms),
        }
    }

    /// Messages that wait at a time.
    pub fn count_at(&self, time_ms: i64) -> i32 {
        self.wheel.count(time_ms)
    }

    /// Messages that wait in all slots.
    pub fn pending(&self) -> i64 {
        self.pending.load(Ordering::Relaxed).max(0)
    }

    /// Whether anything is filed in a slot.
    pub fn has_slot(&self, slot_ms: i64) -> bool {
        self.wheel.slot(slot_ms).is_some()
    }

    /// The slots not yet passed that hold anything, ascending.
    pub fn waiting_slots(&self) -> io::Result<Vec<i64>> {
        let mut slots: Vec<i64> = self.waiting()?.map(|(time_ms, _)| time_ms).collect();
        slots.sort_unstable();
        Ok(slots)
    }

    /// Visits the units of a slot with their positions, newest first.
    pub fn visit_slot(&self, slot_ms: i64, mut visit: impl FnMut(u64, &TimerUnit)) {
        let files = self.log.files();
        let mut next = self.wheel.slot(slot_ms).map(|slot| slot.last);
        while let Some(position) = next {
            let unit = self.log.unit_in(&files, position);
            let Some(unit) = unit.filter(|unit| self.slot_of(unit.slot_time_ms()) == slot_ms) else {
                tracing::error!(slot_ms, position, "the timer log holds no unit of the slot there");
                return;
            };
            visit(position, &unit);
            next = unit.previous.filter(|previous| *previous < position);
        }
    }

    /// Visits the units at this position of the log and behind it, in order.
    pub fn visit_from(&self, from: u64, mut visit: impl FnMut(&TimerUnit)) {
        self.log.for_each_from(from, |position, unit| {
            if position >= from {
                visit(unit);
            }
        });
    }

    /// Where the log ends.
    pub fn log_end(&self) -> u64 {
        self.log.end()
    }

    /// A unit by its position.
    pub fn unit(&self, position: u64) -> Option<TimerUnit> {
        self.log.unit(position)
    }

    /// The last unit of the log.
    pub fn last_unit(&self) -> Option<TimerUnit> {
        self.log.last_unit()
    }

    /// A slot is passed: what waited there waits no more.
    pub fn pass(&self, slot_ms: i64) {
        self.pending
            .fetch_sub(i64::from(self.wheel.count(slot_ms)), Ordering::Relaxed);
    }

    /// Gets log and wheel to the disk, and then says in the checkpoint how far the timer had come before.
    ///
    /// The caller has brought the CommitLog to the disk: units point into it, and passed slots are copies in it. `log_flushed`
    /// of the progress is where the log ended then: units filed since are of messages behind its `queue_offset`.
    pub fn flush(&self, progress: TimerProgress) -> io::Result<()> {
        let log_flushed = self.log.flush()?;
        self.wheel.flush()?;
        let progress = TimerProgress {
            log_flushed: progress.log_flushed.min(log_flushed),
            ..progress
        };
        self.checkpoint.write(&progress)?;
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        Ok(())
    }

    /// What the checkpoint says.
    pub fn progress(&self) -> TimerProgress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes files of the log all of whose messages are gone from the CommitLog. Gives how many.
    pub fn delete_before(&self, commit_log_min: PhysicalOffset) -> io::Result<usize> {
        self.log.delete_before(commit_log_min.0)
    }
}

/// What a unit adds to the count of its slot.
fn weight(unit: &TimerUnit) -> i32 {
    match unit.kind.deletes {
        true if unit.is_marker() => 0,
        true => -1,
        false => 1,
    }
}

#[cfg(test)]
mod tests {
    use common::clock::ManualClock;

    use super::*;
    use crate::disk::RealDisk;
    use crate::sim_disk::SimDisk;
    use crate::timer::UnitKind;

    const START_MS: i64 = 1_790_000_000_000;

    fn options(directory: &tempfile::TempDir) -> TimerOptions {
        TimerOptions {
            disk: Arc::new(RealDisk),
            root: directory.path().to_owned(),
            log_file_size: 4096,
            precision_ms: 1_000,
            commit_log_end: PhysicalOffset(u64::MAX),
        }
    }

    fn open(options: &TimerOptions) -> Result<(TimerFiles, Recovered), OpenError> {
        TimerFiles::open(options, &|_| true)
    }

    #[test]
    fn a_last_unit_that_disagrees_with_its_message_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..3 {
            files.file(unit(number, 5_000)).unwrap();
        }
        drop(files);
        let is_whole = |unit: &TimerUnit| unit.physical_offset.0 < 200;
        let (files, recovered) = TimerFiles::open(&options(&directory), &is_whole).unwrap();
        assert_eq!(recovered.last_unit.unwrap().physical_offset, PhysicalOffset(100));
        assert_eq!(messages(&files, START_MS + 5_000), [0, 1]);
    }

    fn unit(number: u64, delay_ms: i32) -> TimerUnit {
        TimerUnit {
            previous: None,
            kind: UnitKind::default(),
            write_time_ms: START_MS,
            delay_ms,
            physical_offset: PhysicalOffset(number * 100),
            size_bytes: 100,
            topic_hash: 7,
            due_ms: None,
        }
    }

    /// The messages of a slot, oldest first.
    fn messages(files: &TimerFiles, slot_ms: i64) -> Vec<u64> {
        let mut found = Vec::new();
        files.visit_slot(slot_ms, |_, unit| found.push(unit.physical_offset.0 / 100));
        found.reverse();
        found
    }

    fn deletes(number: u64, delay_ms: i32) -> TimerUnit {
        TimerUnit {
            kind: UnitKind {
                deletes: true,
                rolls: false,
            },
            ..unit(number, delay_ms)
        }
    }

    #[test]
    fn messages_of_a_slot_are_found_newest_first_across_files() {
        let directory = tempfile::tempdir().unwrap();
        let (files, recovered) = open(&options(&directory)).unwrap();
        assert_eq!(recovered.progress, TimerProgress::default());
        assert_eq!(recovered.last_unit, None);
        for number in 0..300 {
            files
                .file(unit(number, 5_000 + 1_000 * (number % 3) as i32))
                .unwrap();
        }
        files.file(deletes(300, 5_000)).unwrap();
        assert_eq!(files.pending(), 299);
        assert_eq!(files.count_at(START_MS + 5_999), 99);
        assert_eq!(
            messages(&files, START_MS + 6_000),
            (1..300).step_by(3).collect::<Vec<_>>()
        );
        files.pass(START_MS + 5_000);
        assert_eq!(files.pending(), 200);
    }

    #[test]
    fn everything_is_as_before_after_a_stop_and_without_the_wheel() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..300 {
            files
                .file(unit(number, 5_000 + 1_000 * (number % 3) as i32))
                .unwrap();
        }
        files.file(deletes(300, 6_000)).unwrap();
        let progress = TimerProgress {
            read_time_ms: START_MS,
            queue_offset: 301,
            ..TimerProgress::default()
        };
        files.flush(progress).unwrap();
        drop(files);
        for round in ["as it was", "without the wheel"] {
            if round == "without the wheel" {
                std::fs::remove_file(directory.path().join("timerwheel")).unwrap();
            }
            let (files, recovered) = open(&options(&directory)).unwrap();
            assert_eq!(
                (recovered.progress.queue_offset, files.pending()),
                (301, 299),
                "{round}"
            );
            assert_eq!(
                recovered.last_unit.unwrap().physical_offset,
                PhysicalOffset(30_000)
            );
            assert_eq!(messages(&files, START_MS + 5_000).len(), 100, "{round}");
            assert_eq!(messages(&files, START_MS + 6_000).len(), 101, "{round}");
            assert_eq!(files.count_at(START_MS + 6_000), 99, "{round}");
        }
    }

    #[test]
    fn slots_that_point_beyond_the_end_of_the_log_are_filed_again() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..20 {
            files
                .file(unit(number, 5_000 + 1_000 * (number % 2) as i32))
                .unwrap();
        }
        files.file(unit(20, 9_000)).unwrap();
        let progress = TimerProgress {
            log_flushed: files.log_end(),
            ..TimerProgress::default()
        };
        files.flush(progress).unwrap();
        drop(files);
        // The last eleven units are lost, the wheel still has them.
        let mut cut = options(&directory);
        cut.commit_log_end = PhysicalOffset(1_000);
        let (files, recovered) = open(&cut).unwrap();
        assert!(recovered.is_log_damaged);
        assert_eq!(recovered.last_unit.unwrap().physical_offset, PhysicalOffset(900));
        assert_eq!(messages(&files, START_MS + 5_000), [0, 2, 4, 6, 8]);
        assert_eq!(messages(&files, START_MS + 6_000), [1, 3, 5, 7, 9]);
        assert_eq!(messages(&files, START_MS + 9_000), []);
        assert_eq!(files.pending(), 10);
        files.file(unit(10, 9_000)).unwrap();
        assert_eq!(messages(&files, START_MS + 9_000), [10]);
    }

    /// The first power failure may leave a slot on the disk whose unit it takes; behind that, other slots are filed then.
    #[test]
    fn a_second_power_failure_brings_back_no_slot_that_points_to_the_unit_of_another() {
        for seed in 0..64 {
            let disk = SimDisk::new(Arc::new(ManualClock::new(START_MS)));
            let options = TimerOptions {
                disk: Arc::new(disk.clone()),
                root: PathBuf::from("/timer"),
                log_file_size: 4096,
                precision_ms: 1_000,
                commit_log_end: PhysicalOffset(u64::MAX),
            };
            let (files, _) = open(&options).unwrap();
            files.file(unit(0, 5_000)).unwrap();
            let progress = TimerProgress {
                log_flushed: files.log_end(),
                ..TimerProgress::default()
            };
            files.flush(progress).unwrap();
            for number in 1..5 {
                files.file(unit(number, 5_000)).unwrap();
            }
            drop(files);
            disk.crash(seed).unwrap();
            let (files, _) = open(&options).unwrap();
            // A page of the log holds them all, and is there or not, or torn.
            for number in 5..10 {
                files.file(unit(number, 6_000)).unwrap();
            }
            drop(files);
            disk.crash(seed + 1_000).unwrap();
            let (files, _) = open(&options).unwrap();
            let mut filed = Vec::new();
            files.visit_from(0, |unit| {
                filed.push((unit.slot_time_ms(), unit.physical_offset.0 / 100))
            });
            for slot_ms in [START_MS + 5_000, START_MS + 6_000] {
                let of_slot = filed.iter().filter(|(time_ms, _)| *time_ms == slot_ms);
                let of_slot: Vec<u64> = of_slot.map(|(_, number)| *number).collect();
                assert_eq!(messages(&files, slot_ms), of_slot, "seed {seed}, {filed:?}");
                assert_eq!(files.count_at(slot_ms) as usize, of_slot.len(), "seed {seed}");
            }
            assert_eq!(
                messages(&files, START_MS + 5_000).first(),
                Some(&0),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_slot_filed_anew_holds_only_what_was_given_also_after_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..10 {
            files.file(unit(number, 5_000)).unwrap();
        }
        files
            .refile(
                START_MS + 5_000,
                &[unit(8, 5_000), unit(9, 5_000)],
                Some(deletes(9, 5_000)),
            )
            .unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [8, 9, 9]);
        assert_eq!(files.count_at(START_MS + 5_000), 2);
        // Not flushed: the checkpoint knows nothing, all units are read again.
        drop(files);
        let (files, _) = open(&options(&directory)).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [8, 9, 9]);
    }

    #[test]
    fn a_log_file_too_small_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let mut small = options(&directory);
        small.log_file_size = 100;
        let error = TimerFiles::open(&small, &|_| true).unwrap_err().to_string();
        assert!(
            error.starts_with("mappedFileSizeTimerLog=100 is not supported"),
            "{error}"
        );
    }
}
