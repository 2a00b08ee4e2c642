//! SimDisk: a disk in memory that can lose power, tear pages and fail, and does the same for the same seed.
//!
//! ```text
//!   written   what processes see: the page cache        a crash forgets it, but for
//!   durable   what a sync has brought to the disk   <── any subset of its pages, some of them torn
//! ```
//!
//! What survives a crash
//! - of a file's bytes: what was flushed, and of every other 4 KiB page either the old or the new bytes, or some of both;
//! - of a directory's names: what [`SmallFiles::sync_dir`] covered, and the first few changes after it, as with a journal.
//!   Directories themselves always survive: they hold nothing that could be lost;
//! - of a hole: what a flush of the same file came after; else it may be there or not.
//!
//! The kernel may write pages back at any time: [`SimDisk::write_back`] does so for some.
//!
//! [`Faults`] make operations fail: a kind of them with an error, or all of them from a certain one on, which is how the
//! power fails in the middle of something.
//!
//! Files are backed by memory files of the kernel, so that mappings of the same file share their bytes, as on a real
//! disk, without any unsafe code.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::Clock;
use common::random::Random;
use common::small_file::SmallFiles;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom};
use rustix::io::Errno;

use crate::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskUsage};

/// What the kernel writes as a whole, unless it is torn.
pub const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// A kind of operation, for [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Operation {
    CreateDir,
    List,
    Read,
    Write,
    RemoveFile,
    RemoveDir,
    Rename,
    SyncDir,
    Create,
    Open,
    Usage,
    Lock,
    Reserve,
    Clear,
    Flush,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO: the device failed.
    Io,
    /// ENOSPC: there is no room.
    NoSpace,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Io => Errno::IO.into(),
            Fault::NoSpace => Errno::NOSPC.into(),
        }
    }
}

/// What fails from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// These kinds of operations fail.
    pub operations: BTreeMap<Operation, Fault>,
    /// After so many more operations everything fails, as when the power is gone; [`SimDisk::crash`] ends that.
    pub power_fails_after: Option<u64>,
}

/// The disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<Contents>>,
    clock: Arc<dyn Clock>,
}

struct Contents {
    names: BTreeMap<PathBuf, Arc<Inode>>,
    directories: BTreeSet<PathBuf>,
    /// Names as a crash would leave them at least.
    durable_names: BTreeMap<PathBuf, Arc<Inode>>,
    /// Changes of names that are not durable, by directory, oldest first.
    pending: BTreeMap<PathBuf, VecDeque<NameChange>>,
    /// How often names in a directory changed: what stands for its time of change.
    name_changes: BTreeMap<PathBuf, i64>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    used_percent: u64,
    operations: u64,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, Arc<Inode>),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Arc<Inode>),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Arc<Inode>>) {
        match self {
            NameChange::Add(path, inode) => drop(names.insert(path.clone(), Arc::clone(inode))),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), Arc::clone(inode));
            }
        }
    }
}

/// A file, whatever its name.
struct Inode {
    /// The written bytes.
    written: File,
    length: usize,
    state: Mutex<InodeState>,
}

struct InodeState {
    durable: Pages,
    /// Holes that the next flush makes durable.
    holes: Vec<Range<usize>>,
    /// Whether its length is on disk: else a crash may leave the file empty.
    has_durable_length: bool,
    modified_ms: i64,
}

/// What stands in a file, by page number. What is missing is zeros: files may be large and mostly empty.
type Pages = BTreeMap<usize, Vec<u8>>;

/// The pages of bytes that begin a file.
fn pages_of(bytes: &[u8]) -> Pages {
    let pages = bytes.chunks(PAGE_BYTES).enumerate();
    pages
        .filter(|(_, page)| page != &&[0; PAGE_BYTES][..page.len()])
        .map(|(number, page)| (number, page.to_vec()))
        .collect()
}

/// Writes zeros over a range of bytes.
fn clear(pages: &mut Pages, range: &Range<usize>) {
    for (number, page) in pages.range_mut(range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)) {
        let start = range.start.saturating_sub(number * PAGE_BYTES);
        let end = (range.end - number * PAGE_BYTES).min(page.len());
        page[start.min(end)..end].fill(0);
    }
}

