//! Requests that wait for something to happen.
//!
//! ```text
//!   parked  the one table of them, and the service that resumes them on time
//!   pull    pulls that wait for a message of their queue
//!   pop     pops and notifications that wait for a message of any queue, or of one
//!   lite    lite pops that wait for an event of their client
//! ```

pub mod lite;
mod parked;
pub mod pop;
pub mod pull;
