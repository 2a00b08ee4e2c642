//! Store: the CommitLog and everything derived from it.
//!
//! ```text
//!   open: lock file -> files of the log -> queues, index -> recovery -> abort file
//!   run:  put, get, query from any thread; services tick (`services.rs`)
//!   close: dispatch the rest -> flush all -> checkpoint -> note of the queues -> remove the abort file -> release the lock
//! ```
//!
//! A store that is dropped without `close` is a store that crashed: its abort file stays.
//!
//! Locks, in the order in which they may be taken; most are leaves:
//! the allocator's, then the writer's; the follower's (`Dispatching`), then a queue's or the index's.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use common::clock::Clock;
use common::properties::Live;
use common::service::Next;
use thiserror::Error;

use crate::allocate::Allocator;
use crate::checkpoint::{Checkpoint, CheckpointField};
use crate::commit_log::CommitLog;
use crate::config::{BrokerRole, MessageStoreConfig};
use crate::consume_queue::Stopped;
use crate::disk::{Disk, DiskLock};
use crate::dispatch::{ArrivalListener, Derived, Dispatching};
use crate::flush::Flushing;
use crate::mapped_file_queue::{MappedFileQueue, QueueShape};
use crate::offset::PhysicalOffset;
use crate::put::WriteRefusal;
use crate::queue_offsets::QueueOffsets;
use crate::record::encode::RecordStyle;
use crate::recovery::{self, Damage, Outcome, Recovery};
use crate::retention::Retention;
use crate::services::Wakers;
use crate::stats::Stats;

pub use crate::stats::PUT_LATENCY_LIMITS_MS;

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
    pub(crate) options: StoreOptions,
    pub(crate) log: CommitLog,
    pub(crate) derived: Derived,
    pub(crate) offsets: QueueOffsets,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) allocator: Allocator,
    pub(crate) dispatching: Dispatching,
    pub(crate) flushing: Flushing,
    pub(crate) retention: Retention,
    pub(crate) stats: Stats,
    pub(crate) wakers: Wakers,
    /// Fixed at the start: all records of a log look alike.
    pub(crate) style: RecordStyle,
    damage: Vec<Damage>,
    /// Any reason below to take no messages: the only thing that a put looks at.
    refuses: AtomicBool,
    is_switched_off: AtomicBool,
    is_closed: AtomicBool,
    /// Held until the store is closed or dropped.
    lock: Mutex<Option<Box<dyn DiskLock>>>,
    memory_bytes: OnceLock<u64>,
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

impl Store {
    /// Opens a store: locks it, loads it, recovers it. Starts no thread.
    pub fn open(options: StoreOptions) -> Result<Arc<Store>, OpenError> {
        let config = Arc::clone(&options.config.get());
        require_supported(&config)?;
        let root = config.root();
        let disk = &options.disk;
        disk.create_dir_all(&root)
            .map_err(OpenError::io("create", &root))?;
        let lock = take_lock(&options, &config)?;

        let is_clean = !recovery::has_abort(&**disk, &root)
            .map_err(OpenError::io("look for an abort file in", &root))?;
        let checkpoint_path = root.join("checkpoint");
        let checkpoint =
            Checkpoint::open(&**disk, &checkpoint_path).map_err(OpenError::io("open", &checkpoint_path))?;
        let (queue, files) = MappedFileQueue::load(QueueShape {
            directories: config.commit_log_paths(),
            read_only: config.read_only_commit_log_paths(),
            file_size: config.mapped_file_size_commit_log,
            size_key: "mappedFileSizeCommitLog",
            disk,
        })?;
        let crashed = (!is_clean).then(|| recovery::index_on_disk(&checkpoint));
        let stopped = match is_clean {
            true => Stopped::Cleanly,
            false => Stopped::ByCrash {
                on_disk_below: checkpoint.get(CheckpointField::LogicsPhysicalOffset),
            },
        };
        let log_file = files.last().map(|file| file.path().to_owned());
        let log_file = log_file.as_deref();
        let mut derived = Derived::load(&config, disk, &options.clock, stopped, crashed, log_file)?;
        let recovery = |files, derived: &Derived| {
            let recovery = Recovery {
                config: &config,
                disk: &**disk,
                checkpoint: &checkpoint,
                derived,
                files,
                is_clean,
            };
            recovery.run()
        };
        let recovered = match recovery(files, &derived)? {
            Outcome::Recovered(recovered) => recovered,
            Outcome::ContradictsNote(files) => {
                derived.look_into_queues(&config, disk, stopped)?;
                match recovery(files, &derived)? {
                    Outcome::Recovered(recovered) => recovered,
                    Outcome::ContradictsNote(_) => unreachable!("the queues' files were looked into"),
                }
            }
        };
        let note = derived.queues.note();
        note.prepare()
            .map_err(OpenError::io("make a directory in", &root))?;
        recovery::write_abort(&**disk, &root).map_err(OpenError::io("write the abort file in", &root))?;
        note.vouch_while_running()
            .map_err(OpenError::io("vouch for the note of the queues in", &root))?;
        if recovered.files.is_empty() {
            // Else there is none before everything was flushed once: with very many new queues that takes minutes.
            derived
                .queues
                .write_note(None, 0)
                .map_err(OpenError::io("note that there are no queues in", &root))?;
        }

        queue.publish(recovered.files);
        let last_store_timestamp_ms = recovered.last.map_or(0, |(_, time_ms)| time_ms);
        let store = Arc::new(Store {
            log: CommitLog::new(queue, recovered.end, last_store_timestamp_ms),
            dispatching: Dispatching::new(recovered.end, recovered.last),
            derived,
            offsets: QueueOffsets::default(),
            checkpoint,
            allocator: Allocator::default(),
            flushing: Flushing::default(),
            retention: Retention::default(),
            stats: Stats::default(),
            wakers: Wakers::default(),
            style: RecordStyle {
                version_by_topic_length: config.auto_message_version_on_topic_len,
                append_property_crc: config.enabled_append_prop_crc,
            },
            damage: recovered.damage,
            refuses: AtomicBool::new(false),
            is_switched_off: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
            memory_bytes: OnceLock::new(),
            options,
        });
        // The log is settled: from now on entries wait for it.
        store
            .extend_queues_reach()
            .map_err(OpenError::io("write the checkpoint in", &root))?;
        store.look_at_disks(&config);
        Ok(store)
    }

