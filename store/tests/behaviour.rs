//! What callers of the store rely on, one sentence a test.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::clock::{Clock, SystemClock};
use common::message::sys_flag;
use common::names::SCHEDULE_TOPIC;
use common::service::{Service, Services};
use proptest::prelude::*;
use store::record::decode;
use store::{
    AllMessages, BatchItem, Boundary, BrokerRole, FlushDiskType, FlushError, GetOutcome, GetRequest,
    GetStatus, Message, MessageFilter, PhysicalOffset, PutError, QueueKind, QueueOffset, Store, WriteRefusal,
};
use support::{Bench, bodies, dispatch, files, get, message, properties, split};

fn put(store: &Store, topic: &str, body: &str) -> store::Appended {
    store.put(&message(topic, 0, "", body.as_bytes())).unwrap()
}

fn get_with(
    store: &Store,
    topic: &str,
    offset: i64,
    max_messages: usize,
    filter: &dyn MessageFilter,
) -> GetOutcome {
    let request = GetRequest {
        topic,
        queue_id: 0,
        offset,
        max_messages,
        max_bytes: None,
        filter,
    };
    store.get(&request, &mut Vec::new())
}

// ---- get ----

#[test]
fn a_get_says_where_the_consumer_stands() {
    let bench = Bench::small();
    let store = bench.open();
    for number in 0..3 {
        put(&store, "T", &number.to_string());
    }
    dispatch(&store, &bench);
    for (offset, status, next) in [
        (-1, GetStatus::OffsetTooSmall, 0),
        (0, GetStatus::Found, 3),
        (2, GetStatus::Found, 3),
        (3, GetStatus::OffsetOverflowOne, 3),
        (4, GetStatus::OffsetOverflowBadly, 3),
    ] {
        let outcome = get(&store, "T", 0, offset, &mut Vec::new());
        assert_eq!(
            (outcome.status, outcome.next_begin_offset),
            (status, next),
            "offset {offset}"
        );
        assert_eq!((outcome.min_offset, outcome.max_offset), (0, 3));
    }
    let unknown = get(&store, "X", 7, 5, &mut Vec::new());
    assert_eq!(
        (unknown.status, unknown.next_begin_offset),
        (GetStatus::NoMessageInQueue, 0)
    );
    assert_eq!((store.min_offset("X", 7), store.max_offset("X", 7)), (-1, 0));
}

#[test]
fn nothing_is_read_ahead_of_the_few_entries_in_a_queue_file() {
    let bench = Bench::with(|config| config.mapped_file_size_commit_log = 4 << 20);
    let store = bench.open();
    put(&store, "Few", "");
    for _ in 0..5_000 {
        put(&store, "Many", "");
    }
    dispatch(&store, &bench);
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    for topic in ["Few", "Many"] {
        assert_eq!(get(&store, topic, 0, 0, &mut Vec::new()).status, GetStatus::Found);
    }
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let is_read_at_random = |topic: &str| {
        let file = bench.root().join("consumequeue").join(topic);
        let (_, mapping) = mappings.split_once(file.to_str().unwrap()).unwrap();
        let flags = mapping.lines().find(|line| line.starts_with("VmFlags:"));
        flags.unwrap().split(' ').any(|flag| flag == "rr")
    };
    assert!(is_read_at_random("Few") && !is_read_at_random("Many"));
}

#[test]
fn a_slave_does_not_correct_offsets() {
    let mut bench = Bench::small();
    let store = bench.open();
    put(&store, "T", "a");
    store.close().unwrap();
    drop(store);
    bench.config.broker_role = BrokerRole::Slave;
    let store = bench.open();
    assert_eq!(get(&store, "T", 0, 9, &mut Vec::new()).next_begin_offset, 9);
    let refused = store.put(&message("T", 0, "", b"")).unwrap_err();
    assert_eq!(refused, PutError::NotWritable(WriteRefusal::Slave));
}

struct Tag(i64);

impl MessageFilter for Tag {
    fn by_tags_code(&self, tags_code: i64) -> bool {
        tags_code == self.0
    }
    fn by_record(&self, record: &[u8]) -> bool {
        decode(record).unwrap().property("TAGS") == Some("red")
    }
}

#[test]
fn a_filter_sees_the_tags_code_first_and_the_record_then() {
    let bench = Bench::small();
    let store = bench.open();
    for tag in ["red", "blue", "red"] {
        store
            .put(&message("T", 0, &properties(&[("TAGS", tag)]), tag.as_bytes()))
            .unwrap();
    }
    dispatch(&store, &bench);
    let code = |tag| Tag(common::message::tags_code::tags_code(Some(tag)));
    let red = get_with(&store, "T", 0, 32, &code("red"));
    assert_eq!(
        (red.status, red.message_count, red.next_begin_offset),
        (GetStatus::Found, 2, 3)
    );
    let blue = get_with(&store, "T", 0, 32, &code("blue"));
    assert_eq!(
        (blue.status, blue.next_begin_offset),
        (GetStatus::NoMatchedMessage, 3)
    );
}

