//! Consumer filters: the SQL filter of each group on each topic, compiled, and their file `consumerFilter.json`.
//!
//! ```text
//!   heartbeat with an SQL subscription ──> born ──┬── all members of the group leave, or it no longer names the topic ──> dead
//!                                                 └────────────────── heartbeat with it <─────────────────────────────────┤
//!                                                         filterDataCleanTimeSpan (24 h) later: forgotten <───────────────┘
//! ```
//!
//! Pulls are filtered by a dead filter too, as by the reference: a member may pull before its heartbeat. A newer subscription (larger
//! `subVersion`) replaces an older one; one that does not compile removes it, so that pulls are refused rather than served unfiltered.
//! Reference: `ConsumerFilterManager`, which forgets all filters of a file when the shape of the bloom filters changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use common::clock::Clock;
use common::properties::Live;
use dashmap::DashMap;
use remoting::body::{BloomFilterData, ConsumerFilterData, ConsumerFilterFile, SubscriptionData};

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};
use crate::config::BrokerConfig;
use crate::filter::bloom::BloomShape;
use crate::filter::expression;
use crate::filter::sql92::Sql92;
use crate::filter::tags::is_tag_type;

/// With so many filters, no more are taken; pulls of those groups are refused.
pub const MAX_FILTERS: usize = 100_000;
/// All expressions together, in bytes; beyond it no more are taken.
pub const MAX_EXPRESSION_BYTES: usize = 64 * 1024 * 1024;

const FILE_NAME: &str = "consumerFilter.json";
/// At the start, consumers are taken to have left so long ago. Reference: `ConsumerFilterManager.decode`.
const DEAD_AT_START_MS: i64 = 30_000;

/// What one group wants of one topic.
#[derive(Clone, Debug)]
pub struct ConsumerFilter {
    /// As it is in the file.
    pub data: ConsumerFilterData,
    /// The expression, ready for use.
    pub compiled: Sql92,
}

/// The filters of one group, by topic.
pub type GroupFilters = BTreeMap<String, Arc<ConsumerFilter>>;

/// The SQL filters of all groups.
pub struct ConsumerFilters {
    groups: DashMap<String, Arc<GroupFilters>, foldhash::fast::RandomState>,
    /// Held through every change of the table.
    totals: Mutex<Totals>,
    shape: BloomShape,
    file: TableFile,
    clock: Arc<dyn Clock>,
    config: Arc<Live<BrokerConfig>>,
}

#[derive(Debug, Default)]
struct Totals {
    filters: usize,
    expression_bytes: usize,
}

impl ConsumerFilter {
    fn new(
        group: &str,
        subscription: &SubscriptionData,
        bits: BloomFilterData,
        now_ms: i64,
    ) -> Result<Self, expression::ExpressionError> {
        Ok(ConsumerFilter {
            compiled: expression::compile(&subscription.expression_type, &subscription.sub_string)?,
            data: ConsumerFilterData {
                bloom_filter_data: Some(bits),
                born_time: now_ms,
                client_version: subscription.sub_version,
                consumer_group: group.to_owned(),
                dead_time: 0,
                expression: subscription.sub_string.clone(),
                expression_type: subscription.expression_type.clone(),
                topic: subscription.topic.clone(),
            },
        })
    }

    /// Whether no member of the group has it any more.
    pub fn is_dead(&self) -> bool {
        self.data.dead_time >= self.data.born_time
    }

    fn with_dead_time(&self, dead_time: i64) -> Arc<Self> {
        let mut changed = self.clone();
        changed.data.dead_time = dead_time;
        Arc::new(changed)
    }
}

