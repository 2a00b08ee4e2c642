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
//! What is kept for each queue is small: its files are mapped when used, and unmapped by [`OpenFiles`].

use std::io;
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
    is_dirty: AtomicBool,
    /// A leaf: nothing else is locked while it is held.
    files: Mutex<QueueFiles>,
}

#[derive(Debug, Default)]
struct QueueFiles {
    /// Positions at which the first and the last file begin; `None` before the first entry.
    range: Option<(u64, u64)>,
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

/// Entries of one file, back to back.
#[derive(Debug)]
pub struct EntryRun {
    kind: QueueKind,
    file: Arc<MappedFile>,
    at: usize,
    end: usize,
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
        self.lock().range.is_none()
    }

    /// End of the last entry's record in the log.
    pub fn max_physical(&self) -> u64 {
        self.lock().max_physical
    }

    /// The entries from a position to the end of its file; `None` when there is no entry at it.
    pub fn run_from(self: &Arc<Self>, context: &QueueContext, position: u64) -> io::Result<Option<EntryRun>> {
        if position >= self.end() {
            return Ok(None);
        }
        let start = position - position % context.file_size(self.kind);
        let Some(file) = self.file(context, start)? else {
            return Ok(None);
        };
        Ok(Some(EntryRun {
            kind: self.kind,
            at: index(position - start),
            end: file.published(),
            file,
        }))
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
        let file_size = context.file_size(self.kind);
        let mut position = from;
        while position < end {
            let Some(run) = self.run_from(context, position)? else {
                return Ok(None);
            };
            let run_from = position;
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
            if position == run_from || !position.is_multiple_of(file_size) {
                position += unit;
            }
        }
        Ok(None)
    }

    /// Appends an entry after the last. In a simple queue its queue offset must be the queue's end, or lie beyond it:
    /// then fillers stand for what is missing.
    pub fn append(self: &Arc<Self>, context: &QueueContext, new: &NewEntry) -> io::Result<()> {
        let opened = {
            let mut files = self.lock();
            if files.is_deleted {
                return Ok(());
            }
            let opened_before = files.open.len();
            match self.kind {
                QueueKind::Simple => self.append_simple(context, &mut files, new)?,
                QueueKind::Batch => self.append_unit(context, &mut files, &encode_batch(new))?,
            }
            files.max_physical = new.entry.physical_offset.0 + u64::from(new.entry.size_bytes);
            files.open.len() > opened_before
        };
        let next = new.entry.queue_offset.0 + u64::from(new.entry.message_count);
        self.max_offset.store(next, Ordering::Release);
        if opened {
            context.open_files.opened(self);
        }
        self.mark_dirty(context);
        Ok(())
    }

    fn append_simple(
        &self,
        context: &QueueContext,
        files: &mut QueueFiles,
        new: &NewEntry,
    ) -> io::Result<()> {
        let position = new.entry.queue_offset.0 * SIMPLE_ENTRY_BYTES as u64;
        if files.range.is_none() {
            let start = position - position % context.file_size(self.kind);
            self.end.store(start, Ordering::Release);
            self.begin.store(position, Ordering::Release);
            self.min_offset.store(new.entry.queue_offset.0, Ordering::Release);
        }
        let missing = position.saturating_sub(self.end()) / SIMPLE_ENTRY_BYTES as u64;
        for _ in 0..missing {
            self.append_unit(context, files, &filler())?;
        }
        debug_assert_eq!(
            self.end(),
            position,
            "the caller drops entries that are there already"
        );
        self.append_unit(context, files, &encode_simple(&new.entry))
    }

    fn append_unit(&self, context: &QueueContext, files: &mut QueueFiles, unit: &[u8]) -> io::Result<()> {
        let end = self.end();
        let file_size = context.file_size(self.kind);
        let start = end - end % file_size;
        let file = match files.range {
            Some((_, last)) if last == start => self.open_file(context, files, start)?,
            _ => self.create_file(context, files, start)?,
        };
        let mut writer = file
            .writer()
            .ok_or_else(|| io::Error::other("a second writer of a queue"))?;
        reserve_for(&file, writer.position() + unit.len())?;
        writer.write(unit);
        writer.publish();
        self.end.store(end + unit.len() as u64, Ordering::Release);
        Ok(())
    }

