//! kill -9 of the real broker in the middle of transactions, again and again on one directory.
//!
//! A producer opens transactions, ends some at once, leaves others to the check, and after each restart says again what it
//! had said before, as one that got no answer does. Whatever was committed must be visible once, whatever was rolled back
//! never. `KILL_ROUNDS` sets how many rounds, `KILL_SEED` the seed, `KILL_FLUSH` the kind of flush.

mod durability;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::clock::{Clock as _, SystemClock};
use common::message::id::parse_offset_msg_id;
use common::message::properties;
use common::random::Random;
use durability::{Mqbroker, TOPIC, Wire, body_of, flush_type, from_environment, read_queue, seed};
use remoting::body::{HeartbeatData, ProducerData, fastjson};
use remoting::codes::request_code;
use remoting::fields::DecodeHeader as _;
use remoting::frame::Frame;
use remoting::header::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader, SendMessageRequestHeader,
    SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use remoting::request::OutgoingRequest;
use store::record;

const GROUP: &str = "TxProducers";
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
/// Checks come soon and often; ends are written down late, so that most kills come before.
const IMPATIENT: &[(&str, &str)] = &[
    ("transactionTimeOut", "100"),
    ("transactionCheckInterval", "150"),
    ("transactionCheckMax", "100000"),
    ("transactionOpBatchInterval", "700"),
];
const LIMIT: Duration = Duration::from_secs(60);

/// What a producer knows of its transactions, over all rounds.
#[derive(Default)]
struct Producer {
    /// How each transaction is to end, by key: known to whoever is asked, also when the send got no answer.
    decided: BTreeMap<String, i32>,
    /// Those whose half message was acknowledged.
    acknowledged: BTreeSet<String>,
    /// What was said without being asked.
    said: Vec<EndTransactionRequestHeader<'static>>,
    asked: BTreeMap<String, usize>,
}

impl Producer {
    /// Opens and ends transactions until the broker is gone.
    fn run(&mut self, address: SocketAddr, random: &Random, name: &str) {
        let mut work = || -> io::Result<()> {
            let mut wire = connect(address)?;
            for end in self.said.clone() {
                self.request(&mut wire, &end_request(&end))?;
            }
            for number in 0.. {
                let key = format!("{name}-{number}");
                let decision = if random.below(3) == 0 { ROLLBACK } else { COMMIT };
                self.decided.insert(key.clone(), decision);
                let end = self.send(&mut wire, &key)?;
                // The others are left to the check.
                if random.below(4) > 0 {
                    self.said.push(end.clone());
                    self.request(&mut wire, &end_request(&end))?;
                }
            }
            Ok(())
        };
        // It ends with the connection.
        let _ = work();
    }

