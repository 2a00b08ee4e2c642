//! TimerWheel: for each step of time, where the timer log holds its messages.
//!
//! ```text
//!   slot of a time: (time / precision) mod 1,209,600           32 bytes each, big-endian
//!
//!   0          8           16         24      28
//!   | time /   | first     | last     | count | unused |
//!   | precision| unit      | unit     |       |        |
//! ```
//!
//! Invariants
//! - A slot that names another time is empty: slots are never cleared after delivery, the next time with the same place
//!   overwrites them. The wheel goes round in two weeks, and nothing is filed further ahead than half of that.
//! - A slot takes its time last, so that a crash leaves it empty or whole. Units are in the log before they are in a slot,
//!   so that recovery can file them again.
//! - `count` is what waits there: a unit that takes another back counts -1.
//!
//! Only the timer's thread sets slots; any thread reads counts. Reference: `TimerWheel`, `Slot`.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::log::TimerUnit;
use crate::disk::Disk;
use crate::mapped_file::MappedTable;

/// Slots of the wheel, whatever the precision.
pub const WHEEL_SLOTS: i64 = 2 * 7 * 24 * 3600;
const SLOT_BYTES: usize = 32;
const WHEEL_BYTES: usize = WHEEL_SLOTS as usize * SLOT_BYTES;

const FIRST_AT: usize = 8;
const LAST_AT: usize = 16;
const COUNT_AT: usize = 24;

/// Where the units of one step of time are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The oldest unit, a position in the timer log.
    pub first: u64,
    /// The newest unit; the others follow by their `previous`.
    pub last: u64,
    /// Messages that wait.
    pub count: i32,
}

impl Slot {
    /// One with its first unit.
    pub(super) fn begun_with(position: u64, unit: &TimerUnit) -> Self {
        Self {
            first: position,
            last: position,
            count: unit.weight(),
        }
    }

    /// It, with a unit more.
    #[must_use]
    pub(super) fn followed_by(self, position: u64, unit: &TimerUnit) -> Self {
        Self {
            last: position,
            count: self.count.saturating_add(unit.weight()),
            ..self
        }
    }
}

/// The wheel.
#[derive(Debug)]
pub struct TimerWheel {
    table: MappedTable,
    precision_ms: i64,
    /// Bytes changed since the last flush, as one range around them all.
    dirty: Mutex<Option<Range<usize>>>,
}

