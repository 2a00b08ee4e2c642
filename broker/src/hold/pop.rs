//! Parked pops and notifications: long polling for whoever gets messages from the broker's hands.
//!
//! ```text
//!   POP, NOTIFICATION find nothing ──> park ──┬── a message of the topic, or of its pop retry topics, arrives ──┐
//!                                             ├── wake_one: messages are left, or visible again              ├──> resume
//!                                             └── time to look again, or time is up                          ┘
//! ```
//!
//! A message wakes one pop and one notification of each group: it is given to one consumer only. A resumed request may find
//! that another was faster; unlike a pull it then parks again, until its time is up, which was fixed when the client sent it.
//! Reference: `PopLongPollingService`, twice: for `PopMessageProcessor` and for `NotificationProcessor`.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::clock::{Clock, Now};
use common::names::PopRetryNaming;
use common::service::{Next, Service, Waker};
use remoting::connection::Connection;
use remoting::request::ParkedRequest;
use store::{Arrival, ArrivalListener};

use crate::filter::expression::ExpressionFilter;

/// Pops and notifications parked at a time over one connection.
pub const MAX_PARKED_PER_CONNECTION: usize = 16_384;
/// How long the expiry sleeps at most: deadlines are wall times, and the clock may be set.
const IDLE: Duration = Duration::from_secs(1);

/// What is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PollKind {
    /// POP_MESSAGE.
    Pop,
    /// NOTIFICATION.
    Notification,
}

/// What a parked request waits for.
#[derive(Debug)]
pub struct Poll<'a> {
    /// Which request it is.
    pub kind: PollKind,
    /// The topic; its pop retry topics count as well.
    pub topic: &'a str,
    /// The group.
    pub group: &'a str,
    /// The queue; -1 for any.
    pub queue_id: i32,
    /// Which messages of the topic; of its retry topics all are wanted.
    pub filter: ExpressionFilter,
    /// When to look again without being woken, or when time is up; ms.
    pub look_again_ms: i64,
}

/// How many may be parked. Reference: `popPollingSize`, `maxPopPollingSize`.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    /// Of one group for one topic and queue.
    pub each: usize,
    /// Altogether.
    pub all: usize,
}

/// The request was not parked: there are too many, or the broker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingFull;

/// The parked pops and notifications.
#[derive(Debug)]
pub struct PopHold {
    /// How many are parked: arrivals look here first.
    count: AtomicUsize,
    stopped: AtomicBool,
    parked: Mutex<Parked>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Parked {
    waiting: HashMap<u64, Waiting>,
    /// Topic, retry topics included, to group to who waits, oldest first.
    topics: HashMap<Arc<str>, HashMap<Arc<str>, BTreeSet<u64>>>,
    /// How many wait for one queue id.
    sizes: HashMap<PollKey, usize>,
    deadlines: BTreeSet<(i64, u64)>,
    /// By connection id.
    connections: HashMap<u64, BTreeSet<u64>>,
    last_id: u64,
}

type PollKey = (PollKind, Arc<str>, Arc<str>, i32);

#[derive(Debug)]
struct Waiting {
    kind: PollKind,
    topic: Arc<str>,
    group: Arc<str>,
    queue_id: i32,
    filter: ExpressionFilter,
    look_again_ms: i64,
    request: ParkedRequest,
}

impl PopHold {
    /// Nothing parked. The waker belongs to the [`PopExpiry`] service.
    pub fn new(waker: Waker) -> Self {
        Self {
            count: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            parked: Mutex::default(),
            waker,
        }
    }

