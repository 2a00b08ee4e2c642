//! Tag subscriptions. The broker compares tags codes only; clients compare the tags themselves, so two tags with one code do no
//! harm. Reference: `FilterAPI`, `ExpressionType`, `DefaultMessageFilter`.

use common::message::tags_code::java_hash_code;
use remoting::body::SubscriptionData;
use store::MessageFilter;
use thiserror::Error;

/// The expression that wants everything.
pub const SUBSCRIBE_ALL: &str = "*";
/// The name of tag expressions on the wire.
pub const TYPE: &str = "TAG";
/// Between two tags.
const SEPARATOR: &str = "||";

/// Whether an expression type means tags: absent and empty do.
pub fn is_tag_type(expression_type: &str) -> bool {
    expression_type.is_empty() || expression_type == TYPE
}

/// An expression of nothing but bars names no tags, not even none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no tag stands between the bars")]
pub struct NothingBetweenBars;

/// Reads `*`, nothing, or tags separated by `||`. Reference: `FilterAPI.buildSubscriptionData`.
pub fn build(topic: &str, expression: &str) -> Result<SubscriptionData, NothingBetweenBars> {
    if expression.is_empty() || expression == SUBSCRIBE_ALL {
        return Ok(all(topic));
    }
    if expression.split(SEPARATOR).all(str::is_empty) {
        return Err(NothingBetweenBars);
    }
    let mut subscription = SubscriptionData {
        topic: topic.to_owned(),
        sub_string: expression.to_owned(),
        ..SubscriptionData::default()
    };
    for tag in expression
        .split(SEPARATOR)
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
    {
        subscription.tags_set.insert(tag.to_owned());
        subscription.code_set.insert(java_hash_code(tag));
    }
    Ok(subscription)
}

/// A subscription to everything.
pub fn all(topic: &str) -> SubscriptionData {
    SubscriptionData {
        topic: topic.to_owned(),
        sub_string: SUBSCRIBE_ALL.to_owned(),
        ..SubscriptionData::default()
    }
}

/// The tags codes that a subscription wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagsFilter {
    /// `None`: all. Blanks in place of tags want none.
    codes: Option<Box<[i32]>>,
}

impl TagsFilter {
    /// The filter of a tag subscription.
    pub fn new(subscription: &SubscriptionData) -> Self {
        let wants_all = subscription.sub_string == SUBSCRIBE_ALL || subscription.class_filter_mode;
        let codes = (!wants_all).then(|| subscription.code_set.iter().copied().collect());
        Self { codes }
    }

    /// Whether it leaves nothing out.
    pub fn wants_all(&self) -> bool {
        self.codes.is_none()
    }

    /// Whether a message with this tags code is wanted.
    pub fn accepts(&self, tags_code: i64) -> bool {
        // The reference compares the low 32 bits.
        self.codes
            .as_ref()
            .is_none_or(|codes| codes.contains(&(tags_code as i32)))
    }
}

impl From<&SubscriptionData> for TagsFilter {
    fn from(subscription: &SubscriptionData) -> Self {
        Self::new(subscription)
    }
}

impl MessageFilter for TagsFilter {
    fn by_tags_code(&self, tags_code: i64) -> bool {
        self.accepts(tags_code)
    }
}

#[cfg(test)]
mod tests {
    use common::message::tags_code::tags_code;

    use super::*;

    #[test]
    fn expressions_are_read_as_the_reference_reads_them() {
        let cases: [(&str, &str, &[&str]); 6] = [
            ("", "*", &[]),
            ("*", "*", &[]),
            ("A", "A", &["A"]),
            (" A||  B ||", " A||  B ||", &["A", "B"]),
            (" || ", " || ", &[]),
            ("|||", "|||", &["|"]),
        ];
        for (expression, sub_string, tags) in cases {
            let subscription = build("t", expression).unwrap();
            assert_eq!(subscription.sub_string, sub_string);
            assert_eq!(
                subscription.tags_set.iter().collect::<Vec<_>>(),
                tags.iter().collect::<Vec<_>>()
            );
        }
        for bars in ["||", "||||"] {
            assert_eq!(build("t", bars), Err(NothingBetweenBars), "{bars}");
        }
    }

    #[test]
    fn blanks_are_no_tags_and_want_nothing() {
        let filter = TagsFilter::new(&build("t", " || ").unwrap());
        assert!(!filter.wants_all());
        assert!(!filter.accepts(tags_code(Some("A"))) && !filter.accepts(tags_code(None)));
    }

    #[test]
    fn a_filter_accepts_its_tags_and_everything_without_tags() {
        let filter = TagsFilter::new(&build("t", "A || B").unwrap());
        assert!(filter.accepts(tags_code(Some("A"))) && filter.accepts(tags_code(Some("B"))));
        assert!(!filter.accepts(tags_code(Some("C"))) && !filter.accepts(tags_code(None)));
        assert!(TagsFilter::new(&build("t", "*").unwrap()).accepts(tags_code(Some("C"))));
    }

    #[test]
    fn tags_with_negative_codes_are_found() {
        let filter = TagsFilter::new(&build("t", "polygenelubricants").unwrap());
        assert!(filter.accepts(tags_code(Some("polygenelubricants"))));
    }
}
