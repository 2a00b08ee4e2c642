//! kill -9 of the real broker while a group pops and acknowledges, again and again on one directory.
//!
//! Whatever the broker was doing when it died: a message whose ack was answered in time is never handed out again, and every
//! other one is, until it is acknowledged.
//!
//! `POP_KILL_ROUNDS` sets how many rounds, `KILL_SEED` the seed, `KILL_FLUSH` the kind of flush.

mod durability;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use common::clock::{Clock as _, SystemClock};
use common::message::properties::name;
use common::random::Random;
use durability::{Mqbroker, Wire, flush_type, from_environment, seed};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::header::{
    AckMessageRequestHeader, PopMessageRequestHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2,
};
use remoting::request::OutgoingRequest;
use store::record::{self, Record};

const TOPIC: &str = "Pops";
const GROUP: &str = "poppers";
const QUEUES: i32 = 2;
const MESSAGES_PER_ROUND: usize = 60;
const INVISIBLE_MS: i64 = 4_000;
/// An ack answered so close to the message's time may have come too late.
const MARGIN_MS: i64 = 500;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the consumer knows.
#[derive(Default)]
struct Consumer {
    /// Whether it pops in order; it then acknowledges nothing behind a message of a queue that it did not acknowledge.
    in_order: bool,
    sent: HashSet<String>,
    /// Acknowledged in time, and told so.
    done: HashSet<String>,
    /// How often each was handed out.
    handed_out: HashMap<String, u32>,
}

struct Popped {
    body: String,
    topic: String,
    handle: String,
    queue_id: i32,
    offset: i64,
    due_ms: i64,
}

impl Consumer {
    fn send(&mut self, wire: &mut Wire, round: u64) {
        for i in 0..MESSAGES_PER_ROUND {
            let body = format!("r{round}-{i}");
            let answer = wire
                .call(&send_request(&body, i as i32 % QUEUES))
                .expect("an answer");
            assert_eq!(answer.code, response_code::SUCCESS);
            self.sent.insert(body);
        }
    }

