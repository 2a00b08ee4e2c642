//! duplicateSendWindowMs: a send that is repeated is answered and not stored again.

use std::collections::HashMap;
use std::time::Duration;

use store::QueueOffset;

use super::*;

const WINDOW: &[(&str, &str)] = &[("duplicateSendWindowMs", "60000")];

/// Sends to a queue; gives what its producer is told.
fn send(
    broker: &TestBroker,
    topic: &str,
    queue_id: i32,
    properties: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let text = property_text(properties);
    let answer = broker.client().send(
        SendMessageRequestHeader {
            queue_id,
            ..send_header(topic, &text)
        },
        b"x",
    );
    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    broker.settle();
    answer.fields
}

fn stored_in(broker: &TestBroker, topic: &str) -> usize {
    let count = |queue_id| {
        broker
            .broker
            .store
            .queue_entries(topic, queue_id, QueueOffset(0), 100)
            .len()
    };
    (0..18).map(count).sum()
}

#[test]
fn the_second_of_two_equal_sends_gets_the_first_answer() {
    let broker = TestBroker::configured(WINDOW)
        .with_topic("Orders")
        .with_topic("Other");
    let first = send(&broker, "Orders", 1, &[("UNIQ_KEY", "U")]);
    send(&broker, "Orders", 1, &[("UNIQ_KEY", "V")]);
    // A retry may go to another queue.
    assert_eq!(send(&broker, "Orders", 3, &[("UNIQ_KEY", "U")]), first);
    assert_eq!(
        (first["queueId"].as_str(), first["queueOffset"].as_str()),
        ("1", "0")
    );
    assert_eq!(stored_in(&broker, "Orders"), 2);

    send(&broker, "Other", 1, &[("UNIQ_KEY", "U")]);
    assert_eq!(stored_in(&broker, "Other"), 1, "another topic, another message");
    for _ in 0..2 {
        send(&broker, "Other", 1, &[]);
    }
    assert_eq!(
        stored_in(&broker, "Other"),
        3,
        "without a key nothing is the same"
    );
}

#[test]
fn nothing_is_remembered_unless_it_is_asked_for_or_longer_than_it_is() {
    let broker = TestBroker::new().with_topic("Orders");
    for _ in 0..2 {
        send(&broker, "Orders", 0, &[("UNIQ_KEY", "U")]);
    }
    assert_eq!(stored_in(&broker, "Orders"), 2);

    let broker = TestBroker::configured(WINDOW).with_topic("Orders");
    for seconds in [0, 60, 61] {
        send(&broker, "Orders", 0, &[("UNIQ_KEY", "U")]);
        broker.clock.advance(Duration::from_secs(seconds));
    }
    assert_eq!(stored_in(&broker, "Orders"), 1);
    send(&broker, "Orders", 0, &[("UNIQ_KEY", "U")]);
    assert_eq!(stored_in(&broker, "Orders"), 2);
}

#[test]
fn a_topic_can_have_a_window_of_its_own() {
    let broker = TestBroker::configured(WINDOW);
    for (topic, window_ms) in [("Never", "0"), ("Short", "1000")] {
        let mut config = remoting::body::TopicConfig::new(topic, 4);
        config.attributes = HashMap::from([("duplicate.send.window.ms".to_owned(), window_ms.to_owned())])
            .into_iter()
            .collect();
        broker.broker.topics.put(config);
        for seconds in [0, 2, 0] {
            broker.clock.advance(Duration::from_secs(seconds));
            send(&broker, topic, 0, &[("UNIQ_KEY", "U")]);
        }
    }
    assert_eq!(stored_in(&broker, "Never"), 3);
    assert_eq!(stored_in(&broker, "Short"), 2);
}

#[test]
fn what_waits_elsewhere_first_is_known_and_what_is_sent_back_again_is_meant() {
    let broker = TestBroker::configured(WINDOW).with_topic("Orders");
    let delayed = send(&broker, "Orders", 2, &[("UNIQ_KEY", "U"), ("DELAY", "3")]);
    assert_eq!(
        send(&broker, "Orders", 0, &[("UNIQ_KEY", "U"), ("DELAY", "3")]),
        delayed
    );
    assert_eq!(stored_in(&broker, "SCHEDULE_TOPIC_XXXX"), 1);

    let timed = [("UNIQ_KEY", "T"), ("TIMER_DELAY_SEC", "30")];
    let first = send(&broker, "Orders", 2, &timed);
    assert!(first.contains_key("recallHandle"));
    assert_eq!(send(&broker, "Orders", 0, &timed), first);
    assert_eq!(stored_in(&broker, "rmq_sys_wheel_timer"), 1);

    let half = [("UNIQ_KEY", "H"), ("TRAN_MSG", "true"), ("PGROUP", "g")];
    let first = send(&broker, "Orders", 2, &half);
    assert_eq!(send(&broker, "Orders", 1, &half), first);
    assert_eq!(stored_in(&broker, "RMQ_SYS_TRANS_HALF_TOPIC"), 1);
    assert_eq!(broker.broker.transaction_metrics.count("Orders"), 1);

    broker.client().subscribe("c", "g", "Orders", "*");
    for _ in 0..2 {
        send(&broker, "%RETRY%g", 0, &[("UNIQ_KEY", "U")]);
    }
    assert_eq!(stored_in(&broker, "%RETRY%g"), 2);
}

