//! Groups: the consumer groups, what each may do, and their file `subscriptionGroup.json`.
//!
//! Looked up by every pull and heartbeat: one sharded read. A group that is not known is made on first use if the
//! configuration allows it. Reference: `SubscriptionGroupManager`, `LmqSubscriptionGroupManager`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use common::clock::Clock;
use common::names;
use common::properties::Live;
use dashmap::DashMap;
use remoting::body::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper};
use store::MessageStoreConfig;

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};
use crate::config::BrokerConfig;

/// With so many groups, clients create no more of them by using them. Each brings a retry topic along.
/// Operators may still create any number.
pub const AUTO_CREATE_LIMIT: usize = 100_000;

const FILE_NAME: &str = "subscriptionGroup.json";

/// The groups every broker has from its first start. Reference: `SubscriptionGroupManager.init`.
const BUILT_IN: [&str; 8] = [
    names::TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    names::TRANSACTION_GROUP,
];

/// Topic to bits that forbid something to a group.
type ForbiddenTopics = BTreeMap<String, i32>;

/// The consumer groups of this broker.
pub struct Groups {
    table: DashMap<String, Arc<SubscriptionGroupConfig>, foldhash::fast::RandomState>,
    forbidden: DashMap<String, ForbiddenTopics, foldhash::fast::RandomState>,
    /// Held through every change of the two tables.
    version: Mutex<DataVersion>,
    file: TableFile,
    clock: Arc<dyn Clock>,
    config: Arc<Live<BrokerConfig>>,
    /// Groups of light message queues are not kept: any such name is a group.
    lmq_enabled: bool,
}

