//! The filter of a consumer, whatever its type: for the store, which reads records, and for the holds, which see arrivals.
//!
//! Reference: `ExpressionMessageFilter`, `ExpressionForRetryMessageFilter`, `FilterFactory`.

use std::sync::Arc;

use common::message::properties::{self, name};
use remoting::body::SubscriptionData;
use store::record;
use store::{Arrival, MessageFilter};
use thiserror::Error;

use super::sql92::{self, Sql92, SyntaxError};
use super::tags::TagsFilter;
use crate::registry::consumer_filters::GroupFilters;

/// Which messages a consumer wants.
#[derive(Clone, Debug)]
pub enum ExpressionFilter {
    /// By tags code.
    Tags(TagsFilter),
    /// By properties.
    Sql92(Sql92),
    /// Messages of a retry topic: each by what the group wants of the topic it was sent to first, all of a topic without such a filter.
    Retried(Arc<GroupFilters>),
}

/// Why an expression cannot be compiled.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ExpressionError {
    /// There are tags and SQL92.
    #[error("no expression has the type {0:?}, known are TAG and SQL92")]
    UnknownType(String),
    /// Not an expression of its type.
    #[error("Invalid MessageSelector. {0}")]
    Syntax(#[from] SyntaxError),
}

/// Compiles an expression of a type other than tags.
pub fn compile(expression_type: &str, expression: &str) -> Result<Sql92, ExpressionError> {
    if expression_type != sql92::TYPE {
        return Err(ExpressionError::UnknownType(expression_type.to_owned()));
    }
    Ok(Sql92::compile(expression)?)
}

impl ExpressionFilter {
    /// The filter of a tag subscription.
    pub fn of_tags(subscription: &SubscriptionData) -> Self {
        Self::Tags(TagsFilter::new(subscription))
    }

    /// Whether a message that has just been dispatched is wanted.
    pub fn accepts(&self, arrival: &Arrival<'_>) -> bool {
        self.by_tags_code(arrival.tags_code) && self.by_properties(arrival.properties)
    }

    fn by_properties(&self, properties: &str) -> bool {
        match self {
            Self::Tags(_) => true,
            Self::Sql92(expression) => expression.matches(properties),
            Self::Retried(filters) => properties::get(properties, name::RETRY_TOPIC)
                .and_then(|topic| filters.get(topic))
                .is_none_or(|filter| filter.compiled.matches(properties)),
        }
    }
}

impl MessageFilter for ExpressionFilter {
    fn by_tags_code(&self, tags_code: i64) -> bool {
        match self {
            Self::Tags(tags) => tags.accepts(tags_code),
            Self::Sql92(_) | Self::Retried(_) => true,
        }
    }

    fn by_record(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Tags(_) => true,
            // What cannot be read has no properties to want it for.
            _ => record::decode(bytes).is_ok_and(|record| self.by_properties(record.properties)),
        }
    }
}

impl From<TagsFilter> for ExpressionFilter {
    fn from(tags: TagsFilter) -> Self {
        Self::Tags(tags)
    }
}

#[cfg(test)]
mod tests {
    use common::message::tags_code::tags_code;
    use store::QueueOffset;

    use super::*;
    use crate::filter::tags;

    fn arrival<'a>(tag: Option<&str>, properties: &'a str) -> Arrival<'a> {
        Arrival {
            topic: "t",
            queue_id: 0,
            queue_offset: QueueOffset(0),
            tags_code: tags_code(tag),
            store_timestamp_ms: 0,
            properties,
        }
    }

    #[test]
    fn tags_are_told_by_their_code_and_sql_by_the_properties() {
        let by_tag = ExpressionFilter::of_tags(&tags::build("t", "A").unwrap());
        assert!(by_tag.accepts(&arrival(Some("A"), "")));
        assert!(!by_tag.accepts(&arrival(Some("B"), "")));

        let by_sql = ExpressionFilter::Sql92(compile("SQL92", "n > 1").unwrap());
        assert!(by_sql.accepts(&arrival(Some("B"), "n\u{1}2\u{2}")));
        assert!(!by_sql.accepts(&arrival(Some("B"), "n\u{1}1\u{2}")));
    }

    #[test]
    fn bytes_that_are_no_record_are_not_wanted_by_sql() {
        assert!(!ExpressionFilter::Sql92(compile("SQL92", "TRUE").unwrap()).by_record(b"garbage"));
    }

    #[test]
    fn an_expression_of_an_unknown_type_is_refused_by_name() {
        let error = compile("XPATH", "TRUE").unwrap_err();
        assert_eq!(error, ExpressionError::UnknownType("XPATH".to_owned()));
        let error = compile("SQL92", "a >").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Invalid MessageSelector. encountered the end")
        );
    }
}
