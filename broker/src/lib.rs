//! The Broker: takes messages, keeps them, hands them out.
//!
//! ```text
//!   main        arguments, signals            broker      the subsystems, in construction order
//!   running     a broker on its sockets       routes      every request it serves
//!   config/     every key                     services    every background job
//!
//!   processor/  what requests do              registry/   topics, groups, offsets: durable
//!   clients/    who is connected              hold/       requests that wait
//!   filter/     who wants which message       delay/      messages that wait
//!   metrics/    what /metrics and /healthz say
//!   stats       what was done, how fast       transaction/  messages that wait for a word
//!   timer/      messages with a delivery time pop/       messages handed out
//!   lite/       many small queues in a topic  namesrv_link  registration with the name servers
//!   static_topic/  queues that move
//! ```
#![forbid(unsafe_code)]

pub mod broker;
pub mod clients;
pub mod cold_data;
pub mod cold_strategy;
pub mod config;
pub mod delay;
pub mod filter;
pub mod hold;
pub mod lite;
pub mod metrics;
pub mod namesrv_link;
pub mod pop;
pub mod processor;
mod recent_sends;
pub mod registry;
pub mod routes;
pub mod running;
pub mod services;
pub mod static_topic;
pub mod stats;
pub mod timer;
pub mod transaction;

pub use broker::Broker;
pub use running::{Running, start};
