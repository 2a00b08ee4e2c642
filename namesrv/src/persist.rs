//! Small files replaced as a whole: after a crash the old or the new text is there, never half of one.
//!
//! The text before the last change stays beside the file as `<file>.bak`, where the reference leaves it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes `text` to `path`, durably, creating missing directories.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let new = with_suffix(path, ".tmp");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    keep_previous(path)?;
    fs::rename(&new, path)?;
    // The rename lasts only once the directory is on disk.
    File::open(directory)?.sync_all()
}

/// Reads `path`, or its backup when the file itself is missing or empty; `None` when there is neither.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    for candidate in [path, &backup(path)] {
        match fs::read_to_string(candidate) {
            Ok(text) if !text.trim().is_empty() => return Ok(Some(text)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

fn keep_previous(path: &Path) -> io::Result<()> {
    match fs::copy(path, backup(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn backup(path: &Path) -> PathBuf {
    with_suffix(path, ".bak")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_leaves_the_previous_text_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/kvConfig.json");
        assert_eq!(read(&path).unwrap(), None);

        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();

        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_to_string(backup(&path)).unwrap(), "one");
        assert!(!with_suffix(&path, ".tmp").exists());
    }

    #[test]
    fn the_backup_serves_when_the_file_is_missing_or_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();

        fs::write(&path, " \n").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
    }
}
