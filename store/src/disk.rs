//! The disk, handed in from outside, so that tests and the simulator own it.
//!
//! Files with messages are mapped: a [`DiskFile`] owns the raw memory, and reading or writing a message is
//! no call of this trait. Everything else is: making, growing and removing files, and getting bytes to the
//! disk. A second implementation needs only memory that keeps its address, and an idea of what survives.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use common::small_file::{HostFiles, SmallFiles};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

/// Files and directories. Paths are those of the configuration.
pub trait Disk: SmallFiles {
    /// What is in a directory, in no order; empty when there is no such directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Nanoseconds since 1970 of a file's last change, or of the last change of a name in a directory.
    fn modified_ns(&self, path: &Path) -> io::Result<i64>;

    /// The same in milliseconds.
    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        Ok(self.modified_ns(path)? / 1_000_000)
    }

    /// Sets the time of the last change one nanosecond later, so that any change from now on gives another time: the
    /// kernel's moves on every few milliseconds only.
    fn advance_modified_ns(&self, path: &Path) -> io::Result<()>;

    /// Replaces a small file, whole or not at all, on disk when this returns.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes an empty directory; it is no error when there is none.
    fn remove_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes a file of zeros and maps it. It takes no room before [`DiskFile::reserve`].
    fn create(&self, file: &Path, length: usize) -> io::Result<Box<dyn DiskFile>>;

    /// Maps a whole file.
    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Writes bytes into a file without mapping it, for files of which there are too many to map. The bytes find room
    /// or the call fails. With `new`, the file is made first, of that length and of zeros but for the bytes.
    fn write_at(&self, file: &Path, at: usize, bytes: &[u8], new: Option<usize>) -> io::Result<()>;

    /// Reads bytes of a file without mapping it; an error when it has fewer.
    fn read_at(&self, file: &Path, at: usize, bytes: &mut [u8]) -> io::Result<()>;

    /// Whether there are only zeros in a file from `at` on; false also where that is not known without reading them.
    fn is_blank_from(&self, file: &Path, at: usize) -> io::Result<bool>;

    /// Gets what is written in a file to the disk.
    fn sync_file(&self, file: &Path) -> io::Result<()>;

    /// Gets everything below a directory to the disk, names too: one call for any number of files. It may do so for
    /// the rest of the file system as well.
    fn sync_all(&self, directory: &Path) -> io::Result<()>;

    /// How full the disk under a path is.
    fn usage(&self, path: &Path) -> io::Result<DiskUsage>;

    /// Locks a file, making it if need be, until the lock is dropped; `None` when somebody else holds it.
    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// One mapped file.
pub trait DiskFile: Send + Sync + Debug {
    /// The memory of the file, a shared mapping as `MmapOptions::map_raw` makes it; it does not move or end while the `Arc`
    /// is held.
    fn memory(&self) -> &Arc<MmapRaw>;

    /// Makes sure that writes into the range find room on the disk. Without it such a write may kill the process.
    fn reserve(&self, range: Range<usize>) -> io::Result<()>;

    /// Makes sure of the same for a range of zeros that is about to be written from front to back, and brings its pages
    /// into memory. Nobody else may write in it meanwhile.
    fn fill(&self, range: Range<usize>) -> io::Result<()>;

    /// Makes the range zeros and gives back its room: it must be reserved again before it is written.
    fn clear(&self, range: Range<usize>) -> io::Result<()>;

    /// The first position from `at` on that may hold anything but zeros; the file's length when there is none.
    fn next_data(&self, at: usize) -> io::Result<usize>;

    /// Where the data at `at` ends: there are zeros from there on. The file's length where that is not known.
    fn next_hole(&self, at: usize) -> io::Result<usize>;

    /// Gets the range to the disk.
    fn flush(&self, range: Range<usize>) -> io::Result<()>;
}

/// Held for as long as the store is open.
pub trait DiskLock: Send + Sync + Debug {}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// The name without its directory. Names that are not UTF-8 are left out of listings.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of a file in bytes.
    pub length: u64,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that this process can still use.
    pub available_bytes: u64,
}

impl DiskUsage {
    /// Use in percent, rounded up, as `df` and the reference count it.
    pub fn percent(self) -> u32 {
        let used = u128::from(self.used_bytes);
        let all = used + u128::from(self.available_bytes);
        if all == 0 {
            return 0;
        }
        u32::try_from((used * 100).div_ceil(all)).unwrap_or(100)
    }

    /// Use as a fraction.
    pub fn ratio(self) -> f64 {
        f64::from(self.percent()) / 100.0
    }
}

/// The host's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl SmallFiles for RealDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        HostFiles.create_dir_all(directory)
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        HostFiles.read(file)
    }

    fn write_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        HostFiles.write_and_sync(file, bytes)
    }

    fn append_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        HostFiles.append_and_sync(file, bytes)
    }

    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        HostFiles.append(file, bytes)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        HostFiles.remove_file(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        HostFiles.rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        HostFiles.sync_dir(directory)
    }
}

