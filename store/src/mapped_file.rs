//! MappedFile and MappedTable: files seen as memory. The only unsafe code of the store.
//!
//! A [`MappedFile`] is written once, from front to back:
//!
//! ```text
//!   0                published          reserved          size
//!   | never changes  | the writer's     | zeros, no room  |
//!   | any reader     | nobody reads     | nobody writes   |
//! ```
//!
//! A writer copies above `published`, then publishes with Release; readers load `published` with Acquire and
//! get slices below it only. Nobody writes at or above `reserved`: on a full disk such a write would kill
//! the process.
//!
//! A [`MappedTable`] is changed in place, number by number: every access is atomic, and no slice exists.
//!
//! Both stay valid as long as anybody holds them, also after their file was deleted.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use memmap2::{MmapRaw, UncheckedAdvice};

use crate::disk::{Disk, DiskFile};

/// A file of fixed size that is written from front to back.
#[derive(Debug)]
pub struct MappedFile {
    file: Box<dyn DiskFile>,
    memory: Arc<MmapRaw>,
    path: PathBuf,
    /// Offset of the first byte in the offset space of the file's queue.
    start: u64,
    published: AtomicUsize,
    reserved: AtomicUsize,
    has_writer: AtomicBool,
    /// Pages below were let go; what was read since is resident again.
    let_go: AtomicUsize,
    /// The lowest position that was asked for since then.
    lowest_read: AtomicUsize,
}

/// The least page of the systems we know: what is let go begins and ends with one, and room on a full disk comes by it.
const PAGE_BYTES: usize = 4096;

/// A flush of so much or more unmaps it: of less, as with `SYNC_FLUSH`, the pages are read again at once.
const UNMAP_FROM_BYTES: usize = 256 * 1024;

impl MappedFile {
    /// Makes a new file of zeros.
    pub fn create(disk: &dyn Disk, path: &Path, start: u64, size: usize) -> io::Result<Self> {
        Ok(Self::new(disk.create(path, size)?, path, start, 0))
    }

