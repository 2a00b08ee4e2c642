//! TimerLog: one unit for each message that waits, in files of equal size.
//!
//! ```text
//!   0      4          12      16           24      28         36     40      44
//!   | size | previous | magic | write time | delay | physical | size | topic | due  |   52 bytes, big-endian
//!   | = 52 | unit     |       |            |       | offset   |      | hash  | time |
//!
//!   end of a file: | bytes left | 0 (8) | blank magic |, when a unit and this blank do not fit any more
//! ```
//!
//! `write time + delay` names the slot. The units of a slot are a chain from the newest to the oldest. The last eight bytes
//! are reserved in the reference, which writes 0 and never reads them: ours hold the exact due time inside the slot.
//!
//! Invariants
//! - A unit's `previous` lies before it.
//! - Only the timer's thread appends; any thread flushes.
//!
//! Reference: `TimerLog`.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::Guard;

use crate::disk::Disk;
use crate::mapped_file::{MappedFile, MappedFileWriter};
use crate::mapped_file_queue::{Files, MappedFileQueue, QueueShape};
use crate::offset::PhysicalOffset;
use crate::store::OpenError;

/// Length of a unit.
pub const UNIT_BYTES: usize = 52;
const BLANK_BYTES: usize = 16;
/// The reference's `0xBBCCDDEE ^ 1880681586 + 8`.
const BLANK_MAGIC: u32 = 0xCBD4_3194;
/// How far ahead of the writer blocks are reserved on the disk.
const RESERVE_AHEAD_BYTES: usize = 1024 * 1024;

const MAGIC_DEFAULT: u32 = 1;
const MAGIC_ROLL: u32 = 2;
const MAGIC_DELETE: u32 = 4;

/// What a unit stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitKind {
    /// The message is due later than its slot: it goes back into the timer topic.
    pub rolls: bool,
    /// The message takes another one back.
    pub deletes: bool,
}

impl UnitKind {
    fn magic(self) -> u32 {
        MAGIC_DEFAULT | if self.rolls { MAGIC_ROLL } else { 0 } | if self.deletes { MAGIC_DELETE } else { 0 }
    }

    fn of(magic: u32) -> Option<Self> {
        // What the reference takes for a unit.
        (magic <= 0xF).then_some(Self {
            rolls: magic & MAGIC_ROLL != 0,
            deletes: magic & MAGIC_DELETE != 0,
        })
    }
}

/// One waiting message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerUnit {
    /// The unit filed before it in the same slot.
    pub previous: Option<u64>,
    /// What it stands for.
    pub kind: UnitKind,
    /// The slot that was current when it was filed, in ms.
    pub write_time_ms: i64,
    /// From there to its own slot, in ms.
    pub delay_ms: i32,
    /// Where the message is in the CommitLog.
    pub physical_offset: PhysicalOffset,
    /// Length of its record.
    pub size_bytes: u32,
    /// Hash of the topic it goes to.
    pub topic_hash: i32,
    /// When exactly it is due, in ms; `None` in the reference's units.
    pub due_ms: Option<i64>,
}

impl TimerUnit {
    /// The time of its slot, not rounded.
    pub fn slot_time_ms(&self) -> i64 {
        self.write_time_ms.saturating_add(i64::from(self.delay_ms))
    }

    /// Whether it counts for no message that waits: a deletion for no topic. It names the last message followed, or a recall
    /// that took its message out already.
    pub fn is_marker(&self) -> bool {
        self.kind.deletes && self.topic_hash == 0
    }

    /// Whether it only names the last message followed.
    pub fn names_last_message(&self) -> bool {
        self.is_marker() && !self.has_met()
    }

    /// What it adds to the count of its slot.
    pub(super) fn weight(&self) -> i32 {
        match self.kind.deletes {
            true if self.is_marker() => 0,
            true => -1,
            false => 1,
        }
    }

    /// Where its message ends in the CommitLog.
    pub(super) fn ends_at(&self) -> PhysicalOffset {
        PhysicalOffset(self.physical_offset.0.saturating_add(u64::from(self.size_bytes)))
    }

