//! Every body struct against its Java class: field names and types must match, for an unknown name is silently ignored.

use std::collections::BTreeSet;

use proptest::prelude::*;
use remoting::body::*;
use tables::CLASSES;

#[path = "tables/bodies.rs"]
mod tables;

const SHAPES: &str = include_str!("data/body-shapes.txt");

/// Class name and JSON of each line.
fn shapes() -> impl Iterator<Item = (&'static str, &'static str)> {
    SHAPES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("name and JSON"))
}

#[test]
fn every_class_is_written_back_as_it_was_read() {
    for (name, json) in shapes() {
        let (_, rewrite) = CLASSES
            .iter()
            .find(|(class, _)| *class == name)
            .unwrap_or_else(|| panic!("no row for {name}"));
        let written = rewrite(json.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(String::from_utf8(written).unwrap(), json, "{name}");
    }
}

#[test]
fn every_row_has_a_shape() {
    let shaped: BTreeSet<&str> = shapes().map(|(name, _)| name).collect();
    let listed: BTreeSet<&str> = CLASSES.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, shaped);
}

#[test]
fn an_empty_object_and_nulls_give_the_defaults_of_the_class() {
    for (name, json) in shapes() {
        let (_, rewrite) = CLASSES
            .iter()
            .find(|(class, _)| *class == name)
            .expect("checked above");
        let empty = rewrite(b"{}").unwrap_or_else(|error| panic!("{name}: {error}"));
        let top_level_fields_null = json_with_null_fields(json);
        assert_eq!(
            rewrite(top_level_fields_null.as_bytes()),
            Ok(empty),
            "{name}: {top_level_fields_null}"
        );
    }
}

/// The outermost fields of an object, each null.
fn json_with_null_fields(json: &str) -> String {
    let Ok(fastjson::Value::Object(fields)) = fastjson::Value::parse(json) else {
        panic!("{json} is no object")
    };
    let nulls: Vec<String> = fields
        .iter()
        .map(|(name, _)| String::from_utf8(fastjson::to_vec(name).unwrap()).unwrap() + ":null")
        .collect();
    format!("{{{}}}", nulls.join(","))
}

#[test]
fn topics_and_groups_have_the_defaults_of_the_reference() {
    let topic: TopicConfig = fastjson::from_slice(br#"{"topicName":"T"}"#).unwrap();
    assert_eq!(
        (topic.perm, topic.read_queue_nums, topic.write_queue_nums),
        (6, 16, 16)
    );
    assert_eq!(topic, TopicConfig::new("T", 16));

    let group: SubscriptionGroupConfig = fastjson::from_slice(br#"{"groupName":"G"}"#).unwrap();
    assert_eq!(group, SubscriptionGroupConfig::new("G"));
    assert!(group.consume_enable && group.consume_broadcast_enable && group.consume_from_min_enable);
    assert!(group.notify_consumer_ids_changed_enable && !group.consume_message_orderly);
    assert_eq!(
        (
            group.retry_queue_nums,
            group.retry_max_times,
            group.consume_timeout_minute
        ),
        (1, 16, 15)
    );
    assert_eq!(
        (
            group.broker_id,
            group.which_broker_when_consume_slowly,
            group.group_sys_flag
        ),
        (0, 1, 0)
    );
    assert_eq!(group.group_retry_policy.kind, GroupRetryPolicyType::Customized);
    assert_eq!(CustomizedRetryPolicy::default().next.len(), 18);
}

#[test]
fn enums_are_read_by_the_ordinals_of_the_reference() {
    let names = |json: &str| String::from_utf8(fastjson::to_vec(&read_consumer(json)).unwrap()).unwrap();
    let by_ordinal = names(r#"{"consumeType":0,"messageModel":2,"consumeFromWhere":5}"#);
    let by_name = names(
        r#"{"consumeType":"CONSUME_ACTIVELY","messageModel":"LITE_SELECTIVE","consumeFromWhere":"CONSUME_FROM_TIMESTAMP"}"#,
    );
    assert_eq!(by_ordinal, by_name);
    assert!(by_name.contains("CONSUME_FROM_TIMESTAMP") && by_name.contains("LITE_SELECTIVE"));
}

fn read_consumer(json: &str) -> ConsumerData {
    fastjson::from_slice(json.as_bytes()).unwrap()
}

#[test]
fn message_queues_are_ordered_by_topic_then_broker_then_queue() {
    let queue = MessageQueue::new;
    let sorted = [
        queue("a", "y", 9),
        queue("b", "x", 2),
        queue("b", "x", 10),
        queue("b", "y", 0),
    ];
    let set: BTreeSet<MessageQueue> = sorted.iter().rev().cloned().collect();
    assert!(set.iter().eq(&sorted));
}

proptest! {
    #[test]
    fn a_shape_with_bytes_changed_or_of_another_class_never_panics(
        class in prop::sample::select(CLASSES.to_vec()), shape in prop::sample::select(shapes().collect::<Vec<_>>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut json = shape.1.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok(written) = class.1(&json) {
            prop_assert_eq!(class.1(&written), Ok(written.clone()), "what was understood is written stably");
        }
    }
}
