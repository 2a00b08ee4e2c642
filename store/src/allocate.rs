//! Making room ahead of need: the next file, blocks on the disk, pages in memory.
//!
//! ```text
//!   written | populated, a few MiB | reserved, tens of MiB |            | spare file: its beginning reserved
//!           ^ position
//! ```
//!
//! A log page is written once, so the first write to it always pays for the page; done here, a sender does not
//! wait for it. Blocks are reserved before a page is handed out: on a full disk a write into a sparse mapping
//! would kill the process, a failed reservation is an error that passes when there is room again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::commit_log::{Blocked, CommitLog};
use crate::mapped_file::MappedFile;
use crate::record::format::BLANK_BYTES;

/// How far ahead of the writer blocks are reserved.
const RESERVE_AHEAD_BYTES: usize = 64 * 1024 * 1024;
/// How far ahead of the writer pages are populated.
const POPULATE_AHEAD_BYTES: usize = 4 * 1024 * 1024;

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

    /// Keeps file, blocks and pages ahead of the writer.
    pub fn grow_ahead(&self, log: &CommitLog) -> io::Result<()> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((file, position)), spare) = files_of(log)? else {
            return Ok(());
        };
        reserve_ahead(&file, position, BLANK_BYTES)?;
        file.populate(position + POPULATE_AHEAD_BYTES);
        let spare = match spare {
            Some(spare) => spare,
            None => add_spare(log, Some(&file))?,
        };
        if file.size() - position < POPULATE_AHEAD_BYTES {
            reserve_ahead(&spare, 0, BLANK_BYTES)?;
            spare.populate(POPULATE_AHEAD_BYTES);
        }
        Ok(())
    }
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
