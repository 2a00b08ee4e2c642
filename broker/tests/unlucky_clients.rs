//! Clients that are slow, silent, greedy or gone, over real sockets: memory stays under a named limit and others are served.
//!
//! Servers and clients share the process, so its anonymous memory is what both spend; the clients keep nothing. The tests run
//! one after another. `IDLE_CONNECTIONS`, `SILENT_CONSUMERS` and `UNKNOWN_TOPICS` ask for more than CI has time for.

mod common_server;

use std::io::{BufReader, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common_server::TestServers;
use remoting::body::fastjson;
use remoting::body::{ConsumerData, GetConsumerListByGroupResponseBody, HeartbeatData};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::request::OutgoingRequest;

/// What a client that never reads may cost: answers up to the high water mark, the last one, and a read buffer.
const NEVER_READS_LIMIT_BYTES: u64 = 4 * MIB;
/// What a connection with a part of a frame may cost.
const PARTIAL_FRAME_LIMIT_BYTES: u64 = 16 * 1024;
/// What an idle connection may cost.
const IDLE_LIMIT_BYTES: u64 = 8 * 1024;
/// What the process may grow by whatever is asked for, with room for the buffers of threads.
const NOISE_LIMIT_BYTES: u64 = 16 * MIB;

const MIB: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a request of a healthy client may take while others misbehave.
const PROMPT: Duration = Duration::from_secs(2);
/// A write that does not get on for this long is blocked by back pressure.
const BLOCKED_AFTER: Duration = Duration::from_millis(500);

/// Memory is measured, so only one test may use it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Anonymous memory of this process; the mapped files of the store are not part of it.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.expect("the status has a line RssAnon") * 1024
}

/// How much memory was taken since, and a failure when it is more than allowed.
fn assert_growth(what: &str, before: u64, limit_bytes: u64) {
    let growth = memory_bytes().saturating_sub(before);
    println!("{what}: {} KiB, limit {} KiB", growth / 1024, limit_bytes / 1024);
    assert!(
        growth <= limit_bytes,
        "{what}: {growth} bytes, limit {limit_bytes}"
    );
}

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&server, PATIENCE).expect("the server accepts connections");
    socket.set_nodelay(true).expect("an option can be set");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("an option can be set");
    socket
        .set_write_timeout(Some(PATIENCE))
        .expect("an option can be set");
    socket
}

fn frame(request: OutgoingRequest, opaque: i32) -> Vec<u8> {
    let mut frame = Frame::of_request(&request);
    frame.opaque = opaque;
    frame.encode().expect("the request fits")
}

fn receive(socket: &mut impl Read) -> std::io::Result<Frame> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut bytes)?;
    Frame::decode(Bytes::from(bytes)).map_err(std::io::Error::other)
}

fn call(socket: &mut TcpStream, request: OutgoingRequest) -> Frame {
    socket
        .write_all(&frame(request, 7))
        .expect("the request can be written");
    let answer = receive(socket).expect("an answer comes");
    assert_eq!(answer.opaque, 7);
    answer
}

fn send_request(topic: &str, body: &[u8]) -> OutgoingRequest {
    OutgoingRequest::new(request_code::SEND_MESSAGE)
        .field("producerGroup", "P")
        .field("topic", topic)
        .field("defaultTopic", "TBW102")
        .field("defaultTopicQueueNums", 1)
        .field("queueId", 0)
        .field("sysFlag", 0)
        .field("bornTimestamp", 1)
        .field("flag", 0)
        .body(Bytes::copy_from_slice(body))
}

fn pull_request(topic: &str) -> OutgoingRequest {
    OutgoingRequest::new(request_code::PULL_MESSAGE)
        .field("consumerGroup", "CG")
        .field("topic", topic)
        .field("queueId", 0)
        .field("queueOffset", 0)
        .field("maxMsgNums", 32)
        .field("sysFlag", 4)
        .field("commitOffset", 0)
        .field("suspendTimeoutMillis", 0)
        .field("subscription", "*")
        .field("subVersion", 0)
}

fn route_request(topic: &str) -> OutgoingRequest {
    OutgoingRequest::new(request_code::GET_ROUTEINFO_BY_TOPIC).field("topic", topic)
}

