//! Topics: the topic table and its file `topics.json`.
//!
//! ```text
//!   open ── system topics, then what topics.json says over them
//!   get ── every send and pull: one sharded read
//!   create_on_send ── a producer's first message: inherits from a template topic
//!   put, remove ── an operator
//! ```
//!
//! A change raises the DataVersion under one lock, then is in the table, then marks the file and calls the listener
//! (registration with the name servers). Reference: `TopicConfigManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use common::clock::Clock;
use common::names;
use common::properties::Live;
use dashmap::DashMap;
use remoting::body::{DataVersion, TopicConfig, TopicConfigSerializeWrapper, fastjson};
use serde::{Deserialize, Serialize};
use store::MessageStoreConfig;

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};
use crate::config::BrokerConfig;

/// Permission bits of a topic. Reference: `PermName`.
pub mod perm {
    /// New topics may inherit from it.
    pub const INHERIT: i32 = 1;
    /// Producers may send.
    pub const WRITE: i32 = 2;
    /// Consumers may read.
    pub const READ: i32 = 4;
}

/// With so many topics, sends create no more of them: a client with a bug must not fill the disk with queues.
/// Operators may still create any number.
pub const AUTO_CREATE_LIMIT: usize = 100_000;

/// With so many topics a change is always appended to a file beside `topics.json`, which is written after a while; with
/// fewer, only if `topics.json` has just been written.
const APPEND_FROM_TOPICS: usize = 1_000;
/// Most changes that are kept to be appended; beyond it the whole file is written.
const UNSAVED_LIMIT: usize = 10_000;

const FILE_NAME: &str = "topics.json";
const SCHEDULE_QUEUES: i32 = 18;
const BENCHMARK_QUEUES: i32 = 1024;
const CLUSTER_QUEUES: i32 = 16;

