//! `consume`: pulls a topic from its beginning until caught up, one pull in flight per queue.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use remoting::codes::response_code;

use crate::records;
use crate::report::{Errors, Latency, Report};
use crate::requests;
use crate::sockets::Sockets;
use crate::target::{Deadline, Meter, Target};
use crate::template::{FIRST_OPAQUE, Stamp, Template};

const WAIT: Duration = Duration::from_secs(1);
/// A queue that answers with so many errors in a row is given up.
const MAX_ERRORS: u64 = 100;

/// Pull a topic from its beginning until caught up
#[derive(Args, Clone, Debug)]
pub struct Consume {
    #[command(flatten)]
    target: Target,
    /// Connections, among which the queues are divided
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How often to read all of it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    passes: u32,
    /// How often to read all of it before measuring
    #[arg(long, default_value_t = 0)]
    warmup: u32,
    /// Leave the subscription out of the pulls, so that the broker takes the one of the heartbeat
    #[arg(long)]
    heartbeat_subscription: bool,
}

impl Consume {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Warms up, measures, reports.
    pub fn run(&self) -> Result<Report> {
        let mut consumer = Consumer::open(self)?;
        for _ in 0..self.warmup {
            consumer.read_all(&mut Pulled::new())?;
        }
        let meter = Meter::start(&self.target)?;
        let started = Instant::now();
        let mut pulled = Pulled::new();
        for _ in 0..self.passes {
            consumer.read_all(&mut pulled)?;
        }
        let mut report = Report::new(pulled.messages, pulled.requests, started.elapsed(), pulled.errors);
        report.latency_us = Some(pulled.latency.summary());
        meter.finish(report, pulled.messages)
    }
}

/// What was read so far.
struct Pulled {
    messages: u64,
    requests: u64,
    latency: Latency,
    errors: Errors,
}

impl Pulled {
    fn new() -> Self {
        Self {
            messages: 0,
            requests: 0,
            latency: Latency::new(),
            errors: Errors::default(),
        }
    }
}

struct Consumer {
    sockets: Sockets,
    queues: Vec<Queue>,
    deadline: Deadline,
}

/// One queue and where its reader is.
struct Queue {
    connection: usize,
    pull: Template,
    offset: i64,
    pulled_at: Instant,
    is_done: bool,
}

impl Consumer {
    fn open(consume: &Consume) -> Result<Self> {
        let target = &consume.target;
        let connections = consume.connections as usize;
        let mut sockets = Sockets::connect(target.address, connections)?;
        for index in 0..connections {
            let client_id = format!("127.0.0.1@load{}-{index}", std::process::id());
            let answer = sockets.call(
                index,
                requests::heartbeat(target.header, &client_id, &target.topic),
                "",
            )?;
            ensure!(answer.code == 0, "heartbeat: {} {}", answer.code, answer.remark);
        }
        let sys_flag = match consume.heartbeat_subscription {
            true => 0,
            false => requests::PULL_SUBSCRIPTION,
        };
        let queue = |queue_id| Queue {
            connection: queue_id % connections,
            pull: requests::pull(target.header, &target.topic, queue_id, sys_flag, 0),
            offset: 0,
            pulled_at: Instant::now(),
            is_done: false,
        };
        Ok(Self {
            sockets,
            queues: (0..usize::from(target.queues)).map(queue).collect(),
            deadline: target.deadline(),
        })
    }

    /// Reads every queue from offset 0 to its end.
    fn read_all(&mut self, pulled: &mut Pulled) -> Result<()> {
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.offset = 0;
            queue.is_done = false;
            queue.push_pull(index, &mut self.sockets);
        }
        for connection in 0..self.sockets.len() {
            self.sockets.flush(connection)?;
        }
        let mut ready = Vec::new();
        while self.queues.iter().any(|queue| !queue.is_done) {
            self.deadline.check()?;
            self.sockets.wait(WAIT, &mut ready)?;
            for &connection in &ready {
                self.take_answers(connection, pulled)?;
                self.sockets.flush(connection)?;
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, connection: usize, pulled: &mut Pulled) -> Result<()> {
        let mut answered = Vec::new();
        let queues = &mut self.queues;
        let now = Instant::now();
        self.sockets.connection(connection).receive(|response| {
            let index = response.opaque.wrapping_sub(FIRST_OPAQUE) as usize;
            let queue = queues.get_mut(index).context("an answer to a pull nobody sent")?;
            pulled.requests += 1;
            pulled.latency.record(now - queue.pulled_at);
            match response.code {
                response_code::SUCCESS | response_code::PULL_RETRY_IMMEDIATELY => {
                    queue.offset = response.number("nextBeginOffset").context("no nextBeginOffset")?;
                    pulled.messages += records::for_each(response.body, |_| Ok(()))?;
                }
                response_code::PULL_NOT_FOUND | response_code::PULL_OFFSET_MOVED => queue.is_done = true,
                code => {
                    pulled.errors.record(code, || response.remark());
                    ensure!(
                        pulled.errors.count() <= MAX_ERRORS,
                        "too many errors, the last: {code} {}",
                        response.remark()
                    );
                }
            }
            if !queue.is_done {
                answered.push(index);
            }
            Ok(())
        })?;
        for index in answered {
            self.queues[index].push_pull(index, &mut self.sockets);
        }
        Ok(())
    }
}

impl Queue {
    fn push_pull(&mut self, index: usize, sockets: &mut Sockets) {
        let stamp = Stamp {
            queue_offset: self.offset,
            ..Stamp::opaque(FIRST_OPAQUE + index as u32)
        };
        sockets.connection(self.connection).push(self.pull.stamp(stamp));
        self.pulled_at = Instant::now();
    }
}
