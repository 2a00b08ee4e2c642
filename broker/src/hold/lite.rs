//! Parked lite pops: each client waits for the next of its events (`lite/`).
//!
//! Reference: `PopLiteLongPollingService`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use remoting::connection::Connection;
use remoting::request::ParkedRequest;

use super::parked::{Expiry, Hold, Kind, Parked, forget_in};
use super::pop::{MAX_PARKED_PER_CONNECTION, PollLimits, PollingFull};

/// The parked lite pops.
pub type LiteHold = Hold<LitePolls>;

/// Resumes parked lite pops on time.
pub type LiteExpiry = Expiry<LitePolls>;

/// Parked lite pops by client id.
#[derive(Debug, Default)]
pub struct LitePolls {
    clients: HashMap<Arc<str>, BTreeSet<u64>>,
}

impl Kind for LitePolls {
    type Waits = Arc<str>;
    const EXPIRY: &'static str = "lite-hold";

    fn add(&mut self, id: u64, client_id: &Arc<str>) {
        self.clients.entry(Arc::clone(client_id)).or_default().insert(id);
    }

    fn forget(&mut self, id: u64, client_id: &Arc<str>) {
        forget_in(&mut self.clients, client_id, id);
    }
}

impl LiteHold {
    /// Parks a lite pop. An event may have come since it looked: look once more afterwards, and [`Self::wake`].
    ///
    /// # Errors
    /// With the request left to the caller, when it is one too many or the broker stops.
    pub fn park(
        &self,
        client_id: &str,
        deadline_ms: i64,
        limits: PollLimits,
        request: impl FnOnce() -> ParkedRequest,
        connection: &Arc<Connection>,
    ) -> Result<(), PollingFull> {
        let has_room = |parked: &Parked<LitePolls>| {
            let of_client = parked.index.clients.get(client_id).map_or(0, BTreeSet::len);
            // The reference lets one more than its limit wait.
            parked.waiting.len() < limits.all
                && of_client <= limits.each
                && parked.of_connection(connection.id()) < MAX_PARKED_PER_CONNECTION
        };
        self.hold(Arc::from(client_id), deadline_ms, connection, has_room, request)
            .map_err(|_| PollingFull)
    }

    /// Resumes the pop of the client that waits longest.
    pub fn wake(&self, client_id: &str) {
        self.resume(|parked| {
            let ids = parked.index.clients.get(client_id);
            let first = ids.and_then(|ids| ids.first().copied());
            first.and_then(|id| parked.take(id))
        });
    }
}
