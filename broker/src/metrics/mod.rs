//! Metrics: what `/metrics` says, under the reference's names, and whether `/healthz` is content.
//!
//! ```text
//!   names     every metric: name, kind, help; where the reference declares it
//!   traffic   messages in by topic and type, dead letters: counted while they happen, only with metricsExporterType=PROM
//!   lag       how far groups are behind: computed when asked
//!   report    one scrape: all of the above, the statistics and the state that exist anyway
//! ```

pub(crate) mod lag;
pub mod names;
mod report;
pub(crate) mod traffic;

pub(crate) use report::BrokerReport;
