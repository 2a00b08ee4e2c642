//! What the store counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper limits, in ms, of the classes of put latency; a last class has none. Reference: `StoreStatsService`.
pub const PUT_LATENCY_LIMITS_MS: [u64; 12] = [
    1, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000,
];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Messages stored.
    pub put_message_count: AtomicU64,
    /// Bytes of their records.
    pub put_bytes: AtomicU64,
    /// Puts refused or failed.
    pub put_failed_count: AtomicU64,
    /// The slowest put, in ms.
    pub put_latency_max_ms: AtomicU64,
    /// Puts by latency class.
    pub put_latency_counts: [AtomicU64; PUT_LATENCY_LIMITS_MS.len() + 1],
    /// Gets that found messages.
    pub get_found_count: AtomicU64,
    /// Gets that did not.
    pub get_miss_count: AtomicU64,
    /// Messages read.
    pub get_message_count: AtomicU64,
    /// The slowest get, in ms.
    pub get_latency_max_ms: AtomicU64,
}

impl Stats {
    /// Counts a put that went well.
    pub fn count_put(&self, messages: u64, bytes: u64, latency_ms: i64) {
        self.put_message_count.fetch_add(messages, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
        let latency_ms = u64::try_from(latency_ms).unwrap_or(0);
        let class = PUT_LATENCY_LIMITS_MS.partition_point(|limit| *limit <= latency_ms);
        self.put_latency_counts[class].fetch_add(1, Ordering::Relaxed);
        raise(&self.put_latency_max_ms, latency_ms);
    }

    /// Counts a get.
    pub fn count_get(&self, messages: u32, latency_ms: i64) {
        let outcome = if messages > 0 {
            &self.get_found_count
        } else {
            &self.get_miss_count
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        self.get_message_count
            .fetch_add(u64::from(messages), Ordering::Relaxed);
        raise(&self.get_latency_max_ms, u64::try_from(latency_ms).unwrap_or(0));
    }
}

/// Writes only when there is something to raise: the line stays shared.
fn raise(maximum: &AtomicU64, value: u64) {
    if value > maximum.load(Ordering::Relaxed) {
        maximum.fetch_max(value, Ordering::Relaxed);
    }
}
