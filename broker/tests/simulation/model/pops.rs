//! Pops, as the log tells of them: what was handed out, what was acknowledged, what came back.
//!
//! ```text
//!   checkpoint ──> handouts, one a message ──┬── ack in time ──> never comes back
//!                                            └── else ─────────> one copy in the pop retry topic, when its time is up
//! ```
//!
//! The copy is a message of its own, to be handed out in turn. A message is handed out once; a crash that takes the
//! checkpoint takes the handout with it.

use std::collections::{BTreeMap, BTreeSet};

use common::message::properties::name;
use common::names::{PopRetryNaming, TIMER_TOPIC, revive_topic};
use remoting::body::fastjson;
use remoting::body::pop::{BatchAckMsg, PopCheckPoint};

use super::{Logged, Model, Queue};
use crate::{Violation, ensure};

/// How long after its time an ack counts for certain. Nothing comes back before.
pub const GRACE_MS: i64 = 2_000;

/// A group that pops, and the tag it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popper {
    pub group: &'static str,
    pub tag: Option<&'static str>,
}

/// All of them. A group has one subscription, as it must.
pub const POPPERS: [Popper; 2] = [
    Popper {
        group: "PopAll",
        tag: None,
    },
    Popper {
        group: "PopRed",
        tag: Some("red"),
    },
];

impl Popper {
    pub fn wants(&self, record: &Logged) -> bool {
        self.tag.is_none_or(|tag| record.property(name::TAGS) == tag)
    }

    /// The topic in which messages come back.
    pub fn retry_topic(&self, topic: &str, has_v2: bool) -> String {
        PopRetryNaming::configured(has_v2).topic(topic, self.group)
    }
}

/// What acks name a checkpoint by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub group: String,
    pub queue: Queue,
    pub start_offset: i64,
    pub pop_time_ms: i64,
}

impl Key {
    fn of(checkpoint: &PopCheckPoint) -> Self {
        Self {
            group: checkpoint.cid.clone(),
            queue: (checkpoint.topic.clone(), checkpoint.queue_id),
            start_offset: checkpoint.start_offset,
            pop_time_ms: checkpoint.pop_time_ms,
        }
    }
}

/// A record that a pop or an ack leaves in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PopRecord {
    CheckPoint(PopCheckPoint),
    Ack { key: Key, offsets: Vec<i64> },
}

impl PopRecord {
    /// Reads a record as it was first put; what the timer made of it is no new one.
    pub fn of(record: &Logged) -> Option<Self> {
        let is_first = record.property(name::TIMER_DEQUEUE_MS).is_empty();
        is_first.then(|| Self::parse(record)).flatten()
    }

    /// Reads a record as it was put, or what the timer made of it.
    fn parse(record: &Logged) -> Option<Self> {
        let topic = revive_topic("DefaultCluster");
        let waits = record.queue.0 == TIMER_TOPIC && record.property(name::REAL_TOPIC) == topic;
        if !waits && record.queue.0 != topic {
            return None;
        }
        Some(match record.property(name::TAGS) {
            "ck" => PopRecord::CheckPoint(fastjson::from_slice(&record.body).ok()?),
            // The ack of one message has the fields of an ack of several, but for their list.
            kind @ ("ack" | "bAck") => {
                let ack: BatchAckMsg = fastjson::from_slice(&record.body).ok()?;
                PopRecord::Ack {
                    key: Key {
                        group: ack.consumer_group,
                        queue: (ack.topic, ack.queue_id),
                        start_offset: ack.start_offset,
                        pop_time_ms: ack.pop_time_ms,
                    },
                    offsets: match kind {
                        "ack" => vec![ack.ack_offset],
                        _ => ack.ack_offset_list,
                    },
                }
            }
            _ => return None,
        })
    }
}

/// One message that was handed out.
#[derive(Clone, Debug)]
pub struct Handout {
    pub key: Key,
    pub checkpoint_at: u64,
    /// It takes over from another one, whose consumer asked for more time.
    pub takes_over: bool,
    pub offset: i64,
    pub message_at: u64,
    pub due_ms: i64,
    /// Coming back does not count as a try.
    pub suspend: bool,
    /// The acks that came before it came back.
    pub acks: Vec<Acked>,
    /// Where its copy is.
    pub copy_at: Option<u64>,
    /// Its topic was deleted meanwhile, or a crash took the message.
    pub is_orphan: bool,
    /// A crash took something before its checkpoint, perhaps another checkpoint: the group may be back there.
    pub may_repeat: bool,
}

