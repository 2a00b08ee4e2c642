//! Deliberate bugs, one at a time, to show that the simulation finds them.
//!
//! The code asks [`is_planted`] at the place that a bug breaks. Without the feature `sim` the answer is a constant and
//! nothing is left of the question; with it, a test plants a bug for its own thread. What they break belongs to the
//! promises of `docs/durability.md`; `broker/tests/simulation/` finds each within a bounded number of seeds.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// The log says that it is flushed, and no sync was made.
    SkipLogFlush,
    /// The checkpoint says that the queues are on disk, and they are not.
    SkipQueueFlush,
    /// The log's end is moved before it is known that the record has room, and copied.
    PublishBeforeCopy,
    /// Recovery leaves in the queues what the log lost.
    ForgetTruncation,
    /// The first key of a message is not indexed.
    DropIndexEntry,
    /// The consumers' offsets count as written, and are not.
    LoseOffsetWrite,
    /// A sender who waits for the disk is told at once.
    AcknowledgeEarly,
    /// A pull that waits is not told of the message it waits for.
    ForgetParkedPull,
    /// The delay levels' progress is written before the delivered messages are on disk.
    DelayProgressAhead,
    /// A start does not look for delayed messages that were delivered after their progress was written.
    DeliverDelayedAgain,
    /// The note that a transaction has ended is written before the message that followed from it is on disk.
    NoteEndTooEarly,
    /// The timer's checkpoint is written before the messages that it delivered are on disk.
    TimerProgressAhead,
    /// A consumer that acknowledges popped messages is told at once, not when that is on disk.
    AcknowledgePopEarly,
    /// One ack of a pop counts for all its messages.
    OneAckForAll,
    /// The offsets of pops are written before the checkpoints and copies they rely on are on disk.
    PopProgressAhead,
    /// The end of a popped message's old invisible time counts, also when the record of its new time is lost.
    BelieveTakenOver,
    /// Of two requests that came with one read, the second is handled first.
    Overtake,
    /// A reset that a pop in order took is there again after a kill.
    ForgetTakenReset,
    /// One ack of a batch that was popped in order lets the next pop in.
    OneAckUnblocks,
    /// What became of a batch that was popped in order is written with the files only, not before it is answered.
    ForgetOrder,
    /// A start looks for no recent sends in the log.
    ForgetSends,
    /// A producer that repeats a send is told at once, not when the first one is on disk.
    AnswerRepeatEarly,
    /// A read that has looked at enough messages a consumer does not want goes on behind the next one.
    SkipAtFilterStop,
    /// Of the light queues that a message names the last does not get it.
    DropLightEntry,
    /// A pop of light topics that waits is not told of the message it waits for.
    ForgetParkedLitePop,
    /// What a client that takes no events of light topics has heard of, nobody else hears of.
    LoseLiteEvents,
    /// Nobody is told when a batch of a light topic is visible again.
    ForgetLiteBatch,
    /// A member of a broadcasting group counts as having what it is just being given.
    CountBroadcastEarly,
    /// A light topic expires though it has just got a message, which its queue does not show yet.
    ExpireUnseen,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [PlantedBug; 29] = [
        PlantedBug::SkipLogFlush,
        PlantedBug::SkipQueueFlush,
        PlantedBug::PublishBeforeCopy,
        PlantedBug::ForgetTruncation,
        PlantedBug::DropIndexEntry,
        PlantedBug::LoseOffsetWrite,
        PlantedBug::AcknowledgeEarly,
        PlantedBug::ForgetParkedPull,
        PlantedBug::DelayProgressAhead,
        PlantedBug::DeliverDelayedAgain,
        PlantedBug::NoteEndTooEarly,
        PlantedBug::TimerProgressAhead,
        PlantedBug::AcknowledgePopEarly,
        PlantedBug::OneAckForAll,
        PlantedBug::PopProgressAhead,
        PlantedBug::BelieveTakenOver,
        PlantedBug::Overtake,
        PlantedBug::ForgetTakenReset,
        PlantedBug::OneAckUnblocks,
        PlantedBug::ForgetOrder,
        PlantedBug::ForgetSends,
        PlantedBug::AnswerRepeatEarly,
        PlantedBug::SkipAtFilterStop,
        PlantedBug::DropLightEntry,
        PlantedBug::ForgetParkedLitePop,
        PlantedBug::LoseLiteEvents,
        PlantedBug::ForgetLiteBatch,
        PlantedBug::CountBroadcastEarly,
        PlantedBug::ExpireUnseen,
    ];
}

/// Whether the code is to make this mistake.
#[cfg(not(any(test, feature = "sim")))]
#[inline(always)]
pub const fn is_planted(_bug: PlantedBug) -> bool {
    false
}

#[cfg(any(test, feature = "sim"))]
pub use simulated::{is_planted, plant};

#[cfg(any(test, feature = "sim"))]
mod simulated {
    use std::cell::Cell;

    use super::PlantedBug;

    thread_local! {
        static PLANTED: Cell<Option<PlantedBug>> = const { Cell::new(None) };
    }

    /// Plants a bug in whatever this thread runs from now on, in place of the one before.
    pub fn plant(bug: Option<PlantedBug>) {
        PLANTED.set(bug);
    }

    /// Whether the code is to make this mistake.
    #[inline]
    pub fn is_planted(bug: PlantedBug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
