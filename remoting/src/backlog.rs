//! Backlog: what connections keep in memory while they wait for their peers, all together: answers and notices that these have
//! not taken yet, and parts of frames of which they have yet to send the rest.
//!
//! Each connection has bounds of its own, but thousands that read nothing, or end no frame, would still fill the memory
//! together. Beyond the limit the connection goes that got on with nothing for the longest time, and of those the one that
//! holds most.
//!
//! The task of a connection reports before it waits, and only when what it holds has changed by [`GRAIN_BYTES`]. Between two
//! requests of a peer that reads it holds nothing, so nothing is shared on the fast path.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::connection::Connection;

/// The limit unless configured.
pub const DEFAULT_BACKLOG_LIMIT_BYTES: usize = 1024 * 1024 * 1024;

/// Smaller changes are not reported: what is counted of a connection is wrong by less than this.
const GRAIN_BYTES: usize = 4 * 1024;

/// See the module. Shared by all servers of a process.
#[derive(Debug)]
pub struct Backlog {
    limit_bytes: usize,
    /// A leaf: no other lock is taken under it.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The sum over `holders`.
    bytes: usize,
    /// Connections that hold something, by id.
    holders: HashMap<u64, Arc<Connection>>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::with_limit(DEFAULT_BACKLOG_LIMIT_BYTES)
    }
}

impl Backlog {
    /// One that all connections together may fill with so many bytes.
    pub fn with_limit(limit_bytes: usize) -> Self {
        Backlog {
            limit_bytes,
            held: Mutex::default(),
        }
    }

    /// What is held now.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    /// The limit.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// A connection holds so much now. Gives the connections that are to be closed for it, with what each held.
    pub(crate) fn report(&self, connection: &Arc<Connection>, bytes: usize) -> Vec<(Arc<Connection>, usize)> {
        let known = connection.activity.backlog.load(Ordering::Relaxed);
        let is_news = bytes.abs_diff(known) >= GRAIN_BYTES || (bytes == 0 && known > 0);
        match is_news {
            true => self.held().update(connection, bytes, self.limit_bytes),
            false => Vec::new(),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn update(
        &mut self,
        connection: &Arc<Connection>,
        bytes: usize,
        limit_bytes: usize,
    ) -> Vec<(Arc<Connection>, usize)> {
        self.forget(connection);
        if bytes > 0 {
            connection.activity.backlog.store(bytes, Ordering::Relaxed);
            self.holders.insert(connection.id(), Arc::clone(connection));
            self.bytes += bytes;
        }
        let mut beyond = Vec::new();
        while self.bytes > limit_bytes
            && let Some(worst) = self.worst()
        {
            // Its queue goes with its task, very soon.
            let held = self.forget(&worst);
            beyond.push((worst, held));
        }
        beyond
    }

    fn worst(&self) -> Option<Arc<Connection>> {
        let patience_and_size = |connection: &&Arc<Connection>| {
            let activity = &connection.activity;
            let (stalled, quiet) = (&activity.stalled_sweeps, &activity.quiet_sweeps);
            let sweeps = stalled.load(Ordering::Relaxed).max(quiet.load(Ordering::Relaxed));
            (sweeps, activity.backlog.load(Ordering::Relaxed))
        };
        self.holders.values().max_by_key(patience_and_size).cloned()
    }

    fn forget(&mut self, connection: &Arc<Connection>) -> usize {
        self.holders.remove(&connection.id());
        let held = connection.activity.backlog.swap(0, Ordering::Relaxed);
        self.bytes -= held;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<Connection> {
        Connection::detached("127.0.0.1:5".parse().unwrap())
    }

    fn ids(closed: &[(Arc<Connection>, usize)]) -> Vec<(u64, usize)> {
        closed
            .iter()
            .map(|(connection, held)| (connection.id(), *held))
            .collect()
    }

    #[test]
    fn what_is_held_is_counted_to_the_grain_and_given_back_wholly() {
        let backlog = Backlog::with_limit(1_000_000);
        let (first, second) = (connection(), connection());
        for (connection, bytes, all) in [
            (&first, GRAIN_BYTES - 1, 0),
            (&first, 10_000, 10_000),
            (&second, 50_000, 60_000),
            (&first, 10_000 + GRAIN_BYTES - 1, 60_000),
            (&first, 20_000, 70_000),
            (&second, 0, 20_000),
            (&first, 1, 1),
            (&first, 0, 0),
        ] {
            assert!(backlog.report(connection, bytes).is_empty());
            assert_eq!(backlog.bytes(), all);
        }
        assert!(backlog.held().holders.is_empty());
    }

    #[test]
    fn beyond_the_limit_goes_who_gets_on_with_nothing_and_then_who_holds_most() {
        let backlog = Backlog::with_limit(100_000);
        let [stalled, quiet, large, small] = [connection(), connection(), connection(), connection()];
        backlog.report(&stalled, 10_000);
        backlog.report(&quiet, 10_000);
        backlog.report(&large, 60_000);
        stalled.activity.stalled_sweeps.store(1, Ordering::Relaxed);
        quiet.activity.quiet_sweeps.store(2, Ordering::Relaxed);
        assert_eq!(ids(&backlog.report(&small, 30_000)), [(quiet.id(), 10_000)]);
        backlog.report(&small, 10_000);
        assert_eq!(ids(&backlog.report(&small, 35_000)), [(stalled.id(), 10_000)]);
        assert_eq!(backlog.bytes(), 95_000);
        assert_eq!(ids(&backlog.report(&small, 50_000)), [(large.id(), 60_000)]);
        // The task of a closed connection may report once more, and reports its end.
        backlog.report(&large, 10_000);
        backlog.report(&large, 0);
        assert_eq!(backlog.bytes(), 50_000);
    }

    #[test]
    fn one_alone_beyond_the_limit_goes_itself() {
        let backlog = Backlog::with_limit(100_000);
        let greedy = connection();
        assert_eq!(ids(&backlog.report(&greedy, 100_001)), [(greedy.id(), 100_001)]);
        assert_eq!(backlog.bytes(), 0);
    }
}