#[test]
fn how_many_messages_a_filter_wants_is_guessed_from_a_part_of_the_queue() {
    let bench = Bench::with(|config| config.max_consume_queue_scan = 20);
    let store = bench.open();
    for number in 0..100 {
        let tag = if number % 4 == 0 { "red" } else { "blue" };
        store
            .put(&message("T", 0, &properties(&[("TAGS", tag)]), b"x"))
            .unwrap();
    }
    dispatch(&store, &bench);
    let red = Tag(common::message::tags_code::tags_code(Some("red")));
    let count = |from, to| store.estimate_count("T", 0, from, to, &red);
    assert_eq!(count(0, 8), 2, "few enough to look at each");
    assert_eq!(count(8, 8), 0);
    assert_eq!(count(0, 100), 25, "five of the first twenty, five times");
    assert_eq!(count(97, 100), 0);
    assert_eq!(store.estimate_count("None", 0, 0, 9, &red), 0);
}

#[test]
fn a_get_ends_at_each_of_its_limits() {
    let bench = Bench::with(|config| {
        config.max_transfer_count_on_message_in_memory = 10;
        config.max_transfer_bytes_on_message_in_memory = 3_000;
        config.max_filter_message_size = 20 * 6;
        config.mapped_file_size_consume_queue = 20 * 40;
        config.mapped_file_size_commit_log = 1 << 20;
    });
    let store = bench.open();
    for _ in 0..100 {
        put(&store, "T", "0123456789");
    }
    put(&store, "Big", &"x".repeat(5_000));
    put(&store, "Big", "y");
    dispatch(&store, &bench);

    let count = |offset, max| get_with(&store, "T", offset, max, &AllMessages).message_count;
    assert_eq!(
        (count(0, 4), count(0, 32)),
        (4, 10),
        "messages asked for; messages allowed"
    );
    assert_eq!(count(36, 32), 4, "one file of the queue");
    let big = get_with(&store, "Big", 0, 32, &AllMessages);
    assert_eq!(
        (big.message_count, big.next_begin_offset),
        (1, 1),
        "the first message whatever its size"
    );
    let mut out = Vec::new();
    let request = GetRequest {
        topic: "T",
        queue_id: 0,
        offset: 0,
        max_messages: 32,
        max_bytes: Some(250),
        filter: &AllMessages,
    };
    assert_eq!(store.get(&request, &mut out).message_count, 2, "bytes asked for");
    let nothing = get_with(&store, "T", 0, 1, &Tag(7));
    assert_eq!(
        (nothing.status, nothing.next_begin_offset),
        (GetStatus::NoMatchedMessage, 6),
        "entries looked at"
    );
}

#[test]
fn records_are_appended_to_what_the_buffer_holds() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "T", "a");
    put(&store, "T", "b");
    dispatch(&store, &bench);
    let mut out = b"header".to_vec();
    let outcome = get(&store, "T", 0, 0, &mut out);
    assert_eq!(outcome.size_bytes, out.len() - 6);
    assert_eq!(split(&out[6..]).len(), 2);
    assert_eq!(outcome.last_physical_offset, Some(PhysicalOffset(93)));
}

#[test]
fn a_record_is_read_at_its_own_offset_only() {
    let bench = Bench::small();
    let store = bench.open();
    let inner = put(&store, "T", "inner");
    let record = store.read_at(inner.physical_offset).unwrap();
    assert_eq!(decode(&record).unwrap().body, b"inner");
    // A body that looks like a record must not be taken for one.
    let outer = store.put(&message("T", 0, "", &record)).unwrap();
    let body_at = outer.physical_offset.0 + 88;
    assert_eq!(store.read_at(PhysicalOffset(body_at)), None);
    for nowhere in [1, outer.end.0, u64::MAX] {
        assert_eq!(store.read_at(PhysicalOffset(nowhere)), None);
    }
}

// ---- offsets by time ----

