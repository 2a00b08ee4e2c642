//! [`Message`] to bytes.
//!
//! In two steps, so that the writer lock is held for a copy and a few integers only: everything that
//! needs no order is encoded before the lock, the fields that do are patched under it.

use std::net::{IpAddr, SocketAddr};

use common::message::{properties, sys_flag};

use crate::offset::{PhysicalOffset, QueueOffset};
use crate::put::{BatchItem, Message};
use crate::record::decode::store_timestamp_at;
use crate::record::format::{
    HOST_V4_BYTES, HOST_V6_BYTES, MIN_RECORD_BYTES, PHYSICAL_OFFSET_AT, PROPERTY_CRC_BYTES, QUEUE_OFFSET_AT,
    RecordVersion, crc32,
};

/// What the configuration says about every record.
#[derive(Clone, Copy, Debug)]
pub struct RecordStyle {
    /// Whether topics over 127 bytes make version 2 records. Reference: `autoMessageVersionOnTopicLen`.
    pub version_by_topic_length: bool,
    /// Whether the properties end with a checksum of the record. Reference: `enabledAppendPropCRC`.
    pub append_property_crc: bool,
}

impl RecordStyle {
    /// The version for a topic.
    pub fn version_of(self, topic: &str) -> RecordVersion {
        // The reference counts UTF-16 units here and lets a longer UTF-8 form overflow the byte; bytes are what must fit.
        if topic.len() > 127 && self.version_by_topic_length {
            RecordVersion::V2
        } else {
            RecordVersion::V1
        }
    }

    /// Length of the property string as stored.
    pub fn properties_bytes(self, properties: &str) -> usize {
        if self.append_property_crc {
            let separator = needs_separator(properties);
            properties.len() + usize::from(separator) + PROPERTY_CRC_BYTES
        } else {
            properties.len()
        }
    }

    /// Length of the record of a message.
    pub fn record_bytes(self, message: &Message<'_>) -> usize {
        MIN_RECORD_BYTES + extra_host_bytes(message.born_host) + extra_host_bytes(message.store_host)
            - RecordVersion::V1.topic_length_bytes()
            + self.version_of(message.topic).topic_length_bytes()
            + message.topic.len()
            + message.body.len()
            + self.properties_bytes(message.properties)
    }
}

/// Appends the record of `message` to `out`, with queue offset, physical offset and store timestamp 0.
///
/// Lengths must have been checked: topic and properties fit their length fields, the record fits 31 bits.
pub fn encode(message: &Message<'_>, style: RecordStyle, out: &mut Vec<u8>) {
    let version = style.version_of(message.topic);
    let size = style.record_bytes(message);
    let start = out.len();
    out.reserve(size);
    put_length_u32(out, size);
    out.extend_from_slice(&version.magic().to_be_bytes());
    out.extend_from_slice(&crc32(message.body).to_be_bytes());
    out.extend_from_slice(&message.queue_id.to_be_bytes());
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&[0; 16]); // queue offset, physical offset
    out.extend_from_slice(&sys_flag_with_hosts(message).to_be_bytes());
    out.extend_from_slice(&message.born_timestamp_ms.to_be_bytes());
    put_host(out, message.born_host);
    out.extend_from_slice(&[0; 8]); // store timestamp
    put_host(out, message.store_host);
    out.extend_from_slice(&message.reconsume_times.to_be_bytes());
    out.extend_from_slice(&message.prepared_transaction_offset.to_be_bytes());
    put_length_u32(out, message.body.len());
    out.extend_from_slice(message.body);
    match version {
        RecordVersion::V1 => out.push(u8::try_from(message.topic.len()).expect("topic length checked")),
        RecordVersion::V2 => put_length_u16(out, message.topic.len()),
    }
    out.extend_from_slice(message.topic.as_bytes());
    put_length_u16(out, style.properties_bytes(message.properties));
    out.extend_from_slice(message.properties.as_bytes());
    if style.append_property_crc {
        if needs_separator(message.properties) {
            out.push(2);
        }
        out.extend_from_slice(&[0; PROPERTY_CRC_BYTES]);
    }
    debug_assert_eq!(out.len() - start, size, "the length table and the writer agree");
}

