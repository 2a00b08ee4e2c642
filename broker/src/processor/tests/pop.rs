//! POP_MESSAGE, ACK_MESSAGE, CHANGE_MESSAGE_INVISIBLETIME and what comes back of it.

use std::borrow::Cow;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use common::message::properties::name;
use remoting::body::{BatchAck, BatchAckMessageRequestBody, TopicConfig};
use remoting::header::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, NotificationRequestHeader,
    PeekMessageRequestHeader, PollingInfoRequestHeader, PopMessageRequestHeader,
};
use store::{Message, QueueOffset};

use super::*;
use crate::pop::handle::{PopHandle, topic_of_digit};
use crate::registry::persist::Table as _;
use crate::services::BrokerTicks;

const INVISIBLE_MS: i64 = 60_000;

fn pop_header<'a>(group: &'a str, topic: &'a str) -> PopMessageRequestHeader<'a> {
    PopMessageRequestHeader {
        consumer_group: Cow::Borrowed(group),
        topic: Cow::Borrowed(topic),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: INVISIBLE_MS,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        exp_type: None,
        exp: None,
        order: false,
        attempt_id: None,
    }
}

fn pop_request(header: &PopMessageRequestHeader<'_>) -> OutgoingRequest {
    OutgoingRequest::new(request_code::POP_MESSAGE).header(header)
}

/// A message a pop brought, with what its client would make of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Popped {
    body: String,
    topic: String,
    reconsume_times: i32,
    queue_id: i32,
    offset: i64,
    handle: String,
    properties: BTreeMap<String, String>,
}

impl TestClient {
    fn pop(&self, header: &PopMessageRequestHeader<'_>) -> Vec<Popped> {
        let answer = self.call(pop_request(header));
        assert!(
            matches!(
                answer.code,
                response_code::SUCCESS | response_code::POLLING_TIMEOUT
            ),
            "{answer:?}"
        );
        popped(&answer, &header.consumer_group)
    }

    pub(super) fn pop_all(&self, group: &str, topic: &str) -> Vec<Popped> {
        self.pop(&pop_header(group, topic))
    }

    fn ack(&self, group: &str, message: &Popped) -> Answer {
        self.call(OutgoingRequest::new(request_code::ACK_MESSAGE).header(&ack_header(group, message)))
    }

    pub(super) fn must_ack(&self, group: &str, message: &Popped) {
        let answer = self.ack(group, message);
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    }

    fn change_invisible(&self, group: &str, message: &Popped, invisible_time: i64) -> Answer {
        let header = ChangeInvisibleTimeRequestHeader {
            consumer_group: Cow::Borrowed(group),
            topic: Cow::Owned(real_topic(group, message)),
            queue_id: message.queue_id,
            extra_info: Cow::Borrowed(&message.handle),
            offset: message.offset,
            invisible_time,
            lite_topic: None,
            suspend: false,
        };
        self.call(OutgoingRequest::new(request_code::CHANGE_MESSAGE_INVISIBLETIME).header(&header))
    }
}

fn ack_header<'a>(group: &'a str, message: &'a Popped) -> AckMessageRequestHeader<'a> {
    AckMessageRequestHeader {
        consumer_group: Cow::Borrowed(group),
        topic: Cow::Owned(real_topic(group, message)),
        queue_id: message.queue_id,
        extra_info: Cow::Borrowed(&message.handle),
        offset: message.offset,
        lite_topic: None,
    }
}

fn real_topic(group: &str, message: &Popped) -> String {
    match PopHandle::parse(&message.handle) {
        Ok(handle) => topic_of_digit(&handle.retry.to_string(), &message.topic, group).expect("a digit"),
        Err(_) => message.topic.clone(),
    }
}

/// What the Java client makes of an answer: the handle from the record, or from the lists.
fn popped(answer: &Answer, _group: &str) -> Vec<Popped> {
    let starts: BTreeMap<(String, String), i64> = answer
        .field("startOffsetInfo")
        .split(';')
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let fields: Vec<&str> = entry.split(' ').collect();
            let key = (fields[0].to_owned(), fields[1].to_owned());
            (key, fields[2].parse().expect("a start offset"))
        })
        .collect();
    answer
        .records()
        .iter()
        .map(|record| {
            let handle = record.property(name::POP_CK).map_or_else(
                || {
                    let queue = record.queue_id.to_string();
                    let handle = PopHandle {
                        start_offset: starts[&("0".to_owned(), queue)],
                        pop_time_ms: answer.number("popTime"),
                        invisible_time_ms: answer.number("invisibleTime"),
                        revive_queue_id: answer.number("reviveQid") as i32,
                        retry: '0',
                        broker_name: "broker-a",
                        queue_id: record.queue_id,
                        queue_offset: record.queue_offset.to_wire(),
                    };
                    handle.to_string()
                },
                str::to_owned,
            );
            Popped {
                body: String::from_utf8_lossy(record.body).into_owned(),
                topic: record.topic.to_owned(),
                reconsume_times: record.reconsume_times,
                queue_id: record.queue_id,
                offset: record.queue_offset.to_wire(),
                handle,
                properties: properties_of(record),
            }
        })
        .collect()
}

fn bodies(popped: &[Popped]) -> Vec<&str> {
    let mut bodies: Vec<&str> = popped.iter().map(|message| message.body.as_str()).collect();
    bodies.sort_unstable();
    bodies
}

/// A broker whose time is turned by hand: its timer delivers, its revive decides. It may die and come back.
struct Revival {
    broker: TestBroker,
    ticks: BrokerTicks,
}

impl Revival {
    fn new(settings: &[(&str, &str)]) -> Self {
        Self::of(TestBroker::configured(settings).with_topic("Orders"))
    }

    fn of(broker: TestBroker) -> Self {
        Revival {
            ticks: BrokerTicks::of(&broker.broker).expect("services"),
            broker,
        }
    }

    fn send(&self, bodies: &[&str]) {
        for body in bodies {
            self.broker.client().must_send("Orders", &[], body.as_bytes());
        }
        self.broker.settle();
    }

    /// A message of each priority, in the queue of that number, whose body says it.
    fn send_priorities(&self, priorities: &[i32]) {
        for &queue_id in priorities {
            let header = SendMessageRequestHeader {
                queue_id,
                ..send_header("Prio", "")
            };
            let answer = self.broker.client().send(header, queue_id.to_string().as_bytes());
            assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        }
        self.broker.settle();
    }

    /// Lets time pass by tenths of a second; what is due by then is delivered and decided.
    fn pass(&mut self, ms: i64) {
        for _ in 0..ms / 100 {
            self.broker.clock.advance(Duration::from_millis(100));
            self.settle();
            tick(&mut self.ticks.reviver, &self.broker.clock);
        }
        self.broker.settle();
    }

