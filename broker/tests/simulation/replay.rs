//! Replay: a second store that gets nothing but the log's bytes and what was deleted, beside which the broker's own is held.
//!
//! Equal byte by byte are
//! - the ConsumeQueue entries of all messages that are in the log;
//! - the entries of the IndexFiles, one after another, of all messages that are in the log; and each IndexFile is, header, slots
//!   and chains, what adding its entries to an empty file gives. While the log has lost no file and no topic was deleted, the
//!   files themselves are those of the replay.
//!
//! What may differ, and why
//! - the names of IndexFiles: the time at which each was made;
//! - the end time in an IndexFile's header, by less than a second: entries tell the second, and after a crash nothing tells more;
//! - entries of messages whose log file has expired or whose topic was deleted: an IndexFile, and the first file of a queue, keep
//!   them until the file goes as a whole, and so its later entries stand, and are chained, elsewhere than in the replay;
//! - the newest entries of a queue may wait in memory, and a crash may have left a part of them in the file; then the broker is asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::small_file::SmallFiles as _;
use store::disk::Disk as _;
use store::sim_disk::SimDisk;
use store::{NoArrivals, QueueOffset, Store, StoreOptions};

use crate::checks::{encoded, is_part_of};
use crate::model::{Logged, Model};
use crate::world::{INDEX_SLOTS, ROOT, World};
use crate::{Violation, ensure};

const ENTRY_OF_QUEUE_BYTES: usize = 20;
/// Size in an entry that stands for no message.
const FILLER_SIZE: [u8; 4] = i32::MAX.to_be_bytes();

const INDEX_HEADER_BYTES: usize = 40;
const SLOT_BYTES: usize = 4;
const ENTRY_OF_INDEX_BYTES: usize = 20;
const END_TIME: std::ops::Range<usize> = 8..16;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Compares what the broker has built with what its log builds. Everything must be dispatched.
pub fn builds_the_same(world: &World) -> Result<(), Violation> {
    let disk = replay(world).map_err(|error| format!("the replay of the log: {error:#}"))?;
    queues_are_equal(world, &files_below(&disk, "consumequeue")?)?;
    indexes_are_equal(
        world,
        &files_below(&world.disk, "index")?,
        &files_below(&disk, "index")?,
    )
}

/// Opens a store on the bytes of the log, as after a crash that took everything else, and closes it.
fn replay(world: &World) -> anyhow::Result<SimDisk> {
    let disk = SimDisk::new(world.clock.clone());
    disk.create_dir_all(Path::new(ROOT))?;
    let log = Path::new(ROOT).join("commitlog");
    disk.create_dir_all(&log)?;
    for (path, bytes) in world.disk.files_below(&log)? {
        disk.write(&path, &bytes)?;
    }
    let deleted = Path::new(ROOT).join("deletedTopics");
    for (path, bytes) in world.disk.files_below(&deleted)? {
        disk.write(&path, &bytes)?;
    }
    disk.write(&Path::new(ROOT).join("abort"), b"0")?;
    let store = Store::open(StoreOptions {
        config: Arc::clone(world.store().config()),
        disk: Arc::new(disk.clone()),
        clock: world.clock.clone(),
        arrivals: Arc::new(NoArrivals),
    })?;
    let end = store.state().commit_log_max.0;
    anyhow::ensure!(end == world.model.log_end, "it ends at {end}");
    store.close()?;
    Ok(disk)
}

fn files_below(disk: &SimDisk, directory: &str) -> Result<Files, Violation> {
    disk.files_below(&Path::new(ROOT).join(directory))
        .map_err(|error| error.to_string())
}

fn queues_are_equal(world: &World, replayed: &Files) -> Result<(), Violation> {
    for (path, bytes) in replayed {
        let (topic, queue_id, start) = queue_of(path).ok_or("a queue's file has a strange name")?;
        for (number, wanted) in bytes.chunks_exact(ENTRY_OF_QUEUE_BYTES).enumerate() {
            let stands_for_none = wanted[8..12] == [0; 4] || wanted[8..12] == FILLER_SIZE;
            let place = number * ENTRY_OF_QUEUE_BYTES;
            let at = u64::from_be_bytes(wanted[..8].try_into().expect("eight bytes"));
            if stands_for_none || at >= world.model.dispatched {
                continue;
            }
            let in_file = world.disk.bytes(path, place..place + ENTRY_OF_QUEUE_BYTES);
            let is_in_memory = in_file.as_ref().is_none_or(|bytes| is_part_of(bytes, wanted));
            let found = if is_in_memory {
                let offset = QueueOffset((start + place as u64) / ENTRY_OF_QUEUE_BYTES as u64);
                let entries = world.store().queue_entries(topic, queue_id, offset, 1);
                entries.first().map(|entry| encoded(entry).to_vec())
            } else {
                in_file
            };
            ensure!(
                found.as_deref() == Some(wanted),
                "{} has {found:?} at {place}, a replay of the log {wanted:?}",
                path.display()
            );
        }
    }
    Ok(())
}

/// Topic, queue and first byte of a queue's file.
fn queue_of(path: &Path) -> Option<(&str, i32, u64)> {
    let mut parts = path.iter().rev().map(|part| part.to_str());
    let start = parts.next()??.parse().ok()?;
    let queue_id = parts.next()??.parse().ok()?;
    Some((parts.next()??, queue_id, start))
}

