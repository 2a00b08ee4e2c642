//! What a power loss or a kill in the middle of recovery leaves of queue files, and that it costs no message.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::clock::Clock as _;
use common::service::Service as _;
use store::Store;
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
    write_queues(&store, &bench);
    bench
}

/// The queues' files are written, as their records are on disk, and the power goes before they are synced.
fn write_queues(store: &Arc<Store>, bench: &Bench) {
    let mut ticks = store.ticks();
    ticks.flush.tick(bench.clock.now(), true).unwrap();
    // Too little to be flushed; the checkpoint says how far the log is on disk.
    ticks.flush_queues.tick(bench.clock.now(), false).unwrap();
    bench.disk.faults().fails_flush.store(true, Ordering::SeqCst);
    assert!(ticks.flush_queues.tick(bench.clock.now(), true).is_err());
    bench.disk.faults().fails_flush.store(false, Ordering::SeqCst);
}

/// As in the directory of a broker that keeps no note of its queues: they are looked into.
fn without_note(bench: &Bench) {
    fs::remove_dir_all(bench.root().join("queuenote")).unwrap();
}

fn queue_files(bench: &Bench) -> Vec<PathBuf> {
    files(&bench.root().join("consumequeue").join("T").join("0"))
}

fn zero(path: &PathBuf) {
    let length = fs::metadata(path).unwrap().len();
    fs::write(path, vec![0; length as usize]).unwrap();
}

/// Puts all messages, one a millisecond; the checkpoint is moved behind the one of this number.
fn put_all(store: &Arc<Store>, bench: &Bench, checkpoint_at: usize) {
    for number in 0..MESSAGES {
        let body = format!("{number:03}");
        bench.advance_ms(1);
        store.put(&message("T", 0, "", body.as_bytes())).unwrap();
        if number == checkpoint_at {
            dispatch(store, bench);
            flush_all(store, bench);
        }
    }
    dispatch(store, bench);
}

fn all() -> Vec<String> {
    (0..MESSAGES).map(|number| format!("{number:03}")).collect()
}

#[test]
fn queue_pages_that_never_reached_the_disk_are_built_anew() {
    for lost in [vec![0], vec![5], vec![9], vec![11, 12], (0..13).collect()] {
        for is_noted in [true, false] {
            let bench = crashed();
            let queue = queue_files(&bench);
            assert_eq!(queue.len(), 13);
            for number in &lost {
                zero(&queue[*number]);
            }
            if !is_noted {
                without_note(&bench);
            }
            let store = bench.open();
            assert_eq!(bodies(&store, "T", 0), all(), "without the files {lost:?}");
        }
    }
}

/// Entries stay out of the files while their records are not on the disk: the checkpoint must not say that they are in them.
#[test]
fn a_log_that_cannot_be_flushed_leaves_no_checkpoint_beyond_the_queues() {
    let bench = Bench::small();
    let store = bench.open();
    put_all(&store, &bench, 10);
    let log_files = files(&bench.root().join("commitlog")).len();
    assert_eq!(log_files, 3);
    let mut ticks = store.ticks();
    bench.disk.faults().fails_flush.store(true, Ordering::SeqCst);
    let _ = ticks.flush_queues.tick(bench.clock.now(), true);
    bench.disk.faults().fails_flush.store(false, Ordering::SeqCst);
    drop((store, ticks));
    let store = bench.open();
    assert_eq!(bodies(&store, "T", 0), all());
}

/// Its offset is zero, as where a checkpoint has none.
#[test]
fn a_checkpoint_at_the_first_record_has_everything_else_built_anew() {
    let bench = Bench::with(|config| {
        config.mapped_file_size_commit_log = 4096;
        config.commit_log_recover_max_num = 1;
    });
    let store = bench.open();
    put_all(&store, &bench, 0);
    drop(store);
    without_note(&bench);
    let store = bench.open();
    assert_eq!(bodies(&store, "T", 0), all());
}

/// A store whose checkpoint has 31 messages, and whose queue has 13 files.
fn crashed_after_a_checkpoint() -> Bench {
    let bench = Bench::small();
    let store = bench.open();
    put_all(&store, &bench, 30);
    write_queues(&store, &bench);
    drop(store);
    assert_eq!(queue_files(&bench).len(), 13);
    bench
}

#[test]
fn queue_pages_lost_after_the_checkpoint_are_built_anew() {
    for is_noted in [true, false] {
        let bench = crashed_after_a_checkpoint();
        for path in &queue_files(&bench)[4..] {
            zero(path);
        }
        if !is_noted {
            without_note(&bench);
        }
        assert_eq!(bodies(&bench.open(), "T", 0), all());
    }
}

