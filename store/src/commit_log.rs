//! CommitLog: every message of the broker, in the order it was stored.
//!
//! One writer at a time appends; any thread reads below the published end. What must be in order (queue offset,
//! physical offset, store time, the copy itself) happens under the writer lock and nothing else does: no allocation,
//! no logging, no file is made there. If the lock holder would need room that is not there yet, it lets go, has
//! `allocate` make room, and comes back.
//!
//! ```text
//!   |  file  |  file  |  file being written  |  spare file  |
//!                              ^ flushed  ^ end   ^ reserved
//! ```
//!
//! Once writing or syncing has failed, nobody knows what the disk holds: the log takes nothing more until the restart.
//!
//! The writer lock is taken before nothing else but the queue counters' atomics, and after the lock of flushing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::Guard;
use common::clock::Clock;
use common::planted_bug::{PlantedBug, is_planted};
use smallvec::SmallVec;

use crate::mapped_file::{MappedFile, MappedFileWriter};
use crate::mapped_file_queue::{Files, MappedFileQueue};
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::queue_offsets::QueueCounter;
use crate::record::encode::{RecordStyle, patch};
use crate::record::format::{BLANK_BYTES, MAGIC_BLANK};

/// The log.
#[derive(Debug)]
pub struct CommitLog {
    files: MappedFileQueue,
    writer: Mutex<LogWriter>,
    end: AtomicU64,
    flushed: AtomicU64,
    /// Held while flushing: `flushed` must not pass what another thread is about to fail to sync. Taken before the
    /// writer lock.
    flushing: Mutex<()>,
    /// Wall time at which the writer lock was taken; 0 while it is free.
    locked_at_ms: AtomicI64,
    failure: OnceLock<String>,
}

/// What the writer lock guards.
#[derive(Debug, Default)]
pub struct LogWriter {
    current: Option<MappedFileWriter>,
    /// The file after the current one, ready to be written.
    spare: Option<Arc<MappedFile>>,
    last_store_timestamp_ms: i64,
}

/// Records encoded back to back, all of one queue.
#[derive(Debug, Default)]
pub struct EncodedRecords {
    /// The records.
    pub bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    pub ends: SmallVec<[usize; 8]>,
}

/// How the records of one append are numbered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbering<'a> {
    /// The queue's counter; prepared and rollback messages have no place in a queue and get offset 0.
    pub counter: Option<&'a QueueCounter>,
    /// Messages in each record: more than one in an inner batch.
    pub messages_per_record: u64,
    /// What the next offset must be, if it is in the encoded record already.
    pub expected: Option<u64>,
    /// Further queues that the record goes to, with the offsets that are in it already.
    pub further: &'a [(Arc<QueueCounter>, u64)],
}

/// Where records were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where the first begins.
    pub physical_offset: PhysicalOffset,
    /// Queue offset of the first.
    pub queue_offset: QueueOffset,
    /// When they were stored.
    pub store_timestamp_ms: i64,
    /// Where the last ends.
    pub end: PhysicalOffset,
    /// The room ahead of the writer is getting small.
    pub is_low_on_room: bool,
}

/// Why an append must be tried again, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Room must be made first.
    NoRoom,
    /// The counter is not the queue's any more, or the offset is not the expected one.
    Renumber,
    /// The log failed.
    Failed,
}

/// Below this many reserved bytes ahead of the writer, `allocate` is woken.
pub const LOW_ROOM_BYTES: usize = 2 * 1024 * 1024;

impl CommitLog {
    /// A log whose files are settled: published up to `end`, of which everything is taken for flushed.
    pub fn new(files: MappedFileQueue, end: u64, last_store_timestamp_ms: i64) -> Self {
        let current = files.files().find(end).cloned();
        let writer = LogWriter {
            current: current.map(|file| file.writer().expect("nobody writes before the log is open")),
            spare: None,
            last_store_timestamp_ms,
        };
        Self {
            files,
            writer: Mutex::new(writer),
            end: AtomicU64::new(end),
            flushed: AtomicU64::new(end),
            flushing: Mutex::new(()),
            locked_at_ms: AtomicI64::new(0),
            failure: OnceLock::new(),
        }
    }

