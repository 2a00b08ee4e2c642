//! `e2e`: latency at a fixed rate, from the intended sending to the message in the consumer's hands.
//!
//! Message n is due at start + n / rate, whatever happened to those before it, and its latency counts from then: a server
//! that stalls for a second delays all messages of that second, and all of them are in the percentiles (no coordinated
//! omission). The intended time travels in the body. Each queue has one long-polling pull.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use common::clock::{Clock, SystemClock};

use crate::pace::Pace;
use crate::receiver::Receiver;
use crate::report::{Errors, Latency, Report};
use crate::requests::{self, Destination};
use crate::sockets::Sockets;
use crate::target::{Meter, Target};
use crate::template::{FIRST_OPAQUE, Stamp, Template};

const WAIT: Duration = Duration::from_millis(100);
/// The kernel ends a wait up to a millisecond late: what is due sooner is not slept for. It takes a core of its own.
const SPIN: Duration = Duration::from_millis(2);
/// How long to wait for messages after the last was sent.
const LINGER: Duration = Duration::from_secs(10);
/// Messages sent but not answered; beyond, the server cannot keep the rate at all.
const MAX_IN_FLIGHT: u64 = 100_000;

/// Send at a fixed rate and receive by long polling
#[derive(Args, Clone, Debug)]
pub struct EndToEnd {
    #[command(flatten)]
    target: Target,
    /// Messages per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// For so long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Messages of the first seconds are sent but not measured
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup_seconds: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    size: u32,
    /// Connections that send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
}

impl EndToEnd {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Warms up, measures, reports.
    pub fn run(&self) -> Result<Report> {
        let mut course = Course::open(self)?;
        course.run(self.rate * self.warmup_seconds)?;
        let meter = Meter::start(&self.target)?;
        let started = Instant::now();
        let outcome = course.run(self.rate * self.seconds)?;
        let mut report = Report::new(
            outcome.received,
            outcome.answered,
            started.elapsed(),
            outcome.errors,
        );
        report.latency_us = Some(outcome.send_latency.summary());
        report.end_to_end_us = Some(outcome.latency.summary());
        report.lateness_us = Some(outcome.lateness.summary());
        meter.finish(report, outcome.received)
    }
}

/// Connections of producers (all but the last) and of the consumer (the last).
struct Course {
    sockets: Sockets,
    sends: Vec<Template>,
    receiver: Receiver,
    pace: Pace,
    next_key: u64,
    clock: SystemClock,
}

/// What one run measured.
struct Outcome {
    answered: u64,
    received: u64,
    send_latency: Latency,
    latency: Latency,
    /// How late this process itself sent: part of the latencies, but not the server's doing.
    lateness: Latency,
    errors: Errors,
}

impl Course {
    fn open(mode: &EndToEnd) -> Result<Self> {
        let target = &mode.target;
        let consumer = mode.connections as usize;
        let mut sockets = Sockets::connect(target.address, consumer + 1)?;
        let body = requests::body(mode.size as usize);
        let sends = (0..usize::from(target.queues))
            .map(|queue_id| requests::send(Destination::of(target, &target.topic, queue_id), &body, 1))
            .collect();
        let receiver = Receiver::open(&mut sockets, consumer, target)?;
        let clock = SystemClock::new();
        Ok(Self {
            sockets,
            sends,
            receiver,
            pace: Pace::new(mode.rate),
            next_key: clock.wall_ms().unsigned_abs() << 20,
            clock,
        })
    }

    fn run(&mut self, total: u64) -> Result<Outcome> {
        let mut outcome = Outcome {
            answered: 0,
            received: 0,
            send_latency: Latency::new(),
            latency: Latency::new(),
            lateness: Latency::new(),
            errors: Errors::default(),
        };
        let started = Instant::now();
        let give_up = started + self.pace.due(total) + LINGER;
        let mut sent = 0;
        let mut ready = Vec::new();
        while sent < total || outcome.answered < total || outcome.received + outcome.errors.count() < total {
            ensure!(
                Instant::now() < give_up,
                "of {total} messages {} arrived within {LINGER:?} of the end",
                outcome.received
            );
            sent = self.send_due(sent, total, started, &mut outcome.lateness)?;
            ensure!(
                sent - outcome.answered <= MAX_IN_FLIGHT,
                "the server cannot keep up"
            );
            let wait = match sent < total {
                true => match self.pace.due(sent).saturating_sub(started.elapsed()) {
                    soon if soon < SPIN => Duration::ZERO,
                    later => later.min(WAIT) - SPIN,
                },
                false => WAIT,
            };
            self.sockets.wait(wait, &mut ready)?;
            for &index in &ready {
                if index == self.consumer() {
                    self.take_messages(started, &mut outcome)?;
                } else {
                    self.take_answers(index, started, &mut outcome)?;
                }
            }
        }
        Ok(outcome)
    }

    fn consumer(&self) -> usize {
        self.receiver.connection()
    }

    fn send_due(
        &mut self,
        mut sent: u64,
        total: u64,
        started: Instant,
        lateness: &mut Latency,
    ) -> Result<u64> {
        let producers = self.consumer() as u64;
        let elapsed = started.elapsed();
        let first = sent;
        while sent < total && self.pace.due(sent) <= elapsed {
            let stamp = Stamp {
                key: self.next_key,
                born_ms: self.clock.wall_ms(),
                intended_ns: Some(self.pace.due(sent).as_nanos() as u64),
                ..Stamp::opaque(FIRST_OPAQUE + sent as u32)
            };
            lateness.record(elapsed - self.pace.due(sent));
            self.next_key += 1;
            let queue = sent as usize % self.sends.len();
            let connection = (sent % producers) as usize;
            self.sockets
                .connection(connection)
                .push(self.sends[queue].stamp(stamp));
            sent += 1;
        }
        for connection in (first..sent).take(producers as usize) {
            self.sockets.flush((connection % producers) as usize)?;
        }
        Ok(sent)
    }

    fn take_answers(&mut self, index: usize, started: Instant, outcome: &mut Outcome) -> Result<()> {
        let pace = self.pace;
        self.sockets.connection(index).receive(|response| {
            let number = response.opaque.wrapping_sub(FIRST_OPAQUE);
            outcome.answered += 1;
            outcome
                .send_latency
                .record(started.elapsed().saturating_sub(pace.due(u64::from(number))));
            if response.code != 0 {
                outcome.errors.record(response.code, || response.remark());
            }
            Ok(())
        })
    }

    fn take_messages(&mut self, started: Instant, outcome: &mut Outcome) -> Result<()> {
        let latency = &mut outcome.latency;
        let now = started.elapsed();
        outcome.received += self.receiver.take(&mut self.sockets, |body| {
            let intended = body.first_chunk().context("a body too short")?;
            let intended = Duration::from_nanos(u64::from_be_bytes(*intended));
            latency.record(now.saturating_sub(intended));
            Ok(())
        })?;
        Ok(())
    }
}
