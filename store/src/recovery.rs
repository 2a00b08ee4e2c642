//! Recovery: from what the disk holds to a log with a certain end, and queues and index that match it.
//!
//! # Where the scan begins
//! After a clean stop everything derived is on disk, and only what lies beyond the queues' last entries is dispatched;
//! the scan begins at the last record if the stop noted it (`queue_note.rs`), else in the file of the last entry's.
//! After a crash with a note of the queues, it begins at the note's record, and no queue's file is looked into: the log
//! holds every record that has an entry in a file, as the checkpoint's `queues_reach` says, so what is built again is all
//! that the files can hold. If the log turns out to end before that, or to be damaged, the note is dropped and recovery
//! begins again without it. Without a note it begins at the first record of the file that holds the checkpoint's `logics_physical_offset`; in the directory of an older broker, whose checkpoint has none, at the
//! newest file whose first record was stored before the checkpoint's time. Queue entries from there on are taken away
//! first and built anew, so whatever a crash left in them does not matter. Where the checkpoint is this broker's own,
//! and so says that log, queues and index are on disk up to that record, the scan begins at the record itself. The index may need an earlier beginning: it
//! tells how far it reaches. A checkpoint of zeros says that nothing derived is on disk: then everything is scanned.
//! `commitLogRecoverMaxNum` limits only the search by time: stopping short of a known place would leave queues with
//! entries that a power loss took.
//!
//! # Where the log ends
//! The scan goes from record to record; each must have a known magic number, lengths that add up, a physical offset
//! equal to its place, and a body that matches its checksum. A blank leads to the next file. At the first place with
//! nothing valid, that is either the end of the log (a torn tail, or plain zeros) or damage in its middle, and the
//! difference matters: cutting at damage loses every later message, going on at an end brings up bytes that are no
//! messages of this log. The bytes after an end need not be zeros: the reference leaves what it cuts off where it
//! is and writes over it, so complete records of an earlier generation, with physical offsets that fit their place,
//! may follow the end.
//!
//! - Below the *known bound* there certainly were messages: some queue entry, the index or the checkpoint points there.
//!   Damage below it is damage in the middle; the scan goes on at the next valid record.
//! - Beyond the bound, after a clean stop, nothing was acknowledged that the queues do not know: the end.
//! - Beyond the bound, after a crash, the next valid record counts only if it can have been written after the last
//!   valid one: it was not stored earlier (an earlier generation was, the log's times never fall), and its queue offset
//!   is not taken yet (an earlier generation's may be). Otherwise: the end.
//!
//! We leave zeros behind when we cut, so that there is no earlier generation to tell apart the next time.
//!
//! # What damage costs
//! The records it hit, no more. Their places in their queues get fillers. In the log the damaged bytes become the body
//! of a rollback record of the topic [`DAMAGED_TOPIC`], which no queue and no index shows: afterwards the log can be
//! followed from record to record again, by this broker, by a slave, and by the reference, which would cut everything
//! behind the damage. Every damaged range is reported.
//!
//! Header fields have no checksum. A queue offset that is not the next of its queue is therefore not believed if the
//! queue's next record in the log contradicts it.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use common::message::sys_flag;
use common::planted_bug::{PlantedBug, is_planted};

use crate::checkpoint::{Checkpoint, CheckpointField};
use crate::config::MessageStoreConfig;
use crate::disk::Disk;
use crate::dispatch::{Derived, MAX_GAP, NoArrivals, Targets};
use crate::index_file::{IndexMark, IndexOnDisk};
use crate::mapped_file::MappedFile;
use crate::offset::{PhysicalOffset, QueueOffset};
use crate::put::Message;
use crate::record::decode::{Record, decode, property_crc_matches};
use crate::record::encode::{RecordStyle, encode, patch};
use crate::record::format::{
    BLANK_BYTES, MAGIC_AT, MAGIC_BLANK, MAGIC_V1, MAGIC_V2, MIN_RECORD_BYTES, u32_at,
};
use crate::store::OpenError;

/// The topic of the records that take the place of damaged ones.
pub const DAMAGED_TOPIC: &str = "DAMAGED";

/// How far recovery looks for the next message of a queue.
const LOOK_AHEAD_RECORDS: usize = 4096;

/// A part of the log that held messages and holds none that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub begin: PhysicalOffset,
    /// Where the next good record begins.
    pub end: PhysicalOffset,
}

