//! Bytes in, bytes out: a broker without sockets and threads, and clients that speak frames to it.
//!
//! ```text
//!   TestClient::call ─> Frame ─> routes ─> handler ─> Answer
//!   TestBroker::settle    dispatches what was stored, resumes what waited for it
//! ```

mod admin;
mod broadcast;
mod clients;
mod cold_data;
mod delay;
mod duplicate_sends;
mod filter;
mod garbage;
mod lite;
mod lmq;
mod metrics;
mod offsets;
mod pop;
mod pull;
mod query;
mod reply;
mod send;
mod send_back;
mod static_topic;
mod timer;
mod timer_power;
mod transaction;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::clock::{Clock, ManualClock};
use common::message::id::parse_offset_msg_id;
use common::message::properties;
use common::service::{Next, Service};
use common::small_file::SmallFiles as _;
use remoting::body::{ConsumerData, HeartbeatData, SubscriptionData};
use remoting::codes::{request_code, response_code};
use remoting::connection::Connection;
use remoting::frame::Frame;
use remoting::header::{PullMessageRequestHeader, SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::request::{Call, Handled, Outcome, OutgoingRequest, Response};
use remoting::routes;
use store::record::{self, Record};
use store::sim_disk::{Fault, Faults, Operation, SimDisk};
use store::{Disk, PhysicalOffset, RealDisk};

use crate::broker::Broker;
use crate::config::{Configuration, Identity, Settings};

/// When the tests take place.
const NOW_MS: i64 = 1_700_000_000_000;

/// A disk that opens no file.
fn nothing_opens() -> Faults {
    Faults {
        operations: [(Operation::Open, Fault::Io)].into(),
        ..Faults::default()
    }
}

/// A broker on a directory of its own.
struct TestBroker {
    broker: Arc<Broker>,
    clock: Arc<ManualClock>,
    next_port: std::cell::Cell<u16>,
    settings: Vec<(String, String)>,
    _directory: tempfile::TempDir,
}

impl TestBroker {
    fn new() -> Self {
        Self::configured(&[])
    }

    /// With these keys set.
    fn configured(settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::on(directory, Arc::new(ManualClock::new(NOW_MS)), settings)
    }

    /// On a directory that may have been used before.
    fn on(directory: tempfile::TempDir, clock: Arc<ManualClock>, settings: Vec<(String, String)>) -> Self {
        Self::open_on(Arc::new(RealDisk), directory, clock, settings)
    }

    /// On a directory of this disk.
    fn open_on(
        disk: Arc<dyn Disk>,
        directory: tempfile::TempDir,
        clock: Arc<ManualClock>,
        settings: Vec<(String, String)>,
    ) -> Self {
        let pairs: Vec<(&str, &str)> = settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let configuration = configuration(directory.path(), &pairs, clock.clone());
        let identity = Identity {
            cluster: "DefaultCluster".to_owned(),
            broker_name: "broker-a".to_owned(),
            broker_id: 0,
            broker_addr: "10.0.0.1:10911".to_owned(),
            store_host: address("10.0.0.1:10911"),
            ha_address: "10.0.0.1:10912".to_owned(),
        };
        let broker =
            Broker::open(configuration, identity, disk, clock.clone()).expect("a broker on its directory");
        TestBroker {
            broker,
            clock,
            next_port: std::cell::Cell::new(40_000),
            settings,
            _directory: directory,
        }
    }

    /// With messages in queue 0 of a topic whose entries are in its file alone: it must be opened to read them.
    fn with_a_queue_in_its_file(topic: &str, bodies: &[&[u8]]) -> (Self, SimDisk) {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let disk = SimDisk::new(clock.clone());
        let directory = tempfile::tempdir().expect("a directory's name");
        disk.create_dir_all(directory.path()).expect("a directory");
        let broker = Self::open_on(Arc::new(disk.clone()), directory, clock, Vec::new()).with_topic(topic);
        for body in bodies {
            broker.client().must_send(topic, &[], body);
        }
        broker.settle();
        broker.flush();
        broker.settle();
        // Also the last page.
        broker.clock.advance(std::time::Duration::from_secs(60));
        tick(&mut broker.broker.store.ticks().flush_queues, &broker.clock);
        (broker, disk)
    }

    /// As after kill -9: nothing is written at the end, tables least of all. No client may be left.
    fn crash_and_restart(self) -> Self {
        let TestBroker {
            broker,
            clock,
            settings,
            _directory: directory,
            ..
        } = self;
        assert_eq!(Arc::strong_count(&broker), 1, "nobody holds the killed broker");
        drop(broker);
        Self::on(directory, clock, settings)
    }

    /// A client with an address of its own.
    fn client(&self) -> TestClient {
        let port = self.next_port.get();
        self.next_port.set(port + 1);
        TestClient {
            broker: Arc::clone(&self.broker),
            connection: Connection::detached(SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }

    /// Dispatches what was stored.
    fn settle(&self) {
        tick(&mut self.broker.store.ticks().dispatch, &self.clock);
    }

    /// Answers those who waited too long for the disk.
    fn miss_flush_deadline(&self) {
        self.clock.advance(std::time::Duration::from_secs(5));
        tick(&mut self.broker.store.ticks().flush_deadline, &self.clock);
    }

    /// Brings what was stored to the disk.
    fn flush(&self) {
        tick(&mut self.broker.store.ticks().flush, &self.clock);
    }

    /// Makes a topic of four queues.
    fn with_topic(self, topic: &str) -> Self {
        self.broker.topics.put(remoting::body::TopicConfig::new(topic, 4));
        self
    }
}

/// Runs a service until it has nothing left to do.
fn tick(service: &mut impl Service, clock: &ManualClock) {
    while service.tick(clock.now(), false).expect("a tick") == Next::Again {}
}

/// Small files, so that a broker costs little.
fn configuration(root: &Path, changes: &[(&str, &str)], clock: Arc<ManualClock>) -> Configuration {
    let file = root.join("broker.conf");
    let root = root.display().to_string();
    let small = [
        ("storePathRootDir", root.as_str()),
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "20000"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
        ("diskMaxUsedSpaceRatio", "99"),
    ];
    let mut settings = Settings::default();
    for (key, value) in small.iter().chain(changes) {
        assert!(
            settings.set("test", key, value).expect("a value that fits"),
            "unknown key {key}"
        );
    }
    settings.settle().expect("settings that a start accepts");
    Configuration::new(settings, Some(&file), clock)
}

/// One peer of the broker.
struct TestClient {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
}

impl TestClient {
    /// Sends a request that is answered at once.
    fn call(&self, request: OutgoingRequest) -> Answer {
        let code = request.code;
        self.try_call(request)
            .unwrap_or_else(|| panic!("request {code} was not answered at once"))
    }

    /// Sends a request; `None` when it is answered later or never.
    fn try_call(&self, request: OutgoingRequest) -> Option<Answer> {
        let frame = Frame::of_request(&request);
        let wire = frame.encode().expect("a request fits into a frame");
        let frame = Frame::decode(Bytes::from(wire).slice(4..)).expect("what we encoded");
        Answer::of(routes::handle(
            &self.broker,
            &Call::new(frame, Arc::clone(&self.connection)),
        ))
    }

    /// Handles the requests resumed since the last time, as the task of the connection would.
    fn resumed_answers(&self) -> Vec<Answer> {
        let calls = self.connection.take_resumed();
        calls
            .iter()
            .map(|call| {
                Answer::of(routes::handle(&self.broker, call)).expect("a resumed request is answered")
            })
            .collect()
    }

    /// What was answered later, by those who held a responder.
    fn late_answers(&self) -> Vec<Answer> {
        self.connection.take_sent().iter().map(Answer::of_frame).collect()
    }

    fn send(&self, header: SendMessageRequestHeader<'_>, body: &[u8]) -> Answer {
        self.call(send_request(header, body))
    }

    /// Stores a message and gives its id.
    fn must_send(&self, topic: &str, properties: &[(&str, &str)], body: &[u8]) -> String {
        let answer = self.send(send_header(topic, &property_text(properties)), body);
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        answer.field("msgId").to_owned()
    }

    fn pull(&self, header: &PullMessageRequestHeader<'_>) -> Answer {
        self.call(OutgoingRequest::new(request_code::PULL_MESSAGE).header(header))
    }

    /// Joins a group that subscribes to one topic.
    fn subscribe(&self, client_id: &str, group: &str, topic: &str, expression: &str) -> Answer {
        let subscription = crate::filter::tags::build(topic, expression).unwrap();
        self.heartbeat(&heartbeat(client_id, group, vec![subscription]))
    }

    fn heartbeat(&self, heartbeat: &HeartbeatData) -> Answer {
        let body = remoting::body::fastjson::to_vec(heartbeat).expect("a heartbeat");
        self.call(OutgoingRequest::new(request_code::HEART_BEAT).body(body))
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    code: i32,
    remark: String,
    fields: BTreeMap<String, String>,
    body: Bytes,
}

impl Answer {
    fn of(handled: Handled) -> Option<Answer> {
        let response = match handled {
            Ok(Outcome::Reply(response)) => response,
            Ok(_) => return None,
            Err(refusal) => Response::from(refusal),
        };
        Some(Answer {
            code: response.code,
            remark: response.remark.unwrap_or_default().into_owned(),
            fields: owned_fields(response.fields.fields()),
            body: response.body,
        })
    }

    fn of_frame(frame: &Frame) -> Answer {
        Answer {
            code: frame.code,
            remark: frame.remark().unwrap_or_default().into_owned(),
            fields: owned_fields(frame.fields()),
            body: frame.body.clone(),
        }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> i64 {
        self.field(name)
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number in {self:?}"))
    }

    /// The records of the body.
    fn records(&self) -> Vec<Record<'_>> {
        let mut records = Vec::new();
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let record = record::decode(rest).expect("a whole record");
            rest = &rest[record.size_bytes as usize..];
            records.push(record);
        }
        records
    }

    fn bodies(&self) -> Vec<&[u8]> {
        self.records().iter().map(|record| record.body).collect()
    }
}

fn owned_fields(fields: remoting::fields::Fields<'_>) -> BTreeMap<String, String> {
    fields
        .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().into_owned()))
        .collect()
}

/// The bytes of the stored message with this id.
fn stored(broker: &TestBroker, msg_id: &str) -> Vec<u8> {
    let (_, offset) = parse_offset_msg_id(msg_id).expect("an offset message id");
    broker
        .broker
        .store
        .read_at(PhysicalOffset(offset))
        .expect("a stored message")
}

/// The properties of a stored message.
fn properties_of(record: &Record<'_>) -> BTreeMap<String, String> {
    properties::iter(record.properties)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn property_text(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        properties::push(&mut text, name, value);
    }
    text
}

fn send_header<'a>(topic: &'a str, properties: &'a str) -> SendMessageRequestHeader<'a> {
    SendMessageRequestHeader {
        producer_group: Cow::Borrowed("producers"),
        topic: Cow::Borrowed(topic),
        default_topic: Cow::Borrowed("TBW102"),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: NOW_MS - 5,
        flag: 7,
        properties: Some(Cow::Borrowed(properties)),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
        logical: None,
    }
}

fn send_request(header: SendMessageRequestHeader<'_>, body: &[u8]) -> OutgoingRequest {
    let code = if header.batch {
        request_code::SEND_BATCH_MESSAGE
    } else {
        request_code::SEND_MESSAGE_V2
    };
    OutgoingRequest::new(code)
        .header(&SendMessageRequestHeaderV2(header))
        .body(body.to_vec())
}

fn pull_header<'a>(
    group: &'a str,
    topic: &'a str,
    queue_id: i32,
    offset: i64,
) -> PullMessageRequestHeader<'a> {
    PullMessageRequestHeader {
        consumer_group: Cow::Borrowed(group),
        topic: Cow::Borrowed(topic),
        lite_topic: None,
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 0,
        commit_offset: 0,
        suspend_timeout_millis: 15_000,
        subscription: None,
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
        logical: None,
    }
}

fn heartbeat(client_id: &str, group: &str, subscriptions: Vec<SubscriptionData>) -> HeartbeatData {
    HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: subscriptions,
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
