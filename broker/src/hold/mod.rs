//! Requests that wait for something to happen.
//!
//! ```text
//!   pull    pulls that wait for a message of their queue
//! ```

pub mod pull;
