//! Configuration of the NameServer: three groups of keys in one flat file, as the reference has them.
//!
//! ```text
//!   -c FILE ──> Config::load ──> Config { namesrv, server, client, extra }
//!                                   │        └─ in a `Live`: GET_NAMESRV_CONFIG reads, UPDATE_NAMESRV_CONFIG
//!                                   │           writes it back to `configStorePath` (the -c file)
//! ```
//!
//! Keys that no group knows are kept, shown and saved, since other tools may read them; each is named with a
//! warning at the start. A value that its key cannot take stops the start, instead of being ignored as the
//! reference does.
//!
//! Reference: `NamesrvConfig`, `NettyServerConfig`, `NettyClientConfig`, `Configuration`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::properties;
use common::properties::PropertyValue as _;
use common::properties::{
    Live, PropertyError, PropertyKey, format_properties, nearest_key, parse_properties,
};
use common::small_file;
use operations::config::{MetricsExporterType, http_address, refuse_exporter};
use remoting::config::{NettyClientConfig, NettyServerConfig};
use thiserror::Error;
use tracing::{info, warn};

mod check;

pub use check::check;

/// Keys that stay as they were at the start, whatever `configBlackList` says.
const ALWAYS_BLACK_LISTED: [&str; 4] = [
    "configBlackList",
    "configStorePath",
    "kvConfigPath",
    "rocketmqHome",
];

properties! {
    /// What a NameServer is configured with.
    ///
    /// The sizes of thread pools and queues are read and shown for the tools that expect them; requests do not
    /// wait in such queues here.
    pub struct NamesrvConfig {
        /// The installation directory; nothing is read from it.
        "rocketmqHome" rocketmq_home: String = std::env::var("ROCKETMQ_HOME").unwrap_or_default(), restart;
        /// The file of the KV config.
        "kvConfigPath" kv_config_path: String = in_home("namesrv/kvConfig.json"), restart;
        /// Where an updated configuration is saved: the `-c` file, if one was given.
        "configStorePath" config_store_path: String = in_home("namesrv/namesrv.properties"), restart;
        /// Name of the environment a test cluster falls back to.
        "productEnvName" product_env_name: String = "center".to_owned(), restart;
        /// Ask another environment for unknown topics; not supported.
        "clusterTest" cluster_test: bool = false, restart;
        /// Add the order config of the topic to its route.
        "orderMessageEnable" order_message_enable: bool = false, live;
        /// Answer registrations with all order configs.
        "returnOrderTopicConfigToBroker" return_order_topic_config_to_broker: bool = true, live;
        /// Without effect: routes are answered where the request is read.
        "clientRequestThreadPoolNums" client_request_thread_pool_nums: i32 = 8, restart;
        /// Without effect.
        "defaultThreadPoolNums" default_thread_pool_nums: i32 = 16, restart;
        /// Without effect.
        "clientRequestThreadPoolQueueCapacity" client_request_thread_pool_queue_capacity: i32 = 50_000, restart;
        /// Without effect.
        "defaultThreadPoolQueueCapacity" default_thread_pool_queue_capacity: i32 = 10_000, restart;
        /// Milliseconds between two looks for silent brokers.
        "scanNotActiveBrokerInterval" scan_not_active_broker_interval_ms: u64 = 5_000, live;
        /// Without effect: brokers leave the table at once.
        "unRegisterBrokerQueueCapacity" un_register_broker_queue_capacity: i32 = 3_000, restart;
        /// Present the smallest slave of a group without master as its master.
        "supportActingMaster" support_acting_master: bool = false, live;
        /// Answer lists of all topics.
        "enableAllTopicList" enable_all_topic_list: bool = true, live;
        /// Answer lists of some topics.
        "enableTopicList" enable_topic_list: bool = true, live;
        /// Tell the members of a group when its smallest broker id changes.
        "notifyMinBrokerIdChanged" notify_min_broker_id_changed: bool = false, live;
        /// Run a controller in this process; not supported.
        "enableControllerInNamesrv" enable_controller_in_namesrv: bool = false, restart;
        /// Refuse to answer routes until brokers have had time to register.
        "needWaitForService" need_wait_for_service: bool = false, live;
        /// That time, in seconds.
        "waitSecondsForService" wait_seconds_for_service: u64 = 45, live;
        /// Take from a broker the topics it registers without. Needs brokers with `enableSingleTopicRegister`.
        "deleteTopicWithBrokerRegistration" delete_topic_with_broker_registration: bool = false, live;
        /// Keys that UPDATE_NAMESRV_CONFIG may not touch, separated by `;`.
        "configBlackList" config_black_list: String = "configBlackList;configStorePath;kvConfigPath".to_owned(), restart;
    }
}