    fn create_file(
        &self,
        context: &QueueContext,
        files: &mut QueueFiles,
        start: u64,
    ) -> io::Result<Arc<MappedFile>> {
        let directory = self.directory(context);
        context.disk.create_dir_all(&directory)?;
        let path = directory.join(file_name(start));
        // Left over from an attempt that failed later, or from a queue that was deleted: nothing points into it.
        context.disk.remove_file(&path)?;
        let file = MappedFile::create(&*context.disk, &path, start, index(context.file_size(self.kind)))?;
        let file = Arc::new(file);
        if files.range.is_none() {
            files.flushed = start;
        }
        files.range = Some((files.range.map_or(start, |(first, _)| first), start));
        files.has_new_names = true;
        files.open.push(OpenFile {
            file: Arc::clone(&file),
            is_used: true,
        });
        Ok(file)
    }

    fn file(self: &Arc<Self>, context: &QueueContext, start: u64) -> io::Result<Option<Arc<MappedFile>>> {
        let (file, opened) = {
            let mut files = self.lock();
            match files.range {
                Some((first, last)) if (first..=last).contains(&start) && !files.is_deleted => {}
                _ => return Ok(None),
            }
            let opened_before = files.open.len();
            (
                self.open_file(context, &mut files, start)?,
                files.open.len() > opened_before,
            )
        };
        if opened {
            context.open_files.opened(self);
        }
        Ok(Some(file))
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
        let published = (self.end() - start).min(context.file_size(self.kind));
        let path = self.directory(context).join(file_name(start));
        let file = Arc::new(MappedFile::open(&*context.disk, &path, start, index(published))?);
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

    /// Gets entries to the disk; without `thorough` only when there are `least_pages` of them. A queue that keeps some
    /// marks itself dirty again.
    pub fn flush(
        self: &Arc<Self>,
        context: &QueueContext,
        least_pages: u64,
        thorough: bool,
    ) -> io::Result<()> {
        // Before the end is read: what comes later marks the queue again.
        self.is_dirty.store(false, Ordering::Release);
        let end = self.end();
        let (flushed, has_new_names) = {
            let mut files = self.lock();
            let least_bytes = if thorough { 1 } else { least_pages.max(1) * 4096 };
            if files.is_deleted || end <= files.flushed {
                return Ok(());
            }
            if end - files.flushed < least_bytes {
                self.mark_dirty(context);
                return Ok(());
            }
            (files.flushed, std::mem::take(&mut files.has_new_names))
        };
        let result = self.flush_range(context, flushed, end, has_new_names);
        let mut files = self.lock();
        if files.is_deleted {
            return Ok(());
        }
        match &result {
            Ok(()) => files.flushed = files.flushed.max(end),
            Err(_) => {
                files.has_new_names |= has_new_names;
                self.mark_dirty(context);
            }
        }
        result
    }

    pub(crate) fn mark_dirty(self: &Arc<Self>, context: &QueueContext) {
        if !self.is_dirty.swap(true, Ordering::AcqRel) {
            context.add_dirty(Arc::clone(self));
        }
    }

    fn flush_range(
        self: &Arc<Self>,
        context: &QueueContext,
        from: u64,
        to: u64,
        has_new_names: bool,
    ) -> io::Result<()> {
        let file_size = context.file_size(self.kind);
        let mut position = from;
        while position < to {
            let start = position - position % file_size;
            let end = to.min(start + file_size);
            if let Some(file) = self.file(context, start)? {
                // Queues are made with one page in mind: flush whole pages from the one last written to.
                let first = index(position - start) / 4096 * 4096;
                file.flush(first..index(end - start))?;
            }
            position = end;
        }
        if has_new_names {
            let directory = self.directory(context);
            for directory in directory.ancestors().take(3) {
                context.disk.sync_dir(directory)?;
            }
        }
        Ok(())
    }

    /// Moves the minimum to the first message whose record begins at or above `log_min`, and deletes the files before
    /// it, but never the last. Returns how many.
    pub fn correct_min(self: &Arc<Self>, context: &QueueContext, log_min: u64) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let begin = self.partition_point(context, |entry| entry.physical_offset.0 < log_min)?;
        let min_offset = match self.kind {
            QueueKind::Simple => begin / SIMPLE_ENTRY_BYTES as u64,
            QueueKind::Batch => {
                let first = self.entry_at(context, begin)?;
                first.map_or_else(|| self.max_offset(), |entry| entry.queue_offset.0)
            }
        };
        self.begin.store(begin, Ordering::Release);
        self.min_offset.store(min_offset, Ordering::Release);
        let mut removed = 0;
        while let Some(path) = self.detach_first_file_before(context, begin) {
            context.disk.remove_file(&path)?;
            removed += 1;
        }
        Ok(removed)
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

    /// Deletes the queue's files. Readers finish; appends are dropped from now on.
    pub fn delete(&self, context: &QueueContext) -> io::Result<()> {
        let range = {
            let mut files = self.lock();
            files.is_deleted = true;
            files.open.clear();
            files.range.take()
        };
        let directory = self.directory(context);
        if let Some((first, last)) = range {
            let starts = (first..=last).step_by(index(context.file_size(self.kind)));
            remove_from_the_end(context, &directory, starts)?;
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
    /// first bad one is made zeros.
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
        let mut starts = contiguous_tail(starts, context.file_size(kind)).to_vec();
        let mut tail = Tail::default();
        let mut scan_from = match stopped {
            Stopped::Cleanly => starts.len().saturating_sub(1),
            Stopped::ByCrash { on_disk_below } => queue.newest_below(context, &starts, on_disk_below)?,
        };
        while let Some(start) = starts.get(scan_from).copied() {
            let path = directory.join(file_name(start));
            let mut file = MappedFile::open(&*context.disk, &path, start, file_size)?;
            let bytes = file.bytes(0..file_size).unwrap_or(&[]);
            let entries = if is_clean {
                count_by_halves(kind, bytes)
            } else {
                count_valid(kind, bytes, tail.max_physical)
            };
            if let Some(last) = (0..entries).rev().find_map(|n| real_entry(kind, bytes, n, start)) {
                tail.max_physical = last.physical_offset.0 + u64::from(last.size_bytes);
                tail.max_offset = last.queue_offset.0 + u64::from(last.message_count);
            }
            tail.end = start + (entries * unit) as u64;
            if entries * unit < file_size {
                if !is_clean {
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

    /// Takes away every entry whose record begins at or above `limit`. Whether any entry is left.
    pub fn cut_physical(self: &Arc<Self>, context: &QueueContext, limit: u64) -> io::Result<bool> {
        let Some((first, last)) = self.lock().range else {
            return Ok(false);
        };
        if self.max_physical() <= limit {
            return Ok(true);
        }
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
        let file_size = context.file_size(self.kind);
        let directory = self.directory(context);
        let last_entry = if end > first {
            self.entry_at(context, end - unit)?
        } else {
            None
        };
        let mut files = self.lock();
        files.open.clear();
        let new_last = end.saturating_sub(unit).max(first) / file_size * file_size;
        let starts = (new_last + file_size..=last).step_by(index(file_size));
        remove_from_the_end(context, &directory, starts)?;
        let path = directory.join(file_name(new_last));
        let Some(last_entry) = last_entry else {
            context.disk.remove_file(&path)?;
            // A file that came back would be taken for one of a new queue.
            context.disk.sync_dir(&directory)?;
            *files = QueueFiles::default();
            self.end.store(0, Ordering::Release);
            self.max_offset.store(0, Ordering::Release);
            self.begin.store(0, Ordering::Release);
            self.min_offset.store(0, Ordering::Release);
            return Ok(false);
        };
        MappedFile::open(&*context.disk, &path, new_last, index(file_size))?
            .truncate(index(end - new_last))?;
        files.range = Some((first, new_last));
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
    let starts: Vec<u64> = starts.collect();
    for start in starts.iter().rev() {
        context.disk.remove_file(&directory.join(file_name(*start)))?;
    }
    if starts.is_empty() {
        return Ok(());
    }
    // A file that came back after a power failure would be taken for one of a new queue of the same name.
    context.disk.sync_dir(directory)
}

#[derive(Debug, Default)]
struct Tail {
    end: u64,
    max_offset: u64,
    max_physical: u64,
}

impl Iterator for EntryRun {
    type Item = QueueEntry;

    fn next(&mut self) -> Option<QueueEntry> {
        let unit = self.kind.entry_bytes();
        let bytes = self
            .file
            .bytes(self.at..self.at + unit)
            .filter(|_| self.at < self.end)?;
        let entry = decode_entry(self.kind, bytes, self.file.start() + self.at as u64)?;
        self.at += unit;
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

/// Room is found in growing pieces: a million small queues must not take 6 MB each.
fn reserve_for(file: &MappedFile, end: usize) -> io::Result<()> {
    if end > file.reserved() {
        let piece = end.clamp(4096, 256 * 1024);
        file.reserve((end + piece).next_multiple_of(4096))?;
    }
    Ok(())
}

/// A place inside one file: files are mapped, so it fits.
fn index(position: u64) -> usize {
    usize::try_from(position).expect("inside a mapped file")
}
