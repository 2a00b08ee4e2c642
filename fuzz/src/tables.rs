//! Targets of what is kept in tables: small files beside the log and of the NameServer, entries of a queue, and the changes that
//! operators and clients make.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use broker::config::BrokerConfig;
use broker::processor::admin::attributes::{self, OF_GROUPS, OF_TOPICS};
use broker::registry::order_info::{ConsumerOrderInfo, GroupQueue, NewBatch};
use broker::registry::order_log::{self, BatchChange};
use broker::registry::{ConfigDirectory, ConsumerOffsets, QueueMappings};
use broker::static_topic::pull::{PlacedPull, Pulled};
use broker::static_topic::queue::{LogicalQueue, PlaceOffsets as _};
use common::clock::ManualClock;
use common::properties::{Live, format_properties, parse_properties};
use common::small_file::SmallFiles;
use namesrv::config::Config;
use namesrv::kv_config;
use remoting::body::{TopicQueueMappingDetail, fastjson};
use remoting::codes::response_code;
use remoting::header::PullMessageRequestHeader;
use store::{MessageStoreConfig, QueueKind, deleted_topics, rewrite_entry};

/// The list of deleted topics beside the log.
pub fn deleted_topics(data: &[u8]) {
    let ends = deleted_topics::decode(data);
    let written = deleted_topics::encode(&ends);
    assert_eq!(deleted_topics::decode(written.as_bytes()), ends);
}

/// A byte that chooses a kind of queue, and an entry.
pub fn queue_entry(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let kind = [QueueKind::Simple, QueueKind::Batch][usize::from(choice % 2)];
    let Some(written) = rewrite_entry(kind, bytes) else {
        return;
    };
    assert_eq!(written.len(), kind.entry_bytes());
    assert!(bytes.starts_with(&written[..20]), "place, size and tags code");
    assert_eq!(rewrite_entry(kind, &written), Some(written));
}

/// A `.properties` file, as configuration of the NameServer.
pub fn namesrv_config(data: &[u8]) {
    // Made once: some defaults ask the environment.
    static DEFAULTS: LazyLock<Config> = LazyLock::new(Config::default);
    let text = String::from_utf8_lossy(data);
    let mut config = DEFAULTS.clone();
    if let Err(error) = config.read(&text) {
        return assert!(!error.to_string().is_empty());
    }
    let shown = |key: &str| {
        let found = config.namesrv.get(key).or_else(|| config.server.get(key));
        let found = found.or_else(|| config.client.get(key));
        let found = found.or_else(|| config.metrics.get(key));
        found.or_else(|| config.extra.get(key).cloned())
    };
    let mut pairs = parse_properties(&text);
    for (key, value) in &mut pairs {
        *value = shown(key).expect("a key that was given is shown");
    }
    let mut again = DEFAULTS.clone();
    let read = again.read(&format_properties(&pairs));
    assert_eq!(read, Ok(()), "what is shown can be given");
    // Beside them lie the keys of no group, as they were written.
    again.extra.clone_from(&config.extra);
    assert_eq!(again, config);
    if config.check().is_ok() {
        assert!(config.listen_addr().is_ok());
    }
    // Which known key an unknown one is like takes a while: one short one does.
    if config.extra.len() == 1 && text.len() < 24 {
        assert!(config.warnings().len() <= 1);
    }
}

/// The file of the NameServer's keys and values.
pub fn kv_config(data: &[u8]) {
    let Ok(table) = kv_config::decode(data) else {
        return;
    };
    let written = kv_config::encode(&table);
    let again = kv_config::decode(written.as_bytes()).expect("what we write can be read");
    assert_eq!(again, table);
}

/// A byte that chooses topics or groups, the attributes there are, a zero byte, and how they are to be changed.
pub fn attributes(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let known = [OF_TOPICS, OF_GROUPS][usize::from(choice % 2)];
    let text = String::from_utf8_lossy(text);
    let (first, second) = text.split_once('\0').unwrap_or((&text, ""));
    let made = |current: Option<&BTreeMap<String, String>>, edits: &str| {
        attributes::parse_edits(edits).and_then(|edits| attributes::alter(known, current, &edits))
    };
    let current = made(None, first).unwrap_or_default();
    let Ok(altered) = made(Some(&current), second) else {
        return;
    };
    let as_edits: Vec<String> = altered
        .iter()
        .map(|(name, value)| format!("+{name}={value}"))
        .collect();
    assert_eq!(made(None, &as_edits.join(",")), Ok(altered));
}

