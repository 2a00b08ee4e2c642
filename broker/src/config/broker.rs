//! BrokerConfig: every broker key of the reference, with its name and default.
//!
//! All keys are accepted and shown, so that one configuration file serves both brokers. `live` keys are followed by
//! the running broker, or concern a part of it that reads them each time; the others count from the next start.
//! Thread numbers depend on the host's processors as the reference's do. Reference: `BrokerConfig`,
//! `BrokerIdentity`; `listenPort` stands in [`NettyServerConfig`](super::NettyServerConfig) alone.

use common::names;
use common::{properties, property_enum};

use operations::config::MetricsExporterType;
use remoting::backlog::DEFAULT_BACKLOG_LIMIT_BYTES;

use super::host;

property_enum! {
    /// How consumers of a group get messages when nobody set it for topic and group.
    pub enum MessageRequestMode {
        /// Each consumer pulls the queues assigned to it.
        Pull = "PULL",
        /// The broker hands messages of any queue to any consumer.
        Pop = "POP",
    }
}

properties! {
    /// What an operator may set about the broker itself.
    pub struct BrokerConfig {
        // Who this broker is and where it is reached.
        /// The cluster the broker belongs to.
        "brokerClusterName" broker_cluster_name: String = "DefaultCluster".to_owned(), restart;
        /// The name that topics and queues are registered under; masters and slaves of one set share it.
        "brokerName" broker_name: String = host::name(), restart;
        /// 0 is a master.
        "brokerId" broker_id: i64 = 0, restart;
        /// The address that clients are told and that every message is stamped with.
        "brokerIP1" broker_ip1: String = host::address(), restart;
        /// The address that slaves connect to.
        "brokerIP2" broker_ip2: String = host::address(), restart;
        /// Name servers, `host:port;host:port`.
        "namesrvAddr" namesrv_addr: String = host::environment("NAMESRV_ADDR"), live;
        "fetchNamesrvAddrByAddressServer" fetch_namesrv_addr_by_address_server: bool = false, restart;
        "fetchNameSrvAddrByDnsLookup" fetch_name_srv_addr_by_dns_lookup: bool = false, restart;
        "fetchNamesrvAddrInterval" fetch_namesrv_addr_interval: i64 = 10_000, restart;
        /// Where the distribution is installed; shown only.
        "rocketmqHome" rocketmq_home: String = host::environment("ROCKETMQ_HOME"), restart;
        /// The `-c` file; shown only.
        "brokerConfigPath" broker_config_path: String = String::new(), restart;
        /// The region that sends are answered with.
        "regionId" region_id: String = names::DEFAULT_REGION.to_owned(), live;
        "isBrokerContainer" is_broker_container: bool = false, restart;
        "isInBrokerContainer" is_in_broker_container: bool = false, restart;

        // Topics, groups and what is allowed.
        /// What the broker as a whole allows: 4 read, 2 write. A change registers at once.
        "brokerPermission" broker_permission: i32 = 6, live;
        /// Whether a send to an unknown topic creates it.
        "autoCreateTopicEnable" auto_create_topic_enable: bool = true, live;
        /// Queues of a topic made on first use, at most.
        "defaultTopicQueueNums" default_topic_queue_nums: i32 = 8, live;
        /// Whether an unknown consumer group is created on its first request.
        "autoCreateSubscriptionGroup" auto_create_subscription_group: bool = true, live;
        /// Whether the topic named like the cluster is writable.
        "clusterTopicEnable" cluster_topic_enable: bool = true, restart;
        /// Whether the topic named like the broker is writable.
        "brokerTopicEnable" broker_topic_enable: bool = true, restart;
        /// Whether the trace topic exists from the start.
        "traceTopicEnable" trace_topic_enable: bool = false, restart;
        /// The trace topic.
        "msgTraceTopicName" msg_trace_topic_name: String = names::TRACE_TOPIC.to_owned(), restart;
        /// Whether the broker's own topics are kept from being changed.
        "validateSystemTopicWhenUpdateTopic" validate_system_topic_when_update_topic: bool = true, live;
        /// Whether deleting a topic deletes the pop retry topics of its groups too.
        "clearRetryTopicWhenDeleteTopic" clear_retry_topic_when_delete_topic: bool = true, live;
        /// Whether groups named `CID_RMQ_SYS_..` are created on first use.
        "enableCreateSysGroup" enable_create_sys_group: bool = true, live;
        /// Whether a topic takes messages of every type.
        "enableMixedMessageType" enable_mixed_message_type: bool = false, live;
        /// Ours alone: for how long a send is remembered, so that the same unique key is answered and not stored again, ms.
        "duplicateSendWindowMs" duplicate_send_window_ms: i64 = 0, live;
        /// Ours alone: what all connections together may keep in memory of answers that clients have not taken and of frames
        /// that they have not ended, bytes. Beyond it the connection is closed that got on with nothing for the longest time.
        "maxConnectionBufferBytes" max_connection_buffer_bytes: usize = DEFAULT_BACKLOG_LIMIT_BYTES, restart;
        /// Whether half messages are refused.
        "rejectTransactionMessage" reject_transaction_message: bool = false, live;
        "rejectPullConsumerEnable" reject_pull_consumer_enable: bool = false, live;
        "enableRegisterProducer" enable_register_producer: bool = true, live;
        /// Sends before this wall time are refused, ms.
        "startAcceptSendRequestTimeStamp" start_accept_send_request_time_stamp: i64 = 0, live;
        /// Whether sends are answered that tracing is on.
        "traceOn" trace_on: bool = true, live;
        /// Keys that cannot be changed while the broker runs, `;` between them.
        "configBlackList" config_black_list: String = "configBlackList;brokerConfigPath".to_owned(), restart;

        // Consumers: pulling, offsets, membership.
        /// Whether a pull that finds nothing waits as long as the client asked.
        "longPollingEnable" long_polling_enable: bool = true, live;
        /// How long it waits otherwise.
        "shortPollingTimeMills" short_polling_time_mills: i64 = 1000, live;
        /// Whether slow readers are sent to a slave.
        "slaveReadEnable" slave_read_enable: bool = false, live;
        "litePullMessageEnable" lite_pull_message_enable: bool = true, live;
        "transferMsgByHeap" transfer_msg_by_heap: bool = true, live;
        /// Whether a group far behind is stopped.
        "disableConsumeIfConsumerReadSlowly" disable_consume_if_consumer_read_slowly: bool = false, live;
        /// How far behind, bytes.
        "consumerFallbehindThreshold" consumer_fallbehind_threshold: i64 = 17_179_869_184, live;
        /// Whether members of a group are told when the group changes.
        "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true, live;
        /// Whether they are told at once.
        "realTimeNotifyConsumerChange" real_time_notify_consumer_change: bool = true, live;
        /// Whether replies are stored as well as delivered.
        "storeReplyMessageEnable" store_reply_message_enable: bool = true, live;
        "useStaticSubscription" use_static_subscription: bool = false, live;
        /// A client silent for this long is forgotten, ms.
        "channelExpiredTimeout" channel_expired_timeout: i64 = 120_000, live;
        "subscriptionExpiredTimeout" subscription_expired_timeout: i64 = 600_000, live;
        /// Between two writes of the consumer offsets, ms.
        "flushConsumerOffsetInterval" flush_consumer_offset_interval: i32 = 5000, restart;
        "flushConsumerOffsetHistoryInterval" flush_consumer_offset_history_interval: i32 = 60_000, live;
        /// Commits between two steps of the offsets' data version.
        "consumerOffsetUpdateVersionStep" consumer_offset_update_version_step: i64 = 500, live;
        "delayOffsetUpdateVersionStep" delay_offset_update_version_step: i64 = 200, live;
        /// Whether the broker itself resets offsets; otherwise it asks the consumers.
        "useServerSideResetOffset" use_server_side_reset_offset: bool = true, live;
        "enableBroadcastOffsetStore" enable_broadcast_offset_store: bool = true, live;
        "broadcastOffsetExpireSecond" broadcast_offset_expire_second: i64 = 120, live;
        "broadcastOffsetExpireMaxSecond" broadcast_offset_expire_max_second: i64 = 300, live;
        "lockInStrictMode" lock_in_strict_mode: bool = false, live;
        "estimateAccumulation" estimate_accumulation: bool = true, live;

        // Filters.
        "enablePropertyFilter" enable_property_filter: bool = false, live;
        "enableCalcFilterBitMap" enable_calc_filter_bit_map: bool = false, restart;
        "filterSupportRetry" filter_support_retry: bool = false, live;
        "expectConsumerNumUseFilter" expect_consumer_num_use_filter: i32 = 32, restart;
        "maxErrorRateOfBloomFilter" max_error_rate_of_bloom_filter: i32 = 20, restart;
        "filterDataCleanTimeSpan" filter_data_clean_time_span: i64 = 86_400_000, live;

        // The name servers.
        /// Between two registrations, ms; taken as 10000 to 60000.
        "registerNameServerPeriod" register_name_server_period: i32 = 30_000, live;
        /// How long a name server may take to answer a registration, ms.
        "registerBrokerTimeoutMills" register_broker_timeout_mills: i32 = 24_000, live;
        /// Between two readings of `namesrvAddr`, ms.
        "updateNameServerAddrPeriod" update_name_server_addr_period: i32 = 120_000, live;
        /// Whether to register each time, or only with name servers whose data version differs.
        "forceRegister" force_register: bool = true, live;
        /// Whether registrations are compressed.
        "compressedRegister" compressed_register: bool = false, live;
        /// Whether topics are registered in parts.
        "enableSplitRegistration" enable_split_registration: bool = false, live;
        /// Topics in one part.
        "splitRegistrationSize" split_registration_size: i32 = 800, live;
        /// Whether a changed topic is registered alone.
        "enableSingleTopicRegister" enable_single_topic_register: bool = false, live;
        "compatibleWithOldNameSrv" compatible_with_old_name_srv: bool = true, live;
        "brokerHeartbeatInterval" broker_heartbeat_interval: i32 = 1000, live;
        /// After which silence a name server drops the broker, ms; with `enableSlaveActingMaster`.
        "brokerNotActiveTimeoutMillis" broker_not_active_timeout_millis: i64 = 10_000, live;
        "sendHeartbeatTimeoutMillis" send_heartbeat_timeout_millis: i32 = 1000, live;
        "loadBalancePollNameServerInterval" load_balance_poll_name_server_interval: i64 = 30_000, live;
        /// Whether the lists of topics and groups are answered in pages.
        "enableSplitMetadata" enable_split_metadata: bool = true, live;
        /// Topics or groups in one page, at most.
        "splitMetadataSize" split_metadata_size: i32 = 2000, live;

        // Statistics.
        /// Statistics of a topic or group idle for this long are dropped; -1 for the built-in limit.
        "maxStatsIdleTimeInMinutes" max_stats_idle_time_in_minutes: i32 = -1, live;
        /// Whether statistics of a deleted topic or group go with it.
        "autoDeleteUnusedStats" auto_delete_unused_stats: bool = true, live;
        "enableDetailStat" enable_detail_stat: bool = true, live;
        "accountStatsEnable" account_stats_enable: bool = true, live;
        "accountStatsPrintZeroValues" account_stats_print_zero_values: bool = true, live;
        "enableLmqStats" enable_lmq_stats: bool = false, live;
        "commercialBaseCount" commercial_base_count: i32 = 1, live;
        "commercialSizePerMsg" commercial_size_per_msg: i32 = 4096, live;

        // Transactions.
        "transactionTimeOut" transaction_time_out: i64 = 6000, live;
        "transactionCheckMax" transaction_check_max: i32 = 15, live;
        "transactionCheckInterval" transaction_check_interval: i64 = 30_000, live;
        "transactionMetricFlushInterval" transaction_metric_flush_interval: i64 = 10_000, live;
        "transactionOpMsgMaxSize" transaction_op_msg_max_size: i32 = 4096, live;
        "transactionOpBatchInterval" transaction_op_batch_interval: i32 = 3000, live;
        "transactionCheckRocksdbCoreThreads" transaction_check_rocksdb_core_threads: i32 = 2, restart;
        "transactionCheckRocksdbMaxThreads" transaction_check_rocksdb_max_threads: i32 = 5, restart;
        "transactionCheckRocksdbQueueCapacity" transaction_check_rocksdb_queue_capacity: i32 = 2000, restart;

        // Pop and server-side rebalance.
        "serverLoadBalancerEnable" server_load_balancer_enable: bool = true, live;
        "defaultMessageRequestMode" default_message_request_mode: MessageRequestMode = MessageRequestMode::Pull, live;
        "defaultPopShareQueueNum" default_pop_share_queue_num: i32 = -1, live;
        "popPollingSize" pop_polling_size: i32 = 1024, live;
        "popPollingMapSize" pop_polling_map_size: i32 = 100_000, restart;
        "popPollingMapExpireTimeSeconds" pop_polling_map_expire_time_seconds: i32 = 600, live;
        "maxPopPollingSize" max_pop_polling_size: i64 = 100_000, live;
        "reviveQueueNum" revive_queue_num: i32 = 8, restart;
        "reviveInterval" revive_interval: i64 = 1000, live;
        "reviveMaxSlow" revive_max_slow: i64 = 3, live;
        "reviveScanTime" revive_scan_time: i64 = 10_000, live;
        "enableSkipLongAwaitingAck" enable_skip_long_awaiting_ack: bool = false, live;
        "reviveAckWaitMs" revive_ack_wait_ms: i64 = 180_000, live;
        "enablePopLog" enable_pop_log: bool = false, live;
        "enablePopBufferMerge" enable_pop_buffer_merge: bool = false, restart;
        "popCkStayBufferTime" pop_ck_stay_buffer_time: i32 = 10_000, live;
        "popCkStayBufferTimeOut" pop_ck_stay_buffer_time_out: i32 = 3000, live;
        "popCkMaxBufferSize" pop_ck_max_buffer_size: i32 = 200_000, live;
        "popCkOffsetMaxQueueSize" pop_ck_offset_max_queue_size: i32 = 20_000, live;
        "enablePopBatchAck" enable_pop_batch_ack: bool = false, live;
        "popLongPollingForceNotifyInterval" pop_long_polling_force_notify_interval: i64 = 800, live;
        "enableNotifyBeforePopCalculateLag" enable_notify_before_pop_calculate_lag: bool = true, live;
        "enableNotifyAfterPopOrderLockRelease" enable_notify_after_pop_order_lock_release: bool = true, live;
        "initPopOffsetByCheckMsgInMem" init_pop_offset_by_check_msg_in_mem: bool = true, live;
        "retrieveMessageFromPopRetryTopicV1" retrieve_message_from_pop_retry_topic_v1: bool = true, live;
        "enableRetryTopicV2" enable_retry_topic_v2: bool = false, live;
        "popFromRetryProbability" pop_from_retry_probability: i32 = 20, live;
        "popConsumerFSServiceInit" pop_consumer_fs_service_init: bool = true, restart;
        "popConsumerKVServiceLog" pop_consumer_kv_service_log: bool = false, live;
        "popConsumerKVServiceInit" pop_consumer_kv_service_init: bool = false, restart;
        "popConsumerKVServiceEnable" pop_consumer_kv_service_enable: bool = false, live;
        "popReviveMaxReturnSizePerRead" pop_revive_max_return_size_per_read: i32 = 16_384, live;
        "popReviveMaxAttemptTimes" pop_revive_max_attempt_times: i32 = 16, live;
        "popResponseReturnActualRetryTopic" pop_response_return_actual_retry_topic: bool = false, live;
        "popInflightMessageThreshold" pop_inflight_message_threshold: i64 = 10_000, live;
        "enablePopMessageThreshold" enable_pop_message_threshold: bool = false, live;
        "skipWhenCKRePutReachMaxTimes" skip_when_ck_re_put_reach_max_times: bool = false, live;
        "appendAckAsync" append_ack_async: bool = false, live;
        "appendCkAsync" append_ck_async: bool = false, live;
        "recallMessageEnable" recall_message_enable: bool = false, live;
        "allowRecallWhenBrokerNotWriteable" allow_recall_when_broker_not_writeable: bool = true, live;
        "popFromRetryProbabilityForPriority" pop_from_retry_probability_for_priority: i32 = 0, live;
        "priorityOrderAsc" priority_order_asc: bool = true, live;
        "popReviveConcurrency" pop_revive_concurrency: i32 = 32, restart;
        "popReviveSkipIfGroupAbsent" pop_revive_skip_if_group_absent: bool = true, live;
        "useSeparateRetryQueue" use_separate_retry_queue: bool = false, live;
        "useMessageFilterForNotification" use_message_filter_for_notification: bool = true, live;
        "maxMessageFilterNumForNotification" max_message_filter_num_for_notification: i32 = 64, live;

        // Lite topics.
        "enableLiteEventMode" enable_lite_event_mode: bool = true, restart;
        "enableLitePopLog" enable_lite_pop_log: bool = false, restart;
        "liteEventCheckInterval" lite_event_check_interval: i64 = 10_000, restart;
        "liteEventFullDispatchDelayTime" lite_event_full_dispatch_delay_time: i64 = 10_000, restart;
        "liteEventFullDispatchDelayTimeForWildcardGroup" lite_event_full_dispatch_delay_time_for_wildcard_group: i64 = 10_000, restart;
        "liteLagCountMetricsEnable" lite_lag_count_metrics_enable: bool = false, restart;
        "liteLagLatencyCollectEnable" lite_lag_latency_collect_enable: bool = false, restart;
        "liteLagLatencyMetricsEnable" lite_lag_latency_metrics_enable: bool = false, restart;
        "liteLagLatencyTopK" lite_lag_latency_top_k: i32 = 50, restart;
        "liteSubscriptionCheckInterval" lite_subscription_check_interval: i64 = 120_000, restart;
        "liteSubscriptionCheckTimeoutMills" lite_subscription_check_timeout_mills: i64 = 180_000, restart;
        "liteTtlCheckInterval" lite_ttl_check_interval: i64 = 120_000, restart;
        "maxClientEventCount" max_client_event_count: i32 = 100, restart;
        "maxLiteSubscriptionCount" max_lite_subscription_count: i32 = 100_000, restart;
        "minLiteTTl" min_lite_ttl: i64 = 900_000, restart;

        // Metrics and health: `/metrics` and `/healthz` over HTTP.
        /// Whether they are served: PROM.
        "metricsExporterType" metrics_exporter_type: MetricsExporterType = MetricsExporterType::Disable, restart;
        /// Series of one metric, at most.
        "metricsOtelCardinalityLimit" metrics_otel_cardinality_limit: i32 = 50_000, restart;
        "metricsGrpcExporterTarget" metrics_grpc_exporter_target: String = String::new(), restart;
        "metricsGrpcExporterHeader" metrics_grpc_exporter_header: String = String::new(), restart;
        "metricGrpcExporterTimeOutInMills" metric_grpc_exporter_time_out_in_mills: i64 = 3000, restart;
        "metricGrpcExporterIntervalInMills" metric_grpc_exporter_interval_in_mills: i64 = 60_000, restart;
        "metricLoggingExporterIntervalInMills" metric_logging_exporter_interval_in_mills: i64 = 10_000, restart;
        /// The port of both.
        "metricsPromExporterPort" metrics_prom_exporter_port: i32 = 5557, restart;
        /// The address to listen on; empty is `brokerIP1`.
        "metricsPromExporterHost" metrics_prom_exporter_host: String = String::new(), restart;
        /// Labels of every series, `key:value,key:value`.
        "metricsLabel" metrics_label: String = String::new(), restart;
        "metricsInDelta" metrics_in_delta: bool = false, restart;
        "enableRemotingMetrics" enable_remoting_metrics: bool = true, restart;
        "enableMessageStoreMetrics" enable_message_store_metrics: bool = true, restart;
        "enablePopMetrics" enable_pop_metrics: bool = true, restart;
        "enableConnectionMetrics" enable_connection_metrics: bool = true, restart;
        "enableTransactionMetrics" enable_transaction_metrics: bool = true, restart;
        "enableStatsMetrics" enable_stats_metrics: bool = true, restart;
        "enableRequestMetrics" enable_request_metrics: bool = true, restart;
        "enableLagAndDlqMetrics" enable_lag_and_dlq_metrics: bool = true, restart;
        "metricsExportBatchMaxDataPoints" metrics_export_batch_max_data_points: i32 = 1000, restart;

        // Slaves, controller, escape: the broker refuses to start with the modes it does not have.
        "enableControllerMode" enable_controller_mode: bool = false, restart;
        "controllerAddr" controller_addr: String = String::new(), restart;
        "fetchControllerAddrByDnsLookup" fetch_controller_addr_by_dns_lookup: bool = false, restart;
        "syncBrokerMetadataPeriod" sync_broker_metadata_period: i64 = 5000, restart;
        "checkSyncStateSetPeriod" check_sync_state_set_period: i64 = 5000, restart;
        "syncControllerMetadataPeriod" sync_controller_metadata_period: i64 = 10_000, restart;
        "controllerHeartBeatTimeoutMills" controller_heart_beat_timeout_mills: i64 = 10_000, restart;
        "brokerElectionPriority" broker_election_priority: i32 = i32::MAX, restart;
        "syncBrokerMemberGroupPeriod" sync_broker_member_group_period: i32 = 1000, restart;
        "enableSlaveActingMaster" enable_slave_acting_master: bool = false, restart;
        "enableRemoteEscape" enable_remote_escape: bool = false, restart;
        "skipPreOnline" skip_pre_online: bool = false, restart;
        "forwardTimeout" forward_timeout: i64 = 3000, restart;
        "cleanOfflineBrokerInterval" clean_offline_broker_interval: i32 = 30_000, restart;

        // Cold data, plug-ins, config stores, security.
        "coldCtrStrategyEnable" cold_ctr_strategy_enable: bool = false, restart;
        "usePIDColdCtrStrategy" use_pid_cold_ctr_strategy: bool = true, restart;
        "cgColdReadThreshold" cg_cold_read_threshold: i64 = 3_145_728, restart;
        "globalColdReadThreshold" global_cold_read_threshold: i64 = 104_857_600, restart;
        "messageStorePlugIn" message_store_plug_in: String = String::new(), restart;
        "configManagerVersion" config_manager_version: String = "v1".to_owned(), restart;
        "persistConsumerOffsetIncrementally" persist_consumer_offset_incrementally: bool = false, restart;
        "useSingleRocksDBForAllConfigs" use_single_rocksdb_for_all_configs: bool = false, restart;
        "aclEnable" acl_enable: bool = false, restart;

        // Thread pools, their queues and other shapes of the reference's inside. This broker has none of them; the keys
        // are kept so that config files and tools find them.
        "recoverConcurrently" recover_concurrently: bool = false, restart;
        "sendMessageThreadPoolNums" send_message_thread_pool_nums: i32 = host::processors().min(4), restart;
        "putMessageFutureThreadPoolNums" put_message_future_thread_pool_nums: i32 = host::processors().min(4), restart;
        "pullMessageThreadPoolNums" pull_message_thread_pool_nums: i32 = 16 + 2 * host::processors(), restart;
        "litePullMessageThreadPoolNums" lite_pull_message_thread_pool_nums: i32 = 16 + 2 * host::processors(), restart;
        "ackMessageThreadPoolNums" ack_message_thread_pool_nums: i32 = 16, restart;
        "processReplyMessageThreadPoolNums" process_reply_message_thread_pool_nums: i32 = 16 + 2 * host::processors(), restart;
        "queryMessageThreadPoolNums" query_message_thread_pool_nums: i32 = 8 + host::processors(), restart;
        "adminBrokerThreadPoolNums" admin_broker_thread_pool_nums: i32 = 16, restart;
        "clientManageThreadPoolNums" client_manage_thread_pool_nums: i32 = 32, restart;
        "consumerManageThreadPoolNums" consumer_manage_thread_pool_nums: i32 = 32, restart;
        "loadBalanceProcessorThreadPoolNums" load_balance_processor_thread_pool_nums: i32 = 32, restart;
        "heartbeatThreadPoolNums" heartbeat_thread_pool_nums: i32 = host::processors().min(32), restart;
        "recoverThreadPoolNums" recover_thread_pool_nums: i32 = 32, restart;
        "endTransactionThreadPoolNums" end_transaction_thread_pool_nums: i32 = (8 + 2 * host::processors()).max(4 * host::processors().min(4)), restart;
        "sendThreadPoolQueueCapacity" send_thread_pool_queue_capacity: i32 = 10_000, restart;
        "putThreadPoolQueueCapacity" put_thread_pool_queue_capacity: i32 = 10_000, restart;
        "pullThreadPoolQueueCapacity" pull_thread_pool_queue_capacity: i32 = 100_000, restart;
        "litePullThreadPoolQueueCapacity" lite_pull_thread_pool_queue_capacity: i32 = 100_000, restart;
        "ackThreadPoolQueueCapacity" ack_thread_pool_queue_capacity: i32 = 100_000, restart;
        "replyThreadPoolQueueCapacity" reply_thread_pool_queue_capacity: i32 = 10_000, restart;
        "queryThreadPoolQueueCapacity" query_thread_pool_queue_capacity: i32 = 20_000, restart;
        "clientManagerThreadPoolQueueCapacity" client_manager_thread_pool_queue_capacity: i32 = 1_000_000, restart;
        "consumerManagerThreadPoolQueueCapacity" consumer_manager_thread_pool_queue_capacity: i32 = 1_000_000, restart;
        "heartbeatThreadPoolQueueCapacity" heartbeat_thread_pool_queue_capacity: i32 = 50_000, restart;
        "endTransactionPoolQueueCapacity" end_transaction_pool_queue_capacity: i32 = 100_000, restart;
        "adminBrokerThreadPoolQueueCapacity" admin_broker_thread_pool_queue_capacity: i32 = 10_000, restart;
        "loadBalanceThreadPoolQueueCapacity" load_balance_thread_pool_queue_capacity: i32 = 100_000, restart;
        "highSpeedMode" high_speed_mode: bool = false, restart;
        "brokerFastFailureEnable" broker_fast_failure_enable: bool = true, restart;
        "waitTimeMillsInSendQueue" wait_time_mills_in_send_queue: i64 = 200, restart;
        "waitTimeMillsInPullQueue" wait_time_mills_in_pull_queue: i64 = 5000, restart;
        "waitTimeMillsInLitePullQueue" wait_time_mills_in_lite_pull_queue: i64 = 5000, restart;
        "waitTimeMillsInHeartbeatQueue" wait_time_mills_in_heartbeat_queue: i64 = 31_000, restart;
        "waitTimeMillsInTransactionQueue" wait_time_mills_in_transaction_queue: i64 = 3000, restart;
        "waitTimeMillsInAckQueue" wait_time_mills_in_ack_queue: i64 = 3000, restart;
        "waitTimeMillsInAdminBrokerQueue" wait_time_mills_in_admin_broker_queue: i64 = 5000, restart;
        "enableNetWorkFlowControl" enable_net_work_flow_control: bool = false, restart;
        "isolateLogEnable" isolate_log_enable: bool = false, restart;
        "asyncSendEnable" async_send_enable: bool = true, restart;
        "enableFastChannelEventProcess" enable_fast_channel_event_process: bool = false, restart;
        "printChannelGroups" print_channel_groups: bool = false, restart;
        "printChannelGroupsMinNum" print_channel_groups_min_num: i32 = 5, restart;
    }
}

