//! A NameServer that answers: state, socket, background services and notifications, started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::clock::Clock;
use common::service::Services;
use operations::config::MetricsExporterType;
use operations::http::HttpPort;
use remoting::client::{Client, ClientConfig};
use remoting::latency::RpcLatencies;
use remoting::server::{Server, ServerConfig};
use tokio::task::JoinHandle;
use tracing::info;

use crate::config::Config;
use crate::report::NamesrvReport;
use crate::{Namesrv, notify, services};

/// Handlers of the lane `blocking` that may run at once.
const BLOCKING_THREADS: usize = 8;

/// See the [module](self).
#[derive(Debug)]
pub struct Running {
    server: Server<Namesrv>,
    services: Services,
    notifications: JoinHandle<()>,
    local_addr: SocketAddr,
    http: Option<HttpPort>,
}

/// Starts listening and the background services. `listenPort` 0 takes a free port.
///
/// # Errors
/// When the configuration, the KV config's file or the address cannot be used.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Running> {
    let listen_addr = config.listen_addr().context("bindAddress")?;
    let mut server_config = server_config(&config);
    let http = open_http(&config).await?;
    let latencies = http.is_some().then(|| Arc::new(RpcLatencies::default()));
    server_config.latencies = latencies.clone();
    let (namesrv, changes) = Namesrv::new(config, Arc::clone(&clock))?;
    let namesrv = Arc::new(namesrv);
    let server = Server::bind(listen_addr, server_config, Arc::clone(&namesrv))
        .await
        .with_context(|| format!("listen on {listen_addr} (bindAddress, listenPort)"))?;
    let local_addr = server.local_addr();
    let mut services = Services::new(clock);
    services::start(&namesrv, &mut services).context("start background services")?;
    let notifications = tokio::spawn(notify::deliver(changes, Client::new(ClientConfig::default())));
    if let (Some(http), Some(latencies)) = (&http, latencies) {
        http.serve(Arc::new(NamesrvReport { namesrv, latencies }));
    }
    info!(%local_addr, "name server started");
    Ok(Running {
        server,
        services,
        notifications,
        local_addr,
        http,
    })
}

async fn open_http(config: &Config) -> anyhow::Result<Option<HttpPort>> {
    if config.metrics.metrics_exporter_type != MetricsExporterType::Prom {
        return Ok(None);
    }
    let address = config.metrics_addr().map_err(anyhow::Error::msg)?;
    let http = HttpPort::bind(address, "the name server starts")
        .await
        .with_context(|| {
            format!(
                "listen on {address} (metricsPromExporterHost, else bindAddress; metricsPromExporterPort)"
            )
        })?;
    Ok(Some(http))
}

impl Running {
    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where `/metrics` and `/healthz` are served, if they are.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpPort::local_addr)
    }

    /// Closes all connections and stops the background services.
    pub async fn stop(self) {
        if let Some(http) = &self.http {
            http.stopping();
        }
        self.server.stop().await;
        self.services.stop();
        self.notifications.abort();
        info!(local_addr = %self.local_addr, "name server stopped");
    }
}

fn server_config(config: &Config) -> ServerConfig {
    ServerConfig {
        idle: Duration::from_secs(u64::from(config.server.server_channel_max_idle_time_seconds)),
        blocking_threads: BLOCKING_THREADS,
        ..ServerConfig::default()
    }
}
