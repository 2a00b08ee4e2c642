//! The world around the broker: its disk, its clock, its clients, and the loop that would be its threads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::Broker;
use broker::config::{Configuration, Identity, Settings};
use broker::services::BrokerTicks;
use bytes::Bytes;
use common::clock::{Clock, ManualClock};
use common::random::Random;
use common::service::{Next, Service};
use common::small_file::SmallFiles as _;
use remoting::codes::request_code;
use remoting::connection::Connection;
use remoting::detached::DetachedPeer;
use remoting::frame::Frame;
use remoting::header::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::request::{Call, Handled, Outcome, OutgoingRequest, Response};
use remoting::routes;
use remoting::server::ServerConfig;
use store::disk::Disk;
use store::sim_disk::{Faults, SimDisk};

use crate::Violation;
use crate::model::Model;
use crate::model::broadcast::{CLIENTS, FORGOTTEN_S, ONLINE_FORGOTTEN_S, SILENT_MS};
use crate::model::lite::{EXPIRY_PERIOD_MS, LEAST_LIFETIME_MS, Lites};

/// When the world begins.
const START_MS: i64 = 1_700_000_000_000;
/// Where the broker keeps its files.
pub const ROOT: &str = "/sim/store";
/// Slots of an index file: few, so that chains are long.
pub const INDEX_SLOTS: usize = 8;
/// Entries in a file of a queue.
pub const ENTRIES_OF_A_FILE: i64 = 8;
/// The bit of a frame's flag that says that nobody waits for an answer.
const ONEWAY: i32 = 2;
/// Clients of the broker.
pub const CONNECTIONS: usize = 3;
/// And those of broadcasting clients.
pub const ALL_CONNECTIONS: usize = CONNECTIONS + CLIENTS.len();

/// Everything there is.
pub struct World {
    pub seed: u64,
    pub random: Random,
    pub clock: Arc<ManualClock>,
    pub disk: SimDisk,
    pub is_sync: bool,
    pub file_size: u64,
    pub model: Model,
    pub power_is_failing: bool,
    /// Monotonic time from which on the next tick must write the consumers' offsets, the delay levels' progress.
    pub offsets_due: Duration,
    pub delays_due: Duration,
    /// Whether pop retry topics are called in the newer way.
    pub has_retry_v2: bool,
    /// Width of a slot of the timer.
    pub timer_precision_ms: i64,
    /// So long a send is known again; -1: not at all, ms.
    pub repeat_window_ms: i64,
    /// Until then the timer may wait: a put failed while the disk did.
    pub timer_waits_until_ms: i64,
    /// The two are the latest that may be: a disk failed while the service ran.
    pub dues_are_latest: bool,
    keys: Vec<(&'static str, String)>,
    running: Option<Running>,
    next_opaque: i32,
    next_body: u64,
    trace: Vec<String>,
    /// Shows each step as it begins.
    pub prints: bool,
}

/// The broker while it runs.
pub struct Running {
    pub broker: Arc<Broker>,
    pub ticks: BrokerTicks,
    pub connections: Vec<Arc<Connection>>,
}

/// The services, as the workload picks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    Allocate,
    Flush,
    FlushDeadline,
    Dispatch,
    FlushQueues,
    Retention,
    Persist,
    Delay,
    TransactionCheck,
    TransactionOps,
    TimerFlush,
    Timer,
    PullExpiry,
    PopExpiry,
    Lite,
    Revive,
    ClientExpiry,
    Stats,
}

/// In start order.
pub const TICKS: [Tick; 18] = [
    Tick::Allocate,
    Tick::Flush,
    Tick::FlushDeadline,
    Tick::Dispatch,
    Tick::FlushQueues,
    Tick::Retention,
    Tick::Persist,
    Tick::Delay,
    Tick::TransactionCheck,
    Tick::TransactionOps,
    Tick::TimerFlush,
    Tick::Timer,
    Tick::PullExpiry,
    Tick::PopExpiry,
    Tick::Lite,
    Tick::Revive,
    Tick::ClientExpiry,
    Tick::Stats,
];

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: i32,
    pub opaque: i32,
    pub remark: String,
    pub fields: BTreeMap<String, String>,
    pub body: Bytes,
}

impl Answer {
    fn of(opaque: i32, response: Response) -> Self {
        Self {
            code: response.code,
            opaque,
            remark: response.remark.unwrap_or_default().into_owned(),
            fields: owned(response.fields.fields()),
            body: response.body,
        }
    }

