//! Time, handed in from outside, so that tests and the simulator own it.
//!
//! The only file that asks the operating system what time it is.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of a [`Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch; may jump when the host's clock is set.
    pub wall_ms: i64,
    /// Time since the clock was made; never goes back.
    pub monotonic: Duration,
}

/// Where wall time (stored in messages) and monotonic time (deadlines) come from.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;

    /// Time since an arbitrary fixed point; never goes back.
    fn monotonic(&self) -> Duration;

    /// Both readings at once.
    fn now(&self) -> Now {
        Now {
            wall_ms: self.wall_ms(),
            monotonic: self.monotonic(),
        }
    }
}

/// The host's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        // A host set before 1970 reads as 0: messages need a time, not a panic.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Now>,
}

impl ManualClock {
    /// Starts at the given wall time, with monotonic time zero.
    pub fn new(wall_ms: i64) -> Self {
        Self {
            now: Mutex::new(Now {
                wall_ms,
                monotonic: Duration::ZERO,
            }),
        }
    }

    /// Lets both times pass.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.wall_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        now.monotonic += by;
    }

    /// Sets the wall time, forward or back, as an operator would; monotonic time stays.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.lock().wall_ms = wall_ms;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.lock().wall_ms
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_millis(250));
        assert_eq!(
            clock.now(),
            Now {
                wall_ms: 1_250,
                monotonic: Duration::from_millis(250)
            }
        );

        clock.set_wall_ms(10);
        assert_eq!(
            clock.now(),
            Now {
                wall_ms: 10,
                monotonic: Duration::from_millis(250)
            }
        );
    }

    #[test]
    fn the_system_clock_is_past_2020_and_does_not_go_back() {
        let clock = SystemClock::new();
        let first = clock.monotonic();
        assert!(clock.wall_ms() > 1_577_836_800_000);
        assert!(clock.monotonic() >= first);
    }
}
