//! ReviveLog: checkpoints and acks as messages of the revive topic, in the reference's form.
//!
//! ```text
//!   tag    body           UNIQ_KEY                                             delivered
//!   ck     PopCheckPoint  topic@queue@startOffset@group@popTime@broker@ck      1 s before its messages are due
//!   ack    AckMsg         topic@queue@ackOffset@group@popTime@broker@ack       when they are due
//!   bAck   BatchAckMsg    the same with ackOffset -1                           when they are due
//! ```
//!
//! A record due later waits in the timer, so the revive queue holds what is decided now and little else. Either broker
//! reads what the other wrote. Reference: `PopMessageProcessor.buildCkMsg`, `AckMessageProcessor.appendAck`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use common::clock::Clock;
use common::message::properties::{self, name};
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use remoting::body::fastjson;
use remoting::body::pop::{AckMsg, BatchAckMsg, PopCheckPoint};
use store::record::{self, Record};
use store::{Appended, Message, PhysicalOffset, PutError, Store};

use crate::config::Identity;
use crate::metrics::events::PopRecord;
use crate::metrics::in_flight::InFlight;
use crate::processor::refusals::put_status;
use crate::registry::order_info::GroupQueue;
use crate::stats::BrokerStats;
use crate::timer::schedule::slot_before;

/// A checkpoint is delivered this much before its messages are due, so that it is there before their acks.
///
/// Reference: `PopAckConstants.ackTimeInterval`.
pub const ACK_TIME_INTERVAL_MS: i64 = 1_000;

/// Property of the checkpoints that take over from another. Ours; the reference has no use for it.
const TAKES_OVER: &str = "POP_TAKES_OVER";
/// Property of the acks given because another checkpoint took over: where that is in the CommitLog. Ours, too.
const TAKEN_OVER_AT: &str = "POP_TAKEN_OVER_AT";

/// One record of the revive topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviveRecord {
    /// Messages were handed out.
    CheckPoint(PopCheckPoint),
    /// A message stays handed out, until another time: a checkpoint for whoever reads it, which says nothing of how far
    /// its group has popped.
    TakeOver(PopCheckPoint),
    /// One of them is done.
    Ack(AckMsg),
    /// For this checkpoint one of them is done, as another one took over, which is there in the CommitLog. A power failure may
    /// take that and leave this: then it says nothing (see [`ReviveLog::counts`]).
    TakenOver(AckMsg, PhysicalOffset),
    /// Several are.
    BatchAck(BatchAckMsg),
}

impl ReviveRecord {
    /// Reads a message of the revive topic; `None` for one of another kind, and for one that is damaged.
    pub fn parse(record: &Record<'_>) -> Option<Self> {
        let body = record.body;
        let parsed = match record.property(name::TAGS)? {
            "ck" if record.properties.contains(TAKES_OVER) => {
                fastjson::from_slice(body).map(ReviveRecord::TakeOver)
            }
            "ck" => fastjson::from_slice(body).map(ReviveRecord::CheckPoint),
            "ack" => fastjson::from_slice(body).map(|ack| match record.property(TAKEN_OVER_AT) {
                Some(at) => ReviveRecord::TakenOver(ack, PhysicalOffset(at.parse().unwrap_or(u64::MAX))),
                None => ReviveRecord::Ack(ack),
            }),
            "bAck" => fastjson::from_slice(body).map(ReviveRecord::BatchAck),
            _ => return None,
        };
        parsed
            .inspect_err(|error| {
                tracing::error!(
                    physical_offset = record.physical_offset.0,
                    "record of a pop cannot be read and is left out: {error}"
                );
            })
            .ok()
    }