    /// Sends a half message; gives what its end would say.
    fn send(&mut self, wire: &mut Wire, key: &str) -> io::Result<EndTransactionRequestHeader<'static>> {
        let answer = self.request(wire, &half_message(key))?;
        assert_eq!(answer.code, 0, "{:?}", answer.remark());
        let sent = SendMessageResponseHeader::decode(answer.fields()).expect("an answer to a send");
        self.acknowledged.insert(key.to_owned());
        let (_, offset) = parse_offset_msg_id(&sent.msg_id).expect("an offset id");
        let decision = self.decided.get(key).copied().unwrap_or(0);
        Ok(end_header(decision, sent.queue_offset, offset as i64, false))
    }

    /// Sends a request and waits for its answer; answers questions on the way.
    fn request(&mut self, wire: &mut Wire, request: &OutgoingRequest) -> io::Result<Frame> {
        let opaque = wire.send(request)?;
        loop {
            let frame = wire.receive()?;
            if frame.is_response() {
                if frame.opaque == opaque {
                    return Ok(frame);
                }
            } else if frame.code == request_code::CHECK_TRANSACTION_STATE {
                self.answer(wire, &frame)?;
            }
        }
    }

    fn answer(&mut self, wire: &mut Wire, question: &Frame) -> io::Result<()> {
        let header = CheckTransactionStateRequestHeader::decode(question.fields()).expect("a question");
        let record = record::decode(&question.body).expect("the message asked about");
        let key = record.property("KEYS").expect("every message has a key");
        *self.asked.entry(key.to_owned()).or_default() += 1;
        let Some(decision) = self.decided.get(key).copied() else {
            return Ok(()); // to stay open
        };
        let (queue_offset, physical_offset) = (header.tran_state_table_offset, header.commit_log_offset);
        wire.send(&end_request(&end_header(
            decision,
            queue_offset,
            physical_offset,
            true,
        )))?;
        Ok(())
    }

    /// Answers questions until every transaction has ended: three rounds ask about nothing but those that stay open, of
    /// which there is one more each time.
    fn settle(&mut self, address: SocketAddr) {
        let begun = Instant::now();
        let mut wire = connect(address).expect("the broker accepts connections");
        for end in self.said.clone() {
            self.request(&mut wire, &end_request(&end))
                .expect("the broker answers");
        }
        let open = format!("open-{}", self.asked.len());
        self.send(&mut wire, &open).expect("the broker answers");
        let mut quiet_from = 0;
        let mut others = usize::MAX;
        loop {
            self.request(&mut wire, &OutgoingRequest::new(request_code::GET_BROKER_CONFIG))
                .expect("the broker answers");
            let of_open = self.asked.get(&open).copied().unwrap_or(0);
            let is_other = |(key, _): &(&String, &usize)| self.decided.contains_key(*key);
            let of_others = self.asked.iter().filter(is_other).map(|(_, count)| count).sum();
            if of_others != others {
                (others, quiet_from) = (of_others, of_open);
            } else if of_open >= quiet_from + 3 {
                break;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "transactions stay open: {:?}",
                self.asked
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn check(&self, address: SocketAddr) {
        let mut wire = Wire::connect(address).expect("the broker accepts connections");
        let mut visible: BTreeMap<String, usize> = BTreeMap::new();
        for stored in read_queue(&mut wire, 0, 0) {
            *visible.entry(stored.key).or_default() += 1;
        }
        for (key, decision) in &self.decided {
            let count = visible.remove(key).unwrap_or(0);
            match *decision {
                COMMIT if self.acknowledged.contains(key) => assert_eq!(count, 1, "committed: {key}"),
                COMMIT => assert!(count <= 1, "{key} is visible {count} times"),
                _ => assert_eq!(count, 0, "rolled back: {key}"),
            }
        }
        assert!(visible.is_empty(), "nobody committed {visible:?}");
    }
}

fn connect(address: SocketAddr) -> io::Result<Wire> {
    let mut wire = Wire::connect(address)?;
    let heartbeat = HeartbeatData {
        client_id: "tx-client".to_owned(),
        producer_data_set: vec![ProducerData {
            group_name: GROUP.to_owned(),
        }],
        ..HeartbeatData::default()
    };
    let body = fastjson::to_vec(&heartbeat).map_err(io::Error::other)?;
    wire.send(&OutgoingRequest::new(request_code::HEART_BEAT).body(body))?;
    Ok(wire)
}

fn half_message(key: &str) -> OutgoingRequest {
    let mut text = String::new();
    let pairs = [
        ("KEYS", key),
        ("UNIQ_KEY", key),
        ("TRAN_MSG", "true"),
        ("PGROUP", GROUP),
    ];
    for (name, value) in pairs {
        properties::push(&mut text, name, value);
    }
    let header = SendMessageRequestHeaderV2(SendMessageRequestHeader {
        producer_group: GROUP.into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        sys_flag: 4,
        born_timestamp: SystemClock::new().wall_ms(),
        flag: 0,
        properties: Some(text.into()),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
        logical: None,
    });
    OutgoingRequest::new(request_code::SEND_MESSAGE_V2)
        .header(&header)
        .body(body_of(key))
}

fn end_header(
    decision: i32,
    queue_offset: i64,
    physical_offset: i64,
    is_asked: bool,
) -> EndTransactionRequestHeader<'static> {
    EndTransactionRequestHeader {
        topic: None,
        producer_group: GROUP.into(),
        tran_state_table_offset: queue_offset,
        commit_log_offset: physical_offset,
        commit_or_rollback: decision,
        from_transaction_check: is_asked,
        msg_id: Some("id".into()),
        transaction_id: None,
    }
}

fn end_request(header: &EndTransactionRequestHeader<'_>) -> OutgoingRequest {
    OutgoingRequest::new(request_code::END_TRANSACTION).header(header)
}

#[test]
fn kills_leave_each_committed_message_visible_once_and_no_other() {
    let (rounds, seed) = (from_environment("KILL_ROUNDS", 4), seed("KILL_SEED"));
    println!("{rounds} rounds, KILL_SEED={seed}");
    let random = Random::new(seed);
    let home = tempfile::tempdir().expect("a directory can be made");
    let mut producer = Producer::default();
    let settings = [IMPATIENT, &[("flushDiskType", flush_type())]].concat();
    let mut broker = Mqbroker::start(home.path(), &settings);
    Wire::connect(broker.address())
        .expect("the broker accepts connections")
        .create_topic(TOPIC, 1);
    for round in 0..rounds {
        let address = broker.address();
        let load_ms = 200 + random.below(700) as u64;
        std::thread::scope(|scope| {
            let (producer, random) = (&mut producer, &random);
            scope.spawn(move || producer.run(address, random, &format!("r{round}")));
            std::thread::sleep(Duration::from_millis(load_ms));
            broker.kill();
        });
        broker = Mqbroker::start(home.path(), &settings);
        // Not after every round: most restarts find what others left open.
        if round % 2 == 1 || round + 1 == rounds {
            producer.settle(broker.address());
            producer.check(broker.address());
        }
    }
    broker.stop();
    let asked: usize = producer.asked.values().sum();
    println!(
        "{} transactions, {} half messages acknowledged, {} ends said unasked, {asked} questions",
        producer.decided.len(),
        producer.acknowledged.len(),
        producer.said.len()
    );
    assert!(
        !producer.said.is_empty() && asked > 0,
        "both ways to end were taken"
    );
}
