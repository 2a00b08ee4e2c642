//! Cold-data control: groups that read messages too old to be in memory are slowed down, so that the disk is left to the others.
//!
//! ```text
//!   pull found old messages ──> bytes of the group, and of all groups, in this window of 5 s
//!   next pull of old messages, over the threshold of the group or of all:  a push consumer is told to come later,
//!                                                                          a pull consumer waits 1 s and gets one message
//!   the window ends ──> thresholds adapt, if they may (`cold_strategy.rs`); the count begins anew
//! ```
//!
//! A group's threshold is the one an operator set, else the adapted one, else `cgColdReadThreshold`. No thread ends windows: whoever comes next
//! ends those that have passed, one after the other, so that everything depends on the clock alone.
//!
//! Off unless `coldDataFlowControlEnable`. Old is what counts as not in memory (`accessMessageInMemoryMaxRatio`); the reference also asks
//! the kernel for the pages. Reference: `ColdDataCgCtrService`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::cold_strategy::ColdStrategy;
use crate::config::BrokerConfig;

/// Bytes are counted over so long, in ms.
const WINDOW_MS: i64 = 5_000;
/// A group that read nothing old for so long is forgotten, in ms.
const FORGET_AFTER_MS: i64 = 60_000;
/// After so many windows without a read every group is forgotten and nothing adapts any more.
const WINDOWS_ENDED_AT_ONCE: i64 = FORGET_AFTER_MS / WINDOW_MS + 1;
/// Thresholds an operator may set; groups counted at a time.
pub const MAX_GROUPS: usize = 100_000;
/// Adapted thresholds that may be lowered at the end of a window: the highest.
const MAX_DECELERATED: usize = 3;
/// A group's adapted threshold goes by the group's name and this, so that operators see and change it beside the ones they set.
const ADAPTIVE: &str = "||adaptive";

/// What old messages groups read, and may read.
#[derive(Debug)]
pub struct ColdData {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    limits: Thresholds,
    /// None: thresholds do not adapt.
    strategy: Option<ColdStrategy>,
    /// Set by an operator, in bytes a window.
    thresholds: BTreeMap<String, i64>,
    /// Made by the strategy, in bytes a window.
    adapted: BTreeMap<String, i64>,
    groups: HashMap<String, Reads>,
    /// Of all groups in this window.
    bytes: i64,
    window: i64,
}

/// What one group read. Reference: `AccAndTimeStamp`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reads {
    cold_acc: i64,
    create_time_mills: i64,
    last_cold_read_time_mills: i64,
}

/// The thresholds of the configuration, in bytes a window.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// `cgColdReadThreshold`: of a group for which nothing else is set.
    pub group: i64,
    /// `globalColdReadThreshold`: of all groups together.
    pub all: i64,
}

/// The answer to GET_COLD_DATA_FLOW_CTR_INFO, in the reference's order: mqadmin prints it so.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColdDataInfo {
    runtime_table: BTreeMap<String, Reads>,
    config_table: BTreeMap<String, i64>,
    cg_cold_read_threshold: i64,
    global_cold_read_threshold: i64,
    global_acc: i64,
}

impl ColdData {
    /// Nothing read, nothing set; limits and strategy of the configuration.
    pub fn of(config: &BrokerConfig, now_ms: i64) -> Self {
        let limits = Thresholds {
            group: config.cg_cold_read_threshold,
            all: config.global_cold_read_threshold,
        };
        let strategy = match (config.cold_ctr_strategy_enable, config.use_pid_cold_ctr_strategy) {
            (false, _) => None,
            (true, false) => Some(ColdStrategy::Simple),
            (true, true) => Some(ColdStrategy::pid(limits)),
        };
        Self::new(limits, strategy, now_ms)
    }

    /// Nothing read, nothing set; with a strategy, thresholds adapt.
    fn new(limits: Thresholds, strategy: Option<ColdStrategy>, now_ms: i64) -> Self {
        Self {
            table: Mutex::new(Table {
                limits,
                strategy,
                thresholds: BTreeMap::new(),
                adapted: BTreeMap::new(),
                groups: HashMap::new(),
                bytes: 0,
                window: now_ms.div_euclid(WINDOW_MS),
            }),
        }
    }

