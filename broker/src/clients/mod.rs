//! The clients of this broker, as their heartbeats tell.
//!
//! ```text
//!   producers     producer group -> channels            (transaction checks, replies)
//!   consumers     consumer group -> channels, subscriptions
//!   queue_locks   which client of a group consumes a queue in order
//!   broadcast_offsets  how far each member of a broadcasting group is
//!   change_notices  which groups changed, and when their members are told
//!   notify        one-way requests to clients
//!   topic_routes  the queues of a topic on all brokers, for those who share them out
//! ```
//!
//! A channel belongs to its connection: when that closes, or no heartbeat comes for `channelExpiredTimeout`, it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use remoting::connection::Connection;
use remoting::frame::LanguageCode;

pub mod broadcast_offsets;
pub mod change_notices;
pub mod consumers;
pub mod notify;
pub mod producers;
pub mod queue_locks;
pub mod topic_routes;

/// One client in one group. Reference: `ClientChannelInfo`.
#[derive(Debug)]
pub struct ClientChannel {
    /// How to reach it.
    pub connection: Arc<Connection>,
    /// The id it gave itself, unique in the cluster.
    pub client_id: String,
    /// What it is written in.
    pub language: LanguageCode,
    /// Its protocol version.
    pub version: i32,
    last_update_ms: AtomicI64,
}

impl ClientChannel {
    /// A client that has just sent a heartbeat.
    pub fn new(
        connection: Arc<Connection>,
        client_id: impl Into<String>,
        language: LanguageCode,
        version: i32,
        now_ms: i64,
    ) -> Self {
        Self {
            connection,
            client_id: client_id.into(),
            language,
            version,
            last_update_ms: AtomicI64::new(now_ms),
        }
    }

    /// When the last heartbeat came, in ms.
    pub fn last_update_ms(&self) -> i64 {
        self.last_update_ms.load(Ordering::Relaxed)
    }

    fn touch(&self, now_ms: i64) {
        self.last_update_ms.store(now_ms, Ordering::Relaxed);
    }

    fn is_expired(&self, now_ms: i64, timeout_ms: i64) -> bool {
        now_ms - self.last_update_ms() > timeout_ms
    }
}

impl Clone for ClientChannel {
    fn clone(&self) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            client_id: self.client_id.clone(),
            language: self.language,
            version: self.version,
            last_update_ms: AtomicI64::new(self.last_update_ms()),
        }
    }
}
