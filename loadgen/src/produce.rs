//! `produce`: sends as fast as the window allows.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::report::Report;
use crate::sender::{End, Sender, Shape};
use crate::target::{Meter, Target};

/// Send messages, so many in flight per connection
#[derive(Args, Clone, Debug)]
pub struct Produce {
    #[command(flatten)]
    target: Target,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    size: u32,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    window: u32,
    /// Messages to send
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    messages: u64,
    /// Stop after so many seconds, even if not all messages are sent
    #[arg(long)]
    seconds: Option<u64>,
    /// Messages to send before measuring
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Messages in a request: more than one makes SEND_BATCH_MESSAGE
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Topics to send to in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    topics: u32,
}

impl Produce {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Warms up, measures, reports.
    pub fn run(&self) -> Result<Report> {
        let topics = self.target.topics(self.topics as usize);
        let batch = u64::from(self.batch);
        let shape = Shape {
            size: self.size as usize,
            batch: self.batch as usize,
            connections: self.connections as usize,
            window: self.window as usize,
        };
        let mut sender = Sender::open(&self.target, &topics, shape)?;
        sender.run(End {
            requests: self.warmup.div_ceil(batch),
            at: None,
        })?;
        let meter = Meter::start(&self.target)?;
        let sent = sender.run(End {
            requests: self.messages.div_ceil(batch),
            at: self
                .seconds
                .map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        })?;
        let messages = sent.requests * batch;
        let mut report = Report::new(messages, sent.requests, sent.elapsed, sent.errors);
        report.latency_us = Some(sent.latency.summary());
        meter.finish(report, messages)
    }
}
