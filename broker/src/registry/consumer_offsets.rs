//! ConsumerOffsets: how far each group has consumed each queue, and the file `consumerOffset.json`.
//!
//! ```text
//!   group ── topic ── queue ── committed, pulled, reset
//! ```
//!
//! Committed by every consumer every few seconds and by many pulls: a known queue costs two lookups and no allocation.
//! In the file the key of a table is `topic@group`; it is split at its first `@`, so that the keys of broadcast
//! consumers (`topic@group@broadcast`) come back as they were, and a key without `@` is kept untouched.
//!
//! A reset by an operator is pending until the group's next pull takes it: queries answer it, commits of clients that do
//! not know of it yet must be ignored (the handler asks [`ConsumerOffsets::has_reset`]).
//!
//! Reference: `ConsumerOffsetManager`, `LmqConsumerOffsetManager`. Unlike there, pending resets and pulled offsets
//! survive a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use common::clock::Clock;
use common::names;
use common::properties::Live;
use dashmap::DashMap;
use remoting::body::{ConsumerOffsetFile, DataVersion};
use store::MessageStoreConfig;

use super::persist::{PersistError, Table, TableFile};
use crate::config::BrokerConfig;

/// Queues of one topic that a group may have offsets in. Queue ids come from clients unchecked.
pub const MAX_QUEUES: usize = 65_536;

const FILE_NAME: &str = "consumerOffset.json";
const LMQ_FILE_NAME: &str = "lmqConsumerOffset.json";
const SEPARATOR: char = '@';
/// A light message queue has one queue.
const LMQ_QUEUE_ID: i32 = 0;
/// Time between two warnings about commits that go back: a client that does so does it for every queue.
const WARNING_GAP_MS: i64 = 1_000;

/// Queue to offset.
type Queues = BTreeMap<i32, i64>;
/// `topic@group` to queue to offset, as in the file.
type FileTable = BTreeMap<String, Queues>;

/// The offsets of all groups.
pub struct ConsumerOffsets {
    groups: DashMap<String, Mutex<Group>, foldhash::fast::RandomState>,
    /// Entries of the file whose key names no group.
    unknown: FileTable,
    version: Mutex<DataVersion>,
    warned_ms: AtomicI64,
    file: TableFile,
    clock: Arc<dyn Clock>,
    config: Arc<Live<BrokerConfig>>,
    lmq_enabled: bool,
}

/// The offsets of one group, by topic.
type Group = HashMap<String, Offsets, foldhash::fast::RandomState>;

/// The offsets of one group in one topic.
#[derive(Debug, Default)]
struct Offsets {
    committed: Queues,
    pulled: Queues,
    /// Set by an operator, not yet seen by the consumer.
    reset: Queues,
}

impl Offsets {
    fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pulled.is_empty() && self.reset.is_empty()
    }
}

impl ConsumerOffsets {
    /// Reads `consumerOffset.json` in `config_dir`, or with `enableLmq` the file that takes its place.
    pub fn open(
        config_dir: &Path,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
        store_config: &MessageStoreConfig,
    ) -> anyhow::Result<ConsumerOffsets> {
        let lmq_enabled = store_config.enable_lmq;
        let plain = TableFile::new(config_dir.join(FILE_NAME));
        let (file, saved) = if lmq_enabled {
            let lmq = TableFile::new(config_dir.join(LMQ_FILE_NAME));
            // LMQ was switched on after the broker had consumers: their offsets are in the other file.
            let saved = match lmq.load(clock.wall_ms())? {
                Some(saved) => Some(saved),
                None => plain.load(clock.wall_ms())?,
            };
            (lmq, saved)
        } else {
            let saved = plain.load(clock.wall_ms())?;
            (plain, saved)
        };
        let mut offsets = ConsumerOffsets {
            groups: DashMap::default(),
            unknown: FileTable::new(),
            version: Mutex::default(),
            warned_ms: AtomicI64::new(i64::MIN),
            file,
            clock,
            config,
            lmq_enabled,
        };
        offsets.fill(saved.unwrap_or_default());
        Ok(offsets)
    }

