//! TimerFiles: wheel, log and checkpoint as one thing that survives a crash.
//!
//! ```text
//!   open    checkpoint ─> log: find its end ─> slots whose last unit is not there: emptied ─> units that no slot knows
//!           into their slots, from the last flush on, or from where an emptied slot began
//!   file    unit into the log ─> slot
//!   refile  units into the log ─> log to the disk ─> slot
//!   flush   log ─> wheel ─> checkpoint, which names only what is on disk
//! ```
//!
//! After a power failure wheel and log hold any of their pages, and a page may end in the middle of a slot. So a slot is
//! believed when its last unit is in the log and is its own; the rest follows from that unit.
//!
//! What the log lost is still in the queue of the timer topic: [`Recovered`] says from which message on it is to be filed
//! again. Reference: `TimerMessageStore.recover`.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::chains::Chains;
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
            &|position, unit| {
                unit.ends_at() <= options.commit_log_end
                    && (position < progress.log_flushed || is_whole(unit))
            },
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

    fn bring_into_agreement(&self, mut revise_from: u64) -> io::Result<()> {
        let mut emptied = 0;
        let waiting: Vec<(i64, Slot)> = self.waiting()?.collect();
        for (slot_ms, slot) in waiting {
            match self.as_last_unit_has_it(slot_ms, slot) {
                Some(whole) if whole == slot => {}
                Some(whole) => self.wheel.set(slot_ms, whole)?,
                None => {
                    emptied += 1;
                    let is_begin_known = self.is_of_slot(slot_ms, slot.first);
                    revise_from = revise_from.min(if is_begin_known { slot.first } else { 0 });
                    self.wheel.clear(slot_ms)?;
                }
            }
        }
        if emptied > 0 {
            tracing::warn!(
                slots = emptied,
                from = revise_from,
                "timer slots pointed to no unit of theirs: they are made from the timer log"
            );
        }
        self.revise(revise_from)?;
        // A second crash must not bring back a slot that pointed beyond the end: by then, another slot's unit may lie there.
        self.wheel.flush()?;
        let pending = self.waiting()?.map(|(_, slot)| i64::from(slot.count)).sum();
        self.pending.store(pending, Ordering::Relaxed);
        Ok(())
    }

    /// The slot as its last unit has it; `None` when that is none of the slot's. One that was not set since the checkpoint is
    /// believed.
    fn as_last_unit_has_it(&self, slot_ms: i64, slot: Slot) -> Option<Slot> {
        if !self.is_of_slot(slot_ms, slot.last) {
            return None;
        }
        if slot.last < self.progress().log_flushed {
            return Some(slot);
        }
        let mut whole = Slot { count: 0, ..slot };
        self.visit_chain(slot_ms, slot.last, |position, unit| {
            whole.first = position;
            whole.count = whole.count.saturating_add(unit.weight());
        });
        Some(whole)
    }

    fn is_of_slot(&self, slot_ms: i64, position: u64) -> bool {
        let unit = self.log.unit(position);
        unit.is_some_and(|unit| self.slot_of(unit.slot_time_ms()) == slot_ms)
    }

    /// Slots not yet passed.
    fn waiting(&self) -> io::Result<impl Iterator<Item = (i64, Slot)>> {
        let read_time_ms = self.progress().read_time_ms;
        let filled = self.wheel.filled()?.into_iter();
        Ok(filled.filter(move |(time_ms, _)| *time_ms >= read_time_ms))
    }

    /// Puts units that their slots do not know into them.
    fn revise(&self, from: u64) -> io::Result<()> {
        let mut chains = Chains::default();
        let read_time_ms = self.progress().read_time_ms;
        let mut result = Ok(());
        self.log.for_each_from(from, |position, unit| {
            let slot_ms = self.slot_of(unit.slot_time_ms());
            if slot_ms < read_time_ms || result.is_err() {
                return;
            }
            if let Some(revised) = chains.take(slot_ms, self.wheel.slot(slot_ms), position, unit) {
                result = self.wheel.set(slot_ms, revised);
            }
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
        let set = match slot {
            Some(slot) => slot.followed_by(position, &unit),
            None => Slot::begun_with(position, &unit),
        };
        self.wheel.set(slot_ms, set)?;
        self.pending
            .fetch_add(i64::from(unit.weight()), Ordering::Relaxed);
        Ok(position)
    }

    /// Replaces what a slot holds by these units and one last unit that stands for no waiting message: whoever reads the
    /// slot next finds them alone. They are filed in the order given.
    ///
    /// A power failure leaves the slot as it was or as it is to be, never with a part of the units: it is set when the last of
    /// them is on the disk, and what of them is in the log without the last does not count (see [`Chains`]). The caller has
    /// brought to the disk what stands for the units left out.
    ///
    /// # Errors
    /// When there is no room, or the disk fails; then the slot is as it was.
    pub fn refile(&self, slot_ms: i64, units: &[TimerUnit], last: Option<TimerUnit>) -> io::Result<()> {
        let mut anew: Option<Slot> = None;
        for unit in units.iter().chain(&last) {
            let previous = anew.map(|anew| anew.last);
            let unit = TimerUnit { previous, ..*unit };
            let position = self.log.append(&unit)?;
            anew = Some(match anew {
                Some(anew) => anew.followed_by(position, &unit),
                None => Slot::begun_with(position, &unit),
            });
        }
        self.log.flush()?;
        match anew {
            Some(anew) => self.wheel.set(slot_ms, anew),
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
    pub fn visit_slot(&self, slot_ms: i64, visit: impl FnMut(u64, &TimerUnit)) {
        if let Some(slot) = self.wheel.slot(slot_ms) {
            self.visit_chain(slot_ms, slot.last, visit);
        }
    }

    fn visit_chain(&self, slot_ms: i64, last: u64, mut visit: impl FnMut(u64, &TimerUnit)) {
        let files = self.log.files();
        let mut next = Some(last);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use common::clock::ManualClock;

    use super::*;
    use crate::disk::RealDisk;
    use crate::sim_disk::{Fault, Faults, Operation, SimDisk};
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

    /// The unit that ends what is filed anew.
    fn names_last(number: u64, delay_ms: i32) -> TimerUnit {
        TimerUnit {
            topic_hash: 0,
            ..deletes(number, delay_ms)
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
            let (disk, options) = simulated();
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
                Some(names_last(9, 5_000)),
            )
            .unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [8, 9, 9]);
        assert_eq!(files.count_at(START_MS + 5_000), 2);
        // Not flushed: the checkpoint knows nothing, all units are read again.
        drop(files);
        let (files, _) = open(&options(&directory)).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [8, 9, 9]);
    }

    fn simulated() -> (SimDisk, TimerOptions) {
        let disk = SimDisk::new(Arc::new(ManualClock::new(START_MS)));
        let options = TimerOptions {
            disk: Arc::new(disk.clone()),
            root: PathBuf::from("/timer"),
            log_file_size: 4096,
            precision_ms: 1_000,
            commit_log_end: PhysicalOffset(u64::MAX),
        };
        (disk, options)
    }

    /// A slot of a hundred messages, with so many others behind it in the log, all on the disk.
    fn slot_of_hundred(options: &TimerOptions, others: u64) -> TimerFiles {
        let (files, _) = open(options).unwrap();
        for number in 0..100 {
            files.file(unit(number, 5_000)).unwrap();
        }
        for number in 100..100 + others {
            files.file(unit(number, 9_000)).unwrap();
        }
        let progress = TimerProgress {
            log_flushed: files.log_end(),
            ..TimerProgress::default()
        };
        files.flush(progress).unwrap();
        files
    }

    fn refile_eighty(files: &TimerFiles) -> io::Result<()> {
        let left: Vec<TimerUnit> = (20..100).map(|number| unit(number, 5_000)).collect();
        files.refile(START_MS + 5_000, &left, Some(names_last(100, 5_000)))
    }

    /// Pages of wheel and log reach the disk in any order, at any time, and the power may fail while they are brought there.
    #[test]
    fn a_power_failure_leaves_a_slot_as_it_was_or_filed_anew_as_a_whole() {
        let mut is_anew = Vec::new();
        for seed in 0..256 {
            let (disk, options) = simulated();
            // Its units are in the last file of the log, or lie files before it.
            let files = slot_of_hundred(&options, [0, 400][seed as usize % 2]);
            disk.set_faults(Faults {
                power_fails_after: Some(seed / 2 % 16),
                ..Faults::default()
            });
            // Whether it failed is not known to whoever starts next.
            let _ = refile_eighty(&files);
            drop(files);
            disk.crash(seed).unwrap();
            let (files, _) = open(&options).unwrap();
            let found = messages(&files, START_MS + 5_000);
            is_anew.push(found.first() == Some(&20));
            let (expected, count): (Vec<u64>, _) = match is_anew.last() {
                Some(true) => ((20..101).collect(), 80),
                _ => ((0..100).collect(), 100),
            };
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(files.count_at(START_MS + 5_000), count, "seed {seed}");
            // What comes then, and the next power failure, change nothing about that.
            files.file(unit(501, 5_000)).unwrap();
            drop(files);
            disk.crash(seed + 1_000).unwrap();
            let (files, _) = open(&options).unwrap();
            let mut found = messages(&files, START_MS + 5_000);
            found.retain(|number| *number != 501);
            assert_eq!(found, expected, "seed {seed}, the second time");
        }
        assert!(is_anew.contains(&true) && is_anew.contains(&false));
    }

    #[test]
    fn a_slot_cannot_be_filed_anew_on_a_full_disk_and_is_as_it_was() {
        let (disk, options) = simulated();
        let files = slot_of_hundred(&options, 0);
        disk.set_faults(Faults {
            operations: [(Operation::Create, Fault::NoSpace)].into(),
            power_fails_after: None,
        });
        refile_eighty(&files).unwrap_err();
        disk.set_faults(Faults::default());
        let whole: Vec<u64> = (0..100).collect();
        assert_eq!(messages(&files, START_MS + 5_000), whole);
        drop(files);
        let (files, _) = open(&options).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), whole);
        refile_eighty(&files).unwrap();
        drop(files);
        let (files, _) = open(&options).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), (20..101).collect::<Vec<_>>());
    }

    #[test]
    fn without_the_wheel_a_slot_filed_anew_holds_what_the_last_whole_refiling_left() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..10 {
            files.file(unit(number, 5_000)).unwrap();
        }
        let marker = names_last(9, 5_000);
        let units = [unit(8, 5_000), unit(9, 5_000)];
        files.refile(START_MS + 5_000, &units, Some(marker)).unwrap();
        files.file(unit(10, 5_000)).unwrap();
        // One that did not get to its end.
        files.log.append(&unit(10, 5_000)).unwrap();
        drop(files);
        std::fs::remove_file(directory.path().join("timerwheel")).unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [8, 9, 9, 10]);
        assert_eq!(files.count_at(START_MS + 5_000), 3);
    }

    /// A page of the wheel may end anywhere in a slot.
    #[test]
    fn a_torn_slot_is_made_from_the_log() {
        let whole = |files: &TimerFiles| {
            let found = messages(files, START_MS + 5_000);
            (found, files.count_at(START_MS + 5_000))
        };
        for known in [0, 4] {
            for cut in 8..32_u64 {
                let directory = tempfile::tempdir().unwrap();
                let (files, _) = open(&options(&directory)).unwrap();
                files.file(unit(100, 9_000)).unwrap();
                for number in 0..known {
                    files.file(unit(number, 5_000)).unwrap();
                }
                let progress = TimerProgress {
                    log_flushed: files.log_end(),
                    ..TimerProgress::default()
                };
                files.flush(progress).unwrap();
                let wheel = std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(directory.path().join("timerwheel"))
                    .unwrap();
                let torn_at = START_MS as u64 / 1_000 % 1_209_600 * 32 + 5 * 32 + cut;
                let mut old = vec![0; 32 - cut as usize];
                wheel.read_exact_at(&mut old, torn_at).unwrap();
                for number in known..200 {
                    files.file(unit(number, 5_000)).unwrap();
                }
                let expected = whole(&files);
                drop(files);
                wheel.write_all_at(&old, torn_at).unwrap();
                let (files, _) = open(&options(&directory)).unwrap();
                assert_eq!(whole(&files), expected, "{known} on the disk, cut at {cut}");
            }
        }
    }

    /// Of the pages of the log the second may be on the disk and the first in part.
    #[test]
    fn a_torn_unit_ends_the_log_also_when_whole_ones_follow() {
        let directory = tempfile::tempdir().unwrap();
        let (files, _) = open(&options(&directory)).unwrap();
        for number in 0..10 {
            files.file(unit(number, 5_000)).unwrap();
        }
        drop(files);
        let path = directory.path().join("timerlog/00000000000000000000");
        let mut torn = std::fs::read(&path).unwrap();
        torn[6 * 52 + 20..7 * 52].fill(0);
        std::fs::write(&path, torn).unwrap();
        let is_whole = |unit: &TimerUnit| unit.size_bytes == 100;
        let (files, recovered) = TimerFiles::open(&options(&directory), &is_whole).unwrap();
        assert_eq!(messages(&files, START_MS + 5_000), [0, 1, 2, 3, 4, 5]);
        assert_eq!(files.count_at(START_MS + 5_000), 6);
        assert_eq!(recovered.last_unit.unwrap().physical_offset, PhysicalOffset(500));
    }

    #[test]
    fn a_power_failure_while_files_are_cut_off_leaves_no_gap_in_the_log() {
        for seed in 0..64 {
            let (disk, mut options) = simulated();
            let (files, _) = open(&options).unwrap();
            for number in 0..500 {
                files.file(unit(number, 5_000)).unwrap();
            }
            files.log.flush().unwrap();
            drop(files);
            // Of five hundred messages ten are left.
            options.commit_log_end = PhysicalOffset(1_000);
            disk.set_faults(Faults {
                power_fails_after: Some(8 + seed % 16),
                ..Faults::default()
            });
            let _ = open(&options);
            disk.crash(seed).unwrap();
            let (files, _) = open(&options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(messages(&files, START_MS + 5_000), (0..10).collect::<Vec<_>>());
        }
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
