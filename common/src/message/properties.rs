//! The property string of a message: `name 0x01 value 0x02`, repeated.
//!
//! [`get`] and [`iter`] read it in place; [`MessageProperties`] is for code that changes it.
//! Readers follow the Java reader: an entry without 0x01, without a name or without a value is
//! dropped, a second 0x01 belongs to the value, of a repeated name the last wins.
//! Reference: `MessageDecoder.string2messageProperties`.

use memchr::{memchr, memchr2};

/// Between name and value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// After each pair.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// Names of system properties. Reference: `MessageConst`.
pub mod name {
    macro_rules! names {
        ($($constant:ident = $text:literal;)*) => {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: &str = $text;)*
        };
    }
    names! {
        KEYS = "KEYS";
        TAGS = "TAGS";
        WAIT = "WAIT";
        DELAY = "DELAY";
        RETRY_TOPIC = "RETRY_TOPIC";
        REAL_TOPIC = "REAL_TOPIC";
        REAL_QUEUE_ID = "REAL_QID";
        TRANSACTION_PREPARED = "TRAN_MSG";
        PRODUCER_GROUP = "PGROUP";
        BORN_TIMESTAMP = "BORN_TIMESTAMP";
        MIN_OFFSET = "MIN_OFFSET";
        MAX_OFFSET = "MAX_OFFSET";
        ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
        UNIQ_KEY = "UNIQ_KEY";
        EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
        MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
        RECONSUME_TIME = "RECONSUME_TIME";
        MSG_REGION = "MSG_REGION";
        TRACE_ON = "TRACE_ON";
        CLUSTER = "CLUSTER";
        POP_CK = "POP_CK";
        FIRST_POP_TIME = "1ST_POP_TIME";
        ORIGIN_GROUP = "ORIGIN_GROUP";
        TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
        TIMER_DELAY_MS = "TIMER_DELAY_MS";
        TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
        TIMER_OUT_MS = "TIMER_OUT_MS";
        TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
        TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
        TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
        TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
        TRANSACTION_ID = "__transactionId__";
        TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
        CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
        TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
        MESSAGE_TYPE = "MSG_TYPE";
        CORRELATION_ID = "CORRELATION_ID";
        REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
        PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
        TTL = "TTL";
        SHARDING_KEY = "__SHARDINGKEY";
        PRIORITY = "_SYS_MSG_PRIORITY_";
        LITE_TOPIC = "__LITE_TOPIC";
        INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
        INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
        INNER_NUM = "INNER_NUM";
        INNER_BASE = "INNER_BASE";
        DUP_INFO = "DUP_INFO";
        CRC32 = "__CRC32#";
    }
}

/// The pairs of a property string, in order, repeated names included.
pub fn iter(text: &str) -> impl Iterator<Item = (&str, &str)> {
    const BETWEEN: u8 = NAME_VALUE_SEPARATOR as u8;
    const AFTER: u8 = PROPERTY_SEPARATOR as u8;
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = memchr2(BETWEEN, AFTER, rest.as_bytes())?;
            let (name, value) = (&rest[..at], &rest[at + 1..]);
            if rest.as_bytes()[at] == AFTER {
                rest = value;
                continue;
            }
            let end = memchr(AFTER, value.as_bytes());
            rest = end.map_or("", |end| &value[end + 1..]);
            let value = &value[..end.unwrap_or(value.len())];
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
    })
}

/// The value of a property; of a repeated name the last.
pub fn get<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    iter(text)
        .filter(|(found, _)| *found == name)
        .last()
        .map(|(_, value)| value)
}

/// Appends one pair.
pub fn push(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(PROPERTY_SEPARATOR) {
        text.push(PROPERTY_SEPARATOR);
    }
    text.reserve(name.len() + value.len() + 2);
    text.push_str(name);
    text.push(NAME_VALUE_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
}

/// The words of a KEYS property.
pub fn split_keys(keys: &str) -> impl Iterator<Item = &str> {
    keys.split(' ').filter(|key| !key.is_empty())
}

/// The properties of one message, in the producer's order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    pairs: Vec<(String, String)>,
}

impl MessageProperties {
    /// Reads a property string; never fails, see the module's rules.
    pub fn parse(text: &str) -> Self {
        let mut properties = Self::default();
        for (name, value) in iter(text) {
            properties.set(name, value);
        }
        properties
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a property as a number; `None` also when it is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Sets a property, replacing its former value in place.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.pairs.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => *old = value.into(),
            None => self.pairs.push((name.to_owned(), value.into())),
        }
    }

    /// Takes a property away.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(found, _)| found == name)?;
        Some(self.pairs.remove(index).1)
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The property string, with a separator after the last pair as the Java writer has it.
    pub fn encode(&self) -> String {
        let size = self
            .pairs
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let mut text = String::with_capacity(size);
        for (name, value) in self.iter() {
            push(&mut text, name, value);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_entries_are_read_as_java_reads_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("a\u{1}b\u{2}", &[("a", "b")]),
            ("a\u{1}b", &[("a", "b")]),
            ("a\u{1}b\u{2}c\u{1}\u{2}", &[("a", "b")]),
            ("\u{1}b\u{2}", &[]),
            ("ab\u{2}c\u{1}d\u{2}", &[("c", "d")]),
            ("a\u{1}b\u{1}c\u{2}", &[("a", "b\u{1}c")]),
            ("a\u{1} \u{2}", &[("a", " ")]),
        ];
        for (text, expected) in cases {
            assert_eq!(iter(text).collect::<Vec<_>>(), *expected, "{text:?}");
        }
    }

    #[test]
    fn every_text_of_separators_is_read_as_it_is_defined() {
        let mut texts = vec![String::new()];
        for length in 0..7 {
            let longer = texts.iter().filter(|text| text.len() == length);
            let longer = longer.flat_map(|text| ["a", "\u{1}", "\u{2}"].map(|next| format!("{text}{next}")));
            texts.extend(longer.collect::<Vec<_>>());
        }
        for text in texts {
            let entries = text.split('\u{2}').filter_map(|entry| entry.split_once('\u{1}'));
            let defined = entries.filter(|(name, value)| !name.is_empty() && !value.is_empty());
            assert!(iter(&text).eq(defined), "{text:?}");
        }
    }

    #[test]
    fn of_a_repeated_name_the_last_wins() {
        let text = "k\u{1}1\u{2}x\u{1}y\u{2}k\u{1}2\u{2}";
        assert_eq!(get(text, "k"), Some("2"));
        assert_eq!(
            MessageProperties::parse(text).encode(),
            "k\u{1}2\u{2}x\u{1}y\u{2}"
        );
    }

    #[test]
    fn removing_one_property_leaves_the_rest_in_order() {
        let mut properties = MessageProperties::parse("a\u{1}1\u{2}POP_CK\u{1}x\u{2}b\u{1}2\u{2}");
        assert_eq!(properties.remove(name::POP_CK).as_deref(), Some("x"));
        assert_eq!(properties.encode(), "a\u{1}1\u{2}b\u{1}2\u{2}");
        assert_eq!(properties.number::<i32>("b"), Some(2));
    }

    #[test]
    fn a_missing_last_separator_is_added_before_a_new_pair() {
        let mut text = "a\u{1}1".to_owned();
        push(&mut text, "b", "2");
        assert_eq!(text, "a\u{1}1\u{2}b\u{1}2\u{2}");
    }
}
