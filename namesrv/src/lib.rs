//! The NameServer: where brokers announce themselves and clients learn which broker serves a topic.
//!
//! ```text
//!   broker ── REGISTER_BROKER ──> routes.rs ──> processor/broker.rs ──> RouteTable::register(event, now)
//!   client ── GET_ROUTEINFO ────> routes.rs ──> processor/route.rs  ──> RouteTable::route(topic)
//!   closed connection, silence ──────────────────────────────────────> RouteTable::connection_closed, expire
//! ```
//!
//! | file          | concept                                                                        |
//! | ------------- | ------------------------------------------------------------------------------ |
//! | `route_table` | brokers, topics, liveness: a state machine without clock or socket             |
//! | `kv_config`   | namespaces of keys and values, among them the order configs                    |
//! | `routes`      | the table of requests; `processor/` has their handlers                         |
//! | `running`     | the whole, started and stopped; `services` and `notify` run in its background  |
//! | `report`      | what `/metrics` and `/healthz` say                                             |
//! | `config`      | every key; `persist`: files replaced as a whole                                |
//!
//! Name servers know nothing of each other and keep no routes on disk: brokers register with all of them
//! every 30 seconds, so a restarted one is complete after that.
//!
//! Locks are leaves: none is taken while another is held.
#![forbid(unsafe_code)]

pub mod config;
pub mod kv_config;
mod notify;
mod processor;
mod report;
pub mod route_table;
mod routes;
mod running;
mod services;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use common::clock::{Clock, Now};
use remoting::connection::Connection;
use remoting::routes::ConnectionEvents;
use tracing::warn;

pub use crate::config::Config;
use crate::config::LiveConfig;
use crate::kv_config::KvConfig;
use crate::notify::{Changes, Notifier};
use crate::route_table::{ConnectionId, Departures, MinBrokerIdChange, RouteTable};
pub use crate::running::{Running, start};

/// The NameServer's state, without sockets and threads.
#[derive(Debug)]
pub struct Namesrv {
    config: LiveConfig,
    kv_config: KvConfig,
    route_table: RwLock<RouteTable>,
    /// Of brokers that registered, to be closed when one falls silent.
    broker_connections: Mutex<HashMap<ConnectionId, Arc<Connection>>>,
    notifier: Notifier,
    clock: Arc<dyn Clock>,
    started: Duration,
}

impl Namesrv {
    /// Loads the KV config; routes start empty. Also returns where changes to be told to brokers come out.
    fn new(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<(Namesrv, Changes)> {
        config.check()?;
        let kv_config = KvConfig::open(Path::new(&config.namesrv.kv_config_path))?;
        let (notifier, changes) = Notifier::new();
        let namesrv = Namesrv {
            config: LiveConfig::new(config),
            kv_config,
            route_table: RwLock::default(),
            broker_connections: Mutex::default(),
            notifier,
            started: clock.monotonic(),
            clock,
        };
        Ok((namesrv, changes))
    }

    fn route_table(&self) -> RwLockReadGuard<'_, RouteTable> {
        self.route_table
            .read()
            .expect("no event panics half way through the table")
    }

    fn route_table_mut(&self) -> RwLockWriteGuard<'_, RouteTable> {
        self.route_table
            .write()
            .expect("no event panics half way through the table")
    }

    fn broker_connections(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Connection>>> {
        // Each use is one insert or remove, whole in itself.
        self.broker_connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has been running.
    fn age(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// Remembers the connection of a broker that just registered. If it closed meanwhile, its end was reported
    /// before the table knew the broker, so it is reported again.
    fn remember(&self, connection: &Arc<Connection>) {
        self.broker_connections()
            .insert(connection.id(), Arc::clone(connection));
        if !connection.is_open() {
            self.connection_closed(connection);
        }
    }

    fn expire_silent_brokers(&self, now: Now) {
        let departures = self.route_table_mut().expire(now);
        for broker in &departures.removed {
            warn!(
                cluster = broker.cluster,
                addr = broker.addr,
                "broker silent for too long, removed"
            );
        }
        for id in &departures.connections {
            let connection = self.broker_connections().remove(id);
            if let Some(connection) = connection {
                connection.close();
            }
        }
        self.after(&departures);
    }

    /// Tells those who stay what the departure of brokers means for them.
    fn after(&self, departures: &Departures) {
        self.notify(&departures.new_min_broker_ids);
    }

    fn notify(&self, changes: &[MinBrokerIdChange]) {
        if self.config.get().namesrv.notify_min_broker_id_changed {
            changes.iter().for_each(|change| self.notifier.notify(change));
        }
    }
}

impl ConnectionEvents for Namesrv {
    fn connection_closed(&self, connection: &Arc<Connection>) {
        // Most connections are clients': they are not even in this map.
        if self.broker_connections().remove(&connection.id()).is_none() {
            return;
        }
        let departures = self.route_table_mut().connection_closed(connection.id());
        for broker in &departures.removed {
            warn!(
                cluster = broker.cluster,
                addr = broker.addr,
                "broker's connection closed, removed"
            );
        }
        self.after(&departures);
    }
}
