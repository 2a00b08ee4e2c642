//! Every background service of the broker, in start order. `Services::stop` goes the other way.
//!
//! ```text
//!   allocate, flush, dispatch, retention   the store's           each on a thread of its own
//!   persist                                writes changed registries
//!   delay-levels                           delivers what is due
//!   transaction-check, transaction-ops     asks about half messages without an end; writes down those with one
//!   timer-flush                            brings the timer's progress to the disk
//!   timer                                  files messages with a delivery time, delivers them
//!   pull-hold, pop-hold                    answer parked requests whose time is up
//!   lite                                   the same for lite pops; light topics expire, so do subscriptions to them
//!   pop-revive                             brings back what was popped and not acknowledged
//!   consumer-notices                       tells members of groups that changed
//!   client-expiry                          forgets silent clients, expired locks, filters and batches; commits broadcast offsets
//!   stats                                  takes the samples behind TPS figures
//! ```
//!
//! What talks to the network is a task instead: `namesrv_link`.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::service::{Next, Service, Services, Waker};

use crate::broker::Broker;
use crate::clients::broadcast_offsets::broadcast_group;
use crate::clients::change_notices::NoticeRounds;
use crate::delay::levels::DelayDelivery;
use crate::hold::pop::PopExpiry;
use crate::hold::pull::PullExpiry;
use crate::lite::service::LiteService;
use crate::lite::topics;
use crate::pop::reviver::Reviver;
use crate::registry::{Persist, PersistWaker};
use crate::stats::StatsSampler;
use crate::timer::{TimerFlush, TimerService, Timers};
use crate::transaction::check_service::{OpWriter, TransactionCheck};
use store::services::StoreTicks;

/// Every service of a broker, not started: for [`start`], and for those who tick them without threads.
#[allow(missing_docs)]
pub struct BrokerTicks {
    pub store: StoreTicks,
    pub persist: Persist,
    pub delay: DelayDelivery,
    pub transaction_check: TransactionCheck,
    pub transaction_ops: OpWriter,
    pub timer_flush: Option<TimerFlush>,
    pub timer: Option<TimerService>,
    pub pull_expiry: PullExpiry,
    pub pop_expiry: PopExpiry,
    pub lite: LiteService,
    pub reviver: Reviver,
    pub consumer_notices: NoticeRounds,
    pub client_expiry: ClientExpiry,
    pub stats: StatsSampler<Box<dyn Fn() -> i32 + Send>>,
    persist_waker: PersistWaker,
}

impl BrokerTicks {
    /// The services of this broker. To be made once: each registry and each delay level belongs to one of them.
    ///
    /// # Errors
    /// When `messageDelayLevel` cannot be read.
    pub fn of(broker: &Arc<Broker>) -> anyhow::Result<Self> {
        let persist_waker = PersistWaker::new();
        let config = Arc::clone(&broker.config);
        let idle_minutes: Box<dyn Fn() -> i32 + Send> =
            Box::new(move || config.get().max_stats_idle_time_in_minutes);
        Ok(Self {
            store: broker.store.ticks(),
            persist: persist(broker, &persist_waker),
            delay: DelayDelivery::new(
                Arc::clone(&broker.store),
                Arc::clone(&broker.stats),
                Arc::clone(&broker.delay_offsets),
                Arc::clone(&broker.delay_arrivals),
            )?,
            transaction_check: TransactionCheck::new(
                Arc::clone(&broker.transactions),
                Arc::clone(&broker.config),
            ),
            transaction_ops: OpWriter::new(Arc::clone(&broker.transactions), Arc::clone(&broker.config)),
            timer_flush: broker
                .timers
                .as_ref()
                .map(|timers| TimerFlush::new(Arc::clone(&broker.store), Arc::clone(timers))),
            timer: broker.timers.as_ref().map(|timers| timer_service(broker, timers)),
            pull_expiry: PullExpiry::new(Arc::clone(&broker.pull_hold), Arc::clone(&broker.clock)),
            pop_expiry: PopExpiry::new(Arc::clone(&broker.pop_hold), Arc::clone(&broker.clock)),
            lite: LiteService::new(Arc::clone(broker)),
            reviver: Reviver::new(Arc::clone(broker)),
            consumer_notices: NoticeRounds::new(Arc::clone(&broker.consumers), Arc::clone(&broker.config)),
            client_expiry: ClientExpiry {
                broker: Arc::clone(broker),
            },
            stats: StatsSampler::new(Arc::clone(&broker.stats), Arc::clone(&broker.store), idle_minutes),
            persist_waker,
        })
    }
}