/// An ack in the log.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub at: u64,
    /// Else it may have crossed with the message on its way back.
    pub in_time: bool,
    /// It counts only with this checkpoint, which took over.
    pub taken_over_at: Option<u64>,
}

/// What was handed out, who has it, who waits.
#[derive(Debug, Default)]
pub struct Pops {
    pub handouts: Vec<Handout>,
    /// What consumers hold, in the order they got it.
    pub held: Vec<Held>,
    pub parked: Vec<Poll>,
    /// What a crash took together with the checkpoint that handed it out, by group, queue and offset: where it was.
    pub lost: BTreeMap<(String, Queue, i64), u64>,
    /// When the broker started.
    pub started_ms: i64,
    /// Where the log ended after the last crash: what came back before may have been decided without being written down, and
    /// is decided again.
    pub crashed_at: u64,
    /// Groups of whose notifications one was answered since there is something in the topic.
    pub noticed: BTreeSet<(&'static str, String)>,
}

/// A message in the hands of a consumer.
#[derive(Clone, Debug)]
pub struct Held {
    pub key: Key,
    /// The topic that was popped, whose retry topic the message may be from.
    pub topic: String,
    pub offset: i64,
    pub invisible_ms: i64,
    pub revive_queue: i64,
    pub retry: char,
}

impl Held {
    /// What the client sends back.
    pub fn handle(&self) -> String {
        let Key {
            queue,
            start_offset,
            pop_time_ms,
            ..
        } = &self.key;
        let (retry, invisible_ms, revive_queue) = (self.retry, self.invisible_ms, self.revive_queue);
        let place = format!("{} {}", queue.1, self.offset);
        format!("{start_offset} {pop_time_ms} {invisible_ms} {revive_queue} {retry} broker-a {place}")
    }
}

/// What a pop or a notification asks for.
#[derive(Clone, Debug)]
pub struct Poll {
    pub connection: usize,
    pub opaque: i32,
    pub takes: bool,
    pub popper: Popper,
    pub topic: String,
    /// Negative: any.
    pub queue_id: i32,
    pub most: usize,
    pub invisible_ms: i64,
    pub deadline_ms: i64,
    /// The disk failed while it waited: it may not have been told.
    pub may_be_forgotten: bool,
}

impl Model {
    /// The messages that a poll must get.
    pub fn to_poll(&self, poll: &Poll, has_v2: bool) -> Vec<&Logged> {
        let mut all = self.may_poll(poll, has_v2);
        all.retain(|record| !self.is_popped(poll.popper.group, record.at, |_| true));
        all
    }

    /// The messages that a poll can get.
    pub fn may_poll(&self, poll: &Poll, has_v2: bool) -> Vec<&Logged> {
        let queues = self.topics.get(&poll.topic).copied().unwrap_or(0);
        let retry = (poll.popper.retry_topic(&poll.topic, has_v2), 0);
        let is_wanted = |queue_id: &i32| poll.queue_id < 0 || poll.queue_id == *queue_id;
        let own = (0..queues)
            .filter(is_wanted)
            .map(|queue_id| (poll.topic.clone(), queue_id));
        let queues: Vec<Queue> = own.chain([retry]).collect();
        self.indexed()
            .filter(|record| record.is_queued && queues.contains(&record.queue))
            .filter(|record| poll.popper.wants(record))
            .filter(|record| !self.is_popped(poll.popper.group, record.at, |handout| !handout.may_repeat))
            .collect()
    }

    fn is_popped(&self, group: &str, at: u64, counts: impl Fn(&Handout) -> bool) -> bool {
        let handouts = self.pops.handouts.iter();
        handouts
            .filter(|handout| handout.message_at == at && handout.key.group == group)
            .any(|handout| !handout.takes_over && !handout.is_orphan && counts(handout))
    }

