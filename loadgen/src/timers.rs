//! `timers`: how late timer messages come, beside ordinary ones at a fixed rate.
//!
//! ```text
//!   sent                                          due at a random millisecond of these
//!   |--- rate and plain_rate, for seconds ---|
//!        |- least_delay ... most_delay -| of each timer message
//! ```
//!
//! The time at which a message is due travels in its body; how late it came is the wall clock when its answer was read, less
//! that time, so that a slow hand-over to the consumer counts too. A message that comes early ends the run with an error.
//! Nothing spins: the broker may have all cores, and what a wait takes too long is below the millisecond that is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use common::clock::{Clock, SystemClock};
use common::random::Random;

use crate::pace::Pace;
use crate::receiver::Receiver;
use crate::report::{Errors, Latency, Report};
use crate::requests::{self, Destination};
use crate::sockets::Sockets;
use crate::target::{Meter, Target};
use crate::template::{FIRST_OPAQUE, Stamp, Template};

/// Both kinds of messages are sent on one connection.
const SENDER: usize = 0;
const CONSUMER: usize = 1;
/// Opaques of ordinary messages, far from those of timer messages.
const FIRST_PLAIN_OPAQUE: u32 = FIRST_OPAQUE + 500_000_000;
const NANOS_PER_MS: u64 = 1_000_000;
const TICK: Duration = Duration::from_millis(1);
/// How long to wait for messages after the last one was due.
const LINGER: Duration = Duration::from_secs(15);
/// Messages sent but not answered; beyond, the server cannot keep the rate at all.
const MAX_IN_FLIGHT: u64 = 100_000;

/// Send timer messages at a fixed rate, ordinary ones beside them, and see how late the timer messages come
#[derive(Args, Clone, Debug)]
pub struct Timers {
    #[command(flatten)]
    target: Target,
    /// Timer messages per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Ordinary messages per second, to a topic of their own
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    plain_rate: u64,
    /// For so long
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Messages of the first seconds are sent and waited for, but not measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup_seconds: u64,
    /// Shortest delay in milliseconds
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(i32).range(1..=86_400_000))]
    least_delay_ms: i32,
    /// Longest delay in milliseconds
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(i32).range(1..=86_400_000))]
    most_delay_ms: i32,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    size: u32,
}

impl Timers {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Warms up, measures, reports.
    pub fn run(&self) -> Result<Report> {
        ensure!(
            self.least_delay_ms <= self.most_delay_ms,
            "the shortest delay is longer than the longest"
        );
        let mut course = Course::open(self)?;
        course.run(self.warmup_seconds)?;
        let meter = Meter::start(&self.target)?;
        let started = Instant::now();
        let outcome = course.run(self.seconds)?;
        let messages = self.seconds * (self.rate + self.plain_rate);
        let mut report = Report::new(messages, outcome.answered, started.elapsed(), outcome.errors);
        report.overdue_us = Some(outcome.overdue.summary());
        report.lateness_us = Some(outcome.lateness.summary());
        meter.finish(report, messages)
    }
}

struct Course<'a> {
    mode: &'a Timers,
    sockets: Sockets,
    timers: Stream,
    plain: Stream,
    receiver: Receiver,
    random: Random,
    next_key: u64,
    clock: SystemClock,
}

/// One kind of messages: a request for each queue, how often, and how many have left in this run.
struct Stream {
    sends: Vec<Template>,
    pace: Pace,
    first_opaque: u32,
    sent: u64,
    total: u64,
}

/// What one run measured.
struct Outcome {
    answered: u64,
    /// Timer messages that were sent, not refused, and did not come yet.
    waiting: u64,
    /// How long after its time each message was in the consumer's hands.
    overdue: Latency,
    /// How late this process itself sent.
    lateness: Latency,
    errors: Errors,
}

impl<'a> Course<'a> {
    fn open(mode: &'a Timers) -> Result<Self> {
        let target = &mode.target;
        let mut sockets = Sockets::connect(target.address, 2)?;
        let receiver = Receiver::open(&mut sockets, CONSUMER, target)?;
        let body = requests::body(mode.size as usize);
        let plain_topic = format!("{}-plain", target.topic);
        let timer = |queue_id| requests::send_timer(Destination::of(target, &target.topic, queue_id), &body);
        let plain = |queue_id| requests::send(Destination::of(target, &plain_topic, queue_id), &body, 1);
        let queues = 0..usize::from(target.queues);
        let clock = SystemClock::new();
        Ok(Self {
            mode,
            sockets,
            timers: Stream::new(queues.clone().map(timer).collect(), mode.rate, FIRST_OPAQUE),
            plain: Stream::new(queues.map(plain).collect(), mode.plain_rate, FIRST_PLAIN_OPAQUE),
            receiver,
            random: Random::new(7),
            next_key: clock.wall_ms().unsigned_abs() << 20,
            clock,
        })
    }

