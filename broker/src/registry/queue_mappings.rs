//! QueueMappings: the static topics of this broker and their file `topicQueueMapping.json`.
//!
//! The queues of a static topic are numbered over all its brokers. Each of them lives on a queue of one broker, and an
//! operator may move it to another; the places it lived at before stay part of it:
//!
//! ```text
//!   logical queue 0    [ broker a, queue 0 ]──>[ broker b, queue 0 ]──> ...
//!   logical offset      0 ........... 73        10000 ..........
//!   queue offset        0 ........... 73        0 ..............
//! ```
//!
//! Every broker of the topic knows the queues that it leads, and those that it led before.
//!
//! Invariants
//! - The logical offset of a place is decided once: messages and committed offsets are numbered by it.
//! - The places of a queue rise in generation and logical offset, and do not overlap.
//!
//! Reference: `TopicQueueMappingManager`, checks of `TopicQueueMappingUtils`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::clock::Clock;
use dashmap::DashMap;
use remoting::body::DataVersion;
use remoting::body::static_topic::{
    LogicQueueMappingItem, TopicQueueMappingDetail, TopicQueueMappingInfo, TopicQueueMappingSerializeWrapper,
};
use thiserror::Error;

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};

const FILE_NAME: &str = "topicQueueMapping.json";

/// Most places of one logical queue that are kept; each is a move by an operator.
pub const PLACE_LIMIT: usize = 10_000;

/// A mapping that cannot take the place of the one there is.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MappingRefused {
    /// It was made for another broker.
    #[error("the mapping is of broker {given}, this is broker {own}")]
    OtherBroker {
        /// The broker it names.
        given: String,
        /// This one.
        own: String,
    },
    /// It is older than the one there is.
    #[error("Can't accept data with small epoch {given} < {current}")]
    SmallerEpoch {
        /// Its epoch.
        given: i64,
        /// The epoch there is.
        current: i64,
    },
    /// It is of another scope.
    #[error("Can't accept data with unmatched scope {given} != {current}")]
    OtherScope {
        /// Its scope.
        given: String,
        /// The scope there is.
        current: String,
    },
    /// It lacks a queue although it is no newer.
    #[error("Cannot accept equal epoch with null data")]
    LacksQueue,
    /// The places of a queue are in no order.
    #[error("the places of queue {queue_id} of the mapping do not rise")]
    Unordered {
        /// The logical queue.
        queue_id: i32,
    },
    /// It changes a place that messages are numbered by, or drops one.
    #[error("the mapping changes the history of queue {queue_id}")]
    ChangesHistory {
        /// The logical queue.
        queue_id: i32,
    },
    /// More places than are kept.
    #[error("queue {queue_id} of the mapping has more than {PLACE_LIMIT} places")]
    TooManyPlaces {
        /// The logical queue.
        queue_id: i32,
    },
}

/// The static topics of this broker.
pub struct QueueMappings {
    table: DashMap<String, Arc<TopicQueueMappingDetail>, foldhash::fast::RandomState>,
    /// Whether there ever was one: brokers without static topics look no topic up.
    any: AtomicBool,
    /// Held through every change.
    version: Mutex<DataVersion>,
    file: TableFile,
    clock: Arc<dyn Clock>,
    broker_name: String,
}

impl QueueMappings {
    /// Reads `topicQueueMapping.json` in `config_dir`.
    ///
    /// # Errors
    /// When neither the file nor its backup can be read.
    pub fn open(
        config_dir: &ConfigDirectory,
        clock: Arc<dyn Clock>,
        broker_name: &str,
    ) -> anyhow::Result<Self> {
        let file = config_dir.file(FILE_NAME);
        let saved: Option<TopicQueueMappingSerializeWrapper> = file.load(clock.wall_ms())?;
        let saved = saved.unwrap_or_default();
        let mappings = QueueMappings {
            any: AtomicBool::new(!saved.topic_queue_mapping_info_map.is_empty()),
            table: DashMap::default(),
            version: Mutex::new(saved.data_version),
            file,
            clock,
            broker_name: broker_name.to_owned(),
        };
        for (topic, mapping) in saved.topic_queue_mapping_info_map {
            mappings.table.insert(topic, Arc::new(mapping));
        }
        Ok(mappings)
    }