    fn tag(&self) -> &'static str {
        match self {
            ReviveRecord::CheckPoint(_) | ReviveRecord::TakeOver(_) => "ck",
            ReviveRecord::Ack(_) | ReviveRecord::TakenOver(..) => "ack",
            ReviveRecord::BatchAck(_) => "bAck",
        }
    }

    /// The queue whose messages it is about.
    fn queue(&self) -> GroupQueue<'_> {
        let (topic, group, queue_id) = match self {
            ReviveRecord::CheckPoint(ck) | ReviveRecord::TakeOver(ck) => (&ck.topic, &ck.cid, ck.queue_id),
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => {
                (&ack.topic, &ack.consumer_group, ack.queue_id)
            }
            ReviveRecord::BatchAck(ack) => (&ack.topic, &ack.consumer_group, ack.queue_id),
        };
        GroupQueue {
            topic,
            group,
            queue_id,
        }
    }

    /// As metrics tell records apart.
    pub(crate) fn for_metrics(&self) -> PopRecord {
        let queue = self.queue();
        PopRecord {
            group: queue.group.to_owned(),
            topic: queue.topic.to_owned(),
            kind: match self {
                ReviveRecord::CheckPoint(_) | ReviveRecord::TakeOver(_) => "CK",
                ReviveRecord::Ack(_) | ReviveRecord::TakenOver(..) | ReviveRecord::BatchAck(_) => "ACK",
            },
        }
    }

    /// A checkpoint's messages are under way, acknowledged ones no longer.
    fn count_in_flight(&self, in_flight: &InFlight) {
        let queue = self.queue();
        match self {
            ReviveRecord::CheckPoint(ck) | ReviveRecord::TakeOver(ck) => {
                in_flight.begin(queue, u64::try_from(ck.num).unwrap_or(0));
            }
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => {
                in_flight.end(queue, ack.pop_time_ms, 1);
            }
            ReviveRecord::BatchAck(ack) => {
                in_flight.end(queue, ack.pop_time_ms, ack.ack_offset_list.len() as u64);
            }
        }
    }

    /// A batch has the form of a single ack here: so it is in the reference.
    fn unique_key(&self) -> String {
        let (topic, queue_id, offset, group, pop_time_ms, broker, tag) = match self {
            ReviveRecord::CheckPoint(ck) | ReviveRecord::TakeOver(ck) => (
                &ck.topic,
                ck.queue_id,
                ck.start_offset,
                &ck.cid,
                ck.pop_time_ms,
                &ck.broker_name,
                "ck",
            ),
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => (
                &ack.topic,
                ack.queue_id,
                ack.ack_offset,
                &ack.consumer_group,
                ack.pop_time_ms,
                &ack.broker_name,
                "ack",
            ),
            ReviveRecord::BatchAck(ack) => (
                &ack.topic,
                ack.queue_id,
                ack.ack_offset,
                &ack.consumer_group,
                ack.pop_time_ms,
                &ack.broker_name,
                "ack",
            ),
        };
        let broker = broker.as_deref().unwrap_or("null");
        format!("{topic}@{queue_id}@{offset}@{group}@{pop_time_ms}@{broker}@{tag}")
    }

    fn body(&self) -> Vec<u8> {
        let body = match self {
            ReviveRecord::CheckPoint(ck) | ReviveRecord::TakeOver(ck) => fastjson::to_vec(ck),
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => fastjson::to_vec(ack),
            ReviveRecord::BatchAck(ack) => fastjson::to_vec(ack),
        };
        body.expect("a struct of numbers and texts has a JSON form")
    }
}

/// Appends to the revive topic, and knows how far its queues are decided.
pub struct ReviveLog {
    store: Arc<Store>,
    stats: Arc<BrokerStats>,
    clock: Arc<dyn Clock>,
    identity: Identity,
    topic: String,
    queues: u64,
    next_queue: AtomicU64,
    timer_precision_ms: i64,
    /// Of each queue, the first record that is not decided; -1 before the reviver looked.
    undecided: Box<[AtomicI64]>,
}

