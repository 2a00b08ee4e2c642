//! TimerMetrics: how many messages wait for each topic, and the file `timermetrics`.
//!
//! A message counts from when it is filed until it is delivered; its recall takes it out at once. Messages that were due
//! when they came up never count. Reference: `TimerMetrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::Clock;
use remoting::body::{Metric, TimerMetricsSerializeWrapper};

use crate::registry::persist::{ConfigDirectory, PersistError, Table, TableFile};

const FILE_NAME: &str = "timermetrics";

/// Waiting messages per topic.
#[derive(Debug)]
pub(crate) struct TimerMetrics {
    state: Mutex<TimerMetricsSerializeWrapper>,
    file: TableFile,
    clock: Arc<dyn Clock>,
}

impl TimerMetrics {
    /// Reads `timermetrics`.
    pub(crate) fn open(directory: &ConfigDirectory, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let file = directory.file(FILE_NAME);
        let saved = file.load(clock.wall_ms())?.unwrap_or_default();
        Ok(Self {
            state: Mutex::new(saved),
            file,
            clock,
        })
    }

    /// More or fewer wait for a topic.
    pub(crate) fn add(&self, topic: &str, change: i64) {
        let now_ms = self.clock.wall_ms();
        {
            let mut state = self.lock();
            match state.timing_count.get_mut(topic) {
                Some(metric) => {
                    metric.count += change;
                    metric.time_stamp = now_ms;
                }
                None => {
                    let metric = Metric {
                        count: change,
                        time_stamp: now_ms,
                    };
                    state.timing_count.insert(topic.to_owned(), metric);
                }
            }
            state.data_version.next(now_ms);
        }
        self.file.mark_changed();
    }

    /// The topic was deleted.
    pub(crate) fn forget(&self, topic: &str) {
        if self.lock().timing_count.remove(topic).is_some() {
            self.file.mark_changed();
        }
    }

    /// The counts of these topics are set anew; all others are 0.
    pub(crate) fn revise(&self, counts: &BTreeMap<String, i64>) {
        let now_ms = self.clock.wall_ms();
        let mut state = self.lock();
        for topic in counts.keys() {
            state.timing_count.entry(topic.clone()).or_default();
        }
        for (topic, metric) in &mut state.timing_count {
            let count = counts.get(topic).copied().unwrap_or(0);
            if metric.count != count {
                *metric = Metric {
                    count,
                    time_stamp: now_ms,
                };
            }
        }
        state.data_version.next(now_ms);
        drop(state);
        self.file.mark_changed();
    }

    /// How many wait for all topics.
    pub(crate) fn total(&self) -> i64 {
        self.lock().timing_count.values().map(|metric| metric.count).sum()
    }

    /// The file's content and the answer to GET_TIMER_METRICS.
    pub(crate) fn snapshot(&self) -> TimerMetricsSerializeWrapper {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, TimerMetricsSerializeWrapper> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for TimerMetrics {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.snapshot()))
    }
}

#[cfg(test)]
mod tests {
    use common::clock::ManualClock;

    use super::*;

    fn open(directory: &tempfile::TempDir) -> TimerMetrics {
        let clock = Arc::new(ManualClock::new(1_000));
        let directory = ConfigDirectory::on_host(directory.path(), clock.clone());
        TimerMetrics::open(&directory, clock).unwrap()
    }

    fn counts(metrics: &TimerMetrics) -> Vec<(String, i64)> {
        let counts = metrics.snapshot().timing_count.into_iter();
        counts.map(|(topic, metric)| (topic, metric.count)).collect()
    }

    #[test]
    fn counts_go_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = open(&directory);
        metrics.add("Orders", 1);
        metrics.add("Orders", 1);
        metrics.add("Bills", 1);
        metrics.add("Orders", -1);
        metrics.forget("Bills");
        metrics.flush().unwrap();
        let metrics = open(&directory);
        assert_eq!(counts(&metrics), [("Orders".to_owned(), 1)]);
        metrics.add("Orders", 1);
        assert_eq!(counts(&metrics), [("Orders".to_owned(), 2)]);
    }

    #[test]
    fn the_counts_of_a_java_broker_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"dataVersion":{"counter":26,"stateVersion":0,"timestamp":1795377409965},"timingCount":{"FxTimer":{"count":2,"timeStamp":1795377351060}}}"#;
        std::fs::write(directory.path().join("timermetrics"), text).unwrap();
        let metrics = open(&directory);
        assert_eq!(counts(&metrics), [("FxTimer".to_owned(), 2)]);
    }

    #[test]
    fn revised_counts_replace_all_others() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = open(&directory);
        metrics.add("Orders", 5);
        metrics.add("Bills", 5);
        metrics.revise(&BTreeMap::from([("Bills".to_owned(), 2), ("New".to_owned(), 1)]));
        let expected =
            [("Bills", 2), ("New", 1), ("Orders", 0)].map(|(topic, count)| (topic.to_owned(), count));
        assert_eq!(counts(&metrics), expected);
    }
}
