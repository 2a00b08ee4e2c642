//! The files of messages with an arbitrary delivery time, in the reference's layout.
//!
//! ```text
//!   rmq_sys_wheel_timer, queue 0          the messages themselves, in the CommitLog
//!        │ the broker's timer follows it
//!        ▼
//!   timerlog   one 52-byte unit a message, each pointing at the one before it in its slot     (`log`)
//!        ▲ last unit of the slot
//!   timerwheel  one slot a precision step, two weeks of them                                  (`wheel`)
//!   config/timercheck  how far the wheel is read and the queue followed                       (`checkpoint`)
//! ```
//!
//! `files` holds the three together: opening, recovery, filing a message, flush, retention; `chains` says which units are a
//! slot's after a crash. Whoever follows the queue and
//! delivers is in the broker. Reference: `TimerMessageStore`.

mod chains;
mod checkpoint;
mod files;
mod log;
mod wheel;

pub use checkpoint::{CHECKPOINT_BYTES, TimerProgress};
pub use files::{Recovered, TimerFiles, TimerOptions};
pub use log::{TimerUnit, UnitKind, topic_hash};
pub use wheel::{Slot, WHEEL_SLOTS};
