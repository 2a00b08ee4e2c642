//! The properties of an arriving message: what the broker reads from them, what it takes out and what it adds.
//!
//! ```text
//!   text from the producer ──scan──> SendProperties ──encode(changes)──> text in the record
//!                            one pass                 one allocation
//! ```
//!
//! The text is copied as it came unless it holds a property that must go: then its pairs are copied one by one.
//! What is appended comes last and so wins over an earlier pair of the same name, as every reader takes the last.
//! Reference: `AbstractSendMessageProcessor.buildMsgContext`, `SendMessageProcessor.clearReservedProperties`.

use common::message::properties::{self, name};

use crate::metrics::traffic::MessageType;

/// A value that the broker must act on and cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyFault {
    /// It should be a number.
    #[error("property {name} is not a number: '{value}'")]
    NotANumber {
        /// Of which property.
        name: &'static str,
        /// The value, or its beginning.
        value: String,
    },
}

/// What the broker must know of a message's properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendProperties<'a> {
    text: &'a str,
    /// Whether `text` holds a property that [`Changes`] may have to take out.
    has_removable: bool,
    /// The key of this message alone.
    pub uniq_key: Option<&'a str>,
    /// The keys it is found by, as sent.
    pub keys: Option<&'a str>,
    /// The light topic it is for.
    pub lite_topic: Option<&'a str>,
    /// The sender accepts an answer before the message is on disk.
    pub no_wait: bool,
    /// 0 for none.
    pub delay_level: i32,
    /// When it is wanted, unless there is a delay level.
    pub timer: Option<Timer>,
    /// The message comes back from the timer: its delivery time has been dealt with.
    pub timer_done: bool,
    /// It takes back a message that waits in the timer.
    pub cancels_timer: bool,
    /// It is a half message.
    pub transaction_prepared: bool,
    has_sharding_key: bool,
    has_priority: bool,
    priority: Option<i32>,
    /// It claims to be an inner batch.
    pub has_inner_num: bool,
    /// It names light message queues itself.
    pub has_multi_dispatch: bool,
}

/// When a message with an arbitrary delivery time is wanted, before the broker's clock is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// This long after it was sent.
    DelayMs(i64),
    /// At this wall time.
    DeliverMs(i64),
}

impl Timer {
    /// The wanted delivery time.
    pub fn deliver_at_ms(self, now_ms: i64) -> i64 {
        match self {
            Timer::DelayMs(delay_ms) => now_ms.saturating_add(delay_ms),
            Timer::DeliverMs(at_ms) => at_ms,
        }
    }
}

/// How the stored properties differ from the sent ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// The broker's region.
    pub region_id: &'a str,
    /// Whether the broker's clients are to trace messages.
    pub trace_on: bool,
    /// The cluster's name; not stored for the messages of a batch.
    pub cluster: Option<&'a str>,
    /// A key made by the broker, because the producer gave none.
    pub new_uniq_key: Option<&'a str>,
    /// Another delay level than the sent one.
    pub delay_level: Option<i32>,
    /// The light queue to dispatch to as well.
    pub multi_dispatch: Option<&'a str>,
    /// Where the message goes after its delay, or when it is committed.
    pub real_destination: Option<(&'a str, i32)>,
    /// The unique key again, of a half message.
    pub transaction_id: Option<&'a str>,
    /// The slot in which the message waits for its delivery time.
    pub timer_out_ms: Option<i64>,
    /// Takes the priority out.
    pub drop_priority: bool,
    /// Takes the wanted delivery time out.
    pub drop_timer: bool,
}

impl<'a> SendProperties<'a> {
    /// What the message is for. Reference: `BrokerMetricsManager.getMessageType`.
    pub(crate) fn message_type(&self) -> MessageType {
        if self.transaction_prepared {
            MessageType::Transaction
        } else if self.has_sharding_key {
            MessageType::Fifo
        } else if self.delay_level > 0 || self.timer.is_some() {
            MessageType::Delay
        } else {
            MessageType::Normal
        }
    }

    /// Reads the properties, each once.
    pub fn scan(text: &'a str) -> Result<Self, PropertyFault> {
        let mut found = SendProperties {
            text,
            ..Self::default()
        };
        let (mut delay_sec, mut delay_ms, mut deliver_ms) = (None, None, None);
        for (name, value) in properties::iter(text) {
            match name {
                name::UNIQ_KEY => found.uniq_key = Some(value),
                name::KEYS => found.keys = Some(value),
                name::LITE_TOPIC => found.lite_topic = Some(value),
                name::WAIT => found.no_wait = !value.eq_ignore_ascii_case("true"),
                name::DELAY => {
                    found.delay_level = number(name::DELAY, value)?;
                    found.has_removable = true;
                }
                name::TIMER_DELAY_SEC => delay_sec = Some(value),
                name::TIMER_DELAY_MS => delay_ms = Some(value),
                name::TIMER_DELIVER_MS => deliver_ms = Some(value),
                name::TIMER_OUT_MS => found.timer_done = true,
                name::TIMER_DEL_UNIQKEY => found.cancels_timer = true,
                name::TRANSACTION_PREPARED => found.transaction_prepared = value.eq_ignore_ascii_case("true"),
                name::SHARDING_KEY => found.has_sharding_key = true,
                name::PRIORITY => {
                    found.has_priority = true;
                    found.priority = value.parse().ok();
                    found.has_removable = true;
                }
                name::INNER_NUM => found.has_inner_num = true,
                name::INNER_MULTI_DISPATCH => found.has_multi_dispatch = true,
                name::POP_CK | name::MSG_REGION | name::TRACE_ON | name::CLUSTER => {
                    found.has_removable = true
                }
                _ => {}
            }
        }
        found.has_removable |= delay_sec.is_some() || delay_ms.is_some() || deliver_ms.is_some();
        if found.delay_level <= 0 {
            found.timer = timer(delay_sec, delay_ms, deliver_ms)?;
        }
        Ok(found)
    }