    /// Parks a request. A message may have arrived since it looked: look once more afterwards, and [`Self::wake_one`].
    ///
    /// # Errors
    /// With the request left to the caller, when it is one too many or the broker stops.
    pub fn park(
        &self,
        poll: Poll<'_>,
        limits: PollLimits,
        request: impl FnOnce() -> ParkedRequest,
        connection: &Arc<Connection>,
    ) -> Result<(), PollingFull> {
        let mut parked = self.parked();
        if self.stopped.load(Ordering::SeqCst) || !parked.has_room(&poll, limits, connection.id()) {
            return Err(PollingFull);
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        let is_next = parked.insert(poll, request());
        drop(parked);
        if is_next {
            self.waker.wake();
        }
        // It may have closed before it had anything parked here to forget.
        if !connection.is_open() {
            self.connection_closed(connection);
        }
        Ok(())
    }

    /// Resumes the pop of the group that waits longest for this queue id; -1 wakes those that wait for any.
    pub fn wake_one(&self, topic: &str, group: &str, queue_id: i32) {
        self.wake_where(topic, group, |waiting| {
            waiting.kind == PollKind::Pop && waiting.queue_id == queue_id
        });
    }

    /// Resumes the notification of the group that waits longest for this queue id.
    pub fn wake_notification(&self, topic: &str, group: &str, queue_id: i32) {
        self.wake_where(topic, group, |waiting| {
            waiting.kind == PollKind::Notification && waiting.queue_id == queue_id
        });
    }

    /// Messages of a queue are visible again: resumes one pop that waits for it, or for any, and one notification.
    pub fn wake_for_queue(&self, topic: &str, group: &str, queue_id: i32) {
        for kind in [PollKind::Pop, PollKind::Notification] {
            self.wake_where(topic, group, |waiting| {
                waiting.kind == kind && waiting.wants_queue(queue_id)
            });
        }
    }

    fn wake_where(&self, topic: &str, group: &str, wanted: impl Fn(&Waiting) -> bool) {
        if self.is_empty() {
            return;
        }
        let woken = {
            let mut parked = self.parked();
            let id = parked.first_of(topic, group, wanted);
            id.and_then(|id| parked.take(id))
        };
        self.resume(woken);
    }

    /// How many pops of a group wait for a queue id.
    pub fn polling_num(&self, topic: &str, group: &str, queue_id: i32) -> usize {
        let key = (PollKind::Pop, Arc::from(topic), Arc::from(group), queue_id);
        self.parked().sizes.get(&key).copied().unwrap_or(0)
    }

    /// Resumes those whose time has come. Returns when the next one's does, if any is parked.
    pub fn expire(&self, now_ms: i64) -> Option<i64> {
        let mut due = Vec::new();
        let next = {
            let mut parked = self.parked();
            while let Some(&(look_again_ms, id)) = parked.deadlines.first()
                && look_again_ms <= now_ms
            {
                due.extend(parked.take(id));
            }
            parked.deadlines.first().map(|(look_again_ms, _)| *look_again_ms)
        };
        self.resume(due);
        next
    }

    /// Resumes everything and parks nothing more: the broker stops.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.expire(i64::MAX);
    }

    /// Forgets the requests of a closed connection.
    pub fn connection_closed(&self, connection: &Arc<Connection>) {
        if self.is_empty() {
            return;
        }
        let gone = self.parked().take_of_connection(connection.id());
        self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        gone.into_iter().for_each(|waiting| waiting.request.withdraw());
    }

    /// How many are parked.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn resume(&self, woken: impl IntoIterator<Item = Waiting>) {
        for waiting in woken {
            self.count.fetch_sub(1, Ordering::SeqCst);
            waiting.request.resume();
        }
    }

    fn parked(&self) -> MutexGuard<'_, Parked> {
        self.parked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl ArrivalListener for PopHold {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if self.is_empty() {
            return;
        }
        let woken = self.parked().take_for_arrival(arrival);
        self.resume(woken);
    }

    fn is_awaited(&self) -> bool {
        !self.is_empty()
    }
}

impl Waiting {
    fn wants_queue(&self, queue_id: i32) -> bool {
        self.queue_id < 0 || self.queue_id == queue_id
    }

    fn wants(&self, arrival: &Arrival<'_>) -> bool {
        if *self.topic != *arrival.topic {
            return true; // its retry topic
        }
        self.wants_queue(arrival.queue_id) && self.filter.accepts(arrival)
    }

    /// The topics whose messages it waits for.
    fn topics(&self) -> [Arc<str>; 3] {
        let retry = |naming: PopRetryNaming| Arc::from(naming.topic(&self.topic, &self.group));
        [
            Arc::clone(&self.topic),
            retry(PopRetryNaming::V1),
            retry(PopRetryNaming::V2),
        ]
    }

    fn key(&self) -> PollKey {
        (
            self.kind,
            Arc::clone(&self.topic),
            Arc::clone(&self.group),
            self.queue_id,
        )
    }
}

impl Parked {
    fn has_room(&self, poll: &Poll<'_>, limits: PollLimits, connection_id: u64) -> bool {
        let key = (
            poll.kind,
            Arc::from(poll.topic),
            Arc::from(poll.group),
            poll.queue_id,
        );
        let each = self.sizes.get(&key).copied().unwrap_or(0);
        let of_connection = self.connections.get(&connection_id).map_or(0, BTreeSet::len);
        // The reference lets one more than its limit wait for a queue.
        self.waiting.len() < limits.all && each <= limits.each && of_connection < MAX_PARKED_PER_CONNECTION
    }

