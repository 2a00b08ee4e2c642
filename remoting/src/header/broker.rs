//! Broker administration: configuration, statistics, consume-queue dumps, HA.

use crate::header;

header! {
    /// Answer to GET_BROKER_CONFIG.
    ///
    /// Reference: GetBrokerConfigResponseHeader
    pub struct GetBrokerConfigResponseHeader {
        /// DataVersion JSON.
        version: String = "version";
    }
}

header! {
    /// VIEW_BROKER_STATS_DATA.
    ///
    /// Reference: ViewBrokerStatsDataRequestHeader
    pub struct ViewBrokerStatsDataRequestHeader {
        stats_name: String = "statsName";
        stats_key: String = "statsKey";
    }
}

header! {
    /// QUERY_CONSUME_QUEUE: entries of a consume queue.
    ///
    /// Reference: QueryConsumeQueueRequestHeader
    pub struct QueryConsumeQueueRequestHeader {
        topic: String = "topic", default String::new();
        queue_id: i32 = "queueId", default 0;
        /// First queue offset wanted.
        index: i64 = "index", default 0;
        count: i32 = "count", default 0;
        /// Whose filter to try on each entry.
        consumer_group: Option<String> = "consumerGroup";
    }
}

header! {
    /// CHECK_ROCKSDB_CQ_WRITE_PROGRESS.
    ///
    /// Reference: CheckRocksdbCqWriteProgressRequestHeader
    pub struct CheckRocksdbCqWriteProgressRequestHeader {
        topic: Option<String> = "topic";
        check_store_time: Option<i64> = "checkStoreTime";
    }
}

header! {
    /// EXPORT_ROCKSDB_CONFIG_TO_JSON.
    ///
    /// Reference: ExportRocksDBConfigToJsonRequestHeader
    pub struct ExportRocksDbConfigToJsonRequestHeader {
        /// Of `topics`, `subscriptionGroups`, `consumerOffsets`, joined with semicolons.
        config_type: String = "configType";
    }
}

header! {
    /// SET_COMMITLOG_READ_MODE; the field stands beside an absent Java header.
    ///
    /// Reference: AdminBrokerProcessor.setCommitLogReadaheadMode
    pub struct SetCommitLogReadModeRequestHeader {
        /// 0 normal, 1 random; kept as text because what is wrong with it decides the answer.
        read_ahead_mode: Option<String> = "READ_AHEAD_MODE";
    }
}

header! {
    /// SWITCH_TIMER_ENGINE; the field stands beside an absent Java header.
    ///
    /// Reference: AdminBrokerProcessor.switchTimerEngine
    pub struct SwitchTimerEngineRequestHeader {
        /// `R` RocksDB, `F` file.
        engine_type: Option<String> = "E_T";
    }
}

header! {
    /// EXCHANGE_BROKER_HA_INFO: members of a group tell each other their HA address.
    ///
    /// Reference: ExchangeHAInfoRequestHeader
    pub struct ExchangeHaInfoRequestHeader {
        /// Absent: the master is asked.
        master_ha_address: Option<String> = "masterHaAddress";
        master_flush_offset: Option<i64> = "masterFlushOffset";
        master_address: Option<String> = "masterAddress";
    }
}

header! {
    /// Answer to EXCHANGE_BROKER_HA_INFO.
    ///
    /// Reference: ExchangeHAInfoResponseHeader
    pub struct ExchangeHaInfoResponseHeader {
        master_ha_address: Option<String> = "masterHaAddress";
        master_flush_offset: Option<i64> = "masterFlushOffset";
        master_address: Option<String> = "masterAddress";
    }
}

header! {
    /// RESET_MASTER_FLUSH_OFFSET.
    ///
    /// Reference: ResetMasterFlushOffsetHeader
    pub struct ResetMasterFlushOffsetHeader {
        master_flush_offset: i64 = "masterFlushOffset";
    }
}
