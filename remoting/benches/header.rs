//! What it costs to decode a send request, from the bytes of its frame to the header's fields, and to encode its answer, in
//! both dialects: `cargo bench -p remoting`.

use std::borrow::Cow;

use bytes::Bytes;
use divan::Bencher;
use remoting::codes::request_code;
use remoting::fields::DecodeHeader;
use remoting::frame::{Frame, SerializeType};
use remoting::header::{SendMessageRequestHeader, SendMessageRequestHeaderV2};
use remoting::request::OutgoingRequest;

const DIALECTS: [SerializeType; 2] = [SerializeType::Json, SerializeType::RocketMq];
const LENGTH_WORD: usize = 4;
const PROPERTIES: &str =
    "UNIQ_KEY\u{1}7F000001000049DF0000000000000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

fn main() {
    divan::main();
}

#[divan::bench(args = DIALECTS, sample_size = 1000)]
fn decode(bencher: Bencher<'_, '_>, dialect: &SerializeType) {
    let frame = Bytes::from(send_request(*dialect).encode().expect("a short frame")).slice(LENGTH_WORD..);
    bencher.bench(|| {
        let frame = Frame::decode(frame.clone()).expect("a frame just encoded");
        SendMessageRequestHeader::decode(frame.fields())
            .expect("a header just encoded")
            .queue_id
    });
}

#[divan::bench(args = DIALECTS, sample_size = 1000)]
fn encode(bencher: Bencher<'_, '_>, dialect: &SerializeType) {
    let frame = send_request(*dialect);
    bencher.bench(|| frame.encode().expect("a short frame"));
}

fn send_request(dialect: SerializeType) -> Frame {
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
    frame
}
