//! `mqbroker`: arguments -> configuration -> servers -> wait for a signal -> stop.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use broker::config::{Configuration, Settings};
use clap::{CommandFactory as _, Parser};
use common::clock::{Clock, SystemClock};
use operations::ManSections;
use operations::command_line::{OperatorOptions, Server};
use tokio::signal::unix::{SignalKind, signal};

/// Stack of a runtime thread: handlers do not recurse, and idle memory counts.
const THREAD_STACK_BYTES: usize = 512 * 1024;
/// Threads of the lane `blocking`.
const BLOCKING_THREADS: usize = 16;

/// Apache RocketMQ compatible broker, with the configuration files, keys and store of 5.5.0.
#[derive(Debug, Parser)]
#[command(name = "mqbroker", version)]
struct Arguments {
    /// Broker configuration file (`.properties`)
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Name servers, such as `192.168.0.1:9876;192.168.0.2:9876`; overrides the file
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    namesrv_addr: Option<String>,
    /// Print all keys and end
    #[arg(short = 'p', long = "printConfigItem")]
    print_config_item: bool,
    /// Print the important keys and end
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important_config: bool,
    /// Run a NameServer inside this process, on the port of the first address in namesrvAddr (9876 without one)
    #[arg(long)]
    standalone: bool,
    #[command(flatten)]
    operator: OperatorOptions,
}

/// What the reference ends with when it cannot start: -3, as a shell sees it.
const EXIT_NOT_STARTED: u8 = 253;

/// What clap cannot know.
const MAN: ManSections<'static> = ManSections {
    exit_status: &[
        (
            "0",
            "Stopped cleanly, or done what was asked for; with --check-config: nothing to object to.",
        ),
        ("1", "With --check-config: warnings."),
        (
            "2",
            "With --check-config: a start would be refused. Otherwise: wrong arguments.",
        ),
        (
            "253",
            "Could not start, or could not stop cleanly; the reason is on stderr and in the log.",
        ),
    ],
    files: &[
        (
            "-c FILE",
            "Configuration, a properties file. Changes made with mqadmin updateBrokerConfig are written to it, the former content to FILE.bak.",
        ),
        ("$HOME/store", "Messages, unless storePathRootDir says otherwise."),
        ("$HOME/logs/rocketmqlogs/broker.log", "Log, a file a day."),
    ],
    environment: &[
        (
            "NAMESRV_ADDR",
            "Name servers, unless -n or namesrvAddr say otherwise.",
        ),
        ("HOME", "Where store and logs lie."),
        ("RUST_LOG", "Level of the log, such as info or debug."),
    ],
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mqbroker: {error:#}");
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let server = Server {
        command: Arguments::command(),
        check_config: broker::config::check,
        man: MAN,
    };
    if let Some(code) = arguments.operator.run(server).context("write to stdout")? {
        return Ok(code);
    }
    let loaded = Settings::load(
        arguments.config_file.as_deref(),
        arguments.namesrv_addr.as_deref(),
    )?;
    if arguments.print_config_item || arguments.print_important_config {
        print!("{}", listing(&loaded.settings, arguments.print_important_config));
        return Ok(ExitCode::SUCCESS);
    }
    let _log = common::log::init("broker", &common::log::default_directory())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("network")
        .thread_stack_size(THREAD_STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(loaded.settings, arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(mut settings: Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());

    let namesrv = match arguments.standalone {
        true => Some(start_namesrv(&mut settings, Arc::clone(&clock)).await?),
        false => None,
    };
    let configuration = Configuration::new(
        settings.clone(),
        arguments.config_file.as_deref(),
        Arc::clone(&clock),
    );
    let running = broker::start(settings, configuration, clock).await?;
    println!("{}", running.boot_message());

    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping: SIGINT"),
    }
    running.stop().await?;
    if let Some(namesrv) = namesrv {
        namesrv.stop().await;
    }
    Ok(())
}

/// Keys with their values, one a line.
fn listing(settings: &Settings, important_only: bool) -> String {
    let pairs: Vec<(&str, String)> = match important_only {
        true => settings.important_pairs(),
        false => settings.pairs().into_iter().collect(),
    };
    pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}

/// Starts the NameServer of `--standalone` on the port of the first address in `namesrvAddr`; without one on its own
/// default port, where the broker is then pointed to.
async fn start_namesrv(settings: &mut Settings, clock: Arc<dyn Clock>) -> anyhow::Result<namesrv::Running> {
    let mut config = namesrv::config::Config::default();
    let asked = &mut settings.broker.namesrv_addr;
    let port = asked
        .split(';')
        .next()
        .and_then(|first| first.rsplit(':').next()?.parse::<u16>().ok());
    if let Some(port) = port {
        config.server.listen_port = port;
    }
    let running = namesrv::start(config, clock)
        .await
        .context("start the NameServer of --standalone")?;
    if asked.is_empty() {
        *asked = format!("127.0.0.1:{}", running.local_addr().port());
    }
    Ok(running)
}