    pub fn of_frame(frame: &Frame) -> Self {
        Self {
            code: frame.code,
            opaque: frame.opaque,
            remark: frame.remark().unwrap_or_default().into_owned(),
            fields: owned(frame.fields()),
            body: frame.body.clone(),
        }
    }

    pub fn number(&self, name: &str) -> Result<i64, Violation> {
        let text = self.fields.get(name).map_or("", String::as_str);
        text.parse()
            .map_err(|_| format!("{name} is no number in the answer {} {}", self.code, self.remark))
    }
}

fn owned(fields: remoting::fields::Fields<'_>) -> BTreeMap<String, String> {
    fields
        .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().into_owned()))
        .collect()
}

impl World {
    pub fn new(seed: u64) -> Self {
        // Hashed: neighbouring seeds would give the same numbers, one step apart.
        let random = Random::new(Random::new(seed ^ 0x5EED).next_u64());
        let clock = Arc::new(ManualClock::new(START_MS));
        let disk = SimDisk::new(clock.clone());
        disk.create_dir_all(Path::new(ROOT))
            .expect("a fresh disk takes a directory");
        let is_sync = random.below(3) != 0;
        let file_size = [8_192, 16_384, 65_536][random.below(3) as usize];
        let timer_precision_ms = [500, 1_000][random.below(2) as usize];
        // Six seconds, twenty, all there is: messages roll often, seldom, never.
        let roll_window_ms = [6_000, 20_000, 10_000_000][random.below(3) as usize];
        let has_retry_v2 = random.below(2) == 0;
        // A client hears of one light topic at a time, or of as many as there are.
        let events_of_a_client = [1, 100, 100][random.below(3) as usize];
        // The lifetime of a light topic, in minutes; -1: it does not end.
        let lite_minutes = [-1, 1, 5, 5][random.below(4) as usize];
        let model = Model {
            lites: Lites {
                has_room_for_events: events_of_a_client > 1,
                lifetime_ms: (lite_minutes > 0).then_some(lite_minutes * 60_000),
                ..Lites::default()
            },
            ..Model::default()
        };
        let repeat_window_ms = [-1, 3_000, 40_000][random.below(3) as usize];
        let keys = vec![
            ("duplicateSendWindowMs", repeat_window_ms.max(0).to_string()),
            ("maxClientEventCount", events_of_a_client.to_string()),
            ("minLiteTTl", LEAST_LIFETIME_MS.to_string()),
            ("liteTtlCheckInterval", EXPIRY_PERIOD_MS.to_string()),
            ("broadcastOffsetExpireSecond", FORGOTTEN_S.to_string()),
            ("broadcastOffsetExpireMaxSecond", ONLINE_FORGOTTEN_S.to_string()),
            ("channelExpiredTimeout", SILENT_MS.to_string()),
            ("enablePropertyFilter", "true".to_owned()),
            ("enableLmq", "true".to_owned()),
            ("enableMultiDispatch", "true".to_owned()),
            // A read with a filter stops after so many bytes of entries: three of them, or all there are.
            (
                "maxFilterMessageSize",
                ["60", "16000"][random.below(2) as usize].to_owned(),
            ),
            ("storePathRootDir", ROOT.to_owned()),
            ("mappedFileSizeCommitLog", file_size.to_string()),
            ("mappedFileSizeConsumeQueue", (ENTRIES_OF_A_FILE * 20).to_string()),
            ("maxHashSlotNum", INDEX_SLOTS.to_string()),
            ("mappedFileSizeTimerLog", "4096".to_owned()),
            ("timerPrecisionMs", timer_precision_ms.to_string()),
            (
                "timerRollWindowSlot",
                (roll_window_ms / timer_precision_ms).to_string(),
            ),
            ("recallMessageEnable", "true".to_owned()),
            ("reviveQueueNum", "2".to_owned()),
            ("enableRetryTopicV2", has_retry_v2.to_string()),
            ("maxIndexNum", (16 + random.below(48)).to_string()),
            (
                "flushDiskType",
                if is_sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" }.to_owned(),
            ),
            ("flushCommitLogLeastPages", random.below(4).to_string()),
        ];
        Self {
            seed,
            random,
            clock,
            disk,
            is_sync,
            file_size,
            model,
            power_is_failing: false,
            offsets_due: Duration::ZERO,
            delays_due: Duration::ZERO,
            has_retry_v2,
            timer_precision_ms,
            repeat_window_ms,
            timer_waits_until_ms: 0,
            dues_are_latest: false,
            keys,
            running: None,
            next_opaque: 0,
            next_body: 0,
            trace: Vec::new(),
            prints: false,
        }
    }

