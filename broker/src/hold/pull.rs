//! Parked pulls: long polling.
//!
//! ```text
//!   PULL finds nothing ──> park ──┬── a message arrives that its filter accepts ──┐
//!                                 ├── its time is up                              ├──> resume: the pull is handled again,
//!                                 └── the broker stops                            ┘    and must answer this time
//! ```
//!
//! The hold knows neither store nor broker: it is told of arrivals, and whatever it resumes goes back to the task of its own
//! connection. Every parked pull is resumed exactly once, unless its connection closes first.
//! Reference: `PullRequestHoldService`, which looks at all parked pulls every 5 s instead of waiting for the next deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::clock::{Clock, Now};
use common::service::{Next, Service, Waker};
use remoting::connection::Connection;
use remoting::request::ParkedRequest;
use store::planted_bug::{PlantedBug, is_planted};
use store::{Arrival, ArrivalListener};

use crate::filter::expression::ExpressionFilter;

/// Pulls parked at a time; one more is answered at once with "nothing found".
pub const MAX_PARKED_PULLS: usize = 1_000_000;
/// Pulls parked at a time over one connection: one per queue it reads is all a client needs.
pub const MAX_PARKED_PULLS_PER_CONNECTION: usize = 16_384;
/// Messages a parked pull does not want, after which it is resumed all the same: its client then goes on behind them,
/// rather than read past all of them when one comes that it wants. A pull looks at so many entries at a time.
const MAX_UNWANTED: u32 = 800;
/// A wall clock set back by more makes deadlines meaningless.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// How long the expiry sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(5);

/// The parked pulls.
#[derive(Debug)]
pub struct PullHold {
    /// How many are parked: arrivals look here first, so a broker without waiting consumers pays nothing.
    count: AtomicUsize,
    parked: Mutex<Parked>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Parked {
    queues: HashMap<String, HashMap<i32, Vec<Waiting>>>,
    /// (deadline, id) -> queue; ids make deadlines unique.
    deadlines: BTreeMap<Deadline, QueueKey>,
    /// By connection id.
    connections: HashMap<u64, BTreeSet<Deadline>>,
    last_id: u64,
}

type Deadline = (i64, u64);

type QueueKey = (Arc<str>, i32);

#[derive(Debug)]
struct Waiting {
    id: u64,
    deadline_ms: i64,
    /// Waits for a message at this queue offset or later.
    offset: i64,
    filter: ExpressionFilter,
    /// Messages that came and were not wanted.
    unwanted: u32,
    request: ParkedRequest,
}

impl PullHold {
    /// Nothing parked. The waker belongs to the [`PullExpiry`] service.
    pub fn new(waker: Waker) -> Self {
        Self {
            count: AtomicUsize::new(0),
            parked: Mutex::default(),
            waker,
        }
    }

    /// Parks a pull until a message at or after `offset` arrives, or `deadline_ms` (wall time) passes. One too many,
    /// or one whose connection closes, is resumed at once.
    ///
    /// A message may have arrived since the pull looked: call [`Self::recheck`] afterwards with the queue's end.
    pub fn park(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
        filter: ExpressionFilter,
        deadline_ms: i64,
        request: ParkedRequest,
    ) {
        // Counted before the lock is taken: an arrival that still sees zero came before the recheck, which will see it.
        if self.count.fetch_add(1, Ordering::SeqCst) >= MAX_PARKED_PULLS {
            self.count.fetch_sub(1, Ordering::SeqCst);
            request.resume();
            return;
        }
        let connection = Arc::clone(request.connection());
        let waiting = Waiting {
            id: 0,
            deadline_ms,
            offset,
            filter,
            unwanted: 0,
            request,
        };
        let mut parked = self.parked();
        if !parked.has_room(connection.id()) {
            drop(parked);
            self.resume(vec![waiting]);
            return;
        }
        let is_next = parked.insert(topic, queue_id, waiting);
        drop(parked);
        if is_next {
            self.waker.wake();
        }
        // It may have closed before it had anything parked here to forget.
        if !connection.is_open() {
            let left = self.parked().take_of_connection(connection.id());
            self.resume(left);
        }
    }

    /// Resumes the pulls of a queue that wait for an offset below its end.
    pub fn recheck(&self, topic: &str, queue_id: i32, max_offset: i64) {
        self.resume_where(topic, queue_id, |waiting| waiting.offset < max_offset);
    }

