//! Messages with a delivery time: how they wait, when they come, what takes them back, and what a stop or a crash leaves.

use std::path::Path;
use std::time::Duration;

use remoting::body::TimerMetricsSerializeWrapper;
use remoting::header::RecallMessageRequestHeader;
use store::QueueOffset;

use super::*;
use crate::timer::recall::RecallHandle;
use crate::timer::{TimerFlush, TimerService};

/// A broker whose timer is ticked by hand, and which can go and come back on its directory.
struct TimerBroker {
    test: TestBroker,
    service: TimerService,
    flush: TimerFlush,
}

impl TimerBroker {
    fn new() -> Self {
        Self::configured(&[])
    }

    fn configured(settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("recallMessageEnable", "true")];
        all.extend(settings);
        Self::of(TestBroker::configured(&all).with_topic("Orders"))
    }

    fn of(test: TestBroker) -> Self {
        let ticks = crate::services::BrokerTicks::of(&test.broker).unwrap();
        TimerBroker {
            service: ticks.timer.expect("the timer is on"),
            flush: ticks.timer_flush.expect("the timer is on"),
            test,
        }
    }

    /// Ticks until nothing is left to do at this time.
    fn settle(&mut self) {
        loop {
            self.test.settle();
            let more = self.service.tick(self.test.clock.now(), false).unwrap() == Next::Again;
            let behind = self.test.broker.store.state();
            if !more && behind.dispatched == behind.commit_log_max {
                return;
            }
        }
    }

    /// Time passes in steps of 10 ms.
    fn pass(&mut self, ms: u64) {
        self.settle();
        for _ in 0..ms / 10 {
            self.test.clock.advance(Duration::from_millis(10));
            self.settle();
        }
    }

    fn flush(&mut self) {
        tick(&mut self.flush, &self.test.clock);
    }

    /// Stops cleanly and starts again `away_ms` later.
    fn restart(mut self, away_ms: u64) -> Self {
        self.service.tick(self.test.clock.now(), true).unwrap();
        self.flush.tick(self.test.clock.now(), true).unwrap();
        self.test.broker.store.close().unwrap();
        self.start_again(away_ms)
    }

    /// Dies, as by kill -9: what was written is there, nothing more is done.
    fn crash(self, away_ms: u64) -> Self {
        self.start_again(away_ms)
    }

    fn start_again(self, away_ms: u64) -> Self {
        let TimerBroker { test, service, flush } = self;
        let TestBroker {
            broker,
            clock,
            settings,
            _directory: directory,
            ..
        } = test;
        drop((service, flush, broker));
        clock.advance(Duration::from_millis(away_ms));
        Self::of(TestBroker::on(directory, clock, settings).with_topic("Orders"))
    }

    fn send(&self, properties: &[(&str, &str)], body: &str) -> Answer {
        let client = self.test.client();
        let properties = property_text(properties);
        client.send(send_header("Orders", &properties), body.as_bytes())
    }

    /// Stores a message that is due at this time; gives its recall handle.
    fn send_due(&self, due_ms: i64, body: &str) -> String {
        let answer = self.send(
            &[("TIMER_DELIVER_MS", &due_ms.to_string()), ("UNIQ_KEY", body)],
            body,
        );
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        answer.field("recallHandle").to_owned()
    }

    fn recall(&self, handle: &str) -> Answer {
        let header = RecallMessageRequestHeader {
            producer_group: Some("producers".to_owned()),
            topic: "Orders".to_owned(),
            recall_handle: Some(handle.to_owned()),
        };
        let request = OutgoingRequest::new(request_code::RECALL_MESSAGE).header(&header);
        self.test.client().call(request)
    }

    /// The bodies in queue 0 of a topic, in order.
    fn delivered(&self) -> Vec<String> {
        self.records("Orders")
            .iter()
            .map(|bytes| String::from_utf8(record::decode(bytes).unwrap().body.to_vec()).unwrap())
            .collect()
    }

    fn records(&self, topic: &str) -> Vec<Vec<u8>> {
        let store = &self.test.broker.store;
        let entries = store.queue_entries(topic, 0, QueueOffset(0), 10_000);
        entries
            .iter()
            .map(|entry| store.read_at(entry.physical_offset).unwrap())
            .collect()
    }

    fn waiting(&self) -> i64 {
        let answer = self
            .test
            .client()
            .call(OutgoingRequest::new(request_code::GET_TIMER_METRICS));
        let metrics: TimerMetricsSerializeWrapper =
            remoting::body::fastjson::from_slice(&answer.body).unwrap();
        metrics
            .timing_count
            .get("Orders")
            .map_or(0, |metric| metric.count)
    }
}

