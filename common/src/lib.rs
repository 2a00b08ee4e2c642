//! What every crate of the server shares. Opens no socket and no message file.
//!
//! ```text
//!   clock        wall and monotonic time; the one place that asks the system for it
//!   service      background work: one lifecycle for all of it
//!   planted_bug  mistakes for the simulation to find; nothing of them without the feature `sim`
//!   random       choices that need no secrecy
//!   properties   Java .properties text and one declaration per config struct
//!   config_report  what --check-config says about a file
//!   local_time   the hour of the day, the next midnight, file names, in the host's time zone
//!   small_file   files replaced as a whole
//!   log          console and rolling log files
//!   names        system topics and groups, %RETRY% and %DLQ% names, validation
//!   version      protocol version numbers
//!   message/     properties string, sys flags, tags code, ids, delay levels
//! ```
#![forbid(unsafe_code)]

pub mod clock;
pub mod config_report;
pub mod local_time;
pub mod log;
pub mod message;
pub mod names;
pub mod planted_bug;
pub mod properties;
pub mod random;
pub mod service;
pub mod small_file;
pub mod version;