    /// Dispatches and lets the timer work until nothing is left to do at this time.
    fn settle(&mut self) {
        loop {
            self.broker.settle();
            let timer = self.ticks.timer.as_mut().expect("the timer is on");
            let more = timer.tick(self.broker.clock.now(), false).expect("a tick") == Next::Again;
            let store = &self.broker.broker.store;
            if !more && store.dispatched() == store.log_range().end {
                return;
            }
        }
    }

    /// Dies, as by kill -9, and comes back on its directory.
    fn crash(self) -> Self {
        drop(self.ticks);
        let broker = self.broker.crash_and_restart().with_topic("Orders");
        broker.settle();
        Self::of(broker)
    }

    /// What a power failure may do to what was not flushed: this part of the log is lost, what is behind it is not.
    fn lose(&self, range: std::ops::Range<u64>) {
        let directory = self.broker._directory.path();
        let mut file = std::fs::File::options()
            .write(true)
            .open(directory.join("commitlog/00000000000000000000"))
            .expect("the log's first file");
        file.seek(SeekFrom::Start(range.start)).expect("a file");
        file.write_all(&vec![0; (range.end - range.start) as usize])
            .expect("a write");
    }

    /// Writes the offsets, as is done every few seconds.
    fn persist(&self) {
        self.broker.broker.consumer_offsets.flush().expect("a write");
    }
}

#[test]
fn a_pop_hands_out_each_message_once() {
    let revival = Revival::new(&[]);
    revival.send(&["a", "b", "c"]);
    let client = revival.broker.client();
    let two = PopMessageRequestHeader {
        max_msg_nums: 2,
        ..pop_header("g", "Orders")
    };
    assert_eq!(bodies(&client.pop(&two)), ["a", "b"]);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["c"]);
    assert!(client.pop_all("g", "Orders").is_empty());
    assert_eq!(bodies(&client.pop_all("other", "Orders")), ["a", "b", "c"]);
}

#[test]
fn the_answer_tells_what_the_client_makes_its_handles_from() {
    let revival = Revival::new(&[]);
    revival.send(&["a", "b", "c"]);
    let header = PopMessageRequestHeader {
        queue_id: 0,
        max_msg_nums: 2,
        ..pop_header("g", "Orders")
    };
    let answer = revival.broker.client().call(pop_request(&header));
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "FOUND")
    );
    assert_eq!(answer.field("startOffsetInfo"), "0 0 0");
    assert_eq!(answer.field("msgOffsetInfo"), "0 0 0,1");
    assert!(!answer.fields.contains_key("orderCountInfo"));
    assert_eq!(answer.number("popTime"), NOW_MS);
    assert_eq!(answer.number("invisibleTime"), INVISIBLE_MS);
    assert_eq!(answer.number("restNum"), 1);
    assert!((0..8).contains(&answer.number("reviveQid")));
}

#[test]
fn what_is_not_acknowledged_comes_back_and_what_is_never_does() {
    for settings in [&[][..], &[("enableRetryTopicV2", "true")]] {
        let mut revival = Revival::new(settings);
        revival.send(&["acked", "not acked"]);
        let client = revival.broker.client();
        let first = client.pop_all("g", "Orders");
        client.must_ack(
            "g",
            first.iter().find(|message| message.body == "acked").expect("it"),
        );

        revival.pass(INVISIBLE_MS);
        assert!(client.pop_all("g", "Orders").is_empty(), "not before its time");
        revival.pass(4_000);
        let again = client.pop_all("g", "Orders");
        assert_eq!(bodies(&again), ["not acked"]);
        let message = &again[0];
        assert_eq!((message.topic.as_str(), message.reconsume_times), ("Orders", 1));
        assert_eq!(message.properties["1ST_POP_TIME"], NOW_MS.to_string());
        assert_eq!(message.properties["ORIGIN_GROUP"], "g");

        client.must_ack("g", message);
        revival.pass(INVISIBLE_MS + 10_000);
        assert!(
            client.pop_all("g", "Orders").is_empty(),
            "acknowledged in the retry topic"
        );
    }
}

#[test]
fn a_message_that_is_never_acknowledged_is_counted_each_time() {
    let mut revival = Revival::new(&[]);
    revival.send(&["poison"]);
    let client = revival.broker.client();
    for times in 0..4 {
        let popped = client.pop_all("g", "Orders");
        assert_eq!(popped.len(), 1, "delivery {times}");
        assert_eq!(popped[0].reconsume_times, times);
        if times > 0 {
            assert_eq!(popped[0].properties["1ST_POP_TIME"], NOW_MS.to_string());
        }
        revival.pass(INVISIBLE_MS + 5_000);
    }
}

#[test]
fn a_late_ack_counts_while_the_message_is_still_away() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    revival.pass(INVISIBLE_MS + 500);
    client.must_ack("g", &popped[0]);
    revival.pass(10_000);
    assert!(client.pop_all("g", "Orders").is_empty());
}

#[test]
fn many_acks_in_one_request_are_taken_together() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a", "b", "c"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    let handle = PopHandle::parse(&popped[0].handle).expect("a handle");
    let body = BatchAckMessageRequestBody {
        acks: vec![BatchAck {
            bit_set: [0, 2, 900].into_iter().collect(),
            consumer_group: "g".to_owned(),
            invisible_time_ms: handle.invisible_time_ms,
            pop_time_ms: handle.pop_time_ms,
            queue_id: 0,
            retry: "0".to_owned(),
            revive_queue_id: handle.revive_queue_id,
            start_offset: handle.start_offset,
            topic: "Orders".to_owned(),
        }],
        broker_name: "broker-a".to_owned(),
    };
    let body = remoting::body::fastjson::to_vec(&body).expect("a body");
    let request = OutgoingRequest::new(request_code::BATCH_ACK_MESSAGE);
    assert_eq!(
        client.call(request.clone().body(body)).code,
        response_code::SUCCESS
    );
    assert_eq!(client.call(request).code, response_code::NO_MESSAGE);
    revival.pass(INVISIBLE_MS + 5_000);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["b"]);
}

