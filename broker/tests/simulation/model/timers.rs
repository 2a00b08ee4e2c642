//! Messages that wait for their time, and what became of each, as the log tells it.
//!
//! A message of the timer topic leaves once: as a copy in its own topic, or as one that rolled, back in the timer topic.
//! Some never leave: recalls, and what they take back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use common::message::properties::name;
use common::names::{TIMER_TOPIC, is_system_topic};

use super::{Logged, Model, Queue};
use crate::{Violation, ensure};

/// Which copies there are of what waited.
#[derive(Debug, Default)]
pub struct Timers {
    /// By the place of the message that waited, the place of its copy.
    copies: BTreeMap<u64, u64>,
}

/// What a message and its copy have in common. Of two messages with the same, one is as good as the other.
#[derive(PartialEq, Eq)]
struct Identity<'a> {
    queue: Queue,
    key: &'a str,
    takes_back: &'a str,
    out_ms: i64,
    rolls: i64,
    body: &'a [u8],
}

impl Logged {
    fn timer_identity(&self) -> Identity<'_> {
        let number = |name: &str| self.property(name).parse().unwrap_or(0);
        Identity {
            queue: (
                self.property(name::REAL_TOPIC).to_owned(),
                number(name::REAL_QUEUE_ID) as i32,
            ),
            key: self.property(name::UNIQ_KEY),
            takes_back: self.takes_back(),
            out_ms: self.out_ms(),
            rolls: number(name::TIMER_ROLL_TIMES),
            body: &self.body,
        }
    }

    /// The key of the message that it takes back, if it is a recall.
    pub fn takes_back(&self) -> &str {
        self.property(name::TIMER_DEL_UNIQKEY)
    }

    /// The slot it waits in.
    pub fn out_ms(&self) -> i64 {
        self.property(name::TIMER_OUT_MS).parse().unwrap_or(0)
    }

    /// What its sender can take it back with; nothing if it does not wait.
    pub fn recall_handle(&self) -> String {
        let topic = self.property(name::REAL_TOPIC);
        if self.queue.0 != TIMER_TOPIC || !self.takes_back().is_empty() || is_system_topic(topic) {
            return String::new();
        }
        let (out_ms, key) = (self.out_ms() + 1, self.property(name::UNIQ_KEY));
        URL_SAFE.encode(format!("v1 {topic} broker-a {out_ms} {key}"))
    }

    /// When it is due: what its sender asked for, inside its slot.
    fn due_ms(&self, precision_ms: i64) -> i64 {
        let number = |name: &str| self.property(name).parse::<i64>().ok();
        let delay_ms = number(name::TIMER_DELAY_SEC)
            .map(|seconds| seconds * 1_000)
            .or(number(name::TIMER_DELAY_MS));
        let wanted_ms = match delay_ms {
            Some(delay_ms) if self.property(name::TIMER_ROLL_TIMES).is_empty() => self.store_ms + delay_ms,
            _ => number(name::TIMER_DELIVER_MS).unwrap_or(i64::MAX),
        };
        wanted_ms.clamp(self.out_ms() + 1, self.out_ms() + precision_ms)
    }
}

impl Model {
    /// What waits, or waited, and is in the log.
    pub fn waiting(&self) -> impl Iterator<Item = &Logged> {
        self.indexed().filter(|record| record.queue.0 == TIMER_TOPIC)
    }

    /// The recalls of the message: they were promised, or will be.
    fn recalls_of(&self, record: &Logged) -> impl Iterator<Item = &Logged> {
        let key = record.property(name::UNIQ_KEY).to_owned();
        self.log
            .iter()
            .filter(move |other| other.queue.0 == TIMER_TOPIC && other.takes_back() == key)
    }

    /// Whether the message must not come. A recall that retention deleted before it met the message is forgotten; the message
    /// may have rolled out of the deleted files.
    fn is_recalled(&self, record: &Logged) -> bool {
        self.recalls_of(record).any(|recall| recall.at >= self.log_min)
    }

    /// A record that the timer put: the only copy of a message whose time has come and that nobody took back, or of one that
    /// rolls.
    pub fn take_timer_copy(&mut self, copy: &Logged, precision_ms: i64) -> Result<(), Violation> {
        let is_roll = copy.queue.0 == TIMER_TOPIC;
        let mut wanted = copy.timer_identity();
        wanted.rolls -= i64::from(is_roll);
        let what = format!("the copy {} at {} in {:?}", wanted.key, copy.at, copy.queue);
        let waited = self.log.iter().filter(|record| record.queue.0 == TIMER_TOPIC);
        let mut origins = waited
            .filter(|record| record.timer_identity() == wanted)
            .peekable();
        ensure!(origins.peek().is_some(), "{what} is of nothing that waited");
        let left: Vec<&Logged> = origins
            .filter(|origin| !self.timers.copies.contains_key(&origin.at))
            .collect();
        // One that expired before it left never does.
        let in_log = left.iter().find(|origin| origin.at >= self.log_min);
        let Some(&origin) = in_log.or(left.first()) else {
            return Err(format!("{what} is one too many"));
        };
        if !is_roll {
            let due_ms = origin.due_ms(precision_ms);
            ensure!(copy.queue == wanted.queue, "{what} belongs to {:?}", wanted.queue);
            ensure!(origin.takes_back().is_empty(), "{what} is of a recall");
            ensure!(!self.is_recalled(origin), "{what} was recalled");
            ensure!(
                copy.store_ms >= due_ms,
                "{what} is due at {due_ms} and came at {}",
                copy.store_ms
            );
        }
        let origin_at = origin.at;
        self.timers.copies.insert(origin_at, copy.at);
        Ok(())
    }

    /// The timer has done all that there is to do: what was due has left.
    pub fn nothing_is_overdue(&self, now_ms: i64, precision_ms: i64) -> Result<(), Violation> {
        let is_over = |record: &&Logged| record.out_ms() + precision_ms < now_ms;
        for record in self.waiting().filter(is_over) {
            let must_come = record.takes_back().is_empty() && self.recalls_of(record).next().is_none();
            ensure!(
                !must_come || self.timers.copies.contains_key(&record.at),
                "{} waits at {} since {} ms: it was to leave the slot {}",
                record.property(name::UNIQ_KEY),
                record.at,
                now_ms - record.out_ms(),
                record.out_ms()
            );
        }
        Ok(())
    }

    /// Forgets what a crash took.
    pub fn forget_lost_timer_copies(&mut self) {
        let mut copies = std::mem::take(&mut self.timers.copies);
        copies.retain(|origin, copy| self.is_there(*origin) && self.is_there(*copy));
        self.timers.copies = copies;
    }
}