    /// The message at an offset, as pops may see it.
    pub fn in_queue(&self, queue: &Queue, offset: i64) -> Option<&Logged> {
        let half_dispatched = self.half_dispatched().map(Logged::end);
        let seen_until = half_dispatched.unwrap_or(self.dispatched);
        self.log.iter().rev().find(|record| {
            record.queue == *queue
                && record.is_queued
                && i64::try_from(record.queue_offset) == Ok(offset)
                && record.at < seen_until
                && record.at >= self.log_min
                && !self.is_deleted(record)
        })
    }

    /// A record of a pop, an ack, or a consumer that asks for more time.
    pub fn take_pop_record(&mut self, record: &Logged, takes_over: bool) -> Result<(), Violation> {
        match PopRecord::of(record) {
            Some(PopRecord::CheckPoint(checkpoint)) => self.take_checkpoint(record, &checkpoint, takes_over),
            Some(PopRecord::Ack { key, offsets }) => {
                self.take_ack(record, &key, &offsets);
                Ok(())
            }
            None => Err(format!("a pop stored a message of {:?}", record.queue)),
        }
    }

    fn take_checkpoint(
        &mut self,
        record: &Logged,
        checkpoint: &PopCheckPoint,
        takes_over: bool,
    ) -> Result<(), Violation> {
        let key = Key::of(checkpoint);
        let popper = POPPERS.iter().find(|popper| popper.group == key.group);
        let popper = popper.ok_or_else(|| format!("nobody pops as {}", key.group))?;
        let same = self.pops.handouts.iter().find(|handout| handout.key == key);
        ensure!(same.is_none(), "two checkpoints are called {key:?}");
        for diff in checkpoint.queue_offset_diff.iter().flatten() {
            let offset = checkpoint.start_offset + i64::from(*diff);
            let message_at = self.popped_at(popper, &key, offset, takes_over)?;
            let handout = Handout {
                key: key.clone(),
                checkpoint_at: record.at,
                takes_over,
                offset,
                message_at,
                due_ms: checkpoint.revive_time_ms(),
                suspend: checkpoint.suspend,
                acks: Vec::new(),
                copy_at: None,
                is_orphan: !self.is_there(message_at),
                may_repeat: false,
            };
            self.pops.handouts.push(handout);
        }
        Ok(())
    }

    /// Where the message is that a checkpoint hands out.
    fn popped_at(&self, popper: &Popper, key: &Key, offset: i64, takes_over: bool) -> Result<u64, Violation> {
        let what = format!("offset {offset} of {:?} was popped", key.queue);
        let Some(message) = self.in_queue(&key.queue, offset) else {
            // A consumer may ask for more time for what a crash took out of the middle of its queue.
            let lost = self.lost_at(key, offset).filter(|_| takes_over);
            return lost.ok_or_else(|| format!("{what}: no message"));
        };
        ensure!(
            takes_over || popper.wants(message),
            "{what}, and {} does not want it",
            key.group
        );
        ensure!(
            takes_over || !self.is_popped(&key.group, message.at, |handout| !handout.may_repeat),
            "{what} by {} before",
            key.group
        );
        Ok(message.at)
    }

    /// Where the message of this offset was that was handed out to the group, if a crash took it.
    fn lost_at(&self, key: &Key, offset: i64) -> Option<u64> {
        let of_handout = self.pops.handouts.iter().find(|handout| {
            !self.is_there(handout.message_at)
                && (&handout.key.group, &handout.key.queue, handout.offset)
                    == (&key.group, &key.queue, offset)
        });
        let of_lost = || {
            let lost = &self.pops.lost;
            lost.get(&(key.group.clone(), key.queue.clone(), offset)).copied()
        };
        of_handout.map(|handout| handout.message_at).or_else(of_lost)
    }

    fn take_ack(&mut self, record: &Logged, key: &Key, offsets: &[i64]) {
        for handout in &mut self.pops.handouts {
            let is_meant = handout.key == *key && offsets.contains(&handout.offset);
            if is_meant && handout.copy_at.is_none() {
                handout.acks.push(Acked {
                    at: record.at,
                    in_time: record.store_ms <= handout.due_ms + GRACE_MS,
                    taken_over_at: record.property("POP_TAKEN_OVER_AT").parse().ok(),
                });
            }
        }
    }