    /// The queue that a priority asks for, if this message may have one: the types exclude each other.
    ///
    /// Reference: `TopicMessageType.parseFromMessageProperty`.
    pub fn priority(&self) -> Option<i32> {
        let other_type = self.transaction_prepared
            || self.delay_level != 0
            || self.timer.is_some()
            || self.has_sharding_key;
        self.priority.filter(|priority| *priority >= 0 && !other_type)
    }

    /// Whether the producer gave a priority that counts for nothing.
    pub fn has_void_priority(&self) -> bool {
        self.has_priority && self.priority.is_some_and(|priority| priority >= 0) && self.priority().is_none()
    }

    /// The text to store.
    pub fn encode(&self, changes: &Changes<'_>) -> String {
        let mut text = String::with_capacity(self.text.len() + changes.capacity());
        if self.has_removable {
            for (name, value) in properties::iter(self.text).filter(|(name, _)| !changes.removes(name)) {
                properties::push(&mut text, name, value);
            }
        } else {
            text.push_str(self.text);
        }
        changes.append_to(&mut text);
        text
    }
}

impl Changes<'_> {
    /// Room for what is appended: names, separators and numbers take less than 160 bytes together.
    fn capacity(&self) -> usize {
        let texts = [
            Some(self.region_id),
            self.cluster,
            self.new_uniq_key,
            self.multi_dispatch,
            self.transaction_id,
            self.real_destination.map(|(topic, _)| topic),
        ];
        160 + texts.into_iter().flatten().map(str::len).sum::<usize>()
    }

    fn removes(&self, name: &str) -> bool {
        match name {
            // A handle of a pop that is over: the consumer must not mistake it for one of this delivery.
            name::POP_CK => true,
            name::MSG_REGION | name::TRACE_ON => true,
            name::CLUSTER => self.cluster.is_some(),
            name::DELAY => self.delay_level.is_some(),
            name::PRIORITY => self.drop_priority,
            name::TIMER_DELAY_SEC | name::TIMER_DELAY_MS | name::TIMER_DELIVER_MS => self.drop_timer,
            _ => false,
        }
    }

    fn append_to(&self, text: &mut String) {
        properties::push(text, name::MSG_REGION, self.region_id);
        properties::push(text, name::TRACE_ON, if self.trace_on { "true" } else { "false" });
        let texts = [
            (name::UNIQ_KEY, self.new_uniq_key),
            (name::CLUSTER, self.cluster),
            (name::INNER_MULTI_DISPATCH, self.multi_dispatch),
            (name::TRANSACTION_ID, self.transaction_id),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                properties::push(text, name, value);
            }
        }
        if let Some(level) = self.delay_level {
            properties::push(text, name::DELAY, &level.to_string());
        }
        if let Some(out_ms) = self.timer_out_ms {
            properties::push(text, name::TIMER_OUT_MS, &out_ms.to_string());
        }
        if let Some((topic, queue_id)) = self.real_destination {
            properties::push(text, name::REAL_TOPIC, topic);
            properties::push(text, name::REAL_QUEUE_ID, &queue_id.to_string());
        }
    }
}

/// The wanted delivery time; of several properties the first of this order counts.
fn timer(
    delay_sec: Option<&str>,
    delay_ms: Option<&str>,
    deliver_ms: Option<&str>,
) -> Result<Option<Timer>, PropertyFault> {
    if let Some(value) = delay_sec {
        let seconds: i64 = number(name::TIMER_DELAY_SEC, value)?;
        return Ok(Some(Timer::DelayMs(seconds.saturating_mul(1_000))));
    }
    if let Some(value) = delay_ms {
        return Ok(Some(Timer::DelayMs(number(name::TIMER_DELAY_MS, value)?)));
    }
    deliver_ms
        .map(|value| number(name::TIMER_DELIVER_MS, value).map(Timer::DeliverMs))
        .transpose()
}