properties! {
    /// Metrics and health over HTTP, under the keys that the reference's broker has; its NameServer has none.
    pub struct MetricsConfig {
        /// Whether `/metrics` and `/healthz` are served: PROM.
        "metricsExporterType" metrics_exporter_type: MetricsExporterType = MetricsExporterType::Disable, restart;
        /// The port of both.
        "metricsPromExporterPort" metrics_prom_exporter_port: i32 = 5556, restart;
        /// The address to listen on; empty is `bindAddress`.
        "metricsPromExporterHost" metrics_prom_exporter_host: String = String::new(), restart;
    }
}

/// Every key of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the NameServer does.
    pub namesrv: NamesrvConfig,
    /// How it listens.
    pub server: NettyServerConfig,
    /// How it calls.
    pub client: NettyClientConfig,
    /// How it can be looked at.
    pub metrics: MetricsConfig,
    /// Keys of the file that belong to neither of the first two groups, as written.
    pub extra: BTreeMap<String, String>,
}

/// The port of a NameServer, unless `listenPort` says another.
pub const DEFAULT_PORT: u16 = 9876;

impl Default for Config {
    fn default() -> Self {
        Config {
            namesrv: NamesrvConfig::default(),
            server: NettyServerConfig {
                listen_port: DEFAULT_PORT,
                ..NettyServerConfig::default()
            },
            client: NettyClientConfig::default(),
            metrics: MetricsConfig::default(),
            extra: BTreeMap::new(),
        }
    }
}