    /// Opens a file of which the first `published` bytes are written and final.
    ///
    /// The caller vouches for `published`: no other `MappedFile` of this path writes below it.
    pub fn open(disk: &dyn Disk, path: &Path, start: u64, published: usize) -> io::Result<Self> {
        let file = disk.open(path)?;
        if published > file.memory().len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than its content",
            ));
        }
        Ok(Self::new(file, path, start, published))
    }

    /// Tells the kernel whether reads of this file will be in order, so that it reads ahead, or anywhere.
    pub fn expect_reads_in_order(&self, in_order: bool) -> io::Result<()> {
        self.memory.advise(match in_order {
            true => memmap2::Advice::Normal,
            false => memmap2::Advice::Random,
        })
    }

    fn new(file: Box<dyn DiskFile>, path: &Path, start: u64, published: usize) -> Self {
        Self {
            memory: Arc::clone(file.memory()),
            file,
            path: path.to_owned(),
            start,
            published: AtomicUsize::new(published),
            reserved: AtomicUsize::new(published),
            has_writer: AtomicBool::new(false),
            let_go: AtomicUsize::new(0),
            lowest_read: AtomicUsize::new(usize::MAX),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Offset of the first byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset after the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.size() as u64
    }

    /// Length of the file.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// How many bytes are written and final.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Notes that the file's bytes below `to` were written past this mapping, with `Disk::write_at`, and are final: the
    /// caller vouches for it as for the `published` of [`MappedFile::open`]. There must be no writer.
    pub fn note_written(&self, to: usize) {
        assert!(to <= self.size(), "nothing is written beyond the end");
        debug_assert!(!self.has_writer.load(Ordering::Relaxed));
        self.published.fetch_max(to, Ordering::AcqRel);
    }

    /// Written bytes; `None` when the range goes beyond them.
    pub fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        if range.start < self.lowest_read.load(Ordering::Relaxed) {
            self.lowest_read.fetch_min(range.start, Ordering::Relaxed);
        }
        // SAFETY: the range lies below `published`, hence inside the mapping, which lives as long as `self.memory`.
        // Bytes below `published` are never written again: a `MappedFileWriter` writes above it and only raises it,
        // as does `note_written`, for bytes that another way into the same file has written before,
        // and `truncate` and `overwrite`, which do otherwise, take `&mut self` and so exclude this borrow.
        // The Acquire load above pairs with the Release store of `publish`.
        Some(unsafe { slice::from_raw_parts(self.memory.as_ptr().add(range.start), range.len()) })
    }

    /// The one writer; `None` while there is another.
    pub fn writer(self: &Arc<Self>) -> Option<MappedFileWriter> {
        if self.has_writer.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(MappedFileWriter {
            position: self.published(),
            file: Arc::clone(self),
        })
    }

    /// How many bytes have room on the disk, and pages in memory.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }

    /// Finds room on the disk, and pages, for everything below `to`. Not to be called by two threads at once.
    ///
    /// This writes zeros above `reserved`, where nobody else writes. They are there already: also behind the writer's back, when it
    /// skips to the end meanwhile, no published byte changes.
    pub fn reserve(&self, to: usize) -> io::Result<()> {
        let to = to.min(self.size());
        let from = self.reserved().max(self.published());
        if to > from {
            self.file.fill(from..to)?;
            self.reserved.store(to, Ordering::Release);
        }
        Ok(())
    }

    /// The same for everything below `least`; up to `plenty` if the disk has that much, else up to the end of a page.
    pub fn reserve_ahead(&self, least: usize, plenty: usize) -> io::Result<()> {
        if self.reserved() >= least {
            return Ok(());
        }
        match self.reserve(plenty) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.reserve(least.next_multiple_of(PAGE_BYTES))
            }
            other => other,
        }
    }

    /// Lets written pages below `below` go: they are not this process's memory any more, but still the file's, and come
    /// back when they are read. Nothing happens to pages that were let go before and of which nobody has taken a slice
    /// since. Not to be called by two threads at once.
    pub fn let_go(&self, below: usize) -> io::Result<()> {
        let below = below.min(self.published()) / PAGE_BYTES * PAGE_BYTES;
        let let_go = self.let_go.load(Ordering::Relaxed);
        let lowest_read = self.lowest_read.swap(usize::MAX, Ordering::Relaxed);
        let from = let_go.min(lowest_read) / PAGE_BYTES * PAGE_BYTES;
        if from >= below {
            return Ok(());
        }
        self.unmap_pages(from..below)?;
        self.let_go.store(below.max(let_go), Ordering::Relaxed);
        Ok(())
    }

    /// Gets a range to the disk.
    ///
    /// Before the kernel writes a page, it takes the right to change it from every mapping, page by page, each time with an
    /// interrupt to every core that this process runs on. So many pages that were written are unmapped first, which is one
    /// interrupt for all of them; who reads them maps them again, sixteen at a time.
    pub fn flush(&self, range: Range<usize>) -> io::Result<()> {
        let whole = range.start.next_multiple_of(PAGE_BYTES)
            ..range.end.min(self.published()) / PAGE_BYTES * PAGE_BYTES;
        if whole.len() >= UNMAP_FROM_BYTES
            && let Err(error) = self.unmap_pages(whole)
        {
            // No harm but that the flush costs more.
            tracing::debug!("pages of {} stay mapped: {error}", self.path.display());
        }
        self.file.flush(range)
    }

    /// Takes whole pages out of this process's memory, which stay the file's and come back with the next access.
    fn unmap_pages(&self, pages: Range<usize>) -> io::Result<()> {
        // SAFETY: the memory is a shared mapping of a file, as `DiskFile::memory` promises. Its pages are the file's, the
        // dirty ones too: the next access, also through a slice that somebody holds, finds the same bytes.
        unsafe {
            self.memory
                .unchecked_advise_range(UncheckedAdvice::DontNeed, pages.start, pages.len())
        }
    }

    /// The first position from `at` on that may hold anything but zeros.
    pub fn next_data(&self, at: usize) -> io::Result<usize> {
        self.file.next_data(at)
    }

    /// Where the data at `at` ends; the file's length where that is not known.
    pub fn next_hole(&self, at: usize) -> io::Result<usize> {
        self.file.next_hole(at)
    }

    /// Takes back everything from `published` on and leaves zeros there.
    pub fn truncate(&mut self, published: usize) -> io::Result<()> {
        assert!(
            !*self.has_writer.get_mut(),
            "a file with a writer is not truncated"
        );
        assert!(published <= self.size(), "truncation makes a file no longer");
        self.file.clear(published..self.size())?;
        *self.published.get_mut() = published;
        *self.reserved.get_mut() = published;
        *self.let_go.get_mut() = 0;
        Ok(())
    }

    /// Replaces written bytes: for the repair of what is damaged anyway.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let end = at
            .checked_add(bytes.len())
            .filter(|end| *end <= *self.published.get_mut());
        let Some(end) = end else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "beyond the written bytes",
            ));
        };
        self.file.reserve(at..end)?;
        // SAFETY: the range was checked to lie below `published`, hence inside the mapping, and has room on the disk.
        // `&mut self` excludes every slice that `bytes` gave out and every `MappedFileWriter`, which holds an `Arc`.
        unsafe {
            self.memory
                .as_mut_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
        self.file.flush(at..end)
    }
}

