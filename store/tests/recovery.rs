//! What a crash, a torn write or a flipped bit costs, and what it must not cost.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::service::Service;
use proptest::prelude::*;
use store::record::decode;
use store::{DAMAGED_TOPIC, Damage, OpenError, PhysicalOffset, QueueOffset, Store};
use support::{Bench, bodies, dispatch, files, flush_all, message, properties, read_queue};

/// A store with `count` messages of some 180 bytes in queue 0 of topic T, dispatched. Gives where each begins, and the end.
fn filled(bench: &Bench, count: usize) -> Vec<u64> {
    let store = bench.open();
    let mut places = Vec::new();
    for number in 0..count {
        let appended = put(&store, number);
        places.push(appended.physical_offset.0);
        if number + 1 == count {
            places.push(appended.end.0);
        }
        bench.advance_ms(10);
    }
    dispatch(&store, bench);
    places
}

fn put(store: &Store, number: usize) -> store::Appended {
    let key = format!("k{number}");
    let text = properties(&[("UNIQ_KEY", &key), ("TAGS", "tag")]);
    let body = format!("message-{number:04}-{}", "x".repeat(20));
    store.put(&message("T", 0, &text, body.as_bytes())).unwrap()
}

fn numbers(store: &Store) -> Vec<usize> {
    bodies(store, "T", 0)
        .iter()
        .map(|body| body[8..12].parse().unwrap())
        .collect()
}

fn number_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn log_file(bench: &Bench, start: u64) -> PathBuf {
    bench.root().join("commitlog").join(format!("{start:020}"))
}

/// Changes the log's bytes while the store is down.
fn edit(bench: &Bench, position: u64, change: impl FnOnce(&mut [u8])) {
    let size = bench.config.mapped_file_size_commit_log as u64;
    let path = log_file(bench, position - position % size);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes[usize::try_from(position % size).unwrap()..]);
    std::fs::write(&path, bytes).unwrap();
}

