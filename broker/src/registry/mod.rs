//! Durable metadata: each table owns its lock and its JSON file.
//!
//! ```text
//!   topics            topics.json              written when it changes
//!   groups            subscriptionGroup.json   written when it changes
//!   consumer_offsets  consumerOffset.json      every flushConsumerOffsetInterval
//!   delay_offsets     delayOffset.json         every flushDelayOffsetInterval
//!   persist           the one that writes them all: atomically, in the background, and at the end
//! ```

pub mod consumer_offsets;
pub mod delay_offsets;
pub mod groups;
pub mod persist;
pub mod topics;

pub use consumer_offsets::ConsumerOffsets;
pub use delay_offsets::DelayOffsets;
pub use groups::Groups;
pub use persist::{Persist, PersistWaker, TableFile};
pub use topics::Topics;
