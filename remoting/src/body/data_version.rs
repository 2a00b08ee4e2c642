//! DataVersion: the version stamp of a table, compared between brokers, slaves and name servers.

use serde::{Deserialize, Serialize};

/// Version of a table (topics, groups, offsets). Peers compare it for equality only.
///
/// Reference: DataVersion
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Changes of the table
    pub counter: i64,
    /// State of the controller or broker role under which the table changed; 0 without a controller
    pub state_version: i64,
    /// When the table last changed, ms
    pub timestamp: i64,
}

impl DataVersion {
    /// Records one change of the table.
    pub fn next(&mut self, now_ms: i64) {
        self.counter += 1;
        self.timestamp = now_ms;
    }

    /// Records one change made under `state_version`.
    pub fn next_with_state(&mut self, state_version: i64, now_ms: i64) {
        self.state_version = state_version;
        self.next(now_ms);
    }
}