#[test]
fn a_changed_invisible_time_counts_from_the_change() {
    let mut revival = Revival::new(&[]);
    revival.send(&["longer", "shorter"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    let of = |body: &str| {
        popped
            .iter()
            .find(|message| message.body == body)
            .expect("it")
            .clone()
    };
    let answer = client.change_invisible("g", &of("longer"), 100_000);
    assert_eq!(answer.code, response_code::SUCCESS);
    assert_eq!(
        (answer.number("popTime"), answer.number("invisibleTime")),
        (NOW_MS + 1, 100_000),
        "popped again, a moment later"
    );
    client.change_invisible("g", &of("shorter"), 10_000);

    revival.pass(15_000);
    let again = client.pop_all("g", "Orders");
    assert_eq!(bodies(&again), ["shorter"]);
    client.must_ack("g", &again[0]);
    revival.pass(INVISIBLE_MS);
    assert!(client.pop_all("g", "Orders").is_empty(), "the old time is void");
    revival.pass(30_000);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["longer"]);
}

#[test]
fn only_wanted_tags_are_handed_out_and_the_others_are_passed_over() {
    let revival = Revival::new(&[]);
    let producer = revival.broker.client();
    for (tags, body) in [("A", "a1"), ("B", "b"), ("A", "a2")] {
        producer.must_send("Orders", &[("TAGS", tags)], body.as_bytes());
    }
    revival.broker.settle();
    let header = PopMessageRequestHeader {
        exp: Some(Cow::Borrowed("A")),
        exp_type: Some(Cow::Borrowed("TAG")),
        ..pop_header("g", "Orders")
    };
    let client = revival.broker.client();
    let popped = client.pop(&header);
    assert_eq!(bodies(&popped), ["a1", "a2"]);
    assert!(popped.iter().all(|message| message.handle.starts_with("0 ")));
    assert!(client.pop_all("g", "Orders").is_empty());
}

#[test]
fn what_was_passed_over_is_on_the_disk_before_the_offset_behind_it() {
    let revival = Revival::new(&[]);
    revival.send(&["not wanted"]);
    let header = PopMessageRequestHeader {
        exp: Some(Cow::Borrowed("blue")),
        ..pop_header("g", "Orders")
    };
    assert!(revival.broker.client().pop(&header).is_empty());
    let broker = &revival.broker.broker;
    assert_eq!(broker.consumer_offsets.query("g", "Orders", 0), Some(1));
    let ends = || (broker.store.state().flushed, broker.store.state().commit_log_max);
    let (flushed, end) = ends();
    assert!(flushed < end);
    revival.persist();
    assert_eq!(ends(), (end, end));
}

#[test]
fn only_messages_whose_properties_are_wanted_are_handed_out() {
    // Whatever `enablePropertyFilter` says.
    let revival = Revival::new(&[]);
    let producer = revival.broker.client();
    for (price, body) in [("5", "cheap"), ("50", "dear")] {
        producer.must_send("Orders", &[("price", price)], body.as_bytes());
    }
    revival.broker.settle();
    let sql = |expression| PopMessageRequestHeader {
        exp: Some(Cow::Borrowed(expression)),
        exp_type: Some(Cow::Borrowed("SQL92")),
        ..pop_header("g", "Orders")
    };
    let client = revival.broker.client();
    assert_eq!(bodies(&client.pop(&sql("price > 10"))), ["dear"]);
    let answer = client.call(pop_request(&sql("price >")));
    assert_eq!(answer.code, response_code::SUBSCRIPTION_PARSE_FAILED);
    let bars = PopMessageRequestHeader {
        exp: Some(Cow::Borrowed("||")),
        ..pop_header("g", "Orders")
    };
    let answer = client.call(pop_request(&bars));
    assert_eq!(answer.code, response_code::SUBSCRIPTION_PARSE_FAILED);
}

fn priorities() -> TopicConfig {
    TopicConfig {
        attributes: [("message.type".to_owned(), "PRIORITY".to_owned())].into(),
        ..TopicConfig::new("Prio", 4)
    }
}

#[test]
fn in_a_topic_of_priorities_the_highest_come_first() {
    for (settings, first) in [(&[][..], "3"), (&[("priorityOrderAsc", "false")], "0")] {
        let revival = Revival::new(settings);
        revival.broker.broker.topics.put(priorities());
        revival.send_priorities(&[1, 3, 0, 2]);
        let header = PopMessageRequestHeader {
            max_msg_nums: 1,
            ..pop_header("g", "Prio")
        };
        assert_eq!(bodies(&revival.broker.client().pop(&header)), [first]);
    }
}

#[test]
fn a_group_starts_at_the_oldest_or_at_the_newest_message() {
    let newest = |settings: &[(&str, &str)]| {
        let revival = Revival::new(settings);
        revival.send(&["a", "b", "c"]);
        let header = PopMessageRequestHeader {
            init_mode: 1,
            ..pop_header("g", "Orders")
        };
        let popped = revival.broker.client().pop(&header);
        bodies(&popped).join("")
    };
    assert_eq!(newest(&[]), "abc", "all of them are in memory");
    assert_eq!(newest(&[("initPopOffsetByCheckMsgInMem", "false")]), "c");
}

#[test]
fn a_reset_by_an_operator_is_taken_by_the_next_pop() {
    let revival = Revival::new(&[]);
    revival.send(&["a", "b"]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 2);
    revival
        .broker
        .broker
        .consumer_offsets
        .assign_reset("g", "Orders", 0, 1);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["b"]);
    assert!(client.pop_all("g", "Orders").is_empty());
}

#[test]
fn a_pop_waits_for_a_message_and_for_one_that_comes_back() {
    let mut revival = Revival::new(&[]);
    let client = revival.broker.client();
    let waiting = PopMessageRequestHeader {
        poll_time: 15_000,
        ..pop_header("g", "Orders")
    };
    assert!(client.try_call(pop_request(&waiting)).is_none());
    revival.send(&["late"]);
    let answers = client.resumed_answers();
    assert_eq!(bodies(&popped(&answers[0], "g")), ["late"]);

    revival.pass(INVISIBLE_MS - 5_000);
    assert!(client.try_call(pop_request(&waiting)).is_none());
    revival.pass(10_000);
    let answers = client.resumed_answers();
    assert_eq!(bodies(&popped(&answers[0], "g")), ["late"]);
    assert_eq!(revival.broker.broker.pop_hold.len(), 0);
}

#[test]
fn a_pop_of_any_queue_leaves_no_message_for_which_another_pop_waits() {
    let revival = Revival::new(&[]);
    revival.broker.broker.topics.put(priorities());
    let (of_any, of_lowest) = (revival.broker.client(), revival.broker.client());
    let waiting = PopMessageRequestHeader {
        max_msg_nums: 1,
        poll_time: 15_000,
        ..pop_header("g", "Prio")
    };
    assert!(of_any.try_call(pop_request(&waiting)).is_none());
    let waiting = PopMessageRequestHeader {
        queue_id: 0,
        ..waiting
    };
    assert!(of_lowest.try_call(pop_request(&waiting)).is_none());
    // The first wakes who waits for any; the second comes before that one looks, and is what it takes.
    revival.send_priorities(&[0, 3]);
    assert_eq!(bodies(&popped(&of_any.resumed_answers()[0], "g")), ["3"]);
    let answers = of_lowest.resumed_answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(bodies(&popped(&answers[0], "g")), ["0"]);
}