impl Inode {
    fn new(bytes: &[u8], length: usize, modified_ms: i64) -> io::Result<Arc<Self>> {
        Self::of_pages(pages_of(bytes), length, !bytes.is_empty(), modified_ms)
    }

    fn of_pages(
        durable: Pages,
        length: usize,
        has_durable_length: bool,
        modified_ms: i64,
    ) -> io::Result<Arc<Self>> {
        let written = File::from(rustix::fs::memfd_create("sim", MemfdFlags::CLOEXEC)?);
        written.set_len(length as u64)?;
        for (number, page) in &durable {
            let left = length - number * PAGE_BYTES;
            written.write_all_at(&page[..page.len().min(left)], (number * PAGE_BYTES) as u64)?;
        }
        let state = Mutex::new(InodeState {
            durable,
            holes: Vec::new(),
            has_durable_length,
            modified_ms,
        });
        Ok(Arc::new(Self {
            written,
            length,
            state,
        }))
    }

    fn state(&self) -> MutexGuard<'_, InodeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        self.written.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The written pages that a range of bytes touches.
    fn pages(&self, range: Range<usize>) -> io::Result<Pages> {
        let mut pages = Pages::new();
        let end = range.end.next_multiple_of(PAGE_BYTES).min(self.length);
        let mut at = range.start / PAGE_BYTES * PAGE_BYTES;
        loop {
            let found = self.next_data(at)?;
            if found >= end {
                return Ok(pages);
            }
            at = found / PAGE_BYTES * PAGE_BYTES;
            let mut page = vec![0; PAGE_BYTES.min(self.length - at)];
            self.written.read_exact_at(&mut page, at as u64)?;
            if page != [0; PAGE_BYTES][..page.len()] {
                pages.insert(at / PAGE_BYTES, page);
            }
            at += PAGE_BYTES;
        }
    }

    fn next_data(&self, at: usize) -> io::Result<usize> {
        self.seek(SeekFrom::Data(at as u64))
    }

    fn next_hole(&self, at: usize) -> io::Result<usize> {
        self.seek(SeekFrom::Hole(at as u64))
    }

