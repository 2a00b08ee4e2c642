//! PopHandle: what a consumer gives back to acknowledge a popped message, and the lists in the answer it is made from.
//!
//! ```text
//!   extraInfo, property POP_CK:  ckStartOffset popTime invisibleTime reviveQueue retry brokerName queueId [queueOffset]
//!   startOffsetInfo              retry queueId startOffset            ;...
//!   msgOffsetInfo                retry queueId offset,offset          ;...
//!   orderCountInfo               retry queueId count  or  retry qo<queueId>%<offset> count  ;...
//! ```
//!
//! `retry` is 0 for the topic itself, 1 and 2 for its retry topic in either naming. Reference: `ExtraInfoUtil`.

use std::fmt::{Display, Write as _};

use common::names::PopRetryNaming;
use thiserror::Error;

/// The revive queue in the handles of in-order pops, which have none. Reference: `KeyBuilder.POP_ORDER_REVIVE_QUEUE`.
pub const ORDER_REVIVE_QUEUE: i32 = 999;

/// A handle that cannot be read; the words are the reference's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HandleError {
    /// A field is missing.
    #[error("{method} fail, extraInfoStrs length {fields}")]
    Missing {
        /// The reference's getter of the field.
        method: &'static str,
        /// Fields that are there.
        fields: usize,
    },
    /// A field is no number.
    #[error("For input string: \"{0}\"")]
    NotANumber(String),
}

/// Whether a message came from the topic asked for or from its retry topic.
pub fn retry_digit(topic: &str) -> char {
    match PopRetryNaming::of(topic) {
        None => '0',
        Some(PopRetryNaming::V1) => '1',
        Some(PopRetryNaming::V2) => '2',
    }
}

/// The topic that a retry digit means; `None` for a digit that means none.
pub fn topic_of_digit(retry: &str, topic: &str, group: &str) -> Option<String> {
    Some(match retry {
        "0" => topic.to_owned(),
        "1" => PopRetryNaming::V1.topic(topic, group),
        "2" => PopRetryNaming::V2.topic(topic, group),
        _ => return None,
    })
}

/// The handle of one popped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopHandle<'a> {
    /// Queue offset at which the pop of that queue began: part of the checkpoint's identity.
    pub start_offset: i64,
    /// When it was popped, ms.
    pub pop_time_ms: i64,
    /// How long it is invisible from then on, ms.
    pub invisible_time_ms: i64,
    /// The queue of the revive topic, or [`ORDER_REVIVE_QUEUE`].
    pub revive_queue_id: i32,
    /// See [`retry_digit`].
    pub retry: char,
    /// The broker.
    pub broker_name: &'a str,
    /// The message's queue.
    pub queue_id: i32,
    /// The message's queue offset.
    pub queue_offset: i64,
}

impl<'a> PopHandle<'a> {
    /// Reads a handle. The acks of old clients leave out what comes after the broker name, so that is not asked for:
    /// queue and offset of an ack are in its header.
    pub fn parse(text: &'a str) -> Result<Self, HandleError> {
        let fields: Vec<&str> = text.split(' ').collect();
        let field = |at: usize, method: &'static str| {
            fields.get(at).copied().ok_or(HandleError::Missing {
                method,
                fields: fields.len(),
            })
        };
        Ok(PopHandle {
            start_offset: number(field(0, "getCkQueueOffset")?)?,
            pop_time_ms: number(field(1, "getPopTime")?)?,
            invisible_time_ms: number(field(2, "getInvisibleTime")?)?,
            revive_queue_id: number(field(3, "getReviveQid")?)?,
            retry: field(4, "getRetry")?.chars().next().unwrap_or('0'),
            broker_name: field(5, "getBrokerName")?,
            queue_id: fields.get(6).map_or(Ok(0), |text| number(text))?,
            queue_offset: fields.get(7).map_or(Ok(0), |text| number(text))?,
        })
    }

    /// Whether it is of an in-order pop.
    pub fn is_order(&self) -> bool {
        self.revive_queue_id == ORDER_REVIVE_QUEUE
    }
}

impl Display for PopHandle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} {} {}",
            self.start_offset,
            self.pop_time_ms,
            self.invisible_time_ms,
            self.revive_queue_id,
            self.retry,
            self.broker_name,
            self.queue_id,
            self.queue_offset
        )
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, HandleError> {
    text.parse().map_err(|_| HandleError::NotANumber(text.to_owned()))
}

