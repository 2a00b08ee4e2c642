//! Flipped bits and garbage in every file of a stopped store: what can be rebuilt is, what cannot is named, nothing is invented.
//!
//! Each row damages a copy of one store, starts the real broker on it and compares every message with what was there before.

mod durability;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use durability::{GROUP, Load, LoadSpec, Mqbroker, Stored, TOPIC, Wire, look_up, read_all};

const QUEUES: i32 = 2;
const LOG_FILE_BYTES: u64 = 1 << 20;

/// A stopped store and what it holds.
struct Base {
    home: tempfile::TempDir,
    queues: Vec<Vec<Stored>>,
    /// In the order of the log.
    all: Vec<Stored>,
}

impl Base {
    /// A store after some load, cleanly stopped or killed.
    fn new(is_clean: bool) -> Self {
        let home = tempfile::tempdir().expect("a directory can be made");
        let broker = Mqbroker::start(home.path(), &[]);
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        wire.create_topic(TOPIC, QUEUES);
        // A second write leaves a backup of the first.
        wire.create_topic("Another", 1);
        let spec = LoadSpec {
            name: "base".to_owned(),
            seed: 7,
            producers: 2,
            queues: QUEUES,
            window: 8,
            pause: Duration::ZERO,
            consume_from: vec![0; QUEUES as usize],
        };
        let load = Load::start(broker.address(), &spec);
        while load.acked() < 2_500 {
            std::thread::sleep(Duration::from_millis(10));
        }
        load.stop();
        // Offsets are written twice a second: so long until there is a backup of them too.
        std::thread::sleep(Duration::from_millis(1_200));
        assert!(wire.commit(TOPIC, 0, 1).expect("the broker answers"));
        std::thread::sleep(Duration::from_millis(1_200));
        let queues = read_all(broker.address(), &[0; QUEUES as usize]);
        match is_clean {
            true => broker.stop(),
            false => broker.kill(),
        }
        let mut all: Vec<Stored> = queues.iter().flatten().cloned().collect();
        all.sort_by_key(|stored| stored.physical_offset);
        Self { home, queues, all }
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a directory can be made");
        copy_tree(&self.home.path().join("store"), &copy.path().join("store"));
        copy
    }

    /// A message in the middle of the newest file: the part of the log that every start reads.
    fn middle(&self) -> &Stored {
        let newest = self.end() - self.end() % LOG_FILE_BYTES;
        let first = self.all.partition_point(|stored| stored.physical_offset < newest);
        &self.all[(first + self.all.len()) / 2]
    }

    fn end(&self) -> u64 {
        let last = self.all.last().expect("the store holds messages");
        last.physical_offset + u64::from(last.size_bytes)
    }

    /// What the queues hold without the messages in a range of the log.
    fn without(&self, begin: u64, end: u64) -> Vec<Vec<Stored>> {
        let is_hit = |stored: &Stored| {
            stored.physical_offset < end && stored.physical_offset + u64::from(stored.size_bytes) > begin
        };
        let left = |queue: &Vec<Stored>| queue.iter().filter(|stored| !is_hit(stored)).cloned().collect();
        self.queues.iter().map(left).collect()
    }
}

/// One kind of damage: does it, and gives the range of the log whose messages it costs.
struct Row {
    name: &'static str,
    damage: fn(&Path, &Base) -> Option<(u64, u64)>,
    /// The log names what was lost.
    is_reported: bool,
}

