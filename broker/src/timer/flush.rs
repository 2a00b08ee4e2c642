//! TimerFlush: brings the timer's progress to the disk, on a thread of its own: a slow disk must not hold up deliveries.
//!
//! ```text
//!   what the service reached ─> CommitLog to disk ─> timer log, wheel ─> checkpoint
//! ```
//!
//! In this order, so that a power failure finds every copy that the checkpoint counts as delivered.
//! Reference: `TimerFlushService`, and the timer's cleaning task.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use common::clock::Now;
use common::planted_bug::{PlantedBug, is_planted};
use common::service::{Next, Service};
use store::Store;
use store::timer::TimerProgress;

use super::timers::Timers;

/// Between two looks for files of the timer log that nobody needs.
const CLEAN_EVERY: Duration = Duration::from_secs(30);

/// The service.
pub struct TimerFlush {
    store: Arc<Store>,
    timers: Arc<Timers>,
    flushed: Option<TimerProgress>,
    /// Messages filed and delivered when the CommitLog was flushed.
    log_flushed_for: (u64, u64),
    cleaned_at: Duration,
}

impl TimerFlush {
    /// To be started before the service that delivers, so that its last tick comes after that one's.
    pub(crate) fn new(store: Arc<Store>, timers: Arc<Timers>) -> Self {
        Self {
            store,
            timers,
            flushed: None,
            log_flushed_for: (0, 0),
            cleaned_at: Duration::ZERO,
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let reached = self.timers.reached();
        if self.flushed == Some(reached) {
            return Ok(());
        }
        // Time passes without any message: that needs no flush of the whole log.
        let work = (reached.queue_offset, self.timers.dequeued.count());
        if self.log_flushed_for != work && !is_planted(PlantedBug::TimerProgressAhead) {
            self.store.flush()?;
            self.log_flushed_for = work;
        }
        self.timers
            .write_progress(&self.store, reached)
            .context("flush the timer's files")?;
        self.flushed = Some(reached);
        Ok(())
    }

    fn clean(&mut self, now: Now) -> anyhow::Result<()> {
        if now.monotonic < self.cleaned_at + CLEAN_EVERY {
            return Ok(());
        }
        self.cleaned_at = now.monotonic;
        let log_min = self.store.log_range().start;
        let deleted = self
            .timers
            .files
            .delete_before(log_min)
            .context("delete old files of the timer log")?;
        if deleted > 0 {
            tracing::info!(deleted, "deleted files of the timer log");
        }
        Ok(())
    }
}

impl Service for TimerFlush {
    const NAME: &'static str = "timer-flush";

    fn interval(&self) -> Duration {
        Duration::from_millis(self.store.config().get().timer_flush_interval_ms.max(10))
    }

    fn tick(&mut self, now: Now, _stopping: bool) -> anyhow::Result<Next> {
        for meter in [&self.timers.enqueued, &self.timers.dequeued] {
            meter.sample(now.wall_ms);
        }
        self.flush()?;
        self.clean(now)?;
        Ok(Next::Idle)
    }
}