    fn seek(&self, to: SeekFrom) -> io::Result<usize> {
        match rustix::fs::seek(&self.written, to) {
            Ok(found) => usize::try_from(found).map_err(io::Error::other),
            Err(Errno::NXIO) => Ok(self.length),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&self, range: Range<usize>, now_ms: i64) -> io::Result<()> {
        let mut state = self.state();
        for hole in std::mem::take(&mut state.holes) {
            clear(&mut state.durable, &hole);
        }
        let numbers = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        state.durable.retain(|number, _| !numbers.contains(number));
        state.durable.extend(self.pages(range)?);
        state.has_durable_length = true;
        state.modified_ms = now_ms;
        Ok(())
    }

    /// What a crash leaves of the file.
    fn after_crash(&self, random: &Random) -> io::Result<Arc<Self>> {
        let written = self.pages(0..self.length)?;
        let state = self.state();
        let mut pages = state.durable.clone();
        for hole in &state.holes {
            if chance(random, 1, 2) {
                clear(&mut pages, hole);
            }
        }
        let has_length = state.has_durable_length || chance(random, 3, 4);
        for (number, new) in self.changed(&pages, &written) {
            let page = pages.entry(number).or_insert_with(|| vec![0; new.len()]);
            mix_page(page, &new, random);
        }
        if !has_length {
            pages.clear();
        }
        let length = if has_length { self.length } else { 0 };
        Self::of_pages(pages, length, has_length, state.modified_ms)
    }

    /// Writes back some pages, as the kernel does when it likes.
    fn write_back(&self, random: &Random) -> io::Result<()> {
        let written = self.pages(0..self.length)?;
        let mut state = self.state();
        for (number, new) in self.changed(&state.durable, &written) {
            if chance(random, 1, 3) {
                state.durable.insert(number, new);
            }
        }
        Ok(())
    }

    /// The pages in which the written bytes are others than the old ones, as they are written.
    fn changed(&self, old: &Pages, written: &Pages) -> Pages {
        let zeros = |number: usize| vec![0; PAGE_BYTES.min(self.length - number * PAGE_BYTES)];
        let numbers: BTreeSet<usize> = old.keys().chain(written.keys()).copied().collect();
        let pages = numbers.into_iter().map(|number| {
            let page = |pages: &Pages| pages.get(&number).cloned().unwrap_or_else(|| zeros(number));
            (number, page(old), page(written))
        });
        pages
            .filter(|(_, old, new)| old != new)
            .map(|(number, _, new)| (number, new))
            .collect()
    }
}

/// One page after a crash: old, new, or torn.
fn mix_page(page: &mut [u8], new: &[u8], random: &Random) {
    match random.below(6) {
        0 | 1 => {}
        2 | 3 => page.copy_from_slice(new),
        4 => {
            for (old, new) in page.chunks_mut(SECTOR_BYTES).zip(new.chunks(SECTOR_BYTES)) {
                if chance(random, 1, 2) {
                    old.copy_from_slice(new);
                }
            }
        }
        _ => {
            let cut = usize::try_from(random.next_u64() % new.len() as u64).unwrap_or(0);
            page[..cut].copy_from_slice(&new[..cut]);
        }
    }
}

fn chance(random: &Random, of: i32, outcomes: i32) -> bool {
    random.below(outcomes) < of
}

impl SimDisk {
    /// An empty disk. Files' times come from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let contents = Contents {
            names: BTreeMap::new(),
            directories: BTreeSet::new(),
            durable_names: BTreeMap::new(),
            pending: BTreeMap::new(),
            name_changes: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Faults::default(),
            used_percent: 10,
            operations: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(contents)),
            clock,
        }
    }

    /// Loses power: what the module says survives, and which of what may survive does is up to the seed. Faults end.
    /// Whoever still has a file open keeps what he sees and changes nothing on the disk any more.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn crash(&self, seed: u64) -> io::Result<()> {
        let random = Random::new(seed);
        let mut contents = self.contents();
        let mut names = std::mem::take(&mut contents.durable_names);
        for changes in std::mem::take(&mut contents.pending).values() {
            let kept = random.below(i32::try_from(changes.len()).unwrap_or(i32::MAX) + 1);
            for change in changes.iter().take(usize::try_from(kept).unwrap_or(0)) {
                change.apply(&mut names);
            }
        }
        contents.names.clear();
        for (path, inode) in names {
            contents.names.insert(path, inode.after_crash(&random)?);
        }
        contents.durable_names = contents.names.clone();
        let parents: Vec<PathBuf> = contents
            .names
            .keys()
            .flat_map(|path| path.ancestors().skip(1).map(Path::to_owned))
            .collect();
        contents.directories.extend(parents);
        contents.locks.clear();
        contents.faults = Faults::default();
        Ok(())
    }

    /// Brings some unflushed pages to the disk, as the kernel does at any time.
    ///
    /// # Errors
    /// When the host cannot read its own memory.
    pub fn write_back(&self, seed: u64) -> io::Result<()> {
        let random = Random::new(seed);
        for inode in self.contents().names.values() {
            inode.write_back(&random)?;
        }
        Ok(())
    }

    /// Sets what fails from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.contents().faults = faults;
    }

    /// Sets how full the disk says it is.
    pub fn set_used_percent(&self, percent: u32) {
        self.contents().used_percent = u64::from(percent.min(100));
    }

    /// Operations so far: where [`Faults::power_fails_after`] may cut.
    pub fn operations(&self) -> u64 {
        self.contents().operations
    }

    /// The files and their written bytes below a directory, for checks.
    ///
    /// # Errors
    /// When the host cannot read its own memory.
    pub fn files_below(&self, directory: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let contents = self.contents();
        let files = contents.names.iter();
        files
            .filter(|(path, _)| path.starts_with(directory))
            .map(|(path, inode)| Ok((path.clone(), inode.bytes()?)))
            .collect()
    }

    /// Sums up every name and every written byte.
    ///
    /// # Errors
    /// When the host cannot read its own memory.
    pub fn digest(&self) -> io::Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        for (path, inode) in &self.contents().names {
            hasher.update(path.as_os_str().as_encoded_bytes());
            hasher.update(&inode.length.to_be_bytes());
            for (number, page) in inode.pages(0..inode.length)? {
                hasher.update(&number.to_be_bytes());
                hasher.update(&page);
            }
        }
        Ok(hasher.finalize())
    }

    /// Written bytes of a file, for checks; `None` when the file or the range is not there.
    pub fn bytes(&self, file: &Path, range: Range<usize>) -> Option<Vec<u8>> {
        let inode = Arc::clone(self.contents().names.get(file)?);
        if range.end > inode.length || range.start > range.end {
            return None;
        }
        let mut bytes = vec![0; range.len()];
        inode.written.read_exact_at(&mut bytes, range.start as u64).ok()?;
        Some(bytes)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation, and fails it if it is to fail.
    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, Contents>> {
        let mut contents = self.contents();
        contents.operations += 1;
        if let Some(left) = &mut contents.faults.power_fails_after {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Err(Fault::Io.error()),
            }
        }
        match contents.faults.operations.get(&operation) {
            Some(fault) => Err(fault.error()),
            None => Ok(contents),
        }
    }

    fn file(&self, inode: Arc<Inode>) -> io::Result<Box<dyn DiskFile>> {
        let memory = Arc::new(MmapOptions::new().map_raw(&inode.written)?);
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            memory,
        }))
    }
}

