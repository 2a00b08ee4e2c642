//! Light topics: subscriptions, lite pops and acks, and what happens by time.

use std::time::Duration;

use common::message::properties::name;
use remoting::body::{
    GetParentTopicInfoResponseBody, LiteSubscriptionAction, LiteSubscriptionCtlRequestBody,
    LiteSubscriptionDto, OffsetOption, OffsetOptionType, SubscriptionGroupConfig, TopicConfig, fastjson,
};
use remoting::header::{AckMessageRequestHeader, PopLiteMessageRequestHeader};

use super::metrics::{scrape, value};
use super::*;
use crate::lite::service::LiteService;
use crate::pop::handle::{ORDER_REVIVE_QUEUE, PopHandle};
use crate::processor::pop_order::{self, Acked, InOrder};
use crate::registry::order_info::GroupQueue;
use crate::registry::persist::Table as _;

const TOPIC: &str = "Chats";
const GROUP: &str = "readers";
const INVISIBLE_MS: i64 = 60_000;
const MINUTE_MS: i64 = 60_000;

fn broker_with_light_topics(settings: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<(&str, &str)> = [("enableLmq", "true"), ("enableMultiDispatch", "true")]
        .iter()
        .chain(settings)
        .copied()
        .collect();
    let broker = TestBroker::configured(&settings);
    let mut topic = TopicConfig::new(TOPIC, 1);
    topic
        .attributes
        .insert("message.type".to_owned(), "LITE".to_owned());
    topic
        .attributes
        .insert("lite.topic.expiration".to_owned(), "30".to_owned());
    broker.broker.topics.put(topic);
    put_group(&broker, &[]);
    broker
}

