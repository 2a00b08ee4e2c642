//! Messages that their producers may send again.

use super::{Logged, Queue, Wanted};

/// A message that was stored, as its producer sent it.
#[derive(Clone, Debug)]
pub struct Repeatable {
    /// Where it was sent to.
    pub queue: Queue,
    pub properties: String,
    pub body: Vec<u8>,
    pub is_delayed: bool,
    pub waits: bool,
    pub wanted: Wanted,
    /// What was stored.
    pub record: Logged,
}
