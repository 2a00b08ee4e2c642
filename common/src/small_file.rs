//! Small files replaced as a whole: whatever dies when, the old or the new text is there, never half of one.
//!
//! The text before the last change stays beside the file as `<file>.bak`, where the reference leaves it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes `text` to `path`, durably, creating missing directories. What was there becomes `<path>.bak`.
///
/// # Errors
/// The first step that failed; the error's text names the file it failed with.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|error| named(&error, "create directory", directory))?;
    let fresh = with_suffix(path, ".tmp");
    write_and_sync(&fresh, text).map_err(|error| named(&error, "write", &fresh))?;
    match fs::rename(path, backup(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(named(&error, "rename to .bak", path));
        }
        _ => {}
    }
    fs::rename(&fresh, path).map_err(|error| named(&error, "rename to", path))?;
    // Without this the directory may still show the old names after a power failure.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| named(&error, "sync directory", directory))
}

/// The content of a file; `None` when it is missing or blank.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_if_any(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text).filter(|text| !text.trim_ascii().is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(&error, "read", path)),
    }
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

fn write_and_sync(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
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
