//! Durable metadata: each table owns its lock and its JSON file.
//!
//! ```text
//!   topics            topics.json              written when it changes
//!   groups            subscriptionGroup.json   written when it changes
//!   consumer_offsets  consumerOffset.json      every flushConsumerOffsetInterval
//!   order_info        consumerOrderInfo.json   every flushConsumerOffsetInterval
//!                     liteOrderInfo.json       the same, of light topics
//!   request_modes     messageRequestMode.json  written when it changes
//!   delay_offsets     delayOffset.json         every flushDelayOffsetInterval
//!   consumer_filters  consumerFilter.json      every 10 s
//!   transaction_metrics  transactionMetrics    every transactionMetricFlushInterval
//!   queue_mappings    topicQueueMapping.json   written when it changes
//!   persist           the one that writes them all: atomically, in the background, and at the end
//! ```

pub mod consumer_filters;
pub mod consumer_offsets;
pub mod delay_offsets;
pub mod groups;
pub mod order_info;
pub mod order_log;
pub mod persist;
pub mod queue_mappings;
pub mod request_modes;
pub mod topics;
pub mod transaction_metrics;

pub use consumer_filters::ConsumerFilters;
pub use consumer_offsets::ConsumerOffsets;
pub use delay_offsets::DelayOffsets;
pub use groups::Groups;
pub use order_info::ConsumerOrderInfo;
pub use persist::{ConfigDirectory, Persist, PersistWaker, TableFile};
pub use queue_mappings::QueueMappings;
pub use request_modes::MessageRequestModes;
pub use topics::Topics;
pub use transaction_metrics::TransactionMetrics;

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of the tables share: a config directory, optionally with the files a Java 5.5.0 broker left.

    use std::path::Path;
    use std::sync::Arc;

    use common::clock::ManualClock;
    use common::properties::Live;
    use store::MessageStoreConfig;

    use super::*;
    use crate::config::BrokerConfig;

    /// A directory with its own clock and configuration, in which the tables can be opened again and again.
    pub(crate) struct Home {
        pub(crate) directory: tempfile::TempDir,
        pub(crate) clock: Arc<ManualClock>,
        pub(crate) config: Arc<Live<BrokerConfig>>,
        pub(crate) store_config: MessageStoreConfig,
    }

    impl Home {
        /// Without any file.
        pub(crate) fn empty() -> Self {
            let config = BrokerConfig {
                broker_cluster_name: "FxCluster".to_owned(),
                broker_name: "fx-broker".to_owned(),
                ..BrokerConfig::default()
            };
            Home {
                directory: tempfile::tempdir().unwrap(),
                clock: Arc::new(ManualClock::new(1_000)),
                config: Arc::new(Live::new(config)),
                store_config: MessageStoreConfig::default(),
            }
        }

        /// With the files of tests/data/java-config.
        pub(crate) fn of_java() -> Self {
            let home = Self::empty();
            let java = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/java-config");
            for file in java.read_dir().unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), home.path().join(file.file_name())).unwrap();
            }
            home
        }

        pub(crate) fn path(&self) -> &Path {
            self.directory.path()
        }

        fn config_directory(&self) -> ConfigDirectory {
            ConfigDirectory::on_host(self.path(), self.clock.clone())
        }

        pub(crate) fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.path().join(name)).unwrap()
        }

        pub(crate) fn topics(&self) -> Topics {
            Topics::open(
                &self.config_directory(),
                self.clock.clone(),
                self.config.clone(),
                &self.store_config,
            )
            .unwrap()
        }

        pub(crate) fn groups(&self) -> Groups {
            Groups::open(
                &self.config_directory(),
                self.clock.clone(),
                self.config.clone(),
                &self.store_config,
            )
            .unwrap()
        }

        pub(crate) fn consumer_offsets(&self) -> ConsumerOffsets {
            ConsumerOffsets::open(
                &self.config_directory(),
                self.clock.clone(),
                self.config.clone(),
                &self.store_config,
            )
            .unwrap()
        }

        pub(crate) fn consumer_filters(&self) -> ConsumerFilters {
            ConsumerFilters::open(&self.config_directory(), self.clock.clone(), self.config.clone()).unwrap()
        }

        pub(crate) fn queue_mappings(&self) -> QueueMappings {
            let broker_name = &self.config.get().broker_name;
            QueueMappings::open(&self.config_directory(), self.clock.clone(), broker_name).unwrap()
        }

        pub(crate) fn delay_offsets(&self) -> DelayOffsets {
            DelayOffsets::open(&self.config_directory(), self.clock.clone(), self.config.clone()).unwrap()
        }

        pub(crate) fn order_info(&self) -> ConsumerOrderInfo {
            let offsets = Arc::new(self.consumer_offsets());
            ConsumerOrderInfo::open(&self.config_directory(), self.clock.clone(), offsets).unwrap()
        }

        pub(crate) fn request_modes(&self) -> MessageRequestModes {
            MessageRequestModes::open(&self.config_directory(), &*self.clock).unwrap()
        }
    }
}