    /// Ends cleanly, after the services have stopped: dispatches and flushes everything, and notes that it did. If any of
    /// that fails, the next start recovers as after a crash.
    pub fn close(&self) -> anyhow::Result<()> {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.note_refusal();
        let finished = self.finish();
        self.close_waiters();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        finished
    }

    fn finish(&self) -> anyhow::Result<()> {
        let now = self.options.clock.now();
        // With synchronous flush only what is flushed is dispatched.
        self.flush_log(now)?;
        while self.dispatch_tick()? == Next::Again {}
        self.flush_derived().context("flush queues and index")?;
        self.checkpoint.persist().context("write the checkpoint")?;
        self.remove_spare().context("remove the spare file of the log")?;
        let files = self.log.files();
        let log_file = files.find(self.log.end()).or(files.iter().last());
        let log_file = log_file.map(|file| file.path().to_owned());
        let last_record = self.dispatching.last().map(|(position, _)| position);
        let reach = self.checkpoint.get(CheckpointField::QueuesReach);
        let noted = self.derived.queues.write_note(last_record, reach);
        recovery::remove_abort(&self.options.disk, &self.options.config.get().root())
            .context("remove the abort file")?;
        // Last: it vouches for everything before. The stop is clean without it, the next start only takes longer.
        let vouched = noted.and_then(|()| self.derived.queues.note().vouch_for_a_stop(log_file.as_deref()));
        if let Err(error) = vouched {
            tracing::warn!("the next start will look into all queues: {error}");
        }
        Ok(())
    }