    /// Below `limit`.
    pub fn below(&self, limit: i32) -> i32 {
        self.random.below(limit)
    }

    pub fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        if self.prints {
            println!("{line}");
        }
        self.trace.push(line);
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    /// Sums up every byte of every file.
    pub fn digest_of_disk(&self) -> u32 {
        self.disk.digest().unwrap_or_default()
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the broker runs")
    }

    pub fn store(&self) -> Arc<store::Store> {
        Arc::clone(self.running().broker.store())
    }

    /// Starts the broker on what the disk holds.
    pub fn open(&mut self) -> Result<(), Violation> {
        let mut settings = Settings::default();
        for (key, value) in &self.keys {
            let known = settings.set("simulation", key, value);
            assert!(known.expect("a value that fits"), "unknown key {key}");
        }
        settings.settle().expect("settings that a start accepts");
        let file = PathBuf::from("/sim/broker.conf");
        let configuration = Configuration::new(settings, Some(&file), self.clock.clone());
        let identity = Identity {
            cluster: "DefaultCluster".to_owned(),
            broker_name: "broker-a".to_owned(),
            broker_id: 0,
            broker_addr: "10.0.0.1:10911".to_owned(),
            store_host: SocketAddr::from(([10, 0, 0, 1], 10911)),
            ha_address: "10.0.0.1:10912".to_owned(),
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let broker = Broker::open(configuration, identity, disk, self.clock.clone())
            .map_err(|error| format!("the broker does not start: {error:#}"))?;
        let ticks = BrokerTicks::of(&broker).map_err(|error| format!("no services: {error:#}"))?;
        let connections = (0..ALL_CONNECTIONS).map(new_connection).collect();
        self.running = Some(Running {
            broker,
            ticks,
            connections,
        });
        (self.offsets_due, self.delays_due) = (Duration::ZERO, Duration::ZERO);
        self.dues_are_latest = false;
        self.model.lites.started_ms = self.now_ms();
        Ok(())
    }

    /// A client whose connection is gone has a new one.
    pub fn reconnect(&mut self, connection: usize) {
        let running = self.running.as_mut().expect("the broker runs");
        running.connections[connection] = new_connection(connection);
    }

    /// Lets go of the broker without another word.
    pub fn drop_broker(&mut self) {
        self.running = None;
    }

    /// The power fails after so many more operations of the disk.
    pub fn fail_power_after(&mut self, operations: u64) {
        self.power_is_failing = true;
        self.model.opens_fail = true;
        self.disk.set_faults(Faults {
            power_fails_after: Some(operations),
            ..Faults::default()
        });
    }

    /// Ticks a service until it is idle. Fails only when it has reason to.
    pub fn tick(&mut self, tick: Tick, stopping: bool) -> Result<(), Violation> {
        let clock = Arc::clone(&self.clock);
        let failing = self.power_is_failing;
        let ticks = &mut self.running.as_mut().expect("the broker runs").ticks;
        let result = match tick {
            Tick::Allocate => run(&mut ticks.store.allocate, &clock, stopping),
            Tick::Flush => rest_and_run(&mut ticks.store.flush, &clock, stopping),
            Tick::FlushDeadline => run(&mut ticks.store.flush_deadline, &clock, stopping),
            Tick::Dispatch => run(&mut ticks.store.dispatch, &clock, stopping),
            Tick::FlushQueues => run(&mut ticks.store.flush_queues, &clock, stopping),
            Tick::Retention => run(&mut ticks.store.retention, &clock, stopping),
            Tick::Persist => run(&mut ticks.persist, &clock, stopping),
            Tick::Delay => run(&mut ticks.delay, &clock, stopping),
            Tick::TransactionCheck => run(&mut ticks.transaction_check, &clock, stopping),
            Tick::TransactionOps => run(&mut ticks.transaction_ops, &clock, stopping),
            Tick::TimerFlush => run(timer_on(&mut ticks.timer_flush), &clock, stopping),
            Tick::Timer => run(timer_on(&mut ticks.timer), &clock, stopping),
            Tick::PullExpiry => run(&mut ticks.pull_expiry, &clock, stopping),
            Tick::PopExpiry => run(&mut ticks.pop_expiry, &clock, stopping),
            Tick::Lite => run(&mut ticks.lite, &clock, stopping),
            Tick::Revive => run(&mut ticks.reviver, &clock, stopping),
            Tick::ClientExpiry => run(&mut ticks.client_expiry, &clock, stopping),
            Tick::Stats => run(&mut ticks.stats, &clock, stopping),
        };
        match result {
            Err(error) if !failing => Err(format!("{tick:?} failed: {error:#}")),
            _ => Ok(()),
        }
    }

    /// A request over a connection. `None` when it is answered later.
    pub fn call(&mut self, connection: usize, request: OutgoingRequest) -> (i32, Option<Answer>) {
        let (opaque, wire) = self.encode(&request, false);
        let frame = Frame::decode(Bytes::from(wire).slice(4..)).expect("what we encoded");
        let running = self.running();
        let call = Call::new(frame, Arc::clone(&running.connections[connection]));
        (opaque, answer(opaque, routes::handle(&running.broker, &call)))
    }

    /// A request as bytes, and its opaque.
    pub fn encode(&mut self, request: &OutgoingRequest, oneway: bool) -> (i32, Vec<u8>) {
        self.next_opaque += 1;
        let mut frame = Frame::of_request(request);
        frame.opaque = self.next_opaque;
        if oneway {
            frame.flag |= ONEWAY;
        }
        let wire = frame.encode().expect("a request fits into a frame");
        (self.next_opaque, wire)
    }

    /// The far end of a connection, for bytes that go through the task of a socket.
    pub fn peer(&self, connection: usize, frames_per_turn: usize) -> DetachedPeer<Broker> {
        let Running {
            broker, connections, ..
        } = self.running();
        let config = ServerConfig {
            frames_per_turn,
            ..ServerConfig::default()
        };
        DetachedPeer::new(Arc::clone(broker), Arc::clone(&connections[connection]), &config)
    }

    /// Handles a request that was resumed, as the task of its connection would.
    pub fn handle_resumed(&self, call: &Call) -> Option<Answer> {
        answer(call.frame.opaque, routes::handle(&self.running().broker, call))
    }

    /// A body that no other message has, of some length.
    pub fn new_body(&mut self) -> Vec<u8> {
        self.next_body += 1;
        let mut body = format!("body {} of seed {} ", self.next_body, self.seed).into_bytes();
        let length = match self.below(8) {
            0 => self.below(3_500),
            1..=3 => self.below(900),
            _ => self.below(60),
        };
        let fill = (0..length).map(|_| (self.random.next_u64() % 251) as u8);
        body.extend(fill.collect::<Vec<_>>());
        body
    }

    /// A key that no other message has.
    pub fn new_key(&self) -> String {
        format!("U{:020}", self.next_body)
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn new_connection(number: usize) -> Arc<Connection> {
    Connection::detached(SocketAddr::from(([127, 0, 0, 1], 40_000 + number as u16)))
}

fn answer(opaque: i32, handled: Handled) -> Option<Answer> {
    match handled {
        Ok(Outcome::Reply(response)) => Some(Answer::of(opaque, response)),
        Ok(_) => None,
        Err(refusal) => Some(Answer::of(opaque, Response::from(refusal))),
    }
}

fn timer_on<T>(service: &mut Option<T>) -> &mut T {
    service.as_mut().expect("the timer is on")
}

fn run(service: &mut impl Service, clock: &ManualClock, stopping: bool) -> anyhow::Result<()> {
    while service.tick(clock.now(), stopping)? == Next::Again {}
    Ok(())
}

/// For a service that may rest before its work, to be asked again.
fn rest_and_run(service: &mut impl Service, clock: &ManualClock, stopping: bool) -> anyhow::Result<()> {
    while service.tick(clock.now(), stopping)? != Next::Idle {}
    Ok(())
}

/// The request that sends a message, or a batch of them.
pub fn send_request(
    (topic, queue_id): (&str, i32),
    properties: &str,
    body: Vec<u8>,
    batch: bool,
    born_ms: i64,
) -> OutgoingRequest {
    let header = SendMessageRequestHeader {
        producer_group: Cow::Borrowed("producers"),
        topic: Cow::Borrowed(topic),
        default_topic: Cow::Borrowed("TBW102"),
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp: born_ms,
        flag: 7,
        properties: Some(Cow::Borrowed(properties)),
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch,
        broker_name: None,
        logical: None,
    };
    let code = if batch {
        request_code::SEND_BATCH_MESSAGE
    } else {
        request_code::SEND_MESSAGE_V2
    };
    OutgoingRequest::new(code)
        .header(&SendMessageRequestHeaderV2(header))
        .body(body)
}
