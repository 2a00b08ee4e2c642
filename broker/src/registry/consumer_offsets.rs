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
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use common::clock::Clock;
use common::names::{self, LMQ_QUEUE_ID};
use common::planted_bug::{PlantedBug, is_planted};
use common::properties::Live;
use dashmap::DashMap;
use remoting::body::{ConsumerOffsetFile, DataVersion};
use store::MessageStoreConfig;

use super::persist::{ConfigDirectory, FlushLog, PersistError, Table, TableFile};
use crate::config::BrokerConfig;

/// Queues of one topic that a group may have offsets in. Queue ids come from clients unchecked.
pub const MAX_QUEUES: usize = 65_536;

const FILE_NAME: &str = "consumerOffset.json";
const LMQ_FILE_NAME: &str = "lmqConsumerOffset.json";
const SEPARATOR: char = '@';
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
    /// As [`ConsumerOffsets::written_ms`] gives it.
    written_ms: Option<i64>,
    /// As [`ConsumerOffsets::loaded_number`] gives it.
    loaded_number: u64,
    /// As [`ConsumerOffsets::write_number`] gives it.
    write_number: AtomicU64,
    flush_log: OnceLock<FlushLog>,
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
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
        store_config: &MessageStoreConfig,
    ) -> anyhow::Result<ConsumerOffsets> {
        let lmq_enabled = store_config.enable_lmq;
        let plain = config_dir.file(FILE_NAME);
        let (file, saved): (TableFile, Option<ConsumerOffsetFile>) = if lmq_enabled {
            let lmq = config_dir.file(LMQ_FILE_NAME);
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
        let loaded_number = saved.as_ref().and_then(|saved| saved.write_number).unwrap_or(0);
        let mut offsets = ConsumerOffsets {
            groups: DashMap::default(),
            unknown: FileTable::new(),
            version: Mutex::default(),
            warned_ms: AtomicI64::new(i64::MIN),
            file,
            clock,
            config,
            lmq_enabled,
            written_ms: saved.as_ref().map_or(Some(0), |saved| saved.written_time),
            loaded_number,
            write_number: AtomicU64::new(loaded_number),
            flush_log: OnceLock::new(),
        };
        offsets.fill(saved.unwrap_or_default());
        Ok(offsets)
    }

    /// Has `flush_log` called before each write of the file: what the offsets of pops rely on must be on the disk first.
    pub fn flush_log_first(&self, flush_log: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static) {
        // Set once, when the store is open.
        let _ = self.flush_log.set(Box::new(flush_log));
    }

    /// When the file that was read was written, ms: at 0 when there was none, for then no offset was ever written. `None`
    /// when the Java broker wrote it.
    pub fn written_ms(&self) -> Option<i64> {
        self.written_ms
    }

    /// Which write of the file is the one that was read; 0 without one.
    pub(super) fn loaded_number(&self) -> u64 {
        self.loaded_number
    }

    /// The newest write of the file, which may have failed. A change that was made before this is asked for is in every later one.
    pub(super) fn write_number(&self) -> u64 {
        self.write_number.load(Ordering::Acquire)
    }

    /// There was a write of this number: the next gets a higher one.
    pub(super) fn note_write(&self, number: u64) {
        self.write_number.fetch_max(number, Ordering::AcqRel);
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
        if old == Some(offset) {
            // Nothing to write: an idle consumer commits the same again and again.
            return;
        }
        if let Some(old) = old.filter(|old| offset < *old) {
            self.warn_of_step_back(client, group, topic, queue_id, offset, old);
        }
        self.committed();
    }

    /// Records how far a queue was pulled, for `consumerProgress`.
    pub fn commit_pull(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let old = self.put(group, topic, queue_id, offset, |offsets| &mut offsets.pulled);
        if old != Some(offset) {
            self.file.mark_changed();
        }
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

    /// Where the reset leads that waits for the consumer.
    pub(super) fn pending_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let queue_id = self.queue_of(group, queue_id);
        self.look(group, topic, |offsets| offsets.reset.get(&queue_id).copied())
            .flatten()
            .filter(|_| self.resets_enabled())
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

    /// The groups that have offsets; broadcast consumers are not among them.
    pub fn groups(&self) -> BTreeSet<String> {
        let all = self.groups.iter().map(|entry| entry.key().clone());
        all.filter(|group| !group.contains(SEPARATOR)).collect()
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

    /// Forgets everything about a topic in one group.
    pub fn remove(&self, group: &str, topic: &str) {
        let Some(found) = self.groups.get(group) else {
            return;
        };
        if lock(&found).remove(topic).is_some() {
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
        if is_planted(PlantedBug::LoseOffsetWrite) {
            return Ok(());
        }
        // The time first, then the snapshot, then the log: no offset counts as written that is not.
        self.flush_as_of(self.clock.wall_ms())
    }
}

impl ConsumerOffsets {
    /// Writes the file, changed or not. From now on [`Self::written_ms`] of the next start is `written_ms`.
    pub(crate) fn rewrite_as_of(&self, written_ms: i64) -> Result<(), PersistError> {
        self.file.mark_changed();
        self.flush_as_of(written_ms)
    }

    fn flush_as_of(&self, written_ms: i64) -> Result<(), PersistError> {
        self.file.flush_with(|| {
            // Before the snapshot: who makes a change later knows that this write may not hold it.
            let write_number = self.write_number.fetch_add(1, Ordering::AcqRel) + 1;
            let snapshot = self.snapshot();
            if let Some(flush_log) = self.flush_log.get() {
                flush_log().map_err(|source| PersistError::Prerequisite {
                    path: self.file.path().to_owned(),
                    source,
                })?;
            }
            Ok(ConsumerOffsetFile {
                written_time: Some(written_ms),
                write_number: Some(write_number),
                ..snapshot
            })
        })
    }
}

impl std::fmt::Debug for ConsumerOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerOffsets")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Home;

    const CLIENT: &str = "127.0.0.1:4000";

    fn saved(home: &Home, name: &str) -> ConsumerOffsetFile {
        remoting::body::fastjson::from_slice(home.text(name).as_bytes()).unwrap()
    }

    #[test]
    fn a_java_file_is_loaded_and_written_back_with_nothing_lost() {
        let home = Home::of_java();
        let before = saved(&home, FILE_NAME);
        let offsets = home.consumer_offsets();
        assert_eq!(offsets.query("FxCG", "FxTags", 1), Some(30));
        assert_eq!(offsets.query_pull("TOOLS_CONSUMER", "FxPlain", 3), Some(50));
        assert_eq!(
            offsets.query("TOOLS_CONSUMER", "FxPlain", 3),
            None,
            "pulled is not committed"
        );

        offsets.file().mark_changed();
        offsets.flush().unwrap();
        let mut after = saved(&home, FILE_NAME);
        let written_time = after.written_time.take();
        assert_eq!(after.write_number.take(), Some(1));
        assert_eq!((after, written_time), (before, Some(home.clock.wall_ms())));
        assert_eq!(
            (offsets.written_ms(), home.consumer_offsets().written_ms()),
            (None, written_time)
        );
        assert_eq!(Home::empty().consumer_offsets().written_ms(), Some(0));
    }

    #[test]
    fn odd_keys_of_the_file_come_back_as_they_were() {
        let home = Home::empty();
        let text = r#"{"offsetTable":{"t@g@broadcast":{0:4},"no-group":{0:1},"@g":{1:2},"t@g":{0:9}}}"#;
        std::fs::write(home.path().join(FILE_NAME), text).unwrap();
        let offsets = home.consumer_offsets();
        assert_eq!(offsets.query("g@broadcast", "t", 0), Some(4));
        assert_eq!(
            offsets.groups_of("t"),
            ["g".to_owned()].into(),
            "broadcast progress is no group"
        );

        let before = saved(&home, FILE_NAME).offset_table;
        offsets.commit(CLIENT, "g", "t", 0, 9);
        offsets.flush().unwrap();
        assert_eq!(saved(&home, FILE_NAME).offset_table, before);
    }

    #[test]
    fn what_is_committed_is_answered_even_if_it_goes_back() {
        let offsets = Home::empty().consumer_offsets();
        assert_eq!(offsets.query("g", "t", 0), None);
        offsets.commit(CLIENT, "g", "t", 0, 10);
        offsets.commit(CLIENT, "g", "t", 0, 7);
        offsets.commit(CLIENT, "g", "t", 1, 3);
        assert_eq!(offsets.query("g", "t", 0), Some(7));
        assert_eq!(offsets.offsets_of("g", "t"), [(0, 7), (1, 3)].into());
        assert_eq!(offsets.query("g", "t", 2), None);
    }

    #[test]
    fn a_reset_is_answered_until_the_consumer_has_taken_it_once() {
        let home = Home::empty();
        let offsets = home.consumer_offsets();
        offsets.commit(CLIENT, "g", "t", 0, 10);
        assert!(offsets.assign_reset("g", "t", 0, 4));
        assert!(offsets.has_reset("g", "t", 0) && !offsets.has_reset("g", "t", 1));

        offsets.commit(CLIENT, "g", "t", 0, 11);
        assert_eq!(
            offsets.query("g", "t", 0),
            Some(4),
            "a late commit does not hide the reset"
        );
        offsets.flush().unwrap();
        assert!(
            home.consumer_offsets().has_reset("g", "t", 0),
            "nor does a restart"
        );

        assert_eq!(offsets.take_reset("g", "t", 0), Some(4));
        assert_eq!(offsets.take_reset("g", "t", 0), None);
        assert!(!offsets.has_reset("g", "t", 0));
    }

    #[test]
    fn a_reset_of_an_offline_group_is_committed_at_once_and_illegal_ones_are_refused() {
        let home = Home::empty();
        let offsets = home.consumer_offsets();
        assert!(offsets.assign_reset("g", "t", 2, 4));
        assert_eq!(offsets.offsets_of("g", "t"), [(2, 4)].into());
        for (group, topic, queue_id, offset) in [
            ("", "t", 0, 0),
            ("g", "", 0, 0),
            ("g", "t", -1, 0),
            ("g", "t", 0, -1),
        ] {
            assert!(!offsets.assign_reset(group, topic, queue_id, offset));
        }

        home.config
            .update(|config| config.use_server_side_reset_offset = false);
        assert!(!offsets.has_reset("g", "t", 2));
        assert_eq!(offsets.take_reset("g", "t", 2), None);
    }

    #[test]
    fn removing_a_group_or_a_topic_forgets_all_it_has() {
        let offsets = Home::empty().consumer_offsets();
        for (group, topic) in [("g", "t"), ("g", "u"), ("h", "t")] {
            offsets.commit(CLIENT, group, topic, 0, 1);
            offsets.commit_pull(group, topic, 0, 2);
            offsets.assign_reset(group, topic, 0, 3);
        }
        assert_eq!(offsets.topics_of("g"), ["t".to_owned(), "u".to_owned()].into());
        assert_eq!(offsets.groups_of("t"), ["g".to_owned(), "h".to_owned()].into());

        offsets.remove_topic("t");
        assert_eq!(offsets.topics_of("g"), ["u".to_owned()].into());
        assert_eq!(offsets.query_pull("h", "t", 0), None);
        offsets.remove_group("g");
        let left = offsets.snapshot();
        assert!(
            left.offset_table.is_empty()
                && left.pull_offset_table.is_empty()
                && left.reset_offset_table.is_empty()
        );
    }

    #[test]
    fn offsets_can_be_cloned_to_another_group() {
        let offsets = Home::empty().consumer_offsets();
        offsets.commit(CLIENT, "g", "t", 0, 5);
        offsets.commit(CLIENT, "h", "t", 1, 6);
        offsets.clone_offsets("g", "h", "t");
        offsets.clone_offsets("missing", "g", "t");
        assert_eq!(offsets.offsets_of("h", "t"), [(0, 5)].into());
        assert_eq!(offsets.offsets_of("g", "t"), [(0, 5)].into());
    }

    #[test]
    fn the_least_offset_of_all_groups_leaves_out_the_hopeless_and_the_excluded() {
        let offsets = Home::empty().consumer_offsets();
        for (group, offset) in [("a", 50), ("b", 40), ("late", 3), ("x", 20)] {
            offsets.commit(CLIENT, group, "t", 0, offset);
        }
        assert_eq!(offsets.min_offsets("t", &["x"], |_| 10), [(0, 40)].into());
        assert_eq!(offsets.min_offsets("t", &[], |_| 10), [(0, 20)].into());
        assert_eq!(offsets.query("x", "t", 0), Some(20), "excluding removes nothing");
    }

    #[test]
    fn pulled_offsets_fall_back_to_committed_ones() {
        let offsets = Home::empty().consumer_offsets();
        offsets.commit(CLIENT, "g", "t", 0, 5);
        assert_eq!(offsets.query_pull("g", "t", 0), Some(5));
        offsets.commit_pull("g", "t", 0, 8);
        assert_eq!(offsets.query_pull("g", "t", 0), Some(8));
        offsets.clear_pull("g", "t");
        assert_eq!(offsets.query_pull("g", "t", 0), Some(5));
    }

    #[test]
    fn the_version_rises_every_so_many_commits() {
        let home = Home::empty();
        home.config
            .update(|config| config.consumer_offset_update_version_step = 2);
        let offsets = home.consumer_offsets();
        for offset in 0..5 {
            offsets.commit(CLIENT, "g", "t", 0, offset);
        }
        assert_eq!(offsets.data_version().counter, 2);
    }

    #[test]
    fn queue_ids_out_of_the_blue_do_not_fill_the_memory() {
        let offsets = Home::empty().consumer_offsets();
        for queue_id in 0..70_000 {
            offsets.commit(CLIENT, "g", "t", queue_id, 1);
        }
        assert_eq!(offsets.offsets_of("g", "t").len(), MAX_QUEUES);
        offsets.commit(CLIENT, "g", "t", 7, 2);
        assert_eq!(offsets.query("g", "t", 7), Some(2), "known queues go on");
    }

    #[test]
    fn with_lmq_the_other_file_is_used_and_light_queues_have_one_offset() {
        let mut home = Home::of_java();
        home.store_config.enable_lmq = true;
        let offsets = home.consumer_offsets();
        assert_eq!(
            offsets.query("FxCG", "FxTags", 1),
            Some(30),
            "the plain file is the start"
        );
        offsets.commit(CLIENT, "%LMQ%x", "%LMQ%x", 3, 12);
        assert_eq!(offsets.query("%LMQ%x", "%LMQ%x", 0), Some(12));
        offsets.flush().unwrap();

        let file = saved(&home, LMQ_FILE_NAME);
        assert_eq!(
            file.lmq_offset_table.unwrap(),
            [("%LMQ%x@%LMQ%x".to_owned(), 12)].into()
        );
        assert_eq!(home.consumer_offsets().query("%LMQ%x", "%LMQ%x", 9), Some(12));
        home.store_config.enable_lmq = false;
        assert_eq!(home.consumer_offsets().query("%LMQ%x", "%LMQ%x", 0), None);
    }

    #[test]
    fn commits_from_many_threads_are_all_kept() {
        let offsets = Home::empty().consumer_offsets();
        std::thread::scope(|scope| {
            for queue_id in 0..4 {
                let offsets = &offsets;
                scope.spawn(move || {
                    for offset in 0..2_000 {
                        offsets.commit(CLIENT, &format!("g{}", offset % 7), "t", queue_id, offset);
                    }
                });
            }
        });
        for group in 0..7 {
            let expected = (0..2_000).filter(|offset| offset % 7 == group).max().unwrap();
            let all = offsets.offsets_of(&format!("g{group}"), "t");
            assert_eq!(all, (0..4).map(|queue_id| (queue_id, expected)).collect());
        }
    }
}
