//! OrderLog: what has become of batches popped in order since their file was written last, one line each.
//!
//! ```text
//!   pop, ack ─> a line in X.changes, then the answer            start: X, then the lines of X.changes.old and X.changes
//!   write X:  X.changes renamed to X.changes.old ── the offsets written ── X written ── X.changes.old removed
//! ```
//!
//! A line holds the whole state of one queue, so it may be read twice. Lines are not synced: they survive the end of the process,
//! however it comes, and may be lost with the power. What a line says of the group's offset, and of a reset, is in the offsets' file
//! too if that was written later, and counts no more; after a Java broker no line does.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use common::small_file::{SmallFiles, with_suffix};
use remoting::body::{OrderInfo, fastjson};
use serde::{Deserialize, Serialize};

/// What has become of the last batch of a queue.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchChange {
    /// The newest write of the offsets' file by then: what that file does not hold was changed after it.
    #[serde(default)]
    pub after_write: u64,
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// The queue.
    pub queue_id: i32,
    /// The batch; none when it was forgotten.
    pub batch: Option<OrderInfo>,
    /// Where the group goes on, if that changed.
    pub offset: Option<i64>,
    /// Where a reset leads that no consumer has taken yet.
    #[serde(default)]
    pub reset: Option<i64>,
}

/// The lines beside one file.
#[derive(Debug)]
pub(super) struct OrderLog {
    path: PathBuf,
    files: Arc<dyn SmallFiles>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    has_lines: bool,
    /// There are lines from before a write of the file that has not succeeded.
    has_older: bool,
}

impl OrderLog {
    /// The lines beside the file at `path`.
    pub(super) fn beside(path: PathBuf, files: Arc<dyn SmallFiles>) -> Self {
        OrderLog {
            path: with_suffix(&path, ".changes"),
            files,
            written: Mutex::default(),
        }
    }

    fn older(&self) -> PathBuf {
        with_suffix(&self.path, ".old")
    }

    /// The lines that the last process left, oldest first. One that is torn is passed over: it was not answered.
    pub(super) fn load(&self) -> io::Result<Vec<BatchChange>> {
        let older = self.files.read(&self.older())?;
        let newer = self.files.read(&self.path)?;
        *self.written() = Written {
            has_lines: newer.is_some(),
            has_older: older.is_some(),
        };
        let texts = [older, newer].map(Option::unwrap_or_default);
        Ok(texts.iter().flat_map(|text| changes(text)).collect())
    }

    /// Appends a line.
    pub(super) fn append(&self, change: &BatchChange) -> io::Result<()> {
        // A line that a crash tore ends here.
        let mut line = vec![b'\n'];
        line.extend(fastjson::to_vec(change).map_err(io::Error::other)?);
        line.push(b'\n');
        let mut written = self.written();
        written.has_lines = true;
        self.files.append(&self.path, &line)
    }

    /// The file is about to be written, with all that the lines say until now.
    pub(super) fn begin_write(&self) -> io::Result<()> {
        let mut written = self.written();
        if written.has_lines && !written.has_older {
            self.files.rename(&self.path, &self.older())?;
            *written = Written {
                has_lines: false,
                has_older: true,
            };
        }
        Ok(())
    }

    /// The file is on the disk.
    pub(super) fn end_write(&self) -> io::Result<()> {
        let mut written = self.written();
        if written.has_older {
            self.files.remove_file(&self.older())?;
            written.has_older = false;
        }
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The changes in these lines; what is none is passed over.
pub fn changes(lines: &[u8]) -> impl Iterator<Item = BatchChange> {
    lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| fastjson::from_slice(line).ok())
}
