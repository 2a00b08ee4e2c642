//! Settings: all config structs together, as a start takes them from one flat `.properties` file.
//!
//! Each key is offered to every struct. A key that none has is kept, shown and written back, since operators and
//! tools keep their own there; a warning names the known key it resembles. What cannot be read, or asks for what this
//! broker does not have, is an error here, before a file or a port is touched. The reference ignores both silently.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use common::properties::{PropertyError, PropertyKey, PropertyValue, nearest_key, parse_properties};
use operations::config::{http_address, refuse_exporter};
use store::config::{BrokerRole, MessageStoreConfig};
use thiserror::Error;

use super::{BrokerConfig, IMPORTANT_KEYS, MetricsExporterType, NettyClientConfig, NettyServerConfig};

/// The least for `maxConnectionBufferBytes`: what one connection may hold, so that none goes before it reaches its own bound.
const MIN_CONNECTION_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// Why the broker cannot start, or change, with the settings given.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file given with `-c` is not there or not readable.
    #[error("cannot read the config file {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A value does not fit its key.
    #[error("{origin}: {cause}; correct it, or remove the key to get the default `{default}`")]
    Value {
        /// The file or option the value came from.
        origin: String,
        /// Key, value and what the key takes.
        cause: PropertyError,
        /// The default of the key.
        default: String,
    },
    /// A value that is read well and that this broker cannot honour.
    #[error("{key}={value} is refused: {reason}")]
    Refused {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// The keys of the reference's `AuthConfig`: known, and refused where they switch security on.
pub(super) const AUTH_KEYS: &[&str] = &[
    "aclCacheExpiredSecond",
    "aclCacheMaxNum",
    "aclCacheRefreshSecond",
    "authConfigPath",
    "authenticationEnabled",
    "authenticationMetadataProvider",
    "authenticationProvider",
    "authenticationStrategy",
    "authenticationWhitelist",
    "authorizationEnabled",
    "authorizationMetadataProvider",
    "authorizationProvider",
    "authorizationStrategy",
    "authorizationWhitelist",
    "clusterName",
    "configName",
    "initAuthenticationUser",
    "innerClientAuthenticationCredentials",
    "migrateAuthFromV1Enabled",
    "statefulAuthenticationCacheExpiredSecond",
    "statefulAuthenticationCacheMaxNum",
    "statefulAuthorizationCacheExpiredSecond",
    "statefulAuthorizationCacheMaxNum",
    "userCacheExpiredSecond",
    "userCacheMaxNum",
    "userCacheRefreshSecond",
];

/// The smallest CommitLog file: a page, the unit of flushing.
const COMMIT_LOG_FILE_MIN_BYTES: usize = 4096;
/// The smallest ConsumeQueue file: one entry.
const CONSUME_QUEUE_FILE_MIN_BYTES: usize = 20;

/// All config structs, and the keys that none of them has.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The broker itself.
    pub broker: BrokerConfig,
    /// The listening side.
    pub server: NettyServerConfig,
    /// The calling side.
    pub client: NettyClientConfig,
    /// The store.
    pub store: MessageStoreConfig,
    /// Keys without a struct, verbatim.
    pub unknown: BTreeMap<String, String>,
    /// The keys that somebody gave a value. Only these are written back: the others keep following their defaults,
    /// which may depend on the host and on other keys.
    pub given: BTreeSet<String>,
}

/// Who a broker is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: String,
    /// The name it shares with its slaves.
    pub broker_name: String,
    /// 0: a master.
    pub broker_id: i64,
    /// The address that clients are told: `brokerIP1:listenPort`, as written.
    pub broker_addr: String,
    /// The same resolved: what messages are stamped with.
    pub store_host: SocketAddr,
    /// The address that slaves are told: `brokerIP2:haListenPort`.
    pub ha_address: String,
}

/// A key that does not do what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The key.
    pub key: &'static str,
    /// What about it.
    pub text: String,
}

