//! Config files: how a table of the broker is loaded from its JSON file and written back.
//!
//! ```text
//!   write X:  X.tmp written and synced ── X renamed to X.bak ── X.tmp renamed to X ── directory synced
//!   load X:   X whole? use it.   missing or empty? X.bak.   damaged? kept aside as X.corrupt-<ms>, then X.bak.
//! ```
//!
//! A table that is large, or was written a moment ago, is not written for every change: the change is a line that is
//! appended to `X.changes` and synced, and X is written after a while. `X.changes` becomes `X.bak.changes` then: what made X
//! from X.bak, should X be damaged. A line says which version of the table it made, so that a later X is not changed back by
//! lines that were left behind.
//!
//! Invariants
//! - At every moment X or X.bak is whole, so a crash loses at most the last write.
//! - A write that fails leaves X and X.bak as they were, and is tried again.
//! - A damaged file never takes the place of a whole X.bak.
//!
//! Java brokers read these files and ours theirs. Reference: `ConfigManager`, which writes X in place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context;
use common::clock::{Clock, Now};
use common::service::{Next, Service, Waker};
use common::small_file::{self, HostFiles, SmallFiles};
use remoting::body::fastjson;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::order_log::OrderLog;

/// The least time between two writes of one file, so that a flood of changes costs a bounded number of them.
const MIN_GAP: Duration = Duration::from_millis(100);
/// And for each MiB that the last one wrote: of a core, writing takes about a hundredth.
const GAP_PER_MIB: Duration = Duration::from_secs(1);
/// When a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the service sleeps when no file has a period.
const IDLE: Duration = Duration::from_secs(3600);

/// Why a table is not on disk.
#[derive(Debug, Error)]
pub enum PersistError {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The table has no JSON form.
    #[error("encode {path}: {source}")]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// Why.
        source: fastjson::Error,
    },
    /// Something that must be on disk before this table is not.
    #[error("{path} must wait: {source}")]
    Prerequisite {
        /// The file that was not written.
        path: PathBuf,
        /// What stands in the way.
        source: anyhow::Error,
    },
}

/// Brings the log to the disk, for a table that must not be ahead of it there.
pub(super) type FlushLog = Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>;

/// A table that lives in a config file.
pub trait Table: Send + Sync {
    /// Its file.
    fn file(&self) -> &TableFile;

    /// Brings the file up to date, if it is not; returns when it is on disk.
    fn flush(&self) -> Result<(), PersistError>;

    /// Gets what has changed to the disk, in the file or beside it.
    fn secure(&self) -> Result<(), PersistError> {
        self.flush()
    }
}

/// The config file of one table: where it is, and whether it is up to date.
#[derive(Debug)]
pub struct TableFile {
    path: PathBuf,
    files: Arc<dyn SmallFiles>,
    clock: Arc<dyn Clock>,
    /// Changes of the table since it was opened.
    changes: AtomicU64,
    /// What is on disk. Held while writing: two writers must not mix their steps.
    written: Mutex<Written>,
    /// A change may be in no line: only the whole file makes up for it.
    needs_whole: AtomicBool,
    /// When the whole file may be written again, on the monotonic clock. Not in `written`: whoever changes the table asks, and
    /// must not wait for a write.
    whole_due_us: AtomicU64,
    /// The table comes from X.bak.
    is_from_backup: AtomicBool,
    waker: OnceLock<PersistWaker>,
}

/// What a table's files hold.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// How many of the changes the file holds.
    whole: u64,
    /// How many the file and the lines beside it hold.
    secured: u64,
    /// There is a file of lines.
    has_lines: bool,
}

/// Wakes the [`Persist`] service for a file that is to be written at once.
pub type PersistWaker = Waker;

/// Where the config files are.
#[derive(Clone, Debug)]
pub struct ConfigDirectory {
    path: PathBuf,
    files: Arc<dyn SmallFiles>,
    clock: Arc<dyn Clock>,
}

