//! HalfMessage: a message between its send and the end of its transaction, and the messages that can follow from it.
//!
//! ```text
//!   sent      topic T, queue q, TRAN_MSG=true, PGROUP=g
//!   stored    half topic, queue 0, transaction bits cleared, + __transactionId__, REAL_TOPIC=T, REAL_QID=q
//!   committed T, q, commit bits set, prepared offset = where the half message lies, - REAL_TOPIC, - REAL_QID
//!   put back  half topic again, TRANSACTION_CHECK_TIMES + 1, or TRAN_PREPARED_QUEUE_OFFSET while it must not be checked
//!   discarded TRANS_CHECK_MAX_TIME_TOPIC, queue 0
//! ```
//!
//! Reference: `TransactionalMessageBridge`, `EndTransactionProcessor.endMessageTransaction`,
//! `DefaultTransactionalMessageCheckListener`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use common::message::properties::{self, name};
use common::message::sys_flag;
use common::names;
use store::Message;
use store::record::Record;

/// The queue of the half topic that all half messages are in.
pub(crate) const HALF_QUEUE_ID: i32 = 0;

/// What a half message and the copies of it that were put back have in common, and no other message has: its unique
/// key, and when, where and by whom it was made.
///
/// The key alone would not do: an application may send the same message object again in another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey {
    born_timestamp_ms: i64,
    hash: u64,
}

impl TransactionKey {
    /// The key of a half message, and of the messages that follow from it.
    pub fn of(record: &Record<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        (
            record.property(name::UNIQ_KEY),
            record.property(name::PRODUCER_GROUP),
        )
            .hash(&mut hasher);
        (record.born_host, record.body_crc).hash(&mut hasher);
        TransactionKey {
            born_timestamp_ms: record.born_timestamp_ms,
            hash: hasher.finish(),
        }
    }
}

/// A record of the half topic.
#[derive(Clone, Copy, Debug)]
pub struct HalfMessage<'a> {
    pub(crate) record: Record<'a>,
}

/// A message to put, with properties of its own.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    topic: &'a str,
    queue_id: i32,
    sys_flag: i32,
    prepared_transaction_offset: u64,
    pub(crate) properties: String,
    origin: Record<'a>,
}

impl<'a> HalfMessage<'a> {
    /// The half message in this record; `None` for records of other topics.
    pub fn of(record: Record<'a>) -> Option<Self> {
        (record.topic == names::TRANS_HALF_TOPIC && record.queue_id == HALF_QUEUE_ID)
            .then_some(HalfMessage { record })
    }

    /// Its place in the half queue.
    pub fn queue_offset(&self) -> u64 {
        self.record.queue_offset.0
    }

    /// What it shares with its copies.
    pub fn key(&self) -> TransactionKey {
        TransactionKey::of(&self.record)
    }

    /// Whether it is a copy that a check has put back.
    pub fn is_put_back(&self) -> bool {
        [name::TRANSACTION_CHECK_TIMES, name::TRAN_PREPARED_QUEUE_OFFSET]
            .iter()
            .any(|name| self.record.property(name).is_some())
    }

