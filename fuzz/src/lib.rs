//! Fuzz targets: everything that decodes bytes of clients, disks and peers, one function each.
//!
//! ```text
//!   corpus/<target>/*  ──> tests/survive.rs   mutated from a seed on stable Rust, in CI
//!                      └─> libfuzzer/         guided by coverage on nightly: scripts/fuzz
//! ```
//!
//! | file       | bytes                                                                        |
//! |------------|------------------------------------------------------------------------------|
//! | `lib`      | frames, headers, bodies, records, handles, filters, and what lies in topics of the broker's own |
//! | `messages` | property strings: as producers send them, and as the broker's own topics hold them |
//! | `tables`   | small files, entries of queues, and what operators change                    |
//!
//! A target must return whatever it is given. What was understood must also be written stably: the bytes written for a value
//! decode to the same value.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt::Debug;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use broker::config::Settings;
use broker::filter::sql92::{self, Sql92};
use broker::pop::handle::PopHandle;
use broker::pop::revive::ReviveQueue;
use broker::pop::revive_log::ReviveRecord;
use broker::processor::batch_body::{InnerMessages, decode_batch};
use broker::registry::persist::whole_lines;
use broker::registry::topics::SavedChange;
use broker::timer::recall::RecallHandle;
use broker::transaction::op_message;
use bytes::Bytes;
use common::message::properties::MessageProperties;
use common::properties::{format_properties, parse_properties};
use remoting::body::{
    ConsumerFilterFile, ConsumerOffsetFile, ConsumerOrderInfoFile, DelayOffsetSerializeWrapper,
    MessageRequestModeSerializeWrapper, RegisterBrokerBody, SubscriptionGroupWrapper,
    TimerMetricsSerializeWrapper, TopicConfigSerializeWrapper, TopicQueueMappingSerializeWrapper,
    TransactionMetricsSerializeWrapper, fastjson,
};
use remoting::fields::{FieldBuffer, FieldError};
use remoting::frame::{Frame, LanguageCode};
use store::Message;
use store::queue_note::rewrite_topics;
use store::record::encode::{RecordStyle, encode};
use store::record::{Record, decode};
use store::timer::TimerUnit;

mod messages;
mod tables;

#[path = "../../remoting/tests/tables/bodies.rs"]
pub mod bodies;
#[path = "../../remoting/tests/tables/headers.rs"]
pub mod headers;

pub use messages::{delayed_message, half_message, light_queues, message_id, send_properties, timer_message};
pub use tables::{
    attributes, deleted_topics, kv_config, namesrv_config, order_changes, queue_entry, queue_mapping,
};

/// A target: panics when it finds a bug.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame", frame),
    ("header", header),
    ("body", body),
    ("register_broker", register_broker),
    ("batch", batch),
    ("record", record),
    ("message_properties", message_properties),
    ("config", config),
    ("registry", registry),
    ("sql92", sql92),
    ("recall_handle", recall_handle),
    ("pop_handle", pop_handle),
    ("pop_records", pop_records),
    ("op_message", op_message),
    ("timer_unit", timer_unit),
    ("queues_note", queues_note),
    ("topic_changes", topic_changes),
    ("send_properties", send_properties),
    ("half_message", half_message),
    ("timer_message", timer_message),
    ("delayed_message", delayed_message),
    ("light_queues", light_queues),
    ("message_id", message_id),
    ("deleted_topics", deleted_topics),
    ("queue_entry", queue_entry),
    ("namesrv_config", namesrv_config),
    ("kv_config", kv_config),
    ("attributes", attributes),
    ("order_changes", order_changes),
    ("queue_mapping", queue_mapping),
];

/// A frame without its length word, in either dialect.
pub fn frame(data: &[u8]) {
    let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    assert_eq!(
        shown(&frame.detached()),
        shown(&frame),
        "a copy is the same frame"
    );
    let Ok(written) = frame.encode() else {
        return;
    };
    let again = Frame::decode(Bytes::from(written.clone()).slice(4..)).expect("what we write is a frame");
    assert_eq!(shown(&again), shown(&frame), "a frame survives its writing");
    if frame.language != LanguageCode::UNKNOWN {
        assert_eq!(again.encode().as_ref(), Ok(&written));
    }
}

/// Everything a handler can ask of a frame. Null and empty are one in the ROCKETMQ dialect; a language outside the table is null
/// to Java, and left out of a JSON header, which means JAVA.
fn shown(frame: &Frame) -> impl PartialEq + Debug + use<> {
    let fields: Vec<(String, String)> = frame
        .fields()
        .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().into_owned()))
        .collect();
    let remark = frame.remark().unwrap_or_default().into_owned();
    let language = match frame.language {
        LanguageCode::UNKNOWN => LanguageCode::JAVA,
        known => known,
    };
    let numbers = (frame.code, language, frame.version, frame.opaque, frame.flag);
    (numbers, frame.serialize, remark, fields, frame.body.clone())
}