/// A configuration this server cannot start with.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read config file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key has a value it cannot take.
    #[error("config file {path}: {cause}; correct the line or remove it to get the default")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which and why.
        cause: PropertyError,
    },
    /// Asks for something this server does not have, or that would make it useless.
    #[error("`{key}` = `{value}`: {remedy}")]
    Unusable {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl Config {
    /// Reads a properties file over the defaults, and remembers it as the place for updates.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let mut config = Config::default();
        config.read(&text).map_err(|cause| ConfigError::Value {
            path: path.into(),
            cause,
        })?;
        config.namesrv.config_store_path = path.display().to_string();
        Ok(config)
    }

    /// Takes over the keys in the text of a properties file.
    ///
    /// # Errors
    /// When a key has a value it cannot take; those before it are taken over.
    pub fn read(&mut self, text: &str) -> Result<(), PropertyError> {
        for (key, value) in parse_properties(text) {
            self.set_from_file(&key, &value)?;
        }
        Ok(())
    }

    /// Each group takes the keys it knows; some keys belong to two.
    fn set_from_file(&mut self, key: &str, value: &str) -> Result<(), PropertyError> {
        let shown = self.namesrv.set(key, value)? | self.server.set(key, value)?;
        self.client.set(key, value)?;
        self.metrics.set(key, value)?;
        if !shown {
            self.extra.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// One sentence for each key that no group knows.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self
            .extra
            .keys()
            .filter(|key| self.client.get(key).is_none() && self.metrics.get(key).is_none());
        unknown
            .map(
                |key| match nearest_key(key, known_keys().map(|known| known.name)) {
                    Some(near) => format!("unknown key `{key}` has no effect; did you mean `{near}`?"),
                    None => format!("unknown key `{key}` has no effect"),
                },
            )
            .collect()
    }

    /// Refuses what would not work, before anything starts.
    pub fn check(&self) -> Result<(), ConfigError> {
        let unusable = |key, value: &dyn std::fmt::Display, remedy| {
            Err(ConfigError::Unusable {
                key,
                value: value.to_string(),
                remedy,
            })
        };
        let namesrv = &self.namesrv;
        if namesrv.enable_controller_in_namesrv {
            return unusable(
                "enableControllerInNamesrv",
                &true,
                "this server has no controller; set it to false",
            );
        }
        if namesrv.cluster_test {
            return unusable(
                "clusterTest",
                &true,
                "test environments are not supported; set it to false",
            );
        }
        if namesrv.scan_not_active_broker_interval_ms == 0 {
            return unusable(
                "scanNotActiveBrokerInterval",
                &0,
                "give milliseconds above 0, the default is 5000",
            );
        }
        if self.server.bind_address.parse::<IpAddr>().is_err() {
            let remedy = "give an IP address of this host, or 0.0.0.0 for all";
            return unusable("bindAddress", &self.server.bind_address, remedy);
        }
        let exporter = self.metrics.metrics_exporter_type;
        if let Some(remedy) = refuse_exporter(exporter) {
            return unusable("metricsExporterType", &exporter.format_property(), remedy);
        }
        if exporter == MetricsExporterType::Prom
            && let Err(remedy) = self.metrics_addr()
        {
            let port = &self.metrics.metrics_prom_exporter_port;
            return match remedy.starts_with("the port") {
                true => unusable("metricsPromExporterPort", port, remedy),
                false => unusable(
                    "metricsPromExporterHost",
                    &self.metrics.metrics_prom_exporter_host,
                    remedy,
                ),
            };
        }
        Ok(())
    }

    /// Where `/metrics` and `/healthz` are served, with `metricsExporterType=PROM`.
    pub(crate) fn metrics_addr(&self) -> Result<SocketAddr, &'static str> {
        let host = match self.metrics.metrics_prom_exporter_host.trim() {
            "" => &self.server.bind_address,
            host => host,
        };
        http_address(host, self.metrics.metrics_prom_exporter_port)
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// When `bindAddress` is no IP address; [`Config::check`] says the same.
    pub fn listen_addr(&self) -> Result<SocketAddr, std::net::AddrParseError> {
        Ok(SocketAddr::new(
            self.server.bind_address.parse()?,
            self.server.listen_port,
        ))
    }

    /// How often silent brokers are looked for.
    pub fn scan_interval(&self) -> Duration {
        Duration::from_millis(self.namesrv.scan_not_active_broker_interval_ms)
    }

    /// The text of GET_NAMESRV_CONFIG and of the saved file.
    pub fn text(&self) -> String {
        let mut pairs = self.namesrv.pairs();
        pairs.extend(self.server.pairs());
        pairs.extend(
            self.extra
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        // A variable that is not set in the environment is not shown.
        pairs.retain(|(key, value)| !(*key == "rocketmqHome" && value.is_empty()));
        format_properties(&pairs)
    }

    /// What `-p` prints: every key of every group, in the reference's order.
    pub fn listing(&self) -> String {
        // The reference has no keys of the last group: they are shown once they say something.
        let mut metrics = self.metrics.pairs();
        let defaults = MetricsConfig::default().pairs();
        metrics.retain(|pair| !defaults.contains(pair));
        let groups = [
            self.namesrv.pairs(),
            self.server.pairs(),
            self.client.pairs(),
            metrics,
        ];
        groups
            .concat()
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    fn is_black_listed(&self, key: &str) -> bool {
        ALWAYS_BLACK_LISTED.contains(&key)
            || self
                .namesrv
                .config_black_list
                .split(';')
                .any(|black| black == key)
    }
}

/// The configuration of a running NameServer, and its file.
#[derive(Debug)]
pub struct LiveConfig {
    current: Live<Config>,
    /// Held while the file is written, so that file and memory change in the same order.
    writing: Mutex<()>,
}

/// An update that was not made.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// A key is protected; the remark is the reference's.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// A key cannot take the value.
    #[error(transparent)]
    Value(#[from] PropertyError),
    /// The result would not work at the next start.
    #[error(transparent)]
    Unusable(#[from] ConfigError),
    /// The file cannot be written.
    #[error("save config to {path}: {cause}")]
    Persist {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
}

impl LiveConfig {
    /// Starts with `config`.
    pub fn new(config: Config) -> LiveConfig {
        LiveConfig {
            current: Live::new(config),
            writing: Mutex::new(()),
        }
    }

    /// The values as they are now.
    pub fn get(&self) -> impl std::ops::Deref<Target = std::sync::Arc<Config>> {
        self.current.get()
    }

    /// Changes the keys named in properties text and saves the whole. Keys nobody knows are passed over, as
    /// the reference does. All of it happens, or nothing.
    pub fn update(&self, text: &str) -> Result<(), UpdateError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Config::clone(&self.get());
        let pairs = parse_properties(text);
        if pairs.iter().any(|(key, _)| next.is_black_listed(key)) {
            return Err(UpdateError::BlackListed);
        }
        for (key, value) in pairs {
            let known = next.namesrv.set(&key, &value)? | next.server.set(&key, &value)?;
            match next.extra.get_mut(&key) {
                _ if known => log_change(&key, &value),
                Some(old) => *old = value,
                None => warn!(key, "config update names an unknown key, passed over"),
            }
        }
        next.check()?;
        let path = next.namesrv.config_store_path.clone();
        small_file::replace(Path::new(&path), next.text().as_bytes())
            .map_err(|cause| UpdateError::Persist { path, cause })?;
        self.current.update(|current| current.clone_from(&next));
        Ok(())
    }
}

fn log_change(key: &str, value: &str) {
    let mut keys = NamesrvConfig::KEYS.iter().chain(NettyServerConfig::KEYS);
    let live = keys
        .find(|known| known.name == key)
        .is_some_and(|known| known.live);
    info!(
        key,
        value,
        takes_effect = if live { "now" } else { "at the next start" },
        "config updated"
    );
}

fn known_keys() -> impl Iterator<Item = &'static PropertyKey> {
    NamesrvConfig::KEYS
        .iter()
        .chain(NettyServerConfig::KEYS)
        .chain(NettyClientConfig::KEYS)
        .chain(MetricsConfig::KEYS)
}

fn in_home(file: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
    format!("{home}/{file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What GET_NAMESRV_CONFIG of a 5.5.0 name server lists.
    const REFERENCE_KEYS: [&str; 40] = [
        "bindAddress",
        "clientRequestThreadPoolNums",
        "clientRequestThreadPoolQueueCapacity",
        "clusterTest",
        "configBlackList",
        "configStorePath",
        "defaultThreadPoolNums",
        "defaultThreadPoolQueueCapacity",
        "deleteTopicWithBrokerRegistration",
        "enableAllTopicList",
        "enableControllerInNamesrv",
        "enableShutdownGracefully",
        "enableTopicList",
        "kvConfigPath",
        "listenPort",
        "needWaitForService",
        "notifyMinBrokerIdChanged",
        "orderMessageEnable",
        "productEnvName",
        "returnOrderTopicConfigToBroker",
        "rocketmqHome",
        "scanNotActiveBrokerInterval",
        "serverAsyncSemaphoreValue",
        "serverCallbackExecutorThreads",
        "serverChannelMaxIdleTimeSeconds",
        "serverNettyWorkerGroupEnable",
        "serverOnewaySemaphoreValue",
        "serverPooledByteBufAllocatorEnable",
        "serverSelectorThreads",
        "serverSocketBacklog",
        "serverSocketRcvBufSize",
        "serverSocketSndBufSize",
        "serverWorkerThreads",
        "shutdownWaitTimeSeconds",
        "supportActingMaster",
        "unRegisterBrokerQueueCapacity",
        "useEpollNativeSelector",
        "waitSecondsForService",
        "writeBufferHighWaterMark",
        "writeBufferLowWaterMark",
    ];

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("namesrv.conf");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn the_configuration_lists_the_keys_of_the_reference() {
        let mut config = Config::default();
        config.namesrv.rocketmq_home = "/opt/rocketmq".to_owned();
        let text = config.text();
        let listed: Vec<&str> = text
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        assert_eq!(listed, REFERENCE_KEYS);
    }

    #[test]
    fn a_file_sets_every_group_and_becomes_the_place_for_updates() {
        let (_directory, path) = file("listenPort=19876\norderMessageEnable = true\nuseTLS=true\nmyTool=7\n");
        let config = Config::load(&path).unwrap();
        assert_eq!(config.server.listen_port, 19876);
        assert!(config.namesrv.order_message_enable && config.client.use_tls);
        assert_eq!(config.namesrv.config_store_path, path.display().to_string());
        assert!(config.text().contains("\nmyTool=7\n") && config.text().contains("\nuseTLS=true\n"));
        assert_eq!(config.listen_addr().unwrap().to_string(), "0.0.0.0:19876");
    }

    #[test]
    fn an_unknown_key_is_named_together_with_the_nearest_known_one() {
        let (_directory, path) = file("listenport2=1\nuseTLS=false\nqwertyuiop=1\n");
        assert_eq!(
            Config::load(&path).unwrap().warnings(),
            [
                "unknown key `listenport2` has no effect; did you mean `listenPort`?",
                "unknown key `qwertyuiop` has no effect"
            ]
        );
    }

    #[test]
    fn a_value_its_key_cannot_take_stops_the_start() {
        let (_directory, path) = file("listenPort=98760\n");
        assert_eq!(
            Config::load(&path).unwrap_err().to_string(),
            format!(
                "config file {}: `listenPort` cannot be `98760`: expected a number from 0 to 65535; \
                 correct the line or remove it to get the default",
                path.display()
            )
        );
    }

    #[test]
    fn what_could_not_work_is_refused_before_the_start() {
        for (line, expected) in [
            (
                "enableControllerInNamesrv=true",
                "`enableControllerInNamesrv` = `true`: this server has no controller",
            ),
            (
                "clusterTest=true",
                "`clusterTest` = `true`: test environments are not supported",
            ),
            (
                "scanNotActiveBrokerInterval=0",
                "`scanNotActiveBrokerInterval` = `0`: give milliseconds above 0",
            ),
            (
                "bindAddress=here",
                "`bindAddress` = `here`: give an IP address of this host",
            ),
        ] {
            let (_directory, path) = file(line);
            let error = Config::load(&path).unwrap().check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_update_is_seen_at_once_and_after_a_restart() {
        let (_directory, path) = file("listenPort=19876\nmyTool=7\n");
        let live = LiveConfig::new(Config::load(&path).unwrap());

        live.update("orderMessageEnable=true\nmyTool=8\nneverHeardOf=1\n")
            .unwrap();

        let changed = Config::clone(&live.get());
        assert!(changed.namesrv.order_message_enable);
        assert_eq!(changed.extra["myTool"], "8");
        assert_eq!(Config::load(&path).unwrap().text(), changed.text());
        let backup = format!("{}.bak", path.display());
        assert_eq!(
            std::fs::read_to_string(backup).unwrap(),
            "listenPort=19876\nmyTool=7\n"
        );
    }

    #[test]
    fn an_update_that_cannot_be_made_changes_nothing() {
        let (_directory, path) = file("configBlackList=productEnvName\n");
        let live = LiveConfig::new(Config::load(&path).unwrap());
        let before = live.get().text();
        for (text, expected) in [
            ("kvConfigPath=/x", "Can not update config in black list."),
            (
                "enableTopicList=false\nproductEnvName=x",
                "Can not update config in black list.",
            ),
            (
                "enableTopicList=maybe",
                "`enableTopicList` cannot be `maybe`: expected true or false",
            ),
            (
                "enableTopicList=false\nclusterTest=true",
                "`clusterTest` = `true`: test environments",
            ),
        ] {
            let error = live.update(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(live.get().text(), before);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "configBlackList=productEnvName\n"
        );
    }
}
