//! kill -9 of the real broker while messages with a delivery time come in, wait and are delivered.
//!
//! A killed process loses nothing it has written to a mapped file, so in the end every acknowledged message must be in its topic, once,
//! and not before its time. `KILL_ROUNDS` sets how many rounds, `KILL_SEED` the seed of their moments, `KILL_FLUSH` the kind of
//! flush.

mod durability;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use common::clock::{Clock as _, SystemClock};
use common::message::properties::{self, name};
use common::random::Random;
use durability::{Mqbroker, Wire, flush_type, from_environment, seed};
use remoting::codes::request_code;
use remoting::fields::DecodeHeader as _;
use remoting::header::{PullMessageResponseHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::request::OutgoingRequest;
use store::record::decode;

const TOPIC: &str = "Durable";
const LATEST: Duration = Duration::from_secs(120);

#[test]
fn after_kills_every_timer_message_comes_once_and_when_it_is_due() {
    let (seed, rounds) = (seed("KILL_SEED"), from_environment("KILL_ROUNDS", 6));
    println!("KILL_SEED={seed} KILL_ROUNDS={rounds}");
    let random = Random::new(seed);
    let home = tempfile::tempdir().expect("a temporary directory");
    let settings = [
        ("mappedFileSizeTimerLog", "16384"),
        ("flushDiskType", flush_type()),
    ];
    let mut broker = Mqbroker::start(home.path(), &settings);
    Wire::connect(broker.address())
        .expect("the broker accepts connections")
        .create_topic(TOPIC, 1);
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let load_ms = 200 + random.below(900);
        send_until(
            &broker,
            round,
            load_ms.unsigned_abs().into(),
            &random,
            &mut acknowledged,
        );
        broker.kill();
        broker = Mqbroker::start(home.path(), &settings);
    }
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");

    let delivered = await_all(&broker, &acknowledged);
    for (body, stored_ms) in &delivered {
        assert_eq!(stored_ms.len(), 1, "{body} came {} times", stored_ms.len());
        if let Some(due_ms) = acknowledged.get(body) {
            assert!(
                stored_ms[0] >= *due_ms,
                "{body} came {} ms early",
                due_ms - stored_ms[0]
            );
        }
    }
    println!(
        "{rounds} kills; {} messages acknowledged, {} delivered, each once and when due",
        acknowledged.len(),
        delivered.len()
    );
    let log = broker.logged();
    assert!(!log.contains(" ERROR ") && !log.contains("panicked"), "{log}");
    broker.stop();
}

/// Sends one message after another; remembers when those are due that were acknowledged.
fn send_until(
    broker: &Mqbroker,
    round: u64,
    load_ms: u64,
    random: &Random,
    acknowledged: &mut BTreeMap<String, i64>,
) {
    let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < Duration::from_millis(load_ms) {
        let body = format!("{round}-{number}");
        let due_ms = SystemClock::new().wall_ms() + 50 + i64::from(random.below(2_500));
        if send(&mut wire, &body, due_ms).is_ok_and(|code| code == 0) {
            acknowledged.insert(body, due_ms);
        }
        number += 1;
    }
}

fn send(wire: &mut Wire, body: &str, due_ms: i64) -> io::Result<i32> {
    let mut text = String::new();
    properties::push(&mut text, name::UNIQ_KEY, body);
    properties::push(&mut text, name::TIMER_DELIVER_MS, &due_ms.to_string());
    let header = SendMessageRequestHeaderV2(SendMessageRequestHeader {
        producer_group: "TimerWriters".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: due_ms,
        flag: 0,
        properties: Some(text.into()),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
        logical: None,
    });
    let request = OutgoingRequest::new(request_code::SEND_MESSAGE_V2)
        .header(&header)
        .body(body.as_bytes().to_vec());
    Ok(wire.call(&request)?.code)
}

/// Waits until all of these are in the topic; gives what is there, with the times at which it was stored.
fn await_all(broker: &Mqbroker, acknowledged: &BTreeMap<String, i64>) -> BTreeMap<String, Vec<i64>> {
    let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
    let begun = Instant::now();
    loop {
        let delivered = read(&mut wire);
        let missing = acknowledged
            .keys()
            .filter(|body| !delivered.contains_key(*body))
            .count();
        if missing == 0 {
            return delivered;
        }
        assert!(
            begun.elapsed() < LATEST,
            "{missing} of {} never came:\n{}",
            acknowledged.len(),
            broker.logged()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read(wire: &mut Wire) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let (mut next, end) = (0, wire.max_offset(TOPIC, 0));
    while next < end {
        let answer = wire.pull(TOPIC, 0, next).expect("the broker answers a pull");
        let mut bytes = &answer.body[..];
        while !bytes.is_empty() {
            let record = decode(bytes).expect("the broker gives whole records");
            let body = String::from_utf8(record.body.to_vec()).expect("a body of ours");
            found.entry(body).or_default().push(record.store_timestamp_ms);
            bytes = &bytes[record.size_bytes as usize..];
        }
        let header = PullMessageResponseHeader::decode(answer.fields()).expect("an answer to a pull");
        assert!(header.next_begin_offset > next, "a pull at {next} leads on");
        next = header.next_begin_offset;
    }
    found
}