/// A healthy client: each of its sends and route requests is answered promptly.
fn assert_others_are_served(servers: &TestServers) {
    let (mut broker, mut namesrv) = (
        connect(servers.broker_address()),
        connect(servers.namesrv_address()),
    );
    for _ in 0..50 {
        let started = Instant::now();
        let answer = call(&mut broker, send_request("Healthy", b"body"));
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark());
        call(&mut namesrv, route_request("TBW102"));
        let took = started.elapsed();
        assert!(took < PROMPT, "a healthy client waited for {took:?}");
    }
}

/// A topic with enough in it that a pull is answered with as much as a broker hands out at once. Returns an answer's length.
fn fill(servers: &TestServers, topic: &str) -> usize {
    let mut socket = connect(servers.broker_address());
    for _ in 0..16 {
        let answer = call(&mut socket, send_request(topic, &[b'x'; 32 * 1024]));
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call(&mut socket, pull_request(topic));
        if answer.code == response_code::SUCCESS && answer.body.len() > 128 * 1024 {
            return answer.body.len();
        }
        assert!(Instant::now() < deadline, "{} {:?}", answer.code, answer.remark());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Writes the request again and again until the server takes no more. Returns the whole requests written and the bytes of a
/// last one.
fn write_until_blocked(socket: &mut TcpStream, request: &[u8], limit: usize) -> (usize, usize) {
    socket
        .set_write_timeout(Some(BLOCKED_AFTER))
        .expect("an option can be set");
    for count in 0..limit {
        let mut written = 0;
        while written < request.len() {
            match socket.write(&request[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return (count, written);
                }
                Err(error) => panic!("the server closed the connection: {error}"),
            }
        }
    }
    panic!("the server took {limit} requests whose answers nobody reads");
}

#[test]
fn clients_that_pull_and_never_read_are_paused() {
    const CLIENTS: u64 = 8;
    let _alone = alone();
    let servers = TestServers::start();
    fill(&servers, "Greedy");
    assert_others_are_served(&servers);
    let before = memory_bytes();

    let request = frame(pull_request("Greedy"), 1);
    let address = servers.broker_address();
    let clients: Vec<TcpStream> = thread::scope(|scope| {
        let greedy: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut socket = connect(address);
                    write_until_blocked(&mut socket, &request, 200_000);
                    socket
                })
            })
            .collect();
        assert_others_are_served(&servers);
        greedy
            .into_iter()
            .map(|client| client.join().expect("it is paused"))
            .collect()
    });

    assert_others_are_served(&servers);
    assert_growth(
        "8 clients that pull and never read",
        before,
        CLIENTS * NEVER_READS_LIMIT_BYTES,
    );
    drop(clients);
}

#[test]
fn a_client_that_sends_and_reads_late_is_paused_and_loses_no_answer() {
    let _alone = alone();
    let servers = TestServers::start();
    assert_others_are_served(&servers);
    let before = memory_bytes();

    let request = frame(send_request("Late", b"body"), 1);
    let mut socket = connect(servers.broker_address());
    let (sent, rest) = write_until_blocked(&mut socket, &request, 500_000);
    assert_others_are_served(&servers);
    assert_growth(
        "a client that sends and never reads",
        before,
        NEVER_READS_LIMIT_BYTES + NOISE_LIMIT_BYTES,
    );

    let mut writer = socket.try_clone().expect("a socket can be cloned");
    writer
        .set_write_timeout(Some(PATIENCE))
        .expect("an option can be set");
    let last = thread::spawn(move || writer.write_all(&request[rest..]));
    println!("{sent} sends were taken before the pause");
    let mut reader = BufReader::new(socket);
    for _ in 0..=sent {
        let answer = receive(&mut reader).expect("every request is answered");
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark());
    }
    last.join().expect("no panic").expect("the rest is taken");
}

