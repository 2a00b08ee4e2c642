//! END_TRANSACTION, the transaction check, RESUME_CHECK_HALF_MESSAGE: from half message to one message or none.

use std::time::Duration;

use common::names;
use remoting::body::ProducerData;
use remoting::header::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use store::{FlushDiskType, QueueEntry, QueueOffset};

use super::*;
use crate::registry::persist::Table as _;
use crate::transaction::check_service::{OpWriter, TransactionCheck};

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const UNKNOWN: i32 = 0;

/// A half message as its producer knows it from the answer.
#[derive(Clone, Debug)]
pub(super) struct Half {
    msg_id: String,
    queue_offset: i64,
}

impl Half {
    /// What its producer says about it.
    fn end(&self, commit_or_rollback: i32) -> EndTransactionRequestHeader<'static> {
        let (_, physical_offset) = parse_offset_msg_id(&self.msg_id).unwrap();
        EndTransactionRequestHeader {
            topic: None,
            producer_group: "TxPG".into(),
            tran_state_table_offset: self.queue_offset,
            commit_log_offset: physical_offset as i64,
            commit_or_rollback,
            from_transaction_check: false,
            msg_id: Some("U".into()),
            transaction_id: Some("U".into()),
        }
    }
}

impl TestBroker {
    pub(super) fn send_half(&self, body: &[u8], more: &[(&str, &str)]) -> Half {
        let uniq_key = format!("U-{}", String::from_utf8_lossy(body));
        let mut properties = vec![
            ("UNIQ_KEY", uniq_key.as_str()),
            ("TRAN_MSG", "true"),
            ("PGROUP", "TxPG"),
            ("TAGS", "t"),
        ];
        properties.extend_from_slice(more);
        let text = property_text(&properties);
        let answer = self.client().send(
            SendMessageRequestHeader {
                queue_id: 2,
                sys_flag: 4,
                ..send_header("Orders", &text)
            },
            body,
        );
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        assert_eq!(answer.field("transactionId"), uniq_key);
        assert_eq!(answer.number("queueId"), 2);
        self.settle();
        Half {
            msg_id: answer.field("msgId").to_owned(),
            queue_offset: answer.number("queueOffset"),
        }
    }

    fn try_end(&self, header: &EndTransactionRequestHeader<'_>) -> Option<Answer> {
        let request = OutgoingRequest::new(request_code::END_TRANSACTION).header(header);
        let answer = self.client().try_call(request);
        self.settle();
        answer
    }

    fn end(&self, header: &EndTransactionRequestHeader<'_>) -> (i32, String) {
        let answer = self.try_end(header).expect("an answer");
        (answer.code, answer.remark)
    }

    pub(super) fn must_end(&self, half: &Half, commit_or_rollback: i32) {
        let ended = self.end(&half.end(commit_or_rollback));
        assert_eq!(ended, (response_code::SUCCESS, String::new()));
    }

    /// The records of a queue, oldest first.
    fn records_of(&self, topic: &str, queue_id: i32) -> Vec<Vec<u8>> {
        let entries = self
            .broker
            .store
            .queue_entries(topic, queue_id, QueueOffset(0), 1_000);
        let read = |entry: &QueueEntry| self.broker.store.read_at(entry.physical_offset).unwrap();
        entries.iter().map(read).collect()
    }

    fn bodies_of(&self, topic: &str, queue_id: i32) -> Vec<String> {
        let body =
            |bytes: &Vec<u8>| String::from_utf8_lossy(record::decode(bytes).unwrap().body).into_owned();
        self.records_of(topic, queue_id).iter().map(body).collect()
    }

    fn visible(&self) -> Vec<String> {
        self.bodies_of("Orders", 2)
    }

    /// A whole round of the check, `later` after now.
    fn check(&self, later: Duration) {
        self.clock.advance(later);
        let broker = &self.broker;
        let mut check = TransactionCheck::new(Arc::clone(&broker.transactions), Arc::clone(&broker.config));
        self.settle();
        while check.tick(self.clock.now(), false).expect("a round") == Next::Again {
            self.settle();
        }
        self.settle();
    }

    fn write_ops(&self) {
        let broker = &self.broker;
        let mut writer = OpWriter::new(Arc::clone(&broker.transactions), Arc::clone(&broker.config));
        tick(&mut writer, &self.clock);
        self.settle();
    }

