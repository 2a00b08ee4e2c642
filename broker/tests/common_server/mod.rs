//! A NameServer and a broker inside the test's process, on free ports of the loopback interface.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use broker::config::{Configuration, Settings};
use common::clock::{Clock, SystemClock};

/// Both servers, and the runtime that runs them. Stopped in order when dropped.
pub struct TestServers {
    runtime: tokio::runtime::Runtime,
    namesrv: Option<namesrv::Running>,
    broker: Option<broker::Running>,
    home: tempfile::TempDir,
}

impl TestServers {
    /// Starts both with default settings, except for small files.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with these keys of the broker set.
    pub fn start_with(keys: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let home = tempfile::tempdir().expect("a directory can be made");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (namesrv, broker) = runtime.block_on(async {
            let mut config = namesrv::config::Config::default();
            config.server.bind_address = "127.0.0.1".to_owned();
            config.server.listen_port = 0;
            config.namesrv.kv_config_path = home.path().join("kvConfig.json").display().to_string();
            config.namesrv.config_store_path = home.path().join("namesrv.properties").display().to_string();
            let namesrv = namesrv::start(config, Arc::clone(&clock))
                .await
                .expect("the NameServer starts");

            let settings = settings(&home, namesrv.local_addr(), keys);
            let file = home.path().join("broker.conf");
            let configuration = Configuration::new(settings.clone(), Some(&file), Arc::clone(&clock));
            let broker = broker::start(settings, configuration, clock)
                .await
                .expect("the broker starts");
            (namesrv, broker)
        });
        Self {
            runtime,
            namesrv: Some(namesrv),
            broker: Some(broker),
            home,
        }
    }

    /// Where the broker serves.
    pub fn broker_address(&self) -> SocketAddr {
        self.broker
            .as_ref()
            .expect("the broker runs until dropped")
            .local_addr()
    }

    /// Where the NameServer serves.
    pub fn namesrv_address(&self) -> SocketAddr {
        self.namesrv
            .as_ref()
            .expect("the NameServer runs until dropped")
            .local_addr()
    }
}

impl Drop for TestServers {
    fn drop(&mut self) {
        let (broker, namesrv) = (self.broker.take(), self.namesrv.take());
        self.runtime.block_on(async {
            if let Some(broker) = broker
                && let Err(error) = broker.stop().await
            {
                eprintln!(
                    "the broker in {} did not stop cleanly: {error:#}",
                    self.home.path().display()
                );
            }
            if let Some(namesrv) = namesrv {
                namesrv.stop().await;
            }
        });
    }
}

fn settings(home: &tempfile::TempDir, namesrv: SocketAddr, keys: &[(&str, &str)]) -> Settings {
    let port = free_port_with_free_fast_port();
    let pairs = [
        ("brokerName", "test".to_owned()),
        ("brokerIP1", "127.0.0.1".to_owned()),
        ("bindAddress", "127.0.0.1".to_owned()),
        ("listenPort", port.to_string()),
        ("namesrvAddr", namesrv.to_string()),
        (
            "storePathRootDir",
            home.path().join("store").display().to_string(),
        ),
        ("mappedFileSizeCommitLog", (16 * 1024 * 1024).to_string()),
        ("mappedFileSizeConsumeQueue", "20000".to_owned()),
        ("maxHashSlotNum", "1000".to_owned()),
        ("maxIndexNum", "4000".to_owned()),
        // What else lies on this machine's disk is no concern of a test.
        ("cleanFileForciblyEnable", "false".to_owned()),
    ];
    let mut settings = Settings::default();
    let given = keys.iter().map(|(key, value)| (*key, (*value).to_owned()));
    for (key, value) in pairs.into_iter().chain(given) {
        assert!(
            settings.set("test", key, &value).expect("the value fits"),
            "{key} is known"
        );
    }
    settings.settle().expect("the settings are accepted");
    settings
}

/// A port whose fast port, two below, is free too.
pub fn free_port_with_free_fast_port() -> u16 {
    loop {
        let main = TcpListener::bind(("127.0.0.1", 0)).expect("a free port exists");
        let port = main.local_addr().expect("it has an address").port();
        if TcpListener::bind(("127.0.0.1", port - 2)).is_ok() {
            return port;
        }
    }
}