    /// Adds a request; true if its time comes next.
    fn insert(&mut self, poll: Poll<'_>, request: ParkedRequest) -> bool {
        self.last_id += 1;
        let id = self.last_id;
        let waiting = Waiting {
            kind: poll.kind,
            topic: Arc::from(poll.topic),
            group: Arc::from(poll.group),
            queue_id: poll.queue_id,
            filter: poll.filter,
            look_again_ms: poll.look_again_ms,
            request,
        };
        for topic in waiting.topics() {
            let groups = self.topics.entry(topic).or_default();
            groups.entry(Arc::clone(&waiting.group)).or_default().insert(id);
        }
        *self.sizes.entry(waiting.key()).or_default() += 1;
        self.deadlines.insert((waiting.look_again_ms, id));
        let connection_id = waiting.request.connection().id();
        self.connections.entry(connection_id).or_default().insert(id);
        self.waiting.insert(id, waiting);
        self.deadlines.first().is_some_and(|(_, first)| *first == id)
    }

    /// Takes a request out of every table.
    fn take(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        for topic in waiting.topics() {
            self.forget_topic(&topic, &waiting.group, id);
        }
        let key = waiting.key();
        if let Some(size) = self.sizes.get_mut(&key) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&key);
            }
        }
        self.deadlines.remove(&(waiting.look_again_ms, id));
        let connection_id = waiting.request.connection().id();
        if let Some(of_connection) = self.connections.get_mut(&connection_id) {
            of_connection.remove(&id);
            if of_connection.is_empty() {
                self.connections.remove(&connection_id);
            }
        }
        Some(waiting)
    }

    fn forget_topic(&mut self, topic: &str, group: &str, id: u64) {
        let Some(groups) = self.topics.get_mut(topic) else {
            return;
        };
        if let Some(ids) = groups.get_mut(group) {
            ids.remove(&id);
            if ids.is_empty() {
                groups.remove(group);
            }
        }
        if groups.is_empty() {
            self.topics.remove(topic);
        }
    }

    fn first_of(&self, topic: &str, group: &str, wanted: impl Fn(&Waiting) -> bool) -> Option<u64> {
        let ids = self.topics.get(topic)?.get(group)?;
        first_where(ids, &self.waiting, wanted)
    }

    /// Takes one pop and one notification of each group.
    fn take_for_arrival(&mut self, arrival: &Arrival<'_>) -> Vec<Waiting> {
        let Some(groups) = self.topics.get(arrival.topic) else {
            return Vec::new();
        };
        let woken: Vec<u64> = groups
            .values()
            .flat_map(|ids| {
                [PollKind::Pop, PollKind::Notification].map(|kind| {
                    first_where(ids, &self.waiting, |waiting| {
                        waiting.kind == kind && waiting.wants(arrival)
                    })
                })
            })
            .flatten()
            .collect();
        woken.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn take_of_connection(&mut self, connection_id: u64) -> Vec<Waiting> {
        let ids = self.connections.get(&connection_id).cloned().unwrap_or_default();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }
}

fn first_where(
    ids: &BTreeSet<u64>,
    waiting: &HashMap<u64, Waiting>,
    wanted: impl Fn(&Waiting) -> bool,
) -> Option<u64> {
    ids.iter()
        .copied()
        .find(|id| waiting.get(id).is_some_and(&wanted))
}

/// Resumes parked pops and notifications on time.
#[derive(Debug)]
pub struct PopExpiry {
    hold: Arc<PopHold>,
    clock: Arc<dyn Clock>,
    next_ms: Option<i64>,
}

impl PopExpiry {
    /// The expiry of `hold`; `clock` is the one that deadlines are made from.
    pub fn new(hold: Arc<PopHold>, clock: Arc<dyn Clock>) -> Self {
        Self {
            hold,
            clock,
            next_ms: None,
        }
    }
}

impl Service for PopExpiry {
    const NAME: &'static str = "pop-hold";