#[test]
fn a_slow_reader_gets_everything_and_holds_up_nobody() {
    const PULLS: usize = 40;
    let _alone = alone();
    let servers = TestServers::start();
    let answer_bytes = fill(&servers, "Slow");
    let before = memory_bytes();

    let mut socket = connect(servers.broker_address());
    for opaque in 0..PULLS as i32 {
        socket
            .write_all(&frame(pull_request("Slow"), opaque))
            .expect("the request can be written");
    }
    let slow = thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        while received < PULLS * answer_bytes {
            received += match socket.read(&mut buffer).expect("the connection stays") {
                0 => panic!("closed after {received} bytes"),
                bytes => bytes,
            };
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert_others_are_served(&servers);
    assert_growth(
        "a slow reader",
        before,
        NEVER_READS_LIMIT_BYTES + NOISE_LIMIT_BYTES,
    );
    slow.join().expect("every answer arrives");
}

#[test]
fn half_a_frame_and_then_silence_costs_little_and_ends() {
    const CLIENTS: u64 = 200;
    let _alone = alone();
    let servers = TestServers::start_with(&[("serverChannelMaxIdleTimeSeconds", "3")]);
    assert_others_are_served(&servers);
    let before = memory_bytes();

    let mut start_of_frame = (8 * 1024 * 1024_u32).to_be_bytes().to_vec();
    start_of_frame.extend_from_slice(&[0; 100]);
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut socket = connect(servers.broker_address());
            socket
                .write_all(&start_of_frame)
                .expect("a few bytes can be written");
            socket
        })
        .collect();
    assert_others_are_served(&servers);
    assert_growth(
        "200 half-open connections",
        before,
        CLIENTS * PARTIAL_FRAME_LIMIT_BYTES + NOISE_LIMIT_BYTES,
    );

    for mut socket in clients {
        match socket.read(&mut [0; 16]) {
            Ok(0) => {}
            Ok(_) => panic!("half a request was answered"),
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::ConnectionReset,
                "the connection is closed"
            ),
        }
    }
    assert_others_are_served(&servers);
}

#[test]
fn frames_that_claim_2_gib_allocate_nothing() {
    let _alone = alone();
    let servers = TestServers::start();
    assert_others_are_served(&servers);
    let before = memory_bytes();

    for claimed in [0x7FFF_FFFF_u32, 0x8000_0000, u32::MAX] {
        for server in [servers.broker_address(), servers.namesrv_address()] {
            for _ in 0..100 {
                let mut socket = connect(server);
                let mut start_of_frame = claimed.to_be_bytes().to_vec();
                start_of_frame.extend_from_slice(&[0; 60]);
                socket
                    .write_all(&start_of_frame)
                    .expect("a few bytes can be written");
                let read = socket.read(&mut [0; 16]);
                assert!(
                    matches!(&read, Ok(0))
                        || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
                    "the connection is closed at once"
                );
            }
        }
    }
    assert_growth("600 frames that claim 2 GiB", before, NOISE_LIMIT_BYTES);
    assert_others_are_served(&servers);
}

#[test]
fn idle_connections_cost_little_and_hold_up_nobody() {
    let _alone = alone();
    let servers = TestServers::start();
    assert_others_are_served(&servers);
    let count = from_environment("IDLE_CONNECTIONS", 2_000).min(connections_allowed());
    let before = memory_bytes();

    let clients: Vec<TcpStream> = (0..count).map(|_| connect(servers.broker_address())).collect();
    assert_others_are_served(&servers);
    let each = memory_bytes().saturating_sub(before) / count as u64;
    println!("{count} idle connections: {each} bytes each");
    assert!(
        each <= IDLE_LIMIT_BYTES,
        "{each} bytes for each of {count} idle connections"
    );

    let mut last = clients
        .last()
        .expect("some are allowed")
        .try_clone()
        .expect("a socket can be cloned");
    assert_eq!(
        call(&mut last, send_request("Idle", b"body")).code,
        response_code::SUCCESS,
        "it was accepted, not only queued"
    );
}

