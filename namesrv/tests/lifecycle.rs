//! Brokers come and go over real sockets, and what the NameServer was told survives its restart.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::clock::{ManualClock, SystemClock};
use namesrv::{Config, Running};
use remoting::body::{RegisterBrokerBody, TopicConfig, TopicRouteData, fastjson};
use remoting::client::{Client, ClientConfig};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::header::{
    NotifyMinBrokerIdChangeRequestHeader, RegisterBrokerRequestHeader, UnRegisterBrokerRequestHeader,
};
use remoting::request::{Handled, Outcome, OutgoingRequest, Request};
use remoting::routes;
use remoting::routes::ConnectionEvents;
use remoting::server::{Server, ServerConfig};

const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration that keeps to a directory and takes any free port.
fn config(home: &Path) -> Config {
    let mut config = Config::default();
    config.server.bind_address = "127.0.0.1".to_owned();
    config.server.listen_port = 0;
    config.namesrv.kv_config_path = home.join("kvConfig.json").display().to_string();
    config.namesrv.config_store_path = home.join("namesrv.properties").display().to_string();
    config
}

async fn start(config: Config) -> (Running, Peer) {
    let running = namesrv::start(config, Arc::new(SystemClock::new()))
        .await
        .unwrap();
    let peer = Peer::of(&running);
    (running, peer)
}

/// Someone who talks to the NameServer over a connection of their own.
struct Peer {
    client: Client,
    namesrv: String,
}

impl Peer {
    fn of(running: &Running) -> Peer {
        Peer {
            client: Client::new(ClientConfig::default()),
            namesrv: running.local_addr().to_string(),
        }
    }

    async fn ask(&self, request: OutgoingRequest) -> Frame {
        self.client
            .invoke(&self.namesrv, request, PATIENCE)
            .await
            .unwrap()
    }

    async fn register(&self, broker_addr: &str, header: RegisterBrokerRequestHeader) {
        let mut body = RegisterBrokerBody::default();
        let topics = &mut body.topic_config_serialize_wrapper.topic_config_table;
        for topic in ["T", "U"] {
            topics.insert(topic.to_owned(), TopicConfig::new(topic, 4));
        }
        let header = RegisterBrokerRequestHeader {
            broker_name: "a".to_owned(),
            broker_addr: broker_addr.to_owned(),
            cluster_name: "C".to_owned(),
            ..header
        };
        let request = OutgoingRequest::new(request_code::REGISTER_BROKER).header(&header);
        let answer = self.ask(request.body(body.encode(false).unwrap())).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark());
    }

    /// The route of T, or code and remark of the refusal.
    async fn route(&self) -> Result<TopicRouteData, (i32, String)> {
        let answer = self
            .ask(OutgoingRequest::new(request_code::GET_ROUTEINFO_BY_TOPIC).field("topic", "T"))
            .await;
        match answer.code {
            response_code::SUCCESS => Ok(fastjson::from_slice(&answer.body).unwrap()),
            code => Err((code, answer.remark().unwrap_or_default().into_owned())),
        }
    }
}

/// Asks until the answer is yes.
async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !ask().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_broker_registers_is_found_and_says_goodbye() {
    let home = tempfile::tempdir().unwrap();
    let (running, peer) = start(config(home.path())).await;

    peer.register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;
    let route = peer.route().await.unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.1:1");
    assert_eq!(route.queue_datas[0].write_queue_nums, 4);

    let goodbye = UnRegisterBrokerRequestHeader {
        broker_name: "a".to_owned(),
        broker_addr: "127.0.0.1:1".to_owned(),
        cluster_name: "C".to_owned(),
        broker_id: 0,
    };
    peer.ask(OutgoingRequest::new(request_code::UNREGISTER_BROKER).header(&goodbye))
        .await;
    let (code, remark) = peer.route().await.unwrap_err();
    assert_eq!(code, response_code::TOPIC_NOT_EXIST);
    assert!(
        remark.starts_with("No topic route info in name server for the topic: T\nSee https://"),
        "{remark}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_broker_whose_connection_closes_is_gone_at_once() {
    let home = tempfile::tempdir().unwrap();
    let (running, peer) = start(config(home.path())).await;
    let broker = Peer::of(&running);
    broker
        .register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;
    assert!(peer.route().await.is_ok());

    broker.client.close();

    eventually("the route is gone", || async { peer.route().await.is_err() }).await;
    running.stop().await;
}

#[tokio::test]
async fn a_silent_broker_is_dropped_and_its_connection_closed() {
    let home = tempfile::tempdir().unwrap();
    let mut config = config(home.path());
    config.namesrv.scan_not_active_broker_interval_ms = 20;
    let (running, peer) = start(config).await;
    let broker = Peer::of(&running);
    let header = RegisterBrokerRequestHeader {
        heartbeat_timeout_millis: Some(200),
        ..Default::default()
    };
    broker.register("127.0.0.1:1", header).await;
    let connection = broker.client.connection(&broker.namesrv).await.unwrap();

    eventually("the route is gone", || async { peer.route().await.is_err() }).await;
    eventually("the connection is closed", || async { !connection.is_open() }).await;
    running.stop().await;
}

#[tokio::test]
async fn what_administrators_set_survives_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (running, peer) = start(config(home.path())).await;
    let put = OutgoingRequest::new(request_code::PUT_KV_CONFIG)
        .field("namespace", "ORDER_TOPIC_CONFIG")
        .field("key", "T")
        .field("value", "a:4");
    peer.ask(put).await;
    let update = OutgoingRequest::new(request_code::UPDATE_NAMESRV_CONFIG).body("orderMessageEnable=true\n");
    assert_eq!(peer.ask(update).await.code, response_code::SUCCESS);
    running.stop().await;

    let mut again = Config::load(&home.path().join("namesrv.properties")).unwrap();
    again.server.listen_port = 0;
    let (running, peer) = start(again).await;

    peer.register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;
    assert_eq!(
        peer.route().await.unwrap().order_topic_conf.as_deref(),
        Some("a:4")
    );
    let listing = peer
        .ask(OutgoingRequest::new(request_code::GET_NAMESRV_CONFIG))
        .await
        .body;
    assert!(String::from_utf8_lossy(&listing).contains("\norderMessageEnable=true\n"));
    running.stop().await;
}