#[test]
fn a_waiting_pop_that_comes_too_late_waits_on_and_is_answered_in_time() {
    let revival = Revival::new(&[]);
    let (first, second) = (revival.broker.client(), revival.broker.client());
    let waiting = PopMessageRequestHeader {
        poll_time: 10_000,
        born_time: NOW_MS,
        ..pop_header("g", "Orders")
    };
    assert!(first.try_call(pop_request(&waiting)).is_none());
    revival.send(&["a"]);
    assert_eq!(second.pop_all("g", "Orders").len(), 1);
    let calls = first.connection.take_resumed();
    assert_eq!(calls.len(), 1);
    let again = Answer::of(routes::handle(&revival.broker.broker, &calls[0]));
    assert!(again.is_none(), "it waits on: {again:?}");

    revival.broker.clock.advance(Duration::from_millis(9_950));
    revival.broker.broker.pop_hold.expire(NOW_MS + 9_950);
    let answers = first.resumed_answers();
    assert_eq!(
        (answers[0].code, answers[0].remark.as_str()),
        (response_code::POLLING_TIMEOUT, "NO_MESSAGE_IN_QUEUE")
    );
}

#[test]
fn a_woken_pop_whose_time_is_up_leaves_what_it_did_not_get_to_for_another_one() {
    let revival = Revival::new(&[("maxFilterMessageSize", "60")]);
    let (first, second) = (revival.broker.client(), revival.broker.client());
    let waiting = PopMessageRequestHeader {
        queue_id: 0,
        max_msg_nums: 1,
        poll_time: 10_000,
        born_time: NOW_MS,
        exp_type: Some(Cow::Borrowed("TAG")),
        exp: Some(Cow::Borrowed("red")),
        ..pop_header("g", "Orders")
    };
    assert!(first.try_call(pop_request(&waiting)).is_none());
    let waiting = PopMessageRequestHeader {
        poll_time: 20_000,
        ..waiting
    };
    assert!(second.try_call(pop_request(&waiting)).is_none());
    // A read looks at three messages, so that the first does not come as far as the one that woke it.
    for tag in ["blue", "blue", "blue", "blue", "red"] {
        first.must_send("Orders", &[(name::TAGS, tag)], tag.as_bytes());
    }
    revival.broker.settle();
    revival.broker.clock.advance(Duration::from_millis(10_100));
    assert_eq!(first.resumed_answers()[0].code, response_code::POLLING_TIMEOUT);
    let answers: Vec<Answer> = (0..3).flat_map(|_| second.resumed_answers()).collect();
    assert_eq!(bodies(&popped(&answers[0], "g")), ["red"]);
}

#[test]
fn too_many_waiting_pops_are_turned_away_and_counted() {
    let revival = Revival::new(&[("popPollingSize", "1")]);
    let client = revival.broker.client();
    let waiting = PopMessageRequestHeader {
        poll_time: 10_000,
        ..pop_header("g", "Orders")
    };
    assert!(client.try_call(pop_request(&waiting)).is_none());
    assert!(client.try_call(pop_request(&waiting)).is_none());
    assert_eq!(
        client.call(pop_request(&waiting)).code,
        response_code::POLLING_FULL
    );
    let header = PollingInfoRequestHeader {
        consumer_group: "g".to_owned(),
        topic: "Orders".to_owned(),
        queue_id: -1,
    };
    let info = client.call(OutgoingRequest::new(request_code::POLLING_INFO).header(&header));
    assert_eq!(info.number("pollingNum"), 2);
}

#[test]
fn bad_pops_are_refused_as_the_reference_does() {
    let revival = Revival::new(&[]);
    let client = revival.broker.client();
    let late = PopMessageRequestHeader {
        born_time: NOW_MS - 1_000,
        poll_time: 100,
        ..pop_header("g", "Orders")
    };
    let cases = [
        (late, response_code::POLLING_TIMEOUT, "timeout too much"),
        (
            PopMessageRequestHeader {
                max_msg_nums: 33,
                ..pop_header("g", "Orders")
            },
            response_code::INVALID_PARAMETER,
            "num is greater than 32",
        ),
        (
            pop_header("g", "Nowhere"),
            response_code::TOPIC_NOT_EXIST,
            "not exist, apply first please!",
        ),
        (
            PopMessageRequestHeader {
                queue_id: 4,
                ..pop_header("g", "Orders")
            },
            response_code::INVALID_PARAMETER,
            "queueId[4] is illegal",
        ),
        (
            PopMessageRequestHeader {
                invisible_time: i64::MAX,
                ..pop_header("g", "Orders")
            },
            response_code::INVALID_PARAMETER,
            "the limit is",
        ),
        (
            PopMessageRequestHeader {
                max_msg_nums: 0,
                ..pop_header("g", "Orders")
            },
            response_code::INVALID_PARAMETER,
            "at least one message",
        ),
    ];
    for (header, code, words) in cases {
        let answer = client.call(pop_request(&header));
        assert_eq!(answer.code, code, "{}", answer.remark);
        assert!(answer.remark.contains(words), "{}", answer.remark);
        if code == response_code::POLLING_TIMEOUT {
            // No failure to the client, which reads the header.
            assert_eq!((answer.number("popTime"), answer.number("restNum")), (0, 0));
        }
    }
}

#[test]
fn bad_acks_are_refused_and_write_nothing() {
    let revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders").remove(0);
    let end = revival.broker.broker.store.state().commit_log_max;
    let with_handle = |handle: &str| Popped {
        handle: handle.to_owned(),
        ..popped.clone()
    };
    let cases = [
        (
            Popped {
                offset: 2,
                ..popped.clone()
            },
            response_code::NO_MESSAGE,
            "offset is illegal, key:Orders@0, commit:2, store:0~1",
        ),
        (
            Popped {
                queue_id: 9,
                ..popped.clone()
            },
            response_code::MESSAGE_ILLEGAL,
            "queueId[9] is illegal",
        ),
        (
            with_handle("0 1 2 77 0 broker-a 0 0"),
            response_code::MESSAGE_ILLEGAL,
            "no revive queue 77",
        ),
        (
            with_handle("0 9999999999999 2 1 0 broker-a 0 0"),
            response_code::MESSAGE_ILLEGAL,
            "more than",
        ),
        (
            with_handle("0 x 2 1 0 broker-a 0 0"),
            response_code::SYSTEM_ERROR,
            "For input string: \"x\"",
        ),
    ];
    for (message, code, words) in cases {
        let answer = client.ack("g", &message);
        assert_eq!(answer.code, code, "{}", answer.remark);
        assert!(answer.remark.contains(words), "{}", answer.remark);
    }
    assert_eq!(revival.broker.broker.store.state().commit_log_max, end);
}

