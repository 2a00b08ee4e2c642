//! ConsumeQueues: the queues of all topics.
//!
//! There may be very many: nothing here walks over all of them except loading, retention and their note, and the number
//! of mapped files is bounded.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ScopedJoinHandle;

use dashmap::DashMap;
use smallvec::SmallVec;

use crate::config::MessageStoreConfig;
use crate::consume_queue::{
    BATCH_ENTRY_BYTES, ConsumeQueue, NewEntry, PAGE_BYTES, QueueKind, SIMPLE_ENTRY_BYTES, Stopped,
};
use crate::disk::Disk;
use crate::mapped_file_queue::list_files;
use crate::queue_note::{Draft, Noted, QueueNote, TopicEnds};
use crate::store::OpenError;

/// Most memory of all queues' tails; beyond it they are written, as far as their records are on disk.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
/// The same while a start builds queues from the log: making the files of very many takes minutes, and can wait.
const MAX_RECOVERED_BYTES: usize = 256 * 1024 * 1024;
/// How many queues one append writes when there is too much: more than it adds, so that what a start has left goes down, and so few
/// that messages do not wait for all of that.
const WRITTEN_BY_AN_APPEND: usize = 4;

/// With more queues than this to be synced, one sync of the file system costs less than one for each.
const SYNCED_ONE_BY_ONE: usize = 64;

/// With so many topics a start looks into them with [`LOADERS`] threads, most of which wait for the disk.
const LOADED_IN_TURN: usize = 1_000;
const LOADERS: usize = 8;

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
    /// The limit during recovery.
    max_recovered_bytes: usize,
    /// Entries of records that end beyond this must not be written yet; no limit during recovery.
    may_write_below: AtomicU64,
    /// The limit with which writing all that may be written did not make enough room.
    exhausted_below: AtomicU64,
    /// What the note on disk has; `None` without a note. Held while a note is put together and
    /// while one is taken away, so that none has a queue that is deleted meanwhile. After `flushing`, before a queue's.
    noted: Mutex<Option<NotedRecord>>,
    /// Some queue has a page or more that is not on disk.
    has_full_page: AtomicBool,
}

/// Queues with entries that are not on disk, each once.
#[derive(Debug, Default)]
struct Dirty {
    queues: Vec<Arc<ConsumeQueue>>,
    /// Whose tail is written next when tails take too much memory.
    next_to_write: usize,
    /// How many were looked at since it was less.
    looked_at: usize,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    file_size: u64,
}

/// The last record whose entries a note has; `None` in a store without records.
pub type NotedRecord = Option<u64>;

/// The queues of a topic, by queue id.
type TopicQueues = SmallVec<[Arc<ConsumeQueue>; 1]>;

/// Topics come from clients, so nobody may know where they go in a table. In the simulator the same seed must give the same order.
#[cfg(not(any(test, feature = "sim")))]
type TopicHash = foldhash::fast::RandomState;
#[cfg(any(test, feature = "sim"))]
type TopicHash = foldhash::fast::FixedState;

/// The queues of all topics.
#[derive(Debug)]
pub struct ConsumeQueues {
    context: QueueContext,
    topics: DashMap<Arc<str>, TopicQueues, TopicHash>,
    /// How many queues there are: asked for every second.
    count: AtomicUsize,
    /// Queues that are deleted, whose files the disk did not let go yet. Before `noted`: there is no note meanwhile that leaves them
    /// out, so that the next start finds them.
    doomed: Mutex<Vec<Arc<ConsumeQueue>>>,
    has_doomed: AtomicBool,
}

impl ConsumeQueues {
    /// Loads what the directories of all queues hold.
    pub fn load(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        stopped: Stopped,
    ) -> Result<Self, OpenError> {
        let queues = Self::empty(config, disk);
        for (kind, size_key) in [
            (QueueKind::Simple, "mappedFileSizeConsumeQueue"),
            (QueueKind::Batch, "mapperFileSizeBatchConsumeQueue"),
        ] {
            queues.load_kind(kind, size_key, stopped)?;
        }
        Ok(queues)
    }

