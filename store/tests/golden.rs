//! Stores written by the Java broker: what it reads from them, we read too.

mod support;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use common::message::id::parse_offset_msg_id;
use common::message::properties::MessageProperties;
use common::names::SCHEDULE_TOPIC;
use serde_json::Value;
use store::record::{Record, decode};
use store::{Boundary, PhysicalOffset, QueueOffset, Store};
use support::{Bench, dispatch, read_queue, split};

struct Fixture {
    bench: Bench,
    json: Value,
}

/// Unpacks a fixture and sets the sizes it was written with.
fn fixture(name: &str) -> Fixture {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let json: Value =
        serde_json::from_slice(&std::fs::read(data.join(format!("{name}.json"))).unwrap()).unwrap();
    let bench = Bench::with(|config| {
        for (key, value) in json["openWith"].as_object().unwrap() {
            config.set(key, value.as_str().unwrap()).unwrap();
        }
    });
    let packed = std::fs::read(data.join(format!("{name}.tar.zst"))).unwrap();
    let mut unpacked = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(Cursor::new(packed)).unwrap();
    std::io::copy(&mut decoder, &mut unpacked).unwrap();
    for entry in tar::Archive::new(Cursor::new(unpacked)).entries().unwrap() {
        let mut entry = entry.unwrap();
        // 38 MB of zeros that this test does not look at.
        if !entry.path().unwrap().ends_with("timerwheel") {
            entry.unpack_in(bench.directory.path()).unwrap();
        }
    }
    Fixture { bench, json }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Every message a Java consumer saw, with all it saw of it.
fn check_topics(store: &Store, topics: &Value) {
    let mut messages = 0;
    for (topic, description) in topics.as_object().unwrap() {
        for (queue_id, queue) in description["queues"].as_object().unwrap() {
            let queue_id = queue_id.parse().unwrap();
            assert_eq!(
                store.min_offset(topic, queue_id),
                number(&queue["minOffset"]),
                "{topic}"
            );
            assert_eq!(
                store.max_offset(topic, queue_id),
                number(&queue["maxOffset"]),
                "{topic}"
            );
            let expected = queue["messages"].as_array().unwrap();
            if description["attributes"]["queue.type"] == "BatchCQ" {
                check_batch_queue(store, topic, queue_id, expected);
                continue;
            }
            let records = read_queue(store, topic, queue_id);
            assert_eq!(records.len(), expected.len(), "{topic} {queue_id}");
            for (record, expected) in records.iter().zip(expected) {
                check_message(&decode(record).unwrap(), expected);
                messages += 1;
            }
        }
    }
    assert!(messages > 300, "only {messages} messages were compared");
}

fn check_message(record: &Record<'_>, expected: &Value) {
    let message = format!("{} {expected}", record.topic);
    assert_eq!(
        record.queue_offset.to_wire(),
        number(&expected["queueOffset"]),
        "{message}"
    );
    assert_eq!(
        record.physical_offset.to_wire(),
        number(&expected["commitLogOffset"]),
        "{message}"
    );
    assert_eq!(
        i64::from(record.size_bytes),
        number(&expected["storeSize"]),
        "{message}"
    );
    assert_eq!(
        i64::from(record.body_crc),
        number(&expected["bodyCRC"]),
        "{message}"
    );
    assert_eq!(
        record.born_timestamp_ms,
        number(&expected["bornTimestamp"]),
        "{message}"
    );
    assert_eq!(
        record.store_timestamp_ms,
        number(&expected["storeTimestamp"]),
        "{message}"
    );
    assert_eq!(
        i64::from(record.reconsume_times),
        number(&expected["reconsumeTimes"]),
        "{message}"
    );
    assert_eq!(i64::from(record.flag), number(&expected["flag"]), "{message}");
    assert!(record.body_matches_crc(), "{message}");
    for name in ["TAGS", "KEYS", "UNIQ_KEY"] {
        let expected = expected["properties"][name].as_str();
        assert_eq!(record.property(name), expected, "{message}");
    }
    let is_plain = record.sys_flag & common::message::sys_flag::COMPRESSED == 0;
    if let Some(body) = expected["body"].as_str().filter(|_| is_plain) {
        assert_eq!(String::from_utf8_lossy(record.body), body, "{message}");
    }
}

/// The client unwraps inner batches; what we give is the records, each at every offset it holds.
fn check_batch_queue(store: &Store, topic: &str, queue_id: i32, expected: &[Value]) {
    for message in expected {
        let offset = number(&message["queueOffset"]);
        let mut out = Vec::new();
        let outcome = support::get(store, topic, queue_id, offset, &mut out);
        let records = split(&out);
        let first = decode(records[0]).unwrap();
        assert_eq!(
            first.physical_offset.to_wire(),
            number(&message["commitLogOffset"])
        );
        assert_eq!(outcome.next_begin_offset, 9, "{outcome:?}");
        let body = String::from_utf8_lossy(first.body);
        assert!(body.contains(text(&message["body"])), "{message}");
    }
}

fn check_offsets_by_time(store: &Store, rows: &Value) {
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let queue_id = i32::try_from(number(&row["queueId"])).unwrap();
        let find = |boundary| {
            store.offset_by_time(text(&row["topic"]), queue_id, number(&row["timestamp"]), boundary)
        };
        let found = (find(Boundary::Lower), find(Boundary::Upper));
        assert_eq!(found, (number(&row["lower"]), number(&row["upper"])), "{row}");
    }
}

