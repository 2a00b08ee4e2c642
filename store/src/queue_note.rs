//! QueueNote: what all queues were at a checkpoint, so that a start need not look into their files.
//!
//! ```text
//!   "queues"  = | magic | sizes of queue files | record + 1, or 0 | topics | crc32 |
//!   topic     = | name | kind | count | queue ... |
//!   queue     = | id | first file | last file | begin | end | min, max offset | min, max physical |
//!
//!   "witness" = | magic | running | change time and content of the abort file |
//!             | magic | stopped | change times of directories and of the log's last file |
//! ```
//!
//! With a million queues, listing and opening their files takes minutes; this file is read in a second. It is written
//! with every checkpoint that moves and at a clean stop: the entries of records up to `record`, which is on disk like
//! they are. What came later is in the log behind that record, and a start after a crash dispatches it from there. The note of an
//! empty store has no record: a start dispatches all of the log, as long as that still has its first byte. No file
//! of a queue has to be looked at or cut for that: entries are written only when their records are on disk
//! (`queues_reach` of the checkpoint), so whatever a crash left in the files is what the replay puts there again.
//!
//! It is a shortcut, never the truth: it is believed only if nobody else used the store since, which the witness tells. A
//! broker of the reference makes its own `abort` file and removes it, an operator who takes queues away removes names.
//! After a crash the abort file must be the one that this session made, to the nanosecond; after a clean stop the
//! directories and the log must not have been changed. A time moves on every few milliseconds only, so the stop sets the
//! times it notes one nanosecond ahead: a change at once after it would give another one. Whatever does not fit, or
//! cannot be read, is as good as no note: the queues' files are looked into then.
//!
//! Numbers are unsigned, seven bits a byte, lowest first; most are small. Times and the checksum are 8 and 4 bytes,
//! big-endian.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consume_queue::{Ends, QueueKind};
use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"RMQNOTE1";
const RUNNING: u8 = 0;
const STOPPED: u8 = 1;
const CRC_BYTES: usize = 4;

/// The note of one store.
#[derive(Debug)]
pub struct QueueNote<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) root: &'a Path,
}

/// A note being put together.
#[derive(Debug)]
pub struct Draft {
    bytes: Vec<u8>,
}

/// A note that was read.
#[derive(Debug)]
pub struct Noted {
    bytes: Vec<u8>,
    /// Where the topics that are still to be read begin.
    at: usize,
    /// Queues hold the entries of records up to the one that begins here; `None` when there was no record.
    pub(crate) record: Option<u64>,
}

/// The queues of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEnds {
    pub(crate) topic: Arc<str>,
    pub(crate) kind: QueueKind,
    /// Ascending by queue id.
    pub(crate) queues: Vec<(i32, Ends)>,
}

