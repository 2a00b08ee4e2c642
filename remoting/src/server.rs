//! Server: listens, accepts within a limit, and stops in order.
//!
//! Stopping: no more connections, no more reads; answers that are owed are written; what is still open after the grace
//! time is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::frame::MAX_FRAME_BYTES;
use crate::hub::{Hub, Limits};
use crate::lanes::Lanes;
use crate::latency::RpcLatencies;
use crate::routes::{ConnectionEvents, Routes};

/// Connections the system holds back until they are accepted. Reference: NettySystemConfig, socketBacklog
const BACKLOG: u32 = 1024;

/// How long accepting pauses after the system refused, for instance because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The largest frame, its length word included. A larger one costs its sender the connection.
    pub max_frame_bytes: usize,
    /// Connections at the same time; one more is accepted and closed at once.
    pub max_connections: usize,
    /// A connection that neither sends nor takes anything for this long is closed.
    pub idle: Duration,
    /// Unwritten bytes of a connection above which its requests are neither read nor handled.
    pub outbound_high_water_bytes: usize,
    /// Unwritten bytes of a connection above which it is closed. Answers from other threads can exceed the high water
    /// mark.
    pub outbound_limit_bytes: usize,
    /// A connection that has unwritten bytes and takes none for this long is closed.
    pub write_stall: Duration,
    /// What all connections of all servers that share it may keep in memory together. Beyond its limit the connection is
    /// closed that got on with nothing for the longest time, and of those the one that holds most.
    pub backlog: Arc<Backlog>,
    /// Frames handled before other connections of the same thread get their turn.
    pub frames_per_turn: usize,
    /// Threads of the lane blocking.
    pub blocking_threads: usize,
    /// Calls in the lanes blocking and task, waiting ones included; one more is refused with SYSTEM_BUSY.
    pub max_lane_calls: usize,
    /// The same for a single connection.
    pub max_lane_calls_per_connection: usize,
    /// How long `stop` waits for answers that are owed.
    pub stop_grace: Duration,
    /// Whether this is the fast port, which refuses the codes listed under `fast_port_refuses`.
    pub fast_port: bool,
    /// Where latencies are counted; without it none is measured.
    pub latencies: Option<Arc<RpcLatencies>>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_frame_bytes: MAX_FRAME_BYTES,
            max_connections: 65_535,
            idle: Duration::from_secs(120),
            outbound_high_water_bytes: 1024 * 1024,
            outbound_limit_bytes: 64 * 1024 * 1024,
            write_stall: Duration::from_secs(60),
            backlog: Arc::default(),
            frames_per_turn: 64,
            blocking_threads: 8,
            max_lane_calls: 8_192,
            max_lane_calls_per_connection: 1_024,
            stop_grace: Duration::from_secs(2),
            fast_port: false,
            latencies: None,
        }
    }
}

impl ServerConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_frame_bytes: self.max_frame_bytes,
            frames_per_turn: self.frames_per_turn.max(1),
            outbound_high_water_bytes: self.outbound_high_water_bytes.max(1),
            outbound_limit_bytes: self.outbound_limit_bytes,
            idle: self.idle,
            write_stall: self.write_stall,
        }
    }
}

/// A listening server. Dropping it closes everything at once; `stop` is the orderly way.
#[derive(Debug)]
pub struct Server<R: Routes + ConnectionEvents> {
    local_addr: SocketAddr,
    hub: Arc<Hub<R>>,
    stopping: CancellationToken,
    /// Ends once the listener is closed; taken by `stop`.
    acceptor: Option<JoinHandle<Option<()>>>,
    stop_grace: Duration,
}

impl<R: Routes + ConnectionEvents> Server<R> {
    /// Listens on `addr` (port 0: any free one) and serves from now on, on the current runtime.
    pub async fn bind(addr: SocketAddr, config: ServerConfig, routes: Arc<R>) -> io::Result<Server<R>> {
        let listener = listen(addr)?;
        let lanes = Lanes::new(
            config.blocking_threads,
            config.max_lane_calls,
            config.max_lane_calls_per_connection,
        );
        let local_addr = listener.local_addr()?;
        let hub = Hub::new(
            routes,
            config.limits(),
            lanes,
            config.fast_port,
            config.latencies.clone(),
            config.backlog.clone(),
        );
        let stopping = CancellationToken::new();
        let acceptor = Acceptor {
            hub: hub.clone(),
            max_connections: config.max_connections,
        };
        let acceptor = tokio::spawn(stopping.clone().run_until_cancelled_owned(acceptor.run(listener)));
        tokio::spawn(
            stopping
                .clone()
                .run_until_cancelled_owned(sweep_forever(hub.clone())),
        );
        Ok(Server {
            local_addr,
            hub,
            stopping,
            acceptor: Some(acceptor),
            stop_grace: config.stop_grace,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.hub.connections.count()
    }

    /// Tells at any time how many calls run or wait in the lanes blocking and task.
    pub fn lane_calls(&self) -> impl Fn() -> usize + Send + Sync + use<R> {
        let hub = Arc::clone(&self.hub);
        move || hub.lanes.calls()
    }

    /// Begins to stop: closes the listener and reads no more requests. Parked requests may still be answered or resumed
    /// between this and `stop`.
    pub fn drain(&self) {
        self.stopping.cancel();
        for connection in self.hub.connections.all() {
            connection.drain();
        }
    }

    /// Stops: waits for answers that are owed, at most the grace time, and closes everything.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Some(acceptor) = self.acceptor.take() {
            // It ends by being cancelled; whatever it admitted last is registered by then.
            let _ = acceptor.await;
        }
        self.drain();
        let answered = self.hub.connections.none_left();
        if tokio::time::timeout(self.stop_grace, answered).await.is_err() {
            tracing::info!(
                open = self.connection_count(),
                "stop without waiting longer for answers"
            );
        }
        self.close_all();
        self.hub.connections.none_left().await;
    }

    fn close_all(&self) {
        for connection in self.hub.connections.all() {
            connection.close();
        }
    }
}

impl<R: Routes + ConnectionEvents> Drop for Server<R> {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.close_all();
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn sweep_forever<R: Routes + ConnectionEvents>(hub: Arc<Hub<R>>) {
    loop {
        tokio::time::sleep(hub.limits.sweep_interval()).await;
        hub.sweep();
    }
}

struct Acceptor<R> {
    hub: Arc<Hub<R>>,
    max_connections: usize,
}

impl<R: Routes + ConnectionEvents> Acceptor<R> {
    async fn run(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(error) => {
                    if self.hub.log_budget.take() {
                        tracing::warn!(%error, "accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        if self.hub.connections.count() >= self.max_connections {
            if self.hub.log_budget.take() {
                tracing::warn!(%peer, limit = self.max_connections, "close connection: max_connections are open");
            }
            return;
        }
        if let Err(error) = self.hub.start(socket, peer) {
            tracing::debug!(%peer, %error, "the connection was gone before it was served");
        }
    }
}
