//! What a scrape says about messages that were sent, delayed, pulled and given up, and when a broker is healthy.

use common::message::sys_flag;
use operations::exposition::Exposition;
use operations::http::Source as _;
use remoting::header::{ConsumerSendMsgBackRequestHeader, UpdateConsumerOffsetRequestHeader};
use remoting::latency::RpcLatencies;

use super::*;
use crate::metrics::BrokerReport;

fn scraped_broker(keys: &[(&str, &str)]) -> TestBroker {
    let mut settings = vec![
        ("metricsExporterType", "PROM"),
        ("metricsLabel", "zone:a"),
        ("brokerIP1", "127.0.0.1"),
    ];
    settings.extend(keys);
    TestBroker::configured(&settings).with_topic("Orders")
}

fn report(broker: &TestBroker) -> BrokerReport {
    BrokerReport {
        broker: Arc::clone(&broker.broker),
        latencies: Arc::new(RpcLatencies::default()),
        lane_calls: vec![Box::new(|| 3)],
    }
}

pub(super) fn scrape(broker: &TestBroker) -> String {
    let mut text = String::new();
    let mut sink = |chunk: String| {
        text.push_str(&chunk);
        true
    };
    let mut out = Exposition::new(&mut sink);
    report(broker).write_metrics(&mut out);
    assert_eq!(out.finish(), 0);
    text
}

