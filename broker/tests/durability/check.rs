//! What a broker has, and whether that is what it promised.

use std::collections::HashMap;
use std::net::SocketAddr;

use remoting::codes::{request_code, response_code};
use remoting::fields::DecodeHeader;
use remoting::header::message::QueryMessageRequestHeader;
use remoting::header::pull::PullMessageResponseHeader;
use remoting::request::OutgoingRequest;
use store::record::decode::decode;

use super::{Ledger, TOPIC, Wire, body_of};

/// A message as the broker gave it; its body belonged to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub key: String,
    pub queue_offset: i64,
    pub physical_offset: u64,
    pub size_bytes: u32,
}

/// The records of an answer. Every byte of every body is compared with what its key says was sent.
pub fn stored_in(mut bytes: &[u8]) -> Vec<Stored> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let record = decode(bytes).expect("the broker gives whole records");
        assert!(record.body_matches_crc(), "a body matches its checksum");
        let key = record
            .property("KEYS")
            .expect("every message has a key")
            .to_owned();
        assert_eq!(record.body, body_of(&key), "the body of {key}");
        found.push(Stored {
            key,
            queue_offset: i64::try_from(record.queue_offset.0).expect("an offset of a queue"),
            physical_offset: record.physical_offset.0,
            size_bytes: record.size_bytes,
        });
        bytes = &bytes[record.size_bytes as usize..];
    }
    found
}

/// All messages of a queue from an offset on, up to its end.
pub fn read_queue(wire: &mut Wire, queue_id: i32, from: i64) -> Vec<Stored> {
    let end = wire.max_offset(TOPIC, queue_id);
    let mut found = Vec::new();
    let mut next = from;
    while next < end {
        let answer = wire
            .pull(TOPIC, queue_id, next)
            .expect("the broker answers a pull");
        let retry = [
            response_code::PULL_RETRY_IMMEDIATELY,
            response_code::PULL_OFFSET_MOVED,
        ];
        assert!(
            answer.code == 0 || retry.contains(&answer.code),
            "pull of queue {queue_id} at {next} of {end}: {} {:?}",
            answer.code,
            answer.remark()
        );
        found.extend(stored_in(&answer.body));
        let header = PullMessageResponseHeader::decode(answer.fields()).expect("an answer to a pull");
        assert!(
            header.next_begin_offset > next,
            "a pull of queue {queue_id} at {next} leads on"
        );
        next = header.next_begin_offset;
    }
    found
}

/// All messages of all queues.
pub fn read_all(address: SocketAddr, from: &[i64]) -> Vec<Vec<Stored>> {
    let mut wire = Wire::connect(address).expect("the broker accepts connections");
    from.iter()
        .enumerate()
        .map(|(queue_id, from)| read_queue(&mut wire, queue_id as i32, *from))
        .collect()
}

/// The keys of the messages that a look-up of a key gives.
pub fn look_up(wire: &mut Wire, key: &str) -> Vec<String> {
    let header = QueryMessageRequestHeader {
        topic: TOPIC.to_owned(),
        key: key.to_owned(),
        max_num: 64,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: None,
        last_key: None,
        unique_key_query: None,
    };
    let request = OutgoingRequest::new(request_code::QUERY_MESSAGE).header(&header);
    let answer = wire.call(&request).expect("the broker answers a look-up");
    stored_in(&answer.body)
        .into_iter()
        .map(|stored| stored.key)
        .collect()
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// The messages themselves, by queue.
    pub queues: Vec<Vec<Stored>>,
    /// Where reading began.
    pub from: Vec<i64>,
    /// Where each queue ends.
    pub ends: Vec<i64>,
    pub messages: usize,
    /// Stored though never acknowledged: allowed, a producer would send them again.
    pub unacknowledged: usize,
    /// Acknowledged and gone.
    pub lost: Vec<String>,
}

impl Checked {
    /// Reads all queues from `from` on and holds them against the ledger. Everything but loss is asserted here; loss is
    /// for the caller, who knows what was promised.
    pub fn of(address: SocketAddr, ledger: &Ledger, from: &[i64]) -> Self {
        let queues = read_all(address, from);
        let mut checked = Self {
            from: from.to_vec(),
            ..Self::default()
        };
        let mut places = HashMap::new();
        for (queue_id, (queue, from)) in queues.iter().zip(from).enumerate() {
            let queue_id = queue_id as i32;
            require_dense(queue_id, queue, *from);
            require_order(queue_id, queue);
            for stored in queue {
                let place = (queue_id, stored.queue_offset);
                let twice = places.insert(stored.key.as_str(), place);
                assert_eq!(twice, None, "{} is there twice, also at {place:?}", stored.key);
                assert!(ledger.sent.contains(&stored.key), "{} was never sent", stored.key);
                checked.unacknowledged += usize::from(!ledger.acked.contains_key(&stored.key));
            }
            checked.messages += queue.len();
            checked.ends.push(from + queue.len() as i64);
        }
        for (key, acked) in &ledger.acked {
            if acked.queue_offset < from[acked.queue_id as usize] {
                continue;
            }
            match places.get(key.as_str()) {
                Some(place) => assert_eq!(*place, (acked.queue_id, acked.queue_offset), "where {key} is"),
                None => checked.lost.push(key.clone()),
            }
        }
        checked.queues = queues.clone();
        checked
    }

    /// That consumers find today at each offset what they found there before.
    pub fn require_seen(&self, ledger: &Ledger) {
        for ((queue_id, offset), key) in &ledger.seen {
            let place = offset - self.from[*queue_id as usize];
            if place < 0 {
                continue;
            }
            let stored = self.queues[*queue_id as usize].get(place as usize);
            assert_eq!(
                stored.map(|stored| &stored.key),
                Some(key),
                "what consumers found at {offset} of queue {queue_id}"
            );
        }
    }

    /// The place of an acknowledged message.
    pub fn find(&self, key: &str) -> Option<&Stored> {
        self.queues.iter().flatten().find(|stored| stored.key == key)
    }
}

fn require_dense(queue_id: i32, queue: &[Stored], from: i64) {
    for (place, stored) in queue.iter().enumerate() {
        assert_eq!(
            stored.queue_offset,
            from + place as i64,
            "offsets of queue {queue_id}"
        );
    }
}

/// Messages of one connection are in its order.
fn require_order(queue_id: i32, queue: &[Stored]) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    for stored in queue {
        let (connection, number) = stored.key.rsplit_once('-').expect("keys end with a number");
        let number: u64 = number.parse().expect("keys end with a number");
        let before = last.insert(connection, number);
        assert!(
            before < Some(number),
            "{} after {before:?} in queue {queue_id}",
            stored.key
        );
    }
}