type ChangeListener = Box<dyn Fn(Change<'_>) + Send + Sync>;

/// What has changed in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// One topic was created or changed.
    Put(&'a str),
    /// Anything else.
    Other,
}

/// The topics of this broker.
pub struct Topics {
    table: DashMap<String, Arc<TopicConfig>, foldhash::fast::RandomState>,
    /// Held through every change: two changes must not build on the same old entry.
    version: Mutex<DataVersion>,
    /// Changes that are in no file yet, oldest first. Changed with `version` locked.
    unsaved: Mutex<Vec<SavedChange>>,
    file: TableFile,
    clock: Arc<dyn Clock>,
    config: Arc<Live<BrokerConfig>>,
    system_topics: BTreeSet<String>,
    on_change: OnceLock<ChangeListener>,
    /// Light message queues are not kept: any such name is a topic of one queue.
    lmq_enabled: bool,
}

impl Topics {
    /// Reads `topics.json` in `config_dir` and adds the system topics it lacks.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
        store_config: &MessageStoreConfig,
    ) -> anyhow::Result<Topics> {
        let file = config_dir.file(FILE_NAME);
        let saved: Option<TopicConfigSerializeWrapper> = file.load(clock.wall_ms())?;
        let created = system_topics(&config.get(), store_config);
        let changes: Vec<SavedChange> = file.load_lines()?;
        let topics = Topics {
            table: DashMap::default(),
            version: Mutex::default(),
            unsaved: Mutex::default(),
            file,
            system_topics: system_topic_names(&created),
            clock,
            config,
            on_change: OnceLock::new(),
            lmq_enabled: store_config.enable_lmq,
        };
        for topic in created {
            topics.insert(topic);
        }
        match saved {
            Some(saved) => topics.fill(saved),
            None => {
                topics.file.mark_changed();
            }
        }
        topics.catch_up(changes);
        Ok(topics)
    }

    /// Takes over changes that a crash left beside the file, unless the file is newer: this broker's, or one that
    /// another broker wrote meanwhile.
    fn catch_up(&self, changes: Vec<SavedChange>) {
        let mut version = self.lock();
        for SavedChange {
            version: made,
            put,
            removed,
        } in changes
        {
            if made.counter <= version.counter || made.timestamp < version.timestamp {
                continue;
            }
            *version = made;
            if let Some(topic) = put {
                self.insert(topic);
            }
            if let Some(topic) = removed {
                self.table.remove(&topic);
            }
        }
    }

    fn fill(&self, saved: TopicConfigSerializeWrapper) {
        *self.lock() = saved.data_version;
        for (name, mut topic) in saved.topic_config_table {
            topic.topic_name = name;
            self.insert(topic);
        }
    }

    /// Calls `listener` after every change of the table; the first one set stays.
    pub fn on_change(&self, listener: impl Fn(Change<'_>) + Send + Sync + 'static) {
        // One listener by design: the registration.
        let _ = self.on_change.set(Box::new(listener));
    }

    /// The configuration of a topic.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        if self.is_lmq(topic) {
            return Some(Arc::new(TopicConfig::new(topic, 1)));
        }
        self.table.get(topic).map(|found| Arc::clone(&found))
    }

    /// Whether the topic exists.
    pub fn contains(&self, topic: &str) -> bool {
        self.is_lmq(topic) || self.table.contains_key(topic)
    }

    /// Number of topics.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no topic at all.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether the topic's messages must stay in order.
    pub fn is_order(&self, topic: &str) -> bool {
        self.table.get(topic).is_some_and(|found| found.order)
    }

    /// The topic of a producer's first message: made from `default_topic` if that exists and may be inherited from.
    ///
    /// `queue_nums` is what the producer wants, the template's write queues are the limit; the topic then exists
    /// whoever made it. Reference: `createTopicInSendMessageMethod`.
    pub fn create_on_send(
        &self,
        topic: &str,
        default_topic: &str,
        queue_nums: i32,
        sys_flag: i32,
        remote: SocketAddr,
    ) -> Option<Arc<TopicConfig>> {
        let created = {
            let mut version = self.lock();
            if let Some(existing) = self.get(topic) {
                return Some(existing);
            }
            let template = self.template(topic, default_topic, remote)?;
            let queue_nums = queue_nums.min(template.write_queue_nums).max(0);
            let config = TopicConfig {
                perm: template.perm & !perm::INHERIT,
                topic_sys_flag: sys_flag,
                topic_filter_type: template.topic_filter_type,
                ..TopicConfig::new(topic, queue_nums)
            };
            tracing::info!(topic, default_topic, queue_nums, %remote, "topic created by a send");
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(topic));
        Some(created)
    }

    /// A topic the broker makes for a group: retry, dead letters. Of an existing one only `order` is changed.
    ///
    /// Bounded by the number of groups. Reference: `createTopicInSendMessageBackMethod`.
    pub fn create_on_send_back(
        &self,
        topic: &str,
        queue_nums: i32,
        perm: i32,
        order: bool,
        sys_flag: i32,
    ) -> Arc<TopicConfig> {
        // Every heartbeat comes here: no lock when nothing changes.
        if let Some(existing) = self.get(topic).filter(|existing| existing.order == order) {
            return existing;
        }
        let changed = {
            let mut version = self.lock();
            let config = match self.get(topic) {
                Some(existing) if existing.order == order => return existing,
                Some(existing) => TopicConfig {
                    order,
                    ..(*existing).clone()
                },
                None => TopicConfig {
                    perm,
                    order,
                    topic_sys_flag: sys_flag,
                    ..TopicConfig::new(topic, queue_nums)
                },
            };
            tracing::info!(topic, order, "topic created or changed for a group");
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(topic));
        changed
    }

    /// Puts `config` if the topic does not exist; returns what then exists. Reference: `createTopicIfAbsent`.
    pub fn create_if_absent(&self, config: TopicConfig) -> Arc<TopicConfig> {
        let created = {
            let mut version = self.lock();
            if let Some(existing) = self.get(&config.topic_name) {
                return existing;
            }
            tracing::info!(topic = config.topic_name, "topic created");
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(&created.topic_name));
        created
    }

    /// Creates or replaces a topic as it stands; merging of attributes is the caller's.
    pub fn put(&self, config: TopicConfig) -> Arc<TopicConfig> {
        if self.is_lmq(&config.topic_name) {
            return Arc::new(config);
        }
        let put = {
            let mut version = self.lock();
            tracing::info!(topic = config.topic_name, old = ?self.get(&config.topic_name), new = ?config, "topic put");
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(&put.topic_name));
        put
    }

    /// Creates or replaces a topic by what `change` makes of it as it is now; `None` when it does not exist.
    pub fn put_with<E>(
        &self,
        topic: &str,
        change: impl FnOnce(Option<&TopicConfig>) -> Result<TopicConfig, E>,
    ) -> Result<Arc<TopicConfig>, E> {
        if self.is_lmq(topic) {
            return change(self.get(topic).as_deref()).map(Arc::new);
        }
        let put = {
            let mut version = self.lock();
            let old = self.get(topic);
            let config = change(old.as_deref())?;
            tracing::info!(topic, ?old, new = ?config, "topic put");
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(topic));
        Ok(put)
    }

    /// Changes an existing topic in place, e.g. one of its flags; `None` when it does not exist.
    pub fn update(&self, topic: &str, change: impl FnOnce(&mut TopicConfig)) -> Option<Arc<TopicConfig>> {
        if self.is_lmq(topic) {
            return self.get(topic);
        }
        let updated = {
            let mut version = self.lock();
            let mut config = (*self.get(topic)?).clone();
            change(&mut config);
            self.commit(&mut version, config)
        };
        self.changed(Change::Put(topic));
        Some(updated)
    }

    /// Raises the version without a change of any topic: name servers look at what is registered only then, and it
    /// depends on `brokerPermission` too.
    pub fn raise_version(&self) {
        {
            let mut version = self.lock();
            version.next(self.clock.wall_ms());
            self.note(*version, None, None);
        }
        self.changed(Change::Other);
    }

    /// Removes a topic; false when it does not exist.
    pub fn remove(&self, topic: &str) -> bool {
        {
            let mut version = self.lock();
            let Some((_, removed)) = self.table.remove(topic) else {
                return false;
            };
            tracing::info!(topic, ?removed, "topic removed");
            version.next(self.clock.wall_ms());
            self.note(*version, None, Some(topic.to_owned()));
        }
        self.changed(Change::Other);
        true
    }

    /// The version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.lock()
    }

    /// The table, sorted.
    pub fn snapshot(&self) -> BTreeMap<String, Arc<TopicConfig>> {
        self.table
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect()
    }

    /// The table with the version that belongs to it.
    pub fn snapshot_with_version(&self) -> (DataVersion, BTreeMap<String, Arc<TopicConfig>>) {
        let version = self.lock();
        (*version, self.snapshot())
    }

    /// Whether the topic belongs to the broker: the fixed names, and those made from cluster and broker name.
    pub fn is_system(&self, topic: &str) -> bool {
        names::is_system_topic(topic) || self.system_topics.contains(topic)
    }

    /// All topics that belong to the broker, whether they exist or not. Reference: `TopicValidator.getSystemTopicSet`.
    pub fn system_topics(&self) -> &BTreeSet<String> {
        &self.system_topics
    }

    /// The template, if sends may make topics from it now.
    fn template(&self, topic: &str, default_topic: &str, remote: SocketAddr) -> Option<Arc<TopicConfig>> {
        let Some(template) = self.get(default_topic) else {
            tracing::warn!(topic, default_topic, %remote, "topic not created: the default topic does not exist");
            return None;
        };
        let switched_off =
            default_topic == names::AUTO_CREATE_TOPIC && !self.config.get().auto_create_topic_enable;
        if switched_off || template.perm & perm::INHERIT == 0 {
            tracing::warn!(topic, default_topic, perm = template.perm, %remote, "topic not created: the default topic may not be inherited from");
            return None;
        }
        if self.table.len() >= AUTO_CREATE_LIMIT {
            tracing::warn!(topic, limit = AUTO_CREATE_LIMIT, %remote, "topic not created: too many topics, create it with updateTopic");
            return None;
        }
        Some(template)
    }

    fn is_lmq(&self, topic: &str) -> bool {
        self.lmq_enabled && topic.starts_with(names::LMQ_PREFIX)
    }

    fn commit(&self, version: &mut MutexGuard<'_, DataVersion>, config: TopicConfig) -> Arc<TopicConfig> {
        version.next(self.clock.wall_ms());
        self.note(**version, Some(config.clone()), None);
        self.insert(config)
    }

    /// Keeps a change until it is in a file. With the version locked.
    fn note(&self, version: DataVersion, put: Option<TopicConfig>, removed: Option<String>) {
        let is_cheap_whole = self.table.len() < APPEND_FROM_TOPICS && self.file.is_whole_due();
        let mut unsaved = self.lock_unsaved();
        if is_cheap_whole || unsaved.len() >= UNSAVED_LIMIT {
            self.file.need_whole();
            return;
        }
        unsaved.push(SavedChange {
            version,
            put,
            removed,
        });
    }

    fn insert(&self, config: TopicConfig) -> Arc<TopicConfig> {
        let config = Arc::new(config);
        self.table.insert(config.topic_name.clone(), Arc::clone(&config));
        config
    }

    /// After the lock is released: the listener may look at the table.
    fn changed(&self, change: Change<'_>) {
        self.file.mark_changed();
        if let Some(listener) = self.on_change.get() {
            listener(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, DataVersion> {
        self.version
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock_unsaved(&self) -> MutexGuard<'_, Vec<SavedChange>> {
        self.unsaved
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn to_lines(&self, unsaved: &[SavedChange]) -> Result<Vec<u8>, PersistError> {
        let mut lines = Vec::new();
        for change in unsaved {
            let line = fastjson::to_vec(change).map_err(|source| PersistError::Encode {
                path: self.file.path().to_owned(),
                source,
            })?;
            lines.extend(line);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    fn to_file(&self) -> TopicConfigSerializeWrapper {
        let (data_version, table) = {
            let version = self.lock();
            self.lock_unsaved().clear();
            (*version, self.snapshot())
        };
        TopicConfigSerializeWrapper {
            data_version,
            topic_config_table: table
                .into_iter()
                .map(|(name, config)| (name, (*config).clone()))
                .collect(),
        }
    }
}

impl Table for Topics {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.to_file()))
    }

    fn secure(&self) -> Result<(), PersistError> {
        let is_secure = self.file.secure_with(|| {
            let unsaved = std::mem::take(&mut *self.lock_unsaved());
            self.to_lines(&unsaved)
        })?;
        if is_secure { Ok(()) } else { self.flush() }
    }
}

/// A change of the table as a line beside its file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SavedChange {
    /// The version that it made.
    pub version: DataVersion,
    /// A topic as it is since.
    pub put: Option<TopicConfig>,
    /// The name of one that is gone.
    pub removed: Option<String>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics")
            .field("len", &self.table.len())
            .finish_non_exhaustive()
    }
}

