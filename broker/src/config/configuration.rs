//! Configuration: the settings of a running broker, which admin requests read and change.
//!
//! ```text
//!   chosen     what the operator wants: shown by GET_BROKER_CONFIG, written to the file, used by the next start
//!   Live<..>   what the running broker follows: the chosen values of `live` keys, the others as they were at start
//! ```
//!
//! A change is taken whole or not at all: known keys, none of the black list, values that can be read and that a start
//! would accept. Only then it is written, and only when it is written it takes effect. Reference: `Configuration`,
//! which skips unknown keys and unreadable
//! values without a word, and writes every key, defaults included.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use common::clock::Clock;
use common::properties::{Live, format_properties, nearest_key};
use common::small_file;
use remoting::body::DataVersion;
use store::config::MessageStoreConfig;
use thiserror::Error;

use super::{BrokerConfig, ConfigError, NettyClientConfig, NettyServerConfig, Settings, host};

/// Keys that have no value until they are given one: not shown before. The paths among them follow from others.
const UNSET_BY_DEFAULT: [&str; 11] = [
    "brokerConfigPath",
    "dLegerGroup",
    "dLegerPeers",
    "dLegerSelfId",
    "haMasterAddress",
    "preferredLeaderId",
    "readOnlyCommitLogStorePaths",
    "storePathBrokerIdentity",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "storePathEpochFile",
];

/// Why a change of the running configuration is refused.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// The key may change only by editing the file. The words are the reference's.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// Neither a struct nor the file has the key.
    #[error("the broker does not know the key `{key}`{}", hint(.nearest))]
    Unknown {
        /// The key.
        key: String,
        /// A known key that resembles it.
        nearest: Option<&'static str>,
    },
    /// A value that a start would refuse.
    #[error(transparent)]
    Value(#[from] ConfigError),
    /// The file cannot be written; nothing changed.
    #[error("cannot write {path}: {cause}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// What an accepted change did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Keys whose value differs from before.
    pub changed: Vec<String>,
    /// Those of them that wait for the next start.
    pub after_restart: Vec<String>,
}

/// The settings of a running broker.
#[derive(Debug)]
pub struct Configuration {
    /// What the broker follows.
    pub broker: Arc<Live<BrokerConfig>>,
    /// What the listening side follows.
    pub server: Arc<Live<NettyServerConfig>>,
    /// What the calling side follows.
    pub client: Arc<Live<NettyClientConfig>>,
    /// What the store follows.
    pub store: Arc<Live<MessageStoreConfig>>,
    /// Held over a whole update, so that updates follow one another, in memory as in the file.
    chosen: Mutex<Chosen>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Chosen {
    settings: Settings,
    version: DataVersion,
}

impl Configuration {
    /// Starts from settled settings. Changes are written to `file`, without one to
    /// `store/config/broker.properties` in the home directory.
    pub fn new(settings: Settings, file: Option<&Path>, clock: Arc<dyn Clock>) -> Self {
        let fallback = || Path::new(&host::environment("HOME")).join("store/config/broker.properties");
        Self {
            broker: Arc::new(Live::new(settings.broker.clone())),
            server: Arc::new(Live::new(settings.server.clone())),
            client: Arc::new(Live::new(settings.client.clone())),
            store: Arc::new(Live::new(settings.store.clone())),
            chosen: Mutex::new(Chosen {
                settings,
                version: DataVersion {
                    timestamp: clock.wall_ms(),
                    ..Default::default()
                },
            }),
            path: file.map_or_else(fallback, Path::to_owned),
            clock,
        }
    }

    /// Every key with its chosen value as properties text, keys sorted, and the version of the whole.
    pub fn text(&self) -> (String, DataVersion) {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pairs = chosen.settings.pairs();
        pairs.retain(|key, _| !UNSET_BY_DEFAULT.contains(key) || chosen.settings.given.contains(*key));
        (text_of(&pairs), chosen.version)
    }

