//! Producers: which clients send as which producer group.
//!
//! The broker needs them to ask for the state of a transaction (any client of the group will do) and to push a reply to
//! the one client that waits for it (found by its id). Reference: `ProducerManager`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use remoting::connection::Connection;

use super::ClientChannel;

/// The table of producers.
#[derive(Debug, Default)]
pub struct Producers {
    // One lock over both maps, so that they never disagree: heartbeats are rare, one a client every 30 s.
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Group -> connection id -> channel.
    groups: BTreeMap<String, HashMap<u64, Arc<ClientChannel>>>,
    /// Client id -> the connection it spoke on last.
    clients: HashMap<String, Arc<Connection>>,
}

impl Producers {
    /// No producers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a heartbeat's word that a client sends as `group`.
    pub fn register(&self, group: &str, channel: ClientChannel) {
        let mut table = self.write();
        let is_latest = table
            .clients
            .get(&channel.client_id)
            .is_some_and(|connection| connection.id() == channel.connection.id());
        if !is_latest {
            table
                .clients
                .insert(channel.client_id.clone(), Arc::clone(&channel.connection));
        }
        let channels = match table.groups.get_mut(group) {
            Some(channels) => channels,
            None => table.groups.entry(group.to_owned()).or_default(),
        };
        match channels
            .get(&channel.connection.id())
            .filter(|known| known.client_id == channel.client_id)
        {
            Some(known) => known.touch(channel.last_update_ms()),
            None => {
                tracing::info!(group, client_id = channel.client_id, peer = %channel.connection.peer_addr(), "producer connected");
                channels.insert(channel.connection.id(), Arc::new(channel));
            }
        }
    }

    /// Forgets that the client on this connection sends as `group`.
    pub fn unregister(&self, group: &str, connection: &Arc<Connection>) {
        let mut table = self.write();
        let Some(channels) = table.groups.get_mut(group) else {
            return;
        };
        let removed = channels.remove(&connection.id());
        if channels.is_empty() {
            table.groups.remove(group);
        }
        table.forget_unused_clients(removed.as_slice());
    }

    /// Forgets everything that was registered over a connection.
    pub fn connection_closed(&self, connection: &Arc<Connection>) {
        self.retain(|channel| channel.connection.id() != connection.id());
    }

    /// Forgets clients without a heartbeat for `timeout_ms`, and closes their connections.
    pub fn expire(&self, now_ms: i64, timeout_ms: i64) {
        for silent in self.retain(|channel| !channel.is_expired(now_ms, timeout_ms)) {
            tracing::warn!(
                client_id = silent.client_id,
                "producer sent no heartbeat for {timeout_ms} ms: closed"
            );
            silent.connection.close();
        }
    }

    /// Where the client with this id is reached.
    pub fn by_client_id(&self, client_id: &str) -> Option<Arc<Connection>> {
        self.read()
            .clients
            .get(client_id)
            .filter(|connection| connection.is_open())
            .cloned()
    }

    /// The clients that send as `group`.
    pub fn of_group(&self, group: &str) -> Vec<Arc<ClientChannel>> {
        self.read()
            .groups
            .get(group)
            .map(|channels| channels.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All groups with their clients.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<Arc<ClientChannel>>> {
        let table = self.read();
        table
            .groups
            .iter()
            .map(|(group, channels)| (group.clone(), channels.values().cloned().collect()))
            .collect()
    }

    /// Keeps the channels that `keep` wants; returns the others.
    fn retain(&self, keep: impl Fn(&ClientChannel) -> bool) -> Vec<Arc<ClientChannel>> {
        let mut removed = Vec::new();
        let mut table = self.write();
        table.groups.retain(|_, channels| {
            channels.retain(|_, channel| {
                let kept = keep(channel);
                if !kept {
                    removed.push(Arc::clone(channel));
                }
                kept
            });
            !channels.is_empty()
        });
        table.forget_unused_clients(&removed);
        removed
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table {
    /// Forgets where the clients of `removed` channels are reached, unless they still speak there for another group.
    ///
    /// Looks at these clients only: thousands may leave at the same time.
    fn forget_unused_clients(&mut self, removed: &[Arc<ClientChannel>]) {
        for gone in removed {
            let connection_id = gone.connection.id();
            let is_there = self
                .clients
                .get(&gone.client_id)
                .is_some_and(|connection| connection.id() == connection_id);
            let is_used = || {
                self.groups.values().any(|channels| {
                    channels
                        .get(&connection_id)
                        .is_some_and(|channel| channel.client_id == gone.client_id)
                })
            };
            if is_there && !is_used() {
                self.clients.remove(&gone.client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use remoting::frame::LanguageCode;

    use super::*;

    fn connection() -> Arc<Connection> {
        Connection::detached("127.0.0.1:9".parse().unwrap())
    }

    fn channel(connection: &Arc<Connection>, client_id: &str, now_ms: i64) -> ClientChannel {
        ClientChannel::new(Arc::clone(connection), client_id, LanguageCode::JAVA, 513, now_ms)
    }

    #[test]
    fn a_client_is_found_by_group_and_by_id_until_its_connection_closes() {
        let producers = Producers::new();
        let connection = connection();
        producers.register("g", channel(&connection, "c1", 0));
        producers.register("h", channel(&connection, "c1", 0));
        assert_eq!(producers.of_group("g").len(), 1);
        assert_eq!(
            producers.by_client_id("c1").map(|found| found.id()),
            Some(connection.id())
        );

        producers.unregister("g", &connection);
        assert!(producers.of_group("g").is_empty());
        assert!(producers.by_client_id("c1").is_some(), "it still sends as h");

        producers.connection_closed(&connection);
        assert!(producers.by_client_id("c1").is_none());
        assert!(producers.snapshot().is_empty());
    }

    #[test]
    fn a_client_that_came_back_is_not_forgotten_with_its_old_connection() {
        let producers = Producers::new();
        let (old, new) = (connection(), connection());
        producers.register("g", channel(&old, "c1", 0));
        producers.register("g", channel(&new, "c1", 1));
        producers.connection_closed(&old);
        assert_eq!(
            producers.by_client_id("c1").map(|found| found.id()),
            Some(new.id())
        );
        producers.connection_closed(&new);
        assert!(producers.by_client_id("c1").is_none());
    }

    #[test]
    fn a_silent_client_expires_and_a_heartbeat_keeps_it() {
        let producers = Producers::new();
        let (kept, lost) = (connection(), connection());
        producers.register("g", channel(&kept, "kept", 0));
        producers.register("g", channel(&lost, "lost", 0));
        producers.register("g", channel(&kept, "kept", 100));

        producers.expire(150, 120);

        let left: Vec<String> = producers
            .of_group("g")
            .iter()
            .map(|channel| channel.client_id.clone())
            .collect();
        assert_eq!(left, ["kept"]);
        assert!(!lost.is_open());
    }
}
