//! Which messages are likely in memory, and so may be read without waiting for the disk: those near the log's end.
//!
//! Reference: `DefaultMessageStore.checkInMemByConsumeOffset`, `MessageStoreConfig.accessMessageInMemoryMaxRatio`.

use std::sync::OnceLock;

use store::QueueOffset;

use crate::broker::Broker;

/// A consumer so few messages behind is not looked at more closely.
const NEAR_END_MESSAGES: i64 = 1_000;

/// Whether a pull from `offset` reads messages that were written too long ago to be in memory.
pub(crate) fn reads_from_disk(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> bool {
    let max_offset = broker.store.max_offset(topic, queue_id);
    offset < max_offset - NEAR_END_MESSAGES && !is_in_memory(broker, topic, queue_id, offset)
}

/// Whether there is a message at `offset` and it is likely in memory.
pub(crate) fn is_in_memory(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> bool {
    let Ok(offset) = u64::try_from(offset) else {
        return false;
    };
    let entries = broker
        .store
        .queue_entries(topic, queue_id, QueueOffset(offset), 1);
    let Some(entry) = entries.first() else {
        return false;
    };
    let behind_bytes = broker
        .store
        .state()
        .commit_log_max
        .0
        .saturating_sub(entry.physical_offset.0);
    behind_bytes <= in_memory_bytes(broker)
}

fn in_memory_bytes(broker: &Broker) -> u64 {
    let percent = broker.store_config.get().access_message_in_memory_max_ratio;
    host_memory_bytes() / 100 * percent
}

fn host_memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let info = rustix::system::sysinfo();
        info.totalram * u64::from(info.mem_unit)
    })
}
