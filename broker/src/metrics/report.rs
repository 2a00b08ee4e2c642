//! BrokerReport: one scrape of a broker, and its health.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use common::{names, version};
use operations::config::metrics_labels;
use operations::exposition::{Exposition, HistogramReading, Metric};
use operations::http::Source;
use remoting::body::ConsumeType;
use remoting::latency::{LATENCY_LIMITS_MS, RpcLatencies};
use store::QueueOffset;

use super::names as metric;
use super::tally::{Histograms, Tally};
use super::traffic::SIZE_LIMITS;
use super::{lag, traffic};
use crate::broker::Broker;
use crate::clients::ClientChannel;
use crate::config::BrokerConfig;

/// Labels of everything about the store. Reference: `DefaultStoreMetricsManager.newAttributesBuilder`.
const STORAGE_LABELS: [(&str, &str); 2] = [("storage_type", "local"), ("storage_medium", "disk")];

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
            self.write_creations(out);
        }
        if config.enable_connection_metrics {
            self.write_connections(out);
        }
        if config.enable_lag_and_dlq_metrics {
            self.write_lag(out, series_limit(&config));
            self.write_dead_letters(out);
        }
        if config.enable_transaction_metrics {
            self.write_transactions(out);
        }
        if config.enable_message_store_metrics {
            self.write_storage(out);
            self.write_timers(out);
        }
        if config.enable_pop_metrics {
            self.write_pops(out);
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
        let Some(traffic) = self.broker.stats.traffic() else {
            return;
        };
        let outgoing = traffic.outgoing();
        let mut each = |metric: &Metric, value: fn(&traffic::Outgoing) -> u64| {
            out.metric(metric);
            for counts in &outgoing {
                let mut labels = vec![
                    ("topic", counts.topic.as_str()),
                    ("consumer_group", counts.group.as_str()),
                    ("is_system", truth(is_system(&counts.topic, &counts.group))),
                ];
                labels.extend(
                    counts
                        .way
                        .is_retry()
                        .map(|is_retry| ("is_retry", truth(is_retry))),
                );
                out.value(&labels, value(counts));
            }
        };
        each(&metric::MESSAGES_OUT, |counts| counts.messages);
        each(&metric::THROUGHPUT_OUT, |counts| counts.bytes);
    }

    fn write_creations(&self, out: &mut Exposition<'_>) {
        let Some(events) = self.broker.stats.events() else {
            return;
        };
        let status = |is_done| if is_done { "success" } else { "failure" };
        write_histograms(
            out,
            &metric::TOPIC_CREATE_EXECUTE_TIME,
            &events.topic_creations,
            |(is_done, is_system)| {
                vec![
                    ("invocation_status", status(*is_done)),
                    ("is_system", truth(*is_system)),
                ]
            },
        );
        write_histograms(
            out,
            &metric::CONSUMER_GROUP_CREATE_EXECUTE_TIME,
            &events.group_creations,
            |is_done| vec![("invocation_status", status(*is_done))],
        );
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
        let broker = &self.broker;
        let config = broker.config.get();
        let counts_light = config.lite_lag_count_metrics_enable;
        let times_light = config.lite_lag_latency_metrics_enable && config.lite_lag_latency_collect_enable;
        let lags = lag::of_groups(broker, limit);
        let light = match counts_light || times_light {
            true => lag::in_light_topics(broker, times_light, limit),
            false => BTreeMap::new(),
        };
        let mut each = |metric: &Metric, with_light: bool, value: fn(&lag::Lag) -> i64| {
            out.metric(metric);
            let light = light.iter().filter(|_| with_light);
            let (light_keys, light): (HashSet<_>, Vec<_>) = light.unzip();
            // One series for a group and topic: a parent topic's own queues hold the same messages.
            let is_light = |lag: &lag::Lag| {
                let key = || (lag.group.clone(), lag.topic.clone());
                !light_keys.is_empty() && !lag.is_retry && light_keys.contains(&&key())
            };
            let ordinary = lags.iter().filter(|lag| !is_light(lag));
            for lag in ordinary.chain(light) {
                let labels = [
                    ("consumer_group", lag.group.as_str()),
                    ("topic", lag.topic.as_str()),
                    ("is_retry", truth(lag.is_retry)),
                    ("is_system", truth(is_system(&lag.topic, &lag.group))),
                ];
                out.value(&labels, value(lag));
            }
        };
        each(&metric::CONSUMER_LAG_MESSAGES, counts_light, |lag| lag.messages);
        each(&metric::CONSUMER_LAG_LATENCY, times_light, |lag| lag.latency_ms);
        each(&metric::CONSUMER_INFLIGHT_MESSAGES, false, |lag| lag.inflight);
        each(&metric::CONSUMER_QUEUEING_LATENCY, false, |lag| {
            lag.queueing_latency_ms
        });
        each(&metric::CONSUMER_READY_MESSAGES, counts_light, |lag| lag.ready);
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
        let labels = STORAGE_LABELS;
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

    fn write_transactions(&self, out: &mut Exposition<'_>) {
        out.metric(&metric::HALF_MESSAGES);
        for (topic, count) in self.broker.transaction_metrics.counts() {
            out.value(&[("topic", &topic)], count);
        }
        let Some(events) = self.broker.stats.events() else {
            return;
        };
        write_tally(out, &metric::COMMIT_MESSAGES, &events.commits, |topic| {
            vec![("topic", topic)]
        });
        write_tally(out, &metric::ROLLBACK_MESSAGES, &events.rollbacks, |topic| {
            vec![("topic", topic)]
        });
        write_histograms(
            out,
            &metric::FINISH_MESSAGE_LATENCY,
            &events.finish_latencies,
            |topic| vec![("topic", topic)],
        );
    }

    fn write_timers(&self, out: &mut Exposition<'_>) {
        let broker = &self.broker;
        let Some(timers) = &broker.timers else {
            return;
        };
        let now_ms = broker.clock.wall_ms();
        let reached = timers.reached();
        out.metric(&metric::TIMER_ENQUEUE_LAG);
        out.value(&STORAGE_LABELS, broker.timer_offset_behind());
        out.metric(&metric::TIMER_ENQUEUE_LATENCY);
        let filed = QueueOffset(reached.queue_offset);
        let oldest_ms = broker.store.store_time(names::TIMER_TOPIC, 0, filed);
        out.value(
            &STORAGE_LABELS,
            oldest_ms.map_or(0, |stored_ms| (now_ms - stored_ms).max(0)),
        );
        out.metric(&metric::TIMER_DEQUEUE_LAG);
        out.value(&STORAGE_LABELS, timers.files.pending());
        out.metric(&metric::TIMER_DEQUEUE_LATENCY);
        out.value(&STORAGE_LABELS, (now_ms - reached.read_time_ms).max(0) / 1_000);
        out.metric(&metric::TIMING_MESSAGES);
        for (topic, waiting) in timers.metrics.snapshot().timing_count {
            out.value(&with_storage(vec![("topic", &topic)]), waiting.count);
        }
        out.metric(&metric::TIMER_MESSAGE_SNAPSHOT);
        for (bound_s, waiting) in timers.snapshot(now_ms) {
            let bound_s = bound_s.to_string();
            out.value(&with_storage(vec![("timer_bound_s", &bound_s)]), waiting);
        }
        let Some(events) = broker.stats.events() else {
            return;
        };
        write_tally(out, &metric::TIMER_ENQUEUED, &events.timer_enqueued, |topic| {
            with_storage(vec![("topic", topic)])
        });
        write_tally(out, &metric::TIMER_DEQUEUED, &events.timer_dequeued, |topic| {
            with_storage(vec![("topic", topic)])
        });
        write_histograms(out, &metric::DELAY_MESSAGE_LATENCY, &events.delays, |topic| {
            with_storage(vec![("topic", topic)])
        });
    }

    fn write_pops(&self, out: &mut Exposition<'_>) {
        for metric in [
            &metric::POP_OFFSET_BUFFER_SIZE,
            &metric::POP_CHECKPOINT_BUFFER_SIZE,
        ] {
            out.metric(metric);
            out.value(&[], 0);
        }
        self.write_revive_lag(out);
        let Some(events) = self.broker.stats.events() else {
            return;
        };
        write_tally(
            out,
            &metric::POP_REVIVE_IN,
            &events.revive_in,
            |(record, status)| {
                let mut labels = record.labels();
                labels.push(("put_status", status));
                labels
            },
        );
        out.metric(&metric::POP_REVIVE_OUT);
        for ((record, queue_id), count) in events.revive_out.read() {
            let queue_id = queue_id.to_string();
            let mut labels = record.labels();
            labels.push(("queue_id", &queue_id));
            out.value(&labels, count);
        }
        write_tally(
            out,
            &metric::POP_REVIVE_RETRY,
            &events.revive_retries,
            |((group, topic), status)| {
                vec![
                    ("consumer_group", group),
                    ("topic", topic),
                    ("put_status", status),
                ]
            },
        );
    }

    /// Lag and age by queue of the revive topic.
    fn write_revive_lag(&self, out: &mut Exposition<'_>) {
        let broker = &self.broker;
        let (topic, now_ms) = (broker.revive_log.topic(), broker.clock.wall_ms());
        let lags: Vec<(String, i64, i64)> = (0..broker.revive_log.queues())
            .map(|queue_id| {
                let end = broker.store.max_offset(topic, queue_id);
                let first = broker.revive_log.first_undecided(queue_id).unwrap_or(end);
                let stored_ms = u64::try_from(first)
                    .ok()
                    .and_then(|first| broker.store.store_time(topic, queue_id, QueueOffset(first)));
                let age_ms = stored_ms.map_or(0, |stored_ms| (now_ms - stored_ms).max(0));
                (queue_id.to_string(), (end - first).max(0), age_ms)
            })
            .collect();
        out.metric(&metric::POP_REVIVE_LAG);
        for (queue_id, records, _) in &lags {
            out.value(&[("queue_id", queue_id)], records);
        }
        out.metric(&metric::POP_REVIVE_LATENCY);
        for (queue_id, _, age_ms) in &lags {
            out.value(&[("queue_id", queue_id)], age_ms);
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

fn with_storage<'a>(mut labels: Vec<(&'static str, &'a str)>) -> Vec<(&'static str, &'a str)> {
    labels.extend(STORAGE_LABELS);
    labels
}

/// One series for each key of a tally.
fn write_tally<K: Eq + Hash + Ord + Clone>(
    out: &mut Exposition<'_>,
    metric: &Metric,
    tally: &Tally<K>,
    labels: impl Fn(&K) -> Vec<(&'static str, &str)>,
) {
    out.metric(metric);
    for (key, count) in tally.read() {
        out.value(&labels(&key), count);
    }
}

/// One series for each key of some histograms.
fn write_histograms<K: Eq + Hash + Ord + Clone>(
    out: &mut Exposition<'_>,
    metric: &Metric,
    histograms: &Histograms<K>,
    labels: impl Fn(&K) -> Vec<(&'static str, &str)>,
) {
    out.metric(metric);
    for (key, histogram) in histograms.read() {
        let reading = HistogramReading {
            limits: histograms.limits,
            counts: &histogram.counts,
            sum: histogram.sum,
        };
        out.histogram(&labels(&key), reading);
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
