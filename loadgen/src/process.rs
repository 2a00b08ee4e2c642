//! What a server process has used: CPU time and memory, from /proc.
//!
//! CPU time is what we compare servers by. Unlike throughput it says the same on a busy machine, and it counts the work
//! that is done after the answer: dispatch, flushing, garbage collection. So it is read when the process has become quiet.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

/// How long a process must have been quiet; longer than the flush intervals of a broker.
const QUIET: Duration = Duration::from_millis(1_500);
/// Share of one core that still counts as quiet: an idle JVM is never at rest.
const QUIET_SHARE: f64 = 0.04;
/// After this long the process is taken as it is.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// Both.
    pub fn total(&self) -> Duration {
        self.user + self.system
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Memory in KiB: resident in all, and the part of it that is not file pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// VmRSS: includes the pages of mapped log files, which the kernel can take back.
    pub rss_kb: u64,
    /// RssAnon: heap and stacks.
    pub anon_kb: u64,
}

/// A process that is watched, by its id.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// Watches `pid`.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU time of all its threads, to a clock tick (10 ms).
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let text = self.read("stat")?;
        parse_stat(&text, rustix::param::clock_ticks_per_second()).context("no times in /proc/PID/stat")
    }

    /// Resident memory.
    pub fn memory(&self) -> Result<Memory> {
        Ok(parse_status(&self.read("status")?))
    }

    /// Waits until it uses next to nothing any more, then reads its CPU time.
    pub fn settled_cpu_time(&self) -> Result<CpuTime> {
        let give_up = Instant::now() + SETTLE_LIMIT;
        let mut last = self.cpu_time()?;
        loop {
            thread::sleep(QUIET);
            let now = self.cpu_time()?;
            let used = now.since(last).total();
            if used.as_secs_f64() <= QUIET.as_secs_f64() * QUIET_SHARE || Instant::now() >= give_up {
                return Ok(now);
            }
            last = now;
        }
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }
}

fn parse_stat(text: &str, ticks_per_second: u64) -> Option<CpuTime> {
    // The name of the program stands in parentheses and may contain blanks; user and system time are fields 14 and 15.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
    };
    Some(CpuTime {
        user: time()?,
        system: time()?,
    })
}

fn parse_status(text: &str) -> Memory {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    Memory {
        rss_kb: value("VmRSS"),
        anon_kb: value("RssAnon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_a_name_with_blanks() {
        let text = "42 (mq (broker) 1) S 1 42 42 0 -1 4194304 900 0 0 0 250 125 0 0 20 0 9 0 77 1 2";
        let time = parse_stat(text, 100).unwrap();
        assert_eq!(time.user, Duration::from_millis(2_500));
        assert_eq!(time.system, Duration::from_millis(1_250));
        assert_eq!(parse_stat("42 (short) S 1", 100), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let text =
            "Name:\tmqbroker\nVmHWM:\t 900 kB\nVmRSS:\t  700 kB\nRssAnon:\t 500 kB\nRssFile:\t 200 kB\n";
        let expected = Memory {
            rss_kb: 700,
            anon_kb: 500,
        };
        assert_eq!(parse_status(text), expected);
    }

    #[test]
    fn this_process_can_be_watched() {
        let process = Process::new(std::process::id());
        assert!(process.memory().unwrap().rss_kb > 0);
        let before = process.cpu_time().unwrap();
        assert!(process.settled_cpu_time().unwrap().total() >= before.total());
    }
}