/// The message that an item of a batch makes. Batches take no part in transactions.
pub fn batch_message<'a>(shared: &Message<'a>, item: &BatchItem<'a>) -> Message<'a> {
    Message {
        flag: item.flag,
        properties: item.properties,
        body: item.body,
        prepared_transaction_offset: 0,
        ..*shared
    }
}

/// Fills in what is known under the writer lock. `record` is exactly one encoded record.
pub fn patch(
    record: &mut [u8],
    queue_offset: QueueOffset,
    physical_offset: PhysicalOffset,
    store_timestamp_ms: i64,
    style: RecordStyle,
) {
    put_at(record, QUEUE_OFFSET_AT, &queue_offset.0.to_be_bytes());
    put_at(record, PHYSICAL_OFFSET_AT, &physical_offset.0.to_be_bytes());
    let store_timestamp_at = store_timestamp_at(record);
    put_at(record, store_timestamp_at, &store_timestamp_ms.to_be_bytes());
    if style.append_property_crc {
        patch_property_crc(record);
    }
}

/// The digits stand least significant first. Reference: `MessageDecoder.createCrc32`.
fn patch_property_crc(record: &mut [u8]) {
    let covered_bytes = record.len() - PROPERTY_CRC_BYTES;
    let mut left = crc32(&record[..covered_bytes]);
    let name = properties::name::CRC32.as_bytes();
    let property = &mut record[covered_bytes..];
    property[..name.len()].copy_from_slice(name);
    property[name.len()] = 1;
    for digit in &mut property[name.len() + 1..PROPERTY_CRC_BYTES - 1] {
        *digit = b'0' + u8::try_from(left % 10).expect("a remainder of 10");
        left /= 10;
    }
    property[PROPERTY_CRC_BYTES - 1] = 2;
}

fn sys_flag_with_hosts(message: &Message<'_>) -> i32 {
    let mut flag = message.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    if is_v6(message.born_host) {
        flag |= sys_flag::BORN_HOST_V6;
    }
    if is_v6(message.store_host) {
        flag |= sys_flag::STORE_HOST_V6;
    }
    flag
}

/// A mapped IPv4 address is stored as IPv4, as Java reads it.
fn is_v6(host: SocketAddr) -> bool {
    host.ip().to_canonical().is_ipv6()
}

fn extra_host_bytes(host: SocketAddr) -> usize {
    if is_v6(host) {
        HOST_V6_BYTES - HOST_V4_BYTES
    } else {
        0
    }
}

fn needs_separator(properties: &str) -> bool {
    !properties.is_empty() && !properties.ends_with(properties::PROPERTY_SEPARATOR)
}

fn put_host(out: &mut Vec<u8>, host: SocketAddr) {
    match host.ip().to_canonical() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&u32::from(host.port()).to_be_bytes());
}

fn put_length_u32(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("record length checked");
    out.extend_from_slice(&length.to_be_bytes());
}

fn put_length_u16(out: &mut Vec<u8>, length: usize) {
    let length = u16::try_from(length).expect("topic and properties length checked");
    out.extend_from_slice(&length.to_be_bytes());
}

