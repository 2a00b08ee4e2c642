//! What a waiting message says about itself, and the copies that leave the timer.
//!
//! ```text
//!   properties read   TIMER_OUT_MS, REAL_TOPIC, REAL_QID, UNIQ_KEY, TIMER_DEL_UNIQKEY, TIMER_ROLL_TIMES, the wanted time
//!   properties set    TIMER_ENQUEUE_MS, TIMER_DEQUEUE_MS; when it rolls TIMER_ROLL_TIMES, TIMER_DELIVER_MS
//! ```
//!
//! A copy keeps everything else, REAL_TOPIC and REAL_QID included. Reference: `TimerMessageStore.convert`.

use common::message::properties::{self, MessageProperties, name};
use common::names;
use store::record::Record;

use crate::delay::copy::without_crc;

/// A message of the timer topic, or a copy of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerMessage<'a> {
    /// The slot it waits in.
    pub out_ms: i64,
    /// The topic it is meant for.
    pub real_topic: &'a str,
    /// The queue of that.
    pub real_queue_id: i32,
    /// Its unique key.
    pub uniq_key: Option<&'a str>,
    /// It takes back the message with this key.
    pub deletes: Option<&'a str>,
    /// How often it went back into the timer topic.
    pub roll_times: u32,
    /// When its producer made it.
    pub born_ms: i64,
    /// When it was to be delivered, as far as it still says.
    wanted_ms: Option<i64>,
}

impl<'a> TimerMessage<'a> {
    /// Reads a record; `None` when it is no message of the timer.
    pub fn of(record: &Record<'a>) -> Option<Self> {
        let (mut out_ms, mut real_topic, mut real_queue_id) = (None, None, None);
        let (mut uniq_key, mut deletes, mut roll_times) = (None, None, 0);
        let (mut delay_sec, mut delay_ms, mut deliver_ms) = (None::<i64>, None::<i64>, None);
        for (name, value) in properties::iter(record.properties) {
            match name {
                name::TIMER_OUT_MS => out_ms = value.parse().ok(),
                name::REAL_TOPIC => real_topic = Some(value),
                name::REAL_QUEUE_ID => real_queue_id = value.parse().ok(),
                name::UNIQ_KEY => uniq_key = Some(value),
                name::TIMER_DEL_UNIQKEY => deletes = Some(value),
                name::TIMER_ROLL_TIMES => roll_times = value.parse().unwrap_or(0),
                name::TIMER_DELAY_SEC => delay_sec = value.parse().ok(),
                name::TIMER_DELAY_MS => delay_ms = value.parse().ok(),
                name::TIMER_DELIVER_MS => deliver_ms = value.parse().ok(),
                _ => {}
            }
        }
        let delay_ms = delay_sec
            .map(|seconds| seconds.saturating_mul(1_000))
            .or(delay_ms);
        let wanted_ms = match delay_ms {
            // The record was stored right after the broker added the delay to its time; a copy that rolled, much later.
            Some(delay_ms) if roll_times == 0 => Some(record.store_timestamp_ms.saturating_add(delay_ms)),
            _ => deliver_ms,
        };
        Some(Self {
            out_ms: out_ms?,
            real_topic: real_topic?,
            real_queue_id: real_queue_id?,
            uniq_key,
            deletes,
            roll_times,
            born_ms: record.born_timestamp_ms,
            wanted_ms,
        })
    }

    /// When exactly it is due; inside its slot, whatever it says.
    pub fn due_ms(&self, precision_ms: i64) -> i64 {
        let end_ms = self.out_ms.saturating_add(precision_ms);
        self.wanted_ms.map_or(end_ms, |wanted_ms| {
            wanted_ms.clamp(self.out_ms.saturating_add(1), end_ms)
        })
    }

    /// The key by which a recall names it.
    pub fn delete_key(&self, with_topic: bool) -> Option<String> {
        self.uniq_key
            .map(|uniq_key| delete_key(self.real_topic, uniq_key, with_topic))
    }
}

/// The key of a message in TIMER_DEL_UNIQKEY; `with_topic` is `appendTopicForTimerDeleteKey`.
///
/// Reference: `TimerMessageStore.buildDeleteKey`.
pub(crate) fn delete_key(topic: &str, uniq_key: &str, with_topic: bool) -> String {
    if with_topic {
        format!("{topic}+{uniq_key}")
    } else {
        uniq_key.to_owned()
    }
}

/// Where a copy goes, and what it remembers.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// The slot that was current when it was filed; `i64::MAX` when it never was.
    pub enqueue_ms: i64,
    /// When it leaves.
    pub now_ms: i64,
    /// Back into the timer topic; the time is when it is due.
    pub rolls_until_ms: Option<i64>,
}

