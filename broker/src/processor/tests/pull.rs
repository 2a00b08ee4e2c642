//! PULL_MESSAGE, LITE_PULL_MESSAGE.

use std::borrow::Cow;
use std::time::Duration;

use common::message::sys_flag::pull::{COMMIT_OFFSET, SUBSCRIPTION, SUSPEND};
use remoting::body::{
    ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionGroupConfig, TopicConfig,
};
use remoting::codes::{request_code, response_code};
use remoting::header::PullMessageRequestHeader;
use remoting::request::OutgoingRequest;
use remoting::routes::{Handler, Routes};

use super::*;

/// A pull that brings its subscription, as lite pull consumers and tools do.
fn subscribed<'a>(header: PullMessageRequestHeader<'a>, expression: &'a str) -> PullMessageRequestHeader<'a> {
    PullMessageRequestHeader {
        sys_flag: header.sys_flag | SUBSCRIPTION,
        subscription: Some(Cow::Borrowed(expression)),
        ..header
    }
}

fn orders_with(bodies: &[&[u8]]) -> TestBroker {
    let broker = TestBroker::new().with_topic("Orders");
    for body in bodies {
        broker.client().must_send(
            "Orders",
            &[("TAGS", if body.starts_with(b"a") { "A" } else { "B" })],
            body,
        );
    }
    broker.settle();
    broker
}

#[test]
fn messages_come_as_they_are_stored_with_the_queues_offsets() {
    let broker = orders_with(&[b"a1", b"a2", b"b3"]);
    let answer = broker
        .client()
        .pull(&subscribed(pull_header("g", "Orders", 0, 1), "*"));
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "FOUND")
    );
    assert_eq!(answer.bodies(), [b"a2", b"b3"]);
    for (name, value) in [
        ("nextBeginOffset", 3),
        ("minOffset", 0),
        ("maxOffset", 3),
        ("suggestWhichBrokerId", 0),
        ("topicSysFlag", 0),
        ("groupSysFlag", 0),
    ] {
        assert_eq!(answer.number(name), value, "{name}");
    }
    assert!(!answer.fields.contains_key("forbiddenType"));
}

#[test]
fn a_lite_pull_gets_the_same() {
    let broker = orders_with(&[b"a1"]);
    let header = subscribed(pull_header("g", "Orders", 0, 0), "*");
    let request = OutgoingRequest::new(request_code::LITE_PULL_MESSAGE)
        .header(&header)
        .field("ReqT", 0);
    assert_eq!(broker.client().call(request).bodies(), [b"a1"]);
}

#[test]
fn a_pull_brings_at_most_what_it_asks_for() {
    let broker = orders_with(&[b"a1", b"a2", b"a3"]);
    let header = PullMessageRequestHeader {
        max_msg_nums: 2,
        ..subscribed(pull_header("g", "Orders", 0, 0), "*")
    };
    let answer = broker.client().pull(&header);
    assert_eq!((answer.bodies().len(), answer.number("nextBeginOffset")), (2, 2));
}

#[test]
fn a_queue_that_cannot_be_opened_is_not_asked_for_again_at_once() {
    let (broker, disk) = TestBroker::with_a_queue_in_its_file("Orders", &[b"a1"]);
    disk.set_faults(nothing_opens());
    let header = subscribed(pull_header("g", "Orders", 0, 0), "*");
    let refused = broker.client().pull(&header);
    assert_eq!(refused.code, response_code::SYSTEM_ERROR, "{}", refused.remark);
    disk.set_faults(Faults::default());
    assert_eq!(broker.client().pull(&header).bodies(), [b"a1"]);
}

