//! Events: which light message queues a client is to look at next, as soon as it pops.
//!
//! An event is the name of a queue in which there may be something for the client. It goes to one client of each group, and
//! stands in that client's set once. Who does not take its events for a while loses them to the others, and is avoided for
//! a while. A set that is full makes up for what it missed by a full dispatch: a look at all queues of the client, later.
//! Reference: `LiteEventDispatcher`, `ClientEventSet`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use common::random::Random;

use super::schedule::Schedule;
use super::subscriptions::GroupMembers;

/// A client that has events and takes none for so long is given up.
const INACTIVE_MS: i64 = 10_000;
/// And one without events that does not ask for so long: a long poll is over by then.
const SILENT_MS: i64 = 35_000;
/// A client that asked so lately takes a full dispatch again without delay.
const ACTIVE_MS: i64 = 5_000;
/// How long a client that was given up is avoided.
const AVOIDED_MS: i64 = 10_000;
/// Full dispatches of clients that seem to hang are spread over so long.
const SPREAD_MS: i32 = 15_000;
/// The same, of clients that ask but are slow.
const SLOW_SPREAD_MS: i32 = 10_000;
/// The least time to a full dispatch.
const LEAST_DELAY_MS: i64 = 50;
/// Events of one client, whatever its group allows.
pub const MAX_EVENTS: usize = 100_000;

/// The events of all clients, and what is to happen later.
#[derive(Debug)]
pub struct Events {
    clients: HashMap<Arc<str>, EventSet>,
    /// Until when a client is avoided, ms.
    avoided: HashMap<Arc<str>, i64>,
    full_dispatches: Schedule<FullDispatch>,
    random: Random,
}

/// Whose queues are all to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FullDispatch {
    /// Those of one client.
    Client {
        /// Its group.
        group: Arc<str>,
        /// Its id.
        client_id: Arc<str>,
    },
    /// Every queue of the parent topic, for a group that gets them all.
    Wildcard(Arc<str>),
}

/// How long until a full dispatch. Reference: `liteEventFullDispatchDelayTime`, `…ForWildcardGroup`.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Of a client's queues, ms.
    pub client_ms: i64,
    /// Of all queues of a topic, ms.
    pub wildcard_ms: i64,
}

#[derive(Debug)]
struct EventSet {
    group: Arc<str>,
    queue: VecDeque<Arc<str>>,
    queued: HashSet<Arc<str>>,
    last_access_ms: i64,
}

impl EventSet {
    fn new(group: Arc<str>, now_ms: i64) -> Self {
        EventSet {
            group,
            queue: VecDeque::new(),
            queued: HashSet::new(),
            last_access_ms: now_ms,
        }
    }

    /// False when it is full.
    fn offer(&mut self, lmq: &Arc<str>, capacity: usize) -> bool {
        if self.queued.contains(lmq) {
            return true;
        }
        if self.queue.len() >= capacity.min(MAX_EVENTS) {
            return false;
        }
        self.queued.insert(Arc::clone(lmq));
        self.queue.push_back(Arc::clone(lmq));
        true
    }

    fn idle_ms(&self, now_ms: i64) -> i64 {
        now_ms - self.last_access_ms
    }

    fn may_hang(&self, now_ms: i64) -> bool {
        let idle_ms = self.idle_ms(now_ms);
        idle_ms > SILENT_MS || (!self.queue.is_empty() && idle_ms > INACTIVE_MS)
    }

    /// Whether less than a fifth is used.
    fn is_nearly_empty(&self, capacity: usize) -> bool {
        self.queue.len().saturating_mul(5) < capacity.min(MAX_EVENTS)
    }
}

/// A client that was given up.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its id.
    pub client_id: Arc<str>,
    /// Its group.
    pub group: Arc<str>,
    /// The events it did not take.
    pub lmqs: Vec<Arc<str>>,
}

/// Whether a client's queues may all be looked at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They may.
    Ready,
    /// Not now: a full dispatch is scheduled.
    Later,
}

impl Events {
    /// None. The seed decides which client of a group gets an event.
    pub fn new(seed: u64) -> Self {
        Events {
            clients: HashMap::new(),
            avoided: HashMap::new(),
            full_dispatches: Schedule::default(),
            random: Random::new(seed),
        }
    }

    /// How many clients have a set of events.
    pub fn sets(&self) -> usize {
        self.clients.len()
    }

    /// When a client took an event last, or asked for one, ms.
    pub fn last_access_ms(&self, client_id: &str) -> Option<i64> {
        self.clients.get(client_id).map(|events| events.last_access_ms)
    }