    /// Pops once and acknowledges so many of a hundred.
    fn consume(&mut self, wire: &mut Wire, random: &Random, percent: i32) -> io::Result<()> {
        let popped = pop(wire, self.in_order)?;
        for message in &popped {
            assert!(
                !self.done.contains(&message.body),
                "{} was acknowledged in time and is handed out again",
                message.body
            );
            *self.handed_out.entry(message.body.clone()).or_default() += 1;
        }
        let mut given_up = HashSet::new();
        for message in popped {
            let is_behind = self.in_order && given_up.contains(&message.queue_id);
            if is_behind || random.below(100) >= percent {
                given_up.insert(message.queue_id);
            } else if ack(wire, &message)? && now_ms() < message.due_ms - MARGIN_MS {
                self.done.insert(message.body);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done.len() == self.sent.len()
    }
}

fn send_request(body: &str, queue_id: i32) -> OutgoingRequest {
    let header = SendMessageRequestHeader {
        producer_group: Cow::Borrowed("producers"),
        topic: Cow::Borrowed(TOPIC),
        default_topic: Cow::Borrowed("TBW102"),
        default_topic_queue_nums: QUEUES,
        queue_id,
        sys_flag: 0,
        born_timestamp: now_ms(),
        flag: 0,
        properties: Some(Cow::Borrowed("")),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
        logical: None,
    };
    OutgoingRequest::new(request_code::SEND_MESSAGE_V2)
        .header(&SendMessageRequestHeaderV2(header))
        .body(body.as_bytes().to_vec())
}

fn pop(wire: &mut Wire, in_order: bool) -> io::Result<Vec<Popped>> {
    let header = PopMessageRequestHeader {
        consumer_group: Cow::Borrowed(GROUP),
        topic: Cow::Borrowed(TOPIC),
        queue_id: -1,
        max_msg_nums: 16,
        invisible_time: INVISIBLE_MS,
        poll_time: 200,
        born_time: now_ms(),
        init_mode: 0,
        exp_type: None,
        exp: None,
        order: in_order,
        attempt_id: None,
    };
    let answer = wire.call(&OutgoingRequest::new(request_code::POP_MESSAGE).header(&header))?;
    let mut popped = Vec::new();
    let mut rest = &answer.body[..];
    while let Ok(record) = record::decode(rest) {
        popped.push(popped_of(&answer, &record));
        rest = &rest[record.size_bytes as usize..];
    }
    Ok(popped)
}

/// As the client does: the handle stands in the message, or is made from the answer.
fn popped_of(answer: &Frame, record: &Record<'_>) -> Popped {
    let field = |name: &str| {
        let found = answer.fields().find(|(key, _)| key == name);
        found
            .and_then(|(_, value)| value)
            .unwrap_or_default()
            .into_owned()
    };
    let own = record.property(name::POP_CK).map(str::to_owned);
    let topic = match own.as_deref().and_then(|handle| handle.split(' ').nth(4)) {
        Some("1") => format!("%RETRY%{GROUP}_{TOPIC}"),
        _ => TOPIC.to_owned(),
    };
    let handle = own.unwrap_or_else(|| {
        let starts = field("startOffsetInfo");
        let queue = format!("0 {} ", record.queue_id);
        let start = starts.split(';').find_map(|entry| entry.strip_prefix(&queue));
        format!(
            "{} {} {} {} 0 broker {} {}",
            start.expect("the queue's start offset"),
            field("popTime"),
            field("invisibleTime"),
            field("reviveQid"),
            record.queue_id,
            record.queue_offset.0
        )
    });
    let pop_time_ms: i64 = field("popTime").parse().expect("a time");
    Popped {
        body: String::from_utf8_lossy(record.body).into_owned(),
        topic,
        handle,
        queue_id: record.queue_id,
        offset: record.queue_offset.to_wire(),
        due_ms: pop_time_ms + INVISIBLE_MS,
    }
}

fn ack(wire: &mut Wire, message: &Popped) -> io::Result<bool> {
    let header = AckMessageRequestHeader {
        consumer_group: Cow::Borrowed(GROUP),
        topic: Cow::Borrowed(&message.topic),
        queue_id: message.queue_id,
        extra_info: Cow::Borrowed(&message.handle),
        offset: message.offset,
        lite_topic: None,
    };
    let answer = wire.call(&OutgoingRequest::new(request_code::ACK_MESSAGE).header(&header))?;
    Ok(answer.code == response_code::SUCCESS)
}

fn now_ms() -> i64 {
    SystemClock::new().wall_ms()
}

#[test]
fn a_killed_broker_hands_out_again_what_was_not_acknowledged_and_nothing_else() {
    kill_while_popping(false);
}

#[test]
fn a_killed_broker_does_so_in_order_too() {
    kill_while_popping(true);
}

fn kill_while_popping(in_order: bool) {
    let seed = seed("KILL_SEED");
    let random = Random::new(seed);
    let home = tempfile::tempdir().expect("a temporary directory");
    let settings = [("brokerName", "broker"), ("flushDiskType", flush_type())];
    let mut broker = Mqbroker::start(home.path(), &settings);
    Wire::connect(broker.address())
        .expect("a connection")
        .create_topic(TOPIC, QUEUES);

    let mut consumer = Consumer {
        in_order,
        ..Consumer::default()
    };
    let rounds = from_environment("POP_KILL_ROUNDS", 4);
    for round in 0..rounds {
        let mut wire = Wire::connect(broker.address()).expect("a connection");
        consumer.send(&mut wire, round);
        // The first kill comes before any offset was written.
        let lives_ms = if round == 0 { 200 } else { random.below(1_500) };
        let until = Instant::now() + Duration::from_millis(lives_ms as u64);
        while Instant::now() < until {
            consumer.consume(&mut wire, &random, 60).expect("an answer");
        }
        broker.kill();
        broker = Mqbroker::start(home.path(), &settings);
    }
    let mut wire = Wire::connect(broker.address()).expect("a connection");
    let begun = Instant::now();
    while !consumer.is_done() {
        assert!(
            begun.elapsed() < PATIENCE,
            "seed {seed}: {} of {} acknowledged, the others do not come back",
            consumer.done.len(),
            consumer.sent.len()
        );
        consumer.consume(&mut wire, &random, 100).expect("an answer");
    }
    // What would come back now was acknowledged.
    let quiet = Instant::now() + Duration::from_millis(INVISIBLE_MS.unsigned_abs() + 4_000);
    while Instant::now() < quiet {
        consumer.consume(&mut wire, &random, 100).expect("an answer");
    }
    assert!(
        consumer.handed_out.values().any(|times| *times > 1),
        "some came back"
    );
    println!(
        "{rounds} kills; {} messages sent, all acknowledged, none handed out after its ack (in order: {in_order})",
        consumer.sent.len()
    );
    broker.stop();
}
