//! What a power loss or a kill in the middle of recovery leaves of queue files, and that it costs no message.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use common::clock::Clock as _;
use common::service::Service as _;
use support::{Bench, bodies, dispatch, files, flush_all, message};

const MESSAGES: usize = 100;

/// A store whose queue has 13 files of 8 entries; dropped without a close, as by a crash.
fn crashed() -> Bench {
    let bench = Bench::small();
    let store = bench.open();
    for number in 0..MESSAGES {
        let body = format!("{number:03}");
        store
            .put(&message("T", 0, "KEYS\u{1}k\u{2}", body.as_bytes()))
            .unwrap();
    }
    dispatch(&store, &bench);
    // The queue's files are written, and the power goes before they are synced.
    bench.disk.faults().fails_flush.store(true, Ordering::SeqCst);
    assert!(store.ticks().flush_queues.tick(bench.clock.now(), true).is_err());
    bench.disk.faults().fails_flush.store(false, Ordering::SeqCst);
    bench
}

fn queue_files(bench: &Bench) -> Vec<PathBuf> {
    files(&bench.root().join("consumequeue").join("T").join("0"))
}

fn zero(path: &PathBuf) {
    let length = fs::metadata(path).unwrap().len();
    fs::write(path, vec![0; length as usize]).unwrap();
}

fn all() -> Vec<String> {
    (0..MESSAGES).map(|number| format!("{number:03}")).collect()
}

#[test]
fn queue_pages_that_never_reached_the_disk_are_built_anew() {
    for lost in [vec![0], vec![5], vec![9], vec![11, 12], (0..13).collect()] {
        let bench = crashed();
        let queue = queue_files(&bench);
        assert_eq!(queue.len(), 13);
        for number in &lost {
            zero(&queue[*number]);
        }
        let store = bench.open();
        assert_eq!(bodies(&store, "T", 0), all(), "without the files {lost:?}");
    }
}

#[test]
fn queue_pages_lost_after_the_checkpoint_are_built_anew() {
    let bench = Bench::small();
    let store = bench.open();
    for number in 0..MESSAGES {
        let body = format!("{number:03}");
        store.put(&message("T", 0, "", body.as_bytes())).unwrap();
        if number == 30 {
            dispatch(&store, &bench);
            flush_all(&store, &bench);
        }
    }
    dispatch(&store, &bench);
    drop(store);
    for path in &queue_files(&bench)[4..] {
        zero(path);
    }
    assert_eq!(bodies(&bench.open(), "T", 0), all());
}

#[test]
fn a_kill_while_recovery_cuts_a_queue_loses_none_of_its_beginning() {
    for kill_at in 2..9 {
        let bench = Bench::small();
        let store = bench.open();
        for number in 0..MESSAGES {
            let body = format!("{number:03}");
            store.put(&message("T", 0, "", body.as_bytes())).unwrap();
            if number == 30 {
                dispatch(&store, &bench);
                flush_all(&store, &bench);
            }
        }
        dispatch(&store, &bench);
        drop(store);
        bench.disk.faults().removals_left.store(kill_at, Ordering::SeqCst);
        let killed = bench.try_open();
        bench.disk.faults().removals_left.store(0, Ordering::SeqCst);
        drop(killed);
        let store = bench.open();
        assert_eq!(store.min_offset("T", 0), 0, "killed at removal {kill_at}");
        assert_eq!(bodies(&store, "T", 0), all(), "killed at removal {kill_at}");
    }
}

#[test]
fn a_damaged_entry_costs_its_message_only_and_leads_to_no_other_bytes() {
    let patterns: [&[u8]; 3] = [&[0; 20], &[0xFF; 20], &[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 90]];
    for pattern in patterns {
        let bench = Bench::small();
        let store = bench.open();
        for number in 0..MESSAGES {
            let body = format!("{number:03}");
            store.put(&message("T", 0, "", body.as_bytes())).unwrap();
        }
        dispatch(&store, &bench);
        store.close().unwrap();
        drop(store);
        let path = &queue_files(&bench)[3];
        let mut bytes = fs::read(path).unwrap();
        bytes[60..60 + pattern.len()].copy_from_slice(pattern);
        fs::write(path, bytes).unwrap();

        let mut expected = all();
        expected.remove(3 * 8 + 3);
        assert_eq!(bodies(&bench.open(), "T", 0), expected, "{pattern:?}");
    }
}
