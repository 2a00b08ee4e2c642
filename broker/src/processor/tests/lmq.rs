//! Light message queues: one message in many queues.

use common::message::sys_flag::pull::{SUBSCRIPTION, SUSPEND};

use super::*;

fn broker_with_light_queues(settings: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<(&str, &str)> = [("enableLmq", "true"), ("enableMultiDispatch", "true")]
        .iter()
        .chain(settings)
        .copied()
        .collect();
    TestBroker::configured(&settings).with_topic("Orders")
}

fn pull_of(queue: &'static str, sys_flag: i32) -> PullMessageRequestHeader<'static> {
    PullMessageRequestHeader {
        sys_flag: SUBSCRIPTION | sys_flag,
        subscription: Some("*".into()),
        ..pull_header("%LMQ%g", queue, 0, 0)
    }
}

fn send(broker: &TestBroker, queues: &str) -> Answer {
    let properties = property_text(&[("INNER_MULTI_DISPATCH", queues)]);
    broker.client().send(send_header("Orders", &properties), b"m")
}

#[test]
fn a_message_is_pulled_from_each_queue_it_names() {
    let broker = broker_with_light_queues(&[]);
    let waiting = broker.client();
    let pull = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&pull_of("%LMQ%b", SUSPEND));
    assert!(waiting.try_call(pull).is_none());

    assert_eq!(send(&broker, "%LMQ%a,%LMQ%b").code, response_code::SUCCESS);
    broker.settle();
    let answer = broker.client().pull(&pull_of("%LMQ%a", 0));
    assert_eq!(answer.bodies(), [b"m"]);
    assert_eq!(waiting.resumed_answers()[0].bodies(), [b"m"]);
    assert!(
        !broker.broker.topics.snapshot().contains_key("%LMQ%a"),
        "not kept"
    );
}

#[test]
fn without_them_such_a_topic_does_not_exist() {
    let broker = TestBroker::new().with_topic("Orders");
    assert_eq!(send(&broker, "%LMQ%a").code, response_code::SUCCESS);
    broker.settle();
    let answer = broker.client().pull(&pull_of("%LMQ%a", 0));
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
}

#[test]
fn no_more_of_them_are_made_than_an_operator_allows() {
    let broker = broker_with_light_queues(&[("enableLmqQuota", "true"), ("maxLmqConsumeQueueNum", "2")]);
    assert_eq!(send(&broker, "%LMQ%a,%LMQ%b").code, response_code::SUCCESS);
    broker.settle();
    let refused = send(&broker, "%LMQ%a,%LMQ%c");
    assert_eq!(refused.code, response_code::LMQ_QUOTA_EXCEEDED);
    assert!(
        refused
            .remark
            .starts_with("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded."),
        "{}",
        refused.remark
    );
    assert_eq!(send(&broker, "%LMQ%b").code, response_code::SUCCESS);
}

#[test]
fn names_that_can_be_no_queue_are_passed_over() {
    let broker = broker_with_light_queues(&[]);
    let queues = format!("../../x,%LMQ%{},%LMQ%a", "x".repeat(300));
    assert_eq!(send(&broker, &queues).code, response_code::SUCCESS);
    broker.settle();
    assert_eq!(broker.client().pull(&pull_of("%LMQ%a", 0)).bodies(), [b"m"]);
}

#[test]
fn a_message_that_waits_or_is_tried_again_is_in_no_light_queue_before_it_is_delivered() {
    let broker = broker_with_light_queues(&[]);
    let client = broker.client();
    client.subscribe("c", "g", "Orders", "*");
    for topic in ["Orders", "%RETRY%g"] {
        let delay = if topic == "Orders" { "3" } else { "0" };
        let properties = property_text(&[("INNER_MULTI_DISPATCH", "%LMQ%a"), ("DELAY", delay)]);
        let answer = client.send(send_header(topic, &properties), b"elsewhere");
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    }
    assert_eq!(send(&broker, "%LMQ%a").code, response_code::SUCCESS);
    broker.settle();
    let answer = client.pull(&pull_of("%LMQ%a", 0));
    assert_eq!(answer.bodies(), [b"m"]);
    assert_eq!(answer.number("maxOffset"), 1, "nothing has a number there");
}