impl QueueNote<'_> {
    /// Makes the directory of the note: done early, since it changes the time of the root.
    pub fn prepare(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.directory())
    }

    /// Replaces the note. Who may believe it is up to the witness.
    pub fn write(&self, draft: Draft) -> io::Result<()> {
        let mut bytes = draft.bytes;
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        self.disk.write(&self.path("queues"), &bytes)
    }

    /// Takes the note away: the queues are about to become something that a replay from its record would not give.
    pub fn remove(&self) -> io::Result<()> {
        self.disk.remove_file(&self.path("queues"))?;
        self.disk.sync_dir(&self.directory())
    }

    /// Lets the next start believe the note, after a crash of this session: the abort file is this session's.
    pub fn vouch_while_running(&self) -> io::Result<()> {
        self.disk
            .write(&self.path("witness"), &self.witness_of_a_crash()?)
    }

    /// Lets the next start believe the note, after this clean stop: to be called last. `log_file` is the one that the log
    /// ends in.
    pub fn vouch_for_a_stop(&self, log_file: Option<&Path>) -> io::Result<()> {
        for path in self.witnesses(log_file) {
            match self.disk.advance_modified_ns(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        let witness = self.witness_of_a_stop(log_file)?;
        self.disk.write(&self.path("witness"), &witness)
    }

    /// Reads the note if it can be believed after a crash, or after a clean stop; else takes it away. Once the store has
    /// been opened after a clean stop, the witness of that stop does not count any more.
    pub fn read(
        &self,
        is_clean: bool,
        log_file: Option<&Path>,
        file_sizes: [u64; 2],
    ) -> io::Result<Option<Noted>> {
        let Some(witness) = self.disk.read(&self.path("witness"))? else {
            self.remove_if_any()?;
            return Ok(None);
        };
        let expected = match is_clean {
            true => self.witness_of_a_stop(log_file),
            false => self.witness_of_a_crash(),
        };
        if is_clean {
            self.disk.remove_file(&self.path("witness"))?;
            self.disk.sync_dir(&self.directory())?;
        }
        let is_vouched = expected.is_ok_and(|expected| expected == witness);
        let bytes = match is_vouched {
            true => self.disk.read(&self.path("queues"))?,
            false => None,
        };
        let noted = bytes.and_then(|bytes| Noted::decode(bytes, file_sizes));
        if noted.is_none() {
            tracing::info!("no note of the queues that can be believed: looking into all queues");
            self.remove_if_any()?;
        }
        Ok(noted)
    }

    fn remove_if_any(&self) -> io::Result<()> {
        let directory = self.directory();
        if self.disk.list(&directory)?.is_empty() {
            return Ok(());
        }
        self.remove()
    }

    fn directory(&self) -> PathBuf {
        self.root.join("queuenote")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn witness_of_a_crash(&self) -> io::Result<Vec<u8>> {
        let abort = self.root.join("abort");
        let mut bytes = [&MAGIC[..], &[RUNNING]].concat();
        bytes.extend_from_slice(&self.changed_ns(&abort)?.to_be_bytes());
        bytes.extend(self.disk.read(&abort)?.unwrap_or_default());
        Ok(bytes)
    }

    fn witness_of_a_stop(&self, log_file: Option<&Path>) -> io::Result<Vec<u8>> {
        let mut bytes = [&MAGIC[..], &[STOPPED]].concat();
        for path in self.witnesses(log_file) {
            bytes.extend_from_slice(&self.changed_ns(&path)?.to_be_bytes());
        }
        Ok(bytes)
    }

    /// What another broker, or an operator, would change.
    fn witnesses(&self, log_file: Option<&Path>) -> Vec<PathBuf> {
        let directories = ["", "consumequeue", "batchconsumequeue"].map(|name| self.root.join(name));
        directories
            .into_iter()
            .chain(log_file.map(Path::to_owned))
            .collect()
    }

    /// When a name in the directory was made or removed last, or a byte of the file written; -1 without it.
    fn changed_ns(&self, path: &Path) -> io::Result<i64> {
        match self.disk.modified_ns(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(-1),
            other => other,
        }
    }
}

impl Draft {
    /// A note without topics. `record` is the last whose entries are noted.
    pub fn new(record: Option<u64>, file_sizes: [u64; 2]) -> Self {
        let mut bytes = MAGIC.to_vec();
        for size in file_sizes {
            put(&mut bytes, size);
        }
        put(&mut bytes, record.map_or(0, |record| record + 1));
        Self { bytes }
    }

    /// Adds the queues of a topic, ascending by queue id.
    pub fn add(&mut self, topic: &str, kind: QueueKind, queues: &[(i32, Ends)]) {
        let bytes = &mut self.bytes;
        put(bytes, topic.len() as u64);
        bytes.extend_from_slice(topic.as_bytes());
        put(bytes, u64::from(kind == QueueKind::Batch));
        put(bytes, queues.len() as u64);
        for (id, ends) in queues {
            put(bytes, u64::from(id.cast_unsigned()));
            for number in ends.to_numbers() {
                put(bytes, number);
            }
        }
    }
}

impl Noted {
    fn decode(bytes: Vec<u8>, file_sizes: [u64; 2]) -> Option<Self> {
        let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        if crc != crc32fast::hash(content).to_be_bytes() {
            return None;
        }
        let mut left = content.strip_prefix(MAGIC)?;
        for size in file_sizes {
            (take(&mut left)? == size).then_some(())?;
        }
        let record = take(&mut left)?.checked_sub(1);
        let at = content.len() - left.len();
        Some(Self { bytes, at, record })
    }

    /// The next topic: `Ok(None)` after the last, an error when there is something else.
    pub fn next_topic(&mut self) -> io::Result<Option<TopicEnds>> {
        let mut left = &self.bytes[self.at..self.bytes.len() - CRC_BYTES];
        if left.is_empty() {
            return Ok(None);
        }
        let topic = decode_topic(&mut left).ok_or(io::ErrorKind::InvalidData)?;
        self.at = self.bytes.len() - CRC_BYTES - left.len();
        Ok(Some(topic))
    }
}

/// Reads the topics of a note and writes them again, as [`Draft::add`] does; `None` when they are none.
pub fn rewrite_topics(mut topics: &[u8]) -> Option<Vec<u8>> {
    let mut draft = Draft { bytes: Vec::new() };
    while !topics.is_empty() {
        let TopicEnds { topic, kind, queues } = decode_topic(&mut topics)?;
        draft.add(&topic, kind, &queues);
    }
    Some(draft.bytes)
}

fn decode_topic(left: &mut &[u8]) -> Option<TopicEnds> {
    let length = usize::try_from(take(left)?).ok()?;
    let (name, rest) = left.split_at_checked(length)?;
    *left = rest;
    let topic = std::str::from_utf8(name).ok()?.into();
    let kind = match take(left)? {
        0 => QueueKind::Simple,
        _ => QueueKind::Batch,
    };
    let count = take(left)?;
    let queues = (0..count).map(|_| decode_queue(left)).collect::<Option<_>>()?;
    Some(TopicEnds { topic, kind, queues })
}

fn decode_queue(left: &mut &[u8]) -> Option<(i32, Ends)> {
    let id = u32::try_from(take(left)?).ok()?.cast_signed();
    let mut numbers = [0; Ends::NUMBERS];
    for number in &mut numbers {
        *number = take(left)?;
    }
    Some((id, Ends::from_numbers(numbers)))
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(left: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const SIZES: [u64; 2] = [6_000_000, 300];

    fn topics() -> Vec<TopicEnds> {
        let ends = Ends {
            first: 6_000_000,
            last: 12_000_000,
            begin: 6_000_020,
            end: 12_000_040,
            min_offset: 300_001,
            max_offset: 600_002,
            min_physical: Some(1 << 40),
            max_physical: u64::MAX,
        };
        let unknown = Ends {
            min_physical: None,
            ..ends
        };
        let topic = |name: &str, kind| TopicEnds {
            topic: name.into(),
            kind,
            queues: vec![(0, ends), (7, unknown)],
        };
        vec![topic("T", QueueKind::Simple), topic("%RETRY%G", QueueKind::Batch)]
    }

    fn write(note: &QueueNote<'_>) {
        note.prepare().unwrap();
        let mut draft = Draft::new(Some(0), SIZES);
        for topic in topics() {
            draft.add(&topic.topic, topic.kind, &topic.queues);
        }
        note.write(draft).unwrap();
    }

    fn all(mut noted: Noted) -> Vec<TopicEnds> {
        std::iter::from_fn(|| noted.next_topic().unwrap()).collect()
    }

    #[test]
    fn after_a_stop_a_note_is_read_once() {
        let root = tempfile::tempdir().unwrap();
        let note = QueueNote {
            disk: &RealDisk,
            root: root.path(),
        };
        write(&note);
        note.vouch_for_a_stop(None).unwrap();
        let noted = note.read(true, None, SIZES).unwrap().unwrap();
        assert_eq!(noted.record, Some(0));
        assert_eq!(all(noted), topics());
        assert!(
            note.read(true, None, SIZES).unwrap().is_none(),
            "the stop is over"
        );
    }

    #[test]
    fn after_a_crash_a_note_is_read_as_long_as_the_abort_file_is_ours() {
        let root = tempfile::tempdir().unwrap();
        let note = QueueNote {
            disk: &RealDisk,
            root: root.path(),
        };
        let abort = root.path().join("abort");
        std::fs::write(&abort, "1").unwrap();
        write(&note);
        note.vouch_while_running().unwrap();
        for _ in 0..2 {
            assert_eq!(all(note.read(false, None, SIZES).unwrap().unwrap()), topics());
        }
        assert!(
            note.read(false, None, [20, 300]).unwrap().is_none(),
            "files of another size"
        );
        write(&note);
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&abort, "1").unwrap();
        assert!(
            note.read(false, None, SIZES).unwrap().is_none(),
            "another broker ran"
        );
        assert!(!note.path("queues").exists());
    }

    /// At once, without waiting for the time of files to move on.
    #[test]
    fn after_a_stop_any_change_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let note = QueueNote {
            disk: &RealDisk,
            root: root.path(),
        };
        let is_believed_after = |change: &dyn Fn()| {
            std::fs::write(&log, "a record").unwrap();
            write(&note);
            note.vouch_for_a_stop(Some(&log)).unwrap();
            change();
            note.read(true, Some(&log), SIZES).unwrap().is_some()
        };
        assert!(is_believed_after(&|| {}));
        let another_broker = || {
            std::fs::write(root.path().join("abort"), "1").unwrap();
            std::fs::remove_file(root.path().join("abort")).unwrap();
        };
        let damage = || {
            let path = note.path("queues");
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        };
        assert!(!is_believed_after(&another_broker));
        assert!(!is_believed_after(&|| std::fs::write(&log, "a Record").unwrap()));
        assert!(!is_believed_after(&damage));
    }

    #[test]
    fn numbers_of_any_size_come_back() {
        for number in [0, 1, 127, 128, 300, 1 << 35, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut left = &bytes[..];
            assert_eq!((take(&mut left), left.len()), (Some(number), 0));
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
        }
    }
}