    /// The mapping of a topic; `None` for ordinary ones.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicQueueMappingDetail>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.table.get(topic).map(|found| Arc::clone(&found))
    }

    /// Puts the mapping of a topic. With `force` also one that contradicts what is there; queues it lacks stay.
    ///
    /// # Errors
    /// See [`MappingRefused`]; then nothing has changed.
    pub fn put(&self, mut mapping: TopicQueueMappingDetail, force: bool) -> Result<(), MappingRefused> {
        if mapping.bname != self.broker_name {
            return Err(MappingRefused::OtherBroker {
                given: mapping.bname,
                own: self.broker_name.clone(),
            });
        }
        for (queue_id, places) in &mapping.hosted_queues {
            require_rising(*queue_id, places)?;
        }
        let mut version = self.lock();
        if let Some(current) = self.table.get(&mapping.topic).map(|found| Arc::clone(&found)) {
            if !force {
                require_newer(&mapping, &current)?;
                require_same_history(&mapping, &current)?;
            }
            for (queue_id, places) in &current.hosted_queues {
                let entry = mapping.hosted_queues.entry(*queue_id);
                entry.or_insert_with(|| places.clone());
            }
        }
        tracing::info!(topic = mapping.topic, ?mapping, force, "static topic mapped");
        self.table.insert(mapping.topic.clone(), Arc::new(mapping));
        self.any.store(true, Ordering::Release);
        version.next(self.clock.wall_ms());
        drop(version);
        self.file.mark_changed();
        Ok(())
    }

    /// Forgets the mapping of a topic; false when it has none.
    pub fn remove(&self, topic: &str) -> bool {
        {
            let mut version = self.lock();
            if self.table.remove(topic).is_none() {
                return false;
            }
            version.next(self.clock.wall_ms());
        }
        self.file.mark_changed();
        true
    }

    /// All mappings, with the version that belongs to them.
    pub fn snapshot_with_version(&self) -> (DataVersion, BTreeMap<String, Arc<TopicQueueMappingDetail>>) {
        let version = self.lock();
        let table = self
            .table
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect();
        (*version, table)
    }

    /// What the name servers are told of a topic: its queues that this broker leads. `None` for ordinary topics.
    pub fn info(&self, topic: &str) -> Option<TopicQueueMappingInfo> {
        self.get(topic).map(|mapping| info_of(&mapping))
    }

    fn lock(&self) -> MutexGuard<'_, DataVersion> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reference: `TopicQueueMappingDetail.cloneAsMappingInfo`.
fn info_of(mapping: &TopicQueueMappingDetail) -> TopicQueueMappingInfo {
    let led = mapping.hosted_queues.iter().filter_map(|(queue_id, places)| {
        let leader = places.last().filter(|leader| leader.bname == mapping.bname)?;
        Some((*queue_id, leader.queue_id))
    });
    TopicQueueMappingInfo {
        bname: mapping.bname.clone(),
        curr_id_map: led.collect(),
        epoch: mapping.epoch,
        topic: mapping.topic.clone(),
        total_queues: mapping.total_queues,
        ..TopicQueueMappingInfo::default()
    }
}

