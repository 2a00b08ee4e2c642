//! Everything about light topics that happens by time.
//!
//! ```text
//!   as soon as it is due    parked lite pops whose time is up, batches that are visible again, full dispatches
//!   liteEventCheckInterval  clients that take no events are given up
//!   liteSubscriptionCheckInterval    clients that have not repeated their subscription are forgotten
//!   liteTtlCheckInterval    light topics nobody sends to go; not before minLiteTTl after a start
//! ```
//!
//! Reference: the threads of `LiteEventDispatcher`, `LiteSubscriptionRegistryImpl`, `AbstractLiteLifecycleManager`,
//! `PopLiteLongPollingService`.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::service::{Next, Service};

use super::topics;
use crate::broker::Broker;
use crate::hold::lite::LiteExpiry;

/// The service of light topics.
pub struct LiteService {
    broker: Arc<Broker>,
    expiry: LiteExpiry,
    /// When something is due next, ms; wall time.
    next_ms: Option<i64>,
    events: Period,
    subscriptions: Period,
    expired_topics: Period,
}

/// Something that is to happen every so often.
#[derive(Default)]
struct Period {
    last: Option<Duration>,
}

impl Period {
    /// Whether it is time. The first time it is not: the period begins.
    fn is_over(&mut self, now: Now, period_ms: i64) -> bool {
        let period = Duration::from_millis(u64::try_from(period_ms).unwrap_or(0).max(1));
        let last = *self.last.get_or_insert(now.monotonic);
        let is_over = now.monotonic.saturating_sub(last) >= period;
        if is_over {
            self.last = Some(now.monotonic);
        }
        is_over
    }
}

impl LiteService {
    /// The service of this broker's light topics.
    pub fn new(broker: Arc<Broker>) -> Self {
        let expiry = LiteExpiry::new(Arc::clone(&broker.lite.hold), Arc::clone(&broker.clock));
        LiteService {
            broker,
            expiry,
            next_ms: None,
            events: Period::default(),
            subscriptions: Period::default(),
            expired_topics: Period::default(),
        }
    }

    fn forget_silent_clients(&self, now_ms: i64) {
        let timeout_ms = self.broker.config.get().lite_subscription_check_timeout_mills;
        let silent = self
            .broker
            .lite
            .look(|subscriptions| subscriptions.silent_since(now_ms - timeout_ms));
        for client_id in silent {
            tracing::info!(%client_id, "a client no longer says what light topics it wants");
            self.broker.lite.remove_client(&client_id);
        }
    }

    fn delete_expired_topics(&self, now_ms: i64) {
        let is_young = now_ms - self.broker.started_ms < self.broker.config.get().min_lite_ttl;
        if !is_young {
            topics::delete_expired(&self.broker, now_ms);
        }
    }
}

impl Service for LiteService {
    const NAME: &'static str = "lite";

    fn interval(&self) -> Duration {
        let until_next = self.next_ms.map_or(Duration::MAX, |next_ms| {
            let left_ms = next_ms.saturating_sub(self.broker.clock.wall_ms()).max(1);
            Duration::from_millis(u64::try_from(left_ms).unwrap_or(1))
        });
        let check_ms = self.broker.config.get().lite_event_check_interval;
        let check = Duration::from_millis(u64::try_from(check_ms).unwrap_or(0).max(1));
        until_next.min(check).min(self.expiry.interval())
    }

    fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
        self.expiry.tick(now, stopping)?;
        if stopping {
            return Ok(Next::Idle);
        }
        let config = self.broker.config.get();
        let lite = Arc::clone(&self.broker.lite);
        if self.events.is_over(now, config.lite_event_check_interval) {
            lite.give_up_hanging(now.wall_ms);
        }
        if self
            .subscriptions
            .is_over(now, config.lite_subscription_check_interval)
        {
            self.forget_silent_clients(now.wall_ms);
        }
        if self.expired_topics.is_over(now, config.lite_ttl_check_interval) {
            self.delete_expired_topics(now.wall_ms);
        }
        for whose in lite.due_full_dispatches(now.wall_ms) {
            topics::dispatch_all(&self.broker, &whose);
        }
        let visible_ms = lite.tell_of_visible(now.wall_ms);
        self.next_ms = visible_ms.into_iter().chain(lite.next_full_dispatch_ms()).min();
        Ok(Next::Idle)
    }
}
