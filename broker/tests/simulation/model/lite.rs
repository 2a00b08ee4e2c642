//! Light topics: who subscribes to which, who waits, and what each group has of each.
//!
//! The broker knows clients since it started, as long as they subscribe. Of the clients of a group one hears of a message; who
//! does not wait may have heard of it and not asked yet. So a group is forgotten for certain where all others wait.

use std::collections::{BTreeMap, BTreeSet};

use common::names::{self, LMQ_QUEUE_ID};

use super::orders::{Gives, InOrder, Orders};
use super::{Logged, Model, Queue};

/// The topic that holds the light topics.
pub const PARENT: &str = "Chats";
/// The light topics.
pub const LITE_TOPICS: [&str; 3] = ["x", "y", "z"];
/// A client that has not subscribed for so long may be forgotten.
pub const SILENT_MS: i64 = 180_000;

/// Nobody expires sooner after his last message, or after a start.
pub const LEAST_LIFETIME_MS: i64 = 30_000;
/// How often the broker looks for light topics that have expired.
pub const EXPIRY_PERIOD_MS: i64 = 5_000;

/// Who of a group gets a light topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One of those that subscribed to it.
    Shared,
    /// The one that subscribed last, and it begins anew.
    Exclusive,
    /// One of all: each gets every light topic.
    Wildcard,
}

/// A group of light topics, and its clients.
#[derive(Clone, Copy, Debug)]
pub struct LiteGroup {
    pub name: &'static str,
    pub sharing: Sharing,
    pub clients: [&'static str; 2],
}

/// All of them.
pub const LITE_GROUPS: [LiteGroup; 3] = [
    LiteGroup {
        name: "LiteShared",
        sharing: Sharing::Shared,
        clients: ["shared-1", "shared-2"],
    },
    LiteGroup {
        name: "LiteExclusive",
        sharing: Sharing::Exclusive,
        clients: ["exclusive-1", "exclusive-2"],
    },
    LiteGroup {
        name: "LiteWildcard",
        sharing: Sharing::Wildcard,
        clients: ["wildcard-1", "wildcard-2"],
    },
];

/// The queue of a light topic.
pub fn queue_of(lite_topic: &str) -> Queue {
    (names::lmq_of_lite_topic(PARENT, lite_topic), LMQ_QUEUE_ID)
}

/// What there is of light topics besides their messages.
#[derive(Debug, Default)]
pub struct Lites {
    /// What each group has of each light topic.
    pub groups: BTreeMap<&'static str, Orders>,
    /// The clients that the broker knows.
    pub clients: BTreeMap<&'static str, LiteClient>,
    /// What clients were subscribed to at some time since the start: they may have heard of messages there.
    pub had: BTreeSet<(&'static str, &'static str)>,
    pub parked: Vec<LitePoll>,
    /// Clients that must be told that another one has a light topic of theirs.
    pub to_be_told: BTreeSet<(String, String)>,
    /// When the broker last looked for batches that are visible again.
    pub looked_ms: i64,
    /// Whether a client hears of every message at once: it may have as many events as there are light topics.
    pub has_room_for_events: bool,
    /// How long light topics live without a message, if not for ever, ms.
    pub lifetime_ms: Option<i64>,
    /// When the broker began.
    pub started_ms: i64,
}

/// A client that subscribes.
#[derive(Clone, Debug)]
pub struct LiteClient {
    pub topics: BTreeSet<&'static str>,
    /// When it last said so.
    pub updated_ms: i64,
}

/// What a pop of light topics asks for.
#[derive(Clone, Debug)]
pub struct LitePoll {
    pub connection: usize,
    pub opaque: i32,
    pub group: LiteGroup,
    pub client: &'static str,
    pub most: usize,
    pub invisible_ms: i64,
    pub attempt: Option<&'static str>,
    pub deadline_ms: i64,
}

impl Lites {
    /// What a group has.
    pub fn of(&mut self, group: LiteGroup) -> &mut Orders {
        self.groups.entry(group.name).or_default()
    }

    /// What a group has of a light topic.
    pub fn in_order(&mut self, group: LiteGroup, queue: &Queue) -> &mut InOrder {
        self.of(group).queues.entry(queue.clone()).or_default()
    }

    /// The group's present offset in a light topic.
    pub fn next(&self, group: LiteGroup, queue: &Queue) -> Option<i64> {
        self.groups.get(group.name)?.queues.get(queue)?.next()
    }