#[test]
fn a_message_waits_in_the_timer_topic_and_comes_when_it_is_due_and_no_sooner() {
    let mut broker = TimerBroker::new();
    let handle = broker.send_due(NOW_MS + 4_250, "a");
    broker.settle();
    let waiting = broker.records("rmq_sys_wheel_timer");
    let record = record::decode(&waiting[0]).unwrap();
    let properties = properties_of(&record);
    assert_eq!(properties["TIMER_OUT_MS"], (NOW_MS + 4_000).to_string());
    assert_eq!(
        (&*properties["REAL_TOPIC"], &*properties["REAL_QID"]),
        ("Orders", "0")
    );
    let handle = RecallHandle::decode(&handle).unwrap();
    assert_eq!(handle.timestamp, (NOW_MS + 4_001).to_string());
    assert_eq!((&*handle.broker_name, &*handle.uniq_key), ("broker-a", "a"));
    assert_eq!(broker.waiting(), 1);

    broker.pass(4_240);
    assert_eq!(broker.delivered(), [""; 0]);
    broker.pass(10);
    assert_eq!(broker.delivered(), ["a"]);
    assert_eq!(broker.waiting(), 0);

    let copies = broker.records("Orders");
    let copy = record::decode(&copies[0]).unwrap();
    let expected = [
        record.properties,
        &property_text(&[
            ("TIMER_ENQUEUE_MS", &NOW_MS.to_string()),
            ("TIMER_DEQUEUE_MS", &(NOW_MS + 4_250).to_string()),
        ]),
    ];
    assert_eq!(copy.properties, expected.concat());
    assert_eq!(
        (copy.flag, copy.born_timestamp_ms),
        (record.flag, record.born_timestamp_ms)
    );
    assert_eq!(
        (copy.born_host, copy.store_host),
        (record.born_host, record.store_host)
    );
}

#[test]
fn the_three_ways_to_say_when_all_work_and_a_time_that_passed_is_no_delay() {
    let mut broker = TimerBroker::new();
    for (name, value) in [
        ("TIMER_DELAY_SEC", "3".to_owned()),
        ("TIMER_DELAY_MS", "2000".to_owned()),
        ("TIMER_DELIVER_MS", (NOW_MS + 1).to_string()),
        ("TIMER_DELIVER_MS", NOW_MS.to_string()),
        ("TIMER_DELAY_MS", "-5".to_owned()),
    ] {
        let answer = broker.send(&[(name, &value)], &format!("{name} {value}"));
        assert_eq!(answer.code, response_code::SUCCESS);
        let is_now = value == NOW_MS.to_string() || value == "-5";
        assert_eq!(answer.field("recallHandle").is_empty(), is_now, "{value}");
    }
    broker.settle();
    assert_eq!(broker.delivered().len(), 2, "those that were due when they came");
    let at = |broker: &TimerBroker| broker.delivered().last().cloned().unwrap_or_default();
    broker.pass(10);
    assert!(at(&broker).starts_with("TIMER_DELIVER_MS"), "{}", at(&broker));
    broker.pass(1_980);
    assert_eq!(broker.delivered().len(), 3);
    broker.pass(10);
    assert_eq!(at(&broker), "TIMER_DELAY_MS 2000");
    broker.pass(990);
    assert_eq!(broker.delivered().len(), 4);
    broker.pass(10);
    assert_eq!(at(&broker), "TIMER_DELAY_SEC 3");
}