/// The one writer of a [`MappedFile`].
#[derive(Debug)]
pub struct MappedFileWriter {
    file: Arc<MappedFile>,
    position: usize,
}

impl MappedFileWriter {
    /// The file written to.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Where the next byte goes.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes left in the file.
    pub fn room(&self) -> usize {
        self.file.size() - self.position
    }

    /// Copies bytes after those written before; readers do not see them yet. When the process is killed, everything written
    /// by earlier calls is there before anything of this one, of which any part may be: libc stores the beginning of a long
    /// copy last.
    ///
    /// # Panics
    /// When the bytes do not fit below what is reserved: the caller makes room first.
    pub fn write(&mut self, bytes: &[u8]) {
        let end = self.position + bytes.len();
        assert!(
            end <= self.file.reserved(),
            "room is reserved before it is written"
        );
        // SAFETY: the range ends below `reserved`, hence inside the mapping, and has room on the disk. It starts at or
        // above `published`, where `MappedFile::bytes` gives no slices. There is one writer a file (`has_writer`), and
        // `&mut self` makes its writes one after another.
        unsafe {
            let target = self.file.memory.as_mut_ptr().add(self.position);
            target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        // The compiler must not move the next copy before this one. A killed thread has done what comes first in its program.
        compiler_fence(Ordering::SeqCst);
        self.position = end;
    }

    /// Leaves the rest of the file as it is, zeros, and makes it count as written.
    pub fn skip_to_end(&mut self) {
        self.position = self.file.size();
    }

    /// Shows readers everything written so far.
    pub fn publish(&mut self) {
        self.file.published.store(self.position, Ordering::Release);
    }
}

impl Drop for MappedFileWriter {
    fn drop(&mut self) {
        self.file.has_writer.store(false, Ordering::Release);
    }
}

/// A file of numbers that change in place. Numbers are big-endian and aligned to 4 bytes.
#[derive(Debug)]
pub struct MappedTable {
    file: Box<dyn DiskFile>,
    memory: Arc<MmapRaw>,
    path: PathBuf,
    /// One bit a granule: whether it has room on the disk.
    reserved: Box<[AtomicU64]>,
}

/// Room on the disk is found in pieces of this size.
const GRANULE_BYTES: usize = 64 * 1024;

impl MappedTable {
    /// Makes a new file of zeros.
    pub fn create(disk: &dyn Disk, path: &Path, size: usize) -> io::Result<Self> {
        Ok(Self::new(disk.create(path, size)?, path))
    }