    /// Takes the queues as they were noted, if the note can be believed; `log_file` is the one that the log ends in. Also
    /// gives the note's record.
    pub fn load_noted(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        is_clean: bool,
        log_file: Option<&Path>,
    ) -> Result<Option<(Self, NotedRecord)>, OpenError> {
        let root = config.root();
        let queues = Self::empty(config, disk);
        let noted = queues
            .note()
            .read(is_clean, log_file, queues.context.file_sizes())
            .map_err(OpenError::io("read the note of the queues in", &root))?;
        let Some(noted) = noted else {
            return Ok(None);
        };
        let record = noted.record;
        if let Err(error) = queues.restore(noted) {
            tracing::error!("looking into all queues: the note of the queues cannot be used: {error}");
            queues
                .note()
                .remove()
                .map_err(OpenError::io("remove the note of the queues in", &root))?;
            return Ok(None);
        }
        *queues.context.lock_noted() = Some(record);
        Ok(Some((queues, record)))
    }

    fn empty(config: &MessageStoreConfig, disk: &Arc<dyn Disk>) -> Self {
        Self {
            context: QueueContext::new(config, disk),
            topics: DashMap::default(),
            count: AtomicUsize::new(0),
            doomed: Mutex::default(),
            has_doomed: AtomicBool::new(false),
        }
    }

    fn restore(&self, mut noted: Noted) -> io::Result<()> {
        let mut directories: [HashSet<String>; 2] = Default::default();
        for (names, kind) in directories.iter_mut().zip([QueueKind::Simple, QueueKind::Batch]) {
            let listed = self.context.disk.list(self.context.root(kind))?;
            names.extend(listed.into_iter().map(|entry| entry.name));
        }
        while let Some(TopicEnds { topic, kind, queues }) = noted.next_topic()? {
            // Somebody took its queues away, to have them built anew.
            if !queues.is_empty() && !directories[usize::from(kind == QueueKind::Batch)].contains(&*topic) {
                return Err(io::Error::other(format!("the queues of {topic} are gone")));
            }
            let restored = |(id, ends)| Arc::new(ConsumeQueue::restored(kind, Arc::clone(&topic), id, ends));
            self.count.fetch_add(queues.len(), Ordering::Relaxed);
            let queues = queues.into_iter().map(restored).collect();
            self.topics.insert(topic, queues);
        }
        Ok(())
    }

