//! A load generator for RocketMQ brokers on this machine, ours and the reference's alike.
//!
//! It speaks the remoting protocol over plain sockets from one thread and costs little itself, so that what it measures is
//! the server: CPU time per message, latency, memory. Each run prints one line of JSON. `scripts/bench` runs it.
//!
//! ```text
//!   produce  topics  consume  end_to_end  timers  idle  misbehave  one mode each: arguments, run, report
//!      sender                 receiver  pace                the closed loop of sending; long polling; a fixed rate
//!   requests  records        table                         what is sent; what pulls return; lines into a table
//!   template  response       target  process  report       bytes out; bytes in; the broker, its CPU time, the line
//!   sockets                                                connections under one epoll
//! ```

mod consume;
mod end_to_end;
mod idle;
mod misbehave;
mod pace;
mod process;
mod produce;
mod receiver;
mod records;
mod report;
mod requests;
mod response;
mod sender;
mod sockets;
mod table;
mod target;
mod template;
mod timers;
mod topics;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::target::Target;

/// Puts a broker on this machine under load and prints one line of JSON
#[derive(Parser, Debug)]
#[command(name = "loadgen", version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand, Debug)]
enum Mode {
    Produce(produce::Produce),
    Consume(consume::Consume),
    #[command(name = "e2e")]
    EndToEnd(end_to_end::EndToEnd),
    Timers(timers::Timers),
    Idle(idle::Idle),
    Misbehave(misbehave::Misbehave),
    Topics(topics::Topics),
    Table(table::Table),
}

fn main() -> Result<()> {
    let line = match Cli::parse().mode {
        Mode::Produce(mode) => labelled("produce", mode.target(), mode.run()),
        Mode::Consume(mode) => labelled("consume", mode.target(), mode.run()),
        Mode::EndToEnd(mode) => labelled("e2e", mode.target(), mode.run()),
        Mode::Timers(mode) => labelled("timers", mode.target(), mode.run()),
        Mode::Idle(mode) => labelled("idle", mode.target(), mode.run()),
        Mode::Misbehave(mode) => labelled("misbehave", mode.target(), mode.run()),
        Mode::Topics(mode) => labelled("topics", mode.target(), mode.run()),
        Mode::Table(mode) => mode.run(),
    }?;
    println!("{}", line.trim_end());
    Ok(())
}

/// The line of a run, with the labels it was given.
fn labelled(mode: &str, target: &Target, report: Result<Report>) -> Result<String> {
    let mut report = report.with_context(|| format!("{mode} against {}", target.address))?;
    report.server = target.server.clone();
    report.case = match target.case.as_str() {
        "" => mode.to_owned(),
        case => case.to_owned(),
    };
    report.line()
}
