//! Parked pulls: long polling.
//!
//! ```text
//!   PULL finds nothing ──> park ──┬── a message arrives that its filter accepts ──┐
//!                                 ├── its time is up                              ├──> resume: the pull is handled again,
//!                                 └── the broker stops                            ┘    and must answer this time
//! ```
//!
//! The hold knows neither store nor broker: it is told of arrivals.
//! Reference: `PullRequestHoldService`, which looks at all parked pulls every 5 s instead of waiting for the next deadline.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use common::planted_bug::{PlantedBug, is_planted};
use remoting::request::ParkedRequest;
use store::{Arrival, ArrivalListener};

use super::parked::{Expiry, Hold, Kind, Parked, forget_in};
use crate::filter::expression::ExpressionFilter;

/// Pulls parked at a time; one more is answered at once with "nothing found".
pub const MAX_PARKED_PULLS: usize = 1_000_000;
/// Pulls parked at a time over one connection: one per queue it reads is all a client needs.
pub const MAX_PARKED_PULLS_PER_CONNECTION: usize = 16_384;
/// Messages a parked pull does not want, after which it is resumed all the same: its client then goes on behind them,
/// rather than read past all of them when one comes that it wants. A pull looks at so many entries at a time.
const MAX_UNWANTED: u32 = 800;

/// The parked pulls.
pub type PullHold = Hold<Pulls>;

/// Resumes parked pulls on time.
pub type PullExpiry = Expiry<Pulls>;

/// Parked pulls by topic and queue.
#[derive(Debug, Default)]
pub struct Pulls {
    topics: HashMap<Arc<str>, HashMap<i32, BTreeSet<u64>>>,
}

/// What a pull waits for.
#[derive(Debug)]
pub struct Pull {
    topic: Arc<str>,
    queue_id: i32,
    /// Waits for a message at this queue offset or later.
    offset: i64,
    filter: ExpressionFilter,
    /// Messages that came and were not wanted.
    unwanted: u32,
}

impl Kind for Pulls {
    type Waits = Pull;
    const EXPIRY: &'static str = "pull-hold";

    fn add(&mut self, id: u64, pull: &Pull) {
        let queues = self.topics.entry(Arc::clone(&pull.topic)).or_default();
        queues.entry(pull.queue_id).or_default().insert(id);
    }

    fn forget(&mut self, id: u64, pull: &Pull) {
        if let Some(queues) = self.topics.get_mut(&pull.topic) {
            forget_in(queues, &pull.queue_id, id);
            if queues.is_empty() {
                self.topics.remove(&pull.topic);
            }
        }
    }
}

impl PullHold {
    /// Parks a pull until a message at or after `offset` arrives, or `deadline_ms` (wall time) passes. One too many,
    /// or one that comes when the broker stops, is resumed at once.
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
        let connection = Arc::clone(request.connection());
        let pull = Pull {
            topic: Arc::from(topic),
            queue_id,
            offset,
            filter,
            unwanted: 0,
        };
        let has_room = |parked: &Parked<Pulls>| {
            parked.waiting.len() < MAX_PARKED_PULLS
                && parked.of_connection(connection.id()) < MAX_PARKED_PULLS_PER_CONNECTION
        };
        let held = self.hold(pull, deadline_ms, &connection, has_room, move || request);
        if let Err(request) = held {
            request().resume();
        }
    }

    /// Resumes the pulls of a queue that wait for an offset below its end.
    pub fn recheck(&self, topic: &str, queue_id: i32, max_offset: i64) {
        self.resume_where(topic, queue_id, |pull| pull.offset < max_offset);
    }

    fn resume_where(&self, topic: &str, queue_id: i32, wakes: impl Fn(&mut Pull) -> bool) {
        self.resume(|parked| {
            let queues = parked.index.topics.get(topic);
            let Some(ids) = queues.and_then(|queues| queues.get(&queue_id)) else {
                return Vec::new();
            };
            let waiting = &mut parked.waiting;
            let mut is_woken = |id: &u64| {
                waiting
                    .get_mut(id)
                    .is_some_and(|waiting| wakes(&mut waiting.waits))
            };
            let woken: Vec<u64> = ids.iter().copied().filter(|id| is_woken(id)).collect();
            parked.take_all(woken)
        });
    }
}

impl ArrivalListener for PullHold {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if is_planted(PlantedBug::ForgetParkedPull) {
            return;
        }
        let offset = i64::try_from(arrival.queue_offset.0).unwrap_or(i64::MAX);
        self.resume_where(arrival.topic, arrival.queue_id, |pull| {
            if pull.offset > offset || pull.filter.accepts(arrival) {
                return pull.offset <= offset;
            }
            pull.unwanted += 1;
            pull.unwanted >= MAX_UNWANTED
        });
    }

    fn is_awaited(&self) -> bool {
        !self.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use common::clock::Clock as _;
    use common::message::tags_code::tags_code;
    use common::service::{Service as _, Waker};
    use remoting::connection::Connection;
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
        ExpressionFilter::of_tags(&tags::build("t", expression).unwrap())
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