impl ConsumerFilters {
    /// Reads `consumerFilter.json` in `config_dir`; expressions that do not compile are left out.
    ///
    /// # Errors
    /// When the file cannot be read, or the configuration gives no shape of bloom filters.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
    ) -> anyhow::Result<Self> {
        let shape = {
            let config = config.get();
            BloomShape::new(
                config.max_error_rate_of_bloom_filter,
                config.expect_consumer_num_use_filter,
            )
            .context("maxErrorRateOfBloomFilter and expectConsumerNumUseFilter give no bloom filter of a size that can be had")?
        };
        let file = config_dir.file(FILE_NAME);
        let saved: Option<ConsumerFilterFile> = file.load(clock.wall_ms())?;
        let filters = ConsumerFilters {
            groups: DashMap::default(),
            totals: Mutex::default(),
            shape,
            file,
            clock,
            config,
        };
        let topics = saved.unwrap_or_default().filter_data_by_topic;
        for (topic, saved) in topics {
            for (group, data) in saved.group_filter_data {
                filters.load(&group, &topic, data);
            }
        }
        Ok(filters)
    }

    fn load(&self, group: &str, topic: &str, mut data: ConsumerFilterData) {
        let compiled = match expression::compile(&data.expression_type, &data.expression) {
            Ok(compiled) => compiled,
            Err(error) => {
                tracing::warn!(group, topic, "saved filter left out: {error}");
                return;
            }
        };
        if data.dead_time == 0 {
            data.dead_time = data.born_time.max(self.clock.wall_ms() - DEAD_AT_START_MS);
        }
        data.bloom_filter_data = Some(self.shape.bits_of(group, topic));
        data.consumer_group = group.to_owned();
        data.topic = topic.to_owned();
        let filter = Arc::new(ConsumerFilter { data, compiled });
        self.change(&mut self.lock(), group, topic, Some(filter));
    }

    /// The filter of a group on a topic, dead or not.
    pub fn get(&self, group: &str, topic: &str) -> Option<Arc<ConsumerFilter>> {
        self.groups.get(group)?.get(topic).cloned()
    }

    /// All filters of a group.
    pub fn of_group(&self, group: &str) -> Arc<GroupFilters> {
        self.groups
            .get(group)
            .map(|filters| Arc::clone(&filters))
            .unwrap_or_default()
    }

    /// Number of filters.
    pub fn len(&self) -> usize {
        self.lock().filters
    }

    /// Whether there is no filter at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the subscriptions of a heartbeat: those of SQL are born, renewed or replaced, filters on topics it does not name die.
    pub fn register(&self, group: &str, subscriptions: &[SubscriptionData]) {
        let has_filter = |subscription: &&SubscriptionData| {
            !is_tag_type(&subscription.expression_type) && !subscription.sub_string.is_empty()
        };
        let mut with_filter = subscriptions.iter().filter(has_filter).peekable();
        if with_filter.peek().is_none() && !self.groups.contains_key(group) {
            return;
        }
        let mut totals = self.lock();
        for subscription in with_filter {
            self.register_one(&mut totals, group, subscription);
        }
        self.bury(&mut totals, group, |filter| {
            !subscriptions
                .iter()
                .any(|subscription| subscription.topic == filter.data.topic)
        });
    }

    /// The group has no members any more: its filters die.
    pub fn unregister(&self, group: &str) {
        if self.groups.contains_key(group) {
            self.bury(&mut self.lock(), group, |_| true);
        }
    }

    /// Forgets filters that have been dead for `filterDataCleanTimeSpan`, unless the group `has_members`: a member that came while the
    /// last one left may have been buried with it.
    pub fn expire(&self, now_ms: i64, has_members: impl Fn(&str) -> bool) {
        let span_ms = self.config.get().filter_data_clean_time_span;
        let is_over = |filter: &Arc<ConsumerFilter>| {
            filter.is_dead() && now_ms.saturating_sub(filter.data.dead_time) >= span_ms
        };
        let over: Vec<Arc<ConsumerFilter>> = self
            .groups
            .iter()
            .flat_map(|filters| {
                filters
                    .values()
                    .filter(|filter| is_over(filter))
                    .cloned()
                    .collect::<Vec<_>>()
            })
            .collect();
        for filter in over {
            let ConsumerFilterData {
                consumer_group,
                topic,
                ..
            } = &filter.data;
            let mut totals = self.lock();
            // It may have come back to life meanwhile.
            let is_over = self
                .get(consumer_group, topic)
                .is_some_and(|filter| is_over(&filter));
            if is_over && !has_members(consumer_group) {
                tracing::info!(
                    group = consumer_group,
                    topic,
                    "filter forgotten, it was dead too long"
                );
                self.change(&mut totals, consumer_group, topic, None);
            }
        }
    }

    /// Reference: `FilterDataMapByTopic.register`.
    fn register_one(&self, totals: &mut Totals, group: &str, subscription: &SubscriptionData) {
        let topic = &subscription.topic;
        let old = self.get(group, topic);
        if let Some(old) = &old {
            let known = &old.data;
            let is_same = known.expression == subscription.sub_string
                && known.expression_type == subscription.expression_type;
            match subscription.sub_version.cmp(&known.client_version) {
                std::cmp::Ordering::Less => return,
                std::cmp::Ordering::Equal if !old.is_dead() => return,
                std::cmp::Ordering::Equal => {
                    self.change(totals, group, topic, Some(old.with_dead_time(0)));
                    return;
                }
                std::cmp::Ordering::Greater if is_same => {
                    let mut renewed = (**old).clone();
                    renewed.data.client_version = subscription.sub_version;
                    renewed.data.dead_time = 0;
                    self.change(totals, group, topic, Some(Arc::new(renewed)));
                    return;
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        let bits = self.shape.bits_of(group, topic);
        match ConsumerFilter::new(group, subscription, bits, self.clock.wall_ms()) {
            Ok(filter) if totals.have_room_for(&filter, old.as_deref()) => {
                tracing::info!(
                    group,
                    topic,
                    expression = filter.data.expression,
                    "filter registered"
                );
                self.change(totals, group, topic, Some(Arc::new(filter)));
            }
            Ok(_) => {
                tracing::warn!(
                    group,
                    topic,
                    MAX_FILTERS,
                    MAX_EXPRESSION_BYTES,
                    "filter not taken: too many"
                );
                self.change(totals, group, topic, None);
            }
            Err(error) => {
                tracing::warn!(
                    group,
                    topic,
                    expression = subscription.sub_string,
                    "filter not taken: {error}"
                );
                self.change(totals, group, topic, None);
            }
        }
    }

    /// Marks filters of a group that are not dead yet.
    fn bury(&self, totals: &mut Totals, group: &str, is_gone: impl Fn(&ConsumerFilter) -> bool) {
        for (topic, filter) in &*self.of_group(group) {
            if !filter.is_dead() && is_gone(filter) {
                tracing::info!(group, topic, "filter without consumers");
                self.change(
                    totals,
                    group,
                    topic,
                    Some(filter.with_dead_time(self.clock.wall_ms())),
                );
            }
        }
    }

    /// Puts or removes one filter.
    fn change(&self, totals: &mut Totals, group: &str, topic: &str, new: Option<Arc<ConsumerFilter>>) {
        let mut filters = (*self.of_group(group)).clone();
        totals.add(new.as_deref());
        let old = match new {
            Some(new) => filters.insert(topic.to_owned(), new),
            None => filters.remove(topic),
        };
        totals.subtract(old.as_deref());
        if filters.is_empty() {
            self.groups.remove(group);
        } else {
            self.groups.insert(group.to_owned(), Arc::new(filters));
        }
        self.file.mark_changed();
    }

    /// Everything, as the file has it.
    pub fn to_file(&self) -> ConsumerFilterFile {
        let _unchanged = self.lock();
        let mut file = ConsumerFilterFile::default();
        for filters in &self.groups {
            for (topic, filter) in &**filters.value() {
                let of_topic = file.filter_data_by_topic.entry(topic.clone()).or_default();
                of_topic.topic.clone_from(topic);
                of_topic
                    .group_filter_data
                    .insert(filters.key().clone(), filter.data.clone());
            }
        }
        file
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn have_room_for(&self, new: &ConsumerFilter, old: Option<&ConsumerFilter>) -> bool {
        let replaced_bytes = old.map_or(0, |old| old.data.expression.len());
        let bytes = self.expression_bytes - replaced_bytes + new.data.expression.len();
        (old.is_some() || self.filters < MAX_FILTERS) && bytes <= MAX_EXPRESSION_BYTES
    }

    fn add(&mut self, filter: Option<&ConsumerFilter>) {
        if let Some(filter) = filter {
            self.filters += 1;
            self.expression_bytes += filter.data.expression.len();
        }
    }

    fn subtract(&mut self, filter: Option<&ConsumerFilter>) {
        if let Some(filter) = filter {
            self.filters -= 1;
            self.expression_bytes -= filter.data.expression.len();
        }
    }
}

impl Table for ConsumerFilters {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.to_file()))
    }
}

