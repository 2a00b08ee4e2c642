//! SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::names;
use remoting::body::{MessageQueue, SubscriptionGroupConfig, TopicConfig};
use remoting::codes::{request_code, response_code};
use remoting::header::SendMessageRequestHeader;
use remoting::request::OutgoingRequest;
use store::record;

use super::*;

const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

#[test]
fn a_message_is_stored_as_sent_with_the_marks_of_the_broker() {
    let broker = TestBroker::new().with_topic("Orders");
    let producer = broker.client();
    let properties = property_text(&[("UNIQ_KEY", "U1"), ("TAGS", "a"), ("POP_CK", "old")]);
    let answer = producer.send(
        SendMessageRequestHeader {
            queue_id: 2,
            ..send_header("Orders", &properties)
        },
        b"body",
    );

    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::SUCCESS, "")
    );
    let id = answer.field("msgId").to_owned();
    assert_eq!(
        answer.fields,
        fields(&[
            ("msgId", &id),
            ("queueId", "2"),
            ("queueOffset", "0"),
            ("transactionId", "U1"),
            ("MSG_REGION", "DefaultRegion"),
            ("TRACE_ON", "true"),
        ])
    );
    let bytes = stored(&broker, &id);
    let record = record::decode(&bytes).unwrap();
    assert_eq!(
        (record.topic, record.queue_id, record.body, record.flag),
        ("Orders", 2, &b"body"[..], 7)
    );
    assert_eq!(
        (record.born_timestamp_ms, record.born_host),
        (NOW_MS - 5, producer.connection.peer_addr())
    );
    assert_eq!(
        (record.store_timestamp_ms, record.store_host),
        (NOW_MS, broker.broker.identity.store_host)
    );
    assert_eq!(
        properties_of(&record),
        fields(&[
            ("UNIQ_KEY", "U1"),
            ("TAGS", "a"),
            ("MSG_REGION", "DefaultRegion"),
            ("TRACE_ON", "true"),
            ("CLUSTER", "DefaultCluster"),
        ])
    );
}

#[test]
fn old_clients_send_with_long_names() {
    let broker = TestBroker::new().with_topic("Orders");
    let request = OutgoingRequest::new(request_code::SEND_MESSAGE)
        .header(&send_header("Orders", ""))
        .body(&b"x"[..]);
    let answer = broker.client().call(request);
    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    assert_eq!(answer.number("queueOffset"), 0);
}

#[test]
fn a_message_without_a_unique_key_gets_one() {
    let broker = TestBroker::new().with_topic("Orders");
    let producer = broker.client();
    let id = producer.must_send("Orders", &[], b"x");
    let bytes = stored(&broker, &id);
    let key = properties_of(&record::decode(&bytes).unwrap())["UNIQ_KEY"].clone();
    assert_eq!(key.len(), 32);

    let answer = producer.send(send_header("Orders", ""), b"y");
    assert_eq!(answer.field("transactionId").len(), 32);
    assert_ne!(answer.field("transactionId"), key);
}

#[test]
fn the_first_message_makes_the_topic_from_the_default_topic() {
    let broker = TestBroker::new();
    broker.client().must_send("Fresh", &[], b"x");
    let topic = broker.broker.topics.get("Fresh").unwrap();
    assert_eq!(
        (topic.read_queue_nums, topic.write_queue_nums, topic.perm),
        (4, 4, 6)
    );
}

#[test]
fn an_unknown_topic_is_refused_where_topics_are_not_made_by_sends() {
    let broker = TestBroker::configured(&[("autoCreateTopicEnable", "false")]);
    let answer = broker.client().send(send_header("Fresh", ""), b"x");
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
    assert_eq!(
        answer.remark,
        format!("topic[Fresh] not exist, apply first please!{FAQ}")
    );
}