impl Contents {
    fn find(&self, file: &Path) -> io::Result<Arc<Inode>> {
        self.names
            .get(file)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, directory: &Path, change: NameChange) {
        *self.name_changes.entry(directory.to_owned()).or_default() += 1;
        change.apply(&mut self.names);
        self.pending
            .entry(directory.to_owned())
            .or_default()
            .push_back(change);
    }

    fn add(&mut self, file: &Path, inode: Arc<Inode>) -> io::Result<()> {
        let directory = parent_of(file);
        if !self.directories.contains(&directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(&directory, NameChange::Add(file.to_owned(), inode));
        Ok(())
    }

    fn sync_dir(&mut self, directory: &Path) {
        for change in self.pending.remove(directory).unwrap_or_default() {
            change.apply(&mut self.durable_names);
        }
        for (path, inode) in &self.names {
            if path.parent() == Some(directory) {
                // The journal holds the length along with the name.
                inode.state().has_durable_length = true;
            }
        }
    }
}

impl SmallFiles for SimDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        let mut contents = self.begin(Operation::CreateDir)?;
        for directory in directory.ancestors() {
            if contents.directories.insert(directory.to_owned()) {
                *contents.name_changes.entry(parent_of(directory)).or_default() += 1;
            }
        }
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        let contents = self.begin(Operation::Read)?;
        contents.names.get(file).map(|inode| inode.bytes()).transpose()
    }

    fn write_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.begin(Operation::Write)?;
        let inode = Inode::new(bytes, bytes.len(), self.clock.wall_ms())?;
        inode.state().has_durable_length = true;
        contents.add(file, inode)
    }

    fn append_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.begin(Operation::Write)?;
        let mut all = match contents.names.get(file) {
            Some(inode) => inode.bytes()?,
            None => Vec::new(),
        };
        all.extend_from_slice(bytes);
        let inode = Inode::new(&all, all.len(), self.clock.wall_ms())?;
        inode.state().has_durable_length = true;
        let is_same = |(now, durable): (&Arc<Inode>, &Arc<Inode>)| Arc::ptr_eq(now, durable);
        let names = contents.names.get(file).zip(contents.durable_names.get(file));
        if names.is_some_and(is_same) {
            contents.durable_names.insert(file.to_owned(), Arc::clone(&inode));
            contents.names.insert(file.to_owned(), inode);
            return Ok(());
        }
        // What had the name before is on its way out, and must not take the new file with it.
        contents.add(file, inode)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        let mut contents = self.begin(Operation::RemoveFile)?;
        if contents.names.contains_key(file) {
            contents.change(&parent_of(file), NameChange::Remove(file.to_owned()));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut contents = self.begin(Operation::Rename)?;
        let inode = contents.find(from)?;
        assert_eq!(
            from.parent(),
            to.parent(),
            "names move within their directory only"
        );
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), inode);
        contents.change(&parent_of(to), change);
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.begin(Operation::SyncDir)?.sync_dir(directory);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<DiskEntry>> {
        let contents = self.begin(Operation::List)?;
        let name_of = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let directories = contents.directories.iter().filter_map(|path| {
            (path.parent() == Some(directory)).then_some(())?;
            Some(DiskEntry {
                name: name_of(path)?,
                is_dir: true,
                length: 0,
            })
        });
        let files = contents.names.iter().filter_map(|(path, inode)| {
            (path.parent() == Some(directory)).then_some(())?;
            Some(DiskEntry {
                name: name_of(path)?,
                is_dir: false,
                length: inode.length as u64,
            })
        });
        Ok(directories.chain(files).collect())
    }

    fn modified_ns(&self, file: &Path) -> io::Result<i64> {
        let contents = self.begin(Operation::Read)?;
        if contents.directories.contains(file) {
            return Ok(contents.name_changes.get(file).copied().unwrap_or(0));
        }
        let inode = contents.find(file)?;
        drop(contents);
        let modified_ms = inode.state().modified_ms;
        Ok(modified_ms * 1_000_000)
    }

    /// Times of names are counts here, which are never the same again.
    fn advance_modified_ns(&self, path: &Path) -> io::Result<()> {
        self.modified_ns(path).map(|_| ())
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.begin(Operation::Write)?;
        let inode = Inode::new(bytes, bytes.len(), self.clock.wall_ms())?;
        inode.state().has_durable_length = true;
        contents.add(file, inode)?;
        contents.sync_dir(&parent_of(file));
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        let mut contents = self.begin(Operation::RemoveDir)?;
        let is_parent = |path: &PathBuf| path.parent() == Some(directory);
        if contents.names.keys().any(is_parent) || contents.directories.iter().any(is_parent) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        contents.directories.remove(directory);
        *contents.name_changes.entry(parent_of(directory)).or_default() += 1;
        Ok(())
    }

    fn create(&self, file: &Path, length: usize) -> io::Result<Box<dyn DiskFile>> {
        let mut contents = self.begin(Operation::Create)?;
        if contents.names.contains_key(file) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Inode::new(&[], length, self.clock.wall_ms())?;
        contents.add(file, Arc::clone(&inode))?;
        drop(contents);
        self.file(inode)
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.begin(Operation::Open)?.find(file)?;
        self.file(inode)
    }

    fn write_at(&self, file: &Path, at: usize, bytes: &[u8], new: Option<usize>) -> io::Result<()> {
        if let Some(length) = new {
            drop(self.create(file, length)?);
        }
        // What a mapping would have to reserve first.
        let inode = self.begin(Operation::Reserve)?.find(file)?;
        if at + bytes.len() > inode.length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        inode.written.write_all_at(bytes, at as u64)
    }

    fn read_at(&self, file: &Path, at: usize, bytes: &mut [u8]) -> io::Result<()> {
        let inode = self.begin(Operation::Open)?.find(file)?;
        inode.written.read_exact_at(bytes, at as u64)
    }

    fn is_blank_from(&self, file: &Path, at: usize) -> io::Result<bool> {
        let inode = self.begin(Operation::Open)?.find(file)?;
        Ok(inode.next_data(at)? >= inode.length)
    }

    fn sync_file(&self, file: &Path) -> io::Result<()> {
        let inode = self.begin(Operation::Flush)?.find(file)?;
        inode.flush(0..inode.length, self.clock.wall_ms())
    }

    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        let mut contents = self.begin(Operation::Flush)?;
        for (path, inode) in &contents.names {
            if path.starts_with(directory) {
                inode.flush(0..inode.length, self.clock.wall_ms())?;
            }
        }
        let directories: Vec<PathBuf> = contents.pending.keys().cloned().collect();
        for changed in directories
            .iter()
            .filter(|changed| changed.starts_with(directory))
        {
            contents.sync_dir(changed);
        }
        Ok(())
    }

    fn usage(&self, _path: &Path) -> io::Result<DiskUsage> {
        let contents = self.begin(Operation::Usage)?;
        Ok(DiskUsage {
            used_bytes: contents.used_percent << 20,
            available_bytes: (100 - contents.used_percent) << 20,
        })
    }

    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut contents = self.begin(Operation::Lock)?;
        if !contents.locks.insert(file.to_owned()) {
            return Ok(None);
        }
        drop(contents);
        Ok(Some(Box::new(SimLock {
            disk: self.clone(),
            path: file.to_owned(),
        })))
    }
}