/// Reference: `TopicQueueMappingUtils.checkLogicQueueMappingItemOffset`.
fn require_rising(queue_id: i32, places: &[LogicQueueMappingItem]) -> Result<(), MappingRefused> {
    if places.len() > PLACE_LIMIT {
        return Err(MappingRefused::TooManyPlaces { queue_id });
    }
    let rises = places.windows(2).all(|pair| {
        let [earlier, later] = [&pair[0], &pair[1]];
        let undecided = later.logic_offset < 0;
        earlier.r#gen < later.r#gen
            && earlier.logic_offset >= 0
            && (undecided || earlier.logic_offset.max(end_of(earlier)) < later.logic_offset)
    });
    let sane = places.iter().all(|place| {
        place.r#gen >= 0 && place.queue_id >= 0 && place.start_offset >= 0 && has_sane_end(place)
    });
    if rises && sane {
        Ok(())
    } else {
        Err(MappingRefused::Unordered { queue_id })
    }
}

/// The logical offset after the last message of a place whose end is decided; its first offset otherwise.
fn end_of(place: &LogicQueueMappingItem) -> i64 {
    let length = place.end_offset.saturating_sub(place.start_offset).max(0);
    place.logic_offset.saturating_add(length)
}

fn has_sane_end(place: &LogicQueueMappingItem) -> bool {
    place.end_offset == -1 || place.end_offset >= place.start_offset
}

fn require_newer(
    mapping: &TopicQueueMappingDetail,
    current: &TopicQueueMappingDetail,
) -> Result<(), MappingRefused> {
    if mapping.epoch < current.epoch {
        return Err(MappingRefused::SmallerEpoch {
            given: mapping.epoch,
            current: current.epoch,
        });
    }
    if mapping.scope != current.scope {
        return Err(MappingRefused::OtherScope {
            given: mapping.scope.clone(),
            current: current.scope.clone(),
        });
    }
    let lacks_queue = current
        .hosted_queues
        .keys()
        .any(|queue_id| !mapping.hosted_queues.contains_key(queue_id));
    if mapping.epoch == current.epoch && lacks_queue {
        return Err(MappingRefused::LacksQueue);
    }
    Ok(())
}

/// A place that both know must be the same in both, but that its logical offset may be decided and its end set; a
/// mapping of the same epoch must not move a queue either. Places may be gone: a queue that comes back loses the old ones.
///
/// Reference: `TopicQueueMappingUtils.makeSureLogicQueueMappingItemImmutable`.
fn require_same_history(
    mapping: &TopicQueueMappingDetail,
    current: &TopicQueueMappingDetail,
) -> Result<(), MappingRefused> {
    for (queue_id, old) in &current.hosted_queues {
        let Some(new) = mapping.hosted_queues.get(queue_id) else {
            continue;
        };
        let same_places = old.iter().all(|old| {
            let known = new.iter().find(|new| new.r#gen == old.r#gen);
            known.is_none_or(|new| is_same_place(old, new))
        });
        let leaders = (old.last(), new.last());
        let same_leader = match leaders {
            (Some(old), Some(new)) => mapping.epoch != current.epoch || is_same_place(old, new),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !same_places || !same_leader {
            return Err(MappingRefused::ChangesHistory { queue_id: *queue_id });
        }
    }
    Ok(())
}

fn is_same_place(old: &LogicQueueMappingItem, new: &LogicQueueMappingItem) -> bool {
    old.r#gen == new.r#gen
        && old.bname == new.bname
        && old.queue_id == new.queue_id
        && old.start_offset == new.start_offset
        && (old.logic_offset == new.logic_offset || old.logic_offset < 0)
}

impl Table for QueueMappings {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| {
            let (data_version, table) = self.snapshot_with_version();
            Ok(TopicQueueMappingSerializeWrapper {
                data_version,
                topic_queue_mapping_info_map: table
                    .into_iter()
                    .map(|(topic, mapping)| (topic, (*mapping).clone()))
                    .collect(),
            })
        })
    }
}