const ROWS: &[Row] = &[
    Row {
        name: "nothing",
        damage: |_, _| None,
        is_reported: false,
    },
    Row {
        name: "a bit of a body",
        damage: flip_in_body,
        is_reported: true,
    },
    Row {
        name: "garbage over two records",
        damage: garbage_over_two,
        is_reported: true,
    },
    Row {
        name: "garbage over the head of an old record",
        damage: garbage_over_old,
        is_reported: false,
    },
    Row {
        name: "garbage after the end of the log",
        damage: garbage_after_the_end,
        is_reported: false,
    },
    Row {
        name: "an old record again after the end of the log",
        damage: old_record_after_the_end,
        is_reported: false,
    },
    Row {
        name: "a bit in each index file's head and slots",
        damage: flip_in_index,
        is_reported: false,
    },
    Row {
        name: "index files of garbage",
        damage: garbage_in_index,
        is_reported: false,
    },
    Row {
        name: "no index",
        damage: |store, _| remove(&store.join("index")),
        is_reported: false,
    },
    Row {
        name: "no queues",
        damage: |store, _| remove(&store.join("consumequeue")),
        is_reported: false,
    },
    Row {
        name: "a checkpoint of garbage",
        damage: garbage_in_checkpoint,
        is_reported: false,
    },
    Row {
        name: "a checkpoint in the future",
        damage: |store, _| checkpoint(store, i64::MAX as u64),
        is_reported: false,
    },
    Row {
        name: "a checkpoint of zeros",
        damage: |store, _| checkpoint(store, 0),
        is_reported: false,
    },
    Row {
        name: "no checkpoint",
        damage: |store, _| remove(&store.join("checkpoint")),
        is_reported: false,
    },
];

fn flip_in_body(store: &Path, base: &Base) -> Option<(u64, u64)> {
    let hit = base.middle();
    let end = hit.physical_offset + u64::from(hit.size_bytes);
    edit_log(store, hit.physical_offset + 100, |bytes| bytes[0] ^= 4);
    Some((hit.physical_offset, end))
}

fn garbage_over_two(store: &Path, base: &Base) -> Option<(u64, u64)> {
    let end = base.middle().physical_offset + u64::from(base.middle().size_bytes);
    edit_log(store, end - 20, |bytes| bytes[..40].fill(0xA5));
    Some((end - 20, end + 20))
}

/// After a clean stop nobody reads the old files at the start: the record is found unreadable when somebody wants it.
fn garbage_over_old(store: &Path, base: &Base) -> Option<(u64, u64)> {
    let hit = &base.all[base.all.len() / 4];
    edit_log(store, hit.physical_offset, |bytes| bytes[..40].fill(0xA5));
    Some((hit.physical_offset, hit.physical_offset + 40))
}

fn garbage_after_the_end(store: &Path, base: &Base) -> Option<(u64, u64)> {
    edit_log(store, base.end(), |bytes| bytes[..500].fill(0x5A));
    None
}

/// A whole record that belongs elsewhere: its checksum is right, its place is not.
fn old_record_after_the_end(store: &Path, base: &Base) -> Option<(u64, u64)> {
    let old = base.middle().clone();
    let mut record = Vec::new();
    edit_log(store, old.physical_offset, |bytes| {
        record = bytes[..old.size_bytes as usize].to_vec()
    });
    edit_log(store, base.end(), |bytes| {
        bytes[..record.len()].copy_from_slice(&record)
    });
    None
}

fn flip_in_index(store: &Path, _: &Base) -> Option<(u64, u64)> {
    for path in files(&store.join("index")) {
        edit(&path, |bytes| {
            for at in [3, 20, 33, 37, 60, 400] {
                bytes[at] ^= 0x41;
            }
        });
    }
    None
}

fn garbage_in_index(store: &Path, _: &Base) -> Option<(u64, u64)> {
    for path in files(&store.join("index")) {
        edit(&path, |bytes| bytes.fill(0xC3));
    }
    None
}

fn garbage_in_checkpoint(store: &Path, _: &Base) -> Option<(u64, u64)> {
    edit(&store.join("checkpoint"), |bytes| bytes[..48].fill(0x6B));
    None
}

fn checkpoint(store: &Path, value: u64) -> Option<(u64, u64)> {
    edit(&store.join("checkpoint"), |bytes| {
        for field in bytes[..48].chunks_exact_mut(8) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    });
    None
}

fn remove(path: &Path) -> Option<(u64, u64)> {
    match path.is_dir() {
        true => fs::remove_dir_all(path).expect("a directory can be removed"),
        false => fs::remove_file(path).expect("a file can be removed"),
    }
    None
}