    fn fill(&mut self, saved: ConsumerOffsetFile) {
        *self
            .version
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = saved.data_version;
        for (key, queues) in saved.offset_table {
            match key.split_once(SEPARATOR) {
                Some((topic, group)) => self.change(group, topic, |offsets| offsets.committed = queues),
                None => {
                    self.unknown.insert(key, queues);
                }
            }
        }
        for (key, queues) in saved.pull_offset_table {
            if let Some((topic, group)) = key.split_once(SEPARATOR) {
                self.change(group, topic, |offsets| offsets.pulled = queues);
            }
        }
        for (key, queues) in saved.reset_offset_table {
            if let Some((topic, group)) = key.split_once(SEPARATOR) {
                self.change(group, topic, |offsets| offsets.reset = queues);
            }
        }
        for (key, offset) in saved.lmq_offset_table.unwrap_or_default() {
            if let Some((topic, group)) = key.split_once(SEPARATOR) {
                self.change(group, topic, |offsets| {
                    offsets.committed.insert(LMQ_QUEUE_ID, offset);
                });
            }
        }
    }

    /// Where the group goes on in a queue: a pending reset, else the committed offset.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let queue_id = self.queue_of(group, queue_id);
        let resets = self.resets_enabled();
        self.look(group, topic, |offsets| {
            let pending = if resets {
                offsets.reset.get(&queue_id)
            } else {
                None
            };
            pending.or_else(|| offsets.committed.get(&queue_id)).copied()
        })
        .flatten()
    }

    /// Commits an offset. One below the committed offset counts too, with a warning, as in the reference.
    pub fn commit(&self, client: impl Display, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let queue_id = self.queue_of(group, queue_id);
        let old = self.put(group, topic, queue_id, offset, |offsets| &mut offsets.committed);
        if let Some(old) = old.filter(|old| offset < *old) {
            self.warn_of_step_back(client, group, topic, queue_id, offset, old);
        }
        self.committed();
    }

    /// Records how far a queue was pulled, for `consumerProgress`.
    pub fn commit_pull(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.put(group, topic, queue_id, offset, |offsets| &mut offsets.pulled);
        self.file.mark_changed();
    }

    /// How far a queue was pulled; without a record, what [`Self::query`] says.
    pub fn query_pull(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.look(group, topic, |offsets| offsets.pulled.get(&queue_id).copied())
            .flatten()
            .or_else(|| self.query(group, topic, queue_id))
    }

    /// Forgets how far the group pulled a topic.
    pub fn clear_pull(&self, group: &str, topic: &str) {
        self.change_existing(group, topic, |offsets| offsets.pulled.clear());
    }

    /// Makes the group go on at `offset`: pending until [`Self::take_reset`], and committed at once for groups that
    /// are offline. False, and nothing happens, for a negative queue or offset.
    pub fn assign_reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        if group.is_empty() || topic.is_empty() || queue_id < 0 || offset < 0 {
            tracing::warn!(
                group,
                topic,
                queue_id,
                offset,
                "reset of an offset refused: illegal arguments"
            );
            return false;
        }
        let queue_id = self.queue_of(group, queue_id);
        self.put(group, topic, queue_id, offset, |offsets| &mut offsets.reset);
        self.put(group, topic, queue_id, offset, |offsets| &mut offsets.committed);
        self.committed();
        true
    }

    /// Whether a reset waits for the consumer; its commits are then to be ignored.
    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        let queue_id = self.queue_of(group, queue_id);
        self.resets_enabled()
            && self
                .look(group, topic, |offsets| offsets.reset.contains_key(&queue_id))
                .unwrap_or(false)
    }

    /// Takes the pending reset to tell it to the consumer: each is told once.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if !self.has_reset(group, topic, queue_id) {
            return None;
        }
        let queue_id = self.queue_of(group, queue_id);
        let taken = self
            .look_mut(group, topic, |offsets| offsets.reset.remove(&queue_id))
            .flatten();
        self.file.mark_changed();
        taken
    }

    /// The committed offsets of a group in a topic, by queue.
    pub fn offsets_of(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.look(group, topic, |offsets| offsets.committed.clone())
            .unwrap_or_default()
    }

    /// The topics a group has committed offsets in.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        let Some(found) = self.groups.get(group) else {
            return BTreeSet::new();
        };
        lock(&found)
            .iter()
            .filter(|(_, offsets)| !offsets.committed.is_empty())
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// The groups that have committed offsets in a topic; broadcast consumers are not among them.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<String> {
        self.groups
            .iter()
            .filter(|entry| !entry.key().contains(SEPARATOR))
            .filter(|entry| {
                lock(entry.value())
                    .get(topic)
                    .is_some_and(|offsets| !offsets.committed.is_empty())
            })
            .map(|entry| entry.key().clone())
            .collect()
    }

    /// Forgets everything about a group.
    pub fn remove_group(&self, group: &str) {
        if self.groups.remove(group).is_some() {
            tracing::info!(group, "offsets of a group removed");
            self.file.mark_changed();
        }
    }

    /// Forgets everything about a topic, in all groups.
    pub fn remove_topic(&self, topic: &str) {
        let mut removed = false;
        self.groups.retain(|_, group| {
            let group = group.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
            removed |= group.remove(topic).is_some();
            !group.is_empty()
        });
        if removed {
            tracing::info!(topic, "offsets in a topic removed");
            self.file.mark_changed();
        }
    }

    /// Gives `target` the committed offsets of `source` in a topic, in place of its own.
    pub fn clone_offsets(&self, source: &str, target: &str, topic: &str) {
        let committed = self.offsets_of(source, topic);
        if committed.is_empty() {
            return;
        }
        self.change(target, topic, |offsets| offsets.committed = committed);
        self.committed();
    }

    /// Per queue of a topic, the least committed offset over all groups but `excluded`. Offsets below the queue's
    /// minimum belong to groups that lag behind the deleted messages and do not count.
    ///
    /// Reference: `queryMinOffsetInAllGroup`, which deletes the offsets of the excluded groups on the way.
    pub fn min_offsets(
        &self,
        topic: &str,
        excluded: &[&str],
        queue_min: impl Fn(i32) -> i64,
    ) -> BTreeMap<i32, i64> {
        let mut least = BTreeMap::new();
        for entry in &self.groups {
            if excluded.contains(&entry.key().as_str()) {
                continue;
            }
            let group = lock(entry.value());
            let Some(offsets) = group.get(topic) else { continue };
            for (&queue_id, &offset) in &offsets.committed {
                if offset >= queue_min(queue_id) {
                    least
                        .entry(queue_id)
                        .and_modify(|least: &mut i64| *least = (*least).min(offset))
                        .or_insert(offset);
                }
            }
        }
        least
    }

    /// The version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.lock_version()
    }

    /// Everything: the file's content and the answer to GET_ALL_CONSUMER_OFFSET.
    pub fn snapshot(&self) -> ConsumerOffsetFile {
        let mut file = ConsumerOffsetFile {
            data_version: self.data_version(),
            offset_table: self.unknown.clone(),
            lmq_offset_table: self.lmq_enabled.then(BTreeMap::new),
            ..ConsumerOffsetFile::default()
        };
        for entry in &self.groups {
            let group = entry.key();
            for (topic, offsets) in lock(entry.value()).iter() {
                self.write_offsets(group, topic, offsets, &mut file);
            }
        }
        file
    }

    fn write_offsets(&self, group: &str, topic: &str, offsets: &Offsets, file: &mut ConsumerOffsetFile) {
        let key = format!("{topic}{SEPARATOR}{group}");
        if let Some(lmq_offset_table) = file.lmq_offset_table.as_mut().filter(|_| self.is_lmq(group)) {
            if let Some(&offset) = offsets.committed.get(&LMQ_QUEUE_ID) {
                lmq_offset_table.insert(key.clone(), offset);
            }
        } else if !offsets.committed.is_empty() {
            if !group.contains(SEPARATOR) {
                file.group_topic_map
                    .entry(group.to_owned())
                    .or_default()
                    .insert(topic.to_owned());
            }
            file.offset_table.insert(key.clone(), offsets.committed.clone());
        }
        for (queues, table) in [
            (&offsets.pulled, &mut file.pull_offset_table),
            (&offsets.reset, &mut file.reset_offset_table),
        ] {
            if !queues.is_empty() {
                table.insert(key.clone(), queues.clone());
            }
        }
    }

    /// Sets one offset and returns the old one. A queue id too many is dropped.
    fn put(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        table: impl Fn(&mut Offsets) -> &mut Queues,
    ) -> Option<i64> {
        let set = |offsets: &mut Offsets| {
            let queues = table(offsets);
            if queues.len() >= MAX_QUEUES && !queues.contains_key(&queue_id) {
                tracing::warn!(
                    group,
                    topic,
                    queue_id,
                    limit = MAX_QUEUES,
                    "offset not kept: too many queues"
                );
                return None;
            }
            queues.insert(queue_id, offset)
        };
        if let Some(old) = self.look_mut(group, topic, set) {
            return old;
        }
        self.change(group, topic, set)
    }

    /// Reads the offsets of a group in a topic, if there are any.
    fn look<R>(&self, group: &str, topic: &str, read: impl FnOnce(&Offsets) -> R) -> Option<R> {
        let found = self.groups.get(group)?;
        let group = lock(&found);
        group.get(topic).map(read)
    }

    /// Changes the offsets of a group in a topic, if there are any.
    fn look_mut<R>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Offsets) -> R) -> Option<R> {
        let found = self.groups.get(group)?;
        let mut group = lock(&found);
        group.get_mut(topic).map(change)
    }

    /// Changes the offsets of a group in a topic, which are made if there are none.
    fn change<R>(&self, group: &str, topic: &str, change: impl FnOnce(&mut Offsets) -> R) -> R {
        let mut entry = self.groups.entry(group.to_owned()).or_default();
        let group = entry.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(group.entry(topic.to_owned()).or_default())
    }

    fn change_existing(&self, group: &str, topic: &str, change: impl FnOnce(&mut Offsets)) {
        let Some(found) = self.groups.get(group) else {
            return;
        };
        let mut topics = lock(&found);
        let Some(offsets) = topics.get_mut(topic) else {
            return;
        };
        change(offsets);
        if offsets.is_empty() {
            topics.remove(topic);
        }
        drop(topics);
        self.file.mark_changed();
    }

    /// After a commit: marks the file, and every so many commits raises the version.
    fn committed(&self) {
        let step = self
            .config
            .get()
            .consumer_offset_update_version_step
            .max(1)
            .unsigned_abs();
        if self.file.mark_changed().is_multiple_of(step) {
            self.lock_version().next(self.clock.wall_ms());
        }
    }

    #[cold]
    fn warn_of_step_back(
        &self,
        client: impl Display,
        group: &str,
        topic: &str,
        queue_id: i32,
        offset: i64,
        old: i64,
    ) {
        let now_ms = self.clock.wall_ms();
        let warned_ms = self.warned_ms.load(Ordering::Relaxed);
        let due = now_ms.saturating_sub(warned_ms) >= WARNING_GAP_MS;
        let mine = due
            && self
                .warned_ms
                .compare_exchange(warned_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            tracing::warn!(%client, group, topic, queue_id, offset, old, "consumer offset goes back");
        }
    }

    fn resets_enabled(&self) -> bool {
        self.config.get().use_server_side_reset_offset
    }

    fn queue_of(&self, group: &str, queue_id: i32) -> i32 {
        if self.is_lmq(group) {
            LMQ_QUEUE_ID
        } else {
            queue_id
        }
    }

    fn is_lmq(&self, group: &str) -> bool {
        self.lmq_enabled && group.starts_with(names::LMQ_PREFIX)
    }

    fn lock_version(&self) -> MutexGuard<'_, DataVersion> {
        self.version
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    group.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Table for ConsumerOffsets {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.snapshot()))
    }
}

impl std::fmt::Debug for ConsumerOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerOffsets")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}
