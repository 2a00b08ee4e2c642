//! Random choices that need no secrecy: which queue a message goes to, how long a retry waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// A seeded source of numbers, shared between threads. The same seed gives the same sequence.
#[derive(Debug)]
pub struct Random {
    state: AtomicU64,
}

impl Random {
    /// A source that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        // SplitMix64: one addition of state, so threads share it without a lock.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, `limit`; 0 when there is none.
    pub fn below(&self, limit: i32) -> i32 {
        let Ok(limit) = u64::try_from(limit.max(1)) else {
            return 0;
        };
        i32::try_from(self.next_u64() % limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_the_seed_and_stay_below_the_limit() {
        let (first, second) = (Random::new(7), Random::new(7));
        let numbers: Vec<i32> = (0..100).map(|_| first.below(4)).collect();
        assert_eq!(numbers, (0..100).map(|_| second.below(4)).collect::<Vec<_>>());
        assert!((0..4).all(|number| numbers.contains(&number)) && numbers.iter().all(|number| *number < 4));
        assert_eq!((first.below(0), first.below(-3)), (0, 0));
    }
}