#[test]
fn after_a_crash_no_queue_file_is_opened_that_was_noted() {
    let bench = crashed_after_a_checkpoint();
    let opens = || bench.disk.faults().queue_opens.load(Ordering::SeqCst);
    let before = opens();
    let store = bench.open();
    assert_eq!(opens(), before);
    assert_eq!(store.max_offset("T", 0), MESSAGES as i64);
    assert_eq!(bodies(&store, "T", 0), all());
    flush_all(&store, &bench);
    drop(store);
    without_note(&bench);
    assert_eq!(bodies(&bench.open(), "T", 0), all(), "the files hold the same");
}

/// How often a start opens a file of a queue.
fn opens_of_a_start(bench: &Bench) -> (u64, Arc<Store>) {
    let opens = || bench.disk.faults().queue_opens.load(Ordering::SeqCst);
    let before = opens();
    let store = bench.open();
    (opens() - before, store)
}

#[test]
fn a_new_store_that_is_killed_before_everything_was_flushed_once_is_built_from_its_log() {
    let bench = crashed();
    for _ in 0..2 {
        let (opens, store) = opens_of_a_start(&bench);
        assert_eq!(opens, 0);
        assert_eq!(bodies(&store, "T", 0), all());
    }
    fs::remove_file(&files(&bench.root().join("commitlog"))[0]).unwrap();
    let (opens, store) = opens_of_a_start(&bench);
    assert!(opens > 0, "the log does not tell everything");
    assert_eq!(store.max_offset("T", 0), MESSAGES as i64);
    assert!(store.min_offset("T", 0) > 0);
}

#[test]
fn queues_are_noted_soon_after_a_start_without_a_note_and_after_some_were_deleted() {
    let bench = crashed_after_a_checkpoint();
    without_note(&bench);
    let (opens, store) = opens_of_a_start(&bench);
    assert!(opens > 0);
    let flush_after_ms = |store: &Arc<Store>, ms| {
        bench.advance_ms(ms);
        let mut flush_queues = store.ticks().flush_queues;
        flush_queues.tick(bench.clock.now(), false).unwrap();
    };
    flush_after_ms(&store, 10_000);
    drop(store);
    let (opens, store) = opens_of_a_start(&bench);
    assert_eq!(opens, 0);

    store.put(&message("U", 0, "", b"a")).unwrap();
    dispatch(&store, &bench);
    flush_all(&store, &bench);
    store.delete_topic("U");
    flush_after_ms(&store, 10_000);
    drop(store);
    let (opens, store) = opens_of_a_start(&bench);
    assert_eq!(opens, 0);
    assert_eq!(bodies(&store, "T", 0), all());
}

/// The second time the note is of the time before the file went, and the third there is none.
#[test]
fn without_the_logs_first_file_a_start_opens_no_queue_and_each_says_the_same_minimum_when_it_is_asked() {
    let bench = crashed_after_a_checkpoint();
    let store = bench.open();
    flush_all(&store, &bench);
    drop(store);
    let log = files(&bench.root().join("commitlog"));
    fs::remove_file(&log[0]).unwrap();
    let mut minimums = Vec::new();
    for is_noted in [true, true, false] {
        if !is_noted {
            without_note(&bench);
        }
        let (opens, store) = opens_of_a_start(&bench);
        assert_eq!(opens == 0, is_noted);
        let min = store.min_offset("T", 0);
        assert_eq!(bodies(&store, "T", 0), all()[usize::try_from(min).unwrap()..]);
        minimums.push(min);
    }
    assert!(minimums[0] > 0);
    assert_eq!(minimums, [minimums[0]; 3]);
}

#[test]
fn retention_leaves_a_note_that_goes_with_what_is_left_of_the_log() {
    let bench = crashed();
    let store = bench.open();
    assert_eq!(store.delete_expired_files(true), 1);
    let min = store.min_offset("T", 0);
    drop(store);
    let (opens, store) = opens_of_a_start(&bench);
    assert_eq!(opens, 0);
    assert_eq!(
        (store.min_offset("T", 0), store.max_offset("T", 0)),
        (min, MESSAGES as i64)
    );
    assert!(min > 0);
    assert_eq!(bodies(&store, "T", 0), all()[usize::try_from(min).unwrap()..]);
}