/// A mapping of a file.
struct SimFile {
    disk: SimDisk,
    inode: Arc<Inode>,
    memory: Arc<MmapRaw>,
}

impl DiskFile for SimFile {
    fn memory(&self) -> &Arc<MmapRaw> {
        &self.memory
    }

    fn reserve(&self, _range: Range<usize>) -> io::Result<()> {
        self.disk.begin(Operation::Reserve).map(drop)
    }

    fn fill(&self, range: Range<usize>) -> io::Result<()> {
        self.reserve(range)
    }

    fn clear(&self, range: Range<usize>) -> io::Result<()> {
        drop(self.disk.begin(Operation::Clear)?);
        if range.is_empty() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let (start, length) = (range.start as u64, range.len() as u64);
        rustix::fs::fallocate(&self.inode.written, flags, start, length)?;
        self.inode.state().holes.push(range);
        Ok(())
    }

    fn next_data(&self, at: usize) -> io::Result<usize> {
        self.inode.next_data(at)
    }

    fn next_hole(&self, at: usize) -> io::Result<usize> {
        self.inode.next_hole(at)
    }

    fn flush(&self, range: Range<usize>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        drop(self.disk.begin(Operation::Flush)?);
        self.inode.flush(range, self.disk.clock.wall_ms())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("length", &self.inode.length)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.contents().locks.remove(&self.path);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimLock").field(&self.path).finish()
    }
}

