//! ConsumeQueues: the queues of all topics.
//!
//! There may be very many: nothing here walks over all of them except loading and retention, and the number of
//! mapped files is bounded.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use smallvec::SmallVec;

use crate::clean_stop::{CleanStop, TopicEnds};
use crate::config::MessageStoreConfig;
use crate::consume_queue::{
    BATCH_ENTRY_BYTES, ConsumeQueue, NewEntry, QueueKind, SIMPLE_ENTRY_BYTES, Stopped,
};
use crate::disk::Disk;
use crate::mapped_file_queue::list_files;
use crate::store::OpenError;

/// Most memory of all queues' tails; beyond it they are written, some at a time.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
const WRITTEN_AT_A_TIME: usize = 256;

/// With more queues than this to be synced, one sync of the file system costs less than one for each.
const SYNCED_ONE_BY_ONE: usize = 64;

/// Most queues with mapped files. The kernel's default limit of mappings is 65530 for the whole process.
const MAX_OPEN_QUEUES: usize = 16_384;

/// What every queue needs to reach its files.
#[derive(Debug)]
pub struct QueueContext {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) open_files: OpenFiles,
    store_root: PathBuf,
    simple: Place,
    batch: Place,
    dirty: Mutex<Dirty>,
    /// Held while entries are brought to the disk: whoever finds nothing dirty must not be told that all is on disk
    /// while another is still at it. Before a queue's lock.
    flushing: Mutex<()>,
    /// Memory of all tails, and its limit.
    buffered_bytes: AtomicUsize,
    max_buffered_bytes: usize,
    /// Some queue has a page or more that is not on disk.
    has_full_page: AtomicBool,
}

/// Queues with entries that are not on disk, each once.
#[derive(Debug, Default)]
struct Dirty {
    queues: Vec<Arc<ConsumeQueue>>,
    /// Whose tail is written next when tails take too much memory.
    next_to_write: usize,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    file_size: u64,
}

/// The queues of a topic, by queue id.
type TopicQueues = SmallVec<[Arc<ConsumeQueue>; 1]>;

/// The queues of all topics.
#[derive(Debug)]
pub struct ConsumeQueues {
    context: QueueContext,
    topics: DashMap<Arc<str>, TopicQueues, foldhash::fast::RandomState>,
}

impl ConsumeQueues {
    /// Takes the queues as they were at a clean stop, or else loads what their directories hold.
    /// `log_file` is the one that the log ends in. Also gives where the last record of the log begins, if that was noted.
    pub fn load(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        stopped: Stopped,
        log_file: Option<PathBuf>,
    ) -> Result<(Self, Option<u64>), OpenError> {
        let queues = Self {
            context: QueueContext::new(config, disk),
            topics: DashMap::default(),
        };
        let root = config.root();
        let noted = queues
            .clean_stop(log_file)
            .take()
            .map_err(OpenError::io("read what the last stop left in", &root))?;
        if let Some(noted) = noted.filter(|_| stopped == Stopped::Cleanly) {
            queues.restore(noted.topics);
            return Ok((queues, noted.last_record));
        }
        for (kind, size_key) in [
            (QueueKind::Simple, "mappedFileSizeConsumeQueue"),
            (QueueKind::Batch, "mapperFileSizeBatchConsumeQueue"),
        ] {
            queues.load_kind(kind, size_key, stopped)?;
        }
        Ok((queues, None))
    }

    fn restore(&self, topics: Vec<TopicEnds>) {
        for TopicEnds { topic, kind, queues } in topics {
            let restored = |(id, ends)| Arc::new(ConsumeQueue::restored(kind, Arc::clone(&topic), id, ends));
            let queues = queues.into_iter().map(restored).collect();
            self.topics.insert(topic, queues);
        }
    }

