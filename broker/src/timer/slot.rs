//! OpenSlot: the slot being delivered, message by message as they get due.
//!
//! Sixteen bytes a message: its due time and the position of its unit. What waits in other slots takes no memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use store::PhysicalOffset;
use store::timer::TimerUnit;

/// A slot between its first and its last delivery.
#[derive(Debug)]
pub(crate) struct OpenSlot {
    /// The earliest due first, of those the first filed.
    waiting: BinaryHeap<Reverse<(i64, u64)>>,
    /// Keys of messages taken back.
    deleted: HashMap<String, Recalled>,
    /// Its copies lie here or later in the CommitLog.
    pub(crate) delivered_from: PhysicalOffset,
    /// Whether anything was delivered: the slot in the wheel holds it still.
    pub(crate) has_delivered: bool,
}

/// A recall that came up in its slot.
#[derive(Clone, Debug)]
struct Recalled {
    topic: String,
    /// Units that met no message, or one that was taken back already.
    unmet: Vec<u64>,
    /// Units that met theirs: one, and what was left of such before.
    met: Vec<u64>,
}

/// A unit of a slot that is left before it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// A message that waits, or a recall that met none yet.
    Waits(u64),
    /// A recall that took its message out already; one like it may still come up.
    HasMet(u64),
}

impl OpenSlot {
    pub(crate) fn new(delivered_from: PhysicalOffset) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            deleted: HashMap::new(),
            delivered_from,
            has_delivered: false,
        }
    }

    /// Adds the unit at `position`; one that does not say when it is due waits for the slot's end.
    pub(crate) fn add(&mut self, unit: &TimerUnit, position: u64, end_ms: i64) {
        let due_ms = unit.due_ms.map_or(end_ms, |due_ms| due_ms.min(end_ms));
        self.waiting.push(Reverse((due_ms, position)));
    }

    /// Takes a message back, as the unit at `position` says; `has_met` when that was done before the slot was left.
    pub(crate) fn delete(&mut self, key: &str, topic: &str, position: u64, has_met: bool) {
        let recalled = self.deleted.entry(key.to_owned()).or_insert_with(|| Recalled {
            topic: topic.to_owned(),
            unmet: Vec::new(),
            met: Vec::new(),
        });
        if has_met {
            recalled.met.push(position);
        } else {
            recalled.unmet.push(position);
        }
    }

    /// Whether a message was taken back; notes that it was met.
    pub(crate) fn is_deleted(&mut self, key: &str) -> bool {
        let Some(recalled) = self.deleted.get_mut(key) else {
            return false;
        };
        if recalled.met.is_empty() {
            recalled.met.extend(recalled.unmet.pop());
        }
        true
    }

    /// The topics of recalls that met no message, or one that was taken back already: each was counted as if it had.
    pub(crate) fn unmet_recalls(&self) -> impl Iterator<Item = &str> {
        self.deleted
            .values()
            .flat_map(|recalled| std::iter::repeat_n(recalled.topic.as_str(), recalled.unmet.len()))
    }

    /// When the next is due, and the position of its unit.
    pub(crate) fn next(&self) -> Option<(i64, u64)> {
        self.waiting.peek().map(|Reverse(next)| *next)
    }

    /// The next one is done with.
    pub(crate) fn pop(&mut self) {
        self.waiting.pop();
    }

    /// What the slot must hold for whoever goes on with it: what waits, in the order it was filed, and all recalls.
    pub(crate) fn left(&self) -> Vec<Left> {
        let waiting = self
            .waiting
            .iter()
            .map(|Reverse((_, position))| Left::Waits(*position));
        let recalls = self.deleted.values().flat_map(|recalled| {
            let met = recalled.met.iter().map(|position| Left::HasMet(*position));
            let unmet = recalled.unmet.iter().map(|position| Left::Waits(*position));
            met.chain(unmet)
        });
        let mut left: Vec<Left> = waiting.chain(recalls).collect();
        left.sort_unstable();
        left
    }
}

#[cfg(test)]
mod tests {
    use store::timer::UnitKind;

    use super::*;

    fn unit(due_ms: Option<i64>) -> TimerUnit {
        TimerUnit {
            previous: None,
            kind: UnitKind::default(),
            write_time_ms: 0,
            delay_ms: 0,
            physical_offset: PhysicalOffset(0),
            size_bytes: 0,
            topic_hash: 0,
            due_ms,
        }
    }

    #[test]
    fn messages_leave_when_they_are_due_and_of_one_time_in_the_order_they_were_filed() {
        let mut slot = OpenSlot::new(PhysicalOffset(0));
        let due = [Some(5_300), None, Some(5_200), Some(5_300), Some(9_999)];
        for (position, due_ms) in due.into_iter().enumerate() {
            slot.add(&unit(due_ms), position as u64, 6_000);
        }
        assert_eq!(slot.left(), [0, 1, 2, 3, 4].map(Left::Waits));
        let mut left = Vec::new();
        while let Some(next) = slot.next() {
            left.push(next);
            slot.pop();
        }
        assert_eq!(left, [(5_200, 2), (5_300, 0), (5_300, 3), (6_000, 1), (6_000, 4)]);
    }

    #[test]
    fn recalls_that_met_no_message_are_told() {
        let mut slot = OpenSlot::new(PhysicalOffset(0));
        slot.delete("a", "Orders", 0, false);
        slot.delete("b", "Bills", 52, false);
        assert!(slot.is_deleted("a") && !slot.is_deleted("c"));
        assert_eq!(slot.unmet_recalls().collect::<Vec<_>>(), ["Bills"]);
        slot.delete("a", "Orders", 104, false);
        slot.delete("a", "Orders", 156, false);
        let mut unmet: Vec<_> = slot.unmet_recalls().collect();
        unmet.sort_unstable();
        assert_eq!(
            unmet,
            ["Bills", "Orders", "Orders"],
            "one recall took the message"
        );
    }

    #[test]
    fn a_slot_that_is_left_keeps_its_recalls_and_knows_which_met_their_message() {
        let mut slot = OpenSlot::new(PhysicalOffset(0));
        slot.add(&unit(Some(5_300)), 0, 6_000);
        slot.delete("met", "Orders", 52, false);
        slot.delete("unmet", "Orders", 104, false);
        assert!(slot.is_deleted("met"));
        let left = slot.left();
        assert_eq!(left, [Left::Waits(0), Left::Waits(104), Left::HasMet(52)]);

        let mut slot = OpenSlot::new(PhysicalOffset(0));
        slot.delete("met", "Orders", 52, true);
        assert!(slot.is_deleted("met"), "one sent again with the same key");
        assert_eq!(slot.unmet_recalls().next(), None);
    }
}
