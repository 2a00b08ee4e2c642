//! BrokerStats: how many messages go in and out, by topic and by group, for `statsAll`, `brokerStatus` and progress tools.
//!
//! ```text
//!   record_put, record_get ──> atomics of one item ──┐
//!                                                    ├──> windows of a minute, an hour, a day: VIEW_BROKER_STATS_DATA
//!   StatsSampler, every 10 s ──> samples per item ───┘
//!   StatsSampler, every second ──> totals of the store ──> rates over 10 s, 1 min, 10 min: GET_BROKER_RUNTIME_INFO
//! ```
//!
//! Recording costs one lookup and a few additions; a known key allocates nothing. A window compares the counts of now
//! with the oldest sample in it, so a figure is never older than the question.
//!
//! Bounded: an item idle for a day, or for `maxStatsIdleTimeInMinutes`, is forgotten, and beyond [`ITEM_LIMIT`] new
//! keys are counted in the broker's totals only. Reference: `BrokerStatsManager`, `StatsItem`, `StoreStatsService`.

use std::array;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::{Clock, Now};
use common::service::{Next, Service};
use common::{local_time, names};
use dashmap::DashMap;
use remoting::body::{BrokerStatsData, BrokerStatsItem};
use store::Store;
use store::store::{PUT_LATENCY_LIMITS_MS, StoreState};

use crate::metrics::events::Events;
use crate::metrics::traffic::{MessageType, Traffic, Way};

/// Most topics, and most pairs of topic and group, that are counted one by one.
pub const ITEM_LIMIT: usize = 50_000;
/// After this long without a message every window of an item is flat.
const IDLE_LIMIT: Duration = Duration::from_secs(25 * 3600);
/// Rates are not computed over less: a message in a millisecond is not a thousand a second.
const RATE_SPAN_MIN: Duration = Duration::from_secs(10);

/// How often a window is sampled and how many samples it keeps.
struct WindowShape {
    every: Duration,
    keep: usize,
}

const MINUTE: WindowShape = WindowShape {
    every: Duration::from_secs(10),
    keep: 7,
};
const HOUR: WindowShape = WindowShape {
    every: Duration::from_secs(600),
    keep: 7,
};
const DAY: WindowShape = WindowShape {
    every: Duration::from_secs(3600),
    keep: 25,
};
const WINDOWS: [WindowShape; 3] = [MINUTE, HOUR, DAY];

/// The counters of a broker.
#[derive(Debug)]
pub struct BrokerStats {
    clock: Arc<dyn Clock>,
    cluster: String,
    /// Put messages and their bytes, by topic.
    topics: Items<2>,
    /// Got messages, their bytes, messages sent back, acks and checkpoints of pops; by `topic@group`.
    groups: Items<5>,
    /// Put and got messages, then the same without the broker's own topics; acks and checkpoints of pops.
    totals: Item<6>,
    mornings: Mutex<Mornings>,
    rates: Mutex<Rates>,
    /// What only a scraper wants to know.
    scraped: Option<(Traffic, Events)>,
}

const PUT_NUMS: usize = 0;
const PUT_SIZE: usize = 1;
const GET_NUMS: usize = 0;
const GET_SIZE: usize = 1;
const SEND_BACK_NUMS: usize = 2;
const ACK_NUMS: usize = 3;
const CK_NUMS: usize = 4;
const ALL_PUT: usize = 0;
const ALL_GET: usize = 1;
const USER_PUT: usize = 2;
const USER_GET: usize = 3;
const ALL_ACKS: usize = 4;
const ALL_CKS: usize = 5;

/// Messages since the start, as counted at the last two midnights and now. Reference: `BrokerStats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayTotals {
    /// When yesterday began.
    pub yesterday_morning: u64,
    /// When today began.
    pub today_morning: u64,
    /// Now.
    pub now: u64,
}

/// Rates of the store over ten seconds, a minute and ten minutes, and what puts cost lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreRates {
    /// Messages put, per second.
    pub put: [f64; 3],
    /// Gets that found something.
    pub get_found: [f64; 3],
    /// Gets that found nothing.
    pub get_miss: [f64; 3],
    /// Messages got.
    pub get_transferred: [f64; 3],
    /// Puts of the last whole minute by class of latency; since the start, before there was one.
    pub put_latency_counts: LatencyCounts,
}