/// Settings that passed every check, and what the operator should know about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the file given with `-c`, if any; `namesrv_addr` (`-n`) counts before the file.
    pub fn load(file: Option<&Path>, namesrv_addr: Option<&str>) -> Result<Loaded, ConfigError> {
        let mut settings = Self::default();
        let mut warnings = Vec::new();
        if let Some(path) = file {
            let origin = path.display().to_string();
            for (key, value) in parse_properties(&read(path)?) {
                settings.given.insert(key.clone());
                if !settings.set(&origin, &key, &value)? {
                    warnings.extend(unknown_key_warning(&origin, &key));
                    settings.unknown.insert(key, value);
                }
            }
            settings.broker.broker_config_path = origin;
        }
        if let Some(addresses) = namesrv_addr {
            settings.broker.namesrv_addr = addresses.trim().to_owned();
        }
        let settled = settings.settle()?.into_iter();
        warnings.extend(settled.map(|warning| format!("{} {}", warning.key, warning.text)));
        Ok(Loaded { settings, warnings })
    }

    /// Every key of every struct.
    pub fn keys() -> impl Iterator<Item = &'static PropertyKey> {
        BrokerConfig::KEYS
            .iter()
            .chain(NettyServerConfig::KEYS)
            .chain(NettyClientConfig::KEYS)
            .chain(MessageStoreConfig::KEYS)
    }

    /// Sets a key in every struct that has it; `Ok(false)` when none has.
    pub fn set(&mut self, origin: &str, key: &str, value: &str) -> Result<bool, ConfigError> {
        self.set_everywhere(key, value)
            .map_err(|cause| ConfigError::Value {
                origin: origin.to_owned(),
                cause,
                default: Self::keys()
                    .find(|known| known.name == key)
                    .map(|known| (known.default)())
                    .unwrap_or_default(),
            })
    }

    /// Takes a key back to its default; false when it has that already.
    pub(super) fn reset(&mut self, key: &str) -> bool {
        if self.unknown.remove(key).is_some() {
            return true;
        }
        let default = Self::keys()
            .find(|known| known.name == key)
            .map(|known| (known.default)());
        let before = self.pairs().remove(key);
        default.is_some_and(|default| {
            before.as_ref() != Some(&default) && self.set_everywhere(key, &default) == Ok(true)
        })
    }

    fn set_everywhere(&mut self, key: &str, value: &str) -> Result<bool, PropertyError> {
        Ok(self.broker.set(key, value)?
            | self.server.set(key, value)?
            | self.client.set(key, value)?
            | self.store.set(key, value)?)
    }

    /// Every key with its value, those without a struct included.
    pub fn pairs(&self) -> BTreeMap<&str, String> {
        let mut pairs: BTreeMap<&str, String> = self
            .unknown
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        pairs.extend(self.broker.pairs());
        pairs.extend(self.client.pairs());
        pairs.extend(self.server.pairs());
        pairs.extend(self.store.pairs());
        pairs
    }

    /// The keys that were given, with their values.
    pub fn given_pairs(&self) -> BTreeMap<&str, String> {
        let mut pairs = self.pairs();
        pairs.retain(|key, _| self.given.contains(*key));
        pairs
    }

    /// The keys most operators set, for `-m`.
    pub fn important_pairs(&self) -> Vec<(&'static str, String)> {
        let pairs = self.pairs();
        IMPORTANT_KEYS
            .iter()
            .filter_map(|key| pairs.get(key).map(|value| (*key, value.clone())))
            .collect()
    }

    /// Who the broker is to others.
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        Ok(Identity {
            cluster: self.broker.broker_cluster_name.clone(),
            broker_name: self.broker.broker_name.clone(),
            broker_id: self.broker.broker_id,
            broker_addr: format!("{}:{}", self.broker.broker_ip1, self.server.listen_port),
            store_host: self.store_host()?,
            ha_address: format!("{}:{}", self.broker.broker_ip2, self.store.ha_listen_port),
        })
    }

    fn store_host(&self) -> Result<SocketAddr, ConfigError> {
        let host = self.broker.broker_ip1.trim_matches(['[', ']']);
        (host, self.server.listen_port).to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| {
            refused(
                "brokerIP1",
                &self.broker.broker_ip1,
                "it is neither an address nor a name that resolves to one; set it to an address clients can reach",
            )
        })
    }

    /// Checks the values against each other and against what this broker can do, derives those that are derived,
    /// and returns warnings.
    pub fn settle(&mut self) -> Result<Vec<Warning>, ConfigError> {
        self.refuse_missing_modes()?;
        self.refuse_missing_security()?;
        self.check_addresses()?;
        self.check_store()?;
        self.check_numbers()?;
        self.check_metrics()?;
        let mut warnings = self.warnings();
        if self.broker.broker_id != 0 {
            warnings.push(Warning {
                key: "brokerId",
                text: format!(
                    "is taken as 0 instead of {}, since brokerRole={} makes this broker a master",
                    self.broker.broker_id,
                    self.store.broker_role.format_property()
                ),
            });
            self.broker.broker_id = 0;
        }
        if self.store.ha_listen_port <= 0 {
            self.store.ha_listen_port = i32::from(self.server.listen_port) + 1;
        }
        Ok(warnings)
    }

    /// Parts of the reference that do not exist here and that a broker must not quietly run without.
    fn refuse_missing_modes(&self) -> Result<(), ConfigError> {
        if self.store.broker_role == BrokerRole::Slave {
            let reason = if self.broker.broker_id <= 0 {
                "Slave's brokerId must be > 0, and replication is not built yet: this broker runs as a master only"
            } else {
                "replication is not built yet: this broker runs as a master only, set brokerRole=ASYNC_MASTER"
            };
            return Err(refused("brokerRole", "SLAVE", reason));
        }
        if self.store.broker_role == BrokerRole::SyncMaster && self.store.in_sync_replicas > 1 {
            return Err(refused(
                "inSyncReplicas",
                &self.store.in_sync_replicas.to_string(),
                "replication is not built yet, so no slave would ever confirm a message; set it to 1",
            ));
        }
        if self.broker.enable_controller_mode {
            return Err(refused(
                "enableControllerMode",
                "true",
                "the controller is not built yet; set it to false",
            ));
        }
        if self.store.enable_dleger_commit_log {
            return Err(refused(
                "enableDLegerCommitLog",
                "true",
                "there is no DLedger log here; set it to false",
            ));
        }
        if self.store.store_type != "default" {
            return Err(refused(
                "storeType",
                &self.store.store_type,
                "only the file store exists here; set it to default and use a storePathRootDir that was written with it",
            ));
        }
        if self.store.enable_consume_queue_ext {
            return Err(refused(
                "enableConsumeQueueExt",
                "true",
                "entries of queues with an extension hold addresses in place of tags codes, which are not read here; set it to \
                 false and use a storePathRootDir that was written so",
            ));
        }
        for (is_set, key) in [
            (
                self.broker.pop_consumer_kv_service_enable,
                "popConsumerKVServiceEnable",
            ),
            (
                self.broker.pop_consumer_kv_service_init,
                "popConsumerKVServiceInit",
            ),
        ] {
            if is_set {
                return Err(refused(
                    key,
                    "true",
                    "there is no RocksDB here: pops are kept in the log, as by default; set it to false",
                ));
            }
        }
        if !self.broker.message_store_plug_in.is_empty() {
            return Err(refused(
                "messageStorePlugIn",
                &self.broker.message_store_plug_in,
                "plug-ins are Java classes and cannot be loaded; remove the key",
            ));
        }
        Ok(())
    }

    /// A broker that ignored these would stand open where its operator closed it.
    fn refuse_missing_security(&self) -> Result<(), ConfigError> {
        let auth = ["authenticationEnabled", "authorizationEnabled"]
            .into_iter()
            .find(|key| {
                self.unknown
                    .get(*key)
                    .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
            });
        match auth.or(self.broker.acl_enable.then_some("aclEnable")) {
            Some(key) => Err(refused(
                key,
                "true",
                "access control is not built yet and the broker would serve everybody; set it to false if that is meant",
            )),
            None => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        // The fast port is two below, the HA port one above.
        if !(3..=65534).contains(&self.server.listen_port) {
            return Err(refused(
                "listenPort",
                &self.server.listen_port.to_string(),
                "it must lie from 3 to 65534, because the ports two below and one above are used too",
            ));
        }
        if let Some(bad) = namesrv_addresses(&self.broker.namesrv_addr)
            .into_iter()
            .find(|one| !is_host_port(one))
        {
            return Err(refused(
                "namesrvAddr",
                &self.broker.namesrv_addr,
                &format!("`{bad}` is not host:port; write 127.0.0.1:9876;192.168.0.1:9876"),
            ));
        }
        for (key, name) in [
            ("brokerName", &self.broker.broker_name),
            ("brokerClusterName", &self.broker.broker_cluster_name),
        ] {
            // Both are topics too, and so directories of the store.
            common::names::validate_topic(name).or_else(|error| {
                let is_host_name = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"%|_-.".contains(&byte));
                let fits =
                    is_host_name && !name.starts_with('.') && name.len() <= common::names::TOPIC_MAX_LENGTH;
                if fits {
                    Ok(())
                } else {
                    Err(refused(
                        key,
                        name,
                        &format!("{error} It becomes a topic of that name"),
                    ))
                }
            })?;
        }
        self.store_host().map(|_| ())
    }

    fn check_store(&self) -> Result<(), ConfigError> {
        let sizes = [
            (
                "mappedFileSizeCommitLog",
                self.store.mapped_file_size_commit_log,
                COMMIT_LOG_FILE_MIN_BYTES,
            ),
            (
                "mappedFileSizeConsumeQueue",
                self.store.mapped_file_size_consume_queue,
                CONSUME_QUEUE_FILE_MIN_BYTES,
            ),
        ];
        for (key, size, least) in sizes {
            if size < least {
                return Err(refused(
                    key,
                    &size.to_string(),
                    &format!("it must be at least {least} bytes"),
                ));
            }
        }
        let hours_are_read = self
            .store
            .delete_when
            .split(';')
            .all(|hour| hour.trim().parse::<u32>().is_ok_and(|hour| hour < 24));
        if !hours_are_read {
            return Err(refused(
                "deleteWhen",
                &self.store.delete_when,
                "it is hours of the day, 00 to 23, `;` between them",
            ));
        }
        if self.store.file_reserved_time <= 0 {
            return Err(refused(
                "fileReservedTime",
                &self.store.file_reserved_time.to_string(),
                "it is the hours that messages are kept; less than one would delete everything",
            ));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        if !(0..=7).contains(&self.broker.broker_permission) {
            return Err(refused(
                "brokerPermission",
                &self.broker.broker_permission.to_string(),
                "it is 6 (read and write), 4 (read), 2 (write) or 0",
            ));
        }
        if !(1..100).contains(&self.broker.max_error_rate_of_bloom_filter) {
            return Err(refused(
                "maxErrorRateOfBloomFilter",
                &self.broker.max_error_rate_of_bloom_filter.to_string(),
                "it is per cent, 1 to 99",
            ));
        }
        if self.broker.max_connection_buffer_bytes < MIN_CONNECTION_BUFFER_BYTES {
            return Err(refused(
                "maxConnectionBufferBytes",
                &self.broker.max_connection_buffer_bytes.to_string(),
                "clients that read at their leisure would be disconnected; it is 67108864 (64 MiB) at least",
            ));
        }
        let positive: [(&'static str, i64); 7] = [
            (
                "expectConsumerNumUseFilter",
                i64::from(self.broker.expect_consumer_num_use_filter),
            ),
            (
                "defaultTopicQueueNums",
                i64::from(self.broker.default_topic_queue_nums),
            ),
            (
                "flushConsumerOffsetInterval",
                i64::from(self.broker.flush_consumer_offset_interval),
            ),
            (
                "registerBrokerTimeoutMills",
                i64::from(self.broker.register_broker_timeout_mills),
            ),
            ("channelExpiredTimeout", self.broker.channel_expired_timeout),
            (
                "splitRegistrationSize",
                i64::from(self.broker.split_registration_size),
            ),
            ("splitMetadataSize", i64::from(self.broker.split_metadata_size)),
        ];
        match positive.into_iter().find(|(_, value)| *value <= 0) {
            Some((key, value)) => Err(refused(key, &value.to_string(), "it must be greater than 0")),
            None => Ok(()),
        }
    }

    fn check_metrics(&self) -> Result<(), ConfigError> {
        let exporter = self.broker.metrics_exporter_type;
        if let Some(reason) = refuse_exporter(exporter) {
            return Err(refused(
                "metricsExporterType",
                &exporter.format_property(),
                reason,
            ));
        }
        if exporter != MetricsExporterType::Prom {
            return Ok(());
        }
        self.metrics_address().map_err(|reason| {
            let key = match reason.starts_with("the port") {
                true => "metricsPromExporterPort",
                false => "metricsPromExporterHost",
            };
            let value = self.broker.get(key).unwrap_or_default();
            refused(key, &value, reason)
        })?;
        let port = self.broker.metrics_prom_exporter_port;
        let listen_port = i32::from(self.server.listen_port);
        if [listen_port, listen_port - 2].contains(&port) {
            return Err(refused(
                "metricsPromExporterPort",
                &port.to_string(),
                "it is listenPort or the fast port two below; the default is 5557",
            ));
        }
        Ok(())
    }

    /// Where `/metrics` and `/healthz` are served, with `metricsExporterType=PROM`.
    pub(crate) fn metrics_address(&self) -> Result<SocketAddr, &'static str> {
        let host = match self.broker.metrics_prom_exporter_host.trim() {
            "" => &self.broker.broker_ip1,
            host => host,
        };
        http_address(host, self.broker.metrics_prom_exporter_port)
    }

    /// Keys that were asked for, are harmless, and do not do what their name says.
    fn warnings(&self) -> Vec<Warning> {
        [
            (
                self.store.transient_store_pool_enable,
                "transientStorePoolEnable",
                "messages are written straight to the mapped log",
            ),
            (
                self.store.write_without_mmap,
                "writeWithoutMmap",
                "messages are written straight to the mapped log",
            ),
            (
                self.broker.enable_slave_acting_master,
                "enableSlaveActingMaster",
                "replication is not built yet",
            ),
            (
                self.broker.enable_remote_escape,
                "enableRemoteEscape",
                "replication is not built yet",
            ),
            (
                self.broker.fetch_namesrv_addr_by_address_server,
                "fetchNamesrvAddrByAddressServer",
                "set namesrvAddr",
            ),
            (
                self.broker.enable_calc_filter_bit_map,
                "enableCalcFilterBitMap",
                "filters are evaluated when messages are pulled",
            ),
            (
                self.broker.metrics_in_delta,
                "metricsInDelta",
                "Prometheus wants sums since the start",
            ),
            (
                self.broker.enable_pop_buffer_merge,
                "enablePopBufferMerge",
                "checkpoints and acks of pops are in the log before they are answered",
            ),
        ]
        .into_iter()
        .filter(|(is_set, _, _)| *is_set)
        .map(|(_, key, why)| Warning {
            key,
            text: format!("has no effect here: {why}"),
        })
        .collect()
    }
}