    /// Resumes the pulls whose time is up. Returns when the next one's is, if any is parked.
    pub fn expire(&self, now_ms: i64) -> Option<i64> {
        let mut due = Vec::new();
        let next = {
            let mut parked = self.parked();
            while let Some((&(deadline_ms, id), (topic, queue_id))) = parked.deadlines.first_key_value()
                && deadline_ms <= now_ms
            {
                let (topic, queue_id) = (Arc::clone(topic), *queue_id);
                // Whatever is found there: this deadline is done with.
                parked.deadlines.remove(&(deadline_ms, id));
                parked.take(&topic, queue_id, |waiting| waiting.id == id, &mut due);
            }
            parked
                .deadlines
                .first_key_value()
                .map(|((deadline_ms, _), _)| *deadline_ms)
        };
        self.resume(due);
        next
    }

    /// Resumes everything: the broker stops.
    pub fn resume_all(&self) {
        self.expire(i64::MAX);
    }

    /// Forgets the pulls of a closed connection.
    pub fn connection_closed(&self, connection: &Arc<Connection>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let gone = self.parked().take_of_connection(connection.id());
        self.count.fetch_sub(gone.len(), Ordering::SeqCst);
        gone.into_iter().for_each(|waiting| waiting.request.withdraw());
    }

    /// How many pulls are parked.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn resume_where(&self, topic: &str, queue_id: i32, wanted: impl Fn(&mut Waiting) -> bool) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut due = Vec::new();
        self.parked().take(topic, queue_id, wanted, &mut due);
        self.resume(due);
    }

    fn resume(&self, due: Vec<Waiting>) {
        self.count.fetch_sub(due.len(), Ordering::SeqCst);
        due.into_iter().for_each(|waiting| waiting.request.resume());
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Parked> {
        self.parked
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl ArrivalListener for PullHold {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if is_planted(PlantedBug::ForgetParkedPull) {
            return;
        }
        let offset = i64::try_from(arrival.queue_offset.0).unwrap_or(i64::MAX);
        self.resume_where(arrival.topic, arrival.queue_id, |waiting| {
            if waiting.offset > offset || waiting.filter.accepts(arrival) {
                return waiting.offset <= offset;
            }
            waiting.unwanted += 1;
            waiting.unwanted >= MAX_UNWANTED
        });
    }

    fn is_awaited(&self) -> bool {
        !self.is_empty()
    }
}

impl Parked {
    fn has_room(&self, connection_id: u64) -> bool {
        let of_connection = self.connections.get(&connection_id);
        of_connection.is_none_or(|of_connection| of_connection.len() < MAX_PARKED_PULLS_PER_CONNECTION)
    }

    /// Adds a pull; true if its deadline is the next one.
    fn insert(&mut self, topic: &str, queue_id: i32, mut waiting: Waiting) -> bool {
        self.last_id += 1;
        waiting.id = self.last_id;
        let deadline = (waiting.deadline_ms, waiting.id);
        let connection_id = waiting.request.connection().id();
        self.connections
            .entry(connection_id)
            .or_default()
            .insert(deadline);
        self.deadlines.insert(deadline, (Arc::from(topic), queue_id));
        let queues = match self.queues.get_mut(topic) {
            Some(queues) => queues,
            None => self.queues.entry(topic.to_owned()).or_default(),
        };
        queues.entry(queue_id).or_default().push(waiting);
        let next = self.deadlines.first_key_value();
        next.is_some_and(|(next, _)| *next == deadline)
    }

    /// Moves the pulls of a queue that `wanted` picks into `taken`.
    fn take(
        &mut self,
        topic: &str,
        queue_id: i32,
        wanted: impl Fn(&mut Waiting) -> bool,
        taken: &mut Vec<Waiting>,
    ) {
        let Some(queues) = self.queues.get_mut(topic) else {
            return;
        };
        let Some(waiting) = queues.get_mut(&queue_id) else {
            return;
        };
        let first_taken = taken.len();
        taken.extend(waiting.extract_if(.., |waiting| wanted(waiting)));
        if waiting.is_empty() {
            queues.remove(&queue_id);
        }
        if queues.is_empty() {
            self.queues.remove(topic);
        }
        for waiting in &taken[first_taken..] {
            self.forget_deadline(waiting);
        }
    }

    /// Takes all pulls that came over a connection.
    fn take_of_connection(&mut self, connection_id: u64) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let deadlines = self.connections.get(&connection_id).cloned().unwrap_or_default();
        for deadline in deadlines {
            let Some((topic, queue_id)) = self.deadlines.get(&deadline).cloned() else {
                continue;
            };
            self.take(&topic, queue_id, |waiting| waiting.id == deadline.1, &mut taken);
        }
        taken
    }

    fn forget_deadline(&mut self, waiting: &Waiting) {
        let deadline = (waiting.deadline_ms, waiting.id);
        self.deadlines.remove(&deadline);
        let connection_id = waiting.request.connection().id();
        if let Some(of_connection) = self.connections.get_mut(&connection_id) {
            of_connection.remove(&deadline);
            if of_connection.is_empty() {
                self.connections.remove(&connection_id);
            }
        }
    }
}

/// Resumes parked pulls on time.
#[derive(Debug)]
pub struct PullExpiry {
    hold: Arc<PullHold>,
    clock: Arc<dyn Clock>,
    next_ms: Option<i64>,
    /// Wall time less monotonic time, at the last tick.
    wall_ahead_ms: Option<i64>,
}

impl PullExpiry {
    /// The expiry of `hold`; `clock` is the one that deadlines are made from.
    pub fn new(hold: Arc<PullHold>, clock: Arc<dyn Clock>) -> Self {
        Self {
            hold,
            clock,
            next_ms: None,
            wall_ahead_ms: None,
        }
    }

