//! What every mode is told: which broker, which process to watch, how to label the line. And the meter around a run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::process::{CpuTime, Memory, Process};
use crate::report::{CpuPerMessage, Report};
use crate::template::Dialect;

/// The broker under load.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// The broker's main port; only loopback addresses are accepted
    #[arg(long, default_value = "127.0.0.1:10911", value_parser = loopback)]
    pub address: SocketAddr,
    /// Process id of the broker, to measure its CPU time and memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// How headers are written
    #[arg(long, value_enum, default_value_t)]
    pub header: Dialect,
    /// The topic; created by the first message
    #[arg(long, default_value = "LoadTopic")]
    pub topic: String,
    /// Queues of the topic, when this run creates it
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub queues: u16,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub limit_seconds: u64,
    /// Label of the server in the line
    #[arg(long, default_value = "")]
    pub server: String,
    /// Label of the case in the line
    #[arg(long, default_value = "")]
    pub case: String,
}

impl Target {
    /// The time at which a run gives up.
    pub fn deadline(&self) -> Deadline {
        Deadline(Instant::now() + Duration::from_secs(self.limit_seconds))
    }

    /// Names of `count` topics: the topic itself, or numbered ones.
    pub fn topics(&self, count: usize) -> Vec<String> {
        match count {
            1 => vec![self.topic.clone()],
            _ => (0..count)
                .map(|index| format!("{}-{index}", self.topic))
                .collect(),
        }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected IP:PORT".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only servers on this machine may be put under load".to_owned())
    }
}

/// When a run gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// An error once it has passed.
    pub fn check(&self) -> Result<()> {
        ensure!(Instant::now() < self.0, "gave up: the time limit has passed");
        Ok(())
    }
}

/// Reads the server's CPU time and memory before and after a run, each time when it is quiet.
pub struct Meter(Option<Reading>);

struct Reading {
    process: Process,
    cpu: CpuTime,
    memory: Memory,
    at: Instant,
}

impl Meter {
    /// Waits until the server is quiet and reads. Does nothing without a process id.
    pub fn start(target: &Target) -> Result<Self> {
        let read = |pid| {
            let process = Process::new(pid);
            let cpu = process.settled_cpu_time()?;
            let memory = process.memory()?;
            let at = Instant::now();
            Ok::<_, anyhow::Error>(Reading {
                process,
                cpu,
                memory,
                at,
            })
        };
        target.pid.map(read).transpose().map(Self)
    }

    /// Waits until the server is quiet again and adds CPU time per message and memory to the report.
    pub fn finish(self, report: Report, messages: u64) -> Result<Report> {
        let Some(before) = self.0 else {
            return Ok(report);
        };
        let used = before.process.settled_cpu_time()?.since(before.cpu);
        let mut report = report.with_memory(before.memory, before.process.memory()?);
        report.cpu = Some(CpuPerMessage::new(used, messages as f64));
        Ok(report)
    }

    /// Adds CPU time per second since the start, without waiting for quiet: for runs that are all quiet.
    pub fn finish_idle(self, report: Report) -> Result<Report> {
        let Some(before) = self.0 else {
            return Ok(report);
        };
        let used = before.process.cpu_time()?.since(before.cpu);
        let mut report = report.with_memory(before.memory, before.process.memory()?);
        report.cpu = Some(CpuPerMessage::new(used, before.at.elapsed().as_secs_f64()));
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_accepted() {
        assert!(loopback("127.0.0.1:10911").is_ok());
        assert!(loopback("[::1]:10911").is_ok());
        assert!(loopback("192.168.0.9:10911").is_err());
        assert!(loopback("0.0.0.0:10911").is_err());
        assert!(loopback("localhost:10911").is_err(), "a name could be anyone's");
    }
}
