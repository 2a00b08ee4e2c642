//! HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG, GET_CONSUMER_LIST_BY_GROUP, LOCK_BATCH_MQ, UNLOCK_BATCH_MQ.

use std::collections::BTreeSet;
use std::time::Duration;

use remoting::body::fastjson;
use remoting::body::{
    CheckClientRequestBody, ConsumeType, ConsumerData, GetConsumerListByGroupResponseBody, HeartbeatData,
    LockBatchRequestBody, LockBatchResponseBody, MessageQueue, ProducerData, SubscriptionData,
    UnlockBatchRequestBody,
};
use remoting::codes::{request_code, response_code};
use remoting::header::{GetConsumerListByGroupRequestHeader, UnregisterClientRequestHeader};
use remoting::request::OutgoingRequest;

use super::*;
use crate::filter::tags;
use crate::services::BrokerTicks;

fn members(broker: &TestBroker, group: &str) -> Answer {
    let header = GetConsumerListByGroupRequestHeader {
        consumer_group: group.into(),
    };
    broker
        .client()
        .call(OutgoingRequest::new(request_code::GET_CONSUMER_LIST_BY_GROUP).header(&header))
}

fn member_ids(answer: &Answer) -> Vec<String> {
    let body: GetConsumerListByGroupResponseBody = fastjson::from_slice(&answer.body).unwrap();
    body.consumer_id_list
}

#[test]
fn a_heartbeat_makes_the_group_its_retry_topic_and_its_members_known() {
    let broker = TestBroker::new().with_topic("Orders");
    let answer = broker.client().subscribe("c1", "g", "Orders", "A");
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "")
    );
    assert_eq!(answer.field("IS_SUPPORT_HEART_BEAT_V2"), "true");
    assert_eq!(answer.field("IS_SUB_CHANGE"), "true");

    assert!(broker.broker.groups.contains("g"));
    let retry = broker.broker.topics.get("%RETRY%g").unwrap();
    assert_eq!(
        (retry.read_queue_nums, retry.write_queue_nums, retry.perm),
        (1, 1, 6)
    );
    assert_eq!(
        broker
            .broker
            .consumers
            .subscription("g", "Orders")
            .unwrap()
            .sub_string,
        "A"
    );
    assert_eq!(member_ids(&members(&broker, "g")), ["c1"]);
}

#[test]
fn members_are_told_when_one_joins_or_leaves() {
    let broker = TestBroker::new().with_topic("Orders");
    let mut services = BrokerTicks::of(&broker.broker).unwrap();
    let mut tell = || {
        broker.clock.advance(Duration::from_secs(1));
        tick(&mut services.consumer_notices, &broker.clock);
    };
    let (first, second) = (broker.client(), broker.client());
    first.subscribe("c1", "g", "Orders", "*");
    tell();
    first.connection.take_sent();
    second.subscribe("c2", "g", "Orders", "*");
    tell();
    let told = first.connection.take_sent();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].code, request_code::NOTIFY_CONSUMER_IDS_CHANGED);
    assert_eq!(told[0].fields().get("consumerGroup").as_deref(), Some("g"));
    assert!(told[0].is_oneway());
    assert_eq!(member_ids(&members(&broker, "g")).len(), 2);

    let header = UnregisterClientRequestHeader {
        client_id: "c2".to_owned(),
        producer_group: None,
        consumer_group: Some("g".to_owned()),
    };
    let answer = second.call(OutgoingRequest::new(request_code::UNREGISTER_CLIENT).header(&header));
    assert_eq!(answer.code, response_code::SUCCESS);
    tell();
    assert_eq!(first.connection.take_sent().len(), 1);
    assert_eq!(member_ids(&members(&broker, "g")), ["c1"]);
}

#[test]
fn a_heartbeat_makes_producers_known_until_they_unregister() {
    let broker = TestBroker::new();
    let producer = broker.client();
    let heartbeat = HeartbeatData {
        client_id: "p1".to_owned(),
        producer_data_set: vec![ProducerData {
            group_name: "producers".to_owned(),
        }],
        ..HeartbeatData::default()
    };
    assert_eq!(producer.heartbeat(&heartbeat).code, response_code::SUCCESS);
    assert_eq!(
        broker.broker.producers.by_client_id("p1").unwrap().id(),
        producer.connection.id()
    );
    assert_eq!(broker.broker.producers.of_group("producers").len(), 1);

    let header = UnregisterClientRequestHeader {
        client_id: "p1".to_owned(),
        producer_group: Some("producers".to_owned()),
        consumer_group: None,
    };
    producer.call(OutgoingRequest::new(request_code::UNREGISTER_CLIENT).header(&header));
    assert!(broker.broker.producers.by_client_id("p1").is_none());
}

#[test]
fn a_client_may_leave_out_subscriptions_only_once_the_broker_has_them() {
    let broker = TestBroker::new().with_topic("Orders");
    let consumer = broker.client();
    let full = HeartbeatData {
        heartbeat_fingerprint: 77,
        ..heartbeat("c1", "g", vec![tags::build("Orders", "A").unwrap()])
    };
    let short = HeartbeatData {
        without_sub: true,
        ..heartbeat_of(&full, Vec::new())
    };

    let unknown = consumer.heartbeat(&short);
    assert_eq!(
        (unknown.code, unknown.field("IS_SUB_CHANGE")),
        (response_code::SUCCESS, "true"),
        "please send them"
    );
    consumer.heartbeat(&full);
    assert_eq!(consumer.heartbeat(&full).field("IS_SUB_CHANGE"), "false");
    assert_eq!(consumer.heartbeat(&short).field("IS_SUB_CHANGE"), "false");
    assert_eq!(
        broker
            .broker
            .consumers
            .subscription("g", "Orders")
            .unwrap()
            .sub_string,
        "A"
    );

    let changed = HeartbeatData {
        heartbeat_fingerprint: 78,
        ..short
    };
    assert_eq!(consumer.heartbeat(&changed).field("IS_SUB_CHANGE"), "true");
}

