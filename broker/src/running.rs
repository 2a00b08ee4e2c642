//! Running: a broker with its threads and sockets, from start to stop.
//!
//! ```text
//!   start   store recovered ─> services ─> main port, fast port ─> registered with the name servers
//!   stop    unregistered ─> no new requests ─> parked requests answered ─> services' last tick, registries written
//!           ─> log, queues and index flushed, checkpoint, abort marker gone
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::clock::Clock;
use common::service::Services;
use operations::http::HttpPort;
use remoting::backlog::Backlog;
use remoting::latency::RpcLatencies;
use remoting::server::{Server, ServerConfig};
use store::RealDisk;

use crate::broker::Broker;
use crate::config::{Configuration, MetricsExporterType, Settings};
use crate::metrics::BrokerReport;
use crate::namesrv_link::{LinkOptions, NamesrvLink};
use crate::services;

/// The fast port lies this far below the main port. Clients with a VIP channel use it.
const FAST_PORT_DISTANCE: u16 = 2;

/// A broker that serves.
pub struct Running {
    broker: Arc<Broker>,
    services: Services,
    main: Server<Broker>,
    fast: Server<Broker>,
    link: NamesrvLink,
    http: Option<HttpPort>,
}

/// Starts a broker: recovers the store, then serves.
///
/// # Errors
/// When the store cannot be opened or a port is taken; the message names the file or address.
pub async fn start(
    settings: Settings,
    configuration: Configuration,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Running> {
    let identity = settings.identity()?;
    let http = open_http(&settings).await?;
    let broker = {
        // Recovery reads files: not on a thread that serves sockets.
        let clock = Arc::clone(&clock);
        let open = move || Broker::open(configuration, identity, Arc::new(RealDisk), clock);
        tokio::task::spawn_blocking(open)
            .await
            .context("recover the store")??
    };
    let services = services::start(&broker).context("start the services")?;

    let server = &settings.server;
    let bind: IpAddr = server
        .bind_address
        .parse()
        .with_context(|| format!("bindAddress={}", server.bind_address))?;
    let idle = Duration::from_secs(u64::from(server.server_channel_max_idle_time_seconds));
    let latencies = http.is_some().then(|| Arc::new(RpcLatencies::default()));
    let server_config = ServerConfig {
        idle,
        latencies: latencies.clone(),
        backlog: Arc::new(Backlog::with_limit(settings.broker.max_connection_buffer_bytes)),
        ..ServerConfig::default()
    };
    let main = listen(
        SocketAddr::new(bind, server.listen_port),
        server_config.clone(),
        &broker,
    )
    .await?;
    let fast_address = SocketAddr::new(bind, server.listen_port.saturating_sub(FAST_PORT_DISTANCE));
    let fast = listen(
        fast_address,
        ServerConfig {
            fast_port: true,
            ..server_config
        },
        &broker,
    )
    .await?;

    let link = NamesrvLink::start(LinkOptions {
        identity: broker.identity.clone(),
        config: Arc::clone(&broker.config),
        client_config: settings.client.clone(),
        topics: Arc::clone(&broker.topics),
        mappings: Arc::clone(&broker.static_topics.mappings),
        waker: broker.registration.clone(),
    });
    if let (Some(http), Some(latencies)) = (&http, latencies) {
        http.serve(Arc::new(BrokerReport {
            broker: Arc::clone(&broker),
            latencies,
            lane_calls: vec![Box::new(main.lane_calls()), Box::new(fast.lane_calls())],
        }));
    }
    Ok(Running {
        broker,
        services,
        main,
        fast,
        link,
        http,
    })
}

/// Opened first, so that probes are told that a long recovery is one.
async fn open_http(settings: &Settings) -> anyhow::Result<Option<HttpPort>> {
    if settings.broker.metrics_exporter_type != MetricsExporterType::Prom {
        return Ok(None);
    }
    let address = settings.metrics_address().map_err(anyhow::Error::msg)?;
    let http = HttpPort::bind(address, "the store is being recovered")
        .await
        .with_context(|| {
            format!("listen on {address} (metricsPromExporterHost, else brokerIP1; metricsPromExporterPort)")
        })?;
    Ok(Some(http))
}

async fn listen(
    address: SocketAddr,
    config: ServerConfig,
    broker: &Arc<Broker>,
) -> anyhow::Result<Server<Broker>> {
    Server::bind(address, config, Arc::clone(broker))
        .await
        .with_context(|| format!("listen on {address}"))
}

impl Running {
    /// The broker itself, for tests.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where it serves.
    pub fn local_addr(&self) -> SocketAddr {
        self.main.local_addr()
    }

    /// Where `/metrics` and `/healthz` are served, if they are.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpPort::local_addr)
    }

    /// The line that scripts wait for; the words are the reference's.
    pub fn boot_message(&self) -> String {
        let identity = &self.broker.identity;
        let namesrv_addr = &self.broker.config.get().namesrv_addr;
        let mut message = format!(
            "The broker[{}, {}] boot success. serializeType=JSON",
            identity.broker_name, identity.broker_addr
        );
        if !namesrv_addr.is_empty() {
            message.push_str(" and name server is ");
            message.push_str(namesrv_addr);
        }
        message
    }

    /// Stops in order; see the module.
    ///
    /// # Errors
    /// When the store cannot be closed cleanly; then the next start recovers as after a crash.
    pub async fn stop(self) -> anyhow::Result<()> {
        if let Some(http) = &self.http {
            http.stopping();
        }
        self.link.stop().await;
        self.main.drain();
        self.fast.drain();
        self.broker.resume_parked();
        tokio::join!(self.main.stop(), self.fast.stop());
        let (services, broker) = (self.services, self.broker);
        let close = move || {
            services.stop();
            broker.store.close()
        };
        tokio::task::spawn_blocking(close)
            .await
            .context("stop the services")?
            .context("close the store")
    }
}
