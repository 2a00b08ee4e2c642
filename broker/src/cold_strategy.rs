//! How the thresholds of groups that read old messages adapt, with `coldCtrStrategyEnable`. The ends of windows are counted in `cold_data.rs`.
//!
//! ```text
//!                       all groups together read        a group's threshold
//!   Simple   raises     not over the limit of all       x 1.5, each group that reached its own
//!            lowers     over it                         x 0.8, the three highest, not below cgColdReadThreshold
//!   Pid      the same, and what was read in the last ten windows is less (raises) or more (lowers) than 0.8 of the limit of all
//! ```
//!
//! `usePIDColdCtrStrategy` selects. Reference: `SimpleColdCtrStrategy`, `PIDAdaptiveColdCtrStrategy`.

use std::collections::VecDeque;

use crate::cold_data::Thresholds;

/// Windows that the second strategy looks back on; before so many have ended it changes nothing.
const HISTORY: usize = 10;

/// Decides at the end of a window what becomes of thresholds.
#[derive(Debug)]
pub enum ColdStrategy {
    /// By the window that ended.
    Simple,
    /// By the last ten windows.
    Pid(Pid),
}

/// How far the last windows were from what all groups together are expected to read. Wanted are neither more nor fewer bytes.
#[derive(Debug)]
pub struct Pid {
    expected: i64,
    /// Expected less read, in bytes, the newest last; at most [`HISTORY`].
    errors: VecDeque<i64>,
}

impl ColdStrategy {
    /// The one that looks back.
    pub fn pid(limits: Thresholds) -> Self {
        Self::Pid(Pid {
            expected: (limits.all as f64 * 0.8) as i64,
            errors: VecDeque::with_capacity(HISTORY + 1),
        })
    }

    /// A window has ended in which all groups read so many bytes. Comes before the questions below.
    pub fn collect(&mut self, bytes: i64) {
        if let Self::Pid(pid) = self {
            pid.collect(bytes);
        }
    }

    /// The new threshold of a group that has reached its own in a window that was not over the limit of all.
    pub fn promote(&self, threshold: i64) -> Option<i64> {
        let raises = match self {
            Self::Simple => true,
            Self::Pid(pid) => pid.decision_factor() > 0.0,
        };
        raises.then_some((threshold as f64 * 1.5) as i64)
    }

    /// The new threshold of one of the groups with the highest ones, after a window of so many bytes.
    pub fn decelerate(&self, threshold: i64, bytes: i64, limits: Thresholds) -> Option<i64> {
        let lowers = match self {
            Self::Simple => bytes > limits.all,
            Self::Pid(pid) => pid.decision_factor() < 0.0,
        };
        lowers.then_some(((threshold as f64 * 0.8) as i64).max(limits.group))
    }
}

impl Pid {
    fn collect(&mut self, bytes: i64) {
        self.errors.push_back(self.expected.saturating_sub(bytes));
        if self.errors.len() > HISTORY {
            self.errors.pop_front();
        }
    }

    /// Over zero when less was read than expected.
    fn decision_factor(&self) -> f64 {
        if self.errors.len() < HISTORY {
            return 0.0;
        }
        let newest = self.errors[HISTORY - 1];
        let change = newest.saturating_sub(self.errors[HISTORY - 2]);
        let sum: f64 = self.errors.iter().map(|error| *error as f64).sum();
        0.5 * newest as f64 + 0.3 * sum + 0.2 * change as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Thresholds = Thresholds {
        group: 100,
        all: 1_000,
    };

    fn after(windows: &[i64]) -> ColdStrategy {
        let mut strategy = ColdStrategy::pid(LIMITS);
        windows.iter().for_each(|bytes| strategy.collect(*bytes));
        strategy
    }

    /// 0.5 x newest + 0.3 x sum + 0.2 x change, of 800 less what was read.
    #[test]
    fn the_last_ten_windows_decide() {
        let factor = |windows: &[i64]| match after(windows) {
            ColdStrategy::Pid(pid) => pid.decision_factor(),
            ColdStrategy::Simple => unreachable!("made above"),
        };
        assert_eq!(factor(&[0; 9]), 0.0, "nine are too few");
        assert_eq!(factor(&[800; 10]), 0.0);
        // 0.5 x 700 + 0.3 x 7,000
        assert_eq!(factor(&[100; 10]), 2_450.0);
        // 0.5 x -200 + 0.3 x (9 x 0 - 200) + 0.2 x -200: the first window has left.
        let mut windows = [800; 11];
        (windows[0], windows[10]) = (1_000_000, 1_000);
        assert_eq!(factor(&windows), -200.0);
    }

    #[test]
    fn thresholds_grow_while_less_is_read_than_expected_and_shrink_after_more() {
        let decisions = |windows: &[i64]| {
            let strategy = after(windows);
            (strategy.promote(225), strategy.decelerate(225, 0, LIMITS))
        };
        assert_eq!(decisions(&[0; 9]), (None, None));
        assert_eq!(decisions(&[799; 10]), (Some(337), None));
        assert_eq!(decisions(&[800; 10]), (None, None));
        assert_eq!(decisions(&[801; 10]), (None, Some(180)));
    }

    #[test]
    fn the_simple_one_lowers_after_a_window_over_the_limit_of_all() {
        let simple = ColdStrategy::Simple;
        assert_eq!(simple.promote(225), Some(337));
        assert_eq!(simple.decelerate(225, 1_000, LIMITS), None);
        assert_eq!(simple.decelerate(225, 1_001, LIMITS), Some(180));
        assert_eq!(simple.decelerate(124, 1_001, LIMITS), Some(100), "not lower");
    }

    #[test]
    fn the_largest_numbers_stay_in_their_range() {
        assert_eq!(ColdStrategy::Simple.promote(i64::MAX), Some(i64::MAX));
        let strategy = after(&[i64::MAX; 10]);
        assert_eq!(strategy.promote(1), None);
        assert_eq!(strategy.decelerate(1_000, i64::MAX, LIMITS), Some(800));
    }
}