proptest! {
    #![proptest_config(support::cases(24))]
    #[test]
    fn offsets_by_time_are_those_of_a_linear_search(
        pauses in prop::collection::vec(prop_oneof![Just(0u64), 1u64..50], 1..60), asked in prop::collection::vec(-20i64..1_600, 1..20),
    ) {
        let bench = Bench::small();
        let store = bench.open();
        let mut times = Vec::new();
        for pause in pauses {
            bench.advance_ms(pause);
            times.push(put(&store, "T", "").store_timestamp_ms);
        }
        dispatch(&store, &bench);
        for time in asked.into_iter().map(|ms| support::START_MS + ms).chain(times.clone()) {
            let lower = times.iter().position(|stored| *stored >= time).unwrap_or(times.len());
            let upper = times.iter().rposition(|stored| *stored <= time).unwrap_or(0);
            let find = |boundary| store.offset_by_time("T", 0, time, boundary);
            prop_assert_eq!(find(Boundary::Lower), i64::try_from(lower).unwrap());
            prop_assert_eq!(find(Boundary::Upper), i64::try_from(upper).unwrap());
        }
        prop_assert_eq!(store.store_time("T", 0, QueueOffset(0)), Some(times[0]));
        prop_assert_eq!(store.earliest_store_time("T", 0), Some(times[0]));
        prop_assert_eq!(store.earliest_time(), Some(times[0]));
        prop_assert_eq!(store.store_time("T", 0, QueueOffset(times.len() as u64)), None);
    }
}

#[test]
fn store_times_never_fall_even_if_the_clock_does() {
    let bench = Bench::small();
    let store = bench.open();
    let first = put(&store, "T", "");
    bench.clock.set_wall_ms(5);
    assert_eq!(put(&store, "T", "").store_timestamp_ms, first.store_timestamp_ms);
    drop(store);
    assert_eq!(
        put(&bench.open(), "T", "").store_timestamp_ms,
        first.store_timestamp_ms
    );
}

// ---- put ----

#[test]
fn what_does_not_fit_is_refused_with_its_sizes() {
    let bench = Bench::with(|config| {
        config.max_message_size = 1000;
        config.mapped_file_size_commit_log = 64 * 1024;
    });
    let store = bench.open();
    let long_topic = "t".repeat(128);
    let long_retry = format!("%RETRY%{}", "t".repeat(130));
    let too_long_retry = format!("%RETRY%{}", "t".repeat(250));
    let properties = "p".repeat(32_768);
    let body = [0; 1001];
    let put = |topic: &str, properties: &str, body: &[u8]| {
        store.put(&message(topic, 0, properties, body)).map(|_| ())
    };
    assert_eq!(
        put(&long_topic, "", b""),
        Err(PutError::TopicTooLong {
            size_bytes: 128,
            limit_bytes: 127
        })
    );
    assert_eq!(put(&long_retry, "", b""), Ok(()));
    assert_eq!(
        put(&too_long_retry, "", b""),
        Err(PutError::TopicTooLong {
            size_bytes: 257,
            limit_bytes: 255
        })
    );
    assert_eq!(
        put("T", "", &body),
        Err(PutError::BodyTooLarge {
            size_bytes: 1001,
            limit_bytes: 1000
        })
    );
    assert_eq!(
        put("T", &properties, b""),
        Err(PutError::PropertiesTooLarge {
            size_bytes: 32_768,
            limit_bytes: 32_767
        })
    );
    for topic in ["", "..", "a/b"] {
        assert_eq!(put(topic, "", b""), Err(PutError::IllegalTopic));
    }
    assert_eq!(
        store.put_batch(&message("T", 0, "", b""), &[]),
        Err(PutError::EmptyBatch)
    );
    let item = BatchItem {
        flag: 0,
        properties: "",
        body: &body[..600],
    };
    assert_eq!(
        store.put_batch(&message("T", 0, "", b""), &[item, item]),
        Err(PutError::BodyTooLarge {
            size_bytes: 1200,
            limit_bytes: 1000
        })
    );
    store.config().update(|config| config.max_message_size = 1 << 20);
    let large = vec![0; 65_536];
    assert!(matches!(
        put("T", "", &large),
        Err(PutError::RecordTooLarge {
            limit_bytes: 65_528,
            ..
        })
    ));
    assert_eq!(store.state().put_failed_count, 10);
}

