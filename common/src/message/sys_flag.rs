//! Bits of the `sysFlag` of messages, pulls and topics. Reference: `MessageSysFlag`, `PullSysFlag`, `TopicSysFlag`.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The topic's filter type is MULTI_TAG.
pub const MULTI_TAGS: i32 = 0x2;
/// Both transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// No part of a transaction.
pub const TRANSACTION_NONE: i32 = 0;
/// A half message, as the producer sends it.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rollback record.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is an IPv6 address: 16 + 4 bytes instead of 4 + 4.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// An inner batch that clients must unwrap.
pub const NEED_UNWRAP: i32 = 0x40;
/// One record that holds many messages.
pub const INNER_BATCH: i32 = 0x80;

/// The transaction bits of `sys_flag`.
pub fn transaction_type(sys_flag: i32) -> i32 {
    sys_flag & TRANSACTION_MASK
}

/// `sys_flag` with its transaction bits replaced by `transaction_type`.
pub fn with_transaction_type(sys_flag: i32, transaction_type: i32) -> i32 {
    (sys_flag & !TRANSACTION_MASK) | transaction_type
}

/// Bits of a pull request's `sysFlag`.
pub mod pull {
    /// `commitOffset` is to be stored too.
    pub const COMMIT_OFFSET: i32 = 0x1;
    /// The pull may wait for a message.
    pub const SUSPEND: i32 = 0x2;
    /// The `subscription` field is present and counts.
    pub const SUBSCRIPTION: i32 = 0x4;
    /// A class filter, no longer supported by anybody.
    pub const CLASS_FILTER: i32 = 0x8;
    /// A lite pull.
    pub const LITE_PULL: i32 = 0x10;
}

/// Bits of `topicSysFlag`.
pub mod topic {
    /// The topic belongs to a unit.
    pub const UNIT: i32 = 0x1;
    /// The topic has unit subscriptions.
    pub const UNIT_SUB: i32 = 0x2;
}
