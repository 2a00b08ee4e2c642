//! ConsumeQueues: the queues of all topics.
//!
//! There may be very many: nothing here walks over all of them except loading and retention, and the number of
//! mapped files is bounded.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use smallvec::SmallVec;

use crate::config::MessageStoreConfig;
use crate::consume_queue::{
    BATCH_ENTRY_BYTES, ConsumeQueue, NewEntry, QueueKind, SIMPLE_ENTRY_BYTES, Stopped,
};
use crate::disk::Disk;
use crate::mapped_file_queue::list_files;
use crate::store::OpenError;

/// Most queues with mapped files. The kernel's default limit of mappings is 65530 for the whole process.
const MAX_OPEN_QUEUES: usize = 16_384;

/// What every queue needs to reach its files.
#[derive(Debug)]
pub struct QueueContext {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) open_files: OpenFiles,
    simple: Place,
    batch: Place,
    /// Queues with entries that are not on disk, each once.
    dirty: Mutex<Vec<Arc<ConsumeQueue>>>,
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
    /// Loads what the queues' directories hold.
    pub fn load(
        config: &MessageStoreConfig,
        disk: &Arc<dyn Disk>,
        stopped: Stopped,
    ) -> Result<Self, OpenError> {
        let queues = Self {
            context: QueueContext::new(config, disk),
            topics: DashMap::default(),
        };
        for (kind, size_key) in [
            (QueueKind::Simple, "mappedFileSizeConsumeQueue"),
            (QueueKind::Batch, "mapperFileSizeBatchConsumeQueue"),
        ] {
            queues.load_kind(kind, size_key, stopped)?;
        }
        Ok(queues)
    }

    fn load_kind(&self, kind: QueueKind, size_key: &'static str, stopped: Stopped) -> Result<(), OpenError> {
        let root = self.context.root(kind);
        for topic in self.directories(root)? {
            let topic_directory = root.join(&topic);
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
        topic: &str,
        queue_id: i32,
        directory: &Path,
        size_key: &'static str,
        stopped: Stopped,
    ) -> Result<(), OpenError> {
        let file_size = usize::try_from(self.context.file_size(kind)).expect("the size was a usize");
        let files = list_files(&*self.context.disk, directory, file_size, size_key)?;
        let mut starts: Vec<u64> = files.into_iter().map(|(start, _)| start).collect();
        starts.sort_unstable();
        let loaded = ConsumeQueue::load(&self.context, kind, topic.into(), queue_id, &starts, stopped)
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
        self.find(topic, queue_id)
            .unwrap_or_else(|| self.insert(Arc::new(ConsumeQueue::new(kind, topic.into(), queue_id))))
    }

    /// Whether the topic's queues are simple or batch; `None` when it has none.
    pub fn kind_of(&self, topic: &str) -> Option<QueueKind> {
        self.topics.get(topic)?.first().map(|queue| queue.kind())
    }

    /// Appends an entry to a queue.
    pub fn append(&self, queue: &Arc<ConsumeQueue>, new: &NewEntry) -> io::Result<()> {
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

    /// Gets entries to the disk, of all queues that have new ones. Goes on after an error and reports the first.
    pub fn flush(&self, least_pages: u64, thorough: bool) -> io::Result<()> {
        let dirty = std::mem::take(&mut *self.context.lock_dirty());
        let mut result = Ok(());
        for queue in dirty {
            result = result.and(queue.flush(&self.context, least_pages, thorough));
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
            dirty: Mutex::default(),
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
        self.lock_dirty().push(queue);
    }

    fn lock_dirty(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ConsumeQueue>>> {
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
