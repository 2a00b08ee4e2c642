//! Bytes to [`Record`]. The bytes may be torn, stale or foreign: every length is checked before it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::message::{properties, sys_flag};
use thiserror::Error;

use crate::offset::{PhysicalOffset, QueueOffset};
use crate::record::format::{
    BORN_HOST_AT, HOST_V4_BYTES, HOST_V6_BYTES, MAGIC_AT, MIN_RECORD_BYTES, PROPERTY_CRC_BYTES,
    RecordVersion, SYS_FLAG_AT, crc32, u32_at, u64_at,
};

/// One stored message, borrowing from the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Length of the record.
    pub size_bytes: u32,
    /// How it writes its topic's length.
    pub version: RecordVersion,
    /// Checksum of the body, as stored.
    pub body_crc: u32,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The producer's flag.
    pub flag: i32,
    /// The message's number in its queue.
    pub queue_offset: QueueOffset,
    /// Where the record says it lies.
    pub physical_offset: PhysicalOffset,
    /// Bits of `common::message::sys_flag`.
    pub sys_flag: i32,
    /// When the producer made it, in ms.
    pub born_timestamp_ms: i64,
    /// Where the producer was.
    pub born_host: SocketAddr,
    /// When it was stored, in ms.
    pub store_timestamp_ms: i64,
    /// Where it was stored.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// Of a committed message, where its half message lies.
    pub prepared_transaction_offset: u64,
    /// The body as stored.
    pub body: &'a [u8],
    /// The topic.
    pub topic: &'a str,
    /// The encoded properties.
    pub properties: &'a str,
}

impl<'a> Record<'a> {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        properties::get(self.properties, name)
    }

    /// Whether the body is the one that was stored. An empty body is not checked, as in the reference.
    pub fn body_matches_crc(&self) -> bool {
        self.body.is_empty() || crc32(self.body) == self.body_crc
    }

    /// The transaction bits of the sys flag.
    pub fn transaction_type(&self) -> i32 {
        sys_flag::transaction_type(self.sys_flag)
    }

    /// Whether the message has a place in a queue: prepared and rollback messages have none.
    pub fn is_queued(&self) -> bool {
        matches!(
            self.transaction_type(),
            sys_flag::TRANSACTION_NONE | sys_flag::TRANSACTION_COMMIT
        )
    }

    /// Whether the record holds many messages in its body.
    pub fn is_inner_batch(&self) -> bool {
        self.sys_flag & sys_flag::INNER_BATCH != 0
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// The record, or one of its fields, goes on after the bytes at hand.
    #[error("the record is cut off")]
    Truncated,
    /// No record has this total size.
    #[error("a record cannot have {0} bytes")]
    Size(u32),
    /// The magic number is none of a record.
    #[error("{0:#010x} is not a record's magic number")]
    Magic(u32),
    /// The lengths inside do not add up to the total size.
    #[error("the fields take {fields_bytes} bytes, the record says {size_bytes}")]
    Lengths {
        /// Sum of the fields.
        fields_bytes: usize,
        /// The total size.
        size_bytes: u32,
    },
    /// A length is negative.
    #[error("a length in the record is negative")]
    NegativeLength,
    /// A port over 65535.
    #[error("{0} is not a port")]
    Port(u32),
    /// Topic or properties are not UTF-8.
    #[error("topic or properties are not UTF-8")]
    Text,
    /// An offset is negative.
    #[error("an offset in the record is negative")]
    NegativeOffset,
}

