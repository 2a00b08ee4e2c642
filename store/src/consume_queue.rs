//! ConsumeQueue: the index of one (topic, queue), rebuilt from the CommitLog when lost.
//!
//! A run of fixed-size entries in files of equal size. There are two kinds:
//!
//! ```text
//!   simple, 20 bytes     0              8      12         20
//!   entry n at 20 * n    | physical     | size | tags code |
//!                        | offset       |      |           |
//!
//!   batch, 46 bytes      0          8      12          20           28            36      38          42
//!   one entry a record   | physical | size | tags code | store time | base offset | count | compacted | 0 |
//! ```
//!
//! In a batch queue an entry stands for `count` messages from `base offset` on, and is found by binary search.
//!
//! Invariants
//! - Physical offsets rise strictly, fillers aside.
//! - Every entry points below the CommitLog's published position.
//! - Only the dispatch thread appends; any thread reads below the published end.
//!
//! A filler (offset 0, size 0x7FFFFFFF, tags code 0) stands where a message is missing: before the first message
//! of a queue whose beginning is gone, and for a message that was lost to damage.
//!
//! What is kept for each queue is small, since there may be a million:
//!
//! ```text
//!   0            flushed             in files                 end
//!   | on disk    | written, not      | tail: in memory only   |
//!   |            | yet synced        |                        |
//! ```
//!
//! Appending is a copy into the tail. The tail is written before a flush, and when all tails together take too much
//! memory: any queue pays for one write a flush. An entry is written only when its record is on disk, and the checkpoint
//! says so ([`QueueContext::may_write_below`]): a file never holds more than what a replay of the log puts there again.
//! Files are mapped only to be read, and unmapped by [`OpenFiles`]. What a killed process had in tails is dispatched
//! again from the log.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::consume_queues::QueueContext;
use crate::get::QueueEntry;
use crate::mapped_file::MappedFile;
use crate::mapped_file_queue::file_name;
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::record::format::{u32_at, u64_at};

/// Bytes of a simple entry.
pub const SIMPLE_ENTRY_BYTES: usize = 20;
/// Bytes of a batch entry.
pub const BATCH_ENTRY_BYTES: usize = 46;

/// What is flushed before its time.
pub const PAGE_BYTES: u64 = 4096;
/// How much of a tail is copied for a reader at once.
const MAX_COPIED_BYTES: usize = 4096;
/// A file with fewer bytes of entries is read a page at a time: it has its full length from the beginning, and reading ahead, 128
/// KiB each time, would fill the page cache with the hole behind them.
const READ_AHEAD_FROM_BYTES: u64 = 64 * 1024;

const FILLER_SIZE: u32 = i32::MAX.unsigned_abs();
const NOT_COMPACTED: i32 = -1;

/// How a queue's entries look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// An entry a message. Reference: `CQType.SimpleCQ`.
    Simple,
    /// An entry a record, which may hold many messages. Reference: `CQType.BatchCQ`.
    Batch,
}

impl QueueKind {
    /// Bytes of an entry.
    pub fn entry_bytes(self) -> usize {
        match self {
            QueueKind::Simple => SIMPLE_ENTRY_BYTES,
            QueueKind::Batch => BATCH_ENTRY_BYTES,
        }
    }

    fn entry_bytes_u64(self) -> u64 {
        self.entry_bytes() as u64
    }
}

/// What dispatch knows about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The entry.
    pub entry: QueueEntry,
    /// When the record was stored, in ms.
    pub store_timestamp_ms: i64,
}

/// One queue of one topic.
#[derive(Debug)]
pub struct ConsumeQueue {
    kind: QueueKind,
    topic: Arc<str>,
    queue_id: i32,
    /// Position after the last entry; `max_offset` is published after it.
    end: AtomicU64,
    max_offset: AtomicU64,
    /// Position of the first entry whose record is still there; `min_offset` belongs to it.
    begin: AtomicU64,
    min_offset: AtomicU64,
    /// One more than the offset in the log below which no entry from `begin` on points; 0 when nobody looked yet.
    above_min_physical: AtomicU64,
    is_dirty: AtomicBool,
    /// Only the lists of the queue's context are locked while it is held.
    files: Mutex<QueueFiles>,
}

#[derive(Debug, Default)]
struct QueueFiles {
    /// Positions at which the first and the last file begin; `None` before there is one.
    range: Option<(u64, u64)>,
    /// The last entries, which are in no file yet.
    tail: Vec<u8>,
    /// End of the last entry's record.
    max_physical: u64,
    /// Everything before this position is on disk.
    flushed: u64,
    /// A file was made since the last flush.
    has_new_names: bool,
    is_deleted: bool,
    open: SmallVec<[OpenFile; 1]>,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<MappedFile>,
    is_used: bool,
}

/// Entries of one file, in it or about to come into it, back to back.
#[derive(Debug)]
pub struct EntryRun {
    kind: QueueKind,
    position: u64,
    end: u64,
    /// Has the entries before the tail's.
    file: Option<Arc<MappedFile>>,
    /// A copy of entries before `end` that are in no file yet.
    tail: SmallVec<[u8; 512]>,
}

/// Entries of a queue that are written and have to be synced.
#[derive(Debug)]
pub struct Unsynced {
    queue: Arc<ConsumeQueue>,
    from: u64,
    to: u64,
    has_new_names: bool,
}

impl ConsumeQueue {
    /// A queue without entries.
    pub fn new(kind: QueueKind, topic: Arc<str>, queue_id: i32) -> Self {
        Self {
            kind,
            topic,
            queue_id,
            end: AtomicU64::new(0),
            max_offset: AtomicU64::new(0),
            begin: AtomicU64::new(0),
            min_offset: AtomicU64::new(0),
            above_min_physical: AtomicU64::new(0),
            is_dirty: AtomicBool::new(false),
            files: Mutex::default(),
        }
    }

