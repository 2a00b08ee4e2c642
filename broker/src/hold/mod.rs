//! Requests that wait for something to happen.
//!
//! ```text
//!   pull    pulls that wait for a message of their queue
//!   pop     pops and notifications that wait for a message of any queue, or of one
//! ```

pub mod pop;
pub mod pull;
