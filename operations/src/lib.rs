//! What operators use beside the protocol, the same for every server.
//!
//! ```text
//!   command_line   --check-config, --completions, --man, --probe: things a server binary does instead of serving
//!   man            the man page: clap's part, and the sections it cannot know
//!   config         what the configuration says about metrics
//!   http           GET /metrics and GET /healthz, from a Source that the server hands in
//!   exposition     figures in Prometheus' text format
//!   probe          asks /healthz of a server
//! ```
//!
//! Knows neither messages nor routes: a server hands in its own checks and figures.
#![forbid(unsafe_code)]

pub mod command_line;
pub mod config;
pub mod exposition;
pub mod http;
mod man;
pub mod probe;

pub use man::ManSections;