/// Lines of `consumerOrderInfo.json.changes`, and what is asked of the batches they leave.
pub fn order_changes(data: &[u8]) {
    const NOW_MS: i64 = 1_764_054_000_000;
    let changes: Vec<BatchChange> = order_log::changes(data).collect();
    let written: Vec<Vec<u8>> = changes
        .iter()
        .map(|change| fastjson::to_vec(change).expect("a change is JSON"))
        .collect();
    assert!(order_log::changes(&written.join(&b'\n')).eq(changes.iter().map(copied)));
    if changes.is_empty() {
        return;
    }

    static CONFIG: LazyLock<Arc<Live<BrokerConfig>>> =
        LazyLock::new(|| Arc::new(Live::new(BrokerConfig::default())));
    static STORE: LazyLock<MessageStoreConfig> = LazyLock::new(MessageStoreConfig::default);
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let files = Arc::new(OneFile {
        name: "consumerOrderInfo.json.changes",
        content: data.to_vec(),
    });
    let directory = ConfigDirectory::new("config", files, clock.clone());
    let offsets = ConsumerOffsets::open(&directory, clock.clone(), CONFIG.clone(), &STORE);
    let offsets = Arc::new(offsets.expect("no file is an empty table"));
    let batches = ConsumerOrderInfo::open(&directory, clock, offsets).expect("lines are passed over");
    for change in &changes {
        let queue = GroupQueue {
            topic: &change.topic,
            group: &change.group,
            queue_id: change.queue_id,
        };
        let batch = change.batch.clone().unwrap_or_default();
        let (pop_time_ms, first) = (batch.pop_time_ms, batch.offset_list.first().copied());
        let _ = batches.blocked_until_ms(queue, Some("a"), 1_000, NOW_MS);
        batches.change_next_visible(queue, first.unwrap_or(0), pop_time_ms, NOW_MS);
        let _ = batches.acknowledge(queue, first.unwrap_or(0), pop_time_ms);
        batches.suspend(queue, pop_time_ms, NOW_MS);
        let new = NewBatch {
            attempt_id: None,
            pop_time_ms: NOW_MS,
            invisible_time_ms: 1_000,
            offsets: &[first.unwrap_or(0)],
        };
        let _ = batches.update(queue, new, NOW_MS);
        assert!(batches.blocked_until_ms(queue, None, 1_000, NOW_MS).is_some());
    }
    batches.clean(NOW_MS, |_| Some(i32::MAX), |_| true);
}

fn copied(change: &BatchChange) -> BatchChange {
    BatchChange {
        after_write: change.after_write,
        topic: change.topic.clone(),
        group: change.group.clone(),
        queue_id: change.queue_id,
        batch: change.batch.clone(),
        offset: change.offset,
        reset: change.reset,
    }
}

/// A config directory with one file, of which nothing is written.
#[derive(Debug)]
struct OneFile {
    name: &'static str,
    content: Vec<u8>,
}

impl SmallFiles for OneFile {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(file.ends_with(self.name).then(|| self.content.clone()))
    }

    fn write_and_sync(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn append_and_sync(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Mappings of one static topic, a line each, the later ones over the earlier ones.
pub fn queue_mapping(data: &[u8]) {
    static MAPPINGS: LazyLock<QueueMappings> = LazyLock::new(|| {
        let no_files = Arc::new(OneFile {
            name: "",
            content: Vec::new(),
        });
        let clock = Arc::new(ManualClock::new(0));
        let directory = ConfigDirectory::new("config", no_files, clock.clone());
        let mappings = QueueMappings::open(&directory, clock, "b");
        mappings.expect("no file is an empty table")
    });
    let mappings = &*MAPPINGS;
    mappings.remove("T");
    for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let Ok(mut mapping) = fastjson::from_slice::<TopicQueueMappingDetail>(line) else {
            continue;
        };
        mapping.topic = "T".to_owned();
        // A file may hold what no operator could put.
        ask_of(&Arc::new(mapping.clone()));
        if mappings.put(mapping, number % 4 == 3).is_ok() {
            ask_of(&mappings.get("T").expect("it was put"));
            assert!(mappings.info("T").is_some());
        }
    }
}

/// Every question about the logical queues of a mapping, with offsets of every size.
fn ask_of(mapping: &Arc<TopicQueueMappingDetail>) {
    let _ = LogicalQueue::any_led(mapping);
    let led = |id: &i32| LogicalQueue::led(mapping, *id);
    for queue in mapping.hosted_queues.keys().filter_map(led) {
        let _ = (queue.decided_end(), queue.is_like_its_place());
        for offset in [i64::MIN, 1_000, i64::MAX] {
            let place = queue.place_of(offset);
            let _ = (queue.place_after(place), place.bounded_logical_offset(offset));
            let mut header = pull_of(offset);
            let pull = PlacedPull::rewrite(queue.clone(), &mut header);
            let _ = (pull.is_here(), pull.offset_delta());
            for code in [response_code::SUCCESS, response_code::PULL_NOT_FOUND] {
                let _ = pull.reword(Pulled {
                    code,
                    next_begin_offset: offset,
                    min_offset: 0,
                    max_offset: offset,
                });
            }
        }
    }
}

fn pull_of(offset: i64) -> PullMessageRequestHeader<'static> {
    PullMessageRequestHeader {
        consumer_group: "g".into(),
        topic: "T".into(),
        lite_topic: None,
        queue_id: 0,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 0,
        commit_offset: offset,
        suspend_timeout_millis: 0,
        subscription: None,
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
        logical: None,
    }
}