fn number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, PropertyFault> {
    value.parse().map_err(|_| PropertyFault::NotANumber {
        name,
        value: value.chars().take(64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pairs: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (name, value) in pairs {
            properties::push(&mut text, name, value);
        }
        text
    }

    fn changes() -> Changes<'static> {
        Changes {
            region_id: "DefaultRegion",
            trace_on: true,
            cluster: Some("C"),
            ..Changes::default()
        }
    }

    #[test]
    fn what_the_producer_wrote_comes_first_and_unchanged() {
        let sent = text(&[("UNIQ_KEY", "U"), ("WAIT", "true"), ("a", "b\u{1}c")]);
        let stored = SendProperties::scan(&sent).unwrap().encode(&changes());
        let added = text(&[
            ("MSG_REGION", "DefaultRegion"),
            ("TRACE_ON", "true"),
            ("CLUSTER", "C"),
        ]);
        assert_eq!(stored, sent + &added);
    }

    #[test]
    fn a_missing_last_separator_does_not_join_two_properties() {
        let stored = SendProperties::scan("a\u{1}b").unwrap().encode(&changes());
        assert!(stored.starts_with("a\u{1}b\u{2}MSG_REGION\u{1}"), "{stored:?}");
    }

    #[test]
    fn the_handle_of_an_earlier_pop_and_foreign_broker_marks_are_taken_out() {
        let sent = text(&[
            ("POP_CK", "x"),
            ("a", "1"),
            ("MSG_REGION", "r"),
            ("TRACE_ON", "false"),
            ("CLUSTER", "old"),
        ]);
        let stored = SendProperties::scan(&sent).unwrap().encode(&changes());
        assert_eq!(
            stored,
            text(&[
                ("a", "1"),
                ("MSG_REGION", "DefaultRegion"),
                ("TRACE_ON", "true"),
                ("CLUSTER", "C")
            ])
        );
    }

    #[test]
    fn a_delayed_message_carries_its_real_destination_and_the_level_that_counts() {
        let sent = text(&[("DELAY", "99"), ("TIMER_DELAY_SEC", "5")]);
        let found = SendProperties::scan(&sent).unwrap();
        assert_eq!(
            (found.delay_level, found.timer),
            (99, None),
            "the level wins over the timer"
        );
        let stored = found.encode(&Changes {
            delay_level: Some(18),
            drop_timer: true,
            real_destination: Some(("T", 3)),
            ..changes()
        });
        assert_eq!(properties::get(&stored, "DELAY"), Some("18"));
        assert_eq!(properties::get(&stored, "TIMER_DELAY_SEC"), None);
        assert_eq!(properties::get(&stored, "REAL_TOPIC"), Some("T"));
        assert_eq!(properties::get(&stored, "REAL_QID"), Some("3"));
    }

    #[test]
    fn of_the_timer_properties_seconds_count_before_milliseconds_before_a_time() {
        let all = text(&[
            ("TIMER_DELIVER_MS", "7"),
            ("TIMER_DELAY_MS", "8"),
            ("TIMER_DELAY_SEC", "9"),
        ]);
        assert_eq!(
            SendProperties::scan(&all).unwrap().timer,
            Some(Timer::DelayMs(9_000))
        );
        let two = text(&[("TIMER_DELIVER_MS", "7"), ("TIMER_DELAY_MS", "8")]);
        assert_eq!(SendProperties::scan(&two).unwrap().timer, Some(Timer::DelayMs(8)));
        let one = text(&[("TIMER_DELIVER_MS", "7")]);
        assert_eq!(
            SendProperties::scan(&one).unwrap().timer,
            Some(Timer::DeliverMs(7))
        );
        assert_eq!(Timer::DelayMs(i64::MAX).deliver_at_ms(5), i64::MAX);
    }

    #[test]
    fn a_level_or_time_that_is_no_number_is_named() {
        let fault = SendProperties::scan("DELAY\u{1}soon\u{2}").unwrap_err();
        assert_eq!(fault.to_string(), "property DELAY is not a number: 'soon'");
        assert!(SendProperties::scan("TIMER_DELAY_MS\u{1}1s\u{2}").is_err());
    }

    #[test]
    fn a_priority_counts_only_without_another_message_type() {
        let plain = text(&[("_SYS_MSG_PRIORITY_", "3")]);
        let found = SendProperties::scan(&plain).unwrap();
        assert_eq!((found.priority(), found.has_void_priority()), (Some(3), false));

        let ordered = text(&[("_SYS_MSG_PRIORITY_", "3"), ("__SHARDINGKEY", "k")]);
        let found = SendProperties::scan(&ordered).unwrap();
        assert_eq!((found.priority(), found.has_void_priority()), (None, true));
        let stored = found.encode(&Changes {
            drop_priority: true,
            ..changes()
        });
        assert_eq!(properties::get(&stored, "_SYS_MSG_PRIORITY_"), None);

        let nonsense = text(&[("_SYS_MSG_PRIORITY_", "high")]);
        let found = SendProperties::scan(&nonsense).unwrap();
        assert_eq!((found.priority(), found.has_void_priority()), (None, false));
    }

    #[test]
    fn waiting_for_the_disk_is_the_default() {
        assert!(!SendProperties::scan("").unwrap().no_wait);
        assert!(!SendProperties::scan("WAIT\u{1}true\u{2}").unwrap().no_wait);
        assert!(SendProperties::scan("WAIT\u{1}false\u{2}").unwrap().no_wait);
    }
}
