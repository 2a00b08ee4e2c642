//! Horizon: the time up to which every record of the revive topic can be read.
//!
//! Before a message is brought back it must be certain that no ack of it is under way between its answer and the revive
//! queue. A record goes through the log, the timer's queue, the timer and the log again; each step is waited for in turn:
//!
//! ```text
//!   put before T1 ─> dispatched ─> filed by the timer ─> its slot delivered (slots before R) ─> dispatched
//!                                                                         horizon = min(T1, R)
//! ```
//!
//! When nothing is behind, all of it takes one look. The reference waits three seconds without a new record instead.

use store::{PhysicalOffset, Store};

use common::names::TIMER_TOPIC;

use crate::timer::Timers;

/// How far is certain, and what is waited for.
#[derive(Debug)]
pub(crate) struct Horizon {
    reached_ms: i64,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Begin with what is in the log now.
    Begin,
    /// What was put before a time ends here in the log.
    Dispatching { put_before_ms: i64, end: PhysicalOffset },
    /// Of that, what waits ends here in the timer's queue.
    Filing { put_before_ms: i64, queue_offset: i64 },
    /// What was due before the horizon ends here in the log.
    Delivering { horizon_ms: i64, end: PhysicalOffset },
}

impl Horizon {
    /// Nothing is certain yet.
    pub(crate) fn new() -> Self {
        Horizon {
            reached_ms: i64::MIN,
            step: Step::Begin,
        }
    }

    /// Goes as far as it can without waiting, at most once around. Gives the horizon, ms.
    pub(crate) fn advance(&mut self, store: &Store, timers: &Timers, now_ms: i64) -> i64 {
        loop {
            let is_dispatched = |end| store.dispatched() >= end;
            self.step = match self.step {
                Step::Begin => Step::Dispatching {
                    put_before_ms: now_ms,
                    end: store.log_range().end,
                },
                Step::Dispatching { put_before_ms, end } if is_dispatched(end) => Step::Filing {
                    put_before_ms,
                    queue_offset: store.max_offset(TIMER_TOPIC, 0),
                },
                Step::Filing {
                    put_before_ms,
                    queue_offset,
                } if reaches(timers, queue_offset) => Step::Delivering {
                    horizon_ms: put_before_ms.min(timers.reached().read_time_ms),
                    end: store.log_range().end,
                },
                Step::Delivering { horizon_ms, end } if is_dispatched(end) => {
                    self.reached_ms = self.reached_ms.max(horizon_ms);
                    self.step = Step::Begin;
                    return self.reached_ms;
                }
                _ => return self.reached_ms,
            };
        }
    }
}

fn reaches(timers: &Timers, queue_offset: i64) -> bool {
    u64::try_from(queue_offset).is_ok_and(|queue_offset| timers.reached().queue_offset >= queue_offset)
}
