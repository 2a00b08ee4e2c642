//! Golden frames: every frame vector captured from the 5.5.0 jars decodes to its recorded values and encodes back to
//! the same bytes.

use bytes::Bytes;
use remoting::codes::{request_name, response_name};
use remoting::frame::{Frame, SerializeType};
use serde_json::Value;

const VECTORS: &str = include_str!("data/vectors.json");

fn frame_vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    vectors
        .iter()
        .filter(|vector| vector["kind"] == "frame")
        .cloned()
        .collect()
}

fn bytes_of(vector: &Value) -> Vec<u8> {
    let hex = vector["hex"].as_str().unwrap().as_bytes();
    hex.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn decode(vector: &Value) -> Frame {
    Frame::decode(Bytes::from(bytes_of(vector)).slice(4..))
        .unwrap_or_else(|error| panic!("{}: {error}", vector["id"]))
}

/// The fields as the vectors record them: null values and absent maps are told apart.
fn fields_of(frame: &Frame) -> Value {
    if !frame.has_fields() {
        return Value::Null;
    }
    frame
        .fields()
        .map(|(name, value)| {
            (
                name.into_owned(),
                Value::from(value.map(|text| text.into_owned())),
            )
        })
        .collect()
}

#[test]
fn every_frame_decodes_to_what_java_read() {
    let vectors = frame_vectors();
    assert_eq!(vectors.len(), 15, "a vector was added or lost");
    for vector in vectors {
        let (id, decoded, frame) = (&vector["id"], &vector["decoded"], decode(&vector));
        assert_eq!(frame.serialize as i64, decoded["serialize_type"], "{id}");
        assert_eq!(frame.code, decoded["code"], "{id}");
        assert_eq!(frame.language.name(), decoded["language"], "{id}");
        assert_eq!(frame.version, decoded["version"], "{id}");
        assert_eq!(frame.opaque, decoded["opaque"], "{id}");
        assert_eq!(frame.flag, decoded["flag"], "{id}");
        assert_eq!(
            Value::from(frame.remark().map(|text| text.into_owned())),
            decoded["remark"],
            "{id}"
        );
        assert_eq!(fields_of(&frame), decoded["ext_fields"], "{id}");
        assert_eq!(frame.body.len() as u64, decoded["body_len"], "{id}");
        if let Some(text) = decoded["body_utf8"].as_str() {
            assert_eq!(frame.body, text, "{id}");
        }
    }
}

#[test]
fn every_frame_encodes_to_the_bytes_java_wrote() {
    for vector in frame_vectors() {
        assert_eq!(
            decode(&vector).encode().unwrap(),
            bytes_of(&vector),
            "{}",
            vector["id"]
        );
    }
}

#[test]
fn codes_of_the_vectors_have_names_except_the_one_the_binary_dialect_cut() {
    for vector in frame_vectors() {
        let frame = decode(&vector);
        let name = if frame.is_response() {
            response_name(frame.code)
        } else {
            request_name(frame.code)
        };
        let is_cut = vector["id"] == "frame-bin-large-code-200151";
        assert_eq!(name.is_none(), is_cut, "{}", vector["id"]);
        assert!(!is_cut || (frame.serialize == SerializeType::RocketMq && frame.code == 200_151 & 0xFFFF));
    }
}