    /// How far the check has come in the half and in the op queue.
    fn progress(&self) -> [Option<i64>; 2] {
        [names::TRANS_HALF_TOPIC, names::TRANS_OP_HALF_TOPIC].map(|topic| {
            self.broker
                .consumer_offsets
                .query(names::TRANSACTION_GROUP, topic, 0)
        })
    }

    fn waiting(&self) -> i64 {
        self.broker.transaction_metrics.count("Orders")
    }
}

/// A producer of the group, connected and known by its heartbeat.
fn producer(broker: &TestBroker, client_id: &str) -> TestClient {
    let client = broker.client();
    let heartbeat = HeartbeatData {
        client_id: client_id.to_owned(),
        producer_data_set: vec![ProducerData {
            group_name: "TxPG".to_owned(),
        }],
        ..HeartbeatData::default()
    };
    assert_eq!(client.heartbeat(&heartbeat).code, response_code::SUCCESS);
    client
}

/// The half messages a producer was asked about since the last time: body and END_TRANSACTION to answer with.
fn questions(
    client: &TestClient,
    commit_or_rollback: i32,
) -> Vec<(String, EndTransactionRequestHeader<'static>)> {
    client
        .connection
        .take_sent()
        .iter()
        .map(|frame| {
            assert_eq!(frame.code, request_code::CHECK_TRANSACTION_STATE);
            let fields = owned_fields(frame.fields());
            let record = record::decode(&frame.body).unwrap();
            assert_eq!((record.topic, record.queue_id), ("Orders", 2));
            assert_eq!(fields["tranStateTableOffset"], record.queue_offset.to_string());
            assert_eq!(fields["commitLogOffset"], record.physical_offset.to_string());
            assert_eq!(fields["topic"], names::TRANS_HALF_TOPIC);
            assert_eq!(Some(fields["msgId"].as_str()), record.property("UNIQ_KEY"));
            assert_eq!(fields["transactionId"], fields["msgId"]);
            assert_eq!(fields["bname"], "broker-a");
            let (_, offset) = parse_offset_msg_id(&fields["offsetMsgId"]).unwrap();
            assert_eq!(offset, record.physical_offset.0);
            let answer = EndTransactionRequestHeader {
                from_transaction_check: true,
                ..Half {
                    msg_id: fields["offsetMsgId"].clone(),
                    queue_offset: record.queue_offset.to_wire(),
                }
                .end(commit_or_rollback)
            };
            (String::from_utf8_lossy(record.body).into_owned(), answer)
        })
        .collect()
}

const LATER: Duration = Duration::from_secs(60);

#[test]
fn a_half_message_waits_where_no_consumer_looks() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[("DELAY", "3")]);
    assert_eq!(broker.visible(), [""; 0]);
    assert_eq!(broker.waiting(), 1);

    let bytes = stored(&broker, &half.msg_id);
    let record = record::decode(&bytes).unwrap();
    assert_eq!((record.topic, record.queue_id), (names::TRANS_HALF_TOPIC, 0));
    assert_eq!(record.sys_flag, 0, "it has a place in the half queue");
    assert_eq!(record.queue_offset.to_wire(), half.queue_offset);
    let properties = properties_of(&record);
    let found = |name| properties.get(name).map(String::as_str);
    assert_eq!(found("REAL_TOPIC"), Some("Orders"));
    assert_eq!(found("REAL_QID"), Some("2"));
    assert_eq!(found("__transactionId__"), Some("U-x"));
    assert_eq!(found("TRAN_MSG"), Some("true"));
    assert_eq!(found("DELAY"), Some("3"), "a delay begins with the commit");
}

#[test]
fn a_commit_makes_the_message_visible_once_however_often_it_is_said() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[("a", "1")]);
    for _ in 0..2 {
        broker.must_end(&half, COMMIT);
    }
    assert_eq!(broker.visible(), ["x"]);
    assert_eq!(broker.waiting(), 0);
    let refused = broker.end(&half.end(ROLLBACK));
    assert_eq!(
        refused,
        (
            response_code::SYSTEM_ERROR,
            "the transaction is over: it was committed".to_owned()
        )
    );

    let bytes = broker.records_of("Orders", 2).remove(0);
    let record = record::decode(&bytes).unwrap();
    assert_eq!(record.sys_flag, 8);
    let (_, half_offset) = parse_offset_msg_id(&half.msg_id).unwrap();
    assert_eq!(record.prepared_transaction_offset, half_offset);
    assert_eq!((record.flag, record.born_timestamp_ms), (7, NOW_MS - 5));
    let properties = properties_of(&record);
    assert!(!properties.contains_key("REAL_TOPIC") && !properties.contains_key("REAL_QID"));
    assert_eq!(
        (properties["a"].as_str(), properties["TRAN_MSG"].as_str()),
        ("1", "true")
    );
}

