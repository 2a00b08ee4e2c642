//! DelayOffsets: how far each delay level is delivered, and the file `delayOffset.json`.
//!
//! Written every `flushDelayOffsetInterval` and at the end. With it goes the place in the log behind which every copy lies that
//! these offsets do not count, so that a start finds what was delivered since (`delay/recovery.rs`). A Java broker drops that place.
//! Reference: `ScheduleMessageService.offsetTable`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use common::clock::Clock;
use common::planted_bug::{PlantedBug, is_planted};
use common::properties::Live;
use remoting::body::{DataVersion, DelayOffsetSerializeWrapper};
use store::PhysicalOffset;

use super::persist::{ConfigDirectory, FlushLog, PersistError, Table, TableFile};
use crate::config::BrokerConfig;

const FILE_NAME: &str = "delayOffset.json";

/// How much of the log a start has to look through at most when messages wait and none is delivered.
const WRITTEN_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// Per delay level: the queue offset in the schedule topic that is delivered next.
pub struct DelayOffsets {
    state: Mutex<State>,
    file: TableFile,
    clock: Arc<dyn Clock>,
    config: Arc<Live<BrokerConfig>>,
    flush_log: OnceLock<FlushLog>,
}

#[derive(Default)]
struct State {
    offsets: BTreeMap<i32, i64>,
    version: DataVersion,
    /// Since the version was last raised.
    changes: i64,
    /// Behind this place lie all copies that `offsets` do not count; `None` while nobody knows.
    copies_from: Option<PhysicalOffset>,
    /// What that was when the file was last to be written.
    written_from: Option<PhysicalOffset>,
}

