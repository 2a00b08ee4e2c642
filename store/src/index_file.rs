//! IndexFile: from a message's keys to where it lies in the CommitLog.
//!
//! A hash table in a file of fixed size, whose chains run from newest to oldest:
//!
//! ```text
//!   0     8     16         24       32          36          40               40 + 4 * slots
//!   begin | end | begin    | end    | slots     | next      | slot 0 | ...   | entry 0 (never used) | entry 1 | ...
//!   time  | time| physical | physical| in use   | entry     |
//!
//!   slot    4 bytes: number of the newest entry of its chain, 0 = none
//!   entry   20 bytes: 4 key hash | 8 physical offset | 4 seconds since the begin time | 4 entry before it, 0 = none
//! ```
//!
//! Files are named by the local time at which they were made and are full one after another. The hash of a key is
//! not checked against the key: whoever asks compares.
//!
//! Invariants
//! - Physical offsets never fall from entry to entry, nor from file to file.
//! - An entry's predecessor has a lower number, so every chain ends.
//! - Only the dispatch thread adds entries; any thread follows chains.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use common::clock::Clock;
use common::local_time;
use common::planted_bug::{PlantedBug, is_planted};

use crate::config::MessageStoreConfig;
use crate::disk::Disk;
use crate::mapped_file::MappedTable;
use crate::offset::PhysicalOffset;
use crate::store::OpenError;

const HEADER_BYTES: usize = 40;
const SLOT_BYTES: usize = 4;
const ENTRY_BYTES: usize = 20;

const BEGIN_TIME_AT: usize = 0;
const END_TIME_AT: usize = 8;
const BEGIN_PHYSICAL_AT: usize = 16;
const END_PHYSICAL_AT: usize = 24;
const SLOTS_IN_USE_AT: usize = 32;
const NEXT_ENTRY_AT: usize = 36;

/// Sizes of an index file: configuration, not recorded in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexShape {
    slots: u32,
    /// Entries, the unused entry 0 included.
    entries: u32,
}

impl IndexShape {
    fn of(config: &MessageStoreConfig) -> Self {
        Self {
            slots: config.max_hash_slot_num.max(1),
            entries: config.max_index_num.max(2),
        }
    }

    fn slot_at(self, slot: u32) -> usize {
        HEADER_BYTES + slot as usize * SLOT_BYTES
    }

    fn entry_at(self, number: u32) -> usize {
        self.slot_at(self.slots) + number as usize * ENTRY_BYTES
    }

    fn file_bytes(self) -> usize {
        self.entry_at(self.entries)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key_hash: u32,
    physical_offset: u64,
    seconds: u32,
    before: u32,
}

/// One index file.
#[derive(Debug)]
struct IndexFile {
    table: MappedTable,
    shape: IndexShape,
    begin_time_ms: AtomicI64,
    end_time_ms: AtomicI64,
    begin_physical: AtomicU64,
    end_physical: AtomicU64,
    slots_in_use: AtomicU32,
    /// Published after everything an entry needs.
    next_entry: AtomicU32,
}

impl IndexFile {
    /// `end` is the end of the file before, if it is known: time and physical offset.
    fn create(disk: &dyn Disk, path: &Path, shape: IndexShape, end: Option<(i64, u64)>) -> io::Result<Self> {
        let table = MappedTable::create(disk, path, shape.file_bytes())?;
        // Advice: without it the pages come all the same.
        let _ = table.expect_no_order();
        table.reserve(0..HEADER_BYTES)?;
        table.set_u32(NEXT_ENTRY_AT, 1);
        let (time_ms, physical) = end.unwrap_or((0, 0));
        for (at, value) in [
            (BEGIN_TIME_AT, time_ms.cast_unsigned()),
            (END_TIME_AT, time_ms.cast_unsigned()),
            (BEGIN_PHYSICAL_AT, physical),
            (END_PHYSICAL_AT, physical),
        ] {
            table.set_u64(at, value);
        }
        Ok(Self::of(table, shape))
    }

    fn open(disk: &dyn Disk, path: &Path, shape: IndexShape) -> io::Result<Self> {
        let table = MappedTable::open(disk, path)?;
        table.reserve(0..HEADER_BYTES)?;
        Ok(Self::of(table, shape))
    }