    /// Where a clean stop notes the queues.
    pub fn clean_stop(&self, log_file: Option<PathBuf>) -> CleanStop<'_> {
        let kinds = [QueueKind::Simple, QueueKind::Batch];
        CleanStop {
            disk: &*self.context.disk,
            root: self.context.store_root.clone(),
            log_file,
            file_sizes: kinds.map(|kind| self.context.file_size(kind)),
        }
    }

    /// What a clean stop notes: all queues; `None` when one has something that is not on disk.
    pub fn ends(&self) -> Option<Vec<TopicEnds>> {
        let ends_of = |queue: &Arc<ConsumeQueue>| Some((queue.queue_id(), queue.ends()?));
        self.topics
            .iter()
            .filter(|entry| !entry.value().is_empty())
            .map(|entry| {
                let with_entries = entry.value().iter().filter(|queue| !queue.is_empty());
                Some(TopicEnds {
                    topic: Arc::clone(entry.key()),
                    kind: entry.value()[0].kind(),
                    queues: with_entries.map(ends_of).collect::<Option<_>>()?,
                })
            })
            .collect()
    }

    fn load_kind(&self, kind: QueueKind, size_key: &'static str, stopped: Stopped) -> Result<(), OpenError> {
        let root = self.context.root(kind);
        for topic in self.directories(root)? {
            let topic_directory = root.join(&topic);
            let topic = Arc::from(topic);
            for name in self.directories(&topic_directory)? {
                let Ok(queue_id) = name.parse::<i32>() else {
                    continue;
                };
                let directory = topic_directory.join(&name);
                self.load_queue(kind, &topic, queue_id, &directory, size_key, stopped)?;
            }
        }
        Ok(())
    }

    fn load_queue(
        &self,
        kind: QueueKind,
        topic: &Arc<str>,
        queue_id: i32,
        directory: &Path,
        size_key: &'static str,
        stopped: Stopped,
    ) -> Result<(), OpenError> {
        let file_size = usize::try_from(self.context.file_size(kind)).expect("the size was a usize");
        let files = list_files(&*self.context.disk, directory, file_size, size_key)?;
        let mut starts: Vec<u64> = files.into_iter().map(|(start, _)| start).collect();
        starts.sort_unstable();
        let loaded = ConsumeQueue::load(&self.context, kind, Arc::clone(topic), queue_id, &starts, stopped)
            .map_err(OpenError::io("load the queue", directory))?;
        if let Some(queue) = loaded {
            let queue = self.insert(Arc::new(queue));
            if stopped != Stopped::Cleanly {
                queue.mark_dirty(&self.context);
            }
        }
        Ok(())
    }

    fn directories(&self, directory: &Path) -> Result<Vec<String>, OpenError> {
        let entries = self
            .context
            .disk
            .list(directory)
            .map_err(OpenError::io("list", directory))?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.is_dir)
            .map(|entry| entry.name)
            .collect())
    }

    /// What the queues need to reach their files.
    pub fn context(&self) -> &QueueContext {
        &self.context
    }

    /// The queue, if it exists.
    pub fn find(&self, topic: &str, queue_id: i32) -> Option<Arc<ConsumeQueue>> {
        let queues = self.topics.get(topic)?;
        let index = queues
            .binary_search_by_key(&queue_id, |queue| queue.queue_id())
            .ok()?;
        Some(Arc::clone(&queues[index]))
    }

    /// The queue, made without files if it does not exist.
    pub fn find_or_create(&self, topic: &str, queue_id: i32, kind: QueueKind) -> Arc<ConsumeQueue> {
        self.find(topic, queue_id).unwrap_or_else(|| {
            // One copy of the name for all queues of a topic.
            let known = self.topics.get(topic).map(|entry| Arc::clone(entry.key()));
            let topic = known.unwrap_or_else(|| topic.into());
            self.insert(Arc::new(ConsumeQueue::new(kind, topic, queue_id)))
        })
    }

    /// Whether the topic's queues are simple or batch; `None` when it has none.
    pub fn kind_of(&self, topic: &str) -> Option<QueueKind> {
        self.topics.get(topic)?.first().map(|queue| queue.kind())
    }

    /// Appends an entry to a queue. After an error it is not there.
    pub fn append(&self, queue: &Arc<ConsumeQueue>, new: &NewEntry) -> io::Result<()> {
        self.context.limit_buffered()?;
        queue.append(&self.context, new)
    }

    /// The queue ids of a topic, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        self.topics.get(topic).map_or_else(Vec::new, |queues| {
            queues.iter().map(|queue| queue.queue_id()).collect()
        })
    }

    /// All topics that have a queue, unsorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().map(|entry| entry.key().to_string()).collect()
    }

    /// The topics that have a queue and are called so, unsorted.
    pub fn topics_where(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let topics = self.topics.iter().filter(|entry| is_wanted(entry.key()));
        topics.map(|entry| entry.key().to_string()).collect()
    }

    /// How many of them there are.
    pub fn count_topics_where(&self, is_wanted: impl Fn(&str) -> bool) -> usize {
        self.topics.iter().filter(|entry| is_wanted(entry.key())).count()
    }

    /// All queues, unsorted, as they are now.
    pub fn all(&self) -> Vec<Arc<ConsumeQueue>> {
        self.topics
            .iter()
            .flat_map(|entry| entry.value().to_vec())
            .collect()
    }

    /// All queues of a topic.
    pub fn all_of(&self, topic: &str) -> Vec<Arc<ConsumeQueue>> {
        self.topics
            .get(topic)
            .map_or_else(Vec::new, |queues| queues.to_vec())
    }

    /// How many queues there are.
    pub fn len(&self) -> usize {
        self.topics.iter().map(|entry| entry.value().len()).sum()
    }

    /// Takes a queue out and deletes its files.
    pub fn delete(&self, queue: &ConsumeQueue) -> io::Result<()> {
        let mut is_last = false;
        if let Some(mut queues) = self.topics.get_mut(queue.topic()) {
            queues.retain(|other| other.queue_id() != queue.queue_id());
            is_last = queues.is_empty();
        }
        if is_last {
            self.topics
                .remove_if(queue.topic(), |_, queues| queues.is_empty());
        }
        queue.delete(&self.context)?;
        if is_last {
            // Holds something else if this fails.
            let _ = self
                .context
                .disk
                .remove_dir(&self.context.root(queue.kind()).join(&**queue.topic()));
        }
        Ok(())
    }

    /// Gets entries to the disk, of all queues that have new ones; without `thorough` only of those with `least_pages`.
    /// Goes on after an error and reports the first.
    pub fn flush(&self, least_pages: u64, thorough: bool) -> io::Result<()> {
        let context = &self.context;
        let _flushing = context.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let has_full_page = context.has_full_page.swap(false, Ordering::AcqRel);
        if !has_full_page && !thorough {
            return Ok(());
        }
        let dirty = std::mem::take(&mut *context.lock_dirty()).queues;
        let mut result = Ok(());
        let mut unsynced = Vec::new();
        for queue in dirty {
            match queue.begin_flush(context, least_pages, thorough) {
                Ok(written) => unsynced.extend(written),
                Err(error) => {
                    context.note_full_page();
                    result = result.and(Err(error));
                }
            }
        }
        if unsynced.len() > SYNCED_ONE_BY_ONE {
            let synced = context.disk.sync_all(&context.store_root);
            for queue in unsynced {
                queue.finish(context, synced.is_ok());
            }
            return result.and(synced);
        }
        for queue in unsynced {
            let synced = queue.sync(context);
            queue.finish(context, synced.is_ok());
            result = result.and(synced);
        }
        result
    }

    fn insert(&self, queue: Arc<ConsumeQueue>) -> Arc<ConsumeQueue> {
        let mut queues = self.topics.entry(Arc::clone(queue.topic())).or_default();
        match queues.binary_search_by_key(&queue.queue_id(), |other| other.queue_id()) {
            Ok(index) => Arc::clone(&queues[index]),
            Err(index) => {
                queues.insert(index, Arc::clone(&queue));
                queue
            }
        }
    }
}