/// What recovery works on.
pub(crate) struct Recovery<'a> {
    pub(crate) config: &'a MessageStoreConfig,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) derived: &'a Derived,
    /// All files of the log, every byte readable.
    pub(crate) files: Vec<MappedFile>,
    pub(crate) is_clean: bool,
}

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The files, published as far as they hold records.
    pub(crate) files: Vec<MappedFile>,
    /// Where the log ends.
    pub(crate) end: u64,
    /// The last record: physical offset and store time.
    pub(crate) last: Option<(u64, i64)>,
    /// What was lost.
    pub(crate) damage: Vec<Damage>,
}

/// Where the scan begins, and from where on what is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    scan_from: u64,
    queues_from: u64,
    index_from: u64,
    /// There were messages below this offset.
    known_bound: u64,
}

/// How it went.
#[derive(Debug)]
pub(crate) enum Outcome {
    Recovered(Recovered),
    /// The queues were taken from a note, and the log is not what it must be for that: all is to be done again with what
    /// the queues' files hold. Gives the log's files back.
    ContradictsNote(Vec<MappedFile>),
}

enum Step<'a> {
    Record(Record<'a>),
    Blank,
    Invalid,
}

#[derive(Default)]
struct Scan {
    end: u64,
    last: Option<(u64, i64)>,
    damage: Vec<Damage>,
    /// Most records that can have been lost.
    lost_records: u64,
}