impl Groups {
    /// Reads `subscriptionGroup.json` in `config_dir` and adds the built-in groups it lacks.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
        store_config: &MessageStoreConfig,
    ) -> anyhow::Result<Groups> {
        let file = config_dir.file(FILE_NAME);
        let saved: Option<SubscriptionGroupWrapper> = file.load(clock.wall_ms())?;
        let groups = Groups {
            table: DashMap::default(),
            forbidden: DashMap::default(),
            version: Mutex::default(),
            file,
            clock,
            config,
            lmq_enabled: store_config.enable_lmq,
        };
        for name in BUILT_IN {
            groups.insert(SubscriptionGroupConfig::new(name));
        }
        match saved {
            Some(saved) => groups.fill(saved),
            None => {
                groups.file.mark_changed();
            }
        }
        Ok(groups)
    }

    fn fill(&self, saved: SubscriptionGroupWrapper) {
        *self.lock() = saved.data_version;
        for (name, mut group) in saved.subscription_group_table {
            group.group_name = name;
            self.insert(group);
        }
        for (group, topics) in saved.forbidden_table {
            self.forbidden.insert(group, topics);
        }
    }

    /// The configuration of a group; made with the defaults if it does not exist and may be made.
    ///
    /// Reference: `findSubscriptionGroupConfig`.
    pub fn find(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.get(group).or_else(|| self.auto_create(group))
    }

    /// The configuration of a group, if it exists.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if self.is_lmq(group) {
            return Some(Arc::new(SubscriptionGroupConfig::new(group)));
        }
        self.table.get(group).map(|found| Arc::clone(&found))
    }

    /// Whether the group exists.
    pub fn contains(&self, group: &str) -> bool {
        self.is_lmq(group) || self.table.contains_key(group)
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no group at all.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Creates or replaces a group as it stands; merging of attributes is the caller's.
    pub fn put(&self, config: SubscriptionGroupConfig) -> Arc<SubscriptionGroupConfig> {
        if self.is_lmq(&config.group_name) {
            return Arc::new(config);
        }
        let put = {
            let mut version = self.lock();
            tracing::info!(group = config.group_name, old = ?self.get(&config.group_name), new = ?config, "group put");
            version.next(self.clock.wall_ms());
            self.insert(config)
        };
        self.file.mark_changed();
        put
    }

    /// Creates or replaces a group by what `change` makes of it as it is now; `None` when it does not exist.
    pub fn put_with<E>(
        &self,
        group: &str,
        change: impl FnOnce(Option<&SubscriptionGroupConfig>) -> Result<SubscriptionGroupConfig, E>,
    ) -> Result<Arc<SubscriptionGroupConfig>, E> {
        if self.is_lmq(group) {
            return change(self.get(group).as_deref()).map(Arc::new);
        }
        let put = {
            let mut version = self.lock();
            let old = self.get(group);
            let config = change(old.as_deref())?;
            tracing::info!(group, ?old, new = ?config, "group put");
            version.next(self.clock.wall_ms());
            self.insert(config)
        };
        self.file.mark_changed();
        Ok(put)
    }

    /// Changes an existing group in place; `None` when it does not exist.
    pub fn update(
        &self,
        group: &str,
        change: impl FnOnce(&mut SubscriptionGroupConfig),
    ) -> Option<Arc<SubscriptionGroupConfig>> {
        let updated = {
            let mut version = self.lock();
            let mut config = (**self.table.get(group)?).clone();
            change(&mut config);
            version.next(self.clock.wall_ms());
            self.insert(config)
        };
        self.file.mark_changed();
        Some(updated)
    }

    /// Removes a group and what is forbidden to it; false when it does not exist.
    pub fn remove(&self, group: &str) -> bool {
        {
            let mut version = self.lock();
            self.forbidden.remove(group);
            let Some((_, removed)) = self.table.remove(group) else {
                return false;
            };
            tracing::info!(group, ?removed, "group removed");
            version.next(self.clock.wall_ms());
        }
        self.file.mark_changed();
        true
    }

    /// The bits that forbid something on a topic to a group; 0 when nothing is forbidden.
    pub fn forbidden(&self, group: &str, topic: &str) -> i32 {
        self.forbidden
            .get(group)
            .and_then(|topics| topics.get(topic).copied())
            .map_or(0, |bits| bits.max(0))
    }

    /// Whether one bit is set.
    pub fn is_forbidden(&self, group: &str, topic: &str, bit: u32) -> bool {
        self.forbidden(group, topic) & bit_mask(bit) != 0
    }

    /// Sets or clears one bit. Reference: `updateForbidden`, which forgets the group's other topics when the last
    /// bit of one is cleared; here they stay.
    pub fn set_forbidden(&self, group: &str, topic: &str, bit: u32, forbidden: bool) {
        {
            let mut version = self.lock();
            let bits = self.forbidden(group, topic);
            let bits = if forbidden {
                bits | bit_mask(bit)
            } else {
                bits & !bit_mask(bit)
            };
            let mut topics = self.forbidden.entry(group.to_owned()).or_default();
            if bits == 0 {
                topics.remove(topic);
            } else {
                topics.insert(topic.to_owned(), bits);
            }
            let empty = topics.is_empty();
            drop(topics);
            if empty {
                self.forbidden.remove(group);
            }
            tracing::info!(group, topic, bits, "group forbidden bits set");
            version.next(self.clock.wall_ms());
        }
        self.file.mark_changed();
    }

    /// The version of the table.
    pub fn data_version(&self) -> DataVersion {
        *self.lock()
    }

    /// The groups, sorted.
    pub fn snapshot(&self) -> BTreeMap<String, Arc<SubscriptionGroupConfig>> {
        self.table
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect()
    }

    /// What is forbidden, by group and topic.
    pub fn forbidden_snapshot(&self) -> BTreeMap<String, BTreeMap<String, i32>> {
        self.forbidden
            .iter()
            .map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect()
    }

    /// Everything: the file's content and the answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    pub fn to_wrapper(&self) -> SubscriptionGroupWrapper {
        let version = self.lock();
        SubscriptionGroupWrapper {
            data_version: *version,
            forbidden_table: self.forbidden_snapshot(),
            subscription_group_table: self
                .snapshot()
                .into_iter()
                .map(|(name, group)| (name, (*group).clone()))
                .collect(),
        }
    }

    fn auto_create(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let config = self.config.get();
        let system = config.enable_create_sys_group && group.starts_with(names::SYSTEM_GROUP_PREFIX);
        if !(config.auto_create_subscription_group || system) || names::validate_group(group).is_err() {
            return None;
        }
        let created = {
            let mut version = self.lock();
            if let Some(existing) = self.get(group) {
                return Some(existing);
            }
            if self.table.len() >= AUTO_CREATE_LIMIT {
                tracing::warn!(
                    group,
                    limit = AUTO_CREATE_LIMIT,
                    "group not created: too many groups, create it with updateSubGroup"
                );
                return None;
            }
            tracing::info!(group, "group created on first use");
            version.next(self.clock.wall_ms());
            self.insert(SubscriptionGroupConfig::new(group))
        };
        self.file.mark_changed();
        Some(created)
    }

    fn is_lmq(&self, group: &str) -> bool {
        self.lmq_enabled && group.starts_with(names::LMQ_PREFIX)
    }

    fn insert(&self, config: SubscriptionGroupConfig) -> Arc<SubscriptionGroupConfig> {
        let config = Arc::new(config);
        self.table.insert(config.group_name.clone(), Arc::clone(&config));
        config
    }

    fn lock(&self) -> MutexGuard<'_, DataVersion> {
        self.version
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Bits beyond the 31 that Java's `int` can hold without its sign forbid nothing.
fn bit_mask(bit: u32) -> i32 {
    if bit < 31 { 1 << bit } else { 0 }
}