    fn of(table: MappedTable, shape: IndexShape) -> Self {
        Self {
            shape,
            begin_time_ms: AtomicI64::new(table.u64_at(BEGIN_TIME_AT).cast_signed()),
            end_time_ms: AtomicI64::new(table.u64_at(END_TIME_AT).cast_signed()),
            begin_physical: AtomicU64::new(table.u64_at(BEGIN_PHYSICAL_AT)),
            end_physical: AtomicU64::new(table.u64_at(END_PHYSICAL_AT)),
            slots_in_use: AtomicU32::new(table.u32_at(SLOTS_IN_USE_AT)),
            next_entry: AtomicU32::new(table.u32_at(NEXT_ENTRY_AT).clamp(1, shape.entries)),
            table,
        }
    }

    fn next_entry(&self) -> u32 {
        self.next_entry.load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        self.next_entry() <= 1
    }

    fn is_full(&self) -> bool {
        self.next_entry() >= self.shape.entries
    }

    fn begin_time_ms(&self) -> i64 {
        self.begin_time_ms.load(Ordering::Acquire)
    }

    fn end_time_ms(&self) -> i64 {
        self.end_time_ms.load(Ordering::Acquire)
    }

    fn end_physical(&self) -> u64 {
        self.end_physical.load(Ordering::Acquire)
    }

    fn entry(&self, number: u32) -> Entry {
        let at = self.shape.entry_at(number);
        Entry {
            key_hash: self.table.u32_at(at),
            physical_offset: self.table.u64_at(at + 4),
            seconds: self.table.u32_at(at + 12),
            before: self.table.u32_at(at + 16),
        }
    }

    fn slot_of(&self, key_hash: u32) -> usize {
        self.shape.slot_at(key_hash % self.shape.slots)
    }

    /// The newest entry of the key's chain; what a broken slot says counts as none.
    fn head_of(&self, key_hash: u32) -> u32 {
        let at = self.slot_of(key_hash);
        if self.table.is_hole(at..at + SLOT_BYTES) {
            return 0;
        }
        let head = self.table.u32_at(at);
        if head < self.next_entry() { head } else { 0 }
    }

    /// Adds an entry. The file must not be full.
    fn add(&self, key_hash: u32, physical_offset: u64, store_timestamp_ms: i64) -> io::Result<()> {
        let number = self.next_entry();
        let entry_at = self.shape.entry_at(number);
        let slot_at = self.slot_of(key_hash);
        self.table.reserve(entry_at..entry_at + ENTRY_BYTES)?;
        self.table.reserve(slot_at..slot_at + SLOT_BYTES)?;
        let before = self.head_of(key_hash);
        let is_first = number == 1;
        // The reference counts the first entry's seconds from what the header held before it.
        let seconds = seconds_since(self.begin_time_ms(), store_timestamp_ms);

        self.table.set_u32(entry_at, key_hash);
        self.table.set_u64(entry_at + 4, physical_offset);
        self.table
            .set_u32(entry_at + 12, if is_first { 0 } else { seconds });
        self.table.set_u32(entry_at + 16, before);
        if is_first {
            self.begin_physical.store(physical_offset, Ordering::Release);
            self.begin_time_ms.store(store_timestamp_ms, Ordering::Release);
        }
        self.end_physical.store(physical_offset, Ordering::Release);
        self.end_time_ms.store(store_timestamp_ms, Ordering::Release);
        if before == 0 {
            self.slots_in_use.fetch_add(1, Ordering::AcqRel);
        }
        self.next_entry.store(number + 1, Ordering::Release);
        self.table.set_u32(slot_at, number);
        self.write_header();
        Ok(())
    }

    fn write_header(&self) {
        self.table
            .set_u64(BEGIN_TIME_AT, self.begin_time_ms().cast_unsigned());
        self.table
            .set_u64(END_TIME_AT, self.end_time_ms().cast_unsigned());
        self.table
            .set_u64(BEGIN_PHYSICAL_AT, self.begin_physical.load(Ordering::Acquire));
        self.table.set_u64(END_PHYSICAL_AT, self.end_physical());
        self.table
            .set_u32(SLOTS_IN_USE_AT, self.slots_in_use.load(Ordering::Acquire));
        self.table.set_u32(NEXT_ENTRY_AT, self.next_entry());
    }

    /// Whether a message between the two times may be in the file.
    fn meets(&self, begin_ms: i64, end_ms: i64) -> bool {
        // Of a repaired file only the second in which it ends is known.
        !self.is_empty()
            && begin_ms <= self.end_time_ms().saturating_add(999)
            && end_ms >= self.begin_time_ms()
    }