#[test]
fn a_batch_is_whole_in_one_file() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "T", &"x".repeat(3000));
    let items: Vec<BatchItem<'_>> = ["a", "b", "c"]
        .iter()
        .map(|body| BatchItem {
            flag: 5,
            properties: "k\u{1}v",
            body: body.as_bytes(),
        })
        .collect();
    let shared = message("T", 0, "ignored", b"ignored");
    let appended = store
        .put_batch(&Message { body: b"", ..shared }, &vec![items[0]; 20])
        .unwrap();
    assert_eq!(
        appended.physical_offsets[0],
        PhysicalOffset(4096),
        "1100 bytes do not fit behind 3092"
    );
    assert_eq!(
        (appended.queue_offset, appended.physical_offsets.len()),
        (QueueOffset(1), 20)
    );
    let second = store.put_batch(&shared, &items).unwrap();
    assert_eq!(second.physical_offsets[0], appended.end);
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0)[21..], ["a", "b", "c"]);
    let bytes = store.read_at(second.physical_offsets[2]).unwrap();
    let last = decode(&bytes).unwrap();
    assert_eq!(
        (last.flag, last.property("k"), last.queue_offset),
        (5, Some("v"), QueueOffset(23))
    );
}

#[test]
fn half_messages_are_in_the_log_and_in_no_queue() {
    let bench = Bench::small();
    let store = bench.open();
    for transaction in [sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_ROLLBACK] {
        let half = Message {
            sys_flag: transaction,
            ..message("T", 0, "", b"half")
        };
        assert_eq!(store.put(&half).unwrap().queue_offset, QueueOffset(0));
    }
    let committed = Message {
        sys_flag: sys_flag::TRANSACTION_COMMIT,
        ..message("T", 0, "", b"done")
    };
    store.put(&committed).unwrap();
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0), ["done"]);
}

#[test]
fn a_delayed_message_is_queued_with_its_delivery_time() {
    let bench = Bench::small();
    let store = bench.open();
    let delayed = properties(&[("DELAY", "3"), ("TAGS", "tag")]);
    store.put(&message(SCHEDULE_TOPIC, 2, &delayed, b"")).unwrap();
    store.put(&message("T", 0, &delayed, b"")).unwrap();
    dispatch(&store, &bench);
    let code = |topic, queue_id| store.queue_entries(topic, queue_id, QueueOffset(0), 1)[0].tags_code;
    assert_eq!(code(SCHEDULE_TOPIC, 2), support::START_MS + 10_000);
    assert_eq!(code("T", 0), common::message::tags_code::tags_code(Some("tag")));
}

#[test]
fn arrivals_are_told_after_the_message_can_be_read() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "T", "a");
    assert_eq!(*bench.arrivals.0.lock().unwrap(), []);
    put(&store, "T", "b");
    dispatch(&store, &bench);
    let rows = [("T".to_owned(), 0, 0, 0), ("T".to_owned(), 0, 1, 0)];
    assert_eq!(*bench.arrivals.0.lock().unwrap(), rows);
}

#[test]
fn an_inner_batch_takes_as_many_offsets_as_it_holds_messages() {
    let bench = Bench::small();
    let store = bench.open();
    store.use_queue_kinds(Box::new(|topic| {
        if topic == "B" {
            QueueKind::Batch
        } else {
            QueueKind::Simple
        }
    }));
    let inner = |count: &str| {
        let properties = properties(&[("INNER_NUM", count)]);
        let flag = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        store.put(&Message {
            sys_flag: flag,
            ..message("B", 0, &properties, count.as_bytes())
        })
    };
    for round in 0..10 {
        assert_eq!(inner("5").unwrap().queue_offset, QueueOffset(round * 9));
        assert_eq!(put(&store, "B", "1").queue_offset, QueueOffset(round * 9 + 5));
        assert_eq!(inner("3").unwrap().queue_offset, QueueOffset(round * 9 + 6));
    }
    let check = |store: &Arc<Store>| {
        assert_eq!((store.min_offset("B", 0), store.max_offset("B", 0)), (0, 90));
        for offset in 0..90 {
            let mut out = Vec::new();
            let request = GetRequest {
                topic: "B",
                queue_id: 0,
                offset,
                max_messages: 1,
                max_bytes: None,
                filter: &AllMessages,
            };
            let outcome = store.get(&request, &mut out);
            let record = decode(&out).unwrap();
            let (base, count) = match offset % 9 {
                0..5 => (offset - offset % 9, 5),
                5 => (offset, 1),
                _ => (offset - offset % 9 + 6, 3),
            };
            assert_eq!(record.queue_offset.to_wire(), base);
            assert_eq!(
                (outcome.message_count, outcome.next_begin_offset),
                (count, base + i64::from(count))
            );
            if count > 1 {
                assert_eq!(record.property("INNER_BASE"), Some(&*base.to_string()));
            }
        }
    };
    dispatch(&store, &bench);
    check(&store);
    drop(store);
    let store = bench.open();
    check(&store);
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    check(&store);
    assert_eq!(put(&store, "B", "1").queue_offset, QueueOffset(90));
    assert_eq!(
        files(&bench.root().join("consumequeue")),
        [] as [std::path::PathBuf; 0]
    );
}

