//! What a scrape says about messages that were sent, delayed, pulled and given up, and when a broker is healthy.

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

fn scrape(broker: &TestBroker) -> String {
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
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
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
    ];
    assert_eq!(scrape(&scraped_broker(&off)), "");

    let broker = scraped_broker(&[("metricsOtelCardinalityLimit", "1")]);
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
