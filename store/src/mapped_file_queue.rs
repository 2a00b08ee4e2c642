//! MappedFileQueue: files of equal size that together are one run of bytes.
//!
//! ```text
//!   00000000000000000000   00000000000001048576   00000000000002097152      names = offset of the first byte
//!   |--------------------|--------------------|------------+·······|
//!   min_offset                                            end of the published bytes
//! ```
//!
//! The list of files is replaced as a whole, so that readers take it without a lock and keep it while they read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::disk::Disk;
use crate::mapped_file::MappedFile;
use crate::store::OpenError;

/// Files of equal size, in one or more directories.
#[derive(Debug)]
pub struct MappedFileQueue {
    disk: Arc<dyn Disk>,
    /// Take new files in turn.
    directories: Vec<PathBuf>,
    file_size: usize,
    files: ArcSwap<Files>,
    /// Held while the list is replaced.
    changing: Mutex<()>,
}

/// The files of a queue at one moment, ascending, without gaps.
#[derive(Debug, Default)]
pub struct Files(Vec<Arc<MappedFile>>);

/// What a directory of equal-size files must look like.
#[derive(Debug)]
pub struct QueueShape<'a> {
    /// Directories that take new files.
    pub directories: Vec<PathBuf>,
    /// Directories that are only read.
    pub read_only: Vec<PathBuf>,
    /// Length of each file.
    pub file_size: usize,
    /// The key that gives the length, for messages.
    pub size_key: &'static str,
    /// The disk.
    pub disk: &'a Arc<dyn Disk>,
}

impl MappedFileQueue {
    /// Lists and maps the files. Their bytes all count as written until somebody who knows better truncates.
    pub fn load(shape: QueueShape<'_>) -> Result<(Self, Vec<MappedFile>), OpenError> {
        let mut found = Vec::new();
        for directory in shape.directories.iter().chain(&shape.read_only) {
            found.extend(list_files(
                &**shape.disk,
                directory,
                shape.file_size,
                shape.size_key,
            )?);
        }
        found.sort_unstable_by_key(|(start, _)| *start);
        let mut files = Vec::with_capacity(found.len());
        let mut expected = found.first().map_or(0, |(start, _)| *start);
        for (start, path) in found {
            if start != expected {
                let directory = path.parent().unwrap_or(Path::new("")).to_owned();
                return Err(OpenError::MissingFile {
                    directory,
                    offset: expected,
                });
            }
            let file = MappedFile::open(&**shape.disk, &path, start, shape.file_size)
                .map_err(OpenError::io("map", &path))?;
            expected = file.end();
            files.push(file);
        }
        let queue = Self {
            disk: Arc::clone(shape.disk),
            directories: shape.directories,
            file_size: shape.file_size,
            files: ArcSwap::default(),
            changing: Mutex::new(()),
        };
        Ok((queue, files))
    }

    /// Shows readers the files, after recovery has settled how far they are written.
    pub fn publish(&self, files: Vec<MappedFile>) {
        self.files
            .store(Arc::new(Files(files.into_iter().map(Arc::new).collect())));
    }

    /// Length of each file.
    pub fn file_size(&self) -> usize {
        self.file_size
    }

    /// The files as they are now.
    pub fn files(&self) -> Guard<Arc<Files>> {
        self.files.load()
    }

    /// Makes the file that starts at `start`, not yet part of the queue.
    pub fn create(&self, start: u64) -> std::io::Result<Arc<MappedFile>> {
        let turn = start / self.file_size as u64 % self.directories.len() as u64;
        let directory =
            &self.directories[usize::try_from(turn).expect("less than the number of directories")];
        self.disk.create_dir_all(directory)?;
        let path = directory.join(file_name(start));
        // Left over from an attempt that failed later: nothing points into it.
        self.disk.remove_file(&path)?;
        let file = MappedFile::create(&*self.disk, &path, start, self.file_size)?;
        self.disk.sync_dir(directory)?;
        Ok(Arc::new(file))
    }

    /// Adds a file after the last.
    pub fn push(&self, file: Arc<MappedFile>) {
        self.change(|files| {
            let follows = files.last().is_none_or(|last| last.end() == file.start());
            assert!(follows, "files follow each other without a gap");
            files.push(file);
        });
    }

    /// Takes away the first `count` files and deletes them; readers who hold them finish.
    pub fn remove_first(&self, count: usize) -> std::io::Result<()> {
        let removed = self.change(|files| files.drain(..count).collect::<Vec<_>>());
        for file in &removed {
            self.disk.remove_file(file.path())?;
        }
        // What is derived from them is forgotten next: they must not come back.
        for directory in &self.directories {
            if removed.iter().any(|file| file.path().parent() == Some(directory)) {
                self.disk.sync_dir(directory)?;
            }
        }
        Ok(())
    }