#[test]
fn a_rollback_leaves_nothing_to_see() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[]);
    for _ in 0..2 {
        broker.must_end(&half, ROLLBACK);
    }
    let refused = broker.end(&half.end(COMMIT));
    assert_eq!(refused.1, "the transaction is over: it was rolled back");
    assert_eq!((broker.visible(), broker.waiting()), (vec![], 0));
}

#[test]
fn unknown_is_no_end_and_gets_no_answer() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[]);
    assert!(broker.try_end(&half.end(UNKNOWN)).is_none());
    for no_state in [4, 99, -1] {
        assert_eq!(
            broker.end(&half.end(no_state)),
            (
                response_code::SYSTEM_ERROR,
                "commitOrRollback field wrong".to_owned()
            ),
            "{no_state}"
        );
    }
    broker.must_end(&half, COMMIT);
    assert_eq!(broker.visible(), ["x"]);
}

#[test]
fn an_end_that_does_not_fit_its_half_message_is_refused() {
    let broker = TestBroker::new().with_topic("Orders");
    let plain = broker.client().must_send(
        "Orders",
        &[("PGROUP", "TxPG"), ("REAL_TOPIC", "Orders")],
        b"plain",
    );
    let half = broker.send_half(b"x", &[]);
    let right = half.end(COMMIT);
    let plain = Half {
        msg_id: plain,
        queue_offset: 0,
    };
    let missing = "Find prepared transaction message failed";
    let cases = [
        (
            EndTransactionRequestHeader {
                producer_group: "Other".into(),
                ..right.clone()
            },
            "The producer group wrong",
        ),
        (
            EndTransactionRequestHeader {
                tran_state_table_offset: 7,
                ..right.clone()
            },
            "The transaction state table offset wrong",
        ),
        (
            EndTransactionRequestHeader {
                commit_log_offset: right.commit_log_offset + 1,
                ..right.clone()
            },
            missing,
        ),
        (
            EndTransactionRequestHeader {
                commit_log_offset: -1,
                ..right.clone()
            },
            missing,
        ),
        (
            EndTransactionRequestHeader {
                commit_log_offset: i64::MAX,
                ..right
            },
            missing,
        ),
        (plain.end(COMMIT), missing),
    ];
    for (header, remark) in cases {
        let refused = broker.end(&header);
        assert_eq!(
            refused,
            (response_code::SYSTEM_ERROR, remark.to_owned()),
            "{header:?}"
        );
    }
    assert_eq!(broker.visible(), [""; 0]);
    broker.must_end(&half, COMMIT);
}

#[test]
fn a_producer_that_wants_time_must_end_within_it_or_wait_for_the_question() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "30")]);
    broker.clock.advance(Duration::from_secs(31));
    assert_eq!(broker.end(&half.end(COMMIT)).0, response_code::ILLEGAL_OPERATION);
    let asked = EndTransactionRequestHeader {
        from_transaction_check: true,
        ..half.end(COMMIT)
    };
    assert_eq!(broker.end(&asked).0, response_code::SUCCESS);
    assert_eq!(broker.visible(), ["x"]);
}

#[test]
fn a_broker_can_be_told_to_take_no_half_messages() {
    let broker = TestBroker::configured(&[("rejectTransactionMessage", "true")]).with_topic("Orders");
    let properties = property_text(&[("TRAN_MSG", "true"), ("PGROUP", "g")]);
    let answer = broker.client().send(send_header("Orders", &properties), b"x");
    assert_eq!(answer.code, response_code::NO_PERMISSION);
    assert!(
        answer
            .remark
            .ends_with("sending transaction message is forbidden"),
        "{}",
        answer.remark
    );
    assert_eq!(broker.broker.store.state().put_message_count, 0);
}

#[test]
fn a_half_message_that_further_queues_would_show_is_refused() {
    let broker = TestBroker::configured(&[("enableLmq", "true"), ("enableMultiDispatch", "true")])
        .with_topic("Orders");
    let properties = property_text(&[("TRAN_MSG", "true"), ("INNER_MULTI_DISPATCH", "%LMQ%a")]);
    let answer = broker.client().send(send_header("Orders", &properties), b"x");
    assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL);
}