    /// Appends records, all in one file.
    pub fn append(
        &self,
        clock: &dyn Clock,
        records: &mut EncodedRecords,
        numbering: Numbering<'_>,
        style: RecordStyle,
    ) -> Result<Placed, Blocked> {
        let mut writer = self.lock_writer()?;
        let now_ms = clock.wall_ms();
        self.locked_at_ms.store(now_ms, Ordering::Relaxed);
        let placed = self.append_locked(&mut writer, now_ms, records, numbering, style);
        self.locked_at_ms.store(0, Ordering::Relaxed);
        placed
    }

    fn append_locked(
        &self,
        writer: &mut LogWriter,
        now_ms: i64,
        records: &mut EncodedRecords,
        numbering: Numbering<'_>,
        style: RecordStyle,
    ) -> Result<Placed, Blocked> {
        if self.failure.get().is_some() {
            return Err(Blocked::Failed);
        }
        if !numbering.holds() {
            return Err(Blocked::Renumber);
        }
        if is_planted(PlantedBug::PublishBeforeCopy) {
            self.end.fetch_add(records.bytes.len() as u64, Ordering::AcqRel);
        }
        let file = writer.file_for(records.bytes.len())?;
        // The clock may go back; the log's times must not.
        let store_timestamp_ms = now_ms.max(writer.last_store_timestamp_ms);
        let current = writer.current.as_mut().ok_or(Blocked::NoRoom)?;
        let first_physical = file.start() + current.position() as u64;
        let first_queue_offset = numbering.take(records.ends.len() as u64);
        let mut begin = 0;
        for (number, end) in records.ends.iter().copied().enumerate() {
            let queue_offset = numbering.offset_of(first_queue_offset, number as u64);
            let physical_offset = PhysicalOffset(first_physical + begin as u64);
            patch(
                &mut records.bytes[begin..end],
                queue_offset,
                physical_offset,
                store_timestamp_ms,
                style,
            );
            // One by one: a kill in the middle of a copy may leave its end without its beginning, and whole records behind a
            // broken one would be taken for a log that is damaged there.
            current.write(&records.bytes[begin..end]);
            begin = end;
        }
        current.publish();
        let position = current.position();
        writer.last_store_timestamp_ms = store_timestamp_ms;
        let end = file.start() + position as u64;
        self.end.store(end, Ordering::Release);
        Ok(Placed {
            physical_offset: PhysicalOffset(first_physical),
            queue_offset: QueueOffset(first_queue_offset),
            store_timestamp_ms,
            end: PhysicalOffset(end),
            is_low_on_room: file.reserved() < (position + LOW_ROOM_BYTES).min(file.size()),
        })
    }

    /// The writer lock, for those who must not run beside an append.
    pub fn lock_writer(&self) -> Result<MutexGuard<'_, LogWriter>, Blocked> {
        // A panic inside the lock leaves it unknown what was written.
        self.writer.lock().map_err(|_| {
            self.fail("the writer stopped in the middle of an append");
            Blocked::Failed
        })
    }

    /// For how long the writer lock has been held, in ms; 0 while it is free.
    pub fn locked_for_ms(&self, now_ms: i64) -> i64 {
        match self.locked_at_ms.load(Ordering::Relaxed) {
            0 => 0,
            since_ms => (now_ms - since_ms).max(0),
        }
    }

    /// The files as they are now.
    pub fn files(&self) -> Guard<Arc<Files>> {
        self.files.files()
    }

    /// The files, to add or take away some.
    pub fn file_queue(&self) -> &MappedFileQueue {
        &self.files
    }

    /// Where the oldest file begins; the end when there is none.
    pub fn min_offset(&self) -> u64 {
        self.files()
            .first()
            .map_or_else(|| self.end(), |file| file.start())
    }

    /// Where the log ends.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Where the file after the one that holds `offset` begins.
    pub fn next_file_start(&self, offset: u64) -> u64 {
        let file_size = self.files.file_size() as u64;
        offset - offset % file_size + file_size
    }

    /// Everything below is on disk.
    pub fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Gets everything appended so far to the disk. Returns the store time of the last record before.
    pub fn flush(&self) -> Result<i64, String> {
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, last_store_timestamp_ms) = match self.lock_writer() {
            Ok(writer) => (self.end(), writer.last_store_timestamp_ms),
            Err(_) => return Err(self.failure.get().cloned().unwrap_or_default()),
        };
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        let from = self.flushed();
        for file in self
            .files()
            .iter()
            .filter(|file| file.end() > from && file.start() < end)
        {
            // The page that was written to last time may have got more.
            let first = place(from.max(file.start()) - file.start()) / 4096 * 4096;
            let last = place(end.min(file.end()) - file.start());
            if is_planted(PlantedBug::SkipLogFlush) {
                continue;
            }
            if let Err(error) = file.flush(first..last) {
                self.fail(&format!("sync of {}: {error}", file.path().display()));
                return Err(self.failure.get().cloned().unwrap_or_default());
            }
        }
        self.flushed.store(end, Ordering::Release);
        Ok(last_store_timestamp_ms)
    }

    /// Stops all appends until the restart. Only the first reason counts.
    pub fn fail(&self, reason: &str) {
        if self.failure.set(reason.to_owned()).is_ok() {
            tracing::error!("commit log failed, no more messages are taken until the restart: {reason}");
        }
    }

    /// Why the log takes nothing any more.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