#[test]
fn the_broker_chooses_the_queue_when_the_producer_does_not() {
    let broker = TestBroker::new().with_topic("Orders");
    let producer = broker.client();
    let queues: BTreeSet<i64> = (0..64)
        .map(|_| {
            let header = SendMessageRequestHeader {
                queue_id: -1,
                ..send_header("Orders", "")
            };
            producer.send(header, b"x").number("queueId")
        })
        .collect();
    assert_eq!(queues, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_target_that_cannot_be_is_refused_with_the_code_of_the_reference() {
    let broker = TestBroker::new().with_topic("Orders");
    let cases = [
        (
            "Orders",
            4,
            response_code::INVALID_PARAMETER,
            "request queueId[4] is illegal, ",
        ),
        (
            "no/topic",
            0,
            response_code::INVALID_PARAMETER,
            "The specified topic: no/topic, contains illegal characters",
        ),
        (
            "SCHEDULE_TOPIC_XXXX",
            0,
            response_code::NO_PERMISSION,
            "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.",
        ),
        (
            "RMQ_SYS_TRANS_HALF_TOPIC",
            0,
            response_code::NO_PERMISSION,
            "Sending message to topic[RMQ_SYS_TRANS_HALF_TOPIC] is",
        ),
    ];
    for (topic, queue_id, code, remark) in cases {
        let answer = broker.client().send(
            SendMessageRequestHeader {
                queue_id,
                ..send_header(topic, "")
            },
            b"x",
        );
        assert_eq!(answer.code, code, "{topic}");
        assert!(answer.remark.starts_with(remark), "{}", answer.remark);
    }
}

#[test]
fn a_broker_closed_for_writing_stops_order_topics_only() {
    let broker = TestBroker::configured(&[("brokerPermission", "4")]).with_topic("Orders");
    broker.broker.topics.put(TopicConfig {
        order: true,
        ..TopicConfig::new("Ordered", 4)
    });
    let answer = broker.client().send(send_header("Ordered", ""), b"x");
    assert_eq!(answer.code, response_code::NO_PERMISSION);
    assert!(
        answer.remark.ends_with("sending message is forbidden"),
        "{}",
        answer.remark
    );
    broker.client().must_send("Orders", &[], b"x");
}

#[test]
fn sends_wait_for_the_hour_an_operator_set() {
    let opens_at = (NOW_MS + 1_000).to_string();
    let broker =
        TestBroker::configured(&[("startAcceptSendRequestTimeStamp", &opens_at)]).with_topic("Orders");
    let answer = broker.client().send(send_header("Orders", ""), b"x");
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert!(
        answer.remark.starts_with("broker unable to service, until"),
        "{}",
        answer.remark
    );
    broker.clock.advance(Duration::from_secs(1));
    broker.client().must_send("Orders", &[], b"x");
}

#[test]
fn what_does_not_fit_into_a_record_is_illegal_and_says_how_much_fits() {
    let broker = TestBroker::configured(&[("maxMessageSize", "1000")]).with_topic("Orders");
    let answer = broker.client().send(send_header("Orders", ""), &[0; 1001]);
    assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL);
    assert!(
        answer.remark.starts_with(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit 1000B, msg \
             properties length limit 32KB."
        ),
        "{}",
        answer.remark
    );
    assert!(answer.remark.contains("1001 bytes"), "{}", answer.remark);

    let long = property_text(&[("k", &"v".repeat(32_760))]);
    let answer = broker.client().send(send_header("Orders", &long), b"x");
    assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL, "{}", answer.remark);
}

#[test]
fn a_delayed_message_waits_in_the_queue_of_its_level() {
    let broker = TestBroker::new().with_topic("Orders");
    for (asked, level) in [("3", 3), ("99", 18)] {
        let properties = property_text(&[("DELAY", asked), ("TIMER_DELAY_SEC", "9")]);
        let header = SendMessageRequestHeader {
            queue_id: 1,
            ..send_header("Orders", &properties)
        };
        let answer = broker.client().send(header, b"x");
        assert_eq!(
            (answer.code, answer.number("queueId")),
            (response_code::SUCCESS, 1),
            "{}",
            answer.remark
        );
        let bytes = stored(&broker, answer.field("msgId"));
        let record = record::decode(&bytes).unwrap();
        assert_eq!(
            (record.topic, record.queue_id),
            (names::SCHEDULE_TOPIC, level - 1)
        );
        let found = properties_of(&record);
        assert_eq!(found["DELAY"], level.to_string());
        assert_eq!(
            (found["REAL_TOPIC"].as_str(), found["REAL_QID"].as_str()),
            ("Orders", "1")
        );
        assert!(!found.contains_key("TIMER_DELAY_SEC"));
    }
}