fn put_group(broker: &TestBroker, attributes: &[(&str, &str)]) {
    let mut group = SubscriptionGroupConfig::new(GROUP);
    for (name, value) in [("lite.bind.topic", TOPIC)].iter().chain(attributes) {
        group.attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    broker.broker.groups.put(group);
}

impl TestBroker {
    fn send_lite(&self, lite_topic: &str, body: &str) {
        self.client()
            .must_send(TOPIC, &[("__LITE_TOPIC", lite_topic)], body.as_bytes());
        self.settle();
    }

    fn subscribe_lite(
        &self,
        client_id: &str,
        action: LiteSubscriptionAction,
        lite_topics: &[&str],
    ) -> Answer {
        self.client().subscribe_lite(client_id, action, lite_topics)
    }

    fn lite_service(&self) -> LiteService {
        LiteService::new(Arc::clone(&self.broker))
    }

    /// Lets time pass in steps, with a tick of the service after each.
    fn pass_time(&self, service: &mut LiteService, steps: u32, step: Duration) {
        for _ in 0..steps {
            self.clock.advance(step);
            tick(service, &self.clock);
        }
    }

    fn lite_topic_count(&self) -> i32 {
        let request = OutgoingRequest::new(request_code::GET_PARENT_TOPIC_INFO).field("topic", TOPIC);
        let answer = self.client().call(request);
        let body: GetParentTopicInfoResponseBody = fastjson::from_slice(&answer.body).expect("a body");
        body.lite_topic_count
    }
}

impl TestClient {
    fn subscribe_lite(
        &self,
        client_id: &str,
        action: LiteSubscriptionAction,
        lite_topics: &[&str],
    ) -> Answer {
        self.subscribe_lite_from(client_id, action, lite_topics, None)
    }

    fn subscribe_lite_from(
        &self,
        client_id: &str,
        action: LiteSubscriptionAction,
        lite_topics: &[&str],
        offset_option: Option<OffsetOption>,
    ) -> Answer {
        let entry = LiteSubscriptionDto {
            action,
            offset_option,
            client_id: client_id.to_owned(),
            group: GROUP.to_owned(),
            topic: TOPIC.to_owned(),
            lite_topic_set: lite_topics.iter().map(ToString::to_string).collect(),
            ..LiteSubscriptionDto::default()
        };
        let body = LiteSubscriptionCtlRequestBody {
            subscription_set: vec![entry],
        };
        let body = fastjson::to_vec(&body).expect("a body");
        self.call(OutgoingRequest::new(request_code::LITE_SUBSCRIPTION_CTL).body(body))
    }

    fn pop_lite(&self, client_id: &str, attempt_id: Option<&str>) -> Answer {
        self.try_pop_lite(client_id, attempt_id, 0)
            .expect("an answer at once")
    }

    fn try_pop_lite(&self, client_id: &str, attempt_id: Option<&str>, poll_ms: i64) -> Option<Answer> {
        let header = PopLiteMessageRequestHeader {
            client_id: client_id.into(),
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            max_msg_num: 8,
            invisible_time: INVISIBLE_MS,
            poll_time: poll_ms,
            born_time: self.broker.clock.wall_ms(),
            attempt_id: attempt_id.map(Into::into),
        };
        self.try_call(OutgoingRequest::new(request_code::POP_LITE_MESSAGE).header(&header))
    }

    fn ack_lite(&self, popped: &Answer, record: &Record<'_>) -> Answer {
        self.about_lite(OutgoingRequest::new(request_code::ACK_MESSAGE), popped, record)
    }

    fn change_lite(&self, popped: &Answer, record: &Record<'_>, invisible_ms: i64) -> Answer {
        let request = OutgoingRequest::new(request_code::CHANGE_MESSAGE_INVISIBLETIME);
        self.about_lite(request.field("invisibleTime", invisible_ms), popped, record)
    }

    fn about_lite(&self, request: OutgoingRequest, popped: &Answer, record: &Record<'_>) -> Answer {
        let offset = record
            .property(name::INNER_MULTI_QUEUE_OFFSET)
            .expect("an offset");
        let handle = PopHandle {
            start_offset: 0,
            pop_time_ms: popped.number("popTime"),
            invisible_time_ms: INVISIBLE_MS,
            revive_queue_id: ORDER_REVIVE_QUEUE,
            retry: '0',
            broker_name: "broker-a",
            queue_id: 0,
            queue_offset: offset.parse().expect("a number"),
        };
        let handle = handle.to_string();
        let header = AckMessageRequestHeader {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            queue_id: 0,
            extra_info: handle.as_str().into(),
            offset: offset.parse().expect("a number"),
            lite_topic: record.property(name::LITE_TOPIC).map(Into::into),
        };
        self.call(request.header(&header))
    }
}

#[test]
fn a_light_topic_gives_its_next_messages_when_the_last_are_acknowledged_or_visible_again() {
    let broker = broker_with_light_topics(&[]);
    let client = broker.client();
    let mut service = broker.lite_service();
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x", "y"]);
    for body in ["x-0", "x-1"] {
        broker.send_lite("x", body);
    }
    broker.send_lite("z", "z-0");
    let popped = client.pop_lite("a", None);
    assert_eq!(popped.bodies(), [b"x-0", b"x-1"]);
    assert_eq!(
        (popped.field("orderCountInfo"), popped.number("reviveQid")),
        ("0;0", 999)
    );
    broker.send_lite("x", "x-2");
    assert_eq!(client.pop_lite("a", None).code, response_code::POLLING_TIMEOUT);
    assert_eq!(
        client.ack_lite(&popped, &popped.records()[0]).code,
        response_code::SUCCESS
    );

    broker.pass_time(&mut service, 59, Duration::from_secs(1));
    assert_eq!(client.pop_lite("a", None).code, response_code::POLLING_TIMEOUT);
    broker.pass_time(&mut service, 2, Duration::from_secs(1));
    let again = client.pop_lite("a", None);
    assert_eq!(again.bodies(), [b"x-1", b"x-2"]);
    assert_eq!(again.field("orderCountInfo"), "0 qo0%1 1");
    for record in again.records() {
        assert_eq!(client.ack_lite(&again, &record).code, response_code::SUCCESS);
    }
    assert_eq!(client.pop_lite("a", None).code, response_code::POLLING_TIMEOUT);
}

#[test]
fn a_parked_lite_pop_is_woken_by_a_message_an_ack_or_its_deadline() {
    let broker = broker_with_light_topics(&[]);
    let (client, acker) = (broker.client(), broker.client());
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    assert!(client.try_pop_lite("a", None, 10_000).is_none());
    broker.send_lite("other", "o");
    assert!(client.resumed_answers().is_empty());
    broker.send_lite("x", "x-0");
    let popped = client.resumed_answers().remove(0);
    assert_eq!(popped.bodies(), [b"x-0"]);

    broker.send_lite("x", "x-1");
    assert!(client.try_pop_lite("a", None, 10_000).is_none());
    acker.ack_lite(&popped, &popped.records()[0]);
    assert_eq!(client.resumed_answers().remove(0).bodies(), [b"x-1"]);

    assert!(client.try_pop_lite("a", None, 10_000).is_none());
    let mut service = broker.lite_service();
    broker.pass_time(&mut service, 10, Duration::from_secs(1));
    let answers = client.resumed_answers();
    assert_eq!(answers[0].code, response_code::POLLING_TIMEOUT);
}

#[test]
fn a_pop_that_comes_too_late_leaves_its_event_to_another_one_of_the_client() {
    let broker = broker_with_light_topics(&[]);
    let client = broker.client();
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    assert!(client.try_pop_lite("a", None, 1_000).is_none());
    assert!(client.try_pop_lite("a", None, 30_000).is_none());
    broker.clock.advance(Duration::from_secs(2));
    broker.send_lite("x", "x-0");
    assert_eq!(client.resumed_answers()[0].code, response_code::POLLING_TIMEOUT);
    assert_eq!(client.resumed_answers()[0].bodies(), [b"x-0"]);
}

#[test]
fn a_parked_lite_pop_gets_what_is_left_of_a_batch_when_that_is_visible_again() {
    let broker = broker_with_light_topics(&[]);
    let (client, other) = (broker.client(), broker.client());
    let mut service = broker.lite_service();
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    broker.send_lite("x", "x-0");
    broker.send_lite("x", "x-1");
    let popped = client.pop_lite("a", None);
    other.change_lite(&popped, &popped.records()[0], 10 * MINUTE_MS);
    other.ack_lite(&popped, &popped.records()[0]);
    broker.pass_time(&mut service, 1, Duration::from_secs(50));
    assert!(client.try_pop_lite("a", None, 30_000).is_none());
    broker.pass_time(&mut service, 1, Duration::from_secs(10));
    let again = client.resumed_answers().remove(0);
    assert_eq!(again.bodies(), [b"x-1"]);

    broker.pass_time(&mut service, 1, Duration::from_secs(20));
    assert!(client.try_pop_lite("a", None, 60_000).is_none());
    broker.clock.advance(Duration::from_secs(40));
    // Of the first pop, whose batch was handed out again since.
    other.change_lite(&popped, &popped.records()[1], 10 * MINUTE_MS);
    broker.pass_time(&mut service, 1, Duration::from_secs(1));
    assert_eq!(client.resumed_answers().remove(0).bodies(), [b"x-1"]);
}

#[test]
fn a_client_hears_that_its_group_is_sent_back_in_a_light_topic() {
    let broker = broker_with_light_topics(&[]);
    let (client, other) = (broker.client(), broker.client());
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    broker.send_lite("x", "x-0");
    let popped = client.pop_lite("a", None);
    client.ack_lite(&popped, &popped.records()[0]);
    assert_eq!(client.pop_lite("a", None).code, response_code::POLLING_TIMEOUT);
    assert!(client.try_pop_lite("a", None, 10_000).is_none());
    let to_the_beginning = OffsetOption {
        kind: OffsetOptionType::Policy,
        value: 1,
    };
    let action = LiteSubscriptionAction::PartialAdd;
    other.subscribe_lite_from("a", action, &["x"], Some(to_the_beginning));
    assert_eq!(client.resumed_answers().remove(0).bodies(), [b"x-0"]);
}

#[test]
fn events_of_a_client_that_hangs_go_to_another_of_its_group() {
    let broker = broker_with_light_topics(&[]);
    let mut service = broker.lite_service();
    tick(&mut service, &broker.clock);
    broker.subscribe_lite("hangs", LiteSubscriptionAction::PartialAdd, &["x"]);
    broker.send_lite("x", "x-0");
    broker.subscribe_lite("works", LiteSubscriptionAction::PartialAdd, &["x"]);
    broker.client().pop_lite("works", None);
    // Its own subscription brought it an event too; what counts is the one that the other has.
    broker.send_lite("x", "x-1");
    broker.pass_time(&mut service, 2, Duration::from_secs(11));
    let mut bodies = Vec::new();
    for client_id in ["works", "works"] {
        let answer = broker.client().pop_lite(client_id, None);
        bodies.extend(answer.bodies().iter().map(|body| body.to_vec()));
    }
    let batch: Vec<Vec<u8>> = vec![b"x-0".to_vec(), b"x-1".to_vec()];
    assert!(bodies.is_empty() || bodies == batch, "{bodies:?}");
    let order_info = &broker.broker.lite_order_info;
    assert_eq!(order_info.len(), 1, "somebody was given the batch");
}

#[test]
fn a_client_that_falls_silent_is_forgotten() {
    let broker = broker_with_light_topics(&[]);
    let mut service = broker.lite_service();
    tick(&mut service, &broker.clock);
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    broker.pass_time(&mut service, 1, Duration::from_secs(121));
    assert_eq!(broker.broker.lite.look(|subscriptions| subscriptions.active()), 1);
    broker.pass_time(&mut service, 1, Duration::from_secs(121));
    assert_eq!(broker.broker.lite.look(|subscriptions| subscriptions.active()), 0);
}

#[test]
fn a_light_topic_that_nobody_sends_to_goes_after_its_time_and_begins_anew() {
    let broker = broker_with_light_topics(&[]);
    let mut service = broker.lite_service();
    tick(&mut service, &broker.clock);
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x", "y"]);
    broker.send_lite("x", "x-0");
    broker.send_lite("y", "y-0");
    let client = broker.client();
    let popped = client.pop_lite("a", None);
    assert_eq!(popped.records().len(), 2);
    for record in popped.records() {
        client.ack_lite(&popped, &record);
    }
    broker.pass_time(
        &mut service,
        1,
        Duration::from_millis(20 * MINUTE_MS.unsigned_abs()),
    );
    broker.send_lite("y", "y-1");
    assert_eq!(broker.lite_topic_count(), 2);
    broker.pass_time(
        &mut service,
        1,
        Duration::from_millis(11 * MINUTE_MS.unsigned_abs()),
    );
    assert_eq!(broker.lite_topic_count(), 1, "x is gone");
    let lmq = "%LMQ%$Chats$x";
    assert_eq!(broker.broker.consumer_offsets.query(GROUP, lmq, 0), None);

    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    broker.send_lite("x", "anew");
    assert_eq!(client.pop_lite("a", None).bodies(), [b"anew"]);
}

/// Sends three messages to the light topic x and pops them.
fn pop_three(broker: &TestBroker) -> (TestClient, Answer) {
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    for body in ["x-0", "x-1", "x-2"] {
        broker.send_lite("x", body);
    }
    let client = broker.client();
    let popped = client.pop_lite("a", None);
    assert_eq!(popped.records().len(), 3);
    (client, popped)
}

/// A broker with the light topic x, all of whose messages are acknowledged, and the pop that brought them.
fn broker_with_a_consumed_light_topic() -> (TestBroker, TestClient, LiteService, Answer) {
    let broker = broker_with_light_topics(&[]);
    let mut service = broker.lite_service();
    tick(&mut service, &broker.clock);
    let (client, popped) = pop_three(&broker);
    for record in popped.records() {
        client.ack_lite(&popped, &record);
    }
    (broker, client, service, popped)
}

const LIFETIME: Duration = Duration::from_secs(31 * 60);

#[test]
fn a_message_that_its_queue_does_not_show_yet_keeps_a_light_topic() {
    let (broker, client, mut service, _) = broker_with_a_consumed_light_topic();
    broker.clock.advance(LIFETIME);
    client.must_send(TOPIC, &[("__LITE_TOPIC", "x")], b"x-3");
    tick(&mut service, &broker.clock);
    broker.settle();
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    assert_eq!(client.pop_lite("a", None).bodies(), [b"x-3"]);
}

#[test]
fn a_late_ack_of_a_light_topic_that_has_expired_says_nothing_of_the_next_of_its_name() {
    let (broker, client, mut service, popped) = broker_with_a_consumed_light_topic();
    broker.pass_time(&mut service, 1, LIFETIME);
    let records = popped.records();
    assert_eq!(client.ack_lite(&popped, &records[0]).code, response_code::SUCCESS);
    assert_eq!(
        client.ack_lite(&popped, &records[1]).code,
        response_code::NO_MESSAGE
    );
    broker.send_lite("x", "anew");
    assert_eq!(client.ack_lite(&popped, &records[0]).code, response_code::SUCCESS);
    assert_eq!(client.ack_lite(&popped, &records[1]).code, response_code::SUCCESS);
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &["x"]);
    assert_eq!(client.pop_lite("a", None).bodies(), [b"anew"]);
}