#[test]
fn an_inner_batch_needs_its_flag_its_count_and_its_queue() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "Simple", "a");
    dispatch(&store, &bench);
    let put = |topic, sys_flag, properties: &str| {
        store.put(&Message {
            sys_flag,
            ..message(topic, 0, properties, b"")
        })
    };
    let count = properties(&[("INNER_NUM", "2")]);
    assert!(matches!(put("T", 0, &count), Err(PutError::IllegalBatch(_))));
    assert!(matches!(
        put("T", sys_flag::INNER_BATCH, ""),
        Err(PutError::IllegalBatch(_))
    ));
    assert!(matches!(
        put("Simple", sys_flag::INNER_BATCH, &count),
        Err(PutError::IllegalBatch(_))
    ));
}

#[test]
fn a_message_for_light_queues_is_in_all_of_them() {
    let bench = Bench::with(|config| {
        config.enable_lmq = true;
        config.enable_multi_dispatch = true;
        config.mapped_file_size_commit_log = 64 * 1024;
    });
    let store = bench.open();
    for number in 0..3 {
        let queues = if number == 1 { "%LMQ%a" } else { "%LMQ%a,%LMQ%b" };
        let text = properties(&[("INNER_MULTI_DISPATCH", queues)]);
        store
            .put(&message("T", 3, &text, number.to_string().as_bytes()))
            .unwrap();
    }
    dispatch(&store, &bench);
    let check = |store: &Store| {
        assert_eq!(bodies(store, "T", 3), ["0", "1", "2"]);
        assert_eq!(bodies(store, "%LMQ%a", 0), ["0", "1", "2"]);
        assert_eq!(bodies(store, "%LMQ%b", 0), ["0", "2"]);
    };
    check(&store);
    let bytes = store
        .read_at(store.queue_entries("T", 3, QueueOffset(2), 1)[0].physical_offset)
        .unwrap();
    assert_eq!(
        decode(&bytes).unwrap().property("INNER_MULTI_QUEUE_OFFSET"),
        Some("2,1")
    );
    assert_eq!(bench.arrivals.0.lock().unwrap().len(), 3 + 5);
    drop(store);
    check(&bench.open());
}

// ---- flush ----

fn sync_bench() -> Bench {
    Bench::with(|config| {
        config.mapped_file_size_commit_log = 64 * 1024;
        config.flush_disk_type = FlushDiskType::SyncFlush;
    })
}

fn wait_for(store: &Store, end: PhysicalOffset, deadline_ms: i64) -> Receiver<Result<(), FlushError>> {
    let (sender, receiver) = channel();
    store.on_flushed(
        end,
        deadline_ms,
        Box::new(move |result| sender.send(result).unwrap()),
    );
    receiver
}

#[test]
fn one_sync_answers_everybody_below_its_end() {
    let bench = sync_bench();
    let store = bench.open();
    let ends: Vec<PhysicalOffset> = (0..10).map(|_| put(&store, "T", "a").end).collect();
    let waiting: Vec<_> = ends.iter().map(|end| wait_for(&store, *end, i64::MAX)).collect();
    assert!(waiting.iter().all(|receiver| receiver.try_recv().is_err()));
    let flushes = bench.disk.faults().flushes.load(Ordering::SeqCst);
    store.ticks().flush.tick(bench.clock.now(), false).unwrap();
    assert!(waiting.iter().all(|receiver| receiver.try_recv() == Ok(Ok(()))));
    assert_eq!(bench.disk.faults().flushes.load(Ordering::SeqCst) - flushes, 1);
    assert_eq!(
        wait_for(&store, ends[9], 0).try_recv(),
        Ok(Ok(())),
        "what is flushed is answered at once"
    );
}

#[test]
fn a_waiter_whose_time_is_over_is_told_so_once() {
    let bench = sync_bench();
    let store = bench.open();
    let end = put(&store, "T", "a").end;
    let waiting = wait_for(&store, end, bench.clock.wall_ms() + 5_000);
    let mut deadlines = store.ticks().flush_deadline;
    deadlines.tick(bench.clock.now(), false).unwrap();
    assert!(waiting.try_recv().is_err());
    bench.advance_ms(5_000);
    deadlines.tick(bench.clock.now(), false).unwrap();
    assert_eq!(waiting.try_recv(), Ok(Err(FlushError::Timeout)));
    store.ticks().flush.tick(bench.clock.now(), false).unwrap();
    assert!(waiting.try_recv().is_err(), "the late flush answers nobody");
}

