//! Pops in order: where the group goes on in each queue, and what is in flight there.
//!
//! ```text
//!   next ──> the batch in flight ──> acknowledged from its beginning on ──> next
//!              └── nothing of the queue is handed out, until all of it is acknowledged or visible again
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::pops::Held;
use super::{Logged, Model, Queue};
use crate::{Violation, ensure};

/// The group that pops in order.
pub const ORDERED: &str = "Ordered";

/// What a group has of each queue.
#[derive(Debug, Default)]
pub struct Orders {
    pub queues: BTreeMap<Queue, InOrder>,
    /// What consumers hold, in the order they got it.
    pub held: Vec<Held>,
}

/// One queue.
#[derive(Debug)]
pub struct InOrder {
    /// Where the group goes on, none before its first pop: everything before was acknowledged, or expired. Oldest first, the
    /// last is the present one; the others are those that a power failure may bring back.
    next: Vec<Option<i64>>,
    /// From here on they may come back after a kill: an offset that was only corrected is written a little later.
    kept_from: usize,
    /// From here on they may come back after what has just happened.
    survives_from: usize,
    batch: Batch,
    /// Whether what is known of the batch is written down, so that a kill leaves it.
    is_batch_written: bool,
}

impl Default for InOrder {
    fn default() -> Self {
        InOrder {
            next: vec![None],
            kept_from: 0,
            survives_from: 0,
            batch: Batch::None,
            is_batch_written: true,
        }
    }
}

#[derive(Debug, Default)]
enum Batch {
    #[default]
    None,
    InFlight(InFlight),
    /// A power failure took what was not synced: perhaps this batch, perhaps one before.
    Unknown,
    /// A kill took what was not written down: nobody knows which one the broker knows of, nor is that on the disk.
    Unwritten,
}

/// Messages that were handed out together.
#[derive(Debug)]
pub struct InFlight {
    pub attempt: Option<String>,
    pub pop_time_ms: i64,
    /// When each is visible again.
    pub visible_ms: BTreeMap<i64, i64>,
    pub acked: BTreeSet<i64>,
}

impl InFlight {
    fn first_unacked(&self) -> Option<i64> {
        let mut offsets = self.visible_ms.keys();
        offsets.find(|offset| !self.acked.contains(offset)).copied()
    }
}

/// Whether a queue gives messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    Yes,
    No,
    Perhaps,
}

impl InOrder {
    pub fn next(&self) -> Option<i64> {
        self.next.last().copied().flatten()
    }

    /// Whether a consumer gets messages now, who says that it is this attempt.
    pub fn gives(&self, attempt: Option<&str>, now_ms: i64) -> Gives {
        match &self.batch {
            Batch::None => Gives::Yes,
            Batch::Unknown | Batch::Unwritten => Gives::Perhaps,
            Batch::InFlight(batch) if attempt.is_some() && batch.attempt.as_deref() == attempt => Gives::Yes,
            Batch::InFlight(batch) => {
                let mut left = batch.visible_ms.iter();
                let is_blocking = |(offset, visible_ms): (&i64, &i64)| {
                    !batch.acked.contains(offset) && now_ms < *visible_ms
                };
                match left.any(is_blocking) {
                    true => Gives::No,
                    false => Gives::Yes,
                }
            }
        }
    }

    /// Messages are handed out; the group's offset is that of the first.
    pub fn hand_out(&mut self, first: i64, batch: InFlight) {
        self.batch = Batch::InFlight(batch);
        self.keep(first);
    }

    /// The same, while the disk may have refused to write it down.
    pub fn hand_out_unwritten(&mut self, first: i64, batch: InFlight) {
        self.batch = Batch::InFlight(batch);
        self.correct(first);
        self.is_batch_written = false;
    }

    /// The group is sent elsewhere, and its batch forgotten; both are written down a little later.
    pub fn reset(&mut self, offset: i64) {
        if self.next() != Some(offset) {
            self.correct(offset);
            self.batch = Batch::None;
            self.is_batch_written = false;
        }
    }

    /// An operator sends the group elsewhere, which is on the disk: the next pop goes there, whatever is in flight.
    pub fn reset_by_operator(&mut self, offset: i64) {
        *self = InOrder {
            next: vec![Some(offset)],
            ..InOrder::default()
        };
    }

    /// There was nothing at the group's offset: it is further on, and that is written down a little later.
    pub fn correct(&mut self, offset: i64) {
        if self.next() != Some(offset) {
            self.next.push(Some(offset));
        }
    }

    fn keep(&mut self, offset: i64) {
        self.next.push(Some(offset));
        self.kept_from = self.next.len() - 1;
        self.is_batch_written = true;
    }

