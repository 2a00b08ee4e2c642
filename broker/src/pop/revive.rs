//! Revive: which checkpoints of a revive queue are due, and which of their messages were not acknowledged.
//!
//! A state machine without store and clock: it is told the records in the order of the queue and the time up to which all
//! records are known (the horizon), and says what is to come back. Checkpoints are decided in the order of the queue, so
//! the progress of a queue is one number: the offset of the last decided checkpoint.
//!
//! ```text
//!   accept(ck) ── accept(ack) ── ... ── next_due(horizon) ─> Due { unacked } ── decided
//! ```
//!
//! Reference: `PopReviveService.consumeReviveMessage`, `mergeAndRevive`. Unlike there, an ack that comes before its
//! checkpoint counts too: that happens when the timer is behind.

use std::collections::{BTreeMap, HashMap, VecDeque};

use common::planted_bug::{PlantedBug, is_planted};
use remoting::body::pop::{AckMsg, BatchAckMsg, PopCheckPoint};

use super::revive_log::{ACK_TIME_INTERVAL_MS, ReviveRecord};

/// How long after its time a checkpoint waits for late acks. Reference: `ackTimeInterval + SECOND`.
pub const LATE_ACK_GRACE_MS: i64 = ACK_TIME_INTERVAL_MS + 1_000;
/// Undecided checkpoints of one queue; beyond, reading pauses.
pub const MAX_PENDING: usize = 100_000;
/// Acks of one queue that have no checkpoint yet; beyond, the oldest is forgotten.
pub const MAX_EARLY_ACKS: usize = 100_000;
/// Messages that a checkpoint can hold; more acks than that are not all of its messages.
const MAX_ACKS_OF_A_CHECKPOINT: usize = 128;

/// What makes a checkpoint one, in the words of its acks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: String,
    group: String,
    queue_id: i32,
    start_offset: i64,
    pop_time_ms: i64,
    /// Acks of old clients name none; they mean this broker.
    broker_name: Option<String>,
}

impl Key {
    fn of_checkpoint(ck: &PopCheckPoint) -> Self {
        Key {
            topic: ck.topic.clone(),
            group: ck.cid.clone(),
            queue_id: ck.queue_id,
            start_offset: ck.start_offset,
            pop_time_ms: ck.pop_time_ms,
            broker_name: ck.broker_name.clone(),
        }
    }

    fn of_ack(ack: &AckMsg) -> Self {
        Key {
            topic: ack.topic.clone(),
            group: ack.consumer_group.clone(),
            queue_id: ack.queue_id,
            start_offset: ack.start_offset,
            pop_time_ms: ack.pop_time_ms,
            broker_name: ack.broker_name.clone(),
        }
    }

    fn of_batch(ack: &BatchAckMsg) -> Self {
        Key {
            topic: ack.topic.clone(),
            group: ack.consumer_group.clone(),
            queue_id: ack.queue_id,
            start_offset: ack.start_offset,
            pop_time_ms: ack.pop_time_ms,
            broker_name: ack.broker_name.clone(),
        }
    }
}

/// A checkpoint nobody has decided on yet.
#[derive(Clone, Debug)]
struct Pending {
    key: Key,
    checkpoint: PopCheckPoint,
    /// By the index of the message in the checkpoint.
    acked: u128,
}

/// A checkpoint whose time is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The checkpoint.
    pub checkpoint: PopCheckPoint,
    /// Where it stands in the revive queue.
    pub revive_offset: i64,
    /// Queue offsets of its messages that were not acknowledged.
    pub unacked: Vec<i64>,
}

/// One revive queue as read so far.
#[derive(Debug, Default)]
pub struct ReviveQueue {
    /// By offset in the revive queue.
    pending: BTreeMap<i64, Pending>,
    by_key: HashMap<Key, i64>,
    early_acks: HashMap<Key, Vec<i64>>,
    /// The keys of `early_acks`, oldest first.
    early_order: VecDeque<Key>,
}

impl ReviveQueue {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether as many checkpoints wait as may.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// Takes the next record. A checkpoint that was read already is the same one, delivered twice.
    pub fn accept(&mut self, record: ReviveRecord, revive_offset: i64) {
        match record {
            ReviveRecord::CheckPoint(checkpoint) | ReviveRecord::TakeOver(checkpoint) => {
                self.accept_checkpoint(checkpoint, revive_offset);
            }
            ack => self.accept_ack(&ack),
        }
    }

    /// Takes an ack; anything else is ignored.
    pub fn accept_ack(&mut self, record: &ReviveRecord) {
        match record {
            ReviveRecord::CheckPoint(_) | ReviveRecord::TakeOver(_) => {}
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => {
                self.acknowledge(Key::of_ack(ack), &[ack.ack_offset]);
            }
            ReviveRecord::BatchAck(ack) => self.acknowledge(Key::of_batch(ack), &ack.ack_offset_list),
        }
    }

