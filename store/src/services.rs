//! The store's background services, in start order.
//!
//! | service          | woken by               | does                                                        |
//! |------------------|------------------------|-------------------------------------------------------------|
//! | store-allocate   | room ahead gets small  | next file, and room ahead of the writer                     |
//! | store-flush      | a sender that waits    | CommitLog to disk, answers those who wait                   |
//! | store-deadline   | a first waiter         | answers those who waited too long                           |
//! | store-dispatch   | every append           | queues, index, arrivals                                     |
//! | store-queues     |                        | queues, index and checkpoint to disk                        |
//! | store-retention  |                        | old files, disk watermarks                                  |
//! | store-resident   |                        | lets pages of the log go that nobody needs                  |
//!
//! Each is a struct around the store, so that a test can tick it without a thread.

use std::sync::Arc;
use std::time::Duration;

use common::clock::Now;
use common::service::{Next, Service, Services, Waker};

use crate::resident;
use crate::store::Store;

/// Who wakes whom.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    pub(crate) allocate: Waker,
    pub(crate) flush: Waker,
    pub(crate) flush_deadline: Waker,
    pub(crate) dispatch: Waker,
    pub(crate) flush_queues: Waker,
    pub(crate) retention: Waker,
    pub(crate) resident: Waker,
}

macro_rules! services {
    ($($(#[$meta:meta])* $service:ident = $name:literal, every $interval:expr, does $tick:expr, woken by $waker:ident;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            pub struct $service(pub Arc<Store>);

            impl Service for $service {
                const NAME: &'static str = $name;

                fn interval(&self) -> Duration {
                    let interval: fn(&Store) -> Duration = $interval;
                    interval(&self.0)
                }

                fn tick(&mut self, now: Now, stopping: bool) -> anyhow::Result<Next> {
                    let tick: fn(&Store, Now, bool) -> anyhow::Result<Next> = $tick;
                    tick(&self.0, now, stopping)
                }
            }
        )*

        /// All services of a store, for those who tick them without threads.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub struct StoreTicks { $(pub $waker: $service,)* }

        impl Store {
            /// The store's services, not started.
            pub fn ticks(self: &Arc<Self>) -> StoreTicks {
                StoreTicks { $($waker: $service(Arc::clone(self)),)* }
            }

            /// Starts the store's background services, each on a thread of its own.
            ///
            /// # Errors
            /// When the operating system refuses a thread.
            pub fn start_services(self: &Arc<Self>, services: &mut Services) -> std::io::Result<()> {
                $(services.start($service(Arc::clone(self)), &self.wakers.$waker)?;)*
                Ok(())
            }
        }
    };
}

/// The interval of services that are woken when there is something to do.
const SELDOM: Duration = Duration::from_secs(60);

services! {
    /// Makes room ahead of the writer.
    AllocateService = "store-allocate", every |_| SELDOM, does |store, _, _| store.allocate_tick(), woken by allocate;
    /// Gets the CommitLog to the disk.
    FlushService = "store-flush", every Store::flush_interval, does Store::flush_tick, woken by flush;
    /// Answers those whose flush takes too long.
    FlushDeadlineService = "store-deadline", every Store::flush_deadline_interval,
        does |store, now, _| Ok(store.flush_deadline_tick(now)), woken by flush_deadline;
    /// Follows the CommitLog.
    DispatchService = "store-dispatch", every Store::dispatch_interval, does |store, _, _| store.dispatch_tick(),
        woken by dispatch;
    /// Gets queues, index and checkpoint to the disk.
    FlushQueuesService = "store-queues", every Store::flush_queues_interval, does Store::flush_queues_tick,
        woken by flush_queues;
    /// Deletes what is old.
    RetentionService = "store-retention", every Store::retention_interval, does |store, now, _| store.retention_tick(now),
        woken by retention;
    /// Lets pages go.
    ResidentService = "store-resident", every |_| resident::ROUND_EVERY, does |store, _, _| store.resident_tick(),
        woken by resident;
}