impl Recovery<'_> {
    /// Runs the recovery.
    pub(crate) fn run(mut self) -> Result<Outcome, OpenError> {
        if self.files.is_empty() {
            self.drop_everything_derived()?;
            return Ok(Outcome::Recovered(Recovered {
                files: Vec::new(),
                end: 0,
                last: None,
                damage: Vec::new(),
            }));
        }
        if !self.is_clean {
            self.cut_index(self.derived.index.doubtful_from().unwrap_or(u64::MAX))?;
        }
        self.finish_deletions()?;
        if !self.is_clean && self.derived.noted.is_some() {
            return self.replay_from_note();
        }
        if self.derived.noted.is_some() {
            self.find_first_files()?;
        }
        let plan = self.plan();
        tracing::info!(?plan, is_clean = self.is_clean, "recovering");
        if !self.is_clean {
            if plan.queues_from != self.checkpoint.get(CheckpointField::EverythingOnDisk) {
                self.forget_queues_on_disk_from(plan.queues_from)?;
            }
            self.cut_queues(plan.queues_from)?;
        }
        let scan = self.scan(plan)?;
        self.settle(plan, scan).map(Outcome::Recovered)
    }

    /// Builds what is missing behind the note's record, if the log is as the note needs it.
    fn replay_from_note(mut self) -> Result<Outcome, OpenError> {
        let Some(plan) = self.plan_from_note() else {
            return Ok(Outcome::ContradictsNote(self.files));
        };
        tracing::info!(?plan, "recovering from the note of the queues");
        // Entries may be written while they are built again: what they point to must be on disk.
        self.sync_log(plan.scan_from)?;
        self.find_first_files()?;
        let scan = self.scan(plan)?;
        let reach = self.checkpoint.get(CheckpointField::QueuesReach);
        if !scan.damage.is_empty() || scan.end < reach {
            let (end, damaged_ranges) = (scan.end, scan.damage.len());
            tracing::warn!(
                end,
                reach,
                damaged_ranges,
                "the log has lost something: looking into all queues"
            );
            return Ok(Outcome::ContradictsNote(self.files));
        }
        self.settle(plan, scan).map(Outcome::Recovered)
    }

    /// Makes log, queues and index what the scan found.
    fn settle(&mut self, plan: Plan, mut scan: Scan) -> Result<Recovered, OpenError> {
        if !scan.damage.is_empty() {
            self.forget_queues_on_disk_from(plan.scan_from)?;
            self.derived
                .queues
                .context()
                .forget_note()
                .map_err(self.failed("remove the note of the queues in"))?;
            // Entries and keys of what was lost may be there: build everything that was scanned anew.
            let all = Plan {
                queues_from: plan.scan_from,
                index_from: plan.scan_from,
                ..plan
            };
            self.cut_queues(plan.scan_from)?;
            self.cut_index(plan.scan_from)?;
            scan = self.scan(all)?;
        }
        for damage in &scan.damage {
            let (begin, end) = (damage.begin.0, damage.end.0);
            tracing::error!(
                begin,
                end,
                "damage in the commit log: the messages in this range are lost"
            );
            self.repair(begin, end, scan.last.map_or(0, |(_, time_ms)| time_ms))
                .map_err(self.failed("repair the commit log in"))?;
        }
        if self.is_clean {
            self.cut_queues(scan.end)?;
        }
        self.cut_index(scan.end)?;
        self.settle_index_time()?;
        self.cut_log(scan.end, plan.scan_from)?;
        self.derived
            .deleted
            .end_at(scan.end)
            .map_err(self.failed("write the deleted topics of"))?;
        if let Some((last, _)) = scan.last {
            self.checkpoint.set(CheckpointField::ConfirmPhysicalOffset, last);
        }
        tracing::info!(end = scan.end, damaged_ranges = scan.damage.len(), "recovered");
        Ok(Recovered {
            files: std::mem::take(&mut self.files),
            end: scan.end,
            last: scan.last,
            damage: scan.damage,
        })
    }

    /// Deletes queues that were about to go with their topic when the last process ended.
    fn finish_deletions(&self) -> Result<(), OpenError> {
        let (queues, deleted) = (&self.derived.queues, &self.derived.deleted);
        let doomed = deleted
            .topics()
            .into_iter()
            .flat_map(|topic| queues.all_of(&topic));
        let doomed = doomed.filter(|queue| {
            let last = queue.max_physical().saturating_sub(1);
            !queue.is_empty() && deleted.covers(queue.topic(), last)
        });
        for queue in doomed {
            queues.delete(&queue).map_err(self.failed("delete a queue of"))?;
        }
        Ok(())
    }

    /// The queues are cut here and built anew in memory, and the log may get another end than the checkpoint knows. A crash
    /// before they are flushed must find them as they are told of now: whoever recovers then, we or the reference, may
    /// come by another beginning than we did, and must not take one behind the cut.
    fn forget_queues_on_disk_from(&self, limit: u64) -> Result<(), OpenError> {
        let dispatched =
            Some(self.checkpoint.get(CheckpointField::LogicsPhysicalOffset)).filter(|at| *at > 0);
        self.checkpoint.set(
            CheckpointField::LogicsPhysicalOffset,
            dispatched.map_or(limit, |at| at.min(limit)),
        );
        self.checkpoint.set(CheckpointField::LogicsMsgTimestamp, 0);
        self.checkpoint.set(CheckpointField::EverythingOnDisk, 0);
        self.checkpoint
            .persist()
            .map_err(self.failed("write the checkpoint in"))
    }

    /// What was repaired, cut and filled again is on disk now, and the checkpoint says so: after a crash the reference
    /// deletes the files that it does not cover, and indexes again what its own recovery comes by, which may be less.
    fn settle_index_time(&self) -> Result<(), OpenError> {
        if self.is_clean {
            return Ok(());
        }
        self.derived
            .index
            .flush()
            .map_err(self.failed("flush the index of"))?;
        let full_ms = self.derived.index.full_end_ms_below(u64::MAX);
        self.checkpoint
            .set(CheckpointField::IndexMsgTimestamp, full_ms.cast_unsigned());
        self.checkpoint
            .persist()
            .map_err(self.failed("write the checkpoint in"))
    }

    /// Takes away from the index what points at or above `limit`. Before it does, the checkpoint says no more that this was on
    /// the disk: a crash in between may leave of a file a page as it was, and a page as it is to be.
    fn cut_index(&self, limit: u64) -> Result<(), OpenError> {
        let full_ms = self.derived.index.full_end_ms_below(limit);
        let is_covered = self.checkpoint.time_ms(CheckpointField::IndexMsgTimestamp) > full_ms;
        // The index was ahead of a log that a power failure shortened.
        let is_marked = self.checkpoint.get(CheckpointField::IndexEnd) > limit;
        if is_covered {
            self.checkpoint
                .set(CheckpointField::IndexMsgTimestamp, full_ms.cast_unsigned());
        }
        if is_marked {
            self.checkpoint.set(CheckpointField::IndexEnd, 0);
            self.checkpoint.set(CheckpointField::IndexEntries, 0);
        }
        if is_covered || is_marked {
            self.checkpoint
                .persist()
                .map_err(self.failed("write the checkpoint in"))?;
        }
        self.derived
            .index
            .truncate(limit)
            .map_err(self.failed("cut the index in"))
    }

    /// Without a log there is nothing that queues could point to.
    fn drop_everything_derived(&self) -> Result<(), OpenError> {
        let queues = &self.derived.queues;
        queues
            .delete_all(&queues.all())
            .map_err(self.failed("delete the queues of"))?;
        self.cut_index(0)
    }

    fn plan(&self) -> Plan {
        let queues_end = self
            .derived
            .queues
            .all()
            .iter()
            .map(|queue| queue.max_physical())
            .max()
            .unwrap_or(0);
        let dispatched = self.checkpoint.get(CheckpointField::LogicsPhysicalOffset);
        let indexed = self.derived.index.indexed();
        let known_bound = queues_end.max(dispatched).max(indexed);
        if self.is_clean {
            let mut plan = Plan {
                scan_from: self
                    .noted_last_record()
                    .unwrap_or_else(|| self.files[self.newest_file_before(queues_end)].start()),
                queues_from: queues_end,
                index_from: queues_end,
                known_bound,
            };
            // There was an index once, and somebody took it away: the only part that a clean start builds anew.
            let had_index = self.checkpoint.time_ms(CheckpointField::IndexMsgTimestamp) > 0;
            if self.derived.indexes_keys() && indexed == 0 && had_index {
                plan.index_from = self.files[0].start();
                plan.scan_from = plan.index_from;
            }
            return plan;
        }
        if let Some(plan) = self.plan_from_checkpoint(dispatched, indexed, known_bound) {
            return plan;
        }
        let start = if dispatched > 0 {
            self.newest_file_before(dispatched)
        } else if self.checkpoint.get(CheckpointField::LogicsMsgTimestamp) > 0
            && self.checkpoint.get(CheckpointField::QueuesReach) == 0
        {
            // An older broker's, which has no offset. Ours has none for the log's first record.
            self.newest_file_by_time()
        } else {
            // Nobody ever said that anything derived is on disk.
            0
        };
        let queues_from = if self.config.enable_accelerated_recovery && dispatched > 0 {
            dispatched
        } else {
            self.files[start].start()
        };
        let mut plan = Plan {
            scan_from: queues_from,
            queues_from,
            index_from: queues_from,
            known_bound,
        };
        if self.derived.indexes_keys() && indexed < queues_from {
            let reach = self.newest_file_before(indexed);
            plan.index_from = self.files[reach].start().min(queues_from);
            plan.scan_from = plan.index_from;
        }
        plan
    }

    /// Where the log goes on behind the note's record; `None` when the log or the checkpoint does not fit the note. A note of an
    /// empty store goes with a log that has everything from its first byte on.
    fn plan_from_note(&self) -> Option<Plan> {
        let noted = self.derived.noted?;
        let everything = self.checkpoint.get(CheckpointField::EverythingOnDisk);
        let reach = self.checkpoint.get(CheckpointField::QueuesReach);
        let is_ours = everything == self.checkpoint.get(CheckpointField::LogicsPhysicalOffset);
        let fits = match noted {
            Some(record) => everything >= record && reach > record && self.is_record_at(record),
            None => self.derived.queues.len() == 0 && self.files[0].start() == 0,
        };
        if !is_ours || !fits {
            return None;
        }
        let indexed = self.derived.index.indexed();
        let record = noted.unwrap_or(0);
        let mut plan = Plan {
            scan_from: record,
            // The record itself is in its queue.
            queues_from: noted.map_or(0, |record| record + 1),
            index_from: record,
            known_bound: reach.max(indexed),
        };
        if self.derived.indexes_keys() && indexed <= record && !self.is_index_whole(everything) {
            plan.index_from = self.index_reaches(indexed).min(record);
            plan.scan_from = plan.index_from;
        }
        Some(plan)
    }

    /// Where the index must be gone on with: at the last record that it knows, or where that one's file begins.
    fn index_reaches(&self, indexed: u64) -> u64 {
        let last = indexed.checked_sub(1).filter(|at| self.is_record_at(*at));
        last.unwrap_or_else(|| self.files[self.newest_file_before(indexed)].start())
    }

    /// Where everything is known to be on disk up to a record, the scan begins right there; the index may have lost more.
    fn plan_from_checkpoint(&self, dispatched: u64, indexed: u64, known_bound: u64) -> Option<Plan> {
        let is_known = dispatched > 0 && self.checkpoint.get(CheckpointField::EverythingOnDisk) == dispatched;
        if !is_known || !self.is_record_at(dispatched) {
            return None;
        }
        let mut plan = Plan {
            scan_from: dispatched,
            queues_from: dispatched,
            index_from: dispatched,
            known_bound,
        };
        if self.derived.indexes_keys() && indexed <= dispatched && !self.is_index_whole(dispatched) {
            // The last record that it knows is known whole.
            plan.index_from = indexed.checked_sub(1).filter(|at| self.is_record_at(*at))?;
            plan.scan_from = plan.index_from;
        }
        Some(plan)
    }

    /// Whether the index has the keys of all records up to the one that everything is on disk to: messages without keys
    /// leave nothing in it that would tell.
    fn is_index_whole(&self, everything: u64) -> bool {
        let mark = index_on_disk(self.checkpoint).mark;
        self.checkpoint.get(CheckpointField::EverythingOnDisk) == everything
            && mark.is_some_and(|mark| self.derived.index.indexed() >= mark.end)
    }

    fn is_record_at(&self, position: u64) -> bool {
        self.file_at(position)
            .is_some_and(|file| matches!(self.step(file, position), Step::Record(_)))
    }

    /// Where the last record begins, if a clean stop noted it and it is there.
    fn noted_last_record(&self) -> Option<u64> {
        self.derived
            .noted
            .flatten()
            .filter(|position| self.is_record_at(*position))
    }

    /// The oldest file that a search by time may go back to.
    fn recover_limit(&self) -> usize {
        self.files
            .len()
            .saturating_sub(self.config.commit_log_recover_max_num.max(1))
    }

    /// The newest file whose first record does not lie behind `offset`, else the oldest.
    fn newest_file_before(&self, offset: u64) -> usize {
        let fits = |index: &usize| {
            let first = first_record(&self.files[*index]);
            first.is_some_and(|record| record.physical_offset.0 <= offset && self.is_safe_for_index(&record))
        };
        (0..self.files.len()).rev().find(fits).unwrap_or(0)
    }

    fn newest_file_by_time(&self) -> usize {
        let time_ms = self.checkpoint.time_ms(CheckpointField::LogicsMsgTimestamp);
        let oldest = self.recover_limit();
        let fits = |index: &usize| {
            let first = first_record(&self.files[*index]);
            // Stricter than the reference: of the records of that very millisecond some may not be in their queues.
            first.is_some_and(|record| record.store_timestamp_ms < time_ms && self.is_safe_for_index(&record))
        };
        (oldest..self.files.len()).rev().find(fits).unwrap_or(oldest)
    }

    fn is_safe_for_index(&self, record: &Record<'_>) -> bool {
        let indexed_ms = self.checkpoint.time_ms(CheckpointField::IndexMsgTimestamp);
        self.is_clean || !self.config.message_index_safe || record.store_timestamp_ms <= indexed_ms
    }

    fn scan(&self, plan: Plan) -> Result<Scan, OpenError> {
        let mut scan = Scan::default();
        let mut position = plan.scan_from;
        while let Some(file) = self.file_at(position) {
            match self.step(file, position) {
                Step::Record(record) => {
                    self.take(&record, plan, &mut scan)
                        .map_err(self.failed("dispatch a record of"))?;
                    scan.last = Some((position, record.store_timestamp_ms));
                    position += u64::from(record.size_bytes);
                }
                Step::Blank => position = file.end(),
                Step::Invalid => {
                    let next = self
                        .next_record_after(position, plan, &scan)
                        .map_err(self.failed("scan"))?;
                    let Some(next) = next else { break };
                    scan.lost_records += (next - position) / MIN_RECORD_BYTES as u64;
                    scan.damage.push(Damage {
                        begin: PhysicalOffset(position),
                        end: PhysicalOffset(next),
                    });
                    position = next;
                }
            }
        }
        scan.end = position;
        Ok(scan)
    }

    /// Dispatches a record, unless its queue offset cannot be right.
    fn take(&self, record: &Record<'_>, plan: Plan, scan: &mut Scan) -> io::Result<()> {
        let position = record.physical_offset.0;
        if self.derived.deleted.covers(record.topic, position) {
            return Ok(());
        }
        let mut targets = Targets {
            queues: position >= plan.queues_from,
            index: position >= plan.index_from,
        };
        if targets.queues && record.is_queued() && !self.is_numbered_right(record, scan)? {
            tracing::error!(
                topic = record.topic,
                queue_id = record.queue_id,
                queue_offset = record.queue_offset.0,
                physical_offset = position,
                "a record's queue offset contradicts its queue: the message is lost"
            );
            let end = PhysicalOffset(position + u64::from(record.size_bytes));
            scan.damage.push(Damage {
                begin: record.physical_offset,
                end,
            });
            scan.lost_records += 1;
            targets = Targets {
                queues: false,
                index: false,
            };
        }
        self.derived.dispatch(record, targets, &NoArrivals)?;
        Ok(())
    }

    /// Whether the record's queue offset fits its queue. A queue that begins again at 0 was deleted in between.
    fn is_numbered_right(&self, record: &Record<'_>, scan: &Scan) -> io::Result<bool> {
        let Some(queue) = self.derived.queues.find(record.topic, record.queue_id) else {
            return Ok(true);
        };
        let (offset, end) = (record.queue_offset.0, queue.max_offset());
        if queue.is_empty() || queue.kind() == crate::consume_queue::QueueKind::Batch || offset == end {
            return Ok(true);
        }
        if offset > end && offset - end <= scan.lost_records {
            return Ok(true);
        }
        let (context, physical) = (self.derived.queues.context(), record.physical_offset.0);
        if offset < end && queue.holds(context, offset, physical)? {
            return Ok(true);
        }
        let next = self.next_queue_offset(record);
        if offset > end {
            return Ok(offset - end <= MAX_GAP && next.is_none_or(|next| next > offset));
        }
        if offset == 0 && next == Some(1) {
            self.derived.queues.delete(&queue)?;
            return Ok(true);
        }
        // The next one proves that this is the queue's next; else dispatch drops it, as one the queue has already.
        Ok(next != Some(end + 1))
    }

    /// The queue offset of the next record of the same queue, if it is near.
    fn next_queue_offset(&self, record: &Record<'_>) -> Option<u64> {
        let mut position = record.physical_offset.0 + u64::from(record.size_bytes);
        for _ in 0..LOOK_AHEAD_RECORDS {
            let file = self.file_at(position)?;
            match self.step(file, position) {
                Step::Record(next) => {
                    let is_same = next.topic == record.topic && next.queue_id == record.queue_id;
                    if is_same && next.is_queued() {
                        return Some(next.queue_offset.0);
                    }
                    position += u64::from(next.size_bytes);
                }
                Step::Blank => position = file.end(),
                Step::Invalid => return None,
            }
        }
        None
    }

    /// Where the log goes on after a place with nothing valid; `None` when that place is its end.
    fn next_record_after(&self, position: u64, plan: Plan, scan: &Scan) -> io::Result<Option<u64>> {
        if self.is_clean && position >= plan.known_bound {
            return Ok(None);
        }
        for file in self.files.iter().filter(|file| file.end() > position) {
            let from = if file.start() > position {
                0
            } else {
                place(position - file.start()) + 1
            };
            let found = self.find_record(file, from, |record| {
                record.physical_offset.0 < plan.known_bound || self.can_follow(record, scan)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whether a record after a torn place is of this generation; see the module's text.
    fn can_follow(&self, record: &Record<'_>, scan: &Scan) -> bool {
        let is_later = scan
            .last
            .is_none_or(|(_, time_ms)| record.store_timestamp_ms >= time_ms);
        let queue = self.derived.queues.find(record.topic, record.queue_id);
        let is_free =
            queue.is_none_or(|queue| !record.is_queued() || record.queue_offset.0 >= queue.max_offset());
        is_later && is_free
    }

    /// The first valid record in a file, from a place on, that is accepted.
    fn find_record(
        &self,
        file: &MappedFile,
        from: usize,
        is_accepted: impl Fn(&Record<'_>) -> bool,
    ) -> io::Result<Option<u64>> {
        let bytes = file.bytes(0..file.size()).unwrap_or(&[]);
        for data in data_from(file, from)? {
            // A record may begin in the bytes before the data.
            for candidate in data.start.saturating_sub(MAGIC_AT).max(from)..data.end {
                let magic = u32_at(bytes, candidate + MAGIC_AT);
                if !matches!(magic, Some(MAGIC_V1 | MAGIC_V2)) {
                    continue;
                }
                let position = file.start() + candidate as u64;
                if let Step::Record(record) = self.step(file, position)
                    && is_accepted(&record)
                {
                    return Ok(Some(position));
                }
            }
        }
        Ok(None)
    }

    /// What stands at a place: a record only if everything about it can be believed.
    fn step<'f>(&self, file: &'f MappedFile, position: u64) -> Step<'f> {
        let at = place(position - file.start());
        let Some(bytes) = file.bytes(at..file.size()) else {
            return Step::Invalid;
        };
        if u32_at(bytes, MAGIC_AT) == Some(MAGIC_BLANK) {
            let is_whole = u32_at(bytes, 0).map(|size| size as usize) == Some(bytes.len());
            return if is_whole { Step::Blank } else { Step::Invalid };
        }
        match decode(bytes) {
            Ok(record) if self.is_believable(&record, bytes, position) && !is_torn(&record, at) => {
                Step::Record(record)
            }
            _ => Step::Invalid,
        }
    }

    fn is_believable(&self, record: &Record<'_>, bytes: &[u8], position: u64) -> bool {
        let size = record.size_bytes as usize;
        if record.physical_offset.0 != position || size + BLANK_BYTES > bytes.len() {
            return false;
        }
        match (
            self.config.check_crc_on_recover,
            self.config.force_verify_prop_crc,
        ) {
            (false, _) => true,
            (true, false) => record.body_matches_crc(),
            (true, true) => property_crc_matches(&bytes[..size]),
        }
    }

    fn file_at(&self, position: u64) -> Option<&MappedFile> {
        let first = self.files.first()?;
        let index = position.checked_sub(first.start())? / first.size() as u64;
        self.files.get(usize::try_from(index).ok()?)
    }

    fn cut_queues(&self, limit: u64) -> Result<(), OpenError> {
        if is_planted(PlantedBug::ForgetTruncation) {
            return Ok(());
        }
        let queues = &self.derived.queues;
        let mut emptied = Vec::new();
        for queue in queues.all() {
            let is_left = queue
                .cut_physical(queues.context(), limit)
                .map_err(self.failed("cut a queue of"))?;
            if !is_left {
                emptied.push(queue);
            }
        }
        queues
            .delete_all(&emptied)
            .map_err(self.failed("delete empty queues of"))
    }

    /// Retention may have removed files of queues since they were noted: a stop behind which there are no new messages leaves
    /// the note as it is.
    fn find_first_files(&self) -> Result<(), OpenError> {
        let log_min = self.files.first().map_or(0, MappedFile::start);
        let queues = &self.derived.queues;
        for queue in queues.all().iter().filter(|queue| queue.may_begin_below(log_min)) {
            queue
                .find_first_file(queues.context())
                .map_err(self.failed("look for a queue's first file in"))?;
        }
        Ok(())
    }

    /// Gets what was written of the log from an offset on to the disk.
    fn sync_log(&self, from: u64) -> Result<(), OpenError> {
        for file in self.files.iter().filter(|file| file.end() > from) {
            file.flush(0..file.size())
                .map_err(OpenError::io("sync", file.path()))?;
        }
        Ok(())
    }

    /// Makes `end` the end of the log: later files go, zeros follow. After a crash what was scanned is synced too: it is
    /// about to count as flushed.
    fn cut_log(&mut self, end: u64, scanned_from: u64) -> Result<(), OpenError> {
        let is_clean = self.is_clean;
        // From the last to the first: a crash in between must leave no gap.
        while let Some(file) = self.files.pop_if(|file| file.start() > end) {
            let path = file.path();
            self.disk
                .remove_file(path)
                .map_err(OpenError::io("remove", path))?;
        }
        let mut kept = Vec::with_capacity(self.files.len());
        for mut file in std::mem::take(&mut self.files) {
            let path = file.path().to_owned();
            if end < file.end() {
                file.truncate(place(end - file.start()))
                    .map_err(OpenError::io("cut", &path))?;
            }
            if !is_clean && file.end() > scanned_from {
                file.flush(0..file.published())
                    .map_err(OpenError::io("sync", &path))?;
            }
            kept.push(file);
        }
        self.files = kept;
        Ok(())
    }

    /// Puts records over a damaged range, so that the log can be followed through it.
    fn repair(&mut self, begin: u64, end: u64, store_timestamp_ms: i64) -> io::Result<()> {
        for file in self
            .files
            .iter_mut()
            .filter(|file| file.start() < end && file.end() > begin)
        {
            let from = begin.max(file.start());
            let at = place(from - file.start());
            if file.end() <= end {
                // Nothing of the file is good from here on.
                let left = u32::try_from(file.size() - at).map_err(io::Error::other)?;
                let mut blank = [0; BLANK_BYTES];
                blank[..MAGIC_AT].copy_from_slice(&left.to_be_bytes());
                blank[MAGIC_AT..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
                file.overwrite(at, &blank)?;
            } else {
                let damaged = file.bytes(at..at + place(end - from)).unwrap_or(&[]);
                if let Some(record) = damaged_record(damaged, from, store_timestamp_ms) {
                    file.overwrite(at, &record)?;
                }
            }
        }
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> OpenError + use<> {
        let root = self.config.root();
        move |source| OpenError::Io {
            action,
            path: root.clone(),
            source,
        }
    }
}

/// Whether a part of the record never reached the disk. Topic and properties have no checksum, but of a new file what is
/// missing are zeros up to the end of a sector, or of the record. No topic has a zero; no writer ends properties with
/// one, and hardly any has one at all.
fn is_torn(record: &Record<'_>, at: usize) -> bool {
    const SECTOR_BYTES: usize = 512;
    let properties = record.properties.as_bytes();
    let begin = at + record.size_bytes as usize - properties.len();
    let first_end = begin.next_multiple_of(SECTOR_BYTES) - begin;
    let ends = (first_end..properties.len()).step_by(SECTOR_BYTES);
    let is_zero_before = |end: usize| end > 0 && properties[end - 1] == 0;
    record.topic.contains('\0') || ends.chain([properties.len()]).any(is_zero_before)
}

/// The parts of a file, from a place on, that may hold anything but zeros. All of them are asked for before one is read:
/// reading through the mapping makes data of a hole's pages.
fn data_from(file: &MappedFile, from: usize) -> io::Result<Vec<Range<usize>>> {
    let mut parts = Vec::new();
    let mut at = from;
    while at < file.size() {
        let start = file.next_data(at)?.max(at);
        if start >= file.size() {
            break;
        }
        at = file.next_hole(start)?.max(start + 1);
        parts.push(start..at.min(file.size()));
    }
    Ok(parts)
}

/// The first record of a file, without its checksum: for choosing a file.
fn first_record(file: &MappedFile) -> Option<Record<'_>> {
    let record = decode(file.bytes(0..file.size())?).ok()?;
    (record.physical_offset.0 == file.start()).then_some(record)
}

/// A record of exactly the length of the damaged bytes, with as many of them as fit as its body; `None` when they are
/// too few for a record.
fn damaged_record(damaged: &[u8], position: u64, store_timestamp_ms: i64) -> Option<Vec<u8>> {
    let room = damaged
        .len()
        .checked_sub(MIN_RECORD_BYTES)
        .filter(|room| *room > 0)?;
    let topic = &DAMAGED_TOPIC[..DAMAGED_TOPIC.len().min(room)];
    let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let message = Message {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: sys_flag::TRANSACTION_ROLLBACK,
        born_timestamp_ms: store_timestamp_ms,
        born_host: nowhere,
        store_host: nowhere,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties: "",
        body: &damaged[damaged.len() - (room - topic.len())..],
    };
    let style = RecordStyle {
        version_by_topic_length: false,
        append_property_crc: false,
    };
    let mut record = Vec::with_capacity(damaged.len());
    encode(&message, style, &mut record);
    patch(
        &mut record,
        QueueOffset(0),
        PhysicalOffset(position),
        store_timestamp_ms,
        style,
    );
    debug_assert_eq!(record.len(), damaged.len());
    Some(record)
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("inside a mapped file")
}

/// What the checkpoint knows of the index.
pub(crate) fn index_on_disk(checkpoint: &Checkpoint) -> IndexOnDisk {
    let everything = checkpoint.get(CheckpointField::EverythingOnDisk);
    let is_known = everything > 0 && everything == checkpoint.get(CheckpointField::LogicsPhysicalOffset);
    let mark = IndexMark {
        end: checkpoint.get(CheckpointField::IndexEnd),
        file: checkpoint.get(CheckpointField::IndexFile),
        entries: u32::try_from(checkpoint.get(CheckpointField::IndexEntries)).unwrap_or(u32::MAX),
    };
    IndexOnDisk {
        full_before_ms: checkpoint.time_ms(CheckpointField::IndexMsgTimestamp),
        mark: Some(mark).filter(|mark| is_known && mark.entries > 0),
    }
}

/// The abort file: there while the store is open, so that its presence at the start means a crash.
pub(crate) fn write_abort(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    disk.write(&root.join("abort"), std::process::id().to_string().as_bytes())
}

/// Whether the last stop was no clean one.
pub(crate) fn has_abort(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    Ok(disk.read(&root.join("abort"))?.is_some())
}

/// Says that this stop is a clean one.
pub(crate) fn remove_abort(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.remove_file(&root.join("abort"))?;
    disk.sync_dir(root)
}
