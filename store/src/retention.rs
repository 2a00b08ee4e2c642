//! Retention: old files go, by age at certain hours, or at once when the disk fills up.
//!
//! | use of the disk                    | effect                                                |
//! |------------------------------------|-------------------------------------------------------|
//! | over `diskMaxUsedSpaceRatio`       | expired files go, at any hour                         |
//! | over `diskSpaceCleanForciblyRatio` | the oldest files go, whatever their age               |
//! | over `diskSpaceWarningLevelRatio`  | and no message is taken until there is room again     |
//!
//! Files go from the oldest on, never the newest, and never one that is not yet flushed and dispatched; the first that
//! must stay ends the round. Queues and index follow the log. Age counts from a file's last change, as in the
//! reference: a copied store begins anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::Now;
use common::local_time;
use common::names::{LMQ_PREFIX, LMQ_QUEUE_ID, SCHEDULE_TOPIC, is_system_topic};
use common::planted_bug::{PlantedBug, is_planted};
use common::service::Next;

use crate::config::MessageStoreConfig;
use crate::put::WriteRefusal;
use crate::record::Record;
use crate::store::Store;

const HOUR_MS: i64 = 3_600_000;

/// What retention remembers between rounds.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    disk_full: Option<WriteRefusal>,
    /// The log's minimum that queues and index were last adapted to.
    followed_min: u64,
}

/// Why files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Those past their time.
    Expired,
    /// The oldest, to make room.
    Room,
}

/// Limits in percent, clamped as in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    expire: u32,
    force: u32,
    refuse: u32,
}

impl Limits {
    fn of(config: &MessageStoreConfig) -> Self {
        let percent = |value: i32, low: i32, high: i32| value.clamp(low, high).unsigned_abs();
        Self {
            expire: percent(config.disk_max_used_space_ratio, 10, 95),
            force: percent(config.disk_space_clean_forcibly_ratio, 30, 85),
            refuse: percent(config.disk_space_warning_level_ratio, 35, 90),
        }
    }
}

impl Store {
    /// One round of cleaning. Reference: `CleanCommitLogService`, `CleanConsumeQueueService`.
    pub(crate) fn retention_tick(&self, now: Now) -> anyhow::Result<Next> {
        let config = self.options.config.get();
        let used = self.look_at_disks(&config);
        if let Some(reason) = reason_to_clean(&config, used, now.wall_ms) {
            self.delete_log_files(reason, now.wall_ms, config.delete_file_batch_max.max(1))?;
        }
        self.follow_log_min()?;
        Ok(Next::Idle)
    }

    pub(crate) fn retention_interval(&self) -> Duration {
        Duration::from_millis(self.options.config.get().clean_resource_interval.max(10))
    }

    /// Deletes expired files of the log now; `force` deletes the oldest whatever its age. Returns how many.
    pub fn delete_expired_files(&self, force: bool) -> usize {
        let config = self.options.config.get();
        let (reason, most) = if force {
            (Reason::Room, 1)
        } else {
            (Reason::Expired, usize::MAX)
        };
        let deleted = self
            .delete_log_files(
                reason,
                self.options.clock.wall_ms(),
                most.min(config.delete_file_batch_max.max(1) * 20),
            )
            .and_then(|deleted| self.follow_log_min().map(|()| deleted));
        deleted.unwrap_or_else(|error| {
            tracing::error!("deleting expired files failed: {error}");
            0
        })
    }

    /// Use in percent of the disk of the log (the least of several) and of the queues; sets or clears the refusal to
    /// take messages.
    pub(crate) fn look_at_disks(&self, config: &MessageStoreConfig) -> (u32, u32) {
        let log_paths = config.commit_log_paths();
        let log = log_paths
            .iter()
            .map(|path| (self.percent_used(path), path.clone()))
            .min()
            .unwrap_or_default();
        let queues_path = config.root();
        let queues = (self.percent_used(&queues_path), queues_path);
        let limit_percent = Limits::of(config).refuse;
        let full = [&log, &queues]
            .into_iter()
            .find(|(percent, _)| *percent > limit_percent);
        let refusal = full.map(|(percent, path)| WriteRefusal::DiskFull {
            path: path.clone(),
            percent: *percent,
            limit_percent,
        });
        let mut state = self.retention.lock();
        match (&state.disk_full, &refusal) {
            (None, Some(refusal)) => tracing::error!("no more messages are taken: {refusal}"),
            (Some(_), None) => tracing::info!("there is room on the disk again: messages are taken"),
            _ => {}
        }
        state.disk_full = refusal;
        drop(state);
        self.note_refusal();
        (log.0, queues.0)
    }

    /// Bytes in use on the disk of the root directory, whoever uses them; `None` when it cannot be looked at.
    pub fn disk_used_bytes(&self) -> Option<u64> {
        let root = self.options.config.get().root();
        let usage = self.options.disk.usage(&root).ok()?;
        Some(usage.used_bytes)
    }

