//! Which messages a consumer wants: subscriptions and what is made of them.
//!
//! ```text
//!   tags    `A || B`: compared by tags code here, by text at the client
//! ```

pub mod tags;