/// The topics every broker has from its first start. Reference: `TopicConfigManager.init`.
fn system_topics(config: &BrokerConfig, store_config: &MessageStoreConfig) -> Vec<TopicConfig> {
    const READ_WRITE: i32 = perm::READ | perm::WRITE;
    let inherited = |enabled: bool| perm::INHERIT | if enabled { READ_WRITE } else { 0 };
    let topic = |name: &str, queue_nums: i32, perm: i32| TopicConfig {
        perm,
        ..TopicConfig::new(name, queue_nums)
    };
    let (cluster, broker) = (&config.broker_cluster_name, &config.broker_name);

    let mut topics = vec![
        topic(names::SELF_TEST_TOPIC, 1, READ_WRITE),
        topic(names::BENCHMARK_TOPIC, BENCHMARK_QUEUES, READ_WRITE),
        topic(cluster, CLUSTER_QUEUES, inherited(config.cluster_topic_enable)),
        topic(broker, 1, inherited(config.broker_topic_enable)),
        topic(names::OFFSET_MOVED_EVENT, 1, READ_WRITE),
        topic(names::SCHEDULE_TOPIC, SCHEDULE_QUEUES, READ_WRITE),
        topic(&format!("{cluster}{}", names::REPLY_TOPIC_SUFFIX), 1, READ_WRITE),
        topic(
            &format!("{}{cluster}", names::REVIVE_LOG_PREFIX),
            config.revive_queue_num,
            READ_WRITE,
        ),
        topic(
            &format!("{}{broker}", names::SYNC_BROKER_MEMBER_PREFIX),
            1,
            perm::INHERIT,
        ),
        topic(names::TRANS_HALF_TOPIC, 1, READ_WRITE),
        topic(names::TRANS_OP_HALF_TOPIC, 1, READ_WRITE),
        topic(names::ROCKSDB_TRANS_HALF_TOPIC, 1, READ_WRITE),
        topic(names::ROCKSDB_TRANS_OP_HALF_TOPIC, 1, READ_WRITE),
    ];
    if config.auto_create_topic_enable {
        topics.push(topic(
            names::AUTO_CREATE_TOPIC,
            config.default_topic_queue_nums,
            inherited(true),
        ));
    }
    if config.trace_topic_enable {
        topics.push(topic(&config.msg_trace_topic_name, 1, READ_WRITE));
    }
    if store_config.timer_wheel_enable {
        topics.push(topic(names::TIMER_TOPIC, 1, READ_WRITE));
    }
    topics
}