/// Else the topic could expire between the question and the ack, which would then be taken for one of the next of its name.
#[test]
fn whether_a_light_topic_has_expired_is_asked_while_it_cannot() {
    let (broker, _, mut service, _) = broker_with_a_consumed_light_topic();
    broker.pass_time(&mut service, 1, LIFETIME);
    broker.send_lite("x", "anew");
    let (lmq, offset) = ("%LMQ%$Chats$x", 0);
    let message = InOrder {
        queue: GroupQueue {
            topic: lmq,
            group: GROUP,
            queue_id: 0,
        },
        offset,
        pop_time_ms: NOW_MS,
    };
    let order_info = &broker.broker.lite_order_info;
    let committed = || broker.broker.consumer_offsets.query(GROUP, lmq, 0);
    let acknowledge = |is_of_another| {
        let ask = || {
            assert!(broker.broker.pop_locks.is_locked(lmq, GROUP, 0));
            is_of_another
        };
        pop_order::acknowledge(&broker.broker, order_info, &message, INVISIBLE_MS, "a", ask)
    };
    assert!(matches!(acknowledge(true), Ok(Acked::NoChange)));
    assert_eq!(committed(), None);
    assert!(matches!(acknowledge(false), Ok(Acked::Free)));
    assert_eq!(committed(), Some(offset + 1));
}