impl BrokerStats {
    /// Nothing counted yet.
    pub fn new(cluster: &str, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        Self {
            clock,
            cluster: cluster.to_owned(),
            topics: Items::new(),
            groups: Items::new(),
            totals: Item::new(now.monotonic),
            mornings: Mutex::new(Mornings::new(now.wall_ms)),
            rates: Mutex::default(),
            scraped: None,
        }
    }

    /// The same, counting what metrics need as well.
    pub(crate) fn scraped(self) -> Self {
        let events = Events::new(Arc::clone(&self.clock));
        Self {
            scraped: Some((Traffic::default(), events)),
            ..self
        }
    }

    /// Messages in and out as metrics tell them apart, if they do.
    pub(crate) fn traffic(&self) -> Option<&Traffic> {
        self.scraped.as_ref().map(|(traffic, _)| traffic)
    }

    /// What else is counted for metrics alone, if it is.
    pub(crate) fn events(&self) -> Option<&Events> {
        self.scraped.as_ref().map(|(_, events)| events)
    }

    /// Messages of a topic were stored.
    pub fn record_put(&self, topic: &str, messages: u32, bytes: u64) {
        let now = || self.clock.monotonic();
        self.topics
            .add(topic, now, [(PUT_NUMS, u64::from(messages)), (PUT_SIZE, bytes)]);
        self.record_total(topic, messages, ALL_PUT, USER_PUT);
    }

    /// Messages of a topic and of a type came in: what a broker puts by itself is no traffic.
    pub(crate) fn record_incoming(&self, topic: &str, message_type: MessageType, messages: u32, bytes: u64) {
        if let Some(traffic) = self.traffic()
            && !is_retry_or_dead_letter(topic)
        {
            traffic.record_put(topic, message_type, messages, bytes);
        }
        self.record_put(topic, messages, bytes);
    }

    /// A group got messages of a topic.
    pub fn record_get(&self, group: &str, topic: &str, messages: u32, bytes: u64) {
        let now = || self.clock.monotonic();
        with_group_key(topic, group, |key| {
            self.groups
                .add(key, now, [(GET_NUMS, u64::from(messages)), (GET_SIZE, bytes)]);
            if let Some(traffic) = self.traffic()
                && !is_retry_or_dead_letter(topic)
            {
                traffic.record_get(key, Way::Pulled, messages, bytes);
            }
        });
        self.record_total(topic, messages, ALL_GET, USER_GET);
    }

    /// A group that popped a topic got messages of it, or of its retry topic.
    pub(crate) fn record_pop(
        &self,
        group: &str,
        asked_topic: &str,
        topic: &str,
        is_retry: bool,
        messages: u32,
        bytes: u64,
    ) {
        let now = || self.clock.monotonic();
        let counts = [(GET_NUMS, u64::from(messages)), (GET_SIZE, bytes)];
        with_group_key(topic, group, |key| self.groups.add(key, now, counts));
        if let Some(traffic) = self.traffic() {
            let way = if is_retry { Way::PoppedAgain } else { Way::Popped };
            with_group_key(asked_topic, group, |key| {
                traffic.record_get(key, way, messages, bytes)
            });
        }
        self.record_total(topic, messages, ALL_GET, USER_GET);
    }

    /// A group sent a message of a topic back.
    pub fn record_send_back(&self, group: &str, topic: &str) {
        let now = || self.clock.monotonic();
        with_group_key(topic, group, |key| {
            self.groups.add(key, now, [(SEND_BACK_NUMS, 1)])
        });
    }

    /// A group acknowledged popped messages of a topic.
    pub fn record_acks(&self, group: &str, topic: &str, messages: usize) {
        self.count_pop_records(group, topic, ACK_NUMS, ALL_ACKS, messages);
    }

    /// A checkpoint of messages that a group popped was put.
    pub fn record_checkpoint(&self, group: &str, topic: &str) {
        self.count_pop_records(group, topic, CK_NUMS, ALL_CKS, 1);
    }