#[test]
fn a_record_that_would_stay_invisible_for_ever_is_refused() {
    let broker = TestBroker::new().with_topic("Orders");
    for (sys_flag, properties) in [(4, ""), (12, ""), (12, "TRAN_MSG\u{1}true\u{2}")] {
        let answer = broker.client().send(
            SendMessageRequestHeader {
                sys_flag,
                ..send_header("Orders", properties)
            },
            b"x",
        );
        assert_eq!(answer.code, response_code::NO_PERMISSION);
        assert!(
            answer.remark.contains("sending transaction message is forbidden"),
            "{}",
            answer.remark
        );
    }
    assert_eq!(broker.broker.store.state().put_message_count, 0);
}

#[test]
fn a_priority_is_the_queue() {
    let broker = TestBroker::new().with_topic("Orders");
    for (priority, queue_id) in [("2", 2), ("9", 3)] {
        let properties = property_text(&[("_SYS_MSG_PRIORITY_", priority)]);
        let answer = broker.client().send(send_header("Orders", &properties), b"x");
        assert_eq!(answer.number("queueId"), queue_id);
    }
}

#[test]
fn a_message_to_a_light_topic_names_its_queue() {
    let broker = TestBroker::new().with_topic("Orders");
    let id = broker
        .client()
        .must_send("Orders", &[("__LITE_TOPIC", "child")], b"x");
    let bytes = stored(&broker, &id);
    assert_eq!(
        properties_of(&record::decode(&bytes).unwrap())["INNER_MULTI_DISPATCH"],
        "%LMQ%$Orders$child"
    );
}

#[test]
fn a_compaction_topic_takes_no_message_without_a_key() {
    let broker = TestBroker::new();
    broker.broker.topics.put(TopicConfig {
        attributes: [("cleanup.policy".to_owned(), "COMPACTION".to_owned())].into(),
        ..TopicConfig::new("Newest", 4)
    });
    let answer = broker
        .client()
        .send(send_header("Newest", &property_text(&[("KEYS", " ")])), b"x");
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (response_code::MESSAGE_ILLEGAL, "Required message key is missing")
    );
    broker.client().must_send("Newest", &[("KEYS", "k")], b"x");
}

#[test]
fn a_retry_by_the_client_itself_ends_in_the_dead_letters() {
    let broker = TestBroker::new();
    broker.broker.groups.put(SubscriptionGroupConfig {
        retry_max_times: 2,
        ..SubscriptionGroupConfig::new("g")
    });
    let retry = |reconsume_times, max| SendMessageRequestHeader {
        reconsume_times,
        max_reconsume_times: max,
        ..send_header("%RETRY%g", "DELAY\u{1}3\u{2}")
    };
    let topic_of = |answer: &Answer| {
        let bytes = stored(&broker, answer.field("msgId"));
        let record = record::decode(&bytes).unwrap();
        (record.topic.to_owned(), properties_of(&record)["DELAY"].clone())
    };
    let producer = broker.client();
    assert_eq!(
        topic_of(&producer.send(retry(2, None), b"x")),
        (names::SCHEDULE_TOPIC.to_owned(), "3".to_owned())
    );
    assert_eq!(
        topic_of(&producer.send(retry(3, None), b"x")),
        ("%DLQ%g".to_owned(), "-1".to_owned())
    );
    assert_eq!(
        topic_of(&producer.send(retry(3, Some(5)), b"x")).0,
        names::SCHEDULE_TOPIC,
        "the client's own limit counts"
    );

    let queue = MessageQueue {
        topic: "Orders".to_owned(),
        broker_name: "broker-a".to_owned(),
        queue_id: 0,
    };
    broker
        .broker
        .queue_locks
        .lock_batch("g", &BTreeSet::from([queue]), "c", NOW_MS);
    assert_eq!(
        topic_of(&producer.send(retry(1, None), b"x")).0,
        "%DLQ%g",
        "a retry would overtake ordered messages"
    );
}

