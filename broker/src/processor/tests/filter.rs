//! SQL92 filters: CHECK_CLIENT_CONFIG, heartbeats and pulls.

use std::time::Duration;

use common::message::sys_flag::pull::{SUBSCRIPTION, SUSPEND};
use remoting::body::client::CheckClientRequestBody;
use remoting::body::fastjson;

use super::*;

fn broker_with_filters(settings: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<(&str, &str)> = [("enablePropertyFilter", "true")]
        .iter()
        .chain(settings)
        .copied()
        .collect();
    TestBroker::configured(&settings).with_topic("Orders")
}

fn sql(topic: &str, expression: &str, sub_version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        expression_type: "SQL92".to_owned(),
        sub_version,
        ..SubscriptionData::default()
    }
}

/// Messages whose property `n` and body are 0, 1, ...
fn send_numbers(broker: &TestBroker, count: usize) {
    for n in 0..count {
        let n = n.to_string();
        broker.client().must_send("Orders", &[("n", &n)], n.as_bytes());
    }
    broker.settle();
}

fn pull_of<'a>(group: &'a str, sub_version: i64) -> PullMessageRequestHeader<'a> {
    PullMessageRequestHeader {
        sub_version,
        ..pull_header(group, "Orders", 0, 0)
    }
}

fn pull_with<'a>(expression: &'a str) -> PullMessageRequestHeader<'a> {
    PullMessageRequestHeader {
        sys_flag: SUBSCRIPTION,
        subscription: Some(Cow::Borrowed(expression)),
        expression_type: Some(Cow::Borrowed("SQL92")),
        ..pull_header("g", "Orders", 0, 0)
    }
}

#[test]
fn a_consumer_is_told_before_it_starts_what_is_wrong_with_its_expression() {
    let check = |broker: &TestBroker, subscription| {
        let body = CheckClientRequestBody {
            subscription_data: Some(subscription),
            ..CheckClientRequestBody::default()
        };
        let body = fastjson::to_vec(&body).unwrap();
        let answer = broker
            .client()
            .call(OutgoingRequest::new(request_code::CHECK_CLIENT_CONFIG).body(body));
        (answer.code, answer.remark)
    };
    let broker = broker_with_filters(&[]);
    assert_eq!(
        check(&broker, sql("Orders", "n > 1", 1)).0,
        response_code::SUCCESS
    );
    assert_eq!(
        check(&broker, sql("Orders", "n >\n )", 1)),
        (
            response_code::SUBSCRIPTION_PARSE_FAILED,
            "Invalid MessageSelector. encountered \")\", expected a value at line 2, column 2".to_owned()
        )
    );
    let of_unknown_type = SubscriptionData {
        expression_type: "XPATH".to_owned(),
        ..sql("Orders", "n", 1)
    };
    assert_eq!(
        check(&broker, of_unknown_type).0,
        response_code::SUBSCRIPTION_PARSE_FAILED
    );
    assert_eq!(
        check(&TestBroker::new(), sql("Orders", "n > 1", 1)),
        (
            response_code::SYSTEM_ERROR,
            "The broker does not support consumer to filter message by SQL92".to_owned()
        )
    );
}

#[test]
fn a_pull_is_filtered_by_what_the_heartbeat_brought() {
    let broker = broker_with_filters(&[]);
    send_numbers(&broker, 6);
    let client = broker.client();
    client.heartbeat(&heartbeat(
        "c",
        "g",
        vec![sql("Orders", "n BETWEEN 2 AND 3", NOW_MS)],
    ));
    let answer = client.pull(&pull_of("g", NOW_MS));
    assert_eq!(answer.bodies(), [b"2", b"3"]);
    assert_eq!(answer.number("nextBeginOffset"), 6);

    let nothing = client.pull(&PullMessageRequestHeader {
        queue_offset: 4,
        ..pull_of("g", NOW_MS)
    });
    assert_eq!(nothing.code, response_code::PULL_RETRY_IMMEDIATELY);
    assert_eq!(nothing.number("nextBeginOffset"), 6);
}

#[test]
fn a_pull_is_refused_while_its_filter_is_missing_or_old() {
    let broker = broker_with_filters(&[]);
    let client = broker.client();
    client.heartbeat(&heartbeat("c", "g", vec![sql("Orders", "n >", NOW_MS)]));
    let missing = client.pull(&pull_of("g", NOW_MS));
    assert_eq!(missing.code, response_code::FILTER_DATA_NOT_EXIST);
    assert_eq!(
        missing.remark,
        "The broker's consumer filter data is not exist!Your expression may be wrong!"
    );

    client.heartbeat(&heartbeat("c", "h", vec![sql("Orders", "n > 1", NOW_MS)]));
    client.heartbeat(&heartbeat(
        "c",
        "h",
        vec![SubscriptionData {
            sub_version: NOW_MS + 1,
            ..sql("Orders", "", NOW_MS)
        }],
    ));
    let old = client.pull(&pull_of("h", NOW_MS + 1));
    assert_eq!(old.code, response_code::FILTER_DATA_NOT_LATEST);
    assert_eq!(old.remark, "the consumer's consumer filter data not latest");
}