#[test]
fn what_groups_knew_of_a_light_topic_that_has_expired_does_not_come_back_after_a_kill() {
    let (broker, client, mut service, _) = broker_with_a_consumed_light_topic();
    broker.broker.topics.flush().unwrap();
    broker.broker.groups.flush().unwrap();
    broker.broker.consumer_offsets.flush().unwrap();
    broker.pass_time(&mut service, 1, LIFETIME);
    broker.send_lite("x", "anew");
    drop((client, service));
    let broker = broker.crash_and_restart();
    assert_eq!(broker.broker.store.max_offset("%LMQ%$Chats$x", 0), 1);
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    assert_eq!(broker.client().pop_lite("a", None).bodies(), [b"anew"]);
}

#[test]
fn a_light_topic_whose_queue_nobody_could_make_is_refused() {
    let broker = broker_with_light_topics(&[]);
    let send = |lite_topic: &str| {
        let properties = property_text(&[("__LITE_TOPIC", lite_topic)]);
        broker.client().send(send_header(TOPIC, &properties), b"m").code
    };
    for lite_topic in ["a/b", "a,b", &"x".repeat(300)] {
        assert_eq!(send(lite_topic), response_code::MESSAGE_ILLEGAL, "{lite_topic}");
    }
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x$y"]);
    broker.send_lite("x$y", "odd");
    assert_eq!(broker.client().pop_lite("a", None).bodies(), [b"odd"]);
}

