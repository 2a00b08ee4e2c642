//! Making room ahead of need: the next file, blocks on the disk, pages in memory.
//!
//! ```text
//!   written | populated, a few MiB | reserved, 8 to 16 MiB |            | spare file: its beginning reserved
//!           ^ position
//! ```
//!
//! A log page is written once, so the first write to it always pays for the page; done here, a sender does not
//! wait for it. Pages come in small steps with pauses between them: while the kernel makes pages it gives its core to
//! nobody, and senders and consumers share the cores with us. Blocks are reserved before a page is handed out: on a
//! full disk a write into a sparse mapping would kill the process, a failed reservation is an error that passes when
//! there is room again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::service::Next;

use crate::commit_log::{Blocked, CommitLog};
use crate::mapped_file::MappedFile;
use crate::record::format::BLANK_BYTES;

/// How far ahead of the writer blocks are reserved, half of it at a time. On tmpfs this makes the pages, too: 0.3 ms a MiB.
const RESERVE_AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// How far ahead of the writer pages are populated.
const POPULATE_AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// How much is populated at once. A page costs from 1 us to 40 us (when a host has to find the memory first).
const POPULATE_STEP_BYTES: usize = 64 * 1024;
/// The pause between two steps.
const POPULATE_PAUSE: Duration = Duration::from_micros(100);
/// With fewer populated bytes than this the writer is about to run out of them: no pauses.
const URGENT_BYTES: usize = 1024 * 1024;

/// Makes room in the log; one thread at a time.
#[derive(Debug, Default)]
pub struct Allocator {
    growing: Mutex<()>,
}

impl Allocator {
    /// Makes sure that an append of `length` bytes finds room: in the current file, or in a spare one.
    pub fn make_room(&self, log: &CommitLog, length: usize) -> io::Result<()> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (current, spare) = files_of(log)?;
        let needed = length + BLANK_BYTES;
        if let Some((file, position)) = &current {
            if position + needed <= file.size() {
                return reserve_ahead(file, *position, needed);
            }
            reserve_ahead(file, *position, BLANK_BYTES)?;
        }
        let spare = match spare {
            Some(spare) => spare,
            None => add_spare(log, current.as_ref().map(|(file, _)| file))?,
        };
        reserve_ahead(&spare, 0, needed)
    }

    /// Keeps file, blocks and pages ahead of the writer. Of pages it makes one step; says when the next is due.
    pub fn grow_ahead(&self, log: &CommitLog) -> io::Result<Next> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((file, position)), spare) = files_of(log)? else {
            return Ok(Next::Idle);
        };
        reserve_ahead(&file, position, BLANK_BYTES)?;
        let spare = match spare {
            Some(spare) => spare,
            None => add_spare(log, Some(&file))?,
        };
        if populate_step(&file, position) {
            let is_urgent = file.populated() < position + URGENT_BYTES;
            return Ok(if is_urgent {
                Next::Again
            } else {
                Next::Nap(POPULATE_PAUSE)
            });
        }
        if file.size() - position < POPULATE_AHEAD_BYTES {
            reserve_ahead(&spare, 0, BLANK_BYTES)?;
            if populate_step(&spare, 0) {
                return Ok(Next::Nap(POPULATE_PAUSE));
            }
        }
        Ok(Next::Idle)
    }
}

/// Populates the next pages ahead of the position; false when enough of them are, or no more can be.
fn populate_step(file: &MappedFile, position: usize) -> bool {
    let from = file.populated().max(position);
    file.populate((from + POPULATE_STEP_BYTES).min(position + POPULATE_AHEAD_BYTES));
    file.populated() > from
}

type LogFiles = (Option<(Arc<MappedFile>, usize)>, Option<Arc<MappedFile>>);

fn files_of(log: &CommitLog) -> io::Result<LogFiles> {
    let writer = log.lock_writer().map_err(log_failed)?;
    let current = writer
        .current()
        .map(|(file, position)| (Arc::clone(file), position));
    Ok((current, writer.spare().cloned()))
}

fn add_spare(log: &CommitLog, current: Option<&Arc<MappedFile>>) -> io::Result<Arc<MappedFile>> {
    let files = log.file_queue();
    let start = current.map_or_else(|| log.end(), |file| file.end());
    let spare = files.create(start)?;
    files.push(Arc::clone(&spare));
    log.lock_writer()
        .map_err(log_failed)?
        .set_spare(Some(Arc::clone(&spare)));
    Ok(spare)
}

/// Reserves well ahead if the disk has that much, else what is needed.
fn reserve_ahead(file: &MappedFile, position: usize, needed: usize) -> io::Result<()> {
    let least = (position + needed).next_multiple_of(4096).min(file.size());
    let plenty = (position + needed + RESERVE_AHEAD_BYTES).min(file.size());
    // Half of it is left: not yet worth a call.
    if file.reserved() >= least.max(plenty.saturating_sub(RESERVE_AHEAD_BYTES / 2)) {
        return Ok(());
    }
    match file.reserve(plenty) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => file.reserve(least),
        other => other,
    }
}

fn log_failed(_: Blocked) -> io::Error {
    io::Error::other("the log failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const SIZE: usize = 8 * 1024 * 1024;

    fn new_file(reserved: usize) -> (tempfile::TempDir, MappedFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = MappedFile::create(&RealDisk, &directory.path().join("0"), 0, SIZE).unwrap();
        file.reserve(reserved).unwrap();
        (directory, file)
    }

    /// Populates until nothing is left to do; returns how far after each step.
    fn populate(file: &MappedFile, position: usize) -> Vec<usize> {
        std::iter::from_fn(|| populate_step(file, position).then(|| file.populated())).collect()
    }

    #[test]
    fn pages_come_in_small_steps_as_far_as_they_are_wanted() {
        let (_directory, file) = new_file(SIZE);
        let steps = populate(&file, 0);
        assert_eq!(steps.last(), Some(&POPULATE_AHEAD_BYTES));
        assert!(
            steps
                .windows(2)
                .all(|steps| steps[1] - steps[0] <= POPULATE_STEP_BYTES)
        );

        let position = 3 * POPULATE_STEP_BYTES / 2;
        assert_eq!(
            populate(&file, position).last(),
            Some(&(position + POPULATE_AHEAD_BYTES))
        );
        assert_eq!(populate(&file, SIZE - 4096).last(), Some(&SIZE));
        assert_eq!(populate(&file, SIZE - 4096), Vec::<usize>::new());
    }

    #[test]
    fn pages_without_blocks_are_not_touched() {
        let (_directory, file) = new_file(3 * 4096);
        assert_eq!(populate(&file, 0), [3 * 4096]);
    }
}
