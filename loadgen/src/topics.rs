//! `topics`: many topics, created as mqadmin does, then messages to all of them in turn.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::report::{Latency, Report};
use crate::requests;
use crate::sender::{End, Sender, Shape};
use crate::sockets::Sockets;
use crate::target::{Meter, Target};

/// Create many topics and send to all of them
#[derive(Args, Clone, Debug)]
pub struct Topics {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    topics: u32,
    /// Let the first message create each topic instead
    #[arg(long)]
    auto_create: bool,
    /// Messages to each queue of each topic
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    messages_per_queue: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    size: u32,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    window: u32,
}

impl Topics {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Creates, sends, reports; CPU time and memory are those of both together.
    pub fn run(&self) -> Result<Report> {
        let topics = self.target.topics(self.topics as usize);
        let meter = Meter::start(&self.target)?;
        let created = match self.auto_create {
            true => None,
            false => Some(self.create(&topics)?),
        };
        let shape = Shape {
            size: self.size as usize,
            batch: 1,
            connections: self.connections as usize,
            window: self.window as usize,
        };
        let mut sender = Sender::open(&self.target, &topics, shape)?;
        let sent = sender.run(End {
            requests: u64::from(self.topics) * u64::from(self.target.queues) * self.messages_per_queue,
            at: None,
        })?;
        let mut report = Report::new(sent.requests, sent.requests, sent.elapsed, sent.errors);
        report.latency_us = Some(sent.latency.summary());
        report.create_topic_us = created.map(|latency| latency.summary());
        report.topics = Some(u64::from(self.topics));
        meter.finish(report, sent.requests)
    }

    fn create(&self, topics: &[String]) -> Result<Latency> {
        let mut sockets = Sockets::connect(self.target.address, 1)?;
        let deadline = self.target.deadline();
        let mut latency = Latency::new();
        for topic in topics {
            deadline.check()?;
            let started = Instant::now();
            let request = requests::create_topic(self.target.header, topic, self.target.queues);
            let answer = sockets.call(0, request, "")?;
            ensure!(
                answer.code == 0,
                "create {topic}: {} {}",
                answer.code,
                answer.remark
            );
            latency.record(started.elapsed());
        }
        Ok(latency)
    }
}