    fn accept_checkpoint(&mut self, checkpoint: PopCheckPoint, revive_offset: i64) {
        let key = Key::of_checkpoint(&checkpoint);
        if checkpoint.topic.is_empty() || checkpoint.cid.is_empty() || self.by_key.contains_key(&key) {
            return;
        }
        let mut pending = Pending {
            key: key.clone(),
            // Bits of a negative number are bits all the same.
            acked: u128::from(checkpoint.bit_map as u32),
            checkpoint,
        };
        for offset in self.early_acks.get(&key).into_iter().flatten() {
            pending.acknowledge(*offset);
        }
        self.by_key.insert(key, revive_offset);
        self.pending.insert(revive_offset, pending);
    }

    fn acknowledge(&mut self, key: Key, offsets: &[i64]) {
        if let Some(pending) = self.by_key.get(&key).and_then(|at| self.pending.get_mut(at)) {
            offsets.iter().for_each(|offset| pending.acknowledge(*offset));
            return;
        }
        if let Some(known) = self.early_acks.get_mut(&key) {
            for offset in offsets {
                if known.len() < MAX_ACKS_OF_A_CHECKPOINT && !known.contains(offset) {
                    known.push(*offset);
                }
            }
            return;
        }
        if self.early_order.len() >= MAX_EARLY_ACKS
            && let Some(oldest) = self.early_order.pop_front()
        {
            self.early_acks.remove(&oldest);
        }
        self.early_order.push_back(key.clone());
        let offsets = offsets.iter().take(MAX_ACKS_OF_A_CHECKPOINT);
        self.early_acks.insert(key, offsets.copied().collect());
    }

    /// Takes the next checkpoint whose time is up, given that every record delivered before `horizon_ms` was accepted.
    pub fn next_due(&mut self, horizon_ms: i64) -> Option<Due> {
        let (&revive_offset, first) = self.pending.first_key_value()?;
        if horizon_ms.saturating_sub(first.checkpoint.revive_time_ms()) <= LATE_ACK_GRACE_MS {
            return None;
        }
        let unacked = first.unacked();
        Some(Due {
            checkpoint: first.checkpoint.clone(),
            revive_offset,
            unacked,
        })
    }

    /// What [`Self::next_due`] said is done.
    pub fn decided(&mut self, revive_offset: i64) {
        if let Some(pending) = self.pending.remove(&revive_offset) {
            self.by_key.remove(&pending.key);
        }
    }

    /// Where the first undecided checkpoint stands in the revive queue.
    pub fn first_revive_offset(&self) -> Option<i64> {
        self.pending.first_key_value().map(|(offset, _)| *offset)
    }

    /// When the first undecided checkpoint is due, ms.
    pub fn first_revive_time_ms(&self) -> Option<i64> {
        let (_, first) = self.pending.first_key_value()?;
        Some(first.checkpoint.revive_time_ms())
    }
}

impl Pending {
    fn acknowledge(&mut self, offset: i64) {
        let index = self.offsets().position(|at| at == offset);
        match index {
            Some(_) if is_planted(PlantedBug::OneAckForAll) => self.acked = u128::MAX,
            Some(index) if index < 128 => self.acked |= 1 << index,
            _ => {
                tracing::warn!(offset, checkpoint = ?self.checkpoint, "ack of a message that its pop did not hand out")
            }
        }
    }

