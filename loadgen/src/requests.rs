//! The requests this generator sends, field by field as the Java client of 5.5.0 sends them.

use remoting::codes::request_code;
use serde_json::json;

use crate::target::Target;
use crate::template::{Dialect, Template, born_timestamp, delivery_time, queue_offset, unique_key};

/// The group of producers and consumers here.
pub const GROUP: &str = "LoadGroup";

/// The pull waits at the broker for messages.
pub const PULL_SUSPEND: i32 = 2;
/// The pull carries its subscription.
pub const PULL_SUBSCRIPTION: i32 = 4;

/// Where and how to send.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// How the header is written.
    pub dialect: Dialect,
    /// The topic.
    pub topic: &'a str,
    /// Its queue.
    pub queue_id: usize,
    /// Queues it gets when it does not exist.
    pub queues: u16,
}

impl<'a> Destination<'a> {
    /// A queue of `topic` at the broker under load.
    pub fn of(target: &Target, topic: &'a str, queue_id: usize) -> Self {
        Self {
            dialect: target.header,
            topic,
            queue_id,
            queues: target.queues,
        }
    }
}

/// Properties of a message from a Java producer, with the message id's stand-in.
fn properties() -> String {
    format!("UNIQ_KEY\x01{}\x02WAIT\x01true\x02TAGS\x01TagA\x02", unique_key())
}

/// SEND_MESSAGE_V2 with one body, or SEND_BATCH_MESSAGE with `batch` copies of it.
pub fn send(destination: Destination<'_>, body: &[u8], batch: usize) -> Template {
    if batch == 1 {
        return send_one(destination, body, properties());
    }
    let inner = batch_item(body).repeat(batch);
    let fields = send_fields(destination, properties(), true);
    Template::new(
        destination.dialect,
        request_code::SEND_BATCH_MESSAGE,
        &fields,
        &inner,
    )
}

/// SEND_MESSAGE_V2 of a message with a delivery time.
pub fn send_timer(destination: Destination<'_>, body: &[u8]) -> Template {
    let properties = format!("{}TIMER_DELIVER_MS\x01{}\x02", properties(), delivery_time());
    send_one(destination, body, properties)
}

fn send_one(destination: Destination<'_>, body: &[u8], properties: String) -> Template {
    let fields = send_fields(destination, properties, false);
    Template::new(destination.dialect, request_code::SEND_MESSAGE_V2, &fields, body)
}

fn send_fields(
    destination: Destination<'_>,
    properties: String,
    is_batch: bool,
) -> [(&'static str, String); 13] {
    [
        ("a", GROUP.to_owned()),
        ("b", destination.topic.to_owned()),
        ("c", "TBW102".to_owned()),
        ("d", destination.queues.to_string()),
        ("e", destination.queue_id.to_string()),
        ("f", "0".to_owned()),
        ("g", born_timestamp()),
        ("h", "0".to_owned()),
        ("i", properties),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", is_batch.to_string()),
        ("n", "broker-a".to_owned()),
    ]
}

/// One message of a batch: size, magic 0, CRC 0, flag 0, body, properties.
fn batch_item(body: &[u8]) -> Vec<u8> {
    let properties = properties();
    let size = 22 + body.len() + properties.len();
    let mut item = Vec::with_capacity(size);
    item.extend((size as u32).to_be_bytes());
    item.extend([0; 12]);
    item.extend((body.len() as u32).to_be_bytes());
    item.extend(body);
    item.extend((properties.len() as u16).to_be_bytes());
    item.extend(properties.bytes());
    item
}

/// PULL_MESSAGE of up to 32 messages of one queue.
///
/// With [`PULL_SUBSCRIPTION`] in `sys_flag` the broker parses the subscription of each pull; without, it takes the
/// one of the heartbeat, as push consumers mostly have it.
pub fn pull(dialect: Dialect, topic: &str, queue_id: usize, sys_flag: i32, suspend_ms: u64) -> Template {
    let mut fields = vec![
        ("consumerGroup", GROUP.to_owned()),
        ("topic", topic.to_owned()),
        ("queueId", queue_id.to_string()),
        ("queueOffset", queue_offset()),
        ("maxMsgNums", "32".to_owned()),
        ("sysFlag", sys_flag.to_string()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", suspend_ms.to_string()),
        ("subVersion", "0".to_owned()),
        ("expressionType", "TAG".to_owned()),
        ("maxMsgBytes", i32::MAX.to_string()),
        ("bname", "broker-a".to_owned()),
    ];
    if sys_flag & PULL_SUBSCRIPTION != 0 {
        fields.push(("subscription", "*".to_owned()));
    }
    Template::new(dialect, request_code::PULL_MESSAGE, &fields, b"")
}

/// HEART_BEAT of a push consumer that subscribes to all of `topic`.
pub fn heartbeat(dialect: Dialect, client_id: &str, topic: &str) -> Template {
    let body = json!({
        "clientID": client_id,
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
            "consumeType": "CONSUME_PASSIVELY",
            "groupName": GROUP,
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": [{
                "classFilterMode": false,
                "codeSet": [],
                "expressionType": "TAG",
                "subString": "*",
                "subVersion": 0,
                "tagsSet": [],
                "topic": topic,
            }],
            "unitMode": false,
        }],
        "heartbeatFingerprint": 0,
        "producerDataSet": [{"groupName": "CLIENT_INNER_PRODUCER"}],
        "withoutSub": false,
    });
    Template::new(
        dialect,
        request_code::HEART_BEAT,
        &[],
        body.to_string().as_bytes(),
    )
}

