//! Random and mutated frames against both servers over real sockets.
//!
//! Whatever arrives: no panic, no connection left hanging, and well-behaved clients are still served. A failure prints the seed;
//! `HOSTILE_SEED` replays it, `HOSTILE_FRAMES` sets how many frames are sent to each server.

mod common_server;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common_server::TestServers;
use remoting::codes::ALL_REQUESTS;

const FRAMES_PER_SERVER: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(20);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A small generator (xorshift64*): the same seed sends the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A frame around the given header bytes, with honest length words.
fn frame(serialize_type: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    bytes.extend(((u32::from(serialize_type) << 24) | header.len() as u32).to_be_bytes());
    bytes.extend(header);
    bytes.extend(body);
    bytes
}

/// Field values that sit at the edges of what a handler expects.
const VALUES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "2147483648",
    "",
    "true",
    "TopicTest",
    "%RETRY%g",
    "TBW102",
    "a/../b",
    "x\\u0001y\\u0002",
    "\u{1F600}",
];

const KEYS: [&str; 34] = [
    "topic",
    "consumerGroup",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "offset",
    "timestamp",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "brokerId",
    "bodyCrc32",
    "compressed",
    "group",
    "key",
];

/// A request that decodes, with a real code and odd fields and body.
fn odd_request(random: &mut Random) -> Vec<u8> {
    let (_, code) = ALL_REQUESTS[random.below(ALL_REQUESTS.len())];
    let fields: Vec<String> = (0..random.below(12))
        .map(|_| {
            format!(
                "\"{}\":\"{}\"",
                KEYS[random.below(KEYS.len())],
                VALUES[random.below(VALUES.len())]
            )
        })
        .collect();
    let header = format!(
        "{{\"code\":{code},\"extFields\":{{{}}},\"flag\":{},\"language\":\"JAVA\",\"opaque\":{},\"version\":513}}",
        fields.join(","),
        random.below(4),
        random.next() as i32
    );
    let body_size = random.below(200);
    let body = match random.below(3) {
        0 => Vec::new(),
        1 => random.bytes(body_size),
        _ => {
            b"{\"clientID\":\"c\",\"producerDataSet\":[{\"groupName\":\"p\"}],\"mqSet\":[{\"topic\":\"t\"}]}"
                .to_vec()
        }
    };
    frame(0, header.as_bytes(), &body)
}

/// One attack, and whether it may end its connection: an odd request does not, a mutation of one or plain garbage does.
fn hostile_bytes(random: &mut Random) -> (Vec<u8>, bool) {
    let mut bytes = odd_request(random);
    match random.below(16) {
        0..=10 => return (bytes, false),
        11 => {
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
        12 => bytes.truncate(random.below(bytes.len())),
        13 => {
            let length = [0u32, 1, 3, 4, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, 16_777_217][random.below(8)];
            bytes[..4].copy_from_slice(&length.to_be_bytes());
        }
        14 => {
            let size = random.below(60);
            let header = random.bytes(size);
            bytes = frame(1, &header, &[]);
        }
        _ => {
            let size = random.below(300);
            bytes = random.bytes(size);
        }
    }
    (bytes, true)
}

/// Sends frames on a connection of its own up to one that may end it, and waits until the server has closed it.
/// Returns how many were sent.
fn attack(server: SocketAddr, random: &mut Random) -> usize {
    let mut socket = TcpStream::connect_timeout(&server, PATIENCE).expect("the server accepts connections");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    socket
        .set_write_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    let mut sent = 0;
    loop {
        let (bytes, is_last) = hostile_bytes(random);
        socket
            .write_all(&bytes)
            .expect("the server reads what comes before a malformed frame");
        sent += 1;
        if is_last {
            break;
        }
    }
    // The server may have closed already: then there is nothing left to tell it.
    let _ = socket.shutdown(Shutdown::Write);
    let mut sink = [0; 4096];
    loop {
        match socket.read(&mut sink) {
            Ok(0) => return sent,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return sent,
            Err(error) => panic!("the server left the connection hanging: {error}"),
        }
    }
}

/// A request that any server answers: an unknown code gets code 3.
fn is_served(server: SocketAddr) -> bool {
    let header = b"{\"code\":99999,\"flag\":0,\"language\":\"JAVA\",\"opaque\":77,\"version\":513}";
    let mut socket = TcpStream::connect_timeout(&server, PATIENCE).expect("the server accepts connections");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    socket
        .write_all(&frame(0, header, &[]))
        .expect("the request can be written");
    let mut length = [0; 4];
    socket.read_exact(&mut length).expect("an answer comes");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).expect("the whole answer comes");
    let answer = String::from_utf8_lossy(&answer[4..]).into_owned();
    answer.contains("\"code\":3") && answer.contains("\"opaque\":77")
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn hostile_frames_harm_nobody() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        default_hook(info);
    }));
    let seed = from_environment("HOSTILE_SEED", 0x5EED_0001);
    let frames = from_environment("HOSTILE_FRAMES", FRAMES_PER_SERVER as u64) as usize;
    println!("seed {seed}, {frames} frames to each server");

    let servers = TestServers::start();
    for server in [servers.broker_address(), servers.namesrv_address()] {
        let mut random = Random(seed);
        let (mut sent, mut connections) = (0, 0);
        while sent < frames {
            sent += attack(server, &mut random);
            connections += 1;
            if connections % 1_000 == 0 {
                assert!(
                    is_served(server),
                    "a healthy client is served after {sent} frames of seed {seed}"
                );
            }
        }
        assert!(
            is_served(server),
            "a healthy client is served at the end of seed {seed}"
        );
    }
    assert_eq!(
        PANICS.load(Ordering::SeqCst),
        0,
        "no frame made a server panic, seed {seed}"
    );
}