#[test]
fn only_messages_with_the_wanted_tags_are_sent() {
    let broker = orders_with(&[b"a1", b"b2", b"a3"]);
    let consumer = broker.client();
    assert_eq!(
        consumer
            .pull(&subscribed(pull_header("g", "Orders", 0, 0), "A || C"))
            .bodies(),
        [b"a1", b"a3"]
    );

    let nothing = consumer.pull(&subscribed(pull_header("g", "Orders", 0, 0), "C"));
    assert_eq!(
        (nothing.code, nothing.remark.as_str()),
        (response_code::PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE")
    );
    assert_eq!(nothing.number("nextBeginOffset"), 3);

    consumer.subscribe("c1", "g", "Orders", "B");
    assert_eq!(
        consumer.pull(&pull_header("g", "Orders", 0, 0)).bodies(),
        [b"b2"],
        "by the heartbeat's subscription"
    );
}

#[test]
fn an_offset_outside_the_queue_is_told_where_to_go_on() {
    let broker = orders_with(&[b"a1", b"a2"]);
    let consumer = broker.client();
    let cases = [
        (0, 9, response_code::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", 2),
        (0, -1, response_code::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", 0),
        (0, 2, response_code::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", 2),
        (1, 5, response_code::PULL_OFFSET_MOVED, "NO_", 0),
        (1, 0, response_code::PULL_NOT_FOUND, "NO_", 0),
    ];
    for (queue_id, offset, code, remark, next) in cases {
        let answer = consumer.pull(&subscribed(pull_header("g", "Orders", queue_id, offset), "*"));
        assert_eq!(
            (answer.code, answer.number("nextBeginOffset")),
            (code, next),
            "queue {queue_id} at {offset}"
        );
        assert!(answer.remark.starts_with(remark), "{}", answer.remark);
        assert!(answer.body.is_empty());
        let _ = (
            answer.number("minOffset"),
            answer.number("maxOffset"),
            answer.number("suggestWhichBrokerId"),
        );
    }
}

#[test]
fn a_pull_at_the_end_waits_for_the_next_message() {
    let broker = orders_with(&[b"a1"]);
    let consumer = broker.client();
    let header = PullMessageRequestHeader {
        sys_flag: SUSPEND,
        ..pull_header("g", "Orders", 0, 1)
    };
    let request =
        || OutgoingRequest::new(request_code::PULL_MESSAGE).header(&subscribed(header.clone(), "*"));
    assert!(consumer.try_call(request()).is_none());
    broker.settle();
    assert!(consumer.resumed_answers().is_empty(), "nothing has arrived");

    broker.client().must_send("Orders", &[], b"late");
    broker.settle();
    let answers = consumer.resumed_answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].code, answers[0].bodies()),
        (response_code::SUCCESS, vec![&b"late"[..]])
    );
    assert_eq!(broker.broker.pull_hold.len(), 0);
}

#[test]
fn a_waiting_pull_is_not_woken_by_tags_it_does_not_want() {
    let broker = orders_with(&[]);
    let consumer = broker.client();
    consumer.subscribe("c1", "g", "Orders", "A");
    let header = PullMessageRequestHeader {
        sys_flag: SUSPEND,
        ..pull_header("g", "Orders", 0, 0)
    };
    assert!(
        consumer
            .try_call(OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header))
            .is_none()
    );
    broker.client().must_send("Orders", &[("TAGS", "B")], b"b");
    broker.settle();
    assert!(consumer.resumed_answers().is_empty());
    broker.client().must_send("Orders", &[("TAGS", "A")], b"a");
    broker.settle();
    assert_eq!(consumer.resumed_answers()[0].bodies(), [b"a"]);
}

#[test]
fn a_waiting_pull_whose_time_is_up_is_answered_not_found() {
    let broker = orders_with(&[]);
    let consumer = broker.client();
    let header = PullMessageRequestHeader {
        sys_flag: SUSPEND,
        suspend_timeout_millis: 2_000,
        ..pull_header("g", "Orders", 0, 0)
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&subscribed(header, "*"));
    assert!(consumer.try_call(request).is_none());
    broker.clock.advance(Duration::from_millis(1_999));
    broker.broker.pull_hold.expire(NOW_MS + 1_999);
    assert!(consumer.resumed_answers().is_empty());
    broker.clock.advance(Duration::from_millis(1));
    broker.broker.pull_hold.expire(NOW_MS + 2_000);
    let answers = consumer.resumed_answers();
    assert_eq!(answers.len(), 1, "it may not wait a second time");
    assert_eq!(
        (answers[0].code, answers[0].number("nextBeginOffset")),
        (response_code::PULL_NOT_FOUND, 0)
    );
}

#[test]
fn without_long_polling_a_pull_waits_for_a_second_only() {
    let broker = TestBroker::configured(&[("longPollingEnable", "false")]).with_topic("Orders");
    let consumer = broker.client();
    let header = PullMessageRequestHeader {
        sys_flag: SUSPEND,
        ..pull_header("g", "Orders", 0, 0)
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&subscribed(header, "*"));
    assert!(consumer.try_call(request).is_none());
    broker.broker.pull_hold.expire(NOW_MS + 1_000);
    assert_eq!(consumer.resumed_answers().len(), 1);
}

