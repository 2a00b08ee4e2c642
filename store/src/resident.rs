//! What of the log counts as this process's memory: its end, and what is being read.
//!
//! ```text
//!   |  let go: in the page cache at most  | 192 MiB, mapped  | not flushed, or not dispatched |
//!                                                            ^ settled                        ^ end
//! ```
//!
//! A page that was written or read through a mapping belongs to the process's resident memory from then on, so that a broker
//! would seem to need as much memory as it has log, and the kernel would first have to take each page out of its page table to
//! use it for something else. A flush lets go what it writes, if that is much (`MappedFile::flush`), but it comes back when it is
//! dispatched or read. Once a second the pages of messages that are settled, flushed and dispatched, are let go but for the
//! last ones. They stay in the page cache: who reads them maps sixteen of them again with one page fault, and the next
//! second they are let go again. Mappings stay, so slices that others hold stay valid.
//!
//! Reference: `DefaultMappedFile.swapMap`, which maps a file anew and unmaps the old mapping a while later.

use std::time::Duration;

use common::service::Next;

use crate::mapped_file::MappedFile;
use crate::store::Store;

/// How much of the log before its settled end stays mapped. Who reads again and again what was let go pays for the page
/// faults, a fifth of a pull of 1 KiB messages, so what consumers that are nearly up to date read is kept.
const KEPT_BYTES: u64 = 192 * 1024 * 1024;

/// Between two rounds: a log that grows by 300 MB a second is resident with as much more.
pub(crate) const ROUND_EVERY: Duration = Duration::from_secs(1);

impl Store {
    /// One round. Costs a look at each file when nobody reads or writes.
    pub(crate) fn resident_tick(&self) -> anyhow::Result<Next> {
        let settled = self.log.flushed().min(self.dispatching.position());
        let end = settled.saturating_sub(KEPT_BYTES);
        let files = self.log.files();
        files
            .iter()
            .take_while(|file| file.start() < end)
            .for_each(|file| let_go(file, end));
        Ok(Next::Idle)
    }
}

/// Lets the pages of a log file go that lie before an offset of the log.
fn let_go(file: &MappedFile, end: u64) {
    let below = usize::try_from(end - file.start()).unwrap_or(usize::MAX);
    if let Err(error) = file.let_go(below) {
        // No harm but that the memory counts as ours.
        tracing::debug!("pages of {} are not let go: {error}", file.path().display());
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::disk::RealDisk;

    const LENGTH: usize = 1 << 20;

    /// How much of the file's mapping is resident.
    fn resident_bytes(path: &Path) -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut of_file = maps
            .lines()
            .skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let line = of_file
            .find(|line| line.starts_with("Rss:"))
            .expect("it is mapped");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn full_of_sevens(path: &Path) -> Arc<MappedFile> {
        let file = Arc::new(MappedFile::create(&RealDisk, path, 0, LENGTH).unwrap());
        file.reserve(LENGTH).unwrap();
        let mut writer = file.writer().unwrap();
        writer.write(&vec![7; LENGTH]);
        writer.publish();
        file
    }

    #[test]
    fn pages_let_go_are_not_resident_and_come_back_whole_when_they_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0");
        let file = full_of_sevens(&path);
        let held = file.bytes(0..LENGTH).unwrap();
        assert_eq!(resident_bytes(&path), LENGTH as u64);

        let below = LENGTH / 2 + 5;
        file.let_go(below).unwrap();
        assert_eq!(resident_bytes(&path), LENGTH as u64 / 2, "whole pages");
        assert!(
            held.iter().all(|byte| *byte == 7),
            "not flushed, and a slice stays valid"
        );
        assert_eq!(resident_bytes(&path), LENGTH as u64);

        // The reader's slice is older than what was let go, so only a new one tells of the reading.
        file.let_go(below).unwrap();
        assert_eq!(resident_bytes(&path), LENGTH as u64);
        assert_eq!(file.bytes(8192..8193), Some(&[7][..]));
        file.let_go(below).unwrap();
        assert!(resident_bytes(&path) <= LENGTH as u64 / 2 + 8192);
        file.flush(0..LENGTH).unwrap();
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_flush_of_many_pages_unmaps_what_is_written_and_no_page_that_is_being_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0");
        let file = full_of_sevens(&path);
        let written = file.bytes(0..LENGTH).unwrap();

        file.flush(0..4 * 4096).unwrap();
        assert_eq!(resident_bytes(&path), LENGTH as u64, "too few to be worth it");

        file.flush(5..LENGTH - 5).unwrap();
        assert_eq!(resident_bytes(&path), 2 * 4096, "those in part outside stay");
        assert!(written.iter().all(|byte| *byte == 7));
        assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 7));
    }
}