    /// A disk that cannot be looked at counts as empty: a wrong guess must not stop the broker.
    fn percent_used(&self, path: &Path) -> u32 {
        let existing = path
            .ancestors()
            .find_map(|path| self.options.disk.usage(path).ok());
        existing.map_or(0, |usage| usage.percent())
    }

    fn delete_log_files(&self, reason: Reason, now_ms: i64, most: usize) -> io::Result<usize> {
        let config = self.options.config.get();
        let files = self.log.files();
        // Never the file being written, nor one that still has to be flushed or dispatched.
        let needed_from = self.log.flushed().min(self.dispatching.position());
        let expired = files
            .iter()
            .take(files.len().saturating_sub(1))
            .take_while(|file| file.end() <= needed_from)
            .take_while(|file| reason == Reason::Room || self.is_expired(&config, file.path(), now_ms))
            .take(most)
            .count();
        let paths: Vec<PathBuf> = files
            .iter()
            .take(expired)
            .map(|file| file.path().to_owned())
            .collect();
        if expired > 0 {
            // What is dispatched must outlive the log it was built from: else a queue would begin again at 0.
            self.flush_derived()?;
            let log_min = files.iter().nth(expired).map_or(0, |file| file.start());
            if let Err(error) = self.note_queues_from(log_min) {
                tracing::warn!("a start before the next note will look into all queues: {error}");
            }
        }
        self.log.file_queue().remove_first(expired)?;
        for path in &paths {
            tracing::info!(path = %path.display(), ?reason, "deleted a file of the commit log");
        }
        Ok(expired)
    }

    /// Sees to it that the note goes with a log that begins here.
    fn note_queues_from(&self, log_min: u64) -> io::Result<()> {
        let noted_from = self.derived.queues.noted_from();
        if noted_from.is_some_and(|from| from >= log_min) {
            return Ok(());
        }
        self.checkpoint.persist()?;
        self.note_queues()
    }

    fn is_expired(&self, config: &MessageStoreConfig, path: &Path, now_ms: i64) -> bool {
        let kept_ms = config.file_reserved_time.saturating_mul(HOUR_MS);
        let modified_ms = self.options.disk.modified_ms(path);
        modified_ms.is_ok_and(|modified_ms| modified_ms.saturating_add(kept_ms) <= now_ms)
    }

    /// Lets queues and index follow the log's minimum.
    fn follow_log_min(&self) -> io::Result<()> {
        let log_min = self.log.min_offset();
        if self.retention.lock().followed_min >= log_min {
            return Ok(());
        }
        for queue in self.derived.queues.all() {
            queue.correct_min(self.derived.queues.context(), log_min)?;
        }
        self.derived.index.delete_before(log_min)?;
        self.derived.deleted.forget_before(log_min)?;
        self.retention.lock().followed_min = log_min;
        Ok(())
    }

    /// Why retention lets no message in.
    pub(crate) fn disk_full(&self) -> Option<WriteRefusal> {
        self.retention.lock().disk_full.clone()
    }
}

/// Taking queues away.
impl Store {
    /// Removes the queues of a topic; its messages are no longer found. Returns how many there were.
    pub fn delete_topic(&self, topic: &str) -> usize {
        self.delete_topics(&[topic])
    }

    /// Whether the record's topic was deleted after it was stored: no consumer gets it, though it is in the log.
    pub fn is_deleted(&self, record: &Record<'_>) -> bool {
        let at = record.physical_offset.0;
        self.derived.deleted.covers(record.topic, at)
    }

    /// Removes the queues of topics that are not kept. System topics and light message queues stay.
    pub fn clean_unused_topics(&self, keep: &dyn Fn(&str) -> bool) -> usize {
        let topics = self.derived.queues.topics();
        let unused: Vec<&str> = topics
            .iter()
            .map(String::as_str)
            .filter(|topic| !keep(topic) && !is_system_topic(topic) && !topic.starts_with(LMQ_PREFIX))
            .collect();
        self.delete_topics(&unused)
    }

    /// Removes queues all of whose messages are gone from the log. New messages of such a queue begin at 0 again, as in
    /// the reference.
    pub fn clean_expired_queues(&self) -> usize {
        let log_min = self.log.min_offset();
        let expired: Vec<_> = {
            let Ok(_writer) = self.log.lock_writer() else {
                return 0;
            };
            if self.dispatching.position() < self.log.end() {
                // An expired queue may be about to get a message.
                return 0;
            }
            let queues = self.derived.queues.all().into_iter();
            let expired =
                queues.filter(|queue| &**queue.topic() != SCHEDULE_TOPIC && queue.max_physical() < log_min);
            expired
                .inspect(|queue| self.offsets.retire_queue(queue.topic(), queue.queue_id()))
                .collect()
        };
        expired
            .iter()
            .filter(|queue| self.report(self.derived.queues.delete(queue)))
            .count()
    }

    /// The same for several topics at once.
    pub fn delete_topics(&self, topics: &[&str]) -> usize {
        if topics.is_empty() {
            return 0;
        }
        {
            // Whoever numbered a message before this has it below the end; whoever comes later begins at 0.
            let Ok(_writer) = self.log.lock_writer() else {
                return 0;
            };
            self.derived.deleted.add(topics, self.log.end());
            for topic in topics {
                self.offsets.retire_topic(topic);
            }
        }
        self.report(self.derived.deleted.persist());
        self.delete_queues_of(topics)
    }

