//! Transactions: messages that wait, invisible, until their producer says how its local transaction ended.
//!
//! ```text
//!   send (TRAN_MSG) ──> RMQ_SYS_TRANS_HALF_TOPIC, queue 0            half_message   what is stored, what is restored
//!   END_TRANSACTION ──> commit: the message in its own topic
//!                  └──> "d" record in RMQ_SYS_TRANS_OP_HALF_TOPIC    op_message     which half messages have ended
//!   every transactionCheckInterval: of those without an end,         check          what to do, a pure function
//!     ask the producer, and put the half message back                check_service  doing it
//!
//!   transactions   the one place where a half message ends           ledger         what has ended, in memory
//!   recovery       the ledger, from what a restart finds in the log
//! ```
//!
//! Invariants
//! - A half message becomes visible once or never. Whether it is still open is decided under one lock, held until the
//!   message that follows from it is in the log; a copy put back counts as the message it is a copy of.
//! - After a crash the log tells: a commit's record names the half message it ended, so an end whose "d" record was not
//!   written yet is known all the same.
//! - The check's progress is kept only after everything that it passed is on the disk.
//!
//! Records, topics, progress and files are the reference's: each broker goes on with what the other left.

pub(crate) mod check;
pub mod check_service;
pub mod half_message;
pub(crate) mod ledger;
pub mod op_message;
pub(crate) mod recovery;
pub(crate) mod transactions;

pub use transactions::Transactions;