    /// The file after the one being written holds nothing yet.
    fn remove_spare(&self) -> std::io::Result<()> {
        let Ok(mut writer) = self.log.lock_writer() else {
            return Ok(());
        };
        if let Some(spare) = writer.spare().cloned() {
            self.options.disk.remove_file(spare.path())?;
            writer.set_spare(None);
        }
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Live<MessageStoreConfig>> {
        &self.options.config
    }

    /// The parts of the log that recovery found damaged.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What the store is doing.
    pub fn state(&self) -> StoreState {
        let (log_percent, queues_percent) = self.look_at_disks(&self.options.config.get());
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        StoreState {
            commit_log_min: PhysicalOffset(self.log.min_offset()),
            commit_log_max: PhysicalOffset(self.log.end()),
            flushed: PhysicalOffset(self.log.flushed()),
            dispatched: PhysicalOffset(self.dispatching.position()),
            disk_ratio_commit_log: f64::from(log_percent) / 100.0,
            disk_ratio_queues: f64::from(queues_percent) / 100.0,
            writable: self.writable(),
            put_message_count: count(&self.stats.put_message_count),
            put_bytes: count(&self.stats.put_bytes),
            put_failed_count: count(&self.stats.put_failed_count),
            put_latency_max_ms: count(&self.stats.put_latency_max_ms),
            put_latency_counts: std::array::from_fn(|class| count(&self.stats.put_latency_counts[class])),
            get_found_count: count(&self.stats.get_found_count),
            get_miss_count: count(&self.stats.get_miss_count),
            get_message_count: count(&self.stats.get_message_count),
            get_latency_max_ms: count(&self.stats.get_latency_max_ms),
            writer_lock_held_ms: self.writer_lock_held_ms(),
            queue_count: self.derived.queues.len(),
        }
    }

    /// For how long the writer lock is held now, in ms; 0 when it is free.
    pub fn writer_lock_held_ms(&self) -> i64 {
        self.log.locked_for_ms(self.options.clock.wall_ms())
    }

    /// How many topics have queues.
    pub fn topic_count(&self) -> usize {
        self.derived.queues.topics().len()
    }

    /// Whether the kernel reads the log's present files ahead. Reference: `CommitLog.scanFileAndSetReadMode`.
    pub fn set_read_ahead(&self, reads_ahead: bool) -> std::io::Result<()> {
        let files = self.log.files();
        files
            .iter()
            .try_for_each(|file| file.expect_reads_in_order(reads_ahead))
    }

    /// How far the log is on the disk.
    pub fn flushed(&self) -> PhysicalOffset {
        PhysicalOffset(self.log.flushed())
    }

    /// How far the log is dispatched: the messages before are visible in their queues.
    pub fn dispatched(&self) -> PhysicalOffset {
        PhysicalOffset(self.dispatching.position())
    }

    /// Lets an operator or the broker switch writes off and on.
    pub fn set_writable(&self, writable: bool) {
        self.is_switched_off.store(!writable, Ordering::Release);
        self.note_refusal();
    }

    /// Whether messages are taken, or why not.
    pub fn writable(&self) -> Result<(), WriteRefusal> {
        let refusal = if self.is_closed.load(Ordering::Acquire) {
            Some(WriteRefusal::Closed)
        } else if let Some(failure) = self.log.failure() {
            Some(WriteRefusal::LogFailed(failure.to_owned()))
        } else if self.options.config.get().broker_role == BrokerRole::Slave {
            Some(WriteRefusal::Slave)
        } else if self.is_switched_off.load(Ordering::Acquire) {
            Some(WriteRefusal::SwitchedOff)
        } else {
            self.disk_full()
        };
        refusal.map_or(Ok(()), Err)
    }

    /// Whether a put has to ask [`Store::writable`].
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Acquire)
    }

    /// To be called when a reason to refuse came or went.
    pub(crate) fn note_refusal(&self) {
        let refuses = self.is_closed.load(Ordering::Acquire)
            || self.is_switched_off.load(Ordering::Acquire)
            || self.disk_full().is_some();
        self.refuses.store(refuses, Ordering::Release);
    }

    /// Memory of the host, in bytes; what is nearer to the log's end than a part of it counts as in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        *self.memory_bytes.get_or_init(|| {
            let info = rustix::system::sysinfo();
            info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)))
        })
    }

    pub(crate) fn allocate_tick(&self) -> anyhow::Result<Next> {
        self.allocator
            .grow_ahead(&self.log)
            .context("make room in the commit log")
    }
}

fn require_supported(config: &MessageStoreConfig) -> Result<(), OpenError> {
    let unsupported = |key, value: &dyn fmt::Display, remedy| {
        Err(OpenError::Unsupported {
            key,
            value: value.to_string(),
            remedy,
        })
    };
    if config.store_type != "default" {
        return unsupported("storeType", &config.store_type, "set it to default");
    }
    if config.enable_dleger_commit_log {
        return unsupported("enableDLegerCommitLog", &true, "set it to false");
    }
    if config.timer_rocksdb_enable {
        return unsupported("timerRocksDBEnable", &true, "set it to false");
    }
    let file_size = config.mapped_file_size_commit_log;
    if !(4096..=i32::MAX.unsigned_abs() as usize).contains(&file_size) {
        return unsupported(
            "mappedFileSizeCommitLog",
            &file_size,
            "set it between 4096 and 2147483647",
        );
    }
    Ok(())
}

fn take_lock(options: &StoreOptions, config: &MessageStoreConfig) -> Result<Box<dyn DiskLock>, OpenError> {
    let lock_file = config.root().join("lock");
    let lock = options
        .disk
        .lock(&lock_file)
        .map_err(OpenError::io("lock", &lock_file))?;
    lock.ok_or(OpenError::Locked { lock_file })
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("log_end", &self.log.end())
            .field("dispatched", &self.dispatching.position())
            .finish_non_exhaustive()
    }
}
