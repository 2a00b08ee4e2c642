//! Broker: the subsystems, in construction order. No behaviour.
//!
//! Handlers see all of it; a subsystem gets only what it uses, when it is made. Arrows point down:
//!
//! ```text
//!   Broker ── configuration, clock, identity
//!     ├── store          CommitLog and everything derived from it
//!     ├── topics, groups, consumer_offsets, delay_offsets,
//!     │   consumer_filters, order_info, lite_order_info,
//!     │   request_modes                                        each its own lock and its own file
//!     ├── recent_sends   what need not be stored again
//!     ├── transactions   half messages, their ends, their metrics
//!     ├── static_topics  mappings of queues that move between brokers, their file, the other brokers
//!     ├── producers, consumers, queue_locks, broadcast_offsets,
//!     │   topic_routes                                         who is connected, and where else queues are
//!     ├── pull_hold, pop_hold, lite, delay_arrivals            told of arrivals by the store
//!     ├── timers         messages with a delivery time; none without timerWheelEnable
//!     ├── revive_log, pop_locks, invisible, pop_progress       what pops leave behind
//!     └── cold_data, stats, registration, random, unique_keys
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use common::clock::Clock;
use common::message::delay_level::DelayLevels;
use common::message::id::UniqueKeys;
use common::names::TIMER_TOPIC;
use common::properties::Live;
use common::random::Random;
use common::service::Waker;
use remoting::connection::Connection;
use remoting::routes::ConnectionEvents;
use store::{Arrival, ArrivalListener, Disk, MessageStoreConfig, Store, StoreOptions};

use crate::clients::broadcast_offsets::BroadcastOffsets;
use crate::clients::consumers::Consumers;
use crate::clients::producers::Producers;
use crate::clients::queue_locks::QueueLocks;
use crate::clients::topic_routes::TopicRoutes;
use crate::cold_data::ColdData;
use crate::config::{BrokerConfig, Configuration, Identity, MetricsExporterType};
use crate::delay::levels::DelayArrivals;
use crate::hold::pop::PopHold;
use crate::hold::pull::PullHold;
use crate::lite::dispatch::LiteDispatch;
use crate::lite::topics;
use crate::namesrv_link::RegistrationWaker;
use crate::pop::invisible::Invisible;
use crate::pop::locks::PopLocks;
use crate::pop::progress::{self, PopProgress};
use crate::pop::revive_log::ReviveLog;
use crate::recent_sends::{RecentSends, longest_window_ms};
use crate::registry::{
    ConfigDirectory, ConsumerFilters, ConsumerOffsets, ConsumerOrderInfo, DelayOffsets, Groups,
    MessageRequestModes, QueueMappings, Topics, TransactionMetrics,
};
use crate::static_topic::StaticTopics;
use crate::static_topic::peers::Peers;
use crate::stats::BrokerStats;
use crate::timer::Timers;
use crate::timer::timers::TimerArrivals;
use crate::transaction::Transactions;
use crate::transaction::transactions::TransactionParts;

/// One broker. Everything a handler may need.
pub struct Broker {
    pub(crate) configuration: Configuration,
    pub(crate) config: Arc<Live<BrokerConfig>>,
    pub(crate) store_config: Arc<Live<MessageStoreConfig>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) started_ms: i64,
    pub(crate) delay_levels: DelayLevels,

    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) consumer_offsets: Arc<ConsumerOffsets>,
    pub(crate) delay_offsets: Arc<DelayOffsets>,
    pub(crate) consumer_filters: Arc<ConsumerFilters>,
    pub(crate) transaction_metrics: Arc<TransactionMetrics>,
    pub(crate) static_topics: StaticTopics,
    pub(crate) order_info: Arc<ConsumerOrderInfo>,
    pub(crate) lite_order_info: Arc<ConsumerOrderInfo>,
    pub(crate) request_modes: Arc<MessageRequestModes>,

    pub(crate) producers: Arc<Producers>,
    pub(crate) consumers: Arc<Consumers>,
    pub(crate) queue_locks: Arc<QueueLocks>,
    pub(crate) broadcast_offsets: BroadcastOffsets,
    pub(crate) cold_data: ColdData,
    pub(crate) topic_routes: TopicRoutes,
    pub(crate) pull_hold: Arc<PullHold>,
    pub(crate) pop_hold: Arc<PopHold>,
    pub(crate) lite: Arc<LiteDispatch>,
    pub(crate) delay_arrivals: Arc<DelayArrivals>,

    pub(crate) store: Arc<Store>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) recent_sends: RecentSends,
    pub(crate) timers: Option<Arc<Timers>>,
    pub(crate) revive_log: ReviveLog,
    pub(crate) pop_locks: PopLocks,
    pub(crate) invisible: Invisible,
    pub(crate) pop_progress: Arc<PopProgress>,

    pub(crate) stats: Arc<BrokerStats>,
    pub(crate) registration: RegistrationWaker,
    pub(crate) unique_keys: UniqueKeys,
    pub(crate) random: Random,
    pub(crate) wakers: Wakers,
}