/// The lists of a pop's answer, as they grow queue by queue. A queue must not be added twice: clients refuse that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerLists {
    /// `startOffsetInfo`.
    pub start_offsets: String,
    /// `msgOffsetInfo`.
    pub message_offsets: String,
    /// `orderCountInfo`; empty unless popped in order.
    pub order_counts: String,
}

impl AnswerLists {
    /// Adds the messages of a queue, by their queue offsets.
    pub fn add_messages(&mut self, topic: &str, queue_id: i32, start_offset: i64, offsets: &[i64]) {
        let retry = retry_digit(topic);
        separate(&mut self.start_offsets);
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.start_offsets, "{retry} {queue_id} {start_offset}");
        separate(&mut self.message_offsets);
        let _ = write!(self.message_offsets, "{retry} {queue_id} ");
        for (i, offset) in offsets.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(self.message_offsets, "{comma}{offset}");
        }
    }

    /// Adds how often the messages of a queue were consumed before: those that were, and the least of the whole queue
    /// for clients that know queues only.
    pub fn add_order_counts(&mut self, topic: &str, queue_id: i32, counts: &[(i64, i32)], least: i32) {
        let retry = retry_digit(topic);
        for (offset, count) in counts {
            separate(&mut self.order_counts);
            let _ = write!(self.order_counts, "{retry} qo{queue_id}%{offset} {count}");
        }
        separate(&mut self.order_counts);
        let _ = write!(self.order_counts, "{retry} {queue_id} {least}");
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_survives_and_says_what_it_is_of() {
        let text = "100 1764054000000 60000 3 1 broker-a 2 101";
        let handle = PopHandle::parse(text).unwrap();
        assert_eq!(handle.to_string(), text);
        assert!(!handle.is_order());
        assert_eq!((handle.queue_id, handle.queue_offset), (2, 101));
        assert!(PopHandle::parse("0 1 2 999 0 b").unwrap().is_order());
    }

    /// The strings of the reference's ExtraInfoUtil, captured from release 5.5.0.
    #[test]
    fn handles_and_lists_are_those_of_the_reference() {
        let vectors = include_str!("../../../remoting/tests/data/vectors.json");
        let text = |name: &str| {
            let entry = format!("\"{name}\": \"");
            let start = vectors.find(&entry).expect("a vector") + entry.len();
            &vectors[start..start + vectors[start..].find('"').expect("its end")]
        };
        for (name, topic) in [
            ("pop_ck", "TopicTest"),
            ("pop_ck_retry_v1", text("retry_v1_topic")),
            ("pop_ck_retry_v2", text("retry_v2_topic")),
        ] {
            let handle = PopHandle::parse(text(name)).expect("a handle");
            assert_eq!(handle.to_string(), text(name));
            assert_eq!(handle.retry, retry_digit(topic));
        }
        let mut lists = AnswerLists::default();
        lists.add_messages("TopicTest", 3, 100, &[100, 103, 109]);
        lists.add_messages(text("retry_v2_topic"), 0, 5, &[5]);
        assert_eq!(lists.start_offsets, text("startOffsetInfo"));
        assert_eq!(lists.message_offsets, text("msgOffsetInfo"));
    }

    #[test]
    fn a_broken_handle_is_refused_in_the_references_words() {
        let refusals = ["1 2", "1 2 3 4 5", "x 2 3 4 0 b 1 2"]
            .map(|text| PopHandle::parse(text).unwrap_err().to_string());
        assert_eq!(
            refusals,
            [
                "getInvisibleTime fail, extraInfoStrs length 2",
                "getBrokerName fail, extraInfoStrs length 5",
                "For input string: \"x\"",
            ]
        );
    }

    #[test]
    fn the_lists_of_an_answer_name_each_queue_once() {
        let mut lists = AnswerLists::default();
        lists.add_messages("Orders", 1, 5, &[5, 6]);
        lists.add_messages("%RETRY%g_Orders", 0, 0, &[0]);
        assert_eq!(lists.start_offsets, "0 1 5;1 0 0");
        assert_eq!(lists.message_offsets, "0 1 5,6;1 0 0");
        lists.add_order_counts("Orders", 1, &[(5, 2)], 0);
        assert_eq!(lists.order_counts, "0 qo1%5 2;0 1 0");
    }

    #[test]
    fn digits_name_retry_topics() {
        for topic in ["Orders", "%RETRY%g_Orders", "%RETRY%g+Orders"] {
            let digit = retry_digit(topic).to_string();
            assert_eq!(topic_of_digit(&digit, "Orders", "g").as_deref(), Some(topic));
        }
        assert_eq!(topic_of_digit("3", "Orders", "g"), None);
    }
}
