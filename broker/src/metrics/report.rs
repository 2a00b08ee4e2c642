//! BrokerReport: one scrape of a broker, and its health.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{names, version};
use operations::config::metrics_labels;
use operations::exposition::{Exposition, HistogramReading, Metric};
use operations::http::Source;
use remoting::body::ConsumeType;
use remoting::latency::{LATENCY_LIMITS_MS, RpcLatencies};

use super::names as metric;
use super::traffic::SIZE_LIMITS;
use super::{lag, traffic};
use crate::broker::Broker;
use crate::clients::ClientChannel;
use crate::config::BrokerConfig;

/// Counts what waits off the connections of a server.
pub(crate) type LaneCalls = Box<dyn Fn() -> usize + Send + Sync>;

/// See the [module](self).
pub(crate) struct BrokerReport {
    pub(crate) broker: Arc<Broker>,
    pub(crate) latencies: Arc<RpcLatencies>,
    /// Of each port.
    pub(crate) lane_calls: Vec<LaneCalls>,
}

impl Source for BrokerReport {
    /// Healthy when the store takes messages: it is recovered by then.
    fn health(&self) -> Result<(), String> {
        let store = &self.broker.store;
        store
            .writable()
            .map_err(|refusal| format!("no messages are taken: {refusal}"))?;
        let held_ms = store.writer_lock_held_ms();
        let busy_ms = self.broker.store_config.get().os_page_cache_busy_time_out_mills;
        if held_ms > busy_ms {
            return Err(format!("a put has been writing to the log for {held_ms} ms"));
        }
        Ok(())
    }

    fn write_metrics(&self, out: &mut Exposition<'_>) {
        let config = self.broker.config.get();
        let identity = &self.broker.identity;
        let own = [
            ("cluster", identity.cluster.as_str()),
            ("node_id", identity.broker_name.as_str()),
            ("node_type", "broker"),
        ];
        let labels = metrics_labels(&config.metrics_label);
        out.configure(own.into_iter().chain(labels), series_limit(&config));
        if config.enable_stats_metrics {
            self.write_stats(out);
        }
        if config.enable_request_metrics {
            self.write_incoming(out);
            self.write_outgoing(out);
        }
        if config.enable_connection_metrics {
            self.write_connections(out);
        }
        if config.enable_lag_and_dlq_metrics {
            self.write_lag(out, series_limit(&config));
            self.write_dead_letters(out);
        }
        if config.enable_message_store_metrics {
            self.write_storage(out);
        }
        if config.enable_remoting_metrics {
            self.write_latencies(out);
        }
    }
}

