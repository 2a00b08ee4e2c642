//! QUERY_CONSUMER_OFFSET, UPDATE_CONSUMER_OFFSET and the offsets of queues.

use std::time::Duration;

use remoting::body::SubscriptionGroupConfig;
use remoting::codes::{request_code, response_code};
use remoting::header::{
    BoundaryType, GetEarliestMsgStoretimeRequestHeader, GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader, SearchOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::request::OutgoingRequest;

use super::*;

fn commit(broker: &TestBroker, group: &str, topic: &str, offset: i64) -> Answer {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: 0,
        commit_offset: offset,
        logical: None,
    };
    broker
        .client()
        .call(OutgoingRequest::new(request_code::UPDATE_CONSUMER_OFFSET).header(&header))
}

fn query(broker: &TestBroker, queue_id: i32, set_zero_if_not_found: Option<bool>) -> Answer {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: "g".into(),
        topic: "Orders".into(),
        queue_id,
        set_zero_if_not_found,
        logical: None,
    };
    broker
        .client()
        .call(OutgoingRequest::new(request_code::QUERY_CONSUMER_OFFSET).header(&header))
}

fn with_group() -> TestBroker {
    let broker = TestBroker::new().with_topic("Orders");
    broker.broker.groups.put(SubscriptionGroupConfig::new("g"));
    broker
}

#[test]
fn a_committed_offset_is_found_again() {
    let broker = with_group();
    assert_eq!(commit(&broker, "g", "Orders", 42).code, response_code::SUCCESS);
    let found = query(&broker, 0, None);
    assert_eq!((found.code, found.number("offset")), (response_code::SUCCESS, 42));
}

#[test]
fn an_offset_below_zero_counts_for_nothing() {
    let broker = with_group();
    assert_eq!(commit(&broker, "g", "Orders", -4).code, response_code::SUCCESS);
    assert_eq!(query(&broker, 0, None).code, response_code::QUERY_NOT_FOUND);
}

#[test]
fn a_commit_for_a_group_or_topic_that_does_not_exist_is_refused() {
    let broker = with_group();
    let no_group = commit(&broker, "nobody", "Orders", 1);
    assert_eq!(
        (no_group.code, no_group.remark.as_str()),
        (
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            "Group nobody not exist!"
        )
    );
    let no_topic = commit(&broker, "g", "Nowhere", 1);
    assert_eq!(
        (no_topic.code, no_topic.remark.as_str()),
        (response_code::TOPIC_NOT_EXIST, "Topic Nowhere not exist!")
    );
}

#[test]
fn a_commit_does_not_undo_a_reset_the_consumer_has_not_seen() {
    let broker = with_group();
    broker.broker.consumer_offsets.assign_reset("g", "Orders", 0, 5);
    let answer = commit(&broker, "g", "Orders", 42);
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "Offset has been previously reset")
    );
    assert_eq!(query(&broker, 0, None).number("offset"), 5);
}

#[test]
fn a_new_group_begins_at_zero_while_the_first_message_is_recent() {
    let broker = with_group();
    let nothing_yet = query(&broker, 0, None);
    assert_eq!(nothing_yet.code, response_code::QUERY_NOT_FOUND);
    assert!(
        nothing_yet.remark.starts_with("Not found, V3_0_6_SNAPSHOT"),
        "{}",
        nothing_yet.remark
    );

    broker.client().must_send("Orders", &[], b"x");
    broker.settle();
    let zero = query(&broker, 0, None);
    assert_eq!((zero.code, zero.number("offset")), (response_code::SUCCESS, 0));
    assert_eq!(query(&broker, 0, Some(true)).code, response_code::SUCCESS);
    let told_not_to = query(&broker, 0, Some(false));
    assert_eq!(told_not_to.code, response_code::QUERY_NOT_FOUND);
    assert!(
        told_not_to.remark.starts_with("Not found, do not set to zero"),
        "{}",
        told_not_to.remark
    );
}

#[test]
fn the_ends_of_a_queue_and_its_oldest_message_are_known() {
    let broker = with_group();
    let ends = |queue_id| {
        let topic = || std::borrow::Cow::Borrowed("Orders");
        let client = broker.client();
        let max = GetMaxOffsetRequestHeader {
            topic: topic(),
            queue_id,
            committed: true,
            logical: None,
        };
        let min = GetMinOffsetRequestHeader {
            topic: topic(),
            queue_id,
            logical: None,
        };
        let earliest = GetEarliestMsgStoretimeRequestHeader {
            topic: topic(),
            queue_id,
            logical: None,
        };
        (
            client
                .call(OutgoingRequest::new(request_code::GET_MIN_OFFSET).header(&min))
                .number("offset"),
            client
                .call(OutgoingRequest::new(request_code::GET_MAX_OFFSET).header(&max))
                .number("offset"),
            client
                .call(OutgoingRequest::new(request_code::GET_EARLIEST_MSG_STORETIME).header(&earliest))
                .number("timestamp"),
        )
    };
    assert_eq!(ends(0), (0, 0, -1));
    broker.client().must_send("Orders", &[], b"x");
    broker.clock.advance(Duration::from_secs(1));
    broker.client().must_send("Orders", &[], b"y");
    broker.settle();
    assert_eq!(ends(0), (0, 2, NOW_MS));
    assert_eq!(ends(3), (0, 0, -1));
}

#[test]
fn an_offset_is_found_by_store_time() {
    let broker = with_group();
    for _ in 0..3 {
        broker.client().must_send("Orders", &[], b"x");
        broker.clock.advance(Duration::from_secs(10));
    }
    broker.settle();
    let search = |timestamp, boundary_type| {
        let header = SearchOffsetRequestHeader {
            topic: "Orders".into(),
            lite_topic: None,
            queue_id: 0,
            timestamp,
            boundary_type,
            logical: None,
        };
        let request = OutgoingRequest::new(request_code::SEARCH_OFFSET_BY_TIMESTAMP).header(&header);
        broker.client().call(request).number("offset")
    };
    assert_eq!(search(NOW_MS + 10_000, BoundaryType::Lower), 1);
    assert_eq!(search(NOW_MS + 10_001, BoundaryType::Lower), 2);
    assert_eq!(search(NOW_MS + 19_999, BoundaryType::Upper), 1);
}
