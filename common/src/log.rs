//! Logging: to the console for whoever starts the server, and to rolling files for whoever looks later.
//!
//! Files stand where the reference has them: `$HOME/logs/rocketmqlogs/<name>.log` leads to today's
//! `<name>.log.<date>`. Levels follow `RUST_LOG`, `info` otherwise. No request writes a line.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How many daily files are kept.
const MAX_LOG_FILES: usize = 10;
/// Lines waiting for the disk; more are dropped rather than hold up a request.
const BUFFERED_LINES: usize = 4_096;
/// How long a writer rests after it has written: lines gather meanwhile. To wake it for each costs whoever logs more than
/// the line itself.
const REST: Duration = Duration::from_millis(10);

/// Keeps the writers alive; the last lines are written when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    _workers: Vec<WorkerGuard>,
}

/// Where the reference puts its logs: `$HOME/logs/rocketmqlogs`.
pub fn default_directory() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    home.join("logs").join("rocketmqlogs")
}

/// Starts logging to stderr and to `<directory>/<name>.log`.
///
/// Without a writable directory the console alone gets the lines, and the first of them says so.
///
/// # Errors
/// When a logger is installed already.
pub fn init(name: &str, directory: &Path) -> anyhow::Result<LogGuard> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (stderr, stderr_worker) = non_blocking("log-console", std::io::stderr());
    let console = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(stderr)
        .with_target(false);
    let mut workers = vec![stderr_worker];
    let (file_layer, problem) = match rolling_file(name, directory) {
        Ok(appender) => {
            let (writer, worker) = non_blocking("log-file", appender);
            workers.push(worker);
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(writer)
                .with_thread_names(true);
            (Some(layer), None)
        }
        Err(error) => (None, Some(error)),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(console)
        .with(file_layer)
        .try_init()
        .context("install the logger")?;
    if let Some(error) = problem {
        tracing::warn!("logging to the console only: {error:#}");
    }
    Ok(LogGuard { _workers: workers })
}

/// Whoever logs never waits for a slow disk or for a pipe that nobody reads.
fn non_blocking(thread: &str, writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(BUFFERED_LINES)
        .lossy(true)
        .thread_name(thread)
        .finish(Resting(BufWriter::new(writer)))
}

/// A writer whose thread rests after each flush: the thread flushes when no line is left.
struct Resting<W: Write>(BufWriter<W>);

impl<W: Write> Write for Resting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        std::thread::sleep(REST);
        flushed
    }
}

fn rolling_file(name: &str, directory: &Path) -> anyhow::Result<RollingFileAppender> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create log directory {}", directory.display()))?;
    let latest = format!("{name}.log");
    keep_foreign_log(directory, &latest)?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(&latest)
        .latest_symlink(&latest)
        .max_log_files(MAX_LOG_FILES)
        .build(directory)
        .with_context(|| format!("open log file in {}", directory.display()))
}

/// The Java server writes a file where our link to the current file goes: it is kept under another name.
fn keep_foreign_log(directory: &Path, latest: &str) -> anyhow::Result<()> {
    let path = directory.join(latest);
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        let kept = directory.join(format!("before-{latest}"));
        std::fs::rename(&path, &kept)
            .with_context(|| format!("rename {} to {}", path.display(), kept.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_written_when_the_guard_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let file = std::fs::File::create(&path).unwrap();
        let (mut writer, guard) = non_blocking("log-test", file);
        let mut expected = String::new();
        for number in 0..100 {
            let line = format!("{number}\n");
            writer.write_all(line.as_bytes()).unwrap();
            expected += &line;
        }
        drop(guard);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn the_current_file_is_found_by_its_plain_name_and_a_foreign_log_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let latest = directory.path().join("broker.log");
        std::fs::write(&latest, "of the Java broker").unwrap();

        for line in ["first\n", "second\n"] {
            rolling_file("broker", directory.path())
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
        }

        assert_eq!(std::fs::read_to_string(&latest).unwrap(), "first\nsecond\n");
        let kept = std::fs::read_to_string(directory.path().join("before-broker.log")).unwrap();
        assert_eq!(kept, "of the Java broker");
    }
}