    fn count_pop_records(&self, group: &str, topic: &str, of_group: usize, of_all: usize, count: usize) {
        let now = || self.clock.monotonic();
        with_group_key(topic, group, |key| {
            self.groups.add(key, now, [(of_group, count as u64)]);
        });
        self.totals.counts[of_all].add(count as u64);
    }

    /// A group gave a message of a topic up.
    pub(crate) fn record_dead_letter(&self, group: &str, topic: &str) {
        if let Some(traffic) = self.traffic() {
            traffic.record_dead_letter(group, topic);
        }
    }

    /// A delayed message went to its topic: out of the queue of its level, into that of the topic.
    /// Reference: `ScheduleMessageService.onSuccess`.
    pub(crate) fn record_delivery(&self, topic: &str, bytes: u64) {
        self.record_get(names::SCHEDULE_CONSUMER_GROUP, names::SCHEDULE_TOPIC, 1, bytes);
        self.record_incoming(topic, MessageType::Delay, 1, bytes);
    }

    fn record_total(&self, topic: &str, messages: u32, all: usize, user: usize) {
        self.totals.counts[all].add(u64::from(messages));
        if !names::is_system_topic(topic) {
            self.totals.counts[user].add(u64::from(messages));
        }
    }

    /// One statistic in its three windows; `None` when nothing was counted under it.
    pub fn view(&self, stats_name: &str, stats_key: &str) -> Option<BrokerStatsData> {
        let now = self.clock.monotonic();
        let topic = |count| self.topics.get(stats_key).map(|item| item.view(count, now));
        let group = |count| self.groups.get(stats_key).map(|item| item.view(count, now));
        let total = |count| (stats_key == self.cluster).then(|| self.totals.view(count, now));
        match stats_name {
            "TOPIC_PUT_NUMS" => topic(PUT_NUMS),
            "TOPIC_PUT_SIZE" => topic(PUT_SIZE),
            "GROUP_GET_NUMS" => group(GET_NUMS),
            "GROUP_GET_SIZE" => group(GET_SIZE),
            "SNDBCK_PUT_NUMS" => group(SEND_BACK_NUMS),
            "GROUP_ACK_NUMS" => group(ACK_NUMS),
            "GROUP_CK_NUMS" => group(CK_NUMS),
            "BROKER_ACK_NUMS" => total(ALL_ACKS),
            "BROKER_CK_NUMS" => total(ALL_CKS),
            "BROKER_PUT_NUMS" => total(ALL_PUT),
            "BROKER_GET_NUMS" => total(ALL_GET),
            "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => total(USER_PUT),
            "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => total(USER_GET),
            _ => None,
        }
    }

    /// Messages of a topic put per second, over the last minute.
    pub fn topic_put_tps(&self, topic: &str) -> f64 {
        let now = self.clock.monotonic();
        self.topics
            .get(topic)
            .map_or(0.0, |item| item.minute_tps(PUT_NUMS, now))
    }

    /// Messages of a topic that a group got per second, over the last minute.
    pub fn group_get_tps(&self, group: &str, topic: &str) -> f64 {
        let now = self.clock.monotonic();
        with_group_key(topic, group, |key| self.groups.get(key))
            .map_or(0.0, |item| item.minute_tps(GET_NUMS, now))
    }

    /// Messages of users' topics put, by day.
    pub fn put_totals(&self) -> DayTotals {
        self.mornings()
            .put
            .with(self.totals.counts[USER_PUT].read().value)
    }

    /// Messages of users' topics got, by day.
    pub fn get_totals(&self) -> DayTotals {
        self.mornings()
            .get
            .with(self.totals.counts[USER_GET].read().value)
    }

    /// The store's rates, as sampled last.
    pub fn store_rates(&self) -> StoreRates {
        self.rates().view()
    }

    /// Forgets a deleted topic.
    pub fn remove_topic(&self, topic: &str) {
        if let Some((traffic, events)) = &self.scraped {
            traffic.remove_topic(topic);
            events.remove_topic(topic);
        }
        self.topics.retain(|key| key != topic);
        self.groups
            .retain(|key| key.rsplit_once('@').is_none_or(|(of_topic, _)| of_topic != topic));
    }