    /// The topic it is meant for; `None` when no broker stored it as a half message.
    pub fn real_topic(&self) -> Option<&'a str> {
        self.record.property(name::REAL_TOPIC)
    }

    /// The queue it is meant for.
    pub fn real_queue_id(&self) -> Option<i32> {
        self.record.property(name::REAL_QUEUE_ID)?.parse().ok()
    }

    /// The group whose producers know how its transaction ended.
    pub fn producer_group(&self) -> Option<&'a str> {
        self.record.property(name::PRODUCER_GROUP)
    }

    /// How often its producers were asked; `None` before the first time, -1 when the property is no number.
    pub fn check_times(&self) -> Option<i32> {
        self.record
            .property(name::TRANSACTION_CHECK_TIMES)
            .map(|times| times.parse().unwrap_or(-1))
    }

    /// For how long after its birth its producer wants not to be asked, as sent.
    pub fn immunity(&self) -> Option<&'a str> {
        self.record.property(name::CHECK_IMMUNITY_TIME_IN_SECONDS)
    }

    /// The message in its own topic; `None` when the properties do not say where that is.
    pub fn committed(&self) -> Option<Draft<'a>> {
        Some(Draft {
            topic: self.real_topic()?,
            queue_id: self.real_queue_id()?,
            sys_flag: sys_flag::with_transaction_type(self.record.sys_flag, sys_flag::TRANSACTION_COMMIT),
            prepared_transaction_offset: self.record.physical_offset.0,
            properties: rewritten(
                self.record.properties,
                &[name::REAL_TOPIC, name::REAL_QUEUE_ID],
                None,
            ),
            origin: self.record,
        })
    }

    /// The copy to put back when the producer is asked once more.
    pub fn checked_again(&self) -> Draft<'a> {
        // Not a number counts as -1, as the reference has it.
        let times = self.check_times().map_or(1, |times| times.saturating_add(1));
        self.put_back(name::TRANSACTION_CHECK_TIMES, times.to_string())
    }

    /// The copy to put back when it is too early to ask: it remembers the first copy's place.
    pub fn immune(&self) -> Draft<'a> {
        let first = self
            .record
            .property(name::TRAN_PREPARED_QUEUE_OFFSET)
            .map_or_else(|| self.queue_offset().to_string(), str::to_owned);
        self.put_back(name::TRAN_PREPARED_QUEUE_OFFSET, first)
    }

    /// The copy to put back so that it is checked from the beginning. Reference: `resumeCheckHalfMessage`.
    pub(crate) fn resumed(record: Record<'a>) -> Draft<'a> {
        HalfMessage { record }.put_back(name::TRANSACTION_CHECK_TIMES, "0".to_owned())
    }

    /// The copy for the topic of those that nobody answers for.
    pub fn discarded(&self) -> Draft<'a> {
        Draft {
            topic: names::TRANS_CHECK_MAX_TIME_TOPIC,
            queue_id: 0,
            sys_flag: self.record.sys_flag,
            prepared_transaction_offset: 0,
            properties: rewritten(self.record.properties, &[], None),
            origin: self.record,
        }
    }

    fn put_back(&self, name: &'static str, value: String) -> Draft<'a> {
        Draft {
            topic: names::TRANS_HALF_TOPIC,
            queue_id: HALF_QUEUE_ID,
            sys_flag: self.record.sys_flag,
            prepared_transaction_offset: 0,
            properties: rewritten(self.record.properties, &[name], Some((name, &value))),
            origin: self.record,
        }
    }
}

impl<'a> Draft<'a> {
    /// The topic it goes to.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Has the message wait in the queue of a delay level first.
    pub fn delayed(mut self, level: i32) -> Self {
        self.redirect(names::SCHEDULE_TOPIC, level - 1);
        properties::push(&mut self.properties, name::DELAY, &level.to_string());
        self
    }

    /// Has the message wait in a slot of the timer first.
    pub fn timed(mut self, out_ms: i64) -> Self {
        self.redirect(names::TIMER_TOPIC, 0);
        properties::push(&mut self.properties, name::TIMER_OUT_MS, &out_ms.to_string());
        self
    }

    /// Sends it to a queue of the broker; where it goes afterwards stands in its properties.
    fn redirect(&mut self, topic: &'a str, queue_id: i32) {
        let real_queue_id = self.queue_id.to_string();
        for (name, value) in [
            (name::REAL_TOPIC, self.topic),
            (name::REAL_QUEUE_ID, &real_queue_id),
        ] {
            properties::push(&mut self.properties, name, value);
        }
        self.topic = topic;
        self.queue_id = queue_id;
    }

