//! One run as one line of JSON, for people and for [`crate::table`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::{CpuTime, Memory};

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50: f64,
    /// 1 of 100 was slower.
    pub p99: f64,
    /// 1 of 1000 was slower.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// Latencies with three significant digits, up to a minute.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// An empty one.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Self(histogram.expect("the bounds are constants that fit"))
    }

    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Counts those of another run too.
    pub fn add(&mut self, other: &Latency) {
        self.0 += &other.0;
    }

    /// The line's form.
    pub fn summary(&self) -> LatencySummary {
        let micros = |nanos: u64| (nanos as f64 / 10.0).round() / 100.0;
        LatencySummary {
            count: self.0.len(),
            p50: micros(self.0.value_at_quantile(0.5)),
            p99: micros(self.0.value_at_quantile(0.99)),
            p999: micros(self.0.value_at_quantile(0.999)),
            max: micros(self.0.max()),
        }
    }
}

/// Answers that were not a success: how many of each code, and what the first one said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Errors {
    /// How many, by response code.
    pub by_code: BTreeMap<i32, u64>,
    /// Remark of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

impl Errors {
    /// Counts one.
    pub fn record(&mut self, code: i32, remark: impl FnOnce() -> String) {
        *self.by_code.entry(code).or_default() += 1;
        self.first.get_or_insert_with(remark);
    }

    /// Counts those of another run too.
    pub fn add(&mut self, other: Errors) {
        for (code, count) in other.by_code {
            *self.by_code.entry(code).or_default() += count;
        }
        self.first = self.first.take().or(other.first);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.by_code.values().sum()
    }
}

/// What a server used per message, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CpuPerMessage {
    /// In user mode.
    pub user_us: f64,
    /// In the kernel.
    pub system_us: f64,
    /// Both.
    pub total_us: f64,
}

impl CpuPerMessage {
    /// `used` divided by `count`; with 1 for a rate per second, as idle runs have it.
    pub fn new(used: CpuTime, count: f64) -> Self {
        let per_message = |time: Duration| (time.as_secs_f64() * 1e9 / count.max(1e-9)).round() / 1e3;
        Self {
            user_us: per_message(used.user),
            system_us: per_message(used.system),
            total_us: per_message(used.total()),
        }
    }
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Which server, as `--server` says.
    #[serde(default)]
    pub server: String,
    /// Which case, as `--case` says; the mode if it says nothing.
    #[serde(default)]
    pub case: String,
    /// Messages sent or received.
    pub messages: u64,
    /// Requests they took.
    pub requests: u64,
    /// How long it took, until the last answer.
    pub seconds: f64,
    /// Messages by seconds.
    pub messages_per_second: f64,
    /// What the server used for each message; idle runs: for each second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuPerMessage>,
    /// Memory of the server before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_before_kb: Option<u64>,
    /// And after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_after_kb: Option<u64>,
    /// Without file pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_before_kb: Option<u64>,
    /// Without file pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_after_kb: Option<u64>,
    /// From request to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<LatencySummary>,
    /// From the intended sending to the message at the consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end_us: Option<LatencySummary>,
    /// From the time a timer message was due to the message at the consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_us: Option<LatencySummary>,
    /// How late the generator itself was, which is part of the latencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_us: Option<LatencySummary>,
    /// To create one topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_topic_us: Option<LatencySummary>,
    /// From asking for some hundred queues at once to the messages of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_queue_us: Option<LatencySummary>,
    /// Topics that were created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<u64>,
    /// Connections that were held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Failed requests.
    pub errors: u64,
    /// Their codes and the first remark.
    #[serde(default)]
    pub error_details: Errors,
}

impl Report {
    /// A report of `messages` in `elapsed`.
    pub fn new(messages: u64, requests: u64, elapsed: Duration, errors: Errors) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            messages,
            requests,
            seconds,
            messages_per_second: (messages as f64 / seconds.max(1e-9)).round(),
            errors: errors.count(),
            error_details: errors,
            ..Self::default()
        }
    }

    /// Adds what the server held before and after.
    pub fn with_memory(mut self, before: Memory, after: Memory) -> Self {
        self.rss_before_kb = Some(before.rss_kb);
        self.rss_after_kb = Some(after.rss_kb);
        self.anon_before_kb = Some(before.anon_kb);
        self.anon_after_kb = Some(after.anon_kb);
        self
    }

    /// The line.
    pub fn line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let mut errors = Errors::default();
        errors.record(2, || "busy".to_owned());
        errors.record(2, || "not asked for".to_owned());
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(150));
        let mut report = Report::new(1_000, 500, Duration::from_millis(250), errors);
        report.latency_us = Some(latency.summary());
        let used = CpuTime {
            user: Duration::from_millis(3),
            system: Duration::from_millis(5),
        };
        report.cpu = Some(CpuPerMessage::new(used, 1_000.0));

        let read: Report = serde_json::from_str(&report.line().unwrap()).unwrap();

        assert_eq!(read.messages_per_second, 4_000.0);
        assert_eq!(
            (read.errors, read.error_details.first.as_deref()),
            (2, Some("busy"))
        );
        assert!((149.0..=151.0).contains(&read.latency_us.unwrap().p99));
        let cpu = read.cpu.unwrap();
        assert_eq!((cpu.user_us, cpu.system_us, cpu.total_us), (3.0, 5.0, 8.0));
    }
}