    /// A client subscribes to these too.
    pub fn add(&mut self, client: &'static str, topics: &BTreeSet<&'static str>, now_ms: i64) {
        self.had.extend(topics.iter().map(|topic| (client, *topic)));
        let known = self.clients.entry(client).or_insert_with(|| LiteClient {
            topics: BTreeSet::new(),
            updated_ms: now_ms,
        });
        known.topics.extend(topics);
        known.updated_ms = now_ms;
    }

    /// A light topic has expired: nobody knows anything of it. Consumers may still hold messages.
    pub fn forget(&mut self, topic: &'static str) {
        let queue = queue_of(topic);
        for orders in self.groups.values_mut() {
            orders.queues.remove(&queue);
        }
        let named = LITE_GROUPS
            .iter()
            .filter(|group| group.sharing != Sharing::Wildcard);
        for client in named.flat_map(|group| group.clients) {
            if let Some(known) = self.clients.get_mut(client) {
                known.topics.remove(topic);
            }
        }
    }

    /// The offsets survive from now on.
    pub fn are_durable(&mut self) {
        self.groups.values_mut().for_each(Orders::are_durable);
    }

    /// The batches are in their file.
    pub fn are_written(&mut self) {
        self.groups.values_mut().for_each(Orders::are_written);
    }

    /// The process is gone, what it wrote is there.
    pub fn keep_what_is_written(&mut self) {
        self.groups.values_mut().for_each(Orders::keep_what_is_written);
    }

    /// The power is gone.
    pub fn lose_what_is_not_synced(&mut self) {
        self.groups.values_mut().for_each(Orders::lose_what_is_not_synced);
    }

    /// A broker begins, and knows no client.
    pub fn begin(&mut self) {
        self.clients.clear();
        self.had.clear();
        self.parked.clear();
        self.to_be_told.clear();
        self.looked_ms = 0;
    }

    fn waits(&self, client: &str) -> bool {
        self.parked.iter().any(|poll| poll.client == client)
    }

    /// Whether nobody else in its group can have heard of what this client has not.
    fn hears_everything(&self, group: LiteGroup, client: &str) -> bool {
        let mut others = group.clients.into_iter().filter(|other| *other != client);
        // One that is given up is passed over for a while, and of all light topics the group is told later.
        group.sharing != Sharing::Wildcard
            && self.has_room_for_events
            && others.all(|other| !self.clients.contains_key(other) || self.waits(other))
    }
}

/// Whether a light topic is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    Yes,
    /// Its last message has left the log, or does not show yet.
    Perhaps,
    No,
}

impl Model {
    /// Whether a light topic goes when the broker looks now.
    pub fn expires(&self, queue: &Queue, now_ms: i64) -> Expires {
        let Some(lifetime_ms) = self.lites.lifetime_ms else {
            return Expires::No;
        };
        if now_ms - self.lites.started_ms < LEAST_LIFETIME_MS {
            return Expires::No;
        }
        let mut records = self.log.iter().rev();
        let Some(last) = records.find(|record| record.offset_in(queue).is_some()) else {
            return Expires::Perhaps;
        };
        let is_idle = now_ms - last.store_ms > lifetime_ms.max(LEAST_LIFETIME_MS);
        match (last.at < self.log_min, is_idle) {
            (true, _) => Expires::Perhaps,
            (false, true) if last.at >= self.dispatched => Expires::Perhaps,
            (false, true) => Expires::Yes,
            (false, false) => Expires::No,
        }
    }

    /// What a group gets next of a light topic.
    pub fn next_of_lite<'a>(
        &'a self,
        group: LiteGroup,
        queue: &'a Queue,
    ) -> impl Iterator<Item = &'a Logged> + 'a {
        self.in_order_from(self.lites.next(group, queue), queue)
    }

    /// A light topic that the client must have heard of, whose next message is there for it.
    pub fn missed_by(&self, group: LiteGroup, client: &str) -> Option<&'static str> {
        let lites = &self.lites;
        let topics = &lites.clients.get(client)?.topics;
        let is_there = |topic: &&&'static str| {
            let queue = queue_of(topic);
            let known = lites.groups.get(group.name);
            let known = known.and_then(|orders| orders.queues.get(&queue));
            // It may have become visible in the millisecond of the look, and after it.
            let before_ms = lites.looked_ms - 1;
            let is_free = known.is_none_or(|known| known.gives(None, before_ms) == Gives::Yes);
            is_free && self.next_of_lite(group, &queue).next().is_some()
        };
        let missed = topics.iter().find(is_there).copied();
        missed.filter(|_| lites.hears_everything(group, client))
    }
}