    /// Takes a change of some keys, or refuses it whole.
    pub fn update(&self, changes: &[(String, String)]) -> Result<Updated, UpdateError> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = chosen.settings.clone();
        for (key, value) in changes {
            change(&mut next, key, value)?;
            next.given.insert(key.clone());
        }
        next.settle()?;
        let updated = difference(&chosen.settings, &next);
        self.persist(&next)?;
        self.follow(changes);
        chosen.settings = next;
        chosen.version.next(self.clock.wall_ms());
        Ok(updated)
    }

    fn persist(&self, settings: &Settings) -> Result<(), UpdateError> {
        small_file::replace(&self.path, text_of(&settings.given_pairs()).as_bytes()).map_err(|cause| {
            UpdateError::Unwritable {
                path: self.path.clone(),
                cause,
            }
        })
    }

    /// Lets the running broker see the new values of live keys.
    fn follow(&self, changes: &[(String, String)]) {
        let live: Vec<&(String, String)> = changes.iter().filter(|(key, _)| is_live(key)).collect();
        if live.is_empty() {
            return;
        }
        // Each value was read by `change` before, so none can fail here.
        self.broker
            .update(|config| live.iter().for_each(|(key, value)| drop(config.set(key, value))));
        self.server
            .update(|config| live.iter().for_each(|(key, value)| drop(config.set(key, value))));
        self.client
            .update(|config| live.iter().for_each(|(key, value)| drop(config.set(key, value))));
        self.store
            .update(|config| live.iter().for_each(|(key, value)| drop(config.set(key, value))));
    }
}

fn text_of(pairs: &BTreeMap<&str, String>) -> String {
    format_properties(&pairs.iter().collect::<Vec<_>>())
}

fn change(settings: &mut Settings, key: &str, value: &str) -> Result<(), UpdateError> {
    if settings
        .broker
        .config_black_list
        .split(';')
        .any(|listed| listed.trim() == key)
    {
        return Err(UpdateError::BlackListed);
    }
    if settings.set("update", key, value)? {
        return Ok(());
    }
    match settings.unknown.get_mut(key) {
        Some(known) => *known = value.to_owned(),
        None => {
            let nearest = nearest_key(key, Settings::keys().map(|known| known.name));
            return Err(UpdateError::Unknown {
                key: key.to_owned(),
                nearest,
            });
        }
    }
    Ok(())
}

fn difference(before: &Settings, after: &Settings) -> Updated {
    let before: BTreeMap<&str, String> = before.pairs();
    let changed: Vec<String> = after
        .pairs()
        .into_iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, _)| key.to_owned())
        .collect();
    let after_restart = changed
        .iter()
        .filter(|key| waits_for_restart(key))
        .cloned()
        .collect();
    Updated {
        changed,
        after_restart,
    }
}

fn is_live(key: &str) -> bool {
    Settings::keys().any(|known| known.name == key && known.live)
}

