//! What operators use beside the protocol, the same for every server.
//!
//! ```text
//!   command_line   --check-config, --completions, --man: things a server binary does instead of serving
//!   man            the man page: clap's part, and the sections it cannot know
//! ```
//!
//! Knows neither messages nor routes: a server hands in its own checks and figures.
#![forbid(unsafe_code)]

pub mod command_line;
mod man;

pub use man::ManSections;