    /// Where the queues are noted.
    pub fn note(&self) -> QueueNote<'_> {
        self.context.note()
    }

    /// Notes all queues, with the entries of records up to `record`, all of which are on disk; no queue's file has one of
    /// a record from `reach` on. Does nothing if that is noted already.
    pub fn write_note(&self, record: NotedRecord, reach: u64) -> io::Result<()> {
        let mut doomed = self.lock_doomed();
        self.remove_files_of(&mut doomed)?;
        let mut noted = self.context.lock_noted();
        if *noted == Some(record) {
            return Ok(());
        }
        let mut draft = Draft::new(record, self.context.file_sizes());
        let mut queues = Vec::new();
        // Sorted, so that the same store has the same note.
        let mut topics: Vec<Arc<str>> = self.topics.iter().map(|entry| Arc::clone(entry.key())).collect();
        topics.sort_unstable();
        for topic in topics {
            let of_topic = self.topics.get(&topic).map(|queues| queues.clone());
            queues.clear();
            for queue in of_topic.iter().flatten() {
                let ends = queue.ends(&self.context, reach)?;
                queues.extend(ends.map(|ends| (queue.queue_id(), ends)));
            }
            if let (Some(first), false) = (of_topic.iter().flatten().next(), queues.is_empty()) {
                draft.add(&topic, first.kind(), &queues);
            }
        }
        self.note().write(draft)?;
        *noted = Some(record);
        Ok(())
    }

    /// From where on a start after a crash would build the queues; `None` without a note.
    pub fn noted_from(&self) -> Option<u64> {
        self.context.lock_noted().map(|record| record.unwrap_or(0))
    }

    fn load_kind(&self, kind: QueueKind, size_key: &'static str, stopped: Stopped) -> Result<(), OpenError> {
        let topics = self.directories(self.context.root(kind))?;
        let load = |topic: &String| self.load_topic(kind, topic, size_key, stopped);
        if topics.len() < LOADED_IN_TURN {
            return topics.iter().try_for_each(load);
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let load_some = || {
                while let Some(topic) = topics.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The others stop as well: this start is over.
                    load(topic).inspect_err(|_| next.store(topics.len(), Ordering::Relaxed))?;
                }
                Ok(())
            };
            let loaders: Vec<_> = (0..LOADERS).map(|_| scope.spawn(load_some)).collect();
            let loaded =
                |loader: ScopedJoinHandle<'_, _>| loader.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaders.into_iter().try_for_each(loaded)
        })
    }

    fn load_topic(
        &self,
        kind: QueueKind,
        topic: &str,
        size_key: &'static str,
        stopped: Stopped,
    ) -> Result<(), OpenError> {
        let topic_directory = self.context.root(kind).join(topic);
        let topic = Arc::from(topic);
        for name in self.directories(&topic_directory)? {
            let Ok(queue_id) = name.parse::<i32>() else {
                continue;
            };
            let directory = topic_directory.join(&name);
            self.load_queue(kind, &topic, queue_id, &directory, size_key, stopped)?;
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

    /// The queue, made without files if it does not exist. Fails when the disk does not let go of a deleted one.
    pub fn find_or_create(
        &self,
        topic: &str,
        queue_id: i32,
        kind: QueueKind,
    ) -> io::Result<Arc<ConsumeQueue>> {
        if let Some(queue) = self.find(topic, queue_id) {
            return Ok(queue);
        }
        if self.has_doomed.load(Ordering::Acquire) {
            let mut doomed = self.lock_doomed();
            let is_same =
                |queue: &Arc<ConsumeQueue>| &**queue.topic() == topic && queue.queue_id() == queue_id;
            if doomed.iter().any(is_same) {
                self.remove_files_of(&mut doomed)?;
            }
        }
        // One copy of the name for all queues of a topic.
        let known = self.topics.get(topic).map(|entry| Arc::clone(entry.key()));
        let topic = known.unwrap_or_else(|| topic.into());
        Ok(self.insert(Arc::new(ConsumeQueue::new(kind, topic, queue_id))))
    }

    /// Whether the topic's queues are simple or batch; `None` when it has none.
    pub fn kind_of(&self, topic: &str) -> Option<QueueKind> {
        self.topics.get(topic)?.first().map(|queue| queue.kind())
    }

    /// Appends an entry to a queue. After an error it is not there.
    pub fn append(&self, queue: &Arc<ConsumeQueue>, new: &NewEntry) -> io::Result<()> {
        self.context.limit_buffered()?;
        queue.append(&self.context, new);
        Ok(())
    }

    /// Whether entries take too much memory because they may not be written yet.
    pub fn wait_for_log(&self) -> bool {
        let context = &self.context;
        context.buffered_bytes.load(Ordering::Relaxed) > context.buffered_limit()
            && context.exhausted_below.load(Ordering::Relaxed) == context.may_write_below()
    }

    /// The queue ids of a topic, ascending.
    pub fn queues_of(&self, topic: &str) -> Vec<i32> {
        self.topics.get(topic).map_or_else(Vec::new, |queues| {
            queues.iter().map(|queue| queue.queue_id()).collect()
        })
    }

    /// All topics that have a queue, unsorted.
    pub fn topics(&self) -> Vec<String> {
        self.topics_where(|_| true)
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
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a queue out and deletes its files. If that fails, they go before the next queue of its name is made.
    pub fn delete(&self, queue: &Arc<ConsumeQueue>) -> io::Result<()> {
        self.delete_all(std::slice::from_ref(queue))
    }

    /// The same for several queues: many are synced by one sync of the file system.
    pub fn delete_all(&self, queues: &[Arc<ConsumeQueue>]) -> io::Result<()> {
        let mut doomed = self.lock_doomed();
        for queue in queues {
            self.take_out(queue);
            doomed.push(Arc::clone(queue));
        }
        self.has_doomed.store(!doomed.is_empty(), Ordering::Release);
        self.remove_files_of(&mut doomed)
    }

    fn take_out(&self, queue: &Arc<ConsumeQueue>) {
        if let Some(mut queues) = self.topics.get_mut(queue.topic()) {
            let before = queues.len();
            queues.retain(|other| other.queue_id() != queue.queue_id());
            self.count.fetch_sub(before - queues.len(), Ordering::Relaxed);
        }
        self.topics
            .remove_if(queue.topic(), |_, queues| queues.is_empty());
    }

    fn remove_files_of(&self, doomed: &mut Vec<Arc<ConsumeQueue>>) -> io::Result<()> {
        if !doomed.is_empty() {
            self.context.forget_note()?;
        }
        if doomed.len() > SYNCED_ONE_BY_ONE {
            for queue in &*doomed {
                self.remove_files(queue, false)?;
            }
            self.context.disk.sync_all(&self.context.store_root)?;
            doomed.clear();
        }
        while let Some(queue) = doomed.last() {
            self.remove_files(queue, true)?;
            doomed.pop();
        }
        self.has_doomed.store(false, Ordering::Release);
        Ok(())
    }

    fn remove_files(&self, queue: &ConsumeQueue, syncs: bool) -> io::Result<()> {
        queue.delete(&self.context, syncs)?;
        if !self.topics.contains_key(queue.topic()) {
            let directory = self.context.root(queue.kind()).join(&**queue.topic());
            // Holds something else if this fails.
            let _ = self.context.disk.remove_dir(&directory);
        }
        Ok(())
    }

    fn lock_doomed(&self) -> MutexGuard<'_, Vec<Arc<ConsumeQueue>>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets entries to the disk, of all queues that have `least_pages` of new ones.
    pub fn flush_pages(&self, least_pages: u64) -> io::Result<()> {
        let has_full_page = self.context.has_full_page.swap(false, Ordering::AcqRel);
        if !has_full_page {
            return Ok(());
        }
        self.flush_below(least_pages.max(1) * PAGE_BYTES, u64::MAX)
    }

    /// Gets all entries of records that end at or below `limit` to the disk.
    pub fn flush(&self, limit: u64) -> io::Result<()> {
        self.context.has_full_page.store(false, Ordering::Release);
        self.flush_below(1, limit)
    }

    /// Goes on after an error and reports the first.
    fn flush_below(&self, least_bytes: u64, limit: u64) -> io::Result<()> {
        let context = &self.context;
        let _flushing = context.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let dirty = std::mem::take(&mut *context.lock_dirty()).queues;
        let mut result = Ok(());
        let mut unsynced = Vec::new();
        for queue in dirty {
            match queue.begin_flush(context, least_bytes, limit) {
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
                self.count.fetch_add(1, Ordering::Relaxed);
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
            max_recovered_bytes: MAX_RECOVERED_BYTES,
            may_write_below: AtomicU64::new(u64::MAX),
            exhausted_below: AtomicU64::new(0),
            noted: Mutex::default(),
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

    /// Entries of records that end beyond this are not written.
    pub fn may_write_below(&self) -> u64 {
        self.may_write_below.load(Ordering::Acquire)
    }

    /// The log is on disk below `limit`, and the checkpoint says so on the disk.
    pub fn let_write_below(&self, limit: u64) {
        self.may_write_below.store(limit, Ordering::Release);
    }

    fn note(&self) -> QueueNote<'_> {
        QueueNote {
            disk: &*self.disk,
            root: &self.store_root,
        }
    }

    /// Takes the note away, before something becomes of a queue that no replay would make of it.
    pub(crate) fn forget_note(&self) -> io::Result<()> {
        self.forget(&mut self.lock_noted())
    }

    fn forget(&self, noted: &mut Option<NotedRecord>) -> io::Result<()> {
        if noted.is_some() {
            self.note().remove()?;
            *noted = None;
        }
        Ok(())
    }

    fn lock_noted(&self) -> MutexGuard<'_, Option<NotedRecord>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_sizes(&self) -> [u64; 2] {
        [QueueKind::Simple, QueueKind::Batch].map(|kind| self.file_size(kind))
    }

    /// Writes some tails, in the order in which queues became dirty, when the memory of all is above its limit, and notes
    /// when nothing more may be written.
    fn limit_buffered(&self) -> io::Result<()> {
        let below = self.may_write_below();
        let is_above = || self.buffered_bytes.load(Ordering::Relaxed) > self.buffered_limit();
        if !is_above() || self.exhausted_below.load(Ordering::Relaxed) == below {
            return Ok(());
        }
        let some: SmallVec<[Arc<ConsumeQueue>; WRITTEN_BY_AN_APPEND]> = {
            let mut dirty = self.lock_dirty();
            let from = dirty.next_to_write.min(dirty.queues.len());
            let to = (from + WRITTEN_BY_AN_APPEND).min(dirty.queues.len());
            dirty.next_to_write = if to == dirty.queues.len() { 0 } else { to };
            dirty.looked_at += to - from;
            dirty.queues[from..to].into()
        };
        for queue in &some {
            queue.write_out(self)?;
        }
        let mut dirty = self.lock_dirty();
        if !is_above() {
            dirty.looked_at = 0;
        } else if !some.is_empty() && dirty.looked_at >= dirty.queues.len() {
            // Without any, a flush has taken them all, and writes them.
            dirty.looked_at = 0;
            self.exhausted_below.store(below, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Most memory of all tails now.
    fn buffered_limit(&self) -> usize {
        match self.may_write_below() {
            u64::MAX => self.max_recovered_bytes,
            _ => self.max_buffered_bytes,
        }
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
        let mut queues = ConsumeQueues::load(&config, &disk, Stopped::Cleanly).unwrap();
        queues.context.max_buffered_bytes = max_buffered_bytes;
        queues.context.max_recovered_bytes = max_buffered_bytes;
        Bench {
            _directory: directory,
            queues,
            next_physical: 0,
        }
    }

    /// A store whose queues 0 of some topics have files of `entries` slots, of which the first `filled` are entries.
    fn store_of(topics: usize, entries: usize, filled: usize) -> (tempfile::TempDir, MessageStoreConfig) {
        let directory = tempfile::tempdir().unwrap();
        let config = MessageStoreConfig {
            store_path_root_dir: directory.path().to_str().unwrap().to_owned(),
            mapped_file_size_consume_queue: 20 * entries,
            ..MessageStoreConfig::default()
        };
        let mut bytes = vec![0; 20 * entries];
        for number in 0..filled {
            let entry = &mut bytes[number * 20..];
            entry[..8].copy_from_slice(&(number as u64 * 100).to_be_bytes());
            entry[8..12].copy_from_slice(&100u32.to_be_bytes());
        }
        for topic in 0..topics {
            let file = file_of(&config, topic);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &bytes).unwrap();
        }
        (directory, config)
    }

    fn file_of(config: &MessageStoreConfig, topic: usize) -> PathBuf {
        config.root().join(format!("consumequeue/T{topic}/0/{:020}", 0))
    }

    const CRASHED: Stopped = Stopped::ByCrash { on_disk_below: 0 };

    fn load(config: &MessageStoreConfig, stopped: Stopped) -> Result<ConsumeQueues, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        ConsumeQueues::load(config, &disk, stopped)
    }

    #[test]
    fn the_queues_of_very_many_topics_are_all_loaded_or_the_broken_one_is_told() {
        let topics = LOADED_IN_TURN + 1;
        let (_directory, config) = store_of(topics, 8, 3);
        let queues = load(&config, Stopped::Cleanly).unwrap();
        let ends = (0..topics).map(|topic| queues.find(&format!("T{topic}"), 0).unwrap().max_offset());
        assert_eq!(ends.filter(|end| *end == 3).count(), topics);
        assert_eq!(queues.count.load(Ordering::Relaxed), topics);

        std::fs::write(file_of(&config, topics / 2), b"short").unwrap();
        assert!(matches!(
            load(&config, Stopped::Cleanly),
            Err(OpenError::FileSize { length: 5, .. })
        ));
    }

    #[test]
    fn a_queue_ends_where_its_entries_do_in_its_first_page_and_behind_it() {
        for filled in [1, 203, 204, 205, 500, 999, 1_000] {
            let (_directory, config) = store_of(1, 1_000, filled);
            for stopped in [Stopped::Cleanly, CRASHED] {
                let queues = load(&config, stopped).unwrap();
                let queue = queues.find("T0", 0).unwrap();
                let ends = (queue.max_offset(), queue.max_physical());
                assert_eq!(ends, (filled as u64, filled as u64 * 100), "{stopped:?}");
            }
        }
    }

    #[test]
    fn what_a_crash_left_behind_the_entries_is_cleared_also_pages_further_on() {
        for rest_at in [3 * 20 + 4, 4_090, 12_000] {
            let (_directory, config) = store_of(1, 1_000, 3);
            let mut bytes = std::fs::read(file_of(&config, 0)).unwrap();
            let sound = bytes.clone();
            bytes[rest_at] = 7;
            std::fs::write(file_of(&config, 0), &bytes).unwrap();
            let queues = load(&config, CRASHED).unwrap();
            assert_eq!(queues.find("T0", 0).unwrap().max_offset(), 3);
            assert_eq!(std::fs::read(file_of(&config, 0)).unwrap(), sound, "{rest_at}");
        }
    }

    impl Bench {
        fn append(&mut self, queue_id: i32) {
            let queue = self
                .queues
                .find_or_create("T", queue_id, QueueKind::Simple)
                .unwrap();
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
                bench.queues.flush(u64::MAX).unwrap();
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
        bench.queues.flush(u64::MAX).unwrap();
        assert_eq!(bench.queues.context.buffered_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_queue_whose_file_was_taken_away_goes_on_in_a_new_one() {
        let mut bench = bench(MAX_BUFFERED_BYTES);
        bench.append(0);
        bench.queues.flush(u64::MAX).unwrap();
        std::fs::remove_file(bench.file(0)).unwrap();
        bench.append(0);
        bench.queues.flush(u64::MAX).unwrap();
        let queue = bench.queues.find("T", 0).unwrap();
        let entry = queue.entry_at(bench.queues.context(), 20).unwrap().unwrap();
        assert_eq!(entry.queue_offset.0, 1);
    }
}