#[test]
fn a_pull_commits_the_offset_it_carries_once() {
    let broker = orders_with(&[b"a1"]);
    let consumer = broker.client();
    let header = PullMessageRequestHeader {
        sys_flag: COMMIT_OFFSET | SUSPEND,
        commit_offset: 1,
        ..pull_header("g", "Orders", 0, 1)
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&subscribed(header, "*"));
    assert!(consumer.try_call(request).is_none());
    assert_eq!(broker.broker.consumer_offsets.query("g", "Orders", 0), Some(1));

    broker.broker.consumer_offsets.commit("test", "g", "Orders", 0, 7);
    broker.client().must_send("Orders", &[], b"late");
    broker.settle();
    assert_eq!(consumer.resumed_answers().len(), 1);
    assert_eq!(
        broker.broker.consumer_offsets.query("g", "Orders", 0),
        Some(7),
        "an old commit undid a newer one"
    );
    assert_eq!(
        broker.broker.consumer_offsets.query_pull("g", "Orders", 0),
        Some(2)
    );
}

#[test]
fn after_a_reset_the_next_pull_is_sent_there_once() {
    let broker = orders_with(&[b"a1", b"a2", b"a3"]);
    broker.broker.consumer_offsets.assign_reset("g", "Orders", 0, 1);
    let header = PullMessageRequestHeader {
        sys_flag: COMMIT_OFFSET,
        commit_offset: 3,
        ..pull_header("g", "Orders", 0, 3)
    };
    let moved = broker.client().pull(&subscribed(header.clone(), "*"));
    assert_eq!(
        (moved.code, moved.remark.as_str()),
        (response_code::PULL_OFFSET_MOVED, "OFFSET_RESET")
    );
    assert_eq!(
        (moved.number("nextBeginOffset"), moved.number("maxOffset")),
        (1, 3)
    );
    assert_eq!(
        broker.broker.consumer_offsets.query("g", "Orders", 0),
        Some(1),
        "the old offset was committed"
    );

    let next = broker
        .client()
        .pull(&subscribed(pull_header("g", "Orders", 0, 1), "*"));
    assert_eq!(next.bodies(), [b"a2", b"a3"]);
}

#[test]
fn who_may_not_pull_is_told_by_what() {
    let group = |change: fn(&mut SubscriptionGroupConfig)| {
        let broker = orders_with(&[b"a1"]);
        let mut config = SubscriptionGroupConfig::new("g");
        change(&mut config);
        broker.broker.groups.put(config);
        broker
    };
    let closed_topic = orders_with(&[]);
    closed_topic.broker.topics.put(TopicConfig {
        perm: 2,
        ..TopicConfig::new("Orders", 4)
    });
    let forbidden = group(|_| {});
    forbidden.broker.groups.set_forbidden("g", "Orders", 2, true);
    let cases = [
        (
            TestBroker::configured(&[("brokerPermission", "2")]).with_topic("Orders"),
            "1",
        ),
        (group(|group| group.consume_enable = false), "2"),
        (closed_topic, "3"),
        (group(|group| group.consume_broadcast_enable = false), "4"),
        (forbidden, "5"),
    ];
    for (broker, forbidden_type) in cases {
        let consumer = broker.client();
        let model = if forbidden_type == "4" {
            MessageModel::Broadcasting
        } else {
            MessageModel::Clustering
        };
        consumer.heartbeat(&HeartbeatData {
            client_id: "c1".to_owned(),
            consumer_data_set: vec![ConsumerData {
                group_name: "g".to_owned(),
                message_model: model,
                subscription_data_set: vec![crate::filter::tags::all("Orders")],
                ..ConsumerData::default()
            }],
            ..HeartbeatData::default()
        });
        let answer = consumer.pull(&pull_header("g", "Orders", 0, 0));
        assert_eq!(answer.code, response_code::NO_PERMISSION, "{}", answer.remark);
        assert_eq!(answer.field("forbiddenType"), forbidden_type, "{}", answer.remark);
    }
}

