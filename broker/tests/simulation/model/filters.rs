//! What consumers may ask for, and which messages that is.

use std::fmt;

use common::message::properties::name;

use super::Logged;

/// A property that some messages have: a digit.
pub const NUMBER: &str = "n";

/// An expression, and what it means.
#[derive(Clone, Copy)]
pub struct Filter {
    pub is_sql: bool,
    pub expression: &'static str,
    pub wants: fn(&Logged) -> bool,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expression)
    }
}

/// The filter that leaves nothing out.
pub const ALL: Filter = tags("*", |_| true);

/// Those that leave something out. What a message does not have is unknown: neither is it so, nor is it not.
pub const FILTERS: [Filter; 10] = [
    tags("red", |record| tag(record) == Some("red")),
    tags("blue", |record| tag(record) == Some("blue")),
    tags("red || blue", |record| tag(record).is_some()),
    sql("TAGS = 'red'", |record| tag(record) == Some("red")),
    sql("n > 4", |record| number(record).is_some_and(|n| n > 4)),
    sql("NOT (n = 3)", |record| number(record).is_some_and(|n| n != 3)),
    sql("n IS NULL OR n < 3", |record| {
        number(record).is_none_or(|n| n < 3)
    }),
    sql("n BETWEEN 2 AND 6 AND TAGS IS NOT NULL", |record| {
        tag(record).is_some() && number(record).is_some_and(|n| (2..=6).contains(&n))
    }),
    sql("TAGS IN ('blue', 'green') OR n = 7", |record| {
        tag(record) == Some("blue") || number(record) == Some(7)
    }),
    sql("n >= 0 AND n < 0", |_| false),
];

const fn tags(expression: &'static str, wants: fn(&Logged) -> bool) -> Filter {
    Filter {
        is_sql: false,
        expression,
        wants,
    }
}

const fn sql(expression: &'static str, wants: fn(&Logged) -> bool) -> Filter {
    Filter {
        is_sql: true,
        expression,
        wants,
    }
}

fn tag(record: &Logged) -> Option<&str> {
    record.properties.get(name::TAGS).map(String::as_str)
}

fn number(record: &Logged) -> Option<i64> {
    record.properties.get(NUMBER)?.parse().ok()
}
