//! See ARCHITECTURE.md.
#![forbid(unsafe_code)]

pub mod clients;
pub mod config;
pub mod delay;
pub mod filter;
pub mod hold;
pub mod namesrv_link;
pub mod registry;
pub mod stats;