    /// Forgets a deleted group.
    pub fn remove_group(&self, group: &str) {
        if let Some((traffic, events)) = &self.scraped {
            traffic.remove_group(group);
            events.remove_group(group);
        }
        self.groups
            .retain(|key| key.rsplit_once('@').is_none_or(|(_, of_group)| of_group != group));
    }

    /// Takes the samples that are due; `idle_minutes` is `maxStatsIdleTimeInMinutes`.
    fn sample(&self, now: Now, idle_minutes: i32) {
        let idle_limit = u64::try_from(idle_minutes)
            .ok()
            .filter(|minutes| *minutes > 0)
            .map_or(IDLE_LIMIT, |minutes| Duration::from_secs(60 * minutes));
        self.topics.sample(now.monotonic, idle_limit);
        self.groups.sample(now.monotonic, idle_limit);
        self.totals.sample(now.monotonic);
        let [put, get] = [USER_PUT, USER_GET].map(|count| self.totals.counts[count].read().value);
        self.mornings().roll(now.wall_ms, put, get);
    }

    fn sample_store(&self, now: Duration, state: &StoreState) {
        self.rates().sample(now, state);
    }

    fn mornings(&self) -> MutexGuard<'_, Mornings> {
        self.mornings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What groups get again or gave up is no traffic of its own. Reference: `BrokerMetricsManager.isRetryOrDlqTopic`.
fn is_retry_or_dead_letter(topic: &str) -> bool {
    topic.starts_with(names::RETRY_TOPIC_PREFIX) || topic.starts_with(names::DLQ_TOPIC_PREFIX)
}

/// Calls `use_key` with `topic@group`, made in memory that the thread keeps.
fn with_group_key<R>(topic: &str, group: &str, use_key: impl FnOnce(&str) -> R) -> R {
    thread_local! {
        static KEY: RefCell<String> = const { RefCell::new(String::new()) };
    }
    KEY.with_borrow_mut(|key| {
        key.clear();
        key.push_str(topic);
        key.push('@');
        key.push_str(group);
        use_key(key)
    })
}

/// Items by key.
#[derive(Debug)]
struct Items<const N: usize> {
    items: DashMap<String, Arc<Item<N>>, foldhash::fast::RandomState>,
}

impl<const N: usize> Items<N> {
    fn new() -> Self {
        Self {
            items: DashMap::default(),
        }
    }

    fn get(&self, key: &str) -> Option<Arc<Item<N>>> {
        self.items.get(key).map(|item| Arc::clone(&item))
    }

    fn add<const M: usize>(&self, key: &str, now: impl FnOnce() -> Duration, additions: [(usize, u64); M]) {
        if let Some(item) = self.items.get(key) {
            item.add(additions);
            return;
        }
        if self.items.len() < ITEM_LIMIT {
            self.items
                .entry(key.to_owned())
                .or_insert_with(|| Arc::new(Item::new(now())))
                .add(additions);
        }
    }

