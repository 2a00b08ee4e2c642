//! Metrics: what `/metrics` says, under the reference's names, and whether `/healthz` is content.
//!
//! ```text
//!   names      every metric: name, kind, help; where the reference declares it
//!   traffic    messages in by topic and type, messages out by group, dead letters ─┐ counted while they happen, only with
//!   events     what becomes of transactions, timer messages and pops              ─┤ metricsExporterType=PROM
//!   in_flight  what was popped and not acknowledged                               ─┤
//!   silent     what groups want that send no heartbeats                           ─┘
//!   tally      bounded counts and histograms by key, which those are made of
//!   lag        how far groups are behind: computed when asked
//!   report     one scrape: all of the above, the statistics and the state that exist anyway
//! ```

pub(crate) mod events;
pub(crate) mod in_flight;
pub(crate) mod lag;
pub mod names;
mod report;
pub(crate) mod silent;
pub(crate) mod tally;
pub(crate) mod traffic;

pub(crate) use report::BrokerReport;
