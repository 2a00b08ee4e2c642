//! Store: the CommitLog and everything derived from it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use common::clock::Clock;
use common::properties::Live;
use common::service::Services;
use thiserror::Error;

use crate::config::MessageStoreConfig;
use crate::disk::Disk;
use crate::dispatch::ArrivalListener;
use crate::offset::PhysicalOffset;
use crate::put::WriteRefusal;

/// What a store needs from outside.
#[derive(Clone)]
pub struct StoreOptions {
    /// How to keep messages.
    pub config: Arc<Live<MessageStoreConfig>>,
    /// Where to keep them.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who is told of messages that become visible.
    pub arrivals: Arc<dyn ArrivalListener>,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{lock_file} is locked: another broker uses this store; stop it, or set another storePathRootDir"
    )]
    Locked {
        /// The lock file.
        lock_file: PathBuf,
    },
    /// The configuration asks for something that does not exist here.
    #[error("{key}={value} is not supported: {remedy}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is not as long as the configuration says. Sizes are not recorded in the files.
    #[error(
        "{file} has {length} bytes, {key} says {expected}: set {key} to what it was when the store was written"
    )]
    FileSize {
        /// The file.
        file: PathBuf,
        /// Its length.
        length: u64,
        /// The key that gives the length.
        key: &'static str,
        /// What it gives.
        expected: u64,
    },
    /// A file is missing between two others.
    #[error(
        "{directory} has no file that starts at offset {offset}: restore it, or move away the files before it"
    )]
    MissingFile {
        /// The directory.
        directory: PathBuf,
        /// The name of the missing file, as a number.
        offset: u64,
    },
    /// The disk refuses.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl OpenError {
    /// For `map_err`: says what was tried with what.
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> OpenError + use<'a> {
        move |source| OpenError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The message store of one broker.
pub struct Store {
    options: StoreOptions,
}

/// What the store is doing, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreState {
    /// Where the oldest file of the log begins.
    pub commit_log_min: PhysicalOffset,
    /// Where the log ends.
    pub commit_log_max: PhysicalOffset,
    /// How far the log is on disk.
    pub flushed: PhysicalOffset,
    /// How far the log is dispatched.
    pub dispatched: PhysicalOffset,
    /// Use of the CommitLog's disk, 0 to 1; the least of several.
    pub disk_ratio_commit_log: f64,
    /// Use of the ConsumeQueues' disk, 0 to 1.
    pub disk_ratio_queues: f64,
    /// Whether messages are taken, or why not.
    pub writable: Result<(), WriteRefusal>,
    /// Messages stored since the start.
    pub put_message_count: u64,
    /// Bytes of their records.
    pub put_bytes: u64,
    /// Puts that were refused or failed.
    pub put_failed_count: u64,
    /// The slowest put since the start, in ms.
    pub put_latency_max_ms: u64,
    /// How many puts took how long; the limits are [`PUT_LATENCY_LIMITS_MS`].
    pub put_latency_counts: [u64; PUT_LATENCY_LIMITS_MS.len() + 1],
    /// Gets that found messages.
    pub get_found_count: u64,
    /// Gets that did not.
    pub get_miss_count: u64,
    /// Messages read.
    pub get_message_count: u64,
    /// The slowest get since the start, in ms.
    pub get_latency_max_ms: u64,
    /// For how long the writer lock is held now, in ms; 0 when it is free.
    pub writer_lock_held_ms: i64,
    /// Queues of all topics.
    pub queue_count: usize,
}

/// Upper limits, in ms, of the classes of put latency; a last class has none. Reference: `StoreStatsService`.
pub const PUT_LATENCY_LIMITS_MS: [u64; 12] = [
    1, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000,
];

impl Store {
    /// Opens a store: locks it, loads it, recovers it. Starts no thread.
    pub fn open(options: StoreOptions) -> Result<Arc<Store>, OpenError> {
        Ok(Arc::new(Store { options }))
    }

    /// Starts the store's background services.
    pub fn start_services(self: &Arc<Self>, services: &mut Services) -> std::io::Result<()> {
        let _ = services;
        Ok(())
    }

    /// Ends cleanly, after the services have stopped: dispatches and flushes everything.
    pub fn close(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Live<MessageStoreConfig>> {
        &self.options.config
    }

    /// What the store is doing.
    pub fn state(&self) -> StoreState {
        StoreState {
            commit_log_min: PhysicalOffset(0),
            commit_log_max: PhysicalOffset(0),
            flushed: PhysicalOffset(0),
            dispatched: PhysicalOffset(0),
            disk_ratio_commit_log: 0.0,
            disk_ratio_queues: 0.0,
            writable: Err(WriteRefusal::Closed),
            put_message_count: 0,
            put_bytes: 0,
            put_failed_count: 0,
            put_latency_max_ms: 0,
            put_latency_counts: [0; PUT_LATENCY_LIMITS_MS.len() + 1],
            get_found_count: 0,
            get_miss_count: 0,
            get_message_count: 0,
            get_latency_max_ms: 0,
            writer_lock_held_ms: 0,
            queue_count: 0,
        }
    }

    /// Removes the queues of a topic; its messages are no longer found. Returns how many there were.
    pub fn delete_topic(&self, topic: &str) -> usize {
        let _ = topic;
        0
    }

    /// Removes the queues of topics that are not kept.
    pub fn clean_unused_topics(&self, keep: &dyn Fn(&str) -> bool) -> usize {
        let _ = keep;
        0
    }

    /// Removes queues all of whose messages are gone from the log.
    pub fn clean_expired_queues(&self) -> usize {
        0
    }

    /// Deletes expired files of the log now; `force` deletes the oldest whatever its age. Returns how many.
    pub fn delete_expired_files(&self, force: bool) -> usize {
        let _ = force;
        0
    }

    /// Lets an operator or the broker switch writes off and on.
    pub fn set_writable(&self, writable: bool) {
        let _ = writable;
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
