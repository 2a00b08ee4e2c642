//! MessageStoreConfig: every store key of the reference, with its name and default.
//!
//! All keys are accepted and shown, so that one configuration file serves both brokers; the comment of a
//! key that has no effect here says so. Reference: `MessageStoreConfig`.

use std::path::PathBuf;

use common::{properties, property_enum};

property_enum! {
    /// When a send is answered.
    pub enum FlushDiskType {
        /// After its bytes are on disk.
        SyncFlush = "SYNC_FLUSH",
        /// Before that.
        AsyncFlush = "ASYNC_FLUSH",
    }
}

property_enum! {
    /// What this broker is to its replicas.
    pub enum BrokerRole {
        /// Takes messages and does not wait for replicas.
        AsyncMaster = "ASYNC_MASTER",
        /// Takes messages and waits for replicas.
        SyncMaster = "SYNC_MASTER",
        /// Follows a master.
        Slave = "SLAVE",
    }
}

properties! {
    /// How the store keeps messages.
    pub struct MessageStoreConfig {

        // paths
        /// Root of everything the store keeps.
        "storePathRootDir" store_path_root_dir: String = default_root_dir(), restart;
        /// Directories of the CommitLog, separated by `,`; empty means `commitlog` under the root.
        "storePathCommitLog" store_path_commit_log: String = String::new(), restart;
        /// Directory of a DLedger log; not used by this store.
        "storePathDLedgerCommitLog" store_path_dledger_commit_log: String = String::new(), restart;
        /// File of the epochs in controller mode; empty means `epochFileCheckpoint` under the root.
        "storePathEpochFile" store_path_epoch_file: String = String::new(), restart;
        /// File of the broker's identity in controller mode; empty means `brokerIdentity` under the root.
        "storePathBrokerIdentity" store_path_broker_identity: String = String::new(), restart;
        /// CommitLog directories that are read but get no new files, separated by `,`.
        "readOnlyCommitLogStorePaths" read_only_commit_log_store_paths: String = String::new(), restart;
        /// Kind of store; only `default`, the file store, exists here.
        "storeType" store_type: String = "default".to_owned(), restart;

        // file sizes
        /// Size of one CommitLog file in bytes. Not recorded in the files: must stay what it was.
        "mappedFileSizeCommitLog" mapped_file_size_commit_log: usize = 1024 * 1024 * 1024, restart;
        /// Size of one ConsumeQueue file in bytes, rounded up to whole 20-byte entries. Must stay what it was.
        "mappedFileSizeConsumeQueue" mapped_file_size_consume_queue: usize = 300_000 * 20, restart;
        /// Size of one batch ConsumeQueue file in bytes, rounded up to whole 46-byte entries. Must stay what it was.
        "mapperFileSizeBatchConsumeQueue" mapper_file_size_batch_consume_queue: usize = 300_000 * 46, restart;
        /// Whether entries may have extension records.
        "enableConsumeQueueExt" enable_consume_queue_ext: bool = false, restart;
        /// Size of one ConsumeQueue extension file in bytes.
        "mappedFileSizeConsumeQueueExt" mapped_file_size_consume_queue_ext: usize = 48 * 1024 * 1024, restart;
        /// Bits of the filter bit map in an extension record.
        // What the reference's Bloom filter of 32 consumers and 20 % false hits needs; it puts that over the 64 of the struct.
        "bitMapLengthConsumeQueueExt" bit_map_length_consume_queue_ext: i32 = 112, restart;
        /// Hash slots of one index file. Must stay what it was.
        "maxHashSlotNum" max_hash_slot_num: u32 = 5_000_000, restart;
        /// Entries of one index file, entry 0 included, which is never used. Must stay what it was.
        "maxIndexNum" max_index_num: u32 = 20_000_000, restart;
        /// Size of one timer log file in bytes.
        "mappedFileSizeTimerLog" mapped_file_size_timer_log: usize = 100 * 1024 * 1024, restart;
        /// Size of one compaction log file in bytes.
        "compactionMappedFileSize" compaction_mapped_file_size: usize = 100 * 1024 * 1024, restart;
        /// Size of one compaction queue file in bytes.
        "compactionCqMappedFileSize" compaction_cq_mapped_file_size: usize = 10 * 1024 * 1024, restart;

        // put
        /// Largest body in bytes; of a batch, the sum.
        "maxMessageSize" max_message_size: usize = 4 * 1024 * 1024, live;
        /// Longest topic of the old record version; superseded by `autoMessageVersionOnTopicLen`.
        "maxTopicLength" max_topic_length: i32 = 127, live;
        /// Whether topics over 127 bytes are stored in version 2 records.
        "autoMessageVersionOnTopicLen" auto_message_version_on_topic_len: bool = true, live;
        /// Whether each record ends with a checksum of all of itself, as its last property.
        "enabledAppendPropCRC" enabled_append_prop_crc: bool = false, restart;
        /// Whether recovery checks that checksum instead of the body's.
        "forceVerifyPropCRC" force_verify_prop_crc: bool = false, restart;
        /// Whether this broker takes messages, and whether it waits for replicas.
        "brokerRole" broker_role: BrokerRole = BrokerRole::AsyncMaster, live;
        /// How long a put may wait for flush and replicas, in ms.
        "putMessageTimeout" put_message_timeout: u64 = 8_000, live;
        /// The store is busy when the writer lock has been held longer than this, in ms.
        "osPageCacheBusyTimeOutMills" os_page_cache_busy_time_out_mills: i64 = 1_000, live;
        /// Kind of writer lock in the reference; there is one kind here.
        "useReentrantLockWhenPutMessage" use_reentrant_lock_when_put_message: bool = true, restart;
        /// Kind of writer lock in the reference; there is one kind here.
        "useABSLock" use_abs_lock: bool = false, restart;
        /// Tuning of a lock this store does not have.
        "spinLockCollisionRetreatOptimalDegree" spin_lock_collision_retreat_optimal_degree: i32 = 1_000, restart;
        /// Number of queue locks in the reference; queue offsets are taken under the writer lock here.
        "topicQueueLockNum" topic_queue_lock_num: i32 = 32, restart;
        /// Debugging of locks this store does not have.
        "debugLockEnable" debug_lock_enable: bool = false, live;
        /// Bound of asynchronous puts in the reference.
        "maxAsyncPutMessageRequests" max_async_put_message_requests: i32 = 5_000, live;
        /// Bound of pending index requests in the reference.
        "putMsgIndexHightWater" put_msg_index_hight_water: i32 = 600_000, live;
        /// Not used: one follower dispatches.
        "dispatchFromSenderThread" dispatch_from_sender_thread: bool = false, live;

        // flush
        /// Whether a send is answered before or after its bytes are on disk.
        "flushDiskType" flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, restart;
        /// Period of the CommitLog's flush, in ms.
        "flushIntervalCommitLog" flush_interval_commit_log: u64 = 500, live;
        /// Whether that period is fixed; false lets a put end it.
        "flushCommitLogTimed" flush_commit_log_timed: bool = true, live;
        /// Dirty 4 KiB pages that make a flush worth it.
        "flushCommitLogLeastPages" flush_commit_log_least_pages: u64 = 4, live;
        /// Everything is flushed at least this often, in ms.
        "flushCommitLogThoroughInterval" flush_commit_log_thorough_interval: u64 = 10_000, live;
        /// How long a send waits for its flush, in ms.
        "syncFlushTimeout" sync_flush_timeout: i64 = 5_000, live;
        /// Period of the ConsumeQueues' flush, in ms.
        "flushIntervalConsumeQueue" flush_interval_consume_queue: u64 = 1_000, live;
        /// Dirty 4 KiB pages that make the flush of a queue worth it.
        "flushConsumeQueueLeastPages" flush_consume_queue_least_pages: u64 = 2, live;
        /// All queues are flushed at least this often, in ms; then the checkpoint moves.
        "flushConsumeQueueThoroughInterval" flush_consume_queue_thorough_interval: u64 = 60_000, live;
        /// Whether a put wakes the flush although the flush is asynchronous.
        "wakeFlushWhenPutMessage" wake_flush_when_put_message: bool = false, live;
        /// Belongs to the transient store pool, which this store does not have.
        "wakeCommitWhenPutMessage" wake_commit_when_put_message: bool = true, live;
        /// Belongs to the transient store pool.
        "commitIntervalCommitLog" commit_interval_commit_log: u64 = 200, live;
        /// Belongs to the transient store pool.
        "commitCommitLogLeastPages" commit_commit_log_least_pages: u64 = 4, live;
        /// Belongs to the transient store pool.
        "commitCommitLogThoroughInterval" commit_commit_log_thorough_interval: u64 = 200, live;
        /// Off-heap write buffers of the reference; the mapping needs none.
        "transientStorePoolEnable" transient_store_pool_enable: bool = false, restart;
        /// Belongs to the transient store pool.
        "transientStorePoolSize" transient_store_pool_size: i32 = 5, restart;
        /// Belongs to the transient store pool.
        "fastFailIfNoBufferInStorePool" fast_fail_if_no_buffer_in_store_pool: bool = false, live;
        /// Write path of the reference; the CommitLog is always mapped here.
        "writeWithoutMmap" write_without_mmap: bool = false, restart;
        /// Not used: an error while flushing always stops writes.
        "enableRunningFlagsInFlush" enable_running_flags_in_flush: bool = false, restart;
        /// Belongs to `writeWithoutMmap`.
        "sharedByteBufferNum" shared_byte_buffer_num: i32 = 16, restart;
        /// Write path of the reference; queues are always mapped here.
        "putConsumeQueueDataByFileChannel" put_consume_queue_data_by_file_channel: bool = true, restart;
        /// Touching whole new files; pages ahead of the writer are always made here.
        "warmMapedFileEnable" warm_maped_file_enable: bool = false, restart;
        /// Belongs to `warmMapedFileEnable`.
        "flushLeastPagesWhenWarmMapedFile" flush_least_pages_when_warm_maped_file: u64 = 4_096, live;

        // get and query
        /// Bytes after which a pull of recent messages is full.
        "maxTransferBytesOnMessageInMemory" max_transfer_bytes_on_message_in_memory: usize = 256 * 1024, live;
        /// Messages after which a pull of recent messages is full.
        "maxTransferCountOnMessageInMemory" max_transfer_count_on_message_in_memory: usize = 32, live;
        /// Bytes after which a pull of old messages is full.
        "maxTransferBytesOnMessageInDisk" max_transfer_bytes_on_message_in_disk: usize = 64 * 1024, live;
        /// Messages after which a pull of old messages is full.
        "maxTransferCountOnMessageInDisk" max_transfer_count_on_message_in_disk: usize = 8, live;
        /// Percent of the host's memory: what lies nearer to the log's end counts as recent.
        "accessMessageInMemoryMaxRatio" access_message_in_memory_max_ratio: u64 = 40, live;
        /// The same for the cold-data control.
        "accessMessageInMemoryHotRatio" access_message_in_memory_hot_ratio: u64 = 26, live;
        /// Bytes of ConsumeQueue that one pull looks at, at least.
        "maxFilterMessageSize" max_filter_message_size: usize = 16_000, live;
        /// ConsumeQueue files that one pull looks at.
        "travelCqFileNumWhenGetMessage" travel_cq_file_num_when_get_message: usize = 1, live;
        /// Most messages of one pull that batches its reads.
        "pullBatchMaxMessageCount" pull_batch_max_message_count: i32 = 160, live;
        /// Whether a slave corrects a consumer's offset that is out of range.
        "offsetCheckInSlave" offset_check_in_slave: bool = false, live;
        /// Whether consumers' distance from the log's end is recorded.
        "diskFallRecorded" disk_fall_recorded: bool = true, live;
        /// Most messages of one query by key.
        "maxMsgsNumBatch" max_msgs_num_batch: usize = 64, live;
        /// Most messages of a query by unique key.
        "defaultQueryMaxNum" default_query_max_num: usize = 32, live;
        /// Whether keys are indexed.
        "messageIndexEnable" message_index_enable: bool = true, restart;
        /// Whether recovery after a crash begins where the index was last safe.
        "messageIndexSafe" message_index_safe: bool = false, live;
        /// Whether keys are written to index files.
        "indexFileWriteEnable" index_file_write_enable: bool = true, live;
        /// Whether queries use the index files.
        "indexFileReadEnable" index_file_read_enable: bool = true, live;
        /// Entries looked at before a consumer's lag is estimated.
        "maxConsumeQueueScan" max_consume_queue_scan: i32 = 20_000, live;
        /// Matches after which a consumer's lag is estimated.
        "sampleCountThreshold" sample_count_threshold: i32 = 5_000, live;
        /// Cache of the reference for batch queues; not needed here.
        "searchBcqByCacheEnable" search_bcq_by_cache_enable: bool = true, live;
        /// Whether reads of old data are slowed down.
        "coldDataFlowControlEnable" cold_data_flow_control_enable: bool = false, live;
        /// Whether old data is looked for by page.
        "coldDataScanEnable" cold_data_scan_enable: bool = false, live;
        /// Whether the kernel may read ahead in the CommitLog.
        "dataReadAheadEnable" data_read_ahead_enable: bool = true, live;
        /// Period of the cold-data check, in ms.
        "timerColdDataCheckIntervalMs" timer_cold_data_check_interval_ms: i32 = 60_000, live;
        /// Pages per sampled page in the cold-data check.
        "sampleSteps" sample_steps: i32 = 32, live;

        // recovery
        /// Whether recovery checks the bodies.
        "checkCRCOnRecover" check_crc_on_recover: bool = true, live;
        /// CommitLog files that recovery goes back at most.
        "commitLogRecoverMaxNum" commit_log_recover_max_num: usize = 10, restart;
        /// The same in the RocksDB store of the reference.
        "maxRecoveryCommitlogFiles" max_recovery_commitlog_files: usize = 30, restart;
        /// Whether recovery starts at the last dispatched record instead of its file's first.
        "enableAcceleratedRecovery" enable_accelerated_recovery: bool = false, restart;
        /// Not used: recovery always checks that a record stands where it says.
        "checkCommitLogOffsetOnRecover" check_commit_log_offset_on_recover: bool = false, restart;
        /// Not used: recovery dispatches from what the queues have.
        "recheckReputOffsetFromCq" recheck_reput_offset_from_cq: bool = false, live;
        /// Whether recovery logs entries that a queue already has.
        "enableLogConsumeQueueRepeatedlyBuildWhenRecover" enable_log_consume_queue_repeatedly_build_when_recover: bool = false, live;
        /// Replication by an outer process; not supported.
        "duplicationEnable" duplication_enable: bool = false, restart;

        // retention
        /// Hours of the day, local time, at which expired files go; separated by `;`.
        "deleteWhen" delete_when: String = "04".to_owned(), live;
        /// Hours for which a file is kept after its last change.
        "fileReservedTime" file_reserved_time: i64 = 72, live;
        /// Percent of disk use above which expired files go at any hour.
        "diskMaxUsedSpaceRatio" disk_max_used_space_ratio: i32 = 75, live;
        /// Percent of disk use above which puts are refused.
        "diskSpaceWarningLevelRatio" disk_space_warning_level_ratio: i32 = 90, live;
        /// Percent of disk use above which the oldest files go whatever their age.
        "diskSpaceCleanForciblyRatio" disk_space_clean_forcibly_ratio: i32 = 85, live;
        /// Whether that is allowed.
        "cleanFileForciblyEnable" clean_file_forcibly_enable: bool = true, live;
        /// Period of the cleaning, in ms.
        "cleanResourceInterval" clean_resource_interval: u64 = 10_000, live;
        /// Pause between two deletions of CommitLog files, in ms.
        "deleteCommitLogFilesInterval" delete_commit_log_files_interval: u64 = 100, live;
        /// Pause between two deletions of ConsumeQueue files, in ms.
        "deleteConsumeQueueFilesInterval" delete_consume_queue_files_interval: u64 = 100, live;
        /// CommitLog files deleted in one round at most.
        "deleteFileBatchMax" delete_file_batch_max: usize = 10, live;
        /// The same for a manual request of the reference.
        "maxBatchDeleteFilesNum" max_batch_delete_files_num: i32 = 50, live;
        /// Not used: readers keep a deleted file alive until they finish.
        "destroyMapedFileIntervalForcibly" destroy_maped_file_interval_forcibly: u64 = 120_000, live;
        /// Not used: no file hangs.
        "redeleteHangedFileInterval" redelete_hanged_file_interval: u64 = 120_000, live;
        /// Pause between two corrections of a queue's minimum, in ms.
        "correctLogicMinOffsetSleepInterval" correct_logic_min_offset_sleep_interval: u64 = 1, live;
        /// Period of forced corrections, in ms.
        "correctLogicMinOffsetForceInterval" correct_logic_min_offset_force_interval: u64 = 300_000, live;
        /// Whether consumer offsets of vanished topics go too.
        "enableCleanExpiredOffset" enable_clean_expired_offset: bool = false, live;
        /// Disk use of all replicas together above which a shared disk is cleaned.
        "logicalDiskSpaceCleanForciblyThreshold" logical_disk_space_clean_forcibly_threshold: f64 = 0.8, live;
        /// Brokers that share the disk.
        "replicasPerDiskPartition" replicas_per_disk_partition: i32 = 1, restart;
        /// Remapping of the reference; the kernel does it.
        "mappedFileSwapEnable" mapped_file_swap_enable: bool = true, live;
        /// Belongs to `mappedFileSwapEnable`.
        "commitLogForceSwapMapInterval" commit_log_force_swap_map_interval: i64 = 43_200_000, live;
        /// Belongs to `mappedFileSwapEnable`.
        "commitLogSwapMapInterval" commit_log_swap_map_interval: i64 = 3_600_000, live;
        /// Belongs to `mappedFileSwapEnable`.
        "commitLogSwapMapReserveFileNum" commit_log_swap_map_reserve_file_num: i32 = 100, live;
        /// Belongs to `mappedFileSwapEnable`.
        "logicQueueForceSwapMapInterval" logic_queue_force_swap_map_interval: i64 = 43_200_000, live;
        /// Belongs to `mappedFileSwapEnable`.
        "logicQueueSwapMapInterval" logic_queue_swap_map_interval: i64 = 3_600_000, live;
        /// Belongs to `mappedFileSwapEnable`.
        "cleanSwapedMapInterval" clean_swaped_map_interval: i64 = 300_000, live;
        /// Belongs to `mappedFileSwapEnable`.
        "logicQueueSwapMapReserveFileNum" logic_queue_swap_map_reserve_file_num: i32 = 20, live;

        // dispatch
        /// Whether messages are dispatched before they are flushed although the flush is synchronous.
        "readUnCommitted" read_uncommitted: bool = false, live;
        /// Not used: dispatch is one thread of its own.
        "enableAsyncReput" enable_async_reput: bool = true, restart;
        /// Not used: dispatch is one thread.
        "dispatchCqThreads" dispatch_cq_threads: i32 = 10, restart;
        /// Not used: dispatch is one thread.
        "dispatchCqCacheNum" dispatch_cq_cache_num: i32 = 4_096, restart;
        /// Not used: dispatch is one thread.
        "enableBuildConsumeQueueConcurrently" enable_build_consume_queue_concurrently: bool = false, restart;
        /// Not used: dispatch is one thread.
        "batchDispatchRequestThreadPoolNums" batch_dispatch_request_thread_pool_nums: i32 = 16, restart;
        /// Whether light message queues exist.
        "enableLmq" enable_lmq: bool = false, restart;
        /// Whether INNER_MULTI_DISPATCH puts a message into further queues.
        "enableMultiDispatch" enable_multi_dispatch: bool = false, restart;
        /// Most light message queues.
        "maxLmqConsumeQueueNum" max_lmq_consume_queue_num: i32 = 20_000, live;
        /// Whether that bound is enforced.
        "enableLmqQuota" enable_lmq_quota: bool = false, live;

        // delay and timer
        /// Delays of the delay levels.
        "messageDelayLevel" message_delay_level: String = common::message::delay_level::DEFAULT_DELAY_LEVELS.to_owned(), restart;
        /// Period at which the progress of the delay levels is stored, in ms.
        "flushDelayOffsetInterval" flush_delay_offset_interval: u64 = 10_000, live;
        /// Whether delayed messages are counted.
        "enableScheduleMessageStats" enable_schedule_message_stats: bool = true, live;
        /// Asynchronous delivery of delayed messages.
        "enableScheduleAsyncDeliver" enable_schedule_async_deliver: bool = false, restart;
        /// Belongs to `enableScheduleAsyncDeliver`.
        "scheduleAsyncDeliverMaxPendingLimit" schedule_async_deliver_max_pending_limit: i32 = 2_000, live;
        /// Belongs to `enableScheduleAsyncDeliver`.
        "scheduleAsyncDeliverMaxResendNum2Blocked" schedule_async_deliver_max_resend_num2_blocked: i32 = 3, live;
        /// Whether messages with a delivery time are accepted.
        "timerWheelEnable" timer_wheel_enable: bool = true, restart;
        /// Precision of delivery times, in ms.
        "timerPrecisionMs" timer_precision_ms: i64 = 1_000, restart;
        /// Slots after which a timer message is stored again instead of waiting.
        "timerRollWindowSlot" timer_roll_window_slot: i64 = 172_800, restart;
        /// Longest delay, in seconds.
        "timerMaxDelaySec" timer_max_delay_sec: i64 = 259_200, live;
        /// Period of the timer's flush, in ms.
        "timerFlushIntervalMs" timer_flush_interval_ms: u64 = 1_000, live;
        /// Threads of the reference.
        "timerGetMessageThreadNum" timer_get_message_thread_num: i32 = 3, restart;
        /// Threads of the reference.
        "timerPutMessageThreadNum" timer_put_message_thread_num: i32 = 3, restart;
        /// Queue kind of the reference.
        "timerEnableDisruptor" timer_enable_disruptor: bool = false, restart;
        /// Whether the counts of pending timers are checked.
        "timerEnableCheckMetrics" timer_enable_check_metrics: bool = true, live;
        /// Hour of that check.
        "timerCheckMetricsWhen" timer_check_metrics_when: String = "05".to_owned(), live;
        /// Whether the timer takes over the delay levels.
        "timerInterceptDelayLevel" timer_intercept_delay_level: bool = false, restart;
        /// Pauses the reader of timer messages.
        "timerStopEnqueue" timer_stop_enqueue: bool = false, live;
        /// Pauses the delivery of timer messages.
        "timerStopDequeue" timer_stop_dequeue: bool = false, live;
        /// Whether an unexpected error skips a timer message.
        "timerSkipUnknownError" timer_skip_unknown_error: bool = false, live;
        /// Whether timer pages are touched ahead.
        "timerWarmEnable" timer_warm_enable: bool = false, live;
        /// Whether a failing delivery is tried for ever.
        "timerEnableRetryUntilSuccess" timer_enable_retry_until_success: bool = false, live;
        /// Pending messages of a slot above which new ones are refused.
        "timerCongestNumEachSlot" timer_congest_num_each_slot: i32 = i32::MAX, live;
        /// Count up to which pending timers are counted exactly.
        "timerMetricSmallThreshold" timer_metric_small_threshold: i32 = 1_000_000, live;
        /// Period of the progress log, in ms.
        "timerProgressLogIntervalMs" timer_progress_log_interval_ms: i32 = 10_000, live;
        /// Whether the wheel is written as snapshots.
        "timerWheelSnapshotFlush" timer_wheel_snapshot_flush: bool = false, restart;
        /// Period of those snapshots, in ms.
        "timerWheelSnapshotIntervalMs" timer_wheel_snapshot_interval_ms: i32 = 10_000, live;
        /// Whether recalls reach the wheel.
        "timerRecallToTimeWheelEnable" timer_recall_to_time_wheel_enable: bool = true, live;
        /// Belongs to the RocksDB timer.
        "timerRecallToTimelineEnable" timer_recall_to_timeline_enable: bool = true, live;
        /// Whether recall keys hold the topic.
        "appendTopicForTimerDeleteKey" append_topic_for_timer_delete_key: bool = false, live;
        /// Belongs to the RocksDB timer.
        "timerReputServiceQueueCapacity" timer_reput_service_queue_capacity: i32 = 10_000, restart;
        /// Belongs to the RocksDB timer.
        "timerReputServiceCorePoolSize" timer_reput_service_core_pool_size: i32 = 6, restart;
        /// Belongs to the RocksDB timer.
        "timerReputServiceMaxPoolSize" timer_reput_service_max_pool_size: i32 = 6, restart;
        /// Timer in RocksDB; not supported.
        "timerRocksDBEnable" timer_rocksdb_enable: bool = false, restart;
        /// Belongs to the RocksDB timer.
        "timerRocksDBPrecisionMs" timer_rocksdb_precision_ms: i64 = 1_000, restart;
        /// Belongs to the RocksDB timer.
        "timerRocksDBStopScan" timer_rocksdb_stop_scan: bool = false, live;
        /// Belongs to the RocksDB timer.
        "timerRocksDBTimeExpiredMaxTps" timer_rocksdb_time_expired_max_tps: f64 = 200_000.0, live;
        /// Belongs to the RocksDB timer.
        "timerRocksDBRollMaxTps" timer_rocksdb_roll_max_tps: f64 = 8_000.0, live;
        /// Belongs to the RocksDB timer.
        "timerRocksDBRollIntervalHours" timer_rocksdb_roll_interval_hours: i32 = 1, live;
        /// Belongs to the RocksDB timer.
        "timerRocksDBRollRangeHours" timer_rocksdb_roll_range_hours: i32 = 2, live;
        /// Time after the start during which a broker stays unregistered, in ms.
        "disappearTimeAfterStart" disappear_time_after_start: i32 = -1, live;

        // replication
        /// Port for slaves; 0 means the broker's port + 1.
        "haListenPort" ha_listen_port: i32 = 0, restart;
        /// Master's address for slaves; empty means that of the name server.
        "haMasterAddress" ha_master_address: String = String::new(), live;
        /// Longest silence between replicas, in ms.
        "haSendHeartbeatInterval" ha_send_heartbeat_interval: u64 = 5_000, live;
        /// Silence after which a replica is taken for gone, in ms.
        "haHousekeepingInterval" ha_housekeeping_interval: u64 = 20_000, live;
        /// Most bytes of one transfer to a slave.
        "haTransferBatchSize" ha_transfer_batch_size: usize = 32 * 1024, live;
        /// Bytes behind which a slave does not count as in sync.
        "haMaxGapNotInSync" ha_max_gap_not_in_sync: i64 = 256 * 1024 * 1024, live;
        /// Whether transfers are slowed down.
        "haFlowControlEnable" ha_flow_control_enable: bool = false, live;
        /// Belongs to `haFlowControlEnable`.
        "maxHaTransferByteInSecond" max_ha_transfer_byte_in_second: i64 = 100 * 1024 * 1024, live;
        /// Time without catching up after which a slave is out of sync, in ms.
        "haMaxTimeSlaveNotCatchup" ha_max_time_slave_not_catchup: i64 = 15_000, live;
        /// How long a send waits for replicas, in ms.
        "slaveTimeout" slave_timeout: u64 = 3_000, live;
        /// Replicas of this broker, itself included.
        "totalReplicas" total_replicas: i32 = 1, live;
        /// Replicas that a send waits for.
        "inSyncReplicas" in_sync_replicas: i32 = 1, live;
        /// Replicas in sync below which puts are refused.
        "minInSyncReplicas" min_in_sync_replicas: i32 = 1, live;
        /// Whether a send waits for the whole sync-state set.
        "allAckInSyncStateSet" all_ack_in_sync_state_set: bool = false, live;
        /// Whether `inSyncReplicas` follows the replicas at hand.
        "enableAutoInSyncReplicas" enable_auto_in_sync_replicas: bool = false, live;
        /// Whether a slave cuts its log to the master's flushed offset when it starts.
        "syncMasterFlushOffsetWhenStartup" sync_master_flush_offset_when_startup: bool = false, live;
        /// Range of the log that replicas compare.
        "maxChecksumRange" max_checksum_range: i64 = 1024 * 1024 * 1024, live;
        /// Bytes a slave may be sent again.
        "maxSlaveResendLength" max_slave_resend_length: i64 = 256 * 1024 * 1024, live;
        /// Whether a new slave starts at the last file.
        "syncFromLastFile" sync_from_last_file: bool = false, live;
        /// Whether this replica never counts as in sync.
        "asyncLearner" async_learner: bool = false, live;
        /// DLedger; not supported.
        "enableDLegerCommitLog" enable_dleger_commit_log: bool = false, restart;
        /// Belongs to DLedger.
        "dLegerGroup" dleger_group: String = String::new(), restart;
        /// Belongs to DLedger.
        "dLegerPeers" dleger_peers: String = String::new(), restart;
        /// Belongs to DLedger.
        "dLegerSelfId" dleger_self_id: String = String::new(), restart;
        /// Belongs to DLedger.
        "preferredLeaderId" preferred_leader_id: String = String::new(), restart;
        /// Belongs to DLedger.
        "enableBatchPush" enable_batch_push: bool = false, restart;

        // compaction
        /// Whether compaction topics are compacted.
        "enableCompaction" enable_compaction: bool = true, restart;
        /// Period of the compaction, in ms.
        "compactionScheduleInternal" compaction_schedule_internal: i32 = 900_000, restart;
        /// Threads of the compaction.
        "compactionThreadNum" compaction_thread_num: i32 = 6, restart;
        /// Memory of one compaction, in bytes.
        "maxOffsetMapSize" max_offset_map_size: i32 = 100 * 1024 * 1024, restart;

        // RocksDB stores of the reference
        /// Key index in RocksDB; not supported.
        "indexRocksDBEnable" index_rocksdb_enable: bool = false, restart;
        /// Belongs to the RocksDB index.
        "maxRocksDBIndexQueryDays" max_rocksdb_index_query_days: i32 = 7, live;
        /// Transactions in RocksDB; not supported.
        "transRocksDBEnable" trans_rocksdb_enable: bool = false, restart;
        /// Belongs to the RocksDB transactions.
        "transWriteOriginTransHalfEnable" trans_write_origin_trans_half_enable: bool = true, live;
        /// Belongs to the RocksDB queues.
        "rocksdbCQDoubleWriteEnable" rocksdb_cq_double_write_enable: bool = false, restart;
        /// Belongs to the RocksDB queues.
        "cleanRocksDBDirtyCQIntervalMin" clean_rocksdb_dirty_cq_interval_min: i64 = 60, live;
        /// Belongs to the RocksDB queues.
        "statRocksDBCQIntervalSec" stat_rocksdb_cq_interval_sec: i64 = 10, live;
        /// Belongs to the RocksDB queues.
        "memTableFlushIntervalMs" mem_table_flush_interval_ms: i64 = 3_600_000, live;
        /// Belongs to the RocksDB configuration.
        "realTimePersistRocksDBConfig" real_time_persist_rocksdb_config: bool = true, live;
        /// Belongs to the RocksDB queues.
        "enableRocksDBLog" enable_rocksdb_log: bool = false, restart;
        /// Belongs to the combined queues.
        "combineCQLoadingCQTypes" combine_cq_loading_cq_types: String = "default;defaultRocksDB".to_owned(), restart;
        /// Belongs to the combined queues.
        "combineCQPreferCQType" combine_cq_prefer_cq_type: String = "default".to_owned(), restart;
        /// Belongs to the combined queues.
        "combineAssignOffsetCQType" combine_assign_offset_cq_type: String = "default".to_owned(), restart;
        /// Belongs to the combined queues.
        "combineCQEnableCheckSelf" combine_cq_enable_check_self: bool = false, restart;
        /// Belongs to the combined queues.
        "combineCQMaxExtraSearchCommitLogFiles" combine_cq_max_extra_search_commit_log_files: i32 = 3, restart;
        /// Belongs to the combined queues.
        "combineCQUseRocksdbForLmq" combine_cq_use_rocksdb_for_lmq: bool = false, restart;
        /// Belongs to the RocksDB queues.
        "iteratorWhenUseRocksdbConsumeQueue" iterator_when_use_rocksdb_consume_queue: bool = true, live;
        /// Belongs to the RocksDB queues.
        "useSeparateStorePathForRocksdbCQ" use_separate_store_path_for_rocksdb_cq: bool = false, restart;
        /// Belongs to the RocksDB queues.
        "bottomMostCompressionTypeForConsumeQueueStore" bottom_most_compression_type_for_consume_queue_store: String = "zstd".to_owned(), restart;
        /// Belongs to the RocksDB queues.
        "rocksdbCompressionType" rocksdb_compression_type: String = "lz4".to_owned(), restart;
        /// Belongs to the RocksDB queues.
        "rocksdbFlushWalFrequency" rocksdb_flush_wal_frequency: i32 = 1_024, restart;
        /// Belongs to the RocksDB queues.
        "rocksdbWalFileRollingThreshold" rocksdb_wal_file_rolling_threshold: i64 = 1024 * 1024 * 1024, restart;    }
}