    /// Gives an event to one client of a group, best to none that is avoided, and to `not_to` only if there is no other.
    /// Returns who got it. `capacity` is how many events a client of the group may have.
    pub fn offer_to_one(
        &mut self,
        members: &GroupMembers,
        lmq: &Arc<str>,
        not_to: Option<&str>,
        capacity: usize,
        delays: Delays,
        now_ms: i64,
    ) -> Option<Arc<str>> {
        let count = members.client_ids.len();
        if count == 0 {
            return None;
        }
        let start = self.random.next_u64() % count as u64;
        let start = usize::try_from(start).unwrap_or(0);
        let in_turn = |i: usize| &members.client_ids[(start + i) % count];
        let mut last_resort = Vec::new();
        for client_id in (0..count).map(in_turn) {
            if not_to == Some(&**client_id) {
                last_resort.push(client_id);
            } else if self.is_avoided(client_id, now_ms) {
                // Of very many clients some other is free.
                if !members.is_wildcard {
                    last_resort.push(client_id);
                }
            } else if self.offer(members, client_id, lmq, capacity, delays, now_ms) {
                return Some(Arc::clone(client_id));
            }
        }
        for client_id in last_resort {
            if self.offer(members, client_id, lmq, capacity, delays, now_ms) {
                return Some(Arc::clone(client_id));
            }
        }
        if members.is_wildcard {
            self.schedule(
                FullDispatch::Wildcard(Arc::clone(&members.group)),
                now_ms,
                delays.wildcard_ms,
            );
        }
        None
    }

    fn offer(
        &mut self,
        members: &GroupMembers,
        client_id: &Arc<str>,
        lmq: &Arc<str>,
        capacity: usize,
        delays: Delays,
        now_ms: i64,
    ) -> bool {
        if self
            .set_of(client_id, &members.group, now_ms)
            .offer(lmq, capacity)
        {
            return true;
        }
        if !members.is_wildcard {
            let spread_ms = match self.is_avoided(client_id, now_ms) {
                true => i64::from(self.random.below(SPREAD_MS)),
                false => 0,
            };
            self.schedule_client(client_id, &members.group, now_ms, delays.client_ms + spread_ms);
        }
        false
    }

    fn set_of(&mut self, client_id: &Arc<str>, group: &Arc<str>, now_ms: i64) -> &mut EventSet {
        self.clients
            .entry(Arc::clone(client_id))
            .or_insert_with(|| EventSet::new(Arc::clone(group), now_ms))
    }

