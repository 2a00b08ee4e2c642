//! DeletedTopics: up to where the log's messages of a deleted topic must not come back.
//!
//! Deleting a topic deletes its queues; its messages stay in the log until their files expire. Without this list a
//! recovery that dispatches them again would bring the topic back, and with it offsets that new messages of a topic of
//! the same name have taken. One line a topic: end of the log when it was deleted, a space, the topic. The reference
//! has no such file and takes no notice of it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;

/// Deleted topics, by name.
#[derive(Debug)]
pub struct DeletedTopics {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Whether there are any: dispatch asks for every message.
    is_empty: AtomicBool,
    ends: Mutex<BTreeMap<String, u64>>,
}

impl DeletedTopics {
    /// Reads the list.
    pub fn load(disk: &Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        let ends = decode(&disk.read(&path)?.unwrap_or_default());
        Ok(Self {
            disk: Arc::clone(disk),
            path,
            is_empty: AtomicBool::new(ends.is_empty()),
            ends: Mutex::new(ends),
        })
    }

    /// Whether a record belongs to a topic that was deleted after it was stored.
    pub fn covers(&self, topic: &str, physical_offset: u64) -> bool {
        if self.is_empty.load(Ordering::Acquire) {
            return false;
        }
        self.lock().get(topic).is_some_and(|end| physical_offset < *end)
    }

    /// Notes topics that are deleted now, with everything below `end`; not yet on disk. Returns what it knew of each before.
    pub fn add(&self, topics: &[&str], end: u64) -> Vec<Option<u64>> {
        let mut ends = self.lock();
        let before = topics.iter().map(|topic| ends.insert((*topic).to_owned(), end));
        let before = before.collect();
        self.is_empty.store(ends.is_empty(), Ordering::Release);
        before
    }

    /// Takes back what [`add`](Self::add) noted of a topic; not yet on disk.
    pub fn take_back(&self, topic: &str, before: Option<u64>) {
        let mut ends = self.lock();
        match before {
            Some(end) => drop(ends.insert(topic.to_owned(), end)),
            None => drop(ends.remove(topic)),
        }
        self.is_empty.store(ends.is_empty(), Ordering::Release);
    }

    /// The topics.
    pub fn topics(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Gets the list to the disk.
    pub fn persist(&self) -> io::Result<()> {
        self.write(&self.lock())
    }

    /// After a crash the log may end earlier than when a topic was deleted: what comes there now is newer.
    pub fn end_at(&self, log_end: u64) -> io::Result<()> {
        let mut ends = self.lock();
        if ends.values().all(|end| *end <= log_end) {
            return Ok(());
        }
        ends.values_mut().for_each(|end| *end = (*end).min(log_end));
        self.write(&ends)
    }

    /// Forgets topics all of whose messages are gone from the log.
    pub fn forget_before(&self, log_min: u64) -> io::Result<()> {
        if self.is_empty.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut ends = self.lock();
        let before = ends.len();
        ends.retain(|_, end| *end > log_min);
        self.is_empty.store(ends.is_empty(), Ordering::Release);
        if ends.len() == before {
            Ok(())
        } else {
            self.write(&ends)
        }
    }

    fn write(&self, ends: &BTreeMap<String, u64>) -> io::Result<()> {
        self.disk.write(&self.path, encode(ends).as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Topics and ends of a list; lines that make no sense are passed over.
pub fn decode(list: &[u8]) -> BTreeMap<String, u64> {
    String::from_utf8_lossy(list)
        .split('\n')
        .filter_map(|line| {
            let (end, topic) = line.split_once(' ')?;
            Some((topic.to_owned(), end.parse().ok()?))
        })
        .collect()
}

/// The list of these topics and ends.
pub fn encode(ends: &BTreeMap<String, u64>) -> String {
    let mut lines: Vec<String> = ends
        .iter()
        .map(|(topic, end)| format!("{end} {topic}\n"))
        .collect();
    lines.sort_unstable();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn deleted_topics_are_remembered_until_the_log_forgets_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deletedTopics");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let load = || DeletedTopics::load(&disk, path.clone()).unwrap();
        let topics = load();
        assert!(!topics.covers("T", 0));
        topics.add(&["T", "%RETRY%a b"], 100);
        topics.persist().unwrap();
        let topics = load();
        assert!(topics.covers("T", 99) && topics.covers("%RETRY%a b", 0));
        assert!(!topics.covers("T", 100) && !topics.covers("X", 0));
        topics.forget_before(99).unwrap();
        assert!(topics.covers("T", 99));
        topics.forget_before(100).unwrap();
        assert!(!topics.covers("T", 99));
        assert!(!load().covers("T", 99));
    }
}