impl ReviveLog {
    /// The revive topic of this broker's cluster, with `reviveQueueNum` queues. `timer_precision_ms` is the width of the
    /// timer's slots.
    pub fn new(
        store: Arc<Store>,
        stats: Arc<BrokerStats>,
        clock: Arc<dyn Clock>,
        identity: Identity,
        revive_queue_num: i32,
        timer_precision_ms: i64,
    ) -> Self {
        let queues = u64::try_from(revive_queue_num.max(1)).unwrap_or(1);
        ReviveLog {
            store,
            stats,
            clock,
            topic: names::revive_topic(&identity.cluster),
            identity,
            undecided: (0..queues).map(|_| AtomicI64::new(-1)).collect(),
            queues,
            next_queue: AtomicU64::new(0),
            timer_precision_ms,
        }
    }

    /// The revive topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its queues.
    pub fn queues(&self) -> i32 {
        i32::try_from(self.queues).unwrap_or(i32::MAX)
    }

    /// The queue for the records of the next pop: each in turn.
    pub fn next_queue(&self) -> i32 {
        let turn = self.next_queue.fetch_add(1, Ordering::Relaxed);
        i32::try_from(turn % self.queues).unwrap_or(0)
    }

    /// Whether there is such a queue: handles come from clients.
    pub fn has_queue(&self, queue_id: i32) -> bool {
        u64::try_from(queue_id).is_ok_and(|queue_id| queue_id < self.queues)
    }

    /// Everything before this record of a queue is decided.
    pub fn decided_before(&self, queue_id: i32, offset: i64) {
        if let Some(undecided) = self.undecided_of(queue_id) {
            undecided.store(offset, Ordering::Release);
        }
    }

    /// The first record of a queue that is not decided; `None` before anybody looked.
    pub fn first_undecided(&self, queue_id: i32) -> Option<i64> {
        let offset = self.undecided_of(queue_id)?.load(Ordering::Acquire);
        (offset >= 0).then_some(offset)
    }

    fn undecided_of(&self, queue_id: i32) -> Option<&AtomicI64> {
        self.undecided.get(usize::try_from(queue_id).ok()?)
    }

    /// Whether a record that was read is to be believed: of what took over, an ack was not the only one to survive.
    pub fn counts(&self, record: &ReviveRecord) -> bool {
        let ReviveRecord::TakenOver(ack, at) = record else {
            return true;
        };
        if *at < self.store.log_range().start || is_planted(PlantedBug::BelieveTakenOver) {
            // Retention took it, as it takes what is older still.
            return true;
        }
        let bytes = self.store.read_at(*at);
        let found = bytes.as_deref().and_then(|bytes| record::decode(bytes).ok());
        let took_over = match found.as_ref().and_then(ReviveRecord::parse) {
            Some(ReviveRecord::TakeOver(checkpoint)) => {
                (&checkpoint.topic, &checkpoint.cid, checkpoint.queue_id)
                    == (&ack.topic, &ack.consumer_group, ack.queue_id)
                    && checkpoint.start_offset == ack.ack_offset
            }
            _ => false,
        };
        if !took_over {
            tracing::warn!(
                physical_offset = at.0,
                ?ack,
                "a crash took the checkpoint that was to take over: the one before stands"
            );
        }
        took_over
    }

    /// Appends a record, to be read when `due_ms` says, less [`ACK_TIME_INTERVAL_MS`] for a checkpoint.
    ///
    /// # Errors
    /// When the store does not take it; then it is nowhere.
    pub fn append(
        &self,
        record: &ReviveRecord,
        revive_queue_id: i32,
        due_ms: i64,
    ) -> Result<Appended, PutError> {
        let appended = self.put(record, revive_queue_id, due_ms);
        if let Some(events) = self.stats.events() {
            let status = appended.as_ref().map_or_else(put_status, |_| "PUT_OK");
            events.revive_in.add(&(record.for_metrics(), status), 1);
            if appended.is_ok() {
                record.count_in_flight(&events.in_flight);
            }
        }
        appended
    }