impl QueueContext {
    fn new(config: &MessageStoreConfig, disk: &Arc<dyn Disk>) -> Self {
        let place = |name: &str, file_size: usize, entry_bytes: usize| Place {
            root: config.root().join(name),
            file_size: file_size.max(1).next_multiple_of(entry_bytes) as u64,
        };
        Self {
            disk: Arc::clone(disk),
            open_files: OpenFiles::default(),
            simple: place(
                "consumequeue",
                config.mapped_file_size_consume_queue,
                SIMPLE_ENTRY_BYTES,
            ),
            batch: place(
                "batchconsumequeue",
                config.mapper_file_size_batch_consume_queue,
                BATCH_ENTRY_BYTES,
            ),
            store_root: config.root(),
            dirty: Mutex::default(),
            flushing: Mutex::default(),
            buffered_bytes: AtomicUsize::new(0),
            max_buffered_bytes: MAX_BUFFERED_BYTES,
            has_full_page: AtomicBool::new(false),
        }
    }

    /// The directory of a kind's topics.
    pub fn root(&self, kind: QueueKind) -> &Path {
        &self.place(kind).root
    }

    /// Length of a kind's files: whole entries.
    pub fn file_size(&self, kind: QueueKind) -> u64 {
        self.place(kind).file_size
    }