    /// The queue offsets of its messages. Old checkpoints leave them out when they are dense.
    fn offsets(&self) -> impl Iterator<Item = i64> + '_ {
        let ck = &self.checkpoint;
        let diffs = ck.queue_offset_diff.as_deref().filter(|diffs| !diffs.is_empty());
        let count = usize::try_from(ck.num).unwrap_or(0);
        (0..count).filter_map(move |index| match diffs {
            Some(diffs) => diffs
                .get(index)
                .map(|diff| ck.start_offset.saturating_add(i64::from(*diff))),
            None => Some(ck.start_offset.saturating_add(index as i64)),
        })
    }

    fn unacked(&self) -> Vec<i64> {
        self.offsets()
            .enumerate()
            .filter(|(index, _)| self.acked & (1 << index) == 0)
            .map(|(_, offset)| offset)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POPPED_MS: i64 = 1_700_000_000_000;
    const DUE_MS: i64 = POPPED_MS + 60_000;

    fn checkpoint(start_offset: i64, diffs: &[i32]) -> ReviveRecord {
        ReviveRecord::CheckPoint(PopCheckPoint {
            topic: "t".to_owned(),
            cid: "g".to_owned(),
            start_offset,
            num: diffs.len() as i8,
            queue_offset_diff: Some(diffs.to_vec()),
            pop_time_ms: POPPED_MS,
            invisible_time_ms: 60_000,
            ..PopCheckPoint::default()
        })
    }

    fn ack(start_offset: i64, ack_offset: i64) -> ReviveRecord {
        ReviveRecord::Ack(AckMsg {
            topic: "t".to_owned(),
            consumer_group: "g".to_owned(),
            start_offset,
            ack_offset,
            pop_time_ms: POPPED_MS,
            ..AckMsg::default()
        })
    }

    fn batch_ack(start_offset: i64, ack_offsets: &[i64]) -> ReviveRecord {
        ReviveRecord::BatchAck(BatchAckMsg {
            topic: "t".to_owned(),
            consumer_group: "g".to_owned(),
            start_offset,
            ack_offset: -1,
            ack_offset_list: ack_offsets.to_vec(),
            pop_time_ms: POPPED_MS,
            ..BatchAckMsg::default()
        })
    }

    /// What comes back of these records, by their place in the queue, when everything is known up to `horizon_ms`.
    fn revived(records: Vec<ReviveRecord>, horizon_ms: i64) -> Vec<(i64, Vec<i64>)> {
        let mut queue = ReviveQueue::new();
        for (at, record) in records.into_iter().enumerate() {
            queue.accept(record, at as i64);
        }
        let mut revived = Vec::new();
        while let Some(due) = queue.next_due(horizon_ms) {
            queue.decided(due.revive_offset);
            revived.push((due.revive_offset, due.unacked));
        }
        revived
    }

    const LATE_MS: i64 = DUE_MS + LATE_ACK_GRACE_MS + 1;

    #[test]
    fn messages_without_an_ack_come_back() {
        let records = vec![checkpoint(10, &[0, 1, 5]), ack(10, 11)];
        assert_eq!(revived(records, LATE_MS), [(0, vec![10, 15])]);
    }

    #[test]
    fn an_acknowledged_message_never_comes_back() {
        let records = vec![
            checkpoint(10, &[0, 1]),
            batch_ack(10, &[10, 11]),
            checkpoint(20, &[0]),
            ack(20, 20),
        ];
        assert_eq!(revived(records, LATE_MS), [(0, vec![]), (2, vec![])]);
    }

    #[test]
    fn nothing_comes_back_before_its_time_and_the_grace_for_late_acks() {
        assert_eq!(revived(vec![checkpoint(10, &[0])], LATE_MS - 1), []);
    }

    #[test]
    fn an_ack_before_its_checkpoint_counts() {
        assert_eq!(
            revived(vec![ack(10, 10), checkpoint(10, &[0, 1])], LATE_MS),
            [(1, vec![11])]
        );
    }

    #[test]
    fn of_acks_without_a_checkpoint_no_more_are_kept_than_one_can_have() {
        let mut queue = ReviveQueue::new();
        for first in [0, 1_000] {
            let offsets: Vec<i64> = (first..first + 1_000).collect();
            queue.accept(batch_ack(0, &offsets), first);
        }
        let kept: Vec<usize> = queue.early_acks.values().map(Vec::len).collect();
        assert_eq!(kept, [MAX_ACKS_OF_A_CHECKPOINT]);
    }

    #[test]
    fn acks_of_other_pops_and_of_other_messages_do_not_count() {
        let records = vec![checkpoint(10, &[0]), ack(9, 10), ack(10, 12)];
        assert_eq!(revived(records, LATE_MS), [(0, vec![10])]);
    }

    #[test]
    fn a_checkpoint_delivered_twice_is_one() {
        let records = vec![checkpoint(10, &[0]), checkpoint(10, &[0]), ack(10, 10)];
        assert_eq!(revived(records, LATE_MS), [(0, vec![])]);
    }

    #[test]
    fn old_checkpoints_without_differences_are_dense() {
        let ReviveRecord::CheckPoint(ck) = checkpoint(10, &[0, 0, 0]) else {
            unreachable!("made above");
        };
        let dense = PopCheckPoint {
            queue_offset_diff: None,
            bit_map: 0b100,
            ..ck
        };
        let records = vec![ReviveRecord::CheckPoint(dense), ack(10, 10)];
        assert_eq!(revived(records, LATE_MS), [(0, vec![11])]);
    }

    #[test]
    fn checkpoints_are_decided_in_the_order_of_the_queue() {
        let ReviveRecord::CheckPoint(ck) = checkpoint(30, &[0]) else {
            unreachable!("made above");
        };
        let later = PopCheckPoint {
            invisible_time_ms: 90_000,
            ..ck
        };
        let records = vec![
            checkpoint(10, &[0]),
            ReviveRecord::CheckPoint(later),
            checkpoint(20, &[0]),
        ];
        assert_eq!(revived(records.clone(), LATE_MS), [(0, vec![10])]);
        assert_eq!(
            revived(records, LATE_MS + 30_000),
            [(0, vec![10]), (1, vec![30]), (2, vec![20])]
        );
    }

    #[test]
    fn a_checkpoint_of_nonsense_is_harmless() {
        let nonsense = PopCheckPoint {
            topic: "t".to_owned(),
            cid: "g".to_owned(),
            num: -1,
            bit_map: -1,
            queue_offset_diff: Some(vec![1, 2, 3]),
            start_offset: i64::MAX - 1,
            ..PopCheckPoint::default()
        };
        let records = vec![
            ReviveRecord::CheckPoint(nonsense),
            ReviveRecord::CheckPoint(PopCheckPoint::default()),
        ];
        assert_eq!(revived(records, LATE_MS), [(0, vec![])]);
    }
}
