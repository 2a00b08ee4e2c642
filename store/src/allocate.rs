//! Making room ahead of need: the next file, and below it blocks on the disk with zeros in them.
//!
//! ```text
//!   written | reserved, 2 to 4 MiB | nothing yet |            | spare file: its beginning reserved
//!           ^ position
//! ```
//!
//! A log page is written once, so the first write to it always pays for the page; done here, a sender does not
//! wait for it. It comes in small steps with pauses between them: while the kernel makes pages it gives its core to
//! nobody, and senders and consumers share the cores with us. On a full disk a write into a sparse mapping would kill the
//! process; a failed reservation is an error that passes when there is room again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::service::Next;

use crate::commit_log::{Blocked, CommitLog};
use crate::mapped_file::MappedFile;
use crate::record::format::BLANK_BYTES;

/// How far ahead of the writer there is room.
const RESERVE_AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// How much is made at once: 0.03 ms of work, and many times that when a host has to find the memory first.
const STEP_BYTES: usize = 256 * 1024;
/// The pause between two steps.
const PAUSE: Duration = Duration::from_micros(100);
/// With less room than this the writer is about to run out of it: no pauses.
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
                return reserve(file, position + needed);
            }
            reserve(file, position + BLANK_BYTES)?;
        }
        let spare = match spare {
            Some(spare) => spare,
            None => add_spare(log, current.as_ref().map(|(file, _)| file))?,
        };
        reserve(&spare, needed)
    }

    /// Keeps file and room ahead of the writer. Of room it makes one step; says when the next is due.
    pub fn grow_ahead(&self, log: &CommitLog) -> io::Result<Next> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((file, position)), spare) = files_of(log)? else {
            return Ok(Next::Idle);
        };
        if step(&file, position)? {
            let is_urgent = file.reserved() < position + URGENT_BYTES;
            return Ok(if is_urgent { Next::Again } else { Next::Nap(PAUSE) });
        }
        let spare = match spare {
            Some(spare) => spare,
            None => add_spare(log, Some(&file))?,
        };
        if file.size() - position < RESERVE_AHEAD_BYTES && step(&spare, 0)? {
            return Ok(Next::Nap(PAUSE));
        }
        Ok(Next::Idle)
    }
}

/// Makes a step of room ahead of the position; false when there is enough.
fn step(file: &MappedFile, position: usize) -> io::Result<bool> {
    let wanted = (position + RESERVE_AHEAD_BYTES).min(file.size());
    let least = (position + BLANK_BYTES).max(file.reserved() + 1);
    if wanted < least {
        return Ok(false);
    }
    reserve(file, least)?;
    Ok(true)
}

/// Makes room for everything below `least`, to the end of a step.
fn reserve(file: &MappedFile, least: usize) -> io::Result<()> {
    file.reserve_ahead(least, least.next_multiple_of(STEP_BYTES))
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

fn log_failed(_: Blocked) -> io::Error {
    io::Error::other("the log failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const SIZE: usize = 8 * 1024 * 1024;

    fn new_file() -> (tempfile::TempDir, MappedFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = MappedFile::create(&RealDisk, &directory.path().join("0"), 0, SIZE).unwrap();
        (directory, file)
    }

    /// Steps until nothing is left to do; gives how far it was after each.
    fn steps(file: &MappedFile, position: usize) -> Vec<usize> {
        std::iter::from_fn(|| step(file, position).unwrap().then(|| file.reserved())).collect()
    }

    #[test]
    fn room_comes_in_small_steps_as_far_as_it_is_wanted() {
        let (_directory, file) = new_file();
        let first = steps(&file, 0);
        assert_eq!(first.last(), Some(&RESERVE_AHEAD_BYTES));
        assert_eq!(first.len(), RESERVE_AHEAD_BYTES / STEP_BYTES);
        assert_eq!(steps(&file, 0), Vec::<usize>::new());

        assert_eq!(
            steps(&file, STEP_BYTES + 1),
            [
                RESERVE_AHEAD_BYTES + STEP_BYTES,
                RESERVE_AHEAD_BYTES + 2 * STEP_BYTES
            ]
        );
        assert_eq!(steps(&file, SIZE - 4096).last(), Some(&SIZE));
        assert_eq!(steps(&file, SIZE - 4096), Vec::<usize>::new());
    }

    #[test]
    fn an_append_that_comes_sooner_makes_its_own_room() {
        let (_directory, file) = new_file();
        reserve(&file, STEP_BYTES + 1).unwrap();
        assert_eq!(file.reserved(), 2 * STEP_BYTES);
        reserve(&file, 2 * STEP_BYTES).unwrap();
        assert_eq!(file.reserved(), 2 * STEP_BYTES);
    }
}
