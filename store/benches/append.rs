//! What a put and a read cost: `cargo bench -p store`.
//!
//! Plain loops over a store in a temporary directory (`TMPDIR` chooses the disk), with its services running. CPU time is
//! that of the whole process, so it holds what the services do; wall time depends on how busy the machine is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::clock::SystemClock;
use common::properties::Live;
use common::service::Services;
use store::{
    AllMessages, GetRequest, Message, MessageStoreConfig, NoArrivals, PhysicalOffset, RealDisk, Store,
    StoreOptions,
};

const MESSAGES: usize = 1_000_000;
const BODY_BYTES: usize = 1024;
const PROPERTIES: &str = "UNIQ_KEY\u{1}7F000001000049DF0000000000000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}CLUSTER\u{1}DefaultCluster\u{2}";

fn main() {
    // `cargo test` runs benches too: with this argument missing there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path());
    let mut services = Services::new(Arc::new(SystemClock::new()));
    store.start_services(&mut services).expect("threads");

    measure("put, one thread", MESSAGES, || put_many(&store, 0, MESSAGES));
    measure("put, dispatch and flush of 10,000 queues", MESSAGES, || {
        put_round_robin(&store, MESSAGES);
        store.flush().expect("a flush");
    });
    measure("put, four threads", MESSAGES, || {
        std::thread::scope(|scope| {
            for queue_id in 0..4 {
                let store = &store;
                scope.spawn(move || put_many(store, queue_id, MESSAGES / 4));
            }
        });
    });
    let followed = Instant::now();
    while store.state().dispatched < store.state().commit_log_max {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!(
        "dispatch was behind for {:?} after the last put",
        followed.elapsed()
    );
    measure("get, 32 messages each, a message", MESSAGES, || get_all(&store));
    measure("read by physical offset", MESSAGES, || read_all(&store));
    measure("flush", 1, || services.stop());
    store.close().expect("a clean stop");
    drop(store);
    measure("open after a clean stop", 1, || drop(open(directory.path())));
    measure("open after a crash", 1, || drop(open(directory.path())));
}

fn open(directory: &Path) -> Arc<Store> {
    let config = MessageStoreConfig {
        store_path_root_dir: directory.join("store").to_string_lossy().into_owned(),
        ..MessageStoreConfig::default()
    };
    let options = StoreOptions {
        config: Arc::new(Live::new(config)),
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock::new()),
        arrivals: Arc::new(NoArrivals),
    };
    Store::open(options).expect("an empty directory opens")
}

fn put_many(store: &Store, queue_id: i32, count: usize) {
    let body = [b'x'; BODY_BYTES];
    let message = message(queue_id, &body);
    for _ in 0..count {
        store.put(&message).expect("room for a message");
    }
}

fn put_round_robin(store: &Store, count: usize) {
    for topic in 0..count {
        let message = Message {
            topic: &format!("Topic{}", topic % 1_250),
            queue_id: i32::try_from(topic / 1_250 % 8).expect("less than 8"),
            ..message(0, b"x")
        };
        store.put(&message).expect("room for a message");
    }
}

fn message(queue_id: i32, body: &[u8]) -> Message<'_> {
    Message {
        topic: "BenchmarkTopic",
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: "127.0.0.1:1".parse().expect("an address"),
        store_host: "127.0.0.1:2".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: PROPERTIES,
        body,
    }
}

fn get_all(store: &Store) {
    let mut out = Vec::new();
    let mut offset = 0;
    let mut found = 0;
    while found < MESSAGES {
        out.clear();
        let request = GetRequest {
            topic: "BenchmarkTopic",
            queue_id: 0,
            offset,
            max_messages: 32,
            max_bytes: None,
            filter: &AllMessages,
        };
        let outcome = store.get(&request, &mut out);
        offset = outcome.next_begin_offset;
        found += outcome.message_count as usize;
    }
}

fn read_all(store: &Store) {
    let mut offset = PhysicalOffset(0);
    for _ in 0..MESSAGES {
        // At the end of a file the next record begins in the next one.
        offset = match store.read_at(offset) {
            Some(record) => PhysicalOffset(offset.0 + record.len() as u64),
            None => PhysicalOffset(offset.0.next_multiple_of(1 << 30)),
        };
    }
}

fn measure(name: &str, count: usize, work: impl FnOnce()) {
    let (cpu, wall) = (cpu_time(), Instant::now());
    work();
    let (cpu, wall) = (cpu_time() - cpu, wall.elapsed());
    let each = |total: Duration| total.as_nanos() / count as u128;
    println!("{name:<42} {:>12} ns CPU  {:>12} ns wall", each(cpu), each(wall));
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