    fn change<R>(&self, change: impl FnOnce(&mut Vec<Arc<MappedFile>>) -> R) -> R {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.files.load().0.clone();
        let result = change(&mut next);
        self.files.store(Arc::new(Files(next)));
        result
    }
}

impl Files {
    /// The files, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<MappedFile>> + ExactSizeIterator {
        self.0.iter()
    }

    /// The oldest file.
    pub fn first(&self) -> Option<&Arc<MappedFile>> {
        self.0.first()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The file that holds the byte at `offset`.
    pub fn find(&self, offset: u64) -> Option<&Arc<MappedFile>> {
        let first = self.0.first()?;
        let index = offset.checked_sub(first.start())? / first.size() as u64;
        self.0.get(usize::try_from(index).ok()?)
    }

    /// Written bytes inside one file.
    pub fn bytes(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let file = self.find(offset)?;
        let at = usize::try_from(offset - file.start()).ok()?;
        file.bytes(at..at.checked_add(length)?)
    }

    /// Written bytes from an offset to the end of what its file has.
    pub fn bytes_from(&self, offset: u64) -> Option<&[u8]> {
        let file = self.find(offset)?;
        let at = usize::try_from(offset - file.start()).ok()?;
        file.bytes(at..file.published())
    }
}

/// The name of the file whose first byte has this offset.
pub fn file_name(start: u64) -> String {
    format!("{start:020}")
}

/// Start offsets and paths of the files in a directory, unsorted. An empty file, left by a crash, is deleted.
pub fn list_files(
    disk: &dyn Disk,
    directory: &Path,
    file_size: usize,
    size_key: &'static str,
) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut found = Vec::new();
    for entry in disk.list(directory).map_err(OpenError::io("list", directory))? {
        let path = directory.join(&entry.name);
        let Some(start) = parse_file_name(&entry.name).filter(|_| !entry.is_dir) else {
            continue;
        };
        if entry.length == 0 {
            disk.remove_file(&path)
                .map_err(OpenError::io("remove the empty file", &path))?;
        } else if entry.length == file_size as u64 {
            found.push((start, path));
        } else {
            return Err(OpenError::FileSize {
                file: path,
                length: entry.length,
                key: size_key,
                expected: file_size as u64,
            });
        }
    }
    Ok(found)
}

fn parse_file_name(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::fs;

    fn load(directory: &Path, file_size: usize) -> Result<(MappedFileQueue, Vec<MappedFile>), OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        MappedFileQueue::load(QueueShape {
            directories: vec![directory.to_owned()],
            read_only: Vec::new(),
            file_size,
            size_key: "mappedFileSizeCommitLog",
            disk: &disk,
        })
    }

    #[test]
    fn bytes_are_found_across_files() {
        let directory = tempfile::tempdir().unwrap();
        for (start, byte) in [(4096u64, 1u8), (8192, 2)] {
            fs::write(directory.path().join(file_name(start)), vec![byte; 4096]).unwrap();
        }
        fs::create_dir(directory.path().join("99999999999999999999")).unwrap();
        let (queue, files) = load(directory.path(), 4096).unwrap();
        queue.publish(files);
        let files = queue.files();
        assert_eq!(files.bytes(8191, 1), Some(&[1u8][..]));
        assert_eq!(files.bytes(8192, 2), Some(&[2u8, 2][..]));
        assert_eq!(files.bytes(8191, 2), None, "no range spans two files");
        assert_eq!((files.bytes(4095, 1), files.bytes(12288, 1)), (None, None));
    }

    #[test]
    fn a_file_of_another_length_is_refused_and_an_empty_one_goes() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(file_name(0)), [0; 100]).unwrap();
        fs::write(directory.path().join(file_name(100)), []).unwrap();
        assert_eq!(load(directory.path(), 100).unwrap().1.len(), 1);
        assert!(!directory.path().join(file_name(100)).exists());
        let error = load(directory.path(), 4096).unwrap_err().to_string();
        assert!(
            error.contains("mappedFileSizeCommitLog") && error.contains("100"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for start in [0u64, 4096 * 2] {
            fs::write(directory.path().join(file_name(start)), vec![0; 4096]).unwrap();
        }
        let error = load(directory.path(), 4096).unwrap_err();
        assert!(
            matches!(error, OpenError::MissingFile { offset: 4096, .. }),
            "{error}"
        );
    }
}