#[test]
fn with_synchronous_flush_nobody_sees_what_is_not_on_disk() {
    let bench = sync_bench();
    let store = bench.open();
    put(&store, "T", "a");
    dispatch(&store, &bench);
    assert_eq!(store.max_offset("T", 0), 0);
    store.ticks().flush.tick(bench.clock.now(), false).unwrap();
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0), ["a"]);

    store.config().update(|config| config.read_uncommitted = true);
    put(&store, "T", "b");
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0), ["a", "b"]);
}

#[test]
fn asynchronous_flush_waits_for_pages_or_time() {
    let bench = Bench::with(|config| config.mapped_file_size_commit_log = 1 << 20);
    let store = bench.open();
    let mut flush = store.ticks().flush;
    let mut tick = || {
        flush.tick(bench.clock.now(), false).unwrap();
        store.state().flushed.0
    };
    bench.advance_ms(20_000);
    assert_eq!(tick(), 0);
    let small = put(&store, "T", "a").end.0;
    assert_eq!(tick(), small, "ten seconds have passed");
    put(&store, "T", "a");
    assert_eq!(tick(), small);
    let large = put(&store, "T", &"x".repeat(4 * 4096)).end.0;
    assert_eq!(tick(), large, "four pages");
}

#[test]
fn a_failed_sync_stops_writes_and_tells_those_who_wait() {
    let bench = sync_bench();
    let store = bench.open();
    let first = put(&store, "T", "a");
    store.ticks().flush.tick(bench.clock.now(), false).unwrap();
    dispatch(&store, &bench);
    let waiting = wait_for(&store, put(&store, "T", "b").end, i64::MAX);
    bench.disk.faults().fails_flush.store(true, Ordering::SeqCst);
    store.ticks().flush.tick(bench.clock.now(), false).unwrap_err();
    assert!(matches!(waiting.try_recv(), Ok(Err(FlushError::Failed(_)))));
    bench.disk.faults().fails_flush.store(false, Ordering::SeqCst);
    let refused = store.put(&message("T", 0, "", b"c")).unwrap_err();
    assert!(
        matches!(&refused, PutError::NotWritable(WriteRefusal::LogFailed(why)) if why.contains("broken"))
    );
    assert!(matches!(store.state().writable, Err(WriteRefusal::LogFailed(_))));
    assert_eq!(bodies(&store, "T", 0), ["a"], "reads go on");
    assert!(store.read_at(first.physical_offset).is_some());
    assert!(store.close().is_err());
    assert!(bench.root().join("abort").exists(), "the next start recovers");
}

#[test]
fn closing_answers_those_who_still_wait() {
    let bench = sync_bench();
    let store = bench.open();
    let waiting = wait_for(&store, put(&store, "T", "a").end, i64::MAX);
    store.close().unwrap();
    assert_eq!(waiting.try_recv(), Ok(Ok(())), "closing flushes");
    assert_eq!(
        wait_for(&store, PhysicalOffset(1 << 40), i64::MAX).try_recv(),
        Ok(Err(FlushError::Closed))
    );
    let refused = store.put(&message("T", 0, "", b"")).unwrap_err();
    assert_eq!(refused, PutError::NotWritable(WriteRefusal::Closed));
}

// ---- room ----

#[test]
fn a_full_disk_refuses_messages_until_there_is_room() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "T", "a");
    bench.disk.faults().is_full.store(true, Ordering::SeqCst);
    let body = vec![0; 3000];
    let mut stored = 1;
    let refused = loop {
        match store.put(&message("T", 0, "", &body)) {
            Ok(_) => stored += 1,
            Err(refused) => break refused,
        }
        assert!(stored < 5, "room ends");
    };
    assert!(
        matches!(refused, PutError::NotWritable(WriteRefusal::NoSpace(_))),
        "{refused}"
    );
    bench.disk.faults().is_full.store(false, Ordering::SeqCst);
    put(&store, "T", "z");
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0).len(), stored + 1);
}

#[test]
fn dispatch_waits_for_room_and_skips_nothing() {
    let bench = Bench::small();
    let store = bench.open();
    for _ in 0..30 {
        store
            .put(&message("T", 0, &properties(&[("UNIQ_KEY", "k")]), b"x"))
            .unwrap();
    }
    bench.disk.faults().is_full.store(true, Ordering::SeqCst);
    let mut follower = store.ticks().dispatch;
    assert!(follower.tick(bench.clock.now(), false).is_err());
    assert_eq!(follower.interval(), Duration::from_secs(1), "it tries again soon");
    bench.disk.faults().is_full.store(false, Ordering::SeqCst);
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0).len(), 30);
    assert_eq!(bench.arrivals.0.lock().unwrap().len(), 30);
}

