//! One conversation with a NameServer, answered by the reference and by ours: `conversation.json` holds every
//! request and the answer a 5.5.0 name server gave to it.
//!
//! To capture the answers anew, start a 5.5.0 name server with an empty home and run
//! `CAPTURE_FROM=127.0.0.1:9876 cargo test -p namesrv --test conversation`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::clock::SystemClock;
use namesrv::Config;
use remoting::body::fastjson::Value;
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use serde::{Deserialize, Serialize};

/// From this version on, requesters get standard JSON.
const V4_9_4: i32 = 401;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// What the request is about.
    say: String,
    code: i32,
    version: i32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
    answer: Option<Answer>,
}

impl Step {
    /// Of a route with one broker nothing is left to hash order. Old requesters get bare keys from the
    /// reference, and so does, by an oversight, whoever asks for a zone.
    fn wants_exact_body(&self) -> bool {
        let body = self.answer.as_ref().map_or("", |answer| &answer.body);
        let brokers = body.matches("\"writeQueueNums\"").count();
        let quoted = self.version >= V4_9_4 && !self.fields.contains_key("__ZONE_MODE");
        self.code == request_code::GET_ROUTEINFO_BY_TOPIC && quoted && brokers <= 1
    }
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Answer {
    code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    body: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_that_of_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversation.json");
    let mut steps: Vec<Step> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    if let Ok(reference) = std::env::var("CAPTURE_FROM") {
        capture(&mut steps, reference.parse().unwrap());
        let lines: Vec<String> = steps
            .iter()
            .map(|step| serde_json::to_string(step).unwrap())
            .collect();
        std::fs::write(&path, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
        return;
    }

    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.bind_address = "127.0.0.1".to_owned();
    config.server.listen_port = 0;
    config.namesrv.kv_config_path = home.path().join("kvConfig.json").display().to_string();
    config.namesrv.config_store_path = home.path().join("namesrv.properties").display().to_string();
    let running = namesrv::start(config, Arc::new(SystemClock::new()))
        .await
        .unwrap();
    let addr = running.local_addr();

    let differences = tokio::task::spawn_blocking(move || differences(&steps, addr))
        .await
        .unwrap();

    running.stop().await;
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

fn capture(steps: &mut [Step], reference: SocketAddr) {
    let mut peer = TcpStream::connect(reference).unwrap();
    for step in steps {
        step.answer = Some(ask(&mut peer, step));
        // The reference unregisters brokers in the background.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn differences(steps: &[Step], addr: SocketAddr) -> Vec<String> {
    let mut peer = TcpStream::connect(addr).unwrap();
    let mut differences = Vec::new();
    for step in steps {
        let expected = step.answer.as_ref().expect("captured");
        let actual = ask(&mut peer, step);
        let same_head = (expected.code, &expected.fields) == (actual.code, &actual.fields);
        // Some successes of the reference carry a remark left over from its start value; nobody reads it.
        let same_remark = expected.code == response_code::SUCCESS || expected.remark == actual.remark;
        let same_body = if step.wants_exact_body() {
            expected.body == actual.body
        } else {
            canonical(&expected.body) == canonical(&actual.body)
        };
        if !(same_head && same_remark && same_body) {
            differences.push(format!(
                "{} ({})\n  reference {expected:?}\n  ours      {actual:?}",
                step.say, step.code
            ));
        }
    }
    differences
}

/// The reference prints maps and sets in hash order, and to old requesters integer keys without quotes.
fn canonical(body: &str) -> String {
    fn write(value: &Value<'_>) -> String {
        match value {
            Value::Array(elements) => {
                let mut elements: Vec<String> = elements.iter().map(write).collect();
                elements.sort();
                format!("[{}]", elements.join(","))
            }
            Value::Object(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", text(key), write(value)));
                let mut entries: Vec<String> = entries.collect();
                entries.sort();
                format!("{{{}}}", entries.join(","))
            }
            other => format!("{other:?}"),
        }
    }
    fn text(key: &Value<'_>) -> String {
        match key {
            Value::String(text) => text.to_string(),
            Value::Integer(number) => number.to_string(),
            other => write(other),
        }
    }
    if body.is_empty() {
        String::new()
    } else {
        write(&Value::parse(body).unwrap())
    }
}

fn ask(peer: &mut TcpStream, step: &Step) -> Answer {
    let header = serde_json::json!({
        "code": step.code, "language": "JAVA", "version": step.version, "opaque": 7, "flag": 0,
        "serializeTypeCurrentRPC": "JSON", "extFields": step.fields,
    });
    let header = serde_json::to_vec(&header).unwrap();
    let body = match (&step.body, &step.body_hex) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(hex)) => bytes_of(hex),
        (None, None) => Vec::new(),
    };
    let length = u32::try_from(4 + header.len() + body.len()).unwrap();
    let header_length = u32::try_from(header.len()).unwrap();
    let frame = [
        &length.to_be_bytes()[..],
        &header_length.to_be_bytes()[..],
        &header[..],
        &body[..],
    ]
    .concat();
    peer.write_all(&frame).unwrap();

    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame).unwrap();
    let frame = Frame::decode(frame.into()).unwrap();
    assert_eq!(frame.opaque, 7);
    let fields = frame
        .fields()
        .filter_map(|(name, value)| Some((name.into_owned(), value?.into_owned())));
    Answer {
        code: frame.code,
        remark: frame.remark().map(|remark| remark.into_owned()),
        fields: fields.collect(),
        body: String::from_utf8(frame.body.to_vec()).unwrap(),
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