/// The addresses of a `namesrvAddr` value.
pub fn namesrv_addresses(text: &str) -> Vec<&str> {
    text.split(';')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .collect()
}

fn is_host_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// What to say about a key that no struct has; nothing about those of `AuthConfig`.
fn unknown_key_warning(origin: &str, key: &str) -> Option<String> {
    if AUTH_KEYS.contains(&key) {
        return None;
    }
    let hint = match nearest_key(key, Settings::keys().map(|known| known.name)) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    };
    Some(format!(
        "{origin}: no part of the broker knows `{key}`, it has no effect{hint}"
    ))
}

fn refused(key: &'static str, value: &str, reason: &str) -> ConfigError {
    ConfigError::Refused {
        key,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Java reads these files as ISO-8859-1; operators write UTF-8. Both are read, and neither fails.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = fs::read(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|not_utf8| not_utf8.into_bytes().into_iter().map(char::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Loaded, ConfigError> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("broker.conf");
        fs::write(&path, text).expect("a temporary file can be written");
        Settings::load(Some(&path), None)
    }

    fn error(text: &str) -> String {
        load(text).expect_err("the file must be refused").to_string()
    }

    /// `key=default` as the reference's GET_BROKER_CONFIG answered it; keys whose default depends on the host or was
    /// set for the run stand without a value.
    const REFERENCE: &str = include_str!("reference-5.5.0.properties");

    #[test]
    fn every_key_of_the_reference_is_known_with_its_default() {
        let settings = Settings::default();
        let ours = settings.pairs();
        let mut differing = Vec::new();
        for line in REFERENCE.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line
                .split_once('=')
                .map_or((line, None), |(key, value)| (key, Some(value)));
            match ours.get(key) {
                None => differing.push(format!("{key} is missing")),
                Some(our) if value.is_some_and(|value| value != our) => {
                    differing.push(format!("{line}, ours {our}"))
                }
                Some(_) => {}
            }
        }
        assert_eq!(differing, Vec::<String>::new());
    }

    #[test]
    fn one_file_sets_keys_of_every_struct() {
        let Loaded { settings, warnings } = load(
            "brokerName = broker-a\nlistenPort=10811\nflushDiskType=SYNC_FLUSH\nconnectTimeoutMillis=1000\nbrokerIP1=127.0.0.1\n",
        )
        .unwrap();
        assert_eq!(settings.broker.broker_name, "broker-a");
        assert_eq!(settings.client.connect_timeout_millis, 1000);
        assert!(settings.store.is_sync_flush());
        assert_eq!(settings.store.ha_listen_port, 10812);
        assert_eq!(
            settings.identity().unwrap().store_host.to_string(),
            "127.0.0.1:10811"
        );
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn an_unknown_key_is_kept_and_the_one_it_resembles_is_named() {
        let Loaded { settings, warnings } =
            load("mapedFileSizeCommitLog=1024\nteamOwner=x\nclusterName=c\n").unwrap();
        assert_eq!(settings.pairs()["teamOwner"], "x");
        assert_eq!(settings.store.mapped_file_size_commit_log, 1024 * 1024 * 1024);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].contains("broker.conf")
                && warnings[0].ends_with("did you mean `mappedFileSizeCommitLog`?")
        );
        assert!(warnings[1].contains("`teamOwner`") && !warnings[1].contains("did you mean"));
    }

    #[test]
    fn a_value_that_cannot_be_read_names_file_key_and_remedy() {
        let message = error("fileReservedTime=three days\n");
        for part in [
            "broker.conf",
            "`fileReservedTime`",
            "`three days`",
            "default `72`",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!(error("listenPort=109110\n").contains("0 to 65535"));
        assert!(error("mappedFileSizeCommitLog=-1\n").contains("not negative"));
        assert!(error("maxConnectionBufferBytes=1024\n").contains("64 MiB"));
        assert!(error("autoCreateTopicEnable=yes\n").contains("true or false"));
        assert!(error("flushDiskType=FAST\n").contains("SYNC_FLUSH or ASYNC_FLUSH"));
    }

    #[test]
    fn dangerous_and_missing_modes_are_refused_before_the_start() {
        let cases = [
            ("brokerRole=SLAVE\n", "brokerId must be > 0"),
            ("brokerRole=SLAVE\nbrokerId=1\n", "replication is not built yet"),
            (
                "brokerRole=SYNC_MASTER\ninSyncReplicas=2\n",
                "inSyncReplicas=2 is refused",
            ),
            ("enableControllerMode=true\n", "controller is not built"),
            ("enableDLegerCommitLog=true\n", "no DLedger log"),
            ("storeType=defaultRocksDB\n", "only the file store"),
            (
                "enableConsumeQueueExt=true\n",
                "hold addresses in place of tags codes",
            ),
            ("maxErrorRateOfBloomFilter=100\n", "per cent, 1 to 99"),
            ("expectConsumerNumUseFilter=0\n", "greater than 0"),
            ("popConsumerKVServiceEnable=true\n", "there is no RocksDB here"),
            ("popConsumerKVServiceInit=true\n", "there is no RocksDB here"),
            ("messageStorePlugIn=a.b.C\n", "plug-ins"),
            ("aclEnable=true\n", "access control"),
            ("authenticationEnabled=true\n", "access control"),
            ("listenPort=2\n", "from 3 to 65534"),
            ("namesrvAddr=a:1;b\n", "`b` is not host:port"),
            ("mappedFileSizeCommitLog=100\n", "at least 4096 bytes"),
            ("mappedFileSizeConsumeQueue=0\n", "at least 20 bytes"),
            ("deleteWhen=25\n", "hours of the day"),
            ("fileReservedTime=0\n", "delete everything"),
            ("brokerPermission=8\n", "brokerPermission=8 is refused"),
            ("defaultTopicQueueNums=0\n", "greater than 0"),
            ("metricsExporterType=OTLP_GRPC\n", "not pushed over OTLP"),
            ("metricsExporterType=LOG\n", "not written to the log"),
            (
                "metricsExporterType=PROM\nmetricsPromExporterPort=0\n",
                "metricsPromExporterPort=0 is refused",
            ),
            (
                "metricsExporterType=PROM\nmetricsPromExporterPort=10909\n",
                "the fast port",
            ),
            (
                "metricsExporterType=PROM\nmetricsPromExporterHost=no such host\n",
                "metricsPromExporterHost=no such host is refused",
            ),
            ("brokerName=a/b\n", "illegal characters"),
            ("brokerIP1=no such host\n", "brokerIP1=no such host is refused"),
        ];
        for (text, expected) in cases {
            let message = error(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn harmless_keys_without_effect_are_warned_about() {
        let warnings = load("transientStorePoolEnable=true\nbrokerId=3\n")
            .unwrap()
            .warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("transientStorePoolEnable has no effect"));
        assert!(warnings[1].starts_with("brokerId is taken as 0 instead of 3"));
    }

    #[test]
    fn a_missing_file_is_named_and_the_command_line_counts_before_the_file() {
        let missing = Settings::load(Some(Path::new("/no/such/broker.conf")), None).unwrap_err();
        assert!(missing.to_string().contains("/no/such/broker.conf"));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broker.conf");
        fs::write(&path, "namesrvAddr=a:1\n").unwrap();
        let loaded = Settings::load(Some(&path), Some("b:2;c:3")).unwrap();
        assert_eq!(
            namesrv_addresses(&loaded.settings.broker.namesrv_addr),
            ["b:2", "c:3"]
        );
        assert_eq!(
            loaded.settings.broker.broker_config_path,
            path.display().to_string()
        );
    }

    #[test]
    fn every_important_key_exists() {
        assert_eq!(Settings::default().important_pairs().len(), IMPORTANT_KEYS.len());
    }
}
