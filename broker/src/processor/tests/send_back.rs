//! CONSUMER_SEND_MSG_BACK.

use std::borrow::Cow;
use std::collections::BTreeMap;

use common::names;
use remoting::body::SubscriptionGroupConfig;
use remoting::codes::{request_code, response_code};
use remoting::header::ConsumerSendMsgBackRequestHeader;
use remoting::request::OutgoingRequest;
use store::record;

use super::*;

fn send_back(group: &str, msg_id: &str, delay_level: i32) -> ConsumerSendMsgBackRequestHeader<'static> {
    let (_, offset) = parse_offset_msg_id(msg_id).unwrap();
    ConsumerSendMsgBackRequestHeader {
        offset: offset as i64,
        group: Cow::Owned(group.to_owned()),
        delay_level,
        origin_msg_id: Some(Cow::Owned(msg_id.to_owned())),
        origin_topic: Some(Cow::Borrowed("Orders")),
        unit_mode: false,
        max_reconsume_times: None,
    }
}

fn call(broker: &TestBroker, header: &ConsumerSendMsgBackRequestHeader<'_>) -> Answer {
    broker
        .client()
        .call(OutgoingRequest::new(request_code::CONSUMER_SEND_MSG_BACK).header(header))
}

/// What was stored last: topic, queue id, reconsume times, body, properties.
fn last_stored(broker: &TestBroker, after: &str) -> (String, i32, i32, Vec<u8>, BTreeMap<String, String>) {
    let (host, offset) = parse_offset_msg_id(after).unwrap();
    let next = offset + stored(broker, after).len() as u64;
    let bytes = stored(broker, &common::message::id::offset_msg_id(host, next));
    let record = record::decode(&bytes).unwrap();
    let properties = properties_of(&record);
    (
        record.topic.to_owned(),
        record.queue_id,
        record.reconsume_times,
        record.body.to_vec(),
        properties,
    )
}

#[test]
fn a_message_comes_back_to_its_group_later() {
    let broker = TestBroker::new().with_topic("Orders");
    let id = broker
        .client()
        .must_send("Orders", &[("UNIQ_KEY", "U"), ("TAGS", "t")], b"body");
    let answer = call(&broker, &send_back("g", &id, 0));
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "")
    );

    let (topic, queue_id, reconsume_times, body, properties) = last_stored(&broker, &id);
    assert_eq!(
        (topic.as_str(), queue_id, reconsume_times),
        (names::SCHEDULE_TOPIC, 2, 1),
        "level 3 at first"
    );
    assert_eq!(body, b"body");
    for (name, value) in [
        ("RETRY_TOPIC", "Orders"),
        ("ORIGIN_MESSAGE_ID", id.as_str()),
        ("REAL_TOPIC", "%RETRY%g"),
        ("REAL_QID", "0"),
        ("DELAY", "3"),
        ("WAIT", "false"),
        ("UNIQ_KEY", "U"),
        ("TAGS", "t"),
    ] {
        assert_eq!(properties[name], value, "{name}");
    }
    let retry = broker.broker.topics.get("%RETRY%g").unwrap();
    assert_eq!((retry.read_queue_nums, retry.perm), (1, 6));
}

#[test]
fn the_consumer_may_choose_the_delay() {
    let broker = TestBroker::new().with_topic("Orders");
    let id = broker.client().must_send("Orders", &[], b"x");
    call(&broker, &send_back("g", &id, 7));
    let (topic, queue_id, _, _, properties) = last_stored(&broker, &id);
    assert_eq!(
        (topic.as_str(), queue_id, properties["DELAY"].as_str()),
        (names::SCHEDULE_TOPIC, 6, "7")
    );
}

#[test]
fn the_first_topic_and_id_stay_known_however_often_a_message_comes_back() {
    let broker = TestBroker::new().with_topic("Orders");
    let before = [
        ("RETRY_TOPIC", "First"),
        ("ORIGIN_MESSAGE_ID", "FIRST-ID"),
        ("REAL_TOPIC", "%RETRY%g"),
    ];
    let id = broker.client().must_send("Orders", &before, b"x");
    call(&broker, &send_back("g", &id, 0));
    let (.., properties) = last_stored(&broker, &id);
    assert_eq!(
        (
            properties["RETRY_TOPIC"].as_str(),
            properties["ORIGIN_MESSAGE_ID"].as_str()
        ),
        ("First", "FIRST-ID")
    );
}

#[test]
fn a_message_consumed_too_often_or_unwanted_goes_to_the_dead_letters() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.broker.groups.put(SubscriptionGroupConfig {
        retry_max_times: 1,
        ..SubscriptionGroupConfig::new("g")
    });
    let header = |reconsume_times| remoting::header::SendMessageRequestHeader {
        reconsume_times,
        ..send_header("Orders", "DELAY\u{1}0\u{2}")
    };
    let producer = broker.client();
    let twice = producer.send(header(1), b"x").field("msgId").to_owned();
    call(&broker, &send_back("g", &twice, 0));
    let (topic, queue_id, reconsume_times, _, properties) = last_stored(&broker, &twice);
    assert_eq!(
        (
            topic.as_str(),
            queue_id,
            reconsume_times,
            properties["DELAY"].as_str()
        ),
        ("%DLQ%g", 0, 2, "0")
    );
    assert_eq!(broker.broker.topics.get("%DLQ%g").unwrap().write_queue_nums, 1);

    let once = producer.send(header(0), b"y").field("msgId").to_owned();
    call(&broker, &send_back("g", &once, -1));
    assert_eq!(last_stored(&broker, &once).0, "%DLQ%g");

    let allowed = producer.send(header(1), b"z").field("msgId").to_owned();
    call(
        &broker,
        &ConsumerSendMsgBackRequestHeader {
            max_reconsume_times: Some(5),
            ..send_back("g", &allowed, 0)
        },
    );
    assert_eq!(
        last_stored(&broker, &allowed).0,
        names::SCHEDULE_TOPIC,
        "the consumer's own limit counts"
    );
}

#[test]
fn a_group_without_retry_queues_drops_the_message() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.broker.groups.put(SubscriptionGroupConfig {
        retry_queue_nums: 0,
        ..SubscriptionGroupConfig::new("g")
    });
    let id = broker.client().must_send("Orders", &[], b"x");
    assert_eq!(
        call(&broker, &send_back("g", &id, 0)).code,
        response_code::SUCCESS
    );
    assert_eq!(broker.broker.store.state().put_message_count, 1);
}

#[test]
fn what_cannot_come_back_is_refused() {
    let strict = TestBroker::configured(&[("autoCreateSubscriptionGroup", "false")]).with_topic("Orders");
    let id = strict.client().must_send("Orders", &[], b"x");
    let refused = call(&strict, &send_back("nobody", &id, 0));
    assert_eq!(refused.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert!(
        refused
            .remark
            .starts_with("subscription group not exist, nobody "),
        "{}",
        refused.remark
    );

    let broker = TestBroker::new().with_topic("Orders");
    for offset in [-1, 5, 1 << 40] {
        let header = ConsumerSendMsgBackRequestHeader {
            offset,
            ..send_back("g", &id, 0)
        };
        let refused = call(&broker, &header);
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert_eq!(refused.remark, format!("look message by offset failed, {offset}"));
    }

    let closed = TestBroker::configured(&[("brokerPermission", "4")]).with_topic("Orders");
    let id = closed.client().must_send("Orders", &[], b"x");
    assert_eq!(
        call(&closed, &send_back("g", &id, 0)).code,
        response_code::NO_PERMISSION
    );
}