impl TimerWheel {
    /// Opens the wheel; also says whether it was made now. One of another length is made anew: the timer log has it all.
    pub fn open(disk: &dyn Disk, path: &Path, precision_ms: i64) -> io::Result<(Self, bool)> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let length = disk
            .list(directory)?
            .into_iter()
            .find(|entry| path.ends_with(&entry.name))
            .map(|entry| entry.length);
        let is_new = length != Some(WHEEL_BYTES as u64);
        if is_new && length.is_some_and(|length| length > 0) {
            tracing::warn!(path = %path.display(), ?length, "this is no timer wheel: it is rebuilt from the timer log");
        }
        let table = if is_new {
            disk.remove_file(path)?;
            let table = MappedTable::create(disk, path, WHEEL_BYTES)?;
            disk.sync_dir(directory)?;
            table
        } else {
            MappedTable::open(disk, path)?
        };
        let wheel = Self {
            table,
            precision_ms,
            dirty: Mutex::new(None),
        };
        Ok((wheel, is_new))
    }

    /// The slot of a time; `None` when nothing is filed there.
    pub fn slot(&self, time_ms: i64) -> Option<Slot> {
        let step = time_ms.div_euclid(self.precision_ms);
        let at = slot_at(step);
        if self.table.is_hole(at..at + SLOT_BYTES) {
            return None;
        }
        (self.table.u64_at(at).cast_signed() == step).then(|| self.slot_in(at))
    }

    /// Messages that wait at a time.
    pub fn count(&self, time_ms: i64) -> i32 {
        self.slot(time_ms).map_or(0, |slot| slot.count)
    }

    /// Sets the slot of a time, whatever stood in its place.
    pub fn set(&self, time_ms: i64, slot: Slot) -> io::Result<()> {
        let step = time_ms.div_euclid(self.precision_ms);
        let at = slot_at(step);
        self.table.reserve(at..at + SLOT_BYTES)?;
        if self.table.u64_at(at).cast_signed() != step {
            self.table.set_u64(at, 0);
        }
        self.table.set_u64(at + FIRST_AT, slot.first);
        self.table.set_u64(at + LAST_AT, slot.last);
        self.table.set_u32(at + COUNT_AT, slot.count.cast_unsigned());
        self.table.set_u64(at, step.cast_unsigned());
        self.mark_dirty(at);
        Ok(())
    }

    /// Empties the slot of a time.
    pub fn clear(&self, time_ms: i64) -> io::Result<()> {
        let at = slot_at(time_ms.div_euclid(self.precision_ms));
        self.table.reserve(at..at + SLOT_BYTES)?;
        self.table.set_u64(at, 0);
        self.mark_dirty(at);
        Ok(())
    }

    /// Every slot that was ever filled, with its time, in no order.
    pub fn filled(&self) -> io::Result<Vec<(i64, Slot)>> {
        let mut filled = Vec::new();
        let mut at = 0;
        while at < WHEEL_BYTES {
            // Holes of the file are skipped: a wheel is mostly empty.
            at = self.table.next_data(at)? / SLOT_BYTES * SLOT_BYTES;
            let page_end = ((at / 4096 + 1) * 4096).min(WHEEL_BYTES);
            for at in (at..page_end).step_by(SLOT_BYTES) {
                let step = self.table.u64_at(at).cast_signed();
                if step > 0 && slot_at(step) == at {
                    filled.push((step.saturating_mul(self.precision_ms), self.slot_in(at)));
                }
            }
            at = page_end.max(at);
        }
        Ok(filled)
    }

    /// Gets what changed to the disk.
    pub fn flush(&self) -> io::Result<()> {
        let dirty = self.dirty().take();
        let Some(range) = dirty else { return Ok(()) };
        let flushed = self.table.flush_range(range.clone());
        if flushed.is_err() {
            self.mark_dirty(range.start);
            self.mark_dirty(range.end - SLOT_BYTES);
        }
        flushed
    }

    fn slot_in(&self, at: usize) -> Slot {
        Slot {
            first: self.table.u64_at(at + FIRST_AT),
            last: self.table.u64_at(at + LAST_AT),
            count: self.table.u32_at(at + COUNT_AT).cast_signed(),
        }
    }

    fn mark_dirty(&self, at: usize) {
        // Flushes are of whole pages.
        let (start, end) = (at / 4096 * 4096, at + SLOT_BYTES);
        let mut dirty = self.dirty();
        *dirty = Some(match dirty.take() {
            Some(range) => range.start.min(start)..range.end.max(end),
            None => start..end,
        });
    }

    fn dirty(&self) -> std::sync::MutexGuard<'_, Option<Range<usize>>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot_at(step: i64) -> usize {
    let index = usize::try_from(step.rem_euclid(WHEEL_SLOTS)).expect("a remainder is not negative");
    index * SLOT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const SLOT: Slot = Slot {
        first: 52,
        last: 104,
        count: 2,
    };

    fn wheel() -> (tempfile::TempDir, TimerWheel) {
        let directory = tempfile::tempdir().unwrap();
        let (wheel, is_new) =
            TimerWheel::open(&RealDisk, &directory.path().join("timerwheel"), 1_000).unwrap();
        assert!(is_new);
        (directory, wheel)
    }

    #[test]
    fn a_slot_lies_where_the_reference_has_it() {
        let (directory, wheel) = wheel();
        let time_ms = 1_790_000_000_000;
        wheel.set(time_ms, SLOT).unwrap();
        wheel.flush().unwrap();
        let bytes = std::fs::read(directory.path().join("timerwheel")).unwrap();
        assert_eq!(bytes.len(), 38_707_200);
        let at = 1_790_000_000 % 1_209_600 * 32;
        let expected = [
            &1_790_000_000_u64.to_be_bytes()[..],
            &52_u64.to_be_bytes(),
            &104_u64.to_be_bytes(),
        ]
        .concat();
        assert_eq!(bytes[at..at + 24], expected);
        assert_eq!(bytes[at + 24..at + 32], [0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn a_slot_of_another_round_is_empty_and_is_overwritten() {
        let (_directory, wheel) = wheel();
        let round_ms = WHEEL_SLOTS * 1_000;
        wheel.set(5_000_000_000, SLOT).unwrap();
        assert_eq!(
            wheel.slot(5_000_000_999),
            Some(SLOT),
            "all of a second is one slot"
        );
        assert_eq!(wheel.slot(5_000_000_000 + round_ms), None);
        wheel.set(5_000_000_000 + round_ms, SLOT).unwrap();
        assert_eq!(wheel.slot(5_000_000_000), None);
        assert_eq!(wheel.count(5_000_000_000 + round_ms), 2);
    }

    #[test]
    fn every_filled_slot_is_found_again() {
        let (directory, wheel) = wheel();
        let mut times: Vec<i64> = (0..200)
            .map(|number| 1_790_000_000_000 + number * 7_919_000)
            .collect();
        for time_ms in &times {
            wheel.set(*time_ms, SLOT).unwrap();
        }
        wheel.clear(times[3]).unwrap();
        times.remove(3);
        drop(wheel);
        let path = directory.path().join("timerwheel");
        let (wheel, is_new) = TimerWheel::open(&RealDisk, &path, 1_000).unwrap();
        assert!(!is_new);
        let mut found: Vec<i64> = wheel
            .filled()
            .unwrap()
            .into_iter()
            .map(|(time_ms, _)| time_ms)
            .collect();
        found.sort_unstable();
        assert_eq!(found, times);
    }

    #[test]
    fn a_file_that_is_no_wheel_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("timerwheel");
        std::fs::write(&path, [7; 100]).unwrap();
        let (wheel, is_new) = TimerWheel::open(&RealDisk, &path, 1_000).unwrap();
        assert!(is_new);
        assert_eq!(wheel.filled().unwrap(), []);
    }
}
