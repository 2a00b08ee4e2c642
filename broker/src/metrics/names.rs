//! The table of metrics: the names, kinds and help texts of the reference.
//!
//! Names are those that a 5.5.0 broker shows Prometheus: its OpenTelemetry exporter appends the unit to the constant of
//! the class named in the comment. Of the reference's labels `otel_scope_name` is left out.

use operations::exposition::{Kind, Metric};

macro_rules! metrics {
    ($($(#[$meta:meta])* $constant:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $($(#[$meta])* pub const $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*

        /// Every metric of the broker.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    // BrokerMetricsConstant, enableStatsMetrics
    /// Calls that run or wait off the task of their connection. The reference has a queue for each kind of request, this
    /// broker has one lane: the label `processor` is always `lanes`.
    PROCESSOR_WATERMARK = Gauge "rocketmq_processor_watermark", "Requests that wait or run off their connection";
    /// `brokerPermission`.
    BROKER_PERMISSION = Gauge "rocketmq_broker_permission", "Broker permission";
    /// Topics, the broker's own included.
    TOPIC_NUMBER = Gauge "rocketmq_topic_number", "Active topic number";
    /// Subscription groups, the broker's own included.
    CONSUMER_GROUP_NUMBER = Gauge "rocketmq_consumer_group_number", "Active subscription group number";

    // BrokerMetricsConstant, enableRequestMetrics
    /// By topic, message_type, is_system.
    MESSAGES_IN = Counter "rocketmq_messages_in_total", "Total number of incoming messages";
    /// By topic, consumer_group, is_system.
    MESSAGES_OUT = Counter "rocketmq_messages_out_total", "Total number of outgoing messages";
    /// Bytes of records; labels as of the messages.
    THROUGHPUT_IN = Counter "rocketmq_throughput_in_total", "Total traffic of incoming messages";
    /// Bytes of records; labels as of the messages.
    THROUGHPUT_OUT = Counter "rocketmq_throughput_out_total", "Total traffic of outgoing messages";
    /// Bytes of a record; of a batch the mean, once.
    MESSAGE_SIZE = Histogram "rocketmq_message_size", "Incoming messages size";
    /// Topics that an administrator made or changed. By invocation_status, is_system.
    TOPIC_CREATE_EXECUTE_TIME = Histogram "rocketmq_topic_create_execution_time_milliseconds", "The distribution of create topic time";
    /// Groups that an administrator made or changed. By invocation_status.
    CONSUMER_GROUP_CREATE_EXECUTE_TIME = Histogram "rocketmq_consumer_group_create_execution_time_milliseconds", "The distribution of create subscription time";

    // BrokerMetricsConstant, enableConnectionMetrics
    /// By language, version, protocol_type.
    PRODUCER_CONNECTIONS = Gauge "rocketmq_producer_connections", "Producer connections";
    /// By consumer_group, language, version, consume_mode, protocol_type, is_system.
    CONSUMER_CONNECTIONS = Gauge "rocketmq_consumer_connections", "Consumer connections";

    // BrokerMetricsConstant, enableLagAndDlqMetrics; by consumer_group, topic, is_retry, is_system
    /// Messages not yet consumed.
    CONSUMER_LAG_MESSAGES = Gauge "rocketmq_consumer_lag_messages", "Consumer lag messages";
    /// Age of the oldest of them.
    CONSUMER_LAG_LATENCY = Gauge "rocketmq_consumer_lag_latency_milliseconds", "Consumer lag time";
    /// Messages pulled and not yet consumed.
    CONSUMER_INFLIGHT_MESSAGES = Gauge "rocketmq_consumer_inflight_messages", "Consumer inflight messages";
    /// Age of the oldest message not yet pulled.
    CONSUMER_QUEUEING_LATENCY = Gauge "rocketmq_consumer_queueing_latency_milliseconds", "Consumer queueing time";
    /// Messages not yet pulled.
    CONSUMER_READY_MESSAGES = Gauge "rocketmq_consumer_ready_messages", "Consumer ready messages";
    /// By consumer_group, topic, is_system.
    SEND_TO_DLQ_MESSAGES = Counter "rocketmq_send_to_dlq_messages_total", "Consumer send to DLQ messages";

    // BrokerMetricsConstant, enableTransactionMetrics; by topic
    /// Transactions committed.
    COMMIT_MESSAGES = Counter "rocketmq_commit_messages_total", "Total number of commit messages";
    /// Transactions rolled back.
    ROLLBACK_MESSAGES = Counter "rocketmq_rollback_messages_total", "Total number of rollback messages";
    /// From the birth of a half message to its commit, in seconds whatever the name says: so it is in the reference.
    FINISH_MESSAGE_LATENCY = Histogram "rocketmq_finish_message_latency_milliseconds", "Transaction finish latency";
    /// Half messages whose transaction is open.
    HALF_MESSAGES = Gauge "rocketmq_half_messages", "Half messages of all topics";

    // DefaultStoreMetricsConstant, enableMessageStoreMetrics; storage_type=local, storage_medium=disk
    /// Bytes in use on the store's disk, whoever uses them.
    STORAGE_SIZE = Gauge "rocketmq_storage_size_bytes", "Broker storage size";
    /// Bytes of the log that are not on the disk yet.
    STORAGE_FLUSH_BEHIND = Gauge "rocketmq_storage_flush_behind_bytes", "Broker flush behind bytes";
    /// Bytes of the log that no queue shows yet.
    STORAGE_DISPATCH_BEHIND = Gauge "rocketmq_storage_dispatch_behind_bytes", "Broker dispatch behind bytes";
    /// Age of the oldest message.
    STORAGE_MESSAGE_RESERVE_TIME = Gauge "rocketmq_storage_message_reserve_time_milliseconds", "Broker message reserve time";

    // DefaultStoreMetricsConstant, with timerWheelEnable; storage_type=local, storage_medium=disk
    /// Messages stored for the timer that are not filed yet.
    TIMER_ENQUEUE_LAG = Gauge "rocketmq_timer_enqueue_lag", "Timer enqueue messages lag";
    /// Age of the oldest of them.
    TIMER_ENQUEUE_LATENCY = Gauge "rocketmq_timer_enqueue_latency_milliseconds", "Timer enqueue latency";
    /// Messages that wait for their time.
    TIMER_DEQUEUE_LAG = Gauge "rocketmq_timer_dequeue_lag", "Timer dequeue messages lag";
    /// How far delivery is behind the clock, in seconds whatever the name says: so it is in the reference.
    TIMER_DEQUEUE_LATENCY = Gauge "rocketmq_timer_dequeue_latency_milliseconds", "Timer dequeue latency";
    /// Messages that wait, by the topic they are for.
    TIMING_MESSAGES = Gauge "rocketmq_timing_messages", "Current message number in timing";
    /// Messages filed, by the topic they are for.
    TIMER_ENQUEUED = Counter "rocketmq_timer_enqueue_total", "Total number of timer enqueue";
    /// Messages that left the timer, by the topic they are for.
    TIMER_DEQUEUED = Counter "rocketmq_timer_dequeue_total", "Total number of timer dequeue";
    /// Messages due between the bound before and `timer_bound_s` from now, seconds.
    TIMER_MESSAGE_SNAPSHOT = Gauge "rocketmq_timer_message_snapshot", "Timer message distribution snapshot, only count timing messages in 24h.";
    /// How far ahead messages are sent, by the topic they are for.
    DELAY_MESSAGE_LATENCY = Histogram "rocketmq_delay_message_latency_seconds", "Timer message set latency distribution";

    // PopMetricsConstant, enablePopMetrics
    /// Pops are not merged in memory here, so none waits there.
    POP_OFFSET_BUFFER_SIZE = Gauge "rocketmq_pop_offset_buffer_size", "Time number of buffered offset";
    /// The same.
    POP_CHECKPOINT_BUFFER_SIZE = Gauge "rocketmq_pop_checkpoint_buffer_size", "The number of buffered checkpoint";
    /// Records not decided yet, whatever the name says: so it is in the reference. By queue_id.
    POP_REVIVE_LAG = Gauge "rocketmq_pop_revive_lag_milliseconds", "The processing lag of revive topic";
    /// Age of the oldest of them. By queue_id.
    POP_REVIVE_LATENCY = Gauge "rocketmq_pop_revive_latency_milliseconds", "The processing latency of revive topic";
    /// Checkpoints and acks stored. By consumer_group, topic, revive_message_type, put_status.
    POP_REVIVE_IN = Counter "rocketmq_pop_revive_in_message_total", "Total number of put message to revive topic";
    /// Checkpoints and acks read. By consumer_group, topic, queue_id, revive_message_type.
    POP_REVIVE_OUT = Counter "rocketmq_pop_revive_out_message_total", "Total number of get message from revive topic";
    /// Messages that came back. By consumer_group, topic, put_status.
    POP_REVIVE_RETRY = Counter "rocketmq_pop_revive_retry_messages_total", "Total number of put message to pop retry topic";

    // RemotingMetricsConstant, enableRemotingMetrics
    /// By request_code, response_code, is_long_polling, protocol_type, result.
    RPC_LATENCY = Histogram "rocketmq_rpc_latency_milliseconds", "Rpc latency";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `# TYPE` lines of a 5.5.0 broker with metricsExporterType=PROM, after the workload of
    /// MetricsTest in compat-tests.
    const REFERENCE: &str = include_str!("reference-5.5.0-types.txt");

    #[test]
    fn every_metric_is_one_of_the_reference_and_of_its_kind() {
        for metric in ALL {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let line = format!("# TYPE {} {kind}", metric.name);
            assert!(REFERENCE.lines().any(|known| known == line), "{line}");
        }
    }
}