impl Disk for RealDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                // Of a directory no length is asked: there may be a million queues.
                let is_dir = entry.file_type()?.is_dir();
                let length = if is_dir { 0 } else { entry.metadata()?.len() };
                listed.push(DiskEntry { name, is_dir, length });
            }
        }
        Ok(listed)
    }

    fn modified_ns(&self, path: &Path) -> io::Result<i64> {
        let modified = fs::metadata(path)?.modified()?;
        let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    fn advance_modified_ns(&self, path: &Path) -> io::Result<()> {
        let handle = File::open(path)?;
        let later = handle.metadata()?.modified()? + Duration::from_nanos(1);
        handle.set_times(fs::FileTimes::new().set_modified(later))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = file.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        self.write_and_sync(&temporary, bytes)?;
        self.rename(&temporary, file)?;
        self.sync_dir(parent_of(file))
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        ignore_missing(fs::remove_dir(directory))
    }

    fn create(&self, file: &Path, length: usize) -> io::Result<Box<dyn DiskFile>> {
        let handle = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(file)?;
        handle.set_len(u64::try_from(length).map_err(io::Error::other)?)?;
        Ok(Box::new(RealFile::map(file, &handle)?))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::map(file, &open_for_writing(file)?)?))
    }

    fn write_at(&self, file: &Path, at: usize, bytes: &[u8], new: Option<usize>) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let handle = options.write(true).create_new(new.is_some()).open(file)?;
        if let Some(length) = new {
            handle.set_len(to_u64(length)?)?;
        }
        handle.write_all_at(bytes, to_u64(at)?)
    }

    fn read_at(&self, file: &Path, at: usize, bytes: &mut [u8]) -> io::Result<()> {
        File::open(file)?.read_exact_at(bytes, to_u64(at)?)
    }

    fn is_blank_from(&self, file: &Path, at: usize) -> io::Result<bool> {
        let found = rustix::fs::seek(File::open(file)?, rustix::fs::SeekFrom::Data(to_u64(at)?));
        Ok(found == Err(Errno::NXIO))
    }

    fn sync_file(&self, file: &Path) -> io::Result<()> {
        File::open(file)?.sync_data()
    }

    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(directory)?)?)
    }

    fn usage(&self, path: &Path) -> io::Result<DiskUsage> {
        let found = rustix::fs::statvfs(path)?;
        let block_bytes = found.f_frsize;
        Ok(DiskUsage {
            used_bytes: found
                .f_blocks
                .saturating_sub(found.f_bfree)
                .saturating_mul(block_bytes),
            available_bytes: found.f_bavail.saturating_mul(block_bytes),
        })
    }

    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let path = fs::canonicalize(parent_of(file))?.join(file.file_name().unwrap_or_default());
        // First the locks of this process: opening and closing a file of ours again would drop its lock.
        if !held_locks().insert(path.clone()) {
            return Ok(None);
        }
        let mut lock = RealLock { path, file: None };
        let mut handle = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(file)?;
        match rustix::fs::fcntl_lock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::ACCESS | Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut text = String::new();
        handle.read_to_string(&mut text)?;
        if text.is_empty() {
            handle.write_all(b"lock")?;
        }
        lock.file = Some(handle);
        Ok(Some(Box::new(lock)))
    }
}

/// A mapping. The file is open only while it is made or changed in size: a broker may map more files than it may
/// have open.
#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    memory: Arc<MmapRaw>,
    /// Below this, `fill` has asked for blocks.
    allocated: AtomicUsize,
}

/// `fill` asks for blocks in pieces of this size, so that they lie together.
const ALLOCATE_BYTES: usize = 8 * 1024 * 1024;
/// `fill` writes zeros in pieces of this size: ext4 and xfs make one large page of each, where they can, which costs half of what 16 small ones do,
/// and is mapped by one fault. Larger ones cost little less, and a flush writes all of a large page of which one byte was changed.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl RealFile {
    fn map(path: &Path, handle: &File) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            memory: Arc::new(MmapOptions::new().map_raw(handle)?),
            allocated: AtomicUsize::new(0),
        })
    }

    fn fallocate(&self, flags: FallocateFlags, range: Range<usize>, fallback: Fallback) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let file = open_for_writing(&self.path)?;
        let offset = to_u64(range.start)?;
        match rustix::fs::fallocate(&file, flags, offset, to_u64(range.len())?) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => rewrite(&file, range, fallback),
            Err(error) => Err(error.into()),
        }
    }
}

impl DiskFile for RealFile {
    fn memory(&self) -> &Arc<MmapRaw> {
        &self.memory
    }

    fn reserve(&self, range: Range<usize>) -> io::Result<()> {
        self.fallocate(FallocateFlags::empty(), range, Fallback::WriteBack)
    }

