//! What attributes of topics and groups say about light topics. Reference: `LiteMetadataUtil`, `SubscriptionGroupConfig`.

use std::collections::{BTreeMap, BTreeSet};

use remoting::body::{SubscriptionGroupConfig, TopicConfig};

use crate::broker::Broker;

/// Light topics that are not used for so many minutes go; without the attribute they stay.
const NEVER_EXPIRES: i32 = -1;

/// Whether the topic holds light topics.
pub fn is_lite(topic: &TopicConfig) -> bool {
    let message_type = topic.attributes.get("message.type");
    message_type.is_some_and(|message_type| message_type == "LITE")
}

/// After how many minutes without a message a light topic of the topic goes; never for 0 and below.
pub fn expiration_minutes(topic: &TopicConfig) -> i32 {
    let minutes = topic.attributes.get("lite.topic.expiration");
    minutes
        .and_then(|minutes| minutes.parse().ok())
        .unwrap_or(NEVER_EXPIRES)
}

/// The topic whose light topics the group may subscribe to.
pub fn bind_topic(group: &SubscriptionGroupConfig) -> Option<&str> {
    group.attributes.get("lite.bind.topic").map(String::as_str)
}

/// Whether the group's clients get every light topic.
pub fn is_wildcard(group: &SubscriptionGroupConfig) -> bool {
    group.attributes.contains_key("lite.sub.wildcard")
}

/// Whether only one client of the group may have a light topic: the last one that subscribed.
pub fn is_exclusive(group: &SubscriptionGroupConfig) -> bool {
    let model = group.attributes.get("lite.sub.model");
    model.is_some_and(|model| model == "Exclusive")
}

/// Whether the one that takes a light topic over starts at its beginning.
pub fn resets_when_taken_over(group: &SubscriptionGroupConfig) -> bool {
    is_on(group, "lite.sub.reset.offset.exclusive")
}

/// Whether the group starts at the beginning after a client has unsubscribed.
pub fn resets_when_unsubscribed(group: &SubscriptionGroupConfig) -> bool {
    is_on(group, "lite.sub.reset.offset.unsubscribe")
}

fn is_on(group: &SubscriptionGroupConfig, attribute: &str) -> bool {
    group
        .attributes
        .get(attribute)
        .is_some_and(|value| value == "true")
}

/// How many events a client of the group may have.
pub fn max_events(group: &SubscriptionGroupConfig, default: i32) -> usize {
    let of_group = group.attributes.get("lite.sub.client.max.event.cnt");
    let of_group = of_group.and_then(|count| count.parse::<i64>().ok());
    let count = of_group.filter(|count| *count > 0).unwrap_or(i64::from(default));
    usize::try_from(count).unwrap_or(0)
}

/// Topics that hold light topics, and after how many minutes those go.
pub fn parent_topics(broker: &Broker) -> BTreeMap<String, i32> {
    let topics = broker.topics.snapshot();
    let parents = topics.iter().filter(|(_, topic)| is_lite(topic));
    parents
        .map(|(name, topic)| (name.clone(), expiration_minutes(topic)))
        .collect()
}

/// The groups bound to each topic.
pub fn groups_by_topic(broker: &Broker) -> BTreeMap<String, BTreeSet<String>> {
    let mut bound: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, group) in broker.groups.snapshot() {
        if let Some(topic) = bind_topic(&group) {
            bound.entry(topic.to_owned()).or_default().insert(name);
        }
    }
    bound
}
