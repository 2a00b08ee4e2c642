//! Hub: what all connections of one server, or of one client, share.
//!
//! Routes, limits, lanes, the register of connections, and the sweep: one coarse periodic pass that closes connections
//! which were idle, or did not take what was sent to them, for too long. Connections have no timers and read no clock;
//! they leave marks that the sweep collects.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::backlog::Backlog;
use crate::connection::Connection;
use crate::lanes::Lanes;
use crate::latency::RpcLatencies;
use crate::routes::{ConnectionEvents, Routes};
use crate::socket::SocketTask;

/// Log lines about single peers between two sweeps; what exceeds it is only counted.
const LOG_LINES_PER_SWEEP: u32 = 50;

/// Bounds of every connection of a hub.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_frame_bytes: usize,
    pub(crate) frames_per_turn: usize,
    pub(crate) outbound_high_water_bytes: usize,
    pub(crate) outbound_limit_bytes: usize,
    pub(crate) idle: Duration,
    pub(crate) write_stall: Duration,
}

impl Limits {
    /// Fine enough for the idle time, coarse enough to cost nothing.
    pub(crate) fn sweep_interval(&self) -> Duration {
        (self.idle.min(self.write_stall) / 6).clamp(Duration::from_millis(10), Duration::from_secs(10))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub<R> {
    pub(crate) routes: Arc<R>,
    pub(crate) limits: Limits,
    pub(crate) lanes: Lanes,
    pub(crate) fast_port: bool,
    pub(crate) connections: Connections,
    pub(crate) log_budget: LogBudget,
    pub(crate) latencies: Option<Arc<RpcLatencies>>,
    pub(crate) backlog: Arc<Backlog>,
}

impl<R> Hub<R> {
    /// Counts what a connection keeps in memory, and closes whoever makes it too much for all together.
    pub(crate) fn report_backlog(&self, connection: &Arc<Connection>, bytes: usize) {
        for (worst, held_bytes) in self.backlog.report(connection, bytes) {
            if self.log_budget.take() {
                tracing::warn!(
                    peer = %worst.peer_addr(), held_bytes, limit_bytes = self.backlog.limit_bytes(),
                    "close connection: answers that peers do not read and frames that they do not end exceed the limit of all connections"
                );
            }
            worst.close();
        }
    }
}

impl<R: Routes + ConnectionEvents> Hub<R> {
    pub(crate) fn new(
        routes: Arc<R>,
        limits: Limits,
        lanes: Lanes,
        fast_port: bool,
        latencies: Option<Arc<RpcLatencies>>,
        backlog: Arc<Backlog>,
    ) -> Arc<Self> {
        let (connections, log_budget) = (Connections::default(), LogBudget::default());
        Arc::new(Hub {
            routes,
            limits,
            lanes,
            fast_port,
            connections,
            log_budget,
            latencies,
            backlog,
        })
    }

    /// Starts the task of a socket. Must be called within a runtime.
    pub(crate) fn start(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<Arc<Connection>> {
        socket.set_nodelay(true)?;
        let connection = Connection::new(
            peer,
            socket.local_addr()?,
            self.limits.outbound_limit_bytes,
            self.latencies.clone(),
        );
        self.connections.add(&connection);
        self.tell(|routes| routes.connection_opened(&connection));
        let task = SocketTask::new(self.clone(), socket, connection.clone());
        tokio::spawn(self.clone().run(task, connection.clone()));
        Ok(connection)
    }

    async fn run(self: Arc<Self>, task: SocketTask<R>, connection: Arc<Connection>) {
        // Also when the task panics or is dropped with its runtime, nobody may keep taking the connection for open.
        let open = OpenConnection {
            hub: self,
            connection,
        };
        let ending = task.await;
        ending.log(&open.connection, &open.hub.log_budget);
    }

    /// Closes what was idle or stalled for too long. The owner calls it every `sweep_interval`.
    pub(crate) fn sweep(&self) {
        let interval = self.limits.sweep_interval();
        let sweeps = |limit: Duration| limit.as_nanos().div_ceil(interval.as_nanos().max(1)) as u32;
        let (idle_sweeps, stalled_sweeps) = (sweeps(self.limits.idle), sweeps(self.limits.write_stall));
        for connection in self.connections.all() {
            let activity = &connection.activity;
            let quiet = count_unless(
                activity.any.swap(false, Ordering::Relaxed),
                &activity.quiet_sweeps,
            );
            let progress = activity.wrote.swap(false, Ordering::Relaxed)
                || activity.unwritten.load(Ordering::Relaxed) == 0;
            let stalled = count_unless(progress, &activity.stalled_sweeps);
            if stalled > stalled_sweeps {
                if self.log_budget.take() {
                    tracing::warn!(peer = %connection.peer_addr(), "close connection: the peer takes no answers");
                }
                connection.close();
            } else if quiet > idle_sweeps {
                tracing::debug!(peer = %connection.peer_addr(), "close idle connection");
                connection.close();
            }
        }
        self.log_budget.refill();
    }

    fn end(&self, connection: &Arc<Connection>) {
        connection.close();
        self.tell(|routes| routes.connection_closed(connection));
        self.connections.remove(connection);
    }

    fn tell(&self, event: impl FnOnce(&R)) {
        if catch_unwind(AssertUnwindSafe(|| event(&self.routes))).is_err() {
            tracing::error!("a listener to connection events panicked");
        }
    }
}

/// Ends a connection when dropped.
struct OpenConnection<R: Routes + ConnectionEvents> {
    hub: Arc<Hub<R>>,
    connection: Arc<Connection>,
}

impl<R: Routes + ConnectionEvents> Drop for OpenConnection<R> {
    fn drop(&mut self) {
        self.hub.end(&self.connection);
    }
}

/// Counts one up, or back to zero if there was something.
fn count_unless(something: bool, counter: &AtomicU32) -> u32 {
    let count = if something {
        0
    } else {
        counter.load(Ordering::Relaxed).saturating_add(1)
    };
    counter.store(count, Ordering::Relaxed);
    count
}

/// The register of open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    removed: Notify,
}

impl Connections {
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.open().values().cloned().collect()
    }

    /// Waits until none is open.
    pub(crate) async fn none_left(&self) {
        loop {
            let removed = self.removed.notified();
            if self.count() == 0 {
                return;
            }
            removed.await;
        }
    }

    fn add(&self, connection: &Arc<Connection>) {
        self.open().insert(connection.id(), connection.clone());
    }

    fn remove(&self, connection: &Arc<Connection>) {
        self.open().remove(&connection.id());
        self.removed.notify_waiters();
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bounds the log lines that misbehaving peers can cause.
#[derive(Debug)]
pub(crate) struct LogBudget {
    left: AtomicU32,
    suppressed: AtomicU32,
}

impl Default for LogBudget {
    fn default() -> Self {
        LogBudget {
            left: AtomicU32::new(LOG_LINES_PER_SWEEP),
            suppressed: AtomicU32::new(0),
        }
    }
}

impl LogBudget {
    /// Whether one more line may be logged.
    pub(crate) fn take(&self) -> bool {
        let taken = self
            .left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_err() {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn refill(&self) {
        self.left.store(LOG_LINES_PER_SWEEP, Ordering::Relaxed);
        let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            tracing::warn!(
                suppressed,
                "more lines about closed or refused connections were left out"
            );
        }
    }
}