/// What `-m` prints. Reference: `@ImportantField`.
pub const IMPORTANT_KEYS: &[&str] = &[
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "namesrvAddr",
    "listenPort",
    "brokerIP1",
    "recoverConcurrently",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "msgTraceTopicName",
    "traceTopicEnable",
    "rejectTransactionMessage",
    "fetchNameSrvAddrByDnsLookup",
    "fetchNamesrvAddrByAddressServer",
    "transactionTimeOut",
    "transactionCheckMax",
    "transactionCheckInterval",
    "aclEnable",
    "storePathRootDir",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "storePathEpochFile",
    "storePathBrokerIdentity",
    "storeType",
    "flushDiskType",
    "brokerRole",
    "haMasterAddress",
    "disappearTimeAfterStart",
    "flushIntervalCommitLog",
    "commitIntervalCommitLog",
    "flushCommitLogTimed",
    "deleteWhen",
    "fileReservedTime",
    "deleteFileBatchMax",
    "cleanFileForciblyEnable",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "accessMessageInMemoryMaxRatio",
    "messageIndexEnable",
    "messageIndexSafe",
    "transientStorePoolEnable",
    "totalReplicas",
    "inSyncReplicas",
    "minInSyncReplicas",
    "allAckInSyncStateSet",
    "enableAutoInSyncReplicas",
    "haFlowControlEnable",
];