/// Starts them all.
///
/// # Errors
/// When a thread cannot be started, or `messageDelayLevel` cannot be read.
pub fn start(broker: &Arc<Broker>) -> anyhow::Result<Services> {
    let ticks = BrokerTicks::of(broker)?;
    let mut services = Services::new(Arc::clone(&broker.clock));
    broker.store.start_services(&mut services)?;
    // Stopped after everything that changes a table, so that its last write misses nothing.
    services.start(ticks.persist, &ticks.persist_waker)?;
    services.start(ticks.delay, &broker.wakers.delay)?;
    services.start(ticks.transaction_check, &Waker::new())?;
    services.start(ticks.transaction_ops, &broker.wakers.transaction_ops)?;
    // Stopped after the timer, whose last tick settles what is to be written.
    if let Some(timer_flush) = ticks.timer_flush {
        services.start(timer_flush, &Waker::new())?;
    }
    if let Some(timer) = ticks.timer {
        services.start(timer, &broker.wakers.timer)?;
    }
    services.start(ticks.pull_expiry, &broker.wakers.pull_expiry)?;
    services.start(ticks.pop_expiry, &broker.wakers.pop_expiry)?;
    services.start(ticks.lite, &broker.wakers.lite)?;
    services.start(ticks.reviver, &Waker::new())?;
    services.start(ticks.consumer_notices, &broker.wakers.consumer_notices)?;
    services.start(ticks.client_expiry, &Waker::new())?;
    services.start(ticks.stats, &Waker::new())?;
    Ok(services)
}

/// Between two writes of the consumer filters, as in the reference.
const FILTERS_PERIOD: Duration = Duration::from_secs(10);

fn persist(broker: &Broker, waker: &PersistWaker) -> Persist {
    let offsets_period = period(broker.config.get().flush_consumer_offset_interval);
    let delay_period = period(broker.store_config.get().flush_delay_offset_interval);
    let transaction_period = period(broker.config.get().transaction_metric_flush_interval);
    let mut persist = Persist::new(waker)
        .on_change(broker.topics.clone())
        .on_change(broker.groups.clone())
        .on_change(broker.static_topics.mappings.clone())
        .on_change(broker.request_modes.clone())
        .every(offsets_period, broker.consumer_offsets.clone())
        .every(offsets_period, broker.order_info.clone())
        .every(offsets_period, broker.lite_order_info.clone())
        .every(delay_period, broker.delay_offsets.clone())
        .every(FILTERS_PERIOD, broker.consumer_filters.clone())
        .every(transaction_period, broker.transaction_metrics.clone());
    if let Some(timers) = &broker.timers {
        let timer_period = period(broker.store_config.get().timer_flush_interval_ms);
        persist = persist.every(timer_period, timers.metrics.clone());
    }
    persist
}

fn timer_service(broker: &Broker, timers: &Arc<Timers>) -> TimerService {
    TimerService::new(
        Arc::clone(&broker.store),
        Arc::clone(timers),
        Arc::clone(&broker.stats),
        Arc::clone(&broker.clock),
    )
}

fn period(ms: impl TryInto<u64>) -> Duration {
    Duration::from_millis(ms.try_into().unwrap_or(0).max(1))
}

/// Forgets clients that fell silent, queue locks that nobody renews, filters of groups long gone, and batches
/// popped in order that nobody asks about. Reference: `ClientHousekeepingService`.
pub struct ClientExpiry {
    broker: Arc<Broker>,
}

impl ClientExpiry {
    /// What the slowest member of a broadcasting group has pulled is committed for the group.
    fn expire_broadcast_offsets(&self, now_ms: i64) {
        let config = self.broker.config.get();
        let consumers = &self.broker.consumers;
        let slowest = self.broker.broadcast_offsets.expire(
            now_ms,
            config.broadcast_offset_expire_second.saturating_mul(1_000),
            config.broadcast_offset_expire_max_second.saturating_mul(1_000),
            |group, client_id| {
                let info = consumers.info(group);
                info.is_some_and(|info| info.channel(client_id).is_some())
            },
        );
        for slowest in slowest {
            self.broker.consumer_offsets.commit(
                "the slowest member",
                &broadcast_group(&slowest.group),
                &slowest.topic,
                slowest.queue_id,
                slowest.offset,
            );
        }
    }
}

impl Service for ClientExpiry {
    const NAME: &'static str = "client-expiry";

    fn interval(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn tick(&mut self, now: Now, _stopping: bool) -> anyhow::Result<Next> {
        let timeout_ms = self.broker.config.get().channel_expired_timeout;
        self.broker.producers.expire(now.wall_ms, timeout_ms);
        self.broker.consumers.expire(now.wall_ms, timeout_ms, |group| {
            self.broker.notifies_members(group)
        });
        self.broker.queue_locks.expire(now.wall_ms);
        self.expire_broadcast_offsets(now.wall_ms);
        let has_members = |group: &str| self.broker.consumers.info(group).is_some();
        self.broker.consumer_filters.expire(now.wall_ms, has_members);
        self.broker.order_info.clean(
            now.wall_ms,
            |topic| self.broker.topics.get(topic).map(|topic| topic.read_queue_nums),
            |group| self.broker.groups.contains(group),
        );
        self.broker.lite_order_info.clean(
            now.wall_ms,
            |lmq| Some(i32::from(topics::end_of(&self.broker, lmq) > 0)),
            |group| self.broker.groups.contains(group),
        );
        Ok(Next::Idle)
    }
}
