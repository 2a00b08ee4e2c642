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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use common::names::PopRetryNaming;
use remoting::connection::Connection;
use remoting::request::ParkedRequest;
use store::{Arrival, ArrivalListener};

use super::parked::{Expiry, Hold, Kind, Parked, Waiting, forget_in};
use crate::filter::expression::ExpressionFilter;

/// Pops and notifications parked at a time over one connection.
pub const MAX_PARKED_PER_CONNECTION: usize = 16_384;

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
pub type PopHold = Hold<Polls>;

/// Resumes parked pops and notifications on time.
pub type PopExpiry = Expiry<Polls>;

/// Parked pops and notifications by topic and group.
#[derive(Debug, Default)]
pub struct Polls {
    /// Topic, retry topics included, to group to who waits, oldest first.
    topics: HashMap<Arc<str>, HashMap<Arc<str>, BTreeSet<u64>>>,
    /// How many wait for one queue id.
    sizes: HashMap<PollKey, usize>,
}

type PollKey = (PollKind, Arc<str>, Arc<str>, i32);

/// [`Poll`], as it is kept.
#[derive(Debug)]
pub struct Polling {
    kind: PollKind,
    topic: Arc<str>,
    group: Arc<str>,
    queue_id: i32,
    filter: ExpressionFilter,
}

impl Kind for Polls {
    type Waits = Polling;
    const EXPIRY: &'static str = "pop-hold";

    fn add(&mut self, id: u64, polling: &Polling) {
        for topic in polling.topics() {
            let groups = self.topics.entry(topic).or_default();
            groups.entry(Arc::clone(&polling.group)).or_default().insert(id);
        }
        *self.sizes.entry(polling.key()).or_default() += 1;
    }

    fn forget(&mut self, id: u64, polling: &Polling) {
        for topic in polling.topics() {
            if let Some(groups) = self.topics.get_mut(&topic) {
                forget_in(groups, &polling.group, id);
                if groups.is_empty() {
                    self.topics.remove(&topic);
                }
            }
        }
        let key = polling.key();
        if let Some(size) = self.sizes.get_mut(&key) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&key);
            }
        }
    }
}

impl Polls {
    fn size(&self, key: &PollKey) -> usize {
        self.sizes.get(key).copied().unwrap_or(0)
    }
}