    /// A message that came back: of one handed out, not acknowledged, whose time is up, and once.
    pub fn take_revived(&mut self, copy: &Logged, has_v2: bool) -> Result<(), Violation> {
        let what = format!(
            "{} came back at {} in {:?}",
            copy.property(name::UNIQ_KEY),
            copy.at,
            copy.queue
        );
        let goes_there = |handout: &Handout| {
            let topic = &handout.key.queue.0;
            let popper = Popper {
                group: POPPERS
                    .iter()
                    .find(|popper| popper.group == handout.key.group)
                    .map_or("", |popper| popper.group),
                tag: None,
            };
            let is_retry = PopRetryNaming::of(topic).is_some();
            copy.queue.0 == *topic && is_retry || copy.queue.0 == popper.retry_topic(topic, has_v2)
        };
        let is_of = |message: &Logged, handout: &Handout| {
            let times = message.reconsume_times + i32::from(!handout.suspend);
            let first_popped = match message.property(name::FIRST_POP_TIME) {
                known if message.reconsume_times > 0 && !known.is_empty() => known.to_owned(),
                _ => handout.key.pop_time_ms.to_string(),
            };
            message.body == copy.body
                && times == copy.reconsume_times
                && first_popped == copy.property(name::FIRST_POP_TIME)
        };
        let candidates: Vec<usize> = (0..self.pops.handouts.len())
            .filter(|at| {
                let handout = &self.pops.handouts[*at];
                let message = match handout.is_orphan {
                    // Who made the topic anew has other messages at these offsets.
                    true => self.in_queue(&handout.key.queue, handout.offset),
                    false => self.at(handout.message_at),
                };
                goes_there(handout) && message.is_some_and(|message| is_of(message, handout))
            })
            .collect();
        ensure!(!candidates.is_empty(), "{what}, and was not handed out");
        let handouts = &self.pops.handouts;
        let is_free = |at: &usize| {
            let handout = &handouts[*at];
            handout.copy_at.is_none()
                && handout.acks.iter().all(|ack| !ack.in_time)
                && handout.due_ms + GRACE_MS < copy.store_ms
        };
        let free: Vec<usize> = candidates.iter().copied().filter(is_free).collect();
        // Of one that must come and one that may, it is the first: a message that was sent again is there twice, and one of them
        // may have expired.
        let must_come = free.iter().find(|at| self.must_come(&handouts[**at]));
        let Some(&found) = must_come.or(free.first()) else {
            let why: Vec<_> = candidates.iter().map(|at| &handouts[*at]).collect();
            return Err(format!("{what}, and must not: {why:?}"));
        };
        self.pops.handouts[found].copy_at = Some(copy.at);
        Ok(())
    }

    /// Whether its message must come back when its time is up, if it has not yet.
    fn must_come(&self, handout: &Handout) -> bool {
        handout.copy_at.is_none()
            && handout.acks.is_empty()
            && !handout.is_orphan
            && handout.message_at >= self.log_min
            && self.is_there(handout.message_at)
            && !self.may_count_as_back(handout)
    }

    /// Whether its message came back before its consumer asked for more time, or at the end of the time asked for when a power failure
    /// took the end of the old one: of what was due before its start the broker knows by the copies in the log that it came back, not
    /// for which of the two.
    fn may_count_as_back(&self, handout: &Handout) -> bool {
        let is_back = |other: &Handout| {
            other.copy_at.is_some()
                && (other.takes_over || handout.takes_over)
                && other.key.group == handout.key.group
                && other.message_at == handout.message_at
        };
        handout.due_ms <= self.pops.started_ms && self.pops.handouts.iter().any(is_back)
    }

    /// Everything that is due by `until_ms` is decided: what was not acknowledged is there again.
    pub fn everything_came_back(&self, until_ms: i64) -> Result<(), Violation> {
        for handout in &self.pops.handouts {
            let is_overdue = self.must_come(handout) && self.in_turn_ms(handout) + GRACE_MS < until_ms;
            ensure!(!is_overdue, "a popped message does not come back: {handout:?}");
        }
        Ok(())
    }