impl std::fmt::Debug for ConsumerFilters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerFilters")
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::filter::tags;
    use crate::registry::testing::Home;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn sql(topic: &str, expression: &str, sub_version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: topic.to_owned(),
            sub_string: expression.to_owned(),
            expression_type: "SQL92".to_owned(),
            sub_version,
            ..SubscriptionData::default()
        }
    }

    fn expression(filters: &ConsumerFilters, group: &str, topic: &str) -> Option<String> {
        filters
            .get(group, topic)
            .map(|filter| filter.data.expression.clone())
    }

    #[test]
    fn a_newer_subscription_replaces_an_older_one() {
        let home = Home::empty();
        let filters = home.consumer_filters();
        filters.register("g", &[sql("t", "a > 1", 10)]);
        filters.register("g", &[sql("t", "a > 2", 10)]);
        filters.register("g", &[sql("t", "a > 3", 9)]);
        assert_eq!(expression(&filters, "g", "t").as_deref(), Some("a > 1"));

        home.clock.advance(Duration::from_millis(5));
        filters.register("g", &[sql("t", "a > 1", 11)]);
        let renewed = filters.get("g", "t").unwrap();
        assert_eq!((renewed.data.client_version, renewed.data.born_time), (11, 1_000));

        filters.register("g", &[sql("t", "a > 2", 12)]);
        let replaced = filters.get("g", "t").unwrap();
        assert_eq!(
            (replaced.data.client_version, replaced.data.born_time),
            (12, 1_005)
        );
        assert!(replaced.compiled.matches("a\u{1}3\u{2}"));
    }

    #[test]
    fn a_newer_expression_that_does_not_compile_leaves_none() {
        let filters = Home::empty().consumer_filters();
        filters.register("g", &[sql("t", "a >", 10)]);
        assert!(filters.get("g", "t").is_none());
        filters.register("g", &[sql("t", "a > 1", 11)]);
        filters.register("g", &[sql("t", "a >", 12)]);
        assert!(filters.get("g", "t").is_none() && filters.is_empty());
    }

    #[test]
    fn tags_and_empty_expressions_are_no_filters() {
        let filters = Home::empty().consumer_filters();
        filters.register("g", &[tags::build("t", "A || B").unwrap(), sql("u", "", 1)]);
        assert!(filters.is_empty());
        assert!(!filters.file().is_behind(), "nothing to write");
    }

    #[test]
    fn a_filter_dies_without_consumers_and_lives_again_with_them() {
        let filters = Home::empty().consumer_filters();
        let is_dead = |topic| filters.get("g", topic).unwrap().is_dead();
        filters.register("g", &[sql("t", "a > 1", 10), sql("u", "a > 1", 10)]);
        filters.register("g", &[sql("t", "a > 1", 10)]);
        assert_eq!((is_dead("t"), is_dead("u")), (false, true));
        filters.unregister("g");
        assert!(is_dead("t"));
        filters.register("g", &[sql("t", "a > 1", 10), sql("u", "a > 1", 11)]);
        assert_eq!((is_dead("t"), is_dead("u")), (false, false));
    }

    #[test]
    fn a_filter_dead_for_a_day_is_forgotten() {
        let home = Home::empty();
        let filters = home.consumer_filters();
        filters.register("g", &[sql("t", "a > 1", 10)]);
        filters.register("h", &[sql("t", "a > 1", 10)]);
        filters.unregister("g");
        home.clock.advance(DAY - Duration::from_millis(1));
        filters.expire(home.clock.wall_ms(), |_| false);
        assert_eq!(filters.len(), 2);
        home.clock.advance(Duration::from_millis(1));
        filters.expire(home.clock.wall_ms(), |group| group == "g");
        assert_eq!(filters.len(), 2, "someone came");
        filters.expire(home.clock.wall_ms(), |_| false);
        assert_eq!(filters.len(), 1);
        assert!(filters.get("h", "t").is_some());
    }

    #[test]
    fn filters_survive_a_restart_as_dead_ones() {
        let home = Home::empty();
        let filters = home.consumer_filters();
        filters.register("g", &[sql("t", "a > 1", 10)]);
        filters.flush().unwrap();
        home.clock.advance(DAY);

        let reopened = home.consumer_filters();
        let filter = reopened.get("g", "t").unwrap();
        assert!(filter.is_dead() && filter.compiled.matches("a\u{1}2\u{2}"));
        assert_eq!(filter.data.dead_time, home.clock.wall_ms() - DEAD_AT_START_MS);
        reopened.register("g", &[sql("t", "a > 1", 10)]);
        assert!(!reopened.get("g", "t").unwrap().is_dead());
    }

    #[test]
    fn a_java_file_is_loaded_and_written_back_with_nothing_lost() {
        let home = Home::of_java();
        let read = || -> ConsumerFilterFile {
            remoting::body::fastjson::from_slice(home.text(FILE_NAME).as_bytes()).unwrap()
        };
        let mut expected = read();
        let filters = home.consumer_filters();
        assert_eq!(
            expression(&filters, "FxSqlCG", "FxSql").as_deref(),
            Some("a > 5 AND region = 'hz'")
        );
        filters.file().mark_changed();
        filters.flush().unwrap();
        let written = read();
        let filter = expected
            .filter_data_by_topic
            .get_mut("FxSql")
            .and_then(|topic| topic.group_filter_data.get_mut("FxSqlCG"))
            .unwrap();
        // The clock of this test is behind the fixture's.
        filter.dead_time = filter.dead_time.max(filter.born_time);
        assert_eq!(written, expected);
    }

    #[test]
    fn a_saved_expression_that_does_not_compile_is_left_out() {
        let home = Home::empty();
        std::fs::write(
            home.path().join(FILE_NAME),
            r#"{"filterDataByTopic":{"t":{"topic":"t","groupFilterData":{
                "g":{"expression":"a >","expressionType":"SQL92","topic":"t","consumerGroup":"g"},
                "h":{"expression":"a > 1","expressionType":"SQL92","bloomFilterData":{"bitNum":8,"bitPos":[1]}}}}}}"#,
        )
        .unwrap();
        let filters = home.consumer_filters();
        assert!(filters.get("g", "t").is_none());
        let kept = filters.get("h", "t").unwrap();
        assert_eq!(
            kept.data.bloom_filter_data.as_ref().map(|bits| bits.bit_num),
            Some(112)
        );
    }

    #[test]
    fn too_many_filters_are_not_taken() {
        let filters = Home::empty().consumer_filters();
        filters.lock().filters = MAX_FILTERS;
        filters.register("g", &[sql("t", "a > 1", 10)]);
        assert!(filters.get("g", "t").is_none());
        *filters.lock() = Totals {
            filters: 0,
            expression_bytes: MAX_EXPRESSION_BYTES - 4,
        };
        filters.register("g", &[sql("t", "a > 1", 10)]);
        assert!(filters.get("g", "t").is_none());
    }
}
