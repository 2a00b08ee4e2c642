//! What the integration tests share: a store in a directory, driven without threads.
#![allow(dead_code)]

pub mod faulty_disk;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::clock::{Clock, ManualClock};
use common::properties::Live;
use common::service::{Next, Service};
use proptest::test_runner::Config as ProptestConfig;
use store::record::{Record, decode};
use store::{
    AllMessages, Arrival, ArrivalListener, GetOutcome, GetRequest, Message, MessageStoreConfig, OpenError,
    Store, StoreOptions,
};

use self::faulty_disk::FaultyDisk;

/// The time at which the stores of these tests begin: shortly after the fixtures were written.
pub const START_MS: i64 = 1_795_400_000_000;

/// A directory with a store, and what is needed to open it again and again.
pub struct Bench {
    pub directory: tempfile::TempDir,
    pub config: MessageStoreConfig,
    pub clock: Arc<ManualClock>,
    pub disk: FaultyDisk,
    pub arrivals: Arc<Arrivals>,
}

/// Notes every arrival.
#[derive(Default)]
pub struct Arrivals(pub Mutex<Vec<(String, i32, u64, i64)>>);

impl ArrivalListener for Arrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        let row = (
            arrival.topic.to_owned(),
            arrival.queue_id,
            arrival.queue_offset.0,
            arrival.tags_code,
        );
        self.0.lock().unwrap().push(row);
    }
}

impl Bench {
    /// An empty directory and files so small that every test rolls them.
    pub fn small() -> Self {
        Self::with(|config| {
            config.mapped_file_size_commit_log = 4096;
            config.mapped_file_size_consume_queue = 20 * 8;
            config.mapper_file_size_batch_consume_queue = 46 * 8;
            config.max_hash_slot_num = 16;
            config.max_index_num = 32;
        })
    }

    pub fn with(change: impl FnOnce(&mut MessageStoreConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = MessageStoreConfig {
            store_path_root_dir: directory.path().join("store").to_str().unwrap().to_owned(),
            ..MessageStoreConfig::default()
        };
        change(&mut config);
        Self {
            directory,
            config,
            clock: Arc::new(ManualClock::new(START_MS)),
            disk: FaultyDisk::default(),
            arrivals: Arc::default(),
        }
    }

    pub fn root(&self) -> PathBuf {
        PathBuf::from(&self.config.store_path_root_dir)
    }

    pub fn open(&self) -> Arc<Store> {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Arc<Store>, OpenError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Store::open(StoreOptions {
            config: Arc::new(Live::new(self.config.clone())),
            disk: Arc::new(self.disk.clone()),
            clock,
            arrivals: Arc::clone(&self.arrivals) as Arc<dyn ArrivalListener>,
        })
    }

    /// Makes the present hour the one at which expired files go.
    pub fn set_delete_hour(&self, store: &Store) {
        let hours: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
        store
            .config()
            .update(|config| config.delete_when = hours.join(";"));
    }

    /// Lets time pass.
    pub fn advance_ms(&self, ms: u64) {
        self.clock.advance(std::time::Duration::from_millis(ms));
    }
}

/// Ticks a service until it is idle.
pub fn run(service: &mut impl Service, clock: &dyn Clock) {
    while service.tick(clock.now(), false).unwrap() == Next::Again {}
}

/// Dispatches everything that may be dispatched.
pub fn dispatch(store: &Arc<Store>, bench: &Bench) {
    run(&mut store.ticks().dispatch, &*bench.clock);
}

/// Flushes log, queues, index and checkpoint.
pub fn flush_all(store: &Arc<Store>, bench: &Bench) {
    let mut ticks = store.ticks();
    ticks.flush.tick(bench.clock.now(), true).unwrap();
    ticks.flush_queues.tick(bench.clock.now(), true).unwrap();
}

/// As many cases as a plain test run can afford; `PROPTEST_CASES` asks for more.
pub fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(count),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A plain message.
pub fn message<'a>(topic: &'a str, queue_id: i32, properties: &'a str, body: &'a [u8]) -> Message<'a> {
    Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: START_MS - 1,
        born_host: "10.0.0.9:40000".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties,
        body,
    }
}

/// Property text of some pairs.
pub fn properties(pairs: &[(&str, &str)]) -> String {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"))
        .collect()
}

/// One get of everything that passes.
pub fn get(store: &Store, topic: &str, queue_id: i32, offset: i64, out: &mut Vec<u8>) -> GetOutcome {
    let request = GetRequest {
        topic,
        queue_id,
        offset,
        max_messages: 32,
        max_bytes: None,
        filter: &AllMessages,
    };
    store.get(&request, out)
}

/// Reads a whole queue as a consumer does, get after get. Gives the records.
pub fn read_queue(store: &Store, topic: &str, queue_id: i32) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut offset = store.min_offset(topic, queue_id).max(0);
    loop {
        let mut out = Vec::new();
        let outcome = get(store, topic, queue_id, offset, &mut out);
        if outcome.next_begin_offset <= offset {
            assert_eq!(
                outcome.message_count, 0,
                "progress with every message: {outcome:?}"
            );
            return records;
        }
        records.extend(split(&out).into_iter().map(<[u8]>::to_vec));
        offset = outcome.next_begin_offset;
    }
}

/// Back-to-back records.
pub fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let size = decode(bytes).unwrap().size_bytes as usize;
        let (record, rest) = bytes.split_at(size);
        records.push(record);
        bytes = rest;
    }
    records
}

/// The bodies of a whole queue, as text.
pub fn bodies(store: &Store, topic: &str, queue_id: i32) -> Vec<String> {
    let text = |record: Record<'_>| String::from_utf8_lossy(record.body).into_owned();
    read_queue(store, topic, queue_id)
        .iter()
        .map(|record| text(decode(record).unwrap()))
        .collect()
}

/// The files of a directory, sorted by name.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