    /// How the entries look.
    pub fn kind(&self) -> QueueKind {
        self.kind
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The queue in the topic.
    pub fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// One past the last visible message.
    pub fn max_offset(&self) -> u64 {
        self.max_offset.load(Ordering::Acquire)
    }

    /// The first message that is still there.
    pub fn min_offset(&self) -> u64 {
        self.min_offset.load(Ordering::Acquire)
    }

    /// Position of the first entry whose record is still there.
    pub fn begin(&self) -> u64 {
        self.begin.load(Ordering::Acquire)
    }

    /// Position after the last entry.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// End of the last entry's record in the log.
    pub fn max_physical(&self) -> u64 {
        self.lock().max_physical
    }

    /// The entries from a position on, of one file at most; `None` when there is no entry at it.
    pub fn run_from(self: &Arc<Self>, context: &QueueContext, position: u64) -> io::Result<Option<EntryRun>> {
        let start = position - position % context.file_size(self.kind);
        let (run, opened) = {
            let mut files = self.lock();
            // Under the lock it does not move.
            let end = self.end();
            if position >= end || files.is_deleted {
                return Ok(None);
            }
            let in_files = files.in_files(end);
            let opened_before = files.open.len();
            let file = match files.range {
                _ if position >= in_files => None,
                Some((first, last)) if (first..=last).contains(&start) => {
                    Some(self.open_file(context, &mut files, start)?)
                }
                _ => return Ok(None),
            };
            let file_end = start + context.file_size(self.kind);
            let mut run = EntryRun {
                kind: self.kind,
                position,
                end: in_files.min(file_end),
                file,
                tail: SmallVec::new(),
            };
            // The tail is copied for those who are in it, or about to reach it.
            let is_near = in_files < file_end && in_files.saturating_sub(position) <= PAGE_BYTES;
            if position >= in_files || is_near {
                let unit = self.kind.entry_bytes();
                let from = position.max(in_files);
                let tail = &files.tail[index(from - in_files)..];
                let most = (MAX_COPIED_BYTES / unit * unit).min(index(file_end - from));
                run.tail.extend_from_slice(&tail[..tail.len().min(most)]);
                run.end = from + run.tail.len() as u64;
            }
            (run, files.open.len() > opened_before)
        };
        if opened {
            context.open_files.opened(self);
        }
        Ok(Some(run))
    }

    /// The entry at a position.
    pub fn entry_at(
        self: &Arc<Self>,
        context: &QueueContext,
        position: u64,
    ) -> io::Result<Option<QueueEntry>> {
        Ok(self.run_from(context, position)?.and_then(|mut run| run.next()))
    }

    /// The position of the entry that holds a message; of a batch queue, the last entry whose base is not above it.
    pub fn position_of(self: &Arc<Self>, context: &QueueContext, queue_offset: u64) -> io::Result<u64> {
        match self.kind {
            QueueKind::Simple => Ok(queue_offset.saturating_mul(SIMPLE_ENTRY_BYTES as u64)),
            QueueKind::Batch => {
                let after = self.partition_point(context, |entry| entry.queue_offset.0 <= queue_offset)?;
                Ok(after.saturating_sub(BATCH_ENTRY_BYTES as u64).max(self.begin()))
            }
        }
    }

    /// The position of the first entry for which `is_before` is false, given that it is true up to there. Fillers are
    /// taken for the entry after them.
    pub fn partition_point(
        self: &Arc<Self>,
        context: &QueueContext,
        is_before: impl Fn(&QueueEntry) -> bool,
    ) -> io::Result<u64> {
        let unit = self.kind.entry_bytes_u64();
        let (mut low, mut high) = (self.begin(), self.end());
        while low < high {
            let middle = low + (high - low) / unit / 2 * unit;
            let (position, entry) = match self.next_real_entry(context, middle, high)? {
                Some(found) => found,
                None => {
                    high = middle;
                    continue;
                }
            };
            if is_before(&entry) {
                low = position + unit;
            } else {
                high = middle;
            }
        }
        // Fillers before the answer were taken for it.
        Ok(self
            .next_real_entry(context, low, self.end())?
            .map_or(low, |(position, _)| position))
    }

    /// The first entry from a position on, before `end`, that is no filler.
    pub fn next_real_entry(
        self: &Arc<Self>,
        context: &QueueContext,
        from: u64,
        end: u64,
    ) -> io::Result<Option<(u64, QueueEntry)>> {
        let unit = self.kind.entry_bytes_u64();
        let mut position = from;
        while position < end {
            let Some(run) = self.run_from(context, position)? else {
                return Ok(None);
            };
            let run_end = run.end;
            for entry in run {
                if position >= end {
                    return Ok(None);
                }
                if !is_filler(&entry) {
                    return Ok(Some((position, entry)));
                }
                position += unit;
            }
            // The run ended at an entry that is none: damage, to be passed like a filler.
            if position < run_end {
                position += unit;
            }
        }
        Ok(None)
    }

    /// Appends an entry after the last. In a simple queue its queue offset must be the queue's end, or lie beyond it:
    /// then fillers stand for what is missing.
    pub fn append(self: &Arc<Self>, context: &QueueContext, new: &NewEntry) {
        {
            let mut files = self.lock();
            if files.is_deleted {
                return;
            }
            let capacity = files.tail.capacity();
            match self.kind {
                QueueKind::Simple => self.append_simple(context, &mut files, new),
                QueueKind::Batch => self.append_unit(&mut files, &encode_batch(new)),
            }
            context.buffered(capacity, files.tail.capacity());
            files.max_physical = new.entry.physical_offset.0 + u64::from(new.entry.size_bytes);
            if self.end() - files.flushed >= PAGE_BYTES {
                context.note_full_page();
            }
        }
        let next = new.entry.queue_offset.0 + u64::from(new.entry.message_count);
        self.max_offset.store(next, Ordering::Release);
        self.mark_dirty(context);
    }

    fn append_simple(&self, context: &QueueContext, files: &mut QueueFiles, new: &NewEntry) {
        let position = new.entry.queue_offset.0 * SIMPLE_ENTRY_BYTES as u64;
        if files.is_empty() {
            let start = position - position % context.file_size(self.kind);
            files.flushed = start;
            self.above_min_physical
                .store(new.entry.physical_offset.0 + 1, Ordering::Release);
            self.end.store(start, Ordering::Release);
            self.begin.store(position, Ordering::Release);
            self.min_offset.store(new.entry.queue_offset.0, Ordering::Release);
        }
        let missing = position.saturating_sub(self.end()) / SIMPLE_ENTRY_BYTES as u64;
        for _ in 0..missing {
            self.append_unit(files, &filler());
        }
        debug_assert_eq!(
            self.end(),
            position,
            "the caller drops entries that are there already"
        );
        self.append_unit(files, &encode_simple(&new.entry));
    }

    fn append_unit(&self, files: &mut QueueFiles, unit: &[u8]) {
        files.tail.extend_from_slice(unit);
        self.end.store(self.end() + unit.len() as u64, Ordering::Release);
    }

    /// Bytes of the tail's first entries, whose records end at or before `limit`.
    fn writable_bytes(&self, files: &QueueFiles, limit: u64) -> usize {
        if files.max_physical <= limit {
            return files.tail.len();
        }
        let unit = self.kind.entry_bytes();
        let is_below = |number: &usize| {
            let entry = decode_entry(self.kind, &files.tail[number * unit..], 0);
            entry.is_none_or(|entry| {
                is_filler(&entry) || entry.physical_offset.0 + u64::from(entry.size_bytes) <= limit
            })
        };
        (0..files.tail.len() / unit).take_while(is_below).count() * unit
    }

    /// Writes the first `length` bytes of the tail into their files, making those if need be, and gives back their
    /// memory. When it fails, what was not written stays.
    fn write_tail(&self, context: &QueueContext, files: &mut QueueFiles, length: usize) -> io::Result<()> {
        let capacity = files.tail.capacity();
        let file_size = context.file_size(self.kind);
        let (mut done, mut result) = (0, Ok(()));
        while done < length && result.is_ok() {
            let from = files.in_files(self.end()) + done as u64;
            let left_in_file = index(file_size - from % file_size);
            let next = length.min(done + left_in_file);
            result = self.write_part(context, files, from, done..next);
            if result.is_ok() {
                done = next;
            }
        }
        if done > 0 {
            files.tail = files.tail.split_off(done);
        }
        context.buffered(capacity, files.tail.capacity());
        result
    }

    /// Writes a part of the tail into the file that holds position `from`.
    fn write_part(
        &self,
        context: &QueueContext,
        files: &mut QueueFiles,
        from: u64,
        part: Range<usize>,
    ) -> io::Result<()> {
        let file_size = context.file_size(self.kind);
        let start = from - from % file_size;
        let at = index(from - start);
        let path = self.directory(context).join(file_name(start));
        let has_file = files.range.is_some_and(|(_, last)| last >= start);
        let bytes = &files.tail[part];
        let written = match has_file.then(|| context.disk.write_at(&path, at, bytes, None)) {
            // Somebody took it away: what it held is lost, what comes must not wait for it.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            Some(written) => written.map(|()| true)?,
            None => false,
        };
        if !written {
            self.make_file(context, start, at, bytes)?;
        }
        let to = at + bytes.len();
        if let Some(open) = files.open.iter().find(|open| open.file.start() == start) {
            open.file.note_written(to);
        }
        if !written {
            files.range = Some((files.range.map_or(start, |(first, _)| first), start));
            files.has_new_names = true;
        }
        Ok(())
    }

    /// Makes the file at `start` with some entries in it.
    fn make_file(&self, context: &QueueContext, start: u64, at: usize, entries: &[u8]) -> io::Result<()> {
        let directory = self.directory(context);
        let path = directory.join(file_name(start));
        context.disk.create_dir_all(&directory)?;
        // Left over from an attempt that failed later, from a queue that was deleted, or from before a crash: nothing
        // points into it.
        context.disk.remove_file(&path)?;
        let length = index(context.file_size(self.kind));
        context.disk.write_at(&path, at, entries, Some(length))
    }

    /// Writes what is only in memory, as far as it may be written, without syncing it.
    pub(crate) fn write_out(&self, context: &QueueContext) -> io::Result<()> {
        let mut files = self.lock();
        if files.is_deleted {
            return Ok(());
        }
        let length = self.writable_bytes(&files, context.may_write_below());
        self.write_tail(context, &mut files, length)
    }

    fn open_file(
        &self,
        context: &QueueContext,
        files: &mut QueueFiles,
        start: u64,
    ) -> io::Result<Arc<MappedFile>> {
        if let Some(open) = files.open.iter_mut().find(|open| open.file.start() == start) {
            open.is_used = true;
            return Ok(Arc::clone(&open.file));
        }
        let published = (files.in_files(self.end()) - start).min(context.file_size(self.kind));
        let path = self.directory(context).join(file_name(start));
        let file = Arc::new(MappedFile::open(&*context.disk, &path, start, index(published))?);
        if published < READ_AHEAD_FROM_BYTES {
            // Advice: without it the queue is read all the same.
            let _ = file.expect_reads_in_order(false);
        }
        files.open.push(OpenFile {
            file: Arc::clone(&file),
            is_used: true,
        });
        Ok(file)
    }

    /// Unmaps what was not used since the last call; whether anything is still mapped.
    pub(crate) fn close_unused_files(&self) -> bool {
        let mut files = self.lock();
        files.open.retain(|open| std::mem::take(&mut open.is_used));
        !files.open.is_empty()
    }

    /// Writes the entries of records below `limit` that are to be synced, if there are `least_bytes` of them. `None` when
    /// there is nothing to sync. A queue that keeps some marks itself dirty again.
    pub fn begin_flush(
        self: &Arc<Self>,
        context: &QueueContext,
        least_bytes: u64,
        limit: u64,
    ) -> io::Result<Option<Unsynced>> {
        // Before the end is read: what comes later marks the queue again.
        self.is_dirty.store(false, Ordering::Release);
        let mut files = self.lock();
        if files.is_deleted || self.end() <= files.flushed {
            return Ok(None);
        }
        let length = self.writable_bytes(&files, limit.min(context.may_write_below()));
        let from = files.flushed;
        let to = files.in_files(self.end()) + length as u64;
        let is_enough = to.saturating_sub(from) >= least_bytes.max(1);
        if length < files.tail.len() || !is_enough {
            self.mark_dirty(context);
            if self.end() - to.max(from) >= PAGE_BYTES {
                context.note_full_page();
            }
        }
        if !is_enough {
            return Ok(None);
        }
        if let Err(error) = self.write_tail(context, &mut files, length) {
            self.mark_dirty(context);
            return Err(error);
        }
        Ok(Some(Unsynced {
            queue: Arc::clone(self),
            from,
            to,
            has_new_names: std::mem::take(&mut files.has_new_names),
        }))
    }

    pub(crate) fn mark_dirty(self: &Arc<Self>, context: &QueueContext) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            context.add_dirty(Arc::clone(self));
        }
    }

    /// Whether there may be entries of records below the log's minimum.
    pub fn may_begin_below(&self, log_min: u64) -> bool {
        self.above_min_physical.load(Ordering::Acquire) <= log_min
    }

    /// Moves the minimum to the first message whose record begins at or above `log_min`, and deletes the files before
    /// it, but never the last. Returns how many. Several may do it at once, as the minimum only rises.
    pub fn correct_min(self: &Arc<Self>, context: &QueueContext, log_min: u64) -> io::Result<usize> {
        if !self.may_begin_below(log_min) || self.is_empty() {
            return Ok(0);
        }
        let (begin, first) = match self.first_near_begin(context, log_min)? {
            Some(found) => found,
            None => {
                let begin = self.partition_point(context, |entry| entry.physical_offset.0 < log_min)?;
                (begin, self.entry_at(context, begin)?)
            }
        };
        let min_offset = match self.kind {
            QueueKind::Simple => begin / SIMPLE_ENTRY_BYTES as u64,
            QueueKind::Batch => first.map_or_else(|| self.max_offset(), |entry| entry.queue_offset.0),
        };
        // All messages gone: what comes lies above.
        let least = first.map_or(log_min, |entry| entry.physical_offset.0);
        self.begin.fetch_max(begin, Ordering::AcqRel);
        self.min_offset.fetch_max(min_offset, Ordering::AcqRel);
        // Last: whoever finds it need not look at the queue himself.
        self.above_min_physical.fetch_max(least + 1, Ordering::AcqRel);
        let mut removed = 0;
        while let Some(path) = self.detach_first_file_before(context, begin) {
            context.disk.remove_file(&path)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// The position that [`ConsumeQueue::correct_min`] looks for and the entry there, if a page of entries from the minimum on tells:
    /// that is all there is of most queues when there are very many, and reading it costs less than mapping their files.
    fn first_near_begin(
        &self,
        context: &QueueContext,
        log_min: u64,
    ) -> io::Result<Option<(u64, Option<QueueEntry>)>> {
        let unit = self.kind.entry_bytes_u64();
        let mut page = [0; PAGE_BYTES as usize];
        let (begin, to, is_all) = {
            let files = self.lock();
            // Under the lock neither moves, and no file is taken away.
            let (begin, in_files) = (self.begin(), files.in_files(self.end()));
            let file_size = context.file_size(self.kind);
            let start = begin - begin % file_size;
            let to = in_files
                .min(start + file_size)
                .min(begin + PAGE_BYTES / unit * unit);
            let has_file = files
                .range
                .is_some_and(|(first, last)| (first..=last).contains(&start));
            if files.is_deleted || !has_file || to <= begin {
                return Ok(None);
            }
            let path = self.directory(context).join(file_name(start));
            let bytes = &mut page[..index(to - begin)];
            context.disk.read_at(&path, index(begin - start), bytes)?;
            (begin, to, to == self.end())
        };
        let mut after_gone = begin;
        for position in (begin..to).step_by(index(unit)) {
            match decode_entry(self.kind, &page[index(position - begin)..], position) {
                Some(entry) if is_filler(&entry) => {}
                Some(entry) if entry.physical_offset.0 < log_min => after_gone = position + unit,
                Some(entry) => return Ok(Some((position, Some(entry)))),
                None => return Ok(None),
            }
        }
        Ok(is_all.then_some((after_gone, None)))
    }

    fn detach_first_file_before(&self, context: &QueueContext, begin: u64) -> Option<PathBuf> {
        let file_size = context.file_size(self.kind);
        let mut files = self.lock();
        let (first, last) = files
            .range
            .filter(|(first, last)| first < last && first + file_size <= begin)?;
        files.range = Some((first + file_size, last));
        files.open.retain(|open| open.file.start() != first);
        Some(self.directory(context).join(file_name(first)))
    }

    /// Deletes the queue's files, and syncs that unless the caller does. Readers finish; appends are dropped from now on. If
    /// that fails, it can be tried again.
    pub fn delete(&self, context: &QueueContext, syncs: bool) -> io::Result<()> {
        let range = {
            let mut files = self.lock();
            files.is_deleted = true;
            files.open.clear();
            context.buffered(std::mem::take(&mut files.tail).capacity(), 0);
            files.range.take()
        };
        let directory = self.directory(context);
        if let Some((first, last)) = range {
            let starts = (first..=last).step_by(index(context.file_size(self.kind)));
            let removed = remove_unsynced(context, &directory, starts);
            // A file that came back after a power failure would be taken for one of a new queue of the same name.
            let synced = removed.and_then(|_| match syncs {
                true => context.disk.sync_dir(&directory),
                false => Ok(()),
            });
            synced.inspect_err(|_| self.lock().range = range)?;
        }
        // Directories that hold something else, such as files that were never ours, stay.
        let _ = context.disk.remove_dir(&directory);
        Ok(())
    }

    fn directory(&self, context: &QueueContext) -> PathBuf {
        context
            .root(self.kind)
            .join(&*self.topic)
            .join(self.queue_id.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, QueueFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loading and cutting: before anybody reads the queue.
impl ConsumeQueue {
    /// Finds out what the files at `starts` (ascending) hold; `None` when it is nothing.
    ///
    /// After a clean stop the end is found by binary search. After a crash any page may be missing that was not flushed
    /// before the checkpoint: from the newest file that begins below it, entries are read one by one, and what follows the
    /// first bad one, or a missing file, is taken away.
    pub fn load(
        context: &QueueContext,
        kind: QueueKind,
        topic: Arc<str>,
        queue_id: i32,
        starts: &[u64],
        stopped: Stopped,
    ) -> io::Result<Option<Self>> {
        let is_clean = stopped == Stopped::Cleanly;
        let queue = Self::new(kind, topic, queue_id);
        let directory = queue.directory(context);
        let file_size = index(context.file_size(kind));
        let unit = kind.entry_bytes();
        let mut starts = starts.to_vec();
        if let Stopped::ByCrash { on_disk_below } = stopped {
            // Of the files made since, one may be missing before others that are there: their messages are dispatched again.
            let known = queue.newest_below(context, &starts, on_disk_below)?;
            let kept = known + contiguous_head(&starts[known..], context.file_size(kind)).len();
            remove_from_the_end(context, &directory, starts.drain(kept..))?;
        }
        let mut starts = contiguous_tail(&starts, context.file_size(kind)).to_vec();
        let mut tail = Tail::default();
        let mut scan_from = match stopped {
            Stopped::Cleanly => starts.len().saturating_sub(1),
            Stopped::ByCrash { on_disk_below } => queue.newest_below(context, &starts, on_disk_below)?,
        };
        while let Some(start) = starts.get(scan_from).copied() {
            let path = directory.join(file_name(start));
            let count = |bytes: &[u8]| match is_clean {
                true => count_by_halves(kind, bytes),
                false => count_valid(kind, bytes, tail.max_physical),
            };
            // Of very many queues most end in the first page. Mapping their files would read ahead into the hole behind it.
            let mut page = [0; PAGE_BYTES as usize];
            let page = &mut page[..file_size.min(PAGE_BYTES as usize)];
            context.disk.read_at(&path, 0, page)?;
            let in_page = count(page);
            let ends_in_page = in_page < page.len() / unit
                && (is_clean
                    || is_zero(&page[in_page * unit..]) && context.disk.is_blank_from(&path, page.len())?);
            let mut file = match ends_in_page {
                true => None,
                false => Some(MappedFile::open(&*context.disk, &path, start, file_size)?),
            };
            let bytes = file
                .as_ref()
                .map_or(&*page, |file| file.bytes(0..file_size).unwrap_or(&[]));
            let entries = if ends_in_page { in_page } else { count(bytes) };
            if let Some(last) = (0..entries).rev().find_map(|n| real_entry(kind, bytes, n, start)) {
                tail.max_physical = last.physical_offset.0 + u64::from(last.size_bytes);
                tail.max_offset = last.queue_offset.0 + u64::from(last.message_count);
            }
            tail.end = start + (entries * unit) as u64;
            if entries * unit < file_size {
                if let Some(file) = file.as_mut().filter(|_| !is_clean) {
                    file.truncate(entries * unit)?;
                }
                let kept = scan_from + usize::from(entries > 0);
                remove_from_the_end(context, &directory, starts.drain(kept..))?;
                if entries == 0 {
                    // The file before is the last one then, and was not read when the stop was clean.
                    scan_from = kept.saturating_sub(1);
                    if kept == 0 || !is_clean {
                        break;
                    }
                    continue;
                }
                break;
            }
            scan_from += 1;
        }
        let (Some(first), Some(last)) = (starts.first().copied(), starts.last().copied()) else {
            return Ok(None);
        };
        if kind == QueueKind::Simple {
            tail.max_offset = tail.end / unit as u64;
        }
        queue.end.store(tail.end, Ordering::Release);
        queue.max_offset.store(tail.max_offset, Ordering::Release);
        queue.begin.store(first, Ordering::Release);
        queue.min_offset.store(first / unit as u64, Ordering::Release);
        *queue.lock() = QueueFiles {
            range: Some((first, last)),
            max_physical: tail.max_physical,
            // What a crash left may not be on disk, and neither is what was cut off just now.
            flushed: if is_clean {
                tail.end
            } else {
                tail.end.saturating_sub(unit as u64).max(first)
            },
            has_new_names: !is_clean,
            ..QueueFiles::default()
        };
        Ok(Some(queue))
    }

    /// A queue as it was noted.
    pub fn restored(kind: QueueKind, topic: Arc<str>, queue_id: i32, ends: Ends) -> Self {
        Self {
            end: AtomicU64::new(ends.end),
            max_offset: AtomicU64::new(ends.max_offset),
            begin: AtomicU64::new(ends.begin),
            min_offset: AtomicU64::new(ends.min_offset),
            files: Mutex::new(QueueFiles {
                range: Some((ends.first, ends.last)),
                max_physical: ends.max_physical,
                flushed: ends.end,
                ..QueueFiles::default()
            }),
            above_min_physical: AtomicU64::new(ends.min_physical.map_or(0, |least| least + 1)),
            ..Self::new(kind, topic, queue_id)
        }
    }

    /// What [`ConsumeQueue::restored`] needs, of the entries that are on disk; `None` when there is none. `reach` is
    /// known not to lie before the end of any record with an entry on disk.
    pub fn ends(self: &Arc<Self>, context: &QueueContext, reach: u64) -> io::Result<Option<Ends>> {
        let unit = self.kind.entry_bytes_u64();
        let mut ends = {
            let files = self.lock();
            let Some((first, _)) = files.range.filter(|(first, _)| files.flushed > *first) else {
                return Ok(None);
            };
            let ends = Ends {
                first,
                last: (files.flushed - unit) / context.file_size(self.kind) * context.file_size(self.kind),
                begin: self.begin(),
                end: files.flushed,
                min_offset: self.min_offset(),
                max_offset: self.max_offset(),
                min_physical: self.above_min_physical.load(Ordering::Acquire).checked_sub(1),
                max_physical: files.max_physical,
            };
            if files.flushed == self.end() {
                return Ok(Some(ends));
            }
            ends
        };
        match self.kind {
            QueueKind::Simple => {
                ends.max_offset = ends.end / unit;
                ends.max_physical = reach;
            }
            QueueKind::Batch => {
                let Some(last) = self.entry_at(context, ends.end - unit)? else {
                    return Ok(None);
                };
                ends.max_offset = last.queue_offset.0 + u64::from(last.message_count);
                ends.max_physical = last.physical_offset.0 + u64::from(last.size_bytes);
            }
        }
        Ok(Some(ends))
    }

    /// Follows the files that are there: retention may have removed the first since the queue was noted.
    pub fn find_first_file(&self, context: &QueueContext) -> io::Result<()> {
        let mut files = self.lock();
        let Some((first, last)) = files.range.filter(|(first, last)| first < last) else {
            return Ok(());
        };
        let directory = self.directory(context);
        let is_gone = |start: &u64| {
            context
                .disk
                .modified_ns(&directory.join(file_name(*start)))
                .is_err()
        };
        let file_size = context.file_size(self.kind);
        let gone = (first..last)
            .step_by(index(file_size))
            .take_while(is_gone)
            .count();
        let found = first + gone as u64 * file_size;
        files.range = Some((found, last));
        self.begin.fetch_max(found, Ordering::AcqRel);
        Ok(())
    }

    /// Whether the entry of a record that was dispatched before is in its place.
    pub fn holds(
        self: &Arc<Self>,
        context: &QueueContext,
        queue_offset: u64,
        physical_offset: u64,
    ) -> io::Result<bool> {
        let position = self.position_of(context, queue_offset)?;
        let entry = self.entry_at(context, position)?;
        Ok(entry.is_some_and(|entry| entry.physical_offset.0 == physical_offset))
    }

    /// The newest file whose first entry points below `limit`, so that all entries before it do; else the oldest.
    fn newest_below(&self, context: &QueueContext, starts: &[u64], limit: u64) -> io::Result<usize> {
        let directory = self.directory(context);
        let file_size = index(context.file_size(self.kind));
        for (number, start) in starts.iter().copied().enumerate().skip(1).rev() {
            let file = MappedFile::open(
                &*context.disk,
                &directory.join(file_name(start)),
                start,
                file_size,
            )?;
            let bytes = file.bytes(0..file_size).unwrap_or(&[]);
            let first = (0..file_size / self.kind.entry_bytes())
                .map_while(|number| entry_number(self.kind, bytes, number, start))
                .find(|entry| !is_filler(entry));
            if first.is_some_and(|entry| entry.physical_offset.0 < limit) {
                return Ok(number);
            }
        }
        Ok(0)
    }

    /// Takes away every entry whose record begins at or above `limit`. Whether any entry is left: if not, the queue is to be
    /// deleted.
    pub fn cut_physical(self: &Arc<Self>, context: &QueueContext, limit: u64) -> io::Result<bool> {
        let range = {
            let mut files = self.lock();
            if files.is_empty() || files.max_physical <= limit {
                return Ok(!files.is_empty());
            }
            let length = files.tail.len();
            self.write_tail(context, &mut files, length)?;
            files.range
        };
        let Some((first, last)) = range else {
            return Ok(false);
        };
        let unit = self.kind.entry_bytes_u64();
        self.begin.store(first, Ordering::Release);
        let mut end = self.partition_point(context, |entry| entry.physical_offset.0 < limit)?;
        // Fillers just before the cut stood for lost messages between two that were there.
        while end > first
            && self
                .entry_at(context, end - unit)?
                .is_some_and(|entry| is_filler(&entry))
        {
            end -= unit;
        }
        let last_entry = if end > first {
            self.entry_at(context, end - unit)?
        } else {
            None
        };
        let Some(last_entry) = last_entry else {
            return Ok(false);
        };
        context.forget_note()?;
        let file_size = context.file_size(self.kind);
        let directory = self.directory(context);
        let mut files = self.lock();
        files.open.clear();
        let new_last = end.saturating_sub(unit).max(first) / file_size * file_size;
        let starts = (new_last + file_size..=last).step_by(index(file_size));
        remove_from_the_end(context, &directory, starts)?;
        let path = directory.join(file_name(new_last));
        MappedFile::open(&*context.disk, &path, new_last, index(file_size))?
            .truncate(index(end - new_last))?;
        files.range = Some((first, new_last));
        self.min_offset.store(first / unit, Ordering::Release);
        self.above_min_physical.store(0, Ordering::Release);
        files.max_physical = last_entry.physical_offset.0 + u64::from(last_entry.size_bytes);
        // The cut itself must reach the disk before the checkpoint may pass it.
        files.flushed = files.flushed.min(end - unit);
        files.has_new_names = true;
        self.end.store(end, Ordering::Release);
        let max_offset = last_entry.queue_offset.0 + u64::from(last_entry.message_count);
        self.max_offset.store(max_offset, Ordering::Release);
        drop(files);
        self.mark_dirty(context);
        Ok(true)
    }
}

/// What is known of a queue's entries on disk; see [`crate::queue_note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Positions at which the first and the last file begin.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// As in [`ConsumeQueue`].
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) min_offset: u64,
    pub(crate) max_offset: u64,
    pub(crate) min_physical: Option<u64>,
    pub(crate) max_physical: u64,
}

impl Ends {
    /// How many numbers they are.
    pub const NUMBERS: usize = 8;

    /// As numbers, most of them small.
    pub fn to_numbers(self) -> [u64; Self::NUMBERS] {
        [
            self.first,
            self.last.wrapping_sub(self.first),
            self.begin.wrapping_sub(self.first),
            self.end.wrapping_sub(self.last),
            self.min_offset,
            self.max_offset,
            self.min_physical.map_or(0, |least| least + 1),
            self.max_physical,
        ]
    }

    /// The reverse of [`Ends::to_numbers`].
    pub fn from_numbers(numbers: [u64; Self::NUMBERS]) -> Self {
        let [
            first,
            to_last,
            to_begin,
            to_end,
            min_offset,
            max_offset,
            min_physical,
            max_physical,
        ] = numbers;
        let last = first.wrapping_add(to_last);
        Self {
            first,
            last,
            begin: first.wrapping_add(to_begin),
            end: last.wrapping_add(to_end),
            min_offset,
            max_offset,
            min_physical: min_physical.checked_sub(1),
            max_physical,
        }
    }
}

/// How the store that wrote the files ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything is on disk.
    Cleanly,
    /// Entries of records below this are on disk, of others some may be.
    ByCrash {
        /// The checkpoint's `logics_physical_offset`.
        on_disk_below: u64,
    },
}

/// Removes files from the last to the first: whatever a crash leaves of them still follows the files before.
fn remove_from_the_end(
    context: &QueueContext,
    directory: &Path,
    starts: impl Iterator<Item = u64>,
) -> io::Result<()> {
    match remove_unsynced(context, directory, starts)? {
        0 => Ok(()),
        _ => context.disk.sync_dir(directory),
    }
}

/// The same, not on disk yet. Returns how many there were.
fn remove_unsynced(
    context: &QueueContext,
    directory: &Path,
    starts: impl Iterator<Item = u64>,
) -> io::Result<usize> {
    let starts: Vec<u64> = starts.collect();
    for start in starts.iter().rev() {
        context.disk.remove_file(&directory.join(file_name(*start)))?;
    }
    Ok(starts.len())
}

#[derive(Debug, Default)]
struct Tail {
    end: u64,
    max_offset: u64,
    max_physical: u64,
}

impl QueueFiles {
    fn is_empty(&self) -> bool {
        self.range.is_none() && self.tail.is_empty()
    }

    /// Where the tail begins, in a queue that ends at `end`.
    fn in_files(&self, end: u64) -> u64 {
        end - self.tail.len() as u64
    }
}

impl Unsynced {
    /// Gets the entries to the disk, file by file.
    pub fn sync(&self, context: &QueueContext) -> io::Result<()> {
        let file_size = context.file_size(self.queue.kind);
        let directory = self.queue.directory(context);
        let first = self.from - self.from % file_size;
        for start in (first..self.to).step_by(index(file_size)) {
            let is_there = {
                let files = self.queue.lock();
                !files.is_deleted && files.range.is_some_and(|(first, _)| first <= start)
            };
            if is_there {
                context.disk.sync_file(&directory.join(file_name(start)))?;
            }
        }
        if self.has_new_names {
            for directory in directory.ancestors().take(3) {
                context.disk.sync_dir(directory)?;
            }
        }
        Ok(())
    }

    /// Notes that the entries are on disk, or that they have to be synced again.
    pub fn finish(self, context: &QueueContext, is_synced: bool) {
        let mut files = self.queue.lock();
        if files.is_deleted {
            return;
        }
        if is_synced {
            files.flushed = files.flushed.max(self.to);
        } else {
            files.has_new_names |= self.has_new_names;
            context.note_full_page();
            self.queue.mark_dirty(context);
        }
    }
}

impl Iterator for EntryRun {
    type Item = QueueEntry;

    fn next(&mut self) -> Option<QueueEntry> {
        if self.position >= self.end {
            return None;
        }
        let unit = self.kind.entry_bytes();
        let tail_start = self.end - self.tail.len() as u64;
        let bytes = if self.position < tail_start {
            let file = self.file.as_ref()?;
            let at = index(self.position - file.start());
            file.bytes(at..at + unit)?
        } else {
            let at = index(self.position - tail_start);
            self.tail.get(at..at + unit)?
        };
        let entry = decode_entry(self.kind, bytes, self.position)?;
        self.position += unit as u64;
        Some(entry)
    }
}

/// Whether the entry stands for a message that is not there.
pub fn is_filler(entry: &QueueEntry) -> bool {
    entry.size_bytes == FILLER_SIZE && entry.physical_offset.0 == 0
}

/// Decodes the entry at the start of `bytes`; `None` when there is none. `position` is its place in the queue.
fn decode_entry(kind: QueueKind, bytes: &[u8], position: u64) -> Option<QueueEntry> {
    let physical_offset = u64_at(bytes, 0)?;
    let size_bytes = u32_at(bytes, 8)?;
    let tags_code = u64_at(bytes, 12)?.cast_signed();
    let is_valid = physical_offset.cast_signed() >= 0 && size_bytes.cast_signed() > 0;
    let (queue_offset, message_count) = match kind {
        QueueKind::Simple => (position / SIMPLE_ENTRY_BYTES as u64, 1),
        QueueKind::Batch => {
            let base = u64_at(bytes, 28).filter(|base| base.cast_signed() >= 0)?;
            let count = bytes
                .get(36..)?
                .first_chunk::<2>()
                .map(|field| u16::from_be_bytes(*field))?;
            (base, Some(count).filter(|count| count.cast_signed() > 0)?)
        }
    };
    is_valid.then_some(QueueEntry {
        queue_offset: QueueOffset(queue_offset),
        physical_offset: PhysicalOffset(physical_offset),
        size_bytes,
        tags_code,
        message_count,
    })
}

/// Reads an entry and writes it again, without the fields that nothing reads; `None` when there is none.
pub fn rewrite_entry(kind: QueueKind, bytes: &[u8]) -> Option<Vec<u8>> {
    let entry = decode_entry(kind, bytes, 0)?;
    Some(match kind {
        QueueKind::Simple => encode_simple(&entry).to_vec(),
        QueueKind::Batch => {
            let store_timestamp_ms = 0;
            encode_batch(&NewEntry {
                entry,
                store_timestamp_ms,
            })
            .to_vec()
        }
    })
}

fn entry_number(kind: QueueKind, bytes: &[u8], number: usize, file_start: u64) -> Option<QueueEntry> {
    let at = number * kind.entry_bytes();
    decode_entry(
        kind,
        bytes.get(at..at + kind.entry_bytes())?,
        file_start + at as u64,
    )
}

fn real_entry(kind: QueueKind, bytes: &[u8], number: usize, file_start: u64) -> Option<QueueEntry> {
    entry_number(kind, bytes, number, file_start).filter(|entry| !is_filler(entry))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// How many entries a file holds, given that nothing follows the last.
fn count_by_halves(kind: QueueKind, bytes: &[u8]) -> usize {
    let (mut low, mut high) = (0, bytes.len() / kind.entry_bytes());
    while low < high {
        let middle = low + (high - low) / 2;
        if entry_number(kind, bytes, middle, 0).is_some() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// How many entries a file holds before the first that is none, or whose record does not follow the one before.
fn count_valid(kind: QueueKind, bytes: &[u8], max_physical: u64) -> usize {
    let mut least_physical = max_physical;
    let follows = |number: &usize| match entry_number(kind, bytes, *number, 0) {
        Some(entry) if is_filler(&entry) => true,
        Some(entry) if entry.physical_offset.0 >= least_physical => {
            least_physical = entry.physical_offset.0 + u64::from(entry.size_bytes);
            true
        }
        _ => false,
    };
    (0..bytes.len() / kind.entry_bytes()).take_while(follows).count()
}

/// The first starts that follow each other.
fn contiguous_head(starts: &[u64], file_size: u64) -> &[u64] {
    let gap = starts.windows(2).position(|pair| pair[0] + file_size != pair[1]);
    gap.map_or(starts, |before| &starts[..=before])
}

/// The last starts that follow each other: whatever lies before a gap cannot be reached.
fn contiguous_tail(starts: &[u64], file_size: u64) -> &[u64] {
    let gap = starts.windows(2).rposition(|pair| pair[0] + file_size != pair[1]);
    gap.map_or(starts, |before| &starts[before + 1..])
}

fn encode_simple(entry: &QueueEntry) -> [u8; SIMPLE_ENTRY_BYTES] {
    let mut unit = [0; SIMPLE_ENTRY_BYTES];
    unit[..8].copy_from_slice(&entry.physical_offset.0.to_be_bytes());
    unit[8..12].copy_from_slice(&entry.size_bytes.to_be_bytes());
    unit[12..].copy_from_slice(&entry.tags_code.to_be_bytes());
    unit
}

fn encode_batch(new: &NewEntry) -> [u8; BATCH_ENTRY_BYTES] {
    let mut unit = [0; BATCH_ENTRY_BYTES];
    unit[..SIMPLE_ENTRY_BYTES].copy_from_slice(&encode_simple(&new.entry));
    unit[20..28].copy_from_slice(&new.store_timestamp_ms.to_be_bytes());
    unit[28..36].copy_from_slice(&new.entry.queue_offset.0.to_be_bytes());
    unit[36..38].copy_from_slice(&new.entry.message_count.to_be_bytes());
    unit[38..42].copy_from_slice(&NOT_COMPACTED.to_be_bytes());
    unit
}

fn filler() -> [u8; SIMPLE_ENTRY_BYTES] {
    encode_simple(&QueueEntry {
        queue_offset: QueueOffset(0),
        physical_offset: PhysicalOffset(0),
        size_bytes: FILLER_SIZE,
        tags_code: 0,
        message_count: 1,
    })
}

/// A place inside one file: files are mapped, so it fits.
fn index(position: u64) -> usize {
    usize::try_from(position).expect("inside a mapped file")
}