/// One byte that chooses a header, one for the dialect, and what stands in a frame between its prefix and its body.
pub fn header(data: &[u8]) {
    let Some((&[choice, dialect], text)) = data.split_first_chunk() else {
        return;
    };
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes[0] = dialect % 2;
    bytes.extend_from_slice(text);
    let Ok(frame) = Frame::decode(Bytes::from(bytes)) else {
        return;
    };
    let (code, direction, rewrite) = headers::HEADERS[usize::from(choice) % headers::HEADERS.len()];
    let Ok(written) = rewrite(frame.fields()) else {
        return;
    };
    // What is written is a ROCKETMQ map, in which an empty text is no text, even where JSON has to have one.
    let texts = |fields: &FieldBuffer| -> Vec<(String, String)> {
        fields
            .fields()
            .filter_map(|(name, value)| Some((name.into_owned(), value?.into_owned())))
            .collect()
    };
    match rewrite(written.fields()) {
        Ok(again) => assert_eq!(texts(&again), texts(&written), "{code} {direction}"),
        Err(FieldError::Missing { name }) => {
            let has_empty = written.fields().any(|(_, value)| value.is_none());
            assert!(has_empty, "{code} {direction}: {name} was not written");
        }
        Err(error) => panic!("{code} {direction}: {error}"),
    }
}

/// One byte that chooses a class, and its JSON.
pub fn body(data: &[u8]) {
    let Some((choice, json)) = data.split_first() else {
        return;
    };
    let (class, rewrite) = bodies::CLASSES[usize::from(*choice) % bodies::CLASSES.len()];
    // JSON cannot say infinity: it is left out, as Java's writer does, and so is no number when read again.
    if let Ok(written) = rewrite(json)
        && !has_infinite_number(json)
    {
        assert_eq!(rewrite(&written).as_ref(), Ok(&written), "{class}");
    }
}

fn has_infinite_number(json: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let numbers = json.split(|byte| !is_part(byte));
    let mut values = numbers.filter_map(|number| std::str::from_utf8(number).ok()?.parse::<f64>().ok());
    values.any(f64::is_infinite)
}

/// One byte that chooses form and protocol version, and the body of a REGISTER_BROKER: as JSON, as a compressed stream, or
/// as what the stream holds, which a fuzzer would hardly reach through a compressor.
pub fn register_broker(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let version = if choice & 4 == 0 { 513 } else { 412 };
    let (is_compressed, deflated);
    let bytes = match choice % 4 {
        0 | 3 => {
            is_compressed = false;
            bytes
        }
        1 => {
            is_compressed = true;
            bytes
        }
        _ => {
            is_compressed = true;
            deflated = stored_stream(bytes);
            &deflated
        }
    };
    let Ok(body) = RegisterBrokerBody::decode(bytes, is_compressed, version) else {
        return;
    };
    let written = body.encode(false).expect("a body is JSON");
    assert_eq!(RegisterBrokerBody::decode(&written, false, 513).ok(), Some(body));
}

/// A zlib stream that holds the bytes as they are. By hand: a compressor takes longer than everything else here.
fn stored_stream(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let (is_last, length) = (u8::from(blocks.peek().is_none()), block.len() as u16);
        stream.push(is_last);
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (low, high) = bytes.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    stream.extend((high << 16 | low).to_be_bytes());
    stream
}

/// The body of SEND_BATCH_MESSAGE.
pub fn batch(data: &[u8]) {
    let Ok(messages) = decode_batch(data) else {
        return;
    };
    // Replacement characters are longer than what they replace.
    if messages
        .iter()
        .any(|message| message.properties.len() > i16::MAX as usize)
    {
        return;
    }
    let written = batch_bytes(&messages);
    let again = decode_batch(&written).expect("what we write is a batch");
    assert_eq!(again[..], messages[..]);
}

fn batch_bytes(messages: &InnerMessages<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend([0; 12]);
        bytes.extend(message.flag.to_be_bytes());
        bytes.extend((message.body.len() as u32).to_be_bytes());
        bytes.extend(message.body);
        bytes.extend((message.properties.len() as u16).to_be_bytes());
        bytes.extend(message.properties.as_bytes());
    }
    bytes
}

