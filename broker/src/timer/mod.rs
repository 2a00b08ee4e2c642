//! Messages with an arbitrary delivery time.
//!
//! ```text
//!   send (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS)
//!     │ schedule: too far? too many? off?      the slot it waits in becomes TIMER_OUT_MS
//!     ▼
//!   rmq_sys_wheel_timer, queue 0
//!     │ service, follow: a unit in the timer log, a place in the wheel (store::timer)
//!     ▼
//!   wheel ──service, deliver: the slot of now, each message when it is due──> its own topic
//!     ├── due beyond the roll window: back into rmq_sys_wheel_timer            (it rolls)
//!     └── taken back by RECALL_MESSAGE: gone                                   (recall)
//! ```
//!
//! | file       | what                                                                    |
//! |------------|-------------------------------------------------------------------------|
//! | `schedule` | whether a message waits, and in which slot                              |
//! | `timers`   | the state that handlers and services share                              |
//! | `message`  | what a waiting message says about itself; its copies                    |
//! | `service`  | follows the queue, delivers what is due, leaves a slot in order         |
//! | `slot`     | the slot being delivered                                                |
//! | `copies`   | what was delivered before a crash                                       |
//! | `filed`    | what was filed before a crash                                           |
//! | `recall`   | handles, and messages being taken back                                  |
//! | `metrics`  | how many wait per topic: `config/timermetrics`                          |
//! | `flush`    | brings progress to the disk; deletes old files                          |
//!
//! Invariants
//! - No message is delivered before it is due, and none is passed over that was not put into its topic.
//! - Progress is written only after the log that holds the copies is on the disk.
//! - The reference can go on with the files at any moment, and we with its files.
//!
//! Reference: `TimerMessageStore`, which delivers a slot as a whole when it is over.

pub(crate) mod copies;
pub(crate) mod filed;
pub(crate) mod flush;
pub mod message;
pub(crate) mod metrics;
pub mod recall;
pub(crate) mod schedule;
pub(crate) mod service;
pub(crate) mod slot;
pub(crate) mod timers;

pub use flush::TimerFlush;
pub use service::TimerService;
pub use timers::Timers;
