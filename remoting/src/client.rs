//! Client: requests to other servers, over one connection per address that is opened when needed.
//!
//! Reference: NettyRemotingClient

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::connection::{Connection, InvokeError};
use crate::frame::{Frame, MAX_FRAME_BYTES};
use crate::hub::{Hub, Limits};
use crate::lanes::Lanes;
use crate::request::OutgoingRequest;
use crate::routes::{ConnectionEvents, Handler, Routes};

/// The bounds of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// A connection that neither sends nor takes anything for this long is closed.
    pub idle: Duration,
    /// The largest frame accepted, its length word included.
    pub max_frame_bytes: usize,
    /// Unsent bytes per connection above which requests are refused.
    pub outbound_limit_bytes: usize,
    /// Whether a call without an answer in time closes its connection, as the reference does by default: the peer may
    /// be gone without a word, and the next call should not wait for it again.
    pub close_on_timeout: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            connect_timeout: Duration::from_secs(3),
            idle: Duration::from_secs(120),
            max_frame_bytes: MAX_FRAME_BYTES,
            outbound_limit_bytes: 64 * 1024 * 1024,
            close_on_timeout: true,
        }
    }
}

/// Requests to other servers. Clones share the connections; the last one dropped closes them.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    start: StartConnection,
    /// One entry per address. The inner lock is held while connecting, so that callers of one address connect once and
    /// those of others do not wait.
    slots: Mutex<HashMap<String, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

/// Starts the task of a connected socket; hides the type of the routes.
type StartConnection = Box<dyn Fn(TcpStream, SocketAddr) -> io::Result<Arc<Connection>> + Send + Sync>;

impl Client {
    /// A client that refuses requests from its peers as unsupported. Connects to nobody yet.
    pub fn new(config: ClientConfig) -> Client {
        Self::with_routes(config, Arc::new(NoRoutes))
    }

    /// A client that handles requests which its peers send over the same connection.
    pub fn with_routes<R: Routes + ConnectionEvents>(config: ClientConfig, routes: Arc<R>) -> Client {
        let limits = Limits {
            max_frame_bytes: config.max_frame_bytes,
            frames_per_turn: 64,
            outbound_high_water_bytes: config.outbound_limit_bytes,
            outbound_limit_bytes: config.outbound_limit_bytes,
            idle: config.idle,
            write_stall: config.idle,
        };
        let hub = Hub::new(
            routes,
            limits,
            Lanes::new(4, 1_024, 1_024),
            false,
            None,
            Arc::default(),
        );
        let sweeper = std::sync::Once::new();
        let start: StartConnection = Box::new(move |socket, peer| {
            // The first connection proves that there is a runtime; the sweep ends with the client.
            sweeper.call_once(|| drop(tokio::spawn(sweep_while_alive(Arc::downgrade(&hub)))));
            hub.start(socket, peer)
        });
        Client {
            shared: Arc::new(Shared {
                config,
                start,
                slots: Mutex::default(),
            }),
        }
    }

    /// Sends a request to `addr` ("host:port") and waits for its answer.
    pub async fn invoke(
        &self,
        addr: &str,
        request: OutgoingRequest,
        timeout: Duration,
    ) -> Result<Frame, InvokeError> {
        let connection = self.connection(addr).await?;
        let answer = connection.invoke(request, timeout).await;
        if matches!(answer, Err(InvokeError::Timeout(_))) && self.shared.config.close_on_timeout {
            tracing::warn!(addr, ?timeout, "close connection: no answer in time");
            connection.close();
        }
        answer
    }

    /// Sends a request that gets no answer.
    pub async fn oneway(&self, addr: &str, request: OutgoingRequest) -> Result<(), InvokeError> {
        Ok(self.connection(addr).await?.oneway(request)?)
    }

    /// The open connection to `addr`, made now if there is none.
    pub async fn connection(&self, addr: &str) -> Result<Arc<Connection>, InvokeError> {
        let slot = self.shared.slots().entry(addr.to_owned()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connected = self.shared.connect(addr).await;
        let connection = connected.map_err(|source| InvokeError::Connect {
            addr: addr.to_owned(),
            source,
        })?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Whether there is an open connection to `addr`, or one is being made. Makes none.
    pub fn is_connected(&self, addr: &str) -> bool {
        let slot = self.shared.slots().get(addr).cloned();
        slot.is_some_and(|slot| match slot.try_lock() {
            Ok(connection) => connection.as_ref().is_some_and(|connection| connection.is_open()),
            Err(_held_while_connecting) => true,
        })
    }

    /// Closes the connection to `addr` and forgets the address.
    pub fn disconnect(&self, addr: &str) {
        if let Some(slot) = self.shared.slots().remove(addr) {
            close_slot(&slot);
        }
    }

    /// Closes all connections.
    pub fn close(&self) {
        for (_, slot) in self.shared.slots().drain() {
            close_slot(&slot);
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slots = self.shared.slots();
        f.debug_struct("Client")
            .field("addresses", &slots.keys())
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn connect(&self, addr: &str) -> io::Result<Arc<Connection>> {
        let connecting = TcpStream::connect(addr);
        let socket = tokio::time::timeout(self.config.connect_timeout, connecting).await??;
        let peer = socket.peer_addr()?;
        (self.start)(socket, peer)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (_, slot) in self.slots().drain() {
            close_slot(&slot);
        }
    }
}

/// Closes the connection of a slot. One that is being made right now is left to its caller, and closes when idle.
fn close_slot(slot: &Slot) {
    if let Ok(mut connection) = slot.try_lock()
        && let Some(connection) = connection.take()
    {
        connection.close();
    }
}

async fn sweep_while_alive<R: Routes + ConnectionEvents>(hub: Weak<Hub<R>>) {
    while let Some(interval) = hub.upgrade().map(|hub| hub.limits.sweep_interval()) {
        tokio::time::sleep(interval).await;
        if let Some(hub) = hub.upgrade() {
            hub.sweep();
        }
    }
}

/// The routes of a client that serves nothing.
#[derive(Debug)]
struct NoRoutes;

impl Routes for NoRoutes {
    const ROUTED: &'static [i32] = &[];
    const UNSUPPORTED: &'static [i32] = &[];
    const FAST_PORT_REFUSES: &'static [i32] = &[];

    fn handler(_: i32) -> Option<Handler<Self>> {
        None
    }
}

impl ConnectionEvents for NoRoutes {}