#[test]
fn a_crowd_of_consumers_that_read_nothing_costs_little_and_the_others_know_them_all() {
    let _alone = alone();
    let servers = TestServers::start();
    assert_others_are_served(&servers);
    let count = from_environment("SILENT_CONSUMERS", 1_500).min(connections_allowed());
    let mut member = connect(servers.broker_address());
    call(&mut member, heartbeat_request("Crowd", "the one that reads"));
    let before = memory_bytes();

    let started = Instant::now();
    let silent: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut socket = connect(servers.broker_address());
            socket
                .write_all(&frame(heartbeat_request("Crowd", &format!("silent {number}")), 1))
                .expect("a heartbeat can be written");
            socket
        })
        .collect();
    let notices = notices_until_known(&servers, &mut member, "Crowd", count + 1);
    assert_rounds("join", notices, started.elapsed());
    assert_others_are_served(&servers);
    assert_growth(
        "consumers of one group that read nothing",
        before,
        count as u64 * IDLE_LIMIT_BYTES + NOISE_LIMIT_BYTES,
    );

    let started = Instant::now();
    drop(silent);
    let notices = notices_until_known(&servers, &mut member, "Crowd", 1);
    assert_rounds("leave", notices, started.elapsed());
    assert_others_are_served(&servers);
}

/// Reads notices and asks after each, and only then, who is in the group. Returns how many came until all were known.
fn notices_until_known(servers: &TestServers, member: &mut TcpStream, group: &str, members: usize) -> usize {
    let mut asks = connect(servers.broker_address());
    let request =
        || OutgoingRequest::new(request_code::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", group);
    for count in 1.. {
        let notice = receive(member).expect("a notice comes as long as members are not known");
        assert_eq!(notice.code, request_code::NOTIFY_CONSUMER_IDS_CHANGED);
        let list: GetConsumerListByGroupResponseBody =
            fastjson::from_slice(&call(&mut asks, request()).body).expect("a list");
        if list.consumer_id_list.len() == members {
            return count;
        }
    }
    unreachable!("the loop has no end");
}

/// Changes within 50 ms are told together, so that their number does not matter: a notice for each 50 ms, two more at their ends, and as many
/// that were told before and not read yet.
fn assert_rounds(what: &str, notices: usize, took: Duration) {
    println!("notices to one member while others {what} for {took:?}: {notices}");
    let rounds = took.as_millis() as usize / 50 + 4;
    assert!(notices <= rounds, "{notices} notices in {took:?}");
}

fn heartbeat_request(group: &str, client_id: &str) -> OutgoingRequest {
    let heartbeat = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    let body = fastjson::to_vec(&heartbeat).expect("a heartbeat");
    OutgoingRequest::new(request_code::HEART_BEAT).body(body)
}

/// How many connections fit below the limit of open files, both ends being in this process. The limit is raised first.
fn connections_allowed() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum it may be raised");
    let files = limit.maximum.map_or(usize::MAX, |files| files as usize);
    files.saturating_sub(500) / 2
}

#[test]
fn topics_that_nobody_has_are_refused_and_forgotten() {
    let _alone = alone();
    let servers = TestServers::start();
    assert_others_are_served(&servers);
    let count = from_environment("UNKNOWN_TOPICS", 10_000);
    let before = memory_bytes();

    flood(servers.namesrv_address(), count, route_request);
    flood(servers.broker_address(), count, pull_request);

    assert_others_are_served(&servers);
    assert_growth("unknown topics asked for", before, NOISE_LIMIT_BYTES);
}

/// Asks for `count` topics on one connection, in pieces whose answers are read before the next.
fn flood(server: SocketAddr, count: usize, request: impl Fn(&str) -> OutgoingRequest) {
    const PIECE: usize = 1_000;
    let mut writer = connect(server);
    let mut reader = BufReader::new(writer.try_clone().expect("a socket can be cloned"));
    let mut requests = Vec::new();
    for piece in 0..count.div_ceil(PIECE) {
        requests.clear();
        for index in 0..PIECE {
            let topic = format!("NobodyHasThisTopic{}", piece * PIECE + index);
            requests.extend(frame(request(&topic), 1));
        }
        thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&requests).expect("the server reads on"));
            for _ in 0..PIECE {
                let answer = receive(&mut reader).expect("every request is answered");
                assert_eq!(
                    answer.code,
                    response_code::TOPIC_NOT_EXIST,
                    "{:?}",
                    answer.remark()
                );
            }
        });
    }
}