impl MessageStoreConfig {
    /// The root directory.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(&self.store_path_root_dir)
    }

    /// The directories of the CommitLog that take new files, in order; never empty.
    pub fn commit_log_paths(&self) -> Vec<PathBuf> {
        let paths = split_paths(&self.store_path_commit_log);
        if paths.is_empty() {
            vec![self.root().join("commitlog")]
        } else {
            paths
        }
    }

    /// The directories of the CommitLog that are only read.
    pub fn read_only_commit_log_paths(&self) -> Vec<PathBuf> {
        split_paths(&self.read_only_commit_log_store_paths)
    }

    /// Whether a message is shown to consumers, and a send answered, only after its flush.
    pub fn is_sync_flush(&self) -> bool {
        self.flush_disk_type == FlushDiskType::SyncFlush
    }
}

fn split_paths(text: &str) -> Vec<PathBuf> {
    text.split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// `$HOME/store`, as the reference has it.
fn default_root_dir() -> String {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join("store").to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_names_and_defaults_of_the_reference() {
        let config = MessageStoreConfig::default();
        for (key, value) in [
            ("mappedFileSizeCommitLog", "1073741824"),
            ("mappedFileSizeConsumeQueue", "6000000"),
            ("mapperFileSizeBatchConsumeQueue", "13800000"),
            ("maxHashSlotNum", "5000000"),
            ("maxIndexNum", "20000000"),
            ("flushDiskType", "ASYNC_FLUSH"),
            ("brokerRole", "ASYNC_MASTER"),
            ("deleteWhen", "04"),
            ("readUnCommitted", "false"),
            ("logicalDiskSpaceCleanForciblyThreshold", "0.8"),
            ("timerRocksDBTimeExpiredMaxTps", "200000.0"),
        ] {
            assert_eq!(config.get(key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(
            config.get("mapedFileSizeCommitLog"),
            None,
            "the 4.x spelling is unknown"
        );
    }

    #[test]
    fn the_commit_log_lies_under_the_root_unless_told_otherwise() {
        let mut config = MessageStoreConfig {
            store_path_root_dir: "/r".to_owned(),
            ..MessageStoreConfig::default()
        };
        assert_eq!(config.commit_log_paths(), [PathBuf::from("/r/commitlog")]);
        config.store_path_commit_log = "/a, /b,".to_owned();
        assert_eq!(
            config.commit_log_paths(),
            [PathBuf::from("/a"), PathBuf::from("/b")]
        );
    }
}