#[test]
fn an_ack_waits_for_the_disk_with_sync_flush() {
    let revival = Revival::new(&[("flushDiskType", "SYNC_FLUSH")]);
    let producer = revival.broker.client();
    assert!(
        producer
            .try_call(send_request(send_header("Orders", ""), b"a"))
            .is_none()
    );
    revival.broker.flush();
    revival.broker.settle();
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    let request = OutgoingRequest::new(request_code::ACK_MESSAGE).header(&ack_header("g", &popped[0]));
    assert!(client.try_call(request).is_none());
    revival.broker.flush();
    let answers = client.late_answers();
    assert_eq!(answers[0].code, response_code::SUCCESS);
}

/// An in-order pop of queue 0.
fn in_order<'a>(attempt_id: Option<&'a str>) -> PopMessageRequestHeader<'a> {
    PopMessageRequestHeader {
        queue_id: 0,
        max_msg_nums: 2,
        order: true,
        attempt_id: attempt_id.map(Cow::Borrowed),
        ..pop_header("g", "Orders")
    }
}

#[test]
fn in_order_the_next_messages_come_when_the_last_are_acknowledged() {
    let revival = Revival::new(&[]);
    revival.send(&["1", "2", "3"]);
    let client = revival.broker.client();
    let answer = client.call(pop_request(&in_order(None)));
    assert_eq!(answer.number("reviveQid"), 999);
    assert_eq!(answer.field("orderCountInfo"), "0 0 0");
    let first = popped(&answer, "g");
    assert_eq!(bodies(&first), ["1", "2"]);
    assert!(client.pop(&in_order(None)).is_empty(), "blocked");
    client.must_ack("g", &first[0]);
    assert!(client.pop(&in_order(None)).is_empty(), "still blocked");
    client.must_ack("g", &first[1]);
    assert_eq!(bodies(&client.pop(&in_order(None))), ["3"]);
}

#[test]
fn in_order_an_ack_lets_a_waiting_pop_in() {
    let revival = Revival::new(&[]);
    revival.send(&["1", "2", "3"]);
    let client = revival.broker.client();
    let first = client.pop(&in_order(None));
    let waiting = PopMessageRequestHeader {
        poll_time: 15_000,
        ..in_order(None)
    };
    assert!(client.try_call(pop_request(&waiting)).is_none());
    client.must_ack("g", &first[0]);
    assert!(client.connection.take_resumed().is_empty());
    client.must_ack("g", &first[1]);
    let answers = client.resumed_answers();
    assert_eq!(bodies(&popped(&answers[0], "g")), ["3"]);
}

#[test]
fn in_order_what_is_not_acknowledged_comes_again_first_and_is_counted() {
    let revival = Revival::new(&[]);
    revival.send(&["1", "2", "3"]);
    let client = revival.broker.client();
    let first = client.pop(&in_order(None));
    client.must_ack("g", &first[0]);
    let waiting = PopMessageRequestHeader {
        poll_time: 120_000,
        ..in_order(None)
    };
    assert!(client.try_call(pop_request(&waiting)).is_none());
    revival.broker.clock.advance(Duration::from_millis(60_000));
    revival.broker.broker.pop_hold.expire(NOW_MS + 60_000);
    let answers = client.resumed_answers();
    assert_eq!(bodies(&popped(&answers[0], "g")), ["2", "3"]);
    assert_eq!(answers[0].field("orderCountInfo"), "0 qo0%1 1;0 0 0");
}

#[test]
fn in_order_the_same_attempt_gets_the_same_messages() {
    let revival = Revival::new(&[]);
    revival.send(&["1", "2", "3"]);
    let client = revival.broker.client();
    assert_eq!(bodies(&client.pop(&in_order(Some("a1")))), ["1", "2"]);
    assert_eq!(bodies(&client.pop(&in_order(Some("a1")))), ["1", "2"]);
    assert!(client.pop(&in_order(Some("a2"))).is_empty());
}

#[test]
fn in_order_a_consumer_may_ask_for_its_messages_sooner_or_later() {
    let revival = Revival::new(&[]);
    revival.send(&["1"]);
    let client = revival.broker.client();
    let first = client.pop(&in_order(None));
    let answer = client.change_invisible("g", &first[0], 2_000);
    assert_eq!(answer.code, response_code::SUCCESS);
    assert_eq!(
        (
            answer.number("popTime"),
            answer.number("invisibleTime"),
            answer.number("reviveQid")
        ),
        (NOW_MS, 2_000, 999)
    );
    revival.broker.clock.advance(Duration::from_millis(1_999));
    assert!(client.pop(&in_order(None)).is_empty());
    revival.broker.clock.advance(Duration::from_millis(1));
    let again = client.pop(&in_order(None));
    assert_eq!(bodies(&again), ["1"]);
    client.must_ack("g", &again[0]);
    let stale = client.ack("g", &first[0]);
    assert_eq!(stale.code, response_code::SUCCESS, "behind the group's offset");
}

#[test]
fn a_queue_with_too_many_messages_in_flight_gives_none_until_some_are_done() {
    let threshold = [
        ("enablePopMessageThreshold", "true"),
        ("popInflightMessageThreshold", "1"),
    ];
    let revival = Revival::new(&threshold);
    revival.send(&["1", "2", "3", "4"]);
    let client = revival.broker.client();
    let two = PopMessageRequestHeader {
        queue_id: 0,
        max_msg_nums: 2,
        ..pop_header("g", "Orders")
    };
    let popped = client.pop(&two);
    assert_eq!(bodies(&popped), ["1", "2"]);
    assert!(client.pop(&two).is_empty(), "two are more than one");
    let waits = PopMessageRequestHeader {
        poll_time: 10_000,
        ..two.clone()
    };
    assert!(client.try_call(pop_request(&waits)).is_none());
    client.must_ack("g", &popped[0]);
    let answers = client.resumed_answers();
    assert_eq!(bodies(&super::pop::popped(&answers[0], "g")), ["3", "4"]);
    revival
        .broker
        .clock
        .advance(Duration::from_millis(INVISIBLE_MS.unsigned_abs()));
    revival.send(&["5"]);
    assert_eq!(bodies(&client.pop(&two)), ["5"], "their time is up");
}