#[test]
fn a_delayed_message_waits_after_its_commit() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[("DELAY", "99")]);
    broker.must_end(&half, COMMIT);
    assert_eq!(broker.visible(), [""; 0]);
    let bytes = broker.records_of(names::SCHEDULE_TOPIC, 17).remove(0);
    let record = record::decode(&bytes).unwrap();
    let properties = properties_of(&record);
    assert_eq!(properties["REAL_TOPIC"], "Orders");
    assert_eq!(
        (properties["REAL_QID"].as_str(), properties["DELAY"].as_str()),
        ("2", "18")
    );
    assert_eq!(record.sys_flag, 8);
}

#[test]
fn a_message_with_a_delivery_time_waits_for_it_after_its_commit() {
    let broker = TestBroker::new().with_topic("Orders");
    let due = (NOW_MS + 5_500).to_string();
    let half = broker.send_half(b"timed", &[("TIMER_DELIVER_MS", &due)]);
    broker.must_end(&half, COMMIT);
    let waiting = broker.records_of(names::TIMER_TOPIC, 0);
    let properties = properties_of(&record::decode(&waiting[0]).unwrap());
    assert_eq!(properties["TIMER_OUT_MS"], (NOW_MS + 5_000).to_string());
    assert_eq!(
        (&*properties["REAL_TOPIC"], &*properties["REAL_QID"]),
        ("Orders", "2")
    );

    let mut timer = crate::services::BrokerTicks::of(&broker.broker)
        .unwrap()
        .timer
        .unwrap();
    for (later_ms, visible) in [(5_499, 0), (1, 1)] {
        broker.clock.advance(Duration::from_millis(later_ms));
        tick(&mut timer, &broker.clock);
        broker.settle();
        assert_eq!(broker.bodies_of("Orders", 2).len(), visible);
    }
}

#[test]
fn ends_are_written_down_together() {
    let broker = TestBroker::configured(&[("transactionOpMsgMaxSize", "4")]).with_topic("Orders");
    for (body, end) in [(b"a", COMMIT), (b"b", UNKNOWN), (b"c", ROLLBACK), (b"d", COMMIT)] {
        let half = broker.send_half(body, &[]);
        broker.try_end(&half.end(end));
    }
    assert!(
        broker.broker.wakers.transaction_ops.take(),
        "too many wait to wait longer"
    );
    broker.write_ops();
    assert_eq!(broker.bodies_of(names::TRANS_OP_HALF_TOPIC, 0), ["0,2,", "3,"]);
    let bytes = broker.records_of(names::TRANS_OP_HALF_TOPIC, 0).remove(0);
    let record = record::decode(&bytes).unwrap();
    assert_eq!(record.properties, "WAIT\u{1}true\u{2}TAGS\u{1}d\u{2}");
    assert_eq!(record.born_host, record.store_host);
    broker.write_ops();
    assert_eq!(broker.records_of(names::TRANS_OP_HALF_TOPIC, 0).len(), 2);

    broker.check(LATER);
    assert_eq!(broker.progress(), [Some(4), Some(2)], "b was put back as 4");
}