/// UPDATE_AND_CREATE_TOPIC as mqadmin sends it.
pub fn create_topic(dialect: Dialect, topic: &str, queues: u16) -> Template {
    let fields = [
        ("topic", topic.to_owned()),
        ("defaultTopic", "TBW102".to_owned()),
        ("readQueueNums", queues.to_string()),
        ("writeQueueNums", queues.to_string()),
        ("perm", "6".to_owned()),
        ("topicFilterType", "SINGLE_TAG".to_owned()),
        ("topicSysFlag", "0".to_owned()),
        ("order", "false".to_owned()),
    ];
    Template::new(dialect, request_code::UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

/// GET_MAX_OFFSET: the end of a queue, in the field `offset`.
pub fn max_offset(dialect: Dialect, topic: &str, queue_id: usize) -> Template {
    let fields = [
        ("topic", topic.to_owned()),
        ("queueId", queue_id.to_string()),
        ("committed", "true".to_owned()),
    ];
    Template::new(dialect, request_code::GET_MAX_OFFSET, &fields, b"")
}

/// A body of `size` bytes that does not repeat itself.
pub fn body(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{FIRST_OPAQUE, Stamp};

    const DESTINATION: Destination<'_> = Destination {
        dialect: Dialect::Rocketmq,
        topic: "TopicTest",
        queue_id: 3,
        queues: 4,
    };

    fn stamp() -> Stamp {
        Stamp {
            key: 1,
            ..Stamp::opaque(FIRST_OPAQUE)
        }
    }

    #[test]
    fn a_batch_holds_each_message_with_its_size_and_its_own_key() {
        let mut template = send(DESTINATION, b"0123456789", 2);
        let frame = template.stamp(stamp());
        let properties = properties();
        let size = 22 + 10 + properties.len();
        let items = &frame[frame.len() - 2 * size..];
        for (item, key) in items.chunks(size).zip(["2", "3"]) {
            assert_eq!(item[..4], (size as u32).to_be_bytes());
            assert_eq!(item[16..20], 10_u32.to_be_bytes());
            assert_eq!(&item[20..30], b"0123456789");
            let text = String::from_utf8_lossy(&item[32..]).into_owned();
            assert_eq!(text.len(), properties.len());
            assert!(
                text.starts_with(&format!("UNIQ_KEY\x017F0000010BE4C8D2000000000000000{key}\x02")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_body_is_as_long_as_asked_and_the_same_each_time() {
        assert_eq!(body(1_000).len(), 1_000);
        assert_eq!(body(64), body(64));
        assert_ne!(body(64)[..32], body(64)[32..]);
    }
}
