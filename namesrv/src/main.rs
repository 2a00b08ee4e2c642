//! `mqnamesrv`: arguments -> configuration -> NameServer -> wait for a signal -> stop.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser};
use common::clock::SystemClock;
use common::log;
use namesrv::Config;
use operations::ManSections;
use operations::command_line::{OperatorOptions, Server};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// What the reference exits with when it cannot start (-1, as the shell sees it).
const EXIT_NOT_STARTED: u8 = 255;
/// Two threads serve a NameServer's load many times over; more cost memory only.
const WORKER_THREADS: usize = 2;
/// Registrations, topic lists and file writes that may run at once.
const BLOCKING_THREADS: usize = 8;

/// Apache RocketMQ compatible NameServer.
#[derive(Debug, Parser)]
#[command(name = "mqnamesrv", version)]
struct Arguments {
    /// Name server config properties file.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Accepted for the sake of scripts; a name server needs no other.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDR")]
    namesrv_addr: Option<String>,

    /// Print all config items and exit.
    #[arg(short = 'p', long = "printConfigItem")]
    print_config_item: bool,

    #[command(flatten)]
    operator: OperatorOptions,
}

/// What clap cannot know.
const MAN: ManSections<'static> = ManSections {
    exit_status: &[
        (
            "0",
            "Stopped cleanly, or done what was asked for; with --check-config: nothing to object to.",
        ),
        ("1", "With --check-config: warnings."),
        ("2", "With --check-config: a start would be refused."),
        (
            "255",
            "Could not start, or wrong arguments; the reason is on stderr.",
        ),
    ],
    files: &[
        (
            "-c FILE",
            "Configuration, a properties file. Changes made with mqadmin updateNamesrvConfig are written to it.",
        ),
        (
            "$HOME/namesrv/kvConfig.json",
            "The KV config, unless kvConfigPath says otherwise.",
        ),
        ("$HOME/logs/rocketmqlogs/namesrv.log", "Log, a file a day."),
    ],
    environment: &[
        ("HOME", "Where the KV config and logs lie."),
        ("RUST_LOG", "Level of the log, such as info or debug."),
    ],
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return show_usage(&usage),
    };
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mqnamesrv: {error:#}");
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

/// `-h` and `--version` are no failure; anything else is.
fn show_usage(usage: &clap::Error) -> ExitCode {
    // Nothing is left to do if even the terminal is gone.
    let _ = usage.print();
    ExitCode::from(if usage.use_stderr() { EXIT_NOT_STARTED } else { 0 })
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let server = Server {
        command: Arguments::command(),
        check_config: namesrv::config::check,
        man: MAN,
    };
    if let Some(code) = arguments.operator.run(server).context("write to stdout")? {
        return Ok(code);
    }
    let config = match &arguments.config_file {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    if arguments.print_config_item {
        say(&config.listing())?;
        return Ok(ExitCode::SUCCESS);
    }
    config.check()?;
    if let Some(path) = &arguments.config_file {
        say(&format!("load config properties file OK, {}\n", path.display()))?;
    }
    let _log = log::init("namesrv", &log::default_directory())?;
    for warning in config.warnings() {
        warn!(file = config.namesrv.config_store_path, "{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    // Also to the log: whoever started this may not watch the console any more.
    runtime
        .block_on(serve(config))
        .inspect_err(|error| error!("{error:#}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let running = namesrv::start(config, Arc::new(SystemClock::new())).await?;
    // Scripts and tests wait for this line: it is the reference's, and the port is the real one.
    let (serialize_type, address) = ("JSON", running.local_addr());
    let success = format!("The Name Server boot success. serializeType={serialize_type}, address {address}");
    info!("{success}");
    say(&format!("{success}\n"))?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM, stopping"),
        _ = interrupt.recv() => info!("SIGINT, stopping"),
    }
    running.stop().await;
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("write to stdout")
}