/// An entry of an index: hash of the key, and where its message is.
type KeyEntry = (u32, u64);

fn indexes_are_equal(world: &World, own: &Files, replayed: &Files) -> Result<(), Violation> {
    let model = &world.model;
    // One was begun, and its first entry found no room on the disk.
    let own: Files = own
        .iter()
        .filter(|(_, bytes)| !entries_of(bytes).is_empty())
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect();
    for (path, bytes) in &own {
        let wanted = built_of(&entries_of(bytes), bytes.len(), model)?;
        is_same_file(path, bytes, &wanted, "what its entries make")?;
    }
    let all =
        |files: &Files| -> Vec<KeyEntry> { files.values().flat_map(|bytes| entries_of(bytes)).collect() };
    let is_in_log = |(_, at): &KeyEntry| {
        let is_deleted = model.at(*at).is_some_and(|record| model.is_deleted(record));
        *at >= model.log_min && *at < model.dispatched && !is_deleted
    };
    let (own_entries, replayed_entries) = (all(&own), all(replayed));
    let found: Vec<_> = own_entries.iter().filter(|entry| is_in_log(entry)).collect();
    let wanted: Vec<_> = replayed_entries.iter().filter(|entry| is_in_log(entry)).collect();
    if let Some(place) =
        (0..found.len().max(wanted.len())).find(|place| found.get(*place) != wanted.get(*place))
    {
        return Err(format!(
            "entry {place} of the index is {:?}, a replay of the log gives {:?}",
            found.get(place),
            wanted.get(place)
        ));
    }
    if own_entries == replayed_entries {
        for ((path, bytes), wanted) in own.iter().zip(replayed.values()) {
            is_same_file(path, bytes, wanted, "what a replay of the log gives")?;
        }
    }
    Ok(())
}

fn is_same_file(path: &Path, bytes: &[u8], wanted: &[u8], what: &str) -> Result<(), Violation> {
    let without_end_time = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[END_TIME].fill(0);
        bytes
    };
    let (found, rest) = (without_end_time(bytes), without_end_time(wanted));
    let place = (0..found.len().max(rest.len())).find(|place| found.get(*place) != rest.get(*place));
    ensure!(
        place.is_none(),
        "{} is not {what}, from byte {place:?} on",
        path.display()
    );
    let end_ms = |bytes: &[u8]| u64_at(bytes, END_TIME.start);
    ensure!(
        end_ms(bytes).abs_diff(end_ms(wanted)) < 1_000,
        "{} ends at {}, {what} at {}",
        path.display(),
        end_ms(bytes),
        end_ms(wanted)
    );
    Ok(())
}

fn entries_of(bytes: &[u8]) -> Vec<KeyEntry> {
    let next = u32_at(bytes, 36) as usize;
    let entries = &bytes[INDEX_HEADER_BYTES + INDEX_SLOTS * SLOT_BYTES..];
    let written = entries.chunks_exact(ENTRY_OF_INDEX_BYTES).take(next).skip(1);
    written
        .map(|entry| (u32_at(entry, 0), u64_at(entry, 4)))
        .collect()
}

/// The file that has these entries.
fn built_of(entries: &[KeyEntry], length: usize, model: &Model) -> Result<Vec<u8>, Violation> {
    let mut bytes = vec![0; length];
    let record = |at: u64| -> Result<&Logged, Violation> {
        model
            .at(at)
            .ok_or_else(|| format!("the index points at {at}, where no record is or was"))
    };
    let (Some((_, first)), Some((_, last))) = (entries.first(), entries.last()) else {
        return Err("an index file without an entry".to_owned());
    };
    let begin_ms = record(*first)?.store_ms;
    let mut slots_in_use = 0;
    for (number, (key_hash, at)) in (1_u32..).zip(entries) {
        let slot = INDEX_HEADER_BYTES + *key_hash as usize % INDEX_SLOTS * SLOT_BYTES;
        let before = u32_at(&bytes, slot);
        slots_in_use += u32::from(before == 0);
        let seconds = (record(*at)?.store_ms - begin_ms) / 1_000;
        let entry = INDEX_HEADER_BYTES + INDEX_SLOTS * SLOT_BYTES + number as usize * ENTRY_OF_INDEX_BYTES;
        put(&mut bytes, entry, &key_hash.to_be_bytes());
        put(&mut bytes, entry + 4, &at.to_be_bytes());
        put(&mut bytes, entry + 12, &(seconds as u32).to_be_bytes());
        put(&mut bytes, entry + 16, &before.to_be_bytes());
        put(&mut bytes, slot, &number.to_be_bytes());
    }
    put(&mut bytes, 0, &begin_ms.to_be_bytes());
    put(&mut bytes, END_TIME.start, &record(*last)?.store_ms.to_be_bytes());
    put(&mut bytes, 16, &first.to_be_bytes());
    put(&mut bytes, 24, &last.to_be_bytes());
    put(&mut bytes, 32, &slots_in_use.to_be_bytes());
    put(&mut bytes, 36, &(entries.len() as u32 + 1).to_be_bytes());
    Ok(bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