impl Leaving {
    /// Topic and queue of the copy.
    pub fn destination<'a>(&self, message: &TimerMessage<'a>) -> (&'a str, i32) {
        match self.rolls_until_ms {
            Some(_) => (names::TIMER_TOPIC, 0),
            None => (message.real_topic, message.real_queue_id),
        }
    }

    /// The properties of the copy.
    pub fn properties(&self, record: &Record<'_>, message: &TimerMessage<'_>) -> String {
        let mut properties = MessageProperties::parse(without_crc(record.properties));
        properties.set(name::TIMER_ENQUEUE_MS, self.enqueue_ms.to_string());
        if let Some(due_ms) = self.rolls_until_ms {
            properties.set(
                name::TIMER_ROLL_TIMES,
                message.roll_times.saturating_add(1).to_string(),
            );
            // A delay counts from when the message was stored, and the copy is stored anew.
            properties.set(name::TIMER_DELIVER_MS, due_ms.to_string());
        }
        properties.set(name::TIMER_DEQUEUE_MS, self.now_ms.to_string());
        properties.encode()
    }
}

#[cfg(test)]
mod tests {
    use store::record::encode::{RecordStyle, encode, patch};
    use store::{Message, PhysicalOffset, QueueOffset, record};

    use super::*;

    fn bytes(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut properties = String::new();
        for (name, value) in pairs {
            properties::push(&mut properties, name, value);
        }
        let style = RecordStyle {
            version_by_topic_length: false,
            append_property_crc: false,
        };
        let message = Message {
            topic: names::TIMER_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 11,
            born_host: "10.0.0.1:1000".parse().unwrap(),
            store_host: "10.0.0.2:2000".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: &properties,
            body: b"body",
        };
        let mut bytes = Vec::new();
        encode(&message, style, &mut bytes);
        patch(&mut bytes, QueueOffset(0), PhysicalOffset(0), 1_003, style);
        bytes
    }

    const WAITING: [(&str, &str); 3] = [
        ("TIMER_OUT_MS", "5000"),
        ("REAL_TOPIC", "Orders"),
        ("REAL_QID", "5"),
    ];

    fn due_ms(pairs: &[(&str, &str)]) -> i64 {
        let bytes = bytes(&[&WAITING[..], pairs].concat());
        TimerMessage::of(&record::decode(&bytes).unwrap())
            .unwrap()
            .due_ms(1_000)
    }

    #[test]
    fn a_message_is_due_when_it_was_wanted_but_never_outside_its_slot() {
        assert_eq!(due_ms(&[("TIMER_DELIVER_MS", "5250")]), 5_250);
        assert_eq!(due_ms(&[("TIMER_DELIVER_MS", "6000")]), 6_000);
        assert_eq!(due_ms(&[("TIMER_DELAY_MS", "4500")]), 5_503, "stored at 1003");
        assert_eq!(
            due_ms(&[("TIMER_DELAY_SEC", "5"), ("TIMER_DELAY_MS", "1")]),
            6_000,
            "stored a little later"
        );
        assert_eq!(due_ms(&[("TIMER_DELIVER_MS", "1")]), 5_001);
        assert_eq!(due_ms(&[("TIMER_DELIVER_MS", "soon")]), 6_000);
        assert_eq!(due_ms(&[]), 6_000);
        assert_eq!(
            due_ms(&[
                ("TIMER_DELAY_SEC", "5"),
                ("TIMER_ROLL_TIMES", "1"),
                ("TIMER_DELIVER_MS", "5400")
            ]),
            5_400,
            "a delay says nothing about a copy that rolled"
        );
    }

    #[test]
    fn what_lacks_a_time_or_a_destination_is_no_timer_message() {
        for missing in 0..WAITING.len() {
            let mut pairs = WAITING.to_vec();
            pairs.remove(missing);
            let bytes = bytes(&pairs);
            assert_eq!(TimerMessage::of(&record::decode(&bytes).unwrap()), None);
        }
    }

    #[test]
    fn copies_remember_how_they_waited() {
        let bytes = bytes(&[&WAITING[..], &[("TIMER_DELAY_SEC", "5")]].concat());
        let record = record::decode(&bytes).unwrap();
        let message = TimerMessage::of(&record).unwrap();
        let mut leaving = Leaving {
            enqueue_ms: 4_000,
            now_ms: 5_600,
            rolls_until_ms: None,
        };
        assert_eq!(leaving.destination(&message), ("Orders", 5));
        assert_eq!(
            leaving.properties(&record, &message),
            format!(
                "{}TIMER_ENQUEUE_MS\u{1}4000\u{2}TIMER_DEQUEUE_MS\u{1}5600\u{2}",
                record.properties
            )
        );
        leaving.rolls_until_ms = Some(99_000);
        assert_eq!(leaving.destination(&message), ("rmq_sys_wheel_timer", 0));
        let rolled = leaving.properties(&record, &message);
        assert_eq!(properties::get(&rolled, "TIMER_ROLL_TIMES"), Some("1"));
        assert_eq!(properties::get(&rolled, "TIMER_DELIVER_MS"), Some("99000"));
        assert_eq!(properties::get(&rolled, "TIMER_OUT_MS"), Some("5000"));
    }

    #[test]
    fn recalls_name_messages_by_their_key_with_or_without_the_topic() {
        let bytes = bytes(&[&WAITING[..], &[("UNIQ_KEY", "K")]].concat());
        let message_bytes = record::decode(&bytes).unwrap();
        let message = TimerMessage::of(&message_bytes).unwrap();
        assert_eq!(message.delete_key(false).as_deref(), Some("K"));
        assert_eq!(message.delete_key(true).as_deref(), Some("Orders+K"));
    }
}