#[test]
fn a_disk_over_its_watermark_refuses_messages_and_deletes_the_oldest() {
    let bench = Bench::small();
    let store = bench.open();
    for _ in 0..20 {
        put(&store, "T", &"x".repeat(1000));
    }
    dispatch(&store, &bench);
    support::flush_all(&store, &bench);
    let mut retention = store.ticks().retention;
    bench.disk.faults().used_percent.store(95, Ordering::SeqCst);
    let before = store.state().commit_log_min;
    retention.tick(bench.clock.now(), false).unwrap();
    let refused = store.put(&message("T", 0, "", b"")).unwrap_err();
    assert!(matches!(
        &refused,
        PutError::NotWritable(WriteRefusal::DiskFull {
            percent: 95,
            limit_percent: 90,
            ..
        })
    ));
    let state = store.state();
    assert!(
        state.commit_log_min > before,
        "files went at once, whatever their age"
    );
    assert_eq!(
        store.min_offset("T", 0),
        18,
        "the queue follows: three messages a file, the last file stays"
    );
    assert_eq!(
        (state.disk_ratio_commit_log, state.disk_ratio_queues),
        (0.95, 0.95)
    );
    assert_eq!(bodies(&store, "T", 0).len(), 2);
    let gone = get(&store, "T", 0, 0, &mut Vec::new());
    assert_eq!(
        (gone.status, gone.next_begin_offset),
        (GetStatus::OffsetTooSmall, 18)
    );

    bench.disk.faults().used_percent.store(50, Ordering::SeqCst);
    retention.tick(bench.clock.now(), false).unwrap();
    assert_eq!(put(&store, "T", "again").queue_offset, QueueOffset(20));
}

#[test]
fn expired_files_go_at_the_hour_set_for_it_and_stay_gone() {
    let bench = Bench::small();
    let store = bench.open();
    bench.set_delete_hour(&store);
    for number in 0..40 {
        let text = properties(&[("UNIQ_KEY", &format!("k{number}"))]);
        store
            .put(&message("T", number % 2, &text, &[b'x'; 1000]))
            .unwrap();
    }
    dispatch(&store, &bench);
    support::flush_all(&store, &bench);
    let mut retention = store.ticks().retention;
    let mut clean = || {
        retention.tick(bench.clock.now(), false).unwrap();
        store.state().commit_log_min.0
    };
    assert_eq!(clean(), 0, "nothing is old enough");
    bench
        .clock
        .set_wall_ms(SystemClock::new().wall_ms() + 73 * 3_600_000);
    assert_eq!(clean(), 10 * 4096, "ten files a round");
    assert_eq!(clean(), 13 * 4096, "never the last one");
    let mins = (store.min_offset("T", 0), store.min_offset("T", 1));
    assert_eq!(mins, (20, 19));
    let mut out = Vec::new();
    store.query_by_key("T", "k3", None, 10, 0, i64::MAX, &mut out);
    assert!(out.is_empty());
    drop((retention, store));
    let store = bench.open();
    assert_eq!((store.min_offset("T", 0), store.min_offset("T", 1)), mins);
    assert_eq!(store.max_offset("T", 0), 20);
}

#[test]
fn a_stop_with_nothing_new_but_expired_files_is_followed_by_a_start() {
    let bench = Bench::small();
    let store = bench.open();
    for _ in 0..40 {
        store.put(&message("T", 0, "", &[b'x'; 1000])).unwrap();
    }
    dispatch(&store, &bench);
    store.close().unwrap();
    drop(store);

    let store = bench.open();
    bench.set_delete_hour(&store);
    bench
        .clock
        .set_wall_ms(SystemClock::new().wall_ms() + 73 * 3_600_000);
    let mut retention = store.ticks().retention;
    support::run(&mut retention, &*bench.clock);
    let min = store.min_offset("T", 0);
    assert!(min > 8, "the queue's first file is gone: {min}");
    store.close().unwrap();
    drop((retention, store));

    let store = bench.open();
    assert_eq!((store.min_offset("T", 0), store.max_offset("T", 0)), (min, 40));
    assert_eq!(bodies(&store, "T", 0).len(), 40 - min as usize);
}

#[test]
fn queues_without_messages_are_removed_on_request_only() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "Old", "a");
    for _ in 0..20 {
        put(&store, "T", &"x".repeat(1000));
    }
    dispatch(&store, &bench);
    support::flush_all(&store, &bench);
    while store.delete_expired_files(true) > 0 {}
    assert_eq!(store.topics(), ["Old", "T"]);
    assert_eq!((store.min_offset("Old", 0), store.max_offset("Old", 0)), (1, 1));
    assert_eq!(store.clean_expired_queues(), 1);
    assert_eq!(store.topics(), ["T"]);
    assert_eq!(
        put(&store, "Old", "b").queue_offset,
        QueueOffset(0),
        "as in the reference"
    );
}

