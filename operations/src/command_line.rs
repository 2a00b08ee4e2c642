//! CommandLine: what a server binary does for an operator instead of serving.
//!
//! One set of options, flattened into the arguments of each server, so that the servers cannot differ. Everything is
//! written to stdout; a reader that goes away early (`| head`) is no failure.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use common::config_report::ConfigReport;

use crate::man::{self, ManSections};
use crate::probe::probe;

/// Options that end the process when done.
#[derive(Debug, Default, Args)]
pub struct OperatorOptions {
    /// Check a configuration file, explain each unknown, deprecated, refused or contradictory key, and end with 0 (fine),
    /// 1 (warnings) or 2 (the server would not start)
    #[arg(long, value_name = "FILE")]
    pub check_config: Option<PathBuf>,
    /// Print the completion script of a shell and end
    #[arg(long, value_name = "SHELL")]
    pub completions: Option<Shell>,
    /// Print the man page and end
    #[arg(long)]
    pub man: bool,
    /// Ask a running server how it is, such as `http://127.0.0.1:5557/healthz`, and end with 0 (healthy) or 1
    #[arg(long, value_name = "URL")]
    pub probe: Option<String>,
}

/// What the options need to know of the server.
pub struct Server<'a> {
    /// Its command, with all arguments.
    pub command: Command,
    /// Its check of a file.
    pub check_config: fn(&Path) -> ConfigReport,
    /// Its sections of the man page.
    pub man: ManSections<'a>,
}

impl OperatorOptions {
    /// Does what was asked for, if anything, and says what to exit with.
    ///
    /// # Errors
    /// When stdout cannot be written to, other than by a reader that went away.
    pub fn run(&self, server: Server<'_>) -> std::io::Result<Option<ExitCode>> {
        if let Some(file) = &self.check_config {
            let report = (server.check_config)(file);
            print(report.to_string().as_bytes())?;
            return Ok(Some(ExitCode::from(report.exit_code())));
        }
        if let Some(url) = &self.probe {
            let (text, code) = match probe(url) {
                Ok(answer) => (answer, ExitCode::SUCCESS),
                Err(why) => (why, ExitCode::FAILURE),
            };
            print(format!("{text}\n").as_bytes())?;
            return Ok(Some(code));
        }
        if let Some(shell) = self.completions {
            print(&completions(server.command, shell))?;
        } else if self.man {
            print(&man::page(server.command, &server.man)?)?;
        } else {
            return Ok(None);
        }
        Ok(Some(ExitCode::SUCCESS))
    }
}

/// The completion script of a shell.
pub fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