#[test]
fn a_producer_that_said_nothing_is_asked_and_its_answer_counts() {
    let broker = TestBroker::new().with_topic("Orders");
    let asked = producer(&broker, "p1");
    for body in [b"yes", b"not"] {
        broker.send_half(body, &[]);
    }
    broker.check(Duration::from_secs(1));
    assert!(questions(&asked, COMMIT).is_empty(), "too young");
    assert_eq!(broker.progress(), [None, None]);

    broker.check(LATER);
    let about = questions(&asked, UNKNOWN);
    let bodies: Vec<&str> = about.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!(bodies, ["yes", "not"]);
    assert_eq!(broker.progress(), [Some(2), None]);
    let copy = broker.records_of(names::TRANS_HALF_TOPIC, 0).remove(2);
    let copy = record::decode(&copy).unwrap();
    assert_eq!(copy.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert!(broker.try_end(&about[0].1).is_none(), "still unknown");

    broker.check(LATER);
    let about = questions(&asked, COMMIT);
    assert_eq!(about.len(), 2);
    assert_eq!(broker.end(&about[0].1).0, response_code::SUCCESS);
    let rolled_back = EndTransactionRequestHeader {
        commit_or_rollback: ROLLBACK,
        ..about[1].1.clone()
    };
    assert_eq!(broker.end(&rolled_back).0, response_code::SUCCESS);
    assert_eq!((broker.visible(), broker.waiting()), (vec!["yes".to_owned()], 0));
    let committed = broker.records_of("Orders", 2).remove(0);
    let committed = record::decode(&committed).unwrap();
    assert_eq!(committed.property("TRANSACTION_CHECK_TIMES"), Some("2"));

    broker.check(LATER);
    assert!(questions(&asked, COMMIT).is_empty());
    assert_eq!(broker.progress(), [Some(6), None]);
    broker.write_ops();
    assert_eq!(broker.bodies_of(names::TRANS_OP_HALF_TOPIC, 0), ["4,5,"]);
}

#[test]
fn each_question_goes_to_one_producer_that_can_be_reached() {
    let broker = TestBroker::new().with_topic("Orders");
    let producers = ["p1", "p2", "gone"].map(|client_id| producer(&broker, client_id));
    producers[2].connection.close();
    for body in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        broker.send_half(body, &[]);
    }
    broker.check(LATER);
    let asked: Vec<usize> = producers
        .iter()
        .map(|client| questions(client, COMMIT).len())
        .collect();
    assert_eq!(asked.iter().sum::<usize>(), 6);
    assert!(
        asked[0] >= 2 && asked[1] >= 2,
        "spread over those connected: {asked:?}"
    );
}

#[test]
fn a_late_end_for_a_message_that_was_put_back_makes_it_visible_once() {
    let broker = TestBroker::new().with_topic("Orders");
    let asked = producer(&broker, "p1");
    let half = broker.send_half(b"x", &[]);
    broker.check(LATER);
    let answer = questions(&asked, COMMIT).remove(0).1;
    broker.must_end(&half, COMMIT);
    assert_eq!(broker.end(&answer).0, response_code::SUCCESS);
    assert_eq!(broker.visible(), ["x"]);
    broker.write_ops();
    assert_eq!(
        broker.bodies_of(names::TRANS_OP_HALF_TOPIC, 0),
        ["1,"],
        "the copy is over"
    );
    broker.check(LATER);
    assert!(questions(&asked, COMMIT).is_empty());
    let refused = broker.end(&answer);
    assert_eq!(
        refused.0,
        response_code::SYSTEM_ERROR,
        "passed long ago: {}",
        refused.1
    );
    assert_eq!(broker.visible(), ["x"]);
}

#[test]
fn an_immune_message_is_put_back_without_a_question_until_its_time_comes() {
    let broker = TestBroker::new().with_topic("Orders");
    let asked = producer(&broker, "p1");
    let half = broker.send_half(b"x", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "150")]);
    broker.send_half(b"y", &[]);
    for round in 1..=2 {
        broker.check(LATER);
        let about: Vec<String> = questions(&asked, COMMIT)
            .into_iter()
            .map(|(body, _)| body)
            .collect();
        assert_eq!(about, ["y"], "round {round}");
    }
    let copies = broker.records_of(names::TRANS_HALF_TOPIC, 0);
    let last_immune = copies
        .iter()
        .map(|bytes| record::decode(bytes).unwrap())
        .rfind(|record| record.body == b"x")
        .unwrap();
    assert_eq!(last_immune.property("TRAN_PREPARED_QUEUE_OFFSET"), Some("0"));
    assert_eq!(last_immune.property("TRANSACTION_CHECK_TIMES"), None);

    let ended_in_time = broker.clock.wall_ms() - last_immune.born_timestamp_ms < 150_000;
    assert!(ended_in_time);
    broker.must_end(&half, COMMIT);
    broker.check(LATER);
    assert!(questions(&asked, COMMIT).iter().all(|(body, _)| body == "y"));
    assert_eq!(broker.visible(), ["x"]);
}