impl LogWriter {
    /// The file that takes `length` bytes now; rolls to the spare file when the current one is full.
    fn file_for(&mut self, length: usize) -> Result<Arc<MappedFile>, Blocked> {
        let is_full = self
            .current
            .as_ref()
            .is_none_or(|current| length + BLANK_BYTES > current.room());
        if is_full {
            self.roll()?;
        }
        let current = self.current.as_ref().ok_or(Blocked::NoRoom)?;
        if !has_room(current, length) {
            return Err(Blocked::NoRoom);
        }
        Ok(Arc::clone(current.file()))
    }

    fn roll(&mut self) -> Result<(), Blocked> {
        if self.current.as_ref().is_some_and(|full| !has_room(full, 0)) {
            return Err(Blocked::NoRoom);
        }
        let spare = self.spare.take().ok_or(Blocked::NoRoom)?;
        let next = spare.writer().ok_or(Blocked::NoRoom)?;
        if let Some(full) = &mut self.current {
            let left = u32::try_from(full.room()).expect("a file is mapped in less than 4 GiB");
            full.write(&left.to_be_bytes());
            full.write(&MAGIC_BLANK.to_be_bytes());
            full.skip_to_end();
            full.publish();
        }
        self.current = Some(next);
        Ok(())
    }

    /// The file being written and the place in it.
    pub fn current(&self) -> Option<(&Arc<MappedFile>, usize)> {
        self.current
            .as_ref()
            .map(|current| (current.file(), current.position()))
    }

    /// The file to be written next.
    pub fn spare(&self) -> Option<&Arc<MappedFile>> {
        self.spare.as_ref()
    }

    /// Gives the writer its next file.
    pub fn set_spare(&mut self, spare: Option<Arc<MappedFile>>) {
        self.spare = spare;
    }
}

/// Whether so many bytes, and a blank after them, have room on the disk.
fn has_room(writer: &MappedFileWriter, length: usize) -> bool {
    writer.position() + length + BLANK_BYTES <= writer.file().reserved()
}

impl Numbering<'_> {
    fn holds(&self) -> bool {
        let is_expected = |counter: &QueueCounter, expected: Option<u64>| {
            !counter.is_retired() && expected.is_none_or(|expected| expected == counter.next())
        };
        self.counter
            .is_none_or(|counter| is_expected(counter, self.expected))
            && self
                .further
                .iter()
                .all(|(counter, expected)| is_expected(counter, Some(*expected)))
    }

    /// Takes the offsets for `records` and gives the first.
    fn take(&self, records: u64) -> u64 {
        for (counter, _) in self.further {
            counter.take(1);
        }
        self.counter
            .map_or(0, |counter| counter.take(records * self.messages_per_record))
    }

    fn offset_of(&self, first: u64, record: u64) -> QueueOffset {
        QueueOffset(
            first
                + if self.counter.is_some() {
                    record * self.messages_per_record
                } else {
                    0
                },
        )
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("inside a mapped file")
}