    /// Whether the wall clock was set back since the last tick: deadlines would then be hours away.
    fn clock_was_set_back(&mut self, now: Now) -> bool {
        let monotonic_ms = i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX);
        let wall_ahead_ms = now.wall_ms.saturating_sub(monotonic_ms);
        let before = self.wall_ahead_ms.replace(wall_ahead_ms);
        before.is_some_and(|before| wall_ahead_ms < before - CLOCK_TOLERANCE_MS)
    }
}

impl Service for PullExpiry {
    const NAME: &'static str = "pull-hold";

    fn interval(&self) -> Duration {
        let Some(next_ms) = self.next_ms else {
            return IDLE;
        };
        let left_ms = next_ms.saturating_sub(self.clock.wall_ms()).max(1);
        IDLE.min(Duration::from_millis(u64::try_from(left_ms).unwrap_or(1)))
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        if stopping || self.clock_was_set_back(now) {
            self.hold.resume_all();
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
    use remoting::request::Call;
    use store::QueueOffset;

    use super::*;
    use crate::filter::tags;

    fn hold() -> PullHold {
        PullHold::new(Waker::new())
    }

    fn connection() -> Arc<Connection> {
        Connection::detached("127.0.0.1:9".parse().unwrap())
    }

    fn request(connection: &Arc<Connection>) -> ParkedRequest {
        let header = br#"{"code":11,"flag":0,"language":"JAVA","opaque":1,"version":513}"#;
        let mut bytes = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(header);
        let frame = Frame::decode(Bytes::from(bytes)).unwrap();
        Call::new(frame, Arc::clone(connection)).park()
    }

    fn arrive(hold: &PullHold, topic: &str, queue_id: i32, offset: u64, tag: Option<&str>) {
        hold.arrived(&Arrival {
            topic,
            queue_id,
            queue_offset: QueueOffset(offset),
            tags_code: tags_code(tag),
            store_timestamp_ms: 0,
            properties: "",
        });
    }

    fn resumed(connection: &Arc<Connection>) -> usize {
        let calls = connection.take_resumed();
        assert!(calls.iter().all(|call| call.resumed));
        calls.len()
    }

    fn all() -> ExpressionFilter {
        by_tags("*")
    }

    fn by_tags(expression: &str) -> ExpressionFilter {
        ExpressionFilter::of_tags(&tags::build("t", expression))
    }

    #[test]
    fn a_message_of_the_queue_resumes_the_pull_and_no_other_does() {
        let (hold, connection) = (hold(), connection());
        hold.park("t", 1, 5, all(), 1_000, request(&connection));
        arrive(&hold, "t", 0, 5, None);
        arrive(&hold, "u", 1, 5, None);
        arrive(&hold, "t", 1, 4, None);
        assert_eq!(resumed(&connection), 0);
        arrive(&hold, "t", 1, 5, None);
        assert_eq!((resumed(&connection), hold.len()), (1, 0));
        arrive(&hold, "t", 1, 6, None);
        assert_eq!(hold.expire(i64::MAX), None);
        assert_eq!(resumed(&connection), 0, "resumed once");
    }

    #[test]
    fn a_pull_sleeps_through_messages_it_does_not_want() {
        let (hold, connection) = (hold(), connection());
        hold.park("t", 0, 0, by_tags("A"), 1_000, request(&connection));
        arrive(&hold, "t", 0, 0, Some("B"));
        assert_eq!(resumed(&connection), 0);
        arrive(&hold, "t", 0, 1, Some("A"));
        assert_eq!(resumed(&connection), 1);
    }

    #[test]
    fn an_arrival_before_parking_is_caught_by_the_recheck() {
        let (hold, connection) = (hold(), connection());
        arrive(&hold, "t", 0, 0, None);
        hold.park("t", 0, 0, all(), 1_000, request(&connection));
        hold.recheck("t", 0, 1);
        assert_eq!(resumed(&connection), 1);
    }

    #[test]
    fn pulls_expire_in_the_order_of_their_deadlines() {
        let (hold, connection) = (hold(), connection());
        hold.park("t", 0, 0, all(), 300, request(&connection));
        hold.park("t", 1, 0, all(), 100, request(&connection));
        hold.park("t", 2, 0, all(), 100, request(&connection));
        assert_eq!(hold.expire(99), Some(100));
        assert_eq!(hold.expire(100), Some(300));
        assert_eq!(resumed(&connection), 2);
        hold.resume_all();
        assert_eq!((resumed(&connection), hold.is_empty()), (1, true));
    }

    #[test]
    fn a_closed_connection_takes_its_pulls_with_it() {
        let hold = hold();
        let (closed, other) = (connection(), connection());
        hold.park("t", 0, 0, all(), 100, request(&closed));
        hold.park("t", 0, 0, all(), 100, request(&other));
        hold.connection_closed(&closed);
        assert_eq!(hold.len(), 1);
        arrive(&hold, "t", 0, 0, None);
        assert_eq!((resumed(&closed), resumed(&other)), (0, 1));
    }

    #[test]
    fn a_connection_that_parks_too_many_gets_the_next_back_at_once() {
        let (hold, greedy, other) = (hold(), connection(), connection());
        for queue_id in 0..i32::try_from(MAX_PARKED_PULLS_PER_CONNECTION).unwrap() {
            hold.park("t", queue_id, 0, all(), 100, request(&greedy));
        }
        assert_eq!(resumed(&greedy), 0);
        hold.park("u", 0, 0, all(), 100, request(&greedy));
        hold.park("u", 0, 0, all(), 100, request(&other));
        assert_eq!((resumed(&greedy), resumed(&other)), (1, 0));

        hold.connection_closed(&greedy);
        assert_eq!(hold.len(), 1, "only the other's pull is left");
        assert_eq!(hold.expire(100), None);
        assert_eq!(resumed(&other), 1);
    }

    #[test]
    fn a_pull_of_a_connection_that_has_just_closed_is_not_kept() {
        let (hold, connection) = (hold(), connection());
        let request = request(&connection);
        connection.close();
        hold.connection_closed(&connection);
        hold.park("t", 0, 0, all(), i64::MAX, request);
        assert!(hold.is_empty());
    }

    #[test]
    fn a_pull_is_resumed_behind_many_messages_it_does_not_want() {
        let (hold, connection) = (hold(), connection());
        hold.park("t", 0, 0, by_tags("A"), 1_000, request(&connection));
        for offset in 0..u64::from(MAX_UNWANTED) - 1 {
            arrive(&hold, "t", 0, offset, Some("B"));
        }
        assert_eq!(resumed(&connection), 0);
        arrive(&hold, "t", 0, u64::from(MAX_UNWANTED), Some("B"));
        assert_eq!(resumed(&connection), 1);
    }

    #[test]
    fn a_clock_set_back_does_not_keep_pulls_waiting() {
        let clock = Arc::new(common::clock::ManualClock::new(10_000_000));
        let hold = Arc::new(hold());
        let connection = connection();
        let mut expiry = PullExpiry::new(Arc::clone(&hold), clock.clone());
        hold.park("t", 0, 0, all(), 10_015_000, request(&connection));
        expiry.tick(clock.now(), false).unwrap();
        clock.advance(Duration::from_secs(5));
        expiry.tick(clock.now(), false).unwrap();
        assert_eq!(resumed(&connection), 0);

        clock.set_wall_ms(1_000);
        expiry.tick(clock.now(), false).unwrap();
        assert_eq!((resumed(&connection), hold.len()), (1, 0));
    }
}
