//! QUERY_MESSAGE, VIEW_MESSAGE_BY_ID.

use remoting::codes::{request_code, response_code};
use remoting::header::{QueryMessageRequestHeader, ViewMessageRequestHeader};
use remoting::request::OutgoingRequest;

use super::*;

fn query(key: &str, index_type: Option<&str>) -> QueryMessageRequestHeader {
    QueryMessageRequestHeader {
        topic: "Orders".to_owned(),
        key: key.to_owned(),
        max_num: 10,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: index_type.map(str::to_owned),
        last_key: None,
        unique_key_query: None,
    }
}

fn with_indexed_messages() -> TestBroker {
    let broker = TestBroker::new().with_topic("Orders");
    let producer = broker.client();
    producer.must_send(
        "Orders",
        &[("KEYS", "k1 k2"), ("UNIQ_KEY", "U1"), ("TAGS", "red")],
        b"first",
    );
    producer.must_send(
        "Orders",
        &[("KEYS", "k2"), ("UNIQ_KEY", "U2"), ("TAGS", "blue")],
        b"second",
    );
    broker.settle();
    broker
}

#[test]
fn messages_are_found_by_key_by_unique_key_and_by_tag() {
    let broker = with_indexed_messages();
    let find = |header: &QueryMessageRequestHeader| {
        let answer = broker
            .client()
            .call(OutgoingRequest::new(request_code::QUERY_MESSAGE).header(header));
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        assert_eq!(answer.number("indexLastUpdateTimestamp"), NOW_MS);
        assert!(answer.number("indexLastUpdatePhyoffset") > 0);
        answer
            .bodies()
            .iter()
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(find(&query("k1", None)), ["first"]);
    assert_eq!(find(&query("k2", Some("K"))), ["first", "second"]);
    assert_eq!(find(&query("red", Some("T"))), ["first"]);
    let unique = QueryMessageRequestHeader {
        unique_key_query: Some(true),
        max_num: 0,
        ..query("U2", None)
    };
    assert_eq!(
        find(&unique),
        ["second"],
        "a unique key is asked for with a limit of the broker"
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let broker = with_indexed_messages();
    let late = QueryMessageRequestHeader {
        begin_timestamp: NOW_MS + 60_000,
        ..query("k1", None)
    };
    for header in [query("nothing", None), late] {
        let answer = broker
            .client()
            .call(OutgoingRequest::new(request_code::QUERY_MESSAGE).header(&header));
        assert_eq!(answer.code, response_code::QUERY_NOT_FOUND);
        assert_eq!(
            answer.remark,
            "can not find message, maybe time range not correct"
        );
    }
}

#[test]
fn a_message_is_viewed_by_its_place_in_the_log() {
    let broker = TestBroker::new().with_topic("Orders");
    let id = broker.client().must_send("Orders", &[], b"body");
    let (_, offset) = parse_offset_msg_id(&id).unwrap();
    let view = |offset| {
        let header = ViewMessageRequestHeader { topic: None, offset };
        broker
            .client()
            .call(OutgoingRequest::new(request_code::VIEW_MESSAGE_BY_ID).header(&header))
    };
    let answer = view(offset as i64);
    assert_eq!(
        (answer.code, answer.bodies()),
        (response_code::SUCCESS, vec![&b"body"[..]])
    );
    for nowhere in [-1, 3, i64::MAX] {
        let answer = view(nowhere);
        assert_eq!(answer.code, response_code::SYSTEM_ERROR);
        assert_eq!(
            answer.remark,
            format!("can not find message by the offset, {nowhere}")
        );
    }
}
