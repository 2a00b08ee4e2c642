//! See ARCHITECTURE.md.
#![forbid(unsafe_code)]

pub mod config;
pub mod registry;
pub mod stats;
