//! What the durability tests share: the real broker process, a wire client, a load that remembers what was acknowledged,
//! and the check that the broker still has it.
//!
//! ```text
//!   process   mqbroker on a directory: start, kill -9, SIGTERM, what it logged
//!   wire      one connection: requests out, answers in
//!   load      producers and a consumer, pipelined; fills the Ledger
//!   ledger    what was sent, acknowledged, seen, committed
//!   mounts    file systems that fill up or lose power
//!   check     everything the broker has, held against the Ledger
//! ```
#![allow(dead_code, unused_imports)] // Each test file uses its part.

use common::clock::{Clock as _, SystemClock};

mod check;
mod ledger;
mod load;
mod mounts;
mod process;
mod wire;

pub use check::{Checked, Stored, look_up, read_all, read_queue};
pub use ledger::{Acked, Ledger, body_of};
pub use load::{Load, LoadSpec};
pub use mounts::Mount;
pub use process::{Mqbroker, SMALL_FILES};
pub use wire::Wire;

/// The topic of all loads.
pub const TOPIC: &str = "Durable";
/// The group of the load's consumer.
pub const GROUP: &str = "DurableReaders";

/// A number from the environment.
pub fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// `flushDiskType` of a run that uses one kind of flush: `KILL_FLUSH`, or the broker's default.
pub fn flush_type() -> &'static str {
    match std::env::var("KILL_FLUSH") {
        Ok(flush) if flush == "SYNC_FLUSH" => "SYNC_FLUSH",
        _ => "ASYNC_FLUSH",
    }
}

/// The seed of a run: given, or new. Printed by every test, so that a failure can be repeated as nearly as a race can.
pub fn seed(name: &str) -> u64 {
    let now_ms = SystemClock::new().wall_ms();
    from_environment(name, now_ms.unsigned_abs() % 1_000_000_007)
}