    fn sample(&self, now: Duration, idle_limit: Duration) {
        self.items.retain(|_, item| item.sample(now) < idle_limit);
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.items.retain(|key, _| keep(key));
    }
}

/// Some counts that change together, and their past.
#[derive(Debug)]
struct Item<const N: usize> {
    counts: [Count; N],
    past: Mutex<Past<N>>,
}

/// A running count, and in how many calls it grew.
#[derive(Debug, Default)]
struct Count {
    value: AtomicU64,
    times: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    value: u64,
    times: u64,
}

impl Count {
    fn add(&self, value: u64) {
        self.value.fetch_add(value, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Reading {
        Reading {
            value: self.value.load(Ordering::Relaxed),
            times: self.times.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Past<const N: usize> {
    windows: [VecDeque<Sample<N>>; WINDOWS.len()],
    last: Sample<N>,
}

#[derive(Clone, Copy, Debug)]
struct Sample<const N: usize> {
    at: Duration,
    readings: [Reading; N],
}

impl<const N: usize> Item<N> {
    fn new(now: Duration) -> Self {
        let start = Sample {
            at: now,
            readings: [Reading::default(); N],
        };
        Self {
            counts: array::from_fn(|_| Count::default()),
            past: Mutex::new(Past {
                windows: array::from_fn(|_| VecDeque::from([start])),
                last: start,
            }),
        }
    }

    fn add<const M: usize>(&self, additions: [(usize, u64); M]) {
        for (count, value) in additions {
            self.counts[count].add(value);
        }
    }

    /// Adds a sample to each window where one is due. Returns for how long nothing has changed.
    fn sample(&self, now: Duration) -> Duration {
        let sample = Sample {
            at: now,
            readings: array::from_fn(|count| self.counts[count].read()),
        };
        let mut past = self.past();
        for (window, shape) in past.windows.iter_mut().zip(&WINDOWS) {
            let due = window
                .back()
                .is_none_or(|newest| now.saturating_sub(newest.at) >= shape.every);
            if due {
                window.push_back(sample);
                while window.len() > shape.keep {
                    window.pop_front();
                }
            }
        }
        if past.last.readings != sample.readings {
            past.last = sample;
        }
        now.saturating_sub(past.last.at)
    }

    fn view(&self, count: usize, now: Duration) -> BrokerStatsData {
        let reading = self.counts[count].read();
        let past = self.past();
        let [minute, hour, day] = &past.windows;
        BrokerStatsData {
            stats_minute: growth(minute, count, reading, now),
            stats_hour: growth(hour, count, reading, now),
            stats_day: growth(day, count, reading, now),
        }
    }

    fn minute_tps(&self, count: usize, now: Duration) -> f64 {
        growth(&self.past().windows[0], count, self.counts[count].read(), now).tps
    }

    fn past(&self) -> MutexGuard<'_, Past<N>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened between the oldest sample of a window and now.
fn growth<const N: usize>(
    window: &VecDeque<Sample<N>>,
    count: usize,
    reading: Reading,
    now: Duration,
) -> BrokerStatsItem {
    let Some(oldest) = window.front() else {
        return BrokerStatsItem::default();
    };
    let before = oldest.readings[count];
    let sum = reading.value.saturating_sub(before.value);
    let times = reading.times.saturating_sub(before.times);
    BrokerStatsItem {
        sum: i64::try_from(sum).unwrap_or(i64::MAX),
        tps: rate(sum, now.saturating_sub(oldest.at)),
        avgpt: if times == 0 {
            0.0
        } else {
            sum as f64 / times as f64
        },
    }
}

fn rate(sum: u64, span: Duration) -> f64 {
    sum as f64 / span.max(RATE_SPAN_MIN).as_secs_f64()
}

/// What was counted at the last two midnights.
#[derive(Debug)]
struct Mornings {
    put: Morning,
    get: Morning,
    next_ms: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Morning {
    yesterday: u64,
    today: u64,
}

impl Morning {
    fn roll(&mut self, now: u64) {
        self.yesterday = self.today;
        self.today = now;
    }

    fn with(self, now: u64) -> DayTotals {
        DayTotals {
            yesterday_morning: self.yesterday,
            today_morning: self.today,
            now,
        }
    }
}

impl Mornings {
    fn new(wall_ms: i64) -> Self {
        Self {
            put: Morning::default(),
            get: Morning::default(),
            next_ms: local_time::next_midnight_ms(wall_ms),
        }
    }

    fn roll(&mut self, wall_ms: i64, put: u64, get: u64) {
        if wall_ms >= self.next_ms {
            self.put.roll(put);
            self.get.roll(get);
            self.next_ms = local_time::next_midnight_ms(wall_ms);
        }
    }
}

/// The store's totals, second by second, over ten minutes.
#[derive(Debug, Default)]
struct Rates {
    samples: VecDeque<(Duration, StoreTotals)>,
    /// Put latencies: as they are now, as they were when the current minute began, and their growth in the one before.
    latency: LatencyCounts,
    latency_minute: Option<(Duration, LatencyCounts)>,
    latency_of_last_minute: Option<LatencyCounts>,
}

/// Puts by class of latency.
pub type LatencyCounts = [u64; PUT_LATENCY_LIMITS_MS.len() + 1];

#[derive(Clone, Copy, Debug, Default)]
struct StoreTotals {
    put: u64,
    get_found: u64,
    get_miss: u64,
    get_transferred: u64,
}

const RATE_SPANS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

impl Rates {
    fn sample(&mut self, now: Duration, state: &StoreState) {
        let totals = StoreTotals {
            put: state.put_message_count,
            get_found: state.get_found_count,
            get_miss: state.get_miss_count,
            get_transferred: state.get_message_count,
        };
        self.samples.push_back((now, totals));
        let longest = RATE_SPANS[RATE_SPANS.len() - 1];
        while self.samples.len() > 1 && now.saturating_sub(self.samples[1].0) >= longest {
            self.samples.pop_front();
        }
        self.sample_latency(now, state.put_latency_counts);
    }

    fn sample_latency(&mut self, now: Duration, counts: LatencyCounts) {
        self.latency = counts;
        let (began, before) = *self.latency_minute.get_or_insert((now, LatencyCounts::default()));
        if now.saturating_sub(began) >= Duration::from_secs(60) {
            self.latency_of_last_minute = Some(array::from_fn(|class| {
                counts[class].saturating_sub(before[class])
            }));
            self.latency_minute = Some((now, counts));
        }
    }

    fn view(&self) -> StoreRates {
        StoreRates {
            put: self.rates_of(|totals| totals.put),
            get_found: self.rates_of(|totals| totals.get_found),
            get_miss: self.rates_of(|totals| totals.get_miss),
            get_transferred: self.rates_of(|totals| totals.get_transferred),
            put_latency_counts: self.latency_of_last_minute.unwrap_or(self.latency),
        }
    }

    fn rates_of(&self, total: impl Fn(&StoreTotals) -> u64) -> [f64; 3] {
        RATE_SPANS.map(|span| {
            let Some((newest_at, newest)) = self.samples.back() else {
                return 0.0;
            };
            let start = self
                .samples
                .partition_point(|(at, _)| newest_at.saturating_sub(*at) > span);
            let (oldest_at, oldest) = &self.samples[start];
            rate(
                total(newest).saturating_sub(total(oldest)),
                newest_at.saturating_sub(*oldest_at),
            )
        })
    }
}

/// A latency, in ms, that the given share of puts did not exceed; within a class it grows evenly.
/// Reference: `StoreStatsService.findPutMessageEntireTimePX`.
pub fn latency_percentile_ms(counts: &LatencyCounts, share: f64) -> f64 {
    let total: u64 = counts.iter().sum();
    let wanted = total as f64 * share;
    let mut passed = 0.0;
    let mut lower = 0.0;
    for (class, count) in counts.iter().enumerate() {
        let count = *count as f64;
        let upper = PUT_LATENCY_LIMITS_MS
            .get(class)
            .map_or(lower, |limit| *limit as f64);
        if count > 0.0 && passed + count >= wanted {
            return lower + (upper - lower) * (wanted - passed) / count;
        }
        passed += count;
        lower = upper;
    }
    0.0
}

/// Three rates as GET_BROKER_RUNTIME_INFO shows them: `10s 1m 10m`.
pub fn rates_text(rates: [f64; 3]) -> String {
    let mut text = String::new();
    for rate in rates {
        // Java prints a whole double with ".0"; so does Debug. Writing to a String cannot fail.
        let _ = write!(text, "{}{rate:?}", if text.is_empty() { "" } else { " " });
    }
    text
}

/// Takes the samples of [`BrokerStats`].
#[derive(Debug)]
pub struct StatsSampler<F> {
    stats: Arc<BrokerStats>,
    store: Arc<Store>,
    idle_minutes: F,
    items_sampled: Option<Duration>,
}

impl<F> StatsSampler<F> {
    /// Takes them from the store; `idle_minutes` tells `maxStatsIdleTimeInMinutes` as it is now.
    pub fn new(stats: Arc<BrokerStats>, store: Arc<Store>, idle_minutes: F) -> Self {
        Self {
            stats,
            store,
            idle_minutes,
            items_sampled: None,
        }
    }
}

impl<F: Fn() -> i32 + Send + 'static> Service for StatsSampler<F> {
    const NAME: &'static str = "stats";

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn tick(&mut self, now: Now, _stopping: bool) -> anyhow::Result<Next> {
        self.stats.sample_store(now.monotonic, &self.store.state());
        let due = self
            .items_sampled
            .is_none_or(|last| now.monotonic.saturating_sub(last) >= MINUTE.every);
        if due {
            self.stats.sample(now, (self.idle_minutes)());
            self.items_sampled = Some(now.monotonic);
        }
        Ok(Next::Idle)
    }
}

#[cfg(test)]
mod tests {
    use common::clock::ManualClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Running {
        clock: Arc<ManualClock>,
        stats: BrokerStats,
    }

    impl Running {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new(1_700_000_000_000));
            Self {
                stats: BrokerStats::new("C", clock.clone()),
                clock,
            }
        }

        /// Lets time pass with the samples a sampler would take.
        fn pass(&self, seconds: u32) {
            for _ in 0..seconds / 10 {
                self.clock.advance(10 * SECOND);
                self.stats.sample(self.clock.now(), -1);
            }
        }

        fn minute(&self, name: &str, key: &str) -> Option<(i64, f64)> {
            self.stats
                .view(name, key)
                .map(|data| (data.stats_minute.sum, data.stats_minute.tps))
        }
    }

    #[test]
    fn messages_are_counted_by_topic_by_group_and_in_total() {
        let running = Running::new();
        running.stats.record_put("T", 3, 300);
        running.stats.record_put("T", 1, 100);
        running.stats.record_put("SCHEDULE_TOPIC_XXXX", 1, 10);
        running.stats.record_get("G", "T", 2, 200);
        running.stats.record_send_back("G", "T");

        let sum_of = |name: &str, key: &str| running.minute(name, key).map(|(sum, _)| sum);
        assert_eq!(sum_of("TOPIC_PUT_NUMS", "T"), Some(4));
        assert_eq!(sum_of("TOPIC_PUT_SIZE", "T"), Some(400));
        assert_eq!(
            running
                .stats
                .view("TOPIC_PUT_SIZE", "T")
                .unwrap()
                .stats_minute
                .avgpt,
            200.0
        );
        assert_eq!(sum_of("GROUP_GET_NUMS", "T@G"), Some(2));
        assert_eq!(sum_of("GROUP_GET_SIZE", "T@G"), Some(200));
        assert_eq!(sum_of("SNDBCK_PUT_NUMS", "T@G"), Some(1));
        assert_eq!(sum_of("BROKER_PUT_NUMS", "C"), Some(5));
        assert_eq!(sum_of("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "C"), Some(4));
        assert_eq!(sum_of("BROKER_GET_NUMS", "C"), Some(2));
        assert_eq!(sum_of("BROKER_GET_NUMS", "other"), None);
        assert_eq!(sum_of("TOPIC_PUT_NUMS", "unknown"), None);
        assert_eq!(sum_of("NO_SUCH_NAME", "T"), None);
    }

    #[test]
    fn a_minute_forgets_what_an_hour_and_a_day_still_know() {
        let running = Running::new();
        running.stats.record_put("T", 60, 1);
        assert_eq!(
            running.minute("TOPIC_PUT_NUMS", "T"),
            Some((60, 6.0)),
            "at least ten seconds count"
        );
        running.pass(30);
        assert_eq!(running.minute("TOPIC_PUT_NUMS", "T"), Some((60, 2.0)));
        assert_eq!(running.stats.topic_put_tps("T"), 2.0);
        running.pass(60);
        assert_eq!(running.minute("TOPIC_PUT_NUMS", "T"), Some((0, 0.0)));
        assert_eq!(
            running.stats.view("TOPIC_PUT_NUMS", "T").unwrap().stats_hour.sum,
            60
        );
        running.pass(2 * 3600);
        let data = running.stats.view("TOPIC_PUT_NUMS", "T").unwrap();
        assert_eq!((data.stats_hour.sum, data.stats_day.sum), (0, 60));
    }

    #[test]
    fn idle_and_deleted_items_are_forgotten() {
        let running = Running::new();
        running.stats.record_put("Idle", 1, 1);
        running.pass(25 * 3600 + 10);
        assert_eq!(running.minute("TOPIC_PUT_NUMS", "Idle"), None);

        running.stats.record_put("T", 1, 1);
        running.stats.record_get("G", "T", 1, 1);
        running.stats.record_get("G", "T2", 1, 1);
        running.stats.remove_topic("T");
        assert_eq!(running.minute("TOPIC_PUT_NUMS", "T"), None);
        assert_eq!(running.minute("GROUP_GET_NUMS", "T@G"), None);
        assert!(running.minute("GROUP_GET_NUMS", "T2@G").is_some());
        running.stats.remove_group("G");
        assert_eq!(running.stats.group_get_tps("G", "T2"), 0.0);
    }

    #[test]
    fn more_keys_than_the_limit_are_counted_in_the_totals_only() {
        let running = Running::new();
        for topic in 0..=ITEM_LIMIT {
            running.stats.record_put(&topic.to_string(), 1, 1);
        }
        assert_eq!(running.minute("TOPIC_PUT_NUMS", &ITEM_LIMIT.to_string()), None);
        assert_eq!(running.stats.put_totals().now, ITEM_LIMIT as u64 + 1);
    }

    #[test]
    fn totals_are_put_aside_at_midnight() {
        let running = Running::new();
        running.stats.record_put("T", 5, 1);
        running.pass(24 * 3600);
        running.stats.record_put("T", 2, 1);
        assert_eq!(
            running.stats.put_totals(),
            DayTotals {
                yesterday_morning: 0,
                today_morning: 5,
                now: 7
            }
        );
        running.pass(24 * 3600);
        assert_eq!(
            running.stats.put_totals(),
            DayTotals {
                yesterday_morning: 5,
                today_morning: 7,
                now: 7
            }
        );
    }

    fn state(put: u64, latency: LatencyCounts) -> StoreState {
        StoreState {
            commit_log_min: store::PhysicalOffset(0),
            commit_log_max: store::PhysicalOffset(0),
            flushed: store::PhysicalOffset(0),
            dispatched: store::PhysicalOffset(0),
            disk_ratio_commit_log: 0.0,
            disk_ratio_queues: 0.0,
            writable: Ok(()),
            put_message_count: put,
            put_bytes: 0,
            put_failed_count: 0,
            put_latency_max_ms: 0,
            put_latency_counts: latency,
            get_found_count: put / 2,
            get_miss_count: 0,
            get_message_count: 0,
            get_latency_max_ms: 0,
            writer_lock_held_ms: 0,
            queue_count: 0,
        }
    }

    #[test]
    fn rates_are_over_ten_seconds_a_minute_and_ten_minutes() {
        let running = Running::new();
        for second in 0..=600_u64 {
            // Ten a second, and a hundred a second in the last ten.
            let put = 10 * second + 90 * second.saturating_sub(590);
            running
                .stats
                .sample_store(Duration::from_secs(second), &state(put, [0; 13]));
        }
        let rates = running.stats.store_rates();
        assert_eq!(rates.put, [100.0, 25.0, 11.5]);
        assert_eq!(rates.get_found[0], 50.0);
        assert_eq!(rates_text(rates.put), "100.0 25.0 11.5");
        assert_eq!(rates_text(StoreRates::default().put), "0.0 0.0 0.0");
    }

    #[test]
    fn put_latency_is_that_of_the_last_whole_minute() {
        let running = Running::new();
        let mut counts = [0; 13];
        counts[0] = 90;
        running.stats.sample_store(Duration::ZERO, &state(0, counts));
        assert_eq!(
            running.stats.store_rates().put_latency_counts[0],
            90,
            "since the start until then"
        );
        running
            .stats
            .sample_store(Duration::from_secs(60), &state(0, counts));
        counts[1] = 10;
        running
            .stats
            .sample_store(Duration::from_secs(120), &state(0, counts));
        let rates = running.stats.store_rates();
        assert_eq!(
            (rates.put_latency_counts[0], rates.put_latency_counts[1]),
            (0, 10)
        );
        assert_eq!(latency_percentile_ms(&rates.put_latency_counts, 0.5), 5.5);
        assert_eq!(latency_percentile_ms(&[0; 13], 0.99), 0.0);
    }
}