    fn fill(&self, range: Range<usize>) -> io::Result<()> {
        let file = open_for_writing(&self.path)?;
        if range.end > self.allocated.load(Ordering::Relaxed) {
            let plenty = range.start..(range.end + ALLOCATE_BYTES).min(self.memory.len());
            // Not every file system can, and a full disk has less: the writes below find what room there is, or fail.
            if rustix::fs::fallocate(
                &file,
                FallocateFlags::empty(),
                to_u64(plenty.start)?,
                to_u64(plenty.len())?,
            )
            .is_ok()
            {
                self.allocated.store(plenty.end, Ordering::Relaxed);
            }
        }
        let mut at = range.start;
        while at < range.end {
            let piece_end = (at + 1).next_multiple_of(ZEROS.len()).min(range.end);
            file.write_all_at(&ZEROS[..piece_end - at], to_u64(at)?)?;
            at = piece_end;
        }
        Ok(())
    }

    fn clear(&self, range: Range<usize>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.fallocate(flags, range, Fallback::Zero)
    }

    fn next_data(&self, at: usize) -> io::Result<usize> {
        let file = File::open(&self.path)?;
        match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(to_u64(at)?)) {
            Ok(found) => usize::try_from(found).map_err(io::Error::other),
            Err(Errno::NXIO) => Ok(self.memory.len()),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
            Err(error) => Err(error.into()),
        }
    }

    fn next_hole(&self, at: usize) -> io::Result<usize> {
        let file = File::open(&self.path)?;
        match rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(to_u64(at)?)) {
            Ok(found) => usize::try_from(found).map_err(io::Error::other),
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(self.memory.len()),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.memory.flush_range(range.start, range.len())
    }
}

/// What to do block by block on file systems without `fallocate`.
#[derive(Clone, Copy)]
enum Fallback {
    /// Write what is there, which makes the blocks.
    WriteBack,
    /// Write zeros where there are none.
    Zero,
}

/// Nobody else writes in the range: it is above what is published.
fn rewrite(file: &File, range: Range<usize>, fallback: Fallback) -> io::Result<()> {
    let mut buffer = [0; 4096];
    for start in range.clone().step_by(buffer.len()) {
        let block = &mut buffer[..4096.min(range.end - start)];
        let offset = to_u64(start)?;
        file.read_exact_at(block, offset)?;
        if let Fallback::Zero = fallback {
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            block.fill(0);
        }
        file.write_all_at(block, offset)?;
    }
    Ok(())
}

fn open_for_writing(file: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(file)
}

fn to_u64(value: usize) -> io::Result<u64> {
    u64::try_from(value).map_err(io::Error::other)
}

/// The lock files of this process: `fcntl` locks do not exclude a second open by the same process.
static HELD_LOCKS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held_locks() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD_LOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct RealLock {
    path: PathBuf,
    file: Option<File>,
}

impl DiskLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing releases the lock of the system; only then may this process lock again.
        self.file = None;
        held_locks().remove(&self.path);
    }
}

fn parent_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_even_in_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        let first = RealDisk.lock(&file).unwrap();
        assert!(first.is_some());
        assert!(RealDisk.lock(&file).unwrap().is_none());
        drop(first);
        assert!(RealDisk.lock(&file).unwrap().is_some());
        assert_eq!(fs::read(&file).unwrap(), b"lock");
    }

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    #[test]
    fn reserving_keeps_what_is_in_the_file() {
        let (_directory, path) = file_of(&[7; 10_000]);
        RealDisk.open(&path).unwrap().reserve(0..10_000).unwrap();
        rewrite(&open_for_writing(&path).unwrap(), 1..10_000, Fallback::WriteBack).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![7; 10_000]);
    }

    #[test]
    fn clearing_leaves_zeros_in_the_range_only() {
        let (_directory, path) = file_of(&[7; 10_000]);
        let file = RealDisk.open(&path).unwrap();
        file.clear(5_000..9_999).unwrap();
        rewrite(&open_for_writing(&path).unwrap(), 10..20, Fallback::Zero).unwrap();
        let mut expected = vec![7; 10_000];
        expected[5_000..9_999].fill(0);
        expected[10..20].fill(0);
        assert_eq!(fs::read(&path).unwrap(), expected);
        assert_eq!(file.memory().len(), 10_000, "the length stays");
    }

    #[test]
    fn data_after_a_hole_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let file = RealDisk.create(&path, 1 << 20).unwrap();
        open_for_writing(&path)
            .unwrap()
            .write_all_at(b"x", 700_000)
            .unwrap();
        let found = file.next_data(10).unwrap();
        assert!((10..=700_000).contains(&found), "{found}");
        assert_eq!(
            file.next_data(800_000).unwrap().clamp(800_000, 1 << 20),
            file.next_data(800_000).unwrap()
        );
        let hole = file.next_hole(700_000).unwrap();
        assert!((700_001..=1 << 20).contains(&hole), "{hole}");
    }

    #[test]
    fn a_disk_use_is_rounded_up() {
        let usage = |used_bytes, available_bytes| {
            DiskUsage {
                used_bytes,
                available_bytes,
            }
            .percent()
        };
        assert_eq!(
            (usage(0, 0), usage(0, 5), usage(1, 999), usage(9, 0)),
            (0, 0, 1, 100)
        );
    }
}