#[test]
fn a_message_nobody_answers_for_is_given_up_and_can_be_resumed() {
    let broker = TestBroker::configured(&[("transactionCheckMax", "2")]).with_topic("Orders");
    let asked = producer(&broker, "p1");
    broker.send_half(b"x", &[]);
    for _ in 0..3 {
        assert_eq!(broker.waiting(), 1);
        broker.check(LATER);
    }
    assert_eq!(questions(&asked, COMMIT).len(), 2, "asked as often as allowed");
    assert_eq!(broker.waiting(), 0);
    let bytes = broker.records_of(names::TRANS_CHECK_MAX_TIME_TOPIC, 0).remove(0);
    let given_up = record::decode(&bytes).unwrap();
    assert_eq!(given_up.property("TRANSACTION_CHECK_TIMES"), Some("2"));
    assert_eq!(given_up.property("REAL_TOPIC"), Some("Orders"));
    assert!(broker.broker.topics.contains(names::TRANS_CHECK_MAX_TIME_TOPIC));

    let resume = |msg_id: String| {
        let header = ResumeCheckHalfMessageRequestHeader {
            topic: Some("Orders".to_owned()),
            msg_id: Some(msg_id),
        };
        let request = OutgoingRequest::new(request_code::RESUME_CHECK_HALF_MESSAGE).header(&header);
        broker.client().call(request).code
    };
    let id = |offset: u64| common::message::id::offset_msg_id(given_up.store_host, offset);
    let plain = broker.client().must_send("Orders", &[], b"plain");
    for wrong in [plain, id(1), id(1 << 40), String::new(), "no id".to_owned()] {
        assert_eq!(resume(wrong.clone()), response_code::SYSTEM_ERROR, "{wrong}");
    }
    for _ in 0..2 {
        assert_eq!(resume(id(given_up.physical_offset.0)), response_code::SUCCESS);
        assert_eq!(broker.waiting(), 1);
    }
    broker.check(LATER);
    let about = questions(&asked, COMMIT);
    assert_eq!(about.len(), 1, "resumed twice is asked about once");
    assert_eq!(broker.end(&about[0].1).0, response_code::SUCCESS);
    assert_eq!(broker.visible(), ["x"]);
}

#[test]
fn a_check_that_cannot_store_its_copy_begins_there_again() {
    let broker = TestBroker::new().with_topic("Orders");
    let asked = producer(&broker, "p1");
    broker.send_half(b"x", &[]);
    broker.clock.advance(LATER);
    broker.broker.store.set_writable(false);
    let transactions = &broker.broker.transactions;
    let mut check = TransactionCheck::new(Arc::clone(transactions), Arc::clone(&broker.broker.config));
    check.tick(broker.clock.now(), false).unwrap_err();
    assert!(questions(&asked, COMMIT).is_empty());

    broker.broker.store.set_writable(true);
    broker.check(LATER);
    assert_eq!(questions(&asked, COMMIT).len(), 1);
}

