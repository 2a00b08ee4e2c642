//! Pop: consuming while the broker keeps track of each message.
//!
//! ```text
//!   POP ──> checkpoint ──┐                                   ┌─ acked: nothing more
//!                        ├─> timer ─> revive topic ─> revive ┤
//!   ACK ──> ack ─────────┘   until the messages are due      └─ else: a copy in the pop retry topic
//! ```
//!
//! ```text
//!   handle       what identifies a popped message on the wire, and the lists of a pop's answer
//!   revive_log   checkpoints and acks as messages of the revive topic
//!   revive       which checkpoints are due and what of them was not acknowledged
//!   horizon      up to which time all acks are known
//!   reviver      the service that reads the revive topic and puts the copies
//!   progress     how far a group has popped, also after a crash
//!   locks        one pop at a time of a queue
//!   invisible    how many messages of a queue are, to a group, where that is limited
//! ```
//!
//! In-order pop keeps no checkpoints: its state is [`ConsumerOrderInfo`](crate::registry::ConsumerOrderInfo).
//! Invariant: a popped message comes back when its time is up unless its ack was answered; then it never does, since the
//! ack was in the log before its answer.

pub mod handle;
mod horizon;
pub mod invisible;
pub mod locks;
pub mod progress;
pub mod revive;
pub mod revive_log;
pub mod reviver;
