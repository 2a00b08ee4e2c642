//! TimerCheckpoint: `config/timercheck`, how far the timer has come.
//!
//! ```text
//!   0   last_read_time_ms          every slot before it is delivered
//!   8   last_timer_log_flush_pos   the timer log is on disk below it
//!   16  last_timer_queue_offset    the next message of the timer topic to file
//!   24  master_timer_queue_offset  the same of the master
//!   32  data version: state, time, counter
//!   56  ours: delivered_from       copies made of slots from last_read_time_ms on lie here or later in the CommitLog
//!   64  ours: last_read_time_ms again, so that a number the reference left behind is not believed
//! ```
//!
//! 4096 bytes; the reference reads and writes the first 56. They are also the answer to GET_TIMER_CHECK_POINT.
//! Reference: `TimerCheckpoint`.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::mapped_file::MappedTable;

const FILE_BYTES: usize = 4096;
/// What slaves are told of it.
pub const CHECKPOINT_BYTES: usize = 56;
const NUMBERS: usize = 9;

/// How far the timer has come. Times in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerProgress {
    /// Every slot before this time is delivered; 0 before the first start.
    pub read_time_ms: i64,
    /// The timer log is on disk below this position; units of messages from `queue_offset` on stand here or later.
    pub log_flushed: u64,
    /// The next message of the timer topic to file.
    pub queue_offset: u64,
    /// State number, time and counter of the data version.
    pub version: [i64; 3],
    /// Where in the CommitLog copies of messages from slots not yet passed may lie, from here on; `None` when unknown.
    pub delivered_from: Option<u64>,
}

impl TimerProgress {
    /// The answer to GET_TIMER_CHECK_POINT.
    pub fn encode(&self) -> [u8; CHECKPOINT_BYTES] {
        let mut bytes = [0; CHECKPOINT_BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(self.numbers()) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        let [state, time_ms, counter] = self.version.map(i64::cast_unsigned);
        let read_time = self.read_time_ms.cast_unsigned();
        let (delivered_from, valid_for) = match self.delivered_from {
            Some(offset) => (offset, read_time),
            None => (0, 0),
        };
        [
            read_time,
            self.log_flushed,
            self.queue_offset,
            self.queue_offset,
            state,
            time_ms,
            counter,
            delivered_from,
            valid_for,
        ]
    }

    fn of(numbers: [u64; NUMBERS]) -> Self {
        let [
            read_time,
            log_flushed,
            queue_offset,
            _,
            state,
            time_ms,
            counter,
            delivered_from,
            valid_for,
        ] = numbers;
        Self {
            read_time_ms: read_time.cast_signed(),
            log_flushed,
            queue_offset,
            version: [state, time_ms, counter].map(u64::cast_signed),
            delivered_from: (valid_for == read_time && read_time != 0).then_some(delivered_from),
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct TimerCheckpoint {
    table: MappedTable,
}

impl TimerCheckpoint {
    /// Opens the checkpoint, or makes one of zeros.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new(""));
        disk.create_dir_all(directory)?;
        let exists = disk.read(path)?.is_some_and(|bytes| bytes.len() >= FILE_BYTES);
        let table = if exists {
            MappedTable::open(disk, path)?
        } else {
            disk.remove_file(path)?;
            let table = MappedTable::create(disk, path, FILE_BYTES)?;
            disk.sync_dir(directory)?;
            table
        };
        table.reserve(0..FILE_BYTES)?;
        Ok(Self { table })
    }

    /// What the file says.
    pub fn read(&self) -> TimerProgress {
        TimerProgress::of(std::array::from_fn(|index| self.table.u64_at(index * 8)))
    }

    /// Gets new numbers to the disk, if any changed.
    pub fn write(&self, progress: &TimerProgress) -> io::Result<()> {
        let mut is_changed = false;
        for (index, number) in progress.numbers().into_iter().enumerate() {
            if self.table.u64_at(index * 8) != number {
                self.table.set_u64(index * 8, number);
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

    const PROGRESS: TimerProgress = TimerProgress {
        read_time_ms: 1_790_000_000_000,
        log_flushed: 104,
        queue_offset: 7,
        version: [1, 2, 3],
        delivered_from: Some(4_096),
    };

    #[test]
    fn numbers_lie_where_the_reference_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config/timercheck");
        let checkpoint = TimerCheckpoint::open(&RealDisk, &path).unwrap();
        assert_eq!(checkpoint.read(), TimerProgress::default());
        checkpoint.write(&PROGRESS).unwrap();
        drop(checkpoint);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4096);
        assert_eq!(bytes[..56], PROGRESS.encode());
        let number = |index: usize| i64::from_be_bytes(bytes[index * 8..][..8].try_into().unwrap());
        assert_eq!(
            std::array::from_fn(number),
            [1_790_000_000_000, 104, 7, 7, 1, 2, 3, 4_096, 1_790_000_000_000]
        );
        assert_eq!(TimerCheckpoint::open(&RealDisk, &path).unwrap().read(), PROGRESS);
    }

    #[test]
    fn our_number_counts_only_with_the_read_time_it_was_written_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("timercheck");
        TimerCheckpoint::open(&RealDisk, &path)
            .unwrap()
            .write(&PROGRESS)
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7] = 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            TimerCheckpoint::open(&RealDisk, &path)
                .unwrap()
                .read()
                .delivered_from,
            None
        );
    }

    #[test]
    fn a_checkpoint_cut_short_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("timercheck");
        std::fs::write(&path, [1; 10]).unwrap();
        assert_eq!(
            TimerCheckpoint::open(&RealDisk, &path).unwrap().read(),
            TimerProgress::default()
        );
    }
}
