//! Copies of stored messages that were delayed and go to their own topic now.

use common::message::properties::{PROPERTY_SEPARATOR, name};
use store::Message;
use store::record::Record;

/// A message like the stored one, for another queue and with other properties.
pub(crate) fn copy<'a>(
    record: &Record<'a>,
    (topic, queue_id): (&'a str, i32),
    properties: &'a str,
) -> Message<'a> {
    Message {
        topic,
        queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: record.born_host,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: 0,
        properties,
        body: record.body,
    }
}

/// The properties without the checksum of their record: the copy gets its own.
pub(crate) fn without_crc(properties: &str) -> &str {
    match properties.rfind(name::CRC32) {
        Some(0) => "",
        Some(at) if properties[..at].ends_with(PROPERTY_SEPARATOR) => &properties[..at],
        _ => properties,
    }
}