/// What is left when message `lost` is not there, with the offsets of the others unchanged.
fn assert_only_lost(store: &Store, count: usize, lost: usize) {
    let mut expected: Vec<usize> = (0..count).collect();
    expected.remove(lost);
    assert_eq!(numbers(store), expected);
    for record in read_queue(store, "T", 0) {
        let record = decode(&record).unwrap();
        assert_eq!(
            record.queue_offset.0.to_string(),
            record.property("UNIQ_KEY").unwrap()[1..]
        );
    }
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_last_message_only() {
    let bench = Bench::small();
    let places = filled(&bench, 5);
    let (last, end) = (places[4], places[5]);
    let whole = std::fs::read(log_file(&bench, 0)).unwrap();
    for torn_at in last..end {
        edit(&bench, torn_at, |bytes| bytes.fill(0));
        let store = bench.open();
        // A record whose tail was zeros anyway is not torn.
        if store.state().commit_log_max.0 == end {
            assert!(
                torn_at > end - 8,
                "nothing but the last property bytes can be missing unnoticed"
            );
        }
        assert_eq!(numbers(&store), [0, 1, 2, 3], "torn at {torn_at}");
        assert_eq!(
            (store.state().commit_log_max.0, store.max_offset("T", 0)),
            (last, 4)
        );
        assert_eq!(put(&store, 4).queue_offset, QueueOffset(4));
        dispatch(&store, &bench);
        assert_eq!(numbers(&store), [0, 1, 2, 3, 4]);
        drop(store);
        std::fs::write(log_file(&bench, 0), &whole).unwrap();
    }
}

#[test]
fn what_recovery_cuts_off_is_zeros_afterwards() {
    let bench = Bench::small();
    let places = filled(&bench, 5);
    edit(&bench, places[4], |bytes| bytes[10] ^= 1);
    drop(bench.open());
    let bytes = std::fs::read(log_file(&bench, 0)).unwrap();
    let end = usize::try_from(places[4]).unwrap();
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
}

/// Every field of a record that recovery can check: a flipped bit in it costs this message.
#[test]
fn a_flipped_bit_in_the_middle_costs_one_message() {
    let bench = Bench::small();
    let places = filled(&bench, 12);
    let (begin, end) = (places[5], places[6]);
    let whole = std::fs::read(log_file(&bench, 0)).unwrap();
    // Fields without any redundancy: queue id, flag, times, hosts, reconsume times, prepared offset.
    let unchecked = |at: u64| matches!(at, 12..20 | 36..84) || at >= (end - begin) - 40;
    for at in (0..end - begin).filter(|at| !unchecked(*at)) {
        edit(&bench, begin + at, |bytes| bytes[0] ^= 0x01);
        let store = bench.open();
        assert_only_lost(&store, 12, 5);
        let damage = Damage {
            begin: PhysicalOffset(begin),
            end: PhysicalOffset(end),
        };
        assert_eq!(store.damage(), [damage], "byte {at} of the record");
        drop(store);
        std::fs::write(log_file(&bench, 0), &whole).unwrap();
    }
}

#[test]
fn a_damaged_range_is_reported_once_and_can_be_passed_afterwards() {
    let bench = Bench::small();
    let places = filled(&bench, 12);
    edit(&bench, places[5] + 100, |bytes| bytes[..100].fill(0xFF));
    let store = bench.open();
    let damage = Damage {
        begin: PhysicalOffset(places[5]),
        end: PhysicalOffset(places[7]),
    };
    assert_eq!(store.damage(), [damage]);
    let filler = store.read_at(PhysicalOffset(places[5])).unwrap();
    let filler = decode(&filler).unwrap();
    assert_eq!(
        (filler.topic, u64::from(filler.size_bytes)),
        (DAMAGED_TOPIC, places[7] - places[5])
    );
    assert!(filler.body_matches_crc() && !filler.is_queued());
    store.close().unwrap();
    drop(store);

    for _ in 0..2 {
        // As after a crash: the whole log is scanned.
        std::fs::write(bench.root().join("abort"), "1").unwrap();
        std::fs::remove_file(bench.root().join("checkpoint")).unwrap();
        let store = bench.open();
        assert_eq!(store.damage(), []);
        assert_eq!(numbers(&store), [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]);
        assert_eq!(store.topics(), ["T"]);
    }
}

#[test]
fn damage_after_a_clean_stop_costs_one_message_too() {
    let bench = Bench::small();
    let places = filled(&bench, 12);
    bench.open().close().unwrap();
    edit(&bench, places[5] + 95, |bytes| bytes[0] ^= 1);
    let store = bench.open();
    assert_only_lost(&store, 12, 5);
    assert_eq!(store.damage().len(), 1);
    let mut out = Vec::new();
    store.query_by_key("T", "k5", None, 10, 0, i64::MAX, &mut out);
    assert!(out.is_empty(), "the index has forgotten it");
}

#[test]
fn damage_at_the_end_and_at_the_beginning_of_a_file_costs_what_it_hits() {
    let bench = Bench::small();
    let places = filled(&bench, 60);
    let first_in_file = places.iter().position(|place| *place == 4096).unwrap();
    for (from, to, lost) in [
        (first_in_file - 1, first_in_file - 1, 1),
        (first_in_file, first_in_file, 1),
        (first_in_file - 1, first_in_file, 2),
    ] {
        let bench = Bench::small();
        let places = filled(&bench, 60);
        for place in [places[from], places[to]] {
            edit(&bench, place, |bytes| bytes[..30].fill(0xAA));
        }
        let store = bench.open();
        let expected: Vec<usize> = (0..60).filter(|number| !(from..=to).contains(number)).collect();
        assert_eq!(numbers(&store), expected);
        assert_eq!(expected.len(), 60 - lost);
        assert_eq!(put(&store, 60).queue_offset, QueueOffset(60));
    }
}

#[test]
fn a_file_full_of_garbage_costs_its_own_messages() {
    let bench = Bench::small();
    let places = filled(&bench, 80);
    edit(&bench, 4096, |bytes| bytes[..4096].fill(0x5A));
    let expected: Vec<usize> = (0..80)
        .filter(|number| !(4096..8192).contains(&places[*number]))
        .collect();
    for _ in 0..2 {
        assert_eq!(numbers(&bench.open()), expected);
    }
}

#[test]
fn a_queue_offset_that_contradicts_its_neighbours_is_not_believed() {
    let bench = Bench::small();
    let places = filled(&bench, 12);
    for flipped in [0x02, 0x40] {
        edit(&bench, places[5] + 27, |bytes| bytes[0] ^= flipped);
        let store = bench.open();
        assert_only_lost(&store, 12, 5);
        drop(store);
        let whole = filled_bytes(12);
        std::fs::write(log_file(&bench, 0), whole).unwrap();
    }
}

fn filled_bytes(count: usize) -> Vec<u8> {
    let bench = Bench::small();
    filled(&bench, count);
    std::fs::read(log_file(&bench, 0)).unwrap()
}

/// The reference leaves what it cuts off where it is and writes over it: records of an earlier generation follow the end.
#[test]
fn records_of_an_earlier_generation_do_not_come_back() {
    let earlier = Bench::small();
    let places = filled(&earlier, 8);
    let old = std::fs::read(log_file(&earlier, 0)).unwrap();

    // The later generation shares four messages, then goes on with two shorter ones.
    let later = Bench::small();
    filled(&later, 4);
    later.advance_ms(60_000);
    let store = later.open();
    for body in ["short-a", "short-b"] {
        store.put(&message("T", 0, "", body.as_bytes())).unwrap();
    }
    let end = store.state().commit_log_max.0;
    drop(store);
    assert!(
        places[4] < end && end < places[6],
        "the new records end inside the old ones"
    );
    edit(&later, end, |bytes| {
        let end = usize::try_from(end).unwrap();
        bytes.copy_from_slice(&old[end..]);
    });

    let store = later.open();
    assert_eq!(store.state().commit_log_max.0, end);
    assert_eq!(store.max_offset("T", 0), 6);
    assert_eq!(bodies(&store, "T", 0)[4..], ["short-a", "short-b"]);
}

#[test]
fn messages_beyond_a_page_that_a_crash_lost_are_kept() {
    let bench = Bench::with(|config| config.mapped_file_size_commit_log = 64 * 1024);
    let places = filled(&bench, 100);
    // The third page never reached the disk, later ones did.
    edit(&bench, 8192, |bytes| bytes[..4096].fill(0));
    let lost = |number: usize| places[number] < 12_288 && places[number + 1] > 8192;
    let expected: Vec<usize> = (0..100).filter(|number| !lost(*number)).collect();
    let store = bench.open();
    assert_eq!(numbers(&store), expected);
    assert_eq!(put(&store, 100).queue_offset, QueueOffset(100));
}

#[test]
fn a_deleted_topic_stays_deleted_through_a_crash() {
    let bench = Bench::small();
    filled(&bench, 5);
    let store = bench.open();
    assert_eq!(store.delete_topic("T"), 1);
    assert_eq!(store.topics(), [] as [String; 0]);
    assert_eq!(put(&store, 0).queue_offset, QueueOffset(0));
    drop(store);
    let store = bench.open();
    assert_eq!((numbers(&store), store.max_offset("T", 0)), (vec![0], 1));
}

/// The reference has no list of deleted topics: a queue that begins at 0 again is one that was deleted in between.
#[test]
fn a_queue_that_begins_again_in_the_log_begins_again() {
    let bench = Bench::small();
    filled(&bench, 5);
    let store = bench.open();
    store.delete_topic("T");
    for number in 10..13 {
        put(&store, number);
    }
    drop(store);
    std::fs::remove_file(bench.root().join("deletedTopics")).unwrap();
    let store = bench.open();
    assert_eq!((numbers(&store), store.max_offset("T", 0)), (vec![10, 11, 12], 3));
}

#[test]
fn without_a_log_there_are_no_queues() {
    let bench = Bench::small();
    filled(&bench, 5);
    std::fs::remove_dir_all(bench.root().join("commitlog")).unwrap();
    let store = bench.open();
    assert_eq!((store.topics(), store.state().commit_log_max.0), (Vec::new(), 0));
    assert_eq!(put(&store, 0).queue_offset, QueueOffset(0));
}

#[test]
fn an_open_store_cannot_be_opened_again() {
    let bench = Bench::small();
    let store = bench.open();
    let error = bench.try_open().unwrap_err();
    assert!(matches!(&error, OpenError::Locked { lock_file } if lock_file.ends_with("store/lock")));
    assert!(
        error
            .to_string()
            .contains("stop it, or set another storePathRootDir"),
        "{error}"
    );
    store.close().unwrap();
    assert!(bench.try_open().is_ok(), "a closed store has let go of its lock");
}

#[test]
fn only_a_clean_stop_removes_the_abort_file_and_the_spare_file() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, 0);
    support::run(&mut store.ticks().allocate, &*bench.clock);
    let abort = bench.root().join("abort");
    assert_eq!(
        std::fs::read_to_string(&abort).unwrap(),
        std::process::id().to_string()
    );
    assert_eq!(
        files(&bench.root().join("commitlog")).len(),
        2,
        "one in use, one spare"
    );
    store.close().unwrap();
    assert!(!abort.exists());
    assert_eq!(files(&bench.root().join("commitlog")).len(), 1);
    assert_eq!(std::fs::read(bench.root().join("lock")).unwrap(), b"lock");
}

