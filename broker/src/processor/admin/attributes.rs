//! Attributes: named settings of topics and groups, and the edits by which an operator changes them.
//!
//! An edit is `+name=value` or `-name`; many are joined with commas. The broker keeps names without sign. The words of
//! the errors are the reference's. Reference: `AttributeUtil`, `AttributeParser`, `TopicAttributes`,
//! `SubscriptionGroupAttributes`.

use crate::recent_sends::WINDOW_ATTRIBUTE;
use std::collections::BTreeMap;

/// Name to value.
pub type Attributes = BTreeMap<String, String>;
/// `+name` to value, `-name` to nothing.
pub type Edits = BTreeMap<String, String>;

/// An attribute that exists.
pub struct Attribute {
    name: &'static str,
    is_changeable: bool,
    values: Values,
}

enum Values {
    OneOf(&'static [&'static str]),
    Range(i64, i64),
    Switch,
    Text,
}

use Values::{OneOf, Range, Switch, Text};

/// What a topic may have.
pub const OF_TOPICS: &[Attribute] = &[
    fixed("queue.type", OneOf(&["BatchCQ", "SimpleCQ"])),
    fixed("cleanup.policy", OneOf(&["DELETE", "COMPACTION"])),
    changeable(
        MESSAGE_TYPE,
        OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "PRIORITY",
            "LITE",
            "MIXED",
        ]),
    ),
    changeable("reserve.time", Range(-1, i64::MAX)),
    changeable("lite.topic.expiration", Range(-1, 43_200)),
    changeable(WINDOW_ATTRIBUTE, Range(0, 86_400_000)),
];

/// What a group may have.
pub const OF_GROUPS: &[Attribute] = &[
    changeable("priority.factor", Range(0, 100)),
    changeable("lite.bind.topic", Text),
    changeable("lite.sub.model", OneOf(&["Shared", "Exclusive"])),
    changeable("lite.sub.reset.offset.exclusive", Switch),
    changeable("lite.sub.reset.offset.unsubscribe", Switch),
    changeable("lite.sub.client.quota", Range(-1, i64::MAX)),
    changeable("lite.sub.client.max.event.cnt", Range(10, i64::MAX)),
    changeable("lite.sub.wildcard", Text),
];

/// Which kind of message a topic takes.
const MESSAGE_TYPE: &str = "message.type";

/// Values that change how messages are kept or handed out, in ways that do not exist here.
const NOT_BUILT: &[(&str, &str)] = &[("queue.type", "BatchCQ"), ("cleanup.policy", "COMPACTION")];

const fn fixed(name: &'static str, values: Values) -> Attribute {
    Attribute {
        name,
        is_changeable: false,
        values,
    }
}

const fn changeable(name: &'static str, values: Values) -> Attribute {
    Attribute {
        name,
        is_changeable: true,
        values,
    }
}

/// Reads `+a=1,-b`.
pub fn parse_edits(text: &str) -> Result<Edits, String> {
    let mut edits = Edits::new();
    for edit in text.split(',').filter(|edit| !edit.is_empty()) {
        let (key, value) = match edit.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(format!("add/alter attribute format is wrong: {key}"));
            }
            Some((key, value)) => (key, value),
            None if !edit.contains('-') => return Err(format!("delete attribute format is wrong: {edit}")),
            None => (edit, ""),
        };
        if edits.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("key duplication: {key}"));
        }
    }
    Ok(edits)
}

/// Whether the edits make a topic take messages of every type.
pub fn asks_for_mixed(edits: &Edits) -> bool {
    edits.get("+message.type").is_some_and(|kind| kind == "MIXED")
}

