//! JSON bodies of requests and responses, and the JSON of the broker's config files.
//!
//! One plain struct per Java class, under its Java name, one file per subject; [`fastjson`] is the dialect they travel in.
//! Rules that hold for all of them:
//!
//! - Fields stand in the alphabetical order of their JSON names, which is the order Java writes.
//! - A missing or null field becomes the default of the Java class; `None` is left out when written.
//! - Integers are the Java widths: `int` is `i32`, `long` is `i64`.
//! - Tables are ordered maps, so the same content always gives the same bytes.
//!
//! A consumer's answer to GET_CONSUMER_RUNNING_INFO has no struct here: the broker hands it on byte for byte.

pub mod batch_ack;
pub mod broker;
pub mod client;
pub mod config_files;
pub mod consume;
pub mod data_version;
pub mod fastjson;
pub mod group;
pub mod lite;
pub mod message_queue;
pub mod namesrv;
pub mod offset;
pub mod pop;
pub mod register_broker;
pub mod static_topic;
pub mod topic;

pub use batch_ack::{BatchAck, BatchAckMessageRequestBody, BitSet};
pub use broker::*;
pub use client::*;
pub use config_files::*;
pub use consume::*;
pub use data_version::DataVersion;
pub use group::*;
pub use lite::*;
pub use message_queue::MessageQueue;
pub use namesrv::*;
pub use offset::*;
pub use pop::*;
pub use register_broker::{RegisterBrokerBody, RegisterBrokerBodyError};
pub use static_topic::*;
pub use topic::*;