    fn place(&self, kind: QueueKind) -> &Place {
        match kind {
            QueueKind::Simple => &self.simple,
            QueueKind::Batch => &self.batch,
        }
    }

    pub(crate) fn add_dirty(&self, queue: Arc<ConsumeQueue>) {
        self.lock_dirty().queues.push(queue);
    }

    /// A tail's memory has changed.
    pub(crate) fn buffered(&self, before_bytes: usize, after_bytes: usize) {
        if after_bytes > before_bytes {
            self.buffered_bytes
                .fetch_add(after_bytes - before_bytes, Ordering::Relaxed);
        } else if after_bytes < before_bytes {
            self.buffered_bytes
                .fetch_sub(before_bytes - after_bytes, Ordering::Relaxed);
        }
    }

    /// A queue has so much that is not on disk that the next flush must look at it.
    pub(crate) fn note_full_page(&self) {
        self.has_full_page.store(true, Ordering::Release);
    }

    /// Writes tails, in the order in which queues became dirty, until the memory of all is below its limit.
    fn limit_buffered(&self) -> io::Result<()> {
        while self.buffered_bytes.load(Ordering::Relaxed) > self.max_buffered_bytes {
            let some: Vec<Arc<ConsumeQueue>> = {
                let mut dirty = self.lock_dirty();
                let from = dirty.next_to_write.min(dirty.queues.len());
                let to = (from + WRITTEN_AT_A_TIME).min(dirty.queues.len());
                dirty.next_to_write = if to == dirty.queues.len() { 0 } else { to };
                dirty.queues[from..to].to_vec()
            };
            if some.is_empty() {
                // A flush has taken them all, and writes them.
                return Ok(());
            }
            for queue in some {
                queue.write_out(self)?;
            }
        }
        Ok(())
    }