#[test]
fn a_retry_of_a_group_that_does_not_exist_is_refused() {
    let broker = TestBroker::configured(&[("autoCreateSubscriptionGroup", "false")]);
    let answer = broker.client().send(send_header("%RETRY%nobody", ""), b"x");
    assert_eq!(answer.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(
        answer.remark,
        format!("subscription group not exist, nobody {FAQ}")
    );
}

#[test]
fn inner_batches_are_refused() {
    let broker = TestBroker::new().with_topic("Orders");
    let flagged = broker.client().send(
        SendMessageRequestHeader {
            sys_flag: 0x80,
            ..send_header("Orders", "")
        },
        b"x",
    );
    assert_eq!(flagged.code, response_code::MESSAGE_ILLEGAL);
    let counted = broker
        .client()
        .send(send_header("Orders", &property_text(&[("INNER_NUM", "2")])), b"x");
    assert_eq!(counted.code, response_code::MESSAGE_ILLEGAL);
}

#[test]
fn a_batch_becomes_messages_with_consecutive_offsets_and_keys_of_their_own() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.client().must_send("Orders", &[], b"before");
    let batch = [
        inner(1, b"one", &property_text(&[("UNIQ_KEY", "A")])),
        inner(2, b"two", &property_text(&[("TAGS", "t")])),
        inner(3, b"", ""),
    ]
    .concat();
    let shared = property_text(&[("UNIQ_KEY", "BATCH"), ("WAIT", "true")]);
    let answer = broker.client().send(
        SendMessageRequestHeader {
            batch: true,
            ..send_header("Orders", &shared)
        },
        &batch,
    );

    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    assert_eq!(
        (answer.number("queueOffset"), answer.field("transactionId")),
        (1, "BATCH")
    );
    let ids: Vec<&str> = answer.field("msgId").split(',').collect();
    assert_eq!(ids.len(), 3);
    let bytes: Vec<Vec<u8>> = ids.iter().map(|id| stored(&broker, id)).collect();
    let records: Vec<_> = bytes.iter().map(|bytes| record::decode(bytes).unwrap()).collect();
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.queue_offset.0, record.flag, record.body))
        .collect();
    assert_eq!(seen, [(1, 1, &b"one"[..]), (2, 2, &b"two"[..]), (3, 3, &b""[..])]);
    assert_eq!(
        properties_of(&records[0]),
        fields(&[("UNIQ_KEY", "A")]),
        "nothing is added to what has a key"
    );
    assert_eq!(properties_of(&records[1])["TAGS"], "t");
    let given: BTreeSet<String> = records
        .iter()
        .map(|record| properties_of(record)["UNIQ_KEY"].clone())
        .collect();
    assert_eq!(given.len(), 3, "{given:?}");
}

#[test]
fn a_message_without_body_is_refused() {
    let broker = TestBroker::new().with_topic("Orders");
    let answer = broker.client().send(send_header("Orders", ""), b"");
    assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL);
    assert!(
        answer.remark.ends_with("Here: there is no body"),
        "{}",
        answer.remark
    );
    assert_eq!(broker.broker.store.state().put_message_count, 0);
}

#[test]
fn a_batch_that_cannot_be_one_is_refused() {
    let broker = TestBroker::new().with_topic("Orders");
    let whole = inner(0, b"x", "");
    let torn = &whole[..whole.len() - 1];
    let long_topic = format!("%RETRY%{}", "g".repeat(130));
    let cases: [(&str, &str, &[u8], &str); 6] = [
        (
            "%RETRY%g",
            "",
            &whole,
            "batch request does not support retry group %RETRY%g",
        ),
        (&long_topic, "", &whole, "message topic length too long 137"),
        (
            "Orders",
            "DELAY\u{1}1\u{2}",
            &whole,
            "batch request does not support delayed messages",
        ),
        (
            "Orders",
            "TRAN_MSG\u{1}true\u{2}",
            &whole,
            "batch request does not support transactions",
        ),
        (
            "Orders",
            "",
            torn,
            "the batch is broken in message 0, at byte 0: it ends too early",
        ),
        ("Orders", "", b"", "the message is illegal"),
    ];
    for (topic, properties, body, remark) in cases {
        let header = SendMessageRequestHeader {
            batch: true,
            ..send_header(topic, properties)
        };
        let answer = broker.client().send(header, body);
        assert_eq!(
            answer.code,
            response_code::MESSAGE_ILLEGAL,
            "{topic}: {}",
            answer.remark
        );
        // What the reference's store would refuse begins with its words.
        let words = "the message is illegal, maybe msg body or properties length not matched.";
        let ours = answer.remark.split_once(" Here: ").map(|(_, here)| here);
        assert_eq!(ours.is_some(), answer.remark.starts_with(words));
        assert!(
            ours.unwrap_or(&answer.remark).starts_with(remark) || answer.remark.starts_with(remark),
            "{}",
            answer.remark
        );
    }
    assert_eq!(broker.broker.store.state().put_message_count, 0);
}