impl std::fmt::Debug for QueueMappings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueMappings")
            .field("len", &self.table.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::Home;

    fn place(generation: i32, broker: &str, logic_offset: i64, end_offset: i64) -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            r#gen: generation,
            bname: broker.to_owned(),
            logic_offset,
            end_offset,
            ..LogicQueueMappingItem::default()
        }
    }

    fn mapping(epoch: i64, places: Vec<LogicQueueMappingItem>) -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            bname: "fx-broker".to_owned(),
            epoch,
            topic: "Static".to_owned(),
            total_queues: 2,
            hosted_queues: [(0, places)].into(),
            ..TopicQueueMappingDetail::default()
        }
    }

    #[test]
    fn a_mapping_survives_a_restart_and_tells_the_queues_it_leads() {
        let home = Home::empty();
        let mappings = home.queue_mappings();
        assert_eq!(mappings.get("Static"), None);
        mappings
            .put(mapping(1, vec![place(0, "fx-broker", 0, -1)]), false)
            .unwrap();
        mappings.flush().unwrap();

        let reopened = home.queue_mappings();
        assert_eq!(reopened.get("Static"), mappings.get("Static"));
        assert_eq!(reopened.snapshot_with_version(), mappings.snapshot_with_version());
        let info = reopened.info("Static").unwrap();
        assert_eq!((info.curr_id_map, info.epoch), ([(0, 0)].into(), 1));
        assert!(reopened.remove("Static"));
        assert!(!reopened.remove("Static"));
        assert_eq!(reopened.info("Static"), None);
    }

    #[test]
    fn a_queue_that_moved_away_is_kept_and_no_longer_led() {
        let mappings = Home::empty().queue_mappings();
        mappings
            .put(mapping(1, vec![place(0, "fx-broker", 0, -1)]), false)
            .unwrap();
        let moved = vec![place(0, "fx-broker", 0, 7), place(1, "other", 10_000, -1)];
        mappings.put(mapping(2, moved.clone()), false).unwrap();
        assert_eq!(mappings.info("Static").unwrap().curr_id_map, BTreeMap::new());
        let without_queue = TopicQueueMappingDetail {
            hosted_queues: BTreeMap::new(),
            ..mapping(3, Vec::new())
        };
        mappings.put(without_queue, false).unwrap();
        assert_eq!(mappings.get("Static").unwrap().hosted_queues[&0], moved);
    }

    #[test]
    fn a_mapping_that_contradicts_what_is_there_is_refused() {
        let mappings = Home::empty().queue_mappings();
        let there = mapping(5, vec![place(0, "fx-broker", 0, -1)]);
        mappings.put(there.clone(), false).unwrap();
        let lacking = TopicQueueMappingDetail {
            hosted_queues: BTreeMap::new(),
            ..there.clone()
        };
        let scoped = TopicQueueMappingDetail {
            scope: "other".to_owned(),
            ..there.clone()
        };
        let foreign = TopicQueueMappingDetail {
            bname: "other".to_owned(),
            ..there.clone()
        };
        let cases = [
            (
                mapping(4, vec![place(0, "fx-broker", 0, -1)]),
                "small epoch 4 < 5",
            ),
            (scoped, "unmatched scope other"),
            (lacking, "equal epoch with null data"),
            (
                mapping(6, vec![place(0, "fx-broker", 3, -1)]),
                "changes the history of queue 0",
            ),
            (
                mapping(5, vec![place(1, "fx-broker", 0, -1)]),
                "changes the history of queue 0",
            ),
            (
                mapping(6, vec![place(1, "a", 0, 9), place(0, "b", 50, -1)]),
                "do not rise",
            ),
            (
                mapping(6, vec![place(0, "a", 0, 90), place(1, "b", 50, -1)]),
                "do not rise",
            ),
            (foreign, "is of broker other"),
        ];
        for (case, reason) in cases {
            let refused = mappings.put(case, false).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
        }
        assert_eq!(*mappings.get("Static").unwrap(), there);
        mappings
            .put(mapping(1, vec![place(0, "fx-broker", 3, -1)]), true)
            .unwrap();
        assert_eq!(mappings.get("Static").unwrap().epoch, 1, "with force");
    }
}
