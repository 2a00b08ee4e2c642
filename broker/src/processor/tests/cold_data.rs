//! Groups that read old messages, and the operator who slows them down.

use std::time::Duration;

use common::message::sys_flag::pull::SUBSCRIPTION;
use remoting::body::ConsumeType;

use super::*;

/// Every message but the last counts as too old to be in memory.
fn broker_with_old_messages(settings: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<(&str, &str)> = [
        ("coldDataFlowControlEnable", "true"),
        ("accessMessageInMemoryMaxRatio", "0"),
        ("cgColdReadThreshold", "100"),
    ]
    .iter()
    .chain(settings)
    .copied()
    .collect();
    let broker = TestBroker::configured(&settings).with_topic("Orders");
    for n in 0..5 {
        broker
            .client()
            .must_send("Orders", &[], format!("m{n}").as_bytes());
    }
    broker.settle();
    broker
}

fn admin(broker: &TestBroker, code: i32, body: &str) -> Answer {
    let answer = broker
        .client()
        .call(OutgoingRequest::new(code).body(body.as_bytes().to_vec()));
    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    answer
}

fn info(broker: &TestBroker) -> String {
    let answer = admin(broker, request_code::GET_COLD_DATA_FLOW_CTR_INFO, "");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// With the subscription in the request, as pull consumers send it.
fn pull_from_the_beginning() -> PullMessageRequestHeader<'static> {
    PullMessageRequestHeader {
        sys_flag: SUBSCRIPTION,
        subscription: Some("*".into()),
        ..pull_header("g", "Orders", 0, 0)
    }
}

#[test]
fn a_push_consumer_that_read_too_much_is_told_to_come_later() {
    let broker = broker_with_old_messages(&[]);
    let client = broker.client();
    let mut beat = heartbeat("c", "g", vec![crate::filter::tags::all("Orders")]);
    beat.consumer_data_set[0].consume_type = ConsumeType::Passively;
    client.heartbeat(&beat);
    let pull = pull_header("g", "Orders", 0, 0);
    assert_eq!(client.pull(&pull).bodies().len(), 5);
    assert!(
        info(&broker).contains(r#""runtimeTable":{"g":{"coldAcc":"#),
        "{}",
        info(&broker)
    );

    let refused = client.pull(&pull);
    assert_eq!(
        (refused.code, refused.remark.as_str()),
        (
            response_code::SYSTEM_BUSY,
            "This consumer group is reading cold data. It has been flow control"
        )
    );
    broker.clock.advance(Duration::from_secs(5));
    assert_eq!(client.pull(&pull).code, response_code::SUCCESS);
}

#[test]
fn a_pull_consumer_that_read_too_much_waits_and_gets_one_message() {
    let broker = broker_with_old_messages(&[]);
    let client = broker.client();
    let pull = pull_from_the_beginning();
    assert_eq!(client.pull(&pull).bodies().len(), 5);
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&pull);
    assert!(client.try_call(request).is_none());
    broker.broker.pull_hold.expire(broker.clock.wall_ms() + 999);
    assert!(client.connection.take_resumed().is_empty());
    broker.broker.pull_hold.expire(broker.clock.wall_ms() + 1_000);
    assert_eq!(client.resumed_answers()[0].bodies(), [b"m0"]);
}

#[test]
fn an_operator_sets_the_threshold_of_a_group_and_takes_it_back() {
    let broker = broker_with_old_messages(&[]);
    admin(
        &broker,
        request_code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG,
        "g=5000\nh=no number\n",
    );
    let before = info(&broker);
    for part in [
        r#""configTable":{"g":5000}"#,
        r#""cgColdReadThreshold":100"#,
        r#""globalAcc":0"#,
    ] {
        assert!(before.contains(part), "{part} in {before}");
    }
    admin(&broker, request_code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, "g");
    assert!(info(&broker).contains(r#""configTable":{}"#));
}

#[test]
fn a_group_may_read_more_while_all_together_read_little() {
    let broker = broker_with_old_messages(&[
        ("coldCtrStrategyEnable", "true"),
        ("usePIDColdCtrStrategy", "false"),
    ]);
    let client = broker.client();
    let pull = pull_from_the_beginning();
    assert_eq!(client.pull(&pull).bodies().len(), 5);
    broker.clock.advance(Duration::from_secs(5));
    let shown = info(&broker);
    assert!(shown.contains(r#""configTable":{"g||adaptive":150}"#), "{shown}");
    broker.clock.advance(Duration::from_secs(60));
    assert!(info(&broker).contains(r#""configTable":{}"#));
}

#[test]
fn without_control_nothing_is_counted() {
    let broker = broker_with_old_messages(&[("coldDataFlowControlEnable", "false")]);
    let pull = pull_from_the_beginning();
    for _ in 0..2 {
        assert_eq!(broker.client().pull(&pull).bodies().len(), 5);
    }
    assert!(info(&broker).contains(r#""runtimeTable":{}"#));
}

#[test]
fn the_read_mode_of_the_log_is_normal_or_random() {
    let broker = broker_with_old_messages(&[]);
    let set = |mode: &str| {
        let request =
            OutgoingRequest::new(request_code::SET_COMMITLOG_READ_MODE).field("READ_AHEAD_MODE", mode);
        let answer = broker.client().call(request);
        (answer.code, answer.remark)
    };
    assert_eq!(
        set("1"),
        (
            response_code::SUCCESS,
            "set commitlog readahead mode success, mode: 1".to_owned()
        )
    );
    assert!(!broker.broker.store_config.get().data_read_ahead_enable);
    assert_eq!(set("0").0, response_code::SUCCESS);
    assert!(broker.broker.store_config.get().data_read_ahead_enable);
    assert_eq!(set("2").0, response_code::INVALID_PARAMETER);
    assert_eq!(set("x").0, response_code::SYSTEM_ERROR);
    let without = broker
        .client()
        .call(OutgoingRequest::new(request_code::SET_COMMITLOG_READ_MODE));
    assert_eq!(without.code, response_code::SYSTEM_ERROR);
}
