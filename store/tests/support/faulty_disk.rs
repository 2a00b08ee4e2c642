//! A disk that is full, or fails, when told to. Nothing is really synced: no test here cuts the power, and syncs are what
//! takes the time.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::small_file::SmallFiles;
use memmap2::MmapRaw;
use store::RealDisk;
use store::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskUsage};

/// The host's disk with faults.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk {
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
pub struct Faults {
    /// Making and reserving fails with `StorageFull`.
    pub is_full: AtomicBool,
    /// Syncing fails.
    pub fails_flush: AtomicBool,
    /// What `usage` says, in percent.
    pub used_percent: AtomicU64,
    /// How many files can still be removed before the process is killed; 0 sets no limit.
    pub removals_left: AtomicU64,
    /// How often something was synced: a mapping, a file, or all of them.
    pub flushes: AtomicU64,
    /// How often a file of a queue was mapped, or read without.
    pub queue_opens: AtomicU64,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl FaultyDisk {
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    fn wrap(&self, file: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        let faults = Arc::clone(&self.faults);
        file.map(|inner| Box::new(FaultyFile { inner, faults }) as Box<dyn DiskFile>)
    }
}

impl Faults {
    fn room(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn opened(&self, file: &Path) {
        if file.components().any(|part| part.as_os_str() == "consumequeue") {
            self.queue_opens.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.fails_flush.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        Ok(())
    }
}

impl SmallFiles for FaultyDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(directory)
    }
    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        RealDisk.read(file)
    }
    fn write_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.faults.room()?;
        std::fs::write(file, bytes)
    }
    fn append_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.faults.room()?;
        RealDisk.append_and_sync(file, bytes)
    }
    fn remove_file(&self, file: &Path) -> io::Result<()> {
        if RealDisk.read(file)?.is_some() {
            match self.faults.removals_left.load(Ordering::SeqCst) {
                0 => {}
                1 => return Err(io::Error::other("killed")),
                left => self.faults.removals_left.store(left - 1, Ordering::SeqCst),
            }
        }
        RealDisk.remove_file(file)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
        RealDisk.list(directory)
    }
    fn modified_ns(&self, path: &Path) -> io::Result<i64> {
        RealDisk.modified_ns(path)
    }
    fn advance_modified_ns(&self, path: &Path) -> io::Result<()> {
        RealDisk.advance_modified_ns(path)
    }
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_and_sync(file, bytes)
    }
    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        RealDisk.remove_dir(directory)
    }
    fn create(&self, file: &Path, length: usize) -> io::Result<Box<dyn DiskFile>> {
        self.faults.room()?;
        self.wrap(RealDisk.create(file, length))
    }
    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.faults.opened(file);
        self.wrap(RealDisk.open(file))
    }
    fn write_at(&self, file: &Path, at: usize, bytes: &[u8], new: Option<usize>) -> io::Result<()> {
        self.faults.room()?;
        RealDisk.write_at(file, at, bytes, new)
    }
    fn read_at(&self, file: &Path, at: usize, bytes: &mut [u8]) -> io::Result<()> {
        self.faults.opened(file);
        RealDisk.read_at(file, at, bytes)
    }
    fn is_blank_from(&self, file: &Path, at: usize) -> io::Result<bool> {
        RealDisk.is_blank_from(file, at)
    }
    fn sync_file(&self, _file: &Path) -> io::Result<()> {
        self.faults.flush()
    }
    fn sync_all(&self, _directory: &Path) -> io::Result<()> {
        self.faults.flush()
    }
    fn usage(&self, _path: &Path) -> io::Result<DiskUsage> {
        let used_bytes = self.faults.used_percent.load(Ordering::SeqCst);
        Ok(DiskUsage {
            used_bytes,
            available_bytes: 100 - used_bytes,
        })
    }
    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        RealDisk.lock(file)
    }
}

impl DiskFile for FaultyFile {
    fn memory(&self) -> &Arc<MmapRaw> {
        self.inner.memory()
    }
    fn reserve(&self, range: Range<usize>) -> io::Result<()> {
        self.faults.room()?;
        self.inner.reserve(range)
    }
    fn fill(&self, range: Range<usize>) -> io::Result<()> {
        self.faults.room()?;
        self.inner.fill(range)
    }
    fn clear(&self, range: Range<usize>) -> io::Result<()> {
        self.inner.clear(range)
    }
    fn next_data(&self, at: usize) -> io::Result<usize> {
        self.inner.next_data(at)
    }
    fn next_hole(&self, at: usize) -> io::Result<usize> {
        self.inner.next_hole(at)
    }
    fn flush(&self, _range: Range<usize>) -> io::Result<()> {
        self.faults.flush()
    }
}
