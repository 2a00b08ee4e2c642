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

    // DefaultStoreMetricsConstant, enableMessageStoreMetrics; storage_type=local, storage_medium=disk
    /// Bytes in use on the store's disk, whoever uses them.
    STORAGE_SIZE = Gauge "rocketmq_storage_size_bytes", "Broker storage size";
    /// Bytes of the log that are not on the disk yet.
    STORAGE_FLUSH_BEHIND = Gauge "rocketmq_storage_flush_behind_bytes", "Broker flush behind bytes";
    /// Bytes of the log that no queue shows yet.
    STORAGE_DISPATCH_BEHIND = Gauge "rocketmq_storage_dispatch_behind_bytes", "Broker dispatch behind bytes";
    /// Age of the oldest message.
    STORAGE_MESSAGE_RESERVE_TIME = Gauge "rocketmq_storage_message_reserve_time_milliseconds", "Broker message reserve time";

    // RemotingMetricsConstant, enableRemotingMetrics
    /// By request_code, response_code, is_long_polling, protocol_type, result.
    RPC_LATENCY = Histogram "rocketmq_rpc_latency_milliseconds", "Rpc latency";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `# TYPE` lines of a 5.5.0 broker with metricsExporterType=PROM, after messages were sent, delayed, consumed and
    /// sent back.
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
