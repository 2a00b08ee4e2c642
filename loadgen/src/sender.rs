//! The closed loop of sending: so many requests in flight on each connection, a new one for each answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::clock::{Clock, SystemClock};

use crate::report::{Errors, Latency};
use crate::requests::{self, Destination};
use crate::sockets::Sockets;
use crate::target::{Deadline, Target};
use crate::template::{FIRST_OPAQUE, Stamp, Template};

const WAIT: Duration = Duration::from_secs(1);

/// How much to have in flight, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of a body.
    pub size: usize,
    /// Messages in a request.
    pub batch: usize,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub window: usize,
}

/// When a run ends: after so many requests, or when the time has come.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Requests at most.
    pub requests: u64,
    /// No new request after this.
    pub at: Option<Instant>,
}

/// What a run did.
#[derive(Debug)]
pub struct Sent {
    /// Answered requests, failed ones included.
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From putting a request in the socket to its answer.
    pub latency: Latency,
    /// Answers other than success.
    pub errors: Errors,
}

impl Sent {
    /// Counts another run too.
    pub fn add(&mut self, other: Sent) {
        self.requests += other.requests;
        self.elapsed += other.elapsed;
        self.latency.add(&other.latency);
        self.errors.add(other.errors);
    }
}

/// Connections, templates for every queue, and the requests in flight.
pub struct Sender {
    sockets: Sockets,
    windows: Vec<Window>,
    templates: Vec<Template>,
    next_template: usize,
    next_key: u64,
    batch: usize,
    clock: SystemClock,
    deadline: Deadline,
}

impl Sender {
    /// Connects, and sends one message to each topic so that it exists.
    pub fn open(target: &Target, topics: &[String], shape: Shape) -> Result<Self> {
        let clock = SystemClock::new();
        let body = requests::body(shape.size);
        let mut sockets = Sockets::connect(target.address, shape.connections)?;
        let mut templates = Vec::new();
        for topic in topics {
            let destination = |queue_id| Destination::of(target, topic, queue_id);
            let answer = sockets.call(0, requests::send(destination(0), b"first", 1), "queueOffset")?;
            ensure!(
                answer.code == 0,
                "first message to {topic}: {} {}",
                answer.code,
                answer.remark
            );
            let of_topic = |queue| requests::send(destination(queue), &body, shape.batch);
            templates.extend((0..usize::from(target.queues)).map(of_topic));
        }
        Ok(Self {
            windows: (0..sockets.len()).map(|_| Window::new(shape.window)).collect(),
            sockets,
            templates,
            next_template: 0,
            // Keys of this run follow those of earlier runs, so that they are new to the broker's index.
            next_key: clock.wall_ms().unsigned_abs() << 20,
            batch: shape.batch,
            clock,
            deadline: target.deadline(),
        })
    }

    /// Sends until `end` and waits for the answers.
    pub fn run(&mut self, end: End) -> Result<Sent> {
        let started = Instant::now();
        let mut sent = Sent {
            requests: 0,
            elapsed: Duration::ZERO,
            latency: Latency::new(),
            errors: Errors::default(),
        };
        let mut budget = end.requests;
        for index in 0..self.sockets.len() {
            budget = self.refill(index, budget)?;
        }
        let mut ready = Vec::new();
        while self.windows.iter().any(|window| window.in_flight() > 0) {
            self.deadline.check()?;
            self.sockets.wait(WAIT, &mut ready)?;
            for &index in &ready {
                self.take_answers(index, &mut sent)?;
                if end.at.is_some_and(|at| Instant::now() >= at) {
                    budget = 0;
                }
                budget = self.refill(index, budget)?;
            }
        }
        sent.elapsed = started.elapsed();
        Ok(sent)
    }

    fn take_answers(&mut self, index: usize, sent: &mut Sent) -> Result<()> {
        let window = &mut self.windows[index];
        let now = Instant::now();
        self.sockets.connection(index).receive(|response| {
            let since = window.answered(response.opaque)?;
            sent.requests += 1;
            sent.latency.record(now - since);
            if response.code != 0 {
                sent.errors.record(response.code, || response.remark());
            }
            Ok(())
        })
    }

    /// Fills the window of a connection; returns what is left of the budget.
    fn refill(&mut self, index: usize, mut budget: u64) -> Result<u64> {
        let now = Instant::now();
        let born_ms = self.clock.wall_ms();
        while budget > 0 {
            let Some(opaque) = self.windows[index].sent(now) else {
                break;
            };
            let stamp = Stamp {
                key: self.next_key,
                born_ms,
                ..Stamp::opaque(opaque)
            };
            let request = self.templates[self.next_template].stamp(stamp);
            self.sockets.connection(index).push(request);
            self.next_template = (self.next_template + 1) % self.templates.len();
            // One more than the messages: a batch has a key of its own.
            self.next_key += self.batch as u64 + 1;
            budget -= 1;
        }
        self.sockets.flush(index)?;
        Ok(budget)
    }
}

/// The requests in flight on one connection: when each was sent, found by opaque.
struct Window {
    sent_at: Vec<Option<Instant>>,
    free: Vec<u32>,
}

impl Window {
    fn new(size: usize) -> Self {
        Self {
            sent_at: vec![None; size],
            free: (0..size as u32).rev().collect(),
        }
    }

    fn in_flight(&self) -> usize {
        self.sent_at.len() - self.free.len()
    }

    /// An opaque for the next request, if there is room.
    fn sent(&mut self, now: Instant) -> Option<u32> {
        let slot = self.free.pop()?;
        self.sent_at[slot as usize] = Some(now);
        Some(FIRST_OPAQUE + slot)
    }

    /// When the answered request was sent. An answer that nobody waits for is an error: servers must send one each.
    fn answered(&mut self, opaque: u32) -> Result<Instant> {
        let slot = opaque.wrapping_sub(FIRST_OPAQUE);
        let sent_at = self.sent_at.get_mut(slot as usize).and_then(Option::take);
        let sent_at =
            sent_at.with_context(|| format!("an answer to opaque {opaque}, which is not in flight"))?;
        self.free.push(slot);
        Ok(sent_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_gives_as_many_opaques_as_it_has_room() {
        let mut window = Window::new(2);
        let now = Instant::now();
        let first = window.sent(now).unwrap();
        let second = window.sent(now).unwrap();
        assert_ne!(first, second);
        assert_eq!(window.sent(now), None);
        assert_eq!(window.in_flight(), 2);

        assert_eq!(window.answered(first).unwrap(), now);

        assert_eq!(window.in_flight(), 1);
        assert_eq!(window.sent(now), Some(first));
    }

    #[test]
    fn a_second_answer_to_the_same_request_is_an_error() {
        let mut window = Window::new(2);
        let opaque = window.sent(Instant::now()).unwrap();
        assert!(window.answered(opaque).is_ok());
        assert!(window.answered(opaque).is_err());
        assert!(window.answered(7).is_err());
    }
}