    fn lock_dirty(&self) -> std::sync::MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which queues have mapped files, and which of them lose theirs when there are too many: second chance, a cheap
/// approximation of least use.
#[derive(Debug, Default)]
pub struct OpenFiles {
    queues: Mutex<VecDeque<Weak<ConsumeQueue>>>,
}

impl OpenFiles {
    /// A queue has mapped a file. Unmaps files of others when there are too many.
    pub fn opened(&self, queue: &Arc<ConsumeQueue>) {
        let mut over = {
            let mut queues = self.lock();
            queues.push_back(Arc::downgrade(queue));
            queues.len().saturating_sub(MAX_OPEN_QUEUES)
        };
        // Two looks each: the first takes the mark of use away.
        for _ in 0..over * 2 {
            if over == 0 {
                return;
            }
            // The list is not locked while a queue is: a queue locks the list after itself nowhere.
            let Some(candidate) = self.lock().pop_front() else {
                return;
            };
            match candidate.upgrade() {
                Some(queue) if queue.close_unused_files() => self.lock().push_back(candidate),
                _ => over -= 1,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<ConsumeQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::get::QueueEntry;
    use crate::offset::{PhysicalOffset, QueueOffset};

    const QUEUES: i32 = 300;

    struct Bench {
        _directory: tempfile::TempDir,
        queues: ConsumeQueues,
        next_physical: u64,
    }

    fn bench(max_buffered_bytes: usize) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let config = MessageStoreConfig {
            store_path_root_dir: directory.path().to_str().unwrap().to_owned(),
            mapped_file_size_consume_queue: 20 * 8,
            ..MessageStoreConfig::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (mut queues, _) = ConsumeQueues::load(&config, &disk, Stopped::Cleanly, None).unwrap();
        queues.context.max_buffered_bytes = max_buffered_bytes;
        Bench {
            _directory: directory,
            queues,
            next_physical: 0,
        }
    }

    impl Bench {
        fn append(&mut self, queue_id: i32) {
            let queue = self.queues.find_or_create("T", queue_id, QueueKind::Simple);
            let entry = QueueEntry {
                queue_offset: QueueOffset(queue.max_offset()),
                physical_offset: PhysicalOffset(self.next_physical),
                size_bytes: 100,
                tags_code: 0,
                message_count: 1,
            };
            self.next_physical += 100;
            let new = NewEntry {
                entry,
                store_timestamp_ms: 0,
            };
            self.queues.append(&queue, &new).unwrap();
        }

        fn offsets(&self, queue_id: i32) -> Vec<u64> {
            let queue = self.queues.find("T", queue_id).unwrap();
            let (context, mut offsets) = (self.queues.context(), Vec::new());
            while let Some(run) = queue.run_from(context, offsets.len() as u64 * 20).unwrap() {
                offsets.extend(run.map(|entry| entry.queue_offset.0));
            }
            offsets
        }

        fn file(&self, queue_id: i32) -> PathBuf {
            let directory = self.queues.context.root(QueueKind::Simple).join("T");
            directory.join(queue_id.to_string()).join(format!("{:020}", 0))
        }
    }

    #[test]
    fn entries_are_read_wherever_they_are_in_files_in_memory_or_both() {
        let mut bench = bench(1_000);
        for round in 0..20 {
            for queue_id in 0..QUEUES {
                bench.append(queue_id);
            }
            if round == 5 || round == 11 {
                bench.queues.flush(0, true).unwrap();
            }
            for queue_id in [0, 1, QUEUES - 1] {
                assert_eq!(bench.offsets(queue_id), (0..=round).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn tails_take_no_more_memory_than_their_limit_and_one_entry() {
        let mut bench = bench(1_000);
        for number in 0..3_000 {
            bench.append(number * 7 % QUEUES);
            let buffered = bench.queues.context.buffered_bytes.load(Ordering::Relaxed);
            assert!(buffered <= 1_000 + 160, "{buffered}");
        }
        bench.queues.flush(0, true).unwrap();
        assert_eq!(bench.queues.context.buffered_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_whose_file_was_taken_away_goes_on_in_a_new_one() {
        let mut bench = bench(MAX_BUFFERED_BYTES);
        bench.append(0);
        bench.queues.flush(0, true).unwrap();
        std::fs::remove_file(bench.file(0)).unwrap();
        bench.append(0);
        bench.queues.flush(0, true).unwrap();
        let queue = bench.queues.find("T", 0).unwrap();
        let entry = queue.entry_at(bench.queues.context(), 20).unwrap().unwrap();
        assert_eq!(entry.queue_offset.0, 1);
    }
}
