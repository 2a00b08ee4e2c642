//! RpcLatencies: how long requests took from their arrival to their answer, for the metric `rocketmq_rpc_latency`.
//!
//! Kept only when a server is given one; otherwise nothing is measured. A turn of a connection reads the clock twice, however
//! many requests it answers, since their answers leave together:
//!
//! ```text
//!   turn begins: t0 ──> requests of the turn, each noted when answered ──> turn ends: t1, all of them took t1 - t0
//!   answered later (flush, lane, hold) ──> recorded at the answer, since the t0 of its turn
//! ```
//!
//! Each thread counts in a shard of its own, so threads do not wait for each other; a reader adds the shards up. Codes that
//! are not the protocol's own are counted as one, so peers cannot make the table grow.
//!
//! Reference: `RemotingMetricsManager`, `NettyRemotingAbstract.writeResponse`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::codes::{request_name, response_code, response_name};
use crate::request::{Call, Handled, Outcome};

/// Upper limits of the classes, ms. Reference: `RemotingMetricsManager.getMetricsView`.
pub const LATENCY_LIMITS_MS: [u64; 9] = [1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];

/// Counts by class; the last class has no limit.
pub type LatencyCounts = [u64; LATENCY_LIMITS_MS.len() + 1];

/// Threads that count without meeting another one.
const SHARDS: usize = 16;
/// Stands for every code that the protocol does not know.
const UNKNOWN_CODE: i32 = i32::MIN;

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RpcKind {
    request_code: i32,
    response_code: i32,
    /// Whether it was parked and handled again.
    pub is_long_polling: bool,
    /// Whether nobody waited for the answer.
    pub is_oneway: bool,
}

impl RpcKind {
    fn of(call: &Call, response_code: i32) -> Self {
        Self::new(
            call.frame.code,
            response_code,
            call.resumed,
            call.frame.is_oneway(),
        )
    }

    pub(crate) fn new(request_code: i32, response_code: i32, is_long_polling: bool, is_oneway: bool) -> Self {
        let known = |code, name: Option<&str>| if name.is_some() { code } else { UNKNOWN_CODE };
        RpcKind {
            request_code: known(request_code, request_name(request_code)),
            response_code: known(response_code, response_name(response_code)),
            is_long_polling,
            is_oneway,
        }
    }

    /// The constant of the request code.
    pub fn request_name(&self) -> &'static str {
        request_name(self.request_code).unwrap_or("UNKNOWN")
    }

    /// The constant of the response code.
    pub fn response_name(&self) -> &'static str {
        response_name(self.response_code).unwrap_or("UNKNOWN")
    }
}

/// The latencies of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcLatency {
    /// Requests by class of [`LATENCY_LIMITS_MS`].
    pub counts: LatencyCounts,
    /// All latencies together, ms.
    pub sum_ms: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct RpcLatencies {
    shards: [Mutex<HashMap<RpcKind, RpcLatency>>; SHARDS],
}

impl RpcLatencies {
    /// What was counted so far, in a fixed order.
    pub fn read(&self) -> BTreeMap<RpcKind, RpcLatency> {
        let mut all: BTreeMap<RpcKind, RpcLatency> = BTreeMap::new();
        for shard in &self.shards {
            for (kind, latency) in shard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let sum = all.entry(*kind).or_default();
                sum.sum_ms += latency.sum_ms;
                for (sum, count) in sum.counts.iter_mut().zip(latency.counts) {
                    *sum += count;
                }
            }
        }
        all
    }

    pub(crate) fn record(&self, kind: RpcKind, elapsed: Duration) {
        self.record_all([(kind, elapsed)]);
    }

    fn record_all(&self, rpcs: impl IntoIterator<Item = (RpcKind, Duration)>) {
        let mut shard = self.shards[shard_of_thread()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (kind, elapsed) in rpcs {
            let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            let latency = shard.entry(kind).or_default();
            latency.counts[LATENCY_LIMITS_MS.partition_point(|limit| *limit < ms)] += 1;
            latency.sum_ms = latency.sum_ms.saturating_add(ms);
        }
    }
}

fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

thread_local! {
    /// When the turn that this thread is in began; `None` outside of turns and when nothing is measured.
    static TURN_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Requests answered in this turn, and when they arrived.
    static ANSWERED: RefCell<Vec<(RpcKind, Instant)>> = const { RefCell::new(Vec::new()) };
}

/// A turn of a connection begins on this thread.
pub(crate) fn begin_turn(latencies: Option<&RpcLatencies>) {
    TURN_BEGAN.set(latencies.map(|_| Instant::now()));
}

/// When a request that is read now arrived; `None` when nothing is measured.
pub(crate) fn arrival() -> Option<Instant> {
    TURN_BEGAN.get()
}

/// Notes what a request of this turn was answered with, if it was.
pub(crate) fn note(call: &Call, handled: &Handled) {
    let Some(received) = call.received else {
        return;
    };
    let code = match handled {
        Ok(Outcome::Reply(response)) => response.code,
        Err(refusal) => refusal.code,
        Ok(Outcome::Silent) if call.frame.is_oneway() => response_code::SUCCESS,
        Ok(Outcome::Silent | Outcome::Parked | Outcome::MoveToBlocking) => return,
    };
    ANSWERED.with_borrow_mut(|answered| answered.push((RpcKind::of(call, code), received)));
}

/// The turn ends: its answers leave now.
pub(crate) fn end_turn(latencies: Option<&RpcLatencies>) {
    let Some(latencies) = latencies else {
        return;
    };
    TURN_BEGAN.set(None);
    ANSWERED.with_borrow_mut(|answered| {
        if !answered.is_empty() {
            let now = Instant::now();
            let rpcs = answered
                .drain(..)
                .map(|(kind, received)| (kind, now.saturating_duration_since(received)));
            latencies.record_all(rpcs);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_inclusive_and_threads_add_up() {
        let latencies = RpcLatencies::default();
        let kind = RpcKind::new(10, 0, false, false);
        std::thread::scope(|scope| {
            for ms in [0, 1, 2, 3_000, 3_001] {
                let latencies = &latencies;
                scope.spawn(move || latencies.record(kind, Duration::from_millis(ms)));
            }
        });
        let read = latencies.read();
        assert_eq!(read.len(), 1);
        assert_eq!(read[&kind].counts, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(read[&kind].sum_ms, 6_004);
        assert_eq!(
            (kind.request_name(), kind.response_name()),
            ("SEND_MESSAGE", "SUCCESS")
        );
    }

    #[test]
    fn codes_that_nobody_knows_are_one_kind() {
        let latencies = RpcLatencies::default();
        for code in 0..1_000 {
            latencies.record(
                RpcKind::new(500_000 + code, 90_000 + code, false, false),
                Duration::ZERO,
            );
        }
        let read = latencies.read();
        assert_eq!(read.len(), 1);
        assert_eq!(read.keys().next().unwrap().request_name(), "UNKNOWN");
    }
}