#[test]
fn topics_nobody_keeps_are_removed_but_not_the_systems() {
    let bench = Bench::small();
    let store = bench.open();
    for topic in ["Kept", "Unused", SCHEDULE_TOPIC] {
        put(&store, topic, "a");
    }
    dispatch(&store, &bench);
    assert_eq!(store.clean_unused_topics(&|topic| topic == "Kept"), 1);
    assert_eq!(store.topics(), ["Kept", SCHEDULE_TOPIC]);
    assert_eq!(store.queues_of("Kept"), [0]);
}

#[test]
fn messages_on_their_way_when_their_topic_is_deleted_do_not_bring_it_back() {
    let bench = Bench::small();
    let store = bench.open();
    put(&store, "T", "before");
    assert_eq!(store.delete_topic("T"), 0, "not dispatched yet");
    assert_eq!(put(&store, "T", "after").queue_offset, QueueOffset(0));
    dispatch(&store, &bench);
    assert_eq!(bodies(&store, "T", 0), ["after"]);
}

#[test]
fn writes_can_be_switched_off_and_on() {
    let bench = Bench::small();
    let store = bench.open();
    store.set_writable(false);
    let refused = store.put(&message("T", 0, "", b"")).unwrap_err();
    assert_eq!(refused, PutError::NotWritable(WriteRefusal::SwitchedOff));
    store.set_writable(true);
    put(&store, "T", "a");
}

// ---- threads ----

#[test]
fn many_threads_put_and_get_while_files_roll() {
    const WRITERS: i32 = 4;
    const MESSAGES: usize = 400;
    let bench = Bench::with(|config| {
        config.mapped_file_size_commit_log = 64 * 1024;
        config.mapped_file_size_consume_queue = 20 * 64;
        config.max_hash_slot_num = 100;
        config.max_index_num = 1000;
        config.flush_disk_type = FlushDiskType::SyncFlush;
    });
    let store = bench.open();
    let mut services = Services::new(Arc::new(SystemClock::new()));
    store.start_services(&mut services).unwrap();
    let body_of = |queue_id: i32, number: usize| format!("{queue_id}-{number}-{}", "b".repeat(number % 700));
    std::thread::scope(|scope| {
        for queue_id in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                let mut last = None;
                for number in 0..MESSAGES {
                    let text = properties(&[("UNIQ_KEY", &format!("{queue_id}-{number}"))]);
                    let body = body_of(queue_id, number);
                    let appended = store
                        .put(&message("T", queue_id, &text, body.as_bytes()))
                        .unwrap();
                    assert_eq!(appended.queue_offset, QueueOffset(number as u64));
                    last = Some(appended.end);
                }
                let flushed = wait_for(store, last.unwrap(), i64::MAX);
                assert_eq!(flushed.recv_timeout(Duration::from_secs(30)), Ok(Ok(())));
            });
            scope.spawn(move || {
                let mut next = 0;
                while next < MESSAGES {
                    let mut out = Vec::new();
                    get(store, "T", queue_id, i64::try_from(next).unwrap(), &mut out);
                    if out.is_empty() {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    for record in split(&out) {
                        let record = decode(record).unwrap();
                        assert_eq!(record.body, body_of(queue_id, next).as_bytes());
                        next += 1;
                    }
                }
            });
        }
    });
    services.stop();
    store.close().unwrap();
    drop(store);
    let store = bench.open();
    for queue_id in 0..WRITERS {
        assert_eq!(bodies(&store, "T", queue_id).len(), MESSAGES);
    }
}

#[test]
fn many_queues_are_synced_at_once_and_few_one_by_one() {
    let bench = Bench::with(|_| {});
    let store = bench.open();
    let synced_with = |queues: i32| {
        for queue_id in 0..queues {
            store.put(&message("T", queue_id, "", b"x")).unwrap();
        }
        dispatch(&store, &bench);
        store.flush().unwrap();
        let before = bench.disk.faults().flushes.load(Ordering::SeqCst);
        let mut flush_queues = store.ticks().flush_queues;
        flush_queues.tick(bench.clock.now(), true).unwrap();
        bench.disk.faults().flushes.load(Ordering::SeqCst) - before
    };
    // Index and checkpoint are synced as well.
    let others = synced_with(0);
    let few = synced_with(3) - others;
    let many = synced_with(500) - others;
    assert!((3..=5).contains(&few), "{few}");
    assert!((1..=3).contains(&many), "{many}");
}