impl DelayOffsets {
    /// Reads `delayOffset.json` in `config_dir`.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        config: Arc<Live<BrokerConfig>>,
    ) -> anyhow::Result<DelayOffsets> {
        let file = config_dir.file(FILE_NAME);
        let saved: Option<DelayOffsetSerializeWrapper> = file.load(clock.wall_ms())?;
        // Without a file nothing was ever counted.
        let saved = saved.unwrap_or_else(|| DelayOffsetSerializeWrapper {
            copies_from: Some(0),
            ..DelayOffsetSerializeWrapper::default()
        });
        Ok(DelayOffsets {
            state: Mutex::new(State {
                offsets: saved.offset_table,
                version: saved.data_version,
                changes: 0,
                copies_from: saved.copies_from.map(PhysicalOffset),
                written_from: saved.copies_from.map(PhysicalOffset),
            }),
            file,
            clock,
            config,
            flush_log: OnceLock::new(),
        })
    }

    /// Has `flush_log` called before each write of the file, to bring every delivered copy to the disk first.
    ///
    /// Else a power failure could keep the progress and lose a copy that the log had not flushed yet: the message
    /// would be gone although its sender was told that it is safe.
    pub fn flush_log_first(&self, flush_log: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static) {
        // Set once, when the store is open.
        let _ = self.flush_log.set(Box::new(flush_log));
    }

    /// The next offset of a level; `None` when nothing was ever delivered there.
    pub fn get(&self, level: i32) -> Option<i64> {
        self.lock().offsets.get(&level).copied()
    }

    /// Where the log has to be looked through for copies that the offsets do not count: from there on.
    pub(crate) fn copies_from(&self) -> Option<PhysicalOffset> {
        self.lock().copies_from
    }

    /// Every copy below `log_end` is counted. Written now and then even if no offset changes, or a start would have all that the
    /// log got meanwhile to look through.
    pub(crate) fn settle(&self, log_end: PhysicalOffset) {
        let is_far = {
            let mut state = self.lock();
            state.copies_from = Some(log_end);
            let is_near = |from: PhysicalOffset| log_end.0.saturating_sub(from.0) < WRITTEN_EVERY_BYTES;
            let is_far = !state.written_from.is_some_and(is_near);
            if is_far {
                state.written_from = Some(log_end);
            }
            is_far
        };
        if is_far {
            self.file.mark_changed();
        }
    }

    /// Records the next offset of a level. With it every copy below `log_end`, of any level, is counted.
    pub fn set(&self, level: i32, offset: i64, log_end: PhysicalOffset) {
        {
            let mut state = self.lock();
            state.copies_from = Some(log_end);
            if state.offsets.insert(level, offset) == Some(offset) {
                return;
            }
            state.written_from = Some(log_end);
            state.changes += 1;
            if state.changes >= self.config.get().delay_offset_update_version_step {
                state.changes = 0;
                state.version.next(self.clock.wall_ms());
            }
        }
        self.file.mark_changed();
    }

    /// All levels: the answer to GET_ALL_DELAY_OFFSET.
    pub fn snapshot(&self) -> DelayOffsetSerializeWrapper {
        DelayOffsetSerializeWrapper {
            copies_from: None,
            ..self.file_content()
        }
    }

    fn file_content(&self) -> DelayOffsetSerializeWrapper {
        let state = self.lock();
        DelayOffsetSerializeWrapper {
            data_version: state.version,
            offset_table: state.offsets.clone(),
            copies_from: state.copies_from.map(|offset| offset.0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table for DelayOffsets {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| {
            // The content first: only the copies it counts need to be on disk.
            let content = self.file_content();
            if let Some(flush_log) = self.flush_log.get()
                && !is_planted(PlantedBug::DelayProgressAhead)
            {
                flush_log().map_err(|source| PersistError::Prerequisite {
                    path: self.file.path().to_owned(),
                    source,
                })?;
            }
            Ok(content)
        })
    }
}

impl std::fmt::Debug for DelayOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelayOffsets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Home;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_java_file_is_loaded_and_written_back_with_nothing_lost() {
        let home = Home::of_java();
        let offsets = home.delay_offsets();
        let before = offsets.snapshot();
        assert_eq!(offsets.get(3), Some(3));
        assert_eq!(offsets.get(17), Some(0));
        assert_eq!(offsets.get(4), None);
        assert_eq!(offsets.copies_from(), None, "a Java broker does not say");
        assert_eq!(before.data_version.counter, 25);

        offsets.set(4, 9, PhysicalOffset(77));
        offsets.flush().unwrap();
        assert_eq!(home.delay_offsets().copies_from(), Some(PhysicalOffset(77)));
        let after = home.delay_offsets().snapshot();
        assert_eq!(
            after.offset_table,
            [(1, 1), (2, 2), (3, 3), (4, 9), (17, 0), (18, 0)].into()
        );
        assert_eq!(
            after.data_version, before.data_version,
            "one change of 200 raises no version"
        );
    }

    #[test]
    fn the_version_rises_every_so_many_changes() {
        let home = Home::empty();
        home.config
            .update(|config| config.delay_offset_update_version_step = 3);
        let offsets = home.delay_offsets();
        for offset in [1, 1, 2, 3] {
            assert_eq!(offsets.snapshot().data_version.counter, 0);
            offsets.set(1, offset, PhysicalOffset(0));
        }
        assert_eq!(offsets.snapshot().data_version.counter, 1);
    }

    #[test]
    fn progress_is_not_written_before_the_log_is_on_disk() {
        let home = Home::empty();
        let offsets = home.delay_offsets();
        let log_flushes = Arc::new(AtomicBool::new(false));
        let flushes = Arc::clone(&log_flushes);
        offsets.flush_log_first(move || {
            anyhow::ensure!(flushes.load(Ordering::SeqCst), "no sync");
            Ok(())
        });
        offsets.set(1, 5, PhysicalOffset(0));
        assert!(matches!(offsets.flush(), Err(PersistError::Prerequisite { .. })));
        assert_eq!(home.delay_offsets().get(1), None);

        log_flushes.store(true, Ordering::SeqCst);
        offsets.flush().unwrap();
        assert_eq!(home.delay_offsets().get(1), Some(5));
    }

    #[test]
    fn the_place_in_the_log_is_written_now_and_then_while_nothing_is_delivered() {
        let home = Home::empty();
        let offsets = home.delay_offsets();
        offsets.settle(PhysicalOffset(WRITTEN_EVERY_BYTES - 1));
        assert!(!offsets.file().is_behind());
        offsets.settle(PhysicalOffset(WRITTEN_EVERY_BYTES));
        offsets.flush().unwrap();
        let written = PhysicalOffset(WRITTEN_EVERY_BYTES);
        assert_eq!(home.delay_offsets().copies_from(), Some(written));

        offsets.settle(PhysicalOffset(WRITTEN_EVERY_BYTES + 1));
        assert!(!offsets.file().is_behind());
        assert_eq!(
            offsets.copies_from(),
            Some(PhysicalOffset(WRITTEN_EVERY_BYTES + 1))
        );
    }
}