/// Decodes the record at the start of `bytes`; more bytes may follow. Checks structure, not checksums.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let size_bytes = u32_at(bytes, 0).ok_or(RecordError::Truncated)?;
    let size = usize::try_from(size_bytes).map_err(|_| RecordError::Size(size_bytes))?;
    if size < MIN_RECORD_BYTES || size_bytes > i32::MAX.unsigned_abs() {
        return Err(RecordError::Size(size_bytes));
    }
    let record = bytes.get(..size).ok_or(RecordError::Truncated)?;
    let mut fields = Fields { rest: &record[4..] };

    let version = RecordVersion::of_magic(fields.u32()?)?;
    let body_crc = fields.u32()?;
    let queue_id = fields.i32()?;
    let flag = fields.i32()?;
    let queue_offset = QueueOffset(fields.offset()?);
    let physical_offset = PhysicalOffset(fields.offset()?);
    let sys_flag = fields.i32()?;
    let born_timestamp_ms = fields.i64()?;
    let born_host = fields.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
    let store_timestamp_ms = fields.i64()?;
    let store_host = fields.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
    let reconsume_times = fields.i32()?;
    let prepared_transaction_offset = fields.offset()?;
    let body_length = usize::try_from(fields.i32()?).map_err(|_| RecordError::NegativeLength)?;
    let body = fields.take(body_length)?;
    let topic_length = match version {
        RecordVersion::V1 => usize::from(fields.take(1)?[0]),
        RecordVersion::V2 => usize::from(fields.u16()?),
    };
    let topic = fields.text(topic_length)?;
    let properties_length =
        usize::try_from(fields.u16()?.cast_signed()).map_err(|_| RecordError::NegativeLength)?;
    let properties = fields.text(properties_length)?;
    if !fields.rest.is_empty() {
        return Err(RecordError::Lengths {
            fields_bytes: size - fields.rest.len(),
            size_bytes,
        });
    }
    Ok(Record {
        size_bytes,
        version,
        body_crc,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
        born_timestamp_ms,
        born_host,
        store_timestamp_ms,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic,
        properties,
    })
}

/// The store timestamp of the record at the start of `bytes`, which must look like one.
pub(crate) fn store_timestamp(bytes: &[u8]) -> Option<i64> {
    RecordVersion::of_magic(u32_at(bytes, MAGIC_AT)?).ok()?;
    u64_at(bytes, store_timestamp_at(bytes)).map(u64::cast_signed)
}

/// Where the store timestamp lies in a record, by its sys flag.
pub(crate) fn store_timestamp_at(record: &[u8]) -> usize {
    let flag = u32_at(record, SYS_FLAG_AT).unwrap_or(0);
    if flag & sys_flag::BORN_HOST_V6.cast_unsigned() == 0 {
        BORN_HOST_AT + HOST_V4_BYTES
    } else {
        BORN_HOST_AT + HOST_V6_BYTES
    }
}

/// Whether the record ends with the checksum of all of itself, and it is right. Reference: `forceVerifyPropCRC`.
pub fn property_crc_matches(record: &[u8]) -> bool {
    let Some(covered_bytes) = record.len().checked_sub(PROPERTY_CRC_BYTES) else {
        return false;
    };
    let (covered, property) = record.split_at(covered_bytes);
    let name = properties::name::CRC32.as_bytes();
    let Some(digits) = property
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(&[1]))
        .and_then(|rest| rest.strip_suffix(&[2]))
    else {
        return false;
    };
    // Least significant digit first.
    let stored = digits.iter().rev().try_fold(0u64, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(value * 10 + u64::from(digit))
    });
    stored == Some(u64::from(crc32(covered)))
}

/// The fields not yet read.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (field, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn offset(&mut self) -> Result<u64, RecordError> {
        u64::try_from(self.i64()?).map_err(|_| RecordError::NegativeOffset)
    }

    fn host(&mut self, is_v6: bool) -> Result<SocketAddr, RecordError> {
        let ip: IpAddr = if is_v6 {
            Ipv6Addr::from(self.array::<{ HOST_V6_BYTES - 4 }>()?).into()
        } else {
            Ipv4Addr::from(self.array::<{ HOST_V4_BYTES - 4 }>()?).into()
        };
        let port = self.u32()?;
        let port = u16::try_from(port).map_err(|_| RecordError::Port(port))?;
        Ok(SocketAddr::new(ip, port))
    }

    fn text(&mut self, count: usize) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.take(count)?).map_err(|_| RecordError::Text)
    }
}
