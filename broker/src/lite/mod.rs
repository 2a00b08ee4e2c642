//! Light topics: any number of small queues inside a parent topic, which clients subscribe to one by one.
//!
//! ```text
//!   SEND with __LITE_TOPIC ─> the parent topic, and the light message queue %LMQ%$parent$child
//!                                  │ arrival
//!   LITE_SUBSCRIPTION_CTL ─> subscriptions ─> events ─> POP_LITE_MESSAGE ─> ACK_MESSAGE with liteTopic
//! ```
//!
//! ```text
//!   subscriptions  which client gets which queues
//!   events         which queues a client is to look at next
//!   dispatch       the two together: from a message to a client's parked pop
//!   schedule       things that are to happen at a time
//!   settings       what attributes of topics and groups say
//!   topics         the light topics of a parent: whether they exist, expire, have more for a group
//!   lag            how far groups are behind
//!   sharding       which broker a light topic belongs to
//!   service        everything that happens by time
//! ```
//!
//! A parent topic has the attribute `message.type=LITE`, its groups `lite.bind.topic`; light message queues have to be switched on
//! (`enableLmq`, `enableMultiDispatch`). The last batch of each queue is kept by a
//! [`ConsumerOrderInfo`](crate::registry::ConsumerOrderInfo) of its own.

pub mod dispatch;
pub mod events;
pub mod lag;
mod schedule;
pub mod service;
pub mod settings;
pub mod sharding;
pub mod subscriptions;
pub mod topics;
