//! What a restart finds: which half messages are over, which op records tell of them, what is still open.
//!
//! ```text
//!   progress of the check ──> half queue from there on      a copy put back makes older ones of its key over
//!                        └──> op queue from its progress on  what they name is over
//!   oldest that is still open ──> the log from there to its end: a committed or discarded message of the same key
//!                                 makes it over, though no op record tells it yet
//! ```
//!
//! The last step is what a crash between a commit and its op record needs: the reference asks the producer again, and a
//! second message becomes visible. It reads what was logged since the oldest open half message, a minute or two of a
//! broker whose producers answer, and nothing when none is open.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use common::message::{properties::name, sys_flag};
use common::names;
use store::{PhysicalOffset, QueueEntry, QueueOffset, Store};

use super::half_message::{HALF_QUEUE_ID, HalfMessage, TransactionKey};
use super::ledger::{End, Ledger};
use super::op_message::{self, OpQueue};

/// Queue entries read at once.
const ENTRIES_AT_ONCE: u64 = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) ledger: Ledger,
    pub(crate) ops: OpQueue,
    /// Half messages still open, by the topic they are meant for.
    pub(crate) open_by_topic: BTreeMap<String, i64>,
}

/// Reads the state of all transactions. `half_progress` and `op_progress` are what was kept of the check's progress.
///
/// # Errors
/// When the log cannot be followed.
pub(crate) fn recover(
    store: &Store,
    half_progress: Option<i64>,
    op_progress: Option<i64>,
) -> anyhow::Result<Recovered> {
    let (from, end) = range(store, names::TRANS_HALF_TOPIC, half_progress);
    let mut recovered = Recovered {
        ledger: Ledger::beginning_at(from),
        ..Recovered::default()
    };
    recovered.read_ops(store, op_progress, end);
    let open = recovered.read_halves(store, from, end);
    recovered.follow_log(store, open)?;
    Ok(recovered)
}

/// The part of a queue to look at. Progress outside of it is corrected: messages were deleted, or lost in a crash.
fn range(store: &Store, topic: &str, progress: Option<i64>) -> (u64, u64) {
    let Some(bounds) = store.queue_bounds(topic, HALF_QUEUE_ID) else {
        return (0, 0);
    };
    let end = bounds.max.0.max(bounds.min.0);
    let from = progress.and_then(|progress| u64::try_from(progress).ok());
    (from.unwrap_or(bounds.min.0).clamp(bounds.min.0, end), end)
}

/// The half messages that are not over, with what finds their ends in the log.
#[derive(Default)]
struct Open {
    by_key: HashMap<TransactionKey, OpenHalf>,
    oldest: Option<PhysicalOffset>,
}

struct OpenHalf {
    queue_offset: u64,
    physical_offset: PhysicalOffset,
    real_topic: String,
}

/// What [`Recovered::read_halves`] needs of a half message.
struct Seen {
    key: TransactionKey,
    is_put_back: bool,
    real_topic: String,
}

impl Recovered {
    fn read_ops(&mut self, store: &Store, progress: Option<i64>, half_end: u64) {
        let (from, end) = range(store, names::TRANS_OP_HALF_TOPIC, progress);
        self.ops = OpQueue::beginning_at(from);
        let halves = self.ledger.next()..half_end;
        let mut next = from;
        while next < end {
            let entries = entries(store, names::TRANS_OP_HALF_TOPIC, next, ENTRIES_AT_ONCE);
            let Some(last) = entries.last() else { break };
            for entry in &entries {
                let last_half = store.with_record(entry.physical_offset, |record| {
                    op_message::parse(record.property(name::TAGS), record.body)
                        .filter(|half_offset| halves.contains(half_offset))
                        .inspect(|half_offset| self.ledger.end(*half_offset, End::Recorded))
                        .max()
                });
                self.ops.note(entry.queue_offset.0, last_half.flatten());
            }
            next = last.queue_offset.0 + 1;
        }
    }

    /// From the newest to the oldest, so that a copy is seen before what it is a copy of.
    fn read_halves(&mut self, store: &Store, from: u64, end: u64) -> Open {
        let mut open = Open::default();
        let mut copies = Vec::new();
        let mut with_copy = HashSet::new();
        let mut below = end;
        while below > from {
            let first = below.saturating_sub(ENTRIES_AT_ONCE).max(from);
            let entries = entries(store, names::TRANS_HALF_TOPIC, first, below - first);
            for entry in entries.iter().rev().filter(|entry| entry.queue_offset.0 < below) {
                let queue_offset = entry.queue_offset.0;
                let Some(seen) = look(store, entry) else {
                    self.ledger.end(queue_offset, End::GivenUp);
                    continue;
                };
                if with_copy.contains(&seen.key) {
                    self.end(queue_offset, End::PutBack);
                } else if seen.is_put_back {
                    with_copy.insert(seen.key);
                    copies.push((queue_offset, seen.key));
                }
                if !self.ledger.is_over(queue_offset) {
                    open.add(entry, seen);
                }
            }
            below = first;
        }
        for (copy, key) in copies.into_iter().rev() {
            self.ledger.note_copy(copy, key);
        }
        open
    }

    /// Finds the ends of open half messages that no op record tells.
    fn follow_log(&mut self, store: &Store, open: Open) -> anyhow::Result<()> {
        let Open { mut by_key, oldest } = open;
        if let Some(oldest) = oldest {
            store
                .scan(oldest, |record| {
                    let end = match record.topic {
                        names::TRANS_CHECK_MAX_TIME_TOPIC => End::GivenUp,
                        _ if record.transaction_type() == sys_flag::TRANSACTION_COMMIT => End::Committed,
                        _ => return,
                    };
                    let key = TransactionKey::of(record);
                    if let Some(half) = by_key.get(&key)
                        && half.physical_offset < record.physical_offset
                    {
                        self.end(half.queue_offset, end);
                        by_key.remove(&key);
                    }
                })
                .context("follow the log from the oldest open half message")?;
        }
        for half in by_key.into_values() {
            *self.open_by_topic.entry(half.real_topic).or_default() += 1;
        }
        Ok(())
    }

    /// Notes an end that no op record tells, so that one will: the next broker on this store may be the reference.
    fn end(&mut self, queue_offset: u64, end: End) {
        if !self.ledger.is_over(queue_offset) {
            self.ledger.end(queue_offset, end);
            self.ops.push(queue_offset);
        }
    }
}

impl Open {
    fn add(&mut self, entry: &QueueEntry, seen: Seen) {
        self.oldest = Some(match self.oldest {
            Some(oldest) => oldest.min(entry.physical_offset),
            None => entry.physical_offset,
        });
        self.by_key.insert(
            seen.key,
            OpenHalf {
                queue_offset: entry.queue_offset.0,
                physical_offset: entry.physical_offset,
                real_topic: seen.real_topic,
            },
        );
    }
}

fn look(store: &Store, entry: &QueueEntry) -> Option<Seen> {
    store
        .with_record(entry.physical_offset, |record| {
            let half = HalfMessage::of(*record)?;
            Some(Seen {
                key: half.key(),
                is_put_back: half.is_put_back(),
                real_topic: half.real_topic().unwrap_or_default().to_owned(),
            })
        })
        .flatten()
}

fn entries(store: &Store, topic: &str, from: u64, count: u64) -> Vec<QueueEntry> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    store.queue_entries(topic, HALF_QUEUE_ID, QueueOffset(from), count)
}
