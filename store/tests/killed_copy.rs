//! kill -9 of a process that copies batches into the log: what is there is the beginning of what was put, never a later part alone.
//!
//! Copying bytes is no single step, and where it is cut short the first of them may be missing while later ones are there: libc stores
//! the beginning of a long copy last. Nobody makes pages ahead here, so that most kills come in the middle of one.

mod support;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::random::Random;
use store::record::decode;
use store::{BatchItem, MessageStoreConfig};
use support::{Bench, dispatch, message, read_queue};

/// Set for the process that is to be killed: where its store is.
const VICTIM: &str = "KILLED_COPY_STORE";
const ROUNDS: u64 = 8;
const BATCH: usize = 20;
const BODY_BYTES: usize = 1500;

#[test]
fn a_batch_cut_short_by_a_kill_leaves_its_first_messages() {
    let small = |config: &mut MessageStoreConfig| config.mapped_file_size_commit_log = 32 * 1024 * 1024;
    if let Ok(root) = std::env::var(VICTIM) {
        put_batches(&Bench::with(|config| {
            small(config);
            config.store_path_root_dir = root;
        }));
    }
    let random = Random::new(0x5EED_0009);
    for round in 0..ROUNDS {
        let bench = Bench::with(small);
        let mut victim = Command::new(std::env::current_exe().expect("a test is a program"))
            .arg("a_batch_cut_short_by_a_kill_leaves_its_first_messages")
            .env(VICTIM, bench.root())
            .env("TMPDIR", bench.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a test can be started again");
        let log = bench.root().join("commitlog").join("0".repeat(20));
        while !log.exists() {
            assert_eq!(
                victim.try_wait().expect("it can be asked"),
                None,
                "it puts until it is killed"
            );
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(random.next_u64() % 20));
        victim.kill().expect("it can be killed");
        victim.wait().expect("it can be waited for");

        let store = bench.open();
        assert_eq!(store.damage(), [], "round {round}: a kill damages nothing");
        dispatch(&store, &bench);
        for (number, record) in read_queue(&store, "T", 0).iter().enumerate() {
            let record = decode(record).expect("a whole record");
            assert_eq!(record.queue_offset.0, number as u64, "round {round}");
        }
    }
}

/// Puts one batch after another until the process is killed.
fn put_batches(bench: &Bench) -> ! {
    let store = bench.open();
    let body = [b'x'; BODY_BYTES];
    let item = BatchItem {
        flag: 0,
        properties: "",
        body: &body,
    };
    loop {
        store
            .put_batch(&message("T", 0, "", b""), &[item; BATCH])
            .expect("there is room for what is put before the kill");
    }
}