impl Table for Groups {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.to_wrapper()))
    }
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("len", &self.table.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Home;

    fn saved(home: &Home) -> SubscriptionGroupWrapper {
        remoting::body::fastjson::from_slice(home.text(FILE_NAME).as_bytes()).unwrap()
    }

    #[test]
    fn a_java_file_is_loaded_and_written_back_with_nothing_lost() {
        let home = Home::of_java();
        let before = saved(&home);
        let groups = home.groups();
        assert_eq!(groups.get("FxPopCG").unwrap().retry_max_times, 2);
        groups.file().mark_changed();
        groups.flush().unwrap();
        assert_eq!(saved(&home), before);
    }

    #[test]
    fn a_first_start_has_the_built_in_groups_of_a_java_broker() {
        let java = saved(&Home::of_java()).subscription_group_table;
        let groups = Home::empty().groups();
        for (name, group) in groups.snapshot() {
            assert_eq!(Some(&*group), java.get(&name), "{name}");
        }
        assert_eq!(
            groups.len(),
            java.keys()
                .filter(|name| !name.starts_with("Fx") && !name.starts_with("CID_RMQ_SYS_REVIVE"))
                .count()
        );
    }

    #[test]
    fn an_unknown_group_is_made_on_first_use_where_that_is_allowed() {
        let home = Home::empty();
        let groups = home.groups();
        assert_eq!(groups.get("g"), None);
        assert_eq!(groups.find("g").unwrap().group_name, "g");
        assert!(groups.contains("g"));
        assert_eq!(groups.find("bad name"), None);

        home.config
            .update(|config| config.auto_create_subscription_group = false);
        assert_eq!(groups.find("h"), None);
        assert!(groups.find("CID_RMQ_SYS_anything").is_some());
        home.config
            .update(|config| config.enable_create_sys_group = false);
        assert_eq!(groups.find("CID_RMQ_SYS_other"), None);
    }

    #[test]
    fn clients_stop_making_groups_at_the_limit() {
        let groups = Home::empty().groups();
        while groups.len() < AUTO_CREATE_LIMIT {
            groups.insert(SubscriptionGroupConfig::new(format!("g{}", groups.len())));
        }
        assert_eq!(groups.find("one-more"), None);
        groups.put(SubscriptionGroupConfig::new("by-operator"));
        assert!(groups.find("by-operator").is_some());
    }

    #[test]
    fn changes_raise_the_version_and_survive_a_restart() {
        let home = Home::empty();
        let groups = home.groups();
        groups.put(SubscriptionGroupConfig::new("a"));
        groups.put(SubscriptionGroupConfig::new("b"));
        groups.update("a", |group| group.consume_enable = false);
        assert!(groups.remove("b"));
        assert!(!groups.remove("b"));
        assert_eq!(groups.data_version().counter, 4);
        groups.flush().unwrap();

        let reopened = home.groups();
        assert!(!reopened.get("a").unwrap().consume_enable);
        assert_eq!(reopened.get("b"), None);
        assert_eq!(reopened.data_version(), groups.data_version());
    }

    #[test]
    fn forbidden_bits_are_set_and_cleared_one_by_one() {
        let home = Home::empty();
        let groups = home.groups();
        groups.set_forbidden("g", "t", 2, true);
        groups.set_forbidden("g", "t", 0, true);
        groups.set_forbidden("g", "u", 1, true);
        assert_eq!(groups.forbidden("g", "t"), 5);
        groups.flush().unwrap();
        assert!(home.groups().is_forbidden("g", "t", 2));

        groups.set_forbidden("g", "t", 2, false);
        assert!(!groups.is_forbidden("g", "t", 2) && groups.is_forbidden("g", "t", 0));
        groups.set_forbidden("g", "t", 0, false);
        assert_eq!(
            groups.forbidden_snapshot()["g"],
            BTreeMap::from([("u".to_owned(), 2)])
        );
        groups.set_forbidden("g", "u", 1, false);
        assert!(groups.forbidden_snapshot().is_empty());
    }

    #[test]
    fn any_light_queue_name_is_a_group_and_none_is_kept() {
        let mut home = Home::empty();
        home.store_config.enable_lmq = true;
        let groups = home.groups();
        let known = groups.len();
        assert_eq!(groups.find("%LMQ%x").unwrap().group_name, "%LMQ%x");
        groups.put(SubscriptionGroupConfig::new("%LMQ%y"));
        assert!(groups.contains("%LMQ%z"));
        assert_eq!(groups.len(), known);
    }
}