#[test]
fn a_delay_too_long_is_refused_in_the_words_of_the_reference() {
    let broker = TimerBroker::new();
    let answer = broker.send(&[("TIMER_DELAY_SEC", "259201")], "x");
    assert_eq!(answer.code, response_code::MESSAGE_ILLEGAL);
    assert_eq!(
        answer.remark,
        "timer message illegal, the delay time should not be bigger than the max delay 259200000ms; or if set del msg, \
         the delay time should be bigger than the current time"
    );
    let answer = broker.send(&[("TIMER_DELAY_SEC", "259200")], "x");
    assert_eq!(answer.code, response_code::SUCCESS);
    let due = [("TIMER_DEL_UNIQKEY", "k"), ("TIMER_DELIVER_MS", "1")];
    assert_eq!(broker.send(&due, "x").code, response_code::MESSAGE_ILLEGAL);
}

#[test]
fn a_full_slot_takes_no_more() {
    let mut broker = TimerBroker::configured(&[("timerCongestNumEachSlot", "2")]);
    for number in 0..4 {
        let answer = broker.send(&[("TIMER_DELAY_SEC", "5")], &number.to_string());
        assert_eq!(answer.code, response_code::SUCCESS, "not yet filed");
    }
    broker.settle();
    let answer = broker.send(&[("TIMER_DELAY_SEC", "5")], "x");
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert!(
        answer
            .remark
            .starts_with("timer message is under flow control, max num limit is 4"),
        "{}",
        answer.remark
    );
    assert_eq!(
        broker.send(&[("TIMER_DELAY_SEC", "6")], "x").code,
        response_code::SUCCESS
    );
}

#[test]
fn without_the_timer_messages_with_a_delivery_time_are_refused() {
    let broker = TestBroker::configured(&[("timerWheelEnable", "false")]).with_topic("Orders");
    let properties = property_text(&[("TIMER_DELAY_SEC", "5")]);
    let answer = broker.client().send(send_header("Orders", &properties), b"x");
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    assert_eq!(
        answer.remark,
        "accurate timer message is not enabled, timerWheelEnable is false"
    );
    for (code, remark) in [
        (request_code::GET_TIMER_CHECK_POINT, "The checkpoint is null"),
        (request_code::GET_TIMER_METRICS, "The timer message store is null"),
    ] {
        let answer = broker.client().call(OutgoingRequest::new(code));
        assert_eq!(
            (answer.code, &*answer.remark),
            (response_code::SYSTEM_ERROR, remark)
        );
    }
}

#[test]
fn messages_of_one_slot_come_in_the_order_they_are_due() {
    let mut broker = TimerBroker::new();
    for due_in_ms in [900, 1_000, 500, 1_010, 910] {
        broker.send_due(NOW_MS + 1_000 + due_in_ms, &due_in_ms.to_string());
    }
    // Comes into a slot that has begun, and is due before others of it.
    broker.pass(1_600);
    broker.send_due(NOW_MS + 1_700, "700");
    broker.pass(1_000);
    assert_eq!(broker.delivered(), ["500", "700", "900", "910", "1000", "1010"]);
}

#[test]
fn a_message_beyond_the_window_rolls_until_it_is_due() {
    let mut broker = TimerBroker::configured(&[("timerRollWindowSlot", "3")]);
    broker.send(&[("TIMER_DELAY_MS", "9990"), ("UNIQ_KEY", "far")], "far");
    broker.pass(9_980);
    assert_eq!(broker.delivered(), [""; 0]);
    assert_eq!(broker.waiting(), 1);
    broker.pass(10);
    assert_eq!(broker.delivered(), ["far"]);
    assert_eq!(broker.waiting(), 0);
    let rolled = broker.records("rmq_sys_wheel_timer");
    assert!(rolled.len() > 2, "{}", rolled.len());
    let copies = broker.records("Orders");
    let properties = properties_of(&record::decode(&copies[0]).unwrap());
    assert_eq!(properties["TIMER_ROLL_TIMES"], (rolled.len() - 1).to_string());
    assert_eq!(properties["TIMER_DELAY_MS"], "9990");
}