/// What the queues' files hold beyond the end of the log must not come up again when the log has grown past it.
#[test]
fn entries_of_messages_that_the_disk_lost_against_its_word_go_too() {
    let bench = crashed_after_a_checkpoint();
    let log = files(&bench.root().join("commitlog"));
    let kept = 40;
    let mut messages = 0;
    for path in &log {
        let mut bytes = fs::read(path).unwrap();
        let mut at = 0;
        while let Ok(record) = store::record::decode(&bytes[at..]) {
            let size = record.size_bytes as usize;
            messages += 1;
            if messages > kept {
                bytes[at..at + size].fill(0);
            }
            at += size;
        }
        if messages > kept {
            bytes[at..].fill(0);
        }
        fs::write(path, bytes).unwrap();
    }
    let store = bench.open();
    assert_eq!(bodies(&store, "T", 0), all()[..kept]);
    for number in kept..MESSAGES {
        let body = format!("{number:03}");
        store.put(&message("U", 0, "", body.as_bytes())).unwrap();
    }
    dispatch(&store, &bench);
    store.close().unwrap();
    drop(store);
    without_note(&bench);
    let store = bench.open();
    assert_eq!(bodies(&store, "T", 0), all()[..kept]);
    assert_eq!(bodies(&store, "U", 0), all()[kept..]);
}

#[test]
fn queues_that_were_taken_away_after_a_crash_are_built_anew() {
    let bench = crashed();
    fs::remove_dir_all(bench.root().join("consumequeue")).unwrap();
    assert_eq!(bodies(&bench.open(), "T", 0), all());

    let bench = crashed_after_a_checkpoint();
    fs::remove_dir_all(bench.root().join("consumequeue").join("T")).unwrap();
    fs::remove_file(bench.root().join("checkpoint")).unwrap();
    assert_eq!(bodies(&bench.open(), "T", 0), all());
}

#[test]
fn a_topic_deleted_after_the_note_stays_deleted() {
    let bench = Bench::small();
    let store = bench.open();
    for topic in ["T", "U"] {
        store.put(&message(topic, 0, "", b"a")).unwrap();
    }
    dispatch(&store, &bench);
    flush_all(&store, &bench);
    store.delete_topic("T");
    drop(store);
    let store = bench.open();
    assert_eq!(
        (store.topics(), bodies(&store, "U", 0)),
        (vec!["U".to_owned()], vec!["a".to_owned()])
    );
}

#[test]
fn a_queue_file_lost_before_later_ones_costs_nothing_of_those_before_it() {
    for lost in 4..12 {
        for is_noted in [true, false] {
            let bench = crashed_after_a_checkpoint();
            fs::write(&queue_files(&bench)[lost], b"").unwrap();
            if !is_noted {
                without_note(&bench);
            }
            let store = bench.open();
            assert_eq!(store.min_offset("T", 0), 0, "without the file {lost}");
            assert_eq!(bodies(&store, "T", 0), all(), "without the file {lost}");
        }
    }
}

#[test]
fn a_kill_after_damage_was_repaired_loses_none_of_the_queues_that_were_built_anew() {
    let bench = Bench::small();
    let store = bench.open();
    let mut damaged = None;
    for number in 0..MESSAGES {
        let body = format!("{number:03}");
        let appended = store
            .put(&message("T", 0, "KEYS\u{1}k\u{2}", body.as_bytes()))
            .unwrap();
        if number == 90 {
            dispatch(&store, &bench);
            flush_all(&store, &bench);
            damaged = Some(appended.physical_offset);
        }
    }
    dispatch(&store, &bench);
    let at = damaged.unwrap();
    drop(store);
    // Without the index everything is scanned, and the damage has all queues built anew.
    fs::remove_dir_all(bench.root().join("index")).unwrap();
    let size = bench.config.mapped_file_size_commit_log as u64;
    let path = bench
        .root()
        .join("commitlog")
        .join(format!("{:020}", at.0 - at.0 % size));
    let mut bytes = fs::read(&path).unwrap();
    let from = (at.0 % size) as usize;
    let body = bytes[from..].windows(3).position(|word| word == b"090").unwrap();
    bytes[from + body] ^= 1;
    fs::write(&path, bytes).unwrap();
    drop(bench.open());
    let store = bench.open();
    let wanted: Vec<String> = all().into_iter().filter(|body| body != "090").collect();
    assert_eq!(bodies(&store, "T", 0), wanted);
}

#[test]
fn a_kill_while_recovery_cuts_a_queue_loses_none_of_its_beginning() {
    for kill_at in 2..9 {
        let bench = crashed_after_a_checkpoint();
        without_note(&bench);
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
