//! Logging: to the console for whoever starts the server, and to rolling files for whoever looks later.
//!
//! Files stand where the reference has them, `$HOME/logs/rocketmqlogs/<name>.log`, and roll daily
//! into `<name>.log.<date>`. Levels follow `RUST_LOG`, `info` otherwise. No request writes a line.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How many daily files are kept.
const MAX_LOG_FILES: usize = 10;
/// Lines waiting for the disk; more are dropped rather than hold up a request.
const BUFFERED_LINES: usize = 4_096;

/// Keeps the log file's writer alive; the last lines are written when it is dropped.
#[derive(Debug)]
pub struct LogGuard {
    _worker: Option<WorkerGuard>,
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
    let console = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false);
    let file = rolling_file(name, directory);
    let (file_layer, worker, problem) = match file {
        Ok(appender) => {
            let (writer, worker) = tracing_appender::non_blocking::NonBlockingBuilder::default()
                .buffered_lines_limit(BUFFERED_LINES)
                .lossy(true)
                .thread_name("log-writer")
                .finish(appender);
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(writer)
                .with_thread_names(true);
            (Some(layer), Some(worker), None)
        }
        Err(error) => (None, None, Some(error)),
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
    Ok(LogGuard { _worker: worker })
}

fn rolling_file(name: &str, directory: &Path) -> anyhow::Result<RollingFileAppender> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("create log directory {}", directory.display()))?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(format!("{name}.log"))
        .max_log_files(MAX_LOG_FILES)
        .build(directory)
        .with_context(|| format!("open log file in {}", directory.display()))
}
