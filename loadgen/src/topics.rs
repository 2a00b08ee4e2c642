//! `topics`: many topics, created as mqadmin does, then messages to all of them in turn, then every queue read back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use remoting::codes::response_code;

use crate::records;
use crate::report::{Errors, Latency, Report};
use crate::requests;
use crate::sender::{End, Sender, Sent, Shape};
use crate::sockets::Sockets;
use crate::target::{Meter, Target};
use crate::template::{FIRST_OPAQUE, Stamp};

/// Topics that are written or read together: their requests are kept in memory.
const TOPICS_AT_A_TIME: usize = 1_000;
const QUEUES_READ_AT_A_TIME: usize = 512;
const WAIT: Duration = Duration::from_secs(1);

/// Create many topics and send to all of them
#[derive(Args, Clone, Debug)]
pub struct Topics {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    topics: u32,
    /// Let the first message create each topic instead
    #[arg(long)]
    auto_create: bool,
    /// Messages to each queue of each topic
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    messages_per_queue: u64,
    /// Leave out the creation: the topics are there from an earlier run
    #[arg(long)]
    existing: bool,
    /// Read every queue from its beginning afterwards; each must hold at least one message
    #[arg(long)]
    read_back: bool,
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

    /// Creates, sends, reads, reports. CPU time and memory are those of all together: for each message, without messages
    /// for each topic created, without those for each queue read.
    pub fn run(&self) -> Result<Report> {
        let topics = self.target.topics(self.topics as usize);
        let meter = Meter::start(&self.target)?;
        let created = match self.auto_create || self.existing {
            true => None,
            false => Some(self.create(&topics)?),
        };
        let sent = self.send(&topics)?;
        let mut report = Report::new(sent.requests, sent.requests, sent.elapsed, sent.errors);
        report.latency_us = Some(sent.latency.summary());
        report.create_topic_us = created.map(|latency| latency.summary());
        report.topics = Some(u64::from(self.topics));
        let queues = u64::from(self.topics) * u64::from(self.target.queues);
        // CPU time is told for each of what the run is about.
        let about = match report.messages {
            0 if report.create_topic_us.is_some() => u64::from(self.topics),
            0 => queues,
            messages => messages,
        };
        if self.read_back {
            report.read_queue_us = Some(self.read(&topics)?.summary());
        }
        meter.finish(report, about)
    }

    fn send(&self, topics: &[String]) -> Result<Sent> {
        let mut all = Sent {
            requests: 0,
            elapsed: Duration::ZERO,
            latency: Latency::new(),
            errors: Errors::default(),
        };
        if self.messages_per_queue == 0 {
            return Ok(all);
        }
        let shape = Shape {
            size: self.size as usize,
            batch: 1,
            connections: self.connections as usize,
            window: self.window as usize,
        };
        for topics in topics.chunks(TOPICS_AT_A_TIME) {
            let queues = topics.len() as u64 * u64::from(self.target.queues);
            let mut sender = Sender::open(&self.target, topics, shape)?;
            all.add(sender.run(End {
                requests: queues * self.messages_per_queue,
                at: None,
            })?);
        }
        Ok(all)
    }

    /// Pulls each queue once. Gives the times from sending some hundred pulls together to each answer.
    fn read(&self, topics: &[String]) -> Result<Latency> {
        let mut sockets = Sockets::connect(self.target.address, 1)?;
        let deadline = self.target.deadline();
        let mut latency = Latency::new();
        let queues = usize::from(self.target.queues);
        for topics in topics.chunks(QUEUES_READ_AT_A_TIME / queues) {
            deadline.check()?;
            let started = Instant::now();
            let asked = topics.len() * queues;
            for index in 0..asked {
                let (topic, queue_id) = (&topics[index / queues], index % queues);
                let sys_flag = requests::PULL_SUBSCRIPTION;
                let mut pull = requests::pull(self.target.header, topic, queue_id, sys_flag, 0);
                let stamp = Stamp::opaque(FIRST_OPAQUE + index as u32);
                sockets.connection(0).push(pull.stamp(stamp));
            }
            sockets.flush(0)?;
            let (mut answered, mut ready) = (0, Vec::new());
            while answered < asked {
                deadline.check()?;
                sockets.wait(WAIT, &mut ready)?;
                sockets.connection(0).receive(|response| {
                    let index = response.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
                    let topic = topics
                        .get(index / queues)
                        .context("an answer to a pull nobody sent")?;
                    let found = response.code == response_code::SUCCESS
                        && records::for_each(response.body, |_| Ok(()))? > 0;
                    ensure!(found, "queue {} of {topic}: {}", index % queues, response.code);
                    latency.record(started.elapsed());
                    answered += 1;
                    Ok(())
                })?;
                sockets.flush(0)?;
            }
        }
        Ok(latency)
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