#[test]
fn light_topics_go_with_their_parent() {
    let broker = broker_with_light_topics(&[]);
    broker.send_lite("x", "x-0");
    assert_eq!(broker.broker.store.light_queue_count(), 1);
    let delete = OutgoingRequest::new(request_code::DELETE_TOPIC_IN_BROKER).field("topic", TOPIC);
    assert_eq!(broker.client().call(delete).code, response_code::SUCCESS);
    assert_eq!(broker.broker.store.light_queue_count(), 0);
}

#[test]
fn a_client_with_more_queues_than_events_gets_the_rest_by_a_full_dispatch() {
    let broker = broker_with_light_topics(&[]);
    put_group(&broker, &[("lite.sub.client.max.event.cnt", "10")]);
    let lite_topics: Vec<String> = (0..15).map(|i| format!("t{i}")).collect();
    let names: Vec<&str> = lite_topics.iter().map(String::as_str).collect();
    broker.subscribe_lite("a", LiteSubscriptionAction::CompleteAdd, &names);
    for name in &names {
        broker.send_lite(name, name);
    }
    let client = broker.client();
    let mut service = broker.lite_service();
    let mut got = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let answer = client.pop_lite("a", None);
        for record in answer.records() {
            got.insert(String::from_utf8(record.body.to_vec()).expect("text"));
            client.ack_lite(&answer, &record);
        }
        broker.pass_time(&mut service, 1, Duration::from_secs(3));
    }
    assert_eq!(got, lite_topics.into_iter().collect());
}