    /// Sends for `seconds` and waits for every timer message.
    fn run(&mut self, seconds: u64) -> Result<Outcome> {
        let mut outcome = Outcome {
            answered: 0,
            waiting: 0,
            overdue: Latency::new(),
            lateness: Latency::new(),
            errors: Errors::default(),
        };
        self.timers.begin(seconds * self.mode.rate);
        self.plain.begin(seconds * self.mode.plain_rate);
        let total = self.timers.total + self.plain.total;
        let started = Instant::now();
        let most_delay = Duration::from_millis(self.mode.most_delay_ms.unsigned_abs().into());
        let longest = Duration::from_secs(seconds) + most_delay + LINGER;
        let mut ready = Vec::new();
        while outcome.answered < total || outcome.waiting > 0 {
            let elapsed = started.elapsed();
            ensure!(
                elapsed < longest,
                "{} timer messages did not come within {LINGER:?} of their time",
                outcome.waiting
            );
            self.send_due(elapsed, &mut outcome)?;
            ensure!(
                self.timers.sent + self.plain.sent - outcome.answered <= MAX_IN_FLIGHT,
                "the server cannot keep up"
            );
            self.sockets.wait(TICK, &mut ready)?;
            if ready.contains(&SENDER) {
                self.take_answers(&mut outcome)?;
            }
            if ready.contains(&CONSUMER) {
                self.take_messages(&mut outcome)?;
            }
        }
        Ok(outcome)
    }

    fn send_due(&mut self, elapsed: Duration, outcome: &mut Outcome) -> Result<()> {
        let least_delay_ms = self.mode.least_delay_ms;
        let delays = self.mode.most_delay_ms - least_delay_ms + 1;
        while let Some(late) = self.timers.late(elapsed) {
            let delay_ms = least_delay_ms + self.random.below(delays);
            let stamp = self.stamp(Some(self.clock.wall_ms() + i64::from(delay_ms)));
            self.sockets.connection(SENDER).push(self.timers.next(stamp));
            outcome.lateness.record(late);
            outcome.waiting += 1;
        }
        while let Some(late) = self.plain.late(elapsed) {
            let stamp = self.stamp(None);
            self.sockets.connection(SENDER).push(self.plain.next(stamp));
            outcome.lateness.record(late);
        }
        self.sockets.flush(SENDER)
    }

    fn stamp(&mut self, delivery_ms: Option<i64>) -> Stamp {
        self.next_key += 1;
        Stamp {
            key: self.next_key,
            born_ms: self.clock.wall_ms(),
            delivery_ms: delivery_ms.unwrap_or(0),
            intended_ns: delivery_ms.map(|ms| ms.unsigned_abs() * NANOS_PER_MS),
            ..Stamp::opaque(FIRST_OPAQUE)
        }
    }

    fn take_answers(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.sockets.connection(SENDER).receive(|response| {
            outcome.answered += 1;
            if response.code != 0 {
                outcome.errors.record(response.code, || response.remark());
                outcome.waiting -= u64::from(response.opaque < FIRST_PLAIN_OPAQUE);
            }
            Ok(())
        })
    }

    fn take_messages(&mut self, outcome: &mut Outcome) -> Result<()> {
        let clock = &self.clock;
        let received = self.receiver.take(&mut self.sockets, |body| {
            let due_ns = u64::from_be_bytes(*body.first_chunk().context("a body too short")?);
            let overdue_ms = clock.wall_ms() - (due_ns / NANOS_PER_MS).cast_signed();
            ensure!(overdue_ms >= 0, "a message came {} ms early", -overdue_ms);
            outcome
                .overdue
                .record(Duration::from_millis(overdue_ms.unsigned_abs()));
            Ok(())
        })?;
        ensure!(received <= outcome.waiting, "messages came that nobody waits for");
        outcome.waiting -= received;
        Ok(())
    }
}

impl Stream {
    fn new(sends: Vec<Template>, rate: u64, first_opaque: u32) -> Self {
        Self {
            sends,
            pace: Pace::new(rate),
            first_opaque,
            sent: 0,
            total: 0,
        }
    }

    fn begin(&mut self, total: u64) {
        (self.sent, self.total) = (0, total);
    }

    /// For how long the next message should have been sent, if it should.
    fn late(&self, elapsed: Duration) -> Option<Duration> {
        let is_left = self.sent < self.total;
        elapsed.checked_sub(self.pace.due(self.sent)).filter(|_| is_left)
    }

    /// The next request, to the next queue.
    fn next(&mut self, stamp: Stamp) -> &[u8] {
        let opaque = self.first_opaque + self.sent as u32;
        let queue = self.sent as usize % self.sends.len();
        self.sent += 1;
        self.sends[queue].stamp(Stamp { opaque, ..stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Dialect;

    #[test]
    fn a_stream_is_never_ahead_of_its_pace_nor_over_its_total() {
        let sends = vec![Template::new(Dialect::Json, 310, &[], b"")];
        let mut stream = Stream::new(sends, 10, FIRST_OPAQUE);
        stream.begin(2);
        assert_eq!(stream.late(Duration::ZERO), Some(Duration::ZERO));
        stream.next(Stamp::opaque(FIRST_OPAQUE));
        assert_eq!(stream.late(Duration::from_millis(99)), None);
        assert_eq!(
            stream.late(Duration::from_millis(150)),
            Some(Duration::from_millis(50))
        );
        stream.next(Stamp::opaque(FIRST_OPAQUE));
        assert_eq!(stream.late(Duration::from_secs(9)), None);
    }
}