impl ConfigDirectory {
    /// The directory at `path` of these files. `clock` says how long a write is ago.
    pub fn new(path: impl Into<PathBuf>, files: Arc<dyn SmallFiles>, clock: Arc<dyn Clock>) -> Self {
        ConfigDirectory {
            path: path.into(),
            files,
            clock,
        }
    }

    /// The directory at `path` of the host.
    pub fn on_host(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self::new(path, Arc::new(HostFiles), clock)
    }

    /// The lines beside one of its files; nothing is read yet.
    pub(super) fn order_log(&self, name: &str) -> OrderLog {
        OrderLog::beside(self.path.join(name), Arc::clone(&self.files))
    }

    /// One of its files; nothing is read yet.
    pub fn file(&self, name: &str) -> TableFile {
        TableFile::new(
            self.path.join(name),
            Arc::clone(&self.files),
            Arc::clone(&self.clock),
        )
    }
}

impl std::fmt::Display for ConfigDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

impl TableFile {
    fn new(path: PathBuf, files: Arc<dyn SmallFiles>, clock: Arc<dyn Clock>) -> Self {
        TableFile {
            path,
            files,
            clock,
            changes: AtomicU64::new(0),
            written: Mutex::default(),
            needs_whole: AtomicBool::new(false),
            whole_due_us: AtomicU64::new(0),
            is_from_backup: AtomicBool::new(false),
            waker: OnceLock::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The table has changed. Cheap: the file is written by the [`Persist`] service. Returns the number of changes.
    pub fn mark_changed(&self) -> u64 {
        let changes = self.changes.fetch_add(1, Ordering::Release) + 1;
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        changes
    }

    /// Whether the table has changed since the file was written.
    pub fn is_behind(&self) -> bool {
        self.changes.load(Ordering::Acquire) != self.lock_written().whole
    }

    /// Whether a crash would lose a change now.
    pub fn is_insecure(&self) -> bool {
        let written = self.lock_written();
        self.changes.load(Ordering::Acquire) != written.secured
    }

    /// Whether the whole file has not been written for so long that another write costs little.
    pub fn is_whole_due(&self) -> bool {
        self.whole_due_in().is_zero()
    }

    fn whole_due_in(&self) -> Duration {
        Duration::from_micros(self.whole_due_us.load(Ordering::Relaxed))
            .saturating_sub(self.clock.monotonic())
    }

    /// A change will not be among the lines of [`TableFile::secure_with`]: only the whole file can hold it.
    pub fn need_whole(&self) {
        self.needs_whole.store(true, Ordering::Release);
    }

    /// Writes what `snapshot` returns, unless the file is up to date. The snapshot must hold every change that was
    /// marked before it was asked for; whoever takes it may forget the lines of what it holds.
    pub fn flush_with<T: Serialize>(
        &self,
        snapshot: impl FnOnce() -> Result<T, PersistError>,
    ) -> Result<(), PersistError> {
        let mut written = self.lock_written();
        // Read before the snapshot: a change in between is written now and once more later, never not at all.
        let changes = self.changes.load(Ordering::Acquire);
        if written.whole == changes {
            return Ok(());
        }
        self.needs_whole.store(false, Ordering::Release);
        let result = self.write_whole(snapshot, &mut written, changes);
        if result.is_err() {
            self.need_whole();
        }
        result
    }

    fn write_whole<T: Serialize>(
        &self,
        snapshot: impl FnOnce() -> Result<T, PersistError>,
        written: &mut Written,
        changes: u64,
    ) -> Result<(), PersistError> {
        let began = self.clock.monotonic();
        let text = fastjson::to_pretty(&snapshot()?).map_err(|source| PersistError::Encode {
            path: self.path.clone(),
            source,
        })?;
        small_file::replace_on(&*self.files, &self.path, &text)?;
        if written.has_lines {
            self.files.rename(&self.lines_path(), &self.backup_lines_path())?;
        }
        *written = Written {
            whole: changes,
            secured: changes,
            has_lines: false,
        };
        let whole_due_us = (began + whole_gap(text.len())).as_micros();
        let whole_due_us = u64::try_from(whole_due_us).unwrap_or(u64::MAX);
        self.whole_due_us.store(whole_due_us, Ordering::Relaxed);
        Ok(())
    }

    /// Appends what `lines` returns to the lines beside the file, unless every change is secure: one for each change
    /// since it was asked last. False when only the whole file can make up for what the lines lack.
    pub fn secure_with(
        &self,
        lines: impl FnOnce() -> Result<Vec<u8>, PersistError>,
    ) -> Result<bool, PersistError> {
        let mut written = self.lock_written();
        let changes = self.changes.load(Ordering::Acquire);
        if written.secured == changes {
            return Ok(true);
        }
        if self.needs_whole.load(Ordering::Acquire) {
            return Ok(false);
        }
        let result = lines().and_then(|lines| Ok(self.append(&lines, &mut written)?));
        match &result {
            Ok(()) => written.secured = changes,
            Err(_) => self.need_whole(),
        }
        result.map(|()| true)
    }

    fn append(&self, lines: &[u8], written: &mut Written) -> io::Result<()> {
        let path = self.lines_path();
        self.files.append_and_sync(&path, lines)?;
        if !written.has_lines {
            self.files.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
            written.has_lines = true;
        }
        Ok(())
    }

    /// The lines beside the file that [`TableFile::load`] has read, as far as they are whole. If there are any, the file
    /// counts as behind.
    pub fn load_lines<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        let mut lines = match self.is_from_backup.load(Ordering::Relaxed) {
            true => self.read_lines(&self.backup_lines_path())?,
            false => None,
        };
        if let Some(newer) = self.read_lines(&self.lines_path())? {
            self.lock_written().has_lines = true;
            lines.get_or_insert_default().extend(newer);
        }
        let Some(lines) = lines else {
            return Ok(Vec::new());
        };
        self.need_whole();
        self.mark_changed();
        Ok(lines)
    }

    fn read_lines<T: DeserializeOwned>(&self, path: &Path) -> anyhow::Result<Option<Vec<T>>> {
        let text = self
            .files
            .read(path)
            .with_context(|| format!("read {}", path.display()))?;
        Ok(text.map(|text| whole_lines(&text)))
    }

    fn lines_path(&self) -> PathBuf {
        small_file::with_suffix(&self.path, ".changes")
    }

    fn backup_lines_path(&self) -> PathBuf {
        small_file::with_suffix(&small_file::backup(&self.path), ".changes")
    }

    /// Reads the table by the rules above; `None` when there is no file yet. `now_ms` names a damaged file's copy.
    pub fn load<T: DeserializeOwned>(&self, now_ms: i64) -> anyhow::Result<Option<T>> {
        match small_file::read_if_any_on(&*self.files, &self.path)? {
            Some(text) => match fastjson::from_slice(&text) {
                Ok(table) => return Ok(Some(table)),
                Err(error) => self.set_aside(now_ms, &error)?,
            },
            // An empty X must not be renamed over X.bak by the next write.
            None => self
                .files
                .remove_file(&self.path)
                .with_context(|| format!("remove empty {}", self.path.display()))?,
        }
        self.load_backup()
    }

    fn load_backup<T: DeserializeOwned>(&self) -> anyhow::Result<Option<T>> {
        let backup = small_file::backup(&self.path);
        let Some(text) = small_file::read_if_any_on(&*self.files, &backup)? else {
            return Ok(None);
        };
        let table = fastjson::from_slice(&text).with_context(|| {
            format!(
                "read {}: repair it, or move it away to start with an empty table",
                backup.display()
            )
        })?;
        self.is_from_backup.store(true, Ordering::Relaxed);
        tracing::warn!(
            "{} is missing or damaged: using {}, which lacks the last write",
            self.path.display(),
            backup.display()
        );
        Ok(Some(table))
    }

    fn set_aside(&self, now_ms: i64, error: &fastjson::Error) -> anyhow::Result<()> {
        let aside = small_file::with_suffix(&self.path, &format!(".corrupt-{now_ms}"));
        self.files
            .rename(&self.path, &aside)
            .with_context(|| format!("move damaged {} to {}", self.path.display(), aside.display()))?;
        tracing::error!(
            "{} is damaged and not used, kept as {}: {error}",
            self.path.display(),
            aside.display()
        );
        Ok(())
    }

    fn lock_written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The service that writes the tables' files: some as soon as they change, the others periodically, all at the end.
pub struct Persist {
    waker: PersistWaker,
    entries: Vec<Entry>,
    wait: Duration,
}

struct Entry {
    table: Arc<dyn Table>,
    /// Time between two writes; with zero, a change wakes the service.
    period: Duration,
    /// Not before this time.
    due: Duration,
}

/// The least time between two writes of a file of this length.
fn whole_gap(text_bytes: usize) -> Duration {
    let mib = u32::try_from(text_bytes >> 20).unwrap_or(u32::MAX);
    MIN_GAP + GAP_PER_MIB.saturating_mul(mib)
}

/// The values of lines, up to the first that is none. The last may be torn: then it was not acknowledged.
pub fn whole_lines<T: DeserializeOwned>(text: &[u8]) -> Vec<T> {
    text.split_inclusive(|byte| *byte == b'\n')
        .map_while(|line| fastjson::from_slice(line.strip_suffix(b"\n")?).ok())
        .collect()
}

impl Persist {
    /// No tables yet. `waker` is the one the service is started with.
    pub fn new(waker: &PersistWaker) -> Self {
        Persist {
            waker: waker.clone(),
            entries: Vec::new(),
            wait: Duration::ZERO,
        }
    }

    /// Writes this table when it changes: at once, or shortly after a write that has just been.
    pub fn on_change(mut self, table: Arc<dyn Table>) -> Self {
        // Set once: a table belongs to one service.
        let _ = table.file().waker.set(self.waker.clone());
        self.entries.push(Entry::new(table, Duration::ZERO));
        self
    }

    /// Writes this table periodically, if it has changed.
    pub fn every(mut self, period: Duration, table: Arc<dyn Table>) -> Self {
        self.entries.push(Entry::new(table, period.max(MIN_GAP)));
        self
    }
}

impl Entry {
    fn new(table: Arc<dyn Table>, period: Duration) -> Self {
        Entry {
            table,
            period,
            due: Duration::ZERO,
        }
    }

    /// Writes what has changed, if it is due. Returns when to look again.
    fn run(&mut self, now: Duration, stopping: bool) -> Duration {
        if now < self.due && !stopping {
            return self.due - now;
        }
        let file = self.table.file();
        if !file.is_behind() {
            // A change will wake the service.
            return if self.period.is_zero() {
                IDLE
            } else {
                self.wait(now, self.period)
            };
        }
        let whole_due_in = file.whole_due_in();
        let is_whole = whole_due_in.is_zero() || stopping;
        let result = match is_whole {
            true => self.table.flush(),
            false if file.is_insecure() => self.table.secure(),
            // The next change is secured at once all the same.
            false => return whole_due_in,
        };
        match result {
            Ok(()) => self.wait(now, self.period.max(MIN_GAP)),
            Err(error) => {
                tracing::error!("a config file is not written, will be tried again: {error}");
                self.wait(now, RETRY_AFTER)
            }
        }
    }

    fn wait(&mut self, now: Duration, gap: Duration) -> Duration {
        self.due = now + gap;
        gap
    }
}

impl Service for Persist {
    const NAME: &'static str = "Persist";

    fn interval(&self) -> Duration {
        self.wait
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        self.wait = self
            .entries
            .iter_mut()
            .map(|entry| entry.run(now.monotonic, stopping))
            .min()
            .unwrap_or(IDLE);
        // A flood of changes would wake it for nothing.
        Ok(match self.wait <= MIN_GAP {
            true => Next::Nap(self.wait),
            false => Next::Idle,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::clock::{Clock, ManualClock};
    use std::fs;
    use std::sync::atomic::AtomicI64;

    /// A table of one number.
    struct Number {
        value: AtomicI64,
        file: TableFile,
    }

    impl Number {
        fn at(directory: &Path) -> Arc<Self> {
            Self::timed_by(&Arc::new(ManualClock::new(0)), directory)
        }

        fn timed_by(clock: &Arc<ManualClock>, directory: &Path) -> Arc<Self> {
            Arc::new(Number {
                value: AtomicI64::new(0),
                file: ConfigDirectory::on_host(directory, clock.clone()).file("number.json"),
            })
        }

        fn set(&self, value: i64) {
            self.value.store(value, Ordering::SeqCst);
            self.file.mark_changed();
        }
    }

    impl Table for Number {
        fn file(&self) -> &TableFile {
            &self.file
        }

        fn flush(&self) -> Result<(), PersistError> {
            self.file.flush_with(|| Ok(self.value.load(Ordering::SeqCst)))
        }
    }

    fn load(directory: &Path) -> anyhow::Result<Option<i64>> {
        let clock = Arc::new(ManualClock::new(0));
        ConfigDirectory::on_host(directory, clock)
            .file("number.json")
            .load(7)
    }

    fn write(directory: &Path, name: &str, text: &str) {
        fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn a_write_keeps_the_one_before_as_backup() {
        let directory = tempfile::tempdir().unwrap();
        let number = Number::at(directory.path());
        for value in [1, 2] {
            number.set(value);
            number.flush().unwrap();
        }
        assert_eq!(
            fs::read_to_string(directory.path().join("number.json")).unwrap(),
            "2"
        );
        assert_eq!(
            fs::read_to_string(directory.path().join("number.json.bak")).unwrap(),
            "1"
        );
        assert!(!directory.path().join("number.json.tmp").exists());
    }

    #[test]
    fn a_missing_or_empty_file_is_replaced_by_its_backup() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()).unwrap(), None);

        write(directory.path(), "number.json.bak", "5");
        assert_eq!(load(directory.path()).unwrap(), Some(5));

        write(directory.path(), "number.json", "");
        assert_eq!(load(directory.path()).unwrap(), Some(5));
        let number = Number::at(directory.path());
        number.set(6);
        number.flush().unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("number.json.bak")).unwrap(),
            "5",
            "the empty file did not take the backup's place"
        );
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_its_backup_used() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "number.json", "{\"torn");
        write(directory.path(), "number.json.bak", "5");
        assert_eq!(load(directory.path()).unwrap(), Some(5));
        assert_eq!(
            fs::read_to_string(directory.path().join("number.json.corrupt-7")).unwrap(),
            "{\"torn"
        );
        assert!(!directory.path().join("number.json").exists());
    }