/// Keys without a struct wait for nothing: nobody reads them.
fn waits_for_restart(key: &str) -> bool {
    Settings::keys().any(|known| known.name == key && !known.live)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::clock::ManualClock;
    use common::properties::parse_properties;

    use super::*;

    struct Running {
        directory: tempfile::TempDir,
        configuration: Configuration,
    }

    impl Running {
        fn new(file: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("broker.conf");
            fs::write(&path, file).unwrap();
            let settings = Settings::load(Some(&path), None).unwrap().settings;
            let configuration = Configuration::new(settings, Some(&path), Arc::new(ManualClock::new(7)));
            Self {
                directory,
                configuration,
            }
        }

        fn update(&self, key: &str, value: &str) -> Result<Updated, UpdateError> {
            self.configuration.update(&[(key.to_owned(), value.to_owned())])
        }

        fn shown(&self, key: &str) -> String {
            self.pairs_of(&self.configuration.text().0)[key].clone()
        }

        fn pairs_of(&self, text: &str) -> BTreeMap<String, String> {
            parse_properties(text).into_iter().collect()
        }

        fn file(&self, name: &str) -> String {
            fs::read_to_string(self.directory.path().join(name)).unwrap()
        }
    }

    #[test]
    fn a_live_key_is_followed_shown_and_written_with_the_old_file_beside() {
        let running = Running::new("brokerName=a\nmine=1\n");
        let updated = running.update("brokerPermission", "4").unwrap();
        assert_eq!(
            updated,
            Updated {
                changed: vec!["brokerPermission".into()],
                after_restart: vec![]
            }
        );
        assert_eq!(running.configuration.broker.get().broker_permission, 4);
        assert_eq!(running.shown("brokerPermission"), "4");
        assert_eq!(
            running.configuration.text().1,
            DataVersion {
                counter: 1,
                state_version: 0,
                timestamp: 7
            }
        );
        let written = running.pairs_of(&running.file("broker.conf"));
        assert_eq!(
            (written["brokerPermission"].as_str(), written["mine"].as_str()),
            ("4", "1")
        );
        assert_eq!(running.file("broker.conf.bak"), "brokerName=a\nmine=1\n");
    }

    #[test]
    fn a_restart_key_is_shown_and_written_and_the_running_broker_keeps_the_old_value() {
        let running = Running::new("listenPort=10911\n");
        let updated = running.update("mappedFileSizeCommitLog", "8192").unwrap();
        assert_eq!(updated.after_restart, ["mappedFileSizeCommitLog"]);
        assert_eq!(
            running.configuration.store.get().mapped_file_size_commit_log,
            1024 * 1024 * 1024
        );
        assert_eq!(running.shown("mappedFileSizeCommitLog"), "8192");
        let restarted = Settings::load(Some(&running.directory.path().join("broker.conf")), None).unwrap();
        assert_eq!(restarted.settings.store.mapped_file_size_commit_log, 8192);
    }

    #[test]
    fn the_file_holds_what_was_given_and_no_defaults() {
        let running = Running::new("# mine\nlistenPort=20911\n");
        running.update("brokerPermission", "4").unwrap();
        assert_eq!(
            running.file("broker.conf"),
            "brokerPermission=4\nlistenPort=20911\n"
        );
        assert_eq!(running.shown("haListenPort"), "20912");
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let running = Running::new("brokerName=a\n");
        let before = running.configuration.text();
        let refusals = [
            running.configuration.update(&[
                ("maxMessageSize".to_owned(), "1024".to_owned()),
                ("brokerPermision".to_owned(), "4".to_owned()),
            ]),
            running.update("maxMessageSize", "big"),
            running.update("brokerPermission", "9"),
            running.update("brokerRole", "SLAVE"),
            running.update("configBlackList", ""),
        ]
        .map(|refusal| refusal.unwrap_err().to_string());
        assert_eq!(
            refusals[0],
            "the broker does not know the key `brokerPermision`; did you mean `brokerPermission`?"
        );
        assert!(refusals[1].contains("cannot be `big`"));
        assert!(refusals[2].contains("brokerPermission=9 is refused"));
        assert!(refusals[3].contains("brokerRole=SLAVE is refused"));
        assert_eq!(refusals[4], "Can not update config in black list.");
        assert_eq!(running.configuration.text(), before);
        assert_eq!(running.file("broker.conf"), "brokerName=a\n");
    }

    #[test]
    fn a_key_of_the_file_that_no_struct_has_may_be_changed() {
        let running = Running::new("mine=1\n");
        assert_eq!(running.update("mine", "2").unwrap().changed, ["mine"]);
        assert_eq!(running.shown("mine"), "2");
    }

    #[test]
    fn a_file_that_cannot_be_written_refuses_the_change() {
        let running = Running::new("brokerName=a\n");
        // Where the new text is written first.
        fs::create_dir(running.directory.path().join("broker.conf.tmp")).unwrap();
        assert!(matches!(
            running.update("brokerPermission", "4"),
            Err(UpdateError::Unwritable { .. })
        ));
        assert_eq!(running.configuration.broker.get().broker_permission, 6);
    }
}