    fn put(&self, record: &ReviveRecord, revive_queue_id: i32, due_ms: i64) -> Result<Appended, PutError> {
        let now_ms = self.clock.wall_ms();
        let deliver_at_ms = match record {
            ReviveRecord::CheckPoint(_) | ReviveRecord::TakeOver(_) => due_ms - ACK_TIME_INTERVAL_MS,
            ReviveRecord::Ack(_) | ReviveRecord::TakenOver(..) | ReviveRecord::BatchAck(_) => due_ms,
        };
        let mut text = String::with_capacity(256);
        properties::push(&mut text, name::TAGS, record.tag());
        properties::push(&mut text, name::UNIQ_KEY, &record.unique_key());
        properties::push(&mut text, name::TIMER_DELIVER_MS, &deliver_at_ms.to_string());
        match record {
            ReviveRecord::TakeOver(_) => properties::push(&mut text, TAKES_OVER, "true"),
            ReviveRecord::TakenOver(_, at) => {
                properties::push(&mut text, TAKEN_OVER_AT, &at.0.to_string());
            }
            ReviveRecord::CheckPoint(_) | ReviveRecord::Ack(_) | ReviveRecord::BatchAck(_) => {}
        }
        let waits = deliver_at_ms > now_ms;
        if waits {
            let out_ms = slot_before(deliver_at_ms, self.timer_precision_ms);
            properties::push(&mut text, name::TIMER_OUT_MS, &out_ms.to_string());
            properties::push(&mut text, name::REAL_TOPIC, &self.topic);
            properties::push(&mut text, name::REAL_QUEUE_ID, &revive_queue_id.to_string());
        }
        let (topic, queue_id) = if waits {
            (names::TIMER_TOPIC, 0)
        } else {
            (self.topic.as_str(), revive_queue_id)
        };
        self.store.put(&Message {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: now_ms,
            born_host: self.identity.store_host,
            store_host: self.identity.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: &text,
            body: &record.body(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one record of the reference: tag, UNIQ_KEY, TIMER_DELIVER_MS, TIMER_OUT_MS, body.
    fn golden() -> Vec<[&'static str; 5]> {
        include_str!("../../tests/data/pop-records.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                [fields[0], fields[1], fields[2], fields[3], fields[5]]
            })
            .collect()
    }

    fn parsed(tag: &str, body: &str) -> ReviveRecord {
        let body = body.as_bytes();
        match tag {
            "ck" => ReviveRecord::CheckPoint(fastjson::from_slice(body).unwrap()),
            "ack" => ReviveRecord::Ack(fastjson::from_slice(body).unwrap()),
            _ => panic!("unknown tag {tag}"),
        }
    }

    #[test]
    fn records_of_the_reference_are_read_and_written_alike() {
        let golden = golden();
        assert_eq!(golden.len(), 4);
        for [tag, unique_key, _, _, body] in golden {
            let record = parsed(tag, body);
            assert_eq!((record.tag(), record.unique_key().as_str()), (tag, unique_key));
            // The reference writes a sum of two other fields, and does not read it.
            let (start, end) = match body.find("\"reviveTime\"") {
                Some(start) => (start, start + body[start..].find(',').unwrap() + 1),
                None => (0, 0),
            };
            let written = [&body[..start], &body[end..]].concat();
            assert_eq!(String::from_utf8(record.body()).unwrap(), written);
        }
    }

    #[test]
    fn records_wait_as_long_as_those_of_the_reference() {
        for [tag, _, deliver_ms, out_ms, body] in golden() {
            let due_ms = match parsed(tag, body) {
                ReviveRecord::CheckPoint(ck) => ck.revive_time_ms() - ACK_TIME_INTERVAL_MS,
                ReviveRecord::Ack(ack) => ack.pop_time_ms + 600_000,
                ReviveRecord::TakeOver(_) | ReviveRecord::TakenOver(..) | ReviveRecord::BatchAck(_) => {
                    unreachable!("there is none in the file")
                }
            };
            assert_eq!(due_ms.to_string(), deliver_ms);
            assert_eq!(slot_before(due_ms, 1_000).to_string(), out_ms);
        }
    }
}
