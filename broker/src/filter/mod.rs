//! Which messages a consumer wants: subscriptions and what is made of them.
//!
//! ```text
//!   tags    `A || B`: compared by tags code here, by text at the client
//!   sql92   `price > 5 AND region IN ('hangzhou')`: compared with the properties, here alone
//!   expression   one of the two, as the filter of a pull
//!   bloom        what a Java broker keeps of a group beside its SQL filter
//! ```
//!
//! The SQL filters of the groups are a table: `registry/consumer_filters.rs`.

pub mod bloom;
pub mod expression;
pub mod sql92;
pub mod tags;