    /// When the turn of a checkpoint comes: it is decided after those before it in its revive queue, one of which may be due
    /// later, if the timer brought this one late.
    fn in_turn_ms(&self, handout: &Handout) -> i64 {
        let topic = revive_topic("DefaultCluster");
        let body = self.at(handout.checkpoint_at).map(|record| &record.body);
        let is_checkpoint = |record: &&Logged| record.queue.0 == topic && record.property(name::TAGS) == "ck";
        let own = self
            .log
            .iter()
            .filter(is_checkpoint)
            .find(|record| Some(&record.body) == body);
        let Some(own) = own else {
            return handout.due_ms;
        };
        let before = self
            .log
            .iter()
            .filter(is_checkpoint)
            .filter(|record| record.queue == own.queue && record.at <= own.at);
        let dues = before.filter_map(|record| {
            let checkpoint: PopCheckPoint = fastjson::from_slice(&record.body).ok()?;
            Some(checkpoint.revive_time_ms())
        });
        dues.max().unwrap_or(handout.due_ms)
    }

    /// A topic was deleted: what was handed out of it is nobody's business any more.
    pub fn forget_handouts(&mut self, topic: &str) {
        let crashed_at = self.pops.crashed_at;
        let of_topic = |handout: &&mut Handout| handout.key.queue.0 == topic;
        for handout in self.pops.handouts.iter_mut().filter(of_topic) {
            handout.is_orphan = true;
            // When it is decided again, whoever makes the topic anew has another message at its offset, and that is not known for
            // its copy.
            handout.copy_at = handout.copy_at.filter(|at| *at >= crashed_at);
        }
    }

    /// Forgets what a crash took; `lost_from` is the first place where it left something behind.
    pub fn forget_lost_pop_records(&mut self, lost_from: Option<u64>) {
        self.pops.crashed_at = self.log_end;
        let mut handouts = std::mem::take(&mut self.pops.handouts);
        for handout in &mut handouts {
            let (key, offset) = (&handout.key, handout.offset);
            let is_checkpoint = |record: &PopRecord| match record {
                PopRecord::CheckPoint(checkpoint) => Key::of(checkpoint) == *key,
                PopRecord::Ack { .. } => false,
            };
            let is_ack = |record: &PopRecord| match record {
                PopRecord::CheckPoint(_) => false,
                PopRecord::Ack { key: of, offsets } => of == key && offsets.contains(&offset),
            };
            handout.checkpoint_at = self.remains_at(handout.checkpoint_at, is_checkpoint);
            for ack in &mut handout.acks {
                ack.at = self.remains_at(ack.at, is_ack);
            }
        }
        let lost: Vec<_> = handouts
            .iter()
            .filter(|handout| !self.is_there(handout.checkpoint_at) && !self.is_there(handout.message_at))
            .map(
                |Handout {
                     key,
                     offset,
                     message_at,
                     ..
                 }| { ((key.group.clone(), key.queue.clone(), *offset), *message_at) },
            )
            .collect();
        self.pops.lost.extend(lost);
        handouts.retain(|handout| self.is_there(handout.checkpoint_at));
        for handout in &mut handouts {
            handout.may_repeat |= lost_from.is_some_and(|lost_from| handout.checkpoint_at > lost_from);
            // Another message may get its offset.
            handout.is_orphan |= !self.is_there(handout.message_at);
            let stands = |ack: &Acked| {
                ack.taken_over_at
                    .is_none_or(|at| at < self.log_min || self.is_there(at))
            };
            handout.acks.retain(|ack| self.is_there(ack.at) && stands(ack));
            // Another message at the offset of an orphan is not known for its copy.
            handout.copy_at = handout
                .copy_at
                .filter(|at| self.is_there(*at) && !handout.is_orphan);
        }
        self.pops.handouts = handouts;
    }

    /// Where a record is after a crash: what the timer made of it may be there when itself is lost.
    fn remains_at(&self, at: u64, is_it: impl Fn(&PopRecord) -> bool) -> u64 {
        if self.is_there(at) {
            return at;
        }
        let remains = self
            .log
            .iter()
            .find(|record| PopRecord::parse(record).is_some_and(|parsed| is_it(&parsed)));
        remains.map_or(at, |record| record.at)
    }
}
