//! Events: what becomes of transactions, timer messages and pops, and how long creations take, counted while it happens.
//!
//! A broker that nobody scrapes has no `Events`. Deleted topics and groups are forgotten.
//! Reference: `BrokerMetricsManager`, `PopMetricsManager`, `DefaultStoreMetricsManager`.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Clock;

use super::in_flight::InFlight;
use super::silent::SilentConsumers;
use super::tally::{Histograms, Tally};

/// Ages of half messages at their commit, seconds. Reference: `registerMetricsView`, `commitLatencyBuckets`.
const FINISH_LIMITS_S: [u64; 6] = [5, 60, 600, 3_600, 43_200, 86_400];
/// How far ahead timer messages are sent, seconds. Reference: `DefaultStoreMetricsManager.getMetricsView`.
const DELAY_LIMITS_S: [u64; 6] = [60, 600, 3_600, 43_200, 86_400, 259_200];
/// Durations of creations, ms. Reference: `registerMetricsView`, `createTimeBuckets`.
const CREATION_LIMITS_MS: [u64; 5] = [10, 100, 1_000, 3_000, 5_000];

/// A record of the revive topic, as metrics tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PopRecord {
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Reference: `PopReviveMessageType`.
    pub(crate) kind: &'static str,
}

impl PopRecord {
    /// Without what the metric adds.
    pub(crate) fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("consumer_group", &self.group),
            ("topic", &self.topic),
            ("revive_message_type", self.kind),
        ]
    }
}

/// An attempt to store something for a group and topic, and the reference's name of its outcome.
type Put<T> = (T, &'static str);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Events {
    /// By topic.
    pub(crate) commits: Tally<String>,
    /// By topic.
    pub(crate) rollbacks: Tally<String>,
    /// By topic.
    pub(crate) finish_latencies: Histograms<String>,
    /// Timer messages filed, by the topic they are for.
    pub(crate) timer_enqueued: Tally<String>,
    /// Timer messages that left the timer, by the topic they are for.
    pub(crate) timer_dequeued: Tally<String>,
    /// By topic.
    pub(crate) delays: Histograms<String>,
    /// Checkpoints and acks put.
    pub(crate) revive_in: Tally<Put<PopRecord>>,
    /// Checkpoints and acks read, by queue.
    pub(crate) revive_out: Tally<(PopRecord, i32)>,
    /// Copies put into retry topics, by group and topic.
    pub(crate) revive_retries: Tally<Put<(String, String)>>,
    /// By whether it was done, and whether the topic is the broker's own.
    pub(crate) topic_creations: Histograms<(bool, bool)>,
    /// By whether it was done.
    pub(crate) group_creations: Histograms<bool>,
    /// Popped and not acknowledged.
    pub(crate) in_flight: InFlight,
    pub(crate) silent: SilentConsumers,
    clock: Arc<dyn Clock>,
}

impl Events {
    /// Nothing happened yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Events {
            commits: Tally::default(),
            rollbacks: Tally::default(),
            finish_latencies: Histograms::new(&FINISH_LIMITS_S),
            timer_enqueued: Tally::default(),
            timer_dequeued: Tally::default(),
            delays: Histograms::new(&DELAY_LIMITS_S),
            revive_in: Tally::default(),
            revive_out: Tally::default(),
            revive_retries: Tally::default(),
            topic_creations: Histograms::new(&CREATION_LIMITS_MS),
            group_creations: Histograms::new(&CREATION_LIMITS_MS),
            in_flight: InFlight::new(clock.wall_ms()),
            silent: SilentConsumers::default(),
            clock,
        }
    }

    /// A message that was born then became visible.
    pub(crate) fn record_commit(&self, topic: &str, born_timestamp_ms: i64) {
        self.commits.add(topic, 1);
        let age_ms = self.clock.wall_ms().saturating_sub(born_timestamp_ms);
        self.finish_latencies.record(topic, age_ms / 1_000);
    }

    /// A timer message was filed that was sent so far ahead, ms.
    pub(crate) fn record_timer_enqueued(&self, topic: &str, ahead_ms: i64) {
        self.timer_enqueued.add(topic, 1);
        self.delays.record(topic, ahead_ms / 1_000);
    }

    /// When a creation begins, for [`Self::elapsed_ms`].
    pub(crate) fn begin(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How long ago that was.
    pub(crate) fn elapsed_ms(&self, begun: Duration) -> i64 {
        let elapsed = self.clock.monotonic().saturating_sub(begun);
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }

    /// Forgets a deleted topic.
    pub(crate) fn remove_topic(&self, topic: &str) {
        for tally in [
            &self.commits,
            &self.rollbacks,
            &self.timer_enqueued,
            &self.timer_dequeued,
        ] {
            tally.retain(|of_topic| of_topic != topic);
        }
        for histograms in [&self.finish_latencies, &self.delays] {
            histograms.retain(|of_topic| of_topic != topic);
        }
        self.revive_in.retain(|(record, _)| record.topic != topic);
        self.revive_out.retain(|(record, _)| record.topic != topic);
        self.revive_retries.retain(|((_, of_topic), _)| of_topic != topic);
        self.in_flight.retain(|_, of_topic| of_topic != topic);
    }

    /// Forgets a deleted group.
    pub(crate) fn remove_group(&self, group: &str) {
        self.revive_in.retain(|(record, _)| record.group != group);
        self.revive_out.retain(|(record, _)| record.group != group);
        self.revive_retries.retain(|((of_group, _), _)| of_group != group);
        self.in_flight.retain(|of_group, _| of_group != group);
    }
}
