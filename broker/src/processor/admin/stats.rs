//! Figures about the broker as a whole: runtime info, statistics, replication state.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use common::names::SCHEDULE_TOPIC;
use common::version::CURRENT_VERSION_DESC;
use remoting::body::{HaRuntimeInfo, KvTable};
use remoting::fields::NoHeader;
use remoting::header::{ResetMasterFlushOffsetHeader, ViewBrokerStatsDataRequestHeader};
use remoting::request::{Handled, Refusal, Request, Response};
use store::store::{PUT_LATENCY_LIMITS_MS, StoreState};

use crate::broker::Broker;
use crate::processor::json::to_body;
use crate::stats::{latency_percentile_ms, rates_text};

/// The classes of put latency under the reference's names. Reference: `StoreStatsService`.
const LATENCY_CLASSES: [&str; PUT_LATENCY_LIMITS_MS.len() + 1] = [
    "[<=0ms]",
    "[0~10ms]",
    "[10~50ms]",
    "[50~100ms]",
    "[100~200ms]",
    "[200~500ms]",
    "[500ms~1s]",
    "[1~2s]",
    "[2~3s]",
    "[3~4s]",
    "[4~5s]",
    "[5~10s]",
    "[10s~]",
];

/// VIEW_BROKER_STATS_DATA: one statistic over a minute, an hour and a day.
pub(crate) fn view(broker: &Broker, request: Request<'_, ViewBrokerStatsDataRequestHeader>) -> Handled {
    let ViewBrokerStatsDataRequestHeader {
        stats_name,
        stats_key,
    } = &request.header;
    let data = broker
        .stats
        .view(stats_name, stats_key)
        .ok_or_else(|| Refusal::system_error(format!("The stats <{stats_name}> <{stats_key}> not exist")))?;
    Ok(Response::success().body(to_body(&data)?).into())
}

/// GET_BROKER_HA_STATUS: a master without slaves.
pub(crate) fn ha_status(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let body = HaRuntimeInfo {
        master: true,
        master_commit_log_max_offset: broker.store.state().commit_log_max.to_wire(),
        ..HaRuntimeInfo::default()
    };
    Ok(Response::success().body(to_body(&body)?).into())
}

/// RESET_MASTER_FLUSH_OFFSET: means something to slaves only; a master takes it and does nothing.
pub(crate) fn reset_master_flush_offset(
    _broker: &Broker,
    _request: Request<'_, ResetMasterFlushOffsetHeader>,
) -> Handled {
    Ok(Response::success().into())
}

/// GET_BROKER_EPOCH_CACHE: only brokers under a controller have epochs.
pub(crate) fn epoch_cache(_broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    Err(Refusal::system_error("this request only for controllerMode "))
}

/// GET_BROKER_RUNTIME_INFO: everything `brokerStatus` and `clusterList` show.
pub(crate) fn runtime_info(broker: &Broker, _request: Request<'_, NoHeader>) -> Handled {
    let state = broker.store.state();
    let mut info = RuntimeInfo::default();
    identity(broker, &mut info);
    traffic(broker, &state, &mut info);
    storage(broker, &state, &mut info);
    delayed(broker, &mut info);
    timer(broker, &mut info);
    queues(broker, &mut info);
    Ok(Response::success()
        .body(to_body(&KvTable { table: info.0 })?)
        .into())
}

/// Key to value, all text.
#[derive(Default)]
struct RuntimeInfo(BTreeMap<String, String>);

impl RuntimeInfo {
    fn put(&mut self, key: impl Into<String>, value: impl Display) {
        self.0.insert(key.into(), value.to_string());
    }

    /// As Java prints a double.
    fn put_double(&mut self, key: impl Into<String>, value: f64) {
        self.0.insert(key.into(), format!("{value:?}"));
    }
}

