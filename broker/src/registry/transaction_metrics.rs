//! TransactionMetrics: how many half messages wait for their transaction to end, by the topic they are meant for, and the
//! file `transactionMetrics`.
//!
//! Written every `transactionMetricFlushInterval`. The reference counts on from the file, so that it is wrong for ever
//! after a crash; here the counts are corrected at the start by what is really open.
//! Reference: `TransactionMetrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use common::clock::Clock;
use remoting::body::{Metric, TransactionMetricsSerializeWrapper};

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};

const FILE_NAME: &str = "transactionMetrics";

/// Half messages without an end, by real topic.
pub struct TransactionMetrics {
    table: Mutex<TransactionMetricsSerializeWrapper>,
    file: TableFile,
    clock: Arc<dyn Clock>,
}

impl TransactionMetrics {
    /// Reads `transactionMetrics` in `config_dir`.
    pub fn open(config_dir: &ConfigDirectory, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let file = config_dir.file(FILE_NAME);
        Ok(TransactionMetrics {
            table: Mutex::new(file.load(clock.wall_ms())?.unwrap_or_default()),
            file,
            clock,
        })
    }

    /// Counts half messages that came or, below zero, ended.
    pub fn add(&self, real_topic: &str, change: i64) {
        let now_ms = self.clock.wall_ms();
        {
            let mut table = self.lock();
            table.data_version.next(now_ms);
            let metric = match table.transaction_count.get_mut(real_topic) {
                Some(metric) => metric,
                None => table.transaction_count.entry(real_topic.to_owned()).or_default(),
            };
            metric.count = metric.count.saturating_add(change);
            metric.time_stamp = now_ms;
        }
        self.file.mark_changed();
    }

    /// Sets the counts to what is open; topics that are not named have none.
    pub fn correct(&self, open: &BTreeMap<String, i64>) {
        let known: Vec<String> = self.lock().transaction_count.keys().cloned().collect();
        let mut wanted: BTreeMap<String, i64> = known.into_iter().map(|topic| (topic, 0)).collect();
        wanted.extend(open.iter().map(|(topic, count)| (topic.clone(), *count)));
        for (topic, count) in wanted {
            let difference = count - self.count(&topic);
            if difference != 0 {
                self.add(&topic, difference);
            }
        }
    }

    /// The half messages without an end, by real topic.
    pub fn counts(&self) -> BTreeMap<String, i64> {
        let table = self.lock();
        let counts = table.transaction_count.iter();
        counts
            .map(|(topic, metric)| (topic.clone(), metric.count))
            .collect()
    }

    /// The half messages of a topic without an end.
    pub fn count(&self, real_topic: &str) -> i64 {
        self.lock()
            .transaction_count
            .get(real_topic)
            .map_or(0, |metric: &Metric| metric.count)
    }

    fn lock(&self) -> MutexGuard<'_, TransactionMetricsSerializeWrapper> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table for TransactionMetrics {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.lock().clone()))
    }
}

impl std::fmt::Debug for TransactionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionMetrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Home;

    /// As a Java 5.5.0 broker wrote it.
    const JAVA: &str = r#"{"dataVersion":{"counter":8,"stateVersion":0,"timestamp":1795377359480},"transactionCount":{"FxTx":{"count":3,"timeStamp":1795377359480}}}"#;

    fn open(home: &Home) -> TransactionMetrics {
        let directory = ConfigDirectory::on_host(home.path(), home.clock.clone());
        TransactionMetrics::open(&directory, home.clock.clone()).unwrap()
    }

    #[test]
    fn a_java_file_is_counted_on_from_and_survives_a_restart() {
        let home = Home::empty();
        std::fs::write(home.path().join(FILE_NAME), JAVA).unwrap();
        let metrics = open(&home);
        assert_eq!(metrics.count("FxTx"), 3);
        metrics.add("FxTx", -1);
        metrics.add("Other", 1);
        metrics.flush().unwrap();

        let again = open(&home);
        assert_eq!((again.count("FxTx"), again.count("Other")), (2, 1));
        assert_eq!(again.lock().data_version.counter, 10);
        assert_eq!(again.lock().transaction_count["Other"].time_stamp, 1_000);
    }

    #[test]
    fn counts_that_a_crash_left_wrong_are_corrected_and_right_ones_are_left_alone() {
        let home = Home::empty();
        let metrics = open(&home);
        metrics.add("Wrong", 5);
        metrics.add("Gone", 2);
        metrics.add("Right", 1);
        let before = metrics.lock().data_version.counter;
        let open = BTreeMap::from([
            ("Wrong".to_owned(), 4),
            ("Right".to_owned(), 1),
            ("New".to_owned(), 1),
        ]);
        metrics.correct(&open);
        let counts = ["Wrong", "Gone", "Right", "New"].map(|topic| metrics.count(topic));
        assert_eq!(counts, [4, 0, 1, 1]);
        assert_eq!(metrics.lock().data_version.counter, before + 3);
    }
}