#[test]
fn a_recalled_message_never_comes() {
    let mut broker = TimerBroker::new();
    let handle = broker.send_due(NOW_MS + 5_500, "a");
    broker.send_due(NOW_MS + 5_500, "b");
    broker.settle();
    let answer = broker.recall(&handle);
    assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
    assert_eq!(
        (answer.field("msgId"), answer.field("MSG_REGION")),
        ("a", "DefaultRegion")
    );
    broker.settle();
    assert_eq!(broker.waiting(), 1);
    let recalls = broker.records("rmq_sys_wheel_timer");
    let recall = record::decode(&recalls[2]).unwrap();
    let properties = properties_of(&recall);
    assert_eq!(recall.body, b"0");
    assert_eq!(
        (&*properties["TAGS"], &*properties["TIMER_DEL_UNIQKEY"]),
        ("_RECALL_TAG_", "a")
    );
    assert_eq!(properties["TIMER_OUT_MS"], (NOW_MS + 5_000).to_string());
    broker.pass(7_000);
    assert_eq!(broker.delivered(), ["b"]);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn a_recall_is_kept_also_when_its_slot_begins_before_it_is_filed() {
    let mut broker = TimerBroker::new();
    let handle = broker.send_due(NOW_MS + 1_001, "a");
    broker.settle();
    broker.test.clock.advance(Duration::from_millis(1_000));
    assert_eq!(broker.recall(&handle).code, response_code::SUCCESS);
    // Not dispatched: the timer cannot have read it when the message gets due.
    broker.test.clock.advance(Duration::from_millis(100));
    broker.service.tick(broker.test.clock.now(), false).unwrap();
    broker.pass(2_000);
    assert_eq!(broker.delivered(), [""; 0]);

    let handle = broker.send_due(NOW_MS + 5_001, "b");
    broker.test.clock.set_wall_ms(NOW_MS + 5_001);
    let answer = broker.recall(&handle);
    assert_eq!(
        (answer.code, &*answer.remark),
        (604, "recall failed, timestamp invalid"),
        "its slot has begun"
    );
    broker.settle();
    assert_eq!(broker.delivered(), ["b"]);
}

#[test]
fn recalls_that_cannot_be_are_refused_in_the_words_of_the_reference() {
    let broker = TimerBroker::new();
    let good = broker.send_due(NOW_MS + 5_500, "a");
    let handle = |topic: &str, name: &str, out_ms: i64| RecallHandle::encode(topic, name, out_ms, "k");
    for (bad, remark) in [
        ("nonsense".to_owned(), "recall handle is invalid"),
        (
            handle("Others", "broker-a", NOW_MS),
            "recall failed, topic not match",
        ),
        (
            handle("Orders", "broker-b", NOW_MS),
            "recall failed, broker service not available",
        ),
        (
            handle("Orders", "broker-a", NOW_MS - 1),
            "recall failed, timestamp invalid",
        ),
        (
            handle("Orders", "broker-a", NOW_MS + 259_200_000),
            "recall failed, timestamp invalid",
        ),
    ] {
        let answer = broker.recall(&bad);
        assert_eq!(
            (answer.code, &*answer.remark),
            (response_code::ILLEGAL_OPERATION, remark)
        );
    }
    broker
        .test
        .broker
        .config
        .update(|config| config.recall_message_enable = false);
    let answer = broker.recall(&good);
    assert_eq!(
        (answer.code, &*answer.remark),
        (
            response_code::NO_PERMISSION,
            "recall failed, operation is forbidden"
        )
    );
}

#[test]
fn a_recall_without_its_message_leaves_the_counts_right() {
    let mut broker = TimerBroker::new();
    broker.send_due(NOW_MS + 5_500, "b");
    broker.recall(&RecallHandle::encode(
        "Orders",
        "broker-a",
        NOW_MS + 2_000,
        "unknown",
    ));
    broker.pass(4_000);
    assert_eq!(broker.waiting(), 1);
}

#[test]
fn filing_and_delivery_can_be_stopped_and_go_on() {
    let mut broker = TimerBroker::configured(&[("timerStopDequeue", "true")]);
    broker.send_due(NOW_MS + 1_500, "a");
    broker.pass(3_000);
    assert_eq!((broker.delivered(), broker.waiting()), (vec![], 1));
    broker.test.broker.store_config.update(|config| {
        config.timer_stop_dequeue = false;
        config.timer_stop_enqueue = true;
    });
    broker.send_due(NOW_MS + 4_500, "b");
    broker.pass(2_500);
    assert_eq!(broker.delivered(), ["a"]);
    broker
        .test
        .broker
        .store_config
        .update(|config| config.timer_stop_enqueue = false);
    broker.settle();
    assert_eq!(broker.delivered(), ["a", "b"]);
}

#[test]
fn what_cannot_be_put_waits_and_is_not_lost() {
    let mut broker = TimerBroker::new();
    broker.send_due(NOW_MS + 1_500, "a");
    broker.settle();
    broker.test.broker.store.set_writable(false);
    broker.pass(4_000);
    assert_eq!(broker.delivered(), [""; 0]);
    broker.test.broker.store.set_writable(true);
    broker.pass(600);
    assert_eq!(broker.delivered(), ["a"]);
}

#[test]
fn properties_at_their_limit_are_delivered_as_they_are() {
    let mut broker = TimerBroker::new();
    // Leaves room for what a send adds, but not for what the timer adds.
    let long = "x".repeat(32_767 - 240);
    let mut pairs = vec![
        ("TIMER_DELAY_MS", "1500"),
        ("UNIQ_KEY", "a"),
        ("long", long.as_str()),
    ];
    let pad = loop {
        let answer = broker.send(&pairs, "a");
        if answer.code == response_code::SUCCESS {
            break answer;
        }
        assert!(pairs[2].1.len() > 30_000, "{}", answer.remark);
        pairs[2].1 = &pairs[2].1[1..];
    };
    assert!(!pad.field("recallHandle").is_empty());
    broker.pass(2_600);
    assert_eq!(broker.delivered(), ["a"]);
}

#[test]
fn a_clean_restart_in_the_middle_of_a_slot_delivers_everything_once() {
    let mut broker = TimerBroker::new();
    for number in 0..20 {
        broker.send_due(NOW_MS + 1_050 * (1 + number), &number.to_string());
    }
    for round in 0..8 {
        broker.pass(1_370);
        broker = broker.restart(if round % 2 == 0 { 0 } else { 1_730 });
    }
    broker.pass(12_000);
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(broker.delivered(), expected);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn a_crash_in_the_middle_of_a_slot_delivers_everything_once() {
    for flush_every in [1, 3, 1_000] {
        let mut broker = TimerBroker::new();
        for number in 0..20 {
            broker.send_due(NOW_MS + 250 * (1 + number), &number.to_string());
        }
        for round in 0..9 {
            broker.pass(370);
            if round % flush_every == 0 {
                broker.flush();
                broker.pass(200);
            }
            broker = broker.crash(if round % 2 == 0 { 0 } else { 930 });
        }
        broker.pass(6_000);
        let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(broker.delivered(), expected, "flushed every {flush_every}");
        assert_eq!(broker.waiting(), 0, "flushed every {flush_every}");
    }
}

#[test]
fn messages_that_were_due_while_the_broker_was_away_come_at_once_in_order_of_their_time() {
    let mut broker = TimerBroker::new();
    for due_in_ms in [5_250, 2_500, 90_000, 3_700] {
        broker.send_due(NOW_MS + due_in_ms, &due_in_ms.to_string());
    }
    broker.settle();
    // This one is stored, and not filed yet.
    broker.send_due(NOW_MS + 4_000, "4000");
    let mut broker = broker.crash(20_000);
    broker.settle();
    let mut delivered = broker.delivered();
    assert_eq!(delivered.len(), 4);
    delivered.retain(|body| body != "4000");
    assert_eq!(delivered, ["2500", "3700", "5250"]);
    assert_eq!(broker.waiting(), 1);
}

#[test]
fn recalls_of_before_the_crash_are_kept() {
    let mut broker = TimerBroker::new();
    let filed = broker.send_due(NOW_MS + 1_500, "filed");
    broker.settle();
    broker.recall(&filed);
    let mut broker = broker.crash(10_000);
    broker.settle();
    assert_eq!(broker.delivered(), [""; 0]);
}

#[test]
fn messages_come_after_weeks_without_the_broker() {
    let mut broker = TimerBroker::new();
    broker.send_due(NOW_MS + 86_400_000, "a");
    broker.settle();
    let mut broker = broker.restart(40 * 86_400_000);
    broker.settle();
    assert_eq!(broker.delivered(), ["a"]);
}

#[test]
fn a_clock_set_back_makes_nothing_early() {
    let mut broker = TimerBroker::new();
    broker.pass(10_000);
    broker.test.clock.set_wall_ms(NOW_MS);
    broker.send_due(NOW_MS + 3_500, "a");
    broker.pass(3_490);
    assert_eq!(broker.delivered(), [""; 0]);
    broker.pass(10_000);
    assert_eq!(broker.delivered(), ["a"]);
}

#[test]
fn the_checkpoint_says_how_far_the_timer_is_on_the_disk() {
    let mut broker = TimerBroker::new();
    broker.send_due(NOW_MS + 60_000, "a");
    broker.pass(2_500);
    broker.flush();
    let answer = broker
        .test
        .client()
        .call(OutgoingRequest::new(request_code::GET_TIMER_CHECK_POINT));
    let number = |index: usize| i64::from_be_bytes(answer.body[index * 8..][..8].try_into().unwrap());
    assert_eq!(answer.body.len(), 56);
    assert_eq!(
        [number(0), number(1), number(2), number(3)],
        [NOW_MS + 2_000, 52, 1, 1]
    );
    let answer = broker
        .test
        .client()
        .call(OutgoingRequest::new(request_code::GET_BROKER_RUNTIME_INFO));
    let info = String::from_utf8(answer.body.to_vec()).unwrap();
    for expected in [
        "\"timerCongestNum\":\"1\"",
        "\"timerOffsetBehind\":\"0\"",
        "\"timerReadBehind\":\"0\"",
    ] {
        assert!(info.contains(expected), "{expected} in {info}");
    }
}

#[test]
fn what_stands_in_the_timer_topic_without_saying_when_is_passed_over() {
    let mut broker = TimerBroker::new();
    let record = store::Message {
        topic: "rmq_sys_wheel_timer",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: NOW_MS,
        born_host: address("10.0.0.1:1"),
        store_host: address("10.0.0.1:1"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: "TIMER_OUT_MS\u{1}soon\u{2}",
        body: b"x",
    };
    broker.test.broker.store.put(&record).unwrap();
    broker.send_due(NOW_MS + 1_500, "a");
    broker.pass(3_000);
    assert_eq!(broker.delivered(), ["a"]);
}

/// What the clean fixture's Java broker left pending: +3 h and +60 h of FxTimer, and two pop checkpoints.
#[test]
fn pending_timers_of_a_java_store_are_delivered_once_and_when_due() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/data");
    let directory = tempfile::tempdir().unwrap();
    unpack(&data.join("fixture-java-5.5.0.tar.zst"), directory.path());
    let root = directory.path().join("store").display().to_string();
    let settings = [
        ("storePathRootDir", &*root),
        ("mappedFileSizeCommitLog", "131072"),
        ("mappedFileSizeConsumeQueue", "800"),
        ("mapperFileSizeBatchConsumeQueue", "4600"),
        ("maxHashSlotNum", "100"),
        ("maxIndexNum", "400"),
        ("mappedFileSizeTimerLog", "102400"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    const STOPPED_MS: i64 = 1_795_377_583_231;
    let clock = Arc::new(ManualClock::new(STOPPED_MS + 60_000));
    let mut broker = TimerBroker::of(TestBroker::on(directory, clock, settings));
    broker.settle();
    let before = broker.records("FxTimer").len();

    for (due_ms, delivered) in [(1_795_388_130_000, 1), (1_795_593_330_000, 2)] {
        // The fixture says only: at or before the end of the slot that follows.
        broker.test.clock.set_wall_ms(due_ms);
        broker.settle();
        assert!(broker.records("FxTimer").len() < before + delivered);
        broker.test.clock.set_wall_ms(due_ms + 1_000);
        broker.settle();
        assert_eq!(broker.records("FxTimer").len(), before + delivered);
    }
}

fn unpack(archive: &Path, directory: &Path) {
    let mut unpacked = Vec::new();
    let packed = std::io::Cursor::new(std::fs::read(archive).unwrap());
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed).unwrap();
    std::io::copy(&mut decoder, &mut unpacked).unwrap();
    tar::Archive::new(std::io::Cursor::new(unpacked))
        .unpack(directory)
        .unwrap();
}
