//! Broadcasting groups: what each member was given, what the broker must remember of it, and where it must send it.
//!
//! A member pulls by itself and keeps its own offsets, or through a proxy, which has none when it begins and then asks with -1. The
//! broker sends to another offset who has changed between the two, and a proxy that begins: to the highest offset that the member
//! asked for or was sent to; if it knows of none, to where the slowest member was at the last look; else to the queue's beginning
//! or end. It forgets members that fell silent, and all of them when it stops.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, ParkedPull, Progress, Queue};

/// The topic that they read, and its queues.
pub const NEWS: &str = "News";
pub const QUEUES: i32 = 2;
pub const BROADCASTERS: [&str; 2] = ["BroadcastA", "BroadcastB"];
/// Clients of both groups.
pub const CLIENTS: [&str; 3] = ["client-0", "client-1", "client-2"];

/// Who pulled nothing for so long is forgotten; the longer one is for those whose heartbeats come.
pub const FORGOTTEN_S: i64 = 20;
pub const ONLINE_FORGOTTEN_S: i64 = 60;
/// Without a heartbeat for longer a client is gone.
pub const SILENT_MS: i64 = 40_000;

/// A member: group, and number of its client.
pub type Member = (&'static str, usize);

/// Where a member stands in a queue.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// What it keeps itself.
    pub own: i64,
    /// What the proxy goes on with, if it has begun.
    pub of_proxy: Option<i64>,
    /// It was given everything before, or was sent here.
    pub has: i64,
}

/// A pull of a member.
#[derive(Clone, Debug)]
pub struct MemberPull {
    pub member: Member,
    pub by_proxy: bool,
    pub pull: ParkedPull,
    pub suspends: bool,
    /// The member does not get the answer.
    pub is_lost: bool,
}

/// What the broker must remember of a member.
#[derive(Debug)]
struct Remembered {
    pulled_ms: i64,
    by_proxy: bool,
    offsets: BTreeMap<Queue, i64>,
}

/// Where a pull must be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nowhere: it goes on where it asks for.
    AsAsked,
    At(i64),
    /// To where members begin of whom nothing is known.
    AsUnknown,
}

#[derive(Debug, Default)]
pub struct Broadcasts {
    pub places: BTreeMap<(Member, Queue), Place>,
    /// Those that pull through a proxy.
    pub by_proxy: BTreeSet<Member>,
    /// When the last heartbeat of a member came.
    pub online: BTreeMap<Member, i64>,
    pub parked: Vec<MemberPull>,
    remembered: BTreeMap<Member, Remembered>,
}

impl Broadcasts {
    /// The broker has started and knows nobody. What a member has of a queue ends where the queue does.
    pub fn begin(&mut self, ends: &BTreeMap<Queue, u64>) {
        self.online.clear();
        self.parked.clear();
        self.remembered.clear();
        for ((_, queue), place) in &mut self.places {
            let end = ends.get(queue).copied().unwrap_or(0);
            place.has = place.has.min(end as i64);
        }
    }

    /// Whether the broker sees who pulls.
    pub fn is_known_member(&self, pull: &MemberPull) -> bool {
        pull.by_proxy || self.online.contains_key(&pull.member)
    }

    /// Where a pull must go on.
    pub fn begin_of(&self, pull: &MemberPull) -> Begin {
        let remembered = self.remembered.get(&pull.member);
        let was_by_proxy = remembered.map_or(pull.by_proxy, |remembered| remembered.by_proxy);
        let begins = was_by_proxy && pull.pull.offset < 0;
        if !begins && was_by_proxy == pull.by_proxy {
            return Begin::AsAsked;
        }
        let offset = remembered.and_then(|remembered| remembered.offsets.get(&pull.pull.queue));
        offset.map_or(Begin::AsUnknown, |offset| Begin::At(*offset))
    }

    /// A member asked for an offset, or was sent there.
    pub fn remember(&mut self, pull: &MemberPull, offset: i64, now_ms: i64) {
        let remembered = self.remembered.entry(pull.member).or_insert(Remembered {
            pulled_ms: now_ms,
            by_proxy: pull.by_proxy,
            offsets: BTreeMap::new(),
        });
        remembered.pulled_ms = now_ms;
        remembered.by_proxy = pull.by_proxy;
        let highest = remembered
            .offsets
            .entry(pull.pull.queue.clone())
            .or_insert(offset);
        *highest = offset.max(*highest);
    }

    /// Clients without a heartbeat are gone, with all that waited on their connections. Gives them.
    fn lose_silent_clients(&mut self, now_ms: i64) -> BTreeSet<usize> {
        let silent = self
            .online
            .iter()
            .filter(|(_, heard_ms)| now_ms - **heard_ms > SILENT_MS);
        let gone: BTreeSet<usize> = silent.map(|((_, client), _)| *client).collect();
        self.online.retain(|(_, client), _| !gone.contains(client));
        self.parked
            .retain(|pull| pull.by_proxy || !gone.contains(&pull.member.1));
        gone
    }

    /// The broker looks at who fell silent: where the slowest is of those that are left, or are online.
    fn slowest(&mut self, now_ms: i64) -> BTreeMap<(&'static str, Queue), i64> {
        let mut slowest: BTreeMap<(&'static str, Queue), i64> = BTreeMap::new();
        let online = &self.online;
        self.remembered.retain(|member, remembered| {
            let idle_ms = now_ms - remembered.pulled_ms;
            let is_online = online.contains_key(member);
            if is_online || idle_ms < FORGOTTEN_S * 1_000 {
                for (queue, offset) in &remembered.offsets {
                    let least = slowest.entry((member.0, queue.clone())).or_insert(*offset);
                    *least = (*least).min(*offset);
                }
            }
            let limit_s = if is_online {
                ONLINE_FORGOTTEN_S
            } else {
                FORGOTTEN_S
            };
            idle_ms < limit_s * 1_000
        });
        slowest
    }
}

/// The key of what is committed for those that nobody knows.
pub fn committed_key(group: &str, queue: &Queue) -> (String, Queue) {
    (format!("{group}@broadcast"), queue.clone())
}

impl Model {
    /// The broker has looked at its clients. Gives those that are gone.
    pub fn expire_members(&mut self, now_ms: i64) -> BTreeSet<usize> {
        let gone = self.broadcasts.lose_silent_clients(now_ms);
        for ((group, queue), offset) in self.broadcasts.slowest(now_ms) {
            let progress = self
                .offsets
                .entry(committed_key(group, &queue))
                .or_insert_with(|| Progress {
                    values: Vec::new(),
                    may_be_missing: true,
                });
            if progress.values.last() != Some(&offset) {
                progress.values.push(offset);
            }
        }
        gone
    }
}