fn series_limit(config: &BrokerConfig) -> usize {
    usize::try_from(config.metrics_otel_cardinality_limit).unwrap_or(0)
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl BrokerReport {
    fn write_stats(&self, out: &mut Exposition<'_>) {
        let broker = &self.broker;
        out.metric(&metric::PROCESSOR_WATERMARK);
        let waiting: usize = self.lane_calls.iter().map(|calls| calls()).sum();
        out.value(&[("processor", "lanes")], waiting);
        out.metric(&metric::BROKER_PERMISSION);
        out.value(&[], broker.config.get().broker_permission);
        out.metric(&metric::TOPIC_NUMBER);
        out.value(&[], broker.topics.len());
        out.metric(&metric::CONSUMER_GROUP_NUMBER);
        out.value(&[], broker.groups.len());
    }

    fn write_incoming(&self, out: &mut Exposition<'_>) {
        let Some(traffic) = self.broker.stats.traffic() else {
            return;
        };
        let incoming = traffic.incoming();
        let mut each =
            |metric: &Metric, write: fn(&mut Exposition<'_>, &[(&str, &str)], &traffic::Incoming)| {
                out.metric(metric);
                for (topic, message_type, counts) in &incoming {
                    let labels = [
                        ("topic", topic.as_str()),
                        ("message_type", message_type.name()),
                        ("is_system", truth(names::is_system_topic(topic))),
                    ];
                    write(out, &labels, counts);
                }
            };
        each(&metric::MESSAGES_IN, |out, labels, counts| {
            out.value(labels, counts.messages);
        });
        each(&metric::THROUGHPUT_IN, |out, labels, counts| {
            out.value(labels, counts.bytes);
        });
        each(&metric::MESSAGE_SIZE, |out, labels, counts| {
            let reading = HistogramReading {
                limits: &SIZE_LIMITS,
                counts: &counts.sizes,
                sum: counts.sizes_sum,
            };
            out.histogram(labels, reading);
        });
    }

    fn write_outgoing(&self, out: &mut Exposition<'_>) {
        let outgoing = self.broker.stats.outgoing();
        let mut each = |metric: &Metric, value: fn(&crate::stats::Outgoing) -> u64| {
            out.metric(metric);
            for counts in &outgoing {
                let labels = [
                    ("topic", counts.topic.as_str()),
                    ("consumer_group", counts.group.as_str()),
                    ("is_system", truth(is_system(&counts.topic, &counts.group))),
                ];
                out.value(&labels, value(counts));
            }
        };
        each(&metric::MESSAGES_OUT, |counts| counts.messages);
        each(&metric::THROUGHPUT_OUT, |counts| counts.bytes);
    }

    fn write_connections(&self, out: &mut Exposition<'_>) {
        let mut producers: BTreeMap<Client, usize> = BTreeMap::new();
        for channel in self.broker.producers.snapshot().values().flatten() {
            *producers.entry(Client::of(channel)).or_default() += 1;
        }
        out.metric(&metric::PRODUCER_CONNECTIONS);
        for (client, count) in &producers {
            out.value(&client.labels(), count);
        }

        out.metric(&metric::CONSUMER_CONNECTIONS);
        for (group, info) in self.broker.consumers.snapshot() {
            let mut members: BTreeMap<Client, usize> = BTreeMap::new();
            for channel in info.channels() {
                *members.entry(Client::of(&channel)).or_default() += 1;
            }
            for (client, count) in &members {
                let [language, version, protocol] = client.labels();
                let labels = [
                    ("consumer_group", group.as_str()),
                    language,
                    version,
                    ("consume_mode", consume_mode(info.consume_type)),
                    protocol,
                    ("is_system", truth(names::is_system_group(&group))),
                ];
                out.value(&labels, count);
            }
        }
    }

    fn write_lag(&self, out: &mut Exposition<'_>, limit: usize) {
        let lags = lag::of_connected_groups(&self.broker, limit);
        let mut each = |metric: &Metric, value: fn(&lag::Lag) -> i64| {
            out.metric(metric);
            for lag in &lags {
                let labels = [
                    ("consumer_group", lag.group.as_str()),
                    ("topic", lag.topic.as_str()),
                    ("is_retry", "false"),
                    ("is_system", truth(is_system(&lag.topic, &lag.group))),
                ];
                out.value(&labels, value(lag));
            }
        };
        each(&metric::CONSUMER_LAG_MESSAGES, |lag| lag.messages);
        each(&metric::CONSUMER_LAG_LATENCY, |lag| lag.latency_ms);
        each(&metric::CONSUMER_INFLIGHT_MESSAGES, |lag| lag.inflight);
        each(&metric::CONSUMER_QUEUEING_LATENCY, |lag| lag.queueing_latency_ms);
        each(&metric::CONSUMER_READY_MESSAGES, |lag| lag.ready);
    }

    fn write_dead_letters(&self, out: &mut Exposition<'_>) {
        let Some(traffic) = self.broker.stats.traffic() else {
            return;
        };
        out.metric(&metric::SEND_TO_DLQ_MESSAGES);
        for ((group, topic), count) in traffic.dead_letters() {
            let labels = [
                ("consumer_group", group.as_str()),
                ("topic", topic.as_str()),
                ("is_system", truth(is_system(&topic, &group))),
            ];
            out.value(&labels, count);
        }
    }

    fn write_storage(&self, out: &mut Exposition<'_>) {
        let store = &self.broker.store;
        let state = store.state();
        let labels = [("storage_type", "local"), ("storage_medium", "disk")];
        if let Some(bytes) = store.disk_used_bytes() {
            out.metric(&metric::STORAGE_SIZE);
            out.value(&labels, bytes);
        }
        let end = state.commit_log_max.0;
        out.metric(&metric::STORAGE_FLUSH_BEHIND);
        out.value(&labels, end.saturating_sub(state.flushed.0));
        out.metric(&metric::STORAGE_DISPATCH_BEHIND);
        out.value(&labels, end.saturating_sub(state.dispatched.0));
        if let Some(earliest_ms) = store.earliest_time().filter(|time_ms| *time_ms > 0) {
            out.metric(&metric::STORAGE_MESSAGE_RESERVE_TIME);
            out.value(&labels, (self.broker.clock.wall_ms() - earliest_ms).max(0));
        }
    }

    fn write_latencies(&self, out: &mut Exposition<'_>) {
        out.metric(&metric::RPC_LATENCY);
        for (kind, latency) in self.latencies.read() {
            let labels = [
                ("request_code", &*kind.request_name().to_lowercase()),
                ("response_code", &*kind.response_name().to_lowercase()),
                ("is_long_polling", truth(kind.is_long_polling)),
                ("protocol_type", "remoting"),
                ("result", if kind.is_oneway { "oneway" } else { "success" }),
            ];
            let reading = HistogramReading {
                limits: &LATENCY_LIMITS_MS,
                counts: &latency.counts,
                sum: latency.sum_ms,
            };
            out.histogram(&labels, reading);
        }
    }
}

/// What connections are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Client {
    language: String,
    version: String,
}

impl Client {
    fn of(channel: &ClientChannel) -> Self {
        Client {
            language: channel.language.name().to_lowercase(),
            version: version::description(channel.version).to_lowercase(),
        }
    }

    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("language", self.language.as_str()),
            ("version", self.version.as_str()),
            ("protocol_type", "remoting"),
        ]
    }
}

fn is_system(topic: &str, group: &str) -> bool {
    names::is_system_topic(topic) || names::is_system_group(group)
}

/// Reference: `ConsumeType.getTypeCN`.
fn consume_mode(consume_type: ConsumeType) -> &'static str {
    match consume_type {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}
