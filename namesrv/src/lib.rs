//! The NameServer.
#![forbid(unsafe_code)]
pub mod config;
pub mod kv_config;
mod persist;
pub mod route_table;