    /// Opens a file.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        Ok(Self::new(disk.open(path)?, path))
    }

    fn new(file: Box<dyn DiskFile>, path: &Path) -> Self {
        let memory = Arc::clone(file.memory());
        let words = memory.len().div_ceil(GRANULE_BYTES).div_ceil(64);
        Self {
            file,
            memory,
            path: path.to_owned(),
            reserved: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Tells the kernel that no page follows another: it makes the one that is wanted, and reads none ahead.
    pub fn expect_no_order(&self) -> io::Result<()> {
        self.memory.advise(memmap2::Advice::Random)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// The number at `at`.
    pub fn u32_at(&self, at: usize) -> u32 {
        u32::from_be(self.word(at).load(Ordering::Acquire))
    }

    /// The number at `at`. Its two halves are read one after the other.
    pub fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at)) << 32 | u64::from(self.u32_at(at + 4))
    }

    /// Finds room on the disk for a range, before anything is set in it.
    pub fn reserve(&self, range: Range<usize>) -> io::Result<()> {
        for granule in range.start / GRANULE_BYTES..range.end.div_ceil(GRANULE_BYTES) {
            let (word, bit) = (&self.reserved[granule / 64], 1 << (granule % 64));
            if word.load(Ordering::Relaxed) & bit == 0 {
                let start = granule * GRANULE_BYTES;
                self.file
                    .reserve(start..(start + GRANULE_BYTES).min(self.size()))?;
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether a range has no blocks, and so holds zeros. On a full tmpfs even reading it would kill the process with
    /// SIGBUS: there a hole gets its page when it is read. The range lies in one page.
    pub fn is_hole(&self, range: Range<usize>) -> bool {
        !self.is_reserved(range.start) && self.next_data(range.start).is_ok_and(|data| data >= range.end)
    }

    fn is_reserved(&self, at: usize) -> bool {
        let granule = at / GRANULE_BYTES;
        self.reserved[granule / 64].load(Ordering::Relaxed) & (1 << (granule % 64)) != 0
    }

    /// Sets the number at `at`.
    ///
    /// # Panics
    /// When the place is not reserved.
    pub fn set_u32(&self, at: usize, value: u32) {
        assert!(self.is_reserved(at), "room is reserved before it is written");
        self.word(at).store(value.to_be(), Ordering::Release);
    }

    /// Sets the number at `at`. Its two halves are set one after the other.
    pub fn set_u64(&self, at: usize, value: u64) {
        let bytes = value.to_be_bytes();
        self.set_u32(at, u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        self.set_u32(
            at + 4,
            u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        );
    }

    /// Makes a range zeros and gives back its room.
    pub fn clear(&self, range: Range<usize>) -> io::Result<()> {
        self.file.clear(range.clone())?;
        for granule in range.start / GRANULE_BYTES..range.end.div_ceil(GRANULE_BYTES) {
            self.reserved[granule / 64].fetch_and(!(1 << (granule % 64)), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gets everything to the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.flush_range(0..self.size())
    }

    /// Gets a range to the disk.
    pub fn flush_range(&self, range: Range<usize>) -> io::Result<()> {
        self.file.flush(range)
    }

    /// The first position from `at` on that may hold anything but zeros.
    pub fn next_data(&self, at: usize) -> io::Result<usize> {
        self.file.next_data(at)
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(
            at.is_multiple_of(4) && at + 4 <= self.size(),
            "numbers are aligned and inside"
        );
        // SAFETY: the four bytes are inside the mapping, which starts at a page and lives as long as `self.memory`, and
        // aligned as checked above. Every access to a table's memory goes through these atomics.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().add(at).cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn new_file(size: usize) -> (tempfile::TempDir, MappedFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = MappedFile::create(&RealDisk, &directory.path().join("0"), 0, size).unwrap();
        (directory, file)
    }

    #[test]
    fn readers_see_what_is_published_and_nothing_else() {
        let (_directory, file) = new_file(8192);
        let file = Arc::new(file);
        file.reserve(8192).unwrap();
        let mut writer = file.writer().unwrap();
        writer.write(b"abc");
        assert_eq!(file.bytes(0..3), None);
        writer.publish();
        assert_eq!(file.bytes(0..3), Some(&b"abc"[..]));
        assert_eq!(file.bytes(1..4), None);
        assert_eq!((writer.position(), writer.room()), (3, 8189));
    }

    #[test]
    fn there_is_one_writer_at_a_time() {
        let (_directory, file) = new_file(4096);
        let file = Arc::new(file);
        let first = file.writer();
        assert!(file.writer().is_none());
        drop(first);
        assert!(file.writer().is_some());
    }

    #[test]
    #[should_panic(expected = "room is reserved")]
    fn writing_without_room_is_a_bug() {
        let (_directory, file) = new_file(4096);
        Arc::new(file).writer().unwrap().write(b"x");
    }

    #[test]
    fn truncation_leaves_zeros() {
        let (_directory, file) = new_file(8192);
        let file = Arc::new(file);
        file.reserve(8192).unwrap();
        let mut writer = file.writer().unwrap();
        writer.write(&[7; 5000]);
        writer.publish();
        drop(writer);
        let mut file = Arc::into_inner(file).unwrap();
        file.truncate(10).unwrap();
        assert_eq!((file.published(), file.bytes(0..11)), (10, None));
        assert_eq!(
            std::fs::read(file.path()).unwrap()[..12],
            [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]
        );
        assert!(
            std::fs::read(file.path()).unwrap()[10..]
                .iter()
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn a_deleted_file_stays_readable_for_those_who_hold_it() {
        let (directory, file) = new_file(4096);
        let file = Arc::new(file);
        file.reserve(4096).unwrap();
        let mut writer = file.writer().unwrap();
        writer.write(b"abc");
        writer.publish();
        drop(directory);
        assert_eq!(file.bytes(0..3), Some(&b"abc"[..]));
    }

    #[test]
    fn concurrent_readers_see_whole_records_only() {
        let (_directory, file) = new_file(1 << 20);
        let file = Arc::new(file);
        file.reserve(1 << 20).unwrap();
        let reader = Arc::clone(&file);
        let reading = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < 1000 {
                let published = reader.published();
                assert_eq!(published % 64, 0);
                let bytes = reader.bytes(0..published).unwrap();
                for (index, record) in bytes.chunks_exact(64).enumerate().skip(seen) {
                    assert!(
                        record.iter().all(|byte| usize::from(*byte) == index % 251),
                        "record {index}"
                    );
                }
                seen = published / 64;
            }
        });
        let mut writer = file.writer().unwrap();
        for index in 0..1000 {
            writer.write(&[u8::try_from(index % 251).unwrap(); 64]);
            writer.publish();
        }
        reading.join().unwrap();
    }

    #[test]
    fn a_table_keeps_its_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let table = MappedTable::create(&RealDisk, &path, 200_000).unwrap();
        table.reserve(131_064..131_080).unwrap();
        table.set_u64(131_068, 0x0102_0304_0506_0708);
        table.flush().unwrap();
        drop(table);
        let table = MappedTable::open(&RealDisk, &path).unwrap();
        assert_eq!(
            (table.u64_at(131_068), table.u32_at(131_072)),
            (0x0102_0304_0506_0708, 0x0506_0708)
        );
        assert_eq!(std::fs::read(&path).unwrap()[131_068..131_070], [1, 2]);
    }

    #[test]
    fn a_table_knows_its_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        let table = MappedTable::create(&RealDisk, &path, 200_000).unwrap();
        table.reserve(131_072..131_080).unwrap();
        table.set_u64(131_072, 1);
        assert!(table.is_hole(0..8) && !table.is_hole(131_072..131_080));
        table.flush().unwrap();
        drop(table);
        let table = MappedTable::open(&RealDisk, &path).unwrap();
        assert!(table.is_hole(0..8) && !table.is_hole(131_072..131_080));
    }
}