    fn is_avoided(&self, client_id: &str, now_ms: i64) -> bool {
        self.avoided
            .get(client_id)
            .is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// Takes a client's next event.
    pub fn take(&mut self, client_id: &str, now_ms: i64) -> Option<Arc<str>> {
        let events = self.clients.get_mut(client_id)?;
        events.last_access_ms = now_ms;
        let lmq = events.queue.pop_front()?;
        events.queued.remove(&lmq);
        Some(lmq)
    }

    /// Whether a client has an event.
    pub fn has_any(&self, client_id: &str) -> bool {
        self.clients
            .get(client_id)
            .is_some_and(|events| !events.queue.is_empty())
    }

    /// Forgets a client, and gives back its events, with its group.
    pub fn forget(&mut self, client_id: &str) -> Option<(Arc<str>, Vec<Arc<str>>)> {
        let events = self.clients.remove(client_id)?;
        Some((events.group, events.queue.into()))
    }

    /// Gives up the clients that seem to hang, sorted: they are avoided for a while.
    pub fn give_up_hanging(&mut self, now_ms: i64) -> Vec<GivenUp> {
        self.avoided.retain(|_, until_ms| now_ms < *until_ms);
        let hanging = self.clients.iter().filter(|(_, events)| events.may_hang(now_ms));
        let mut hanging: Vec<Arc<str>> = hanging.map(|(client_id, _)| Arc::clone(client_id)).collect();
        hanging.sort_unstable();
        hanging
            .into_iter()
            .filter_map(|client_id| {
                self.avoided.insert(Arc::clone(&client_id), now_ms + AVOIDED_MS);
                let (group, lmqs) = self.forget(&client_id)?;
                Some(GivenUp {
                    client_id,
                    group,
                    lmqs,
                })
            })
            .collect()
    }

    /// Whether all queues of a client may be looked at now; if not, they will be later.
    pub fn readiness(
        &mut self,
        client_id: &Arc<str>,
        group: &Arc<str>,
        capacity: usize,
        delays: Delays,
        now_ms: i64,
    ) -> Readiness {
        let events = self.set_of(client_id, group, now_ms);
        let is_active = events.idle_ms(now_ms) < ACTIVE_MS;
        let spread_ms = if events.may_hang(now_ms) {
            SPREAD_MS
        } else if !events.is_nearly_empty(capacity) {
            if is_active { 0 } else { SLOW_SPREAD_MS }
        } else {
            return Readiness::Ready;
        };
        let spread_ms = i64::from(self.random.below(spread_ms));
        self.schedule_client(client_id, group, now_ms, delays.client_ms + spread_ms);
        Readiness::Later
    }

    /// Gives a client one event of a full dispatch; false when its set is full, and the rest will come later.
    pub fn offer_of_full_dispatch(
        &mut self,
        client_id: &Arc<str>,
        group: &Arc<str>,
        lmq: &Arc<str>,
        capacity: usize,
        delays: Delays,
        now_ms: i64,
    ) -> bool {
        let events = self.set_of(client_id, group, now_ms);
        if events.offer(lmq, capacity) {
            return true;
        }
        let is_active = events.idle_ms(now_ms) < ACTIVE_MS;
        let spread_ms = if is_active {
            0
        } else {
            self.random.below(SPREAD_MS)
        };
        self.schedule_client(client_id, group, now_ms, delays.client_ms + i64::from(spread_ms));
        false
    }

    fn schedule_client(&mut self, client_id: &Arc<str>, group: &Arc<str>, now_ms: i64, delay_ms: i64) {
        let whose = FullDispatch::Client {
            group: Arc::clone(group),
            client_id: Arc::clone(client_id),
        };
        self.schedule(whose, now_ms, delay_ms);
    }

    /// Has a full dispatch made in a while, unless one is to be made anyway.
    pub fn schedule(&mut self, whose: FullDispatch, now_ms: i64, delay_ms: i64) {
        let at_ms = now_ms.saturating_add(delay_ms.max(LEAST_DELAY_MS));
        self.full_dispatches.add(whose, at_ms);
    }

    /// Takes the full dispatches that are due.
    pub fn due_full_dispatches(&mut self, now_ms: i64) -> Vec<FullDispatch> {
        self.full_dispatches.take_due(now_ms)
    }

    /// When the next full dispatch is due, ms.
    pub fn next_full_dispatch_ms(&self) -> Option<i64> {
        self.full_dispatches.next_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: Delays = Delays {
        client_ms: 10_000,
        wildcard_ms: 20_000,
    };

    fn members(client_ids: &[&str]) -> GroupMembers {
        GroupMembers {
            group: Arc::from("g"),
            is_wildcard: false,
            client_ids: client_ids.iter().map(|id| Arc::from(*id)).collect(),
        }
    }

    fn offer(events: &mut Events, members: &GroupMembers, lmq: &str, now_ms: i64) -> Option<Arc<str>> {
        events.offer_to_one(members, &Arc::from(lmq), None, 2, DELAYS, now_ms)
    }

    #[test]
    fn an_event_stands_once_in_the_set_of_one_client() {
        let mut events = Events::new(7);
        let one = members(&["a"]);
        for lmq in ["x", "y", "x"] {
            assert!(offer(&mut events, &one, lmq, 0).is_some());
        }
        assert!(events.has_any("a"));
        assert_eq!(events.take("a", 5).as_deref(), Some("x"));
        assert_eq!(events.take("a", 6).as_deref(), Some("y"));
        assert_eq!(events.take("a", 7), None);
        assert_eq!(
            (events.last_access_ms("a"), events.last_access_ms("b")),
            (Some(7), None)
        );

        let both = members(&["a", "b"]);
        for i in 0..4 {
            offer(&mut events, &both, &i.to_string(), 7);
        }
        let left = |events: &Events, id: &str| events.clients[id].queue.len();
        assert_eq!(left(&events, "a") + left(&events, "b"), 4);
    }

    #[test]
    fn a_full_set_makes_up_for_it_by_a_full_dispatch() {
        let mut events = Events::new(7);
        let one = members(&["a"]);
        offer(&mut events, &one, "x", 0);
        offer(&mut events, &one, "y", 0);
        assert_eq!(offer(&mut events, &one, "z", 0), None);
        assert_eq!(events.next_full_dispatch_ms(), Some(10_000));
        assert!(events.due_full_dispatches(9_999).is_empty());
        assert_eq!(events.due_full_dispatches(10_000).len(), 1);
        let (client, group) = (Arc::from("a"), Arc::from("g"));
        assert_eq!(
            events.readiness(&client, &group, 2, DELAYS, 3_000),
            Readiness::Later
        );
        events.take("a", 3_000);
        events.take("a", 3_000);
        assert_eq!(
            events.readiness(&client, &group, 2, DELAYS, 3_000),
            Readiness::Ready
        );
    }

    #[test]
    fn who_hangs_loses_its_events_to_the_others() {
        let mut events = Events::new(7);
        offer(&mut events, &members(&["a"]), "x", 0);
        assert!(events.give_up_hanging(INACTIVE_MS).is_empty());
        let given_up = events.give_up_hanging(INACTIVE_MS + 1);
        let a = GivenUp {
            client_id: Arc::from("a"),
            group: Arc::from("g"),
            lmqs: vec![Arc::from("x")],
        };
        assert_eq!(given_up, [a]);

        let both = members(&["a", "b"]);
        for i in 0..2 {
            let got = offer(&mut events, &both, &i.to_string(), INACTIVE_MS + 2);
            assert_eq!(got.as_deref(), Some("b"), "a is avoided");
        }
        let last_resort = offer(&mut events, &both, "z", INACTIVE_MS + 3);
        assert_eq!(last_resort.as_deref(), Some("a"), "rather than nobody");
    }

    #[test]
    fn a_group_of_all_light_topics_waits_for_one_full_dispatch_together() {
        let mut events = Events::new(7);
        let all = GroupMembers {
            is_wildcard: true,
            ..members(&["a"])
        };
        for lmq in ["x", "y", "z", "z2"] {
            offer(&mut events, &all, lmq, 0);
        }
        let due = events.due_full_dispatches(20_000);
        assert_eq!(due, [FullDispatch::Wildcard(Arc::from("g"))]);
    }
}
