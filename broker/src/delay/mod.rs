//! Delayed messages: they wait in a topic of the broker until they are due.
//!
//! ```text
//!   levels   one queue of SCHEDULE_TOPIC_XXXX per delay level; delivered in the order they came
//!   copy     the message as it goes to its own topic
//!   recovery what a start finds delivered, beyond what the file of progress says
//! ```

pub(crate) mod copy;
pub mod levels;
mod recovery;

pub use levels::{DelayArrivals, DelayDelivery};