#[test]
fn acks_and_checkpoints_are_counted_as_the_reference_counts_them() {
    let revival = Revival::new(&[]);
    revival.send(&["1", "2", "3"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    client.must_ack("g", &popped[0]);
    client.change_invisible("g", &popped[1], 1_000);
    let stats = &revival.broker.broker.stats;
    revival.broker.clock.advance(Duration::from_secs(10));
    let sum = |name: &str, key: &str| stats.view(name, key).map(|data| data.stats_minute.sum);
    assert_eq!(sum("GROUP_ACK_NUMS", "Orders@g"), Some(2));
    assert_eq!(sum("GROUP_CK_NUMS", "Orders@g"), Some(2));
    assert_eq!(sum("BROKER_ACK_NUMS", "DefaultCluster"), Some(2));
    assert_eq!(sum("BROKER_CK_NUMS", "DefaultCluster"), Some(2));
    assert_eq!(sum("GROUP_ACK_NUMS", "Orders@h"), None);
}

#[test]
fn in_order_an_answered_ack_survives_a_kill_and_the_rest_comes_in_its_time() {
    for writes_between in [false, true] {
        let revival = Revival::new(&[]);
        revival.send(&["1", "2", "3"]);
        let client = revival.broker.client();
        let batch = client.pop(&in_order(None));
        client.must_ack("g", &batch[0]);
        if writes_between {
            revival.broker.broker.order_info.flush().expect("a write");
        }
        drop(client);
        let revival = revival.crash();
        let client = revival.broker.client();
        assert!(client.pop(&in_order(None)).is_empty(), "one is invisible still");
        client.must_ack("g", &batch[1]);
        drop(client);
        let revival = revival.crash();
        let client = revival.broker.client();
        assert_eq!(bodies(&client.pop(&in_order(None))), ["3"]);
    }
}

#[test]
fn in_order_a_topic_made_anew_begins_anew() {
    for is_killed in [false, true] {
        let revival = Revival::new(&[]);
        revival.send(&["1", "2", "3"]);
        let client = revival.broker.client();
        let batch = client.pop(&in_order(None));
        client.must_ack("g", &batch[0]);
        let delete = OutgoingRequest::new(request_code::DELETE_TOPIC_IN_BROKER).field("topic", "Orders");
        assert_eq!(client.call(delete).code, response_code::SUCCESS);
        drop(client);
        let revival = if is_killed { revival.crash() } else { revival };
        revival.broker.broker.topics.put(TopicConfig::new("Orders", 4));
        revival.send(&["4", "5"]);
        let client = revival.broker.client();
        let batch = client.pop(&in_order(None));
        assert_eq!(bodies(&batch), ["4", "5"], "killed: {is_killed}");
    }
}

#[test]
fn a_peek_takes_nothing() {
    let revival = Revival::new(&[]);
    revival.send(&["a", "b"]);
    let client = revival.broker.client();
    let header = PeekMessageRequestHeader {
        topic: Cow::Borrowed("Orders"),
        queue_id: -1,
        max_msg_nums: 32,
        consumer_group: Cow::Borrowed("g"),
    };
    let peek = || client.call(OutgoingRequest::new(request_code::PEEK_MESSAGE).header(&header));
    for _ in 0..2 {
        let answer = peek();
        assert_eq!(
            (answer.code, answer.number("restNum")),
            (response_code::SUCCESS, 2)
        );
        assert_eq!(answer.bodies(), [b"a", b"b"]);
    }
    assert_eq!(client.pop_all("g", "Orders").len(), 2);
    let nothing = peek();
    assert_eq!(
        (nothing.code, nothing.remark.as_str()),
        (response_code::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
    );
}

/// As a pull is: told that there is nothing, it would believe it.
#[test]
fn a_pop_and_a_peek_of_a_queue_that_cannot_be_opened_are_refused() {
    let (broker, disk) = TestBroker::with_a_queue_in_its_file("Orders", &[b"a"]);
    let client = broker.client();
    let waiting = PopMessageRequestHeader {
        poll_time: 10_000,
        born_time: broker.clock.wall_ms(),
        ..pop_header("g", "Orders")
    };
    let peek = PeekMessageRequestHeader {
        topic: Cow::Borrowed("Orders"),
        queue_id: -1,
        max_msg_nums: 32,
        consumer_group: Cow::Borrowed("g"),
    };
    let peek = || client.call(OutgoingRequest::new(request_code::PEEK_MESSAGE).header(&peek));

    disk.set_faults(nothing_opens());
    for refused in [client.call(pop_request(&waiting)), peek()] {
        assert_eq!(refused.code, response_code::SYSTEM_ERROR, "{}", refused.remark);
    }
    disk.set_faults(Faults::default());
    assert_eq!(peek().bodies(), [b"a"]);
    assert_eq!(bodies(&client.pop(&waiting)), ["a"]);
}

/// Of what can be read nothing is held back.
#[test]
fn a_pop_brings_the_messages_of_the_other_queues_while_one_cannot_be_opened() {
    let (broker, disk) = TestBroker::with_a_queue_in_its_file("Orders", &[b"in its file"]);
    let header = SendMessageRequestHeader {
        queue_id: 1,
        ..send_header("Orders", "")
    };
    broker.client().send(header, b"in memory");
    broker.settle();

    disk.set_faults(nothing_opens());
    let popped = broker.client().pop_all("g", "Orders");
    assert_eq!(bodies(&popped), ["in memory"]);
    disk.set_faults(Faults::default());
    assert_eq!(bodies(&broker.client().pop_all("g", "Orders")), ["in its file"]);
}

/// What waits until everything that was put is filed must not wait for what was deleted before it was.
#[test]
fn popped_messages_come_back_when_a_timer_message_expired_before_it_was_filed() {
    let mut revival = Revival::new(&[("mappedFileSizeCommitLog", "8192")]);
    let client = revival.broker.client();
    let due_ms = (NOW_MS + 3_600_000).to_string();
    client.must_send("Orders", &[("TIMER_DELIVER_MS", &due_ms)], b"deleted");
    let end = revival.broker.broker.store.log_range().end;
    revival.send(&["x".repeat(5_000).as_str(), "y".repeat(5_000).as_str()]);
    let store = &revival.broker.broker.store;
    store.flush().expect("a flush");
    assert_eq!(store.delete_expired_files(true), 1);
    assert!(store.log_range().start >= end, "the timer message is gone");
    revival.send(&["a"]);
    let of_a = |messages: Vec<Popped>| messages.into_iter().any(|message| message.body == "a");
    let soon = PopMessageRequestHeader {
        invisible_time: 500,
        ..pop_header("g", "Orders")
    };
    assert!(of_a(client.pop(&soon)));
    revival.pass(4_000);
    assert!(of_a(client.pop_all("g", "Orders")), "it was not acknowledged");
}

#[test]
fn a_message_comes_back_when_a_power_failure_takes_the_checkpoint_that_took_over_and_leaves_the_ack() {
    for is_lost in [true, false] {
        let revival = Revival::new(&[]);
        revival.send(&["a"]);
        let client = revival.broker.client();
        let popped = client.pop_all("g", "Orders");
        revival.persist();
        let log_end = |revival: &Revival| revival.broker.broker.store.log_range().end;
        let checkpoint_at = log_end(&revival);
        let answer = client.change_invisible("g", &popped[0], 2 * INVISIBLE_MS);
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        drop(client);
        let checkpoint = revival.broker.broker.store.read_at(checkpoint_at);
        let checkpoint_end = checkpoint_at.0 + checkpoint.expect("the checkpoint").len() as u64;
        if is_lost {
            revival.lose(checkpoint_at.0..checkpoint_end);
        }
        let (ends_at, mut revival) = (log_end(&revival), revival.crash());
        assert_eq!(log_end(&revival), ends_at, "the ack survived");
        let client = revival.broker.client();
        assert!(client.pop_all("g", "Orders").is_empty(), "it is away");

        revival.pass(INVISIBLE_MS + 4_000);
        let came_back = client.pop_all("g", "Orders");
        assert_eq!(came_back.len(), usize::from(is_lost), "the first time counts");
        revival.pass(INVISIBLE_MS + 4_000);
        let came_back = client.pop_all("g", "Orders");
        assert_eq!(bodies(&came_back), ["a"], "not acknowledged, lost: {is_lost}");
    }
}

/// A pop gets past them by committing; a peek that gave up at the first file of them would show nothing for good.
#[test]
fn a_peek_looks_behind_messages_that_were_lost() {
    const ENTRIES_OF_A_FILE: usize = 8;
    let (sent, lost) = (5 * ENTRIES_OF_A_FILE, 1..4 * ENTRIES_OF_A_FILE + 3);
    let entry_bytes = (20 * ENTRIES_OF_A_FILE).to_string();
    let revival = Revival::new(&[("mappedFileSizeConsumeQueue", &entry_bytes)]);
    let bodies: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    revival.send(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    let place = |number: usize| {
        let entries = revival
            .broker
            .broker
            .store
            .queue_entries("Orders", 0, QueueOffset(number as u64), 1);
        entries[0].physical_offset.0
    };
    let (begin, end) = (place(lost.start), place(lost.end));
    revival.lose(begin..end);
    let revival = revival.crash();
    let group_is_at = lost.start as i64;
    let offsets = &revival.broker.broker.consumer_offsets;
    offsets.commit("test", "g", "Orders", 0, group_is_at);
    let header = PeekMessageRequestHeader {
        topic: Cow::Borrowed("Orders"),
        queue_id: 0,
        max_msg_nums: 2,
        consumer_group: Cow::Borrowed("g"),
    };
    let client = revival.broker.client();
    let answer = client.call(OutgoingRequest::new(request_code::PEEK_MESSAGE).header(&header));
    assert_eq!(
        (answer.code, answer.number("restNum")),
        (response_code::SUCCESS, sent as i64 - group_is_at)
    );
    let first = bodies[lost.end].as_bytes();
    assert_eq!(answer.bodies(), [first, bodies[lost.end + 1].as_bytes()]);
    assert_eq!(
        offsets.query("g", "Orders", 0),
        Some(group_is_at),
        "nothing is committed"
    );
}

#[test]
fn a_notification_waits_until_there_is_a_message_that_is_wanted() {
    let revival = Revival::new(&[]);
    let client = revival.broker.client();
    let header = |poll_time| NotificationRequestHeader {
        consumer_group: Cow::Borrowed("g"),
        topic: Cow::Borrowed("Orders"),
        queue_id: -1,
        poll_time,
        born_time: 0,
        order: false,
        attempt_id: None,
        exp_type: Some(Cow::Borrowed("TAG")),
        exp: Some(Cow::Borrowed("A")),
    };
    let request = |poll_time| OutgoingRequest::new(request_code::NOTIFICATION).header(&header(poll_time));
    assert_eq!(client.call(request(0)).field("hasMsg"), "false");
    assert!(client.try_call(request(10_000)).is_none());
    let producer = revival.broker.client();
    producer.must_send("Orders", &[("TAGS", "B")], b"b");
    revival.broker.settle();
    assert!(client.connection.take_resumed().is_empty());
    producer.must_send("Orders", &[("TAGS", "A")], b"a");
    revival.broker.settle();
    let answers = client.resumed_answers();
    assert_eq!(answers[0].field("hasMsg"), "true");
    assert_eq!(client.call(request(0)).field("hasMsg"), "true");
}

#[test]
fn a_deleted_topic_or_group_brings_nothing_back() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 1);
    revival.broker.broker.groups.remove("g");
    revival.pass(INVISIBLE_MS + 5_000);
    assert!(!revival.broker.broker.topics.contains("%RETRY%g_Orders"));
}

#[test]
fn retried_messages_of_both_namings_are_handed_out() {
    let revival = Revival::new(&[("enableRetryTopicV2", "true")]);
    let client = revival.broker.client();
    for topic in ["%RETRY%g_Orders", "%RETRY%g+Orders"] {
        revival.broker.broker.topics.put(TopicConfig::new(topic, 1));
        let message = Message {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: NOW_MS,
            born_host: address("127.0.0.1:1"),
            store_host: address("127.0.0.1:1"),
            reconsume_times: 1,
            prepared_transaction_offset: 0,
            properties: "",
            body: topic.as_bytes(),
        };
        revival.broker.broker.store.put(&message).expect("a put");
    }
    revival.broker.settle();
    let mut all = client.pop_all("g", "Orders");
    all.extend(client.pop_all("g", "Orders"));
    assert_eq!(bodies(&all), ["%RETRY%g+Orders", "%RETRY%g_Orders"]);
    assert!(all.iter().all(|message| message.topic == "Orders"));
    let digits: std::collections::BTreeSet<char> = all
        .iter()
        .map(|message| PopHandle::parse(&message.handle).expect("a handle").retry)
        .collect();
    assert_eq!(digits.into_iter().collect::<String>(), "12");
}

#[test]
fn after_a_crash_nothing_acknowledged_comes_back_and_everything_else_does() {
    let mut revival = Revival::new(&[]);
    revival.send(&[
        "acked before",
        "acked after the write",
        "not acked",
        "acked after the crash",
    ]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    assert_eq!(popped.len(), 4);
    let of = |body: &str| {
        popped
            .iter()
            .find(|message| message.body == body)
            .expect("it")
            .clone()
    };
    client.must_ack("g", &of("acked before"));
    revival.persist();
    revival.pass(2_000);
    revival.send(&["popped after the write"]);
    let late = client.pop_all("g", "Orders");
    assert_eq!(bodies(&late), ["popped after the write"]);
    client.must_ack("g", &late[0]);
    client.must_ack("g", &of("acked after the write"));

    drop(client);
    let mut revival = revival.crash();
    let client = revival.broker.client();
    assert!(
        client.pop_all("g", "Orders").is_empty(),
        "nothing is handed out again"
    );
    client.must_ack("g", &of("acked after the crash"));
    revival.pass(INVISIBLE_MS + 10_000);
    let again = client.pop_all("g", "Orders");
    assert_eq!(bodies(&again), ["not acked"]);
    client.must_ack("g", &again[0]);

    drop(client);
    let mut revival = revival.crash();
    let client = revival.broker.client();
    revival.pass(INVISIBLE_MS + 10_000);
    assert!(client.pop_all("g", "Orders").is_empty());
}

#[test]
fn a_changed_time_is_another_pop_also_in_the_same_millisecond() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    let popped = client.pop_all("g", "Orders");
    let answer = client.change_invisible("g", &popped[0], 10_000);
    assert_eq!(answer.code, response_code::SUCCESS);
    revival.pass(15_000);
    assert_eq!(
        bodies(&client.pop_all("g", "Orders")),
        ["a"],
        "the ack of the first handle is not one of the second"
    );
}

#[test]
fn a_retry_topic_survives_a_crash_right_after_it_was_made() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 1);
    revival.pass(INVISIBLE_MS + 5_000);
    drop(client);
    let revival = revival.crash();
    assert_eq!(
        bodies(&revival.broker.client().pop_all("g", "Orders")),
        ["a"],
        "in a topic that the table still knows"
    );
}