impl PopHold {
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
        let polling = Polling {
            kind: poll.kind,
            topic: Arc::from(poll.topic),
            group: Arc::from(poll.group),
            queue_id: poll.queue_id,
            filter: poll.filter,
        };
        let key = polling.key();
        let has_room = |parked: &Parked<Polls>| {
            // The reference lets one more than its limit wait for a queue.
            parked.waiting.len() < limits.all
                && parked.index.size(&key) <= limits.each
                && parked.of_connection(connection.id()) < MAX_PARKED_PER_CONNECTION
        };
        self.hold(polling, poll.look_again_ms, connection, has_room, request)
            .map_err(|_| PollingFull)
    }

    /// Resumes the pop of the group that waits longest for this queue id; -1 wakes those that wait for any.
    pub fn wake_one(&self, topic: &str, group: &str, queue_id: i32) {
        self.wake_where(topic, group, |polling| {
            polling.kind == PollKind::Pop && polling.queue_id == queue_id
        });
    }

    /// A pop of any queue left messages, nobody knows of which: resumes one pop that waits for any, which tells on. If none does,
    /// one for each queue that is waited for: the message that would have woken it has woken the other.
    pub fn wake_for_rest(&self, topic: &str, group: &str) {
        self.resume(|parked| {
            let groups = parked.index.topics.get(topic);
            let Some(ids) = groups.and_then(|groups| groups.get(group)) else {
                return Vec::new();
            };
            let mut of_queues = BTreeMap::new();
            for id in ids {
                let polling = parked.waiting.get(id).map(|waiting| &waiting.waits);
                if let Some(polling) = polling.filter(|polling| polling.kind == PollKind::Pop) {
                    of_queues.entry(polling.queue_id.max(-1)).or_insert(*id);
                }
            }
            let woken: Vec<u64> = match of_queues.get(&-1) {
                Some(of_any) => vec![*of_any],
                None => of_queues.into_values().collect(),
            };
            parked.take_all(woken)
        });
    }

    /// Resumes the notification of the group that waits longest for this queue id.
    pub fn wake_notification(&self, topic: &str, group: &str, queue_id: i32) {
        self.wake_where(topic, group, |polling| {
            polling.kind == PollKind::Notification && polling.queue_id == queue_id
        });
    }

    /// Messages of a queue are visible again: resumes one pop that waits for it, or for any, and one notification.
    pub fn wake_for_queue(&self, topic: &str, group: &str, queue_id: i32) {
        for kind in [PollKind::Pop, PollKind::Notification] {
            self.wake_where(topic, group, |polling| {
                polling.kind == kind && polling.wants_queue(queue_id)
            });
        }
    }

    /// A pop of the group was woken and cannot take what it was woken for: resumes all that wait for the topic.
    pub fn wake_others(&self, topic: &str, group: &str) {
        self.resume(|parked| {
            let groups = parked.index.topics.get(topic);
            let ids = groups.and_then(|groups| groups.get(group));
            let ids: Vec<u64> = ids.into_iter().flatten().copied().collect();
            parked.take_all(ids)
        });
    }

    fn wake_where(&self, topic: &str, group: &str, wakes: impl Fn(&Polling) -> bool) {
        self.resume(|parked| {
            let groups = parked.index.topics.get(topic);
            let ids = groups.and_then(|groups| groups.get(group));
            let id = ids.and_then(|ids| first_where(ids, &parked.waiting, wakes));
            id.and_then(|id| parked.take(id))
        });
    }

    /// How many pops of a group wait for a queue id.
    pub fn polling_num(&self, topic: &str, group: &str, queue_id: i32) -> usize {
        let key = (PollKind::Pop, Arc::from(topic), Arc::from(group), queue_id);
        self.parked().index.size(&key)
    }
}

impl ArrivalListener for PopHold {
    /// Wakes one pop and one notification of each group.
    fn arrived(&self, arrival: &Arrival<'_>) {
        self.resume(|parked| {
            let Some(groups) = parked.index.topics.get(arrival.topic) else {
                return Vec::new();
            };
            let mut woken: Vec<u64> = groups
                .values()
                .flat_map(|ids| {
                    [PollKind::Pop, PollKind::Notification].map(|kind| {
                        first_where(ids, &parked.waiting, |polling| {
                            polling.kind == kind && polling.wants(arrival)
                        })
                    })
                })
                .flatten()
                .collect();
            // In the order in which they came, whatever the order of a hash.
            woken.sort_unstable();
            parked.take_all(woken)
        });
    }

    fn is_awaited(&self) -> bool {
        !self.is_empty()
    }
}

impl Polling {
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

fn first_where(
    ids: &BTreeSet<u64>,
    waiting: &HashMap<u64, Waiting<Polling>, foldhash::fast::RandomState>,
    wakes: impl Fn(&Polling) -> bool,
) -> Option<u64> {
    let wakes = |id: &u64| waiting.get(id).is_some_and(|waiting| wakes(&waiting.waits));
    ids.iter().copied().find(wakes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::message::tags_code::tags_code;
    use common::service::Waker;
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
            filter: ExpressionFilter::of_tags(&tags::build("t", "A").unwrap()),
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
    fn what_a_pop_of_any_queue_left_wakes_one_of_any_or_one_of_each() {
        let (hold, of_any, of_queues) = (hold(), connection(), connection());
        for queue_id in [0, 3, 3] {
            park(&hold, &of_queues, poll("g", queue_id)).unwrap();
        }
        park(&hold, &of_any, poll("g", -1)).unwrap();
        hold.wake_for_rest("t", "g");
        assert_eq!((resumed(&of_any), resumed(&of_queues)), (1, 0));
        hold.wake_for_rest("t", "g");
        assert_eq!((resumed(&of_queues), hold.polling_num("t", "g", 3)), (2, 1));
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
        assert!(parked.index.topics.is_empty() && parked.index.sizes.is_empty());
        assert_eq!(parked.of_connection(peer.id()), 0);
    }
}