/// The value of the series with these labels, whatever else it is labelled with.
pub(super) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
    let line = text.lines().find(|line| {
        line.split(['{', ' ']).next() == Some(name)
            && labels
                .iter()
                .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn messages_in_are_told_apart_by_topic_and_type() {
    let broker = scraped_broker(&[]);
    let client = broker.client();
    client.must_send("Orders", &[], b"normal");
    client.must_send("Orders", &[("__SHARDINGKEY", "k")], b"fifo");
    client.must_send("Orders", &[("DELAY", "1")], b"delayed");

    let text = scrape(&broker);
    let messages = |topic, message_type| {
        let labels = [("topic", topic), ("message_type", message_type), ("zone", "a")];
        value(&text, "rocketmq_messages_in_total", &labels)
    };
    assert_eq!(messages("Orders", "normal"), Some(1));
    assert_eq!(messages("Orders", "fifo"), Some(1));
    assert_eq!(messages("Orders", "delay"), None);
    assert_eq!(messages("SCHEDULE_TOPIC_XXXX", "delay"), Some(1));
    let sizes = [("topic", "Orders"), ("message_type", "normal"), ("le", "1024.0")];
    assert_eq!(value(&text, "rocketmq_message_size_bucket", &sizes), Some(1));
    let bytes = value(&text, "rocketmq_throughput_in_total", &sizes[..2]);
    assert_eq!(bytes, value(&text, "rocketmq_message_size_sum", &sizes[..2]));
    assert!(bytes > Some(91), "{bytes:?}");
}

#[test]
fn lag_falls_from_stored_to_pulled_to_consumed() {
    let broker = scraped_broker(&[]);
    let client = broker.client();
    client.subscribe("c", "g", "Orders", "*");
    for body in [b"1", b"2", b"3"] {
        client.must_send("Orders", &[], body);
    }
    broker.settle();
    let commit = |offset| {
        client.call(OutgoingRequest::new(request_code::UPDATE_CONSUMER_OFFSET).header(
            &UpdateConsumerOffsetRequestHeader {
                consumer_group: "g".into(),
                topic: "Orders".into(),
                queue_id: 0,
                commit_offset: offset,
                logical: None,
            },
        ))
    };
    commit(0);
    broker.clock.advance(std::time::Duration::from_secs(7));
    client.pull(&PullMessageRequestHeader {
        max_msg_nums: 2,
        ..pull_header("g", "Orders", 0, 0)
    });
    commit(1);

    let text = scrape(&broker);
    let of_group = |name| {
        value(
            &text,
            name,
            &[
                ("consumer_group", "g"),
                ("topic", "Orders"),
                ("is_retry", "false"),
            ],
        )
    };
    assert_eq!(of_group("rocketmq_consumer_lag_messages"), Some(2));
    assert_eq!(
        of_group("rocketmq_consumer_lag_latency_milliseconds"),
        Some(7_000)
    );
    assert_eq!(of_group("rocketmq_consumer_inflight_messages"), Some(1));
    assert_eq!(
        of_group("rocketmq_consumer_queueing_latency_milliseconds"),
        Some(7_000)
    );
    assert_eq!(of_group("rocketmq_consumer_ready_messages"), Some(1));
    let out = [("consumer_group", "g"), ("topic", "Orders")];
    assert_eq!(value(&text, "rocketmq_messages_out_total", &out), Some(2));
    assert!(value(&text, "rocketmq_throughput_out_total", &out) > Some(91));
    let member = [
        ("consumer_group", "g"),
        ("consume_mode", "push"),
        ("language", "java"),
    ];
    assert_eq!(value(&text, "rocketmq_consumer_connections", &member), Some(1));
}

#[test]
fn only_what_a_group_wants_counts_as_its_lag_unless_that_is_switched_off() {
    let lag = |settings: &[(&str, &str)]| {
        let broker = scraped_broker(settings);
        let client = broker.client();
        client.subscribe("c", "g", "Orders", "A");
        for tag in ["B", "A", "B", "A", "A"] {
            client.must_send("Orders", &[("TAGS", tag)], b"x");
        }
        broker.settle();
        let offsets = &broker.broker.consumer_offsets;
        offsets.commit("test", "g", "Orders", 0, 1);
        value(
            &scrape(&broker),
            "rocketmq_consumer_lag_messages",
            &[("consumer_group", "g")],
        )
    };
    assert_eq!(lag(&[]), Some(3));
    assert_eq!(lag(&[("estimateAccumulation", "false")]), Some(4));
    assert_eq!(
        lag(&[("maxConsumeQueueScan", "3")]),
        Some(2),
        "a third of four, rounded down, since two of the first three are wanted"
    );
}

#[test]
fn the_ends_of_transactions_are_counted_once() {
    let broker = scraped_broker(&[]);
    let committed = broker.send_half(b"yes", &[]);
    let rolled_back = broker.send_half(b"no", &[]);
    broker.send_half(b"open", &[]);
    broker.clock.advance(std::time::Duration::from_secs(61));
    for _ in 0..2 {
        broker.must_end(&committed, sys_flag::TRANSACTION_COMMIT);
        broker.must_end(&rolled_back, sys_flag::TRANSACTION_ROLLBACK);
    }

    let text = scrape(&broker);
    let of_topic = |name| value(&text, name, &[("topic", "Orders")]);
    assert_eq!(of_topic("rocketmq_commit_messages_total"), Some(1));
    assert_eq!(of_topic("rocketmq_rollback_messages_total"), Some(1));
    assert_eq!(of_topic("rocketmq_half_messages"), Some(1));
    let late = [("topic", "Orders"), ("le", "60.0")];
    let latency = "rocketmq_finish_message_latency_milliseconds";
    assert_eq!(value(&text, &format!("{latency}_bucket"), &late), Some(0));
    assert_eq!(of_topic(&format!("{latency}_count")), Some(1));
    let half = [
        ("topic", "RMQ_SYS_TRANS_HALF_TOPIC"),
        ("message_type", "transaction"),
    ];
    assert_eq!(value(&text, "rocketmq_messages_in_total", &half), Some(3));
}

#[test]
fn popped_messages_are_in_flight_until_they_are_acknowledged() {
    let broker = scraped_broker(&[]);
    let client = broker.client();
    for body in [b"1", b"2", b"3"] {
        client.must_send("Orders", &[], body);
    }
    broker.settle();
    let popped = client.pop_all("g", "Orders");
    assert_eq!(popped.len(), 3);
    client.must_ack("g", &popped[0]);
    client.must_send("Orders", &[], b"4");
    broker.settle();

    let text = scrape(&broker);
    let of_group = |name, more: (&str, &str)| value(&text, name, &[("consumer_group", "g"), more]);
    let first_time = ("is_retry", "false");
    assert_eq!(
        of_group("rocketmq_consumer_inflight_messages", first_time),
        Some(2)
    );
    assert_eq!(of_group("rocketmq_consumer_ready_messages", first_time), Some(1));
    assert_eq!(of_group("rocketmq_consumer_lag_messages", first_time), Some(3));
    assert_eq!(
        of_group("rocketmq_consumer_lag_messages", ("is_retry", "true")),
        Some(0)
    );
    assert_eq!(of_group("rocketmq_messages_out_total", first_time), Some(3));
    let records = "rocketmq_pop_revive_in_message_total";
    assert_eq!(of_group(records, ("revive_message_type", "CK")), Some(1));
    assert_eq!(of_group(records, ("revive_message_type", "ACK")), Some(1));
}

#[test]
fn creations_are_told_apart_by_how_they_ended() {
    let broker = scraped_broker(&[]);
    for topic in ["New", "SCHEDULE_TOPIC_XXXX"] {
        let request = OutgoingRequest::new(request_code::UPDATE_AND_CREATE_TOPIC)
            .field("topic", topic)
            .field("defaultTopic", "TBW102")
            .field("readQueueNums", 1)
            .field("writeQueueNums", 1)
            .field("perm", 6)
            .field("topicFilterType", "SINGLE_TAG")
            .field("order", false);
        broker.client().call(request);
    }
    let text = scrape(&broker);
    let count = |status, is_system| {
        let labels = [("invocation_status", status), ("is_system", is_system)];
        value(
            &text,
            "rocketmq_topic_create_execution_time_milliseconds_count",
            &labels,
        )
    };
    assert_eq!(count("success", "false"), Some(1));
    assert_eq!(count("failure", "true"), Some(1));
}

#[test]
fn a_message_given_up_is_a_dead_letter_of_its_group_and_topic() {
    let broker = scraped_broker(&[]);
    let id = broker.client().must_send("Orders", &[], b"bad");
    let (_, offset) = parse_offset_msg_id(&id).unwrap();
    let header = ConsumerSendMsgBackRequestHeader {
        offset: offset as i64,
        group: "g".into(),
        delay_level: -1,
        origin_msg_id: Some(id.into()),
        origin_topic: Some("Orders".into()),
        unit_mode: false,
        max_reconsume_times: None,
    };
    let request = OutgoingRequest::new(request_code::CONSUMER_SEND_MSG_BACK).header(&header);
    assert_eq!(broker.client().call(request).code, response_code::SUCCESS);
    let labels = [
        ("consumer_group", "g"),
        ("topic", "Orders"),
        ("is_system", "false"),
    ];
    assert_eq!(
        value(&scrape(&broker), "rocketmq_send_to_dlq_messages_total", &labels),
        Some(1)
    );
}

#[test]
fn gauges_show_the_state_of_the_broker_and_its_store() {
    let broker = scraped_broker(&[("brokerPermission", "4")]);
    let text = scrape(&broker);
    assert_eq!(
        value(&text, "rocketmq_broker_permission", &[("node_id", "broker-a")]),
        Some(4)
    );
    assert_eq!(
        value(&text, "rocketmq_topic_number", &[]),
        Some(broker.broker.topics.len() as i64)
    );
    assert_eq!(
        value(&text, "rocketmq_consumer_group_number", &[]),
        Some(broker.broker.groups.len() as i64)
    );
    assert_eq!(
        value(&text, "rocketmq_processor_watermark", &[("processor", "lanes")]),
        Some(3)
    );
    assert_eq!(value(&text, "rocketmq_storage_flush_behind_bytes", &[]), Some(0));
    assert!(
        value(
            &text,
            "rocketmq_storage_size_bytes",
            &[("storage_medium", "disk")]
        ) > Some(0)
    );
}

#[test]
fn what_is_switched_off_is_not_written_and_series_are_limited() {
    let off = [
        ("enableStatsMetrics", "false"),
        ("enableRequestMetrics", "false"),
        ("enableConnectionMetrics", "false"),
        ("enableLagAndDlqMetrics", "false"),
        ("enableMessageStoreMetrics", "false"),
        ("enableRemotingMetrics", "false"),
        ("enableTransactionMetrics", "false"),
        ("enablePopMetrics", "false"),
    ];
    assert_eq!(scrape(&scraped_broker(&off)), "");

    let broker = scraped_broker(&[
        ("metricsOtelCardinalityLimit", "1"),
        ("enableMessageStoreMetrics", "false"),
        ("enablePopMetrics", "false"),
    ]);
    for topic in ["A", "B", "C"] {
        broker.client().must_send(topic, &[], b"x");
    }
    let mut text = String::new();
    let mut sink = |chunk: String| {
        text.push_str(&chunk);
        true
    };
    let mut out = Exposition::new(&mut sink);
    report(&broker).write_metrics(&mut out);
    assert_eq!(out.finish(), 6, "two topics too many in each of three metrics");
    assert_eq!(text.matches("rocketmq_messages_in_total{").count(), 1);
}

#[test]
fn a_broker_that_nobody_scrapes_counts_nothing_for_it() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.client().must_send("Orders", &[], b"x");
    assert!(broker.broker.stats.traffic().is_none());
    assert!(broker.broker.stats.events().is_none());
}

#[test]
fn a_broker_is_healthy_while_its_store_takes_messages() {
    let broker = scraped_broker(&[]);
    assert_eq!(report(&broker).health(), Ok(()));
    broker.broker.store.set_writable(false);
    assert_eq!(
        report(&broker).health(),
        Err("no messages are taken: writes are switched off".to_owned())
    );
}