    /// A group has read so many bytes of old messages.
    pub fn record(&self, group: &str, bytes: u64, now_ms: i64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut table = self.at(now_ms);
        table.bytes = table.bytes.saturating_add(bytes);
        if table.groups.len() >= MAX_GROUPS && !table.groups.contains_key(group) {
            return;
        }
        let reads = table.groups.entry(group.to_owned()).or_insert(Reads {
            cold_acc: 0,
            create_time_mills: now_ms,
            last_cold_read_time_mills: now_ms,
        });
        reads.cold_acc = reads.cold_acc.saturating_add(bytes);
        reads.last_cold_read_time_mills = now_ms;
    }

    /// Whether a group must slow down. Reference: `isCgNeedColdDataFlowCtr`.
    pub fn is_over(&self, group: &str, now_ms: i64) -> bool {
        let table = self.at(now_ms);
        table
            .groups
            .get(group)
            .is_some_and(|reads| reads.cold_acc >= table.threshold(group) || table.bytes >= table.limits.all)
    }

    /// Sets a group's threshold; false when there are too many.
    pub fn set_threshold(&self, group: &str, threshold: i64) -> bool {
        let mut table = self.lock();
        let (thresholds, group) = table.thresholds_of(group);
        let has_room = thresholds.len() < MAX_GROUPS || thresholds.contains_key(group);
        if has_room {
            thresholds.insert(group.to_owned(), threshold);
        }
        has_room
    }

    /// Lets the adapted threshold, or the configuration's, count for a group again.
    pub fn remove_threshold(&self, group: &str) {
        let mut table = self.lock();
        let (thresholds, group) = table.thresholds_of(group);
        thresholds.remove(group);
    }

    /// Everything, for an operator.
    pub fn info(&self, now_ms: i64) -> ColdDataInfo {
        let table = self.at(now_ms);
        let adapted = table
            .adapted
            .iter()
            .map(|(group, threshold)| (format!("{group}{ADAPTIVE}"), *threshold));
        ColdDataInfo {
            cg_cold_read_threshold: table.limits.group,
            config_table: table.thresholds.clone().into_iter().chain(adapted).collect(),
            global_acc: table.bytes,
            global_cold_read_threshold: table.limits.all,
            runtime_table: table
                .groups
                .iter()
                .map(|(group, reads)| (group.clone(), *reads))
                .collect(),
        }
    }

    /// The table in the window of this time.
    fn at(&self, now_ms: i64) -> MutexGuard<'_, Table> {
        let mut table = self.lock();
        table.advance(now_ms);
        table
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn threshold(&self, group: &str) -> i64 {
        let adapted = || self.strategy.as_ref().and_then(|_| self.adapted.get(group));
        *self
            .thresholds
            .get(group)
            .or_else(adapted)
            .unwrap_or(&self.limits.group)
    }

