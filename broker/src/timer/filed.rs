//! AlreadyFiled: messages behind the checkpoint that the timer log holds all the same.
//!
//! ```text
//!   timer log   u0 u1 u2 | u4 u6        the checkpoint was written at the bar
//!   queue       m0 m1 m2 | m3 m4 m5 m6  m3 and m5 were late, so they have no unit
//! ```
//!
//! A crash leaves units that the checkpoint does not know of. Where the last one stands says nothing about the messages before
//! it: one that was late went to its topic at once, and a power failure may have taken that copy. So all of them are followed
//! again from the checkpoint on, apart from those that have a unit.

use std::collections::HashSet;

use common::names::TIMER_TOPIC;
use store::timer::TimerFiles;
use store::{PhysicalOffset, QueueEntry, Store};

use super::timers::Start;

/// Messages that must not be filed again.
#[derive(Debug, Default)]
pub(crate) struct AlreadyFiled {
    /// Place and length of each.
    messages: HashSet<(PhysicalOffset, u32)>,
    /// Their units stand here or later in the timer log.
    log_from: Option<u64>,
    /// They stand before this in the queue.
    queue_end: u64,
}

impl AlreadyFiled {
    /// Looks through the units that came after the checkpoint. Those that only mark the queue file no message.
    pub(crate) fn find(store: &Store, files: &TimerFiles, start: &Start) -> Self {
        if !start.follows_checkpoint {
            return Self::default();
        }
        let log_from = start.progress.log_flushed;
        let mut messages = HashSet::new();
        files.visit_from(log_from, |unit| {
            if !unit.is_marker() {
                messages.insert((unit.physical_offset, unit.size_bytes));
            }
        });
        if messages.is_empty() {
            return Self::default();
        }
        Self {
            messages,
            log_from: Some(log_from),
            queue_end: store
                .queue_bounds(TIMER_TOPIC, 0)
                .map_or(0, |bounds| bounds.max.0),
        }
    }

    pub(crate) fn contains(&self, entry: &QueueEntry) -> bool {
        self.messages.contains(&(entry.physical_offset, entry.size_bytes))
    }

    /// Forgets them when the queue is followed beyond them.
    pub(crate) fn forget_before(&mut self, queue_offset: u64) {
        if self.log_from.is_some() && queue_offset >= self.queue_end {
            *self = Self::default();
        }
    }

    /// Until then, a checkpoint must lead the next start to the same units.
    pub(crate) fn log_from(&self) -> Option<u64> {
        self.log_from
    }
}
