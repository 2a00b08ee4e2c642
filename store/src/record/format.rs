//! The layout of a record. All integers are big-endian.
//!
//! ```text
//!   offset    size      field
//!   0         4         total size
//!   4         4         magic: version 1, version 2 or blank
//!   8         4         body CRC: CRC-32 of the stored body, top bit cleared
//!   12        4         queue id
//!   16        4         flag
//!   20        8         queue offset                 (0 for prepared and rollback messages)
//!   28        8         physical offset              (its own position in the log)
//!   36        4         sys flag
//!   40        8         born timestamp, ms
//!   48        B         born host: address + 4 bytes port, B = 8 or 20 by sys flag
//!   48+B      8         store timestamp, ms
//!   56+B      S         store host, S = 8 or 20 by sys flag
//!   56+B+S    4         reconsume times
//!   60+B+S    8         prepared transaction offset
//!   68+B+S    4         body length, then the body
//!             1 | 2     topic length (version 1 | 2), then the topic
//!             2         properties length, then the properties
//! ```
//!
//! A blank fills the rest of a file: total size = all bytes left, blank magic, nothing else. It is written
//! when a record and 8 bytes more do not fit, so a record never ends in the last 8 bytes of a file.

use crate::record::decode::RecordError;

/// Magic of version 1: topic length in one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of version 2: topic length in two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of a blank.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// Length of a blank as far as it is written.
pub const BLANK_BYTES: usize = 8;

pub(crate) const MAGIC_AT: usize = 4;
pub(crate) const QUEUE_OFFSET_AT: usize = 20;
pub(crate) const PHYSICAL_OFFSET_AT: usize = 28;
pub(crate) const SYS_FLAG_AT: usize = 36;
pub(crate) const BORN_HOST_AT: usize = 48;

/// Bytes of an IPv4 address and its port.
pub(crate) const HOST_V4_BYTES: usize = 8;
/// Bytes of an IPv6 address and its port.
pub(crate) const HOST_V6_BYTES: usize = 20;

/// A record with IPv4 hosts and without body, topic and properties, version 1: nothing shorter is a record.
pub const MIN_RECORD_BYTES: usize = 91;

/// Longest property string: its length is a signed short.
pub const MAX_PROPERTIES_BYTES: usize = 32_767;

/// Name, 0x01, ten digits, 0x02: what `enabledAppendPropCRC` adds to the properties.
pub const PROPERTY_CRC_BYTES: usize = common::message::properties::name::CRC32.len() + 1 + 10 + 1;

const _: () = {
    assert!(BORN_HOST_AT + HOST_V4_BYTES + 8 + HOST_V4_BYTES + 4 + 8 + 4 + 1 + 2 == MIN_RECORD_BYTES);
    assert!(SYS_FLAG_AT == PHYSICAL_OFFSET_AT + 8 && PHYSICAL_OFFSET_AT == QUEUE_OFFSET_AT + 8);
    assert!(PROPERTY_CRC_BYTES == 20);
};

/// How a record writes the length of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordVersion {
    /// In one byte: topics up to 127 bytes. The only version old clients can decode.
    V1,
    /// In two bytes.
    V2,
}

impl RecordVersion {
    /// The version's magic number.
    pub fn magic(self) -> u32 {
        match self {
            RecordVersion::V1 => MAGIC_V1,
            RecordVersion::V2 => MAGIC_V2,
        }
    }

    pub(crate) fn topic_length_bytes(self) -> usize {
        match self {
            RecordVersion::V1 => 1,
            RecordVersion::V2 => 2,
        }
    }

    pub(crate) fn of_magic(magic: u32) -> Result<Self, RecordError> {
        match magic {
            MAGIC_V1 => Ok(RecordVersion::V1),
            MAGIC_V2 => Ok(RecordVersion::V2),
            _ => Err(RecordError::Magic(magic)),
        }
    }
}

/// The checksum of a body, and of a whole record. Reference: `UtilAll.crc32`.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7FFF_FFFF
}

/// The four bytes at `at`; `None` beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*field))
}

/// The eight bytes at `at`; `None` beyond the end.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*field))
}
