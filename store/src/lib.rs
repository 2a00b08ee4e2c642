//! The message store of a broker. Knows nothing of the network.
//!
//! ```text
//!            put                                            get, query
//!             │                                                  ▲
//!             ▼ encoded before, ordered under the lock           │ one copy from the mapping
//!   ┌─ commit_log ─────────────────────────────────────────────────────────────────────────┐
//!   │  the truth: records of all topics, one after another, in files of equal size         │
//!   └──────┬──────────────────┬───────────────────────────────────────────▲────────────────┘
//!          │ flush            │ dispatch: the follower                    │ physical offset
//!          ▼                  ├──> consume_queue(s)   queue offset ───────┤
//!   disk, then those          ├──> index_file         key ────────────────┘
//!   who wait for it           └──> ArrivalListener    whoever waits for the message
//! ```
//!
//! | file                | what                                                                     |
//! |---------------------|--------------------------------------------------------------------------|
//! | `store`             | open, close, state                                                       |
//! | `put`, `get`, `query` | what the broker calls                                                  |
//! | `scan`              | the log itself, record by record                                         |
//! | `estimate`          | how many messages of a stretch of a queue a filter wants                 |
//! | `services`          | what runs in the background, as a table                                  |
//! | `config`            | every key                                                                |
//! | `record/`           | the bytes of a message                                                   |
//! | `commit_log`        | append under the writer lock; read by physical offset                    |
//! | `allocate`          | the next file, blocks and pages ahead of need                            |
//! | `flush`             | getting bytes to the disk; who waits for which offset                    |
//! | `dispatch`          | from the log to everything derived from it                               |
//! | `consume_queue`, `consume_queues` | entries of one queue; all queues                           |
//! | `queue_offsets`     | the next offset of each queue                                            |
//! | `index_file`        | keys                                                                     |
//! | `recovery`          | where the log ends, and what is lost                                     |
//! | `checkpoint`, `deleted_topics` | what recovery must know                                       |
//! | `queue_note`        | the queues as a checkpoint found them: a start opens no file of a queue  |
//! | `retention`         | old files go                                                             |
//! | `resident`          | pages of the log that nobody needs are not the process's memory          |
//! | `timer/`            | wheel, log and checkpoint of messages with a delivery time               |
//! | `mapped_file`, `mapped_file_queue` | files as memory: the only unsafe code; runs of equal files |
//! | `disk`              | the file system, handed in                                               |
//! | `sim_disk`          | the same in memory: crashes, torn pages, faults; with the feature `sim`  |
#![deny(unsafe_code)]

mod allocate;
mod checkpoint;
mod commit_log;
pub mod config;
mod consume_queue;
mod consume_queues;
pub mod deleted_topics;
pub mod disk;
pub mod dispatch;
mod estimate;
pub mod flush;
pub mod get;
mod index_file;
mod mapped_file;
mod mapped_file_queue;
pub mod offset;
pub mod put;
pub mod query;
pub mod queue_note;
mod queue_offsets;
pub mod record;
mod recovery;
mod resident;
mod retention;
mod scan;
pub mod services;
#[cfg(any(test, feature = "sim"))]
pub mod sim_disk;
mod stats;
pub mod store;
pub mod timer;

pub use config::{BrokerRole, FlushDiskType, MessageStoreConfig};
pub use consume_queue::rewrite_entry;
pub use disk::{Disk, RealDisk};
pub use dispatch::{Arrival, ArrivalListener, NoArrivals, QueueKind};
pub use flush::{FlushError, FlushWaiter};
pub use get::{
    AllMessages, Boundary, GetOutcome, GetRequest, GetStatus, MessageFilter, QueueBounds, QueueEntry,
};
pub use offset::{PhysicalOffset, QueueOffset};
pub use put::{Appended, AppendedBatch, BatchItem, Message, PutError, WriteRefusal};
pub use query::QueryOutcome;
pub use recovery::{DAMAGED_TOPIC, Damage};
pub use stats::PUT_LATENCY_LIMITS_MS;
pub use store::{OpenError, Store, StoreOptions, StoreState};