    /// Removes the light message queues that still end where the caller saw them end: one that has got a message since stays,
    /// though nobody may see that yet. Returns which are gone.
    ///
    /// # Errors
    /// When the disk does not take note of it; then all stay.
    pub fn delete_idle_light_queues<'a>(&self, queues: &[(&'a str, u64)]) -> io::Result<Vec<&'a str>> {
        let is_idle = |(lmq, end): &(&str, u64)| {
            self.counter(lmq, LMQ_QUEUE_ID).next() == *end || is_planted(PlantedBug::ExpireUnseen)
        };
        // Read first: a message below this has its number by now, so that its queue does not count as idle.
        let log_end = self.log.end();
        let idle: Vec<(&str, u64)> = queues.iter().copied().filter(is_idle).collect();
        let names: Vec<&str> = idle.iter().map(|(lmq, _)| *lmq).collect();
        if names.is_empty() {
            return Ok(names);
        }
        let deleted = &self.derived.deleted;
        let before = deleted.add(&names, log_end);
        let idle = idle.into_iter().zip(before);
        if let Err(error) = deleted.persist() {
            idle.for_each(|((lmq, _), before)| deleted.take_back(lmq, before));
            return Err(error);
        }
        let (gone, kept): (Vec<_>, Vec<_>) = {
            let writer = self.log.lock_writer();
            let goes = |queue: &(&'a str, u64)| {
                let goes = writer.is_ok() && is_idle(queue);
                if goes {
                    self.offsets.retire_queue(queue.0, LMQ_QUEUE_ID);
                }
                goes
            };
            idle.partition(|(queue, _)| goes(queue))
        };
        if !kept.is_empty() {
            kept.into_iter()
                .for_each(|((lmq, _), before)| deleted.take_back(lmq, before));
            self.report(deleted.persist());
        }
        let gone: Vec<&str> = gone.into_iter().map(|((lmq, _), _)| lmq).collect();
        self.delete_queues_of(&gone);
        Ok(gone)
    }

    /// Returns how many there were.
    fn delete_queues_of(&self, topics: &[&str]) -> usize {
        // The follower may be in the middle of one of these topics.
        let _no_dispatch = self.dispatching.pause();
        let queues: Vec<_> = topics
            .iter()
            .flat_map(|topic| self.derived.queues.all_of(topic))
            .collect();
        queues
            .iter()
            .filter(|queue| self.report(self.derived.queues.delete(queue)))
            .count()
    }

    /// Topics that were deleted, as long as messages of theirs may be in the log.
    pub fn deleted_topics(&self) -> Vec<String> {
        self.derived.deleted.topics()
    }

    fn report(&self, result: io::Result<()>) -> bool {
        if let Err(error) = &result {
            tracing::error!("deleting queues failed: {error}");
        }
        result.is_ok()
    }
}

impl Retention {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reason_to_clean(config: &MessageStoreConfig, (log, queues): (u32, u32), now_ms: i64) -> Option<Reason> {
    let limits = Limits::of(config);
    let used = log.max(queues);
    if used > limits.force && config.clean_file_forcibly_enable {
        Some(Reason::Room)
    } else if used > limits.expire || is_time_to_delete(&config.delete_when, now_ms) {
        Some(Reason::Expired)
    } else {
        None
    }
}

fn is_time_to_delete(delete_when: &str, now_ms: i64) -> bool {
    let hour = local_time::hour(now_ms);
    delete_when.split(';').any(|word| word.trim().parse() == Ok(hour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_depends_on_the_disk_and_the_hour() {
        let now_ms = 1_795_377_329_672;
        let this_hour = local_time::hour(now_ms);
        let mut config = MessageStoreConfig {
            delete_when: format!("{:02}", (this_hour + 1) % 24),
            ..MessageStoreConfig::default()
        };
        for (log, queues, reason) in [
            (75, 75, None),
            (76, 0, Some(Reason::Expired)),
            (0, 76, Some(Reason::Expired)),
            (86, 0, Some(Reason::Room)),
        ] {
            assert_eq!(
                reason_to_clean(&config, (log, queues), now_ms),
                reason,
                "{log} {queues}"
            );
        }
        config.delete_when = format!("30; {this_hour} ");
        assert_eq!(reason_to_clean(&config, (0, 0), now_ms), Some(Reason::Expired));
        config.clean_file_forcibly_enable = false;
        assert_eq!(reason_to_clean(&config, (99, 0), now_ms), Some(Reason::Expired));
    }

    #[test]
    fn limits_are_clamped_as_in_the_reference() {
        let config = MessageStoreConfig {
            disk_space_warning_level_ratio: 99,
            disk_space_clean_forcibly_ratio: 1,
            ..MessageStoreConfig::default()
        };
        assert_eq!(
            Limits::of(&config),
            Limits {
                expire: 75,
                force: 30,
                refuse: 90
            }
        );
    }
}