    /// A message is acknowledged that was popped then. Says whether it may be: it is in the batch, or nobody asks any more.
    pub fn acknowledge(&mut self, offset: i64, pop_time_ms: i64) -> bool {
        if self.next().is_some_and(|next| offset < next) {
            return true;
        }
        let Batch::InFlight(batch) = &mut self.batch else {
            return true;
        };
        if batch.pop_time_ms != pop_time_ms {
            return true;
        }
        if !batch.visible_ms.contains_key(&offset) {
            return false;
        }
        batch.acked.insert(offset);
        let last = batch
            .visible_ms
            .last_key_value()
            .map_or(offset, |(last, _)| *last);
        let next = batch.first_unacked().unwrap_or(last + 1);
        self.keep(next);
        true
    }

    /// A message that was popped then is visible again at another time.
    pub fn change_visible(&mut self, offset: i64, pop_time_ms: i64, visible_ms: i64) {
        if let Batch::InFlight(batch) = &mut self.batch
            && batch.pop_time_ms == pop_time_ms
            && let Some(known_ms) = batch.visible_ms.get_mut(&offset)
        {
            *known_ms = visible_ms;
        }
    }

    /// The batch that was popped then is visible again at another time, unless that message of it is done.
    pub fn suspend(&mut self, offset: i64, pop_time_ms: i64, visible_ms: i64) {
        let is_done = self.next().is_some_and(|next| offset < next);
        if let Batch::InFlight(batch) = &mut self.batch
            && batch.pop_time_ms == pop_time_ms
            && !is_done
        {
            batch.visible_ms.values_mut().for_each(|ms| *ms = visible_ms);
        }
    }

    /// The process is gone, what it wrote is there.
    fn keep_what_is_written(&mut self) {
        self.survives_from = self.kept_from;
        if !self.is_batch_written {
            self.batch = Batch::Unwritten;
        }
    }

    /// After a start the broker says where the group goes on.
    pub fn take_start(&mut self, queue: &Queue, found: Option<i64>) -> Result<(), Violation> {
        ensure!(
            self.next[self.survives_from..].contains(&found),
            "{ORDERED} goes on at {found:?} in {queue:?}: {self:?}"
        );
        if matches!(self.batch, Batch::Unknown) {
            // What a power failure has left is on the disk.
            self.next.clear();
        }
        if self.next.last() != Some(&found) {
            self.next.push(found);
        }
        self.kept_from = self.next.len() - 1;
        self.survives_from = self.kept_from;
        self.is_batch_written = true;
        Ok(())
    }
}

impl Orders {
    /// The offsets survive from now on.
    pub fn are_durable(&mut self) {
        for queue in self.queues.values_mut() {
            queue.next.drain(..queue.next.len() - 1);
            (queue.kept_from, queue.survives_from) = (0, 0);
        }
    }

    /// The batches are in their file.
    pub fn are_written(&mut self) {
        for queue in self.queues.values_mut() {
            queue.is_batch_written = true;
        }
    }

    /// The process is gone, what it wrote is there: batches, acks, and the offsets they led to.
    pub fn keep_what_is_written(&mut self) {
        let queues = &self.queues;
        self.held.retain(|held| {
            let known = queues.get(&held.key.queue);
            known.is_none_or(|known| known.is_batch_written)
        });
        self.queues.values_mut().for_each(InOrder::keep_what_is_written);
    }

    /// The power is gone: nobody knows what was in flight.
    pub fn lose_what_is_not_synced(&mut self) {
        self.held.clear();
        for queue in self.queues.values_mut() {
            queue.batch = Batch::Unknown;
            queue.survives_from = 0;
        }
    }

    /// An operator sends the group elsewhere. Consumers let go of what they have of the queue: an ack without a batch would be
    /// taken at its word.
    pub fn reset(&mut self, queue: &Queue, offset: i64) {
        self.held.retain(|held| held.key.queue != *queue);
        self.queues
            .entry(queue.clone())
            .or_default()
            .reset_by_operator(offset);
    }

    /// A topic is deleted, and with it all that was handed out of it.
    pub fn forget_topic(&mut self, topic: &str) {
        self.held.retain(|held| held.topic != topic);
        self.queues.retain(|queue, _| queue.0 != topic);
    }
}

impl Model {
    /// What a pop in order brings of a queue, if it brings anything.
    pub fn next_in_order<'a>(&'a self, queue: &'a Queue) -> impl Iterator<Item = &'a Logged> + 'a {
        let next = self.orders.queues.get(queue).and_then(InOrder::next);
        self.in_order_from(next, queue)
    }

    /// What lies in a queue from an offset on.
    pub fn in_order_from<'a>(
        &'a self,
        next: Option<i64>,
        queue: &'a Queue,
    ) -> impl Iterator<Item = &'a Logged> + 'a {
        let next = u64::try_from(next.unwrap_or(0)).unwrap_or(0);
        let end = self.next_offsets.get(queue).copied().unwrap_or(0);
        // A crash may have taken the messages that were acknowledged: then it begins where these end now.
        let next = next.min(end);
        self.visible(queue)
            .filter(move |record| record.offset_in(queue) >= Some(next))
    }
}