/// The attributes after the edits; `current` is `None` for what does not exist yet.
pub fn alter(known: &[Attribute], current: Option<&Attributes>, edits: &Edits) -> Result<Attributes, String> {
    let mut altered = current.cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for (key, value) in edits {
        let (sign, name) = key.split_at_checked(1).unwrap_or(("", key));
        if name.is_empty() || name.contains(['+', '-']) {
            return Err("kv string format wrong.".to_owned());
        }
        if seen.contains(&name) {
            return Err(format!("alter duplication key. key: {name}"));
        }
        seen.push(name);
        let exists = current.is_some_and(|current| current.contains_key(name));
        match sign {
            "+" => {}
            _ if current.is_none() => {
                return Err(format!(
                    "only add attribute is supported while creating topic. key: {name}"
                ));
            }
            "-" if !exists => return Err(format!("attempt to delete a nonexistent key: {name}")),
            "-" => {}
            _ => return Err(format!("wrong format key: {name}")),
        }
        let attribute = known
            .iter()
            .find(|known| known.name == name)
            .ok_or_else(|| format!("unsupported key: {name}"))?;
        if current.is_some() && !attribute.is_changeable {
            return Err(format!(
                "attempt to update an unchangeable attribute. key: {name}"
            ));
        }
        if sign == "-" {
            altered.remove(name);
        } else {
            attribute.verify(value)?;
            altered.insert(name.to_owned(), value.clone());
        }
    }
    Ok(altered)
}

impl Attribute {
    fn verify(&self, value: &str) -> Result<(), String> {
        let fits = match self.values {
            OneOf(values) => values.contains(&value),
            Range(least, most) => value
                .parse()
                .is_ok_and(|number: i64| (least..=most).contains(&number)),
            Switch => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Text => true,
        };
        if !fits {
            return Err(match self.values {
                OneOf(values) => format!("value is not in set: [{}]", values.join(", ")),
                Range(least, most) => format!("value is not in range({least}, {most})"),
                Switch | Text => "boolean attribute format is wrong.".to_owned(),
            });
        }
        if NOT_BUILT.contains(&(self.name, value)) {
            return Err(format!("{}={value} is not built yet in this broker", self.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn altered(current: Option<&[(&str, &str)]>, edits: &str) -> Result<String, String> {
        let current: Option<Attributes> = current.map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        });
        let altered = alter(OF_TOPICS, current.as_ref(), &parse_edits(edits)?)?;
        Ok(altered
            .into_iter()
            .map(|(name, value)| format!("{name}={value};"))
            .collect())
    }

    #[test]
    fn edits_add_change_and_delete() {
        assert_eq!(altered(None, ""), Ok(String::new()));
        assert_eq!(
            altered(None, "+message.type=FIFO,+queue.type=SimpleCQ").unwrap(),
            "message.type=FIFO;queue.type=SimpleCQ;"
        );
        let current: &[(&str, &str)] = &[("message.type", "FIFO"), ("queue.type", "SimpleCQ")];
        assert_eq!(
            altered(Some(current), "+message.type=NORMAL").unwrap(),
            "message.type=NORMAL;queue.type=SimpleCQ;"
        );
        assert_eq!(
            altered(Some(current), "-message.type").unwrap(),
            "queue.type=SimpleCQ;"
        );
    }

    #[test]
    fn wrong_edits_are_refused_in_the_references_words() {
        let current: &[(&str, &str)] = &[("queue.type", "SimpleCQ")];
        let cases = [
            (None, "a=1", "add/alter attribute format is wrong: a"),
            (None, "a", "delete attribute format is wrong: a"),
            (None, "+a=1,+a=2", "key duplication: +a"),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (None, "+a=1", "unsupported key: a"),
            (None, "+=1", "kv string format wrong."),
            (
                None,
                "+message.type=WRONG",
                "value is not in set: [UNSPECIFIED, NORMAL, FIFO, DELAY, TRANSACTION, PRIORITY, LITE, MIXED]",
            ),
            (
                None,
                "+lite.topic.expiration=43201",
                "value is not in range(-1, 43200)",
            ),
            (
                None,
                "+cleanup.policy=COMPACTION",
                "cleanup.policy=COMPACTION is not built yet in this broker",
            ),
            (
                Some(current),
                "+queue.type=SimpleCQ",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            (
                Some(current),
                "-message.type",
                "attempt to delete a nonexistent key: message.type",
            ),
            (
                Some(current),
                "+message.type=FIFO,-message.type",
                "alter duplication key. key: message.type",
            ),
        ];
        for (current, edits, expected) in cases {
            assert_eq!(altered(current, edits).unwrap_err(), expected, "{edits}");
        }
        let quota: Edits = [("+lite.sub.reset.offset.exclusive".to_owned(), "yes".to_owned())].into();
        assert_eq!(
            alter(OF_GROUPS, None, &quota).unwrap_err(),
            "boolean attribute format is wrong."
        );
    }
}