    #[test]
    fn a_damaged_backup_stops_the_start_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "number.json.bak", "{");
        let error = load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("number.json.bak"), "{error}");
    }

    #[test]
    fn a_crash_between_any_two_steps_of_a_write_loses_no_more_than_that_write() {
        let states: [&[(&str, &str)]; 3] = [
            &[("number.json", "1"), ("number.json.tmp", "to")],
            &[("number.json.bak", "1"), ("number.json.tmp", "2")],
            &[("number.json.bak", "1"), ("number.json", "2")],
        ];
        for (files, expected) in states.into_iter().zip([1, 1, 2]) {
            let directory = tempfile::tempdir().unwrap();
            for (name, text) in files {
                write(directory.path(), name, text);
            }
            assert_eq!(load(directory.path()).unwrap(), Some(expected), "{files:?}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let number = Number::timed_by(&clock, directory.path());
        let waker = Waker::new();
        let mut persist = Persist::new(&waker).on_change(number.clone());
        number.set(1);
        persist.tick(clock.now(), false).unwrap();

        // A directory in the way of the temporary file makes the write fail.
        fs::create_dir(directory.path().join("number.json.tmp")).unwrap();
        number.set(2);
        clock.advance(MIN_GAP);
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(1));
        assert_eq!(persist.interval(), RETRY_AFTER);

        fs::remove_dir(directory.path().join("number.json.tmp")).unwrap();
        clock.advance(RETRY_AFTER);
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(2));
    }

    #[test]
    fn a_change_wakes_the_service_and_a_flood_of_them_is_written_at_intervals() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let number = Number::timed_by(&clock, directory.path());
        let waker = Waker::new();
        let mut persist = Persist::new(&waker).on_change(number.clone());
        number.set(1);
        assert!(waker.take());
        persist.tick(clock.now(), false).unwrap();

        number.set(2);
        let next = persist.tick(clock.now(), false).unwrap();
        assert_eq!(
            load(directory.path()).unwrap(),
            Some(1),
            "too soon after the last write"
        );
        assert_eq!(persist.interval(), MIN_GAP);
        assert_eq!(next, Next::Nap(MIN_GAP), "nobody has to wake it");

        clock.advance(MIN_GAP);
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(2));
        clock.advance(MIN_GAP);
        assert_eq!(persist.tick(clock.now(), false).unwrap(), Next::Idle);
        assert_eq!(
            persist.interval(),
            IDLE,
            "nothing changed: it sleeps until it is woken"
        );
    }

    #[test]
    fn a_periodic_file_is_written_when_due_and_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let number = Number::timed_by(&clock, directory.path());
        let waker = Waker::new();
        let period = Duration::from_secs(5);
        let mut persist = Persist::new(&waker).every(period, number.clone());
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(persist.interval(), period);

        number.set(1);
        assert!(!waker.take());
        clock.advance(period - Duration::from_millis(1));
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(load(directory.path()).unwrap(), None, "not due yet");
        clock.advance(Duration::from_millis(1));
        persist.tick(clock.now(), false).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(1));

        number.set(2);
        persist.tick(clock.now(), true).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Some(2));
    }

    fn reloaded_lines(directory: &Path) -> Vec<i64> {
        let number = Number::at(directory);
        number.file.load::<i64>(7).unwrap();
        number.file.load_lines().unwrap()
    }

    #[test]
    fn lines_beside_a_file_end_at_the_first_torn_one_and_go_with_the_next_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "number.json", "5");
        write(directory.path(), "number.json.changes", "6\n7\n8");
        let number = Number::at(directory.path());
        assert_eq!(number.file.load_lines::<i64>().unwrap(), [6, 7]);
        assert!(number.file.is_behind());
        let appended = number.file.secure_with(|| Ok(b"9\n".to_vec()));
        assert!(!appended.unwrap(), "nothing may follow a torn line");
        number.flush().unwrap();
        assert!(!directory.path().join("number.json.changes").exists());
        assert!(!number.file.is_insecure());
        // What they said is in the file: they count again only if that is lost.
        assert_eq!(reloaded_lines(directory.path()), [0; 0]);
        write(directory.path(), "number.json", "damaged");
        assert_eq!(reloaded_lines(directory.path()), [6, 7]);

        number.set(10);
        assert!(number.file.secure_with(|| Ok(b"10\n".to_vec())).unwrap());
        assert!(number.file.is_behind() && !number.file.is_insecure());
        assert_eq!(
            fs::read_to_string(directory.path().join("number.json.changes")).unwrap(),
            "10\n"
        );
        number.file.need_whole();
        number.set(11);
        assert!(!number.file.secure_with(|| Ok(Vec::new())).unwrap());
    }

    #[test]
    fn the_longer_a_file_the_less_often_it_is_written_whole() {
        assert_eq!(whole_gap(500_000), MIN_GAP);
        assert_eq!(whole_gap(30 << 20), MIN_GAP + 30 * GAP_PER_MIB);

        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let number = Number::timed_by(&clock, directory.path());
        assert!(number.file.is_whole_due());
        number.set(1);
        number.flush().unwrap();
        assert!(!number.file.is_whole_due());
        clock.advance(MIN_GAP);
        assert!(number.file.is_whole_due());
    }
}