#[test]
fn what_came_back_shortly_before_a_crash_does_not_come_back_twice() {
    let mut revival = Revival::new(&[]);
    revival.send(&["a", "b"]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 2);
    revival.persist();
    revival.pass(INVISIBLE_MS + 5_000);
    let again = client.pop_all("g", "Orders");
    assert_eq!(bodies(&again), ["a", "b"]);
    for message in &again {
        client.must_ack("g", message);
    }
    drop(client);
    let mut revival = revival.crash();
    revival.pass(INVISIBLE_MS + 10_000);
    assert!(revival.broker.client().pop_all("g", "Orders").is_empty());
}

#[test]
fn two_sends_of_one_unique_key_both_come_back_when_a_crash_parts_them() {
    let mut revival = Revival::new(&[]);
    let client = revival.broker.client();
    for body in ["first", "second"] {
        client.must_send(
            "Orders",
            &[(name::UNIQ_KEY, "7F00000100002A139C")],
            body.as_bytes(),
        );
    }
    revival.broker.settle();
    // In the same millisecond; the second's time is up later.
    for invisible_time in [10_000, 20_000] {
        let header = PopMessageRequestHeader {
            max_msg_nums: 1,
            invisible_time,
            ..pop_header("g", "Orders")
        };
        assert_eq!(client.pop(&header).len(), 1);
    }
    revival.persist();
    revival.pass(15_000);
    drop(client);
    revival.broker.clock.advance(Duration::from_secs(10));
    let mut revival = revival.crash();
    revival.pass(10_000);
    let client = revival.broker.client();
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["first", "second"]);
}