fn heartbeat_of(other: &HeartbeatData, subscriptions: Vec<SubscriptionData>) -> HeartbeatData {
    HeartbeatData {
        heartbeat_fingerprint: other.heartbeat_fingerprint,
        ..heartbeat("c1", "g", subscriptions)
    }
}

#[test]
fn a_group_that_may_not_be_created_is_passed_over() {
    let broker = TestBroker::configured(&[("autoCreateSubscriptionGroup", "false")]).with_topic("Orders");
    let answer = broker.client().subscribe("c1", "nobody", "Orders", "*");
    assert_eq!(answer.code, response_code::SUCCESS);
    assert!(broker.broker.consumers.info("nobody").is_none());
    assert!(broker.broker.topics.get("%RETRY%nobody").is_none());
    let list = members(&broker, "nobody");
    assert_eq!(
        (list.code, list.remark.as_str()),
        (response_code::SYSTEM_ERROR, "no consumer for this group, nobody")
    );
}

#[test]
fn pull_consumers_are_passed_over_where_an_operator_wants_that() {
    let broker = TestBroker::configured(&[("rejectPullConsumerEnable", "true")]);
    let consumer = |consume_type| HeartbeatData {
        client_id: "c1".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "g".to_owned(),
            consume_type,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    broker.client().heartbeat(&consumer(ConsumeType::Actively));
    assert!(broker.broker.consumers.info("g").is_none());
    broker.client().heartbeat(&consumer(ConsumeType::Passively));
    assert!(broker.broker.consumers.info("g").is_some());
}

#[test]
fn a_heartbeat_that_is_no_heartbeat_is_refused() {
    let broker = TestBroker::new();
    for body in ["", "{", "[1]", "\u{0}"] {
        let answer = broker
            .client()
            .call(OutgoingRequest::new(request_code::HEART_BEAT).body(body));
        assert_eq!(answer.code, response_code::SYSTEM_ERROR, "{body:?}");
        assert!(
            answer.remark.starts_with("request body cannot be read"),
            "{}",
            answer.remark
        );
    }
}

#[test]
fn a_consumer_learns_before_it_starts_whether_its_filter_can_be_served() {
    let broker = TestBroker::new();
    let check = |subscription_data| {
        let body = CheckClientRequestBody {
            subscription_data,
            ..CheckClientRequestBody::default()
        };
        let request =
            OutgoingRequest::new(request_code::CHECK_CLIENT_CONFIG).body(fastjson::to_vec(&body).unwrap());
        broker.client().call(request)
    };
    assert_eq!(
        check(Some(tags::build("Orders", "A").unwrap())).code,
        response_code::SUCCESS
    );
    assert_eq!(check(None).code, response_code::SUCCESS);
    let sql = SubscriptionData {
        expression_type: "SQL92".to_owned(),
        ..SubscriptionData::default()
    };
    let refused = check(Some(sql));
    assert_eq!(refused.code, response_code::SYSTEM_ERROR);
    assert_eq!(
        refused.remark,
        "The broker does not support consumer to filter message by SQL92"
    );
}

#[test]
fn a_queue_is_locked_for_one_client_until_it_gives_it_back_or_a_minute_passes() {
    let broker = TestBroker::new();
    let queue = |queue_id| MessageQueue {
        topic: "Orders".to_owned(),
        broker_name: "broker-a".to_owned(),
        queue_id,
    };
    let lock = |client_id: &str, queues: &[i32]| {
        let body = LockBatchRequestBody {
            consumer_group: "g".to_owned(),
            client_id: client_id.to_owned(),
            mq_set: queues.iter().map(|id| queue(*id)).collect(),
            only_this_broker: false,
        };
        let request =
            OutgoingRequest::new(request_code::LOCK_BATCH_MQ).body(fastjson::to_vec(&body).unwrap());
        let answer = broker.client().call(request);
        assert_eq!(answer.code, response_code::SUCCESS);
        let locked: LockBatchResponseBody = fastjson::from_slice(&answer.body).unwrap();
        locked.lock_ok_mq_set
    };
    assert_eq!(lock("c1", &[0, 1]), BTreeSet::from([queue(0), queue(1)]));
    assert_eq!(lock("c2", &[1, 2]), BTreeSet::from([queue(2)]));

    let body = UnlockBatchRequestBody {
        consumer_group: "g".to_owned(),
        client_id: "c1".to_owned(),
        mq_set: BTreeSet::from([queue(1), queue(2)]),
        only_this_broker: false,
    };
    let request = OutgoingRequest::new(request_code::UNLOCK_BATCH_MQ).body(fastjson::to_vec(&body).unwrap());
    assert_eq!(broker.client().call(request).code, response_code::SUCCESS);
    assert_eq!(
        lock("c3", &[0, 1, 2]),
        BTreeSet::from([queue(1)]),
        "c2 keeps queue 2, c1 keeps queue 0"
    );

    broker.clock.advance(Duration::from_millis(60_001));
    assert_eq!(lock("c4", &[0, 2]).len(), 2);
}
