//! Copies of stored messages that were delayed and go to their own topic now.

use common::message::properties::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, name};
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

/// The properties without the checksum of their record, which is the last of them: the copy gets its own.
///
/// A producer's property may have a name that begins like the checksum's, and stands before what the broker added.
pub(crate) fn without_crc(properties: &str) -> &str {
    let text = properties.strip_suffix(PROPERTY_SEPARATOR).unwrap_or(properties);
    let last = text.rfind(PROPERTY_SEPARATOR).map_or(0, |end| end + 1);
    match text[last..].split_once(NAME_VALUE_SEPARATOR) {
        Some((name::CRC32, _)) => &properties[..last],
        _ => properties,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_checksum_at_the_end_goes() {
        for (properties, rest) in [
            ("a\u{1}b\u{2}__CRC32#\u{1}0123456789\u{2}", "a\u{1}b\u{2}"),
            ("__CRC32#\u{1}0123456789\u{2}", ""),
            ("a\u{1}b\u{2}", "a\u{1}b\u{2}"),
            ("a\u{1}b", "a\u{1}b"),
            ("", ""),
            (
                "__CRC32#\u{1}x\u{2}a\u{1}b\u{2}",
                "__CRC32#\u{1}x\u{2}a\u{1}b\u{2}",
            ),
            (
                "a\u{1}b\u{2}__CRC32#of\u{1}x\u{2}",
                "a\u{1}b\u{2}__CRC32#of\u{1}x\u{2}",
            ),
        ] {
            assert_eq!(without_crc(properties), rest, "{properties:?}");
        }
    }
}