/// A record of the CommitLog.
pub fn record(data: &[u8]) {
    let _ = store::record::decode::property_crc_matches(data);
    let Ok(found) = decode(data) else {
        return;
    };
    let _ = (
        found.body_matches_crc(),
        found.is_queued(),
        found.property("KEYS"),
    );
    let style = RecordStyle {
        version_by_topic_length: true,
        append_property_crc: false,
    };
    let mut written = Vec::new();
    encode(&message_of(&found), style, &mut written);
    let again = decode(&written).expect("what we write is a record");
    assert_eq!(again.size_bytes as usize, written.len());
    // An IPv4 address in the form of an IPv6 one is written as what it is.
    let is_as_written = |host: SocketAddr| host.ip() == host.ip().to_canonical();
    if !is_as_written(found.born_host) || !is_as_written(found.store_host) {
        assert_eq!(again.born_host.ip(), found.born_host.ip().to_canonical());
        return assert_eq!(again.store_host.ip(), found.store_host.ip().to_canonical());
    }
    // The checksum is made anew, a short topic makes a version 1 record, and place and time are given under the writer lock.
    let expected = Record {
        size_bytes: again.size_bytes,
        version: again.version,
        body_crc: again.body_crc,
        queue_offset: again.queue_offset,
        physical_offset: again.physical_offset,
        store_timestamp_ms: again.store_timestamp_ms,
        ..found
    };
    assert_eq!(again, expected);
    assert!(again.body_matches_crc());
}

fn message_of<'a>(record: &Record<'a>) -> Message<'a> {
    Message {
        topic: record.topic,
        queue_id: record.queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: record.born_host,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: record.prepared_transaction_offset,
        properties: record.properties,
        body: record.body,
    }
}

/// The property string of a message.
pub fn message_properties(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let properties = MessageProperties::parse(&text);
    assert_eq!(MessageProperties::parse(&properties.encode()), properties);
    for (name, value) in properties.iter() {
        assert_eq!(common::message::properties::get(&text, name), Some(value));
    }
}

/// A `.properties` file, as configuration of the broker.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut pairs = parse_properties(&text);
    // Kept from input to input, for there are hundreds of keys to copy: what one is set to depends on no other.
    thread_local! {
        static GIVEN_AND_SHOWN: RefCell<[Settings; 2]> = RefCell::default();
    }
    GIVEN_AND_SHOWN.with_borrow_mut(|[settings, same]| {
        for (key, value) in &pairs {
            if settings.set("fuzz", key, value).is_ok_and(|is_known| is_known) {
                let shown = shown_setting(settings, key);
                let shown = shown.expect("a known key is shown");
                assert_eq!(same.set("fuzz", key, &shown).ok(), Some(true), "{key}={shown}");
                assert_eq!(
                    shown_setting(same, key),
                    Some(shown),
                    "what is shown can be given"
                );
            }
        }
    });
    let mut again = parse_properties(&format_properties(&pairs));
    pairs.sort();
    again.sort();
    assert_eq!(again, pairs);
}

fn shown_setting(settings: &Settings, key: &str) -> Option<String> {
    let Settings {
        broker,
        server,
        client,
        store,
        ..
    } = settings;
    let found = broker.get(key).or_else(|| server.get(key));
    found.or_else(|| client.get(key)).or_else(|| store.get(key))
}

type Rewrite = fn(&[u8]) -> Result<Vec<u8>, fastjson::Error>;

macro_rules! files {
    ($($class:ty),* $(,)?) => {
        &[$(|text| fastjson::to_pretty(&fastjson::from_slice::<$class>(text)?)),*]
    };
}

/// The files in the broker's config directory.
const FILES: &[Rewrite] = files![
    TopicConfigSerializeWrapper,
    SubscriptionGroupWrapper,
    ConsumerOffsetFile,
    DelayOffsetSerializeWrapper,
    ConsumerFilterFile,
    ConsumerOrderInfoFile,
    TopicQueueMappingSerializeWrapper,
    MessageRequestModeSerializeWrapper,
    TimerMetricsSerializeWrapper,
    TransactionMetricsSerializeWrapper,
];

/// One byte that chooses a registry, and its file.
pub fn registry(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let rewrite = FILES[usize::from(*choice) % FILES.len()];
    if let Ok(written) = rewrite(text) {
        assert_eq!(rewrite(&written).as_ref(), Ok(&written));
    }
}

/// A filter expression, a zero byte, and the property string it is asked about.
pub fn sql92(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (expression, properties) = text.split_once('\0').unwrap_or((&text, ""));
    match Sql92::compile(expression) {
        Ok(compiled) => {
            let again = Sql92::compile(&format!("/**/{expression}"));
            let again = again.map(|again| again.matches(properties));
            let is_as_long_as_may_be = expression.len() + 4 > sql92::MAX_BYTES;
            assert!(again == Ok(compiled.matches(properties)) || is_as_long_as_may_be);
        }
        Err(error) => assert!(error.to_string().contains(" at line "), "{error}"),
    }
}

