//! SilentConsumers: what groups want that pull or pop without heartbeats, such as those behind a proxy.
//!
//! Their requests bring the subscription; it counts until `subscriptionExpiredTimeout` after the last one.
//! Reference: `ConsumerManager.compensateSubscribeData`.

use dashmap::DashMap;

use super::tally::KEY_LIMIT;
use crate::filter::expression::ExpressionFilter;
use crate::filter::tags::TagsFilter;

/// What a group wants of a topic, as its last request said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SilentConsumer {
    pub(crate) pops: bool,
    /// Which messages; `None` for all, and for an SQL expression.
    pub(crate) tags: Option<TagsFilter>,
    seen_ms: i64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct SilentConsumers {
    /// By group and topic.
    seen: DashMap<(String, String), SilentConsumer, foldhash::fast::RandomState>,
}

impl SilentConsumers {
    /// A request of the group brought this filter.
    pub(crate) fn note(&self, group: &str, topic: &str, pops: bool, filter: &ExpressionFilter, now_ms: i64) {
        let tags = match filter {
            ExpressionFilter::Tags(tags) if !tags.wants_all() => Some(tags.clone()),
            _ => None,
        };
        let key = (group.to_owned(), topic.to_owned());
        if self.seen.len() < KEY_LIMIT || self.seen.contains_key(&key) {
            let consumer = SilentConsumer {
                pops,
                tags,
                seen_ms: now_ms,
            };
            self.seen.insert(key, consumer);
        }
    }

    /// Who was seen since then, by group and topic; all others are forgotten.
    pub(crate) fn seen_since(&self, since_ms: i64) -> Vec<((String, String), SilentConsumer)> {
        self.seen.retain(|_, consumer| consumer.seen_ms >= since_ms);
        let seen = self.seen.iter();
        seen.map(|entry| (entry.key().clone(), entry.value().clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::tags;

    #[test]
    fn a_group_is_forgotten_when_it_has_asked_for_nothing_for_long() {
        let silent = SilentConsumers::default();
        let filter = |expression| ExpressionFilter::of_tags(&tags::build("T", expression).unwrap());
        silent.note("G", "T", true, &filter("A"), 1_000);
        silent.note("H", "T", false, &filter("*"), 2_000);
        let mut seen = silent.seen_since(1_000);
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        let tags = |at: usize| (seen[at].1.pops, seen[at].1.tags.is_some());
        assert_eq!((tags(0), tags(1)), ((true, true), (false, false)));
        silent.note("H", "T", false, &filter("*"), 3_000);
        assert_eq!(silent.seen_since(2_500).len(), 1);
    }
}