#[test]
fn a_restart_forgets_nothing_within_the_window() {
    let broker = TestBroker::configured(WINDOW).with_topic("Orders");
    send(&broker, "Orders", 0, &[("UNIQ_KEY", "old")]);
    broker.clock.advance(Duration::from_secs(50));
    let half = [("UNIQ_KEY", "H"), ("TRAN_MSG", "true"), ("PGROUP", "g")];
    let delayed = [("UNIQ_KEY", "D"), ("DELAY", "3")];
    let timed = [("UNIQ_KEY", "T"), ("TIMER_DELAY_SEC", "3000")];
    let answers: Vec<_> = [&[("UNIQ_KEY", "U")][..], &half, &delayed, &timed]
        .iter()
        .map(|properties| send(&broker, "Orders", 2, properties))
        .collect();
    broker.clock.advance(Duration::from_secs(20));

    let broker = broker.crash_and_restart().with_topic("Orders");
    let again: Vec<_> = [&[("UNIQ_KEY", "U")][..], &half, &delayed, &timed]
        .iter()
        .map(|properties| send(&broker, "Orders", 1, properties))
        .collect();
    assert_eq!(again, answers);
    let stored = stored_in(&broker, "Orders");
    send(&broker, "Orders", 0, &[("UNIQ_KEY", "old")]);
    assert_eq!(stored_in(&broker, "Orders"), stored + 1, "70 s are too long ago");
}

#[test]
fn a_repeated_send_waits_for_the_disk_as_the_first_one_did() {
    let settings = [
        ("duplicateSendWindowMs", "60000"),
        ("flushDiskType", "SYNC_FLUSH"),
    ];
    let broker = TestBroker::configured(&settings).with_topic("Orders");
    let text = property_text(&[("UNIQ_KEY", "U")]);
    let clients = [broker.client(), broker.client()];
    for client in &clients {
        assert!(
            client
                .try_call(send_request(send_header("Orders", &text), b"x"))
                .is_none()
        );
    }
    broker.flush();
    let ids = clients.map(|client| client.late_answers()[0].field("msgId").to_owned());
    assert_eq!(ids[0], ids[1]);
    broker.settle();
    assert_eq!(stored_in(&broker, "Orders"), 1);
}

#[test]
fn what_a_deleted_topic_had_is_not_answered_for_the_one_made_anew() {
    let broker = TestBroker::configured(WINDOW).with_topic("Orders");
    send(&broker, "Orders", 0, &[("UNIQ_KEY", "U")]);
    let delete = OutgoingRequest::new(request_code::DELETE_TOPIC_IN_BROKER).field("topic", "Orders");
    assert_eq!(broker.client().call(delete).code, response_code::SUCCESS);
    let broker = broker.with_topic("Orders");
    send(&broker, "Orders", 0, &[("UNIQ_KEY", "U")]);
    assert_eq!(stored_in(&broker, "Orders"), 1);

    let broker = broker.crash_and_restart().with_topic("Orders");
    send(&broker, "Orders", 1, &[("UNIQ_KEY", "U")]);
    assert_eq!(stored_in(&broker, "Orders"), 1, "the second is known");
}

#[test]
fn retries_that_arrive_at_the_same_time_are_stored_once() {
    let broker = TestBroker::configured(WINDOW).with_topic("Orders");
    let text = property_text(&[("UNIQ_KEY", "U")]);
    std::thread::scope(|scope| {
        for client in [(); 8].map(|()| broker.client()) {
            let text = &text;
            scope.spawn(move || {
                for _ in 0..50 {
                    let answer = client.send(send_header("Orders", text), b"x");
                    assert_eq!(answer.number("queueOffset"), 0);
                }
            });
        }
    });
    broker.settle();
    assert_eq!(stored_in(&broker, "Orders"), 1);
}
