//! Whatever a client sends is answered, held or passed over: nothing panics, and the broker serves on.

use common::random::Random;
use remoting::codes::request_code::*;
use remoting::request::OutgoingRequest;

use super::*;

/// What producers and consumers send; admin requests have tests of their own.
const CODES: [i32; 29] = [
    SEND_MESSAGE,
    SEND_MESSAGE_V2,
    SEND_BATCH_MESSAGE,
    SEND_REPLY_MESSAGE,
    SEND_REPLY_MESSAGE_V2,
    CONSUMER_SEND_MSG_BACK,
    PULL_MESSAGE,
    LITE_PULL_MESSAGE,
    HEART_BEAT,
    UNREGISTER_CLIENT,
    CHECK_CLIENT_CONFIG,
    GET_CONSUMER_LIST_BY_GROUP,
    LOCK_BATCH_MQ,
    UNLOCK_BATCH_MQ,
    QUERY_CONSUMER_OFFSET,
    UPDATE_CONSUMER_OFFSET,
    GET_MAX_OFFSET,
    GET_MIN_OFFSET,
    SEARCH_OFFSET_BY_TIMESTAMP,
    GET_EARLIEST_MSG_STORETIME,
    QUERY_MESSAGE,
    VIEW_MESSAGE_BY_ID,
    POP_MESSAGE,
    ACK_MESSAGE,
    BATCH_ACK_MESSAGE,
    CHANGE_MESSAGE_INVISIBLETIME,
    PEEK_MESSAGE,
    NOTIFICATION,
    POLLING_INFO,
];

const NAMES: [&str; 43] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "properties",
    "consumerGroup",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "offset",
    "group",
    "delayLevel",
    "timestamp",
    "clientID",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "invisibleTime",
    "pollTime",
    "bornTime",
    "initMode",
    "order",
    "exp",
    "extraInfo",
];

/// Fields with which most of the requests succeed.
const SOUND: [(&str, &str); 20] = [
    ("producerGroup", "g"),
    ("topic", "Orders"),
    ("queueId", "0"),
    ("consumerGroup", "g"),
    ("queueOffset", "0"),
    ("maxMsgNums", "32"),
    ("offset", "0"),
    ("group", "g"),
    ("delayLevel", "0"),
    ("commitOffset", "0"),
    ("timestamp", "0"),
    ("clientID", "c"),
    ("key", "k"),
    ("maxNum", "1"),
    ("beginTimestamp", "0"),
    ("endTimestamp", "0"),
    ("invisibleTime", "60000"),
    ("pollTime", "0"),
    ("initMode", "0"),
    ("extraInfo", "0 1700000000000 60000 0 0 broker-a 0 0"),
];

const VALUES: [&str; 31] = [
    "",
    "0",
    "1",
    "3",
    "-1",
    "4",
    "32",
    "2147483647",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "true",
    "Orders",
    "%RETRY%g",
    "%RETRY%",
    "%DLQ%g",
    "%LMQ%x",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "../up",
    "g",
    "*",
    "A || B",
    "||",
    "0 1 2 3 0 b 0 0",
    "9223372036854775807 -9223372036854775808 1 0 1 b",
    "0 1700000000000 60000 999 0 broker-a 0 0",
    "DELAY\u{1}2147483647\u{2}",
    "_SYS_MSG_PRIORITY_\u{1}2147483647\u{2}",
    "TIMER_DELAY_SEC\u{1}-9223372036854775808\u{2}UNIQ_KEY\u{1}\u{1}\u{2}",
];

const BODIES: [&[u8]; 9] = [
    b"",
    b"\0",
    b"{}",
    b"[[[[",
    br#"{"clientID":"c","consumerDataSet":[{"groupName":"g","subscriptionDataSet":[{"topic":"Orders","subString":"*"}]}]}"#,
    br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"topic":"Orders","brokerName":"b","queueId":-1}]}"#,
    br#"{"acks":[{"b":"/////w==","c":"g","it":9223372036854775807,"pt":9223372036854775807,"q":0,"r":"0","rq":0,"so":-1,"t":"Orders"}]}"#,
    &[0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0],
    &[0xFF; 64],
];

#[test]
fn garbage_is_answered_and_the_broker_serves_on() {
    let broker = TestBroker::new().with_topic("Orders");
    for seed in 0..4_000 {
        let random = Random::new(seed);
        let client = broker.client();
        let request = random_request(&random);
        let description = format!("seed {seed}: {request:?}");
        let handled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.try_call(request)));
        assert!(handled.is_ok(), "{description}");
    }
    broker.settle();
    let id = broker.client().must_send("Orders", &[], b"still here");
    assert_eq!(record::decode(&stored(&broker, &id)).unwrap().body, b"still here");
}

/// A request that would do, spoilt in up to six places: of a repeated field the last counts.
fn random_request(random: &Random) -> OutgoingRequest {
    let mut request = OutgoingRequest::new(pick(random, &CODES)).body(pick(random, &BODIES));
    for (name, value) in SOUND {
        request = request.field(name, value);
    }
    for _ in 0..random.below(7) {
        request = request.field(pick(random, &NAMES), pick(random, &VALUES));
    }
    request
}

fn pick<T: Copy>(random: &Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as i32) as usize]
}
