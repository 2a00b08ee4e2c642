//! Checkpoint: how far everything was on disk, so that recovery knows where to begin.
//!
//! ```text
//!   0   physic_msg_timestamp     store time up to which the CommitLog is on disk
//!   8   logics_msg_timestamp     the same of the ConsumeQueues
//!   16  index_msg_timestamp      the same of full index files
//!   24  master_flushed_offset    for slaves; kept as it is
//!   32  confirm_physical_offset  start of the last valid record that recovery found
//!   40  logics_physical_offset   the last record whose entries are on disk; 0 in files of older brokers
//!   48  everything_on_disk       the same number, if log, queues and index up to that record are on disk
//!   56  queues_reach             the log is on disk below it, and no queue's file has an entry of a record from there on
//!   64  index_end                the keys of records below it were on disk with everything
//!   72  index_file               the last index file then, by its name, and
//!   80  index_entries            how many entries of it, the unused one included
//! ```
//!
//! 4096 bytes; the rest is zeros. The reference neither reads nor writes the numbers from 48 on: one at 48 that differs
//! from that at 40 is of no use any more, and neither are those behind it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::disk::Disk;
use crate::mapped_file::MappedTable;

const FILE_BYTES: usize = 4096;

/// The checkpoint. Numbers change in memory; [`Checkpoint::persist`] writes them.
#[derive(Debug)]
pub struct Checkpoint {
    table: MappedTable,
    fields: [AtomicU64; 11],
    /// Held while the numbers are written: whoever finds them written must not be told so before they are on disk.
    writing: Mutex<()>,
}

/// One number of the checkpoint, by its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointField {
    /// Store time up to which the CommitLog is on disk.
    PhysicMsgTimestamp = 0,
    /// Store time up to which the ConsumeQueues are on disk.
    LogicsMsgTimestamp = 1,
    /// Store time up to which full index files are on disk.
    IndexMsgTimestamp = 2,
    /// Start of the last valid record that recovery found.
    ConfirmPhysicalOffset = 4,
    /// The last record whose entries are on disk.
    LogicsPhysicalOffset = 5,
    /// Equal to the number before, if everything up to that record is on disk.
    EverythingOnDisk = 6,
    /// The log is on disk below it, and no queue's file has an entry of a record from there on.
    QueuesReach = 7,
    /// Records below it had their keys on disk with everything.
    IndexEnd = 8,
    /// The name of the last index file then.
    IndexFile = 9,
    /// Its next entry then.
    IndexEntries = 10,
}

impl Checkpoint {
    /// Opens the checkpoint, or makes one of zeros.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let exists = disk.read(path)?.is_some_and(|bytes| bytes.len() >= FILE_BYTES);
        let table = if exists {
            MappedTable::open(disk, path)?
        } else {
            disk.remove_file(path)?;
            MappedTable::create(disk, path, FILE_BYTES)?
        };
        table.reserve(0..FILE_BYTES)?;
        let fields = std::array::from_fn(|index| AtomicU64::new(table.u64_at(index * 8)));
        Ok(Self {
            table,
            fields,
            writing: Mutex::new(()),
        })
    }

    /// A number as it is now, on disk or not.
    pub fn get(&self, field: CheckpointField) -> u64 {
        self.fields[field as usize].load(Ordering::Acquire)
    }

    /// Sets a number in memory.
    pub fn set(&self, field: CheckpointField, value: u64) {
        self.fields[field as usize].store(value, Ordering::Release);
    }

    /// Raises a number in memory; it never falls.
    pub fn raise(&self, field: CheckpointField, value: u64) {
        self.fields[field as usize].fetch_max(value, Ordering::AcqRel);
    }

    /// A time as it is now; times before 1970 count as none.
    pub fn time_ms(&self, field: CheckpointField) -> i64 {
        self.get(field).cast_signed().max(0)
    }

    /// Gets the numbers to the disk, if any changed.
    pub fn persist(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_changed = false;
        for (index, field) in self.fields.iter().enumerate() {
            let value = field.load(Ordering::Acquire);
            if self.table.u64_at(index * 8) != value {
                self.table.set_u64(index * 8, value);
                is_changed = true;
            }
        }
        if is_changed { self.table.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn numbers_lie_where_the_reference_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint");
        let checkpoint = Checkpoint::open(&RealDisk, &path).unwrap();
        checkpoint.set(CheckpointField::PhysicMsgTimestamp, 1);
        checkpoint.set(CheckpointField::LogicsPhysicalOffset, 6);
        checkpoint.raise(CheckpointField::LogicsPhysicalOffset, 5);
        checkpoint.persist().unwrap();
        drop(checkpoint);

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len(), bytes[7], bytes[47]), (4096, 1, 6));
        let checkpoint = Checkpoint::open(&RealDisk, &path).unwrap();
        assert_eq!(checkpoint.get(CheckpointField::LogicsPhysicalOffset), 6);
        assert_eq!(checkpoint.get(CheckpointField::IndexMsgTimestamp), 0);
    }

    #[test]
    fn a_checkpoint_cut_short_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint");
        std::fs::write(&path, [1; 10]).unwrap();
        let checkpoint = Checkpoint::open(&RealDisk, &path).unwrap();
        assert_eq!(checkpoint.get(CheckpointField::PhysicMsgTimestamp), 0);
    }
}
