//! LiteDispatch: brings messages of light topics to the attention of the clients that subscribed to them.
//!
//! ```text
//!   a message arrives ───────┐
//!   a batch is acknowledged ─┼─> dispatch: an event to one client of each group ─> its parked pop is resumed
//!   a batch is visible again ┘
//! ```
//!
//! Knows neither store nor offsets: an event says only that there may be something. One lock guards subscriptions and events; it
//! is a leaf, and parked pops are resumed after it is released. Reference: `LiteEventDispatcher`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use common::clock::Clock;
use common::names;
use common::planted_bug::{PlantedBug, is_planted};
use common::properties::Live;
use common::service::Waker;
use remoting::connection::Connection;
use store::{Arrival, ArrivalListener};

use super::events::{Delays, Events, FullDispatch, GivenUp, MAX_EVENTS, Readiness};
use super::schedule::Schedule;
use super::subscriptions::{ClientSubscription, GroupMembers, Member, Subscriptions, Who};
use crate::config::BrokerConfig;
use crate::hold::lite::LiteHold;

/// A client of a group that gets all light topics is given what is there after so long.
const WILDCARD_DELAY_MS: i64 = 5_000;

/// Who subscribed to what, and whom to tell of messages.
pub struct LiteDispatch {
    /// Parked lite pops.
    pub hold: Arc<LiteHold>,
    /// [`Subscriptions::active`]: arrivals look here first.
    active: AtomicUsize,
    state: Mutex<State>,
    config: Arc<Live<BrokerConfig>>,
    clock: Arc<dyn Clock>,
    waker: Waker,
}

#[derive(Debug)]
struct State {
    subscriptions: Subscriptions,
    events: Events,
    /// How many events a client may have, by group.
    capacities: HashMap<Arc<str>, usize>,
    /// When a popped batch is visible again.
    visible_again: Schedule<GroupLmq>,
}

impl State {
    fn capacity(&self, group: &str) -> usize {
        self.capacities.get(group).copied().unwrap_or(MAX_EVENTS)
    }
}

/// A light message queue as one group sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupLmq {
    /// The group.
    pub group: Arc<str>,
    /// The queue.
    pub lmq: Arc<str>,
}

impl LiteDispatch {
    /// Nobody subscribes. The waker belongs to the service of light topics.
    pub fn new(config: Arc<Live<BrokerConfig>>, clock: Arc<dyn Clock>, waker: &Waker) -> Self {
        LiteDispatch {
            hold: Arc::new(LiteHold::new(waker.clone())),
            active: AtomicUsize::new(0),
            state: Mutex::new(State {
                subscriptions: Subscriptions::default(),
                events: Events::new(clock.wall_ms().unsigned_abs()),
                capacities: HashMap::new(),
                visible_again: Schedule::default(),
            }),
            config,
            clock,
            waker: waker.clone(),
        }
    }

    /// Looks at the subscriptions.
    pub fn look<R>(&self, look: impl FnOnce(&Subscriptions) -> R) -> R {
        look(&self.state().subscriptions)
    }