    /// Follows the chain of a key, newest first.
    fn find(&self, key_hash: u32, begin_ms: i64, end_ms: i64, max: usize, found: &mut Vec<u64>) {
        let begin_time_ms = self.begin_time_ms();
        let mut number = self.head_of(key_hash);
        while number != 0 && found.len() < max {
            let entry = self.entry(number);
            // Times are kept in whole seconds: what is searched for is widened by as much, so that nothing is missed.
            let time_ms = begin_time_ms.saturating_add(i64::from(entry.seconds) * 1000);
            let second_ends_ms = time_ms.saturating_add(999);
            if entry.key_hash == key_hash && second_ends_ms >= begin_ms && time_ms <= end_ms {
                found.push(entry.physical_offset);
            }
            if entry.before >= number || second_ends_ms < begin_ms {
                return;
            }
            number = entry.before;
        }
    }

    /// Takes away the entries of records at or above `limit`, newest first.
    fn truncate(&self, limit: u64) -> io::Result<()> {
        let mut next = self.next_entry();
        while next > 1 && self.entry(next - 1).physical_offset >= limit {
            let entry = self.entry(next - 1);
            let slot_at = self.slot_of(entry.key_hash);
            self.table.reserve(slot_at..slot_at + SLOT_BYTES)?;
            // The newest entry of all heads its chain.
            self.table.set_u32(slot_at, entry.before);
            if entry.before == 0 {
                self.slots_in_use.fetch_sub(1, Ordering::AcqRel);
            }
            next -= 1;
        }
        if next == self.next_entry() {
            return Ok(());
        }
        self.end_at(next);
        self.forget_from(next)
    }

    /// Leaves nothing on the disk from an entry on: a later repair would believe it.
    fn forget_from(&self, next: u32) -> io::Result<()> {
        let rest = self.shape.entry_at(next)..self.shape.file_bytes();
        self.table.clear(rest)?;
        self.table.flush()
    }

    /// After a crash: believes the entries as far as they make sense, and builds everything else from them. The entries
    /// below `from` are known to be on disk, with their chains.
    fn repair(&self, from: u32) -> io::Result<()> {
        self.table.reserve(0..HEADER_BYTES)?;
        // The begin time is written before, and with the same page as, the first entry's place.
        let has_begin = self.begin_time_ms() > 0
            && self.begin_physical.load(Ordering::Acquire) == self.entry(1).physical_offset;
        let from = if has_begin {
            from.min(self.shape.entries)
        } else {
            1
        };
        let next = if has_begin { self.believable_from(from) } else { 1 };
        let slots = self.shape.slot_at(0)..self.shape.slot_at(self.shape.slots);
        if from == 1 {
            self.table.clear(slots.clone())?;
        }
        self.table.reserve(slots)?;
        let mut slots_in_use = if from == 1 { 0 } else { self.repair_slots(from) };
        for number in from..next {
            let slot_at = self.slot_of(self.entry(number).key_hash);
            let before = self.table.u32_at(slot_at);
            slots_in_use += u32::from(before == 0);
            let entry_at = self.shape.entry_at(number);
            self.table.reserve(entry_at..entry_at + ENTRY_BYTES)?;
            self.table.set_u32(entry_at + 16, before);
            self.table.set_u32(slot_at, number);
        }
        self.slots_in_use.store(slots_in_use, Ordering::Release);
        self.end_at(next);
        // Only the file in use is flushed later.
        self.forget_from(next)
    }

    /// Where the entries end that make sense, given that those below `from` do.
    fn believable_from(&self, from: u32) -> u32 {
        let mut last_physical = if from > 1 {
            self.entry(from - 1).physical_offset
        } else {
            0
        };
        let mut next = from;
        while next < self.shape.entries {
            let entry = self.entry(next);
            let is_written = entry.key_hash != 0 || entry.physical_offset != 0;
            if !is_written
                || entry.physical_offset < last_physical
                || entry.key_hash > i32::MAX.unsigned_abs()
            {
                break;
            }
            last_physical = entry.physical_offset;
            next += 1;
        }
        next
    }

