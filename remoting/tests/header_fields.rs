//! Every header struct against its Java class: the same field names, and none required that is optional there.

use std::collections::BTreeMap;

use remoting::codes;
use remoting::fields::{DecodeHeader, FieldBuffer};
use remoting::header::*;
use tables::{HEADERS, Rewrite};

#[path = "tables/headers.rs"]
mod tables;

const CLASSES: &str = include_str!("data/header-fields.txt");

/// One line of the data: a header class of the reference.
struct Class {
    code: &'static str,
    direction: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    kind: &'static str,
    is_required: bool,
}

impl Class {
    fn parse(line: &'static str) -> Class {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("code, direction, fields");
        let (code, direction) = (word(), word());
        Class {
            code,
            direction,
            fields: words.map(Field::parse).collect(),
        }
    }

    fn rewrite(&self) -> Rewrite {
        let row = HEADERS
            .iter()
            .find(|(code, direction, _)| (*code, *direction) == (self.code, self.direction));
        row.unwrap_or_else(|| panic!("no row for {} {}", self.code, self.direction))
            .2
    }
}

impl Field {
    fn parse(word: &'static str) -> Field {
        let (name, kind) = word.split_once(':').expect("name:type");
        Field {
            name,
            kind: kind.trim_end_matches('!'),
            is_required: kind.ends_with('!'),
        }
    }

    /// A value no other field has, and no default.
    fn value(&self, index: usize) -> String {
        match self.kind {
            "s" => format!("text of {}", self.name),
            "i" => format!("-{}", 1000 + index),
            "l" => format!("{}", 1_700_000_000_000 + index),
            "b" => "true".to_owned(),
            "enum" => "UPPER".to_owned(),
            other => panic!("field {} has type {other}", self.name),
        }
    }
}

fn classes() -> impl Iterator<Item = Class> {
    CLASSES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(Class::parse)
}

fn buffer<'a>(fields: impl Iterator<Item = (usize, &'a Field)>) -> FieldBuffer {
    let mut buffer = FieldBuffer::new();
    fields.for_each(|(index, field)| buffer.push_str(field.name, &field.value(index)));
    buffer
}

fn as_map(buffer: &FieldBuffer) -> BTreeMap<String, Option<String>> {
    buffer
        .fields()
        .map(|(name, value)| (name.into_owned(), value.map(|value| value.into_owned())))
        .collect()
}

#[test]
fn every_field_of_every_header_is_read_and_written_back() {
    for class in classes() {
        let sent = buffer(class.fields.iter().enumerate());
        let written =
            class.rewrite()(sent.fields()).unwrap_or_else(|error| panic!("{}: {error}", class.code));
        assert_eq!(
            as_map(&written),
            as_map(&sent),
            "{} {}",
            class.code,
            class.direction
        );
    }
}

#[test]
fn what_is_optional_for_java_may_be_absent() {
    for class in classes() {
        let sent = buffer(
            class
                .fields
                .iter()
                .enumerate()
                .filter(|(_, field)| field.is_required),
        );
        if let Err(error) = class.rewrite()(sent.fields()) {
            panic!("{} {}: {error}", class.code, class.direction);
        }
    }
}

#[test]
fn every_row_has_a_class_and_a_code() {
    let listed: Vec<_> = classes().map(|class| (class.code, class.direction)).collect();
    for (code, direction, _) in HEADERS {
        assert!(
            listed.contains(&(code, direction)),
            "no fields listed for {code} {direction}"
        );
        assert!(
            codes::ALL_REQUESTS.iter().any(|(name, _)| name == code),
            "{code} is no request code"
        );
    }
    assert_eq!(listed.len(), HEADERS.len());
}

#[test]
fn boundary_types_are_upper_only_when_they_say_so() {
    for (text, expected) in [
        (Some("UPPER"), BoundaryType::Upper),
        (Some("upper"), BoundaryType::Upper),
        (Some("LOWER"), BoundaryType::Lower),
        (Some("sideways"), BoundaryType::Lower),
        (None, BoundaryType::Lower),
    ] {
        let mut fields = FieldBuffer::new();
        for (name, value) in [("topic", "T"), ("queueId", "0"), ("timestamp", "1")] {
            fields.push_str(name, value);
        }
        if let Some(text) = text {
            fields.push_str("boundaryType", text);
        }
        let header = SearchOffsetRequestHeader::decode(fields.fields()).unwrap();
        assert_eq!(header.boundary_type, expected, "{text:?}");
    }
}

#[test]
fn a_pull_without_its_queue_is_refused_with_the_field_named() {
    let mut fields = FieldBuffer::new();
    for (name, value) in [
        ("consumerGroup", "G"),
        ("topic", "T"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
    ] {
        fields.push_str(name, value);
    }
    let error = PullMessageRequestHeader::decode(fields.fields()).unwrap_err();
    assert_eq!(error.to_string(), "field queueId is missing");
}
