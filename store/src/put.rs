//! Putting messages: what is given, what comes back, and why not.

use std::net::SocketAddr;
use std::path::PathBuf;

use smallvec::SmallVec;
use thiserror::Error;

use crate::offset::{PhysicalOffset, QueueOffset};
use crate::store::Store;

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The topic; up to 127 bytes, or 255 when it is a retry topic.
    pub topic: &'a str,
    /// The queue in the topic.
    pub queue_id: i32,
    /// The producer's flag; the store keeps it and gives it back.
    pub flag: i32,
    /// Bits of `common::message::sys_flag`; those of the hosts' address families are set by the store.
    pub sys_flag: i32,
    /// When the producer made the message, in ms.
    pub born_timestamp_ms: i64,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// The broker's address: part of the message's offset id.
    pub store_host: SocketAddr,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Of a committed message, where its half message lies; else 0.
    pub prepared_transaction_offset: u64,
    /// The encoded properties. Dispatch takes tags and keys from them.
    pub properties: &'a str,
    /// The body as sent, possibly compressed.
    pub body: &'a [u8],
}

/// What differs between the messages of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    /// The producer's flag.
    pub flag: i32,
    /// The encoded properties.
    pub properties: &'a str,
    /// The body as sent.
    pub body: &'a [u8],
}

/// A message is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where its record begins.
    pub physical_offset: PhysicalOffset,
    /// Length of its record.
    pub size_bytes: u32,
    /// Its number in its queue; 0 for prepared and rollback messages, which have none.
    pub queue_offset: QueueOffset,
    /// The time it was stored.
    pub store_timestamp_ms: i64,
    /// Where its record ends: what a flush must reach.
    pub end: PhysicalOffset,
}

/// The messages of a batch are in the log, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    /// Where each record begins, in the order given.
    pub physical_offsets: SmallVec<[PhysicalOffset; 8]>,
    /// Length of all records together.
    pub size_bytes: u32,
    /// The queue offset of the first; the others follow one by one.
    pub queue_offset: QueueOffset,
    /// The time they were stored.
    pub store_timestamp_ms: i64,
    /// Where the last record ends.
    pub end: PhysicalOffset,
}

/// Why the store takes no messages at all.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WriteRefusal {
    /// Closed, or never opened for writing.
    #[error("the store is closed")]
    Closed,
    /// Slaves take messages from their master only.
    #[error("the broker is a slave")]
    Slave,
    /// Switched off by an operator or the broker.
    #[error("writes are switched off")]
    SwitchedOff,
    /// Too little room left on the disk.
    #[error("disk use of {path} is {percent} %, over the limit of {limit_percent} %")]
    DiskFull {
        /// The directory looked at.
        path: PathBuf,
        /// Use of its disk, in percent.
        percent: u32,
        /// `diskSpaceWarningLevelRatio`.
        limit_percent: u32,
    },
    /// Writing or syncing failed, so nobody knows what the disk holds. Lasts until the restart.
    #[error("the log failed: {0}")]
    LogFailed(String),
    /// No room for the next file. Ends when there is room again.
    #[error("no room for the log to grow: {0}")]
    NoSpace(String),
}

/// Why a message was not stored.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PutError {
    /// The topic is longer than a record can hold.
    #[error("topic has {size_bytes} bytes, the limit is {limit_bytes}")]
    TopicTooLong {
        /// Length of the topic.
        size_bytes: usize,
        /// Limit for this kind of topic.
        limit_bytes: usize,
    },
    /// The body is longer than `maxMessageSize`.
    #[error("body has {size_bytes} bytes, the limit is {limit_bytes}")]
    BodyTooLarge {
        /// Length of the body, of a batch the sum.
        size_bytes: usize,
        /// `maxMessageSize`.
        limit_bytes: usize,
    },
    /// The property string is longer than a record can hold.
    #[error("properties have {size_bytes} bytes, the limit is {limit_bytes}")]
    PropertiesTooLarge {
        /// Length of the property string.
        size_bytes: usize,
        /// 32767.
        limit_bytes: usize,
    },
    /// The record would not fit into a CommitLog file, or is longer than `maxMessageSize` + 64 KiB.
    #[error("record has {size_bytes} bytes, the limit is {limit_bytes}")]
    RecordTooLarge {
        /// Length of the record, of a batch of all records.
        size_bytes: usize,
        /// The smaller of the two limits.
        limit_bytes: usize,
    },
    /// A batch without messages.
    #[error("the batch is empty")]
    EmptyBatch,
    /// An inner batch for an ordinary queue, or its count is missing.
    #[error("{0}")]
    IllegalBatch(&'static str),
    /// Somebody holds the writer lock for longer than `osPageCacheBusyTimeOutMills`.
    #[error("the page cache is busy: the writer lock is held for {held_ms} ms")]
    PageCacheBusy {
        /// How long it is held.
        held_ms: i64,
    },
    /// The store takes no messages.
    #[error(transparent)]
    NotWritable(#[from] WriteRefusal),
}

impl Store {
    /// Appends a message: in the log and visible to dispatch, not yet flushed.
    pub fn put(&self, message: &Message<'_>) -> Result<Appended, PutError> {
        let _ = message;
        Err(WriteRefusal::Closed.into())
    }

    /// Appends many messages of one queue, one after another in one file.
    ///
    /// `shared` gives everything but flag, properties and body.
    pub fn put_batch(
        &self,
        shared: &Message<'_>,
        inner: &[BatchItem<'_>],
    ) -> Result<AppendedBatch, PutError> {
        let _ = (shared, inner);
        Err(WriteRefusal::Closed.into())
    }
}
