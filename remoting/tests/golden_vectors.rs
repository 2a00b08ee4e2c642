//! Headers and bodies against bytes captured from the Java reference (`data/vectors.json`).

use std::collections::BTreeMap;

use bytes::Bytes;
use remoting::body::*;
use remoting::fields::{DecodeHeader, EncodeHeader, FieldBuffer};
use remoting::frame::Frame;
use remoting::header::*;
use serde_json::Value;

const VECTORS: &str = include_str!("data/vectors.json");

fn vector(id: &str) -> Value {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let found = vectors["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|vector| vector["id"] == id);
    found.unwrap_or_else(|| panic!("no vector {id}")).clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no text {name} in {value}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn frame(id: &str) -> Frame {
    let bytes = bytes(text(&vector(id), "hex"));
    Frame::decode(Bytes::from(bytes).slice(4..)).unwrap()
}

fn map(fields: remoting::fields::Fields<'_>) -> BTreeMap<String, String> {
    fields
        .map(|(name, value)| {
            (
                name.into_owned(),
                value.expect("no null in the vectors").into_owned(),
            )
        })
        .collect()
}

fn encoded(header: &impl EncodeHeader) -> BTreeMap<String, String> {
    let mut out = FieldBuffer::new();
    header.encode(&mut out);
    map(out.fields())
}

/// Fields of the frame, without those that stand beside the header.
fn header_fields(frame: &Frame, beside: &[&str]) -> BTreeMap<String, String> {
    let mut fields = map(frame.fields());
    fields.retain(|name, _| !beside.contains(&name.as_str()));
    fields
}

#[test]
fn a_send_is_the_same_in_both_dialects() {
    for id in ["frame-json-send-v2", "frame-bin-send-v2"] {
        let frame = frame(id);
        let header = SendMessageRequestHeader::decode(frame.fields()).unwrap();
        let expected = SendMessageRequestHeader {
            producer_group: "PG".into(),
            topic: "TopicTest".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: 1,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            flag: 0,
            properties: Some(
                "TAGS\u{1}TagA\u{2}KEYS\u{1}k1\u{2}UNIQ_KEY\u{1}7F0000010001070DEA4E0000000A0000\u{2}WAIT\u{1}true\u{2}"
                    .into(),
            ),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: Some("broker-a".into()),
            logical: None,
        };
        assert_eq!(header, expected, "{id}");
        assert_eq!(
            encoded(&SendMessageRequestHeaderV2(header.clone())),
            header_fields(&frame, &[]),
            "{id}"
        );

        let mut long_names = FieldBuffer::new();
        header.encode(&mut long_names);
        assert_eq!(
            SendMessageRequestHeader::decode(long_names.fields()).unwrap(),
            header,
            "{id}"
        );
    }
}

#[test]
fn a_batch_send_says_so_in_its_header() {
    let frame = frame("frame-json-send-batch");
    let header = SendMessageRequestHeaderV2::decode(frame.fields()).unwrap();
    assert!(header.0.batch);
    assert_eq!(encoded(&header), header_fields(&frame, &[]));
}

#[test]
fn send_and_pull_answers_are_the_same_in_both_dialects() {
    for id in ["frame-json-send-response", "frame-bin-send-response"] {
        let frame = frame(id);
        let header = SendMessageResponseHeader::decode(frame.fields()).unwrap();
        assert_eq!((header.queue_id, header.queue_offset), (1, 42));
        assert_eq!(
            encoded(&header),
            header_fields(&frame, &["MSG_REGION", "TRACE_ON"]),
            "{id}"
        );
    }
    for id in [
        "frame-json-pull-notfound-response",
        "frame-bin-pull-notfound-response",
    ] {
        let frame = frame(id);
        let header = PullMessageResponseHeader::decode(frame.fields()).unwrap();
        assert_eq!(
            (header.next_begin_offset, header.max_offset, header.min_offset),
            (43, 43, 0)
        );
        assert_eq!(encoded(&header), header_fields(&frame, &[]), "{id}");
    }
}

#[test]
fn requests_of_consumers_and_routes_read_back() {
    let pull = frame("frame-bin-pull-request");
    let header = PullMessageRequestHeader::decode(pull.fields()).unwrap();
    assert_eq!(header.subscription.as_deref(), Some("TagA || TagB"));
    assert_eq!(
        (
            header.sys_flag,
            header.suspend_timeout_millis,
            header.max_msg_nums
        ),
        (7, 15_000, 32)
    );
    assert_eq!(encoded(&header), header_fields(&pull, &["bname"]));

    let commit = frame("frame-json-oneway-update-offset");
    let header = UpdateConsumerOffsetRequestHeader::decode(commit.fields()).unwrap();
    assert_eq!(header.commit_offset, 99);
    assert_eq!(encoded(&header), header_fields(&commit, &["bname"]));

    for id in ["frame-json-route-request", "frame-bin-route-request"] {
        let frame = frame(id);
        let header = GetRouteInfoRequestHeader::decode(frame.fields()).unwrap();
        assert_eq!(
            (&*header.topic, header.accept_standard_json_only),
            ("TopicTest", false),
            "{id}"
        );
    }
}

#[test]
fn a_heartbeat_is_written_byte_for_byte_as_java_does() {
    let java = bytes(text(&vector("heartbeat-body"), "hex"));
    let heartbeat: HeartbeatData = fastjson::from_slice(&java).unwrap();
    assert_eq!(heartbeat.client_id, "127.0.0.1@1#2");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(
        (consumer.consume_type, consumer.message_model),
        (ConsumeType::Passively, MessageModel::Clustering)
    );
    assert_eq!(
        consumer.subscription_data_set[0].code_set,
        [2_598_919, 2_598_920].into()
    );
    assert_eq!(heartbeat.producer_data_set[0].group_name, "CLIENT_INNER_PRODUCER");
    assert_eq!(fastjson::to_vec(&heartbeat).unwrap(), java);
}

#[test]
fn topic_stats_are_written_byte_for_byte_as_java_does() {
    let java = bytes(text(&vector("body-topic-stats-object-key"), "hex"));
    let stats: TopicStatsTable = fastjson::from_slice(&java).unwrap();
    let offset = stats.offset_table[&MessageQueue::new("TopicTest", "broker-a", 0)];
    assert_eq!((offset.max_offset, stats.topic_put_tps), (42, 1.5));
    assert_eq!(fastjson::to_vec(&stats).unwrap(), java);
}

#[test]
fn a_batch_ack_is_written_byte_for_byte_as_java_does() {
    let frame = frame("frame-json-batch-ack");
    let acks: BatchAckMessageRequestBody = fastjson::from_slice(&frame.body).unwrap();
    let offsets: Vec<i64> = acks.acks[0]
        .bit_set
        .iter()
        .map(|bit| acks.acks[0].start_offset + bit as i64)
        .collect();
    assert_eq!(offsets, [100, 103, 109]);
    assert_eq!(fastjson::to_vec(&acks).unwrap(), frame.body);
}

#[test]
fn both_forms_of_a_registration_hold_the_same_and_inflate_to_the_same_bytes() {
    let vector = vector("register-broker-body-compressed");
    let compressed = bytes(text(&vector, "hex"));
    let plain = text(&vector["decoded"], "plain_json").as_bytes();
    let body = RegisterBrokerBody::decode(&compressed, true, 513).unwrap();
    // The compressed form has no version of the mappings.
    let mut from_plain = RegisterBrokerBody::decode(plain, false, 513).unwrap();
    from_plain.topic_config_serialize_wrapper.mapping_data_version = DataVersion::default();
    assert_eq!(body, from_plain);
    assert_eq!(
        RegisterBrokerBody::decode(plain, false, 513)
            .unwrap()
            .encode(false)
            .unwrap(),
        plain,
        "plain form byte for byte"
    );
    assert_eq!(
        inflated(&body.encode(true).unwrap()),
        bytes(text(&vector["decoded"], "inflated_hex")),
        "compressed form byte for byte once inflated"
    );
}

fn inflated(stream: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(stream), &mut bytes).unwrap();
    bytes
}
