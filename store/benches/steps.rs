//! What the steps of a message's way cost, without sockets: `cargo bench -p store`.
//!
//! ```text
//!   append ──> dispatch ──> pull
//! ```
//!
//! The store lies in a temporary directory (`TMPDIR` chooses the disk) and has no threads: nothing happens but the step.

use std::sync::Arc;

use common::clock::{Clock, SystemClock};
use common::properties::Live;
use common::service::{Next, Service};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use store::{
    AllMessages, GetRequest, Message, MessageStoreConfig, NoArrivals, RealDisk, Store, StoreOptions,
};
use tempfile::TempDir;

const TOPIC: &str = "BenchmarkTopic";
const PROPERTIES: &str = "UNIQ_KEY\u{1}7F000001000049DF0000000000000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}CLUSTER\u{1}DefaultCluster\u{2}";
const BODIES: [usize; 2] = [100, 1024];
/// Messages of a queue that is pulled from, and of one round of dispatch.
const MESSAGES: usize = 1024;

fn main() {
    divan::main();
}

/// One message into the log.
#[divan::bench(args = BODIES, sample_size = 1000)]
fn append(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let bench = Bench::open();
    let body = vec![b'x'; body_bytes];
    bencher
        .counter(BytesCount::new(body_bytes))
        .bench(|| bench.put(0, &body));
}

/// The same from four threads at once.
#[divan::bench(args = BODIES, threads = 4, sample_size = 1000)]
fn append_side_by_side(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let bench = Bench::open();
    let body = vec![b'x'; body_bytes];
    bencher
        .counter(BytesCount::new(body_bytes))
        .bench(|| bench.put(0, &body));
}

/// Queue entries, index entries and arrivals of 1,024 messages that came to so many queues in turn.
#[divan::bench(args = [1, 8, 1024])]
fn dispatch(bencher: Bencher<'_, '_>, queues: usize) {
    let bench = Bench::open();
    let body = [b'x'; 100];
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| {
            (0..MESSAGES).for_each(|number| bench.put(number % queues, &body));
            bench.store.ticks().dispatch
        })
        .bench_local_values(|follower| bench.dispatch(follower));
}

/// 32 messages out of the log into an answer.
#[divan::bench(args = BODIES, sample_size = 1000)]
fn pull(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let bench = Bench::open();
    let body = vec![b'x'; body_bytes];
    (0..MESSAGES).for_each(|_| bench.put(0, &body));
    bench.dispatch(bench.store.ticks().dispatch);
    let mut request = GetRequest {
        topic: TOPIC,
        queue_id: 0,
        offset: 0,
        max_messages: 32,
        max_bytes: None,
        filter: &AllMessages,
    };
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(32_usize)).bench_local(|| {
        out.clear();
        let outcome = bench.store.get(&request, &mut out);
        assert_eq!(outcome.message_count, 32);
        request.offset = outcome.next_begin_offset % MESSAGES as i64;
        black_box(out.len())
    });
}

/// A store that nobody but the benchmark drives.
struct Bench {
    store: Arc<Store>,
    clock: SystemClock,
    _directory: TempDir,
}

impl Bench {
    fn open() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = MessageStoreConfig {
            store_path_root_dir: directory.path().join("store").to_string_lossy().into_owned(),
            ..MessageStoreConfig::default()
        };
        let options = StoreOptions {
            config: Arc::new(Live::new(config)),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::new()),
            arrivals: Arc::new(NoArrivals),
        };
        Bench {
            store: Store::open(options).expect("an empty directory opens"),
            clock: SystemClock::new(),
            _directory: directory,
        }
    }

    fn put(&self, queue: usize, body: &[u8]) {
        let message = Message {
            topic: TOPIC,
            queue_id: i32::try_from(queue).expect("few queues"),
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 0,
            born_host: "127.0.0.1:1".parse().expect("an address"),
            store_host: "127.0.0.1:2".parse().expect("an address"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: PROPERTIES,
            body,
        };
        self.store.put(&message).expect("room for a message");
    }

    fn dispatch(&self, mut follower: impl Service) {
        let mut tick = || follower.tick(self.clock.now(), false);
        while tick().expect("dispatch succeeds") == Next::Again {}
    }
}