fn parent_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::NoArrivals;
    use crate::mapped_file::MappedTable;
    use crate::put::Message;
    use crate::store::{Store, StoreOptions};
    use common::clock::ManualClock;
    use common::properties::Live;
    use common::service::{Next, Service as _};

    fn disk() -> SimDisk {
        let disk = SimDisk::new(Arc::new(ManualClock::new(1_000)));
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk
    }

    #[test]
    fn a_file_that_takes_the_name_of_a_renamed_one_survives_with_its_directory() {
        let (file, aside) = (Path::new("/d/f"), Path::new("/d/g"));
        let disk = disk();
        disk.append_and_sync(file, b"old").unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(file, aside).unwrap();
        disk.append_and_sync(file, b"new").unwrap();
        disk.append_and_sync(file, b" and more").unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.crash(1).unwrap();
        assert_eq!(disk.read(file).unwrap().as_deref(), Some(&b"new and more"[..]));
        assert_eq!(disk.read(aside).unwrap().as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn flushed_bytes_survive_and_of_other_pages_old_or_new_or_some_of_both() {
        let path = Path::new("/d/f");
        let mut outcomes = BTreeSet::new();
        for seed in 0..64 {
            let disk = disk();
            let table = MappedTable::create(&disk, path, 3 * PAGE_BYTES).unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            table.reserve(0..3 * PAGE_BYTES).unwrap();
            table.set_u32(0, 7);
            table.flush().unwrap();
            for at in (PAGE_BYTES..2 * PAGE_BYTES).step_by(4) {
                table.set_u32(at, 9);
            }
            disk.crash(seed).unwrap();
            table.set_u32(0, 8);

            let after = MappedTable::open(&disk, path).unwrap();
            assert_eq!(after.u32_at(0), 7, "flushed, and not written after the crash");
            let new = (PAGE_BYTES..2 * PAGE_BYTES)
                .step_by(4)
                .filter(|at| after.u32_at(*at) != 0)
                .count();
            outcomes.insert(match new {
                0 => "old",
                1024 => "new",
                _ => "torn",
            });
        }
        assert_eq!(outcomes, BTreeSet::from(["old", "new", "torn"]));
    }

    #[test]
    fn names_survive_when_their_directory_was_synced_else_perhaps() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..32 {
            let disk = disk();
            disk.write(Path::new("/d/a"), b"old").unwrap();
            disk.write_and_sync(Path::new("/d/a.tmp"), b"new").unwrap();
            disk.rename(Path::new("/d/a.tmp"), Path::new("/d/a")).unwrap();
            disk.crash(seed).unwrap();
            outcomes.insert(disk.read(Path::new("/d/a")).unwrap().unwrap());
            disk.sync_dir(Path::new("/d")).unwrap();
        }
        assert_eq!(outcomes, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    }

    #[test]
    fn the_same_seed_leaves_the_same_bytes() {
        let run = |seed| {
            let disk = disk();
            for file in ["/d/a", "/d/b"] {
                let table = MappedTable::create(&disk, Path::new(file), 4 * PAGE_BYTES).unwrap();
                table.reserve(0..4 * PAGE_BYTES).unwrap();
                (0..4 * PAGE_BYTES).step_by(4).for_each(|at| table.set_u32(at, 5));
            }
            disk.write_back(seed).unwrap();
            disk.crash(seed).unwrap();
            disk.files_below(Path::new("/d")).unwrap()
        };
        assert_eq!(run(3), run(3));
        assert!((4..20).any(|seed| run(seed) != run(3)));
    }

    #[test]
    fn operations_fail_as_told_until_the_power_is_back() {
        let disk = disk();
        disk.set_faults(Faults {
            operations: [(Operation::Write, Fault::NoSpace)].into(),
            power_fails_after: Some(2),
        });
        let error = disk.write(Path::new("/d/a"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(disk.read(Path::new("/d/a")).unwrap().is_none());
        assert!(disk.read(Path::new("/d/a")).is_err());
        disk.crash(1).unwrap();
        disk.write(Path::new("/d/a"), b"x").unwrap();
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped_or_the_power_fails() {
        let disk = disk();
        let lock = disk.lock(Path::new("/d/lock")).unwrap();
        assert!(disk.lock(Path::new("/d/lock")).unwrap().is_none());
        disk.crash(1).unwrap();
        assert!(disk.lock(Path::new("/d/lock")).unwrap().is_some());
        drop(lock);
    }

    /// A store with small files on this disk.
    fn open_store(disk: &SimDisk, clock: &Arc<ManualClock>) -> Result<Arc<Store>, crate::OpenError> {
        let config = crate::MessageStoreConfig {
            store_path_root_dir: "/store".to_owned(),
            mapped_file_size_commit_log: 65_536,
            mapped_file_size_consume_queue: 20 * 8,
            // So that entries are in another page than the header.
            max_hash_slot_num: 1_024,
            max_index_num: 8,
            ..Default::default()
        };
        Store::open(StoreOptions {
            config: Arc::new(Live::new(config)),
            disk: Arc::new(disk.clone()),
            clock: clock.clone(),
            arrivals: Arc::new(NoArrivals),
        })
    }

    fn put(store: &Store, properties: &str) {
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        store
            .put(&Message {
                topic: "T",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp_ms: 0,
                born_host: nobody,
                store_host: nobody,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                properties,
                body: b"x",
            })
            .unwrap();
    }

    fn dispatch(store: &Arc<Store>, clock: &ManualClock) -> anyhow::Result<()> {
        let mut dispatch = store.ticks().dispatch;
        while dispatch.tick(clock.now(), false)? == Next::Again {}
        Ok(())
    }

    #[test]
    fn a_queue_that_went_on_in_a_new_file_before_its_flush_loses_no_entry() {
        for seed in 0..8 {
            let clock = Arc::new(ManualClock::new(1_000_000));
            let disk = SimDisk::new(clock.clone());
            let store = open_store(&disk, &clock).unwrap();
            for _ in 0..12 {
                put(&store, "");
            }
            dispatch(&store, &clock).unwrap();
            store.close().unwrap();
            drop(store);
            disk.crash(seed).unwrap();

            let store = open_store(&disk, &clock).unwrap();
            let entries = store.queue_entries("T", 0, crate::QueueOffset(0), 100);
            assert_eq!(entries.len(), 12, "seed {seed}");
        }
    }

    /// A store with four messages of two keys each; a file of the index has room for seven.
    fn store_with_keys(disk: &SimDisk, clock: &Arc<ManualClock>) -> Arc<Store> {
        let store = open_store(disk, clock).unwrap();
        put_and_index(&store, clock, 0..4);
        store.flush().unwrap();
        store
    }

    fn put_and_index(store: &Arc<Store>, clock: &Arc<ManualClock>, numbers: std::ops::Range<u64>) {
        for number in numbers {
            put(store, &format!("KEYS\u{1}k{number} a{number}\u{2}"));
        }
        dispatch(store, clock).unwrap();
    }

    /// The power fails, and again while the next start repairs the index.
    fn crash_twice(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u64) {
        disk.crash(seed).unwrap();
        disk.set_faults(Faults {
            power_fails_after: Some(seed % 64),
            ..Faults::default()
        });
        drop(open_store(disk, clock));
        disk.crash(seed + 1_000).unwrap();
    }

    /// Each key of the messages that are left is in the index, once, and no other.
    fn assert_index_is_whole(disk: &SimDisk, store: &Store, seed: u64) {
        let entries = store.queue_entries("T", 0, crate::QueueOffset(0), 100);
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.queue_offset.0).collect();
        assert_eq!(numbers[..4], [0, 1, 2, 3], "seed {seed}");
        for key in numbers
            .iter()
            .flat_map(|number| [format!("k{number}"), format!("a{number}")])
        {
            let found = store.query_by_key("T", &key, None, 8, 0, i64::MAX, &mut Vec::new());
            assert_eq!(found.message_count, 1, "seed {seed}, {key}");
        }
        let full_files = disk.list(Path::new("/store/index")).unwrap().len() - 1;
        let in_last = store.derived.index.mark().entries as usize - 1;
        assert_eq!(full_files * 7 + in_last, numbers.len() * 2, "seed {seed}");
    }

    /// The last key is in a new file, and the others of its message are taken out of the full one before.
    #[test]
    fn a_recovery_cut_short_while_it_cuts_a_full_index_file_costs_no_key() {
        for seed in 0..256 {
            let clock = Arc::new(ManualClock::new(1_000_000));
            let disk = SimDisk::new(clock.clone());
            let store = store_with_keys(&disk, &clock);
            store.ticks().flush_queues.tick(clock.now(), false).unwrap();
            drop(store);
            crash_twice(&disk, &clock, seed);
            assert_index_is_whole(&disk, &open_store(&disk, &clock).unwrap(), seed);
        }
    }

    /// Messages were indexed while everything before was brought to the disk, and the checkpoint knows of their keys.
    #[test]
    fn a_recovery_cut_short_while_it_cuts_keys_of_lost_messages_costs_no_other() {
        use crate::checkpoint::CheckpointField;

        for seed in 0..256 {
            let clock = Arc::new(ManualClock::new(1_000_000));
            let disk = SimDisk::new(clock.clone());
            let store = store_with_keys(&disk, &clock);
            store.ticks().flush_queues.tick(clock.now(), true).unwrap();
            put_and_index(&store, &clock, 4..6);
            store.derived.index.flush().unwrap();
            let mark = store.derived.index.mark();
            store.checkpoint.set(CheckpointField::IndexEnd, mark.end);
            store.checkpoint.set(CheckpointField::IndexFile, mark.file);
            store
                .checkpoint
                .set(CheckpointField::IndexEntries, mark.entries.into());
            store.checkpoint.persist().unwrap();
            drop(store);
            crash_twice(&disk, &clock, seed);
            assert_index_is_whole(&disk, &open_store(&disk, &clock).unwrap(), seed);
        }
    }

    #[test]
    fn a_deleted_queue_whose_files_the_disk_keeps_for_now_does_not_mix_with_the_next_of_its_name() {
        for restarts in [false, true] {
            let clock = Arc::new(ManualClock::new(1_000_000));
            let disk = SimDisk::new(clock.clone());
            let mut store = open_store(&disk, &clock).unwrap();
            for _ in 0..12 {
                put(&store, "");
            }
            dispatch(&store, &clock).unwrap();
            store.ticks().flush_queues.tick(clock.now(), true).unwrap();
            disk.set_faults(Faults {
                operations: [(Operation::RemoveFile, Fault::Io)].into(),
                power_fails_after: None,
            });
            store.delete_topic("T");
            assert_eq!(store.max_offset("T", 0), 0);
            put(&store, "");
            assert!(dispatch(&store, &clock).is_err(), "the files are still there");
            disk.set_faults(Faults::default());
            if restarts {
                store.flush().unwrap();
                drop(store);
                disk.crash(1).unwrap();
                store = open_store(&disk, &clock).unwrap();
            }
            dispatch(&store, &clock).unwrap();
            let entries = store.queue_entries("T", 0, crate::QueueOffset(0), 100);
            assert_eq!(entries.len(), 1);
            store.close().unwrap();
            drop(store);
            let store = open_store(&disk, &clock).unwrap();
            let entries = store.queue_entries("T", 0, crate::QueueOffset(0), 100);
            assert_eq!(entries.len(), 1, "restarts: {restarts}");
        }
    }
}
