//! `idle`: connections that do nothing, and what a server spends on them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::report::{Errors, Report};
use crate::requests;
use crate::sockets::{Sockets, allow_many_files};
use crate::target::{Meter, Target};

/// Open connections, or none, and do nothing for a while
#[derive(Args, Clone, Debug)]
pub struct Idle {
    #[command(flatten)]
    target: Target,
    /// Connections to open
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    connections: u32,
    /// How long to hold them; servers close idle connections after 120 s
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=110))]
    seconds: u64,
    /// Each connection registers a consumer first
    #[arg(long)]
    heartbeat: bool,
}

impl Idle {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Opens, waits, reports; the CPU time is that of a second.
    pub fn run(&self) -> Result<Report> {
        allow_many_files()?;
        let meter = Meter::start(&self.target)?;
        let mut sockets = Sockets::connect(self.target.address, self.connections as usize)?;
        for index in 0..if self.heartbeat { sockets.len() } else { 0 } {
            let client_id = format!("127.0.0.1@idle{}-{index}", std::process::id());
            let request = requests::heartbeat(self.target.header, &client_id, &self.target.topic);
            let answer = sockets.call(index, request, "")?;
            ensure!(answer.code == 0, "heartbeat: {} {}", answer.code, answer.remark);
        }
        let started = Instant::now();
        thread::sleep(Duration::from_secs(self.seconds));
        let mut report = Report::new(0, 0, started.elapsed(), Errors::default());
        report.connections = Some(u64::from(self.connections));
        meter.finish_idle(report)
    }
}
