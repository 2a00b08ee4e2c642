//! Small files replaced as a whole: whatever dies when, the old or the new text is there, never half of one.
//!
//! The text before the last change stays beside the file as `<file>.bak`, where the reference leaves it.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where small files live: the host's file system, or the one of the simulator.
pub trait SmallFiles: Send + Sync + Debug {
    /// Makes a directory and those above it.
    fn create_dir_all(&self, directory: &Path) -> io::Result<()>;

    /// A file, whole; `None` when there is none.
    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Makes a file, or empties the one that is there, and gets the bytes to the disk. Not the name: see
    /// [`SmallFiles::sync_dir`].
    fn write_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Appends bytes to a file, making it if need be, and gets them and its length to the disk. A crash or an error may
    /// leave a part of them.
    fn append_and_sync(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Appends bytes to a file, making it if need be. They survive the end of this process, but not that of the machine.
    fn append(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.append_and_sync(file, bytes)
    }

    /// Removes a file; it is no error when there is none.
    fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gets a directory's names to the disk.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
}

/// The host's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles;

impl SmallFiles for HostFiles {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_and_sync(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn append_and_sync(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(path)?;
        file.write_all(bytes)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// Writes `text` to `path`, durably, creating missing directories. What was there becomes `<path>.bak`.
///
/// # Errors
/// The first step that failed; the error's text names the file it failed with.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    replace_on(&HostFiles, path, text)
}

/// [`replace`] on any file system.
///
/// # Errors
/// As [`replace`].
pub fn replace_on(files: &dyn SmallFiles, path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    files
        .create_dir_all(directory)
        .map_err(|error| named(&error, "create directory", directory))?;
    let fresh = with_suffix(path, ".tmp");
    files
        .write_and_sync(&fresh, text)
        .map_err(|error| named(&error, "write", &fresh))?;
    match files.rename(path, &backup(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(named(&error, "rename to .bak", path));
        }
        _ => {}
    }
    files
        .rename(&fresh, path)
        .map_err(|error| named(&error, "rename to", path))?;
    // Without this the directory may still show the old names after a power failure.
    files
        .sync_dir(directory)
        .map_err(|error| named(&error, "sync directory", directory))
}

/// The content of a file; `None` when it is missing or blank.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_if_any(path: &Path) -> io::Result<Option<Vec<u8>>> {
    read_if_any_on(&HostFiles, path)
}

/// [`read_if_any`] on any file system.
///
/// # Errors
/// As [`read_if_any`].
pub fn read_if_any_on(files: &dyn SmallFiles, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let text = files.read(path).map_err(|error| named(&error, "read", path))?;
    Ok(text.filter(|text| !text.trim_ascii().is_empty()))
}

/// Where [`replace`] leaves the previous text.
pub fn backup(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

/// `path` with `suffix` appended to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The same error, with what was tried with which file.
fn named(error: &io::Error, action: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_leaves_the_previous_text_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/kvConfig.json");
        assert_eq!(read_if_any(&path).unwrap(), None);

        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();

        assert_eq!(read_if_any(&path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(read_if_any(&backup(&path)).unwrap().as_deref(), Some(&b"one"[..]));
        assert!(!with_suffix(&path, ".tmp").exists());
    }

    #[test]
    fn a_blank_file_counts_as_none_and_an_unreadable_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, " \n").unwrap();
        assert_eq!(read_if_any(&path).unwrap(), None);
        let error = read_if_any(directory.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&directory.path().display().to_string()),
            "{error}"
        );
    }
}