#[test]
fn a_message_that_was_not_dispatched_before_a_clean_stop_is_afterwards() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, 0);
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    assert_eq!(numbers(&store), [0]);
    assert_eq!(
        bench.arrivals.0.lock().unwrap().len(),
        1,
        "recovery itself reports no arrivals"
    );
}

/// In the first minute of a store the checkpoint has a time but no offset.
#[test]
fn messages_of_the_checkpoints_millisecond_come_back() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, 0);
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    for number in 1..40 {
        put(&store, number);
    }
    assert!(
        store.state().commit_log_max.0 > 4096,
        "the second file begins in the same millisecond"
    );
    drop(store);
    assert_eq!(numbers(&bench.open()), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_sector_missing_in_a_records_properties_costs_that_record() {
    let bench = Bench::small();
    let store = bench.open();
    let long = "v".repeat(1500);
    let text = properties(&[("UNIQ_KEY", "k0"), ("long", &long), ("last", "x")]);
    store.put(&message("T", 0, &text, b"message-0000-")).unwrap();
    let second = store.put(&message("T", 0, "", b"message-0001-")).unwrap();
    drop(store);
    edit(&bench, 0, |bytes| bytes[512..1024].fill(0));
    let store = bench.open();
    let (begin, end) = (PhysicalOffset(0), second.physical_offset);
    assert_eq!(store.damage(), [Damage { begin, end }]);
    assert_eq!(numbers(&store), [1]);
}

/// The reference, which goes on after us, may begin behind what we cut, as the index's time has moved on.
#[test]
fn what_a_start_takes_away_from_the_queues_is_not_on_disk_by_the_checkpoint_either() {
    for dispatched_known in [true, false] {
        let bench = Bench::with(|config| {
            config.mapped_file_size_commit_log = 4096;
            config.mapped_file_size_consume_queue = 20 * 8;
            config.max_hash_slot_num = 16;
            config.max_index_num = 32;
            config.message_index_safe = true;
        });
        filled(&bench, 60);
        let store = bench.open();
        flush_all(&store, &bench);
        drop(store);
        // A Java broker's: it knows nothing of our numbers.
        let path = bench.root().join("checkpoint");
        let mut checkpoint = std::fs::read(&path).unwrap();
        checkpoint[48..].fill(0);
        if !dispatched_known {
            checkpoint[40..].fill(0);
        }
        std::fs::write(&path, &checkpoint).unwrap();

        let store = bench.open();
        assert_eq!(numbers(&store), Vec::from_iter(0..60));
        drop(store);
        let checkpoint = std::fs::read(&path).unwrap();
        let in_files: Vec<i64> = files(&bench.root().join("consumequeue/T/0"))
            .iter()
            .flat_map(|file| {
                std::fs::read(file)
                    .unwrap()
                    .chunks(20)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .filter(|entry| entry[8..12] != [0; 4])
            .map(|entry| number_at(&entry, 0))
            .collect();
        let lost = numbers(&bench.open()).len() - in_files.len();
        let end = in_files.last().copied().unwrap_or(0);
        let next_file = (end / 4096 + 1) * 4096;
        assert!(
            lost > 0,
            "this start took entries away and had no time to write them"
        );
        assert!(
            number_at(&checkpoint, 40) <= next_file && number_at(&checkpoint, 8) == 0,
            "entries end at {end}, the checkpoint says {}",
            number_at(&checkpoint, 40)
        );
    }
}

/// With files of a gigabyte, the file that holds the checkpoint's record is most of the log.
#[test]
fn recovery_reads_only_what_the_checkpoint_leaves_open() {
    let bench = Bench::with(|config| {
        config.mapped_file_size_commit_log = 1 << 16;
        config.max_hash_slot_num = 16;
        config.max_index_num = 1000;
    });
    let places = filled(&bench, 100);
    let store = bench.open();
    flush_all(&store, &bench);
    for number in 100..120 {
        put(&store, number);
    }
    dispatch(&store, &bench);
    drop(store);
    // Damage before the checkpoint's record is not looked for, damage behind it is.
    edit(&bench, places[50], |bytes| bytes[..8].fill(0xff));
    edit(&bench, places[100], |bytes| bytes[..8].fill(0xff));
    let store = bench.open();
    let (begin, end) = (PhysicalOffset(places[100]), store.damage()[0].end);
    assert_eq!(store.damage(), [Damage { begin, end }]);
    let expected: Vec<usize> = (0..120).filter(|number| ![50, 100].contains(number)).collect();
    assert_eq!(numbers(&store), expected);
    for number in [0, 49, 99, 101, 119] {
        let mut found = Vec::new();
        store.query_by_key("T", &format!("k{number}"), None, 8, 0, i64::MAX, &mut found);
        assert!(!found.is_empty(), "k{number}");
    }
}

/// The reference, after a crash, deletes every index file that ends later than the checkpoint says, wherever it stands.
#[test]
fn a_recovered_index_leaves_no_hole_when_the_reference_recovers_it() {
    let bench = Bench::small();
    let _places = filled(&bench, 40);
    let store = bench.open();
    for number in 40..60 {
        put(&store, number);
        bench.advance_ms(1);
    }
    dispatch(&store, &bench);
    drop(store);
    drop(bench.open());

    let checkpoint = std::fs::read(bench.root().join("checkpoint")).unwrap();
    let index: Vec<Vec<u8>> = files(&bench.root().join("index"))
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(index.len() > 3, "{} files", index.len());
    let ends: Vec<i64> = index.iter().map(|bytes| number_at(bytes, 8)).collect();
    assert!(ends.is_sorted(), "{ends:?}");
    let full = &ends[..ends.len() - 1];
    assert!(
        full.iter().all(|end| *end <= number_at(&checkpoint, 16)),
        "{full:?} {}",
        number_at(&checkpoint, 16)
    );
}

// ---- power loss ----

/// What the disk holds: the state of each file when it was last synced.
#[derive(Default)]
struct Synced(BTreeMap<PathBuf, Vec<u8>>);

impl Synced {
    fn take(&mut self, root: &Path, is_covered: impl Fn(&Path) -> bool + Copy) {
        for path in files(root) {
            if path.is_dir() {
                self.take(&path, is_covered);
            } else if is_covered(&path) {
                self.0.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }

    /// Every page that was not synced since it changed is there or not, as `coin` says.
    fn crash(&self, root: &Path, coin: &mut impl FnMut() -> bool) {
        for path in files(root) {
            if path.is_dir() {
                self.crash(&path, coin);
                continue;
            }
            let mut bytes = std::fs::read(&path).unwrap();
            let old = self.0.get(&path).cloned().unwrap_or_else(|| vec![0; bytes.len()]);
            for (number, page) in bytes.chunks_mut(4096).enumerate() {
                if coin() {
                    let start = number * 4096;
                    page.copy_from_slice(&old[start..start + page.len()]);
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(support::cases(24))]
    /// Messages that were flushed survive, whole and in their places; what is there beyond them is what was put.
    #[test]
    fn a_power_loss_costs_nothing_that_was_flushed(
        steps in prop::collection::vec((0u8..10, 1usize..12), 1..25), seed in any::<u64>(), is_noted in any::<bool>(),
    ) {
        let bench = Bench::with(|config| {
            config.mapped_file_size_commit_log = 16 * 1024;
            config.mapped_file_size_consume_queue = 20 * 50;
            config.max_hash_slot_num = 50;
            config.max_index_num = 60;
        });
        let store = bench.open();
        let mut synced = Synced::default();
        synced.take(&bench.root(), |_| true);
        let (mut count, mut flushed) = (0, 0);
        for (kind, puts) in steps {
            match kind {
                0..6 => {
                    for _ in 0..puts {
                        put(&store, count);
                        count += 1;
                    }
                }
                6 | 7 => dispatch(&store, &bench),
                8 => {
                    store.ticks().flush.tick(common::clock::Clock::now(&*bench.clock), true).unwrap();
                    synced.take(&bench.root(), |path| path.parent().unwrap().ends_with("commitlog"));
                    flushed = count;
                }
                _ => {
                    flush_all(&store, &bench);
                    synced.take(&bench.root(), |_| true);
                    flushed = count;
                }
            }
            bench.advance_ms(100);
        }
        drop(store);
        let abort = bench.root().join("abort");
        let (abort_made, abort_text) = (std::fs::metadata(&abort).unwrap().modified().unwrap(), std::fs::read(&abort).unwrap());
        let mut state = seed | 1;
        synced.crash(&bench.root(), &mut || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 0
        });
        // Names that are always synced before they matter.
        std::fs::write(&abort, abort_text).unwrap();
        if is_noted {
            let times = std::fs::FileTimes::new().set_modified(abort_made);
            std::fs::File::options().write(true).open(&abort).unwrap().set_times(times).unwrap();
        }

        let store = bench.open();
        let found = numbers(&store);
        prop_assert_eq!(&found[..flushed.min(found.len())], &(0..flushed).collect::<Vec<_>>()[..]);
        prop_assert!(found.is_sorted() && found.iter().all(|number| *number < count), "{:?}", found);
        for record in read_queue(&store, "T", 0) {
            let record = decode(&record).unwrap();
            prop_assert!(record.body_matches_crc());
            let key = format!("k{}", record.queue_offset.0);
            prop_assert_eq!(record.property("UNIQ_KEY"), Some(&key[..]));
            let mut out = Vec::new();
            store.query_by_key("T", &key, None, 64, 0, i64::MAX, &mut out);
            let hits = support::split(&out).into_iter().map(|hit| decode(hit).unwrap());
            prop_assert_eq!(hits.filter(|hit| hit.property("UNIQ_KEY") == Some(&key[..])).count(), 1, "{}", key);
        }
        let next = u64::try_from(store.max_offset("T", 0)).unwrap();
        prop_assert_eq!(put(&store, count).queue_offset, QueueOffset(next));
        let _: Arc<Store> = store;
    }
}

#[test]
fn after_a_clean_stop_no_queue_file_is_opened_until_somebody_reads_it() {
    let bench = Bench::small();
    let store = bench.open();
    for queue_id in 0..50 {
        for topic in ["T", "U"] {
            store
                .put(&message(topic, queue_id, "", topic.as_bytes()))
                .unwrap();
        }
    }
    dispatch(&store, &bench);
    store.close().unwrap();
    drop(store);

    let opens = || bench.disk.faults().queue_opens.load(Ordering::SeqCst);
    let before = opens();
    let store = bench.open();
    assert_eq!(opens(), before);
    for queue_id in 0..50 {
        assert_eq!(bodies(&store, "T", queue_id), ["T"]);
        assert_eq!(store.max_offset("U", queue_id), 1);
    }
    store.put(&message("T", 0, "", b"more")).unwrap();
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0), ["T", "more"]);
}

#[test]
fn a_stop_that_noted_its_queues_counts_for_the_next_start_only() {
    let bench = Bench::small();
    let store = bench.open();
    store.put(&message("T", 0, "", b"a")).unwrap();
    dispatch(&store, &bench);
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    store.put(&message("T", 0, "", b"b")).unwrap();
    dispatch(&store, &bench);
    drop(store); // As by a crash.
    let store = bench.open();
    assert_eq!(bodies(&store, "T", 0), ["a", "b"]);
}
