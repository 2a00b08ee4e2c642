//! SEND_REPLY_MESSAGE, SEND_REPLY_MESSAGE_V2; the producer is asked over a real socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use remoting::body::{HeartbeatData, ProducerData, fastjson};
use remoting::client::{Client, ClientConfig};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::header::SendMessageRequestHeaderV2;
use remoting::request::OutgoingRequest;
use remoting::server::{Server, ServerConfig};
use store::record;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
const WAIT: Duration = Duration::from_secs(5);

fn reply_request(properties: &str) -> OutgoingRequest {
    OutgoingRequest::new(request_code::SEND_REPLY_MESSAGE_V2)
        .header(&SendMessageRequestHeaderV2(send_header(REPLY_TOPIC, properties)))
        .body(&b"the answer"[..])
}

async fn serve(broker: &TestBroker) -> Server<Broker> {
    let server = Server::bind(
        address("127.0.0.1:0"),
        ServerConfig::default(),
        Arc::clone(&broker.broker),
    )
    .await;
    server.expect("a free port")
}

/// The socket of a producer that waits for replies.
struct Producer(TcpStream);

impl Producer {
    async fn connect(server: &Server<Broker>, client_id: &str) -> Self {
        let mut producer = Producer(TcpStream::connect(server.local_addr()).await.unwrap());
        let heartbeat = HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: vec![ProducerData {
                group_name: "requesters".to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let request =
            OutgoingRequest::new(request_code::HEART_BEAT).body(fastjson::to_vec(&heartbeat).unwrap());
        producer
            .0
            .write_all(&Frame::of_request(&request).encode().unwrap())
            .await
            .unwrap();
        assert_eq!(producer.read().await.code, response_code::SUCCESS);
        producer
    }

    async fn read(&mut self) -> Frame {
        let length = tokio::time::timeout(WAIT, self.0.read_u32())
            .await
            .expect("a frame in time")
            .unwrap();
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes).await.unwrap();
        Frame::decode(Bytes::from(bytes)).unwrap()
    }

    async fn answer(&mut self, request: &Frame, code: i32) {
        let header = format!(
            r#"{{"code":{code},"flag":1,"language":"JAVA","opaque":{},"version":513}}"#,
            request.opaque
        );
        self.0.write_u32(4 + header.len() as u32).await.unwrap();
        self.0.write_u32(header.len() as u32).await.unwrap();
        self.0.write_all(header.as_bytes()).await.unwrap();
    }
}

async fn send_reply(server: &Server<Broker>, properties: String) -> Answer {
    let client = Client::new(ClientConfig::default());
    let addr = server.local_addr().to_string();
    let frame = client
        .invoke(&addr, reply_request(&properties), WAIT)
        .await
        .expect("an answer");
    Answer::of_frame(&frame)
}

#[tokio::test]
async fn a_reply_reaches_the_client_that_asked_and_is_kept() {
    let broker = TestBroker::new();
    let server = serve(&broker).await;
    let mut requester = Producer::connect(&server, "requester-1").await;
    let properties = property_text(&[
        ("REPLY_TO_CLIENT", "requester-1"),
        ("CORRELATION_ID", "c"),
        ("MSG_TYPE", "reply"),
    ]);

    let accepts = async {
        let push = requester.read().await;
        requester.answer(&push, response_code::SUCCESS).await;
        push
    };
    let (push, answer) = tokio::join!(accepts, send_reply(&server, properties));

    assert_eq!(
        (push.code, &push.body[..]),
        (request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, &b"the answer"[..])
    );
    let field = |name| push.fields().get(name).unwrap_or_default().into_owned();
    let pushed = field("properties");
    assert_eq!(properties::get(&pushed, "CORRELATION_ID"), Some("c"));
    assert_eq!(
        properties::get(&pushed, "PUSH_REPLY_TIME"),
        Some(NOW_MS.to_string().as_str())
    );
    assert_eq!(
        (field("topic").as_str(), field("storeTimestamp")),
        (REPLY_TOPIC, NOW_MS.to_string())
    );
    assert_eq!(field("storeHost"), "10.0.0.1:10911");
    assert!(field("bornHost").starts_with("127.0.0.1:"));

    assert_eq!(
        (answer.code, answer.field("TRACE_ON")),
        (response_code::SUCCESS, "true"),
        "{}",
        answer.remark
    );
    let bytes = stored(&broker, answer.field("msgId"));
    let record = record::decode(&bytes).unwrap();
    assert_eq!((record.topic, record.body), (REPLY_TOPIC, &b"the answer"[..]));
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_the_client_refuses_is_reported_to_the_consumer() {
    let broker = TestBroker::configured(&[("storeReplyMessageEnable", "false")]);
    let server = serve(&broker).await;
    let mut requester = Producer::connect(&server, "requester-1").await;
    let refuses = async {
        let push = requester.read().await;
        requester.answer(&push, response_code::SYSTEM_ERROR).await;
    };
    let properties = property_text(&[("REPLY_TO_CLIENT", "requester-1")]);
    let ((), answer) = tokio::join!(refuses, send_reply(&server, properties));
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (
            response_code::SYSTEM_ERROR,
            "push reply message to requester-1fail."
        )
    );
    assert_eq!((answer.field("msgId"), answer.field("queueOffset")), ("0", "0"));
    assert_eq!(broker.broker.store.state().put_message_count, 0);
    server.stop().await;
}

#[test]
fn a_reply_without_a_client_to_go_to_is_refused_and_still_kept() {
    let broker = TestBroker::new();
    let nobody = broker.client().call(reply_request(""));
    assert_eq!(nobody.code, response_code::SYSTEM_ERROR);
    assert_eq!(nobody.remark, "reply message properties[REPLY_TO_CLIENT] is null");
    let gone = broker
        .client()
        .call(reply_request(&property_text(&[("REPLY_TO_CLIENT", "gone")])));
    assert_eq!(gone.code, response_code::SYSTEM_ERROR);
    assert_eq!(
        gone.remark,
        "push reply message fail, channel of <gone> not found."
    );
    assert_eq!(broker.broker.store.state().put_message_count, 2);
}