/// A byte that chooses, and the handle of RECALL_MESSAGE: as a client sends it, or as it is written.
pub fn recall_handle(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let text = match choice % 2 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        _ => URL_SAFE.encode(bytes),
    };
    let Some(handle) = RecallHandle::decode(&text) else {
        return;
    };
    let is_written = !handle.uniq_key.is_empty();
    if let Some(out_ms) = handle
        .timestamp
        .parse::<i64>()
        .ok()
        .and_then(|time| time.checked_sub(1))
        && is_written
        && (out_ms + 1).to_string() == handle.timestamp
    {
        let again = RecallHandle::encode(&handle.topic, &handle.broker_name, out_ms, &handle.uniq_key);
        assert_eq!(RecallHandle::decode(&again), Some(handle));
    }
}

/// The handle of a popped message: extraInfo of acks and changes of invisible time.
pub fn pop_handle(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match PopHandle::parse(&text) {
        Ok(handle) => assert_eq!(PopHandle::parse(&handle.to_string()), Ok(handle)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The queue of the revive topic: a line for each record, a byte that chooses its kind and its body.
pub fn pop_records(data: &[u8]) {
    let mut queue = ReviveQueue::new();
    for (offset, line) in (0..).zip(data.split(|byte| *byte == b'\n')) {
        let Some((choice, body)) = line.split_first() else {
            continue;
        };
        let Some(record) = revive_record(*choice, body) else {
            continue;
        };
        let written = match &record {
            ReviveRecord::CheckPoint(checkpoint) | ReviveRecord::TakeOver(checkpoint) => {
                fastjson::to_vec(checkpoint)
            }
            ReviveRecord::Ack(ack) | ReviveRecord::TakenOver(ack, _) => fastjson::to_vec(ack),
            ReviveRecord::BatchAck(ack) => fastjson::to_vec(ack),
        };
        let written = written.expect("a record is JSON");
        assert_eq!(revive_record(*choice, &written).as_ref(), Some(&record));
        queue.accept(record, offset);
    }
    while let Some(due) = queue.next_due(i64::MAX) {
        assert!(due.unacked.len() <= usize::try_from(i8::MAX).expect("it is positive"));
        queue.decided(due.revive_offset);
    }
}

fn revive_record(choice: u8, body: &[u8]) -> Option<ReviveRecord> {
    let tag = ["ck", "ack", "bAck"][usize::from(choice) % 3];
    let takes_over = match choice & 0x10 {
        0 => "",
        _ => "POP_TAKES_OVER\u{1}true\u{2}POP_TAKEN_OVER_AT\u{1}17\u{2}",
    };
    let properties = format!("TAGS\u{1}{tag}\u{2}{takes_over}");
    let message = messages::message("rmq_sys_REVIVE_LOG_C", &properties, body);
    ReviveRecord::parse(&messages::stored(&message))
}

/// The body of an op message: which half messages are over.
pub fn op_message(data: &[u8]) {
    let offsets: Vec<u64> = op_message::parse(Some("d"), data).collect();
    let written: String = offsets.iter().map(|offset| format!("{offset},")).collect();
    let again: Vec<u64> = op_message::parse(Some("d"), written.as_bytes()).collect();
    assert_eq!(again, offsets);
    assert_eq!(op_message::parse(None, data).count(), 0);
}

/// A unit of the timer log.
pub fn timer_unit(data: &[u8]) {
    let Some(unit) = TimerUnit::decode(data) else {
        return;
    };
    assert_eq!(TimerUnit::decode(&unit.encode()), Some(unit));
    let _ = (unit.slot_time_ms(), unit.is_marker());
}

/// The topics in the note of all queues.
pub fn queues_note(data: &[u8]) {
    if let Some(written) = rewrite_topics(data) {
        assert_eq!(rewrite_topics(&written), Some(written));
    }
}

/// The lines of `topics.json.changes`.
pub fn topic_changes(data: &[u8]) {
    let written = |changes: &[SavedChange]| -> Vec<u8> {
        let line = |change| fastjson::to_vec(change).expect("a change is JSON");
        let lines: Vec<_> = changes.iter().map(line).collect();
        lines
            .iter()
            .flat_map(|line| [line, &b"\n"[..]].concat())
            .collect()
    };
    let changes: Vec<SavedChange> = whole_lines(data);
    let text = written(&changes);
    let again: Vec<SavedChange> = whole_lines(&text);
    assert_eq!(again.len(), changes.len());
    assert_eq!(written(&again), text);
}