#[tokio::test]
async fn routes_wait_for_the_brokers_when_told_to() {
    let home = tempfile::tempdir().unwrap();
    let mut config = config(home.path());
    config.namesrv.need_wait_for_service = true;
    let clock = Arc::new(ManualClock::new(0));
    let running = namesrv::start(config, clock.clone()).await.unwrap();
    let peer = Peer::of(&running);
    peer.register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;

    let refusal = (response_code::SYSTEM_ERROR, "name server not ready".to_owned());
    clock.advance(Duration::from_millis(44_999));
    assert_eq!(peer.route().await.unwrap_err(), refusal);
    clock.advance(Duration::from_millis(1));
    assert!(peer.route().await.is_ok());
    running.stop().await;
}

#[tokio::test]
async fn members_are_told_when_the_smallest_id_of_their_group_changes() {
    let home = tempfile::tempdir().unwrap();
    let mut config = config(home.path());
    config.namesrv.notify_min_broker_id_changed = true;
    let (running, peer) = start(config).await;
    let slave = Arc::new(Slave::default());
    let slave_server = Server::bind(
        "127.0.0.1:0".parse().unwrap(),
        ServerConfig::default(),
        slave.clone(),
    )
    .await
    .unwrap();
    let member = |broker_id| RegisterBrokerRequestHeader {
        broker_id,
        enable_acting_master: Some(true),
        ..Default::default()
    };
    peer.register(&slave_server.local_addr().to_string(), member(1))
        .await;
    let master = Peer::of(&running);
    master.register("127.0.0.1:1", member(0)).await;

    master.client.close();

    eventually("the slave is told twice", || async {
        slave.told.lock().unwrap().len() == 2
    })
    .await;
    let told = std::mem::take(&mut *slave.told.lock().unwrap());
    assert_eq!(
        (told[0].min_broker_id, told[0].min_broker_addr.as_deref()),
        (Some(0), Some("127.0.0.1:1"))
    );
    assert_eq!(told[1].min_broker_id, Some(1));
    assert_eq!(told[1].offline_broker_addr.as_deref(), Some("127.0.0.1:1"));
    running.stop().await;
    slave_server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_idle_clients() {
    let home = tempfile::tempdir().unwrap();
    let (running, peer) = start(config(home.path())).await;
    peer.register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;

    let begun = Instant::now();
    running.stop().await;

    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// A broker that remembers what it is told.
#[derive(Default)]
struct Slave {
    told: Mutex<Vec<NotifyMinBrokerIdChangeRequestHeader>>,
}

impl ConnectionEvents for Slave {}

fn remember(slave: &Slave, request: Request<'_, NotifyMinBrokerIdChangeRequestHeader>) -> Handled {
    slave.told.lock().unwrap().push(request.header);
    Ok(Outcome::Silent)
}

routes! { Slave;
    NOTIFY_MIN_BROKER_ID_CHANGE => NotifyMinBrokerIdChangeRequestHeader, remember, inline;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraped_name_server_is_healthy_and_counts_its_brokers_topics_and_requests() {
    let home = tempfile::tempdir().unwrap();
    let mut config = config(home.path());
    config.metrics.metrics_exporter_type = operations::config::MetricsExporterType::Prom;
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    config.metrics.metrics_prom_exporter_port = i32::from(free.local_addr().unwrap().port());
    drop(free);
    let (running, broker) = start(config).await;
    broker
        .register("127.0.0.1:1", RegisterBrokerRequestHeader::default())
        .await;

    let http = running.http_addr().unwrap();
    let ask = move |path: &str| operations::probe::probe(&format!("http://{http}/{path}"));
    assert_eq!(ask("healthz"), Ok("ok".to_owned()));
    let metrics = ask("metrics").unwrap();
    for line in [
        "rocketmq_active_broker_num{node_type=\"nameserver\"} 1\n",
        "rocketmq_topic_number{node_type=\"nameserver\"} 2\n",
        "request_code=\"register_broker\",response_code=\"success\"",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    running.stop().await;
}