    /// Whether it is a recall that took its message out already.
    pub fn has_met(&self) -> bool {
        self.is_marker() && self.due_ms.is_some()
    }

    /// The recall, when it has taken its message out: it counts no more.
    #[must_use]
    pub fn met(self) -> Self {
        debug_assert!(self.kind.deletes, "only a recall meets a message");
        Self {
            topic_hash: 0,
            due_ms: Some(self.due_ms.unwrap_or(self.slot_time_ms())),
            ..self
        }
    }

    /// As it lies in the log.
    pub fn encode(&self) -> [u8; UNIT_BYTES] {
        let previous = self.previous.map_or(-1, u64::cast_signed);
        let mut bytes = [0; UNIT_BYTES];
        bytes[0..4].copy_from_slice(&(UNIT_BYTES as u32).to_be_bytes());
        bytes[4..12].copy_from_slice(&previous.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.kind.magic().to_be_bytes());
        bytes[16..24].copy_from_slice(&self.write_time_ms.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.delay_ms.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.physical_offset.0.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.size_bytes.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.due_ms.unwrap_or(0).to_be_bytes());
        bytes
    }

    /// The unit in these bytes; `None` when they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; UNIT_BYTES] = bytes.get(..UNIT_BYTES)?.try_into().ok()?;
        if u32_of(bytes, 0) as usize != UNIT_BYTES {
            return None;
        }
        Some(Self {
            previous: u64::try_from(u64_of(bytes, 4).cast_signed()).ok(),
            kind: UnitKind::of(u32_of(bytes, 12))?,
            write_time_ms: u64_of(bytes, 16).cast_signed(),
            delay_ms: u32_of(bytes, 24).cast_signed(),
            physical_offset: PhysicalOffset(u64_of(bytes, 28)),
            size_bytes: u32_of(bytes, 36),
            topic_hash: u32_of(bytes, 40).cast_signed(),
            due_ms: Some(u64_of(bytes, 44).cast_signed()).filter(|due_ms| *due_ms > 0),
        })
    }
}

