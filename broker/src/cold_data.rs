//! Cold-data control: groups that read messages too old to be in memory are slowed down, so that the disk is left to the others.
//!
//! ```text
//!   pull found old messages ──> bytes of the group, and of all groups, in this window of 5 s
//!   next pull of old messages, over the threshold of the group or of all:  a push consumer is told to come later,
//!                                                                          a pull consumer waits 1 s and gets one message
//! ```
//!
//! Off unless `coldDataFlowControlEnable`. Old is what counts as not in memory (`accessMessageInMemoryMaxRatio`); the reference also asks
//! the kernel for the pages, and can adapt thresholds (`coldCtrStrategyEnable`). Reference: `ColdDataCgCtrService`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Bytes are counted over so long, in ms.
const WINDOW_MS: i64 = 5_000;
/// A group that read nothing old for so long is forgotten, in ms.
const FORGET_AFTER_MS: i64 = 60_000;
/// Thresholds an operator may set; groups counted at a time.
pub const MAX_GROUPS: usize = 100_000;

/// What old messages groups read, and may read.
#[derive(Debug, Default)]
pub struct ColdData {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Set by an operator, in bytes a window.
    thresholds: BTreeMap<String, i64>,
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
    /// Nothing read, nothing set.
    pub fn new() -> Self {
        Self::default()
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
    pub fn is_over(&self, group: &str, thresholds: Thresholds, now_ms: i64) -> bool {
        let table = self.at(now_ms);
        let Some(reads) = table.groups.get(group) else {
            return false;
        };
        let threshold = table.thresholds.get(group).copied().unwrap_or(thresholds.group);
        reads.cold_acc >= threshold || table.bytes >= thresholds.all
    }

    /// Sets a group's threshold; false when there are too many.
    pub fn set_threshold(&self, group: &str, threshold: i64) -> bool {
        let mut table = self.lock();
        let has_room = table.thresholds.len() < MAX_GROUPS || table.thresholds.contains_key(group);
        if has_room {
            table.thresholds.insert(group.to_owned(), threshold);
        }
        has_room
    }

    /// Lets the configuration's threshold count for a group again.
    pub fn remove_threshold(&self, group: &str) {
        self.lock().thresholds.remove(group);
    }

    /// Everything, for an operator.
    pub fn info(&self, thresholds: Thresholds, now_ms: i64) -> ColdDataInfo {
        let table = self.at(now_ms);
        ColdDataInfo {
            cg_cold_read_threshold: thresholds.group,
            config_table: table.thresholds.clone(),
            global_acc: table.bytes,
            global_cold_read_threshold: thresholds.all,
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
        let window = now_ms.div_euclid(WINDOW_MS);
        if table.window != window {
            table.window = window;
            table.bytes = 0;
            table
                .groups
                .retain(|_, reads| now_ms.saturating_sub(reads.last_cold_read_time_mills) < FORGET_AFTER_MS);
            table.groups.values_mut().for_each(|reads| reads.cold_acc = 0);
        }
        table
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { group: 100, all: 250 };

    #[test]
    fn a_group_is_over_its_threshold_until_the_window_ends() {
        let cold = ColdData::new();
        assert!(!cold.is_over("g", THRESHOLDS, 0));
        cold.record("g", 99, 0);
        assert!(!cold.is_over("g", THRESHOLDS, 0));
        cold.record("g", 1, 4_999);
        assert!(cold.is_over("g", THRESHOLDS, 4_999));
        assert!(!cold.is_over("g", THRESHOLDS, 5_000));
    }

    #[test]
    fn an_operator_sets_the_threshold_of_a_group_and_takes_it_back() {
        let cold = ColdData::new();
        cold.record("g", 50, 0);
        assert!(cold.set_threshold("g", 50));
        assert!(cold.is_over("g", THRESHOLDS, 0));
        cold.remove_threshold("g");
        assert!(!cold.is_over("g", THRESHOLDS, 0));
    }

    #[test]
    fn all_groups_that_read_old_messages_share_one_threshold() {
        let cold = ColdData::new();
        for group in ["a", "b", "c"] {
            cold.record(group, 90, 0);
        }
        assert!(cold.is_over("a", THRESHOLDS, 0));
        assert!(!cold.is_over("d", THRESHOLDS, 0), "reads nothing old");
    }

    #[test]
    fn a_group_that_reads_nothing_old_is_forgotten() {
        let cold = ColdData::new();
        cold.record("g", 90, 0);
        assert_eq!(cold.info(THRESHOLDS, 59_999).runtime_table.len(), 1);
        assert_eq!(cold.info(THRESHOLDS, 60_000).runtime_table.len(), 0);
    }
}