    /// The message to put.
    pub fn message(&self) -> Message<'_> {
        let origin = &self.origin;
        Message {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: origin.flag,
            sys_flag: self.sys_flag,
            born_timestamp_ms: origin.born_timestamp_ms,
            born_host: origin.born_host,
            store_host: origin.store_host,
            reconsume_times: origin.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            properties: &self.properties,
            body: origin.body,
        }
    }

    /// The same as the producer is to see it: in its own topic and queue; `None` when that is unknown.
    pub fn as_asked_about(&self) -> Option<Message<'_>> {
        let half = HalfMessage { record: self.origin };
        Some(Message {
            topic: half.real_topic()?,
            queue_id: half.real_queue_id()?,
            ..self.message()
        })
    }

    /// When the message it was made from was stored.
    pub(crate) fn origin_store_timestamp_ms(&self) -> i64 {
        self.origin.store_timestamp_ms
    }

    /// Where that was.
    pub(crate) fn store_host(&self) -> SocketAddr {
        self.origin.store_host
    }

    /// The unique key of the message.
    pub(crate) fn uniq_key(&self) -> Option<&'a str> {
        self.origin.property(name::UNIQ_KEY)
    }

    /// The group that is asked about it.
    pub fn producer_group(&self) -> Option<&'a str> {
        self.origin.property(name::PRODUCER_GROUP)
    }
}