    /// Makes the slots head the chains of the entries below `from` again, and counts those in use. A slot's page on disk is
    /// as it was when those entries were flushed, or newer: a head below `from` is the right one, any other has to be
    /// looked for.
    fn repair_slots(&self, from: u32) -> u32 {
        let slots = self.shape.slots as usize;
        let mut is_lost = vec![0u64; slots.div_ceil(64)];
        let (mut in_use, mut lost) = (0, 0);
        for slot in 0..self.shape.slots {
            let at = self.shape.slot_at(slot);
            match self.table.u32_at(at) {
                0 => {}
                head if head < from => in_use += 1,
                _ => {
                    self.table.set_u32(at, 0);
                    is_lost[slot as usize / 64] |= 1 << (slot % 64);
                    lost += 1;
                }
            }
        }
        if lost == 0 {
            return in_use;
        }
        for number in 1..from {
            let slot = self.table.u32_at(self.shape.entry_at(number)) % self.shape.slots;
            if is_lost[slot as usize / 64] & (1 << (slot % 64)) != 0 {
                let at = self.shape.slot_at(slot);
                in_use += u32::from(self.table.u32_at(at) == 0);
                self.table.set_u32(at, number);
            }
        }
        in_use
    }

    /// Makes the entry before `next` the last one.
    ///
    /// The file must not end later than its last message was stored: with a later time the reference, after a crash,
    /// deletes a file that the checkpoint covers and keeps the one behind it, and the keys between are in neither.
    fn end_at(&self, next: u32) {
        self.next_entry.store(next, Ordering::Release);
        if next > 1 {
            let last = self.entry(next - 1);
            let is_header_of_last = self.end_physical() == last.physical_offset;
            if !is_header_of_last {
                // Only the second is known.
                let end_time_ms = self
                    .begin_time_ms()
                    .saturating_add(i64::from(last.seconds) * 1000);
                self.end_time_ms.store(end_time_ms, Ordering::Release);
                self.end_physical.store(last.physical_offset, Ordering::Release);
            }
        }
        self.write_header();
    }
}

/// The index files of a store, oldest first.
#[derive(Debug)]
pub struct IndexFiles {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    shape: IndexShape,
    /// A leaf: nothing else is locked while it is held.
    files: RwLock<Vec<Arc<IndexFile>>>,
    /// Records below this offset are indexed.
    indexed: AtomicU64,
    /// The record that was not finished for want of room, [`NONE`] without one, and how many of its keys are there. Only the
    /// dispatch thread looks at the two.
    unfinished: AtomicU64,
    unfinished_keys: AtomicUsize,
    /// See [`IndexFiles::doubtful_from`].
    doubtful_from: Option<u64>,
}

/// How far the index was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexMark {
    /// Records below this offset were indexed.
    pub end: u64,
    /// The name of the last file, as a number; 0 without a file.
    pub file: u64,
    /// Its next entry.
    pub entries: u32,
}

/// What is known to be on disk after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexOnDisk {
    /// Full files that end before this time.
    pub full_before_ms: i64,
    /// And what was there when everything was flushed, if that is known.
    pub mark: Option<IndexMark>,
}

/// Where no record begins.
const NONE: u64 = u64::MAX;

/// What dispatch knows of a message's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys<'a> {
    /// The producer's unique key.
    pub unique_key: Option<&'a str>,
    /// Space-separated keys.
    pub keys: Option<&'a str>,
    /// The tags, found as a key of type `T`.
    pub tags: Option<&'a str>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where the records lie, ascending.
    pub physical_offsets: Vec<u64>,
    /// Store time of the newest indexed message.
    pub last_time_ms: i64,
    /// Where the newest indexed message lies.
    pub last_physical: PhysicalOffset,
}

