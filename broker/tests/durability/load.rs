//! Producers and a consumer that keep a broker busy until it is gone or they are told to stop.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::random::Random;
use remoting::codes::request_code;
use remoting::fields::DecodeHeader;
use remoting::frame::Frame;
use remoting::header::send::{
    SendMessageRequestHeader, SendMessageRequestHeaderV2, SendMessageResponseHeader,
};
use remoting::request::OutgoingRequest;

use super::check::stored_in;
use super::{Acked, Ledger, TOPIC, Wire, body_of};

/// How a load looks.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// Distinguishes the keys of this load from those of others.
    pub name: String,
    pub seed: u64,
    pub producers: usize,
    pub queues: i32,
    /// Requests a producer has outstanding.
    pub window: usize,
    /// Rest after each request: keeps long runs small.
    pub pause: Duration,
    /// Where the consumer begins.
    pub consume_from: Vec<i64>,
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// Starts the threads, each with a connection of its own.
    pub fn start(address: SocketAddr, spec: &LoadSpec) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        for number in 0..spec.producers {
            let (stop, acked, spec) = (Arc::clone(&stop), Arc::clone(&acked), spec.clone());
            threads.push(std::thread::spawn(move || {
                let mut producer = Producer::new(number, spec, acked);
                // The connection ends when the broker is killed: that is what is being tested.
                let _ = producer.run(address, &stop);
                producer.ledger
            }));
        }
        if !spec.consume_from.is_empty() {
            let (stop, spec) = (Arc::clone(&stop), spec.clone());
            threads.push(std::thread::spawn(move || {
                let mut ledger = Ledger::default();
                let _ = consume(address, &spec, &stop, &mut ledger);
                ledger
            }));
        }
        Self { stop, acked, threads }
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::Relaxed)
    }

    /// Waits until the threads are done, which they are once the broker is gone.
    pub fn join(self) -> Ledger {
        let mut ledger = Ledger::default();
        for thread in self.threads {
            ledger.merge(thread.join().expect("a load thread does not panic"));
        }
        ledger
    }

    /// Stops sending, waits for the answers.
    pub fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }
}

struct Producer {
    number: usize,
    spec: LoadSpec,
    random: Random,
    next: u64,
    outstanding: HashMap<i32, (i32, Vec<String>)>,
    ledger: Ledger,
    acked: Arc<AtomicUsize>,
}

impl Producer {
    fn new(number: usize, spec: LoadSpec, acked: Arc<AtomicUsize>) -> Self {
        Self {
            number,
            random: Random::new(spec.seed.wrapping_add(number as u64 * 7919)),
            spec,
            next: 0,
            outstanding: HashMap::new(),
            ledger: Ledger::default(),
            acked,
        }
    }

    fn run(&mut self, address: SocketAddr, stop: &AtomicBool) -> io::Result<()> {
        let mut wire = Wire::connect(address)?;
        while !stop.load(Ordering::Relaxed) {
            while self.outstanding.len() < self.spec.window {
                self.send(&mut wire)?;
            }
            let answer = wire.receive()?;
            self.note(&answer);
            if !self.spec.pause.is_zero() {
                std::thread::sleep(self.spec.pause);
            }
        }
        while !self.outstanding.is_empty() {
            let answer = wire.receive()?;
            self.note(&answer);
        }
        Ok(())
    }

    fn send(&mut self, wire: &mut Wire) -> io::Result<()> {
        let queue_id = self.random.below(self.spec.queues);
        let count = if self.random.below(6) == 0 {
            2 + self.random.below(7)
        } else {
            1
        };
        let keys: Vec<String> = (0..count).map(|_| self.next_key()).collect();
        self.ledger.sent.extend(keys.iter().cloned());
        let request = match keys.as_slice() {
            [key] => single(key, queue_id),
            keys => batch(keys, queue_id),
        };
        let opaque = wire.send(&request)?;
        self.outstanding.insert(opaque, (queue_id, keys));
        Ok(())
    }

    fn next_key(&mut self) -> String {
        self.next += 1;
        format!("{}.{}-{}", self.spec.name, self.number, self.next)
    }

    fn note(&mut self, answer: &Frame) {
        let (queue_id, keys) = self
            .outstanding
            .remove(&answer.opaque)
            .expect("an answer to a request that was sent");
        if answer.code != 0 {
            let remark = answer.remark().unwrap_or_default().into_owned();
            self.ledger.refused.entry(answer.code).or_insert((0, remark)).0 += 1;
            // A flood of refusals tells nothing more.
            std::thread::sleep(Duration::from_millis(2));
            return;
        }
        let header = SendMessageResponseHeader::decode(answer.fields()).expect("an answer to a send");
        assert_eq!(header.queue_id, queue_id);
        let at = Instant::now();
        self.acked.fetch_add(keys.len(), Ordering::Relaxed);
        for (place, key) in keys.into_iter().enumerate() {
            let queue_offset = header.queue_offset + place as i64;
            self.ledger.acked.insert(
                key,
                Acked {
                    queue_id,
                    queue_offset,
                    at,
                },
            );
        }
    }
}

fn single(key: &str, queue_id: i32) -> OutgoingRequest {
    let header = header(queue_id, Some(properties_of(key)), false);
    OutgoingRequest::new(request_code::SEND_MESSAGE_V2)
        .header(&header)
        .body(body_of(key))
}

fn batch(keys: &[String], queue_id: i32) -> OutgoingRequest {
    let mut body = Vec::new();
    for key in keys {
        let (content, properties) = (body_of(key), properties_of(key));
        let size = 4 + 4 + 4 + 4 + 4 + content.len() + 2 + properties.len();
        body.extend((size as u32).to_be_bytes());
        body.extend([0; 12]);
        body.extend((content.len() as u32).to_be_bytes());
        body.extend(content);
        body.extend((properties.len() as u16).to_be_bytes());
        body.extend(properties.as_bytes());
    }
    OutgoingRequest::new(request_code::SEND_BATCH_MESSAGE)
        .header(&header(queue_id, None, true))
        .body(body)
}

fn properties_of(key: &str) -> String {
    format!("KEYS\u{1}{key}\u{2}TAGS\u{1}durable\u{2}")
}

fn header(queue_id: i32, properties: Option<String>, batch: bool) -> SendMessageRequestHeaderV2<'static> {
    SendMessageRequestHeaderV2(SendMessageRequestHeader {
        producer_group: "DurableWriters".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp: 1,
        flag: 0,
        properties: Some(properties.unwrap_or_default().into()),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch,
        broker_name: None,
        logical: None,
    })
}

/// Follows all queues, remembers what it was given, commits after each pull.
fn consume(address: SocketAddr, spec: &LoadSpec, stop: &AtomicBool, ledger: &mut Ledger) -> io::Result<()> {
    let mut wire = Wire::connect(address)?;
    let mut next = spec.consume_from.clone();
    while !stop.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for queue_id in 0..spec.queues {
            let place = &mut next[queue_id as usize];
            let answer = wire.pull(TOPIC, queue_id, *place)?;
            for stored in stored_in(&answer.body) {
                *place = stored.queue_offset + 1;
                ledger.seen.insert((queue_id, stored.queue_offset), stored.key);
                is_idle = false;
            }
            let at = Instant::now();
            if wire.commit(TOPIC, queue_id, *place)? {
                ledger.commits.entry(queue_id).or_default().push((at, *place));
            }
        }
        if is_idle {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}