/// Wakers of the services that others give work to.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    pub(crate) pull_expiry: Waker,
    pub(crate) pop_expiry: Waker,
    pub(crate) lite: Waker,
    pub(crate) delay: Waker,
    pub(crate) transaction_ops: Waker,
    pub(crate) timer: Waker,
    pub(crate) consumer_notices: Waker,
}

impl Broker {
    /// Opens the registries and the store, recovering what the last stop left. Starts no thread and no socket.
    ///
    /// # Errors
    /// When a file cannot be read, is of another size than configured, or belongs to a running broker.
    pub fn open(
        configuration: Configuration,
        identity: Identity,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Arc<Self>> {
        let config = Arc::clone(&configuration.broker);
        let store_config = Arc::clone(&configuration.store);
        let directory = ConfigDirectory::new(
            config_directory(&store_config.get()),
            disk.clone(),
            Arc::clone(&clock),
        );
        let delay_levels =
            DelayLevels::parse(&store_config.get().message_delay_level).context("read messageDelayLevel")?;

        let wakers = Wakers::default();
        let pull_hold = Arc::new(PullHold::new(wakers.pull_expiry.clone()));
        let pop_hold = Arc::new(PopHold::new(wakers.pop_expiry.clone()));
        let lite = LiteDispatch::new(Arc::clone(&config), Arc::clone(&clock), &wakers.lite);
        let lite = Arc::new(lite);
        let delay_arrivals = DelayArrivals::new(&wakers.delay);
        let timer_arrivals = TimerArrivals(wakers.timer.clone());
        // The store comes first: its lock keeps a second broker from touching any of the files.
        let store = Store::open(StoreOptions {
            config: Arc::clone(&store_config),
            disk: Arc::clone(&disk),
            clock: Arc::clone(&clock),
            arrivals: Arc::new(Arrivals {
                pull_hold: Arc::clone(&pull_hold),
                pop_hold: Arc::clone(&pop_hold),
                lite: Arc::clone(&lite),
                delays: Arc::clone(&delay_arrivals),
                timers: timer_arrivals,
            }),
        })
        .context("open the store")?;
        let registries = Registries::open(&directory, &identity, &config, &store_config.get(), &clock)
            .with_context(|| format!("read the registries in {directory}"))?;
        let timers = match store_config.get().timer_wheel_enable {
            true => Some(Arc::new(Timers::open(&store, &disk, &directory, &clock)?)),
            false => None,
        };
        let mut stats = BrokerStats::new(&identity.cluster, Arc::clone(&clock));
        if config.get().metrics_exporter_type == MetricsExporterType::Prom {
            stats = stats.scraped();
        }
        let stats = Arc::new(stats);
        let revive_log = ReviveLog::new(
            Arc::clone(&store),
            Arc::clone(&stats),
            Arc::clone(&clock),
            identity.clone(),
            config.get().revive_queue_num,
            timers
                .as_ref()
                .map_or(1_000, |timers| timers.files.precision_ms()),
        );
        progress::recover(&store, &revive_log, &registries.consumer_offsets, clock.wall_ms())
            .context("write the offsets of pops")?;
        let pop_progress = PopProgress::new(&store, &registries.consumer_offsets);
        let registration = RegistrationWaker::new();
        let topics_changed = registration.clone();
        registries
            .topics
            .on_change(move |change| topics_changed.wake_after(change));
        let consumers = Arc::new(Consumers::new(wakers.consumer_notices.clone()));
        let filters = Arc::clone(&registries.consumer_filters);
        consumers.on_group_gone(move |group| filters.unregister(group));
        let producers = Arc::new(Producers::new());
        let recent_sends = RecentSends::new();
        let window_ms = longest_window_ms(&registries.topics, config.get().duplicate_send_window_ms);
        if window_ms > 0 {
            recent_sends.recover(&store, clock.wall_ms(), window_ms)?;
        }
        let transactions = Transactions::open(TransactionParts {
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            clock: Arc::clone(&clock),
            topics: Arc::clone(&registries.topics),
            offsets: Arc::clone(&registries.consumer_offsets),
            producers: Arc::clone(&producers),
            stats: Arc::clone(&stats),
            metrics: Arc::clone(&registries.transaction_metrics),
            store_host: identity.store_host,
            broker_name: identity.broker_name.clone(),
            op_waker: wakers.transaction_ops.clone(),
        })?;

        let broker = Arc::new(Self {
            started_ms: clock.wall_ms(),
            stats,
            unique_keys: UniqueKeys::new(Arc::clone(&clock), identity.store_host.ip()),
            random: Random::new(clock.wall_ms().unsigned_abs()),
            topics: registries.topics,
            groups: registries.groups,
            consumer_offsets: registries.consumer_offsets,
            delay_offsets: registries.delay_offsets,
            consumer_filters: registries.consumer_filters,
            transaction_metrics: registries.transaction_metrics,
            static_topics: StaticTopics {
                mappings: registries.queue_mappings,
                peers: Peers::new(Arc::clone(&config)),
            },
            producers,
            consumers,
            order_info: registries.order_info,
            lite_order_info: registries.lite_order_info,
            request_modes: registries.request_modes,
            queue_locks: Arc::new(QueueLocks::new()),
            broadcast_offsets: BroadcastOffsets::new(),
            cold_data: ColdData::of(&config.get(), clock.wall_ms()),
            topic_routes: TopicRoutes::new(Arc::clone(&config), Arc::clone(&clock)),
            config,
            store_config,
            configuration,
            clock,
            identity,
            delay_levels,
            pull_hold,
            pop_hold,
            lite,
            delay_arrivals,
            store,
            transactions: Arc::new(transactions),
            recent_sends,
            timers,
            revive_log,
            pop_locks: PopLocks::new(),
            invisible: Invisible::default(),
            pop_progress,
            registration,
            wakers,
        });
        topics::forget_gone(&broker);
        Ok(broker)
    }

    /// The message store, for those who drive a broker without sockets.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Messages of the timer topic that are not filed yet; 0 without a timer.
    pub fn timer_offset_behind(&self) -> i64 {
        let filed = self
            .timers
            .as_ref()
            .map(|timers| timers.reached().queue_offset.cast_signed());
        filed.map_or(0, |filed| (self.store.max_offset(TIMER_TOPIC, 0) - filed).max(0))
    }

    /// Answers every parked request: the broker stops.
    pub fn resume_parked(&self) {
        self.pull_hold.stop();
        self.pop_hold.stop();
        self.lite.hold.stop();
    }

    /// Whether the group's members are told when one joins or leaves. A group that was deleted meanwhile still has members.
    pub(crate) fn notifies_members(&self, group: &str) -> bool {
        self.config.get().notify_consumer_ids_changed_enable
            && self
                .groups
                .get(group)
                .is_none_or(|group| group.notify_consumer_ids_changed_enable)
    }
}

/// The durable tables, as one step of the construction.
struct Registries {
    topics: Arc<Topics>,
    groups: Arc<Groups>,
    consumer_offsets: Arc<ConsumerOffsets>,
    delay_offsets: Arc<DelayOffsets>,
    consumer_filters: Arc<ConsumerFilters>,
    transaction_metrics: Arc<TransactionMetrics>,
    queue_mappings: Arc<QueueMappings>,
    order_info: Arc<ConsumerOrderInfo>,
    lite_order_info: Arc<ConsumerOrderInfo>,
    request_modes: Arc<MessageRequestModes>,
}

impl Registries {
    fn open(
        directory: &ConfigDirectory,
        identity: &Identity,
        config: &Arc<Live<BrokerConfig>>,
        store_config: &MessageStoreConfig,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (config, clock) = (|| Arc::clone(config), || Arc::clone(clock));
        let offsets = Arc::new(ConsumerOffsets::open(directory, clock(), config(), store_config)?);
        let order_info = ConsumerOrderInfo::open(directory, clock(), Arc::clone(&offsets))?;
        let lite_order_info = ConsumerOrderInfo::open_lite(directory, clock(), Arc::clone(&offsets))?;
        Ok(Self {
            topics: Arc::new(Topics::open(directory, clock(), config(), store_config)?),
            groups: Arc::new(Groups::open(directory, clock(), config(), store_config)?),
            consumer_offsets: offsets,
            delay_offsets: Arc::new(DelayOffsets::open(directory, clock(), config())?),
            consumer_filters: Arc::new(ConsumerFilters::open(directory, clock(), config())?),
            transaction_metrics: Arc::new(TransactionMetrics::open(directory, clock())?),
            queue_mappings: Arc::new(QueueMappings::open(directory, clock(), &identity.broker_name)?),
            order_info: Arc::new(order_info),
            lite_order_info: Arc::new(lite_order_info),
            request_modes: Arc::new(MessageRequestModes::open(directory, &*clock())?),
        })
    }
}

fn config_directory(store_config: &MessageStoreConfig) -> PathBuf {
    Path::new(&store_config.store_path_root_dir).join("config")
}

/// Everyone who waits for messages, as the store's one listener.
struct Arrivals {
    pull_hold: Arc<PullHold>,
    pop_hold: Arc<PopHold>,
    lite: Arc<LiteDispatch>,
    delays: Arc<DelayArrivals>,
    timers: TimerArrivals,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        self.pull_hold.arrived(arrival);
        self.pop_hold.arrived(arrival);
        self.lite.arrived(arrival);
        self.delays.arrived(arrival);
        self.timers.arrived(arrival);
    }

    /// Delay levels and timers can spare the fraction of a millisecond.
    fn is_awaited(&self) -> bool {
        self.pull_hold.is_awaited() || self.pop_hold.is_awaited() || self.lite.is_awaited()
    }
}

impl ConnectionEvents for Broker {
    fn connection_closed(&self, connection: &Arc<Connection>) {
        self.producers.connection_closed(connection);
        self.consumers
            .connection_closed(connection, |group| self.notifies_members(group));
        self.pull_hold.connection_closed(connection);
        self.pop_hold.connection_closed(connection);
        self.lite.hold.connection_closed(connection);
    }
}
