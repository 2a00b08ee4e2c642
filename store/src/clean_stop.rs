//! What a clean stop leaves behind, so that the next start need not look into the queues' files nor scan the log.
//!
//! ```text
//!   "queues" = | magic | witness | last record + 1, or 0 | topics | crc32 |
//!   witness  = | change times of directories and of the log's last file | sizes of queue files |
//!   topic    = | name | kind | count | queue ... |
//!   queue    = | id | first file | last file | begin | end | min, max offset | min, max physical |
//! ```
//!
//! With a million queues, listing and opening their files takes minutes when they are not in memory, and so does reading
//! a gigabyte of the log; this file is read in a second. It is a shortcut, never the truth: it is taken away before the store changes anything, and
//! believed only if nobody else used the store since. A broker of the reference makes and removes its `abort` file, an
//! operator who takes queues away removes names: both change the time of a directory. Whatever does not fit, or cannot be
//! read, is as good as no file: the queues' files are looked into then.
//!
//! Numbers are unsigned, seven bits a byte, lowest first; most are small. Times and the checksum are 8 and 4 bytes,
//! big-endian.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consume_queue::{Ends, QueueKind};
use crate::disk::Disk;

const MAGIC: &[u8; 8] = b"RMQSTOP1";
const CRC_BYTES: usize = 4;

/// The file in one store.
#[derive(Debug)]
pub struct CleanStop<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) root: PathBuf,
    /// The file that the log ends in.
    pub(crate) log_file: Option<PathBuf>,
    /// Lengths of the files of simple and batch queues.
    pub(crate) file_sizes: [u64; 2],
}

/// What was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where the last record of the log begins.
    pub(crate) last_record: Option<u64>,
    /// All queues.
    pub(crate) topics: Vec<TopicEnds>,
}

/// The queues of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEnds {
    pub(crate) topic: Arc<str>,
    pub(crate) kind: QueueKind,
    /// Ascending by queue id.
    pub(crate) queues: Vec<(i32, Ends)>,
}

impl CleanStop<'_> {
    /// Writes the file. To be called last, when the abort file is gone.
    pub fn write(&self, noted: &Noted) -> io::Result<()> {
        let mut bytes = self.beginning()?;
        put(&mut bytes, noted.last_record.map_or(0, |last| last + 1));
        for topic in &noted.topics {
            encode_topic(topic, &mut bytes);
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        self.disk.write(&self.path(), &bytes)
    }

    /// Makes the directory of the file: done before the abort file goes, since it changes the time of the root.
    pub fn prepare(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.directory())
    }

    /// Reads the file and takes it away; `None` when there is none that can be believed.
    pub fn take(&self) -> io::Result<Option<Noted>> {
        let Some(bytes) = self.disk.read(&self.path())? else {
            return Ok(None);
        };
        let expected = self.beginning();
        self.disk.remove_file(&self.path())?;
        self.disk.sync_dir(&self.directory())?;
        let noted = expected.ok().and_then(|expected| decode(&bytes, &expected));
        if noted.is_none() {
            tracing::info!("the store was used by another broker, or changed: looking into all queues");
        }
        Ok(noted)
    }

    fn directory(&self) -> PathBuf {
        self.root.join("cleanstop")
    }

    fn path(&self) -> PathBuf {
        self.directory().join("queues")
    }

    /// Magic and witness.
    fn beginning(&self) -> io::Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        let directories = ["", "consumequeue", "batchconsumequeue"].map(|name| self.root.join(name));
        for path in directories.iter().chain(&self.log_file) {
            bytes.extend_from_slice(&self.changed_ms(path)?.to_be_bytes());
        }
        for size in self.file_sizes {
            put(&mut bytes, size);
        }
        Ok(bytes)
    }

    /// When a name in the directory was made or removed last, or a byte of the file written; -1 without it.
    fn changed_ms(&self, path: &Path) -> io::Result<i64> {
        match self.disk.modified_ms(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(-1),
            other => other,
        }
    }
}

fn encode_topic(topic: &TopicEnds, bytes: &mut Vec<u8>) {
    put(bytes, topic.topic.len() as u64);
    bytes.extend_from_slice(topic.topic.as_bytes());
    put(bytes, u64::from(topic.kind == QueueKind::Batch));
    put(bytes, topic.queues.len() as u64);
    for (id, ends) in &topic.queues {
        put(bytes, u64::from(id.cast_unsigned()));
        for number in ends.to_numbers() {
            put(bytes, number);
        }
    }
}

fn decode(bytes: &[u8], expected: &[u8]) -> Option<Noted> {
    let (content, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    if crc != crc32fast::hash(content).to_be_bytes() {
        return None;
    }
    let mut left = content.strip_prefix(expected)?;
    let last_record = take(&mut left)?.checked_sub(1);
    let mut topics = Vec::new();
    while !left.is_empty() {
        topics.push(decode_topic(&mut left)?);
    }
    Some(Noted { last_record, topics })
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

    fn noted() -> Noted {
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
        Noted {
            last_record: Some(0),
            topics: vec![topic("T", QueueKind::Simple), topic("%RETRY%G", QueueKind::Batch)],
        }
    }

    fn stop(root: &Path) -> CleanStop<'_> {
        CleanStop {
            disk: &RealDisk,
            root: root.to_owned(),
            log_file: Some(root.join("log")),
            file_sizes: [6_000_000, 300],
        }
    }

    #[test]
    fn what_is_written_is_read_once() {
        let root = tempfile::tempdir().unwrap();
        let stop = stop(root.path());
        stop.prepare().unwrap();
        stop.write(&noted()).unwrap();
        assert_eq!(stop.take().unwrap(), Some(noted()));
        assert_eq!(stop.take().unwrap(), None, "it is gone");
    }

    #[test]
    fn it_is_not_believed_after_somebody_else_was_there() {
        let root = tempfile::tempdir().unwrap();
        let stop = stop(root.path());
        let old = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        let write = || {
            stop.prepare().unwrap();
            // So that the test needs no clock: any change of a name comes later than that.
            std::fs::File::open(root.path()).unwrap().set_times(old).unwrap();
            stop.write(&noted()).unwrap();
        };
        write();
        std::fs::write(root.path().join("abort"), "1").unwrap();
        std::fs::remove_file(root.path().join("abort")).unwrap();
        assert_eq!(stop.take().unwrap(), None, "another broker ran");

        std::fs::write(root.path().join("log"), "a record").unwrap();
        write();
        let log = std::fs::File::options().write(true).open(root.path().join("log"));
        log.unwrap().set_times(old).unwrap();
        assert_eq!(stop.take().unwrap(), None, "the log was written to");

        write();
        let resized = CleanStop {
            file_sizes: [20, 300],
            ..stop_of(&stop)
        };
        assert_eq!(resized.take().unwrap(), None, "files of another size");

        write();
        let path = stop.path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(stop.take().unwrap(), None, "damaged");
    }

    fn stop_of<'a>(stop: &CleanStop<'a>) -> CleanStop<'a> {
        CleanStop {
            disk: stop.disk,
            root: stop.root.clone(),
            log_file: stop.log_file.clone(),
            file_sizes: stop.file_sizes,
        }
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
