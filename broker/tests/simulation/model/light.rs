//! Light message queues: a record may be in several, beside its own queue.

use std::collections::BTreeMap;

use common::message::properties::name;
use common::names::{LMQ_PREFIX, RETRY_TOPIC_PREFIX, is_system_topic};

use super::Queue;
use crate::{Violation, ensure};

/// The topic whose messages go to light queues.
pub const LIGHT_TOPIC: &str = "Light";
/// The light queues, each a topic with one queue.
pub const LIGHT_QUEUES: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];
/// Groups that read them.
pub const LIGHT_GROUPS: [&str; 2] = ["%LMQ%GroupA", "%LMQ%GroupB"];

/// Whether it is a light queue.
pub fn is_light(queue: &Queue) -> bool {
    queue.0.starts_with(LMQ_PREFIX)
}

/// The light queues that a record names, with the offsets it says it has there. While it waits, or comes back to one group, it
/// is in none.
pub fn places(
    topic: &str,
    properties: &BTreeMap<String, String>,
    offsets: Option<&str>,
) -> Result<Vec<(Queue, u64)>, Violation> {
    let (Some(names), Some(offsets)) = (properties.get(name::INNER_MULTI_DISPATCH), offsets) else {
        return Ok(Vec::new());
    };
    if is_system_topic(topic) || topic.starts_with(RETRY_TOPIC_PREFIX) {
        return Ok(Vec::new());
    }
    let (names, offsets): (Vec<_>, Vec<_>) = (names.split(',').collect(), offsets.split(',').collect());
    ensure!(
        names.len() == offsets.len(),
        "a record of {names:?} has the offsets {offsets:?}"
    );
    let places = names.iter().zip(&offsets).map(|(name, offset)| {
        let offset = offset.parse().map_err(|_| format!("{offset:?} is no offset"))?;
        Ok((((*name).to_owned(), 0), offset))
    });
    places.collect()
}