    /// Changes the subscriptions.
    pub fn change<R>(&self, change: impl FnOnce(&mut Subscriptions) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.subscriptions);
        self.active.store(state.subscriptions.active(), Ordering::SeqCst);
        result
    }

    /// Notes that a client is there, over this connection, as a member of the group it is in, and how many events a client of
    /// the group may have; `None` when there are too many clients.
    pub fn touch(&self, who: Who<'_>, connection: &Arc<Connection>, capacity: usize) -> Option<Member> {
        let now_ms = self.clock.wall_ms();
        let mut state = self.state();
        if !state.subscriptions.has_room_for(who.client_id) {
            return None;
        }
        let member = state.subscriptions.touch(who, now_ms);
        state.subscriptions.connect(&member, Arc::downgrade(connection));
        state.capacities.insert(Arc::clone(&member.group), capacity);
        Some(member)
    }

    /// Forgets a client; others of its group get its events.
    pub fn remove_client(&self, client_id: &str) -> Option<ClientSubscription> {
        let removed = self.change(|subscriptions| subscriptions.remove_client(client_id))?;
        self.pass_on(client_id);
        Some(removed)
    }

    fn pass_on(&self, client_id: &str) {
        let events = self.state().events.forget(client_id);
        if let Some((group, lmqs)) = events {
            for lmq in lmqs {
                self.dispatch(&lmq, Some(&group), Some(client_id));
            }
        }
    }

    /// There may be something in a queue: tells one client of each group, or of one group. `not_to` is told only if there is
    /// no other.
    pub fn dispatch(&self, lmq: &str, group: Option<&str>, not_to: Option<&str>) {
        if self.active.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (now_ms, delays) = (self.clock.wall_ms(), self.delays());
        let lmq: Arc<str> = Arc::from(lmq);
        let told: Vec<Arc<str>> = {
            let mut state = self.state();
            let recipients = state.subscriptions.recipients(&lmq, group);
            let told = recipients.iter().filter_map(|members| {
                let capacity = state.capacity(&members.group);
                let events = &mut state.events;
                events.offer_to_one(members, &lmq, not_to, capacity, delays, now_ms)
            });
            told.collect()
        };
        if is_planted(PlantedBug::ForgetParkedLitePop) {
            return;
        }
        let logs = self.config.get().enable_lite_pop_log;
        for client_id in told {
            if logs {
                let is_same = not_to == Some(&*client_id);
                tracing::info!(%client_id, %lmq, is_same, "a client is told of a light topic");
            }
            self.hold.wake(&client_id);
        }
    }

    /// Somebody subscribed to a queue; `has_messages` says whether there is any in it.
    pub fn subscribed(&self, member: &Member, lmq: &str, is_wildcard: bool, has_messages: bool) {
        if is_wildcard {
            let whose = FullDispatch::Wildcard(Arc::clone(&member.group));
            let now_ms = self.clock.wall_ms();
            self.state().events.schedule(whose, now_ms, WILDCARD_DELAY_MS);
            self.waker.wake();
        } else if has_messages {
            self.dispatch(lmq, Some(&member.group), None);
        }
    }

    /// Takes a client's next event.
    pub fn take_event(&self, client_id: &str) -> Option<Arc<str>> {
        let now_ms = self.clock.wall_ms();
        self.state().events.take(client_id, now_ms)
    }

    /// Resumes a parked pop of a client that has an event.
    pub fn wake_if_event(&self, client_id: &str) {
        if !self.hold.is_empty() && self.state().events.has_any(client_id) {
            self.hold.wake(client_id);
        }
    }

    /// When a client asked last, ms.
    pub fn last_access_ms(&self, client_id: &str) -> Option<i64> {
        self.state().events.last_access_ms(client_id)
    }

    /// How many clients have a set of events.
    pub fn event_sets(&self) -> usize {
        self.state().events.sets()
    }

    /// A popped batch of the queue is visible again at this time: there will be something then.
    pub fn look_again_at(&self, group: &str, lmq: &str, at_ms: i64) {
        if !self.config.get().enable_notify_after_pop_order_lock_release {
            return;
        }
        let what = GroupLmq {
            group: Arc::from(group),
            lmq: Arc::from(lmq),
        };
        if self.state().visible_again.set(what, at_ms) {
            self.waker.wake();
        }
    }

    /// Tells of the batches that are visible again. Returns when the next one is, ms.
    pub fn tell_of_visible(&self, now_ms: i64) -> Option<i64> {
        let due = self.state().visible_again.take_due(now_ms);
        for GroupLmq { group, lmq } in due {
            if is_planted(PlantedBug::ForgetLiteBatch) {
                continue;
            }
            self.dispatch(&lmq, Some(&group), None);
        }
        self.state().visible_again.next_ms()
    }

    /// Gives up the clients that hang: others get their events, or they themselves once more.
    pub fn give_up_hanging(&self, now_ms: i64) {
        let given_up = self.state().events.give_up_hanging(now_ms);
        for GivenUp {
            client_id,
            group,
            lmqs,
        } in given_up
        {
            tracing::warn!(%client_id, events = lmqs.len(), "a client takes no events of light topics");
            for lmq in lmqs {
                if !is_planted(PlantedBug::LoseLiteEvents) {
                    self.dispatch(&lmq, Some(&group), Some(&client_id));
                }
            }
        }
    }

    /// Takes the full dispatches that are due.
    pub fn due_full_dispatches(&self, now_ms: i64) -> Vec<FullDispatch> {
        self.state().events.due_full_dispatches(now_ms)
    }

    /// When the next full dispatch is due, ms.
    pub fn next_full_dispatch_ms(&self) -> Option<i64> {
        self.state().events.next_full_dispatch_ms()
    }

    /// Gives a client an event of each of its queues that `has_more`. If it has too many events already, later.
    pub fn full_dispatch_to_client(
        &self,
        client_id: &Arc<str>,
        group: &Arc<str>,
        has_more: impl Fn(&str) -> bool,
    ) {
        let (now_ms, delays) = (self.clock.wall_ms(), self.delays());
        let lmqs = {
            let mut state = self.state();
            let capacity = state.capacity(group);
            let subscription = state.subscriptions.of_client(client_id);
            let Some(lmqs) = subscription.map(|subscription| subscription.lmqs.clone()) else {
                return;
            };
            let readiness = state.events.readiness(client_id, group, capacity, delays, now_ms);
            if lmqs.is_empty() || readiness == Readiness::Later {
                return;
            }
            lmqs
        };
        // Looked at without the lock: that may read files.
        for lmq in lmqs.into_iter().filter(|lmq| has_more(lmq)) {
            let mut state = self.state();
            let capacity = state.capacity(group);
            let events = &mut state.events;
            if !events.offer_of_full_dispatch(client_id, group, &lmq, capacity, delays, now_ms) {
                break;
            }
        }
        self.hold.wake(client_id);
    }

    /// Gives one client of a group an event of this queue, which has more for it; false when none takes it.
    pub fn offer_of_full_dispatch(&self, members: &GroupMembers, lmq: &str) -> bool {
        let (now_ms, delays) = (self.clock.wall_ms(), self.delays());
        let told = {
            let mut state = self.state();
            let capacity = state.capacity(&members.group);
            let events = &mut state.events;
            events.offer_to_one(members, &Arc::from(lmq), None, capacity, delays, now_ms)
        };
        told.as_ref()
            .inspect(|client_id| self.hold.wake(client_id))
            .is_some()
    }

    fn delays(&self) -> Delays {
        let config = self.config.get();
        Delays {
            client_ms: config.lite_event_full_dispatch_delay_time,
            wildcard_ms: config.lite_event_full_dispatch_delay_time_for_wildcard_group,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl ArrivalListener for LiteDispatch {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if self.active.load(Ordering::SeqCst) > 0 && names::is_lite_lmq(arrival.topic) {
            self.dispatch(arrival.topic, None, None);
        }
    }

    fn is_awaited(&self) -> bool {
        !self.hold.is_empty()
    }
}
