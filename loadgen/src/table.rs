//! `table`: many lines into one table: medians of ours beside the other server's, and their ratio.
//!
//! Lines are grouped by case and server. The range beside a median is that of all rounds: it says how much to believe.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::report::Report;

/// Print medians and ratios of many runs
#[derive(Args, Clone, Debug)]
pub struct Table {
    /// A file of lines that other modes printed
    file: PathBuf,
    /// Label of the server to measure against
    #[arg(long, default_value = "java")]
    baseline: String,
}

impl Table {
    /// The table as Markdown.
    pub fn run(&self) -> Result<String> {
        let text = fs::read_to_string(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        let mut reports = Vec::new();
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let report: Report = serde_json::from_str(line)
                .with_context(|| format!("line {} of {}", number + 1, self.file.display()))?;
            reports.push(report);
        }
        ensure!(!reports.is_empty(), "no lines in {}", self.file.display());
        Ok(render(&reports, &self.baseline))
    }
}

const HEADING: &str = "\
| case | server | CPU us/message (range) | user | kernel | ratio | messages/s | p50 us | p99 us | p99.9 us | max us | anon MiB | errors |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

fn render(reports: &[Report], baseline: &str) -> String {
    let mut table = HEADING.to_owned();
    for (case, servers) in grouped(reports) {
        let base = servers.get(baseline).and_then(|runs| cpu_median(runs));
        for (server, runs) in &servers {
            let ratio = match (base, cpu_median(runs)) {
                (Some(base), Some(own)) if *server != baseline && own > 0.0 => {
                    format!("{:.1}x less", base / own)
                }
                _ => String::new(),
            };
            table += &row(case, server, runs, &ratio);
        }
    }
    table
}

type Groups<'a> = Vec<(&'a str, BTreeMap<&'a str, Vec<&'a Report>>)>;

/// Runs by case and server; cases in the order of their first run.
fn grouped(reports: &[Report]) -> Groups<'_> {
    let mut groups: Groups<'_> = Vec::new();
    for report in reports {
        let at = groups
            .iter()
            .position(|(case, _)| *case == report.case)
            .unwrap_or_else(|| {
                groups.push((&report.case, BTreeMap::new()));
                groups.len() - 1
            });
        groups[at].1.entry(&report.server).or_default().push(report);
    }
    groups
}

fn row(case: &str, server: &str, runs: &[&Report], ratio: &str) -> String {
    let cpu =
        |value: fn(&crate::report::CpuPerMessage) -> f64| values(runs, |run| run.cpu.as_ref().map(value));
    let total = cpu(|cpu| cpu.total_us);
    let latency = |value: fn(&crate::report::LatencySummary) -> f64| {
        let of_run = |run: &Report| {
            let received = run.overdue_us.as_ref().or(run.end_to_end_us.as_ref());
            received.or(run.latency_us.as_ref()).map(value)
        };
        text(median(&values(runs, of_run)))
    };
    let range = match (total.first(), total.last()) {
        (Some(least), Some(most)) => format!(
            "{} ({}-{})",
            text(median(&total)),
            text(Some(*least)),
            text(Some(*most))
        ),
        _ => "-".to_owned(),
    };
    let anon = values(runs, |run| run.anon_after_kb.map(|kb| kb as f64 / 1024.0));
    let errors: u64 = runs.iter().map(|run| run.errors).sum();
    let rate = median(&values(runs, |run| Some(run.messages_per_second)));
    format!(
        "| {case} | {server} | {range} | {} | {} | {ratio} | {} | {} | {} | {} | {} | {} | {errors} |\n",
        text(median(&cpu(|cpu| cpu.user_us))),
        text(median(&cpu(|cpu| cpu.system_us))),
        text(rate),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        latency(|latency| latency.p999),
        latency(|latency| latency.max),
        text(median(&anon)),
    )
}

fn cpu_median(runs: &[&Report]) -> Option<f64> {
    median(&values(runs, |run| run.cpu.as_ref().map(|cpu| cpu.total_us)))
}

/// The values that runs have, sorted.
fn values(runs: &[&Report], value: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one of sorted values, the mean of the two middle ones if their number is even.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Three digits or so.
fn text(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::CpuTime;
    use crate::report::{CpuPerMessage, Errors};
    use std::time::Duration;

    fn run(case: &str, server: &str, cpu_us: u64) -> Report {
        let mut report = Report::new(1, 1, Duration::from_secs(1), Errors::default());
        report.case = case.to_owned();
        report.server = server.to_owned();
        let used = CpuTime {
            user: Duration::from_micros(cpu_us),
            system: Duration::ZERO,
        };
        report.cpu = Some(CpuPerMessage::new(used, 1.0));
        report
    }

    #[test]
    fn each_server_has_its_median_and_its_ratio_to_the_baseline() {
        let runs = [
            run("send", "rust", 4),
            run("send", "java", 20),
            run("send", "rust", 5),
            run("send", "java", 40),
            run("send", "rust", 90),
            run("send", "java", 30),
            run("alone", "rust", 7),
        ];
        let table = render(&runs, "java");
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), 3);
        assert!(
            rows[0].starts_with("| send | java | 30.0 (20.0-40.0) | 30.0 | 0.00 |  |"),
            "{}",
            rows[0]
        );
        assert!(
            rows[1].starts_with("| send | rust | 5.00 (4.00-90.0) | 5.00 | 0.00 | 6.0x less |"),
            "{}",
            rows[1]
        );
        assert!(
            rows[2].starts_with("| alone | rust | 7.00 (7.00-7.00) | 7.00 | 0.00 |  |"),
            "{}",
            rows[2]
        );
    }

    #[test]
    fn a_median_of_two_is_between_them() {
        assert_eq!(median(&[1.0, 3.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
