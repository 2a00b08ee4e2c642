//! The message store.
#![deny(unsafe_code)]

mod checkpoint;
pub mod config;
mod consume_queue;
mod consume_queues;
pub mod disk;
pub mod dispatch;
pub mod flush;
pub mod get;
mod index_file;
mod local_time;
mod mapped_file;
mod mapped_file_queue;
pub mod offset;
pub mod put;
pub mod query;
mod queue_offsets;
pub mod record;
pub mod store;

pub use config::{BrokerRole, FlushDiskType, MessageStoreConfig};
pub use disk::{Disk, RealDisk};
pub use dispatch::{Arrival, ArrivalListener, NoArrivals};
pub use flush::{FlushError, FlushWaiter};
pub use get::{
    AllMessages, Boundary, GetOutcome, GetRequest, GetStatus, MessageFilter, QueueBounds, QueueEntry,
};
pub use offset::{PhysicalOffset, QueueOffset};
pub use put::{Appended, AppendedBatch, BatchItem, Message, PutError, WriteRefusal};
pub use query::QueryOutcome;
pub use store::{OpenError, Store, StoreOptions, StoreState};
