//! What it costs to decode a send request, from the bytes of its frame to the header's fields, in both dialects:
//! `cargo bench -p remoting`.
//!
//! CPU time of the process, so that it hardly depends on how busy the machine is.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use remoting::codes::request_code;
use remoting::fields::DecodeHeader;
use remoting::frame::{Frame, SerializeType};
use remoting::header::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::request::OutgoingRequest;

const FRAMES: u32 = 2_000_000;
const LENGTH_WORD: usize = 4;
const PROPERTIES: &str =
    "UNIQ_KEY\u{1}7F000001000049DF0000000000000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

fn main() {
    // `cargo test` runs benches too: with this argument missing there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for dialect in [SerializeType::Json, SerializeType::RocketMq] {
        let frame = frame(dialect);
        let before = cpu_time();
        for _ in 0..FRAMES {
            decode(black_box(&frame));
        }
        let each = (cpu_time() - before) / FRAMES;
        println!(
            "decode a send request, {dialect:?}: {each:?} CPU, {} bytes",
            frame.len()
        );
    }
}

fn frame(dialect: SerializeType) -> Bytes {
    let header = SendMessageRequestHeader {
        producer_group: "BenchmarkGroup".into(),
        topic: "BenchmarkTopic".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: 1_700_000_000_000,
        properties: Some(Cow::Borrowed(PROPERTIES)),
        ..SendMessageRequestHeader::default()
    };
    let request = OutgoingRequest::new(request_code::SEND_MESSAGE_V2)
        .header(&SendMessageRequestHeaderV2(header))
        .body(vec![b'x'; 100]);
    let mut frame = Frame::of_request(&request);
    frame.serialize = dialect;
    Bytes::from(frame.encode().expect("a short frame")).slice(LENGTH_WORD..)
}

fn decode(bytes: &Bytes) {
    let frame = Frame::decode(bytes.clone()).expect("a frame just encoded");
    let header = SendMessageRequestHeader::decode(frame.fields()).expect("a header just encoded");
    black_box(header.queue_id);
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