/// The reference's hash of a topic: that of a Java string.
pub fn topic_hash(topic: &str) -> i32 {
    topic.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

fn u32_of(bytes: &[u8; UNIT_BYTES], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_of(bytes: &[u8; UNIT_BYTES], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The log.
#[derive(Debug)]
pub(super) struct TimerLog {
    files: MappedFileQueue,
    writer: Mutex<Option<MappedFileWriter>>,
    end: AtomicU64,
    flushed: AtomicU64,
}

impl TimerLog {
    /// Loads the files and finds where the log ends: at the first bytes from the file of `scan_from` on that are no unit, or
    /// one that is not `is_whole` at its position. What comes after is cut off.
    pub fn open(
        disk: &Arc<dyn Disk>,
        directory: PathBuf,
        file_size: usize,
        scan_from: impl FnOnce(Option<&MappedFile>) -> u64,
        is_whole: &dyn Fn(u64, &TimerUnit) -> bool,
    ) -> Result<Self, OpenError> {
        let (queue, mut files) = MappedFileQueue::load(QueueShape {
            directories: vec![directory.clone()],
            read_only: Vec::new(),
            file_size,
            size_key: "mappedFileSizeTimerLog",
            disk,
        })?;
        let scan_from = scan_from(files.last());
        let end = find_end(&files, scan_from, is_whole);
        let kept = files.iter().filter(|file| file.start() < end).count();
        // From the end on: a crash in between must not leave a gap.
        for file in files.drain(kept..).rev() {
            disk.remove_file(file.path())
                .map_err(OpenError::io("remove", file.path()))?;
        }
        if let Some(last) = files.last_mut()
            && last.end() > end
        {
            let published = usize::try_from(end - last.start()).expect("inside a mapped file");
            let path = last.path().to_owned();
            let truncated = last.truncate(published);
            // Or a second crash could bring units back that lie behind new ones.
            truncated
                .and_then(|()| last.flush(0..last.size()))
                .map_err(OpenError::io("truncate", &path))?;
        }
        queue.publish(files);
        let writer = queue.files().find(end).and_then(|file| file.writer());
        Ok(Self {
            files: queue,
            writer: Mutex::new(writer),
            end: AtomicU64::new(end),
            // After a kill, the last units are in the page cache alone.
            flushed: AtomicU64::new(scan_from.min(end)),
        })
    }

    /// Appends a unit; gives its position.
    pub fn append(&self, unit: &TimerUnit) -> io::Result<u64> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |writer: &MappedFileWriter| writer.room() < UNIT_BYTES + BLANK_BYTES;
        if writer.as_ref().is_none_or(is_full) {
            self.roll(&mut writer)?;
        }
        let writer = writer.as_mut().expect("rolling gave a writer");
        reserve(writer, UNIT_BYTES + BLANK_BYTES)?;
        let position = writer.file().start() + writer.position() as u64;
        writer.write(&unit.encode());
        writer.publish();
        self.end.store(position + UNIT_BYTES as u64, Ordering::Release);
        Ok(position)
    }

    fn roll(&self, writer: &mut Option<MappedFileWriter>) -> io::Result<()> {
        let start = match writer {
            Some(full) => {
                reserve(full, BLANK_BYTES)?;
                full.file().end()
            }
            None => self.end(),
        };
        let next = self.files.create(start)?;
        let next_writer = next.writer().expect("nobody else has the new file");
        if let Some(full) = writer {
            let left = u32::try_from(full.room()).expect("less than a unit and a blank is left");
            full.write(&left.to_be_bytes());
            full.write(&[0; 8]);
            full.write(&BLANK_MAGIC.to_be_bytes());
            full.skip_to_end();
            full.publish();
        }
        self.files.push(next);
        self.end.store(start, Ordering::Release);
        *writer = Some(next_writer);
        Ok(())
    }

    /// The unit at a position.
    pub fn unit(&self, position: u64) -> Option<TimerUnit> {
        unit_at(&self.files(), position)
    }

    /// The unit at a position, in files taken once for many.
    pub fn unit_in(&self, files: &Files, position: u64) -> Option<TimerUnit> {
        unit_at(files, position)
    }

    /// The files as they are now.
    pub fn files(&self) -> Guard<Arc<Files>> {
        self.files.files()
    }

    /// Units from the file that holds `from` on, in order.
    pub fn for_each_from(&self, from: u64, mut visit: impl FnMut(u64, &TimerUnit)) {
        for file in self.files().iter().filter(|file| file.end() > from) {
            each_unit(file, |position, unit| {
                visit(position, unit);
                true
            });
        }
    }

    /// Where the log ends.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The last unit.
    pub fn last_unit(&self) -> Option<TimerUnit> {
        let files = self.files();
        let last_file = files.iter().rev().find(|file| file.published() > 0)?;
        unit_at(&files, last_file.start() + last_unit_at(last_file)? as u64)
    }

    /// Gets everything appended so far to the disk; gives the position below which it is.
    pub fn flush(&self) -> io::Result<u64> {
        let (from, end) = (self.flushed.load(Ordering::Acquire), self.end());
        for file in self
            .files()
            .iter()
            .filter(|file| file.end() > from && file.start() < end)
        {
            let first = place(from.max(file.start()) - file.start()) / 4096 * 4096;
            let last = place(end.min(file.end()) - file.start());
            file.flush(first..last)?;
        }
        self.flushed.store(end, Ordering::Release);
        Ok(end)
    }

    /// Deletes the oldest files all of whose messages lie before `commit_log_min`. Gives how many.
    pub fn delete_before(&self, commit_log_min: u64) -> io::Result<usize> {
        let files = self.files();
        let gone = files
            .iter()
            .take(files.len().saturating_sub(1))
            .take_while(|file| is_gone(file, commit_log_min))
            .count();
        self.files.remove_first(gone)?;
        Ok(gone)
    }
}

fn reserve(writer: &MappedFileWriter, length: usize) -> io::Result<()> {
    let least = (writer.position() + length).min(writer.file().size());
    writer.file().reserve_ahead(least, least + RESERVE_AHEAD_BYTES)
}

fn unit_at(files: &Files, position: u64) -> Option<TimerUnit> {
    TimerUnit::decode(files.bytes(position, UNIT_BYTES)?)
}

/// Visits the units of a file until one is refused; gives where it stopped, the file's end when it is full.
fn each_unit(file: &MappedFile, mut visit: impl FnMut(u64, &TimerUnit) -> bool) -> u64 {
    let bytes = file.bytes(0..file.published()).unwrap_or_default();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if is_blank(rest) {
            return file.end();
        }
        let position = file.start() + at as u64;
        match TimerUnit::decode(rest) {
            Some(unit) if visit(position, &unit) => at += UNIT_BYTES,
            _ => return position,
        }
    }
    file.start() + at as u64
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.get(12..16) == Some(&BLANK_MAGIC.to_be_bytes())
}

fn find_end(files: &[MappedFile], scan_from: u64, is_whole: &dyn Fn(u64, &TimerUnit) -> bool) -> u64 {
    let Some(first) = files.first() else { return 0 };
    let mut end = first.start();
    for file in files {
        if file.end() <= scan_from {
            end = file.end();
            continue;
        }
        end = each_unit(file, is_whole);
        if end < file.end() {
            break;
        }
    }
    end
}

/// Where the last unit of a file that holds some is.
fn last_unit_at(file: &MappedFile) -> Option<usize> {
    let written = match file.published() {
        // The end of a full file is the blank.
        full if full == file.size() => (full - BLANK_BYTES) / UNIT_BYTES * UNIT_BYTES,
        written => written,
    };
    written.checked_sub(UNIT_BYTES)
}

/// Whether no message of the file is in the CommitLog any more. Units are nearly in the order of their messages: the
/// last one tells at once of most files that they stay.
fn is_gone(file: &MappedFile, commit_log_min: u64) -> bool {
    let is_before = |unit: &TimerUnit| unit.physical_offset.0 < commit_log_min;
    let last = last_unit_at(file)
        .and_then(|at| file.bytes(at..at + UNIT_BYTES))
        .and_then(TimerUnit::decode);
    if !last.is_some_and(|last| is_before(&last)) {
        return false;
    }
    each_unit(file, |_, unit| is_before(unit)) == file.end()
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("inside a mapped file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn unit(number: u64) -> TimerUnit {
        TimerUnit {
            previous: number.checked_sub(1).map(|number| number * UNIT_BYTES as u64),
            kind: UnitKind::default(),
            write_time_ms: 1_790_000_000_000,
            delay_ms: 5_000,
            physical_offset: PhysicalOffset(number * 100),
            size_bytes: 100,
            topic_hash: topic_hash("Orders"),
            due_ms: Some(1_790_000_005_250),
        }
    }

    fn open(directory: &tempfile::TempDir, commit_log_end: u64) -> TimerLog {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        TimerLog::open(&disk, directory.path().to_owned(), 4096, |_| 0, &|_, unit| {
            unit.ends_at().0 <= commit_log_end
        })
        .unwrap()
    }

    /// From the store that a Java 5.5.0 broker wrote: a message 60 hours ahead, which rolls, and one that takes another
    /// back.
    #[test]
    fn units_of_the_reference_are_read_and_written_to_the_same_bytes() {
        let roll = (
            "00000034ffffffffffffffff00000003000001a204d3f75005265c0000000000000110f100000172488ad5730000000000000000",
            TimerUnit {
                previous: None,
                kind: UnitKind {
                    rolls: true,
                    deletes: false,
                },
                write_time_ms: 1_795_377_330_000,
                delay_ms: 86_400_000,
                physical_offset: PhysicalOffset(69_873),
                size_bytes: 370,
                topic_hash: topic_hash("FxTimer"),
                due_ms: None,
            },
        );
        let delete = (
            "0000003400000000000000d000000005000001a204d3ff200000465000000000000115010000019e488ad5730000000000000000",
            TimerUnit {
                previous: Some(208),
                kind: UnitKind {
                    rolls: false,
                    deletes: true,
                },
                write_time_ms: 1_795_377_332_000,
                delay_ms: 18_000,
                physical_offset: PhysicalOffset(70_913),
                size_bytes: 414,
                ..roll.1
            },
        );
        for (hex, expected) in [roll, delete] {
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
                .collect();
            let unit = TimerUnit::decode(&bytes).unwrap();
            assert_eq!(unit, expected);
            assert_eq!(unit.encode()[..], bytes[..]);
        }
    }

    #[test]
    fn the_log_goes_on_in_the_next_file_and_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let log = open(&directory, 0);
        let positions: Vec<u64> = (0..200)
            .map(|number| log.append(&unit(number)).unwrap())
            .collect();
        // 78 units and the blank fill 4096 bytes.
        assert_eq!((positions[77], positions[78]), (77 * 52, 4096));
        assert_eq!(log.last_unit(), Some(unit(199)));
        assert_eq!(log.flush().unwrap(), log.end());
        let end = log.end();
        drop(log);

        let blank = std::fs::read(directory.path().join("00000000000000000000")).unwrap()[78 * 52..].to_vec();
        assert_eq!(blank[..4], 40_u32.to_be_bytes());
        assert_eq!(blank[4..16], [0, 0, 0, 0, 0, 0, 0, 0, 0xCB, 0xD4, 0x31, 0x94]);
        let log = open(&directory, u64::MAX);
        assert_eq!(log.end(), end);
        assert_eq!(log.unit(positions[100]), Some(unit(100)));
        let mut found = Vec::new();
        log.for_each_from(4096, |position, _| found.push(position));
        assert_eq!(found, positions[78..]);
        assert_eq!(log.append(&unit(200)).unwrap(), end);
    }

    #[test]
    fn a_unit_whose_message_was_lost_ends_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = open(&directory, 0);
        for number in 0..100 {
            log.append(&unit(number)).unwrap();
        }
        drop(log);
        let log = open(&directory, 50 * 100 + 99);
        assert_eq!(log.end(), 50 * 52);
        assert_eq!(log.last_unit(), Some(unit(49)));
        assert_eq!(log.unit(50 * 52), None);
    }

    #[test]
    fn a_file_that_ends_with_its_last_unit_is_followed_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let log = open(&directory, 0);
        for number in 0..79 {
            log.append(&unit(number)).unwrap();
        }
        drop(log);
        std::fs::remove_file(directory.path().join("00000000000000004096")).unwrap();
        let log = open(&directory, u64::MAX);
        assert_eq!(log.end(), 4096);
        assert_eq!(log.last_unit(), Some(unit(77)));
        assert_eq!(log.append(&unit(79)).unwrap(), 4096);
    }

    #[test]
    fn files_go_when_all_their_messages_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let log = open(&directory, 0);
        for number in 0..200 {
            log.append(&unit(number)).unwrap();
        }
        assert_eq!(log.delete_before(77 * 100).unwrap(), 0);
        assert_eq!(log.delete_before(78 * 100).unwrap(), 1);
        assert_eq!(log.delete_before(u64::MAX).unwrap(), 1, "never the last");
        assert_eq!(log.unit(52), None);
    }

    #[test]
    fn garbage_is_no_unit() {
        assert_eq!(TimerUnit::decode(&[0; UNIT_BYTES]), None);
        assert_eq!(TimerUnit::decode(&[0xFF; UNIT_BYTES]), None);
        assert_eq!(TimerUnit::decode(&unit(1).encode()[..51]), None);
    }

    #[test]
    fn topics_are_hashed_as_java_hashes_strings() {
        assert_eq!(topic_hash(""), 0);
        assert_eq!(topic_hash("abc"), 96_354);
        assert_eq!(topic_hash("FxTimer"), 1_217_058_163);
    }
}