fn check_index_lookups(store: &Store, lookups: &Value) {
    for lookup in lookups.as_array().unwrap() {
        let (topic, key) = (text(&lookup["topic"]), text(&lookup["key"]));
        let mut out = Vec::new();
        store.query_by_key(topic, key, None, 64, 0, i64::MAX, &mut out);
        let found: Vec<i64> = split(&out)
            .into_iter()
            .map(|record| decode(record).unwrap())
            // Hashes may collide: the client compares.
            .filter(|record| {
                record
                    .property("KEYS")
                    .is_some_and(|keys| keys.split(' ').any(|found| found == key))
            })
            .map(|record| record.physical_offset.to_wire())
            .collect();
        let expected = lookup["found"].as_array().unwrap().iter();
        let expected: Vec<i64> = expected
            .map(|message| number(&message["commitLogOffset"]))
            .collect();
        assert_eq!(found, expected, "{lookup}");
    }
}

/// The records as an independent reader of the files saw them.
fn check_raw_records(store: &Store, records: &Value) {
    for expected in records.as_array().unwrap() {
        let offset = PhysicalOffset(number(&expected["phyOffset"]).unsigned_abs());
        let bytes = store
            .read_at(offset)
            .unwrap_or_else(|| panic!("no record at {offset}"));
        let record = decode(&bytes).unwrap();
        assert_eq!(
            i64::from(record.size_bytes),
            number(&expected["size"]),
            "{expected}"
        );
        assert_eq!(
            format!("{:08x}", record.version.magic()),
            text(&expected["magic"]),
            "{expected}"
        );
        assert_eq!(
            i64::from(record.sys_flag),
            number(&expected["sysFlag"]),
            "{expected}"
        );
        assert_eq!(
            i64::from(record.queue_id),
            number(&expected["queueId"]),
            "{expected}"
        );
        assert_eq!(
            record.born_host.to_string(),
            text(&expected["bornHost"]),
            "{expected}"
        );
        assert_eq!(
            record.store_host.to_string(),
            text(&expected["storeHost"]),
            "{expected}"
        );
        assert_eq!(record.topic, text(&expected["topic"]), "{expected}");
        let prepared = i64::try_from(record.prepared_transaction_offset).unwrap();
        assert_eq!(
            prepared,
            number(&expected["preparedTransactionOffset"]),
            "{expected}"
        );
        let properties: BTreeMap<String, String> = MessageProperties::parse(record.properties)
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let expected_properties: BTreeMap<String, String> = expected["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !text(value).is_empty())
            .map(|(name, value)| (name.clone(), text(value).to_owned()))
            .collect();
        assert_eq!(properties, expected_properties, "{expected}");
    }
}

fn check_raw_queues(store: &Store, queues: &Value) {
    for (name, entries) in queues.as_object().unwrap() {
        let (topic, queue_id) = name.rsplit_once('/').unwrap();
        let found = store.queue_entries(topic, queue_id.parse().unwrap(), QueueOffset(0), usize::MAX);
        let found: Vec<_> = found
            .iter()
            .map(|entry| {
                (
                    entry.physical_offset.to_wire(),
                    i64::from(entry.size_bytes),
                    entry.tags_code,
                )
            })
            .collect();
        let expected: Vec<_> = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                (
                    number(&entry["phyOffset"]),
                    number(&entry["size"]),
                    number(&entry["tagsCode"]),
                )
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

fn check_clean_fixture(store: &Store, json: &Value) {
    check_topics(store, &json["topics"]);
    check_offsets_by_time(store, &json["offsetByTime"]);
    check_index_lookups(store, &json["indexLookups"]);
    check_raw_records(store, &json["raw"]["commitLog"]);
    check_raw_queues(store, &json["raw"]["consumeQueues"]);
    check_raw_queues(store, &json["raw"]["batchConsumeQueues"]);
    assert_eq!(
        store.state().commit_log_max.to_wire(),
        number(&json["raw"]["commitLogEnd"])
    );
}

#[test]
fn a_store_the_java_broker_stopped_cleanly_is_read_as_java_reads_it() {
    let fixture = fixture("fixture-java-5.5.0");
    let store = fixture.bench.open();
    check_clean_fixture(&store, &fixture.json);
    assert_eq!(store.damage(), []);
}

#[test]
fn nothing_changes_when_it_is_closed_and_opened_again() {
    let fixture = fixture("fixture-java-5.5.0");
    fixture.bench.open().close().unwrap();
    let store = fixture.bench.open();
    check_clean_fixture(&store, &fixture.json);
}

#[test]
fn nothing_changes_when_it_is_recovered_as_after_a_crash() {
    let fixture = fixture("fixture-java-5.5.0");
    drop(fixture.bench.open());
    let store = fixture.bench.open();
    check_clean_fixture(&store, &fixture.json);
}

#[test]
fn everything_derived_is_rebuilt_when_it_is_lost() {
    let fixture = fixture("fixture-java-5.5.0");
    std::fs::remove_dir_all(fixture.bench.root().join("consumequeue")).unwrap();
    std::fs::remove_dir_all(fixture.bench.root().join("index")).unwrap();
    std::fs::remove_file(fixture.bench.root().join("checkpoint")).unwrap();
    std::fs::write(fixture.bench.root().join("abort"), "1").unwrap();
    check_clean_fixture(&fixture.bench.open(), &fixture.json);
}

#[test]
fn queues_that_java_wrote_are_rebuilt_byte_for_byte() {
    let fixture = fixture("fixture-java-5.5.0");
    let directories = ["consumequeue", "batchconsumequeue"].map(|name| fixture.bench.root().join(name));
    let before = directories.each_ref().map(|directory| tree(directory));
    assert!(before[0].len() > 30 && before[1].len() == 1);
    for directory in &directories {
        std::fs::remove_dir_all(directory).unwrap();
    }
    fixture.bench.open().close().unwrap();
    let after = directories.each_ref().map(|directory| tree(directory));
    assert!(after == before, "the queues differ");
}

/// The files under a directory, with their content.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in support::files(directory) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(
                tree(&path)
                    .into_iter()
                    .map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

fn check_crashed_fixture(store: &Arc<Store>, json: &Value) {
    for acked in json["acked"].as_array().unwrap() {
        let (_, offset) = parse_offset_msg_id(text(&acked[4])).unwrap();
        let bytes = store
            .read_at(PhysicalOffset(offset))
            .unwrap_or_else(|| panic!("lost: {acked}"));
        let record = decode(&bytes).unwrap();
        assert_eq!(record.property("UNIQ_KEY"), acked[3].as_str(), "{acked}");
        assert_eq!(record.queue_offset.to_wire(), number(&acked[2]), "{acked}");
        assert_eq!(String::from_utf8_lossy(record.body), text(&acked[7]), "{acked}");
    }
    let recovered = &json["recovered"];
    assert_eq!(
        store.state().commit_log_max.to_wire(),
        number(&recovered["commitLogEnd"])
    );
    let mut records = 0;
    for (name, units) in recovered["consumeQueueUnits"].as_object().unwrap() {
        let (topic, queue_id) = name.rsplit_once('/').unwrap();
        let found = store.queue_entries(topic, queue_id.parse().unwrap(), QueueOffset(0), usize::MAX);
        assert_eq!(i64::try_from(found.len()).unwrap(), number(units), "{name}");
        records += found.len();
    }
    assert_eq!(
        i64::try_from(records).unwrap(),
        number(&recovered["commitLogRecords"])
    );
    check_offsets_by_time(store, &recovered["offsetByTime"]);
    for (topic, queues) in recovered["topics"].as_object().unwrap() {
        for (queue_id, queue) in queues.as_object().unwrap() {
            let queue_id = queue_id.parse().unwrap();
            let rows = queue["messages"].as_array().unwrap();
            let records = read_queue(store, topic, queue_id);
            assert_eq!(records.len(), rows.len(), "{topic} {queue_id}");
            for (record, row) in records.iter().zip(rows) {
                let record = decode(record).unwrap();
                assert_eq!(record.queue_offset.to_wire(), number(&row[0]), "{row}");
                assert_eq!(record.physical_offset.to_wire(), number(&row[1]), "{row}");
                assert_eq!(record.property("UNIQ_KEY"), row[2].as_str(), "{row}");
            }
        }
    }
}

/// Every key of every message is found, once.
fn check_crashed_index(store: &Store, json: &Value) {
    for acked in json["acked"].as_array().unwrap() {
        let (topic, unique_key) = match (text(&acked[0]), text(&acked[3])) {
            ("FxCrashDelay", unique_key) => (SCHEDULE_TOPIC, unique_key),
            as_sent => as_sent,
        };
        let mut out = Vec::new();
        store.query_by_key(topic, unique_key, None, 64, 0, i64::MAX, &mut out);
        let hits = split(&out).into_iter().map(|record| decode(record).unwrap());
        let hits = hits.filter(|record| record.property("UNIQ_KEY") == Some(unique_key));
        assert_eq!(hits.count(), 1, "{acked}");
    }
}

#[test]
fn a_store_whose_java_broker_was_killed_keeps_every_acknowledged_message() {
    let fixture = fixture("fixture-java-5.5.0-crashed");
    let store = fixture.bench.open();
    check_crashed_fixture(&store, &fixture.json);
    check_crashed_index(&store, &fixture.json);
    assert_eq!(store.damage(), []);
}

#[test]
fn the_recovery_of_a_crash_survives_another_crash_and_a_clean_stop() {
    let fixture = fixture("fixture-java-5.5.0-crashed");
    drop(fixture.bench.open());
    fixture.bench.open().close().unwrap();
    let store = fixture.bench.open();
    check_crashed_fixture(&store, &fixture.json);
    check_crashed_index(&store, &fixture.json);
}

#[test]
fn messages_added_to_a_java_store_follow_its_own() {
    let fixture = fixture("fixture-java-5.5.0");
    let store = fixture.bench.open();
    let properties = support::properties(&[("TAGS", "new"), ("KEYS", "added")]);
    let appended = store
        .put(&support::message("FxTags", 1, &properties, b"added"))
        .unwrap();
    assert_eq!(appended.queue_offset, QueueOffset(30));
    assert_eq!(
        appended.physical_offset.to_wire(),
        number(&fixture.json["raw"]["commitLogEnd"])
    );
    dispatch(&store, &fixture.bench);
    assert_eq!(store.max_offset("FxTags", 1), 31);
    let mut out = Vec::new();
    let found = store.query_by_key("FxTags", "added", None, 10, 0, i64::MAX, &mut out);
    assert_eq!(found.message_count, 1);
    assert_eq!(decode(&out).unwrap().body, b"added");
}