fn identity(broker: &Broker, info: &mut RuntimeInfo) {
    let up_seconds = (broker.clock.wall_ms() - broker.started_ms).max(0) / 1_000;
    let (days, hours, minutes) = (up_seconds / 86_400, up_seconds / 3_600 % 24, up_seconds / 60 % 60);
    info.put("brokerVersionDesc", CURRENT_VERSION_DESC);
    info.put("brokerActive", true);
    info.put("bootTimestamp", broker.started_ms);
    info.put(
        "runtime",
        format!(
            "[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]",
            up_seconds % 60
        ),
    );
    info.put(
        "startAcceptSendRequestTimeStamp",
        broker.config.get().start_accept_send_request_time_stamp,
    );
}

fn traffic(broker: &Broker, state: &StoreState, info: &mut RuntimeInfo) {
    for (what, totals) in [
        ("Put", broker.stats.put_totals()),
        ("Get", broker.stats.get_totals()),
    ] {
        info.put(
            format!("msg{what}TotalYesterdayMorning"),
            totals.yesterday_morning,
        );
        info.put(format!("msg{what}TotalTodayMorning"), totals.today_morning);
        info.put(format!("msg{what}TotalTodayNow"), totals.now);
    }
    let rates = broker.stats.store_rates();
    let get_total = std::array::from_fn(|span| rates.get_found[span] + rates.get_miss[span]);
    info.put("putTps", rates_text(rates.put));
    info.put("getFoundTps", rates_text(rates.get_found));
    info.put("getMissTps", rates_text(rates.get_miss));
    info.put("getTotalTps", rates_text(get_total));
    info.put("getTransferredTps", rates_text(rates.get_transferred));

    let average = if state.put_message_count == 0 {
        0.0
    } else {
        state.put_bytes as f64 / state.put_message_count as f64
    };
    // The reference says 1 before the first message, too.
    info.put("putMessageTimesTotal", state.put_message_count.max(1));
    info.put("putMessageFailedTimes", state.put_failed_count);
    info.put("putMessageSizeTotal", state.put_bytes);
    info.put_double("putMessageAverageSize", average);
    info.put("putMessageEntireTimeMax", state.put_latency_max_ms);
    info.put("getMessageEntireTimeMax", state.get_latency_max_ms);
    let counts = rates.put_latency_counts;
    let classes = LATENCY_CLASSES
        .iter()
        .zip(counts)
        .map(|(class, count)| format!("{class}:{count} "));
    info.put("putMessageDistributeTime", classes.collect::<String>());
    info.put(
        "putLatency99",
        format!("{:.2}", latency_percentile_ms(&counts, 0.99)),
    );
    info.put(
        "putLatency999",
        format!("{:.2}", latency_percentile_ms(&counts, 0.999)),
    );
}

fn storage(broker: &Broker, state: &StoreState, info: &mut RuntimeInfo) {
    let behind =
        |ahead: store::PhysicalOffset, behind: store::PhysicalOffset| ahead.0.saturating_sub(behind.0);
    info.put("commitLogMinOffset", state.commit_log_min);
    info.put("commitLogMaxOffset", state.commit_log_max);
    info.put(
        "dispatchBehindBytes",
        behind(state.commit_log_max, state.dispatched),
    );
    info.put("dispatchMaxBuffer", 0);
    info.put(
        "remainHowManyDataToFlush",
        human_bytes(behind(state.commit_log_max, state.flushed)),
    );
    // Without a transient pool the reference says the largest int.
    info.put("remainTransientStoreBufferNumbs", i32::MAX);
    info.put("pageCacheLockTimeMills", state.writer_lock_held_ms);
    info.put(
        "earliestMessageTimeStamp",
        broker.store.earliest_time().unwrap_or(-1),
    );
    info.put_double("commitLogDiskRatio", state.disk_ratio_commit_log);
    info.put_double("consumeQueueDiskRatio", state.disk_ratio_queues);
    let config = broker.store_config.get();
    for path in config.commit_log_paths() {
        if let Some(disk) = DiskSpace::of(&path) {
            info.put_double(
                format!("commitLogDiskRatio_{}", path.display()),
                disk.used_ratio(),
            );
        }
    }
    if let Some(disk) = DiskSpace::of(&config.root()) {
        info.put(
            "commitLogDirCapacity",
            format!(
                "Total : {}, Free : {}.",
                human_bytes(disk.total_bytes),
                human_bytes(disk.free_bytes)
            ),
        );
    }
}