#[test]
fn with_sync_flush_the_answer_waits_for_the_disk() {
    let broker = TestBroker::configured(&[("flushDiskType", "SYNC_FLUSH")]).with_topic("Orders");
    let producer = broker.client();
    assert!(
        producer
            .try_call(send_request(send_header("Orders", ""), b"x"))
            .is_none(),
        "answered too early"
    );
    assert!(producer.late_answers().is_empty());
    broker.flush();
    let answers = producer.late_answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].code, answers[0].field("queueOffset")),
        (response_code::SUCCESS, "0")
    );

    let no_wait = property_text(&[("WAIT", "false")]);
    let answer = producer.call(send_request(send_header("Orders", &no_wait), b"y"));
    assert_eq!(
        answer.code,
        response_code::SUCCESS,
        "the producer did not want to wait"
    );
}

#[test]
fn a_flush_that_takes_too_long_is_a_send_status_not_a_failure() {
    let broker = TestBroker::configured(&[("flushDiskType", "SYNC_FLUSH")]).with_topic("Orders");
    let producer = broker.client();
    assert!(
        producer
            .try_call(send_request(send_header("Orders", ""), b"x"))
            .is_none()
    );
    broker.miss_flush_deadline();
    let answers = producer.late_answers();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].code, response_code::FLUSH_DISK_TIMEOUT);
    for name in ["msgId", "queueOffset", "MSG_REGION", "TRACE_ON"] {
        assert!(answers[0].fields.contains_key(name), "the client reads {name}");
    }
}

#[test]
fn what_is_stored_is_counted() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.client().must_send("Orders", &[], b"x");
    let batch = [inner(0, b"one", ""), inner(0, b"two", "")].concat();
    broker.client().send(
        SendMessageRequestHeader {
            batch: true,
            ..send_header("Orders", "")
        },
        &batch,
    );
    let view = broker.broker.stats.view("TOPIC_PUT_NUMS", "Orders").unwrap();
    let sum = view.stats_minute.sum;
    assert!(sum <= 3, "{sum}");
    assert_eq!(broker.broker.stats.put_totals().now, 3);
}

#[test]
fn nothing_a_client_can_write_into_properties_breaks_a_send() {
    let broker = TestBroker::new().with_topic("Orders");
    for properties in [
        "\u{1}",
        "\u{2}\u{2}",
        "a",
        "a\u{1}",
        "\u{1}b\u{2}",
        "DELAY\u{1}\u{2}",
        "a\u{1}b\u{1}c\u{2}d",
    ] {
        let answer = broker.client().send(send_header("Orders", properties), b"x");
        assert_eq!(
            answer.code,
            response_code::SUCCESS,
            "{properties:?}: {}",
            answer.remark
        );
    }
    for properties in [
        "DELAY\u{1}x\u{2}",
        "DELAY\u{1}99999999999\u{2}",
        "TIMER_DELAY_SEC\u{1}-\u{2}",
    ] {
        let answer = broker.client().send(send_header("Orders", properties), b"x");
        assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL, "{properties:?}");
    }
    let header = SendMessageRequestHeader {
        properties: None,
        ..send_header("Orders", "")
    };
    assert_eq!(broker.client().send(header, b"x").code, response_code::SUCCESS);
}

/// One message of a batch.
fn inner(flag: i32, body: &[u8], properties: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(((22 + body.len() + properties.len()) as u32).to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(flag.to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes.extend((properties.len() as u16).to_be_bytes());
    bytes.extend(properties.as_bytes());
    bytes
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