#[test]
fn a_pull_with_a_subscription_of_its_own_needs_no_heartbeat() {
    let broker = broker_with_filters(&[]);
    send_numbers(&broker, 3);
    let client = broker.client();
    assert_eq!(client.pull(&pull_with("n = 1 OR n = 2")).bodies(), [b"1", b"2"]);
    for bad in ["n >", ""] {
        let refused = client.pull(&pull_with(bad));
        assert_eq!(refused.code, response_code::SUBSCRIPTION_PARSE_FAILED);
        assert_eq!(refused.remark, "parse the consumer's subscription failed");
    }
}

#[test]
fn filters_are_refused_by_name_where_an_operator_did_not_allow_them() {
    let broker = TestBroker::new().with_topic("Orders");
    let client = broker.client();
    client.heartbeat(&heartbeat("c", "h", vec![sql("Orders", "n > 1", NOW_MS)]));
    for pull in [pull_with("n > 1"), pull_of("h", NOW_MS)] {
        let refused = client.pull(&pull);
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert_eq!(
            refused.remark,
            "The broker does not support consumer to filter message by SQL92"
        );
    }
    assert_eq!(
        client.pull(&pull_with("")).code,
        response_code::SUBSCRIPTION_PARSE_FAILED
    );
}

#[test]
fn a_held_pull_sleeps_through_messages_it_does_not_want() {
    let broker = broker_with_filters(&[]);
    let client = broker.client();
    let pull = PullMessageRequestHeader {
        sys_flag: SUBSCRIPTION | SUSPEND,
        ..pull_with("n = 1")
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&pull);
    assert!(client.try_call(request).is_none());
    broker.client().must_send("Orders", &[("n", "0")], b"0");
    broker.settle();
    assert!(client.resumed_answers().is_empty());
    broker.client().must_send("Orders", &[("n", "1")], b"1");
    broker.settle();
    assert_eq!(client.resumed_answers()[0].bodies(), [b"1"]);
}

#[test]
fn a_retried_message_is_filtered_by_its_topic_where_an_operator_wants_that() {
    for (retries_are_filtered, expected) in [("false", vec!["2"]), ("true", vec!["2", "of no topic"])] {
        let broker = broker_with_filters(&[("filterSupportRetry", retries_are_filtered)]);
        let client = broker.client();
        client.heartbeat(&heartbeat(
            "c",
            "g",
            vec![
                sql("Orders", "n = 2", NOW_MS),
                sql("%RETRY%g", "RETRY_TOPIC = 'Orders' AND n = 2", NOW_MS),
            ],
        ));
        for n in ["1", "2"] {
            let properties = [("RETRY_TOPIC", "Orders"), ("n", n)];
            broker.client().must_send("%RETRY%g", &properties, n.as_bytes());
        }
        broker.client().must_send("%RETRY%g", &[], b"of no topic");
        broker.settle();
        let answer = client.pull(&PullMessageRequestHeader {
            sub_version: NOW_MS,
            ..pull_header("g", "%RETRY%g", 0, 0)
        });
        let expected: Vec<&[u8]> = expected.iter().map(|body| body.as_bytes()).collect();
        assert_eq!(
            answer.bodies(),
            expected,
            "filterSupportRetry={retries_are_filtered}"
        );
    }
}

#[test]
fn the_filter_of_a_group_without_members_dies_and_is_forgotten_a_day_later() {
    let broker = broker_with_filters(&[]);
    let client = broker.client();
    client.heartbeat(&heartbeat("c", "g", vec![sql("Orders", "n = 2", NOW_MS)]));
    let filter = || broker.broker.consumer_filters.get("g", "Orders");
    assert!(!filter().unwrap().is_dead());
    remoting::routes::ConnectionEvents::connection_closed(&*broker.broker, &client.connection);
    assert!(filter().unwrap().is_dead());
    broker.clock.advance(Duration::from_secs(24 * 3600));
    let mut ticks = crate::services::BrokerTicks::of(&broker.broker).unwrap();
    tick(&mut ticks.client_expiry, &broker.clock);
    assert!(filter().is_none());
}