fn survives_every_row(is_clean: bool) {
    let base = Base::new(is_clean);
    let mut failures = Vec::new();
    for row in ROWS {
        let copy = base.copy();
        let lost = (row.damage)(&copy.path().join("store"), &base);
        let broker = Mqbroker::start(copy.path(), &[]);
        let expected = lost.map_or_else(|| base.queues.clone(), |(begin, end)| base.without(begin, end));
        let found = read_all(broker.address(), &[0; QUEUES as usize]);
        if found != expected {
            let count = |queues: &[Vec<Stored>]| queues.iter().map(Vec::len).sum::<usize>();
            failures.push(format!(
                "{}: {} messages, expected {}",
                row.name,
                count(&found),
                count(&expected)
            ));
        }
        if row.is_reported {
            broker.await_logged(" ERROR ");
            let log = broker.logged();
            let (begin, _) = lost.expect("only a loss is reported");
            let reported = log
                .lines()
                .find(|line| line.contains(" ERROR ") && line.contains("damage"));
            let named = reported.and_then(|line| number_after(line, "begin="));
            if !named.is_some_and(|named| named <= begin && begin - named < 4_096) {
                failures.push(format!(
                    "{}: the damage at {begin} is reported as {reported:?}",
                    row.name
                ));
            }
        }
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        let key = &expected[0].last().expect("the queue holds messages").key;
        if !row.name.contains("index file") && !look_up(&mut wire, key).contains(key) {
            failures.push(format!("{}: the key {key} is not found", row.name));
        }
        if row.name.contains("index file") {
            // A damaged index may miss keys, but answers, and gives nothing that does not have the key.
            assert!(
                look_up(&mut wire, key).iter().all(|found| found == key),
                "{}",
                row.name
            );
        }
        broker.kill();
    }
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn damage_to_a_stopped_store_costs_what_it_hit() {
    survives_every_row(true);
}

#[test]
fn damage_to_a_killed_store_costs_what_it_hit() {
    survives_every_row(false);
}

#[test]
fn a_damaged_config_file_is_named_and_its_backup_used() {
    let base = Base::new(true);
    let names: Vec<String> = files(&base.home.path().join("store/config"))
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            path.file_name()
                .expect("a file")
                .to_str()
                .expect("ASCII")
                .to_owned()
        })
        .collect();
    for needed in ["topics.json", "consumerOffset.json", "subscriptionGroup.json"] {
        assert!(names.iter().any(|name| name == needed), "{needed} in {names:?}");
    }
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("cut in half", |text| text.truncate(text.len() / 2)),
        ("empty", Vec::clear),
        ("of zeros", |text| text.fill(0)),
        ("of garbage", |text| {
            text.iter_mut().for_each(|byte| *byte ^= 0x55)
        }),
    ];
    for name in &names {
        for (what, damage) in &damages {
            let copy = base.copy();
            let path = copy.path().join("store/config").join(name);
            let has_backup = path.with_extension("json.bak").exists();
            let mut text = fs::read(&path).expect("the file can be read");
            damage(&mut text);
            fs::write(&path, text).expect("the file can be written");

            let broker = Mqbroker::start(copy.path(), &[]);
            if *what != "empty" || has_backup {
                broker.await_logged(name);
            }
            if has_backup || name != "topics.json" {
                let found = read_all(broker.address(), &[0; QUEUES as usize]);
                assert_eq!(found, base.queues, "{name} {what}");
            }
            if name == "consumerOffset.json" && has_backup {
                let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
                assert!(
                    wire.committed(TOPIC, 1) > Some(0),
                    "{GROUP} goes on from the backup: {name} {what}"
                );
            }
            broker.kill();
        }
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).expect("the file can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("the file can be written");
}

/// Changes the log from a physical offset on.
fn edit_log(store: &Path, position: u64, change: impl FnOnce(&mut [u8])) {
    let start = position - position % LOG_FILE_BYTES;
    let path = store.join("commitlog").join(format!("{start:020}"));
    edit(&path, |bytes| change(&mut bytes[(position - start) as usize..]));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory can be listed");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for path in files(from) {
        let target = to.join(path.file_name().expect("an entry has a name"));
        match path.is_dir() {
            true => copy_tree(&path, &target),
            false => {
                fs::copy(&path, &target).expect("a file can be copied");
            }
        }
    }
}

fn number_after(line: &str, mark: &str) -> Option<u64> {
    let rest = &line[line.find(mark)? + mark.len()..];
    rest.split(|character: char| !character.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