impl IndexFiles {
    /// Loads the files. After a crash, files that go beyond what is known to be on disk are repaired, and what is doubtful
    /// then is left to be cut off: see [`IndexFiles::doubtful_from`].
    pub fn load(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        crashed: Option<IndexOnDisk>,
    ) -> Result<Self, OpenError> {
        let mut index = Self {
            disk: Arc::clone(disk),
            clock: Arc::clone(clock),
            directory: config.root().join("index"),
            shape: IndexShape::of(config),
            files: RwLock::default(),
            indexed: AtomicU64::new(0),
            unfinished: AtomicU64::new(NONE),
            unfinished_keys: AtomicUsize::new(0),
            doubtful_from: None,
        };
        let mut paths = index.list()?.into_iter();
        let is_crash = crashed.is_some();
        let mark = crashed.and_then(|crashed| crashed.mark).unwrap_or_default();
        let mut safe_end_ms = None;
        for path in paths.by_ref() {
            let file = IndexFile::open(&**disk, &path, index.shape).map_err(OpenError::io("map", &path))?;
            // A file is on disk when a later one was begun. Times are not enough to tell: more than one file may end in
            // the same millisecond, and a torn file's header may be older than what it describes.
            let is_unsafe = crashed.is_some_and(|crashed| {
                let (safe_ms, end_ms) = (crashed.full_before_ms, file.end_time_ms());
                let is_first_to_end = safe_end_ms.replace(end_ms) != Some(end_ms);
                !(file.is_full() && (end_ms < safe_ms || end_ms == safe_ms && is_first_to_end))
            });
            if is_unsafe {
                let is_marked = mark.file > 0 && stamp_of(&path) == Some(mark.file);
                let from = if is_marked { mark.entries.max(1) } else { 1 };
                file.repair(from).map_err(OpenError::io("repair", &path))?;
            }
            let has_lost_entries = is_crash && !file.is_full();
            if file.is_empty() {
                disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
            } else {
                index.write().push(Arc::new(file));
            }
            if has_lost_entries {
                break;
            }
        }
        // What follows lost entries is indexed again, after them.
        for path in paths {
            disk.remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
        if is_crash {
            disk.create_dir_all(&index.directory)
                .and_then(|()| disk.sync_dir(&index.directory))
                .map_err(OpenError::io("sync", &index.directory))?;
        }
        let last_physical = index.files().last().map(|file| file.end_physical());
        if let Some(physical) = last_physical {
            index.indexed.store(physical + 1, Ordering::Release);
            // Some of its keys may be missing, also behind a full file, unless all of them are known to be on disk.
            index.doubtful_from = Some(physical).filter(|_| is_crash && physical >= mark.end);
        }
        Ok(index)
    }

    fn list(&self) -> Result<Vec<PathBuf>, OpenError> {
        let mut names = Vec::new();
        let entries = self
            .disk
            .list(&self.directory)
            .map_err(OpenError::io("list", &self.directory))?;
        for entry in entries
            .into_iter()
            .filter(|entry| !entry.is_dir && is_file_name(&entry.name))
        {
            let path = self.directory.join(&entry.name);
            if entry.length == 0 {
                self.disk
                    .remove_file(&path)
                    .map_err(OpenError::io("remove the empty file", &path))?;
            } else if entry.length == self.shape.file_bytes() as u64 {
                names.push(entry.name);
            } else {
                return Err(OpenError::FileSize {
                    file: path,
                    length: entry.length,
                    key: "maxHashSlotNum and maxIndexNum",
                    expected: self.shape.file_bytes() as u64,
                });
            }
        }
        names.sort_unstable();
        Ok(names.into_iter().map(|name| self.directory.join(name)).collect())
    }

    /// How far the index is now.
    pub fn mark(&self) -> IndexMark {
        let end = self.indexed();
        let last = self.files().last().cloned();
        IndexMark {
            end,
            file: last
                .as_ref()
                .and_then(|file| stamp_of(file.table.path()))
                .unwrap_or(0),
            entries: last.map_or(1, |file| file.next_entry()),
        }
    }

    /// The last record that a crash left here, when it may not have all its keys: it is to be indexed anew.
    pub fn doubtful_from(&self) -> Option<u64> {
        self.doubtful_from
    }

    /// When the last full file ends that has nothing at or above `limit`, 0 without any.
    pub fn full_end_ms_below(&self, limit: u64) -> i64 {
        let files = self.files();
        let is_kept = |file: &IndexFile| file.is_full() && file.end_physical() < limit;
        let last_kept = files.iter().rev().find(|file| is_kept(file));
        last_kept.map_or(0, |file| file.end_time_ms())
    }

    /// Records below this offset are indexed.
    pub fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    /// Adds the keys of a message, unless they are there already. Returns the end time of a file that became full.
    pub fn add(
        &self,
        topic: &str,
        keys: &Keys<'_>,
        physical_offset: u64,
        store_timestamp_ms: i64,
    ) -> io::Result<Option<i64>> {
        if physical_offset < self.indexed() {
            return Ok(None);
        }
        let topic_hash = JavaHash::default().then(topic).then("#");
        let words = keys.keys.unwrap_or("");
        let dropped = usize::from(is_planted(PlantedBug::DropIndexEntry));
        let words = common::message::properties::split_keys(words).skip(dropped);
        let tags = keys.tags.filter(|tags| !tags.is_empty());
        let hashes = (keys.unique_key.into_iter())
            .chain(words)
            .map(|key| topic_hash.then(key))
            .chain(tags.map(|tags| topic_hash.then("T#").then(tags)));
        let mut filled = None;
        for (number, hash) in hashes.enumerate().skip(self.keys_added_of(physical_offset)) {
            let added = self.file_with_room().and_then(|(file, full_before)| {
                filled = full_before.or(filled);
                file.add(hash.key_hash(), physical_offset, store_timestamp_ms)
            });
            if let Err(error) = added {
                self.unfinished.store(physical_offset, Ordering::Relaxed);
                self.unfinished_keys.store(number, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.indexed.store(physical_offset + 1, Ordering::Release);
        Ok(filled)
    }

    /// How many keys of the record are there, though not all found room.
    fn keys_added_of(&self, physical_offset: u64) -> usize {
        match self.unfinished.load(Ordering::Relaxed) == physical_offset {
            true => self.unfinished_keys.load(Ordering::Relaxed),
            false => 0,
        }
    }

    /// The file that takes the next entry, and the end time of the file before if that became full just now.
    fn file_with_room(&self) -> io::Result<(Arc<IndexFile>, Option<i64>)> {
        let last = self.files().last().cloned();
        if let Some(file) = last.as_ref().filter(|file| !file.is_full()) {
            return Ok((Arc::clone(file), None));
        }
        self.disk.create_dir_all(&self.directory)?;
        let path = self.new_path(last.as_deref());
        self.disk.remove_file(&path)?;
        let end = last
            .as_ref()
            .map(|file| (file.end_time_ms(), file.end_physical()));
        if let Some(full) = &last {
            full.table.flush()?;
        }
        let file = Arc::new(IndexFile::create(&*self.disk, &path, self.shape, end)?);
        self.disk.sync_dir(&self.directory)?;
        self.write().push(Arc::clone(&file));
        Ok((file, end.map(|(time_ms, _)| time_ms)))
    }

    /// Named by the local time, but always after the last file: files are sorted by name when loaded.
    fn new_path(&self, last: Option<&IndexFile>) -> PathBuf {
        let name = local_time::file_stamp(self.clock.wall_ms());
        let last_name = last.and_then(|file| stamp_of(file.table.path()));
        let name = match (name.parse::<u64>(), last_name) {
            (Ok(stamp), Some(last)) if stamp <= last => format!("{:017}", last + 1),
            _ => name,
        };
        self.directory.join(name)
    }

    /// Finds the records that have a key, newest files first, at most `max`.
    pub fn find(
        &self,
        topic: &str,
        key: &str,
        index_type: Option<&str>,
        max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> Found {
        let files = self.files();
        let Some(last) = files.last() else {
            return Found::default();
        };
        let mut hash = JavaHash::default().then(topic).then("#");
        if index_type == Some("T") {
            hash = hash.then("T#");
        }
        let key_hash = hash.then(key).key_hash();
        let mut physical_offsets = Vec::new();
        for file in files.iter().rev() {
            if file.meets(begin_ms, end_ms) {
                file.find(key_hash, begin_ms, end_ms, max, &mut physical_offsets);
            }
            if file.begin_time_ms() < begin_ms || physical_offsets.len() >= max {
                break;
            }
        }
        physical_offsets.sort_unstable();
        physical_offsets.dedup();
        Found {
            physical_offsets,
            last_time_ms: last.end_time_ms(),
            last_physical: PhysicalOffset(last.end_physical()),
        }
    }

    /// Takes away everything that points at or above `limit`.
    pub fn truncate(&self, limit: u64) -> io::Result<()> {
        self.unfinished.store(NONE, Ordering::Relaxed);
        loop {
            let Some(last) = self.files().last().cloned() else {
                break;
            };
            last.truncate(limit)?;
            if !last.is_empty() {
                break;
            }
            self.write().pop();
            self.disk.remove_file(last.table.path())?;
            self.disk.sync_dir(&self.directory)?;
        }
        let end = self.files().last().map_or(0, |last| last.end_physical() + 1);
        self.indexed.store(end.min(limit), Ordering::Release);
        Ok(())
    }

    /// Deletes the oldest files as long as all they point at lies below `log_min`, but never the last.
    pub fn delete_before(&self, log_min: u64) -> io::Result<usize> {
        let removed: Vec<_> = {
            let mut files = self.write();
            let expired = files
                .iter()
                .take_while(|file| file.end_physical() < log_min)
                .count();
            let expired = expired.min(files.len().saturating_sub(1));
            files.drain(..expired).collect()
        };
        for file in &removed {
            self.disk.remove_file(file.table.path())?;
        }
        Ok(removed.len())
    }

    /// Gets the file in use to the disk; full ones are there already.
    pub fn flush(&self) -> io::Result<()> {
        let last = self.files().last().cloned();
        last.map_or(Ok(()), |file| file.table.flush())
    }

    fn files(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<IndexFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<IndexFile>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Java's `String.hashCode`, piece by piece: keys are hashed without putting them together.
#[derive(Clone, Copy, Debug, Default)]
struct JavaHash(i32);

impl JavaHash {
    fn then(self, piece: &str) -> Self {
        let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
        if piece.is_ascii() {
            Self(piece.bytes().map(u16::from).fold(self.0, add))
        } else {
            Self(piece.encode_utf16().fold(self.0, add))
        }
    }

    /// The absolute value; of the one number that has none, 0.
    fn key_hash(self) -> u32 {
        if self.0 == i32::MIN {
            0
        } else {
            self.0.unsigned_abs()
        }
    }
}

fn seconds_since(begin_time_ms: i64, time_ms: i64) -> u32 {
    if begin_time_ms <= 0 {
        return 0;
    }
    let seconds = time_ms.saturating_sub(begin_time_ms) / 1000;
    u32::try_from(seconds.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
}

/// The name of a file, as a number.
fn stamp_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

fn is_file_name(name: &str) -> bool {
    name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use common::clock::ManualClock;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const START_MS: i64 = 1_795_377_000_000;

    fn config(root: &Path) -> MessageStoreConfig {
        MessageStoreConfig {
            store_path_root_dir: root.to_str().unwrap().to_owned(),
            max_hash_slot_num: 7,
            max_index_num: 20,
            ..MessageStoreConfig::default()
        }
    }

    fn load(root: &Path, crashed: Option<IndexOnDisk>) -> IndexFiles {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_MS));
        let index = IndexFiles::load(&config(root), &disk, &clock, crashed).unwrap();
        if let Some(record) = index.doubtful_from() {
            index.truncate(record).unwrap();
        }
        index
    }

    fn all(index: &IndexFiles, key: &str) -> Vec<u64> {
        index.find("T", key, None, 1000, 0, i64::MAX).physical_offsets
    }

    /// Names and bytes of the files, oldest first.
    fn contents(root: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(root.join("index"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort_unstable();
        files
    }

    fn add(index: &IndexFiles, physical_offset: u64, keys: &str) {
        let keys = Keys {
            unique_key: None,
            keys: Some(keys),
            tags: None,
        };
        let time_ms = START_MS + physical_offset.cast_signed() * 10;
        index.add("T", &keys, physical_offset, time_ms).unwrap();
    }

    #[test]
    fn the_hash_of_pieces_is_the_hash_of_the_whole() {
        let whole = common::message::tags_code::java_hash_code("FxTags#é\u{1F600}-0");
        assert_eq!(
            JavaHash::default()
                .then("FxTags")
                .then("#")
                .then("é\u{1F600}-0")
                .0,
            whole
        );
        assert_eq!(JavaHash::default().then("polygenelubricants").key_hash(), 0);
    }

    #[test]
    fn unique_keys_keys_and_tags_are_found() {
        let root = tempfile::tempdir().unwrap();
        let index = load(root.path(), None);
        let keys = Keys {
            unique_key: Some("U"),
            keys: Some(" a  b "),
            tags: Some("red"),
        };
        index.add("T", &keys, 100, START_MS).unwrap();
        assert_eq!(
            (all(&index, "U"), all(&index, "a"), all(&index, "b")),
            (vec![100], vec![100], vec![100])
        );
        assert_eq!(all(&index, "red"), [] as [u64; 0]);
        assert_eq!(
            index
                .find("T", "red", Some("T"), 10, 0, i64::MAX)
                .physical_offsets,
            [100]
        );
        assert_eq!(
            index
                .find("T", "a", None, 10, START_MS + 1_000, i64::MAX)
                .physical_offsets,
            [] as [u64; 0]
        );
        assert_eq!(
            (
                all(&index, "").len(),
                index.find("X", "a", None, 10, 0, i64::MAX).physical_offsets.len()
            ),
            (0, 0)
        );
    }

    #[test]
    fn files_roll_and_the_oldest_go_with_the_log() {
        let root = tempfile::tempdir().unwrap();
        let index = load(root.path(), None);
        for n in 0..100 {
            add(&index, n * 100, &format!("k{n}"));
        }
        assert_eq!(index.files().len(), 100usize.div_ceil(19));
        assert_eq!(index.delete_before(2_000).unwrap(), 1);
        assert_eq!((all(&index, "k18").len(), all(&index, "k19").len()), (0, 1));
        assert_eq!(index.delete_before(u64::MAX).unwrap(), 4);
        drop(index);
        assert_eq!(all(&load(root.path(), None), "k99"), [9_900]);
    }

    #[test]
    fn a_message_is_indexed_once() {
        let root = tempfile::tempdir().unwrap();
        let index = load(root.path(), None);
        add(&index, 100, "a b");
        add(&index, 100, "a b");
        add(&index, 50, "a");
        assert_eq!(index.files()[0].next_entry(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_repair_behind_a_mark_finds_what_a_whole_repair_finds(
            messages in prop::collection::vec(prop::collection::vec(0u8..12, 1..4), 2..40), flushed in 0usize..40,
            coins in prop::collection::vec(any::<bool>(), 16),
        ) {
            let (flushed, repaired) = (flushed % messages.len(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
            let (mut mark, mut on_disk) = (IndexMark { entries: 1, ..IndexMark::default() }, Vec::new());
            for root in &repaired {
                let index = load(root.path(), None);
                for (n, keys) in messages.iter().enumerate() {
                    if n == flushed {
                        index.flush().unwrap();
                        mark = index.mark();
                        on_disk = contents(root.path());
                    }
                    let keys: Vec<String> = keys.iter().map(u8::to_string).collect();
                    add(&index, n as u64, &keys.join(" "));
                }
                drop(index);
                // Of each sector, the old or the new bytes are on disk; full files are flushed.
                let Some((old_path, old)) = on_disk.last() else { continue };
                let path = root.path().join("index").join(old_path);
                let mut bytes = std::fs::read(&path).unwrap();
                let is_last = contents(root.path()).len() == on_disk.len();
                for ((new, old), is_old) in bytes.chunks_mut(64).zip(old.chunks(64)).zip(coins.iter().cycle()) {
                    if *is_old && is_last {
                        new.copy_from_slice(old);
                    }
                }
                std::fs::write(&path, bytes).unwrap();
            }
            let whole = load(repaired[0].path(), Some(IndexOnDisk::default()));
            let marked = load(repaired[1].path(), Some(IndexOnDisk { full_before_ms: 0, mark: Some(mark) }));
            prop_assert!(marked.indexed() >= whole.indexed() && marked.indexed() >= mark.end);
            marked.truncate(whole.indexed()).unwrap();
            for key in 0..12u8 {
                prop_assert_eq!(all(&marked, &key.to_string()), all(&whole, &key.to_string()));
            }
            for file in marked.files().iter() {
                let heads = (0..7).filter(|slot| file.table.u32_at(file.shape.slot_at(*slot)) != 0).count();
                prop_assert_eq!(heads, file.slots_in_use.load(Ordering::Acquire) as usize);
            }
        }

        #[test]
        fn cutting_and_repairing_keep_exactly_what_lies_below(
            messages in prop::collection::vec(prop::collection::vec(0u8..12, 1..4), 1..60), limit in 0usize..70,
            is_crash in any::<bool>(),
        ) {
            let root = tempfile::tempdir().unwrap();
            let index = load(root.path(), None);
            for (n, keys) in messages.iter().enumerate() {
                let keys: Vec<String> = keys.iter().map(u8::to_string).collect();
                add(&index, n as u64, &keys.join(" "));
            }
            let mut kept = messages.len();
            let index = if is_crash {
                drop(index);
                let index = load(root.path(), Some(IndexOnDisk::default()));
                kept -= 1;
                prop_assert_eq!(index.indexed(), kept as u64);
                index
            } else {
                index
            };
            index.truncate(limit as u64).unwrap();
            kept = kept.min(limit);
            for key in 0..12u8 {
                let expected: BTreeSet<u64> = (0..kept)
                    .filter(|n| messages[*n].contains(&key))
                    .map(|n| n as u64)
                    .collect();
                prop_assert_eq!(all(&index, &key.to_string()), Vec::from_iter(expected));
            }
            for file in index.files().iter() {
                let heads = (0..7).filter(|slot| file.table.u32_at(file.shape.slot_at(*slot)) != 0).count();
                prop_assert_eq!(heads, file.slots_in_use.load(Ordering::Acquire) as usize);
            }
        }
    }
}
