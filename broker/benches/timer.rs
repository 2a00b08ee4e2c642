//! How late timer messages come, and what a million of them cost: `cargo bench -p broker --bench timer`.
//!
//! ```text
//!   fill   PENDING messages due in one to two hours           memory of the process, file system pages apart
//!   load   RATE a second for SECONDS, due in 1 to 5 s         lateness = time stored in its topic - time it was due
//! ```
//!
//! A broker in this process with all its services and no sockets, in a temporary directory (`TMPDIR` chooses the disk). Keys:
//! `PENDING`, `RATE`, `SECONDS`, `PLAIN_RATE` for ordinary messages beside them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::Broker;
use broker::config::{Configuration, Settings};
use common::clock::{Clock, SystemClock};
use common::message::properties::{self, name};
use common::names::TIMER_TOPIC;
use common::random::Random;
use store::record::decode;
use store::{Message, QueueOffset, RealDisk, Store};

fn main() {
    // `cargo test` runs benches too: with this argument missing there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (pending, rate) = (number("PENDING", 1_000_000), number("RATE", 5_000));
    let (seconds, plain_rate) = (number("SECONDS", 30), number("PLAIN_RATE", 5_000));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let broker = open(directory.path(), &clock);
    let services = broker::services::start(&broker).expect("threads");
    let store = broker.store();

    println!("empty: {}", memory());
    let started = Instant::now();
    let random = Random::new(7);
    for _ in 0..pending {
        let due_ms = clock.wall_ms() + 3_600_000 + i64::from(random.below(3_600_000));
        put_timer(store, "Waiting", due_ms);
    }
    wait_until_filed(&broker);
    println!(
        "{pending} pending, filed in {:.1} s: {}",
        started.elapsed().as_secs_f64(),
        memory()
    );

    load(store, &*clock, &random, rate * seconds, rate, plain_rate);
    std::thread::sleep(Duration::from_secs(7));
    println!("after the load: {}", memory());
    report(&lateness(store), rate * seconds);
    services.stop();
    store.close().expect("a clean stop");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.parse().expect("a number"))
}

fn open(root: &Path, clock: &Arc<dyn Clock>) -> Arc<Broker> {
    let mut settings = Settings::default();
    for (key, value) in [
        ("storePathRootDir", root.display().to_string()),
        ("brokerName", "bench".to_owned()),
        ("brokerIP1", "127.0.0.1".to_owned()),
        ("cleanFileForciblyEnable", "false".to_owned()),
    ] {
        assert!(
            settings.set("bench", key, &value).expect("a value that fits"),
            "unknown key {key}"
        );
    }
    settings.settle().expect("settings that a start accepts");
    let identity = settings.identity().expect("an identity");
    let configuration = Configuration::new(settings, Some(&root.join("broker.conf")), Arc::clone(clock));
    Broker::open(configuration, identity, Arc::new(RealDisk), Arc::clone(clock)).expect("a broker")
}

/// Sends steadily: a hundredth of a second's messages each 10 ms.
fn load(store: &Store, clock: &dyn Clock, random: &Random, messages: u64, rate: u64, plain_rate: u64) {
    let started = Instant::now();
    let mut sent = 0;
    while sent < messages {
        let wanted = (started.elapsed().as_millis() as u64 * rate / 1_000).min(messages);
        for number in sent..wanted {
            put_timer(
                store,
                "Soon",
                clock.wall_ms() + 1_000 + i64::from(random.below(4_000)),
            );
            for _ in 0..(plain_rate * (number + 1) / rate).saturating_sub(plain_rate * number / rate) {
                put(store, ("Plain", 0), "");
            }
        }
        sent = wanted;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn put_timer(store: &Store, topic: &str, due_ms: i64) {
    let mut text = String::new();
    for (name, value) in [
        (name::UNIQ_KEY, format!("7F000001000049DF{due_ms:016X}")),
        (name::TIMER_DELIVER_MS, due_ms.to_string()),
        (name::TIMER_OUT_MS, ((due_ms - 1) / 1_000 * 1_000).to_string()),
        (name::REAL_TOPIC, topic.to_owned()),
        (name::REAL_QUEUE_ID, "0".to_owned()),
    ] {
        properties::push(&mut text, name, &value);
    }
    put(store, (TIMER_TOPIC, 0), &text);
}

fn put(store: &Store, (topic, queue_id): (&str, i32), properties: &str) {
    let host = SocketAddr::from(([127, 0, 0, 1], 10_911));
    let message = Message {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties,
        body: &[7; 256],
    };
    store.put(&message).expect("room on the disk");
}

fn wait_until_filed(broker: &Broker) {
    let started = Instant::now();
    while broker.timer_offset_behind() > 0
        || broker.store().state().dispatched < broker.store().state().commit_log_max
    {
        assert!(
            started.elapsed() < Duration::from_secs(600),
            "filing takes too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Of each delivered message, ms between due and stored.
fn lateness(store: &Store) -> Vec<i64> {
    let mut late = Vec::new();
    let mut from = QueueOffset(0);
    loop {
        let entries = store.queue_entries("Soon", 0, from, 10_000);
        let Some(last) = entries.last() else { break };
        from = QueueOffset(last.queue_offset.0 + 1);
        for entry in &entries {
            let bytes = store.read_at(entry.physical_offset).expect("a record");
            let record = decode(&bytes).expect("a record");
            let due: i64 = record
                .property(name::TIMER_DELIVER_MS)
                .expect("its time")
                .parse()
                .expect("a number");
            late.push(record.store_timestamp_ms - due);
        }
    }
    late.sort_unstable();
    late
}

fn report(late: &[i64], sent: u64) {
    assert_eq!(late.len() as u64, sent, "each came once");
    assert!(late[0] >= 0, "{} ms early", -late[0]);
    let percentile = |per_mille: usize| late[(late.len() - 1) * per_mille / 1_000];
    println!(
        "{} messages late by: p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        late.len(),
        percentile(500),
        percentile(990),
        percentile(999),
        percentile(1_000)
    );
}

/// What the process itself needs, and the pages of mapped files it has touched.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        kib / 1024
    };
    format!(
        "{} MiB of its own, {} MiB of mapped files",
        of("RssAnon"),
        of("RssFile") + of("RssShmem")
    )
}