/// The properties without some of them, and one set. The checksum of the old record always goes.
fn rewritten(text: &str, without: &[&str], with: Option<(&str, &str)>) -> String {
    let mut rewritten = String::with_capacity(text.len() + 64);
    let kept = properties::iter(text).filter(|(name, _)| !without.contains(name) && *name != name::CRC32);
    for (name, value) in kept {
        properties::push(&mut rewritten, name, value);
    }
    if let Some((name, value)) = with {
        properties::push(&mut rewritten, name, value);
    }
    rewritten
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use common::message::properties::MessageProperties;
    use store::record::{self, encode::RecordStyle, encode::encode, encode::patch};
    use store::{PhysicalOffset, QueueOffset};

    use super::*;
    use crate::transaction::op_message;

    const STYLE: RecordStyle = RecordStyle {
        version_by_topic_length: false,
        append_property_crc: false,
    };

    /// The records of four transactions of a Java broker, by physical offset; see the README beside them.
    fn java_records() -> BTreeMap<u64, Vec<u8>> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/java-transactions/records.txt");
        let text = std::fs::read_to_string(file).unwrap();
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                (words[0].parse().unwrap(), bytes_of(words[3]))
            })
            .collect()
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    /// As the store would write the message in the place of `of`.
    fn written(message: &Message<'_>, of: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(message, STYLE, &mut bytes);
        let (queue, physical) = (of.queue_offset, of.physical_offset);
        patch(&mut bytes, queue, physical, of.store_timestamp_ms, STYLE);
        bytes
    }

    fn half<'a>(records: &'a BTreeMap<u64, Vec<u8>>, at: u64) -> HalfMessage<'a> {
        HalfMessage::of(record::decode(&records[&at]).unwrap()).expect("a half message")
    }

    #[test]
    fn a_committed_message_is_written_as_java_writes_it() {
        let records = java_records();
        for (half_at, committed_at) in [(222_296, 223_102), (229_119, 229_977)] {
            let java = record::decode(&records[&committed_at]).unwrap();
            let draft = half(&records, half_at).committed().unwrap();
            assert_eq!(written(&draft.message(), &java), records[&committed_at]);
        }
    }

    #[test]
    fn an_op_message_is_written_as_java_writes_it() {
        let records = java_records();
        for (at, offsets) in [(228_980, &[0, 1][..]), (231_487, &[4])] {
            let java = record::decode(&records[&at]).unwrap();
            let mut ops = op_message::OpQueue::default();
            for offset in offsets {
                ops.push(*offset);
            }
            let batch = ops.batch(4096).unwrap();
            let message = op_message::message(batch.body.as_bytes(), java.store_host, java.born_timestamp_ms);
            assert_eq!(written(&message, &java), records[&at]);
            let read: Vec<u64> = op_message::parse(java.property(name::TAGS), java.body).collect();
            assert_eq!(read, offsets);
        }
    }

    #[test]
    fn copies_put_back_and_discarded_differ_from_javas_only_in_the_order_of_properties() {
        let records = java_records();
        let steps = [
            (223_458, 229_119), // tx-2, asked once
            (223_861, 229_548), // tx-3, asked once
            (229_548, 237_425), // twice
            (237_425, 237_854), // three times
        ];
        for (from, to) in steps {
            assert_same(
                &half(&records, from).checked_again(),
                &records[&to],
                &format!("{from} -> {to}"),
            );
        }
        assert_same(
            &half(&records, 237_854).discarded(),
            &records[&238_283],
            "discarded",
        );
    }

    fn assert_same(ours: &Draft<'_>, java_bytes: &[u8], name: &str) {
        let java = record::decode(java_bytes).unwrap();
        let sorted = |text: &str| {
            let properties = MessageProperties::parse(text);
            properties
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let bytes = written(&ours.message(), &java);
        let ours = record::decode(&bytes).unwrap();
        assert_eq!(sorted(ours.properties), sorted(java.properties), "{name}");
        let properties = java.properties;
        assert_eq!(Record { properties, ..ours }, java, "{name}");
    }

    #[test]
    fn copies_of_a_message_share_their_key_and_other_messages_do_not() {
        let records = java_records();
        let key = |at| TransactionKey::of(&record::decode(&records[&at]).unwrap());
        for copy in [229_548, 237_425, 237_854, 238_283] {
            assert_eq!(key(copy), key(223_861));
        }
        assert_eq!(key(229_977), key(223_458), "of a committed message too");
        assert_ne!(key(223_861), key(223_458));
        let copies: Vec<bool> = [223_861, 229_548]
            .map(|at| half(&records, at).is_put_back())
            .to_vec();
        assert_eq!(copies, [false, true]);
    }

    #[test]
    fn what_is_sent_again_with_the_same_key_is_another_transaction() {
        let records = java_records();
        let first = half(&records, 222_296);
        let again = HalfMessage {
            record: Record {
                born_timestamp_ms: first.record.born_timestamp_ms + 1,
                queue_offset: QueueOffset(9),
                physical_offset: PhysicalOffset(9_000),
                ..first.record
            },
        };
        assert_ne!(first.key(), again.key());
    }

    #[test]
    fn an_immune_copy_remembers_the_first_place_and_a_resumed_one_starts_counting_anew() {
        let records = java_records();
        let first = half(&records, 223_861);
        let immune = first.immune();
        assert!(
            immune
                .properties
                .ends_with("TRAN_PREPARED_QUEUE_OFFSET\u{1}3\u{2}")
        );
        let bytes = written(&immune.message(), &half(&records, 229_548).record);
        let copy = HalfMessage::of(record::decode(&bytes).unwrap()).unwrap();
        assert_eq!(copy.queue_offset(), 5);
        assert_eq!(
            copy.immune().properties,
            immune.properties,
            "the first place stays"
        );

        let given_up = record::decode(&records[&238_283]).unwrap();
        let resumed = HalfMessage::resumed(given_up);
        assert_eq!(resumed.topic(), names::TRANS_HALF_TOPIC);
        let times = properties::get(&resumed.properties, name::TRANSACTION_CHECK_TIMES);
        assert_eq!(times, Some("0"));
    }

    #[test]
    fn a_record_that_names_no_destination_cannot_be_committed() {
        let records = java_records();
        let stored = half(&records, 222_296);
        for properties in [
            "",
            "REAL_TOPIC\u{1}T\u{2}",
            "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}x\u{2}",
        ] {
            let half = HalfMessage {
                record: Record {
                    properties,
                    ..stored.record
                },
            };
            assert!(half.committed().is_none(), "{properties:?}");
        }
        let committed = record::decode(&records[&223_102]).unwrap();
        assert!(HalfMessage::of(committed).is_none(), "of another topic");
    }
}