#[test]
fn a_group_that_a_crash_made_the_broker_forget_gets_its_messages_back() {
    let revival = Revival::new(&[]);
    revival.send(&["a"]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 1);
    drop(client);
    revival.broker.clock.advance(Duration::from_millis(1));
    let mut revival = revival.crash();
    assert!(
        !revival.broker.broker.groups.contains("g"),
        "it was made on first use"
    );
    revival.pass(INVISIBLE_MS + 10_000);
    assert_eq!(bodies(&revival.broker.client().pop_all("g", "Orders")), ["a"]);
}

#[test]
fn what_can_be_put_back_is_put_once_while_another_message_of_its_pop_cannot() {
    let mut revival = Revival::new(&[]);
    let large = "x".repeat(5_000);
    revival.send(&["a"]);
    revival.send(&[&large]);
    let client = revival.broker.client();
    assert_eq!(client.pop_all("g", "Orders").len(), 2);
    let broker = std::sync::Arc::clone(&revival.broker.broker);
    let limit = |bytes| {
        broker
            .store_config
            .update(|config| config.max_message_size = bytes);
    };
    limit(4_096);
    revival.pass(INVISIBLE_MS + 5_000);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), ["a"]);
    limit(1_048_576);
    revival.pass(1_000);
    assert_eq!(bodies(&client.pop_all("g", "Orders")), [large.as_str()]);
}

#[test]
fn with_separate_retry_queues_a_message_comes_back_through_the_queue_of_its_number() {
    let mut revival = Revival::new(&[("useSeparateRetryQueue", "true")]);
    let client = revival.broker.client();
    let send_to = |queue_id: i32| {
        let header = SendMessageRequestHeader {
            queue_id,
            ..send_header("Orders", "")
        };
        let answer = client.send(header, queue_id.to_string().as_bytes());
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    };
    send_to(1);
    send_to(3);
    revival.broker.settle();
    assert_eq!(client.pop_all("g", "Orders").len(), 2);
    revival.pass(INVISIBLE_MS + 5_000);
    let again = client.pop_all("g", "Orders");
    assert_eq!(bodies(&again), ["1", "3"]);
    assert!(
        again
            .iter()
            .all(|message| message.queue_id.to_string() == message.body)
    );
    client.must_ack("g", &again[0]);

    let topics = &revival.broker.broker.topics;
    assert_eq!(topics.get("%RETRY%g_Orders").expect("it").write_queue_nums, 4);
    topics.put(TopicConfig::new("Orders", 6));
    let acked = again[0].body.clone();
    let more = |body: &str| client.must_send("Orders", &[], body.as_bytes());
    more("after the topic has grown");
    revival.broker.settle();
    assert_eq!(client.pop_all("g", "Orders").len(), 1);
    revival.pass(INVISIBLE_MS + 5_000);
    let third = client.pop_all("g", "Orders");
    assert_eq!(third.len(), 2, "not the acknowledged one: {acked}");
    let config = revival.broker.broker.topics.get("%RETRY%g_Orders").expect("it");
    assert_eq!((config.read_queue_nums, config.write_queue_nums), (6, 6));
}