#[test]
fn the_one_before_is_told_that_another_has_its_light_topic() {
    let broker = broker_with_light_topics(&[]);
    put_group(
        &broker,
        &[
            ("lite.sub.model", "Exclusive"),
            ("lite.sub.reset.offset.exclusive", "true"),
        ],
    );
    let (first, second) = (broker.client(), broker.client());
    first.subscribe_lite("first", LiteSubscriptionAction::PartialAdd, &["x"]);
    broker.send_lite("x", "x-0");
    let popped = first.pop_lite("first", None);
    first.ack_lite(&popped, &popped.records()[0]);
    second.subscribe_lite("second", LiteSubscriptionAction::PartialAdd, &["x"]);
    let told = first.connection.take_sent();
    assert_eq!(told[0].code, request_code::NOTIFY_UNSUBSCRIBE_LITE);
    assert_eq!(told[0].fields().get("liteTopic").as_deref(), Some("x"));
    assert_eq!(told[0].fields().get("clientId").as_deref(), Some("first"));
    let from_the_beginning = second.pop_lite("second", None);
    assert_eq!(from_the_beginning.bodies(), [b"x-0"]);
}

#[test]
fn without_events_a_lite_pop_looks_at_all_its_queues() {
    let broker = broker_with_light_topics(&[("enableLiteEventMode", "false")]);
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x", "y"]);
    broker.send_lite("x", "x-0");
    broker.send_lite("z", "z-0");
    assert_eq!(broker.client().pop_lite("a", None).bodies(), [b"x-0"]);
}

#[test]
fn the_same_attempt_gets_its_batch_again() {
    let broker = broker_with_light_topics(&[("enableLiteEventMode", "false")]);
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    broker.send_lite("x", "x-0");
    let client = broker.client();
    assert_eq!(client.pop_lite("a", Some("try-1")).bodies(), [b"x-0"]);
    assert_eq!(client.pop_lite("a", Some("try-1")).bodies(), [b"x-0"]);
    let other = client.pop_lite("a", Some("try-2"));
    assert_eq!(other.code, response_code::POLLING_TIMEOUT);
}

#[test]
fn an_acknowledged_message_never_comes_back_after_a_kill_and_the_others_come_in_their_time() {
    let broker = broker_with_light_topics(&[]);
    let (client, popped) = pop_three(&broker);
    for at in [0, 1] {
        assert_eq!(
            client.ack_lite(&popped, &popped.records()[at]).code,
            response_code::SUCCESS
        );
    }
    drop(client);
    broker.broker.topics.flush().unwrap();
    broker.broker.groups.flush().unwrap();
    let broker = broker.crash_and_restart();
    let client = broker.client();
    let mut service = broker.lite_service();
    broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x"]);
    assert_eq!(client.pop_lite("a", None).code, response_code::POLLING_TIMEOUT);
    broker.pass_time(
        &mut service,
        1,
        Duration::from_millis(INVISIBLE_MS.unsigned_abs()),
    );
    assert_eq!(client.pop_lite("a", None).bodies(), [b"x-2"]);
}

#[test]
fn the_lag_in_light_topics_is_shown_under_their_parent_where_that_is_asked_for() {
    let [messages, ready, latency] = [
        "rocketmq_consumer_lag_messages",
        "rocketmq_consumer_ready_messages",
        "rocketmq_consumer_lag_latency_milliseconds",
    ];
    let count = ("liteLagCountMetricsEnable", "true");
    let time = ("liteLagLatencyMetricsEnable", "true");
    let collect = ("liteLagLatencyCollectEnable", "true");
    let (counted, timed) = (Some(3), Some(7_000));
    for (settings, expected) in [
        (&[][..], [None, None, None]),
        (&[count], [counted, counted, None]),
        (&[time], [None, None, None]),
        (&[time, collect], [None, None, timed]),
        (&[count, time, collect], [counted, counted, timed]),
    ] {
        let prometheus = [("metricsExporterType", "PROM"), ("brokerIP1", "127.0.0.1")];
        let broker = broker_with_light_topics(&[&prometheus, settings].concat());
        let client = broker.client();
        broker.subscribe_lite("a", LiteSubscriptionAction::PartialAdd, &["x", "y"]);
        broker.send_lite("x", "x-0");
        broker.send_lite("y", "y-0");
        let popped = client.pop_lite("a", None);
        assert_eq!(popped.records().len(), 2);
        client.ack_lite(&popped, &popped.records()[0]);
        broker.clock.advance(Duration::from_secs(7));
        broker.send_lite("x", "x-1");
        broker.send_lite("x", "x-2");

        let text = scrape(&broker);
        let labels = [("consumer_group", GROUP), ("topic", TOPIC), ("is_retry", "false")];
        let shown = [messages, ready, latency].map(|name| value(&text, name, &labels));
        assert_eq!(shown, expected, "{settings:?}");
    }
}