fn system_topic_names(created: &[TopicConfig]) -> BTreeSet<String> {
    let created = created.iter().map(|topic| topic.topic_name.clone());
    names::SYSTEM_TOPICS
        .iter()
        .map(|name| (*name).to_owned())
        .chain(created)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::persist::{Persist, PersistWaker};
    use crate::registry::testing::Home;
    use common::service::Service;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn remote() -> SocketAddr {
        "127.0.0.1:4000".parse().unwrap()
    }

    fn saved(home: &Home) -> TopicConfigSerializeWrapper {
        remoting::body::fastjson::from_slice(home.text(FILE_NAME).as_bytes()).unwrap()
    }

    #[test]
    fn a_first_start_has_the_system_topics_of_a_java_broker() {
        let java = saved(&Home::of_java()).topic_config_table;
        let topics = Home::empty().topics();
        for (name, topic) in topics.snapshot() {
            assert_eq!(Some(&*topic), java.get(&name), "{name}");
        }
        // What the Java broker has besides: topics of its clients, and what it makes when it needs it.
        let lazily = [names::TRANS_CHECK_MAX_TIME_TOPIC];
        for name in java.keys() {
            let of_clients =
                name.starts_with("Fx") && !name.starts_with("FxCluster") || name.starts_with('%');
            assert!(
                of_clients || lazily.contains(&name.as_str()) || topics.contains(name),
                "{name}"
            );
        }
    }

    #[test]
    fn a_java_file_is_loaded_and_written_back_with_nothing_lost() {
        let home = Home::of_java();
        let before = saved(&home);
        let topics = home.topics();
        assert_eq!(topics.data_version(), before.data_version);
        assert_eq!(
            topics
                .get("FxInnerBatch")
                .unwrap()
                .attributes
                .get("queue.type")
                .unwrap(),
            "BatchCQ"
        );

        topics.file().mark_changed();
        topics.flush().unwrap();
        assert_eq!(saved(&home), before);
    }

    #[test]
    fn the_file_wins_over_the_configuration_of_a_system_topic() {
        let home = Home::of_java();
        home.config.update(|config| config.default_topic_queue_nums = 3);
        assert_eq!(
            home.topics()
                .get(names::AUTO_CREATE_TOPIC)
                .unwrap()
                .write_queue_nums,
            8
        );
    }

    #[test]
    fn flags_decide_which_system_topics_there_are_and_who_may_use_them() {
        let mut home = Home::empty();
        home.config.update(|config| {
            config.auto_create_topic_enable = false;
            config.cluster_topic_enable = false;
            config.broker_topic_enable = false;
            config.trace_topic_enable = true;
        });
        home.store_config.timer_wheel_enable = false;
        let topics = home.topics();
        assert!(!topics.contains(names::AUTO_CREATE_TOPIC));
        assert!(!topics.contains(names::TIMER_TOPIC));
        assert_eq!(topics.get(names::TRACE_TOPIC).unwrap().read_queue_nums, 1);
        assert_eq!(topics.get("FxCluster").unwrap().perm, perm::INHERIT);
        assert_eq!(topics.get("fx-broker").unwrap().perm, perm::INHERIT);
    }

    #[test]
    fn a_send_makes_a_topic_like_its_template() {
        let home = Home::empty();
        let topics = home.topics();
        let before = topics.data_version();
        home.clock.set_wall_ms(9_000);

        let cases = [("few", 4, 4), ("many", 100, 8), ("negative", -1, 0)];
        for (topic, wanted, expected) in cases {
            let created = topics
                .create_on_send(topic, names::AUTO_CREATE_TOPIC, wanted, 1, remote())
                .unwrap();
            assert_eq!(
                (created.read_queue_nums, created.write_queue_nums),
                (expected, expected)
            );
            assert_eq!(created.perm, perm::READ | perm::WRITE, "not to be inherited from");
            assert_eq!(created.topic_sys_flag, 1);
            assert_eq!(topics.get(topic), Some(created));
        }
        let version = topics.data_version();
        assert_eq!((version.counter, version.timestamp), (before.counter + 3, 9_000));

        let again = topics
            .create_on_send("few", names::AUTO_CREATE_TOPIC, 2, 0, remote())
            .unwrap();
        assert_eq!(again.write_queue_nums, 4, "an existing topic stays as it is");
        assert_eq!(topics.data_version(), version);
    }

    #[test]
    fn a_send_makes_no_topic_without_permission() {
        let home = Home::empty();
        let topics = home.topics();
        topics.put(TopicConfig::new("NotInherited", 4));
        assert_eq!(topics.create_on_send("a", "NotInherited", 4, 0, remote()), None);
        assert_eq!(topics.create_on_send("a", "Missing", 4, 0, remote()), None);

        home.config
            .update(|config| config.auto_create_topic_enable = false);
        assert_eq!(
            topics.create_on_send("a", names::AUTO_CREATE_TOPIC, 4, 0, remote()),
            None
        );
        assert!(!topics.contains("a"));
    }

    #[test]
    fn a_flood_of_sends_stops_making_topics_at_the_limit() {
        let topics = Home::empty().topics();
        while topics.len() < AUTO_CREATE_LIMIT {
            topics.insert(TopicConfig::new(format!("t{}", topics.len()), 1));
        }
        assert_eq!(
            topics.create_on_send("one-more", names::AUTO_CREATE_TOPIC, 1, 0, remote()),
            None
        );
        topics.put(TopicConfig::new("by-operator", 1));
        assert!(topics.contains("by-operator"));
    }

    #[test]
    fn a_retry_topic_is_made_once_and_follows_the_order_flag() {
        let topics = Home::empty().topics();
        let made = topics.create_on_send_back("%RETRY%g", 1, 6, false, 2);
        assert_eq!((made.read_queue_nums, made.perm, made.topic_sys_flag), (1, 6, 2));
        let version = topics.data_version();
        assert_eq!(topics.create_on_send_back("%RETRY%g", 9, 2, false, 0), made);
        assert_eq!(topics.data_version(), version);

        let ordered = topics.create_on_send_back("%RETRY%g", 9, 2, true, 0);
        assert!(ordered.order && ordered.read_queue_nums == 1 && topics.is_order("%RETRY%g"));
    }

    #[test]
    fn changes_of_a_large_table_are_secured_beside_its_file_and_survive_a_crash() {
        let home = Home::empty();
        let topics = home.topics();
        (0..APPEND_FROM_TOPICS).for_each(|number| {
            topics.put(TopicConfig::new(format!("T{number}"), 1));
        });
        topics.flush().unwrap();
        let whole = std::fs::read(topics.file.path()).unwrap();

        topics.put(TopicConfig::new("new", 3));
        topics.update("T1", |topic| topic.perm = perm::READ);
        topics.remove("T2");
        topics.secure().unwrap();
        topics.put(TopicConfig::new("newer", 3));
        topics.secure().unwrap();
        assert_eq!(
            std::fs::read(topics.file.path()).unwrap(),
            whole,
            "not written again"
        );

        let reopened = home.topics();
        assert_eq!(reopened.snapshot(), topics.snapshot());
        assert_eq!(reopened.data_version(), topics.data_version());
        reopened.flush().unwrap();
        let again = home.topics();
        assert_eq!(again.snapshot(), topics.snapshot());
        assert!(!again.file.is_behind(), "the lines are gone");
    }

    #[test]
    fn of_a_small_table_only_changes_right_after_a_write_are_lines_and_a_crash_loses_none() {
        let home = Home::empty();
        let topics = home.topics();
        let whole = || std::fs::read_to_string(topics.file.path()).unwrap();
        topics.put(TopicConfig::new("first", 3));
        topics.secure().unwrap();
        assert!(whole().contains("\"first\""), "nothing was written lately");

        topics.put(TopicConfig::new("second", 3));
        topics.remove("first");
        topics.secure().unwrap();
        assert!(!whole().contains("\"second\""), "not written again so soon");
        let reopened = home.topics();
        assert_eq!(reopened.snapshot(), topics.snapshot());
        assert_eq!(reopened.data_version(), topics.data_version());

        home.clock.advance(Duration::from_secs(1));
        topics.put(TopicConfig::new("third", 3));
        topics.secure().unwrap();
        assert!(whole().contains("\"second\"") && whole().contains("\"third\""));
        assert!(!topics.file.path().with_extension("json.changes").exists());
    }

    #[test]
    fn a_damaged_file_is_made_up_for_by_its_backup_and_the_lines_between_them() {
        let home = Home::empty();
        let topics = home.topics();
        topics.put(TopicConfig::new("first", 3));
        topics.secure().unwrap();
        for topic in ["second", "third"] {
            topics.put(TopicConfig::new(topic, 3));
            topics.secure().unwrap();
        }
        topics.flush().unwrap();
        std::fs::write(topics.file.path(), "damaged").unwrap();
        let reopened = home.topics();
        assert_eq!(reopened.snapshot(), topics.snapshot());
        assert_eq!(reopened.data_version(), topics.data_version());
    }

    #[test]
    fn the_service_writes_a_small_table_whole_soon_after_its_lines() {
        let home = Home::empty();
        let topics = Arc::new(home.topics());
        let mut persist = Persist::new(&PersistWaker::new()).on_change(topics.clone());
        persist.tick(home.clock.now(), false).unwrap();
        for topic in ["first", "second"] {
            topics.put(TopicConfig::new(topic, 3));
            topics.secure().unwrap();
        }
        assert!(topics.file.is_behind() && !topics.file.is_insecure());
        for _ in 0..2 {
            home.clock.advance(persist.interval());
            persist.tick(home.clock.now(), false).unwrap();
        }
        assert!(home.clock.monotonic() < Duration::from_millis(250));
        assert!(!topics.file.is_behind());
        assert!(home.text("topics.json").contains("\"second\""));
    }

    #[test]
    fn lines_older_than_the_file_change_nothing() {
        let home = Home::empty();
        let topics = home.topics();
        (0..=APPEND_FROM_TOPICS).for_each(|number| {
            topics.put(TopicConfig::new(format!("T{number}"), 1));
        });
        topics.flush().unwrap();
        topics.update("T1", |topic| topic.perm = perm::READ);
        topics.secure().unwrap();
        let path = topics.file.path().with_extension("json.changes");
        let lines = std::fs::read(&path).unwrap();
        topics.update("T1", |topic| topic.perm = perm::WRITE);
        topics.flush().unwrap();
        // A crash between the two steps: the file is new, the lines are still there.
        std::fs::write(&path, lines).unwrap();
        assert_eq!(home.topics().get("T1").unwrap().perm, perm::WRITE);
    }

    #[test]
    fn every_change_is_announced_and_survives_a_restart() {
        let home = Home::empty();
        let topics = home.topics();
        let announced = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&announced);
        topics.on_change(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        topics.put(TopicConfig::new("a", 2));
        topics.put(TopicConfig::new("b", 2));
        topics.update("a", |topic| topic.perm = perm::READ);
        assert!(topics.remove("b"));
        assert!(!topics.remove("b"));
        assert_eq!(topics.update("b", |topic| topic.perm = 0), None);
        assert_eq!(announced.load(Ordering::SeqCst), 4);
        topics.flush().unwrap();

        let reopened = home.topics();
        assert_eq!(reopened.get("a").unwrap().perm, perm::READ);
        assert!(!reopened.contains("b"));
        assert_eq!(reopened.data_version(), topics.data_version());
    }

    #[test]
    fn topics_made_from_the_brokers_names_are_system_topics() {
        let topics = Home::empty().topics();
        for topic in [
            "FxCluster",
            "fx-broker",
            "FxCluster_REPLY_TOPIC",
            "SCHEDULE_TOPIC_XXXX",
        ] {
            assert!(
                topics.is_system(topic) && topics.system_topics().contains(topic),
                "{topic}"
            );
        }
        assert!(!topics.is_system("Orders"));
    }
}