    /// The thresholds a name of an operator belongs to, and the group it means.
    fn thresholds_of<'n>(&mut self, name: &'n str) -> (&mut BTreeMap<String, i64>, &'n str) {
        match name.strip_suffix(ADAPTIVE) {
            Some(group) => (&mut self.adapted, group),
            None => (&mut self.thresholds, name),
        }
    }

    /// Ends the windows before the one of this time.
    fn advance(&mut self, now_ms: i64) {
        let window = now_ms.div_euclid(WINDOW_MS);
        if window < self.window {
            self.end_window(now_ms);
        }
        for next in self.window + 1..=window.min(self.window + WINDOWS_ENDED_AT_ONCE) {
            self.end_window(next * WINDOW_MS);
        }
        self.window = window;
    }

    /// Reference: `clearDataAcc`.
    fn end_window(&mut self, now_ms: i64) {
        self.forget(now_ms);
        match self.strategy.take() {
            Some(mut strategy) => {
                strategy.collect(self.bytes);
                self.promote(&strategy);
                self.decelerate(&strategy);
                self.strategy = Some(strategy);
            }
            None => self.adapted.clear(),
        }
        self.bytes = 0;
        self.groups.values_mut().for_each(|reads| reads.cold_acc = 0);
    }

    /// Forgets groups that have read nothing old for long, and with them what their thresholds had become.
    fn forget(&mut self, now_ms: i64) {
        let adapted = &mut self.adapted;
        self.groups.retain(|group, reads| {
            let stays = now_ms.saturating_sub(reads.last_cold_read_time_mills) < FORGET_AFTER_MS;
            if !stays {
                adapted.remove(group);
            }
            stays
        });
    }

    fn promote(&mut self, strategy: &ColdStrategy) {
        if self.bytes > self.limits.all {
            return;
        }
        for (group, reads) in &self.groups {
            let threshold = *self.adapted.get(group).unwrap_or(&self.limits.group);
            if reads.cold_acc >= threshold
                && !self.thresholds.contains_key(group)
                && let Some(promoted) = strategy.promote(threshold)
            {
                self.adapted.insert(group.clone(), promoted);
            }
        }
    }

    /// The adapted threshold of a group for which an operator set another one is lowered as well: the reference means to leave
    /// it out, and splits its name at an expression that matches everywhere.
    fn decelerate(&mut self, strategy: &ColdStrategy) {
        let mut highest: Vec<&mut i64> = self.adapted.values_mut().collect();
        highest.sort_by_key(|threshold| Reverse(**threshold));
        for threshold in highest.into_iter().take(MAX_DECELERATED) {
            if let Some(lowered) = strategy.decelerate(*threshold, self.bytes, self.limits) {
                *threshold = lowered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Thresholds = Thresholds { group: 100, all: 250 };

    fn cold_data() -> ColdData {
        ColdData::new(LIMITS, None, 0)
    }

    #[test]
    fn a_group_is_over_its_threshold_until_the_window_ends() {
        let cold = cold_data();
        assert!(!cold.is_over("g", 0));
        cold.record("g", 99, 0);
        assert!(!cold.is_over("g", 0));
        cold.record("g", 1, 4_999);
        assert!(cold.is_over("g", 4_999));
        assert!(!cold.is_over("g", 5_000));
    }

    #[test]
    fn an_operator_sets_the_threshold_of_a_group_and_takes_it_back() {
        let cold = cold_data();
        cold.record("g", 50, 0);
        assert!(cold.set_threshold("g", 50));
        assert!(cold.is_over("g", 0));
        cold.remove_threshold("g");
        assert!(!cold.is_over("g", 0));
    }

    #[test]
    fn all_groups_that_read_old_messages_share_one_threshold() {
        let cold = cold_data();
        for group in ["a", "b", "c"] {
            cold.record(group, 90, 0);
        }
        assert!(cold.is_over("a", 0));
        assert!(!cold.is_over("d", 0), "reads nothing old");
    }

    #[test]
    fn a_group_that_reads_nothing_old_is_forgotten() {
        let cold = cold_data();
        cold.record("g", 90, 0);
        assert_eq!(cold.info(59_999).runtime_table.len(), 1);
        assert_eq!(cold.info(60_000).runtime_table.len(), 0);
    }

    const OF_ALL: Thresholds = Thresholds {
        group: 100,
        all: 1_000,
    };

    /// What is read in each window, and the adapted thresholds after it.
    type Story = &'static [(&'static [(&'static str, u64)], &'static [(&'static str, i64)])];

    fn assert_thresholds(cold: &ColdData, story: Story) {
        for (n, (reads, adapted)) in (0..).zip(story) {
            for (group, bytes) in *reads {
                cold.record(group, *bytes, n * WINDOW_MS);
            }
            let expected = adapted
                .iter()
                .map(|(group, threshold)| (format!("{group}||adaptive"), *threshold));
            assert_eq!(
                cold.info((n + 1) * WINDOW_MS).config_table,
                expected.collect(),
                "after window {}",
                n + 1
            );
        }
    }

    /// As the reference's service answers the same reads.
    #[test]
    fn thresholds_adapt_to_the_window_that_ended() {
        assert_thresholds(
            &ColdData::new(OF_ALL, Some(ColdStrategy::Simple), 0),
            &[
                (
                    &[("a", 100), ("b", 100), ("c", 100), ("d", 100), ("e", 99)],
                    &[("a", 150), ("b", 150), ("c", 150), ("d", 150)],
                ),
                (
                    &[("a", 150), ("b", 150), ("c", 150), ("d", 149)],
                    &[("a", 225), ("b", 225), ("c", 225), ("d", 150)],
                ),
                (
                    &[("a", 225), ("b", 225)],
                    &[("a", 337), ("b", 337), ("c", 225), ("d", 150)],
                ),
                (&[("a", 1_000)], &[("a", 505), ("b", 337), ("c", 225), ("d", 150)]),
                (&[("a", 1_001)], &[("a", 404), ("b", 269), ("c", 180), ("d", 150)]),
                (&[("a", 1_001)], &[("a", 323), ("b", 215), ("c", 144), ("d", 150)]),
                (&[("a", 1_001)], &[("a", 258), ("b", 172), ("c", 144), ("d", 120)]),
                (&[("a", 1_001)], &[("a", 206), ("b", 137), ("c", 115), ("d", 120)]),
                (&[("a", 1_001)], &[("a", 164), ("b", 109), ("c", 115), ("d", 100)]),
            ],
        );
    }

    /// As the reference's service answers the same reads.
    #[test]
    fn thresholds_adapt_to_the_last_ten_windows() {
        assert_thresholds(
            &ColdData::new(OF_ALL, Some(ColdStrategy::pid(OF_ALL)), 0),
            &[
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[]),
                (&[("a", 100)], &[("a", 150)]),
                (&[("a", 150)], &[("a", 225)]),
                (&[("b", 100)], &[("a", 225), ("b", 150)]),
                (&[("a", 5_000)], &[("a", 180), ("b", 120)]),
                (&[("a", 225)], &[("a", 270), ("b", 120)]),
                (&[("a", 225)], &[("a", 270), ("b", 120)]),
                (&[], &[("a", 270), ("b", 120)]),
                (&[("a", 3_000), ("b", 150)], &[("a", 216), ("b", 100)]),
                (&[], &[("a", 216), ("b", 100)]),
                (&[("a", 180)], &[("a", 172), ("b", 100)]),
            ],
        );
    }

    #[test]
    fn an_adapted_threshold_counts_until_its_group_is_forgotten() {
        let cold = ColdData::new(OF_ALL, Some(ColdStrategy::Simple), 0);
        cold.record("g", 100, 0);
        cold.record("g", 149, 5_000);
        assert!(!cold.is_over("g", 5_000));
        cold.record("g", 1, 5_000);
        assert!(cold.is_over("g", 5_000));
        assert_eq!(cold.info(64_999).config_table["g||adaptive"], 225);
        assert!(cold.info(65_000).config_table.is_empty());
    }

    #[test]
    fn windows_that_passed_unseen_end_one_after_the_other() {
        let cold = ColdData::new(OF_ALL, Some(ColdStrategy::pid(OF_ALL)), 0);
        cold.record("g", 100, 50_000);
        assert_eq!(cold.info(55_000).config_table["g||adaptive"], 150, "ten before");
        let days = 40 * 86_400_000;
        cold.record("g", 100, days);
        assert_eq!(cold.info(days + 5_000).config_table["g||adaptive"], 150, "anew");
        cold.record("g", 150, 0);
        assert_eq!(
            cold.info(5_000).config_table["g||adaptive"],
            225,
            "clock set back"
        );
    }

    /// As the reference's service answers the same reads, groups with a name of one letter left aside.
    #[test]
    fn an_operator_comes_before_the_strategy() {
        let cold = ColdData::new(OF_ALL, Some(ColdStrategy::Simple), 0);
        let thresholds = |now_ms| Vec::from_iter(cold.info(now_ms).config_table);
        let shown = |adapted| {
            vec![
                ("Orders".to_owned(), 500),
                ("Orders||adaptive".to_owned(), adapted),
            ]
        };
        cold.record("Orders", 100, 0);
        assert_eq!(thresholds(5_000), [("Orders||adaptive".to_owned(), 150)]);
        assert!(cold.set_threshold("Orders", 500));
        cold.record("Orders", 499, 5_000);
        assert!(!cold.is_over("Orders", 5_000));
        assert_eq!(thresholds(10_000), shown(150), "not raised");
        cold.record("Orders", 1_001, 10_000);
        assert_eq!(thresholds(15_000), shown(120));
        assert!(cold.set_threshold("Orders||adaptive", 700));
        assert_eq!(thresholds(15_000), shown(700));
        cold.remove_threshold("Orders||adaptive");
        cold.remove_threshold("Orders");
        assert_eq!(thresholds(15_000), []);
    }

    #[test]
    fn without_a_strategy_no_threshold_adapts() {
        let cold = ColdData::new(OF_ALL, None, 0);
        assert!(cold.set_threshold("g||adaptive", 700));
        cold.record("g", 100, 0);
        assert!(cold.is_over("g", 0));
        assert!(cold.info(5_000).config_table.is_empty());
    }
}