fn delayed(broker: &Broker, info: &mut RuntimeInfo) {
    for (level, delivered) in broker.delay_offsets.snapshot().offset_table {
        let end = broker.store.max_offset(SCHEDULE_TOPIC, level - 1);
        info.put(
            format!("scheduleMessageOffset_{level}"),
            format!("{delivered},{end}"),
        );
    }
}

/// Zeros without a timer, as in the reference.
fn timer(broker: &Broker, info: &mut RuntimeInfo) {
    let (mut read_behind_ms, mut waiting) = (0, 0);
    let (mut enqueue_tps, mut dequeue_tps) = (0.0, 0.0);
    if let Some(timers) = &broker.timers {
        read_behind_ms = (broker.clock.wall_ms() - timers.reached().read_time_ms).max(0);
        waiting = timers.files.pending();
        (enqueue_tps, dequeue_tps) = (timers.enqueued.rate(), timers.dequeued.rate());
    }
    info.put("timerReadBehind", read_behind_ms / 1_000);
    info.put("timerOffsetBehind", broker.timer_offset_behind());
    info.put("timerCongestNum", waiting);
    info.put_double("timerEnqueueTps", enqueue_tps);
    info.put_double("timerDequeueTps", dequeue_tps);
}

/// Requests do not queue for threads here, so the queues of the reference are always empty.
fn queues(broker: &Broker, info: &mut RuntimeInfo) {
    let config = broker.config.get();
    for (name, capacity) in [
        ("send", config.send_thread_pool_queue_capacity),
        ("pull", config.pull_thread_pool_queue_capacity),
        ("litePull", config.lite_pull_thread_pool_queue_capacity),
        ("query", config.query_thread_pool_queue_capacity),
        ("ack", config.ack_thread_pool_queue_capacity),
    ] {
        info.put(format!("{name}ThreadPoolQueueSize"), 0);
        info.put(format!("{name}ThreadPoolQueueCapacity"), capacity);
        info.put(format!("{name}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    info.put("EndTransactionQueueSize", 0);
    info.put(
        "EndTransactionThreadPoolQueueCapacity",
        config.end_transaction_pool_queue_capacity,
    );
}

/// What a file system has.
struct DiskSpace {
    total_bytes: u64,
    free_bytes: u64,
    /// Free for us; the rest is reserved for root.
    usable_bytes: u64,
}

impl DiskSpace {
    fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self {
            total_bytes: bytes(stat.f_blocks),
            free_bytes: bytes(stat.f_bfree),
            usable_bytes: bytes(stat.f_bavail),
        })
    }

    /// In whole percents, rounded up. Reference: `UtilAll.getDiskPartitionSpaceUsedPercent`.
    fn used_ratio(&self) -> f64 {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        let entire = used.saturating_add(self.usable_bytes).max(1);
        used.saturating_mul(100).div_ceil(entire) as f64 / 100.0
    }
}

/// `1.5 GiB`, `0 B`. Reference: `MixAll.humanReadableByteCount`.
fn human_bytes(bytes: u64) -> String {
    const UNIT: f64 = 1024.0;
    let mut value = bytes as f64;
    if value < UNIT {
        return format!("{bytes} B");
    }
    let mut units = "KMGTPE".chars();
    let mut unit = 'K';
    while value >= UNIT {
        value /= UNIT;
        unit = units.next().unwrap_or(unit);
    }
    format!("{value:.1} {unit}iB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_ratios_look_as_the_reference_prints_them() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1_023), "1023 B");
        assert_eq!(human_bytes(1_536), "1.5 KiB");
        assert_eq!(human_bytes(252 << 30), "252.0 GiB");
        assert_eq!(human_bytes(u64::MAX), "16.0 EiB");
        let disk = DiskSpace {
            total_bytes: 1_000,
            free_bytes: 880,
            usable_bytes: 870,
        };
        assert_eq!(disk.used_ratio(), 0.13);
    }
}
