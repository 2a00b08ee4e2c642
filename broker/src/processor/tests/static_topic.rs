//! Static topics on the broker that leads their queues. What needs a second broker is in compat-tests, StaticTopicTest.

use remoting::body::static_topic::{LogicQueueMappingItem, TopicQueueMappingDetail};
use remoting::body::{
    SubscriptionGroupConfig, TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping, fastjson,
};

use super::*;

const TOPIC: &str = "Static";
const GROUP: &str = "Readers";

fn place(generation: i32, broker: &str, queue_id: i32, logic_offset: i64) -> LogicQueueMappingItem {
    LogicQueueMappingItem {
        r#gen: generation,
        bname: broker.to_owned(),
        queue_id,
        logic_offset,
        ..LogicQueueMappingItem::default()
    }
}

fn create(client: &TestClient, hosted_queues: &[(i32, Vec<LogicQueueMappingItem>)]) -> Answer {
    let mapping = TopicQueueMappingDetail {
        bname: "broker-a".to_owned(),
        epoch: 1,
        topic: TOPIC.to_owned(),
        total_queues: 8,
        hosted_queues: hosted_queues.iter().cloned().collect(),
        ..TopicQueueMappingDetail::default()
    };
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "3"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
        ("force", "false"),
    ];
    let request = OutgoingRequest::new(request_code::UPDATE_AND_CREATE_STATIC_TOPIC)
        .body(fastjson::to_vec(&mapping).expect("a mapping"));
    let request = fields
        .iter()
        .fold(request, |request, (name, value)| request.field(name, value));
    client.call(request)
}

/// Queue 5 is queue 2 of this broker and begins at 10000, after it lived on broker-b; queue 6 is on broker-b.
fn with_static_topic() -> TestBroker {
    let broker = TestBroker::new();
    broker.broker.groups.put(SubscriptionGroupConfig::new(GROUP));
    let came = vec![
        LogicQueueMappingItem {
            end_offset: 40,
            ..place(0, "broker-b", 1, 0)
        },
        place(1, "broker-a", 2, 10_000),
    ];
    let answer = create(
        &broker.client(),
        &[(5, came), (6, vec![place(0, "broker-b", 0, 0)])],
    );
    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    broker
}

fn ask(client: &TestClient, code: i32, queue_id: &str, more: &[(&str, &str)]) -> Answer {
    let request = OutgoingRequest::new(code)
        .field("topic", TOPIC)
        .field("queueId", queue_id);
    client.call(
        more.iter()
            .fold(request, |request, (name, value)| request.field(name, value)),
    )
}

#[test]
fn messages_of_a_logical_queue_are_sent_read_and_committed_in_its_own_numbers() {
    let broker = with_static_topic();
    let client = broker.client();
    for body in [b"one", b"two"] {
        let header = SendMessageRequestHeader {
            queue_id: 5,
            ..send_header(TOPIC, "")
        };
        let answer = client.send(header, body);
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        assert_eq!(answer.field("queueId"), "5");
    }
    broker.settle();
    let max = ask(&client, request_code::GET_MAX_OFFSET, "5", &[]);
    assert_eq!(max.number("offset"), 10_002);
    let physical = ask(&client, request_code::GET_MAX_OFFSET, "2", &[("lo", "false")]);
    assert_eq!(physical.number("offset"), 2, "as other brokers ask");

    client.subscribe("c1", GROUP, TOPIC, "*");
    let pulled = client.pull(&pull_header(GROUP, TOPIC, 5, 10_001));
    assert_eq!(pulled.bodies(), [b"two"]);
    assert_eq!(
        ["nextBeginOffset", "minOffset", "maxOffset", "offsetDelta"].map(|name| pulled.number(name)),
        [10_002, 10_000, 10_002, 10_000]
    );

    let committed = ask(
        &client,
        request_code::UPDATE_CONSUMER_OFFSET,
        "5",
        &[("consumerGroup", GROUP), ("commitOffset", "10002")],
    );
    assert_eq!(committed.code, response_code::SUCCESS, "{}", committed.remark);
    assert_eq!(broker.broker.consumer_offsets.query(GROUP, TOPIC, 2), Some(2));
}

#[test]
fn a_send_to_any_queue_goes_to_one_that_is_led_here() {
    let broker = with_static_topic();
    let header = SendMessageRequestHeader {
        queue_id: -1,
        ..send_header(TOPIC, "")
    };
    let answer = broker.client().send(header, b"anywhere");
    assert_eq!(
        (answer.field("queueId"), answer.field("queueOffset")),
        ("5", "10000")
    );
}

#[test]
fn a_queue_of_another_broker_is_refused() {
    let broker = with_static_topic();
    let client = broker.client();
    for queue_id in ["6", "7"] {
        for code in [
            request_code::GET_MAX_OFFSET,
            request_code::GET_MIN_OFFSET,
            request_code::GET_EARLIEST_MSG_STORETIME,
        ] {
            let answer = ask(&client, code, queue_id, &[]);
            assert_eq!(answer.code, response_code::NOT_LEADER_FOR_QUEUE, "{code}");
        }
    }
    let header = SendMessageRequestHeader {
        queue_id: 6,
        ..send_header(TOPIC, "")
    };
    assert_eq!(
        client.send(header, b"x").code,
        response_code::NOT_LEADER_FOR_QUEUE
    );
    let pulled = client.pull(&pull_header(GROUP, TOPIC, 6, 0));
    assert_eq!(pulled.code, response_code::NOT_LEADER_FOR_QUEUE);
}

#[test]
fn the_mapping_is_shown_on_disk_before_the_answer_and_goes_with_the_topic() {
    let broker = with_static_topic();
    let client = broker.client();
    let shown = |logical: &str| -> Option<TopicQueueMappingDetail> {
        let answer = ask(&client, request_code::GET_TOPIC_CONFIG, "0", &[("lo", logical)]);
        let config: TopicConfigAndQueueMapping = fastjson::from_slice(&answer.body).expect("a topic");
        config.mapping_detail
    };
    assert_eq!(shown("true").expect("the mapping").hosted_queues.len(), 2);
    assert_eq!(shown("false"), None);
    let all = client.call(OutgoingRequest::new(request_code::GET_ALL_TOPIC_CONFIG));
    let all: TopicConfigAndMappingSerializeWrapper = fastjson::from_slice(&all.body).expect("topics");
    assert!(all.topic_queue_mapping_detail_map.contains_key(TOPIC));
    let file = broker._directory.path().join("config/topicQueueMapping.json");
    assert!(std::fs::read_to_string(&file).unwrap().contains(TOPIC));

    let deleted = ask(&client, request_code::DELETE_TOPIC_IN_BROKER, "0", &[]);
    assert_eq!(deleted.code, response_code::SUCCESS, "{}", deleted.remark);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(TOPIC));
}

#[test]
fn a_mapping_that_cannot_be_accepted_makes_no_topic() {
    let broker = TestBroker::new();
    let client = broker.client();
    let overlapping = vec![place(0, "broker-b", 0, 0), place(0, "broker-a", 0, 0)];
    assert_eq!(
        create(&client, &[(0, overlapping)]).code,
        response_code::SYSTEM_ERROR
    );
    let request = OutgoingRequest::new(request_code::UPDATE_AND_CREATE_STATIC_TOPIC).field("topic", TOPIC);
    assert_ne!(
        client.call(request).code,
        response_code::SUCCESS,
        "without a mapping"
    );
    assert!(!broker.broker.topics.contains(TOPIC));
}
