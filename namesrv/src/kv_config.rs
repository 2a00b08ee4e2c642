//! KvConfig: namespaces of keys and values that administrators keep in the NameServer.
//!
//! The file is the reference's, `{"configTable":{namespace:{key:value}}}`. A change is on disk before it can
//! be read and before it is answered. The best known namespace holds the order of queues across brokers,
//! `ORDER_TOPIC_CONFIG`, which brokers get with every registration.
//!
//! Locks: `writing` is held for the file, then `table` for the swap. Readers take `table` alone and never
//! wait for the disk.
//!
//! Reference: `KVConfigManager`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use common::small_file;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::info;

/// The longest file. The reference has no limit; but every change rewrites all of it, and the order configs
/// travel in the answer to every registration.
const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// The keys and values of each namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// See the [module](self).
#[derive(Debug)]
pub struct KvConfig {
    path: PathBuf,
    /// Holds the length of the file.
    writing: Mutex<usize>,
    table: RwLock<Namespaces>,
}

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum KvOpenError {
    /// It exists and cannot be read.
    #[error("read KV config {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a name server writes.
    #[error("KV config {path} is damaged: repair it, or move it away to start without its entries")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

/// A change that was not made.
#[derive(Debug, Error)]
pub enum KvChangeError {
    /// [`MAX_FILE_BYTES`] reached.
    #[error("KV config would grow to {size_bytes} bytes, the limit is {MAX_FILE_BYTES}")]
    TooLarge {
        /// How long it would be.
        size_bytes: usize,
    },
    /// The disk refused it.
    #[error("persist KV config {path}: {cause}")]
    Persist {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct KvConfigFile<'a> {
    config_table: Cow<'a, Namespaces>,
}

/// Reads what a file holds.
///
/// # Errors
/// When it is no JSON of the form above.
pub fn decode(text: &[u8]) -> serde_json::Result<Namespaces> {
    serde_json::from_slice(text).map(|file: KvConfigFile<'_>| file.config_table.into_owned())
}

/// What a file with this table holds.
pub fn encode(table: &Namespaces) -> String {
    let config_table = Cow::Borrowed(table);
    let file = KvConfigFile { config_table };
    serde_json::to_string(&file).expect("a map of strings is always JSON")
}

/// The file, or its backup when the file itself is missing or blank.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match small_file::read_if_any(path)? {
        None => small_file::read_if_any(&small_file::backup(path)),
        found => Ok(found),
    }
}

impl KvConfig {
    /// Loads the file; none yet means empty.
    ///
    /// # Errors
    /// When the file exists and cannot be read or understood: starting without it would lose its entries with
    /// the next change.
    pub fn open(path: &Path) -> Result<KvConfig, KvOpenError> {
        let text = read(path).map_err(|source| KvOpenError::Read {
            path: path.into(),
            source,
        })?;
        let file_bytes = text.as_ref().map_or(0, Vec::len);
        let table = match text {
            Some(text) => decode(&text).map_err(|source| KvOpenError::Damaged {
                path: path.into(),
                source,
            })?,
            None => Namespaces::default(),
        };
        Ok(KvConfig {
            path: path.into(),
            writing: Mutex::new(file_bytes),
            table: RwLock::new(table),
        })
    }

    /// The value of a key.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.read(|table| table.get(namespace)?.get(key).cloned())
    }

    /// All keys of a namespace; `None` when it was never used.
    pub fn namespace(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.read(|table| table.get(namespace).cloned())
    }

    /// Sets a key, durably.
    ///
    /// # Errors
    /// When a limit or the disk forbids it; nothing has changed then.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvChangeError> {
        info!(namespace, key, value, "KV config put");
        self.change(|table| {
            table
                .entry(namespace.to_owned())
                .or_default()
                .insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a key, durably. The namespace stays, as in the reference.
    ///
    /// # Errors
    /// When the disk refuses; nothing has changed then.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), KvChangeError> {
        info!(namespace, key, "KV config delete");
        self.change(|table| {
            if let Some(keys) = table.get_mut(namespace) {
                keys.remove(key);
            }
        })
    }

    fn change(&self, edit: impl FnOnce(&mut Namespaces)) -> Result<(), KvChangeError> {
        let mut file_bytes = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.read(Namespaces::clone);
        edit(&mut table);
        let text = encode(&table);
        let size_bytes = text.len();
        // A longer file can come from elsewhere; then it may still shrink.
        if size_bytes > MAX_FILE_BYTES && size_bytes > *file_bytes {
            return Err(KvChangeError::TooLarge { size_bytes });
        }
        small_file::replace(&self.path, text.as_bytes()).map_err(|cause| KvChangeError::Persist {
            path: self.path.clone(),
            cause,
        })?;
        *file_bytes = size_bytes;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    fn read<T>(&self, question: impl FnOnce(&Namespaces) -> T) -> T {
        // A table is only ever swapped for a whole one, so a panic elsewhere leaves nothing half done.
        question(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart_in_the_file_of_the_reference() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("namesrv/kvConfig.json");
        let kv = KvConfig::open(&path).unwrap();
        kv.put("ORDER_TOPIC_CONFIG", "TopicA", "broker-a:4").unwrap();
        kv.put("ns", "gone", "1").unwrap();
        kv.delete("ns", "gone").unwrap();
        kv.delete("never", "was").unwrap();

        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicA":"broker-a:4"},"ns":{}}}"#
        );
        let kv = KvConfig::open(&path).unwrap();
        assert_eq!(
            kv.get("ORDER_TOPIC_CONFIG", "TopicA").as_deref(),
            Some("broker-a:4")
        );
        assert_eq!(kv.get("ns", "gone"), None);
        assert_eq!(kv.namespace("ns"), Some(BTreeMap::new()));
        assert_eq!(kv.namespace("never"), None);
    }

    #[test]
    fn a_damaged_file_stops_the_start_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        std::fs::write(&path, r#"{"configTable":{"ns":"#).unwrap();

        let error = KvConfig::open(&path).unwrap_err().to_string();

        assert!(
            error.contains("kvConfig.json is damaged: repair it, or move it away"),
            "{error}"
        );
    }

    #[test]
    fn a_change_the_disk_refuses_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let kv = KvConfig::open(&directory.path().join("kvConfig.json")).unwrap();
        kv.put("ns", "key", "old").unwrap();
        // A directory where the new file would be written.
        std::fs::create_dir(directory.path().join("kvConfig.json.tmp")).unwrap();

        let error = kv.put("ns", "key", "new").unwrap_err();

        assert!(matches!(error, KvChangeError::Persist { .. }), "{error}");
        assert_eq!(kv.get("ns", "key").as_deref(), Some("old"));
    }

    #[test]
    fn a_file_grows_to_its_limit_and_can_always_shrink() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kvConfig.json");
        let over = format!(
            r#"{{"configTable":{{"ns":{{"big":"{}","small":""}}}}}}"#,
            "v".repeat(MAX_FILE_BYTES)
        );
        std::fs::write(&path, over).unwrap();
        let kv = KvConfig::open(&path).unwrap();

        assert!(matches!(
            kv.put("ns", "more", ""),
            Err(KvChangeError::TooLarge { .. })
        ));
        kv.delete("ns", "small").unwrap();
        kv.delete("ns", "big").unwrap();
        kv.put("ns", "more", "").unwrap();

        assert_eq!(kv.namespace("ns").unwrap().len(), 1);
    }
}