#[test]
fn a_copy_that_no_record_can_hold_is_given_up_and_does_not_stop_the_others() {
    let broker = TestBroker::new().with_topic("Orders");
    let asked = producer(&broker, "p1");
    let room = |filler: usize| property_text(&[("filler", &"f".repeat(filler))]).len();
    let small = broker.send_half(b"s", &[]);
    let used = record::decode(&stored(&broker, &small.msg_id))
        .unwrap()
        .properties
        .len();
    let filler = 32_767 - used - room(0);
    broker.send_half(b"x", &[("filler", &"f".repeat(filler))]);
    broker.send_half(b"y", &[]);
    broker.check(LATER);
    let about: Vec<String> = questions(&asked, COMMIT)
        .into_iter()
        .map(|(body, _)| body)
        .collect();
    assert_eq!(about, ["s", "y"]);
    assert_eq!(broker.bodies_of(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["x"]);
}

/// What a crash may come between.
#[test]
fn a_crash_in_any_state_leaves_one_visible_message_or_none() {
    type Step = fn(&TestBroker, &Half);
    let nothing: Step = |_, _| {};
    let commit: Step = |broker, half| broker.must_end(half, COMMIT);
    let commit_written: Step = |broker, half| {
        broker.must_end(half, COMMIT);
        broker.write_ops();
    };
    let put_back: Step = |broker, _| broker.check(LATER);
    let put_back_kept: Step = |broker, _| {
        broker.check(LATER);
        broker.broker.consumer_offsets.flush().unwrap();
    };
    let put_back_twice_committed: Step = |broker, half| {
        broker.check(LATER);
        broker.check(LATER);
        broker.must_end(half, COMMIT);
    };
    let rolled_back_written: Step = |broker, half| {
        broker.must_end(half, ROLLBACK);
        broker.write_ops();
    };
    let cases: [(&str, Step, usize, &[&str]); 7] = [
        ("stored", nothing, 1, &["x"]),
        ("committed, no op record", commit, 0, &["x"]),
        ("committed, with its op record", commit_written, 0, &["x"]),
        ("put back, progress lost", put_back, 1, &["x"]),
        ("put back, progress kept", put_back_kept, 1, &["x"]),
        (
            "put back twice, then the first copy committed",
            put_back_twice_committed,
            0,
            &["x"],
        ),
        ("rolled back, with its op record", rolled_back_written, 0, &[]),
    ];
    for (name, step, asked_about, visible) in cases {
        let broker = TestBroker::new().with_topic("Orders");
        let half = broker.send_half(b"x", &[]);
        let other = broker.send_half(b"other", &[]);
        step(&broker, &half);

        let broker = broker.crash_and_restart().with_topic("Orders");
        let open = i64::try_from(asked_about).unwrap() + 1;
        assert_eq!(broker.waiting(), open, "{name}: counted after the restart");
        let asked = producer(&broker, "p1");
        broker.check(LATER);
        let about = questions(&asked, COMMIT);
        let of_x = about.iter().filter(|(body, _)| body == "x").count();
        assert_eq!(of_x, asked_about, "{name}: questions about x");
        assert_eq!(about.len(), asked_about + 1, "{name}: and about the other");
        for (_, answer) in &about {
            assert_eq!(broker.end(answer).0, response_code::SUCCESS, "{name}");
        }
        // The producer says it again, as one that got no answer may.
        broker.end(&half.end(COMMIT));
        broker.end(&other.end(COMMIT));
        let mut expected = [visible, &["other"]].concat();
        expected.sort_unstable();
        let mut found = broker.visible();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");

        broker.write_ops();
        drop(asked);
        let broker = broker.crash_and_restart().with_topic("Orders");
        let asked = producer(&broker, "p1");
        broker.check(LATER);
        assert!(questions(&asked, COMMIT).is_empty(), "{name}: all is over");
        assert_eq!(broker.waiting(), 0, "{name}");
    }
}

#[test]
fn a_message_given_up_before_a_crash_is_not_given_up_again() {
    let broker = TestBroker::configured(&[("transactionCheckMax", "1")]).with_topic("Orders");
    broker.send_half(b"x", &[]);
    broker.check(LATER);
    broker.check(LATER);
    assert_eq!(broker.bodies_of(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["x"]);
    let broker = broker.crash_and_restart();
    broker.check(LATER);
    assert_eq!(broker.bodies_of(names::TRANS_CHECK_MAX_TIME_TOPIC, 0), ["x"]);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn progress_beyond_what_the_disk_kept_goes_back_to_the_queues_end() {
    let broker = TestBroker::new().with_topic("Orders");
    broker.send_half(b"x", &[]);
    for topic in [names::TRANS_HALF_TOPIC, names::TRANS_OP_HALF_TOPIC] {
        broker
            .broker
            .consumer_offsets
            .commit("test", names::TRANSACTION_GROUP, topic, 0, 500);
    }
    broker.broker.consumer_offsets.flush().unwrap();
    let broker = broker.crash_and_restart().with_topic("Orders");
    let half = broker.send_half(b"y", &[]);
    assert_eq!(half.queue_offset, 1);
    broker.must_end(&half, COMMIT);
    assert_eq!(broker.visible(), ["y"]);
    broker.check(LATER);
    broker.write_ops();
    assert_eq!(broker.bodies_of(names::TRANS_OP_HALF_TOPIC, 0), ["1,"]);
}

#[test]
fn a_repeated_commit_waits_for_the_disk_as_the_first_one_did() {
    let broker = TestBroker::new().with_topic("Orders");
    let half = broker.send_half(b"x", &[]);
    broker.flush();
    broker
        .broker
        .store_config
        .update(|config| config.flush_disk_type = FlushDiskType::SyncFlush);
    let clients = [broker.client(), broker.client()];
    for client in &clients {
        let request = OutgoingRequest::new(request_code::END_TRANSACTION).header(&half.end(COMMIT));
        assert!(client.try_call(request).is_none(), "answered too early");
        assert!(client.late_answers().is_empty());
    }
    broker.flush();
    for client in &clients {
        let codes: Vec<i32> = client.late_answers().iter().map(|answer| answer.code).collect();
        assert_eq!(codes, [response_code::SUCCESS]);
    }
    broker.settle();
    assert_eq!(broker.visible(), ["x"]);
}