    fn interval(&self) -> Duration {
        let Some(next_ms) = self.next_ms else {
            return IDLE;
        };
        let left_ms = next_ms.saturating_sub(self.clock.wall_ms()).max(1);
        IDLE.min(Duration::from_millis(u64::try_from(left_ms).unwrap_or(1)))
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if stopping {
            self.hold.stop();
        }
        self.next_ms = self.hold.expire(now.wall_ms);
        Ok(Next::Idle)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::message::tags_code::tags_code;
    use remoting::frame::Frame;
    use remoting::request::{Call, OutgoingRequest};
    use store::QueueOffset;

    use super::*;
    use crate::filter::tags;

    const LIMITS: PollLimits = PollLimits { each: 2, all: 5 };

    fn hold() -> PopHold {
        PopHold::new(Waker::new())
    }

    fn connection() -> Arc<Connection> {
        Connection::detached("127.0.0.1:9".parse().unwrap())
    }

    fn request(connection: &Arc<Connection>) -> ParkedRequest {
        let wire = Frame::of_request(&OutgoingRequest::new(1)).encode().unwrap();
        let frame = Frame::decode(Bytes::from(wire).slice(4..)).unwrap();
        Call::new(frame, Arc::clone(connection)).park()
    }

    fn poll(group: &'static str, queue_id: i32) -> Poll<'static> {
        Poll {
            kind: PollKind::Pop,
            topic: "t",
            group,
            queue_id,
            filter: ExpressionFilter::of_tags(&tags::build("t", "A")),
            look_again_ms: 1_000,
        }
    }

    fn park(hold: &PopHold, connection: &Arc<Connection>, poll: Poll<'_>) -> Result<(), PollingFull> {
        hold.park(poll, LIMITS, || request(connection), connection)
    }

    fn arrive(hold: &PopHold, topic: &str, queue_id: i32, tags: &str) {
        hold.arrived(&Arrival {
            topic,
            queue_id,
            queue_offset: QueueOffset(0),
            tags_code: tags_code(Some(tags)),
            store_timestamp_ms: 0,
            properties: "",
        });
    }

    fn resumed(connection: &Arc<Connection>) -> usize {
        connection.take_resumed().len()
    }

    #[test]
    fn a_message_wakes_one_pop_and_one_notification_of_each_group() {
        let (hold, peer) = (hold(), connection());
        park(&hold, &peer, poll("g", -1)).unwrap();
        park(&hold, &peer, poll("g", 3)).unwrap();
        park(&hold, &peer, poll("h", -1)).unwrap();
        let notification = Poll {
            kind: PollKind::Notification,
            ..poll("g", -1)
        };
        park(&hold, &peer, notification).unwrap();
        arrive(&hold, "t", 3, "A");
        assert_eq!((resumed(&peer), hold.len()), (3, 1));
        arrive(&hold, "t", 2, "A");
        assert_eq!((resumed(&peer), hold.len()), (0, 1), "it waits for another queue");
        arrive(&hold, "t", 3, "A");
        assert_eq!((resumed(&peer), hold.len()), (1, 0));
    }

    #[test]
    fn unwanted_tags_wake_nobody_unless_they_are_retried() {
        for retry_topic in ["%RETRY%g_t", "%RETRY%g+t"] {
            let (hold, peer) = (hold(), connection());
            park(&hold, &peer, poll("g", 1)).unwrap();
            arrive(&hold, "t", 1, "B");
            arrive(&hold, "%RETRY%h_t", 0, "A");
            assert_eq!(resumed(&peer), 0);
            arrive(&hold, retry_topic, 0, "B");
            assert_eq!((resumed(&peer), hold.len()), (1, 0));
        }
    }

    #[test]
    fn one_is_woken_by_hand_and_the_oldest_first() {
        let (hold, first, second) = (hold(), connection(), connection());
        park(&hold, &first, poll("g", -1)).unwrap();
        park(&hold, &second, poll("g", -1)).unwrap();
        assert_eq!(hold.polling_num("t", "g", -1), 2);
        hold.wake_one("t", "g", 0);
        assert_eq!(resumed(&first), 0);
        hold.wake_one("t", "g", -1);
        assert_eq!((resumed(&first), resumed(&second)), (1, 0));
        hold.wake_for_queue("t", "g", 7);
        assert_eq!((resumed(&second), hold.len()), (1, 0));
    }

    #[test]
    fn who_waited_long_enough_is_resumed() {
        let (hold, peer) = (hold(), connection());
        park(&hold, &peer, poll("g", -1)).unwrap();
        assert_eq!(hold.expire(999), Some(1_000));
        assert_eq!(resumed(&peer), 0);
        assert_eq!(hold.expire(1_000), None);
        assert_eq!((resumed(&peer), hold.len()), (1, 0));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (hold, peer) = (hold(), connection());
        for _ in 0..3 {
            park(&hold, &peer, poll("g", -1)).unwrap();
        }
        assert_eq!(park(&hold, &peer, poll("g", -1)), Err(PollingFull));
        park(&hold, &peer, poll("g", 0)).unwrap();
        park(&hold, &peer, poll("g", 0)).unwrap();
        assert_eq!(park(&hold, &peer, poll("g", 1)), Err(PollingFull));
        assert_eq!(hold.len(), 5);
    }

    #[test]
    fn a_closed_connection_and_a_stopped_broker_leave_nothing() {
        let (hold, gone, peer) = (hold(), connection(), connection());
        park(&hold, &gone, poll("g", -1)).unwrap();
        park(&hold, &peer, poll("g", -1)).unwrap();
        hold.connection_closed(&gone);
        assert_eq!((resumed(&gone), hold.len()), (0, 1));
        hold.stop();
        assert_eq!((resumed(&peer), hold.len()), (1, 0));
        assert_eq!(park(&hold, &peer, poll("g", -1)), Err(PollingFull));
        let parked = hold.parked();
        assert!(parked.topics.is_empty() && parked.sizes.is_empty() && parked.connections.is_empty());
    }
}