#[test]
fn a_pull_that_makes_no_sense_is_refused_with_the_code_of_the_reference() {
    let broker = TestBroker::configured(&[("autoCreateSubscriptionGroup", "false")]).with_topic("Orders");
    broker.broker.groups.put(SubscriptionGroupConfig::new("g"));
    let consumer = broker.client();
    let pull = |group: &str, topic: &str, queue_id| consumer.pull(&pull_header(group, topic, queue_id, 0));
    let cases = [
        (
            pull("nobody", "Orders", 0),
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            "subscription group [nobody] does not exist, ",
        ),
        (
            pull("g", "Nowhere", 0),
            response_code::TOPIC_NOT_EXIST,
            "topic[Nowhere] not exist, apply first please!",
        ),
        (
            pull("g", "Orders", 4),
            response_code::INVALID_PARAMETER,
            "queueId[4] is illegal, topic:[Orders] topicConfig.readQueueNums:[4]",
        ),
        (
            pull("g", "Orders", -1),
            response_code::INVALID_PARAMETER,
            "queueId[-1] is illegal",
        ),
        (
            pull("g", "Orders", 0),
            response_code::SUBSCRIPTION_NOT_EXIST,
            "the consumer's group info not exist",
        ),
    ];
    for (answer, code, remark) in cases {
        assert_eq!(answer.code, code, "{}", answer.remark);
        assert!(answer.remark.starts_with(remark), "{}", answer.remark);
    }
}

#[test]
fn a_subscription_must_be_known_and_the_newest() {
    let broker = orders_with(&[b"a1"]).with_topic("Others");
    let consumer = broker.client();
    consumer.subscribe("c1", "g", "Orders", "*");
    let unknown = consumer.pull(&pull_header("g", "Others", 0, 0));
    assert_eq!(unknown.code, response_code::SUBSCRIPTION_NOT_EXIST);
    assert!(
        unknown
            .remark
            .starts_with("the consumer's subscription not exist"),
        "{}",
        unknown.remark
    );

    let newer = consumer.pull(&PullMessageRequestHeader {
        sub_version: NOW_MS,
        ..pull_header("g", "Orders", 0, 0)
    });
    assert_eq!(
        (newer.code, newer.remark.as_str()),
        (
            response_code::SUBSCRIPTION_NOT_LATEST,
            "the consumer's subscription not latest"
        )
    );
}

#[test]
fn consumers_without_heartbeat_are_kept_out_where_an_operator_wants_that() {
    let broker = TestBroker::configured(&[("rejectPullConsumerEnable", "true")]).with_topic("Orders");
    broker.client().must_send("Orders", &[], b"x");
    broker.settle();
    let header = subscribed(pull_header("g", "Orders", 0, 0), "*");
    let stranger = broker.client().pull(&header);
    assert_eq!(stranger.code, response_code::SUBSCRIPTION_NOT_EXIST);
    assert!(
        stranger
            .remark
            .contains("the pull consumer is rejected by server"),
        "{}",
        stranger.remark
    );

    let tools = subscribed(pull_header("TOOLS_CONSUMER", "Orders", 0, 0), "*");
    assert_eq!(broker.client().pull(&tools).code, response_code::SUCCESS);

    let member = broker.client();
    member.heartbeat(&HeartbeatData {
        client_id: "c1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "g".to_owned(),
            consume_type: ConsumeType::Passively,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    });
    assert_eq!(member.pull(&header).code, response_code::SUCCESS);
}

#[test]
fn old_messages_are_not_read_on_the_task_of_a_connection() {
    let broker = TestBroker::configured(&[("accessMessageInMemoryMaxRatio", "0")]).with_topic("Orders");
    for _ in 0..1_001 {
        broker.client().must_send("Orders", &[], b"x");
    }
    broker.settle();
    let consumer = broker.client();
    let call = |offset| {
        let header = subscribed(pull_header("g", "Orders", 0, offset), "*");
        let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header);
        Call::new(Frame::of_request(&request), Arc::clone(&consumer.connection))
    };
    let Some(Handler::Inline(pull)) = Broker::handler(request_code::PULL_MESSAGE) else {
        panic!("pulls begin on the task of their connection");
    };
    assert!(matches!(
        pull(&broker.broker, &call(0)),
        Ok(Outcome::MoveToBlocking)
    ));
    assert!(
        matches!(pull(&broker.broker, &call(1)), Ok(Outcome::Reply(_))),
        "near the end nobody looks closer"
    );
    let there = Call {
        may_block: true,
        ..call(0)
    };
    let answer = Answer::of(pull(&broker.broker, &there)).unwrap();
    assert_eq!(
        (answer.code, answer.records()[0].queue_offset.0),
        (response_code::SUCCESS, 0)
    );
}

#[test]
fn what_is_pulled_is_counted() {
    let broker = orders_with(&[b"a1", b"a2"]);
    broker
        .client()
        .pull(&subscribed(pull_header("g", "Orders", 0, 0), "*"));
    assert_eq!(broker.broker.stats.get_totals().now, 2);
}
