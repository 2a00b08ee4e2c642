//! The record of one message in the CommitLog.
//!
//! ```text
//!   format   where each field lies, as a table; what is shared by both directions
//!   encode   Message -> bytes, and the fields that are known only under the writer lock
//!   decode   bytes -> Record, believing nothing
//! ```

pub mod decode;
pub mod encode;
pub mod format;

pub use decode::{Record, RecordError, decode};
pub use format::RecordVersion;
