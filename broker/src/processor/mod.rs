//! Processors: what the broker does with each request, one file for one subject.
//!
//! ```text
//!   send_message     10 310 320        send_target, send_properties, batch_body   what a send asks for
//!   send_back        36                refusals, json                             what they share
//!   reply_message    324 325
//!   end_transaction  37
//!   recall_message   370
//!   pull_message     11 361            pull_checks                                who may pull what
//!   client_manage    34 35 46          pull_broadcast                             where a broadcasting member goes on
//!   consumer_manage  38 14 15          pull_cold                                  slows down readers of old messages
//!   pop_message      200050            pop_checks                                 who may pop what, and from where
//!   ack_message      200051 200151     when_flushed                               promises about the log
//!   change_invisible_time  200053      pop_order                                  the last batch of a queue, in order
//!   pop_lite_message 200070            lite_ack                                   the last two, of light topics
//!   lite_subscription  200071          pop_read                                   the next messages of a queue
//!   peek_message     200052            query_assignment  400 401 402
//!   notification     200054 200055
//!   queue_offset     29 30 31 32       queue_lock  41 42
//!   query_message    12 33             admin/      everything mqadmin asks for
//! ```

pub(crate) mod ack_message;
pub mod admin;
pub mod batch_body;
pub(crate) mod change_invisible_time;
pub(crate) mod client_manage;
pub(crate) mod consumer_manage;
pub(crate) mod end_transaction;
pub(crate) mod json;
pub(crate) mod lite_ack;
pub(crate) mod lite_subscription;
pub(crate) mod notification;
pub(crate) mod peek_message;
pub(crate) mod pop_checks;
pub(crate) mod pop_lite_message;
pub(crate) mod pop_message;
pub(crate) mod pop_order;
pub(crate) mod pop_read;
pub(crate) mod pull_broadcast;
pub(crate) mod pull_checks;
pub(crate) mod pull_cold;
pub(crate) mod pull_message;
pub(crate) mod query_assignment;
pub(crate) mod query_message;
pub(crate) mod queue_lock;
pub(crate) mod queue_offset;
pub(crate) mod recall_message;
pub(crate) mod refusals;
pub(crate) mod reply_message;
pub(crate) mod send_back;
pub(crate) mod send_message;
pub mod send_properties;
pub(crate) mod send_target;
pub(crate) mod when_flushed;

#[cfg(test)]
mod tests;
