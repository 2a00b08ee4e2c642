//! The log itself, read where it lies: one record, or one after another to the end.
//!
//! For those who must know what was written rather than what is visible, such as the transactions after a restart.
//! Records are lent, not copied.

use std::io;
use std::ops::Range;

use crate::dispatch::{Step, step};
use crate::get::{record_bytes, record_time};
use crate::offset::PhysicalOffset;
use crate::record::decode::{Record, decode};
use crate::store::Store;

impl Store {
    /// What `look` makes of the record at a physical offset; `None` when no record begins there.
    pub fn with_record<T>(&self, offset: PhysicalOffset, look: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        let files = self.log.files();
        let bytes = record_bytes(&files, offset.0)?;
        decode(bytes).ok().map(|record| look(&record))
    }

    /// Shows every record from `from`, where one begins, to the log's end as it is now.
    ///
    /// # Errors
    /// When the log cannot be followed: `from` is no record's beginning, or was deleted.
    pub fn scan(&self, from: PhysicalOffset, mut visit: impl FnMut(&Record<'_>)) -> io::Result<()> {
        let (mut position, end) = (from.0, self.log.end());
        let files = self.log.files();
        while position < end {
            position = match step(&files, position)? {
                Step::EndOfFile => self.log.next_file_start(position),
                Step::Record(record) => {
                    visit(&record);
                    position + u64::from(record.size_bytes)
                }
            };
        }
        Ok(())
    }

    /// Where the log begins and ends.
    pub fn log_range(&self) -> Range<PhysicalOffset> {
        PhysicalOffset(self.log.min_offset())..PhysicalOffset(self.log.end())
    }

    /// The beginning of the newest file of the log whose first record was stored before this time, or of the oldest file;
    /// `None` when the log is empty. What was stored since lies behind it.
    pub fn file_written_at(&self, time_ms: i64) -> Option<PhysicalOffset> {
        let files = self.log.files();
        let (mut start, end) = (self.log.min_offset(), self.log.end());
        if start >= end {
            return None;
        }
        loop {
            let next = self.log.next_file_start(start);
            match record_time(&files, next) {
                Some(first_ms) if next < end && first_ms < time_ms => start = next,
                _ => return Some(PhysicalOffset(start)),
            }
        }
    }

    /// Whether what lies at this offset is near enough to the log's end to be in memory still.
    pub fn is_recent(&self, offset: PhysicalOffset) -> bool {
        let behind_bytes = self.log.end().saturating_sub(offset.0);
        behind_bytes <= self.in_memory_bytes(&self.options.config.get())
    }
}