fn put_at(record: &mut [u8], at: usize, field: &[u8]) {
    record[at..at + field.len()].copy_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::decode::{RecordError, decode, property_crc_matches};
    use proptest::prelude::*;

    const PLAIN: RecordStyle = RecordStyle {
        version_by_topic_length: true,
        append_property_crc: false,
    };
    const WITH_CRC: RecordStyle = RecordStyle {
        version_by_topic_length: true,
        append_property_crc: true,
    };

    fn message<'a>(topic: &'a str, properties: &'a str, body: &'a [u8]) -> Message<'a> {
        Message {
            topic,
            queue_id: 3,
            flag: 7,
            sys_flag: 0,
            born_timestamp_ms: 1,
            born_host: "10.0.0.1:5000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties,
            body,
        }
    }

    fn encoded(message: &Message<'_>, style: RecordStyle) -> Vec<u8> {
        let mut record = Vec::new();
        encode(message, style, &mut record);
        patch(&mut record, QueueOffset(5), PhysicalOffset(4096), 99, style);
        record
    }

    #[test]
    fn a_topic_over_127_bytes_makes_a_version_2_record() {
        let long = "t".repeat(128);
        for (topic, version) in [(&long[..127], RecordVersion::V1), (&long[..], RecordVersion::V2)] {
            let record = encoded(&message(topic, "", b"b"), PLAIN);
            let decoded = decode(&record).unwrap();
            assert_eq!((decoded.version, decoded.topic), (version, topic));
        }
    }

    #[test]
    fn an_ipv4_mapped_host_is_stored_as_ipv4() {
        let mut mapped = message("T", "", b"");
        mapped.born_host = "[::ffff:10.0.0.1]:5000".parse().unwrap();
        let record = encoded(&mapped, PLAIN);
        assert_eq!(record.len(), MIN_RECORD_BYTES + 1);
        assert_eq!(
            decode(&record).unwrap().born_host,
            "10.0.0.1:5000".parse().unwrap()
        );
    }

    #[test]
    fn the_property_crc_covers_every_byte_before_it() {
        let mut record = encoded(&message("T", "a\u{1}b", b"body"), WITH_CRC);
        assert!(property_crc_matches(&record));
        assert_eq!(decode(&record).unwrap().property("a"), Some("b"));
        for at in 0..record.len() {
            record[at] ^= 1;
            assert!(!property_crc_matches(&record), "byte {at}");
            record[at] ^= 1;
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let record = encoded(&message("T", "a\u{1}b\u{2}", b"body"), PLAIN);
        for length in 0..record.len() {
            assert_eq!(
                decode(&record[..length]),
                Err(RecordError::Truncated),
                "{length} bytes"
            );
        }
    }

    fn host() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(
            topic in "[a-zA-Z%é]{1,120}", properties in "[a-z\u{1}\u{2}]{0,60}", body in prop::collection::vec(any::<u8>(), 0..200),
            born_host in host(), store_host in host(), numbers in any::<(i32, i32, i32, i64, i32, u32)>(),
            places in any::<(u32, u32, i64)>(), append_property_crc in any::<bool>(),
        ) {
            let (queue_id, flag, sys_flag, born_timestamp_ms, reconsume_times, prepared) = numbers;
            let (queue_offset, physical_offset, store_timestamp_ms) = places;
            let given = Message {
                topic: &topic, queue_id, flag, sys_flag, born_timestamp_ms, born_host, store_host, reconsume_times,
                prepared_transaction_offset: prepared.into(), properties: &properties, body: &body,
            };
            let style = RecordStyle { append_property_crc, ..PLAIN };
            let mut record = Vec::new();
            encode(&given, style, &mut record);
            let places = (QueueOffset(queue_offset.into()), PhysicalOffset(physical_offset.into()));
            patch(&mut record, places.0, places.1, store_timestamp_ms, style);
            prop_assert_eq!(record.len(), style.record_bytes(&given));

            let decoded = decode(&record).unwrap();
            let host_bits = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
            prop_assert_eq!(decoded.sys_flag & !host_bits, sys_flag & !host_bits);
            prop_assert_eq!(
                (decoded.topic, decoded.queue_id, decoded.flag, decoded.born_timestamp_ms, decoded.born_host),
                (given.topic, queue_id, flag, born_timestamp_ms, born_host)
            );
            prop_assert_eq!(
                (decoded.store_host, decoded.reconsume_times, decoded.prepared_transaction_offset, decoded.body),
                (store_host, reconsume_times, u64::from(prepared), &body[..])
            );
            prop_assert_eq!(
                (decoded.queue_offset, decoded.physical_offset, decoded.store_timestamp_ms),
                (places.0, places.1, store_timestamp_ms)
            );
            prop_assert!(decoded.properties.starts_with(&properties));
            prop_assert!(decoded.body_matches_crc());
            prop_assert_eq!(append_property_crc, property_crc_matches(&record));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0u32..300) {
            let _ = decode(&bytes);
            let mut dressed = bytes;
            if dressed.len() >= 8 {
                dressed[..4].copy_from_slice(&size.to_be_bytes());
                dressed[4..8].copy_from_slice(&RecordVersion::V1.magic().to_be_bytes());
                let _ = decode(&dressed);
                let _ = property_crc_matches(&dressed);
            }
        }
    }
}
